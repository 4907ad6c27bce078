"""What a learner has done so far: one JSON line per check, on their own machine and nowhere else.

The file is named by `SFT_PROGRESS`; a notebook that is opened sets the default, a file in the
user's data folder. `SFT_PROGRESS=""` keeps no record at all.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from platformdirs import user_data_path

VARIABLE = "SFT_PROGRESS"
OPENED = "opened"
STATUSES = (OPENED, "todo", "not yet", "ok")
LONGEST = 1000  # characters of a line; ours have about a hundred


@dataclass(frozen=True)
class Entry:
    """One thing that happened.

    Attributes:
        notebook: name of the notebook without ending; "" where it is not known.
        name: the exercise, or `Quiz, question 3`, or "" when the notebook was opened.
        status: one of `STATUSES`.
        time: seconds since 1970.
    """

    notebook: str
    name: str
    status: str
    time: int


@dataclass(frozen=True)
class Standing:
    """Where somebody stands with one exercise: solved once is solved.

    Attributes:
        status: the best so far.
        tries: checks of an answer that was not blank, up to the first right one.
        last: seconds since 1970.
    """

    status: str
    tries: int
    last: int


def default_file() -> Path:
    """The progress file where `SFT_PROGRESS` names none."""
    return user_data_path("sft-helpers") / "progress.jsonl"


def progress_file() -> Path | None:
    """The file that `SFT_PROGRESS` names, else the default; None when it is set to nothing."""
    named = os.environ.get(VARIABLE)
    if named is None:
        return default_file()
    return Path(named).expanduser() if named else None


def begin(notebook: str) -> None:
    """Turn recording on for this notebook and note that it was opened."""
    os.environ.setdefault(VARIABLE, str(default_file()))
    append("", OPENED, notebook)


def append(name: str, status: str, notebook: str) -> None:
    """Add a line to the file that `SFT_PROGRESS` names; without the variable, do nothing.

    A file that cannot be written is said once per line and stops nobody.
    """
    path = progress_file() if VARIABLE in os.environ else None
    if path is None:
        return
    entry = {"notebook": notebook, "name": name, "status": status, "time": round(time.time())}
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(entry) + "\n")
    except OSError as problem:
        print(f"(your progress could not be written to {path}: {problem.strerror})")


def parse(fields: object) -> Entry | None:
    """An entry from decoded JSON, or None when it is none."""
    if not isinstance(fields, dict):
        return None
    notebook, name = fields.get("notebook", ""), fields.get("name")
    status, when = fields.get("status"), fields.get("time")
    if not (isinstance(notebook, str) and isinstance(name, str) and status in STATUSES):
        return None
    if not isinstance(when, int | float) or isinstance(when, bool) or not 0 <= when < 1e11:
        return None
    return Entry(notebook=notebook, name=name, status=str(status), time=int(when))


def read(path: Path) -> tuple[list[Entry], list[int]]:
    """The entries of a progress file, and the numbers of the lines that are none.

    A file that does not exist is an empty one.
    """
    entries, damaged = [], []
    if not path.exists():
        return [], []
    with path.open(encoding="utf-8", errors="replace") as file:
        for number, line in enumerate(file, start=1):
            entry = _decode(line)
            if entry is not None:
                entries.append(entry)
            elif line.strip():
                damaged.append(number)
    return entries, damaged


def _decode(line: str) -> Entry | None:
    if len(line) > LONGEST:
        return None
    try:
        return parse(json.loads(line))
    except (ValueError, RecursionError):
        return None


def standings(entries: Iterable[Entry]) -> dict[tuple[str, str], Standing]:
    """Where somebody stands: (notebook, name) of each thing that was checked."""
    found: dict[tuple[str, str], Standing] = {}
    for entry in sorted(entries, key=lambda entry: entry.time):
        if entry.status == OPENED:
            continue
        key = (entry.notebook, entry.name)
        before = found.get(key, Standing("todo", 0, entry.time))
        if before.status == "ok":
            continue
        tried = entry.status != "todo"
        # a blank after a wrong answer (the notebook run again) takes nothing back
        status = entry.status if tried else before.status
        found[key] = Standing(status, before.tries + tried, entry.time)
    return found
