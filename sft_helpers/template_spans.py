"""Where the parts of a rendered conversation are, found by probing, not by knowing any model.

Contents are found by rendering once more with private-use marks around each of them. What lies
between two contents is split where the rendering of the shorter conversation ends.
"""

from __future__ import annotations

import functools
import itertools
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from sft_helpers.template_reader import trace
from sft_helpers.templates import (
    Family,
    Kind,
    Messages,
    Span,
    in_blocks,
    plain_text,
    wants_blocks,
)

_FIRST_MARK = 0xF0000
_MARK = re.compile("[\U000f0000-\U000ffffd]")
_THOUGHT = re.compile(r"(<think>)(.*?)(</think>)", re.S)
_OPENING = re.compile(r"<think>(?:.*</think>)?\s*", re.S)
_REASONING = ("reasoning_content", "thinking", "reasoning")

# Two questions and two answers that no template treats in a special way.
PROBE = [
    {"role": "user", "content": "probe alpha"},
    {"role": "assistant", "content": "probe beta"},
    {"role": "user", "content": "probe gamma"},
    {"role": "assistant", "content": "probe delta"},
]


def shared_prefix(left: Sequence[Any], right: Sequence[Any]) -> int:
    """How many leading characters (or tokens) two sequences have in common."""
    pairs = zip(left, right, strict=False)
    return sum(1 for _ in itertools.takewhile(lambda pair: pair[0] == pair[1], pairs))


class _Marker:
    """Puts a pair of marks around each text of a conversation and remembers what they mean."""

    def __init__(self) -> None:
        self.meaning: list[tuple[int, Kind]] = []

    def around(self, text: str, message: int, kind: Kind) -> str:
        """The text with marks inside its surrounding white space, which a template may strip."""
        inner = text.strip()
        if not inner:
            return text
        start = text.index(inner)
        pair = _FIRST_MARK + 2 * len(self.meaning)
        self.meaning.append((message, kind))
        return f"{text[:start]}{chr(pair)}{inner}{chr(pair + 1)}{text[start + len(inner) :]}"

    def content(self, text: str, message: int) -> str:
        """A message's content; thoughts between <think> tags are marked apart."""
        parts, at = [], 0
        for thought in _THOUGHT.finditer(text):
            parts.append(self.around(text[at : thought.start()], message, "content"))
            parts.append(thought[1] + self.around(thought[2], message, "thinking") + thought[3])
            at = thought.end()
        return "".join(parts) + self.around(text[at:], message, "content")

    def call(self, value: Any, message: int) -> Any:
        """A tool call: each text in it is marked."""
        if isinstance(value, str):
            return self.around(value, message, "tool call")
        if isinstance(value, Mapping):
            # `type` is read by templates and never printed
            return {
                key: item if key in ("type", "id") else self.call(item, message)
                for key, item in value.items()
            }
        return [self.call(item, message) for item in value] if isinstance(value, list) else value

    def message(self, number: int, message: Mapping[str, Any]) -> dict[str, Any]:
        """The whole message with marks."""
        marked = dict(message)
        content = message.get("content")
        if isinstance(content, str):
            marked["content"] = self.content(content, number)
        elif isinstance(content, list):
            marked["content"] = [
                {**block, "text": self.around(block["text"], number, "content")}
                if isinstance(block, Mapping) and isinstance(block.get("text"), str)
                else block
                for block in content
            ]
        for name in _REASONING:
            if isinstance(message.get(name), str):
                marked[name] = self.around(message[name], number, "thinking")
        if message.get("tool_calls"):
            marked["tool_calls"] = self.call(message["tool_calls"], number)
        return marked


Region = tuple[int, int, int, Kind]  # start, end, message, kind


def _regions(
    template: Family, messages: Messages, text: str, prompt: bool, options: Mapping[str, Any]
) -> list[Region]:
    """Where the texts of the messages stand, in order and without overlap."""
    marker = _Marker()
    marked = [marker.message(number, message) for number, message in enumerate(messages)]
    output, error = plain_text(template, marked, add_generation_prompt=prompt, **options)
    if error is not None or _MARK.sub("", output) != text:
        return _searched(messages, text)
    found: list[Region] = []
    opened: dict[int, int] = {}
    at = length = 0
    for match in _MARK.finditer(output):
        length += match.start() - at
        at = match.end()
        pair, closes = divmod(ord(match.group()) - _FIRST_MARK, 2)
        if not closes:
            opened[pair] = length
        elif pair in opened:
            message, kind = marker.meaning[pair]
            found.append((opened.pop(pair), length, message, kind))
    return _in_order(found)


def _searched(messages: Messages, text: str) -> list[Region]:
    """Contents found by searching: for templates that read the contents and stumble over marks."""
    found: list[Region] = []
    at = 0
    for number, message in enumerate(messages):
        content = message.get("content")
        inner = content.strip() if isinstance(content, str) else ""
        start = text.find(inner, at) if inner else -1
        if start >= 0:
            at = start + len(inner)
            found.append((start, at, number, "content"))
    return found


def _in_order(found: Iterable[Region]) -> list[Region]:
    kept: list[Region] = []
    for region in sorted(found):
        if not kept or (region[0] >= kept[-1][1] and region[2] >= kept[-1][2]):
            kept.append(region)
    return kept


