"""A multiple-choice quiz that works offline and explains every choice."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import anywidget
import traitlets
from markupsafe import Markup

from sft_helpers.display.html import Html, badge, page, prose, visible, visible_text
from sft_helpers.display.widgets import script, show, static_only
from sft_helpers.errors import DataError
from sft_helpers.exercises.data import Question
from sft_helpers.exercises.engine import Record

_DISPLAY = Path(__file__).parents[1] / "display"


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
    """Return the live quiz as a widget, which tells `record` what was answered; `quiz` shows it."""
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
        title: the heading; also the name in the progress file.
        record: called with what was answered and `ok` or `not yet`.

    Raises:
        DataError: if there are no questions.
    """
    if not questions:
        raise DataError("a quiz needs at least one question")
    widget = None if static_only() else make_quiz(questions, title, record)
    show(widget, html=quiz_html(questions, title), alt=f"{title}: {len(questions)} questions")
