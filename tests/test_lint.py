"""The linter against the interpreter, on code of several years; files, places and `--fix`."""

from __future__ import annotations

import importlib.util
import json
import logging
import os
import re
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sft_helpers import cli, installed, renames
from sft_helpers.errors import DataError
from sft_helpers.lint import Finding, lint

ROOT = Path(__file__).resolve().parents[1]
CASES = yaml.safe_load((ROOT / "tests/lint_cases.yaml").read_text("utf-8"))
USUAL = """
import torch
from datasets import Dataset, load_dataset
from peft import LoraConfig, TaskType, get_peft_model
from transformers import AutoModelForCausalLM, AutoTokenizer, BitsAndBytesConfig
from transformers import Trainer, TrainingArguments
from trl import SFTConfig, SFTTrainer
cpu = {"use_cpu": True, "bf16": False}
"""
CALL = "from trl import SFTConfig\nSFTConfig('o', max_seq_length=512)\n"
Found = Callable[..., list[Finding]]
relaxed = settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Code that makes an output folder makes it outside of the tree."""
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")


@pytest.fixture
def found(tmp_path: Path) -> Found:
    """Findings of a text."""

    def found(code: str, name: str = "code.py") -> list[Finding]:
        (tmp_path / name).write_text(code, "utf-8", newline="")
        return lint([tmp_path / name]).findings

    return found


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What the cases name: a model, a tokenizer, rows, and folders with them."""
    from datasets import Dataset
    from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM
    from trl import SFTConfig

    folder = tmp_path_factory.mktemp("tiny")
    tokenizer = AutoTokenizer.from_pretrained(ROOT / "data/town/base")
    small = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1}
    model = LlamaForCausalLM(LlamaConfig(vocab_size=len(tokenizer), **small, num_attention_heads=2))
    model.save_pretrained(folder / "model")
    tokenizer.save_pretrained(folder / "model")
    (folder / "rows.jsonl").write_text('{"prompt": "a", "completion": "b"}\n' * 2)
    args = SFTConfig(str(folder / "out"), use_cpu=True, bf16=False, report_to="none")
    rows = Dataset.from_list([{"prompt": "a", "completion": "b"}] * 2)
    places = {name: str(folder / name) for name in ("model", "rows.jsonl", "cache")}
    return {"model": model, "tokenizer": tokenizer, "args": args, "dataset": rows,
            "path": places["model"], "rows": places["rows.jsonl"],
            "cache": places["cache"]}  # fmt: skip


def levels(findings: list[Finding]) -> set[str]:
    return {finding.severity for finding in findings} - {"unknown"}


