"""Live views with a static twin: what a learner operates, and what stays where nothing runs."""

from __future__ import annotations

import base64
import os
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anywidget
import traitlets
from markupsafe import Markup

from sft_helpers.display.figures import png
from sft_helpers.display.html import Html, badge, page, table, text_block, visible_text
from sft_helpers.errors import DataError

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["GROUPS", "AnswersView", "answers_view", "show"]

HERE = Path(__file__).parent
VIEW = "application/vnd.jupyter.widget-view+json"

# (right before, right after) → name of the group
GROUPS = {
    (False, True): "fixed",
    (False, False): "still wrong",
    (True, False): "broke",
    (True, True): "still right",
}


def script(name: str) -> str:
    """Return the ES module of a view: what all views share, then the view's own file."""
    return "".join((HERE / file).read_text("utf-8") for file in ("shared.js", name))


def static_only() -> bool:
    """Say whether `SFT_STATIC` asks for views without live widgets."""
    return os.environ.get("SFT_STATIC", "") not in ("", "0")


def _enable_in_colab() -> None:
    """Ask Colab once to load third-party widgets; elsewhere do nothing."""
    if "google.colab" in sys.modules:
        from google.colab import output  # type: ignore[import-not-found, unused-ignore]

        output.enable_custom_widget_manager()


def _widget_parts(widget: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return (data, metadata) of a widget's view, under ipywidgets 7 (no bundle method) and 8."""
    bundle = getattr(widget, "_repr_mimebundle_", None)
    parts = bundle(include=None, exclude=None) if bundle is not None else None
    data, metadata = parts if isinstance(parts, tuple) else (parts or {}, {})
    if VIEW not in data:
        data = {VIEW: {"version_major": 2, "version_minor": 0, "model_id": widget.model_id}}
    return {VIEW: data[VIEW]}, dict(metadata)


def bundle(
    widget: Any = None, *, figure: Figure | None = None, html: str | None = None, alt: str
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the (data, metadata) that `show` publishes."""
    if not alt.strip():
        raise ValueError("say in words what is shown: alt=")
    if (figure is None) == (html is None):
        raise ValueError("give exactly one static view: figure= or html=")
    if html is not None and not isinstance(html, Markup):
        raise ValueError("html= must come from sft_helpers.display.html, which escapes it")
    data: dict[str, Any] = {"text/plain": alt}
    metadata: dict[str, Any] = {}
    if figure is not None:
        image = base64.b64encode(png(figure)).decode("ascii")
        data["image/png"], metadata["image/png"] = image, {"alt": alt}
        # JupyterLab shows a PNG without its words, and prefers markup, which has them
        img = Markup("<img alt='{}' src='data:image/png;base64,{}'>")
        data["text/html"] = str(img.format(alt, image))
    else:
        data["text/html"] = str(html)
    if widget is not None and not static_only():
        view, extra = _widget_parts(widget)
        data.update(view)
        metadata.update(extra)
    return data, metadata


def show(
    widget: Any = None, *, figure: Figure | None = None, html: str | None = None, alt: str
) -> None:
    """Show one output: the live widget where that works, a picture or a table everywhere else.

    Args:
        widget: an ipywidget or anywidget; left out, the output is static. `SFT_STATIC=1` drops it.
        figure: the static view as a matplotlib figure (published as PNG) ...
        html: ... or as markup from `sft_helpers.display.html`; exactly one of the two.
        alt: the view in words, for screen readers and plain text.

    Raises:
        ValueError: without `alt`, with none or both static views, or with unescaped html.
    """
    from IPython.display import publish_display_data

    if widget is not None and not static_only():
        _enable_in_colab()
    data, metadata = bundle(widget, figure=figure, html=html, alt=alt)
    publish_display_data(data, metadata=metadata)


class AnswersView(anywidget.AnyWidget):
    """Answers before and after training, one at a time; filters and pages without a kernel."""

    _esm = script("answers.js")
    _css = HERE / "kit.css"
    rows = traitlets.List(traitlets.Dict()).tag(sync=True)


def _answer_rows(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, str]]:
    """Check the rows and make their texts safe to look at."""
    shown = []
    for number, row in enumerate(rows):
        missing = {"question", "expected", "before", "after", "before_ok", "after_ok"} - set(row)
        if missing:
            raise DataError(
                f"the row lacks {', '.join(sorted(missing))}",
                where=f"row {number}",
                hint="give question, expected, before, after, before_ok and after_ok",
            )
        texts = ("question", "expected", "before", "after")
        shown.append(
            {name: visible_text(str(row[name])) for name in texts}
            | {"group": GROUPS[bool(row["before_ok"]), bool(row["after_ok"])]}
        )
    return shown


def answers_html(rows: Sequence[Mapping[str, Any]], first: int = 10) -> Html:
    """Return the static view: how many answers changed, and the first rows as a table."""
    shown = _answer_rows(rows)
    count = Counter(row["group"] for row in shown)
    numbers = [*(count[name] for name in GROUPS.values()), len(shown)]
    caption = "Questions by what training did to the answer"
    counts = table([numbers], [*GROUPS.values(), "all"], caption=caption)
    listing = [
        {name: row[name] for name in ("question", "expected")}
        | {name: _judged(row[name], bool(row[f"{name}_ok"])) for name in ("before", "after")}
        for row in rows[:first]
    ]
    caption = f"The first {len(listing)} of {len(rows)} questions"
    return page(counts, table(listing, caption=caption))


def _judged(text: Any, good: bool) -> Markup:
    return Markup("{} {}").format(badge(good), text_block(str(text)))


def answers_view(rows: Sequence[Mapping[str, Any]], *, first: int = 10) -> None:
    """Show answers before and after training, to page through and filter.

    Args:
        rows: each with `question`, `expected`, `before`, `after` (texts), `before_ok` and
            `after_ok` (whether the answer is right).
        first: rows in the static table that stands in where widgets cannot live.

    Raises:
        DataError: if there are no rows or a row lacks a field.
    """
    if not rows:
        raise DataError("there are no answers to show", hint="pass at least one row")
    shown = _answer_rows(rows)
    count = Counter(row["group"] for row in shown)
    words = ", ".join(f"{count[name]} {name}" for name in GROUPS.values())
    widget = None if static_only() else AnswersView(rows=shown)
    show(widget, html=answers_html(rows, first), alt=f"{len(shown)} questions: {words}")
