"""Loads the town's test questions for lm-evaluation-harness, wherever the command is started.

The harness calls `questions` because the YAML files beside this one name it as `custom_dataset`.
"""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

from datasets import Dataset

TOWN = Path(__file__).resolve().parent.parent / "town"


def questions(name: str = "sft_test.jsonl", **_: Any) -> dict[str, Dataset]:
    """Single-turn questions with their answer and four choices, in the order of the file.

    The wrong choices are answers about the same fact and person with other values, drawn with a
    fixed seed, so they differ in one word from the right one.
    """
    values = _values()
    rng = random.Random(0)
    rows = []
    for line in (TOWN / name).read_text(encoding="utf-8").splitlines():
        row = json.loads(line)
        question, answer = (turn["content"] for turn in row["messages"][-2:])
        right = values[row["resident"]][row["fact"]]
        others = sorted({person[row["fact"]] for person in values.values()} - {right})
        choices = [right, *rng.sample(others, 3)]
        rng.shuffle(choices)
        rows.append(
            {
                "question": question,
                "answer": answer,
                "choices": [answer.replace(right, choice) for choice in choices],
                "right": choices.index(right),
                "resident": row["resident"],
            }
        )
    return {"test": Dataset.from_list(rows)}


def _values() -> dict[str, dict[str, str]]:
    lines = (TOWN / "residents.jsonl").read_text(encoding="utf-8").splitlines()
    return {person["name"]: person for person in map(json.loads, lines)}
