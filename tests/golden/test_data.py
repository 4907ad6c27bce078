"""The bytes of data/: no file changes, comes or goes without a word (data/make writes them)."""

from __future__ import annotations

import hashlib

from tests.golden.compare import ROOT, compare

LEFT_OUT = {"make", "__pycache__", ".DS_Store", ".ipynb_checkpoints"}


def test_every_file_of_data_has_the_bytes_it_had() -> None:
    data = ROOT / "data"
    compare(
        "data.json",
        {
            path.relative_to(data).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
            for path in data.rglob("*")
            if path.is_file() and not LEFT_OUT & set(path.relative_to(data).parts)
        },
    )
