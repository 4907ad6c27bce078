"""A model of fake tensors, as `SFTTrainer` would train it: base, 4-bit layers, adapter, loss head.

It is built on PyTorch's meta device from a configuration, so no weights are needed; PEFT and
bitsandbytes place their own modules; then every tensor becomes a fake one on the CPU.
"""

from __future__ import annotations

import contextlib
import copy
import importlib
import json
import warnings
from collections.abc import Iterator
from dataclasses import astuple, dataclass
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import torch
from torch._subclasses.fake_tensor import FakeTensorMode

from sft_helpers.errors import SFTHelpersError
from sft_helpers.memory.tracker import Phase, follow

if TYPE_CHECKING:
    from sft_helpers.memory import Settings

_AUTOCAST = {"fp32": None, "bf16": torch.bfloat16, "fp16": torch.float16}
_followed: dict[tuple[Any, ...], dict[Phase, dict[str, int]]] = {}
_shapes: dict[tuple[Any, ...], Shape] = {}


@dataclass(frozen=True)
class Shape:
    """What the whole model's modules say: sizes, and whether all decoder layers are alike."""

    parameters: int
    trainable: int
    uniform: bool


class Plan:
    """How a model is to be trained: the settings, the adapter, the quantization."""

    def __init__(self, settings: Settings, peft_config: Any, quantization_config: Any) -> None:
        from peft import LoraConfig
        from transformers import BitsAndBytesConfig

        self.settings = settings
        self.autocast = _AUTOCAST[settings.precision]
        full, bf16 = settings.method == "full", settings.precision == "bf16"
        name = settings.weights or ("bfloat16" if bf16 and not full else "float32")
        self.dtype: torch.dtype = getattr(torch, name)
        self.adapter = None
        if not full:
            self.adapter = peft_config or LoraConfig(
                r=16, lora_alpha=32, target_modules="all-linear", task_type="CAUSAL_LM"
            )
        self.quantization = None
        if settings.method == "qlora":
            self.quantization = quantization_config or BitsAndBytesConfig(
                load_in_4bit=True,
                bnb_4bit_quant_type="nf4",
                bnb_4bit_use_double_quant=True,
                bnb_4bit_compute_dtype=self.dtype,
            )

    def key(self, config: Any) -> tuple[Any, ...]:
        """All that decides, as something to look up a result by."""
        adapter = self.adapter.to_dict() if self.adapter is not None else None
        bits = self.quantization.to_dict() if self.quantization is not None else None
        parts = [json.dumps(part, default=str, sort_keys=True) for part in (adapter, bits)]
        return (config.to_json_string(), *astuple(self.settings), *parts)

    def shape(self, config: Any) -> Shape:
        """Count the whole model's weights, and compare its layers."""
        adapter = self.adapter.to_dict() if self.adapter is not None else None
        key = (config.to_json_string(), json.dumps(adapter, default=str, sort_keys=True))
        if key not in _shapes:
            base = skeleton(config, self.dtype)
            parameters = sum(parameter.numel() for parameter in base.parameters())
            sizes = {
                tuple((n, p.shape) for n, p in layer.named_parameters())
                for layer in decoder_layers(base)
            }
            kinds = set(getattr(config.get_text_config(), "layer_types", None) or ["one"])
            model = with_adapter(base, self.adapter) if self.adapter is not None else base
            trainable = sum(p.numel() for p in model.parameters() if p.requires_grad)
            adapted = getattr(self.adapter, "layers_to_transform", None)
            uniform = len(sizes) == len(kinds) == 1 and adapted is None
            _shapes[key] = Shape(parameters, trainable, uniform)
        return _shapes[key]

    def optimizer(self, parameters: list[Any]) -> Any:
        """The optimizer that `Trainer` would make. Paged ones are taken as if never paged out."""
        from transformers import Trainer, TrainingArguments

        name = self.settings.optimizer
        name = "adamw_torch_fused" if name == "paged_adamw_32bit" else name.replace("paged_", "")
        try:
            args = TrainingArguments("unused", optim=name, use_cpu=True)
            kind, arguments = Trainer.get_optimizer_cls_and_kwargs(args)
        except (ValueError, ImportError) as problem:
            raise SFTHelpersError(
                f"optimizer {self.settings.optimizer!r}: {str(problem)[:120]}",
                hint="give what SFTConfig(optim=...) takes, such as adamw_torch or adamw_8bit",
            ) from problem
        return kind(parameters, **arguments)

    def batch(self) -> dict[str, Any]:
        """Inputs as TRL's collator makes them."""
        rows, length = self.settings.batch, self.settings.length
        padding = self.settings.padding
        if self.settings.packing:
            names, shape = ["input_ids", "labels", "position_ids"], (1, rows * length)
        else:
            names, shape = ["input_ids", "labels"], (rows, length)
            if rows > 1 if padding is None else padding:
                names.append("attention_mask")
        return {name: torch.empty(shape, dtype=torch.long) for name in names}


