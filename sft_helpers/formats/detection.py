"""Which format is this? Each row is looked at; the answer says how many agree and why."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sft_helpers.formats.kinds import FORMATS, format_of, why_unknown
from sft_helpers.formats.loading import iter_records, records_of

SAMPLE = 1_000
UNKNOWN = "unknown"


@dataclass(frozen=True)
class Detection:
    """What a set of rows looks like.

    Attributes:
        format: a name of FORMATS, or "unknown".
        confidence: share of the rows looked at that have this format, 0 to 1.
        why: the sign that it was recognised by, and what the other rows look like.
        counts: format → rows, "unknown" included; they add up to the rows looked at.
    """

    format: str
    confidence: float
    why: str
    counts: dict[str, int]

    def __str__(self) -> str:
        return f"{self.format} (confidence {self.confidence:.2f}): {self.why}"


def detect(rows_or_path: Iterable[Any] | str | Path, *, sample: int = SAMPLE) -> Detection:
    """Name the format of rows, a file, a folder or a hub id.

    Args:
        rows_or_path: rows (dicts), what `load_rows` returned, or a path or hub id.
        sample: rows to look at, from the start.

    Raises:
        DataError: the file does not exist or is of no known type.
        EnvironmentProblem: a hub id, and the hub cannot be reached.
    """
    if isinstance(rows_or_path, str | Path):
        records = iter_records(rows_or_path, progress=False)
    else:
        records = records_of(rows_or_path)
    counts: Counter[str] = Counter()
    first_unknown = ""
    for record in itertools.islice(records, sample):
        found = None if record.problem else format_of(record.value)
        counts[found.name if found else UNKNOWN] += 1
        if found is None and not first_unknown:
            what = record.problem or why_unknown(record.value)
            first_unknown = f"{record.place}: {what}"
    return _decide(counts, first_unknown)


def _decide(counts: Counter[str], first_unknown: str) -> Detection:
    total = counts.total()
    if not total:
        return Detection(UNKNOWN, 0.0, "there are no rows", {})
    votes = Counter(counts)
    if votes["openai"]:
        # A chat file with a few tool calls: its other rows look like plain messages.
        votes["openai"] += votes.pop("messages", 0)
    del votes[UNKNOWN]
    if not any(votes.values()):
        return Detection(UNKNOWN, 0.0, first_unknown, dict(counts))
    name, agree = votes.most_common(1)[0]
    why = f"{agree} of {total} rows: {FORMATS[name].sign}"
    others = [f"{number} {other}" for other, number in votes.most_common()[1:] if number]
    if others:
        why += f"; others look like {', '.join(others)}"
    if counts[UNKNOWN]:
        why += f"; {counts[UNKNOWN]} unrecognised, the first at {first_unknown}"
    return Detection(name, agree / total, why, dict(counts))
