"""The blind view without a browser: the coin, the file, what stays hidden."""

from __future__ import annotations

import json

import pytest
import traitlets

from sft_helpers.display.blind import blind_html, blind_view, make_pairs, make_view
from sft_helpers.errors import DataError, EnvironmentProblem

ROWS = [{"question": f"q{n}", "before": f"one {n}", "after": f"two {n}"} for n in range(40)]
NAMES = ("first model", "second model")


def test_sides_are_drawn_and_order_is_shuffled():
    pairs = make_pairs(ROWS)
    assert 10 <= sum(pair["swapped"] for pair in pairs) <= 30
    for pair in pairs:
        left, right = (pair["right"], pair["left"]) if pair["swapped"] else (
            pair["left"], pair["right"],
        )  # fmt: skip
        assert left.startswith("one")
        assert right.startswith("two")
    assert [pair["question"] for pair in pairs] != [row["question"] for row in ROWS]
    assert pairs == make_pairs(ROWS)
    assert pairs != make_pairs(ROWS, seed=1)


def test_equal_answers_are_left_out():
    same = {"question": "q", "before": "x", "after": "x"}
    assert len(make_pairs([*ROWS, same])) == len(ROWS)
    with pytest.raises(DataError, match="answer alike"):
        make_pairs([same])
    with pytest.raises(DataError, match="lacks after"):
        make_pairs([{"question": "q", "before": "x"}])


def test_choices_are_counted_for_the_model_behind_the_side(tmp_path):
    view = make_view(ROWS, NAMES, file=tmp_path / "deep" / "blind.json", limit=10)
    view.choices = ["right" if pair["swapped"] else "left" for pair in view.pairs[:4]] + [
        "left" if pair["swapped"] else "right" for pair in view.pairs[4:6]
    ] + ["tie"] + [""] * 3  # fmt: skip
    assert view.counts == {"first model": 4, "second model": 2, "tie": 1, "open": 3}
    kept = json.loads((tmp_path / "deep" / "blind.json").read_text("utf-8"))
    assert kept["counts"] == view.counts
    assert [one["prefers"] for one in kept["choices"]] == view.chosen
    again = make_view(ROWS, NAMES, file=tmp_path / "deep" / "blind.json", limit=10)
    assert again.choices == view.choices
    other = make_view(ROWS, NAMES, file=tmp_path / "deep" / "blind.json", limit=10, seed=3)
    assert other.choices == [""] * 10


def test_another_file_is_not_overwritten(tmp_path):
    path = tmp_path / "notes.json"
    path.write_text('{"mine": 1}')
    with pytest.raises(DataError, match="holds no choices"):
        make_view(ROWS, NAMES, file=path)
    assert path.read_text() == '{"mine": 1}'


def test_a_folder_that_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("")
    view = make_view(ROWS, NAMES, limit=2)
    view.file = tmp_path / "file" / "blind.json"
    from sft_helpers.display.blind import _write

    with pytest.raises(EnvironmentProblem, match="cannot be kept"):
        _write(view)


def test_unsound_choices_from_the_page_are_refused():
    view = make_view(ROWS, NAMES, limit=2)
    for wrong in (["left"], ["left", "middle"]):
        with pytest.raises(traitlets.TraitError):
            view.choices = wrong


def test_static_view_hides_names_until_unfolded():
    pairs = make_pairs([*ROWS[:2], {"question": "<b>", "before": "<i>", "after": "\u202e"}])
    html = str(blind_html(pairs, NAMES))
    blind, _, key = html.partition("<details>")
    assert "first model" not in blind
    assert "first model" in key
    assert "<b>" not in html.replace("<b>Expected", "")
    assert "&lt;i&gt;" in html
    assert "\u202e" not in html


def test_without_widgets_the_table_is_shown(monkeypatch, capsys):
    monkeypatch.setenv("SFT_STATIC", "1")
    assert blind_view(ROWS, NAMES, limit=3) is None
