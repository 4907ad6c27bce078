"""How fast the cleaning rules are, and near-duplicate search beside other libraries.

    python benchmarks/cleaning.py                # 100,000 conversations, a few minutes
    python benchmarks/cleaning.py --rows 5000    # a look

One run measures all of it: rows per second and peak memory of every rule together, for a stream
and for a Dataset with two processes; and MinHash with rensa (as the kit uses it), datasketch and
gaoya on the same texts with the same number of hash functions and bands. datasketch and gaoya are
no dependencies of the kit: `pip install datasketch gaoya`.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import random
import resource
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from sft_helpers.cleaning import Funnel, Thresholds, clean
from sft_helpers.cleaning.duplicates import BANDS, HASHES, shingles

WORDS = [f"{a}{b}{c}" for a in "bdfglmprst" for b in "aeiou" for c in ("n", "r", "st", "ll", "m")]
Result = dict[str, Any]


def sentence(rng: random.Random) -> str:
    """A sentence of 6 to 14 invented words."""
    return " ".join(rng.choices(WORDS, k=rng.randint(6, 14))).capitalize() + "."


def conversations(count: int, seed: int = 0) -> list[dict[str, Any]]:
    """Conversations of about 600 characters; 10 % are near or exact copies of earlier ones."""
    rng = random.Random(seed)
    rows: list[dict[str, Any]] = []
    for number in range(count):
        if number > 10 and rng.random() < 0.1:
            old = rng.choice(rows)["messages"]
            words = old[1]["content"].split()
            if rng.random() < 0.6:
                words[rng.randrange(len(words))] = rng.choice(WORDS)
            turns = [old[0], {"role": "assistant", "content": " ".join(words)}]
            rows.append({"messages": turns, "copy": True})
            continue
        question = sentence(rng)[:-1] + "?"
        answer = " ".join(sentence(rng) for _ in range(rng.randint(4, 10)))
        turns = [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]
        rows.append({"messages": turns, "copy": False})
    return rows


def text_of(row: dict[str, Any]) -> str:
    """What is compared: all turns."""
    return "\n".join(turn["content"] for turn in row["messages"])


def all_rules_stream(count: int) -> Result:
    """Every rule over a stream."""
    rows = conversations(count)
    evaluation = conversations(200, seed=1)
    start, before = time.perf_counter(), memory()
    funnel = Funnel(eval_rows=evaluation)
    kept = sum(1 for _ in funnel.stream(rows))
    return measured(start, before, count, kept=kept)


def all_rules_dataset(count: int) -> Result:
    """Every rule over a Dataset, single rows judged by two processes."""
    from datasets import Dataset, disable_progress_bars

    disable_progress_bars()
    dataset = Dataset.from_list(conversations(count))
    evaluation = conversations(200, seed=1)
    start, before = time.perf_counter(), memory()
    result = clean(dataset, eval_rows=evaluation, num_proc=2)
    return measured(start, before, count, kept=result.report.rows_kept)


def search(find: Callable[[list[str]], list[bool]], count: int) -> Result:
    """Time a search and score it: which rows does it take for copies?"""
    rows = conversations(count)
    texts = [text_of(row) for row in rows]
    start, before = time.perf_counter(), memory()
    found = find(texts)
    result = measured(start, before, count)
    right = sum(hit and row["copy"] for hit, row in zip(found, rows, strict=True))
    return result | {
        "recall": round(right / max(1, sum(row["copy"] for row in rows)), 4),
        "precision": round(right / max(1, sum(found)), 4),
    }


def with_rensa(texts: list[str]) -> list[bool]:
    """Candidates of rensa, not confirmed."""
    import rensa

    index = rensa.RMinHashLSH(0.7, HASHES, BANDS)
    found = []
    for number, text in enumerate(texts):
        sketch = rensa.RMinHash(HASHES, 42)
        sketch.update(list(shingles(text, 5)))
        found.append(bool(index.query(sketch)))
        index.insert(number, sketch)
    return found


def with_kit(texts: list[str]) -> list[bool]:
    """As the kit does it: names must agree, candidates are confirmed."""
    from sft_helpers.cleaning.duplicates import NearDuplicates

    index = NearDuplicates(Thresholds())
    return [index.first(text) is not None for text in texts]


def with_datasketch(texts: list[str]) -> list[bool]:
    """Candidates of datasketch, not confirmed."""
    from datasketch import MinHash, MinHashLSH

    index = MinHashLSH(num_perm=HASHES, params=(BANDS, HASHES // BANDS))
    found = []
    for number, text in enumerate(texts):
        sketch = MinHash(num_perm=HASHES)
        sketch.update_batch([part.encode("utf-8") for part in shingles(text, 5)])
        found.append(bool(index.query(sketch)))
        index.insert(number, sketch)
    return found


def with_gaoya(texts: list[str]) -> list[bool]:
    """gaoya, which confirms by the estimated similarity."""
    from gaoya.minhash import MinHashStringIndex

    index = MinHashStringIndex(
        hash_size=32,
        jaccard_threshold=0.7,
        num_bands=BANDS,
        band_size=HASHES // BANDS,
        analyzer="char",
        lowercase=True,
        ngram_range=(5, 5),
    )
    found = []
    for number, text in enumerate(texts):
        found.append(bool(index.query(text)))
        index.insert_document(number, text)
    return found


def memory() -> float:
    """Peak resident memory of this process so far, MB."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (1e6 if sys.platform == "darwin" else 1e3)


def measured(start: float, before: float, count: int, **more: Any) -> Result:
    """Rows per second and peak memory since `start`."""
    seconds = time.perf_counter() - start
    return {
        "seconds": round(seconds, 1),
        "rows_per_second": round(count / seconds),
        "peak_mb": round(memory()),
        "peak_mb_before": round(before),
        **more,
    }


JOBS: dict[str, Callable[[int], Result]] = {
    "all rules, stream": all_rules_stream,
    "all rules, Dataset, 2 processes": all_rules_dataset,
    "near duplicates: the kit (rensa)": lambda count: search(with_kit, count),
    "near duplicates: rensa alone": lambda count: search(with_rensa, count),
    "near duplicates: datasketch": lambda count: search(with_datasketch, count),
    "near duplicates: gaoya": lambda count: search(with_gaoya, count),
}


def job(name: str, count: int, queue: Any) -> None:
    """Run one measurement in a process of its own."""
    try:
        queue.put(JOBS[name](count))
    except ImportError as problem:
        queue.put({"skipped": str(problem)})


def main() -> None:
    """Run every measurement, print and perhaps store the results."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--json", type=Path, help="write the results here")
    args = parser.parse_args()
    # a process of its own for each: peak memory cannot be reset
    context = multiprocessing.get_context("spawn")
    results: dict[str, Result] = {}
    for name in JOBS:
        queue = context.Queue()
        process = context.Process(target=job, args=(name, args.rows, queue))
        process.start()
        results[name] = queue.get()
        process.join()
        print(f"{name:34}{json.dumps(results[name])}", flush=True)
    if args.json:
        args.json.write_text(json.dumps({"rows": args.rows, "results": results}, indent=1) + "\n")


if __name__ == "__main__":
    main()
