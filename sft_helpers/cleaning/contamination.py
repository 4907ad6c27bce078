"""Rows that give away an evaluation set: its questions, or its subjects in other words."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from sft_helpers.cleaning.model import Chat, Finding, Matcher, Row, Thresholds, read_chat, short
from sft_helpers.cleaning.text import SCAN_CHARS, names, units
from sft_helpers.errors import DataError

# A shorter question ("And her pet?") means nothing without its conversation.
MIN_WORDS = 5


def eval_questions(rows: Sequence[Row]) -> list[str]:
    """The user turns of an evaluation set.

    Raises:
        DataError: a row is no conversation; names it.
    """
    questions = []
    for number, row in enumerate(rows, start=1):
        chat = read_chat(row)
        if isinstance(chat, Finding):
            raise DataError(
                f"an evaluation row cannot be read: {chat.reason}",
                where=f"evaluation row {number}",
                hint="give rows with `messages` that end with the assistant's turn",
            )
        questions += chat.questions
    return questions


def contaminated(limits: Thresholds, eval_rows: Sequence[Row] | None) -> Matcher | None:
    """A row that contains an evaluation question, or thirteen words in a row of one.

    A model that was trained on the test is asked what it remembers, not what it can do. Overlap of
    word sequences is the usual check (for example GPT-3, arXiv 2005.14165, appendix C); questions
    shorter than that must occur as a whole.
    """
    if not eval_rows:
        return None
    size = limits.contaminated_ngram
    whole: set[str] = set()
    grams: set[tuple[str, ...]] = set()
    for question in eval_questions(eval_rows):
        words = units(question)
        if MIN_WORDS <= len(words) < size:
            whole.add(" ".join(words))
        grams.update(tuple(words[n : n + size]) for n in range(len(words) - size + 1))

    def check(chat: Chat) -> Finding | None:
        for turn in chat.messages:
            if turn["role"] not in ("user", "assistant"):
                continue
            words = units(turn["content"])
            if " ".join(words) in whole:
                return Finding("this is an evaluation question", short(turn["content"]))
            for place in range(len(words) - size + 1):
                if tuple(words[place : place + size]) in grams:
                    shared = " ".join(words[place : place + size])
                    return Finding(
                        f"shares “{shared}” with an evaluation question", short(chat.text)
                    )
        return None

    return check


def contaminated_reworded(limits: Thresholds, eval_rows: Sequence[Row] | None) -> Matcher | None:
    """A row about somebody whom the evaluation asks about, in whatever words.

    No overlap of words finds "Which town does she call home?" beside "Where does she live?", and
    yet the first gives the second away. So names decide, as they should have decided the split:
    all rows about one person belong on one side. Where evaluation and training may share subjects
    (countries, say), set this rule to `flag`.
    """
    if not eval_rows:
        return None
    questions = eval_questions(eval_rows)
    counts = Counter(name for question in questions for name in names(question[:SCAN_CHARS]))
    most = max(5.0, limits.entity_share * len(questions))
    rare = {name for name, count in counts.items() if count <= most}

    def check(chat: Chat) -> Finding | None:
        found = names(chat.text[:SCAN_CHARS]) & rare
        if not found:
            return None
        return Finding(f"the evaluation asks about {', '.join(sorted(found))}", short(chat.text))

    return check
