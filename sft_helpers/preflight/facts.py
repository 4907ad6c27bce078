"""The run in numbers: what a person wants to know before any finding."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from sft_helpers.preflight.setup import Setup


def facts_of(setup: Setup) -> dict[str, Any]:
    """Rows, tokens, supervised share, truncated, end tokens, steps; None where it is unknown.

    Shares are of the rows as TRL prepares them, between 0 and 1. `tokens` and
    `supervised_fraction` are of what is left after truncation. Where `rows_tokenised` is less than
    `rows`, everything that comes from tokens is an estimate from a sample.
    """
    prepared, args = setup.prepared, setup.args
    facts: dict[str, Any] = {
        "rows": len(setup.dataset),
        "rows_are_sample": setup.sampled is not None,
        "rows_read": setup.scan.rows,
        "rows_tokenised": len(prepared.sample.rows),
        "refused_rows": len(prepared.sample.rows) - len(prepared.rows),
        "max_length": args.max_length,
        "packing": args.packing_strategy if args.packing else None,
        "rows_per_step": setup.rows_per_step,
        "model": setup.model_name or type(setup.config).__name__,
        "method": setup.method,
        "learning_rate": args.learning_rate,
        "epochs": args.num_train_epochs,
    }
    unknown = (
        "rows_held", "tokens", "supervised_fraction", "supervised_min", "longest",
        "truncated_rate", "ends_with_eos", "steps_per_epoch", "steps", "tokens_per_step",
        "supervised_tokens_per_step", "memory_gib", "memory_room_gib",
    )  # fmt: skip
    if prepared.dataset is None:
        return facts | dict.fromkeys(unknown)
    stats = prepared.typical
    kept = stats.lengths if prepared.cut is None else np.minimum(stats.lengths, prepared.cut)
    trains = stats.supervised_kept > 0
    dropped = args.max_length is not None and not args.packing  # rows without labels, that is
    held = trains if dropped else np.ones(len(kept), dtype=bool)
    tokens = round(int(kept[held].sum()) * prepared.scale)
    supervised = round(int(stats.supervised_kept.sum()) * prepared.scale)
    share = stats.supervised_kept / np.maximum(kept, 1)
    return facts | {
        "rows_held": setup.rows_held,
        "tokens": tokens,
        "supervised_fraction": _share(supervised, tokens),
        "supervised_min": round(float(share.min()), 4),
        "longest": int(setup.lengths.max()),
        "truncated_rate": _share(int((kept < stats.lengths).sum()), len(kept)),
        "ends_with_eos": _share(int(stats.ends_kept[trains].sum()), int(trains.sum())),
        "steps_per_epoch": setup.steps_per_epoch,
        "steps": setup.steps,
        "tokens_per_step": round(tokens / setup.steps_per_epoch),
        "supervised_tokens_per_step": round(supervised / setup.steps_per_epoch),
        **_memory(setup),
    }


def _memory(setup: Setup) -> dict[str, float | None]:
    """Memory at the peak of a step and of the card (or machine), in GiB."""
    from sft_helpers.machine import profile
    from sft_helpers.preflight.memory import GIB, account, room_of

    found, room = account(setup), room_of(profile().hardware)
    return {
        "memory_gib": None if found is None else round(found.peak_bytes / GIB, 2),
        "memory_room_gib": None if room is None else round(room / GIB, 1),
    }


def _share(part: int, whole: int) -> float | None:
    return round(part / whole, 4) if whole else None
