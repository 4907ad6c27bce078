"""How far somebody is in the course: `sft-helpers progress`, and `class-report` for thirty records.

A record (see `sft_helpers.lesson`) is data: parsed as JSON line by line, every field checked,
nothing in it ever run.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sft_helpers import town
from sft_helpers.errors import DataError

Entry = Mapping[str, Any]  # notebook, name, status, time: a line of a record
STATUSES = ("opened", "todo", "not yet", "ok")
LONGEST = 1000  # characters of a line; ours have about a hundred
LARGEST = 5_000_000  # bytes of a record; a year of daily use stays below one million


@dataclass(frozen=True)
class Notebook:
    """A notebook as its own cells describe it.

    Attributes:
        name: file name without ending, for example `04_loss_masking`; `number` is its `04`.
        title: the heading without its number.
        minutes: what its cells need on two cores, as stamped; None where it has no stamp yet.
        exercises: names of its exercises, in the order in which they are asked.
        needs: numbers of the notebooks that its title cell asks for.
    """

    name: str
    number: str
    title: str
    minutes: float | None
    exercises: tuple[str, ...]
    needs: tuple[str, ...]


def notebooks_dir() -> Path:
    """Where the notebooks lie: beside the data."""
    return town.data_dir().parents[1] / "notebooks"


def course(folder: Path | None = None) -> list[Notebook]:
    """All notebooks of a folder, in the order of their names.

    Raises:
        DataError: there is no notebook, or a file is none; names the file.
    """
    place = folder or notebooks_dir()
    found = [_described(path) for path in sorted(place.glob("[0-9]*.ipynb"))]
    if not found:
        raise DataError(
            "there is no notebook of the course here",
            where=str(place),
            hint="run this in a clone of the kit, or set SFT_DATA to the data folder of one",
        )
    return found


def _described(path: Path) -> Notebook:
    try:
        cells = json.loads(path.read_text("utf-8"))["cells"]
        sources = ["".join(cell["source"]) for cell in cells]
        tags = [cell.get("metadata", {}).get("tags", []) for cell in cells]
    except (OSError, ValueError, KeyError, TypeError) as problem:
        raise DataError(
            f"this is no notebook ({type(problem).__name__})",
            where=str(path),
            hint="restore it with `git checkout`, or move it out of the folder",
        ) from None
    start, number = "".join(sources[:1]), path.stem.split("_")[0]
    title = re.search(r"^# +(?:\w+ · )?(.+)$", start, re.MULTILINE)
    stamp = re.search(r"Runs in ([\d.]+) min", "\n".join(sources[1:3]))
    # "*You need:* notebooks 00 and 04; 05 helps."
    asked = re.search(r"^\*You need:\* *(.+)$", start, re.MULTILINE)
    parts = [p for p in re.split(r"[;.]", asked[1] if asked else "") if "help" not in p]
    needed = [p for p in parts if re.match(r"\s*(notebooks? )?\d\d", p)]
    return Notebook(
        name=path.stem,
        number=number,
        title=title[1] if title else path.stem,
        minutes=float(stamp[1]) if stamp else None,
        exercises=tuple(t[3:] for own in tags if "exercise" in own for t in own if t[:3] == "id:"),
        needs=tuple(re.findall(r"\b\d\d[a-z]?\b", " ".join(needed))),
    )


def read_record(path: Path) -> tuple[list[Entry], list[int]]:
    """The entries of a record, oldest first, and the numbers of its damaged lines.

    A file that does not exist is an empty record.

    Raises:
        DataError: larger than any record, or not to be read.
    """
    entries, damaged = [], []
    try:
        if path.stat().st_size > LARGEST:
            raise DataError(f"larger than {LARGEST / 1e6:.0f} MB: not read", where=str(path))
        lines = path.read_text(encoding="utf-8", errors="replace").split("\n")
    except FileNotFoundError:
        return [], []
    except OSError as problem:
        raise DataError(f"cannot be read ({problem.strerror})", where=str(path)) from None
    for number, line in enumerate(lines, start=1):
        entry = _entry(line)
        if entry is not None:
            entries.append(entry)
        elif line.strip():
            damaged.append(number)
    return sorted(entries, key=lambda entry: entry["time"]), damaged


def _entry(line: str) -> Entry | None:
    """A line as an entry, or None when it is none."""
    try:
        found = json.loads(line) if len(line) <= LONGEST else None
    except (ValueError, RecursionError):
        return None
    if not isinstance(found, dict) or found.get("status") not in STATUSES:
        return None
    when, texts = found.get("time"), (found.setdefault("notebook", ""), found.get("name"))
    sound = isinstance(when, int | float) and not isinstance(when, bool) and 0 <= when < 1e11
    return found if sound and all(isinstance(text, str) for text in texts) else None


def standings(entries: Iterable[Entry]) -> dict[tuple[str, str], tuple[str, int]]:
    """(notebook, exercise) → best status so far, and tries up to the first right answer.

    Solved once is solved, and a blank after a wrong answer (the notebook run again) takes nothing
    back; a check of a blank is no try.
    """
    found: dict[tuple[str, str], tuple[str, int]] = {}
    for entry in entries:
        key, status = (entry["notebook"], entry["name"]), entry["status"]
        best, tries = found.get(key, ("todo", 0))
        if status != "opened" and best != "ok":
            tried = status != "todo"
            found[key] = (status if tried else best, tries + tried)
    return found


def overview(notebooks: Sequence[Notebook], entries: Sequence[Entry]) -> list[dict[str, Any]]:
    """A row for each notebook: what is solved, what is stuck, and what has to be done before it."""
    stands = standings(entries)
    opened = {entry["notebook"] for entry in entries}
    rows: list[dict[str, Any]] = []
    for one in notebooks:
        status = {name: stands.get((one.name, name), ("", 0))[0] for name in one.exercises}
        solved = sum(each == "ok" for each in status.values())
        done = one.name in opened and solved == len(one.exercises)
        rows.append(
            {
                "notebook": one.name,
                "title": one.title,
                "minutes": one.minutes,
                "opened": one.name in opened,
                "solved": solved,
                "exercises": len(one.exercises),
                "stuck": [name for name, each in status.items() if each == "not yet"],
                "quiz_right": sum(
                    notebook == one.name and name not in status and best == "ok"
                    for (notebook, name), (best, _) in stands.items()
                ),
                "needs": list(one.needs),
                "before": list(one.needs),
                "done": done,
                "state": "done" if done else "begun" if one.name in opened else "not yet",
            }
        )
    finished = {row["notebook"].split("_")[0] for row in rows if row["done"]}
    for row in rows:
        row["before"] = [n for n in row["needs"] if n not in finished and not row["done"]]
    return rows


def following(rows: Sequence[Mapping[str, Any]]) -> Mapping[str, Any] | None:
    """The row to go on with: the first notebook that is not done and needs none that is not."""
    left = [row for row in rows if not row["done"]]
    return next((row for row in left if not row["before"]), left[0] if left else None)


def show_progress(file: Path | None) -> None:
    """Show a record in a notebook: the same as `sft-helpers progress`."""
    from sft_helpers.display.course_view import course_html
    from sft_helpers.display.widgets import show

    try:
        entries, damaged = read_record(file) if file else ([], [])
        rows = overview(course(), entries)
    except DataError as problem:  # the notebook was taken out of the kit
        print(problem)
        return
    note = "Nothing is recorded here: SFT_PROGRESS is empty."
    if file is not None:
        kept = "Your record is" if entries else "Nothing is recorded yet; your record will be"
        note = f"{kept} {file}, on this machine only."
    if damaged:
        note += f" {len(damaged)} damaged lines are left out."
    after = following(rows)
    coming = after["notebook"] if after else None
    done = f"{sum(row['done'] for row in rows)} of {len(rows)} notebooks done"
    show(
        html=course_html(rows, after=coming, note=note, links=file is not None),
        alt=f"Your course: {done}. {f'Next: {coming}' if coming else 'All done'}",
    )


def class_report(folder: Path, notebooks: Sequence[Notebook]) -> dict[str, Any]:
    """Who is stuck where, from the records of a class: `ada.jsonl` is Ada's.

    Returns:
        `files`, how many there are; `learners`, a row for each that could be read; `unreadable`,
        the others, with the reason; `exercises`, a row for each that somebody tried.

    Raises:
        DataError: the folder is not there, or holds no record.
    """
    paths = sorted(folder.glob("*.jsonl"))
    if not paths:
        raise DataError(
            "no record was handed in here" if folder.is_dir() else "there is no such folder",
            where=str(folder),
            hint="learners write one, named after them: sft-helpers progress --hand-in ada.jsonl",
        )
    asked = [(one.name, name) for one in notebooks for name in one.exercises]
    learners, unreadable, everyone = [], [], {}
    for path in paths:
        try:
            entries, damaged = read_record(path)
        except DataError as problem:
            unreadable.append([path.name, problem.message])
            continue
        own = everyone[path.stem] = standings(entries)
        learners.append(
            {
                "learner": path.stem,
                "file": path.name,
                "opened": len({entry["notebook"] for entry in entries}),
                "solved": sum(own.get(key, ("", 0))[0] == "ok" for key in asked),
                "stuck": [key[1] for key in asked if own.get(key, ("", 0))[0] == "not yet"],
                "damaged_lines": damaged,
            }
        )
    exercises = []
    for key in asked:
        tried = {who: own[key] for who, own in everyone.items() if own.get(key, ("", 0))[1]}
        if tried:
            stuck = [who for who, (status, _) in tried.items() if status == "not yet"]
            exercises.append(
                {
                    "exercise": key[1],
                    "notebook": key[0],
                    "solved": len(tried) - len(stuck),
                    "trying": len(stuck),
                    "untouched": len(everyone) - len(tried),
                    "tries": round(sum(tries for _, tries in tried.values()) / len(tried), 1),
                    "stuck": stuck,
                }
            )
    return {
        "files": len(paths),
        "exercises": exercises,
        "learners": learners,
        "unreadable": unreadable,
    }
