"""Codes tokens.*: each is found where it should be, and not beside it."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import pytest

from tests.preflight.cases import (
    Case,
    arguments,
    report,
    rows,
    setup,
    small_model,
    tokenizer,
)

PLAIN = {"assistant_only_loss": False}


def strings(joint: str = "\n", **more: str) -> list[dict[str, Any]]:
    return [
        {"prompt": row["messages"][0]["content"] + joint,
         "completion": row["messages"][1]["content"], **more}
        for row in rows()
    ]  # fmt: skip


def texts(before: str = "", after: str = "") -> list[dict[str, Any]]:
    return [{"text": before + row["messages"][1]["content"] + after} for row in rows()]


def with_start() -> Any:
    """A tokenizer that puts a start token before every text, as Llama's does."""
    from tokenizers.processors import TemplateProcessing

    given = tokenizer(bos_token="<|im_start|>")
    start = ("<|im_start|>", given.bos_token_id)
    given.backend_tokenizer.post_processor = TemplateProcessing(
        single="<|im_start|> $A", special_tokens=[start]
    )
    return given


def plain(data: list[dict[str, Any]], **changes: Any) -> dict[str, Any]:
    return setup(dataset=data, args=arguments(**{**PLAIN, **changes.pop("args", {})}), **changes)


def tokenized(ended: bool) -> dict[str, Any]:
    given = tokenizer()
    end = [given.eos_token_id] if ended else []
    data = [{"input_ids": given(row["messages"][1]["content"])["input_ids"] + end}
            for row in rows()]  # fmt: skip
    return plain(data)


def cut(length: int, **settings: Any) -> dict[str, Any]:
    return setup(args=arguments(max_length=length, **settings))


def context(size: int) -> dict[str, Any]:
    given = tokenizer()
    return setup(tokenizer=given, model=small_model(given, max_position_embeddings=size))


def learned_positions(size: int) -> dict[str, Any]:
    from transformers import GPT2Config

    given = tokenizer()
    config = GPT2Config(vocab_size=len(given), n_positions=size, n_embd=64, n_layer=1, n_head=2,
                        bos_token_id=1, eos_token_id=given.eos_token_id)  # fmt: skip
    return setup(tokenizer=given, model=config)


def new_token(used: bool, room: int = 0, lora: dict[str, Any] | None = None) -> dict[str, Any]:
    """A tokenizer with a token that the model's own has not, in all rows or in none."""
    from transformers import AutoConfig

    from sft_helpers.models import resolve

    given = tokenizer()
    config = AutoConfig.from_pretrained(resolve("tiny"))
    config.vocab_size += room
    given.add_tokens(["<note>"])
    data = copy.deepcopy(rows())
    for row in data:
        row["messages"][1]["content"] += " <note>" if used else ""
    return setup(dataset=data, tokenizer=given, model=config, peft_config=adapter(lora))


def adapter(settings: dict[str, Any] | None) -> Any:
    from peft import LoraConfig

    if settings is None:
        return None
    usual = {"r": 8, "target_modules": "all-linear", "task_type": "CAUSAL_LM"}
    return LoraConfig(**{**usual, **settings})


