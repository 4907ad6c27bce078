"""lm-evaluation-harness: offline, from any folder, the kit's verdicts to the last question."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from sft_helpers import harness, town
from sft_helpers.errors import DataError, EnvironmentProblem
from sft_helpers.evaluation import Answer, answer_all, prompt_of

# In CI a missing harness is a failure, elsewhere a reason.
needs_harness = pytest.mark.skipif(
    not harness.installed() and os.environ.get("CI") != "true", reason=harness.MISSING
)


@pytest.fixture(scope="module")
def tiny():
    from sft_helpers.models import load

    return load("tiny")


@pytest.fixture(scope="module")
def trained(tmp_path_factory, tiny):
    """A model that answers: a short full run and a short LoRA run, saved as folders."""
    from sft_helpers.experiments import Run, run_here

    folder = tmp_path_factory.mktemp("harness")
    rows = town.read_rows("sft_train.jsonl")[:600]
    lora = {"r": 16, "lora_alpha": 32, "target_modules": "all-linear", "task_type": "CAUSAL_LM"}
    for name, rate, adapter in [("full", 5e-4, None), ("lora", 4e-3, lora)]:
        sft = {"learning_rate": rate, "num_train_epochs": 2}
        run_here(Run(name, rows, sft=sft, lora=adapter, save_to=str(folder / name)))
    return folder


def agreement(model, tokenizer, result, count):
    rows = town.read_rows("sft_test.jsonl")[:count]
    own = answer_all(model, tokenizer, [prompt_of(row) for row in rows])
    return harness.compare_with_own(result, own, rows, tokenizer)


@needs_harness
def test_base_model_from_another_folder(tiny, tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    model, tokenizer = tiny
    found = harness.run_tasks(model, tokenizer, limit=40)
    exact, choice = found[harness.EXACT], found[harness.CHOICE]
    assert exact.value == 0.0
    assert choice.value >= 0.85  # it knows the facts; chance is 0.25
    assert choice.value == sum(one.right for one in choice.samples) / 40
    same = agreement(model, tokenizer, exact, 40)
    assert (same.same_prompt, same.same_answer, same.same_verdict) == (1.0, 1.0, 1.0)
    assert "requests:" not in capfd.readouterr().err  # no progress bars


@needs_harness
@pytest.mark.slow
@pytest.mark.parametrize("kind", ["full", "lora"])
def test_trained_models_get_the_same_verdict_on_every_question(trained, kind):
    from sft_helpers.models import load

    model, tokenizer = load(str(trained / kind))
    base, adapter = (
        (trained / kind, None) if kind == "full" else (town.data_dir() / "base", trained / kind)
    )
    found = harness.run_tasks(base, tasks=[harness.EXACT], adapter=adapter)[harness.EXACT]
    same = agreement(model, tokenizer, found, 400)
    assert (same.questions, same.same_verdict, same.differing) == (400, 1.0, [])
    assert 0.05 < found.value < 1.0  # right and wrong answers were compared


@needs_harness
@pytest.mark.slow
def test_the_command_line_gives_the_same_score(trained, tmp_path):
    command = harness.command_line(trained / "full").replace("\\\n", " ")
    command = command.replace("lm-eval", f"{sys.executable} -m lm_eval", 1)
    done = subprocess.run(
        [*command.split(), "--limit", "60"], cwd=tmp_path, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr[-2000:]
    [file] = tmp_path.glob("results/**/results_*.json")
    results = json.loads(file.read_text("utf-8"))["results"]
    own = harness.run_tasks(trained / "full", limit=60)
    for task in harness.TASKS:
        [value] = [results[task][k] for k in results[task] if k.startswith(f"{own[task].metric},")]
        assert value == pytest.approx(own[task].value)


@needs_harness
def test_without_the_template_the_prompt_is_bare(tiny):
    model, tokenizer = tiny
    found = harness.run_tasks(model, tokenizer, tasks=[harness.EXACT], limit=2, chat_template=False)
    assert found[harness.EXACT].samples[0].prompt == "What is the job of Kira Kelham?"


@needs_harness
def test_unknown_tasks_are_named(tiny):
    with pytest.raises(DataError, match="no such task: hellaswag"):
        harness.run_tasks(*tiny, tasks=["hellaswag"])


def test_a_missing_harness_is_one_clear_sentence(monkeypatch):
    monkeypatch.setattr(harness, "installed", lambda: False)
    with pytest.raises(EnvironmentProblem, match="not installed") as problem:
        harness.run_tasks("anywhere")
    assert 'pip install "lm-eval' in str(problem.value)
    assert harness.MISSING.count("\n") == 0


def test_other_questions_are_refused(tiny):
    rows = town.read_rows("sft_test.jsonl")[:1]
    sample = harness.Sample("Where?", "Where?", "here", True)
    result = harness.TaskResult(harness.EXACT, "exact_match", 1.0, [sample])
    with pytest.raises(DataError, match="other questions"):
        harness.compare_with_own(result, [Answer("here", True, 1)], rows, tiny[1])


def test_differences_are_found(tiny):
    _, tokenizer = tiny
    rows = town.read_rows("sft_test.jsonl")[:3]
    texts = [row["messages"][-1]["content"] for row in rows]
    prompts = [
        tokenizer.apply_chat_template(prompt_of(r), tokenize=False, add_generation_prompt=True)
        for r in rows
    ]
    questions = [prompt_of(row)[-1]["content"] for row in rows]
    samples = [
        harness.Sample(questions[0], prompts[0], texts[0], True),
        harness.Sample(questions[1], prompts[1], texts[1], False),
        harness.Sample(questions[2], questions[2], texts[2], True),
    ]
    result = harness.TaskResult(harness.EXACT, "exact_match", 2 / 3, samples)
    own = [Answer(text, True, 1) for text in texts]
    found = harness.compare_with_own(result, own, rows, tokenizer)
    assert found.differing == [1, 2]
    assert found.same_verdict == found.same_prompt == pytest.approx(2 / 3)


def test_task_files_stand_beside_the_data():
    folder = harness.task_folder()
    assert {path.stem for path in folder.glob("*.yaml")} == set(harness.TASKS)
    text = "".join(path.read_text("utf-8") for path in folder.iterdir() if path.is_file())
    assert "http" not in text
    assert str(Path.home()) not in text


def test_choices_differ_in_the_fact_only(monkeypatch):
    import importlib.util

    spec = importlib.util.spec_from_file_location("tasks", harness.task_folder() / "lantern_bay.py")
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
