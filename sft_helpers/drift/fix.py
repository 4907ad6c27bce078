"""`--fix`: rename in the file, character for character, and nothing else."""

from __future__ import annotations

import ast
import os
from collections.abc import Iterable
from pathlib import Path

from sft_helpers.drift.findings import Finding, Rename
from sft_helpers.drift.reader import NOT_PARSED, Document, Piece
from sft_helpers.errors import EnvironmentProblem


def apply(document: Document, findings: Iterable[Finding]) -> list[Finding]:
    """Rename what can be renamed in one file, and write it if anything changed.

    A dictionary's key is renamed only where no other place in the file spells it, an imported
    name only together with all its uses. Everything else in the file stays byte for byte.

    Returns:
        The findings that were mended.

    Raises:
        EnvironmentProblem: the file cannot be written.
    """
    edits: dict[int, tuple[int, str]] = {}  # index in the file → (length, new text)
    mended = []
    for finding in findings:
        rename = finding.rename
        spots = _spots(document, rename) if rename else []
        if rename and spots:
            for piece, start in spots:
                edits[piece.offsets[start]] = (len(rename.old), rename.new)
            mended.append(finding)
    if edits:
        text = document.raw
        for start in sorted(edits, reverse=True):
            length, new = edits[start]
            text = text[:start] + new + text[start + length :]
        _write(document.path, text)
    return mended


def _spots(document: Document, rename: Rename) -> list[tuple[Piece, int]]:
    """All places that must change together; none if that is not certain."""
    spots = [(rename.piece, rename.start)]
    if rename.kind == "key":
        spelled = sum(_spells(piece.text, rename.old) for piece in document.pieces)
        spots = spots if spelled == 1 else []
    elif rename.kind == "import":
        more = _uses(document, rename)
        spots = [] if more is None else spots + more
    for piece, start in spots:
        first, last = piece.offsets[start], piece.offsets[start + len(rename.old) - 1]
        if document.raw[first : last + 1] != rename.old:  # spelled with escapes, or broken up
            return []
    return spots


def _spells(text: str, word: str) -> int:
    return text.count(f'"{word}"') + text.count(f"'{word}'")


def _uses(document: Document, rename: Rename) -> list[tuple[Piece, int]] | None:
    """Where an imported name is used; None if it means something else somewhere."""
    found = []
    for piece in document.pieces:
        try:
            tree = piece.parse()
        except NOT_PARSED:
            return None
        for node in ast.walk(tree):
            named = getattr(node, "id", None) or getattr(node, "arg", None)
            if named == rename.new or (named == rename.old and not isinstance(node, ast.Name)):
                return None
            if isinstance(node, ast.Name) and node.id == rename.old:
                if not isinstance(node.ctx, ast.Load):
                    return None
                found.append((piece, piece.index(node.lineno, node.col_offset)))
            elif isinstance(node, ast.alias) and node.name.split(".")[-1] == rename.old:
                start = piece.index(node.lineno, node.col_offset)
                if (piece, start) != (rename.piece, rename.start):
                    return None
                if node.asname:
                    return []  # the uses have a name of their own
    return found


def _write(path: Path, text: str) -> None:
    part = path.with_name(f"{path.name}.part-{os.getpid()}")
    try:
        part.write_bytes(text.encode())
        part.chmod(path.stat().st_mode & 0o7777)
        part.replace(path)
    except OSError as problem:
        part.unlink(missing_ok=True)
        raise EnvironmentProblem(
            f"cannot be written ({problem.strerror})", where=str(path)
        ) from None
