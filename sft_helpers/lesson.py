"""A lesson, and the learner's record: `setup()` opens a notebook, `expect()` states a claim in it.

The record is one JSON line for each thing that happened (a notebook opened, an exercise checked),
in the file that `SFT_PROGRESS` names, else in the user's data folder; `SFT_PROGRESS=""` keeps none.
It stays on the learner's machine; `sft_helpers.course` reads such files.
"""

from __future__ import annotations

import json
import math
import os
import re
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from platformdirs import user_data_path

from sft_helpers.quiet import quiet_libraries

if TYPE_CHECKING:
    from sft_helpers.machine import Profile

_notebook = ""  # the one that is open, and since when; `expect` records both
_opened = time.monotonic()


@dataclass(frozen=True)
class Lesson:
    """What a notebook has in hand: the machine's profile, its exercises and its quiz.

    Exercises go by their number. `print(lesson.profile)` says what was chosen for this machine,
    and why.
    """

    name: str
    profile: Profile

    @property
    def topic(self) -> str:
        """The name without its number: `07b_real_model` → `real_model`."""
        return re.sub(r"^\d+[a-z]?_", "", self.name)

    @property
    def material(self) -> Any:
        """What the exercises are about (conversations, tables, records), by attribute."""
        from sft_helpers.exercises.data import topic

        return topic(self.topic).material

    def _exercise(self, number: int) -> str:
        return f"{self.topic.replace('_', '-')}-{number}"

    def card(self, number: int) -> None:
        """Show an exercise's card: title, difficulty, minutes, hints and solution to unfold."""
        from sft_helpers.exercises import card

        card(self._exercise(number))

    def check(self, number: int, *answers: Any) -> None:
        """Check an answer and print `[todo]`, `[not yet]` or `[ok]`, with a sentence."""
        from sft_helpers.exercises import check

        check(self._exercise(number), *answers, record=self._record)

    def quiz(self, *names: str) -> None:
        """Show the quiz at the end of the notebook, or the questions of these names."""
        from sft_helpers.exercises import quiz
        from sft_helpers.exercises.data import topic

        own = topic(self.topic)
        title = f"Diagnosis: {', '.join(names)}" if names else "Quiz"
        quiz([own.asked[name] for name in names] or own.quiz, title, self._record)

    def progress(self) -> None:
        """Show what the learner has done in the whole course, and what comes next."""
        from sft_helpers.course import show_progress

        show_progress(progress_file())

    def _record(self, name: str, status: str) -> None:
        record(self.name, name, status)


def setup(name: str, *, model: str = "tiny", workers: bool = False) -> Lesson:
    """Open a notebook: threads and seeds are set, one line names the machine and TRL.

    Args:
        name: the notebook's name without its ending, for example `00_quickstart`.
        model: the model to plan for: "tiny", "smollm2", a hub id or a folder.
        workers: start the processes of `training.run_all` now, so that their imports cost no
            waiting.
    """
    global _notebook, _opened
    quiet_libraries()
    import transformers
    import trl

    from sft_helpers.display.figures import style
    from sft_helpers.doctor import tested_versions
    from sft_helpers.machine import profile

    if workers:
        from sft_helpers.training.runs import start_workers

        start_workers()
    style()
    _notebook, _opened = name, time.monotonic()
    record(name, "", "opened")
    chosen = profile(model=model)
    chosen.use_threads()
    transformers.set_seed(0)
    tested = tested_versions().get("trl", "another release")
    checked = f"checked with {tested}"
    if tested not in (trl.__version__, "another release"):
        checked += ": run `sft-helpers doctor` if something behaves otherwise"
    machine, cores = chosen.hardware.name, chosen.hardware.cores
    print(f"{machine} · {cores} core{'s' * (cores != 1)} · TRL {trl.__version__} ({checked})")
    return Lesson(name, chosen)


def expect(
    name: str, value: float, *, low: float | None = None, high: float | None = None
) -> float:
    """Assert that `low <= value <= high`, print the verdict and record it.

    Args:
        name: dotted name of the claim, for example `quickstart.stop_rate_after`.
        value: what was measured.
        low: smallest value that supports the claim; None means no lower bound.
        high: largest value that supports the claim; None means no upper bound.

    The verdict is appended as one JSON line to the file named by the environment variable
    `SFT_RESULTS`, if it is set: name, value, low, high, ok, notebook, and the seconds since the
    notebook began.

    Returns:
        The value, so that a cell may go on with it.

    Raises:
        AssertionError: the value is outside the bounds, or not a number.
        ValueError: neither bound is given: such a claim could not fail.
    """
    if low is None and high is None:
        raise ValueError(f"expect({name!r}) needs low= or high=: without a bound it cannot fail")
    number = float(value)  # and no longer numpy's or torch's
    low, high = (None if bound is None else float(bound) for bound in (low, high))
    ok = not math.isnan(number)
    ok = ok and (low is None or number >= low) and (high is None or number <= high)
    if os.environ.get("SFT_RESULTS"):
        line = {
            "name": name,
            "value": number if math.isfinite(number) else str(number),
            "low": low,
            "high": high,
            "ok": ok,
            "notebook": _notebook or None,
            "seconds": round(time.monotonic() - _opened, 2),
        }
        _append(Path(os.environ["SFT_RESULTS"]), line)
    sides = [("at least", low), ("at most", high)]
    bounds = " and ".join(f"{side} {bound:g}" for side, bound in sides if bound is not None)
    verdict = f"{name} = {number:.4g} (claimed: {bounds})"
    if not ok:
        raise AssertionError(
            f"{verdict} does not hold here. If you changed a cell above, that is what you found"
            " out; if you did not, please report it with your versions (`sft-helpers doctor`)."
        )
    print(f"✓ {verdict}")
    return number


def _append(path: Path, line: dict[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a", encoding="utf-8") as file:
        file.write(json.dumps(line) + "\n")


def progress_file() -> Path | None:
    """The learner's record; None where `SFT_PROGRESS` is set to nothing."""
    named = os.environ.get("SFT_PROGRESS")
    if named is None:
        return user_data_path("sft-helpers") / "progress.jsonl"
    return Path(named).expanduser() if named else None


def record(notebook: str, name: str, status: str) -> None:
    """Add a line to the learner's record; one that cannot be written is said, and stops nobody.

    Args:
        notebook: name of the notebook without its ending.
        name: the exercise, or `Quiz, question 3`, or "" when the notebook was opened.
        status: `opened`, `todo`, `not yet` or `ok`.
    """
    path = progress_file()
    line = {"notebook": notebook, "name": name, "status": status, "time": round(time.time())}
    try:
        if path is not None:
            _append(path, line)
    except OSError as problem:
        print(f"(your progress could not be written to {path}: {problem.strerror})")
