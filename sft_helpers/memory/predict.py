"""What a training step needs in memory, component by component, without weights and without a GPU.

`predict` builds the real modules from a configuration, follows one step of TRL's loss with tensors
that hold no numbers, and says what was alive at the highest moment.
"""

from __future__ import annotations

import difflib
import json
import warnings
from collections import Counter
from dataclasses import asdict
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sft_helpers.errors import ModelError, SFTHelpersError
from sft_helpers.memory.account import COMPONENTS, Account, Settings

if TYPE_CHECKING:
    from transformers import PretrainedConfig

    from sft_helpers.memory.step import FakeRun, Step
    from sft_helpers.memory.tracker import Parts

_FOLLOWED = 3  # layers: a first one, one in the middle, a last one
_shapes: dict[tuple[str, ...], tuple[int, int, bool]] = {}
_runs: dict[tuple[Any, ...], FakeRun] = {}
_steps: dict[tuple[Any, ...], Step] = {}


@cache
def shapes() -> dict[str, dict[str, Any]]:
    """The models whose configuration comes with the kit, small to large.

    Returns:
        name → "config" (what decides the shapes), "published_parameters" ("7.61B"), "hub_id",
        "source" and "read_from".
    """
    file = Path(__file__).with_name("shapes.json")
    return dict(json.loads(file.read_text(encoding="utf-8")))


def read_config(model: str | Path | PretrainedConfig) -> tuple[str, PretrainedConfig]:
    """Name and configuration of a model, without a network.

    Args:
        model: a name of `shapes` ("Qwen2.5-7B", with or without owner and "-Instruct"), "tiny",
            "smollm2", a config.json, a folder with one, or a configuration.

    Raises:
        ModelError: there is no such configuration here, or it is no causal language model's.
    """
    from transformers import AutoConfig, PretrainedConfig

    if isinstance(model, PretrainedConfig):
        return _causal(str(model.name_or_path or model.model_type), model)
    text = str(model)
    place = Path(text).expanduser()
    if text == "tiny":
        from sft_helpers.town import data_dir

        place = data_dir() / "base"
    if place.exists():
        file = place / "config.json" if place.is_dir() else place
        name = text if text == "tiny" else file.resolve().parent.name
        try:
            data = json.loads(file.read_text(encoding="utf-8"))
            return _causal(name, AutoConfig.for_model(**data))
        except FileNotFoundError:
            raise ModelError(
                "there is no config.json here", where=str(file), hint="give the model's folder"
            ) from None
        except (OSError, ValueError, TypeError, KeyError) as problem:
            raise ModelError(
                f"this is no configuration that transformers can read ({str(problem)[:200]})",
                where=str(file),
                hint="it needs a model_type that your transformers knows",
            ) from problem
    known = {name.lower(): name for name in shapes()} | {"smollm2": "SmolLM2-135M"}
    wanted = text.rpartition("/")[2].lower()
    for ending in ("", "-instruct", "-base"):
        found = known.get(wanted.removesuffix(ending))
        if found:
            return _causal(found, AutoConfig.for_model(**shapes()[found]["config"]))
    near = difflib.get_close_matches(wanted, known, 1, 0.5)
    raise ModelError(
        f"there is no configuration of {text!r}",
        hint=(f"did you mean {known[near[0]]}? " if near else "")
        + f"The kit has {', '.join(shapes())}; any config.json, or a folder with one, will do too",
    )


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
    peft_config: Any = None,
    quantization_config: Any = None,
    **arguments: Any,
) -> Account:
    """Peak memory of one optimizer step of `SFTTrainer`, from the second step on.

    Args:
        model: what `read_config` takes. No weights are read and nothing is computed.
        peft_config: the adapter; by default rank 16 on all linear layers.
        quantization_config: a `BitsAndBytesConfig` of 4 bits; by default NF4, double quantization.
        arguments: those of `Settings`; `length` and `batch` must be given.

    Raises:
        ModelError: no such configuration, or no causal language model.
        SFTHelpersError: an argument that cannot be.
    """
    settings = Settings(**arguments)
    name, config = read_config(model)
    most = getattr(config.get_text_config(), "max_position_embeddings", None)
    if most and settings.length > most:
        raise SFTHelpersError(
            f"{name} has {most:,} positions, a length of {settings.length:,} is impossible",
            hint=f"choose a length of at most {most}",
        )
    adapter, quantization = adapter_and_quantization(settings, peft_config, quantization_config)
    written = [config.to_json_string()]
    for part in (adapter, quantization):
        written.append(json.dumps(part and part.to_dict(), default=str, sort_keys=True))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of libraries, about a run that is not made here
        if (key := (*written[:2], settings.dtype)) not in _shapes:
            _shapes[key] = _shape(config, adapter, settings.dtype)
        parameters, trainable, uniform = _shapes[key]
        layers = config.get_text_config().num_hidden_layers
        followed = _FOLLOWED if uniform and layers > _FOLLOWED else layers
        if (asked := (settings, *written)) not in _steps:
            _steps[asked] = _followed(config, settings, adapter, quantization, followed, written)
    peaks = _of_whole_model(_steps[asked], layers - followed, settings.accumulation > 1)
    moment, top = max(peaks, key=lambda peak: peak[1].total())
    moments: dict[str, int] = {}
    for words, held in peaks:
        moments[words] = max(moments.get(words, 0), held.total())
    return Account(
        name,
        settings,
        {part: top[part] for part in COMPONENTS if top[part]},
        moment,
        moments,
        parameters,
        trainable,
        {
            "model": model,
            "peft_config": peft_config,
            "quantization_config": quantization_config,
        },
    )


