"""The views in a kernel without any front end, as nbmake runs the notebooks."""

from __future__ import annotations

import os
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

ROOT = Path(__file__).parents[2]
CELLS = [
    """
from types import SimpleNamespace
from sft_helpers.quiet import quiet_libraries
quiet_libraries()
from sft_helpers.display import answers_view
from sft_helpers.display.monitor import LiveMonitor
from sft_helpers.exercises import check, quiz
from sft_helpers.exercises.data import Question
run = SimpleNamespace(steps=[], loss=[], eval_steps=[], eval_loss=[],
                      learning_rate=[], tokens_per_second=None, seconds_left=None, step=0,
                      total_steps=9)
monitor = LiveMonitor()
monitor.every = 0
for step in range(1, 10):
    run.step = step
    run.steps.append(step)
    run.loss.append(1 / step)
    monitor(run)
""",
    """
answers_view([dict(question="Q", expected="E", before="B", after="E",
                   before_ok=False, after_ok=True)])
quiz([Question("Q?", (("a", True, "A"), ("b", False, "B")))])
""",
    """
def share_right(answers, rows):
    table = {}
    return table["key"]
check("quickstart-2", share_right)
def share_right(answers, rows):
    ...
check("quickstart-2", share_right)
""",
]


@pytest.mark.loopback
def test_views_run_without_a_front_end(tmp_path, monkeypatch):
    inherited = os.environ.get("PYTHONPATH", "")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(filter(None, [str(ROOT), inherited])))
    for name in ("SFT_STATIC", "SFT_EXERCISES", "SFT_PROGRESS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path))
    cells = [nbformat.v4.new_code_cell(source.strip()) for source in CELLS]
    notebook = nbformat.v4.new_notebook(cells=cells)
    NotebookClient(notebook, timeout=60, kernel_name="python3").execute()

    (monitor,) = cells[0].outputs
    assert "step 9 of 9 (100%)" in monitor.data["text/html"]
    assert monitor.data["text/plain"].startswith("Training: step 9/9")
    view = "application/vnd.jupyter.widget-view+json"
    assert [set(out.data) for out in cells[1].outputs] == [{view, "text/html", "text/plain"}] * 2
    (printed,) = cells[2].outputs
    raised, todo = printed.text.splitlines()
    said = "your code raised KeyError: 'key', in line 3: `return table[\"key\"]`"
    assert raised == f"[not yet] Write the score yourself: {said}"
    assert todo.startswith("[todo]")
