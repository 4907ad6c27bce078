"""The course's own exercises: cells and registry match one to one, and each is asked in full."""

from __future__ import annotations

import ast
from pathlib import Path

import nbformat
import pytest

from sft_helpers.exercises import engine
from sft_helpers.exercises.solutions import build_solutions, exercise_cells, module_for

NOTEBOOKS = Path(__file__).parents[2] / "notebooks"
PATHS = sorted(NOTEBOOKS.glob("*.ipynb"))
TOOLS = {"__init__", "blanks", "engine", "quiz", "solutions"}
MODULES = {path.stem for path in Path(engine.__file__).parent.glob("*.py")} - TOOLS


def called(notebook, function: str) -> set[str]:
    """Names of the exercises that code cells hand to `function` as first argument."""
    found = set()
    for cell in notebook.cells:
        if cell.cell_type != "code" or f"{function}(" not in cell.source:
            continue
        for node in ast.walk(ast.parse(cell.source)):
            if isinstance(node, ast.Call) and getattr(node.func, "id", "") == function:
                found.add(node.args[0].value)
    return found


def test_every_module_of_exercises_has_a_notebook():
    assert MODULES - {module_for(path) for path in PATHS} == set()


def test_solutions_can_be_built(tmp_path):
    build_solutions(NOTEBOOKS, tmp_path)


@pytest.mark.parametrize("path", PATHS, ids=lambda p: p.stem)
def test_each_exercise_is_asked_shown_and_checked(path):
    notebook = nbformat.read(path, 4)
    names = set(exercise_cells(notebook))
    assert names == set(engine.exercises_in(module_for(path)))
    assert called(notebook, "check") == names
    assert called(notebook, "card") == names
