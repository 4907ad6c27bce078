"""The funnel over a `datasets.Dataset`: single rows in several processes, comparisons in one."""

from __future__ import annotations

import json
from typing import Any

from sft_helpers.cleaning.funnel import FLAGS, Count, Funnel, Judged, judge
from sft_helpers.cleaning.model import Chat, Matcher, Messages, Row, Rule, read_chat
from sft_helpers.errors import DataError


def clean_dataset(dataset: Any, funnel: Funnel, num_proc: int | None, progress: str | None) -> Any:
    """The rows of a Dataset that stay; single rows are judged in `num_proc` processes.

    Raises:
        DataError: there is no column `messages`.
    """
    from tqdm.auto import tqdm

    if "messages" not in dataset.column_names:
        raise DataError(
            f"the dataset has no column `messages`, only {', '.join(dataset.column_names)}",
            hint="convert it first: notebook 01, or `sft-helpers convert`",
        )
    judged = dataset.select_columns(["messages"]).map(
        _judge_batch,
        batched=True,
        num_proc=num_proc,
        remove_columns=["messages"],
        fn_kwargs={"chosen": funnel.single, "count": funnel.count},
        desc=progress,
        load_from_cache_file=False,
    )
    kept: list[int] = []
    changed: dict[int, Row] = {}
    pairs = zip(dataset.select_columns(["messages"]), judged, strict=True)
    bar = tqdm(pairs, desc=progress, total=len(dataset), disable=progress is None, leave=False)
    for number, (row, said) in enumerate(bar):
        result = funnel.settle(row, _unpacked(row, said))
        if result is not None:
            kept.append(number)
            if result is not row:
                changed[number] = result
    chosen = dataset.select(kept)
    if changed:
        flags = any(FLAGS in row for row in changed.values())
        rewritten: dict[str, list[Any]] = {"messages": [], FLAGS: []}
        for number, messages in zip(kept, chosen["messages"], strict=True):
            row = changed.get(number, {})
            rewritten["messages"].append(row.get("messages", messages))
            rewritten[FLAGS].append(row.get(FLAGS, []))
        columns = ["messages"] + ([FLAGS] if flags else [])
        present = [name for name in columns if name in chosen.column_names]
        feature = {"messages": dataset.features["messages"]}
        chosen = chosen.remove_columns(present)
        for name in columns:
            chosen = chosen.add_column(name, rewritten[name], feature=feature.get(name))
    return chosen


def _judge_batch(
    batch: dict[str, list[Any]], chosen: list[tuple[Rule, Matcher]], count: Count | None
) -> dict[str, list[Any]]:
    found = [judge({"messages": messages}, chosen, count) for messages in batch["messages"]]
    return {
        "said": [
            json.dumps(
                {
                    "findings": one.findings,
                    "dropped_by": one.dropped_by,
                    "flags": one.flags,
                    "messages": one.chat.messages if one.chat and one.fixed else None,
                    "tokens": one.chat.tokens if one.chat else None,
                }
            )
            for one in found
        ]
    }


def _unpacked(row: Row, said: dict[str, str]) -> Judged:
    told = json.loads(said["said"])
    chat = read_chat(row)
    if not isinstance(chat, Chat):
        return Judged(None, told["findings"], told["dropped_by"])
    messages: Messages = told["messages"] or chat.messages
    return Judged(
        Chat(messages, told["tokens"]),
        [tuple(finding) for finding in told["findings"]],
        told["dropped_by"],
        told["messages"] is not None,
        tuple(told["flags"]),
    )
