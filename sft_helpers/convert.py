"""`sft-helpers convert`: data of any common format to TRL's messages, without a notebook."""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from sft_helpers.errors import DataError, EnvironmentProblem
from sft_helpers.formats.files import WRITERS


def add_parser(commands: Any) -> None:
    """Add the sub-command to the command line."""
    parser = commands.add_parser(
        "convert",
        help="convert a data file between formats and account for every row",
        description=run.__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("input", metavar="IN", help="a file, a folder of files, or a hub id")
    parser.add_argument(
        "output", metavar="OUT", type=Path, help="a .jsonl, .json, .csv or .parquet file"
    )
    parser.add_argument(
        "--to", default="messages", metavar="FORMAT", help="format to write (default: %(default)s)"
    )
    parser.add_argument(
        "--from", dest="source", metavar="FORMAT", help="format to read; by default each row's own"
    )
    parser.add_argument("--keep", nargs="+", default=[], metavar="COLUMN", help="columns to keep")
    parser.add_argument("--split", help="split of a hub data set")
    parser.add_argument("--force", action="store_true", help="replace OUT if it exists")
    parser.add_argument("--json", action="store_true", help="print the report as JSON")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Convert training data; the input is never changed.

    Formats: messages, openai, ultrachat, sharegpt, alpaca, chatml, prompt_completion,
    prompt_completion_messages, question_answer. Exit code 0: every row was converted; 1: some
    were rejected (the report names each with its line), the others are written; 2: nothing was
    written.
    """
    from sft_helpers.formats import Report
    from sft_helpers.formats.conversion import convert_each
    from sft_helpers.formats.loading import iter_records

    _check_output(args)
    report = Report(args.to)
    records = iter_records(args.input, notes=report.notes, progress=not args.json, split=args.split)
    rows = convert_each(records, report, source=args.source, keep=args.keep)
    _write(args.output, (row for _, row in rows), report)
    if args.json:
        json.dump(report.to_dict() | {"output": str(args.output)}, sys.stdout, indent=2)
        print()
    else:
        print(_printable(str(report)))
        print(f"Wrote {args.output}")
    return 1 if report.rejected else 0


def _printable(text: str) -> str:
    """Text that any terminal takes, hidden characters named."""
    from sft_helpers.display.html import visible_text

    encoding = sys.stdout.encoding or "utf-8"
    shown = "\n".join(visible_text(line) for line in text.split("\n"))
    return shown.encode(encoding, "backslashreplace").decode(encoding)


def _check_output(args: argparse.Namespace) -> None:
    out: Path = args.output
    if out.suffix.lower() not in WRITERS:
        raise DataError(
            f"files of type {out.suffix or '(no ending)'} are not written here",
            where=str(out),
            hint=f"end the name with one of {', '.join(WRITERS)}",
        )
    source = Path(args.input).expanduser()
    if out.exists():
        if source.exists() and out.resolve().is_relative_to(source.resolve()):
            raise DataError(
                "this would replace the input", where=str(out), hint="choose another OUT"
            )
        if out.is_dir() or not args.force:
            raise DataError(
                "this exists already", where=str(out), hint="choose another name, or pass --force"
            )


def _write(out: Path, rows: Iterable[dict[str, Any]], report: Any) -> None:
    """Write beside `out` and put it in place at the end, whole or not at all."""
    part = out.with_name(f"{out.name}.part-{os.getpid()}")
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        WRITERS[out.suffix.lower()](part, rows)
        if not report.converted:
            first = f": {report.rejected[0].reason}" if report.rejected else ""
            raise DataError(
                f"no row could be converted, nothing was written{first}",
                where=report.rejected[0].place if report.rejected else None,
                hint="look at the first rows; --from FORMAT says what they are meant to be",
            )
        part.replace(out)
    except OSError as problem:
        raise EnvironmentProblem(
            f"cannot write ({problem.strerror})",
            where=str(out),
            hint="check permissions and free space, or choose another OUT",
        ) from None
    finally:
        with contextlib.suppress(OSError):
            part.unlink()
