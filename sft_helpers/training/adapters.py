"""What a LoRA adapter is made of: counts and sizes from PEFT's own modules, and what it changed.

Counts come from a model without weights (PyTorch's "meta" device) on which PEFT has placed the
adapter, so a 7B model costs no memory and nothing is computed by a formula of the kit.
"""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sft_helpers.errors import DataError, SFTHelpersError

if TYPE_CHECKING:
    import torch
    from peft import PeftModel
    from trl import SFTTrainer

ATTENTION = ("q_proj", "k_proj", "v_proj", "o_proj")
MLP = ("gate_proj", "up_proj", "down_proj")
# What `LoraConfig(target_modules=...)` takes, by the name that the course uses.
TARGETS: dict[str, Any] = {
    "PEFT's default": None,
    "attention": list(ATTENTION),
    "MLP": list(MLP),
    "all-linear": "all-linear",
}
RANKS = (1, 2, 4, 8, 16, 32, 64, 128, 256)


@dataclass(frozen=True)
class Module:
    """Linear layers of one name: `q_proj` of all decoder layers, for example.

    Attributes:
        name: the last part of the layers' names.
        outputs, inputs: shape of the weight matrix.
        layers: how many there are.
        adapter: parameters that the adapter adds to all of them together; 0 if it has none here.
    """

    name: str
    outputs: int
    inputs: int
    layers: int
    adapter: int


@dataclass(frozen=True)
class Adapter:
    """An adapter placed on a model, counted.

    Attributes:
        model: name of the model.
        targets: what was asked for, in words.
        rank: of each pair of matrices.
        modules: all linear layers by name, with or without an adapter, the output head left out.
        trainable: parameters that train.
        total: parameters of model and adapter.
        unmatched: names asked for that no layer has. PEFT says nothing if any other matches.
    """

    model: str
    targets: str
    rank: int
    modules: tuple[Module, ...]
    trainable: int
    total: int
    unmatched: tuple[str, ...]

    @property
    def share(self) -> float:
        """Trainable parameters over all, between 0 and 1."""
        return self.trainable / self.total

    @property
    def missed(self) -> tuple[str, ...]:
        """Names of linear layers that got no adapter."""
        return tuple(module.name for module in self.modules if not module.adapter)

    @property
    def bytes_on_disk(self) -> int:
        """Size of the adapter's tensors in fp32, in which TRL saves it; the header adds a few KB.

        The adapters of a quantized model are bf16: half of this.
        """
        return 4 * self.trainable


def skeleton(name: str) -> Any:
    """A model's modules without weights, on PyTorch's meta device: it costs no memory.

    Args:
        name: what `memory.read_config` takes, such as "Qwen2.5-7B", "tiny" or a folder.

    Raises:
        ModelError: there is no such model here.
    """
    from sft_helpers.memory import read_config
    from sft_helpers.memory.model import skeleton as modules

    return modules(read_config(name)[1])


def count(name: str, targets: Any = "all-linear", rank: int = 16, **lora: Any) -> Adapter:
    """Place an adapter on a model's skeleton and count.

    Args:
        name: what `skeleton` takes.
        targets: a name from `TARGETS`, or what `LoraConfig(target_modules=...)` takes.
        rank: `LoraConfig(r=...)`.
        lora: further arguments of `LoraConfig`.

    Raises:
        DataError: no layer matches, so PEFT refuses.
    """
    from peft import LoraConfig

    from sft_helpers.memory.model import with_adapter

    asked = TARGETS.get(targets, targets) if isinstance(targets, str) else targets
    model = skeleton(name)
    arguments = {"r": rank, "target_modules": asked, "task_type": "CAUSAL_LM"} | lora
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            placed = with_adapter(model, LoraConfig(**arguments))
        except ValueError as problem:
            raise DataError(
                f"no layer of {name} matches {asked}",
                where="target_modules",
                hint=f"its linear layers are called {', '.join(_shapes(skeleton(name)))}",
            ) from problem
    words = targets if isinstance(targets, str) else ", ".join(targets or ())
    return _counted(placed, name, words or "PEFT's default", rank, asked)


def _counted(placed: PeftModel, name: str, words: str, rank: int, asked: Any) -> Adapter:
    added: Counter[str] = Counter()
    layers: Counter[str] = Counter()
    shapes: dict[str, tuple[int, int]] = {}
    for path, layer, holder in _linear(placed):
        short = path.rpartition(".")[2]
        shapes[short] = (layer.weight.shape[0], layer.weight.shape[1])
        layers[short] += 1
        if holder is not None:
            added[short] += sum(p.numel() for p in holder.parameters() if p.requires_grad)
    modules = tuple(
        Module(short, *shape, layers[short], added[short]) for short, shape in shapes.items()
    )
    trainable, total = placed.get_nb_trainable_parameters()
    wanted = asked if isinstance(asked, (list, tuple, set)) else ()
    found = {path.rpartition(".")[2] for path in placed.targeted_module_names}
    unmatched = tuple(sorted(one for one in wanted if one.rpartition(".")[2] not in found))
    return Adapter(name, words, rank, modules, trainable, total, unmatched)


def _shapes(model: Any) -> list[str]:
    return list(dict.fromkeys(path.rpartition(".")[2] for path, _, _ in _linear(model)))


