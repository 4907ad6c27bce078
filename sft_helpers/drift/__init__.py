"""Version drift: what code says and the installed packages no longer accept.

`lint` reads scripts, notebooks, Markdown and YAML without running them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sft_helpers.drift import checks, fix, installed, settings
from sft_helpers.drift.findings import CODES, Finding, Severity
from sft_helpers.drift.reader import files_below, read, script
from sft_helpers.errors import DataError

__all__ = ["CODES", "Finding", "Report", "Severity", "lint", "lint_text"]


@dataclass
class Report:
    """What was found.

    Attributes:
        findings: in the order of the files.
        files: how many files were read.
        unreadable: what could not be read, with file, line and next step.
        mended: findings that `repair=True` took care of; they are not in `findings`.
    """

    findings: list[Finding] = field(default_factory=list)
    files: int = 0
    unreadable: list[str] = field(default_factory=list)
    mended: list[Finding] = field(default_factory=list)

    def count(self, severity: Severity) -> int:
        """How many findings have this severity."""
        return sum(finding.severity == severity for finding in self.findings)

    def to_json(self) -> dict[str, Any]:
        """For `--json`."""
        return {
            "findings": [finding.to_dict() for finding in self.findings],
            "mended": [finding.to_dict() for finding in self.mended],
            "unreadable": self.unreadable,
            "files": self.files,
            "versions": versions(),
        }


def versions() -> dict[str, str | None]:
    """Versions of the packages that findings are about; None where one is missing."""
    from importlib.metadata import PackageNotFoundError, version

    found: dict[str, str | None] = {}
    for name in installed.PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = None
    return found


def lint(paths: Sequence[str | Path], *, repair: bool = False) -> Report:
    """Read files and folders, and name what the installed packages do not accept.

    Args:
        paths: scripts, notebooks, Markdown or YAML files, or folders of them.
        repair: rename in place what can be renamed without a change of meaning.

    Raises:
        DataError: a path is missing or of another type.
    """
    report = Report()
    for path in files_below(paths):
        try:
            found, mended = _one(path, repair)
        except DataError as problem:
            report.unreadable.append(str(problem))
            continue
        report.files += 1
        report.findings += found
        report.mended += mended
    return report


def lint_text(code: str) -> list[Finding]:
    """Findings of a piece of Python, such as a notebook cell."""
    return checks.check(script(code, Path("<code>")))


def _one(path: Path, repair: bool) -> tuple[list[Finding], list[Finding]]:
    document = read(path)
    if document.kind == "yaml":
        return settings.check(document) or [], []
    found = checks.check(document)
    mended = fix.apply(document, found) if repair else []
    return (checks.check(read(path)) if mended else found), mended
