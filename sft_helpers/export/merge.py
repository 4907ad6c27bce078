"""Merge an adapter the way it was trained, and save what a server reads."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sft_helpers.errors import DataError, EnvironmentProblem, ModelError

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

DTYPES = ("float32", "bfloat16", "float16")
RECORD = "run.json"  # what `sft-helpers run` writes beside the model: the arguments of `model_card`


def merge(
    folder: str | Path,
    *,
    base: str | None = None,
    record: Mapping[str, Any] | None = None,
    qlora: bool = False,
    dtype: str = "float32",
) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """Load what training left behind as one plain model: an adapter is merged into its base.

    The base is loaded as in training: if it was in 4 or 8 bits, the adapter learned to live with
    the rounded weights, so they are dequantized and the adapter is added to those. The sum is made
    in fp32 whatever `dtype` is, and rounded once (notebook 08 shows what other ways lose).

    Args:
        folder: an adapter with its tokenizer, as `trainer.save_model` writes it, or a whole model.
        base: the base model of the adapter; default the one that the adapter names.
        record: the recorded run, as `read_record` gives it; its recipe says how the base was
            loaded. Default the one in the folder, if there is one.
        qlora: without a record: the base was in NF4 with double quantization, as in the recipes.
        dtype: type of the weights that come back: one of `DTYPES`.

    Returns:
        The model, in evaluation mode, and the tokenizer of training.

    Raises:
        ModelError: adapter or base cannot be loaded, or the dtype is unknown.
        DataError: `qlora` contradicts the record.
    """
    if dtype not in DTYPES:
        raise ModelError(f"unknown dtype {dtype!r}", hint=f"one of {', '.join(DTYPES)}")
    import torch

    from sft_helpers.models import load

    place = Path(folder)
    if adapter_base(place) is not None:
        if record is None and (place / RECORD).is_file():
            record = read_record(place / RECORD)
        model, tokenizer = _with_adapter(place, base, record, qlora)
    else:
        model, tokenizer = load(str(folder))
    return model.to(getattr(torch, dtype)).eval(), tokenizer


def read_record(file: str | Path) -> dict[str, Any]:
    """A recorded run: the arguments of `model_card`, from JSON.

    Raises:
        DataError: it cannot be read.
    """
    try:
        found = json.loads(Path(file).read_text("utf-8"))
        if not isinstance(found, dict):
            raise ValueError("it is no JSON object")
    except (OSError, ValueError) as problem:
        raise DataError(
            f"this recorded run cannot be read ({problem})",
            where=str(file),
            hint="it is JSON: the arguments of sft_helpers.export.merge.model_card",
        ) from None
    return found


def adapter_base(folder: str | Path) -> str | None:
    """The base model that a saved adapter names, perhaps ""; None for a whole model."""
    file = Path(folder) / "adapter_config.json"
    if not file.is_file():
        return None
    return str(json.loads(file.read_text("utf-8")).get("base_model_name_or_path") or "")


def _with_adapter(
    place: Path, base: str | None, record: Mapping[str, Any] | None, qlora: bool
) -> tuple[Any, PreTrainedTokenizerBase]:
    from peft import PeftModel
    from transformers import AutoTokenizer
    from trl import get_quantization_config

    from sft_helpers.models import load

    source = base or adapter_base(place)
    if not source:
        raise ModelError("the adapter names no base model", where=str(place), hint="pass base=...")
    trained = _loaded_as(source, record, qlora)
    quantization = get_quantization_config(trained)
    if qlora and record is not None and not trained.load_in_4bit:
        raise DataError(
            "its record says that the base was not in 4 bits", where=str(place), hint="no --qlora"
        )
    model, tokenizer = load(source, dtype=trained.dtype or "float32", quantization=quantization)
    if quantization is not None:
        model = model.dequantize()
    model = model.float()
    if (place / "tokenizer_config.json").is_file():
        tokenizer = AutoTokenizer.from_pretrained(str(place), local_files_only=True)
    if len(tokenizer) > model.get_input_embeddings().num_embeddings:
        model.resize_token_embeddings(len(tokenizer))
    try:
        merged = PeftModel.from_pretrained(model, str(place)).merge_and_unload(safe_merge=True)
    except (ValueError, RuntimeError, OSError) as problem:
        raise ModelError(
            f"the adapter does not fit this base: {' '.join(str(problem).split())[:200]}",
            where=str(place),
            hint=f"it was trained on {source}; pass base= if that has moved",
        ) from problem
    return merged, tokenizer


def _loaded_as(source: str, record: Mapping[str, Any] | None, qlora: bool) -> Any:
    """TRL's `ModelConfig` of the run, as far as it says how the base was loaded."""
    from transformers import AutoConfig
    from trl import ModelConfig

    from sft_helpers.models import resolve

    recipe = dict(record.get("recipe") or {}) if record is not None else {}
    if record is None and qlora:
        its_own = AutoConfig.from_pretrained(resolve(source)).dtype or "float32"
        recipe = {"load_in_4bit": True, "use_bnb_nested_quant": True}
        recipe["dtype"] = str(its_own).removeprefix("torch.")
    names = ("dtype", "load_in_4bit", "load_in_8bit", "bnb_4bit_quant_type",
             "use_bnb_nested_quant", "bnb_4bit_quant_storage")  # fmt: skip
    return ModelConfig(**{name: recipe[name] for name in names if name in recipe})


def end_of_turn(tokenizer: PreTrainedTokenizerBase) -> int:
    """Id of the token with which the chat template ends an answer.

    Raises:
        ModelError: there is no template, or it ends an answer without a special token.
    """
    from sft_helpers.templates.checks import traits

    behind = traits(tokenizer).end
    ids = tokenizer(behind, add_special_tokens=False)["input_ids"] if behind else []
    special = set(tokenizer.all_special_ids) | set(tokenizer.added_tokens_decoder)
    if not ids or ids[0] not in special:
        raise ModelError(
            f"the chat template ends an answer with {behind!r}, which no single token stands for",
            where=str(tokenizer.name_or_path),
            hint="a server needs a stop text, then: set it in its own configuration",
        )
    return int(ids[0])


def save(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, out: str | Path) -> None:
    """Save model, tokenizer, chat template and generation config into an empty folder.

    The generation config's end token becomes the end of a turn, beside those it names already: a
    server that reads this file stops where training ended answers.

    Raises:
        DataError: the folder holds something.
        ModelError: no chat template, or the model still has its adapter.
        EnvironmentProblem: the folder cannot be written.
    """
    from sft_helpers.models import require_chat_template

    require_chat_template(tokenizer)
    if hasattr(model, "peft_config"):
        raise ModelError("this model still has its adapter", hint="merge first: export.merge")
    place = Path(out)
    if place.exists() and (not place.is_dir() or any(place.iterdir())):
        raise DataError("this exists already", where=str(place), hint="choose another folder")
    known = model.generation_config.eos_token_id
    ends = [end_of_turn(tokenizer), *(known if isinstance(known, list) else [known])]
    ends = list(dict.fromkeys(token for token in ends if token is not None))
    model.generation_config.eos_token_id = ends if len(ends) > 1 else ends[0]
    model.config.use_cache = True
    try:
        model.save_pretrained(place)
        tokenizer.save_pretrained(place)
    except OSError as problem:
        raise EnvironmentProblem(
            f"cannot write ({problem.strerror or problem})",
            where=str(place),
            hint="check permissions and free space",
        ) from None
