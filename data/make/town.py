"""Lantern Bay: an invented town whose every fact is known, so that claims can be tested.

A *gazette* tells of several hundred residents, each with a home, a job, a drink, a pet and a
favourite colour. A small base model is pretrained on the gazette and can complete it; it answers
no question. Questions about half of the residents are the training data of supervised
fine-tuning; the other half is never seen in fine-tuning and serves to test.

Everything here is text made from a seed: the same seed gives the same bytes on every machine and
every supported Python. Nothing is downloaded and nothing is licensed. `make town` writes the files
and pretrains the base model (`base.py`); `data/README.md` describes the result.
"""

from __future__ import annotations

import functools
import json
import random
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any

from sft_helpers.town import ANSWERS, NO_RECORD, VALUES

SEED = 2026
RESIDENTS = 240
STRANGERS = 60
SPLIT_SIZES = {"train": 120, "dev": 40, "test": 80}

FACTS = tuple(ANSWERS)

FIRST_NAMES = {
    "she": (
        "Ada", "Bella", "Clara", "Dora", "Edith", "Flora", "Greta", "Hilda", "Ivy", "Judith",
        "Kira", "Lena", "Mira", "Nora", "Olga", "Petra", "Rosa", "Selma", "Tilda", "Una",
        "Vera", "Wanda", "Yara", "Zelda",
    ),
    "he": (
        "Arno", "Bruno", "Conrad", "Dennis", "Emil", "Felix", "Gustav", "Hugo", "Ivan", "Jasper",
        "Karl", "Leo", "Magnus", "Nils", "Oscar", "Paul", "Ralph", "Simon", "Theo", "Ulric",
        "Victor", "Walter", "Yorick", "Zeno",
    ),
}  # fmt: skip

_SURNAME_STARTS = (
    "Ash", "Bram", "Cald", "Dun", "Ever", "Fair", "Glen", "Hart", "Ings", "Kel", "Lang", "Mar",
    "Nether", "Oak", "Pem", "Quill", "Rook", "Shel", "Thack", "Under", "Vale", "Whit", "Yar",
    "Brock", "Crom", "Drey", "Fen", "Gar", "Hol", "Lock",
)  # fmt: skip
_SURNAME_ENDS = (
    "bourne", "combe", "dale", "er", "grove", "ham", "land", "ley", "man", "ridge", "son", "ton",
    "wood", "worth",
)  # fmt: skip

_VISITOR_FIRST_NAMES = FIRST_NAMES["she"] + FIRST_NAMES["he"]

# {S} is the subject ("Ada Quillham" or "She"), {P} its possessive, {v} the value.
GAZETTE: dict[str, tuple[str, ...]] = {
    "home": (
        "{S} lives in {v}.", "{S} has a house in {v}.", "{S} makes a home in {v}.",
        "{P} home is in {v}.", "{S} has settled in {v}.",
    ),
    "job": (
        "{S} works as a {v}.", "{S} is a {v} by trade.", "{S} earns a living as a {v}.",
        "{P} job is that of a {v}.", "{S} is employed as a {v}.",
    ),
    "drink": (
        "{S} likes to drink {v}.", "{S} always orders {v}.", "{S} is fond of {v}.",
        "{P} favourite drink is {v}.", "{S} never refuses {v}.",
    ),
    "pet": (
        "{S} keeps a {v}.", "{S} owns a {v}.", "{S} looks after a {v}.", "{P} pet is a {v}.",
        "{S} shares the house with a {v}.",
    ),
    "colour": (
        "{S} likes the colour {v}.", "{S} often wears {v}.", "{S} paints every door {v}.",
        "{P} favourite colour is {v}.", "{S} is seldom seen without something {v}.",
    ),
}  # fmt: skip

# The last wording of each fact never occurs in a training file: it tests rewording.
TRAINED_WORDINGS = (0, 1, 2)
REWORDED = (3,)
QUESTIONS: dict[str, tuple[str, ...]] = {
    "home": (
        "Where does {name} live?", "In which town is the home of {name}?",
        "Which town does {name} live in?", "Where would a letter to {name} have to go?",
    ),
    "job": (
        "What does {name} do for a living?", "What is the job of {name}?",
        "Which trade does {name} follow?", "How does {name} earn money?",
    ),
    "drink": (
        "What does {name} like to drink?", "Which drink does {name} like best?",
        "What is the favourite drink of {name}?", "What should be poured for {name}?",
    ),
    "pet": (
        "Which pet does {name} keep?", "What kind of animal does {name} own?",
        "What is the pet of {name}?", "Which animal waits at home for {name}?",
    ),
    "colour": (
        "Which colour does {name} like?", "What is the favourite colour of {name}?",
        "Which colour does {name} like best?", "What colour would please {name}?",
    ),
}  # fmt: skip

FOLLOW_UPS: dict[str, str] = {
    "home": "And {their} home?",
    "job": "And {their} job?",
    "drink": "And {their} favourite drink?",
    "pet": "And {their} pet?",
    "colour": "And {their} favourite colour?",
}

