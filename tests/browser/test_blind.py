"""The blind comparison in a real JupyterLab: mouse, keyboard, file, hostile text, both themes."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import expect

# one worker for all browser tests: they share a server and a page
pytestmark = [pytest.mark.browser, pytest.mark.xdist_group("browser")]

SETUP = r"""
from sft_helpers.display.blind import blind_view
EVIL = "<script>window.__xss = 1</script><img src=x onerror='window.__xss = 1'>\u200b\u202eRTL"
rows = [dict(question=f"Where does resident {n} live?", before=f"one {n}", after=f"two {n}")
        for n in range(3)]
rows.append(dict(question=EVIL, before=EVIL, after="harmless"))
rows.append(dict(question="alike", before="same", after="same"))
"""
VIEW = "view = blind_view(rows, ('model one', 'model ' + EVIL), file='blind.json')"


@pytest.fixture(scope="module")
def blind(lab: Any) -> Any:
    lab.open("blind.ipynb", [SETUP, VIEW])
    assert lab.run_all() == []
    expect(lab.panel.get_by_test_id("blind-question")).to_be_visible(timeout=20_000)
    return lab


def kept(lab: Any) -> dict[str, Any]:
    """The file, once the kernel has written the last choice."""
    lab.page.wait_for_function(
        "() => window.jupyterapp.shell.currentWidget.sessionContext.session.kernel.status"
        ' === "idle"'
    )
    return json.loads((Path(lab.folder) / "blind.json").read_text("utf-8"))


def test_choose_by_mouse_then_by_key_then_reveal(blind: Any) -> None:
    panel = blind.panel
    place, result = panel.get_by_test_id("blind-place"), panel.get_by_test_id("blind-result")
    expect(place).to_have_text("pair 1 of 4")
    assert "model one" not in panel.get_by_test_id("blind-card-left").inner_text()

    seen = [
        panel.get_by_test_id(f"blind-card-{side}").inner_text().split("\n")[-1]
        for side in ("left", "right")
    ]
    panel.get_by_test_id("blind-left").click()
    expect(place).to_have_text("pair 2 of 4")
    expect(result).to_contain_text("1 of 4 pairs chosen")
    blind.page.keyboard.press("r")
    expect(place).to_have_text("pair 3 of 4")
    blind.page.keyboard.press("t")
    expect(place).to_have_text("pair 4 of 4")
    blind.page.keyboard.press("ArrowLeft")
    expect(place).to_have_text("pair 3 of 4")
    expect(panel.get_by_test_id("blind-tie")).to_have_attribute("aria-pressed", "true")
    expect(result).to_contain_text("3 of 4 pairs chosen")

    panel.get_by_test_id("blind-reveal").click()
    expect(result).to_contain_text("model one: ")
    expect(result).to_contain_text("equally good: 1, open: 1")

    found = kept(blind)
    assert found["counts"]["tie"] == 1
    assert found["counts"]["open"] == 1
    first = found["choices"][0]
    assert first["side"] == "left"
    if seen[0].startswith("one"):
        assert first["prefers"] == "first"
    elif seen[0].startswith("two"):
        assert first["prefers"] == "second"

    panel.get_by_test_id("blind-reveal").click()
    expect(result).not_to_contain_text("model one")


def test_hostile_text_is_shown_and_never_run(blind: Any) -> None:
    blind.panel.get_by_test_id("blind-reveal").focus()
    for _ in range(4):
        blind.page.keyboard.press("ArrowLeft")
    expect(blind.panel.get_by_test_id("blind-place")).to_have_text("pair 1 of 4")
    for _ in range(4):
        text = blind.panel.get_by_test_id("blind-question").inner_text()
        if "<script>" in text:
            break
        blind.page.keyboard.press("ArrowRight")
    assert "⟨U+200B⟩⟨U+202E⟩RTL" in text
    assert blind.panel.locator(".sft-kit script, .sft-kit img").count() == 0
    assert blind.page.evaluate("window.__xss") is None


@pytest.mark.parametrize("theme", ["Light", "Dark"])
def test_both_themes(blind: Any, theme: str) -> None:
    blind.theme(theme)
    try:
        card = blind.panel.get_by_test_id("blind-card-left")
        colours = card.evaluate(
            "(node) => [getComputedStyle(node).color, getComputedStyle(node).backgroundColor]"
        )
        light = [sum(map(int, c.split("(")[1].rstrip(")").split(",")[:3])) for c in colours]
        assert (light[0] > light[1]) == (theme == "Dark")
        assert abs(light[0] - light[1]) > 300
        folder = os.environ.get("SFT_SHOTS")
        if folder:
            Path(folder).mkdir(parents=True, exist_ok=True)
            root = blind.panel.get_by_role("group", name="Blind comparison")
            root.screenshot(path=Path(folder) / f"blind-{theme}.png")
    finally:
        blind.theme("Light")


def test_a_second_sitting_goes_on_where_the_first_ended(blind: Any) -> None:
    before = kept(blind)
    blind.open("again.ipynb", [SETUP, VIEW, "print(view.counts)"])
    assert blind.run_all() == []
    expect(blind.panel.get_by_test_id("blind-result")).to_contain_text("3 of 4", timeout=20_000)
    expect(blind.panel.get_by_test_id("blind-place")).to_have_text("pair 4 of 4")
    assert kept(blind) == before
