"""`sft-helpers doctor`: what this machine is, what differs from the tests, and what to do.

`diagnose()` only looks and returns a `Report`; printing comes second. It works where torch is
not installed, and says so.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib
import importlib.util
import json
import os
import shutil
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from sft_helpers.errors import DataError, EnvironmentProblem
from sft_helpers.integrity import free_bytes, read_manifest, verify
from sft_helpers.profiles import Profile, profile
from sft_helpers.smollm2 import cache_dir
from sft_helpers.versions import CORE, Version, compare

SEVERITIES = ("error", "warning", "note")
_LOST = {
    "bitsandbytes": "the notebook on QLoRA",
    "jupyterlab": "opening the notebooks (another editor for notebooks also does)",
    "ipywidgets": "everything that moves; static pictures are shown instead",
}

_GB = 1e9


@dataclass(frozen=True)
class Finding:
    """Something to know: a stable code, how serious it is, what it means and what to do."""

    code: str
    severity: str
    message: str
    fix: str


@dataclass(frozen=True)
class Report:
    """What `diagnose()` found; `profile` is None when the environment forbids choosing one."""

    profile: Profile | None
    versions: list[Version]
    facts: dict[str, Any]
    findings: list[Finding]

    @property
    def ok(self) -> bool:
        """Whether nothing is at error level."""
        return all(finding.severity != "error" for finding in self.findings)

    def as_json(self) -> dict[str, Any]:
        """The report as one plain object, for `--json`."""
        rows = self.profile.explain() if self.profile else []
        return {
            "ok": self.ok,
            "findings": [asdict(finding) for finding in self.findings],
            "profile": {setting: {"value": value, "why": why} for setting, value, why in rows},
            "versions": {version.name: asdict(version) for version in self.versions},
            "facts": self.facts,
        }


def diagnose() -> Report:
    """Look at the machine, the packages and the data; change nothing, open no connection."""
    findings: list[Finding] = []
    chosen: Profile | None = None
    try:
        chosen = profile()
    except EnvironmentProblem as problem:
        fix = problem.hint or "unset the variable"
        findings.append(
            Finding("profile.invalid", "error", f"{problem.where}: {problem.message}", fix)
        )
    versions = compare()
    facts = _facts()
    if chosen:
        facts["gpu"] = chosen.hardware.name if chosen.hardware.kind == "cuda" else None
        facts["cores"] = chosen.hardware.cores
    findings += _about_versions(versions)
    findings += _about_room(facts)
    findings += _about_town()
    findings += _about_gpu()
    findings += _about_jupyter()
    findings.sort(key=lambda finding: SEVERITIES.index(finding.severity))
    return Report(chosen, versions, facts, findings)


def add_parser(subparsers: Any) -> None:
    """Add `doctor` to the sub-commands of `sft-helpers`."""
    parser = subparsers.add_parser(
        "doctor",
        help="look at this machine: profile, versions, disk, data, and what to do",
        description="Look at this machine and say what to do about each problem, the most serious"
        " first. Changes nothing, needs no network. Exit code 1 when something is at error level.",
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Print the report; 0 when nothing is at error level, else 1."""
    report = diagnose()
    if args.json:
        print(json.dumps(report.as_json(), indent=2))
    elif sys.stdout.isatty() and importlib.util.find_spec("rich"):
        _print_rich(report)
    else:
        print(_plain(report))
    return 0 if report.ok else 1


# --- versions --------------------------------------------------------------------------------


def _about_versions(versions: list[Version]) -> Iterator[Finding]:
    differing = []
    for each in versions:
        core = each.name in CORE or each.name == "python"
        severity = "error" if core else "warning"
        pin = f"{each.name}=={each.tested}" if each.tested else f"{each.name}{each.accepted}"
        if each.state == "missing":
            lost = _LOST.get(each.name, "every notebook")
            said = f"{each.name} is not installed in {sys.prefix}; it is needed for {lost}."
            fix = f'pip install "{pin}", or run `make quickstart`, which sets everything up'
            yield Finding("package.missing", severity, said, fix)
        elif each.state == "outside the supported range":
            said = f"{each.name} {each.installed} is outside the supported range {each.accepted}."
            fix = (
                "install Python 3.11 or newer" if each.name == "python" else f'pip install "{pin}"'
            )
            yield Finding("package.outside_range", severity, said, fix)
        elif each.state == "differs":
            differing.append(f"{each.name} {each.installed} (tested {each.tested})")
    if differing:
        said = f"Supported, but other versions than the tests ran with: {', '.join(differing)}."
        fix = "nothing; if something behaves oddly, pip install -c constraints.txt -e ."
        yield Finding("package.differs", "note", said, fix)
    if versions[-1].tested is None:
        said = "constraints.txt is not here, so the tested versions are unknown."
        fix = "run from a checkout of the repository to compare"
        yield Finding("package.tested_unknown", "note", said, fix)


