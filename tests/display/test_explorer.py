"""The format explorer: four stages of a row, and no power for what the row holds."""

from __future__ import annotations

import json

import pytest

from data.make.formats import conversations
from data.make.oddities import ODD_ROWS
from sft_helpers.display import explorer
from sft_helpers.errors import DataError
from sft_helpers.formats import FORMATS, export

EVIL = (
    "<script>window.__xss = 1</script><img src=x onerror='window.__xss = 1'>"
    '"\' onmouseover="window.__xss=1" </details></style>\u200b\u202eRTL'
)


class Template:
    """A tokenizer of characters with a ChatML template; `refuses` makes it raise."""

    def __init__(self, refuses: bool = False) -> None:
        self.refuses = refuses

    def apply_chat_template(self, messages, tools=None, tokenize=True, **_):
        if self.refuses:
            raise ValueError("roles must alternate " + EVIL)
        parts = [(f"{m['role']}\n{m['content']}\n", m["role"] == "assistant") for m in messages]
        if not tokenize:
            return "".join(text for text, _ in parts)
        ids = [ord(char) for text, _ in parts for char in text]
        masks = [int(on) for text, on in parts for _ in text]
        return {"input_ids": ids, "assistant_masks": masks}

    def decode(self, ids):
        return "".join(map(chr, ids))


@pytest.mark.parametrize("name", FORMATS)
def test_all_formats_reach_the_same_tokens(name):
    rows = conversations()[:1]
    [row] = export(rows, name).rows
    stage = explorer.stages(row, Template())
    assert json.loads(stage["raw"]) == row
    assert json.loads(stage["canonical"]) == rows[0]
    assert "".join(stage["tokens"]) == stage["rendered"]
    trained = "".join(t for t, on in zip(stage["tokens"], stage["trained"], strict=True) if on)
    assert trained == f"assistant\n{rows[0]['messages'][1]['content']}\n"
    assert stage["problem"] == ""


def test_a_rejected_row_says_why():
    stage = explorer.stages({"chosen": 1, "rejected": 2}, Template())
    assert (stage["canonical"], stage["tokens"], stage["detected"]) == ("", [], "unknown")
    assert "preference" in stage["problem"]


def test_a_template_that_refuses_says_why():
    stage = explorer.stages(conversations()[0], Template(refuses=True))
    assert stage["canonical"]
    assert "roles must alternate" in stage["problem"]


@pytest.mark.parametrize(
    "row", [3, {"messages": {1, 2}}, {"a": float("nan")}, *(o.row for o in ODD_ROWS)]
)
def test_any_row_can_be_shown(row):
    sets = explorer._sets({"odd": [row]}, Template())
    explorer.explorer_html(sets).encode()
    json.dumps([explorer._for_view(one) for one in sets[0]["rows"]]).encode()


@pytest.fixture
def published(monkeypatch):
    bundles = []
    monkeypatch.setattr(
        "IPython.display.publish_display_data",
        lambda data, metadata=None, **_: bundles.append(data),
    )
    return bundles


@pytest.mark.parametrize("refuses", [False, True])
def test_hostile_rows_are_harmless_and_visible(published, refuses):
    row = {"conversations": [{"from": "human", "value": EVIL}, {"from": "gpt", "value": EVIL}]}
    bad = {"conversations": [{"from": EVIL, "value": EVIL}]}
    explorer.format_explorer({EVIL: [row], "bad": [bad]}, Template(refuses))
    [data] = published
    html = data["text/html"]
    assert "<script>window" not in html
    assert "<img" not in html
    assert "&lt;script&gt;" in html
    for text in (html, json.dumps(explorer.ExplorerView().get_state(), default=str)):
        assert "\u202e" not in text
    assert "U+202E" in html
    shown = [explorer._for_view(one) for one in explorer._sets({"x": [row]}, Template())[0]["rows"]]
    assert "\u202e" not in json.dumps(shown, ensure_ascii=False)
    assert "⟨U+200B⟩" in shown[0]["rendered"]


def test_long_texts_are_cut_and_say_so():
    row = {"question": "Q?", "answer": "x" * 10_000}
    [one] = explorer._sets({"long": [row]}, Template())[0]["rows"]
    shown = explorer._for_view(one)
    assert len(shown["tokens"]) == explorer.MOST_TOKENS
    assert shown["rendered"].endswith("more characters")


def test_static_only(published, monkeypatch):
    monkeypatch.setenv("SFT_STATIC", "1")
    explorer.format_explorer({"messages": conversations()[:2]}, Template())
    assert set(published[0]) == {"text/plain", "text/html"}
    assert published[0]["text/plain"] == "Format explorer: TRL messages (2)"


@pytest.mark.parametrize("samples", [{}, {"alpaca": []}])
def test_nothing_to_explore(samples):
    with pytest.raises(DataError, match="nothing to explore"):
        explorer.format_explorer(samples, Template())
