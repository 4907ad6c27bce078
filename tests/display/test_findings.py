"""The preflight report in a notebook: what it shows, escapes and links to."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from sft_helpers.display import findings
from sft_helpers.preflight import CODES, Report
from tests.preflight.cases import arguments, report, rows, setup

EVIL = "<script>alert(1)</script>\u202e"
ROOT = Path(findings.__file__).parents[2]


@pytest.fixture(scope="module")
def troubled() -> Report:
    data = rows()
    data[4]["messages"][1]["content"] = ""
    data[9]["messages"][0]["content"] = EVIL
    data[11]["messages"][1]["content"] = None
    data[20]["messages"][1]["content"] = "word " * 300
    data[22]["messages"].insert(0, {"role": EVIL, "content": "Hm."})
    return report(setup(dataset=data, args=arguments(max_length=64)))


def test_every_finding_has_its_card_and_errors_are_unfolded(troubled: Report) -> None:
    shown = findings.report_html(troubled)
    assert shown.count("<details") == len(troubled.findings)
    errors = sum(one.severity == "error" for one in troubled.findings)
    assert len(re.findall(r"<details[^>]* open>", shown)) == errors
    for one in troubled.findings:
        assert f"<b>{one.code}</b>" in shown


def test_levels_are_told_by_word_and_sign_too(troubled: Report) -> None:
    shown = findings.report_html(troubled)
    assert "✗ error" in shown
    assert "! warning" in shown


def test_text_of_the_data_is_escaped(troubled: Report) -> None:
    shown = findings.report_html(troubled)
    assert "<script" not in shown
    assert "\u202e" not in shown
    assert "&lt;script&gt;" in shown


def test_a_finding_leads_to_its_lesson(troubled: Report) -> None:
    links = set(re.findall(r"href='([^']+)'", findings.report_html(troubled)))
    assert links
    for link in links:
        file, _, cell = link.partition("#cell-id=")
        assert f"{file}#{cell}" in {code.lesson for code in CODES.values()}
        assert (ROOT / "notebooks" / file).is_file()


def test_the_row_is_shown_as_it_trains_and_a_long_one_by_its_ends(troubled: Report) -> None:
    short = findings.row_html(troubled, 4)
    assert short.count("sft-trained") >= 1
    long = findings.row_html(troubled, 20)
    assert "tokens later" in long
    assert long.count("<b class='sft-token") + long.count("<span class='sft-token") < 140


def test_a_row_that_trl_refuses_is_shown_as_it_is_stored(troubled: Report) -> None:
    assert "as it is stored" in findings.row_html(troubled, 11)
    assert "Oscar" not in findings.row_html(troubled, 10_000)


def test_the_viewer_has_the_worst_rows_first(troubled: Report) -> None:
    made = findings.rows_view(troubled)
    assert made is not None
    view, names = made
    assert len(view) == len(names) <= findings.MOST_ROWS
    assert names[0].startswith("row 4: data.empty_turn")
    assert not any("\u202e" in name or name.startswith("row 11:") for name in names)


def test_a_report_without_rows_needs_no_viewer() -> None:
    bare = Report([], {"rows": 3}, {})
    assert findings.rows_view(bare) is None
    assert "Nothing to say" in findings.report_html(bare)


@pytest.mark.parametrize("static", ["", "1"])
def test_show_publishes_the_report_and_the_viewer(
    troubled: Report, static: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    shown: list[dict[str, Any]] = []
    monkeypatch.setenv("SFT_STATIC", static)
    monkeypatch.setattr(
        "IPython.display.publish_display_data", lambda data, metadata: shown.append(data)
    )
    findings.show_report(troubled)
    assert len(shown) == (1 if static else 2)
    assert "mend the errors first" in shown[0]["text/plain"]


def test_the_own_style_keeps_to_the_house_rules() -> None:
    css = (Path(findings.__file__).parent / "findings.css").read_text(encoding="utf-8")
    css = re.sub(r"/\*.*?\*/", "", css, flags=re.S)
    for selector, body in re.findall(r"([^{}]+)\{([^{}]*)\}", css):
        assert all(part.strip().startswith(".sft-kit") for part in selector.split(","))
        assert ("background:" in body) == bool(re.search(r"(?<!-)\bcolor:", body))
