"""`sft-helpers preflight`: what it takes, prints and returns, and how it refuses."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import Any

import pytest

from sft_helpers.cli import build_parser
from sft_helpers.errors import SFTHelpersError
from sft_helpers.preflight import CODES
from tests.preflight.cases import CONFIG, ROOT, rows

MODEL = ROOT / "data" / "town" / "base"


def command(*words: str) -> int:
    args = build_parser().parse_args(["preflight", *words])
    return int(args.run(args))


@pytest.fixture
def config(tmp_path: Path) -> Any:
    """Writes a config file and its data: config(rows, more lines, plain replacements)."""

    def write(data: list[Any] | None = None, more: str = "", **swap: str) -> str:
        lines = [json.dumps(row) for row in (rows() if data is None else data)]
        file = tmp_path / "train.jsonl"
        file.write_text("\n".join(lines) + "\n", encoding="utf-8")
        text = CONFIG.format(model=MODEL, data=file) + more
        for old, new in swap.items():
            text = re.sub(rf"^(\s*){old}:.*$", rf"\1{old}: {new}", text, flags=re.M)
        path = tmp_path / "sft.yaml"
        path.write_text(text, encoding="utf-8")
        return str(path)

    return write


def refusal(*words: str) -> str:
    with pytest.raises(SFTHelpersError) as caught:
        command(*words)
    assert caught.value.hint
    return str(caught.value)


def test_a_sound_config_gives_zero(config: Any, capsys: pytest.CaptureFixture[str]) -> None:
    assert command("--config", config()) == 0
    said = capsys.readouterr().out
    for part in ("rows", "tokens", "in the loss", "end with end token", "steps per epoch",
                 "tokens per step", "memory"):  # fmt: skip
        assert part in said
    assert "nothing stops this run" in said or "Nothing to say" in said


def test_an_error_gives_one_and_names_the_line(
    config: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    data = rows()
    data[4] = {"messages": [data[4]["messages"][0], {"role": "assistant", "content": ""}]}
    assert command("--config", config(data)) == 1
    said = capsys.readouterr().out
    assert "data.empty_turn" in said
    assert "line 5" in said
    assert "notebooks/01_data_formats.ipynb#" in said
    assert "mend the errors first" in said


def test_json_is_one_object_in_the_published_form(
    config: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    data = rows()
    data[4] = {"messages": [data[4]["messages"][0]]}
    assert command("--config", config(data), "--json") == 1
    found = json.loads(capsys.readouterr().out)
    assert set(found) == {"findings", "facts", "versions"}
    for one in found["findings"]:
        assert {"code", "severity", "rows", "count", "message", "fix", "lesson"} <= set(one)
        assert one["code"] in CODES
    assert {"supervised_fraction", "truncated_rate", "ends_with_eos", "steps",
            "tokens_per_step"} <= set(found["facts"])  # fmt: skip
    assert found["versions"]["trl"]


def test_train_and_eval_files_take_the_place_of_those_it_names(
    config: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    path = config()
    data = str(ROOT / "data" / "formats" / "messages.parquet")
    held_out = str(ROOT / "data" / "formats" / "messages.csv")
    code = command("--config", path, "--train", data, "--json")
    facts = json.loads(capsys.readouterr().out)["facts"]
    assert (code, facts["rows"]) == (0, 200)
    command("--config", path, "--train", data, "--eval", data, "--json")
    codes = {one["code"] for one in json.loads(capsys.readouterr().out)["findings"]}
    assert {"data.split_overlap", "config.eval_never_runs"} <= codes
    command("--config", path, "--train", held_out, "--json")
    assert "data.unsupported_format" in capsys.readouterr().out


def test_the_evaluation_split_of_a_config_is_read(
    config: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    path = config(more="eval_strategy: epoch\ntest_split_size: 0.25\n")
    command("--config", path, "--json")
    assert json.loads(capsys.readouterr().out)["facts"]["rows"] == 30
    missing = config(more="eval_strategy: epoch\n")
    assert "no split 'test', only train" in refusal("--config", missing)


def test_names_that_nobody_knows_are_findings(
    config: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command("--config", config(more="max_seq_length: 64\nnum_processes: 1\n"), "--json") == 1
    found = json.loads(capsys.readouterr().out)["findings"]
    (one,) = [each for each in found if each["code"] == "config.unknown_argument"]
    assert "max_seq_length" in one["message"]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "the file is empty"),
        ("# nothing yet\n", "the file is empty"),
        ("a: [1, 2\nb: 3\n", "not valid YAML"),
        ("- a\n- b\n", "a config is a mapping"),
        ("\x00", "not valid YAML"),
    ],
)
def test_a_file_that_is_no_config(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "sft.yaml"
    path.write_text(text, encoding="utf-8")
    words = refusal("--config", str(path))
    assert said in words
    assert str(path) in words


def test_no_such_file(tmp_path: Path, config: Any) -> None:
    assert "cannot be read" in refusal("--config", str(tmp_path / "none.yaml"))
    assert "cannot be read" in refusal("--config", str(tmp_path))
    (tmp_path / "latin.yaml").write_bytes(b"a: caf\xe9\n")
    assert "not UTF-8" in refusal("--config", str(tmp_path / "latin.yaml"))
    assert "no such file" in refusal("--config", config(), "--train", "none.jsonl")
    (tmp_path / "notes.txt").write_text("x")
    assert "type .txt" in refusal("--config", config(), "--train", str(tmp_path / "notes.txt"))


@pytest.mark.parametrize(
    ("swap", "said"),
    [
        ({"learning_rate": "fast"}, "learning_rate"),
        ({"report_to": "none\nlr_scheduler_type: cosin"}, "cosin"),
        ({"report_to": "none\nsave_strategy: sometimes"}, "sometimes"),
        ({"split": "train\n    rows: 3"}, "rows"),
        ({"report_to": "none\nuse_peft: true\nload_in_4bit: true\nload_in_8bit: true"}, "8 bit"),
    ],
)
def test_what_trl_rejects(config: Any, swap: dict[str, str], said: str) -> None:
    words = refusal("--config", config(**swap))
    assert "TRL rejects" in words
    assert said in words


def test_models_and_data_that_are_not_here(config: Any) -> None:
    assert "nobody/nothing" in refusal("--config", config(model_name_or_path="nobody/nothing"))
    assert "names no model" in refusal("--config", config(model_name_or_path=""))
    assert "without a network" in refusal("--config", config(**{"- path": "nobody/nothing"}))
    assert "without a network" in refusal("--config", config(data_files="none.jsonl"))


def test_an_empty_data_file(config: Any, tmp_path: Path) -> None:
    path = config()
    (tmp_path / "train.jsonl").write_text("")
    assert refusal("--config", path)
    (tmp_path / "more.jsonl").write_text("")
    assert "the file is empty" in refusal("--config", path, "--train", str(tmp_path / "more.jsonl"))


def test_a_file_that_datasets_cannot_load_is_looked_at_row_by_row(
    config: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = config()
    good = json.dumps(rows()[0])
    (tmp_path / "train.jsonl").write_text(f'{good}\n{good}\n{{"messages": [{{"ro\n{good}\n')
    assert command("--config", path, "--json") == 1
    found = json.loads(capsys.readouterr().out)
    by_code = {one["code"]: one for one in found["findings"]}
    assert by_code["data.unreadable"]["places"] == ["line 3"]
    assert "data.refused" in by_code
    assert found["facts"] == {"rows": 4}


def test_a_file_that_is_not_utf_8_is_looked_at_row_by_row(
    config: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """`datasets` loads it, and fails only when a row is read."""
    path = config()
    good = json.dumps(rows()[0]).encode()
    bad = good.replace(b'"content": "', b'"content": "Caf\xe9. ')
    (tmp_path / "train.jsonl").write_bytes(good + b"\n" + bad + b"\n")
    assert command("--config", path, "--json") == 1
    by_code = {one["code"]: one for one in json.loads(capsys.readouterr().out)["findings"]}
    assert by_code["data.unreadable"]["places"] == ["line 2"]
    assert "not UTF-8" in by_code["data.refused"]["message"]


def test_nothing_is_written_and_the_environment_is_left_alone(config: Any, tmp_path: Path) -> None:
    path = config(more="env:\n  SFT_LEFT_BEHIND: '1'\n", report_to="none\noutput_dir: made")
    before = {file: file.stat().st_mtime_ns for file in tmp_path.rglob("*") if file.is_file()}
    variables = dict(os.environ)
    command("--config", path)
    after = {file: file.stat().st_mtime_ns for file in tmp_path.rglob("*") if file.is_file()}
    assert after == before
    assert dict(os.environ) == variables
    assert not Path("made").exists()


def test_a_config_for_another_machine_is_read_all_the_same(
    config: Any, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    import torch

    if torch.cuda.is_available():
        pytest.skip("this machine has the card")
    command("--config", config(use_cpu="false", bf16="true"), "--json")
    found = json.loads(capsys.readouterr().out)
    assert found["facts"]["tokens"] > 0
    assert "config.precision_unsupported" in {one["code"] for one in found["findings"]}


def test_text_of_the_data_cannot_command_the_terminal(
    config: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    data = rows()
    data[2]["messages"][0]["role"] = "\x1b[2J[bold]\u202e"
    command("--config", config(data))
    said = capsys.readouterr().out
    assert "\x1b" not in said
    assert "\u202e" not in said
    assert "[bold]" in said


@pytest.mark.parametrize("name", ["sft_qwen05b_lora_t4.yaml", "sft_qwen7b_qlora_4090.yaml"])
def test_the_recipes_of_the_kit_parse(name: str) -> None:
    """Their models are not here: that, and nothing about the file, is what is said."""
    recipe = ROOT / "data" / "recipes" / name
    data = str(ROOT / "data" / "formats" / "messages.jsonl")
    assert "Qwen/Qwen2.5" in refusal("--config", str(recipe), "--train", data)
