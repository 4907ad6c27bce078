"""What lint says against what the interpreter does, on the same text.

The snippets are calls as public training scripts of several TRL generations make them, reduced to
what is called. Each is linted, and then run with tiny objects.
"""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Callable
from typing import Any

import pytest

from sft_helpers.drift import Finding

Found = Callable[..., list[Finding]]

CPU = "use_cpu=True, bf16=False"
CONFIG = "from trl import SFTConfig\n"
TRAIN = "from trl import SFTConfig, SFTTrainer\n"
TRAINER = TRAIN + "SFTTrainer(model=model, args=args, train_dataset=dataset, {})"
ARGUMENTS = "from transformers import TrainingArguments\n"
LOADER = "from transformers import AutoModelForCausalLM\n"

REFUSED = {
    "length": CONFIG + f"SFTConfig('o', max_seq_length=512, {CPU})",
    "warm-up": CONFIG + f"SFTConfig('o', warmup_ratio=0.03, {CPU})",
    "evaluation": CONFIG + f"SFTConfig('o', evaluation_strategy='epoch', {CPU})",
    "buffers": CONFIG + f"SFTConfig('o', num_of_sequences=16, chars_per_token=3.6, {CPU})",
    "packing batch": CONFIG + f"SFTConfig('o', dataset_batch_size=100, {CPU})",
    "lengths grouped": ARGUMENTS + "TrainingArguments('o', group_by_length=True)",
    "overwrite": ARGUMENTS + "TrainingArguments('o', overwrite_output_dir=True)",
    "safetensors": ARGUMENTS + "TrainingArguments('o', save_safetensors=True)",
    "logs": ARGUMENTS + "TrainingArguments('o', logging_dir='./logs')",
    "no cuda": ARGUMENTS + "TrainingArguments('o', no_cuda=True)",
    "token": ARGUMENTS + "TrainingArguments('o', push_to_hub_token='x')",
    "per gpu": ARGUMENTS + "TrainingArguments('o', per_gpu_train_batch_size=1)",
    "half": ARGUMENTS + "TrainingArguments('o', half_precision_backend='auto')",
    "opt level": ARGUMENTS + "TrainingArguments('o', fp16=False, fp16_opt_level='O1')",
    "module": "import trl\ntrl.SFTConfig('o', max_seq_length=1, use_cpu=True, bf16=False)",
    "alias": "from trl import SFTConfig as C\nC('o', max_seq_length=1, use_cpu=True, bf16=False)",
    "dictionary": CONFIG + "cfg = {'max_seq_length': 64}\nSFTConfig('o', **cfg)",
    "dict()": CONFIG + "cfg = dict(warmup_ratio=0.1)\nSFTConfig('o', **cfg)",
    "merged": CONFIG + "a = {'bf16': False}\nSFTConfig('o', **(a | {'no_cuda': True}))",
    "nested": CONFIG + "a = {'no_cuda': True}\nb = {**a, 'bf16': False}\nSFTConfig('o', **b)",
    "updated": CONFIG + "a = {}\na.update(max_seq_length=3)\na['bf16'] = False\nSFTConfig(**a)",
    "partial": "from functools import partial\n" + CONFIG
    + "make = partial(SFTConfig, max_seq_length=3)\nmake('o')",
    "in a function": "def go():\n    from trl import SFTConfig\n"
    "    return SFTConfig('o', max_seq_length=3)\ngo()",
    "positional": CONFIG + "SFTConfig(*(), **{}, max_length=3, max_seq_length=3)",
    "value": CONFIG + f"SFTConfig('o', eval_strategy='step', {CPU})",
    "value by name": CONFIG + f"when = 'epochs'\nSFTConfig('o', save_strategy=when, {CPU})",
    "optimizer": ARGUMENTS + "TrainingArguments('o', optim='adamw_hf')",
    "scheduler": ARGUMENTS + "TrainingArguments('o', lr_scheduler_type='cosin')",
    "task": "from peft import LoraConfig\nLoraConfig(r=8, task_type='CASUAL_LM')",
    "lora": "from peft import LoraConfig\nLoraConfig(r=8, alpha=16)",
    "lora typo": "from peft import LoraConfig\nLoraConfig(r=8, lora_aplha=16)",
    "rank": "import peft\npeft.LoraConfig(rank=8)",
    "tokenizer": TRAINER.format("tokenizer=tokenizer"),
    "trainer length": TRAINER.format("max_seq_length=1024"),
    "trainer packing": TRAINER.format("packing=True"),
    "trainer field": TRAINER.format("dataset_text_field='text'"),
    "trainer processes": TRAINER.format("dataset_num_proc=2"),
    "trainer noise": TRAINER.format("neftune_noise_alpha=5"),
    "trainer quantized": TRAINER.format("model_init_kwargs={'load_in_4bit': True}"),
    "trainer endless": TRAINER.format("infinite=True"),
    "no model": TRAIN + "SFTTrainer(args=args, train_dataset=dataset)",
    "heir": TRAIN + "class Mine(SFTTrainer):\n    def log(self, *a, **k):\n        pass\n"
    "Mine(model=model, args=args, train_dataset=dataset, tokenizer=tokenizer)",
    "plain trainer": "from transformers import Trainer\nTrainer(model=model, tokenizer=tokenizer)",
    "load 4 bit": LOADER + "AutoModelForCausalLM.from_pretrained(path, load_in_4bit=True)",
    "load 8 bit": LOADER + "AutoModelForCausalLM.from_pretrained(path, load_in_8bit=True)",
    "flash": LOADER + "AutoModelForCausalLM.from_pretrained(path, use_flash_attention_2=True)",
    "auth": LOADER + "AutoModelForCausalLM.from_pretrained(path, use_auth_token='x')",
    "resume": LOADER + "AutoModelForCausalLM.from_pretrained(path, resume_download=True)",
    "concrete": "import transformers\n"
    "transformers.LlamaForCausalLM.from_pretrained(path, load_in_4bit=True)",
    "datasets auth": "from datasets import load_dataset\n"
    "load_dataset('json', data_files=rows, cache_dir=cache, use_auth_token=True)",
    "datasets task": "import datasets\n"
    "datasets.load_dataset('json', data_files=rows, cache_dir=cache, task='x')",
    "datasets checks": "import datasets\n"
    "datasets.load_dataset('json', data_files=rows, ignore_verifications=True, cache_dir=cache)",
    "rows": "from datasets import Dataset\nDataset.from_list([{'a': 1}]).map(len, worker=3)",
    "peft": "from peft import get_peft_model, LoraConfig\n"
    "get_peft_model(model, LoraConfig(), adapter='x')",
    "collator": "from trl import DataCollatorForCompletionOnlyLM",
    "chat format": "from trl import SFTTrainer, setup_chat_format",
    "packed set": "from trl.trainer import ConstantLengthDataset",
    "device map": "import trl\ntrl.get_kbit_device_map()",
    "adam": "from transformers import AdamW",
    "head": "from transformers import AutoModelWithLMHead",
    "vision": "from transformers import AutoModelForVision2Seq",
    "int8": "from peft import prepare_model_for_int8_training",
    "metric": "from datasets import load_metric",
    "moved": "from trl import PPOTrainer, PPOConfig",
    "core": "from trl.core import LengthSampler",
    "member": "from transformers import IntervalStrategy\nIntervalStrategy.STEP",
}  # fmt: skip

