"""Which values configuration classes take, as the classes themselves say."""

from __future__ import annotations

import contextlib
import dataclasses
import enum
import os
import re
import typing
import warnings
from collections.abc import Mapping
from functools import cache
from typing import Any, Literal

from sft_helpers.drift.installed import find, silence


@cache
def choices(path: str) -> Mapping[str, tuple[Any, ...]]:
    """Fields of a dataclass that take one of a few values → those values."""
    status, found = find(path)
    if status != "found" or not dataclasses.is_dataclass(found):
        return {}
    try:
        hints = typing.get_type_hints(found)
    except Exception:
        hints = {}
    table: dict[str, tuple[Any, ...]] = {}
    for field in dataclasses.fields(found):
        kinds = typing.get_args(hint := hints.get(field.name)) or (hint,)
        for kind in kinds:
            if isinstance(kind, type) and issubclass(kind, enum.Enum):
                table[field.name] = tuple(member.value for member in kind)
        if listed := field.metadata.get("choices"):
            table[field.name] = tuple(listed)
        elif typing.get_origin(hint) is Literal:
            table[field.name] = typing.get_args(hint)
    return {
        name: values
        for name, values in table.items()
        if not any(isinstance(value, str) and "[" in value for value in values)
    }


@cache
def _defaults(path: str) -> dict[str, Any] | None:
    """Arguments with which a configuration class can be built on this machine, or None."""
    status, found = find(path)
    if status != "found" or not dataclasses.is_dataclass(found):
        return None
    build: Any = found
    names = {field.name for field in dataclasses.fields(found)}
    on_cpu = {key: value for key, value in {"use_cpu": True, "bf16": False}.items() if key in names}
    for arguments in ({}, on_cpu):
        with silence(), contextlib.suppress(Exception):
            build(**arguments)
            return arguments
    return None


def verdict(path: str, name: str, value: Any) -> tuple[str | None, str | None]:
    """What a configuration class says to one argument: (why it is refused, why it is deprecated).

    The class is built with that argument alone, on this machine, and thrown away.
    """
    base, build = _defaults(path), find(path)[1]
    if base is None:
        return None, None
    refused, environment = None, dict(os.environ)  # which some arguments change
    with silence(), warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            build(**base | {name: value})
        except (TypeError, ValueError) as problem:
            refused = str(problem)
        except Exception:
            refused = None  # this machine lacks something; not a matter of the value
        said = [str(w.message) for w in caught if issubclass(w.category, FutureWarning)]
    os.environ.clear()
    os.environ.update(environment)
    wanted = re.compile(rf"\b{re.escape(name)}\b|['\"`]{re.escape(str(value))}\b")
    return refused, next((text for text in said if wanted.search(text)), None)
