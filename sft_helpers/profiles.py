"""What machine is this, and what follows from it: every choice with the sentence that says why.

`profile()` looks at the machine once and returns a `Profile`. Its fields are `Choice`s (a value
and a reason), `sft_arguments()` gives the ones that trl's `SFTConfig` takes, and `print(profile())`
shows the whole table. Environment: `SFT_PROFILE` forces a profile by name, `SFT_THREADS` the
number of threads. Looking at the hardware is in `sft_helpers.hardware`.
"""

from __future__ import annotations

import difflib
import os
import re
import textwrap
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from sft_helpers.errors import EnvironmentProblem
from sft_helpers.hardware import FAST_BF16, Hardware, detect_hardware

__all__ = ["NAMES", "Choice", "Hardware", "Profile", "detect_hardware", "profile"]

NAMES = ("cpu", "apple", "t4", "rtx4090", "a100", "gpu")

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
# Activations of a 7B QLoRA step with checkpointing, GiB per 1,024 tokens: from the memory column
# of Qwen's README (12.3 GB at 1,024 tokens, 16.9 GB at 4,096).
_GIB_PER_1K_TOKENS = 1.5
# Rows per optimizer step on a GPU: LoRA likes a batch below 32 (TRL, "LoRA Without Regret").
_ROWS_PER_STEP = 16

_STAND_INS = {
    "apple": Hardware("mps", "Apple silicon"),
    "t4": Hardware("cuda", "Tesla T4", 14.7, (7, 5)),
    "rtx4090": Hardware("cuda", "NVIDIA GeForce RTX 4090", 23.6, (8, 9)),
    "a100": Hardware("cuda", "NVIDIA A100 40GB", 39.4, (8, 0)),
    "gpu": Hardware("cuda", "a GPU of 12 GiB", 12.0, (8, 6)),
}

_TESTED = "The tests and the notebooks of this course run on this profile."
_UNTESTED = (
    "The authors have not run this profile on {what}: it rests on documentation and arithmetic."
)


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
        return {name: value for name, (value, _) in self._sft().items()}

    def sft_reasons(self) -> dict[str, str]:
        """The sentence that says why, for each of `sft_arguments()`."""
        return {name: why for name, (_, why) in self._sft().items()}

    def _sft(self) -> dict[str, tuple[Any, str]]:
        device, precision, batch = self.device, self.precision, self.batch_size
        steps, length, save = self.accumulation, self.max_length, self.activation_checkpointing
        pin = "Pinned memory speeds copies to a CUDA GPU, and only those."
        return {
            "use_cpu": (device.value == "cpu", device.why),
            "bf16": (precision.value == "bf16", precision.why),
            "fp16": (precision.value == "fp16", precision.why),
            "per_device_train_batch_size": (batch.value, batch.why),
            "per_device_eval_batch_size": (batch.value, "As in training."),
            "gradient_accumulation_steps": (steps.value, steps.why),
            "max_length": (length.value, length.why),
            "activation_checkpointing": (save.value, save.why),
            "dataloader_pin_memory": (device.value == "cuda", pin),
        }

    def for_model(self, model: str) -> Profile:
        """The same machine, planned for another model."""
        return replace(_BUILDERS[self.name](self.name, self.hardware, model), forced=self.forced)

    def load_arguments(self) -> dict[str, Any]:
        """Keyword arguments for `from_pretrained`, or `SFTConfig(model_init_kwargs=...)`."""
        return {"dtype": self.weights.value, "attn_implementation": self.attention.value}

    def use_threads(self) -> None:
        """Set the thread count of this process, and of processes started from it."""
        count = int(self.threads.value)
        os.environ["OMP_NUM_THREADS"] = str(count)
        try:
            import torch
        except ImportError:
            return
        torch.set_num_threads(count)

    def explain(self) -> list[tuple[str, str, str]]:
        """Rows of setting, value and reason, in the order in which they are decided."""
        machine = "forced by name" if self.forced else "found"
        rows = [("profile", self.name, f"{machine}: {self.hardware}. {self.note}")]
        for setting in (
            "model", "method", "device", "precision", "weights", "attention", "batch_size",
            "accumulation", "max_length", "activation_checkpointing", "threads",
        ):  # fmt: skip
            choice: Choice = getattr(self, setting)
            rows.append((setting.replace("_", " "), str(choice.value), choice.why))
        return rows

    def __str__(self) -> str:
        rows = self.explain()
        first = max(len(row[0]) for row in rows)
        second = max(len(row[1]) for row in rows)
        lines = []
        for setting, value, why in rows:
            start = f"{setting:<{first}}  {value:<{second}}  "
            lines += textwrap.wrap(
                start + why, 98, subsequent_indent=" " * len(start), drop_whitespace=True
            )
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
    if name is not None and name not in NAMES:
        near = difflib.get_close_matches(name.lower(), NAMES, 1, 0.4)
        raise EnvironmentProblem(
            f"there is no profile {name!r}; known: {', '.join(NAMES)}",
            where="SFT_PROFILE" if name == os.environ.get("SFT_PROFILE") else None,
            hint=f"did you mean {near[0]!r}?" if near else "leave it out to have it found",
        )
    found = hardware or detect_hardware()
    own = _name_for(found)
    if name is None or name == own:
        return _BUILDERS[own](own, found, model)
    forced = _as_if(name, found)
    return replace(_BUILDERS[name](name, forced, model), forced=True)


