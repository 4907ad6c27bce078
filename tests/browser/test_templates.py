"""The template playground in a real JupyterLab: controls, keyboard, both themes, hostile text."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest
from playwright.sync_api import expect

from tests.browser.test_views import CONTRASTS, shoot

pytestmark = [pytest.mark.browser, pytest.mark.xdist_group("browser")]

CELLS = [
    "from sft_helpers.display.playground import *\n"
    "from sft_helpers.templates.render import family, render\n"
    "playground(left='qwen3', right='llama3')",
    "chat = [{'role': 'user', 'content': 'Which pet? <b>'},\n"
    "        {'role': 'assistant', 'content': 'A raven.'}]\n"
    "show_reader('gemma', chat, add_generation_prompt=True)",
    "show_rendering(render('qwen2_5', chat))\n"
    "show_comparison(render('qwen2_5', chat), render('phi3', chat))\n"
    "show_rendering(render('gemma', [{'role': 'system', 'content': 'x'}]))",
    "show_traits([family(name) for name in ('gemma', 'qwen3', 'llama3_2')])",
]


@pytest.fixture(scope="module")
def ground(lab: Any) -> Any:
    """A notebook with the playground and the static views, run once."""
    lab.open("templates.ipynb", CELLS)
    assert lab.run_all() == []
    expect(lab.panel.get_by_test_id("playground-status")).to_be_visible(timeout=20_000)
    return lab


def fresh(ground: Any) -> Any:
    """The playground as it was at the start."""
    panel = ground.panel
    text = panel.get_by_test_id("playground-text")
    for name, option in [("left", "qwen3"), ("right", "llama3")]:
        panel.get_by_test_id(f"playground-{name}").select_option(option)
    panel.get_by_test_id("playground-thinking").select_option("as the template decides")
    panel.get_by_test_id("playground-prompt").set_checked(True)
    panel.get_by_test_id("playground-tools").set_checked(False)
    text.fill(json.dumps([{"role": "user", "content": "Hello"}]))
    expect(panel.get_by_test_id("playground-status")).to_contain_text("55 and")
    return panel


def rows(panel: Any) -> Any:
    return panel.get_by_role("region", name="Both renderings, part by part").locator("tbody tr")


def test_controls_change_what_is_rendered(ground: Any) -> None:
    panel = fresh(ground)
    expect(rows(panel).last).to_contain_text("generation prompt")
    panel.get_by_test_id("playground-thinking").select_option("off")
    expect(rows(panel).last).to_contain_text("</think>")
    panel.get_by_test_id("playground-prompt").set_checked(False)
    expect(rows(panel).last).to_contain_text("end of user turn")
    panel.get_by_test_id("playground-tools").set_checked(True)
    expect(rows(panel).first).to_contain_text("look_up")
    panel.get_by_test_id("playground-right").select_option("qwen3")
    expect(panel.get_by_test_id("playground-status")).to_contain_text("0 of")


def test_what_cannot_be_rendered_is_said_in_words(ground: Any) -> None:
    panel = fresh(ground)
    status = panel.get_by_test_id("playground-status")
    text = panel.get_by_test_id("playground-text")
    text.fill("[{")
    expect(status).to_contain_text("not JSON yet")
    expect(rows(panel)).to_have_count(0)
    text.fill("[]")
    expect(status).to_contain_text("no messages")
    text.fill(json.dumps([{"role": "system", "content": "x"}, {"role": "user", "content": "y"}]))
    panel.get_by_test_id("playground-right").select_option("gemma")
    expect(status).to_contain_text("gemma: the template refuses this conversation: System role")


def test_hostile_text_is_shown_and_never_run(ground: Any) -> None:
    panel = fresh(ground)
    evil = "<img src=x onerror='window.__xss = 1'>\u202eabc"
    panel.get_by_test_id("playground-text").fill(json.dumps([{"role": evil, "content": evil}]))
    expect(rows(panel).filter(has_text="⟨U+202E⟩").first).to_be_visible()
    assert panel.locator(".sft-kit img, .sft-kit script").count() == 0
    assert ground.page.evaluate("window.__xss") is None


def test_keyboard_alone(ground: Any) -> None:
    panel = fresh(ground)
    page = ground.page
    panel.get_by_test_id("playground-text").focus()
    page.keyboard.press("Control+End")
    page.keyboard.press("Backspace")
    expect(panel.get_by_test_id("playground-status")).to_contain_text("not JSON yet")
    page.keyboard.type("]")
    expect(panel.get_by_test_id("playground-status")).to_contain_text("parts differ")
    page.keyboard.press("Tab")
    expect(panel.get_by_test_id("playground-left")).to_be_focused()
    page.keyboard.press("ArrowUp")
    expect(panel.get_by_test_id("playground-left")).to_have_value("qwen2_5_vl")
    expect(rows(panel).first).to_contain_text("You are a helpful assistant.")
    panel.get_by_test_id("playground-prompt").focus()
    page.keyboard.press("Space")
    expect(rows(panel).last).to_contain_text("end of user turn")


def test_an_answer_comes_at_once(ground: Any) -> None:
    panel = fresh(ground)
    start = time.perf_counter()
    panel.get_by_test_id("playground-right").select_option("phi3")
    expect(rows(panel).filter(has_text="<|user|>").first).to_be_visible()
    assert time.perf_counter() - start < 5  # a busy machine; about 0.2 s on an idle one


@pytest.mark.parametrize("theme", ["Light", "Dark"])
def test_every_text_can_be_read(ground: Any, theme: str) -> None:
    fresh(ground)
    ground.theme(theme)
    found = ground.page.evaluate(CONTRASTS)
    shoot(ground, f"templates-{theme.lower()}")
    ground.theme("Light")
    assert len(found) > 60
    assert [(text, ratio) for text, ratio in found if ratio < 4.5] == []


def test_every_control_has_a_name(ground: Any) -> None:
    controls = ground.panel.locator(".sft-kit").locator("button, input, select, textarea, summary")
    assert controls.count() >= 6
    nameless = controls.evaluate_all(
        "(nodes) => nodes.filter((n) => !(n.getAttribute('aria-label') || n.textContent.trim()"
        " || n.labels?.[0]?.textContent.trim())).map((n) => n.outerHTML)"
    )
    assert nameless == []
