"""What lint can find: the codes, a finding, and the edit that mends it."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any, Literal

from sft_helpers.drift.reader import Piece

Severity = Literal["error", "warning", "note", "unknown"]
LESSON = "06_full_finetuning.ipynb#names"
CODES = {
    "syntax": "Python that does not parse",
    "import.gone": "a name that the package does not have",
    "argument.refused": "an argument that raises an error",
    "argument.ignored": "an argument that is accepted and does nothing",
    "argument.deprecated": "an argument that still works and will go",
    "argument.missing": "a call with too few or too many arguments",
    "argument.repeated": "a keyword that is given twice",
    "value.refused": "a value that is not one of those allowed",
    "value.deprecated": "a value that still works and will go",
    "attribute.ignored": "a setting under a name that nothing reads",
    "unknown": "something that cannot be told without running the code",
}


@dataclass(frozen=True)
class Rename:
    """A name that can be replaced as it stands: `old` at index `start` of the piece's text."""

    piece: Piece
    start: int
    old: str
    new: str
    kind: Literal["argument", "key", "import", "attribute"]


@dataclass(frozen=True)
class Finding:
    """One thing that the installed packages refuse, ignore, or will not take for long.

    Attributes:
        code: stable name, a key of CODES.
        severity: "error" (refused when it runs), "warning" (does nothing, or is refused later),
            "note" (deprecated, or the code provides for it), "unknown" (cannot be told).
        message: what will happen.
        fix: what to write instead; empty where nothing is known.
        file, line, column: where; in a notebook the line counts from the cell's first.
        cell, cell_id: number of the notebook cell, from 1, and its id; else None.
        lesson: notebook and cell that explain it.
        rename: what `--fix` edits, where only a name changes.
    """

    code: str
    severity: Severity
    message: str
    fix: str
    file: str
    line: int
    column: int
    cell: int | None = None
    cell_id: str | None = None
    lesson: str = LESSON
    rename: Rename | None = dataclasses.field(default=None, repr=False, compare=False)

    @property
    def place(self) -> str:
        """File, cell and line for a person."""
        cell = f" cell {self.cell}" + (f" ({self.cell_id})" if self.cell_id else "")
        return f"{self.file}{cell if self.cell else ''}:{self.line}"

    def __str__(self) -> str:
        return f"{self.place}: {self.severity}: {self.message}" + (self.fix and f"; {self.fix}")

    def to_dict(self) -> dict[str, Any]:
        """As JSON has it."""
        row = {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}
        return row | {"rename": self.rename and {"old": self.rename.old, "new": self.rename.new}}
