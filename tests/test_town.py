"""The reader of Lantern Bay's files."""

from __future__ import annotations

import pytest

from sft_helpers import town
from sft_helpers.errors import DataError


def test_rows_are_read_from_every_part_of_the_data():
    assert len(town.read_rows("sft_test.jsonl")) == 400
    assert town.read_rows("dirty/eval.jsonl") == town.read_rows("sft_dev.jsonl")
    assert len(town.read_rows("formats/odd/rows.jsonl")) == 21


def test_answers_and_values_are_those_of_the_files():
    people = town.read_rows("residents.jsonl")
    for fact, values in town.VALUES.items():
        assert {person[fact] for person in people} == set(values)
    for row in town.read_rows("sft_test.jsonl"):
        said = row["messages"][1]["content"]
        answers = {town.ANSWERS[row["fact"]].format(S=row["resident"], v=v)
                   for v in town.VALUES[row["fact"]]}  # fmt: skip
        assert said in answers
    for row in town.read_rows("strangers_test.jsonl"):
        assert row["messages"][1]["content"] == town.NO_RECORD.format(name=row["resident"])


def test_missing_data_name_the_command(tmp_path, monkeypatch):
    monkeypatch.setenv("SFT_DATA", str(tmp_path))
    with pytest.raises(DataError, match="make town"):
        town.data_dir()
    with pytest.raises(DataError, match="make town"):
        town.read_rows("dirty/rows.jsonl")


def test_a_damaged_line_names_file_and_line(tmp_path, monkeypatch):
    monkeypatch.setenv("SFT_DATA", str(tmp_path))
    (tmp_path / "town").mkdir()
    (tmp_path / "town" / "x.jsonl").write_text('{"a": 1}\n{"a": \n')
    with pytest.raises(DataError, match=r"x\.jsonl, line 2"):
        town.read_rows("x.jsonl")
    with pytest.raises(DataError, match="no such data file"):
        town.read_rows("y.jsonl")
