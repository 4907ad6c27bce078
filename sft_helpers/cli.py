"""The command `sft-helpers`: one sub-command per job, each with `--help` and `--json`.

Arguments, printing and exit codes stand here; what a command does stands in its room. Nothing
heavy is imported before a command runs, so that `--help` is quick.
"""

from __future__ import annotations

import argparse
import dataclasses
import inspect
import json
import shutil
import sys
from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from sft_helpers.errors import DataError, SFTHelpersError

if TYPE_CHECKING:
    from sft_helpers.cleaning import Funnel, Report, Thresholds
    from sft_helpers.formats.record import Record
    from sft_helpers.lint import Report as Findings

LOADING = "Loading PyTorch, Transformers and TRL (10 to 30 seconds) ..."


def build_parser() -> argparse.ArgumentParser:
    """The parser with every sub-command, as `commands.yaml` has them."""
    from sft_helpers import memory_command

    parser = argparse.ArgumentParser(
        prog="sft-helpers",
        description="Tools of the SFT teaching kit: supervised fine-tuning with TRL, step by step.",
        epilog="Exit codes: 0 done; 1 done, but something is wrong (printed); 2 cannot run;"
        " 130 interrupted. New here? Run `sft-helpers quickstart`.",
    )
    commands = parser.add_subparsers(title="commands", dest="command", metavar="COMMAND")
    told = yaml.safe_load(Path(__file__).with_name("commands.yaml").read_text("utf-8"))
    for name, entry in told.items():
        run = globals()[name.replace("-", "_")]
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
    memory_command.add_parser(commands)
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
    elif type:
        options["type"] = TYPES[type]
        if "default" in options:
            options["default"] = TYPES[type](options["default"])
    if many:
        options |= {"nargs": "+", "default": []}
    if again:
        options |= {"action": "append", "default": []}
    parser.add_argument(*words.split(), **options)


# --- printing ----------------------------------------------------------------------------------


def print_json(value: Any) -> None:
    """Print a value as JSON that any terminal takes."""
    print(json.dumps(value, indent=2))


def print_table(
    title: str, rows: Sequence[Mapping[str, Any]], console: Any = None, **options: Any
) -> None:
    """Print rows as a table; text from files is shown, never obeyed."""
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    from sft_helpers.display.html import visible_text

    table = Table(*(rows[0] if rows else ()), title=escape(title), **options)
    for row in rows:
        cells = (f"{v:,}" if isinstance(v, int) else str(v) for v in row.values())
        table.add_row(*(escape(visible_text(cell)) for cell in cells))
    (console or Console()).print(table)


def printable(text: str) -> str:
    """Text that any terminal takes, hidden characters named."""
    from sft_helpers.display.html import visible_text

    encoding = sys.stdout.encoding or "utf-8"
    shown = "\n".join(visible_text(line) for line in text.split("\n"))
    return shown.encode(encoding, "backslashreplace").decode(encoding)


def interval(score: Mapping[str, Any]) -> str:
    """A share with its interval, such as `0.91 [0.88, 0.94]`."""
    return f"{score['value']:.2f} [{score['low']:.2f}, {score['high']:.2f}]"


# --- quickstart and run ------------------------------------------------------------------------


def quickstart(args: argparse.Namespace) -> int:
    """A real supervised fine-tuning run with TRL, offline, on any laptop.

    Loads the Lantern Bay base model (it completes documents, it answers nothing), asks it
    questions about residents whose questions are in no training file, trains it with TRL's
    SFTTrainer on questions about *other* residents, and asks again.
    """
    from rich.console import Console

    from sft_helpers import quickstart as room

    console = Console(stderr=args.json)
    result = room.train_and_compare(args.out, args.questions, args.seed, console)
    if args.json:
        print_json(result)
    else:
        _show_quickstart(result, console)
    return 0


def _show_quickstart(result: dict[str, Any], console: Any) -> None:
    def short(text: str, width: int = 70) -> str:
        line = " ".join(text.split())
        return line if len(line) <= width else line[: width - 1] + "…"

    examples = [
        {"Question": row["question"], "Expected": row["expected"]}
        | {
            key.capitalize(): f"{'✓' if row[f'{key}_ok'] else '✗'} {short(row[key])}"
            for key in ("before", "after")
        }
        for row in result["examples"]
    ]
    title = "The same questions, before and after fine-tuning"
    print_table(title, examples, console, show_lines=True)
    scores = [
        {
            "": name,
            "Exact match [95 % interval]": interval(result[name]["exact_match"]),
            "Ends its turn": f"{result[name]['stop_rate']:.2f}",
        }
        for name in ("before", "after")
    ]
    title = f"{result['questions']} questions about residents never asked about"
    print_table(title, scores, console)
    console.print(
        f"Trained on {result['train_rows']} rows in {result['train_seconds']} s"
        f" ({result['steps']} steps). The base model knew these residents from its pretraining;"
        f" fine-tuning taught it to answer.\nThe model is in {result['model']}.\n"
        "Next: make lab, then open notebooks/00_quickstart.ipynb.",
        markup=False,
    )


