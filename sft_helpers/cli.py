"""The command `sft-helpers`: one sub-command per job, each with `--help` and `--json`."""

from __future__ import annotations

import argparse
import json
import shutil
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from sft_helpers.errors import DataError, SFTHelpersError


def build_parser() -> argparse.ArgumentParser:
    """The parser with every sub-command."""
    from sft_helpers import (
        clean,
        convert,
        doctor,
        export_command,
        lint,
        memory_command,
        preflight_command,
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
    _add_progress(commands)
    _add_class_report(commands)
    solutions.add_parser(commands)
    return parser


def _add_progress(commands: Any) -> None:
    parser = commands.add_parser(
        "progress",
        help="what you have done in this course, and what comes next",
        description=_progress.__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog="The record stays on this machine: a file named by the variable SFT_PROGRESS, or a"
        ' file in your data folder. SFT_PROGRESS="" keeps none.',
    )
    parser.add_argument("--file", type=Path, help="read this record instead of your own")
    parser.add_argument(
        "--hand-in",
        type=Path,
        metavar="FILE",
        help="copy it for your instructor, to a file named after you: ada.jsonl",
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.set_defaults(run=_progress)


def _progress(args: argparse.Namespace) -> int:
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
        print(json.dumps(found, indent=2))
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
    _print_table("Your course", listing)
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


def _add_class_report(commands: Any) -> None:
    parser = commands.add_parser(
        "class-report",
        help="a table of who is stuck where, from the records that a class handed in",
        description=_class_report.__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("folder", type=Path, help="folder with one record per learner: ada.jsonl")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.set_defaults(run=_class_report)


def _class_report(args: argparse.Namespace) -> int:
    """Read the records of a class (`sft-helpers progress --hand-in`): who is stuck where?

    A learner is called as the file is. Records are parsed as data and never run. Files that cannot
    be read, and damaged lines, are named, and the exit code is then 1.
    """
    from sft_helpers import course

    found = course.class_report(args.folder, course.course())
    whole = not found["unreadable"] and not any(w["damaged_lines"] for w in found["learners"])
    if args.json:
        print(json.dumps(found, indent=2))
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
    _print_table("Exercises that somebody tried", exercises)
    _print_table(f"{len(learners)} of {found['files']} files could be read", learners)
    if found["unreadable"]:
        listing = [{"file": name, "reason": reason} for name, reason in found["unreadable"]]
        _print_table("Not read", listing)
    return 0 if whole else 1


def _print_table(title: str, rows: Sequence[Mapping[str, Any]]) -> None:
    """Print rows as a table; text from files is shown, never obeyed."""
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    from sft_helpers.display.html import visible_text

    table = Table(*(rows[0] if rows else ()), title=title)
    for row in rows:
        table.add_row(*(escape(visible_text(str(value))) for value in row.values()))
    Console().print(table)


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
