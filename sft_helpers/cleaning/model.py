"""The nouns of cleaning: a conversation to judge, thresholds, a finding, a rule."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Literal, TypeAlias

from sft_helpers.errors import DataError

Row: TypeAlias = Mapping[str, Any]
Messages: TypeAlias = list[dict[str, Any]]
Action = Literal["keep", "drop", "fix", "flag"]
ACTIONS: tuple[Action, ...] = ("keep", "drop", "fix", "flag")
ROLES = ("system", "developer", "user", "assistant", "tool")


@dataclass(frozen=True)
class Thresholds:
    """Every number that decides; change one with `Thresholds(max_tokens=2048)`.

    Attributes:
        min_chars: fewest characters of an answer, in scripts that spell words with letters.
        min_chars_han: the same for Chinese and Japanese, where one character can be an answer.
        max_chars, max_chars_han: most characters of an answer.
        max_tokens: most tokens of a conversation (TRL cuts at 1,024 unless told otherwise); only
            with a tokenizer.
        repeated_share: largest share of three-word sequences that an answer may say again.
        repeated_run: longest run of one word or character that is not yet a loop.
        copied_share: largest share of a question that its answer may hand back.
        unfinished_words: an answer of this many words must end like a sentence.
        foreign_share: largest share of an answer's letters in a script that nobody asked for.
        near_duplicate: Jaccard similarity of shingles from which two rows are one.
        shingle: length of the shingles in characters.
        names_must_agree: rows with different names or numbers are never near duplicates.
        contaminated_ngram: words in a row that must agree with an evaluation question; a shorter
            question must agree as a whole.
        entity_share: a name in more than this share of the evaluation questions is too common to
            tell anything (names in five questions or fewer always count).
    """

    min_chars: int = 2
    min_chars_han: int = 1
    max_chars: int = 4_000
    max_chars_han: int = 1_500
    max_tokens: int = 1_024
    repeated_share: float = 0.3
    repeated_run: int = 6
    copied_share: float = 0.8
    unfinished_words: int = 5
    foreign_share: float = 0.1
    near_duplicate: float = 0.7
    shingle: int = 5
    names_must_agree: bool = True
    contaminated_ngram: int = 13
    entity_share: float = 0.05


@dataclass(frozen=True)
class Chat:
    """A conversation of sound shape, as the rules see it.

    Attributes:
        messages: its turns; every content is text.
        tokens: tokens of all contents together; None when no tokenizer was given.
    """

    messages: Messages
    tokens: int | None = None

    @cached_property
    def exchanges(self) -> list[tuple[str, str]]:
        """(question, answer) for each assistant turn; the question is the last user turn."""
        pairs, question = [], ""
        for turn in self.messages:
            if turn["role"] == "user":
                question = turn["content"]
            elif turn["role"] == "assistant" and not (
                turn.get("tool_calls") and not turn["content"]
            ):
                pairs.append((question, turn["content"]))
        return pairs

    @cached_property
    def answers(self) -> list[str]:
        """What the assistant says, turn by turn; turns that only call a tool say nothing."""
        return [answer for _, answer in self.exchanges]

    @property
    def questions(self) -> list[str]:
        """What the user says, turn by turn."""
        return [turn["content"] for turn in self.messages if turn["role"] == "user"]

    @cached_property
    def text(self) -> str:
        """Everything that user and assistant say, one turn a line."""
        return "\n".join(
            turn["content"] for turn in self.messages if turn["role"] in ("user", "assistant")
        )

    @cached_property
    def instruction(self) -> str:
        """The system prompt, if there is one: the same question under another is another task."""
        return "\n".join(
            turn["content"] for turn in self.messages if turn["role"] in ("system", "developer")
        )

    def changed(self, change: Callable[[str], str]) -> Messages | None:
        """The messages with every content changed; None when nothing changes."""
        made = [{**turn, "content": change(turn["content"])} for turn in self.messages]
        return made if made != self.messages else None


@dataclass(frozen=True)
class Finding:
    """Why a rule caught a row.

    Attributes:
        reason: one sentence for a person.
        excerpt: the text in question, shortened.
        fixed: the repaired messages, from rules that can repair.
    """

    reason: str
    excerpt: str = ""
    fixed: Messages | None = None


Check: TypeAlias = Callable[[Chat, Thresholds], Finding | None]
Matcher: TypeAlias = Callable[[Chat], Finding | None]


@dataclass(frozen=True)
class Rule:
    """A named rule and what happens to the rows that it catches.

    Attributes:
        name: what reports call it.
        action: `drop` the row, `fix` its text, `flag` it in the column `cleaning_flags`, or `keep`
            it and only count.
        check: the judgement about one row: None, or a finding. For rules about one row alone.
        start: for rules that compare rows: called once per run with the thresholds and the
            evaluation rows, it returns the judgement, which may remember rows that were kept.
        stage: 0 repairs, 1 judges single rows, 2 compares rows. Stages run in this order whatever
            the order of the list, so the order of rules does not change which rows are kept.
    """

    name: str
    action: Action
    check: Check | None = None
    start: Callable[[Thresholds, Sequence[Row] | None], Matcher | None] | None = None
    stage: int = 1

    def __post_init__(self) -> None:
        if self.action not in ACTIONS:
            raise DataError(
                f"unknown action {self.action!r}",
                where=f"rule {self.name}",
                hint=f"choose one of {', '.join(ACTIONS)}",
            )
        if (self.check is None) == (self.start is None):
            raise DataError(
                "a rule has either check= or start=",
                where=f"rule {self.name}",
                hint="check= for a rule about one row, start= for a rule that compares rows",
            )

    @property
    def why(self) -> str:
        """The first paragraph of the rule's docstring."""
        doc = (self.check or self.start).__doc__ or ""
        return " ".join(doc.strip().partition("\n\n")[0].split())

    def acting(self, action: Action) -> Rule:
        """The same rule with another action."""
        return replace(self, action=action)


def short(text: str, most: int = 240) -> str:
    """The text cut to `most` characters, the cut marked."""
    return text if len(text) <= most else text[: most - 1] + "…"


def read_chat(row: Any) -> Chat | Finding:
    """A row as a conversation, or a finding that says why it is none.

    Training needs a list of turns, each with a known role and text, and an assistant turn at the
    end. Without them a chat template fails or, worse, renders something else in silence.
    """
    if not isinstance(row, Mapping):
        return Finding(f"a row is an object with `messages`; this is a {type(row).__name__}")
    messages = row.get("messages")
    if not isinstance(messages, list | tuple) or not messages:
        return Finding("there is no list of messages, or it is empty")
    turns: Messages = []
    for number, turn in enumerate(messages, start=1):
        if not isinstance(turn, Mapping):
            return Finding(f"message {number} is a {type(turn).__name__}, not an object")
        role, content = turn.get("role"), turn.get("content")
        if not isinstance(role, str) or role not in ROLES:
            return Finding(f"message {number} has no role that a chat template knows")
        if content is None and turn.get("tool_calls"):
            content = ""
        if not isinstance(content, str):
            return Finding(
                f"the content of message {number} is a {type(content).__name__}, not text"
            )
        turns.append({**turn, "content": content})
    if turns[-1]["role"] != "assistant":
        return Finding("the last turn is not the assistant's: there is nothing to learn")
    return Chat(turns)
