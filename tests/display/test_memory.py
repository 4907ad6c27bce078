"""The memory explorer without a browser: live view and static twin say the same."""

from __future__ import annotations

from typing import Any

import pytest

from sft_helpers.display import memory
from sft_helpers.errors import SFTHelpersError


def test_live_and_static_show_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    shown: list[Any] = []
    monkeypatch.setattr(memory, "show", lambda *view, **more: shown.append((view, more)))
    monkeypatch.delenv("SFT_STATIC", raising=False)
    memory.memory_explorer("SmolLM2-135M", method="full", length=300, batch=2)
    *_, ((view,), more) = shown  # the controls have drawn once before
    account = memory.predict("SmolLM2-135M", method="full", length=300, batch=2)
    assert f"{account.peak_bytes / 1e9:.2f} GB, reached in {account.moment}" in more["alt"]
    [axis] = more["figure"].axes
    bars = [label.get_text() for label in axis.get_yticklabels()]
    assert bars[0] == "as chosen"
    assert any("LoRA instead" in bar for bar in bars)
    view.update()  # what the page asks for when the view appears
    assert shown[-1][1]["alt"] == more["alt"]
    controls = {control.description: control for control in view.children[:-1]}
    controls["method"].value = "lora"
    assert "LoRA, 2 × 300 tokens" in shown[-1][1]["alt"]
    [axis] = shown[-1][1]["figure"].axes
    assert len(axis.get_yticklabels()) == 2  # the choice before stays in sight
    monkeypatch.setenv("SFT_STATIC", "1")
    memory.memory_explorer("tiny", length=64)
    assert shown[-1][0] == (None,)


def test_what_is_refused_is_said() -> None:
    with pytest.raises(SFTHelpersError, match="no configuration of 'GPT-9'"):
        memory.memory_explorer("GPT-9")


def test_the_figure_numbers_its_components() -> None:
    figure = memory.memory_figure(
        {"one": {"weights": 5e9, "activations": 3e9}, "two": {"weights": 5e9}}
    )
    [axis] = figure.axes
    assert {"1", "7", "8 GB", "16 GB"} <= {text.get_text() for text in axis.texts}
    assert len(set(memory.INKS.values())) == len(memory.COMPONENTS)
    assert memory.card_lines(20) == [8, 16, 24]
    assert memory.card_lines(0.5) == []
