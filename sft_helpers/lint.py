"""Version drift: what code says and the installed packages refuse, ignore or will drop.

Scripts, notebooks and the Python of Markdown are followed statement by statement, never run. Every
name and call of the packages is compared with the installed ones: is it there, does the signature
bind, does the real class take the literal. What depends on a loop, a condition or another function
is "unknown", never guessed.
"""

from __future__ import annotations

import ast
import inspect
import json
import os
import re
import shutil
import textwrap
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

from sft_helpers import installed
from sft_helpers.errors import DataError
from sft_helpers.installed import find, is_class, ours, places, short
from sft_helpers.renames import ARGUMENTS, BEHIND, INIT, LESSON, NAMES, Rename, lookup

ENDINGS = (".py", ".ipynb", ".md")
PASSED_OVER = {"__pycache__", "build", "dist", "node_modules", "site-packages", "venv"}
NOT_PARSED = (SyntaxError, ValueError, RecursionError, MemoryError)
ALLOWED = re.compile(r"#\s*lint:\s*ok\b")  # a line that shows an old form on purpose
FENCE = re.compile(  # ticks, code
    r"^[ \t]*(```+|~~~+)[ \t]*(?:python3?|py|\{code-cell\}|\{\.python)(?![\w-])[^\n`]*\n"
    r"(.*?)^[ \t]*\1",
    re.IGNORECASE | re.MULTILINE | re.DOTALL,
)
MAGIC = re.compile(r"^([ \t]*)(?:(?:[\w., ]+=\s*)?[!%](?:.*\\\r?\n)*.*|[\w.]+\?{1,2}\s*)$", re.M)
# a test that asks which version is there; what code catches that is prepared for another one
ASKS = re.compile(r"version|\bhas_?|_available|find_spec|signature|parameters|fields", re.I)
PREPARED = re.compile(r"ImportError|ModuleNotFoundError|TypeError|AttributeError")
TAKES, READS = {"pop", "popitem", "clear"}, {"get", "items", "keys", "values", "copy"}
HARMLESS = re.compile(r"(p?print|len|str|repr|sorted|list|type|isinstance|json\.\w+)$")


@dataclass(frozen=True)
class Finding:
    """One thing that the installed packages refuse, ignore, or will not take for long.

    Attributes:
        severity: "error" (refused when it runs), "warning" (does nothing, or is refused later),
            "note" (deprecated, or the code provides for it), "unknown" (cannot be told).
        fix: what to write instead; empty where nothing is known.
        line, column: from 1; in a notebook, within the cell (`cell`, from 1).
        rename: {"old", "new"} where only the name of a keyword argument changes.
        source: the line of code.
    """

    code: str
    severity: str
    message: str
    fix: str
    file: str
    line: int
    column: int
    cell: int | None
    cell_id: str | None
    lesson: str
    rename: dict[str, str] | None
    source: str = field(repr=False)

    @property
    def place(self) -> str:
        """File, cell and line for a person."""
        cell = f" cell {self.cell}" + (f" ({self.cell_id})" if self.cell_id else "")
        return f"{self.file}{cell if self.cell else ''}:{self.line}"


@dataclass
class Report:
    """What was found, what was mended, what could not be read, in how many files."""

    findings: list[Finding] = field(default_factory=list)
    mended: list[Finding] = field(default_factory=list)
    unreadable: list[str] = field(default_factory=list)
    files: int = 0

    def count(self, severity: str) -> int:
        """How many findings have this severity."""
        return sum(finding.severity == severity for finding in self.findings)

    def to_json(self) -> dict[str, Any]:
        """For `--json`."""
        rows = {
            kind: [{key: vars(row)[key] for key in vars(row) if key != "source"} for row in found]
            for kind, found in (("findings", self.findings), ("mended", self.mended))
        }
        return {
            **rows,
            "unreadable": self.unreadable,
            "files": self.files,
            "versions": installed.versions(),
        }


