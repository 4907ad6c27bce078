"""What is known about values, dictionaries and calls in code that does not run."""

from __future__ import annotations

import ast
from dataclasses import dataclass, field, replace
from typing import Any

from sft_helpers.drift.reader import Piece


@dataclass(frozen=True)
class Known:
    """A constant."""

    value: Any


@dataclass(frozen=True)
class Ref:
    """Something with a dotted name: a module, class, function or method."""

    path: str


@dataclass(frozen=True)
class Heir:
    """A class of the code's own that is called as the installed class it comes from."""

    path: str


@dataclass(frozen=True)
class Made:
    """An object of a class of the installed packages."""

    path: str


UNKNOWN: Any = object()
UNBOUND: Any = object()  # a local name before its first value


@dataclass(frozen=True)
class Entry:
    """A keyword argument or a dictionary entry, and where its name stands.

    Attributes:
        node: the `ast.keyword`, or the constant that is the key.
        sure: it is there whichever way the code took.
    """

    value: Any
    node: ast.AST
    piece: Piece
    sure: bool = True


@dataclass
class Dict:
    """A dictionary with string keys.

    Attributes:
        open: there may be other keys.
        depth: of branches around the place where it was made; deeper writes are not sure.
    """

    entries: dict[str, Entry] = field(default_factory=dict)
    open: bool = False
    depth: int = 0

    def put(self, key: str, entry: Entry, depth: int) -> None:
        """Set a key from inside `depth` branches."""
        self.entries[key] = replace(entry, sure=entry.sure and depth <= self.depth)

    def update(self, other: Any, depth: int) -> None:
        """As dict.update, where `other` may be unknown."""
        if isinstance(other, Dict):
            for key, entry in other.entries.items():
                self.put(key, entry, depth)
            self.open |= other.open
        else:
            self.escape()

    def take(self, key: Any, depth: int) -> None:
        """Remove a key; None is one that is not known."""
        if depth <= self.depth and isinstance(key, str):
            self.entries.pop(key, None)
        else:
            self.escape(key)

    def escape(self, key: Any = None) -> None:
        """Something may have changed it; with `key`, only that entry."""
        self.open |= key is None
        for name in list(self.entries) if key is None else [key]:
            if name in self.entries:
                self.entries[name] = replace(self.entries[name], sure=False)


@dataclass
class Call:
    """A call of something in the installed packages.

    Attributes:
        positional: how many positional arguments; None with `*args`.
        open: with `**something` of unknown content.
        partial: more arguments may come (functools.partial).
        guarded: the code is prepared for a failure, or asks for the version first.
    """

    path: str
    node: ast.Call
    piece: Piece
    positional: int | None
    keywords: dict[str, Entry]
    open: bool
    partial: bool
    guarded: bool


@dataclass
class Use:
    """A name that is imported ("import"), or an attribute that is read or set."""

    kind: str  # "import", "attribute" or "set"
    path: str
    node: ast.AST
    piece: Piece
    guarded: bool


def same(first: Any, second: Any) -> bool:
    """Whether two values are the same for certain."""
    if isinstance(first, Dict) or isinstance(second, Dict):
        return first is second
    return type(first) is type(second) and bool(first == second)
