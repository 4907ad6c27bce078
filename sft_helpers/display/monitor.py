"""A view of a training run while it runs: a picture in a notebook, lines elsewhere.

The view needs no live front end: it is one display that is replaced in place at most twice a
second, drawn by hand as a small SVG (a few milliseconds), and its last state stays in the output.
"""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, TextIO

from markupsafe import Markup

from sft_helpers.display.figures import History, loss_sentence
from sft_helpers.display.html import Html, page, visible, visible_text
from sft_helpers.training.signs import signs
from sft_helpers.training.watch import record

if TYPE_CHECKING:
    from transformers import PreTrainedModel
    from trl import SFTTrainer

    from sft_helpers.training.watch import History as RunHistory

_WIDTH, _HEIGHT, _LEFT, _RIGHT, _TOP, _BOTTOM = 640, 240, 52, 12, 12, 40
_MOST_POINTS = 300


def clock_time(seconds: float | None) -> str:
    """Write seconds as `m:ss` or `h:mm:ss`; None or nonsense as `–`."""
    if seconds is None or not math.isfinite(seconds) or seconds < 0:
        return "–"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def is_over(history: History) -> bool:
    """Say whether the run has ended: `history.finished` where it exists, else all steps done."""
    return bool(getattr(history, "finished", False)) or (0 < history.total_steps <= history.step)


def facts(history: History) -> dict[str, str]:
    """Return the run's present numbers as name → text with unit, only those that are known."""
    known: dict[str, str] = {}
    if history.loss:
        known["loss"] = f"{history.loss[-1]:.3f}"
    if history.eval_loss:
        known["held-out loss"] = f"{history.eval_loss[-1]:.3f}"
    if history.learning_rate:
        known["learning rate"] = f"{history.learning_rate[-1]:.1e}"
    norms = getattr(history, "grad_norm", [])
    if norms and math.isfinite(norms[-1]):
        known["gradient norm"] = f"{norms[-1]:.2g}"
    probes = getattr(history, "probes", [])
    answers: Any = probes[-1].found if probes else None
    if hasattr(answers, "exact_match"):  # a probe that asks questions
        known["panel right"] = f"{answers.exact_match.value:.0%}"
        known["panel stops"] = f"{answers.stopped:.0%}"
    if history.tokens_per_second is not None:
        known["speed"] = f"{history.tokens_per_second:,.0f} tokens/s"
    if is_over(history):
        known["run"] = "finished"
    elif history.seconds_left is not None:
        known["time left"] = clock_time(history.seconds_left)
    return known


def progress_line(history: History) -> str:
    """Return the state of the run as one line of plain text."""
    words = [f"step {history.step}/{history.total_steps}"]
    words += [f"{name} {value}" for name, value in facts(history).items()]
    return " · ".join(words)


def _thin(points: list[tuple[int, float]]) -> list[tuple[int, float]]:
    """Keep at most a few hundred points, the last one always."""
    stride = max(1, math.ceil(len(points) / _MOST_POINTS))
    return points[:-1][::stride] + points[-1:]


def _finite(steps: Sequence[int], values: Sequence[float]) -> list[tuple[int, float]]:
    return [(s, v) for s, v in zip(steps, values, strict=False) if math.isfinite(v)]


def _ticks(top: float, most: int = 5) -> list[float]:
    """Return round numbers from 0 to at least `top`, at most `most` steps apart."""
    if top <= 0:
        return [0.0, 1.0]
    rough = top / most
    unit = 10.0 ** math.floor(math.log10(rough))
    size = next(unit * m for m in (1, 2, 2.5, 5, 10) if unit * m >= rough * 0.999)
    return [size * n for n in range(math.ceil(top / size - 1e-9) + 1)]


