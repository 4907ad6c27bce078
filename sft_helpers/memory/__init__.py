"""What a training step needs in memory, component by component, without weights and without a GPU.

`predict` builds the real modules from a configuration, follows one step of TRL's loss with tensors
that hold no numbers (see `memory.tracker`), and says what was alive at the highest moment. Layers
repeat, so the step of a deep model is followed with three and with four layers and drawn on from
there; a test holds that against the whole model.
"""

from __future__ import annotations

import difflib
import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sft_helpers.errors import ModelError, SFTHelpersError
from sft_helpers.memory.parts import COMPONENTS, PLACES

if TYPE_CHECKING:
    from transformers import PretrainedConfig

    from sft_helpers.memory.model import Plan, Shape
    from sft_helpers.memory.tracker import Phase

METHODS = ("full", "lora", "qlora")
PRECISIONS = {"fp32": None, "bf16": "bfloat16", "fp16": "float16"}
CARDS = (8, 16, 24, 48, 80)  # GB as on the box: a billion bytes, a little less than what is there
LEFT_OUT = (
    "the CUDA context and the libraries' own memory (0.3 to 1 GB)",
    "fragmentation: the allocator holds more than it has given out",
    "kernels that allocate differently on a GPU: flash attention, cuBLAS workspaces, bitsandbytes'"
    " kernel for fewer than 1,537 rows, which does not restore the weight",
    "evaluation during training, and whatever else is on the card",
)
_FOLLOWED = 3  # layers from which on every further layer adds the same


@dataclass(frozen=True)
class Settings:
    """The arguments of `predict` that decide how much memory a step needs; see there."""

    method: str = "full"
    length: int = 1024
    batch: int = 1
    accumulation: int = 1
    checkpointing: bool = True
    optimizer: str = "adamw_torch_fused"
    precision: str = "bf16"
    weights: str | None = None
    packing: bool = False
    padding: bool | None = None
    device: str = "cuda"


@dataclass(frozen=True)
class Account:
    """What a training step needs.

    Attributes:
        model: name of the model.
        settings: what was asked.
        components: component → bytes at the highest moment of the step, those with none left out.
        moment: where in the step that is, in words.
        moments: part of the step → its own highest number of bytes.
        parameters, trainable: numbers of weights, the base's as published and the trained ones.
        left_out: what no number here contains.
    """

    model: str
    settings: Settings
    components: dict[str, int]
    moment: str
    moments: dict[str, int]
    parameters: int
    trainable: int
    left_out: tuple[str, ...] = LEFT_OUT

    @property
    def peak_bytes(self) -> int:
        """Bytes alive at the highest moment."""
        return sum(self.components.values())

    def fits(self, card: float) -> bool:
        """Whether the step stays within a card of so many GB (a billion bytes each)."""
        return self.peak_bytes <= card * 1e9

    def to_json(self) -> dict[str, Any]:
        """The account as plain data."""
        return asdict(self) | {"peak_bytes": self.peak_bytes, "left_out": list(self.left_out)}


def config_folder() -> Path:
    """The folder of the configurations that the kit ships."""
    from sft_helpers.town import data_dir

    return data_dir().parent / "memory" / "configs"


def shipped() -> list[str]:
    """Names of the models whose configurations come with the kit, small to large."""
    sizes = {"M": 1e6, "B": 1e9}
    found = {}
    for file in config_folder().glob("*.json"):
        text = json.loads(file.read_text(encoding="utf-8"))["published_parameters"]
        found[file.stem] = float(text[:-1]) * sizes[text[-1]]
    return sorted(found, key=lambda name: found[name])


