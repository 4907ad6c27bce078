"""Adapters: which modules they land on, asked of PEFT on the model's real architecture."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sft_helpers.preflight.findings import Finding, finding
from sft_helpers.preflight.rates import parameters

if TYPE_CHECKING:
    from peft import PeftModel

    from sft_helpers.preflight.setup import Setup


@dataclass(frozen=True)
class Placed:
    """An adapter on a model without weights.

    Attributes:
        model: with the adapter in place; None if PEFT refused.
        refused: PEFT's words.
        said: what PEFT warned of.
    """

    model: PeftModel | None = None
    refused: str | None = None
    said: tuple[str, ...] = ()


def place(setup: Setup) -> Placed:
    """Let PEFT put the adapter on the model's skeleton; neither is changed for the caller."""
    from sft_helpers.memory.model import with_adapter

    model = copy.deepcopy(setup.skeleton)
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        try:
            made = with_adapter(model, setup.peft_config)
        except ValueError as problem:
            return Placed(refused=" ".join(str(problem).split()))
    return Placed(made, said=tuple(str(one.message) for one in said))


def check(setup: Setup) -> Iterable[Finding]:
    """Adapters that land nowhere, or not where they were meant to, and runs that train nothing."""
    if setup.args.learning_rate <= 0:
        yield _nothing("the learning rate is 0", "learning_rate: 2e-4")
    if setup.peft_config is None:
        yield from _frozen(setup)
        return
    kind = str(getattr(setup.peft_config.peft_type, "value", ""))
    if kind != "LORA" or parameters(setup) is None:
        return
    placed = place(setup)
    if placed.model is None:
        yield _no_match(setup, placed.refused or "")
        return
    yield from _trains(setup, placed.model)
    yield from _unmatched(setup, placed)
    yield from _default_targets(setup, placed.model)
    yield from _head(setup, placed)


def _no_match(setup: Setup, words: str) -> Finding:
    """PEFT refuses if no module has one of the names (peft, NoMatchingPeftModuleError)."""
    return finding(
        "lora.no_match",
        f"PEFT refuses: {words}",
        f"target_modules: all-linear   # or of {', '.join(_linear_names(setup.skeleton))}",
    )


def _nothing(why: str, fix: str) -> Finding:
    return finding(
        "lora.nothing_trains",
        f"{why}: the run ends without an error, with a gradient of 0, and the model is the old one",
        fix,
    )


def _frozen(setup: Setup) -> Iterable[Finding]:
    """A model without a trainable weight, such as an adapter loaded for inference, trains with
    grad_norm 0 and no error while checkpointing is on, TRL's default (peft#2115).
    """
    model = setup.model
    if model is None or any(weight.requires_grad for weight in model.parameters()):
        return
    adapter = hasattr(model, "peft_config")
    yield _nothing(
        "no weight of this model is trainable",
        "PeftModel.from_pretrained(model, folder, is_trainable=True)"
        if adapter
        else "pass peft_config, or model.requires_grad_(True)",
    )


def _trains(setup: Setup, model: PeftModel) -> Iterable[Finding]:
    """Asked of the adapter in place: parameters that train, and the factor on its update.
    `inference_mode=True` freezes it; with `lora_alpha=0` neither A nor B gets a gradient.
    """
    from peft.tuners.lora import LoraLayer

    if model.get_nb_trainable_parameters()[0] == 0:
        yield _nothing("the adapter is frozen", "LoraConfig without inference_mode")
        return
    factors = [f for m in model.modules() if isinstance(m, LoraLayer) for f in m.scaling.values()]
    if factors and not any(factors) and not setup.peft_config.modules_to_save:
        yield _nothing("the adapter's update is multiplied by 0", "lora_alpha: 32")


