"""Chat templates: every one that TRL ships, rendered for any conversation, with its parts marked.

Nothing is copied: the templates are read from the files of the installed TRL, and transformers' own
renderer turns messages into text. What the kit adds is sight: which stretch of the text is a
header, a message, an end of turn, a generation prompt, a thought, or the template's own addition.
"""

from __future__ import annotations

import difflib
import functools
import importlib.util
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from sft_helpers.errors import DataError, EnvironmentProblem, ModelError

Messages = Sequence[Mapping[str, Any]]
Kind = Literal["added", "header", "content", "thinking", "tool call", "end", "generation prompt"]

# A template asks the tokenizer for these. A template without its tokenizer prints placeholders.
PLACEHOLDERS = {name: f"<{name}>" for name in ("bos_token", "eos_token")}


@dataclass(frozen=True)
class Family:
    """A chat template with a name.

    Attributes:
        name: that of the file in TRL without its ending, or of the tokenizer.
        text: the Jinja source.
        training_text: the variant that TRL puts in its place for `assistant_only_loss`, if it
            ships one.
        tokens: special tokens that the template may print, such as `bos_token`.
    """

    name: str
    text: str
    training_text: str | None = None
    tokens: Mapping[str, str] = field(default_factory=lambda: dict(PLACEHOLDERS))

    @property
    def training(self) -> Family:
        """The training variant as a family of its own.

        Raises:
            DataError: TRL ships none.
        """
        if self.training_text is None:
            raise DataError(
                "TRL ships no training variant of this template",
                where=self.name,
                hint="look at `family.training_text` first",
            )
        return Family(f"{self.name}_training", self.training_text, None, self.tokens)


@dataclass(frozen=True)
class Span:
    """A stretch `text[start:end]` of a rendering.

    Attributes:
        kind: "added" (by the template itself: start tokens, default system prompt, tools),
            "header", "content", "thinking", "tool call", "end" (of a turn), "generation prompt".
        role: role of the message that it belongs to; None for "added" and "generation prompt".
        message: its place in the conversation, from 0, or None.
    """

    start: int
    end: int
    kind: Kind
    role: str | None = None
    message: int | None = None

    @property
    def label(self) -> str:
        """The kind in words, with the role."""
        if self.kind == "added":
            return "added by the template"
        if self.kind == "content":
            return str(self.role)
        if self.kind == "end":
            return f"end of {self.role} turn"
        return f"{self.role} {self.kind}" if self.role else self.kind


@dataclass(frozen=True)
class Rendering:
    """What a template made of a conversation.

    Attributes:
        family: name of the template.
        text: the text; empty when the template failed.
        spans: without gaps from the first to the last character, in order.
        error: why there is no text, in one sentence; None when there is.
        refused: whether the template itself refused the conversation, with a message of its own.
    """

    family: str
    text: str
    spans: tuple[Span, ...] = ()
    error: str | None = None
    refused: bool = False

    def parts(self) -> list[tuple[Span, str]]:
        """Each span with its text."""
        return [(span, self.text[span.start : span.end]) for span in self.spans]


@dataclass(frozen=True)
class Part:
    """One part of a conversation in two renderings; a side that lacks it is None."""

    label: str
    left: str | None
    right: str | None

    @property
    def same(self) -> bool:
        """Whether both sides write this part alike."""
        return self.left == self.right


def template_folder() -> Path:
    """The folder with the templates of the installed TRL.

    Raises:
        EnvironmentProblem: TRL is not installed, or keeps its templates elsewhere.
    """
    spec = importlib.util.find_spec("trl")
    places = list(spec.submodule_search_locations or []) if spec else []
    folder = Path(places[0]) / "chat_templates" if places else None
    if folder is None or not any(folder.glob("*.jinja")):
        raise EnvironmentProblem(
            "the installed TRL ships no chat templates" if places else "TRL is not installed",
            where=str(folder or "trl"),
            hint="install the version in constraints.txt",
        )
    return folder


