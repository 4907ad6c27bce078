"""Follow a training run: its record as plain lists, and a look at the model on the way.

`sft_helpers.watch` also draws it while it trains (`display.monitor`).
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

from transformers.trainer_callback import PrinterCallback, ProgressCallback, TrainerCallback

if TYPE_CHECKING:
    from transformers import PreTrainedModel
    from trl import SFTTrainer


class Probe(NamedTuple):
    """What a probe of the model gave, and after how many optimizer steps."""

    step: int
    found: Any


class History(TrainerCallback):
    """The record of a training run, kept as plain lists while it runs; `record` makes one.

    Attributes:
        steps, loss, learning_rate, grad_norm: one entry per logged training step; the norm of the
            gradient is that before clipping, and not a number where the trainer logs none.
        eval_steps, eval_loss: one entry per evaluation on held-out rows.
        probes: what the probe gave, before the first step, on the way and at the end.
        step, total_steps: optimizer steps done and planned.
        tokens: tokens seen, padding not counted.
        seconds: time since training began.
        listeners: functions that are called with this record after each change.
    """

    def __init__(
        self, probe: Callable[[PreTrainedModel], Any] | None = None, every: int = 10
    ) -> None:
        self.probe, self.every = probe, every
        self.steps: list[int] = []
        self.loss: list[float] = []
        self.learning_rate: list[float] = []
        self.grad_norm: list[float] = []
        self.eval_steps: list[int] = []
        self.eval_loss: list[float] = []
        self.probes: list[Probe] = []
        self.step = 0
        self.total_steps = 0
        self.tokens = 0.0
        self.seconds = 0.0
        self.finished = False
        self.listeners: list[Callable[[History], None]] = []
        self._start: float | None = None
        self._first_step = 0

    @property
    def tokens_per_second(self) -> float | None:
        """Throughput so far in tokens per second, padding not counted; None before it is known."""
        return self.tokens / self.seconds if self.tokens and self.seconds else None

    @property
    def seconds_left(self) -> float | None:
        """Time that the remaining steps will take at the pace so far; None before it is known."""
        done = self.step - self._first_step
        if done <= 0 or not self.total_steps:
            return None
        return self.seconds / done * (self.total_steps - self.step)

    def _changed(self) -> None:
        if self._start is not None:
            self.seconds = time.monotonic() - self._start
        for listener in self.listeners:
            listener(self)

    def _ask(self, model: PreTrainedModel) -> None:
        """Let the probe look at the model at rest; the random state is left as it was."""
        if self.probe is None:
            return
        import torch

        from sft_helpers.evaluation import at_rest

        with torch.random.fork_rng(), at_rest(model):
            self.probes.append(Probe(self.step, self.probe(model)))

    def on_train_begin(
        self, args: Any, state: Any, control: Any, model: Any = None, **_: Any
    ) -> None:
        """Start the clock; a resumed run counts only the steps that it does itself."""
        self._start = time.monotonic()
        self._first_step = self.step = state.global_step
        self.total_steps = state.max_steps
        self.finished = False
        self._ask(model)
        self._changed()

    def on_step_end(self, args: Any, state: Any, control: Any, model: Any = None, **_: Any) -> None:
        """Count a finished optimizer step."""
        self.step = state.global_step
        if self.step % self.every == 0 or self.step == state.max_steps:
            self._ask(model)
        self._changed()

    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **_: Any) -> None:
        """Keep what the trainer logs."""
        logs = logs or {}
        if "loss" in logs:
            self.steps.append(state.global_step)
            self.loss.append(float(logs["loss"]))
            self.learning_rate.append(float(logs.get("learning_rate", 0.0)))
            self.grad_norm.append(float(logs.get("grad_norm", float("nan"))))
        if "eval_loss" in logs:
            self.eval_steps.append(state.global_step)
            self.eval_loss.append(float(logs["eval_loss"]))
        if "num_tokens" in logs:
            self.tokens = float(logs["num_tokens"])
        self._changed()

    def on_train_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Mark the run as finished."""
        self.finished = True
        self._changed()


def record(
    trainer: SFTTrainer,
    probe: Callable[[PreTrainedModel], Any] | None = None,
    *,
    every: int = 10,
) -> History:
    """Follow a trainer, in place of transformers' own progress output; call it before `train()`.

    Args:
        trainer: the trainer to follow.
        probe: a function of the model, called before the first step, every `every` steps and after
            the last, such as one that asks a few questions. The model is in evaluation mode,
            without gradients, and random numbers are left as they were, so the run stays the same.
        every: optimizer steps between two probes.

    Returns:
        The record, which fills while the trainer trains; an earlier one of this trainer ends.
    """
    from transformers.utils.notebook import NotebookProgressCallback

    for kind in (PrinterCallback, ProgressCallback, NotebookProgressCallback, History):
        trainer.remove_callback(kind)
    history = History(probe, every)
    trainer.add_callback(history)
    return history
