"""Static views: escaped, honest about hidden characters, readable without colour."""

from __future__ import annotations

from html.parser import HTMLParser

import pytest
from markupsafe import Markup

from sft_helpers.display.html import (
    Html,
    badge,
    chat,
    format_number,
    page,
    prose,
    style,
    table,
    token_strip,
    visible,
    visible_text,
)
from sft_helpers.display.monitor import monitor_html
from sft_helpers.display.widgets import answers_html
from sft_helpers.exercises import engine
from sft_helpers.exercises.data import Exercise, Question
from sft_helpers.exercises.engine import card_html
from sft_helpers.exercises.quiz import quiz_html

EVIL = (
    "<script>window.__xss=1</script><img src=x onerror=\"window.__xss=1\">'\" onclick='x'"
    "</td></style></details>\u200b\u202e\x00"
)
HIDDEN = "\u200b\u202e\x00"
VOID = {"br", "img", "input", "hr"}
OURS = {"a", "b", "bdi", "br", "caption", "circle", "details", "div", "fieldset", "li", "line"}
OURS |= {"ol", "p", "polyline", "pre", "small", "span", "style", "summary", "svg", "table"}
OURS |= {"tbody", "td", "text", "th", "thead", "tr"}


class Reader(HTMLParser):
    """Reads a view: its tags, its text, and whether every tag is closed in order."""

    def __init__(self, source: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.words: list[str] = []
        self.open_tags: list[str] = []
        self.feed(source)
        self.close()
        assert self.open_tags == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += attrs
        if tag not in VOID:
            self.open_tags.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += attrs

    def handle_endtag(self, tag: str) -> None:
        assert self.open_tags.pop() == tag

    def handle_data(self, data: str) -> None:
        if "style" not in self.open_tags:
            self.words.append(data)

    @property
    def text(self) -> str:
        return "".join(self.words)


@pytest.fixture
def evil_views(evil_history, monkeypatch) -> dict[str, Html]:
    evil = Exercise("evil-1", EVIL, 1, 1, (EVIL,), f"x = {EVIL!r}", EVIL, (), {})
    monkeypatch.setattr(engine, "find", lambda name: evil)
    row = {"question": EVIL, "expected": EVIL, "before": EVIL, "after": EVIL}
    question = Question(EVIL, ((EVIL, True, EVIL), ("other" + EVIL, False, EVIL)))
    return {
        "table": table([{EVIL: EVIL}, {EVIL: {EVIL: [EVIL]}}], caption=EVIL),
        "chat": chat(
            [
                {"role": EVIL, "content": EVIL, "tool_calls": [{"name": EVIL}]},
                {"role": "user", "content": [{"type": "text", "text": EVIL}]},
            ],
            title=EVIL,
        ),
        "token_strip": token_strip([EVIL, EVIL], [True, False], title=EVIL),
        "answers": answers_html([{**row, "before_ok": False, "after_ok": True}]),
        "quiz": quiz_html([question], EVIL),
        "card": card_html("evil-1"),
        "monitor": monitor_html(evil_history, EVIL),
        "page": page(EVIL, badge(True, EVIL)),
    }


def test_hostile_text_stays_text(evil_views):
    for name, view in evil_views.items():
        reader = Reader(view)
        assert set(reader.tags) <= OURS, name
        assert not [a for a, _ in reader.attributes if a.startswith("on") or a == "src"], name
        assert "<script>window.__xss=1</script>" in reader.text, name
        assert not set(HIDDEN) & set(view), name
        assert "⟨U+202E⟩" in reader.text, name


def test_each_view_carries_the_style_sheet_once(evil_views):
    for name, view in evil_views.items():
        assert view.count("<style>") == 1, name
        assert view.startswith(style()), name
        assert view._repr_html_() == str(view)


@pytest.mark.parametrize(
    "char",
    list("\u200b\u200d\u202e\u2066\ufeff\u00ad\x00\x1b\r\x85\u2028\u00a0\u3000\ud800\ue000"),
    ids=ascii,
)
def test_hidden_characters_are_named(char):
    shown = visible(f"a{char}b")
    assert char not in shown
    assert f"⟨U+{ord(char):04X}⟩" in shown
    assert visible_text(char) == f"⟨U+{ord(char):04X}⟩"
    shown.encode("utf-8")


@pytest.mark.parametrize("text", ["plain", "zwei\nZeilen", "héllo 日本語 עברית", "👍🏽 é"])
def test_ordinary_text_is_left_alone(text):
    assert visible_text(text) == text
    assert visible(text) == Markup.escape(text)


def test_spaces_are_marked_where_asked():
    assert Reader(visible(" a b\n")).text == "·a b⏎\n"
    assert Reader(visible(" a b\n", "all")).text == "·a·b⏎\n"
    assert Reader(visible(" a b\n", "none")).text == " a b\n"
    assert Reader(visible("  ")).text == "··"
    assert Reader(visible("\ta")).text == "⇥a"


def test_table_shows_values_by_kind():
    rows = [{"n": 1200, "ok": True, "x": None, "f": 0.12345}, {"n": 3, "extra": " pad"}]
    text = Reader(table(rows, caption="Rows", highlight=[1])).text
    for part in ("1,200", "✓ yes", "0.123", "▶ 3", "·pad", "extra"):
        assert part in text
    assert "✗" not in text


def test_table_says_how_many_rows_it_left_out():
    text = Reader(table([[n] for n in range(60)], ["n"], caption="c", limit=50)).text
    assert "… and 10 more rows" in text
    assert "more rows" not in Reader(table([[1]], ["n"], caption="c")).text


def test_table_refuses_rows_that_do_not_fit():
    with pytest.raises(ValueError, match="need columns"):
        table([[1]], caption="c")
    with pytest.raises(ValueError, match="row 1 has 1 values for 2 columns"):
        table([[1, 2], [1]], ["a", "b"], caption="c")


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0"),
        (12345, "12,345"),
        (0.5, "0.5"),
        (123.456, "123.5"),
        (12345.6, "12,346"),
        (0.0004, "4.00e-04"),
        (float("nan"), "nan"),
        (-0.25, "-0.25"),
    ],
)
def test_numbers(value, text):
    assert format_number(value) == text


