"""Parity at a glance: each server's prompts, and the first token that differs at one of them."""

from __future__ import annotations

from sft_helpers.display.html import Html, page, table
from sft_helpers.display.playground import parity_html
from sft_helpers.display.widgets import show
from sft_helpers.serving_parity import ServingReport


def serving_html(report: ServingReport) -> Html:
    """Return a table of the servers and, below it, the tokens near the first difference."""
    rows = []
    for name, found in report.by_server().items():
        wrong = next((each for each in found if not each.holds), None)
        rows.append(
            {
                "server": name,
                "prompts": len(found),
                "equal": sum(each.holds for each in found),
                "all equal": wrong is None,
                "first difference": "none" if wrong is None else str(wrong),
            }
        )
    parts: list[Html] = [table(rows, caption="Prompts that servers build, against training rows")]
    first = report.first_difference
    if first is not None and first.parity is not None:
        parts.append(parity_html(first.parity))
    return page(*parts)


def show_serving(report: ServingReport) -> None:
    """Show which servers build the token ids of training, and the first difference."""
    show(html=serving_html(report), alt=str(report))
