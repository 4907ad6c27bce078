"""Many short runs on the tiny model, side by side: plain data in, plain data out.

Each run is done in a worker process with one thread, so the outcome does not depend on how many
run at a time. Workers are started once and kept: importing TRL costs seconds, a run about as many.
"""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import get_context
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import joblib
import numpy as np

from sft_helpers.errors import DataError, EnvironmentProblem, SFTHelpersError
from sft_helpers.quiet import quiet_libraries
from sft_helpers.training.grids import DEFAULTS, Outcome, Run, build, run_here, text_loss

if TYPE_CHECKING:
    from multiprocessing.connection import Connection

    from sft_helpers.evaluation import Interval

__all__ = [
    "DEFAULTS", "Outcome", "Run", "Runs", "build", "run_all", "run_and_kill", "run_here",
    "start_workers", "stop_workers", "store", "text_loss", "workers",
]  # fmt: skip


def _prepare_worker() -> None:
    """One thread, quiet libraries; interrupts are the parent's to handle."""
    os.environ["OMP_NUM_THREADS"] = "1"
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    import torch

    torch.set_num_threads(1)
    quiet_libraries()


def _warm() -> None:
    import trl

    _ = trl.SFTTrainer  # trl imports its parts when they are first asked for


Result = TypeVar("Result")

_pool: ProcessPoolExecutor | None = None


def workers() -> int:
    """How many runs go side by side: one per core that this process may use, at most four."""
    return min(4, int(joblib.cpu_count()))  # a container's quota counted, as in `hardware`


def start_workers() -> None:
    """Start the worker processes in the background, so that their imports cost no waiting."""
    global _pool
    if _pool is None:
        _pool = ProcessPoolExecutor(
            workers(), mp_context=get_context("spawn"), initializer=_prepare_worker
        )
        for _ in range(workers()):
            _pool.submit(_warm)


def stop_workers() -> None:
    """End the worker processes; the next `run_all` starts new ones."""
    global _pool
    if _pool is not None:
        _pool.shutdown(wait=False, cancel_futures=True)
        _pool = None


def worker_died() -> EnvironmentProblem:
    """The error for a `BrokenProcessPool`; the other workers are ended."""
    stop_workers()
    return EnvironmentProblem(
        "a worker process ended before its run was done",
        hint="this is most often a lack of memory: close other programs, and run the cell again",
    )


def submit(work: Callable[..., Result], *arguments: Any) -> Future[Result]:
    """Let a worker process call a module's function; workers are started if there are none."""
    start_workers()
    assert _pool is not None
    return _pool.submit(work, *arguments)


class Runs(list[Outcome]):
    """Outcomes, in the order of their runs."""

    def by_name(self) -> dict[str, Runs]:
        """Those of each name: most often, one a seed."""
        return {
            name: Runs(one for one in self if one.name == name)
            for name in dict.fromkeys(one.name for one in self)
        }

    @property
    def exact_match(self) -> Interval:
        """Mean exact match over several seeds, with an interval for the seeds and the questions.

        Each resample draws seeds anew and residents anew (see `evaluation.bootstrap_interval`), so
        the interval holds the luck of the data order as well as the luck of who was asked. With
        two or three seeds it is rather too narrow than too wide.

        Raises:
            DataError: there are no outcomes, or they answered different questions.
        """
        from sft_helpers.evaluation import Interval, bootstrap_interval

        groups = self[0].answers.groups if self else []
        if not groups or any(one.answers.groups != groups for one in self):
            raise DataError(
                "these outcomes do not share their questions, so they have no common mean",
                hint="give runs that differ in their seed only",
            )
        marks = [one.answers.right for one in self]
        if len(set().union(*marks)) == 1:  # nothing to draw: the interval of one seed has a width
            return bootstrap_interval(marks[0], groups=groups)
        numbers = {label: place for place, label in enumerate(dict.fromkeys(groups))}
        member = [numbers[label] for label in groups]
        counts = np.bincount(member)
        sums = np.stack([np.bincount(member, weights=right) for right in marks])
        rng = np.random.default_rng(0)
        draws = np.empty(2_000)
        for place in range(len(draws)):
            people = rng.integers(len(counts), size=len(counts))
            seeds = rng.integers(len(sums), size=len(sums))
            draws[place] = sums[np.ix_(seeds, people)].mean(0).sum() / counts[people].sum()
        low, high = np.quantile(draws, [0.025, 0.975])
        mean = float(np.mean([one.exact_match for one in self]))
        return Interval(mean, float(min(low, mean)), float(max(high, mean)))


