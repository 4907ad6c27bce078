"""Adapters that land nowhere, or not where they were meant to."""

from __future__ import annotations

from typing import Any

import pytest

from sft_helpers.models import load
from sft_helpers.preflight import Setup, lora
from tests.preflight.cases import Case, arguments, report, rows, setup, tokenizer

SEVEN = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]


def adapted(rate: float = 4e-3, model: Any = "tiny", **lora: Any) -> dict[str, Any]:
    """A LoRA set-up."""
    from peft import LoraConfig

    usual = {"r": 16, "lora_alpha": 32, "target_modules": "all-linear", "task_type": "CAUSAL_LM"}
    return setup(
        model=model,
        tokenizer=tokenizer(),
        args=arguments(learning_rate=rate),
        peft_config=LoraConfig(**{**usual, **lora}),
    )


def phi3() -> Any:
    """Phi-3-mini's configuration: its projections have other names than Llama's."""
    from sft_helpers.memory import read_config

    return read_config("Phi-3-mini")[1]


def loaded(trainable: bool) -> dict[str, Any]:
    """An adapter that was saved, loaded as for inference or to be trained on."""
    from peft import LoraConfig, get_peft_model

    model = get_peft_model(
        load("tiny")[0],
        LoraConfig(target_modules="all-linear", inference_mode=not trainable),
    )
    return setup(model=model, args=arguments(learning_rate=4e-3))  # fmt: skip


def frozen(train: bool) -> dict[str, Any]:
    """A model whose weights are all frozen, or not."""
    return setup(model=load("tiny")[0].requires_grad_(train))


CASES = [
    Case(
        "lora.no_match",
        "other names",
        lambda: adapted(target_modules=["W_pack"]),
        lambda: adapted(target_modules=SEVEN),
    ),
    Case(
        "lora.partial_match",
        "phi3",
        lambda: adapted(2e-4, phi3(), target_modules=SEVEN),
        lambda: adapted(2e-4, phi3(), target_modules="all-linear"),
    ),
    Case(
        "lora.partial_match",
        "modules_to_save",
        lambda: adapted(modules_to_save=["score"]),
        lambda: adapted(modules_to_save=["lm_head"], ensure_weight_tying=True),
    ),
    Case(
        "lora.partial_match",
        "rank_pattern",
        lambda: adapted(rank_pattern={"W_pack": 4}),
        lambda: adapted(rank_pattern={"q_proj": 4}),
    ),
    Case(
        "lora.default_targets",
        "unset",
        lambda: adapted(target_modules=None),
        lambda: adapted(target_modules="all-linear"),
    ),
    Case(
        "lora.default_targets",
        "chosen",
        lambda: adapted(target_modules=None),
        lambda: adapted(target_modules=["q_proj", "v_proj"]),
    ),
    Case(
        "lora.nothing_trains",
        "inference_mode",
        lambda: adapted(inference_mode=True),
        lambda: adapted(inference_mode=False),
    ),
    Case(
        "lora.nothing_trains",
        "factor 0",
        lambda: adapted(lora_alpha=0),
        lambda: adapted(lora_alpha=1),
    ),
    Case(
        "lora.nothing_trains",
        "loaded for inference",
        lambda: loaded(trainable=False),
        lambda: loaded(trainable=True),
    ),
    Case("lora.nothing_trains", "frozen", lambda: frozen(False), lambda: frozen(True)),
    Case(
        "lora.nothing_trains",
        "rate 0",
        lambda: setup(args=arguments(learning_rate=0.0)),
        lambda: setup(args=arguments()),
    ),
    Case(
        "lora.head_adapted",
        "lm_head",
        lambda: adapted(target_modules=["q_proj", "lm_head"]),
        lambda: adapted(target_modules=["q_proj"]),
    ),
    Case(
        "lora.trainable_tokens_tied",
        "shared table",
        lambda: adapted(trainable_token_indices=[3, 4]),
        lambda: adapted(2e-4, phi3(), trainable_token_indices=[3, 4]),
    ),
    Case(
        "lora.weight_tying_broken",
        "embedding alone",
        lambda: adapted(modules_to_save=["embed_tokens"]),
        lambda: adapted(modules_to_save=["embed_tokens"], ensure_weight_tying=True),
    ),
]


def test_case(case: Case) -> None:
    """The broken set-up has the code, its near twin does not."""
    assert case.code in report(case.bad()).codes
    assert case.code not in report(case.good()).codes


def test_nothing_given_is_changed() -> None:
    """PEFT rewrites configurations that it places; the caller's stays as it was."""
    given = adapted(target_modules="all-linear")
    before = given["peft_config"].to_dict()
    report(given)
    assert given["peft_config"].to_dict() == before


@pytest.mark.parametrize("code", ["lora.no_match", "lora.head_adapted",
                                  "lora.trainable_tokens_tied"])  # fmt: skip
def test_the_trainer_refuses_too(code: str, tmp_path: Any, monkeypatch: Any) -> None:
    """What is called an error ends in one: the same set-up raises before its second step."""
    from datasets import Dataset
    from trl import SFTTrainer

    monkeypatch.chdir(tmp_path)
    given = next(case for case in CASES if case.code == code).bad()

    def train() -> None:
        SFTTrainer(
            load("tiny")[0],
            args=given["args"],
            train_dataset=Dataset.from_list(rows()),
            processing_class=tokenizer(),
            peft_config=given["peft_config"],
        ).train()

    with pytest.raises((ValueError, AttributeError)):
        train()


def test_partial_match_names_what_is_missing() -> None:
    """The finding lists the names that exist nowhere and the layers left alone."""
    found = next(f for f in lora.check(Setup.of(**adapted(2e-4, phi3(), target_modules=SEVEN)))
                 if f.code == "lora.partial_match")  # fmt: skip
    for name in ("q_proj", "up_proj", "qkv_proj", "gate_up_proj"):
        assert name in found.message