# --- machine ---------------------------------------------------------------------------------


def _facts() -> dict[str, Any]:
    facts: dict[str, Any] = {
        "python": sys.executable,
        "folder": str(Path.cwd()),
        "disk_free_gb": round(free_bytes(Path.cwd()) / _GB, 1),
        "cache": str(cache_dir()),
        "cache_free_gb": round(free_bytes(cache_dir()) / _GB, 1),
        "memory_gb": None,
        "memory_free_gb": None,
    }
    with contextlib.suppress(ImportError):
        memory = importlib.import_module("psutil").virtual_memory()
        facts["memory_gb"] = round(memory.total / _GB, 1)
        facts["memory_free_gb"] = round(memory.available / _GB, 1)
    return facts


def _about_room(facts: dict[str, Any]) -> Iterator[Finding]:
    disk, memory = facts["disk_free_gb"], facts["memory_free_gb"]
    if disk < 0.5:
        said = f"{disk} GB are free here; runs write checkpoints and need 0.5."
        yield Finding("disk.full", "error", said, "free some space, or work on another disk")
    elif facts["cache_free_gb"] < 2:
        said = (
            f"{facts['cache_free_gb']} GB are free for models; SmolLM2 takes 1 GB while it is"
            " converted, a 7B model 15."
        )
        fix = "free some space, or set SFT_CACHE and HF_HOME to another disk"
        yield Finding("disk.low", "warning", said, fix)
    if memory is not None and memory < 1:
        said = f"{memory} GB of memory are free; PyTorch and TRL alone take about 1."
        yield Finding("memory.low", "error", said, "close other programs")
    elif memory is not None and memory < 3:
        said = f"{memory} GB of memory are free: enough for the tiny model, not for SmolLM2 (3 GB)."
        fix = "close other programs before notebooks that load SmolLM2"
        yield Finding("memory.tight", "warning", said, fix)
    for place, switch in ((Path.cwd(), "another folder"), (cache_dir(), "SFT_CACHE")):
        inside = place
        while not inside.exists() and inside != inside.parent:
            inside = inside.parent
        if not os.access(inside, os.W_OK):
            said = f"{inside} cannot be written."
            fix = f"change its permissions, or use {switch}"
            yield Finding("folder.unwritable", "warning", said, fix)


def _about_town() -> Iterator[Finding]:
    from sft_helpers.models import check_tiny
    from sft_helpers.town import data_dir

    rebuild = "run `git checkout -- data/town`, or `make town` (minutes)"
    try:
        town = data_dir()
    except DataError as problem:
        said = f"{problem.where}: {problem.message}."
        yield Finding("town.missing", "error", said, problem.hint or rebuild)
        return
    problems = check_tiny(town)
    manifest = read_manifest(town)
    if manifest is not None:
        files = manifest["files"]
        rest = {name: entry for name, entry in files.items() if not name.startswith("base/")}
        problems += verify(town, rest)
    if problems:
        more = f" and {len(problems) - 1} more" if len(problems) > 1 else ""
        yield Finding("town.damaged", "error", f"{town}: {problems[0]}{more}.", rebuild)


def _about_gpu() -> Iterator[Finding]:
    try:
        import torch
    except ImportError:
        return  # said by the versions
    except OSError as problem:
        said = f"torch is installed but does not load ({problem})."
        yield Finding("torch.broken", "error", said, "pip install --force-reinstall torch")
        return
    if not torch.cuda.is_available():
        if shutil.which("nvidia-smi"):
            build = "was built without CUDA" if torch.version.cuda is None else "cannot use it"
            said = f"There is an NVIDIA driver, but this torch ({torch.__version__}) {build}."
            fix = "install a CUDA build of torch that your driver supports; on a CPU all works too"
            yield Finding("gpu.unused", "warning", said, fix)
        return
    built = list(torch.cuda.get_arch_list())
    major, minor = torch.cuda.get_device_capability(0)
    if built and not kernels_fit((major, minor), built):
        said = f"This torch ({', '.join(built)}) has no kernels for a GPU of {major}.{minor}."
        fix = "install a torch build for older GPUs, or set SFT_PROFILE=cpu"
        yield Finding("gpu.no_kernels", "error", said, fix)
    try:
        importlib.import_module("bitsandbytes")
    except Exception as problem:  # a broken CUDA set-up shows as almost anything
        said = f"bitsandbytes does not load ({type(problem).__name__}: {problem}); QLoRA needs it."
        fix = "pip install --upgrade bitsandbytes; its own report: python -m bitsandbytes"
        yield Finding("bitsandbytes.broken", "warning", said, fix)