def lint(paths: Iterable[str | Path], *, repair: bool = False) -> Report:
    """Name what the installed packages do not accept in scripts, notebooks and Markdown.

    A folder stands for such files below it. With `repair`, keyword arguments that only changed
    their name are renamed in place.

    Raises:
        DataError: a path is missing or of another type.
    """
    report = Report()
    for path in files_below(map(Path, paths)):
        try:
            found = Linter(path).run()
            if repair and (mended := mend(path, found)):
                report.mended += mended
                found = Linter(path).run()
        except DataError as problem:
            report.unreadable.append(str(problem))
        else:
            report.findings += found
            report.files += 1
    return report


# ---------------------------------------------------------------- files


def files_below(paths: Iterable[Path]) -> list[Path]:
    """The files to lint, each once; of folders without what is hidden, built or installed."""
    found: dict[Path, None] = {}
    for path in paths:
        if not path.is_dir() and (not path.exists() or path.suffix.lower() not in ENDINGS):
            told = f"this is no folder, and no file that ends in {', '.join(ENDINGS)}"
            hint = "check the path; the YAML of `trl sft` is read by `sft-helpers preflight`"
            raise DataError(told, where=str(path), hint=hint)
        found |= {path: None} if path.is_file() else {}
        for folder, below, names in os.walk(path):
            below[:] = sorted(name for name in below if name not in PASSED_OVER and name[0] != ".")
            code = (name for name in sorted(names) if name[0] != "." and name.endswith(ENDINGS))
            found |= dict.fromkeys(Path(folder, name) for name in code)
    return list(found)


class Piece(NamedTuple):
    """Python from one place."""

    code: str
    before: int = 0  # lines of the file or the cell before it
    cell: tuple[int | None, str | None] = (None, None)  # number and id
    allowed: bool = False  # shows old forms on purpose
    strict: bool = True  # must parse (Markdown may abridge)

    def row(self, line: int) -> str:
        """A line of it, from 1."""
        return "".join(self.code.split("\n")[line - 1 : line])


def pieces(path: Path) -> Iterator[Piece]:
    """A script, the cells of a notebook, the Python fences of Markdown.

    Raises:
        DataError: it cannot be read, is no UTF-8, or is a notebook whose JSON is broken.
    """
    try:
        text = path.read_bytes().decode().removeprefix("\ufeff")
        if path.suffix.lower() == ".py":
            yield Piece(text)
        elif path.suffix.lower() == ".md":
            yield from fences(text)
        else:
            for number, cell in enumerate(json.loads(text)["cells"], start=1):
                allowed = "old-form" in ((cell.get("metadata") or {}).get("tags") or [])
                place, code = (number, str(cell.get("id", ""))), "".join(cell["source"])
                if cell["cell_type"] == "code":
                    yield Piece(code, cell=place, allowed=allowed)
                elif cell["cell_type"] == "markdown":
                    yield from fences(code, cell=place, allowed=allowed)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as problem:
        line = getattr(problem, "lineno", None)
        if isinstance(problem, UnicodeDecodeError):
            line = problem.object[: problem.start].count(b"\n") + 1
        told = f"cannot be read ({type(problem).__name__}: {problem})"
        hint = "save it again as UTF-8, a notebook in format 4, or leave it out"
        raise DataError(told, where=f"{path}:{line}" if line else str(path), hint=hint) from None


def fences(text: str, **more: Any) -> Iterator[Piece]:
    """Fenced blocks of Markdown that say they are Python."""
    for block in FENCE.finditer(text):
        before = text.count("\n", 0, block.start(2))
        yield Piece(textwrap.dedent(block[2]), before, strict=False, **more)


def parse(code: str) -> Any:
    """The syntax tree, if need be without what IPython takes before Python reads it."""
    flags = ast.PyCF_ONLY_AST | ast.PyCF_ALLOW_TOP_LEVEL_AWAIT
    try:
        return compile(code, "", "exec", flags, dont_inherit=True)
    except NOT_PARSED:
        cell = re.match(r"\s*%%(\w+)", code)
        python = cell is None or cell[1] in {"capture", "time", "timeit", "prun"}
        code = re.sub(r"(?m)^(\s*)%time ", r"\1pass; ", code) if python else ""
        plain = MAGIC.sub(lambda magic: f"{magic[1]}pass" + "\n" * magic[0].count("\n"), code)
        return compile(plain, "", "exec", flags, dont_inherit=True)


