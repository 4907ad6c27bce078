"""One training step that computes nothing, every block of memory followed from birth to death.

The tensors are PyTorch's fake ones: they have a shape, a dtype and a storage of a size, and no
numbers. The modules, TRL's loss head, autograd and the optimizer are the real ones.
"""

from __future__ import annotations

import weakref
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from functools import partial
from typing import Any

import bitsandbytes  # noqa: F401  (registers the operations of 4-bit layers)
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from sft_helpers.memory.parts import (
    ACTIVATIONS,
    ADAPTERS,
    BUFFERS,
    CONSTANTS,
    COPIES,
    GRADIENTS,
    HEAD,
    STATES,
    WEIGHTS,
)

# The place in a step at which a peak was seen: ("forward", 3), ("head", 0), ("optimizer", 0) ...
Phase = tuple[str, int]


class Tracker(TorchDispatchMode):
    """Counts the live bytes of each component and remembers the highest moment of each phase.

    Attributes:
        label: component that new blocks belong to.
        live: component → bytes alive now.
        peaks: phase → component → bytes at the moment of the phase when most was alive.
    """

    def __init__(self) -> None:
        super().__init__()
        self.label = BUFFERS
        self.live: Counter[str] = Counter()
        self.peaks: dict[Phase, dict[str, int]] = {}
        self._blocks: dict[int, tuple[str, int, Any]] = {}
        self._total = 0
        self._highest = 0
        self._phase: Phase | None = None

    def enter(self, phase: Phase, label: str) -> None:
        """Begin a phase; a phase that comes again keeps its higher peak."""
        self._phase, self.label = phase, label
        self._highest = sum(self.peaks.get(phase, {}).values())
        self._notice()

    def count(self, tensor: Any, label: str) -> None:
        """Count a tensor's storage under a component, or move it there."""
        storage = tensor.untyped_storage()
        key, size = storage._cdata, storage.nbytes()
        if key in self._blocks:
            before, size, reference = self._blocks[key]
            self.live[before] -= size
            self._blocks[key] = (label, size, reference)
        else:
            reference = weakref.ref(storage, lambda _: self._gone(key))
            self._blocks[key] = (label, size, reference)
            self._total += size
        self.live[label] += size
        self._notice()

    def relabel(self, old: str, new: str, size: int) -> None:
        """Move the blocks of a size from one component to another."""
        for key, (label, held, reference) in self._blocks.items():
            if label == old and held == size:
                self._blocks[key] = (new, size, reference)
                self.live[old] -= size
                self.live[new] += size

    def _resize(self, tensor: Any, size: int) -> None:
        key = tensor.untyped_storage()._cdata
        label, before, reference = self._blocks[key]
        self._blocks[key] = (label, size, reference)
        self.live[label] += size - before
        self._total += size - before

    def label_of(self, tensor: Any) -> str | None:
        """The component that a tensor's storage is counted under."""
        known = self._blocks.get(tensor.untyped_storage()._cdata)
        return known[0] if known else None

    def _gone(self, key: int) -> None:
        label, size, _ = self._blocks.pop(key)
        self.live[label] -= size
        self._total -= size

    def _notice(self) -> None:
        if self._phase is not None and self._total > self._highest:
            self._highest = self._total
            self.peaks[self._phase] = dict(self.live)

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        """Run an operation on fake tensors and count the storages that it made."""
        if func is _DEQUANTIZE_AND_MULTIPLY:
            # What bitsandbytes does for many rows: restore the weight, then multiply.
            from bitsandbytes.backends.default.ops import _gemm_4bit_default_impl

            with self:
                return _gemm_4bit_default_impl(*args, **(kwargs or {}))
        out = func(*args, **(kwargs or {}))
        if func is _DEVICE:
            return out
        if func is _ADD and self.label == BUFFERS and self.label_of(args[0]) == GRADIENTS:
            # A gradient that waited for its second part: autograd adds in place, but not where
            # tensors are of a subclass, as fake ones are.
            self._resize(args[0], 0)
            self.count(out, GRADIENTS)
            return out
        label = self.label
        if func.namespace == "bitsandbytes":
            label = BUFFERS
        elif func is _CAST and self.label_of(args[0]) in (WEIGHTS, ADAPTERS):
            label = COPIES
        for tensor in out if isinstance(out, (tuple, list)) else (out,):
            if isinstance(tensor, torch.Tensor) and self.label_of(tensor) is None:
                self.count(tensor, label)
        return out


# bitsandbytes before 0.50 has no such operation: there the restored weight is seen anyway.
_DEQUANTIZE_AND_MULTIPLY = getattr(getattr(torch.ops.bitsandbytes, "gemm_4bit", None), "default", 0)
_ADD = torch.ops.aten.add.Tensor
_CAST = torch.ops.aten._to_copy.default
_DEVICE = torch.ops.prim.device.default


