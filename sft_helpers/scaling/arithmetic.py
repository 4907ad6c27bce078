"""The arithmetic of scale: rows and tokens per step, memory per device, traffic by strategy.

The parts of a training step come from `memory.predict`; here they are divided among devices, as
the kit's launch files do it: bf16 arithmetic, fp32 for weights that train. Bytes throughout.
"""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from sft_helpers.errors import DataError

STRATEGIES = {
    "ddp": "DDP",
    "zero2": "ZeRO-2",
    "fsdp2_grad_op": "FSDP2, gradients and optimizer",
    "fsdp2_full": "FSDP2, everything",
}
MODELS = ("Qwen2.5-0.5B", "Qwen2.5-1.5B", "Qwen2.5-7B", "Qwen2.5-14B")
METHODS = ("full", "lora")
LENGTHS = (1024, 4096)
BATCHES = (1, 4)
DEVICES = (1, 2, 4, 8, 16, 32, 64)


@dataclass(frozen=True)
class Parts:
    """What a training step on one device is made of.

    Attributes:
        model, method, length, batch: what is trained, and rows and tokens at a time.
        parameters, trained: numbers of weights, all and those that train.
        weights: bytes of the weights as they are stored.
        step: bytes of everything that comes and goes: activations, loss, buffers.
        group: weights of the largest group that full sharding gathers at once: two layers, and
            what is outside of the layers.
    """

    model: str
    method: str
    length: int
    batch: int
    parameters: int
    trained: int
    weights: int
    step: int
    group: int

    @property
    def gradients(self) -> int:
        """Bytes of the gradients in fp32."""
        return 4 * self.trained

    @property
    def optimizer(self) -> int:
        """Bytes of AdamW's two moments in fp32."""
        return 8 * self.trained


def global_batch(batch: int, devices: int, accumulation: int = 1) -> int:
    """Rows in an optimizer step."""
    return batch * devices * accumulation


def steps_per_epoch(rows: int, batch: int, devices: int, accumulation: int = 1) -> int:
    """Optimizer steps of one epoch, the last one perhaps smaller."""
    batches = math.ceil(rows / (batch * devices))
    return math.ceil(batches / accumulation)


def memory_per_device(parts: Parts, devices: int) -> dict[str, dict[str, float]]:
    """Bytes that each device holds at its highest moment: strategy → part → bytes.

    `copies` is what exists twice. DDP keeps the gradients a second time, in the buckets that it
    sends (torch's `gradient_as_bucket_view=False`). ZeRO-2 keeps bf16 weights everywhere and
    shards gradients, fp32 weights and moments (arXiv 1910.02054, section 3). FSDP2 shards all that
    is kept, and gathers bf16 copies of the weights, all or a group at a time. One device shares
    nothing.
    """
    shared = 1 / devices
    whole = {
        "weights": parts.weights,
        "gradients": parts.gradients,
        "optimizer": parts.optimizer,
        "step": parts.step,
    }
    if devices == 1:
        return {name: {**whole, "copies": 0.0} for name in STRATEGIES}
    sharded = {
        "weights": parts.weights * shared,
        "gradients": parts.gradients * shared,
        "optimizer": parts.optimizer * shared,
        "step": float(parts.step),
    }
    return {
        "ddp": {**whole, "copies": float(parts.gradients)},
        "zero2": {
            "weights": 2.0 * parts.parameters,
            "gradients": 2 * parts.trained * shared,
            "optimizer": (4 * parts.trained + parts.optimizer) * shared,
            "step": float(parts.step),
            "copies": 0.0,
        },
        "fsdp2_grad_op": {**sharded, "copies": 2.0 * parts.parameters},
        "fsdp2_full": {**sharded, "copies": 2.0 * min(parts.group, parts.parameters)},
    }


def ring_bytes(whole: float, devices: int, times: int = 1) -> float:
    """Bytes that each device sends when `whole` goes round a ring: once in a gather or a
    reduce-scatter, twice in an all-reduce (arXiv 1910.02054, section 7)."""
    return times * whole * (devices - 1) / devices


