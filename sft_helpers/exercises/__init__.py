"""Exercises that say what is wrong: one module of checks per notebook, run by one small engine.

An exercise named `quickstart-1` lives in `sft_helpers/exercises/quickstart.py` and is asked in
`notebooks/00_quickstart.ipynb`. The task stands in the notebook; title, hints, solution and check
stand in the module and nowhere else.
"""

from sft_helpers.exercises.blanks import yours_or
from sft_helpers.exercises.engine import card, check, exercise, grade
from sft_helpers.exercises.quiz import Question, quiz

__all__ = ["Question", "card", "check", "exercise", "grade", "quiz", "yours_or"]
