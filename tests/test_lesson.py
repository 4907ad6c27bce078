"""The front door: what a lesson prints, shows and records, and what `expect` asserts."""

from __future__ import annotations

import json
import subprocess
import sys
import time

import pytest
import torch

import sft_helpers
from sft_helpers import expect, setup
from sft_helpers.course import read_record
from sft_helpers.errors import DataError


def lines(file):
    return [json.loads(line) for line in file.read_text().splitlines()]


# ---------------------------------------------------------------- the front door


def test_every_name_at_the_front_door_opens_a_room():
    for name in sft_helpers.__all__:
        assert callable(getattr(sft_helpers, name))
    with pytest.raises(AttributeError, match="no attribute 'sit'"):
        _ = sft_helpers.sit


def test_the_front_door_and_help_load_no_big_library():
    code = """
import sys, sft_helpers
from sft_helpers import expect
from sft_helpers.cli import build_parser
build_parser()
print([name for name in ("torch", "transformers", "trl", "datasets") if name in sys.modules])
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


# ---------------------------------------------------------------- a lesson


def test_setup_prints_one_line_and_makes_runs_repeatable(monkeypatch, capsys):
    monkeypatch.setenv("SFT_PROFILE", "cpu")
    drawn = []
    for _ in range(2):
        lesson = setup("07b_real_model")
        drawn.append(torch.rand(1).item())
    [line, again] = capsys.readouterr().out.splitlines()
    assert line == again
    assert "TRL " in line
    assert "(checked with " in line
    assert drawn[0] == drawn[1]
    assert lesson.profile.model.value == "tiny"
    assert lesson.topic == "real_model"
    assert lesson.material.CLAIMS


@pytest.mark.parametrize(
    ("tested", "said"),
    [({"trl": "0.9"}, "checked with 0.9: run `sft-helpers doctor`"), ({}, "another release)")],
)
def test_another_trl_is_pointed_out(tested, said, monkeypatch, capsys):
    monkeypatch.setattr("sft_helpers.doctor.tested_versions", lambda: tested)
    setup("00_quickstart")
    assert said in capsys.readouterr().out


def test_a_lesson_shows_checks_and_records(tmp_path, monkeypatch, capsys):
    shown = []
    monkeypatch.setattr(
        "IPython.display.publish_display_data", lambda data, metadata: shown.append(data)
    )
    file = tmp_path / "new" / "<b>mine.jsonl"
    monkeypatch.setenv("SFT_PROGRESS", str(file))
    lesson = setup("00_quickstart")
    lesson.card(1)
    lesson.check(1, ...)
    lesson.quiz()
    lesson.progress()
    assert "[todo]" in capsys.readouterr().out
    entries, damaged = read_record(file)
    assert damaged == []
    assert [(e["notebook"], e["name"], e["status"]) for e in entries] == [
        ("00_quickstart", "", "opened"),
        ("00_quickstart", "quickstart-1", "todo"),
    ]
    assert abs(entries[0]["time"] - time.time()) < 3600
    card, quiz, course = (data["text/html"] for data in shown)
    assert "Hint 1 of" in card
    assert "Answer" in quiz
    assert "&lt;b&gt;mine.jsonl" in course
    assert "<b>mine" not in course
    with pytest.raises(DataError, match="no exercise 'quickstart-9'"):
        lesson.check(9, ...)


def test_an_empty_variable_keeps_no_record(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("sft_helpers.lesson.user_data_path", lambda name: tmp_path / name)
    monkeypatch.setenv("SFT_PROGRESS", "")
    setup("00_quickstart")
    assert list(tmp_path.iterdir()) == []
    monkeypatch.delenv("SFT_PROGRESS")
    setup("00_quickstart")
    assert len(lines(tmp_path / "sft-helpers" / "progress.jsonl")) == 1
    monkeypatch.setenv("SFT_PROGRESS", str(tmp_path / "sft-helpers/progress.jsonl/below-a-file"))
    setup("00_quickstart")
    assert "could not be written" in capsys.readouterr().out


# ---------------------------------------------------------------- claims


@pytest.fixture
def results(tmp_path, monkeypatch):
    target = tmp_path / "new" / "results.jsonl"
    monkeypatch.setenv("SFT_RESULTS", str(target))
    return target


def test_a_claim_that_holds_is_printed_recorded_and_returned(results, capsys):
    setup("00_quickstart")
    assert expect("a.score", 0.5, low=0.4, high=0.6) == 0.5
    [line] = lines(results)
    assert line.pop("seconds") >= 0
    assert line == {
        "name": "a.score",
        "value": 0.5,
        "low": 0.4,
        "high": 0.6,
        "ok": True,
        "notebook": "00_quickstart",
    }
    assert "✓ a.score = 0.5 (claimed: at least 0.4 and at most 0.6)" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("value", "low", "high"),
    [(0.39, 0.4, None), (0.61, None, 0.6), (float("nan"), 0.0, None), (float("inf"), None, 1.0)],
)
def test_a_claim_that_fails_is_recorded_before_it_raises(results, value, low, high):
    with pytest.raises(AssertionError, match=r"a\.score"):
        expect("a.score", value, low=low, high=high)
    assert lines(results)[0]["ok"] is False


def test_bounds_are_inclusive_and_asked_for(results, monkeypatch):
    expect("a.zero", 0, low=0, high=0)
    assert lines(results)[0]["ok"] is True
    with pytest.raises(ValueError, match="cannot fail"):
        expect("a.score", 1.0)
    monkeypatch.delenv("SFT_RESULTS")
    expect("a.score", 1.0, low=0.0)  # nothing is written without a file
    assert len(lines(results)) == 1