def follow_layers(config: Any, plan: Plan, layers: int) -> dict[Phase, dict[str, int]]:
    """Follow a step of a model cut to a number of layers; the same question costs nothing twice."""
    key = (layers, *plan.key(config))
    if key not in _followed:
        model, parts, mode = fake_model(config, plan, layers)
        optimizer = plan.optimizer([p for p in model.parameters() if p.requires_grad])
        with mode, _decided(plan.settings), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            _followed[key] = follow(
                model,
                parts,
                plan.batch(),
                optimizer,
                micro_steps=plan.settings.accumulation,
                autocast=plan.autocast,
            )
    return _followed[key]


def fake_model(config: Any, plan: Plan, layers: int) -> tuple[Any, list[Any], FakeTensorMode]:
    """A model of fake tensors as `SFTTrainer` would have it, its layers, and its mode."""
    from trl.trainer.utils import add_fused_lm_head

    model = base = skeleton(config, plan.dtype, layers)
    parts = decoder_layers(base)
    if plan.quantization is not None:
        four_bit(base, plan.quantization)
    if plan.adapter is not None:
        model = with_adapter(base, plan.adapter)
    if plan.quantization is not None:
        for parameter in model.parameters():  # as SFTTrainer does, whatever the precision
            if parameter.requires_grad:
                parameter.data = parameter.data.to(torch.bfloat16)
    mode = FakeTensorMode(allow_non_fake_inputs=True)  # bitsandbytes' code tables are real
    make_fake(model, mode)
    add_fused_lm_head(base, outputs=("log_probs", "entropy", "is_top1"))
    model.train()
    if plan.settings.checkpointing:
        if plan.adapter is not None:
            model.enable_input_require_grads()
        model.activation_checkpointing_enable()
    return model, parts, mode


@contextlib.contextmanager
def _replaced(module: str, **changes: Any) -> Iterator[None]:
    """Give names of a module other values for a while."""
    place = importlib.import_module(module)
    before = {name: getattr(place, name, None) for name in changes}
    vars(place).update(changes)
    try:
        yield
    finally:
        vars(place).update(before)


class _Launcher:
    """In place of a Triton kernel: it works inside its tile and allocates nothing."""

    def __getitem__(self, grid: Any) -> Any:
        return lambda *args, **kwargs: None


