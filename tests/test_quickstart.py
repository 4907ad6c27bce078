"""The command line: quickstart, as a user meets it."""

import json

import pytest

from sft_helpers import cli, quickstart, town


def test_without_a_command_help_is_printed(capsys):
    assert cli.main([]) == 0
    out = capsys.readouterr().out
    assert "quickstart" in out
    assert "Exit codes" in out


@pytest.mark.parametrize("command", ["quickstart", "doctor"])
def test_every_command_explains_itself(command, capsys):
    with pytest.raises(SystemExit) as exit_:
        cli.main([command, "--help"])
    assert exit_.value.code == 0
    assert "--json" in capsys.readouterr().out


def test_an_unwritable_folder_is_refused_before_anything_runs(tmp_path, capsys):
    blocked = tmp_path / "file"
    blocked.write_text("")
    assert cli.main(["quickstart", "--out", str(blocked / "run")]) == 2
    error = capsys.readouterr().err
    assert "--out" in error
    assert "Traceback" not in error


def test_a_folder_of_the_users_own_is_not_replaced(tmp_path, capsys):
    (tmp_path / "thesis.txt").write_text("years of work")
    assert cli.main(["quickstart", "--out", str(tmp_path)]) == 2
    assert (tmp_path / "thesis.txt").exists()
    assert "did not make" in capsys.readouterr().err


def test_a_missing_town_names_the_command(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("SFT_DATA", str(tmp_path))
    assert cli.main(["quickstart", "--out", str(tmp_path / "run")]) == 2
    assert "make town" in capsys.readouterr().err


def test_no_question_is_refused_before_anything_is_trained(tmp_path, capsys):
    assert cli.main(["quickstart", "--out", str(tmp_path / "run"), "--questions", "0"]) == 2
    assert "--questions: a score needs" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_an_interrupted_run_leaves_nothing_and_says_so(tmp_path, monkeypatch, capsys):
    def interrupt(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(quickstart, "train_and_compare", interrupt)
    assert cli.main(["quickstart", "--out", str(tmp_path / "run")]) == 130
    assert list(tmp_path.iterdir()) == []
    assert "again" in capsys.readouterr().err


def test_quickstart_trains_reports_and_saves(tmp_path, monkeypatch, capsys):
    """The whole path with a few rows: what it claims in full is asserted by the notebook."""
    whole = town.read_rows
    monkeypatch.setattr(town, "read_rows", lambda name: whole(name)[:64])
    out = tmp_path / "run"
    assert cli.main(["quickstart", "--out", str(out), "--questions", "8", "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    assert result["questions"] == 8
    assert result["train_rows"] == 64
    assert result["before"]["exact_match"]["value"] <= result["after"]["exact_match"]["value"]
    assert (out / "model.safetensors").exists() or (out / "adapter_model.safetensors").exists()
    assert [path.name for path in tmp_path.iterdir()] == ["run"]

    assert cli.main(["quickstart", "--out", str(out), "--questions", "8"]) == 0
    text = capsys.readouterr().out
    assert "Exact match" in text
    assert "00_quickstart.ipynb" in text


@pytest.mark.parametrize(
    "text", ["", "Ünïcödé — 中文 🐙", "\x00\x1b[31m", "<|im_start|>", "a\n\n\tb  c", "\u202eabc"]
)
def test_tokenizer_encodes_any_text_without_loss(text):
    from sft_helpers.models import load

    _, tokenizer = load("tiny")
    assert tokenizer.decode(tokenizer(text)["input_ids"]) == text
