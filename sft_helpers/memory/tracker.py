"""Every block of memory that a step of fake tensors makes, followed from birth to death.

Why not PyTorch's own MemTracker (torch.distributed._tools, a private module)? It finds the same
totals, as a test shows, but it takes five times as long, refuses frozen weights unless one writes
into a table of its own, cannot tell the loss head from the layers, and remembers a single peak,
where a deep model is drawn from the peak of each phase of a shallow one.
"""

from __future__ import annotations

import weakref
from collections import Counter
from dataclasses import dataclass
from typing import Any

import bitsandbytes  # noqa: F401  (registers the operations of 4-bit layers)
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from sft_helpers.memory.account import ADAPTERS, BUFFERS, COPIES, GRADIENTS, WEIGHTS

Phase = tuple[str, int]  # part of a step in words, and which of several: ("the forward pass", 3)
Parts = Counter[str]  # component → bytes
# bitsandbytes before 0.50 has no such operation: there the restored weight is seen anyway.
_DEQUANTIZE_AND_MULTIPLY = getattr(getattr(torch.ops.bitsandbytes, "gemm_4bit", None), "default", 0)
_ADD = torch.ops.aten.add.Tensor
_CAST = torch.ops.aten._to_copy.default
_UNSAFE_VIEW = torch.ops.aten._unsafe_view.default
_DEVICE = torch.ops.prim.device.default


@dataclass
class _Block:
    """A storage: its component, its bytes, the phase in which it was made, and its end."""

    label: str
    size: int
    phase: Phase | None
    death: Any


class Tracker(TorchDispatchMode):
    """Counts the live bytes of each component and remembers the highest moment of each phase.

    Attributes:
        label: component that new blocks belong to.
        live: bytes alive now.
        peaks: phase → bytes at the moment of the phase when most was alive.
    """

    def __init__(self) -> None:
        super().__init__()
        self.label = BUFFERS
        self.live = Parts()
        self.peaks: dict[Phase, Parts] = {}
        self._blocks: dict[int, _Block] = {}  # by the address of the storage
        self._phase: Phase | None = None
        self._total = self._highest = 0

    def enter(self, phase: Phase, label: str) -> None:
        """Begin a phase; a phase that comes again keeps its higher peak."""
        self._phase, self.label = phase, label
        self._highest = self.peaks.get(phase, Parts()).total()
        self._notice()

    def count(self, tensor: Any, label: str) -> None:
        """Count a tensor's storage under a component, or move it there."""
        storage = tensor.untyped_storage()
        key = storage._cdata
        if key in self._blocks:
            self._move(self._blocks[key], label)
        else:
            death = weakref.ref(storage, lambda _: self._empty(self._blocks.pop(key)))
            self._blocks[key] = _Block(label, storage.nbytes(), self._phase, death)
            self.live[label] += storage.nbytes()
            self._total += storage.nbytes()
            self._notice()

    def label_of(self, tensor: Any) -> str | None:
        """The component that a tensor's storage is counted under."""
        known = self._blocks.get(tensor.untyped_storage()._cdata)
        return known.label if known else None

    def relabel(self, old: str, new: str, size: int) -> None:
        """Move the blocks of a size from one component to another."""
        for block in self._blocks.values():
            if block.label == old and block.size == size:
                self._move(block, new)

    def born_in(self, phase: Phase) -> Parts:
        """Bytes that were made in a phase and are still alive."""
        found = Parts()
        for block in self._blocks.values():
            if block.phase == phase:
                found[block.label] += block.size
        return found

    def _move(self, block: _Block, label: str) -> None:
        self.live[block.label] -= block.size
        self.live[label] += block.size
        block.label = label

    def _empty(self, block: _Block) -> None:
        self.live[block.label] -= block.size
        self._total -= block.size
        block.size = 0

    def _notice(self) -> None:
        if self._phase is not None and self._total > self._highest:
            self._highest = self._total
            self.peaks[self._phase] = self.live.copy()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run an operation on fake tensors and count the storages that it made."""
        if func is _DEVICE:
            return args[0].fake_device
        if func is _DEQUANTIZE_AND_MULTIPLY:
            # What bitsandbytes does for many rows: restore the weight, then multiply.
            from bitsandbytes.backends.default.ops import _gemm_4bit_default_impl

            with self:
                return _gemm_4bit_default_impl(*args, **(kwargs or {}))
        if func is _UNSAFE_VIEW:  # the same here, and PyTorch remembers what comes of a view
            func = torch.ops.aten.view.default
        out = func(*args, **(kwargs or {}))
        label = self.label
        if func is _ADD and label == BUFFERS and self.label_of(args[0]) == GRADIENTS:
            # A gradient that waited for its second part: autograd adds in place, but not where
            # tensors are of a subclass, as fake ones are. So the sum takes the place of the part.
            self._empty(self._blocks[args[0].untyped_storage()._cdata])
            label = GRADIENTS
        elif func.namespace == "bitsandbytes":
            label = BUFFERS
        elif func is _CAST and self.label_of(args[0]) in (WEIGHTS, ADAPTERS):
            label = COPIES
        for tensor in out if isinstance(out, (tuple, list)) else (out,):
            if isinstance(tensor, torch.Tensor) and self.label_of(tensor) is None:
                self.count(tensor, label)
        return out
