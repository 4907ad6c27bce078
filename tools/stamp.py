"""Stamp measured minutes and badges into the notebooks, the README and the instructor's guide.

    python tools/stamp.py           write them, from build/timings.json
    python tools/stamp.py --check   exit 1 when a notebook or the README lacks its stamp

A notebook carries its stamp in the cell with the id `badge`; the README between the comments
`course:start` and `course:end`. Minutes are rounded up to halves, so that a stamp changes only
when the work does; the Colab address comes from `[tool.sft-helpers]` in pyproject.toml.
"""

from __future__ import annotations

import json
import math
import re
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
TIMINGS = ROOT / "build" / "timings.json"
START, END = "<!-- course:start -->", "<!-- course:end -->"
PLANS_START, PLANS_END = "<!-- plans:start -->", "<!-- plans:end -->"
WORDS_A_MINUTE = 150
# Which notebooks a workshop takes, by number.
PLANS = {
    "Half a day: what SFT does": ("00", "04", "07", "09"),
    "A day: from rows to a model that you believe": (
        "00",
        "01",
        "03",
        "04",
        "06",
        "07",
        "09",
        "10",
    ),
    "Two days: the whole course": None,
}


def minutes(seconds: float) -> str:
    """Seconds as minutes, rounded up to the next half."""
    halves = max(1, math.ceil(seconds / 30))
    return f"{halves / 2:g}"


def stamp_of(path: str, seconds: float, repository: str) -> str:
    """The text of a notebook's badge cell."""
    owner_and_name = repository.rstrip("/").split("/", 3)[3]
    address = f"https://colab.research.google.com/github/{owner_and_name}/blob/main/{path}"
    return (
        f"*Runs in {minutes(seconds)} min on two CPU cores (measured).* "
        f"[![Open in Colab](https://colab.research.google.com/assets/colab-badge.svg)]({address}) "
        "On Colab, run this in a cell of its own first: "
        f"`!git clone -q --depth 1 {repository} kit && pip install -q ./kit`, "
        "then `%env SFT_DATA=/content/kit/data`."
    )


def course_rows(notebooks: list[Path], timings: dict[str, float]) -> str:
    """The README's table of the course: notebook, promise, minutes."""
    lines = ["| notebook | what you get | minutes |", "|---|---|---|"]
    for path in notebooks:
        cells = json.loads(path.read_text("utf-8"))["cells"]
        title = "".join(cells[0]["source"])
        name = re.search(r"^# +(?:\w+ · )?(.+)$", title, re.M)
        promise = re.search(r"^\*\*(.+?)\*\*$", title, re.M)
        if name is None or promise is None:
            raise SystemExit(f"{path}: the first cell needs a `# title` and a **bold promise**")
        relative = path.relative_to(ROOT).as_posix()
        number = path.stem.split("_")[0]
        lines.append(
            f"| [{number} · {name[1]}]({relative}) | {promise[1]} | {minutes(timings[path.stem])} |"
        )
    return "\n".join(lines)


def plan_rows(notebooks: list[Path], timings: dict[str, float]) -> str:
    """The run sheets: for each plan a table with minutes to run, to read and for exercises."""
    sys.path.insert(0, str(ROOT))
    from sft_helpers.exercises.engine import exercises_in
    from sft_helpers.exercises.solutions import module_for

    lines = []
    for title, numbers in PLANS.items():
        chosen = [p for p in notebooks if numbers is None or p.stem.split("_")[0] in numbers]
        lines += [f"### {title}", "", "| from | notebook | run | read | exercises | in all |"]
        lines += ["|---|---|---|---|---|---|"]
        total = 0
        for path in chosen:
            cells = json.loads(path.read_text("utf-8"))["cells"]
            prose = [c for c in cells if c["cell_type"] == "markdown" and c.get("id") != "badge"]
            words = sum(len("".join(cell["source"]).split()) for cell in prose)
            run, read = math.ceil(timings[path.stem] / 60), math.ceil(words / WORDS_A_MINUTE)
            work = sum(made.minutes for made in exercises_in(module_for(path)).values())
            clock = f"{total // 60}:{total % 60:02}"
            title_line = "".join(cells[0]["source"]).splitlines()[0].removeprefix("# ")
            spent = run + read + work
            lines.append(f"| {clock} | {title_line} | {run} | {read} | {work} | {spent} |")
            total += spent
        lines += ["", f"Together {total // 60} h {total % 60:02} min, breaks not counted.", ""]
    return "\n".join(lines)


def replace_between(path: Path, start: str, end: str, text: str) -> None:
    """Replace what stands between two marks of a file."""
    whole = path.read_text("utf-8")
    before, rest = whole.split(start)
    after = rest.split(end)[1]
    path.write_text(f"{before}{start}\n{text}\n{end}{after}", "utf-8", newline="\n")


def stamp(check: bool = False) -> list[str]:
    """Write all stamps; with `check` only say what is missing."""
    notebooks = sorted((ROOT / "notebooks").glob("*.ipynb"))
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
    repository = project["tool"]["sft-helpers"]["repository"]
    readme = ROOT / "README.md"
    if check:
        missing = [
            str(path.relative_to(ROOT))
            for path in notebooks
            if "(measured)" not in path.read_text("utf-8")
        ]
        text = readme.read_text("utf-8")
        return missing + [f"README.md: {p.name}" for p in notebooks if p.name not in text]
    if not TIMINGS.exists():
        raise SystemExit("build/timings.json is not there: run `make notebooks` first")
    timings: dict[str, float] = json.loads(TIMINGS.read_text("utf-8"))
    for path in notebooks:
        notebook = json.loads(path.read_text("utf-8"))
        [badge] = [cell for cell in notebook["cells"] if cell.get("id") == "badge"]
        name = path.relative_to(ROOT).as_posix()
        badge["source"] = [stamp_of(name, timings[path.stem], repository)]
        text = json.dumps(notebook, indent=1, ensure_ascii=False) + "\n"
        path.write_text(text, "utf-8", newline="\n")
    replace_between(readme, START, END, course_rows(notebooks, timings))
    guide = ROOT / "docs" / "instructor.md"
    replace_between(guide, PLANS_START, PLANS_END, plan_rows(notebooks, timings))
    return []


if __name__ == "__main__":
    problems = stamp(check="--check" in sys.argv[1:])
    if problems:
        raise SystemExit("not stamped (run `make notebooks stamp`): " + ", ".join(problems))
