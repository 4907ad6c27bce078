"""All exercises of the course: blank, solved, right in another form, wrong, and nasty answers."""

from __future__ import annotations

import importlib
from collections import UserDict, namedtuple
from typing import Any

import numpy as np
import pytest
import torch

from sft_helpers.course import course, notebooks_dir
from sft_helpers.exercises import engine, grade
from sft_helpers.exercises.quickstart import TRAINED
from sft_helpers.exercises.solutions import module_for
from sft_helpers.lesson import expect
from tests.exercises.answers import Wrong, refused, solved

MODULES = [module_for(notebooks_dir() / lesson.name) for lesson in course()]
EXERCISES = {name: made for module in MODULES for name, made in engine.exercises_in(module).items()}
WRONG: Wrong = {}
for module in MODULES:
    WRONG |= importlib.import_module(f"tests.exercises.test_{module}").WRONG
CASES = [(name, answer, words) for name, cases in WRONG.items() for answer, words in cases]


@pytest.mark.parametrize("name", EXERCISES)
def test_a_blank_is_todo_and_the_solution_is_ok(name: str) -> None:
    assert grade(name, ...).status == grade(name).status == "todo"
    outcome = grade(name, solved(name))
    assert outcome.status == "ok", outcome


@pytest.mark.parametrize(("name", "answer", "words"), CASES)
def test_a_wrong_answer_gets_its_own_diagnosis(name: str, answer: Any, words: str) -> None:
    refused(name, answer, words)


def test_every_exercise_knows_several_mistakes_apart() -> None:
    """The sentences are counted, not the words that the table asks for."""
    kinds = {
        name: {grade(name, answer).message for answer, _ in WRONG.get(name, [])}
        for name in EXERCISES
    }
    expect("exercises.count", len(EXERCISES), low=56)
    expect("exercises.todo", sum(grade(n, ...).status == "todo" for n in EXERCISES), low=56)
    expect("exercises.ok", sum(grade(n, solved(n)).status == "ok" for n in EXERCISES), low=56)
    expect("exercises.wrong_answers", len(CASES), low=350)
    expect("exercises.fewest_diagnoses", min(map(len, kinds.values())), low=4)


# --- right in another form --------------------------------------------------------------------


def of(name: str, change: Any) -> tuple[str, Any]:
    """An exercise, and its solution in another form."""
    return name, change(solved(name))


def wrapped(name: str, change: Any) -> tuple[str, Any]:
    """An exercise, and a function that gives what its solution gives, in another form."""
    function = solved(name)
    return name, lambda *arguments: change(function(*arguments))


def in_turn(values: dict[str, Any]) -> list[Any]:
    return list(values.values())


def turned(values: dict[str, Any]) -> dict[str, Any]:
    return dict(reversed(values.items()))


def shouted(values: dict[str, Any]) -> dict[str, str]:
    return {key.lower(): str(value).upper().replace(" ", "_") for key, value in values.items()}


CHOOSING = [
    name
    for name in EXERCISES
    if isinstance(solved(name), dict)
    and name not in ("full-finetuning-2", "pitfall-clinic-1", "pitfall-clinic-2")
]
SETS = [name for name in EXERCISES if isinstance(solved(name), set)]
FORMS = [
    ("quickstart-1", tuple(TRAINED)),
    ("quickstart-1", np.array(TRAINED)),
    ("cleaning-2", {5, 3, 1}),
    ("cleaning-2", np.array([1, 3, 5])),
    ("cleaning-2", "1, 3, 5"),
    ("cleaning-3", np.float32(0.7)),
    ("cleaning-3", "0.71"),
    ("packing-1", np.int64(192)),
    ("packing-1", "192"),
    ("qlora-4", torch.tensor(5.547)),
    ("qlora-4", 5.5),
    ("pitfall-clinic-1", {"max_length": np.int64(27)}),
    ("lora-2", ("down_proj", "o_proj", "gate_up_proj", "qkv_proj")),
    ("lora-2", r".*\.(qkv_proj|o_proj|gate_up_proj|down_proj)"),
    *(of(name, in_turn) for name in CHOOSING),
    *(of(name, turned) for name in CHOOSING),
    *(of(name, shouted) for name in CHOOSING),
    *(of(name, UserDict) for name in CHOOSING),
    *(of(name, sorted) for name in SETS),
    *(of(name, lambda names: ", ".join(sorted(names))) for name in SETS),
    *(of(name, lambda names: np.array(sorted(names))) for name in SETS),
    *(of(name, lambda names: dict.fromkeys(names, True) | {"": False}) for name in SETS),
    wrapped("quickstart-2", np.float64),
    wrapped("data-formats-2", UserDict),
    wrapped("data-formats-3", set),
    wrapped("data-formats-3", tuple),
    wrapped("cleaning-1", lambda found: found or None),
    wrapped("cleaning-1", np.bool_),
    wrapped("chat-templates-2", lambda place: None if place is None else torch.tensor(place)),
    wrapped("loss-masking-3", np.int64),
    wrapped("loss-masking-4", iter),
    wrapped("loss-masking-4", torch.tensor),
    wrapped("packing-3", np.int64),
    wrapped("packing-4", torch.tensor),
    wrapped("full-finetuning-4", np.bool_),
    wrapped("lora-1", torch.tensor),
    wrapped("lora-3", torch.tensor),
    wrapped("qlora-1", lambda values: torch.tensor([values])),
    wrapped("qlora-2", np.float64),
    wrapped("qlora-5", float),
    wrapped("evaluation-1", namedtuple("Changed", "fixed broke difference")._make),
    wrapped("evaluation-1", lambda found: dict(zip("abc", found, strict=True))),
    wrapped("evaluation-2", lambda places: np.array(places)[::-1]),
    wrapped("evaluation-2", set),
    wrapped("evaluation-3", lambda found: True if found else None),
    wrapped("scaling-out-1", np.int64),
    wrapped("scaling-out-3", torch.tensor),
    wrapped("export-and-serve-3", lambda ids: np.array([ids])),
    wrapped("your-own-data-1", UserDict),
    wrapped("your-own-data-2", list),
]


@pytest.mark.parametrize(("name", "answer"), FORMS)
def test_what_is_right_in_another_form_is_right(name: str, answer: Any) -> None:
    outcome = grade(name, answer)
    assert outcome.status == "ok", outcome


# --- nasty answers ----------------------------------------------------------------------------


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
