"""Every notebook in a real JupyterLab: it runs, its main view is moved, axe looks at its outputs.

The solved edition is run here; `make notebooks` runs the one that learners get. `make browser`
takes the quick notebooks; `make lab-check` takes all and writes down what it saw, a line for each.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import expect

from sft_helpers.exercises.data import topic, topic_for
from sft_helpers.exercises.solutions import solve
from tests.browser.test_views import shoot

ROOT = Path(__file__).parents[2]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
QUICK = {
    "00_quickstart",
    "03_chat_templates",
    "04_loss_masking",
    "12_export_and_serve",
    "13_your_own_data",
}
GRAVE = {"serious", "critical"}
OUTPUTS = ".jp-NotebookPanel:not(.lm-mod-hidden) .jp-OutputArea-output"

# For each code cell: its execution count, and what it printed.
CODE_CELLS = """() => window.jupyterapp.shell.currentWidget.content.widgets
  .filter((cell) => cell.model.type === "code")
  .map((cell) => [cell.model.executionCount, cell.model.outputs.toJSON()
    .map((output) => [output.text ?? ""].flat().join("")).join("")])"""


def click(name: str) -> Callable[[Any], None]:
    return lambda view: view.get_by_test_id(name).click()


def press_button(name: str) -> Callable[[Any], None]:
    return lambda view: view.get_by_role("button", name=name).press("Enter")


def press(name: str, key: str) -> Callable[[Any], None]:
    return lambda view: view.get_by_test_id(name).press(key)


def answer(view: Any) -> None:
    """Choose the first choice of the first question and have it checked."""
    first = view.get_by_test_id("quiz-1")
    first.locator("input").first.check()
    first.get_by_role("button").click()


@dataclass(frozen=True)
class View:
    """How a notebook's main view is moved, and where a number must change."""

    name: str  # its accessible name
    read: str  # test id of the text that holds the number
    move: Callable[[Any], None]
    wanted: str  # what the text must match after the move
    place: int = 0  # of several views with this name


# Where the main view is a figure or a printed chart, the quiz is what can be moved.
QUIZ = View("Quiz", "quiz-score", answer, r"[^0]\d* not tried yet")
VIEWS = {
    "00_quickstart": View(
        "Answers before and after", "answers-place", click("answers-fixed"), r"1 of \d+"
    ),
    "01_data_formats": View(
        "Format explorer",
        "explorer-tokens",
        press_button("Next row"),
        r"\d+ of \d+ tokens are trained",
    ),
    "02_cleaning": View(
        "Cleaning studio", "studio-summary", click("studio-on-exact_duplicate"), r"\d stay"
    ),
    "03_chat_templates": View(
        "Template playground", "playground-status", click("playground-prompt"), r"\d+ characters"
    ),
    "04_loss_masking": View(
        "Token viewer", "tokens-count", click("tokens-mode-2"), r"\d+ of \d+ tokens", place=1
    ),
    "05_packing": View("Packing view", "packs-numbers", click("packs-bfd"), r"rows \d+"),
    "06_full_finetuning": View(
        "Schedule explorer", "schedule-words", press("schedule-step", "ArrowRight"), r"At step \d"
    ),
    "07_lora": View(
        "Adapter by rank", "ranks-facts", press("ranks-rank", "ArrowRight"), r"rank \d+"
    ),
    "07b_real_model": QUIZ,
    "08_qlora": QUIZ,
    "09_evaluation": View(
        "Blind comparison", "blind-result", click("blind-left"), r"1 of \d+ pairs chosen"
    ),
    "10_pitfall_clinic": QUIZ,
    "11_scaling_out": View(
        "Scale explorer", "scale-words", click("scale-1-lora"), "Every strategy fits"
    ),
    "12_export_and_serve": QUIZ,
    "13_your_own_data": View(
        "Answers before and after", "answers-place", press_button("Next answer"), r"2 of \d+"
    ),
}

pytestmark = [pytest.mark.browser, pytest.mark.xdist_group("notebooks")]


