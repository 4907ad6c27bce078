"""Compare what is found now with a golden file: one entry a line, sorted, easy to diff."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
WRITE = os.environ.get("SFT_WRITE_GOLDEN") == "1"


def read(name: str) -> dict[str, Any]:
    """The entries of a golden file."""
    return json.loads((HERE / name).read_text(encoding="utf-8"))


def write(name: str, entries: Mapping[str, Any]) -> None:
    """Write a golden file: a JSON object with one entry a line, in the order of its keys."""
    lines = [
        f"{json.dumps(key, ensure_ascii=False)}: {json.dumps(entries[key], ensure_ascii=False)}"
        for key in sorted(entries)
    ]
    text = "{\n" + ",\n".join(lines) + "\n}\n"
    (HERE / name).write_text(text, encoding="utf-8", newline="\n")


def compare(name: str, found: Mapping[str, Any], *, new_allowed: bool = False) -> None:
    """Assert that what was found is what the golden file holds; names each difference.

    With `SFT_WRITE_GOLDEN=1` the file is written instead.
    """
    if WRITE:
        write(name, found)
        return
    held = read(name)
    found = json.loads(json.dumps(found))  # tuples become lists, as they do in the file
    lost = [f"lost: {key}" for key in sorted(held.keys() - found.keys())]
    new = [f"new: {key}" for key in sorted(found.keys() - held.keys()) if not new_allowed]
    changed = [
        f"changed: {key}\n    was {held[key]!r}\n    is  {found[key]!r}"
        for key in sorted(held.keys() & found.keys())
        if held[key] != found[key]
    ]
    assert not lost + new + changed, f"{name}:\n" + "\n".join(lost + new + changed)


def plain(value: Any) -> Any:
    """The value as it comes back from a golden file: tuples as lists, keys as text."""
    return json.loads(json.dumps(value))


def digest(value: Any) -> str:
    """A short hash of plain data; text that is no Unicode has one, too."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:16]
