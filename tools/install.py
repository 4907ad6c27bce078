"""Make `.venv` and install the kit into it; do nothing when nothing has changed.

Run it through setup_env.py, which makes sure that this Python is new enough. Standard library only.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import json
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
import time
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
BUILD_TOOLS = ["setuptools", "wheel"]

# Room for a fresh install in GB, with reserve. Measured with the CPU build: 1.9 for the kit, 2.6
# with all extras, and pip's kept downloads beside it. The CUDA build alone takes 5.6, and its
# downloads 3.
ROOM_GB = {"cpu": 4.0, "cuda": 12.0, "skip": 3.0}

NO_ROOM = ("No space left on device", "not enough space on the disk")
NO_INDEX = (
    "Failed to establish a new connection",
    "NewConnectionError",
    "NameResolutionError",
    "ConnectTimeoutError",
    "ReadTimeoutError",
    "ProxyError",
    "SSLError",
    "connection timed out",
)


class Stop(Exception):
    """The install cannot go on; the text is the one sentence that the user reads."""


class Unreachable(Stop):
    """The package index does not answer. pip downloads before it installs: nothing is half done."""


def say(text: str) -> None:
    """Print one line of progress at once."""
    print(f"[setup] {text}", flush=True)


def python_in(venv: Path) -> Path:
    """Path of the interpreter inside an environment."""
    return venv / ("Scripts/python.exe" if os.name == "nt" else "bin/python")


def read_project(root: Path) -> dict[str, Any]:
    """pyproject.toml as a dictionary."""
    return tomllib.loads((root / "pyproject.toml").read_text("utf-8"))


def without_dependencies(root: Path) -> dict[str, list[str]]:
    """Extras whose packages come alone: extra to requirements, from `[tool.sft-helpers]`."""
    found: dict[str, list[str]] = read_project(root)["tool"]["sft-helpers"]["without-dependencies"]
    return found


def wanted_state(root: Path, torch: str) -> str:
    """Hash of everything that decides what an install brings: dependencies, pins, torch build."""
    project = read_project(root)
    parts = [
        json.dumps([project["project"], project["build-system"]], sort_keys=True),
        json.dumps(without_dependencies(root), sort_keys=True),
        (root / "constraints.txt").read_text("utf-8"),
        torch,
    ]
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()


def pinned(root: Path, name: str) -> str:
    """Version of a package in constraints.txt."""
    text = (root / "constraints.txt").read_text("utf-8")
    found = re.search(rf"^{re.escape(name)}==(\S+)", text, re.MULTILINE)
    if found is None:
        raise Stop(f"constraints.txt has no pin for {name}: restore it with 'git checkout'.")
    return found.group(1)


def has_nvidia_gpu() -> bool:
    """Whether the driver lists at least one GPU."""
    try:
        answer = subprocess.run(["nvidia-smi", "-L"], capture_output=True, timeout=30, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return False
    return answer.returncode == 0 and b"GPU" in answer.stdout


def torch_build(choice: str) -> str:
    """Turn the choice auto | cpu | cuda | skip into the build to install."""
    if choice != "auto":
        return choice
    return "cuda" if has_nvidia_gpu() else "cpu"


def check_room(paths: list[Path], need_gb: float) -> None:
    """Stop when a disk that the install writes to has too little room."""
    for path in paths:
        while not path.exists():
            path = path.parent
        free_gb = shutil.disk_usage(path).free / 1e9
        if free_gb < need_gb:
            raise Stop(
                f"the disk that holds {path} has {free_gb:.1f} GB free and the install needs about "
                f"{need_gb:.1f} GB: free some room, then run the same command again."
            )


def explain(log: str) -> Stop | None:
    """Turn pip's log into one sentence, or None when the cause is not one that we know."""
    if any(mark in log for mark in NO_ROOM):
        return Stop(
            "the disk became full during the install: free some room, then run the same command "
            "again; it repairs what is half installed."
        )
    if any(mark in log for mark in NO_INDEX):
        return Unreachable(
            "the package index cannot be reached: check the network and pip's settings "
            "(pip config list), then run the same command again; what is downloaded is kept."
        )
    return None


