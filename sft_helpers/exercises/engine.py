"""The exercise engine: a registry of checks that diagnose, and never stop a notebook.

`check("quickstart-1", answer)` prints one of

    [todo] …      the stub still holds `...`
    [not yet] …   what is wrong and where to look
    [ok] …

The environment variable `SFT_EXERCISES` turns this into a test: `strict` raises unless the answer
is ok (solved notebooks), `expect-todo` raises unless it is blank (notebooks as they are shipped).
What a check found goes to its `record`: in a notebook, the learner's record (`sft_helpers.lesson`).
"""

from __future__ import annotations

import ast
import importlib
import os
import re
import textwrap
import traceback
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from types import FunctionType
from typing import Any, Literal

from sft_helpers.errors import DataError, EnvironmentProblem, SFTHelpersError
from sft_helpers.exercises.answers import NotYet, plain
from sft_helpers.exercises.blanks import is_blank, is_blank_source

Status = Literal["todo", "not yet", "ok"]
Checker = Callable[..., str | None]
Record = Callable[[str, str], None]  # told the exercise, or the question, and how it ended

_NAME = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)*-[0-9]+")
LONGEST = 800  # characters of a diagnosis, which may quote the answer
_PACKAGE = __package__ or "sft_helpers.exercises"


class ExerciseFailed(SFTHelpersError):
    """In a test run, an exercise did not end as `SFT_EXERCISES` asks."""


@dataclass(frozen=True)
class Outcome:
    """What a check found: `todo`, `not yet` or `ok`, and the sentence that goes with it."""

    status: Status
    message: str

    def __str__(self) -> str:
        return f"[{self.status}] {self.message}"


@dataclass(frozen=True)
class Exercise:
    """One exercise: what its card says, and the function that checks an answer."""

    name: str
    title: str
    difficulty: int
    minutes: int
    hints: tuple[str, ...]
    solution: str
    checker: Checker
    praise: str = ""


_registry: dict[str, Exercise] = {}


def exercise(
    name: str,
    *,
    title: str,
    difficulty: int,
    minutes: int,
    hints: Sequence[str],
    solution: str,
    praise: str = "",
) -> Callable[[Checker], Exercise]:
    """Register a check function as an exercise.

    The function takes the learner's answer (or several) and returns None when it is right, or a
    sentence that says what is wrong and where to look. It need not guard against errors: what the
    learner's code raises becomes a diagnosis.

    Args:
        name: `<module>-<number>`, e.g. `loss-masking-2` in `exercises/loss_masking.py`.
        title: a few words.
        difficulty: 1 (apply), 2 (combine) or 3 (think for a while).
        minutes: how long a learner may take.
        hints: in the order in which they are unfolded, the last one nearly the solution.
        solution: Python source that replaces the stub cell.
        praise: what a right answer shows, printed after `[ok]`.

    Raises:
        DataError: if the name is malformed or taken, or a field makes no sense.
    """

    def register(checker: Checker) -> Exercise:
        made = Exercise(
            name=name,
            title=title,
            difficulty=difficulty,
            minutes=minutes,
            hints=tuple(hints),
            solution=textwrap.dedent(solution).strip(),
            checker=checker,
            praise=praise,
        )
        problem = _flaw(made)
        if problem:
            raise DataError(problem, where=f"exercise {name}")
        _registry[name] = made
        return made

    return register


def _flaw(made: Exercise) -> str | None:
    if not _NAME.fullmatch(made.name):
        return "a name is a module's name and a number, like loss-masking-2"
    other = _registry.get(made.name)
    if other is not None and _origin(other.checker) != _origin(made.checker):
        return "this name is taken by another exercise"
    if made.difficulty not in (1, 2, 3):
        return "difficulty is 1, 2 or 3"
    if made.minutes < 1:
        return "minutes must be at least 1"
    if not made.title.strip() or not made.hints or not all(h.strip() for h in made.hints):
        return "a title and at least one hint are needed"
    try:
        tree = ast.parse(made.solution)
    except SyntaxError as error:
        return f"the solution is not Python: {error}"
    if not tree.body or is_blank_source(made.solution):
        return "the solution is empty or still holds a blank `...`"
    return None


def _origin(checker: Checker) -> tuple[str, str]:
    # The same function registered again (a module reloaded in a notebook) is no clash.
    return checker.__module__, checker.__qualname__


def module_of(name: str) -> str:
    """Return the module of an exercise: `loss-masking-2` → `loss_masking`."""
    return name.rpartition("-")[0].replace("-", "_")


def exercises_in(module: str) -> dict[str, Exercise]:
    """Return the exercises of a module (e.g. `loss_masking`) by name, importing it if needed.

    A module that does not exist has no exercises.
    """
    full = f"{_PACKAGE}.{module}"
    if module.isidentifier():
        try:
            importlib.import_module(full)
        except ModuleNotFoundError as error:
            if error.name != full:
                raise
    return {name: made for name, made in _registry.items() if module_of(name) == module}


