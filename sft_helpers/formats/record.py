"""A row and where it stands."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Record:
    """One row of a source.

    Attributes:
        place: where it stands, such as "line 7" (counted from 1) or "row 7" (from 0).
        value: the row; None if it could not be read.
        problem: why it could not be read; None if it could.
    """

    place: str
    value: Any = None
    problem: str | None = None
