"""Every exercise: the stub is blank, the solution right, each wrong answer gets its sentence.

`exercises.json` holds the answers as source text: it is run, and the last name that it binds is
the answer. Kinds of entries: `stub`, `solution`, `wrong`, and `form` (right in another form).
"""

from __future__ import annotations

import ast
import linecache
from typing import Any

from tests.golden.compare import WRITE, compare, read


# --- where the package is asked: a rebuilder points these at the new names ---------------------
def graded(exercise: str, answer: Any) -> tuple[str, str]:
    """Verdict (todo, ok, not yet) and sentence."""
    from sft_helpers.exercises import grade

    outcome = grade(exercise, answer)
    return outcome.status, outcome.message


def cards() -> dict[str, dict[str, Any]]:
    """What a card shows, by exercise."""
    from sft_helpers.exercises.data import topic, topics

    return {
        name: {
            "title": made.title,
            "difficulty": made.level,
            "minutes": made.minutes,
            "hints": made.hints,
            "solution": made.solution,
            "praise": made.praise,
        }
        for one in topics()
        for name, made in topic(one).exercises.items()
    }


def quizzes() -> dict[str, list[Any]]:
    """The questions of each lesson's quiz; for the clinic also those about each patient."""
    from sft_helpers.exercises.data import topic, topics

    found = {name: list(topic(name).quiz) for name in topics()}
    asked = topic("pitfall_clinic").asked
    return found | {f"patient {name}": [question] for name, question in asked.items()}


# -----------------------------------------------------------------------------------------------


def made_of(source: str, name: str) -> Any:
    """Run an answer's source and return what its last statement binds."""
    file = f"<{name}>"  # known to linecache, as a notebook's cell is: a stub is told by its source
    linecache.cache[file] = (len(source), None, source.splitlines(keepends=True), file)
    space: dict[str, Any] = {"__name__": "answers"}
    exec(compile(source, file, "exec"), space)
    last = ast.parse(source).body[-1]
    return space[last.name if isinstance(last, ast.FunctionDef) else last.targets[0].id]


def test_each_answer_gets_its_verdict_and_its_sentence() -> None:
    found = {}
    for key, entry in read("exercises.json").items():
        answer = made_of(entry["answer"], key)
        verdict, sentence = graded(key.split()[0], answer)
        found[key] = {"verdict": verdict, "sentence": sentence, "answer": entry["answer"]}
    compare("exercises.json", found)
    kinds = {key.split()[1]: set[str]() for key in found}
    for key, entry in found.items():
        kinds[key.split()[1]].add(entry["verdict"])
    assert kinds == {"stub": {"todo"}, "solution": {"ok"}, "form": {"ok"}, "wrong": {"not yet"}}


def test_cards_show_what_they_showed() -> None:
    found = cards()
    assert WRITE or found.keys() == {key.split()[0] for key in read("exercises.json")}
    compare("cards.json", found)


def test_quizzes_ask_and_explain_what_they_did() -> None:
    entries = {
        f"{lesson} {number}": {"prompt": question.prompt, "choices": question.choices}
        for lesson, questions in quizzes().items()
        for number, question in enumerate(questions, start=1)
    }
    compare("quizzes.json", entries)
