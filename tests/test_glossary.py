"""The glossary: every link of a notebook meets a term, and the links are where they belong."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from tools import glossary

ROOT = Path(__file__).resolve().parents[1]
TERMS = glossary.terms((ROOT / "docs" / "glossary.md").read_text("utf-8"))


def test_the_links_are_fresh() -> None:
    assert glossary.main(check=True) == 0, "run python tools/glossary.py"


def test_terms_are_in_order_and_taught_somewhere() -> None:
    names = [term.name.replace("α", "alpha").lower() for term in TERMS]
    assert names == sorted(names)
    assert len(names) == len(set(names)) > 60
    notebooks = {path.stem for path in (ROOT / "notebooks").glob("*.ipynb")}
    assert [term.name for term in TERMS if not set(term.lessons) <= notebooks] == []
    assert [term.name for term in TERMS if not term.lessons] == []


def test_words_in_italics_have_an_entry() -> None:
    text = (ROOT / "docs" / "glossary.md").read_text("utf-8").split("### ", 1)[1]
    used = {word.lower() for word in re.findall(r"\*([^*\n]+)\*", text)}
    known = [glossary.pattern(term.name) for term in TERMS]
    names = {term.name.lower() for term in TERMS}
    missing = {w for w in used if w not in names and not any(p.fullmatch(w) for p in known)
               and w.removesuffix("s") not in names}  # fmt: skip
    assert missing == set()


def test_most_terms_are_linked_from_a_notebook() -> None:
    text = "".join(path.read_text("utf-8") for path in (ROOT / "notebooks").glob("*.ipynb"))
    linked = [term.name for term in TERMS if f"{glossary.PAGE}#{term.anchor})" in text]
    assert len(linked) >= 0.85 * len(TERMS)


MASK = glossary.Term("mask", "mask", ("04_loss_masking",))
LOSS = glossary.Term("loss", "loss", ("00_quickstart",))


@pytest.mark.parametrize(
    ("text", "linked"),
    [
        ("# loss\nThe loss falls.", "# loss\nThe [loss](../docs/glossary.md#loss) falls."),
        ("`loss` and losses", "`loss` and [losses](../docs/glossary.md#loss)"),
        ("[loss](x) and eval_loss, loss-free", None),
        ("| loss |\nglossary", None),
    ],
)
def test_only_running_text_is_linked(text: str, linked: str | None) -> None:
    assert glossary.link_first(text, LOSS) == linked


def test_a_verb_is_no_term() -> None:
    assert glossary.link_first("They mask it.", MASK) is None
    assert glossary.link_first("They read the mask.", MASK) is not None
    assert glossary.link_first("A *mask* says.", MASK) is not None


def test_only_the_first_use_in_the_course_is_linked_and_twice_is_once() -> None:
    def book(text: str) -> dict[str, object]:
        cells = [{"cell_type": "markdown", "id": "title", "source": ["loss"]},
                 {"cell_type": "markdown", "id": "a", "source": [text]}]  # fmt: skip
        return {"cells": cells}

    books = {"00": book("no term"), "01": book("a loss, a loss"), "02": book("loss")}
    assert glossary.link_notebooks(books, [LOSS]) == []
    once = json.dumps(books)
    assert once.count("glossary.md#loss") == 1
    assert "[loss](../docs/glossary.md#loss), a loss" in once
    glossary.link_notebooks(books, [LOSS])
    assert json.dumps(books) == once