CASES = [
    Case("tokens.double_bos", "written by hand",
         lambda: plain(texts("<|im_start|>"), tokenizer=with_start()),
         lambda: plain(texts(), tokenizer=with_start())),
    Case("tokens.double_bos", "tokenizer without one",
         lambda: plain(texts("<|im_start|>"), tokenizer=with_start()),
         lambda: plain(texts("<|im_start|>"))),
    Case("tokens.double_eos", "a line end behind the end token",
         lambda: plain(texts(after="<|im_end|>\n")), lambda: plain(texts(after="<|im_end|>"))),
    Case("tokens.no_eos", "text beside a completion",
         lambda: plain(strings(text="A whole text.")), lambda: plain(strings())),
    Case("tokens.no_eos", "token ids", lambda: tokenized(False), lambda: tokenized(True)),
    Case("tokens.no_eos", "no end token at all",
         lambda: plain(texts(), tokenizer=tokenizer(eos_token=None)), lambda: plain(texts())),
    Case("tokens.truncated", "one token too long", lambda: cut(23), lambda: cut(64)),
    Case("tokens.truncated", "packed",
         lambda: cut(20, packing=True),
         lambda: cut(20, packing=True, packing_strategy="bfd_split")),
    Case("tokens.completion_lost", "max_length 12", lambda: cut(12), lambda: cut(24)),
    Case("tokens.completion_lost", "packed",
         lambda: cut(12, packing=True), lambda: cut(64, packing=True)),
    Case("tokens.longer_than_model", "rotary", lambda: context(16), lambda: context(64)),
    Case("tokens.longer_than_model", "learned positions",
         lambda: learned_positions(16), lambda: learned_positions(64)),
    Case("tokens.no_separator", "run together",
         lambda: plain(strings("")), lambda: plain(strings("\n"))),
    Case("tokens.id_out_of_range", "added token",
         lambda: new_token(used=True), lambda: new_token(used=False)),
    Case("tokens.id_out_of_range", "room for it",
         lambda: new_token(used=True), lambda: new_token(used=True, room=64)),
    Case("tokens.new_token_untrained", "trainable index",
         lambda: new_token(True, 64, {}),
         lambda: new_token(True, 64, {"trainable_token_indices": [1280]})),
    Case("tokens.new_token_untrained", "whole embedding",
         lambda: new_token(True, 64, {}),
         lambda: new_token(True, 64, {"modules_to_save": ["embed_tokens"]})),
    Case("tokens.new_token_untrained", "not in the rows",
         lambda: new_token(True, 64, {}), lambda: new_token(False, 64, {})),
]  # fmt: skip


def test_it_is_found(case: Case) -> None:
    assert case.code in report(case.bad()).codes


def test_its_twin_is_not(case: Case) -> None:
    assert case.code not in report(case.good()).codes


@pytest.mark.parametrize(("size", "severity"), [(context, "warning"), (learned_positions, "error")])
def test_positions_that_stop_the_run_are_errors(size: Any, severity: str) -> None:
    (one,) = [each for each in report(size(16)).findings
              if each.code == "tokens.longer_than_model"]  # fmt: skip
    assert one.severity == severity


@pytest.mark.parametrize("settings", [{}, {"packing": True}, {"truncation_mode": "keep_end"}])
def test_what_is_cut_is_what_trl_cuts(settings: dict[str, Any]) -> None:
    """Counted from the whole rows, and equal to what a trainer with that max_length holds."""
    from datasets import Dataset

    from sft_helpers.preparation import trainer

    args = arguments(max_length=20, **settings)
    found = report(setup(args=args))
    held = trainer(Dataset.from_list(rows()), tokenizer(), args, {}, None).train_dataset
    labels = np.concatenate([np.asarray(row) for row in held["labels"]])
    assert found.facts["rows_held"] == len(held)
    assert found.facts["tokens"] == len(labels)
    assert found.facts["supervised_fraction"] == round(float((labels != -100).mean()), 4)


@pytest.mark.parametrize(
    "settings",
    [
        {"per_device_train_batch_size": 3, "gradient_accumulation_steps": 4},
        {"packing": True, "max_length": 64, "num_train_epochs": 1.5},
        {"max_steps": 7},
    ],
)
def test_steps_are_those_of_the_trainer(settings: dict[str, Any]) -> None:
    from datasets import Dataset

    from sft_helpers.preparation import trainer

    args = arguments(**settings)
    real = trainer(Dataset.from_list(rows()), tokenizer(), args, {}, None)
    _, per_epoch, *_, steps = real.set_initial_training_values(args, real.get_train_dataloader())
    found = report(setup(args=args)).facts
    assert (found["steps_per_epoch"], found["steps"]) == (per_epoch, steps)
