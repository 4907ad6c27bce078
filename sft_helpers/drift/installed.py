"""What the installed packages accept: asked of the packages themselves, and only when needed."""

from __future__ import annotations

import contextlib
import difflib
import importlib
import inspect
import io
import logging
import re
import warnings
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any, Literal

PACKAGES = ("trl", "transformers", "peft", "bitsandbytes", "datasets")
Status = Literal["found", "gone", "unknown"]

# Loaders whose result has another class than the one that is called: name → class of the result.
LOADERS = {
    "AutoTokenizer": "transformers.PreTrainedTokenizerBase",
    "AutoConfig": "transformers.PretrainedConfig",
    "AutoModel": "transformers.PreTrainedModel",  # and AutoModelFor...
    "AutoPeftModel": "peft.PeftModel",
}


@contextlib.contextmanager
def silence() -> Iterator[None]:
    """Keep what libraries print, log and warn out of the way."""
    level = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        with (
            warnings.catch_warnings(),
            contextlib.redirect_stdout(io.StringIO()),
            contextlib.redirect_stderr(io.StringIO()),
        ):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(level)


@cache
def find(path: str) -> tuple[Status, Any]:
    """Look up a dotted name such as "trl.SFTConfig" in the installed packages.

    Returns:
        ("found", the object), ("gone", the last part that exists) or ("unknown", why).
    """
    root, *names = path.split(".")
    with silence():
        try:
            found: Any = importlib.import_module(root)
        except Exception as problem:
            return "unknown", f"{root} cannot be imported here ({type(problem).__name__})"
        done = root
        for name in names:
            status, found = _step(found, done, name)
            if status != "found":
                return status, found
            done += f".{name}"
    if "dummy" in (getattr(found, "__module__", "") or ""):  # stands for what is missing here
        return "unknown", f"{path} needs a package that is not installed here"
    return "found", found


def _step(parent: Any, done: str, name: str) -> tuple[Status, Any]:
    try:
        return "found", getattr(parent, name)
    except AttributeError:
        pass
    except Exception as problem:  # a lazy module whose own imports fail
        return "unknown", f"{done}.{name} cannot be imported here ({type(problem).__name__})"
    try:
        if isinstance(parent, ModuleType):
            return "found", importlib.import_module(f"{done}.{name}")
        return "found", getattr(importlib.import_module(done), name)  # its name is taken above it
    except AttributeError:
        pass
    except ModuleNotFoundError as problem:
        if not (problem.name or "").startswith(done):
            return "unknown", f"{done}.{name} needs {problem.name}, which is not installed"
    except Exception as problem:
        return "unknown", f"{done}.{name} cannot be imported here ({type(problem).__name__})"
    return "gone", done


@cache
def moved_to(path: str) -> str | None:
    """Where a name that left its module is defined today, if exactly there and importable."""
    root, name = path.split(".")[0], path.rsplit(".", 1)[-1]
    status, package = find(root)
    if status != "found" or not name.isidentifier():
        return None
    folder = Path(package.__file__).parent
    pattern = re.compile(rf"^(?:class|def) {name}\b", re.MULTILINE)
    homes = []
    for file in sorted(folder.rglob("*.py")):
        inside = file.relative_to(folder).with_suffix("").parts
        if "models" not in inside and pattern.search(file.read_text("utf-8", "replace")):
            homes.append(".".join((root, *inside)))
    if len(homes) != 1:
        return None
    parts = homes[0].removesuffix(".__init__").split(".")
    for end in range(2, len(parts) + 1):  # the shortest public way in
        candidate = ".".join([*parts[:end], name])
        if not any(part.startswith("_") for part in parts[:end]) and find(candidate)[0] == "found":
            return candidate
    return None


@cache
def signature(path: str) -> inspect.Signature | None:
    """How a callable may be called, without `self`; None where Python cannot say."""
    status, found = find(path)
    if status != "found" or not callable(found):
        return None
    wrapped = getattr(getattr(found, "__func__", None), "__wrapped__", None)
    if inspect.ismethod(wrapped):  # transformers' Auto classes: a bound method in a bound method
        found = wrapped
    owner, _, name = path.rpartition(".")
    cls = find(owner)[1] if owner else None
    static = isinstance(cls, type) and isinstance(
        inspect.getattr_static(cls, name, None), staticmethod
    )
    try:
        answer = inspect.signature(found)
    except (TypeError, ValueError):
        return None
    if isinstance(cls, type) and inspect.isfunction(found) and not static:
        answer = answer.replace(parameters=list(answer.parameters.values())[1:])
    return answer


def accepts(call: inspect.Signature, name: str) -> bool:
    """Whether a keyword of this name is taken, by a parameter or by `**kwargs`."""
    try:
        call.bind_partial(**{name: None})
    except TypeError:
        return False
    return True


def is_named(call: inspect.Signature, name: str) -> bool:
    """Whether a parameter has this name, so that `**kwargs` is not needed for it."""
    kind = call.parameters[name].kind if name in call.parameters else None
    return kind in (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)


def similar(call: inspect.Signature, name: str) -> str | None:
    """The parameter whose name is nearest to a wrong one."""
    near = difflib.get_close_matches(name, call.parameters, n=1, cutoff=0.85)
    return near[0] if near else None


def origins(path: str) -> list[str]:
    """The class and its bases, as "package.Name", and for "package.Name.method" each with it.

    "trl.SFTConfig" → ["trl.SFTConfig", ..., "transformers.TrainingArguments"].
    """
    status, found = find(path)
    if status == "found" and isinstance(found, type):
        return [f"{base.__module__.split('.')[0]}.{base.__name__}" for base in found.__mro__[:-1]]
    owner, _, method = path.rpartition(".")
    status, found = find(owner)
    if status == "found" and isinstance(found, type):
        return [f"{base}.{method}" for base in [*origins(owner), *loaded(owner)]]
    if status == "found":
        return [f"{path.split('.')[0]}.{path.rsplit('.', 1)[-1]}"]
    return [path]


def loaded(path: str) -> list[str]:
    """The class of LOADERS behind an Auto class, if it is one."""
    name = path.rsplit(".", 1)[-1]
    return [made for start, made in LOADERS.items() if name.startswith(start)]


def result_of(path: str) -> str | None:
    """Class of what a call of `path` returns, where that is certain enough to follow."""
    status, found = find(path)
    if status == "found" and isinstance(found, type):
        return path
    owner, _, method = path.rpartition(".")
    if method.startswith("from_") and isinstance(find(owner)[1], type):
        return next(iter(loaded(owner)), owner)
    return None
