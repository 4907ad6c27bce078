"""Views as HTML: pure functions from plain data to escaped markup that fits light and dark themes.

Every text that comes from data is escaped, shown in its own writing direction, and stripped of its
power to hide: control, zero-width and direction characters appear by name, e.g. ⟨U+200B⟩.
Nothing is told by colour alone.
"""

from __future__ import annotations

import json
import math
import re
import unicodedata
from collections.abc import Collection, Iterable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any, Literal

from markupsafe import Markup

Spaces = Literal["none", "edges", "all"]

_MARKS = {" ": "·", "\t": "⇥", "\n": "⏎"}
_HIDDEN = {"Cc", "Cf", "Co", "Cs", "Zl", "Zp", "Zs"}


class Html(Markup):
    """Escaped HTML that a notebook shows when it is the last value of a cell."""

    __slots__ = ()

    def _repr_html_(self) -> str:
        return str(self)

    def _repr_mimebundle_(self, **_: Any) -> dict[str, str]:
        words = Markup(re.sub(r"<style>.*?</style>", "", str(self), flags=re.S)).striptags()
        return {"text/html": str(self), "text/plain": words}


@cache
def style(name: str = "kit.css") -> Markup:
    """Return one of the kit's style sheets as a `<style>` element, comments and blanks removed."""
    css = (Path(__file__).parent / name).read_text(encoding="utf-8")
    css = re.sub(r"/\*.*?\*/", "", css, flags=re.S)
    return Markup("<style>{}</style>").format(Markup(re.sub(r"\s+", " ", css).strip()))


def page(*parts: str) -> Html:
    """Join parts into one self-contained view.

    A part that is not markup is escaped; a part that is itself a page loses its own style sheet.
    """
    css = style()
    inner = [p.removeprefix(css) if isinstance(p, Markup) else visible(p) for p in parts]
    return Html("{}<div class='sft-kit'>{}</div>").format(css, Markup("").join(inner))


def _is_hidden(char: str) -> bool:
    return char not in _MARKS and unicodedata.category(char) in _HIDDEN


def visible_text(text: str) -> str:
    """Return plain text with each hidden character written as ⟨U+XXXX⟩; spaces stay as they are."""
    return "".join(f"⟨U+{ord(c):04X}⟩" if _is_hidden(c) else c for c in text)


def visible_token(token: str) -> str:
    """Return a token with every space and line end marked (· ⇥ ⏎) and hidden characters named."""
    return visible_text("".join(_MARKS.get(char, char) for char in token)) or "(empty)"


def visible(text: str, spaces: Spaces = "edges") -> Markup:
    """Return escaped text in which hidden characters can be seen.

    Args:
        text: any text, lone surrogates included.
        spaces: which spaces, tabs and line ends are marked (· ⇥ ⏎): `none`, those at the `edges`,
            where they are easily missed, or `all`. A marked line end still breaks the line.
    """
    first, last = 0, len(text)
    if spaces == "edges":
        first = len(text) - len(text.lstrip(" \t\n"))
        last = len(text.rstrip(" \t\n"))
    names = {" ": "space", "\t": "tab", "\n": "line end"}
    space = Markup("<span class='sft-space' title='{}'>{}</span>{}")
    hidden = Markup("<span class='sft-invisible' title='{}'>{}</span>")

    def shown(place: int, char: str) -> str:
        marked = spaces == "all" or (spaces == "edges" and not first <= place < last)
        if char in _MARKS and marked:
            return space.format(names[char], _MARKS[char], "\n" if char == "\n" else "")
        if _is_hidden(char):
            name = unicodedata.name(char, "control character")
            return hidden.format(name, visible_text(char))
        return char

    # what is no markup yet is escaped here
    return Markup("").join(shown(place, char) for place, char in enumerate(text))


def text_block(text: str, spaces: Spaces = "edges") -> Markup:
    """Return data text as one block, isolated in its own direction; empty text says so."""
    if not text:
        return Markup("<span class='sft-empty'>(empty)</span>")
    return Markup("<bdi class='sft-text'>{}</bdi>").format(visible(text, spaces))


def prose(text: str) -> Markup:
    """Return a sentence of the kit's own (a hint, a reason), escaped; `code` is set as code.

    A backtick without its partner stays a backtick.
    """
    parts = re.split(r"`([^`\n]+)`", text)
    code = Markup("<code>{}</code>")
    return Markup("").join(
        code.format(visible(part, "none")) if number % 2 else visible(part, "none")
        for number, part in enumerate(parts)
    )


def badge(good: bool, right: str = "right", wrong: str = "wrong") -> Markup:
    """Return `✓ right` or `✗ wrong` as a small badge: a mark, a word and a colour."""
    kind, word = ("sft-good", f"✓ {right}") if good else ("sft-bad", f"✗ {wrong}")
    return Markup("<span class='sft-badge {}'>{}</span>").format(kind, visible(word))


def format_number(value: float) -> str:
    """Write a number for a table: thousands with commas, otherwise three significant digits."""
    if isinstance(value, int):
        return f"{value:,}"
    if not math.isfinite(value):
        return str(value)
    if value == 0 or 0.001 <= abs(value) < 1000:
        return f"{value:.3g}" if abs(value) < 100 else f"{value:.1f}"
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.2e}"


def _cell(value: Any, before: str = "") -> Markup:
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if value is None:
        shown = Markup("–")
    elif isinstance(value, bool):
        shown = badge(value, "yes", "no")
    elif isinstance(value, (int, float)):
        shown = Markup(format_number(value))
    elif isinstance(value, Markup):
        shown = value
    else:
        shown = text_block(_as_text(value))
    kind = Markup(" class='sft-number'") if number else Markup("")
    return Markup("<td{}>{}{}</td>").format(kind, before, shown)


