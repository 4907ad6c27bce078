"""What must hold for the repository as a whole: pins, notebooks as stored, safety, layering."""

from __future__ import annotations

import ast
import json
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from importlib.metadata import distributions, packages_distributions
from pathlib import Path

import yaml
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name
from packaging.version import Version

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "sft_helpers"
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
EXTRAS = PROJECT["project"]["optional-dependencies"]


def committed() -> list[Path]:
    """Files that git holds or would take."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    listing = subprocess.run(command, cwd=ROOT, capture_output=True, check=True).stdout.decode()
    files = [ROOT / name for name in listing.split("\0") if name]
    return [file for file in files if file.is_file()]


def modules() -> Iterator[tuple[Path, ast.Module]]:
    for path in sorted(PACKAGE.rglob("*.py")):
        yield path, ast.parse(path.read_text("utf-8"))


def imports(tree: ast.AST) -> Iterator[str]:
    """Dotted names that a module imports at any depth, lazily too."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"write the absolute import: line {node.lineno}"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


# ---------------------------------------------------------------- dependencies


def pins() -> dict[str, Version]:
    lines = (ROOT / "constraints.txt").read_text("utf-8").splitlines()
    found = [re.fullmatch(r"(\S+)==(\S+)", line) for line in lines if not line.startswith("#")]
    assert all(found), "constraints.txt holds nothing but NAME==VERSION"
    return {canonicalize_name(match[1]): Version(match[2]) for match in found if match}


def test_every_range_is_met_by_a_pin_that_any_build_and_the_oldest_python_take() -> None:
    """A pin that wants Python 3.11.5 would shut out Debian's 3.11.2."""
    groups = [PROJECT["project"]["dependencies"], PROJECT["build-system"]["requires"]]
    ranges = [line for group in [*groups, *EXTRAS.values()] for line in group]
    pinned = pins()
    for wanted in map(Requirement, ranges):
        version = pinned.get(canonicalize_name(wanted.name))
        assert version is not None, f"{wanted.name} has no pin: run make lock"
        assert wanted.specifier.contains(version), f"{wanted} excludes the pin {version}"
    assert [name for name, version in pinned.items() if version.local] == []
    oldest = PROJECT["project"]["requires-python"].removeprefix(">=") + ".0"
    for found in distributions():
        if str(pinned.get(canonicalize_name(found.name))) == found.version:
            wanted_python = SpecifierSet(found.metadata.get("Requires-Python") or "")
            assert wanted_python.contains(oldest), f"{found.name} needs Python {wanted_python}"


def test_every_import_is_declared() -> None:
    """What the package imports stands in pyproject.toml, not only among somebody's dependencies."""
    declared = {
        canonicalize_name(Requirement(line).name)
        for group in [PROJECT["project"]["dependencies"], *EXTRAS.values()]
        for line in group
    }
    homes = packages_distributions()
    missing = set()
    for path, tree in modules():
        for name in {name.split(".")[0] for name in imports(tree)} - sys.stdlib_module_names:
            homes_of_it = {canonicalize_name(home) for home in homes.get(name, [name])}
            # google.colab is there in Colab and nowhere else: nobody can install it
            if name not in {"sft_helpers", "google"} and not homes_of_it & declared:
                missing.add(f"{path.name} imports {name}")
    assert missing == set()


def test_conda_environment_is_the_same_as_the_package() -> None:
    conda = yaml.safe_load((ROOT / "environment.yml").read_text("utf-8"))["dependencies"]
    by_conda = [entry for entry in conda if isinstance(entry, str)]
    by_pip = next(entry["pip"] for entry in conda if isinstance(entry, dict))
    assert by_conda == [f"python{PROJECT['project']['requires-python']}", "pip"]
    # Everything else comes through the package, so its ranges and the pins are the only ones.
    assert by_pip == ["-c constraints.txt", "-e ."]


def test_repository_address_is_one_line() -> None:
    address = PROJECT["tool"]["sft-helpers"]["repository"]
    assert re.fullmatch(r"https://github\.com/[\w.-]+/[\w.-]+(?<!/)", address)


# ---------------------------------------------------------------- notebooks


