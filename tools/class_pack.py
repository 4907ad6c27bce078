"""Fill a folder for a class: a USB stick or a LAN server, from which the kit installs offline.

`student/` is what learners get: the kit, the wheels, start scripts. For each system and Python pip
downloads the pinned packages; what it does not find as a wheel is written into `pack.json`, and the
seat check on such a machine says so. `docs/instructor.md` tells the rest.
"""

from __future__ import annotations

import argparse
import hashlib
import itertools
import json
import shutil
import subprocess
import sys
import tempfile
import tomllib
import zipfile
from collections.abc import Iterable
from importlib import metadata
from pathlib import Path
from typing import Any

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[1]
# What a class does not need of what git holds.
LEFT_OUT = (".ci/", ".git", ".pre-commit", "tests/", "benchmarks/", "tools/", "Makefile")
# Per system: the values of these markers of requirements, and the names of the wheels that fit.
MARKERS = ("sys_platform", "platform_system", "os_name", "platform_machine")
SYSTEMS = {
    "linux": ("linux", "Linux", "posix", "x86_64"),
    "macos": ("darwin", "Darwin", "posix", "arm64"),
    "windows": ("win32", "Windows", "nt", "AMD64"),
}
WHEELS = {
    "linux": [f"manylinux{tag}_x86_64" for tag in ("_2_28", "_2_27", "_2_24", "_2_17", "2014")],
    "macos": ["macosx_14_0_arm64", "macosx_11_0_arm64", "macosx_10_9_universal2"],
    "windows": ["win_amd64"],
}


def closure(wanted: Iterable[str], system: str, python: str) -> set[str]:
    """Names of all packages that these requirements bring along on such a machine.

    pip would read their markers for *this* machine. Of what is not installed here the name is kept.
    """
    machine = dict(zip(MARKERS, SYSTEMS[system], strict=True))
    machine |= {"python_version": python, "python_full_version": f"{python}.9"}
    queue = [Requirement(line) for line in wanted]
    seen: set[tuple[str, str]] = set()
    while queue:
        need = queue.pop()
        for extra in {"", *need.extras} - {e for name, e in seen if name == need.name}:
            seen.add((need.name, extra))
            try:
                lines = map(Requirement, metadata.requires(need.name) or [])
            except metadata.PackageNotFoundError:
                continue
            here = machine | {"extra": extra}
            queue += [one for one in lines if one.marker is None or one.marker.evaluate(here)]
    return {canonicalize_name(name) for name, _ in seen}


def fetch(names: Iterable[str], system: str, python: str, folder: str) -> list[str]:
    """Download a wheel of each package; return what is nowhere to be had, as `name==version`."""
    lines = (ROOT / "constraints.txt").read_text("utf-8").splitlines()
    pins = {str(canonicalize_name(line.split("==")[0])): line for line in lines if "==" in line}
    wanted = [pins.get(name, name) for name in sorted(names)]
    if system == "linux":  # without the CUDA libraries
        wanted = [f"{line}+cpu" if line.startswith("torch==") else line for line in wanted]
    pip = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", folder]
    pip += ["--only-binary", ":all:", "--implementation", "cp", "--python-version", python]
    pip += [option for wheel in WHEELS[system] for option in ("--platform", wheel)]

    def found(*some: str) -> bool:
        return subprocess.run([*pip, *some], capture_output=True).returncode == 0

    # all in one call; only where that fails are they asked for one by one
    missing = [] if found(*wanted) else [line for line in wanted if not found(line)]
    return [line.removesuffix("+cpu") for line in missing]


def copy_kit(target: Path) -> None:
    """Put what git holds and a class needs into a zip file; name the files that git lacks."""
    git = ["git", "ls-files", "-z"]
    names = subprocess.run(git, cwd=ROOT, capture_output=True, check=True).stdout.decode()
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as kit:
        for name in names.strip("\0").split("\0"):
            if not name.startswith(LEFT_OUT):
                kit.write(ROOT / name, f"kit/{name}")
        for script in target.parent.glob("start.*"):
            kit.write(script, script.name)
    print("Not in git, so not in the pack:", flush=True)
    subprocess.run(["git", "ls-files", "--others", "--exclude-standard"], cwd=ROOT, check=True)


def digest(path: Path) -> str:
    """SHA-256 of a file."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def pack(out: Path, systems: Iterable[str], pythons: Iterable[str]) -> list[str]:
    """Fill the folder anew (pip's cache saves time); return what is missing for some machine."""
    from sft_helpers.export.gguf import CONVERTER

    student = out / "student"
    shutil.rmtree(student, ignore_errors=True)
    scripts = ROOT / "tools" / "class_files"
    shutil.copytree(scripts, student, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy2(student / "start.sh", student / "start.command")  # macOS opens it by a click
    copy_kit(student / "kit.zip")
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
    wanted = [*project["project"]["dependencies"], *project["build-system"]["requires"]]
    bare = project["tool"]["sft-helpers"]["without-dependencies"].values()
    alone = {line.split("==")[0] for lines in bare for line in lines}
    seats: dict[str, Any] = {}
    for system, python in itertools.product(systems, pythons):
        missing: list[str] = []
        about: dict[str, Any] = {"machine": SYSTEMS[system][3], "missing": missing}
        names = {"wheels": closure(wanted, system, python) | alone, "converter": set(CONVERTER)}
        for part, needed in names.items():  # llama.cpp's converter goes into a folder of its own
            with tempfile.TemporaryDirectory() as folder:
                missing += fetch(needed, system, python, folder)
                files = sorted(Path(folder).iterdir())
                about[part] = {f"wheels/{path.name}": digest(path) for path in files}
                shutil.copytree(folder, student / "wheels", dirs_exist_ok=True)
        seats[f"{system}-{python}"] = about
        print(f"{system}-{python}: lacks {', '.join(missing) or 'nothing'}", flush=True)
    content = {"kit": digest(student / "kit.zip"), "seats": seats}
    (student / "pack.json").write_text(json.dumps(content, indent=1) + "\n", "utf-8")
    return [line for about in seats.values() for line in about["missing"]]


def main() -> int:
    """Command line; returns the exit status: 1 when a kind of machine lacks packages."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--out", type=Path, default=ROOT / "build" / "class")
    parser.add_argument("--systems", nargs="+", choices=SYSTEMS, default=[*SYSTEMS])
    parser.add_argument("--pythons", nargs="+", default=["3.11", "3.12", "3.13"])
    given = parser.parse_args()
    missing = pack(given.out, given.systems, given.pythons)
    print(f"Copy {given.out / 'student'} to a stick or a server; start.sh, start.bat begin it.")
    return 1 if missing else 0


if __name__ == "__main__":
    sys.exit(main())
