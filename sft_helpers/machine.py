"""What machine is this, and what follows from it: every choice with the sentence that says why.

`profile()` looks at the machine once and returns a `Profile`. Its fields are `Choice`s (a value
and a reason), `sft_arguments()` gives those that trl's `SFTConfig` takes, and `print(profile())`
shows the whole table. Environment: `SFT_PROFILE` forces a profile by name, `SFT_THREADS` the number
of threads. The sentences stand in `machine.yaml`; `sft_helpers.doctor` looks for what is wrong.
"""

from __future__ import annotations

import functools
import os
import re
import textwrap
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import yaml

from sft_helpers.errors import EnvironmentProblem
from sft_helpers.hardware import Hardware, detect_hardware

FAST_BF16 = 0.8  # below this ratio of times bf16 is worth its lost digits

_GIB = 2**30
# Parameters in billions, where the name rounds too far to plan memory with.
_PARAMETERS = {
    "tiny": 0.001,
    "smollm2": 0.135,
    "Qwen/Qwen2.5-0.5B": 0.494,
    "Qwen/Qwen2.5-1.5B": 1.54,
    "Qwen/Qwen2.5-3B": 3.09,
    "Qwen/Qwen2.5-7B": 7.62,
}
# Bytes a parameter: fp32 weight, gradient and two AdamW moments; 16 bits; 4 bits and their scales.
_BYTES = {"full": 16.0, "lora": 2.0, "qlora": 0.8}
# Activations of a 7B QLoRA step with checkpointing, GiB per 1,024 tokens: from the memory column
# of Qwen's README (12.3 GB at 1,024 tokens, 16.9 GB at 4,096).
_GIB_PER_1K_TOKENS = 1.5
# Rows per optimizer step on a GPU: LoRA likes a batch below 32 (TRL, "LoRA Without Regret").
_ROWS_PER_STEP = 16


# What a profile that is forced by its name plans for.
_STAND_INS = {
    "cpu": Hardware("cpu", "the CPU of this machine"),
    "apple": Hardware("mps", "Apple silicon"),
    "t4": Hardware("cuda", "Tesla T4", 14.7, (7, 5)),
    "rtx4090": Hardware("cuda", "NVIDIA GeForce RTX 4090", 23.6, (8, 9)),
    "a100": Hardware("cuda", "NVIDIA A100 40GB", 39.4, (8, 0)),
    "gpu": Hardware("cuda", "a GPU of 12 GiB", 12.0, (8, 6)),
}
NAMES = tuple(_STAND_INS)


@dataclass(frozen=True)
class Choice:
    """One setting: its value and one sentence saying why."""

    value: Any
    why: str


@dataclass(frozen=True)
class Profile:
    """The choices for one machine and one model.

    `note` says whether the authors have run this profile; `forced` is true where a name, not the
    hardware, decided. `batch_size` counts rows per device, `max_length` tokens, `weights` is the
    dtype to load the model in and `precision` the autocast of training (fp32, fp16, bf16).
    """

    name: str
    hardware: Hardware
    model: Choice
    method: Choice
    device: Choice
    precision: Choice
    weights: Choice
    attention: Choice
    batch_size: Choice
    accumulation: Choice
    max_length: Choice
    activation_checkpointing: Choice
    threads: Choice
    note: str
    forced: bool = False

    def sft_arguments(self) -> dict[str, Any]:
        """Keyword arguments for trl's `SFTConfig`: the ones that the machine decides.

        `SFTConfig` switches bf16 and checkpointing on by default, and bf16 without `use_cpu` is
        refused on a CPU: so all of them are always stated.
        """
        return {name: choice.value for name, choice in self._sft().items()}

    def sft_reasons(self) -> dict[str, str]:
        """The sentence that says why, for each of `sft_arguments()`."""
        return {name: choice.why for name, choice in self._sft().items()}

    def _sft(self) -> dict[str, Choice]:
        device, precision, batch = self.device, self.precision, self.batch_size
        return {
            "use_cpu": Choice(device.value == "cpu", device.why),
            "bf16": Choice(precision.value == "bf16", precision.why),
            "fp16": Choice(precision.value == "fp16", precision.why),
            "per_device_train_batch_size": batch,
            "per_device_eval_batch_size": _choice("sft.evaluation", batch.value),
            "gradient_accumulation_steps": self.accumulation,
            "max_length": self.max_length,
            "activation_checkpointing": self.activation_checkpointing,
            "dataloader_pin_memory": _choice("sft.pin_memory", device.value == "cuda"),
        }

    def for_model(self, model: str) -> Profile:
        """The same machine, planned for another model."""
        return replace(_plan(self.name, self.hardware, model), forced=self.forced)

    def load_arguments(self) -> dict[str, Any]:
        """Keyword arguments for `from_pretrained`, or `SFTConfig(model_init_kwargs=...)`."""
        return {"dtype": self.weights.value, "attn_implementation": self.attention.value}

    def use_threads(self) -> None:
        """Set the thread count of this process, and of processes started from it."""
        import torch

        os.environ["OMP_NUM_THREADS"] = str(self.threads.value)
        torch.set_num_threads(self.threads.value)

    def explain(self) -> list[tuple[str, str, str]]:
        """Rows of setting, value and reason, in the order in which they are decided."""
        machine = "forced by name" if self.forced else "found"
        rows = [("profile", self.name, f"{machine}: {self.hardware}. {self.note}")]
        for field in fields(self):
            choice = getattr(self, field.name)
            if isinstance(choice, Choice):
                rows.append((field.name.replace("_", " "), str(choice.value), choice.why))
        return rows

    def __str__(self) -> str:
        rows = self.explain()
        first, second = (max(len(row[column]) for row in rows) for column in (0, 1))
        lines = []
        for setting, value, why in rows:
            start = f"{setting:<{first}}  {value:<{second}}  "
            lines += textwrap.wrap(start + why, 98, subsequent_indent=" " * len(start))
        return "\n".join(lines)


