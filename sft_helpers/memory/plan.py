"""What to do about memory: the largest batch that fits a card, and which knob frees most."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sft_helpers.memory import Account, again

MOST = 1024  # rows; a larger batch is no question of memory any more


@dataclass(frozen=True)
class Knob:
    """One setting turned, and what that frees.

    Attributes:
        name: what to change, in words.
        freed: bytes that the step needs less; below 0 if it needs more.
        account: the step with the knob turned.
    """

    name: str
    freed: int
    account: Account


def knobs(account: Account, model: Any = None, **objects: Any) -> list[Knob]:
    """Turn each knob that this step has, predict anew, and sort by what it frees.

    Args:
        account: the step as it is.
        model: what `memory.predict` took, where the model's name alone does not lead there.
        objects: its `peft_config` and `quantization_config`, if any.
    """
    now = account.settings
    turned: dict[str, dict[str, Any]] = {}
    if now.batch > 1:
        half = now.batch // 2
        turned[f"batch {half} instead of {now.batch}, accumulate twice as often"] = {
            "batch": half, "accumulation": now.accumulation * now.batch // half,
        }  # fmt: skip
    if now.length > 1:
        turned[f"length {now.length // 2} instead of {now.length}"] = {"length": now.length // 2}
    if not now.checkpointing:
        turned["activation checkpointing on"] = {"checkpointing": True}
    if now.packing:
        turned["no packing"] = {"packing": False}
    if now.method == "full":
        turned["LoRA instead of full fine-tuning"] = {"method": "lora", "weights": None}
        if not now.optimizer.endswith("8bit"):
            turned["8-bit optimizer (adamw_8bit)"] = {"optimizer": "adamw_8bit"}
    elif now.method == "lora":
        turned["QLoRA instead of LoRA"] = {"method": "qlora", "weights": None}
    if now.precision == "fp32" and now.weights is None:
        turned["bf16 instead of fp32"] = {"precision": "bf16"}
    if now.method != "full" and now.weights == "float32":
        turned["frozen base in bfloat16 (dtype: bfloat16)"] = {"weights": "bfloat16"}
    found = []
    for name, changes in turned.items():
        kept = {} if "method" in changes else objects
        other = again(account, model, **changes, **kept)
        found.append(Knob(name, account.peak_bytes - other.peak_bytes, other))
    return sorted(found, key=lambda knob: -knob.freed)


def largest_batch(account: Account, card: float, model: Any = None, **objects: Any) -> int:
    """The largest batch whose step fits a card; 0 if not even one row does.

    Memory grows nearly evenly with the batch, so the answer is guessed from two batches and then
    moved until it fits and one row more does not.

    Args:
        account: the step at any batch.
        card: GB, a billion bytes each.
        model, objects: as for `knobs`.
    """

    def need(rows: int) -> int:
        return again(account, model, batch=rows, **objects).peak_bytes

    room = card * 1e9
    if need(1) > room:
        return 0
    two, four = need(2), need(4)
    slope = max((four - two) / 2, 1)
    low, high = 1, MOST + 1  # `low` fits, `high` does not or is out of question
    guess = max(2, min(MOST, int(2 + (room - two) / slope)))
    while high - low > 1:
        guess = min(max(guess, low + 1), high - 1)
        if need(guess) <= room:
            low, guess = guess, guess + 1
        else:
            high, guess = guess, guess - 1
    return low