def again(account: Account, **changes: Any) -> Account:
    """The same step with some arguments of `predict` changed."""
    return predict(**account.asked | asdict(account.settings) | changes)


def _followed(
    config: PretrainedConfig,
    settings: Settings,
    adapter: Any,
    quantization: Any,
    layers: int,
    written: list[str],
) -> Step:
    """A step of a model with so many layers; another batch or length asks the same model again."""
    from sft_helpers.memory.step import FakeRun

    run = (settings.dtype, settings.checkpointing, settings.optimizer, *written)
    try:
        if run not in _runs:
            _runs.clear()
            _runs[run] = FakeRun(config, settings, adapter, quantization, layers)
        return _runs[run].follow(settings)
    except RuntimeError as problem:
        _runs.clear()
        raise SFTHelpersError(
            f"PyTorch cannot take a step of this model without numbers: {str(problem)[:300]}",
            hint="load the base in the dtype of the precision, or in float32; some architectures"
            " ask for numbers and cannot be predicted",
        ) from problem


def adapter_and_quantization(
    settings: Settings, peft_config: Any = None, quantization_config: Any = None
) -> tuple[Any, Any]:
    """A LoraConfig and a BitsAndBytesConfig for a method, or None: those given, or the usual."""
    from peft import LoraConfig
    from transformers import BitsAndBytesConfig

    adapter = quantization = None
    if settings.method != "full":
        adapter = peft_config or LoraConfig(
            r=16, lora_alpha=32, target_modules="all-linear", task_type="CAUSAL_LM"
        )
    if settings.method == "qlora":
        quantization = quantization_config or BitsAndBytesConfig(
            load_in_4bit=True,
            bnb_4bit_quant_type="nf4",
            bnb_4bit_use_double_quant=True,
            bnb_4bit_compute_dtype=settings.dtype,
        )
        if isinstance(quantization, dict):  # as a config.json has it
            known = quantization.get("quant_method") == "bitsandbytes"
            quantization = BitsAndBytesConfig(**quantization) if known else None
        if not getattr(quantization, "load_in_4bit", False):
            raise SFTHelpersError(
                "only 4-bit bases of bitsandbytes are predicted", hint="use load_in_4bit"
            )
    return adapter, quantization


def _shape(config: PretrainedConfig, adapter: Any, dtype: str) -> tuple[int, int, bool]:
    """Weights of the base, weights that train, and whether all decoder layers are alike."""
    from sft_helpers.memory.model import decoder_layers, skeleton, with_adapter

    model = base = skeleton(config, dtype)
    parameters = sum(weight.numel() for weight in base.parameters())
    layers = decoder_layers(base)
    if adapter is not None:
        model = with_adapter(base, adapter)
    trainable = sum(weight.numel() for weight in model.parameters() if weight.requires_grad)
    kinds = {
        tuple((name, w.shape, w.requires_grad) for name, w in layer.named_parameters())
        for layer in layers
    }
    types = set(getattr(config.get_text_config(), "layer_types", None) or ["one"])
    return parameters, trainable, len(kinds) == len(types) == 1


def _of_whole_model(step: Step, more: int, accumulating: bool) -> list[tuple[str, Parts]]:
    """(part of the step, bytes) of each peak of a model with more layers than were followed.

    Every layer more is one in the middle. It holds its weights and what belongs to them all the
    time, what it keeps between its forward and its backward pass, and its gradients from then on
    (from the first batch on, where several are accumulated). Layers at both ends have the peaks
    that they had; what is highest in between is next to one of them, as the middle rises or falls
    evenly.
    """
    late = step.held + step.gradients
    early = late if accumulating else step.held
    forward, backward = early + step.forward, early + step.backward
    grown = {
        ("the embedding", 0): [early],
        ("the forward pass", 0): [early],
        ("the forward pass", 1): [forward],
        ("the forward pass", 2): [forward],
        ("the loss head", 0): [forward],
        ("the loss head", 1): [backward],
        ("the last norm", 0): [backward],
        ("the backward pass", 2): [backward],
        ("the backward pass", 1): [backward, late],
    }
    return [
        (phase[0], peak + Counter({part: more * size for part, size in layer.items()}))
        for phase, peak in step.peaks.items()
        for layer in grown.get(phase, [late])
    ]
