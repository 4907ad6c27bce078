"""Start a recipe in several processes, as on a cluster, and read what each of them reports."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from sft_helpers.errors import DataError, SFTHelpersError
from sft_helpers.scaling.rehearsal import require_deepspeed

CONFIGS = ("ddp", "fsdp2_grad_op", "fsdp2_full", "zero2")
# Where an error that a process died of begins, and lines that only say where it happened.
_ERROR_SIGNS = ("Error: ", "EnvironmentProblem: ", "Exception: ")


@dataclass(frozen=True)
class Launch:
    """What a launch left behind.

    Attributes:
        command: what was run, as typed in a shell.
        returncode: 0 if every process ended well.
        seconds: time that the command took, imports included.
        reports: one per process that lived to write one, see `worker.report_of`.
        output: what the command and its processes printed, standard error included.
        output_dir: where the model and its checkpoints are.
    """

    command: str
    returncode: int
    seconds: float
    reports: list[dict[str, Any]]
    output: str
    output_dir: Path

    @property
    def strategy(self) -> str:
        """What ran, as every process reports it.

        Raises:
            DataError: the processes do not agree, or none reported.
        """
        return str(self._agreed("strategy"))

    @property
    def processes(self) -> int:
        """How many processes trained together."""
        return int(self._agreed("num_processes"))

    @property
    def losses(self) -> list[float]:
        """Training loss of each logged step, as process 0 has it, nats per trained token."""
        return list(self.reports[0]["losses"].values()) if self.reports else []

    @property
    def errors(self) -> list[str]:
        """What each process that ended with an error says, one line each."""
        said = [report["error"] for report in self.reports if "error" in report]
        return [" ".join(line.split()) for line in said]

    def _agreed(self, name: str) -> Any:
        found = {report.get(name) for report in self.reports}
        if len(found) != 1 or None in found:
            raise DataError(
                f"the processes report {sorted(map(str, found)) or 'nothing'} as {name}",
                where=self.command,
                hint="read .output; each process must report, and report the same",
            )
        return found.pop()


def launch_folder() -> Path:
    """The folder `data/launch` with the recipe and accelerate's files."""
    from sft_helpers.town import data_dir

    return data_dir("launch")


def launch(
    config: str | None,
    *arguments: str,
    output_dir: str | Path,
    processes: int = 2,
    expect: str | None = None,
    flags: tuple[str, ...] = (),
    recipe: str | Path | None = None,
    rehearse: bool = True,
    timeout: float = 300,
    check: bool = True,
) -> Launch:
    """Run the recipe with `accelerate launch` on this machine and wait for it.

    A rehearsal uses the file that a cluster would, with the number of processes and the precision
    replaced on the command line, one thread each, and `rehearsal.rehearse_on_cpu` switched on.

    Args:
        config: a name of `CONFIGS` or a path to a file of `accelerate config`; None starts one
            process, without accelerate's launcher.
        arguments: for the training program, such as `"--max_steps", "8"`; they win over the recipe.
        output_dir: for the model and checkpoints.
        processes: how many processes to start.
        expect: the strategy that must run; None takes the name of the kit's file, "" lets
            anything pass.
        flags: more flags for `accelerate launch` itself.
        recipe: the file for `--config`; None takes `data/launch/sft.yaml`.
        rehearse: False leaves accelerate and DeepSpeed as they are.
        timeout: seconds after which every process is ended.
        check: raise if the command fails; False returns what it left.

    Raises:
        DataError: there is no such file.
        EnvironmentProblem: the file asks for DeepSpeed, which is not installed.
        SFTHelpersError: the command failed, or took longer than `timeout`.
    """
    output_dir = Path(output_dir).resolve()
    file = config_file(config) if config is not None else None
    kind = yaml.safe_load(file.read_text("utf-8"))["distributed_type"] if file else "NO"
    if kind == "DEEPSPEED":
        require_deepspeed()
    if expect is None:
        expect = config or "single"
        expect = expect if expect in (*CONFIGS, "single") else ""
    launcher, program = [], ["sft_helpers.scaling.worker", "--config"]
    if file is not None:
        launcher = ["accelerate.commands.launch", "--config_file", str(file)]
        launcher += ["--num_processes", str(processes), "--main_process_port", "0"]
        launcher += ["--mixed_precision", "no", *flags, "-m"]
    program += [str(Path(recipe).resolve() if recipe else launch_folder() / "sft.yaml")]
    program += ["--output_dir", str(output_dir)]
    if expect:
        program += ["--expect", expect, "--expect_processes", str(processes if file else 1)]
    if kind == "FSDP" and rehearse:
        program += ["--use_cpu", "false"]
    program += arguments
    begun = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="sft-launch-") as folder:
        command = [sys.executable, "-m", *launcher, *program, "--report", folder]
        returncode, output = _run(command, _environment(rehearse), timeout)
        reports = [json.loads(one.read_text("utf-8")) for one in Path(folder).glob("*.json")]
    typed = ["accelerate", "launch", *launcher[1:]] if launcher else ["python", "-m"]
    done = Launch(
        shlex.join([*typed, *program]),
        returncode,
        time.monotonic() - begun,
        sorted(reports, key=lambda report: int(report["rank"])),
        output,
        output_dir,
    )
    if check and returncode:
        raise SFTHelpersError(
            done.errors[0] if done.errors else _last_error(output),
            where=done.command,
            hint="call launch(..., check=False) and read .output",
        )
    return done