def find(name: str) -> Exercise:
    """Return the exercise of that name.

    Raises:
        DataError: if there is none; names those that its notebook has.
    """
    if name not in _registry and _NAME.fullmatch(name):
        exercises_in(module_of(name))
    if name not in _registry:
        known = ", ".join(sorted(_registry)) or "none so far"
        raise DataError(f"there is no exercise {name!r}", hint=f"exercises loaded: {known}")
    return _registry[name]


# --- checking --------------------------------------------------------------------------------


def _one_line(text: str, most: int = 200) -> str:
    """Return text fit for one printed line: hidden characters named, long text cut."""
    from sft_helpers.display.html import visible_text

    line = " ".join(visible_text(text).split())
    return line if len(line) <= most else line[: most - 1] + "…"


def _diagnose_error(error: BaseException, answers: Sequence[Any]) -> str:
    """Say what the learner's code raised and in which of its lines."""
    files = {a.__code__.co_filename for a in answers if isinstance(a, FunctionType)}
    said = type(error).__name__
    with suppress(Exception):  # an error of the learner's own may be unable to say what it is
        said = f"{said}: {_one_line(str(error))}".rstrip(": ")
    mine = [f for f in traceback.extract_tb(error.__traceback__) if f.filename in files]
    if mine:
        line = f", in line {mine[-1].lineno}" + (f": `{mine[-1].line}`" if mine[-1].line else "")
        return f"your code raised {said}{line}"
    return (
        f"the check could not use your answer ({said}). "
        f"It got {_kinds(answers)}: compare that with what the task asks for."
    )


def _kinds(answers: Sequence[Any]) -> str:
    return " and ".join(f"a value of type {type(a).__name__}" for a in answers) or "no answer"


def grade(name: str, *answers: Any) -> Outcome:
    """Check an answer and return the outcome; prints nothing, raises only for an unknown name.

    Arrays, tensors and generators are handed to the check as lists of Python's own values.
    """
    made = find(name)
    try:
        if not answers or any(map(is_blank, answers)):
            return Outcome("todo", f"{made.title}: fill in the `...` in the cell above")
        problem = made.checker(*map(plain, answers))
    except NotYet as diagnosis:
        problem = str(diagnosis)
    except (Exception, SystemExit) as error:
        problem = _diagnose_error(error, answers)
    if problem is None:
        return Outcome("ok", f"{made.title}{': ' + made.praise if made.praise else ''}")
    shown = problem if len(problem) <= LONGEST else f"{problem[: LONGEST - 1]}…"
    return Outcome("not yet", f"{made.title}: {shown}")


def check(name: str, *answers: Any, record: Record | None = None) -> None:
    """Check an answer and print `[todo]`, `[not yet]` or `[ok]` with a sentence.

    Args:
        name: the exercise, e.g. `quickstart-1`.
        answers: the value or function that the learner wrote; several where the task asks so.
        record: told the name and the status.

    Raises:
        DataError: if there is no such exercise.
        ExerciseFailed: only if `SFT_EXERCISES` asks for an outcome and this is another.
    """
    from sft_helpers.display.html import visible_text

    outcome = grade(name, *answers)
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


# --- the card --------------------------------------------------------------------------------


def solutions_hidden() -> bool:
    """Whether `SFT_SOLUTIONS=hide` keeps solutions off the cards, as the edition for a class does.

    They stay in the package's source: this is a help against temptation, no lock.
    """
    return os.environ.get("SFT_SOLUTIONS", "") == "hide"


def card_html(name: str) -> str:
    """Return an exercise card: title, difficulty, minutes, folded hints, folded solution."""
    from markupsafe import Markup

    from sft_helpers.display.html import page, prose, visible

    made = find(name)
    dots = "●" * made.difficulty + "○" * (3 - made.difficulty)
    word = ("easy", "medium", "hard")[made.difficulty - 1]
    fold = Markup("<details><summary>{}</summary>{}</details>")
    hints = [
        fold.format(
            f"Hint {number} of {len(made.hints)}",
            Markup("<div class='sft-why sft-text'>{}</div>").format(prose(hint)),
        )
        for number, hint in enumerate(made.hints, start=1)
    ]
    code = Markup("<pre class='sft-code'>{}</pre>").format(visible(made.solution, "none"))
    solution = Markup("") if solutions_hidden() else fold.format("Solution", code)
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
        alt=f"Exercise {made.title}: difficulty {made.difficulty} of 3, {made.minutes} minutes, "
        f"{len(made.hints)} hints{'' if solutions_hidden() else ' and a solution'} to unfold",
    )
