"""Preflight: what will go wrong with a run, said before it starts.

    report = preflight(dataset, model, tokenizer, args, peft_config)
    report.has_errors, report.codes, report.findings, report.facts

Most failures of fine-tuning are silent: a wrong mask, a lost end token or a cut answer trains as
smoothly as a sound run. Nothing is guessed here: labels come from the data as `SFTTrainer` prepares
them, templates are rendered, adapters are matched on the real architecture. Nothing is trained, no
file is changed, no connection opened. Each finding names the rows, what will happen, what to change
and the lesson that explains it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sft_helpers.preflight.findings import CODES, Finding, Report
from sft_helpers.preflight.given import offline
from sft_helpers.preflight.setup import Setup, versions

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["CODES", "Finding", "Report", "Setup", "preflight", "report_of"]


def preflight(
    dataset: Any,
    model: Any,
    tokenizer: Any,
    args: Any,
    peft_config: Any = None,
    *,
    eval_dataset: Any = None,
    quantization_config: Any = None,
    formatting_func: Callable[[dict[str, Any]], str] | None = None,
    data_collator: Any = None,
) -> Report:
    """Look at a set-up as you would pass it to `SFTTrainer`, and say what will go wrong.

    Args:
        dataset: the training rows, a `Dataset` or a list of dicts.
        model: a model, its configuration, or its name (a folder, or a hub id that is cached).
        tokenizer: the tokenizer, or None to read the one of the model.
        args: the `SFTConfig`.
        peft_config: the `LoraConfig`, if there is one.
        eval_dataset: the evaluation rows.
        quantization_config: the `BitsAndBytesConfig`, if there is one.
        formatting_func, data_collator: as for `SFTTrainer`.

    Raises:
        DataError: the data set is a mapping of splits, or has no rows.
        ModelError: the model or tokenizer cannot be read without a network.
    """
    return report_of(
        Setup.of(
            dataset,
            model,
            tokenizer,
            args,
            peft_config,
            eval_dataset=eval_dataset,
            quantization_config=quantization_config,
            formatting_func=formatting_func,
            data_collator=data_collator,
        )
    )


def report_of(setup: Setup) -> Report:
    """Run every check on a set-up; an exception in a check is a bug, and is not hidden."""
    from sft_helpers.preflight import config, data, lora, masks, memory, packing, templates, tokens

    found: list[Finding] = []
    with offline():
        for module in (data, templates, masks, tokens, packing, config, lora, memory):
            found += module.check(setup)
        return Report.of(found, setup.facts, versions(), setup.places, setup)
