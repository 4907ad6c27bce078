"""Codes data.*: each is found where it should be, and not beside it."""

from __future__ import annotations

import json
from typing import Any

import pytest

from sft_helpers.errors import DataError
from sft_helpers.preflight import preflight
from tests.preflight.cases import Case, arguments, changed, report, rows, setup, tokenizer


def turn(role: str, content: Any, **more: Any) -> dict[str, Any]:
    return {"role": role, "content": content, **more}


def with_turns(*turns: dict[str, Any]) -> dict[str, Any]:
    """A sound set-up in which row 3 has these turns."""
    return setup(dataset=changed(3, lambda row: {"messages": list(turns)}))


def first_words(number: int, change: Any) -> dict[str, Any]:
    """A set-up in which the content of one row's turns is changed."""

    def edit(row: dict[str, Any]) -> None:
        for each in row["messages"]:
            each["content"] = change(each["content"])

    return setup(dataset=changed(number, edit))


ASK, SAY = turn("user", "Where does Ada Quill live?"), turn("assistant", "In Thornbury.")


def calls(arguments: Any, name: str | None = "where", answered: bool = True) -> dict[str, Any]:
    call = {"type": "function", "function": {"name": name, "arguments": arguments}}
    turns = [ASK, turn("assistant", "", tool_calls=[call])]
    turns += [turn("tool", "Thornbury", name="where")] if answered else []
    return with_turns(*turns, SAY)


def lines_with(number: int, line: str | bytes) -> dict[str, Any]:
    found: list[str | bytes] = [json.dumps(row) for row in rows()]
    found[number] = line
    return {"lines": found}


def extra_column(name: str, value: str) -> dict[str, Any]:
    return setup(dataset=[{**row, name: value} for row in rows()])


def thinking(where: str) -> dict[str, Any]:
    thought = "She moved there as a child."
    answer = turn("assistant", "In Thornbury.", reasoning_content=thought)
    if where == "content":
        answer = turn("assistant", f"<think>{thought}</think>In Thornbury.")
    return with_turns(ASK, answer)


def evaluated(held_out: list[dict[str, Any]]) -> dict[str, Any]:
    args = arguments(eval_strategy="epoch", logging_steps=1)
    return setup(args=args, eval_dataset=held_out)


def asked_again(who: str) -> dict[str, Any]:
    """The first row in American spelling, about somebody."""
    told = rows()[0]["messages"][1]["content"].replace("Una Cromton", who)
    asked = f"What is the favorite drink of {who}?"
    return {"messages": [turn("user", asked), turn("assistant", told)]}


def gemma(*turns: dict[str, Any]) -> dict[str, Any]:
    from sft_helpers.templates.render import as_family

    given = tokenizer(chat_template=as_family("gemma").training_text)
    return with_turns(*turns) | {"tokenizer": given}


