"""The page on what comes after SFT: its code runs as it stands."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest

PAGE = Path(__file__).parents[2] / "docs" / "after-sft.md"


@pytest.mark.slow
def test_the_code_of_the_page_runs(tmp_path, monkeypatch):
    from sft_helpers.models import resolve

    blocks = re.findall(r"```python\n(.*?)```", PAGE.read_text("utf-8"), re.S)
    assert len(blocks) == 3
    monkeypatch.chdir(tmp_path)
    shutil.copytree(resolve("tiny"), "runs/12/model")
    space: dict[str, object] = {}
    for block in blocks:
        exec(block, space)
    assert space["dpo"].state.global_step == 2
    assert {"rewards/margins", "rewards/chosen"} <= set(space["dpo"].state.log_history[0])
    assert space["grpo"].state.global_step == 1
    assert "reward" in space["grpo"].state.log_history[0]
