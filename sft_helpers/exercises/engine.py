"""Checks that diagnose, and never stop a notebook: `grade`, `check`, and an exercise's card.

`check("quickstart-1", answer)` prints one of

    [todo] …      the stub still holds `...`
    [not yet] …   what is wrong and where to look
    [ok] …

The environment variable `SFT_EXERCISES` turns this into a test: `strict` raises unless the answer
is ok (solved notebooks), `expect-todo` raises unless it is blank (notebooks as they are shipped).
"""

from __future__ import annotations

import os
import traceback
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from types import FunctionType
from typing import Any, Literal

from sft_helpers.errors import DataError, EnvironmentProblem, SFTHelpersError
from sft_helpers.exercises.answers import NotYet, is_blank, plain
from sft_helpers.exercises.data import Exercise, topic, topics
from sft_helpers.exercises.rules import judge

Status = Literal["todo", "not yet", "ok"]
Record = Callable[[str, str], None]

LONGEST = 800  # characters of a diagnosis, which may quote the answer


class ExerciseFailed(SFTHelpersError):
    """In a test run, an exercise did not end as `SFT_EXERCISES` asks."""


@dataclass(frozen=True)
class Outcome:
    """What a check found: `todo`, `not yet` or `ok`, and the sentence that goes with it."""

    status: Status
    message: str

    def __str__(self) -> str:
        return f"[{self.status}] {self.message}"


def topic_of(name: str) -> str:
    """Return the topic of an exercise: `loss-masking-2` → `loss_masking`."""
    return name.rpartition("-")[0].replace("-", "_")


def find(name: str) -> Exercise:
    """Return the exercise of that name.

    Raises:
        DataError: if there is none; names those that its notebook has.
    """
    exercises = topic(topic_of(name)).exercises
    if name not in exercises:
        known = ", ".join(exercises or topics())
        raise DataError(f"there is no exercise {name!r}", hint=f"there are: {known}")
    return exercises[name]


def grade(name: str, *given: Any) -> Outcome:
    """Check an answer and return the outcome; prints nothing, raises only for an unknown name.

    Arrays, tensors and generators are handed to the check as lists of Python's own values.
    """
    exercise = find(name)
    try:
        if not given or any(map(is_blank, given)):
            return Outcome("todo", f"{exercise.title}: fill in the `...` in the cell above")
        material = vars(topic(topic_of(name)).material)
        problem = judge(exercise, tuple(map(plain, given)), material)
    except NotYet as diagnosis:
        problem = str(diagnosis)
    except (Exception, SystemExit) as error:
        problem = _diagnose_error(error, given)
    if problem is None:
        return Outcome("ok", f"{exercise.title}: {exercise.praise}")
    shown = problem if len(problem) <= LONGEST else f"{problem[: LONGEST - 1]}…"
    return Outcome("not yet", f"{exercise.title}: {shown}")


def _diagnose_error(error: BaseException, given: Sequence[Any]) -> str:
    """Say what the learner's code raised and in which of its lines."""
    from sft_helpers.display.html import visible_text

    files = {a.__code__.co_filename for a in given if isinstance(a, FunctionType)}
    said = type(error).__name__
    with suppress(Exception):  # an error of the learner's own may be unable to say what it is
        line = " ".join(visible_text(str(error)).split())
        said = f"{said}: {line if len(line) <= 200 else f'{line[:199]}…'}".rstrip(": ")
    mine = [f for f in traceback.extract_tb(error.__traceback__) if f.filename in files]
    if mine:
        line = f", in line {mine[-1].lineno}" + (f": `{mine[-1].line}`" if mine[-1].line else "")
        return f"your code raised {said}{line}"
    kinds = " and ".join(f"a value of type {type(a).__name__}" for a in given) or "no answer"
    return (
        f"the check could not use your answer ({said}). "
        f"It got {kinds}: compare that with what the task asks for."
    )


def check(name: str, *given: Any, record: Record | None = None) -> None:
    """Check an answer and print `[todo]`, `[not yet]` or `[ok]` with a sentence.

    Args:
        name: the exercise, e.g. `quickstart-1`.
        given: the value or function that the learner wrote; several where the task asks so.
        record: called with name and status; writes the learner's progress.

    Raises:
        DataError: if there is no such exercise.
        ExerciseFailed: only if `SFT_EXERCISES` asks for an outcome and this is another.
    """
    from sft_helpers.display.html import visible_text

    outcome = grade(name, *given)
    print(visible_text(str(outcome)))
    if record is not None:
        record(name, outcome.status)
    wish = os.environ.get("SFT_EXERCISES", "")
    if wish not in ("", "strict", "expect-todo"):
        raise EnvironmentProblem(
            f"SFT_EXERCISES is {wish!r}", hint="use strict, expect-todo, or leave it unset"
        )
    wanted = {"strict": "ok", "expect-todo": "todo"}.get(wish)
    if wanted is not None and outcome.status != wanted:
        raise ExerciseFailed(f"expected [{wanted}], got {outcome}", where=f"exercise {name}")


def card_html(name: str) -> str:
    """Return an exercise card: title, difficulty, minutes, folded hints, folded solution.

    `SFT_SOLUTIONS=hide` keeps the solution off, as the edition for a class does: a help against
    temptation, no lock.
    """
    from markupsafe import Markup

    from sft_helpers.display.html import page, prose, visible

    made = find(name)
    dots = "●" * made.level + "○" * (3 - made.level)
    word = ("easy", "medium", "hard")[made.level - 1]
    fold = Markup("<details><summary>{}</summary>{}</details>")
    hints = [
        fold.format(
            f"Hint {number} of {len(made.hints)}",
            Markup("<div class='sft-why sft-text'>{}</div>").format(prose(hint)),
        )
        for number, hint in enumerate(made.hints, start=1)
    ]
    code = Markup("<pre class='sft-code'>{}</pre>").format(visible(made.solution, "none"))
    hidden = os.environ.get("SFT_SOLUTIONS", "") == "hide"
    solution = Markup("") if hidden else fold.format("Solution", code)
    return page(
        Markup(
            "<div class='sft-card'><div class='sft-title'>Exercise: {}</div>"
            "<div class='sft-facts'><span>Difficulty: <span aria-hidden='true'>{}</span> {}</span>"
            "<span>Time: about {} min</span></div>{}{}</div>"
        ).format(visible(made.title), dots, word, made.minutes, Markup("").join(hints), solution)
    )


def card(name: str) -> None:
    """Show the card of an exercise, above its stub."""
    from sft_helpers.display.widgets import show

    made = find(name)
    show(
        html=card_html(name),
        alt=f"Exercise {made.title}: difficulty {made.level} of 3, {made.minutes} minutes, "
        f"{len(made.hints)} hints to unfold",
    )
