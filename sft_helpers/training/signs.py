"""The signs of the first 100 steps, in words: what the record of a run says about its health.

Pure functions over what a `History` keeps. Each sign names what is seen, what it most often means
and where to look; none of them proves anything, and a run without signs may still learn nonsense.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean, median
from typing import Any, Literal, Protocol

Level = Literal["ok", "watch", "stop"]
WINDOW = 100  # optimizer steps that the rules about the beginning look at


@dataclass(frozen=True)
class Sign:
    """One thing that a run shows.

    Attributes:
        code: stable name, such as `loss.flat`.
        level: "ok", "watch" (look at it) or "stop" (end the run and mend it).
        text: what is seen and what it most often means, in one or two sentences.
        step: optimizer step at which it is seen; None if it concerns the run as a whole.
    """

    code: str
    level: Level
    text: str
    step: int | None = None

    def __str__(self) -> str:
        return f"[{self.level}] {self.text}"


class Record(Protocol):
    """What the signs are read from; `training.watch.History` has it."""

    steps: list[int]
    loss: list[float]
    eval_steps: list[int]
    eval_loss: list[float]
    step: int
    total_steps: int


def signs(history: Record) -> list[Sign]:
    """What the record of a run shows, the gravest first.

    Args:
        history: a `History`, or anything with its lists; gradient norms and answers to
            a probe's questions are used if it has them.

    Returns:
        Signs in the order "stop", "watch", "ok"; empty before anything was logged.
    """
    found = [
        *_first_loss(history),
        *_broken(history),
        *_course(history),
        *_gradient(history),
        *_held_out(history),
        *_panel(history),
    ]
    order = {"stop": 0, "watch": 1, "ok": 2}
    return sorted(found, key=lambda sign: order[sign.level])


def _finite(values: Sequence[float]) -> list[float]:
    return [value for value in values if math.isfinite(value)]


def _first_loss(history: Record) -> list[Sign]:
    if not history.loss:
        if history.total_steps and history.step >= history.total_steps:
            words = "The run ended and logged no loss: logging_steps is larger than the run."
            return [Sign("loss.never_logged", "watch", words)]
        return []
    if history.loss[0] == 0:
        words = (
            "The loss is exactly 0 from the beginning: no token is trained. Look at the labels"
            " (all -100?), at max_length and at the end of the prompts."
        )
        return [Sign("loss.zero", "stop", words, history.steps[0])]
    return []


def _broken(history: Record) -> list[Sign]:
    for step, loss in zip(history.steps, history.loss, strict=False):
        if not math.isfinite(loss):
            cause = (
                "at once: a type of numbers that overflows (fp16), an attention kernel, or a batch"
                " without labels"
                if loss == history.loss[0]
                else "after some steps: the learning rate is too high, or fp16 overflows"
            )
            words = f"The loss is {loss} from step {step} on. When it comes {cause}."
            return [Sign("loss.not_finite", "stop", words, step)]
    return []


def _beginning(history: Record) -> list[tuple[int, float]]:
    pairs = zip(history.steps, history.loss, strict=False)
    return [(step, loss) for step, loss in pairs if step <= WINDOW and math.isfinite(loss)]


def _course(history: Record) -> list[Sign]:
    points = _beginning(history)
    if len(points) < 4:
        return []
    first = points[0][1]
    lowest, where = first, points[0][0]
    for step, loss in points:
        if loss > 2 * lowest and loss > lowest + 0.5:
            words = (
                f"The loss jumped from {lowest:.2f} (step {where}) to {loss:.2f}: the learning rate"
                " is too high, or the warm-up too short."
            )
            return [Sign("loss.spike", "stop", words, step)]
        if loss < lowest:
            lowest, where = loss, step
    late = fmean(loss for _, loss in points[-max(1, len(points) // 4) :])
    if first == 0 or points[-1][0] - points[0][0] < 15:
        return []
    # a high first loss means that the form is new to the model: there is much to gain at once
    if late > (0.9 if first < 2 else 0.8) * first:
        words = (
            f"The loss went from {first:.2f} to {late:.2f} in {points[-1][0]} steps, next to"
            " nothing: the learning rate is too low, or nothing trains."
        )
        return [Sign("loss.flat", "watch", words, points[-1][0])]
    words = f"The loss falls: {first:.2f} to {late:.2f} in {points[-1][0]} steps."
    return [Sign("loss.falls", "ok", words, points[-1][0])]


def _gradient(history: Record) -> list[Sign]:
    norms: list[float] = [n for n in getattr(history, "grad_norm", []) if n is not None]
    if not norms:
        return []
    bad = next((place for place, norm in enumerate(norms) if not math.isfinite(norm)), None)
    if bad is not None:
        step = history.steps[bad] if bad < len(history.steps) else None
        words = (
            f"The gradient norm is {norms[bad]}. With a finite loss that is fp16 overflowing: train"
            " fp32 weights under autocast, or use bf16."
        )
        return [Sign("gradient.not_finite", "stop", words, step)]
    if max(norms) < 1e-7:
        words = (
            "The gradient norm is 0: nothing trains. All weights are frozen, or every label is"
            " -100."
        )
        return [Sign("gradient.zero", "stop", words)]
    if len(norms) >= 8:
        start, end = median(norms[: len(norms) // 4]), median(norms[-(len(norms) // 4) :])
        if end > 3 * start:
            words = (
                f"The gradient norm rose from {start:.2g} to {end:.2g}: the learning rate is"
                " probably too high."
            )
            return [Sign("gradient.rises", "watch", words)]
    return []


def _held_out(history: Record) -> list[Sign]:
    held, steps = _finite(history.eval_loss), history.eval_steps
    if not held:
        return []
    train = _finite(history.loss)
    if train and train[0] and held[0] < 0.02 and train[0] > 0.5:
        words = (
            f"The held-out loss is {held[0]:.3f} from the first evaluation on: training rows are"
            " probably among the held-out ones."
        )
        return [Sign("heldout.leak", "watch", words, steps[0])]
    best = min(range(len(held)), key=held.__getitem__)
    if len(held) > best + 1 and held[-1] > 1.1 * held[best] and held[-1] > held[best] + 0.02:
        words = (
            f"The held-out loss was lowest at step {steps[best]} ({held[best]:.2f}) and has risen"
            f" to {held[-1]:.2f}, while the training loss is {train[-1]:.2f}: the model becomes"
            " surer of its training rows than the others bear out. Ask the panel before you stop:"
            " exact match may still rise."
            if train
            else f"The held-out loss has risen from {held[best]:.2f} to {held[-1]:.2f}."
        )
        return [Sign("heldout.rises", "watch", words, steps[best])]
    if len(held) >= 2 and held[-1] < held[0]:
        words = f"The held-out loss falls too: {held[0]:.2f} to {held[-1]:.2f}."
        return [Sign("heldout.falls", "ok", words)]
    return []


def _panel(history: Record) -> list[Sign]:
    probes: Sequence[Any] = getattr(history, "probes", [])
    stops = getattr(probes[-1].found, "stopped", None) if probes else None
    if stops is None:  # no probe, or one that asks no questions
        return []
    last, late = probes[-1], history.step >= min(WINDOW, history.total_steps or WINDOW) // 2
    if stops < 0.5 and late:
        words = f"Only {stops:.0%} of the panel's answers end by themselves at step"
        if len(history.loss) > 1 and history.loss[-1] > 0.5 * history.loss[0]:
            words += f" {last.step}: with this loss the model has hardly learned anything yet."
            return [Sign("panel.no_stop_yet", "watch", words, last.step)]
        words += (
            f" {last.step}, though the loss is low: the end token is not among the labels, or it"
            " is another than the one that ends generation."
        )
        return [Sign("panel.never_stops", "stop", words, last.step)]
    if stops >= 0.9:
        words = f"{stops:.0%} of the panel's answers end by themselves."
        return [Sign("panel.stops", "ok", words, last.step)]
    return []
