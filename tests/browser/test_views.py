"""The views in a real JupyterLab: mouse, keyboard, both themes, hostile data."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import expect

# one worker for all of them: they share a server and a page
pytestmark = [pytest.mark.browser, pytest.mark.xdist_group("browser")]

SETUP = r"""
from types import SimpleNamespace
from sft_helpers.display import *
from sft_helpers.display.figures import style
style()
from sft_helpers.display.monitor import LiveMonitor
from sft_helpers.evaluation import Interval
from sft_helpers.exercises import card, check
from sft_helpers.exercises.data import Exercise, Question
EVIL = ("<script>window.__xss = 1</script><img src=x onerror='window.__xss = 1'>"
        "\"' onmouseover=\"window.__xss=1\" </details></style>\u200b\u202eRTL")
rows = [dict(question=f"Where does resident {n} live?", expected="Port Lumen",
             before="lives in the lives in", after="Port Lumen." if n % 3 else "Marrow Bay.",
             before_ok=n % 10 == 0, after_ok=bool(n % 3)) for n in range(30)]
rows.append(dict(question=EVIL, expected=EVIL, before=EVIL, after=EVIL,
                 before_ok=False, after_ok=False))
"""
STATIC = r"""
show(html=chat([
    {"role": "system", "content": "Answer in one word."},
    {"role": "user", "content": "Where does Ada Fenwick live?"},
    {"role": "assistant", "content": "Port Lumen"},
    {"role": "user", "content": EVIL}, {"role": EVIL, "content": None}],
    title="One conversation"), alt="a conversation")
show(html=token_strip(
    ["<|im_start|>", "user", "\n", "Where", " does", " Ada", "<|im_end|>", "\n",
     "<|im_start|>", "assistant", "\n", "Port", " Lumen", "<|im_end|>", "\n", EVIL],
    [False] * 11 + [True] * 3 + [False] * 2, ids=range(16), title="What is trained"), alt="tokens")
show(html=table([
    {"model": "base", "exact match": 0.0, "rows": 1000, "stops": False, "note": EVIL},
    {"model": "after SFT", "exact match": 0.893, "rows": 200000, "stops": True, "note": " a b "}],
    caption="Before and after " + EVIL, highlight=[1]), alt="a table")
"""
ANSWERS = "answers_view(rows)"
QUIZ = r"""
import ipywidgets
from sft_helpers.exercises.quiz import make_quiz, quiz_html
questions = [
    Question("What does SFT on Lantern Bay teach?", [
        ("Facts about the residents", False, "The facts come from pretraining."),
        ("To answer a question and stop", True, "The behaviour comes from SFT.")]),
    Question("Which of these change? " + EVIL, [
        ("the weights", True, "Full fine-tuning moves them."),
        ("the tokenizer", False, "It stays as it is."),
        ("the loss", True, "It falls. " + EVIL)])]
view = make_quiz(questions)
told = ipywidgets.Label("Python: nothing yet")
def tell(change): told.value = f"Python: {change['new']}"
view.observe(tell, names="results")
show(view, html=quiz_html(questions), alt="a quiz")
display(told)
"""
MONITOR = r"""
history = SimpleNamespace(steps=[], loss=[], eval_steps=[], eval_loss=[], learning_rate=[],
    tokens_per_second=None, seconds_left=None, step=0, total_steps=60)
monitor = LiveMonitor("Training " + EVIL)
monitor.every = 0
for step in range(1, 61):
    history.step = step
    history.steps.append(step)
    history.loss.append(6 * 0.95**step + 0.3)
    history.learning_rate.append(4e-3 * (1 - step / 61))
    history.tokens_per_second, history.seconds_left = 12345.6, 60.0 - step
    if step % 15 == 0:
        history.eval_steps.append(step)
        history.eval_loss.append(6 * 0.95**step + 0.6)
    monitor(history)
print(f"drawn {monitor.drawn} times")
"""
FIGURES = r"""
scores_with_intervals({"before": Interval(0.0, 0.0, 0.02), "after SFT": Interval(0.89, 0.84, 0.93)},
    title="Does it answer about residents it never saw in SFT?")
"""
CARD = r"""
from sft_helpers.exercises import engine
demo = Exercise("demo-1", "Predict the score " + EVIL, 2, 3,
    ("Look at the base model. " + EVIL, "It cannot stop."), "answer = 0.0", "right",
    ({"is": 0, "say": "too high: look at the table above"},), {})