class Environment:
    """One virtual environment with its log and the note of what is installed in it."""

    def __init__(self, root: Path, venv: Path) -> None:
        self.root = root
        self.venv = venv
        self.python = python_in(venv)
        self.note = venv / "sft-setup.json"
        self.log = root / "build" / "install.log"
        self.words = ""

    def read_note(self) -> dict[str, Any]:
        """What the last run left: {} when there was none or it is unreadable."""
        try:
            note = json.loads(self.note.read_text("utf-8"))
        except (OSError, ValueError):
            return {}
        return note if isinstance(note, dict) else {}

    def write_note(self, **note: object) -> None:
        """Leave word of the state, in one step so that it is never half written."""
        fresh = self.note.with_suffix(".tmp")
        fresh.write_text(json.dumps(note, indent=1) + "\n", "utf-8")
        fresh.replace(self.note)

    def works(self) -> bool:
        """Whether the interpreter in it starts, is new enough and has pip."""
        code = "import sys, pip; sys.exit(sys.version_info < (3, 11))"
        try:
            return subprocess.run([self.python, "-c", code], capture_output=True).returncode == 0
        except OSError:
            return False

    def create(self) -> None:
        """Make the environment anew."""
        if self.venv.exists():
            shutil.rmtree(self.venv)
        self.venv.mkdir(parents=True)
        self.write_note(state="installing")
        say(f"making {self.venv.name} with Python {platform.python_version()}")
        made = subprocess.run([sys.executable, "-m", "venv", str(self.venv)])
        if made.returncode != 0 or not self.works():
            raise Stop("the environment could not be made; the lines above say why.")

    def run(self, command: list[str]) -> tuple[int, str]:
        """Run a command in it; return its status and what pip logged meanwhile.

        On a screen its own progress shows; elsewhere its words are kept for `pip_or_stop`.
        """
        self.log.parent.mkdir(parents=True, exist_ok=True)
        before = self.log.stat().st_size if self.log.exists() else 0
        screen = sys.stdout.isatty()
        # DeepSpeed, where an extra asks for it, without compiled kernels: a CPU cannot use them
        environment = {"DS_BUILD_OPS": "0", "DS_ACCELERATOR": "cpu", **os.environ}
        done = subprocess.run(command, cwd=self.root, capture_output=not screen, env=environment)
        self.words = "" if screen else (done.stdout + done.stderr).decode("utf-8", "replace")
        if not self.log.exists():
            return done.returncode, ""
        return done.returncode, self.log.read_bytes()[before:].decode("utf-8", "replace")

    def pip(self, *arguments: str) -> tuple[int, str]:
        """`pip install` under the constraints."""
        common = ["--disable-pip-version-check", "--log", str(self.log)]
        constraints = ["-c", str(self.root / "constraints.txt")]
        command = [str(self.python), "-m", "pip", "install", *common, *constraints, *arguments]
        return self.run(command)

    def pip_or_stop(self, *arguments: str) -> None:
        """`pip install`, or one sentence on why it failed."""
        status, log = self.pip(*arguments)
        if status == 0:
            return
        problem = explain(log)
        if problem is None:
            print(self.words, end="", flush=True)
            problem = Stop(f"pip failed; {self.log} has the whole story.")
        raise problem

    def torch_version(self) -> str:
        """Installed version of torch with its build, "" when there is none."""
        code = "from importlib.metadata import version; print(version('torch'))"
        answer = subprocess.run([self.python, "-c", code], capture_output=True, text=True)
        return answer.stdout.strip()


def install_torch(env: Environment, build: str) -> None:
    """Install torch in the build that suits the machine.

    A Linux machine without an NVIDIA GPU has no use for the CUDA build and its libraries, several
    GB. So a CPU build is looked for first in the indexes that pip is set up with, then by uv,
    which knows where the CPU builds are; only then is the plain release taken. On macOS the plain
    release is a CPU build; on Windows it is one too, so there uv is asked for a GPU's build.
    """
    version = pinned(env.root, "torch")
    there, _, label = env.torch_version().partition("+")
    if there == version and not (build == "cuda" and label == "cpu"):
        return
    if there == version:  # the same release in the other build: pip would call it installed
        subprocess.run([env.python, "-m", "pip", "uninstall", "-q", "-y", "torch"])
    system = platform.system()
    if build == "cpu" and system == "Linux":
        say(f"torch {version}: looking for a CPU build")
        status, log = env.pip(f"torch=={version}+cpu")
        if status == 0:
            return
        problem = explain(log)
        if problem is not None:
            raise problem
    backend = {("cpu", "Linux"): "cpu", ("cuda", "Windows"): "auto"}.get((build, system))
    if backend is not None:
        say(f"torch {version}: asking uv, which knows where the other builds are")
        status, _ = env.pip("uv")
        if status == 0:
            uv = [str(env.python), "-m", "uv", "pip", "install", "--python", str(env.python)]
            constraints = ["-c", str(env.root / "constraints.txt")]
            wanted = [f"--torch-backend={backend}", f"torch=={version}"]
            status, _ = env.run([*uv, *constraints, *wanted])
        if status == 0:
            return
        say("torch: not found there either, so the plain release is next")
        if system == "Linux":
            say("torch: on Linux that is the CUDA build, a download of several GB")
            check_room([env.venv], ROOM_GB["cuda"])
    env.pip_or_stop(f"torch=={version}")


