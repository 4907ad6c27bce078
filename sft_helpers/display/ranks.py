"""The rank view: what an adapter of a given rank adds to a model, drawn to scale and counted."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import anywidget
import traitlets

from sft_helpers.display.html import Html, page, table
from sft_helpers.display.widgets import script, show, static_only
from sft_helpers.errors import DataError
from sft_helpers.training.adapters import Adapter

HERE = Path(__file__).parent
# fp32 gradient and two AdamW moments for each parameter that trains.
TRAINING_BYTES = 4 + 8


class RanksView(anywidget.AnyWidget):
    """The live view; PEFT's counts come along, so moving a control asks no kernel."""

    _esm = script("ranks.js")
    _css = HERE / "kit.css"
    data = traitlets.Dict().tag(sync=True)


def in_units(size: float) -> str:
    """A number of bytes in words: 1 MB is a million bytes."""
    for unit, factor in (("GB", 1e9), ("MB", 1e6), ("KB", 1e3)):
        if size >= factor:
            return f"{size / factor:.3g} {unit}"
    return f"{size:.0f} bytes"


def facts(adapter: Adapter) -> dict[str, str]:
    """What the view tells about an adapter, as heading → text."""
    full = adapter.total - adapter.trainable
    return {
        "weights that train": f"{adapter.trainable:,}",
        "share of all weights": f"{adapter.share:.2%}",
        "adapter file (fp32)": in_units(adapter.bytes_on_disk),
        "gradients and AdamW": in_units(TRAINING_BYTES * adapter.trainable),
        "the same for full fine-tuning": in_units(TRAINING_BYTES * full),
        "linear layers without adapter": ", ".join(adapter.missed) or "none",
    }


def ranks_data(grid: Sequence[Adapter]) -> dict[str, Any]:
    """What the view needs: modules by model, and counts and facts for each combination."""
    models = list(dict.fromkeys(one.model for one in grid))
    first = {one.model: one for one in reversed(grid)}
    return {
        "models": models,
        "targets": list(dict.fromkeys(one.targets for one in grid)),
        "ranks": sorted({one.rank for one in grid}),
        "modules": {
            name: [[m.name, m.outputs, m.inputs, m.layers] for m in first[name].modules]
            for name in models
        },
        "headings": list(facts(grid[0])),
        "facts": {_key(one): list(facts(one).values()) for one in grid},
        "adapters": {_key(one): [m.adapter for m in one.modules] for one in grid},
    }


def _key(one: Adapter) -> str:
    return f"{one.model}/{one.targets}/{one.rank}"


def ranks_html(grid: Sequence[Adapter], model: str, rank: int) -> Html:
    """Return the static view: all targets for one model and rank, and all ranks for its last."""
    chosen = [one for one in grid if one.model == model and one.rank == rank]
    along = [one for one in grid if one.model == model and one.targets == chosen[-1].targets]
    rows = [
        {"": heading} | {one.targets: facts(one)[heading] for one in chosen}
        for heading in facts(chosen[0])
    ]
    return page(
        table(rows, caption=f"{model}, rank {rank}"),
        table(
            [
                {
                    "rank": one.rank,
                    "weights that train": one.trainable,
                    "share": f"{one.share:.2%}",
                    "file": in_units(one.bytes_on_disk),
                }
                for one in along
            ],
            caption=f"{model}, {chosen[-1].targets}",
        ),
    )


def show_ranks(
    grid: Sequence[Adapter], *, model: str = "tiny", targets: str = "all-linear", rank: int = 16
) -> None:
    """Show adapters with controls for model, targets and rank.

    Args:
        grid: from `adapters.rank_grid`.
        model, targets, rank: where the controls start.

    Raises:
        DataError: the start is not in the grid.
    """
    found = {_key(one): one for one in grid}
    start = f"{model}/{targets}/{rank}"
    if start not in found:
        raise DataError(f"{start} is not in the grid", hint=f"it has {', '.join(found)[:200]}")
    widget = None
    if not static_only():
        widget = RanksView(data={**ranks_data(grid), "start": [model, targets, rank]})
    told = "; ".join(f"{heading}: {text}" for heading, text in facts(found[start]).items())
    show(widget, html=ranks_html(grid, model, rank), alt=f"{model}, rank {rank}, {targets}: {told}")
