"""Arguments that do nothing, evaluation and logging that never happen, and foreign collators."""

from __future__ import annotations

import difflib
import inspect
import re
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

from sft_helpers.preflight import rates
from sft_helpers.preflight.findings import Finding, finding
from sft_helpers.renames import new_argument

if TYPE_CHECKING:
    from sft_helpers.preflight.setup import Setup


def check(setup: Setup) -> Iterable[Finding]:
    """Everything about the arguments that can be said before a run."""
    yield from _unknown(setup)
    for name, why, fix in _ignored(setup):
        yield finding("config.ignored_argument", f"{name} does nothing: {why}", fix)
    if setup.args.max_steps > 0 or setup.prepared.dataset is not None:  # the steps are known
        yield from _evaluation(setup)
        yield from _logging(setup)
        yield from _warmup(setup)
    yield from _collator(setup)
    yield from rates.precision(setup)
    yield from rates.low_precision(setup)
    yield from rates.rate(setup)


def _unknown(setup: Setup) -> Iterable[Finding]:
    """Names that no dataclass of `trl sft` has end in an error (trl/scripts/utils.py:354), names in
    `model_init_kwargs` that neither `from_pretrained` nor the configuration takes in another
    (transformers/modeling_utils.py:4382). Names are asked of the installed packages.
    """
    from trl import ModelConfig, ScriptArguments, SFTConfig

    known = [name for kind in (SFTConfig, ModelConfig, ScriptArguments) for name in _fields(kind)]
    for name in setup.unknown_arguments:
        yield finding(
            "config.unknown_argument",
            f"TRL has no {name}: the run ends with an error before it starts",
            _instead(name, known),
        )
    taken = _loading_names(setup)
    for name in setup.args.model_init_kwargs or {}:
        if setup.model is None and name not in taken:
            yield finding(
                "config.unknown_argument",
                f"model_init_kwargs: from_pretrained has no {name}; loading the model fails",
                _instead(name, sorted(taken)),
            )


def _fields(kind: Any) -> Iterator[str]:
    return iter(kind.__dataclass_fields__)


def _instead(name: str, known: list[str]) -> str:
    near = difflib.get_close_matches(name, known, 1, 0.75)
    new = new_argument(name) or (near[0] if near else None)
    return f"{new}:   # instead of {name}" if new else f"leave {name} out"


def _loading_names(setup: Setup) -> set[str]:
    """What may stand in `model_init_kwargs`, read from the signature and source of transformers."""
    from transformers import PreTrainedModel

    named = set(inspect.signature(PreTrainedModel.from_pretrained).parameters)
    hub = {"code_revision", "local_files_only", "token", "trust_remote_code", "revision"}
    of_config = {name for name in dir(setup.config) if not name.startswith("_")}
    of_config |= set(setup.config.to_dict())
    source = inspect.getsource(PreTrainedModel.from_pretrained)
    popped = set(re.findall(r"kwargs\.pop\(\"(\w+)\"", source))
    return named | hub | of_config | popped | {"attn_implementation", "dtype", "torch_dtype"}


# --- arguments that do nothing -------------------------------------------------------------------


