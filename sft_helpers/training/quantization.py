"""Four and eight bits from the inside, by bitsandbytes' own functions: code books, error, bytes.

Nothing is quantized here by formulas of the kit: `round_trip` calls what `Linear4bit` and
`Linear8bitLt` call, and sizes are those of the tensors that come back.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sft_helpers.errors import DataError, SFTHelpersError
from sft_helpers.models import exact_inference

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel

KINDS = ("nf4", "fp4", "int8")


@dataclass(frozen=True)
class Rounding:
    """What storing a matrix in few bits does to it.

    Attributes:
        kind: "nf4", "fp4" or "int8".
        double: whether the scales are quantized too (4-bit kinds only).
        parameters: entries of the matrix.
        error: Frobenius norm of (restored − original) over that of the original.
        code_bytes: size of the codes alone.
        scale_bytes: size of all that is needed to restore: scales, their own scales and offset.
        restored: the matrix as the layer will use it.
    """

    kind: str
    double: bool
    parameters: int
    error: float
    code_bytes: int
    scale_bytes: int
    restored: torch.Tensor

    @property
    def bits(self) -> float:
        """Bits per parameter, scales included."""
        return 8 * (self.code_bytes + self.scale_bytes) / self.parameters


@dataclass(frozen=True)
class Bytes:
    """Where the bytes of a loaded model are.

    Attributes:
        codes: 4-bit or 8-bit codes.
        scales: what is needed to read the codes; `get_memory_footprint()` leaves it out at 4 bits.
        other: parameters and buffers that are not quantized, shared ones counted once.
        quantized_parameters: how many weights the codes stand for.
        footprint: what `model.get_memory_footprint()` says.
    """

    codes: int
    scales: int
    other: int
    quantized_parameters: int
    footprint: int

    @property
    def total(self) -> int:
        """All bytes of the weights."""
        return self.codes + self.scales + self.other

    @property
    def per_quantized_parameter(self) -> float:
        """Bytes for each weight that is quantized, scales included; 0 if there is none."""
        parameters = self.quantized_parameters
        return (self.codes + self.scales) / parameters if parameters else 0.0


def code_book(kind: str) -> list[float]:
    """The values that a code can stand for, in rising order, before they are scaled.

    Args:
        kind: "nf4" and "fp4" have 16 codes in a table of bitsandbytes; "int8" has 255 even steps.

    Raises:
        DataError: unknown kind.
    """
    _known(kind)
    if kind == "int8":
        return [step / 127 for step in range(-127, 128)]
    from bitsandbytes.functional import get_4bit_type

    return sorted(float(value) for value in get_4bit_type(kind, device="cpu"))


def round_trip(
    weight: torch.Tensor, kind: str = "nf4", *, double: bool = False, blocksize: int = 64
) -> Rounding:
    """Quantize a matrix and restore it, as a bitsandbytes layer does.

    Args:
        weight: a matrix (outputs, inputs) of floats.
        kind: "nf4", "fp4" or "int8".
        double: quantize the scales as well (`bnb_4bit_use_double_quant`).
        blocksize: weights that share one scale, for the 4-bit kinds; int8 has one scale a row.

    Raises:
        DataError: unknown kind, or a double quantization of int8, which does not exist.
    """
    _known(kind)
    import bitsandbytes.functional as bnb
    import torch

    if kind == "int8":
        if double:
            raise DataError("int8 has no double quantization", hint="use double=False")
        codes, scales, _ = bnb.int8_vectorwise_quant(weight.to(torch.float16))
        restored = bnb.int8_vectorwise_dequant(codes, scales)
        scale_bytes = scales.nbytes
    else:
        codes, state = bnb.quantize_4bit(
            weight.contiguous(), blocksize=blocksize, compress_statistics=double, quant_type=kind
        )
        restored = bnb.dequantize_4bit(codes, state)
        scale_bytes = _state_bytes(state)
    original = weight.float()
    error = float((restored.float() - original).norm() / original.norm())
    return Rounding(
        kind, double, weight.numel(), error, codes.nbytes, scale_bytes, restored.to(weight.dtype)
    )


def layer_errors(
    model: PreTrainedModel, kinds: Mapping[str, Mapping[str, Any]]
) -> list[dict[str, Any]]:
    """Error and bits of each linear layer that `load_in_4bit` would quantize.

    Args:
        model: a model with plain float layers.
        kinds: column name → arguments of `round_trip`.

    Returns:
        One dict per layer: layer, parameters, and for each name the `Rounding`.
    """
    return [
        {"layer": name, "parameters": module.weight.numel()}
        | {
            column: round_trip(module.weight.detach(), **arguments)
            for column, arguments in kinds.items()
        }
        for name, module in linear_layers(model)
    ]


def linear_layers(model: Any) -> Iterator[tuple[str, Any]]:
    """Linear layers of a model by name, without its output head, which stays unquantized."""
    import torch

    head = getattr(model, "get_output_embeddings", lambda: None)()
    for name, module in model.named_modules():
        if isinstance(module, torch.nn.Linear) and module is not head:
            yield name, module


def model_bytes(model: PreTrainedModel) -> Bytes:
    """The true size of a loaded model's weights, the scales of quantized layers included.

    Source of the gap: bitsandbytes keeps scales in the `quant_state` of a parameter (4 bits) or as
    an attribute of it (8 bits), where `get_memory_footprint()` does not look.
    """
    codes = scales = other = parameters = 0
    seen: set[int] = set()
    named = [*model.named_parameters(), *model.named_buffers()]
    for _, tensor in named:
        if id(tensor) in seen:
            continue
        seen.add(id(tensor))
        state = getattr(tensor, "quant_state", None)
        row_scales = getattr(tensor, "SCB", None)
        if state is not None:
            codes, scales = codes + tensor.nbytes, scales + _state_bytes(state)
            parameters += int(state.shape.numel())
        elif row_scales is not None:
            codes, scales = codes + tensor.nbytes, scales + row_scales.nbytes
            parameters += tensor.numel()
        else:
            other += tensor.nbytes
    return Bytes(codes, scales, other, parameters, int(model.get_memory_footprint()))


# --- what becomes of an adapter that was trained on a quantized base ---------------------------

MERGES = (
    "as trained",
    "merged into the 4-bit base",
    "merged into the original base",
    "dequantized, then merged",
)


def merged(adapter: str | Path, base: str, four_bit: Mapping[str, Any], how: str) -> Any:
    """Load an adapter that was trained on a quantized base, and merge it in one of four ways.

    Args:
        adapter: folder that `trainer.save_model` wrote.
        base: what `models.load` takes: the base model's name or folder.
        four_bit: arguments of `BitsAndBytesConfig`, as in training.
        how: one of `MERGES`.

    Raises:
        SFTHelpersError: `how` is none of these.
    """
    if how not in MERGES:
        raise SFTHelpersError(f"unknown way {how!r}", hint=f"one of {', '.join(MERGES)}")
    from peft import PeftModel
    from transformers import BitsAndBytesConfig

    from sft_helpers.models import load

    quantization = None if how == MERGES[2] else BitsAndBytesConfig(**four_bit)
    model, _ = load(base, quantization=quantization)
    if how == MERGES[3]:
        model = model.dequantize()
    model = PeftModel.from_pretrained(model, str(adapter)).eval()
    return exact_inference(model if how == MERGES[0] else model.merge_and_unload().eval())


def update_kept(weight: torch.Tensor, update: torch.Tensor) -> float:
    """How much of an update survives when weight + update is rounded to NF4 again.

    Args:
        weight: a matrix that lies on the levels already, as a dequantized one does.
        update: what training added, of the same shape.

    Returns:
        The part of the rounded change that points along the update, over the update: 1 if all of
        it arrives, 0 if the rounding throws it away.
    """
    change = round_trip(weight + update).restored - weight
    return float((change * update).sum() / (update * update).sum())


def changed_codes(one: Any, other: Any) -> float:
    """Share of the stored 4-bit bytes that differ between two models of the same layout.

    Args:
        one, other: 4-bit models, or adapters on top of them.

    Raises:
        DataError: the models hold no 4-bit weights, or not the same ones.
    """
    left, right = _codes(one), _codes(other)
    if not left or len(left) != len(right):
        raise DataError(
            "these models do not hold the same 4-bit weights",
            hint="load both with the same BitsAndBytesConfig",
        )
    differing = sum(int((a != b).sum()) for a, b in zip(left, right, strict=True))
    return differing / sum(a.numel() for a in left)


def _codes(model: Any) -> list[torch.Tensor]:
    return [p.data for p in model.parameters() if getattr(p, "quant_state", None) is not None]


def _state_bytes(state: Any) -> int:
    """Bytes that belong to one matrix: its scales, and with double quantization their scales.

    The tables of code values (16 and 256 floats) are the same for every matrix and not counted.
    """
    total = int(state.absmax.nbytes)
    if state.nested:
        total += int(state.state2.absmax.nbytes) + int(state.offset.nbytes)
    return total


def _known(kind: str) -> None:
    if kind not in KINDS:
        raise DataError(f"unknown kind {kind!r}", hint=f"one of {', '.join(KINDS)}")
