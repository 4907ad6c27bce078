"""A multiple-choice quiz that works offline and explains every choice."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import anywidget
import traitlets
from markupsafe import Markup

from sft_helpers.display.html import Html, badge, page, prose, visible, visible_text
from sft_helpers.display.widgets import script, show, static_only
from sft_helpers.errors import DataError
from sft_helpers.exercises.engine import Record

_DISPLAY = Path(__file__).parents[1] / "display"


@dataclass(frozen=True)
class Question:
    """A question with its choices.

    Args:
        prompt: the question.
        choices: (text, whether it is right, why) for each choice; with several right ones the
            learner is asked for all of them.

    Raises:
        DataError: with fewer than two choices, none right, a text twice, or an explanation missing.
    """

    prompt: str
    choices: Sequence[tuple[str, bool, str]]

    def __post_init__(self) -> None:
        texts = [text.strip() for text, _, _ in self.choices]
        problem = None
        if not self.prompt.strip():
            problem = "the question is empty"
        elif len(texts) < 2 or not all(texts) or len(set(texts)) < len(texts):
            problem = "a question needs two or more choices, none empty, none twice"
        elif not any(right for _, right, _ in self.choices):
            problem = "no choice is right"
        elif not all(why.strip() for _, _, why in self.choices):
            problem = "every choice needs an explanation"
        if problem:
            raise DataError(problem, where=f"quiz question {self.prompt!r}")

    @property
    def several(self) -> bool:
        """Whether more than one choice is right."""
        return sum(right for _, right, _ in self.choices) > 1


class QuizView(anywidget.AnyWidget):
    """The live quiz; `results` holds for each question None, or whether the last try was right."""

    _esm = script("quiz.js")
    _css = _DISPLAY / "kit.css"
    title = traitlets.Unicode("Quiz").tag(sync=True)
    questions = traitlets.List(traitlets.Dict()).tag(sync=True)
    results: Any = traitlets.List().tag(sync=True)


def _block(text: str) -> Markup:
    return Markup("<bdi class='sft-text'>{}</bdi>").format(prose(text))


def quiz_html(questions: Sequence[Question], title: str = "Quiz") -> Html:
    """Return the static quiz: questions and choices, answers with explanations folded."""
    parts = [Markup("<div class='sft-title'>{}</div>").format(visible(title))]
    for number, question in enumerate(questions, start=1):
        choices = Markup("").join(
            Markup("<li>{}</li>").format(_block(text)) for text, _, _ in question.choices
        )
        reasons = Markup("").join(
            Markup("<li>{} {}<div class='sft-why'>{}</div></li>").format(
                badge(right), _block(text), _block(why)
            )
            for text, right, why in question.choices
        )
        parts.append(
            Markup(
                "<div class='sft-card'><b>{}. {}</b>{}<ol type='a'>{}</ol>"
                "<details><summary>Answer</summary><ol type='a'>{}</ol></details></div>"
            ).format(
                number,
                _block(question.prompt),
                Markup(" (choose all that are right)") if question.several else "",
                choices,
                reasons,
            )
        )
    return page(*parts)


def make_quiz(
    questions: Sequence[Question], title: str = "Quiz", record: Record | None = None
) -> QuizView:
    """Return the live quiz as a widget; `quiz` shows it."""
    view = QuizView(
        title=visible_text(title),
        questions=[
            {
                "prompt": visible_text(question.prompt),
                "several": question.several,
                "choices": [
                    {"text": visible_text(text), "right": right, "why": visible_text(why)}
                    for text, right, why in question.choices
                ],
            }
            for question in questions
        ],
        results=[None] * len(questions),
    )

    def remember(change: Any) -> None:
        for number, (old, new) in enumerate(zip(change["old"], change["new"], strict=False), 1):
            if record is not None and new is not None and new != old:
                record(f"{title}, question {number}", "ok" if new else "not yet")

    view.observe(remember, names="results")
    return view


def quiz(questions: Sequence[Question], title: str = "Quiz", record: Record | None = None) -> None:
    """Show a quiz: choose, check, read why; without live widgets the answers are folded.

    Args:
        questions: in the order in which they are asked.
        title: the heading.
        record: told `Quiz, question 3` and `ok` or `not yet` after each answer.

    Raises:
        DataError: if there are no questions.
    """
    if not questions:
        raise DataError("a quiz needs at least one question")
    widget = None if static_only() else make_quiz(questions, title, record)
    show(widget, html=quiz_html(questions, title), alt=f"{title}: {len(questions)} questions")
