"""Arguments that do nothing, what never happens, collators, learning rates, number formats."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from typing import Any

import pytest

from sft_helpers.hardware import Hardware
from sft_helpers.models import load, resolve
from sft_helpers.preflight import Setup, config, rates
from sft_helpers.preflight import lora as adapters
from tests.preflight.cases import Case, arguments, report, rows, setup, tokenizer

DEV = "town/sft_dev.jsonl"


def run(**changes: Any) -> dict[str, Any]:
    """The sound set-up with other arguments."""
    return setup(args=arguments(**changes))


def lora(**changes: Any) -> dict[str, Any]:
    """The sound LoRA set-up with other arguments."""
    from peft import LoraConfig

    adapter = LoraConfig(r=16, lora_alpha=32, target_modules="all-linear", task_type="CAUSAL_LM")
    return setup(args=arguments(**{"learning_rate": 4e-3, **changes}), peft_config=adapter)


def evaluated(**changes: Any) -> dict[str, Any]:
    """With evaluation rows."""
    return setup(args=arguments(**changes), eval_dataset=rows(DEV))


def collated(name: str) -> dict[str, Any]:
    """With a collator of transformers."""
    import transformers

    kinds: dict[str, Any] = {
        "lm": lambda: transformers.DataCollatorForLanguageModeling(tokenizer(), mlm=False),
        "seq2seq": lambda: transformers.DataCollatorForSeq2Seq(tokenizer()),
        "default": lambda: transformers.default_data_collator,
    }
    return setup(data_collator=kinds[name]())


def weights(dtype: str, **changes: Any) -> dict[str, Any]:
    """With a loaded model of this type."""
    model = load("tiny", dtype=dtype)[0]
    return setup(model=model, args=arguments(**changes))


def big(rate: float, adapter: bool) -> dict[str, Any]:
    """Qwen2.5-7B's configuration."""
    from sft_helpers.memory import read_config

    base = lora() if adapter else run()
    return {**base, "model": read_config("Qwen2.5-7B")[1], "tokenizer": tokenizer(),
            "args": arguments(learning_rate=rate)}  # fmt: skip