RUNS = {
    "no smoothing": CONFIG + f"SFTConfig('o', label_smoothing_factor=0.0, pad_token=None, {CPU})",
    "new": CONFIG + f"SFTConfig('o', max_length=512, eval_strategy='no', warmup_steps=0.1, {CPU})",
    "share": CONFIG + f"SFTConfig('o', warmup_steps=0.03, packing=True, {CPU})",
    "member": CONFIG + "from transformers import IntervalStrategy\n"
    f"SFTConfig('o', eval_strategy=IntervalStrategy.NO, {CPU})",
    "optimizer": ARGUMENTS + "TrainingArguments('o', optim='paged_adamw_8bit')",
    "lora": "from peft import LoraConfig, TaskType\n"
    "LoraConfig(r=8, lora_alpha=16, target_modules='all-linear', task_type=TaskType.CAUSAL_LM)",
    "lora words": "from peft import LoraConfig\nLoraConfig(bias='none', task_type='CAUSAL_LM')",
    "bits": "import torch\nfrom transformers import BitsAndBytesConfig\n"
    "BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_quant_type='nf4', "
    "bnb_4bit_compute_dtype=torch.bfloat16, bnb_4bit_use_double_quant=True)",
    "tokenizer": TRAINER.format("processing_class=tokenizer"),
    "peft": TRAINER.format("peft_config=None, callbacks=[], processing_class=tokenizer"),
    "load": LOADER + "AutoModelForCausalLM.from_pretrained(path, dtype='auto', use_cache=False,"
    " attn_implementation='eager', device_map=None, low_cpu_mem_usage=True)",
    "positional": "from transformers import AutoModelForCausalLM\n"
    "AutoModelForCausalLM.from_config(model.config)",
    "tokenizer load": "from transformers import AutoTokenizer\n"
    "AutoTokenizer.from_pretrained(path, use_fast=True, padding_side='left')",
    "rows": "from datasets import load_dataset\nload_dataset('json', data_files=rows, "
    "split='train', cache_dir=cache, field=None).train_test_split(test_size=0.5)",
    "map": "from datasets import Dataset\n"
    "Dataset.from_list([{'a': 1}]).map(lambda r: r, batched=False, num_proc=None)",
    "guarded": "try:\n    from trl import DataCollatorForCompletionOnlyLM\n"
    "except ImportError:\n    DataCollatorForCompletionOnlyLM = None",
    "other branch": "try:\n    from trl import PPOTrainer as T\nexcept ImportError:\n"
    "    from trl import SFTTrainer as T\n"
    "T(model=model, args=args, train_dataset=dataset, processing_class=tokenizer)",
    "popped": CONFIG + f"c = dict(no_cuda=True, {CPU})\nc.pop('no_cuda')\nSFTConfig('o', **c)",
    "deleted": CONFIG + f"c = dict(no_cuda=True, {CPU})\ndel c['no_cuda']\nSFTConfig('o', **c)",
    "rebound": CONFIG + f"c = dict(no_cuda=True)\nc = dict({CPU})\nSFTConfig('o', **c)",
    "own": f"def SFTConfig(**more):\n    return more\nSFTConfig(max_seq_length=3, {CPU})",
    "own class": "from trl import SFTConfig\nclass Mine(SFTConfig):\n    max_seq_length = 3\n"
    "Mine('o', use_cpu=True, bf16=False).max_seq_length",
    "own arguments": "from dataclasses import dataclass\n" + CONFIG + "@dataclass\n"
    "class Mine(SFTConfig):\n    max_seq_length: int = 3\n"
    f"Mine('o', max_seq_length=5, {CPU})",
    "own start": TRAIN + "class Mine(SFTTrainer):\n    def __init__(self, tokenizer, **k):\n"
    "        super().__init__(processing_class=tokenizer, **k)\n"
    "Mine(tokenizer, model=model, args=args, train_dataset=dataset)",
    "parameter": CONFIG + "def f(SFTConfig):\n    return SFTConfig(max_seq_length=3)\nf(dict)",
    "branch": CONFIG + f"c = dict({CPU})\nif 1 > 2:\n    c['no_cuda'] = True\nSFTConfig(**c)",
    "asked": CONFIG + "import inspect\nc = {'bf16': False, 'use_cpu': True}\n"
    "old = 'max_seq_length' in inspect.signature(SFTConfig).parameters\n"
    "c |= {'max_seq_length': 9} if old else {'max_length': 9}\nSFTConfig('o', **c)",
    "version": CONFIG + "import trl\nif trl.__version__.startswith('0.'):\n"
    f"    SFTConfig('o', max_seq_length=9)\nelse:\n    SFTConfig('o', max_length=9, {CPU})",
    "cleaned": CONFIG + f"def clean(c):\n    c.clear()\nc = dict(no_cuda=True, {CPU})\nclean(c)\n"
    "SFTConfig('o', use_cpu=True, bf16=False, **c)",
    "loop": CONFIG + f"c = dict({CPU})\nfor k in ('max_length',):\n    c[k] = 3\nSFTConfig(**c)",
}  # fmt: skip