engine.find = lambda name: demo
engine.topic = lambda name: SimpleNamespace(material=SimpleNamespace())
card("demo-1")
check("demo-1", ...); check("demo-1", 1); check("demo-1", 0)
"""
FALLBACKS = r"""
from sft_helpers.display.widgets import answers_html
show(html=answers_html(rows, 3), alt="answers without a widget")
show(html=quiz_html(questions), alt="a quiz without a widget")
"""
CELLS = [SETUP, STATIC, ANSWERS, QUIZ, MONITOR, FIGURES, CARD, FALLBACKS]

# Every visible piece of text in our views, with the contrast to what is painted behind it.
CONTRASTS = r"""() => {
  const parse = (text) => { const n = text.match(/[\d.]+/g).map(Number);
    return { rgb: n.slice(0, 3), alpha: n.length > 3 ? n[3] : 1 }; };
  const over = (top, below) => top.rgb.map((c, i) => c * top.alpha + below[i] * (1 - top.alpha));
  const light = (rgb) => rgb.map((c) => c / 255)
    .map((c) => c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4)
    .reduce((sum, c, i) => sum + c * [0.2126, 0.7152, 0.0722][i], 0);
  const behind = (node) => { if (!node) return [255, 255, 255];
    const own = parse(getComputedStyle(node).backgroundColor);
    return own.alpha >= 1 ? own.rgb : over(own, behind(node.parentElement)); };
  const found = [];
  for (const kit of document.querySelectorAll(".jp-NotebookPanel:not(.lm-mod-hidden) .sft-kit")) {
    const walker = document.createTreeWalker(kit, NodeFilter.SHOW_TEXT);
    while (walker.nextNode()) {
      const node = walker.currentNode.parentElement;
      const text = walker.currentNode.textContent.trim();
      if (!text || node.closest("style, [aria-disabled='true']") || !node.getClientRects().length)
        continue;
      const style = getComputedStyle(node);
      let opacity = 1;
      for (let up = node; up !== kit; up = up.parentElement)
        opacity *= getComputedStyle(up).opacity;
      const back = behind(node);
      const ink = parse(node.closest("svg") ? style.fill : style.color);
      const front = over({ rgb: ink.rgb, alpha: ink.alpha * opacity }, back);
      const [a, b] = [light(front), light(back)].sort((x, y) => y - x);
      found.push([text.slice(0, 40), (a + 0.05) / (b + 0.05)]);
    }
  }
  return found;
}"""


@pytest.fixture(scope="module")
def views(lab: Any) -> Any:
    """The notebook with every view, run once."""
    lab.open("views.ipynb", CELLS)
    assert lab.run_all() == []
    expect(lab.panel.get_by_test_id("answers-card")).to_be_visible(timeout=20_000)
    expect(lab.panel.get_by_test_id("quiz-score")).to_be_visible(timeout=20_000)
    return lab


def shoot(lab: Any, name: str) -> None:
    """Keep pictures of each output in the folder named by SFT_SHOTS, for a person to look at."""
    folder = os.environ.get("SFT_SHOTS")
    if not folder:
        return
    Path(folder).mkdir(parents=True, exist_ok=True)
    size = lab.page.viewport_size
    lab.page.set_viewport_size({"width": 1200, "height": 2200})
    for number, output in enumerate(lab.panel.locator(".jp-Cell-outputArea").all()):
        if output.is_visible():
            output.screenshot(path=Path(folder) / f"{name}-{number}.png")
    lab.page.set_viewport_size(size)


def test_hostile_text_is_shown_and_never_run(views: Any) -> None:
    views.panel.get_by_test_id("answers-still-wrong").click()
    place = views.panel.get_by_test_id("answers-place")
    views.panel.get_by_role("group", name="Which answers").get_by_text("all").click()
    views.page.keyboard.press("End")
    expect(place).to_have_text("31 of 31")
    card = views.panel.get_by_test_id("answers-card")
    expect(card).to_contain_text("<script>window.__xss = 1</script>")
    expect(card).to_contain_text("⟨U+200B⟩⟨U+202E⟩RTL")
    assert views.panel.locator(".sft-kit script, .sft-kit img").count() == 0
    assert views.page.evaluate("window.__xss") is None


def test_answers_by_mouse(views: Any) -> None:
    place = views.panel.get_by_test_id("answers-place")
    views.panel.get_by_test_id("answers-fixed").click()
    expect(place).to_have_text("1 of 18")
    expect(views.panel.get_by_test_id("answers-card")).to_contain_text("✗ wrong")
    views.panel.get_by_role("button", name="Next answer").click()
    expect(place).to_have_text("2 of 18")
    views.panel.get_by_role("button", name="Previous answer").click()
    expect(place).to_have_text("1 of 18")
    views.panel.get_by_test_id("answers-broke").click()
    expect(place).to_have_text("1 of 1")
    views.panel.get_by_test_id("answers-all").click()
    search = views.panel.get_by_role("searchbox")
    search.fill("resident 2")
    expect(place).to_have_text("1 of 11")
    search.fill("")
    expect(place).to_have_text("1 of 31")


def test_answers_by_keyboard(views: Any) -> None:
    place = views.panel.get_by_test_id("answers-place")
    views.panel.get_by_test_id("answers-all").focus()
    views.page.keyboard.press("Enter")
    expect(place).to_have_text("1 of 31")
    for key, text in [
        ("ArrowRight", "2 of 31"),
        ("ArrowLeft", "1 of 31"),
        ("ArrowLeft", "1 of 31"),
        ("End", "31 of 31"),
        ("ArrowRight", "31 of 31"),
        ("Home", "1 of 31"),
    ]:
        views.page.keyboard.press(key)
        expect(place).to_have_text(text)
    # the next button keeps the focus, and so the keys, at the last answer
    following = views.panel.get_by_role("button", name="Next answer")
    following.focus()
    views.page.keyboard.press("End")
    views.page.keyboard.press("Enter")
    expect(following).to_be_focused()
    expect(place).to_have_text("31 of 31")


def test_quiz_by_keyboard_reaches_python(views: Any) -> None:
    first = views.panel.get_by_test_id("quiz-1")
    score = views.panel.get_by_test_id("quiz-score")
    check = first.get_by_role("button")
    first.get_by_role("radio").first.focus()
    views.page.keyboard.press("Space")
    check.focus()
    views.page.keyboard.press("Enter")
    expect(first).to_contain_text("✗ wrong")
    expect(first.get_by_text("The facts come from pretraining.")).to_be_visible()
    expect(first.get_by_text("The behaviour comes from SFT.")).not_to_be_visible()
    expect(views.panel.get_by_text("Python: [False, None]")).to_be_visible()
    first.get_by_role("radio").first.focus()
    views.page.keyboard.press("ArrowDown")
    check.focus()
    views.page.keyboard.press("Enter")
    expect(first.get_by_text("The behaviour comes from SFT.")).to_be_visible()
    expect(score).to_contain_text("1 of 2 right")
    expect(views.panel.get_by_text("Python: [True, None]")).to_be_visible()


def test_quiz_with_several_right_choices(views: Any) -> None:
    second = views.panel.get_by_test_id("quiz-2")
    boxes = second.get_by_role("checkbox")
    for number, wanted in enumerate([True, False, False]):
        boxes.nth(number).set_checked(wanted)
    second.get_by_role("button").click()
    expect(second).to_contain_text("Right so far, but not all of them")
    boxes.nth(2).check()
    second.get_by_role("button").click()
    expect(second.get_by_text("It stays as it is.")).to_be_visible()
    expect(second.get_by_role("status")).to_have_text("✓ right")


def test_monitor_is_one_output_with_the_final_state(views: Any) -> None:
    expect(views.panel.get_by_text("drawn 60 times")).to_be_visible()
    bars = views.panel.locator(".sft-kit").get_by_role("progressbar")
    expect(bars).to_have_count(1)
    expect(bars).to_have_attribute("aria-valuenow", "60")
    kit = views.panel.locator(".sft-kit").filter(has=views.page.get_by_role("progressbar"))
    expect(kit).to_contain_text("12,346 tokens/s")
    expect(kit).to_contain_text("Held-out loss fell from")
    expect(kit.locator("polyline.sft-train")).to_be_visible()


def test_hints_unfold_by_keyboard(views: Any) -> None:
    summary = views.panel.get_by_text("Hint 2 of 2")
    hint = views.panel.get_by_text("It cannot stop.", exact=True)
    expect(hint).not_to_be_visible()
    summary.focus()
    views.page.keyboard.press("Space")
    expect(hint).to_be_visible()
    views.page.keyboard.press("Space")
    expect(hint).not_to_be_visible()


@pytest.mark.parametrize("theme", ["Light", "Dark"])
def test_every_text_can_be_read(views: Any, theme: str) -> None:
    views.theme(theme)
    found = views.page.evaluate(CONTRASTS)
    shoot(views, theme.lower())
    views.theme("Light")
    assert len(found) > 100
    assert [(text, ratio) for text, ratio in found if ratio < 4.5] == []


def test_every_control_has_a_name(views: Any) -> None:
    controls = views.panel.locator(".sft-kit").locator("button, input, summary")
    assert controls.count() > 15
    nameless = controls.evaluate_all(
        "(nodes) => nodes.filter((n) => !(n.getAttribute('aria-label') || n.textContent.trim()"
        " || n.labels?.[0]?.textContent.trim())).map((n) => n.outerHTML)"
    )
    assert nameless == []
