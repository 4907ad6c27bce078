"""What this machine is, what differs from the tests, and what to do about it.

`diagnose()` only looks, and opens no connection; `str(report)` is the page. It works where torch is
not installed, and says so. What others report better is left to them: `trl env`, `pip check`,
`python -m bitsandbytes`. The sentences stand in `machine.yaml`.
"""

from __future__ import annotations

import contextlib
import importlib
import importlib.metadata
import shutil
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import psutil

from sft_helpers.errors import DataError, EnvironmentProblem
from sft_helpers.machine import Profile, profile, texts
from sft_helpers.models import cache_dir, town_damage

SEVERITIES = ("error", "warning", "note")
# What every notebook needs; without the others a part of the course falls away.
CORE = ("torch", "trl", "transformers", "peft", "datasets", "accelerate")
LOST = {
    "bitsandbytes": "the notebook on QLoRA",
    "jupyterlab": "opening the notebooks (another editor for notebooks also does)",
    "ipywidgets": "everything that moves; static pictures are shown instead",
}


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
    versions: list[dict[str, Any]]
    facts: dict[str, Any]
    findings: list[Finding]

    @property
    def ok(self) -> bool:
        """Whether nothing is at error level."""
        return all(finding.severity != "error" for finding in self.findings)

    def to_json(self) -> dict[str, Any]:
        """The report as one plain object."""
        rows = self.profile.explain() if self.profile else []
        return {
            "ok": self.ok,
            "findings": [asdict(finding) for finding in self.findings],
            "profile": {setting: {"value": value, "why": why} for setting, value, why in rows},
            "versions": {one["name"]: one for one in self.versions},
            "facts": self.facts,
        }

    def __str__(self) -> str:
        lines = [f"{self.profile}\n"] if self.profile else []
        lines.append(f"{'package':<14}{'installed':<16}{'tested with':<14}state")
        for row in self.versions:
            name, installed, tested = (row[k] or "-" for k in ("name", "installed", "tested"))
            lines.append(f"{name:<14}{installed:<16}{tested:<14}{row['state']}")
        facts = self.facts
        memory = f"{facts['memory_free_gb']} of {facts['memory_gb']} GB memory free"
        lines.append(f"\n{memory}, {facts['disk_free_gb']} GB disk free\n")
        for one in self.findings:
            lines += [f"{one.severity.upper()} {one.code}: {one.message}"]
            lines += [f"    What to do: {one.fix}"]
        counts = [(kind, sum(f.severity == kind for f in self.findings)) for kind in SEVERITIES]
        said = ", ".join(f"{n} {kind}{'s' * (n != 1)}" for kind, n in counts if n)
        end = ": the course can run." if self.ok else ": mend the errors first."
        return "\n".join([*lines, said + end if said else "All is well."])


def diagnose() -> Report:
    """Look at the machine, the packages and the data; change nothing."""
    findings, chosen = [], None
    try:
        chosen = profile()
    except EnvironmentProblem as problem:
        said = f"{problem.where}: {problem.message}"
        findings.append(_finding("profile.invalid", said=said, fix=problem.hint))
    versions, facts = compare(), _facts()
    if chosen:
        facts["gpu"] = chosen.hardware.name if chosen.hardware.kind == "cuda" else None
        facts["cores"] = chosen.hardware.cores
    for found in (_versions(versions), _room(facts), _town(), _gpu(), _jupyter()):
        findings += found
    findings.sort(key=lambda finding: SEVERITIES.index(finding.severity))
    return Report(chosen, versions, facts, findings)


def _finding(code: str, severity: str | None = None, **facts: Any) -> Finding:
    usual, message, fix = texts()["findings"][code]
    return Finding(code, severity or usual, message.format(**facts), fix.format(**facts))


# --- versions --------------------------------------------------------------------------------


def tested_versions() -> dict[str, str]:
    """The versions that the tests ran with, from constraints.txt; empty when it is nowhere.

    A wheel carries it among the data; otherwise it is the one of the checkout.
    """
    package = Path(__file__).resolve().parent
    places = (package / "data" / "constraints.txt", package.parent / "constraints.txt")
    text = next((place.read_text(encoding="utf-8") for place in places if place.is_file()), "")
    pins = [line.split("#")[0].split(";")[0].partition("==") for line in text.splitlines()]
    return {name.strip().replace("_", "-"): pin.strip() for name, equals, pin in pins if equals}