def test_notebooks_are_stored_bare_and_fit_a_narrow_screen() -> None:
    """Where outputs are the problem: make format."""
    problems = []
    for path in (path for path in committed() if path.suffix == ".ipynb"):
        notebook = json.loads(path.read_text("utf-8"))
        assert (notebook["nbformat"], notebook["nbformat_minor"]) >= (4, 5), path
        cells = {cell["id"]: cell for cell in notebook["cells"]}
        assert len(cells) == len(notebook["cells"]), f"{path}: a cell id occurs twice"
        metadata = notebook["metadata"]
        if "widgets" in metadata or "version" in metadata.get("language_info", {}):
            problems.append(f"{path.name}: widget state, or somebody's Python version")
        for name, cell in cells.items():
            if cell["cell_type"] != "code":
                continue
            lines = "".join(cell["source"]).splitlines()
            filled, widest = sum(bool(line.strip()) for line in lines), max(map(len, [*lines, ""]))
            if cell["outputs"] or cell["execution_count"] is not None:
                problems.append(f"{path.name}, {name}: outputs or an execution count")
            if filled > 25 or widest > 76:
                problems.append(f"{path.name}, {name}: {filled} lines, {widest} columns")
    assert problems == []


# ---------------------------------------------------------------- safety


def test_no_file_names_a_package_host() -> None:
    hosts = ("pypi org", "files pythonhosted org", "download pytorch org", "registry npmjs org")
    needles = [host.replace(" ", ".").encode() for host in (*hosts, "deb debian org")]
    texts = {path: path.read_bytes() for path in committed()}
    assert [path for path, text in texts.items() if any(needle in text for needle in needles)] == []


def test_package_runs_no_foreign_code() -> None:
    """No pickle, no remote code: a model or a data set must not be able to run anything."""
    problems = []
    for path, tree in modules():
        for name in imports(tree):
            if name.split(".")[0] in {"pickle", "cPickle", "dill", "cloudpickle"}:
                problems.append(f"{path.name} imports {name}")
        for node in ast.walk(tree):
            if isinstance(node, ast.keyword) and node.arg in {"trust_remote_code", "allow_pickle"}:
                value = node.value
                if not (isinstance(value, ast.Constant) and value.value is False):
                    problems.append(f"{path.name}:{value.lineno} sets {node.arg}")
            if isinstance(node, ast.Call) and ast.unparse(node.func) in {
                "torch.load",
                "joblib.load",  # a pickle; its workers and its count of cores are used
                "eval",
                "exec",
            }:
                problems.append(f"{path.name}:{node.lineno} calls {ast.unparse(node.func)}")
    # the conditions in the package's own YAML of exercises are code of the kit
    problems = [one for one in problems if not re.fullmatch(r"rules\.py:\d+ calls eval", one)]
    assert problems == []


# ---------------------------------------------------------------- documents


def test_the_words_above_the_wide_grids_hold() -> None:
    """docs/wide-grids.md says how far LoRA depends on the seed, and which runs say so."""
    lines = (ROOT / "docs" / "measured" / "07_lora.jsonl").read_text("utf-8").splitlines()
    found: dict[tuple[str, float], list[float]] = {}
    for run in map(json.loads, lines):
        lora = run["lora"] or {"target_modules": "all-linear"}
        if lora.pop("target_modules") == "all-linear":
            key = " ".join(f"{name}={value}" for name, value in lora.items() if name != "task_type")
            found.setdefault((key, run["sft"]["learning_rate"]), []).append(run["exact_match"])
    low, *others = sorted(found["r=16 lora_alpha=32", 1e-3])
    assert (round(low, 2), len(others), others[0], others[-1]) == (0.39, 3, 0.825, 0.965)
    full = found["", 2.5e-4]
    assert len(full) == 4
    assert max(full) - min(full) <= 0.02
    spread = {key: max(s) - min(s) for key, s in found.items() if key[0] and min(s) > 0.5}
    assert set(sorted(spread, key=lambda key: spread[key])[:2]) == {
        ("r=4 lora_alpha=32", 4e-3),
        ("r=64 lora_alpha=32 use_rslora=True", 2.5e-4),
    }


# ---------------------------------------------------------------- layering

# The top of the house, which may know everything below: a lesson and the course, the command
# line, and the modules that are one of its commands.
TOP = {"cli", "course", "lesson"}


def is_command(tree: ast.Module) -> bool:
    return any(
        isinstance(node, ast.FunctionDef) and node.name == "add_parser" for node in tree.body
    )


def test_imports_point_downward() -> None:
    """The core knows neither display nor exercises nor the top; display knows no exercises."""
    problems = []
    for path, tree in modules():
        inside = path.relative_to(PACKAGE).with_suffix("").parts
        if inside[0] in {"exercises", "__init__", *TOP} or is_command(tree):
            continue
        above = {"exercises", *TOP} if inside[0] == "display" else {"display", "exercises", *TOP}
        for name in imports(tree):
            if name.startswith("sft_helpers.") and name.split(".")[1] in above:
                problems.append(f"{'/'.join(inside)} imports {name}")
    assert problems == []
