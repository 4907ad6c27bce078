"""The schedule explorer in a real JupyterLab: mouse, keyboard, both themes."""

from __future__ import annotations

from typing import Any

import pytest
from playwright.sync_api import expect

from tests.browser.test_views import CONTRASTS, shoot

pytestmark = [pytest.mark.browser, pytest.mark.xdist_group("browser")]
CELL = "from sft_helpers.display.schedules import schedule_explorer\nschedule_explorer()"


@pytest.fixture(scope="module")
def explorer(lab: Any) -> Any:
    lab.open("schedules.ipynb", [CELL])
    assert lab.run_all() == []
    expect(lab.panel.get_by_test_id("schedule-words")).to_be_visible(timeout=30_000)
    return lab


def test_schedules_are_switched_on_and_off(explorer: Any) -> None:
    words = explorer.panel.get_by_test_id("schedule-words")
    button = explorer.panel.get_by_test_id("schedule-warmup_stable_decay")
    expect(words).to_contain_text("Warm-up 10 %. At step 50: linear")
    expect(words).not_to_contain_text("warmup_stable_decay")
    button.click()
    expect(button).to_have_attribute("aria-pressed", "true")
    expect(words).to_contain_text("warmup_stable_decay 100 %")
    lines = explorer.panel.locator(".sft-kit svg[role=img] polyline")
    assert lines.count() == 4
    button.click()
    assert lines.count() == 3


def test_the_sliders_work_from_the_keyboard(explorer: Any) -> None:
    words = explorer.panel.get_by_test_id("schedule-words")
    warm = explorer.panel.get_by_role("slider", name="warm-up")
    warm.focus()
    warm.press("End")
    expect(words).to_contain_text("Warm-up 30 %")
    step = explorer.panel.get_by_role("slider", name="step")
    step.focus()
    step.press("Home")
    expect(words).to_contain_text("At step 0: linear 0 %")
    warm.focus()
    warm.press("Home")
    expect(words).to_contain_text("At step 0: linear 100 %")


@pytest.mark.parametrize("theme", ["Light", "Dark"])
def test_every_word_is_readable(explorer: Any, theme: str) -> None:
    explorer.theme(theme)
    contrasts = explorer.page.evaluate(CONTRASTS)
    assert contrasts
    assert all(ratio >= 4.5 for _, ratio in contrasts), contrasts
    shoot(explorer, f"schedules-{theme.lower()}")
