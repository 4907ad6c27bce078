"""The first cell of a notebook, and the stamps that a command writes."""

import json

import pytest

from sft_helpers import notebook, results
from tools import stamp


def test_setup_says_what_was_chosen_and_with_which_versions(capsys, monkeypatch):
    monkeypatch.setenv("SFT_PROFILE", "cpu")
    profile = notebook.setup("00_quickstart")
    out = capsys.readouterr().out
    assert profile.model.value == "tiny"
    assert results._notebook == "00_quickstart"
    assert "Profile cpu" in out
    assert "trl " in out
    assert all(len(line) <= 80 for line in out.splitlines())


def test_setup_makes_runs_repeatable():
    import torch

    drawn = []
    for _ in range(2):
        notebook.setup("x", seed=3)
        drawn.append(torch.rand(1).item())
    assert drawn[0] == drawn[1]


@pytest.mark.parametrize(
    ("installed", "tested", "said"),
    [
        ("1.16.0", "1.16.0", "Checked with TRL 1.16.0."),
        ("1.17.0", "1.16.0", "you have 1.17.0"),
        ("1.16.0", None, "another release"),
    ],
)
def test_another_trl_is_pointed_out(installed, tested, said):
    assert said in notebook._checked(installed, tested)


@pytest.mark.parametrize(
    ("seconds", "minutes"), [(1, "0.5"), (30, "0.5"), (31, "1"), (61, "1.5"), (119, "2")]
)
def test_minutes_are_rounded_up_to_halves(seconds, minutes):
    assert stamp.minutes(seconds) == minutes


def test_every_notebook_and_the_readme_are_stamped():
    assert stamp.stamp(check=True) == []


def test_stamps_go_into_badge_cells_and_the_readme(tmp_path, monkeypatch):
    cells = [
        {"id": "title", "source": ["# 00 · A name\n", "\n", "**A promise.**\n"]},
        {"id": "badge", "source": ["old"]},
    ]
    for cell in cells:
        cell["cell_type"] = "markdown"
    (tmp_path / "docs").mkdir()
    guide = tmp_path / "docs" / "instructor.md"
    guide.write_text(f"x\n{stamp.PLANS_START}\nold\n{stamp.PLANS_END}\ny\n")
    (tmp_path / "notebooks").mkdir()
    path = tmp_path / "notebooks" / "00_a.ipynb"
    path.write_text(json.dumps({"cells": cells}))
    (tmp_path / "README.md").write_text(f"x\n{stamp.START}\nold\n{stamp.END}\ny\n")
    (tmp_path / "pyproject.toml").write_text(
        '[tool.sft-helpers]\nrepository = "https://github.com/me/kit"\n'
    )
    timings = tmp_path / "timings.json"
    timings.write_text('{"00_a": 70.0}')
    monkeypatch.setattr(stamp, "ROOT", tmp_path)
    monkeypatch.setattr(stamp, "TIMINGS", timings)
    assert stamp.stamp(check=True) == ["notebooks/00_a.ipynb", "README.md: 00_a.ipynb"]
    stamp.stamp()
    [line] = json.loads(path.read_text())["cells"][1]["source"]
    assert "1.5 min" in line
    assert "me/kit/blob/main/notebooks/00_a.ipynb" in line
    readme = (tmp_path / "README.md").read_text()
    assert "| [00 · A name](notebooks/00_a.ipynb) | A promise. | 1.5 |" in readme
    assert guide.read_text().count("| 0:00 | 00 · A name | 2 | 1 | 0 | 3 |") == 3
    assert readme.startswith("x\n")
    assert readme.endswith("y\n")
    assert stamp.stamp(check=True) == []
    once = path.read_text()
    stamp.stamp()
    assert path.read_text() == once
