"""What the installed packages take: asked of the packages themselves, never of a list of ours."""

from __future__ import annotations

import contextlib
import difflib
import importlib
import inspect
import io
import logging
import os
import re
import warnings
from collections.abc import Iterator
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any

from sft_helpers.renames import BEHIND, Rename

PACKAGES = ("trl", "transformers", "peft", "bitsandbytes", "datasets")
ON_CPU = {"use_cpu": True, "bf16": False}  # with which a training configuration can be built
EFFECTS = {  # of a keyword, when it is given
    "refused": ("error", "does not accept `{}`: TypeError"),
    "ignored": ("warning", "takes `{}` and ignores it"),
    "deprecated": ("note", "still takes `{}`, deprecated"),
    "": ("unknown", "may take `{}`"),
}


def versions() -> dict[str, str | None]:
    """Versions of the packages; None where one is missing."""
    there = {package.name for package in metadata.distributions()}
    return {name: metadata.version(name) if name in there else None for name in PACKAGES}


@contextlib.contextmanager
def silence() -> Iterator[list[warnings.WarningMessage]]:
    """Keep what libraries say out of the way and the environment as it was; warnings are kept."""
    environment, level = dict(os.environ), logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    out, err = contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO())
    try:
        with out, err, warnings.catch_warnings(record=True, action="always") as caught:
            yield caught if caught is not None else []
    finally:
        logging.disable(level)
        os.environ.clear()
        os.environ.update(environment)


def ours(path: str) -> bool:
    """Whether something belongs to the packages that are compared."""
    return path.split(".")[0] in PACKAGES


@cache
def find(path: str) -> tuple[str, Any]:
    """Look up a dotted name: ("found", it), ("gone", what exists of it), ("unknown", why)."""
    done, _, name = path.rpartition(".")
    status, parent = find(done) if done else ("found", None)
    if status != "found":
        return status, parent
    try:
        with silence():
            if isinstance(parent, type) and not hasattr(parent, name):
                parent = importlib.import_module(done)  # a module behind a class of its name
            there = hasattr(parent, name)
            found = getattr(parent, name) if there else importlib.import_module(path)
    except ModuleNotFoundError as problem:
        gone = bool(done) and path.startswith(str(problem.name))
        return ("gone", done) if gone else ("unknown", f"{path} needs {problem.name}")
    except Exception as problem:
        return "unknown", f"{path} cannot be imported here ({type(problem).__name__})"
    if "dummy" in (getattr(found, "__module__", "") or ""):
        return "unknown", f"{path} needs a package that is not installed"
    return "found", found


def is_class(path: str) -> bool:
    """Whether a dotted name is a class."""
    return bool(path) and isinstance(find(path)[1], type)


@cache
def moved_to(path: str) -> str:
    """The import of a name that left its module, if one place defines it and it can be imported."""
    top, name = path.split(".")[0], path.rpartition(".")[2]
    folder, defined = Path(find(top)[1].__file__).parent, re.compile(rf"(?m)^(class|def) {name}\b")
    files = [
        file for file in folder.rglob("*.py") if defined.search(file.read_text("utf-8", "replace"))
    ]
    homes = [file.relative_to(folder).with_suffix("").parts for file in files]
    homes = [home for home in homes if "models" not in home]
    parts = [top, *homes[0]] if len(homes) == 1 else []
    for module in (".".join(parts[:end]) for end in range(2, len(parts) + 1)):
        if "._" not in module and find(f"{module}.{name}")[0] == "found":
            return f"it moved: from {module} import {name}"
    return ""


@cache
def signature(path: str) -> inspect.Signature | None:
    """How something may be called; None where Python cannot say."""
    found = find(path)[1] if find(path)[0] == "found" else None
    wrapped = getattr(getattr(found, "__func__", None), "__wrapped__", None)
    found = wrapped if inspect.ismethod(wrapped) else found  # as in transformers' Auto classes
    try:
        return inspect.signature(found) if callable(found) else None
    except (TypeError, ValueError):
        return None


def accepts(path: str, name: str) -> bool:
    """Whether a keyword of this name is taken, by a parameter or by `**kwargs`."""
    call = signature(path)
    with contextlib.suppress(TypeError):
        return call is None or bool(call.bind_partial(**{name: None}))
    return False