def install(root: Path, venv: Path, extras: set[str], choice: str) -> None:
    """Bring the environment to the wanted state, or raise `Stop`."""
    bare = without_dependencies(root)
    known = {*read_project(root)["project"]["optional-dependencies"], *bare}
    if not extras <= known:
        odd = ", ".join(sorted(extras - known))
        raise Stop(f"there is no extra called {odd}; there are {', '.join(sorted(known))}.")
    env = Environment(root, venv)
    note = env.read_note()
    build = torch_build(choice)
    wanted = wanted_state(root, build)
    had = set(note.get("extras", []))
    if note.get("hash") == wanted and extras <= had and env.works():
        say(f"{venv.name} is up to date")
        return
    if note.get("state") == "installing" or not env.works():
        check_room([venv, Path(tempfile.gettempdir())], ROOM_GB[build])
        if venv.exists():
            say(f"{venv.name} is damaged or was cut off half-way: making it anew")
        env.create()
    started = time.monotonic()
    say(f"installing; the first time takes some minutes and about {ROOM_GB[build]:.0f} GB of disk")
    env.write_note(state="installing", extras=sorted(had))
    extras = extras | had
    ordinary = sorted(extras - set(bare))
    brackets = f"[{','.join(ordinary)}]" if ordinary else ""
    try:
        env.pip_or_stop("--retries", "2", *BUILD_TOOLS)
        if build != "skip":
            install_torch(env, build)
        say("the kit and the libraries that it uses")
        env.pip_or_stop("--no-build-isolation", "-e", f"{root}{brackets}")
        for extra in sorted(extras & set(bare)):
            say(f"{extra}: {', '.join(bare[extra])}")
            env.pip_or_stop("--no-deps", *bare[extra])
    except Unreachable:
        env.write_note(state="stopped", extras=sorted(had))
        raise
    env.write_note(state="ready", hash=wanted, extras=sorted(extras))
    say(f"ready in {time.monotonic() - started:.0f} s")


@contextlib.contextmanager
def alone(root: Path) -> Iterator[None]:
    """Let one install run at a time; the lock goes with its process. Windows has no fcntl."""
    try:
        import fcntl
    except ImportError:
        yield
        return
    (root / "build").mkdir(exist_ok=True)
    with (root / "build" / "install.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say("another install is running: waiting for it")
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def main() -> int:
    """Command line; returns the exit status."""
    parser = argparse.ArgumentParser(prog="setup_env.py", description=__doc__)
    parser.add_argument("--extras", default="", help="comma-separated: test, site, evaluation")
    parser.add_argument("--venv", type=Path, default=ROOT / ".venv", help="where (default: .venv)")
    parser.add_argument(
        "--torch",
        choices=["auto", "cpu", "cuda", "skip"],
        default=os.environ.get("TORCH", "auto"),
        help="which build of torch; skip: leave it to pip (default: auto, or the variable TORCH)",
    )
    arguments = parser.parse_args()
    extras = {extra for extra in re.split(r"[,\s]+", arguments.extras) if extra}
    try:
        with alone(ROOT):
            install(ROOT, arguments.venv.absolute(), extras, arguments.torch)
    except Stop as stop:
        print(f"Stopped: {stop}", file=sys.stderr)
        return 1
    except OSError as error:
        reason = f"{error.strerror or error}: {error.filename or arguments.venv}"
        print(f"Stopped: {reason}; mend that, then run the same command again.", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("Stopped by you: run the same command again to go on.", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
