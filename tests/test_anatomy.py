"""Every notebook is built alike: promise, objectives, numbered sections, exercises, quiz, recap."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

NOTEBOOKS = sorted((Path(__file__).parents[1] / "notebooks").glob("*.ipynb"))
CLINIC = "10_pitfall_clinic"  # its sections are patients; exercises stand beside their patient
INTRO = (
    "Fill in the `...` and run the cell. A check says what is wrong, and never stops the notebook."
)


def cells_of(path: Path) -> list[dict[str, Any]]:
    cells: list[dict[str, Any]] = json.loads(path.read_text("utf-8"))["cells"]
    return [cell | {"source": "".join(cell["source"])} for cell in cells]


def text_of(path: Path) -> str:
    return "\n".join(c["source"] for c in cells_of(path) if c["cell_type"] == "markdown")


def by_id(path: Path) -> dict[str, str]:
    return {cell["id"]: cell["source"] for cell in cells_of(path)}


@pytest.fixture(params=NOTEBOOKS, ids=lambda path: path.stem)
def notebook(request: pytest.FixtureRequest) -> Path:
    path: Path = request.param
    return path


def test_title_says_what_for_and_what_before(notebook: Path) -> None:
    title = by_id(notebook)["title"]
    assert re.match(rf"# {notebook.stem.split('_')[0]} · \S", title)
    assert re.search(r"^\*\*[A-Z].+[.]\*\*$", title, re.MULTILINE), "no promise in bold"
    objectives = re.findall(r"^- \*\*([a-z ]+)\*\*", title, re.MULTILINE)
    assert 3 <= len(objectives) <= 5
    assert "After this notebook you can" in title
    assert not set(objectives) & {"understand", "know", "learn"}, "a verb that nobody can check"
    assert re.search(r"^\*You need:\*", title, re.MULTILINE)


def test_what_it_needs_comes_before_it(notebook: Path) -> None:
    needs = by_id(notebook)["title"].split("*You need:*")[1]
    own = notebook.stem.split("_")[0]
    assert all(number < own for number in re.findall(r"\b\d\db?\b(?! MB)", needs))


def test_sections_are_numbered_without_a_gap(notebook: Path) -> None:
    heads = re.findall(r"^## (.+)$", text_of(notebook), re.MULTILINE)
    assert heads[-1] == "Recap"
    if notebook.stem != CLINIC:
        numbers = [head.split(" · ")[0] for head in heads[:-1]]
        assert numbers == [str(n) for n in range(1, len(heads))]
    assert any("The same on" in head for head in heads)


def test_a_section_that_is_referred_to_exists(notebook: Path) -> None:
    heads = re.findall(r"^## (\d+) · ", text_of(notebook), re.MULTILINE)
    # of this notebook, unless a paper or another notebook is meant
    own = re.findall(r"(?<!slogan\*, )\bsection (\d+)\b(?!\.\d)(?![^.]*arXiv)", text_of(notebook))
    assert set(own) <= set(heads) or notebook.stem == CLINIC


def test_exercises_are_laid_out_alike(notebook: Path) -> None:
    order = [cell["id"] for cell in cells_of(notebook)]
    cells = by_id(notebook)
    if notebook.stem == CLINIC:
        assert "exercises" in order
        return
    assert INTRO in cells["exercises"]
    count = sum(cell.startswith("exercise-") for cell in order)
    assert count >= 2
    for number in range(1, count + 1):
        start = order.index(f"task-{number}")
        wanted = [f"{part}-{number}" for part in ("task", "card", "exercise", "check")]
        assert order[start : start + 4] == wanted
        assert cells[f"task-{number}"].startswith(f"**Exercise {number}.** ")


def test_it_ends_in_quiz_gpu_recap_and_the_way_on(notebook: Path) -> None:
    order = [cell["id"] for cell in cells_of(notebook)]
    places = [order.index(name) for name in ("exercises", "quiz-aim", "quiz", "gpu", "recap")]
    assert places == sorted(places)
    recap = by_id(notebook)["recap"]
    assert recap.startswith("## Recap")
    assert 3 <= len(re.findall(r"^- ", recap, re.MULTILINE)) <= 6
    assert "**Further reading.**" in recap
    later = [path.name for path in NOTEBOOKS[NOTEBOOKS.index(notebook) + 1 :]]
    named = re.findall(r"`(\d\w+\.ipynb)`", recap.split("**Further reading.**")[1])
    assert named[:1] == later[:1], "the next notebook is not the next one"
    assert set(named) <= set(later)


def test_the_learner_predicts_and_claims_are_asserted(notebook: Path) -> None:
    predictions = len(re.findall(r"\*\*Predict", text_of(notebook)))
    code = "\n".join(c["source"] for c in cells_of(notebook) if c["cell_type"] == "code")
    # in the clinic each diagnosis is a prediction
    assert predictions + len(re.findall(r"^ *lesson\.quiz\([^)]", code, re.MULTILINE)) >= 3
    assert len(re.findall(r"\b(?:expect|claim|discharge)\(", code)) >= 6