IGNORED = {
    "dataset_kwargs": CONFIG + f"SFTConfig('o', dataset_kwargs={{'add_special_tokens': False,"
    f" 'append_concat_token': False}}, {CPU})",
    "bits": "from transformers import BitsAndBytesConfig\n"
    "BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_compute_type='bfloat16')",
    "scripts": "from datasets import load_dataset\n"
    "load_dataset('json', data_files=rows, cache_dir=cache, trust_remote_code=True)",
    "dtype": CONFIG + f"SFTConfig('o', model_init_kwargs={{'torch_dtype': 'bfloat16'}}, {CPU})",
    "attribute": CONFIG + f"a = SFTConfig('o', {CPU})\na.max_seq_length = 512",
    "pack values": CONFIG + f"SFTConfig('o', packing=True, packing_strategy='ffd', {CPU})",
}  # fmt: skip

DEPRECATED = {
    "checkpointing": CONFIG + f"SFTConfig('o', gradient_checkpointing=True, {CPU})",
    "its settings": CONFIG
    + f"SFTConfig('o', gradient_checkpointing_kwargs={{'use_reentrant': False}}, {CPU})",
    "loss": CONFIG + f"SFTConfig('o', loss_type='chunked_nll', {CPU})",
    "smoothing": TRAIN + f"a = SFTConfig('o', label_smoothing_factor=0.1, {CPU}, report_to=[])\n"
    "SFTTrainer(model, a, train_dataset=dataset, processing_class=tokenizer)",
    "own loss": TRAINER.format("processing_class=tokenizer, compute_loss_func=lambda *a: 0"),
    "pad": CONFIG + f"SFTConfig('o', pad_token='<pad>', {CPU})",
    "strategy": CONFIG + f"SFTConfig('o', packing_strategy='bfd-requeue', {CPU})",
}


