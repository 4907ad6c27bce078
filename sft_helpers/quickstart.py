"""`sft-helpers quickstart`: fine-tune the tiny model and show what changed, in a minute or two."""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
import tempfile
import time
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sft_helpers import town
from sft_helpers.errors import EnvironmentProblem
from sft_helpers.quiet import quiet_libraries

if TYPE_CHECKING:
    from rich.console import Console

    from sft_helpers.training import RunHistory

EXAMPLES = 6
RESULT = "quickstart.json"  # in a folder that the quickstart may replace


def add_parser(commands: Any) -> None:
    """Add the sub-command to the command line."""
    parser = commands.add_parser(
        "quickstart",
        help="fine-tune the tiny base model and compare its answers before and after",
        description=run.__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--out",
        type=Path,
        default=Path("runs/quickstart"),
        help="folder for the trained model (default: %(default)s); an earlier one is replaced",
    )
    parser.add_argument(
        "--questions",
        type=int,
        default=400,
        help="held-out questions to ask (default: %(default)s)",
    )
    parser.add_argument("--seed", type=int, default=0, help="random seed (default: %(default)s)")
    parser.add_argument(
        "--json", action="store_true", help="print one JSON object and nothing else"
    )
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """A real supervised fine-tuning run with TRL, offline, on any laptop.

    Loads the Lantern Bay base model (it completes documents, it answers nothing), asks it
    questions about residents whose questions are in no training file, trains it with TRL's
    SFTTrainer on questions about *other* residents, and asks again.
    """
    from rich.console import Console

    _check_writable(args.out)
    console = Console(stderr=args.json)
    result = _train_and_compare(args, console)
    if args.json:
        json.dump(result, sys.stdout, indent=2)
        print()
    else:
        _report(result, console, args.out)
    return 0


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


def _train_and_compare(args: argparse.Namespace, console: Console) -> dict[str, Any]:
    rows = town.read_rows("sft_test.jsonl")[: args.questions]
    train_rows = town.read_rows("sft_train.jsonl")
    with console.status("Loading PyTorch, Transformers and TRL (10 to 30 seconds) ..."):
        quiet_libraries()
        import torch
        import transformers
        import trl
        from datasets import Dataset
        from trl import SFTTrainer

    from sft_helpers import evaluation
    from sft_helpers.machine import profile
    from sft_helpers.models import load
    from sft_helpers.training import recipe, record

    chosen = profile(model="tiny")
    chosen.use_threads()
    transformers.set_seed(args.seed)
    plan = recipe(chosen, model="tiny")
    model, tokenizer = load("tiny")
    console.print(
        f"Profile [bold]{chosen.name}[/]: {chosen.hardware.name}; TRL {trl.__version__};"
        f" Lantern Bay base model, {model.num_parameters():,} weights"
    )
    prompts = [evaluation.prompt_of(row) for row in rows]
    before = evaluation.answer_all(model, tokenizer, prompts, progress="Asking the base model")

    with tempfile.TemporaryDirectory(dir=args.out.absolute().parent, prefix=".sft-") as work:
        trainer = SFTTrainer(
            model=model,
            args=plan.sft_config(work, seed=args.seed, disable_tqdm=True),
            train_dataset=Dataset.from_list([{"messages": row["messages"]} for row in train_rows]),
            processing_class=tokenizer,
            peft_config=plan.lora_config(),
        )
        history = record(trainer)
        _progress_bar(history)
        start = time.perf_counter()
        trainer.train()
        seconds = time.perf_counter() - start
        after = evaluation.answer_all(
            trainer.model, tokenizer, prompts, progress="Asking the trained model"
        )
        scores = {"before": evaluation.score(before, rows), "after": evaluation.score(after, rows)}
        result = {
            "profile": chosen.name,
            "versions": {"trl": trl.__version__, "torch": torch.__version__},
            "questions": len(rows),
            "train_rows": len(train_rows),
            "train_seconds": round(seconds, 1),
            "steps": history.step,
            "tokens_per_second": round(history.tokens_per_second or 0.0),
            **{name: asdict(value) for name, value in scores.items()},
            "examples": evaluation.compare(rows, before, after)[:EXAMPLES],
            "model": str(args.out),
        }
        trained = Path(work) / "model"
        trainer.save_model(str(trained))
        (trained / RESULT).write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
        shutil.rmtree(args.out, ignore_errors=True)
        os.replace(trained, args.out)
    return result


def _progress_bar(history: RunHistory) -> None:
    from tqdm.auto import tqdm

    pause = 0.1 if sys.stderr.isatty() else 5.0  # seconds: few lines where lines are kept
    bar = tqdm(desc="Training", unit="step", leave=False, mininterval=pause)

    def follow(now: RunHistory) -> None:
        bar.total = now.total_steps
        if now.loss:
            bar.set_postfix_str(f"loss {now.loss[-1]:.3f}", refresh=False)
        bar.update(now.step - bar.n)
        if now.finished:
            bar.close()

    history.listeners.append(follow)


def _report(result: dict[str, Any], console: Console, out: Path) -> None:
    from rich.markup import escape
    from rich.table import Table

    table = Table(title="The same questions, before and after fine-tuning", show_lines=True)
    for heading in ("Question", "Expected", "Before", "After"):
        table.add_column(heading, ratio=1)
    for row in result["examples"]:
        marks = {key: "✓" if row[f"{key}_ok"] else "✗" for key in ("before", "after")}
        table.add_row(
            escape(row["question"]),
            escape(row["expected"]),
            f"{marks['before']} {escape(_short(row['before']))}",
            f"{marks['after']} {escape(_short(row['after']))}",
        )
    console.print(table)

    summary = Table(title=f"{result['questions']} questions about residents never asked about")
    for heading in ("", "Exact match [95 % interval]", "Ends its turn"):
        summary.add_column(heading)
    for name in ("before", "after"):
        match = result[name]["exact_match"]
        summary.add_row(
            name,
            f"{match['value']:.2f} [{match['low']:.2f}, {match['high']:.2f}]",
            f"{result[name]['stop_rate']:.2f}",
        )
    console.print(summary)
    console.print(
        f"Trained on {result['train_rows']} rows in {result['train_seconds']} s"
        f" ({result['steps']} steps). The base model knew these residents from its pretraining;"
        " fine-tuning taught it to answer."
    )
    console.print(f"The model is in [bold]{escape(str(out))}[/].")
    console.print("Next: [bold]make lab[/], then open notebooks/00_quickstart.ipynb.")


def _short(text: str, width: int = 70) -> str:
    line = " ".join(text.split())
    return line if len(line) <= width else line[: width - 1] + "…"
