"""What to do about memory, on the command line and before it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from sft_helpers.cli import build_parser
from sft_helpers.errors import SFTHelpersError
from sft_helpers.memory import again, predict
from sft_helpers.memory.plan import knobs, largest_batch
from sft_helpers.preflight.memory import asked_by
from sft_helpers.town import data_dir

RECIPE = data_dir().parent / "recipes" / "sft_qwen7b_qlora_4090.yaml"


def run(*arguments: Any) -> int:
    args = build_parser().parse_args(["memory", *map(str, arguments)])
    return int(args.run(args))


@pytest.mark.parametrize("method", ["full", "lora", "qlora"])
@pytest.mark.parametrize(("length", "card"), [(256, 0.2), (512, 0.2), (40, 0.05)])
def test_the_largest_batch_fits_and_one_more_does_not(
    method: str, length: int, card: float
) -> None:
    account = predict("tiny", method=method, length=length, batch=1, checkpointing=length > 256)
    rows = largest_batch(account, card)
    assert rows > 4
    assert again(account, batch=rows).fits(card)
    assert not again(account, batch=rows + 1).fits(card)
    assert largest_batch(account, 0.001) == 0


def test_knobs_are_predicted_anew() -> None:
    account = predict("tiny", method="full", length=256, batch=4, checkpointing=False)
    found = knobs(account)
    assert [knob.freed for knob in found] == sorted((k.freed for k in found), reverse=True)
    names = " ".join(knob.name for knob in found)
    wanted = ("batch 2", "length 128", "checkpointing", "LoRA", "8-bit")
    assert all(word in names for word in wanted)
    for knob in found:
        assert knob.freed == account.peak_bytes - knob.account.peak_bytes


def test_the_command_tells_all(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("tiny", "--method", "qlora", "--length", 256, "--json") == 0
    told = json.loads(capsys.readouterr().out)
    assert told["peak_bytes"] == sum(told["components"].values())
    assert told["cards"] == {str(card): True for card in (8, 16, 24, 48, 80)}
    assert told["card"] == 24
    assert told["largest_batch"] > 100
    assert told["left_out"]
    assert run("tiny", "--method", "full", "--length", 256, "--card", 0.01) == 1
    text = capsys.readouterr().out
    for words in ("Largest batch on 0.01 GB: 0 rows", "What frees most", "a T4 has no bf16"):
        assert words in text
    assert run("tiny", "--length", 64, "--rank", 2, "--precision", "fp16") == 0
    assert "a T4 has no bf16" not in capsys.readouterr().out


def test_a_file_for_trl_is_read(tmp_path: Path) -> None:
    found = asked_by(RECIPE)
    assert found["model"] == "Qwen/Qwen2.5-7B-Instruct"
    assert (found["method"], found["length"], found["batch"]) == ("qlora", 2048, 2)
    assert found["weights"] == "bfloat16"
    assert found["quantization_config"].bnb_4bit_use_double_quant
    assert found["peft_config"].r == 16
    assert found["peft_config"].target_modules == "all-linear"
    file = tmp_path / "sft.yaml"
    file.write_text("model_name_or_path: tiny\n")
    usual = asked_by(file)  # TRL's defaults
    assert (usual["method"], usual["length"], usual["weights"]) == ("full", 1024, "float32")
    assert (usual["batch"], usual["checkpointing"], usual["packing"]) == (8, True, False)


@pytest.mark.parametrize(
    ("model", "dtype"), [("Qwen/Qwen2.5-0.5B", "bfloat16"), ("tiny", "float32")]
)
def test_dtype_auto_is_the_published_one(model: str, dtype: str, tmp_path: Path) -> None:
    file = tmp_path / "sft.yaml"
    file.write_text("dtype: auto\nload_in_4bit: true\nuse_peft: true\nmodel_name_or_path: " + model)
    found = asked_by(file)
    assert found["weights"] == dtype
    assert str(found["quantization_config"].bnb_4bit_compute_dtype) == f"torch.{dtype}"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("max_length: null\n", "max_length is null"),
        ("load_in_8bit: true\n", "8-bit"),
        ("- a\n", "mapping"),
        ("learning_rate: fast\n", "TRL rejects"),
        (None, "cannot be read"),
    ],
)
def test_a_file_that_says_too_little_is_refused(
    text: str | None, words: str, tmp_path: Path
) -> None:
    file = tmp_path / "sft.yaml"
    if text is not None:
        file.write_text(text)
    with pytest.raises(SFTHelpersError, match=words):
        run("tiny", "--config", file)


def test_a_length_on_the_command_line_is_enough(tmp_path: Path) -> None:
    file = tmp_path / "sft.yaml"
    file.write_text("model_name_or_path: tiny\nmax_length: null\n")
    assert run("--config", file, "--length", 64) == 0


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["Qwen2.5-70B"], "did you mean Qwen2.5-7B"),
        (["tiny", "--length", "0"], "length 0 is impossible"),
        (["tiny", "--length", "513"], "has 512 positions"),
        (["tiny", "--batch", "-1"], "batch -1 is impossible"),
        (["tiny", "--rank", "0"], "rank 0 is impossible"),
        (["tiny", "--length", "64", "--card", "-2"], "-2 GB is impossible"),
        (["tiny", "--length", "64", "--card", "0"], "0 GB is impossible"),
        (["tiny", "--length", "64", "--optimizer", "fastest"], "fastest"),
        ([], "which model"),
    ],
)
def test_what_cannot_be_is_said(arguments: list[str], words: str) -> None:
    with pytest.raises(SFTHelpersError) as caught:
        run(*arguments)
    assert words in str(caught.value)