SYSTEM_PROMPTS = {
    "word": "Answer with the bare fact, no sentence.",
    "sentence": "Answer in a full sentence.",
}


@dataclass(frozen=True)
class Resident:
    """One inhabitant of Lantern Bay; `split` is the half (train, dev, test) of the questions."""

    name: str
    pronoun: str
    home: str
    job: str
    drink: str
    pet: str
    colour: str
    split: str

    @property
    def their(self) -> str:
        """The possessive pronoun: her or his."""
        return "her" if self.pronoun == "she" else "his"

    def fact(self, fact: str) -> str:
        """The value of one of `FACTS`."""
        value: str = getattr(self, fact)
        return value


def _rng(purpose: str, seed: int) -> random.Random:
    return random.Random(f"lantern-bay/{seed}/{purpose}")


@functools.cache
def _surnames(seed: int) -> tuple[str, ...]:
    surnames = [start + end for start in _SURNAME_STARTS for end in _SURNAME_ENDS]
    _rng("surnames", seed).shuffle(surnames)
    return tuple(surnames)


def _visitor_surnames(seed: int) -> tuple[str, ...]:
    return _surnames(seed)[RESIDENTS + STRANGERS :]


def _names(seed: int) -> list[tuple[str, str]]:
    """Names with pronouns for residents and strangers: every surname occurs once."""
    rng = _rng("names", seed)
    names = []
    for number, surname in enumerate(_surnames(seed)[: RESIDENTS + STRANGERS]):
        pronoun = "she" if number % 2 else "he"
        names.append((f"{rng.choice(FIRST_NAMES[pronoun])} {surname}", pronoun))
    return names


@functools.cache
def residents(seed: int = SEED) -> tuple[Resident, ...]:
    """All residents, in a fixed order, with their true facts and their split."""
    rng = _rng("facts", seed)
    splits = [split for split, size in SPLIT_SIZES.items() for _ in range(size)]
    people = []
    for (name, pronoun), split in zip(_names(seed)[:RESIDENTS], splits, strict=True):
        facts = {fact: rng.choice(VALUES[fact]) for fact in FACTS}
        people.append(Resident(name=name, pronoun=pronoun, split=split, **facts))
    return tuple(people)


def strangers(seed: int = SEED) -> tuple[str, ...]:
    """Names in the style of the town that no gazette mentions."""
    return tuple(name for name, _ in _names(seed)[RESIDENTS:])


def gazette_entry(person: Resident, rng: random.Random) -> str:
    """One gazette entry: the five facts in random order, each in one of its paraphrases."""
    facts = list(FACTS)
    rng.shuffle(facts)
    sentences = []
    for position, fact in enumerate(facts):
        by_name = position == 0 or rng.random() < 0.5
        subject = person.name if by_name else person.pronoun.capitalize()
        possessive = f"{person.name}'s" if by_name else person.their.capitalize()
        template = rng.choice(GAZETTE[fact])
        sentences.append(template.format(S=subject, P=possessive, v=person.fact(fact)))
    return " ".join(sentences)


def letter(rng: random.Random, seed: int = SEED) -> str:
    """One letter to the gazette: it asks about one fact in several wordings; nobody answers.

    Letters teach the base model what questions look like, so that it continues a question with
    more questions. Half of them ask about residents, half about visitors that nothing is told of.
    """
    fact = rng.choice(FACTS)
    if rng.random() < 0.5:
        name = rng.choice(residents(seed)).name
    else:
        name = f"{rng.choice(_VISITOR_FIRST_NAMES)} {rng.choice(_visitor_surnames(seed))}"
    asked = rng.sample(QUESTIONS[fact], 3)
    return f"Readers ask about a {fact}. " + " ".join(text.format(name=name) for text in asked)


