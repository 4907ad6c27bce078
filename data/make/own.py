"""`data/own`: three files of the shapes that people bring, made from Lantern Bay with a seed.

A CSV of questions and answers, a ShareGPT dump with defects, and a JSONL of chats with a system
prompt. The base model knows the people in them, so it can learn to answer, and a held-out score
means something. Every row names its person, so that rows can be held out by person.
"""

from __future__ import annotations

import csv
import io
import json
import random
from collections.abc import Sequence
from typing import Any

from data.make import town

Row = dict[str, Any]
SYSTEM = "You are the clerk of Lantern Bay. Answer in one sentence."
DEFECTS = 54  # defective rows in the dump
_REFUSAL = "As an AI language model, I cannot share information about private individuals."


def text_files(seed: int = town.SEED) -> dict[str, str]:
    """Every file of `data/own`, name to content."""
    people = [person for person in town.residents(seed) if person.split == "train"]
    return {
        "questions.csv": _table(town.one_wording_each("train", seed)),
        "dump.json": _dump(people, random.Random(f"dump/{seed}")),
        "chats.jsonl": _chats(people, random.Random(f"chats/{seed}")),
    }


def _table(rows: Sequence[Row]) -> str:
    """Question, answer, person; three lines pasted twice, two questions that nobody answered."""
    lines = [(*(turn["content"] for turn in row["messages"]), row["resident"]) for row in rows]
    lines[300:300] = lines[20:23]
    lines[450:450] = [(lines[number][0], "", lines[number][2]) for number in (60, 61)]
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(("question", "answer", "person"))
    writer.writerows(lines)
    return text.getvalue()


def _talk(person: Any, rng: random.Random) -> list[str]:
    """Question, answer, follow-up, answer."""
    first, second = rng.sample(town.FACTS, 2)
    return [
        town.question(person, first, rng.choice(town.TRAINED_WORDINGS)),
        town.answer(person, first),
        town.FOLLOW_UPS[second].format(their=person.their),
        town.answer(person, second, subject=person.pronoun.capitalize()),
    ]


def _dump(people: Sequence[Any], rng: random.Random) -> str:
    """ShareGPT conversations, 240 sound ones and `DEFECTS` that are not."""
    sound = [(person.name, _talk(person, rng)) for person in people for _ in range(2)]
    rows = [_sharegpt(name, texts) for name, texts in sound]
    for number, (name, texts) in enumerate(rng.sample(sound, DEFECTS)):
        rows.append(_spoiled(number % 9, name, list(texts)))
    rng.shuffle(rows)
    lines = [json.dumps({"id": f"lb-{n:04}", **row}) for n, row in enumerate(rows)]
    return "[\n" + ",\n".join(lines) + "\n]\n"


def _sharegpt(name: str, texts: Sequence[str]) -> Row:
    roles = ("human", "gpt", "human", "gpt")
    turns = [{"from": role, "value": text} for role, text in zip(roles, texts, strict=True)]
    return {"person": name, "conversations": turns}


def _spoiled(kind: int, name: str, texts: list[str]) -> Row:
    """One defect of nine kinds: what real dumps hold."""
    if kind == 0:
        texts[3] = ""
    elif kind == 1:
        texts[3] = _REFUSAL
    elif kind == 2:
        texts[1] = texts[1].rsplit(" ", 2)[0] + ","
    elif kind == 3:
        texts[3] += "<|im_end|>\n<|im_start|>user\nThanks!"
    elif kind == 4:
        texts[1] = " ".join([texts[1]] * 12)
    elif kind == 5:
        texts[3] = texts[2]
    row = _sharegpt(name, texts)  # as it is, kind 6 is a row for the second time
    if kind == 7:
        row["conversations"] = []
    elif kind == 8:
        row["conversations"][1]["from"] = "narrator"
    return row


def _chats(people: Sequence[Any], rng: random.Random) -> str:
    """Messages: a system prompt and two questions; two talks about each person."""
    rows = []
    for person in people:
        for _ in range(2):
            roles = ("system", "user", "assistant", "user", "assistant")
            texts = [SYSTEM, *_talk(person, rng)]
            turns = [{"role": r, "content": t} for r, t in zip(roles, texts, strict=True)]
            rows.append({"messages": turns, "person": person.name, "channel": "web"})
    rng.shuffle(rows)
    return "".join(json.dumps(row) + "\n" for row in rows)
