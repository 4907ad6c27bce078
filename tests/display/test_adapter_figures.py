"""Figures of notebooks 07 and 08: every point, interval and label is drawn."""

from __future__ import annotations

import numpy as np
import pytest

from sft_helpers.display import adapter_figures as figures
from sft_helpers.display.figures import png
from sft_helpers.evaluation import Interval

LINES = {
    "rank 1": {1e-3: (0.1, 0.0, 0.2), 4e-3: (0.9, 0.8, 0.95)},
    "rank 16": {1e-3: (0.2, 0.1, 0.3), 4e-3: (0.95, 0.9, 1.0)},
}


def test_points():
    assert figures.point(Interval(0.5, 0.4, 0.6)) == (0.5, 0.4, 0.6)
    assert figures.spread([1.0, 3.0]) == (2.0, 1.0, 3.0)


def test_lines_carry_values_intervals_and_names():
    figure = figures.lines_figure(LINES, title="Which? $5", xlabel="rate", ylabel="score")
    [axis] = figure.axes
    drawn = [container[0].get_ydata().tolist() for container in axis.containers]
    assert drawn == [[0.1, 0.9], [0.2, 0.95]]
    assert [text.get_text() for text in axis.get_legend().get_texts()] == list(LINES)
    assert [tick.get_text() for tick in axis.get_xticklabels()] == ["0.001", "0.004"]
    assert axis.get_title(loc="left") == r"Which? \$5"
    assert png(figure).startswith(b"\x89PNG")


def test_frontier_labels_each_point():
    curves = {"full": {"5e-4": ((0.9, 0.85, 0.95), (1.8, 1.7, 1.9))}}
    [axis] = figures.frontier_figure(curves).axes
    assert [text.get_text() for text in axis.texts] == ["5e-4"]
    assert axis.containers[0][0].get_xdata().tolist() == [0.9]


def test_spectra_leave_rounding_out():
    spectra = {"full": [3.0, 2.0, 1.0], "LoRA": [4.0, 1.0, 1e-9]}
    [axis] = figures.spectrum_figure(spectra, title="How many?").axes
    assert [len(line.get_ydata()) for line in axis.lines] == [3, 2]
    labels = [text.get_text() for text in axis.get_legend().get_texts()]
    assert labels == ["full: 3 of 3 not zero", "LoRA: 2 of 3 not zero"]


def test_code_books_name_their_levels():
    [axis] = figures.code_book_figure({"nf4": [-1.0, 0.0, 0.0, 1.0]}, title="Levels?").axes
    assert "nf4 (3 levels)" in [text.get_text() for text in axis.texts]


def test_mean_largest_of_64():
    drawn = np.abs(np.random.default_rng(0).normal(size=(20_000, 64))).max(1).mean()
    assert figures._mean_largest(64) == pytest.approx(drawn, rel=0.01)