@cache
def places(path: str) -> tuple[str, ...]:
    """Under which names the tables know a class (its bases too), a method of it, or a function."""
    owner, _, name = path.rpartition(".")
    if is_class(path):
        bases = [base for base in find(path)[1].__mro__ if ours(base.__module__)]
        found = [f"{base.__module__.split('.')[0]}.{base.__name__}" for base in bases]
    else:
        above = places(owner) if is_class(owner) else path.split(".")[:1]
        found = [f"{place}.{name}" for place in above]
    return *found, *(BEHIND[start] for start in BEHIND if name.startswith(start))


def short(path: str) -> str:
    """ "trl.SFTConfig" → "SFTConfig", of a method "Class.method"."""
    return ".".join(path.split(".")[-2 if is_class(path.rpartition(".")[0]) else -1 :])


def advice(path: str, name: str) -> str:
    """Where a wrong argument might belong, or which it might be."""
    for mine, other in (("Trainer", "Config"), ("Config", "Trainer")):
        sibling = signature(path.removesuffix(mine) + other) if path.endswith(mine) else None
        if sibling and name in sibling.parameters:
            return f"move it: {short(path).removesuffix(mine)}{other}({name}=...)"
    call = signature(path)
    near = difflib.get_close_matches(name, call.parameters if call else (), n=1, cutoff=0.85)
    return f"did you mean `{near[0]}`?" if near else ""


Verdict = tuple[str, str, str, str]  # code, severity, message, what to write instead


def verdict(path: str, name: str, value: Any, known: bool, row: Rename | None) -> Verdict | None:
    """What a callable says to a keyword argument; None: nothing.

    `known`: the value is the one that the code has; else only the name counts. `row`: what the
    table says of the name.
    """
    call, effect = signature(path), row.effect if row else ""
    if call is None:
        return None
    if not accepts(path, name):
        effect = "refused"
    elif name in call.parameters:
        return of_value(path, name, value, known, row)
    elif not row and "quantization_config" in find(path)[1].__module__:
        with contextlib.suppress(Exception), silence():  # what it keeps, it uses
            effect = "" if hasattr(find(path)[1](**{name: value}), name) else "ignored"
    severity, told = EFFECTS[effect]
    fix = advice(path, name) or ("" if effect == "refused" else "leave it out")
    return f"argument.{effect}", severity, f"{short(path)}() {told.format(name)}", fix


def of_value(path: str, name: str, value: Any, known: bool, row: Rename | None) -> Verdict | None:
    """What a dataclass says to a value, or a trainer to an argument that will go; None: nothing.

    The class is built with this argument alone, as on a CPU, and thrown away.
    """
    build, refused, said = find(path)[1], "", list[str]()
    fields = getattr(build, "__dataclass_fields__", {})
    if name in fields and value is not None:
        with silence() as caught:
            try:
                build(**{key: on for key, on in ON_CPU.items() if key in fields} | {name: value})
            except ValueError as problem:  # "x is not a valid ...", and not "this needs a GPU"
                refused = str(problem)
            except Exception:  # this machine lacks something
                pass
        said = [str(warning.message) for warning in caught if warning.category is FutureWarning]
    if row and row.effect and value:
        said.append(f"`{name}` is deprecated. {row.text()}")
    for first, _, rest in (text.partition(". ") for text in said):
        if f"`{name}" in first:
            return "argument.deprecated", "note", first.rstrip("."), rest.rstrip(".")
        if known and re.search(rf"\b{name}\b|['\"`]{re.escape(str(value))}\b", first):
            return "value.deprecated", "note", first.rstrip("."), rest.rstrip(".")
    told, choices = f"{short(path)}({name}={value!r})", ()
    if name in fields:
        choices = fields[name].metadata.get("choices") or ()
    if known and "valid" in refused and str(value) in refused:
        return "value.refused", "error", f"{told}: {refused}", ""
    if known and choices and value is not None and value not in choices:
        fix = f"one of {', '.join(map(repr, choices))}"
        return "value.refused", "warning", f"{told}: not a value that is known", fix
    return None
