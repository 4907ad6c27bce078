"""An adapter is merged the way it was trained; what is saved loads as the same model."""

from __future__ import annotations

import copy
import json
import shutil

import pytest

from sft_helpers.errors import DataError, ModelError
from sft_helpers.export.merge import end_of_turn, merge, save

TEXTS = ["<|im_start|>user\nWhere does Una Cromton live?<|im_end|>\n<|im_start|>assistant\n"]
FOUR_BIT = {"load_in_4bit": True, "bnb_4bit_quant_type": "nf4", "use_bnb_nested_quant": True}


def far(one, other, tokenizer):
    from sft_helpers.training.adapters import max_logit_difference

    return max_logit_difference(one, other, tokenizer, TEXTS)


@pytest.fixture(scope="module")
def exported(adapter, tmp_path_factory):
    model, tokenizer = merge(adapter[0])
    folder = tmp_path_factory.mktemp("export") / "model"
    save(model, tokenizer, folder)
    return folder, model, tokenizer


def test_merged_saved_and_loaded_again_is_the_same_model(adapter, base, exported):
    from sft_helpers.models import load

    folder, _, _ = exported
    again, tokenizer = load(str(folder))
    assert far(adapter[1], again, tokenizer) < 1e-3
    assert far(base[0], again, tokenizer) > 0.1  # the adapter did count
    assert tokenizer.chat_template == adapter[2].chat_template
    assert again.generation_config.eos_token_id == end_of_turn(tokenizer) == 2
    assert not list(folder.glob("*.bin"))
    assert far(merge(folder)[0], exported[1], tokenizer) == 0  # a whole model, as it is


def test_the_sum_is_rounded_once(adapter, exported):
    import torch

    model, tokenizer = merge(adapter[0], dtype="bfloat16")
    name = "model.layers.0.mlp.up_proj.weight"
    exact, rounded = (dict(each.named_parameters())[name] for each in (exported[1], model))
    assert torch.equal(exact.to(torch.bfloat16), rounded)
    assert tokenizer.eos_token == "<|im_end|>"


@pytest.mark.parametrize(
    ("recipe", "qlora"),
    [(FOUR_BIT, False), (FOUR_BIT | {"dtype": "bfloat16"}, False), (None, True)],
)
def test_qlora_is_merged_as_it_was_trained(adapter, base, exported, tmp_path, recipe, qlora):
    """By its own record; `qlora` says it where there is none."""
    import torch
    from peft import PeftModel
    from transformers import BitsAndBytesConfig

    from sft_helpers.models import load

    folder = shutil.copytree(adapter[0], tmp_path / "adapter")
    if recipe:
        (folder / "run.json").write_text(json.dumps({"recipe": recipe}))
    dtype = (recipe or {}).get("dtype", "float32")
    trained = BitsAndBytesConfig(
        load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=dtype,
    )  # fmt: skip
    rounded, _ = load("tiny", dtype=dtype, quantization=trained)
    wanted = PeftModel.from_pretrained(rounded.dequantize().float(), str(adapter[0])).eval()
    model, tokenizer = merge(folder, qlora=qlora)
    assert model.dtype == torch.float32
    assert not any(hasattr(p, "quant_state") for p in model.parameters())
    assert far(wanted, model, tokenizer) < 1e-3
    assert far(exported[1], model, tokenizer) > 0.1  # the unrounded base is another


def test_a_flag_against_the_record_is_refused(adapter):
    with pytest.raises(DataError, match="not in 4 bits"):
        merge(adapter[0], record={"recipe": {"use_peft": True}}, qlora=True)


def test_what_is_refused(adapter, exported, tmp_path):
    folder, model, tokenizer = exported
    with pytest.raises(DataError, match="exists already"):
        save(model, tokenizer, folder)
    with pytest.raises(ModelError, match="still has its adapter"):
        save(adapter[1], tokenizer, tmp_path / "x")
    with pytest.raises(ModelError, match="unknown dtype"):
        merge(folder, dtype="int8")
    endless = copy.deepcopy(tokenizer)
    endless.chat_template = "{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}"
    with pytest.raises(ModelError, match="no single token"):
        end_of_turn(endless)
    broken = shutil.copytree(adapter[0], tmp_path / "broken")
    config = json.loads((broken / "adapter_config.json").read_text())
    for change, said in (({"r": 8}, "fit"), ({"base_model_name_or_path": None}, "names no base")):
        (broken / "adapter_config.json").write_text(json.dumps(config | change))
        with pytest.raises(ModelError, match=said):
            merge(broken)
