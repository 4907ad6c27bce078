"""The folder for a class: what is in it, that it installs offline, what it complains of."""

from __future__ import annotations

import hashlib
import http.server
import json
import os
import shutil
import subprocess
import sys
import threading
import zipfile
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest

from tests.test_project import PROJECT, ROOT, pins
from tools import class_pack
from tools.class_files import start

SYSTEM, PYTHON = start.SEAT.split("-")
LITTLE = """
[build-system]
requires = []
build-backend = "backend"
backend-path = ["."]
[project]
name = "sft-helpers"
version = "9.9"
dependencies = ["ours"]
[tool.sft-helpers.without-dependencies]
"""
# Builds what `pip install -e` asks for, with nothing installed.
BACKEND = """
import pathlib
from make_wheel import wheel
def build_editable(folder, config_settings=None, metadata_directory=None):
    return wheel(folder, "sft_helpers", "9.9", "kit.pth", str(pathlib.Path.cwd()), "ours")
"""
WHEEL = '''
import pathlib, zipfile
def wheel(folder, name, version, file, content, needs=""):
    """Write a wheel that holds one file; return its name."""
    made, info = f"{name}-{version}-py3-none-any.whl", f"{name}-{version}.dist-info/"
    about = f"Metadata-Version: 2.1\\nName: {name}\\nVersion: {version}\\n"
    about += f"Requires-Dist: {needs}\\n" if needs else ""
    with zipfile.ZipFile(pathlib.Path(folder) / made, "w") as wheel:
        wheel.writestr(file, content)
        wheel.writestr(info + "METADATA", about)
        wheel.writestr(info + "WHEEL", "Wheel-Version: 1.0\\nTag: py3-none-any")
        wheel.writestr(info + "RECORD", "")
    return made
'''
OURS = "wheels/ours-1-py3-none-any.whl"


