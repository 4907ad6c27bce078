"""Fill a folder for a class: a USB stick or a LAN server, from which the kit installs offline.

    python tools/class_pack.py [--out build/class] [--systems linux,macos,windows]
                               [--pythons 3.11,3.12,3.13]

What the folder holds:

    student/    what learners get: the kit, the wheels, start scripts, SHA256SUMS
    solutions/  the solved notebooks, for the instructor

For each system and Python the pinned packages are fetched one by one; what the index does not have
as a wheel is written into `pack.json`, and the seat check on such a machine says so.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import platform
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[1]
FILES = ROOT / "tools" / "class_files"
# What a class does not need of what git holds.
LEFT_OUT = (
    ".ci/",
    ".github/",
    ".git",
    ".pre-commit",
    "tests/",
    "benchmarks/",
    "tools/",
    "Makefile",
)
# Names of the wheels that fit: pip takes the first that the index has.
PLATFORMS = {
    "linux": ("manylinux_2_28_x86_64", "manylinux_2_17_x86_64", "manylinux2014_x86_64"),
    "macos": (
        "macosx_14_0_arm64",
        "macosx_12_0_arm64",
        "macosx_11_0_arm64",
        "macosx_10_9_universal2",
    ),
    "windows": ("win_amd64",),
}
MARKERS = {
    "linux": {"sys_platform": "linux", "platform_system": "Linux", "os_name": "posix"},
    "macos": {"sys_platform": "darwin", "platform_system": "Darwin", "os_name": "posix"},
    "windows": {"sys_platform": "win32", "platform_system": "Windows", "os_name": "nt"},
}
MACHINES = {"linux": "x86_64", "macos": "arm64", "windows": "AMD64"}


@dataclass(frozen=True)
class Seat:
    """A kind of machine: system and Python."""

    system: str
    python: str

    @property
    def name(self) -> str:
        """As in `pack.json`: `linux-3.11`."""
        return f"{self.system}-{self.python}"

    @property
    def markers(self) -> dict[str, str]:
        """The environment in which the markers of requirements are read."""
        version = {"python_version": self.python, "python_full_version": f"{self.python}.9"}
        machine = {"platform_machine": MACHINES[self.system], "implementation_name": "cpython"}
        other = {"platform_python_implementation": "CPython", "extra": ""}
        return MARKERS[self.system] | version | machine | other

    @property
    def pip(self) -> list[str]:
        """Options with which pip picks this machine's wheels instead of ours."""
        options = ["--implementation", "cp", "--python-version", self.python]
        tag = "cp" + self.python.replace(".", "")
        for abi in (tag, "abi3", "none"):
            options += ["--abi", abi]
        for name in PLATFORMS[self.system]:
            options += ["--platform", name]
        return options

    @property
    def is_here(self) -> bool:
        """Whether it is this machine's kind."""
        here = {"Linux": "linux", "Darwin": "macos", "Windows": "windows"}.get(platform.system())
        return (self.system, self.python) == (here, f"{sys.version_info[0]}.{sys.version_info[1]}")


def closure(wanted: Iterable[str], seat: Seat) -> set[str]:
    """Names of all packages that these requirements bring along on such a machine.

    What this environment has not installed is kept by name; what *it* needs is then unknown.
    """
    names: set[str] = set()
    queue = [Requirement(line) for line in wanted]
    seen = set()
    while queue:
        need = queue.pop()
        name = canonicalize_name(need.name)
        key = (name, frozenset(need.extras))
        if key in seen:
            continue
        seen.add(key)
        names.add(name)
        try:
            lines = metadata.requires(name) or []
        except metadata.PackageNotFoundError:
            continue
        for found in map(Requirement, lines):
            extras = need.extras or {""}
            if found.marker is None or any(
                found.marker.evaluate({**seat.markers, "extra": extra}) for extra in extras
            ):
                queue.append(found)
    return names


def pins(root: Path) -> dict[str, str]:
    """Name → version of constraints.txt."""
    lines = (root / "constraints.txt").read_text("utf-8").splitlines()
    pairs = [line.split("==") for line in lines if "==" in line and not line.startswith("#")]
    return {canonicalize_name(name): version for name, version in pairs}


