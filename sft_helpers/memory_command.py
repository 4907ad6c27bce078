"""`sft-helpers memory`: what a run needs in memory, before anything is downloaded or rented."""

from __future__ import annotations

import argparse
import contextlib
import gc
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest import mock

from sft_helpers.errors import DataError, SFTHelpersError
from sft_helpers.memory import Settings, predict, shapes
from sft_helpers.memory.account import DTYPES, METHODS, PRECISIONS
from sft_helpers.memory.plan import Plan

CARD = 24.0  # GB, where none is named


def add_parser(commands: Any) -> None:
    """Add the sub-command to the command line."""
    parser = commands.add_parser(
        "memory",
        help="predict a run's peak memory, component by component, without weights or a GPU",
        description=run.__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add, on_or_off = parser.add_argument, argparse.BooleanOptionalAction
    add("model", nargs="?", help="a name (see below), a config.json, or a folder with one")
    add("--config", type=Path, metavar="YAML", help="a file for `trl sft`")
    add("--method", choices=METHODS, help="default: lora")
    add("--length", type=int, help="tokens of the longest row (default: 1024)")
    add("--batch", type=int, help="rows at a time (default: 1)")
    add("--accumulation", type=int, help="batches for one step (default: 1)")
    add("--checkpointing", action=on_or_off, default=None, help="recompute activations (on)")
    add("--precision", choices=tuple(PRECISIONS), help="autocast (default: bf16)")
    add("--weights", choices=DTYPES, help="dtype of the loaded base (float32 for full, bfloat16"
        " for adapters in bf16)")  # fmt: skip
    add("--optimizer", metavar="NAME", help="as SFTConfig(optim=...) has it")
    add("--packing", action="store_true", default=None, help="rows are packed")
    add("--rank", type=int, help="of the adapter on all linear layers")
    add("--card", type=float, metavar="GB", help="find the largest batch for it (default: 24)")
    add("--json", action="store_true", help="print everything as JSON")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Predict the peak memory of one training step, from the second step on.

    The real modules take one step of TRL's real loss with tensors that hold no numbers, so no
    weights, no GPU and no network are needed. Prints where the bytes go, which cards hold them,
    the largest batch for one card, and which change frees most.

    Names: the kit has the configurations of SmolLM2 (135M, 360M, 1.7B), Qwen2.5 (0.5B to 14B),
    Qwen3 (0.6B to 14B), Llama 3 (1B to 8B), Mistral-7B and Phi-3-mini; "tiny" is the course's.
    Exit code 0: it fits the card, or no card was named; 1: it does not fit the card named with
    --card; 2: it cannot be predicted.
    """
    with _in_haste():
        account = predict(**_asked(args))
        plan = Plan.of(account, CARD if args.card is None else args.card)
    if args.json:
        json.dump(plan.to_json(), sys.stdout, indent=2)
        print()
    else:
        print(plan)
    return 1 if args.card is not None and not account.fits(args.card) else 0


def _asked(args: argparse.Namespace) -> dict[str, Any]:
    """Arguments of `predict` from a file and from the command line, which wins."""
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
