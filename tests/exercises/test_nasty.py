"""Nasty answers to every exercise: none raises, none is right, none floods the reader."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from sft_helpers.exercises import grade
from sft_helpers.exercises.data import topic, topics

EXERCISES = [name for one in topics() for name in topic(one).exercises]


class Nasty:
    """Raises at every touch."""

    def _raise(self, *_: Any, **__: Any) -> Any:
        raise RuntimeError("do not touch")

    __eq__ = __len__ = __iter__ = __str__ = __repr__ = __float__ = __bool__ = __hash__ = _raise
    __getattr__ = __getitem__ = __contains__ = __format__ = __lt__ = __call__ = _raise


class Mute(Exception):
    """An error that cannot say what it is."""

    def __str__(self) -> str:
        raise ValueError


def raising(error: BaseException) -> Any:
    def function(*_: Any, **__: Any) -> Any:
        raise error

    return function


def endless(*_: Any) -> Any:
    while True:
        yield 1


def deep(levels: int) -> Any:
    made: Any = {}
    for _ in range(levels):
        made = {"A": [made]}
    return made


def circle() -> list[Any]:
    made: list[Any] = [1]
    made.append(made)
    return made


VALUES = [
    None, float("nan"), float("inf"), -1, 0, 1e308, 10**400, 2j, True,
    "", " ", "\x00", b"A", "é" * 10**5,
    [], {}, set(), (), [None] * 5, [[[]]], range(5), iter([1]), (n for n in "ABC"), endless(),
    [0] * 10**5, {"A": float("nan")}, dict.fromkeys("ABCDE", float("nan")), deep(50), deep(5000),
    circle(), Nasty(), [Nasty()], {"A": Nasty()}, {Ellipsis: 1}, type, Nasty, Mute, object(),
    np.zeros((2, 2)), np.array(None), torch.zeros(0), torch.tensor(float("nan")),
    {"max_length": float("nan")}, {"max_length": 27.5}, {"max_length": True}, {1: 2},
    {"per_device_train_batch_size": float("nan")},
    {"per_device_train_batch_size": 0}, {"per_device_train_batch_size": -3},
]  # fmt: skip
FUNCTIONS = [
    print, len, abs, raising(RuntimeError("no")), raising(SystemExit(3)), raising(Mute()),
    raising(RecursionError()), lambda: 1, lambda *a, b: 1, endless, lambda *a: a,
    *(lambda *_, value=value: value for value in VALUES),
]  # fmt: skip


@pytest.mark.parametrize("name", EXERCISES)
def test_no_nasty_answer_raises_or_is_right(name: str) -> None:
    for number, answer in enumerate([*VALUES, *FUNCTIONS]):
        outcome = grade(name, answer)
        assert outcome.status != "ok", (number, outcome)
        assert len(outcome.message) < 2000, (number, outcome.message[:300])
        assert str(outcome)


def test_several_nasty_answers_at_once() -> None:
    for name in EXERCISES:
        assert grade(name, Nasty(), Nasty()).status == "not yet"