def interpreted(code: str, names: dict[str, Any]) -> tuple[Exception | None, str]:
    """What code raises, and its FutureWarnings."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            exec(compile(USUAL + code, "<case>", "exec"), dict(names))
        except Exception as problem:
            return problem, ""
    return None, " ".join(str(w.message) for w in caught if w.category is FutureWarning)


# ---------------------------------------------------------------- calls, old and new


@pytest.mark.parametrize("code", CASES["refused"])
def test_what_is_called_an_error_raises(code: str, found: Found, tiny: dict[str, Any]) -> None:
    errors = [finding.message for finding in found(USUAL + code) if finding.severity == "error"]
    problem, _ = interpreted(code, tiny)
    assert isinstance(problem, TypeError | ImportError | AttributeError | ValueError)
    words = [word for text in errors for mark in "`'" for word in text.split(mark)[1::2]]
    assert any(word in str(problem) for word in words), (errors, problem)


@pytest.mark.parametrize("code", CASES["sound"])
def test_what_runs_is_not_called_wrong(code: str, found: Found, tiny: dict[str, Any]) -> None:
    assert interpreted(code, tiny)[0] is None
    assert levels(found(USUAL + code)) == ({"note"} if "__version__" in code else set())


@pytest.mark.parametrize("code", CASES["ignored"])
def test_what_is_called_ignored_raises_nothing(code: str, found: Found, tiny: Any) -> None:
    assert levels(found(USUAL + code)) == {"warning"}
    assert interpreted(code, tiny)[0] is None


@pytest.mark.parametrize("code", CASES["deprecated"])
def test_what_is_called_deprecated_warns(code: str, found: Found, tiny: Any) -> None:
    findings = found(USUAL + code)
    assert levels(findings) == {"note"}
    problem, said = interpreted(code, tiny)
    assert problem is None
    quoted = re.findall(r"`(\w+)", findings[0].message)
    assert quoted
    assert all(word in said for word in quoted)


@pytest.mark.parametrize("code", CASES["tutorials"])
def test_tutorials_old_and_new(code: str, found: Found) -> None:
    """What changed is found, and its twin of today is silent."""
    for part, wanted in ((1, True), (2, False)):
        text = USUAL + re.sub(r"\[\[(.*?) → (.*?)\]\](?!\])", rf"\{part}", code, flags=re.DOTALL)
        cells = [text] if not text.count("%%") else text.split("\n%%")
        cell = "%%".join(cells[1:]) and "%%" + cells[1]
        book = notebook(cells[0], cell) if cell else notebook(text)
        assert bool(levels(found(book, "n.ipynb")) & {"error", "warning"}) == wanted


@pytest.mark.parametrize(
    "code",
    [
        "SFTConfig(**options())",
        "c = {}\nchange(c)\nSFTConfig(**c)",
        "c = {name: 1}\nSFTConfig(**c)",
        "for c in cases:\n    SFTConfig(**c)",
        "SFTConfig(**({'no_cuda': 1} if old else {'use_cpu': True}))",
        "c = {'no_cuda': 1}\nfor i in x:\n    if i:\n        SFTConfig(**c)\n    c = {}",
        "c = {'no_cuda': 1}\nwhile x:\n    if y:\n        SFTConfig(**c)\n    del c['no_cuda']",
        "c = {'no_cuda': 1}\nd = c\nd.pop('no_cuda')\nSFTConfig(**c)",
        "import unsloth\nSFTConfig(max_seq_length=1)",
        "AutoModelForCausalLM.from_pretrained('x', n_ctx=3)",
    ],
)
def test_what_cannot_be_told_is_unknown(code: str, found: Found) -> None:
    assert {finding.severity for finding in found(USUAL + code)} == {"unknown"}


@pytest.mark.parametrize("second", ["logging_steps=10", "**{'logging_steps': 10}"])
def test_a_keyword_given_twice(second: str, found: Found) -> None:
    (finding,) = found(f"from trl import SFTConfig\nSFTConfig(logging_steps=5,\n  {second})")
    assert (finding.code, finding.line) == ("argument.repeated", 3)


def test_a_name_that_moved_is_found_again(found: Found) -> None:
    for finding in found("from trl import ORPOTrainer, GKDTrainer"):
        exec(finding.fix.removeprefix("it moved: "))


# Statements on two dictionaries; branches run when `flag` says so.
OLD, NEW = ["max_seq_length", "no_cuda"], ["seed", "max_length"]
names = st.sampled_from(OLD + NEW)
plain = st.one_of(
    st.builds("{0} = {{'{1}': 1, '{2}': 2}}".format, st.sampled_from("cd"), names, names),
    st.builds("{0}['{1}'] = 1".format, st.sampled_from("cd"), names),
    st.builds("{0}.update({{'{1}': 1}}, {2}=2)".format, st.sampled_from("cd"), names, names),
    st.builds("{0}.pop('{1}', None)".format, st.sampled_from("cd"), names),
    st.builds("{0} = {0} | dict({1}=1)".format, st.sampled_from("cd"), names),
    st.sampled_from(
        ["c = d", "d = c.copy()", "d = {**c}", "c = dict(d)", "c.setdefault('seed', 1)"]
    ),
)
branched = st.one_of(
    plain,
    st.builds("if flag:\n    {0}\n    {1}".format, plain, plain),
    st.builds("if flag:\n    {0}\nelse:\n    {1}".format, plain, plain),
    st.builds("for _ in range(flag):\n    {0}".format, plain),
    st.builds("while flag:\n    {0}\n    break".format, plain),
    st.builds("def f(c):\n    {0}".format, plain),
    st.builds("def g():\n    d['{0}'] = 1\n    d.pop('{1}', 0)\ng()".format, names, names),
)


@relaxed
@given(lines=st.lists(branched, max_size=8))
def test_an_error_holds_whichever_way_the_code_takes(found: Found, lines: list[str]) -> None:
    program, kept = "\n".join(["c = {}", "d = {}", *lines]), []
    for flag in (0, 1, 3):
        scope: dict[str, Any] = {"flag": flag}
        exec(program, scope)
        kept.append(set(scope["c"]) & set(OLD))
    findings = found(f"from trl import SFTConfig\n{program}\nSFTConfig(**c)")
    told = {f.message.split("`")[1] for f in findings if f.severity == "error"}
    assert told <= set.intersection(*kept)
    assert told == set.union(*kept) or "unknown" in {f.severity for f in findings}


# ---------------------------------------------------------------- the table of renames


@pytest.mark.parametrize("row", renames.ARGUMENTS, ids=lambda row: f"{row.where}-{row.old}")
def test_an_old_argument_is_refused_and_the_new_one_taken(row: Any, tiny: dict[str, Any]) -> None:
    value = {"torch_dtype": "bfloat16", "use_auth_token": "x", "task": "x"}.get(row.old, True)
    where = row.where.replace("PreTrainedModel", "AutoModelForCausalLM")
    where = where.replace("trl.create", "trl.trainer.utils.create")
    given = {"datasets.load_dataset": ["json"], "transformers.pipeline": ["text-generation"]}
    start = given.get(where, [tiny["path"]] if row.effect and "Config" not in where else [])
    more = {"data_files": tiny["rows"], "cache_dir": tiny["cache"]} if "datasets" in where else {}
    more |= {"model": tiny["path"]} if "pipeline" in where else {}
    if row.new:
        assert installed.accepts(where, row.new)
    if row.effect in ("", "refused"):
        if row.old.startswith("gradient_checkpointing"):  # goes in Transformers 6
            with pytest.warns(FutureWarning, match=row.old):
                installed.find(where)[1](**{row.old: {} if "kwargs" in row.old else True})
            return
        with pytest.raises(TypeError, match=row.old):
            installed.find(where)[1](*start, **more, **{row.old: value})
    elif row.new or row.effect == "ignored":
        made = [installed.find(where)[1](*start, **more, **one)
                for one in ({row.old: value}, {row.new: value} if row.new else {})]  # fmt: skip
        dtypes = (
            [str(getattr(one, "model", one).dtype) for one in made] if row.new else ["same"] * 2
        )
        assert (dtypes[0] == dtypes[1]) == (row.effect == "deprecated" or row.new is None)


@pytest.mark.parametrize("row", renames.NAMES, ids=lambda row: f"{row.where}-{row.old}")
def test_an_old_name_is_gone_and_the_new_one_there(row: Any) -> None:
    assert installed.find(f"{row.where}.{row.old}")[0] == "gone"
    assert (
        not row.new
        or row.where.endswith("Trainer")
        or (installed.find(f"{row.where}.{row.new}")[0] == "found")
    )


def test_lessons_exist() -> None:
    for lesson in {row.lesson for row in (*renames.ARGUMENTS, *renames.NAMES)}:
        name, _, cell = lesson.partition("#")
        cells = json.loads((ROOT / "notebooks" / name).read_text("utf-8"))["cells"]
        assert cell in {row["id"] for row in cells}, lesson


# ---------------------------------------------------------------- files


def notebook(*cells: Any, **form: Any) -> str:
    rows = []
    for number, cell in enumerate(cells):
        more = cell if isinstance(cell, dict) else {"source": cell}
        row = {"cell_type": "code", "id": f"c{number}", "metadata": {}, **more}
        row["source"] = row["source"].splitlines(keepends=True)
        rows.append(row)
    return json.dumps({"cells": rows, "metadata": {}, "nbformat": 4}, **{"indent": 1} | form)


def test_places(found: Found) -> None:
    """Line and column in a script, cell and line in a notebook, the line of a fence in Markdown."""
    (one,) = found("# héllo\n\nfrom trl import SFTConfig\nx = SFTConfig('é',  max_seq_length=5)\n")
    assert (one.line, one.column, one.cell, one.place[-9:]) == (4, 21, None, "code.py:4")
    prose = {"cell_type": "markdown", "source": f"Write\n```python\n{CALL}```\n"}
    cells = ("from trl import SFTConfig", prose, "# second\nSFTConfig('o', max_seq_length=5)")
    first, second = found(notebook(*cells), "n.ipynb")
    assert [(f.cell, f.cell_id, f.line) for f in (first, second)] == [(2, "c1", 4), (3, "c2", 2)]
    text = "# T\n\n```bash\nSFTConfig(\n```\n\n* a\n  ```python\n  from trl import SFTConfig\n"
    text += "  SFTConfig(\n      max_seq_length=2,\n  )\n  ```\n~~~py\nSFTConfig(no_cuda=1)\n~~~\n"
    assert [(f.line, f.column) for f in found(text, "r.md")] == [(11, 5), (15, 11)]


def test_what_does_not_parse(found: Found) -> None:
    """It hides nothing else; in Markdown it is unknown; other languages are not read."""
    first, second = found(notebook("x = (\n", CALL), "n.ipynb")
    assert (first.code, first.cell, second.code) == ("syntax", 1, "argument.refused")
    assert [f.severity for f in found("```python\nf(a=1, ...)\n```\n", "r.md")] == ["unknown"]
    for magic in ("%%bash", "%%html", "%%writefile x.txt"):
        assert found(notebook(f"{magic}\nSFTConfig( <nothing> python"), "n.ipynb") == []


@pytest.mark.parametrize(
    ("name", "content", "told"),
    [
        ("n.ipynb", b"", "n.ipynb:1: .*Expecting value"),
        ("n.ipynb", b'{\n "cells": [\n  {,\n]}', "n.ipynb:3: "),
        ("n.ipynb", b'{"worksheets": []}', "format 4"),
        ("n.ipynb", b"[" * 20000, "n.ipynb: "),
        ("n.py", b"a = 1\nb = '\xff'", "n.py:2: .*UTF-8"),
        ("n.py", b"x = " + b" + ".join([b"y"] * 900), "nested too deeply"),
    ],
)
def test_what_cannot_be_read_does_not_stop_the_others(
    name: str, content: bytes, told: str, tmp_path: Path
) -> None:
    (tmp_path / name).write_bytes(content)
    (tmp_path / "other.py").write_text(CALL)
    report = lint([tmp_path])
    assert re.search(told, report.unreadable[0], re.DOTALL)
    assert (report.files, report.count("error")) == (1, 1)


def test_paths(tmp_path: Path) -> None:
    for name in ("a.py", "b/c.py", ".hidden/d.py", "__pycache__/e.py", "b/notes.txt", "r.md"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("")
    assert lint([tmp_path, tmp_path / "a.py"]).files == 3
    for name in ("absent.py", "b/notes.txt"):
        with pytest.raises(DataError, match=name):
            lint([tmp_path / name])


def test_old_forms_can_be_shown_on_purpose(found: Found) -> None:
    head, tag = "from trl import SFTConfig\n", {"metadata": {"tags": ["old-form"]}}
    spread = "SFTConfig(  # lint: ok, the old form\n    max_seq_length=5,\n    no_cuda=True)"
    last = "SFTConfig(\n no_cuda=1,  # lint: ok\n)"
    for code in ("SFTConfig(max_seq_length=5)  # lint: ok", spread, last):
        assert found(head + code) == []
    cells = (
        {"source": CALL, **tag},
        {"source": f"```python\n{CALL}```", "cell_type": "markdown", **tag},
    )
    assert [f.cell for f in found(notebook(*cells, CALL), "n.ipynb")] == [3]


OLD_SCRIPT = """\
#!/usr/bin/env python
from trl import SFTConfig, SFTTrainer   # héé\t
cfg = dict(max_seq_length=512, seed  =1)
args = SFTConfig(  "ö", warmup_ratio = 0.1 ,no_cuda=True, gradient_checkpointing=False, **cfg )
t = SFTTrainer( model,args, tokenizer = tok, packing=True )
collate(
    tokenizer=tok,
)
"""
NEW_SCRIPT = (
    OLD_SCRIPT.replace("max_seq_length", "max_length").replace("warmup_ratio", "warmup_steps")
    .replace("no_cuda", "use_cpu").replace("gradient_checkpointing", "activation_checkpointing")
    .replace("tokenizer =", "processing_class =")
)  # fmt: skip


@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize("start", ["", "\ufeff"])
@pytest.mark.parametrize("name", ["train.py", "notes.md"])
def test_fix_renames_and_keeps_every_other_byte(
    end: str, start: str, name: str, tmp_path: Path
) -> None:
    fence = ("* a\n  ```python\n", "  ```\n") if name == "notes.md" else ("", "")
    inside = "  " if name == "notes.md" else ""

    def written(code: str) -> bytes:
        lines = "".join(inside + line for line in code.splitlines(keepends=True))
        return (start + (fence[0] + lines + fence[1]).replace("\n", end)).encode()

    (tmp_path / name).write_bytes(written(OLD_SCRIPT))
    report = lint([tmp_path / name], repair=True)
    assert (tmp_path / name).read_bytes() == written(NEW_SCRIPT)
    assert len(report.mended) == 5
    assert [f.message.split("`")[1] for f in report.findings] == ["packing"]
    assert lint([tmp_path / name], repair=True).mended == []


@pytest.mark.parametrize("form", [{}, {"ensure_ascii": False}, {"indent": 4}])
def test_fix_keeps_a_notebook_as_it_is_written(form: dict[str, Any], tmp_path: Path) -> None:
    prose = {"cell_type": "markdown", "source": "```python\nSFTConfig(no_cuda=1)\n```"}
    other = {"source": "collate('ü😀', max_seq_length=5)", "outputs": [{"source": "x"}]}
    third = 's = "\\n\\t\\"é😀"\nSFTConfig("ü😀", max_seq_length=5)'
    text = notebook("%pip install trl\nfrom trl import SFTConfig\n", other, third, prose, **form)
    (tmp_path / "n.ipynb").write_text(text, "utf-8")
    report, wanted = lint([tmp_path], repair=True), text.replace("no_cuda", "use_cpu")
    wanted = re.sub(r'(SFTConfig\(\\".*?)max_seq_length', r"\1max_length", wanted)
    assert (tmp_path / "n.ipynb").read_text("utf-8") == wanted
    assert len(report.mended) == 2


@pytest.mark.parametrize(
    "code",
    [
        "SFTConfig(warmup_ratio=ratio)",  # 0 or 1 would mean another thing as warmup_steps
        "SFTConfig(warmup_ratio=1.0)",
        "SFTConfig(max_seq_length=5, max_length=6)",  # the new name is taken
        "SFTConfig(group_by_length=True)",  # the value changes too
        "c = {'max_seq_length': 5}\nSFTConfig(**c)",  # others may read the key
        "SFTConfig(max_seq_length=5, **more)",
    ],
)
def test_fix_leaves_what_is_more_than_a_name(code: str, tmp_path: Path) -> None:
    (tmp_path / "m.py").write_text("from trl import SFTConfig\n" + code)
    report = lint([tmp_path], repair=True)
    assert (tmp_path / "m.py").read_text().endswith(code)
    assert report.count("error")
    assert not report.mended


@relaxed
@given(start=st.integers(0, 9000), length=st.integers(0, 400), more=st.text())
def test_no_text_brings_lint_down(start: int, length: int, more: str, tmp_path: Path) -> None:
    """Pieces of this file, cut anywhere and with rubbish inside, in every kind of file."""
    text = Path(__file__).read_text("utf-8")[start : start + length]
    text = text[: length // 2] + more + text[length // 2 :]
    for name, content in {"a.py": text, "b.md": f"```python\n{text}\n```",
                          "c.ipynb": notebook(text, text)}.items():  # fmt: skip
        (tmp_path / name).write_text(content, "utf-8", "surrogatepass", newline="")
    report = lint([tmp_path], repair=True)
    assert report.files + len(report.unreadable) == 3


# ---------------------------------------------------------------- code that nobody wrote for this


def test_the_kit_is_up_to_date() -> None:
    """Nothing at error or warning level in notebooks, documents and the package."""
    names = ("notebooks", "README.md", "CONTRIBUTING.md", "docs", "data", "sft_helpers", "tools")
    report = lint([ROOT / name for name in names])
    assert report.unreadable == []
    assert [f.place for f in report.findings if f.severity in ("error", "warning")] == []


@pytest.mark.parametrize(
    "folder", ["trl/scripts", "trl/trainer", "trl/experimental", "peft/tuners/lora", "accelerate",
               "lm_eval/tasks/coqa"]
)  # fmt: skip
def test_installed_code(folder: str) -> None:
    """TRL's own scripts and trainers are sound; an import that is called gone does not work."""
    spec = importlib.util.find_spec(folder.split("/")[0])
    if spec is None or not spec.origin:
        pytest.skip(f"{folder} is not installed")
    report = lint([Path(spec.origin).parents[1] / folder])
    errors = [finding for finding in report.findings if finding.severity == "error"]
    assert report.files
    assert not (errors and folder.startswith("trl"))
    for finding in errors:
        line = Path(finding.file).read_text("utf-8").splitlines()[finding.line - 1]
        missing = finding.message.split("`")[1]
        owner = finding.message.split(" ")[0]
        assert missing in line
        with pytest.raises(ImportError):
            exec(f"from {owner} import {missing}")