@functools.lru_cache(maxsize=256)
def _learned(text: str, tokens: tuple[tuple[str, str], ...]) -> dict[str, str]:
    """Headers that a template writes for a user's and an assistant's turn, from the probe."""
    template = Family("probe", text, None, dict(tokens))
    probe = in_blocks(PROBE) if wants_blocks(template) else PROBE
    whole, error = plain_text(template, probe)
    if error is not None:
        return {}
    spans = find_spans(template, probe, whole, False, {}, learn=False)
    return {
        str(span.role): whole[span.start : span.end]
        for span in spans
        if span.kind == "header" and span.message in (1, 2)
    }


def find_spans(
    template: Family,
    messages: Messages,
    text: str,
    prompt: bool,
    options: Mapping[str, Any],
    *,
    learn: bool = True,
) -> list[Span]:
    """Cut a rendered conversation into spans without gaps.

    Args:
        template: the family that rendered `text`.
        messages: the conversation.
        text: its rendering, not empty.
        prompt: whether `text` ends with a generation prompt.
        options: the other arguments of the rendering.
        learn: whether to ask a probe conversation for the template's headers.
    """
    variables = {
        **template.tokens,
        "documents": None,
        "messages": [dict(message) for message in messages],
        "add_generation_prompt": prompt,
        **options,
    }
    record = trace(template.text, variables)
    breaks = sorted({edge for piece in record.pieces for edge in (piece.start, piece.end)})
    if record.text != text:
        breaks = []
    headers = _learned(template.text, tuple(sorted(template.tokens.items()))) if learn else {}

    def snap(low: int, place: int, high: int) -> int:
        """The edge of a printed piece that belongs to a place: the last before it, or the next."""
        before = [edge for edge in breaks if low <= edge <= place]
        after = [edge for edge in breaks if place < edge <= high]
        return before[-1] if before else after[0] if after else place

    def ends(count: int, low: int, high: int) -> int:
        """Where the turn of message `count - 1` ends, between its content and the next one."""
        shorter, error = plain_text(template, messages[:count], **options)
        place = shared_prefix(shorter, text)
        if error is None and not low <= place <= high:  # an earlier turn has changed
            content = str(messages[count - 1].get("content") or "").strip()
            _, found, tail = shorter.rpartition(content) if content else ("", "", "")
            place = low + shared_prefix(tail, text[low:high])
            shorter = text[:low] + tail if found else ""
        if error is not None or not shorter:
            role = str(messages[count]["role"]) if count < len(messages) else ""
            header = headers.get(role, "")
            at = text.rfind(header, low, high) if header else -1
            return at if at >= 0 else low
        return place if place == len(shorter) else snap(low, place, high)

    regions = _regions(template, messages, text, prompt, options)
    stop = len(text)
    if prompt:
        shorter, error = plain_text(template, messages, **options)
        if error is None:
            place = shared_prefix(shorter, text)
            low = max((end for _, end, _, _ in regions if end <= place), default=0)
            stop = place if place == len(shorter) else snap(low, place, len(text))
    regions = [region for region in regions if region[1] <= stop]

    spans: list[Span] = []

    def add(start: int, end: int, kind: Kind, message: int | None = None) -> None:
        if end <= start:
            return
        role = None if message is None else str(messages[message]["role"])
        last = spans[-1] if spans else None
        if last is not None and (last.kind, last.message) == (kind, message):
            start = spans.pop().start
        spans.append(Span(start, end, kind, role, message))

    def between(start: int, end: int, last: int, first: int) -> None:
        """The text from the content of message `last` to that of message `first`."""
        at = start
        for number in range(last, first):
            place = ends(number + 1, at, end)
            add(at, place, "end" if number == last else "header", number)
            at = place
        opening(at, end, first)

    def opening(start: int, end: int, message: int) -> None:
        """A header, and the thought or the empty thought that a template writes behind it."""
        thought = _OPENING.search(text, start, end)
        first, last = thought.span() if thought else (end, end)
        add(start, first, "header", message)
        add(first, last, "thinking", message)
        add(last, end, "header", message)

    if not regions:
        add(0, stop, "added")
    else:
        start, _, message, _ = regions[0]
        header = headers.get(str(messages[message]["role"]), "")
        at = text.rfind(header, 0, start) if header else -1
        if at < 0 and learn:
            other, _ = plain_text(template, PROBE, **options)
            at = snap(0, shared_prefix(other, text[:start]), 0)
            at = at if at in breaks else 0
        bos = template.tokens.get("bos_token") or ""
        at = max(at, len(bos) if text.startswith(bos) else 0)
        add(0, at, "added")
        opening(at, start, message)
        for here, following in itertools.pairwise([*regions, None]):
            begin, end, message, kind = here  # type: ignore[misc]
            add(begin, end, kind, message)
            if following is None:
                at = end
                for number in range(message, len(messages)):
                    place = ends(number + 1, at, stop) if number + 1 < len(messages) else stop
                    add(at, place, "end" if number == message else "header", number)
                    at = place
            elif following[2] == message:
                inner: Kind = "thinking" if "thinking" in (kind, following[3]) else kind
                add(end, following[0], inner, message)
            else:
                between(end, following[0], message, following[2])
    add(stop, len(text), "generation prompt")
    return spans
