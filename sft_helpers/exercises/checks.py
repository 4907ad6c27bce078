"""Checks that need Python: they call the learner's function on rows and answers.

Each takes `say`, which fills a sentence of the exercise's YAML, and the learner's answer; it
returns None where the answer is right. What the learner's code raises becomes a
diagnosis by itself.
"""

from __future__ import annotations

import copy
import functools
import random
from collections.abc import Callable, Collection, Mapping
from typing import Any

from sft_helpers.exercises.answers import (
    choices,
    items,
    number,
    returned,
)
from sft_helpers.exercises.data import topic

Say = Callable[..., str]
Function = Callable[..., Any]


def _turns(*contents: str) -> list[dict[str, str]]:
    """A conversation in which user and assistant take turns."""
    roles = ("user", "assistant")
    return [{"role": roles[n % 2], "content": text} for n, text in enumerate(contents)]


# --- 00 quickstart --------------------------------------------------------------------------------


def share_right(say: Say, function: Function) -> str | None:
    """Try the learner's score on answers that typical mistakes get wrong."""
    from sft_helpers.evaluation import Answer

    def answer(text: str, stopped: bool = True) -> Answer:
        return Answer(text=text, stopped=stopped, tokens=len(text.split()))

    def row(expected: str) -> dict[str, Any]:
        return {"messages": _turns("?", expected)}

    raven, tea = "Ada keeps a raven.", "Ada likes to drink tea."
    found = returned(function, [answer(raven), answer("Ada keeps a goat.")], [row(raven)] * 2)
    if not isinstance(found, int | float):
        return say("number", found=found)
    if found == 1 and function([answer("x")], [row(raven)]) == 0:
        return say("count")
    if found == 50:
        return say("percent")
    if found != 0.5:
        return say("half", found=found)
    if function([answer(f"{raven} {tea} {tea}", stopped=False)], [row(raven)]) != 0:
        return say("rambles")
    if function([answer("Ada keeps a")], [row(raven)]) != 0:
        return say("part")
    if function([answer(raven.upper())], [row(raven)]) != 0:
        return say("case")
    if function([answer(raven), answer(tea)], [row(tea), row(raven)]) != 0:
        return say("order")
    return None


# --- 01 data formats ---------------------------------------------------------------------------

_ASKED, _SAID = "Which pet does Ada Fairlock keep?", "Ada Fairlock keeps a raven."


def format_names(say: Say, answer: Any) -> str | None:
    """Compare the names of five rows' formats with those that `detect` gives."""
    from sft_helpers.formats import FORMATS, detect

    rows = topic("data_formats").material.FOUND
    for key, given in choices(answer, rows, FORMATS).items():
        if given != detect([rows[key]]).format:
            try:
                why = say(f"{key} {given}")
            except KeyError:
                why = say("other")
            return say("wrong", row=key, given=given, why=why)
    return None


def alpaca_converter(say: Say, function: Function) -> str | None:
    """Try the learner's converter with an input, with an empty one, and with none."""
    plain = {"instruction": _ASKED, "input": "", "output": _SAID}
    before = copy.deepcopy(plain)
    found = returned(function, plain)
    if plain != before:
        return say("changed")
    if isinstance(found, list):
        return say("turns")
    if not isinstance(found, dict) or not isinstance(found.get("messages"), (list, tuple)):
        return say("row", found=found)
    if set(found) != {"messages"}:
        return say("extra", name=min(set(found) - {"messages"}))
    problem = _alpaca_turns(say, found["messages"])
    if problem:
        return problem
    text = found["messages"][0]["content"]
    if text != _ASKED:
        return say("space") if text.strip() == _ASKED else say("alone", text=text)
    given = {"instruction": "Name the pet.", "input": _SAID, "output": "A raven."}
    text = function(given)["messages"][0]["content"]
    if _SAID not in text:
        return say("lost")
    if text != f"Name the pet.\n\n{_SAID}":
        return say("glued") if text == f"Name the pet.{_SAID}" else say("gap", text=text)
    try:
        bare = function({"instruction": _ASKED, "output": _SAID})
    except KeyError:
        return say("missing")
    text = bare["messages"][0]["content"]
    return None if text == _ASKED else say("bare", text=text)


