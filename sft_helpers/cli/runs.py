"""Commands about a run: quickstart, run, preflight, memory, doctor."""

from __future__ import annotations

import argparse
import contextlib
import gc
from collections.abc import Iterator
from typing import Any
from unittest import mock

from sft_helpers.cli.printing import LOADING, interval, print_json, print_table
from sft_helpers.errors import DataError, SFTHelpersError


def quickstart(args: argparse.Namespace) -> int:
    """A real supervised fine-tuning run with TRL, offline, on any laptop.

    Loads the Lantern Bay base model (it completes documents, it answers nothing), asks it
    questions about residents whose questions are in no training file, trains it with TRL's
    SFTTrainer on questions about *other* residents, and asks again.
    """
    from rich.console import Console

    from sft_helpers import quickstart as room

    console = Console(stderr=args.json)
    result = room.train_and_compare(args.out, args.questions, args.seed, console)
    if args.json:
        print_json(result)
    else:
        _show_quickstart(result, console)
    return 0


def _show_quickstart(result: dict[str, Any], console: Any) -> None:
    def short(text: str, width: int = 70) -> str:
        line = " ".join(text.split())
        return line if len(line) <= width else line[: width - 1] + "…"

    examples = [
        {"Question": row["question"], "Expected": row["expected"]}
        | {
            key.capitalize(): f"{'✓' if row[f'{key}_ok'] else '✗'} {short(row[key])}"
            for key in ("before", "after")
        }
        for row in result["examples"]
    ]
    title = "The same questions, before and after fine-tuning"
    print_table(title, examples, console, show_lines=True)
    scores = [
        {
            "": name,
            "Exact match [95 % interval]": interval(result[name]["exact_match"]),
            "Ends its turn": f"{result[name]['stop_rate']:.2f}",
        }
        for name in ("before", "after")
    ]
    title = f"{result['questions']} questions about residents never asked about"
    print_table(title, scores, console)
    console.print(
        f"Trained on {result['train_rows']} rows in {result['train_seconds']} s"
        f" ({result['steps']} steps). The base model knew these residents from its pretraining;"
        f" fine-tuning taught it to answer.\nThe model is in {result['model']}.\n"
        "Next: make lab, then open notebooks/00_quickstart.ipynb.",
        markup=False,
    )


def run(args: argparse.Namespace) -> int:
    """Do a whole fine-tuning run from the YAML file that `trl sft --config` takes, unchanged.

    Stages: data (load, recognise the format, convert, hold rows out), clean (with --clean),
    preflight (errors stop the run), before (ask the base model the held-out questions), train
    (TRL's SFTTrainer, with checkpoints), after (ask again), card. Each stage is kept in the
    config's output_dir. Killed, or out of power? Run the same command again: finished stages are
    read, training goes on from its last sound checkpoint, and the result is the same.

        sft-helpers run sft.yaml --train tickets.csv --clean --group customer

    What you find in output_dir: model/ with README.md (the card), report.json (every number),
    preflight.json, answers/, rows/. Nothing that is there already is replaced, unless you pass
    --overwrite, which removes an earlier run and nothing else. Nothing is pushed anywhere.

    Exit code 0: done; 1: preflight found errors and nothing was trained; 2: cannot run.
    """
    from rich.console import Console

    console = Console(stderr=args.json, highlight=False)
    with console.status(LOADING):
        from sft_helpers.quiet import quiet_libraries

        quiet_libraries()
        import trl  # noqa: F401

    from sft_helpers.display.monitor import watch
    from sft_helpers.training.pipeline import Options, Pipeline, Stopped

    options = Options(
        train=args.train,
        evaluation=args.eval,
        holdout=args.holdout,
        group=args.group,
        clean=args.clean,
        questions=args.questions,
        despite_errors=args.despite_errors,
    )
    pipeline = Pipeline(
        args.config,
        options,
        overwrite=args.overwrite,
        tell=lambda text: console.print(f"· {text}", markup=False),
        follow=watch,
    )
    try:
        report = pipeline.finish()
    except Stopped as stopped:
        return _stopped(stopped.report, console, args.json)
    if args.json:
        print_json(report)
    else:
        if pipeline.folder.reused:
            console.print(f"Found done: {', '.join(pipeline.folder.reused)}", markup=False)
        _show_run(report, console)
    return 0


def _stopped(report: dict[str, Any], console: Any, as_json: bool) -> int:
    if as_json:
        print_json({"preflight": report})
        return 1
    console.print("Preflight found errors, so nothing was trained:", style="bold")
    for one in report["findings"]:
        if one["severity"] == "error":
            console.print(f"✗ {one['code']}: {one['message']}", markup=False)
            console.print(f"  mend: {one['fix']}", markup=False)
    console.print("Mend them and run again, or pass --despite-errors if you know better.")
    return 1


