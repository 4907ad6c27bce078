"""The file picker in a real JupyterLab: a file is uploaded and its rows are seen; a broken one."""

from __future__ import annotations

from typing import Any

import pytest
from playwright.sync_api import expect

pytestmark = [pytest.mark.browser, pytest.mark.xdist_group("browser")]

PICK = r"""
from sft_helpers.display.file_picker import pick_file
from sft_helpers.town import data_dir
picker = pick_file(data_dir("own") / "questions.csv")
"""
ROWS = r"""
from sft_helpers.display import chat, show
from sft_helpers.formats import convert, load_rows
done = convert(load_rows(picker.path, progress=False))
show(html=chat(done.rows[0]["messages"], title=f"{len(done.rows)} rows"), alt="the first row")
"""
MINE = b"question,answer\nWho keeps the <b>lamp</b>?,Ada.\nWho mends nets?,Tom.\n"


def test_an_upload_becomes_the_rows_and_a_broken_one_does_not(lab: Any) -> None:
    lab.open("picker.ipynb", [PICK, ROWS])
    assert lab.run_all() == []
    panel = lab.panel
    expect(panel.get_by_text("question_answer, 605 rows looked at.")).to_be_visible(timeout=20_000)
    expect(panel.get_by_label("Example")).to_be_visible()

    def upload(name: str, content: bytes) -> None:
        with lab.page.expect_file_chooser() as opened:
            panel.get_by_role("button", name="Or upload").click()
        file: Any = {"name": name, "mimeType": "text/plain", "buffer": content}
        opened.value.set_files(file)

    upload("mine.csv", MINE)
    told = panel.get_by_text("mine.csv: question_answer, 2 rows looked at. Run the cells below")
    expect(told).to_be_visible(timeout=20_000)
    lab.page.evaluate(
        "() => { window.jupyterapp.shell.currentWidget.content.activeCellIndex = 1;"
        " window.jupyterapp.commands.execute('notebook:run-cell'); }"
    )
    expect(panel.get_by_text("2 rows", exact=True)).to_be_visible(timeout=20_000)
    expect(panel.get_by_text("Who keeps the <b>lamp</b>?")).to_be_visible()
    assert (lab.folder / "runs/uploads/mine.csv").read_bytes() == MINE

    upload("broken.jsonl", b'{"messages": [\n')
    refused = "This file cannot be used; still mine.csv. broken.jsonl: line 1: this is not JSON"
    expect(panel.get_by_text(refused)).to_be_visible(timeout=20_000)
    upload("broken.parquet", b"nothing of the kind")
    expect(panel.get_by_text("this Parquet file cannot be read")).to_be_visible(timeout=20_000)
    upload("mine.csv", MINE)
    expect(told).to_be_visible(timeout=20_000)
