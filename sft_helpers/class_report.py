"""`sft-helpers class-report FOLDER`: who is stuck where, from the files that a class handed in."""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from sft_helpers import course, hand_in
from sft_helpers.errors import DataError
from sft_helpers.progress import OPENED, standings


@dataclass(frozen=True)
class ExerciseRow:
    """One exercise over the whole class: how many learners stand where, and who needs help."""

    exercise: str
    notebook: str
    solved: int
    trying: int
    untouched: int
    tries: float | None
    stuck: tuple[str, ...]


@dataclass(frozen=True)
class LearnerRow:
    """One learner: how far, and where stuck."""

    learner: str
    file: str
    opened: int
    solved: int
    stuck: tuple[str, ...]
    odd: tuple[str, ...]


@dataclass(frozen=True)
class ClassReport:
    """What a class handed in.

    Attributes:
        files: how many files were in the folder; `learners` and `unreadable` add up to it.
        exercises: a row per exercise that somebody tried, in the order of the course.
        learners: a row per file that could be read.
        unreadable: file and reason.
        twins: groups of files with the same entries under different names.
    """

    files: int
    exercises: tuple[ExerciseRow, ...]
    learners: tuple[LearnerRow, ...]
    unreadable: tuple[tuple[str, str], ...]
    twins: tuple[tuple[str, ...], ...]

    @property
    def suspicious(self) -> bool:
        """Whether something in the folder needs a human look."""
        return bool(self.unreadable or self.twins or any(row.odd for row in self.learners))


def report(folder: Path, lessons: list[course.Lesson], now: float | None = None) -> ClassReport:
    """Read every `*.json` of a folder and count.

    Raises:
        DataError: the folder is not there, or holds no such file.
    """
    if not folder.is_dir():
        raise DataError("there is no such folder", where=str(folder))
    paths = sorted(folder.glob("*.json"))
    if not paths:
        raise DataError(
            "no file was handed in here",
            where=str(folder),
            hint="learners write one: sft-helpers progress --hand-in my.json --learner NAME",
        )
    known = {lesson.name: lesson.exercises for lesson in lessons}
    handed, unreadable = [], []
    for path in paths:
        try:
            handed.append(hand_in.read(path, known, now))
        except DataError as problem:
            unreadable.append((path.name, problem.message))
    stands = [standings(file.entries) for file in handed]
    asked = {(lesson.name, name) for lesson in lessons for name in lesson.exercises}
    learners = tuple(
        LearnerRow(
            learner=file.learner,
            file=file.file,
            opened=len({entry.notebook for entry in file.entries if entry.status == OPENED}),
            solved=sum(own[key].status == "ok" for key in asked & own.keys()),
            stuck=tuple(sorted(k[1] for k in asked & own.keys() if own[k].status == "not yet")),
            odd=file.odd,
        )
        for file, own in zip(handed, stands, strict=True)
    )
    rows = []
    for lesson in lessons:
        for name in lesson.exercises:
            own = [each.get((lesson.name, name)) for each in stands]
            tried = [stand for stand in own if stand is not None and stand.tries]
            stuck = [
                file.learner
                for file, stand in zip(handed, own, strict=True)
                if stand is not None and stand.status == "not yet"
            ]
            if tried:
                rows.append(
                    ExerciseRow(
                        exercise=name,
                        notebook=lesson.name,
                        solved=sum(stand.status == "ok" for stand in tried),
                        trying=len(stuck),
                        untouched=len(own) - len(tried),
                        tries=round(sum(stand.tries for stand in tried) / len(tried), 1),
                        stuck=tuple(stuck),
                    )
                )
    return ClassReport(
        len(paths), tuple(rows), learners, tuple(unreadable), tuple(hand_in.twins(handed))
    )


def add_parser(commands: Any) -> None:
    """Add the sub-command to the command line."""
    parser = commands.add_parser(
        "class-report",
        help="a table of who is stuck where, from the files that a class handed in",
        description=run.__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("folder", type=Path, help="folder with one JSON file per learner")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Read what a class handed in (`sft-helpers progress --hand-in`) and show who is stuck where.

    Files are parsed as data and never run. Damaged files, files that were edited and files that
    two learners share are named, and the exit code is then 1.
    """
    found = report(args.folder, course.lessons())
    if args.json:
        print(json.dumps(asdict(found), indent=2))
    else:
        _show(found)
    return 1 if found.suspicious else 0


def _show(found: ClassReport) -> None:
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    from sft_helpers.display.html import visible_text

    def safe(text: str) -> str:
        return escape(visible_text(text))

    console = Console()
    exercises = Table(title="Exercises that somebody tried")
    for heading in ("exercise", "solved", "trying", "not tried", "tries each", "stuck"):
        exercises.add_column(heading)
    for row in found.exercises:
        counts = (row.solved, row.trying, row.untouched, row.tries)
        exercises.add_row(row.exercise, *map(str, counts), safe(", ".join(row.stuck)))
    learners = Table(title=f"{len(found.learners)} of {found.files} files could be read")
    for heading in ("learner", "notebooks opened", "exercises solved", "stuck at", "look at"):
        learners.add_column(heading)
    for who in found.learners:
        learners.add_row(
            safe(who.learner), str(who.opened), str(who.solved),
            safe(", ".join(who.stuck)), safe("; ".join(who.odd)),
        )  # fmt: skip
    console.print(exercises, learners)
    for name, reason in found.unreadable:
        console.print(f"[bold]{safe(name)}[/] {safe(reason)}")
    for group in found.twins:
        console.print(f"The same entries under different names: [bold]{safe(', '.join(group))}[/]")
