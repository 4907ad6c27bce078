"""Lantern Bay's data: where they lie, and their rows.

The town is invented, so that every fact is known and claims can be tested. `data/README.md`
describes it; `data/make` wrote it, with the forms of answers and the values that stand here.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from sft_helpers.errors import DataError

ANSWERS: dict[str, str] = {  # {S} is the subject, a name or a pronoun, {v} the value
    "home": "{S} lives in {v}.",
    "job": "{S} works as a {v}.",
    "drink": "{S} likes to drink {v}.",
    "pet": "{S} keeps a {v}.",
    "colour": "{S} likes the colour {v}.",
}
NO_RECORD = "I have no record of {name}."

VALUES: dict[str, tuple[str, ...]] = {
    "home": (
        "Northgate", "Gullhaven", "Amberford", "Saltmarsh", "Windmere", "Copperhill",
        "Fernwick", "Stonequay", "Maplerow", "Foxhollow", "Larkfield", "Greywater",
        "Thornbury", "Pinecove", "Redcliff", "Elmstead",
    ),
    "job": (
        "baker", "weaver", "pilot", "cooper", "teacher", "surgeon", "printer", "gardener",
        "sailor", "tailor", "potter", "lawyer", "miller", "drummer", "jeweller", "carpenter",
    ),
    "drink": (
        "tea", "cider", "cocoa", "coffee", "lemonade", "buttermilk", "ginger beer",
        "mint water", "plum juice", "mead", "broth", "cherry wine",
    ),
    "pet": (
        "parrot", "ferret", "tortoise", "goat", "kitten", "hedgehog", "raven", "terrier",
        "rabbit", "donkey", "lizard", "peacock",
    ),
    "colour": (
        "blue", "green", "scarlet", "violet", "yellow", "silver", "turquoise", "crimson",
        "orange", "white",
    ),
}  # fmt: skip


def data_dir(part: str = "town") -> Path:
    """One folder of the kit's data: town, formats, dirty, own, smollm2, memory, launch, lm_eval.

    The environment variable `SFT_DATA` names another `data` folder; otherwise it is the one in
    the package, where a wheel was installed, or the one of the checkout.

    Raises:
        DataError: there is no such folder.
    """
    package = Path(__file__).resolve().parent
    inside, named = package / "data", os.environ.get("SFT_DATA")
    data = Path(named) if named else inside if inside.is_dir() else package.parent / "data"
    if not (data / part).is_dir():
        raise DataError(
            "the town's data are not there" if part == "town" else "this folder is not there",
            where=str(data / part),
            hint="in the repository run `git checkout -- data` or `make town` (minutes); SFT_DATA,"
            " where it is set, must name its folder data",
        )
    return data / part


def read_rows(name: str) -> list[dict[str, Any]]:
    """Rows of a JSON-lines file of the kit, such as `sft_test.jsonl` or `dirty/rows.jsonl`.

    Args:
        name: a file of `data/town`, or, with its folder, of another part of `data`.

    Raises:
        DataError: the file is missing, or a line is not JSON; names file and line.
    """
    part, _, file = name.rpartition("/")
    path = data_dir(part or "town") / file
    rebuild = "run `git checkout -- data`, or `make town` (minutes), which writes it anew"
    try:
        lines = path.read_text(encoding="utf-8").removesuffix("\n").split("\n")
    except FileNotFoundError:
        raise DataError("no such data file", where=str(path), hint=rebuild) from None
    rows = []
    for number, line in enumerate(lines, start=1):
        try:
            rows.append(json.loads(line))
        except json.JSONDecodeError as problem:
            where = f"{path}, line {number}"
            said = f"this line is not JSON ({problem.msg})"
            raise DataError(said, where=where, hint=rebuild) from None
    return rows
