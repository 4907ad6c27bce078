"""Every code has a case and a twin, a lesson that exists, and evidence in the docstring."""

from __future__ import annotations

import importlib
import inspect
import json
import re
from pathlib import Path

import pytest

from sft_helpers.formats.problems import MEANINGS
from sft_helpers.lesson import expect
from sft_helpers.preflight import CODES

NOTEBOOKS = Path(__file__).resolve().parents[2] / "notebooks"
PARTS = ("data", "templates", "masks", "tokens", "packing", "config", "lora", "memory")
# The codes that the design promises; more may come, none may go or change its name.
GIVEN = {
    "data": [
        "unsupported_format",
        "unknown_role",
        "empty_turn",
        "missing_content",
        "not_alternating",
        "last_turn_not_assistant",
        "no_assistant_turn",
        "mixed_schema",
        "duplicate_rows",
        "near_duplicate_rows",
        "split_overlap",
        "special_token_in_content",
        "ignored_column",
        "tool_arguments_string",
        "thinking_dropped",
    ],
    "template": [
        "missing",
        "drops_content",
        "end_token_not_eos",
        "no_generation_markers",
        "prefix_broken",
        "renders_date",
    ],
    "mask": ["full_sequence", "all_masked", "flag_without_effect", "end_token_unsupervised"],
    "tokens": [
        "double_bos",
        "double_eos",
        "no_eos",
        "truncated",
        "completion_lost",
        "longer_than_model",
        "no_separator",
        "new_token_untrained",
        "id_out_of_range",
    ],
    "packing": [
        "wrapped_contaminates",
        "eval_contaminates",
        "prepacked_contaminates",
        "architecture_contaminates",
        "few_steps",
    ],
    "config": [
        "unknown_argument",
        "ignored_argument",
        "eval_never_runs",
        "logging_never",
        "warmup_exceeds_steps",
        "precision_unsupported",
        "low_precision_weights",
        "learning_rate_high",
        "learning_rate_low",
        "collator_rebuilds_labels",
    ],
    "lora": ["no_match", "partial_match", "default_targets", "nothing_trains"],
    "memory": ["does_not_fit"],
}


def in_tables() -> set[str]:
    """The codes of the tables `CASES` of this folder."""
    modules = [importlib.import_module(f"tests.preflight.test_{part}") for part in PARTS]
    return {case.code for module in modules for case in module.CASES}


def test_no_code_is_missing_or_renamed() -> None:
    assert {f"{part}.{name}" for part, names in GIVEN.items() for name in names} <= set(CODES)


def test_every_code_has_a_case_and_a_twin() -> None:
    assert in_tables() == set(CODES)
    expect("preflight.codes_tested", len(in_tables()), low=len(CODES), high=len(CODES))


@pytest.mark.parametrize("code", CODES)
def test_every_lesson_is_a_cell_of_a_notebook(code: str) -> None:
    file, _, cell = CODES[code].lesson.partition("#")
    notebook = json.loads((NOTEBOOKS / file).read_text(encoding="utf-8"))
    assert cell in {each["id"] for each in notebook["cells"]}


@pytest.mark.parametrize("code", CODES)
def test_codes_mean_what_they_mean_elsewhere(code: str) -> None:
    assert re.fullmatch(r"(data|template|mask|tokens|packing|config|lora|memory)\.[a-z_]+", code)
    if code.startswith("data.") and code in MEANINGS:
        assert CODES[code].severity == MEANINGS[code].severity


@pytest.mark.parametrize("part", PARTS)
def test_every_check_says_what_it_rests_on(part: str) -> None:
    module = importlib.import_module(f"sft_helpers.preflight.{part}")
    for name, function in inspect.getmembers(module, inspect.isgeneratorfunction):
        if function.__module__ == module.__name__ and "Finding" in str(function.__annotations__):
            assert inspect.getdoc(function), f"{part}.{name} has no docstring"
