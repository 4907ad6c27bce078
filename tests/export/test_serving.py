"""Parity of token ids between training and servers; llama.cpp in this process."""

from __future__ import annotations

import pytest

from sft_helpers.errors import DataError, EnvironmentProblem, ModelError
from sft_helpers.export.gguf import to_gguf
from sft_helpers.export.serving import LlamaCpp, check_parity


@pytest.fixture(scope="module")
def rows():
    from sft_helpers.town import read_rows

    names = ("sft_test", "multi_turn_test", "system_test")
    return [row["messages"] for name in names for row in read_rows(f"{name}.jsonl")[:4]]


def as_it_is(tokenizer):
    return lambda messages: tokenizer.apply_chat_template(
        list(messages), add_generation_prompt=True, return_dict=True
    )["input_ids"]


def test_what_differs_is_named_with_its_place(base, rows):
    tokenizer = base[1]
    right = as_it_is(tokenizer)
    servers = {
        "good": right,
        "short": lambda messages: right(messages)[:-1],
        "dead": lambda messages: (_ for _ in ()).throw(ConnectionError("refused")),
    }
    table = check_parity(tokenizer, rows, servers).groupby("server")
    assert table["equal"].mean().to_dict() == {"good": 1, "short": 0, "dead": 0}
    first = table["difference"].first()
    assert "'\\n' is missing" in first["short"]
    assert first["dead"] == "the server failed: refused"


def test_the_ids_of_training_count_when_given(base, rows):
    tokenizer, server = base[1], {"s": as_it_is(base[1])}
    ids = [tokenizer.apply_chat_template(r, return_dict=True)["input_ids"] for r in rows[:2]]
    assert check_parity(tokenizer, rows[:2], server, training=ids)["equal"].all()
    shifted = [[0, *row] for row in ids]
    assert not check_parity(tokenizer, rows[:2], server, training=shifted)["equal"].any()
    with pytest.raises(DataError, match="1 training rows for 2"):
        check_parity(tokenizer, rows[:2], server, training=ids[:1])
    with pytest.raises(DataError, match="nothing to compare"):
        check_parity(tokenizer, [], server)


@pytest.mark.loopback
@pytest.mark.slow
@pytest.mark.parametrize("kind", ["f16", "q8_0"])
def test_llama_cpp_answers_as_transformers_does(converter, engine, base, rows, tmp_path, kind):
    from sft_helpers.evaluation import ask

    model, tokenizer = base
    prompts = [row[:-1] for row in rows]
    with LlamaCpp(to_gguf("tiny", tmp_path / "m.gguf", kind)) as server:
        assert check_parity(tokenizer, rows, {"llama.cpp": server.prompt_ids})["equal"].all()
        theirs = server.answers(prompts, max_new_tokens=8)
    ours = ask(model, tokenizer, [{"messages": row} for row in rows], max_new_tokens=8)
    same = sum(one == other for one, other in zip(ours, theirs, strict=True))
    assert same >= len(rows) - 2 * (kind == "q8_0")


def test_what_is_missing_says_what_to_do(engine, tmp_path, monkeypatch):
    with pytest.raises(ModelError, match="no such file"):
        LlamaCpp(tmp_path / "nothing.gguf")
    (tmp_path / "bad.gguf").write_bytes(b"not a model")
    with pytest.raises(ModelError, match="cannot load"):
        LlamaCpp(tmp_path / "bad.gguf")
    monkeypatch.setattr("sft_helpers.export.serving.available", lambda: False)
    with pytest.raises(EnvironmentProblem, match=r"sft-helpers\[serving\]"):
        LlamaCpp(tmp_path / "bad.gguf")
