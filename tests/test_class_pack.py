"""The folder for a class: what is in it, that it installs offline, what it complains of."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tools import class_pack
from tools.class_files import start

ROOT = Path(__file__).resolve().parents[1]
HERE = class_pack.Seat(
    {"linux": "linux", "darwin": "macos", "win32": "windows"}[sys.platform],
    f"{sys.version_info[0]}.{sys.version_info[1]}",
)
PROJECT = """
[build-system]
requires = ["setuptools"]
build-backend = "setuptools.build_meta"
[project]
name = "sft-helpers"
version = "9.9"
[tool.setuptools]
py-modules = ["little_kit"]
"""


@pytest.fixture(scope="module")
def packed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The pack of a little kit that needs nothing: the same code, without the download."""
    root = tmp_path_factory.mktemp("repo")
    (root / "pyproject.toml").write_text(PROJECT)
    (root / "constraints.txt").write_text("# none\n")
    (root / "little_kit.py").write_text("WORDS = 'it works'\n")
    for folder, name in (("tests", "test_x.py"), ("notebooks", "00.ipynb"), ("data", "x.jsonl")):
        (root / folder).mkdir()
        (root / folder / name).write_text("x\n")
    git = ["git", "-c", "user.name=x", "-c", "user.email=x@x"]
    subprocess.run([*git, "init", "-q"], cwd=root, check=True)
    subprocess.run([*git, "add", "-A"], cwd=root, check=True)
    (root / "not-in-git.txt").write_text("x")
    out = tmp_path_factory.mktemp("class")
    patch = pytest.MonkeyPatch()
    patch.setattr(class_pack, "closure", lambda *_: set())
    missing = class_pack.pack(root, out, [HERE])
    patch.undo()
    assert missing == {HERE.name: []}
    return out / "student"


def run(folder: Path, *arguments: str, **more: str) -> subprocess.CompletedProcess[str]:
    """Run start.py with an index that nobody serves."""
    nowhere = {"PIP_INDEX_URL": "http://127.0.0.1:9/simple", "PIP_RETRIES": "0"}
    return subprocess.run(
        [sys.executable, str(folder / "start.py"), *arguments],
        env={**os.environ, **nowhere, **more},
        capture_output=True,
        text=True,
    )


def test_learners_get_the_kit_and_nothing_else(packed: Path) -> None:
    files = {p.relative_to(packed).as_posix() for p in packed.rglob("*") if p.is_file()}
    assert {"start.py", "start.sh", "start.command", "start.bat", "pack.json"} <= files
    assert {"kit/notebooks/00.ipynb", "kit/data/x.jsonl", "kit/constraints.txt"} <= files
    assert not [name for name in files if "tests/" in name or "not-in-git" in name]
    listed = (packed / "SHA256SUMS").read_text().splitlines()
    assert {line.split("  ")[1] for line in listed} == files - {"SHA256SUMS"}


def test_a_ready_machine_is_told_so_in_one_line(packed: Path, tmp_path: Path) -> None:
    done = run(packed, "--check", "--venv", str(tmp_path / "venv"))
    assert (done.returncode, done.stdout.count("\n")) == (0, 1)
    assert done.stdout.startswith(f"READY: {HERE.name}")
    assert not (tmp_path / "venv").exists()


def test_it_installs_without_a_network(packed: Path, tmp_path: Path) -> None:
    venv = tmp_path / "venv"
    done = run(packed, "--install", "--venv", str(venv))
    assert done.returncode == 0, done.stdout + done.stderr
    python = venv / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    code = "import little_kit; print(little_kit.WORDS)"
    said = subprocess.run([python, "-c", code], capture_output=True, text=True, cwd=tmp_path)
    assert said.stdout == "it works\n"
    again = run(packed, "--install", "--venv", str(venv))
    assert "Installing" not in again.stdout
    assert "installed" in again.stdout


@pytest.mark.parametrize("shell", ["start.sh", "start.command"])
def test_the_script_for_a_shell_hands_over(packed: Path, tmp_path: Path, shell: str) -> None:
    done = subprocess.run(
        ["sh", str(packed / shell), "--check", "--venv", str(tmp_path / "venv")],
        capture_output=True,
        text=True,
    )
    assert done.stdout.startswith(("READY", "NOT READY: this pack has no packages for"))
    nothing = subprocess.run(
        ["/bin/sh", str(packed / shell)], env={"PATH": ""}, capture_output=True, text=True
    )
    assert nothing.returncode != 0


@pytest.fixture
def seat(packed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the pack whose files may be spoilt; returns its place for an environment."""
    import shutil

    folder = tmp_path / "student"
    shutil.copytree(packed, folder)
    monkeypatch.setattr(start, "HERE", folder)
    monkeypatch.setattr(start, "KIT", folder / "kit")
    return folder / ".venv"


def test_what_is_in_the_way_is_named(seat: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert start.check(seat).startswith("READY")
    with monkeypatch.context() as patch:
        patch.setattr(start, "ROOM_GB", 1e9)
        with pytest.raises(start.NotReady, match="GB of disk are free"):
            start.check(seat)
    with monkeypatch.context() as patch:
        patch.setattr(start, "MEMORY_GB", 1e9)
        with pytest.raises(start.NotReady, match="GB of memory"):
            start.check(seat)
    with monkeypatch.context() as patch:
        patch.setattr(start, "python_tag", lambda: "linux-3.9")
        with pytest.raises(start.NotReady, match=rf"no packages for linux-3\.9.*{HERE.name}"):
            start.check(seat)
    file = start.KIT / "data" / "x.jsonl"
    file.write_text("changed\n")
    with pytest.raises(start.NotReady, match=r"1 files are damaged \(kit/data/x\.jsonl\)"):
        start.check(seat)
    pack = start.HERE / "pack.json"
    content = json.loads(pack.read_text())
    content["wheels"][HERE.name] = ["torch==2.13.0"]
    pack.write_text(json.dumps(content))
    with pytest.raises(start.NotReady, match=r"lacks.*torch==2\.13\.0"):
        start.check(seat)


def test_requirements_are_read_for_the_other_system() -> None:
    windows = class_pack.closure(["click>=8", "tqdm"], class_pack.Seat("windows", "3.12"))
    linux = class_pack.closure(["click>=8", "tqdm"], class_pack.Seat("linux", "3.12"))
    assert windows - linux == {"colorama"}
    ours = class_pack.closure(["trl"], HERE)
    assert {"torch", "transformers", "accelerate", "numpy"} <= ours


def test_what_the_index_lacks_is_listed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def download(wanted: str, seat: class_pack.Seat, wheels: Path) -> bool:
        asked.append(wanted)
        return "rare" not in wanted

    monkeypatch.setattr(class_pack, "_download", download)
    linux = class_pack.Seat("linux", "3.13")
    pinned = {"torch": "2.13.0", "rare": "1"}
    missing = class_pack.fetch(["torch", "rare", "free"], linux, tmp_path, pinned)
    assert missing == ["rare==1"]
    assert asked == ["free", "rare==1", "torch==2.13.0+cpu"]


def test_every_pinned_dependency_is_covered() -> None:
    import tomllib

    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    names = class_pack.closure(project["dependencies"], HERE)
    pinned = class_pack.pins(ROOT)
    assert names - pinned.keys() <= {"pip"}
