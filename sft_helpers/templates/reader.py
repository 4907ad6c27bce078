"""Chat templates as programs: which tag of a template printed which piece of the text.

A chat template is a Jinja program. `trace()` runs it in transformers' own sandbox with marks around
everything that it prints; `explain()` turns the marks into a list of steps, one for each tag.
"""

from __future__ import annotations

import functools
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

# Marks are characters that Unicode sets aside for private use; plain text does not hold them.
_PRINTS, _RUNS, _ENTERS, _STOP = 0x100000, 0x104000, 0x108000, 0x10F000
_MARKS = re.compile("[\U00100000-\U0010ffff]")
_STRINGS = r"""(?:"(?:\\.|[^"\\])*"|'(?:\\.|[^'\\])*'|[^'"])*?"""
_TAG = re.compile(r"\{#.*?#\}|\{%" + _STRINGS + r"%\}|\{\{" + _STRINGS + r"\}\}", re.S)


@dataclass(frozen=True)
class Tag:
    """One tag of a template, or the plain text between two tags.

    Attributes:
        kind: "text", "print" (`{{ }}`), "statement" (`{% %}`) or "comment" (`{# #}`).
        line: line of the template on which it begins, from 1.
        source: the tag as it is written.
    """

    kind: str
    line: int
    source: str

    @property
    def code(self) -> str:
        """What stands between the delimiters."""
        return self.source if self.kind == "text" else self.source[2:-2].strip("-+ \t\n")


@dataclass(frozen=True)
class Piece:
    """`text[start:end]` was printed by tag number `tag`."""

    tag: int
    start: int
    end: int


@dataclass(frozen=True)
class Trace:
    """What a template printed, piece by piece, and how often each tag ran or was entered."""

    text: str
    pieces: tuple[Piece, ...]
    runs: Mapping[int, int]
    entered: Mapping[int, int]


@dataclass(frozen=True)
class Step:
    """One tag of a template, what it means, what it did and all that it printed."""

    tag: Tag
    meaning: str
    did: str
    printed: tuple[str, ...]


def tags(source: str) -> list[Tag]:
    """Split a template into its tags and the plain text between them, in order."""
    source = source.replace("\r\n", "\n")
    found, at = [], 0
    kinds = {"{#": "comment", "{%": "statement", "{{": "print"}

    def add(kind: str, start: int, end: int) -> None:
        if end > start:
            found.append(Tag(kind, source.count("\n", 0, start) + 1, source[start:end]))

    for match in _TAG.finditer(source):
        add("text", at, match.start())
        add(kinds[match.group()[:2]], match.start(), match.end())
        at = match.end()
    add("text", at, len(source))
    return found


def environment(template: str) -> Any:
    """The sandboxed Jinja environment in which transformers renders chat templates.

    Raises:
        jinja2.TemplateError: the template is not Jinja.
    """
    from transformers.utils.chat_template_utils import _compile_jinja_template

    return _compile_jinja_template(template).environment


def prints_what_a_clock_says(template: str, variables: Mapping[str, Any]) -> bool:
    """Whether the text holds the output of `strftime_now`, which tells today's date."""
    sentinel = "a-date-of-today"
    compiled = environment(template).from_string(
        template, globals={"strftime_now": lambda _format: sentinel}
    )
    return sentinel in compiled.render(**plain(variables))


def plain(variables: Mapping[str, Any]) -> dict[str, Any]:
    """The variables as transformers hands them to a template: plain data, no live objects."""
    from transformers.utils import chat_template_utils as utils

    clean = getattr(utils, "_plain_template_data", lambda value: value)
    alias = getattr(utils, "_alias_reasoning_fields", lambda chat: chat)
    ready = {name: clean(value) for name, value in variables.items()}
    return ready | {"messages": alias(ready["messages"])}


@functools.lru_cache(maxsize=128)
def _instrumented(template: str) -> Any:
    """The template, compiled with marks around all that it prints."""
    from jinja2 import nodes

    numbered, spans = _one_line_each(tags(template))

    def number_of(node: Any) -> int:
        kind = "text" if isinstance(node, nodes.TemplateData) else "tag"
        for number, (form, first, last) in enumerate(spans):
            if form == kind and first <= node.lineno <= last:
                return number
        return len(spans)

    def mark(offset: int, number: int = 0) -> Any:
        return nodes.TemplateData(chr(offset + number))

    def body(statements: list[Any], entered: int | None = None) -> list[Any]:
        first = [] if entered is None else [nodes.Output([mark(_ENTERS, entered)])]
        return first + [new for statement in statements for new in instrument(statement)]

    def instrument(node: Any) -> Iterator[Any]:
        if isinstance(node, nodes.Output):
            parts: list[Any] = []
            for part in node.nodes:
                parts += [mark(_PRINTS, number_of(part)), part, mark(_STOP)]
            yield nodes.Output(parts)
            return
        number = number_of(node)
        yield nodes.Output([mark(_RUNS, number)])
        if isinstance(node, nodes.If):
            branches(node, number)
        elif isinstance(node, nodes.For):
            node.body = body(node.body, number)
            node.else_ = body(node.else_)
        elif isinstance(node, nodes.CallBlock) and isinstance(
            node.call.node, nodes.ExtensionAttribute
        ):  # {% generation %}: its text passes through as it is, unlike that of a macro
            node.body = body(node.body, number)
        yield node

    def branches(node: Any, number: int) -> None:
        node.body = body(node.body, number)
        for other in node.elif_:
            branches(other, number_of(other))
        node.else_ = body(node.else_)

    shared = environment(template)
    tree = shared.parse(numbered)
    tree.body = body(tree.body)
    tree.set_environment(shared)
    return shared.from_string(tree)


