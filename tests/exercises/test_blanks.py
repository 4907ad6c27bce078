"""What counts as a blank, and what only looks like one."""

from __future__ import annotations

import textwrap

import pytest

from sft_helpers.exercises.blanks import is_blank, is_blank_source, yours_or


def stub(x):
    """Return twice x."""
    ...


def half_done(x):
    x = 2 * x
    return ...  # what?


def nested(x):
    if x:
        return max(x, ...)
    return [1, ...]


def done(x: tuple[int, ...] = (), y=...) -> tuple[int, ...]:
    return x[..., 0]


class Maker:
    def method(self):
        return 1


@pytest.mark.parametrize("answer", [..., [1, ...], (...,), {"a": ...}, {"a": [..., 2]}])
def test_blank_values(answer):
    assert is_blank(answer)


@pytest.mark.parametrize("answer", [stub, half_done, nested])
def test_blank_functions(answer):
    assert is_blank(answer)


@pytest.mark.parametrize("answer", [0, None, "", "...", [], {}, done, len, Maker, Maker().method])
def test_not_blank(answer):
    assert not is_blank(answer)


def test_a_function_without_source_is_not_blank():
    space = {}
    exec("def f(): return 1", space)
    assert not is_blank(space["f"])


@pytest.mark.parametrize(
    ("source", "blank"),
    [
        ("answer = ...", True),
        ("answer: int = ...", True),
        ("rows = [..., 2]", True),
        ("rate = 2 * ...", True),
        ("f(x=...)", True),
        ("x = a[..., 1]", False),
        ("def f(x: tuple[int, ...], y=...): return x", False),
        ("'...'", False),
        ("# ...", False),
        ("%matplotlib inline\nx = ...", False),
    ],
)
def test_sources(source, blank):
    assert is_blank_source(textwrap.dedent(source)) is blank


def test_yours_or():
    assert yours_or(..., 5) == 5
    assert yours_or(4, 5) == 4
    assert yours_or(stub, done) is done
    assert yours_or(None, 5) is None
