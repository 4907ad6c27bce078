"""The command `sft-helpers`: one sub-command per job, each with `--help` and `--json`."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from sft_helpers.errors import SFTHelpersError


def build_parser() -> argparse.ArgumentParser:
    """The parser with every sub-command."""
    from sft_helpers import (
        class_report,
        clean,
        convert,
        doctor,
        export_command,
        lint,
        memory_command,
        preflight_command,
        progress_command,
        quickstart,
        run,
    )
    from sft_helpers.exercises import solutions

    parser = argparse.ArgumentParser(
        prog="sft-helpers",
        description="Tools of the SFT teaching kit: supervised fine-tuning with TRL, step by step.",
        epilog="Exit codes: 0 done; 1 done, but something is wrong (printed); 2 cannot run;"
        " 130 interrupted. New here? Run `sft-helpers quickstart`.",
    )
    commands = parser.add_subparsers(title="commands", dest="command", metavar="COMMAND")
    quickstart.add_parser(commands)
    run.add_parser(commands)
    doctor.add_parser(commands)
    convert.add_parser(commands)
    clean.add_parser(commands)
    preflight_command.add_parser(commands)
    lint.add_parser(commands)
    memory_command.add_parser(commands)
    export_command.add_parser(commands)
    progress_command.add_parser(commands)
    class_report.add_parser(commands)
    solutions.add_parser(commands)
    return parser


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


if __name__ == "__main__":
    sys.exit(main())
