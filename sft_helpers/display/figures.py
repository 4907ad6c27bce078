"""Figures for a projector: big type, Okabe-Ito colours, and never colour alone.

Each function takes plain data and returns a `matplotlib.figure.Figure`; no pyplot, no global state.
"""

from __future__ import annotations

import io
import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Protocol

from sft_helpers.training.signs import Record

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


class History(Record, Protocol):
    """What a view needs to know of a training run; `training.watch.History` has it."""

    learning_rate: list[float]
    tokens_per_second: float | None
    seconds_left: float | None


def png(figure: Figure) -> bytes:
    """Return the figure as PNG bytes; the same figure gives the same bytes."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=100, bbox_inches="tight", metadata={"Software": None})
    return buffer.getvalue()


def plain(text: str) -> str:
    """Keep matplotlib from reading mathematics into `$` signs."""
    return text.replace("$", r"\$")


@contextmanager
def drawing(width: float, height: float, **panels: Any) -> Iterator[tuple[Figure, Any]]:
    """Give a figure, in inches, and its axes; what the block drew is final when it ends.

    `panels` is what `Figure.subplots` takes; left out, there is one axis.
    """
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    with rc_context(_RC):
        figure = Figure(figsize=(width, height), layout="constrained")
        yield figure, figure.subplots(**panels)
        figure.canvas.draw()  # ticks and fonts are settled here, inside the context


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
    if not rows:
        raise ValueError("there is no score to draw")
    for label, value, low, high in rows:
        if not low <= value <= high:
            raise ValueError(f"{label}: {value} is not between {low} and {high}")
    with drawing(9, 1.7 + 0.75 * len(rows)) as (figure, axis):
        for place, (_, value, low, high) in enumerate(rows):
            colour, marker, _ = STYLES[place % len(STYLES)]
            axis.errorbar(
                value, place, xerr=[[value - low], [high - value]], color=colour, marker=marker,
                ms=11, lw=3, capsize=8, capthick=3,
            )  # fmt: skip
            side = "left" if value < 0.15 else "right" if value > 0.85 else "center"
            axis.annotate(
                f"{value:.2f}  [{low:.2f}, {high:.2f}]", (value, place), xytext=(0, 14),
                textcoords="offset points", ha=side, fontsize=13,
            )  # fmt: skip
        axis.set_yticks(range(len(rows)), [plain(label) for label, *_ in rows])
        axis.set_ylim(len(rows) - 0.4, -0.75)
        if limits is not None:
            pad = 0.03 * (limits[1] - limits[0])
            axis.set_xlim(limits[0] - pad, limits[1] + pad)
        axis.set_xlabel(plain(xlabel))
        axis.set_title(plain(title), loc="left")
        axis.grid(axis="x", alpha=0.3)
    return figure
