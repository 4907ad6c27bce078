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

from sft_helpers.templates.reader import trace
from sft_helpers.templates.render import (
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
    cutter = _Cutter(template, messages, text, options, learn)
    cutter.trace(prompt)
    regions = _regions(template, messages, text, prompt, options)
    stop = cutter.prompt_start(regions) if prompt else len(text)
    regions = [region for region in regions if region[1] <= stop]
    if regions:
        cutter.before(regions[0])
        cutter.contents(regions, stop)
    else:
        cutter.add(0, stop, "added")
    cutter.add(stop, len(text), "generation prompt")
    return cutter.spans


class _Cutter:
    """The spans of one rendering, added from left to right."""

    def __init__(
        self,
        template: Family,
        messages: Messages,
        text: str,
        options: Mapping[str, Any],
        learn: bool,
    ) -> None:
        self.template, self.messages, self.text, self.options = template, messages, text, options
        self.learn = learn
        self.headers = (
            _learned(template.text, tuple(sorted(template.tokens.items()))) if learn else {}
        )
        self.breaks: list[int] = []  # edges of what single tags of the template printed
        self.spans: list[Span] = []

    def trace(self, prompt: bool) -> None:
        """Find the breaks by running the template with marks."""
        variables = {
            **self.template.tokens,
            "documents": None,
            "messages": [dict(message) for message in self.messages],
            "add_generation_prompt": prompt,
            **self.options,
        }
        record = trace(self.template.text, variables)
        if record.text == self.text:
            edges = {edge for piece in record.pieces for edge in (piece.start, piece.end)}
            self.breaks = sorted(edges)

    def shorter(self, count: int) -> str | None:
        """The rendering of the first messages; None where the template fails on them."""
        text, error = plain_text(self.template, self.messages[:count], **self.options)
        return text if error is None else None

    def snap(self, low: int, place: int, high: int) -> int:
        """The edge of a printed piece that belongs to a place: the last before it, or the next."""
        before = [edge for edge in self.breaks if low <= edge <= place]
        after = [edge for edge in self.breaks if place < edge <= high]
        return before[-1] if before else after[0] if after else place

    def header_before(self, message: int, low: int, high: int) -> int:
        """Where the learned header of a message stands last; -1 if nowhere."""
        known = message < len(self.messages)
        header = self.headers.get(str(self.messages[message]["role"]), "") if known else ""
        return self.text.rfind(header, low, high) if header else -1

    def prompt_start(self, regions: Sequence[Region]) -> int:
        """Where the generation prompt begins."""
        shorter = self.shorter(len(self.messages))
        if shorter is None:
            return len(self.text)
        place = shared_prefix(shorter, self.text)
        low = max((end for _, end, _, _ in regions if end <= place), default=0)
        return place if place == len(shorter) else self.snap(low, place, len(self.text))

    def turn_end(self, message: int, low: int, high: int) -> int:
        """Where the turn of a message ends, between its content and the next one."""
        shorter = self.shorter(message + 1)
        place = shared_prefix(shorter or "", self.text)
        if shorter is not None and not low <= place <= high:  # an earlier turn has changed
            content = str(self.messages[message].get("content") or "").strip()
            _, found, tail = shorter.rpartition(content) if content else ("", "", "")
            place = low + shared_prefix(tail, self.text[low:high])
            shorter = self.text[:low] + tail if found else ""
        if not shorter:
            at = self.header_before(message + 1, low, high)
            return at if at >= 0 else low
        return place if place == len(shorter) else self.snap(low, place, high)

    def add(self, start: int, end: int, kind: Kind, message: int | None = None) -> None:
        """Add a span; one of the same kind and message before it is made longer."""
        if end <= start:
            return
        role = None if message is None else str(self.messages[message]["role"])
        last = self.spans[-1] if self.spans else None
        if last is not None and (last.kind, last.message) == (kind, message):
            start = self.spans.pop().start
        self.spans.append(Span(start, end, kind, role, message))

    def opening(self, start: int, end: int, message: int) -> None:
        """A header, and the thought or the empty thought that a template writes behind it."""
        thought = _OPENING.search(self.text, start, end)
        first, last = thought.span() if thought else (end, end)
        self.add(start, first, "header", message)
        self.add(first, last, "thinking", message)
        self.add(last, end, "header", message)

    def before(self, first: Region) -> None:
        """What stands before the first content: the template's own text, and a header."""
        start, _, message, _ = first
        at = self.header_before(message, 0, start)
        if at < 0 and self.learn:
            other, _ = plain_text(self.template, PROBE, **self.options)
            at = self.snap(0, shared_prefix(other, self.text[:start]), 0)
            at = at if at in self.breaks else 0
        bos = self.template.tokens.get("bos_token") or ""
        at = max(at, len(bos) if self.text.startswith(bos) else 0)
        self.add(0, at, "added")
        self.opening(at, start, message)

    def turns(self, at: int, end: int, first: int, last: int) -> int:
        """The ends of the turns `first` to `last - 1`, where those after the first are empty."""
        for number in range(first, last):
            whole = number + 1 == len(self.messages)
            place = end if whole else self.turn_end(number, at, end)
            self.add(at, place, "end" if number == first else "header", number)
            at = place
        return at

    def contents(self, regions: Sequence[Region], stop: int) -> None:
        """The contents, and what stands between and behind them."""
        for here, following in itertools.pairwise([*regions, None]):
            begin, end, message, kind = here  # type: ignore[misc]
            self.add(begin, end, kind, message)
            if following is None:
                self.turns(end, stop, message, len(self.messages))
            elif following[2] == message:
                inner: Kind = "thinking" if "thinking" in (kind, following[3]) else kind
                self.add(end, following[0], inner, message)
            else:
                at = self.turns(end, following[0], message, following[2])
                self.opening(at, following[0], following[2])
