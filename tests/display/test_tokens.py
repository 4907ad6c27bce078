"""The token viewer's data and its static twin; rows that cannot be shown say so."""

from __future__ import annotations

from typing import Any

import pytest

from sft_helpers.display.html import visible_token
from sft_helpers.display.tokens import (
    MOST_TOKENS,
    TokensView,
    length_histogram,
    report_html,
    report_rows,
    show_tokens,
    token_rows,
    tokens_html,
)
from sft_helpers.errors import DataError
from sft_helpers.masking import compare_masks, supervised_view
from sft_helpers.models import load

EVIL = "<script>x</script><img src=x onerror=y>\u202e"
ROWS = [
    {
        "messages": [
            {"role": "user", "content": "Where?"},
            {"role": "assistant", "content": "There."},
        ]
    },
    {"messages": [{"role": "user", "content": EVIL}, {"role": "assistant", "content": EVIL}]},
]


@pytest.fixture(scope="module")
def tokenizer() -> Any:
    return load("tiny")[1]


@pytest.fixture
def config(tmp_path):
    def build(**changes: Any) -> Any:
        from trl import SFTConfig

        return SFTConfig(str(tmp_path), use_cpu=True, bf16=False, report_to=[], **changes)

    return build


@pytest.fixture
def published(monkeypatch):
    """What `show` publishes."""
    found = []

    def publish(data, metadata=None):
        found.append(data)

    monkeypatch.setattr("IPython.display.publish_display_data", publish)
    return found


def test_every_row_under_every_mask_travels(tokenizer, config):
    views = compare_masks(ROWS, tokenizer, config())
    rows = token_rows(views, ["one", "two"])
    assert [row["name"] for row in rows] == ["one", "two"]
    for number, row in enumerate(rows):
        assert list(row["modes"]) == ["full", "completion only", "assistant only"]
        for name, data in row["modes"].items():
            truth = views[name][number]
            assert data["ids"] == truth.ids
            assert data["labels"] == truth.labels
            assert data["trained"] == sum(truth.trained)
            assert len(data["tokens"]) == len(data["roles"]) == data["total"] == len(truth.ids)


def test_line_ends_and_hidden_characters_can_be_seen(tokenizer, config):
    [row] = token_rows(supervised_view(ROWS[:1], tokenizer, config()))
    assert "⏎" in row["modes"]["as configured"]["tokens"]
    assert visible_token("") == "(empty)"
    assert visible_token("\u202e") == "⟨U+202E⟩"


def test_the_static_view_escapes_and_shows_every_mask(tokenizer, config):
    views = compare_masks(ROWS, tokenizer, config())
    html = str(tokens_html(views, ["one", "two"]))
    assert "<script" not in html.replace("<style", "")
    assert "<img" not in html
    for title in ("one, full", "two, assistant only"):
        assert title in html


def test_a_refused_data_set_is_a_message(tokenizer, config, published):
    view = supervised_view([{"messages": []}], tokenizer, config())
    show_tokens(view)
    [data] = published
    assert "a list of messages is empty" in data["text/html"]
    assert "a list of messages is empty" in data["text/plain"]
    assert "Cannot be trained" in str(report_html(view))
    with pytest.raises(DataError):
        length_histogram(supervised_view([], tokenizer, config()))


def test_one_mask_may_be_refused_while_others_are_shown(tokenizer, config):
    rows = [{"prompt": "Where?", "completion": " There."}]
    modes = token_rows(compare_masks(rows, tokenizer, config()))[0]["modes"]
    assert "conversational" in modes["assistant only"]["problem"]
    assert modes["completion only"]["trained"] < modes["full"]["trained"]


def test_a_row_longer_than_the_viewer_is_cut_and_says_so(tokenizer, config):
    long = [{"text": "Ada lives in Windmere. " * 600}]
    [row] = token_rows(supervised_view(long, tokenizer, config(max_length=None)))
    data = row["modes"]["as configured"]
    assert len(data["tokens"]) == MOST_TOKENS < data["total"]
    assert data["trained"] == data["total"]


def test_a_dropped_row_says_so(tokenizer, config):
    rows = [
        {"messages": [{"role": "user", "content": "Well? " * 40}, ROWS[0]["messages"][1]]},
        ROWS[0],
    ]
    views = compare_masks(rows, tokenizer, config(max_length=30))
    shown = token_rows(views, ["first", "second"])
    assert "dropped" in shown[1]["modes"]["assistant only"]["problem"]


def test_too_many_names(tokenizer, config):
    with pytest.raises(DataError, match="2 names for 1 rows"):
        token_rows(supervised_view(ROWS[:1], tokenizer, config()), ["a", "b"])
    with pytest.raises(DataError, match="nothing to show"):
        token_rows({})


def test_live_and_static(tokenizer, config, published, monkeypatch):
    view = supervised_view(ROWS, tokenizer, config())
    show_tokens(view)
    monkeypatch.setenv("SFT_STATIC", "1")
    show_tokens(view)
    live, static = (any("widget" in kind for kind in data) for data in published)
    assert live
    assert not static
    assert TokensView(rows=token_rows(view)).rows[0]["name"] == "row 0"


def test_the_report_as_a_table(tokenizer, config):
    view = supervised_view(ROWS, tokenizer, config(assistant_only_loss=True))
    table = {row["what"]: row for row in report_rows(view.report)}
    assert table["rows given"]["count"] == 2
    assert table["tokens that count in the loss"]["share"].endswith("%")
    assert table["rows that are truncated"]["rows"] is None


def test_the_histogram_has_a_cut_line(tokenizer, config):
    figure = length_histogram(supervised_view(ROWS, tokenizer, config(max_length=20)))
    (axis,) = figure.axes
    assert axis.lines[0].get_xdata()[0] == 20
    assert "1 of 2 rows are longer" in axis.get_title(loc="left")
