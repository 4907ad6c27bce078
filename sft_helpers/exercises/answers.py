"""What the checks share: an answer is judged by what it says, not by the form in which it stands.

A number may come from numpy or torch, letters in a list, a set or one string, a choice in capitals.
"""

from __future__ import annotations

import ast
import inspect
import math
import textwrap
from collections.abc import Callable, Collection, ItemsView, Iterator, KeysView, Mapping, ValuesView
from itertools import islice
from types import FunctionType
from typing import Any, TypeVar

T = TypeVar("T")
MANY = 10_000  # values taken from a generator at most
_ALIKE = str.maketrans("_-/", "   ")  # as_asked, as-asked
_VIEWS = (range, Iterator, KeysView, ValuesView, ItemsView)


class NotYet(Exception):
    """A diagnosis, raised from within a check where returning it would be long-winded."""


def plain(value: Any) -> Any:
    """Return a value as Python's own: arrays, tensors, ranges and generators become lists."""
    if isinstance(value, type):
        return value
    if isinstance(value, Mapping):
        return {plain(key): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        kind = list if hasattr(value, "_fields") else type(value)  # a named tuple takes no list
        return kind([plain(item) for item in value]) if len(value) <= MANY else value
    if isinstance(value, _VIEWS):
        return [plain(item) for item in islice(value, MANY)]
    return value.tolist() if callable(getattr(value, "tolist", None)) else value


def returned(function: Callable[..., Any], *arguments: Any, nothing: bool = False) -> Any:
    """Call the learner's function and return what it gives, as Python's own values.

    Args:
        function: what the learner wrote.
        arguments: what it is called with, by position: its parameters may have other names.
        nothing: whether None is a sensible result.

    Raises:
        NotYet: if it is no function, takes another number of arguments, or returns nothing.
    """
    if not callable(function):
        raise NotYet(
            f"give the function itself, by its name and without brackets; this is {show(function)}"
        )
    try:
        inspect.signature(function).bind(*arguments)
    except TypeError:
        raise NotYet(
            f"the check gives your function {len(arguments)} arguments, and it does not take so"
            " many: keep the parameters of the stub, in their order"
        ) from None
    except ValueError:  # a builtin without a signature
        pass
    result = plain(function(*arguments))
    if result is None and not nothing:
        raise NotYet("your function returns nothing; end it with `return ...`")
    return result


def number(value: Any, what: str = "a number") -> float:
    """Return a number, also one that was written as text; `what` says what is asked for.

    Raises:
        NotYet: if the value is none, or not finite.
    """
    try:
        found = float(value) if not isinstance(value, bool) else None
    except (TypeError, ValueError, OverflowError):
        found = None
    if found is None or not abs(found) < float("inf"):
        raise NotYet(f"give {what}; this is {show(value)}")
    return found


def whole(value: Any, what: str = "a whole number") -> int:
    """Return a whole number, also one that was written as text or as 4.0."""
    found = number(value, what)
    if not found.is_integer():
        raise NotYet(f"give {what}, not {found:g}")
    return int(found)


def near(value: Any, wanted: float, tolerance: float = 1e-6) -> bool:
    """Whether a number is the wanted one but for rounding; NotYet if it is no number."""
    return math.isclose(number(value), wanted, rel_tol=tolerance)


def items(value: Any, what: str = "a list") -> list[Any]:
    """Return the items of a list, a tuple or a set, which is put in order.

    Raises:
        NotYet: if the value is none of these; `what` says what is asked for.
    """
    if isinstance(value, (set, frozenset)):
        return sorted(value)
    if not isinstance(value, (list, tuple)):
        raise NotYet(f"give {what}; this is {show(value)}")
    return list(value)


def show(value: Any, most: int = 60) -> str:
    """Return a value as it is written, cut; one that cannot be written is named by its type."""
    try:
        text = repr(value)
    except Exception:
        text = f"a value of type {type(value).__name__}"
    return text if len(text) <= most else text[: most - 1] + "…"


def _form(value: Any) -> str:
    """What two spellings of one choice have in common."""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return " ".join(str(value).casefold().translate(_ALIKE).split())


def _named(value: Any, allowed: Collection[Any]) -> Any:
    """The allowed value that was meant, or None."""
    return next((one for one in allowed if _form(one) == _form(value)), None)


def by_key(answer: Any, keys: Collection[str], example: Any) -> dict[str, Any]:
    """Return a value for each key; a list of as many is taken in their order.

    Raises:
        NotYet: if the answer is no such thing, or a key is missing or foreign.
    """
    if isinstance(answer, (list, tuple)) and len(answer) == len(keys):
        answer = dict(zip(keys, answer, strict=True))
    if not isinstance(answer, Mapping):
        first = {next(iter(keys)): example}
        raise NotYet(f"give a dictionary, such as {str(first)[:-1]}, ...}}")
    found = {_named(key, keys): value for key, value in answer.items()}
    if None in found:
        strange = next(show(key) for key in answer if _named(key, keys) is None)
        raise NotYet(f"{strange} is none of {', '.join(keys)}")
    missing = [key for key in keys if key not in found]
    if missing:
        raise NotYet(f"{', '.join(missing)} still without an answer")
    return {key: found[key] for key in keys}


def choices(answer: Any, keys: Collection[str], allowed: Collection[Any]) -> dict[str, Any]:
    """Return the allowed value that was chosen for each key.

    Raises:
        NotYet: as `by_key`, and if a choice is none of those allowed.
    """
    found = by_key(answer, keys, next(iter(allowed)))
    for key, value in found.items():
        found[key] = _named(value, allowed)
        if found[key] is None:
            raise NotYet(f"{key}: {show(value)} is none of {', '.join(map(str, allowed))}")
    return found


def numbers(answer: Any, keys: Collection[str]) -> dict[str, float]:
    """Return a number for each key; raises as `by_key` and `number`."""
    found = by_key(answer, keys, 1)
    return {key: number(value, f"a number for {key}") for key, value in found.items()}


def first_wrong(
    answer: Any, right: Mapping[str, Any], why: Mapping[str, str], allowed: Collection[Any]
) -> str | None:
    """Say why the first choice that is not right cannot be, or return None."""
    chosen = choices(answer, right, allowed)
    return next((why[key] for key, value in right.items() if chosen[key] != value), None)


def several(answer: Any, allowed: Collection[str]) -> set[str]:
    """Return the names that were picked: from a set, a list, text, or a dict of yes and no.

    Raises:
        NotYet: if something else was given, or a name that is not allowed.
    """
    if isinstance(answer, Mapping):
        answer = [name for name, picked in answer.items() if picked is True]
    if isinstance(answer, str):
        parts = [part.strip() for part in answer.strip("{[()]}").replace(";", ",").split(",")]
        letters = len(parts) == 1 and _named(parts[0], allowed) is None and parts[0].isalpha()
        answer = list(parts[0]) if letters else [part.strip("'\" ") for part in parts]
    if not isinstance(answer, (list, tuple, set, frozenset)):
        raise NotYet(f"give a set of names from {', '.join(allowed)}; this is {show(answer)}")
    picked = set()
    for name in answer:
        found = _named(name, allowed)
        if found is None:
            raise NotYet(f"{show(name)} is none of {', '.join(allowed)}")
        picked.add(found)
    return picked


def misjudged(
    answer: Any, right: Collection[str], why: Mapping[str, str], *, all_of: Collection[str] = ()
) -> str | None:
    """Say why the first name that is picked or left out wrongly is so, or return None."""
    wrong = several(answer, all_of or why) ^ set(right)
    return next((why[name] for name in why if name in wrong), None)


# --- blanks: the `...` of a stub that the learner has not yet filled in - - - - - - - - - -


def _has_blank(node: ast.AST) -> bool:
    """Say whether `...` stands anywhere but in an index, a default or an annotation."""
    if isinstance(node, ast.Constant):
        return node.value is Ellipsis
    if isinstance(node, ast.Subscript):
        return _has_blank(node.value)
    if isinstance(node, ast.arguments):
        return False
    skipped = {"annotation", "returns"}
    for name, field in ast.iter_fields(node):
        if name in skipped:
            continue
        children = field if isinstance(field, list) else [field]
        if any(_has_blank(child) for child in children if isinstance(child, ast.AST)):
            return True
    return False


def is_blank(answer: Any) -> bool:
    """Say whether an answer is still the stub.

    Blank are `...` itself, a list, tuple or dict that holds it, and a function with `...` in its
    body. Inside an index (`x[..., 0]`), a default or an annotation `...` is ordinary Python.
    """
    if answer is Ellipsis:
        return True
    if isinstance(answer, Mapping):
        return any(map(is_blank, answer.values()))
    if isinstance(answer, (list, tuple)):
        return any(map(is_blank, answer))
    if isinstance(answer, FunctionType):
        try:
            tree = ast.parse(textwrap.dedent(inspect.getsource(answer)))
        except (OSError, SyntaxError, TypeError):
            return False
        return _has_blank(tree)
    return False


def is_blank_source(source: str) -> bool:
    """Say whether the source of a cell still holds a blank `...`; magics and the like do not."""
    try:
        return _has_blank(ast.parse(source))
    except SyntaxError:
        return False


def yours_or(answer: T, reference: T) -> T:
    """Return the learner's answer, or the reference while it is blank."""
    return reference if is_blank(answer) else answer
