"""The page of all findings is what its function writes."""

from __future__ import annotations

from pathlib import Path

from sft_helpers.preflight.codes import CODES
from sft_helpers.preflight.page import CHANGE, page

PAGE = Path(__file__).resolve().parents[2] / "docs" / "findings.md"


def test_every_code_says_what_to_change() -> None:
    assert set(CHANGE) == set(CODES)


def test_page_is_up_to_date() -> None:
    made = page()
    assert PAGE.read_text(encoding="utf-8") == made, (
        "write it anew: python -m sft_helpers.preflight.page > docs/findings.md"
    )


def test_rows_of_the_table_are_whole() -> None:
    """Five cells a row: no bar inside a cell."""
    rows = [line for line in page().splitlines() if line.startswith("| `")]
    assert len(rows) == len(CODES)
    for row in rows:
        assert row.replace("\\|", "").count("|") == 6, row


def test_the_readme_counts_them() -> None:
    readme = (PAGE.parents[1] / "README.md").read_text(encoding="utf-8")
    assert f"[{len(CODES)} findings](docs/findings.md)" in readme