def run_all(runs: Sequence[Run], *, progress: str | None = None) -> Runs:
    """Do many runs side by side in worker processes; outcomes in the order of the runs.

    Args:
        runs: what to do.
        progress: text before a progress bar; None shows no bar.

    Raises:
        SFTHelpersError: a run failed; the message names it. The others are given up.
        EnvironmentProblem: a worker process died, most often for lack of memory.
    """
    from tqdm.auto import tqdm

    pending = {submit(run_here, run): number for number, run in enumerate(runs)}
    done: dict[int, Outcome] = {}
    try:
        with tqdm(
            total=len(runs), desc=progress, unit="run", disable=progress is None, leave=False
        ) as bar:
            for future in as_completed(pending):
                done[pending[future]] = future.result()
                bar.update()
    except BrokenProcessPool as problem:
        raise worker_died() from problem
    except BaseException as problem:
        failed = runs[pending[future]].name if isinstance(problem, Exception) else None
        for waiting in pending:
            waiting.cancel()
        if failed is None:  # interrupted by hand: do not wait for what is still running
            stop_workers()
            raise
        if isinstance(problem, SFTHelpersError):
            raise
        raise SFTHelpersError(f"{type(problem).__name__}: {problem}", where=failed) from problem
    outcomes = Runs(done[number] for number in range(len(runs)))
    store(runs, outcomes)
    return outcomes


def store(runs: Sequence[Run], outcomes: Sequence[Outcome]) -> None:
    """Append one JSON line per run to the file that the environment variable `SFT_RUNS` names.

    A line holds what was asked (name, seed, rows, arguments) and what was measured; without the
    variable nothing is written. Wide grids (`SFT_FULL=1`) leave their numbers for the docs so.
    """
    target = os.environ.get("SFT_RUNS")
    if not target:
        return
    Path(target).parent.mkdir(parents=True, exist_ok=True)
    with Path(target).open("a", encoding="utf-8") as file:
        for run, done in zip(runs, outcomes, strict=True):
            line = {
                "name": run.name,
                "seed": run.seed,
                "rows": len(run.rows),
                "sft": dict(run.sft),
                "lora": run.lora and dict(run.lora),
                "questions": len(run.questions),
                "exact_match": done.exact_match if run.questions else None,
                "stop_rate": done.answers.stopped if run.questions else None,
                "text_loss": done.text_loss,
                "eval_loss": done.eval_loss,
                "last_loss": done.history.loss[-1] if done.history.loss else None,
                "train_seconds": round(done.train_seconds, 2),
            }
            file.write(json.dumps(line, default=str) + "\n")


def _tell_all(run: Run, line: Connection) -> None:
    _prepare_worker()
    run_here(run, tell=line.send)
    line.send(-1)


def run_and_kill(run: Run, after_step: int) -> int:
    """Train in a process of its own and kill it (SIGKILL) once a step is done; nothing is tidied.

    Args:
        run: with an `output_dir` for checkpoints.
        after_step: optimizer step at whose end the signal is sent.

    Returns:
        The last step that the process reported.

    Raises:
        SFTHelpersError: the process ended before it reached that step.
    """
    context = get_context("spawn")
    here, there = context.Pipe(duplex=False)
    process = context.Process(target=_tell_all, args=(run, there), daemon=True)
    step = 0
    process.start()
    try:
        there.close()
        while 0 <= step < after_step:
            step = here.recv()
    except EOFError:
        step = -1
    finally:
        process.kill()
        process.join()
    if step < 0:
        raise SFTHelpersError(f"the run ended before step {after_step}", where=run.name)
    return step
