"""A model without weights: its real modules on PyTorch's meta device, or of fake tensors."""

from __future__ import annotations

import copy
from typing import Any

import bitsandbytes
import torch
from torch._subclasses.fake_tensor import FakeTensorMode

from sft_helpers.memory.account import Settings


def skeleton(
    config: Any,
    dtype: str = "float32",
    layers: int | None = None,
    attention: str = "eager",
) -> Any:
    """The modules of a configuration on the meta device: real shapes, no weights, no memory.

    Args:
        config: of a causal language model.
        dtype: of its weights.
        layers: how many decoder layers to build; by default all.
        attention: "eager", which every architecture has, or "sdpa", by which most train.
    """
    from transformers import AutoModelForCausalLM

    config = copy.deepcopy(config)
    config.use_cache = False
    if layers is not None:
        config.num_hidden_layers = layers
        if getattr(config, "layer_types", None):
            config.layer_types = config.layer_types[:layers]
    with torch.device("meta"):
        return AutoModelForCausalLM.from_config(
            config, dtype=getattr(torch, dtype), attn_implementation=attention
        )


def with_adapter(model: Any, peft_config: Any) -> Any:
    """Place an adapter on a model without weights, as `SFTTrainer` does; PEFT may warn.

    Raises:
        ValueError: PEFT refuses, as where no module has a name that is asked for.
    """
    from peft import get_peft_model

    with torch.device("meta"):
        return get_peft_model(model, copy.deepcopy(peft_config), low_cpu_mem_usage=True)


def decoder_layers(model: Any) -> list[Any]:
    """The decoder layers of a model, in order."""
    count = model.config.get_text_config().num_hidden_layers
    for module in model.modules():
        if isinstance(module, torch.nn.ModuleList) and len(module) == count:
            return list(module)
    return []


def constants_of(weight: Any) -> list[Any]:
    """The tensors that bitsandbytes keeps beside a 4-bit weight; of any other weight none."""
    state = getattr(weight, "quant_state", None)
    if state is None:
        return []
    more = [state.offset, state.state2.absmax, state.state2.code] if state.nested else []
    return [state.absmax, state.code, *more]


def fake_model(
    config: Any, settings: Settings, adapter: Any, quantization: Any, layers: int
) -> tuple[Any, list[Any], FakeTensorMode]:
    """A model of fake tensors as `SFTTrainer` would have it, its layers, and its mode.

    Fake tensors have a shape, a dtype and a storage of a size, and no numbers.

    Args:
        config: of the model.
        settings: how it is trained.
        adapter: a LoraConfig, or None.
        quantization: a BitsAndBytesConfig of 4 bits, or None.
        layers: how many decoder layers to build.
    """
    from transformers.integrations.bitsandbytes import replace_with_bnb_linear
    from transformers.quantizers.base import get_keys_to_not_convert
    from trl.trainer.utils import add_fused_lm_head

    model = base = skeleton(config, settings.dtype, layers, "sdpa")
    parts = decoder_layers(base)
    if quantization is not None:
        replace_with_bnb_linear(base, get_keys_to_not_convert(base), quantization)
    if adapter is not None:
        model = with_adapter(base, adapter)
    if quantization is not None:
        for parameter in model.parameters():  # as SFTTrainer does, whatever the precision
            if parameter.requires_grad:
                parameter.data = parameter.data.to(torch.bfloat16)
    # What is known of a weight that bitsandbytes will quantize; `to_empty` makes a plain one of it.
    four_bit = {m: m.weight for m in base.modules() if isinstance(m, bitsandbytes.nn.Linear4bit)}
    # bitsandbytes keeps this table for all later calls, so the first must be one with numbers.
    tables = bitsandbytes.functional.name2qmap
    tables.setdefault("dynamic", bitsandbytes.functional.create_dynamic_map())
    mode = FakeTensorMode(allow_non_fake_inputs=True)  # such as that table
    with mode:
        model.to_empty(device="cpu")
        base.tie_weights()
        for module, known in four_bit.items():
            codes, state = bitsandbytes.functional.quantize_4bit(
                torch.empty(known.shape),
                blocksize=known.blocksize,
                compress_statistics=known.compress_statistics,
                quant_type=known.quant_type,
                quant_storage=known.quant_storage,
            )
            module.weight = torch.nn.Parameter(codes, requires_grad=False)
            module.weight.quant_state = state
            if module.bias is not None:  # made in fp32, loaded in the base's dtype
                module.bias.data = module.bias.data.to(getattr(torch, settings.dtype))
    add_fused_lm_head(base, outputs=("log_probs", "entropy", "is_top1"))
    model.train()
    if settings.checkpointing:
        if adapter is not None:
            model.enable_input_require_grads()
        model.activation_checkpointing_enable()
    return model, parts, mode