def loss_svg(history: History) -> Markup:
    """Return the loss curves as inline SVG: training solid, held-out dashed with dots."""
    train = _thin(_finite(history.steps, history.loss))
    held = _finite(history.eval_steps, history.eval_loss)
    last = max([history.total_steps, 1, *(s for s, _ in train + held)])
    levels = _ticks(max([v for _, v in train + held], default=1.0))

    def x(step: float) -> str:
        return f"{_LEFT + (_WIDTH - _LEFT - _RIGHT) * step / last:.1f}"

    def y(value: float) -> str:
        return f"{_HEIGHT - _BOTTOM - (_HEIGHT - _TOP - _BOTTOM) * max(value, 0) / levels[-1]:.1f}"

    def path(points: list[tuple[int, float]]) -> str:
        return " ".join(f"{x(s)},{y(v)}" for s, v in points)

    parts: list[Markup] = []
    for level in levels:
        parts.append(
            Markup(
                "<line class='sft-grid' x1='{}' x2='{}' y1='{y}' y2='{y}'/>"
                "<text x='{}' y='{y}' dy='4' text-anchor='end'>{}</text>"
            ).format(_LEFT, _WIDTH - _RIGHT, _LEFT - 8, f"{level:g}", y=y(level))
        )
    foot = _HEIGHT - _BOTTOM
    parts.append(
        Markup(
            "<line class='sft-axis' x1='{0}' x2='{1}' y1='{2}' y2='{2}'/>"
            "<text x='{0}' y='{3}'>0</text><text x='{1}' y='{3}' text-anchor='end'>{4}</text>"
            "<text x='{5}' y='{6}' text-anchor='middle'>optimizer step</text>"
            "<text transform='translate(14 {7}) rotate(-90)' text-anchor='middle'>"
            "loss, nats per token</text>"
        ).format(
            _LEFT, _WIDTH - _RIGHT, foot, foot + 16, last, _WIDTH // 2, foot + 34, foot // 2 + 6
        )
    )
    parts.append(Markup("<polyline class='sft-train' points='{}'/>").format(path(train)))
    parts.append(Markup("<polyline class='sft-held' points='{}'/>").format(path(held)))
    for step, value in held[-60:]:
        parts.append(
            Markup("<circle class='sft-dot' cx='{}' cy='{}' r='4'/>").format(x(step), y(value))
        )
    key = [("sft-train", "training loss"), ("sft-held", "held-out loss")][: 2 if held else 1]
    for place, (kind, name) in enumerate(key):
        across = _WIDTH - _RIGHT - 150
        parts.append(
            Markup(
                "<line class='{}' x1='{}' x2='{}' y1='{y}' y2='{y}'/>"
                "<text x='{}' y='{y}' dy='4'>{}</text>"
            ).format(kind, across, across + 40, across + 48, name, y=_TOP + 12 + 20 * place)
        )
    return Markup(
        "<svg viewBox='0 0 {w} {h}' width='{w}' height='{h}' role='img' aria-label='{}'>{}</svg>"
    ).format(loss_sentence(history), Markup("").join(parts), w=_WIDTH, h=_HEIGHT)


def monitor_html(history: History, title: str = "Training") -> Html:
    """Return the whole view of a run: progress bar, numbers, loss curve."""
    share = min(1.0, history.step / history.total_steps) if history.total_steps else 0.0
    numbers = Markup("").join(
        Markup("<span>{} <b>{}</b></span>").format(name, value)
        for name, value in facts(history).items()
    )
    return page(
        Markup("<div class='sft-title'>{}: step {:,} of {:,} ({:.0%})</div>").format(
            visible(title), history.step, history.total_steps, share
        ),
        Markup(
            "<div class='sft-bar' role='progressbar' aria-label='{}' aria-valuemin='0' "
            "aria-valuemax='{}' aria-valuenow='{}'><span style='width:{}%'></span></div>"
        ).format(visible_text(title), history.total_steps, history.step, f"{100 * share:.1f}"),
        Markup("<div class='sft-facts'>{}</div>").format(numbers),
        loss_svg(history),
        Markup("<p class='sft-note'>{}.</p>").format(loss_sentence(history)),
        _signs(history),
    )


_MARKS = {"stop": "✗ stop:", "watch": "! look:"}


