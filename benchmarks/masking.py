"""What the loss mask does to a model, over several seeds: the table behind notebook 04.

    python benchmarks/masking.py [--seeds 3] [--out build/masking.jsonl]

Trains three models per seed, about ten seconds of one core each, on 400 questions and 240 double
questions; asks 200 held-out questions with a limit of 16 tokens, where the longest answer has 10.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path
from typing import Any

from sft_helpers.exercises.loss_masking import BROKEN_TEMPLATE

from sft_helpers.town import read_rows

RUNS: dict[str, tuple[str | None, dict[str, Any]]] = {
    "everything": (None, {}),
    "answers only": (None, {"assistant_only_loss": True}),
    "answers without their end": (BROKEN_TEMPLATE, {"assistant_only_loss": True}),
}


def in_one_turn(row: dict[str, Any]) -> dict[str, Any]:
    """Two questions about one resident as one, with both answers."""
    ask, reply, ask_more, more = (turn["content"] for turn in row["messages"])
    return {
        "messages": [
            {"role": "user", "content": f"{ask} {ask_more}"},
            {"role": "assistant", "content": f"{reply} {more}"},
        ]
    }


def measure(name: str, seed: int, folder: str) -> dict[str, Any]:
    """Train one model and ask it."""
    from datasets import Dataset
    from trl import SFTConfig, SFTTrainer

    from sft_helpers.evaluation import ask
    from sft_helpers.machine import profile
    from sft_helpers.models import load
    from sft_helpers.training.watch import record

    template, loss = RUNS[name]
    rows = [{"messages": row["messages"]} for row in read_rows("sft_train.jsonl")[:400]]
    rows += [in_one_turn(row) for row in read_rows("multi_turn_train.jsonl")]
    model, tokenizer = load("tiny")
    tokenizer.chat_template = template or tokenizer.chat_template
    settings = profile(model="tiny").sft_arguments() | {
        "learning_rate": 1e-3,
        "lr_scheduler_type": "cosine",
        "warmup_steps": 0.1,
        "num_train_epochs": 3,
        "per_device_train_batch_size": 16,
        "logging_steps": 10,
        "save_strategy": "no",
        "disable_tqdm": True,
        "seed": seed,
    }
    trainer = SFTTrainer(
        model=model,
        args=SFTConfig(output_dir=folder, **settings, **loss),
        train_dataset=Dataset.from_list(rows),
        processing_class=tokenizer,
    )
    history = record(trainer)
    trainer.train()
    asked = read_rows("sft_test.jsonl")[:200]
    found = ask(model, tokenizer, asked, max_new_tokens=16)
    return {
        "loss on": name,
        "seed": seed,
        "exact_match": found.exact_match.value,
        "stop_rate": found.stopped,
        "last_loss": round(history.loss[-1], 4),
        "steps": history.step,
    }


def main() -> None:
    """Measure every run for every seed and print a line each."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--out", type=Path, default=Path("build/masking.jsonl"))
    args = parser.parse_args()
    args.out.parent.mkdir(parents=True, exist_ok=True)
    with args.out.open("w", encoding="utf-8") as file, tempfile.TemporaryDirectory() as folder:
        for seed in range(args.seeds):
            for name in RUNS:
                line = json.dumps(measure(name, seed, folder))
                print(line, flush=True)
                file.write(line + "\n")


if __name__ == "__main__":
    main()
