"""The scale explorer: rows per step, memory per device and traffic, by strategy."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import anywidget
import traitlets

from sft_helpers.display.html import Html, page, table
from sft_helpers.display.widgets import script, show, static_only
from sft_helpers.errors import DataError
from sft_helpers.scaling.arithmetic import (
    BATCHES,
    DEVICES,
    LENGTHS,
    METHODS,
    MODELS,
    STRATEGIES,
    Parts,
    find_parts,
    global_batch,
    memory_per_device,
    recorded_parts,
    steps_per_epoch,
    traffic_per_step,
)

HERE = Path(__file__).parent
ACCUMULATIONS = (1, 4, 16)
CARDS = (16, 24, 48, 80)
ROWS = (1_000, 50_000, 200_000)
COMPONENTS = ("weights", "gradients", "optimizer", "step", "copies")


class ScalingView(anywidget.AnyWidget):
    """The live explorer; every number comes along, so moving a control asks no kernel."""

    _esm = script("scaling.js")
    _css = HERE / "kit.css"
    data = traitlets.Dict().tag(sync=True)


def scaling_data() -> dict[str, Any]:
    """What the view needs: memory (GB) and traffic (GB) for each combination of the controls."""
    memory, traffic = {}, {}
    for one in recorded_parts():
        key = f"{one.model}/{one.method}/{one.length}/{one.batch}"
        for devices in DEVICES:
            held = memory_per_device(one, devices)
            memory[f"{key}/{devices}"] = [
                [round(held[name][part] / 1e9, 3) for part in COMPONENTS] for name in STRATEGIES
            ]
            for accumulation in ACCUMULATIONS:
                sent = traffic_per_step(one, devices, accumulation)
                traffic[f"{one.model}/{one.method}/{devices}/{accumulation}"] = [
                    round(sent[name] / 1e9, 2) for name in STRATEGIES
                ]
    return {
        "choices": [  # pairs: a stored notebook sorts the keys of an object
            ("Model", list(MODELS)),
            ("Method", list(METHODS)),
            ("Devices", list(DEVICES)),
            ("Rows per device", list(BATCHES)),
            ("Accumulation", list(ACCUMULATIONS)),
            ("Tokens per row", list(LENGTHS)),
            ("Rows of data", list(ROWS)),
            ("Memory of a device (GB)", list(CARDS)),
        ],
        "strategies": list(STRATEGIES.values()),
        "components": list(COMPONENTS),
        "memory": memory,
        "traffic": traffic,
    }


def scaling_html(
    parts: Parts, devices: int, accumulation: int = 1, rows: int = 50_000, card: int = 24
) -> Html:
    """Return the static view for one choice of the controls."""
    held = memory_per_device(parts, devices)
    sent = traffic_per_step(parts, devices, accumulation)
    batch = global_batch(parts.batch, devices, accumulation)
    steps = steps_per_epoch(rows, parts.batch, devices, accumulation)
    return page(
        table(
            [
                {
                    "rows per step": batch,
                    "tokens per step, at most": batch * parts.length,
                    f"steps per epoch of {rows:,} rows": steps,
                }
            ],
            caption=f"{parts.batch} a device, {devices} devices, accumulation {accumulation}",
        ),
        table(
            [
                {"strategy": title}
                | {f"{part} (GB)": held[name][part] / 1e9 for part in COMPONENTS}
                | {"sum (GB)": sum(held[name].values()) / 1e9}
                | {f"within {card} GB": sum(held[name].values()) <= 0.9 * card * 1e9}
                | {"sent per step (GB)": sent[name] / 1e9}
                for name, title in STRATEGIES.items()
            ],
            caption=f"Each device: {parts.model}, {parts.method}, {parts.length} tokens a row",
        ),
    )


def scaling_explorer(
    model: str = "Qwen2.5-7B",
    *,
    method: str = "full",
    devices: int = 8,
    batch: int = 1,
    accumulation: int = 1,
    length: int = 1024,
    rows: int = 50_000,
    card: int = 80,
) -> None:
    """Show what each strategy needs, with controls for everything that decides it.

    Args:
        model, method, devices, batch, accumulation, length, rows, card: where the controls start.

    Raises:
        DataError: a start that no control has.
    """
    data = scaling_data()
    start = [model, method, devices, batch, accumulation, length, rows, card]
    for value, (label, values) in zip(start, data["choices"], strict=True):
        if value not in values:
            raise DataError(f"{label}: {value} is no choice", hint=f"choose from {values}")
    parts = find_parts(model, method, length, batch)
    held = memory_per_device(parts, devices)
    told = "; ".join(
        f"{title} {sum(held[name].values()) / 1e9:.0f} GB" for name, title in STRATEGIES.items()
    )
    widget = None if static_only() else ScalingView(data={**data, "start": start})
    show(
        widget,
        html=scaling_html(parts, devices, accumulation, rows, card),
        alt=f"{model}, {method}, {devices} devices, memory of each: {told}",
    )
