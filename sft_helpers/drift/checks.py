"""From calls and names to findings, by asking the installed packages."""

from __future__ import annotations

import ast
import dataclasses
import difflib
import inspect
from collections.abc import Iterable
from types import ModuleType
from typing import Any

from sft_helpers.drift import installed, sources, values
from sft_helpers.drift.findings import LESSON, Finding, Rename, Severity
from sft_helpers.drift.follow import Follower
from sft_helpers.drift.reader import ALLOWED, Document, Piece
from sft_helpers.drift.replacements import ARGUMENTS, IMPORTS, OPEN, Replacement
from sft_helpers.drift.tracked import Call, Dict, Entry, Known, Use
from sft_helpers.errors import DataError

LOADS_MODEL = "transformers.AutoModelForCausalLM.from_pretrained"
MAKES_MODEL = "trl.trainer.utils.create_model_from_path"


def check(document: Document) -> list[Finding]:
    """Findings of one Python document, in the order of the file.

    Raises:
        DataError: an expression is nested too deeply to be followed.
    """
    try:
        return _Checker(document).run()
    except RecursionError:
        where = str(document.path)
        raise DataError("nested too deeply to be followed", where=where) from None


class _Checker:
    def __init__(self, document: Document) -> None:
        self.document = document
        self.code = Follower(document)
        # unsloth replaces classes of TRL and Transformers by its own when it is imported
        self.patched = "unsloth" in self.code.roots
        self.found: dict[Any, Finding] = {}

    def run(self) -> list[Finding]:
        for piece, problem in self.code.unparsed:
            line = min(problem.lineno or 1, len(piece.starts))
            at = Entry(None, ast.Constant(None, lineno=line, col_offset=0), piece)
            level: Severity = "error" if piece.strict else "unknown"
            self.add("syntax", level, f"does not parse: {problem.msg}", at=at)
        for name, keyword, piece in self.code.repeated:
            told = f"`{name}` is given twice: the code does not run"
            at = Entry(None, keyword, piece)
            self.add("argument.repeated", "error", told, "keep one of them", at=at)
        for use in self.code.uses:
            self.set(use) if use.kind == "set" else self.name(use)
        for call in self.code.calls:
            self.call(call)
        order = {id(piece): number for number, piece in enumerate(self.document.pieces)}
        return [self.found[key] for key in sorted(self.found, key=lambda k: (order[k[0]], *k[1:]))]

    def add(
        self,
        code: str,
        severity: Severity,
        message: str,
        fix: str = "",
        *,
        at: Entry | Use | Call,
        call: Call | None = None,
        known: Replacement | None = None,
        rename: Rename | None = None,
    ) -> None:
        """Keep a finding, unless its line, its call or its cell says that it is meant.

        Its severity is less where the code provides for it, or another package steps in.
        """
        node: Any = at.node
        piece, around = at.piece, call or at
        lines = {node.lineno, getattr(around.node, "lineno", 0)}
        if piece.allowed or any(ALLOWED.search(piece.row(line)) for line in lines):
            return
        if not getattr(at, "sure", True) or (self.patched and code != "syntax"):
            severity = "unknown"
        elif getattr(around, "guarded", False) and severity in ("error", "warning"):
            severity = "note"
        number, cell_id = piece.cell or (None, None)
        column = piece.index(node.lineno, node.col_offset) - piece.starts[node.lineno - 1] + 1
        line, lesson = piece.line + node.lineno - 1, known.lesson if known else LESSON
        fix = known.text() if known else fix
        self.found[id(piece), line, column, code, message] = Finding(
            code, severity, message, fix, str(self.document.path), line, column,
            number, cell_id, lesson, rename,
        )  # fmt: skip

    # ---------------------------------------------------------------- names

    def name(self, use: Use) -> None:
        """A name that is imported or read."""
        status, last = installed.find(use.path)
        parent, _, name = use.path.rpartition(".")
        if status == "unknown" and use.kind == "import":
            self.add("unknown", "unknown", f"not checked: {last}", at=use)
        holder = installed.find(parent)[1]
        if status != "gone" or not (use.kind == "import" or isinstance(holder, type | ModuleType)):
            return
        missing = use.path[len(last) + 1 :].split(".")[0]
        known = _entry(IMPORTS, [use.path.split(".")[0]], name)
        home = None if known else installed.moved_to(use.path)
        fix = f"it moved: from {home.rpartition('.')[0]} import {name}" if home else ""
        rename = None
        if known and known.new and installed.find(f"{parent}.{known.new}")[0] == "found":
            node: Any = use.node
            line, column = node.lineno, node.col_offset
            if use.kind == "attribute":
                line, column = node.end_lineno, node.end_col_offset - len(name.encode())
            rename = _rename(use.piece, line, column, name, known.new, use.kind)
        raises = "ImportError" if use.kind == "import" else "AttributeError"
        told = f"{last} has no `{missing}`: {raises}"
        self.add("import.gone", "error", told, fix, at=use, known=known, rename=rename)

    def set(self, use: Use) -> None:
        """`args.max_seq_length = 512`: a dataclass takes any attribute, and nothing reads it."""
        owner, _, name = use.path.rpartition(".")
        signature = installed.signature(owner)
        if signature is None or not dataclasses.is_dataclass(installed.find(owner)[1]):
            return
        known = _entry(ARGUMENTS, installed.origins(owner), name)
        near = installed.similar(signature, name)
        own = installed.find(use.path)[0] != "gone" or installed.accepts(signature, name)
        if (known or near) and not own:
            told = f"{_short(owner)} has no setting `{name}`: it is stored and nothing reads it"
            fix = f"did you mean `{near}`?"
            self.add("attribute.ignored", "warning", told, fix, at=use, known=known)

    # ---------------------------------------------------------------- calls

    def call(self, call: Call) -> None:
        """Every argument of a call, and their number."""
        signature = installed.signature(call.path)
        if signature is None:
            return
        refused, untold = False, ["what ** brings"] if call.open else []
        for name, entry in call.keywords.items():
            if not installed.accepts(signature, name):
                refused = True
                known = _entry(ARGUMENTS, installed.origins(call.path), name)
                self.add(
                    "argument.refused",
                    "error",
                    f"{_short(call.path)}() does not accept `{name}`: TypeError",
                    _elsewhere(call.path, signature, name),
                    at=entry,
                    call=call,
                    known=known,
                    rename=_renaming(call, signature, known, name, entry),
                )
            elif installed.is_named(signature, name):
                self.value(call, signature, name, entry)
            elif not self.passed_on(call, signature, call.path, name, entry):
                untold.append(name)
        if not refused and all(entry.sure for entry in call.keywords.values()):
            self.count(call, signature)
        self.inner(call)
        if untold:
            told = f"{_short(call.path)}(): cannot tell about {', '.join(untold)}"
            self.add("unknown", "unknown", told, at=call)

    def passed_on(
        self, call: Call, signature: inspect.Signature, path: str, name: str, entry: Entry
    ) -> bool:
        """A keyword that only `**kwargs` takes: say what is certain. False: nothing is."""
        known = _entry(OPEN, installed.origins(path), name)
        effect = known.effect if known else ""
        if name in sources.reads(path) and effect not in ("deprecated", "ignored"):
            return True
        if effect == "deprecated" and name in sources.reads(path):
            code, level, what = "argument.deprecated", "note", "still takes `{}`, deprecated"
        elif effect == "refused":
            code, level, what = "argument.refused", "error", "does not accept `{}`: TypeError"
        elif effect == "ignored" or (not known and sources.swallowed(path) is not None):
            code, level, what = "argument.ignored", "warning", "takes `{}` and ignores it"
        else:
            return False
        near = installed.similar(signature, name)
        self.add(
            code,
            level,  # type: ignore[arg-type]
            f"{_short(path)}() {what.format(name)}",
            f"did you mean `{near}`?" if near else "leave it out",
            at=entry,
            call=call,
            known=known,
            rename=_renaming(call, None, known, name, entry),
        )
        return True

    def value(self, call: Call, signature: inspect.Signature, name: str, entry: Entry) -> None:
        """Values and deprecated names of configuration classes, as the classes themselves say."""
        is_known, value = isinstance(entry.value, Known), getattr(entry.value, "value", True)
        value = {} if isinstance(entry.value, Dict) else value
        if value is None:
            return
        allowed = values.choices(call.path).get(name, ())
        refused, told = values.verdict(call.path, name, value)
        if value and not told:
            told = sources.warned(call.path).get(name)  # later, by the trainer
        if told and (f"`{name}" in told or is_known):
            first, second = [*told.split(". "), ""][:2]
            by_name = f"`{name}" in told
            known = _entry(ARGUMENTS, installed.origins(call.path), name) if by_name else None
            rename = _renaming(call, signature, known, name, entry)
            code = "argument.deprecated" if by_name else "value.deprecated"
            self.add(code, "note", first.rstrip("."), second.rstrip("."), at=entry, call=call,
                     known=known, rename=rename)  # fmt: skip
        elif is_known and allowed and value not in allowed:
            near = difflib.get_close_matches(str(value), map(str, allowed), n=1)
            raises = "ValueError" if refused else "not a value that is known"
            told = f"{_short(call.path)}({name}={value!r}): {raises}"
            fix = f"did you mean {near[0]!r}?" if near else f"one of {_list(allowed)}"
            level: Severity = "error" if refused else "warning"
            self.add("value.refused", level, told, fix, at=entry, call=call)

    def count(self, call: Call, signature: inspect.Signature) -> None:
        """Too few or too many arguments, where all of them are known."""
        owner = installed.find(call.path.rpartition(".")[0])[1]
        method = isinstance(owner, type) and not inspect.ismethod(installed.find(call.path)[1])
        if call.open or call.partial or call.positional is None or method:
            return
        try:
            signature.bind(*[None] * call.positional, **dict.fromkeys(call.keywords))
        except TypeError as problem:
            self.add("argument.missing", "error", f"{_short(call.path)}(): {problem}", at=call)

    def inner(self, call: Call) -> None:
        """Dictionaries that SFTTrainer reads: `dataset_kwargs` and `model_init_kwargs`."""
        if "trl.SFTConfig" not in installed.origins(call.path):
            return
        given = {name: getattr(entry.value, "entries", {}) for name, entry in call.keywords.items()}
        read = sources.trainer_reads("dataset_kwargs")
        for name, entry in given.get("dataset_kwargs", {}).items():
            if read is not None and name not in read:
                told = f"dataset_kwargs: SFTTrainer does not read `{name}`"
                fix = f"leave it out; only {_list(sorted(read))} has an effect"
                self.add("argument.ignored", "warning", told, fix, at=entry, call=call)
        inside = dataclasses.replace(call, keywords=given.get("model_init_kwargs", {}))
        for name, entry in inside.keywords.items():
            known, own = _entry(OPEN, ["model_init_kwargs"], name), sources.reads(MAKES_MODEL)
            if known and known.new in own and name not in own:
                told = f"model_init_kwargs: TRL reads `{known.new}`, and `{name}` has no effect"
                rename = _renaming(inside, None, known, name, entry)
                self.add("argument.ignored", "warning", told, at=entry, call=call, known=known,
                         rename=rename)  # fmt: skip
            elif signature := installed.signature(LOADS_MODEL):
                self.passed_on(inside, signature, LOADS_MODEL, name, entry)


