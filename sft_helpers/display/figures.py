"""Figures for a projector: big type, Okabe-Ito colours, and never colour alone.

Each function takes plain data and returns a `matplotlib.figure.Figure`; no pyplot, no global state.
"""

from __future__ import annotations

import io
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from matplotlib.figure import Figure

BLUE, VERMILLION, GREEN, ORANGE, PURPLE = "#0072B2", "#D55E00", "#009E73", "#E69F00", "#CC79A7"
# (colour, marker, line style) in the order of use: each pair differs in all three.
STYLES = [
    (BLUE, "o", "-"),
    (VERMILLION, "s", "--"),
    (GREEN, "^", "-."),
    (PURPLE, "D", ":"),
    (ORANGE, "v", (0, (5, 1, 1, 1))),
]
_RC = {
    "font.size": 14,
    "axes.titlesize": 16,
    "axes.labelsize": 14,
    "xtick.labelsize": 13,
    "ytick.labelsize": 13,
    "legend.fontsize": 13,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "figure.facecolor": "white",
    "axes.facecolor": "white",
    "savefig.facecolor": "white",
}


class History(Protocol):
    """What a view needs to know of a training run; `training.RunHistory` has it."""

    steps: list[int]
    loss: list[float]
    eval_steps: list[int]
    eval_loss: list[float]
    learning_rate: list[float]
    tokens_per_second: float | None
    seconds_left: float | None
    step: int
    total_steps: int


def png(figure: Figure, dpi: int = 100) -> bytes:
    """Return the figure as PNG bytes; the same figure gives the same bytes."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=dpi, bbox_inches="tight", metadata={"Software": None})
    return buffer.getvalue()


def _plain(text: str) -> str:
    """Keep matplotlib from reading mathematics into `$` signs."""
    return text.replace("$", r"\$")


def loss_curve(history: History, *, title: str | None = None) -> Figure:
    """Return training loss, held-out loss and learning rate over the steps of a run.

    Args:
        history: the run; losses are in nats per token, the learning rate is per step.
        title: left out, the title says how far the held-out (or training) loss fell.
    """
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    with rc_context(_RC):
        figure = Figure(figsize=(9, 5.5), layout="constrained")
        loss, rate = figure.subplots(2, 1, sharex=True, height_ratios=[3, 1])
        loss.plot(history.steps, history.loss, color=BLUE, lw=2.5, label="training loss")
        if history.eval_loss:
            loss.plot(
                history.eval_steps,
                history.eval_loss,
                color=VERMILLION,
                lw=2.5,
                ls="--",
                marker="s",
                ms=8,
                label="held-out loss",
            )
        loss.set_ylabel("loss, nats per token")
        loss.set_ylim(bottom=0)
        if history.loss:
            loss.legend(frameon=False)
        loss.set_title(_plain(title or loss_sentence(history)), loc="left")
        pairs = list(zip(history.steps, history.learning_rate, strict=False))
        rate.plot([s for s, _ in pairs], [r for _, r in pairs], color=GREEN, lw=2.5, ls="-.")
        rate.set_ylabel("learning\nrate")
        rate.set_ylim(bottom=0)
        rate.ticklabel_format(axis="y", style="sci", scilimits=(0, 0))
        rate.set_xlabel("optimizer step")
        figure.align_ylabels([loss, rate])
        for axis in (loss, rate):
            axis.grid(alpha=0.3)
        # ticklabel and font settings are read when drawing: draw now, inside the context
        figure.canvas.draw()
    return figure


def loss_sentence(history: History) -> str:
    """Say in one sentence what the loss did, for a title or the words beside a picture."""
    for name, values in (("Held-out", history.eval_loss), ("Training", history.loss)):
        if values and not math.isfinite(values[-1]):
            return f"{name} loss became {values[-1]}: the run has broken down"
        finite = [value for value in values if math.isfinite(value)]
        if len(finite) < 2:
            continue
        first, last = finite[0], finite[-1]
        change = "fell" if last < first else "rose" if last > first else "stayed"
        return f"{name} loss {change} from {first:.2f} to {last:.2f}"
    return "No loss has been logged yet" if not history.loss else "One loss has been logged so far"


def scores_with_intervals(
    rows: Sequence[tuple[str, float, float, float]],
    *,
    title: str,
    xlabel: str = "exact match (share of answers)",
    limits: tuple[float, float] | None = (0.0, 1.0),
) -> Figure:
    """Return scores as points with their intervals, one line each, in the order given.

    Args:
        rows: (label, value, low, high); low and high are the ends of the interval.
        title: a question that the figure answers, or its answer.
        xlabel: what is scored, with its unit.
        limits: ends of the axis; None lets the data decide.

    Raises:
        ValueError: if rows are missing or a value lies outside its interval.
    """
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    if not rows:
        raise ValueError("there is no score to draw")
    for label, value, low, high in rows:
        if not low <= value <= high:
            raise ValueError(f"{label}: {value} is not between {low} and {high}")
    with rc_context(_RC):
        figure = Figure(figsize=(9, 1.7 + 0.75 * len(rows)), layout="constrained")
        axis = figure.subplots()
        for place, (_, value, low, high) in enumerate(rows):
            colour, marker, _ = STYLES[place % len(STYLES)]
            axis.errorbar(
                value,
                place,
                xerr=[[value - low], [high - value]],
                color=colour,
                marker=marker,
                ms=11,
                lw=3,
                capsize=8,
                capthick=3,
            )
            axis.annotate(
                f"{value:.2f}  [{low:.2f}, {high:.2f}]",
                (value, place),
                xytext=(0, 14),
                textcoords="offset points",
                ha="left" if value < 0.15 else "right" if value > 0.85 else "center",
                fontsize=13,
            )
        axis.set_yticks(range(len(rows)), [_plain(label) for label, *_ in rows])
        axis.set_ylim(len(rows) - 0.4, -0.75)
        if limits is not None:
            pad = 0.03 * (limits[1] - limits[0])
            axis.set_xlim(limits[0] - pad, limits[1] + pad)
        axis.set_xlabel(_plain(xlabel))
        axis.set_title(_plain(title), loc="left")
        axis.grid(axis="x", alpha=0.3)
        figure.canvas.draw()
    return figure
