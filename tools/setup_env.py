"""Find a Python that is new enough and hand over to install.py.

This file runs on any Python, even 2.7: its whole point is to end with one plain sentence instead
of a syntax error. Keep its syntax old. Usage: python3 tools/setup_env.py --help
"""

import os
import subprocess
import sys

OLDEST = (3, 11)
# After the Python that was asked for, the newest tested one first.
OTHERS = ("python3.13", "python3.12", "python3.11", "python3", "python")
PROBE = "import sys, venv, ensurepip; sys.stdout.write('%d.%d' % sys.version_info[:2])"
SYSTEM_PACKAGES = "--system-packages"


def version_of(python):
    """Return (major, minor), or None when it does not run or cannot make environments."""
    try:
        probe = subprocess.Popen(
            [python, "-c", PROBE], stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
    except OSError:
        return None
    output = probe.communicate()[0].decode("ascii", "replace")
    if probe.returncode != 0 or "." not in output:
        return None
    return tuple([int(part) for part in output.split(".")])


def find_python():
    """Return the first Python that can make the environment, or None."""
    for name in (sys.executable,) + OTHERS:
        version = version_of(name)
        if version is not None and version >= OLDEST:
            return name
    return None


def add_venv_module():
    """Install Debian's venv module where we may: as root, with apt-get there."""
    if not (hasattr(os, "geteuid") and os.geteuid() == 0 and os.path.exists("/usr/bin/apt-get")):
        return
    sys.stdout.write("[setup] installing python3-venv with apt-get\n")
    sys.stdout.flush()
    subprocess.call(["apt-get", "-qq", "update"])
    subprocess.call(["apt-get", "-qq", "-y", "install", "python3-venv"])


def complaint():
    """Return the one sentence for a machine without a usable Python."""
    here = "%d.%d" % sys.version_info[:2]
    if sys.version_info[:2] >= OLDEST:
        return (
            "Python %s lacks the venv module: install it (on Debian and Ubuntu: "
            "sudo apt-get install python3-venv), then run the same command again." % here
        )
    return (
        "Python 3.11 or newer is needed and this is Python %s: install a newer one, then run the "
        "same command again (or name it: make install PYTHON=/path/to/python3.12)." % here
    )


def main(arguments):
    """Hand over to install.py under a good Python; return the exit status."""
    python = find_python()
    if python is None and SYSTEM_PACKAGES in arguments and sys.version_info[:2] >= OLDEST:
        add_venv_module()
        python = find_python()
    if python is None:
        sys.stderr.write("Stopped: " + complaint() + "\n")
        return 1
    script = os.path.join(os.path.dirname(os.path.abspath(__file__)), "install.py")
    try:
        return subprocess.call([python, script] + [a for a in arguments if a != SYSTEM_PACKAGES])
    except KeyboardInterrupt:
        return 130


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
