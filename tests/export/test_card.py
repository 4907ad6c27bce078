"""The card: the Hub's format, nothing from outside that acts; and what goes to the Hub."""

from __future__ import annotations

import re

import pytest

from sft_helpers.errors import DataError, EnvironmentProblem
from sft_helpers.export.card import model_card, push

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

    from sft_helpers.evaluation import Interval

    card = ModelCard(model_card(**RECORD, license="apache-2.0"))
    assert card.data.base_model == "owner/base"
    first, second = card.data.eval_results
    assert (first.metric_name, first.metric_value) == ("exact match", 0.9)
    assert first.metric_args == {"low": 0.85, "high": 0.95}
    assert second.metric_value == 1.0
    for said in ("0.85 to 0.95 (95%)", '"learning_rate": 0.001', "1.16.0", "* It knows few"):
        assert said in card.text
    scores = {"exact match": Interval(0.5, 0.4, 0.6, 0.9)}
    assert "0.4 to 0.6 (90%)" in model_card(**RECORD | {"scores": scores})


def test_the_card_is_safe_and_tells_no_paths():
    from huggingface_hub import ModelCard
    from markdown_it import MarkdownIt  # comes with rich

    evil = "x | y\n---\nlicense: mit\n---\n```\n<script>1</script> [a](http://b) `c` # d {{ x }}"
    record = {"model": evil, "base": "/home/me/secret/base", "data": {evil: evil}, "limits": [evil]}
    record |= {"scores": {evil: {"value": 1, "data": evil}}, "summary": evil}
    card = ModelCard(model_card(**RECORD | record))
    assert card.data.license is None
    assert card.data.base_model is None
    assert len(card.data.eval_results) == 1
    html = MarkdownIt("commonmark").enable("table").render(card.text)
    assert not re.search("<(script|a|em|strong) ?", html)
    assert [html.count(tag) for tag in ("<h1>", "<h2>", "<table>", "<pre>")] == [1, 5, 1, 3]
    assert "/home/me" not in card.content


def test_the_card_says_what_was_not_recorded():
    empty = {"data": {}, "recipe": {}, "scores": {}, "versions": {}, "limits": []}
    assert model_card(**RECORD | empty).count("Not recorded.") == 5
    with pytest.raises(DataError, match="not a finite number"):
        model_card(**RECORD | {"scores": {"loss": float("nan")}})
    with pytest.raises(DataError, match="name of the model"):
        model_card(**RECORD | {"model": " "})


def test_push_is_a_dry_run_and_leaves_pickles(tmp_path, monkeypatch):
    calls = []

    class Api:
        def create_repo(self, repository, **options):
            calls.append((repository, options))

        def upload_folder(self, **options):
            calls.append(options["allow_patterns"])

    with pytest.raises(DataError, match=r"no README\.md"):
        push(tmp_path, "me/model")
    for name in ("README.md", "model.safetensors", "training_args.bin", ".env", "run.json"):
        (tmp_path / name).write_text("x")
    (tmp_path / "checkpoint-1").mkdir()
    monkeypatch.setattr("huggingface_hub.HfApi", lambda: pytest.fail("the Hub was called"))
    plan = push(tmp_path, "me/model")
    assert plan["files"] == {"README.md": 1, "model.safetensors": 1}
    assert set(plan["left_out"]) == {"training_args.bin", ".env", "run.json", "checkpoint-1"}
    assert (plan["private"], plan["done"]) == (True, False)
    for bad in ("model", "me/mo del", "../x"):
        with pytest.raises(DataError):
            push(tmp_path, bad)
    monkeypatch.setattr("huggingface_hub.HfApi", Api)
    assert push(tmp_path, "me/model", dry_run=False)["done"]
    assert calls[0] == ("me/model", {"private": True, "exist_ok": True})
    assert calls[1] == ["README.md", "model.safetensors"]
    Api.create_repo = lambda *a, **k: (_ for _ in ()).throw(OSError("no route"))
    with pytest.raises(EnvironmentProblem, match="did not take it"):
        push(tmp_path, "me/model", dry_run=False)
