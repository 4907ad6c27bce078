"""The format explorer in a real JupyterLab: mouse, keyboard, and rows that mean harm."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import expect

from data.make.oddities import ODD_ROWS

# one worker for all of them: they share a server and a page
pytestmark = [pytest.mark.browser, pytest.mark.xdist_group("browser")]

CELLS = [
    r"""
from sft_helpers.display.explorer import format_explorer
from sft_helpers.formats import export
from sft_helpers.town import read_rows

class Letters:  # a tokenizer that needs no model
    def apply_chat_template(self, messages, tools=None, tokenize=True, **_):
        parts = [(f"{m['role']}\n{m['content']}\n", m["role"] == "assistant") for m in messages]
        if not tokenize:
            return "".join(text for text, _ in parts)
        return {"input_ids": [ord(c) for text, _ in parts for c in text],
                "assistant_masks": [int(on) for text, on in parts for _ in text]}
    def decode(self, ids):
        return "".join(map(chr, ids))

rows = read_rows("formats/messages.jsonl")[:3]
samples = {name: export(rows, name).rows for name in ("messages", "sharegpt", "alpaca")}
samples["odd"] = read_rows("formats/odd/rows.jsonl")
""",
    "format_explorer(samples, Letters())",
]


def test_explorer(lab: Any) -> None:
    lab.open("formats.ipynb", CELLS)
    assert lab.run_all() == []
    panel = lab.panel
    raw, messages = panel.get_by_test_id("explorer-raw"), panel.get_by_test_id("explorer-messages")
    place, tokens = panel.get_by_test_id("explorer-place"), panel.get_by_test_id("explorer-tokens")

    expect(raw).to_contain_text('"role": "user"')
    same = messages.inner_text()
    panel.get_by_role("button", name="ShareGPT").click()
    expect(raw).to_contain_text('"from": "human"')
    expect(messages).to_have_text(same)
    panel.get_by_role("button", name="Alpaca").click()
    expect(raw).to_contain_text('"instruction"')
    expect(messages).to_have_text(same)
    assert tokens.locator(".sft-trained").count() > 10

    panel.get_by_role("button", name="Next row").click()
    expect(place).to_contain_text("row 2 of 3")
    panel.get_by_role("button", name="Next row").press("ArrowRight")
    expect(place).to_contain_text("row 3 of 3")
    assert messages.inner_text() != same

    panel.get_by_role("button", name="odd").click()
    for _ in ODD_ROWS:  # through all of them, to the row with markup in it
        panel.get_by_role("button", name="Next row").press("ArrowRight")
    expect(place).to_contain_text(f"row {len(ODD_ROWS)} of {len(ODD_ROWS)}")
    expect(raw).to_contain_text("<script>window.__xss = 1</script>")
    expect(raw).to_contain_text("⟨U+202E⟩")
    assert lab.page.evaluate("() => window.__xss") is None
    assert panel.locator(".sft-kit img, .sft-kit script").count() == 0
    if os.environ.get("SFT_SHOTS"):
        lab.page.screenshot(path=Path(os.environ["SFT_SHOTS"]) / "explorer-odd.png")
        panel.get_by_role("button", name="ShareGPT").click()
        lab.page.screenshot(path=Path(os.environ["SFT_SHOTS"]) / "explorer.png")
        lab.theme("Dark")
        lab.page.screenshot(path=Path(os.environ["SFT_SHOTS"]) / "explorer-dark.png")
        lab.theme("Light")
