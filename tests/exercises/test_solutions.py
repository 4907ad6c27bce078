"""Solved notebooks: merged by tag, the same bytes each time, and every mismatch named."""

from __future__ import annotations

import nbformat
import pytest

from sft_helpers.cli import main
from sft_helpers.errors import DataError
from sft_helpers.exercises.data import topic_for
from sft_helpers.exercises.solutions import build_solutions


def write(path, *exercises, stub="def double(x):\n    ..."):
    cells = [nbformat.v4.new_markdown_cell("# Title", id="title")]
    for number, name in enumerate(exercises):
        cell = nbformat.v4.new_code_cell(stub, id=f"stub-{number}")
        cell.metadata.tags = ["exercise", f"id:{name}", "keep"]
        check = nbformat.v4.new_code_cell(f"check({name!r}, double)", id=f"check-{number}")
        check.outputs = [nbformat.v4.new_output("stream", text="[todo]")]
        check.execution_count = 3
        cells += [cell, check]
    notebook = nbformat.v4.new_notebook(cells=cells)
    notebook.metadata.widgets = {"application/vnd.jupyter.widget-state+json": {"state": {}}}
    nbformat.write(notebook, path)
    return path


@pytest.fixture
def folders(tmp_path):
    (tmp_path / "notebooks").mkdir()
    return tmp_path / "notebooks", tmp_path / "notebooks" / "solutions"


def test_topic_for(tmp_path):
    assert topic_for(tmp_path / "04_loss_masking.ipynb") == "loss_masking"
    assert topic_for(tmp_path / "07b_real_model.ipynb") == "real_model"


def test_the_stub_is_replaced_and_nothing_else(demo, folders):
    source, target = folders
    path = write(source / "00_demo.ipynb", "demo-1")
    (written,) = build_solutions(source, target)
    assert written == target / "00_demo.ipynb"
    before, after = nbformat.read(path, 4), nbformat.read(written, 4)
    nbformat.validate(after)
    banner, *cells = after.cells
    assert "00_demo.ipynb" in banner.source
    assert [c.id for c in cells] == [c.id for c in before.cells]
    assert cells[1].source == "def double(x):\n    return 2 * x"
    assert cells[1].metadata.tags == ["solution", "id:demo-1", "keep"]
    assert cells[2].source == before.cells[2].source
    assert cells[2].outputs == []
    assert cells[2].execution_count is None
    assert "widgets" not in after.metadata


def test_the_same_bytes_each_time(demo, folders):
    source, target = folders
    write(source / "00_demo.ipynb", "demo-1")
    first = build_solutions(source, target)[0].read_bytes()
    assert build_solutions(source, target)[0].read_bytes() == first
    assert first.endswith(b"}\n")


def test_a_notebook_without_exercises_has_no_twin(demo, folders):
    source, target = folders
    write(source / "00_demo.ipynb", "demo-1")
    write(source / "01_plain.ipynb")
    build_solutions(source, target)
    assert [p.name for p in target.iterdir()] == ["00_demo.ipynb"]


def test_an_outdated_twin_goes_and_a_foreign_file_stays(demo, folders):
    source, target = folders
    write(source / "00_demo.ipynb", "demo-1")
    build_solutions(source, target)
    write(target / "mine.ipynb")
    (source / "00_demo.ipynb").rename(source.parent / "gone.ipynb")
    assert build_solutions(source, target) == []
    assert [p.name for p in target.iterdir()] == ["mine.ipynb"]


def test_every_mismatch_is_named(demo, folders):
    source, target = folders
    write(source / "00_demo.ipynb", "demo-1", "demo-2")
    with pytest.raises(DataError, match=r"00_demo.ipynb: exercise demo-2 is not in"):
        build_solutions(source, target)
    write(source / "00_demo.ipynb")
    with pytest.raises(DataError, match=r"demo-1 of .* has no cell"):
        build_solutions(source, target)
    write(source / "00_demo.ipynb", "demo-1", "demo-1")
    with pytest.raises(DataError, match="cell 3: exercise demo-1 occurs twice"):
        build_solutions(source, target)
    write(source / "00_demo.ipynb", "demo-1", stub="def double(x):\n    return x")
    with pytest.raises(DataError, match="no blank"):
        build_solutions(source, target)
    assert not target.exists()


def test_tags_must_name_one_exercise(demo, folders):
    source, target = folders
    path = write(source / "00_demo.ipynb", "demo-1")
    notebook = nbformat.read(path, 4)
    notebook.cells[1].metadata.tags = ["exercise"]
    nbformat.write(notebook, path)
    with pytest.raises(DataError, match="one tag id:NAME"):
        build_solutions(source, target)
    notebook.cells[0].metadata.tags = ["exercise", "id:demo-1"]
    nbformat.write(notebook, path)
    with pytest.raises(DataError, match="must be a code cell"):
        build_solutions(source, target)


def test_a_damaged_notebook_is_named(folders):
    source, target = folders
    (source / "00_demo.ipynb").write_text("{")
    with pytest.raises(DataError, match=r"00_demo\.ipynb: the notebook cannot be read"):
        build_solutions(source, target)


def test_the_notebooks_themselves_are_never_overwritten(demo, folders):
    source, _ = folders
    path = write(source / "00_demo.ipynb", "demo-1")
    before = path.read_bytes()
    with pytest.raises(DataError, match="overwrite"):
        build_solutions(source, source)
    assert path.read_bytes() == before


def test_the_command(demo, folders, capsys):
    source, target = folders
    write(source / "00_demo.ipynb", "demo-1")
    assert main(["build-solutions", "--notebooks", str(source), "--out", str(target)]) == 0
    assert "1 solved notebooks" in capsys.readouterr().out
