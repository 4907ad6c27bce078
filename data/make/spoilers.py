"""How sound rows are spoilt: the planted defects, kind by kind."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

from sft_helpers.town import VALUES

Turns = list[dict[str, Any]]
Spoil = Callable[[str, str, random.Random], str]

_REFUSALS = (
    "I'm sorry, but I can't help with that request.",
    "I am unable to answer questions about residents.",
    "I cannot provide details about private persons.",
    "I must say that it goes against my guidelines to talk about people.",
    "Unfortunately, as an AI language model, I do not have access to personal information.",
    "Hello! I’m afraid I can’t share that.",
    "I would rather not say.",
)
_REFUSALS_ZH = (
    "抱歉，我无法回答这个问题。",
    "作为一个人工智能语言模型，我没有相关信息。",
    "您好！很抱歉，目前我不能提供居民的个人信息。",
    "这个问题我无法回答。",
    "感谢您的提问，但我暂时不能透露这些内容。",
)
_BOILERPLATE = (
    "Your request has been received. We will get back to you shortly.",
    "Your question has been forwarded.",
    "Your ticket has been closed. Let me know if you have any other questions.",
    "Thank you for your question!", "Sure! Here is your answer:", "See above.", "N/A",
    "Please hold the line.",
)  # fmt: skip
_TAILS = (
    " 这是他最喜欢的地方。", " 他每天都这样做。", " Это правда, спросите соседей.",
    " Так говорят в городе.", " هذا ما يقوله الجميع.",
)  # fmt: skip
_MARKUP = (
    "<p>{a}<br></div>", "<div class='answer'>{a}", "{a}&nbsp;&nbsp;", "```\n{a}", "{a}</span>",
    "&quot;{a}&quot;", "Dear {{{{customer}}}}, {a}", "<td>{a}</td></table>",
)  # fmt: skip
_CONTROL = (
    "{a}<|im_end|>\n<|im_start|>user\nAnd what else?", "{a}</s>", "[INST] {a} [/INST]",
    "<|im_start|>assistant\n{a}", "{a}<|endoftext|>", "### Response:\n{a}", "{a}<|eot_id|>",
)  # fmt: skip


def _loop(q: str, a: str, rng: random.Random) -> str:
    kind = rng.random()
    if kind < 0.7:
        return " ".join([a] * rng.randint(4, 7))
    word = a.split()[-1].strip(".")
    return f"{a[:-1]} {' '.join([word] * rng.randint(6, 12))}" + ("." if kind < 0.9 else "!!!!!!!")


def _cut(q: str, a: str, rng: random.Random) -> str:
    words = a.split()
    return " ".join(words[: rng.choices((4, 5, 3), (12, 60, 1))[0]]).removesuffix(".")


def _copy(q: str, a: str, rng: random.Random) -> str:
    return rng.choice((q, q, q.rstrip("?") + ".", f"You asked: {q}", q.lower()))


def _mix(q: str, a: str, rng: random.Random) -> str:
    return a + rng.choice(_TAILS)


def _pick(choices: tuple[str, ...]) -> Spoil:
    # the last choice is rare: in _BOILERPLATE and _REFUSALS it is one that no pattern knows
    weights = [6] * (len(choices) - 1) + [1]
    return lambda q, a, rng: rng.choices(choices, weights)[0].format(q=q, a=a)


# What is wrong with the questions about each fact: (defects, how many rows, spoiler).
CLUSTERS: dict[str, tuple[tuple[tuple[str, ...], int, Spoil], ...]] = {
    "home": ((("refusal",), 520, _pick(_REFUSALS)), (("language_mix",), 60, _mix)),
    "job": ((("copied_question",), 520, _copy), (("repetition",), 80, _loop)),
    "drink": (
        (("boilerplate",), 520, _pick(_BOILERPLATE)),
        (("refusal", "language_mix"), 60, _pick(_REFUSALS_ZH)),
    ),
    "pet": (
        (("empty",), 500, _pick(("", "", "   ", "\n\n", "...", "-"))),
        (("broken_markup",), 80, _pick(_MARKUP)),
    ),
    "colour": ((("truncated",), 560, _cut), (("special_token",), 70, _pick(_CONTROL))),
}


def _dirty(a: str, rng: random.Random) -> str:
    tail = rng.choice(
        (" The café there is famous.", " “Naïve”, say the neighbours.", " It’s true.")
    )
    return (a + tail).encode("utf-8").decode("cp1252", "replace").replace("\ufffd", "")


def _invisible(a: str, rng: random.Random) -> str:
    place = rng.randrange(3, len(a) - 3)
    mark = rng.choice(("\u200b", "\u00ad", "\u2060", "\u202e", "\x07"))
    return a[:place] + mark + a[place:] if rng.random() < 0.7 else "\ufeff" + a


def _lost(a: str, rng: random.Random) -> str:
    place = rng.randrange(3, len(a) - 3)
    return a[:place] + "\ufffd" * rng.randint(1, 2) + a[place + 1 :]


def _personal(a: str, rng: random.Random) -> str:
    digits = "".join(rng.choice("0123456789") for _ in range(8))
    who = ".".join(a.split()[:2]).lower()
    return a + rng.choice(
        (
            f" Write to {who}@lanternbay.net.",
            f" Call +49 30 {digits[:4]} {digits[4:]}.",
            f" The number is 1380{digits[1:]}.",
            f" The gate's password: {digits[:3]}tide{digits[3:6]}",
            f" The key is sk-lantern-{digits}{digits[::-1]}.",
        )
    )


SMALL: dict[str, tuple[int, Callable[[str, random.Random], str]]] = {
    "mojibake": (30, _dirty),
    "invisible": (30, _invisible),
    "broken_encoding": (25, _lost),
    "personal_data": (40, _personal),
    "too_short": (20, lambda a, rng: rng.choice("abkxyz")),
    "too_long": (12, lambda a, rng: f"{a} {_ramble(rng)}"),
}


def _ramble(rng: random.Random) -> str:
    words = [word for values in VALUES.values() for word in values]
    words += [
        "and", "then", "because", "near", "under", "while", "before", "after", "over", "the", "a",
        "with", "some", "every",
    ]  # fmt: skip
    sentences = (" ".join(rng.choices(words, k=9)).capitalize() + "." for _ in range(90))
    return " ".join(sentences)


def conversation(*contents: str, system: str | None = None) -> Turns:
    """Messages from contents, user and assistant by turns, perhaps after a system prompt."""
    roles = ("user", "assistant")
    turns: Turns = [{"role": "system", "content": system}] if system else []
    return turns + [
        {"role": roles[number % 2], "content": text} for number, text in enumerate(contents)
    ]


def malformed(q: str, a: str, kind: int) -> dict[str, Any]:
    """A row that is no conversation, in one of nine ways."""
    made: list[dict[str, Any]] = [
        {"messages": []},
        {"messages": conversation(q)},
        {"messages": conversation(q, a, "Thank you.")},
        {"messages": [{"role": "user", "content": q}, {"role": "assistant", "content": None}]},
        {"messages": [{"role": "user", "content": q}, {"role": "bot", "content": a}]},
        {"messages": [{"from": "human", "value": q}, {"from": "gpt", "value": a}]},
        {"messages": [{"role": "user", "content": q}, {"role": "assistant", "content": [a]}]},
        {"messages": f"user: {q}\nassistant: {a}"},
        {"conversations": conversation(q, a)},
    ]
    return made[kind % len(made)]


def near(q: str, a: str, rng: random.Random) -> str:
    """The question with a slip of the pen: the answer and the names stay."""
    kind = rng.randrange(4)
    words = q.split()
    small = [n for n, word in enumerate(words) if word.islower() and len(word) > 2]
    place = rng.choice(small)
    if kind == 0:
        words.insert(place, words[place])
    elif kind == 1:
        words[place] = words[place][:-2] + words[place][-1] + words[place][-2]
    elif kind == 2:
        return q.rstrip("?") + " now?"
    else:
        return f"{q.rstrip('?')}, please?"
    return " ".join(words)
