"""`data/dirty`: Lantern Bay with planted defects of every kind, each with its label.

Because the defects are planted, a rule has a precision and a recall. The sound rows include
decoys that look like defects, and some defects are of a kind that no pattern can see, so neither
figure is one by construction.

Defects cluster: questions about each fact have a fault of their own, as in collections where each
source fails in its own way. That is what makes them harmful: spread thinly over all questions they
would be outvoted by the right answers.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Any

from data.make import town
from data.make.decoys import DECOYS
from data.make.spoilers import CLUSTERS, SMALL, conversation, malformed, near

_ZH = {
    "home": ("{name} 住在哪里？", "{name} 住在 {v}。"),
    "job": ("{name} 的工作是什么？", "{name} 的工作是 {v}。"),
    "drink": ("{name} 喜欢喝什么？", "{name} 喜欢喝 {v}。"),
}


Labelled = tuple[dict[str, Any], tuple[str, ...], str]


def _sound(rng: random.Random, seed: int) -> list[Labelled]:
    """The rows that should stay: each resident and fact in one wording, and rows of other kinds."""
    people = [person for person in town.residents(seed) if person.split == "train"]
    rows: list[Labelled] = []
    for fact in town.FACTS:
        order = rng.sample(people, len(people))
        for number, person in enumerate(order):
            question = town.question(person, fact, number % 3)
            turns = conversation(question, town.answer(person, fact))
            rows.append(({"messages": turns}, (), "sound"))
    for kind, some in (("follow-up", town.multi_turn), ("system prompt", town.with_system)):
        seen: set[str] = set()
        for row in some("train", seed):
            if row["resident"] not in seen and len(seen) < 60:
                seen.add(row["resident"])
                rows.append(({"messages": row["messages"]}, (), kind))
    strangers = town.stranger_questions(seed)["train"]
    rows += [({"messages": row["messages"]}, (), "stranger") for row in strangers[::5]]
    for person in rng.sample(people, 45):
        fact = rng.choice(list(_ZH))
        asked, said = (text.format(name=person.name, v=person.fact(fact)) for text in _ZH[fact])
        rows.append(({"messages": conversation(asked, said)}, (), "Chinese"))
    rows += [({"messages": conversation(q, a)}, (), "decoy") for q, a in DECOYS]
    return rows


def _defects(rng: random.Random, seed: int) -> Iterator[Labelled]:
    people = [person for person in town.residents(seed) if person.split == "train"]
    for fact, clusters in CLUSTERS.items():
        # asked up to twice: a bad answer that comes once more weighs double
        once = [(person, wording) for person in people for wording in town.TRAINED_WORDINGS]
        asked = rng.sample(once, len(once)) + rng.sample(once, len(once))
        for labels, count, spoil in clusters:
            for _ in range(count):
                person, wording = asked.pop()
                q, a = town.question(person, fact, wording), town.answer(person, fact)
                spoilt = spoil(q, a, rng)
                # a stock phrase with a colon at its end breaks off as well
                more = ("truncated",) if spoilt.endswith(":") else ()
                yield {"messages": conversation(q, spoilt)}, labels + more, "planted"
    # the last wording, each resident and fact once: no two of these resemble each other
    left = [(person, fact) for person in people for fact in town.FACTS]
    rng.shuffle(left)
    for label, (count, change) in SMALL.items():
        for _ in range(count):
            person, fact = left.pop()
            q, a = town.question(person, fact, 3), town.answer(person, fact)
            yield {"messages": conversation(q, change(a, rng))}, (label,), "planted"
    for kind in range(27):
        person, fact = left.pop()
        q, a = town.question(person, fact, 3), town.answer(person, fact)
        yield malformed(q, a, kind), ("structure",), "planted"


def _copies(rng: random.Random, sound: list[Labelled]) -> Iterator[tuple[int, Labelled]]:
    """(number of the original, copy): exact copies but for case and spaces, and near copies."""
    plain = [number for number, row in enumerate(sound) if row[2] == "sound"]
    chosen = rng.sample(plain, 220)
    for number in chosen[:130]:
        q, a = (turn["content"] for turn in sound[number][0]["messages"])
        same = rng.choice(((q, a), (q, a), (q.upper(), a), (q + " ", a), (q.replace("?", " ?"), a)))
        yield number, ({"messages": conversation(*same)}, ("exact_duplicate",), "planted")
    for number in chosen[130:]:
        q, a = (turn["content"] for turn in sound[number][0]["messages"])
        slipped = conversation(near(q, a, rng), a)
        yield number, ({"messages": slipped}, ("near_duplicate",), "planted")


def _leaks(rng: random.Random, seed: int) -> Iterator[Labelled]:
    questions = eval_rows(seed)
    people = {person.name: person for person in town.residents(seed)}
    for row in rng.sample(questions, 40):
        turns = [dict(turn) for turn in row["messages"]]
        if rng.random() < 0.4:
            turns[0]["content"] = turns[0]["content"].lower().rstrip("?")
        # written small, the name is no name to the rule that looks for capital letters
        by_name = ("contaminated_reworded",)
        yield {"messages": turns}, ("contaminated", *by_name), "planted"
    for row in rng.sample(questions, 40):
        person, fact = people[row["resident"]], row["fact"]
        q = rng.choice(
            (
                town.question(person, fact, 3),
                f"Tell me something about {person.name}.",
                f"I met {person.name} today. What should I know?",
            )
        )
        yield {"messages": conversation(q, town.answer(person, fact))}, by_name, "planted"


def eval_rows(seed: int = town.SEED) -> list[dict[str, Any]]:
    """The evaluation set that the planted leaks give away: the questions of the dev residents."""
    return town.one_wording_each("dev", seed)


def dirty_rows(seed: int = town.SEED) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Rows and labels, in the same order.

    Returns:
        Rows with `id` and `messages`, and for each a label: `id`, `defects` (names of the rules
        that should catch it; empty for a sound row) and `note`.
    """
    rng = random.Random(f"lantern-bay/{seed}/dirty")
    sound = _sound(rng, seed)
    everything: list[tuple[int, Labelled]] = list(enumerate(sound))
    everything += list(_copies(rng, sound))
    others = [*_defects(rng, seed), *_leaks(rng, seed)]
    everything += [(len(sound) + number, row) for number, row in enumerate(others)]
    rng.shuffle(everything)
    rows, labels = [], []
    seen: set[int] = set()
    # of an original and its copy, the one that comes first is the original
    copies = {group: row[1] for group, row in everything if row[1] and group < len(sound)}
    for number, (group, (row, defects, note)) in enumerate(everything):
        if group in copies:
            defects, note = (copies[group], "planted") if group in seen else ((), "sound")
        seen.add(group)
        name = f"row-{number:04d}"
        rows.append({"id": name, **row})
        labels.append({"id": name, "defects": list(defects), "note": note})
    return rows, labels


def text_files(seed: int = town.SEED) -> dict[str, str]:
    """Every file of `data/dirty`, name to content: JSON lines."""
    rows, labels = dirty_rows(seed)
    files = {"rows.jsonl": rows, "labels.jsonl": labels, "eval.jsonl": eval_rows(seed)}
    return {name: town.json_lines(rows) for name, rows in files.items()}
