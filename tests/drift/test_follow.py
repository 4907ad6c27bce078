"""Random programs and random calls: lint against Python itself."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sft_helpers.drift import Finding, installed, lint, sources, values

Found = Callable[..., list[Finding]]

GOOD = ["max_length", "packing", "learning_rate", "seed", "output_dir"]
BAD = ["max_seq_length", "warmup_ratio", "no_cuda", "tokenizer", "max_lenght"]
relaxed = settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
names = st.sampled_from(GOOD + BAD)


def refused(findings: list[Finding], severity: str = "error") -> set[str]:
    return {
        f.message.split("`")[1] for f in findings if f.severity == severity and "`" in f.message
    }


@relaxed
@given(chosen=st.sets(names), path=st.sampled_from(["trl.SFTConfig", "trl.SFTTrainer"]))
def test_random_keywords_agree_with_bind(chosen: set[str], path: str, tmp_path: Path) -> None:
    """The flagged names are those that `bind_partial` refuses, one by one and together."""
    call = installed.signature(path)
    assert call is not None
    arguments = ", ".join(f"{name}=x" for name in sorted(chosen))
    file = tmp_path / "call.py"
    file.write_text(f"import trl as t\nmake = t.{path.split('.')[1]}(*a, {arguments})\n")
    flagged = refused(lint([file]).findings)
    wrong = set()
    for name in chosen:
        try:
            call.bind_partial(**{name: None})
        except TypeError:
            wrong.add(name)
    assert flagged == wrong
    try:
        call.bind_partial(**dict.fromkeys(chosen))
    except TypeError:
        assert flagged
    else:
        assert not flagged


@relaxed
@given(count=st.integers(0, 16), chosen=st.sets(st.sampled_from(["model", "args", "peft_config"])))
def test_random_calls_agree_with_bind(count: int, chosen: set[str], tmp_path: Path) -> None:
    """Missing, doubled and surplus arguments are those that `bind` refuses."""
    call = installed.signature("trl.SFTTrainer")
    assert call is not None
    parts = ["x"] * count + [f"{name}=x" for name in sorted(chosen)]
    file = tmp_path / "call.py"
    file.write_text(f"from trl import SFTTrainer\nSFTTrainer({', '.join(parts)})\n")
    found = [f.code for f in lint([file]).findings]
    try:
        call.bind(*[None] * count, **dict.fromkeys(chosen))
    except TypeError:
        assert found == ["argument.missing"]
    else:
        assert found == []


# Statements on two dictionaries; `if` bodies run when the flag at the top says so.
plain = st.one_of(
    st.builds("{0} = {{'{1}': 1, '{2}': 2}}".format, st.sampled_from("cd"), names, names),
    st.builds("{0}['{1}'] = 1".format, st.sampled_from("cd"), names),
    st.builds("{0}.update({1}=1)".format, st.sampled_from("cd"), names),
    st.builds("{0}.update({{'{1}': 1}}, {2}=2)".format, st.sampled_from("cd"), names, names),
    st.builds("{0}.pop('{1}', None)".format, st.sampled_from("cd"), names),
    st.builds("{0}.setdefault('{1}', 3)".format, st.sampled_from("cd"), names),
    st.builds("{0} |= {{'{1}': 1}}".format, st.sampled_from("cd"), names),
    st.builds("{0} = {0} | dict({1}=1)".format, st.sampled_from("cd"), names),
    st.sampled_from(["c = d", "d = c.copy()", "d = {**c}", "c = dict(d)", "c = dict(d, seed=1)"]),
)
branched = st.one_of(
    plain,
    st.builds("if flag:\n    {0}\n    {1}".format, plain, plain),
    st.builds("if flag:\n    {0}\nelse:\n    {1}".format, plain, plain),
    st.builds("for _ in range(flag):\n    {0}".format, plain),
    st.builds("while flag:\n    {0}\n    break".format, plain),
    st.builds("def f(c):\n    {0}".format, plain),
)


def kept(program: str, flag: int) -> set[str]:
    """The keys of `c` after the program ran."""
    scope: dict[str, object] = {"flag": flag}
    exec(program, scope)
    return set(scope["c"])  # type: ignore[call-overload]


def linted(program: str, folder: Path) -> tuple[set[str], bool]:
    file = folder / "program.py"
    file.write_text(f"from trl import SFTConfig\n{program}\nSFTConfig(**c)\n")
    findings = lint([file]).findings
    return refused(findings), any(f.severity == "unknown" for f in findings)


@relaxed
@given(st.lists(plain, max_size=8))
def test_straight_programs_are_followed_exactly(tmp_path: Path, lines: list[str]) -> None:
    program = "\n".join(["c = {}", "d = {}", *lines])
    flagged, unknown = linted(program, tmp_path)
    assert flagged == kept(program, 0) & set(BAD)
    assert not unknown


@relaxed
@given(st.lists(branched, max_size=8))
def test_branches_never_cause_a_false_alarm(tmp_path: Path, lines: list[str]) -> None:
    """An error holds whichever way the code takes; what may hold is unknown, not silent."""
    program = "\n".join(["c = {}", "d = {}", *lines])
    flagged, unknown = linted(program, tmp_path)
    runs = [kept(program, flag) & set(BAD) for flag in (0, 1, 3)]
    assert flagged <= set.intersection(*runs)
    assert unknown or flagged == set.union(*runs)


CODE = "from trl import SFTConfig\n"


@pytest.mark.parametrize(
    "code",
    [
        CODE + "SFTConfig(**options())",
        CODE + "c = {}\nchange(c)\nSFTConfig(**c)",
        CODE + "c = {'no_cuda': True}\nchange(c)\nSFTConfig(**c)",
        CODE + "c = {name: 1}\nSFTConfig(**c)",
        CODE + "def f(**c):\n    SFTConfig(**c)",
        CODE + "for c in cases:\n    SFTConfig(**c)",
        CODE + "SFTConfig(**({'no_cuda': 1} if old else {'use_cpu': True}))",
        CODE + "c = {'seed': 1}\nc[key()] = 2\nSFTConfig(**c)",
        "import unsloth\n" + CODE + "SFTConfig(max_seq_length=1)",
        "from transformers import AutoModel\nAutoModel.from_pretrained('x', n_ctx=3)",
        CODE + "SFTConfig(**a, **b)",
        CODE + "c = {'no_cuda': 1}\nfor i in x:\n    if i:\n        SFTConfig(**c)\n    c = {}",
        CODE + "c = {'no_cuda': 1}\nwhile x():\n    if y:\n        SFTConfig(**c)\n"
        "    c.pop('no_cuda', 0)",
        CODE + "c = {'no_cuda': 1}\nwhile x():\n    if y:\n        SFTConfig(**c)\n"
        "    del c['no_cuda']",
    ],
)
def test_what_cannot_be_told_is_unknown(code: str, found: Found) -> None:
    assert {finding.severity for finding in found(code)} == {"unknown"}


@pytest.mark.parametrize(
    "code",
    [
        "from trl import *\nSFTConfig(max_seq_length=1)",
        "import trl\nC = trl.SFTConfig\nC(max_seq_length=1)",
        CODE + "def a():\n    def b():\n        return SFTConfig(max_seq_length=1)\n    return b",
        CODE + "class A:\n    args = SFTConfig(max_seq_length=1)",
        CODE + "class A:\n    def go(self):\n        self.args = SFTConfig(max_seq_length=1)",
        CODE + "make = lambda x: SFTConfig(x, max_seq_length=1)",
        CODE + "[SFTConfig(max_seq_length=n) for n in (1, 2)]",
        CODE + "with open('x') as f:\n    SFTConfig(max_seq_length=1)",
        CODE + "while True:\n    SFTConfig(max_seq_length=1)",
        CODE + "async def go():\n    await run(SFTConfig(max_seq_length=1))",
        CODE + "match x:\n    case 1:\n        SFTConfig(max_seq_length=1)",
        CODE + "try:\n    SFTConfig(max_seq_length=1)\nexcept Exception as e:\n    print(e)",
        CODE + "print(args := SFTConfig(max_seq_length=1))",
        "if cuda:\n    from trl import SFTConfig\nSFTConfig(max_seq_length=1)",
        CODE + "train(model, args=SFTConfig(max_seq_length=1))",
    ],
)
def test_calls_are_found_wherever_they_stand(code: str, found: Found) -> None:
    assert refused(found(code)) == {"max_seq_length"}


@pytest.mark.parametrize("around", ["try:\n    {}\nexcept TypeError:\n    pass",
                                    "with pytest.raises(TypeError):\n    {}"])  # fmt: skip
def test_code_that_expects_the_error_gets_a_note(around: str, found: Found) -> None:
    code = CODE + "import pytest\n" + around.format("SFTConfig(max_seq_length=1)")
    assert [f.severity for f in found(code)] == ["note"]


def test_a_name_bound_twice_is_not_guessed_in_a_function(found: Found) -> None:
    code = CODE + "c = {'no_cuda': 1}\ndef f():\n    SFTConfig(**c)\nf()\nc = {'seed': 1}\nf()"
    assert {f.severity for f in found(code)} == {"unknown"}


def test_a_name_that_moved_is_found_again(found: Found) -> None:
    """The new place is looked up in the installed package, and it is right."""
    for finding in found("from trl import ORPOTrainer, GKDTrainer"):
        module, name = finding.fix.split("from ")[1].split(" import ")
        assert installed.find(f"{module}.{name}")[0] == "found"


def test_parts_of_signatures_that_only_the_source_tells() -> None:
    """Read from `kwargs` by name, one by one, in the loader behind the Auto class."""
    read = sources.reads("transformers.AutoModelForCausalLM.from_pretrained")
    assert {"dtype", "device_map", "attn_implementation", "quantization_config"} <= read
    assert not {"load_in_4bit", "use_auth_token"} & read
    assert sources.trainer_reads("dataset_kwargs") == {"skip_prepare_dataset"}
    assert sources.swallowed("transformers.BitsAndBytesConfig") == frozenset()
    for path in ("transformers.GenerationConfig", "datasets.load_dataset", "transformers.pipeline"):
        assert sources.swallowed(path) is None, path


def test_looking_does_not_change_the_process() -> None:
    import logging
    import os
    import warnings

    before = dict(os.environ), logging.root.manager.disable, list(warnings.filters)
    for path, value in itertools.product(["trl.SFTConfig"], [("fsdp", "full_shard"), ("tf32", 1)]):
        values.verdict(path, *value)
    assert (dict(os.environ), logging.root.manager.disable, list(warnings.filters)) == before


@relaxed
@given(start=st.integers(0, 9000), length=st.integers(0, 400), more=st.text())
def test_no_text_brings_lint_down(start: int, length: int, more: str, tmp_path: Path) -> None:
    """Pieces of this file, cut anywhere and with rubbish inside, as script, Markdown, YAML."""
    text = Path(__file__).read_text("utf-8")[start : start + length]
    text = text[: length // 2] + more + text[length // 2 :]
    cell = {"cell_type": "code", "source": text.splitlines(keepends=True), "metadata": {}}
    for name, content in {
        "a.py": text,
        "b.md": f"```python\n{text}\n```",
        "c.ipynb": json.dumps({"cells": [cell, cell]}),
        "d.yaml": f"model_name_or_path: x\n{text}",
    }.items():
        (tmp_path / name).write_text(content, "utf-8", "surrogatepass", newline="")
    report = lint([tmp_path], repair=True)
    assert report.files + len(report.unreadable) == 4
