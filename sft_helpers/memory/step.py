"""One step of a fake model: TRL's loss, autograd and the optimizer are the real ones."""

from __future__ import annotations

import contextlib
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from types import SimpleNamespace
from typing import Any
from unittest import mock

import torch

from sft_helpers.errors import SFTHelpersError
from sft_helpers.memory import account as part
from sft_helpers.memory.account import PRECISIONS, Settings
from sft_helpers.memory.model import constants_of, fake_model
from sft_helpers.memory.tracker import Parts, Phase, Tracker


@dataclass(frozen=True)
class Step:
    """What following one step found.

    Attributes:
        peaks: phase → bytes at its highest moment.
        held: bytes that the second layer holds all the time.
        gradients: bytes of its gradients.
        forward, backward: bytes that it keeps from its forward pass until the loss (autocast's
            copies of weights that train are among them), and from there until its backward pass.
    """

    peaks: dict[Phase, Parts]
    held: Parts
    gradients: Parts
    forward: Parts
    backward: Parts


class FakeRun:
    """A fake model and its optimizer, which has its states, ready for any step but the first.

    Args:
        config, settings, adapter, quantization, layers: as for `fake_model`.
    """

    def __init__(
        self, config: Any, settings: Settings, adapter: Any, quantization: Any, layers: int
    ) -> None:
        made = fake_model(config, settings, adapter, quantization, layers)
        self.model, self.layers, self.mode = made
        self.base = self.model if adapter is None else self.model.get_base_model()
        self.trained = [weight for weight in self.model.parameters() if weight.requires_grad]
        self.optimizer = _optimizer(settings.optimizer, self.trained)
        with self.mode:
            for weight in self.trained:
                weight.grad = torch.empty_like(weight)
            self.optimizer.step()
            self.optimizer.zero_grad()
        self.tracker = Tracker()  # a new one for each step; the hooks look here
        self.kept: list[Parts] = []
        self._place_hooks()

    def follow(self, settings: Settings) -> Step:
        """Follow one optimizer step.

        Args:
            settings: those of the run, but for length, batch, accumulation, precision, packing,
                padding and device, which may be others.
        """
        tracker = self.tracker = Tracker()
        for tensor, label in self._static(self.model):
            tracker.count(tensor, label)
        with self.mode, _decided(settings):
            inputs = _inputs(settings)
            with tracker:
                for _ in range(min(settings.accumulation, 2)):  # more need no more memory than two
                    self._micro_step(inputs, PRECISIONS[settings.precision])
                tracker.enter(("gradient clipping", 0), part.BUFFERS)
                torch.nn.utils.clip_grad_norm_(self.trained, 1.0)
                tracker.enter(("the optimizer step", 0), part.BUFFERS)
                self.optimizer.step()
            self.optimizer.zero_grad()
        first, second = self.layers[0], self.layers[min(1, len(self.layers) - 1)]
        shared = {tensor.untyped_storage()._cdata for tensor, _ in self._static(first)}
        held = Parts()
        for tensor, label in self._static(second):
            if tensor.untyped_storage()._cdata not in shared:  # bitsandbytes' tables of codes are
                held[label] += tensor.untyped_storage().nbytes()
        gradients = sum(weight.nbytes for weight in second.parameters() if weight.requires_grad)
        return Step(tracker.peaks, held, Parts({part.GRADIENTS: gradients}), *self.kept)

    def _static(self, module: Any) -> Iterator[tuple[Any, str]]:
        """(tensor, component) of all that a module holds during the whole step."""
        for tensor in [*module.parameters(), *module.buffers()]:
            own = tensor.requires_grad and self.base is not self.model
            yield tensor, part.ADAPTERS if own else part.WEIGHTS
            yield from ((constant, part.CONSTANTS) for constant in constants_of(tensor))
            for state in self.optimizer.state.get(tensor, {}).values():
                if isinstance(state, torch.Tensor):
                    yield state, part.STATES

    def _micro_step(self, inputs: dict[str, Any], autocast: str | None) -> None:
        """Forward, TRL's loss, backward, as `SFTTrainer.compute_loss` and accelerate do it."""
        self.tracker.enter(("the embedding", 0), part.ACTIVATIONS)
        dtype = getattr(torch, autocast or "bfloat16")
        with torch.autocast("cpu", dtype=dtype, enabled=autocast is not None):
            out = self.model(**inputs, use_cache=False, fused_lm_head=True)
        loss = (-out.log_probs).sum() / 1
        self.tracker.enter(("the loss head", 1), part.HEAD)
        self.kept.append(self.tracker.born_in(("the forward pass", 1)))
        loss.backward()

    def _place_hooks(self) -> None:
        """Have the model tell the tracker where in the step it is; no hook holds a tensor."""
        for place, layer in enumerate(self.layers):
            layer.register_forward_pre_hook(partial(self._layer_begins, place))
            layer.register_forward_hook(partial(self._layer_ends, place))
            if getattr(layer, "gradient_checkpointing", False):
                layer._gradient_checkpointing_func = partial(
                    layer._gradient_checkpointing_func,
                    context_fn=lambda: (contextlib.nullcontext(), self._recomputing()),
                )
        self.base.get_input_embeddings().register_forward_hook(
            lambda module, args, out: self._on_gradient(out, ("the embedding", 1))
        )
        self.base.base_model.register_forward_hook(self._body_ends)
        for weight in self.trained:
            weight.register_post_accumulate_grad_hook(
                lambda ready: self.tracker.count(ready.grad, part.GRADIENTS)
            )

    def _layer_begins(self, place: int, *_: Any) -> None:
        self.tracker.enter(("the forward pass", place), part.ACTIVATIONS)

    def _layer_ends(self, place: int, module: Any, args: Any, out: Any) -> None:
        hidden = out[0] if isinstance(out, tuple) else out
        self._on_gradient(hidden, ("the backward pass", place))

    def _body_ends(self, module: Any, args: Any, out: Any) -> None:
        self._on_gradient(out.last_hidden_state, ("the last norm", 0))
        self.tracker.enter(("the loss head", 0), part.HEAD)
        self.kept = [self.tracker.born_in(("the forward pass", 1))]

    @contextlib.contextmanager
    def _recomputing(self) -> Iterator[None]:
        """The forward of a checkpointed layer, once more, in the middle of the backward pass."""
        self.tracker.label = part.ACTIVATIONS
        try:
            yield
        finally:
            self.tracker.label = part.BUFFERS

    def _on_gradient(self, tensor: Any, phase: Phase) -> None:
        """The backward pass enters a phase when the gradient of a tensor arrives."""

        def arrived(_: Any) -> None:
            head = self.base.get_output_embeddings().weight
            if phase[0] == "the last norm" and head.requires_grad:
                # The head's gradient is ready; where it shares its weight with the embedding, it
                # waits for that one's before autograd calls it the parameter's.
                self.tracker.relabel(part.HEAD, part.GRADIENTS, head.untyped_storage().nbytes())
            self.tracker.enter(phase, part.BUFFERS)

        if tensor.requires_grad:
            tensor.register_hook(arrived)