CASES = [
    Case(
        "config.unknown_argument",
        "model_init_kwargs",
        lambda: run(model_init_kwargs={"attention": "sdpa"}),
        lambda: run(model_init_kwargs={"attn_implementation": "sdpa", "rms_norm_eps": 1e-5}),
    ),
    Case(
        "config.ignored_argument",
        "dataset_kwargs",
        lambda: run(dataset_kwargs={"add_special_tokens": False}),
        lambda: run(dataset_kwargs={"skip_prepare_dataset": False}),
    ),
    Case(
        "config.ignored_argument",
        "torch_dtype",
        lambda: lora(model_init_kwargs={"torch_dtype": "bfloat16"}),
        lambda: lora(model_init_kwargs={"dtype": "bfloat16"}),
    ),
    Case(
        "config.ignored_argument",
        "loaded model",
        lambda: weights("float32", model_init_kwargs={"dtype": "float32"}),
        lambda: weights("float32"),
    ),
    Case(
        "config.ignored_argument",
        "strategy without packing",
        lambda: run(packing_strategy="bfd_split"),
        lambda: run(packing_strategy="bfd"),
    ),
    Case(
        "config.ignored_argument",
        "warm-up of a constant rate",
        lambda: run(lr_scheduler_type="constant", warmup_steps=0.1),
        lambda: run(lr_scheduler_type="constant_with_warmup", warmup_steps=0.1),
    ),
    Case(
        "config.ignored_argument",
        "formatting_func",
        lambda: setup(formatting_func=str),
        lambda: setup(dataset=rows("formats/question_answer.jsonl"), formatting_func=str,
                      args=arguments(assistant_only_loss=False)),
    ),
    Case(
        "config.eval_never_runs",
        "no strategy",
        lambda: evaluated(),
        lambda: evaluated(eval_strategy="epoch"),
    ),
    Case(
        "config.eval_never_runs",
        "delayed",
        lambda: evaluated(eval_strategy="steps", eval_steps=5, eval_delay=100),
        lambda: evaluated(eval_strategy="steps", eval_steps=500),
    ),
    Case(
        "config.logging_never",
        "default",
        lambda: run(logging_steps=500),
        lambda: run(logging_steps=0.1),
    ),
    Case(
        "config.logging_never",
        "off",
        lambda: run(logging_strategy="no"),
        lambda: run(logging_strategy="epoch"),
    ),
    Case(
        "config.warmup_exceeds_steps",
        "steps",
        lambda: run(warmup_steps=100),
        lambda: run(warmup_steps=0.1),
    ),
    Case(
        "config.low_precision_weights",
        "loaded",
        lambda: weights("bfloat16", learning_rate=3e-4),
        lambda: weights("float32", learning_rate=3e-4),
    ),
    Case(
        "config.low_precision_weights",
        "by name",
        lambda: run(model_init_kwargs={"dtype": "bfloat16"}),
        lambda: lora(model_init_kwargs={"dtype": "bfloat16"}),
    ),
    Case(
        "config.precision_unsupported",
        "fp16 on a CPU",
        lambda: run(fp16=True),
        lambda: run(fp16=False),
    ),
    Case(
        "config.learning_rate_high",
        "7B, all weights",
        lambda: big(2e-4, adapter=False),
        lambda: big(2e-4, adapter=True),
    ),
    Case(
        "config.learning_rate_high",
        "tiny",
        lambda: run(learning_rate=1e-1),
        lambda: run(learning_rate=1e-3),
    ),
    Case(
        "config.learning_rate_low",
        "7B, LoRA",
        lambda: big(2e-5, adapter=True),
        lambda: big(2e-5, adapter=False),
    ),
    Case(
        "config.learning_rate_low",
        "tiny, TRL's default",
        lambda: lora(learning_rate=2e-5),
        lambda: lora(),
    ),
    Case(
        "config.collator_rebuilds_labels",
        "language modeling",
        lambda: collated("lm"),
        lambda: collated("seq2seq"),
    ),
    Case(
        "config.collator_rebuilds_labels",
        "does not pad",
        lambda: collated("default"),
        lambda: setup(),
    ),
]  # fmt: skip


def test_case(case: Case) -> None:
    """The broken set-up has the code, its near twin does not."""
    assert case.code in report(case.bad()).codes
    assert case.code not in report(case.good()).codes


# --- the kit's own rates, and those of the guides, are sound ------------------------------------


@pytest.mark.parametrize(
    ("method", "size", "rate"),
    [
        ("full", 9.5e5, 5e-4), ("full", 9.5e5, 1e-3), ("full", 9.5e5, 2e-3),
        ("full", 1.35e8, 2e-5), ("full", 1.35e8, 1e-3), ("full", 1.7e9, 3e-4),
        ("full", 7e9, 2e-5), ("full", 7e9, 5e-6), ("full", 7e10, 2e-6),
        ("lora", 9.5e5, 1e-3), ("lora", 9.5e5, 4e-3), ("lora", 1.35e8, 2e-4),
        ("lora", 1.35e8, 3e-3), ("lora", 5e8, 2e-4), ("lora", 1.2e9, 1e-3), ("lora", 7e9, 1e-4),
        ("lora", 7e9, 2e-4), ("lora", 8e9, 1e-3), ("lora", 7e10, 1e-4),
    ],
)  # fmt: skip
def test_usual_rates_are_let_through(method: str, size: float, rate: float) -> None:
    """No false alarm on rates that the guides recommend or that the kit has measured."""
    low, usual, high = rates.limits(method, size)
    assert low < rate < high
    assert low < usual < high