def serious(lab: Any) -> list[str]:
    """Serious faults that axe finds in the outputs; JupyterLab's own are not looked for."""
    found = Axe().run(lab.page, context=OUTPUTS).response["violations"]
    return [
        f"{fault['id']}: {node['html'][:200]}"
        for fault in found
        if fault["impact"] in GRAVE
        for node in fault["nodes"]
    ]


def keep_pictures(lab: Any, view: Any, name: str) -> None:
    """With SFT_SHOTS set, keep each output, and the view as on a projector, to look at."""
    shoot(lab, name)
    if os.environ.get("SFT_SHOTS"):
        size = lab.page.viewport_size
        lab.page.set_viewport_size({"width": 1280, "height": 720})
        view.scroll_into_view_if_needed()
        lab.page.screenshot(path=Path(os.environ["SFT_SHOTS"]) / f"{name}-projector.png")
        lab.page.set_viewport_size(size)


def write_down(notebook: str, record: dict[str, Any] | None) -> None:
    """Put the record in the place of the notebook's old one in the file SFT_LAB_RECORDS."""
    path = Path(os.environ.get("SFT_LAB_RECORDS", os.devnull))
    old = path.read_text("utf-8").splitlines() if path.is_file() else []
    records = {one["notebook"]: one for one in map(json.loads, old)} | {notebook: record}
    lines = [json.dumps(one, ensure_ascii=False) for _, one in sorted(records.items()) if one]
    path.write_text("".join(f"{line}\n" for line in lines), "utf-8")


@pytest.mark.parametrize(
    "path",
    [
        pytest.param(path, id=path.stem, marks=() if path.stem in QUICK else pytest.mark.lab_slow)
        for path in NOTEBOOKS
    ],
)
def test_a_notebook(lab: Any, path: Path) -> None:
    write_down(path.stem, None)  # a notebook that fails below keeps no record
    notebook = solve(path)
    assert notebook is not None, "a notebook of the course has exercises"
    sources = [cell.source for cell in notebook.cells if cell.cell_type == "code"]
    titles = [made.title for made in topic(topic_for(path)).exercises.values()]
    start = time.monotonic()
    lab.open(path.name, notebook)
    errors = lab.run_all(timeout=900)
    seconds = time.monotonic() - start
    ran = lab.page.evaluate(CODE_CELLS)
    printed = "\n".join(text for _, text in ran)
    unsolved = re.findall(r"^\[(?:todo|not yet)\] .*", printed, flags=re.M)
    passed = [title for title in titles if f"[ok] {title}" in printed]

    moved = VIEWS[path.stem]
    view = lab.panel.get_by_role("group", name=moved.name).nth(moved.place)
    text = view.get_by_test_id(moved.read)
    expect(text).to_be_visible(timeout=20_000)
    before = text.inner_text()
    moved.move(view)
    changed = "([node, before]) => node.innerText !== before"
    lab.page.wait_for_function(changed, arg=[text.element_handle(), before], timeout=20_000)
    before, after = (" ".join(words.split()) for words in (before, text.inner_text()))

    faults = {}
    for theme in ("Light", "Dark"):
        lab.theme(theme)
        faults[theme] = serious(lab)
        keep_pictures(lab, view, f"{path.stem}-{theme}")
    lab.theme("Light")
    lab.close()
    digest = hashlib.sha256("\n\n".join(sources).encode()).hexdigest()
    write_down(
        path.stem,
        {
            "notebook": path.stem,
            "edition": "solved",
            "cells": len(sources),
            "cells_run": sum(bool(count) for count, _ in ran),
            "errors": errors,
            "exercises": len(titles),
            "exercises_ok": len(passed),
            "view": moved.name,
            "before": before,
            "after": after,
            "axe_serious": len(faults["Light"] + faults["Dark"]),
            "seconds": round(seconds, 1),
            "code_sha256": digest,
            "versions": {name: version(name) for name in ("jupyterlab", "ipywidgets", "anywidget")}
            | {"chromium": lab.page.context.browser.version},
        },
    )
    assert errors == []
    assert all(count for count, _ in ran)
    assert unsolved == []
    assert passed == titles
    assert re.findall(r"\d+", before) != re.findall(r"\d+", after)
    assert re.search(moved.wanted, after)
    assert faults == {"Light": [], "Dark": []}
