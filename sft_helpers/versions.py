"""Which versions are installed, which the tests ran with, and which the kit accepts.

One source for each: `constraints.txt` holds the tested versions, `pyproject.toml` the ranges.
"""

from __future__ import annotations

import contextlib
import importlib.metadata
import sys
import tomllib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

# What every notebook needs; without the others a part of the course falls away.
CORE = ("torch", "trl", "transformers", "peft", "datasets", "accelerate")
PACKAGES = (*CORE, "bitsandbytes", "jupyterlab", "ipywidgets")
_CHECKOUT = Path(__file__).resolve().parent.parent


@dataclass(frozen=True)
class Version:
    """One package: what is installed, what the tests ran with, and what the kit accepts."""

    name: str
    installed: str | None
    tested: str | None
    accepted: str
    state: str  # "as tested", "differs", "outside the supported range", "missing"


def tested_versions() -> dict[str, str]:
    """The versions that the tests ran with, from constraints.txt: the one place they stand.

    It lies in the checkout; in an installed package it is among the files of the distribution.
    Empty when it is nowhere.
    """
    pins = {}
    for line in _constraints().splitlines():
        name, equals, version = line.split("#")[0].partition("==")
        if equals:
            pins[name.strip().lower().replace("_", "-")] = version.split(";")[0].strip()
    return pins


def _constraints() -> str:
    places: list[Path] = [_CHECKOUT / "constraints.txt"]
    with contextlib.suppress(importlib.metadata.PackageNotFoundError):
        files = importlib.metadata.files("sft-helpers") or []
        places += [Path(str(f.locate())) for f in files if f.name == "constraints.txt"]
    for place in places:
        with contextlib.suppress(OSError):
            return place.read_text(encoding="utf-8")
    return ""


def accepted_ranges() -> dict[str, str]:
    """Package to version range, from pyproject.toml in a checkout, else from the metadata."""
    from packaging.requirements import Requirement

    try:
        text = (_CHECKOUT / "pyproject.toml").read_text(encoding="utf-8")
        lines = list(tomllib.loads(text)["project"]["dependencies"])
    except (OSError, KeyError, tomllib.TOMLDecodeError):
        try:
            lines = importlib.metadata.requires("sft-helpers") or []
        except importlib.metadata.PackageNotFoundError:
            lines = []
    found = [Requirement(line) for line in lines]
    return {
        each.name.lower(): str(each.specifier)
        for each in found
        if "extra" not in str(each.marker or "")
    }


def compare() -> list[Version]:
    """Python and the main packages of the kit, one row each."""
    tested, ranges = tested_versions(), _or_empty(accepted_ranges)
    rows = [
        _version("python", ".".join(map(str, sys.version_info[:3])), tested.get("python"), ">=3.11")
    ]
    for name in PACKAGES:
        installed: str | None = None
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            installed = importlib.metadata.version(name)
        rows.append(_version(name, installed, tested.get(name), ranges.get(name, "")))
    return rows


def _or_empty(read: Callable[[], dict[str, str]]) -> dict[str, str]:
    try:
        return read()
    except ImportError:  # packaging itself is missing: the missing packages are said anyway
        return {}


def _version(name: str, installed: str | None, tested: str | None, accepted: str) -> Version:
    if installed is None:
        state = "missing"
    elif accepted and not _inside(installed, accepted):
        state = "outside the supported range"
    elif tested is None:
        state = "accepted" if accepted else "unknown"
    else:
        same = installed.partition("+")[0] == tested.partition("+")[0]
        state = "as tested" if same else "differs"
    return Version(name, installed, tested, accepted, state)


def _inside(version: str, accepted: str) -> bool:
    try:
        from packaging.specifiers import SpecifierSet
    except ImportError:
        return True
    return SpecifierSet(accepted).contains(version, prereleases=True)
