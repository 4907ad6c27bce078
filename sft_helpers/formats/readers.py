"""From each format to TRL's `messages`: one function per format, its docstring is the rule.

Every function takes one row and returns the canonical row: `messages`, and where the row has them
`tools` (a JSON string) and `chat_template_kwargs`. Text is never trimmed or rewritten unless the
rule says so.

Raises (all of them):
    RowError: the row cannot be put as messages; its `code` and text say why.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from sft_helpers.formats.messages import (
    ROLE_ALIASES,
    Message,
    Row,
    RowError,
    json_list,
    kind,
    read_messages,
    read_tools,
    text,
)

TURN_START, TURN_END, TEXT_END = "<|im_start|>", "<|im_end|>", "<|endoftext|>"
_CHATML_TURN = re.compile(
    re.escape(TURN_START) + r"([^\n<]*)\n(.*?)" + re.escape(TURN_END) + r"\s*", re.DOTALL
)

# Column names that mean the same; the first is the one that `export` writes.
CONVERSATIONS = ("conversations", "conversation", "dialog", "dialogue")
OUTPUTS = ("output", "response")
INPUTS = ("input", "context")
COMPLETIONS = ("completion", "response")
QUESTIONS = ("question", "query")
ANSWERS = ("answer", "response")


def first(row: Row, names: tuple[str, ...]) -> Any:
    """The value of the first of these columns that the row has and that is not null."""
    return next((row[name] for name in names if row.get(name) is not None), None)


def with_extras(row: Row, messages: list[Message]) -> dict[str, Any]:
    """Add the two other columns that TRL reads beside messages."""
    canonical: dict[str, Any] = {"messages": messages}
    tools = read_tools(row.get("tools"))
    if tools is not None:
        canonical["tools"] = tools
    options = row.get("chat_template_kwargs")
    if options is not None and options != "":
        if not isinstance(options, Mapping):
            raise RowError("data.unsupported_format", "`chat_template_kwargs` is not an object")
        canonical["chat_template_kwargs"] = dict(options)
    return canonical


def _system(row: Row) -> list[Message]:
    """A `system` column as the first message; null and "" mean that there is none."""
    system = row.get("system")
    if system is None or system == "":
        return []
    return [{"role": "system", "content": text(system, "`system`")}]


def _pair(user: str, assistant: str) -> list[Message]:
    return [{"role": "user", "content": user}, {"role": "assistant", "content": assistant}]


def from_messages(row: Row, dropped: set[str]) -> dict[str, Any]:
    """`messages` (role, content), TRL's own and OpenAI's: each turn by the rules of `messages`.

    `tools` and `chat_template_kwargs` are kept. A `system` column beside the list is refused:
    TRL would ignore it, and whether it was meant is not for a converter to guess.
    """
    messages = read_messages(row.get("messages"), dropped)
    if row.get("system"):
        raise RowError("data.ignored_column", "there is a `system` column beside `messages`")
    return with_extras(row, messages)


def from_ultrachat(row: Row, dropped: set[str]) -> dict[str, Any]:
    """UltraChat: `messages` is the conversation; `prompt` repeats its first turn and is left out.

    Left in, the string `prompt` makes TRL expect a `completion`, and training fails.
    """
    dropped.add("prompt")
    return from_messages(row, dropped)


def from_sharegpt(row: Row, dropped: set[str]) -> dict[str, Any]:
    """ShareGPT: turns with `from` and `value` in `conversations`, or any name of CONVERSATIONS.

    Roles are mapped by ROLE_ALIASES (human → user, gpt → assistant, observation → tool); a
    `function_call` turn becomes an assistant turn with a tool call. A `system` column becomes the
    first message. `tools` is kept.
    """
    column = next((name for name in CONVERSATIONS if row.get(name) is not None), "messages")
    messages = _system(row) + read_messages(row.get(column), dropped, what=column)
    return with_extras(row, messages)


def from_alpaca(row: Row, dropped: set[str]) -> dict[str, Any]:
    """Alpaca and Dolly: `instruction`, `input` or `context`, `output` or `response`.

    The user says the instruction; an input that is not blank follows after an empty line. The
    assistant says the output. `system` becomes the first message, `history` (pairs of user and
    assistant) the turns before. The "Below is an instruction …" frame is not added: the chat
    template is the frame.
    """
    user = text(row.get("instruction"), "`instruction`")
    given = first(row, INPUTS)
    if given is not None and text(given, "`input`").strip():
        user = f"{user}\n\n{given}"
    messages = _system(row)
    for number, pair in enumerate(_history(row.get("history")), start=1):
        if not isinstance(pair, list | tuple) or len(pair) != 2:
            raise RowError(
                "data.unsupported_format", f"entry {number} of `history` is no pair of texts"
            )
        messages += _pair(*(text(part, f"entry {number} of `history`") for part in pair))
    return {"messages": messages + _pair(user, text(first(row, OUTPUTS), "`output`"))}


def _history(value: Any) -> list[Any]:
    value = json_list(value)
    if value is None or value == "":
        return []
    if not isinstance(value, list):
        raise RowError("data.unsupported_format", f"`history` is {kind(value)}, not a list")
    return value


def from_prompt_completion(row: Row, dropped: set[str]) -> dict[str, Any]:
    """Strings `prompt` and `completion` (or `response`): one user turn, one assistant turn.

    The separator between them is formatting, not content: one line break at the end of the
    prompt is removed, or, where the prompt does not end in white space, one space at the start
    of the completion.
    """
    prompt = text(row.get("prompt"), "`prompt`")
    completion = text(first(row, COMPLETIONS), "`completion`")
    if not prompt[-1:].isspace():
        completion = completion.removeprefix(" ")
    return {"messages": _system(row) + _pair(prompt.removesuffix("\n"), completion)}


def from_prompt_completion_messages(row: Row, dropped: set[str]) -> dict[str, Any]:
    """Lists of messages `prompt` and `completion`: one after the other.

    TRL trains the completion of such a row; of `messages` it trains every turn, or every
    assistant turn with `assistant_only_loss`.
    """
    prompt = read_messages(row.get("prompt"), dropped, what="prompt")
    return with_extras(
        row, prompt + read_messages(row.get("completion"), dropped, what="completion")
    )


def from_question_answer(row: Row, dropped: set[str]) -> dict[str, Any]:
    """`question` (or `query`) and `answer` (or `response`), with an optional `system` column."""
    question = text(first(row, QUESTIONS), "`question`")
    return {"messages": _system(row) + _pair(question, text(first(row, ANSWERS), "`answer`"))}


def from_chatml(row: Row, dropped: set[str]) -> dict[str, Any]:
    """A `text` rendered with ChatML: `<|im_start|>role`, line break, content, `<|im_end|>`.

    The content is taken as it stands, line breaks at its edges included. White space between
    turns and one `<|endoftext|>` at the end are formatting. Refused: text outside the turns, a
    last turn that is not closed, a turn that opens inside another.
    """
    rest = text(row.get("text"), "`text`").strip().removesuffix(TEXT_END)
    messages: list[Message] = []
    while rest:
        match = _CHATML_TURN.match(rest)
        if match is None:
            open_turn = rest.startswith(TURN_START)
            raise RowError(
                "data.unsupported_format",
                f"turn {len(messages) + 1} is not closed by {TURN_END}"
                if open_turn
                else f"there is text outside the turns after turn {len(messages)}",
            )
        role, content = match.groups()
        if TURN_START in content:
            raise RowError(
                "data.special_token_in_content",
                f"turn {len(messages) + 1} opens another turn before it is closed",
            )
        if role.strip().lower() not in ROLE_ALIASES:
            raise RowError(
                "data.unknown_role", f"turn {len(messages) + 1} has the role {role[:40]!r}"
            )
        messages.append({"role": ROLE_ALIASES[role.strip().lower()], "content": content})
        rest = rest[match.end() :]
    if not messages:
        raise RowError("data.no_assistant_turn", "`text` holds no turn")
    return {"messages": messages}
