"""Exercises of notebook 04: right answers pass, typical wrong ones get their own diagnosis."""

from __future__ import annotations

import re

import pytest

from sft_helpers.exercises import grade
from sft_helpers.exercises.engine import exercises_in
from sft_helpers.exercises.loss_masking import (
    BROKEN_TEMPLATE,
    CONVERSATION,
    MENDED_TEMPLATE,
    SETUPS,
    TRAINED_TURNS,
)
from tests.exercises.answers import proved

NAMES = sorted(exercises_in("loss_masking"))


@pytest.mark.parametrize("name", NAMES)
def test_blank_is_todo_and_solution_is_ok(name):
    proved(name)


def test_the_expected_turns_are_what_trl_trains(tmp_path):
    from trl import SFTConfig

    from sft_helpers.masking import supervised_view
    from sft_helpers.models import load

    _, tokenizer = load("tiny", progress=False)
    found = {}
    for key, (form, flags) in SETUPS.items():
        row = {"messages": CONVERSATION}
        if form != "messages":
            row = {"prompt": CONVERSATION[:-1], "completion": CONVERSATION[-1:]}
        args = SFTConfig(str(tmp_path), use_cpu=True, bf16=False, **flags)
        text = supervised_view([row], tokenizer, args)[0].trained_text
        found[key] = sum(turn["content"] in text for turn in CONVERSATION)
    assert found == TRAINED_TURNS


@pytest.mark.parametrize(
    ("change", "diagnosis"),
    [
        ({"A": 2, "B": 2}, "does not mask at all"),
        ({"B": 1}, "no effect"),
        ({"C": 1}, "every assistant turn"),
        ({"D": 2}, "whatever stands in `prompt`"),
        ({"D": 5}, "the prompt is masked"),
        ({"C": 3}, "not right yet: C"),
    ],
)
def test_wrong_turns_are_diagnosed(change, diagnosis):
    outcome = grade("loss-masking-1", TRAINED_TURNS | change)
    assert outcome.status == "not yet"
    assert diagnosis in outcome.message


def test_turns_of_the_wrong_kind():
    assert "keys A, B, C and D" in grade("loss-masking-1", [5, 5, 2, 1]).message


WHOLE_TURN = MENDED_TEMPLATE.replace(
    "{{- '<|im_start|>' + message['role'] + '\\n' -}}\n{%- if message['role'] == 'assistant' -%}\n"
    "{%- generation -%}",
    "{%- if message['role'] == 'assistant' -%}\n{%- generation -%}\n"
    "{{- '<|im_start|>' + message['role'] + '\\n' -}}",
).replace("{%- else -%}\n", "{%- else -%}\n{{- '<|im_start|>' + message['role'] + '\\n' -}}\n")
USER = "{{- message['content'] + '<|im_end|>\\n' -}}"
ALL_TRAINED = re.sub(r"\{%- (end)?generation -%\}\n", "", MENDED_TEMPLATE).replace(
    USER, "{%- generation -%}" + USER + "{%- endgeneration -%}"
)


@pytest.mark.parametrize(
    ("template", "diagnosis"),
    [
        (BROKEN_TEMPLATE, "still printed after"),
        (re.sub(r"\{%- (end)?generation -%\}\n", "", MENDED_TEMPLATE), "markers"),
        (MENDED_TEMPLATE.replace("{{- '\\n' -}}\n", ""), "rendered text has changed"),
        (MENDED_TEMPLATE.replace("{%- endgeneration -%}", ""), "does not render"),
        (WHOLE_TURN, "header"),
        (ALL_TRAINED, "question or the system prompt"),
        (3, "one string"),
    ],
)
def test_wrong_templates_are_diagnosed(template, diagnosis):
    outcome = grade("loss-masking-2", template)
    assert outcome.status == "not yet"
    assert diagnosis in outcome.message


def last(labels):
    return max((n for n, label in enumerate(labels) if label != -100), default=-1)


@pytest.mark.parametrize(
    ("function", "diagnosis"),
    [
        (lambda rows: print(rows), "returns nothing"),
        (lambda rows: max(map(last, rows)), "count from 0"),
        (lambda rows: max(sum(n != -100 for n in row) for row in rows), "number of trained"),
        (lambda rows: max(map(len, rows)), "may be cut"),
        (lambda rows: last(rows[0]) + 1 if rows else 0, "for all rows"),
        (lambda rows: max(last(r) + 1 if any(n != -100 for n in r) else len(r) for r in rows),
         "needs no room"),
        (lambda rows: 99, "yours is 99"),
    ],
)  # fmt: skip
def test_wrong_lengths_are_diagnosed(function, diagnosis):
    outcome = grade("loss-masking-3", function)
    assert outcome.status == "not yet"
    assert diagnosis in outcome.message


@pytest.mark.parametrize(
    ("function", "diagnosis"),
    [
        (lambda labels: print(labels), "returns nothing"),
        (
            lambda labels: [n for n, label in enumerate(labels) if label != -100],
            "one place earlier",
        ),
        (lambda labels: [n + 1 for n, label in enumerate(labels) if label != -100], "too late"),
        (lambda labels: [n - 1 for n, label in enumerate(labels) if label != -100], "first token"),
        (lambda labels: list(range(len(labels))), "yours are"),
    ],
)
def test_wrong_places_are_diagnosed(function, diagnosis):
    outcome = grade("loss-masking-4", function)
    assert outcome.status == "not yet"
    assert diagnosis in outcome.message
