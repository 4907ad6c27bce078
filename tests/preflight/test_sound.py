"""Set-ups without a flaw: nothing at warning or error level may be said of them."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import pytest

from sft_helpers.lesson import expect
from tests.preflight.cases import (
    arguments,
    report,
    rows,
    setup,
    small_model,
    tokenizer,
    with_family,
)

PLAIN: dict[str, Any] = {"assistant_only_loss": False}


def lora(**settings: Any) -> Any:
    from peft import LoraConfig

    usual = {"r": 16, "lora_alpha": 32, "target_modules": "all-linear", "task_type": "CAUSAL_LM"}
    return LoraConfig(**{**usual, **settings})


def four_bit() -> Any:
    import torch
    from transformers import BitsAndBytesConfig

    return BitsAndBytesConfig(
        load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_compute_dtype=torch.float32
    )


def many(name: str = "town/sft_train.jsonl") -> list[dict[str, Any]]:
    return rows(name, 600)


def evaluated(**settings: Any) -> dict[str, Any]:
    args = arguments(eval_strategy="steps", eval_steps=10, **settings)
    return setup(dataset=many(), args=args, eval_dataset=rows("town/sft_test.jsonl", 60))


def qwen(**config: Any) -> dict[str, Any]:
    """A model of Qwen2.5-0.5B's shape, with its template and LoRA at the usual rate."""
    from transformers import Qwen2Config

    given = with_family("qwen2_5")["tokenizer"]
    shape = Qwen2Config(
        vocab_size=len(given), hidden_size=896, intermediate_size=4864, num_hidden_layers=24,
        num_attention_heads=14, num_key_value_heads=2, eos_token_id=given.eos_token_id,
        bos_token_id=None, tie_word_embeddings=True,
    )  # fmt: skip
    return {"dataset": many(), "model": shape, "tokenizer": given, **config}


def texts() -> list[dict[str, Any]]:
    return [{"text": "\n".join(turn["content"] for turn in row["messages"])} for row in many()]


SOUND: dict[str, Callable[[], dict[str, Any]]] = {
    "full, messages": lambda: setup(dataset=many()),
    "full, notes beside the messages": lambda: setup(
        dataset=[{**row, "resident": "Ada", "topic": 1} for row in many()]
    ),
    "full, multi-turn": lambda: setup(dataset=many("town/multi_turn_train.jsonl")),
    "full, system prompts": lambda: setup(dataset=many("town/system_train.jsonl")),
    "full, with evaluation": lambda: evaluated(),
    "full, packed": lambda: setup(
        dataset=many(),
        args=arguments(packing=True, max_length=128, num_train_epochs=10),
    ),
    "full, packed and split": lambda: setup(
        dataset=many(),
        args=arguments(
            packing=True, packing_strategy="bfd_split", max_length=128, num_train_epochs=10
        ),
    ),
    "full, packed, with evaluation": lambda: evaluated(
        packing=True, max_length=128, num_train_epochs=10
    ),
    "full, prompt and completion messages": lambda: setup(
        dataset=many("formats/prompt_completion_messages.jsonl"), args=arguments(**PLAIN)
    ),
    "full, prompt and completion strings": lambda: setup(
        dataset=many("formats/prompt_completion.jsonl"), args=arguments(**PLAIN)
    ),
    "full, text": lambda: setup(dataset=texts(), args=arguments(**PLAIN)),
    "full, text, packed": lambda: setup(
        dataset=texts(),
        args=arguments(packing=True, max_length=128, num_train_epochs=20, **PLAIN),
    ),
    "full, a higher rate": lambda: setup(dataset=many(), args=arguments(learning_rate=2e-3)),
    "LoRA, messages": lambda: setup(
        dataset=many(), args=arguments(learning_rate=4e-3), peft_config=lora()
    ),
    "LoRA, packed": lambda: setup(
        dataset=many(),
        args=arguments(learning_rate=4e-3, packing=True, max_length=128, num_train_epochs=10),
        peft_config=lora(r=8),
    ),
    "LoRA, prompt and completion": lambda: setup(
        dataset=many("formats/prompt_completion_messages.jsonl"),
        args=arguments(learning_rate=2e-3, **PLAIN),
        peft_config=lora(),
    ),
    "LoRA, attention by name": lambda: setup(
        dataset=many(),
        args=arguments(learning_rate=4e-3),
        peft_config=lora(target_modules=["q_proj", "k_proj", "v_proj", "o_proj"]),
    ),
    "QLoRA, messages": lambda: setup(
        dataset=many(),
        args=arguments(learning_rate=4e-3),
        peft_config=lora(),
        quantization_config=four_bit(),
    ),
    "base model whose end token is set": lambda: setup(
        dataset=many(),
        tokenizer=tokenizer(eos_token="<|endoftext|>"),
        args=arguments(eos_token="<|im_end|>"),
    ),
    "llama3": lambda: with_family("llama3", dataset=many()),
    "gemma": lambda: with_family("gemma", dataset=many()),
    "cohere": lambda: with_family("cohere", dataset=many()),
    "lfm2": lambda: with_family("lfm2", dataset=many("town/multi_turn_train.jsonl")),
    "qwen3": lambda: with_family("qwen3", dataset=many()),
    "qwen3, multi-turn as pairs": lambda: with_family(
        "qwen3_instruct_2507",
        dataset=many("formats/prompt_completion_messages.jsonl"),
        args=arguments(**PLAIN),
    ),
    "Qwen2.5-0.5B, LoRA at 2e-4": lambda: qwen(
        args=arguments(learning_rate=2e-4), peft_config=lora()
    ),
    "Qwen2.5-0.5B, full at 1e-5": lambda: qwen(args=arguments(learning_rate=1e-5)),
}


