"""Exercises of notebook 10: right answers pass, typical wrong ones get their own diagnosis."""

from __future__ import annotations

from collections import Counter

import pytest

from sft_helpers.clinic.cases import cases, sound
from sft_helpers.clinic.choices import CHOICES
from sft_helpers.exercises import grade
from sft_helpers.exercises.engine import exercises_in
from sft_helpers.exercises.pitfall_clinic import FACTS, LENGTHS, PACKS, PLACES, question
from tests.exercises.answers import proved, refused

NAMES = sorted(exercises_in("pitfall_clinic"))


@pytest.mark.parametrize("name", NAMES)
def test_blank_is_todo_and_solution_is_ok(name):
    proved(name)


@pytest.mark.parametrize(
    ("answer", "diagnosis"),
    [
        (64, "dictionary"),
        ({"max_seq_length": 64}, "old name"),
        ({"max_steps": 100}, "max_steps does not decide"),
        ({"max_length": 64, "packing": True}, "packing does not decide"),
        ({}, "nothing does not decide"),
        ({"max_length": 24}, "357 of 600"),
        ({"max_length": 26}, "15 of 600"),
        ({"max_length": 1024}, "512 positions"),
    ],
)
def test_wrong_lengths_are_diagnosed(answer, diagnosis):
    refused("pitfall-clinic-1", answer, diagnosis)


@pytest.mark.parametrize("answer", [{"max_length": 27}, {"max_length": None}])
def test_other_lengths_pass(answer):
    assert grade("pitfall-clinic-1", answer).status == "ok"


@pytest.mark.parametrize(
    ("answer", "diagnosis"),
    [
        (3, "dictionary"),
        ({"packing": False}, "keep packing"),
        ({"learning_rate": 1e-2}, "that of a sound run"),
        ({"num_train_epochs": 10}, "over-fitting"),
        ({"max_steps": 76}, "over-fitting"),
        ({"gradient_accumulation_steps": 4}, "still fewer"),
        ({"max_length": 256}, "per_device_train_batch_size"),
        ({"per_device_train_batch_size": 8}, "32 steps"),
        ({"per_device_train_batch_size": 1}, "242 steps"),
    ],
)
def test_wrong_steps_are_diagnosed(answer, diagnosis):
    refused("pitfall-clinic-2", answer, diagnosis)


def asked(row):
    return row["messages"][0]["content"]


@pytest.mark.parametrize(
    ("function", "diagnosis"),
    [
        (lambda t, h: print("leak"), "returns nothing"),
        (lambda t, h: any(row in t for row in h), "as a list"),
        (lambda t, h: [row for row in h if row in t], "numbers of the rows"),
        (lambda t, h: [n for n, r in enumerate(h) for s in t if s == r] * 2, "once"),
        (lambda t, h: [], "did not find it"),
        (lambda t, h: [n for n, r in enumerate(h) if r not in t], "did not leak"),
        (lambda t, h: [n for n, r in enumerate(t) if r in h], "not of train"),
        (lambda t, h: [n for n, r in enumerate(h) if r in t], "compare the questions"),
        (
            lambda t, h: [n for n, r in enumerate(h) if asked(r) in {asked(s) for s in t}],
            "capitals and double spaces",
        ),
    ],
)
def test_wrong_leak_finders_are_diagnosed(function, diagnosis):
    refused("pitfall-clinic-3", function, diagnosis)


WHEN = dict(
    zip(
        FACTS,
        ["preflight", "monitor", "questions", "preflight", "monitor", "questions"],
        strict=True,
    )
)


@pytest.mark.parametrize(
    ("answer", "diagnosis"),
    [
        ("preflight", "dictionary"),
        ({"A": "preflight"}, "B, C, D, E, F still"),
        (WHEN | {"A": "training"}, "is no place"),
        (WHEN | {"A": "monitor"}, "before the first step"),
        (WHEN | {"B": "preflight"}, "depends on the run"),
        (WHEN | {"C": "monitor"}, "what is true"),
        (WHEN | {"D": "monitor"}, "arithmetic"),
        (WHEN | {"E": "questions"}, "happens in the run"),
        (WHEN | {"F": "preflight"}, "contain the server"),
    ],
)
def test_wrong_places_are_diagnosed(answer, diagnosis):
    refused("pitfall-clinic-4", answer, diagnosis)


@pytest.mark.parametrize(
    ("answer", "diagnosis"),
    [
        ("few steps", "in a set"),
        ({"bad luck"}, "is no cause"),
        ({"end token"}, "its end token is trained"),
        ({"loss on everything", "rate too high"}, "creeps down"),
        ({"cut answers", "rate too low"}, "27 tokens"),
        (["few steps"], "76 steps"),
        ({"loss on everything"}, "one number of the listing"),
        ({"rate too low"}, "unfold"),
        (set(), "set is empty"),
    ],
)
def test_wrong_causes_are_diagnosed(answer, diagnosis):
    refused("pitfall-clinic-5", answer, diagnosis)


def test_places_and_facts_are_told():
    assert set(WHEN.values()) == set(PLACES)


def test_every_patient_has_a_question_with_one_right_choice():
    assert set(CHOICES) == {case.name for case in cases()}
    for name in CHOICES:
        assert not question(name).several
        assert len(question(name).choices) == 4


def test_lengths_and_packs_are_those_of_the_rows():
    """The exercises count with these numbers; here they come from tokenizer and packer."""
    from datasets import Dataset
    from transformers import AutoTokenizer
    from trl.data_utils import pack_dataset

    from sft_helpers.models import resolve

    tokenizer = AutoTokenizer.from_pretrained(resolve("tiny"), local_files_only=True)
    ids = [
        tokenizer.apply_chat_template(row["messages"], return_dict=True)["input_ids"]
        for row in sound().rows
    ]
    assert dict(sorted(Counter(map(len, ids)).items())) == LENGTHS
    assert len(pack_dataset(Dataset.from_dict({"input_ids": ids}), 128)) == PACKS
