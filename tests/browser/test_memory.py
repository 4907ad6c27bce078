"""The memory explorer in a real JupyterLab: the sums of Python, mouse and keyboard, both themes."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import expect

from sft_helpers.display.memory import Choice, need, turns
from sft_helpers.memory.grid import read_grid

pytestmark = [pytest.mark.browser, pytest.mark.xdist_group("browser")]

VIEW = "from sft_helpers.display.memory import memory_explorer\nmemory_explorer()"


def shoot(lab: Any, name: str) -> None:
    folder = os.environ.get("SFT_SHOTS")
    if folder:
        Path(folder).mkdir(parents=True, exist_ok=True)
        size = lab.page.viewport_size
        lab.page.set_viewport_size({"width": 1200, "height": 1800})
        lab.panel.locator(".jp-OutputArea-output").first.screenshot(
            path=Path(folder) / f"memory-{name}.png"
        )
        lab.page.set_viewport_size(size)


def test_memory(lab: Any) -> None:
    grid = read_grid()
    lab.open("memory.ipynb", [VIEW])
    assert lab.run_all() == []
    panel = lab.panel
    words = panel.get_by_test_id("memory-words")
    expect(words).to_be_visible(timeout=20_000)

    def shown(choice: Choice) -> None:
        parts, place = need(grid, choice)
        total = sum(parts.values())
        expect(words).to_contain_text(choice.model)
        expect(words).to_contain_text(f"{choice.batch} × {choice.length:,} tokens")
        expect(words).to_contain_text(f"{total / 1e9:.{2 if total < 9.95e9 else 1}f} GB")
        expect(words).to_contain_text(place)
        table = panel.get_by_test_id("memory-parts")
        for part in parts:
            expect(table).to_contain_text(part)
        freed = {
            name: total - sum(need(grid, one)[0].values()) for name, one in turns(choice).items()
        }
        if max(freed.values()) > 1e6:
            expect(words).to_contain_text(f"Frees most: {max(freed, key=lambda n: freed[n])}")

    shown(Choice("Qwen2.5-7B", "qlora", True, "bf16", 2048, 2))
    shoot(lab, "light")
    panel.get_by_test_id("memory-full").click()
    shown(Choice("Qwen2.5-7B", "full", True, "bf16", 2048, 2))
    expect(words).to_contain_text("Fits none of these cards")
    first = next(iter(grid))  # the smallest model
    panel.get_by_test_id(f"memory-{first}").click()
    panel.get_by_test_id("memory-off").click()
    shown(Choice(first, "full", False, "bf16", 2048, 2))
    panel.get_by_test_id("memory-fp32").click()
    precision = "fp32" if "full/off/fp32" in grid[first]["cells"] else "bf16"
    shown(Choice(first, "full", False, precision, 2048, 2))
    slider = panel.get_by_test_id("memory-batch")
    slider.focus()
    lab.page.keyboard.press("Home")
    shown(Choice(first, "full", False, precision, 2048, 1))
    panel.get_by_test_id("memory-length").focus()
    lab.page.keyboard.press("ArrowLeft")
    shown(Choice(first, "full", False, precision, 1536, 1))
    picture = panel.get_by_test_id("memory-picture")
    assert "GB at the highest moment" in (picture.get_attribute("aria-label") or "")
    expect(panel.get_by_test_id("memory-cards")).to_contain_text("48 GB")

    lab.theme("Dark")
    shoot(lab, "dark")
    lab.theme("Light")
