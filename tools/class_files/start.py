"""Install the kit from this folder and open it: no network needed. Standard library only.

python start.py            install (the first time a few minutes) and open JupyterLab
python start.py --check    say in one line whether this machine is ready, and change nothing
python start.py --install  install and stop
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import platform
import shutil
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
KIT = HERE / "kit"
ROOM_GB = 4.0
MEMORY_GB = 4.0


class NotReady(Exception):
    """The machine cannot run the kit; the text says why and what to do."""


def python_tag() -> str:
    """System and Python of this machine as the pack names them: `linux-3.11`."""
    system = {"Linux": "linux", "Darwin": "macos", "Windows": "windows"}[platform.system()]
    return f"{system}-{sys.version_info[0]}.{sys.version_info[1]}"


def memory_gb() -> float | None:
    """Memory of the machine; None where the standard library does not know."""
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9
    except (AttributeError, ValueError, OSError):
        return None


def damaged() -> list[str]:
    """Files of this folder that are missing, or not what SHA256SUMS says."""
    bad = []
    for line in (HERE / "SHA256SUMS").read_text("utf-8").splitlines():
        digest, name = line.split("  ", 1)
        path = HERE / name
        if not path.is_file() or sha256(path) != digest:
            bad.append(name)
    return bad


def sha256(path: Path) -> str:
    """Hash of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def check(venv: Path) -> str:
    """One line of good news.

    Raises:
        NotReady: something is in the way.
    """
    pack = json.loads((HERE / "pack.json").read_text("utf-8"))
    tag = python_tag()
    if tag not in pack["wheels"]:
        there = ", ".join(sorted(pack["wheels"]))
        raise NotReady(
            f"this pack has no packages for {tag}: it has {there}. Take one of those Pythons"
        )
    missing = pack["wheels"][tag]
    if missing:
        raise NotReady(
            f"the pack lacks, for {tag}: {', '.join(missing)}. Install these from a network"
        )
    free = shutil.disk_usage(venv.parent).free / 1e9
    if not venv.exists() and free < ROOM_GB:
        raise NotReady(
            f"{free:.1f} GB of disk are free and {ROOM_GB:.0f} are needed. Free some room"
        )
    memory = memory_gb()
    if memory is not None and memory < MEMORY_GB:
        raise NotReady(f"this machine has {memory:.1f} GB of memory; the kit needs {MEMORY_GB:.0f}")
    bad = damaged()
    if bad:
        raise NotReady(f"{len(bad)} files are damaged ({bad[0]}). Copy the folder again")
    state = "installed" if (venv / "ready.json").exists() else "ready to install"
    size = "" if memory is None else f", {memory:.0f} GB of memory"
    return f"READY: {tag}{size}, {free:.0f} GB of disk free, files whole, {state}"


def install(venv: Path) -> Path:
    """Make the environment from the wheels of this folder; return its Python."""
    python = venv / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    pack = (HERE / "pack.json").read_text("utf-8")
    done = venv / "ready.json"
    if done.exists() and done.read_text("utf-8") == pack:
        return python
    print("Installing from this folder: a few minutes, no network.", flush=True)
    shutil.rmtree(venv, ignore_errors=True)
    subprocess.run([sys.executable, "-m", "venv", str(venv)], check=True)
    pip = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    pip += ["--no-index", "--find-links", str(HERE / "wheels")]
    environment = {name: value for name, value in os.environ.items() if name[:4] != "PIP_"}
    environment["PIP_CONFIG_FILE"] = os.devnull
    constraints = ["-c", str(KIT / "constraints.txt")]
    names = json.loads(pack)
    for wanted in ([*constraints, *names["install"]], ["--no-deps", *names["alone"]]):
        if wanted[-1] != "--no-deps":
            subprocess.run([*pip, *wanted], check=True, env=environment)
    done.write_text(pack, "utf-8")
    return python


def main() -> int:
    """Command line; returns the exit status."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--check", action="store_true", help="one line: is this machine ready?")
    parser.add_argument("--install", action="store_true", help="install and stop")
    parser.add_argument("--venv", type=Path, default=HERE / ".venv", help="where to install to")
    arguments = parser.parse_args()
    try:
        said = check(arguments.venv)
        print(said)
        if arguments.check:
            return 0
        python = install(arguments.venv.absolute())
    except NotReady as problem:
        print(f"NOT READY: {problem}.")
        return 1
    except subprocess.CalledProcessError:
        print("NOT READY: the installation failed; the lines above say why.")
        return 1
    if arguments.install:
        print(f"Installed. Start it with: {sys.executable} {Path(__file__).name}")
        return 0
    environment = os.environ | {"SFT_SOLUTIONS": "hide", "SFT_DATA": str(KIT / "data")}
    lab = [str(python), "-m", "jupyter", "lab", f"--ServerApp.root_dir={KIT / 'notebooks'}"]
    return subprocess.run(lab, env=environment, cwd=KIT).returncode


if __name__ == "__main__":
    sys.exit(main())
