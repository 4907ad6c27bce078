"""The page for when something goes wrong, and the instructor's guide, say what is so."""

from __future__ import annotations

import ast
import json
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "troubleshooting.md"
PAGES = [PAGE, ROOT / "docs" / "instructor.md"]
FILES = ROOT / "tools" / "class_files"
SOURCES = [*(ROOT / "sft_helpers").rglob("*.py"), *(ROOT / "tools").rglob("*.py")]
SENTENCES = ROOT / "sft_helpers" / "machine.yaml"
SHELL = [FILES / "start.sh", FILES / "start.bat", ROOT / "Makefile"]


def texts(path: Path) -> list[str]:
    """The strings of a Python file, with … where something is filled in."""
    found = []
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.JoinedStr):
            parts = [str(p.value) if isinstance(p, ast.Constant) else "…" for p in node.values]
            found.append("".join(parts))
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            found.append(re.sub(r"%[sd]", "…", node.value))
    return found


@pytest.fixture(scope="module")
def said() -> list[str]:
    """Whatever the kit may say."""
    python = [text for path in SOURCES for text in texts(path)]
    sentences = re.sub(r"\{[^}]*\}", "…", SENTENCES.read_text("utf-8"))
    shell = [re.sub(r"\$\(\w+\)", "…", path.read_text("utf-8")) for path in SHELL]
    return [*python, *shell, re.sub(r"\s+", " ", sentences)]


def is_said(message: str, said: list[str]) -> bool:
    """Whether one text of the kit holds the parts of the message, in order."""
    parts = [re.escape(part.strip()) for part in message.split("…") if part.strip()]
    pattern = re.compile(".*".join(parts), re.S)
    return any(pattern.search(text) for text in said)


def test_the_kit_says_what_the_page_quotes(said: list[str]) -> None:
    rows = [line.split(" | ") for line in PAGE.read_text("utf-8").splitlines()]
    quoted = [m for row in rows if row[0] == "| kit" for m in re.findall(r"`([^`]+)`", row[1])]
    assert len(quoted) > 25
    assert [message for message in quoted if not is_said(message, said)] == []
    assert not is_said("no program called … was found: install Python 4", said)


def test_the_guide_quotes_the_seat_check(said: list[str]) -> None:
    guide = (ROOT / "docs" / "instructor.md").read_text("utf-8")
    quoted = re.findall(r"`NOT READY: ([^`]+)`", guide)
    assert [message for message in quoted if not is_said(message, said)] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_link_resolves(page: Path) -> None:
    wrong = []
    for target in re.findall(r"\]\((?!https://)([^)]+)\)", page.read_text("utf-8")):
        name, _, anchor = target.partition("#")
        path = (page.parent / name).resolve()
        if not path.is_file() or (anchor and anchor not in anchors(path)):
            wrong.append(target)
    assert wrong == []


def anchors(path: Path) -> set[str]:
    """Names of the places in a notebook (its cells) or a page (its headings)."""
    text = path.read_text("utf-8")
    if path.suffix == ".ipynb":
        return {cell["id"] for cell in json.loads(text)["cells"]}
    headings = re.findall(r"^#+ (.+)$", text, re.M)
    return {re.sub(r"[^\w -]", "", h).strip().lower().replace(" ", "-") for h in headings}


def test_every_finding_on_the_page_exists() -> None:
    known = (ROOT / "docs" / "findings.md").read_text("utf-8")
    kinds = "data|template|mask|tokens|packing|config|lora|memory"
    named = set(re.findall(rf"`((?:{kinds})\.[a-z_]+)`", PAGE.read_text("utf-8")))
    assert len(named) > 12
    assert [code for code in named if f"`{code}`" not in known] == []


def test_the_guide_knows_the_notebooks() -> None:
    from sft_helpers.exercises.data import topic, topic_for

    guide = (ROOT / "docs" / "instructor.md").read_text("utf-8")
    notebooks = {p.stem.split("_")[0]: p for p in (ROOT / "notebooks").glob("[0-9]*.ipynb")}
    assert set(re.findall(r"^\| (\d\d\w?) \| exercise ", guide, re.M)) == notebooks.keys()
    for number, path in notebooks.items():
        cells = json.loads(path.read_text("utf-8"))["cells"]
        prose = ["".join(c["source"]) for c in cells if c["cell_type"] == "markdown"]
        sections = re.findall(r"^## (\d+) ", "\n".join(prose), re.M)
        [row] = re.findall(rf"^\| {number} \| (exercise .+) \|$", guide, re.M)
        stuck, _, skip = row.split(" | ")
        name = topic_for(path).replace("_", "-") + "-" + stuck.split()[1].rstrip(":")
        assert name in topic(topic_for(path)).exercises
        for named in re.findall(r"\d+", skip.split("exercise")[0].split("keep")[0]):
            assert named in sections, (number, named)
