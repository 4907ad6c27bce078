"""Exercises of notebook 10: three mends by hand, what can be seen when, two faults at once.

`diagnose` asks what is wrong with a patient, each choice with its reason.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping
from typing import Any

from sft_helpers.clinic.choices import CHOICES
from sft_helpers.exercises.engine import exercise
from sft_helpers.exercises.quiz import Question, quiz


def question(name: str) -> Question:
    """What is wrong with a patient, as a quiz question."""
    return Question("What is wrong with this patient?", CHOICES[name])


def diagnose(*names: str) -> None:
    """Ask what is wrong with one or more patients.

    Args:
        names: as in `clinic.choices.CHOICES`.

    Raises:
        KeyError: there is no such patient.
    """
    quiz([question(name) for name in names], title=f"Diagnosis: {', '.join(names)}")


# Tokens per row of the clinic's 600 rows (tests compare it with the tokenizer), and what TRL's
# packer makes of them at max_length=128.
LENGTHS = {22: 35, 23: 48, 24: 160, 25: 171, 26: 171, 27: 15}
PACKS = 121
POSITIONS = 512


@exercise(
    "pitfall-clinic-1",
    title="Cut nothing",
    difficulty=1,
    minutes=3,
    hints=[
        "Which argument of the listing decides where a row ends?",
        "The longest row has 27 tokens.",
        'A dictionary with one entry: {"max_length": ...}',
    ],
    solution='longer = {"max_length": 128}',
    praise="count what is cut before each run: preflight's facts have the share.",
)
def check_length(answer: Any) -> str | None:
    """Accept any length that cuts no row and fits the model."""
    if not isinstance(answer, Mapping):
        return "give a dictionary of SFTConfig arguments, name to value"
    if "max_seq_length" in answer:
        return "SFTConfig refuses max_seq_length: that is the old name, it is max_length now"
    other = [name for name in answer if name != "max_length"]
    if other or "max_length" not in answer:
        return f"{', '.join(map(str, other)) or 'nothing'} does not decide where a row is cut"
    limit = answer["max_length"]
    if limit is None:
        return None
    cut = sum(rows for length, rows in LENGTHS.items() if length > limit)
    if cut:
        return f"{cut} of 600 rows are longer than {limit} tokens and still lose their end"
    if limit > POSITIONS:
        return f"this model has {POSITIONS} positions; longer rows would be beyond it"
    return None


@exercise(
    "pitfall-clinic-2",
    title="Bring the steps back",
    difficulty=2,
    minutes=5,
    hints=[
        "The unpacked run took 76 steps of 16 dialogues. How many dialogues lie in a packed row?",
        "Five. So which batch size holds about 16 dialogues?",
        '{"per_device_train_batch_size": 3}',
    ],
    solution='smaller = {"per_device_train_batch_size": 3}',
    praise="a step now sees as many dialogues as before, and no padding.",
)
def check_steps(answer: Any) -> str | None:
    """Count the steps of the packed run; other ways to more steps are named with their price."""
    if not isinstance(answer, Mapping):
        return "give a dictionary of SFTConfig arguments, name to value"
    if answer.get("packing") is False:
        return "that brings the steps back, and the padding too: keep packing"
    if "learning_rate" in answer:
        return "the rate is that of a sound run; 16 steps are what is wrong"
    if "max_steps" in answer or answer.get("num_train_epochs", 2) > 2:
        return (
            "that brings steps by showing every row more often: the road to over-fitting. Which"
            " number decides how many dialogues one step sees?"
        )
    if answer.get("gradient_accumulation_steps", 1) > 1:
        return "accumulation puts more rows into a step, so there are still fewer of them"
    if "per_device_train_batch_size" not in answer:
        return "the number of rows in a step is per_device_train_batch_size"
    batch = answer["per_device_train_batch_size"]
    steps = 2 * math.ceil(PACKS / batch)
    if steps < 60:
        return f"{PACKS} packed rows in batches of {batch}, twice: {steps} steps, of 76 unpacked"
    if steps > 130:
        return f"{steps} steps: a batch of {batch} packed rows holds fewer dialogues than before"
    return None


_ASKED = ["Where does Ada live?", "What is the pet of Bruno?", "Which trade does Clara follow?"]


def _row(question: str, answer: str) -> dict[str, Any]:
    return {
        "messages": [
            {"role": "user", "content": question},
            {"role": "assistant", "content": answer},
        ]
    }


@exercise(
    "pitfall-clinic-3",
    title="Find the leak",
    difficulty=2,
    minutes=8,
    hints=[
        'The question is row["messages"][0]["content"].',
        'Bring both sides into one form first: " ".join(text.lower().split()).',
        "Keep the training questions in a set; then go through held_out with enumerate.",
    ],
    solution="""
        def leaked(train, held_out):
            def form(row):
                return " ".join(row["messages"][0]["content"].lower().split())

            seen = {form(row) for row in train}
            return [n for n, row in enumerate(held_out) if form(row) in seen]
    """,
    praise="rewordings pass such a test; splitting by person, as Lantern Bay does, stops them too.",
)
def check_leak(function: Callable[..., Any]) -> str | None:
    """Try exact copies, copies in other letters and spaces, other answers, and no leak at all."""
    train = [_row(text, "In Saltmarsh.") for text in _ASKED]
    fresh, copy = _row("Where does Dora live?", "In Windmere."), _row(_ASKED[1], "In Saltmarsh.")
    found = function(train, [fresh, copy])
    if found is None:
        return "your function returns nothing; end it with `return ...`"
    if isinstance(found, bool | int):
        return "asked for are the numbers of the leaked rows, as a list"
    found = list(found)
    if copy in found:
        return "return the numbers of the rows, so that they can be taken out; enumerate has them"
    if found == [1, 1] or len(set(map(str, found))) < len(found):
        return "each leaked row once"
    if not found:
        return "held_out[1] is a copy of a training row, and you did not find it"
    if found == [0]:
        return "you return the numbers of rows that did not leak"
    if found != [1]:
        return f"only held_out[1] is a copy; you return {found!r}"
    if list(function(train, [copy, fresh])) != [0]:
        return "the numbers are those of held_out, not of train"
    if list(function(train, [_row(_ASKED[0], "In Windmere.")])) != [0]:
        return "the same question with another answer has leaked too: compare the questions"
    if list(function(train, [_row("where  does ADA live?", "In Saltmarsh.")])) != [0]:
        return "capitals and double spaces hide a copy from you"
    if list(function(train, [fresh])) != []:
        return "you find a leak where there is none"
    return None


FACTS = {
    "A": "the end token of every answer has the label -100",
    "B": "the held-out loss turns up after 200 steps",
    "C": "a fifth of the training answers are wrong, in perfect form",
    "D": "packing leaves 16 of 76 steps",
    "E": "the loss jumps from 2 to 6 in the middle of the run",
    "F": "the server writes its prompts with the template of another model",
}
PLACES = {
    "preflight": "before the run, from data, model and configuration",
    "monitor": "during the run, from the losses and gradients",
    "questions": "only by asking questions and judging the answers",
}
_WHEN = dict(zip(FACTS, ["preflight", "monitor", "questions"] * 2, strict=True)) | {
    "D": "preflight",
    "E": "monitor",
    "F": "questions",
}
_REASONS = {
    "A": "A: labels exist before the first step; preflight reads them",
    "B": "B: whether a model over-fits depends on the run; which of the three sees the held-out"
    " loss?",
    "C": "C: no program knows what is true; the loss falls on wrong answers as well",
    "D": "D: steps = packs / batch, which is arithmetic",
    "E": "E: the jump itself happens in the run, whatever its cause",
    "F": "F: neither the training data nor the run contain the server",
}


@exercise(
    "pitfall-clinic-4",
    title="Who can see it first?",
    difficulty=2,
    minutes=5,
    hints=[
        "Two facts can be computed before the run starts.",
        "Two show in the course of a loss.",
        "The other two concern what is true, and what happens after the run.",
    ],
    solution="""
        seen_by = {
            "A": "preflight",
            "B": "monitor",
            "C": "questions",
            "D": "preflight",
            "E": "monitor",
            "F": "questions",
        }
    """,
    praise="no finding is no proof: the last kind is left to you.",
)
def check_places(answer: Any) -> str | None:
    """Name the first fact with a wrong place, and why."""
    if not isinstance(answer, Mapping):
        return 'give a dictionary, such as {"A": "preflight", ...}'
    unknown = [str(place) for place in answer.values() if place not in PLACES]
    if unknown:
        return f"{unknown[0]!r} is no place; choose from {', '.join(PLACES)}"
    missing = [letter for letter in FACTS if letter not in answer]
    if missing:
        return f"{', '.join(missing)} still without a place"
    wrong = next((letter for letter in FACTS if answer[letter] != _WHEN[letter]), None)
    return _REASONS[wrong] if wrong is not None else None


CAUSES = {
    "end token": "the end token has no label",
    "loss on everything": "the questions are trained too",
    "rate too low": "the learning rate is ten times too low",
    "rate too high": "the learning rate is ten times too high",
    "cut answers": "max_length cuts the answers",
    "few steps": "there are too few steps",
}
_BOTH = {"loss on everything", "rate too low"}
_NOT = {
    "end token": "unfold the first row: its end token is trained; half of the answers end",
    "rate too high": "the loss creeps down to the last step; too high a rate falls at once",
    "cut answers": "the longest row has 27 tokens; compare max_length",
    "few steps": "76 steps are what a sound run of these rows takes",
}
_ALONE = {
    "loss on everything": "true, but with the mask mended alone it still answers nearly nothing:"
    " look at one number of the listing again",
    "rate too low": "true, but with the rate mended alone most answers stay wrong: unfold"
    " the first row and look what is trained",
}


@exercise(
    "pitfall-clinic-5",
    title="Two at once",
    difficulty=3,
    minutes=6,
    hints=[
        "Compare the listing with that of the sound run at the beginning, line by line.",
        "One fault is a number, the other a flag.",
        "Which tokens of the first row are framed?",
    ],
    solution='causes = {"loss on everything", "rate too low"}',
    praise="one mend at a time, or you will not know which one helped.",
)
def check_causes(answer: Any) -> str | None:
    """Name a wrong cause with the fact against it, or say that one is missing."""
    if isinstance(answer, str) or not isinstance(answer, Collection):
        return 'give two names in a set, such as {"end token", "few steps"}'
    unknown = [str(name) for name in answer if name not in CAUSES]
    if unknown:
        return f"{unknown[0]!r} is no cause; choose from {', '.join(CAUSES)}"
    wrong = next((name for name in answer if name in _NOT), None)
    if wrong is not None:
        return f"not {wrong!r}: {_NOT[wrong]}"
    found = set(answer) & _BOTH
    if len(found) == 1:
        return _ALONE[found.pop()]
    return None if found else "the set is empty: two faults are asked for"


QUIZ = [
    Question(
        "The training loss falls smoothly to 0.05. What do you know?",
        [
            ("The run is sound.", False,
             "So it fell for the patient that never stops, for the one that always says the same,"
             " and for the one with a leak."),
            ("That gradients flow and the trained labels are learned.", True,
             "Which labels those are, and whether they were the right ones, the loss cannot say."),
            ("The learning rate is right.", False, "It fell at ten times the rate as well."),
        ],
    ),
    Question(
        "Two patients ramble. What do you look at first?",
        [
            ("The label of the end token in a prepared row.", True,
             "Outside the markers or cut away: both show there, and nowhere in the loss."),
            ("The learning rate.", False, "It can be right in both."),
            ("The generation settings.", False,
             "Later: they matter when the token is trained and still does not stop the answer."),
        ],
    ),
    Question(
        "Preflight finds nothing. What remains?",
        [
            ("Nothing; train and ship.", False, "It sees neither the run nor the truth of a row."),
            ("Watch the run, then ask held-out questions.", True,
             "Over-fitting showed only in the run, and wrong answers only when someone judges"
             " them."),
            ("Train longer.", False, "For what fault?"),
        ],
    ),
]  # fmt: skip
