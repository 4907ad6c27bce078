"""Commands about rows: convert and clean."""

from __future__ import annotations

import argparse
import dataclasses
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sft_helpers.cli.printing import print_json, print_table, printable
from sft_helpers.errors import DataError

if TYPE_CHECKING:
    from sft_helpers.cleaning import Funnel, Report, Thresholds
    from sft_helpers.formats.record import Record


def convert(args: argparse.Namespace) -> int:
    """Convert training data; the input is never changed.

    Formats: messages, openai, ultrachat, sharegpt, alpaca, chatml, prompt_completion,
    prompt_completion_messages, question_answer. Exit code 0: every row was converted; 1: some
    were rejected (the report names each with its line), the others are written; 2: nothing was
    written.
    """
    from sft_helpers.files import moved_in
    from sft_helpers.formats import Report
    from sft_helpers.formats.conversion import convert_each
    from sft_helpers.formats.files import check_output, writer_for
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
        print_json(report.to_dict() | {"output": str(args.output)})
    else:
        print(printable(str(report)))
        print(f"Wrote {args.output}")
    return 1 if report.rejected else 0


def _refuse_nothing(report: Any) -> None:
    if not report.converted:
        first = f": {report.rejected[0].reason}" if report.rejected else ""
        raise DataError(
            f"no row could be converted, nothing was written{first}",
            where=report.rejected[0].place if report.rejected else None,
            hint="look at the first rows; --from FORMAT says what they are meant to be",
        )


def clean(args: argparse.Namespace) -> int:
    """Put every row of a file through the cleaning rules; the input is never changed.

    IN is read row by row, so it may be larger than memory. Exit code 0: every row was judged, and
    OUT holds those that stay; 1: the same, but some rows were no conversations or nothing stays;
    2: nothing was written. Rules and thresholds are listed in the report; data of another format
    go through `sft-helpers convert` first.
    """
    from sft_helpers.cleaning import Funnel, default_rules
    from sft_helpers.formats.loading import iter_records

    rules = default_rules(**_pairs(args.rule, "--rule"))
    limits = _thresholds(args.set)
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
    _write_cleaned(args, rows, funnel)
    report = funnel.report
    if args.json:
        print_json(_told(report, limits))
    else:
        _show_cleaning(report, args.output)
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


def _write_cleaned(args: argparse.Namespace, rows: Iterator[Any], funnel: Funnel) -> None:
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


def _show_cleaning(report: Report, out: Path) -> None:
    listing = [line for line in report.table() if line["caught"]]
    headings = ("rule", "action", "caught", "dropped", "rows left")
    rows = [dict(zip(headings, line.values(), strict=True)) for line in listing]
    rows.append(dict(zip(headings, ("(others)", "", 0, 0, report.rows_kept), strict=True)))
    print_table(f"{report.rows_in:,} rows in, {report.rows_kept:,} stay", rows)
    for name, samples in report.samples.items():
        for sample in samples[:1]:
            print(printable(f"{name}, row {sample.number + 1}: {sample.reason}"))
    print(printable(f"Wrote {out}"))
