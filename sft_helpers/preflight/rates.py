"""Learning rates and number formats that do not fit the model, the method or the machine."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import numpy as np

from sft_helpers.preflight.findings import Finding, finding

if TYPE_CHECKING:
    import torch

    from sft_helpers.hardware import Hardware
    from sft_helpers.preflight.setup import Setup

# Parameters → rate below which nothing is learned, usual rate, rate above which models break.
# Between the rows it is interpolated on logarithmic axes. Sources:
# - 1 million: Lantern Bay, 600 rows, 60 steps, one seed, exact match: full 2e-4 0.04, 5e-4 to 4e-3
#   0.29 to 0.41, 8e-3 0.00; LoRA 5e-4 0.00, 1e-3 to 8e-3 0.22 to 0.62, 1.6e-2 0.00 (wider sweeps in
#   notebooks 06 and 07).
# - 135 million: SmolLM2, LoRA 2e-5 leaves it as it was, 2e-4 to 3e-3 teach (the kit's own runs).
# - 7 billion and more: TRL's guides, 2e-5 for all weights and 2e-4 for LoRA (peft_integration);
#   sweep over 27 models, best for LoRA 1e-4 to 1e-3, 72 of 80 diverged runs at 3e-3
#   (tinker-cookbook, sft_sweep.md); its rule that full fine-tuning wants a tenth of LoRA's rate.
FEW = 0.1  # share of bf16 weights that may stand still: Lantern Bay learns as well with 3 %
RATES: dict[str, tuple[tuple[float, float, float, float], ...]] = {
    "full": (
        (1e6, 2.2e-4, 1e-3, 6e-3),
        (1.35e8, 5e-6, 1e-4, 2e-3),
        (7e9, 5e-7, 2e-5, 1.5e-4),
        (7e10, 2e-7, 5e-6, 5e-5),
    ),
    "lora": (
        (1e6, 6e-4, 4e-3, 1.2e-2),
        (1.35e8, 5e-5, 1e-3, 8e-3),
        (7e9, 3e-5, 2e-4, 2e-3),
        (7e10, 2.5e-5, 2e-4, 2e-3),
    ),
}


def limits(method: str, parameters: float) -> tuple[float, float, float]:
    """Lowest, usual and highest sensible learning rate, for optimizers like Adam.

    Args:
        method: "full" or "lora".
        parameters: of the base model.
    """
    sizes, *rates = zip(*RATES[method], strict=True)
    low, usual, high = (
        math.exp(float(np.interp(math.log(parameters), np.log(sizes), np.log(one))))
        for one in rates
    )
    return low, usual, high


def method_of(setup: Setup) -> str | None:
    """ "full", "lora", or None for other adapters and for a loaded adapter of unknown kind."""
    adapter = setup.peft_config
    if adapter is None:
        adapters = getattr(setup.model, "peft_config", None)
        if not adapters:
            return "full"
        adapter = next(iter(adapters.values()))
    kind = getattr(adapter.peft_type, "value", adapter.peft_type)
    return "lora" if str(kind).upper() in ("LORA", "ADALORA") else None


def parameters(setup: Setup) -> int | None:
    """Weights of the base model, counted on its skeleton; None where there is none."""
    try:
        return int(setup.skeleton.num_parameters())
    except ValueError:  # transformers has no such class
        return None


def rate(setup: Setup) -> Iterable[Finding]:
    """TRL's default, 2e-5, holds for adapters too (trl/trainer/sft_config.py), and nothing warns of
    it; it is a tenth of what LoRA wants (TRL, peft_integration), and keeping it is called the
    commonest error (Tinker's guide). What is too high for all weights is right for LoRA. See RATES.
    """
    args = setup.args
    method, size = method_of(setup), parameters(setup)
    optimizer = str(getattr(args.optim, "value", args.optim))
    if method is None or size is None or "adam" not in optimizer:
        return
    if args.learning_rate <= 0:
        return  # lora.nothing_trains says so
    low, usual, high = limits(method, size)
    words = f"{'LoRA' if method == 'lora' else 'full fine-tuning'} of {_count(size)} parameters"
    asked = short(args.learning_rate)
    fix = f"learning_rate: {short(usual)}   # sensible here: {short(low)} to {short(high)}"
    if args.learning_rate < low:
        yield finding(
            "config.learning_rate_low",
            f"{asked} is too small a step for {words}: the loss hardly falls, and the model stays"
            " as it is",
            fix,
        )
    elif args.learning_rate > high:
        yield finding(
            "config.learning_rate_high",
            f"{asked} is too large a step for {words}: the loss jumps, and what the model knew is"
            " lost",
            fix,
        )


def short(number: float) -> str:
    """A rate as people write it: 2e-4."""
    return (
        f"{number:.2g}"
        if number >= 0.01
        else f"{number:.1e}".replace(".0e", "e").replace("-0", "-")
    )


def _count(parameters: float) -> str:
    big = parameters >= 1e9
    return f"{parameters / (1e9 if big else 1e6):.2g} {'billion' if big else 'million'}"


# --- number formats ------------------------------------------------------------------------------


def trained_dtypes(setup: Setup) -> set[torch.dtype]:
    """Types of the weights that would train, adapters left out (PEFT makes those fp32)."""
    if setup.peft_config is not None or setup.quantization_config is not None:
        return set()
    if setup.model is not None:
        return {weight.dtype for weight in setup.model.parameters() if weight.requires_grad}
    return {loaded_dtype(setup)}


def loaded_dtype(setup: Setup) -> torch.dtype:
    """Type that the model's weights have. A name is loaded as TRL loads it: fp32 unless
    `model_init_kwargs` says otherwise (trl/trainer/utils.py, create_model_from_path).
    """
    import torch

    if setup.model is not None:
        found = setup.model.dtype
        return found if isinstance(found, torch.dtype) else torch.float32
    asked = (setup.args.model_init_kwargs or {}).get("dtype", "float32")
    if asked in ("auto", None):
        asked = setup.config.dtype or "float32"
    return asked if isinstance(asked, torch.dtype) else getattr(torch, str(asked))


def low_precision(setup: Setup) -> Iterable[Finding]:
    """A bf16 weight moves only if the step is about 1/256 of it: with bf16 weights and a rate of
    2e-5, 70 % of them stood still after 5 AdamW steps, with fp32 weights none (notebook 06).
    transformers 5 loads the checkpoint's type, so this happens without being asked for
    (sentence-transformers#3773). DeepSpeed and FSDP keep fp32 copies: nothing is said there.
    """
    import torch

    args = setup.args
    coarse = trained_dtypes(setup) & {torch.bfloat16, torch.float16}
    if not coarse or args.deepspeed or args.fsdp or args.fp16:
        return
    name = str(next(iter(coarse))).removeprefix("torch.")
    still = _unmoved(setup.model, args.learning_rate) if setup.model is not None else None
    share = "most weights" if still is None else f"{still:.0%} of the weights"
    yield finding(
        "config.low_precision_weights",
        f"the weights that train are {name}: at a rate of {short(args.learning_rate)} a step is"
        f" lost in rounding for {share}",
        'load them with dtype="float32"; bf16: true still computes in bf16',
        severity="note" if still is not None and still < FEW else None,
    )


def _unmoved(model: Any, step: float) -> float:
    """Share of weights that a step of this size leaves as they are (a first step of AdamW)."""
    import torch

    still = total = 0
    with torch.no_grad():
        for weight in model.parameters():
            if not weight.requires_grad or weight.device.type == "meta":
                continue
            part = weight.detach().flatten()[:100_000]
            still += int(((part.float() - step).to(part.dtype) == part).sum())
            total += part.numel()
            if total > 2_000_000:
                break
    return still / total if total else 0.0


def precision(setup: Setup) -> Iterable[Finding]:
    """Number formats that the machine lacks.

    - bf16 on a CPU without `use_cpu`: SFTConfig refuses (transformers/training_args.py:1776).
    - fp16 on a CPU: accepted, and trained in fp32 without a word (accelerate/accelerator.py:565
      skips the CPU; same losses to the last digit).
    - bf16 before compute capability 8.0: emulated and slow (torch.cuda.is_bf16_supported counts
      emulation), so transformers does not object.
    - fp16 with weights that are not fp32: gradient scaling stops (transformers#23165); a quantized
      model's adapters are cast to bf16 by TRL (sft_trainer.py:908; trl#4901).
    """
    from sft_helpers.machine import profile

    plan = profile()
    machine = plan.hardware
    args = setup.args
    if (
        setup.refused
        and not plan.forced
        and any(t in setup.refused for t in ("bf16", "fp16", "tf32"))
    ):
        yield finding(
            "config.precision_unsupported",
            f"SFTConfig refuses this number format on {machine.name}: {setup.refused}",
            _format_for(machine) + "; or plan for another machine: SFT_PROFILE=rtx4090",
        )
        return
    on_cpu = machine.kind == "cpu" or (bool(args.use_cpu) and setup.refused is None)
    if args.fp16 and on_cpu:
        yield finding(
            "config.precision_unsupported",
            "fp16 does nothing on a CPU: the run is done in fp32, without a word",
            "fp16: false",
            severity="warning",
        )
    elif args.fp16:
        yield from _scaling(setup)
    elif args.bf16 and not on_cpu and machine.capability and machine.capability < (8, 0):
        yield finding(
            "config.precision_unsupported",
            f"{machine.name} has no bf16: it is emulated, many times slower",
            _format_for(machine),
        )
    elif args.bf16 and on_cpu and (machine.bf16_ratio or 0) > 2:
        yield finding(
            "config.precision_unsupported",
            f"this CPU has no fast bf16: a product takes {machine.bf16_ratio:.0f} times as long",
            "bf16: false",
            severity="note",
        )


def _format_for(machine: Hardware) -> str:
    if machine.kind == "cpu":
        return "bf16: false and use_cpu: true"
    old = machine.capability is not None and machine.capability < (8, 0)
    return "bf16: false and fp16: true" if old else "bf16: false"


def _scaling(setup: Setup) -> Iterable[Finding]:
    import torch

    if setup.quantization_config is not None or getattr(setup.model, "is_quantized", False):
        yield finding(
            "config.precision_unsupported",
            "TRL casts the adapters of a quantized model to bf16, on which fp16's gradient scaling"
            " stops with an error at the first step",
            "leave the base unquantized: fp16 LoRA with dtype: float16 or float32",
        )
    elif trained_dtypes(setup) - {torch.float32}:
        yield finding(
            "config.precision_unsupported",
            "fp16 scales gradients, and only those of fp32 weights can be scaled back: the first"
            " step stops with an error",
            'load the weights with dtype="float32"; fp16: true still computes in fp16',
        )