def _optimizer(name: str, parameters: list[Any]) -> Any:
    """The optimizer that `Trainer` would make. Paged ones are taken as if never paged out."""
    from transformers import Trainer, TrainingArguments

    known = "adamw_torch_fused" if name == "paged_adamw_32bit" else name.replace("paged_", "")
    try:
        args = TrainingArguments("unused", optim=known, use_cpu=True)
        kind, arguments = Trainer.get_optimizer_cls_and_kwargs(args)
    except (ValueError, ImportError) as problem:
        raise SFTHelpersError(
            f"optimizer {name!r}: {str(problem)[:120]}",
            hint="give what SFTConfig(optim=...) takes, such as adamw_torch or adamw_8bit",
        ) from problem
    return kind(parameters, **arguments)


def _inputs(settings: Settings) -> dict[str, Any]:
    """A batch as TRL's collator makes it."""
    rows, length, padding = settings.batch, settings.length, settings.padding
    names = ["input_ids", "labels"]
    if settings.packing:
        names, rows, length = [*names, "position_ids"], 1, rows * length
    elif rows > 1 if padding is None else padding:
        names.append("attention_mask")
    return {name: torch.empty((rows, length), dtype=torch.long) for name in names}


@contextlib.contextmanager
def _decided(settings: Settings) -> Iterator[None]:
    """Answers for code that asks for numbers or for a GPU, neither of which is there.

    Whether rows are packed, transformers reads off the positions. Where TRL's loss head runs on a
    GPU, Triton folds each tile and cuBLAS adds products in place, so neither allocates.
    """
    kernel: Any = defaultdict(lambda: lambda *args, **kwargs: None)  # kernel[grid](...)
    with contextlib.ExitStack() as stack:
        if not settings.packing:
            name = "transformers.masking_utils.find_packed_sequence_indices"
            stack.enter_context(mock.patch(name, return_value=None))
        if settings.device == "cuda":
            stack.enter_context(
                mock.patch.multiple(
                    "trl.kernels.chunked_logprob",
                    create=True,
                    _use_triton=lambda device: True,
                    _forward_kernel=kernel,
                    _backward_kernel=kernel,
                    _addmm_fp32=lambda total, left, right: None,
                    triton=SimpleNamespace(cdiv=lambda a, b: -(a // -b)),
                )
            )
        yield
