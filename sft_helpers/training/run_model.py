"""What `sft-helpers run` does with a model: train it with checkpoints, save it, ask it."""

from __future__ import annotations

import contextlib
import copy
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sft_helpers.training.run_folder import remove

if TYPE_CHECKING:
    from datasets import Dataset


Row = dict[str, Any]


def fetch(model: str) -> None:
    """Bring the small files of a hub model into the cache, since preflight opens no connection.

    Raises:
        ModelError: they cannot be had.
    """
    if Path(model).is_dir():
        return
    from transformers import AutoConfig, AutoTokenizer, GenerationConfig

    from sft_helpers.models import refused

    try:
        AutoConfig.from_pretrained(model, trust_remote_code=False)
        AutoTokenizer.from_pretrained(model, trust_remote_code=False)
    except (OSError, ValueError, KeyError, ImportError) as problem:
        raise refused(model, problem) from problem
    with contextlib.suppress(OSError):  # not every model has one
        GenerationConfig.from_pretrained(model)


def checkpointed(args: Any, place: Path, given: Mapping[str, Any]) -> Any:
    """A copy of the arguments that saves checkpoints into `place`, so that the run can go on.

    Where the config does not say how often, it is every five logging intervals: a checkpoint on a
    logging step keeps the logged losses of a resumed run those of an unbroken one.
    """
    from transformers.trainer_utils import SaveStrategy

    changed = copy.copy(args)
    changed.output_dir = str(place)
    changed.disable_tqdm = True
    changed.push_to_hub = False
    changed.save_total_limit = args.save_total_limit or 2
    if changed.save_strategy == SaveStrategy.NO or not {"save_steps", "save_strategy"} & set(given):
        changed.save_strategy = SaveStrategy.STEPS
        changed.save_steps = max(1, int(args.logging_steps)) * 5
    return changed


def build_trainer(args: Any, model: Any, train: Dataset, held: Dataset | None) -> Any:
    """The `SFTTrainer` that `trl sft` would build (trl/scripts/sft.py).

    Args:
        args: the `SFTConfig`, from `checkpointed`.
        model: TRL's `ModelConfig`.
        train, held: rows to train on and to score with.
    """
    import transformers
    from trl import SFTTrainer, get_peft_config, get_quantization_config

    from sft_helpers.models import exact_inference

    args.model_init_kwargs = {
        "revision": model.model_revision,
        "attn_implementation": model.attn_implementation,
        "dtype": model.dtype,
        **({"device_map": "cpu"} if args.use_cpu else {}),  # else 4 bits go to a GPU
        **(args.model_init_kwargs or {}),
    }
    transformers.set_seed(args.seed)  # a new adapter is random: the same at each attempt
    trainer = SFTTrainer(
        model=model.model_name_or_path,
        args=args,
        train_dataset=train,
        eval_dataset=held,
        quantization_config=get_quantization_config(model),
        peft_config=get_peft_config(model),
    )
    exact_inference(trainer.model)  # it is evaluated before it trains
    return trainer


def train_and_save(trainer: Any, place: Path, follow: Callable[[Any], Any]) -> Row:
    """Train on from the last sound checkpoint, save the model into `place`, and tell what happened.

    Args:
        trainer: from `build_trainer`.
        place: folder for the model; it is replaced whole or not at all.
        follow: called with the trainer before it trains, such as `watch`.
    """
    from sft_helpers.errors import ModelError
    from sft_helpers.training.checkpoints import last_sound, resume

    checkpoints = Path(trainer.args.output_dir)
    try:
        last_sound(checkpoints)
    except ModelError:  # killed while it wrote the first one: nothing to go on from
        remove(checkpoints)
    follow(trainer)
    held = trainer.eval_dataset is not None
    before = trainer.evaluate()["eval_loss"] if held else None
    resume(trainer, say=False)
    log = [dict(entry) for entry in trainer.state.log_history]
    after = trainer.evaluate()["eval_loss"] if held else None
    part = place.with_name(f"{place.name}.part")
    remove(part)
    trainer.save_model(str(part))
    for name in ("training_args.bin", "README.md"):  # pickled; and TRL's card, not ours
        remove(part / name)
    remove(place)
    os.replace(part, place)
    weights = trainer.model.parameters()
    return {
        "steps": trainer.state.global_step,
        "losses": {str(entry["step"]): entry["loss"] for entry in log if "loss" in entry},
        "eval_loss": {"before": before, "after": after},
        "trained_weights": sum(one.numel() for one in weights if one.requires_grad),
    }


def ask(
    source: str, rows: Sequence[Row], model: Any, *, cpu: bool, progress: str | None = None
) -> tuple[Row, list[Row]]:
    """The score of a model on rows that end with an answer, and what it said to each.

    Answers may be as long as the longest expected one and a few tokens more, 512 at most.

    Args:
        source: folder or hub id of the model to ask.
        rows: conversations; a name in `resident` groups rows for the interval.
        model: TRL's `ModelConfig`, for the type of the weights and the quantization.
        cpu: leave the model on the CPU even if there is a GPU.
        progress: text before a progress bar; None shows no bar.

    Returns:
        The score (None if there is nothing to ask, or no chat template), and the answers.
    """
    import torch
    from trl import get_quantization_config

    from sft_helpers.evaluation import ask
    from sft_helpers.models import load

    if not rows:
        return {"score": None, "why": "no row was held out"}, []
    loaded, tokenizer = load(
        source,
        dtype=model.dtype or "float32",
        device="cuda" if torch.cuda.is_available() and not cpu else None,
        quantization=get_quantization_config(model),
    )
    if tokenizer.chat_template is None:
        return {"score": None, "why": "the tokenizer has no chat template"}, []
    longest = max(len(tokenizer(row["messages"][-1]["content"])["input_ids"]) for row in rows)
    answers = ask(loaded, tokenizer, rows, max_new_tokens=min(longest + 8, 512), progress=progress)
    told = [
        {"question": line["question"], "expected": line["expected"],
         "answer": line["after"], "right": line["after_ok"]}
        for line in answers.compare(answers)
    ]  # fmt: skip
    return {"score": answers.summary()}, told