def _name_for(hardware: Hardware) -> str:
    if hardware.kind != "cuda":
        return "apple" if hardware.kind == "mps" else "cpu"
    if re.search(r"\bT4\b", hardware.name):
        return "t4"
    if re.search(r"\b4090\b(?! Laptop| D)", hardware.name):
        return "rtx4090"
    return "a100" if re.search(r"\b(A|H)100\b|\bH200\b", hardware.name) else "gpu"


def _as_if(name: str, found: Hardware) -> Hardware:
    """The hardware that a forced profile plans for."""
    if name == "cpu":
        return replace(
            found, kind="cpu", name="the CPU of this machine", gpu_memory_gib=None, capability=None
        )
    if name == "gpu" and found.kind == "cuda":
        return found
    return replace(_STAND_INS[name], cores=found.cores, memory_gib=found.memory_gib)


def _parameters(model: str) -> float | None:
    """Billions of parameters, from the table or from the name ("...-1.7B"); None if unknown."""
    if model.removesuffix("-Instruct") in _PARAMETERS:
        return _PARAMETERS[model.removesuffix("-Instruct")]
    match = re.search(r"(?<![\w.])(\d+(?:\.\d+)?)([bm])(?![a-z])", model, re.IGNORECASE)
    if match is None:
        return None
    return float(match[1]) / (1000 if match[2] in "mM" else 1)


def _threads(default: int, why: str) -> Choice:
    text = os.environ.get("SFT_THREADS")
    if not text:
        return Choice(default, why)
    if not text.isdecimal() or int(text) < 1:
        raise EnvironmentProblem(
            f"{text!r} is not a number of threads",
            where="SFT_THREADS",
            hint="set it to 1 or more, or unset it",
        )
    return Choice(int(text), "SFT_THREADS says so.")


_ONE_THREAD = (
    "One thread per process: on a busy machine two threads wait for each other and can be ten"
    " times slower, two processes side by side stay steady; SFT_THREADS overrides."
)
_TINY_ON_CPU = Choice(
    "cpu",
    "The lessons were measured on CPUs, and a million weights gain nothing from a GPU; larger"
    " models take it.",
)
_SDPA = "PyTorch's own attention: nothing to install, and exact for packed rows too."


def _tiny(name: str, hardware: Hardware, device: Choice, threads: Choice, note: str) -> Profile:
    """Lantern Bay's base model: the same settings everywhere, so that results compare."""
    precision = "Full precision: at a million parameters rounding costs more than it saves"
    if hardware.fast_bf16:
        precision = (
            f"A bf16 product takes {hardware.bf16_ratio:.2f} of the fp32 time here, yet a model of"
            " a million parameters stays in fp32: its matrices are too small to gain (autocast"
            " made a step slower on a CPU with bf16 units), and precision matters more"
        )
    elif hardware.bf16_ratio is not None:
        precision = (
            f"Measured: a bf16 product takes {hardware.bf16_ratio:.1f} times as long as fp32 here,"
            " because this CPU has no fast bf16"
        )
    return Profile(
        name,
        hardware,
        model=Choice(
            "tiny", "Lantern Bay's base model, 1M parameters: trains in a minute on a CPU."
        ),
        method=Choice("full", "All weights train: at this size nothing has to be saved."),
        device=device,
        precision=Choice("fp32", precision + "."),
        weights=Choice("float32", "Weights that train must be fp32, or small updates vanish."),
        attention=Choice("sdpa", _SDPA),
        batch_size=Choice(32, "Rows are short (about 40 tokens), so 32 fit and keep a core busy."),
        accumulation=Choice(1, "The whole batch fits at once."),
        max_length=Choice(256, "Longer than every row of Lantern Bay, so nothing is cut."),
        activation_checkpointing=Choice(
            False, "It trades time for memory, and memory is no concern at this size."
        ),
        threads=threads,
        note=note,
    )


