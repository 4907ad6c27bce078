"""The program that `accelerate launch` starts in every process: `trl sft`, with a report.

    accelerate launch --config_file data/launch/ddp.yaml -m sft_helpers.scaling.worker \
        --config data/launch/sft.yaml --expect ddp --expect_processes 8

It reads the file that `trl sft --config` reads and trains with TRL's `SFTTrainer`. What it adds:
it stops when accelerate has set up another strategy than the one expected, and each process can
leave a report: strategy, losses, bytes held, collectives of one step.
"""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from transformers.trainer_callback import TrainerCallback

from sft_helpers.errors import EnvironmentProblem
from sft_helpers.scaling.rehearsal import is_on, rehearse_on_cpu

if TYPE_CHECKING:
    from trl import DatasetMixtureConfig, ModelConfig, ScriptArguments, SFTConfig, SFTTrainer


@dataclass
class WorkerArguments:
    """What this program takes beside the arguments of `trl sft`."""

    expect: str = field(
        default="",
        metadata={"help": "stop unless this runs: single, ddp, fsdp2_grad_op, fsdp2_full, zero2"},
    )
    expect_processes: int = field(
        default=0, metadata={"help": "stop unless so many processes train together"}
    )
    report: str = field(default="", metadata={"help": "folder for a report of each process"})
    count_step: int = field(
        default=-1, metadata={"help": "count the collectives of this step (0 is the first)"}
    )
    break_step: int = field(
        default=-1, metadata={"help": "for tests: the last process breaks before this step ..."}
    )
    break_how: str = field(
        default="kill", metadata={"help": "... by SIGKILL (kill), or by doing nothing (stall)"}
    )


def train(
    script: ScriptArguments,
    args: SFTConfig,
    model: ModelConfig,
    data: DatasetMixtureConfig,
    prepare: Callable[[SFTTrainer], None] = lambda trainer: None,
) -> SFTTrainer:
    """Train as `trl sft` does; the same lines run in one process and in many."""
    from trl import SFTTrainer, get_dataset, get_peft_config

    args.model_init_kwargs = {"dtype": model.dtype, **(args.model_init_kwargs or {})}
    trainer = SFTTrainer(
        model=model.model_name_or_path,
        args=args,
        train_dataset=get_dataset(data)[script.dataset_train_split],
        peft_config=get_peft_config(model),
    )
    prepare(trainer)
    trainer.train(resume_from_checkpoint=args.resume_from_checkpoint)
    trainer.save_model(args.output_dir)
    return trainer


def strategy_of(accelerator: Any) -> str:
    """What accelerate has set up, in the names of `WorkerArguments.expect`."""
    kind = accelerator.distributed_type.value
    if kind == "DEEPSPEED":
        return f"zero{accelerator.state.deepspeed_plugin.zero_stage}"
    if kind == "FSDP":
        plugin = accelerator.state.fsdp_plugin
        if plugin.fsdp_version != 2:
            return "fsdp1"
        return "fsdp2_full" if plugin.reshard_after_forward else "fsdp2_grad_op"
    return "single" if kind == "NO" else "ddp"


def check_strategy(accelerator: Any, expected: str, processes: int) -> None:
    """Stop a run that fell back to something else: accelerate itself does not say so.

    Raises:
        EnvironmentProblem: another strategy, or another number of processes, than expected.
    """
    found = strategy_of(accelerator)
    if expected in ("", found) and processes in (0, accelerator.num_processes):
        return
    raise EnvironmentProblem(
        f"asked for {expected or 'any strategy'} in {processes or 'any number of'} processes;"
        f" accelerate set up {found} in {accelerator.num_processes}"
        f" (distributed_type {accelerator.distributed_type.value})",
        hint="on a machine without GPUs accelerate ignores FSDP, and `use_cpu: true` in its file"
        " starts one process; look at the file that --config_file names",
    )


