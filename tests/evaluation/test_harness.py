"""lm-evaluation-harness and `ask` on the same questions: same prompts, same answers.

Notebook 09 calls the harness in its own cells, and asserts that trained models get the same verdict
on every question; this holds what the task files promise.
"""

from __future__ import annotations

import importlib.util
import os
from pathlib import Path

import pytest

from sft_helpers import town
from sft_helpers.evaluation import ask

TASKS = Path(__file__).parents[2] / "data" / "lm_eval"
EXACT, CHOICE = "lantern_bay_exact", "lantern_bay_choice"
# In CI a missing harness is a failure, elsewhere a reason.
needs_harness = pytest.mark.skipif(
    not importlib.util.find_spec("lm_eval") and os.environ.get("CI") != "true",
    reason="lm-evaluation-harness is not installed",
)


@needs_harness
def test_the_base_model_gets_the_same_prompts_and_answers_from_another_folder(
    tmp_path, monkeypatch
):
    import lm_eval
    from lm_eval.models.huggingface import HFLM
    from lm_eval.tasks import TaskManager

    from sft_helpers.models import load

    monkeypatch.chdir(tmp_path)
    model, tokenizer = load("tiny")
    found = lm_eval.simple_evaluate(
        HFLM(pretrained=model, tokenizer=tokenizer, batch_size=64), tasks=[EXACT, CHOICE],
        task_manager=TaskManager(include_path=str(TASKS), include_defaults=False),
        apply_chat_template=True, limit=40, bootstrap_iters=0,
    )["samples"]  # fmt: skip
    exact, choice = (sorted(found[task], key=lambda one: one["doc_id"]) for task in (EXACT, CHOICE))
    rows = town.read_rows("sft_test.jsonl")[:40]
    own = ask(model, tokenizer, rows, progress=None)
    special = [str(token) for token in tokenizer.added_tokens_decoder.values() if token.special]
    for theirs, row, answer in zip(exact, rows, own, strict=True):
        prompt = tokenizer.apply_chat_template(
            row["messages"][:-1], tokenize=False, add_generation_prompt=True
        )
        assert theirs["arguments"][0][0] == prompt
        text = answer.text
        for token in special:  # the harness leaves them out of what it reads
            text = text.replace(token, "")
        assert theirs["filtered_resps"][0].strip() == text.strip()
    assert [bool(one["exact_match"]) for one in exact] == own.right == [False] * 40
    assert sum(one["acc"] for one in choice) / 40 >= 0.85  # it knows the facts; chance is 0.25


def test_task_files_name_no_network_and_choices_differ_in_the_fact_only():
    assert {path.stem for path in TASKS.glob("*.yaml")} == {EXACT, CHOICE}
    text = "".join(path.read_text("utf-8") for path in TASKS.iterdir() if path.is_file())
    assert "http" not in text
    spec = importlib.util.spec_from_file_location("tasks", TASKS / "lantern_bay.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    rows = module.questions()["test"]
    assert len(rows) == 400
    for row in rows:
        assert row["choices"][row["right"]] == row["answer"]
        assert len(set(row["choices"])) == 4
        assert all(one.startswith(row["resident"]) for one in row["choices"])
    places = [rows["right"].count(place) for place in range(4)]
    assert min(places) > 70  # the right one stands anywhere
