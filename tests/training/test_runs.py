"""Runs as data: the same outcome here, in a worker, with a panel, and after being killed."""

from __future__ import annotations

import json
import math
import pickle
from dataclasses import replace

import pytest

from sft_helpers.errors import DataError, SFTHelpersError
from sft_helpers.lesson import expect
from sft_helpers.town import read_rows
from sft_helpers.training.runs import (
    Outcome,
    Run,
    Runs,
    run_all,
    run_and_kill,
    run_here,
    stop_workers,
    store,
    text_loss,
)
from sft_helpers.training.watch import History

ROWS = read_rows("sft_train.jsonl")[:64]
ASKED = read_rows("sft_test.jsonl")[:8]
SHORT = {
    "max_steps": 8,
    "learning_rate": 1e-3,
    "per_device_train_batch_size": 4,
    "logging_steps": 1,
}
LORA = {
    "r": 4,
    "lora_alpha": 8,
    "lora_dropout": 0.1,
    "target_modules": "all-linear",
    "task_type": "CAUSAL_LM",
}


@pytest.fixture(scope="module")
def plain():
    """One run in this process."""
    run = Run("plain", ROWS, SHORT, questions=ASKED, eval_rows=ASKED, texts=["The town. " * 4])
    return run, run_here(run)


def losses(outcome):
    return list(outcome.losses.values())


def test_an_outcome_holds_what_the_run_left(plain):
    _, done = plain
    assert list(done.losses) == [*range(1, 9)]
    assert losses(done) == done.history.loss
    assert len(done.history.grad_norm) == 8
    assert all(math.isfinite(norm) and norm > 0 for norm in done.history.grad_norm)
    assert len(done.answers) == len(ASKED)
    assert done.exact_match == sum(done.answers.right) / len(ASKED)
    assert done.eval_loss > 0
    assert done.text_loss > 0
    assert done.trainable == done.parameters
    assert done.seconds > done.train_seconds > 0
    assert pickle.loads(pickle.dumps(done)).losses == done.losses


def test_workers_give_what_this_process_gives_in_the_order_asked(plain):
    run, done = plain
    adapter = replace(run, name="lora", lora=LORA, questions=(), eval_rows=(), texts=())
    try:
        first, second, third = run_all([run, adapter, replace(run, seed=1)])
        assert losses(first) == losses(done)
        assert first.answers == done.answers
        assert (second.name, third.seed) == ("lora", 1)
        assert 0 < second.trainable < second.parameters
        assert math.isnan(second.exact_match)
        assert math.isnan(second.exact_match)
        assert losses(third) != losses(first)

        with pytest.raises(SFTHelpersError, match=r"TypeError.*max_seq_length") as problem:
            run_all([replace(run, name="old name", sft={"max_seq_length": 64})])
        assert "old name" in str(problem.value)
        with pytest.raises(DataError, match="no training rows"):
            run_all([replace(run, rows=[])])
        [again] = run_all([adapter])
        assert losses(again) == losses(second)
    finally:
        stop_workers()


def test_a_panel_changes_nothing_and_is_kept(plain):
    run, done = plain
    watched = run_here(replace(run, panel=ASKED, panel_every=3, questions=()))
    assert losses(watched) == losses(done)
    steps, answers = zip(*watched.history.probes, strict=True)
    assert steps == (0, 3, 6, 8)
    assert answers[-1] == done.answers
    assert answers[0].exact_match.value == 0


def test_runs_are_stored_where_the_environment_says(plain, tmp_path, monkeypatch):
    run, done = plain
    store([run], [done])
    target = tmp_path / "deep" / "runs.jsonl"
    monkeypatch.setenv("SFT_RUNS", str(target))
    store([run, run], [done, done])
    lines = [json.loads(line) for line in target.read_text().splitlines()]
    assert len(lines) == 2
    assert lines[0]["name"] == "plain"
    assert lines[0]["rows"] == len(ROWS)
    assert lines[0]["sft"] == SHORT
    assert lines[0]["exact_match"] == done.exact_match
    assert lines[0]["last_loss"] == done.history.loss[-1]