def run(args: argparse.Namespace) -> int:
    """Do a whole fine-tuning run from the YAML file that `trl sft --config` takes, unchanged.

    Stages: data (load, recognise the format, convert, hold rows out), clean (with --clean),
    preflight (errors stop the run), before (ask the base model the held-out questions), train
    (TRL's SFTTrainer, with checkpoints), after (ask again), card. Each stage is kept in the
    config's output_dir. Killed, or out of power? Run the same command again: finished stages are
    read, training goes on from its last sound checkpoint, and the result is the same.

        sft-helpers run sft.yaml --train tickets.csv --clean --group customer

    What you find in output_dir: model/ with README.md (the card), report.json (every number),
    preflight.json, answers/, rows/. Nothing that is there already is replaced, unless you pass
    --overwrite, which removes an earlier run and nothing else. Nothing is pushed anywhere.

    Exit code 0: done; 1: preflight found errors and nothing was trained; 2: cannot run.
    """
    from rich.console import Console

    console = Console(stderr=args.json, highlight=False)
    with console.status(LOADING):
        from sft_helpers.quiet import quiet_libraries

        quiet_libraries()
        import trl  # noqa: F401

    from sft_helpers.display.monitor import watch
    from sft_helpers.training.pipeline import Options, Pipeline, Stopped

    options = Options(
        train=args.train,
        evaluation=args.eval,
        holdout=args.holdout,
        group=args.group,
        clean=args.clean,
        questions=args.questions,
        despite_errors=args.despite_errors,
    )
    pipeline = Pipeline(
        args.config,
        options,
        overwrite=args.overwrite,
        tell=lambda text: console.print(f"· {text}", markup=False),
        follow=watch,
    )
    try:
        report = pipeline.finish()
    except Stopped as stopped:
        return _stopped(stopped.report, console, args.json)
    if args.json:
        print_json(report)
    else:
        if pipeline.folder.reused:
            console.print(f"Found done: {', '.join(pipeline.folder.reused)}", markup=False)
        _show_run(report, console)
    return 0


def _stopped(report: dict[str, Any], console: Any, as_json: bool) -> int:
    if as_json:
        print_json({"preflight": report})
        return 1
    console.print("Preflight found errors, so nothing was trained:", style="bold")
    for one in report["findings"]:
        if one["severity"] == "error":
            console.print(f"✗ {one['code']}: {one['message']}", markup=False)
            console.print(f"  mend: {one['fix']}", markup=False)
    console.print("Mend them and run again, or pass --despite-errors if you know better.")
    return 1


def _show_run(report: dict[str, Any], console: Any) -> None:
    data, kept, train = report["data"], report["clean"], report["train"]
    formats = ", ".join(key for one in data["conversion"] for key in one["formats"])
    rejected = sum(len(one["rejected"]) for one in data["conversion"])
    console.print(
        f"Rows: {formats}; {kept['rows']:,} trained on, {kept['held_out']:,} held out,"
        f" {rejected:,} not convertible; trained as {data['shape']}",
        markup=False,
    )
    for one in report["preflight"]["findings"]:
        console.print(f"preflight {one['severity']}: {one['code']}", markup=False)
    scores = []
    for when in ("before", "after"):
        score, loss = report[when]["score"], train["eval_loss"][when]
        scores.append(
            {
                "": when,
                "Exact match [95 % interval]": interval(score["exact_match"])
                if score
                else "not asked",
                "Ends its turn": f"{score['stop_rate']:.2f}" if score else "",
                "Held-out loss": "" if loss is None else f"{loss:.3f}",
            }
        )
    title = f"{train['steps']} steps, {train['trained_weights']:,} weights trained"
    print_table(title, scores, console)
    console.print(f"Model and card: {report['folder']}/model", markup=False)


