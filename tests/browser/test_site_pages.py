"""Every page of the built site, opened from disk without a network: `make site` built it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page, expect

ROOT = Path(__file__).parents[2]
SITE = Path(os.environ.get("SFT_SITE", ROOT / "build" / "site"))
pytestmark = [pytest.mark.browser, pytest.mark.site]

PAGES = sorted(
    path.relative_to(SITE).as_posix()
    for path in set(SITE.rglob("*.html")) - set((SITE / "_static").rglob("*"))
)
LINKS = "() => [...document.querySelectorAll('[href], [src]')].map((tag) => tag.href || tag.src)"
THEME = "(theme) => Object.assign(document.documentElement.dataset, { theme, mode: theme })"
STILL = """() => [...document.querySelectorAll(".kit-live")]
  .filter((view) => view.dataset.alive !== "yes").map((view) => view.dataset.view)"""
SETTLED = """() => document.readyState === "complete"
  && [...document.querySelectorAll(".kit-live")].every((view) => view.dataset.alive)"""
# view: page, what is operated, with which key (none: a click), where a number changes
VIEWS = {
    "token viewer": ("04_loss_masking", "[data-testid=tokens-strip] [data-n='3']", "", "detail"),
    "packing view": ("05_packing", "[data-testid=packs-max_length]", "ArrowLeft", "numbers"),
    "schedules": ("06_full_finetuning", "[data-testid=schedule-step]", "ArrowRight", "words"),
    "ranks": ("07_lora", "[data-testid=ranks-rank]", "ArrowRight", "facts"),
}


class Visit:
    """A page that notes what goes wrong in it."""

    def __init__(self, page: Page) -> None:
        self.page = page
        self.problems: list[str] = []
        page.on("pageerror", lambda error: self.problems.append(f"error: {error}"))
        page.on("console", self._heard)
        page.on("request", self._asked)

    def _heard(self, message: Any) -> None:
        if message.type in ("error", "warning"):
            self.problems.append(f"console: {message.text}")

    def _asked(self, request: Any) -> None:
        if not request.url.startswith(("file:", "data:", "blob:")):
            self.problems.append(f"network: {request.url}")

    def open(self, address: str) -> Page:
        self.page.goto(f"{SITE.resolve().as_uri()}/{address}")
        self.page.wait_for_function(SETTLED, timeout=30_000)
        self.page.add_style_tag(content="* { transition: none !important; }")  # else axe sees it
        return self.page


@pytest.fixture(scope="module")
def context(chromium: Any) -> Iterator[Any]:
    context = chromium.new_context(offline=True, viewport={"width": 1300, "height": 1000})
    yield context
    context.close()


@pytest.fixture
def visit(context: Any) -> Iterator[Visit]:
    visit = Visit(context.new_page())
    yield visit
    visit.page.close()


def grave_faults(page: Page, **options: Any) -> list[str]:
    """What axe-core calls serious or critical."""
    options |= {"resultTypes": ["violations"], "preload": False}  # preloading fetches: not on disk
    found = Axe().run(page, options=options).response["violations"]
    return [
        f"{fault['id']}: {fault['nodes'][0]['html'][:200]} ({len(fault['nodes'])} times)"
        for fault in found
        if fault["impact"] in ("serious", "critical")
    ]


@cache
def text_of(path: Path) -> str:
    return path.read_text("utf-8") if path.suffix == ".html" else ""


def broken(links: list[str]) -> list[str]:
    """Those of a page's links that lead nowhere inside the site."""
    found = []
    for link in links:
        parts = urlsplit(link)
        if parts.scheme != "file":  # an image may stand in the page itself
            continue
        path, anchor = Path(unquote(parts.path)), unquote(parts.fragment)
        there = path.exists() and (not anchor or f'id="{anchor}"' in text_of(path))
        if not there:
            found.append(link)
    return found


def test_everything_has_a_page() -> None:
    wanted = [f"notebooks/{path.stem}.html" for path in (ROOT / "notebooks").glob("*.ipynb")]
    wanted += [f"docs/{path.stem}.html" for path in (ROOT / "docs").glob("*.md")]
    wanted += ["index.html", "README.html", "api/sft_helpers.masking.html", "search.html"]
    missing = set(wanted) - set(PAGES)
    assert not missing, f"{SITE} lacks {sorted(missing)}: run make site first"


@pytest.mark.parametrize("address", PAGES)
def test_page(visit: Visit, address: str) -> None:
    page = visit.open(address)
    faults = grave_faults(page)
    if not address.startswith("api/"):  # made by one template: looked at in one theme
        page.evaluate(THEME, "dark")  # nothing but the colours changes
        faults += [f"dark {fault}" for fault in grave_faults(page, runOnly=["color-contrast"])]
    assert faults == []
    assert page.evaluate(STILL) == []
    assert broken(page.evaluate(LINKS)) == []
    assert page.locator("h1:visible").count() == 1
    page.set_viewport_size({"width": 400, "height": 800})
    assert page.evaluate("document.documentElement.scrollWidth") <= 400, "wider than a phone"
    assert visit.problems == []


@pytest.mark.parametrize("view", VIEWS)
def test_a_view_moves_without_a_kernel(visit: Visit, view: str) -> None:
    address, control, key, told = VIEWS[view]
    page = visit.open(f"notebooks/{address}.html")
    place = page.locator(".kit-live", has=page.locator(control)).first
    place.evaluate("(view) => view.scrollIntoView({ block: 'center' })")
    before = place.locator(f"[data-testid$=-{told}]").first.inner_text()
    if key:
        place.locator(control).press(key)
    else:
        place.locator(control).click()
    after = place.locator(f"[data-testid$=-{told}]").first.inner_text()
    assert [c for c in after if c.isdigit()] != [c for c in before if c.isdigit()]
    fits = "(view) => view.getBoundingClientRect().right <= window.innerWidth"
    assert place.evaluate(fits)
    assert visit.problems == []


def test_the_search_finds_lessons_first(visit: Visit) -> None:
    page = visit.open("index.html")
    page.keyboard.press("Control+k")
    page.keyboard.type("adapter")
    page.keyboard.press("Enter")
    found = page.locator("#search-results li a")
    expect(found.first).to_be_visible(timeout=15_000)
    page.wait_for_function("document.querySelectorAll('#search-results li').length > 10")
    addresses = [link.get_attribute("href") or "" for link in found.all()]
    assert any("glossary" in address for address in addresses[:5])
    assert not any("api/" in address for address in addresses[:10])
    assert visit.problems == []


def test_on_paper_there_is_the_lesson_alone(visit: Visit) -> None:
    page = visit.open("notebooks/04_loss_masking.html")
    page.evaluate(THEME, "dark")
    page.evaluate("window.dispatchEvent(new Event('beforeprint'))")
    assert page.evaluate("document.documentElement.dataset.theme") == "light"
    page.emulate_media(media="print")
    for gone in (
        ".bd-sidebar-primary",
        ".bd-header-article",
        ".prev-next-area",
        ".kit-note",
        "#jb-print-docs-body",
    ):
        expect(page.locator(gone).first).to_be_hidden()
    expect(page.get_by_test_id("tokens-strip").first).to_be_visible()
    page.emulate_media(media="screen")
    page.evaluate("window.dispatchEvent(new Event('afterprint'))")
    assert page.evaluate("document.documentElement.dataset.theme") == "dark"