def test_text_loss_is_the_models_own(plain):
    import torch

    from sft_helpers.models import load

    model, tokenizer = load("tiny")
    texts = [row["text"] for row in read_rows("gazette_heldout.jsonl")[:3]]
    total = count = 0.0
    for text in texts:
        ids = torch.tensor([tokenizer(text)["input_ids"]])
        with torch.no_grad():
            total += model(ids, labels=ids).loss.item() * (ids.numel() - 1)
        count += ids.numel() - 1
    assert text_loss(model, tokenizer, texts) == pytest.approx(total / count, rel=1e-5)
    with pytest.raises(DataError, match="no text"):
        text_loss(model, tokenizer, [])


CASES = {
    "full": (None, {}),
    "full_packed": (None, {"packing": True, "max_length": 64}),
    "lora": (LORA, {}),
    "lora_packed": (LORA, {"packing": True, "max_length": 64}),
}


@pytest.mark.parametrize("case", CASES)
def test_killed_and_resumed_gives_the_same_losses_to_the_last_bit(case, tmp_path):
    lora, extra = CASES[case]
    saving = {"save_strategy": "steps", "save_steps": 3, "max_steps": 10}
    run = Run(case, ROWS, SHORT | extra | saving, lora=lora)
    whole = run_here(run)
    broken = replace(run, output_dir=str(tmp_path))
    assert run_and_kill(broken, after_step=5) >= 5
    assert (tmp_path / "checkpoint-3").is_dir()
    assert not (tmp_path / "checkpoint-10").exists()
    resumed = run_here(replace(broken, resume=True))
    assert resumed.history.steps[0] > 3
    assert list(resumed.losses) == list(whole.losses) == [*range(1, 11)]
    pairs = zip(losses(whole), losses(resumed), strict=True)
    worst = max(abs(one - other) for one, other in pairs)
    expect(f"training.resume_max_loss_difference_{case}", worst, high=0)


def test_a_run_that_ends_too_early_is_an_error(tmp_path):
    run = Run("short", ROWS[:4], SHORT | {"max_steps": 1}, output_dir=str(tmp_path))
    with pytest.raises(SFTHelpersError, match="ended before step 5"):
        run_and_kill(run, after_step=5)


def outcome(right, groups="aabb", seed=0):
    from sft_helpers.evaluation import Answer, Answers

    messages = [{"role": "user", "content": "?"}, {"role": "assistant", "content": "x"}]
    rows = [{"messages": messages, "resident": group} for group in groups]
    replies = [Answer("x" if ok else "y", True, 1) for ok in right]
    return Outcome(
        name="made up",
        seed=seed,
        history=History(),
        log=[],
        answers=Answers(rows, replies),
        text_loss=None,
        eval_loss=None,
        measured=None,
        trainable=1,
        parameters=1,
        train_seconds=0.0,
        seconds=0.0,
    )


def test_the_interval_over_seeds_holds_the_luck_of_seeds_and_of_residents():
    same = Runs([outcome([True] * 4), outcome([True] * 4)]).exact_match
    assert same.low < same.value == same.high == 1
    seeds = Runs([outcome([True] * 4), outcome([False] * 4)]).exact_match
    assert (seeds.low, seeds.value, seeds.high) == (0, 0.5, 1)
    people = Runs([outcome([True, True, False, False])] * 2).exact_match
    assert (people.low, people.value, people.high) == (0, 0.5, 1)


def test_outcomes_with_other_questions_have_no_common_mean():
    with pytest.raises(DataError, match="do not share their questions"):
        _ = Runs([outcome([True] * 4), outcome([True] * 4, groups="abcd")]).exact_match
    with pytest.raises(DataError, match="do not share"):
        _ = Runs([]).exact_match
