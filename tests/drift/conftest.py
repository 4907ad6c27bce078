"""Lint a text as if it were a file; tiny things that code under test can be run with."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from sft_helpers.drift import Finding, installed, lint


@pytest.fixture(scope="session", autouse=True)
def packages() -> None:
    """Import what lint asks once, before the first test."""
    installed.find("trl.SFTTrainer")


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Snippets that make an output folder make it outside the tree."""
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")


@pytest.fixture
def found(tmp_path: Path) -> Callable[..., list[Finding]]:
    """Findings of a piece of code."""

    def found(code: str, name: str = "code.py") -> list[Finding]:
        path = tmp_path / name
        path.write_text(code, "utf-8", newline="")
        return lint([path]).findings

    return found


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Names that snippets use: a model, a tokenizer, rows, and folders with both."""
    import torch
    from datasets import Dataset
    from peft import LoraConfig
    from transformers import BitsAndBytesConfig, LlamaConfig, LlamaForCausalLM, TrainingArguments
    from trl import SFTConfig, SFTTrainer

    from sft_helpers import models

    folder = tmp_path_factory.mktemp("tiny")
    _, tokenizer = models.load("tiny")
    model = LlamaForCausalLM(
        LlamaConfig(
            vocab_size=len(tokenizer),
            hidden_size=16,
            intermediate_size=16,
            num_hidden_layers=1,
            num_attention_heads=2,
            num_key_value_heads=2,
        )
    )
    model.save_pretrained(folder / "model")
    tokenizer.save_pretrained(folder / "model")
    (folder / "rows.jsonl").write_text('{"prompt": "a", "completion": "b"}\n' * 2)
    rows = Dataset.from_list([{"prompt": "a", "completion": "b"}] * 2)
    cpu = {"output_dir": str(folder / "out"), "use_cpu": True, "report_to": "none"}
    return {
        "model": model,
        "tokenizer": tokenizer,
        "dataset": rows,
        "path": str(folder / "model"),
        "rows": str(folder / "rows.jsonl"),
        "cache": str(folder / "cache"),
        "torch": torch,
        "args": SFTConfig(bf16=False, **cpu),
        "cpu": cpu,
        "SFTConfig": SFTConfig,
        "SFTTrainer": SFTTrainer,
        "TrainingArguments": TrainingArguments,
        "LoraConfig": LoraConfig,
        "BitsAndBytesConfig": BitsAndBytesConfig,
    }
