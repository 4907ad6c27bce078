"""The memory account: equal to what PyTorch's allocator gives out, and clear where it cannot be."""

from __future__ import annotations

import argparse
import json
from itertools import product
from statistics import mean

import pytest

from sft_helpers.errors import DataError, ModelError, SFTHelpersError
from sft_helpers.lesson import expect
from sft_helpers.memory import (
    METHODS,
    Settings,
    _drawn_on,
    again,
    config_folder,
    predict,
    read_config,
    shipped,
)
from sft_helpers.memory.grid import cell_name, read_grid, value
from sft_helpers.memory.parts import COMPONENTS
from sft_helpers.memory.plan import knobs, largest_batch
from sft_helpers.memory.rules import by_accelerate, by_thumb
from sft_helpers.memory_command import add_parser, read_trl_file

RECIPE = config_folder().parents[1] / "recipes" / "sft_qwen7b_qlora_4090.yaml"


def run(*arguments):
    parser = argparse.ArgumentParser()
    add_parser(parser.add_subparsers())
    args = parser.parse_args(["memory", *map(str, arguments)])
    return args.run(args)


# --- against the allocator ---------------------------------------------------------------------


@pytest.mark.slow
def test_predictions_equal_what_the_allocator_gave_out(tmp_path):
    from sft_helpers.memory.measure import measured_peak, two_steps

    errors = {}
    setups = [*product(METHODS, (False, True), [False]), ("lora", False, True)]
    for method, checkpointing, packing in setups:
        trainer = two_steps("tiny", method, checkpointing, 96, 2, str(tmp_path), packing=packing)
        real = measured_peak(trainer)
        found = predict(
            "tiny",
            method=method,
            length=96,
            batch=2,
            checkpointing=checkpointing,
            packing=packing,
            precision="fp32",
            device="cpu",
        )
        errors[method, checkpointing, packing] = abs(found.peak_bytes / real - 1)
    expect("memory.mean_error_tiny", mean(errors.values()), high=0.05)
    expect("memory.worst_error_tiny", max(errors.values()), high=0.12)


def test_the_recorded_table_keeps_its_bounds():
    rows = json.loads((config_folder().parent / "measured.json").read_text(encoding="utf-8"))
    assert len({(r["model"], r["method"], r["checkpointing"], r["length"]) for r in rows}) >= 24
    errors = [abs(row["predicted"] / row["measured"] - 1) for row in rows]
    expect("memory.setups", len(rows), low=24)
    expect("memory.mean_error", mean(errors), high=0.05)
    expect("memory.worst_error", max(errors), high=0.12)
    usual = [abs(row["thumb"] / row["measured"] - 1) for row in rows]
    assert mean(usual) > 10 * mean(errors)


@pytest.mark.parametrize("model", ["tiny", "smollm2"])
def test_a_recorded_row_is_still_predicted(model):
    rows = json.loads((config_folder().parent / "measured.json").read_text(encoding="utf-8"))
    row = next(r for r in rows if r["model"] == model and r["method"] == "lora")
    found = predict(
        model,
        method="lora",
        length=row["length"],
        batch=row["batch"],
        checkpointing=row["checkpointing"],
        precision="fp32",
        device="cpu",
    )
    assert found.peak_bytes == pytest.approx(row["predicted"], rel=0.02)


@pytest.mark.parametrize(
    "settings",
    [
        {"method": "full"},
        {"method": "full", "checkpointing": False, "optimizer": "adamw_torch"},
        {"method": "lora", "packing": True, "batch": 3},
        {"method": "qlora", "checkpointing": False},
        {"method": "full", "accumulation": 4},
    ],
    ids=str,
)
def test_many_layers_are_drawn_on_to_the_byte(settings):
    from sft_helpers.memory.model import Plan, follow_layers

    _, config = read_config("tiny")
    config.num_hidden_layers = 8
    plan = Plan(Settings(**{"length": 96, "batch": 2, **settings}), None, None)
    few, more, whole = (follow_layers(config, plan, count) for count in (3, 4, 8))
    drawn = _drawn_on(few, more, 8)
    top = max(whole, key=lambda phase: sum(whole[phase].values()))
    best = max(drawn, key=lambda phase: sum(drawn[phase].values()))
    assert best[0] == top[0]
    assert {k: v for k, v in drawn[best].items() if v} == {k: v for k, v in whole[top].items() if v}


# --- what must hold whatever the numbers -------------------------------------------------------


def test_more_of_anything_needs_no_less():
    def need(**changes):
        settings = {"method": "lora", "length": 128, "batch": 2, "checkpointing": False}
        return predict("tiny", **(settings | changes)).peak_bytes

    now = need()
    assert need(batch=4) > now
    assert need(length=256) > now
    assert need(accumulation=2) >= now
    assert need(precision="fp32") > now
    assert need(checkpointing=True) < now
    assert need(method="full") > now > need(method="qlora")


