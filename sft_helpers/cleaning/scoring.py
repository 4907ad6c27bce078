"""How good the rules are, where the truth is known: precision and recall by rule."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sft_helpers.cleaning.report import Report
from sft_helpers.errors import DataError


@dataclass(frozen=True)
class RuleScore:
    """How one rule did.

    Attributes:
        rule: its name, or "all rules" for rows caught by any.
        planted: rows that it should catch.
        caught: rows that it caught.
        right: rows that it caught and should.
        missed, false: numbers of rows that it missed, and that it caught without cause.
    """

    rule: str
    planted: int
    caught: int
    right: int
    missed: tuple[int, ...]
    false: tuple[int, ...]

    @property
    def precision(self) -> float:
        """Share of the caught rows that deserved it; 1 when nothing was caught."""
        return self.right / self.caught if self.caught else 1.0

    @property
    def recall(self) -> float:
        """Share of the planted rows that were caught; 1 when nothing was planted."""
        return self.right / self.planted if self.planted else 1.0


def score_rules(report: Report, labels: Sequence[dict[str, Any]]) -> list[RuleScore]:
    """Precision and recall of each rule, and of all together in the first entry.

    A rule that a dropped row never reached (duplicate search) is judged by the rows that reached
    it: what an earlier rule dropped needs no second verdict.

    Args:
        report: of a run over the rows that the labels are about, in their order.
        labels: one a row, with `defects`, the names of the rules that should catch it.

    Raises:
        DataError: the numbers of rows differ.
    """
    if report.rows_in != len(labels):
        raise DataError(
            f"{report.rows_in} rows were cleaned, but there are {len(labels)} labels",
            hint="clean exactly the rows that the labels are about, in their order",
        )
    wanted: dict[str, set[int]] = {}
    for number, label in enumerate(labels):
        for name in label["defects"]:
            wanted.setdefault(name, set()).add(number)
    caught = {name: set(report.rows_caught.get(name, ())) for name in report.actions}
    every_wanted = set().union(*wanted.values()) if wanted else set()
    every_caught = set().union(*caught.values()) if caught else set()
    scores = [_score("all rules", every_wanted, every_caught)]
    return scores + [_score(name, wanted.get(name, set()), caught[name]) for name in report.actions]


def _score(name: str, wanted: set[int], caught: set[int]) -> RuleScore:
    return RuleScore(
        rule=name,
        planted=len(wanted),
        caught=len(caught),
        right=len(wanted & caught),
        missed=tuple(sorted(wanted - caught)),
        false=tuple(sorted(caught - wanted)),
    )
