"""The part of Go's template language that prompt templates of Ollama use, rendered in Python.

Enough to see what a Modelfile's TEMPLATE makes of a conversation without Go: text, fields,
variables, `if`, `range`, trim marks, and the functions in `FUNCTIONS`. Anything else is refused by
name, so that nothing is rendered wrongly in silence. Source: the documentation of Go's package
text/template; a rendering by Go itself gave the same text for every template of the tests.
"""

from __future__ import annotations

import ast
import re
from collections import ChainMap
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from sft_helpers.errors import DataError

Names = ChainMap[str, Any]  # variables by name, inner branches first
FUNCTIONS: dict[str, Callable[..., Any]] = {
    "eq": lambda first, *others: any(first == other for other in others),
    "ne": lambda left, right: left != right,
    "lt": lambda left, right: left < right,
    "le": lambda left, right: left <= right,
    "gt": lambda left, right: left > right,
    "ge": lambda left, right: left >= right,
    "and": lambda *values: next((value for value in values if not value), values[-1]),
    "or": lambda *values: next((value for value in values if value), values[-1]),
    "not": lambda value: not value,
    "len": len,
    "index": lambda values, place: values[place],
    "slice": lambda values, start, end=None: values[start:end],
}
_ACTION = re.compile(r"\{\{(-(?=\s))?(.*?)((?<=\s)-)?\}\}", re.S)
_WORD = re.compile(
    r"""\s*(?:(?P<text>"(?:\\.|[^"\\])*"|`[^`]*`)|(?P<number>-?\d+)|(?P<mark>[()|])
    |(?P<member>(?<=\))\.\w+(?:\.\w+)*)|(?P<path>\$\w*(?:\.\w+)*|\.(?:\w+(?:\.\w+)*)?|\w+))""",
    re.X,
)


@dataclass
class _Block:
    """A branch or a loop: its opening words, and its bodies by condition (None is `else`)."""

    kind: str
    bodies: list[tuple[str | None, list[Any]]] = field(default_factory=list)


def render_go(template: str, data: Mapping[str, Any]) -> str:
    """Render a template.

    Args:
        template: source text.
        data: what `.` is: names as in Go (`Messages`, `System`), maps for structs.

    Raises:
        DataError: the template is not sound, or uses what is not known here.
    """
    try:
        return "".join(_run(_parse(template), data, ChainMap({"$": data})))
    except (TypeError, IndexError, ValueError) as problem:
        raise DataError(f"the Go template fails: {problem}") from problem


def _parse(template: str) -> list[Any]:
    """Nested lists of texts, ("do", expression) and blocks."""
    root: list[Any] = []
    stack: list[tuple[_Block | None, list[Any]]] = [(None, root)]
    at, trim = 0, False
    for match in [*_ACTION.finditer(template), None]:
        text = template[at : match.start() if match else len(template)]
        text = text.lstrip() if trim else text
        if match is None:
            stack[-1][1].append(text)
            break
        stack[-1][1].append(text.rstrip() if match[1] else text)
        at, trim = match.end(), bool(match[3])
        words = match[2].strip()
        first, _, rest = words.partition(" ")
        if words.startswith("/*"):
            continue
        if first in ("if", "range"):
            block = _Block(first, [(rest.strip(), [])])
            stack[-1][1].append(block)
            stack.append((block, block.bodies[-1][1]))
        elif first == "else":
            opened = stack.pop()[0]
            if opened is None:
                raise DataError("an else without an if", where="{{" + match[2] + "}}")
            condition = rest.strip().removeprefix("if ").strip() if rest.strip() else None
            opened.bodies.append((condition, []))
            stack.append((opened, opened.bodies[-1][1]))
        elif first == "end":
            if stack.pop()[0] is None:
                raise DataError("an end without an if or range")
        elif first in ("with", "template", "define", "block", "break", "continue"):
            raise DataError(f"{first} is not rendered here", where="{{" + match[2] + "}}")
        else:
            stack[-1][1].append(("do", words))
    if len(stack) != 1:
        raise DataError("an if or range without its end")
    return root