class Watch(TrainerCallback):
    """Counts the collectives of one step, and breaks its process where a test asks for it."""

    def __init__(self, worker: WorkerArguments, last_process: bool) -> None:
        self.worker = worker
        self.breaks = last_process and worker.break_step >= 0
        self.counts: dict[str, int] = {}
        self.bytes: dict[str, int] = {}
        self._open = ExitStack()

    def on_step_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Start counting, or break."""
        if self.breaks and state.global_step == self.worker.break_step:
            if self.worker.break_how == "kill":
                os.kill(os.getpid(), signal.SIGKILL)
            time.sleep(3600)
        if state.global_step == self.worker.count_step:
            from torch.distributed.tensor.debug import CommDebugMode

            self._mode = self._open.enter_context(CommDebugMode())
            self._open.enter_context(traffic(self.bytes))

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Stop counting after the optimizer step."""
        if state.global_step == self.worker.count_step + 1:
            self._open.close()
            self.counts = {
                str(op).removeprefix("c10d."): n for op, n in self._mode.get_comm_counts().items()
            }


def traffic(found: dict[str, int]) -> Any:
    """A torch mode that adds up what each collective moves: operation → bytes.

    Counted is the whole tensor: the one that a gather makes, or that a reduction takes.
    """
    import torch
    from torch.utils._python_dispatch import TorchDispatchMode
    from torch.utils._pytree import tree_leaves

    class Traffic(TorchDispatchMode):
        def __torch_dispatch__(
            self, func: Any, types: Any, args: Any = (), kwargs: Any = None
        ) -> Any:
            if func.namespace == "c10d":
                tensors = [one for one in tree_leaves(args) if isinstance(one, torch.Tensor)]
                name = func._schema.name.removeprefix("c10d::")
                size = max((one.numel() * one.element_size() for one in tensors), default=0)
                found[name] = found.get(name, 0) + size
            return func(*args, **(kwargs or {}))

    return Traffic()


def local_bytes(tensors: Any) -> int:
    """Bytes of tensors that this process holds: of a sharded one its own part only."""
    parts = [one.to_local() if hasattr(one, "to_local") else one for one in tensors]
    return sum(part.numel() * part.element_size() for part in parts)


def report_of(trainer: SFTTrainer, watch: Watch) -> dict[str, Any]:
    """What one process can say about its part of a run, as plain data."""
    accelerator = trainer.accelerator
    optimizer = trainer.optimizer
    while hasattr(optimizer, "optimizer"):  # accelerate's wrapper, then DeepSpeed's
        optimizer = optimizer.optimizer
    states = [one for state in optimizer.state.values() for one in state.values()]
    return {
        "strategy": strategy_of(accelerator),
        "distributed_type": accelerator.distributed_type.value,
        "num_processes": accelerator.num_processes,
        "model_class": type(trainer.model_wrapped).__name__,
        "losses": {e["step"]: e["loss"] for e in trainer.state.log_history if "loss" in e},
        "weight_bytes": sum(p.numel() * p.element_size() for p in trainer.model.parameters()),
        "parameter_bytes": local_bytes(trainer.model.parameters()),
        "optimizer_bytes": local_bytes(one for one in states if hasattr(one, "numel")),
        "counts": watch.counts,
        "bytes": watch.bytes,
    }


def main(arguments: list[str] | None = None) -> None:
    """Read the arguments, train, leave a report; an error goes into the report too."""
    if is_on(os.environ, "SFT_REHEARSAL"):
        rehearse_on_cpu()
    from trl import DatasetMixtureConfig, ModelConfig, ScriptArguments, SFTConfig, TrlParser

    from sft_helpers.quiet import quiet_libraries

    quiet_libraries()
    parser = TrlParser(
        (ScriptArguments, SFTConfig, ModelConfig, DatasetMixtureConfig, WorkerArguments)
    )
    script, args, model, data, worker = parser.parse_args_and_config(arguments)
    report: dict[str, Any] = {"rank": args.process_index, "pid": os.getpid()}
    watch = Watch(worker, args.process_index == args.world_size - 1)

    def prepare(trainer: SFTTrainer) -> None:
        check_strategy(trainer.accelerator, worker.expect, worker.expect_processes)
        trainer.add_callback(watch)

    try:
        trainer = train(script, args, model, data, prepare)
        report |= report_of(trainer, watch)
    except BaseException as problem:
        report["error"] = f"{type(problem).__name__}: {problem}"
        raise
    finally:
        if worker.report:
            Path(worker.report).mkdir(parents=True, exist_ok=True)
            # with the process id: two runs that know nothing of each other are both number 0
            file = Path(worker.report) / f"process-{args.process_index}-{os.getpid()}.json"
            file.write_text(json.dumps(report), encoding="utf-8")
    trainer.accelerator.end_training()


if __name__ == "__main__":
    main()
