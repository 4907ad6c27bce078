"""`sft-helpers clean`: exit codes, the report, and what must never be overwritten."""

from __future__ import annotations

import json

import pytest

from data.make.dirty import dirty_rows, eval_rows
from sft_helpers.cleaning import clean
from sft_helpers.cli import build_parser
from sft_helpers.errors import DataError, EnvironmentProblem


def run(*words: object) -> int:
    args = build_parser().parse_args(["clean", *map(str, words)])
    return int(args.run(args))


def write(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


@pytest.fixture
def files(tmp_path):
    rows = [row for row in dirty_rows()[0][:400]]
    return write(tmp_path / "in.jsonl", rows), write(tmp_path / "eval.jsonl", eval_rows()), rows


def test_the_command_gives_what_clean_gives(files, tmp_path, capsys):
    source, held_out, rows = files
    before = source.read_bytes()
    out, told = tmp_path / "new" / "out.jsonl", tmp_path / "report.json"
    assert run(source, out, "--eval", held_out, "--report", told) == 1  # some are no conversations
    wanted = clean(rows, eval_rows=eval_rows())
    assert [json.loads(line) for line in out.read_text("utf-8").splitlines()] == wanted.rows
    report = json.loads(told.read_text())
    assert report["rows_in"] == 400 == report["rows_kept"] + report["rows_dropped"]
    assert report["rows_kept"] == wanted.report.rows_kept
    assert report["thresholds"]["max_tokens"] == 1024
    assert source.read_bytes() == before
    assert "near_duplicate" in capsys.readouterr().out


def test_json_and_exit_code_zero(tmp_path, capsys):
    rows = [{"messages": [{"role": "user", "content": "Who?"},
                          {"role": "assistant", "content": "Ada."}]}]  # fmt: skip
    source = write(tmp_path / "in.jsonl", rows)
    assert run(source, tmp_path / "out.jsonl", "--json") == 0
    assert json.loads(capsys.readouterr().out)["rows_kept"] == 1
    assert run(source, tmp_path / "none.jsonl", "--set", "min_chars=99", "--json") == 1
    assert (tmp_path / "none.jsonl").read_text() == ""


def test_unreadable_lines_are_counted(tmp_path, capsys):
    source = tmp_path / "in.jsonl"
    good = {"messages": [{"role": "user", "content": "Who?"},
                         {"role": "assistant", "content": "Ada."}]}  # fmt: skip
    source.write_text(json.dumps(good) + '\n{"messages": [\n17\n')
    assert run(source, tmp_path / "out.jsonl", "--json") == 1
    report = json.loads(capsys.readouterr().out)
    assert (report["rows_in"], report["rows_kept"]) == (3, 1)


def test_rules_and_thresholds_can_be_set(files, tmp_path, capsys):
    source, *_ = files
    words = ("--rule", "refusal=keep", "--set", "near_duplicate=0.9", "--set", "min_chars=3")
    run(source, tmp_path / "out.jsonl", "--json", *words, "--set", "names_must_agree=false")
    report = json.loads(capsys.readouterr().out)
    actions = {line["rule"]: line["action"] for line in report["rules"]}
    assert actions["refusal"] == "keep"
    assert report["thresholds"]["near_duplicate"] == 0.9
    assert report["thresholds"]["names_must_agree"] is False


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--rule", "refusals=keep"), "there is no rule"),
        (("--rule", "refusal=burn"), "unknown action"),
        (("--rule", "refusal"), "not NAME=VALUE"),
        (("--set", "max=3"), "there is no threshold"),
        (("--set", "min_chars=few"), "not a int"),
        (("--set", "names_must_agree=perhaps"), "not a bool"),
        (("--samples", "-1"), "0 or more"),
        (("--eval", "missing.jsonl"), "missing"),
    ],
)
def test_mistakes_are_named_and_nothing_is_written(files, tmp_path, words, said):
    out = tmp_path / "out.jsonl"
    with pytest.raises(DataError, match=said):
        run(files[0], out, *words)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["eval.jsonl", "in.jsonl"]


def test_nothing_is_overwritten(files, tmp_path):
    source, held_out, _ = files
    out = write(tmp_path / "out.jsonl", [])
    with pytest.raises(DataError, match="exists already"):
        run(source, out)
    with pytest.raises(DataError, match="exists already"):
        run(source, tmp_path / "new.jsonl", "--report", out)
    for target in (source, held_out):
        with pytest.raises(DataError, match="replace the input"):
            run(source, target, "--eval", held_out, "--force")
    with pytest.raises(DataError, match="two files"):
        run(source, tmp_path / "a.jsonl", "--report", tmp_path / "a.jsonl")
    with pytest.raises(DataError, match="not written here"):
        run(source, tmp_path / "out.txt")
    assert run(source, out, "--force") == 1


def test_other_formats_are_sent_to_convert(tmp_path):
    source = write(tmp_path / "in.jsonl", [{"instruction": "Who?", "output": "Ada."}])
    with pytest.raises(DataError, match="no row is a conversation") as caught:
        run(source, tmp_path / "out.jsonl")
    assert "sft-helpers convert" in str(caught.value)
    assert not (tmp_path / "out.jsonl").exists()


def test_a_folder_that_cannot_be_written(files, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(EnvironmentProblem, match="cannot write"):
        run(files[0], tmp_path / "file" / "out.jsonl")
