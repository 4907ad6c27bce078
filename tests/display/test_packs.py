"""The packing view's data and its static twin."""

from __future__ import annotations

import json

import numpy as np
import pytest

from sft_helpers.display.packs import (
    NUMBERS,
    PAGE,
    SHOWN,
    attention_figure,
    grid_data,
    packs_html,
    show_attention,
    show_packs,
)
from sft_helpers.errors import DataError
from sft_helpers.packing import packing_grid

LENGTHS = [10, 30, 50, 90] * 60


@pytest.fixture(scope="module")
def grid():
    return packing_grid(
        [{"input_ids": [1] * n} for n in LENGTHS], max_lengths=(32, 64, 100), batches=(1, 8)
    )


@pytest.fixture
def published(monkeypatch):
    found = []
    monkeypatch.setattr(
        "IPython.display.publish_display_data", lambda data, metadata=None: found.append(data)
    )
    return found


def test_the_page_gets_the_layouts(grid):
    data = json.loads(json.dumps(grid_data(grid)))
    assert len(data["layouts"]) == 12
    assert len(data["numbers"]) == 24
    kinds = {}
    for key, drawn in data["layouts"].items():
        strategy, size = key.split("/")
        laid = grid.layouts[strategy, int(size)]
        most = PAGE if strategy.startswith("bfd") else SHOWN
        assert len(drawn["rows"]) == min(most, len(laid.row_lengths))
        lengths = [sum(piece[1] for piece in row) for row in drawn["rows"]]
        assert lengths == laid.row_lengths[drawn["at"]].tolist()
        assert max(lengths) <= int(size)
        kinds[key] = {piece[2] for row in drawn["rows"] for piece in row}
    assert kinds["none/32"] == kinds["bfd/32"] == {0, 2}
    assert kinds["bfd_split/32"] == {0, 1}
    assert 1 in kinds["wrapped/32"]
    assert kinds["bfd/100"] == kinds["none/100"] == {0}


def test_the_numbers_are_written_in_the_order_of_the_headings(grid):
    data = grid_data(grid)
    assert len(data["headings"]) == len(NUMBERS)
    numbers = dict(zip(data["headings"], data["numbers"]["bfd/64/8"], strict=True))
    cost = grid.costs["bfd", 64, 8]
    assert numbers["rows"] == f"{cost.rows:,}"
    assert numbers["padding waste"] == "0.0%"
    assert numbers["tokens thrown away"] == f"{cost.truncated_tokens:,}"


def test_the_static_view_has_every_strategy(grid):
    html = str(packs_html(grid, 64, 8))
    for strategy in grid.strategies:
        assert strategy in html
    assert "max_length 64, batch 8" in html


def test_live_and_static(grid, published, monkeypatch):
    show_packs(grid, max_length=64, batch=8)
    monkeypatch.setenv("SFT_STATIC", "1")
    show_packs(grid)
    live, static = (any("widget" in kind for kind in data) for data in published)
    assert live
    assert not static
    assert "bfd: " in published[0]["text/plain"]
    with pytest.raises(DataError, match="65 is not in the grid"):
        show_packs(grid, max_length=65)


def test_attention(published):
    causal = np.tril(np.ones((5, 5), dtype=bool))
    own = causal.copy()
    own[3:, :3] = False
    patterns = {"apart": own, "together": causal}
    assert len(attention_figure(patterns, [0, 1, 2, 0, 1]).axes) == 2
    show_attention(patterns, [0, 1, 2, 0, 1])
    assert "apart: 0 looks into other samples; together: 6" in published[0]["text/plain"]
    with pytest.raises(DataError, match="square"):
        show_attention({"wrong": causal}, [0, 1])
