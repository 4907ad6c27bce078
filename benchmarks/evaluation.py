"""How fast can 200 questions be asked, do intervals keep their promise, do the effects repeat?

    OMP_NUM_THREADS=1 python benchmarks/evaluation.py [speed] [coverage] [seeds] [--json]

* speed:    the kit's batched answers against a loop that calls transformers' pipeline with one
            conversation at a time, in turns, in one process: processor seconds and same answers.
* coverage: how often the 95 % bootstrap interval of a score holds the true score, in simulated
            evaluations: residents drawn whole or questions drawn singly, many or few, and the
            Wilson interval where errors are rare.
* seeds:    notebook 09's two effects over three seeds: what refusing to answer about strangers
            costs, and what unknown facts among the training rows do to it.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from typing import Any

import numpy as np
import strangers

from sft_helpers import town
from sft_helpers.evaluation import ask, interval_coverage, wilson_interval
from sft_helpers.lesson import expect

QUESTIONS = 200


def speed(rounds: int = 3) -> dict[str, Any]:
    """Ratio of processor seconds, pipeline over batches, and the share of equal answers."""
    import torch
    from transformers import pipeline

    from sft_helpers.models import load
    from sft_helpers.quiet import quiet_libraries
    from sft_helpers.training.runs import Run, run_here

    quiet_libraries()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        sft = {"learning_rate": 5e-4, "num_train_epochs": 2}
        rows = town.read_rows("sft_train.jsonl")[:900]
        run_here(Run("trained", rows, sft=sft, save_to=folder))
        model, tokenizer = load(folder)
    rows = town.read_rows("sft_test.jsonl")[:QUESTIONS]
    pipe = pipeline("text-generation", model=model, tokenizer=tokenizer)
    ratios, same = [], 1.0
    for _ in range(rounds):
        start = time.process_time()
        single = [
            pipe(row["messages"][:-1], max_new_tokens=40, do_sample=False)[0]["generated_text"]
            for row in rows
        ]
        middle = time.process_time()
        together = ask(model, tokenizer, rows, progress=None)
        end = time.process_time()
        ratios.append((middle - start) / (end - middle))
        pairs = zip(single, together, strict=True)
        equal = [one[-1]["content"].strip() == two.text for one, two in pairs]
        same = min(same, sum(equal) / len(equal))
    return {
        "batched_speedup": statistics.median(ratios),
        "slowest": min(ratios),
        "same_answers": same,
        "pipeline_seconds": middle - start,
        "batched_seconds": end - middle,
    }


def coverage(trials: int = 2_000) -> list[dict[str, Any]]:
    """Coverage of the 95 % interval in several settings."""
    town_like = {"groups": 80, "per_group": 5}
    settings: list[dict[str, Any]] = [
        {"share": 0.85, **town_like, "spread": 0.2},
        {"share": 0.85, **town_like, "spread": 0.2, "by_group": False},
        {"share": 0.9, "groups": 400},
        {"share": 0.9, "groups": 80},
        {"share": 0.9, "groups": 20},
        {"share": 0.95, "groups": 20},
        {"share": 0.98, "groups": 80},
    ]
    settings += [one | {"bounds": None} for one in settings[-3:]]  # the plain bootstrap
    found = [one | {"covers": interval_coverage(**one, trials=trials)} for one in settings]
    rng = np.random.default_rng(0)
    for share, questions in ((0.95, 20), (0.98, 80)):
        intervals = [
            wilson_interval(int(right), questions)
            for right in rng.binomial(questions, share, size=trials)
        ]
        held = np.mean([one.low <= share <= one.high for one in intervals])
        found.append({"share": share, "groups": questions, "interval": "wilson", "covers": held})
    return found


def seeds(count: int = 3) -> list[dict[str, Any]]:
    """The notebook's two arms over seeds: refusal, invention, known and unknown facts."""
    from sft_helpers.training.runs import run_all

    runs = [run for seed in range(count) for run in strangers.stranger_runs(seed)]
    rows = []
    for outcome in run_all(runs):
        for epoch, marks in enumerate(outcome.measured, start=1):
            rows.append({"run": outcome.name, "seed": outcome.seed, "epoch": epoch, **marks})
    return rows


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("parts", nargs="*", default=["speed", "coverage"])
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    result: dict[str, Any] = {}
    for part in args.parts:
        result[part] = {"speed": speed, "coverage": coverage, "seeds": seeds}[part]()
    if args.json:
        print(json.dumps(result, default=float))
        return
    for part, found in result.items():
        print(part)
        for line in [found] if isinstance(found, dict) else found:
            print("  " + ", ".join(f"{key} {_short(value)}" for key, value in line.items()))
    if "speed" in result:
        expect("evaluation.batched_speedup", result["speed"]["batched_speedup"], low=10)
        expect("evaluation.batched_same_answers", result["speed"]["same_answers"], low=1)


def _short(value: Any) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)


if __name__ == "__main__":
    main()