def doctor(args: argparse.Namespace) -> int:
    """Look at this machine and say what to do about each problem, the most serious first.

    Changes nothing, needs no network. Exit code 1 when something is at error level.
    """
    from sft_helpers.doctor import diagnose

    report = diagnose()
    print(json.dumps(report.to_json(), indent=2) if args.json else report)
    return 0 if report.ok else 1


# --- data and set-up ---------------------------------------------------------------------------


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


def preflight(args: argparse.Namespace) -> int:
    """Look at data, template, loss mask, arguments, adapter and memory of a run.

    Takes exactly the file that `trl sft --config` takes. Trains nothing, changes no file, opens no
    connection: model and tokenizer are read from a folder or from the cache of earlier downloads.
    Rows are files of JSON lines, JSON, CSV or Parquet; they are counted from 0. All are read; of
    more than 20,000 rows, or 32 MB, the tokens of a sample are looked at, and the report says so.
    Exit code 0: nothing at error level; 1: findings at error level; 2: it cannot run.
    """
    from rich.console import Console

    with Console(stderr=True).status(LOADING):
        from sft_helpers.preflight.report import show
        from sft_helpers.preflight.run_file import report_on

    report = report_on(args.config, train=args.train, evaluation=args.eval)
    if args.json:
        print_json(report.to_json())
    else:
        show(report, Console(highlight=False))
    return 1 if report.has_errors else 0


# --- lint ----------------------------------------------------------------------------------------

LEVELS = {"error": "bold red", "warning": "yellow", "note": "cyan", "unknown": "dim"}


def lint(args: argparse.Namespace) -> int:
    """Read code without running it, and compare it with the installed packages.

    Tutorials are written for the TRL of their day. `lint` names every import, argument and value
    that the installed trl, transformers, peft, bitsandbytes and datasets refuse (error), ignore
    (warning) or will drop (note), with file, cell and line, and what to write instead. What
    depends on a condition or on another file is "unknown", never guessed. The YAML of `trl sft`
    is read by `sft-helpers preflight`.

    A line that shows an old form on purpose ends in `# lint: ok`; a notebook cell can carry the
    tag `old-form`.

    Exit code 0: nothing at error or warning level; 1: something; 2: a path or a file could not
    be read (the others were).
    """
    from rich.console import Console

    from sft_helpers import lint as room

    console = Console(stderr=args.json)
    with console.status("Reading the installed packages (5 to 20 seconds) ..."):
        report = room.lint(args.paths, repair=args.fix)
    if args.json:
        print_json(report.to_json())
    else:
        _show_findings(report, console, unknown=args.unknown)
    for problem in report.unreadable:
        print(f"sft-helpers lint: {problem}", file=sys.stderr)
    if report.unreadable:
        return 2
    return 1 if report.count("error") + report.count("warning") else 0


def _show_findings(report: Findings, console: Any, *, unknown: bool) -> None:
    from rich.markup import escape
    from rich.table import Table

    from sft_helpers.installed import versions

    for finding in report.mended:
        change = " → ".join((finding.rename or {}).values())
        console.print(f"[green]changed[/] {escape(finding.place)}: {escape(change)}")
    shown = [row for row in report.findings if unknown or row.severity != "unknown"]
    for file, rows in groupby(shown, key=lambda row: row.file):
        table = Table(title=escape(file), title_justify="left", title_style="bold", expand=True)
        table.add_column("line", no_wrap=True)
        table.add_column("level", no_wrap=True)
        table.add_column("what", ratio=1, overflow="fold")
        table.add_column("instead", ratio=1, overflow="fold")
        for row in rows:
            level = f"[{LEVELS[row.severity]}]{row.severity}[/]"
            where = row.place.removeprefix(row.file).lstrip(" :")
            table.add_row(escape(where), level, escape(row.message), escape(row.fix))
        console.print(table)
    counts = {name: report.count(name) for name in ("error", "warning", "note", "unknown")}
    told = ", ".join(f"{many} {name}{'s' if many != 1 else ''}" for name, many in counts.items())
    files = "1 file" if report.files == 1 else f"{report.files} files"
    console.print(f"{files}: {told.replace('unknowns', 'unknown')}.")
    if counts["unknown"] and not unknown:
        console.print("[dim]What cannot be told without running the code: --unknown lists it.[/]")
    if any(row.rename for row in shown):
        console.print("Plain renames can be made for you: --fix.")
    if shown:
        lessons = ", ".join(sorted({f"notebooks/{row.lesson}" for row in shown}))
        console.print(f"Explained in {escape(lessons)}.")
    held = ", ".join(f"{name} {version or 'missing'}" for name, version in versions().items())
    console.print(f"[dim]Compared with {held}.[/]")