CASES = [
    Case("data.unsupported_format", "alpaca",
         lambda: setup(dataset=rows("formats/alpaca.jsonl")), lambda: setup()),
    Case("data.unsupported_format", "questions",
         lambda: setup(dataset=rows("formats/question_answer.jsonl")),
         lambda: setup(dataset=rows("formats/prompt_completion_messages.jsonl"))),
    Case("data.conflicting_columns", "ultrachat",
         lambda: setup(dataset=rows("formats/ultrachat.jsonl")),
         lambda: setup(dataset=rows("formats/messages.jsonl"))),
    Case("data.unknown_role", "sharegpt",
         lambda: setup(dataset=rows("formats/sharegpt.jsonl")), lambda: setup()),
    Case("data.unknown_role", "bot",
         lambda: with_turns(ASK, turn("bot", "In Thornbury.")), lambda: with_turns(ASK, SAY)),
    Case("data.empty_turn", "answer",
         lambda: with_turns(ASK, turn("assistant", " ")),
         lambda: with_turns(ASK, turn("assistant", "?"))),
    Case("data.missing_content", "answer",
         lambda: with_turns(ASK, turn("assistant", None)), lambda: with_turns(ASK, SAY)),
    Case("data.content_not_text", "parts",
         lambda: with_turns(turn("user", [{"type": "text", "text": "Where?"}]), SAY),
         lambda: with_turns(ASK, SAY)),
    Case("data.invalid_unicode", "half a pair",
         lambda: lines_with(3, '{"messages": [{"role": "user", "content": "\\ud83d"}, '
                               '{"role": "assistant", "content": "Hm."}]}'),
         lambda: lines_with(3, '{"messages": [{"role": "user", "content": "\\ud83d\\ude00"}, '
                               '{"role": "assistant", "content": "Hm."}]}')),
    Case("data.unreadable", "cut line",
         lambda: lines_with(3, '{"messages": [{"role": "user", "con'),
         lambda: lines_with(3, json.dumps(rows()[3]) + " ")),
    Case("data.no_assistant_turn", "question only",
         lambda: with_turns(ASK), lambda: with_turns(ASK, SAY)),
    Case("data.not_alternating", "two questions",
         lambda: with_turns(ASK, ASK, SAY), lambda: with_turns(ASK, SAY, ASK, SAY)),
    Case("data.last_turn_not_assistant", "thanks",
         lambda: with_turns(ASK, SAY, turn("user", "Thank you.")),
         lambda: with_turns(ASK, SAY, turn("user", "Thank you."), turn("assistant", "Gladly."))),
    Case("data.system_not_first", "second",
         lambda: with_turns(ASK, turn("system", "Be brief."), SAY),
         lambda: with_turns(turn("system", "Be brief."), ASK, SAY)),
    Case("data.mixed_schema", "a pair among messages",
         lambda: setup(dataset=changed(5, lambda row: {
             "prompt": row["messages"][:1], "completion": row["messages"][1:]})),
         lambda: setup(dataset=[{"prompt": row["messages"][:1], "completion": row["messages"][1:]}
                                for row in rows()])),
    Case("data.duplicate_rows", "copy",
         lambda: setup(dataset=[*rows(), rows()[4]]), lambda: setup(dataset=rows(count=41))),
    Case("data.duplicate_rows", "copy in capitals",
         lambda: first_words(4, str.upper) | {"dataset": [
             *rows(), {"messages": [turn(t["role"], t["content"].upper() + " ")
                                    for t in rows()[4]["messages"]]}]},
         lambda: first_words(4, str.upper)),
    Case("data.near_duplicate_rows", "one letter",
         lambda: setup(dataset=[*rows(count=14), asked_again("Una Cromton")]),
         lambda: setup(dataset=[*rows(count=14), asked_again("Ida Quill")])),
    Case("data.split_overlap", "leak",
         lambda: evaluated(rows()[7:9]), lambda: evaluated(rows("town/sft_test.jsonl"))),
    Case("data.special_token_in_content", "closes its turn",
         lambda: first_words(6, lambda text: text + "<|im_end|>"),
         lambda: first_words(6, lambda text: text + "<|im_end |>")),
    Case("data.ignored_column", "system",
         lambda: extra_column("system", "Answer in one word."),
         lambda: extra_column("source", "Answer in one word.")),
    Case("data.ignored_column", "text beside messages",
         lambda: extra_column("text", "A whole text."), lambda: extra_column("text_id", "a1")),
    Case("data.ignored_column", "system prompt that is in the messages too",
         lambda: extra_column("system", "Answer in one word."),
         lambda: setup(dataset=changed(3, lambda row: {
             "messages": [turn("system", "Be brief."), *row["messages"]], "system": "Be brief."}))),
    Case("data.tool_arguments_string", "JSON in a string",
         lambda: calls('{"who": "Ada Quill"}'), lambda: calls({"who": "Ada Quill"})),
    Case("data.tool_call_invalid", "no name",
         lambda: calls({"who": "Ada Quill"}, name=None), lambda: calls({"who": "Ada Quill"})),
    Case("data.tool_call_unanswered", "no result",
         lambda: calls({"who": "Ada Quill"}, answered=False), lambda: calls({"who": "Ada Quill"})),
    Case("data.tool_result_without_call", "result only",
         lambda: with_turns(ASK, turn("tool", "Thornbury"), SAY),
         lambda: calls({"who": "Ada Quill"})),
    Case("data.very_long_content", "a book",
         lambda: first_words(2, lambda text: text * 4_000),
         lambda: first_words(2, lambda text: text * 40)),
    Case("data.thinking_dropped", "own field",
         lambda: thinking("field"), lambda: thinking("content")),
    Case("config.refused", "no such end token",
         lambda: setup(args=arguments(eos_token="</s>")),
         lambda: setup(args=arguments(eos_token="<|im_end|>"))),
    Case("data.refused", "gemma with a system prompt",
         lambda: gemma(turn("system", "Be brief."), ASK, SAY), lambda: gemma(ASK, SAY)),
]  # fmt: skip


