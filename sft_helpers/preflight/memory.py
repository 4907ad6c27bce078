"""Does a training step fit on the card? Asked of the account of `sft_helpers.memory`."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sft_helpers.errors import DataError
from sft_helpers.preflight.findings import Finding, finding
from sft_helpers.preflight.rates import loaded_dtype

if TYPE_CHECKING:
    from sft_helpers.hardware import Hardware
    from sft_helpers.memory import Account
    from sft_helpers.preflight.setup import Setup

GIB = 2**30
TIGHT = 0.9  # beyond this share of a card, what the account leaves out decides

_accounts: dict[str, Account | None] = {}  # an account takes a second, or several


def check(setup: Setup) -> Iterable[Finding]:
    """A step that needs more memory than the card of the profile has (on a CPU: than the machine).

    The peak is that of a real step of TRL's loss on the model's own modules (sft_helpers.memory);
    the longest batch decides, not the mean (transformers#7158, LlamaFactory#6040).
    """
    from sft_helpers.machine import profile

    machine = profile().hardware
    room = room_of(machine)
    if room is None or setup.prepared.dataset is None:
        return
    found = account(setup)
    if found is None or found.peak_bytes <= TIGHT * room:
        return
    length, batch = longest_batch(setup)
    largest = sorted(found.components.items(), key=lambda item: -item[1])[:3]
    parts = ", ".join(f"{name} {size / GIB:.1f}" for name, size in largest)
    yield finding(
        "memory.does_not_fit",
        f"{batch} rows of {length} tokens need {found.peak_bytes / GIB:.1f} GiB ({parts});"
        f" {machine.name} has {room / GIB:.1f}. Not counted: {'; '.join(found.left_out)}",
        _fix(setup, room),
        severity="error" if found.peak_bytes > room else "warning",
    )


def room_of(machine: Hardware) -> int | None:
    """Bytes of memory for training: of the card, else of the machine; None if unknown."""
    gib = machine.gpu_memory_gib if machine.kind == "cuda" else machine.memory_gib
    return None if gib is None else int(gib * GIB)


def longest_batch(setup: Setup) -> tuple[int, int]:
    """(tokens of the longest row that is trained, rows per batch) as the model gets them."""
    args = setup.args
    batch = int(args.per_device_train_batch_size)
    if args.packing and args.max_length is not None:
        return int(args.max_length), min(batch, max(setup.rows_held, 1))
    longest = int(setup.lengths.max())
    if args.max_length is not None:
        longest = min(longest, int(args.max_length))
    return max(longest, 1), min(batch, len(setup.lengths))


def account(setup: Setup, **changes: Any) -> Account | None:
    """The memory account of the run's longest batch; None for a model it cannot be made for.

    Args:
        setup: the run.
        changes: arguments of `predict` to try instead of the run's own.
    """
    from sft_helpers.machine import profile
    from sft_helpers.memory import predict
    from sft_helpers.memory.account import settings_of

    length, batch = longest_batch(setup)
    asked: dict[str, Any] = settings_of(setup.args) | {
        "method": setup.method,
        "length": length,
        "batch": batch,
        "weights": str(loaded_dtype(setup)).removeprefix("torch."),
        "device": "cuda" if profile().hardware.kind == "cuda" else "cpu",
        "peft_config": setup.adapter,
        "quantization_config": setup.quantized_by,
        **changes,
    }
    key = repr((setup.config.to_json_string(), asked))
    if key not in _accounts:
        try:
            _accounts[key] = predict(setup.config, **asked)
        except Exception:  # an architecture whose kernels take no fake tensors, or no causal model
            _accounts[key] = None
    return _accounts[key]


def asked_by(file: Path, model: str | None = None) -> dict[str, Any]:
    """What a file for `trl sft --config` says about memory, as arguments of `memory.predict`.

    Args:
        file: the YAML file, read by TRL's own parser.
        model: to be trained instead of the one that it names.

    Raises:
        DataError: no such file, no YAML, refused by TRL, or a method that is not predicted.
    """
    from trl import get_peft_config, get_quantization_config

    from sft_helpers.memory import read_config
    from sft_helpers.memory.account import settings_of
    from sft_helpers.preflight.config_file import Parsed, read_yaml

    parsed = Parsed.of(file, read_yaml(file))
    base = parsed.model
    name = model or base.model_name_or_path
    if base.load_in_8bit:
        raise DataError("8-bit bases are not predicted", where=str(file), hint="use load_in_4bit")
    if base.dtype in ("auto", None) and name:  # the dtype that the model was published in
        base.dtype = str(read_config(name)[1].dtype or "float32").removeprefix("torch.")
    adapted = "qlora" if base.load_in_4bit else "lora"
    return settings_of(parsed.args) | {
        "model": name,
        "method": adapted if base.use_peft else "full",
        "weights": base.dtype,
        "peft_config": get_peft_config(base),
        "quantization_config": get_quantization_config(base),
    }


def _fix(setup: Setup, room: int) -> str:
    """The first of the usual changes with which the account fits, each on top of those before."""
    args = setup.args
    batch = longest_batch(setup)[1]
    changes: dict[str, Any] = {}
    words: list[str] = []
    for known, change, said in (
        (batch == 1, {"batch": 1}, "per_device_train_batch_size: 1"),
        (args.gradient_checkpointing, {"checkpointing": True}, "activation_checkpointing: true"),
        (
            setup.method != "full",
            {"method": "lora", "weights": "float16" if args.fp16 else "bfloat16"},
            f"LoRA, with the base in dtype: {'float16' if args.fp16 else 'bfloat16'}",
        ),
        (setup.method == "qlora" or args.fp16, {"method": "qlora"}, "QLoRA: load_in_4bit: true"),
    ):
        if known:
            continue
        changes |= change
        words = [one for one in words if "LoRA" not in one] + [said]  # one method at a time
        found = account(setup, **changes)
        if found is not None and found.peak_bytes <= TIGHT * room:
            rows = batch * int(args.gradient_accumulation_steps)
            more = f"; gradient_accumulation_steps: {rows} keeps the rows per step"
            return ", ".join(words) + (more if "batch" in changes else "")
    return "a smaller model, or shorter rows (max_length)"