def fetch(names: Iterable[str], seat: Seat, wheels: Path, pinned: dict[str, str]) -> list[str]:
    """Fetch a wheel of each package; return what the index does not have, as `name==version`."""
    from tqdm import tqdm

    missing = []
    for name in tqdm(sorted(names), desc=seat.name, unit="package"):
        wanted = f"{name}=={pinned[name]}" if name in pinned else name
        tries = [wanted]
        if name == "torch" and seat.system == "linux":  # without the CUDA libraries
            tries = [f"{wanted}+cpu"]
        if not any(_download(each, seat, wheels) for each in tries):
            missing.append(wanted)
    return missing


def _download(wanted: str, seat: Seat, wheels: Path) -> bool:
    pip = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", str(wheels)]
    pip += ["--disable-pip-version-check", "--only-binary", ":all:"]
    options = [] if seat.is_here else seat.pip
    return subprocess.run([*pip, *options, wanted], capture_output=True).returncode == 0


def copy_kit(root: Path, target: Path) -> None:
    """Copy what git holds and a class needs."""
    command = ["git", "ls-files", "-z"]
    listing = subprocess.run(command, cwd=root, capture_output=True, check=True).stdout.decode()
    for name in filter(None, listing.split("\0")):
        if not name.startswith(LEFT_OUT) and (root / name).is_file():
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(root / name, target / name)


def kit_wheel(root: Path, wheels: Path) -> None:
    """Build the kit's own wheel."""
    pip = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation"]
    subprocess.run([*pip, "--wheel-dir", str(wheels), str(root)], check=True)


def checksums(folder: Path) -> Iterator[str]:
    """Lines of SHA256SUMS: every file of the folder but the list itself."""
    for path in sorted(folder.rglob("*")):
        if path.is_file() and path.name != "SHA256SUMS":
            with path.open("rb") as file:
                digest = hashlib.file_digest(file, "sha256").hexdigest()
            yield f"{digest}  {path.relative_to(folder).as_posix()}\n"


def pack(root: Path, out: Path, seats: Iterable[Seat]) -> dict[str, list[str]]:
    """Fill the folder; return per seat what is missing.

    Wheels that an earlier call fetched are kept, everything else is made anew.
    """
    student, wheels = out / "student", out / "student" / "wheels"
    shutil.rmtree(student / "kit", ignore_errors=True)
    wheels.mkdir(parents=True, exist_ok=True)
    copy_kit(root, student / "kit")
    for file in ("start.py", "start.sh", "start.bat"):
        shutil.copy2(FILES / file, student / file)
    shutil.copy2(FILES / "start.sh", student / "start.command")  # macOS opens it by a click
    project = tomllib.loads((root / "pyproject.toml").read_text("utf-8"))
    for old in wheels.glob(f"{project['project']['name'].replace('-', '_')}-*.whl"):
        old.unlink()
    kit_wheel(root, wheels)
    bare = project.get("tool", {}).get("sft-helpers", {}).get("without-dependencies", {})
    alone = [line for lines in bare.values() for line in lines]
    wanted = [*project["project"].get("dependencies", []), *project["build-system"]["requires"]]
    pinned = pins(root)
    missing = {}
    for seat in seats:
        names = closure(wanted, seat) | {line.split("==")[0] for line in alone}
        missing[seat.name] = fetch(names, seat, wheels, pinned)
    content = {"wheels": missing, "install": [project["project"]["name"]], "alone": alone}
    (student / "pack.json").write_text(json.dumps(content, indent=1) + "\n", "utf-8")
    (student / "SHA256SUMS").write_text("".join(checksums(student)), "utf-8")
    return missing


def main() -> int:
    """Command line; returns the exit status: 1 when a seat lacks packages."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, default=ROOT / "build" / "class")
    parser.add_argument("--systems", default="linux,macos,windows")
    parser.add_argument("--pythons", default="3.11,3.12,3.13")
    arguments = parser.parse_args()
    systems, pythons = arguments.systems.split(","), arguments.pythons.split(",")
    unknown = set(systems) - PLATFORMS.keys()
    if unknown:
        parser.error(f"unknown system {min(unknown)}: there are {', '.join(PLATFORMS)}")
    seats = [Seat(system, python) for system in systems for python in pythons]
    missing = pack(ROOT, arguments.out, seats)
    from sft_helpers.exercises.solutions import build_solutions

    build_solutions(ROOT / "notebooks", arguments.out / "solutions")
    for name, lacks in missing.items():
        print(f"{name}: " + (f"lacks {', '.join(lacks)}" if lacks else "complete"))
    print(
        f"Copy {arguments.out / 'student'} to a stick or a server; start.sh and start.bat begin it."
    )
    return 1 if any(missing.values()) else 0


if __name__ == "__main__":
    sys.exit(main())