def _small(base: Profile, model: str) -> Profile:
    """SmolLM2 or a model of the reader's own on a machine without a CUDA GPU."""
    hardware = base.hardware
    size = _parameters(model)
    fast = hardware.fast_bf16 and base.device.value == "cpu"
    if fast:
        why = (
            f"Measured: a bf16 product takes {hardware.bf16_ratio:.2f} of the fp32 time here;"
            " weights stay fp32, only the arithmetic is cast."
        )
    elif hardware.bf16_ratio is not None and base.device.value == "cpu":
        why = (
            f"Measured: a bf16 product takes {hardware.bf16_ratio:.1f} times the fp32 time; below"
            f" {FAST_BF16} bf16 would pay. A CPU that emulates bf16 trains about 12 times slower."
        )
    else:
        why = "fp32 works everywhere; bf16 was not probed on this device."
    large = (size or 0) > 0.4
    return replace(
        base,
        model=Choice(
            model,
            "You asked for it; more than a few hundred million parameters need patience here."
            if large
            else "You asked for it.",
        ),
        method=Choice("lora", "Only small adapters train: less memory, faster steps."),
        weights=Choice("float32", "With bf16 weights SmolLM2's answers degenerated in a trial."),
        max_length=Choice(256, "Activations take about 1.15 MB per token at 135M parameters."),
        precision=Choice("bf16" if fast else "fp32", why),
        batch_size=Choice(2, "Small batches keep memory near 1.5 GB at 135M parameters."),
        accumulation=Choice(1, "More steps on few rows teach more than fewer, larger ones."),
        activation_checkpointing=Choice(
            large,
            "Memory is the limit at this size."
            if large
            else "Memory suffices, and it would cost a fifth of the speed.",
        ),
    )


def _build_cpu(name: str, hardware: Hardware, model: str | None) -> Profile:
    device = Choice("cpu", "There is no GPU that PyTorch can use; everything here runs without.")
    base = _tiny(name, hardware, device, _threads(1, _ONE_THREAD), _TESTED)
    return base if model in (None, "tiny") else _small(base, str(model))


def _build_apple(name: str, hardware: Hardware, model: str | None) -> Profile:
    note = _UNTESTED.format(what="Apple hardware")
    if model in (None, "tiny"):
        why = "The course has measured the tiny model on CPUs; larger ones take Apple's GPU."
        return _tiny(name, hardware, Choice("cpu", why), _threads(1, _ONE_THREAD), note)
    base = _tiny(
        name,
        hardware,
        Choice("mps", "Apple's GPU; bitsandbytes, and with it QLoRA, is not for it."),
        _threads(1, _ONE_THREAD),
        note,
    )
    return _small(base, str(model))


def _gpu_precision(capability: tuple[int, int]) -> Choice:
    if capability >= (8, 0):
        return Choice("bf16", "This GPU computes in bf16, which has the range of fp32: no scaling.")
    if capability >= (7, 0):
        return Choice(
            "fp16",
            "No bf16 before compute capability 8.0, so fp16 with loss scaling; whatever trains"
            " must then be fp32 (gradient scaling refuses fp16 and bf16 gradients).",
        )
    return Choice(
        "fp32", "Before compute capability 7.0 fp16 brings no speed, and bf16 is missing."
    )


def _default_model(name: str, memory: float, capability: tuple[int, int]) -> Choice:
    """Instruct models: TRL 1.16 knows their template by its text, and refuses a base model's."""
    if name in ("rtx4090", "a100"):
        return Choice(
            "Qwen/Qwen2.5-7B-Instruct", "The largest of the course's models fits this card."
        )
    if memory < 4:
        return Choice("smollm2", f"{memory:.0f} GiB hold 135M parameters with room to train.")
    modern = capability >= (8, 0)
    for least, model in ((22, "7B"), (14, "3B"), (10, "1.5B")):
        if memory >= least and modern:
            return Choice(
                f"Qwen/Qwen2.5-{model}-Instruct",
                f"The largest Qwen2.5 sure to fit {memory:.0f} GiB.",
            )
    return Choice(
        "Qwen/Qwen2.5-0.5B-Instruct",
        f"{memory:.0f} GiB hold it with room for activations"
        + ("." if modern else "; without bf16 the base stays unquantized."),
    )


