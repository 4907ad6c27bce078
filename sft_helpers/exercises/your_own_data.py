"""Exercises of notebook 13: name your columns, hold out fairly, know which stage catches what."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from typing import Any

from sft_helpers.exercises.answers import first_wrong, items, returned
from sft_helpers.exercises.engine import exercise
from sft_helpers.exercises.quiz import Question

# Exercise 1: a table whose columns nobody but its author knows.
TICKETS = [
    {"ticket": 4711, "customer_text": "Where does Arno Asher live?",
     "agent_text": "Arno Asher lives in Stonequay.", "stars": 5},
    {"ticket": 4712, "customer_text": "What is the job of Karl Fairridge?",
     "agent_text": "Karl Fairridge works as a baker.", "stars": 2},
]  # fmt: skip


@exercise(
    "your-own-data-1",
    title="Make a table readable",
    difficulty=1,
    minutes=5,
    hints=[
        "Print `detect(TICKETS)`: it says which columns it knows.",
        "A row that TRL trains on has one key, `messages`: a list of turns with role and content.",
        "The customer is the user, the agent the assistant. Number and stars are no text to train.",
    ],
    solution="""
        def readable(ticket):
            return {
                "messages": [
                    {"role": "user", "content": ticket["customer_text"]},
                    {"role": "assistant", "content": ticket["agent_text"]},
                ]
            }
    """,
    praise="`messages` needs no guess; columns `question` and `answer` would have done as well.",
)
def check_readable(function: Callable[..., Any]) -> str | None:
    """Convert what the function returns, and compare each turn."""
    from sft_helpers.formats import convert

    made = [returned(function, dict(ticket)) for ticket in TICKETS]
    if not isinstance(made[0], Mapping):
        return f"a row is a dictionary; yours is a {type(made[0]).__name__}"
    done = convert(made)
    if done.report.rejected:
        return f"this row cannot be converted: {done.report.rejected[0].reason}"
    left = ", ".join(sorted(done.report.dropped))
    if left:
        return f"it converts, but {left} would be left out: leave out yourself what is no text"
    for row, ticket in zip(done.rows, TICKETS, strict=True):
        found = [(turn["role"], turn["content"]) for turn in row["messages"]]
        asked, said = ticket["customer_text"], ticket["agent_text"]
        if ("user", said) in found or ("assistant", asked) in found:
            return "the wrong way round: the model would learn to ask like a customer"
        if ("user", asked) not in found or ("assistant", said) not in found:
            return "a text of ticket {ticket} is missing or changed".format(**ticket)
        if any(str(ticket["stars"]) == text or str(ticket["ticket"]) in text for _, text in found):
            return "number and stars became text that is trained"
    return None


def example_rows() -> list[dict[str, Any]]:
    """60 rows about 12 people, five rows each, mixed."""
    rows = [{"person": f"person {n % 12}", "question": f"question {n}"} for n in range(60)]
    random.Random(0).shuffle(rows)
    return rows


@exercise(
    "your-own-data-2",
    title="Hold out by person",
    difficulty=2,
    minutes=8,
    hints=[
        "Rows of one person must all be on one side. So choose people, not rows.",
        "`people = sorted({row['person'] for row in rows})`, then take some of them.",
        "held = [row for row in rows if row['person'] in chosen]; train: all others.",
    ],
    solution="""
        def split(rows, share):
            people = sorted({row["person"] for row in rows})
            chosen = set(people[: max(1, round(share * len(people)))])
            train = [row for row in rows if row["person"] not in chosen]
            held = [row for row in rows if row["person"] in chosen]
            return train, held
    """,
    praise="`sft-helpers run --group person` does this; shuffle the people before you choose.",
)
def check_split(function: Callable[..., Any]) -> str | None:
    """Split rows, and look for people on both sides, lost rows and wrong shares."""
    rows = example_rows()
    found = returned(function, [dict(row) for row in rows], 0.25)
    if not isinstance(found, tuple | list) or len(found) != 2:
        return "return two lists: the rows to train on, and those held out"
    train, held = (items(part, "two lists of rows") for part in found)
    if not train or not held:
        return "one side is empty"
    if len(train) + len(held) != len(rows):
        return f"60 rows came in, {len(train) + len(held)} came out"
    both = {row["person"] for row in train} & {row["person"] for row in held}
    if both:
        return (
            f"{len(both)} of 12 people are on both sides: the score would measure what the model"
            " was told about them in training"
        )
    if len(held) > len(train):
        return f"{len(held)} rows held out and {len(train)} to train on: exchange the two"
    if not 10 <= len(held) <= 20:
        return f"a share of 0.25 is about 15 of 60 rows; yours holds out {len(held)}"
    half = len(function([dict(row) for row in rows], 0.5)[1])
    if half != 30:
        return f"right for 0.25, but at a share of 0.5 it holds out {half} of 60: use the argument"
    return None


# Exercise 3: what is wrong, and the first stage that says so.
FAULTS = {
    "A": "twelve rows have turns by a `narrator`",
    "B": "forty answers say that the model is an AI and cannot help",
    "C": "the template ends turns with a token that generation does not stop at",
    "D": "the loss jumps to 9 at step 30 and stays there",
    "E": "the loss falls nicely, and the held-out answers are fluent and wrong",
}
CATCHES = ("convert", "clean", "preflight", "monitor", "evaluation")
_FIRST = dict(zip(FAULTS, CATCHES, strict=True))
_WHY = {
    "A": "A: a role that no format knows. Which stage has to map roles?",
    "B": "B: these rows are well formed, and the run would be sound. Who reads what answers say?",
    "C": "C: known before the first step, from template and configuration alone, without a row",
    "D": "D: nothing before the run can know it. Where do you see it first?",
    "E": "E: everything up to the last step looks right. What is left?",
}


@exercise(
    "your-own-data-3",
    title="Who catches what?",
    difficulty=2,
    minutes=6,
    hints=[
        "Ask of each: is it in a row's shape, in its words, in the set-up, in the run, or after?",
        "A and B are both in the rows: shape, and words. C needs no training to be seen.",
        "D shows in a curve. E does not.",
    ],
    solution="""
        caught = {
            "A": "convert",
            "B": "clean",
            "C": "preflight",
            "D": "monitor",
            "E": "evaluation",
        }
    """,
    praise="each stage sees what the others cannot, which is why there are five.",
)
def check_caught(answer: Any) -> str | None:
    """Name the first fault that is given to the wrong stage."""
    return first_wrong(answer, _FIRST, _WHY, CATCHES)


QUIZ = [
    Question(
        "Why hold rows out by person, and not at random?",
        [
            ("It is faster, since there are fewer people than rows.", False,
             "Both take no time; what differs is whether the score is fair."),
            ("TRL asks for it.", False, "TRL takes whatever you give it, leaks included."),
            ("Rows about one person tell of each other.", True,
             "On both sides they flatter the score. Choose what must not be shared: a"
             " person, a document, a customer."),
        ],
    ),
    Question(
        "The run was killed at step 40 of 81. You start the same command again. What happens?",
        [
            ("It starts from the beginning and takes the whole time.", False,
             "Finished stages are read, not made again."),
            ("It goes on from the last sound checkpoint.", True,
             "It ends with the same numbers: the test suite kills it in every stage"
             " and compares."),
            ("It refuses, because the folder exists.", False,
             "It refuses only a folder with other settings, or one that it did not make."),
        ],
    ),
    Question(
        "You change the learning rate in sft.yaml and run again with the same output_dir. Then?",
        [
            ("It stops and names the setting that differs.", True,
             "Choose another output_dir, or pass --overwrite."),
            ("Old and new results are mixed.", False,
             "Each record holds a hash of what it came from."),
            ("The old model is replaced without a question.", False,
             "Nothing is replaced unless you ask for it."),
        ],
    ),
]  # fmt: skip
