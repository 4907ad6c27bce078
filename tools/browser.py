"""Find Chromium for the browser tests; with --install, get it from Debian where we may.

Prints one line that says what was found. Exit status: 0 found, 1 missing.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
PLACES = (
    "/Applications/Chromium.app/Contents/MacOS/Chromium",
    "/Applications/Google Chrome.app/Contents/MacOS/Google Chrome",
)


def find_chromium() -> str | None:
    """Path of a Chromium or Chrome: the variable SFT_CHROMIUM, the search path, usual places."""
    named = os.environ.get("SFT_CHROMIUM")
    if named:
        return named if Path(named).exists() else None
    found = next(filter(None, map(shutil.which, NAMES)), None)
    return found or next((place for place in PLACES if Path(place).exists()), None)


def install_chromium() -> None:
    """Install Debian's package, as root only; elsewhere nothing is touched."""
    if not (hasattr(os, "geteuid") and os.geteuid() == 0 and shutil.which("apt-get")):
        return
    print("[browser] installing Debian's chromium (a minute or two)", flush=True)
    apt = ["apt-get", "-qq", "-y", "-o", "Dpkg::Use-Pty=0"]
    quiet = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    subprocess.run([*apt, "update"], env=quiet, check=False)
    # Ubuntu's package of that name is a stub for snap, which fails here: then it stays missing.
    subprocess.run(
        [*apt, "install", "--no-install-recommends", "chromium"],
        env=quiet,
        check=False,
        stdout=subprocess.DEVNULL,
    )


def main(arguments: list[str]) -> int:
    """Report on Chromium, after an attempt to install it if that was asked for."""
    if find_chromium() is None and "--install" in arguments:
        install_chromium()
    path = find_chromium()
    if path is None:
        print(
            "[browser] NO CHROMIUM: the browser tests cannot run. "
            "Install chromium, or set SFT_CHROMIUM to its path.",
            flush=True,
        )
        return 1
    print(f"[browser] {path}", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