def config_file(config: str) -> Path:
    """The path of one of the kit's files by its name, or of any other file.

    Raises:
        DataError: there is no such file.
    """
    file = launch_folder() / f"{config}.yaml" if config in CONFIGS else Path(config).resolve()
    if not file.is_file():
        raise DataError(
            "there is no such launch file",
            where=str(config),
            hint=f"name one of {', '.join(CONFIGS)}, or give a path",
        )
    return file


def _environment(rehearse: bool) -> dict[str, str]:
    package = str(Path(__file__).resolve().parent.parent)
    paths = [package, *filter(None, [os.environ.get("PYTHONPATH")])]
    changed = os.environ | {
        "PYTHONPATH": os.pathsep.join(paths),
        "OMP_NUM_THREADS": "1",
        "TOKENIZERS_PARALLELISM": "false",
    }
    if rehearse:
        # nothing is compiled here, and torch's compiler takes half a second to import
        changed |= {"SFT_REHEARSAL": "1", "DS_ACCELERATOR": "cpu", "TORCHDYNAMO_DISABLE": "1"}
        changed["CUDA_VISIBLE_DEVICES"] = ""  # torch would shard on a GPU, if it saw one
        if sys.platform == "linux":  # else gloo looks up the machine's name, which may lead nowhere
            changed.setdefault("GLOO_SOCKET_IFNAME", "lo")
    return changed


def _run(command: list[str], environment: dict[str, str], timeout: float) -> tuple[int, str]:
    """Run a command in the folder of the repository; give its exit status and what it printed."""
    process = subprocess.Popen(
        command,
        cwd=launch_folder().parent.parent,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
    )
    try:
        output, _ = process.communicate(timeout=timeout)
    except BaseException as problem:
        _end_all(process)
        if not isinstance(problem, subprocess.TimeoutExpired):
            raise
        raise SFTHelpersError(
            f"the launch was ended after {timeout:g} seconds",
            where=shlex.join(command),
            hint="a process may wait for another that is stuck: lower ddp_timeout to see which",
        ) from problem
    return process.returncode, output


def _end_all(process: subprocess.Popen[str]) -> None:
    """Ask the launcher to end, which ends its processes, and insist if it does not."""
    process.terminate()
    try:
        process.communicate(timeout=45)
    except subprocess.TimeoutExpired:
        process.kill()
        process.communicate()


def _last_error(output: str) -> str:
    lines = [line.strip() for line in output.splitlines()]
    errors = [line for line in lines if any(sign in line for sign in _ERROR_SIGNS)]
    return (errors or [line for line in lines if line] or ["it printed nothing"])[-1]