def _signs(history: History) -> Markup:
    """What the record shows, in words; what is as it should be needs none."""
    lines = [
        Markup("<li><b>{}</b> {}</li>").format(_MARKS[sign.level], visible(sign.text))
        for sign in signs(history)
        if sign.level in _MARKS
    ]
    if not lines:
        return Markup("")
    return Markup("<ul class='sft-note' aria-label='signs of trouble'>{}</ul>").format(
        Markup("").join(lines)
    )


def in_notebook() -> bool:
    """Say whether this Python is a notebook kernel."""
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython is not None else None
    return shell is not None and hasattr(shell, "kernel")


class LiveMonitor:
    """A listener of a training history that draws it; `sft_helpers.watch` adds one.

    Args:
        title: what is being trained.
        notebook: whether to draw HTML; left out, found out.
        every: seconds between two drawings; the first and the last are always drawn.
        stream: where lines go outside a notebook (standard error if left out).
        clock: a monotonic clock in seconds.
    """

    def __init__(
        self,
        title: str = "Training",
        *,
        notebook: bool | None = None,
        every: float | None = None,
        stream: TextIO | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.title = visible_text(title)
        self.notebook = in_notebook() if notebook is None else notebook
        self.stream = stream or sys.stderr
        self.every = every if every is not None else (0.5 if self.notebook else 5.0)
        self.drawn = 0
        self._clock = clock
        self._last = -math.inf
        self._shown_state: tuple[int, ...] | None = None
        self._ended = False
        self._handle: Any = None
        self._bar: Any = None

    def __call__(self, history: History) -> None:
        """Draw if it is time to, or if the run is over and its end is not yet shown."""
        state = (history.step, len(history.loss), len(history.eval_loss), int(is_over(history)))
        due = self._clock() - self._last >= self.every
        if state != self._shown_state and (due or is_over(history)):
            self._shown_state = state
            self._last = self._clock()
            self.draw(history)

    def draw(self, history: History) -> None:
        """Draw now."""
        self.drawn += 1
        if self._ended and not is_over(history):
            self._handle = None  # a new run: its own output, below the cell that started it
        self._ended = is_over(history)
        if self.notebook:
            self._draw_html(history)
        elif self.stream.isatty():
            self._draw_bar(history)
        else:
            print(f"{self.title}: {progress_line(history)}", file=self.stream, flush=True)

    def _draw_html(self, history: History) -> None:
        from IPython.display import display

        bundle = {
            "text/html": str(monitor_html(history, self.title)),
            "text/plain": f"{self.title}: {progress_line(history)}",
        }
        if self._handle is None:
            self._handle = display(bundle, raw=True, display_id=True)
        else:
            self._handle.update(bundle, raw=True)

    def _draw_bar(self, history: History) -> None:
        from tqdm import tqdm

        if self._bar is None:
            self._bar = tqdm(total=history.total_steps, desc=self.title, file=self.stream)
        self._bar.set_postfix_str(
            ", ".join(f"{k} {v}" for k, v in facts(history).items() if k != "time left"),
            refresh=False,
        )
        self._bar.n = history.step
        self._bar.refresh()
        if is_over(history):
            self._bar.close()
            self._bar = None


def watch(
    trainer: SFTTrainer,
    probe: Callable[[PreTrainedModel], Any] | None = None,
    *,
    every: int = 10,
    title: str = "Training",
    show: bool = True,
) -> RunHistory:
    """Follow a trainer and draw the run while it trains; call it before `trainer.train()`.

    In a notebook a picture of the run is kept up to date, in a terminal a bar; elsewhere a line is
    printed every five seconds.

    Args:
        trainer, probe, every: as for `sft_helpers.training.watch.record`.
        title: what is being trained.
        show: False keeps the record and draws nothing.

    Returns:
        The record, which fills while the trainer trains: `loss`, `eval_loss`, `probes`, ...
    """
    history = record(trainer, probe, every=every)
    if show:
        history.listeners.append(LiveMonitor(title))
    return history