def _ignored(setup: Setup) -> Iterator[tuple[str, str, str]]:
    """(argument, why it does nothing, what to change); silent unless noted.

    - dataset_kwargs: SFTTrainer reads one key of it (trl/trainer/sft_config.py:59-62); any other,
      such as `add_special_tokens`, was meant for an older TRL.
    - torch_dtype: TRL fills in `dtype="float32"`, which wins (trl/trainer/utils.py:1330,
      transformers/modeling_utils.py:4176); the weights are fp32, twice the memory.
    - model_init_kwargs, quantization_config with a model that is loaded already (sft_trainer.py
      logs a warning).
    - packing_strategy, eval_packing without packing; warm-up of a schedule whose function takes
      none (transformers/optimization.py:944).
    - formatting_func on conversations: its "text" column is not looked at.
    - LoRA and quantization names in a file without `use_peft` or `load_in_4bit`: trl/trainer/
      utils.py:280 returns no adapter, and all weights train.
    """
    args = setup.args
    yield from _ignored_loading(setup)
    skipped = bool((args.dataset_kwargs or {}).get("skip_prepare_dataset"))
    if skipped:
        for name in ("packing", "assistant_only_loss", "completion_only_loss"):
            if getattr(args, name):
                why = "skip_prepare_dataset leaves the rows as they are"
                yield name, why, f"{name}: false, or leave skip_prepare_dataset out"
    if str(args.packing_strategy) != "bfd" and not (args.packing or args.eval_packing):
        yield "packing_strategy", "packing is off", "packing: true, or leave it out"
    if args.warmup_steps and not takes_warmup(args):
        schedule = getattr(args.lr_scheduler_type, "value", args.lr_scheduler_type)
        why = f"the schedule {schedule!r} has no warm-up"
        yield "warmup_steps", why, "lr_scheduler_type: constant_with_warmup"
    if setup.formatting_func is not None and setup.conversational:
        why = "the rows are conversations, so its text is not looked at"
        yield "formatting_func", why, "leave it out, or pass rows without messages"
    given = setup.given_arguments
    if given and not given.get("use_peft"):
        lora = [
            name for name in given if name.startswith("lora_") or name in ("use_dora", "use_rslora")
        ]
        if lora:
            why = "use_peft is not set, so all weights train"
            yield ", ".join(lora), why, "use_peft: true"
    if given and not (given.get("load_in_4bit") or given.get("load_in_8bit")):
        bits = [name for name in given if name.startswith("bnb_") or name == "use_bnb_nested_quant"]
        if bits:
            yield ", ".join(bits), "nothing is quantized", "load_in_4bit: true"


def _ignored_loading(setup: Setup) -> Iterator[tuple[str, str, str]]:
    args = setup.args
    read = _read_of_dataset_kwargs()
    for name in sorted(set(args.dataset_kwargs or {}) - read):
        why = f"TRL reads {', '.join(sorted(read))} only"
        yield f"dataset_kwargs: {name}", why, f"leave {name} out"
    loading = args.model_init_kwargs or {}
    if setup.model is None and "torch_dtype" in loading:
        why = f"dtype wins, which TRL sets to {loading.get('dtype', 'float32')}"
        yield "model_init_kwargs: torch_dtype", why, f"dtype: {loading['torch_dtype']}"
    if setup.model is not None and args.model_init_kwargs:
        why = "the model is loaded already"
        yield "model_init_kwargs", why, "pass the model's name, or set them where you load it"
    quantized = getattr(setup.model, "is_quantized", False)
    if setup.model is not None and setup.quantization_config is not None and not quantized:
        why = "the model is loaded already, so nothing is quantized"
        yield "quantization_config", why, "pass the model's name, or set it where you load it"


def _read_of_dataset_kwargs() -> set[str]:
    """Keys of `dataset_kwargs` that SFTTrainer looks at, by its source."""
    from trl import SFTTrainer

    return set(re.findall(r"dataset_kwargs\.get\(\"(\w+)\"", inspect.getsource(SFTTrainer)))


def takes_warmup(args: Any) -> bool:
    """Whether the learning rate schedule has a warm-up, by the signature of its function."""
    from transformers.optimization import TYPE_TO_SCHEDULER_FUNCTION
    from transformers.trainer_utils import SchedulerType

    schedule = TYPE_TO_SCHEDULER_FUNCTION[SchedulerType(args.lr_scheduler_type)]
    return "num_warmup_steps" in inspect.signature(schedule).parameters


# --- what never happens --------------------------------------------------------------------------


