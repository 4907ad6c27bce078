"""Packing as TRL does it: layouts, what they cost and waste, and whether samples stay apart.

Every layout comes from `trl.data_utils.pack_dataset`. To see where each token went, this module
packs columns of sample numbers and places instead of token ids and reads the result.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from sft_helpers.errors import DataError
from sft_helpers.masking import IGNORED
from sft_helpers.preparation import quiet_datasets

if TYPE_CHECKING:
    from datasets import Dataset

STRATEGIES = ("none", "bfd", "bfd_split", "wrapped")
PADDING_FREE = {"bfd", "bfd_split"}  # packed with these, TRL flattens a batch into one row
MAX_LENGTHS = (32, 64, 96, 128, 192, 256, 384, 512)
BATCHES = (1, 2, 4, 8, 16, 32)

Ints = np.ndarray[Any, np.dtype[np.int64]]


@dataclass(frozen=True)
class Samples:
    """Lengths and labels of the samples before packing, flat.

    Attributes:
        lengths: tokens of each sample.
        counts: one number per token, over all samples: whether its label counts in the loss.
    """

    lengths: Ints
    counts: np.ndarray[Any, np.dtype[np.bool_]]

    @classmethod
    def of(cls, dataset: Dataset | Iterable[Mapping[str, Any]]) -> Samples:
        """Read prepared rows with `input_ids` and perhaps `labels` (such as `view.whole`).

        Raises:
            DataError: a row has no `input_ids`.
        """
        names = getattr(dataset, "column_names", None)
        if names is not None and "input_ids" in names:
            keep = [name for name in ("input_ids", "labels") if name in names]
            rows: Iterable[Mapping[str, Any]] = dataset.select_columns(keep)  # type: ignore[union-attr]
        else:
            rows = dataset
        lengths, counts = [], []
        for number, row in enumerate(rows):
            if "input_ids" not in row:
                raise DataError(
                    "this row is not tokenized",
                    where=f"row {number}",
                    hint="prepare it first: supervised_view(dataset, tokenizer, args).whole",
                )
            labels = row.get("labels") or row["input_ids"]
            lengths.append(len(labels))
            counts.append(np.asarray(labels, dtype=np.int64) != IGNORED)
        return cls(
            np.asarray(lengths, dtype=np.int64),
            np.concatenate(counts) if counts else np.zeros(0, dtype=bool),
        )

    @cached_property
    def offsets(self) -> Ints:
        """Where each sample begins in `counts`; one more at the end."""
        return np.concatenate([[0], np.cumsum(self.lengths)]).astype(np.int64)

    @cached_property
    def counted(self) -> Ints:
        """Tokens with a label before each token, over all samples; one more at the end."""
        return np.concatenate([[0], np.cumsum(self.counts)]).astype(np.int64)

    @cached_property
    def traced(self) -> Dataset:
        """Sample numbers and places in the shape of token ids, for TRL's packer to pack."""
        from datasets import Dataset

        columns = {
            "sample": [np.full(length, number) for number, length in enumerate(self.lengths)],
            "place": [np.arange(length) for length in self.lengths],
        }
        return Dataset.from_dict(columns)


@dataclass(frozen=True)
class Layout:
    """Where each piece of each sample lies after packing; one entry per piece, in order.

    Attributes:
        strategy: "none", "bfd", "bfd_split" or "wrapped".
        max_length: tokens that fit into a row.
        row: the row that the piece lies in.
        sample: the sample that it comes from.
        start: its first token within that sample.
        length: its tokens.
    """

    strategy: str
    max_length: int
    row: Ints
    sample: Ints
    start: Ints
    length: Ints

    @property
    def row_lengths(self) -> Ints:
        """Tokens of each row."""
        rows = int(self.row[-1]) + 1 if len(self.row) else 0
        return np.bincount(self.row, weights=self.length, minlength=rows).astype(np.int64)

    def pieces(self) -> Iterator[tuple[int, int, int, int]]:
        """(row, sample, start, length) of every piece, in order."""
        columns = (self.row, self.sample, self.start, self.length)
        return zip(*(column.tolist() for column in columns), strict=True)


