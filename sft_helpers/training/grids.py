"""One short run as plain data: what to train and ask, and what came of it.

Training is TRL's `SFTTrainer` on the CPU; `runs` does many runs side by side.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from sft_helpers.errors import DataError

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase
    from trl import SFTTrainer

    from sft_helpers.evaluation import Answers
    from sft_helpers.training.watch import History

Row = Mapping[str, Any]

# What every run has unless it says otherwise: CPU, fp32, quiet, a cosine with a short warm-up.
DEFAULTS: dict[str, Any] = {
    "assistant_only_loss": True,
    "lr_scheduler_type": "cosine",
    "warmup_steps": 0.1,
    "per_device_train_batch_size": 16,
    "max_length": 128,
    "logging_steps": 5,
    "save_strategy": "no",
    "report_to": "none",
    "disable_tqdm": True,
    "use_cpu": True,
    "bf16": False,
    "activation_checkpointing": False,
}


@dataclass(frozen=True)
class Run:
    """One training run as plain data; it must be picklable.

    Attributes:
        name: what a table or a figure calls it.
        rows: training rows, each with `messages`.
        sft: arguments of `trl.SFTConfig` on top of `DEFAULTS`; without `output_dir` and `seed`.
        lora: arguments of `peft.LoraConfig`; None trains all weights.
        quantization: arguments of `transformers.BitsAndBytesConfig`; None loads as it is.
        seed: seed of the data order, of dropout and of new weights.
        model: a name that `models.load` takes.
        dtype: type of the weights.
        questions: rows to answer after training; none, no score.
        texts: texts whose loss is measured after training, such as gazette editions.
        eval_rows: held-out rows for `eval_strategy` and for the held-out loss at the end.
        panel: questions answered during training, every `panel_every` steps (see `training.watch`).
        measure: a function of an importable module, called with the trained trainer.
        output_dir: where checkpoints go; None takes a folder that is removed afterwards.
        resume: go on from the last sound checkpoint in `output_dir`.
        save_to: folder for the trained model; None keeps nothing.
    """

    name: str
    rows: Sequence[Row]
    sft: Mapping[str, Any] = field(default_factory=dict)
    lora: Mapping[str, Any] | None = None
    quantization: Mapping[str, Any] | None = None
    seed: int = 0
    model: str = "tiny"
    dtype: str = "float32"
    questions: Sequence[Row] = ()
    texts: Sequence[str] = ()
    eval_rows: Sequence[Row] = ()
    panel: Sequence[Row] = ()
    panel_every: int = 10
    measure: Callable[[SFTTrainer], Any] | None = None
    output_dir: str | None = None
    resume: bool = False
    save_to: str | None = None


@dataclass(frozen=True)
class Outcome:
    """What a run left behind.

    Attributes:
        name, seed: of the run.
        history: its record; `log` is the trainer's own, that of a resumed run from the beginning.
        answers: one per question, in order, with their score.
        text_loss: loss on `texts`, nats per token; None without texts.
        eval_loss: loss on `eval_rows` after training, nats per trained token; None without.
        measured: what `measure` returned.
        trainable, parameters: weights that trained, and all weights.
        train_seconds, seconds: processor seconds of training, and of everything.
    """

    name: str
    seed: int
    history: History
    log: list[dict[str, Any]]
    answers: Answers
    text_loss: float | None
    eval_loss: float | None
    measured: Any
    trainable: int
    parameters: int
    train_seconds: float
    seconds: float

    @property
    def exact_match(self) -> float:
        """Share of questions answered right, between 0 and 1; not a number without questions."""
        return self.answers.exact_match.value if len(self.answers) else float("nan")

    @property
    def losses(self) -> dict[int, float]:
        """Logged training loss by optimizer step, nats per trained token."""
        return {entry["step"]: entry["loss"] for entry in self.log if "loss" in entry}


def text_loss(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, texts: Sequence[str]
) -> float:
    """Mean loss of plain texts in nats per predicted token: what a run did to old abilities."""
    import torch

    from sft_helpers.evaluation import at_rest

    total, count = 0.0, 0
    with at_rest(model):
        for start in range(0, len(texts), 32):
            batch = tokenizer(
                list(texts[start : start + 32]), padding=True, padding_side="right",
                return_tensors="pt",
            ).to(model.device)  # fmt: skip
            names = ("input_ids", "attention_mask")
            logits = model(**{name: batch[name] for name in names}).logits
            kept = batch["attention_mask"][:, 1:].bool()
            losses = torch.nn.functional.cross_entropy(
                logits[:, :-1].float().transpose(1, 2), batch["input_ids"][:, 1:], reduction="none"
            )
            total += float(losses[kept].sum())
            count += int(kept.sum())
    if not count:
        raise DataError("there is no text to measure a loss on", hint="give texts of two tokens")
    return total / count


def run_here(run: Run, tell: Callable[[int], None] | None = None) -> Outcome:
    """Do one run in this process.

    Args:
        run: what to do.
        tell: called with the number of finished optimizer steps after each.

    Raises:
        SFTHelpersError: no checkpoint to resume from, or a model that cannot be loaded.
    """
    start = time.process_time()
    with tempfile.TemporaryDirectory(prefix="sft-run-") as scratch:
        trainer, tokenizer = build(run, run.output_dir or scratch)
        from sft_helpers.evaluation import ask
        from sft_helpers.training.watch import record

        def panel(model: PreTrainedModel) -> Any:
            return ask(model, tokenizer, run.panel, max_new_tokens=20, progress=None)

        probe = panel if run.panel else None
        history = record(trainer, probe, every=run.panel_every)
        if tell is not None:
            history.listeners.append(lambda now: tell(now.step))
        began = time.process_time()
        if run.resume:
            from sft_helpers.training.checkpoints import resume

            resume(trainer, say=False)
        else:
            trainer.train()
        train_seconds = time.process_time() - began
        history.listeners.clear()
        history.probe = None  # a record travels between processes, functions do not
        return _measured(run, trainer, tokenizer, history, train_seconds, start)


def build(run: Run, output_dir: str) -> tuple[SFTTrainer, PreTrainedTokenizerBase]:
    """The run's `SFTTrainer`, ready to train, and its tokenizer.

    Raises:
        DataError: the run has no rows.
    """
    if not run.rows:
        raise DataError(
            "this run has no training rows",
            where=run.name,
            hint="give Run(rows=...) at least one row with messages",
        )
    import transformers
    from trl import SFTConfig, SFTTrainer

    from sft_helpers.models import load

    transformers.set_seed(run.seed)
    four_bit = transformers.BitsAndBytesConfig(**run.quantization) if run.quantization else None
    model, tokenizer = load(run.model, dtype=run.dtype, quantization=four_bit)
    adapter = None
    if run.lora is not None:
        from peft import LoraConfig

        adapter = LoraConfig(**run.lora)
    trainer = SFTTrainer(
        model=model,
        args=SFTConfig(output_dir, seed=run.seed, **(DEFAULTS | dict(run.sft))),
        train_dataset=_messages(run.rows),
        eval_dataset=_messages(run.eval_rows) if run.eval_rows else None,
        processing_class=tokenizer,
        peft_config=adapter,
    )
    return trainer, tokenizer


def _messages(rows: Sequence[Row]) -> Any:
    from datasets import Dataset

    return Dataset.from_list([{"messages": row["messages"]} for row in rows])


def _measured(
    run: Run,
    trainer: SFTTrainer,
    tokenizer: PreTrainedTokenizerBase,
    history: History,
    train_seconds: float,
    start: float,
) -> Outcome:
    from sft_helpers.evaluation import ask

    log = [dict(entry) for entry in trainer.state.log_history]
    model = trainer.model
    answers = ask(model, tokenizer, run.questions, max_new_tokens=20, progress=None)
    held_out = trainer.evaluate()["eval_loss"] if run.eval_rows else None
    if run.save_to is not None:
        trainer.save_model(run.save_to)
    return Outcome(
        name=run.name,
        seed=run.seed,
        history=history,
        log=log,
        answers=answers,
        text_loss=text_loss(model, tokenizer, run.texts) if run.texts else None,
        eval_loss=held_out,
        measured=run.measure(trainer) if run.measure is not None else None,
        trainable=sum(p.numel() for p in model.parameters() if p.requires_grad),
        parameters=sum(p.numel() for p in model.parameters()),
        train_seconds=train_seconds,
        seconds=time.process_time() - start,
    )