def profile(
    name: str | None = None, hardware: Hardware | None = None, *, model: str | None = None
) -> Profile:
    """Choose the settings for this machine.

    Args:
        name: one of `NAMES` to force a profile; default the variable `SFT_PROFILE`, else what
            the hardware says.
        hardware: what to plan for; default this machine.
        model: the model to plan for ("tiny", "smollm2", a hub id or a folder); default the one
            that the profile recommends.

    Raises:
        EnvironmentProblem: unknown profile name, or `SFT_THREADS` is not a positive number.
    """
    name = name or os.environ.get("SFT_PROFILE") or None
    found = hardware or detect_hardware()
    if name in (None, _name_of(found)):
        return _plan(_name_of(found), found, model)
    if name not in NAMES:
        raise EnvironmentProblem(
            f"there is no profile {name!r}",
            where="SFT_PROFILE" if name == os.environ.get("SFT_PROFILE") else None,
            hint=f"take one of {', '.join(NAMES)}, or leave it out to have it found",
        )
    return replace(_plan(name, _as_if(name, found), model), forced=True)


def _name_of(hardware: Hardware) -> str:
    if hardware.kind != "cuda":
        return "apple" if hardware.kind == "mps" else "cpu"
    if re.search(r"\bT4\b", hardware.name):
        return "t4"
    if re.search(r"\b4090\b(?! Laptop| D)", hardware.name):
        return "rtx4090"
    return "a100" if re.search(r"\b(A|H)100\b|\bH200\b", hardware.name) else "gpu"


def _as_if(name: str, found: Hardware) -> Hardware:
    """The hardware that a forced profile plans for."""
    if name == "gpu" and found.kind == "cuda":
        return found
    ratio = found.bf16_ratio if name == "cpu" else None
    return replace(
        _STAND_INS[name], cores=found.cores, memory_gib=found.memory_gib, bf16_ratio=ratio
    )


# --- what is chosen, and why -----------------------------------------------------------------


@functools.cache
def texts() -> dict[str, Any]:
    """What machine.yaml holds."""
    found: dict[str, Any] = yaml.safe_load(Path(__file__).with_suffix(".yaml").read_text("utf-8"))
    return found


def _choice(key: str, value: Any = None, **facts: Any) -> Choice:
    """A setting of machine.yaml; `value` where it is worked out, `facts` for its sentence."""
    part, _, name = key.partition(".")
    usual, why = texts()[part][name]
    return Choice(usual if value is None else value, why.format(**facts))


def _choices(part: str) -> dict[str, Any]:
    return {name: _choice(f"{part}.{name}") for name in texts()[part]}


def _plan(name: str, hardware: Hardware, model: str | None) -> Profile:
    on_gpu = hardware.kind == "cuda"
    if model == "tiny" or (model is None and not on_gpu):
        return _tiny(name, hardware)
    return _gpu(name, hardware, model) if on_gpu else _small(name, hardware, str(model))


def _tiny(name: str, hardware: Hardware) -> Profile:
    """Lantern Bay's base model: the same settings on every machine, so that results compare."""
    return Profile(
        name,
        hardware,
        **_choices("tiny"),
        device=_choice(f"device.tiny_{hardware.kind}"),
        precision=_choice(f"precision.tiny{_speed(hardware)}", ratio=hardware.bf16_ratio),
        threads=_threads(),
        note=texts()["note"][hardware.kind],
    )


def _small(name: str, hardware: Hardware, model: str) -> Profile:
    """SmolLM2 or a model of the reader's own on a machine without a CUDA GPU."""
    large = (_parameters(model) or 0) > 0.4
    speed, ratio = _speed(hardware), hardware.bf16_ratio
    return replace(
        _tiny(name, hardware),
        **_choices("small"),
        model=_choice("model.asked_large" if large else "model.asked", model),
        device=_choice(f"device.{hardware.kind}"),
        precision=_choice(f"precision.small{speed}", ratio=ratio, fast=FAST_BF16),
        activation_checkpointing=_choice(
            f"activation_checkpointing.{'large' if large else 'small'}"
        ),
    )


