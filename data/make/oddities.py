"""Rows as they are met in public data sets: each with a note and with what becomes of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class OddRow:
    """One row.

    Attributes:
        row: the row as it stands in its file.
        note: what is odd about it.
        outcome: "converted", or the code with which `convert` rejects it or `validate` flags it
            after conversion.
    """

    row: dict[str, Any]
    note: str
    outcome: str


_Q, _A = "Which pet does Ada Fenwick keep?", "Ada Fenwick keeps a raven."
_EVIL = (
    "<script>window.__xss = 1</script><img src=x onerror='window.__xss = 1'>\u200b\u202enevar\u202c"
)


def _turn(role: str, content: Any, **more: Any) -> dict[str, Any]:
    return {"role": role, "content": content, **more}


def _said(who: str, value: Any) -> dict[str, Any]:
    return {"from": who, "value": value}


def _call(arguments: Any) -> dict[str, Any]:
    function = {"name": "look_up", "arguments": arguments}
    return {"id": "call_1", "type": "function", "function": function}


def _with_call(arguments: Any) -> dict[str, Any]:
    return {
        "messages": [
            _turn("user", _Q),
            _turn("assistant", None, tool_calls=[_call(arguments)]),
            _turn("tool", "raven", tool_call_id="call_1"),
            _turn("assistant", _A),
        ]
    }


ODD_ROWS = (
    OddRow({"conversations": [_said("Human", _Q), _said("GPT", _A)]}, "ShareGPT roles, capitalised",
        "converted"),
    OddRow({"conversations": [_said("human", _Q), _said("narrator", _A)]},
        "a role that nobody knows", "data.unknown_role"),
    OddRow({"conversations": [_said("gpt", "Welcome!"), _said("human", _Q), _said("gpt", _A)]},
        "the conversation begins with the assistant, as scraped pages do", "data.not_alternating"),
    OddRow(
        {
            "conversations": [
                _said("human", _Q),
                _said("function_call", '{"name": "look_up", "arguments": {"fact": "pet"}}'),
                _said("observation", "raven"),
                _said("gpt", _A),
            ]
        }, "a tool call as a turn of its own", "converted"),
    OddRow({"messages": [_turn("user", _Q), _turn("assistant", None)]},
        "null where the answer should be", "data.missing_content"),
    OddRow({"messages": [_turn("user", "How many ravens?"), _turn("assistant", 1)]},
        "a number where text should be", "data.content_not_text"),
    OddRow({"messages": [_turn("user", [{"type": "text", "text": _Q}]), _turn("assistant", _A)]},
        "content as a list of parts", "converted"),
    OddRow({"messages": [_turn("user", _Q), _turn("assistant", "")]}, "an empty answer",
        "data.empty_turn"),
    OddRow({"messages": [_turn("user", _Q), _turn("assistant", _A), _turn("user", "Thanks!")]},
        "the last word is the user's", "data.last_turn_not_assistant"),
    OddRow(
        {
            "messages": '[{"role": "user", "content": "Hi"}, '
            '{"role": "assistant", "content": "Hi."}]'
        }, "the messages are a string that holds JSON, as in a CSV cell", "converted"),
    OddRow({"system": "Answer in a full sentence.", "messages": [_turn("user", _Q)]},
        "a `system` column beside the messages, which TRL ignores", "data.ignored_column"),
    OddRow({"messages": [_turn("user", _Q), _turn("assistant", _A, weight=0)]},
        "a turn with weight 0: its author did not want it trained", "data.turn_weight"),
    OddRow(_with_call('{"name": "Ada Fenwick", "fact": "pet"}'),
        "tool arguments as a JSON string, as the OpenAI interface returns them", "converted"),
    OddRow(_with_call('{"name": "Ada Fenwick", "fact'), "tool arguments that were cut off",
        "data.tool_call_invalid"),
    OddRow({"instruction": "Name the pet.", "input": _A, "output": "A raven."},
        "Alpaca with an input", "converted"),
    OddRow({"instruction": _Q, "input": "", "output": None}, "Alpaca without an output",
        "data.missing_content"),
    OddRow({"prompt": _Q, "completion": _A}, "prompt and completion that touch when joined",
        "converted"),
    OddRow({"text": f"<|im_start|>user\n{_Q}<|im_end|>\n<|im_start|>assistant\n{_A}"},
        "rendered text whose last turn is not closed", "data.unsupported_format"),
    OddRow({"prompt": _Q, "chosen": _A, "rejected": "A goat."}, "a preference pair, for DPO",
        "data.unsupported_format"),
    OddRow({"messages": [_turn("user", "Where is the \ud83d?"), _turn("assistant", _A)]},
        "half an emoji: text cut in the middle of a UTF-16 pair", "data.invalid_unicode"),
    OddRow({"messages": [_turn("user", _EVIL), _turn("assistant", _A)]},
        "markup, zero-width and right-to-left characters: harmless, and visible in every view",
        "converted"),
)  # fmt: skip