def _alpaca_turns(say: Say, turns: list[Any]) -> str | None:
    if len(turns) != 2 or not all(isinstance(turn, dict) for turn in turns):
        return say("two", turns=len(turns))
    if any("from" in turn or "value" in turn for turn in turns):
        return say("sharegpt")
    roles = [turn.get("role") for turn in turns]
    if set(roles) & {"human", "gpt"}:
        return say("human")
    if roles == ["assistant", "user"]:
        return say("order")
    if roles != ["user", "assistant"]:
        return say("roles", roles=roles)
    text = turns[1].get("content")
    return None if text == _SAID else say("output", text=text)


def vanished_turns(say: Say, function: Function) -> str | None:
    """Try the learner's check on conversations of which a template drops some turns."""

    def rendered(messages: list[dict[str, Any]]) -> str:  # drops unknown roles, as Qwen2.5's does
        return "<|im_start|>system\nYou are helpful.<|im_end|>\n" + "".join(
            f"<|im_start|>{turn['role']}\n{turn['content']}<|im_end|>\n"
            for turn in messages
            if turn["role"] in ("system", "user", "assistant")
        )

    def row(*roles: str) -> list[dict[str, Any]]:
        return [{"role": r, "content": c} for r, c in zip(roles, (_ASKED, _SAID), strict=True)]

    lost, sound, half = row("human", "gpt"), row("user", "assistant"), row("user", "gpt")
    found = returned(function, lost, rendered(lost))
    if isinstance(found, bool | int):
        return say("number")
    if isinstance(found, str) or not isinstance(found, Collection):
        return say("list", found=found)
    found = list(found)
    if found and isinstance(found[0], dict):
        return say("messages")
    if found == [_ASKED]:
        return say("first")
    if found == [_SAID]:
        return say("last")
    if not found:
        return say("none")
    if set(found) != {_ASKED, _SAID}:
        return say("other", found=found)
    if function(sound, rendered(sound)):
        return say("turned")
    if list(function(half, rendered(half))) != [_SAID]:
        return say("half")
    sly = [{"role": "narrator", "content": "<|im_end|> fog"}, *sound]
    return None if list(function(sly, rendered(sly))) == ["<|im_end|> fog"] else say("third")


# --- 02 cleaning ----------------------------------------------------------------------------------


def holds_the_line(say: Say, function: Function) -> str | None:
    """Try the learner's rule on rows that typical mistakes get wrong."""
    phrase = topic("cleaning").material.PHRASE
    asked, good = "Where does Ada Fairlock live?", "Ada Fairlock lives in Pinecove."
    bad = returned(function, _turns(asked, phrase), nothing=True)
    sound = function(_turns(asked, good))
    if bad is None and sound is None:
        return say("nothing")
    if not bad:
        return say("turned") if sound else say("missed", phrase=phrase)
    if sound:
        return say("sound")
    if not function(_turns(asked, " please hold the line ")):
        return say("spelling")
    if not function(_turns(asked, phrase, "Hello?", good)):
        return say("last")
    if function(_turns(phrase, "I do. What is it about?")):
        return say("user")
    return say("inside") if function(_turns(asked, f"{phrase} {good}")) else None


@functools.cache
def similar_pairs() -> tuple[tuple[float, bool], ...]:
    """(similarity, whether one of the two is a planted near duplicate) of the pairs in data/dirty.

    Only pairs about the same person of rows without another defect; below a similarity of 0.5 no
    pair is listed.
    """
    from sft_helpers.cleaning import Thresholds
    from sft_helpers.cleaning.measures import measure
    from sft_helpers.town import read_rows

    rows, labels = read_rows("dirty/rows.jsonl"), read_rows("dirty/labels.jsonl")
    near_ones = {n for n, label in enumerate(labels) if label["defects"] == ["near_duplicate"]}
    plain = near_ones | {n for n, label in enumerate(labels) if not label["defects"]}
    best: dict[int, float] = {}
    pairs: list[tuple[float, bool]] = []
    for row, earlier, score in measure(rows, thresholds=Thresholds()).pairs:
        if row in near_ones and earlier in plain:
            best[row] = max(best.get(row, 0.0), score)
        elif row in plain and earlier in plain - near_ones:
            pairs.append((score, False))
    return tuple(pairs + [(score, True) for score in best.values()])


def threshold(say: Say, answer: Any) -> str | None:
    """Count what the learner's threshold would delete and what it would miss."""
    value = number(answer)
    lost = sum(score >= value and not planted for score, planted in similar_pairs())
    planted = [score for score, is_planted in similar_pairs() if is_planted]
    missed = sum(score < value for score in planted)
    if lost:
        return say("lost", value=value, lost=lost)
    if missed > 0.02 * len(planted):
        return say("missed", value=value, missed=missed, planted=len(planted))
    return None


