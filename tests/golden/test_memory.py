"""Twelve predictions of memory, and their parts, to 0.5 % of the first edition's.

Entries of memory.json: SET-UP → peak in bytes and the parts at the highest moment, in bytes. The
test holds the peak; of the parts those that are more than 5 % of the peak, to 1 % of the peak. Six
of the twelve are marked thorough.
"""

from __future__ import annotations

from typing import Any

import pytest

from tests.golden.compare import read, write

# Arguments of a set-up: model, method, rows in a batch and their length, checkpointing, and what
# differs from the usual (AdamW, bf16 autocast, weights that train in fp32 and others in bf16,
# rank 16 on all linear layers, NF4 with double quantization, a GPU).
SETUPS: dict[str, dict[str, Any]] = {
    "tiny, full": {"model": "tiny", "method": "full", "length": 128, "batch": 4},
    "tiny, full, no checkpointing, fp32 on a CPU": {
        "model": "tiny", "method": "full", "length": 128, "batch": 4, "checkpointing": False,
        "precision": "fp32", "device": "cpu",
    },
    "tiny, lora, packed, no checkpointing": {
        "model": "tiny", "method": "lora", "length": 256, "batch": 2, "packing": True,
        "checkpointing": False,
    },
    "tiny, qlora, fp32 on a CPU": {
        "model": "tiny", "method": "qlora", "length": 64, "batch": 1, "precision": "fp32",
        "device": "cpu",
    },
    "0.5B, full": {"model": "Qwen2.5-0.5B", "method": "full", "length": 1024, "batch": 2},
    "0.5B, full, accumulation, no checkpointing": {
        "model": "Qwen2.5-0.5B", "method": "full", "length": 512, "batch": 1, "accumulation": 4,
        "checkpointing": False, "optimizer": "adamw_torch",
    },
    "0.5B, lora, base in fp32, no checkpointing": {
        "model": "Qwen2.5-0.5B", "method": "lora", "length": 512, "batch": 4,
        "checkpointing": False, "weights": "float32",
    },
    "0.5B, qlora, fp16": {
        "model": "Qwen2.5-0.5B", "method": "qlora", "length": 2048, "batch": 1,
        "precision": "fp16",
    },
    "7B, full, 8-bit optimizer": {
        "model": "Qwen2.5-7B", "method": "full", "length": 1024, "batch": 1,
        "optimizer": "adamw_8bit",
    },
    "7B, lora": {"model": "Qwen2.5-7B", "method": "lora", "length": 2048, "batch": 2},
    "7B, qlora": {"model": "Qwen2.5-7B", "method": "qlora", "length": 2048, "batch": 1},
    "7B, qlora, no checkpointing": {
        "model": "Qwen2.5-7B", "method": "qlora", "length": 512, "batch": 2,
        "checkpointing": False,
    },
}  # fmt: skip

QUICK = ("7B, qlora", "0.5B, lora, base in fp32, no checkpointing")  # beside the tiny model's


# --- the adapter: point this at the package as it is now -----------------------------------------


def predicted(model: str, **settings: Any) -> tuple[int, dict[str, int]]:
    """Bytes at the highest moment of a step, and the same by part."""
    from sft_helpers.memory import predict

    found = predict(model, **settings)
    return found.peak_bytes, dict(found.components)


# -------------------------------------------------------------------------------------------------


def entry(name: str) -> dict[str, Any]:
    """The prediction for a set-up."""
    peak, parts = predicted(**SETUPS[name])
    return {"peak": peak, "parts": parts}


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(
            name, marks=() if name in QUICK or name.startswith("tiny") else pytest.mark.thorough
        )
        for name in SETUPS
    ],
)
def test_the_prediction_is_the_same(name: str) -> None:
    golden, found = read("memory.json")[name], entry(name)
    assert found["peak"] == pytest.approx(golden["peak"], rel=0.005)
    for part, size in golden["parts"].items():
        if size > 0.05 * golden["peak"]:
            assert found["parts"].get(part, 0) == pytest.approx(size, abs=0.01 * golden["peak"]), (
                part
            )


def test_every_set_up_has_its_entry() -> None:
    assert set(read("memory.json")) == set(SETUPS)


if __name__ == "__main__":
    write("memory.json", {name: entry(name) for name in SETUPS})