def _as_text(value: Any) -> str:
    if isinstance(value, str):
        return value
    try:
        return json.dumps(value, ensure_ascii=False)
    except (TypeError, ValueError):
        return str(value)


def table(
    rows: Iterable[Mapping[str, Any] | Sequence[Any]],
    columns: Sequence[str] | None = None,
    *,
    caption: str,
    highlight: Collection[int] = (),
    limit: int = 50,
) -> Html:
    """Return rows as an HTML table.

    Args:
        rows: mappings (column → value) or sequences in the order of `columns`. A bool becomes
            ✓ yes or ✗ no, None becomes –, a number is set right, markup from this module is kept.
        columns: names and order; left out, the keys of the mappings in order of first sight.
        caption: one line above the table; also its accessible name.
        highlight: numbers of the rows to set off (with ▶, bold and a thick line).
        limit: rows shown at most; a last line says how many were left out.

    Raises:
        ValueError: if rows are sequences and `columns` is missing or of another length.
    """
    every = list(rows)
    if columns is None:
        if any(not isinstance(row, Mapping) for row in every):
            raise ValueError("rows that are sequences need columns=")
        columns = list(dict.fromkeys(key for row in every for key in row))
    body: list[Markup] = []
    for number, row in enumerate(every[:limit]):
        if isinstance(row, Mapping):
            values = [row.get(column) for column in columns]
        elif len(row) == len(columns):
            values = list(row)
        else:
            raise ValueError(f"row {number} has {len(row)} values for {len(columns)} columns")
        marked = number in highlight
        cells = [_cell(value, "▶ " if marked and not n else "") for n, value in enumerate(values)]
        kind = Markup(" class='sft-marked'") if marked else Markup("")
        body.append(Markup("<tr{}>{}</tr>").format(kind, Markup("").join(cells)))
    head = Markup("").join(
        Markup("<th scope='col'>{}</th>").format(text_block(column)) for column in columns
    )
    left_out = len(every) - limit
    more = Markup("<p class='sft-note'>… and {} more rows.</p>").format(f"{left_out:,}")
    return page(
        Markup(
            "<div class='sft-scroll' tabindex='0' role='region' aria-label='{}'>"
            "<table class='sft-table'><caption>{}</caption>"
            "<thead><tr>{}</tr></thead><tbody>{}</tbody></table></div>"
        ).format(visible_text(caption), visible(caption), head, Markup("").join(body)),
        more if left_out > 0 else "",
    )


def chat(messages: Iterable[Mapping[str, Any]], title: str | None = None) -> Html:
    """Return a conversation as bubbles, each with its role; unsound messages are shown as such.

    Args:
        messages: rows with `role`, `content`, and perhaps `tool_calls`, as in TRL's `messages`.
        title: a line above the conversation.
    """
    turns: list[Markup] = []
    for message in messages:
        role = message.get("role")
        kind = f" sft-{role}" if role in ("system", "user", "assistant") else ""
        name = visible(str(role)) if role else Markup("<span class='sft-empty'>no role</span>")
        content = message.get("content")
        calls = message.get("tool_calls")
        if content is None:
            text = Markup("") if calls else Markup("<span class='sft-empty'>(no content)</span>")
        else:
            text = text_block(_as_text(content))
        if calls:
            label = Markup("<div class='sft-label'>calls a tool</div>{}")
            text += label.format(text_block(_as_text(calls)))
        turn = Markup("<div class='sft-turn{}'><div class='sft-label'>{}</div>{}</div>")
        turns.append(turn.format(kind, name, text))
    if not turns:
        turns.append(Markup("<div class='sft-empty'>(no messages)</div>"))
    return page(
        _title(title), Markup("<div class='sft-chat'>{}</div>").format(Markup("").join(turns))
    )


def _title(title: str | None) -> Markup:
    return Markup("<div class='sft-title'>{}</div>").format(visible(title)) if title else Markup("")


def token_strip(
    tokens: Sequence[str],
    trained: Sequence[bool],
    *,
    ids: Sequence[int] | None = None,
    title: str | None = None,
) -> Html:
    """Return tokens as chips: trained ones bold, framed and underlined, masked ones hatched.

    Args:
        tokens: the text of each token, in order; spaces and line ends are marked (· ⏎).
        trained: for each token, whether it counts in the loss (its label is not -100).
        ids: token ids to print below the chips.
        title: a line above.

    Raises:
        ValueError: if the lengths differ.
    """
    if len(tokens) != len(trained) or (ids is not None and len(ids) != len(tokens)):
        raise ValueError("tokens, trained and ids must have the same length")
    chips: list[Markup] = []
    for place, (token, counts) in enumerate(zip(tokens, trained, strict=True)):
        shown = visible(token, "all").replace("\n", "") or Markup("(empty)")
        number = Markup("") if ids is None else Markup("<small>{}</small>").format(ids[place])
        form = (
            "<b class='sft-token sft-trained' title='trained'>{}{}</b>"
            if counts
            else "<span class='sft-token sft-masked' title='masked'>{}{}</span>"
        )
        chips.append(Markup(form).format(shown, number))
        if token.endswith("\n"):
            chips.append(Markup("<br>"))
    count = sum(map(bool, trained))
    legend = Markup(
        "<p class='sft-note'><b class='sft-token sft-trained'>trained</b> {} &nbsp; "
        "<span class='sft-token sft-masked'>masked</span> {} &nbsp; of {} tokens</p>"
    ).format(count, len(tokens) - count, len(tokens))
    return page(
        _title(title),
        Markup("<div class='sft-tokens' dir='ltr'>{}</div>").format(Markup("").join(chips)),
        legend,
    )
