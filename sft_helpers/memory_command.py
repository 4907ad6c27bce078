"""`sft-helpers memory`: what a run needs in memory, before anything is downloaded or rented."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from sft_helpers.errors import DataError, SFTHelpersError
from sft_helpers.memory import CARDS, METHODS, PRECISIONS, Account, predict, shipped
from sft_helpers.memory.parts import MEANINGS
from sft_helpers.memory.plan import Knob, knobs, largest_batch

TIGHT = 0.9  # of a card: above, what is left out may be too much


def add_parser(commands: Any) -> None:
    """Add the sub-command to the command line."""
    parser = commands.add_parser(
        "memory",
        help="predict a run's peak memory, component by component, without weights or a GPU",
        description=run.__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "model", nargs="?", help="a name (see below), a config.json, or a folder with one"
    )
    parser.add_argument("--config", type=Path, metavar="YAML", help="a file for `trl sft`")
    parser.add_argument("--method", choices=METHODS, help="default: lora")
    parser.add_argument("--length", type=int, help="tokens of the longest row (default: 1024)")
    parser.add_argument("--batch", type=int, help="rows at a time (default: 1)")
    parser.add_argument("--accumulation", type=int, help="batches for one step (default: 1)")
    parser.add_argument(
        "--checkpointing",
        action=argparse.BooleanOptionalAction,
        default=None,
        help="recompute activations (default: on)",
    )
    parser.add_argument("--precision", choices=tuple(PRECISIONS), help="autocast (default: bf16)")
    parser.add_argument(
        "--weights",
        choices=("float32", "bfloat16", "float16"),
        help="dtype of the loaded base (default: float32 for full, bfloat16 for adapters in bf16)",
    )
    parser.add_argument("--optimizer", metavar="NAME", help="as SFTConfig(optim=...) has it")
    parser.add_argument("--packing", action="store_true", default=None, help="rows are packed")
    parser.add_argument("--rank", type=int, help="of the adapter on all linear layers")
    parser.add_argument(
        "--card", type=float, metavar="GB", help="find the largest batch for it (default: 24)"
    )
    parser.add_argument("--json", action="store_true", help="print everything as JSON")
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
    from sft_helpers.quiet import quiet_libraries

    quiet_libraries()
    model, settings = _settings(args)
    account = predict(model, **settings)
    extra = {name: settings.get(name) for name in ("peft_config", "quantization_config")}
    card = args.card or 24.0
    if card <= 0:
        raise SFTHelpersError(f"a card of {card:g} GB is impossible", hint="give --card in GB")
    turned = knobs(account, model, **extra)
    largest = largest_batch(account, card, model, **extra)
    if args.json:
        json.dump(_plain(account, turned, card, largest), sys.stdout, indent=2)
        print()
    else:
        print(_text(account, turned, card, largest))
    return 1 if args.card and not account.fits(args.card) else 0


def _settings(args: argparse.Namespace) -> tuple[str, dict[str, Any]]:
    """The model, and arguments of `predict` from a file and from the command line, which wins."""
    found: dict[str, Any] = {"method": "lora", "length": 1024, "batch": 1}
    model = args.model
    if args.config is not None:
        in_file, settings = read_trl_file(args.config)
        model = model or in_file
        found |= settings
    if not model:
        raise SFTHelpersError(
            "which model?", hint=f"give a config.json, a folder, or one of {', '.join(shipped())}"
        )
    names = ("method", "length", "batch", "accumulation", "checkpointing", "precision", "weights")
    for name in (*names, "optimizer", "packing"):
        if getattr(args, name) is not None:
            found[name] = getattr(args, name)
    if args.rank is not None:
        if args.rank < 1:
            raise SFTHelpersError(f"rank {args.rank} is impossible", hint="give 1 or more")
        found["peft_config"] = _lora(args.rank, "all-linear")
    if found["method"] == "full":
        found.pop("peft_config", None)
    return model, found


def _lora(rank: int, targets: Any, **more: Any) -> Any:
    from peft import LoraConfig

    return LoraConfig(
        r=rank, lora_alpha=2 * rank, target_modules=targets, task_type="CAUSAL_LM", **more
    )


def read_trl_file(file: Path) -> tuple[str | None, dict[str, Any]]:
    """What a file for `trl sft --config` says about memory: the model and arguments of `predict`.

    What the file does not set has TRL 1.16's default; a test compares these with TRL's own.

    Raises:
        DataError: no such file, no YAML, or a method that is not predicted.
    """
    import yaml

    try:
        data = yaml.safe_load(file.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as problem:
        raise DataError(
            f"this file cannot be read ({str(problem)[:200]})",
            where=str(file),
            hint="give the YAML file that `trl sft --config` takes",
        ) from None
    if not isinstance(data, dict):
        raise DataError("this is no mapping of arguments", where=str(file), hint="name: value")
    if data.get("load_in_8bit"):
        raise DataError("8-bit bases are not predicted", where=str(file), hint="use load_in_4bit")
    found = {
        "method": "full",
        "length": data.get("max_length", 1024),
        "batch": data.get("per_device_train_batch_size", 8),
        "accumulation": data.get("gradient_accumulation_steps", 1),
        "checkpointing": bool(
            data.get("activation_checkpointing", data.get("gradient_checkpointing", True))
        ),
        "optimizer": data.get("optim", "adamw_torch_fused"),
        "precision": "fp16" if data.get("fp16") else "bf16" if data.get("bf16", True) else "fp32",
        "weights": data.get("dtype", "float32"),
        "packing": bool(data.get("packing", False)),
    }
    if data.get("use_peft"):
        found["method"] = "qlora" if data.get("load_in_4bit") else "lora"
        targets = data.get("lora_target_modules")
        if isinstance(targets, list) and len(targets) == 1:
            targets = targets[0]
        found["peft_config"] = _lora(
            data.get("lora_r", 16), targets, modules_to_save=data.get("lora_modules_to_save")
        )
    if found["method"] == "qlora":
        from transformers import BitsAndBytesConfig

        found["quantization_config"] = BitsAndBytesConfig(
            load_in_4bit=True,
            bnb_4bit_quant_type=data.get("bnb_4bit_quant_type", "nf4"),
            bnb_4bit_use_double_quant=bool(data.get("use_bnb_nested_quant", False)),
            bnb_4bit_compute_dtype=found["weights"],
        )
    return data.get("model_name_or_path"), found


def _plain(account: Account, turned: list[Knob], card: float, largest: int) -> dict[str, Any]:
    return account.to_json() | {
        "cards": {f"{size}": account.fits(size) for size in CARDS},
        "card": card,
        "fits": account.fits(card),
        "largest_batch": largest,
        "knobs": [{"change": k.name, "freed": k.freed} for k in turned],
    }


def _text(account: Account, turned: list[Knob], card: float, largest: int) -> str:
    now = account.settings
    lines = [
        f"{account.model}: {account.parameters:,} weights, {account.trainable:,} train"
        f" ({now.method})",
        f"{now.batch} × {now.length:,} tokens, accumulation {now.accumulation}, checkpointing"
        f" {'on' if now.checkpointing else 'off'}, {now.precision}, {now.optimizer}"
        f"{', packed' if now.packing else ''}",
        "",
    ]
    for part, size in account.components.items():
        lines.append(f"  {part:<23}{size / 1e9:>9.3f} GB  {MEANINGS[part]}")
    peak = account.peak_bytes / 1e9
    lines += [f"  {'peak':<23}{peak:>9.3f} GB  reached in {account.moment}", ""]
    for size in CARDS:
        words = "does not fit"
        if account.fits(size):
            words = "fits, but tight" if peak > TIGHT * size else "fits"
        lines.append(f"  card of {size:>2} GB: {words}")
    rows = f"{largest} rows" if largest != 1 else "1 row"
    lines += ["", f"Largest batch on {card:g} GB: {rows} of {now.length:,} tokens."]
    helpful = [knob for knob in turned if knob.freed > 0]
    if helpful:
        lines.append("What frees most:")
        lines += [f"  {knob.freed / 1e9:>9.3f} GB  {knob.name}" for knob in helpful]
    lines += ["Left out:", *(f"  {words}" for words in account.left_out)]
    return "\n".join(lines)
