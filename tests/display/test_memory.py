"""The memory explorer without a browser: live view and static twin say the same."""

from __future__ import annotations

import pytest

from sft_helpers.display import memory
from sft_helpers.display.memory import Choice, MemoryView, memory_explorer, need, turns
from sft_helpers.display.memory_figures import INKS, card_lines, memory_figure
from sft_helpers.errors import DataError
from sft_helpers.memory.grid import read_grid
from sft_helpers.memory.parts import COMPONENTS

START = Choice("Qwen2.5-7B", "qlora", True, "bf16", 2048, 2)


def test_live_and_static_show_the_same(monkeypatch):
    shown = []
    monkeypatch.setattr(memory, "show", lambda *view, **more: shown.append((view, more)))
    monkeypatch.delenv("SFT_STATIC", raising=False)
    memory_explorer()
    [((view,), more)] = shown
    assert isinstance(view, MemoryView)
    parts, place = need(read_grid(), START)
    assert f"{sum(parts.values()) / 1e9:.2f} GB, reached in {place}" in more["alt"]
    [axis, *_] = more["figure"].axes
    assert axis.get_title(loc="left").endswith("GB")
    assert next(label.get_text() for label in axis.get_yticklabels()) == "as chosen"
    assert view.data["start"] == ["Qwen2.5-7B", "qlora", True, "bf16", 2048, 2]
    monkeypatch.setenv("SFT_STATIC", "1")
    memory_explorer()
    assert shown[-1][0] == (None,)


def test_knobs_help_and_wrong_choices_are_said():
    grid = read_grid()
    choice = Choice("Qwen2.5-7B", "full", False, "bf16", 2048, 8)
    total = sum(need(grid, choice)[0].values())
    found = turns(choice)
    assert list(found) == ["batch 4", "length 1024", "checkpointing on", "LoRA"]
    assert all(sum(need(grid, other)[0].values()) < total for other in found.values())
    with pytest.raises(DataError, match="has no GPT-9"):
        memory_explorer("GPT-9")
    with pytest.raises(DataError, match="no length 2000"):
        memory_explorer(length=2000)


def test_the_figure_numbers_its_components():
    bars = {"one": {"weights": 5e9, "activations": 3e9}, "two": {"weights": 5e9}}
    figure = memory_figure(bars)
    [axis] = figure.axes
    texts = {text.get_text() for text in axis.texts}
    assert {"1", "7", "8 GB", "16 GB"} <= texts
    assert len(set(INKS.values())) == len(COMPONENTS)
    assert card_lines(20) == [8, 16, 24]
    assert card_lines(0.5) == []
