"""What a score is worth: intervals, comparison in pairs, questions that a difference needs."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np

from sft_helpers.errors import DataError

# 97.5 % quantiles of Student's t for 1, 2, ... degrees of freedom (Student, Biometrika 1908).
_T = (12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228, 2.201, 2.179)


@dataclass(frozen=True)
class Interval:
    """A mean with its interval; `level` is the coverage asked for, such as 0.95."""

    value: float
    low: float
    high: float
    level: float = 0.95

    def __str__(self) -> str:
        return f"{self.value:.2f} [{self.low:.2f}, {self.high:.2f}]"


def bootstrap_interval(
    values: Sequence[float],
    *,
    groups: Sequence[object] | None = None,
    bounds: tuple[float, float] | None = (0.0, 1.0),
    level: float = 0.95,
    resamples: int = 5_000,
    seed: int = 0,
) -> Interval:
    """Percentile bootstrap interval of a mean, with a width also where all values are the same.

    Args:
        values: one number per question, such as 1.0 for right and 0.0 for wrong.
        groups: what each question belongs to. Questions about one resident stand or fall
            together, so whole groups are drawn again, not single questions; None treats every
            question as independent.
        bounds: the least and the largest value that a question can have. Resampling cannot
            imagine what it has not seen: where all values are the same, the interval allows for
            the share of other values that `level` cannot rule out (see `unseen`), at these
            bounds. None leaves the plain bootstrap, whose interval then has no width.
        level: coverage, such as 0.95.
        resamples: number of resamples.
        seed: seed of the resampling.

    Raises:
        DataError: there are no values, or not one group for each.

    Source: Efron and Tibshirani, An Introduction to the Bootstrap (1993), chapters 8 and 13.
    """
    if not values:
        raise DataError("there is nothing to average", hint="ask at least one question")
    array = np.asarray(values, dtype=float)
    labels = list(range(len(array))) if groups is None else list(groups)
    if len(labels) != len(array):
        raise DataError(f"{len(array)} values but {len(labels)} groups", hint="give one per value")
    numbers = {label: position for position, label in enumerate(dict.fromkeys(labels))}
    member = np.array([numbers[label] for label in labels])
    value = float(array.mean())
    if bounds is not None and array.min() == array.max():
        other = unseen(len(numbers), level)
        low, high = (value + other * (bound - value) for bound in bounds)
        return Interval(value, low, high, level)
    sums = np.bincount(member, weights=array)
    counts = np.bincount(member)
    drawn = np.random.default_rng(seed).integers(len(sums), size=(resamples, len(sums)))
    means = sums[drawn].sum(axis=1) / counts[drawn].sum(axis=1)
    tail = (1 - level) / 2
    low, high = np.quantile(means, [tail, 1 - tail])
    return Interval(value, float(low), float(high), level)


def unseen(groups: int, level: float = 0.95) -> float:
    """Largest share of a kind of answer that none of so many groups showed: Wilson's bound."""
    return wilson_interval(0, groups, level=level).high


def wilson_interval(right: int, questions: int, *, level: float = 0.95) -> Interval:
    """Interval of a share that also holds where (nearly) every answer is right or wrong.

    Questions count as independent.

    Source: Wilson, Probable inference, the law of succession, and statistical inference (1927).
    """
    if not 0 <= right <= questions or questions < 1:
        raise DataError(f"{right} right of {questions}", hint="count between 0 and all questions")
    z = NormalDist().inv_cdf((1 + level) / 2)
    share = right / questions
    centre = (share + z**2 / (2 * questions)) / (1 + z**2 / questions)
    half = z * math.sqrt(share * (1 - share) / questions + (z / (2 * questions)) ** 2)
    half /= 1 + z**2 / questions
    low, high = max(0.0, centre - half), min(1.0, centre + half)
    return Interval(share, min(share, low), max(share, high), level)


def seed_interval(scores: Sequence[float]) -> Interval:
    """Mean over training runs that differ in their seed only, with its 95 % t interval.

    It knows the scores and not the questions: equal scores leave it no width.

    Args:
        scores: one score per run; at least two.

    Raises:
        DataError: fewer than two scores: one run says nothing about the spread.
    """
    count = len(scores)
    if count < 2:
        raise DataError("one run has no spread", hint="train with at least two seeds")
    mean = float(np.mean(scores))
    quantile = _T[count - 2] if count - 2 < len(_T) else NormalDist().inv_cdf(0.975)
    half = quantile * float(np.std(scores, ddof=1)) / math.sqrt(count)
    return Interval(mean, mean - half, mean + half)


