"""How fast a trainer gets through its data, and how much of its work is padding: measured."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from trl import SFTTrainer


@dataclass(frozen=True)
class Throughput:
    """One training run, measured.

    Attributes:
        seconds: wall time of `trainer.train()`.
        processor_seconds: processor time of it, over all threads: a busy machine does not
            lengthen it. On a GPU it says nothing.
        steps: optimizer steps.
        tokens: tokens of the data that the model read.
        cells: places in the batches, padding included.
    """

    seconds: float
    processor_seconds: float
    steps: int
    tokens: int
    cells: int

    @property
    def waste(self) -> float:
        """Share of the places that were padding."""
        return 1 - self.tokens / self.cells if self.cells else 0.0

    @property
    def tokens_per_second(self) -> float:
        """Tokens of the data per second of wall time."""
        return self.tokens / self.seconds if self.seconds else 0.0


class _Counting:
    """The trainer's own collator, with a count of what it delivers."""

    def __init__(self, collator: Callable[[list[dict[str, Any]]], dict[str, Any]]) -> None:
        self.collator = collator
        self.tokens = self.cells = 0

    def __call__(self, rows: list[dict[str, Any]]) -> dict[str, Any]:
        batch = self.collator(rows)
        self.tokens += sum(len(row["input_ids"]) for row in rows)
        self.cells += batch["input_ids"].numel()
        return batch


def time_training(trainer: SFTTrainer) -> Throughput:
    """Run `trainer.train()` and measure it; the trainer's batches are counted, not changed.

    Counting happens in this process, so leave `dataloader_num_workers` at 0.
    """
    counting = _Counting(trainer.data_collator)
    trainer.data_collator = counting
    start, processor = time.perf_counter(), time.process_time()
    trainer.train()
    seconds = time.perf_counter() - start
    processor = time.process_time() - processor
    trainer.data_collator = counting.collator
    return Throughput(
        seconds, processor, trainer.state.global_step, counting.tokens, counting.cells
    )
