"""What is asked of `memory.predict`, and what it answers: plain data."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from sft_helpers.errors import SFTHelpersError

WEIGHTS = "weights"
CONSTANTS = "quantization constants"
ADAPTERS = "adapters"
GRADIENTS = "gradients"
STATES = "optimizer states"
COPIES = "autocast copies"
ACTIVATIONS = "activations"
HEAD = "logits and loss"
BUFFERS = "temporary buffers"
# Component → what it is, in the order in which they are told and drawn.
COMPONENTS = {
    WEIGHTS: "the base model, as it is stored during training",
    CONSTANTS: "scales that bitsandbytes keeps beside 4-bit codes",
    ADAPTERS: "the LoRA matrices",
    GRADIENTS: "one number for each weight that trains",
    STATES: "AdamW's two moments for each weight that trains",
    COPIES: "weights once more, in autocast's dtype",
    ACTIVATIONS: "what layers keep, or recompute, for the backward pass",
    HEAD: "tiles of logits and what the loss makes of them",
    BUFFERS: "gradients of activations, restored 4-bit weights, and what an operation needs inside",
}
METHODS = ("full", "lora", "qlora")
PRECISIONS = {"fp32": None, "bf16": "bfloat16", "fp16": "float16"}  # → dtype of autocast
DTYPES = ("float32", "bfloat16", "float16")
CARDS = (8, 16, 24, 48, 80)  # GB as on the box: a billion bytes, a little less than what is there
CARD = 24.0  # GB, where none is named
LEFT_OUT = (
    "the CUDA context and the libraries' own memory (0.3 to 1 GB)",
    "fragmentation: the allocator holds more than it has given out",
    "kernels that allocate differently on a GPU: flash attention, cuBLAS workspaces, bitsandbytes'"
    " kernel for fewer than 1,537 rows, which does not restore the weight",
    "evaluation during training, and whatever else is on the card",
)
_KNOWN = {
    "method": METHODS,
    "precision": tuple(PRECISIONS),
    "device": ("cuda", "cpu"),
    "weights": (None, *DTYPES),
}


@dataclass(frozen=True)
class Settings:
    """The arguments of `predict` that decide how much memory a step needs.

    Attributes:
        length: tokens in a row, the longest that a batch will hold.
        batch: rows at a time (`per_device_train_batch_size`).
        method: "full", "lora" or "qlora".
        accumulation: `gradient_accumulation_steps`.
        checkpointing: recompute each layer's activations in the backward pass.
        optimizer: what `SFTConfig(optim=...)` takes; the default is torch's and transformers'.
        precision: autocast of the step, "bf16", "fp16" or "fp32" (none).
        weights: dtype that the base is loaded in; by default float32 where it trains, as small
            updates vanish in bf16, and else bfloat16 with bf16 and float32 without.
        packing: rows are packed (`bfd`) into one long row of batch × length tokens.
        padding: whether some row of the batch is shorter, so that attention needs a mask; by
            default if there are several rows.
        device: "cuda" has TRL's loss head run by Triton; "cpu" in PyTorch, with its temporaries.

    Raises:
        SFTHelpersError: a value that cannot be.
    """

    length: int
    batch: int
    method: str = "full"
    accumulation: int = 1
    checkpointing: bool = True
    optimizer: str = "adamw_torch_fused"
    precision: str = "bf16"
    weights: str | None = None
    packing: bool = False
    padding: bool | None = None
    device: str = "cuda"

    def __post_init__(self) -> None:
        for name, known in _KNOWN.items():
            if getattr(self, name) not in known:
                raise SFTHelpersError(
                    f"unknown {name} {getattr(self, name)!r}",
                    hint=f"one of {', '.join(map(str, known))}",
                )
        for name in ("length", "batch", "accumulation"):
            value = getattr(self, name)
            if value is None or value < 1:
                raise SFTHelpersError(f"{name} {value} is impossible", hint="give 1 or more")

    @property
    def dtype(self) -> str:
        """The dtype that the base is loaded in."""
        half = self.precision == "bf16" and self.method != "full"
        return self.weights or ("bfloat16" if half else "float32")


def settings_of(args: Any) -> dict[str, Any]:
    """What an `SFTConfig` says about memory, as arguments of `predict`."""
    return {
        "length": args.max_length,
        "batch": int(args.per_device_train_batch_size),
        "accumulation": int(args.gradient_accumulation_steps),
        "checkpointing": bool(args.gradient_checkpointing),
        "optimizer": str(getattr(args.optim, "value", args.optim)),
        "precision": "bf16" if args.bf16 else "fp16" if args.fp16 else "fp32",
        "packing": bool(args.packing),
    }


@dataclass(frozen=True)
class Account:
    """What a training step needs.

    Attributes:
        model: name of the model.
        settings: what was asked.
        components: component → bytes at the highest moment of the step, those with none left out.
        moment: where in the step that is, in words.
        moments: part of the step → its own highest number of bytes.
        parameters, trainable: numbers of weights, the base's as published and the trained ones.
        asked: model, adapter and quantization as `predict` was given them, to ask again.
    """

    model: str
    settings: Settings
    components: dict[str, int]
    moment: str
    moments: dict[str, int]
    parameters: int
    trainable: int
    asked: dict[str, Any]
    left_out = LEFT_OUT  # what no number here contains

    @property
    def peak_bytes(self) -> int:
        """Bytes alive at the highest moment."""
        return sum(self.components.values())

    def fits(self, card: float) -> bool:
        """Whether the step stays within a card of so many GB (a billion bytes each)."""
        return self.peak_bytes <= card * 1e9

    def to_json(self) -> dict[str, Any]:
        """The account as plain data."""
        told = {name: value for name, value in vars(self).items() if name != "asked"}
        more = {"left_out": list(self.left_out), "peak_bytes": self.peak_bytes}
        return told | {"settings": asdict(self.settings)} | more