def test_components_are_what_they_say():
    full = predict("Qwen2.5-0.5B", method="full", length=256, batch=1)
    assert full.parameters == full.trainable == 494_032_768
    assert full.components["optimizer states"] == pytest.approx(8 * full.parameters, rel=1e-3)
    assert list(full.components) == [part for part in COMPONENTS if part in full.components]
    assert full.peak_bytes == sum(full.components.values()) == full.to_json()["peak_bytes"]
    eight = again(full, optimizer="adamw_8bit")
    ratio = eight.components["optimizer states"] / full.components["optimizer states"]
    assert 0.25 < ratio < 0.26  # a byte for four, and a scale for each block
    copies = predict("tiny", method="lora", length=64, batch=1, weights="float32",
                     checkpointing=False)  # fmt: skip
    assert copies.components["autocast copies"] > 0
    assert any("CUDA context" in words for words in full.left_out)


def test_quantized_bytes_are_those_of_the_loaded_model():
    from transformers import BitsAndBytesConfig

    from sft_helpers.models import load
    from sft_helpers.training.quantization import model_bytes

    config = BitsAndBytesConfig(
        load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_use_double_quant=True
    )
    real = model_bytes(load("tiny", quantization=config)[0])
    found = predict("tiny", method="qlora", length=64, batch=1, precision="fp32")
    assert found.components["weights"] == pytest.approx(real.codes + real.other, rel=1e-3)
    # the tables of code values are counted here, one for each layer's state
    assert found.components["quantization constants"] >= real.scales


def test_configurations_have_the_published_sizes():
    from sft_helpers.memory.model import skeleton

    assert len(shipped()) >= 15
    sizes = {"M": 1e6, "B": 1e9}
    import torch

    for name in shipped():
        data = json.loads((config_folder() / f"{name}.json").read_text(encoding="utf-8"))
        assert data["source"].startswith("https://")
        text = data["published_parameters"]
        digits = len(text[:-1].partition(".")[2])
        real = sum(p.numel() for p in skeleton(read_config(name)[1], torch.float32).parameters())
        assert real / sizes[text[-1]] == pytest.approx(float(text[:-1]), abs=1.05 * 10**-digits)
    for row in json.loads((config_folder().parent / "published.json").read_text())["rows"]:
        assert row["source"]
        assert row["gigabytes"] > 0


def test_a_config_file_and_a_folder_will_do(tmp_path):
    _, config = read_config("Qwen2.5-0.5B")
    (tmp_path / "mine").mkdir()
    config.save_pretrained(tmp_path / "mine")
    for place in (tmp_path / "mine", tmp_path / "mine" / "config.json"):
        name, found = read_config(place)
        assert (name, found.hidden_size) == ("mine", 896)
    assert read_config("Qwen/Qwen2.5-0.5B-Instruct")[0] == "Qwen2.5-0.5B"
    assert read_config(config)[1] is config


# --- what to do --------------------------------------------------------------------------------


def test_the_largest_batch_fits_and_one_more_does_not():
    account = predict("tiny", method="lora", length=256, batch=1)
    card = 0.2
    rows = largest_batch(account, card)
    assert rows > 4
    assert again(account, batch=rows).fits(card)
    assert not again(account, batch=rows + 1).fits(card)
    assert largest_batch(account, 0.001) == 0


def test_knobs_are_predicted_anew():
    account = predict("tiny", method="full", length=256, batch=4, checkpointing=False)
    found = knobs(account)
    assert [knob.freed for knob in found] == sorted((k.freed for k in found), reverse=True)
    names = " ".join(knob.name for knob in found)
    assert all(
        word in names for word in ("batch 2", "length 128", "checkpointing", "LoRA", "8-bit")
    )
    for knob in found:
        assert knob.freed == account.peak_bytes - knob.account.peak_bytes


@pytest.mark.parametrize(
    ("method", "checkpointing", "batch", "length", "off"),
    [
        ("qlora", True, 5, 1000, 0.005),
        ("full", False, 12, 3000, 0.005),
        ("lora", True, 1, 512, 0.005),
        ("qlora", True, 1, 1024, 0.005),  # a restored weight decides here: see the module
        ("qlora", True, 2, 6000, 0.005),
    ],
)
def test_the_explorers_sums_are_predictions(method, checkpointing, batch, length, off):
    phases = read_grid()["Qwen2.5-7B"]["cells"][cell_name(method, checkpointing, "bf16")]
    found = predict(
        "Qwen2.5-7B",
        method=method,
        length=length,
        batch=batch,
        checkpointing=checkpointing,
        padding=True,
    )
    told = 1e6 * max(sum(value(phase, batch, length)) for phase in phases)
    assert told == pytest.approx(found.peak_bytes, rel=off)
    assert told < found.peak_bytes * 1.005


def test_two_usual_estimates():
    account = predict("tiny", method="full", length=64, batch=1)
    assert by_thumb(account) == 16 * account.parameters
    assert by_accelerate("tiny") == pytest.approx(16 * account.parameters, rel=0.01)


# --- the command -------------------------------------------------------------------------------