def _run(nodes: Sequence[Any], dot: Any, names: Names) -> Iterator[str]:
    for node in nodes:
        if isinstance(node, str):
            yield node
        elif isinstance(node, tuple):
            name, mark, value = _assigned(node[1])
            found = _value(value, dot, names)
            if mark == "=":  # where it was declared, perhaps outside this branch
                next((m for m in names.maps if name in m), names.maps[0])[name] = found
            elif name:
                names[name] = found
            else:
                yield _printed(found)
        elif node.kind == "if":
            for condition, body in node.bodies:
                if condition is None or _value(condition, dot, names):
                    yield from _run(body, dot, names.new_child())
                    break
        else:
            yield from _loop(node, dot, names)


def _assigned(words: str) -> tuple[str, str, str]:
    """Name, mark and expression of `$name := expression`; a plain expression has no name."""
    match = re.match(r"(\$\w+)\s*(:?=)\s*", words)
    return (match[1], match[2], words[match.end() :]) if match else ("", "", words)


def _loop(block: _Block, dot: Any, names: Names) -> Iterator[str]:
    words, body = block.bodies[0]
    given = re.fullmatch(r"(?:(\$\w+)(?:\s*,\s*(\$\w+))?\s*:=\s*)?(.+)", words or "", re.S)
    if given is None:
        raise DataError("this range is not understood", where=str(words))
    values = _value(given[3], dot, names) or []
    for place, value in enumerate(values):
        inner = names.new_child()
        if given[2]:
            inner.update({given[1]: place, given[2]: value})
        elif given[1]:
            inner[given[1]] = value
        yield from _run(body, value, inner)
    if not values and len(block.bodies) > 1:
        yield from _run(block.bodies[1][1], dot, names.new_child())


def _printed(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return "" if value is None else str(value)


# --- expressions ---------------------------------------------------------------------------------


def _value(source: str, dot: Any, names: Mapping[str, Any]) -> Any:
    words: list[tuple[str, str]] = []
    at = 0
    while source[at:].strip():
        match = _WORD.match(source, at)
        if match is None or match.lastgroup is None:
            raise DataError("this expression is not understood", where=source)
        words.append((match.lastgroup, match[match.lastgroup]))
        at = match.end()
    value = _pipeline(words, dot, names)
    if words:
        raise DataError("this expression is not understood", where=source)
    return value


def _pipeline(words: list[tuple[str, str]], dot: Any, names: Mapping[str, Any]) -> Any:
    """Commands joined by `|`; each hands its value on as the last argument of the next."""
    piped: list[Any] = []
    while True:
        parts: list[Any] = []
        while words and words[0] != ("mark", ")") and words[0] != ("mark", "|"):
            parts.append(_operand(words, dot, names))
        if not parts:
            raise DataError("an expression is empty")
        first = parts[0]
        if callable(first):
            value = first(*parts[1:], *piped)
        elif len(parts) > 1 or piped:
            raise DataError("only a function takes arguments")
        else:
            value = first
        if not words or words[0] == ("mark", ")"):
            return value
        words.pop(0)
        piped = [value]


def _operand(words: list[tuple[str, str]], dot: Any, names: Mapping[str, Any]) -> Any:
    kind, word = words.pop(0)
    if kind == "text":
        return word[1:-1] if word[0] == "`" else ast.literal_eval(word)
    if kind == "number":
        return int(word)
    if kind == "mark":
        if word != "(":
            raise DataError(f"a {word} is out of place")
        value = _pipeline(words, dot, names)
        if not words or words.pop(0) != ("mark", ")"):
            raise DataError("a parenthesis is not closed")
        return _field(value, words.pop(0)[1]) if words and words[0][0] == "member" else value
    if word in ("true", "false", "nil"):
        return {"true": True, "false": False, "nil": None}[word]
    if word.startswith("."):
        return _field(dot, word)
    if word.startswith("$"):
        name, _, rest = word.partition(".")
        if name not in names:
            raise DataError(f"the variable {name} is not defined")
        return _field(names[name], "." + rest)
    if word not in FUNCTIONS:
        raise DataError(f"the function {word!r} is not known here")
    return FUNCTIONS[word]


def _field(value: Any, path: str) -> Any:
    for name in filter(None, path.split(".")):
        value = value.get(name) if isinstance(value, Mapping) else None
    return value
