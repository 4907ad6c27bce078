"""Token viewer, packing view and attention view in a real JupyterLab: mouse, keyboard, themes."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import expect

pytestmark = [pytest.mark.browser, pytest.mark.xdist_group("browser")]

TOKENS = r"""
import copy
from sft_helpers.display.tokens import show_tokens, report_html, length_histogram
from sft_helpers.display import show
from sft_helpers.masking import compare_masks, supervised_view
from sft_helpers.models import load
from sft_helpers.town import read_rows
from trl import SFTConfig
EVIL = ("<script>window.__xss = 1</script><img src=x onerror='window.__xss = 1'>"
        "\u200b\u202eRTL")
_, tokenizer = load("tiny")
args = SFTConfig("unused", use_cpu=True, bf16=False)
files = ("sft_dev.jsonl", "multi_turn_test.jsonl")
rows = [{"messages": read_rows(file)[0]["messages"]} for file in files]
rows.append({"messages": [{"role": "user", "content": EVIL},
                          {"role": "assistant", "content": EVIL}]})
show_tokens(compare_masks(rows, tokenizer, args), ["single turn", "two turns", "hostile " + EVIL])
"""
REFUSED = r"""
bare = copy.deepcopy(tokenizer)
bare.chat_template = None
refused = supervised_view(rows, bare, args)
show_tokens(refused)
show(html=report_html(refused), alt="refused")
show(html=report_html(supervised_view(rows, tokenizer, args)), alt="report")
"""
PACKS = r"""
import random
from sft_helpers.display.packs import show_packs, packs_html
from sft_helpers.packing import packing_grid
rng = random.Random(0)
samples = [{"input_ids": [1] * rng.choice([20, 30, 40, 60, 90, 200, 400])} for _ in range(1000)]
grid = packing_grid(samples, max_lengths=(64, 128, 256, 512), batches=(1, 4, 16))
show_packs(grid, max_length=256, batch=4)
show(html=packs_html(grid, 256, 4), alt="packing without a widget")
"""
MANY = r"""
many = [{"input_ids": [1] * rng.choice([20, 30, 40, 60, 90])} for _ in range(20_000)]
large = packing_grid(many, max_lengths=(128, 256), batches=(1, 16), strategies=("none", "bfd"))
show_packs(large, max_length=256, batch=16)
"""
ATTENTION = r"""
import numpy as np
from sft_helpers.display.packs import show_attention
positions = [*range(12), *range(8), *range(10)]
sample = np.cumsum(np.array(positions) == 0)
causal = np.tril(np.ones((30, 30), dtype=bool))
show_attention({"packed": causal & (sample[:, None] == sample), "end to end": causal}, positions)
"""
CELLS = [TOKENS, REFUSED, PACKS, MANY, ATTENTION]

# Move a slider and time everything that happens before the page is free again.
REDRAW = """(node) => { const start = performance.now();
  node.value = node.value === "1" ? "0" : "1";
  node.dispatchEvent(new Event("input", { bubbles: true })); return performance.now() - start; }"""
PIXELS = """(node) => { const data = node.getContext("2d").getImageData(0, 0, node.width,
  node.height).data; const seen = new Set(); for (let i = 0; i < data.length; i += 4)
  if (data[i + 3] > 200) seen.add(`${data[i]},${data[i + 1]},${data[i + 2]}`);
  return [...seen]; }"""


@pytest.fixture(scope="module")
def views(lab: Any) -> Any:
    """The notebook with the three views, run once."""
    lab.open("tokens_packs.ipynb", CELLS)
    assert lab.run_all() == []
    expect(lab.panel.get_by_test_id("tokens-strip").first).to_be_visible(timeout=30_000)
    expect(lab.panel.get_by_test_id("attention-words")).to_be_visible(timeout=30_000)
    return lab


@pytest.fixture
def tokens(views: Any) -> Any:
    return views.panel.get_by_role("group", name="Token viewer").first


@pytest.fixture
def packs(views: Any) -> Any:
    return views.panel.get_by_role("group", name="Packing view").first


def count(tokens: Any) -> tuple[int, int]:
    text = tokens.get_by_test_id("tokens-count").text_content()
    found = re.match(r"(\d+) of (\d+) tokens", text)
    assert found, text
    return int(found[1]), int(found[2])


def test_one_gesture_switches_the_mask_and_the_row(tokens: Any) -> None:
    tokens.get_by_test_id("tokens-row-0").click()
    tokens.get_by_test_id("tokens-mode-0").click()
    trained, total = count(tokens)
    assert trained == total
    tokens.get_by_test_id("tokens-mode-2").click()
    answer, same = count(tokens)
    assert same == total
    assert 0 < answer < total
    chips = tokens.locator(".sft-trained")
    expect(chips).to_have_count(answer)
    tokens.get_by_test_id("tokens-row-1").click()
    both, _ = count(tokens)
    tokens.get_by_test_id("tokens-mode-1").click()
    last, _ = count(tokens)
    assert last < both


def test_trained_and_masked_differ_without_colour(tokens: Any) -> None:
    tokens.get_by_test_id("tokens-row-0").click()
    tokens.get_by_test_id("tokens-mode-2").click()
    styles = [
        tokens.locator(kind).first.evaluate(
            "(n) => { const s = getComputedStyle(n); return [s.borderBottomStyle, s.fontWeight]; }"
        )
        for kind in (".sft-trained", ".sft-masked")
    ]
    assert styles[0] != styles[1]
    assert "trained" in tokens.locator(".sft-trained").first.get_attribute("aria-label")


def test_hover_and_keyboard_tell_what_is_predicted(views: Any, tokens: Any) -> None:
    tokens.get_by_test_id("tokens-row-0").click()
    tokens.get_by_test_id("tokens-mode-2").click()
    detail = tokens.get_by_test_id("tokens-detail")
    chips = tokens.get_by_role("option")
    chips.first.hover()
    expect(detail).to_contain_text("position 0")
    expect(detail).to_contain_text("it never counts")
    first = int(tokens.locator(".sft-trained").first.get_attribute("data-n"))
    # the last token of the header is masked, and the first trained token is predicted there
    chips.nth(first - 1).hover()
    expect(detail).to_contain_text("-100: does not count")
    expect(detail).to_contain_text(re.compile(r"Predicts here: .*: counts"))
    chips.nth(first - 1).focus()
    views.page.keyboard.press("ArrowRight")
    expect(detail).to_contain_text(f"position {first}")
    expect(detail).to_contain_text("counts in the loss")
    views.page.keyboard.press("End")
    expect(detail).to_contain_text("nothing that is compared")
    views.page.keyboard.press("Home")
    expect(detail).to_contain_text("position 0")


def test_hostile_text_is_shown_and_never_run(views: Any, tokens: Any) -> None:
    tokens.get_by_test_id("tokens-row-2").click()
    assert count(tokens)[1] > 20
    assert views.panel.locator(".sft-kit script, .sft-kit img").count() == 0
    assert views.page.evaluate("window.__xss") is None
    expect(tokens.get_by_test_id("tokens-row-2")).to_contain_text("<script>")


def test_a_refused_data_set_says_why(views: Any) -> None:
    second = views.panel.get_by_role("group", name="Token viewer").nth(1)
    expect(second).to_contain_text("set tokenizer.chat_template")
    expect(second.get_by_role("button")).to_have_count(0)  # nothing to choose between
    expect(views.panel.get_by_text("Cannot be trained").first).to_be_visible()


def number(packs: Any, heading: str) -> float:
    named = packs.page.get_by_role("rowheader", name=heading, exact=True)
    cell = packs.get_by_role("row").filter(has=named).get_by_role("cell")
    return float(cell.text_content().replace(",", "").rstrip("%"))


def test_the_packing_view_answers_to_strategy_and_sliders(views: Any, packs: Any) -> None:
    packs.get_by_test_id("packs-none").click()
    assert number(packs, "padding waste") > 20
    rows = number(packs, "rows")
    steps = number(packs, "optimizer steps per epoch")
    packs.get_by_test_id("packs-bfd").click()
    assert number(packs, "padding waste") == 0
    assert number(packs, "rows") < rows
    assert number(packs, "tokens thrown away") > 0
    packs.get_by_test_id("packs-bfd_split").click()
    assert number(packs, "tokens thrown away") == 0
    assert number(packs, "samples cut apart") > 0
    # with the keyboard: a longer row, a larger batch
    packs.get_by_role("slider", name="max_length").focus()
    views.page.keyboard.press("ArrowRight")
    assert number(packs, "samples cut apart") == 0
    fewer = number(packs, "optimizer steps per epoch")
    packs.get_by_role("slider", name="batch").focus()
    views.page.keyboard.press("ArrowRight")
    assert number(packs, "optimizer steps per epoch") < fewer < steps
    views.page.keyboard.press("ArrowLeft")
    packs.get_by_test_id("packs-none").click()
    packs.get_by_role("button", name="later rows").click()
    expect(packs.get_by_test_id("packs-place")).to_contain_text("rows 32 to 63 of 1,000")


def test_the_picture_has_samples_in_it(packs: Any) -> None:
    packs.get_by_test_id("packs-bfd").click()
    colours = packs.get_by_test_id("packs-canvas").evaluate(PIXELS)
    assert {"86,180,233", "230,159,0", "0,158,115"} <= set(colours)
    assert "bfd" in packs.get_by_test_id("packs-canvas").get_attribute("aria-label")


@pytest.mark.parametrize(("place", "limit"), [(0, 100), (1, 1000)])
def test_a_control_redraws_in_time(views: Any, place: int, limit: float) -> None:
    """1,000 samples within 100 ms, 20,000 within a second."""
    view = views.panel.get_by_role("group", name="Packing view").nth(place)
    slider = view.get_by_role("slider", name="max_length")
    took = sorted(slider.evaluate(REDRAW) for _ in range(5))
    assert took[2] < limit


def test_attention_can_be_switched(views: Any) -> None:
    words = views.panel.get_by_test_id("attention-words")
    expect(words).to_have_text("0 looks into another sample")
    views.panel.get_by_test_id("attention-1").click()
    expect(words).to_have_text(f"{12 * 8 + 20 * 10} looks into another sample")
    views.panel.get_by_test_id("attention-0").click()


def test_it_lives_without_a_kernel(views: Any, tokens: Any, packs: Any) -> None:
    views.page.evaluate("() => window.jupyterapp.shell.currentWidget.sessionContext.shutdown()")
    tokens.get_by_test_id("tokens-row-0").click()
    tokens.get_by_test_id("tokens-mode-0").click()
    trained, total = count(tokens)
    assert trained == total
    packs.get_by_test_id("packs-none").click()
    before = number(packs, "padding waste")
    packs.get_by_test_id("packs-bfd").click()
    assert number(packs, "padding waste") < before


@pytest.mark.parametrize("theme", ["Light", "Dark"])
def test_pictures_to_look_at(views: Any, theme: str) -> None:
    """Every view is there in both themes; with SFT_SHOTS set, pictures are kept."""
    views.theme(theme)
    canvas = views.panel.get_by_test_id("packs-canvas").first
    expect(canvas).to_be_visible()
    # row numbers and lines are drawn in the theme's ink, again when the theme changes
    views.page.wait_for_function(
        f"([node, white]) => ({PIXELS})(node).includes('255,255,255') === white",
        arg=[canvas.element_handle(), theme == "Dark"],
    )
    folder = os.environ.get("SFT_SHOTS")
    if folder:
        Path(folder).mkdir(parents=True, exist_ok=True)
        size = views.page.viewport_size
        views.page.set_viewport_size({"width": 1200, "height": 2400})
        for place, output in enumerate(views.panel.locator(".jp-Cell-outputArea").all()):
            if output.is_visible():
                output.screenshot(path=Path(folder) / f"tokens-{theme.lower()}-{place}.png")
        views.page.set_viewport_size(size)
    views.theme("Light")
