"""Parity: are the tokens that a model is asked with those that it was trained on?

Compared are token ids, not texts: tokens may merge differently where two texts look alike.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from sft_helpers.errors import DataError
from sft_helpers.templates.checks import trl_verdict
from sft_helpers.templates.render import Messages, as_family, problem_of, render
from sft_helpers.templates.spans import shared_prefix

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


@dataclass(frozen=True)
class Parity:
    """Training and serving tokens of one conversation, compared.

    Attributes:
        training: token ids of the whole row, as `SFTTrainer` prepares it.
        serving: token ids of the prompt that generation starts from.
        same: how many leading ids agree.
        answer: position in `training` at which the answer begins, where that is known.
        tokenizer: to read ids as text.
    """

    training: tuple[int, ...]
    serving: tuple[int, ...]
    same: int
    answer: int | None
    tokenizer: Any

    @property
    def missing(self) -> tuple[int, ...]:
        """Ids that the row has before its answer and that the prompt, else equal, ends without."""
        if self.same < len(self.serving) or self.answer is None:
            return ()
        return self.training[self.same : self.answer]

    @property
    def holds(self) -> bool:
        """Whether the training row's prompt is exactly the serving prompt."""
        return self.same == len(self.serving) and not self.missing

    @property
    def first_difference(self) -> int | None:
        """Position of the first token that differs; None when there is none."""
        return None if self.holds else self.same

    def token(self, side: Literal["training", "serving"], position: int) -> str:
        """Text of one token; empty beyond the end."""
        ids = self.training if side == "training" else self.serving
        return str(self.tokenizer.decode([ids[position]])) if 0 <= position < len(ids) else ""

    def __str__(self) -> str:
        if self.holds:
            return f"the same {self.same} tokens in training and at inference"
        at = self.same
        if self.missing:
            return f"the prompt ends too early: {self.tokenizer.decode(self.missing)!r} is missing"
        return (
            f"token {at} differs: training has {self.token('training', at)!r},"
            f" inference has {self.token('serving', at)!r}"
        )


def parity(
    tokenizer: PreTrainedTokenizerBase,
    messages: Messages,
    *,
    training: Sequence[int] | None = None,
    serving: Sequence[int] | None = None,
    assistant_only_loss: bool = False,
    tools: Sequence[Any] | None = None,
    **kwargs: Any,
) -> Parity:
    """Compare the prompt in a training row with the prompt that generation builds, token by token.

    Args:
        tokenizer: the tokenizer of the model.
        messages: a conversation that ends with an assistant turn.
        training: ids of the row, for example `trainer.train_dataset[0]["input_ids"]`; left out,
            they are made as `SFTTrainer` makes them.
        serving: ids of the prompt as your server builds it; left out, by `apply_chat_template`.
        assistant_only_loss: whether training runs with it: TRL may then swap the template.
        tools: tools of the conversation.
        kwargs: further variables of the template at inference, such as `enable_thinking=False`.

    Raises:
        DataError: the conversation has no answer at its end, or the template fails on it.
        ModelError: the tokenizer has no chat template.
    """
    problem = problem_of(messages)
    if problem or messages[-1]["role"] != "assistant":
        raise DataError(
            problem or "the conversation does not end with an assistant turn",
            hint="parity compares what comes before the last answer",
        )
    template = as_family(tokenizer)
    if training is None:
        swapped = trl_verdict(tokenizer).template if assistant_only_loss else template.text
        training = _ids(tokenizer, messages, tools=tools, chat_template=swapped or template.text)
    usual = _ids(tokenizer, messages[:-1], tools=tools, add_generation_prompt=True, **kwargs)
    serving = usual if serving is None else serving
    answer = len(usual) if shared_prefix(training, usual) == len(usual) else None
    same = shared_prefix(training, serving)
    return Parity(tuple(training), tuple(serving), same, answer, tokenizer)


def _ids(tokenizer: Any, messages: Messages, **options: Any) -> list[int]:
    rows: list[Mapping[str, Any]] = [dict(message) for message in messages]
    try:
        encoded = tokenizer.apply_chat_template(rows, tokenize=True, return_dict=True, **options)
    except Exception as error:
        said = render(tokenizer, messages).error or " ".join(str(error).split())
        raise DataError(said, hint="look at the conversation in the template playground") from error
    return list(encoded["input_ids"])