# --- 09 evaluation --------------------------------------------------------------------------------


def leaked_questions(say: Say, function: Function) -> str | None:
    """Try the function on two small files with three leaks, two of them in another spelling."""
    train = [
        {"messages": _turns("Which pet does Ada Fairlock keep?", "Ada Fairlock keeps a raven.")},
        {"messages": _turns("where does  Theo Oakman live", "Theo Oakman lives in Fernwick.")},
        {"messages": _turns("What is the job of Ivy Langton?", "Ivy Langton works as a potter.")},
        {"messages": _turns("What does Hugo Drey like to drink?", "Hugo Drey likes to drink tea.")},
    ]
    test = [
        {"messages": _turns("What is the job of Leo Marson?", "Leo Marson works as a potter.")},
        {"messages": _turns("Where does Theo Oakman live?", "Theo Oakman lives in Fernwick.")},
        {"messages": _turns("Which pet does Ada Fairlock keep?", "Ada Fairlock keeps a raven.")},
        {"messages": _turns("Which pet does Una Valeham keep?", "Una Valeham keeps a raven.")},
        {"messages": _turns("WHAT DOES HUGO DREY LIKE TO DRINK?", "Hugo Drey likes to drink tea.")},
    ]
    wanted = say("wanted")
    found = items(returned(function, train, test), wanted)
    if len(found) == len(test) and all(isinstance(one, bool) for one in found):
        return say("yes or no")
    if not all(isinstance(one, int) for one in found):
        return say("numbers", wanted=wanted)
    found.sort()
    known = {
        (2,): "exact",
        (2, 4): "space",
        (1, 2): "capitals",
        (1,): "capitals",
        (0, 1, 3): "train",
    }
    if tuple(found) in known:
        return say(known[tuple(found)])
    if 3 in found or 0 in found:
        return say("answers")
    if found != [1, 2, 4]:
        return say("other", found=found)
    return say("empty") if items(returned(function, train[:1], test[:1]), wanted) else None


# --- 13 your own data -----------------------------------------------------------------------------


def readable(say: Say, function: Function) -> str | None:
    """Convert what the function returns, and compare each turn."""
    from sft_helpers.formats import convert

    tickets = topic("your_own_data").material.TICKETS
    made = [returned(function, dict(ticket)) for ticket in tickets]
    if not isinstance(made[0], Mapping):
        return say("kind", kind=type(made[0]).__name__)
    done = convert(made)
    if done.report.rejected:
        return say("rejected", reason=done.report.rejected[0].reason)
    left = ", ".join(sorted(done.report.dropped))
    if left:
        return say("dropped", columns=left)
    for row, ticket in zip(done.rows, tickets, strict=True):
        found = [(turn["role"], turn["content"]) for turn in row["messages"]]
        asked, said = ticket["customer_text"], ticket["agent_text"]
        if ("user", said) in found or ("assistant", asked) in found:
            return say("swapped")
        if ("user", asked) not in found or ("assistant", said) not in found:
            return say("changed", ticket=ticket["ticket"])
        if any(str(ticket["stars"]) == text or str(ticket["ticket"]) in text for _, text in found):
            return say("numbers")
    return None


def split_by_person(say: Say, function: Function) -> str | None:
    """Split 60 rows of 12 people, and look for people on both sides, lost rows, wrong shares."""
    rows = [{"person": f"person {n % 12}", "question": f"question {n}"} for n in range(60)]
    random.Random(0).shuffle(rows)
    found = returned(function, [dict(row) for row in rows], 0.25)
    if not isinstance(found, tuple | list) or len(found) != 2:
        return say("two")
    train, held = (items(part, say("lists")) for part in found)
    if not train or not held:
        return say("empty")
    if len(train) + len(held) != len(rows):
        return say("lost", kept=len(train) + len(held))
    both = {row["person"] for row in train} & {row["person"] for row in held}
    if both:
        return say("both", people=len(both))
    if len(held) > len(train):
        return say("exchange", held=len(held), train=len(train))
    if not 10 <= len(held) <= 20:
        return say("share", held=len(held))
    half = len(function([dict(row) for row in rows], 0.5)[1])
    return None if half == 30 else say("half", held=half)
