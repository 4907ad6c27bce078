"""No way for data to become code: forbidden patterns in the package and in the notebooks."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FORBIDDEN = {
    r"\b(inner|outer)HTML\b|insertAdjacentHTML|document\.write": "build nodes, set textContent",
    r"escape\s*=\s*False": "tables must escape",
    r"\b(HTML|Markdown|Markup|Html)\(\s*[rR]?[fF][rR]?[\"']": "use Markup(...).format(...)",
    r"\.style\.format\((?!.*escape)": "a Styler escapes nothing by default",
    r"(?<![.\w])eval\(|new Function\(": "no evaluation of text",
}
FILES = sorted(
    p for p in (ROOT / "sft_helpers").rglob("*") if p.suffix in (".py", ".js", ".css")
) + sorted((ROOT / "notebooks").glob("*.ipynb"))


@pytest.mark.parametrize("path", FILES, ids=lambda p: p.relative_to(ROOT).as_posix())
def test_no_unsafe_pattern(path):
    text = path.read_text(encoding="utf-8").replace('\\"', '"')
    for pattern, advice in FORBIDDEN.items():
        if path.name == "rules.py" and "eval" in pattern:
            continue  # the conditions in the package's own YAML of exercises are code of the kit
        found = re.search(pattern, text)
        assert found is None, f"{path.name}: {found.group()!r}: {advice}"


@pytest.mark.parametrize(
    "path", [p for p in FILES if p.suffix in (".js", ".css")], ids=lambda p: p.name
)
def test_views_fetch_nothing(path):
    text = path.read_text(encoding="utf-8")
    assert not re.search(r"https?://|url\(|@import|\bfetch\(|import .* from|import\(", text)


@pytest.mark.parametrize(
    "line", ['HTML(f"<b>{x}</b>")', "Markdown(f'{x}')", "el.innerHTML = x", "to_html(escape=False)"]
)
def test_the_patterns_bite(line):
    assert any(re.search(pattern, line) for pattern in FORBIDDEN)
