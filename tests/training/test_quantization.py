"""Quantization is bitsandbytes' own: equal to its layers, sizes add up, merges are told apart."""

from __future__ import annotations

import pytest
import torch
from bitsandbytes.functional import has_avx512bf16
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from transformers import AutoModelForCausalLM, BitsAndBytesConfig

from data.make.town import single_turn
from sft_helpers.errors import DataError, SFTHelpersError
from sft_helpers.models import exact_inference, load, resolve
from sft_helpers.training.adapters import max_logit_difference
from sft_helpers.training.grids import Run, run_here
from sft_helpers.training.quantization import (
    KINDS,
    MERGES,
    changed_codes,
    code_book,
    layer_errors,
    linear_layers,
    merged,
    model_bytes,
    round_trip,
    update_kept,
)

NF4 = {"load_in_4bit": True, "bnb_4bit_quant_type": "nf4", "bnb_4bit_compute_dtype": "float32"}
FEW = settings(
    max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


@pytest.mark.parametrize("kind", ["nf4", "fp4"])
def test_every_restored_value_is_an_entry_of_the_book_times_a_scale(kind):
    weight = torch.randn(8, 64)
    restored = round_trip(weight, kind).restored
    book = torch.tensor(code_book(kind))
    scaled = restored / weight.abs().amax(1, keepdim=True)  # a block is a row here
    assert (scaled[..., None] - book).abs().amin(-1).max() < 1e-6


def test_code_books():
    assert [len(code_book(kind)) for kind in KINDS] == [16, 16, 255]
    assert all(code_book(kind)[0] == -1 and code_book(kind)[-1] == 1 for kind in KINDS)
    with pytest.raises(DataError, match="nf5"):
        code_book("nf5")


@FEW
@given(
    rows=st.integers(1, 9), blocks=st.integers(1, 4), seed=st.integers(0, 99), double=st.booleans()
)
def test_bytes_are_those_of_codes_and_scales(rows, blocks, seed, double):
    torch.manual_seed(seed)
    weight = torch.randn(rows, 64 * blocks)
    found = round_trip(weight, "nf4", double=double)
    scales = rows * blocks
    groups = -(-scales // 256)
    assert found.code_bytes == weight.numel() // 2
    assert found.scale_bytes == (scales + 4 * groups + 4 if double else 4 * scales)


def test_bits_approach_the_papers_figures():
    weight = torch.randn(1024, 1024)
    assert round_trip(weight).bits == pytest.approx(4.5)
    assert round_trip(weight, double=True).bits == pytest.approx(4.127, abs=1e-3)
    assert round_trip(weight, "int8").bits == pytest.approx(8 + 32 / 1024)


def test_errors_rank_as_taught_and_int8_has_no_double():
    weight = torch.randn(256, 256)
    errors = {kind: round_trip(weight, kind).error for kind in KINDS}
    assert errors["int8"] < errors["nf4"] < errors["fp4"]
    with pytest.raises(DataError, match="int8"):
        round_trip(weight, "int8", double=True)


@pytest.mark.parametrize("double", [False, True])
def test_restored_weights_are_those_of_the_loaded_layer(double):
    plain, _ = load("tiny")
    config = BitsAndBytesConfig(**NF4, bnb_4bit_use_double_quant=double)
    quantized = dict(linear_layers(load("tiny", quantization=config)[0].dequantize()))
    for name, layer in linear_layers(plain):
        restored = round_trip(layer.weight.detach(), "nf4", double=double).restored
        assert torch.equal(restored, quantized[name].weight), name


def test_model_bytes_count_what_the_footprint_leaves_out():
    plain = model_bytes(load("tiny")[0])
    assert (plain.codes, plain.scales, plain.other) == (0, 0, plain.footprint)
    single, double, eight = (
        model_bytes(load("tiny", quantization=BitsAndBytesConfig(**kw))[0])
        for kw in (NF4, NF4 | {"bnb_4bit_use_double_quant": True}, {"load_in_8bit": True})
    )
    assert single.footprint == double.footprint == single.codes + single.other
    assert single.total - double.total == single.scales - double.scales > 0
    assert single.quantized_parameters == double.quantized_parameters == 786_432
    assert single.per_quantized_parameter == pytest.approx(4.5 / 8)
    assert double.per_quantized_parameter < single.per_quantized_parameter
    assert eight.codes == eight.quantized_parameters


def test_layer_errors_name_every_layer_that_is_quantized():
    model, _ = load("tiny")
    rows = layer_errors(model, {"nf4": {}, "fp4": {"kind": "fp4"}})
    config = BitsAndBytesConfig(**NF4)
    quantized = load("tiny", quantization=config)[0]
    named = {n for n, p in quantized.named_parameters() if hasattr(p, "quant_state")}
    assert {f"{row['layer']}.weight" for row in rows} == named
    assert all(row["nf4"].error < row["fp4"].error for row in rows)


def test_a_small_update_vanishes_in_a_second_rounding_and_a_large_one_arrives():
    weight = round_trip(torch.randn(128, 128)).restored
    direction = torch.randn(128, 8) @ torch.randn(8, 128)
    direction *= weight.norm() / direction.norm()
    kept = [update_kept(weight, size * direction) for size in (0.005, 0.05, 0.5)]
    assert kept[0] < 0.1 < kept[1] < 0.9 < kept[2]


@pytest.mark.skipif(not has_avx512bf16(), reason="this CPU has no bf16 units for bitsandbytes")
def test_exact_inference_keeps_the_layer_as_it_was():
    """Without it, bitsandbytes 0.50 rearranges codes and scales at the first inference."""
    _, tokenizer = load("tiny")
    text = tokenizer("The gazette of Lantern Bay", return_tensors="pt")["input_ids"]
    for exact in (True, False):
        model = AutoModelForCausalLM.from_pretrained(
            resolve("tiny"), dtype="float32", quantization_config=BitsAndBytesConfig(**NF4)
        )
        before = [p.data.flatten().clone() for p in model.parameters() if hasattr(p, "quant_state")]
        if exact:
            exact_inference(model)
        with torch.inference_mode():
            model.eval()(input_ids=text)
        after = [p.data.flatten() for p in model.parameters() if hasattr(p, "quant_state")]
        assert all(torch.equal(a, b) for a, b in zip(before, after, strict=True)) is exact


def test_quantized_models_are_loaded_exact():
    """Dequantized after an answer or before: the same weights."""
    _, tokenizer = load("tiny")
    text = tokenizer("The gazette of Lantern Bay", return_tensors="pt")["input_ids"]
    restored = []
    for answer_first in (True, False):
        model, _ = load("tiny", quantization=BitsAndBytesConfig(**NF4))
        if answer_first:
            with torch.inference_mode():
                model(input_ids=text)
        restored.append(model.dequantize().state_dict())
    assert all(torch.equal(restored[0][name], restored[1][name]) for name in restored[0])


def test_merges(tmp_path):
    adapter = tmp_path / "adapter"
    lora = {"r": 4, "lora_alpha": 64, "target_modules": "all-linear", "task_type": "CAUSAL_LM"}
    rows = single_turn("train", (0,))[:16]
    run_here(
        Run("qlora", rows, {"max_steps": 2, "learning_rate": 4e-3}, lora, NF4, save_to=str(adapter))
    )
    _, tokenizer = load("tiny")
    texts = [row["messages"][0]["content"] for row in rows]
    models = {how: merged(adapter, "tiny", NF4, how) for how in MERGES}
    differences = {
        how: max_logit_difference(models["as trained"], model, tokenizer, texts)
        for how, model in models.items()
    }
    assert differences["as trained"] == 0
    assert differences["dequantized, then merged"] < 1e-4
    assert differences["merged into the 4-bit base"] > 1e-2
    assert differences["merged into the original base"] > 1e-2
    assert 0 < changed_codes(models["as trained"], models["merged into the 4-bit base"]) < 1
    with pytest.raises(DataError):
        changed_codes(models["as trained"], models["dequantized, then merged"])
    with pytest.raises(SFTHelpersError, match="unknown way"):
        merged(adapter, "tiny", NF4, "by hand")
