"""Names and bounds of the claims that stand in the notebooks' source: none lost, none loosened.

A claim may move to another notebook, into a loop, or take its name from an f-string; what a name
then resolves to is for `test_claims_run.py`, which reads what a run recorded.
"""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Iterator
from typing import Any

from tests.golden.compare import ROOT, WRITE, compare, read, write

NAME = "claims.json"
CLAIMING = {"expect", "claim"}  # notebook 13 has a `claim` of its own, with expect's arguments


# --- where the package is asked ----------------------------------------------------------------
def patients() -> dict[str, dict[str, Any]]:
    """What is claimed of each patient of the clinic: the claims' names are made of theirs."""
    from sft_helpers.clinic.cases import cases

    told = ("cause", "measure", "shows", "sick_bounds", "healed_bounds", "found_by", "code")
    return {case.name: {field: getattr(case, field) for field in told} for case in cases()}


# -----------------------------------------------------------------------------------------------


def trees() -> Iterator[tuple[str, ast.AST]]:
    """Each code cell of each notebook, parsed; lines of magic are left out."""
    for path in sorted((ROOT / "notebooks").glob("*.ipynb")):
        for cell in json.loads(path.read_text(encoding="utf-8"))["cells"]:
            source = "".join(cell["source"])
            if cell["cell_type"] == "code" and not source.startswith("%%"):
                yield path.stem, ast.parse(re.sub(r"(?m)^(\s*)[%!].*$", r"\1pass", source))


def bound(node: ast.expr | None) -> Any:
    """A bound's value, or its source where it is computed."""
    if node is None:
        return None
    try:
        return eval(compile(ast.Expression(node), "bound", "eval"), {"__builtins__": {}})
    except NameError:
        return ast.unparse(node)


def stated() -> dict[str, list[Any]]:
    """Each claim as `name` (or the source of what is no plain string): notebook, low, high."""
    found: dict[str, list[Any]] = {}
    for notebook, tree in trees():
        for call in ast.walk(tree):
            if not isinstance(call, ast.Call):
                continue
            if ast.unparse(call.func).split(".")[-1] not in CLAIMING:
                continue
            first = call.args[0]
            name = first.value if isinstance(first, ast.Constant) else ast.unparse(first)
            given = {word.arg: word.value for word in call.keywords}
            entry = [notebook, bound(given.get("low")), bound(given.get("high"))]
            while found.setdefault(name, entry) is not entry:
                name += " (again)"
    return found


def spoken() -> tuple[set[str], list[str]]:
    """All strings of the notebooks' code, and as patterns the f-strings that may make a name."""
    strings: set[str] = set()
    patterns: list[str] = []
    for _, tree in trees():
        for node in ast.walk(tree):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                strings.add(node.value)
            elif isinstance(node, ast.JoinedStr):
                parts = [p.value if isinstance(p, ast.Constant) else None for p in node.values]
                if re.match(r"\w+\.", parts[0] or ""):  # as every claim's name begins
                    patterns.append("".join(r"\w+" if p is None else re.escape(p) for p in parts))
    return strings, patterns


def test_no_claim_is_lost_and_no_bound_changed() -> None:
    now = stated()
    if WRITE:
        write(NAME, now)
        return
    strings, patterns = spoken()
    wrong = []
    for name, (notebook, *bounds) in read(NAME).items():
        if name in now:
            # a computed bound may be computed in another way, but it must be there
            same = all(
                is_now == was if not isinstance(was, str) else is_now is not None
                for was, is_now in zip(bounds, now[name][1:], strict=True)
            )
            if not same:
                wrong.append(f"bounds of {name}: were {bounds}, are {now[name][1:]}")
        elif re.fullmatch(r"[\w.]+", name):
            hidden = any(re.fullmatch(pattern, name) for pattern in patterns)
            if name not in strings and not hidden:
                wrong.append(f"lost: {name} of {notebook}")
    assert not wrong, "\n".join(wrong)


def test_patients_have_the_symptoms_that_they_had() -> None:
    compare("patients.json", patients())
