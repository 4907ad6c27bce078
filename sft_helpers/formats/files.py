"""Rows to files: JSON lines, JSON, CSV, Parquet; all but the last the same byte for byte."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any


def write_json_lines(path: Path, rows: Iterable[dict[str, Any]]) -> None:
    """One JSON object a line, UTF-8."""
    with path.open("w", encoding="utf-8", newline="\n") as file:
        for row in rows:
            file.write(json.dumps(row, ensure_ascii=False) + "\n")


def write_json(path: Path, rows: Iterable[dict[str, Any]]) -> None:
    """One JSON array, a row a line."""
    with path.open("w", encoding="utf-8", newline="\n") as file:
        lines = (json.dumps(row, ensure_ascii=False) for row in rows)
        file.write("[\n" + ",\n".join(lines) + "\n]\n")


def write_csv(path: Path, rows: Iterable[dict[str, Any]]) -> None:
    """Columns of text; a cell that is no text (a list of messages) holds JSON."""
    listed = list(rows)
    columns = list(dict.fromkeys(name for row in listed for name in row))
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, columns, restval="", lineterminator="\n")
        writer.writeheader()
        for row in listed:
            writer.writerow({name: _cell(value) for name, value in row.items()})


def _cell(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def write_parquet(path: Path, rows: Iterable[dict[str, Any]]) -> None:
    """A Parquet file, through `datasets`."""
    import datasets

    from sft_helpers.formats.conversion import to_dataset

    listed = list(rows)
    bars = datasets.are_progress_bars_disabled()
    datasets.disable_progress_bars()
    try:
        if listed:
            to_dataset(listed).to_parquet(str(path))
    finally:
        if not bars:
            datasets.enable_progress_bars()


WRITERS: dict[str, Callable[[Path, Iterable[dict[str, Any]]], None]] = {
    ".jsonl": write_json_lines,
    ".json": write_json,
    ".csv": write_csv,
    ".parquet": write_parquet,
}
