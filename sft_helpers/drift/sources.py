"""What the installed sources say about `**kwargs`, which no signature describes."""

from __future__ import annotations

import ast
import inspect
import re
import textwrap
from collections.abc import Mapping
from functools import cache
from typing import Any

from sft_helpers.drift.installed import find, is_named, loaded, signature


def _tree(of: Any) -> ast.Module:
    """Source of an object; an empty one where there is none."""
    try:
        return ast.parse(textwrap.dedent(inspect.getsource(inspect.unwrap(of))))
    except (OSError, TypeError, SyntaxError, ValueError):
        return ast.Module([], [])


def _function(found: Any) -> Any:
    return inspect.getattr_static(found, "__init__") if isinstance(found, type) else found


def keys_read(tree: ast.AST, holder: str) -> set[str]:
    """Constant keys that code takes out of a dictionary whose expression ends in `holder`."""
    keys: set[str] = set()

    def of_holder(node: ast.expr) -> bool:
        return ast.unparse(node).split(".")[-1] == holder

    for node in ast.walk(tree):
        key: ast.expr | None = None
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.args:
            if node.func.attr in {"get", "pop", "setdefault"} and of_holder(node.func.value):
                key = node.args[0]
        elif isinstance(node, ast.Subscript) and of_holder(node.value):
            key = node.slice
        elif isinstance(node, ast.Compare) and of_holder(node.comparators[0]):
            key = node.left
        if isinstance(key, ast.Constant) and isinstance(key.value, str):
            keys.add(key.value)
    return keys


@cache
def swallowed(path: str) -> frozenset[str] | None:
    """Keys read from a callable's `**kwargs` where all others are dropped; None if not certain.

    Dropped means: the source never hands `kwargs` on, loops over it or stores it.
    """
    tree = _tree(_function(find(path)[1]))
    definition = tree.body[0] if tree.body else None
    if not isinstance(definition, ast.FunctionDef) or definition.args.kwarg is None:
        return None
    name = definition.args.kwarg.arg
    uses = sum(isinstance(node, ast.Name) and node.id == name for node in ast.walk(tree))
    harmless = 0
    for node in ast.walk(tree):
        if isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == name:
            harmless += 1
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            owner, first = node.func.value, node.args[0] if node.args else None
            by_key = node.func.attr in {"get", "pop"} and isinstance(first, ast.Constant)
            if isinstance(owner, ast.Name) and owner.id == name:
                harmless += by_key or node.func.attr == "keys"
    return frozenset(keys_read(tree, name)) if harmless == uses else None


@cache
def reads(path: str) -> frozenset[str]:
    """Keywords that a callable, its bases or the loader behind it take by name."""
    keys: set[str] = set()
    owner, _, method = path.rpartition(".")
    for target in (path, *(f"{made}.{method}" for made in loaded(owner))):
        found, call = find(target)[1], signature(target)
        keys |= {name for name in call.parameters if is_named(call, name)} if call else set()
        bases = found.__mro__[:-1] if isinstance(found, type) else [found]
        for tree in map(_tree, map(_function, bases)):
            for node in ast.walk(tree):
                if isinstance(node, ast.arg) and node.arg.endswith("kwargs"):
                    keys |= keys_read(tree, node.arg)
                elif isinstance(node, ast.For) and "kwargs.pop" in ast.unparse(node):
                    parts = [part for part in ast.walk(node.iter) if isinstance(part, ast.Constant)]
                    keys |= {part.value for part in parts if isinstance(part.value, str)}
    return frozenset(keys)


@cache
def trainer_reads(holder: str) -> frozenset[str] | None:
    """Keys that TRL's SFTTrainer reads from `args.<holder>`; None where it hands all of them on."""
    tree = _tree(inspect.getmodule(find("trl.SFTTrainer")[1]))
    if re.search(rf"\*\*[\w.( ]*\b{holder}\b", ast.unparse(tree)):
        return None
    return frozenset(keys_read(tree, holder)) or None


@cache
def warned(path: str) -> Mapping[str, str]:
    """FutureWarnings of a trainer about its arguments, or its configuration's: name → text."""
    trainer = path.removesuffix("Config") + "Trainer" if path.endswith("Config") else path
    tree = _tree(_function(find(trainer)[1])) if trainer.endswith("Trainer") else ast.Module([], [])
    texts = [
        node.args[0].value
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and "FutureWarning" in map(ast.unparse, node.args)
        if isinstance(node.args[0], ast.Constant)
    ]
    found = [(re.match(r"`(\w+)(?:=True)?` is deprecated", str(text)), text) for text in texts]
    return {match[1]: str(text) for match, text in found if match}
