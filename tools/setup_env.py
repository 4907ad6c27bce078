"""Make `.venv` and install the kit into it; do nothing when nothing has changed.

Usage: python3 tools/setup_env.py --help. Standard library only.
"""

import sys

if sys.version_info < (3, 11):  # so nothing above may need a newer Python, syntax included
    sys.exit(
        "Stopped: Python 3.11 or newer is needed and this is Python %d.%d: install a newer one,"
        " then run the same command with it." % sys.version_info[:2]
    )

import argparse
import hashlib
import json
import os
import platform
import re
import shutil
import subprocess
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
LOG = ROOT / "build" / "install.log"
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
PINS = (ROOT / "constraints.txt").read_text("utf-8")
EXTRAS = PROJECT["project"]["optional-dependencies"]
ALONE = PROJECT["tool"]["sft-helpers"]["without-dependencies"]  # come without what they need
# Room for a fresh install in GB, with reserve. Measured with the CPU build: 1.9 for the kit, 2.6
# with all extras, and pip's kept downloads beside it. CUDA's takes 5.6, and its downloads 3.
ROOM_GB = {"cpu": 4.0, "cuda": 12.0}
# Where torch is looked for before the plain release is taken. On Linux that one brings CUDA's
# libraries, several GB: so a CPU build is looked for in the indexes that pip is set up with, then
# by uv, which knows where the builds are. On Windows the plain release is a CPU build.
BY_UV = "pip install uv && uv pip install --torch-backend={} torch=={{0}}"
TORCH = {
    ("Linux", "cpu"): ["pip install torch=={0}+cpu", BY_UV.format("cpu")],
    ("Windows", "cuda"): [BY_UV.format("auto")],
}
# Fails where the environment is not usable; prints the version of torch in it, if any.
LOOK = (
    "import sys, pip, importlib.metadata as m; assert sys.version_info >= (3, 11);"
    "print(*[found.version for found in m.distributions(name='torch')])"
)


class Stop(Exception):
    """The install cannot go on; the text is the one sentence that the user reads."""


class Unreachable(Stop):
    """The package index does not answer. pip downloads before it installs: nothing is half done."""


def say(text: str) -> None:
    """Print one line of progress at once."""
    print(f"[setup] {text}", flush=True)


def run(python: Path, *arguments: str) -> None:
    """Run `python -m …`, an install, under the constraints."""
    LOG.write_text("")
    settings = {"PIP_LOG": str(LOG), "PIP_DISABLE_PIP_VERSION_CHECK": "1"}
    settings |= {"VIRTUAL_ENV": str(python.parents[1])}  # for uv
    settings |= {"DS_BUILD_OPS": "0", "DS_ACCELERATOR": "cpu"}  # DeepSpeed without its kernels
    command = [str(python), "-m", *arguments, "-c", str(ROOT / "constraints.txt")]
    if subprocess.run(command, cwd=ROOT, env=os.environ | settings).returncode == 0:
        return
    log = LOG.read_text("utf-8", "replace")
    if re.search("No space left on device|not enough space on the disk", log):
        raise Stop("the disk became full during the install: free some room")
    if "connection broken by" in log:
        raise Unreachable(
            "the package index cannot be reached: check the network and pip's settings"
            " (pip config list); what is downloaded is kept"
        )
    raise Stop(f"the install failed, the lines above and {LOG} say why: mend that")


def torch_build(choice: str) -> str:
    """Turn auto | cpu | cuda into a build: CUDA where a driver lists a GPU."""
    if choice != "auto":
        return choice
    try:
        gpus = subprocess.run(["nvidia-smi", "-L"], capture_output=True, timeout=30).stdout
    except (OSError, subprocess.TimeoutExpired):
        return "cpu"
    return "cuda" if b"GPU" in gpus else "cpu"


