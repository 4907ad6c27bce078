"""What the tests of every notebook's exercises do: solve one, prove it, and provoke a diagnosis."""

from __future__ import annotations

from typing import Any

from sft_helpers.exercises import grade
from sft_helpers.exercises.engine import find


def solved(name: str) -> Any:
    """The value that a solution makes, where it makes one."""
    space: dict[str, Any] = {}
    exec(find(name).solution, space)
    return next(value for key, value in space.items() if not key.startswith("__"))


def proved(name: str) -> None:
    """A blank is a todo, the solution is right."""
    assert grade(name, ...).status == "todo"
    outcome = grade(name, solved(name))
    assert outcome.status == "ok", outcome.message


def refused(name: str, answer: Any, diagnosis: str) -> None:
    """A wrong answer is not yet right, and the message says why."""
    outcome = grade(name, answer)
    assert outcome.status == "not yet"
    assert diagnosis in outcome.message