def traffic_per_step(parts: Parts, devices: int, accumulation: int = 1) -> dict[str, float]:
    """Bytes that each device sends in an optimizer step, by strategy.

    DDP and FSDP2 send gradients once a step, in fp32 and bf16; ZeRO-2 after every backward pass.
    DeepSpeed 0.19 all-reduces them (twice round) where a reduce-scatter would do, and gathers the
    new weights once. FSDP2 gathers weights for every forward pass, and with everything sharded for
    every backward pass again.
    """
    compute, trained = 2.0 * parts.parameters, 2.0 * parts.trained
    return {
        "ddp": ring_bytes(parts.gradients, devices, 2),
        "zero2": ring_bytes(trained, devices, 2 * accumulation + 1),
        "fsdp2_grad_op": ring_bytes(compute * accumulation + trained, devices),
        "fsdp2_full": ring_bytes(2 * compute * accumulation + trained, devices),
    }


def simplest_that_fits(parts: Parts, devices: int, memory_gb: float) -> str:
    """The first strategy that leaves a tenth of each device free, simplest first.

    Returns:
        A name of `STRATEGIES`, or "none".
    """
    order = ("ddp", "fsdp2_grad_op", "fsdp2_full")
    held = memory_per_device(parts, devices)
    fitting = [name for name in order if sum(held[name].values()) <= 0.9 * memory_gb * 1e9]
    return fitting[0] if fitting else "none"


def parts_of(model: str, method: str, length: int, batch: int) -> Parts:
    """Predict the parts with `memory.predict`; seconds for a large model."""
    from sft_helpers.memory import predict, read_config
    from sft_helpers.memory.model import decoder_layers, skeleton

    account = predict(model, method=method, length=length, batch=batch)
    modules = skeleton(read_config(model)[1])
    layers = decoder_layers(modules)
    layer = sum(p.numel() for p in layers[0].parameters())
    total = sum(p.numel() for p in modules.parameters())
    kept = ("weights", "gradients", "optimizer states")
    return Parts(
        model,
        method,
        length,
        batch,
        account.parameters,
        account.trainable,
        account.components["weights"],
        sum(size for name, size in account.components.items() if name not in kept),
        total - (len(layers) - 2) * layer,
    )


def parts_file() -> Path:
    """Where the predicted parts are kept, so that the explorer need not wait for them."""
    from sft_helpers.scaling.launch import launch_folder

    return launch_folder() / "parts.json"


def record_parts() -> None:
    """Predict all parts anew and write them down: `python -m sft_helpers.scaling.arithmetic`."""
    found = [
        parts_of(model, method, length, batch)
        for model in MODELS
        for method in METHODS
        for length in LENGTHS
        for batch in BATCHES
    ]
    lines = ",\n".join(json.dumps(asdict(one)) for one in found)
    parts_file().write_text(f"[\n{lines}\n]\n", encoding="utf-8")


def recorded_parts() -> list[Parts]:
    """The parts that the repository keeps, from `record_parts`."""
    return [Parts(**row) for row in json.loads(parts_file().read_text("utf-8"))]


def find_parts(model: str, method: str = "full", length: int = 1024, batch: int = 1) -> Parts:
    """One of the recorded parts.

    Raises:
        DataError: it is not among them.
    """
    asked = (model, method, length, batch)
    for one in recorded_parts():
        if (one.model, one.method, one.length, one.batch) == asked:
            return one
    raise DataError(
        f"no parts of {asked} were recorded",
        hint=f"models {', '.join(MODELS)}; {METHODS}; lengths {LENGTHS}; batches {BATCHES};"
        " parts_of() predicts others",
    )


def collectives(report: dict[str, Any]) -> dict[str, int]:
    """How many collectives of each kind moved weights or gradients in the counted step."""
    kinds = {
        "all-gather": "_allgather_base_",
        "reduce-scatter": "_reduce_scatter_base_",
        "all-reduce": "allreduce_",
    }
    return {kind: report["counts"].get(name, 0) for kind, name in kinds.items()}


def measured_traffic(report: dict[str, Any]) -> float:
    """Bytes sent per device in the counted step of a launch, over the bytes of all weights.

    From the tensors that the collectives were given (`worker.traffic`), sent round a
    ring. The weights are those of a model that trains whole, in the dtype of the run.
    """
    devices = int(report["num_processes"])
    sent = sum(
        ring_bytes(size, devices, 2 if "allreduce" in name else 1)
        for name, size in report["bytes"].items()
    )
    return sent / float(report["weight_bytes"])


if __name__ == "__main__":
    record_parts()
