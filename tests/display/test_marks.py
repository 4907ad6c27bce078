"""The figure of marks by epoch: one panel for each mark, one line for each run."""

import pytest

from sft_helpers.display.marks import marks_figure

RUNS = {"a": [{"x": 0.1, "y": 1.0}, {"x": 0.5, "y": 0.9}], "b": [{"x": 0.2, "y": 0.0}] * 2}


def test_lines_and_panels():
    figure = marks_figure(RUNS, {"x": "honesty", "y": "facts"})
    assert [axis.get_title("left") for axis in figure.axes] == ["honesty", "facts"]
    first, second = figure.axes[0].get_lines()
    assert list(first.get_ydata()) == [0.1, 0.5]
    assert list(first.get_xdata()) == [1, 2]
    assert first.get_marker() != second.get_marker()
    assert first.get_linestyle() != second.get_linestyle()


def test_nothing_to_draw():
    with pytest.raises(ValueError, match="no marks"):
        marks_figure({"a": []}, {"x": "honesty"})