@dataclass(frozen=True)
class Paired:
    """Two models on the same questions.

    Attributes:
        difference: mean of second minus first, with its bootstrap interval.
        fixed: questions that only the second model answers right.
        broke: questions that only the first model answers right.
        same: questions on which both are right or both are wrong.
    """

    difference: Interval
    fixed: int
    broke: int
    same: int

    @property
    def decided(self) -> bool:
        """Whether the interval leaves out zero: the data speak for one of the two models."""
        return self.difference.low > 0 or self.difference.high < 0

    @property
    def disagreement(self) -> float:
        """Share of questions on which exactly one model is right; `questions_needed` wants it."""
        return (self.fixed + self.broke) / (self.fixed + self.broke + self.same)

    def __str__(self) -> str:
        verdict = "a difference" if self.decided else "no difference shown"
        return f"{self.difference}: {verdict} (fixed {self.fixed}, broke {self.broke})"


def paired(
    first: Sequence[float], second: Sequence[float], *, groups: Sequence[object] | None = None
) -> Paired:
    """Compare two models question by question: the bootstrap draws differences, not scores.

    Hard questions are hard for both models; taking differences first lets that cancel.

    Args:
        first, second: 1 for a right answer and 0 for a wrong one, in the same order of questions.
        groups: what each question belongs to; whole groups are drawn (see `bootstrap_interval`).

    Raises:
        DataError: the two lists differ in length or are empty.

    Source: Koehn, Statistical Significance Tests for Machine Translation Evaluation (EMNLP 2004).
    """
    if len(first) != len(second):
        raise DataError(
            f"{len(first)} answers against {len(second)}: these are not the same questions",
            hint="score both models on one list of questions, in one order",
        )
    gaps = [float(b) - float(a) for a, b in zip(first, second, strict=True)]
    return Paired(
        difference=bootstrap_interval(gaps, groups=groups, bounds=(-1.0, 1.0)),
        fixed=sum(gap > 0 for gap in gaps),
        broke=sum(gap < 0 for gap in gaps),
        same=sum(gap == 0 for gap in gaps),
    )


def questions_needed(
    difference: float, disagreement: float, *, power: float = 0.8, level: float = 0.95
) -> int:
    """Questions for which a true difference is noticed with probability `power`.

    Args:
        difference: difference in exact match between the models, such as 0.02.
        disagreement: share of questions on which exactly one of them is right; at least as large
            as the difference. `Paired.disagreement` measures it.
        power: how often a test should notice the difference.
        level: confidence of the test.

    The questions count as independent: several about one person are worth less.

    Raises:
        DataError: a difference of zero, or larger than the disagreement.

    Source: Connor, Sample size for testing differences in proportions for the paired-sample
    design, Biometrics 43 (1987).
    """
    size = abs(difference)
    if not 0 < size <= disagreement <= 1:
        raise DataError(
            f"a difference of {difference} with a disagreement of {disagreement} cannot be",
            hint="the models must disagree on at least as many questions as the scores differ by",
        )
    normal = NormalDist()
    confidence, strength = normal.inv_cdf((1 + level) / 2), normal.inv_cdf(power)
    spread = math.sqrt(disagreement - size**2)
    return math.ceil(((confidence * math.sqrt(disagreement) + strength * spread) / size) ** 2)


def interval_coverage(
    share: float,
    *,
    groups: int,
    per_group: int = 1,
    spread: float = 0.0,
    by_group: bool = True,
    bounds: tuple[float, float] | None = (0.0, 1.0),
    trials: int = 1_000,
    level: float = 0.95,
    seed: int = 0,
) -> float:
    """How often `bootstrap_interval` holds the true share, in simulated evaluations.

    Each trial draws the abilities of all groups anew (a model may know one resident better than
    another), then right and wrong answers, then asks for the interval.

    Args:
        share: true share of right answers.
        groups: residents asked about.
        per_group: questions about each.
        spread: how much residents differ, from 0 (not at all) to just under 1 (all or nothing):
            the correlation of two answers about one resident.
        by_group: resample whole residents, as `ask` does, or single questions.
        bounds: as for `bootstrap_interval`; None for the plain bootstrap.
        trials: simulated evaluations; with 1,000 the result is sure to about 0.015.
        level: coverage asked for.
        seed: seed of the simulation.
    """
    rng = np.random.default_rng(seed)
    labels = np.repeat(np.arange(groups), per_group)
    held = 0
    for trial in range(trials):
        ability = np.full(groups, share)
        if spread > 0:
            weight = 1 / spread - 1
            ability = rng.beta(share * weight, (1 - share) * weight, size=groups)
        right = rng.random(groups * per_group) < ability[labels]
        found = bootstrap_interval(
            right.astype(float).tolist(),
            groups=labels.tolist() if by_group else None,
            bounds=bounds,
            level=level,
            resamples=1_000,
            seed=trial,
        )
        held += found.low <= share <= found.high
    return held / trials
