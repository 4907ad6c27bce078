"""Predicted against measured memory of a training step: the tables behind docs/memory.md.

    python benchmarks/memory.py measure [--model tiny smollm2] [--method full lora qlora]
    python benchmarks/memory.py table

`measure` trains two real steps with `SFTTrainer` for each set-up, in fp32 on the CPU, and keeps
the peak of PyTorch's allocator in data/memory/measured.json (about a minute of one core for the
tiny model, five for SmolLM2-135M). `table` prints the measured set-ups as Markdown and records the
mean and the worst error (`SFT_RESULTS` names the file).
"""

from __future__ import annotations

import argparse
import json
import tempfile
from itertools import product
from statistics import mean
from typing import Any

from accelerate.commands.estimate import estimate_training_usage
from accelerate.utils import calculate_maximum_sizes

from sft_helpers.lesson import expect
from sft_helpers.memory import predict, read_config
from sft_helpers.memory.account import METHODS, Account
from sft_helpers.memory.measure import measured_peak, two_steps
from sft_helpers.memory.model import skeleton
from sft_helpers.town import data_dir

FOLDER = data_dir().parent / "memory"
LENGTHS = {"tiny": (64, 128, 256), "smollm2": (32, 64, 128)}
BATCHES = {"tiny": (1, 4), "smollm2": (1, 2)}
KEY = ("model", "method", "checkpointing", "length", "batch")


def measure(model: str, method: str, checkpointing: bool, length: int, batch: int) -> Any:
    """Train two steps of one set-up and predict the same, beside two usual estimates."""
    with tempfile.TemporaryDirectory() as folder:
        trainer = two_steps(model, method, checkpointing, length, batch, folder)
        real = measured_peak(trainer)
    found = predict(
        model,
        method=method,
        length=length,
        batch=batch,
        checkpointing=checkpointing,
        precision="fp32",
        device="cpu",
    )
    return {
        **dict(zip(KEY, (model, method, checkpointing, length, batch), strict=True)),
        "measured": real,
        "predicted": found.peak_bytes,
        "components": found.components,
        "accelerate": by_accelerate(model),
        "thumb": by_thumb(found),
    }


def by_accelerate(model: str) -> int:
    """Bytes for training with Adam in fp32, as `accelerate estimate-memory` reckons them.

    Four times the size of the weights, whatever the method: it knows no adapters, no 4-bit
    training and no activations. The command itself reads models from the hub only; these are the
    functions behind it.
    """
    size, _ = calculate_maximum_sizes(skeleton(read_config(model)[1], "float32"))
    return int(estimate_training_usage(size, "float32")["step"])


def by_thumb(account: Account) -> int:
    """Bytes by the usual rule, in fp32: 16 for a weight that trains (weight, gradient, two moments
    of AdamW), 4 (LoRA) or half a byte (QLoRA) for a frozen one. No activations, no loss.
    """
    frozen = {"full": 0.0, "lora": 4.0, "qlora": 0.5}[account.settings.method]
    return int(frozen * account.parameters + 16 * account.trainable)


def run_measure(models: list[str], methods: list[str]) -> None:
    """Measure, and replace these set-ups in the kept table."""
    rows = []
    for model in models:
        for setup in product(methods, (False, True), LENGTHS[model], BATCHES[model]):
            row = measure(model, *setup)
            error = row["predicted"] / row["measured"] - 1
            print(model, *setup, f"{row['measured'] / 1e6:.1f} MB, predicted {error:+.2%}")
            rows.append(row)
    file = FOLDER / "measured.json"
    kept = json.loads(file.read_text(encoding="utf-8")) if file.exists() else []
    by_key = {tuple(row[name] for name in KEY): row for row in (*kept, *rows)}
    ordered = [by_key[key] for key in sorted(by_key)]
    lines = ",\n".join(json.dumps(row) for row in ordered)
    file.write_text(f"[\n{lines}\n]\n", encoding="utf-8")


def run_table() -> None:
    """Print the kept set-ups and record how far the predictions are off."""
    rows = json.loads((FOLDER / "measured.json").read_text(encoding="utf-8"))
    print("| model | method | checkpointing | length | batch | measured MB | predicted | accelerate"
          " | rule of thumb |\n|---|---|---|---|---|---|---|---|---|")  # fmt: skip
    for row in rows:
        off = [
            f"{row[name] / row['measured'] - 1:+.1%}"
            for name in ("predicted", "accelerate", "thumb")
        ]
        cells = [row["model"], row["method"], "on" if row["checkpointing"] else "off"]
        cells += [str(row["length"]), str(row["batch"]), f"{row['measured'] / 1e6:.1f}", *off]
        print("| " + " | ".join(cells) + " |")
    print()
    for name in ("predicted", "accelerate", "thumb"):
        errors = [abs(row[name] / row["measured"] - 1) for row in rows]
        print(f"{name}: mean error {mean(errors):.2%}, worst {max(errors):.2%}")
    errors = [abs(row["predicted"] / row["measured"] - 1) for row in rows]
    expect("memory.setups", len(rows), low=72)
    expect("memory.mean_error", mean(errors), high=0.01)
    expect("memory.worst_error", max(errors), high=0.03)


def main() -> None:
    """Read the command line and do one of the two."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=("measure", "table"))
    parser.add_argument("--model", nargs="+", help="tiny, smollm2; both unless said otherwise")
    parser.add_argument("--method", nargs="+", choices=METHODS, default=list(METHODS))
    args = parser.parse_args()
    if args.what == "measure":
        run_measure(args.model or list(LENGTHS), args.method)
    else:
        run_table()


if __name__ == "__main__":
    main()
