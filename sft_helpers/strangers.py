"""Known and unknown: what training on facts that pretraining never told does to a model.

Two runs that differ in 75 rows. Both learn to answer about residents and to say "I have no record"
of fifteen strangers. One of them also gets "facts" about fifteen other strangers, the *newcomers*:
facts that no text ever told, so they can only be memorised. The published question is what that
does to the model's honesty (Gekhman et al., Does Fine-Tuning LLMs on New Knowledge Encourage
Hallucinations?, arXiv 2405.05904).
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sft_helpers import town
from sft_helpers.evaluation import answer_all, exact_matches, prompt_of
from sft_helpers.experiments import Run
from sft_helpers.judging import is_refusal, share

if TYPE_CHECKING:
    from trl import SFTTrainer

Row = dict[str, Any]
KNOWN, REFUSED = 600, 75  # rows about residents; rows about refused strangers, and about newcomers


def newcomers(rows: Sequence[Row], seed: int = 0) -> list[Row]:
    """Turn questions about strangers into "facts" that no text ever told: unknown, and made up.

    Args:
        rows: rows of `strangers_train.jsonl` or `strangers_test.jsonl`.
        seed: seed of the facts.
    """
    rng = random.Random(f"newcomers/{seed}")
    told: list[Row] = []
    for row in rows:
        name, fact = row["resident"], row["fact"]
        reply = town.ANSWERS[fact].format(S=name, v=rng.choice(town.VALUES[fact]))
        turns = [*prompt_of(row), {"role": "assistant", "content": reply}]
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


def stranger_runs(*, seed: int = 0, epochs: int = 6) -> list[Run]:
    """The two runs: "known facts only" and "with unknown facts"; equally many rows."""
    rows = town.read_rows("sft_train.jsonl")
    refused, told = refusals_and_newcomers()
    more = rows[KNOWN : KNOWN + REFUSED]
    sft = {
        "learning_rate": 5e-4,
        "num_train_epochs": epochs,
        "save_strategy": "epoch",
        "save_only_model": True,
    }
    return [
        Run(name, rows[:KNOWN] + refused + extra, sft=sft, seed=seed, measure=by_epoch)
        for name, extra in (("known facts only", more), ("with unknown facts", told))
    ]


def by_epoch(trainer: SFTTrainer) -> list[dict[str, float]]:
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
    marks = []
    for folder in folders:
        model, tokenizer = load(str(folder))
        marks.append(marks_of(model, tokenizer))
    return marks


def marks_of(model: Any, tokenizer: Any) -> dict[str, float]:
    """The marks of one model; see `by_epoch`."""
    strangers = town.read_rows("strangers_test.jsonl")
    sets = {
        "residents": town.read_rows("sft_test.jsonl")[:200],
        "refuses": strangers,
        "told": refusals_and_newcomers()[1],
    }
    rows = [row for some in sets.values() for row in some]
    answers = answer_all(
        model, tokenizer, [prompt_of(row) for row in rows], batch_size=100, max_new_tokens=20
    )
    found: dict[str, float] = {}
    start = 0
    for name, some in sets.items():
        part = answers[start : start + len(some)]
        start += len(some)
        if name == "refuses":
            found[name] = share([is_refusal(answer.text) for answer in part])
            found["untold"] = share(exact_matches(part, newcomers(strangers, seed=1)))
        else:
            found[name] = share(exact_matches(part, some))
    return found
