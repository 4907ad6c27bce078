"""The rank view in a real JupyterLab: PEFT's counts, mouse and keyboard, both themes."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import expect

from sft_helpers.display.ranks import facts
from sft_helpers.training.adapters import count

pytestmark = [pytest.mark.browser, pytest.mark.xdist_group("browser")]

VIEW = r"""
from sft_helpers.training.adapters import rank_grid
from sft_helpers.display import show
from sft_helpers.display.ranks import ranks_html, show_ranks
grid = rank_grid(("tiny", "Qwen2.5-7B"))
show_ranks(grid)
show(html=ranks_html(grid, "tiny", 16), alt="without a widget")
"""


def shoot(lab: Any, name: str) -> None:
    folder = os.environ.get("SFT_SHOTS")
    if folder:
        Path(folder).mkdir(parents=True, exist_ok=True)
        size = lab.page.viewport_size
        lab.page.set_viewport_size({"width": 1200, "height": 2400})
        for number, output in enumerate(lab.panel.locator(".jp-OutputArea-output").all()):
            if output.is_visible():
                output.screenshot(path=Path(folder) / f"ranks-{name}-{number}.png")
        lab.page.set_viewport_size(size)


def test_ranks(lab: Any) -> None:
    lab.open("ranks.ipynb", [VIEW])
    assert lab.run_all() == []
    panel = lab.panel
    table = panel.get_by_test_id("ranks-facts")
    words = panel.get_by_test_id("ranks-words")
    expect(table).to_be_visible(timeout=20_000)

    def shown(model: str, targets: str, rank: int) -> None:
        for text in facts(count(model, targets, rank)).values():
            expect(table).to_contain_text(text)
        expect(table.locator("caption")).to_have_text(f"{model}, {targets}, rank {rank}")

    shown("tiny", "all-linear", 16)
    expect(words).to_contain_text(
        "q_proj: W has 16,384 frozen weights; B and A have 4,096 that train (25 %)"
    )
    shoot(lab, "light")
    panel.get_by_test_id("ranks-Qwen2.5-7B").click()
    shown("Qwen2.5-7B", "all-linear", 16)
    panel.get_by_test_id("ranks-attention").click()
    shown("Qwen2.5-7B", "attention", 16)
    panel.get_by_role("button", name="gate_proj (none)").click()
    expect(words).to_contain_text("gate_proj: no adapter here")
    expect(panel.get_by_role("button", name="gate_proj (none)")).to_be_focused()

    slider = panel.get_by_test_id("ranks-rank")
    slider.focus()
    lab.page.keyboard.press("End")
    shown("Qwen2.5-7B", "attention", 256)
    panel.get_by_test_id("ranks-tiny").click()
    panel.get_by_test_id("ranks-all-linear").click()
    panel.get_by_role("button", name="q_proj", exact=True).click()
    expect(words).to_contain_text("this rank saves nothing here")
    picture = panel.get_by_test_id("ranks-picture")
    assert "saves nothing" in (picture.get_attribute("aria-label") or "")

    lab.theme("Dark")
    shoot(lab, "dark")
    lab.theme("Light")
