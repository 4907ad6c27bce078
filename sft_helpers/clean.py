"""`sft-helpers clean`: the cleaning funnel over a file, without a notebook."""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sft_helpers.convert import printable
from sft_helpers.errors import DataError

if TYPE_CHECKING:
    from sft_helpers.cleaning import Funnel, Report, Rule, Thresholds
    from sft_helpers.formats.record import Record


def add_parser(commands: Any) -> None:
    """Add the sub-command to the command line."""
    parser = commands.add_parser(
        "clean",
        help="clean a file of conversations and account for every row",
        description=run.__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("input", metavar="IN", help="a file or folder of rows with `messages`")
    parser.add_argument(
        "output", metavar="OUT", type=Path, help="a .jsonl, .json, .csv or .parquet file"
    )
    parser.add_argument("--report", type=Path, metavar="FILE", help="write the report as JSON here")
    parser.add_argument(
        "--eval", metavar="FILE", help="evaluation rows that OUT must not give away"
    )
    parser.add_argument(
        "--rule",
        action="append",
        default=[],
        metavar="NAME=ACTION",
        help="keep, drop, fix or flag what a rule catches, such as refusal=flag",
    )
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="NAME=NUMBER",
        help="a threshold, such as max_tokens=2048",
    )
    parser.add_argument(
        "--tokenizer", metavar="MODEL", help="count tokens with tiny, smollm2, a hub id or a folder"
    )
    parser.add_argument("--samples", type=int, default=5, help="samples a rule (default: 5)")
    parser.add_argument("--force", action="store_true", help="replace OUT and FILE if they exist")
    parser.add_argument("--json", action="store_true", help="print the report as JSON")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Put every row of a file through the cleaning rules; the input is never changed.

    IN is read row by row, so it may be larger than memory. Exit code 0: every row was judged, and
    OUT holds those that stay; 1: the same, but some rows were no conversations or nothing stays;
    2: nothing was written. Rules and thresholds are listed in the report; data of another format
    go through `sft-helpers convert` first.
    """
    from sft_helpers.cleaning import Funnel
    from sft_helpers.formats.loading import iter_records

    rules, limits = _rules(args.rule), _thresholds(args.set)
    if args.samples < 0:
        raise DataError("a number of samples is 0 or more", where="--samples")
    tokenizer = None
    if args.tokenizer:
        from transformers import AutoTokenizer

        from sft_helpers.models import resolve

        tokenizer = AutoTokenizer.from_pretrained(resolve(args.tokenizer))
    known = None
    if args.eval:
        known = [_value(record) for record in iter_records(args.eval, progress=False)]
    funnel = Funnel(
        rules, thresholds=limits, eval_rows=known, tokenizer=tokenizer, samples=args.samples
    )
    records = iter_records(args.input, progress=not args.json)
    rows = funnel.stream(_value(record) for record in records)
    _write(args, rows, funnel)
    report = funnel.report
    if args.json:
        json.dump(_told(report, limits), sys.stdout, indent=2)
        print()
    else:
        _print(report, args.output)
    return 1 if report.dropped["structure"] or not report.rows_kept else 0


def _value(record: Record) -> Any:
    # a line that cannot be read goes on as what it is: no conversation, counted by the funnel
    return record.value if record.problem is None else f"{record.place}: {record.problem}"


def _pairs(given: Sequence[str], option: str) -> dict[str, str]:
    pairs = {}
    for text in given:
        name, equals, value = text.partition("=")
        if not equals or not name or not value:
            raise DataError(
                f"{text!r} is not NAME=VALUE",
                where=option,
                hint="for example --rule refusal=flag, or --set max_tokens=2048",
            )
        pairs[name.strip()] = value.strip()
    return pairs


def _rules(given: Sequence[str]) -> tuple[Rule, ...]:
    from sft_helpers.cleaning import default_rules

    return default_rules(**_pairs(given, "--rule"))


def _thresholds(given: Sequence[str]) -> Thresholds:
    from sft_helpers.cleaning import Thresholds

    defaults = Thresholds()
    kinds = {
        field.name: type(getattr(defaults, field.name)) for field in dataclasses.fields(defaults)
    }
    changes: dict[str, Any] = {}
    for name, value in _pairs(given, "--set").items():
        if name not in kinds:
            raise DataError(
                f"there is no threshold {name!r}",
                where="--set",
                hint="the thresholds are " + ", ".join(kinds),
            )
        try:
            changes[name] = _number(value, kinds[name])
        except (ValueError, KeyError):
            raise DataError(
                f"{value!r} is not a {kinds[name].__name__}", where=f"--set {name}"
            ) from None
    return dataclasses.replace(defaults, **changes)


def _number(value: str, kind: type) -> Any:
    if kind is bool:
        return {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}[
            value.lower()
        ]
    return kind(value)


def _write(args: argparse.Namespace, rows: Iterator[Any], funnel: Funnel) -> None:
    """Write rows and report, or neither."""
    from sft_helpers.files import moved_in, write_whole
    from sft_helpers.formats.files import check_output, writer_for

    write = writer_for(args.output)
    sources = [name for name in (args.input, args.eval) if name]
    if args.report is not None:
        if args.report.resolve() == args.output.resolve():
            raise DataError(
                "rows and report need two files",
                where=str(args.output),
                hint="give --report another name",
            )
        check_output(args.report, sources, force=args.force)
    check_output(args.output, sources, force=args.force)
    with moved_in(args.output) as part:
        write(part, (dict(row) for row in rows))
        _refuse_other_formats(funnel.report)
        if args.report is not None:
            told = json.dumps(_told(funnel.report, funnel.limits), indent=2)
            write_whole(args.report, told + "\n")


def _refuse_other_formats(report: Report) -> None:
    if report.rows_in and report.dropped["structure"] == report.rows_in:
        raise DataError(
            f"no row is a conversation: {report.samples['structure'][0].reason}"
            if report.samples.get("structure")
            else "no row is a conversation",
            hint="`sft-helpers convert` turns other formats into `messages`",
        )


def _told(report: Report, limits: Thresholds) -> dict[str, Any]:
    return {"thresholds": dataclasses.asdict(limits), **report.to_dict()}


def _print(report: Report, out: Path) -> None:
    from rich.console import Console
    from rich.table import Table

    console = Console()
    table = Table(title=f"{report.rows_in:,} rows in, {report.rows_kept:,} stay")
    for heading in ("rule", "action", "caught", "dropped", "rows left"):
        table.add_column(heading, justify="left" if heading in ("rule", "action") else "right")
    for line in report.table():
        if line["caught"]:
            table.add_row(*(f"{v:,}" if isinstance(v, int) else str(v) for v in line.values()))
    table.add_row("(others)", "", "0", "0", f"{report.rows_kept:,}")
    console.print(table)
    for name, samples in report.samples.items():
        for sample in samples[:1]:
            console.print(
                printable(f"{name}, row {sample.number + 1}: {sample.reason}"), markup=False
            )
    console.print(f"Wrote {out}", markup=False)