@pytest.mark.parametrize(
    ("method", "size", "rate"),
    [
        ("full", 9.5e5, 2e-5), ("full", 9.5e5, 2e-4), ("full", 9.5e5, 8e-3), ("full", 7e9, 2e-4),
        ("full", 7e9, 1e-7), ("lora", 9.5e5, 5e-4), ("lora", 9.5e5, 1.6e-2), ("lora", 1.35e8, 2e-5),
        ("lora", 7e9, 2e-5), ("lora", 8e9, 3e-3),
    ],
)  # fmt: skip
def test_rates_that_failed_are_caught(method: str, size: float, rate: float) -> None:
    """Rates that were measured to teach nothing or to break the model lie outside."""
    low, _, high = rates.limits(method, size)
    assert not low < rate < high


def test_other_optimizers_and_adapters_have_other_rates() -> None:
    """Nothing is said of SGD, nor of prompt tuning, whose rates are another matter."""
    from peft import PromptTuningConfig

    assert not report(run(learning_rate=1e-1, optim="sgd")).codes & {"config.learning_rate_high"}
    tuned = setup(
        args=arguments(learning_rate=2e-2),
        peft_config=PromptTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=4),
    )
    assert "config.learning_rate_high" not in report(tuned).codes  # fmt: skip


def test_a_model_without_a_causal_class_is_not_judged() -> None:
    """Where no modules can be built, neither rate nor adapter is judged."""
    from transformers import AutoConfig

    looked = Setup.of(**lora(learning_rate=2e-5))
    looked.config = AutoConfig.for_model("vit")
    assert [*rates.rate(looked), *adapters.check(looked)] == []


@pytest.mark.parametrize(
    ("number", "words"), [(2e-4, "2e-4"), (1.3e-3, "1.3e-3"), (0.1, "0.1"), (3e-10, "3e-10")]
)
def test_rates_are_written_as_people_do(number: float, words: str) -> None:
    assert rates.short(number) == words


# --- a file for `trl sft` ------------------------------------------------------------------------


def from_file(**given: Any) -> Setup:
    """A set-up as it comes from a YAML file."""
    more = {name: given.pop(name) for name in ("unknown_arguments", "refused") if name in given}
    return Setup.of(**run(), given_arguments=given, **more)


def test_names_are_read_from_the_installed_packages() -> None:
    """What TRL and transformers read today; should that move, this says so."""
    assert config._read_of_dataset_kwargs() == {"skip_prepare_dataset"}
    taken = config._loading_names(from_file())
    assert {"dtype", "device_map", "gguf_file", "attn_implementation", "rope_parameters"} <= taken
    assert "attention" not in taken


def test_names_of_a_file() -> None:
    """Old names get the new one, misspelt ones the nearest."""
    looked = from_file(unknown_arguments=("max_seq_length", "learning_rat"))
    found = [f for f in config.check(looked) if f.code == "config.unknown_argument"]
    assert [f.fix.split(":")[0] for f in found] == ["max_length", "learning_rate"]
    assert not [f for f in config.check(from_file()) if f.code == "config.unknown_argument"]


@pytest.mark.parametrize(
    ("given", "more"),
    [({"lora_r": 16, "lora_target_modules": ["all-linear"]}, {"use_peft": True}),
     ({"bnb_4bit_quant_type": "nf4"}, {"load_in_4bit": True})],
)  # fmt: skip
def test_adapter_without_use_peft(given: dict[str, Any], more: dict[str, Any]) -> None:
    """`lora_r` alone makes no adapter, `bnb_...` alone quantizes nothing."""
    ignored = "config.ignored_argument"
    assert [f.code for f in config.check(from_file(**given))] == [ignored]
    assert not list(config.check(from_file(**given, **more)))


