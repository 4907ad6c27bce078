"""What expressions yield, and the calls and names inside them."""

from __future__ import annotations

import ast
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from sft_helpers.drift import installed
from sft_helpers.drift.reader import Piece
from sft_helpers.drift.tracked import (
    UNBOUND,
    UNKNOWN,
    Call,
    Dict,
    Entry,
    Heir,
    Known,
    Made,
    Ref,
    Use,
    same,
)

HARMLESS = {"print", "len", "str", "repr", "sorted", "list", "type", "isinstance", "vars", "dir"}


class Expressions(ast.NodeVisitor):
    """Evaluates expressions in a scope and collects what they use of the installed packages.

    Attributes:
        calls, uses: what was met, in order.
        roots: packages that are imported.
        repeated: keywords that are given twice.
        scope: name → what is known about its value.
        unsettled: names that are bound to several things.
        piece: where the code stands.
        guarded: whether the code is prepared for a failure here.
        depth: branches around this place.
    """

    def __init__(self) -> None:
        self.calls: list[Call] = []
        self.uses: list[Use] = []
        self.roots: set[str] = set()
        self.repeated: list[tuple[str, ast.AST, Piece]] = []
        self.scope: dict[str, Any] = {}
        self.unsettled: set[str] = set()
        self.piece = Piece("", [])
        self.guarded, self.depth = False, 0

    def bind(self, name: str, value: Any) -> None:
        """Give a name a value."""
        before = self.scope.get(name, UNBOUND)
        if before is not UNBOUND and not same(before, value):
            self.unsettled.add(name)
        self.scope[name] = value

    def use(self, kind: str, path: str, node: ast.AST) -> None:
        """Record a name of the installed packages."""
        if kind == "import":
            self.roots.add(path.split(".")[0])
        if path.split(".")[0] in installed.PACKAGES:
            self.uses.append(Use(kind, path, node, self.piece, self.guarded))

    # ---------------------------------------------------------------- expressions

    def visit(self, node: ast.AST) -> Any:
        """Statements by their method, expressions through `value`."""
        return self.value(node) if isinstance(node, ast.expr) else super().visit(node)

    def value(self, node: ast.expr | None) -> Any:
        """What an expression yields; calls inside it are recorded."""
        if node is None:
            return UNKNOWN
        method = getattr(self, f"value_{type(node).__name__}", None)
        if method is not None:
            return method(node)
        self.generic_visit(node)
        return UNKNOWN

    def value_Constant(self, node: ast.Constant) -> Any:
        return Known(node.value)

    def value_Name(self, node: ast.Name) -> Any:
        return self.scope.get(node.id, UNKNOWN)

    def value_NamedExpr(self, node: ast.NamedExpr) -> Any:
        self.bind(node.target.id, self.value(node.value))
        return self.scope[node.target.id]

    def value_Attribute(self, node: ast.Attribute) -> Any:
        return self.attribute(self.value(node.value), node)

    def attribute(self, holder: Any, node: ast.Attribute) -> Any:
        """An attribute of something whose value is known."""
        if isinstance(holder, Ref) and holder.path:
            self.use("attribute", f"{holder.path}.{node.attr}", node)
            return Ref(f"{holder.path}.{node.attr}")
        if isinstance(holder, Made):
            status, found = installed.find(f"{holder.path}.{node.attr}")
            if status == "found" and callable(found):
                return Ref(f"{holder.path}.{node.attr}")
        return UNKNOWN

    def value_IfExp(self, node: ast.IfExp) -> Any:
        self.visit(node.test)
        first, second = self.value(node.body), self.value(node.orelse)
        if isinstance(first, Dict) and isinstance(second, Dict):
            made = Dict(first.entries | second.entries, depth=self.depth)
            made.escape()
            return made
        return first if same(first, second) else UNKNOWN

    def value_Dict(self, node: ast.Dict) -> Any:
        made = Dict(depth=self.depth)
        for key, expression in zip(node.keys, node.values, strict=True):
            value = self.value(expression)
            if key is None:
                made.update(value, self.depth)
            elif isinstance(key, ast.Constant) and isinstance(key.value, str):
                made.entries[key.value] = Entry(value, key, self.piece)
            else:
                self.visit(key)
                made.open = True
        return made

    def value_BinOp(self, node: ast.BinOp) -> Any:
        left, right = self.value(node.left), self.value(node.right)
        if isinstance(node.op, ast.BitOr) and isinstance(left, Dict):
            made = Dict(dict(left.entries), left.open, self.depth)
            made.update(right, self.depth)
            return made
        return UNKNOWN

    def value_Subscript(self, node: ast.Subscript) -> Any:
        holder, key = self.value(node.value), self.value(node.slice)
        if isinstance(holder, Dict) and isinstance(key, Known):
            entry = holder.entries.get(key.value)
            return entry.value if entry and entry.sure else UNKNOWN
        return UNKNOWN

    def value_Lambda(self, node: ast.Lambda) -> Any:
        return self.inside([node.args], node.body)

    def value_ListComp(self, node: Any) -> Any:
        parts = [part for each in node.generators for part in (each.iter, *each.ifs)]
        parts += [node.key, node.value] if isinstance(node, ast.DictComp) else [node.elt]
        return self.inside([each.target for each in node.generators], *parts)

    value_SetComp = value_GeneratorExp = value_DictComp = value_ListComp

    def inside(self, binders: Sequence[ast.AST], *parts: ast.expr) -> Any:
        """Expressions in which some names mean something else."""
        nodes = [node for binder in binders for node in ast.walk(binder)]
        names = [getattr(node, "id", None) or getattr(node, "arg", None) for node in nodes]
        before, self.scope = self.scope, self.scope | {n: UNKNOWN for n in names if n}
        for part in parts:
            self.visit(part)
        self.scope = before
        return UNKNOWN

    # ---------------------------------------------------------------- calls

    def value_Call(self, node: ast.Call) -> Any:
        function = node.func
        holder = self.value(function.value) if isinstance(function, ast.Attribute) else None
        given, (keywords, opened) = [self.value(part) for part in node.args], self.keywords(node)
        if isinstance(function, ast.Attribute) and isinstance(holder, Dict):
            return self.on_dict(holder, function.attr, node, given, Dict(keywords, opened))
        if isinstance(function, ast.Attribute):
            target = self.attribute(holder, function)
        else:
            target = self.value(function)
        name = function.id if isinstance(function, ast.Name) else ""
        if name == "dict" and name not in self.scope:
            made = Dict(depth=self.depth)
            for value in [*given, Dict(keywords, opened)]:
                made.update(value, self.depth)
            return made
        path = target.path if isinstance(target, Ref | Heir) else ""
        if path in {"copy.copy", "copy.deepcopy"} and given and isinstance(given[0], Dict):
            return replace(given[0], entries=dict(given[0].entries), depth=self.depth)
        partial = path == "functools.partial" and bool(given) and isinstance(given[0], Ref)
        if partial:
            path, given = given[0].path, given[1:]
        if path.split(".")[0] in installed.PACKAGES:
            starred = any(isinstance(part, ast.Starred) for part in node.args)
            count = None if starred else len(given)
            call = Call(path, node, self.piece, count, keywords, opened, partial, self.guarded)
            self.calls.append(call)
            followed = isinstance(target, Ref) and not partial
            made_path = installed.result_of(path) if followed else None
            return Made(made_path) if made_path else UNKNOWN
        if name not in HARMLESS and not path.startswith(("json.", "pprint.")):
            for value in [*given, *(entry.value for entry in keywords.values())]:
                if isinstance(value, Dict):
                    value.escape()
        return UNKNOWN

    def keywords(self, node: ast.Call) -> tuple[dict[str, Entry], bool]:
        """Keyword arguments, those out of `**dictionary` included, and whether more may come."""
        found = Dict(depth=self.depth)
        for keyword in node.keywords:
            value = self.value(keyword.value)
            given = {keyword.arg: Entry(value, keyword, self.piece)} if keyword.arg else {}
            for name, entry in (given or getattr(value, "entries", {})).items():
                if name in found.entries and entry.sure and found.entries[name].sure:
                    self.repeated.append((name, keyword, self.piece))
            if keyword.arg is not None:
                found.entries[keyword.arg] = Entry(value, keyword, self.piece)
            elif isinstance(value, Dict):
                found.update(value, self.depth)
            else:
                found.open = True
        return found.entries, found.open

    def on_dict(
        self, holder: Dict, method: str, node: ast.Call, given: list[Any], keywords: Dict
    ) -> Any:
        """A method of a dictionary."""
        key = getattr(given[0], "value", None) if given else None
        if method == "copy":
            return replace(holder, entries=dict(holder.entries), depth=self.depth)
        if method == "update":
            for value in [*given, keywords]:
                holder.update(value, self.depth)
        elif method == "pop":
            holder.take(key, self.depth)
        elif method == "setdefault" and isinstance(key, str):
            if key not in holder.entries:
                value = given[1] if len(given) > 1 else UNKNOWN
                holder.put(key, Entry(value, node.args[0], self.piece), self.depth)
        elif method not in {"get", "items", "keys", "values"}:
            holder.escape()
        return UNKNOWN
