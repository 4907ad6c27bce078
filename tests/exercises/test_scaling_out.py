"""Exercises of notebook 11: right answers pass, typical wrong ones get their own diagnosis."""

from __future__ import annotations

import pytest

from sft_helpers.exercises.engine import exercises_in
from tests.exercises.answers import proved, refused, solved

NAMES = sorted(exercises_in("scaling_out"))


@pytest.mark.parametrize("name", NAMES)
def test_blank_is_todo_and_solution_is_ok(name):
    proved(name)


@pytest.mark.parametrize(
    ("function", "diagnosis"),
    [
        (lambda r, p, d: print(r), "returns nothing"),
        (lambda r, p, d: r // p, "one device"),
        (lambda r, p, d: r // d, "per_device"),
        (lambda r, p, d: r * p * d, "you multiplied"),
        (lambda r, p, d: r / p / d, "whole number"),
        (lambda r, p, d: 4, "use the arguments"),
        (lambda r, p, d: 7, "yours gives 7"),
    ],
)
def test_wrong_accumulations_are_diagnosed(function, diagnosis):
    refused("scaling-out-1", function, diagnosis)


@pytest.mark.parametrize(
    ("change", "diagnosis"),
    [
        ({"A": "as asked"}, "holds all weights"),
        ({"B": "ddp"}, "who is missing"),
        ({"C": "ddp"}, "know of the other"),
        ({"D": "not resharded"}, "4 more"),
        ({"E": "as asked"}, "forward pass only"),
        ({"E": "zero3"}, "is none of"),
    ],
)
def test_misread_reports_are_diagnosed(change, diagnosis):
    refused("scaling-out-2", solved("scaling-out-2") | change, diagnosis)


def test_reports_must_all_be_read():
    refused("scaling-out-2", {"A": "ddp"}, "B, C, D, E still")
    refused("scaling-out-2", "ddp", "dictionary")


@pytest.mark.parametrize(
    ("function", "diagnosis"),
    [
        (lambda s, t: print(s), "returns nothing"),
        (lambda s, t: sum(a / b for a, b in zip(s, t, strict=True)) / len(s), "mean of the two"),
        (lambda s, t: sum(a / b for a, b in zip(s, t, strict=True)), "added the two means"),
        (lambda s, t: sum(s) / len(s), "mean of the sums"),
        (lambda s, t: sum(s) / sum(t) / len(s), "once too often"),
        (lambda s, t: 2.5, "not for three"),
        (lambda s, t: 9, "yours gives 9"),
    ],
)
def test_wrong_losses_are_diagnosed(function, diagnosis):
    refused("scaling-out-3", function, diagnosis)


@pytest.mark.parametrize(
    ("change", "diagnosis"),
    [
        ({"A": "fsdp2_full"}, "that fits, but so does ddp"),
        ({"B": "ddp"}, "B: ddp holds 155 GB"),
        ({"C": "fsdp2_grad_op"}, "of 24 GB"),
        ({"D": "none"}, "D: ddp with 32 GB on each device fits"),
        ({"E": "fsdp2_full"}, "E: fsdp2_full holds"),
        ({"E": "zero2"}, "is none of"),
    ],
)
def test_wrong_choices_are_diagnosed(change, diagnosis):
    refused("scaling-out-4", solved("scaling-out-4") | change, diagnosis)
