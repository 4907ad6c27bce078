"""Ask a model a list of questions: its answers, and the score where the answers are known."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from sft_helpers.errors import DataError, ModelError
from sft_helpers.evaluation.stats import Interval, bootstrap_interval

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

Messages = list[dict[str, Any]]
Row = Mapping[str, Any]


@dataclass(frozen=True)
class Answer:
    """What a model generated for one question.

    Attributes:
        text: the decoded answer without its end token, surrounding whitespace removed.
        stopped: whether the model ended its turn itself, before the token limit.
        tokens: number of generated tokens, the end token included.
    """

    text: str
    stopped: bool
    tokens: int


@dataclass(frozen=True, repr=False)
class Answers:
    """What a model said to a list of rows; in a notebook it shows itself, `print` gives the score.

    Iterating gives one `Answer` per row, in order. Scores are computed when they are asked for, and
    want rows that end with the expected answer.

    Attributes:
        rows: what was asked.
        replies: the answers.
    """

    rows: Sequence[Row]
    replies: Sequence[Answer]

    def __len__(self) -> int:
        return len(self.replies)

    def __iter__(self) -> Iterator[Answer]:
        return iter(self.replies)

    def __getitem__(self, number: int) -> Answer:
        return self.replies[number]

    @cached_property
    def right(self) -> list[bool]:
        """For each answer whether it equals the expected text, character by character."""
        pairs = zip(self.replies, self.rows, strict=True)
        return [answer.text == _expected(row).strip() for answer, row in pairs]

    @cached_property
    def exact_match(self) -> Interval:
        """Share of right answers; the interval draws whole residents where rows name one."""
        return bootstrap_interval([float(mark) for mark in self.right], groups=self.groups)

    @property
    def stopped(self) -> float:
        """Share of answers that the model ended itself, between 0 and 1."""
        if not self.replies:
            raise DataError("nothing was asked", hint="ask at least one question")
        return sum(answer.stopped for answer in self.replies) / len(self.replies)

    @property
    def groups(self) -> list[str]:
        """Whom each row is about (`resident`), else its number: what varies together."""
        return [str(row.get("resident", number)) for number, row in enumerate(self.rows)]

    def compare(self, after: Answers) -> list[dict[str, Any]]:
        """One dict per question: question, expected, before, after, before_ok, after_ok."""
        return [
            {
                "question": _question(row),
                "expected": _expected(row),
                "before": before.text,
                "after": later.text,
                "before_ok": before_ok,
                "after_ok": after_ok,
            }
            for row, before, later, before_ok, after_ok in zip(
                self.rows, self.replies, after.replies, self.right, after.right, strict=True
            )
        ]

    def summary(self) -> dict[str, Any]:
        """The score as plain data: questions, exact_match (value, low, high, level), stop_rate."""
        match = asdict(self.exact_match)
        return {"questions": len(self), "exact_match": match, "stop_rate": self.stopped}

    def __str__(self) -> str:
        if not self._scored:
            return f"{len(self)} answers"
        return (
            f"exact match {self.exact_match}, stop rate {self.stopped:.2f} ({len(self)} questions)"
        )

    __repr__ = __str__  # not thousands of texts, when one stands in a list

    @property
    def _scored(self) -> bool:
        return bool(self.rows) and all(_has_answer(row) for row in self.rows)

    def _repr_html_(self, first: int = 10) -> str:
        from pandas import DataFrame, option_context

        lines = []
        for number, (row, answer) in enumerate(zip(self.rows, self.replies, strict=True)):
            line = {"question": _question(row), "answer": answer.text}
            if self._scored:
                mark = "✓ right" if self.right[number] else "✗ wrong"
                line |= {"expected": _expected(row), "verdict": mark}
            lines.append({name: _shown(text) for name, text in line.items()})
        with option_context("display.max_colwidth", None):
            table = DataFrame(lines[:first]).to_html(
                index=False, escape=True, justify="left", classes="tex2jax_ignore mathjax_ignore"
            )
        return f"<p>{self}; the first {min(first, len(self))}:</p>{table}"


def _shown(text: str) -> str:
    """A text whose control and direction characters are named, so that nothing is hidden."""
    return "".join(c if c.isprintable() or c == "\n" else f"⟨U+{ord(c):04X}⟩" for c in text)


def _messages(row: Row) -> Messages:
    messages: Messages = row.get("messages") or []
    if not messages:
        raise DataError(
            "this row holds no conversation, so there is nothing to ask",
            where=f"row {row!r:.80}",
            hint="give a question as text, or a row with `messages`",
        )
    return messages


def _has_answer(row: Row) -> bool:
    return bool(_messages(row)[-1].get("role") == "assistant")


def _prompt(row: Row) -> Messages:
    """The conversation up to the last assistant turn: what the model is asked to continue."""
    return _messages(row)[:-1] if _has_answer(row) else _messages(row)


def _question(row: Row) -> str:
    return str(_prompt(row)[-1]["content"]) if _prompt(row) else ""


def _expected(row: Row) -> str:
    if not _has_answer(row):
        raise DataError(
            "this row does not end with an assistant turn, so there is no answer to compare with",
            where=f"row {row!r:.80}",
            hint="give conversations whose last message has the role 'assistant'",
        )
    return str(_messages(row)[-1]["content"])


def ask(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    rows: Sequence[Row | str],
    *,
    prompts: Sequence[Messages | str] | None = None,
    max_new_tokens: int = 40,
    batch_size: int = 100,
    progress: str | None = "asking",
) -> Answers:
    """Greedy answers of a model, in batches of similar length, in the order of the rows.

    Conversations are rendered by the tokenizer's chat template up to where the assistant begins,
    padded on the left, and continued until an end token or the limit.

    Args:
        model: a causal language model; its training mode is restored afterwards.
        tokenizer: its tokenizer, with a chat template.
        rows: each with `messages`; a last turn of the assistant is the expected answer, and the
            model does not see it. A text is a question without one.
        prompts: what the model gets in place of each row: other messages, or a text that goes to
            it as it stands, special tokens read as such.
        max_new_tokens: limit on generated tokens per answer.
        batch_size: answers at a time.
        progress: text before the progress bar, shown if it takes longer than three seconds; None
            for no bar.

    Raises:
        DataError: a row holds no conversation, or prompts and rows differ in number.
        ModelError: the tokenizer has no chat template.
    """
    from tqdm.auto import tqdm

    asked: list[Row] = [
        {"messages": [{"role": "user", "content": row}]} if isinstance(row, str) else row
        for row in rows
    ]
    given = [_prompt(row) for row in asked] if prompts is None else prompts
    if len(given) != len(asked):
        raise DataError(f"{len(given)} prompts for {len(asked)} rows", hint="give one per row")
    texts = [one if isinstance(one, str) else _render(tokenizer, one) for one in given]
    ends = _end_tokens(model, tokenizer)
    pad = tokenizer.pad_token_id if tokenizer.pad_token_id is not None else ends[0]
    order = sorted(range(len(texts)), key=lambda number: len(texts[number]), reverse=True)
    replies: dict[int, Answer] = {}
    hidden = progress is None
    bar = tqdm(total=len(texts), desc=progress, unit="answer", disable=hidden, leave=False, delay=3)
    with at_rest(model), bar:
        for start in range(0, len(order), batch_size):
            chosen = order[start : start + batch_size]
            batch = tokenizer(
                [texts[number] for number in chosen], padding=True, padding_side="left",
                add_special_tokens=False, return_tensors="pt",
            ).to(model.device)  # fmt: skip
            output = model.generate(
                input_ids=batch["input_ids"], attention_mask=batch["attention_mask"],
                max_new_tokens=max_new_tokens, do_sample=False, use_cache=True,
                eos_token_id=ends, pad_token_id=pad,
            )  # fmt: skip
            width = batch["input_ids"].shape[1]
            for number, ids in zip(chosen, output[:, width:].tolist(), strict=True):
                replies[number] = _cut(ids, ends, tokenizer)
            bar.update(len(chosen))
    return Answers(asked, [replies[number] for number in range(len(asked))])


def _render(tokenizer: PreTrainedTokenizerBase, messages: Messages) -> str:
    if tokenizer.chat_template is None:
        raise ModelError(
            "this tokenizer has no chat template, so conversations cannot be rendered",
            where=str(tokenizer.name_or_path),
            hint="set tokenizer.chat_template, or train with SFTConfig(chat_template_path=...)",
        )
    return str(tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True))


def _end_tokens(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> list[int]:
    """Ids that end an answer: the model's generation config and the tokenizer's end token."""
    configured = getattr(model.generation_config, "eos_token_id", None)
    ids = configured if isinstance(configured, list) else [configured]
    return sorted({token for token in [*ids, tokenizer.eos_token_id] if token is not None})


def _cut(ids: list[int], ends: list[int], tokenizer: PreTrainedTokenizerBase) -> Answer:
    """The generated ids up to the first end token."""
    end = next((place for place, token in enumerate(ids) if token in ends), None)
    kept = ids if end is None else ids[:end]
    text = str(tokenizer.decode(kept, skip_special_tokens=False)).strip()
    return Answer(text, stopped=end is not None, tokens=len(kept) + (end is not None))


@contextlib.contextmanager
def at_rest(model: PreTrainedModel) -> Iterator[None]:
    """A model in evaluation mode, without gradients; its training mode comes back afterwards."""
    import torch

    was_training = model.training
    model.eval()
    try:
        with torch.inference_mode():
            yield
    finally:
        model.train(was_training)
