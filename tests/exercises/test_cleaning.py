"""Exercises of notebook 02: stub, solution, and the diagnoses of typical mistakes."""

from __future__ import annotations

import pytest

from sft_helpers.exercises.cleaning import LEAK_ROWS, QUIZ, similarities
from sft_helpers.exercises.engine import exercises_in, grade

ANSWER_NAMES = {
    "cleaning-1": "holds_the_line", "cleaning-2": "leaking", "cleaning-3": "threshold"
}  # fmt: skip


def stub(messages): ...  # fmt: skip


@pytest.mark.parametrize("name", ANSWER_NAMES)
def test_blank_and_solution(name):
    blank = stub if name == "cleaning-1" else ...
    assert grade(name, blank).status == "todo"
    scope: dict = {}
    exec(exercises_in("cleaning")[name].solution, scope)
    outcome = grade(name, scope[ANSWER_NAMES[name]])
    assert outcome.status == "ok", outcome


def said(messages):
    return [t["content"] for t in messages if t["role"] == "assistant"]


PHRASE = "please hold the line"


def rule(test):
    return lambda messages: any(test(text) for text in said(messages))


@pytest.mark.parametrize(
    ("answer", "diagnosis"),
    [
        (lambda m: None, "returns nothing"),
        (lambda m: not rule(lambda t: t == "Please hold the line.")(m), "wrong way round"),
        (lambda m: False, "does not catch"),
        (lambda m: True, "also catches a right answer"),
        (rule(lambda t: t == "Please hold the line."), "lower case"),
        (lambda m: said(m)[-1].strip(" .").lower() == PHRASE, "only the last answer"),
        (lambda m: any(t["content"].strip(" .").lower() == PHRASE for t in m), "*user*"),
        (rule(lambda t: PHRASE in t.lower()), "and then answers"),
    ],
)
def test_rule_diagnoses(answer, diagnosis):
    outcome = grade("cleaning-1", answer)
    assert outcome.status == "not yet"
    assert diagnosis in outcome.message


@pytest.mark.parametrize(
    ("answer", "diagnosis"),
    [
        ([1], "Two more rows"),
        (1, "Two more rows"),
        ([2, 4, 6], "counted from 1"),
        ([0, 1, 3, 5], "about somebody else"),
        ([1, 3, 4, 5], "does not mention her"),
        ([1, 3], "more than one turn"),
        ([1, 5], "turned round"),
        ([3, 5], "capital letters"),
        ([99], "numbered from 0"),
        (["1"], "list of row numbers"),
    ],
)
def test_leak_diagnoses(answer, diagnosis):
    outcome = grade("cleaning-2", answer)
    assert outcome.status == "not yet"
    assert diagnosis in outcome.message


@pytest.mark.parametrize(
    ("answer", "diagnosis"),
    [(70, "70 %"), (0.3, "below 0.5"), (0.55, "Go higher"), (0.95, "Go lower"), ("x", "could not")],
)
def test_threshold_diagnoses(answer, diagnosis):
    outcome = grade("cleaning-3", answer)
    assert outcome.status == "not yet"
    assert diagnosis in outcome.message


def test_the_gap_is_where_the_hint_says():
    sound = max(score for score, planted in similarities() if not planted)
    planted = sorted(score for score, planted in similarities() if planted)
    assert sound <= 0.68
    assert planted[len(planted) // 50] >= 0.72
    assert len(planted) == 90


def test_quiz_and_rows():
    assert len(QUIZ) == 4
    assert all(row["messages"][-1]["role"] == "assistant" for row in LEAK_ROWS)