def _linear(model: Any) -> Iterator[tuple[str, Any, Any]]:
    """(path, linear layer, adapter module around it or None), the output head left out."""
    import torch
    from peft.tuners.lora import LoraLayer

    head = model.get_output_embeddings()
    inside: set[int] = set()
    for path, module in model.named_modules():
        if isinstance(module, LoraLayer):
            inside.update(id(part) for part in module.modules())
            yield path, module.get_base_layer(), module
        elif (
            isinstance(module, torch.nn.Linear) and module is not head and id(module) not in inside
        ):
            yield path, module, None


def rank_grid(
    models: Sequence[str] = ("tiny", "Qwen2.5-0.5B", "Qwen2.5-7B"),
    targets: Sequence[str] = tuple(TARGETS),
    ranks: Sequence[int] = RANKS,
) -> list[Adapter]:
    """Adapters for every combination of model, targets and rank.

    PEFT counts at rank 1; A and B grow with the rank, so every other rank is that many times as
    large (a test compares with PEFT at other ranks).
    """
    counted = [count(name, each, 1) for name in models for each in targets]
    return [_times(one, rank) for one in counted for rank in ranks]


def _times(one: Adapter, rank: int) -> Adapter:
    modules = tuple(replace(module, adapter=module.adapter * rank) for module in one.modules)
    base = one.total - one.trainable
    trainable = one.trainable * rank
    return replace(one, rank=rank, modules=modules, trainable=trainable, total=base + trainable)


# --- what training changed ---------------------------------------------------------------------


@dataclass(frozen=True)
class Update:
    """What training added to one weight matrix: ΔW = trained − before.

    Attributes:
        layer: name of the layer in the base model.
        singular_values: of ΔW, largest first.
        weight_norm: Frobenius norm of the weight before training.
    """

    layer: str
    singular_values: tuple[float, ...]
    weight_norm: float

    @property
    def relative_norm(self) -> float:
        """Frobenius norm of ΔW over that of the weight."""
        return sum(value**2 for value in self.singular_values) ** 0.5 / self.weight_norm

    def rank_for(self, energy: float = 0.9) -> int:
        """How many singular values hold this share of the squared norm of ΔW."""
        wanted, held = energy * sum(value**2 for value in self.singular_values), 0.0
        for number, value in enumerate(self.singular_values, 1):
            held += value**2
            if held >= wanted:
                return number
        return len(self.singular_values)


def updates(trainer: SFTTrainer) -> list[Update]:
    """What a run added to each linear layer: α/r·BA of an adapter, or trained − base weight.

    A function of an importable module, so that `runs.Run(measure=updates)` can carry it to
    a worker process.

    Raises:
        SFTHelpersError: a 4-bit layer was rearranged by inference and cannot be read any more.
    """
    import torch
    from peft import PeftModel
    from peft.tuners.lora import LoraLayer

    model = trainer.model
    found = []
    if isinstance(model, PeftModel):
        for path, module in model.named_modules():
            if isinstance(module, LoraLayer) and isinstance(
                module.get_base_layer(), torch.nn.Linear
            ):
                delta = module.get_delta_weight(module.active_adapters[0])
                found.append(_update(path, delta, _dense(module.get_base_layer())))
        return found
    from sft_helpers.models import load
    from sft_helpers.training.quantization import linear_layers

    before = dict(linear_layers(load(str(model.config._name_or_path))[0]))
    return [
        _update(path, layer.weight - before[path].weight, before[path].weight)
        for path, layer in linear_layers(model)
    ]


def _dense(layer: Any) -> torch.Tensor:
    """The weight of a layer as the matrix that it stands for."""
    from peft.utils.integrations import dequantize_module_weight

    state = getattr(layer.weight, "quant_state", None)
    if getattr(state, "packing_format_for_cpu", False):
        raise SFTHelpersError(
            "bitsandbytes has rearranged this 4-bit layer for inference, so it cannot be read",
            hint="call models.exact_inference(model) before the model's first answer",
        )
    return dequantize_module_weight(layer)


def _update(path: str, delta: torch.Tensor, weight: torch.Tensor) -> Update:
    import torch

    values = torch.linalg.svdvals(delta.detach().float()).tolist()
    layer = path.removeprefix("base_model.model.")
    return Update(layer, tuple(values), float(weight.detach().float().norm()))


def max_logit_difference(one: Any, other: Any, tokenizer: Any, texts: Sequence[str]) -> float:
    """Largest difference between two models' logits on some texts, padding left out.

    Args:
        one, other: causal language models.
        tokenizer: the tokenizer of both.
        texts: rendered conversations or plain texts.
    """
    import torch

    batch = tokenizer(
        list(texts), padding=True, padding_side="right", add_special_tokens=False,
        return_tensors="pt", return_token_type_ids=False,
    )  # fmt: skip
    kept = batch["attention_mask"].bool()
    with torch.inference_mode():
        left, right = (model.eval()(**batch).logits[kept] for model in (one, other))
    return float((left.float() - right.float()).abs().max())


def saved_bytes(folder: str | Path) -> int:
    """Size of the weights in a folder that `save_model` wrote, in bytes.

    Raises:
        SFTHelpersError: there are none.
    """
    files = sorted(Path(folder).glob("*.safetensors"))
    if not files:
        raise SFTHelpersError("there are no *.safetensors", where=str(folder))
    return sum(file.stat().st_size for file in files)
