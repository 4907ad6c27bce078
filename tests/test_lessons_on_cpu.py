"""Lessons on Lantern Bay train on the CPU, also where torch claims a GPU.

Each `SFTConfig` of their notebooks says `use_cpu=True`, by itself or through the tiny model's
profile: that is read from the notebooks' code. What the kit builds for them is built, in a process
where torch claims a GPU (`claimed_gpu/`). All notebooks whole, where it does (20 minutes):

    make notebooks OFFLINE='PYTHONPATH="$(CURDIR)/tests/claimed_gpu"'
"""

from __future__ import annotations

import ast
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from IPython.core.inputtransformer2 import TransformerManager

ROOT = Path(__file__).resolve().parents[1]
# 07b trains SmolLM2, which takes a GPU where there is one.
LESSONS = [path for path in sorted((ROOT / "notebooks").glob("*.ipynb")) if "07b" not in path.name]
RECIPE = yaml.safe_load((ROOT / "data/launch/sft.yaml").read_text(encoding="utf-8"))


def code_of(notebook: Path) -> list[str]:
    cells = json.loads(notebook.read_text(encoding="utf-8"))["cells"]
    plain = TransformerManager().transform_cell  # `!command` becomes Python
    return [plain("".join(cell["source"])) for cell in cells if cell["cell_type"] == "code"]


def on_the_cpu(value: ast.AST, names: dict[str, list[ast.AST]]) -> bool:
    """Whether these keyword arguments contain `use_cpu=True`, as far as the code shows."""
    for part in ast.walk(value):
        if isinstance(part, ast.Attribute) and part.attr == "sft_arguments":
            return True  # of the tiny model's profile: the other tests
        if isinstance(part, ast.Name) and part.id == "DEFAULTS":
            return True  # of `runs`: likewise
        if isinstance(part, ast.Attribute) and part.attr == "safe_load":
            return bool(RECIPE["use_cpu"])
        if isinstance(part, ast.Dict) and said_of_the_cpu(part):
            return True  # and that it is not False is asked of every dictionary
        if isinstance(part, ast.Name) and names.get(part.id):
            given = names[part.id]
            rest = names | {part.id: []}  # a name that is made from itself proves nothing
            if all(on_the_cpu(one, rest) for one in given):
                return True
    return False


def said_of_the_cpu(part: ast.AST) -> list[ast.AST]:
    """The values that a dictionary, an assignment or a call gives to `use_cpu`."""
    if isinstance(part, ast.Dict):
        pairs = zip(part.keys, part.values, strict=True)
        return [value for key, value in pairs if key and ast.unparse(key) == "'use_cpu'"]
    if isinstance(part, ast.Assign):
        ends = [ast.unparse(target).endswith("['use_cpu']") for target in part.targets]
        return [part.value] if any(ends) else []
    if isinstance(part, ast.Call):
        return [one.value for one in part.keywords if one.arg == "use_cpu"]
    return []


def is_true(value: ast.AST) -> bool:
    return isinstance(value, ast.Constant) and value.value is True


def forgotten(cells: list[str]) -> list[str]:
    """Calls that build arguments or a trainer without saying that it is the CPU that trains."""
    trees = [ast.parse(cell) for cell in cells]
    names: dict[str, list[ast.AST]] = {}
    for tree in trees:
        for part in ast.walk(tree):
            for target in part.targets if isinstance(part, ast.Assign) else ():
                if isinstance(target, ast.Name):
                    names.setdefault(target.id, []).append(part.value)
    placed = any("['model_init_kwargs'] = {'device_map': 'cpu'}" in ast.unparse(t) for t in trees)
    bad = []
    for part in (part for tree in trees for part in ast.walk(tree)):
        sound = all(map(is_true, said_of_the_cpu(part)))
        if isinstance(part, ast.Call) and ast.unparse(part.func) == "SFTTrainer":
            # without arguments TRL makes its own; `model_init_kwargs` is the form that it refuses
            named = {keyword.arg for keyword in part.keywords}
            sound = sound and (len(part.args) > 1 or bool({"args", "model_init_kwargs"} & named))
            sound = sound and ("quantization_config" not in named or placed)
        if isinstance(part, ast.Call) and ast.unparse(part.func) == "SFTConfig":
            more = [one.value for one in part.keywords if one.arg is None]
            told = said_of_the_cpu(part) or any(on_the_cpu(value, names) for value in more)
            sound = sound and bool(told)
        if isinstance(part, ast.Call) and ast.unparse(part.func).endswith(".from_pretrained"):
            # transformers puts a quantized model on a GPU unless it is told where it belongs
            named = {keyword.arg for keyword in part.keywords}
            sound = sound and ("device_map" in named or "quantization_config" not in named)
        if not sound:
            bad.append(ast.unparse(part))
    return bad


