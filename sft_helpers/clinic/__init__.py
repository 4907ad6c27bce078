"""The pitfall clinic: everything that decides a run as plain data, and what a case is.

`clinic.runs` trains a set-up and measures it; `clinic.cases` has the fifteen cases of notebook 10.
"""

from __future__ import annotations

import dataclasses
import pprint
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from sft_helpers.training.grids import DEFAULTS

Row = Mapping[str, Any]
Bounds = tuple[float | None, float | None]

# What makes the clinic's runs quick and quiet; a listing of a set-up leaves it out.
HOUSEKEEPING = (
    "logging_steps", "save_strategy", "report_to", "disable_tqdm", "use_cpu", "bf16",
    "activation_checkpointing",
)  # fmt: skip


@dataclass(frozen=True)
class Setup:
    """Everything that decides a run, as plain data.

    Attributes:
        rows: the training rows, in whatever form the patient has them.
        sft: arguments of `trl.SFTConfig` on top of `runs.DEFAULTS`.
        lora: arguments of `peft.LoraConfig`; None trains all weights.
        reloaded: the adapter comes from a folder: how `PeftModel.from_pretrained` is told to load
            it. None makes a new one.
        dtype: type of the weights.
        template: chat template; None keeps the tokenizer's own.
        start_token: a token that the tokenizer puts before every text; None, as in Lantern Bay.
        eval_rows: what is passed as `eval_dataset`.
    """

    rows: Sequence[Row]
    sft: Mapping[str, Any] = field(default_factory=dict)
    lora: Mapping[str, Any] | None = None
    reloaded: Mapping[str, Any] | None = None
    dtype: str = "float32"
    template: str | None = None
    start_token: str | None = None
    eval_rows: Sequence[Row] = ()

    def mend(self, **changes: Any) -> Setup:
        """The set-up with some things changed: its own attributes by name, all else `SFTConfig`'s.

        Raises:
            TypeError: at training, from `SFTConfig`, if an argument is unknown there.
        """
        own = {f.name for f in dataclasses.fields(self)} - {"sft"}
        mine = {name: value for name, value in changes.items() if name in own}
        theirs = {name: value for name, value in changes.items() if name not in own}
        return dataclasses.replace(self, sft={**self.sft, **theirs}, **mine)

    @property
    def arguments(self) -> dict[str, Any]:
        """What `SFTConfig` is given, `output_dir` aside."""
        return DEFAULTS | dict(self.sft)

    def parts(self, output_dir: str = "runs/10") -> dict[str, Any]:
        """What `preflight` takes: dataset, model, tokenizer, args, peft_config, eval_dataset."""
        from datasets import Dataset
        from trl import SFTConfig

        model, tokenizer = self._model()
        adapter = None
        if self.lora is not None and self.reloaded is None:
            from peft import LoraConfig

            adapter = LoraConfig(**self.lora)
        return {
            "dataset": Dataset.from_list([dict(row) for row in self.rows]),
            "model": model,
            "tokenizer": tokenizer,
            "args": SFTConfig(output_dir, **self.arguments),
            "peft_config": adapter,
            "eval_dataset": (
                Dataset.from_list([dict(row) for row in self.eval_rows]) if self.eval_rows else None
            ),
        }

    def _model(self) -> tuple[Any, Any]:
        from sft_helpers.models import load

        model, tokenizer = load("tiny", dtype=self.dtype)
        if self.template is not None:
            tokenizer.chat_template = self.template
        if self.start_token is not None:
            from tokenizers.processors import TemplateProcessing

            tokenizer.bos_token = start = self.start_token
            tokenizer.backend_tokenizer.post_processor = TemplateProcessing(
                single=f"{start} $A", special_tokens=[(start, tokenizer.bos_token_id)]
            )
        if self.lora is not None and self.reloaded is not None:
            from peft import LoraConfig, PeftModel, get_peft_model

            with tempfile.TemporaryDirectory(prefix="sft-adapter-") as folder:
                get_peft_model(model, LoraConfig(**self.lora)).save_pretrained(folder)
                model = PeftModel.from_pretrained(
                    load("tiny", dtype=self.dtype)[0], folder, **self.reloaded
                )
        return model, tokenizer

    def code(self) -> str:
        """The set-up as the code that a learner would write, with its first row."""
        hidden = {name for name in HOUSEKEEPING if name not in self.sft}
        shown = {name: value for name, value in self.arguments.items() if name not in hidden}
        parts = [f"# {len(self.rows):,} rows; the first:\n{_python(_short(self.rows[0]))}\n"]
        loading = "" if self.dtype == "float32" else f", dtype={self.dtype!r}"
        parts.append(f'model, tokenizer = load("tiny"{loading})')
        if self.template is not None:
            parts.append(f'tokenizer.chat_template = r"""{self.template}"""')
        if self.start_token is not None:
            parts.append(f"# this tokenizer begins every text with {self.start_token}")
        extra = ""
        if self.lora is not None:
            parts.append("\n" + _call("adapter", "LoraConfig", self.lora))
            extra = "    peft_config=adapter,\n"
        if self.reloaded is not None:
            told = "".join(f", {name}={value!r}" for name, value in self.reloaded.items())
            parts.append(f'model = PeftModel.from_pretrained(model, "adapter-of-yesterday"{told})')
            extra = ""
        parts.append("\n" + _call("args", "SFTConfig", {"output_dir": "runs/10", **shown}))
        if self.eval_rows:
            extra += f"    eval_dataset=eval_rows,  # {len(self.eval_rows):,} rows\n"
        parts.append(
            "SFTTrainer(\n    model=model,\n    args=args,\n    train_dataset=rows,\n"
            f"    processing_class=tokenizer,\n{extra})"
        )
        return "\n".join(parts)


def _short(value: Any) -> Any:
    """A row with long lists of tokens cut, so that it can be printed."""
    if isinstance(value, Mapping):
        return {key: _short(inner) for key, inner in value.items()}
    if isinstance(value, list) and len(value) > 16:
        return [*value[:12], f"... {len(value)} in all"]
    return value


def _python(value: Any) -> str:
    return pprint.pformat(value, width=88, compact=True, sort_dicts=False)


def _call(target: str, name: str, arguments: Mapping[str, Any]) -> str:
    lines = [f"    {key}={value!r}," for key, value in arguments.items()]
    return "\n".join([f"{target} = {name}(", *lines, ")"])


@dataclass(frozen=True)
class Case:
    """A broken run, how it shows, and how it is mended.

    Attributes:
        name: the complaint in a few words.
        cause: what is wrong, in a few words.
        sick, mended: the run as it came in, and a sound one for the same purpose.
        measure: the name in `Chart.measures` by which sick and healed are told apart.
        shows: what `measure` counts, in words.
        sick_bounds, healed_bounds: lowest and highest value; None leaves a side open.
        found_by: "preflight" or "monitor": where the fault is named first.
        code: the code of preflight's finding or of the monitor's sign.
    """

    name: str
    cause: str
    sick: Setup
    mended: Setup
    measure: str
    shows: str
    sick_bounds: Bounds
    healed_bounds: Bounds
    found_by: str
    code: str
