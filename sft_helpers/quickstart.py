"""The quickstart: fine-tune the tiny model and see what changed, in a minute or two."""

from __future__ import annotations

import json
import os
import shutil
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sft_helpers import town
from sft_helpers.errors import DataError, EnvironmentProblem
from sft_helpers.quiet import quiet_libraries

if TYPE_CHECKING:
    from rich.console import Console

    from sft_helpers.training.watch import History

EXAMPLES = 6
RESULT = "quickstart.json"  # in a folder that the quickstart may replace


def _check_writable(out: Path) -> None:
    parent = out.absolute().parent
    try:
        parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=parent):
            pass
    except OSError as problem:
        raise EnvironmentProblem(
            f"cannot write here ({problem.strerror})",
            where=str(parent),
            hint="choose another folder with --out FOLDER",
        ) from None
    if out.exists() and any(out.iterdir()) and not (out / RESULT).exists():
        raise EnvironmentProblem(
            "this folder holds something that the quickstart did not make",
            where=str(out),
            hint="choose another folder with --out FOLDER",
        )


def train_and_compare(out: Path, questions: int, seed: int, console: Console) -> dict[str, Any]:
    """Ask, train, ask again, and keep the trained model in `out`.

    Args:
        out: folder of the model; one that an earlier quickstart made is replaced.
        questions: held-out questions to ask, 1 or more.
        seed: seed of Python, NumPy and torch.
        console: where the run is told.

    Raises:
        EnvironmentProblem: `out` cannot be written, or holds something else.
        DataError: no question is asked.
    """
    if questions < 1:
        raise DataError("a score needs at least one question", where="--questions")
    _check_writable(out)
    rows = town.read_rows("sft_test.jsonl")[:questions]
    train_rows = town.read_rows("sft_train.jsonl")
    with console.status("Loading PyTorch, Transformers and TRL (10 to 30 seconds) ..."):
        quiet_libraries()
        import torch
        import transformers
        import trl
        from datasets import Dataset
        from trl import SFTTrainer

    from sft_helpers.evaluation import ask
    from sft_helpers.machine import profile
    from sft_helpers.models import load
    from sft_helpers.training.recipe import recipe
    from sft_helpers.training.watch import record

    chosen = profile(model="tiny")
    chosen.use_threads()
    transformers.set_seed(seed)
    plan = recipe(chosen, model="tiny")
    model, tokenizer = load("tiny")
    console.print(
        f"Profile [bold]{chosen.name}[/]: {chosen.hardware.name}; TRL {trl.__version__};"
        f" Lantern Bay base model, {model.num_parameters():,} weights"
    )
    before = ask(model, tokenizer, rows, progress="Asking the base model")

    with tempfile.TemporaryDirectory(dir=out.absolute().parent, prefix=".sft-") as work:
        trainer = SFTTrainer(
            model=model,
            args=plan.sft_config(work, seed=seed, disable_tqdm=True),
            train_dataset=Dataset.from_list([{"messages": row["messages"]} for row in train_rows]),
            processing_class=tokenizer,
            peft_config=plan.lora_config(),
        )
        history = record(trainer)
        _progress_bar(history)
        start = time.perf_counter()
        trainer.train()
        seconds = time.perf_counter() - start
        after = ask(trainer.model, tokenizer, rows, progress="Asking the trained model")
        result = {
            "profile": chosen.name,
            "versions": {"trl": trl.__version__, "torch": torch.__version__},
            "questions": len(rows),
            "train_rows": len(train_rows),
            "train_seconds": round(seconds, 1),
            "steps": history.step,
            "tokens_per_second": round(history.tokens_per_second or 0.0),
            "before": before.summary(),
            "after": after.summary(),
            "examples": before.compare(after)[:EXAMPLES],
            "model": str(out),
        }
        trained = Path(work) / "model"
        trainer.save_model(str(trained))
        (trained / RESULT).write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
        shutil.rmtree(out, ignore_errors=True)
        os.replace(trained, out)
    return result


def _progress_bar(history: History) -> None:
    from tqdm.auto import tqdm

    pause = 0.1 if sys.stderr.isatty() else 5.0  # seconds: few lines where lines are kept
    bar = tqdm(desc="Training", unit="step", leave=False, mininterval=pause)

    def follow(now: History) -> None:
        bar.total = now.total_steps
        if now.loss:
            bar.set_postfix_str(f"loss {now.loss[-1]:.3f}", refresh=False)
        bar.update(now.step - bar.n)
        if now.finished:
            bar.close()

    history.listeners.append(follow)
