"""What is given to preflight, in one form: rows, arguments, model, tokenizer."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from sft_helpers.errors import DataError, ModelError

STREAMED = 10_000  # rows of a stream that are looked at


@contextlib.contextmanager
def offline() -> Iterator[None]:
    """No connection to the hub, whatever the environment says; restored afterwards."""
    import datasets.config
    import huggingface_hub.constants

    places = [(datasets.config, "HF_HUB_OFFLINE"), (huggingface_hub.constants, "HF_HUB_OFFLINE")]
    before = [getattr(module, name) for module, name in places]
    for module, name in places:
        setattr(module, name, True)
    try:
        yield
    finally:
        for (module, name), value in zip(places, before, strict=True):
            setattr(module, name, value)


def rows_of(dataset: Any) -> tuple[Any, int | None]:
    """The rows as a `Dataset`, and how many were taken of a stream (None for a data set).

    Raises:
        DataError: several splits, no rows, or rows with images.
    """
    from datasets import Dataset, IterableDataset

    if isinstance(dataset, Mapping):
        raise DataError(
            "this is a mapping of splits, not one data set",
            hint=f"choose one, such as dataset[{next(iter(dataset), 'train')!r}]",
        )
    sampled = None
    if isinstance(dataset, IterableDataset):
        dataset = list(itertools.islice(dataset, STREAMED))
        sampled = len(dataset)
    if not isinstance(dataset, Dataset):
        dataset = _in_memory(list(dataset))
    if {"image", "images"} & set(dataset.column_names):
        raise DataError(
            "these rows hold images, and preflight looks at text only",
            hint="take the first step of the run itself as the test",
        )
    if len(dataset) == 0:
        raise DataError("the data set has no rows", hint="look at the file, and at its split")
    return dataset, sampled


def _in_memory(rows: Sequence[Any]) -> Any:
    from sft_helpers.formats import to_dataset

    return to_dataset(rows)


def arguments_of(args: Any) -> Any:
    """An `SFTConfig`; plain TrainingArguments are turned into one as TRL does it.

    Raises:
        DataError: it is neither.
    """
    from transformers import TrainingArguments
    from trl import SFTConfig

    if isinstance(args, SFTConfig):
        return args
    if isinstance(args, TrainingArguments):  # as in SFTTrainer.__init__
        return SFTConfig(**(args.to_dict() | {"hub_token": args.hub_token}))
    raise DataError(
        f"`args` is a {type(args).__name__}", hint="pass the SFTConfig that SFTTrainer would get"
    )


def model_of(model: Any) -> tuple[Any, str | None, Any, Any]:
    """(model or None, name, configuration, generation configuration) from any of the three.

    Raises:
        ModelError: it is none of them, or not on the disk.
    """
    from transformers import AutoConfig, GenerationConfig, PretrainedConfig

    if isinstance(model, str | Path):
        from sft_helpers.models import resolve

        name = resolve(str(model)) if str(model) in ("tiny", "smollm2") else str(model)
        try:
            config = AutoConfig.from_pretrained(name, local_files_only=True)
        except (OSError, ValueError, KeyError) as problem:
            raise _unreadable("model configuration", name, problem) from problem
        return None, name, config, _generation(GenerationConfig, name, config)
    if isinstance(model, PretrainedConfig):
        known = getattr(model, "_name_or_path", None) or None
        return None, known, model, GenerationConfig.from_model_config(model)
    if hasattr(model, "config") and hasattr(model, "parameters"):
        known = getattr(model.config, "_name_or_path", None) or None
        return model, known, model.config, getattr(model, "generation_config", None)
    raise ModelError(
        f"`model` is a {type(model).__name__}",
        hint="pass a model, its configuration, or its name",
    )


def _generation(kind: Any, name: str, config: Any) -> Any:
    try:
        return kind.from_pretrained(name, local_files_only=True)
    except (OSError, ValueError):
        return kind.from_model_config(config)


def tokenizer_of(name: str | None) -> Any:
    """The tokenizer that belongs to a model, read from the disk.

    Raises:
        ModelError: there is none, or it is not on the disk.
    """
    from transformers import AutoTokenizer

    if not name:
        raise ModelError("no tokenizer, and the model has no name", hint="pass the tokenizer")
    try:
        return AutoTokenizer.from_pretrained(name, local_files_only=True, trust_remote_code=False)
    except (OSError, ValueError, KeyError) as problem:
        raise _unreadable("tokenizer", name, problem) from problem


def _unreadable(what: str, name: str, problem: Exception) -> ModelError:
    return ModelError(
        f"the {what} cannot be read without a network ({' '.join(str(problem).split())[:160]})",
        where=name,
        hint="give a folder, or download it once: `hf download NAME --include '*.json'`",
    )
