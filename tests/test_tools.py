"""The installer: one sentence when a machine cannot, and the next run heals. And no network."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from pytest_socket import SocketBlockedError, SocketConnectBlockedError

from tools import setup_env

ROOT = Path(__file__).resolve().parents[1]
SH = shutil.which("dash") or shutil.which("sh") or "sh"
ELSEWHERE = "192.0.2.1"  # an address that RFC 5737 sets aside for documentation


# ---------------------------------------------------------------- setting up


@pytest.mark.skipif(shutil.which("make") is None, reason="needs make")
@pytest.mark.parametrize("python", [None, "exit 1"], ids=["none", "too old"])
def test_no_usable_python_ends_in_one_sentence(tmp_path: Path, python: str | None) -> None:
    if python is not None:
        (tmp_path / "python3").write_text(f"#!{SH}\n{python}\n")
        (tmp_path / "python3").chmod(0o755)
    command = [str(shutil.which("make")), f"SHELL={SH}", "install"]
    done = subprocess.run(
        command, cwd=ROOT, env={"PATH": str(tmp_path)}, capture_output=True, text=True
    )
    assert done.returncode != 0
    told = [line for line in done.stderr.splitlines() if not line.startswith("make")]
    assert len(told) == 1
    assert told[0].startswith("Stopped: Python 3.11 or newer with its venv module is needed")


def test_an_old_python_says_so_itself() -> None:
    """On Windows there is no make that would look before."""
    code = (
        "import runpy, sys; sys.version_info = (3, 9, 2, 'final', 0);"
        " runpy.run_path('tools/setup_env.py')"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 1
    assert done.stderr.startswith("Stopped: Python 3.11 or newer is needed and this is Python 3.9")
    assert done.stderr.count("\n") == 1


@pytest.fixture(scope="module")
def venv(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An environment with nothing but pip."""
    path = tmp_path_factory.mktemp("kit") / ".venv"
    subprocess.run([sys.executable, "-m", "venv", str(path)], check=True)
    return path


def set_up(venv: Path, *more: str) -> subprocess.CompletedProcess[str]:
    """Run the real script on `venv` with an index that nobody serves."""
    nowhere = {"PIP_CONFIG_FILE": os.devnull, "PIP_INDEX_URL": "http://127.0.0.1:9/simple"}
    kept = {key: value for key, value in os.environ.items() if not key.startswith("PIP_")}
    command = [sys.executable, str(ROOT / "tools/setup_env.py"), "--venv", str(venv), *more]
    settings = {**kept, **nowhere, "PIP_NO_CACHE_DIR": "1", "TORCH": "cpu"}
    return subprocess.run(command, env=settings, capture_output=True, text=True)


def note(venv: Path, **state: object) -> None:
    (venv / "sft-setup.json").write_text(json.dumps(state))


def test_an_unreachable_index_ends_in_one_sentence_and_changes_nothing(venv: Path) -> None:
    note(venv, state="ready", hash="an older one", extras=["test"])
    done = set_up(venv)
    assert done.returncode == 1
    assert "Stopped: the package index cannot be reached" in done.stderr
    assert json.loads((venv / "sft-setup.json").read_text())["state"] == "ready"


