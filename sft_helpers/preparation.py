"""A real `SFTTrainer` that only prepares data: no weights needed, nothing of yours changed."""

from __future__ import annotations

import contextlib
import copy
import logging
import random
import tempfile
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from sft_helpers.errors import SFTHelpersError

if TYPE_CHECKING:
    from datasets import Dataset
    from transformers import PreTrainedTokenizerBase
    from trl import SFTConfig


def changed(args: SFTConfig, changes: Mapping[str, Any]) -> SFTConfig:
    """A copy of the arguments; built anew they would warn and round again."""
    changed = copy.copy(args)
    for name, value in changes.items():
        setattr(changed, name, value)
    return changed


# What has no influence on the preparation, and would cost time, write files or ask for a GPU.
_QUIET = {
    "report_to": [],
    "push_to_hub": False,
    "eval_strategy": "no",
    "save_strategy": "no",
    "load_best_model_at_end": False,
    "torch_compile": False,
    "use_liger_kernel": False,
    "activation_offloading": False,
    "gradient_checkpointing": False,
    "disable_tqdm": True,
    "model_init_kwargs": None,
    "dataset_num_proc": None,
}


def trainer(
    dataset: Dataset,
    tokenizer: PreTrainedTokenizerBase,
    args: SFTConfig,
    changes: Mapping[str, Any],
    formatting_func: Callable[[dict[str, Any]], str] | None,
) -> Any:
    """A real `SFTTrainer` that has prepared `dataset`; its model is worth nothing."""
    from transformers import LlamaConfig, LlamaForCausalLM
    from trl import SFTTrainer

    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=2,
        intermediate_size=2,
        num_hidden_layers=1,
        num_attention_heads=1,
        num_key_value_heads=1,
    )
    with tempfile.TemporaryDirectory(prefix="sft-view-") as folder, untouched():
        return SFTTrainer(
            model=LlamaForCausalLM(config),
            args=changed(args, {**_QUIET, "output_dir": folder, **changes}),
            train_dataset=dataset,
            processing_class=tokenizer,
            formatting_func=formatting_func,
        )


@contextlib.contextmanager
def untouched() -> Iterator[None]:
    """Give back the random state, which `SFTTrainer` sets anew."""
    import torch

    python, numeric = random.getstate(), np.random.get_state()
    with torch.random.fork_rng(), quiet_datasets():
        try:
            yield
        finally:
            random.setstate(python)
            np.random.set_state(numeric)


@contextlib.contextmanager
def quiet_datasets() -> Iterator[None]:
    """Hide the progress bars of datasets for a while."""
    import datasets

    hide = not datasets.are_progress_bars_disabled()
    if hide:
        datasets.disable_progress_bars()
    try:
        yield
    finally:
        if hide:
            datasets.enable_progress_bars()


@contextlib.contextmanager
def listening(said: list[str]) -> Iterator[None]:
    """Collect TRL's warnings about the data instead of printing them."""
    logger = logging.getLogger("trl.trainer.sft_trainer")
    handler = logging.Handler(logging.WARNING)
    handler.emit = lambda record: said.append(record.getMessage())  # type: ignore[method-assign]
    speaks = logger.propagate
    logger.addHandler(handler)
    logger.propagate = False
    try:
        yield
    finally:
        logger.removeHandler(handler)
        logger.propagate = speaks


def first_bad(prepare: Callable[[int], Any], dataset: Dataset) -> int:
    """Number of the first row that the trainer refuses, found by halving."""
    good, bad = 0, len(dataset)
    while bad - good > 1:
        middle = (good + bad) // 2
        try:
            prepare(middle)
        except Exception:
            bad = middle
        else:
            good = middle
    return bad - 1


_HINTS = [
    (
        "chat_template is not set",
        "set tokenizer.chat_template or SFTConfig(chat_template_path=...)",
    ),
    ("expected string or bytes-like", "the tokenizer has no chat template: set one"),
    (
        "not training-compatible",
        "give the template {% generation %} markers, or store rows as prompt and completion",
    ),
    (
        "not conversational",
        "assistant_only_loss needs messages, or prompt and completion as messages",
    ),
    ("list index out of range", "a list of messages is empty"),
    ("endswith first arg must be str", "the tokenizer has no end token: set tokenizer.eos_token"),
    ("no assistant tokens", "this row has no assistant turn: drop it or add one"),
]


def explain(error: Exception, row: int | None) -> str:
    """TRL's own words, the row, and what to do where that is known."""
    words = " ".join(str(error).split()) or "no message"
    said = f"{type(error).__name__}: {words if len(words) < 400 else words[:399] + '…'}"
    hint = next((advice for sign, advice in _HINTS if sign in words), None)
    place = None if row is None else f"row {row}"
    return str(SFTHelpersError(f"SFTTrainer refuses the data ({said})", where=place, hint=hint))
