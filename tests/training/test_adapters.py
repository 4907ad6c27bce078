"""Counts are PEFT's, sizes those on disk, updates those of the weights; recipes are read by TRL."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from data.make.town import single_turn
from sft_helpers.display.ranks import facts, in_units, ranks_data, ranks_html, show_ranks
from sft_helpers.errors import DataError, SFTHelpersError
from sft_helpers.machine import profile
from sft_helpers.models import load
from sft_helpers.training.adapters import (
    ATTENTION,
    MLP,
    TARGETS,
    Update,
    count,
    max_logit_difference,
    rank_grid,
    saved_bytes,
    skeleton,
    updates,
)
from sft_helpers.training.grids import Run, build, run_here
from sft_helpers.training.quantization import linear_layers
from sft_helpers.training.recipe import recipe

RECIPES = Path(__file__).parents[2] / "data" / "recipes"
LORA = {"r": 4, "lora_alpha": 8, "target_modules": "all-linear", "task_type": "CAUSAL_LM"}
ROWS = single_turn("train", (0,))[:16]
SHORT = {"max_steps": 2, "learning_rate": 4e-3}


def on_the_real_model(**lora):
    from peft import LoraConfig, get_peft_model

    model, _ = load("tiny")
    return get_peft_model(model, LoraConfig(task_type="CAUSAL_LM", **lora))


@pytest.mark.parametrize("targets", TARGETS)
def test_counts_are_those_of_the_real_model(targets):
    found = count("tiny", targets, 8)
    real = on_the_real_model(r=8, target_modules=TARGETS[targets])
    assert (found.trainable, found.total) == real.get_nb_trainable_parameters()
    assert sum(module.adapter for module in found.modules) == found.trainable
    assert sum(m.layers for m in found.modules if m.adapter) == len(real.targeted_module_names)


def test_all_ranks_of_the_grid_are_pefts():
    grid = rank_grid(("tiny", "Qwen2.5-0.5B"), ("attention", "all-linear"), (1, 16, 64))
    assert len(grid) == 12
    for one in grid:
        assert one == count(one.model, one.targets, one.rank)


def test_a_skeleton_holds_no_weights():
    model = skeleton("Qwen2.5-7B")
    assert all(parameter.is_meta for parameter in model.parameters())
    assert model.num_parameters() == 7_615_616_512  # as its model card says: 7.61B


def test_which_layers_are_missed():
    assert count("tiny", "PEFT's default").missed == ("k_proj", "o_proj", *MLP)
    assert count("tiny", "attention").missed == MLP
    assert count("tiny", "all-linear").missed == ()
    phi = count("Phi-3-mini", [*ATTENTION, *MLP])
    assert phi.missed == ("qkv_proj", "gate_up_proj")
    assert set(phi.unmatched) == {"q_proj", "k_proj", "v_proj", "gate_proj", "up_proj"}
    with pytest.raises(DataError, match="qkv_proj"):
        count("Phi-3-mini", ["W_pack"])


def test_a_saved_adapter_is_as_large_as_said(tmp_path):
    outcome = run_here(Run("lora", ROWS, SHORT, LORA, save_to=str(tmp_path)))
    found = count("tiny", "all-linear", 4)
    assert outcome.trainable == found.trainable
    assert 0 <= saved_bytes(tmp_path) - found.bytes_on_disk < 20_000
    with pytest.raises(SFTHelpersError, match="safetensors"):
        saved_bytes(tmp_path / "nothing")


def test_updates_of_an_adapter_have_its_rank_and_are_what_merging_adds(tmp_path):
    trainer, _ = build(Run("lora", ROWS, SHORT, LORA), str(tmp_path))
    trainer.train()
    found = {update.layer: update for update in updates(trainer)}
    assert len(found) == 28
    before, _ = load("tiny")
    merged = trainer.model.merge_and_unload()
    for name, update in found.items():
        assert (
            sum(value > 1e-5 * update.singular_values[0] for value in update.singular_values) <= 4
        )
        weight = before.get_submodule(name).weight
        delta = merged.get_submodule(name).weight - weight
        assert update.relative_norm == pytest.approx(
            float((delta.norm() / weight.norm()).detach()), rel=1e-2
        )


def test_updates_of_full_fine_tuning_are_trained_minus_base(tmp_path):
    trainer, _ = build(Run("full", ROWS, SHORT | {"learning_rate": 5e-4}), str(tmp_path))
    assert all(update.relative_norm == 0 for update in updates(trainer))
    trainer.train()
    assert all(0 < update.relative_norm < 1 for update in updates(trainer))


def test_updates_of_a_quantized_model_are_measured_against_the_restored_weight(tmp_path):
    four_bit = {"load_in_4bit": True, "bnb_4bit_compute_dtype": "float32"}
    trainer, _ = build(Run("qlora", ROWS, SHORT, LORA, four_bit), str(tmp_path))
    trainer.train()
    base = {name: layer.weight for name, layer in linear_layers(load("tiny")[0])}
    for update in updates(trainer):
        assert update.weight_norm == pytest.approx(
            float(base[update.layer].detach().norm()), rel=0.05
        )


def test_rank_for_counts_singular_values():
    update = Update("layer", (3.0, 1.0, 0.0), 10.0)
    assert update.relative_norm == pytest.approx(0.1**0.5)
    assert [update.rank_for(share) for share in (0.5, 0.9, 0.95, 1.0)] == [1, 1, 2, 2]


def test_logit_difference_ignores_padding_and_sees_a_change():
    model, tokenizer = load("tiny")
    other, _ = load("tiny")
    texts = ["The gazette", "The gazette of Lantern Bay, and more of it"]
    assert max_logit_difference(model, other, tokenizer, texts) == 0
    with torch.no_grad():
        other.model.norm.weight.mul_(1.01)
    assert max_logit_difference(model, other, tokenizer, texts) > 0


# --- the rank view ---------------------------------------------------------------------------


@pytest.fixture(scope="module")
def grid():
    return rank_grid(("tiny",), ("attention", "all-linear"), (1, 16))


def test_the_view_holds_every_combination(grid):
    data = ranks_data(grid)
    assert data["ranks"] == [1, 16]
    assert set(data["facts"]) == {
        f"tiny/{targets}/{rank}" for targets in ("attention", "all-linear") for rank in (1, 16)
    }
    assert [name for name, *_ in data["modules"]["tiny"]] == [*ATTENTION, *MLP]
    assert data["adapters"]["tiny/attention/1"][4:] == [0, 0, 0]


def test_the_static_view_has_the_same_numbers(grid):
    text = str(ranks_html(grid, "tiny", 16))
    assert f"{count('tiny', 'all-linear', 16).trainable:,}" in text
    assert "gate_proj, up_proj, down_proj" in text


def test_a_start_outside_the_grid_is_refused(grid):
    with pytest.raises(DataError, match="tiny/MLP/16"):
        show_ranks(grid, targets="MLP")


def test_facts_in_words(grid):
    told = facts(grid[-1])
    assert told["weights that train"] == "155,648"
    assert told["adapter file (fp32)"] == "623 KB"
    assert [in_units(size) for size in (7, 1.5e6, 2.25e9)] == ["7 bytes", "1.5 MB", "2.25 GB"]


# --- the files for `trl sft` -----------------------------------------------------------------

PAIRS = [
    ("sft_qwen7b_qlora_4090.yaml", "rtx4090", "Qwen/Qwen2.5-7B-Instruct"),
    ("sft_qwen05b_lora_t4.yaml", "t4", "Qwen/Qwen2.5-0.5B-Instruct"),
]


@pytest.mark.parametrize(("file", "machine", "model"), PAIRS)
def test_trl_reads_the_recipe_and_it_is_that_of_the_code(file, machine, model):
    from trl import get_peft_config, get_quantization_config
    from trl.scripts.sft import make_parser

    _, sft, chosen, data = make_parser().parse_args_and_config(
        args=["--config", str(RECIPES / file), "--use_cpu", "true"], fail_with_unknown_args=True
    )
    wanted = recipe(profile(machine), model=model)
    own = {"save_strategy", "use_cpu", "model_init_kwargs"}  # a long run is saved every epoch
    for name, value in wanted.sft.items():
        if name not in own and not name.startswith(("dataloader", "per_device_eval")):
            assert getattr(sft, name) == value, name
    loading = wanted.sft["model_init_kwargs"]
    assert (chosen.model_name_or_path, chosen.dtype) == (model, loading["dtype"])
    assert chosen.attn_implementation == loading["attn_implementation"]
    assert data.datasets[0].data_files == "train.jsonl"
    assert sft.eos_token == "<|im_end|>"
    adapter = get_peft_config(chosen)
    for name, value in (wanted.lora or {}).items():
        assert getattr(adapter, name) == value, name
    four_bit = get_quantization_config(chosen)
    asked = wanted.quantization_config()
    assert (four_bit is None) == (asked is None)
    if asked is not None:
        for name in wanted.quantization or {}:
            assert getattr(four_bit, name) == getattr(asked, name), name


@pytest.mark.parametrize("file", [file for file, *_ in PAIRS])
def test_a_recipe_says_that_it_was_not_run(file):
    assert "NOT RUN ON A GPU" in (RECIPES / file).read_text(encoding="utf-8")
