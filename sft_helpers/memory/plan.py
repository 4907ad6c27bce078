"""What to do about memory: the largest batch that fits a card, and which setting frees most."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sft_helpers.errors import SFTHelpersError
from sft_helpers.memory.account import (
    ADAPTERS,
    CARDS,
    COMPONENTS,
    CONSTANTS,
    STATES,
    WEIGHTS,
    Account,
)
from sft_helpers.memory.predict import again

MOST = 1024  # rows; a larger batch is no question of memory any more
TIGHT = 0.9  # of a card: above, what is left out may be too much
_TILE = 4096  # tokens that TRL's loss head works on at a time


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


def knobs(account: Account) -> list[Knob]:
    """Turn each knob that this step has, predict anew, and sort by what it frees."""
    now = account.settings
    own: dict[str, Any] = {"weights": None, "peft_config": None, "quantization_config": None}
    turned: dict[str, dict[str, Any]] = {}
    if now.batch > 1:
        half = now.batch // 2
        turned[f"batch {half} instead of {now.batch}, accumulate twice as often"] = {
            "batch": half,
            "accumulation": now.accumulation * now.batch // half,
        }
    if now.length > 1:
        turned[f"length {now.length // 2} instead of {now.length}"] = {"length": now.length // 2}
    if not now.checkpointing:
        turned["activation checkpointing on"] = {"checkpointing": True}
    if now.packing:
        turned["no packing"] = {"packing": False}
    if now.method == "full":
        turned["LoRA instead of full fine-tuning"] = own | {"method": "lora"}
        if not now.optimizer.endswith("8bit"):
            turned["8-bit optimizer (adamw_8bit)"] = {"optimizer": "adamw_8bit"}
    elif now.method == "lora":
        turned["QLoRA instead of LoRA"] = own | {"method": "qlora"}
    if now.precision == "fp32" and now.weights is None:
        turned["bf16 instead of fp32"] = {"precision": "bf16"}
    if now.method != "full" and now.weights == "float32":
        turned["frozen base in bfloat16 (dtype: bfloat16)"] = {"weights": "bfloat16"}
    found = []
    for name, changes in turned.items():
        other = again(account, **changes)
        found.append(Knob(name, account.peak_bytes - other.peak_bytes, other))
    return sorted(found, key=lambda knob: -knob.freed)


def largest_batch(account: Account, card: float) -> int:
    """The largest batch whose step fits a card; 0 if not even one row does.

    A step's peak is the highest of many moments, and each needs evenly more with every row. So a
    line through two batches is not above the peak of a larger one, nor below that of one between
    them: it tells where to look, and when no row more can fit. (That holds once the tiles of TRL's
    loss head are full.)

    Args:
        account: the step at any batch.
        card: GB, a billion bytes each.

    Raises:
        SFTHelpersError: there is no such card.
    """
    if card <= 0:
        raise SFTHelpersError(f"a card of {card:g} GB is impossible", hint="give its size in GB")
    room = card * 1e9
    stays = (WEIGHTS, CONSTANTS, ADAPTERS, STATES)
    peaks = {
        0: sum(account.components.get(part, 0) for part in stays),
        1: again(account, batch=1).peak_bytes,
    }
    if peaks[1] > room:
        return 0
    before, low, high = 0, 1, MOST + 1  # `low` rows fit, `high` do not or are out of question
    while high - low > 1:
        other = high if high in peaks else before
        row = max((peaks[other] - peaks[low]) / (other - low), 1)
        guess = low + int((room - peaks[low]) / row)
        full = before * (account.settings.length - 1) >= _TILE
        if guess == low and other == before and full:
            break
        rows = min(max(guess, low + 1), high - 1)
        peaks[rows] = again(account, batch=rows).peak_bytes
        if peaks[rows] <= room:
            before, low = low, rows
        else:
            high = rows
    return low


@dataclass(frozen=True)
class Plan:
    """An account, and what to do about it on one card.

    Attributes:
        account: the step.
        card: GB, a billion bytes each.
        largest: rows of the largest batch that fits.
        knobs: what frees most comes first.
    """

    account: Account
    card: float
    largest: int
    knobs: list[Knob]

    @classmethod
    def of(cls, account: Account, card: float) -> Plan:
        """Ask for both; a few seconds for a large model."""
        return cls(account, card, largest_batch(account, card), knobs(account))

    def to_json(self) -> dict[str, Any]:
        """The plan as plain data."""
        return self.account.to_json() | {
            "cards": {f"{size}": self.account.fits(size) for size in CARDS},
            "card": self.card,
            "fits": self.account.fits(self.card),
            "largest_batch": self.largest,
            "knobs": [{"change": knob.name, "freed": knob.freed} for knob in self.knobs],
        }

    def __str__(self) -> str:
        account, now, peak = self.account, self.account.settings, self.account.peak_bytes / 1e9
        lines = [
            f"{account.model}: {account.parameters:,} weights, {account.trainable:,} train"
            f" ({now.method})",
            f"{now.batch} × {now.length:,} tokens, accumulation {now.accumulation}, checkpointing"
            f" {'on' if now.checkpointing else 'off'}, {now.precision}, {now.optimizer}"
            f"{', packed' if now.packing else ''}",
            "",
        ]
        for part, size in account.components.items():
            lines.append(f"  {part:<23}{size / 1e9:>9.3f} GB  {COMPONENTS[part]}")
        lines += [f"  {'peak':<23}{peak:>9.3f} GB  reached in {account.moment}", ""]
        for size in CARDS:
            words = "fits, but tight" if peak > TIGHT * size else "fits"
            more = ""
            if size == 16 and now.precision == "bf16":
                more = " (a T4 has no bf16: ask with --precision fp16)"
            fits = words if account.fits(size) else "does not fit"
            lines.append(f"  card of {size:>2} GB: {fits}{more}")
        rows = "1 row" if self.largest == 1 else f"{self.largest} rows"
        lines += ["", f"Largest batch on {self.card:g} GB: {rows} of {now.length:,} tokens."]
        helpful = [f"  {k.freed / 1e9:>9.3f} GB  {k.name}" for k in self.knobs if k.freed > 0]
        lines += ["What frees most:", *helpful] if helpful else []
        return "\n".join([*lines, "Left out:", *(f"  {words}" for words in account.left_out)])
