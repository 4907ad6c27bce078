"""An exercise to test with, and a clean slate around each test."""

from __future__ import annotations

import pytest

from sft_helpers.exercises import engine


@pytest.fixture(autouse=True)
def clean(monkeypatch):
    """No switches from outside; exercises that a test registers are gone after it."""
    monkeypatch.delenv("SFT_EXERCISES", raising=False)
    monkeypatch.delenv("SFT_PROGRESS", raising=False)
    yield
    for name, made in list(engine._registry.items()):
        if not made.checker.__module__.startswith("sft_helpers."):
            del engine._registry[name]


@pytest.fixture
def double():
    """An exercise: write a function that doubles a number."""

    @engine.exercise(
        "demo-1",
        title="Double",
        difficulty=1,
        minutes=5,
        hints=["What is twice x?", "Use 2 *"],
        solution="def double(x):\n    return 2 * x",
        praise="doubling is right",
    )
    def check_double(answer):
        if answer(2) == 2:
            return "it returns what it got: multiply by 2"
        return None if answer(3) == 6 else f"double(3) gave {answer(3)}, not 6"

    return check_double
