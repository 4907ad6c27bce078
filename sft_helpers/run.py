"""`sft-helpers run`: from a config file of `trl sft` to a scored model with its card."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sft_helpers.quiet import quiet_libraries

if TYPE_CHECKING:
    from rich.console import Console


def add_parser(commands: Any) -> None:
    """Add the sub-command to the command line."""
    parser = commands.add_parser(
        "run",
        help="preflight, train through TRL, score before and after, and write the model card",
        description=run.__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "config", type=Path, metavar="sft.yaml", help="the file that `trl sft --config` takes"
    )
    parser.add_argument(
        "--train", metavar="FILE", help="training rows, in any format, instead of those it names"
    )
    parser.add_argument("--eval", metavar="FILE", help="held-out rows to score with")
    parser.add_argument(
        "--holdout", type=float, default=0.1, metavar="SHARE",
        help="without --eval: share of the rows to hold out (default: %(default)s)",
    )  # fmt: skip
    parser.add_argument(
        "--group", metavar="COLUMN",
        help="keep rows with the same value here, such as a person, on one side of that split",
    )  # fmt: skip
    parser.add_argument(
        "--clean", action="store_true", help="put the training rows through the cleaning rules"
    )
    parser.add_argument(
        "--questions", type=int, default=200, metavar="N",
        help="most held-out rows to ask (default: %(default)s)",
    )  # fmt: skip
    parser.add_argument(
        "--despite-errors", action="store_true", help="train although preflight found errors"
    )
    parser.add_argument(
        "--overwrite", action="store_true", help="replace an earlier run in the output_dir"
    )
    parser.add_argument("--json", action="store_true", help="print the report as JSON")
    parser.set_defaults(run=run)


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
    with console.status("Loading PyTorch, Transformers and TRL (10 to 30 seconds) ..."):
        quiet_libraries()
        import trl  # noqa: F401

    from sft_helpers.display.monitor import live_monitor
    from sft_helpers.stages import Options, Pipeline, Stopped

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
        watch=live_monitor,
    )
    try:
        report = pipeline.finish()
    except Stopped as stopped:
        return _stopped(stopped.report, console, args.json)
    if args.json:
        json.dump(report, sys.stdout, indent=2)
        print()
    else:
        if pipeline.folder.reused:
            console.print(f"Found done: {', '.join(pipeline.folder.reused)}", markup=False)
        _print(report, console)
    return 0


def _stopped(report: dict[str, Any], console: Console, as_json: bool) -> int:
    if as_json:
        json.dump({"preflight": report}, sys.stdout, indent=2)
        print()
        return 1
    console.print("Preflight found errors, so nothing was trained:", style="bold")
    for one in report["findings"]:
        if one["severity"] == "error":
            console.print(f"✗ {one['code']}: {one['message']}", markup=False)
            console.print(f"  mend: {one['fix']}", markup=False)
    console.print("Mend them and run again, or pass --despite-errors if you know better.")
    return 1


def _print(report: dict[str, Any], console: Console) -> None:
    from rich.table import Table

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
    table = Table(title=f"{train['steps']} steps, {train['trained_weights']:,} weights trained")
    for heading in ("", "Exact match [95 % interval]", "Ends its turn", "Held-out loss"):
        table.add_column(heading)
    for when in ("before", "after"):
        score, loss = report[when]["score"], train["eval_loss"][when]
        cells = ["not asked", ""]
        if score is not None:
            match = score["exact_match"]
            span = f"[{match['low']:.2f}, {match['high']:.2f}]"
            cells = [
                f"{match['value']:.2f} {span}".replace("[", r"\["),
                f"{score['stop_rate']:.2f}",
            ]
        table.add_row(when, *cells, "" if loss is None else f"{loss:.3f}")
    console.print(table)
    console.print(f"Model and card: {report['folder']}/model", markup=False)
