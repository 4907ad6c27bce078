"""Figures: what they say, and that they are drawn without global state."""

from __future__ import annotations

import sys

import pytest
from matplotlib.figure import Figure

from sft_helpers.display.figures import (
    GREY,
    STYLES,
    loss_sentence,
    png,
    scores_with_intervals,
    style,
    words,
)
from sft_helpers.evaluation import Interval


def test_title_answers(history, new_history):
    assert loss_sentence(history).startswith("Held-out loss fell from 4.04 to 1.23")
    one = new_history(2)
    assert loss_sentence(one).startswith("Training loss fell")
    one.loss[-1] = float("nan")
    assert "broken down" in loss_sentence(one)
    one.loss[:] = [1.0, 2.0]
    assert "rose from 1.00 to 2.00" in loss_sentence(one)
    assert loss_sentence(new_history(0)) == "No loss has been logged yet"
    assert loss_sentence(new_history(1)) == "One loss has been logged so far"


def test_scores_draw_each_interval():
    scores = {"before": Interval(0.0, 0.0, 0.02), "after $x$": Interval(0.89, 0.84, 0.93)}
    figure = scores_with_intervals(scores, title="Better?")
    (axis,) = figure.axes
    assert [t.get_text() for t in axis.get_yticklabels()] == ["before", r"after \$x\$"]
    texts = [t.get_text() for t in axis.texts]
    assert texts == ["0.00  [0.00, 0.02]", "0.89  [0.84, 0.93]"]
    segments = [bar.get_segments()[0] for bar in axis.collections]
    assert [(s[0][0], s[1][0]) for s in segments] == [
        (pytest.approx(0.0), pytest.approx(0.02)),
        (pytest.approx(0.84), pytest.approx(0.93)),
    ]
    assert png(figure) == png(figure)


def test_a_figure_has_its_words_and_no_ground():
    """It says its numbers, and stands on a light page as on a dark one."""
    figure = scores_with_intervals({"after": Interval(0.89, 0.84, 0.93)}, title="Better?")
    assert words(figure) == "Better?; exact match (share of answers); 0.89  [0.84, 0.93]"
    line = Figure()
    line.subplots().plot([1, 2], [0.5, 2.25], label="rank 1")
    assert words(line) == "rank 1: 0.5, 2.25"
    assert words(Figure()) == "a figure"
    assert figure.get_facecolor()[3] == figure.axes[0].get_facecolor()[3] == 0
    for ground in ("#ffffff", "#111111"):
        for colour in (GREY, *(colour for colour, *_ in STYLES)):
            assert contrast(colour, ground) > (4 if colour == GREY else 2.2)


def contrast(one, other):
    """Ratio of luminances, as WCAG 2 reckons it."""
    from matplotlib.colors import to_rgb

    def luminance(colour):
        linear = [
            c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in to_rgb(colour)
        ]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    dark, light = sorted((luminance(one), luminance(other)))
    return (light + 0.05) / (dark + 0.05)


def test_figures_of_a_notebook_have_the_style(monkeypatch):
    import matplotlib

    with matplotlib.rc_context():
        style()
        axis = Figure().subplots()
        [line] = axis.plot([1, 2])
        assert (line.get_color(), axis.title.get_color()) == (STYLES[0][0], GREY)


@pytest.mark.parametrize(
    "score", [Interval(0.5, 0.6, 0.7), Interval(0.5, 0.1, 0.4), Interval(float("nan"), 0, 1)]
)
def test_scores_refuse_a_value_outside_its_interval(score):
    with pytest.raises(ValueError, match="not between"):
        scores_with_intervals({"a": score}, title="t")


def test_scores_refuse_nothing():
    with pytest.raises(ValueError, match="no score"):
        scores_with_intervals({}, title="t")


def test_every_series_differs_in_more_than_colour():
    for place in range(3):
        assert len({str(style[place]) for style in STYLES}) == len(STYLES)


def test_no_global_state():
    scores_with_intervals({"a": Interval(0.5, 0.4, 0.6)}, title="t")
    pyplot = sys.modules.get("matplotlib.pyplot")
    assert pyplot is None or pyplot.get_fignums() == []
