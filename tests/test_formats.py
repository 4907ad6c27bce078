"""Formats: detection, conversion and export; what cannot be put into a format is refused."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data.make.oddities import ODD_ROWS
from sft_helpers.errors import DataError
from sft_helpers.formats import FORMATS, convert, detect, export, to_dataset, validate
from sft_helpers.formats.messages import ROLE_ALIASES, ROLES

Q, A = "Which pet does Ada keep?", "Ada keeps a raven."
CHAT = [{"role": "user", "content": Q}, {"role": "assistant", "content": A}]
CALL = {"type": "function", "function": {"name": "look_up", "arguments": {"fact": "pet"}}}


def only(row, **options):
    """The one converted row, or the code with which it was rejected."""
    done = convert([row], **options)
    assert done.report.total == 1
    return done.rows[0] if done.rows else done.report.rejected[0].code


# --- each format -----------------------------------------------------------------------------

SAME = {
    "messages": {"messages": CHAT},
    "messages as a string": {"messages": json.dumps(CHAT)},
    "sharegpt": {"conversations": [{"from": "human", "value": Q}, {"from": "gpt", "value": A}]},
    "sharegpt with role and content": {"conversations": CHAT},
    "sharegpt under messages": {
        "messages": [{"from": "human", "value": Q}, {"from": "gpt", "value": A}]
    },
    "alpaca": {"instruction": Q, "input": "", "output": A},
    "alpaca without an input column": {"instruction": Q, "output": A},
    "alpaca with a blank input": {"instruction": Q, "input": " \n", "output": A},
    "dolly": {"instruction": Q, "context": "", "response": A, "category": "open_qa"},
    "prompt_completion, no separator": {"prompt": Q, "completion": A},
    "prompt_completion, line break": {"prompt": f"{Q}\n", "completion": A},
    "prompt_completion, space": {"prompt": Q, "completion": f" {A}"},
    "prompt_completion_messages": {"prompt": CHAT[:1], "completion": CHAT[1:]},
    "question_answer": {"question": Q, "answer": A},
    "query and response": {"query": Q, "response": A},
    "chatml": {"text": f"<|im_start|>user\n{Q}<|im_end|>\n<|im_start|>assistant\n{A}<|im_end|>\n"},
    "chatml with an end of text": {
        "text": f"<|im_start|>user\n{Q}<|im_end|><|im_start|>assistant\n{A}<|im_end|><|endoftext|>"
    },
    "ultrachat": {"prompt": Q, "prompt_id": "0f", "messages": CHAT},
    "openai, parts": {
        "messages": [{"role": "user", "content": [{"type": "text", "text": Q}]}, CHAT[1]]
    },
}


@pytest.mark.parametrize("name", SAME)
def test_every_spelling_gives_the_same_messages(name):
    assert only(SAME[name]) == {"messages": CHAT}


def test_alpaca_input_follows_after_an_empty_line():
    row = only({"instruction": "Name the pet.", "input": A, "output": "A raven."})
    assert row["messages"][0]["content"] == f"Name the pet.\n\n{A}"


def test_alpaca_system_and_history_come_first():
    row = only({"instruction": Q, "output": A, "system": "Be brief.", "history": [["Hi", "Hi."]]})
    assert [turn["role"] for turn in row["messages"]] == [
        "system", "user", "assistant", "user", "assistant",
    ]  # fmt: skip


@pytest.mark.parametrize("alias", ROLE_ALIASES)
def test_role_aliases(alias):
    row = {"conversations": [{"from": alias.upper(), "value": Q}]}
    assert only(row)["messages"][0]["role"] == ROLE_ALIASES[alias]


@pytest.mark.parametrize("arguments", [{"fact": "pet"}, '{"fact": "pet"}'])
def test_tool_arguments_become_an_object(arguments):
    call = {"type": "function", "function": {"name": "look_up", "arguments": arguments}}
    row = only(
        {"messages": [CHAT[0], {"role": "assistant", "content": None, "tool_calls": [call]}]}
    )
    assert row["messages"][1] == {"role": "assistant", "content": "", "tool_calls": [CALL]}


def test_old_function_call_and_sharegpt_call_are_tool_calls():
    old = {"role": "assistant", "content": None, "function_call": CALL["function"]}
    new = {"from": "function_call", "value": json.dumps(CALL["function"])}
    expected = {"role": "assistant", "content": "", "tool_calls": [CALL]}
    assert only({"messages": [CHAT[0], old]})["messages"][1] == expected
    assert only({"conversations": [new]})["messages"][0] == expected


def test_tools_become_a_json_string():
    tools = [{"type": "function", "function": {"name": "look_up"}}]
    assert only({"messages": CHAT, "tools": tools})["tools"] == json.dumps(tools)
    assert only({"messages": CHAT, "tools": json.dumps(tools)})["tools"] == json.dumps(tools)
    assert "tools" not in only({"messages": CHAT, "tools": []})
    assert only({"messages": CHAT, "tools": "none"}) == "data.tools_not_json"


def test_arrow_nulls_in_messages_count_as_absent():
    turn = CHAT[1] | {"tool_calls": None, "name": None, "function_call": None}
    assert only({"messages": [CHAT[0], turn], "tools": None}) == {"messages": CHAT}


def test_text_is_not_trimmed():
    row = {"question": "  two  spaces ", "answer": "\nline"}
    assert [turn["content"] for turn in only(row)["messages"]] == ["  two  spaces ", "\nline"]


@pytest.mark.parametrize(
    ("row", "code"),
    [
        ("not a row", "data.unsupported_format"),
        (None, "data.unsupported_format"),
        ({}, "data.unsupported_format"),
        ({"text": "plain"}, "data.unsupported_format"),
        ({"input_ids": [1]}, "data.unsupported_format"),
        ({"messages": []}, "data.no_assistant_turn"),
        ({"messages": ["hi"]}, "data.unsupported_format"),
        ({"messages": [{"role": ["user"], "content": Q}]}, "data.unknown_role"),
        ({"messages": [{"content": Q}]}, "data.unknown_role"),
        ({"messages": [{"role": "user", "content": {"a": 1}}]}, "data.content_not_text"),
        ({"messages": [{"role": "user", "content": [{"type": "image"}]}]}, "data.content_not_text"),
        ({"instruction": Q, "output": A, "history": "x"}, "data.unsupported_format"),
        ({"instruction": Q, "output": A, "history": [["x"]]}, "data.unsupported_format"),
        ({"text": "hello <|im_start|>user\nx<|im_end|>"}, "data.unsupported_format"),
        ({"text": "<|im_start|>user\n<|im_start|>a<|im_end|>"}, "data.special_token_in_content"),
        ({"text": "<|im_start|>owl\nhoo<|im_end|>"}, "data.unknown_role"),
    ],
)
def test_what_cannot_be_put_as_messages_is_rejected(row, code):
    assert only(row) == code


def test_columns_that_trl_would_misread_are_left_out_and_counted():
    rows = [{"messages": CHAT, "completion": "x", "id": n, "resident": "Ada"} for n in range(3)]
    done = convert(rows, keep=["resident"])
    assert done.rows[0] == {"messages": CHAT, "resident": "Ada"}
    assert done.report.dropped == {"completion": 3, "id": 3}


@pytest.mark.parametrize("odd", ODD_ROWS, ids=lambda odd: odd.note)
def test_odd_rows_end_as_their_note_says(odd):
    done = convert([odd.row])
    codes = [bad.code for bad in done.report.rejected]
    codes += [finding.code for finding in validate(done.rows).findings]
    assert (codes or ["converted"]) == [odd.outcome]


# --- detection -------------------------------------------------------------------------------


@pytest.mark.parametrize("name", FORMATS)
def test_detect_names_what_export_writes(name):
    rows = [{"messages": CHAT}] * 3 + [{"messages": [CHAT[0], {
        "role": "assistant", "content": "", "tool_calls": [CALL]}]}]  # fmt: skip
    written = export(rows, name).rows
    found = detect(written)
    assert (found.format, found.confidence) == (name, 1.0)
    assert found.why.startswith(f"{len(written)} of {len(written)} rows")


def test_detect_counts_the_others():
    found = detect([SAME["alpaca"]] * 7 + [SAME["sharegpt"]] * 2 + [{"chosen": A, "rejected": Q}])
    assert (found.format, found.confidence) == ("alpaca", 0.7)
    assert found.counts == {"alpaca": 7, "sharegpt": 2, "unknown": 1}
    assert "2 sharegpt" in found.why
    assert "row 9" in found.why


@pytest.mark.parametrize("rows", [[], [{"text": "plain"}], [3]])
def test_detect_unknown(rows):
    found = detect(rows)
    assert (found.format, found.confidence) == ("unknown", 0.0)
    assert found.why


# --- export and round trips ------------------------------------------------------------------

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=40)
PLAIN = TEXT.filter(lambda text: "<|im_" not in text)
LEAVES = st.none() | st.booleans() | st.integers(-9, 9) | TEXT
ARGUMENTS = st.dictionaries(TEXT, LEAVES | st.lists(LEAVES, max_size=2), max_size=3)


@st.composite
def single_turns(draw):
    return {"messages": [
        {"role": "user", "content": draw(PLAIN)}, {"role": "assistant", "content": draw(PLAIN)},
    ]}  # fmt: skip


@st.composite
def rich_rows(draw):
    messages = []
    for role in draw(st.lists(st.sampled_from(ROLES), min_size=1, max_size=5)):
        message = {"role": role, "content": draw(TEXT)}
        if role == "assistant" and draw(st.booleans()):
            function = {"name": draw(TEXT), "arguments": draw(ARGUMENTS)}
            message["tool_calls"] = [{"type": "function", "function": function}]
        if role == "tool" and draw(st.booleans()):
            message["tool_call_id"] = draw(TEXT)
        messages.append(message)
    row = {"messages": messages}
    if draw(st.booleans()):
        row["tools"] = json.dumps([{"name": draw(TEXT)}], ensure_ascii=False)
    return row


@pytest.mark.parametrize("name", FORMATS)
@settings(max_examples=100, deadline=None)
@given(row=single_turns())
def test_single_turns_survive_every_format(name, row):
    there = convert([row], name)
    assert there.report.converted == 1
    assert convert(there.rows, source=name).rows == [row]


@pytest.mark.parametrize("name", FORMATS)
@settings(max_examples=100, deadline=None)
@given(row=rich_rows())
def test_any_conversation_comes_back_or_is_refused(name, row):
    there = convert([row], name, source="messages")
    if there.rows:
        assert convert(there.rows, source=name).rows == [row]
    else:
        assert there.report.rejected[0].code in (
            "data.format_too_narrow", "data.special_token_in_content",
        )  # fmt: skip


@settings(max_examples=100, deadline=None)
@given(row=rich_rows())
def test_openai_and_messages_hold_everything(row):
    there = convert([row], "openai", source="messages")
    assert there.report.converted == 1
    assert convert(there.rows).rows == [row]


def test_converting_twice_changes_nothing():
    rows = [*SAME.values(), *(odd.row for odd in ODD_ROWS)]
    once = convert(rows).rows
    assert convert(once).rows == once


def test_conversion_changes_no_input():
    rows = [odd.row for odd in ODD_ROWS]
    before = json.dumps(rows)
    convert(rows)
    validate(rows)
    assert json.dumps(rows) == before


def test_unknown_format_name():
    for options in ({"to": "xml"}, {"source": "xml"}):
        with pytest.raises(DataError, match="unknown format 'xml'"):
            convert([], **options)


def test_to_dataset_invents_no_arguments():
    def row(arguments):
        call = {"type": "function", "function": {"name": "f", "arguments": arguments}}
        return {"messages": [CHAT[0], {"role": "assistant", "content": "", "tool_calls": [call]}]}

    rows = [row({"x": 1}), row({"y": "text"}), row({"x": "text"}), {"messages": CHAT}]
    assert to_dataset(rows).to_list() == rows


def test_to_dataset_needs_rows():
    with pytest.raises(DataError, match="no rows"):
        to_dataset([])
