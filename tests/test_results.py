"""expect(): asserts, prints and records."""

import json

import pytest

from sft_helpers import results


@pytest.fixture
def file(tmp_path, monkeypatch):
    target = tmp_path / "new" / "results.jsonl"
    monkeypatch.setenv("SFT_RESULTS", str(target))
    return target


def _lines(file):
    return [json.loads(line) for line in file.read_text().splitlines()]


def test_a_claim_that_holds_is_printed_recorded_and_returned(file, capsys):
    results.begin("00_quickstart")
    assert results.expect("a.score", 0.5, low=0.4, high=0.6) == 0.5
    [line] = _lines(file)
    assert {key: line[key] for key in ("name", "value", "low", "high", "ok", "notebook")} == {
        "name": "a.score",
        "value": 0.5,
        "low": 0.4,
        "high": 0.6,
        "ok": True,
        "notebook": "00_quickstart",
    }
    assert line["seconds"] >= 0
    assert "a.score = 0.5" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("value", "low", "high"),
    [(0.39, 0.4, None), (0.61, None, 0.6), (float("nan"), 0.0, None), (float("inf"), None, 1.0)],
)
def test_a_claim_that_fails_is_recorded_before_it_raises(file, value, low, high):
    with pytest.raises(AssertionError, match=r"a\.score"):
        results.expect("a.score", value, low=low, high=high)
    [line] = _lines(file)
    assert line["ok"] is False


def test_bounds_are_inclusive(file):
    results.expect("a.zero", 0, low=0, high=0)
    assert _lines(file)[0]["ok"] is True


def test_a_claim_without_bounds_is_refused(file):
    with pytest.raises(ValueError, match="cannot fail"):
        results.expect("a.score", 1.0)
    assert not file.exists()


def test_nothing_is_written_without_a_file(tmp_path, monkeypatch):
    monkeypatch.delenv("SFT_RESULTS", raising=False)
    monkeypatch.chdir(tmp_path)
    results.expect("a.score", 1.0, low=0.0)
    assert list(tmp_path.iterdir()) == []