@contextlib.contextmanager
def _decided(settings: Settings) -> Iterator[None]:
    """Answers for code that asks for numbers or for a GPU, neither of which is there.

    Whether rows are packed, transformers reads off the positions. Where TRL's loss head runs on a
    GPU, Triton folds each tile and cuBLAS adds products in place, so neither allocates.
    """
    with contextlib.ExitStack() as stack:
        if not settings.packing:
            stack.enter_context(
                _replaced(
                    "transformers.masking_utils", find_packed_sequence_indices=lambda ids: None
                )
            )
        if settings.device == "cuda":
            stack.enter_context(
                _replaced(
                    "trl.kernels.chunked_logprob",
                    _use_triton=lambda device: True,
                    _forward_kernel=_Launcher(),
                    _backward_kernel=_Launcher(),
                    _addmm_fp32=lambda total, left, right: None,
                    triton=SimpleNamespace(cdiv=lambda a, b: -(a // -b)),
                )
            )
        yield


def skeleton(config: Any, dtype: torch.dtype, layers: int | None = None) -> Any:
    """The modules of a configuration on the meta device, cut to a number of layers."""
    from transformers import AutoModelForCausalLM

    config = copy.deepcopy(config)
    config.use_cache = False
    if layers is not None:
        config.num_hidden_layers = layers
        if getattr(config, "layer_types", None):
            config.layer_types = config.layer_types[:layers]
    with torch.device("meta"), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return AutoModelForCausalLM.from_config(config, dtype=dtype, attn_implementation="sdpa")


def decoder_layers(model: Any) -> list[Any]:
    """The decoder layers of a model, in order."""
    count = model.config.get_text_config().num_hidden_layers
    for module in model.modules():
        if isinstance(module, torch.nn.ModuleList) and len(module) == count:
            return list(module)
    return []


def four_bit(model: Any, quantization: Any) -> None:
    """Replace linear layers by bitsandbytes' and their weights by what it stores of them."""
    import bitsandbytes as bnb
    from transformers.integrations.bitsandbytes import replace_with_bnb_linear
    from transformers.quantizers.base import get_keys_to_not_convert

    # bitsandbytes keeps this table for all later calls, on the device of the first: never on "meta"
    bnb.functional.name2qmap.setdefault("dynamic", bnb.functional.create_dynamic_map())
    replace_with_bnb_linear(model, get_keys_to_not_convert(model), quantization)
    for module in model.modules():
        if isinstance(module, bnb.nn.Linear4bit):
            old = module.weight
            data, state = bnb.functional.quantize_4bit(
                old.data,
                blocksize=old.blocksize,
                compress_statistics=old.compress_statistics,
                quant_type=old.quant_type,
                quant_storage=old.quant_storage,
            )
            module.weight = bnb.nn.Params4bit(
                data, requires_grad=False, quant_state=state, bnb_quantized=True, module=module
            )


def with_adapter(model: Any, peft_config: Any) -> Any:
    """Place an adapter as `SFTTrainer` does."""
    from peft import get_peft_model

    with torch.device("meta"), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return get_peft_model(model, copy.deepcopy(peft_config), low_cpu_mem_usage=True)


def make_fake(model: Any, mode: FakeTensorMode) -> None:
    """Replace every parameter, buffer and quantization constant by a fake tensor on the CPU."""
    made: dict[int, Any] = {}

    def fake(tensor: Any) -> Any:
        if id(tensor) not in made:
            with mode:
                made[id(tensor)] = torch.empty(tensor.shape, dtype=tensor.dtype, device="cpu")
        return made[id(tensor)]

    parameters: dict[int, Any] = {}
    for module in list(model.modules()):
        for name, parameter in module._parameters.items():
            if parameter is None:
                continue
            if id(parameter) not in parameters:
                new = torch.nn.Parameter(fake(parameter), requires_grad=parameter.requires_grad)
                state = getattr(parameter, "quant_state", None)
                if state is not None:
                    state.absmax, state.code = fake(state.absmax), fake(state.code)
                    if state.nested:
                        state.offset = fake(state.offset)
                        state.state2.absmax = fake(state.state2.absmax)
                        state.state2.code = fake(state.state2.code)
                    new.quant_state = state
                parameters[id(parameter)] = new
            module._parameters[name] = parameters[id(parameter)]
        for name, buffer in module._buffers.items():
            if buffer is not None:
                module._buffers[name] = fake(buffer)