def _one_line_each(found: list[Tag]) -> tuple[str, list[tuple[str, int, int]]]:
    """Move each tag to lines of its own, by a line break inside it, where it prints nothing.

    Returns the new source and, for each tag, its form ("tag" or "text") and its lines.
    """
    parts, spans, line = [], [], 1
    for tag in found:
        source = tag.source
        if tag.kind in ("print", "statement"):
            head = 3 if source[2] in "-+" else 2
            source = source[:head] + "\n" + source[head:]
            spans.append(("tag", line + 1, line + source.count("\n")))
        else:
            form = "text" if tag.kind == "text" else "comment"
            spans.append((form, line, line + source.count("\n")))
        parts.append(source)
        line += source.count("\n")
    return "".join(parts), spans


def trace(template: str, variables: Mapping[str, Any]) -> Trace:
    """Run a template and record which tag printed what.

    Args:
        template: the Jinja source.
        variables: `messages`, `tools`, `add_generation_prompt`, special tokens and the like.

    Raises:
        Exception: whatever the template raises.
    """
    marked = _instrumented(template).render(**plain(variables))
    runs: Counter[int] = Counter()
    entered: Counter[int] = Counter()
    clean: list[str] = []
    pieces: list[Piece] = []
    length, at, opened, number = 0, 0, 0, -1
    for match in _MARKS.finditer(marked):
        clean.append(marked[at : match.start()])
        length += match.start() - at
        at = match.end()
        code = ord(match.group())
        if code >= _STOP:
            if length > opened and number >= 0:
                pieces.append(Piece(number, opened, length))
            number = -1
        elif code >= _ENTERS:
            entered[code - _ENTERS] += 1
        elif code >= _RUNS:
            runs[code - _RUNS] += 1
        else:
            number, opened = code - _PRINTS, length
            runs[number] += 1
    clean.append(marked[at:])
    return Trace("".join(clean), tuple(pieces), runs, entered)


def explain(template: str, variables: Mapping[str, Any]) -> list[Step]:
    """Each tag of a template with its meaning, what it did in this run and what it printed.

    Plain text that is nothing but white space, and closing tags, are left out.

    Raises:
        Exception: whatever the template raises.
    """
    record = trace(template, variables)
    printed: dict[int, list[str]] = {}
    for piece in record.pieces:
        printed.setdefault(piece.tag, []).append(record.text[piece.start : piece.end])
    steps = []
    for number, tag in enumerate(tags(template)):
        word = tag.code.split(None, 1)[0] if tag.code.strip() else ""
        output = tuple(printed.get(number, ()))
        if tag.kind == "text" and not output:
            continue
        if tag.kind == "statement" and word.startswith("end"):
            continue
        runs, entered = record.runs.get(number, 0), record.entered.get(number, 0)
        steps.append(Step(tag, _meaning(tag, word), _did(tag, word, runs, entered), output))
    return steps


def _meaning(tag: Tag, word: str) -> str:
    rest = " ".join(tag.code.split()[1:])
    if tag.kind == "text":
        return "plain text: printed as it stands"
    if tag.kind == "comment":
        return "a comment"
    if tag.kind == "print":
        return "refuses with this message" if word.startswith("raise_exc") else "prints the value"
    return {
        "for": f"repeats for each {rest.replace(' in ', ' of ', 1)}",
        "if": "goes on only if this holds",
        "elif": "or else, if this holds",
        "else": "otherwise",
        "set": "remembers a value",
        "macro": "defines a piece to be printed later",
        "generation": "what follows is the assistant's own text: assistant_only_loss trains it",
    }.get(word, "")


def _did(tag: Tag, word: str, runs: int, entered: int) -> str:
    if tag.kind == "comment" or word in ("else", "macro"):
        return ""
    if tag.kind == "statement" and word == "for":
        return f"{_times(entered, 'round')}"
    if tag.kind == "statement" and word == "if":
        return f"true {entered} of {_times(runs, 'time')}" if runs else "not reached"
    if tag.kind == "statement" and word == "elif":
        return f"true {_times(entered, 'time')}"
    return f"ran {_times(runs, 'time')}" if runs else "not reached"


def _times(count: int, noun: str) -> str:
    return f"{count} {noun}{'' if count == 1 else 's'}"
