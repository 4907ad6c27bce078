"""Chat templates to look at: renderings, differences, a reader for Jinja, and a live playground."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import anywidget
import traitlets
from markupsafe import Markup

from sft_helpers.display.html import Html, page, table, text_block, visible, visible_text
from sft_helpers.display.widgets import script, show, static_only
from sft_helpers.errors import DataError
from sft_helpers.templates.checks import Check, Traits, traits, trl_verdict
from sft_helpers.templates.parity import Parity
from sft_helpers.templates.reader import Step, explain
from sft_helpers.templates.render import (
    Family,
    Messages,
    Rendering,
    as_family,
    compare,
    families,
    problem_of,
    render,
)

HERE = Path(__file__).parent
MOST_PIECES = 3  # printed by one tag that are shown
AROUND = 4  # tokens shown before and after the first that differs
MODES = {"as the template decides": None, "on": True, "off": False}
EXAMPLE: list[dict[str, Any]] = [
    {"role": "system", "content": "Answer in a full sentence."},
    {"role": "user", "content": "Which pet does Ada Fairlock keep?"},
    {"role": "assistant", "content": "Ada Fairlock keeps a raven."},
    {"role": "user", "content": "And her job?"},
]
TOOL: dict[str, Any] = {
    "type": "function",
    "function": {
        "name": "look_up",
        "description": "Look up a resident in the gazette.",
        "parameters": {
            "type": "object",
            "properties": {"name": {"type": "string", "description": "full name"}},
            "required": ["name"],
        },
    },
}


def _failure(rendering: Rendering) -> Html:
    return page(
        Markup(
            "<div class='sft-card'><div class='sft-label'>{}: nothing rendered</div>{}</div>"
        ).format(visible(rendering.family), text_block(rendering.error or ""))
    )


def rendering_html(rendering: Rendering) -> Html:
    """Return a rendering part by part: what each stretch of the text is, and the text itself."""
    if rendering.error:
        return _failure(rendering)
    return table(
        [[span.label, text] for span, text in rendering.parts()],
        columns=["part", "text"],
        caption=f"What {rendering.family} writes",
        limit=200,
    )


def comparison_html(left: Rendering, right: Rendering) -> Html:
    """Return two renderings of one conversation side by side, part by part."""
    failed = [_failure(one) for one in (left, right) if one.error]
    if failed:
        rest = [rendering_html(one) for one in (left, right) if not one.error]
        return page(*failed, *rest)
    names = _names(left, right)
    return table(
        [[part.label, part.left, part.right, part.same] for part in compare(left, right)],
        columns=["part", *names, "same"],
        caption=f"{names[0]} beside {names[1]}",
        limit=200,
    )


def _names(left: Rendering, right: Rendering) -> list[str]:
    same = left.family == right.family
    return [left.family, f"{right.family} (right)" if same else right.family]


def reader_html(steps: Sequence[Step]) -> Html:
    """Return a template tag by tag: its code, what it means, what it did here, what it printed.

    Args:
        steps: from `sft_helpers.templates.reader.explain`.
    """
    rows = []
    for step in steps:
        shown = step.printed[:MOST_PIECES]
        pieces = [Markup("<div>{}</div>").format(visible(text, "all")) for text in shown]
        if len(step.printed) > len(shown):
            pieces.append(Markup("<i>… {} more</i>").format(len(step.printed) - len(shown)))
        source = step.tag.source.strip("\n")
        rows.append(
            [
                step.tag.line,
                Markup("<code class='sft-text'>{}</code>").format(visible(source, "none")),
                step.meaning or None,
                step.did or None,
                Markup("").join(pieces) or None,
            ]
        )
    columns = ["#", "template", "meaning", "here", "printed"]
    return table(rows, columns, caption="The template, tag by tag (# is the line)", limit=400)


def traits_html(rows: Sequence[Traits], verdicts: Mapping[str, str] | None = None) -> Html:
    """Return what templates do to conversations, one row each.

    Args:
        rows: from `sft_helpers.templates.checks.traits`.
        verdicts: name to "accepted", "patched" or "refused", what TRL does with each.
    """
    listed = [
        {
            "template": one.family,
            "system": one.system,
            "two users": one.two_users,
            "human, gpt": one.unknown_roles,
            "tools": one.tools,
            "thoughts": one.thinking,
            "turn ends with": one.end.strip() or "nothing",
            "adds": f"{len(one.adds)} characters" if one.adds else "nothing",
            "today's date": "printed" if one.date else "no",
            "earlier turns": "stay" if one.prefix else "change",
            "prompt": "fits" if one.prompt else "differs",
            **({"loss on answers": verdicts.get(one.family, "")} if verdicts else {}),
        }
        for one in rows
    ]
    # Markup without the class for long texts: words stay whole, and the table scrolls
    listed = [{name: visible(text) for name, text in row.items()} for row in listed]
    return table(listed, caption=f"What {len(listed)} templates do", limit=100)


def checks_html(checks: Sequence[Check]) -> Html:
    """Return findings about a template as a table; none gives a sentence."""
    if not checks:
        return page(Markup("<p>No flaw found.</p>"))
    columns = ["severity", "code", "what happens", "what to do"]
    rows = [[c.severity, c.code, c.message, c.fix] for c in checks]
    return table(rows, columns=columns, caption=f"{len(checks)} findings")


def parity_html(parity: Parity) -> Html:
    """Return training and serving tokens side by side, near the first that differs."""
    at = parity.same
    first = max(0, at - AROUND)
    end = max(len(parity.training), len(parity.serving))
    rows = []
    for place in range(first, min(first + 2 * AROUND + 1, end)):
        sides = [parity.token("training", place), parity.token("serving", place)]
        rows.append([place, *(text_block(text, "all") if text else None for text in sides)])
    return table(
        rows,
        columns=["position", "training row", "prompt at inference"],
        caption=str(parity),
        highlight=[] if parity.holds else [at - first],
    )


def show_rendering(rendering: Rendering) -> None:
    """Show a rendering part by part."""
    show(html=rendering_html(rendering), alt=rendering.error or rendering.text)


def show_comparison(left: Rendering, right: Rendering) -> None:
    """Show two renderings of one conversation side by side."""
    summary = _drawn(left, right)["summary"]
    names = _names(left, right)
    show(html=comparison_html(left, right), alt=f"{names[0]} beside {names[1]}: {summary}")


def show_reader(source: Any, messages: Messages, **options: Any) -> None:
    """Show a template tag by tag next to what it printed for a conversation.

    Args:
        source: a `Family`, its name, the source of a template, or a tokenizer.
        messages: the conversation.
        options: as for `sft_helpers.templates.render.render`.
    """
    rendering = render(source, messages, **options)
    if rendering.error:
        show_rendering(rendering)
        return
    template = as_family(source)
    variables = {**template.tokens, "messages": list(messages), "tools": None, **options}
    steps = explain(template.text, {"add_generation_prompt": False, **variables})
    show(
        html=reader_html(steps), alt=f"{template.name}, {len(steps)} tags; prints {rendering.text}"
    )


def show_traits(sources: Sequence[Any]) -> None:
    """Show what templates do to conversations, and what TRL does with them."""
    rows = [traits(one) for one in sources]
    verdicts = {
        row.family: trl_verdict(one).outcome for row, one in zip(rows, sources, strict=True)
    }
    words = ", ".join(f"{name} {outcome}" for name, outcome in verdicts.items())
    show(html=traits_html(rows, verdicts), alt=f"assistant_only_loss: {words}")


def show_checks(checks: Sequence[Check]) -> None:
    """Show findings about a template."""
    words = "; ".join(f"{check.code}: {check.message}" for check in checks)
    show(html=checks_html(checks), alt=words or "no flaw found")


def show_parity(parity: Parity) -> None:
    """Show training and serving tokens near the first that differs."""
    show(html=parity_html(parity), alt=str(parity))


class PlaygroundView(anywidget.AnyWidget):
    """Controls around `render` and `compare`: the page sends `request` and draws `answer`."""

    _esm = script("playground.js")
    _css = "".join((HERE / name).read_text("utf-8") for name in ("kit.css", "playground.css"))
    names = traitlets.List(traitlets.Unicode()).tag(sync=True)
    modes = traitlets.List(traitlets.Unicode(), list(MODES)).tag(sync=True)
    request: Any = traitlets.Dict().tag(sync=True)
    answer: Any = traitlets.Dict().tag(sync=True)

    def __init__(self, sources: Mapping[str, Family], request: Mapping[str, Any]) -> None:
        self._sources = dict(sources)
        super().__init__(
            names=list(sources), request=dict(request), answer=answer_to(self._sources, request)
        )
        self.observe(self._respond, names="request")

    def _respond(self, change: Any) -> None:
        self.answer = answer_to(self._sources, change["new"])


def answer_to(sources: Mapping[str, Family], request: Mapping[str, Any]) -> dict[str, Any]:
    """Render what the page asks for, as plain data; every failure is a sentence.

    Args:
        sources: families by the name that the page shows.
        request: text (JSON), left, right, prompt, tools, thinking.

    Returns:
        left, right (names), summary (a sentence), rows (label, left, right, same).
    """
    names = [str(request.get(side)) for side in ("left", "right")]
    found: dict[str, Any] = {"left": names[0], "right": names[1], "rows": []}
    try:
        messages = json.loads(str(request.get("text", "")))
    except json.JSONDecodeError as error:
        return found | {"summary": f"This is not JSON yet: {error.msg}, line {error.lineno}."}
    problem = problem_of(messages)
    unknown = [name for name in names if name not in sources]
    if problem or unknown:
        return found | {"summary": f"{problem or f'no template is called {unknown[0]!r}'}."}
    options: dict[str, Any] = {"add_generation_prompt": bool(request.get("prompt"))}
    if request.get("tools"):
        options["tools"] = [TOOL]
    thinking = MODES.get(str(request.get("thinking")))
    if thinking is not None:
        options["enable_thinking"] = thinking
    left, right = (render(sources[name], messages, **options) for name in names)
    return found | _drawn(left, right)


def _drawn(left: Rendering, right: Rendering) -> dict[str, Any]:
    def shown(text: str | None) -> str | None:
        return None if text is None else _marked(visible_text(text))

    errors = [f"{one.family}: {one.error}." for one in (left, right) if one.error]
    parts = compare(left, right)
    differ = sum(not part.same for part in parts)
    sizes = " and ".join(str(len(one.text)) for one in (left, right))
    summary = f"{differ} of {len(parts)} parts differ; {sizes} characters."
    return {
        "summary": " ".join(errors) or summary,
        "rows": [
            {
                "label": visible_text(part.label),
                "left": shown(part.left),
                "right": shown(part.right),
                "same": part.same,
            }
            for part in parts
        ],
    }


def _marked(text: str) -> str:
    """Text with the spaces and line ends at its edges made visible."""
    marks = {" ": "·", "\t": "⇥", "\n": "⏎\n"}
    inner = text.strip(" \t\n")
    start = text.index(inner) if inner else len(text)
    head, tail = text[:start], text[start + len(inner) :]
    edges = ["".join(marks[char] for char in edge) for edge in (head, tail)]
    return f"{edges[0]}{inner}{edges[1]}"


def _sources(tokenizer: Any) -> dict[str, Family]:
    known = {one.name: one for one in families()}
    if tokenizer is None:
        return known
    own = as_family(tokenizer)
    name = f"{own.name} (yours)"
    return {name: replace(own, name=name), **known}


def playground(
    messages: Messages | None = None,
    left: str | None = None,
    right: str = "llama3",
    *,
    tokenizer: Any = None,
) -> None:
    """Show two templates on one conversation, to edit and to switch.

    Args:
        messages: the conversation to begin with.
        left: name of a family; left out, the tokenizer's own template, else "qwen2_5".
        right: name of a family.
        tokenizer: offer its template too, under the name of its folder.

    Raises:
        ModelError: the tokenizer has no chat template.
        DataError: no family has that name.
    """
    sources = _sources(tokenizer)
    left = left or (next(iter(sources)) if tokenizer is not None else "qwen2_5")
    for name in (left, right):
        if name not in sources:
            raise DataError(f"TRL ships no template named {name!r}", hint=", ".join(sources))
    conversation = list(messages if messages is not None else EXAMPLE)
    request = {
        "text": json.dumps(conversation, ensure_ascii=False, indent=1),
        "left": left,
        "right": right,
        "prompt": True,
        "tools": False,
        "thinking": next(iter(MODES)),
        "number": 0,
    }
    renderings = {
        name: render(one, conversation, add_generation_prompt=True) for name, one in sources.items()
    }
    static = page(
        comparison_html(renderings[left], renderings[right]),
        Markup(
            "<details><summary>The same conversation in all {} templates</summary>{}</details>"
        ).format(len(renderings), _all_html(renderings)),
    )
    widget = None if static_only() else PlaygroundView(sources, request)
    alt = _drawn(renderings[left], renderings[right])["summary"]
    show(widget, html=static, alt=f"{left} beside {right}: {alt}")


def _all_html(renderings: Mapping[str, Rendering]) -> Html:
    rows = [
        [name, text_block(one.text, "none") if not one.error else one.error]
        for name, one in renderings.items()
    ]
    return table(rows, columns=["template", "text"], caption="All templates", limit=100)