@pytest.mark.parametrize("notebook", LESSONS, ids=lambda path: path.stem)
def test_every_configuration_says_that_it_is_the_cpu(notebook: Path) -> None:
    assert forgotten(code_of(notebook)) == []


@pytest.mark.parametrize(
    ("code", "sound"),
    [
        ("SFTConfig('out', use_cpu=True)", True),
        ("SFTConfig('out', **profile.sft_arguments() | {'max_steps': 2})", True),
        ("def f(settings):\n    SFTConfig(**settings)\nsettings = {'use_cpu': True}", True),
        ("SFTConfig('out')", False),
        ("SFTConfig('out', **{'max_steps': 2})", False),
        ("SFTConfig('out', use_cpu=False, **profile.sft_arguments())", False),
        ("settings = profile.sft_arguments()\nsettings = {}\nSFTConfig(**settings)", False),
        ("settings = profile.sft_arguments()\nsettings['use_cpu'] = False", False),
        ("SFTConfig('out', **profile.sft_arguments() | {'use_cpu': False})", False),
        ("settings = settings | {}\nSFTConfig(**settings)", False),
        ("SFTTrainer(model, train_dataset=rows)", False),
        ("SFTTrainer(model, args, train_dataset=rows)", True),
        ("SFTTrainer('tiny', args, quantization_config=four_bit)", False),
        ("AutoModel.from_pretrained('tiny', quantization_config=four_bit)", False),
        ("AutoModel.from_pretrained('tiny', quantization_config=b, device_map='cpu')", True),
        ("runs = [Run('one', rows, sft=dict(use_cpu=False))]", False),
    ],
)
def test_a_notebook_that_forgets_it_is_found(code: str, sound: bool) -> None:
    assert (forgotten([code]) == []) is sound


BUILD = """
import sys, torch
from datasets import Dataset
from transformers.utils import logging
from trl import ModelConfig, SFTTrainer
from sft_helpers import machine, town
from sft_helpers.clinic.cases import sound
from sft_helpers.masking import supervised_view
from sft_helpers.memory.measure import two_steps
from sft_helpers.training.run_model import build_trainer
from sft_helpers.training.grids import Run, build
from sft_helpers.training.recipe import recipe

assert torch.cuda.is_available() and torch.cuda.device_count() == 1
logging.disable_progress_bar()
plan = machine.profile(model="tiny")
assert plan.name == "rtx4090" and plan.sft_arguments()["use_cpu"]
rows = [{"messages": row["messages"]} for row in town.read_rows("sft_train.jsonl")[:8]]
data, out = Dataset.from_list(rows), sys.argv[1]
four_bit = {"load_in_4bit": True, "bnb_4bit_quant_type": "nf4"}
lora = {"r": 2, "target_modules": "all-linear", "task_type": "CAUSAL_LM"}
two = {"max_steps": 1}
for given in ({}, {"lora": lora}, {"lora": lora, "quantization": four_bit}):
    build(Run("run", rows, two, **given), out)[0].train()
for method in ("full", "lora", "qlora"):
    one = recipe(plan, method, "tiny")
    SFTTrainer(one.model, one.sft_config(out, max_steps=1), train_dataset=data,
               peft_config=one.lora_config(),
               quantization_config=one.quantization_config()).train()
four = ModelConfig(one.model, load_in_4bit=True, use_peft=True, lora_target_modules=["all-linear"])
trainer = build_trainer(recipe(plan, "lora", "tiny").sft_config(out, max_steps=1), four, data, None)
assert not any(getattr(m, "support_avx512bf16_for_cpu", False) for m in trainer.model.modules())
trainer.train()
supervised_view(rows, build(Run("view", rows), out)[1], one.sft_config(out))
two_steps("tiny", "full", True, 16, 2, out)
assert sound().parts(out)["args"].device.type == "cpu"
"""


@pytest.mark.slow
def test_what_the_kit_builds_trains_on_the_cpu_where_torch_claims_a_gpu(tmp_path: Path) -> None:
    seen = tmp_path / "devices"
    paths = [str(ROOT / "tests" / "claimed_gpu"), str(ROOT)]
    done = subprocess.run(
        [sys.executable, "-c", BUILD, str(tmp_path / "out")],
        env=os.environ | {"PYTHONPATH": os.pathsep.join(paths), "SFT_SEEN_DEVICES": str(seen)},
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    devices = seen.read_text(encoding="utf-8").splitlines()
    assert len(devices) >= 10
    assert set(devices) == {"cpu cpu"}
