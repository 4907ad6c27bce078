"""`expect()`: a claim in the course, asserted where it is made and recorded for the tests."""

from __future__ import annotations

import json
import math
import os
import time
from pathlib import Path

_START = time.monotonic()
_notebook: str | None = None


def begin(notebook: str) -> None:
    """Name the notebook that the following claims belong to and start its clock."""
    global _notebook, _START
    _notebook = notebook
    _START = time.monotonic()


def current() -> str:
    """Name of the notebook that runs; "" outside of one."""
    return _notebook or ""


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
    number = float(value)
    ok = not math.isnan(number)
    ok = ok and (low is None or number >= low) and (high is None or number <= high)
    _record(name, number, low, high, ok)
    bounds = " and ".join(
        text
        for text in (
            f"at least {low:g}" if low is not None else "",
            f"at most {high:g}" if high is not None else "",
        )
        if text
    )
    verdict = f"{name} = {number:.4g} (claimed: {bounds})"
    if not ok:
        raise AssertionError(
            f"{verdict} does not hold here. If you changed a cell above, that is what you found"
            " out; if you did not, please report it with your versions (`sft-helpers doctor`)."
        )
    print(f"✓ {verdict}")
    return number


def _record(name: str, value: float, low: float | None, high: float | None, ok: bool) -> None:
    target = os.environ.get("SFT_RESULTS")
    if not target:
        return
    line = {
        "name": name,
        "value": value if math.isfinite(value) else str(value),
        "low": low,
        "high": high,
        "ok": ok,
        "notebook": _notebook,
        "seconds": round(time.monotonic() - _START, 2),
    }
    path = Path(target)
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a", encoding="utf-8") as file:
        file.write(json.dumps(line) + "\n")
