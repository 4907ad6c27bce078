"""A training run as plain data."""

from __future__ import annotations

from types import SimpleNamespace

import pytest


def make_history(steps: int = 20, total: int = 20) -> SimpleNamespace:
    done = list(range(1, steps + 1))
    held = [s for s in done if s % 5 == 0]
    return SimpleNamespace(
        steps=done,
        loss=[6.0 * 0.9**s + 0.3 for s in done],
        eval_steps=held,
        eval_loss=[6.0 * 0.9**s + 0.5 for s in held],
        learning_rate=[4e-3 * (1 - s / (total + 1)) for s in done],
        tokens_per_second=1234.5 if steps else None,
        seconds_left=61.0 if steps else None,
        step=steps,
        total_steps=total,
        listeners=[],
    )


@pytest.fixture
def new_history():
    return make_history


@pytest.fixture
def history() -> SimpleNamespace:
    return make_history()


@pytest.fixture
def evil_history() -> SimpleNamespace:
    return make_history(3, 20)
