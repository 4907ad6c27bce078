"""`sft-helpers export`: from a training folder to files that a server reads, each one checked."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from sft_helpers.errors import DataError, ModelError
from sft_helpers.quiet import quiet_libraries

RECORD = "run.json"  # a recorded run: the arguments of `model_card`, beside the model
# What the kit's QLoRA recipe trains on.
QLORA = {
    "load_in_4bit": True,
    "bnb_4bit_quant_type": "nf4",
    "bnb_4bit_use_double_quant": True,
    "bnb_4bit_compute_dtype": "float32",
}


def add_parser(commands: Any) -> None:
    """Add the sub-command to the command line."""
    parser = commands.add_parser(
        "export",
        help="merge a trained model and write GGUF, Modelfile and model card, each checked",
        description=run.__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "model", metavar="MODEL_FOLDER", type=Path, help="what trainer.save_model wrote"
    )
    parser.add_argument(
        "--out", type=Path, help="folder for the merged model (default: MODEL_FOLDER-export)"
    )
    parser.add_argument(
        "--merge", action="store_true", help="merge the adapter and save a plain model into --out"
    )
    parser.add_argument("--base", help="base model of the adapter, if it has moved")
    parser.add_argument(
        "--qlora", action="store_true",
        help="the adapter was trained on a base in NF4 with double quantization",
    )  # fmt: skip
    parser.add_argument(
        "--dtype", default="float32", help="type of the saved weights (default: %(default)s)"
    )
    parser.add_argument(
        "--gguf", nargs="?", const="q8_0", metavar="KIND",
        help="write a GGUF file: f32, f16, bf16, q8_0 (default), q5_1, q5_0, q4_1 or q4_0",
    )  # fmt: skip
    parser.add_argument(
        "--modelfile", action="store_true", help="write an Ollama Modelfile for the GGUF file"
    )
    parser.add_argument(
        "--card", nargs="?", const="", metavar="RUN.json",
        help=f"write README.md from a recorded run (default: {RECORD} in MODEL_FOLDER)",
    )  # fmt: skip
    parser.add_argument(
        "--push", metavar="OWNER/NAME", help="say what would go up to the Hub; sends nothing"
    )
    parser.add_argument(
        "--upload", action="store_true", help="with --push: really upload, to a private repository"
    )
    parser.add_argument("--json", action="store_true", help="print the report as JSON")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Hand a model over: merge, GGUF, Modelfile, model card, and a check of each.

    Without --merge, --gguf, --modelfile, --card and --push it does the first four. Every file that
    is written is read back: logits are compared with the model's, and the prompts that servers
    would build with the token ids of training. The Hub is called only with --push and --upload.

    Exit code 0: done and equal; 1: done, but a check found a difference; 2: nothing to hand over.
    """
    if args.upload and not args.push:
        raise DataError("--upload needs --push OWNER/NAME", hint="name the repository to upload to")
    quiet_libraries()
    if not (args.merge or args.gguf or args.modelfile or args.card is not None or args.push):
        args.merge, args.gguf, args.modelfile, args.card = True, "q8_0", True, ""
    report = _Export(args).report()
    if args.json:
        json.dump(report, sys.stdout, indent=2)
        print()
    else:
        _print(report)
    return 1 if report["problems"] else 0


