"""The cleaning studio in a real JupyterLab: its counts are those of `clean`, hostile rows inert."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import expect

pytestmark = [pytest.mark.browser, pytest.mark.xdist_group("browser")]

SETUP = r"""
from sft_helpers.cleaning import Thresholds, clean
from sft_helpers.display.studio import cleaning_studio, make_studio, studio_data
from sft_helpers.display import show
from sft_helpers.display.studio import report_html
from sft_helpers.town import read_rows
import ipywidgets, json
EVIL = ("<script>window.__xss = 1</script><img src=x onerror='window.__xss = 1'>"
        "\u200b\u202eRTL")
rows, labels = read_rows("dirty/rows.jsonl")[:600], read_rows("dirty/labels.jsonl")[:600]
rows.append({"messages": [{"role": "user", "content": EVIL},
                          {"role": "assistant", "content": EVIL + "<|im_end|>"}]})
labels.append({"defects": ["special_token"]})
evaluation = read_rows("dirty/eval.jsonl")
def dropped(**changes):
    report = clean(rows, thresholds=Thresholds(**changes), eval_rows=evaluation).report
    return {name: n for name, n in report.dropped.items() if n} | {"kept": report.rows_kept}
print("WANTED", json.dumps([dropped(), dropped(min_chars=50)]))
"""
STUDIO = r"""
studio = cleaning_studio(rows, eval_rows=evaluation, labels=labels)
told = ipywidgets.Label("Python: nothing yet")
def tell(change): told.value = f"Python keeps {change['new']['kept']}"
studio.observe(tell, names="result")
display(told)
"""
STATIC = r"""
show(html=report_html(clean(rows, eval_rows=evaluation, samples=9).report, 9), alt="report")
"""


def shoot(lab: Any, name: str) -> None:
    folder = os.environ.get("SFT_SHOTS")
    if folder:
        Path(folder).mkdir(parents=True, exist_ok=True)
        size = lab.page.viewport_size
        lab.page.set_viewport_size({"width": 1200, "height": 2600})
        for number, output in enumerate(lab.panel.locator(".jp-Cell-outputArea").all()):
            if output.is_visible():
                output.screenshot(path=Path(folder) / f"studio-{name}-{number}.png")
        lab.page.set_viewport_size(size)


def test_studio(lab: Any) -> None:
    lab.open("studio.ipynb", [SETUP, STUDIO, STATIC])
    assert lab.run_all() == []
    panel = lab.panel
    expect(panel.get_by_test_id("studio-summary")).to_be_visible(timeout=20_000)
    line = panel.locator(".jp-OutputArea-output").get_by_text("WANTED").inner_text()
    usual, strict = json.loads(line.removeprefix("WANTED"))

    def counts_are(wanted: dict[str, int]) -> None:
        summary = panel.get_by_test_id("studio-summary")
        expect(summary).to_have_text(f"601 rows come in, {wanted['kept']} stay")
        for name in ("structure", "empty", "too_short", "truncated", "near_duplicate"):
            cell = panel.get_by_test_id(f"studio-dropped-{name}")
            expect(cell).to_have_text(str(wanted.get(name, 0)))

    # the browser's funnel is Python's funnel, at the start and after a dial was turned
    counts_are(usual)
    dial = panel.get_by_test_id("studio-min_chars")
    dial.fill("50")
    panel.get_by_test_id("studio-min_chars_han").fill("1")
    counts_are(strict)
    expect(panel.get_by_text(f"Python keeps {strict['kept']}")).to_be_visible()
    expect(panel.get_by_test_id("studio-truth")).to_contain_text("Sound rows that fall out")
    panel.get_by_test_id("studio-reset").click()
    counts_are(usual)

    # a dropped row can be read, by keyboard, and its text is text
    panel.get_by_test_id("studio-on-broken_markup").set_checked(False)
    read = panel.get_by_test_id("studio-read-special_token")
    read.focus()
    lab.page.keyboard.press("Enter")
    place = panel.get_by_test_id("studio-place")
    total = int(place.inner_text().rsplit(" ", 1)[-1])
    for _ in range(total - 1):
        panel.get_by_role("button", name="Next row").click()
    reader = panel.get_by_test_id("studio-reader")
    expect(reader).to_contain_text("<script>window.__xss = 1</script>")
    expect(reader).to_contain_text("⟨U+200B⟩⟨U+202E⟩RTL")
    assert panel.locator(".sft-kit script, .sft-kit img").count() == 0
    assert lab.page.evaluate("window.__xss") is None

    for theme in ("Light", "Dark"):
        lab.theme(theme)
        shoot(lab, theme.lower())
    lab.theme("Light")
    nameless = (
        panel.locator(".sft-kit")
        .locator("button, input")
        .evaluate_all(
            "(nodes) => nodes.filter((n) => !(n.getAttribute('aria-label') || n.textContent.trim()"
            " || n.labels?.[0]?.textContent.trim())).length"
        )
    )
    assert nameless == 0