class StepFollower:
    """Hooks that tell a tracker where in the step it is; they hold no tensor.

    Args:
        model: a fake model, with TRL's fused head; an adapter may be around it.
        layers: its decoder layers, in order.
        tracker: what is told.
    """

    def __init__(self, model: Any, layers: Sequence[Any], tracker: Tracker) -> None:
        self._tracker = tracker
        self._model = model
        base = model.get_base_model() if hasattr(model, "get_base_model") else model
        self._head = base.get_output_embeddings().weight
        for place, layer in enumerate(layers):
            layer.register_forward_pre_hook(partial(self._layer_begins, place))
            layer.register_forward_hook(partial(self._layer_ends, place))
            if getattr(layer, "gradient_checkpointing", False):
                layer._gradient_checkpointing_func = partial(
                    layer._gradient_checkpointing_func, context_fn=self._contexts
                )
        base.get_input_embeddings().register_forward_hook(self._embedded)
        base.base_model.register_forward_hook(self._body_ends)
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.register_post_accumulate_grad_hook(
                    lambda ready: tracker.count(ready.grad, GRADIENTS)
                )

    def micro_step(self, batch: Mapping[str, Any], autocast: torch.dtype | None) -> None:
        """Forward, TRL's loss, backward, as `SFTTrainer.compute_loss` and accelerate do it."""
        self._tracker.enter(("embedding", 0), ACTIVATIONS)
        casting = torch.autocast("cpu", dtype=autocast) if autocast else nullcontext()
        with casting:
            out = self._model(**batch, use_cache=False, fused_lm_head=True)
        loss = (-out.log_probs).sum() / 1
        self._tracker.enter(("head", 1), HEAD)
        loss.backward()

    def _layer_begins(self, place: int, *_: Any) -> None:
        self._tracker.enter(("forward", place), ACTIVATIONS)

    def _layer_ends(self, place: int, module: Any, args: Any, out: Any) -> None:
        self._on_gradient(out[0] if isinstance(out, tuple) else out, ("backward", place))

    def _contexts(self) -> tuple[Any, Any]:
        return nullcontext(), self._recomputing()

    @contextmanager
    def _recomputing(self) -> Iterator[None]:
        """The forward of a checkpointed layer, once more, in the middle of the backward pass."""
        self._tracker.label = ACTIVATIONS
        try:
            yield
        finally:
            self._tracker.label = BUFFERS

    def _embedded(self, module: Any, args: Any, out: Any) -> None:
        self._on_gradient(out, ("embedding", 1))

    def _body_ends(self, module: Any, args: Any, out: Any) -> None:
        self._on_gradient(out.last_hidden_state, ("norm", 0))
        self._tracker.enter(("head", 0), HEAD)

    def _on_gradient(self, tensor: Any, phase: Phase) -> None:
        if tensor.requires_grad:
            tensor.register_hook(lambda _: self._arrived(phase))

    def _arrived(self, phase: Phase) -> None:
        if phase[0] == "norm" and self._head.requires_grad:
            # The head's gradient is ready; where it shares its weight with the embedding, it
            # waits for that one's before autograd calls it the parameter's.
            self._tracker.relabel(HEAD, GRADIENTS, self._head.untyped_storage().nbytes())
        self._tracker.enter(phase, BUFFERS)


def follow(
    model: Any,
    layers: Sequence[Any],
    batch: Mapping[str, Any],
    optimizer: Any,
    *,
    micro_steps: int = 1,
    autocast: torch.dtype | None = None,
    max_grad_norm: float = 1.0,
) -> dict[Phase, dict[str, int]]:
    """Follow one optimizer step from the second on, when the optimizer has its states.

    Args:
        model: a model of fake tensors in training mode, with TRL's fused head.
        layers: its decoder layers.
        batch: fake inputs of the model, labels included.
        optimizer: of the model's parameters that train.
        micro_steps: batches that are accumulated; more than two cost no more memory than two.
        autocast: dtype of autocast, or None.

    Returns:
        For each phase of the step, the bytes of each component at its highest moment.
    """
    tracker = Tracker()
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    adapted = hasattr(model, "get_base_model")
    for tensor in [*model.parameters(), *model.buffers()]:
        tracker.count(tensor, ADAPTERS if adapted and tensor.requires_grad else WEIGHTS)
        state = getattr(tensor, "quant_state", None)
        for constant in constants_of(state) if state is not None else ():
            tracker.count(constant, CONSTANTS)
    follower = StepFollower(model, layers, tracker)
    with tracker:
        tracker.label = STATES
        for parameter in trained:
            parameter.grad = torch.empty_like(parameter)
        optimizer.step()
        optimizer.zero_grad()
        for _ in range(min(micro_steps, 2)):
            follower.micro_step(batch, autocast)
        tracker.enter(("clipping", 0), BUFFERS)
        torch.nn.utils.clip_grad_norm_(trained, max_grad_norm)
        tracker.enter(("optimizer", 0), BUFFERS)
        optimizer.step()
    return tracker.peaks


def constants_of(state: Any) -> list[Any]:
    """The tensors that bitsandbytes keeps beside a 4-bit weight."""
    found = [state.absmax, state.code]
    if state.nested:
        found += [state.offset, state.state2.absmax, state.state2.code]
    return found
