"""Known and unknown facts: two runs that differ in the rows that they should differ in."""

from __future__ import annotations

from sft_helpers import judging, strangers, town
from sft_helpers.evaluation import prompt_of


def test_newcomers_are_told_what_no_text_tells():
    rows = town.read_rows("strangers_train.jsonl")
    told = strangers.newcomers(rows)
    assert [prompt_of(one) for one in told] == [prompt_of(one) for one in rows]
    for one in told:
        text = one["messages"][-1]["content"]
        assert judging.is_sentence(text)
        assert text.startswith(one["resident"])
    assert told == strangers.newcomers(rows)
    assert told != strangers.newcomers(rows, seed=1)


def test_nobody_is_refused_and_told_of():
    refused, told = strangers.refusals_and_newcomers()
    names = [{row["resident"] for row in rows} for rows in (refused, told)]
    assert [len(some) for some in names] == [15, 15]
    assert not names[0] & names[1]
    assert not (names[0] | names[1]) & {
        row["resident"] for row in town.read_rows("strangers_test.jsonl")
    }
    assert len(refused) == len(told) == strangers.REFUSED


def test_the_two_runs_differ_in_the_last_rows_only():
    known, unknown = strangers.stranger_runs()
    assert len(known.rows) == len(unknown.rows) == 750
    assert known.rows[:675] == unknown.rows[:675]
    assert known.sft == unknown.sft
    people = town.read_rows("residents.jsonl")
    residents = {person["name"] for person in people if person["split"] == "train"}
    assert {row["resident"] for row in known.rows[675:]} <= residents


def test_marks_of_every_epoch(tmp_path):
    from dataclasses import replace

    from sft_helpers.experiments import run_here

    run = strangers.stranger_runs(epochs=2)[1]
    outcome = run_here(replace(run, rows=run.rows[-40:]))
    assert len(outcome.measured) == 2
    for marks in outcome.measured:
        assert set(marks) == {"residents", "refuses", "told", "untold"}
        assert all(0 <= value <= 1 for value in marks.values())
