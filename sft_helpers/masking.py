"""The supervised view: tokens and labels of any row, read from what `SFTTrainer` prepares.

Nothing here decides which token trains. A real `SFTTrainer` with a throw-away model of one layer
prepares the data, and this module reads the result: `tests/test_masking.py` holds it equal to a
trainer with a real model for every format, loss setting and template.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from sft_helpers.errors import DataError
from sft_helpers.preparation import changed, explain, first_bad, listening, trainer

if TYPE_CHECKING:
    from datasets import Dataset
    from transformers import PreTrainedModel, PreTrainedTokenizerBase
    from trl import SFTConfig

IGNORED = -100  # the label of a token that does not count in the loss
SOURCE = "sft_row"  # column that carries the number of the row through the preparation

# What to set for the three masks that people compare.
LOSS_MODES: dict[str, dict[str, Any]] = {
    "full": {"completion_only_loss": False, "assistant_only_loss": False},
    "completion only": {"completion_only_loss": True, "assistant_only_loss": False},
    "assistant only": {"completion_only_loss": False, "assistant_only_loss": True},
}


@dataclass(frozen=True)
class TokenRow:
    """One prepared row, token by token.

    Attributes:
        tokens: the text of each token.
        ids, labels: what the trainer holds; a label of -100 does not count in the loss.
        positions: 0, 1, 2, ...; in a packed row they start again with each sample.
        roles: whose turn the token belongs to, or None where that is not known.
        source: number of the row in the data set given; None in a packed row.
    """

    tokens: list[str]
    ids: list[int]
    labels: list[int]
    positions: list[int]
    roles: list[str | None]
    source: int | None = None

    @property
    def trained(self) -> list[bool]:
        """For each token whether it counts in the loss."""
        return [label != IGNORED for label in self.labels]

    @property
    def trained_text(self) -> str:
        """The trained tokens, joined."""
        return "".join(t for t, on in zip(self.tokens, self.trained, strict=True) if on)


@dataclass(frozen=True)
class MaskReport:
    """What the masks do to a whole data set; row numbers are those of the data set given.

    Attributes:
        rows: rows given.
        prepared: rows that the trainer holds (fewer where it dropped some, or packed them).
        tokens, supervised: tokens that the trainer holds, and those that count in the loss.
        without_loss: rows in which no token counts, truncated or not.
        end_unsupervised: rows whose last trained token is not an end token.
        truncated: rows longer than `max_length`, where the strategy truncates.
        completions_lost: rows that would train something, but whose trained part is cut off.
        truncated_tokens: tokens that truncation removes.
    """

    rows: int
    prepared: int
    tokens: int
    supervised: int
    without_loss: tuple[int, ...] = ()
    end_unsupervised: tuple[int, ...] = ()
    truncated: tuple[int, ...] = ()
    completions_lost: tuple[int, ...] = ()
    truncated_tokens: int = 0

    @property
    def supervised_fraction(self) -> float:
        """Share of the tokens that count in the loss, between 0 and 1."""
        return self.supervised / self.tokens if self.tokens else 0.0


@dataclass(frozen=True)
class SupervisedView:
    """What `SFTTrainer` will train on, or why it will not.

    Attributes:
        prepared: `trainer.train_dataset`; None if the preparation failed.
        whole: the same rows before truncation and packing, one per row given.
        tokenizer: the tokenizer as the trainer left it (a copy of yours).
        chat_template: the training template that TRL put in place of the tokenizer's, or None.
        max_length, packing, strategy: as configured; `strategy` is None without packing.
        end_ids: token ids that end an answer.
        problem: why the trainer refuses these data, with the row; None if it takes them.
        warnings: what TRL said while preparing. It says some things once a process only.
    """

    tokenizer: PreTrainedTokenizerBase
    prepared: Dataset | None = None
    whole: Dataset | None = None
    chat_template: str | None = None
    max_length: int | None = None
    packing: bool = False
    strategy: str | None = None
    end_ids: tuple[int, ...] = ()
    problem: str | None = None
    warnings: tuple[str, ...] = ()
    given: Dataset | None = field(default=None, repr=False)

    def __len__(self) -> int:
        return 0 if self.prepared is None else len(self.prepared)

    def __getitem__(self, number: int) -> TokenRow:
        """Row `number` of the prepared data set."""
        if self.prepared is None:
            raise DataError(self.problem or "nothing was prepared")
        if not -len(self) <= number < len(self):
            raise IndexError(f"row {number} of {len(self)} prepared rows")
        row = self.prepared[number]
        ids, labels = list(row["input_ids"]), list(row["labels"])
        lengths = row.get("seq_lengths") or [len(ids)]
        source = row.get(SOURCE)
        return TokenRow(
            tokens=[str(self.tokenizer.decode([token])) for token in ids],
            ids=ids,
            labels=labels,
            positions=[place for length in lengths for place in range(length)],
            roles=self._roles(ids, source),
            source=source,
        )

    def __iter__(self) -> Iterator[TokenRow]:
        return (self[number] for number in range(len(self)))

    def _roles(self, ids: list[int], source: int | None) -> list[str | None]:
        unknown: list[str | None] = [None] * len(ids)
        if source is None or self.given is None:
            return unknown
        row = self.given[source]
        messages = row.get("messages")
        if messages is None and isinstance(row.get("prompt"), list):
            messages = row["prompt"] + row["completion"]
        if not isinstance(messages, list):
            return unknown
        return roles_of(ids, messages, self.tokenizer, self.chat_template)

    @property
    def lengths(self) -> np.ndarray[Any, Any]:
        """Tokens of each row given, before truncation and packing."""
        if self.whole is None:
            return np.zeros(0, dtype=int)
        return np.array([len(ids) for ids in self.whole["input_ids"]], dtype=int)

    @cached_property
    def report(self) -> MaskReport:
        """The masks of the whole data set, counted."""
        if self.whole is None or self.prepared is None:
            return MaskReport(
                rows=0 if self.given is None else len(self.given),
                prepared=0,
                tokens=0,
                supervised=0,
            )
        cut = self.max_length if self.strategy in (None, "bfd") else None
        found: dict[str, list[int]] = {
            name: [] for name in ("without_loss", "end", "truncated", "lost")
        }
        removed = 0
        for number, labels in enumerate(self.whole["labels"]):
            kept = labels[:cut]
            removed += len(labels) - len(kept)
            trained = [label for label in kept if label != IGNORED]
            if len(kept) < len(labels):
                found["truncated"].append(number)
            if not trained:
                found["without_loss"].append(number)
                if any(label != IGNORED for label in labels):
                    found["lost"].append(number)
            elif not self._ends(trained):
                found["end"].append(number)
        labels_held = self.prepared["labels"]
        return MaskReport(
            rows=len(self.whole),
            prepared=len(self.prepared),
            tokens=sum(len(labels) for labels in labels_held),
            supervised=sum(label != IGNORED for labels in labels_held for label in labels),
            without_loss=tuple(found["without_loss"]),
            end_unsupervised=tuple(found["end"]),
            truncated=tuple(found["truncated"]),
            completions_lost=tuple(found["lost"]),
            truncated_tokens=removed,
        )

    def _ends(self, trained: list[int]) -> bool:
        """Whether the last trained token that is not blank space ends the answer."""
        for token in reversed(trained):
            if token in self.end_ids:
                return True
            if str(self.tokenizer.decode([token])).strip():
                return False
        return False


def roles_of(
    ids: Sequence[int],
    messages: Sequence[Mapping[str, Any]],
    tokenizer: PreTrainedTokenizerBase,
    chat_template: str | None = None,
) -> list[str | None]:
    """For each token the role of the turn it stands in, found by rendering ever longer prefixes.

    An assistant turn's header is called "assistant header". Where a template renders a prefix in
    another way than the whole, or refuses it, the turn cannot be told: its tokens get None.
    """
    roles: list[str | None] = [None] * len(ids)
    start = 0

    def shared(turns: Sequence[Mapping[str, Any]], header: bool) -> int | None:
        try:
            part = tokenizer.apply_chat_template(
                list(turns),
                tokenize=True,
                return_dict=False,
                add_generation_prompt=header,
                chat_template=chat_template,
            )
        except Exception:  # a template may refuse a prefix, in whatever way its author chose
            return None
        size = min(len(part), len(ids))
        return size if list(part[:size]) == list(ids[:size]) else None

    for number, message in enumerate(messages, start=1):
        role = str(message.get("role"))
        if role == "assistant":
            content = shared(messages[: number - 1], header=True)
            if content is not None and content > start:
                roles[start:content] = ["assistant header"] * (content - start)
                start = content
        end = len(ids) if number == len(messages) else shared(messages[:number], header=False)
        if end is None or end < start:
            continue
        roles[start:end] = [role] * (end - start)
        start = end
    return roles


def supervised_view(
    dataset: Dataset | Sequence[Mapping[str, Any]],
    tokenizer: PreTrainedTokenizerBase,
    args: SFTConfig,
    *,
    model: PreTrainedModel | None = None,
    formatting_func: Callable[[dict[str, Any]], str] | None = None,
) -> SupervisedView:
    """What `SFTTrainer(args=args, train_dataset=dataset, processing_class=tokenizer)` trains on.

    Neither weights nor a GPU are needed: a trainer with a model of one tiny layer prepares the
    data. Your tokenizer, arguments and random state stay as they are.

    Args:
        dataset: rows in any format that TRL takes, as a `Dataset` or a list of dicts.
        tokenizer: the tokenizer to train with.
        args: the `SFTConfig` to train with.
        model: if given, the end tokens of its generation config count as end tokens too.
        formatting_func: as for `SFTTrainer`.

    Returns:
        The view. If TRL refuses the data, `view.problem` says why and names the first such row.

    Raises:
        DataError: `dataset` holds several splits.
    """
    from datasets import Dataset

    if isinstance(dataset, Mapping):
        raise DataError(
            "this is a mapping of splits, not one data set",
            hint=f"choose one, such as dataset[{next(iter(dataset), 'train')!r}]",
        )
    given = dataset if isinstance(dataset, Dataset) else Dataset.from_list(list(dataset))
    tokenizer = copy.deepcopy(tokenizer)
    settings: dict[str, Any] = {
        "tokenizer": tokenizer,
        "given": given,
        "max_length": args.max_length,
        "packing": bool(args.packing),
        "strategy": args.packing_strategy if args.packing else None,
    }
    if len(given) == 0:
        return SupervisedView(**settings, problem="the data set has no rows")
    numbered = given.add_column(SOURCE, list(range(len(given))))
    plain = {"max_length": None, "packing": False, "padding_free": False, "shuffle_dataset": False}
    said: list[str] = []

    def prepare(count: int) -> Any:
        part = numbered if count == len(numbered) else numbered.select(range(count))
        return trainer(part, tokenizer, args, plain, formatting_func)

    with listening(said):
        try:
            made = prepare(len(numbered))
        except Exception as error:
            return SupervisedView(**settings, problem=explain(error, first_bad(prepare, numbered)))
        whole = made.train_dataset
        try:
            prepared = trainer(whole, tokenizer, args, {}, None).train_dataset
        except Exception as error:
            return SupervisedView(**settings, whole=whole, problem=explain(error, None))
    return SupervisedView(
        **settings,
        prepared=prepared,
        whole=whole,
        chat_template=made.chat_template,
        end_ids=_end_ids(tokenizer, model),
        warnings=tuple(dict.fromkeys(said)),
    )


def compare_masks(
    rows: Sequence[Mapping[str, Any]], tokenizer: PreTrainedTokenizerBase, args: SFTConfig
) -> dict[str, SupervisedView]:
    """The same rows under each of `LOSS_MODES`: mode to view.

    TRL ignores `completion_only_loss` for `messages`. So for that mode such a row is given as
    `prompt` (all turns but the last) and `completion` (the last turn).
    """
    views = {}
    for mode, settings in LOSS_MODES.items():
        given = [_as_completion(row) if mode == "completion only" else dict(row) for row in rows]
        views[mode] = supervised_view(given, tokenizer, changed(args, settings))
    return views


def _as_completion(row: Mapping[str, Any]) -> dict[str, Any]:
    messages = row.get("messages")
    if not messages:
        return dict(row)
    kept = {name: value for name, value in row.items() if name != "messages"}
    return {**kept, "prompt": list(messages[:-1]), "completion": list(messages[-1:])}


def _end_ids(tokenizer: Any, model: Any) -> tuple[int, ...]:
    ids = {tokenizer.eos_token_id}
    configured = getattr(getattr(model, "generation_config", None), "eos_token_id", None)
    ids.update(configured if isinstance(configured, list) else [configured])
    return tuple(sorted(token for token in ids if token is not None))
