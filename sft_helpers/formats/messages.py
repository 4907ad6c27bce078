"""One message: which role names, contents and tool calls are understood, and what they become.

The canonical message is the one that TRL and chat templates take: `role` (system, user, assistant
or tool), `content` (a string), and where there are any `tool_calls`, `tool_call_id`, `name`,
`reasoning_content` or `thinking`. Whatever cannot be put that way raises `RowError`: a role or a
text is never guessed.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from sft_helpers.errors import DataError

Row = Mapping[str, Any]
Message = dict[str, Any]

ROLES = ("system", "user", "assistant", "tool")
# Spellings met in public data sets, lower case. `developer` is OpenAI's newer name for system.
ROLE_ALIASES = {
    "system": "system",
    "developer": "system",
    "user": "user",
    "human": "user",
    "prompter": "user",
    "assistant": "assistant",
    "gpt": "assistant",
    "chatgpt": "assistant",
    "bot": "assistant",
    "chatbot": "assistant",
    "model": "assistant",
    "bard": "assistant",
    "bing": "assistant",
    "tool": "tool",
    "function": "tool",
    "observation": "tool",
    "ipython": "tool",
    "tool_response": "tool",
}
# Here the value is itself a call, written as JSON: {"name": …, "arguments": {…}}.
CALL_ROLES = ("function_call", "tool_call")

_TEXT_KEYS = ("name", "tool_call_id", "reasoning_content", "thinking")
_KNOWN_KEYS = {"role", "from", "content", "value", "tool_calls", "function_call", *_TEXT_KEYS}


class RowError(DataError):
    """One row cannot be converted; `code` is the finding code that preflight uses too."""

    def __init__(self, code: str, message: str) -> None:
        self.code = code
        super().__init__(message)


def text(value: Any, what: str) -> str:
    """Return a string that a tokenizer can take.

    Raises:
        RowError: it is missing, is not a string, or is not valid Unicode.
    """
    if value is None:
        raise RowError("data.missing_content", f"{what} is missing")
    if not isinstance(value, str):
        raise RowError("data.content_not_text", f"{what} is {kind(value)}, not text")
    if not is_unicode(value):
        raise RowError("data.invalid_unicode", f"{what} holds half of a UTF-16 pair")
    return value


def is_unicode(value: str) -> bool:
    """Whether the text is free of lone surrogates, which no tokenizer takes."""
    try:
        value.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True


def printable(value: str) -> str:
    """The text with lone surrogates written as backslash escapes, so that it can be printed."""
    return value.encode("utf-8", "backslashreplace").decode("utf-8")


def kind(value: Any) -> str:
    """The type of a value in words: "a list", "a number" and so on."""
    names = {
        "str": "text",
        "dict": "an object",
        "list": "a list",
        "tuple": "a list",
        "bool": "true or false",
        "int": "a number",
        "float": "a number",
        "NoneType": "null",
    }
    return names.get(type(value).__name__, f"of type {type(value).__name__}")


def json_list(value: Any) -> Any:
    """A list as it is; the list inside a JSON string, as CSV cells hold it; else the value."""
    if isinstance(value, str) and value.lstrip()[:1] == "[":
        try:
            parsed = json.loads(value)
        except (ValueError, RecursionError):
            return value
        return parsed if isinstance(parsed, list) else value
    return value


def role_of(raw: Row) -> Any:
    """The role as it is written: `role`, or ShareGPT's `from`."""
    return raw.get("role") if raw.get("role") is not None else raw.get("from")


def content_of(raw: Row) -> Any:
    """The content as it is written: `content`, or ShareGPT's `value`."""
    return raw.get("content") if raw.get("content") is not None else raw.get("value")


def read_messages(value: Any, dropped: set[str], *, what: str = "messages") -> list[Message]:
    """Read a list of turns.

    Args:
        value: the list, or a JSON string that holds one.
        dropped: the names of fields that are left out are added to it.
        what: the column, for the error.

    Raises:
        RowError: it is no list, it is empty, or a turn cannot be read.
    """
    turns = json_list(value)
    if not isinstance(turns, list):
        raise RowError("data.unsupported_format", f"`{what}` is {kind(turns)}, not a list of turns")
    if not turns:
        raise RowError("data.no_assistant_turn", f"`{what}` is an empty list")
    return [_read(turn, number, dropped) for number, turn in enumerate(turns, start=1)]


