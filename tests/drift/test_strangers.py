"""Code that nobody here wrote: what installed packages import from one another.

Between releases, packages fall out of step. What lint says about their imports is compared with
the import itself, statement by statement.
"""

from __future__ import annotations

import ast
import importlib.util
from pathlib import Path

import pytest

from sft_helpers.drift import checks, installed, reader

FOLDERS = ["trl/trainer", "trl/scripts", "trl/experimental", "peft/utils", "peft/tuners/lora",
           "accelerate"]  # fmt: skip
EVALUATION = ["lm_eval/tasks/coqa", "lm_eval/tasks/basqueglue", "lm_eval/tasks/super_glue",
              "lm_eval/models"]  # fmt: skip


def statements(tree: ast.Module) -> dict[int, str]:
    """Imports of the packages that lint knows, one name each: line → statement."""
    found = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and not node.level and node.module:
            if node.module.split(".")[0] in installed.PACKAGES:
                for alias in node.names:
                    if alias.name != "*":
                        found[alias.lineno] = f"from {node.module} import {alias.name}"
        elif isinstance(node, ast.Import):
            for alias in node.names:
                if alias.name.split(".")[0] in installed.PACKAGES:
                    found[alias.lineno] = f"import {alias.name}"
    return found


def works(statement: str) -> bool | None:
    """Whether the interpreter takes it; None if something else is missing on this machine."""
    try:
        exec(statement, {})
    except ModuleNotFoundError as problem:
        ours = (problem.name or "").split(".")[0] in installed.PACKAGES
        return False if ours else None
    except ImportError as problem:
        return False if "cannot import name" in str(problem) else None
    except Exception:
        return None
    return True


@pytest.mark.parametrize("folder", FOLDERS + EVALUATION)
def test_imports_agree_with_the_interpreter(folder: str) -> None:
    spec = importlib.util.find_spec(folder.split("/")[0])
    if spec is None or not spec.submodule_search_locations:
        pytest.skip(f"{folder.split('/')[0]} is not installed")
    root = Path(next(iter(spec.submodule_search_locations))).parent
    files = sorted((root / folder).rglob("*.py"))
    assert files
    compared = 0
    for file in files:
        document = reader.read(file)
        findings = [f for f in checks.check(document) if f.code == "import.gone"]
        gone = {finding.line for finding in findings}
        for line, statement in statements(document.pieces[0].parse()).items():
            answer = works(statement)
            if answer is not None:
                compared += 1
                assert answer == (line not in gone), f"{file}:{line}: {statement}"
    assert compared