def test_the_command_tells_all(capsys):
    assert run("tiny", "--method", "qlora", "--length", 256, "--json") == 0
    told = json.loads(capsys.readouterr().out)
    assert told["peak_bytes"] == sum(told["components"].values())
    assert told["cards"] == {str(card): True for card in (8, 16, 24, 48, 80)}
    assert told["largest_batch"] > 100
    assert told["left_out"]
    assert run("tiny", "--method", "full", "--length", 256, "--card", 0.01) == 1
    text = capsys.readouterr().out
    assert "Largest batch on 0.01 GB: 0 rows" in text
    assert "What frees most" in text
    assert "fragmentation" in text


def test_a_file_for_trl_is_read():
    model, found = read_trl_file(RECIPE)
    assert model == "Qwen/Qwen2.5-7B-Instruct"
    assert (found["method"], found["length"], found["batch"]) == ("qlora", 2048, 2)
    assert found["quantization_config"].bnb_4bit_use_double_quant
    assert found["peft_config"].r == 16
    assert found["peft_config"].target_modules == "all-linear"


def test_what_a_file_leaves_out_has_trls_default(tmp_path):
    from trl import ModelConfig, SFTConfig

    file = tmp_path / "sft.yaml"
    file.write_text("model_name_or_path: tiny\n")
    _, found = read_trl_file(file)
    default, base = SFTConfig("unused", use_cpu=True, bf16=False), ModelConfig()
    assert found["length"] == default.max_length
    assert found["batch"] == default.per_device_train_batch_size
    assert found["accumulation"] == default.gradient_accumulation_steps
    assert found["optimizer"] == getattr(default.optim, "value", default.optim)
    assert found["weights"] == base.dtype
    assert found["packing"] == default.packing
    assert found["checkpointing"] == bool(
        default.activation_checkpointing or default.gradient_checkpointing
    )
    file.write_text("load_in_8bit: true\n")
    with pytest.raises(DataError, match="8-bit"):
        read_trl_file(file)
    file.write_text("- a\n")
    with pytest.raises(DataError, match="mapping"):
        read_trl_file(file)
    with pytest.raises(DataError, match="cannot be read"):
        read_trl_file(tmp_path / "none.yaml")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["Qwen2.5-70B"], "did you mean Qwen2.5-7B"),
        (["tiny", "--length", "0"], "length 0 is impossible"),
        (["tiny", "--length", "513"], "has 512 positions"),
        (["tiny", "--batch", "-1"], "batch -1 is impossible"),
        (["tiny", "--rank", "0"], "rank 0 is impossible"),
        (["tiny", "--length", "64", "--card", "-2"], "-2 GB is impossible"),
        (["tiny", "--length", "64", "--optimizer", "fastest"], "fastest"),
        ([], "which model"),
    ],
)
def test_what_cannot_be_is_said(arguments, words):
    with pytest.raises(SFTHelpersError) as caught:
        run(*arguments)
    assert words in str(caught.value)


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ({"model_type": "t5", "architectures": ["T5ForConditionalGeneration"]}, "no causal"),
        ({"model_type": "t5"}, "no causal"),
        ({"model_type": "bert", "architectures": ["BertForMaskedLM"]}, "no causal"),
        ({"model_type": "of_my_own"}, "transformers can read"),
        ({"hidden_size": 3}, "transformers can read"),
        ([1, 2], "transformers can read"),
    ],
)
def test_a_configuration_of_no_causal_model_is_refused(config, words, tmp_path):
    file = tmp_path / "config.json"
    file.write_text(json.dumps(config))
    with pytest.raises(ModelError, match=words):
        predict(file, length=16, batch=1)
    file.write_text("{")
    with pytest.raises(ModelError, match="transformers can read"):
        read_config(tmp_path)
    file.unlink()
    with pytest.raises(ModelError, match=r"no config\.json"):
        read_config(tmp_path)


def test_an_account_leaves_bitsandbytes_as_it_was() -> None:
    """It keeps a code table on the device of its first use; "meta" would break real models."""
    import bitsandbytes as bnb
    import torch

    bnb.functional.name2qmap.clear()
    predict("tiny", method="qlora", length=37, batch=1, precision="fp32")
    weight = torch.randn(4, 64)
    codes, state = bnb.functional.quantize_4bit(weight, quant_type="nf4", compress_statistics=True)
    restored = bnb.functional.dequantize_4bit(codes, state)
    assert (restored - weight).abs().max() < 1


def test_what_a_forward_pass_keeps_is_counted_without_the_weights():
    from types import SimpleNamespace

    import torch

    from sft_helpers.memory.measure import kept_and_seconds

    class Product(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.weight = torch.nn.Parameter(torch.ones(3, 5))

        def forward(self, x):
            return SimpleNamespace(loss=(x @ self.weight).square().sum())

    kept, seconds = kept_and_seconds(Product(), {"x": torch.ones(7, 3)})
    # the input, for the gradient of the weight, and the product, for that of the square
    assert kept == 4 * (7 * 3 + 7 * 5)
    assert seconds >= 0
