"""Files of every kind: places, magics, broken ones, `--fix` byte for byte, YAML, the command."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from sft_helpers import cli, lint
from sft_helpers.drift import CODES, Finding, lint_text, reader
from sft_helpers.drift import lint as lint_paths
from sft_helpers.errors import DataError

Found = Callable[..., list[Finding]]
ROOT = Path(__file__).resolve().parents[2]
CODE = "from trl import SFTConfig\n"
CALL = CODE + "SFTConfig('o', max_seq_length=512)\n"


def notebook(*cells: str | dict[str, Any], indent: int | None = 1, as_list: bool = True) -> str:
    rows = []
    for number, cell in enumerate(cells):
        more = cell if isinstance(cell, dict) else {"source": cell}
        row = {"cell_type": "code", "id": f"c{number}", "metadata": {}, **more}
        if as_list:
            row["source"] = row["source"].splitlines(keepends=True)
        if row["cell_type"] == "code":
            row |= {"execution_count": None, "outputs": []}
        rows.append(row)
    return json.dumps({"cells": rows, "metadata": {}, "nbformat": 4, "nbformat_minor": 5},
                      indent=indent)  # fmt: skip


def test_a_text_is_linted_like_a_file() -> None:
    (finding,) = lint_text(CALL)
    told = "<code>:2: error: SFTConfig() does not accept `max_seq_length`: TypeError"
    assert str(finding) == told + "; write max_length"


# ---------------------------------------------------------------- places


def test_place_in_a_script(found: Found) -> None:
    (finding,) = found("# héllo\n\n" + CODE + "x = SFTConfig('é',  max_seq_length=5)\n")
    assert (finding.line, finding.column, finding.cell) == (4, 21, None)


def test_places_in_a_notebook(found: Found) -> None:
    """Names go from cell to cell; the line counts from the cell's first."""
    text = notebook(CODE, {"cell_type": "markdown", "source": "# x"},
                    "# second\nSFTConfig('o', max_seq_length=5)")  # fmt: skip
    (finding,) = found(text, "n.ipynb")
    assert (finding.cell, finding.cell_id, finding.line) == (3, "c2", 2)
    assert finding.place.endswith("n.ipynb cell 3 (c2):2")


def test_places_in_markdown(found: Found) -> None:
    text = "# T\n\n```bash\nSFTConfig(\n```\n\n* a\n  ```python\n  " + CODE
    text += "  SFTConfig(\n      max_seq_length=2,\n  )\n  ```\n~~~py\nSFTConfig(no_cuda=1)\n~~~\n"
    first, second = found(text, "r.md")
    assert (first.line, first.column, second.line) == (11, 5, 15)


def test_code_in_a_markdown_cell(found: Found) -> None:
    text = f"Write\n```python\n{CALL}```\n"
    (finding,) = found(notebook({"cell_type": "markdown", "source": text}), "n.ipynb")
    assert (finding.cell, finding.line) == (1, 4)


NOTES = """
# Notes for an old TRL

```python
from trl import SFTTrainer, SFTConfig
training_args = SFTConfig(output_dir="./o", learning_rate=2e-5, warmup_ratio=0.1, bf16=True,
    save_strategy="steps",
    max_seq_length=4096,
    packing=True,
    dataset_kwargs={"add_special_tokens": False},
)
trainer = SFTTrainer(model="m", args=training_args, train_dataset=dataset["train"])
```

```python
from transformers import BitsAndBytesConfig
import torch
bnb_config = BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_quant_type="nf4",
    bnb_4bit_compute_dtype=torch.bfloat16, bnb_4bit_use_double_quant=True)
trainer = SFTTrainer(model="m", args=training_args, peft_config=peft_config,
    model_init_kwargs={"quantization_config": bnb_config})
```

```bash
accelerate launch --config_file fsdp.yaml train.py
```
"""


def test_everything_that_changed_since_the_notes_was_written(found: Found) -> None:
    """The calls of an SFT article of early 2026: four that stop, or do nothing, by line."""
    assert [(f.line, f.severity) for f in found(NOTES, "notes.md")] == [
        (6, "error"),
        (8, "error"),
        (10, "warning"),
        (21, "error"),
    ]


# ---------------------------------------------------------------- magics and what does not parse


