"""Four and eight bits from the inside, by bitsandbytes' own functions: code books, error, bytes.

Nothing is quantized here by formulas of the kit: `round_trip` calls what `Linear4bit` and
`Linear8bitLt` call, and sizes are those of the tensors that come back.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sft_helpers.errors import DataError

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