def read_config(model: str | Path | PretrainedConfig) -> tuple[str, PretrainedConfig]:
    """Name and configuration of a model.

    Args:
        model: a name that the kit ships ("Qwen2.5-7B", with or without owner and "-Instruct"),
            "tiny", "smollm2", a config.json, a folder with one, or a configuration.

    Raises:
        ModelError: there is no such configuration here, or it is no causal language model's.
    """
    from transformers import AutoConfig, PretrainedConfig

    if isinstance(model, PretrainedConfig):
        return _causal(str(model.name_or_path or model.model_type), model)
    text = str(model)
    if text == "tiny":
        from sft_helpers.town import data_dir

        place = data_dir() / "base"
    else:
        place = Path(text).expanduser()
    if place.exists():
        file = place / "config.json" if place.is_dir() else place
        name = text if text == "tiny" else file.resolve().parent.name
        return _causal(name, _read(file))
    known = {name.lower(): name for name in shipped()} | {"smollm2": "SmolLM2-135M"}
    wanted = text.rpartition("/")[2].lower()
    for ending in ("", "-instruct", "-base"):
        name = known.get(wanted.removesuffix(ending), "")
        if name:
            file = config_folder() / f"{name}.json"
            data = json.loads(file.read_text(encoding="utf-8"))["config"]
            return _causal(name, AutoConfig.for_model(**data))
    near = difflib.get_close_matches(wanted, known, 1, 0.5)
    raise ModelError(
        f"there is no configuration of {text!r}",
        hint=(f"did you mean {known[near[0]]}? " if near else "")
        + f"The kit has {', '.join(shipped())}; any config.json, or a folder with one, will do too",
    )


def _read(file: Path) -> PretrainedConfig:
    from transformers import AutoConfig

    try:
        data = json.loads(file.read_text(encoding="utf-8"))
        data = data.get("config", data)  # as the kit's own files have it
        return AutoConfig.for_model(**data)
    except FileNotFoundError:
        raise ModelError(
            "there is no config.json here", where=str(file), hint="give the model's folder"
        ) from None
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as problem:
        raise ModelError(
            f"this is no configuration that transformers can read ({str(problem)[:200]})",
            where=str(file),
            hint="it needs a model_type that your transformers knows",
        ) from problem


def _causal(name: str, config: PretrainedConfig) -> tuple[str, PretrainedConfig]:
    from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

    made = list(config.architectures or [])
    causal = config.model_type in MODEL_FOR_CAUSAL_LM_MAPPING_NAMES
    if made:
        causal = causal and any(one.endswith(("ForCausalLM", "LMHeadModel")) for one in made)
    if not causal or config.is_encoder_decoder:
        raise ModelError(
            f"{', '.join(made) or config.model_type} is no causal language model",
            where=name,
            hint="supervised fine-tuning with SFTTrainer needs one, such as Qwen2.5 or Llama",
        )
    return name, config


def predict(
    model: str | Path | PretrainedConfig,
    *,
    method: str = "full",
    length: int,
    batch: int,
    accumulation: int = 1,
    checkpointing: bool = True,
    optimizer: str = "adamw_torch_fused",
    precision: str = "bf16",
    weights: str | None = None,
    packing: bool = False,
    padding: bool | None = None,
    device: str = "cuda",
    peft_config: Any = None,
    quantization_config: Any = None,
) -> Account:
    """Peak memory of one optimizer step of `SFTTrainer`, from the second step on.

    Args:
        model: what `read_config` takes. No weights are read and nothing is computed.
        method: "full", "lora" or "qlora".
        length: tokens in a row, the longest that a batch will hold.
        batch: rows at a time (`per_device_train_batch_size`).
        accumulation: `gradient_accumulation_steps`.
        checkpointing: recompute each layer's activations in the backward pass.
        optimizer: what `SFTConfig(optim=...)` takes; the default is torch's and transformers'.
        precision: autocast of the step, "bf16", "fp16" or "fp32" (none).
        weights: dtype that the base is loaded in; by default float32 where it trains, as small
            updates vanish in bf16, and else bfloat16 with bf16 and float32 without.
        packing: rows are packed (`bfd`) into one long row of batch × length tokens.
        padding: whether some row of the batch is shorter, so that attention needs a mask; by
            default if there are several rows.
        device: "cuda" has TRL's loss head run by Triton; "cpu" in PyTorch, with its temporaries.
        peft_config: the adapter; by default rank 16 on all linear layers.
        quantization_config: a `BitsAndBytesConfig` of 4 bits; by default NF4, double quantization.

    Raises:
        ModelError: no such configuration, or no causal language model.
        SFTHelpersError: an argument that cannot be.
    """
    settings = Settings(
        method, length, batch, accumulation, checkpointing, optimizer, precision, weights,
        packing, padding, device,
    )  # fmt: skip
    name, config = read_config(model)
    _check(settings, name, config)
    from sft_helpers.memory.model import Plan

    plan = Plan(settings, peft_config, quantization_config)
    peaks, whole = phase_peaks(config, plan)
    top = max(peaks, key=lambda phase: sum(peaks[phase].values()))
    moments: dict[str, int] = {}
    for phase, held in peaks.items():
        words = PLACES[phase[0]]
        moments[words] = max(moments.get(words, 0), sum(held.values()))
    components = {part: peaks[top][part] for part in COMPONENTS if peaks[top].get(part)}
    return Account(
        name, settings, components, PLACES[top[0]], moments, whole.parameters, whole.trainable
    )


