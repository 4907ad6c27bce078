"""Helpers of the SFT teaching kit: supervised fine-tuning with TRL, one experiment at a time.

The front door is what a notebook begins with:

    from sft_helpers import setup, load, read_rows, ask, watch, expect

`setup` opens a lesson, `load` gives a model and its tokenizer, `read_rows` the town's rows, `watch`
follows a training run, `ask` lets a model answer, and `expect` states what was found. Everything
else stands in the room that it belongs to, and is imported from there.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sft_helpers.display.monitor import watch
    from sft_helpers.evaluation import ask
    from sft_helpers.lesson import expect, setup
    from sft_helpers.models import load
    from sft_helpers.town import read_rows

__version__ = "0.1.0"
__all__ = ["ask", "expect", "load", "read_rows", "setup", "watch"]

_ROOMS = {
    "setup": "lesson",
    "load": "models",
    "read_rows": "town",
    "ask": "evaluation",
    "watch": "display.monitor",
    "expect": "lesson",
}


def __getattr__(name: str) -> Any:
    """Open a room when something from it is asked for, so that `import sft_helpers` stays quick."""
    if name not in _ROOMS:
        raise AttributeError(f"module 'sft_helpers' has no attribute {name!r}")
    return getattr(import_module(f"sft_helpers.{_ROOMS[name]}"), name)
