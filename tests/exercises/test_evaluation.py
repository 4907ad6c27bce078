"""Exercises of notebook 09: right answers pass, typical wrong ones get their own diagnosis."""

from __future__ import annotations

import pytest

from sft_helpers.exercises import grade
from sft_helpers.exercises.engine import exercises_in
from sft_helpers.exercises.evaluation import CLAIMS

NAMES = sorted(exercises_in("evaluation"))


def solved(name):
    space = {}
    exec(exercises_in("evaluation")[name].solution, space)
    wanted = {"evaluation-1": "changed", "evaluation-2": "leaked", "evaluation-3": "names_only"}
    return space[wanted.get(name, "claims")]


@pytest.mark.parametrize("name", NAMES)
def test_blank_is_todo_and_solution_is_ok(name):
    assert len(NAMES) == 4
    assert grade(name, ...).status == "todo"
    outcome = grade(name, solved(name))
    assert outcome.status == "ok", outcome.message


def right(first, second):
    return solved("evaluation-1")(first, second)


@pytest.mark.parametrize(
    ("function", "diagnosis"),
    [
        (lambda a, b: print(a), "returns nothing"),
        (lambda a, b: 0.15, "three numbers"),
        (lambda a, b: (right(a, b)[1], right(a, b)[0], 0.15), "swapped"),
        (lambda a, b: (sum(b), sum(a), 0.15), "two totals"),
        (lambda a, b: (7, 0, 0.15), "direction"),
        (lambda a, b: (4, 2, 0.15), "5 were fixed"),
        (lambda a, b: (*right(a, b)[:2], 3), "number of questions"),
        (lambda a, b: (*right(a, b)[:2], 3 / 7), "all questions"),
        (lambda a, b: (*right(a, b)[:2], -0.15), "sign"),
        (lambda a, b: (*right(a, b)[:2], 0.5), "0.15; yours"),
    ],
)
def test_wrong_counts_are_diagnosed(function, diagnosis):
    outcome = grade("evaluation-1", function)
    assert outcome.status == "not yet"
    assert diagnosis in outcome.message


def by(key):
    def leaked(train, test):
        seen = {key(row["messages"]) for row in train}
        return [n for n, row in enumerate(test) if key(row["messages"]) in seen]

    return leaked


@pytest.mark.parametrize(
    ("function", "diagnosis"),
    [
        (lambda train, test: print(train), "returns nothing"),
        (lambda train, test: 3, "list of numbers"),
        (lambda train, test: ["Where?"], "list of numbers"),
        (by(lambda m: m[0]["content"]), "exact copy"),
        (by(lambda m: m[0]["content"].lower()), "doubled space"),
        (by(lambda m: " ".join(m[0]["content"].split()).rstrip("?")), "exact copy"),
        (lambda train, test: [1, 2], "capitals"),
        (lambda train, test: [0, 1, 3], "places in `train`"),
        (by(lambda m: m[1]["content"].split()[-1]), "Compare questions"),
        (lambda train, test: [1], "capitals"),
        (lambda train, test: [], "are 1, 2 and 4"),
        (lambda train, test: [1, 2, 4], "must be empty"),
    ],
)
def test_wrong_leaks_are_diagnosed(function, diagnosis):
    outcome = grade("evaluation-2", function)
    assert outcome.status == "not yet"
    assert diagnosis in outcome.message


def words(answer):
    return answer.lower().replace(",", " ").replace(".", " ").split()


@pytest.mark.parametrize(
    ("function", "diagnosis"),
    [
        (lambda answer, value, values: print(answer), "returns nothing"),
        (lambda answer, value, values: answer == value, "plain right answer"),
        (lambda answer, value, values: True, "another drink"),
        (lambda answer, value, values: value in answer, "capitals"),
        (lambda answer, value, values: value in answer.lower(), "whole words"),
        (lambda answer, value, values: value in words(answer), "lists every drink"),
        (
            lambda answer, value, values: set(words(answer)) & set(values) == {value},
            "two words",
        ),
    ],
)
def test_wrong_scores_are_diagnosed(function, diagnosis):
    outcome = grade("evaluation-3", function)
    assert outcome.status == "not yet"
    assert diagnosis in outcome.message


@pytest.mark.parametrize("key", sorted(CLAIMS))
def test_each_wrong_claim_has_its_reason(key):
    outcome = grade("evaluation-4", CLAIMS | {key: not CLAIMS[key]})
    assert outcome.status == "not yet"
    assert f"{key}:" in outcome.message


def test_claims_of_the_wrong_kind():
    assert "keys A, B, C, D and E" in grade("evaluation-4", [True]).message
    assert "True (the report holds)" in grade("evaluation-4", CLAIMS | {"A": "no"}).message


def test_the_numbers_in_the_claims_are_right():
    from sft_helpers.judging import wilson_interval

    low = wilson_interval(60, 60).low
    assert round(low, 2) == 0.94
    assert round(1 / (1 - low)) == 17
