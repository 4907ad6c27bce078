"""What a chat template does to conversations, found by rendering probes, and what TRL makes of it.

`traits()` describes a template, `check_template()` lists what is wrong with it, `trl_verdict()`
says what `SFTTrainer` does with it for `assistant_only_loss`.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from sft_helpers.templates.reader import prints_what_a_clock_says
from sft_helpers.templates.render import (
    Family,
    Messages,
    as_family,
    in_blocks,
    plain_text,
    render,
    wants_blocks,
)
from sft_helpers.templates.spans import PROBE

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

Fate = Literal["kept", "dropped", "refused", "fails"]

SYSTEM: Messages = [{"role": "system", "content": "probe omega"}, *PROBE[:2]]
TWO_USERS: Messages = [PROBE[0], PROBE[2], PROBE[1]]
UNKNOWN_ROLES: Messages = [
    {"role": "human", "content": "probe alpha"},
    {"role": "gpt", "content": "probe beta"},
]
THOUGHTS: Messages = [
    PROBE[0],
    {**PROBE[1], "reasoning_content": "probe early thought"},
    PROBE[2],
    {**PROBE[3], "reasoning_content": "probe late thought"},
]
TOOL_USE: Messages = [
    PROBE[0],
    {
        "role": "assistant",
        "content": "",
        "tool_calls": [
            {"type": "function", "function": {"name": "probe_tool", "arguments": {"key": "value"}}}
        ],
    },
    {"role": "tool", "name": "probe_tool", "content": "probe result"},
    PROBE[3],
]


class Check(NamedTuple):
    """Something that is wrong with a template: a stable code, how bad, what happens, what to do."""

    code: str
    severity: Literal["error", "warning", "note"]
    message: str
    fix: str


@dataclass(frozen=True)
class Traits:
    """How a template treats conversations.

    Attributes:
        family: name of the template.
        system: what becomes of a system prompt.
        adds: text that the template writes on its own before a first user turn.
        two_users: what becomes of two user turns in a row.
        unknown_roles: what becomes of roles such as human and gpt.
        tools: what becomes of a tool call and its result.
        thinking: which thoughts (`reasoning_content`) survive: "every turn", "last turn only",
            "none", or "refused".
        end: text behind an assistant's content, up to the next turn.
        date: whether it prints today's date.
        prefix: whether earlier turns look the same however the conversation goes on.
        prompt: whether the prompt at inference is how the training text begins.
        blocks: whether contents must be lists of blocks (vision models).
        markers: whether it has `{% generation %}` markers.
    """

    family: str
    system: Fate
    adds: str
    two_users: Fate
    unknown_roles: Fate
    tools: Fate
    thinking: str
    end: str
    date: bool
    prefix: bool
    prompt: bool
    blocks: bool
    markers: bool


def _fate(template: Family, messages: Messages, *needles: str) -> Fate:
    import jinja2

    text, error = plain_text(template, messages)
    if error is not None:
        return "refused" if type(error) is jinja2.TemplateError else "fails"
    return "kept" if all(needle in text for needle in needles) else "dropped"


def has_markers(text: str) -> bool:
    """Whether TRL finds `{% generation %}` markers in a template."""
    from trl.chat_template_utils import has_generation_markers

    return bool(has_generation_markers(text))


def traits(source: Any) -> Traits:
    """Describe a template by rendering small probe conversations.

    Args:
        source: a `Family`, its name, the source of a template, or a tokenizer.

    Raises:
        ModelError: the tokenizer has no chat template.
        DataError: no family has that name.
    """
    template = as_family(source)
    blocks = wants_blocks(template)

    def ready(messages: Messages) -> Messages:
        return in_blocks(messages) if blocks else messages

    thoughts, error = plain_text(template, ready(THOUGHTS))
    late, early = "probe late thought" in thoughts, "probe early thought" in thoughts
    kept = "every turn" if late and early else "last turn only" if late else "none"
    opening = render(template, ready(PROBE[:1])).parts()
    whole = render(template, ready(PROBE))
    prefix, prompt = _prefixes(template, ready(PROBE), ready(THOUGHTS))
    return Traits(
        family=template.name,
        system=_fate(template, ready(SYSTEM), "probe omega"),
        adds="".join(text for span, text in opening if span.kind == "added"),
        two_users=_fate(template, ready(TWO_USERS), "alpha", "gamma", "beta"),
        unknown_roles=_fate(template, ready(UNKNOWN_ROLES), "alpha", "beta"),
        tools=_fate(template, ready(TOOL_USE), "probe_tool", "value", "probe result"),
        thinking="refused" if error is not None else kept,
        end=next((t for s, t in whole.parts() if s.kind == "end" and s.message == 1), ""),
        date=_prints_date(template, ready(PROBE)),
        prefix=prefix,
        prompt=prompt,
        blocks=blocks,
        markers=has_markers(template.text),
    )


def _prints_date(template: Family, messages: Messages) -> bool:
    variables = {**template.tokens, "messages": messages, "tools": None, "documents": None}
    try:
        return prints_what_a_clock_says(template.text, variables | {"add_generation_prompt": False})
    except Exception:  # a template that fails prints nothing
        return False


def _prefixes(template: Family, *conversations: Messages) -> tuple[bool, bool]:
    """Whether earlier turns stay as they are, and whether prompts are how the whole begins."""
    prefix = prompt = True
    for messages in conversations:
        whole = render(template, messages)
        if whole.error:
            continue
        for count in (1, 3):
            asked, error = plain_text(template, messages[:count], add_generation_prompt=True)
            prompt = prompt and error is None and whole.text.startswith(asked)
        # up to the end of the second message's content; an end token may differ at the very end
        shorter = render(template, messages[:2])
        wanted = max((span.end for span in shorter.spans if span.kind == "content"), default=0)
        prefix = prefix and whole.text.startswith(shorter.text[:wanted])
    return prefix, prompt


def bare_tokenizer(source: Any) -> PreTrainedTokenizerBase:
    """A tokenizer that knows bytes, a family's special tokens and turn markers, and no more.

    It stands in where a template is to be tried with TRL and its own tokenizer is not at hand.
    """
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    template = as_family(source)
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    core = Tokenizer(
        models.BPE(vocab={char: place for place, char in enumerate(alphabet)}, merges=[])
    )
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    core.decoder = decoders.ByteLevel()
    messages = in_blocks(PROBE) if wants_blocks(template) else PROBE
    parts = render(template, messages).parts()
    turns = [text.strip() for span, text in parts if span.kind in ("header", "end")]
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=core,
        pad_token="<pad_token>",
        additional_special_tokens=sorted({turn for turn in turns if turn}),
        **template.tokens,
    )
    tokenizer.chat_template = template.text
    return tokenizer


@dataclass(frozen=True)
class Verdict:
    """What `SFTTrainer` does with a template when `assistant_only_loss=True`.

    Attributes:
        outcome: "accepted" as it is, "patched" (another template takes its place in training) or
            "refused" (an error before training).
        reason: why, in one sentence.
        template: the template that training would use; None when it is refused.
        end_trained: whether the token that ends a turn is inside the loss; None for a vision
            model, of which TRL asks the processor.
    """

    outcome: Literal["accepted", "patched", "refused"]
    reason: str
    template: str | None
    end_trained: bool | None


def trl_verdict(source: Any) -> Verdict:
    """Ask TRL's own functions what they make of a template for `assistant_only_loss`.

    Args:
        source: a `Family`, its name, the source of a template, or a tokenizer.

    Raises:
        ModelError: the tokenizer has no chat template.
        DataError: no family has that name.
    """
    from trl.chat_template_utils import (
        get_training_chat_template,
        is_chat_template_stop_token_trained,
    )

    template = as_family(source)
    tokenizer = source if hasattr(source, "apply_chat_template") else bare_tokenizer(template)
    vision = wants_blocks(template)

    def ends(text: str) -> bool | None:
        known = is_chat_template_stop_token_trained(tokenizer, chat_template=text)
        return None if vision else bool(known)

    if has_markers(template.text):
        return Verdict("accepted", "it has markers", template.text, ends(template.text))
    try:
        patched = get_training_chat_template(tokenizer)
    except Exception as error:  # ValueError says so on purpose; anything else also stops the run
        said = " ".join(str(error).split())
        return Verdict("refused", f"{type(error).__name__}: {said}", None, False)
    text = patched or template.text
    return Verdict("patched", "TRL ships a variant of exactly this text", text, ends(text))


def check_template(
    source: Any,
    tokenizer: PreTrainedTokenizerBase | None = None,
    *,
    also_stops_at: Sequence[str] = (),
) -> list[Check]:
    """List what is wrong with a chat template.

    Args:
        source: a `Family`, its name, the source of a template, a tokenizer, or None.
        tokenizer: the tokenizer that it will be used with; left out, a `source` that is a
            tokenizer itself, else the end token is not checked.
        also_stops_at: texts of further tokens at which generation stops, for example those of
            the model's generation config.

    Returns:
        Checks, errors first; empty for a template without a flaw.
    """
    if tokenizer is None and hasattr(source, "apply_chat_template"):
        tokenizer = source
    if not source or (tokenizer is source and not getattr(source, "chat_template", None)):
        said = "there is no chat template: messages cannot become text, and SFTTrainer stops"
        fix = "set SFTConfig(chat_template_path=...) or tokenizer.chat_template"
        return [Check("template.missing", "error", said, fix)]
    template = as_family(source)
    if tokenizer is not None and tokenizer is not source:
        own = {k: v for k, v in tokenizer.special_tokens_map.items() if isinstance(v, str)}
        template = Family(template.name, template.text, template.training_text, own)
    found = traits(template)
    checks = [*_content_checks(template, found), *_text_checks(found)]
    if tokenizer is not None and found.system != "fails":
        checks += _end_checks(found, tokenizer, also_stops_at)
    checks += _marker_checks(template, tokenizer)
    rank = {"error": 0, "warning": 1, "note": 2}
    return sorted(checks, key=lambda check: rank[check.severity])


def _content_checks(template: Family, found: Traits) -> Iterator[Check]:
    rendering = render(template, PROBE)
    fix = "mend the template, or choose another with chat_template_path"
    if rendering.error:
        losses = [rendering.error]
    elif found.blocks:
        losses = ["the template loses every content that is plain text: it reads lists of blocks"]
    else:
        gone = [m["role"] for m in PROBE if m["content"] not in rendering.text]
        gone += ["system"] if found.system == "dropped" else []
        losses = [f"the template loses the content of {role} turns" for role in dict.fromkeys(gone)]
    if found.blocks:
        fix = "write content as [{'type': 'text', 'text': ...}]"
    for said in losses:
        yield Check("template.drops_content", "error", said, fix)


def _text_checks(found: Traits) -> Iterator[Check]:
    broken = []
    if not found.prefix:
        broken = ["an earlier assistant turn is written otherwise once the conversation goes on"]
    if not found.prompt:
        broken += ["the prompt at inference is not how the training text begins"]
    if broken:
        fix = "train one row per answer, or use the same rule for training and serving"
        yield Check("template.prefix_broken", "warning", "; ".join(broken), fix)
    if found.date:
        said = "the template prints today's date: rows prepared on two days differ"
        fix = "pass a fixed date through chat_template_kwargs, or fix it in the template"
        yield Check("template.renders_date", "warning", said, fix)


def _end_checks(
    found: Traits, tokenizer: PreTrainedTokenizerBase, also_stops_at: Sequence[str]
) -> Iterator[Check]:
    stops = [text for text in [tokenizer.eos_token, *also_stops_at] if text]
    if any(stop in found.end for stop in stops):
        return
    written = f"{found.end.strip()!r}" if found.end.strip() else "nothing"
    said = (
        f"the template ends a turn with {written}, but generation stops at"
        f" {' or '.join(map(repr, stops)) or 'nothing'}: the model will not stop"
    )
    fix = "set SFTConfig(eos_token=...) to the token that ends a turn"
    yield Check("template.end_token_not_eos", "error", said, fix)


def _marker_checks(template: Family, tokenizer: PreTrainedTokenizerBase | None) -> Iterator[Check]:
    if has_markers(template.text):
        return
    if tokenizer is not None:
        tokenizer = copy.copy(tokenizer)
        tokenizer.chat_template = template.text
    verdict = trl_verdict(tokenizer or template)
    code, said = "template.no_generation_markers", "no {% generation %} markers: "
    if verdict.outcome == "refused":
        said += f"assistant_only_loss=True is refused ({verdict.reason})"
        fix = "put {% generation %} and {% endgeneration %} around an answer and its end token"
        yield Check(code, "warning", said, fix)
    else:
        said += "assistant_only_loss=True is possible because TRL trains with a patched template"
        fix = "nothing, if you know that training and serving text may differ"
        yield Check(code, "note", said, fix)
