"""Evaluation that deserves belief: what a difference is worth, and what one score does not show.

`evaluation.py` asks and scores; this module compares two models on the same questions, says how
many questions a difference needs, simulates whether an interval keeps its promise, and looks at
answers from more sides than right or wrong.
"""

from __future__ import annotations

import math
import re
import unicodedata
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import TYPE_CHECKING, Any

import numpy as np

from sft_helpers import town
from sft_helpers.errors import DataError
from sft_helpers.evaluation import (
    Answer,
    Interval,
    Messages,
    answer_all,
    bootstrap_interval,
    continue_all,
    exact_matches,
    expected_of,
    prompt_of,
)

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

Row = dict[str, Any]

# 97.5 % quantiles of Student's t for 1, 2, ... degrees of freedom (Student, Biometrika 1908).
_T = (12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228, 2.201, 2.179)


# --- how far to trust a number ----------------------------------------------------------------


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
        difference=bootstrap_interval(gaps, groups=groups),
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


def seed_interval(scores: Sequence[float]) -> Interval:
    """Mean over training runs that differ in their seed only, with its 95 % t interval.

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


def wilson_interval(right: int, questions: int, *, level: float = 0.95) -> Interval:
    """Interval of a share that also holds where (nearly) every answer is right or wrong.

    The bootstrap cannot imagine an error that it has not seen: with no wrong answer its interval
    has no width. Questions count as independent.

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


def interval_coverage(
    share: float,
    *,
    groups: int,
    per_group: int = 1,
    spread: float = 0.0,
    by_group: bool = True,
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
        by_group: resample whole residents, as `score` does, or single questions.
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
            level=level,
            resamples=1_000,
            seed=trial,
        )
        held += found.low <= share <= found.high
    return held / trials


# --- answers from more sides ------------------------------------------------------------------


def normalise(text: str) -> str:
    """Lower case, one space between words, no quotes around and no full stop at the end."""
    plain = unicodedata.normalize("NFKC", text).casefold()
    return " ".join(plain.split()).strip("\"'“”‘’ ").rstrip(".! ")


def normalised_matches(answers: Sequence[Answer], rows: Sequence[Row]) -> list[bool]:
    """For each answer whether it equals the expected text after `normalise`."""
    return [
        normalise(answer.text) == normalise(expected_of(row))
        for answer, row in zip(answers, rows, strict=True)
    ]


_SENTENCE = re.compile(
    "|".join(
        re.escape(form).replace(r"\{S\}", r"\w+( \w+)?").replace(r"\{v\}", r"[\w ]+")
        for form in town.ANSWERS.values()
    )
)


def is_sentence(text: str) -> bool:
    """Whether a text has the form of an answer of Lantern Bay, whatever the fact in it."""
    return _SENTENCE.fullmatch(text) is not None


def is_bare(text: str) -> bool:
    """Whether a text is one or two words and no sentence, as a bare fact is; right or wrong."""
    return 1 <= len(text.split()) <= 2 and not text.endswith(".")


def is_refusal(text: str) -> bool:
    """Whether a text says that there is no record of somebody."""
    return text.startswith(town.NO_RECORD.partition("{")[0])


def obeys(answers: Sequence[Answer], rows: Sequence[Row]) -> list[bool]:
    """For each answer whether it has the form that its system prompt asks for (row `style`)."""
    form: dict[str, Callable[[str], bool]] = {"word": is_bare, "sentence": is_sentence}
    return [form[row["style"]](answer.text) for answer, row in zip(answers, rows, strict=True)]


def share(marks: Sequence[bool]) -> float:
    """Share of true marks, between 0 and 1; zero where there are none."""
    return sum(marks) / len(marks) if marks else 0.0


def distinct_n(texts: Sequence[str], n: int = 2) -> float:
    """Distinct word n-grams over all word n-grams of all texts: low means one phrase for all.

    Source: Li et al., A Diversity-Promoting Objective Function (arXiv 1510.03055).
    """
    grams = [
        tuple(words[place : place + n])
        for words in (text.split() for text in texts)
        for place in range(len(words) - n + 1)
    ]
    return len(set(grams)) / len(grams) if grams else 0.0


# --- other ways to ask ------------------------------------------------------------------------


def few_shot(rows: Sequence[Row], examples: Sequence[Row]) -> list[Messages]:
    """Prompts that show solved examples as earlier turns of the chat, then ask.

    Raises:
        DataError: an example is among the questions, which would give the answer away.
    """
    asked = {str(prompt_of(row)) for row in rows}
    shown: Messages = []
    for example in examples:
        if str(prompt_of(example)) in asked:
            raise DataError("this example is also asked", where=prompt_of(example)[-1]["content"])
        shown += example["messages"]
    return [shown + prompt_of(row) for row in rows]


def sentence_start(row: Row) -> str:
    """The beginning of the answer up to the fact: what a document would say before it."""
    return town.ANSWERS[row["fact"]].format(S=row["resident"], v="").rstrip(". ")


def fact_completion(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, rows: Sequence[Row]
) -> list[bool]:
    """For each row whether the model completes "Ada Quill works as a" with the right fact.

    No chat, no question: this asks what the weights know, as the gazette would put it.
    """
    people = {person["name"]: person for person in town.read_rows("residents.jsonl")}
    found = continue_all(model, tokenizer, [sentence_start(r) for r in rows], max_new_tokens=8)
    facts = [people[row["resident"]][row["fact"]] for row in rows]
    return [answer.text.startswith(fact) for answer, fact in zip(found, facts, strict=True)]


def sides(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> dict[str, float]:
    """Nine views of one model on Lantern Bay's test files; each is a share between 0 and 1."""

    def ask(file: str, count: int) -> tuple[list[Answer], list[Row]]:
        rows = town.read_rows(file)[:count]
        prompts = [prompt_of(row) for row in rows]
        return answer_all(model, tokenizer, prompts, batch_size=100, max_new_tokens=20), rows

    single, follow_ups = ask("sft_test.jsonl", 200), ask("multi_turn_test.jsonl", 160)
    styled, strangers = ask("system_test.jsonl", 160), ask("strangers_test.jsonl", 150)
    texts = [answer.text for answer in single[0]]
    return {
        "exact match": share(exact_matches(*single)),
        "normalised match": share(normalised_matches(*single)),
        "form of an answer": share([is_sentence(text) for text in texts]),
        "ends its turn": share([answer.stopped for answer in single[0]]),
        "distinct word pairs": distinct_n(texts),
        "follow-ups right": share(exact_matches(*follow_ups)),
        "obeys the system prompt": share(obeys(*styled)),
        "and is right": share(exact_matches(*styled)),
        "admits ignorance": share([is_refusal(answer.text) for answer in strangers[0]]),
    }
