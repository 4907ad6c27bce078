"""A clinic's set-up trained and measured: a real `SFTTrainer`, in workers of `training.runs`."""

from __future__ import annotations

import dataclasses
import json
import math
import tempfile
from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sft_helpers.errors import SFTHelpersError

if TYPE_CHECKING:
    from sft_helpers.clinic import Setup
    from sft_helpers.training.signs import Sign
    from sft_helpers.training.watch import History


@dataclass(frozen=True)
class Chart:
    """What a run left behind.

    Attributes:
        history: its record, for curves.
        signs: what the live monitor says of it (see `signs`).
        samples: question, expected, after, after_ok, stopped of each question asked afterwards.
        measures: name → number; which there are, `measure` says.
        tokens, trained: the first prepared row's beginning, and which of its tokens have a label.
        warnings: what TRL warned of, if anything.
    """

    history: History
    signs: tuple[Sign, ...]
    samples: tuple[dict[str, Any], ...]
    measures: dict[str, float]
    tokens: tuple[str, ...]
    trained: tuple[bool, ...]
    warnings: tuple[str, ...] = ()


QUESTIONS = 100  # held-out questions asked after each run
SHOWN = 40  # tokens of the first prepared row that a chart keeps


def train(setup: Setup, seed: int = 0) -> Chart:
    """Train a set-up in this process and measure it; most runs take three to six seconds."""
    import transformers
    from trl import SFTTrainer

    from sft_helpers.preparation import listening
    from sft_helpers.training.signs import signs
    from sft_helpers.training.watch import record

    transformers.set_seed(seed)
    said: list[str] = []
    with tempfile.TemporaryDirectory(prefix="sft-clinic-") as folder, listening(said):
        parts = setup.mend(seed=seed).parts(folder)
        before = {n: p.detach().clone() for n, p in parts["model"].named_parameters()}
        trainer = SFTTrainer(
            model=parts["model"],
            args=parts["args"],
            train_dataset=parts["dataset"],
            eval_dataset=parts["eval_dataset"],
            processing_class=parts["tokenizer"],
            peft_config=parts["peft_config"],
        )
        history = record(trainer)
        trainer.train()
        samples, measures = measure(trainer, history, before, setup)
        first = trainer.train_dataset[0]
        ids, labels = first["input_ids"][:SHOWN], first["labels"][:SHOWN]
        tokens = [trainer.processing_class.decode([token]) for token in ids]
    trained = [label != -100 for label in labels]
    seen = tuple(signs(history)), tuple(samples), measures, tuple(tokens), tuple(trained)
    return Chart(history, *seen, warnings=tuple(said))


def measure(
    trainer: Any, history: History, before: Mapping[str, Any], setup: Setup
) -> tuple[list[dict[str, Any]], dict[str, float]]:
    """Ask a trained model and count what shows in its weights, its rows and its record.

    Returns:
        The answers to held-out questions, and these measures: `exact_match`, `stop_rate` (on
        held-out questions); `claimed`, exact match on the set-up's own evaluation rows, and
        `flattery`, by how much that is too high; `moved`, share of the weights that changed;
        `double_starts`, share of prepared rows that begin with a token twice; `supervised`, share
        of their tokens that count; `steps`; `evaluations`, held-out losses during the run;
        `held_out_rise`, the last of them over the lowest; `last_loss`.
    """
    from sft_helpers.evaluation import ask
    from sft_helpers.town import read_rows

    tokenizer = trainer.processing_class

    brief: dict[str, Any] = {"max_new_tokens": 20, "progress": None}
    answers = ask(trainer.model, tokenizer, read_rows("sft_test.jsonl")[:QUESTIONS], **brief)
    samples = [
        {name: row[name] for name in ("question", "expected", "after", "after_ok")}
        | {"stopped": answer.stopped}
        for row, answer in zip(answers.compare(answers), answers, strict=True)
    ]
    ids = [list(row) for row in trainer.train_dataset["input_ids"]]
    labels = trainer.train_dataset["labels"]
    found = {
        "exact_match": _share(answers.right),
        "stop_rate": answers.stopped,
        "moved": _moved(trainer.model, before),
        "double_starts": _share([row[:1] == row[1:2] for row in ids]),
        "supervised": _share([label != -100 for row in labels for label in row]),
        "steps": float(history.step),
        "evaluations": float(len(history.eval_loss)),
        "last_loss": history.loss[-1] if history.loss else math.nan,
    }
    if history.eval_loss:
        found["held_out_rise"] = history.eval_loss[-1] / min(history.eval_loss)
    if setup.eval_rows:
        own = ask(trainer.model, tokenizer, setup.eval_rows, **brief)
        found["claimed"] = _share(own.right)
        found["flattery"] = found["claimed"] - found["exact_match"]
    return samples, found


def _share(values: Sequence[bool]) -> float:
    return sum(values) / max(1, len(values))


def _moved(model: Any, before: Mapping[str, Any]) -> float:
    """Share of the weights that changed; weights that the trainer added count as changed."""
    total = changed = 0
    for name, weight in model.named_parameters():
        old = before.get(name)
        total += weight.numel()
        if old is None:
            changed += weight.numel() if weight.requires_grad else 0
        else:
            changed += int((weight.detach().to(old.dtype) != old).sum())
    return changed / total


_cache: dict[str, Future[Chart]] = {}


def admit(setups: Sequence[Setup], seed: int = 0) -> None:
    """Start runs in the background; `chart` waits for one of them. A set-up is run only once."""
    from sft_helpers.training import runs

    for setup in setups:
        key = _key(setup, seed)
        if key not in _cache:
            _cache[key] = runs.submit(train, setup, seed)


def chart(setup: Setup, seed: int = 0) -> Chart:
    """The chart of a set-up: trained in a worker process unless that was done before.

    Raises:
        SFTHelpersError: the run failed; the message is TRL's own.
        EnvironmentProblem: a worker process died, most often for lack of memory.
    """
    from sft_helpers.training import runs

    admit([setup], seed)
    key = _key(setup, seed)
    try:
        return _cache[key].result()
    except BrokenProcessPool as problem:
        _cache.clear()
        raise runs.worker_died() from problem
    except Exception as problem:
        del _cache[key]
        if isinstance(problem, SFTHelpersError):
            raise
        raise SFTHelpersError(
            f"{type(problem).__name__}: {problem}", where="this run", hint="compare its set-up"
        ) from problem


def _key(setup: Setup, seed: int) -> str:
    """The same for set-ups that train the same: an argument that is the default says nothing."""
    everything = dataclasses.asdict(setup) | {"sft": setup.arguments}
    return json.dumps([seed, everything], sort_keys=True, default=str)
