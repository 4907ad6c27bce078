"""`sft-helpers export`: everything is made and checked, or it says why not."""

from __future__ import annotations

import json

import pytest

from sft_helpers.cli import main
from tests.export.test_card import RECORD


def command(*words):
    return main(["export", *map(str, words)])


@pytest.mark.loopback
@pytest.mark.slow
def test_the_command_hands_everything_over(converter, engine, adapter, tmp_path, capsys):
    out = tmp_path / "out"
    assert command(adapter[0], "--out", out, "--json") == 0
    report = json.loads(capsys.readouterr().out)
    assert report["checks"]["parity"] == 1
    assert report["checks"]["same_next_token"] == 1
    assert report["checks"]["reload_max_logit_difference"] == 0
    assert {"README.md", "model-q8_0.gguf", "model.safetensors"} <= set(report["files"])
    assert "--qlora" in report["not_recorded"]
    record = tmp_path / "run.json"
    record.write_text(json.dumps(RECORD))
    assert command(out, "--card", record, "--push", "me/x") == 0
    assert "Dry run" in capsys.readouterr().out
    assert "Lantern Bay" in (out / "README.md").read_text()


@pytest.mark.slow
def test_a_model_that_the_converter_refuses_is_a_problem_and_the_rest_is_done(
    converter, base, random_model, tmp_path, capsys
):
    import copy

    from tokenizers import pre_tokenizers

    other = copy.deepcopy(base[1])
    other.backend_tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    folder = random_model("Llama", other, tmp_path / "m")
    assert command(folder, "--out", tmp_path / "out") == 1
    said = capsys.readouterr().out
    assert "no GGUF file" in said
    assert "hash of token ids" in said
    assert not list((tmp_path / "out").glob("*gguf*"))
    assert (tmp_path / "out" / "README.md").is_file()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["{adapter}", "--gguf"], "servers take a whole model"),
        (["{adapter}", "--upload"], "--upload needs"),
        (["{tmp}/nowhere", "--merge"], "is no folder"),
        (["{adapter}", "--merge", "--card", "{tmp}/none.json"], "cannot be read"),
        (["{adapter}", "--merge", "--out", "{tmp}/out", "--card", "{tmp}/odd.json"], "nonsense"),
    ],
)
def test_what_cannot_be_done_is_said_with_exit_code_2(adapter, tmp_path, capsys, words, said):
    (tmp_path / "odd.json").write_text('{"nonsense": 1}')
    assert command(*(word.format(adapter=adapter[0], tmp=tmp_path) for word in words)) == 2
    assert said in capsys.readouterr().err


def test_without_a_converter_nothing_is_written(adapter, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("SFT_GGUF_CONVERTER", str(tmp_path / "converter"))
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path))
    assert command(adapter[0], "--out", tmp_path / "out") == 2
    assert "converter is not on this machine" in capsys.readouterr().err
    assert not list(tmp_path.glob("o*"))
