"""The course's own exercises: cells and YAML match one to one, and each is asked in full."""

from __future__ import annotations

import ast
import json
import re
from collections import Counter
from itertools import chain
from pathlib import Path
from statistics import mean
from typing import Any

import nbformat
import pytest

from sft_helpers.course import Notebook, course
from sft_helpers.exercises import engine
from sft_helpers.exercises.data import Question, topic, topic_for, topics
from sft_helpers.exercises.solutions import build_solutions, exercise_cells
from sft_helpers.lesson import expect

NOTEBOOKS = Path(__file__).parents[2] / "notebooks"
PATHS = sorted(NOTEBOOKS.glob("*.ipynb"))


def called(notebook, method: str) -> set[int]:
    """Numbers of the exercises that code cells hand to `lesson.card` or `lesson.check`."""
    code = "\n".join(cell.source for cell in notebook.cells if cell.cell_type == "code")
    return {int(number) for number in re.findall(rf"^ *lesson\.{method}\((\d+)", code, re.M)}


def test_every_file_of_exercises_has_a_notebook():
    assert [path.stem for path in topics().values()] == [path.stem for path in PATHS]


def test_solutions_can_be_built(tmp_path):
    build_solutions(NOTEBOOKS, tmp_path)


@pytest.mark.parametrize("path", PATHS, ids=lambda p: p.stem)
def test_each_exercise_is_asked_shown_and_checked(path):
    notebook = nbformat.read(path, 4)
    names = set(exercise_cells(notebook))
    assert names == set(topic(topic_for(path)).exercises)
    asked = {f"{topic_for(path).replace('_', '-')}-{n + 1}" for n in range(len(names))}
    assert names == asked
    assert called(notebook, "check") == called(notebook, "card") == set(range(1, len(names) + 1))


def made(source: str) -> dict[str, list[str]]:
    """Names that a cell makes, functions with their parameters."""
    found = {}
    for node in ast.parse(source).body:
        if isinstance(node, ast.FunctionDef):
            found[node.name] = [argument.arg for argument in node.args.args]
        elif isinstance(node, ast.Assign):
            found[ast.unparse(node.targets[0])] = []
    return found


@pytest.mark.parametrize("path", PATHS, ids=lambda p: p.stem)
def test_a_solution_makes_what_its_stub_asks_for(path):
    for name, cell in exercise_cells(nbformat.read(path, 4)).items():
        assert made(engine.find(name).solution) == made(cell.source), name


# --- the course as one whole --------------------------------------------------------------------


def difficulties(lesson: Notebook) -> list[int]:
    return [engine.find(name).level for name in lesson.exercises]


@pytest.mark.parametrize("lesson", course(), ids=lambda lesson: lesson.name)
def test_within_a_notebook_exercises_get_harder_never_easier(lesson):
    assert difficulties(lesson) == sorted(difficulties(lesson))
    assert list(lesson.exercises) == sorted(lesson.exercises)


def test_over_the_course_exercises_get_harder():
    every = [difficulties(lesson) for lesson in course()]
    thirds = [list(chain(*every[n : n + 5])) for n in (0, 5, 10)]
    assert mean(thirds[0]) <= mean(thirds[1]) <= mean(thirds[2])


def test_no_exercise_asks_for_what_another_asked_for():
    titles = Counter(engine.find(n).title for lesson in course() for n in lesson.exercises)
    functions = Counter(
        name
        for lesson in course()
        for exercise in lesson.exercises
        for name, parameters in made(engine.find(exercise).solution).items()
        if parameters
    )
    assert {name for name, times in (titles + functions).items() if times > 1} == set()


def test_hints_go_in_steps_and_time_is_what_it_takes():
    for lesson in course():
        for name in lesson.exercises:
            one = engine.find(name)
            assert len(one.hints) == 3, name
            assert one.solution not in "".join(one.hints[:2]), name
            assert 3 <= one.minutes <= 12, name


def test_every_exercise_knows_several_mistakes_apart():
    """Answers and sentences are those of the golden, whose test asks them all."""
    golden = Path(__file__).parents[1] / "golden" / "exercises.json"
    found: dict[str, Counter[str]] = {"stub": Counter(), "solution": Counter(), "wrong": Counter()}
    sentences: dict[str, set[str]] = {}
    for key, entry in json.loads(golden.read_text("utf-8")).items():
        name, kind = key.split()[:2]
        found.setdefault(kind, Counter())[name] += 1
        if kind == "wrong":
            sentences.setdefault(name, set()).add(entry["sentence"])
    names = {name for one in course() for name in one.exercises}
    assert set(found["stub"]) == set(found["solution"]) == set(sentences) == names
    expect("exercises.count", len(names), low=56)
    expect("exercises.wrong_answers", found["wrong"].total(), low=350)
    expect("exercises.fewest_diagnoses", min(map(len, sentences.values())), low=4)


# --- quizzes ------------------------------------------------------------------------------------

QUIZZES = {path.stem: topic(topic_for(path)).quiz for path in PATHS}
SINGLE = [q for questions in QUIZZES.values() for q in questions if not q.several]


def split(question: Question) -> tuple[str, list[str]]:
    """The right choice of a question that has one, and the wrong ones."""
    right = [text for text, good, _ in question.choices if good]
    return right[0], [text for text, good, _ in question.choices if not good]


@pytest.mark.parametrize("path", PATHS, ids=lambda p: p.stem)
def test_each_notebook_asks_its_quiz(path):
    source = "\n".join(c.source for c in nbformat.read(path, 4).cells if c.cell_type == "code")
    assert "\nlesson.quiz()" in source
    assert 3 <= len(QUIZZES[path.stem]) <= 4


@pytest.mark.parametrize("name", QUIZZES)
def test_every_choice_is_explained(name):
    for question in QUIZZES[name]:
        for text, _, why in question.choices:
            assert len(why) >= 25, (question.prompt, text)
            assert why.strip(". ") != text.strip(". ")
            assert not re.search(r"\b(all|none) of (the above|these)\b", text, re.IGNORECASE)


def test_the_form_of_a_choice_does_not_give_it_away():
    longest = sum(len(right) > max(map(len, wrong)) for right, wrong in map(split, SINGLE))
    shortest = sum(len(right) < min(map(len, wrong)) for right, wrong in map(split, SINGLE))
    expect("quiz.questions", sum(map(len, QUIZZES.values())), low=55)
    expect("quiz.right_is_longest", longest / len(SINGLE), low=0.2, high=0.45)
    expect("quiz.right_is_shortest", shortest / len(SINGLE), low=0.1, high=0.45)
    for question in SINGLE:
        right, wrong = split(question)
        assert len(right) <= 1.55 * mean(map(len, wrong)), question.prompt


def test_the_right_choice_stands_anywhere():
    places: Counter[Any] = Counter(
        next(n for n, choice in enumerate(q.choices) if choice[1]) for q in SINGLE
    )
    assert max(places.values()) <= 0.45 * len(SINGLE)
