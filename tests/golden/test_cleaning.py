"""Cleaning keeps the rows that it kept, and drops each other row by the rule that dropped it.

Entries of cleaning.json: SETTING/kept → ids; SETTING/dropped/RULE → ids (of the first two settings,
else how many), each row by the first rule that drops it; SETTING/caught/RULE → how many rows the
rule catches, whoever drops them; SETTING/flagged/RULE → how many rows; SETTING/rows → hash of the
rows that stay, repaired.
"""

from __future__ import annotations

import functools
import json
from collections import Counter, defaultdict
from pathlib import Path
from typing import Any

import pytest

from tests.golden.compare import digest, plain, read, write

ROOT = Path(__file__).resolve().parents[2]
DIRTY = ROOT / "data" / "dirty"


# --- the adapter: point these three at the package as it is now ----------------------------------


def cleaned(
    rows: list[Any],
    eval_rows: list[Any] | None = None,
    *,
    actions: dict[str, str] | None = None,
    limits: dict[str, Any] | None = None,
    tokenizer: Any = None,
    backwards: bool = False,
    no_rules: bool = False,
) -> tuple[list[Any], list[str | None], dict[str, int]]:
    """Clean rows.

    Args:
        rows, eval_rows, tokenizer: as for the package.
        actions: rule → action, where it is not the usual one.
        limits: thresholds that are not the usual ones.
        backwards: the list of rules is given in reverse.
        no_rules: no rule at all, only what is no conversation is dropped.

    Returns:
        The rows that stay (repaired; flags in the column `cleaning_flags`), for each row that came
        in the rule that dropped it or None, and rule → rows that it caught, dropped or not.
    """
    from sft_helpers.cleaning import Funnel, Thresholds, default_rules

    rules = default_rules(**(actions or {}))
    if backwards:
        rules = rules[::-1]
    funnel = Funnel(
        () if no_rules else rules,
        thresholds=Thresholds(**(limits or {})),
        eval_rows=eval_rows,
        tokenizer=tokenizer,
    )
    stay, dropped_by = [], []
    before: Counter[str] = Counter()
    for row in rows:
        kept = funnel.feed(row)
        more = Counter(funnel.report.dropped) - before
        before = Counter(funnel.report.dropped)
        dropped_by.append(next(iter(more), None))
        if kept is not None:
            stay.append(kept)
    return stay, dropped_by, dict(funnel.report.caught)


def made_rows(seed: int) -> tuple[list[Any], list[Any]]:
    """The dirty rows and the evaluation rows of another seed, by the maker of `data/dirty`."""
    from data.make.dirty import dirty_rows, eval_rows

    return dirty_rows(seed)[0], eval_rows(seed)


def form_letters() -> list[Any]:
    """The letters of notebook 02, in which only name and town differ."""
    from data.make import town

    text = (
        "Please look up {0} in the register of Lantern Bay: in which town is the house?",
        "According to the register of Lantern Bay, the house of {0} is in {1}.",
    )
    return [
        {
            "messages": [
                {"role": role, "content": form.format(person.name, person.home)}
                for role, form in zip(("user", "assistant"), text, strict=True)
            ]
        }
        for person in town.residents()
    ]


# -------------------------------------------------------------------------------------------------


def lines(name: str) -> list[Any]:
    """Rows of a file of `data/dirty`."""
    return [json.loads(line) for line in (DIRTY / name).read_text("utf-8").splitlines()]


def tokenizer() -> Any:
    """The town's tokenizer."""
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(ROOT / "data" / "town" / "base")


def sound() -> list[Any]:
    """The rows of `data/dirty` that have no planted defect."""
    names = {label["id"] for label in lines("labels.jsonl") if not label["defects"]}
    return [row for row in lines("rows.jsonl") if row["id"] in names]


def dirty(**how: Any) -> Any:
    """`data/dirty`, cleaned with its evaluation rows."""
    return named(lines("rows.jsonl"), lines("eval.jsonl"), **how)


def named(rows: list[Any], eval_rows: list[Any] | None = None, **how: Any) -> Any:
    """Rows with names and what became of them."""
    rows = [
        row if isinstance(row, dict) and "id" in row else {"id": f"row-{number:04d}", **row}
        for number, row in enumerate(rows)
    ]
    return rows, cleaned(rows, eval_rows, **how)


SETTINGS = {
    "default": lambda: named(lines("rows.jsonl")),
    "with eval rows": lambda: dirty(),
    "backwards": lambda: dirty(backwards=True),
    "no rules": lambda: dirty(no_rules=True),
    "40 tokens": lambda: dirty(tokenizer=tokenizer(), limits={"max_tokens": 40}),
    "flags": lambda: dirty(actions={"refusal": "flag", "truncated": "keep", "mojibake": "drop",
                                    "personal_data": "drop", "near_duplicate": "flag"}),
    "letters": lambda: named(form_letters()),
    "letters by text": lambda: named(form_letters(), limits={"names_must_agree": False}),
    "sound, 5 words": lambda: named(sound(), lines("eval.jsonl"), limits={"contaminated_ngram": 5}),
    "seed 1": lambda: named(*made_rows(1)),
    "seed 2": lambda: named(*made_rows(2)),
}  # fmt: skip
WITH_IDS = ("default", "with eval rows")
SLOW = ("backwards", "flags", "seed 2")


@functools.cache
def entries(setting: str) -> dict[str, Any]:
    """What becomes of the rows under a setting."""
    rows, (stay, dropped_by, caught) = SETTINGS[setting]()
    found: dict[str, Any] = {"kept": [row["id"] for row in stay], "rows": digest(stay)}
    lists: dict[str, list[str]] = defaultdict(list)
    for row, rule in zip(rows, dropped_by, strict=True):
        if rule is not None:
            lists[f"dropped/{rule}"].append(row["id"])
    for row in stay:
        for rule in row.get("cleaning_flags", ()):
            lists[f"flagged/{rule}"].append(row["id"])
    found |= {name: ids if setting in WITH_IDS else len(ids) for name, ids in lists.items()}
    found |= {f"caught/{rule}": count for rule, count in caught.items() if count}
    return {f"{setting}/{name}": value for name, value in found.items()}


@pytest.mark.parametrize(
    "setting",
    [pytest.param(name, marks=pytest.mark.thorough if name in SLOW else ()) for name in SETTINGS],
)
def test_the_same_rows_stay(setting: str) -> None:
    golden = {
        name: value
        for name, value in read("cleaning.json").items()
        if name.startswith(f"{setting}/")
    }
    found = plain(entries(setting))
    assert found.keys() == golden.keys()
    for name, value in golden.items():
        assert found[name] == value, name


if __name__ == "__main__":
    write("cleaning.json", {k: v for name in SETTINGS for k, v in entries(name).items()})
