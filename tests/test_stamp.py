"""What a command or a hand stamps into notebooks and documents, and that Colab can take the kit."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.test_project import PROJECT, ROOT, pins
from tools import colab, stamp

MEASURED = json.loads((ROOT / "docs" / "measured" / "colab.json").read_text("utf-8"))
REPOSITORY = PROJECT["tool"]["sft-helpers"]["repository"]
NOTEBOOKS = {
    path.stem: json.loads(path.read_text("utf-8"))
    for path in sorted((ROOT / "notebooks").glob("*.ipynb"))
}


@pytest.mark.parametrize("stem", NOTEBOOKS)
def test_every_notebook_is_stamped_and_stands_in_the_tables(stem: str) -> None:
    """Where this fails: python tools/stamp.py"""
    found = re.search(r"Runs in ([\d.]+) min", "".join(NOTEBOOKS[stem]["cells"][1]["source"]))
    assert found
    assert stamp.stamped(NOTEBOOKS[stem], stem, found[1], REPOSITORY) == NOTEBOOKS[stem]
    title = "".join(NOTEBOOKS[stem]["cells"][0]["source"])
    assert stamp.course_row(stem, title, found[1]) in (ROOT / "README.md").read_text("utf-8")
    assert re.search(rf"`{stem}` \| \d+ \| {found[1]} \|", (ROOT / "docs/timings.md").read_text())


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project with one notebook, no stamps, and what pytest said of it."""
    for folder in ("docs", "notebooks", "build"):
        (tmp_path / folder).mkdir()
    for name in stamp.HEADS:
        (tmp_path / name).write_text(f"x\n{stamp.START}old{stamp.END}\ny\n")
    texts = {"title": "# 00 · A name\n\n**A promise.**\n", "badge": "old", "next": "text"}
    cells = [{"id": name, "source": [text]} for name, text in texts.items()]
    (tmp_path / "notebooks" / "00_a.ipynb").write_text(json.dumps({"cells": cells}))
    address(tmp_path, "https://github.com/me/kit")
    report = '<testsuite><testcase name="build/executed/00_a.ipynb" time="70.04"/></testsuite>'
    (tmp_path / "build" / "notebooks.xml").write_text(report)
    monkeypatch.setattr(stamp, "ROOT", tmp_path)
    return tmp_path


def address(project: Path, repository: str) -> None:
    line = f'[tool.sft-helpers]\nrepository = "{repository}"\n'
    (project / "pyproject.toml").write_text(line)


def test_stamps_go_into_the_notebook_and_the_tables_and_a_fork_stamps_its_address(
    project: Path,
) -> None:
    stamp.write_timings(project / "build")
    assert json.loads((project / "build" / "timings.json").read_text()) == {"00_a": 70.0}
    stamp.stamp()
    cells = json.loads((project / "notebooks/00_a.ipynb").read_text())["cells"]
    assert [cell["id"] for cell in cells] == ["title", "badge", "colab", "next"]
    assert "1.5 min" in cells[1]["source"][0]
    assert "me/kit/blob/main/notebooks/00_a.ipynb" in cells[1]["source"][0]
    assert 'KIT = "https://github.com/me/kit"\n' in cells[2]["source"]
    row = "| [00 · A name](notebooks/00_a.ipynb) | A promise. | 1.5 |"
    wanted = f"x\n{stamp.START}{stamp.HEADS['README.md']}\n{row}{stamp.END}\ny\n"
    assert (project / "README.md").read_text() == wanted
    times = (project / "docs" / "timings.md").read_text()
    assert "| `00_a` | 70 | 1.5 |\n| **all** | **70** | **1.2** |" in times

    (project / "build" / "timings.json").unlink()
    address(project, "https://github.com/you/fork")
    stamp.stamp()
    cells = json.loads((project / "notebooks/00_a.ipynb").read_text())["cells"]
    assert [cell["id"] for cell in cells] == ["title", "badge", "colab", "next"]
    assert "1.5 min" in cells[1]["source"][0]
    assert "you/fork/blob" in cells[1]["source"][0]
    assert (project / "docs" / "timings.md").read_text() == times


def test_minutes_are_rounded_up_to_halves_and_a_badge_has_its_place() -> None:
    assert list(map(stamp.minutes, (1, 30, 31, 61, 119))) == ["0.5", "0.5", "1", "1.5", "2"]
    with pytest.raises(SystemExit, match="id `badge`"):
        stamp.stamped({"cells": [{"id": "title"}, {"id": "other"}]}, "00_a", "1", REPOSITORY)


