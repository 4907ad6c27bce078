"""The command line: each command's options, and for cheap calls the exit code and the JSON keys.

Wording of `--help` and of messages is free. What is held: options with metavar, default, choices
and arity; exit codes 0 (done), 1 (something is wrong), 2 (cannot run); the keys of `--json`.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.golden.compare import ROOT, compare


# --- where the package is asked ----------------------------------------------------------------
def parser() -> argparse.ArgumentParser:
    from sft_helpers.cli import build_parser

    return build_parser()


def call(words: list[str]) -> int:
    from sft_helpers.cli import main

    return main(words)


# --- options -----------------------------------------------------------------------------------


def commands() -> dict[str, argparse.ArgumentParser]:
    [group] = [a for a in parser()._actions if isinstance(a, argparse._SubParsersAction)]
    return group.choices


def test_every_command_takes_the_options_that_it_took() -> None:
    found = {}
    for name, command in commands().items():
        for action in command._actions:
            if isinstance(action, argparse._HelpAction):
                continue
            default = action.default
            found[f"{name} {'/'.join(action.option_strings) or action.dest}"] = {
                "metavar": action.metavar,
                "default": str(default) if isinstance(default, Path) else default,
                "choices": list(action.choices) if action.choices else None,
                "nargs": action.nargs,
                "required": action.required,
                "repeats": isinstance(action, argparse._AppendAction),
            }
    compare("cli_options.json", found)


@pytest.mark.parametrize("name", commands())
def test_help_is_there(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match=r"^0$"):
        call([name, "--help"])
    assert f"sft-helpers {name}" in capsys.readouterr().out


# --- calls -------------------------------------------------------------------------------------

DATA = ROOT / "data"
TURNS = [{"role": "user", "content": "Who?"}, {"role": "assistant", "content": "It is Ada."}]
CONFIG = {
    "model_name_or_path": str(DATA / "town/base"),
    "assistant_only_loss": True,
    "use_cpu": True,
    "bf16": False,
    "activation_checkpointing": False,
    "max_length": 128,
    "max_steps": 1,
    "learning_rate": 1e-3,
    "per_device_train_batch_size": 4,
    "logging_steps": 1,
}
BAD = {"use_peft": True, "lora_target_modules": ["nothing_like_it"], "lora_task_type": "CAUSAL_LM"}
RECORD = {"name": "quickstart-1", "status": "ok", "notebook": "00_quickstart", "time": 1}

# Calls in the folder that `place` fills; a word `NAME=VALUE` in front sets the environment.
CALLS = """
build-solutions --notebooks {root}/notebooks --out solved
build-solutions --notebooks broken --out solved2
class-report class --json
class-report class-damaged --json
class-report empty
clean good.jsonl clean.jsonl --json
clean some.jsonl clean2.jsonl --report report.json --json
clean good.jsonl good.jsonl
clean none.jsonl clean3.jsonl
clean good.jsonl clean4.jsonl --rule nonsense=drop
clean good.jsonl clean5.jsonl --set max_tokens=much
convert {root}/data/formats/alpaca.jsonl rows.jsonl --json
convert some.jsonl rows2.jsonl --json
convert none.jsonl rows3.jsonl
convert good.jsonl good.jsonl
convert good.jsonl rows4.docx
doctor --json
SFT_PROFILE=nonsense doctor --json
doctor --nonsense
export {root}/data/town/base --push owner/name --json
export adapter --gguf
export empty --merge
export {root}/data/town/base --upload
lint good.py --json
lint bad.py --json
lint none.py
lint good.py none.py --json
memory no-such-model
memory
preflight --config good.yaml --json
preflight --config bad.yaml --json
preflight --config none.yaml
preflight --config broken.yaml
preflight
progress --file record.jsonl --json
progress --file damaged.jsonl --json
progress --file none.jsonl
progress --file record.jsonl --hand-in mine.jsonl
quickstart --out full
quickstart --out good.jsonl/run
quickstart --questions many
run bad.yaml --questions 2 --json
run none.yaml
run broken.yaml
nonsense

--help
--nonsense
"""
# These train, merge or predict: half a minute together.
SLOW_CALLS = """
export {root}/data/town/base --merge --out merged --json
memory tiny --card 24 --length 64 --json
memory tiny --card 0.001 --length 64 --json
quickstart --out model --questions 4 --json
run good.yaml --questions 2 --json
"""


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with good, bad and broken files."""
    folder = tmp_path_factory.mktemp("cli")
    rows = [json.loads(line) for line in (DATA / "own/chats.jsonl").open(encoding="utf-8")][:24]
    where = {"path": "json", "data_files": str(folder / "good.jsonl"), "split": "train"}
    texts = {
        "good.jsonl": "".join(json.dumps({"messages": row["messages"]}) + "\n" for row in rows),
        "some.jsonl": json.dumps({"messages": TURNS}) + '\n{"messages": "no list"}\n',
        "good.py": "from trl import SFTConfig\n\nSFTConfig('x', max_length=64)\n",
        "bad.py": "from trl import SFTConfig\n\nSFTConfig('x', max_seq_length=64)\n",
        "record.jsonl": json.dumps(RECORD) + "\n",
        "damaged.jsonl": json.dumps(RECORD) + "\n{cut off",
        "broken.yaml": "a: [\n",
        "broken/01_data_formats.ipynb": "no notebook",
        "adapter/adapter_config.json": "{}",
        "class-damaged/a.jsonl": "{}",
        "empty/none.txt": "",
        "full/none.txt": "",
        "class/none.txt": "",
    }
    for name, more in {"good": {}, "bad": BAD}.items():
        config = CONFIG | {"datasets": [where], "output_dir": str(folder / f"out-{name}")} | more
        texts[f"{name}.yaml"] = yaml.safe_dump(config)
    for name, text in texts.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(text, encoding="utf-8")
    call(["progress", "--file", str(folder / "record.jsonl"), "--hand-in",
          str(folder / "class/ada.jsonl")])  # fmt: skip
    return folder


def keys(value: Any, path: str = "") -> set[str]:
    """The paths of all keys in a JSON value: `findings[].code`."""
    if isinstance(value, dict):
        return {path} | {k for name, v in value.items() for k in keys(v, f"{path}.{name}")} - {""}
    if isinstance(value, list):
        return {f"{path}[]"} | {k for item in value for k in keys(item, f"{path}[]")}
    return {path}


@pytest.mark.parametrize(
    ("golden", "lines"),
    [
        ("cli_calls.json", CALLS),
        pytest.param("cli_calls_slow.json", SLOW_CALLS, marks=pytest.mark.slow),
    ],
)
def test_calls_end_as_they_did(
    golden: str,
    lines: str,
    place: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    found = {}
    monkeypatch.chdir(place)
    for line in lines.strip().splitlines():
        words = line.format(root=ROOT).split()
        with monkeypatch.context() as patch:
            if words and "=" in words[0]:
                patch.setenv(*words.pop(0).split("="))
            try:
                code = call(words)
            except SystemExit as left:  # argparse does not know the words
                code = left.code
        out, err = capsys.readouterr()
        entry = found[f"sft-helpers {line}".strip()] = {"exit": code}
        if "--json" in words and code in (0, 1):
            entry["keys"] = sorted(key.lstrip(".") for key in keys(json.loads(out)) if key)
            if words[0] == "doctor":  # what it finds differs from machine to machine
                entry["keys"] = [k for k in entry["keys"] if not k.startswith("findings[].")]
        if code == 2:
            assert err.strip(), line
            assert "Traceback" not in err, line
    compare(golden, found)
