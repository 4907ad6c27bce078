"""Codes mask.*: each is found where it should be, and not beside it."""

from __future__ import annotations

from typing import Any

from tests.preflight.cases import Case, arguments, changed, report, rows, setup, tokenizer

PLAIN = {"assistant_only_loss": False}


def pairs(**settings: Any) -> dict[str, Any]:
    data = rows("formats/prompt_completion_messages.jsonl")
    return setup(dataset=data, args=arguments(**{**PLAIN, **settings}))


def texts() -> list[dict[str, Any]]:
    return [{"text": row["messages"][1]["content"]} for row in rows()]


def tokenized(masked: int | None, column: str = "labels", **settings: Any) -> dict[str, Any]:
    """Token ids with labels, or with a mask; in row `masked` nothing counts."""
    given, data = tokenizer(), []
    for number, row in enumerate(rows()):
        ids = given(row["messages"][1]["content"])["input_ids"] + [given.eos_token_id]
        head = len(ids) if number == masked else 2
        values = [-100 if column == "labels" else 0] * head
        values += ids[head:] if column == "labels" else [1] * (len(ids) - head)
        data.append({"input_ids": ids, column: values})
    return setup(dataset=data, args=arguments(**{**PLAIN, **settings}))


def broken_markers() -> Any:
    from sft_helpers.exercises.data import topic

    return tokenizer(chat_template=topic("loss_masking").material.BROKEN_TEMPLATE)


def selective() -> Any:
    """A template that marks no answer in a conversation that begins with a system prompt."""
    text = str(tokenizer().chat_template)
    condition = "{%- if message['role'] == 'assistant' -%}"
    only = "{%- if message['role'] == 'assistant' and messages[0]['role'] == 'user' -%}"
    return tokenizer(chat_template=text.replace(condition, only))


def told(row: dict[str, Any]) -> dict[str, Any]:
    return {"messages": [{"role": "system", "content": "Be brief."}, *row["messages"]]}


CASES = [
    Case("mask.full_sequence", "messages",
         lambda: setup(args=arguments(**PLAIN)), lambda: setup()),
    Case("mask.full_sequence", "chosen for pairs",
         lambda: pairs(completion_only_loss=False), lambda: pairs()),
    Case("mask.full_sequence", "rendered text",
         lambda: setup(dataset=rows("formats/chatml.jsonl"), args=arguments(**PLAIN)),
         lambda: setup(dataset=texts(), args=arguments(**PLAIN))),
    Case("mask.full_sequence", "mask that is ignored",
         lambda: tokenized(None, "completion_mask"),
         lambda: tokenized(None, "completion_mask", completion_only_loss=True)),
    Case("mask.all_masked", "labels",
         lambda: tokenized(4, max_length=None), lambda: tokenized(None, max_length=None)),
    Case("mask.all_masked", "no marks in this row",
         lambda: setup(dataset=changed(5, told), tokenizer=selective()),
         lambda: setup(dataset=changed(5, told))),
    Case("mask.flag_without_effect", "completion_only for messages",
         lambda: setup(args=arguments(completion_only_loss=True, **PLAIN)),
         lambda: pairs(completion_only_loss=True)),
    Case("mask.flag_without_effect", "assistant_only for text",
         lambda: setup(dataset=texts()), lambda: setup(dataset=texts(), args=arguments(**PLAIN))),
    Case("mask.flag_without_effect", "assistant_only for sharegpt",
         lambda: setup(dataset=rows("formats/sharegpt.jsonl")), lambda: setup()),
    Case("mask.end_token_unsupervised", "markers around the text only",
         lambda: setup(tokenizer=broken_markers()), lambda: setup()),
    Case("mask.end_token_unsupervised", "markers that nobody uses",
         lambda: setup(tokenizer=broken_markers()),
         lambda: setup(tokenizer=broken_markers(), args=arguments(**PLAIN))),
]  # fmt: skip


def test_it_is_found(case: Case) -> None:
    assert case.code in report(case.bad()).codes


def test_its_twin_is_not(case: Case) -> None:
    assert case.code not in report(case.good()).codes


def test_a_flag_that_trl_refuses_is_an_error() -> None:
    (one,) = [each for each in report(setup(dataset=texts())).findings
              if each.code == "mask.flag_without_effect"]  # fmt: skip
    assert one.severity == "error"
    assert "stops" in one.message


def test_the_supervised_share_is_that_of_the_supervised_view() -> None:
    from sft_helpers.masking import supervised_view

    found = report(setup()).facts
    view = supervised_view(rows(), tokenizer(), arguments())
    assert found["supervised_fraction"] == round(view.report.supervised_fraction, 4)
    assert found["tokens"] == view.report.tokens
    assert found["rows_held"] == view.report.prepared


def test_the_advice_is_one_that_trl_takes() -> None:
    from tests.preflight.cases import with_family

    for name, advice in (("llama3", "assistant_only_loss: true"), ("llama3_1", "store rows as")):
        found = report(with_family(name, args=arguments(**PLAIN))).findings
        (one,) = [each for each in found if each.code == "mask.full_sequence"]
        assert one.fix.startswith(advice)
