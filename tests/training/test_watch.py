"""The record follows a real run, and a probe that looks at the model leaves it as it was."""

from __future__ import annotations

import pytest
import torch

from sft_helpers import town, watch
from sft_helpers.display.monitor import LiveMonitor
from sft_helpers.training.watch import History, record


def built(tmp_path):
    from datasets import Dataset
    from trl import SFTConfig, SFTTrainer

    from sft_helpers.models import load

    model, tokenizer = load("tiny")
    rows = Dataset.from_list(
        [{"messages": row["messages"]} for row in town.read_rows("sft_train.jsonl")[:32]]
    )
    args = SFTConfig(
        str(tmp_path), max_steps=5, logging_steps=2, per_device_train_batch_size=4, use_cpu=True,
        bf16=False, assistant_only_loss=True, learning_rate=1e-3, save_strategy="no", seed=0,
        eval_strategy="steps", eval_steps=2, disable_tqdm=True, report_to="none",
    )  # fmt: skip
    return SFTTrainer(
        model, args, train_dataset=rows, eval_dataset=rows.select(range(8)),
        processing_class=tokenizer,
    )  # fmt: skip


@pytest.fixture
def trainer(tmp_path):
    return built(tmp_path)


def test_the_record_equals_the_trainers_own_log(trainer):
    history = record(trainer)
    seen = []
    history.listeners.append(lambda now: seen.append((now.step, now.finished)))
    trainer.train()
    logged = [entry for entry in trainer.state.log_history if "loss" in entry]
    assert history.steps == [entry["step"] for entry in logged] == [2, 4]
    for name in ("loss", "learning_rate", "grad_norm"):
        assert getattr(history, name) == [entry[name] for entry in logged]
    evaluated = [entry for entry in trainer.state.log_history if "eval_loss" in entry]
    assert history.eval_steps == [entry["step"] for entry in evaluated] == [2, 4, 5]
    assert history.eval_loss == [entry["eval_loss"] for entry in evaluated]
    assert history.tokens == max(entry.get("num_tokens", 0) for entry in trainer.state.log_history)
    assert (history.step, history.total_steps, history.seconds_left) == (5, 5, 0)
    assert history.tokens_per_second > 0
    assert (seen[0], seen[-1]) == ((0, False), (5, True))


def test_a_probe_sees_the_model_at_rest_and_changes_nothing(trainer, tmp_path):
    modes = []

    def probe(model):
        modes.append((model.training, torch.is_grad_enabled()))
        return torch.rand(1).item()  # it may use random numbers

    again = built(tmp_path)
    plain, watched = record(again), record(trainer, probe, every=2)
    for one in (again, trainer):
        one.train()
    assert watched.loss == plain.loss
    assert [step for step, _ in watched.probes] == [0, 2, 4, 5]
    assert set(modes) == {(False, False)}


def test_watch_draws_in_place_of_the_libraries_own_progress(trainer):
    from transformers.trainer_callback import PrinterCallback, ProgressCallback

    history = watch(trainer, title="Tuning")
    kinds = {type(callback) for callback in trainer.callback_handler.callbacks}
    assert not kinds & {PrinterCallback, ProgressCallback}
    [monitor] = history.listeners
    assert isinstance(monitor, LiveMonitor)
    assert monitor.title == "Tuning"
    assert watch(trainer, show=False).listeners == []
    kept = [one for one in trainer.callback_handler.callbacks if isinstance(one, History)]
    assert len(kept) == 1  # watched anew, the earlier record ends


def test_seconds_left_of_a_resumed_run_counts_its_own_steps():
    history = History()
    history._first_step, history.step, history.total_steps, history.seconds = 50, 60, 100, 20.0
    assert history.seconds_left == pytest.approx(80.0)
    assert History().seconds_left is None
    assert History().tokens_per_second is None