@functools.cache
def _families(folder: Path) -> tuple[Family, ...]:
    texts = {path.stem: path.read_text(encoding="utf-8") for path in sorted(folder.glob("*.jinja"))}
    return tuple(
        Family(name, text, texts.get(f"{name}_training"))
        for name, text in texts.items()
        if not (name.endswith("_training") and name.removesuffix("_training") in texts)
    )


def families() -> list[Family]:
    """Every chat template that the installed TRL ships, by name, with its training variant."""
    return list(_families(template_folder()))


def family(name: str) -> Family:
    """The family of that name, for example "qwen2_5", or its variant "qwen2_5_training".

    Raises:
        DataError: there is none; names the nearest.
    """
    known = {one.name: one for one in families()}
    known |= {one.training.name: one.training for one in known.values() if one.training_text}
    if name in known:
        return known[name]
    near = difflib.get_close_matches(
        name.lower().replace("-", "_").replace(".", "_"), known, 3, 0.5
    )
    raise DataError(
        f"TRL ships no template named {name!r}",
        hint=f"did you mean {' or '.join(map(repr, near))}?"
        if near
        else "sft_helpers.templates.render.families() lists them",
    )


def as_family(source: Any) -> Family:
    """A family from what a caller has: a family, its name, a template's source or a tokenizer.

    Raises:
        ModelError: the tokenizer has no chat template.
        DataError: no family has that name.
    """
    if isinstance(source, Family):
        return source
    if isinstance(source, str):
        return Family("your template", source) if "{" in source else family(source)
    text = getattr(source, "chat_template", None)
    if isinstance(text, Mapping):  # several named templates: the default one is used for chat
        text = text.get("default")
    name = str(getattr(source, "name_or_path", "") or "your tokenizer")
    if not text:
        raise ModelError(
            "the tokenizer has no chat template, so messages cannot become text",
            where=name,
            hint="set tokenizer.chat_template, for example to families()[0].text, or train with"
            " SFTConfig(chat_template_path=...)",
        )
    owner = getattr(source, "tokenizer", source)  # a processor keeps its tokens in its tokenizer
    return Family(Path(name).name, text, None, dict(owner.special_tokens_map))


def _sentence(error: Exception) -> str:
    """What a template's failure says, in one line, without a traceback."""
    import jinja2

    said = " ".join(str(error).split()) or type(error).__name__
    if isinstance(error, jinja2.TemplateSyntaxError):
        return f"the template is not valid Jinja: {said} (line {error.lineno})"
    if type(error) is jinja2.TemplateError:
        return f"the template refuses this conversation: {said}"
    return f"the template fails on this conversation: {said}"


def problem_of(messages: Any) -> str | None:
    """What is wrong with the shape of a conversation, before any template sees it; else None."""
    if not isinstance(messages, Sequence) or isinstance(messages, str):
        return f"a conversation is a list of messages, not {type(messages).__name__}"
    if not messages:
        return "there are no messages to render"
    for number, message in enumerate(messages):
        if not isinstance(message, Mapping):
            return f"message {number} is not a dictionary with role and content"
        if not isinstance(message.get("role"), str):
            return f"message {number} has no role"
    return None


def plain_text(
    source: Any,
    messages: Messages,
    *,
    tools: Sequence[Any] | None = None,
    add_generation_prompt: bool = False,
    **kwargs: Any,
) -> tuple[str, Exception | None]:
    """Text of a conversation and, when the template failed, its exception (then no text)."""
    from transformers.utils.chat_template_utils import render_jinja_template

    template = as_family(source)
    try:
        rendered, _ = render_jinja_template(
            conversations=[[dict(message) for message in messages]],
            tools=list(tools) if tools else None,
            chat_template=template.text,
            add_generation_prompt=add_generation_prompt,
            **{**template.tokens, **kwargs},
        )
    except Exception as error:  # a template is a program of somebody else: anything may go wrong
        return "", error
    return str(rendered[0]), None


