"""Every module of this folder that has a table `CASES` gets `case` from it."""

from __future__ import annotations

import pytest


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """One test per case."""
    cases = getattr(metafunc.module, "CASES", None)
    if cases and "case" in metafunc.fixturenames:
        metafunc.parametrize("case", cases, ids=str)