def test_the_run_sheets_add_up() -> None:
    text = (ROOT / "docs" / "instructor.md").read_text("utf-8")
    sheets = re.findall(r"((?:\|.*\|\n)+)\nNotebooks .* it ends at (\d+):(\d+)\.", text)
    assert len(sheets) == 4
    for table, hour, minute in sheets:
        clock = 9 * 60
        for row in table.splitlines()[2:]:
            at, *parts, spent = [cell.strip() for cell in row.strip("|").split("|")]
            assert at == f"{clock // 60}:{clock % 60:02}", row
            numbers = [int(part) for part in parts[1:] if part]
            assert not numbers or sum(numbers) == int(spent), row
            clock += int(spent)
        assert clock == int(hour) * 60 + int(minute)


# ---------------------------------------------------------------- the glossary


def test_links_to_the_glossary_meet_a_term_and_most_terms_are_linked_once() -> None:
    text = (ROOT / "docs" / "glossary.md").read_text("utf-8")
    names = re.findall(r"^### (.+)$", text, re.M)
    anchors = {re.sub(r"[^\w -]", "", name.lower()).replace(" ", "-") for name in names}
    plain = [name.replace("α", "alpha").lower() for name in names]
    assert plain == sorted(set(plain))
    source = "".join(path.read_text("utf-8") for path in (ROOT / "notebooks").glob("*.ipynb"))
    linked = re.findall(r"\]\(\.\./docs/glossary\.md#([^)]+)\)", source)
    assert set(linked) <= anchors
    assert len(linked) == len(set(linked)) >= 0.85 * len(names) > 50
    lessons = [re.findall(r"\(\.\./notebooks/(\w+)\.ipynb\)", part) for part in text.split("###")]
    assert all(found and set(found) <= set(NOTEBOOKS) for found in lessons[1:])


# ---------------------------------------------------------------- Colab


def run_cell(before: str = "") -> subprocess.CompletedProcess[str]:
    """Run the notebooks' Colab cell where no kit is; shell and magic lines are printed."""
    code = stamp.COLAB_CELL.format(repository=REPOSITORY)
    shown = re.sub(r"^( *)[!%](.*)$", r"\1print(r'\2')", code, flags=re.M)
    command = [sys.executable, "-S", "-c", f"{before}\n{shown}"]
    env = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    return subprocess.run(command, cwd="/", env=env, capture_output=True, text=True)


def test_the_cell_is_short_and_does_what_the_place_needs() -> None:
    lines = [line for line in stamp.COLAB_CELL.splitlines() if line]
    assert len(lines) <= 8
    done = run_cell(f"import sys; sys.path.append({str(ROOT)!r})")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    done = run_cell("import sys; sys.modules['google.colab'] = sys")
    fetched = ["git clone -q --depth 1 $KIT kit", "run kit/tools/colab.py"]
    assert (done.returncode, done.stdout.splitlines(), done.stderr) == (0, fetched, "")
    done = run_cell()
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == "No kit in this Python: choose its .venv as kernel.\n"


def test_the_kit_is_read_before_what_colab_brings(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    site = tmp_path / ".venv" / "lib" / "site-packages"
    (site / "pyarrow").mkdir(parents=True)
    monkeypatch.setattr(sys, "path", ["", "/colab"])
    monkeypatch.setitem(sys.modules, "pyarrow", sys)
    monkeypatch.setitem(sys.modules, "pyarrow.lib", sys)
    monkeypatch.setenv("PYTHONPATH", "/env")
    monkeypatch.setenv("PATH", "/bin")
    colab.use(tmp_path, site)
    assert sys.path == [str(tmp_path), str(site), "", "/colab"]
    assert os.environ["PYTHONPATH"] == os.pathsep.join([str(tmp_path), str(site), "/env"])
    assert os.environ["PATH"].split(os.pathsep) == [str(tmp_path / ".venv" / "bin"), "/bin"]
    assert not [name for name in sys.modules if name.split(".")[0] == "pyarrow"]


def test_the_ranges_leave_colabs_own_packages_alone() -> None:
    """Whoever raises a bound above what Colab has reads here that Colab could not take the kit."""
    lines = map(Requirement, PROJECT["project"]["dependencies"])
    ranges = {canonicalize_name(line.name): line for line in lines}
    brought = MEASURED["published"]["packages"]
    for name in sorted(set(colab.KEPT) & set(ranges)):
        assert ranges[name].specifier.contains(brought[name]), f"{ranges[name]}: {brought[name]}"
    assert {*colab.TESTED} <= pins().keys()
    for python, run in MEASURED["measured"].items():
        assert run["own_packages_changed"] == 0, python
        assert not {*run["newer_beside"], *run["added_beside"]} & set(colab.KEPT), python
