"""Answers and scores: ask a model, and say how far to trust what it scored."""

from sft_helpers.evaluation.ask import Answer, Answers, ask, at_rest
from sft_helpers.evaluation.stats import (
    Interval,
    Paired,
    bootstrap_interval,
    interval_coverage,
    paired,
    questions_needed,
    seed_interval,
    wilson_interval,
)

__all__ = [
    "Answer", "Answers", "Interval", "Paired", "ask", "at_rest", "bootstrap_interval",
    "interval_coverage", "paired", "questions_needed", "seed_interval", "wilson_interval",
]  # fmt: skip
