"""From TRL's `messages` to each other format: what a format cannot hold is refused, never lost.

Every function takes one canonical row and returns one row of its format. Read back with the
function of the same format in `readers`, it gives the same canonical row.

Raises (all of them):
    RowError: the format has no place for something in this row.
"""

from __future__ import annotations

import hashlib
import json
from typing import Any

from sft_helpers.formats.messages import Message, RowError
from sft_helpers.formats.readers import TURN_END, TURN_START

Canonical = dict[str, Any]

_SHAREGPT_ROLES = {"system": "system", "user": "human", "assistant": "gpt", "tool": "observation"}


def _refuse(why: str) -> RowError:
    return RowError("data.format_too_narrow", why)


def _plain_turns(row: Canonical, name: str, *, tools: bool = False) -> list[Message]:
    """The messages, if they have nothing but role and content and the row no other column."""
    extra = set(row) - {"messages"} - ({"tools"} if tools else set())
    if extra:
        raise _refuse(f"{name} has no place for `{sorted(extra)[0]}`")
    for number, message in enumerate(row["messages"], start=1):
        more = set(message) - {"role", "content"}
        if more:
            raise _refuse(f"{name} has no place for `{sorted(more)[0]}` (turn {number})")
    turns: list[Message] = row["messages"]
    return turns


def _question_and_answer(row: Canonical, name: str) -> tuple[list[Message], str, str]:
    """(system message or nothing, user text, assistant text) of a single-turn conversation."""
    turns = _plain_turns(row, name)
    system = turns[:1] if turns and turns[0]["role"] == "system" else []
    rest = turns[len(system) :]
    if [turn["role"] for turn in rest] != ["user", "assistant"]:
        raise _refuse(f"{name} holds one question and one answer, not {len(rest)} turns")
    return system, rest[0]["content"], rest[1]["content"]


def _system_column(system: list[Message], name: str) -> Canonical:
    if system and not system[0]["content"]:
        raise _refuse(f"{name} cannot tell an empty system message from none")
    return {"system": system[0]["content"]} if system else {}


def to_messages(row: Canonical) -> Canonical:
    """The canonical row itself."""
    return row


def to_openai(row: Canonical) -> Canonical:
    """OpenAI's chat files: arguments as a JSON string, `tools` as a list, null for no content."""
    messages = []
    for message in row["messages"]:
        copy = dict(message)
        if copy.get("tool_calls"):
            copy["content"] = copy["content"] or None
            copy["tool_calls"] = [_string_arguments(call) for call in copy["tool_calls"]]
        messages.append(copy)
    tools = {"tools": json.loads(row["tools"])} if "tools" in row else {}
    return {**row, "messages": messages, **tools}


def _string_arguments(call: Message) -> Message:
    function = call["function"]
    encoded = json.dumps(function["arguments"], ensure_ascii=False)
    return {**call, "function": {**function, "arguments": encoded}}


def to_ultrachat(row: Canonical) -> Canonical:
    """UltraChat: `prompt` repeats the first user turn, `prompt_id` is its SHA-256."""
    turns = _plain_turns(row, "UltraChat")
    prompt = next((turn["content"] for turn in turns if turn["role"] == "user"), None)
    if prompt is None:
        raise _refuse("UltraChat wants a user turn for its `prompt`")
    digest = hashlib.sha256(prompt.encode("utf-8")).hexdigest()
    return {"prompt": prompt, "prompt_id": digest, "messages": turns}


def to_sharegpt(row: Canonical) -> Canonical:
    """ShareGPT: `from` is system, human, gpt or observation; `tools` stays a JSON string.

    A single tool call without text becomes a `function_call` turn.
    """
    turns = []
    for message in row["messages"]:
        calls = message.get("tool_calls")
        plain = set(message) == {"role", "content"}
        if plain:
            turns.append({"from": _SHAREGPT_ROLES[message["role"]], "value": message["content"]})
        elif (
            calls
            and len(calls) == 1
            and not message["content"]
            and set(message) == {"role", "content", "tool_calls"}
            and "id" not in calls[0]
        ):
            call = json.dumps(calls[0]["function"], ensure_ascii=False)
            turns.append({"from": "function_call", "value": call})
        else:
            more = sorted(set(message) - {"role", "content"})
            raise _refuse(f"ShareGPT has no place for `{more[0]}` beside text, ids or other calls")
    if set(row) - {"messages", "tools"}:
        raise _refuse("ShareGPT has no place for `chat_template_kwargs`")
    tools = {"tools": row["tools"]} if "tools" in row else {}
    return {"conversations": turns, **tools}


def to_alpaca(row: Canonical) -> Canonical:
    """Alpaca: the last question is the instruction, its `input` is empty; `system` and `history`
    only where the conversation has them."""
    turns = _plain_turns(row, "Alpaca")
    system = turns[:1] if turns and turns[0]["role"] == "system" else []
    rest = turns[len(system) :]
    roles = [turn["role"] for turn in rest]
    if not rest or roles != ["user", "assistant"] * (len(rest) // 2):
        raise _refuse("Alpaca holds questions and answers in turn, the last one an answer")
    texts = [turn["content"] for turn in rest]
    history = [[texts[at], texts[at + 1]] for at in range(0, len(texts) - 2, 2)]
    written: Canonical = {"instruction": texts[-2], "input": "", "output": texts[-1]}
    written |= _system_column(system, "Alpaca")
    return written | ({"history": history} if history else {})


def to_chatml(row: Canonical) -> Canonical:
    """ChatML as one `text`: header, line break, content, end token, line break for each turn."""
    turns = _plain_turns(row, "ChatML text")
    for number, turn in enumerate(turns, start=1):
        marker = next((m for m in (TURN_START, TURN_END) if m in turn["content"]), None)
        if marker:
            raise RowError(
                "data.special_token_in_content", f"turn {number} has {marker} in its content"
            )
    rendered = (f"{TURN_START}{t['role']}\n{t['content']}{TURN_END}\n" for t in turns)
    return {"text": "".join(rendered)}


def to_prompt_completion(row: Canonical) -> Canonical:
    """Strings: the prompt is the question and a line break, the completion is the answer."""
    system, user, assistant = _question_and_answer(row, "a prompt/completion pair of strings")
    name = "a prompt/completion pair"
    return {"prompt": f"{user}\n", "completion": assistant} | _system_column(system, name)


def to_prompt_completion_messages(row: Canonical) -> Canonical:
    """Messages: the last assistant turn is the completion, all before it the prompt."""
    *prompt, last = row["messages"]
    if last["role"] != "assistant" or not prompt:
        raise _refuse("the completion must be an assistant turn with a prompt before it")
    rest = {key: value for key, value in row.items() if key != "messages"}
    return {"prompt": prompt, "completion": [last], **rest}


def to_question_answer(row: Canonical) -> Canonical:
    """Columns `question` and `answer`, and `system` where the conversation has one."""
    system, user, assistant = _question_and_answer(row, "a question/answer pair")
    written = {"question": user, "answer": assistant}
    return written | _system_column(system, "a question/answer pair")
