"""Each sign of the first 100 steps is seen when it is there, and not when it is not."""

from __future__ import annotations

import math
from types import SimpleNamespace

import pytest

from sft_helpers.training.signs import signs
from sft_helpers.training.watch import Probe

STEPS = list(range(5, 101, 5))


def history(loss, **more):
    """A record of 100 steps, logged every 5."""
    found = {
        "steps": STEPS[: len(loss)],
        "loss": list(loss),
        "eval_steps": [],
        "eval_loss": [],
        "grad_norm": [],
        "probes": [],
        "step": 100,
        "total_steps": 100,
    }
    return SimpleNamespace(**(found | more))


def codes(record):
    return [sign.code for sign in signs(record)]


FALLING = [3 * 0.8**n + 0.1 for n in range(20)]


def asked(step, right, stopped):
    """A probe that asked questions."""
    answers = SimpleNamespace(exact_match=SimpleNamespace(value=right), stopped=stopped)
    return Probe(step, answers)


PANEL, MUTE = asked(100, 0.9, 1.0), asked(100, 0.0, 0.1)


def test_a_healthy_run_shows_only_good_signs():
    held = {"eval_steps": [50, 100], "eval_loss": [1.0, 0.5]}
    record = history(FALLING, grad_norm=[2 * 0.9**n for n in range(20)], probes=[PANEL], **held)
    found = signs(record)
    assert {sign.level for sign in found} == {"ok"}
    assert {"loss.falls", "heldout.falls", "panel.stops"} == {s.code for s in found}


@pytest.mark.parametrize(
    ("record", "code", "level"),
    [
        (history([0.0] * 20), "loss.zero", "stop"),
        (history([3.0, 2.0, math.nan, math.nan]), "loss.not_finite", "stop"),
        (history([3.0] * 20), "loss.flat", "watch"),
        (history([3.0, 1.0, 0.8, 4.0, 3.0]), "loss.spike", "stop"),
        (history([]), "loss.never_logged", "watch"),
        (history(FALLING, grad_norm=[1.0, math.inf]), "gradient.not_finite", "stop"),
        (history(FALLING, grad_norm=[0.0] * 20), "gradient.zero", "stop"),
        (
            history(FALLING, grad_norm=[1.0 + n for n in range(20)]),
            "gradient.rises",
            "watch",
        ),
        (
            history(FALLING, eval_steps=[20, 40, 60], eval_loss=[0.6, 0.4, 0.7]),
            "heldout.rises",
            "watch",
        ),
        (history(FALLING, eval_steps=[10], eval_loss=[0.001]), "heldout.leak", "watch"),
        (history(FALLING, probes=[MUTE]), "panel.never_stops", "stop"),
        (history([3.0, 2.9, 2.8], probes=[MUTE]), "panel.no_stop_yet", "watch"),
        (history([3.0] * 10 + [2.6] * 10), "loss.flat", "watch"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_each_sign_is_seen(record, code, level):
    found = {sign.code: sign for sign in signs(record)}
    assert code in found
    assert found[code].level == level
    assert found[code].text.endswith(".")


def test_the_gravest_sign_comes_first():
    record = history([3.0] * 20, grad_norm=[0.0] * 20, probes=[PANEL])
    assert [sign.level for sign in signs(record)] == ["stop", "watch", "ok"]


def test_nothing_is_said_before_anything_was_logged():
    assert signs(history([], step=0)) == []


def test_an_even_held_out_loss_is_no_alarm():
    held = {"eval_steps": [20, 40, 60], "eval_loss": [0.500, 0.400, 0.405]}
    assert "heldout.rises" not in codes(history(FALLING, **held))


def test_a_low_loss_that_falls_a_little_is_not_called_flat():
    assert "loss.flat" not in codes(history([1.5] * 10 + [1.3] * 10))


def test_a_panel_that_does_not_stop_yet_is_no_alarm_at_the_beginning():
    early = asked(0, 0.0, 0.0)
    assert "panel.never_stops" not in codes(history(FALLING[:2], probes=[early], step=10))
    curve = [Probe(100, 0.9)]  # a probe that asks no questions says nothing about stopping
    assert codes(history(FALLING, probes=curve)) == ["loss.falls"]


def test_real_runs_good_and_bad(tmp_path):
    from sft_helpers.town import read_rows
    from sft_helpers.training.runs import Run, run_here

    rows = read_rows("sft_train.jsonl")[:64]
    found = {
        rate: codes(
            run_here(
                Run(str(rate), rows, {"learning_rate": rate, "max_steps": 24, "logging_steps": 2})
            ).history
        )
        for rate in (1e-3, 1e-6, 3.0)
    }
    assert "loss.falls" in found[1e-3]
    assert "loss.flat" in found[1e-6]
    assert "loss.spike" in found[3.0]


def test_the_monitor_shows_the_trouble_in_words_and_the_panel_in_numbers():
    from sft_helpers.display.monitor import facts, monitor_html

    rest = {"learning_rate": [1e-3], "seconds_left": None, "tokens_per_second": None}
    ill = history([3.0, 2.0, math.nan], grad_norm=[1.0, 2.5], probes=[MUTE], **rest)
    page = monitor_html(ill)
    assert "stop: The loss is nan" in page.replace("</b>", "").replace("✗ ", "")
    assert "Only 10% of the panel" in page
    assert facts(ill)["gradient norm"] == "2.5"
    assert facts(ill)["panel stops"] == "10%"
    well = history(FALLING, grad_norm=[2.0], probes=[PANEL], **rest)
    assert "signs of trouble" not in monitor_html(well)
