"""The YAML of exercises: what stands there is checked, and a fault is named with file and line."""

from __future__ import annotations

import pytest

from sft_helpers.errors import DataError
from sft_helpers.exercises import data
from sft_helpers.exercises.data import read, topic
from tests.exercises.conftest import DEMO


def test_a_file_becomes_exercises_quiz_and_material(demo):
    found = topic("demo")
    assert found.exercises["demo-1"].solution == "def double(x):\n    return 2 * x"
    assert found.material.LIMIT == 3
    assert [question.several for question in found.quiz] == [False]
    assert topic("no_such_notebook").exercises == {}


@pytest.mark.parametrize(
    ("old", "new", "said", "line"),
    [
        ("level: 1", "level: 4", "level", 5),
        ("minutes: 5", "minutes: 0", "minutes", 6),
        ('["What is twice x?", "Use 2 *"]', "[]", "hints", 7),
        ('"Use 2 *"]', "' ']", "hints", 7),
        ("title: Double", "title: ''", "title", 4),
        ("praise: doubling is right", "prais: x", "prais", 3),
        ("return 2 * x", "return ...", "blank", 8),
        ("def double(x):", "def double(", "not Python", 8),
        ("name: demo-1", "name: Demo_1", "name", 3),
        ("is: 6", "wants: 6", "wants", 15),
        ("        say: double(3) gave {found}, not 6\n", "", "'say' is a dependency", 15),
        ("right: true, ", "", "no choice is right", 22),
        ("text: two, ", "text: four, ", "stands there twice", 22),
        (", why: that is once", "", "why", 23),
        ("LIMIT: 3", "limit: 3", "limit", 1),
        ("level: 1", "level: [", "", 6),
    ],
)
def test_a_fault_is_named_with_its_line(demo, old, new, said, line):
    assert old in DEMO
    path = demo / "00_demo.yaml"
    path.write_text(DEMO.replace(old, new, 1))
    with pytest.raises(DataError, match=said) as caught:
        read(path)
    assert caught.value.where.startswith("00_demo.yaml, line ")
    assert abs(int(caught.value.where.split()[-1]) - line) <= 1, caught.value


def test_a_name_is_taken_once(demo):
    head, tail = DEMO.split("quiz:")
    again = head.partition("exercises:\n")[2]
    (demo / "00_demo.yaml").write_text(f"{head}{again}quiz:{tail}")
    with pytest.raises(DataError, match="demo-1 is taken"):
        read(demo / "00_demo.yaml")


def test_every_file_of_the_course_is_sound():
    assert len(data.topics()) >= 15
    for name in data.topics():
        assert topic(name).exercises, name
