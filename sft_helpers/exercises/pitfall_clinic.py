"""Exercises of notebook 10: three mends by hand, what can be seen when, two faults at once.

`question` asks what is wrong with a patient, each choice with its reason.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

from sft_helpers.clinic.choices import CHOICES
from sft_helpers.exercises.answers import first_wrong, near, number, returned, several
from sft_helpers.exercises.engine import exercise
from sft_helpers.exercises.quiz import Question


def question(name: str) -> Question:
    """What is wrong with a patient, as a quiz question; the right choice has no usual place."""
    choices = CHOICES[name]
    turned = list(CHOICES).index(name) * 3 % 4
    return Question("What is wrong with this patient?", (*choices[turned:], *choices[:turned]))


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
    if type(limit) is not int:
        return f"max_length is a whole number of tokens, or None for no limit; not {limit!r:.40}"
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
    if "max_steps" in answer or answer.get("num_train_epochs", 2) != 2:
        return (
            "that changes how often every row is shown: more often is the road to over-fitting."
            " Which number decides how many dialogues one step sees?"
        )
    if answer.get("gradient_accumulation_steps", 1) != 1:
        return "accumulation puts more rows into a step, so there are still fewer of them"
    other = set(answer) - {"per_device_train_batch_size", "gradient_accumulation_steps", "packing"}
    if other:
        return f"leave {min(map(str, other))} as it is: which number says how many rows a step has?"
    if "per_device_train_batch_size" not in answer:
        return "the number of rows in a step is per_device_train_batch_size"
    batch = answer["per_device_train_batch_size"]
    if type(batch) is not int or batch < 1:
        return f"a batch is a whole number of rows, at least 1; not {batch!r:.40}"
    steps = 2 * math.ceil(PACKS / batch)
    if steps < 60:
        return f"{PACKS} packed rows in batches of {batch}, twice: {steps} steps, of 76 unpacked"
    if steps > 130:
        return f"{steps} steps: a batch of {batch} packed rows holds fewer dialogues than before"
    return None


@exercise(
    "pitfall-clinic-3",
    title="Score without the leak",
    difficulty=2,
    minutes=6,
    hints=[
        "A row that leaked says nothing, right or wrong: leave it out of both numbers.",
        "Keep right[n] for each n that is not in leaked; enumerate gives you both.",
        "Divide the right ones among them by their number, if there are any.",
    ],
    solution="""
        def honest_score(right, leaked):
            kept = [good for n, good in enumerate(right) if n not in leaked]
            return sum(kept) / len(kept) if kept else None
    """,
    praise="and say how many rows it rests on: what a leak leaves may be few.",
)
def check_honest(function: Callable[..., Any]) -> str | None:
    """Six of ten rows leaked and were answered; of the other four, two were."""
    right, leaked = [True] * 7 + [False, False, True], [5, 0, 1, 2, 3, 4]
    found = number(returned(function, list(right), list(leaked)), "a share between 0 and 1")
    if near(found, 0.8):
        return "that is the score with the leak in it: 8 of all 10 rows"
    if near(found, 1.0):
        return "that is the score on the rows that leaked; asked for is that on the others"
    if near(found, 0.2):
        return "you divide by all rows, but those that leaked belong in neither number"
    if near(found, 2.0):
        return "2 is no share: take the leaked rows out of both numbers, then divide"
    if not near(found, 0.5):
        return f"of the four rows that did not leak two are right: 0.5; yours is {found:g}"
    if not near(returned(function, [False, True, True, False], {0}), 2 / 3):
        return "a row that leaked is left out also where it was answered wrongly"
    if not near(returned(function, [True, False], []), 0.5):
        return "where nothing leaked all rows count: one right of two is 0.5"
    try:
        nothing = returned(function, [True, True], [0, 1], nothing=True)
    except ZeroDivisionError:
        nothing = "a division by zero"
    if nothing is not None:
        return f"where every row leaked there is no score: return None, not {nothing}"
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
    return first_wrong(answer, _WHEN, _REASONS, PLACES)


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
    found = several(answer, CAUSES)
    wrong = next((name for name in _NOT if name in found), None)
    if wrong is not None:
        return f"not {wrong!r}: {_NOT[wrong]}"
    if len(found) == 1:
        return _ALONE[found.pop()]
    return None if found else "the set is empty: two faults are asked for"


QUIZ = [
    Question(
        "The training loss falls smoothly to 0.05. What do you know?",
        [
            ("The run is sound, and the model does what was asked.", False,
             "So it fell for the patient that never stops, for the one that always"
             " says the same, and for the one with a leak."),
            ("The learning rate is right.", False, "It fell at ten times the rate as well."),
            ("Gradients flow; the trained labels are learned.", True,
             "Which labels those are, and whether they were the right ones, the loss"
             " cannot say."),
        ],
    ),
    Question(
        "Two patients ramble. What do you look at first?",
        [
            ("The learning rate.", False,
             "It can be right in both; a wrong one harms the words as well."),
            ("The label of the end token in a prepared row.", True,
             "Outside the markers or cut away: both show there, and nowhere in the loss."),
            ("The generation settings: temperature and length.", False,
             "Later: they matter when the token is trained and still does not stop the answer."),
        ],
    ),
    Question(
        "Preflight finds nothing. What remains?",
        [
            ("Watch the run, then ask held-out questions.", True,
             "Over-fitting showed only in the run, and wrong answers only when someone judges"
             " them."),
            ("Nothing: a run without findings can be shipped.", False,
             "It sees neither the run nor the truth of a row."),
            ("Train longer, to be sure.", False,
             "Longer training mends no fault that nobody has named."),
        ],
    ),
]  # fmt: skip
