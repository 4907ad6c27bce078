"""The schedules drawn are transformers' own, in the live view and in its static twin."""

from __future__ import annotations

import pytest

from sft_helpers.display import schedules
from sft_helpers.display.schedules import (
    SCHEDULES,
    STEPS,
    WARMUPS,
    SchedulesView,
    schedule_curve,
    schedule_curves,
    schedule_explorer,
    schedules_figure,
)
from sft_helpers.errors import DataError


@pytest.fixture(scope="module")
def curves():
    return schedule_curves()


def test_a_curve_is_what_a_trainer_uses(tmp_path):
    from sft_helpers.town import read_rows
    from sft_helpers.training.runs import Run, run_here

    settings = {
        "max_steps": 10,
        "learning_rate": 2e-3,
        "lr_scheduler_type": "cosine",
        "warmup_steps": 0.3,
        "logging_steps": 1,
        "per_device_train_batch_size": 1,
    }
    used = run_here(Run("rates", read_rows("sft_train.jsonl")[:10], settings)).history.learning_rate
    # the trainer logs a step's rate after the scheduler has moved on
    curve = schedule_curve("cosine", 10, 0.3)
    assert used == pytest.approx([2e-3 * share for share in curve])


def test_shapes(curves):
    assert set(curves) == {(name, ahead) for name in SCHEDULES for ahead in WARMUPS}
    for (name, ahead), curve in curves.items():
        assert len(curve) == STEPS
        assert max(curve) == pytest.approx(1)
        assert curve[0] == (0 if ahead else 1)
        assert curve.index(max(curve)) == round(ahead * STEPS)
        if name == "constant_with_warmup":
            assert curve[-1] == 1
        if name == "cosine_with_min_lr":
            assert curve[-1] == pytest.approx(0.1, abs=0.01)


def test_a_schedule_that_transformers_does_not_know_is_an_error():
    with pytest.raises(DataError, match="exponential"):
        schedule_curve("exponential")


def test_the_figure_says_what_it_shows(curves):
    figure = schedules_figure(curves, 0.1)
    [axis] = figure.axes
    assert axis.get_title(loc="left").endswith("?")
    assert axis.get_xlabel() == "optimizer step"
    assert {line.get_label() for line in axis.lines} == set(SCHEDULES)
    assert len({line.get_linestyle() for line in axis.lines}) >= 4


def test_live_and_static_show_the_same(curves, monkeypatch):
    shown = []
    monkeypatch.setattr(schedules, "show", lambda *view, **more: shown.append((view, more)))
    monkeypatch.delenv("SFT_STATIC", raising=False)
    schedule_explorer(0.3)
    [((view,), more)] = shown
    assert isinstance(view, SchedulesView)
    assert view.data["curves"][0][WARMUPS.index(0.3)] == curves["linear", 0.3]
    assert view.data["start"] == WARMUPS.index(0.3)
    assert "linear" in more["alt"]
    monkeypatch.setenv("SFT_STATIC", "1")
    schedule_explorer()
    assert shown[-1][0] == (None,)
    with pytest.raises(DataError, match="no warm-up of"):
        schedule_explorer(0.5)
