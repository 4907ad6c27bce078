"""The engine: three outcomes, a diagnosis for every error, and the two strict modes."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from sft_helpers.errors import DataError, EnvironmentProblem
from sft_helpers.exercises import engine
from sft_helpers.exercises.engine import ExerciseFailed, card, check, exercise, grade

FIELDS = dict(title="T", difficulty=1, minutes=5, hints=["h"], solution="x = 1")


def test_todo(double, capsys):
    def mine(x): ...

    assert grade("demo-1", mine).status == "todo"
    assert grade("demo-1", ...).status == "todo"
    assert grade("demo-1").status == "todo"
    check("demo-1", ...)
    assert capsys.readouterr().out.startswith("[todo] Double: fill in")


def test_ok(double, capsys):
    check("demo-1", lambda x: 2 * x)
    assert capsys.readouterr().out == "[ok] Double: doubling is right\n"


def test_not_yet_says_what_is_wrong(double, capsys):
    check("demo-1", lambda x: x)
    check("demo-1", lambda x: x**2)
    assert capsys.readouterr().out.splitlines() == [
        "[not yet] Double: it returns what it got: multiply by 2",
        "[not yet] Double: double(3) gave 9, not 6",
    ]


def test_the_learners_error_is_shown_with_its_line(double):
    def mine(x):
        table = {}
        return table["missing \u202e key"]

    outcome = grade("demo-1", mine)
    assert outcome.status == "not yet"
    assert "your code raised KeyError: 'missing" in outcome.message
    assert "`return table[" in outcome.message
    assert f"line {mine.__code__.co_firstlineno + 2}" in outcome.message


def test_an_error_below_the_learners_code_still_points_at_it(double):
    def mine(x):
        return json.loads("{not json")

    message = grade("demo-1", mine).message
    assert "JSONDecodeError" in message
    assert "`return json.loads(" in message


def test_an_answer_of_the_wrong_kind(double):
    message = grade("demo-1", 7).message
    assert "could not use your answer (TypeError: 'int' object is not callable)" in message
    assert "type int" in message


def test_too_many_answers_are_diagnosed(double):
    assert "could not use" in grade("demo-1", abs, abs).message


def test_an_interrupt_passes_through(double):
    def mine(x):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        grade("demo-1", mine)


def test_printed_text_hides_nothing(double, capsys):
    exercise("demo-2", **FIELDS)(lambda answer: f"you wrote {answer}")
    check("demo-2", "a\u202eb\x1b[31m")
    assert "a⟨U+202E⟩b⟨U+001B⟩[31m" in capsys.readouterr().out


def test_strict_raises_unless_ok(double, monkeypatch):
    monkeypatch.setenv("SFT_EXERCISES", "strict")
    check("demo-1", lambda x: 2 * x)
    for answer in (..., lambda x: x):
        with pytest.raises(ExerciseFailed, match=r"demo-1: expected \[ok\], got \["):
            check("demo-1", answer)


def test_expect_todo_raises_unless_blank(double, monkeypatch):
    monkeypatch.setenv("SFT_EXERCISES", "expect-todo")
    check("demo-1", ...)
    for answer in (lambda x: 2 * x, lambda x: x):
        with pytest.raises(ExerciseFailed, match=r"expected \[todo\]"):
            check("demo-1", answer)


def test_a_misspelt_mode_is_an_error(double, monkeypatch):
    monkeypatch.setenv("SFT_EXERCISES", "stric")
    with pytest.raises(EnvironmentProblem, match="stric"):
        check("demo-1", ...)


def test_unknown_exercise(double):
    with pytest.raises(DataError, match="no exercise 'demo-9'") as caught:
        check("demo-9", 1)
    assert "demo-1" in str(caught.value)
    with pytest.raises(DataError, match="no exercise"):
        check("../evil", 1)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"difficulty": 4}, "difficulty"),
        ({"minutes": 0}, "minutes"),
        ({"hints": []}, "hint"),
        ({"hints": [" "]}, "hint"),
        ({"title": ""}, "title"),
        ({"solution": ""}, "empty"),
        ({"solution": "x = ..."}, "blank"),
        ({"solution": "def"}, "not Python"),
    ],
)
def test_a_flawed_exercise_is_refused(change, said):
    with pytest.raises(DataError, match=said):
        exercise("demo-1", **(FIELDS | change))(lambda answer: None)


@pytest.mark.parametrize("name", ["demo", "Demo-1", "demo_1", "-1", "1-1", "demo-x"])
def test_names(name):
    with pytest.raises(DataError, match="module"):
        exercise(name, **FIELDS)(lambda answer: None)


def test_a_name_is_taken_once_but_may_be_reloaded(double):
    exercise("demo-1", **FIELDS)(double.checker)
    with pytest.raises(DataError, match="taken"):
        exercise("demo-1", **FIELDS)(lambda answer: None)


def test_the_module_of_an_exercise_is_loaded_by_its_name(monkeypatch):
    asked = []

    def load(name):
        asked.append(name)
        exercise("two-words-1", **FIELDS)(lambda answer: None)

    monkeypatch.setattr(engine.importlib, "import_module", load)
    assert grade("two-words-1", 1).status == "ok"
    assert asked == ["sft_helpers.exercises.two_words"]


def test_a_module_that_does_not_exist_has_no_exercises():
    assert engine.exercises_in("no_such_notebook") == {}


def test_what_a_check_found_is_recorded_before_a_test_run_stops(double, monkeypatch):
    kept = []
    check("demo-1", ..., record=lambda *line: kept.append(line))
    monkeypatch.setenv("SFT_EXERCISES", "strict")
    with pytest.raises(ExerciseFailed):
        check("demo-1", lambda x: x, record=lambda *line: kept.append(line))
    assert kept == [("demo-1", "todo"), ("demo-1", "not yet")]


def test_a_class_may_hide_the_solutions(double, monkeypatch):
    assert "return 2 * x" in engine.card_html("demo-1")
    monkeypatch.setenv("SFT_SOLUTIONS", "hide")
    hidden = engine.card_html("demo-1")
    assert "return 2 * x" not in hidden
    assert "Solution" not in hidden
    assert "Hint 2 of 2" in hidden


def test_the_card_folds_hints_and_solution(double, monkeypatch):
    published = []
    monkeypatch.setattr(
        "IPython.display.publish_display_data", lambda data, metadata: published.append(data)
    )
    card("demo-1")
    (data,) = published
    html = data["text/html"]
    assert html.count("<details>") == 3
    assert "<details open" not in html
    assert "●○○" in html
    assert "easy" in html
    assert "about 5 min" in html
    assert "return 2 * x" in html
    assert "difficulty 1 of 3, 5 minutes, 2 hints" in data["text/plain"]


def test_outcome_reads_as_one_line():
    outcome = engine.Outcome("ok", "fine")
    assert str(outcome) == "[ok] fine"
    assert replace(outcome, status="not yet").status == "not yet"