@pytest.mark.parametrize(
    "cell",
    [
        "%matplotlib inline\n!pip install -q trl \\\n    peft\n" + CALL,
        "%%capture\n" + CALL,
        "%%time\n" + CALL,
        "files = !ls\nn, = %who_ls\n" + CALL,
        CODE + "%time SFTConfig('o', max_seq_length=512)",
        CODE + "if True:\n    !nvidia-smi\n    SFTConfig('o', max_seq_length=512)",
        CODE + "SFTConfig?\nSFTConfig('o', max_seq_length=512)",
        CODE + "x = (7\n % 3)\ns = '''\n!no\n'''\nSFTConfig('o', max_seq_length=512)",
        CODE + "await go()\nSFTConfig('o', max_seq_length=512)",
    ],
)
def test_magics_are_passed_over(cell: str, found: Found) -> None:
    findings = found(notebook(cell), "n.ipynb")
    assert [f.code for f in findings] == ["argument.refused"]
    row = cell.split("\n")[findings[0].line - 1]
    assert row[findings[0].column - 1 :].startswith("max_seq_length")


@pytest.mark.parametrize("first", ["%%bash", "%%html", "%%writefile x.txt", "%%javascript"])
def test_cells_of_other_languages_are_not_read(first: str, found: Found) -> None:
    assert found(notebook(f"{first}\nSFTConfig( <nothing> python"), "n.ipynb") == []


def test_one_broken_cell_does_not_hide_the_others(found: Found) -> None:
    findings = found(notebook(CODE, "x = (\n", "SFTConfig('o', max_seq_length=1)"), "n.ipynb")
    assert [(f.code, f.cell, f.severity) for f in findings] == [
        ("syntax", 2, "error"),
        ("argument.refused", 3, "error"),
    ]


@pytest.mark.parametrize("second", ["logging_steps=10", "**{'logging_steps': 10}"])
def test_a_keyword_given_twice(second: str, found: Found) -> None:
    (finding,) = found(CODE + f"SFTConfig(logging_steps=5,\n          {second})")
    assert (finding.code, finding.line) == ("argument.repeated", 3)


def test_abridged_markdown_is_only_unknown(found: Found) -> None:
    assert [f.severity for f in found("```python\nf(a=1, ...)\n```\n", "r.md")] == ["unknown"]


@pytest.mark.parametrize(
    ("name", "content", "told"),
    [
        ("n.ipynb", b"", ":1: is not JSON"),
        ("n.ipynb", b'{\n "cells": [\n  {,\n]}', ":3: is not JSON"),
        ("n.ipynb", b'{"worksheets": []}', "format 4"),
        ("n.ipynb", b"[" * 20000, "n.ipynb"),
        ("n.py", b"a = 1\nb = '\xff'", ":2: is not UTF-8"),
        ("n.yaml", b"output_dir: x\nlearning_rate: [1", ":2: is not YAML"),
    ],
)
def test_what_cannot_be_read(name: str, content: bytes, told: str, tmp_path: Path) -> None:
    """It is named with its line, and the other files are read all the same."""
    (tmp_path / name).write_bytes(content)
    (tmp_path / "other.py").write_text(CALL)
    report = lint_paths([tmp_path])
    assert len(report.unreadable) == 1
    assert told in report.unreadable[0]
    assert (report.files, report.count("error")) == (1, 1)


def test_what_is_nested_deeply(found: Found, tmp_path: Path) -> None:
    """A long chain of methods is followed, an absurd sum is named, neither takes for ever."""
    chain = CALL + "rows" + ".map(f).filter(g)" * 60
    assert [f.line for f in found(chain)] == [2]
    for terms in (500, 5000, 50000):  # parsed and followed, parsed, or neither
        (tmp_path / "sum.py").write_text("x = " + " + ".join(["y"] * terms))
        report = lint_paths([tmp_path / "sum.py"])
        assert terms == 500 or report.unreadable or report.findings


def test_a_huge_file_is_not_read(tmp_path: Path) -> None:
    file = tmp_path / "huge.py"
    with file.open("wb") as out:
        out.truncate(2 * 2**30)  # a hole: takes no disk
    assert "larger than" in lint_paths([file]).unreadable[0]