def install_torch(python: Path, build: str, there: str) -> None:
    """Install torch, in the build that suits the machine, from the first place that has it."""
    version = re.findall(r"^torch==(\S+)", PINS, re.MULTILINE)[0]
    if there.split("+")[0] == version:
        if build == "cpu" or not there.endswith("+cpu"):
            return
        subprocess.run([python, "-m", "pip", "uninstall", "-q", "-y", "torch"])
    for way in TORCH.get((platform.system(), build), []):
        try:
            for step in way.format(version).split(" && "):
                say(f"torch: {step}")
                run(python, *step.split())
            return
        except Unreachable:
            raise
        except Stop:
            say("torch: not there")
    say("torch: the plain release, on Linux the CUDA build, a download of several GB")
    run(python, "pip", "install", f"torch=={version}")


def make(venv: Path, room_gb: float) -> None:
    """Make the environment anew, where the disk has room for it."""
    place = next(path for path in venv.parents if path.exists())
    free_gb = shutil.disk_usage(place).free / 1e9
    if free_gb < room_gb:
        raise Stop(
            f"the disk that holds {place} has {free_gb:.1f} GB free and the install needs about"
            f" {room_gb:.1f} GB: free some room"
        )
    if venv.exists():
        say(f"{venv.name} is damaged or was cut off half-way: making it anew")
        shutil.rmtree(venv)
    say(f"making {venv.name} with Python {platform.python_version()}")
    subprocess.run([sys.executable, "-m", "venv", str(venv)], check=True)


def install(venv: Path, extras: set[str], choice: str) -> None:
    """Bring the environment to the wanted state, or raise `Stop`."""
    if not extras <= {*EXTRAS, *ALONE}:
        there = ", ".join([*EXTRAS, *ALONE])
        raise Stop(f"of the extras {', '.join(sorted(extras))} one is not of {there}: name those")
    python = venv / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    build, note = torch_build(choice), venv / "sft-setup.json"
    parts = [PROJECT["project"], PROJECT["build-system"], ALONE, PINS, build]
    wanted = hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()
    try:
        state = json.loads(note.read_text("utf-8")) if note.exists() else {}
    except ValueError:
        state = {"state": "installing"}
    had, torch = {*state.get("extras", [])}, None
    if python.exists():
        looked = subprocess.run([python, "-c", LOOK], capture_output=True, text=True)
        torch = None if looked.returncode else looked.stdout.strip()
    if torch is None or state.get("state") == "installing":
        make(venv, ROOM_GB[build])
        state, torch = {"extras": sorted(had)}, ""
    elif state.get("hash") == wanted and extras <= had:
        return say(f"{venv.name} is up to date")
    say(f"installing; the first time takes some minutes and about {ROOM_GB[build]:.0f} GB of disk")
    note.write_text(json.dumps({"state": "installing", "extras": sorted(had)}))
    extras = extras | had
    brackets = ",".join(sorted(extras & {*EXTRAS}))
    try:
        run(python, "pip", "install", "--retries", "2", "setuptools", "wheel")
        install_torch(python, build, torch)
        kit = f"{ROOT}[{brackets}]" if brackets else str(ROOT)
        run(python, "pip", "install", "--no-build-isolation", "-e", kit)
        for extra in sorted(extras & {*ALONE}):
            run(python, "pip", "install", "--no-deps", *ALONE[extra])
    except Unreachable:
        note.write_text(json.dumps(state))  # all is as it was: the next run goes on from here
        raise
    note.write_text(json.dumps({"state": "ready", "hash": wanted, "extras": sorted(extras)}))
    say("ready")


def main() -> int:
    """Command line; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--extras", default="", help=f"comma-separated: {', '.join(EXTRAS)}")
    parser.add_argument("--venv", type=Path, default=ROOT / ".venv", help="where (default: .venv)")
    usual = os.environ.get("TORCH", "auto")
    parser.add_argument("--torch", choices=["auto", "cpu", "cuda"], default=usual)
    given = parser.parse_args()
    LOG.parent.mkdir(exist_ok=True)
    try:
        if os.name == "posix":  # one install at a time; the lock goes with its process
            import fcntl

            lock = LOG.with_suffix(".lock").open("w")
            fcntl.flock(lock, fcntl.LOCK_EX)
        install(given.venv.absolute(), {*re.split(r"[,\s]+", given.extras)} - {""}, given.torch)
    except (Stop, OSError, subprocess.CalledProcessError) as problem:
        print(f"Stopped: {problem}; then run the same command again.", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("Stopped by you: run the same command again to go on.", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
