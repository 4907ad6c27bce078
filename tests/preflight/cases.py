"""What the tables of cases are made of: set-ups from the files of the repository, small changes."""

from __future__ import annotations

import copy
import functools
import json
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sft_helpers.preflight import Report, preflight

ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Case:
    """A set-up that must give `code`, and its near twin, which must not.

    Both are functions without arguments that return keyword arguments for `preflight`.
    """

    code: str
    name: str
    bad: Callable[[], dict[str, Any]]
    good: Callable[[], dict[str, Any]]

    def __str__(self) -> str:
        return f"{self.code}-{self.name}"


def rows(name: str = "town/sft_train.jsonl", count: int = 40) -> list[dict[str, Any]]:
    """The first rows of a file in data/, notes about the rows left out."""
    lines = (ROOT / "data" / name).read_text(encoding="utf-8").splitlines()[:count]
    keep = ("messages", "prompt", "completion", "text", "conversations", "instruction", "input",
            "output", "question", "answer")  # fmt: skip
    return [{k: v for k, v in json.loads(line).items() if k in keep} for line in lines]


def changed(number: int, change: Callable[[dict[str, Any]], Any], **how: Any) -> list[Any]:
    """Rows of which one is changed in place by `change`, or replaced by what it returns."""
    found = copy.deepcopy(rows(**how))
    new = change(found[number])
    found[number] = found[number] if new is None else new
    return found


def arguments(**changes: Any) -> Any:
    """The arguments of a sound short run on a CPU."""
    from trl import SFTConfig

    usual: dict[str, Any] = {
        "output_dir": "unused",
        "use_cpu": True,
        "bf16": False,
        "assistant_only_loss": True,
        "learning_rate": 5e-4,
        "per_device_train_batch_size": 4,
        "logging_steps": 1,
        "report_to": "none",
        "activation_checkpointing": False,
    }
    return SFTConfig(**{**usual, **changes})


@functools.cache
def _tokenizer(name: str) -> Any:
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(name)


def tokenizer(**changes: Any) -> Any:
    """A copy of the tiny tokenizer, with attributes set."""
    found = copy.deepcopy(_tokenizer(str(ROOT / "data" / "town" / "base")))
    for name, value in changes.items():
        setattr(found, name, value)
    return found


def setup(**changes: Any) -> dict[str, Any]:
    """Keyword arguments of a sound set-up, with changes."""
    return {"dataset": changes.pop("dataset", None) or rows(), "model": "tiny", "tokenizer": None,
            "args": changes.pop("args", None) or arguments(), **changes}  # fmt: skip


def report(case: dict[str, Any]) -> Report:
    """The report on a set-up, or on a file with the given `lines`."""
    return from_lines(**case) if "lines" in case else preflight(**case)


CONFIG = """\
model_name_or_path: {model}
datasets:
  - path: json
    data_files: {data}
    split: train
use_cpu: true
bf16: false
assistant_only_loss: true
learning_rate: 5.0e-4
report_to: none
activation_checkpointing: false
"""


def from_lines(lines: list[str | bytes], more: str = "") -> Report:
    """The report on a config file of `trl sft` that names a file with these lines."""
    from sft_helpers.preflight.run_file import report_on

    with tempfile.TemporaryDirectory() as folder:
        data = Path(folder, "train.jsonl")
        raw = [line.encode("utf-8") if isinstance(line, str) else line for line in lines]
        data.write_bytes(b"\n".join(raw) + b"\n")
        config = Path(folder, "sft.yaml")
        model = ROOT / "data" / "town" / "base"
        config.write_text(CONFIG.format(model=model, data=data) + more, encoding="utf-8")
        return report_on(config)


def family(name: str) -> Any:
    """A tokenizer with the template and the special tokens of a family that TRL ships.

    Its end token is the one that ends a turn, as in an instruction-tuned model.
    """
    from sft_helpers.templates.checks import bare_tokenizer, traits

    found = bare_tokenizer(name)
    found.eos_token = traits(name).end.strip()
    return found


def small_model(tokenizer: Any, **changes: Any) -> Any:
    """A Llama configuration that fits a tokenizer."""
    from transformers import LlamaConfig

    usual: dict[str, Any] = {
        "vocab_size": len(tokenizer),
        "hidden_size": 64,
        "intermediate_size": 128,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "num_key_value_heads": 2,
        "eos_token_id": tokenizer.eos_token_id,
        "bos_token_id": tokenizer.bos_token_id,
    }
    return LlamaConfig(**{**usual, **changes})


def with_family(name: str, **changes: Any) -> dict[str, Any]:
    """A sound set-up with a family's template, and a model that fits it."""
    given = family(name)
    return setup(tokenizer=given, model=small_model(given), **changes)