def test_nothing_changed_means_nothing_done(venv: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(setup_env, "run", lambda *_: None)
    monkeypatch.setattr(setup_env, "install_torch", lambda *_: None)
    note(venv)
    setup_env.install(venv, {"test"}, "cpu")
    done = set_up(venv, "--extras", "test")
    assert (done.returncode, done.stdout) == (0, "[setup] .venv is up to date\n")
    assert "is up to date" not in set_up(venv, "--extras", "test,site").stdout


@pytest.mark.parametrize("left", ['{"state": "installing", "extras": ["test"]}', '{"stat'])
def test_an_install_that_was_cut_off_begins_anew(venv: Path, left: str) -> None:
    (venv / "sft-setup.json").write_text(left)
    (venv / "half-written").touch()
    done = set_up(venv)
    assert "cut off half-way: making it anew" in done.stdout
    assert not (venv / "half-written").exists()
    assert ("test" in (venv / "sft-setup.json").read_text()) == ("test" in left)


def test_a_full_disk_ends_in_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = SimpleNamespace(free=1_200_000_000)
    monkeypatch.setattr(setup_env.shutil, "disk_usage", lambda path: usage)
    with pytest.raises(setup_env.Stop, match=r"1\.2 GB free and the install needs about 4\.0 GB"):
        setup_env.install(tmp_path / "not" / "yet" / ".venv", set(), "cpu")
    assert not (tmp_path / "not").exists()
    with pytest.raises(setup_env.Stop, match=r"tset one is not of .*test.*: name those"):
        setup_env.install(tmp_path / ".venv", {"tset"}, "cpu")


def test_packages_that_come_alone_have_a_pin() -> None:
    """They are not in the dependencies, so nothing else would notice."""
    wanted = [line for lines in setup_env.ALONE.values() for line in lines]
    assert wanted
    assert set(wanted) <= {*setup_env.PINS.splitlines()}


PLAIN, UV = "pip install torch", "uv pip install --torch-backend={} torch"


@pytest.mark.parametrize(
    ("system", "build", "there", "failing", "asked"),
    [
        ("Linux", "cpu", "", "", ["pip install torch+cpu"]),
        ("Linux", "cpu", "", "+cpu", ["pip install torch+cpu", "pip install uv", UV.format("cpu")]),
        ("Linux", "cpu", "", "+cpu uv", ["pip install torch+cpu", "pip install uv", PLAIN]),
        ("Linux", "cpu", "+cpu", "", []),
        ("Linux", "cuda", "+cpu", "", ["uninstalled", PLAIN]),
        ("Linux", "cuda", "", "", [PLAIN]),
        ("Darwin", "cpu", "", "", [PLAIN]),
        ("Windows", "cpu", "", "", [PLAIN]),
        ("Windows", "cuda", "", "", ["pip install uv", UV.format("auto")]),
    ],
)  # fmt: skip
def test_where_torch_is_looked_for(
    monkeypatch: pytest.MonkeyPatch, system: str, build: str, there: str, failing: str, asked: list
) -> None:
    version = next(line for line in setup_env.PINS.splitlines() if line.startswith("torch=="))[7:]
    found = []

    def run(python: Path, *arguments: str) -> None:
        found.append(" ".join(arguments).replace(f"=={version}", ""))
        if any(arguments[-1].endswith(name) for name in failing.split()):
            raise setup_env.Stop

    monkeypatch.setattr(setup_env, "run", run)
    monkeypatch.setattr(setup_env.subprocess, "run", lambda *_: found.append("uninstalled"))
    monkeypatch.setattr(setup_env.platform, "system", lambda: system)
    setup_env.install_torch(Path("python"), build, f"{version}{there}" if there else "")
    assert found == asked


# ---------------------------------------------------------------- no network


def test_no_sockets_by_default() -> None:
    with pytest.warns(match="tried to use"), pytest.raises(SocketBlockedError):
        socket.socket()


@pytest.mark.loopback
def test_loopback_reaches_this_machine_only() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        socket.create_connection(server.getsockname(), timeout=5).close()
    # Which of the two guards speaks first depends on whether this is an xdist worker.
    blocked = "no network in tests|A test tried to use"
    with pytest.raises((OSError, SocketConnectBlockedError), match=blocked):
        socket.create_connection((ELSEWHERE, 80), timeout=5)


def test_processes_that_a_test_starts_are_held_too() -> None:
    code = (
        "import socket\n"
        "with socket.create_server(('127.0.0.1', 0)) as server:\n"
        "    socket.create_connection(server.getsockname(), timeout=5).close()\n"
        f"socket.create_connection(('{ELSEWHERE}', 80), timeout=5)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stderr.endswith(f"no network in tests: something tried to reach {ELSEWHERE}\n")
