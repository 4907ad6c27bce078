"""What PyTorch's allocator gave out, beside what was predicted."""

from __future__ import annotations

from itertools import product
from statistics import mean
from types import SimpleNamespace
from typing import Any

import pytest

from sft_helpers.lesson import expect
from sft_helpers.memory import predict
from sft_helpers.memory.account import METHODS
from sft_helpers.memory.measure import kept_and_seconds, measured_peak, two_steps


@pytest.mark.slow
def test_predictions_equal_what_the_allocator_gave_out(tmp_path: Any) -> None:
    errors = []
    for method, checkpointing, packing in [*product(METHODS, (False, True), [False]),
                                           ("lora", False, True)]:  # fmt: skip
        trainer = two_steps("tiny", method, checkpointing, 96, 2, str(tmp_path), packing=packing)
        peak = measured_peak(trainer)
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
        errors.append(abs(found.peak_bytes / peak - 1))
    expect("memory.mean_error_tiny", mean(errors), high=0.01)
    expect("memory.worst_error_tiny", max(errors), high=0.03)


def test_what_a_forward_pass_keeps_is_counted_without_the_weights() -> None:
    import torch

    class Product(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = torch.nn.Parameter(torch.ones(3, 5))

        def forward(self, x: Any) -> Any:
            return SimpleNamespace(loss=(x @ self.weight).square().sum())

    kept, seconds = kept_and_seconds(Product(), {"x": torch.ones(7, 3)})
    # the input, for the gradient of the weight, and the product, for that of the square
    assert kept == 4 * (7 * 3 + 7 * 5)
    assert seconds >= 0
