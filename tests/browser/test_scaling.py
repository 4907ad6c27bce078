"""The scale explorer in a real JupyterLab: its numbers are Python's, by mouse and keyboard."""

from __future__ import annotations

from typing import Any

import pytest
from playwright.sync_api import expect

from sft_helpers.scaling.arithmetic import find_parts, memory_per_device
from tests.browser.test_views import shoot

pytestmark = [pytest.mark.browser, pytest.mark.xdist_group("browser")]

VIEW = r"""
from sft_helpers.display import show
from sft_helpers.display.scaling import scaling_explorer, scaling_html
from sft_helpers.scaling.arithmetic import find_parts
scaling_explorer()
show(html=scaling_html(find_parts("Qwen2.5-7B"), 8), alt="without a widget")
"""


def test_the_explorer(lab: Any) -> None:
    lab.open("scaling.ipynb", [VIEW])
    assert lab.run_all() == []
    panel = lab.panel
    words, table = panel.get_by_test_id("scale-words"), panel.get_by_test_id("scale-table")
    expect(words).to_be_visible(timeout=20_000)
    expect(words).to_contain_text("8 rows and at most 8,192 tokens a step, 6,250 steps an epoch")
    expect(words).to_contain_text("FSDP2, gradients and optimizer; FSDP2, everything")

    def sums(model: str, method: str, devices: int) -> None:
        for held in memory_per_device(find_parts(model, method), devices).values():
            total = sum(held.values()) / 1e9
            expect(table).to_contain_text(f"{total:.0f}" if total >= 10 else f"{total:.1f}")

    sums("Qwen2.5-7B", "full", 8)
    shoot(lab, "scaling-light")
    panel.get_by_test_id("scale-1-lora").click()
    expect(words).to_contain_text("Every strategy fits: take the simplest, DDP")
    sums("Qwen2.5-7B", "lora", 8)
    panel.get_by_test_id("scale-7-16").click()
    expect(words).not_to_contain_text("Every strategy")
    panel.get_by_test_id("scale-4-16").focus()  # accumulation, by keyboard
    lab.page.keyboard.press("Enter")
    expect(words).to_contain_text("128 rows")
    expect(panel.get_by_test_id("scale-4-16")).to_have_attribute("aria-pressed", "true")
    picture = panel.get_by_test_id("scale-picture")
    assert "does not fit" in (picture.get_attribute("aria-label") or "")
    lab.theme("Dark")
    shoot(lab, "scaling-dark")
    lab.theme("Light")
