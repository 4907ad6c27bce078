"""Answers and scores: batched equals one at a time, and what a model said shows itself."""

from __future__ import annotations

import pickle
import re
from copy import deepcopy

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sft_helpers import town
from sft_helpers.errors import DataError, ModelError
from sft_helpers.evaluation import Answer, Answers, ask
from sft_helpers.evaluation.ask import _cut, _end_tokens


@pytest.fixture(scope="module")
def tiny():
    from sft_helpers.models import load

    return load("tiny")


def row(answer, **more):
    turns = [{"role": "user", "content": "?"}, {"role": "assistant", "content": answer}]
    return {"messages": turns, **more}


def said(*texts, stopped=True):
    return [Answer(text, stopped, 1) for text in texts]


# ---------------------------------------------------------------- asking


def test_batched_answers_equal_single_ones_in_order(tiny):
    rows = town.read_rows("sft_test.jsonl")[:8] + town.read_rows("multi_turn_test.jsonl")[:8]
    alone = [ask(*tiny, [one], progress=None)[0] for one in rows]
    assert list(ask(*tiny, rows, batch_size=5)) == alone
    texts = [
        tiny[1].apply_chat_template(r["messages"][:-1], tokenize=False, add_generation_prompt=True)
        for r in rows
    ]
    assert list(ask(*tiny, rows, prompts=texts)) == alone  # a text goes as it stands
    assert list(ask(*tiny, rows, prompts=[r["messages"][:-1] for r in rows])) == alone


def test_a_text_is_a_question_and_answers_equal_transformers_own(tiny):
    from transformers import pipeline

    model, tokenizer = tiny
    pipe = pipeline("text-generation", model=model, tokenizer=tokenizer)
    prompt = [{"role": "user", "content": "Where does Ada Quill live?"}]
    [result] = pipe(prompt, max_new_tokens=40, do_sample=False)
    [mine] = ask(model, tokenizer, ["Where does Ada Quill live?"])
    texts = [result["generated_text"][-1]["content"], mine.text]
    for special in [*tokenizer.all_special_tokens, "<|im_start|>"]:  # their pipeline drops some
        texts = [text.replace(special, "") for text in texts]
    assert texts[0].strip() == texts[1].strip()


def test_the_model_is_left_as_it_was_and_a_limit_is_no_stop(tiny):
    model, tokenizer = tiny
    for mode in (True, False):
        model.train(mode)
        [answer] = ask(model, tokenizer, ["Hi"], max_new_tokens=1)
        assert model.training is mode
    assert answer.tokens <= 1
    assert not answer.stopped or answer.text == ""


def test_an_answer_ends_at_the_first_token_that_model_or_tokenizer_ends_with(tiny):
    model, tokenizer = tiny
    other = deepcopy(model)
    other.generation_config.eos_token_id = [0]
    end = tokenizer.eos_token_id
    assert _end_tokens(other, tokenizer) == sorted({0, end})
    ids = tokenizer("It rains.")["input_ids"]
    assert _cut([*ids, end, *ids, end], [end], tokenizer) == Answer("It rains.", True, len(ids) + 1)
    assert _cut(ids, [end], tokenizer) == Answer("It rains.", False, len(ids))


def test_what_cannot_be_asked_is_named(tiny):
    model, tokenizer = tiny
    bare = deepcopy(tokenizer)
    bare.chat_template = None
    with pytest.raises(ModelError, match="chat_template"):
        ask(model, bare, ["Hi"])
    for nothing in ({}, {"messages": []}):
        with pytest.raises(DataError, match="no conversation"):
            ask(model, tokenizer, [nothing])
    with pytest.raises(DataError, match="1 prompts for 2 rows"):
        ask(model, tokenizer, ["a", "b"], prompts=["a"])


# ---------------------------------------------------------------- scores


def test_scores_count_exact_matches_and_stops():
    rows = [row("yes", resident="A"), row("yes", resident="B"), row("no", resident="B"), row("no")]
    found = Answers(rows, [*said("yes", "Yes", "no"), *said("no, no", stopped=False)])
    assert found.right == [True, False, True, False]
    assert found.groups == ["A", "B", "B", "3"]
    assert found.exact_match.low < found.exact_match.value == 0.5 < found.exact_match.high
    assert found.summary() == {
        "questions": 4,
        "exact_match": vars(found.exact_match),
        "stop_rate": 0.75,
    }
    assert str(found) == f"exact match {found.exact_match}, stop rate 0.75 (4 questions)"
    assert repr([found]) == f"[{found}]"
    assert pickle.loads(pickle.dumps(found)) == found


def test_a_score_keeps_a_width_where_all_are_wrong_or_right():
    rows = [row("yes", resident=str(n // 5)) for n in range(400)]
    none, every = Answers(rows, said(*["no"] * 400)), Answers(rows, said(*["yes"] * 400))
    assert (none.exact_match.low, none.exact_match.value) == (0, 0)
    assert none.exact_match.high == pytest.approx(1.96**2 / (80 + 1.96**2), abs=1e-3)  # 80 people
    assert (every.exact_match.high, every.exact_match.value) == (1, 1)
    assert every.exact_match.low == pytest.approx(1 - none.exact_match.high)


def test_without_expected_answers_there_is_no_score():
    question = {"messages": [{"role": "user", "content": "?"}]}
    found = Answers([question], said("yes"))
    assert str(found) == "1 answers"
    with pytest.raises(DataError, match="does not end with an assistant turn"):
        _ = found.exact_match
    with pytest.raises(ValueError, match="argument"):
        _ = Answers([row("yes"), row("no")], said("yes")).right
    with pytest.raises(DataError, match="at least one question"):
        _ = Answers([], []).stopped


def test_compare_pairs_answers_with_questions():
    before, after = Answers([row("yes")], said("no")), Answers([row("yes")], said("yes"))
    [line] = before.compare(after)
    assert line == {
        "question": "?",
        "expected": "yes",
        "before": "no",
        "after": "yes",
        "before_ok": False,
        "after_ok": True,
    }


@settings(max_examples=30, deadline=None)
@given(st.text(max_size=30), st.text(max_size=30), st.booleans())
def test_answers_show_themselves_and_any_text_stays_text(question, answer, known):
    evil = f"<script>alert(1)</script>{answer}<img src=x onerror=alert(1)>"
    turns = [{"role": "user", "content": f"<b>{question}"}]
    turns += [{"role": "assistant", "content": evil}] * known
    html = Answers([{"messages": turns}], said(evil))._repr_html_()
    assert not any(part in html for part in ("<script", "<img", "<b>"))
    assert "&lt;script&gt;" in html
    assert "onerror=alert(1)&gt;" in html  # to the last letter
    assert ("✓ right" in html) is known
    assert not re.search("[\u202a-\u202e\u2066-\u2069\x00-\x08\x7f]", html)  # nothing hidden
