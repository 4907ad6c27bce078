"""Follow names, dictionaries and calls through code without running it.

Certain or nothing: what depends on a condition, a loop or another function is unknown.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from sft_helpers.drift import installed
from sft_helpers.drift.expressions import Expressions
from sft_helpers.drift.reader import NOT_PARSED, Document, Piece
from sft_helpers.drift.tracked import UNBOUND, UNKNOWN, Dict, Entry, Heir, Known, Made, Ref, same

ASKS_VERSION = re.compile(r"version|\bhas_?|available|signature|parameters", re.IGNORECASE)
PREPARED = re.compile(r"ImportError|ModuleNotFoundError|TypeError|AttributeError")


class Follower(Expressions):
    """Goes through a document in order and collects calls and uses of the installed packages."""

    def __init__(self, document: Document) -> None:
        super().__init__()
        self.unparsed: list[tuple[Piece, SyntaxError]] = []
        self.askers: set[str] = set()  # names whose value says which version is there
        self.later: list[tuple[Piece, Callable[[], None]]] = []
        for self.piece in document.pieces:
            try:
                tree = self.piece.parse()
            except NOT_PARSED as problem:
                at = problem if isinstance(problem, SyntaxError) else SyntaxError(str(problem))
                self.unparsed.append((self.piece, at))
            else:
                self.block(tree.body)
        self.functions()

    def functions(self) -> None:
        """Bodies of the functions met so far: they see the scope around them as it ends up."""
        waiting, self.later = self.later, []
        outer = self.scope | dict.fromkeys(self.unsettled, UNKNOWN)
        self.depth += 1
        for piece, body in waiting:
            self.piece = piece
            self.scope, self.unsettled, self.guarded = dict(outer), set(), False
            body()
            self.functions()
        self.depth -= 1

    # ---------------------------------------------------------------- statements

    def block(self, body: Sequence[ast.stmt]) -> None:
        """Statements in order."""
        for statement in body:
            self.visit(statement)

    def visit_Import(self, node: ast.Import) -> None:
        for alias in node.names:
            self.use("import", alias.name, alias)
            top = alias.name.split(".")[0]
            self.bind(alias.asname or top, Ref(alias.name if alias.asname else top))

    def visit_ImportFrom(self, node: ast.ImportFrom) -> None:
        module = node.module if node.module and not node.level else ""
        ours = module.split(".")[0] in installed.PACKAGES
        for alias in node.names:
            if alias.name != "*":
                path = f"{module}.{alias.name}" if module else ""
                self.use("import", path, alias)
                self.bind(alias.asname or alias.name, Ref(path) if path else UNKNOWN)
            elif ours and installed.find(module)[0] == "found":
                for name in dir(installed.find(module)[1]):
                    self.scope.setdefault(name, Ref(f"{module}.{name}"))

    def visit_Assign(self, node: ast.Assign) -> None:
        value = self.value(node.value)
        asks = isinstance(node.value, ast.Compare | ast.Call | ast.BoolOp | ast.UnaryOp)
        for target in node.targets:
            self.assign(target, value)
            if asks and isinstance(target, ast.Name) and self.asks(node.value):
                self.askers.add(target.id)

    def visit_AnnAssign(self, node: ast.AnnAssign) -> None:
        if node.value is not None:
            self.assign(node.target, self.value(node.value))

    def visit_AugAssign(self, node: ast.AugAssign) -> None:
        value, target = self.value(node.value), self.value(node.target)
        if isinstance(node.op, ast.BitOr) and isinstance(target, Dict):
            target.update(value, self.depth)
        elif isinstance(node.target, ast.Name):
            self.bind(node.target.id, UNKNOWN)

    def assign(self, target: ast.expr, value: Any) -> None:
        """Bind a name, set a key or an attribute; parts of tuples are unknown."""
        if isinstance(target, ast.Name):
            self.bind(target.id, value)
        elif isinstance(target, ast.Tuple | ast.List):
            for part in target.elts:
                self.assign(part, UNKNOWN)
        elif isinstance(target, ast.Starred):
            self.assign(target.value, UNKNOWN)
        elif isinstance(target, ast.Subscript | ast.Attribute):
            holder = self.value(target.value)
            if isinstance(target, ast.Attribute):
                if isinstance(holder, Made):
                    self.use("set", f"{holder.path}.{target.attr}", target)
            elif isinstance(holder, Dict):
                key = self.value(target.slice)
                if isinstance(key, Known) and isinstance(key.value, str):
                    entry = Entry(value, target.slice, self.piece)
                    holder.put(key.value, entry, self.depth)
                else:
                    holder.escape()

    def visit_Delete(self, node: ast.Delete) -> None:
        for target in node.targets:
            if isinstance(target, ast.Subscript):
                holder = self.value(target.value)
                if isinstance(holder, Dict):
                    holder.take(getattr(self.value(target.slice), "value", None), self.depth)

    def visit_If(self, node: ast.If) -> None:
        self.visit(node.test)
        with self.guard(self.asks(node.test)):
            self.either(node.body, node.orelse)

    def asks(self, test: ast.expr) -> bool:
        """Whether an expression, or a name in it, asks which version is there."""
        names = {part.id for part in ast.walk(test) if isinstance(part, ast.Name)}
        return bool(ASKS_VERSION.search(ast.unparse(test)) or names & self.askers)

    def visit_Match(self, node: ast.Match) -> None:
        self.visit(node.subject)
        self.either(*(case.body for case in node.cases), [])

    def visit_For(self, node: ast.For | ast.AsyncFor | ast.While) -> None:
        self.visit(node.test if isinstance(node, ast.While) else node.iter)
        self.scope |= dict.fromkeys(_bound_in([node]), UNKNOWN)
        for part in ast.walk(node):  # what one round takes out, the next does not find
            by_name = isinstance(part, ast.Attribute | ast.Subscript) and part.value
            takes = getattr(part, "attr", "") in {"pop", "popitem", "clear"}
            holder = self.scope.get(by_name.id) if isinstance(by_name, ast.Name) else None
            deletes = isinstance(getattr(part, "ctx", None), ast.Del)
            if isinstance(holder, Dict) and (takes or deletes):
                holder.escape()
        self.either([*node.body, *node.orelse], [])

    visit_While = visit_AsyncFor = visit_For

    def visit_With(self, node: ast.With | ast.AsyncWith) -> None:
        for item in node.items:
            self.visit(item.context_expr)
            if item.optional_vars is not None:
                self.assign(item.optional_vars, UNKNOWN)
        text = " ".join(ast.unparse(item.context_expr) for item in node.items)
        with self.guard(bool(re.search("raises|suppress", text) and PREPARED.search(text))):
            self.block(node.body)

    visit_AsyncWith = visit_With

    def visit_Try(self, node: ast.Try) -> None:
        caught = " ".join(ast.unparse(part.type) for part in node.handlers if part.type)
        prepared = bool(PREPARED.search(caught))
        imports = [part for part in node.body if isinstance(part, ast.Import | ast.ImportFrom)]
        handlers = [handler.body for handler in node.handlers]
        if imports and (prepared or len(imports) == len(node.body)):
            works = all(map(self.works, imports))  # the interpreter takes the branch that works
            for body in [[*node.body, *node.orelse]] if works else handlers:
                self.block(body)
        else:
            with self.guard(prepared):
                self.block(node.body)
            self.either(node.orelse, *handlers)
        self.block(node.finalbody)

    def works(self, node: ast.Import | ast.ImportFrom) -> bool:
        """Whether an import finds what it names in the installed packages."""
        start = f"{node.module}." if isinstance(node, ast.ImportFrom) else ""
        names = [start + alias.name for alias in node.names if alias.name != "*"]
        ours = [name for name in names if name.split(".")[0] in installed.PACKAGES]
        return all(installed.find(name)[0] != "gone" for name in ours)

    def visit_FunctionDef(self, node: ast.FunctionDef | ast.AsyncFunctionDef) -> None:
        for part in [*node.decorator_list, *node.args.defaults, *node.args.kw_defaults]:
            self.value(part)
        self.bind(node.name, UNKNOWN)
        named = {part.arg for part in ast.walk(node.args) if isinstance(part, ast.arg)}

        def body() -> None:
            self.scope |= dict.fromkeys(_bound_in(node.body), UNBOUND)
            self.scope |= dict.fromkeys(named, UNKNOWN)
            self.block(node.body)

        self.later.append((self.piece, body))

    visit_AsyncFunctionDef = visit_FunctionDef

    def visit_ClassDef(self, node: ast.ClassDef) -> None:
        bases = [self.value(part) for part in node.bases]
        for part in [*node.decorator_list, *(word.value for word in node.keywords)]:
            self.value(part)
        inside = {part.name for part in node.body if isinstance(part, ast.FunctionDef)}
        plain = len(bases) == 1 and not node.decorator_list and not node.keywords
        heir = plain and isinstance(bases[0], Ref | Heir) and not inside & {"__init__", "__new__"}
        self.bind(node.name, Heir(bases[0].path) if heir else UNKNOWN)
        outer = dict(self.scope)
        self.block(node.body)
        self.scope = outer

    @contextmanager
    def guard(self, on: bool) -> Iterator[None]:
        """Note that failure is provided for."""
        before, self.guarded = self.guarded, self.guarded or on
        yield
        self.guarded = before

    def either(self, *bodies: Sequence[ast.stmt]) -> None:
        """One of several bodies runs: keep what is the same after each."""
        before, ends = self.scope, []
        self.depth += 1
        for body in bodies:
            self.scope = dict(before)
            self.block(body)
            ends.append(self.scope)
        self.depth -= 1
        self.scope = {
            name: value if all(same(value, end.get(name, value)) for end in ends) else UNKNOWN
            for every in ends
            for name, value in every.items()
        }


def _bound_in(body: Sequence[ast.stmt]) -> set[str]:
    """Names that statements bind (imports apart), those inside functions left out."""
    names: set[str] = set()
    waiting: list[ast.AST] = list(body)
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            names.add(node.id)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            names.add(node.name)
        elif not isinstance(node, ast.Lambda):
            waiting += ast.iter_child_nodes(node)
    return names
