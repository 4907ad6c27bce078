"""Figures for a projector: big type, Okabe-Ito colours, and never colour alone.

Each function takes plain data and returns a `matplotlib.figure.Figure`; no pyplot, no global state.
"""

from __future__ import annotations

import io
import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Protocol

import numpy as np
from matplotlib import rc_context
from matplotlib.figure import Figure

from sft_helpers.training.signs import Record

GREY = "#767676"
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
    "legend.frameon": False,
    "lines.linewidth": 2.0,
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    # no ground of their own, and grey that has a contrast above 4 on white and on black
    "figure.facecolor": "none",
    "axes.facecolor": "none",
    "savefig.facecolor": "none",
    **dict.fromkeys(
        ("text.color", "axes.edgecolor", "axes.labelcolor", "axes.titlecolor", "xtick.color",
         "ytick.color"),
        GREY,
    ),
}  # fmt: skip


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


def words(figure: Figure) -> str:
    """A figure for who cannot see it: titles, notes, axes, and the numbers of each named line."""
    told = []
    for axis in figure.axes:
        told += [axis.get_title(place) for place in ("left", "center")]
        told += [axis.get_xlabel(), axis.get_ylabel(), *(note.get_text() for note in axis.texts)]
        for line in axis.get_lines():
            name = str(line.get_label())
            if not name.startswith("_"):
                heights = np.asarray(line.get_ydata(), dtype=float)[:12]
                told.append(f"{name}: {', '.join(f'{height:.3g}' for height in heights)}")
    return "; ".join(part.strip() for part in told if part.strip()) or "a figure"


def style() -> None:
    """Have figures that a notebook draws with matplotlib look like the kit's, and carry words."""
    from IPython import get_ipython
    from matplotlib import rcParams
    from matplotlib.rcsetup import cycler

    from sft_helpers.display.widgets import bundle

    colours, markers, dashes = (list(part) for part in zip(*STYLES, strict=True))
    rcParams.update(_RC)
    rcParams["axes.prop_cycle"] = cycler(color=colours, marker=markers, linestyle=dashes)
    shell = get_ipython()
    if shell is not None:  # an image without words is read out as nothing
        printers = shell.display_formatter.mimebundle_formatter
        printers.for_type(Figure, lambda figure: bundle(figure=figure, alt=words(figure)))


@contextmanager
def drawing(width: float, height: float, **panels: Any) -> Iterator[tuple[Figure, Any]]:
    """Give a figure, in inches, and its axes; what the block drew is final when it ends.

    `panels` is what `Figure.subplots` takes; left out, there is one axis.
    """
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


class Scored(Protocol):
    """A value and the ends of its interval; `evaluation.Interval` has them."""

    @property
    def value(self) -> float: ...
    @property
    def low(self) -> float: ...
    @property
    def high(self) -> float: ...


def scores_with_intervals(
    scores: Mapping[str, Scored],
    *,
    title: str,
    xlabel: str = "exact match (share of answers)",
    limits: tuple[float, float] | None = (0.0, 1.0),
) -> Figure:
    """Return scores as points with their intervals, one line each, in the order given.

    Args:
        scores: label → value with the ends of its interval.
        title: a question that the figure answers, or its answer.
        xlabel: what is scored, with its unit.
        limits: ends of the axis; None lets the data decide.

    Raises:
        ValueError: if scores are missing or a value lies outside its interval.
    """
    if not scores:
        raise ValueError("there is no score to draw")
    for label, one in scores.items():
        if not one.low <= one.value <= one.high:
            raise ValueError(f"{label}: {one.value} is not between {one.low} and {one.high}")
    with drawing(9, 1.7 + 0.75 * len(scores)) as (figure, axis):
        for place, one in enumerate(scores.values()):
            colour, marker, _ = STYLES[place % len(STYLES)]
            axis.errorbar(
                one.value, place, xerr=[[one.value - one.low], [one.high - one.value]],
                color=colour, marker=marker, ms=11, lw=3, capsize=8, capthick=3,
            )  # fmt: skip
            side = "left" if one.value < 0.15 else "right" if one.value > 0.85 else "center"
            axis.annotate(
                f"{one.value:.2f}  [{one.low:.2f}, {one.high:.2f}]", (one.value, place),
                xytext=(0, 14), textcoords="offset points", ha=side, fontsize=13,
            )  # fmt: skip
        axis.set_yticks(range(len(scores)), [plain(label) for label in scores])
        axis.set_ylim(len(scores) - 0.4, -0.75)
        if limits is not None:
            pad = 0.03 * (limits[1] - limits[0])
            axis.set_xlim(limits[0] - pad, limits[1] + pad)
        axis.set_xlabel(plain(xlabel))
        axis.set_title(plain(title), loc="left")
        axis.grid(axis="x", alpha=0.3)
    return figure
