"""What does not fit: asked of `sft_helpers.memory`, held against the card of the profile."""

from __future__ import annotations

from typing import Any

import pytest

from sft_helpers.hardware import Hardware
from sft_helpers.preflight import Setup, memory
from tests.preflight.cases import Case, arguments, report, setup, tokenizer


def seven_billion(method: str, **changes: Any) -> dict[str, Any]:
    """Qwen2.5-7B's configuration, to be trained on Lantern Bay's rows."""
    import transformers
    from peft import LoraConfig

    from sft_helpers.memory import read_config

    adapter = LoraConfig(r=16, lora_alpha=32, target_modules="all-linear", task_type="CAUSAL_LM")
    bits = transformers.BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_use_double_quant=True)
    plain = {"learning_rate": 2e-4, "model_init_kwargs": {"dtype": "bfloat16"}}
    return setup(
        model=read_config("Qwen2.5-7B")[1],
        tokenizer=tokenizer(),
        args=arguments(**plain | changes),
        peft_config=None if method == "full" else adapter,
        quantization_config=bits if method == "qlora" else None,
    )


CASES = [
    Case(
        "memory.does_not_fit",
        "7B",
        lambda: seven_billion("full", learning_rate=2e-5),
        lambda: seven_billion("qlora", activation_checkpointing=True),
    ),
]


@pytest.fixture(autouse=True)
def card(monkeypatch: pytest.MonkeyPatch) -> None:
    """Plan for a card of 24 GB."""
    monkeypatch.setenv("SFT_PROFILE", "rtx4090")


def test_case(case: Case) -> None:
    """The broken set-up has the code, its near twin does not."""
    assert case.code in report(case.bad()).codes
    assert case.code not in report(case.good()).codes


def test_finding_names_numbers_and_what_is_missing() -> None:
    """The message has the need, the largest parts, the card, and what is not counted."""
    looked = Setup.of(**seven_billion("full", learning_rate=2e-5))
    [found] = memory.check(looked)
    made = memory.account(looked)
    assert made is not None
    assert f"{made.peak_bytes / memory.GIB:.1f} GiB" in found.message
    assert "RTX 4090 has 23.6" in found.message
    assert "fragmentation" in found.message
    assert found.severity == "error"


@pytest.mark.parametrize(
    ("gib", "said"),
    [(16.0, "LoRA, with the base in dtype: bfloat16"), (8.0, "QLoRA"), (4.0, "a smaller model")],
)
def test_the_fix_is_the_first_that_helps(
    gib: float, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A smaller batch does not mend weights that do not fit; what is advised was tried."""
    machine = Hardware("cuda", "a card", gpu_memory_gib=gib * 1.1, capability=(8, 9))
    monkeypatch.delenv("SFT_PROFILE")
    monkeypatch.setattr("sft_helpers.machine.detect_hardware", lambda: machine)
    [found] = memory.check(Setup.of(**seven_billion("full", learning_rate=2e-5)))
    assert said in found.fix
    assert ("LoRA, with" in found.fix) == said.startswith("LoRA")


def test_the_longest_row_decides() -> None:
    """A batch is as long as its longest row, cut at max_length; a pack is max_length long."""
    looked = Setup.of(**setup(args=arguments(max_length=20)))
    assert memory.longest_batch(looked) == (20, 4)
    looked = Setup.of(**setup())
    assert memory.longest_batch(looked) == (int(looked.lengths.max()), 4)
    looked = Setup.of(**setup(args=arguments(packing=True, max_length=256)))
    assert memory.longest_batch(looked)[0] == 256


def test_tight_is_a_warning(monkeypatch: pytest.MonkeyPatch) -> None:
    """Between 90 and 100 % of the room what is not counted decides; without a size, silence."""
    monkeypatch.delenv("SFT_PROFILE")

    def with_memory(gib: float | None) -> list[str]:
        here = Hardware("cpu", "a processor", memory_gib=gib)
        monkeypatch.setattr("sft_helpers.machine.detect_hardware", lambda: here)
        return [f.severity for f in memory.check(looked)]

    looked = Setup.of(**setup())
    assert with_memory(None) == []
    made = memory.account(looked)
    assert made is not None
    need = made.peak_bytes / memory.GIB
    said = [with_memory(need * share) for share in (2.0, 1.05, 0.95)]
    assert said == [[], ["warning"], ["error"]]


def test_an_architecture_without_an_account_is_not_judged(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Where no account can be made, nothing is said."""

    def refuse(*_: Any, **__: Any) -> None:
        raise RuntimeError("no fake tensors here")

    monkeypatch.setattr("sft_helpers.memory.predict", refuse)
    monkeypatch.setattr("sft_helpers.preflight.memory._accounts", {})
    assert list(memory.check(Setup.of(**setup()))) == []