def test_chat_shows_unsound_messages_as_such():
    text = Reader(
        chat(
            [{"content": "hi"}, {"role": "user", "content": None}, {"role": "tool", "content": ""}]
        )
    ).text
    assert "no role" in text
    assert "(no content)" in text
    assert "(empty)" in text
    assert "(no messages)" in Reader(chat([])).text


def test_chat_shows_tool_calls():
    view = chat([{"role": "assistant", "content": None, "tool_calls": [{"name": "add"}]}])
    text = Reader(view).text
    assert "calls a tool" in text
    assert '"name": "add"' in text
    assert "no content" not in text


def test_token_strip_tells_masks_without_colour():
    view = token_strip(["a", " b", "\n", ""], [False, True, True, False], ids=[5, 6, 7, 8])
    reader = Reader(view)
    assert reader.tags.count("b") == 3  # two trained tokens and the legend
    assert "trained 2" in reader.text
    assert "masked 2" in reader.text
    assert "of 4 tokens" in reader.text
    assert "·b" in reader.text
    assert "⏎" in reader.text
    assert "(empty)" in reader.text
    assert "8" in reader.text


def test_token_strip_refuses_unequal_lengths():
    with pytest.raises(ValueError, match="same length"):
        token_strip(["a"], [True, False])
    with pytest.raises(ValueError, match="same length"):
        token_strip(["a"], [True], ids=[1, 2])


def test_backticks_of_our_own_sentences_become_code():
    assert prose("use `a < b`, not `c") == Markup("use <code>a &lt; b</code>, not `c")
    assert "&lt;script&gt;" in prose("`<script>`")
