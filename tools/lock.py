"""Write constraints.txt from what `.venv` holds: the versions that the tests ran with.

`make lock` first installs every extra. To move a version: install it into `.venv` by hand, run
`make lock`, then `make test`, and commit only what is green.
"""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
HEAD = """\
# Exact versions of everything that the tests run with, direct and transitive, all extras included.
# Written by `make lock`; the ranges that the kit accepts are in pyproject.toml.
# A constraint installs nothing, so packages that another system does not need do no harm there.
"""
# The kit itself, and what an environment brings along by itself.
SKIP = {"sft-helpers", "pip", "uv"}


def to_constraints(frozen: str) -> str:
    """Turn the output of `pip freeze --all` into a constraints file.

    Local version labels go: `torch==2.13.0+cpu` becomes `torch==2.13.0`, which every build meets.
    """
    lines = []
    for line in frozen.splitlines():
        found = re.match(r"([A-Za-z0-9._-]+)==([^+\s;]+)", line)
        if found and re.sub(r"[-_.]+", "-", found[1]).lower() not in SKIP:
            lines.append(f"{found[1]}=={found[2]}\n")
    return HEAD + "".join(sorted(lines, key=str.lower))


def bare_packages() -> list[str]:
    """Requirements that are installed without their dependencies, as `NAME==VERSION`."""
    kit = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["tool"]["sft-helpers"]
    return [line for lines in kit["without-dependencies"].values() for line in lines]


def contradictions(report: str, bare: list[str]) -> list[str]:
    """Lines of `pip check` that are not about a package that came alone on purpose."""
    alone = tuple(line.split("==")[0] + " " for line in bare)
    return [
        line
        for line in report.splitlines()
        if " requires " in line or " has " in line
        if not line.startswith(alone)
    ]


def main() -> int:
    """Check the environment, freeze it and write the file."""
    pip = [sys.executable, "-m", "pip"]
    bare = bare_packages()
    report = subprocess.run([*pip, "check"], capture_output=True, text=True, check=False).stdout
    problems = contradictions(report, bare)
    if problems:
        print("\n".join(problems), file=sys.stderr)
        print("Stopped: the environment contradicts itself; mend that first.", file=sys.stderr)
        return 1
    frozen = subprocess.run([*pip, "freeze", "--all"], capture_output=True, text=True, check=True)
    lines = dict.fromkeys([*frozen.stdout.splitlines(), *bare])
    pins = to_constraints("\n".join(lines))
    (ROOT / "constraints.txt").write_text(pins, "utf-8", newline="\n")
    print("constraints.txt written; run `make test` before you commit it")
    return 0


if __name__ == "__main__":
    sys.exit(main())
