"""Exercises that say what is wrong: one YAML file per notebook, run by one small engine.

The task stands in the notebook; title, hints, solution, check and every sentence stand in the YAML
and nowhere else. `data` reads it, `rules` run its steps, `checks` holds those that need Python.
"""

from sft_helpers.exercises.answers import yours_or
from sft_helpers.exercises.engine import card, check, grade
from sft_helpers.exercises.quiz import quiz

__all__ = ["card", "check", "grade", "quiz", "yours_or"]
