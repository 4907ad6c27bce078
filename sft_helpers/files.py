"""Files written whole or not at all, and whether a file is still the one it was."""

from __future__ import annotations

import contextlib
import hashlib
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from sft_helpers.errors import EnvironmentProblem


@contextlib.contextmanager
def moved_in(out: Path) -> Iterator[Path]:
    """A file beside `out` to write to; at the end it takes the place of `out`, whole or not at all.

    Raises:
        EnvironmentProblem: the file cannot be written.
    """
    part = out.with_name(f"{out.name}.part-{os.getpid()}")
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        yield part
        part.replace(out)
    except OSError as problem:
        raise EnvironmentProblem(
            f"cannot write ({problem.strerror})",
            where=str(problem.filename or out),
            hint="check permissions and free space, or choose another place",
        ) from None
    finally:
        with contextlib.suppress(OSError):
            part.unlink()


def write_whole(path: Path, text: str) -> None:
    """Write a text file, UTF-8 with plain line ends, whole or not at all."""
    with moved_in(path) as part:
        part.write_text(text, encoding="utf-8", newline="\n")


def sha256(path: Path) -> str:
    """Hash of a file as a hex string, read in pieces."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def damage(folder: Path, files: Mapping[str, Any]) -> list[str]:
    """What differs from a manifest, one sentence a file; empty when all is well.

    Args:
        folder: what the names are relative to.
        files: name to `{"sha256": ..., "bytes": ...}`.
    """
    problems = []
    for name, entry in files.items():
        path = folder / name
        if not path.is_file():
            problems.append(f"{name} is missing")
        elif path.stat().st_size != entry["bytes"]:
            problems.append(f"{name} has {path.stat().st_size} bytes instead of {entry['bytes']}")
        elif sha256(path) != entry["sha256"]:
            problems.append(f"{name} has another content than its SHA-256 says")
    return problems
