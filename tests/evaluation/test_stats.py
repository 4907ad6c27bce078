"""Intervals keep their promise, comparisons are paired, and nothing is certain without a width."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sft_helpers.errors import DataError
from sft_helpers.evaluation import (
    bootstrap_interval,
    interval_coverage,
    paired,
    questions_needed,
    seed_interval,
    wilson_interval,
)


def width(interval):
    return interval.high - interval.low


# ---------------------------------------------------------------- one score


@given(st.lists(st.tuples(st.integers(0, 5), st.booleans()), min_size=1, max_size=40))
def test_an_interval_holds_its_mean_and_has_a_width(marks):
    groups, values = zip(*marks, strict=True)
    found = bootstrap_interval(list(map(float, values)), groups=groups, resamples=200)
    assert 0 <= found.low <= found.value <= found.high <= 1
    assert found.value == np.mean(values)
    if len(set(values)) == 1:
        assert width(found) > 0
        assert width(bootstrap_interval(list(map(float, values)), bounds=None, resamples=9)) == 0


def test_groups_widen_the_interval_of_questions_that_stand_or_fall_together():
    values = [float(group % 2) for group in range(40) for _ in range(5)]
    groups = [group for group in range(40) for _ in range(5)]
    single, grouped = bootstrap_interval(values), bootstrap_interval(values, groups=groups)
    assert grouped.value == single.value
    assert width(grouped) / width(single) == pytest.approx(np.sqrt(5), rel=0.2)
    assert bootstrap_interval(values) == single  # the same draws every time


def test_what_has_no_interval_is_refused():
    with pytest.raises(DataError, match="nothing to average"):
        bootstrap_interval([])
    with pytest.raises(DataError, match="3 values but 2 groups"):
        bootstrap_interval([0.0, 1.0, 1.0], groups=["a", "b"])
    with pytest.raises(DataError):
        wilson_interval(3, 2)
    with pytest.raises(DataError, match="two seeds"):
        seed_interval([0.9])


def test_coverage_holds_by_group_and_breaks_without():
    setting = {"groups": 80, "per_group": 5, "spread": 0.2, "trials": 400}
    assert 0.92 <= interval_coverage(0.85, **setting) <= 0.98
    assert interval_coverage(0.85, **setting, by_group=False) < 0.89


def test_coverage_of_rare_errors_breaks_in_the_plain_bootstrap_only():
    setting = {"groups": 20, "trials": 400}
    # no error among 20 in about 36 of 100 evaluations: no width at all
    assert interval_coverage(0.95, **setting, bounds=None) < 0.75
    assert interval_coverage(0.95, **setting) >= 0.95


def test_wilson_knows_that_no_error_is_not_perfection():
    for n in range(1, 200):
        every, none = wilson_interval(n, n), wilson_interval(0, n)
        assert (every.value, every.high, none.low) == (1.0, 1.0, 0.0)
        assert none.high == pytest.approx(1.959964**2 / (n + 1.959964**2), abs=1e-6)
        assert every.low == pytest.approx(1 - none.high)


def test_seed_interval_covers_the_mean_of_seeds():
    rng = np.random.default_rng(0)
    for count in (2, 3, 5):
        found = [seed_interval(rng.normal(0.9, 0.02, count).tolist()) for _ in range(2000)]
        held = np.mean([one.low <= 0.9 <= one.high for one in found])
        assert 0.935 <= held <= 0.965


# ---------------------------------------------------------------- two models


def test_pairing_sees_what_two_intervals_hide():
    hard = np.random.default_rng(0).random(400) < 0.4
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


@pytest.mark.parametrize(
    ("first", "second", "decided"),
    [
        ([1, 0, 1, 0], [1, 0, 0, 1], False),
        ([1.0] * 50, [0.0] * 25 + [1.0] * 25, True),  # worse is a difference too
        ([0.0] * 30, [0.0] * 30, False),
        ([0.0] * 30, [1.0] * 30, True),
    ],
)
def test_a_difference_is_decided_or_not_shown(first, second, decided):
    found = paired(first, second)
    assert found.decided is decided
    assert ("no difference shown" in str(found)) is not decided
    assert -1 <= found.difference.low < found.difference.high <= 1


def test_groups_widen_the_paired_interval_and_questions_must_be_the_same():
    second = [float(number // 10 % 2) for number in range(100)]
    people = [number // 10 for number in range(100)]
    single, whole = paired([0.0] * 100, second), paired([0.0] * 100, second, groups=people)
    assert width(whole.difference) > 2 * width(single.difference)
    with pytest.raises(DataError, match="not the same questions"):
        paired([1, 0], [1])


def test_questions_needed_reaches_the_power_it_promises():
    """Simulate models that differ by 0.05 and disagree on 0.15, with McNemar's test."""
    needed = questions_needed(0.05, 0.15)
    draws = np.random.default_rng(0).multinomial(needed, [0.10, 0.05, 0.85], size=4000)
    z = (draws[:, 0] - draws[:, 1]) / np.sqrt(np.maximum(draws[:, 0] + draws[:, 1], 1))
    assert 0.77 <= np.mean(z > 1.96) <= 0.83
    assert questions_needed(0.01, 0.1) > 3 * questions_needed(0.02, 0.1)
    assert questions_needed(0.02, 0.2) > questions_needed(0.02, 0.1)
    assert questions_needed(-0.02, 0.1) == questions_needed(0.02, 0.1)


@pytest.mark.parametrize("wrong", [(0.0, 0.1), (0.2, 0.1), (0.1, 1.2)])
def test_impossible_differences_are_refused(wrong):
    with pytest.raises(DataError, match="cannot be"):
        questions_needed(*wrong)