def compare() -> list[dict[str, Any]]:
    """Python and the main packages: name, installed, tested, accepted (a range), state."""
    from packaging.requirements import Requirement

    tested, accepted = tested_versions(), {"python": ">=3.11"}
    found: dict[str, str | None] = {"python": sys.version.split()[0]}
    with contextlib.suppress(importlib.metadata.PackageNotFoundError):
        for one in map(Requirement, importlib.metadata.requires("sft-helpers") or []):
            accepted[one.name] = str(one.specifier)
    for name in (*CORE, *LOST):
        found[name] = None
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            found[name] = importlib.metadata.version(name)
    return [
        {
            "name": name,
            "installed": installed,
            "tested": tested.get(name),
            "accepted": accepted.get(name, ""),
            "state": state(installed, tested.get(name), accepted.get(name, "")),
        }
        for name, installed in found.items()
    ]


def state(installed: str | None, tested: str | None, accepted: str) -> str:
    """How a version stands to the tests and to the range that the kit accepts."""
    from packaging.specifiers import SpecifierSet

    if installed is None:
        return "missing"
    if not SpecifierSet(accepted).contains(installed, prereleases=True):
        return "outside the supported range"
    if tested is None:
        return "accepted"
    return "as tested" if installed.split("+")[0] == tested.split("+")[0] else "differs"


def _versions(versions: list[dict[str, Any]]) -> Iterator[Finding]:
    for one in versions:
        severity = "warning" if one["name"] in LOST else "error"
        pin = "{name}=={tested}" if one["tested"] else "{name}{accepted}"
        facts = one | {"pin": pin.format(**one), "prefix": sys.prefix}
        if one["state"] == "missing":
            lost = LOST.get(one["name"], "every notebook")
            yield _finding("package.missing", severity, **facts, lost=lost)
        elif one["state"] == "outside the supported range":
            yield _finding("package.outside_range", severity, **facts)
    differ = [one for one in versions if one["state"] == "differs"]
    if differ:
        said = ["{name} {installed} (tested {tested})".format(**one) for one in differ]
        yield _finding("package.differs", differing=", ".join(said))


# --- the machine -----------------------------------------------------------------------------


def _facts() -> dict[str, Any]:
    def free(place: Path) -> float:
        there = next(folder for folder in (place, *place.parents) if folder.exists())
        return round(shutil.disk_usage(there).free / 1e9, 1)

    memory = psutil.virtual_memory()
    return {
        "python": sys.executable,
        "folder": str(Path.cwd()),
        "disk_free_gb": free(Path.cwd()),
        "cache": str(cache_dir()),
        "cache_free_gb": free(cache_dir()),
        "memory_gb": round(memory.total / 1e9, 1),
        "memory_free_gb": round(memory.available / 1e9, 1),
    }


def _room(facts: dict[str, Any]) -> Iterator[Finding]:
    if facts["disk_free_gb"] < 0.5:
        yield _finding("disk.full", free=facts["disk_free_gb"])
    elif facts["cache_free_gb"] < 2:
        yield _finding("disk.low", free=facts["cache_free_gb"])
    if facts["memory_free_gb"] < 3:
        code = "memory.low" if facts["memory_free_gb"] < 1 else "memory.tight"
        yield _finding(code, free=facts["memory_free_gb"])


def _town() -> Iterator[Finding]:
    try:
        problems = town_damage()
    except DataError as problem:
        said = f"{problem.where}: {problem.message}"
        yield _finding("town.missing", said=said, fix=problem.hint)
        return
    if problems:
        more = f" and {len(problems) - 1} more" if len(problems) > 1 else ""
        yield _finding("town.damaged", said=problems[0] + more)


def _gpu() -> Iterator[Finding]:
    try:
        import torch
    except ImportError:
        return  # said by the versions
    except OSError as problem:
        yield _finding("torch.broken", said=problem)
        return
    if not torch.cuda.is_available():
        if shutil.which("nvidia-smi"):
            why = "was built without CUDA" if torch.version.cuda is None else "cannot use it"
            yield _finding("gpu.unused", version=torch.__version__, why=why)
        return
    try:
        torch.ones(2, 2, device="cuda") @ torch.ones(2, 2, device="cuda")
    except Exception as problem:  # in the words of CUDA
        yield _finding("gpu.no_kernels", said=str(problem).strip().split("\n")[0])
    try:
        importlib.import_module("bitsandbytes")
    except Exception as problem:  # a broken CUDA set-up shows as almost anything
        yield _finding("bitsandbytes.broken", said=f"{type(problem).__name__}: {problem}")


def _jupyter() -> Iterator[Finding]:
    """Whether a Jupyter kernel starts this Python."""
    try:
        from jupyter_client.kernelspec import KernelSpecManager
    except ImportError:
        return  # it comes with jupyterlab: said by the versions
    specs = KernelSpecManager().get_all_specs().values()
    starts = [spec["spec"]["argv"][0] for spec in specs if spec["spec"].get("argv")]
    here = Path(sys.executable).parent
    # Jupyter puts its own Python in the place of a bare name
    if not any(s in ("python", "python3") or Path(s).parent == here for s in starts):
        yield _finding("kernel.other_python")