def mend(path: Path, findings: Iterable[Finding]) -> list[Finding]:
    """Write the new names of keyword arguments into a file; every other byte stays as it is.

    A notebook is mended where its JSON gives each line of code a line, as Jupyter writes it.
    """
    lines, mended = path.read_bytes().decode().split("\n"), list[Finding]()
    keys = {n: m[1] for n, line in enumerate(lines) if (m := re.match(r'(\s*)"source":', line))}
    cells = [number for number in keys if keys[number] == min(keys.values(), key=len)]
    for finding in reversed([finding for finding in findings if finding.rename]):
        old, new = (finding.rename or {}).values()
        at, before = finding.line - 1, [finding.source[: finding.column - 1]]
        if finding.cell is not None:
            at = finding.line + [*cells, *[len(lines)] * finding.cell][finding.cell - 1]
            before = [json.dumps(before[0], ensure_ascii=ascii)[1:-1] for ascii in (True, False)]
        line = lines[at] if at < len(lines) else ""
        for start in (line.find(text + old) + len(text) for text in before if text + old in line):
            lines[at] = line[:start] + new + line[start + len(old) :]
            mended.insert(0, finding)
            break
    if mended:
        part = path.with_name(f"{path.name}.part")
        part.write_bytes("\n".join(lines).encode())
        shutil.copymode(path, part)
        part.replace(path)
    return mended


# ---------------------------------------------------------------- following code


class Dict(dict[str, tuple[Any, Any]]):
    """A literal dictionary, never changed: key → value and the node that names it.

    `open`: there may be more in it, and values may be others.
    """

    open = False

    @classmethod
    def of(cls, *parts: Any) -> Dict:
        """As `{**first, **second, ...}`; None is a dictionary that is not known."""
        made = cls()
        for part in parts:
            known = part if isinstance(part, Dict) else {key: (None, made[key][1]) for key in made}
            made.update(known)
            made.open |= not isinstance(part, Dict) or part.open
        return made


def agreed(values: list[Any]) -> Any:
    """What is known of a value that is one of these."""
    first = values[0]
    if all(other is first or (isinstance(first, str) and other == first) for other in values):
        return first
    if not all(isinstance(other, Dict) for other in values):
        return None
    common = {key: first[key] for key in first if all(key in other for other in values)}
    return Dict.of(Dict(common), None)


def bound(node: ast.AST) -> set[str]:
    """Names that code binds, imports apart."""
    parts = list(ast.walk(node))
    names = {p.id for p in parts if isinstance(p, ast.Name) and not isinstance(p.ctx, ast.Load)}
    return names | {part.arg for part in parts if isinstance(part, ast.arg)}


def emptied(node: ast.AST) -> list[ast.expr]:
    """Dictionaries that code takes something out of."""
    parts = [part for part in ast.walk(node) if isinstance(part, ast.Attribute | ast.Subscript)]
    takes = (p for p in parts if isinstance(p.ctx, ast.Del) or getattr(p, "attr", "") in TAKES)
    return [part.value for part in takes]


def imported(node: ast.Import | ast.ImportFrom) -> list[str]:
    """Dotted names that a statement imports; "" from the code's own package."""
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    module = "" if node.level else str(node.module)
    return [f"{module}.{alias.name}".removesuffix(".*") if module else "" for alias in node.names]


