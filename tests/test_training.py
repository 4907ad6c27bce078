"""Recipes build real configs, print code that runs, and the record follows a real run."""

import inspect
import itertools

import pytest

from sft_helpers import town
from sft_helpers.errors import SFTHelpersError
from sft_helpers.hardware import Hardware
from sft_helpers.machine import profile
from sft_helpers.training import METHODS, RunHistory, recipe, record

MACHINES = {
    "cpu": Hardware("cpu", "a CPU", cores=2, memory_gib=16.0, bf16_ratio=20.0),
    "t4": Hardware("cuda", "Tesla T4", 14.7, (7, 5)),
    "rtx4090": Hardware("cuda", "NVIDIA GeForce RTX 4090", 23.6, (8, 9)),
}


@pytest.mark.parametrize(("machine", "method"), [*itertools.product(MACHINES, METHODS)])
@pytest.mark.parametrize("model", ["tiny", "Qwen/Qwen2.5-0.5B"])
def test_every_argument_of_a_recipe_exists(machine, method, model):
    from peft import LoraConfig
    from transformers import BitsAndBytesConfig
    from trl import SFTConfig

    plan = recipe(profile(hardware=MACHINES[machine]), method, model)
    assert set(plan.sft) <= set(inspect.signature(SFTConfig).parameters)
    assert (plan.lora is None) == (method == "full")
    assert (plan.quantization is None) == (method != "qlora")
    if plan.lora:
        assert isinstance(plan.lora_config(), LoraConfig)
    if plan.quantization:
        assert isinstance(plan.quantization_config(), BitsAndBytesConfig)
    assert set(plan.why) <= {*plan.sft, *(plan.lora or {}), *(plan.quantization or {})}


def test_full_fine_tuning_keeps_fp32_weights_on_a_gpu():
    plan = recipe(profile(hardware=MACHINES["rtx4090"]), "full", "Qwen/Qwen2.5-0.5B")
    assert plan.sft["model_init_kwargs"]["dtype"] == "float32"


def test_lora_rate_is_ten_times_the_full_rate_on_real_models():
    machine = profile(hardware=MACHINES["rtx4090"])
    full, lora = (recipe(machine, m, "Qwen/Qwen2.5-7B").sft["learning_rate"] for m in METHODS[:2])
    assert lora == pytest.approx(10 * full)


def test_unknown_method_names_the_known_ones():
    with pytest.raises(SFTHelpersError, match="full, lora, qlora"):
        recipe(profile(hardware=MACHINES["cpu"]), "dora")


@pytest.mark.parametrize("method", ["full", "lora"])
def test_printed_code_runs_and_trains(method, tmp_path, monkeypatch):
    from datasets import Dataset

    plan = recipe(profile(hardware=MACHINES["cpu"]), method, "tiny")
    code = plan.code()
    assert all(reason in code for reason in plan.why.values())
    monkeypatch.chdir(tmp_path)
    rows = Dataset.from_list(town.read_rows("sft_train.jsonl")[:8])
    short = code.replace("'num_train_epochs'", "").replace("num_train_epochs=3", "max_steps=1")
    assert short != code
    scope = {"train_dataset": rows}
    exec(compile(short, "recipe", "exec"), scope)
    assert scope["trainer"].state.global_step == 1
    assert hasattr(scope["trainer"].model, "peft_config") == (method == "lora")


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    from datasets import Dataset
    from trl import SFTTrainer

    plan = recipe(profile(hardware=MACHINES["cpu"]), "full", "tiny")
    rows = Dataset.from_list(town.read_rows("sft_train.jsonl")[:32])
    config = plan.sft_config(
        str(tmp_path_factory.mktemp("run")),
        max_steps=4,
        logging_steps=2,
        per_device_train_batch_size=4,
        eval_strategy="steps",
        eval_steps=2,
        disable_tqdm=True,
    )
    trainer = SFTTrainer(plan.model, args=config, train_dataset=rows, eval_dataset=rows)
    history = record(trainer)
    seen = []
    history.listeners.append(lambda now: seen.append((now.step, now.finished)))
    trainer.train()
    return trainer, history, seen


def test_history_equals_the_trainers_own_log(run):
    trainer, history, _ = run
    logged = [entry for entry in trainer.state.log_history if "loss" in entry]
    assert history.steps == [entry["step"] for entry in logged] == [2, 4]
    assert history.loss == [entry["loss"] for entry in logged]
    assert history.learning_rate == [entry["learning_rate"] for entry in logged]
    evaluated = [entry for entry in trainer.state.log_history if "eval_loss" in entry]
    assert history.eval_steps == [entry["step"] for entry in evaluated] == [2, 4]
    assert history.eval_loss == [entry["eval_loss"] for entry in evaluated]
    assert history.tokens == logged[-1]["num_tokens"]


def test_history_ends_finished_with_a_pace(run):
    _, history, seen = run
    assert (history.step, history.total_steps) == (4, 4)
    assert history.finished
    assert history.seconds_left == 0
    assert history.tokens_per_second > 0
    assert seen[0] == (0, False)
    assert seen[-1] == (4, True)


def test_recording_silences_the_libraries_own_progress(run, capsys):
    from transformers.trainer_callback import PrinterCallback, ProgressCallback

    trainer, _, _ = run
    kinds = {type(callback) for callback in trainer.callback_handler.callbacks}
    assert not kinds & {PrinterCallback, ProgressCallback}
    assert RunHistory in kinds


def test_seconds_left_of_a_resumed_run_counts_its_own_steps():
    history = RunHistory()
    history._first_step, history.step, history.total_steps, history.seconds = 50, 60, 100, 20.0
    assert history.seconds_left == pytest.approx(80.0)
    assert RunHistory().seconds_left is None
    assert RunHistory().tokens_per_second is None