def phase_peaks(config: PretrainedConfig, plan: Plan) -> tuple[dict[Phase, dict[str, int]], Shape]:
    """The highest moment of each phase of a step, and what the whole model's modules say."""
    from sft_helpers.memory.model import follow_layers

    whole = plan.shape(config)
    layers = config.get_text_config().num_hidden_layers
    if not whole.uniform or layers <= _FOLLOWED + 1:
        return follow_layers(config, plan, layers), whole
    few = follow_layers(config, plan, _FOLLOWED)
    return _drawn_on(few, follow_layers(config, plan, _FOLLOWED + 1), layers), whole


def again(account: Account, model: Any = None, **changes: Any) -> Account:
    """The same step with some arguments of `predict` changed."""
    return predict(
        account.model if model is None else model, **(asdict(account.settings) | changes)
    )


def _drawn_on(
    small: dict[Any, dict[str, int]], large: dict[Any, dict[str, int]], layers: int
) -> dict[Any, dict[str, int]]:
    """Peaks of a model with many equal layers, from those of one with three and one with four.

    What a phase holds grows by the same amount with each layer; among the layers in the middle it
    rises or falls evenly, so the highest is one of the first two or of the last two.
    """

    def named(peaks: dict[Any, dict[str, int]], count: int) -> dict[Any, dict[str, int]]:
        found = {}
        for (kind, place), held in peaks.items():
            if kind in ("forward", "backward"):
                if place < 2:
                    found[kind, place] = held
                if place >= count - 2:
                    found[kind, place - count] = held
            else:
                found[kind, place] = held
        return found

    few, more = named(small, _FOLLOWED), named(large, _FOLLOWED + 1)
    return {
        phase: {
            part: few[phase].get(part, 0)
            + (layers - _FOLLOWED) * (held.get(part, 0) - few[phase].get(part, 0))
            for part in {*held, *few[phase]}
        }
        for phase, held in more.items()
    }


def _check(settings: Settings, name: str, config: PretrainedConfig) -> None:
    for argument, known in (
        ("method", METHODS), ("precision", tuple(PRECISIONS)), ("device", ("cuda", "cpu")),
        ("weights", (None, "float32", "bfloat16", "float16")),
    ):  # fmt: skip
        value = getattr(settings, argument)
        if value not in known:
            raise SFTHelpersError(
                f"unknown {argument} {value!r}", hint=f"one of {', '.join(map(str, known))}"
            )
    for argument in ("length", "batch", "accumulation"):
        if getattr(settings, argument) < 1:
            raise SFTHelpersError(
                f"{argument} {getattr(settings, argument)} is impossible", hint="give 1 or more"
            )
    most = getattr(config.get_text_config(), "max_position_embeddings", None)
    if most and settings.length > most:
        raise SFTHelpersError(
            f"{name} has {most:,} positions, a length of {settings.length:,} is impossible",
            hint=f"choose a length of at most {most}",
        )
