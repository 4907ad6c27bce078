"""Stamp minutes, badges and the Colab cell into the notebooks, and the tables made from timings.

    python tools/stamp.py           write them, from build/timings.json and pyproject.toml
    python tools/stamp.py --check   exit 1 when a notebook or a document lacks its stamp

A notebook carries its stamps in the cells with the ids `badge` and `colab`, the second and the
third; README, instructor's guide and docs/timings.md between comments. Minutes are rounded up to
halves, so that a stamp changes only when the work does. The address comes from
`[tool.sft-helpers]` in pyproject.toml: a fork changes it there and runs this, also without
timings; then the minutes stay as they are and only the notebooks are written.
"""

from __future__ import annotations

import json
import math
import re
import sys
import tomllib
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
TIMINGS = ROOT / "build" / "timings.json"
START, END = "<!-- course:start -->", "<!-- course:end -->"
PLANS_START, PLANS_END = "<!-- plans:start -->", "<!-- plans:end -->"
TIMES_START, TIMES_END = "<!-- timings:start -->", "<!-- timings:end -->"
COLAB_CELL = """\
import sys  # Colab: fetch and install the kit; elsewhere nothing
from importlib.util import find_spec

KIT = "{repository}"
if not find_spec("sft_helpers"):
    if "google.colab" not in sys.modules:
        sys.exit("No kit in this Python: choose its .venv as kernel.")
    !git clone -q --depth 1 $KIT kit
    %run kit/tools/colab.py"""
WORDS_A_MINUTE = 150
# Minutes of a workshop that are no notebook; a break comes before work would last longer than WORK.
START_OF_DAY, ARRIVE, BREAK, LUNCH, HAND_IN, WORK = 9 * 60, 15, 15, 60, 10, 105
# Which notebooks each day of a workshop takes, by number.
PLANS = {
    "Half a day: what SFT does": ["00 04 07 09"],
    "A day: from rows to a model that you believe": ["00 01 03 04 06 07 09 10"],
    "Two days: the whole course": ["00 01 02 03 04 05 06 07", "07b 08 09 10 11 12 13"],
}


def minutes(seconds: float) -> str:
    """Seconds as minutes, rounded up to the next half."""
    halves = max(1, math.ceil(seconds / 30))
    return f"{halves / 2:g}"


def stamp_of(path: str, measured: str, repository: str) -> str:
    """The text of a notebook's badge cell."""
    owner_and_name = repository.rstrip("/").split("/", 3)[3]
    address = f"https://colab.research.google.com/github/{owner_and_name}/blob/main/{path}"
    return (
        f"*Runs in {measured} min on two CPU cores (measured).* "
        f"[![Open in Colab](https://colab.research.google.com/assets/colab-badge.svg)]({address}) "
        "The next cell, folded, installs the kit on Colab; elsewhere it does nothing."
    )


def stamp_notebook(cells: list[dict[str, Any]], badge: str, repository: str) -> None:
    """Write the badge into its cell, and the Colab cell behind it, in place.

    Raises:
        SystemExit: there is not exactly one cell with the id `badge`, or it is not the second.
    """
    if [number for number, cell in enumerate(cells) if cell.get("id") == "badge"] != [1]:
        raise SystemExit("the second cell of a notebook, and no other, needs the id `badge`")
    cells[1]["source"] = [badge]
    code = COLAB_CELL.format(repository=repository).splitlines(keepends=True)
    made: dict[str, Any] = {
        "cell_type": "code",
        "execution_count": None,
        "id": "colab",
        # folded: nobody needs to read it before the first lesson
        "metadata": {"jupyter": {"source_hidden": True}},
    }
    cells[:] = [cell for cell in cells if cell.get("id") != "colab"]
    cells.insert(2, made | {"outputs": [], "source": code})


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
    """The run sheets: for each day a table with minutes to run, to read and for exercises."""
    sys.path.insert(0, str(ROOT))
    from sft_helpers.exercises.data import topic, topic_for

    parts = {}
    for path in notebooks:
        cells = json.loads(path.read_text("utf-8"))["cells"]
        prose = [c for c in cells if c["cell_type"] == "markdown" and c.get("id") != "badge"]
        words = sum(len("".join(cell["source"]).split()) for cell in prose)
        run, read = math.ceil(timings[path.stem] / 60), math.ceil(words / WORDS_A_MINUTE)
        work = sum(made.minutes for made in topic(topic_for(path)).exercises.values())
        title = "".join(cells[0]["source"]).splitlines()[0].removeprefix("# ")
        parts[path.stem.split("_")[0]] = (title, run, read, work)
    lines = []
    for title, days in PLANS.items():
        for number, day in enumerate(days, start=1):
            name = f"{title}, day {number}" if len(days) > 1 else title
            lines += [f"### {name}", "", *day_rows([parts[each] for each in day.split()]), ""]
    return "\n".join(lines)