def _gpu_method(size: float, memory: float, capability: tuple[int, int]) -> Choice:
    """Full fine-tuning takes 16 bytes a parameter (fp32 weight, gradient, two AdamW moments)."""
    full, half, four_bit = (size * 1e9 * each / _GIB for each in (16.0, 2.0, 0.8))
    modern = capability >= (8, 0)
    least = four_bit if modern else half
    if least > 0.85 * memory:
        why = f"The weights alone take {least:.0f} of {memory:.0f} GiB: choose a smaller model."
        return Choice("qlora" if modern else "lora", why)
    if not modern:
        why = "Adapters stay fp32. Not QLoRA: TRL casts the adapters of a quantized model to bf16, "
        if capability >= (7, 0):
            return Choice("lora", why + "on which fp16 gradient scaling stops with an error.")
        return Choice("lora", why + "which this GPU lacks.")
    if full <= memory / 2:
        return Choice("full", f"Weights, gradients and AdamW take {full:.1f} of {memory:.0f} GiB.")
    if half <= memory / 2:
        return Choice(
            "lora", f"A frozen bf16 base takes {half:.1f} GiB; full tuning {full:.0f} GiB."
        )
    return Choice(
        "qlora",
        f"A bf16 base would take {half:.1f} of {memory:.0f} GiB; in 4 bits about {four_bit:.1f}.",
    )


def _build_gpu(name: str, hardware: Hardware, model: str | None) -> Profile:
    memory = hardware.gpu_memory_gib or 8.0
    capability = hardware.capability or (7, 0)
    modern = capability >= (8, 0)
    note = _UNTESTED.format(what="a GPU")
    if model == "tiny":
        return _tiny(name, hardware, _TINY_ON_CPU, _threads(1, _ONE_THREAD), note)
    device = Choice("cuda", "Training runs on the GPU.")
    threads = _threads(
        max(1, min(hardware.cores, 4)), "The GPU computes; a few threads feed it and tokenize."
    )
    chosen = _default_model(name, memory, capability)
    if model is not None:
        chosen = Choice(model, "You asked for it.")
    size = _parameters(chosen.value)
    if size is None:
        size = _parameters(_default_model(name, memory, capability).value) or 0.5
        chosen = Choice(model, f"You asked for it; planned as if it had {size:g}B parameters.")
    method = _gpu_method(size, memory, capability)
    precision = _gpu_precision(capability)
    bytes_each = {"full": 16.0, "lora": 2.0, "qlora": 0.8}[method.value]
    if method.value == "full":
        weights = Choice("float32", "Weights that train must be fp32, or small updates vanish.")
    elif modern:
        weights = Choice("bfloat16", "The frozen base needs no more; TRL's default is fp32.")
    elif precision.value == "fp32" or size * 1e9 * 4 / _GIB <= 0.4 * memory:
        bytes_each = 4.0
        weights = Choice("float32", "It fits, and fp16 weights overflow in some models.")
    else:
        weights = Choice("float16", "The frozen base in half the memory; adapters stay fp32.")
    free = max(0.5, memory - size * 1e9 * bytes_each / _GIB)
    length = 2048 if memory >= 20 else 1024
    rows = free / 2 / _GIB_PER_1K_TOKENS * 1024 / length
    batch = max(size for size in (1, 2, 4, 8) if size <= max(rows, 1))
    return Profile(
        name,
        hardware,
        model=chosen,
        method=method,
        device=device,
        precision=precision,
        weights=weights,
        attention=Choice(
            "sdpa",
            _SDPA
            + (" flash-attention 2, where installed, saves memory on long packed rows." * modern),
        ),
        batch_size=Choice(
            batch, f"Half of the {free:.0f} GiB beside the weights, at 1.5 GiB per 1,024 tokens."
        ),
        accumulation=Choice(
            _ROWS_PER_STEP // batch,
            f"Makes {_ROWS_PER_STEP} rows a step; LoRA likes fewer than 32.",
        ),
        max_length=Choice(
            length, "Most chat rows are shorter; TRL cuts longer ones without a word."
        ),
        activation_checkpointing=Choice(True, "Costs about a third more time, saves most memory."),
        threads=threads,
        note=note,
    )


_BUILDERS: dict[str, Callable[[str, Hardware, str | None], Profile]] = {
    "cpu": _build_cpu,
    "apple": _build_apple,
    "t4": _build_gpu,
    "rtx4090": _build_gpu,
    "a100": _build_gpu,
    "gpu": _build_gpu,
}
