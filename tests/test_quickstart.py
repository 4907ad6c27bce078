"""The command line: quickstart and build-town, as a user meets them."""

import argparse
import json
import stat

import pytest

from sft_helpers import build_town, cli, quickstart, town


def test_without_a_command_help_is_printed(capsys):
    assert cli.main([]) == 0
    out = capsys.readouterr().out
    assert "quickstart" in out
    assert "Exit codes" in out


@pytest.mark.parametrize("command", ["quickstart", "doctor", "build-town"])
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


def test_missing_town_names_build_town(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("SFT_DATA", str(tmp_path))
    assert cli.main(["quickstart", "--out", str(tmp_path / "run")]) == 2
    assert "sft-helpers build-town" in capsys.readouterr().err


def test_an_interrupted_run_leaves_nothing_and_says_so(tmp_path, monkeypatch, capsys):
    def interrupt(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(quickstart, "_train_and_compare", interrupt)
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


def _build(out, **changes):
    defaults = {"out": out, "seed": town.SEED, "data_only": True, "steps": 2, "threads": 1}
    return build_town.run(argparse.Namespace(**(defaults | {"json": False} | changes)))


def test_build_town_writes_what_is_shipped(tmp_path):
    assert _build(tmp_path) == 0
    for name in town.text_files():
        assert (tmp_path / name).read_bytes() == (town.data_dir() / name).read_bytes()


def test_build_town_pretrains_a_usable_base(tmp_path, monkeypatch, capsys):
    from transformers import AutoModelForCausalLM, AutoTokenizer

    assert _build(tmp_path, data_only=False, json=True) == 0
    manifest = json.loads(capsys.readouterr().out)
    assert "base/model.safetensors" in manifest["files"]
    model = AutoModelForCausalLM.from_pretrained(tmp_path / "base")
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "base")
    assert 0.7e6 < model.num_parameters() < 1.3e6
    assert model.generation_config.eos_token_id == tokenizer.eos_token_id
    assert tokenizer.eos_token == "<|im_end|>"
    assert tokenizer.pad_token == "<|endoftext|>"
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".build")]


def test_build_town_into_an_unwritable_place_is_a_sentence(tmp_path, capsys):
    (tmp_path / "file").write_text("")
    assert cli.main(["build-town", "--data-only", "--out", str(tmp_path / "file" / "town")]) == 2
    assert "--out" in capsys.readouterr().err


@pytest.mark.parametrize(
    "text", ["", "Ünïcödé — 中文 🐙", "\x00\x1b[31m", "<|im_start|>", "a\n\n\tb  c", "\u202eabc"]
)
def test_tokenizer_encodes_any_text_without_loss(text):
    from sft_helpers.models import load

    _, tokenizer = load("tiny")
    assert tokenizer.decode(tokenizer(text)["input_ids"]) == text


def test_shipped_base_is_small_and_every_row_fits():
    from transformers import AutoTokenizer

    base = town.data_dir() / "base"
    assert sum(path.stat().st_size for path in base.iterdir()) <= 6e6
    assert not [path for path in base.iterdir() if path.suffix in {".bin", ".pkl", ".pt"}]
    assert not (base / "model.safetensors").stat().st_mode & stat.S_IXUSR
    tokenizer = AutoTokenizer.from_pretrained(base)
    lengths = [
        len(tokenizer.apply_chat_template(row["messages"], return_dict=False))
        for name in town.text_files()
        if name.split("_")[0] in {"sft", "multi", "system", "strangers"}
        for row in town.read_rows(name)
    ]
    assert max(lengths) <= 256


def test_tokenizer_is_rebuilt_exactly():
    shipped = json.loads((town.data_dir() / "base" / "tokenizer.json").read_text())
    made = json.loads(build_town.train_tokenizer().backend_tokenizer.to_str())
    assert made["model"] == shipped["model"]
