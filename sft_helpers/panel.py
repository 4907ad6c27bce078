"""A panel: a few fixed questions that a model answers again and again while it trains.

The loss says how surprised the model is by the expected words; the panel says what it would write.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from transformers.trainer_callback import TrainerCallback

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase
    from trl import SFTTrainer

    from sft_helpers.evaluation import Answer
    from sft_helpers.training import RunHistory


@dataclass(frozen=True)
class PanelEntry:
    """The panel's answers at one moment of a run.

    Attributes:
        step: optimizer steps done.
        exact_match: share of answers equal to the expected text, between 0 and 1.
        stop_rate: share of answers that the model ended itself, between 0 and 1.
        answers: the answers, in the order of the questions.
    """

    step: int
    exact_match: float
    stop_rate: float
    answers: list[Answer]


class Panel(TrainerCallback):
    """Asks the panel before the first step, every `every` steps, and at the end.

    The random state is left as it was, so a run with a panel gives the same losses as one without.

    Args:
        history: the record of the run; entries go to its `panel`.
        tokenizer: with a chat template.
        rows: questions with their expected answers; a few dozen are enough.
        every: optimizer steps between two rounds.
        max_new_tokens: limit on the length of an answer.
    """

    def __init__(
        self,
        history: RunHistory,
        tokenizer: PreTrainedTokenizerBase,
        rows: Sequence[dict[str, Any]],
        *,
        every: int = 10,
        max_new_tokens: int = 20,
    ) -> None:
        self.history = history
        self.tokenizer = tokenizer
        self.rows = list(rows)
        self.every = every
        self.max_new_tokens = max_new_tokens

    def _ask(self, model: Any, step: int) -> None:
        import torch

        from sft_helpers.evaluation import ask

        with torch.random.fork_rng():
            answers = ask(
                model, self.tokenizer, self.rows, max_new_tokens=self.max_new_tokens, progress=None
            )
        right = sum(answers.right) / len(answers)
        self.history.panel.append(PanelEntry(step, right, answers.stopped, list(answers)))

    def on_train_begin(
        self, args: Any, state: Any, control: Any, model: Any = None, **_: Any
    ) -> None:
        """Ask before the first step."""
        self._ask(model, state.global_step)

    def on_step_end(self, args: Any, state: Any, control: Any, model: Any = None, **_: Any) -> None:
        """Ask every `every` steps and after the last one."""
        if state.global_step % self.every == 0 or state.global_step == state.max_steps:
            self._ask(model, state.global_step)


def watch(
    trainer: SFTTrainer, history: RunHistory, rows: Sequence[dict[str, Any]], *, every: int = 10
) -> Panel:
    """Attach a panel to a trainer that `record` already follows, and return it."""
    panel = Panel(history, trainer.processing_class, rows, every=every)
    trainer.add_callback(panel)
    return panel
