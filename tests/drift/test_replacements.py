"""Every entry of the table against the installed packages: old refused, new accepted."""

from __future__ import annotations

import warnings
from typing import Any

import pytest

from sft_helpers.drift import installed
from sft_helpers.drift.replacements import ARGUMENTS, IMPORTS, OPEN, Replacement

DEPRECATED = {"gradient_checkpointing", "gradient_checkpointing_kwargs"}


def name(row: Replacement) -> str:
    return f"{row.where}-{row.old}"


@pytest.mark.parametrize("row", ARGUMENTS, ids=name)
def test_arguments(row: Replacement, tiny: dict[str, Any]) -> None:
    found, call = installed.find(row.where)[1], installed.signature(row.where)
    assert call is not None
    if row.old in DEPRECATED:
        with pytest.warns(FutureWarning, match=row.old):
            found(**{row.old: {} if "kwargs" in row.old else True})
    else:
        with pytest.raises(TypeError, match=f"unexpected keyword argument '{row.old}'"):
            found(**{row.old: None})
    if row.new:
        assert installed.is_named(call, row.new)
    elif "write " in row.advice or "move it" in row.advice:
        text = row.advice.replace("SFTConfig(", " ").split(" ")
        spelled = [word.split("=")[0].strip("()") for word in text if "=" in word]
        owner = installed.signature("trl.SFTConfig" if "SFTConfig" in row.advice else row.where)
        assert owner is not None
        assert any(installed.accepts(owner, word) for word in spelled)


@pytest.mark.parametrize("row", IMPORTS, ids=name)
def test_imports(row: Replacement) -> None:
    assert installed.find(f"{row.where}.{row.old}")[0] == "gone"
    if row.new:
        assert installed.find(f"{row.where}.{row.new}")[0] == "found"


def test_what_import_advice_speaks_of_exists() -> None:
    import torch

    assert hasattr(torch.optim, "AdamW")
    call = installed.signature("trl.SFTConfig")
    assert call is not None
    for word in ("assistant_only_loss", "chat_template_path", "packing", "max_length"):
        assert any(word in row.text() for row in IMPORTS)
        assert installed.is_named(call, word)
    assert installed.find("trl.clone_chat_template")[0] == "found"


def load(tiny: dict[str, Any], row: Replacement, **more: Any) -> Any:
    """What an entry of OPEN is about, called for real."""
    from datasets import load_dataset
    from transformers import AutoModelForCausalLM, pipeline

    if row.where == "datasets.load_dataset":
        return load_dataset("json", data_files=tiny["rows"], cache_dir=tiny["cache"], **more)
    if row.where == "transformers.pipeline":
        tokenizer = tiny["tokenizer"]
        return pipeline("text-generation", tiny["path"], tokenizer=tokenizer, **more).model
    if row.where == "model_init_kwargs":
        args = tiny["SFTConfig"](bf16=False, **tiny["cpu"], model_init_kwargs=more)
        return tiny["SFTTrainer"](tiny["path"], args, train_dataset=tiny["dataset"]).model
    return AutoModelForCausalLM.from_pretrained(tiny["path"], **more)


VALUES = {"torch_dtype": "bfloat16", "use_auth_token": "x", "task": "x"}


@pytest.mark.parametrize("row", OPEN, ids=name)
def test_open_signatures(row: Replacement, tiny: dict[str, Any]) -> None:
    value = VALUES.get(row.old, True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if row.effect == "refused":
            with pytest.raises(TypeError, match=row.old):
                load(tiny, row, **{row.old: value})
        else:
            old = load(tiny, row, **{row.old: value})
            if row.effect == "deprecated":  # works as the new name does
                assert old.dtype == load(tiny, row, **{row.new or "": value}).dtype
            elif row.new:  # ignored: the result is that of leaving it out
                assert old.dtype == load(tiny, row).dtype
                assert old.dtype != load(tiny, row, **{row.new: value}).dtype
        if row.new == "token":
            load(tiny, row, token=None)


def test_warmup_ratio_is_a_share_of_the_steps(tiny: dict[str, Any]) -> None:
    args = tiny["SFTConfig"](bf16=False, **tiny["cpu"], warmup_steps=0.1)
    assert args.get_warmup_steps(1000) == 100
