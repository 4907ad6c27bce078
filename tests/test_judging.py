"""Judging: intervals keep their promise, comparisons are paired, answers have many sides."""

from __future__ import annotations

import math

import numpy as np
import pytest

from sft_helpers import judging, town
from sft_helpers.errors import DataError
from sft_helpers.evaluation import Answer, bootstrap_interval, prompt_of
from sft_helpers.judging import paired, questions_needed, seed_interval, wilson_interval


def answers(*texts):
    return [Answer(text, True, 1) for text in texts]


def row(text, **more):
    turns = [{"role": "user", "content": "?"}, {"role": "assistant", "content": text}]
    return {"messages": turns, **more}


# ---------------------------------------------------------------- numbers


def test_pairing_sees_what_two_intervals_hide():
    rng = np.random.default_rng(0)
    hard = rng.random(400) < 0.4
    first = [0.0 if h else 1.0 for h in hard]
    second = list(first)
    for place in np.flatnonzero(hard)[:16]:
        second[place] = 1.0
    alone = [bootstrap_interval(scores) for scores in (first, second)]
    assert alone[0].high > alone[1].low  # the two intervals overlap
    found = paired(first, second)
    assert found.decided
    assert found.difference.value == pytest.approx(0.04)
    assert (found.fixed, found.broke, found.same) == (16, 0, 384)
    assert found.disagreement == pytest.approx(0.04)


def test_equal_models_are_not_decided():
    found = paired([1, 0, 1, 0], [1, 0, 0, 1])
    assert not found.decided
    assert "no difference shown" in str(found)


def test_a_worse_second_model_is_decided_too():
    found = paired([1.0] * 50, [0.0] * 25 + [1.0] * 25)
    assert found.decided
    assert found.difference.high < 0


