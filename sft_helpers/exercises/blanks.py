"""What a blank is: the `...` of a stub that the learner has not yet filled in."""

from __future__ import annotations

import ast
import inspect
import textwrap
from collections.abc import Mapping
from types import FunctionType
from typing import Any, TypeVar

T = TypeVar("T")


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