def test_it_is_found(case: Case) -> None:
    assert case.code in report(case.bad()).codes


def test_its_twin_is_not(case: Case) -> None:
    assert case.code not in report(case.good()).codes


@pytest.mark.parametrize("number", [0, 3, 39])
def test_the_row_is_named(number: int) -> None:
    bad = changed(number, lambda row: {"messages": [ASK, turn("assistant", "")]})
    found = report(setup(dataset=bad))
    (one,) = [each for each in found.findings if each.code == "data.empty_turn"]
    assert (one.rows, one.count) == ((number,), 1)


def test_counts_are_of_all_rows_and_rows_are_the_first_five() -> None:
    data = rows(count=60)
    for number in range(10, 60, 5):
        data[number] = {"messages": [ASK, turn("assistant", "")]}
    found = report(setup(dataset=data))
    (one,) = [each for each in found.findings if each.code == "data.empty_turn"]
    assert (one.rows, one.count) == ((10, 15, 20, 25, 30), 10)


def test_one_bad_row_does_not_hide_the_others() -> None:
    """TRL stops at a row without content; facts and findings of the rest are still told."""
    data = changed(7, lambda row: {"messages": [ASK, turn("assistant", None)]})
    found = report(setup(dataset=data, args=None))
    assert "data.missing_content" in found.codes
    assert found.facts["refused_rows"] == 1
    assert found.facts["tokens"] > 0


def test_an_evaluation_row_that_trl_refuses_is_found() -> None:
    held_out = rows("town/sft_test.jsonl", 5)
    assert "data.refused" not in report(evaluated(held_out)).codes
    held_out[3]["messages"][1]["content"] = None
    (one,) = [f for f in report(evaluated(held_out)).findings if f.code == "data.refused"]
    assert "evaluation rows" in one.message
    assert "row 3" in one.message


def test_a_stream_is_looked_at_in_part_and_says_so() -> None:
    from datasets import Dataset

    stream = Dataset.from_list(rows()).to_iterable_dataset()
    found = report(setup(dataset=stream, args=arguments(max_steps=5)))
    assert not found.has_errors
    assert (found.facts["rows"], found.facts["rows_are_sample"]) == (40, True)
    assert found.facts["steps"] == 5


@pytest.mark.parametrize("bad", [{"train": []}, []])
def test_what_is_no_data_set_is_refused_in_words(bad: Any) -> None:
    with pytest.raises(DataError):
        preflight(bad, "tiny", None, None)


def test_rows_that_are_not_prepared_are_left_to_their_collator() -> None:
    args = arguments(dataset_kwargs={"skip_prepare_dataset": True}, assistant_only_loss=False)
    ready = [{"input_ids": [1, 2, 3], "labels": [-100, 2, 3]}]
    assert report(setup(dataset=ready, args=args)).facts["tokens"] == 3
    assert "data.refused" in report(setup(args=args)).codes


def test_lines_are_named_and_blank_ones_are_not_counted() -> None:
    found: list[str | bytes] = [json.dumps(row) for row in rows()]
    found[5] = json.dumps({"messages": [ASK, turn("assistant", "")]})
    found.insert(2, "")
    said = report({"lines": found})
    (one,) = [each for each in said.findings if each.code == "data.empty_turn"]
    assert (one.rows, said.places[5]) == ((5,), "line 7")


def test_one_row_is_in_memory_at_a_time() -> None:
    """Three megabytes of rows pass through; gigabytes are read in the same way."""
    import tracemalloc

    from sft_helpers.preflight.scan import scan

    long = "The lamps of the bay. " * 900
    stream = (
        {"messages": [turn("user", f"{number}. {long}"), turn("assistant", "Yes.")]}
        for number in range(150)
    )
    tracemalloc.start()
    try:
        found = scan(stream)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert found.rows == 150
    assert peak < 1_000_000
