"""Recipes build real configs, and print code that runs."""

import inspect
import itertools

import pytest

from sft_helpers import town
from sft_helpers.errors import SFTHelpersError
from sft_helpers.hardware import Hardware
from sft_helpers.machine import profile
from sft_helpers.training.recipe import METHODS, recipe

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