def render(
    source: Any,
    messages: Messages,
    *,
    tools: Sequence[Any] | None = None,
    add_generation_prompt: bool = False,
    **kwargs: Any,
) -> Rendering:
    """Render a conversation through transformers' own renderer and mark its parts.

    Args:
        source: a `Family`, its name, the source of a template, or a tokenizer.
        messages: the conversation, dictionaries with role and content.
        tools: JSON schemas, or functions with type hints and docstring, as transformers takes them.
        add_generation_prompt: end with the header of the turn that is to be written.
        kwargs: further variables of the template, such as `enable_thinking=False`.

    Returns:
        The rendering; a template that refuses or fails gives its sentence in `error`.

    Raises:
        ModelError: the tokenizer has no chat template.
        DataError: no family has that name.
    """
    import jinja2

    from sft_helpers.templates.spans import find_spans

    template = as_family(source)
    problem = problem_of(messages)
    if problem:
        return Rendering(template.name, "", error=problem)
    try:
        options: dict[str, Any] = {"tools": _schemas(tools), **kwargs}
    except Exception as problem_with_tools:
        said = " ".join(str(problem_with_tools).split())
        return Rendering(template.name, "", error=f"these tools cannot be described: {said}")
    text, error = plain_text(
        template, messages, add_generation_prompt=add_generation_prompt, **options
    )
    if error is not None:
        refused = type(error) is jinja2.TemplateError
        sentence = _sentence(error)
        if not refused and wants_blocks(template):
            sentence += ". It reads content as a list of blocks: [{'type': 'text', 'text': …}]"
        return Rendering(template.name, "", error=sentence, refused=refused)
    spans = find_spans(template, messages, text, add_generation_prompt, options)
    return Rendering(template.name, text, tuple(spans))


def _schemas(tools: Sequence[Any] | None) -> list[Any] | None:
    """Tools as JSON schemas; functions are described by transformers."""
    from transformers.utils import get_json_schema

    if not tools:
        return None
    return [get_json_schema(tool) if callable(tool) else tool for tool in tools]


def in_blocks(messages: Messages) -> list[dict[str, Any]]:
    """The conversation with each text content as a list of one block, as vision models take it."""
    return [
        {**message, "content": [{"type": "text", "text": message["content"]}]}
        if isinstance(message.get("content"), str)
        else dict(message)
        for message in messages
    ]


def wants_blocks(source: Any) -> bool:
    """Whether a template prints only contents that are lists of blocks, as for vision models."""
    probe = [{"role": "user", "content": "probe alpha"}]
    plain, _ = plain_text(source, probe)
    blocks, _ = plain_text(source, in_blocks(probe))
    return "probe alpha" not in plain and "probe alpha" in blocks


def compare(left: Rendering, right: Rendering) -> list[Part]:
    """Two renderings of one conversation, part by part, each message beside itself."""
    sides = [_by_part(left), _by_part(right)]
    order = {
        kind: place for place, kind in enumerate(["header", "thinking", "content", "tool call"])
    }

    def place(key: tuple[int | None, str]) -> tuple[float, int]:
        message, kind = key
        if message is None:
            return (-1, 0) if kind == "added" else (float("inf"), 0)
        return (message, order.get(kind, len(order)))

    keys = sorted({*sides[0], *sides[1]}, key=place)
    rows = []
    for key in keys:
        label = (sides[0].get(key) or sides[1][key])[0]
        texts = [side[key][1] if key in side else None for side in sides]
        rows.append(Part(label, *texts))
    return rows


def _by_part(rendering: Rendering) -> dict[tuple[int | None, str], tuple[str, str]]:
    found: dict[tuple[int | None, str], tuple[str, str]] = {}
    for span, text in rendering.parts():
        key = (span.message, span.kind)
        _, before = found.get(key, ("", ""))
        found[key] = (span.label, before + text)
    return found