def kernels_fit(capability: tuple[int, int], built: list[str]) -> bool:
    """Whether a torch built for `built` ("sm_80", "compute_90", ...) runs on this GPU.

    Compiled kernels run on the same major version from their minor version on; a `compute_`
    entry is compiled for any later GPU when it is first used.
    """
    for entry in built:
        kind, _, digits = entry.rstrip("af").partition("_")
        if not digits.isdecimal() or len(digits) < 2:
            continue
        major, minor = int(digits[:-1]), int(digits[-1])
        if kind == "compute" and (major, minor) <= capability:
            return True
        if kind == "sm" and major == capability[0] and minor <= capability[1]:
            return True
    return False


def _about_jupyter() -> Iterator[Finding]:
    fix = "python -m ipykernel install --sys-prefix (after pip install ipykernel)"
    if importlib.util.find_spec("ipykernel") is None:
        yield Finding(
            "kernel.missing", "warning", "This Python has no Jupyter kernel (ipykernel).", fix
        )
        return
    try:
        from jupyter_client.kernelspec import KernelSpecManager

        found = KernelSpecManager().get_all_specs()
    except Exception as problem:
        yield Finding("kernel.unreadable", "warning", f"Jupyter's kernels: {problem}", fix)
        return
    starts = [spec["spec"]["argv"][0] for spec in found.values() if spec["spec"].get("argv")]
    if not any(_is_this_python(start) for start in starts):
        said = "No Jupyter kernel starts this Python, so notebooks may run without the packages."
        yield Finding("kernel.other_python", "warning", said, fix)


def _is_this_python(start: str) -> bool:
    if start in ("python", "python3"):  # Jupyter puts its own Python in the place of these
        return True
    path = shutil.which(start) or start
    return Path(path).parent == Path(sys.executable).parent


# --- printing --------------------------------------------------------------------------------


def _room(facts: dict[str, Any]) -> str:
    memory = f"{facts['memory_free_gb']} of {facts['memory_gb']} GB memory free, "
    return (memory if facts["memory_gb"] else "") + f"{facts['disk_free_gb']} GB disk free"


def _verdict(report: Report) -> str:
    counts = {kind: sum(f.severity == kind for f in report.findings) for kind in SEVERITIES}
    said = [f"{n} {kind}{'s' * (n != 1)}" for kind, n in counts.items() if n]
    if not said:
        return "All is well."
    return ", ".join(said) + (": the course can run." if report.ok else ": mend the errors first.")


def _plain(report: Report) -> str:
    lines = []
    if report.profile:
        lines += [str(report.profile), ""]
    lines += [f"{'package':<14}{'installed':<16}{'tested with':<14}state"]
    lines += [
        f"{v.name:<14}{v.installed or '-':<16}{v.tested or '-':<14}{v.state}"
        for v in report.versions
    ]
    lines += ["", _room(report.facts), ""]
    for finding in report.findings:
        lines += [
            f"{finding.severity.upper()} {finding.code}: {finding.message}",
            f"    What to do: {finding.fix}",
        ]
    return "\n".join([*lines, _verdict(report)])


def _print_rich(report: Report) -> None:
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    console = Console(highlight=False)
    if report.profile:
        table = Table(title="Profile", title_justify="left")
        for name in ("setting", "value", "why"):
            table.add_column(name)
        for row in report.profile.explain():
            table.add_row(*map(escape, row))
        console.print(table)
    table = Table(title="Versions", title_justify="left")
    for name in ("package", "installed", "tested with", "state"):
        table.add_column(name)
    for v in report.versions:
        table.add_row(v.name, v.installed or "-", v.tested or "-", v.state)
    console.print(table)
    console.print(_room(report.facts))
    colours = {"error": "bold red", "warning": "yellow", "note": "cyan"}
    for finding in report.findings:
        label = f"[{colours[finding.severity]}]{finding.severity.upper()}[/] {finding.code}"
        console.print(f"{label}: {escape(finding.message)}")
        console.print(f"    What to do: {escape(finding.fix)}")
    console.print(_verdict(report))
