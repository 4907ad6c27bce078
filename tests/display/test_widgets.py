"""show() and the answers view: what is published, by state and bundle, without a browser."""

from __future__ import annotations

import base64
import sys
from types import ModuleType, SimpleNamespace

import pytest

from sft_helpers.display import widgets
from sft_helpers.display.figures import scores_with_intervals
from sft_helpers.display.html import table
from sft_helpers.display.widgets import VIEW, AnswersView, answers_html, answers_view, bundle, show
from sft_helpers.errors import DataError
from sft_helpers.evaluation import Interval

TABLE = table([[1]], ["n"], caption="c")
ROW = {"question": "Q", "expected": "E", "before": "b\u200b", "after": "E"}
ROWS = [
    {**ROW, "before_ok": before, "after_ok": after}
    for before, after in [(False, True), (False, True), (False, False), (True, False), (True, True)]
]


@pytest.fixture
def published(monkeypatch):
    out = []
    monkeypatch.setattr(
        "IPython.display.publish_display_data", lambda data, metadata: out.append((data, metadata))
    )
    monkeypatch.delenv("SFT_STATIC", raising=False)
    return out


def test_a_figure_goes_out_as_a_picture_with_words():
    figure = scores_with_intervals({"a": Interval(0.5, 0.4, 0.6)}, title="t")
    data, metadata = bundle(figure=figure, alt="half of <b>")
    assert base64.b64decode(data["image/png"])[:4] == b"\x89PNG"
    assert data["text/plain"] == "half of <b>"
    assert metadata == {"image/png": {"alt": "half of <b>"}}
    # JupyterLab leaves a PNG's words out: the markup has them
    assert data["text/html"].startswith("<img alt='half of &lt;b&gt;' src='data:image/png;base64,")


def test_one_bundle_holds_widget_and_static_view(published):
    show(AnswersView(rows=[]), html=TABLE, alt="a table")
    ((data, _),) = published
    assert set(data) == {VIEW, "text/html", "text/plain"}
    assert data[VIEW]["model_id"]
    assert data["text/html"] == TABLE
    assert type(data["text/html"]) is str


def test_ipywidgets_7_has_no_bundle_method(published):
    show(SimpleNamespace(model_id="abc"), html=TABLE, alt="a table")
    assert published[0][0][VIEW]["model_id"] == "abc"


@pytest.mark.parametrize(("value", "live"), [("1", False), ("0", True), ("", True)])
def test_static_leaves_the_widget_out(published, monkeypatch, value, live):
    monkeypatch.setenv("SFT_STATIC", value)
    show(SimpleNamespace(model_id="abc"), html=TABLE, alt="a table")
    answers_view(ROWS)
    assert [VIEW in data for data, _ in published] == [live, live]


def test_show_refuses_what_cannot_be_read_or_trusted():
    with pytest.raises(ValueError, match="alt="):
        show(html=TABLE, alt=" ")
    with pytest.raises(ValueError, match="exactly one"):
        show(alt="x")
    with pytest.raises(ValueError, match="escapes"):
        show(html="<b>raw</b>", alt="x")


def test_colab_is_asked_to_load_widgets(published, monkeypatch):
    calls = []
    colab = ModuleType("google.colab")
    colab.output = SimpleNamespace(enable_custom_widget_manager=lambda: calls.append(1))
    monkeypatch.setitem(sys.modules, "google", ModuleType("google"))
    monkeypatch.setitem(sys.modules, "google.colab", colab)
    show(html=TABLE, alt="static needs no widgets")
    assert calls == []
    show(AnswersView(rows=[]), html=TABLE, alt="x")
    assert calls == [1]


def test_answers_groups_add_up(published):
    answers_view(ROWS)
    ((data, _),) = published
    assert data["text/plain"] == "5 questions: 2 fixed, 1 still wrong, 1 broke, 1 still right"
    assert "The first 5 of 5 questions" in data["text/html"]
    assert "The first 2 of 5 questions" in answers_html(ROWS, first=2)


def test_answers_state_is_safe_and_small():
    rows = widgets._answer_rows(ROWS)
    assert [row["group"] for row in rows] == [
        "fixed",
        "fixed",
        "still wrong",
        "broke",
        "still right",
    ]
    assert rows[0]["before"] == "b⟨U+200B⟩"
    assert set(rows[0]) == {"question", "expected", "before", "after", "group"}
    assert AnswersView(rows=rows).get_state("rows")["rows"] == rows


def test_answers_need_rows_and_fields():
    with pytest.raises(DataError, match="no answers"):
        answers_view([])
    with pytest.raises(DataError, match="row 1: the row lacks after_ok"):
        answers_view([ROWS[0], {k: v for k, v in ROWS[1].items() if k != "after_ok"}])


def test_the_script_knows_the_same_groups():
    script = (widgets.HERE / "answers.js").read_text(encoding="utf-8")
    for (before, after), name in widgets.GROUPS.items():
        pair = f"[{str(before).lower()}, {str(after).lower()}]"
        assert f"{name}: {pair}" in script or f'"{name}": {pair}' in script
