"""Recipes as plain data.

A recipe is what a learner would type: the arguments of `SFTConfig`, `LoraConfig` and
`BitsAndBytesConfig`, each with a reason. Training itself is TRL's `SFTTrainer`, called in the open.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from sft_helpers.errors import SFTHelpersError

if TYPE_CHECKING:
    from peft import LoraConfig
    from transformers import BitsAndBytesConfig
    from trl import SFTConfig

    from sft_helpers.machine import Profile

METHODS = ("full", "lora", "qlora")

_TINY_RATES = {
    "full": (
        5e-4,
        "found by a sweep on Lantern Bay; a model of a million weights takes large steps",
    ),
    "lora": (
        4e-3,
        "found by a sweep on Lantern Bay; an adapter wants a larger rate than all weights",
    ),
    "qlora": (4e-3, "the same as for LoRA: only the frozen weights are stored differently"),
}
_RATES = {
    "full": (2e-5, "TRL's default and its advice for full fine-tuning"),
    "lora": (2e-4, "about ten times the rate of full fine-tuning (TRL's PEFT guide)"),
    "qlora": (2e-4, "the rate of the QLoRA paper for 7B and 13B (arXiv 2305.14314)"),
}


@dataclass(frozen=True)
class Recipe:
    """Everything that decides a run, as plain data.

    Attributes:
        model: what `SFTTrainer(model=...)` takes: a folder or a hub id.
        method: "full", "lora" or "qlora".
        sft: keyword arguments of `trl.SFTConfig`, without `output_dir`.
        lora: keyword arguments of `peft.LoraConfig`; None for full fine-tuning.
        quantization: keyword arguments of `transformers.BitsAndBytesConfig`; None unless QLoRA.
        why: argument name to a sentence saying why it has its value.
    """

    model: str
    method: str
    sft: dict[str, Any]
    lora: dict[str, Any] | None = None
    quantization: dict[str, Any] | None = None
    why: dict[str, str] = field(default_factory=dict)

    def sft_config(self, output_dir: str, **changes: Any) -> SFTConfig:
        """The recipe's `SFTConfig`; `changes` replace single arguments."""
        from trl import SFTConfig

        return SFTConfig(output_dir=output_dir, **(self.sft | changes))

    def lora_config(self) -> LoraConfig | None:
        """The recipe's `LoraConfig`, or None for full fine-tuning."""
        from peft import LoraConfig

        return LoraConfig(**self.lora) if self.lora is not None else None

    def quantization_config(self) -> BitsAndBytesConfig | None:
        """The recipe's `BitsAndBytesConfig`, or None when weights are not quantized."""
        from transformers import BitsAndBytesConfig

        return BitsAndBytesConfig(**self.quantization) if self.quantization is not None else None

    def code(self) -> str:
        """The recipe as the code that a learner would write, ready to paste and run."""
        imports = ["from trl import SFTConfig, SFTTrainer"]
        blocks = [_call("args", "SFTConfig", {"output_dir": "out", **self.sft}, self.why)]
        extra = ""
        if self.lora is not None:
            imports.append("from peft import LoraConfig")
            blocks.append(_call("adapter", "LoraConfig", self.lora, self.why))
            extra += "    peft_config=adapter,\n"
        if self.quantization is not None:
            imports.append("from transformers import BitsAndBytesConfig")
            blocks.append(_call("four_bit", "BitsAndBytesConfig", self.quantization, self.why))
            extra += "    quantization_config=four_bit,\n"
        blocks.append(
            f"trainer = SFTTrainer(\n    model={self.model!r},\n    args=args,\n"
            f"    train_dataset=train_dataset,\n{extra})\ntrainer.train()"
        )
        return "\n".join(sorted(imports)) + "\n\n" + "\n".join(blocks) + "\n"


def _call(target: str, name: str, arguments: dict[str, Any], why: dict[str, str]) -> str:
    lines = [
        f"    {key}={value!r}," + (f"  # {why[key]}" if key in why else "")
        for key, value in arguments.items()
    ]
    return "\n".join([f"{target} = {name}(", *lines, ")"])


def recipe(profile: Profile | str, method: str | None = None, model: str | None = None) -> Recipe:
    """A recipe that fits the machine.

    Args:
        profile: what `sft_helpers.machine.profile()` found, or the name of one, such as "rtx4090".
        method: "full", "lora" or "qlora"; None takes the profile's own.
        model: "tiny", "smollm2", a hub id or a folder; None takes the profile's own.

    Raises:
        SFTHelpersError: unknown method.
    """
    from sft_helpers.machine import profile as plan_for
    from sft_helpers.models import resolve

    if isinstance(profile, str):
        profile = plan_for(profile)
    plan = profile.for_model(model) if model else profile
    chosen = str(plan.model.value)
    method = method or str(plan.method.value)
    if method not in METHODS:
        raise SFTHelpersError(
            f"unknown method {method!r}", hint=f"choose one of {', '.join(METHODS)}"
        )
    tiny = chosen == "tiny"
    rate, rate_why = (_TINY_RATES if tiny else _RATES)[method]
    sft: dict[str, Any] = {
        "num_train_epochs": 3 if tiny else 2,
        "learning_rate": rate,
        "lr_scheduler_type": "cosine",
        "warmup_steps": 0.1,
        "assistant_only_loss": True,
        "logging_steps": 5,
        "save_strategy": "no",
        "seed": 0,
        **plan.sft_arguments(),
    }
    why = {
        "learning_rate": rate_why,
        "warmup_steps": "below 1 it is a share of all steps",
        "assistant_only_loss": "without it TRL trains on the question too",
        **plan.sft_reasons(),
    }
    if not tiny:
        loading = plan.load_arguments()
        if method == "full":
            loading["dtype"] = "float32"
        sft["model_init_kwargs"] = loading
        why["model_init_kwargs"] = (
            "weights that train must be fp32, or small updates vanish"
            if method == "full"
            else plan.weights.why
        )
    elif method == "qlora":
        sft["model_init_kwargs"] = {"device_map": "cpu"}
        why["model_init_kwargs"] = "a quantized model would go to a GPU, if there is one"
    lora = None
    if method != "full":
        lora = {"r": 16, "lora_alpha": 32, "target_modules": "all-linear", "task_type": "CAUSAL_LM"}
        why |= {
            "lora_alpha": "the update is scaled by lora_alpha / r = 2",
            "target_modules": "the default adapts two projections per layer only",
        }
    quantization = None
    if method == "qlora":
        quantization = {
            "load_in_4bit": True,
            "bnb_4bit_quant_type": "nf4",
            "bnb_4bit_use_double_quant": True,
            "bnb_4bit_compute_dtype": "float32" if tiny else str(plan.weights.value),
        }
    return Recipe(resolve(chosen), method, sft, lora, quantization, why)
