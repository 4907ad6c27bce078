"""One JSON file that a learner hands in, and how an instructor reads thirty of them with care.

A file is data: it is parsed as JSON, every field is checked, nothing in it is ever run. The digest
shows damage and careless edits. It is no signature: whoever can read this module can compute it,
so the report also names what an honest file cannot hold.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from sft_helpers.errors import DataError
from sft_helpers.progress import OPENED, Entry, parse

FORM = "sft-helpers progress 1"
LARGEST = 5_000_000  # bytes; a year of daily use stays below one million
DAY = 86_400


@dataclass(frozen=True)
class HandIn:
    """What one learner handed in, and what is odd about it.

    Attributes:
        file: name of the file.
        learner: the name that the learner gave.
        made: when it was made, seconds since 1970.
        entries: what they did.
        odd: sentences; empty for a file that looks honest and whole.
    """

    file: str
    learner: str
    made: int
    entries: tuple[Entry, ...]
    odd: tuple[str, ...] = ()


def digest(learner: str, made: int, entries: Iterable[Mapping[str, Any]]) -> str:
    """SHA-256 over name, time and entries in one fixed spelling."""
    body = json.dumps([FORM, learner, made, list(entries)], sort_keys=True, ensure_ascii=True)
    return hashlib.sha256(body.encode()).hexdigest()


def write(path: Path, learner: str, entries: Iterable[Entry]) -> None:
    """Write the file that a learner hands in.

    Raises:
        DataError: the name is empty, or the file exists already.
    """
    name = " ".join(learner.split())
    if not name:
        raise DataError("a file to hand in needs a name", hint='add --learner "Ada L."')
    if path.exists():
        raise DataError("this file exists already", where=str(path), hint="choose another name")
    made = round(time.time())
    rows = [asdict(entry) for entry in entries]
    content = {
        "form": FORM,
        "learner": name,
        "made": made,
        "entries": rows,
        "sha256": digest(name, made, rows),
    }
    path.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


def read(path: Path, known: Mapping[str, Iterable[str]], now: float | None = None) -> HandIn:
    """Read and judge one file.

    Args:
        path: the file.
        known: notebook name → names of its exercises.
        now: seconds since 1970; None takes the clock.

    Raises:
        DataError: it cannot be read as such a file at all; says why.
    """
    content = _content(path)
    rows, learner, made = content["entries"], content["learner"], content["made"]
    parsed = [parse(row) for row in rows]
    entries = tuple(entry for entry in parsed if entry is not None)
    odd = []
    if len(entries) < len(parsed):
        odd.append(f"{len(parsed) - len(entries)} of {len(parsed)} entries are damaged")
    if content.get("sha256") != digest(learner, made, rows):
        odd.append("it was changed after it was made: its digest does not fit")
    odd += _impossible(entries, made, known, time.time() if now is None else now)
    return HandIn(path.name, learner, made, entries, tuple(odd))


def _content(path: Path) -> dict[str, Any]:
    try:
        if path.stat().st_size > LARGEST:
            raise DataError(f"larger than {LARGEST / 1e6:.0f} MB: not read", where=path.name)
        content = json.loads(path.read_text(encoding="utf-8"))
    except OSError as problem:
        raise DataError(f"cannot be read ({problem.strerror})", where=path.name) from None
    except (ValueError, RecursionError):
        raise DataError("is no JSON, or cut off", where=path.name) from None
    if not isinstance(content, dict) or content.get("form") != FORM:
        raise DataError("was not made by `sft-helpers progress --hand-in`", where=path.name)
    learner, made = content.get("learner"), content.get("made")
    whole = (
        isinstance(learner, str) and learner.strip() and isinstance(content.get("entries"), list)
    )
    if not whole or not isinstance(made, int) or isinstance(made, bool):
        raise DataError("lacks the name, the time or the entries", where=path.name)
    return content


def _impossible(
    entries: tuple[Entry, ...], made: int, known: Mapping[str, Iterable[str]], now: float
) -> list[str]:
    """What an honest file cannot hold."""
    odd = []
    strange = {
        entry.name or entry.notebook
        for entry in entries
        if entry.notebook not in known
        or not (entry.status == OPENED or _asked(entry, known[entry.notebook]))
    }
    if strange:
        odd.append(f"names what this edition of the course does not ask: {_some(strange)}")
    if made > now + DAY or any(entry.time > made + DAY for entry in entries):
        odd.append("holds times in the future (a wrong clock, or edited)")
    solved: dict[str, list[int]] = {}
    for entry in entries:
        if entry.status == "ok" and not entry.name.startswith("Quiz"):
            solved.setdefault(entry.notebook, []).append(entry.time)
    for notebook, times in solved.items():
        if len(times) > 2 and max(times) == min(times):
            odd.append(f"all {len(times)} exercises of {notebook} solved in the same second")
    return odd


def _asked(entry: Entry, exercises: Iterable[str]) -> bool:
    return entry.name in set(exercises) or entry.name.startswith("Quiz")


def _some(names: set[str], most: int = 3) -> str:
    listed = sorted(names)
    more = f" and {len(listed) - most} more" if len(listed) > most else ""
    return ", ".join(listed[:most]) + more


def twins(files: Iterable[HandIn]) -> list[tuple[str, ...]]:
    """Groups of files whose entries are the same although their learners differ."""
    groups: dict[tuple[Entry, ...], list[HandIn]] = {}
    for file in files:
        if any(entry.status != OPENED for entry in file.entries):
            groups.setdefault(file.entries, []).append(file)
    return [
        tuple(sorted(file.file for file in group))
        for group in groups.values()
        if len({file.learner for file in group}) > 1
    ]
