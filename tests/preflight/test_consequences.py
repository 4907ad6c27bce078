"""What the silent failures cost, measured: Lantern Bay trained with what preflight warns of.

One seed each; the bounds leave several times the difference that another seed makes (about 0.1 in
exact match, see notebook 06). Every set-up that fails here is one that preflight names.
"""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest

from sft_helpers import town
from sft_helpers.lesson import expect
from sft_helpers.models import load
from sft_helpers.preflight import Report, preflight
from sft_helpers.training.grids import DEFAULTS, Outcome, Run

pytestmark = pytest.mark.slow

LORA = {"r": 16, "lora_alpha": 32, "target_modules": "all-linear", "task_type": "CAUSAL_LM"}
EPOCHS = {"num_train_epochs": 2, "learning_rate": 1e-3, "per_device_train_batch_size": 16}
PACKED = EPOCHS | {"packing": True, "per_device_train_batch_size": 4}
SHORT = {"max_steps": 30, "learning_rate": 1e-3, "per_device_train_batch_size": 16}


def sample(file: str, count: int) -> list[dict[str, Any]]:
    """Rows of a file, mixed."""
    rows = town.read_rows(file)
    random.Random(0).shuffle(rows)
    return rows[:count]


def without_end(folder: Path) -> str:
    """The tiny model with a template whose end token is outside the trained part."""
    model, tokenizer = load("tiny")
    inside = "'<|im_end|>' -}}\n{%- endgeneration -%}"
    outside = "'' -}}\n{%- endgeneration -%}\n{{- '<|im_end|>' -}}"
    assert inside in tokenizer.chat_template
    tokenizer.chat_template = tokenizer.chat_template.replace(inside, outside)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return str(folder)


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Run]:
    """The set-ups by name: those that preflight names by their code, and sound ones."""
    rows, asked = sample("sft_train.jsonl", 600), {"questions": sample("sft_test.jsonl", 100)}
    odd = without_end(tmp_path_factory.mktemp("without_end"))
    adapter = SHORT | {"learning_rate": 4e-3}
    made = [
        Run("sound", rows, EPOCHS, **asked),
        Run("packed", rows, PACKED, **asked),
        Run("packing.few_steps", rows, PACKED | {"per_device_train_batch_size": 16}, **asked),
        Run("packing.wrapped_contaminates", rows, PACKED | {"packing_strategy": "wrapped"},
            **asked),
        Run("mask.end_token_unsupervised", rows, EPOCHS | {"max_steps": 50}, model=odd, **asked),
        Run("the same in float32", rows, EPOCHS | {"learning_rate": 1e-4}),
        Run("config.low_precision_weights", rows, EPOCHS | {"learning_rate": 1e-4},
            dtype="bfloat16"),
        Run("config.warmup_exceeds_steps", rows, SHORT | {"warmup_steps": 1_000}),
        Run("config.learning_rate_high", rows, SHORT | {"learning_rate": 1e-1}),
        Run("adapter", rows, adapter, LORA),
        Run("config.learning_rate_low", rows, adapter | {"learning_rate": 2e-5}, LORA),
        Run("lora.partial_match", rows, adapter, LORA | {"target_modules": ["q_proj", "W_pack"]}),
        Run("lora.default_targets", rows, adapter, LORA | {"target_modules": None}),
        Run("lora.nothing_trains", rows, adapter | {"max_steps": 10,
            "activation_checkpointing": True}, LORA | {"inference_mode": True}),
    ]  # fmt: skip
    return {run.name: run for run in made}


@pytest.fixture(scope="module")
def done(runs: dict[str, Run]) -> dict[str, Outcome]:
    """All of them trained."""
    from sft_helpers.training.runs import run_all

    return dict(zip(runs, run_all(list(runs.values())), strict=True))


def looked_at(run: Run) -> Report:
    """What preflight says about a run."""
    from peft import LoraConfig
    from trl import SFTConfig

    model, tokenizer = load(run.model, dtype=run.dtype)
    return preflight(
        [{"messages": row["messages"]} for row in run.rows],
        model,
        tokenizer,
        SFTConfig("unused", **(DEFAULTS | dict(run.sft))),
        LoraConfig(**run.lora) if run.lora else None,
    )


def last_loss(done: Outcome) -> float:
    return float(done.history.loss[-1])


def test_preflight_names_each_and_no_sound_one(runs: dict[str, Run]) -> None:
    """Every set-up below is found before it runs; the sound ones have no finding worth a stop."""
    for name, run in runs.items():
        report = looked_at(run)
        if "." in name:
            assert name in report.codes, name
        elif name != "the same in float32":  # its rate is too low for anything but the comparison
            loud = {one.code for one in report.findings if one.severity != "note"}
            assert not loud, name


def test_packing_leaves_too_few_steps(done: dict[str, Outcome]) -> None:
    """Packed in batches of 16 the epochs have a quarter of the steps, and the model learns nothing;
    in batches of 4 it learns what it learns unpacked.
    """
    few, packed, sound = (done[n] for n in ("packing.few_steps", "packed", "sound"))
    assert few.history.step * 3 < packed.history.step <= sound.history.step
    expect("preflight.few_steps_exact_match", few.exact_match, high=0.2)
    assert packed.exact_match > 0.5
    assert sound.exact_match > 0.5


def test_wrapped_packing_contaminates(done: dict[str, Outcome]) -> None:
    """The same rows, batch and rate: what attends to its neighbours learns less."""
    wrapped, packed = done["packing.wrapped_contaminates"], done["packed"]
    expect("preflight.wrapped_loses", packed.exact_match - wrapped.exact_match, low=0.2)


def test_never_stops(done: dict[str, Outcome]) -> None:
    """Without the end token in the loss no answer ends, although the loss looks well."""
    silent, sound = done["mask.end_token_unsupervised"], done["sound"]
    expect("preflight.never_stops_stop_rate", silent.answers.stopped, high=0.2)
    assert sound.answers.stopped > 0.95
    assert last_loss(silent) < 0.5


def test_learns_nothing(done: dict[str, Outcome]) -> None:
    """A rate too low, too high, or never reached, and an adapter on next to nothing."""
    assert last_loss(done["sound"]) < 1
    assert last_loss(done["adapter"]) < 1.5
    for name in ("config.learning_rate_high", "config.warmup_exceeds_steps",
                 "config.learning_rate_low", "lora.partial_match"):  # fmt: skip
        assert last_loss(done[name]) > 2, name
    assert last_loss(done["lora.default_targets"]) > 1.2 * last_loss(done["adapter"])


def test_adapter_that_trains_nothing(done: dict[str, Outcome]) -> None:
    """The frozen adapter ends without an error and with a gradient of 0."""
    frozen = done["lora.nothing_trains"]
    assert frozen.history.finished
    assert set(frozen.history.grad_norm) == {0.0}
    assert frozen.trainable == 0


def test_bf16_weights_do_not_move(done: dict[str, Outcome]) -> None:
    """At a rate at which fp32 weights learn slowly, bf16 weights do not: steps are rounded away."""
    bf16, fp32 = done["config.low_precision_weights"], done["the same in float32"]
    assert last_loss(fp32) < 1
    expect("preflight.bf16_loss_over_fp32", last_loss(bf16) / last_loss(fp32), low=2)