@pytest.fixture(scope="module")
def packed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The pack of a little kit with one dependency: the same code, without the download."""
    root = tmp_path_factory.mktemp("repo")
    shutil.copytree(class_pack.ROOT / "tools" / "class_files", root / "tools" / "class_files")
    files = {"pyproject.toml": LITTLE, "backend.py": BACKEND, "make_wheel.py": WHEEL}
    files |= {"tests/test_x.py": "x", "notebooks/00.ipynb": "x", "data/x.jsonl": "x"}
    for name, text in files.items():
        (root / name).parent.mkdir(exist_ok=True)
        (root / name).write_text(text)
    subprocess.run(["git", "init", "-q"], cwd=root, check=True)
    subprocess.run(["git", "add", "-A"], cwd=root, check=True)
    (root / "not-in-git.txt").write_text("x")
    scope: dict[str, Callable[..., str]] = {}
    exec(WHEEL, scope)

    def fetch(names: set[str], system: str, python: str, folder: str) -> list[str]:
        assert (names, system, python) == ({"ours"}, SYSTEM, PYTHON)
        scope["wheel"](folder, "ours", "1", "little_kit.py", "WORDS = 'it works'\n")
        return []

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(class_pack, "ROOT", root)
        patch.setattr(class_pack, "fetch", fetch)
        out = tmp_path_factory.mktemp("class")
        assert class_pack.pack(out, [SYSTEM], [PYTHON]) == []
    return out / "student"


@pytest.fixture
def stick(packed: Path, tmp_path: Path) -> Path:
    """A copy that may be spoilt, in a folder whose name has a space and an umlaut."""
    return Path(shutil.copytree(packed, tmp_path / "mein Kurs für alle" / "student"))


def run(folder: Path, *arguments: object, **more: str) -> subprocess.CompletedProcess[str]:
    """Run start.py with an index that nobody serves."""
    nowhere = {"PIP_INDEX_URL": "http://127.0.0.1:9/simple", "PIP_RETRIES": "0"}
    command = [sys.executable, str(folder / "start.py"), *map(str, arguments)]
    return subprocess.run(command, env=os.environ | nowhere | more, capture_output=True, text=True)


def what_it_says(target: Path) -> str:
    """The words of the little kit that is installed there."""
    python = next((target / ".venv").glob("[bS]*/python*"))
    code = "import little_kit, sys; print(little_kit.WORDS, *sys.path)"
    return subprocess.run([python, "-c", code], capture_output=True, text=True, cwd="/").stdout


def test_learners_get_the_kit_and_nothing_else(packed: Path) -> None:
    files = {p.relative_to(packed).as_posix() for p in packed.rglob("*") if p.is_file()}
    scripts = {"start.py", "start.sh", "start.command", "start.bat"}
    assert files == {*scripts, "pack.json", "kit.zip", OURS}
    kit = set(zipfile.ZipFile(packed / "kit.zip").namelist())
    assert {*scripts, "kit/notebooks/00.ipynb", "kit/data/x.jsonl"} <= kit
    assert not [name for name in kit if "tests/" in name or "tools/" in name or "not-in" in name]
    # cmd.exe loses its labels in a file without carriage returns; macOS opens only programs
    assert all(line.endswith(b"\r\n") for line in (packed / "start.bat").open("rb"))
    assert os.access(packed / "start.command", os.X_OK)


def test_it_installs_without_a_network_and_writes_nothing_to_the_stick(
    stick: Path, tmp_path: Path
) -> None:
    before = {path: path.stat().st_mtime_ns for path in stick.rglob("*")}
    target = tmp_path / "zu Hause, öffentlich"
    ready = run(stick, "--check", "--to", target)
    assert (ready.returncode, ready.stdout) == (0, f"READY: {start.SEAT}, ready to install\n")
    assert not target.exists()
    done = run(stick, "--install", "--to", target)
    assert done.returncode == 0, done.stdout + done.stderr
    assert what_it_says(target).startswith("it works")
    assert str(target / "kit") in what_it_says(target)
    assert {path: path.stat().st_mtime_ns for path in stick.rglob("*")} == before
    notebook = target / "kit" / "notebooks" / "00.ipynb"
    notebook.write_text("my work")
    shutil.rmtree(stick)  # from now on the learner starts it at home
    home = run(target, "--check")
    assert home.stdout == f"READY: {start.SEAT}, installed in {target}\n", home.stderr
    assert notebook.read_text() == "my work"


@pytest.fixture
def address(packed: Path) -> Iterator[str]:
    """What `python -m http.server` does with the folder."""
    handler = partial(http.server.SimpleHTTPRequestHandler, directory=str(packed))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()
        thread.join()


@pytest.mark.loopback
def test_it_installs_from_a_server_in_the_room(packed: Path, address: str, tmp_path: Path) -> None:
    shutil.copy(packed / "start.py", tmp_path)  # all that a learner fetches by hand
    target = tmp_path / "kit"
    deaf = {"http_proxy": "http://127.0.0.1:9"}
    done = run(tmp_path, "--from", address, "--install", "--to", target, **deaf)
    assert done.returncode == 0, done.stdout + done.stderr
    assert what_it_says(target).startswith("it works")
    gone = run(tmp_path, "--from", address + "nothing", "--check", "--to", tmp_path / "other")
    assert gone.stdout.startswith(f"NOT READY: {address}nothing cannot be read")


@pytest.mark.parametrize("shell", ["start.sh", "start.command"])
def test_the_script_for_a_shell_hands_over(stick: Path, tmp_path: Path, shell: str) -> None:
    command = ["sh", str(stick / shell), "--check", "--to", str(tmp_path / "kit")]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.stdout.startswith(("READY", "NOT READY: this pack has nothing for"))
    empty = {"PATH": ""}
    nothing = subprocess.run(
        ["/bin/sh", shell], env=empty, capture_output=True, text=True, cwd=stick
    )
    assert nothing.returncode == 1
    assert nothing.stdout.startswith("NOT READY: no Python 3.11, 3.12 or 3.13")


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda s: (s / OURS).write_bytes((s / OURS).read_bytes()[1:]), f"{OURS} is damaged. Copy"),
        (lambda s: (s / "kit.zip").unlink(), "No such file"),
        (lambda s: (s / "pack.json").write_text("{"), "cannot be read"),
        (lambda s: (s / "pack.json").write_text("[]"), "cannot be read"),
    ],
    ids=["byte", "deleted", "no pack", "no seats"],
)  # fmt: skip
def test_a_spoilt_copy_is_named(
    stick: Path, tmp_path: Path, spoil: Callable[[Path], object], said: str
) -> None:
    spoil(stick)
    done = run(stick, "--check", "--to", tmp_path / "kit")
    assert (done.returncode, done.stdout.count("\n")) == (1, 1)
    assert done.stdout.startswith("NOT READY: ")
    assert said in done.stdout


def test_what_is_in_the_way_is_named(
    stick: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(start, "HERE", stick)
    pack = start.Pack(None, tmp_path / "kit")

    def refused(reason: str, name: str, value: object) -> None:
        with monkeypatch.context() as patch:
            patch.setattr(name, value)
            with pytest.raises(start.NotReady, match=reason):
                pack.check()

    assert pack.check().startswith("READY")
    here = "tools.class_files.start"
    refused("GB of disk are free", f"{here}.ROOM_GB", 1e9)
    refused("GB of memory", f"{here}.MEMORY_GB", 1e9)
    refused(rf"nothing for linux-3\.10.*{start.SEAT}", f"{here}.SEAT", "linux-3.10")
    refused("not for this mips", f"{here}.platform.machine", lambda: "mips")
    refused("cannot be written.*--to", f"{here}.os.access", lambda *_: False)
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


def test_the_pack_holds_checksums(packed: Path) -> None:
    content = json.loads((packed / "pack.json").read_text())
    digests = {"kit.zip": content["kit"], **content["seats"][start.SEAT]["wheels"]}
    for name, digest in digests.items():
        assert hashlib.sha256((packed / name).read_bytes()).hexdigest() == digest
    assert (ROOT / "tools" / "class_files" / "start.sh").read_bytes() == (
        packed / "start.sh"
    ).read_bytes()
