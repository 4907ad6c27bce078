"""What each threshold is compared with, row by row: a view can move it without a new run."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from sft_helpers.cleaning import duplicates, form
from sft_helpers.cleaning.funnel import STRUCTURE, Funnel, default_rules, judge
from sft_helpers.cleaning.model import Chat, Row, Rule, Thresholds
from sft_helpers.cleaning.text import SCAN_CHARS, bare, main_script, without_code

FAR = 1e9
# Below this similarity no pair is kept, so a view cannot lower the threshold further.
LOWEST_SIMILARITY = 0.5


@dataclass(frozen=True)
class Dial:
    """A threshold that a view can turn.

    Attributes:
        name: of the field of `Thresholds`.
        rule: the rule that uses it.
        label: for people.
        low, high, step: the range of the control.
        above: whether a row is caught above the threshold (else below); `reach` counts as caught.
        reach: whether a value equal to the threshold is caught.
        off: a value with which the threshold catches nothing.
        measure: what is compared, from a conversation.
    """

    name: str
    rule: str
    label: str
    low: float
    high: float
    step: float
    above: bool
    reach: bool
    off: float
    measure: Callable[[Chat], float]


def _lengths(chat: Chat, han: bool) -> list[int]:
    return [
        len(answer.strip())
        for answer in chat.answers
        if bare(answer[:SCAN_CHARS]) and (main_script(answer) == "Han") is han
    ]


def _longest(chat: Chat) -> float:
    return max((len(a) for a in chat.answers if main_script(a) != "Han"), default=0)


DIALS = (
    Dial("min_chars", "too_short", "fewest characters", 0, 80, 1, False, False, 0,
         lambda chat: min(_lengths(chat, False), default=FAR)),
    Dial("min_chars_han", "too_short", "fewest Chinese characters", 0, 80, 1, False, False, 0,
         lambda chat: min(_lengths(chat, True), default=FAR)),
    Dial("max_chars", "too_long", "most characters", 20, 6_000, 20, True, False, FAR, _longest),
    Dial("repeated_share", "repetition", "repeated share", 0, 1, 0.05, True, False, FAR,
         lambda chat: max(
             (form.repeated_share(without_code(a)) for a in chat.answers), default=0)),
    Dial("copied_share", "copied_question", "copied share", 0.05, 1, 0.05, True, True, FAR,
         lambda chat: max(
             (form.copied_from(q, a) for q, a in chat.exchanges), default=0)),
    Dial("unfinished_words", "truncated", "unfinished words", 1, 15, 1, True, True, FAR + 1,
         lambda chat: min(FAR, max(map(form.unfinished_words, chat.answers), default=0))),
    Dial("foreign_share", "language_mix", "foreign share", 0, 1, 0.05, True, False, FAR,
         lambda chat: max((form.foreign_share(q, a) for q, a in chat.exchanges), default=0)),
    Dial("near_duplicate", "near_duplicate", "similarity", LOWEST_SIMILARITY, 1, 0.01, True, True,
         FAR, lambda chat: 0),
)  # fmt: skip


@dataclass(frozen=True)
class Measured:
    """Rows as numbers: enough to redo the funnel for any setting of the dials.

    Attributes:
        rules: the dropping rules in order, `structure` first.
        caught: for each row the numbers of the rules that catch it whatever the dials say.
        values: for each dial the measure of every row.
        groups: for each row a number; rows with one number are exact duplicates.
        pairs: (row, earlier row, similarity) of near duplicates.
        fixed, flagged: numbers of rows that were repaired and flagged.
        chats: the conversations after repair; None for rows that are none.
    """

    rules: list[str]
    caught: list[list[int]]
    values: dict[str, list[float]]
    groups: list[int]
    pairs: list[tuple[int, int, float]]
    fixed: list[int]
    flagged: list[int]
    chats: list[Chat | None]

    def funnel(self, thresholds: Thresholds, off: Iterable[str] = ()) -> dict[str, int]:
        """Rows dropped by each rule, and `kept`; equal to what `clean` reports.

        Args:
            thresholds: the dials' settings; other fields are not looked at.
            off: rules that are switched off.
        """
        silent = set(off)
        dropped = dict.fromkeys(self.rules, 0) | {"kept": 0}
        seen: set[int] = set()
        kept: set[int] = set()
        near: dict[int, list[tuple[int, float]]] = {}
        for row, earlier, score in self.pairs:
            near.setdefault(row, []).append((earlier, score))
        for row in range(len(self.caught)):
            name = self._first(row, thresholds, silent)
            if name is None and "exact_duplicate" not in silent:
                name = "exact_duplicate" if self.groups[row] in seen else None
                seen.add(self.groups[row])
            if name is None and "near_duplicate" not in silent:
                limit = thresholds.near_duplicate
                alike = any(j in kept and score >= limit for j, score in near.get(row, ()))
                name = "near_duplicate" if alike else None
            if name is None:
                kept.add(row)
            dropped[name or "kept"] += 1
        return dropped

    def _first(self, row: int, thresholds: Thresholds, silent: set[str]) -> str | None:
        hits = {self.rules[number] for number in self.caught[row]}
        for dial in DIALS[:-1]:
            value, limit = self.values[dial.name][row], getattr(thresholds, dial.name)
            if (value > limit if dial.above else value < limit) or (dial.reach and value == limit):
                hits.add(dial.rule)
        return next((name for name in self.rules if name in hits and name not in silent), None)


def measure(
    rows: Sequence[Any],
    *,
    rule_set: Sequence[Rule] | None = None,
    eval_rows: Iterable[Row] | None = None,
    thresholds: Thresholds | None = None,
) -> Measured:
    """Measure every row once, so that the funnel can be redrawn for any setting of the dials."""
    limits = thresholds or Thresholds()
    chosen = [rule for rule in rule_set or default_rules() if rule.action != "keep"]
    never: dict[str, Any] = {dial.name: dial.off for dial in DIALS[:-1]}
    open_limits = replace(limits, **never)
    funnel = Funnel(chosen, thresholds=open_limits, eval_rows=eval_rows)
    names = [STRUCTURE] + [rule.name for rule, _ in funnel.single if rule.action == "drop"]
    names += [rule.name for rule, _ in funnel.comparing if rule.action == "drop"]
    index = duplicates.NearDuplicates(replace(limits, near_duplicate=LOWEST_SIMILARITY))
    made = Measured(names, [], {dial.name: [] for dial in DIALS[:-1]}, [], [], [], [], [])
    known: dict[bytes, int] = {}
    places: list[int] = []
    for number, row in enumerate(rows):
        judged = judge(row, funnel.single)
        chat = judged.chat
        made.caught.append(
            sorted({names.index(name) for name, *_ in judged.findings if name in names})
        )
        made.chats.append(chat)
        for dial in DIALS[:-1]:
            value = dial.measure(chat) if chat is not None else (0 if dial.above else FAR)
            made.values[dial.name].append(round(float(value), 4))
        made.groups.append(
            -number - 1 if chat is None else known.setdefault(duplicates.key(chat), number)
        )
        if judged.fixed:
            made.fixed.append(number)
        if judged.flags:
            made.flagged.append(number)
        if chat is not None:
            for place, score in index.similar(chat.text, chat.instruction):
                made.pairs.append((number, places[place], score))
            places.append(number)
    return made