def levels(findings: list[Finding]) -> set[str]:
    return {finding.severity for finding in findings} - {"unknown"}


def interpret(code: str, names: dict[str, Any]) -> Exception | None:
    """Run a snippet of this file; what it raises."""
    try:
        exec(compile(code, "<snippet>", "exec"), dict(names))
    except Exception as problem:
        return problem
    return None


def without(names: dict[str, Any]) -> dict[str, Any]:
    """The tiny things without the classes, which snippets import for themselves."""
    return {key: value for key, value in names.items() if not isinstance(value, type)}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_called_an_error_raises(name: str, found: Found, tiny: dict[str, Any]) -> None:
    findings = found(REFUSED[name])
    assert "error" in levels(findings), findings
    problem = interpret(REFUSED[name], without(tiny))
    assert isinstance(problem, TypeError | ImportError | AttributeError | ValueError)
    assert any(word in str(problem) for word in words(findings)), problem


def words(findings: list[Finding]) -> list[str]:
    """What messages quote, and the argument whose value they are about."""
    texts = [finding.message for finding in findings if finding.severity == "error"]
    quoted = [part for text in texts for part in text.split("`")[1::2]]
    values = [part for text in texts for part in text.split("'")[1::2]]
    return quoted + values


@pytest.mark.parametrize("name", RUNS)
def test_what_runs_is_not_called_wrong(name: str, found: Found, tiny: dict[str, Any]) -> None:
    assert interpret(RUNS[name], without(tiny)) is None
    assert levels(found(RUNS[name])) == ({"note"} if name == "version" else set())


@pytest.mark.parametrize("name", IGNORED)
def test_what_is_called_ignored_raises_nothing(
    name: str, found: Found, tiny: dict[str, Any]
) -> None:
    findings = found(IGNORED[name])
    assert levels(findings) == {"warning"}, findings
    assert interpret(IGNORED[name], without(tiny)) is None


@pytest.mark.parametrize("name", DEPRECATED)
def test_what_is_called_deprecated_warns(name: str, found: Found, tiny: dict[str, Any]) -> None:
    findings = found(DEPRECATED[name])
    assert levels(findings) == {"note"}, findings
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        assert interpret(DEPRECATED[name], without(tiny)) is None
    assert findings[0].message in " ".join(str(warning.message) for warning in caught)


