"""How much of the machine's speed does the kit's recipe reach?

    OMP_NUM_THREADS=1 python benchmarks/throughput.py [--rounds 5] [--json]

Four ways to train the tiny model on the same rows, in turns, in one process and on one thread:

* recipe: `SFTTrainer` with the kit's recipe for a CPU;
* bare:   `SFTTrainer` with the defaults of `SFTConfig`, only `use_cpu=True` added so that it runs
          (bf16 autocast, activation checkpointing, batches of 8);
* loop:   a plain PyTorch loop over the batches that the recipe's trainer makes: the limit;
* head:   the same loop with the loss of TRL's trainer, which computes the vocabulary's scores in
          pieces and a second time for the gradient, to save memory, and measures entropy and
          accuracy on the way. On a GPU that is a fused kernel; on a CPU it is plain PyTorch.

Tokens are real tokens, padding not counted. Seconds are CPU seconds of the process, which do not
depend on what else the machine is doing; the ratios are taken round by round.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from typing import Any

import torch
import transformers
from accelerate.state import AcceleratorState
from datasets import Dataset, disable_progress_bars
from trl import SFTConfig, SFTTrainer

from sft_helpers import town
from sft_helpers.machine import profile
from sft_helpers.models import load
from sft_helpers.training.recipe import recipe
from sft_helpers.training.watch import record


def _rows(count: int) -> Dataset:
    return Dataset.from_list(
        [{"messages": row["messages"]} for row in town.read_rows("sft_train.jsonl")[:count]]
    )


def _trainer(config: Any, rows: Dataset) -> SFTTrainer:
    AcceleratorState._reset_state(reset_partial_state=True)  # it keeps the precision it met first
    model, tokenizer = load("tiny")
    trainer = SFTTrainer(model, args=config, train_dataset=rows, processing_class=tokenizer)
    record(trainer)
    return trainer


def with_trainer(config: Any, rows: Dataset) -> float:
    """Tokens per CPU second of `SFTTrainer.train()`."""
    trainer = _trainer(config, rows)
    tokens = sum(len(ids) for ids in trainer.train_dataset["input_ids"])
    start = time.process_time()
    trainer.train()
    return tokens / (time.process_time() - start)


def with_loop(config: Any, rows: Dataset, *, trl_loss: bool = False) -> float:
    """Tokens per CPU second of a plain loop over the same batches with the same optimizer."""
    trainer = _trainer(config, rows)
    model = trainer.model.train()
    batches = list(trainer.get_train_dataloader())
    optimizer = torch.optim.AdamW(
        model.parameters(), lr=config.learning_rate, weight_decay=0.0, fused=True
    )
    tokens = sum(int(batch["attention_mask"].sum()) for batch in batches)
    start = time.process_time()
    for batch in batches:
        loss = trainer.compute_loss(model, dict(batch)) if trl_loss else model(**batch).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
    return tokens / (time.process_time() - start)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    torch.set_num_threads(1)
    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    disable_progress_bars()
    plan = recipe(profile(model="tiny"), "full", "tiny")
    with tempfile.TemporaryDirectory() as folder:
        common = {"num_train_epochs": 1, "disable_tqdm": True, "save_strategy": "no"}
        kit = plan.sft_config(folder, **common)
        bare = SFTConfig(output_dir=folder, use_cpu=True, **common)
        rows = _rows(1800)
        rates: dict[str, list[float]] = {"recipe": [], "bare": [], "loop": [], "head": []}
        with_trainer(kit, _rows(64))  # the first run pays for loading and allocation
        for _ in range(args.rounds):
            rates["recipe"].append(with_trainer(kit, rows))
            rates["bare"].append(with_trainer(bare, rows))
            rates["loop"].append(with_loop(kit, rows))
            rates["head"].append(with_loop(kit, rows, trl_loss=True))
    result = {
        "tokens_per_cpu_second": {name: round(statistics.median(r)) for name, r in rates.items()},
        "recipe_over_loop": _ratio(rates["recipe"], rates["loop"]),
        "recipe_over_head": _ratio(rates["recipe"], rates["head"]),
        "head_over_loop": _ratio(rates["head"], rates["loop"]),
        "recipe_over_bare": _ratio(rates["recipe"], rates["bare"]),
        "rounds": args.rounds,
    }
    if args.json:
        print(json.dumps(result))
        return
    for name, rate in result["tokens_per_cpu_second"].items():
        print(f"{name:<8}{rate:>8,} tokens per CPU second")
    for name in [key for key in result if "_over_" in key]:
        low, middle, high = result[name]
        print(f"{name}: {middle:.2f} (from {low:.2f} to {high:.2f} over {args.rounds} rounds)")


def _ratio(first: list[float], second: list[float]) -> tuple[float, float, float]:
    ratios = sorted(a / b for a, b in zip(first, second, strict=True))
    return ratios[0], statistics.median(ratios), ratios[-1]


if __name__ == "__main__":
    main()
