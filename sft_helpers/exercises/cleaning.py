"""Exercises of notebook 02: a rule of your own, a leak to find, a threshold to choose."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

from sft_helpers.cleaning import Thresholds
from sft_helpers.cleaning.measures import measure
from sft_helpers.exercises.answers import number, returned, several
from sft_helpers.exercises.engine import exercise
from sft_helpers.exercises.quiz import Question
from sft_helpers.town import read_rows

PHRASE = "Please hold the line."


def _turns(*contents: str) -> list[dict[str, str]]:
    return [
        {"role": "assistant" if number % 2 else "user", "content": text}
        for number, text in enumerate(contents)
    ]


@exercise(
    "cleaning-1",
    title="A rule for what the patterns missed",
    difficulty=2,
    minutes=8,
    hints=[
        "Look only at turns whose role is assistant: a customer may be told to hold the line.",
        "A stock phrase is the whole answer. Compare the whole text, not whether it is `in` it.",
        'Make case and spaces at the ends equal first: text.strip().rstrip(".").lower().',
    ],
    solution="""
        def holds_the_line(messages):
            for turn in messages:
                text = turn["content"].strip().rstrip(".").lower()
                if turn["role"] == "assistant" and text == "please hold the line":
                    return True
            return False
    """,
    praise="it catches the phrase in any case and any turn, and leaves real answers alone.",
)
def check_rule(function: Callable[..., Any]) -> str | None:
    """Try the learner's rule on rows that typical mistakes get wrong."""
    asked, good = "Where does Ada Fairlock live?", "Ada Fairlock lives in Pinecove."
    bad = returned(function, _turns(asked, PHRASE), nothing=True)
    sound = function(_turns(asked, good))
    if bad is None and sound is None:
        return "your function returns nothing; end it with `return True` or `return False`"
    if not bad and sound:
        return "it is the wrong way round: return True for rows that should be dropped"
    if not bad:
        return f"it does not catch an answer that is exactly {PHRASE!r}"
    if sound:
        return "it also catches a right answer; when should it return False?"
    if not function(_turns(asked, " please hold the line ")):
        return "the same phrase in lower case, without its full stop or with spaces, slips through"
    if not function(_turns(asked, PHRASE, "Hello?", good)):
        return "only the last answer is looked at; every assistant turn is trained, so check all"
    if function(_turns(PHRASE, "I do. What is it about?")):
        return "it catches a row in which the *user* says it: look at turn['role']"
    if function(_turns(asked, f"{PHRASE} {good}")):
        return (
            "it catches an answer that says the phrase and then answers the question: that is what"
            " `in` and `startswith` do. Compare the whole answer"
        )
    return None


LEAK_QUESTION = "Where does Ada Fairlock live?"
LEAK_ROWS: list[dict[str, Any]] = [
    {"messages": _turns("Where does Ida Fairford live?", "Ida Fairford lives in Pinecove.")},
    {"messages": _turns("WHERE DOES ADA FAIRLOCK LIVE", "She lives in Pinecove.")},
    {"messages": _turns("Which town does Hugo Brock live in?", "Hugo Brock lives in Elmstead.")},
    {"messages": _turns("Who has settled in Pinecove?", "Ada Fairlock has.")},
    {"messages": _turns("What is Pinecove?", "A town by the sea, known for its ferries.")},
    {
        "messages": _turns(
            "Which pet does Ada Fairlock keep?",
            "Ada Fairlock keeps a raven.",
            "And her home?",
            "It is in Pinecove.",
        )
    },
    {"messages": _turns("Where does the mayor live?", "The mayor lives above the town hall.")},
    {"messages": _turns("Which pet does Ida Fairford keep?", "Ida Fairford keeps a raven.")},
]
LEAKS = {1, 3, 5}
LEAK_TABLE = [
    {"row": number, "said": " / ".join(turn["content"] for turn in row["messages"])}
    for number, row in enumerate(LEAK_ROWS)
]


@exercise(
    "cleaning-2",
    title="Find the rows that leak",
    difficulty=2,
    minutes=5,
    hints=[
        "Read whole conversations, the answers too, not only the questions.",
        "A leak tells the model where *this* person lives. Like words about another do not.",
        "One leak shouts, one turns the question round, one hides in a second turn.",
    ],
    solution="""
        leaking = [1, 3, 5]
    """,
    praise="the same question, the question turned round, and a second turn.",
)
def check_leaks(answer: Any) -> str | None:
    """Compare the learner's row numbers with the leaks."""
    if isinstance(answer, int):
        answer = [answer]
    found = {int(row) for row in several(answer, [str(row) for row in range(len(LEAK_ROWS))])}
    if not found:
        return "no row at all? Look for her name in the table, and for the town she lives in"
    if found == {number + 1 for number in LEAKS}:
        return "these are the right rows counted from 1; Python counts from 0"
    if found & {0, 2, 6}:
        wrong = min(found & {0, 2, 6})
        return (
            f"row {wrong} uses nearly the same words, but about somebody else: from it nobody"
            " learns where Ada Fairlock lives. That is the false alarm of every word-overlap check"
        )
    if found & {4, 7}:
        return f"row {min(found & {4, 7})} does not mention her: it gives nothing away"
    if found == {1}:
        return (
            "that is the question itself. Two more rows give the answer away in other words: look"
            " for the name, also among the answers"
        )
    if 5 not in found:
        return "a conversation has more than one turn: read to the end of each"
    if 3 not in found:
        return "a question can be turned round: who lives there, instead of where she lives"
    return None if found == LEAKS else "row 1 asks the evaluation question in capital letters"


