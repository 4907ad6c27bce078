"""Where the memory of a training step goes: stacked bars, and controls that ask `predict` anew."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from sft_helpers.display.figures import GREY, drawing, plain
from sft_helpers.display.widgets import show, static_only
from sft_helpers.errors import SFTHelpersError
from sft_helpers.memory import Account, predict, shapes
from sft_helpers.memory.account import CARDS, COMPONENTS, METHODS, PRECISIONS
from sft_helpers.memory.plan import knobs

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# Okabe and Ito's colours; white ink on the first, black on the others.
INKS = dict(
    zip(
        COMPONENTS,
        ("#0072b2", "#56b4e9", "#009e73", "#d55e00", "#e69f00", "#f0e442", "#cc79a7", "#bbbbbb",
         "#ffffff"),
        strict=True,
    )
)  # fmt: skip
NAMES = {"full": "full fine-tuning", "lora": "LoRA", "qlora": "QLoRA"}
LENGTHS = (128, 256, 512, 1024, 2048, 4096, 8192)
BATCHES = (1, 2, 4, 8, 16, 32, 64)
_SHOWN = 4  # choices that stay in sight, to be compared


def memory_explorer(
    model: str = "Qwen2.5-7B",
    *,
    method: str = "qlora",
    length: int = 2048,
    batch: int = 2,
    checkpointing: bool = True,
    precision: str = "bf16",
) -> None:
    """Show where the memory of a training step goes: controls where they can live, and a picture.

    Every choice is predicted when it is made, which takes about a second, and is kept. The picture
    also has what each single change would make of the first choice.

    Args:
        model, method, length, batch, checkpointing, precision: where the controls start.

    Raises:
        SFTHelpersError: `predict` refuses it.
    """
    start = {
        "model": model,
        "method": method,
        "length": length,
        "batch": batch,
        "checkpointing": checkpointing,
        "precision": precision,
    }
    first = predict(**start)
    bars = {"as chosen": first.components}
    bars |= {knob.name: knob.account.components for knob in reversed(knobs(first))}
    widget = None if static_only() else _controls(start)
    show(widget, figure=memory_figure(bars, title=_title(first)), alt=in_words(first))


def _controls(start: Mapping[str, Any]) -> Any:
    """Controls above a picture of the last few choices."""
    import ipywidgets

    chosen: dict[str, Mapping[str, float]] = {}

    def draw(**choice: Any) -> None:
        try:
            account = predict(**choice)
        except SFTHelpersError as problem:  # such as more tokens than the model has positions
            print(problem)
            return
        name, rest = in_words(account).partition(":")[0].split(f", {account.settings.batch} ×")
        label = f"{name}\n{account.settings.batch} ×{rest}"
        chosen.pop(label, None)  # a choice made again comes first again
        chosen[label] = account.components
        last = dict(list(chosen.items())[: -_SHOWN - 1 : -1])
        show(figure=memory_figure(last, title=_title(account)), alt=in_words(account))

    options = {
        "model": list(dict.fromkeys([*shapes(), start["model"]])),
        "method": [(NAMES[method], method) for method in METHODS],
        "length": sorted({*LENGTHS, start["length"]}),
        "batch": sorted({*BATCHES, start["batch"]}),
        "checkpointing": [("on", True), ("off", False)],
        "precision": list(PRECISIONS),
    }
    controls = {
        name: ipywidgets.Dropdown(options=values, value=start[name], description=name)
        for name, values in options.items()
    }
    return ipywidgets.interactive(draw, **controls)


def in_words(account: Account) -> str:
    """An account as one sentence."""
    now = account.settings
    parts = ", ".join(f"{part} {size / 1e9:.2f}" for part, size in account.components.items())
    saving = "on" if now.checkpointing else "off"
    return (
        f"{account.model}, {NAMES[now.method]}, {now.batch} × {now.length:,} tokens,"
        f" checkpointing {saving}, {now.precision}: {account.peak_bytes / 1e9:.2f} GB,"
        f" reached in {account.moment}: {parts}"
    )


def _title(account: Account) -> str:
    size = account.peak_bytes / 1e9
    return f"{account.model}, {NAMES[account.settings.method]}: {size:.1f} GB"


def card_lines(highest: float) -> list[int]:
    """The cards worth drawing beside a bar of so many GB: all below, and the next above."""
    below = [card for card in CARDS if card <= highest]
    above = [card for card in CARDS if card > highest]
    return below + [card for card in above[:1] if card < 4 * highest]


def memory_figure(
    bars: Mapping[str, Mapping[str, float]], *, title: str = "Where does the memory go?"
) -> Figure:
    """Return one stacked bar for each account.

    Args:
        bars: label → component → bytes, as in `Account.components`.
        title: a question that the figure answers, or its answer.
    """
    used = [part for part in COMPONENTS if any(bar.get(part) for bar in bars.values())]
    highest = max(sum(bar.values()) for bar in bars.values()) / 1e9
    lines = card_lines(highest)
    end = 1.04 * max([highest, *lines])
    with drawing(9, 2.0 + 0.62 * len(bars)) as (figure, axis):
        for place, bar in enumerate(bars.values()):
            left = 0.0
            for part in used:
                width = bar.get(part, 0.0) / 1e9
                number = list(COMPONENTS).index(part) + 1
                label = f"{number} {part}" if place == 0 else None
                axis.barh(
                    place, width, left=left, color=INKS[part], edgecolor=GREY, height=0.62,
                    label=label,
                )  # fmt: skip
                if width > 0.03 * end:
                    ink = "white" if number == 1 else "black"
                    middle = left + width / 2
                    axis.text(middle, place, str(number), color=ink, ha="center", va="center")
                left += width
        for card in lines:
            axis.axvline(card, color=GREY, ls="--", lw=1.5)
            axis.text(card, -0.62, f"{card:g} GB", ha="right", va="bottom", fontsize=12)
        axis.set_yticks(range(len(bars)), list(bars))
        axis.set_ylim(len(bars) - 0.45, -1.1)
        axis.set_xlim(0, end)
        axis.set_xlabel("GB at the highest moment of a step")
        axis.set_title(plain(title), loc="left")
        figure.legend(loc="outside lower center", ncols=3, frameon=False)
    return figure