@dataclass(frozen=True)
class Costs:
    """What a layout means for training with a batch of `batch` rows, over one epoch.

    Attributes:
        rows, steps: rows after packing; optimizer steps.
        tokens, supervised: tokens that the model reads, padding not counted; those of them that
            count in the loss.
        padding: padding tokens that the model computes on all the same.
        waste: padding / (padding + tokens).
        fill: mean share of `max_length` that a row uses.
        tokens_per_step, supervised_per_step: means.
        truncated_tokens, truncated_samples: cut off and thrown away.
        split_samples: cut into pieces that lie in different rows, none thrown away.
        lost_samples: samples of which no trained token is left.
    """

    strategy: str
    max_length: int
    batch: int
    rows: int
    steps: int
    tokens: int
    supervised: int
    padding: int
    waste: float
    fill: float
    tokens_per_step: float
    supervised_per_step: float
    truncated_tokens: int
    truncated_samples: int
    split_samples: int
    lost_samples: int


def layout(samples: Samples, max_length: int, strategy: str = "bfd") -> Layout:
    """Lay out samples as `SFTTrainer` does with this strategy.

    Args:
        samples: what to lay out.
        max_length: tokens that fit into a row.
        strategy: one of TRL's, or "none": one sample per row, cut at `max_length`, dropped where
            nothing trained is left.

    Raises:
        DataError: unknown strategy, or a `max_length` below 1.
    """
    if strategy not in STRATEGIES:
        raise DataError(f"unknown strategy {strategy!r}", hint=f"one of {', '.join(STRATEGIES)}")
    if max_length < 1:
        raise DataError(f"max_length is {max_length}", hint="give at least 1")
    if strategy == "none" or not samples.lengths.sum():
        return _unpacked(samples, max_length, strategy)
    row_lengths, sample, place = _traced(samples, max_length, strategy)
    row = np.repeat(np.arange(len(row_lengths)), row_lengths)
    first = np.ones(len(row), dtype=bool)
    first[1:] = (np.diff(row) != 0) | (np.diff(sample) != 0)
    begins = np.flatnonzero(first)
    return Layout(
        strategy,
        max_length,
        row[begins],
        sample[begins],
        place[begins],
        np.diff(np.append(begins, len(row))),
    )


def _unpacked(samples: Samples, max_length: int, strategy: str) -> Layout:
    length = np.minimum(samples.lengths, max_length)
    trained = _trained(samples, np.arange(len(length)), np.zeros_like(length), length)
    kept = np.flatnonzero(trained > 0)
    zeros = np.zeros(len(kept), dtype=np.int64)
    return Layout(strategy, max_length, np.arange(len(kept)), kept, zeros, length[kept])


def _traced(samples: Samples, max_length: int, strategy: str) -> tuple[Ints, Ints, Ints]:
    """Pack sample numbers and places with TRL; returns row lengths and both columns, flat."""
    from trl.data_utils import pack_dataset

    with quiet_datasets():
        packed = pack_dataset(samples.traced, max_length, strategy)
        table = packed.with_format("arrow")[:]
    lists = {name: table.column(name).combine_chunks() for name in ("sample", "place")}
    return (
        lists["sample"].value_lengths().to_numpy().astype(np.int64),
        lists["sample"].flatten().to_numpy().astype(np.int64),
        lists["place"].flatten().to_numpy().astype(np.int64),
    )


def _trained(samples: Samples, sample: Ints, start: Ints, length: Ints) -> Ints:
    """Tokens with a label in each piece."""
    begin = samples.offsets[sample] + start
    return np.asarray(samples.counted[begin + length] - samples.counted[begin], dtype=np.int64)