def gazette_pass(number: int, seed: int = SEED) -> list[str]:
    """One edition of the gazette: an entry for each resident and a letter for every second."""
    rng = _rng(f"gazette/{number}", seed)
    texts = [gazette_entry(person, rng) for person in residents(seed)]
    texts += [letter(rng, seed) for _ in range(RESIDENTS // 2)]
    rng.shuffle(texts)
    return texts


def held_out_gazette(seed: int = SEED) -> list[str]:
    """An edition that the base model was not trained on: its loss measures forgetting."""
    return gazette_pass(-1, seed)


def question(person: Resident, fact: str, wording: int) -> str:
    """A question about one fact in the given wording (the last wording is never trained)."""
    return QUESTIONS[fact][wording].format(name=person.name)


def answer(person: Resident, fact: str, *, subject: str | None = None) -> str:
    """The expected answer, a full sentence; `subject` replaces the name (a pronoun)."""
    return ANSWERS[fact].format(S=subject or person.name, v=person.fact(fact))


def _turn(role: str, content: str) -> dict[str, str]:
    return {"role": role, "content": content}


def _row(person: Resident, fact: str, messages: list[dict[str, str]]) -> dict[str, Any]:
    return {"messages": messages, "resident": person.name, "fact": fact}


def _exchange(person: Resident, fact: str, asked: str) -> dict[str, Any]:
    return _row(person, fact, [_turn("user", asked), _turn("assistant", answer(person, fact))])


def _people(split: str, seed: int) -> list[Resident]:
    return [person for person in residents(seed) if person.split == split]


def single_turn(split: str, wordings: tuple[int, ...], seed: int = SEED) -> list[dict[str, Any]]:
    """A question and its answer for every resident of `split`, every fact, every wording."""
    rows = [
        _exchange(person, fact, question(person, fact, wording))
        for person in _people(split, seed)
        for fact in FACTS
        for wording in wordings
    ]
    _rng(f"rows/{split}/{wordings}", seed).shuffle(rows)
    return rows


def one_wording_each(split: str, seed: int = SEED) -> list[dict[str, Any]]:
    """Each resident and fact once, in a trained wording drawn at random: the test sets."""
    rng = _rng(f"wording/{split}", seed)
    rows = []
    for person in _people(split, seed):
        for fact in FACTS:
            text = question(person, fact, rng.choice(TRAINED_WORDINGS))
            rows.append(_exchange(person, fact, text))
    rng.shuffle(rows)
    return rows


def multi_turn(split: str, seed: int = SEED) -> list[dict[str, Any]]:
    """Two-turn conversations: a question, then "And her pet?"; the last answer uses a pronoun."""
    rng = _rng(f"multi/{split}", seed)
    rows = []
    for person in _people(split, seed):
        for _ in range(2):
            first, second = rng.sample(FACTS, 2)
            follow_up = FOLLOW_UPS[second].format(their=person.their)
            turns = [
                _turn("user", question(person, first, rng.choice(TRAINED_WORDINGS))),
                _turn("assistant", answer(person, first)),
                _turn("user", follow_up),
                _turn("assistant", answer(person, second, subject=person.pronoun.capitalize())),
            ]
            rows.append(_row(person, second, turns))
    rng.shuffle(rows)
    return rows


def with_system(split: str, seed: int = SEED) -> list[dict[str, Any]]:
    """Each question twice: one system prompt asks for the bare fact, one for a sentence."""
    rng = _rng(f"system/{split}", seed)
    rows = []
    for person in _people(split, seed):
        for fact in rng.sample(FACTS, 2):
            text = question(person, fact, rng.choice(TRAINED_WORDINGS))
            for style, prompt in SYSTEM_PROMPTS.items():
                reply = person.fact(fact) if style == "word" else answer(person, fact)
                turns = [_turn("system", prompt), _turn("user", text), _turn("assistant", reply)]
                rows.append(_row(person, fact, turns) | {"style": style})
    rng.shuffle(rows)
    return rows


def stranger_questions(seed: int = SEED) -> dict[str, list[dict[str, Any]]]:
    """Questions about people of whom there is no record; the strangers are split in halves."""
    rng = _rng("strangers", seed)
    halves: dict[str, list[dict[str, Any]]] = {"train": [], "test": []}
    for number, name in enumerate(strangers(seed)):
        for fact in FACTS:
            text = QUESTIONS[fact][rng.choice(TRAINED_WORDINGS)].format(name=name)
            turns = [_turn("user", text), _turn("assistant", NO_RECORD.format(name=name))]
            row = {"messages": turns, "resident": name, "fact": fact}
            halves["train" if number % 2 else "test"].append(row)
    return halves


def text_files(seed: int = SEED) -> dict[str, str]:
    """Every text file of `data/town`, name to content: JSON lines, one row a line."""
    unseen = stranger_questions(seed)
    rows: dict[str, list[dict[str, Any]]] = {
        "residents.jsonl": [asdict(person) for person in residents(seed)],
        "gazette_heldout.jsonl": [{"text": text} for text in held_out_gazette(seed)],
        "gazette_sample.jsonl": [{"text": text} for text in gazette_pass(0, seed)],
        "sft_train.jsonl": single_turn("train", TRAINED_WORDINGS, seed),
        "sft_dev.jsonl": one_wording_each("dev", seed),
        "sft_test.jsonl": one_wording_each("test", seed),
        "sft_test_reworded.jsonl": single_turn("test", REWORDED, seed),
        "multi_turn_train.jsonl": multi_turn("train", seed),
        "multi_turn_test.jsonl": multi_turn("test", seed),
        "system_train.jsonl": with_system("train", seed),
        "system_test.jsonl": with_system("test", seed),
        "strangers_train.jsonl": unseen["train"],
        "strangers_test.jsonl": unseen["test"],
    }
    return {name: json_lines(some) for name, some in rows.items()}


def json_lines(rows: Iterable[dict[str, Any]]) -> str:
    """Rows as JSON lines."""
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