# ---------------------------------------------------------------- what "ignored" means


def test_dataset_kwargs_change_nothing(tiny: dict[str, Any]) -> None:
    """The prepared rows are the same with the key and without it."""
    ids = []
    for more in ({}, {"dataset_kwargs": {"add_special_tokens": False}}):
        args = tiny["SFTConfig"](bf16=False, **tiny["cpu"], **more)
        trainer = tiny["SFTTrainer"](
            tiny["model"], args, train_dataset=tiny["dataset"], processing_class=tiny["tokenizer"]
        )
        ids.append(trainer.train_dataset["input_ids"])
    assert ids[0] == ids[1]


@pytest.mark.parametrize(("key", "dtype"), [("dtype", "bfloat16"), ("torch_dtype", "float32")])
def test_torch_dtype_has_no_effect_through_trl(tiny: dict[str, Any], key: str, dtype: str) -> None:
    args = tiny["SFTConfig"](bf16=False, **tiny["cpu"], model_init_kwargs={key: "bfloat16"})
    trainer = tiny["SFTTrainer"](tiny["path"], args, train_dataset=tiny["dataset"])
    assert str(trainer.model.dtype) == f"torch.{dtype}"


def test_bitsandbytes_drops_what_it_does_not_know(tiny: dict[str, Any]) -> None:
    plain = tiny["BitsAndBytesConfig"](load_in_4bit=True)
    wrong = tiny["BitsAndBytesConfig"](load_in_4bit=True, bnb_4bit_compute_type="bfloat16")
    assert plain.to_dict() == wrong.to_dict()


def test_an_unknown_packing_strategy_stops_the_trainer(tiny: dict[str, Any]) -> None:
    """Only a warning, because the configuration itself takes it."""
    args = tiny["SFTConfig"](bf16=False, **tiny["cpu"], packing=True, packing_strategy="ffd")
    with pytest.raises(ValueError, match="ffd"):
        tiny["SFTTrainer"](
            tiny["model"], args, train_dataset=tiny["dataset"], processing_class=tiny["tokenizer"]
        )


# ---------------------------------------------------------------- generated calls

CLASSES = {
    "trl.SFTConfig": {"use_cpu": True, "bf16": False},
    "trl.DPOConfig": {"use_cpu": True, "bf16": False},
    "trl.ModelConfig": {},
    "trl.ScriptArguments": {},
    "transformers.TrainingArguments": {},
    "transformers.BitsAndBytesConfig": {},
    "peft.LoraConfig": {},
}


@pytest.mark.parametrize("path", CLASSES)
def test_every_argument_at_its_default(path: str, found: Found) -> None:
    """One call for each parameter, with its default, and one for a name near it."""
    from sft_helpers.drift import installed, sources

    call = installed.signature(path)
    assert call is not None
    module, name = path.rsplit(".", 1)
    plain = (str, int, float, bool, type(None))
    defaults = {
        key: part.default for key, part in call.parameters.items() if type(part.default) in plain
    }
    defaults |= dict.fromkeys([f"{key}_" for key in defaults], 1)
    calls = [{**CLASSES[path], key: value} for key, value in defaults.items()]
    lines = [f"{name}(" + ", ".join(f"{k}={v!r}" for k, v in c.items()) + ")" for c in calls]
    code = f"from {module} import {name}\n" + "\n".join(lines)
    bad = {f.line: f.severity for f in found(code) if f.severity in ("error", "warning")}
    made = installed.find(path)[1]
    open_ended = sources.swallowed(path) is not None
    assert len(calls) >= 6
    for line, arguments in enumerate(calls, start=2):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            refused = False
            try:
                made(**arguments)
            except TypeError as problem:
                refused = "unexpected keyword" in str(problem)
            except Exception:  # this machine cannot: not a matter of names
                with contextlib.suppress(Exception):
                    call.bind(**arguments)
        expected = "error" if refused else None
        if open_ended and not set(arguments) <= set(call.parameters):
            expected = "warning"
        assert bad.get(line) == expected, lines[line - 2]
