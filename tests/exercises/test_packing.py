"""Exercises of notebook 05: right answers pass, typical wrong ones get their own diagnosis."""

from __future__ import annotations

import itertools

import pytest

from sft_helpers.exercises import grade
from sft_helpers.exercises.engine import exercises_in
from sft_helpers.exercises.packing import CHOICES, MIXING
from tests.exercises.answers import proved

NAMES = sorted(exercises_in("packing"))


@pytest.mark.parametrize("name", NAMES)
def test_blank_is_todo_and_solution_is_ok(name):
    proved(name)


@pytest.mark.parametrize(
    ("answer", "diagnosis"),
    [
        (64, "throws away"),
        (128, "throws away"),
        (256, "smaller one needs less memory"),
        (190, "choose one of"),
        ("192", "choose one of"),
    ],
)
def test_wrong_lengths_are_diagnosed(answer, diagnosis):
    outcome = grade("packing-1", answer)
    assert outcome.status == "not yet"
    assert diagnosis in outcome.message


def test_exactly_one_length_is_right():
    assert [size for size in CHOICES if grade("packing-1", size).status == "ok"] == [192]


@pytest.mark.parametrize(
    ("answer", "diagnosis"),
    [
        (MIXING | {"A"}, "keeps samples apart"),
        (MIXING - {"B"}, "no sample lengths"),
        (MIXING - {"C"}, "mask of ones"),
        (MIXING - {"D"}, "ignores the column seq_lengths"),
        (MIXING - {"E"}, "Mamba"),
        (MIXING | {"F"}, "cannot mix"),
        ({"Z"}, "letters from"),
    ],
)
def test_wrong_set_ups_are_diagnosed(answer, diagnosis):
    outcome = grade("packing-2", answer)
    assert outcome.status == "not yet"
    assert diagnosis in outcome.message


@pytest.mark.parametrize(
    ("function", "diagnosis"),
    [
        (lambda samples, rows, batch: print(rows), "returns nothing"),
        (lambda samples, rows, batch: batch * samples // rows, "multiplied"),
        (lambda samples, rows, batch: batch, "old batch"),
        (lambda samples, rows, batch: batch * rows / samples, "whole number"),
        (lambda samples, rows, batch: round(batch * rows / samples), "becomes 0"),
        (lambda samples, rows, batch: max(1, batch * rows // samples), "rounds to 3"),
        (lambda samples, rows, batch: 17, "got 17"),
    ],
)
def test_wrong_batches_are_diagnosed(function, diagnosis):
    outcome = grade("packing-3", function)
    assert outcome.status == "not yet"
    assert diagnosis in outcome.message


@pytest.mark.parametrize(
    ("function", "diagnosis"),
    [
        (lambda lengths: print(lengths), "returns nothing"),
        (lambda lengths: list(range(sum(lengths))), "run through"),
        (lambda lengths: [n + 1 for k in lengths for n in range(k)], "count from 0"),
        (lambda lengths: [n for n, k in enumerate(lengths) for _ in range(k)], "seq_idx"),
        (lambda lengths: list(itertools.accumulate(lengths)), "yours are"),
    ],
)
def test_wrong_positions_are_diagnosed(function, diagnosis):
    outcome = grade("packing-4", function)
    assert outcome.status == "not yet"
    assert diagnosis in outcome.message
