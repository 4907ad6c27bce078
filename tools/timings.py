"""Write how many seconds each notebook took, from pytest's own JUnit report.

Usage: timings.py build/notebooks.xml build/timings.json
"""

from __future__ import annotations

import json
import sys
import xml.etree.ElementTree as ET
from pathlib import Path


def notebook_seconds(report: str) -> dict[str, float]:
    """Map notebook name without folder and suffix to seconds.

    Args:
        report: the text of a JUnit XML file that pytest with nbmake wrote.
    """
    cases = ET.fromstring(report).iter("testcase")
    times = {Path(case.get("name", "")).stem: float(case.get("time", 0)) for case in cases}
    return {name: round(seconds, 1) for name, seconds in sorted(times.items())}


def main(report: str, target: str) -> None:
    """Read the report and write the JSON file."""
    times = notebook_seconds(Path(report).read_text("utf-8"))
    Path(target).write_text(json.dumps(times, indent=1) + "\n", "utf-8")
    print(f"{target}: {len(times)} notebooks, {sum(times.values()):.0f} s of notebook time")


if __name__ == "__main__":
    main(*sys.argv[1:3])
