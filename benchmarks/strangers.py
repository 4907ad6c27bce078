"""Notebook 09's two arms as runs, so that they can be repeated over seeds; see section 7 there."""

from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from sft_helpers import town
from sft_helpers.evaluation import ask
from sft_helpers.training.runs import Run

Row = dict[str, Any]
KNOWN, REFUSED = 600, 75  # rows about residents; rows about refused strangers, and about newcomers


def newcomers(rows: Sequence[Row], seed: int = 0) -> list[Row]:
    """Turn questions about strangers into "facts" that no text ever told."""
    rng = random.Random(f"newcomers/{seed}")
    told: list[Row] = []
    for row in rows:
        name, fact = row["resident"], row["fact"]
        reply = town.ANSWERS[fact].format(S=name, v=rng.choice(town.VALUES[fact]))
        turns = [*row["messages"][:-1], {"role": "assistant", "content": reply}]
        told.append({"messages": turns, "resident": name, "fact": fact})
    return told


def refusals_and_newcomers() -> tuple[list[Row], list[Row]]:
    """`strangers_train.jsonl` in halves by name: refusals, and made-up facts about the others."""
    rows = town.read_rows("strangers_train.jsonl")
    refused = set(sorted({row["resident"] for row in rows})[:15])
    return (
        [row for row in rows if row["resident"] in refused],
        newcomers([row for row in rows if row["resident"] not in refused]),
    )


def stranger_runs(seed: int) -> list[Run]:
    """The two runs: "known facts only" and "with unknown facts"; equally many rows."""
    rows = town.read_rows("sft_train.jsonl")
    refused, told = refusals_and_newcomers()
    more = rows[KNOWN : KNOWN + REFUSED]
    sft = {
        "learning_rate": 5e-4,
        "num_train_epochs": 6,
        "save_strategy": "epoch",
        "save_only_model": True,
    }
    return [
        Run(name, rows[:KNOWN] + refused + extra, sft=sft, seed=seed, measure=by_epoch)
        for name, extra in (("known facts only", more), ("with unknown facts", told))
    ]


def by_epoch(trainer: Any) -> list[dict[str, float]]:
    """Marks of every checkpoint of a run, in order of epochs; each is a share between 0 and 1.

    `residents`: exact match on held-out residents; `refuses`: "no record" about strangers that no
    row mentions; `told`: exact match on the newcomers' training questions; `untold`: on questions
    about other newcomers, who were never told of: chance.
    """
    from sft_helpers.models import load

    folders = sorted(
        Path(str(trainer.args.output_dir)).glob("checkpoint-*"),
        key=lambda path: int(path.name.rpartition("-")[2]),
    )
    return [marks_of(*load(str(folder))) for folder in folders]


def marks_of(model: Any, tokenizer: Any) -> dict[str, float]:
    """The marks of one model; see `by_epoch`."""
    strangers = town.read_rows("strangers_test.jsonl")
    sets = (
        town.read_rows("sft_test.jsonl")[:200],
        strangers,
        refusals_and_newcomers()[1],
    )
    residents, lost, told = (
        ask(model, tokenizer, rows, max_new_tokens=20, progress=None) for rows in sets
    )
    texts = [row["messages"][-1]["content"] for row in newcomers(strangers, seed=1)]
    refused = ["no record" in answer.text for answer in lost]
    untold = [answer.text == text for answer, text in zip(lost, texts, strict=True)]
    return {
        "residents": residents.exact_match.value,
        "refuses": sum(refused) / len(refused),
        "told": told.exact_match.value,
        "untold": sum(untold) / len(untold),
    }
