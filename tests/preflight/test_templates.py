"""Codes template.*: each is found where it should be, and not beside it."""

from __future__ import annotations

from typing import Any

import pytest

from tests.preflight.cases import (
    Case,
    arguments,
    report,
    rows,
    setup,
    small_model,
    tokenizer,
    with_family,
)

PLAIN = {"assistant_only_loss": False}


def templated(template: str | None, **changes: Any) -> dict[str, Any]:
    """The tiny model with another template."""
    from sft_helpers.templates.render import as_family

    text = None if template is None else as_family(template).text
    return setup(tokenizer=tokenizer(chat_template=text), **changes)


def stops_at(token: str, **changes: Any) -> dict[str, Any]:
    """A tokenizer and a model whose end token is `token`."""
    given = tokenizer(eos_token=token)
    return setup(tokenizer=given, model=small_model(given), **changes)


def strings(prompt: str, completion: str) -> dict[str, Any]:
    pairs = [
        {"prompt": prompt.format(row["messages"][0]["content"]),
         "completion": completion.format(row["messages"][1]["content"])}
        for row in rows()
    ]  # fmt: skip
    return setup(dataset=pairs, args=arguments(**PLAIN))


def dated(**kwargs: str) -> dict[str, Any]:
    more = {"chat_template_kwargs": kwargs} if kwargs else {}
    data = [{**row, **more} for row in rows()]
    return with_family("llama3_2", dataset=data, args=arguments(**PLAIN))


def marked_in_training() -> str:
    """A template that writes a word before answers, which it neither trains nor prompts with."""
    return str(tokenizer().chat_template).replace(
        "{%- if message['role'] == 'assistant' -%}",
        "{%- if message['role'] == 'assistant' -%}{{- 'note: ' -}}",
    )


CASES = [
    Case("template.missing", "messages without a template",
         lambda: templated(None, args=arguments(**PLAIN)),
         lambda: templated(None, args=arguments(**PLAIN), dataset=[
             {"text": row["messages"][1]["content"]} for row in rows()])),
    Case("template.missing", "with assistant_only_loss",
         lambda: templated(None), lambda: setup()),
    Case("template.drops_content", "sharegpt and qwen2_5",
         lambda: templated("qwen2_5", dataset=rows("formats/sharegpt.jsonl"),
                           args=arguments(**PLAIN)),
         lambda: templated("qwen2_5", dataset=rows("formats/messages.jsonl"),
                           args=arguments(**PLAIN))),
    Case("template.end_token_not_eos", "base model",
         lambda: stops_at("<|endoftext|>"),
         lambda: stops_at("<|endoftext|>", args=arguments(eos_token="<|im_end|>"))),
    Case("template.no_generation_markers", "llama3_2",
         lambda: with_family("llama3_2"), lambda: with_family("llama3")),
    Case("template.no_generation_markers", "not asked for",
         lambda: with_family("llama3_1"),
         lambda: with_family("llama3_1", args=arguments(**PLAIN))),
    Case("template.prefix_broken", "a line that no prompt has",
         lambda: setup(tokenizer=tokenizer(chat_template=marked_in_training())), lambda: setup()),
    Case("template.prefix_broken", "deepseek_r1_distill",
         lambda: with_family("deepseek_r1_distill"), lambda: with_family("qwen2_5")),
    Case("template.prefix_broken", "a space at the end",
         lambda: strings("{} ", "{}"), lambda: strings("{}", " {}")),
    Case("template.renders_date", "llama3_2",
         lambda: dated(), lambda: dated(date_string="1 Jan 2026")),
    Case("template.renders_date", "none",
         lambda: dated(), lambda: with_family("llama3", args=arguments(**PLAIN))),
]  # fmt: skip


def test_it_is_found(case: Case) -> None:
    assert case.code in report(case.bad()).codes


def test_its_twin_is_not(case: Case) -> None:
    assert case.code not in report(case.good()).codes


def test_qwen3_trains_a_history_that_it_will_not_read() -> None:
    """TRL trains qwen3 with another template than it saves: earlier turns differ."""
    two_turns = rows("town/multi_turn_train.jsonl")
    assert "template.prefix_broken" in report(with_family("qwen3", dataset=two_turns)).codes
    assert "template.prefix_broken" not in report(with_family("qwen3")).codes


@pytest.mark.parametrize("name", ["llama3_1", "llama3_2", "gemma4"])
def test_what_trl_refuses_is_an_error_and_not_a_crash(name: str) -> None:
    found = report(with_family(name))
    assert found.has_errors
    assert "template.no_generation_markers" in found.codes
    assert "data.refused" not in found.codes
