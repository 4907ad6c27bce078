"""`sft-helpers convert`: data of any common format to TRL's messages, without a notebook."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from sft_helpers.errors import DataError
from sft_helpers.files import moved_in
from sft_helpers.formats.files import check_output, writer_for


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

    write = writer_for(args.output)
    check_output(args.output, [args.input], force=args.force)
    report = Report(args.to)
    records = iter_records(args.input, notes=report.notes, progress=not args.json, split=args.split)
    rows = convert_each(records, report, source=args.source, keep=args.keep)
    with moved_in(args.output) as part:
        write(part, (row for _, row in rows))
        _refuse_nothing(report)
    if args.json:
        json.dump(report.to_dict() | {"output": str(args.output)}, sys.stdout, indent=2)
        print()
    else:
        print(printable(str(report)))
        print(f"Wrote {args.output}")
    return 1 if report.rejected else 0


def printable(text: str) -> str:
    """Text that any terminal takes, hidden characters named."""
    from sft_helpers.display.html import visible_text

    encoding = sys.stdout.encoding or "utf-8"
    shown = "\n".join(visible_text(line) for line in text.split("\n"))
    return shown.encode(encoding, "backslashreplace").decode(encoding)


def _refuse_nothing(report: Any) -> None:
    if not report.converted:
        first = f": {report.rejected[0].reason}" if report.rejected else ""
        raise DataError(
            f"no row could be converted, nothing was written{first}",
            where=report.rejected[0].place if report.rejected else None,
            hint="look at the first rows; --from FORMAT says what they are meant to be",
        )