def _entry(table: Iterable[Replacement], places: list[str], name: str) -> Replacement | None:
    rows = [row for row in table if row.old == name and row.where in places]
    return min(rows, key=lambda row: places.index(row.where), default=None)


def _short(path: str) -> str:
    """ "trl.trainer.utils.f" → "f", "trl.SFTConfig" → "SFTConfig", with a class "Class.f"."""
    parts = path.split(".")
    return ".".join(parts[-2:] if len(parts) > 1 and parts[-2][:1].isupper() else parts[-1:])


def _list(values: Iterable[Any]) -> str:
    shown = [repr(value) for value in values]
    return ", ".join(shown[:12]) + (", ..." if len(shown) > 12 else "")


def _elsewhere(path: str, signature: inspect.Signature, name: str) -> str:
    """Where a refused argument might belong."""
    for mine, other in (("Trainer", "Config"), ("Config", "Trainer")):
        if path.endswith(mine) and path != (sibling := path.removesuffix(mine) + other):
            there = installed.signature(sibling)
            if there is not None and installed.is_named(there, name):
                return f"move it: {_short(sibling)}({name}=...)"
    near = installed.similar(signature, name)
    return f"did you mean `{near}`?" if near else ""


def _renaming(
    call: Call,
    signature: inspect.Signature | None,
    known: Replacement | None,
    name: str,
    entry: Entry,
) -> Rename | None:
    """The edit, if only the name changes and the new one is free."""
    value = getattr(entry.value, "value", None)
    if known is None or known.new is None or not known.renames(value):
        return None
    taken = known.new in call.keywords or call.open or not entry.sure
    if taken or (signature is not None and not installed.accepts(signature, known.new)):
        return None
    node: Any = entry.node
    kind = "argument" if isinstance(node, ast.keyword) else "key"
    at = node.col_offset + (kind == "key")
    return _rename(entry.piece, node.lineno, at, name, known.new, kind)


def _rename(piece: Piece, line: int, column: int, old: str, new: str, kind: Any) -> Rename | None:
    start = piece.index(line, column)
    fits = piece.text[start : start + len(old)] == old
    return Rename(piece, start, old, new, kind) if fits else None
