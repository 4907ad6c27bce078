"""The engine: three outcomes, a diagnosis for every error, two strict modes, and the card."""

from __future__ import annotations

import json

import pytest

from sft_helpers.errors import DataError, EnvironmentProblem
from sft_helpers.exercises import engine
from sft_helpers.exercises.answers import is_blank, is_blank_source, yours_or
from sft_helpers.exercises.engine import ExerciseFailed, card, check, grade
from tests.exercises.conftest import DEMO


def test_the_three_outcomes(demo, capsys):
    def mine(x): ...

    records = []
    for answer in (mine, lambda x: x, lambda x: x**2, lambda x: 2 * x):
        check("demo-1", answer, record=lambda *line: records.append(line))
    assert capsys.readouterr().out.splitlines() == [
        "[todo] Double: fill in the `...` in the cell above",
        "[not yet] Double: it returns what it got: multiply by 2",
        "[not yet] Double: double(3) gave 9, not 6",
        "[ok] Double: doubling is right",
    ]
    assert [status for _, status in records] == ["todo", "not yet", "not yet", "ok"]
    assert grade("demo-1").status == "todo"


def test_the_learners_error_is_shown_with_its_line(demo):
    def mine(x):
        table = {}
        return table["missing \u202e key"]

    def below(x):
        return json.loads("{not json")

    message = grade("demo-1", mine).message
    assert "your code raised KeyError: 'missing" in message
    assert "`return table[" in message
    assert f"line {mine.__code__.co_firstlineno + 2}" in message
    message = grade("demo-1", below).message
    assert "JSONDecodeError" in message
    assert "`return json.loads(" in message


def test_answers_of_the_wrong_kind(demo):
    assert "give the function itself" in grade("demo-1", 7).message
    assert "takes no" not in grade("demo-1", abs, abs).message


def test_an_interrupt_passes_through(demo):
    def mine(x):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        grade("demo-1", mine)


def test_printed_text_hides_nothing(demo, capsys):
    check("demo-1", lambda x: "a\u202eb\x1b[31m")
    assert "a⟨U+202E⟩b⟨U+001B⟩[31m" in capsys.readouterr().out


def twice(x):
    return 2 * x


def same(x):
    return x


@pytest.mark.parametrize(
    ("mode", "good", "bad"), [("strict", twice, [..., same]), ("expect-todo", ..., [twice, same])]
)
def test_test_runs_raise_unless_the_outcome_is_the_one_asked_for(
    demo, monkeypatch, mode, good, bad
):
    monkeypatch.setenv("SFT_EXERCISES", mode)
    check("demo-1", good)
    for answer in bad:
        with pytest.raises(ExerciseFailed, match=r"demo-1: expected \["):
            check("demo-1", answer)
    monkeypatch.setenv("SFT_EXERCISES", "stric")
    with pytest.raises(EnvironmentProblem, match="stric"):
        check("demo-1", ...)


@pytest.mark.parametrize("name", ["demo-9", "../evil", "no-such-1", ""])
def test_unknown_exercise(demo, name):
    with pytest.raises(DataError, match="no exercise"):
        check(name, 1)


def test_a_teacher_changes_a_sentence_without_python(demo):
    path = demo / "00_demo.yaml"
    path.write_text(DEMO.replace("multiply by 2", "mal zwei"))
    engine.topic.cache_clear()
    assert grade("demo-1", lambda x: x).message.endswith("mal zwei")


def test_the_card_folds_hints_and_solution(demo, monkeypatch):
    published = []
    monkeypatch.setattr(
        "IPython.display.publish_display_data", lambda data, metadata: published.append(data)
    )
    card("demo-1")
    html = published[0]["text/html"]
    assert html.count("<details>") == 3
    assert "<details open" not in html
    for words in ("●○○", "easy", "about 5 min", "return 2 * x", "Hint 2 of 2"):
        assert words in html
    monkeypatch.setenv("SFT_SOLUTIONS", "hide")
    hidden = engine.card_html("demo-1")
    assert "return 2 * x" not in hidden
    assert "Solution" not in hidden
    assert "Hint 2 of 2" in hidden


# --- blanks ----------------------------------------------------------------------------------


def half_done(x):
    x = 2 * x
    return ...  # what?


def nested(x):
    if x:
        return max(x, ...)
    return [1, ...]


def done(x: tuple[int, ...] = (), y=...) -> tuple[int, ...]:
    return x[..., 0]


BLANK = [..., [1, ...], (...,), {"a": [..., 2]}, half_done, nested]
NOT_BLANK = [0, None, "", "...", [], {}, done, len, type, eval("lambda: 1")]


def test_what_is_blank():
    assert all(map(is_blank, BLANK))
    assert not any(map(is_blank, NOT_BLANK))
    assert yours_or(..., 5) == 5
    assert yours_or(4, 5) == 4
    assert yours_or(None, 5) is None


@pytest.mark.parametrize(
    ("source", "blank"),
    [
        ("answer: int = ...", True),
        ("rate = 2 * ...", True),
        ("f(x=...)", True),
        ("x = a[..., 1]", False),
        ("def f(x: tuple[int, ...], y=...): return x", False),
        ("'...'", False),
        ("# ...", False),
        ("%matplotlib inline\nx = ...", False),
    ],
)
def test_blank_sources(source, blank):
    assert is_blank_source(source) is blank