def _unmatched(setup: Setup, placed: Placed) -> Iterable[Finding]:
    """PEFT is silent as long as one name matches: Llama's seven names on Phi-3 adapt two, whose
    `qkv_proj` and `gate_up_proj` stay as they are; `modules_to_save` is never checked. It warns of
    `rank_pattern`, `alpha_pattern` and `exclude_modules`.
    """
    assert placed.model is not None
    asked = setup.peft_config.target_modules
    found = list(placed.model.targeted_module_names)
    names = [path for path, _ in setup.skeleton.named_modules()]
    wanted = sorted(asked) if isinstance(asked, (list, tuple, set)) else []
    missing = [one for one in wanted if not any(_is(path, one) for path in found)]
    if missing:
        left = [n for n in _linear_names(setup.skeleton) if not any(_is(p, n) for p in found)]
        yield finding(
            "lora.partial_match",
            f"no module is called {', '.join(missing)}; only"
            f" {', '.join(sorted({p.rpartition('.')[2] for p in found}))} are adapted"
            + (f", not {', '.join(left)}" if left else ""),
            "target_modules: all-linear",
        )
    saved = [
        one
        for one in setup.peft_config.modules_to_save or ()
        if not any(_is(path, one) for path in names)
    ]
    if saved:
        yield finding(
            "lora.partial_match",
            f"modules_to_save: no module is called {', '.join(saved)}, so it is not trained",
            f"modules_to_save: [{', '.join(_others(setup.skeleton))}]   # what there is",
        )
    for words in placed.said:
        if "_pattern keys" in words or "exclude_modules" in words or "target_parameters" in words:
            yield finding("lora.partial_match", words, "use names that the model has")


def _is(path: str, name: str) -> bool:
    """Whether PEFT takes a module for one of this name (peft/tuners/tuners_utils.py,
    check_target_module_exists)."""
    return path == name or path.endswith(f".{name}")


def _default_targets(setup: Setup, model: PeftModel) -> Iterable[Finding]:
    """Without `target_modules` PEFT adapts what its table says, q_proj and v_proj for Llama, Qwen
    and Mistral (peft/utils/constants.py). The MLP matters most (arXiv 2405.09673; TRL, "LoRA
    Without Regret"), and on Lantern Bay attention alone forgets more for the same gain (notebook
    07).
    """
    if setup.peft_config.target_modules is not None or setup.peft_config.target_parameters:
        return
    names = _linear_names(setup.skeleton)
    adapted = sorted({path.rpartition(".")[2] for path in model.targeted_module_names})
    if len(adapted) < len(names):
        yield finding(
            "lora.default_targets",
            f"target_modules is not set: of {', '.join(names)} PEFT adapts"
            f" {', '.join(adapted)} only",
            "target_modules: all-linear",
        )


def _head(setup: Setup, placed: Placed) -> Iterable[Finding]:
    """TRL computes the loss from `lm_head.weight` itself. An adapter on the head is refused
    (sft_trainer.py:1066); `trainable_token_indices` with tied embeddings puts a wrapper on the head
    and ends in "'TrainableTokensWrapper' object has no attribute 'bias'". With tied embeddings and
    without `ensure_weight_tying` PEFT trains one of the two tables: a new token is read, but never
    said (notebook 07: 0 % of answers, 100 % with it).
    """
    from peft.tuners.tuners_utils import BaseTunerLayer
    from peft.utils.other import TrainableTokensWrapper

    assert placed.model is not None
    head = placed.model.get_base_model().get_output_embeddings()
    if isinstance(head, BaseTunerLayer):
        yield finding(
            "lora.head_adapted",
            "TRL refuses an adapter on the output head: it would never be trained",
            'take lm_head out of target_modules; modules_to_save: ["lm_head"] trains it whole',
        )
    elif isinstance(head, TrainableTokensWrapper):
        yield finding(
            "lora.trainable_tokens_tied",
            "this model uses one table for input and output, and TRL's loss cannot read it through"
            " trainable_token_indices: the first step ends with an AttributeError",
            'modules_to_save: ["embed_tokens"] and ensure_weight_tying: true',
        )
    elif any("ensure_weight_tying" in words for words in placed.said):
        yield finding(
            "lora.weight_tying_broken",
            "input and output share one table, and the adapter trains a copy of one of them: what"
            " is learned about a token's input never reaches its output",
            "ensure_weight_tying: true",
        )


def _linear_names(model: Any) -> list[str]:
    """Last parts of the names of the linear layers, the head left out, as "all-linear" has them."""
    import torch
    from transformers.pytorch_utils import Conv1D

    head = model.get_output_embeddings()
    return list(
        dict.fromkeys(
            path.rpartition(".")[2]
            for path, module in model.named_modules()
            if isinstance(module, (torch.nn.Linear, Conv1D)) and module is not head
        )
    )


def _others(model: Any) -> list[str]:
    """Modules that can be trained whole: embedding and head."""
    tables = (model.get_input_embeddings(), model.get_output_embeddings())
    return [path.rpartition(".")[2] for path, module in model.named_modules() if module in tables]