@pytest.mark.parametrize("name", ["absent.py", "data.csv"])
def test_a_path_that_cannot_be_linted(name: str, tmp_path: Path) -> None:
    (tmp_path / "data.csv").write_text("a,b")
    with pytest.raises(DataError, match=name):
        lint_paths([tmp_path / name])


def test_folders(tmp_path: Path) -> None:
    for name in ("a.py", "b/c.py", ".hidden/d.py", "__pycache__/e.py", "b/notes.txt", "r.md"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("")
    files = reader.files_below([tmp_path, tmp_path / "a.py"])
    assert [str(f.relative_to(tmp_path)) for f in files] == ["a.py", "r.md", str(Path("b/c.py"))]


# ---------------------------------------------------------------- on purpose


@pytest.mark.parametrize(
    "code",
    [
        "SFTConfig('o', max_seq_length=5)  # lint: ok",
        "SFTConfig(  # lint: ok, the old form\n    max_seq_length=5,\n    no_cuda=True)",
        "SFTConfig(\n    max_seq_length=5,  # lint: ok\n)",
    ],
)
def test_a_line_can_say_that_it_is_meant(code: str, found: Found) -> None:
    assert found(CODE + code) == []


def test_a_cell_can_say_that_it_is_meant(found: Found) -> None:
    cell = {"source": CALL, "metadata": {"tags": ["old-form"]}}
    shown = {"source": f"```python\n{CALL}```", "cell_type": "markdown"}
    findings = found(notebook(cell, shown | {"metadata": {"tags": ["old-form"]}}, CALL), "n.ipynb")
    assert [f.cell for f in findings] == [3]


# ---------------------------------------------------------------- --fix

OLD = """\
#!/usr/bin/env python
# -*- coding: utf-8 -*-   héé\t
from peft import LoraConfig,prepare_model_for_int8_training
from trl import SFTConfig, SFTTrainer
cfg = { 'max_seq_length' : 512,  "evaluation_strategy":"steps" }   # keep
cfg["no_cuda"]=True
args = SFTConfig(  "ö", warmup_ratio = 0.1 ,gradient_checkpointing=False, **cfg )
model = prepare_model_for_int8_training(model)
t = SFTTrainer( model,args, tokenizer = tok, packing=True )
"""
NEW = (
    OLD.replace("prepare_model_for_int8_training", "prepare_model_for_kbit_training")
    .replace("max_seq_length", "max_length")
    .replace("evaluation_strategy", "eval_strategy")
    .replace("no_cuda", "use_cpu")
    .replace("warmup_ratio", "warmup_steps")
    .replace("gradient_checkpointing", "activation_checkpointing")
    .replace("tokenizer =", "processing_class =")
)


@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize("bom", ["", "\ufeff"])
def test_fix_renames_and_keeps_every_other_byte(end: str, bom: str, tmp_path: Path) -> None:
    file = tmp_path / "train.py"
    file.write_bytes((bom + OLD.replace("\n", end)).encode())
    report = lint_paths([file], repair=True)
    assert file.read_bytes() == (bom + NEW.replace("\n", end)).encode()
    assert len(report.mended) == 7
    assert [f.message.split("`")[1] for f in report.findings] == ["packing"]
    again = lint_paths([file], repair=True)
    assert (again.mended, file.read_bytes()) == ([], (bom + NEW.replace("\n", end)).encode())


@pytest.mark.parametrize("indent", [1, 4, None])
@pytest.mark.parametrize("as_list", [True, False])
def test_fix_keeps_a_notebook_as_it_is_written(
    indent: int | None, as_list: bool, tmp_path: Path
) -> None:
    cells = ["%pip install trl\nfrom trl import SFTConfig\n", 's = "\\n\\t\\"é😀"\n'
             "SFTConfig('ü😀', max_seq_length=5)", {"cell_type": "markdown", "source":
             "```python\nSFTConfig(no_cuda=1)\n```"}]  # fmt: skip
    for escaped in (True, False):
        text = notebook(*cells, indent=indent, as_list=as_list)
        if not escaped:
            text = json.dumps(json.loads(text), indent=indent, ensure_ascii=False) + "\n"
        file = tmp_path / "n.ipynb"
        file.write_text(text, "utf-8")
        assert len(lint_paths([file], repair=True).mended) == 2
        wanted = text.replace("max_seq_length", "max_length").replace("no_cuda", "use_cpu")
        assert file.read_text("utf-8") == wanted


@pytest.mark.parametrize(
    "code",
    [
        "SFTConfig(warmup_ratio=ratio)",  # 0 or 1 would mean another thing as warmup_steps
        "SFTConfig(warmup_ratio=1.0)",
        "SFTConfig(warmup_ratio=0)",
        "SFTConfig(max_seq_length=5, max_length=6)",  # the new name is taken
        "SFTConfig(group_by_length=True)",  # the value changes too
        "c = {'max_seq_length': 5}\nprint(c['max_seq_length'])\nSFTConfig(**c)",
        "c = {'max_' 'seq_length': 5}\nSFTConfig(**c)",
        "c = {'max_seq_length': 5}\nif x:\n    c['max_length'] = 3\nSFTConfig(**c)",
    ],
)
def test_fix_leaves_what_is_more_than_a_name(code: str, tmp_path: Path) -> None:
    file = tmp_path / "train.py"
    file.write_text(CODE + code)
    report = lint_paths([file], repair=True)
    assert (file.read_text(), report.mended) == (CODE + code, [])
    assert report.count("error")


@pytest.mark.parametrize(
    ("code", "fixed"),
    [
        ("import peft\npeft.{}(m)", True),
        ("from peft import {} as p\np(m)", True),
        ("from peft import {}\ndef f():\n    return {}(m)", True),
        ("from peft import {}\n{} = 3", False),
        ("from peft import {}\nprepare_model_for_kbit_training = 1", False),
        ("from peft import {}\ndef f({}):\n    pass", False),
    ],
)
def test_fix_renames_an_import_with_its_uses(code: str, fixed: bool, tmp_path: Path) -> None:
    file = tmp_path / "m.py"
    file.write_text(code.replace("{}", "prepare_model_for_int8_training"))
    lint_paths([file], repair=True)
    now = "prepare_model_for_kbit_training" if fixed else "prepare_model_for_int8_training"
    assert file.read_text() == code.replace("{}", now)


def test_what_fix_writes_runs(tiny: dict[str, Any], tmp_path: Path) -> None:
    """The old call is refused, the repaired one builds the same thing."""
    code = "c = SFTConfig(max_seq_length=77, warmup_ratio=0.1, no_cuda=True, bf16=False)\n"
    file = tmp_path / "m.py"
    file.write_text(CODE + code)
    lint_paths([file], repair=True)
    scope: dict[str, Any] = {}
    exec(file.read_text(), scope)
    assert (scope["c"].max_length, scope["c"].get_warmup_steps(1000)) == (77, 100)
    assert scope["c"].use_cpu


# ---------------------------------------------------------------- YAML

YAML = "model_name_or_path: x\noutput_dir: o\nuse_cpu: true\nbf16: false\n"


def test_yaml_of_trl_sft(found: Found) -> None:
    text = YAML + "max_seq_length: 5\neval_strategy: no\nlora_rank: 3\npacking_strategy: ffd\n"
    text += "gradient_checkpointing: true\nlora_r: 8\nenv: {A: b}\nwarmup_ratio: 1  # lint: ok\n"
    rows = [(f.line, f.severity) for f in found(text, "sft.yaml")]
    assert rows == [(5, "error"), (6, "error"), (7, "error"), (8, "warning"), (9, "note")]
    (finding,) = found(YAML + "dataset_kwargs: {add_special_tokens: false}\n", "sft.yaml")
    assert (finding.code, finding.line) == ("argument.ignored", 5)


@pytest.mark.parametrize("line", ["max_seq_length: 5", "eval_strategy: no", "lora_rank: 3",
                                  "lr_scheduler_type: cosin", "lora_r: 8",
                                  "eval_strategy: 'no'", "warmup_steps: 0.1"])  # fmt: skip
def test_yaml_against_trls_own_parser(line: str, found: Found, tmp_path: Path) -> None:
    from trl.scripts.sft import make_parser

    file = tmp_path / "sft.yaml"
    flagged = any(f.severity == "error" for f in found(YAML + line, file.name))
    try:
        make_parser().parse_args_and_config(["--config", str(file)])
    except (ValueError, SystemExit):
        assert flagged
    else:
        assert not flagged


@pytest.mark.parametrize(
    "text",
    [
        "",
        "- a\n- b\n",
        "on: push\njobs:\n  test: {runs-on: ubuntu}\n",
        "base_model: x\nlearning_rate: 1\noutput_dir: y\nsequence_len: 4\nadapter: lora\n",
        "model_name_or_path: x\nstage: sft\nfinetuning_type: lora\ntemplate: qwen\ncutoff_len: 4\n",
        "compute_environment: LOCAL_MACHINE\nnum_processes: 2\n",
        "name: 2026-01-01\noutput_dir: !special x\n",
    ],
)
def test_other_yaml_is_left_alone(text: str, found: Found) -> None:
    assert found(text, "other.yaml") == []


# ---------------------------------------------------------------- the command


def run(*arguments: str) -> int:
    parser = cli.build_parser()
    if "lint" not in parser.format_help():
        commands = parser._subparsers._group_actions[0]  # type: ignore[union-attr]
        lint.add_parser(commands)
    args = parser.parse_args(["lint", *arguments])
    return int(args.run(args))


def test_exit_codes_and_what_is_printed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    good, bad, broken = tmp_path / "good.py", tmp_path / "bad.py", tmp_path / "broken.ipynb"
    good.write_text("from trl import SFTConfig\nSFTConfig('[bold]o', max_length=5)\n")
    bad.write_text(CALL)
    broken.write_text("{")
    assert run(str(good)) == 0
    assert "0 errors" in capsys.readouterr().out
    assert run(str(bad)) == 1
    out = capsys.readouterr().out
    assert "bad.py" in out
    assert "1 file: 1 error, 0 warnings" in out
    assert "max_length" in out
    assert "--fix" in out
    assert run(str(bad), str(broken)) == 2
    captured = capsys.readouterr()
    assert "broken.ipynb:1" in captured.err
    assert "max_seq_length" in captured.out
    assert run(str(bad), "--fix") == 0
    assert "max_seq_length → max_length" in capsys.readouterr().out


def test_json(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "bad.py").write_text(CALL)
    assert run(str(tmp_path), "--json") == 1
    answer = json.loads(capsys.readouterr().out)
    (finding,) = answer["findings"]
    assert finding["code"] in CODES
    assert (finding["line"], finding["severity"]) == (2, "error")
    assert finding["rename"] == {"old": "max_seq_length", "new": "max_length"}
    assert set(answer["versions"]) == {"trl", "transformers", "peft", "bitsandbytes", "datasets"}


# ---------------------------------------------------------------- the kit itself


def test_the_kit_is_up_to_date() -> None:
    """Nothing at error or warning level in notebooks, documents, recipes and the package."""
    names = ["notebooks", "README.md", "CONTRIBUTING.md", "docs", "data", "sft_helpers", "tools"]
    report = lint_paths([ROOT / name for name in names])
    assert report.unreadable == []
    bad = [f for f in report.findings if f.severity in ("error", "warning")]
    assert [f.place for f in bad] == []
    assert report.files > 100


def test_lessons_exist() -> None:
    from sft_helpers.drift import findings, replacements

    rows = [*replacements.ARGUMENTS, *replacements.OPEN, *replacements.IMPORTS]
    for lesson in {row.lesson for row in rows} | {findings.LESSON}:
        name, _, cell = lesson.partition("#")
        cells = json.loads((ROOT / "notebooks" / name).read_text("utf-8"))["cells"]
        assert cell in {row["id"] for row in cells}, lesson


def test_the_scheduled_workflow_sees_drift_first() -> None:
    """It installs without pins, lints, runs these tests and the notebooks, and writes nothing."""
    flow = yaml.safe_load((ROOT / ".github/workflows/newest.yml").read_text("utf-8"))
    assert "cron" in flow[True]["schedule"][0]  # YAML reads a bare `on` as True
    assert flow["permissions"] == {"contents": "read"}
    steps = " ".join(step.get("run", "") for step in flow["jobs"]["drift"]["steps"])
    assert "constraints.txt" not in steps
    for part in ("sft-helpers lint notebooks", "pytest tests/drift", "--nbmake"):
        assert part in steps
