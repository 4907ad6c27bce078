"""A YAML of exercises to test with, and no switches from outside."""

from __future__ import annotations

from pathlib import Path

import pytest

from sft_helpers.exercises import data

DEMO = """\
material: {LIMIT: 3}
exercises:
  - name: demo-1
    title: Double
    level: 1
    minutes: 5
    hints: ["What is twice x?", "Use 2 *"]
    solution: |
      def double(x):
          return 2 * x
    praise: doubling is right
    check:
      - call: [2]
        says: {2: "it returns what it got: multiply by 2"}
      - call: [LIMIT]
        is: 6
        say: double(3) gave {found}, not 6
quiz:
  - ask: Twice 2?
    choices:
      - {text: four, right: true, why: two and two}
      - {text: two, why: that is once}
"""


@pytest.fixture(autouse=True)
def clean(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SFT_EXERCISES", raising=False)
    monkeypatch.delenv("SFT_SOLUTIONS", raising=False)


@pytest.fixture
def demo(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    """The folder of a course that has one exercise, `demo-1`: write a function that doubles."""
    (tmp_path / "00_demo.yaml").write_text(DEMO)
    (tmp_path / "schema.yaml").write_text((data.HERE / "schema.yaml").read_text())
    monkeypatch.setattr(data, "HERE", tmp_path)
    for cached in (data.topic, data._schema):
        cached.cache_clear()
    yield tmp_path
    for cached in (data.topic, data._schema):
        cached.cache_clear()