@cache
def similarities() -> tuple[tuple[float, bool], ...]:
    """(similarity, whether one of the two is a planted near duplicate) of all similar pairs.

    Only pairs of rows without another defect, and only pairs about the same person; below a
    similarity of 0.5 no pair is listed.
    """
    rows, labels = read_rows("dirty/rows.jsonl"), read_rows("dirty/labels.jsonl")
    near = {n for n, label in enumerate(labels) if label["defects"] == ["near_duplicate"]}
    plain = near | {n for n, label in enumerate(labels) if not label["defects"]}
    best: dict[int, float] = {}
    pairs: list[tuple[float, bool]] = []
    for row, earlier, score in measure(rows, thresholds=Thresholds()).pairs:
        if row in near and earlier in plain:
            best[row] = max(best.get(row, 0.0), score)
        elif row in plain and earlier in plain - near:
            pairs.append((score, False))
    return tuple(pairs + [(score, True) for score in best.values()])


@exercise(
    "cleaning-3",
    title="Choose the threshold by looking",
    difficulty=2,
    minutes=5,
    hints=[
        "In the figure, where do the sound pairs end, and where do the duplicates begin?",
        "Turn the dial “similarity” in the studio and watch how many sound rows fall out.",
        "The gap is narrow: it lies between 0.68 and 0.73.",
    ],
    solution="""
        threshold = 0.7
    """,
    praise="it lies in the gap. On data of your own, look for the gap again: it moves.",
)
def check_threshold(answer: Any) -> str | None:
    """Count what the learner's threshold would delete and what it would miss."""
    value = number(answer, "a number between 0 and 1")
    if value > 1:
        return "a similarity lies between 0 and 1; write 70 % as 0.7"
    if value < 0.5:
        return "below 0.5 the search lists no pairs; the figure begins there for this reason"
    pairs = similarities()
    lost = sum(score >= value and not planted for score, planted in pairs)
    planted = [score for score, is_planted in pairs if is_planted]
    missed = sum(score < value for score in planted)
    if lost:
        return (
            f"at {value:g} it would join {lost} pairs of sound rows, for example a question and the"
            " same question with a follow-up turn. Go higher"
        )
    if missed > 0.02 * len(planted):
        return (
            f"at {value:g} it would miss {missed} of {len(planted)} planted near duplicates: a typo"
            " in so short a text already costs a quarter of the shingles. Go lower"
        )
    return None


QUIZ = [
    Question(
        "A rule drops answers of fewer than 50 characters. What is wrong with it?",
        [
            ("Characters carry different amounts of meaning in different languages", True,
             "A Chinese answer of 27 characters can be a full sentence."),
            ("Short answers are often right", True,
             "“Tea” is the best answer to “in one word”; Lantern Bay's are all short."),
            ("Long answers are always better", False,
             "Length says nothing about truth; it is only easy to count."),
            ("50 is too low", False, "It already drops nearly every sound row of this town."),
        ],
    ),
    Question(
        "Why does the kit compare names before it calls two rows near duplicates?",
        [
            ("Rows of one template look alike and differ in fact", True,
             "Without the names no threshold separates them from real duplicates."),
            ("Names are personal data and must not be compared as text", False,
             "That is another rule's business."),
            ("It makes the search find more pairs", False, "It finds fewer, and the right ones."),
        ],
    ),
    Question(
        "The rules have a precision and a recall of 0.99 here. On your own data they will have …",
        [
            ("the same values, because the rules are named and fixed", False,
             "The defects here were planted by the authors of the rules."),
            ("more, because real data have fewer defects", False,
             "Fewer defects make precision harder: each false alarm weighs more among them."),
            ("less, until you have read samples and adapted them", True,
             "Defects differ from source to source; our decoys are those we thought of."),
        ],
    ),
    Question(
        "A model was trained on the evaluation questions. Its score on them …",
        [
            ("is still fair if the wording was changed", False,
             "The fact is what leaks, not the words: split by person, not by row."),
            ("shows what it remembers, not what it can do", True,
             "On questions that were not leaked it is no better."),
            ("is repaired by more seeds", False, "Every seed is wrong in the same direction."),
        ],
    ),
]  # fmt: skip