def test_looking_does_not_change_the_process() -> None:
    before = dict(os.environ), logging.root.manager.disable, list(warnings.filters)
    for name, value in (("fsdp", "full_shard"), ("tf32", True)):
        installed.verdict("trl.SFTConfig", name, value, True, None)
    assert (dict(os.environ), logging.root.manager.disable, list(warnings.filters)) == before


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: Any) -> None:
    """Exit codes, what is printed, and `--json`."""
    monkeypatch.setenv("COLUMNS", "200")
    bad, broken = tmp_path / "bad.py", tmp_path / "broken.ipynb"
    bad.write_text(CALL)
    broken.write_text("{")
    assert cli.main(["lint", str(bad)]) == 1
    out = capsys.readouterr().out
    for word in ("bad.py", "1 file: 1 error, 0 warnings", "max_length", "--fix"):
        assert word in out
    assert cli.main(["lint", str(bad), str(broken), "--json"]) == 2
    captured = capsys.readouterr()
    (finding,) = json.loads(captured.out)["findings"]
    assert finding["rename"] == {"old": "max_seq_length", "new": "max_length"}
    assert (finding["line"], finding["severity"], "spot" in finding) == (2, "error", False)
    assert "broken.ipynb:1" in captured.err
    assert cli.main(["lint", str(bad), "--fix"]) == 0
    assert "max_seq_length → max_length" in capsys.readouterr().out


def test_the_scheduled_workflow_sees_drift_first() -> None:
    """It installs without pins, lints, runs these tests and the notebooks, and writes nothing."""
    flow = yaml.safe_load((ROOT / ".github/workflows/newest.yml").read_text("utf-8"))
    assert "cron" in flow[True]["schedule"][0]  # YAML reads a bare `on` as True
    assert flow["permissions"] == {"contents": "read"}
    steps = " ".join(step.get("run", "") for step in flow["jobs"]["drift"]["steps"])
    assert "constraints.txt" not in steps
    for part in ("sft-helpers lint notebooks", "pytest tests/test_lint.py", "--nbmake"):
        assert part in steps
