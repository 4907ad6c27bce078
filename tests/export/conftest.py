"""An adapter on the tiny model, and small random models of many architectures."""

from __future__ import annotations

import os

import pytest

from sft_helpers.export.serving import available

LORA = {"r": 4, "lora_alpha": 8, "target_modules": "all-linear", "task_type": "CAUSAL_LM"}


def pytest_collection_modifyitems(items):
    lacks = {
        "engine": None if available() else "needs the extra `serving`",
        "converter": None
        if os.environ.get("SFT_GGUF_CONVERTER")
        else "SFT_GGUF_CONVERTER names no folder of llama.cpp's converter (make unit sets it)",
    }
    for item in items:
        for name in ("engine", "converter"):
            if lacks[name] and name in item.fixturenames:
                item.add_marker(pytest.mark.skip(reason=lacks[name]))


@pytest.fixture(scope="session")
def engine():
    """Whoever asks for it runs llama.cpp."""


@pytest.fixture(scope="session")
def converter():
    """Whoever asks for it runs llama.cpp's converter."""


@pytest.fixture(scope="session")
def base():
    """The tiny model and its tokenizer."""
    from sft_helpers.models import load

    return load("tiny")


@pytest.fixture(scope="session")
def adapter(tmp_path_factory):
    """An adapter with random B, saved with its tokenizer, and the model with it."""
    import torch
    from peft import LoraConfig, get_peft_model

    from sft_helpers.models import load

    torch.manual_seed(0)
    model, tokenizer = load("tiny")
    model = get_peft_model(model, LoraConfig(**LORA)).eval()
    for name, weight in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(weight, std=0.02)
    folder = tmp_path_factory.mktemp("adapter")
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder, model, tokenizer


@pytest.fixture(scope="session")
def random_model():
    """Save a small random model of an architecture with a tokenizer."""
    import torch
    import transformers

    def save(kind, tokenizer, folder):
        torch.manual_seed(0)
        more = {"Gemma": {"head_dim": 16}, "Qwen3": {"head_dim": 16}}.get(kind, {})
        config = getattr(transformers, f"{kind}Config")(
            vocab_size=len(tokenizer), hidden_size=64, intermediate_size=96, num_hidden_layers=2,
            num_attention_heads=4, num_key_value_heads=2, max_position_embeddings=512,
            pad_token_id=0, **more,
        )  # fmt: skip
        getattr(transformers, f"{kind}ForCausalLM")(config).save_pretrained(folder)
        tokenizer.save_pretrained(folder)
        return folder

    return save
