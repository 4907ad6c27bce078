"""Checkpoints that can be trusted: find the last sound one, say what is wrong with the others.

A process that is killed, or a disk that fills up, while a checkpoint is written leaves a folder
that looks like any other. `get_last_checkpoint` of transformers takes the highest number, sound
or not. Nothing here unpickles a file: weights are read by safetensors, `torch.save` archives
are checked as the zip files that they are.
"""

from __future__ import annotations

import json
import re
import shutil
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sft_helpers.errors import EnvironmentProblem, ModelError

if TYPE_CHECKING:
    from transformers.trainer_utils import TrainOutput
    from trl import SFTTrainer

_NAME = re.compile(r"checkpoint-(\d+)")
# Without these the resumed run would not continue the old one, but begin another.
_STATE = {
    "optimizer.pt": "the optimizer's moments",
    "scheduler.pt": "the place in the learning-rate schedule",
    "rng_state.pth": "the state of the random numbers",
}
# errno 28, 27 and 122 in words, and what torch.save says of any write that fails.
_FULL = (
    "no space left", "file too large", "quota exceeded", "pytorchstreamwriter failed writing",
    "unexpected pos",
)  # fmt: skip


@dataclass(frozen=True)
class Checkpoint:
    """One checkpoint folder.

    Attributes:
        path: the folder.
        step: optimizer step in its name.
        problems: what is wrong with it, in words; empty if it is sound.
    """

    path: Path
    step: int
    problems: tuple[str, ...] = ()

    def __str__(self) -> str:
        return f"{self.path.name}: {'; '.join(self.problems) or 'sound'}"


@dataclass(frozen=True)
class Found:
    """Where a run can go on.

    Attributes:
        path: the last sound checkpoint; None means that there is none and training starts anew.
        step: its optimizer step, 0 without one.
        damaged: newer checkpoints that were passed over.
    """

    path: Path | None
    step: int
    damaged: tuple[Checkpoint, ...] = ()

    def __str__(self) -> str:
        lines = [f"passed over {one}" for one in self.damaged]
        where = f"going on from {self.path.name}" if self.path else "no checkpoint: step 0"
        return "\n".join([*lines, where])


def inspect(folder: str | Path) -> Checkpoint:
    """Check one checkpoint folder without loading it.

    Weights: header and length of every safetensors file, and all shards of an index. Optimizer,
    scheduler and random state: the archive is complete and every part has its checksum.
    `trainer_state.json`, which the trainer writes last, is JSON and agrees with the folder's name.
    safetensors files hold no checksums, so a changed number inside one cannot be seen.
    """
    folder = Path(folder)
    match = _NAME.fullmatch(folder.name)
    step = int(match.group(1)) if match else 0
    problems = [*_weights(folder), *_archives(folder), *_trainer_state(folder, step)]
    return Checkpoint(folder, step, tuple(problems))


def _weights(folder: Path) -> list[str]:
    from safetensors import SafetensorError, safe_open

    adapter = (folder / "adapter_config.json").is_file()
    name = "adapter_model.safetensors" if adapter else "model.safetensors"
    index = folder / f"{name}.index.json"
    files = [name]
    if index.is_file():
        try:
            files = sorted(set(json.loads(index.read_text("utf-8"))["weight_map"].values()))
        except (ValueError, KeyError, AttributeError):
            return [f"{index.name} is damaged"]
    problems = []
    for file in files:
        path = folder / file
        if not path.is_file():
            problems.append(f"{file} is missing")
            continue
        try:
            with safe_open(str(path), framework="numpy") as tensors:
                tensors.keys()
        except (SafetensorError, OSError) as problem:
            problems.append(f"{file} is damaged or cut short ({problem})")
    return problems


def _archives(folder: Path) -> list[str]:
    problems = []
    for name, what in _STATE.items():
        path = folder / name
        if not path.is_file():
            parts = sorted(folder.glob(f"{path.stem}_*{path.suffix}"))  # one per process
            if not parts:
                problems.append(f"{name} is missing ({what})")
            continue
        try:
            with zipfile.ZipFile(path) as archive:
                broken = archive.testzip()
        except (zipfile.BadZipFile, OSError) as problem:
            problems.append(f"{name} is damaged or cut short ({problem})")
            continue
        if broken is not None:
            problems.append(f"{name} is damaged (checksum of {broken})")
    return problems