def _evaluation(setup: Setup) -> Iterable[Finding]:
    """`eval_dataset` alone does nothing: `eval_strategy` is "no" by default. With steps longer than
    the run transformers evaluates once, at the end (transformers/trainer_callback.py:594), but not
    if `eval_delay` lies beyond it.
    """
    args = setup.args
    if setup.eval_dataset is None:
        return
    strategy = str(getattr(args.eval_strategy, "value", args.eval_strategy))
    every = max(1, setup.steps // 10)
    if strategy == "no":
        yield finding(
            "config.eval_never_runs",
            "the evaluation rows are never used, so you will not see the held-out loss rise",
            f"eval_strategy: steps and eval_steps: {every}",
        )
        return
    end = setup.steps if strategy == "steps" else setup.steps / setup.steps_per_epoch
    if args.eval_delay > end:
        yield finding(
            "config.eval_never_runs",
            f"eval_delay is {args.eval_delay:g}, and the run ends at {end:g} {strategy}s".replace(
                "stepss", "steps"
            ),
            "eval_delay: 0",
        )


def _logging(setup: Setup) -> Iterable[Finding]:
    """A loss is logged every `logging_steps` steps, 10 by default; a shorter run logs none
    (transformers/trainer_callback.py:572; nothing is logged at the end but a mean).
    """
    args = setup.args
    strategy = str(getattr(args.logging_strategy, "value", args.logging_strategy))
    if args.logging_first_step or strategy == "epoch":
        return
    every = args.logging_steps
    if strategy == "no" or (every >= 1 and every > setup.steps):
        yield finding(
            "config.logging_never",
            f"the run has {setup.steps} steps, and a loss would be logged every {every:g}: you will"
            " see none"
            if strategy != "no"
            else "logging is off: you will not see a loss",
            f"logging_steps: {max(1, setup.steps // 20)}",
            severity="note" if strategy == "no" else None,
        )


def _warmup(setup: Setup) -> Iterable[Finding]:
    """The rate rises over `warmup_steps` and only then counts down (transformers/optimization.py:
    101); a run that ends before never gets to `learning_rate`. From 1 on it is a number of steps,
    below 1 a share (transformers/training_args.py:2154).
    """
    args = setup.args
    warmup = args.get_warmup_steps(setup.steps)
    if not takes_warmup(args) or warmup < setup.steps or not warmup:
        return
    peak = args.learning_rate * (setup.steps - 1) / warmup
    yield finding(
        "config.warmup_exceeds_steps",
        f"the run ends after {setup.steps} steps, in the middle of {warmup} steps of warm-up: the"
        f" rate gets to {rates.short(peak)} at most, not {rates.short(args.learning_rate)}",
        "warmup_steps: 0.1   # below 1 it is a share of all steps",
    )


def _collator(setup: Setup) -> Iterable[Finding]:
    """SFTTrainer builds labels in preparation. A collator such as transformers' own
    DataCollatorForLanguageModeling makes new ones from `input_ids`: the mask is lost, and the end
    token with it where it also pads (trl#1623, trl#2059); rows of unequal length end in an error.
    Asked of the collator itself, with two short rows.
    """
    collate = setup.data_collator
    if collate is None:
        return
    name = getattr(collate, "__name__", type(collate).__name__)
    ids, labels = [5, 6, 7, 8], [-100, -100, 7, 8]
    row: dict[str, list[int]] = {"input_ids": ids, "labels": labels, "attention_mask": [1] * 4}
    pair = [dict(row), {name: values[1:] for name, values in row.items()}]
    fix = "leave data_collator out: TRL's own pads labels with -100"
    try:
        kept = collate([{name: list(values) for name, values in row.items()}])["labels"][0]
    except Exception:  # a collator for other columns: nothing can be said
        return
    if [int(label) for label in kept][: len(labels)] != labels:
        yield finding(
            "config.collator_rebuilds_labels",
            f"{name} makes new labels: the question is trained although it is"
            " masked, and the end token is not where it serves as padding",
            fix,
        )
        return
    try:
        collate(pair)
    except Exception as problem:
        words = " ".join(str(problem).split())[:120]
        yield finding(
            "config.collator_rebuilds_labels",
            f"{name} does not pad labels: rows of unequal length end in an error ({words})",
            fix,
        )