@functools.cache
def alarms(name: str) -> tuple[str, ...]:
    """Every finding above a note on a sound set-up."""
    found = report(SOUND[name]()).findings
    return tuple(
        f"{one.severity} {one.code} {one.message}" for one in found if one.severity != "note"
    )


@pytest.mark.parametrize("name", SOUND)
def test_no_false_alarm(name: str) -> None:
    assert alarms(name) == ()


def test_they_are_many_and_none_is_called_unsound() -> None:
    expect("preflight.sound_setups", len(SOUND), low=15)
    expect("preflight.false_alarms", sum(len(alarms(name)) for name in SOUND), low=0, high=0)


def test_nothing_given_is_changed() -> None:
    given = setup(args=arguments(eos_token="<|endoftext|>"), tokenizer=tokenizer())
    before = given["args"].to_dict()
    report(given)
    assert given["tokenizer"].eos_token == "<|im_end|>"
    assert given["args"].to_dict() == before
    assert given["dataset"] == rows()


def test_the_same_twice() -> None:
    one, two = report(setup()), report(setup())
    assert one.to_json() == two.to_json()


def test_a_model_object_a_configuration_and_a_name_agree() -> None:
    from sft_helpers.models import load

    model, given = load("tiny")
    as_object = report(setup(model=model, tokenizer=given))
    as_config = report(setup(model=model.config, tokenizer=given))
    as_name = report(setup())
    assert as_object.codes == as_config.codes == as_name.codes
    assert small_model(given).vocab_size == as_object.setup.vocabulary_rows  # type: ignore[union-attr]


def test_no_connection_is_opened_even_where_one_would_do(monkeypatch: pytest.MonkeyPatch) -> None:
    """TRL would ask the hub for this template; preflight says what it cannot know."""
    import socket

    import datasets.config
    import huggingface_hub.constants

    tried: list[Any] = []
    monkeypatch.setattr(socket.socket, "connect", lambda _self, place: tried.append(place))
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", False)
    found = report(setup(args=arguments(chat_template_path="nobody/nothing")))
    assert "config.refused" in found.codes
    assert tried == []
    assert huggingface_hub.constants.HF_HUB_OFFLINE is False
