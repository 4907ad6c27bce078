"""`sft-helpers export`: from a training folder to files that a server reads, each one checked."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from sft_helpers.errors import DataError
from sft_helpers.quiet import quiet_libraries


def add_parser(commands: Any) -> None:
    """Add the sub-command to the command line."""
    parser = commands.add_parser(
        "export",
        help="merge a trained model and write GGUF and model card, each checked",
        description=run.__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("model", metavar="MODEL_FOLDER", type=Path, help="what trainer.save_model wrote")
    add("--out", type=Path, help="folder for the merged model (default: MODEL_FOLDER-export)")
    add("--merge", action="store_true", help="merge the adapter, save a plain model into --out")
    add("--base", help="base model, if it has moved; tokenizer.model is taken from there, too")
    add("--qlora", action="store_true",
        help="without a recorded run: the base was in NF4 with double quantization")  # fmt: skip
    add("--dtype", default="float32", help="type of the saved weights (default: %(default)s)")
    add("--gguf", nargs="?", const="q8_0", metavar="KIND",
        help="write a GGUF file: f32, f16, bf16 or q8_0 (default)")  # fmt: skip
    add("--card", nargs="?", const="", metavar="RUN.json",
        help="write README.md from a recorded run (default: run.json in MODEL_FOLDER)")  # fmt: skip
    add("--push", metavar="OWNER/NAME", help="say what would go up to the Hub; sends nothing")
    add("--upload", action="store_true", help="with --push: upload, to a private repository")
    add("--json", action="store_true", help="print the report as JSON")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Hand a model over: merge, GGUF, model card, and a check of each.

    Without --merge, --gguf, --card and --push it does the first three. A saved model is loaded
    again and its logits compared; a GGUF file is given to llama.cpp, where that is installed, and
    the token ids of its prompts are compared with those of training. llama.cpp's converter is
    fetched once. The Hub is called only with --push and --upload.

    Exit code 0: done and equal; 1: done, but a check found a difference, or the converter refuses
    the model; 2: nothing to hand over, or no converter.
    """
    if args.upload and not args.push:
        raise DataError("--upload needs --push OWNER/NAME", hint="name the repository to upload to")
    quiet_libraries()
    from sft_helpers.export.hand_over import hand_over

    report = hand_over(args)
    if args.json:
        json.dump(report, sys.stdout, indent=2)
        print()
    else:
        _print(report)
    return 1 if report["problems"] else 0


def _print(report: dict[str, Any]) -> None:
    print(f"{report['folder']}:")
    for name, size in report["files"].items():
        print(f"  {name:<28}{size / 1e6:>10,.2f} MB")
    for name, value in report["checks"].items():
        print(f"{name.replace('_', ' ')}: {value:.3g}")
    for line in report.get("parity", []):
        print(f"  {line}")
    for key in ("not_checked", "not_recorded"):
        if key in report:
            print(f"{key.replace('_', ' ')}: {report[key]}")
    if plan := report.get("push"):
        how = "Uploaded" if plan["done"] else "Dry run, nothing was sent. Would upload"
        print(f"{how} to {plan['repository']} (private): {', '.join(plan['files'])}")
        print(f"stays here: {', '.join(plan['left_out']) or 'nothing'}")
    for problem in report["problems"]:
        print(f"PROBLEM: {problem}")