def _trainer_state(folder: Path, step: int) -> list[str]:
    path = folder / "trainer_state.json"
    try:
        state = json.loads(path.read_text("utf-8"))
        saved = state["global_step"]
    except FileNotFoundError:
        return ["trainer_state.json is missing: it is written last, so saving was interrupted"]
    except (ValueError, KeyError, TypeError, OSError):
        return ["trainer_state.json is damaged"]
    return [] if saved == step else [f"trainer_state.json is of step {saved}, not {step}"]


def last_sound(output_dir: str | Path) -> Found:
    """The newest sound checkpoint in a run's `output_dir`, and the damaged ones that are newer.

    Raises:
        ModelError: there are checkpoints, and none is sound.
    """
    from transformers.trainer_utils import get_last_checkpoint

    output_dir = Path(output_dir)
    newest = get_last_checkpoint(str(output_dir)) if output_dir.is_dir() else None
    if newest is None:
        return Found(None, 0)
    numbered = sorted(
        (int(match.group(1)), path)
        for path in output_dir.iterdir()
        if path.is_dir() and (match := _NAME.fullmatch(path.name))
    )
    damaged: list[Checkpoint] = []
    for step, path in reversed(numbered):
        one = inspect(path)
        if not one.problems:
            return Found(path, step, tuple(damaged))
        damaged.append(one)
    raise ModelError(
        "no checkpoint is sound: " + "; ".join(str(one) for one in damaged),
        where=str(output_dir),
        hint="the run cannot go on; move these folders away and train from the beginning",
    )


def resume(trainer: SFTTrainer, *, say: bool = True) -> TrainOutput:
    """Train, going on from the last sound checkpoint in `args.output_dir`, if there is one.

    Args:
        trainer: built exactly as it was for the first attempt: same data, arguments and seed.
        say: print which checkpoint is used and which are passed over.

    Raises:
        ModelError: there are checkpoints, and none is sound.
        EnvironmentProblem: the disk is too full for a checkpoint, before or while one is written.
    """
    from safetensors import SafetensorError

    output_dir = Path(str(trainer.args.output_dir))
    found = last_sound(output_dir)
    if say:
        print(found)
    _check_space(trainer, output_dir)
    try:
        return trainer.train(resume_from_checkpoint=str(found.path) if found.path else None)
    except (OSError, RuntimeError, SafetensorError) as problem:
        if not is_disk_full(problem):
            raise
        raise _disk_full(output_dir, str(problem)) from problem


def is_disk_full(problem: BaseException) -> bool:
    """Say whether an error of safetensors, torch or the system means that a file did not fit."""
    words = str(problem).lower()
    return any(sign in words for sign in _FULL)


def _disk_full(output_dir: Path, words: str) -> EnvironmentProblem:
    try:
        found = last_sound(output_dir)
        left = f"the last sound checkpoint is {found.path.name}" if found.path else ""
    except ModelError:
        left = ""
    return EnvironmentProblem(
        "the disk is full: a checkpoint could not be written"
        f" ({' '.join(words.split())[:120]}); {left or 'no sound checkpoint is left'}",
        where=str(output_dir),
        hint="free some space or set save_total_limit=2, then call resume() again"
        + (": it goes on from there" if left else " to begin anew"),
    )


def checkpoint_bytes(trainer: SFTTrainer) -> int:
    """Bytes of one checkpoint: the trained weights and, unless left out, Adam's two moments.

    An adapter's checkpoint holds the adapter only; full fine-tuning holds all weights.
    """
    model: Any = trainer.model
    trained: int = sum(p.numel() * p.element_size() for p in model.parameters() if p.requires_grad)
    frozen: int = sum(
        p.numel() * p.element_size() for p in model.parameters() if not p.requires_grad
    )
    weights: int = trained if hasattr(model, "peft_config") else trained + frozen
    return weights + (0 if trainer.args.save_only_model else 2 * trained)


def _check_space(trainer: SFTTrainer, output_dir: Path) -> None:
    if str(getattr(trainer.args.save_strategy, "value", trainer.args.save_strategy)) == "no":
        return
    place = next(p for p in (output_dir, *output_dir.resolve().parents) if p.is_dir())
    free, needed = shutil.disk_usage(place).free, checkpoint_bytes(trainer)
    if free < needed:
        raise EnvironmentProblem(
            f"one checkpoint takes {needed / 1e6:,.0f} MB and {free / 1e6:,.0f} MB are free",
            where=str(output_dir),
            hint="free some space, choose another output_dir, or set save_strategy='no'",
        )
