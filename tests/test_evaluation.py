"""Answers and scores: batched equals one at a time, and intervals cover what they claim."""

import numpy as np
import pytest

from sft_helpers import evaluation, town
from sft_helpers.errors import DataError, ModelError
from sft_helpers.evaluation import Answer


@pytest.fixture(scope="module")
def tiny():
    from sft_helpers.models import load

    return load("tiny")


def _row(answer, resident="A"):
    turns = [{"role": "user", "content": "?"}, {"role": "assistant", "content": answer}]
    return {"messages": turns, "resident": resident}


def _answer(text, stopped=True):
    return Answer(text, stopped, 1)


def test_batched_answers_equal_single_ones_in_order(tiny):
    model, tokenizer = tiny
    rows = town.read_rows("sft_test.jsonl")[:8] + town.read_rows("multi_turn_test.jsonl")[:8]
    prompts = [evaluation.prompt_of(row) for row in rows]
    alone = [evaluation.answer_all(model, tokenizer, [prompt])[0] for prompt in prompts]
    together = evaluation.answer_all(model, tokenizer, prompts, batch_size=5)
    assert together == alone


def test_answers_equal_those_of_transformers_own_pipeline(tiny):
    from transformers import pipeline

    model, tokenizer = tiny
    prompt = evaluation.prompt_of(town.read_rows("sft_test.jsonl")[0])
    pipe = pipeline("text-generation", model=model, tokenizer=tokenizer)
    [result] = pipe(prompt, max_new_tokens=40, do_sample=False)
    [mine] = evaluation.answer_all(model, tokenizer, [prompt], max_new_tokens=40)
    theirs = result["generated_text"][-1]["content"].replace("<|im_end|>", "").strip()
    assert mine.text.replace("<|endoftext|>", "").strip() == theirs.replace("<|endoftext|>", "")


def test_training_mode_is_restored(tiny):
    model, tokenizer = tiny
    for mode in (True, False):
        model.train(mode)
        evaluation.answer_all(model, tokenizer, [[{"role": "user", "content": "Hi"}]])
        assert model.training is mode


def test_a_token_limit_is_not_a_stop(tiny):
    model, tokenizer = tiny
    [answer] = evaluation.answer_all(
        model, tokenizer, [[{"role": "user", "content": "Hi"}]], max_new_tokens=1
    )
    assert answer.tokens <= 1
    assert not answer.stopped or answer.text == ""


def test_stop_tokens_join_model_and_tokenizer(tiny):
    from copy import deepcopy

    model, tokenizer = tiny
    other = deepcopy(model)
    other.generation_config.eos_token_id = [0]
    assert evaluation.stop_tokens(other, tokenizer) == sorted({0, tokenizer.eos_token_id})


def test_cut_stops_at_the_first_end_token(tiny):
    _, tokenizer = tiny
    ids = tokenizer("It rains.")["input_ids"]
    end = tokenizer.eos_token_id
    answer = evaluation._cut([*ids, end, *ids, end], [end], tokenizer)
    assert answer == Answer("It rains.", True, len(ids) + 1)
    assert evaluation._cut(ids, [end], tokenizer) == Answer("It rains.", False, len(ids))


def test_without_chat_template_there_is_a_next_step(tiny):
    from copy import deepcopy

    model, tokenizer = tiny
    bare = deepcopy(tokenizer)
    bare.chat_template = None
    with pytest.raises(ModelError, match="chat_template"):
        evaluation.answer_all(model, bare, [[{"role": "user", "content": "Hi"}]])


def test_score_counts_exact_matches_and_stops():
    rows = [_row("yes", "A"), _row("yes", "B"), _row("no", "C"), _row("no", "D")]
    answers = [_answer("yes"), _answer("Yes"), _answer("no", False), _answer("no, no")]
    result = evaluation.score(answers, rows)
    assert result.questions == 4
    assert result.exact_match.value == 0.5
    assert result.stop_rate == 0.75
    assert result.exact_match.low < 0.5 < result.exact_match.high


def test_answers_and_rows_must_pair_up():
    with pytest.raises(ValueError, match="argument"):
        evaluation.score([_answer("yes")], [_row("yes"), _row("no")])


def test_interval_covers_the_truth_about_as_often_as_it_says():
    rng = np.random.default_rng(0)
    hits = 0
    for trial in range(300):
        draws = (rng.random(200) < 0.8).astype(float)
        interval = evaluation.bootstrap_interval(list(draws), resamples=400, seed=trial)
        hits += interval.low <= 0.8 <= interval.high
    assert 0.90 <= hits / 300 <= 0.98


def test_groups_widen_the_interval_of_questions_that_stand_or_fall_together():
    values = [float(group % 2) for group in range(40) for _ in range(5)]
    groups = [group for group in range(40) for _ in range(5)]
    single = evaluation.bootstrap_interval(values)
    grouped = evaluation.bootstrap_interval(values, groups=groups)
    assert grouped.value == single.value
    ratio = (grouped.high - grouped.low) / (single.high - single.low)
    assert ratio == pytest.approx(np.sqrt(5), rel=0.2)


def test_interval_is_reproducible_and_refuses_nothing():
    values = [0.0, 1.0, 1.0]
    assert evaluation.bootstrap_interval(values) == evaluation.bootstrap_interval(values)
    with pytest.raises(DataError, match="nothing to average"):
        evaluation.bootstrap_interval([])
    with pytest.raises(DataError, match="3 values but 2 groups"):
        evaluation.bootstrap_interval(values, groups=["a", "b"])


def test_compare_pairs_answers_with_questions():
    [row] = evaluation.compare([_row("yes")], [_answer("no")], [_answer("yes")])
    assert row == {
        "question": "?",
        "expected": "yes",
        "before": "no",
        "after": "yes",
        "before_ok": False,
        "after_ok": True,
    }


@pytest.mark.parametrize("row", [{}, {"messages": []}, {"messages": [{"role": "user"}]}])
def test_a_row_without_an_answer_is_named(row):
    with pytest.raises(DataError, match="assistant"):
        evaluation.prompt_of(row)
