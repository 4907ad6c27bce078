"""Stamp minutes, badges and the Colab cell into the notebooks, and write two tables of minutes.

    python tools/stamp.py             write them, from build/timings.json and pyproject.toml
    python tools/stamp.py --timings   write build/timings.json from what `make notebooks` left

A notebook carries its stamps in the cells `badge` and `colab` (folded), the second and the third;
README and docs/timings.md between comments. Minutes are rounded up to halves. The address comes
from `[tool.sft-helpers]` in pyproject.toml; without timings the minutes stay as they are.
"""

from __future__ import annotations

import json
import math
import re
import sys
import tomllib
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
HOST = "https://colab.research.google.com"
BADGE = (
    f"*Runs in {{minutes}} min on two CPU cores (measured).* [![Open in Colab]({HOST}/assets/"
    f"colab-badge.svg)]({HOST}/github/{{name}}/blob/main/notebooks/{{stem}}.ipynb) The next cell, "
    "folded, installs the kit on Colab; elsewhere it does nothing."
)
COLAB_CELL = """\
import sys  # Colab: fetch and install the kit; elsewhere nothing
from importlib.util import find_spec

KIT = "{repository}"
if not find_spec("sft_helpers"):
    if "google.colab" not in sys.modules:
        sys.exit("No kit in this Python: choose its .venv as kernel.")
    !git clone -q --depth 1 $KIT kit
    %run kit/tools/colab.py"""
HEADS = {
    "README.md": "| notebook | what you get | minutes |\n|---|---|---|",
    "docs/timings.md": "| notebook | seconds | minutes |\n|---|---:|---:|",
}
START, END = "<!-- stamp:start -->\n", "\n<!-- stamp:end -->"


def minutes(seconds: float) -> str:
    """Seconds as minutes, rounded up to the next half."""
    return f"{max(1, math.ceil(seconds / 30)) / 2:g}"


def stamped(notebook: dict[str, Any], stem: str, took: str, repository: str) -> dict[str, Any]:
    """A notebook with the badge in its second cell and the Colab cell behind it."""
    cells = [cell for cell in notebook["cells"] if cell["id"] != "colab"]
    if [number for number, cell in enumerate(cells) if cell["id"] == "badge"] != [1]:
        raise SystemExit("the second cell of a notebook, and no other, needs the id `badge`")
    badge = BADGE.format(minutes=took, name=repository.split("/", 3)[3], stem=stem)
    cells[1] = cells[1] | {"source": [badge]}
    code = COLAB_CELL.format(repository=repository).splitlines(keepends=True)
    colab: dict[str, Any] = {"cell_type": "code", "execution_count": None, "id": "colab"}
    colab |= {"metadata": {"jupyter": {"source_hidden": True}}, "outputs": [], "source": code}
    return notebook | {"cells": [*cells[:2], colab, *cells[2:]]}


def course_row(stem: str, title: str, took: str) -> str:
    """A line of README's table, from the title cell: its heading and its promise in bold."""
    heading = re.findall(r"^# +(?:\w+ · )?(.+)$", title, re.M)[0]
    promise = re.findall(r"^\*\*(.+?)\*\*$", title, re.M)[0]
    link = f"[{stem.split('_')[0]} · {heading}](notebooks/{stem}.ipynb)"
    return f"| {link} | {promise} | {took} |"


def stamp() -> None:
    """Write all stamps; where `make notebooks` left no timings, the minutes stay as they are."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
    repository = project["tool"]["sft-helpers"]["repository"]
    file = ROOT / "build" / "timings.json"
    timings = json.loads(file.read_text("utf-8")) if file.exists() else {}
    rows: dict[str, list[str]] = {document: [] for document in HEADS}
    for path in sorted((ROOT / "notebooks").glob("*.ipynb")):
        text, stem = path.read_text("utf-8"), path.stem
        was = re.search(r"Runs in ([\d.]+) min", text)
        took = minutes(timings[stem]) if timings else was[1] if was else "?"
        notebook = stamped(json.loads(text), stem, took, repository)
        text = json.dumps(notebook, indent=1, ensure_ascii=False) + "\n"
        path.write_text(text, "utf-8", newline="\n")
        if timings:
            title = "".join(notebook["cells"][0]["source"])
            rows["README.md"].append(course_row(stem, title, took))
            rows["docs/timings.md"].append(f"| `{stem}` | {timings[stem]:.0f} | {took} |")
    total = sum(timings.values())
    rows["docs/timings.md"].append(f"| **all** | **{total:.0f}** | **{total / 60:.1f}** |")
    for name in HEADS if timings else ():
        before, _, rest = (ROOT / name).read_text("utf-8").partition(START)
        table = "\n".join([HEADS[name], *rows[name]])
        text = before + START + table + END + rest.partition(END)[2]
        (ROOT / name).write_text(text, "utf-8", newline="\n")


def write_timings(build: Path) -> None:
    """Notebook to seconds, from the JUnit report that pytest with nbmake wrote."""
    cases = ET.parse(build / "notebooks.xml").iter("testcase")
    took = sorted((Path(case.get("name", "")).stem, float(case.get("time", 0))) for case in cases)
    seconds = {stem: round(time, 1) for stem, time in took}
    (build / "timings.json").write_text(json.dumps(seconds, indent=1) + "\n", "utf-8")
    print(f"build/timings.json: {len(seconds)} notebooks, {sum(seconds.values()):.0f} s")


if __name__ == "__main__":
    write_timings(ROOT / "build") if "--timings" in sys.argv else stamp()