def costs(samples: Samples, laid: Layout, batch: int, accumulation: int = 1) -> Costs:
    """What a layout costs with `batch` rows per device and `accumulation` batches per step.

    The first token of a row has no predecessor to predict it, and TRL masks the first token of
    each packed sample too: both are left out of `supervised`, as they are left out of the loss.
    """
    lengths = laid.row_lengths
    rows, tokens = len(lengths), int(lengths.sum())
    padding = 0
    if rows and laid.strategy not in PADDING_FREE:
        begins = np.arange(0, rows, batch)
        widest = np.maximum.reduceat(lengths, begins)
        padding = int((widest * np.diff(np.append(begins, rows))).sum()) - tokens
    trained = _trained(samples, laid.sample, laid.start, laid.length)
    leads = np.ones(len(laid.row), dtype=bool)
    if laid.strategy not in PADDING_FREE:
        leads[1:] = np.diff(laid.row) != 0
    heads = samples.counts[samples.offsets[laid.sample] + laid.start] & leads
    supervised = int(trained.sum() - heads.sum())
    pieces = np.bincount(laid.sample, minlength=len(samples.lengths))
    placed = np.bincount(laid.sample, weights=laid.length, minlength=len(samples.lengths))
    left = np.bincount(laid.sample, weights=trained, minlength=len(samples.lengths))
    every = np.arange(len(samples.lengths))
    wanted = _trained(samples, every, np.zeros_like(every), samples.lengths)
    steps = math.ceil(math.ceil(rows / batch) / accumulation)
    return Costs(
        strategy=laid.strategy,
        max_length=laid.max_length,
        batch=batch,
        rows=rows,
        steps=steps,
        tokens=tokens,
        supervised=supervised,
        padding=padding,
        waste=padding / (padding + tokens) if tokens else 0.0,
        fill=tokens / (rows * laid.max_length) if rows else 0.0,
        tokens_per_step=tokens / steps if steps else 0.0,
        supervised_per_step=supervised / steps if steps else 0.0,
        truncated_tokens=int(samples.lengths.sum()) - tokens,
        truncated_samples=int((placed < samples.lengths).sum()),
        split_samples=int((pieces > 1).sum()),
        lost_samples=int(((wanted > 0) & (left == 0)).sum()),
    )


@dataclass(frozen=True)
class PackingGrid:
    """Layouts and costs for every strategy, `max_length` and batch; what the packing view shows."""

    lengths: Ints
    strategies: tuple[str, ...]
    max_lengths: tuple[int, ...]
    batches: tuple[int, ...]
    layouts: dict[tuple[str, int], Layout]
    costs: dict[tuple[str, int, int], Costs]

    @property
    def samples(self) -> int:
        """How many samples were laid out."""
        return len(self.lengths)


def packing_grid(
    dataset: Dataset | Iterable[Mapping[str, Any]] | Samples,
    max_lengths: Sequence[int] = MAX_LENGTHS,
    batches: Sequence[int] = BATCHES,
    strategies: Sequence[str] = STRATEGIES,
) -> PackingGrid:
    """Lay the samples out in every way and count.

    Args:
        dataset: prepared rows before truncation, such as `supervised_view(...).whole`.
        max_lengths, batches, strategies: what to try.

    Raises:
        DataError: no samples, rows that are not tokenized, or an unknown strategy.
    """
    samples = dataset if isinstance(dataset, Samples) else Samples.of(dataset)
    if not len(samples.lengths):
        raise DataError("there are no samples to pack", hint="give at least one tokenized row")
    layouts = {(s, size): layout(samples, size, s) for s in strategies for size in max_lengths}
    return PackingGrid(
        lengths=samples.lengths,
        strategies=tuple(strategies),
        max_lengths=tuple(max_lengths),
        batches=tuple(batches),
        layouts=layouts,
        costs={(*key, b): costs(samples, one, b) for key, one in layouts.items() for b in batches},
    )