class Linter:
    """Follows the pieces of a file, and asks the packages about what it meets.

    Known of a value is: its dotted name ("...()" for an object of a class, "...~" for a class of
    the code's own that comes from it), a Dict, an ast.Constant, or None for nothing.
    """

    def __init__(self, path: Path) -> None:
        self.path, self.piece, self.number = path, Piece(""), 0
        self.found: dict[Any, Finding] = {}
        self.scope: dict[str, Any] = {}
        self.askers: set[str] = set()  # names whose value says which version is there
        self.prepared = False  # for a failure, or for another version
        self.patched = False  # by unsloth, which replaces classes of TRL

    def run(self) -> list[Finding]:
        """Findings in the order of the file.

        Raises:
            DataError: it cannot be read, or an expression is nested too deeply to be followed.
        """
        for number, piece in enumerate(pieces(self.path)):
            self.number, self.piece = number, piece
            try:
                tree = parse(piece.code)
            except NOT_PARSED as problem:
                at = ast.Constant(None, lineno=getattr(problem, "lineno", 1) or 1, col_offset=0)
                severity = "error" if piece.strict else "unknown"
                told = f"does not parse: {getattr(problem, 'msg', problem)}"
                self.tell(at, "syntax", severity, told)
                continue
            try:
                for node in ast.walk(tree):
                    vars(node)["place"] = number, piece
                self.block(tree.body)
            except RecursionError:
                told, hint = "nested too deeply to be followed", "leave the file out"
                raise DataError(told, where=str(self.path), hint=hint) from None
        return [self.found[key] for key in sorted(self.found)]

    def tell(
        self,
        node: Any,
        code: str,
        severity: str,
        message: str,
        fix: str = "",
        row: Rename | None = None,
        rename: bool = False,
        call: Any = None,
    ) -> None:
        """Keep a finding, unless its line, its call or its cell says that it is meant."""
        number, piece = vars(node).get("place", (self.number, self.piece))
        source, around = piece.row(node.lineno), self.piece.row(call.lineno) if call else ""
        if piece.allowed or ALLOWED.search(source) or ALLOWED.search(around):
            return
        if self.patched and code != "syntax":
            severity, message = "unknown", f"{message}, unless unsloth put its own class there"
        elif self.prepared and severity in ("error", "warning"):
            severity = "note"
        line, column = piece.before + node.lineno, len(source.encode()[: node.col_offset].decode())
        change = {"old": row.old, "new": str(row.new)} if row and rename else None
        fix, lesson = (row.text(), row.lesson) if row else (fix, LESSON)
        place = str(self.path), line, column + 1, piece.cell[0], piece.cell[1]
        finding = Finding(code, severity, message, fix, *place, lesson, change, source)
        self.found[number, line, column, code, message] = finding

    # ---- what it meets of the packages

    def name(self, path: str, node: Any, imported: bool = False) -> str:
        """A name that is imported or read; the name."""
        self.patched |= path.split(".")[0] == "unsloth"
        reads = not isinstance(getattr(node, "ctx", None), ast.Store)
        status, last = find(path) if ours(path) and reads else ("", "")
        parent, _, name = path.rpartition(".")
        if status == "unknown" and imported:
            self.tell(node, "unknown", "unknown", f"not checked: {last}")
        if status == "gone" and (imported or isinstance(find(parent)[1], type | ModuleType)):
            row, missing = lookup(NAMES, path.split(".")[:1], name), path[len(last) + 1 :]
            raises = "ImportError" if imported else "AttributeError"
            told = f"{last} has no `{missing.split('.')[0]}`: {raises}"
            fix = "" if row else installed.moved_to(path)
            self.tell(node, "import.gone", "error", told, fix, row)
        return path

    def attribute(self, base: Any, node: ast.Attribute) -> str | None:
        """An attribute that is read or set; what is known of it."""
        if not isinstance(base, str) or base[-1] == "~":
            return None
        if base[-1] != ")":
            return self.name(f"{base}.{node.attr}", node)
        path, name = base.removesuffix("()"), node.attr
        status, found = find(f"{path}.{name}")
        if status == "found":
            return f"{path}.{name}" if callable(found) else None
        if isinstance(node.ctx, ast.Load):
            if row := lookup(NAMES, places(path), name):
                told = f"{short(path)} has no `{name}`: AttributeError"
                self.tell(node, "import.gone", "error", told, "", row)
        elif hasattr(find(path)[1], "__dataclass_fields__") and not installed.accepts(path, name):
            row, fix = lookup(ARGUMENTS, places(path), name), installed.advice(path, name)
            if row or fix:
                told = f"{short(path)} has no setting `{name}`: it is stored and nothing reads it"
                self.tell(node, "attribute.ignored", "warning", told, fix, row)
        return None

    def call(self, path: str, node: ast.Call, words: Dict, partial: bool) -> None:
        """Every argument of a call, and their number."""
        untold = ["what ** brings"] if words.open else []
        for name in words:
            untold += self.argument(path, name, words, node)
        if "trl.SFTConfig" in places(path):
            kept, inits = (
                words.get(key, (None,))[0] for key in ("dataset_kwargs", "model_init_kwargs")
            )
            for name, (_, at) in kept.items() if isinstance(kept, Dict) else ():
                if name != "skip_prepare_dataset":  # trl/trainer/sft_config.py
                    told = f"dataset_kwargs: SFTTrainer does not read `{name}`"
                    self.tell(at, "argument.ignored", "warning", told, "leave it out", call=node)
            if isinstance(inits, Dict):
                for name in inits:
                    self.argument(INIT, name, inits, node)
        if untold:
            told = f"{short(path)}(): cannot tell about {', '.join(untold)}"
            self.tell(node, "unknown", "unknown", told)
        if any(isinstance(part, ast.Starred) for part in node.args) or partial or words.open:
            return
        method = is_class(path.rpartition(".")[0]) and not inspect.ismethod(find(path)[1])
        call = None if method else installed.signature(path)
        if call and all(installed.accepts(path, name) for name in words):
            try:
                call.bind(*node.args, **words)
            except TypeError as problem:
                self.tell(node, "argument.missing", "error", f"{short(path)}(): {problem}")

    def argument(self, path: str, name: str, words: Dict, node: ast.Call) -> list[str]:
        """A keyword argument; its name if nothing can be told."""
        value, at = words[name]
        row, known = lookup(ARGUMENTS, places(path), name), isinstance(value, ast.Constant)
        given = value.value if known else {} if isinstance(value, Dict) else True
        verdict = installed.verdict(path, name, given, known, row)
        if verdict is None or verdict[1] == "unknown":
            return [name] if verdict else []
        row = row if verdict[0].startswith("argument") else None
        rename = (
            row is not None
            and isinstance(at, ast.keyword)
            and row.only_the_name(given if known else None)
            and not (words.open or row.new in words)
            and installed.accepts(path, str(row.new))
        )
        self.tell(at, *verdict, row, rename, node)
        return []

    # ---- statements and expressions

    def block(self, body: Iterable[ast.AST], prepared: bool = False) -> None:
        """Statements in order."""
        before, self.prepared = self.prepared, self.prepared or prepared
        for statement in body:
            self.visit(statement)
        self.prepared = before

    def either(self, *bodies: Iterable[ast.AST], prepared: bool = False) -> None:
        """One of several bodies runs: keep what they agree about."""
        before, ends = self.scope, list[dict[str, Any]]()
        for body in bodies:
            self.scope = dict(before)
            self.block(body, prepared)
            ends.append(self.scope)
        names = {name for end in ends for name in end}
        self.scope = {name: agreed([end[name] for end in ends if name in end]) for name in names}

    def inside(self, body: Iterable[ast.AST], own: set[str]) -> None:
        """A scope of its own, in which some names mean something else."""
        before, self.scope = self.scope, self.scope | dict.fromkeys(own)
        self.block(body)
        after, self.scope = self.scope, before
        for name in before.keys() - own:  # it may be called, or not
            if isinstance(before[name], Dict) and after[name] is not before[name]:
                self.scope[name] = None

    def asks(self, test: ast.expr) -> bool:
        """Whether an expression, or a name in it, asks which version is there."""
        names = {getattr(part, "id", "") for part in ast.walk(test)}
        return bool(ASKS.search(ast.unparse(test)) or names & self.askers)

    def visit(self, node: Any) -> Any:
        """Follow a statement or an expression; what is known of its value."""
        match node:
            case ast.Constant():
                return node
            case ast.Name(ctx=ast.Load()):
                return self.scope.get(node.id)
            case ast.Name():
                self.scope[node.id] = None
            case ast.Attribute():
                return self.attribute(self.visit(node.value), node)
            case ast.Call():
                return self.visit_call(node)
            case ast.Dict():
                pairs = zip(node.keys, map(self.visit, node.values), strict=True)
                return Dict.of(*(self.entry(key, value) if key else value for key, value in pairs))
            case ast.BinOp(op=ast.BitOr()):
                left, right = self.visit(node.left), self.visit(node.right)
                return Dict.of(left, right) if isinstance(left, Dict) else None
            case ast.Subscript():
                holder, key = self.visit(node.value), getattr(self.visit(node.slice), "value", "")
                return holder[key][0] if isinstance(holder, Dict) and key in holder else None
            case ast.NamedExpr() | ast.AnnAssign():
                value = self.visit(node.value)
                self.assign(node.target, value)
                return value
            case ast.Assign():
                value = self.visit(node.value)
                if isinstance(value, Dict):  # of one with two names, nothing is certain
                    self.change(node.value, None)
                    two = isinstance(node.value, ast.Name) or len(node.targets) > 1
                    value = None if two else value
                for target in node.targets:
                    self.assign(target, value)
                    if value is None and isinstance(target, ast.Name) and self.asks(node.value):
                        self.askers.add(target.id)
            case ast.AugAssign():
                value, old = self.visit(node.value), self.scope.get(getattr(node.target, "id", ""))
                if isinstance(old, Dict):
                    self.change(node.target, Dict.of(old, value))
                else:
                    self.assign(node.target, None)
            case ast.Delete():
                for target in node.targets:
                    self.assign(target, None)
            case ast.Import():
                for alias in node.names:
                    path = alias.name if alias.asname else alias.name.split(".")[0]
                    self.scope[alias.asname or path] = path
                    self.name(alias.name, alias, imported=True)
            case ast.ImportFrom():
                for alias, path in zip(node.names, imported(node), strict=True):
                    self.scope[alias.asname or alias.name] = self.name(path, alias, True) or None
                    if alias.name == "*" and ours(path):
                        self.scope |= {name: f"{path}.{name}" for name in dir(find(path)[1])}
            case ast.If():
                self.visit(node.test)
                self.either(node.body, node.orelse, prepared=self.asks(node.test))
            case ast.For() | ast.AsyncFor() | ast.While() | ast.Match():
                for holder in emptied(node):  # the next round does not find what one takes
                    self.change(holder, None)
                self.scope |= dict.fromkeys(bound(node))
                self.either(ast.iter_child_nodes(node), [])
            case ast.Try() | ast.TryStar():
                self.visit_try(node)
            case ast.FunctionDef() | ast.AsyncFunctionDef():
                defaults = [*node.args.defaults, *filter(None, node.args.kw_defaults)]
                self.block([*node.decorator_list, *defaults])
                self.scope[node.name] = None
                self.inside(node.body, bound(node))
            case ast.ClassDef():
                above = [*node.bases, *node.decorator_list, *node.keywords]
                bases = [self.visit(part) for part in above]
                makes = {getattr(part, "name", "") for part in node.body} & {"__init__", "__new__"}
                heir = len(bases) == 1 and isinstance(bases[0], str) and not makes
                self.scope[node.name] = f"{bases[0].rstrip('~')}~" if heir else None
                self.inside(node.body, set())
            case (
                ast.Lambda() | ast.ListComp() | ast.SetComp() | ast.DictComp() | ast.GeneratorExp()
            ):
                self.inside(ast.iter_child_nodes(node), bound(node))
            case ast.AST():
                self.block(ast.iter_child_nodes(node))
        return None

    def visit_try(self, node: Any) -> None:
        """Of imports that are guarded, the interpreter takes the branch that works."""
        caught = " ".join(ast.unparse(part.type) for part in node.handlers if part.type)
        prepared, handlers = bool(PREPARED.search(caught)), [part.body for part in node.handlers]
        imports = [part for part in node.body if isinstance(part, ast.Import | ast.ImportFrom)]
        if prepared and imports:
            paths = [path for part in imports for path in imported(part) if ours(path)]
            works = all(find(path)[0] != "gone" for path in paths)
            for body in [node.body, node.orelse] if works else handlers:
                self.block(body)
        else:
            self.block(node.body, prepared)
            self.either(node.orelse, *handlers)
        self.block(node.finalbody)

    def entry(self, key: Any, value: Any) -> Dict | None:
        """A dictionary of one entry, if its key is a known text."""
        name = getattr(self.visit(key), "value", None)
        return Dict({name: (value, key)}) if isinstance(name, str) else None

    def assign(self, target: Any, value: Any) -> None:
        """Bind a name, set or delete a key, set an attribute; parts of tuples are not known."""
        before = self.visit(getattr(target, "value", None))
        if isinstance(target, ast.Name):
            self.scope[target.id] = value
        elif isinstance(target, ast.Attribute):
            self.attribute(before, target)
        elif isinstance(target, ast.Subscript) and isinstance(before, Dict):
            after = Dict.of(before, self.entry(target.slice, value))
            self.change(target.value, after if isinstance(target.ctx, ast.Store) else None)
        else:
            self.visit(target)

    def change(self, holder: Any, after: Dict | None) -> None:
        """If a name stands for a dictionary, it is another now; a changed part: an unknown one."""
        while isinstance(holder, ast.Subscript):
            holder, after = holder.value, None
        if isinstance(self.scope.get(getattr(holder, "id", "")), Dict):
            self.scope[holder.id] = after

    def visit_call(self, node: ast.Call) -> Any:
        """A call: what it does to dictionaries, what it makes, what the packages say to it."""
        function, words, named = node.func, Dict(), ast.unparse(node.func)
        attribute = function if isinstance(function, ast.Attribute) else None
        holder = self.visit(attribute.value) if attribute else None
        given = [self.visit(part) for part in node.args]
        for word in node.keywords:
            value = self.visit(word.value)
            value = Dict({word.arg: (value, word)}) if word.arg else value
            for name in words.keys() & (value if isinstance(value, Dict) else ()):
                told = f"`{name}` is given twice: the code does not run"
                self.tell(word, "argument.repeated", "error", told, "keep one of them")
            words = Dict.of(words, value)
        if attribute and isinstance(holder, Dict):
            return self.on_dict(attribute, holder, given, words)
        path = self.attribute(holder, attribute) if attribute else self.visit(function)
        if path in ("copy.copy", "copy.deepcopy") or (named == "dict" and named not in self.scope):
            return Dict.of(*given, words)
        partial = path == "functools.partial" and bool(given)
        path = given[0] if partial else path
        if isinstance(path, str) and ours(path) and path[-1] != ")":
            self.call(path.rstrip("~"), node, words, partial)
            owner, _, name = path.rpartition(".")
            made = [*(BEHIND[start] for start in BEHIND if short(owner).startswith(start)), owner]
            if partial or not is_class(path):
                return f"{made[0]}()" if name.startswith("from_") and is_class(owner) else None
            return f"{path}()"
        if not HARMLESS.match(named):  # whatever is called may change what it is given
            for part in [*node.args, *(word.value for word in node.keywords if word.arg)]:
                self.change(part, None)
        return None

    def on_dict(self, function: ast.Attribute, holder: Dict, given: list[Any], words: Dict) -> Any:
        """A method of a dictionary, which may change what its name stands for."""
        method, key = function.attr, str(getattr(given[0], "value", "") if given else "")
        if method == "update":
            self.change(function.value, Dict.of(holder, *given, words))
        elif method == "setdefault" and key:
            one = Dict({key: (given[1] if len(given) > 1 else None, given[0])})
            self.change(function.value, Dict.of(one, holder))
        elif method == "pop" and key in holder:
            rest = Dict.of(holder)
            del rest[key]
            self.change(function.value, rest)
        elif method not in READS:
            self.change(function.value, None)
        return Dict.of(holder) if method == "copy" else None
