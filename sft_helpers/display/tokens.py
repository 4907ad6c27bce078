"""The token viewer: which tokens of a row train under each loss setting, and what each predicts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anywidget
import traitlets
from markupsafe import Markup

from sft_helpers.display.figures import BLUE, GREY, VERMILLION, drawing
from sft_helpers.display.html import (
    Html,
    page,
    table,
    text_block,
    token_strip,
    visible,
    visible_text,
    visible_token,
)
from sft_helpers.display.widgets import script, show, static_only
from sft_helpers.errors import DataError
from sft_helpers.masking import MaskReport, SupervisedView, TokenRow

if TYPE_CHECKING:
    from matplotlib.figure import Figure

HERE = Path(__file__).parent
MOST_TOKENS = 1500  # of one row in the viewer; a longer row says how many were left out

Views = SupervisedView | Mapping[str, SupervisedView]


class TokensView(anywidget.AnyWidget):
    """The live viewer: rows × loss settings, all computed beforehand, so no kernel is needed."""

    _esm = script("tokens.js")
    _css = HERE / "kit.css"
    rows = traitlets.List(traitlets.Dict()).tag(sync=True)


def token_rows(
    views: Views, names: Sequence[str] | None = None, limit: int = 20
) -> list[dict[str, Any]]:
    """Return what the viewer shows: for each row its name and, for each setting, its tokens.

    Raises:
        DataError: there is no view, or more names than rows.
    """
    modes = {"as configured": views} if isinstance(views, SupervisedView) else dict(views)
    if not modes:
        raise DataError("there is nothing to show", hint="pass a view, or name → view")
    count = max((len(view) for view in modes.values()), default=0)
    if names is not None and len(names) > max(count, 1):
        raise DataError(f"{len(names)} names for {count} rows", hint="give one name per row")
    shown = min(count, limit, len(names) if names is not None else count) or 1
    return [
        {
            "name": visible_text(names[number] if names else f"row {number}"),
            "modes": {name: _mode(view, number) for name, view in modes.items()},
        }
        for number in range(shown)
    ]


def _mode(view: SupervisedView, number: int) -> dict[str, Any]:
    if view.problem is not None:
        return {"problem": visible_text(view.problem)}
    if number >= len(view):
        return {"problem": "The trainer dropped this row: truncation left nothing to train."}
    row = view[number]
    if not row.ids:
        return {"problem": "This row is empty: it has no tokens."}
    return {
        "tokens": [visible_token(token) for token in row.tokens[:MOST_TOKENS]],
        "ids": row.ids[:MOST_TOKENS],
        "labels": row.labels[:MOST_TOKENS],
        "positions": row.positions[:MOST_TOKENS],
        "roles": [role or "" for role in row.roles[:MOST_TOKENS]],
        "trained": sum(row.trained),
        "total": len(row.ids),
    }


def report_rows(report: MaskReport) -> list[dict[str, Any]]:
    """Return a report as rows of a table: what, how many, first row numbers."""

    def line(what: str, rows: Sequence[int]) -> dict[str, Any]:
        first = ", ".join(map(str, rows[:5])) + (", …" if len(rows) > 5 else "")
        share = f"{len(rows) / report.rows:.1%}" if report.rows else None
        return number(what, len(rows), share) | {"rows": first or None}

    def number(what: str, count: int, share: str | None = None) -> dict[str, Any]:
        return {"what": what, "count": count, "share": share, "rows": None}

    counted = f"{report.supervised_fraction:.1%}"
    return [
        number("rows given", report.rows),
        number("rows that the trainer holds", report.prepared),
        number("tokens", report.tokens),
        number("tokens that count in the loss", report.supervised, counted),
        line("rows in which no token counts", report.without_loss),
        line("rows whose end token does not count", report.end_unsupervised),
        line("rows that are truncated", report.truncated),
        line("of these, trained part lost", report.completions_lost),
        number("tokens cut off", report.truncated_tokens),
    ]


def report_html(view: SupervisedView) -> Html:
    """Return the masks of the whole data set as a table; a refused data set says why."""
    if view.problem is not None:
        return _problem(view.problem)
    columns = ["what", "count", "share", "rows"]
    return table(report_rows(view.report), columns, caption="What the trainer will see")


def _problem(problem: str) -> Html:
    return page(
        Markup(
            "<div class='sft-card'><div class='sft-title'>Cannot be trained</div>{}</div>"
        ).format(text_block(problem, "none"))
    )


def tokens_html(views: Views, names: Sequence[str] | None = None, limit: int = 3) -> Html:
    """Return the static view: a strip for each row and loss setting."""
    modes = {"as configured": views} if isinstance(views, SupervisedView) else dict(views)
    parts: list[Html] = []
    for number, row in enumerate(token_rows(views, names, limit)):
        for mode, data in row["modes"].items():
            title = f"{row['name']}, {mode}"
            if "problem" in data:
                parts += [page(Markup("<div class='sft-title'>{}</div>").format(visible(title))),
                          _problem(data["problem"])]  # fmt: skip
                continue
            full: TokenRow = modes[mode][number]
            strip = token_strip(full.tokens[:MOST_TOKENS], full.trained[:MOST_TOKENS], title=title)
            parts.append(strip)
    return page(*parts)


def show_tokens(views: Views, names: Sequence[str] | None = None, *, limit: int = 20) -> None:
    """Show tokens with their masks; hover or focus a token for id, label and what it predicts.

    Args:
        views: a `SupervisedView`, or name → view to switch between (see `compare_masks`).
        names: one name per row to show, such as "single turn"; else "row 0", "row 1", ...
        limit: rows to choose from at most.

    A data set that TRL refuses is shown as the reason why.
    """
    rows = token_rows(views, names, limit)
    first = next(iter(rows[0]["modes"].values()))
    words = first.get("problem") or f"{first['trained']} of {first['total']} tokens count"
    widget = None if static_only() else TokensView(rows=rows)
    show(widget, html=tokens_html(views, names), alt=f"{rows[0]['name']}: {words}")


def length_histogram(view: SupervisedView) -> Figure:
    """Return the lengths of all rows in tokens, with the line where `max_length` cuts."""
    lengths = view.lengths
    if not len(lengths):
        raise DataError(view.problem or "there are no rows", hint="give a data set that prepares")
    cut = view.max_length
    over = sum(int(length) > cut for length in lengths) if cut else 0
    with drawing(9, 4) as (figure, axis):
        axis.hist(lengths, bins=min(40, max(5, len(set(lengths.tolist())))), color=BLUE,
                  edgecolor="white")  # fmt: skip
        if cut and cut <= 1.5 * lengths.max():
            axis.axvline(cut, color=VERMILLION, lw=3, ls="--")
            side = "right" if cut > lengths.max() / 2 else "left"
            axis.annotate(f" max_length = {cut} ", (cut, 0.92), ha=side, color=GREY,
                          xycoords=("data", "axes fraction"))  # fmt: skip
        axis.set_xlabel("tokens in a row")
        axis.set_ylabel("rows")
        axis.set_title(f"{over:,} of {len(lengths):,} rows are longer than max_length", loc="left")
        axis.grid(axis="y", alpha=0.3)
    return figure