class _Export:
    """One export: what was asked, the model once it is loaded, and the report as it grows."""

    def __init__(self, args: argparse.Namespace) -> None:
        from sft_helpers.export import merge

        self.args = args
        adapter = (args.model / "adapter_config.json").is_file()
        if adapter and not args.merge and (args.gguf or args.modelfile):
            raise ModelError(
                "this is an adapter, and servers take a whole model",
                where=str(args.model),
                hint="add --merge",
            )
        self.model, self.tokenizer = merge(
            args.model, base=args.base, four_bit=QLORA if args.qlora else None, dtype=args.dtype
        )
        self.place = args.model
        if args.merge:
            self.place = args.out or args.model.with_name(f"{args.model.name}-export")
        self.found: dict[str, Any] = {"folder": str(self.place), "checks": {}, "problems": []}

    def report(self) -> dict[str, Any]:
        """Do what was asked, in order."""
        args = self.args
        if args.merge:
            self._merge()
        if args.gguf:
            self._gguf()
        if args.modelfile:
            self._modelfile()
        if args.gguf or args.modelfile:
            self._parity()
        if args.card is not None:
            self._card()
        if args.push:
            from sft_helpers.export import push

            self.found["push"] = asdict(push(self.place, args.push, dry_run=not args.upload))
        self.found["files"] = {
            path.name: path.stat().st_size
            for path in sorted(self.place.iterdir())
            if path.is_file()
        }
        return self.found

    def _texts(self) -> list[str]:
        from sft_helpers.modelfile import PROBES
        from sft_helpers.templates import plain_text

        return [text for probe in PROBES if (text := plain_text(self.tokenizer, probe)[0])]

    def _merge(self) -> None:
        from sft_helpers.adapters import max_logit_difference
        from sft_helpers.export import save
        from sft_helpers.models import load

        save(self.model, self.tokenizer, self.place)
        again, _ = load(str(self.place), dtype=self.args.dtype)
        difference = max_logit_difference(self.model, again, self.tokenizer, self._texts())
        self.found["checks"]["reload_max_logit_difference"] = difference
        if difference > 1e-4:
            self.found["problems"].append("the saved folder loads as another model")

    def _gguf(self) -> None:
        from sft_helpers.adapters import max_logit_difference
        from sft_helpers.gguf import NotWritten, convert, reload

        file = self.place / f"model-{self.args.gguf}.gguf"
        try:
            convert(self.place, file, self.args.gguf, name=self.place.name)
        except NotWritten as problem:
            self.found["problems"].append(f"no GGUF file: {problem}")
            return
        again, _ = reload(file)
        self.found["checks"]["gguf_max_logit_difference"] = max_logit_difference(
            self.model.float(), again, self.tokenizer, self._texts()
        )

    def _file(self) -> Path:
        """The GGUF file that was asked for, or one that lies there; it may still be missing."""
        files = sorted(self.place.glob("*.gguf"))
        if self.args.gguf or not files:
            return self.place / f"model-{self.args.gguf or 'q8_0'}.gguf"
        return files[0]

    def _modelfile(self) -> None:
        from sft_helpers.modelfile import CannotExpress, modelfile

        length = int(getattr(self.model.config, "max_position_embeddings", 2048))
        try:
            text = modelfile(self.tokenizer, self._file(), num_ctx=min(length, 8192))
        except CannotExpress as problem:
            self.found["problems"].append(f"no Modelfile: {problem}")
            return
        (self.place / "Modelfile").write_text(text, encoding="utf-8")

    def _parity(self) -> None:
        from contextlib import ExitStack

        from sft_helpers.llama_cpp import MISSING, LlamaCpp, available
        from sft_helpers.modelfile import PROBES
        from sft_helpers.serving_parity import check_parity, usual_servers
        from sft_helpers.templates import plain_text

        answer = {"role": "assistant", "content": "Yes."}
        rows = [[*probe, answer] for probe in PROBES]
        rows = [row for row in rows if plain_text(self.tokenizer, row)[1] is None]
        written = self.place / "Modelfile"
        text = written.read_text("utf-8") if written.is_file() else None
        file = self._file() if self._file().is_file() else None
        with ExitStack() as stack:
            engine = None
            if file is not None and available():
                engine = stack.enter_context(LlamaCpp(file))
            elif file is not None:
                self.found["not_checked"] = f"llama.cpp: {MISSING}"
            servers = usual_servers(self.place, file, text, engine)
            checked = check_parity(self.tokenizer, rows, servers)
        self.found["checks"]["parity"] = checked.share
        self.found["parity"] = str(checked).splitlines()
        if checked.share < 1:
            self.found["problems"].append("a server would build other token ids than training")

    def _card(self) -> None:
        from sft_helpers.export import model_card

        args = self.args
        known: dict[str, Any] = {
            "model": self.place.name, "base": _base(args), "data": {}, "recipe": {}, "scores": {},
            "versions": {}, "limits": [],
        }  # fmt: skip
        record = Path(args.card) if args.card else args.model / RECORD
        if args.card or record.is_file():
            known |= _read_record(record)
        else:
            self.found["not_recorded"] = f"no {RECORD} in {args.model}: the card says so"
        try:
            text = model_card(**known)
        except TypeError as problem:
            raise DataError(str(problem), where=str(record)) from None
        (self.place / "README.md").write_text(text, encoding="utf-8")


def _base(args: argparse.Namespace) -> str:
    if args.base:
        return str(args.base)
    named = args.model / "adapter_config.json"
    if not named.is_file():
        return "not recorded"
    return str(json.loads(named.read_text("utf-8")).get("base_model_name_or_path"))


def _read_record(record: Path) -> dict[str, Any]:
    try:
        found = json.loads(record.read_text("utf-8"))
    except (OSError, ValueError) as problem:
        raise DataError(
            f"this recorded run cannot be read ({problem})",
            where=str(record),
            hint="it is JSON: the arguments of sft_helpers.export.model_card",
        ) from None
    if not isinstance(found, dict):
        raise DataError("a recorded run is a JSON object", where=str(record))
    return found


def _print(report: Mapping[str, Any]) -> None:
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
    if "push" in report:
        from sft_helpers.export import Push

        print(Push(**report["push"]))
    for problem in report["problems"]:
        print(f"PROBLEM: {problem}")
