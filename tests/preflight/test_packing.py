"""Packing: rows that see each other, and steps that get lost."""

from __future__ import annotations

from typing import Any

import pytest

from sft_helpers.preflight.packing import SEEN, probe, shrink
from tests.preflight.cases import Case, arguments, report, rows, setup

APART = ("llama", "qwen2", "qwen3", "qwen3_moe", "gemma3_text", "phi3", "gpt2", "lfm2")
TOGETHER = ("opt", "bloom", "falcon", "mpt", "mamba", "mamba2", "rwkv", "jamba", "gpt_oss",
            "recurrent_gemma")  # fmt: skip


def config(family: str) -> Any:
    """The usual configuration of an architecture, with a vocabulary that fits the tokenizer."""
    from transformers import AutoConfig

    found = AutoConfig.for_model(family)
    found.vocab_size = max(found.vocab_size, 2_000)
    return found


def packed(**changes: Any) -> dict[str, Any]:
    """A sound packed set-up: 100 optimizer steps and more."""
    usual = {"packing": True, "max_length": 128, "per_device_train_batch_size": 1,
             "num_train_epochs": 10}  # fmt: skip
    return setup(args=arguments(**{**usual, **changes.pop("args", {})}), **changes)


def of_family(family: str, **changes: Any) -> dict[str, Any]:
    """A packed run of another architecture with Lantern Bay's tokenizer."""
    from tests.preflight.cases import tokenizer

    plain = {"packing": True, "max_length": 128, "per_device_train_batch_size": 1,
             "num_train_epochs": 10, "learning_rate": 2e-5}  # fmt: skip
    return setup(model=config(family), tokenizer=tokenizer(), args=arguments(**plain | changes))


def beforehand(**changes: Any) -> dict[str, Any]:
    """Rows that TRL's own packer has packed before the trainer sees them."""
    from datasets import Dataset
    from trl.data_utils import pack_dataset

    from sft_helpers.preparation import quiet_datasets
    from tests.preflight.cases import tokenizer

    teller = tokenizer()
    ids = [teller.apply_chat_template(r["messages"], return_dict=False) for r in rows()]
    table = Dataset.from_dict({"input_ids": ids, "labels": ids})
    with quiet_datasets():
        made = pack_dataset(table, 128, "bfd")
    plain = {"assistant_only_loss": False, "max_length": 128}
    return setup(dataset=made, args=arguments(**plain | changes))


CASES = [
    Case(
        "packing.wrapped_contaminates",
        "strategy",
        lambda: packed(args={"packing_strategy": "wrapped"}),
        lambda: packed(args={"packing_strategy": "bfd_split"}),
    ),
    Case(
        "packing.eval_contaminates",
        "eval only",
        lambda: setup(args=arguments(eval_packing=True, eval_strategy="epoch"),
                      eval_dataset=rows("town/sft_dev.jsonl")),
        lambda: packed(args={"eval_strategy": "epoch"}, eval_dataset=rows("town/sft_dev.jsonl")),
    ),
    Case(
        "packing.eval_contaminates",
        "packed beforehand",
        lambda: setup(args=arguments(eval_strategy="epoch"),
                      eval_dataset=beforehand()["dataset"]),
        lambda: setup(args=arguments(eval_strategy="epoch"),
                      eval_dataset=rows("town/sft_dev.jsonl")),
    ),
    Case(
        "packing.prepacked_contaminates",
        "ignored",
        beforehand,
        lambda: beforehand(padding_free=True, max_length=None),
    ),
    Case(
        "packing.prepacked_contaminates",
        "packed again",
        lambda: beforehand(packing=True, per_device_train_batch_size=1, num_train_epochs=20),
        packed,
    ),
    Case(
        "packing.architecture_contaminates",
        "opt",
        lambda: of_family("opt"),
        lambda: of_family("qwen2"),
    ),
    Case(
        "packing.architecture_contaminates",
        "without packing",
        lambda: of_family("falcon", packing=False, padding_free=True, max_length=None),
        lambda: of_family("falcon", packing=False),
    ),
    Case(
        "packing.architecture_contaminates",
        "refuses",
        lambda: of_family("qwen3_next"),
        lambda: of_family("qwen3"),
    ),
    Case(
        "packing.few_steps",
        "one batch",
        lambda: packed(args={"per_device_train_batch_size": 8}),
        packed,
    ),
    Case(
        "packing.few_steps",
        "steps are given",
        lambda: packed(args={"per_device_train_batch_size": 8}),
        lambda: packed(args={"per_device_train_batch_size": 8, "max_steps": 60}),
    ),
]  # fmt: skip


def test_case(case: Case) -> None:
    """The broken set-up has the code, its near twin does not."""
    assert case.code in report(case.bad()).codes
    assert case.code not in report(case.good()).codes


@pytest.mark.parametrize("family", APART)
def test_rows_stay_apart(family: str) -> None:
    """In these architectures the difference is rounding."""
    found = probe(config(family))
    assert found.difference is not None
    assert found.difference < SEEN / 10


@pytest.mark.parametrize("family", TOGETHER)
def test_rows_see_each_other(family: str) -> None:
    """In these it is not; all of them say nothing."""
    found = probe(config(family))
    assert found.contaminates
    assert found.difference is not None
    assert found.difference > 10 * SEEN


def test_wrapped_is_seen_where_bfd_is_clean() -> None:
    """The probe tells the strategies apart on the tiny model's own configuration."""
    from transformers import AutoConfig

    own = AutoConfig.from_pretrained("data/town/base")
    assert not probe(own).contaminates
    assert probe(own, "wrapped").contaminates
    small = shrink(own)
    assert (small.model_type, small.num_hidden_layers, small.vocab_size) == ("llama", 2, 64)


def test_unknown_architecture_is_not_judged() -> None:
    """Where no small copy can be made, nothing is said."""
    from transformers import AutoConfig

    found = probe(AutoConfig.for_model("vit"))
    assert (found.difference, found.refused, found.contaminates) == (None, None, False)


def test_steps_are_those_of_the_trainer() -> None:
    """The number of steps that the finding names is transformers' own."""
    from sft_helpers.preflight import Setup
    from sft_helpers.preparation import trainer

    given = packed(args={"per_device_train_batch_size": 8})
    looked = Setup.of(**given)
    made = trainer(looked.dataset, looked.tokenizer, looked.args, {}, None)
    real = made.set_initial_training_values(made.args, made.get_train_dataloader())[-1]
    assert looked.steps == real
    said = next(f for f in report(given).findings if f.code == "packing.few_steps")
    assert f"leaves {real} optimizer steps" in said.message