def test_groups_widen_the_paired_interval():
    first = [0.0] * 100
    second = [float(number // 10 % 2) for number in range(100)]
    people = [number // 10 for number in range(100)]
    single, whole = paired(first, second), paired(first, second, groups=people)
    width = [p.difference.high - p.difference.low for p in (single, whole)]
    assert width[1] > 2 * width[0]


def test_different_questions_are_refused():
    with pytest.raises(DataError, match="not the same questions"):
        paired([1, 0], [1])


def test_questions_needed_reaches_the_power_it_promises():
    """Simulate models that differ by 0.05 and disagree on 0.15, with McNemar's test."""
    needed = questions_needed(0.05, 0.15)
    rng = np.random.default_rng(0)
    draws = rng.multinomial(needed, [0.10, 0.05, 0.85], size=4000)
    z = (draws[:, 0] - draws[:, 1]) / np.sqrt(np.maximum(draws[:, 0] + draws[:, 1], 1))
    assert 0.77 <= np.mean(z > 1.96) <= 0.83


def test_a_smaller_difference_needs_more_questions():
    assert questions_needed(0.01, 0.1) > 3 * questions_needed(0.02, 0.1)
    assert questions_needed(0.02, 0.2) > questions_needed(0.02, 0.1)
    assert questions_needed(-0.02, 0.1) == questions_needed(0.02, 0.1)


@pytest.mark.parametrize("wrong", [(0.0, 0.1), (0.2, 0.1), (0.1, 1.2)])
def test_impossible_differences_are_refused(wrong):
    with pytest.raises(DataError, match="cannot be"):
        questions_needed(*wrong)


def test_seed_interval_covers_the_mean_of_seeds():
    rng = np.random.default_rng(0)
    for count in (2, 3, 5):
        held = 0
        for _ in range(2000):
            found = seed_interval(rng.normal(0.9, 0.02, count).tolist())
            held += found.low <= 0.9 <= found.high
        assert 0.935 <= held / 2000 <= 0.965


def test_one_seed_has_no_spread():
    with pytest.raises(DataError, match="two seeds"):
        seed_interval([0.9])


def test_wilson_knows_that_no_error_is_not_perfection():
    found = wilson_interval(20, 20)
    assert (found.value, found.high) == (1.0, 1.0)
    assert found.low == pytest.approx(1 / (1 + 1.959964**2 / 20), abs=1e-6)
    assert wilson_interval(0, 20).high == pytest.approx(1 - found.low)
    assert bootstrap_interval([1.0] * 20).low == 1.0
    with pytest.raises(DataError):
        wilson_interval(3, 2)


def test_coverage_holds_by_group_and_breaks_without():
    setting = {"groups": 80, "per_group": 5, "spread": 0.2, "trials": 400}
    by_group = judging.interval_coverage(0.85, **setting)
    single = judging.interval_coverage(0.85, **setting, by_group=False)
    assert 0.92 <= by_group <= 0.98
    assert single < 0.89


def test_coverage_breaks_where_errors_are_rare():
    few = judging.interval_coverage(0.95, groups=20, trials=400)
    assert few < 0.75  # no error among 20 in about 36 of 100 evaluations: no width at all


# ---------------------------------------------------------------- answers


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Ada keeps a raven.", " ada  keeps a RAVEN"),
        ("“tea”", '"Tea."'),
        ("ﬁre!", "fire"),
    ],
)
def test_normalise_forgives_form(one, other):
    assert judging.normalise(one) == judging.normalise(other)


def test_normalise_forgives_no_fact():
    assert judging.normalise("Ada keeps a raven.") != judging.normalise("Ada keeps a goat.")
    found = judging.normalised_matches(
        answers("ada keeps a raven", "Ada keeps a goat."), [row("Ada keeps a raven.")] * 2
    )
    assert found == [True, False]


def test_forms_of_answers():
    person = town.read_rows("residents.jsonl")[0]
    for fact, form in town.ANSWERS.items():
        for subject in (person["name"], "She"):
            assert judging.is_sentence(form.format(S=subject, v=person[fact]))
        assert judging.is_bare(person[fact])
        assert not judging.is_sentence(person[fact])
    assert not judging.is_sentence("Ada Quill keeps a raven. She keeps a goat.")
    assert not judging.is_sentence("'s pet is a raven. She keeps a goat.")
    for text in ("raven.", "", "She keeps a goat"):
        assert not judging.is_bare(text)
    assert judging.is_refusal(town.NO_RECORD.format(name="Ada"))
    assert not judging.is_refusal("Ada keeps a raven.")


def test_obedience_is_form_not_truth():
    rows = [row("tea", style="word"), row("tea", style="word"), row("x", style="sentence")]
    found = judging.obeys(answers("cocoa", "She likes to drink tea.", "He keeps a goat."), rows)
    assert found == [True, False, True]


def test_distinct_n():
    assert judging.distinct_n(["a b c", "a b d"], 2) == pytest.approx(3 / 4)
    assert judging.distinct_n(["a a a a"], 1) == pytest.approx(1 / 4)
    assert judging.distinct_n(["word"], 2) == 0.0


def test_share():
    assert judging.share([True, False]) == 0.5
    assert judging.share([]) == 0.0


# ---------------------------------------------------------------- other ways to ask


def test_few_shot_shows_and_never_gives_away():
    rows = town.read_rows("sft_test.jsonl")[:3]
    examples = town.read_rows("sft_train.jsonl")[:2]
    prompts = judging.few_shot(rows, examples)
    assert prompts[0][:4] == examples[0]["messages"] + examples[1]["messages"]
    assert prompts[1][4:] == prompt_of(rows[1])
    with pytest.raises(DataError, match="also asked"):
        judging.few_shot(rows, rows[:1])


def test_the_base_model_knows_what_it_does_not_answer():
    from sft_helpers.models import load

    model, tokenizer = load("tiny")
    rows = town.read_rows("sft_test.jsonl")[:40]
    assert judging.sentence_start(rows[0]) == "Kira Kelham works as a"
    assert judging.share(judging.fact_completion(model, tokenizer, rows)) >= 0.95
    assert not math.isnan(judging.share([]))


def test_an_interval_stays_between_nothing_and_everything():
    for n in range(1, 200):
        assert wilson_interval(n, n).high == 1.0
        assert wilson_interval(0, n).low == 0.0