# --- machines that are not this one -------------------------------------------------------------


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Plan for a machine of a given profile."""
    return lambda name: monkeypatch.setenv("SFT_PROFILE", name)


def formats(given: dict[str, Any], **more: Any) -> list[str]:
    return [f.severity for f in rates.precision(Setup.of(**given, **more))]


def test_formats_of_gpus(machine: Any) -> None:
    """bf16 on a T4 is emulated, on a 4090 it is real; fp16 scaling needs fp32 weights."""
    from transformers import BitsAndBytesConfig

    on_gpu, half = arguments(bf16=True), arguments(fp16=True)
    on_gpu.use_cpu = half.use_cpu = False
    bits = BitsAndBytesConfig(load_in_4bit=True)
    machine("t4")
    assert formats({**run(), "args": on_gpu}) == ["error"]
    assert formats({**run(), "args": half}) == []
    assert formats({**lora(), "args": half, "quantization_config": bits}) == ["error"]
    assert formats({**weights("float16"), "args": half}) == ["error"]
    machine("rtx4090")
    assert formats({**run(), "args": on_gpu}) == []


def test_refused_here_is_not_refused_elsewhere(
    machine: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What SFTConfig refuses on a CPU is no finding when another machine is planned for."""
    words = "Your setup doesn't support bf16/gpu."
    plain = Hardware("cpu", "a processor", cores=2, memory_gib=8.0, bf16_ratio=1.0)
    monkeypatch.setattr("sft_helpers.machine.detect_hardware", lambda: plain)
    assert formats(run(bf16=True), refused=words) == ["error"]
    machine("rtx4090")
    assert formats(run(bf16=True), refused=words) == []


def test_slow_bf16_is_a_note(monkeypatch: pytest.MonkeyPatch) -> None:
    """A CPU that emulates bf16 trains correctly, many times slower."""
    for ratio, said in ((12.0, ["note"]), (0.3, [])):
        here = Hardware("cpu", "a processor", bf16_ratio=ratio)
        monkeypatch.setattr("sft_helpers.machine.detect_hardware", lambda here=here: here)
        assert formats(run(bf16=True)) == said


# --- what is said is what the libraries do ------------------------------------------------------


def trained(**changes: Any) -> Any:
    """A trainer after two real steps."""
    from datasets import Dataset
    from trl import SFTTrainer

    from sft_helpers.training.watch import record

    model = changes.pop("model", None) or load("tiny")[0]
    plain = {"max_steps": 2, "save_strategy": "no", "disable_tqdm": True}
    with tempfile.TemporaryDirectory() as folder:  # the trainer makes its folder at once
        trainer = SFTTrainer(
            model, arguments(**plain | {"output_dir": folder} | changes),
            train_dataset=Dataset.from_list(rows()), processing_class=tokenizer(),
        )  # fmt: skip
        record(trainer)
        trainer.train()
    return trainer


def losses(trainer: Any) -> list[float]:
    return [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]


def test_trl_does_what_the_findings_say() -> None:
    """fp16 on a CPU is fp32; torch_dtype loses; a constant rate has no warm-up; 2e-5 warms up."""
    assert losses(trained(fp16=True)) == losses(trained())
    loaded = trained(model=resolve("tiny"), model_init_kwargs={"torch_dtype": "bfloat16"})
    assert {str(p.dtype) for p in loaded.model.parameters()} == {"torch.float32"}
    constant = trained(lr_scheduler_type="constant", warmup_steps=10).state.log_history
    assert [e["learning_rate"] for e in constant if "loss" in e] == [5e-4, 5e-4]
    rising = trained(warmup_steps=10).state.log_history
    assert max(e["learning_rate"] for e in rising if "loss" in e) <= 5e-4 * (2 - 1) / 10 + 1e-12


def test_unknown_loading_argument_is_refused_by_transformers() -> None:
    """The name that preflight calls unknown ends in a TypeError, the known one loads."""
    with pytest.raises(TypeError, match="attention"):
        trained(model=resolve("tiny"), model_init_kwargs={"attention": "sdpa"})
    trained(model=resolve("tiny"), model_init_kwargs={"rms_norm_eps": 1e-5})