def _read(raw: Any, number: int, dropped: set[str]) -> Message:
    """One turn.

    * role: `role` or `from`, spelled in any way of `ROLE_ALIASES`, capitals ignored.
    * content: `content` or `value`. A list of text parts is joined without a separator. Null
      beside a tool call becomes "", because templates add the content to the header.
    * `function_call` (OpenAI's old form) and the roles of `CALL_ROLES` become `tool_calls`.
    * `weight: 0` (OpenAI: do not train on this turn) is refused, because TRL would train on it.
    * null fields count as absent; other fields are left out and named in `dropped`.
    """
    turn = f"turn {number}"
    if not isinstance(raw, Mapping):
        raise RowError("data.unsupported_format", f"{turn} is {kind(raw)}, not an object")
    written = role_of(raw)
    name = written.strip().lower() if isinstance(written, str) else written
    message: Message = {}
    calls = [_read_call(call, turn) for call in _listed(raw.get("tool_calls"), turn)]
    if raw.get("function_call") is not None:
        calls.append(_read_call(raw["function_call"], turn))
    if isinstance(name, str) and name in CALL_ROLES:
        called = _json(text(content_of(raw), f"the call in {turn}"), turn)
        several = called if isinstance(called, list) else [called]
        calls += [_read_call(call, turn) for call in several]
        message |= {"role": "assistant", "content": ""}
    elif isinstance(name, str) and name in ROLE_ALIASES:
        message |= {"role": ROLE_ALIASES[name], "content": _content(raw, turn, bool(calls))}
    else:
        shown = repr(written[:40]) if isinstance(written, str) else kind(written)
        raise RowError("data.unknown_role", f"{turn} has the role {shown}")
    if calls:
        message["tool_calls"] = calls
    if raw.get("weight") is not None and raw["weight"] in (0, False):
        raise RowError("data.turn_weight", f"{turn} has weight 0, but TRL would train it")
    for key in _TEXT_KEYS:
        if raw.get(key) is not None:
            message[key] = text(raw[key], f"`{key}` of {turn}")
    left = {
        printable(str(key))
        for key, value in raw.items()
        if key not in _KNOWN_KEYS and value is not None
    }
    dropped.update(f"messages[].{key}" for key in left)
    return message


def _content(raw: Row, turn: str, has_calls: bool) -> str:
    content = content_of(raw)
    if content is None and has_calls:
        return ""
    if isinstance(content, list) and content:
        parts = [part.get("text") if isinstance(part, Mapping) else None for part in content]
        if not all(isinstance(part, str) for part in parts):
            raise RowError("data.content_not_text", f"{turn} holds a part that is not text")
        content = "".join(str(part) for part in parts)
    return text(content, f"the content of {turn}")


def _listed(value: Any, turn: str) -> list[Any]:
    value = json_list(value)
    if value is None or value == "":
        return []
    if not isinstance(value, list):
        raise RowError("data.tool_call_invalid", f"`tool_calls` of {turn} is {kind(value)}")
    return value


def _read_call(raw: Any, turn: str) -> Message:
    """One tool call: OpenAI's nested shape or a bare name with arguments; arguments an object.

    Arguments written as a JSON string are parsed: a template would encode them a second time.
    """
    body = raw.get("function", raw) if isinstance(raw, Mapping) else raw
    if not isinstance(body, Mapping) or not isinstance(body.get("name"), str):
        raise RowError("data.tool_call_invalid", f"a tool call in {turn} has no function name")
    arguments = body.get("arguments")
    if isinstance(arguments, str):
        arguments = _json(arguments, turn) if arguments.strip() else {}
    if arguments is None:
        arguments = {}
    if not isinstance(arguments, Mapping):
        raise RowError(
            "data.tool_call_invalid", f"the arguments of a tool call in {turn} are not an object"
        )
    function = {"name": text(body["name"], f"the tool's name in {turn}")}
    call: Message = {"type": "function", "function": {**function, "arguments": _plain(arguments)}}
    if isinstance(raw.get("id"), str):
        call["id"] = raw["id"]
    return call


def _plain(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """A copy through JSON, so that what is kept can be written to a file and rendered."""
    try:
        encoded = json.dumps(arguments, ensure_ascii=False)
        encoded.encode("utf-8")
        plain: dict[str, Any] = json.loads(encoded)
    except (TypeError, ValueError, RecursionError) as problem:
        raise RowError(
            "data.tool_call_invalid", f"the arguments of a tool call are not plain JSON ({problem})"
        ) from None
    return plain


def _json(value: str, turn: str) -> Any:
    try:
        return json.loads(value)
    except (ValueError, RecursionError):
        raise RowError("data.tool_call_invalid", f"a tool call in {turn} is not JSON") from None


def read_tools(value: Any) -> str | None:
    """The `tools` column as TRL wants it, a JSON string; a list is encoded; "" and [] are absent.

    As a list of objects it would pass through Arrow, which gives every tool the fields of all
    others.

    Raises:
        RowError: it is neither a list nor a JSON string that holds one.
    """
    if value is None or value == "" or value == []:
        return None
    tools = json_list(value)
    if not isinstance(tools, list):
        raise RowError("data.tools_not_json", f"`tools` is {kind(value)} that holds no list")
    try:
        encoded = json.dumps(tools, ensure_ascii=False)
        encoded.encode("utf-8")
    except (TypeError, ValueError, RecursionError):
        raise RowError("data.tools_not_json", "`tools` is not plain JSON") from None
    return encoded if tools else None
