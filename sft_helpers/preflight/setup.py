"""A set-up to look at, and what several checks want to know of it, each computed once."""

from __future__ import annotations

import copy
import importlib.metadata
import itertools
import json
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from sft_helpers.preflight.findings import Finding, Severity, finding
from sft_helpers.preflight.given import arguments_of, model_of, rows_of, tokenizer_of
from sft_helpers.preflight.prepared import Bools, Prepared, prepare
from sft_helpers.preflight.sample import Sample, sample_of
from sft_helpers.preflight.scan import Scan, conversation, scan, special_tokens

if TYPE_CHECKING:
    from datasets import Dataset
    from transformers import PretrainedConfig, PreTrainedModel, PreTrainedTokenizerBase
    from trl import SFTConfig

LIBRARIES = ("trl", "transformers", "peft", "datasets", "bitsandbytes", "torch")


@dataclass
class Setup:
    """What would be passed to `SFTTrainer`; nothing in it is changed.

    Attributes:
        dataset: the training rows.
        args: the arguments.
        config: the model's configuration.
        tokenizer: the tokenizer as given; see `trained_tokenizer`.
        model: the model, if it is loaded; None where only its name or configuration is known.
        model_name: its folder or hub id, if known.
        generation_config: where generation stops, if known.
        eval_dataset, peft_config, quantization_config, formatting_func, data_collator: as given.
        source: the file that the training rows come from, if it is one.
        given_arguments: the config file as read from YAML; empty without one.
        unknown_arguments: names in it that neither TRL nor accelerate knows.
        refused: what `SFTConfig` said when it refused the arguments on this machine (they were
            then read as for a CPU); None if it took them.
        sampled: how many rows were taken of a stream; None for a data set.
    """

    dataset: Dataset
    args: SFTConfig
    config: PretrainedConfig
    tokenizer: PreTrainedTokenizerBase
    model: PreTrainedModel | None = None
    model_name: str | None = None
    generation_config: Any = None
    eval_dataset: Any = None
    peft_config: Any = None
    quantization_config: Any = None
    formatting_func: Callable[[dict[str, Any]], str] | None = None
    data_collator: Any = None
    source: Path | None = None
    given_arguments: Mapping[str, Any] = field(default_factory=dict)
    unknown_arguments: tuple[str, ...] = ()
    refused: str | None = None
    sampled: int | None = None

    @classmethod
    def of(
        cls,
        dataset: Any,
        model: Any,
        tokenizer: Any,
        args: Any,
        peft_config: Any = None,
        **more: Any,
    ) -> Setup:
        """The set-up from what `SFTTrainer` takes; names are read from the disk only."""
        rows, sampled = rows_of(dataset)
        loaded, name, config, generation = model_of(model)
        return cls(
            dataset=rows,
            args=arguments_of(args),
            config=config,
            tokenizer=tokenizer if tokenizer is not None else tokenizer_of(name),
            model=loaded,
            model_name=name,
            generation_config=generation,
            peft_config=peft_config,
            sampled=sampled,
            **more,
        )

    # --- the rows as TRL prepares them ------------------------------------------------------

    @cached_property
    def prepared(self) -> Prepared:
        """The training rows as `SFTTrainer` prepares them, before truncation and packing."""
        sample = sample_of(self.dataset, lambda: self.scan.worth_a_look())
        return self.prepare(self.dataset, sample, lambda: (self.scan.fatal, self.scan.faulty))

    def prepare(
        self, rows: Dataset, sample: Sample, faulty: Callable[[], Sequence[Sequence[int]]] = tuple
    ) -> Prepared:
        """Rows as TRL prepares them with these arguments; see `prepared.prepare`."""
        from transformers.tokenization_utils_base import VERY_LARGE_INTEGER

        tokenizer = copy.deepcopy(self.tokenizer)
        tokenizer.model_max_length = VERY_LARGE_INTEGER  # rows that are too long are findings
        return prepare(
            rows,
            tokenizer,
            self.args,
            sample=sample,
            faulty=faulty,
            stops=self.stops,
            formatting_func=self.formatting_func,
        )

    @cached_property
    def eval_sets(self) -> dict[str, Dataset]:
        """The evaluation sets by name; the only one is called "eval"."""
        given = self.eval_dataset
        if given is None:
            return {}
        named = given if isinstance(given, Mapping) else {"eval": given}
        return {name: rows_of(rows)[0] for name, rows in named.items()}

    @cached_property
    def scan(self) -> Scan:
        """What one pass over the raw rows found."""
        return scan(
            self.dataset,
            text_field=self.args.dataset_text_field,
            specials=special_tokens(self.tokenizer),
            formatted=self.formatting_func is not None,
        )

    @property
    def stops(self) -> tuple[int, ...]:
        """Token ids at which generation stops by the model's generation config."""
        found = getattr(self.generation_config, "eos_token_id", None)
        return (
            tuple(found) if isinstance(found, list | tuple) else () if found is None else (found,)
        )

    @property
    def trained_tokenizer(self) -> PreTrainedTokenizerBase:
        """The tokenizer as TRL leaves it: `eos_token` and `chat_template_path` applied."""
        return self.prepared.tokenizer

    @property
    def conversational(self) -> bool:
        """Whether TRL takes the first row for a conversation, perhaps after renaming its keys."""
        from trl.data_utils import is_conversational, maybe_convert_to_chatml

        return bool(is_conversational(maybe_convert_to_chatml(dict(self.dataset[0]))))

    def messages_of(self, row: Any) -> tuple[list[dict[str, Any]] | None, dict[str, Any]]:
        """The conversation of a row as TRL hands it to the template, and the other arguments.

        As in `tokenize_fn` of sft_trainer.py; None for a row that is no conversation.
        """
        from trl.data_utils import maybe_convert_to_chatml

        row = maybe_convert_to_chatml(dict(row))
        messages = conversation(row)
        tools = row.get("tools")
        options = {
            "tools": json.loads(tools) if isinstance(tools, str) else tools,
            **(row.get("chat_template_kwargs") or {}),
        }
        return messages or None, options

    def tokens(
        self, messages: Any, options: Mapping[str, Any], template: str | None = None
    ) -> list[int] | None:
        """Tokens of a conversation; None if the template refuses it."""
        try:
            found = self.trained_tokenizer.apply_chat_template(
                messages, return_dict=False, chat_template=template, **options
            )
        except Exception:  # a template may fail in whatever way its author chose
            return None
        return list(found)

    def rendered(self, row: Any) -> str | None:
        """The text that TRL tokenizes for a conversation; None if the template refuses it."""
        messages, options = self.messages_of(row)
        try:
            return str(
                self.trained_tokenizer.apply_chat_template(
                    messages, tokenize=False, chat_template=self.prepared.chat_template, **options
                )
            )
        except Exception:  # a template may fail in whatever way its author chose
            return None

    @property
    def clones_template(self) -> bool:
        """Whether TRL copies template and tokens of another tokenizer, and resizes the model."""
        path = self.args.chat_template_path
        return path is not None and not Path(path).is_file()

    @property
    def method(self) -> str:
        """ "full", "lora" or "qlora", for the facts and the memory account."""
        if self.adapter is None:
            return "full"
        return "lora" if self.quantized_by is None else "qlora"

    @property
    def adapter(self) -> Any:
        """The adapter's configuration, as given or as the loaded model says; None without one."""
        loaded = getattr(self.model, "peft_config", None) or {}
        return self.peft_config or next(iter(loaded.values()), None)

    @property
    def quantized_by(self) -> Any:
        """How the base is quantized, as given or as the loaded model says; None where it is not."""
        given = self.quantization_config or (self.args.model_init_kwargs or {}).get(
            "quantization_config"
        )
        return given or getattr(self.config, "quantization_config", None)

    @property
    def refusal_explained(self) -> bool:
        """Whether another finding says why TRL refused the rows."""
        words = self.prepared.problem or ""
        explained = ("not training-compatible", "not conversational", "chat_template is not set",
                     "expected string or bytes-like", "no assistant tokens",
                     "endswith first arg")  # fmt: skip
        known_row = self.prepared.bad_row in set(self.scan.faulty)
        return known_row or any(sign in words for sign in explained)

    @property
    def sample(self) -> int:
        """How many rows were tokenised, where that is not all of them; else 0."""
        taken = self.prepared.sample
        return len(taken.rows) if taken.partial else 0

    def about(
        self, code: str, message: str, fix: str, which: Bools, severity: Severity | None = None
    ) -> Iterator[Finding]:
        """A finding about the prepared rows for which `which` holds; none if there are none."""
        rows = self.prepared.numbers(which)
        if len(rows):
            yield finding(code, message, fix, rows, severity=severity, sample=self.sample)

    @property
    def lengths(self) -> np.ndarray[Any, Any]:
        """Tokens of each prepared row, before truncation and packing."""
        return self.prepared.stats.lengths

    @cached_property
    def packed(self) -> Dataset | None:
        """The training rows (of a sample: those drawn) packed by TRL; None without packing, or if
        they cannot be packed.
        """
        whole = self.prepared.dataset
        if not self.args.packing or whole is None or self.args.max_length is None:
            return None
        from trl.data_utils import pack_dataset

        from sft_helpers.preparation import quiet_datasets

        with quiet_datasets():
            columns = whole.select_columns(["input_ids", "labels"])
            if self.sample:
                columns = columns.select(np.flatnonzero(self.prepared.drawn))
            return pack_dataset(columns, self.args.max_length, self.args.packing_strategy)

    @cached_property
    def rows_held(self) -> int:
        """Rows that the trainer holds after truncation, dropping and packing."""
        if self.packed is not None:
            return round(len(self.packed) * self.prepared.scale)
        stats = self.prepared.typical
        kept = stats.lengths if self.args.max_length is None else stats.supervised_kept
        return round(np.count_nonzero(kept) * self.prepared.scale)

    # --- the run -----------------------------------------------------------------------------

    @property
    def rows_per_step(self) -> int:
        """Rows in one optimizer step on this machine."""
        args = self.args
        return int(args.train_batch_size * args.gradient_accumulation_steps * args.world_size)

    @property
    def steps_per_epoch(self) -> int:
        """Optimizer steps in one pass (transformers, Trainer.set_initial_training_values)."""
        per_device = self.args.train_batch_size * self.args.world_size
        batches = math.ceil(self.rows_held / per_device)
        return max(math.ceil(batches / self.args.gradient_accumulation_steps), 1)

    @property
    def steps(self) -> int:
        """Optimizer steps of the whole run (transformers, Trainer.set_initial_training_values)."""
        if self.args.max_steps > 0:
            return int(self.args.max_steps)
        return math.ceil(self.args.num_train_epochs * self.steps_per_epoch)

    @cached_property
    def skeleton(self) -> PreTrainedModel:
        """The model without weights, on the meta device: its modules and shapes are real."""
        from sft_helpers.memory.model import skeleton

        return skeleton(self.config)

    @property
    def vocabulary_rows(self) -> int:
        """Rows of the embedding before TRL adds any."""
        if self.model is not None:
            return int(self.model.get_input_embeddings().weight.shape[0])
        return int(self.config.get_text_config().vocab_size)

    @cached_property
    def facts(self) -> dict[str, Any]:
        """The run in numbers; a number that could not be had is None."""
        from sft_helpers.preflight.facts import facts_of

        return facts_of(self)

    def places(self, rows: Iterable[int]) -> dict[int, str]:
        """Where rows stand in the file; empty where that is unknown."""
        return places_in(self.source, rows)


def places_in(source: Path | None, rows: Iterable[int]) -> dict[int, str]:
    """Where rows stand in a file of JSON lines, counted from 1: "line 7"; else empty."""
    wanted = set(rows)
    if source is None or not wanted or source.suffix not in (".jsonl", ".ndjson"):
        return {}
    with source.open("rb") as file:
        filled = (number for number, line in enumerate(file, start=1) if line.strip())
        lines = itertools.islice(filled, max(wanted) + 1)
        return {row: f"line {line}" for row, line in enumerate(lines) if row in wanted}


def versions() -> dict[str, str]:
    """Installed versions of what was asked."""
    found = {}
    for name in LIBRARIES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found
