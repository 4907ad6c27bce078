"""The kit's views inside a page on disk, without a kernel: alive, accessible, in both themes."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nbformat
import pytest
from axe_playwright_python.sync_playwright import Axe
from nbclient import NotebookClient
from playwright.sync_api import Page, expect

from tools import build_site

ROOT = Path(__file__).parents[2]
pytestmark = [pytest.mark.browser, pytest.mark.xdist_group("browser")]

GRAVE = ("serious", "critical")
CELL = r"""
from sft_helpers.training.adapters import rank_grid
from sft_helpers.display.ranks import show_ranks
from sft_helpers.display.scaling import scaling_explorer
from sft_helpers.exercises import quiz
from sft_helpers.exercises.data import Question
show_ranks(rank_grid(("tiny", "Qwen2.5-7B")))
scaling_explorer()
row = "<img src=x onerror='window.__xss = 1'>"
quiz([Question(row, [("yes", True, "because"), ("no", False, "why not")])])
"""


@pytest.fixture(scope="module")
def page_on_disk(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A page as the site has it, of a notebook that was really executed."""
    folder = tmp_path_factory.mktemp("site")
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(CELL)])
    patch = pytest.MonkeyPatch()
    patch.setenv("PYTHONPATH", os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]))
    patch.setenv("IPYTHONDIR", str(folder / "ipython"))
    NotebookClient(notebook, timeout=120, kernel_name="python3").execute()
    patch.undo()
    # stored as a file is: with the keys of every object sorted
    notebook = json.loads(nbformat.writes(notebook))
    live = build_site.for_the_site(notebook, "page")
    (folder / "page.js").write_text(build_site.script(live), "utf-8")
    for name in ("live.js", "live.css"):
        (folder / name).write_text((ROOT / "docs/site/_static" / name).read_text("utf-8"), "utf-8")
    twins = [
        "".join(output["data"]["text/html"])
        for cell in notebook["cells"]
        for output in cell.get("outputs", [])
        if "data" in output
    ]
    assert len(twins) == len(live) == 3
    (folder / "page.html").write_text(
        "<!doctype html><html lang='en'><head><title>x</title><meta charset='utf-8'>"
        "<link rel='stylesheet' href='live.css'><script src='live.js'></script></head>"
        f"<body><main>{''.join(twins)}</main><script src='page.js'></script></body></html>",
        "utf-8",
    )
    return folder / "page.html"


@pytest.fixture
def page(page_on_disk: Path, chromium: Any) -> Iterator[Page]:
    """The page, opened from disk in a browser that has no network."""
    context = chromium.new_context(offline=True)
    page = context.new_page()
    page.goto(page_on_disk.as_uri())
    expect(page.locator(".kit-live[data-alive=yes]")).to_have_count(3, timeout=20_000)
    yield page
    context.close()


def test_numbers_change_without_a_kernel(page: Page) -> None:
    table = page.get_by_test_id("ranks-facts")
    before = table.inner_text()
    page.get_by_test_id("ranks-Qwen2.5-7B").click()
    expect(table.locator("caption")).to_contain_text("Qwen2.5-7B")
    assert table.inner_text() != before


def test_each_control_shows_what_is_chosen(page: Page) -> None:
    rows = page.get_by_role("group", name="Scale explorer").locator(".sft-row")
    pressed = [row.locator("[aria-pressed=true]").count() for row in rows.all()]
    assert pressed == [1] * 8


def test_a_quiz_judges_and_dataset_text_runs_nothing(page: Page) -> None:
    page.get_by_label("yes").check()
    page.get_by_role("button", name="Check answer to question 1").click()
    expect(page.get_by_test_id("quiz-score")).to_contain_text("1 of 1 right")
    assert page.evaluate("window.__xss") is None


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_axe_finds_no_serious_fault(page: Page, theme: str) -> None:
    page.evaluate("(theme) => { document.documentElement.dataset.theme = theme; }", theme)
    found = Axe().run(page).response["violations"]
    serious = [f"{v['id']}: {v['nodes'][0]['html'][:200]}" for v in found if v["impact"] in GRAVE]
    assert serious == []


def test_without_scripts_the_twins_are_there(page_on_disk: Path, chromium: Any) -> None:
    context = chromium.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(page_on_disk.as_uri())
    expect(page.get_by_text("Answer", exact=True)).to_be_visible()
    expect(page.get_by_text("all-linear").first).to_be_visible()
    context.close()
