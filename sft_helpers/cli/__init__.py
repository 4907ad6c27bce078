"""The command `sft-helpers`: one sub-command per job, each with `--help` and `--json`.

What each takes stands in `commands.yaml`; printing and exit codes stand in the module that it
names; what a command does stands in its room. Nothing heavy is imported before a command runs, so
that `--help` is quick.
"""

from __future__ import annotations

import argparse
import inspect
import sys
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

import yaml

from sft_helpers.errors import SFTHelpersError


def build_parser() -> argparse.ArgumentParser:
    """The parser with every sub-command, as `commands.yaml` has them."""
    parser = argparse.ArgumentParser(
        prog="sft-helpers",
        description="Tools of the SFT teaching kit: supervised fine-tuning with TRL, step by step.",
        epilog="Exit codes: 0 done; 1 done, but something is wrong (printed); 2 cannot run;"
        " 130 interrupted. New here? Run `sft-helpers quickstart`.",
    )
    commands = parser.add_subparsers(title="commands", dest="command", metavar="COMMAND")
    told = yaml.safe_load(Path(__file__).with_name("commands.yaml").read_text("utf-8"))
    for name, entry in told.items():
        room = import_module(f"sft_helpers.cli.{entry['module']}")
        run = getattr(room, name.replace("-", "_"))
        made = commands.add_parser(
            name,
            help=entry["help"],
            description=inspect.cleandoc(run.__doc__),
            epilog=entry.get("epilog"),
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        made.set_defaults(run=run)
        for words, options in entry["arguments"].items():
            _add(made, words, **options)
    return parser


TYPES = {"path": Path, "int": int, "float": float}


def _add(
    parser: argparse.ArgumentParser,
    words: str,
    *,
    type: str = "",
    many: bool = False,
    again: bool = False,
    **options: Any,
) -> None:
    """Add an argument as it stands in `commands.yaml`."""
    if type == "flag":
        options["action"] = "store_true"
    elif type == "switch":
        options["action"] = argparse.BooleanOptionalAction
    elif type:
        options["type"] = TYPES[type]
        if "default" in options:
            options["default"] = TYPES[type](options["default"])
    if many:
        options |= {"nargs": "+", "default": []}
    if again:
        options |= {"action": "append", "default": []}
    parser.add_argument(*words.split(), **options)


def main(argv: Sequence[str] | None = None) -> int:
    """Run a sub-command and return the process's exit code."""
    parser = build_parser()
    args = parser.parse_args(argv)
    if args.command is None:
        parser.print_help()
        return 0
    try:
        return int(args.run(args))
    except SFTHelpersError as problem:
        print(f"sft-helpers {args.command}: {problem}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print(
            f"\nInterrupted. Run `sft-helpers {args.command}` again: nothing is half done.",
            file=sys.stderr,
        )
        return 130
