"""Commands about the course: progress, class-report, build-solutions."""

from __future__ import annotations

import argparse
import shutil
import sys
from pathlib import Path

from sft_helpers.cli.printing import print_json, print_table
from sft_helpers.errors import DataError


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
