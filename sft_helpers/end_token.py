"""Would the model stop? The probability of the end token where the expected answer ends."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from transformers.trainer_callback import TrainerCallback

from sft_helpers.evaluation import at_rest

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

BATCH = 64  # rows in a forward pass


def end_probability(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, rows: Sequence[Mapping[str, Any]]
) -> float:
    """Mean probability of the end token right after the expected answer, between 0 and 1.

    The prompt is rendered as for serving, the expected answer is appended, and the model's next
    token is looked at: would it stop here?

    Args:
        model: a causal language model; its training mode is restored.
        tokenizer: with a chat template and an end token.
        rows: with `messages` that end with an assistant turn.
    """
    texts = []
    for row in rows:
        *prompt, last = row["messages"]
        head = tokenizer.apply_chat_template(prompt, tokenize=False, add_generation_prompt=True)
        texts.append(f"{head}{last['content']}")
    found: list[float] = []
    with at_rest(model):
        for start in range(0, len(texts), BATCH):
            batch = tokenizer(
                texts[start : start + BATCH], padding=True, padding_side="left",
                add_special_tokens=False, return_tensors="pt", return_token_type_ids=False,
            ).to(model.device)  # fmt: skip
            logits = model(**batch).logits[:, -1]
            found += logits.float().softmax(-1)[:, tokenizer.eos_token_id].tolist()
    return float(np.mean(found))


class EndTokenCurve(TrainerCallback):
    """`end_probability` by training step, measured while a trainer runs.

    Attributes:
        steps: optimizer steps after which it was measured: the first, then every `every` steps.
        values: mean probability of the end token, between 0 and 1.
    """

    def __init__(
        self, tokenizer: PreTrainedTokenizerBase, rows: Sequence[Mapping[str, Any]], every: int = 5
    ) -> None:
        self.tokenizer = tokenizer
        self.rows = rows
        self.every = every
        self.steps: list[int] = []
        self.values: list[float] = []

    def on_step_end(self, args: Any, state: Any, control: Any, model: Any = None, **_: Any) -> None:
        """Measure after the first step and every `every` steps."""
        if state.global_step == 1 or state.global_step % self.every == 0:
            self.steps.append(state.global_step)
            self.values.append(end_probability(model, self.tokenizer, self.rows))
