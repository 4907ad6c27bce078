"""The live monitor: what it writes, how often, and where."""

from __future__ import annotations

import io
import re
import time

import pytest

from sft_helpers.display.monitor import (
    LiveMonitor,
    clock_time,
    loss_svg,
    monitor_html,
    progress_line,
)


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture
def displays(monkeypatch):
    """Every bundle that is displayed, as (kind, bundle)."""
    shown = []

    class Handle:
        def update(self, bundle, raw):
            assert raw
            shown.append(("update", bundle))

    def display(bundle, raw, display_id):
        assert raw
        assert display_id
        shown.append(("new", bundle))
        return Handle()

    monkeypatch.setattr("IPython.display.display", display)
    return shown


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(None, "–"), (0, "0:00"), (59.6, "1:00"), (3725, "1:02:05"), (float("nan"), "–"), (-1, "–")],
)
def test_clock_time(seconds, text):
    assert clock_time(seconds) == text


def test_progress_line_says_only_what_is_known(new_history):
    assert progress_line(new_history(0)) == "step 0/20"
    line = progress_line(new_history(5))
    assert line.startswith("step 5/20 · loss 3.843 · held-out loss 4.043 · learning rate 3.0e-03")
    assert "1,234 tokens/s" in line
    assert line.endswith("time left 1:01")
    assert progress_line(new_history(20)).endswith("run finished")


def test_it_draws_first_then_at_most_twice_a_second_and_always_the_end(new_history, displays):
    clock = Clock()
    monitor = LiveMonitor(notebook=True, clock=clock)
    run = new_history(0, 100)
    for step in range(1, 101):
        run.step = step
        run.steps.append(step)
        run.loss.append(1.0)
        clock.now += 0.01
        monitor(run)
    # 1 s of logs: steps 1 and 51 by the clock, step 100 because it is the end
    assert monitor.drawn == 3
    monitor(run)
    assert monitor.drawn == 3
    assert [kind for kind, _ in displays] == ["new", "update", "update"]
    final = displays[-1][1]
    assert "step 100 of 100 (100%)" in final["text/html"]
    assert final["text/plain"].startswith("Training: step 100/100")


def test_a_late_held_out_loss_is_still_shown(new_history, displays):
    monitor = LiveMonitor(notebook=True, clock=Clock())
    run = new_history(20)
    monitor(run)
    run.eval_loss[-1:] = [9.0]
    run.eval_loss.append(9.5)
    run.eval_steps.append(20)
    monitor(run)
    assert "9.500" in displays[-1][1]["text/html"]


def test_a_run_stopped_early_can_say_so(new_history, displays):
    clock = Clock()
    monitor = LiveMonitor(notebook=True, clock=clock)
    run = new_history(5)
    monitor(run)
    run.finished = True
    monitor(run)
    assert monitor.drawn == 2
    assert "run finished" in displays[-1][1]["text/plain"]


def test_a_second_run_gets_its_own_output(new_history, displays):
    monitor = LiveMonitor(notebook=True, every=0)
    for step in (5, 20, 5, 20):
        monitor(new_history(step))
    assert [kind for kind, _ in displays] == ["new", "update", "new", "update"]


def test_outside_a_notebook_it_prints_lines(new_history):
    stream, clock = io.StringIO(), Clock()
    monitor = LiveMonitor(notebook=False, stream=stream, clock=clock)
    for step in (1, 2, 20):
        clock.now += 1
        monitor(new_history(step))
    assert [line.split(" ·")[0] for line in stream.getvalue().splitlines()] == [
        "Training: step 1/20",
        "Training: step 20/20",
    ]


def test_in_a_terminal_it_moves_a_bar(new_history):
    stream = Terminal()
    monitor = LiveMonitor("Tuning", notebook=False, stream=stream, every=0)
    for step in (1, 10, 20):
        monitor(new_history(step))
    assert "20/20" in stream.getvalue()
    assert "Tuning" in stream.getvalue()
    assert stream.getvalue().endswith("\n")


def test_svg_keeps_to_its_frame_and_survives_nan(new_history):
    run = new_history(20)
    run.loss[3] = float("nan")
    run.loss[4] = float("inf")
    run.eval_loss[0] = float("nan")
    svg = loss_svg(run)
    assert "nan" not in svg
    assert "inf" not in svg
    for points in re.findall(r"points='([^']*)'", svg):
        for point in points.split():
            x, y = map(float, point.split(","))
            assert 52 <= x <= 628
            assert 12 <= y <= 200
    assert len(re.findall(r"points='([^']*)'", svg)[0].split()) == 18


@pytest.mark.parametrize("scale", [1e-9, 0.0, 1.0, 7.3, 1e6])
def test_svg_has_a_few_round_levels(new_history, scale):
    run = new_history(5)
    run.loss[:] = [scale] * 5
    run.eval_loss[:] = [scale]
    assert 2 <= loss_svg(run).count("sft-grid") <= 7


def test_svg_of_an_endless_or_empty_run(new_history):
    run = new_history(0)
    run.total_steps = 0
    assert "step 0 of 0 (0%)" in monitor_html(run)


def test_a_redraw_is_cheap(new_history, displays):
    run = new_history(5000, 5000)
    monitor = LiveMonitor(notebook=True)
    begin = time.process_time()
    for _ in range(10):
        monitor.draw(run)
    assert (time.process_time() - begin) / 10 < 0.05
    assert len(displays[-1][1]["text/html"]) < 40_000