def _speed(hardware: Hardware) -> str:
    """What is known of bf16 on this CPU: the end of a sentence's name."""
    if hardware.bf16_ratio is None or hardware.kind != "cpu":
        return ""
    return "_fast" if hardware.bf16_ratio < FAST_BF16 else "_slow"


def _threads(hardware: Hardware | None = None) -> Choice:
    """One thread, or a few beside a GPU; `SFT_THREADS` decides otherwise."""
    text = os.environ.get("SFT_THREADS")
    if text and (not text.isdecimal() or int(text) < 1):
        raise EnvironmentProblem(
            f"{text!r} is not a number of threads",
            where="SFT_THREADS",
            hint="set it to 1 or more, or unset it",
        )
    if text:
        return _choice("threads.asked", int(text))
    if hardware is None:
        return _choice("threads.one")
    return _choice("threads.gpu", max(1, min(hardware.cores, 4)))


def _gpu(name: str, hardware: Hardware, model: str | None) -> Profile:
    """Any model but the tiny one on a CUDA GPU: by its memory and its compute capability."""
    memory, capability = hardware.gpu_memory_gib or 8.0, hardware.capability or (7, 0)
    modern = capability >= (8, 0)
    own = _default_model(name, memory, modern)
    chosen = own if model is None else _choice("model.asked", model)
    size = _parameters(chosen.value)
    if size is None:
        size = _parameters(own.value) or 0.5
        chosen = _choice("model.asked_unknown", model, size=size)
    base = _tiny(name, hardware)
    precision = "bf16" if modern else "fp16" if capability >= (7, 0) else "fp32"
    method = _method(size, memory, precision)
    per_parameter = _BYTES[method.value]
    if method.value == "full":
        weights = base.weights
    elif modern:
        weights = _choice("weights.bfloat16")
    elif precision == "fp32" or size * 1e9 * 4 / _GIB <= 0.4 * memory:
        per_parameter = 4.0
        weights = _choice("weights.float32")
    else:
        weights = _choice("weights.float16")
    free = max(0.5, memory - size * 1e9 * per_parameter / _GIB)
    length = 2048 if memory >= 20 else 1024
    rows = free / 2 / _GIB_PER_1K_TOKENS * 1024 / length
    batch = max(size for size in (1, 2, 4, 8) if size <= max(rows, 1))
    steps = _ROWS_PER_STEP // batch
    return replace(
        base,
        model=chosen,
        method=method,
        device=_choice("gpu.device"),
        precision=_choice(f"precision.{precision}"),
        weights=weights,
        attention=_choice("attention.modern") if modern else base.attention,
        batch_size=_choice("gpu.batch_size", batch, free=free),
        accumulation=_choice("gpu.accumulation", steps, rows=_ROWS_PER_STEP),
        max_length=_choice("gpu.max_length", length),
        activation_checkpointing=_choice("gpu.activation_checkpointing"),
        threads=_threads(hardware),
    )


def _default_model(name: str, memory: float, modern: bool) -> Choice:
    """Instruct models: TRL 1.16 knows their template by its text, and refuses a base model's."""
    if name in ("rtx4090", "a100"):
        return _choice("model.largest")
    if memory < 4:
        return _choice("model.smallest", memory=memory)
    for least, size in ((22, "7B"), (14, "3B"), (10, "1.5B")):
        if memory >= least and modern:
            return _choice("model.fits", f"Qwen/Qwen2.5-{size}-Instruct", memory=memory)
    return _choice("model.small" if modern else "model.small_old", memory=memory)


def _method(size: float, memory: float, precision: str) -> Choice:
    """Full fine-tuning, LoRA or QLoRA for `size` billion parameters in `memory` GiB."""
    need = {method: size * 1e9 * each / _GIB for method, each in _BYTES.items()}
    least = "qlora" if precision == "bf16" else "lora"
    if need[least] > 0.85 * memory:
        return _choice("method.too_large", least, least=need[least], memory=memory)
    if precision != "bf16":
        return _choice(f"method.lora_{precision}")
    roomy = [method for method in ("full", "lora") if need[method] <= memory / 2]
    return _choice(f"method.{[*roomy, 'qlora'][0]}", memory=memory, **need)


def _parameters(model: str) -> float | None:
    """Billions of parameters, from the table or from the name ("...-1.7B"); None if unknown."""
    if model.removesuffix("-Instruct") in _PARAMETERS:
        return _PARAMETERS[model.removesuffix("-Instruct")]
    match = re.search(r"(?<![\w.])(\d+(?:\.\d+)?)([bm])(?![a-z])", model, re.IGNORECASE)
    if match is None:
        return None
    return float(match[1]) / (1000 if match[2] in "mM" else 1)
