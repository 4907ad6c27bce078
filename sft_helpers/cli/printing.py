"""How commands print: JSON, tables, text of files that is shown and never obeyed."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from typing import Any

LOADING = "Loading PyTorch, Transformers and TRL (10 to 30 seconds) ..."


def print_json(value: Any) -> None:
    """Print a value as JSON that any terminal takes."""
    print(json.dumps(value, indent=2))


def print_table(
    title: str, rows: Sequence[Mapping[str, Any]], console: Any = None, **options: Any
) -> None:
    """Print rows as a table; text from files is shown, never obeyed."""
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    from sft_helpers.display.html import visible_text

    table = Table(*(rows[0] if rows else ()), title=escape(title), **options)
    for row in rows:
        cells = (f"{v:,}" if isinstance(v, int) else str(v) for v in row.values())
        table.add_row(*(escape(visible_text(cell)) for cell in cells))
    (console or Console()).print(table)


def printable(text: str) -> str:
    """Text that any terminal takes, hidden characters named."""
    from sft_helpers.display.html import visible_text

    encoding = sys.stdout.encoding or "utf-8"
    shown = "\n".join(visible_text(line) for line in text.split("\n"))
    return shown.encode(encoding, "backslashreplace").decode(encoding)


def interval(score: Mapping[str, Any]) -> str:
    """A share with its interval, such as `0.91 [0.88, 0.94]`."""
    return f"{score['value']:.2f} [{score['low']:.2f}, {score['high']:.2f}]"