# --- export --------------------------------------------------------------------------------------


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


# --- the course --------------------------------------------------------------------------------


def progress(args: argparse.Namespace) -> int:
    """Show which notebooks you opened, which exercises you solved, and what comes next.

    Each check in a notebook leaves one line in your record: the exercise, how it ended, the time.
    `--hand-in ada.jsonl` copies it to a file for a class; nothing is sent.
    """
    from sft_helpers import course
    from sft_helpers.lesson import progress_file

    file = args.file or progress_file()
    if args.file and not args.file.exists():
        raise DataError("there is no such file", where=str(args.file))
    entries, damaged = course.read_record(file) if file else ([], [])
    if damaged:
        print(
            f"{file}: {len(damaged)} lines are damaged and left out (the first: {damaged[0]})",
            file=sys.stderr,
        )
    rows = course.overview(course.course(), entries)
    after = course.following(rows)
    if args.hand_in:
        _hand_in(file, args.hand_in)
    if args.json:
        found = {
            "file": str(file) if file else None,
            "damaged_lines": damaged,
            "notebooks": rows,
            "next": after["notebook"] if after else None,
        }
        print_json(found)
        return 0
    signs = {"done": "✓", "begun": "…", "not yet": "○"}
    listing = [
        {
            "": f"{signs[row['state']]} {row['state']}",
            "notebook": f"{row['notebook'].split('_')[0]} · {row['title']}",
            "exercises": f"{row['solved']} of {row['exercises']}",
            "quiz": f"{row['quiz_right']} right" if row["quiz_right"] else "",
            "minutes": "" if row["minutes"] is None else f"{row['minutes']:g}",
            "look again at": ", ".join(row["stuck"]),
            "first do": ", ".join(row["before"]),
        }
        for row in rows
    ]
    print_table("Your course", listing)
    if after is None:
        print("All done. Take notebook 13 and a file of your own.")
    else:
        wait = f" (its cells run in {after['minutes']:g} min)" if after["minutes"] else ""
        print(f"Next: notebooks/{after['notebook']}.ipynb{wait}")
    print(f"Record: {file}" if file else "No record is kept: SFT_PROGRESS is empty.")
    return 0


def _hand_in(record: Path | None, copy: Path) -> None:
    if record is None or not record.exists():
        raise DataError("there is no record to hand in", where=str(record or "SFT_PROGRESS"))
    if copy.exists():
        raise DataError("this file exists already", where=str(copy), hint="choose another name")
    if copy.suffix != ".jsonl":
        raise DataError("a record ends in .jsonl", where=str(copy), hint="name it ada.jsonl")
    shutil.copyfile(record, copy)
    print(f"Written: {copy}. Give this file to your instructor.", file=sys.stderr)


def class_report(args: argparse.Namespace) -> int:
    """Read the records of a class (`sft-helpers progress --hand-in`): who is stuck where?

    A learner is called as the file is. Records are parsed as data and never run. Files that cannot
    be read, and damaged lines, are named, and the exit code is then 1.
    """
    from sft_helpers import course

    found = course.class_report(args.folder, course.course())
    whole = not found["unreadable"] and not any(w["damaged_lines"] for w in found["learners"])
    if args.json:
        print_json(found)
        return 0 if whole else 1
    exercises = [
        {
            "exercise": row["exercise"],
            "solved": row["solved"],
            "trying": row["trying"],
            "not tried": row["untouched"],
            "tries each": row["tries"],
            "stuck": ", ".join(row["stuck"]),
        }
        for row in found["exercises"]
    ]
    learners = [
        {
            "learner": who["learner"],
            "notebooks opened": who["opened"],
            "exercises solved": who["solved"],
            "stuck at": ", ".join(who["stuck"]),
            "damaged lines": len(who["damaged_lines"]) or "",
        }
        for who in found["learners"]
    ]
    print_table("Exercises that somebody tried", exercises)
    print_table(f"{len(learners)} of {found['files']} files could be read", learners)
    if found["unreadable"]:
        listing = [{"file": name, "reason": reason} for name, reason in found["unreadable"]]
        print_table("Not read", listing)
    return 0 if whole else 1


def build_solutions(args: argparse.Namespace) -> int:
    """Write each notebook with its exercises solved; nothing is run."""
    from sft_helpers.exercises.solutions import build_solutions as build

    written = build(args.notebooks, args.out)
    for path in written:
        print(path)
    print(f"{len(written)} solved notebooks written to {args.out}")
    return 0


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
