"""The quiz: questions are sound, the static form explains, the widget's state is complete."""

from __future__ import annotations

import pytest

from sft_helpers.display.widgets import VIEW
from sft_helpers.errors import DataError
from sft_helpers.exercises.data import Question
from sft_helpers.exercises.quiz import make_quiz, quiz, quiz_html

ONE = Question("Q1?", (("yes", True, "because"), ("no", False, "it is not")))
MANY = Question("Q2?", (("a", True, "A!"), ("b", True, "B!"), ("c\u200b", False, "C!")))


def test_several():
    assert not ONE.several
    assert MANY.several


def test_static_quiz_folds_the_answers():
    html = quiz_html([ONE, MANY], "Check yourself")
    questions, folded = html.split("<details>", 1)
    assert "✓" not in questions
    assert "because" not in questions
    assert html.count("<details>") == 2
    for text in ("✓ right", "✗ wrong", "because", "it is not"):
        assert text in folded
    assert html.count("choose all that are right") == 1


def test_widget_state():
    view = make_quiz([ONE, MANY])
    state = view.get_state()
    assert state["results"] == [None, None]
    assert [q["several"] for q in state["questions"]] == [False, True]
    assert state["questions"][1]["choices"][2] == {
        "text": "c⟨U+200B⟩",
        "right": False,
        "why": "C!",
    }


def test_results_are_recorded():
    records = []
    view = make_quiz([ONE, MANY], "Recap", lambda *line: records.append(line))
    view.results = [None, False]
    view.results = [True, False]
    assert records == [("Recap, question 2", "not yet"), ("Recap, question 1", "ok")]


@pytest.mark.parametrize("static", ["", "1"])
def test_quiz_shows_widget_and_fallback(monkeypatch, static):
    published = []
    monkeypatch.setattr(
        "IPython.display.publish_display_data", lambda data, metadata: published.append(data)
    )
    monkeypatch.setenv("SFT_STATIC", static)
    quiz([ONE])
    assert (VIEW in published[0]) is (static == "")
    assert "<details>" in published[0]["text/html"]
    with pytest.raises(DataError, match="at least one"):
        quiz([])
