"""The cleaning studio's data and static views: safe, complete, and the same counts as `clean`."""

from __future__ import annotations

import json

import pytest

from data.make.dirty import dirty_rows, eval_rows
from sft_helpers.cleaning import clean, default_rules
from sft_helpers.cleaning.measures import LOWEST_SIMILARITY
from sft_helpers.cleaning.scoring import score_rules
from sft_helpers.display import studio
from sft_helpers.errors import DataError

EVIL = "<script>alert(1)</script><img src=x onerror=alert(1)>\u200b\u202eRTL"


@pytest.fixture(scope="module")
def evil_rows():
    turns = [{"role": "user", "content": EVIL}, {"role": "assistant", "content": EVIL}]
    broken = {"messages": [{"role": "user", "content": EVIL}], "other": EVIL}
    return [{"messages": turns}, broken, {"messages": EVIL}, None]


def harmless(text: str) -> None:
    assert "<script" not in text
    assert "<img" not in text
    assert "\u200b" not in text
    assert "\u202e" not in text


def test_static_views_escape(evil_rows):
    report = clean(evil_rows, default_rules(), samples=9).report
    views = [
        studio.report_html(report, 9),
        studio.picture_html(report),
        studio.scores_html(score_rules(report, [{"defects": ["refusal"]}] * 4), evil_rows),
    ]
    for view in views:
        harmless(str(view))
    assert "&lt;script&gt;" in views[0]
    assert "⟨U+200B⟩" in views[0]
    assert "⟨U+202E⟩" in views[2]


def test_data_is_plain_and_visible(evil_rows):
    data = studio.studio_data(evil_rows)
    json.dumps(data, allow_nan=False)
    told = json.dumps(data, ensure_ascii=False)
    assert "\u200b" not in told
    assert "⟨U+200B⟩" in data["texts"][0][1]
    assert data["texts"][1][0] == "(no conversation)"


def test_the_studio_starts_with_the_usual_settings():
    rows, labels = dirty_rows()
    data = studio.studio_data(rows[:200], eval_rows=eval_rows(), labels=labels[:200])
    live = studio.make_studio(data)
    assert live.thresholds.near_duplicate == 0.7
    live.settings = {**live.settings, "min_chars": 50.0, "near_duplicate": 0.8}
    assert live.thresholds.min_chars == 50
    assert isinstance(live.thresholds.min_chars, int)
    assert live.thresholds.near_duplicate == 0.8
    assert len(data["sound"]) == len(data["texts"]) == len(data["lengths"]) == 200
    assert data["rules"][0]["name"] == "structure"
    assert all(rule["why"] for rule in data["rules"])


def test_shown_once_with_a_static_twin(monkeypatch):
    shown = []
    monkeypatch.setattr(studio, "show", lambda widget, **kw: shown.append((widget, kw)))
    rows = dirty_rows()[0][:50]
    live = studio.cleaning_studio(rows)
    assert shown[0][0] is live
    assert "50 rows came in" in shown[0][1]["alt"]
    monkeypatch.setenv("SFT_STATIC", "1")
    assert studio.cleaning_studio(rows) is None


def test_wrong_calls_are_refused():
    for rows in ([], [None] * (studio.MOST_ROWS + 1)):
        with pytest.raises(DataError, match="the studio shows"):
            studio.studio_data(rows)
    with pytest.raises(DataError, match="labels"):
        studio.studio_data([None], labels=[])
    with pytest.raises(DataError, match="no pairs"):
        studio.similarity_figure([])


def test_similarity_figure():
    figure = studio.similarity_figure([(0.55, False), (0.6, False), (0.8, True)])
    [axis] = figure.axes
    assert axis.get_xlim()[0] <= LOWEST_SIMILARITY
    assert [text.get_text() for text in axis.get_legend().get_texts()] == [
        "2 pairs of sound rows",
        "1 planted near duplicates",
    ]
    only = studio.similarity_figure([(0.8, True)])
    assert only.axes
