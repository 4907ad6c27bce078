"""Find Chromium for the browser tests; as root on Debian, install it first.

Prints one line that says what was found. Exit status: 0 found, 1 missing.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

NAMES = (
    *("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome"),
    "/Applications/Chromium.app/Contents/MacOS/Chromium",
    "/Applications/Google Chrome.app/Contents/MacOS/Google Chrome",
)


def find_chromium() -> str | None:
    """Path of a Chromium or Chrome: the variable SFT_CHROMIUM, the search path, usual places."""
    named = os.environ.get("SFT_CHROMIUM")
    if named:
        return named if Path(named).exists() else None
    return next(filter(None, map(shutil.which, NAMES)), None)


if __name__ == "__main__":
    may_install = shutil.which("apt-get") and os.geteuid() == 0
    if find_chromium() is None and may_install and "SFT_CHROMIUM" not in os.environ:
        print("[browser] installing Debian's chromium (a minute or two)", flush=True)
        quiet = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
        for step in (["update"], ["install", "--no-install-recommends", "chromium"]):
            command = ["apt-get", "-qq", "-y", *step]
            subprocess.run(command, env=quiet, stdout=subprocess.DEVNULL)
    missing = "NO CHROMIUM: the browser tests cannot run. Install chromium, or set SFT_CHROMIUM"
    print(f"[browser] {find_chromium() or missing}", flush=True)
    sys.exit(find_chromium() is None)