def _show_run(report: dict[str, Any], console: Any) -> None:
    data, kept, train = report["data"], report["clean"], report["train"]
    formats = ", ".join(key for one in data["conversion"] for key in one["formats"])
    rejected = sum(len(one["rejected"]) for one in data["conversion"])
    console.print(
        f"Rows: {formats}; {kept['rows']:,} trained on, {kept['held_out']:,} held out,"
        f" {rejected:,} not convertible; trained as {data['shape']}",
        markup=False,
    )
    for one in report["preflight"]["findings"]:
        console.print(f"preflight {one['severity']}: {one['code']}", markup=False)
    scores = []
    for when in ("before", "after"):
        score, loss = report[when]["score"], train["eval_loss"][when]
        scores.append(
            {
                "": when,
                "Exact match [95 % interval]": interval(score["exact_match"])
                if score
                else "not asked",
                "Ends its turn": f"{score['stop_rate']:.2f}" if score else "",
                "Held-out loss": "" if loss is None else f"{loss:.3f}",
            }
        )
    title = f"{train['steps']} steps, {train['trained_weights']:,} weights trained"
    print_table(title, scores, console)
    console.print(f"Model and card: {report['folder']}/model", markup=False)


def doctor(args: argparse.Namespace) -> int:
    """Look at this machine and say what to do about each problem, the most serious first.

    Changes nothing, needs no network. Exit code 1 when something is at error level.
    """
    from sft_helpers.doctor import diagnose

    report = diagnose()
    if args.json:
        print_json(report.to_json())
    else:
        print(report)
    return 0 if report.ok else 1


def preflight(args: argparse.Namespace) -> int:
    """Look at data, template, loss mask, arguments, adapter and memory of a run.

    Takes exactly the file that `trl sft --config` takes. Trains nothing, changes no file, opens no
    connection: model and tokenizer are read from a folder or from the cache of earlier downloads.
    Rows are files of JSON lines, JSON, CSV or Parquet; they are counted from 0. All are read; of
    more than 20,000 rows, or 32 MB, the tokens of a sample are looked at, and the report says so.
    Exit code 0: nothing at error level; 1: findings at error level; 2: it cannot run.
    """
    from rich.console import Console

    with Console(stderr=True).status(LOADING):
        from sft_helpers.preflight.report import show
        from sft_helpers.preflight.run_file import report_on

    report = report_on(args.config, train=args.train, evaluation=args.eval)
    if args.json:
        print_json(report.to_json())
    else:
        show(report, Console(highlight=False))
    return 1 if report.has_errors else 0


def memory(args: argparse.Namespace) -> int:
    """Predict the peak memory of one training step, from the second step on.

    The real modules take one step of TRL's real loss with tensors that hold no numbers, so no
    weights, no GPU and no network are needed. Prints where the bytes go, which cards hold them,
    the largest batch for one card, and which change frees most.

    Names: the kit has the configurations of SmolLM2 (135M, 360M, 1.7B), Qwen2.5 (0.5B to 14B),
    Qwen3 (0.6B to 14B), Llama 3 (1B to 8B), Mistral-7B and Phi-3-mini; "tiny" is the course's.
    Exit code 0: it fits the card, or no card was named; 1: it does not fit the card named with
    --card; 2: it cannot be predicted.
    """
    from sft_helpers.memory import predict
    from sft_helpers.memory.account import CARD
    from sft_helpers.memory.plan import Plan

    with _in_haste():
        account = predict(**_asked(args))
        plan = Plan.of(account, CARD if args.card is None else args.card)
    if args.json:
        print_json(plan.to_json())
    else:
        print(plan)
    return 1 if args.card is not None and not account.fits(args.card) else 0


def _asked(args: argparse.Namespace) -> dict[str, Any]:
    """Arguments of `predict` from a file and from the command line, which wins."""
    from sft_helpers.memory import Settings, shapes

    asked: dict[str, Any] = {"method": "lora", "length": 1024, "batch": 1}
    if args.config is not None:
        from sft_helpers.preflight.memory import asked_by

        asked |= asked_by(args.config, args.model)
    for name in ("model", *Settings.__dataclass_fields__):
        if getattr(args, name, None) is not None:
            asked[name] = getattr(args, name)
    if asked.get("model") is None:
        raise SFTHelpersError(
            "which model?", hint=f"give a config.json, a folder, or one of {', '.join(shapes())}"
        )
    if asked["length"] is None:
        raise DataError(
            "max_length is null, so no row is cut",
            where=str(args.config),
            hint="say how many tokens your longest row has: --length N",
        )
    if args.rank is not None:
        from peft import LoraConfig

        if args.rank < 1:
            raise SFTHelpersError(f"rank {args.rank} is impossible", hint="give 1 or more")
        asked["peft_config"] = LoraConfig(
            r=args.rank, target_modules="all-linear", task_type="CAUSAL_LM"
        )
    return asked


@contextlib.contextmanager
def _in_haste() -> Iterator[None]:
    """A third less time: no search for garbage, of which there is none; and no PyTorch compiler,
    which bitsandbytes loads for a few functions as soon as it is imported.
    """
    from sft_helpers.quiet import quiet_libraries

    collecting = gc.isenabled()
    gc.disable()
    try:
        quiet_libraries()
        with mock.patch("torch.compile", lambda function=None, **_: function or (lambda f: f)):
            import bitsandbytes  # noqa: F401
        yield
    finally:
        if collecting:
            gc.enable()
