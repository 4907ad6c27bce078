"""Predicted against measured memory of a training step: the tables behind docs/memory.md.

    python benchmarks/memory.py measure [--model tiny smollm2] [--method full lora qlora]
    python benchmarks/memory.py grid [--model NAME ...] [--precision bf16 fp32] [--method ...]
    python benchmarks/memory.py table

`measure` trains two real steps with `SFTTrainer` for each set-up, in fp32 on the CPU, and keeps
the peak of PyTorch's allocator in data/memory/measured.json (about a minute of one core for the
tiny model, five for SmolLM2-135M). `grid` predicts what the memory explorer shows and keeps it in
data/memory/grid (three minutes of one core for each model).
`table` prints the measured set-ups as Markdown and records the mean and the
worst error (`SFT_RESULTS` names the file).
"""

from __future__ import annotations

import argparse
import json
import tempfile
from itertools import product
from statistics import mean
from typing import Any

from sft_helpers.lesson import expect
from sft_helpers.memory import METHODS, config_folder

FOLDER = config_folder().parent
LENGTHS = {"tiny": (64, 128, 256), "smollm2": (32, 64, 128)}
BATCHES = {"tiny": (1, 4), "smollm2": (1, 2)}
# The models of the explorer.
GRID = (
    "SmolLM2-135M", "Qwen2.5-0.5B", "Llama-3.2-1B", "Qwen2.5-1.5B", "Qwen2.5-3B", "Qwen2.5-7B",
    "Llama-3.1-8B", "Qwen2.5-14B",
)  # fmt: skip
KEY = ("model", "method", "checkpointing", "length", "batch")


def measure(model: str, method: str, checkpointing: bool, length: int, batch: int) -> Any:
    """Train two steps of one set-up and predict the same, beside two usual estimates."""
    from sft_helpers.memory.rules import by_accelerate, by_thumb

    from sft_helpers.memory import predict
    from sft_helpers.memory.measure import measured_peak, two_steps

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
    expect("memory.setups", len(rows), low=24)
    expect("memory.mean_error", mean(errors), high=0.05)
    expect("memory.worst_error", max(errors), high=0.12)


def main() -> None:
    """Read the command line and do one of the three."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=("measure", "grid", "table"))
    parser.add_argument("--model", nargs="+", help="measure: tiny, smollm2; grid: any")
    parser.add_argument("--method", nargs="+", choices=METHODS, default=list(METHODS))
    parser.add_argument("--precision", nargs="+", help="grid: which part of it")
    args = parser.parse_args()
    if args.what == "measure":
        run_measure(args.model or list(LENGTHS), args.method)
    elif args.what == "grid":
        from sft_helpers.memory.grid import PRECISIONS, write_grid

        for model, precision in product(args.model or GRID, args.precision or PRECISIONS):
            write_grid(model, precision, args.method)
            print("grid", model, precision, flush=True)
    else:
        run_table()


if __name__ == "__main__":
    main()