def day_rows(chosen: list[tuple[str, int, int, int]]) -> list[str]:
    """One day by the clock: (title, minutes to run, to read, for exercises) of each notebook."""
    lines = ["| from | what | run | read | exercises | in all |", "|---|---|---|---|---|---|"]
    clock = START_OF_DAY

    def pause(what: str, spent: int) -> None:
        nonlocal clock
        lines.append(f"| {clock // 60}:{clock % 60:02} | *{what}* | | | | {spent} |")
        clock += spent

    whole = sum(run + read + work for _, run, read, work in chosen)
    pause("arrive, start script, seat check", ARRIVE)
    hungry, since = whole > 4 * 60, clock
    for title, *parts in chosen:
        spent = sum(parts)
        if clock - since + spent > WORK:
            lunch = hungry and clock >= 11 * 60 + 15
            pause("lunch" if lunch else "break", LUNCH if lunch else BREAK)
            hungry, since = hungry and not lunch, clock
        run, read, work = parts
        at = f"{clock // 60}:{clock % 60:02}"
        lines.append(f"| {at} | {title} | {run} | {read} | {work} | {spent} |")
        clock += spent
    pause("hand in, questions", HAND_IN)
    hours, rest = divmod(whole, 60)
    ends = f"{clock // 60}:{clock % 60:02}"
    return [*lines, "", f"Notebooks {hours} h {rest:02} min; it ends at {ends}."]


def replace_between(path: Path, start: str, end: str, text: str) -> None:
    """Replace what stands between two marks of a file."""
    whole = path.read_text("utf-8")
    before, rest = whole.split(start)
    after = rest.split(end)[1]
    path.write_text(f"{before}{start}\n{text}\n{end}{after}", "utf-8", newline="\n")


def time_rows(timings: dict[str, float]) -> str:
    """The table of docs/timings.md: notebook, seconds, minutes, and the sum."""
    lines = ["| notebook | seconds | minutes |", "|---|---:|---:|"]
    lines += [f"| `{name}` | {taken:.0f} | {minutes(taken)} |" for name, taken in timings.items()]
    total = sum(timings.values())
    return "\n".join(
        [*lines, f"| **all {len(timings)}** | **{total:.0f}** | **{total / 60:.1f}** |"]
    )


def stamp(check: bool = False) -> list[str]:
    """Write all stamps; with `check` only say what is missing."""
    notebooks = sorted((ROOT / "notebooks").glob("*.ipynb"))
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
    repository = project["tool"]["sft-helpers"]["repository"]
    tables = [ROOT / "README.md", ROOT / "docs" / "timings.md"]
    timings: dict[str, float] = {}
    if TIMINGS.exists() and not check:
        timings = json.loads(TIMINGS.read_text("utf-8"))
        timings = {path.stem: timings[path.stem] for path in notebooks}
    missing = []
    for path in notebooks:
        text = path.read_text("utf-8")
        notebook = json.loads(text)
        name = path.relative_to(ROOT).as_posix()
        stamped = re.search(r"Runs in ([\d.]+) min", text)
        if path.stem not in timings and stamped is None:
            missing.append(name)
            continue
        measured = minutes(timings[path.stem]) if timings else (stamped or "")[1]
        stamp_notebook(notebook["cells"], stamp_of(name, measured, repository), repository)
        if check and notebook != json.loads(text):
            missing.append(name)
        elif not check:
            text = json.dumps(notebook, indent=1, ensure_ascii=False) + "\n"
            path.write_text(text, "utf-8", newline="\n")
    if check:
        for table in tables:
            text = table.read_text("utf-8")
            missing += [f"{table.name}: {p.name}" for p in notebooks if p.stem not in text]
    elif timings:
        replace_between(tables[0], START, END, course_rows(notebooks, timings))
        replace_between(tables[1], TIMES_START, TIMES_END, time_rows(timings))
        guide = ROOT / "docs" / "instructor.md"
        replace_between(guide, PLANS_START, PLANS_END, plan_rows(notebooks, timings))
    return missing


if __name__ == "__main__":
    problems = stamp(check="--check" in sys.argv[1:])
    if problems:
        raise SystemExit(
            "not stamped (run `make notebooks`, `python tools/stamp.py`): " + ", ".join(problems)
        )
