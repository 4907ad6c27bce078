"""Padding, length-grouped batches and packing, side by side in one run: behind notebook 05.

    python benchmarks/packing.py [--repeats 3] [--out build/packing.jsonl]

One epoch each over short, even rows and over skewed rows of the tiny model, in turn, `repeats`
times; prints tokens per second of processor and wall time, padding, and steps. Also times the
layouts themselves: `packing_grid` over 1,000 and 20,000 samples.
"""

from __future__ import annotations

import argparse
import json
import random
import tempfile
import time
from pathlib import Path
from typing import Any

from sft_helpers.town import read_rows

WAYS: dict[str, dict[str, Any]] = {
    "padding": {"per_device_train_batch_size": 16},
    "grouped": {
        "per_device_train_batch_size": 16,
        "train_sampling_strategy": "group_by_length",
    },
    "bfd 256": {"per_device_train_batch_size": 1, "packing": True, "max_length": 256},
    "bfd 512": {"per_device_train_batch_size": 1, "packing": True, "max_length": 512},
    "wrapped 512": {
        "per_device_train_batch_size": 1,
        "packing": True,
        "packing_strategy": "wrapped",
        "max_length": 512,
    },
}


def data() -> dict[str, list[dict[str, Any]]]:
    """Even rows of about 25 tokens, and rows of which a few are ten times as long as the rest."""
    short = [{"messages": row["messages"]} for row in read_rows("sft_train.jsonl")[:600]]
    rng, skewed = random.Random(0), []
    left = [
        row["messages"]
        for name in ("multi_turn_train.jsonl", "system_train.jsonl")
        for row in read_rows(name)
    ]
    while left:
        size = rng.choice([1] * 8 + [2] * 2 + [10])
        skewed.append({"messages": [turn for row in left[:size] for turn in row]})
        left = left[size:]
    return {"short": short, "skewed": skewed}


def measure(rows: list[dict[str, Any]], settings: dict[str, Any], folder: str) -> dict[str, Any]:
    """One epoch."""
    from datasets import Dataset
    from trl import SFTConfig, SFTTrainer

    from sft_helpers.machine import profile
    from sft_helpers.models import load
    from sft_helpers.training.watch import record

    model, tokenizer = load("tiny")
    arguments = profile(model="tiny").sft_arguments() | {
        "max_length": 512,
        "num_train_epochs": 1,
        "assistant_only_loss": True,
        "save_strategy": "no",
        "disable_tqdm": True,
    }
    trainer = SFTTrainer(
        model=model,
        args=SFTConfig(output_dir=folder, **(arguments | settings)),
        train_dataset=Dataset.from_list(rows),
        processing_class=tokenizer,
    )
    record(trainer)
    collate, tokens, cells = trainer.data_collator, 0, 0

    def counted(some: list[dict[str, Any]]) -> dict[str, Any]:
        nonlocal tokens, cells
        batch = collate(some)
        tokens += sum(len(row["input_ids"]) for row in some)
        cells += batch["input_ids"].numel()
        return batch

    trainer.data_collator = counted
    start, processor = time.perf_counter(), time.process_time()
    trainer.train()
    seconds, processor = time.perf_counter() - start, time.process_time() - processor
    return {
        "steps": trainer.state.global_step,
        "tokens": tokens,
        "padding": round(1 - tokens / cells, 3),
        "tokens_per_second": round(tokens / seconds),
        "tokens_per_processor_second": round(tokens / processor),
    }


def time_layouts(count: int) -> dict[str, Any]:
    """Seconds to lay out `count` samples in every way that the packing view shows."""
    import numpy as np

    from sft_helpers.packing import Samples, packing_grid

    lengths = np.random.default_rng(0).integers(20, 200, count)
    samples = Samples(lengths, np.ones(int(lengths.sum()), dtype=bool))
    start = time.process_time()
    grid = packing_grid(samples)
    return {
        "samples": count,
        "layouts": len(grid.layouts),
        "processor_seconds": round(time.process_time() - start, 2),
    }


def main() -> None:
    """Measure everything and print a line each."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--out", type=Path, default=Path("build/packing.jsonl"))
    args = parser.parse_args()
    args.out.parent.mkdir(parents=True, exist_ok=True)
    with args.out.open("w", encoding="utf-8") as file, tempfile.TemporaryDirectory() as folder:

        def tell(found: dict[str, Any]) -> None:
            line = json.dumps(found)
            print(line, flush=True)
            file.write(line + "\n")

        for count in (1_000, 20_000):
            tell(time_layouts(count))
        for repeat in range(args.repeats):
            for kind, rows in data().items():
                for way, settings in WAYS.items():
                    found = measure(rows, settings, folder)
                    tell({"data": kind, "way": way, "repeat": repeat, **found})


if __name__ == "__main__":
    main()
