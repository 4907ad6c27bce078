"""Look at every row before training: counts, examples with their lines, and what to do."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any

from sft_helpers.formats.kinds import format_of
from sft_helpers.formats.loading import Record, records_of
from sft_helpers.formats.problems import MEANINGS, Severity, problems

EXAMPLES = 5
_ORDER = {"error": 0, "warning": 1, "note": 2}


@dataclass(frozen=True)
class Finding:
    """One kind of problem.

    Attributes:
        code: stable name, such as `data.empty_turn`.
        severity: "error", "warning" or "note".
        count: rows concerned.
        rows: the places of the first five, such as "line 12".
        message: what will happen.
        fix: what to change.
        example: the first case in particular.
    """

    code: str
    severity: Severity
    count: int
    rows: tuple[str, ...]
    message: str
    fix: str
    example: str


@dataclass(frozen=True)
class Validation:
    """The result of `validate`; every row is either sound or has at least one finding.

    Attributes:
        total: rows looked at.
        sound: rows without any finding.
        faulty: rows with a finding of severity "error".
        findings: errors first, the most frequent first.
    """

    total: int
    sound: int
    faulty: int
    findings: tuple[Finding, ...]

    @property
    def ok(self) -> bool:
        """Whether no row has an error."""
        return self.faulty == 0

    def table(self) -> list[dict[str, Any]]:
        """One dict per finding, for `display.table`."""
        return [
            {
                "code": finding.code,
                "severity": finding.severity,
                "rows": finding.count,
                "first": ", ".join(finding.rows),
                "what will happen": finding.message,
                "example": finding.example,
                "what to do": finding.fix,
            }
            for finding in self.findings
        ]

    def to_dict(self) -> dict[str, Any]:
        """The result as plain data for JSON."""
        return asdict(self)

    def __str__(self) -> str:
        lines = [f"{self.total:,} rows: {self.sound:,} sound, {self.faulty:,} with errors"]
        for one in self.findings:
            lines.append(f"  {one.severity} {one.code}: {one.count:,} rows, first {one.rows[0]}")
            lines.append(f"    {one.message}; {one.example}")
            lines.append(f"    What to do: {one.fix}")
        return "\n".join(lines)


def validate(rows: Iterable[Any]) -> Validation:
    """Check every row as TRL would take it.

    Args:
        rows: dicts in one of TRL's forms, `Record`s, a `Dataset`, or what `load_rows` returned
            (then the examples name lines, and unreadable lines are findings).

    Never raises for what a row holds.
    """
    looked = [(record.place, *_look(record)) for record in records_of(rows)]
    shapes = Counter(shape for _, shape, _ in looked if shape)
    usual = shapes.most_common(1)[0][0] if shapes else ""
    cases: dict[str, list[tuple[str, str]]] = {}
    sound = faulty = 0
    for place, shape, found in looked:
        if shape and shape != usual:
            found["data.mixed_schema"] = f"{shape}, where most rows are {usual}"
        sound += not found
        faulty += any(MEANINGS[code].severity == "error" for code in found)
        for code, detail in found.items():
            cases.setdefault(code, []).append((place, detail))
    findings = [_finding(code, rows_with) for code, rows_with in cases.items()]
    findings.sort(key=lambda one: (_ORDER[one.severity], -one.count, one.code))
    return Validation(len(looked), sound, faulty, tuple(findings))


def _look(record: Record) -> tuple[str, dict[str, str]]:
    """The shape of a row ("" if it cannot be read) and its problems, code → first detail."""
    if record.problem is not None:
        return "", {"data.unreadable": record.problem}
    found: dict[str, str] = {}
    for code, detail in problems(record.value):
        found.setdefault(code, detail)
    return _shape(record.value), found


def _shape(row: Any) -> str:
    """The format by name; a chat file with and without tool calls is one shape."""
    found = format_of(row)
    if found is None:
        return "unknown"
    return "messages" if found.name == "openai" else found.name


def _finding(code: str, cases: list[tuple[str, str]]) -> Finding:
    meaning = MEANINGS[code]
    return Finding(
        code,
        meaning.severity,
        len(cases),
        tuple(place for place, _ in cases[:EXAMPLES]),
        meaning.message,
        meaning.fix,
        "{}: {}".format(*cases[0]),
    )
