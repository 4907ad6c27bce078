"""The command about a finished model: export."""

from __future__ import annotations

import argparse
from typing import Any

from sft_helpers.cli.printing import print_json
from sft_helpers.errors import DataError


def export(args: argparse.Namespace) -> int:
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
    from sft_helpers.export.hand_over import hand_over
    from sft_helpers.quiet import quiet_libraries

    quiet_libraries()

    report = hand_over(args)
    if args.json:
        print_json(report)
    else:
        _print_export(report)
    return 1 if report["problems"] else 0


def _print_export(report: dict[str, Any]) -> None:
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
