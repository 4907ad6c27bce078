"""Quantization is bitsandbytes' own: equal to its layers, sizes add up, merges are told apart."""

from __future__ import annotations

import pytest
import torch
from bitsandbytes.functional import get_4bit_type, has_avx512bf16
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from transformers import AutoModelForCausalLM, BitsAndBytesConfig

from sft_helpers.errors import DataError
from sft_helpers.models import exact_inference, load, resolve
from sft_helpers.training.quantization import (
    KINDS,
    linear_layers,
    model_bytes,
    round_trip,
)

NF4 = {"load_in_4bit": True, "bnb_4bit_quant_type": "nf4", "bnb_4bit_compute_dtype": "float32"}
FEW = settings(
    max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


@pytest.mark.parametrize("kind", ["nf4", "fp4"])
def test_every_restored_value_is_an_entry_of_the_book_times_a_scale(kind):
    weight = torch.randn(8, 64)
    restored = round_trip(weight, kind).restored
    book = get_4bit_type(kind, device="cpu")
    scaled = restored / weight.abs().amax(1, keepdim=True)  # a block is a row here
    assert (scaled[..., None] - book).abs().amin(-1).max() < 1e-6


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
