"""Install the kit from this folder, or from one that a server shows, and open it: no internet.

python start.py             install into ~/sft-kit (the first time some minutes), open JupyterLab
python start.py --check     say in one line whether this machine is ready, and change nothing
python start.py --install   install and stop
python start.py --from http://HOST:8000    the folder stands on a server in the room

Standard library only. Nothing is written to this folder: it may be read-only, or shared.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import json
import os
import platform
import shutil
import subprocess
import sys
import urllib.request
import zipfile
from pathlib import Path
from urllib.parse import quote

HERE = Path(__file__).resolve().parent
ROOM_GB, MEMORY_GB = 4.0, 4.0
SYSTEM = platform.system().lower().replace("darwin", "macos")
SEAT = f"{SYSTEM}-{sys.version_info[0]}.{sys.version_info[1]}"
# JupyterLab would ask the network for news, and thirty people whether it may.
NO_NEWS = {"@jupyterlab/apputils-extension:notification": {"fetchNews": "false"}}


class NotReady(Exception):
    """The machine cannot run the kit; the text says why and what to do."""


def need(condition: bool, why: str) -> None:
    """Stop unless the condition holds."""
    if not condition:
        raise NotReady(why)


class Pack:
    """The folder, here or on a server, and where it is installed to."""

    def __init__(self, address: str | None, target: Path) -> None:
        self.base, self.target = (address or HERE.as_uri()).rstrip("/"), target
        # A proxy of the house knows nothing of a server in the room.
        self.web = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        try:
            self.text = self.read("pack.json")
            content = json.loads(self.text)
            self.kit, self.seats = content["kit"], content["seats"]
        except (OSError, ValueError, KeyError, TypeError) as problem:
            mend = "Ask for the address" if address else "Copy the folder again"
            raise NotReady(f"{address or HERE} cannot be read ({problem}). {mend}") from None
        self.python = target / ".venv" / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
        self.converter = target / ".venv" / "gguf-converter"  # llama.cpp's
        note = target / ".venv" / "ready.json"
        self.installed = note.exists() and note.read_bytes() == self.text

    def read(self, name: str, digest: str | None = None) -> bytes:
        """A file of the pack, compared with its checksum."""
        content: bytes = self.web.open(f"{self.base}/{quote(name)}", timeout=60).read()
        sound = digest is None or hashlib.sha256(content).hexdigest() == digest
        need(sound, f"{name} is damaged. Copy the folder again")
        return content

    def check(self) -> str:
        """One line of good news; raises NotReady when something is in the way."""
        there = ", ".join(sorted(self.seats))
        need(SEAT in self.seats, f"this pack has nothing for {SEAT}: it has {there}. Take one")
        seat, here = self.seats[SEAT], platform.machine()
        fits = here.lower() == seat["machine"].lower() and sys.maxsize > 2**32
        need(fits, f"the packages are not for this {here} but for 64 bits {seat['machine']}")
        lacks = ", ".join(seat["missing"])
        need(not lacks, f"the pack lacks, for {SEAT}: {lacks}. Take another Python")
        place = next(path for path in [self.target, *self.target.parents] if path.exists())
        writable = os.access(place, os.W_OK)
        need(writable, f"{place} cannot be written. Name another folder: --to FOLDER")
        if hasattr(os, "sysconf"):  # Windows tells the standard library nothing
            memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9
            need(memory >= MEMORY_GB, f"{memory:.1f} GB of memory, {MEMORY_GB:.0f} are needed")
        if self.installed:
            return f"READY: {SEAT}, installed in {self.target}"
        older = self.target / "pack.json"
        same = not older.exists() or older.read_bytes() == self.text
        need(same, f"{self.target} holds an older pack. Name another folder: --to FOLDER")
        free = shutil.disk_usage(place).free / 1e9
        need(free >= ROOM_GB, f"{free:.1f} GB of disk are free, {ROOM_GB:.0f} are needed")
        if self.base.startswith("file:"):
            files = {"kit.zip": self.kit, **seat["wheels"], **seat["converter"]}
            for name, digest in files.items():
                self.read(name, digest)
        return f"READY: {SEAT}, ready to install"

    def install(self) -> None:
        """Copy the kit and make its environment from the wheels; what is there stays."""
        print(f"Installing into {self.target}: some minutes, no internet.", flush=True)
        with zipfile.ZipFile(io.BytesIO(self.read("kit.zip", self.kit))) as kit:
            new = [name for name in kit.namelist() if not (self.target / name).exists()]
            kit.extractall(self.target, new)
        for script in self.target.glob("start.*"):
            script.chmod(0o755)
        (self.target / "pack.json").write_bytes(self.text)
        venv = self.target / ".venv"
        shutil.rmtree(venv, ignore_errors=True)
        subprocess.run([sys.executable, "-m", "venv", str(venv)], check=True)
        settings = {name: value for name, value in os.environ.items() if name[:4] != "PIP_"}
        settings |= {"PIP_CONFIG_FILE": os.devnull, "NO_PROXY": "*", "no_proxy": "*"}
        pip = [str(self.python), "-m", "pip", "install", "--disable-pip-version-check"]
        for part, where in {"wheels": [], "converter": ["--target", str(self.converter)]}.items():
            files = self.seats[SEAT][part].items()  # pip compares the checksums
            wheels = [f"{self.base}/{quote(name)}#sha256={digest}" for name, digest in files]
            bare = ["--no-index", "--no-deps", *where, *wheels]
            if wheels:
                subprocess.run([*pip, *bare], env=settings, check=True)
        # with its dependencies: what the wheels lack is an error now, not in a lesson
        kit_here = ["--no-index", "--no-build-isolation", "-e", str(self.target / "kit")]
        subprocess.run([*pip, *kit_here], env=settings, check=True)
        folder = venv / "share" / "jupyter" / "lab" / "settings"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "overrides.json").write_text(json.dumps(NO_NEWS), "utf-8")
        (venv / "ready.json").write_bytes(self.text)

    def lab(self) -> int:
        """Open JupyterLab; return its exit status."""
        # so that a terminal there finds sft-helpers
        path = str(self.python.parent) + os.pathsep + os.environ.get("PATH", "")
        more = {"SFT_SOLUTIONS": "hide", "HF_HUB_OFFLINE": "1"} | os.environ | {"PATH": path}
        more["SFT_GGUF_CONVERTER"] = str(self.converter)
        # The glossary that the notebooks link to lies beside their folder: the root holds both.
        kit = self.target / "kit"
        command = [str(self.python), "-m", "jupyter", "lab", f"--ServerApp.root_dir={kit}"]
        command += [f"--ServerApp.preferred_dir={kit / 'notebooks'}"]
        return subprocess.run(command, env=more, cwd=kit).returncode


def main() -> int:
    """Command line; returns the exit status."""
    formatter = argparse.RawTextHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=formatter)
    parser.add_argument("--check", action="store_true")
    parser.add_argument("--install", action="store_true")
    parser.add_argument("--from", dest="address", metavar="URL")
    parser.add_argument("--to", type=Path, metavar="FOLDER", help="where to (~/sft-kit)")
    given = parser.parse_args()
    # started where it was installed, or from a stick
    usual = HERE if (HERE / ".venv").exists() else Path.home() / "sft-kit"
    try:
        pack = Pack(given.address, (given.to or usual).expanduser().absolute())
        print(pack.check(), flush=True)
        if not given.check and not pack.installed:
            pack.install()
    except NotReady as problem:
        print(f"NOT READY: {problem}.")
        return 1
    except (OSError, subprocess.CalledProcessError) as problem:
        print(f"NOT READY: {problem}. Copy the folder again, or start again.")
        return 1
    return 0 if given.check or given.install else pack.lab()


if __name__ == "__main__":
    sys.exit(main())
