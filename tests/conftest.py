"""What holds for every test: no network, no hub, nothing read from or left in the user's folders.

pyproject.toml has pytest-socket block sockets. A test marked `browser` or `loopback` may talk to
this machine, no test to any other; `tools/offline` holds the processes that a test starts to that.
"""

from __future__ import annotations

import os
import random
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.browser.chromium import find_chromium

ROOT = Path(__file__).resolve().parents[1]
LOOPBACK = ["127.0.0.1", "::1", "localhost"]

# Set before any test module imports a library that reads them. Workers inherit HF_HOME.
OWNS_HF_HOME = "SFT_TEST_HF_HOME" not in os.environ
os.environ.setdefault("SFT_TEST_HF_HOME", tempfile.mkdtemp(prefix="sft-tests-"))
os.environ.update(
    HF_HOME=os.environ["SFT_TEST_HF_HOME"],
    HF_HUB_OFFLINE="1",
    HF_DATASETS_OFFLINE="1",
    TRANSFORMERS_OFFLINE="1",
    HF_HUB_DISABLE_TELEMETRY="1",
    TOKENIZERS_PARALLELISM="false",
    MPLBACKEND="Agg",
    PYTHONPATH=os.pathsep.join(
        filter(None, [str(ROOT / "tools" / "offline"), os.environ.get("PYTHONPATH")])
    ),
)
os.environ.setdefault("OMP_NUM_THREADS", "1")
for name in ("SFT_PROFILE", "SFT_DATA", "SFT_RESULTS", "SFT_STATIC"):
    os.environ.pop(name, None)
if os.environ.get("SFT_TEST_RESULTS"):  # `make unit`: what tests prove is recorded, too
    os.environ["SFT_RESULTS"] = os.environ["SFT_TEST_RESULTS"]
os.environ["SFT_PROGRESS"] = ""  # no test leaves a line in somebody's record

NO_BROWSER = (
    "NO CHROMIUM: the browser tests did not run. Install chromium, or set SFT_CHROMIUM to its path."
)
without_browser = pytest.StashKey[int]()


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Open loopback to the tests that need it; skip browser tests where there is no browser."""
    for item in items:
        if item.get_closest_marker("browser") or item.get_closest_marker("loopback"):
            item.add_marker(pytest.mark.allow_hosts(LOOPBACK))
    browser = [item for item in items if item.get_closest_marker("browser")]
    if browser and find_chromium() is None and os.environ.get("CI") != "true":  # CI: let them fail
        config.stash[without_browser] = len(browser)
        for item in browser:
            item.add_marker(pytest.mark.skip(reason=NO_BROWSER))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say it once more where it is read: at the end."""
    if terminalreporter.config.stash.get(without_browser, 0):
        terminalreporter.write_line(NO_BROWSER, red=True, bold=True)


def pytest_unconfigure() -> None:
    """Remove the Hugging Face folder of this run."""
    if OWNS_HF_HOME:
        shutil.rmtree(os.environ["SFT_TEST_HF_HOME"], ignore_errors=True)


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each test has its own folder for converted models."""
    monkeypatch.setenv("SFT_CACHE", str(tmp_path / "sft-cache"))


@pytest.fixture(autouse=True)
def clean_checkout() -> Iterator[None]:
    """No test leaves a file or a folder beside the package."""
    before = set(ROOT.iterdir())
    yield
    left = {path.name for path in set(ROOT.iterdir()) - before}
    assert left <= {"build", ".hypothesis", ".pytest_cache", ".mypy_cache", ".ruff_cache"}


@pytest.fixture(autouse=True)
def same_seeds() -> Iterator[None]:
    """Start every test from the same random state, in the libraries that are loaded."""
    random.seed(0)
    if "numpy" in sys.modules:
        sys.modules["numpy"].random.seed(0)
    if "torch" in sys.modules:
        sys.modules["torch"].manual_seed(0)
    yield
    if "matplotlib.pyplot" in sys.modules:
        sys.modules["matplotlib.pyplot"].close("all")


@pytest.fixture(scope="session")
def chromium_path() -> str:
    """Path of the browser; fails, with what to do, where there is none."""
    path = find_chromium()
    if path is None:
        pytest.fail(NO_BROWSER)
    return path
