"""Layouts are TRL's own; no token is lost or counted twice but where the strategy truncates."""

from __future__ import annotations

import math
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from data.make import town
from sft_helpers.errors import DataError
from sft_helpers.isolation import (
    attention_pattern,
    gradient_difference,
    isolation_probe,
    packed_batch,
    random_model,
)
from sft_helpers.masking import supervised_view
from sft_helpers.models import load
from sft_helpers.packing import STRATEGIES, Samples, costs, layout, packing_grid

FEW = settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
lengths = st.lists(st.integers(0, 40), min_size=1, max_size=25)


def samples_of(sizes: list[int], masked: int = 0) -> Samples:
    """Samples of these lengths, the first `masked` tokens of each without a label."""
    rows = [
        {"input_ids": list(range(n)), "labels": [-100] * min(masked, n) + [1] * max(0, n - masked)}
        for n in sizes
    ]
    return Samples.of(rows)


def tokens_of(laid: Any) -> Counter[tuple[int, int]]:
    """How often each (sample, place) occurs."""
    found: Counter[tuple[int, int]] = Counter()
    for _, sample, start, length in laid.pieces():
        found.update((sample, start + place) for place in range(length))
    return found


@FEW
@given(sizes=lengths, size=st.integers(1, 30), strategy=st.sampled_from(STRATEGIES))
def test_no_token_is_lost_or_doubled_but_where_the_strategy_truncates(
    sizes: list[int], size: int, strategy: str
) -> None:
    laid = layout(samples_of(sizes), size, strategy)
    cut = size if strategy in ("none", "bfd") else None
    wanted = {(n, place) for n, length in enumerate(sizes) for place in range(length)[:cut]}
    found = tokens_of(laid)
    assert set(found) == wanted
    assert set(found.values()) <= {1}
    assert laid.row_lengths.max(initial=0) <= size
    assert (laid.length > 0).all()
    assert int(laid.row_lengths.sum()) == len(wanted)


@FEW
@given(sizes=lengths, size=st.integers(1, 30))
def test_what_each_strategy_may_cut(sizes: list[int], size: int) -> None:
    pieces = {
        strategy: Counter(layout(samples_of(sizes), size, strategy).sample.tolist())
        for strategy in STRATEGIES
    }
    assert set(pieces["none"].values()) | set(pieces["bfd"].values()) <= {1}
    assert all(
        count == math.ceil(sizes[number] / size) for number, count in pieces["bfd_split"].items()
    )


@FEW
@given(
    sizes=st.lists(st.integers(1, 40), min_size=1, max_size=15),
    masked=st.integers(0, 12),
    size=st.integers(2, 30),
    batch=st.integers(1, 6),
    strategy=st.sampled_from(STRATEGIES),
)
def test_costs_are_what_the_collator_delivers(
    sizes: list[int], masked: int, size: int, batch: int, strategy: str
) -> None:
    """Count padding and labels in the batches of TRL's own packer and collator."""
    from datasets import Dataset
    from trl.data_utils import pack_dataset
    from trl.trainer.sft_trainer import DataCollatorForLanguageModeling

    labels = [[-100] * min(masked, n) + [7] * max(0, n - masked) for n in sizes]
    rows = [{"input_ids": [5] * len(one), "labels": one} for one in labels]
    if strategy == "none":
        rows = [{name: values[:size] for name, values in row.items()} for row in rows]
        rows = [row for row in rows if any(label != -100 for label in row["labels"])]
    else:
        rows = list(pack_dataset(Dataset.from_list(rows), size, strategy))
    collate = DataCollatorForLanguageModeling(
        pad_token_id=0, padding_free=strategy in ("bfd", "bfd_split")
    )
    batches = [collate(rows[at : at + batch]) for at in range(0, len(rows), batch)]
    given_samples = samples_of(sizes, masked)
    cost = costs(given_samples, layout(given_samples, size, strategy), batch)
    assert cost.rows == len(rows)
    assert cost.steps == len(batches)
    assert cost.padding == sum(int((b["input_ids"] == 0).sum()) for b in batches)
    assert cost.tokens == sum(int((b["input_ids"] != 0).sum()) for b in batches)
    # the loss compares labels[1:] with the logits before them
    assert cost.supervised == sum(int((b["labels"][:, 1:] != -100).sum()) for b in batches)


@pytest.fixture(scope="module")
def tiny() -> Any:
    return load("tiny")


@pytest.fixture(scope="module")
def rows() -> list[dict[str, Any]]:
    mixed = town.multi_turn("dev")[:30] + town.single_turn("dev", (0,))[:60]
    return [{"messages": row["messages"]} for row in mixed]


@pytest.fixture
def config(tmp_path: Path) -> Any:
    def build(**changes: Any) -> Any:
        from trl import SFTConfig

        return SFTConfig(
            output_dir=str(tmp_path),
            use_cpu=True,
            bf16=False,
            activation_checkpointing=False,
            report_to=[],
            assistant_only_loss=True,
            **changes,
        )

    return build


@pytest.mark.parametrize("size", [20, 64, 200])
@pytest.mark.parametrize("strategy", STRATEGIES)
def test_a_layout_is_the_trainers_data_set(
    strategy: str, size: int, tiny: Any, rows: Any, config: Any
) -> None:
    from datasets import Dataset
    from trl import SFTTrainer

    model, tokenizer = tiny
    whole = supervised_view(rows, tokenizer, config(max_length=None)).whole
    packing = {} if strategy == "none" else {"packing": True, "packing_strategy": strategy}
    held = SFTTrainer(
        model=model,
        args=config(max_length=size, **packing),
        train_dataset=Dataset.from_list(rows),
        processing_class=tokenizer,
    ).train_dataset
    laid = layout(Samples.of(whole), size, strategy)
    rebuilt: list[list[int]] = [[] for _ in laid.row_lengths]
    for row, sample, start, length in laid.pieces():
        rebuilt[row] += whole[sample]["input_ids"][start : start + length]
    assert rebuilt == held["input_ids"][:]


def test_steps_are_the_trainers(tiny: Any, rows: Any, config: Any) -> None:
    from datasets import Dataset
    from trl import SFTTrainer

    model, tokenizer = tiny
    args = config(
        packing=True, max_length=128, per_device_train_batch_size=3, gradient_accumulation_steps=2
    )
    trainer = SFTTrainer(
        model=model, args=args, train_dataset=Dataset.from_list(rows), processing_class=tokenizer
    )
    whole = supervised_view(rows, tokenizer, args).whole
    samples = Samples.of(whole)
    cost = costs(samples, layout(samples, 128, "bfd"), batch=3, accumulation=2)
    loader = trainer.get_train_dataloader()
    assert cost.rows == len(trainer.train_dataset)
    assert cost.steps == math.ceil(len(loader) / 2)


@pytest.mark.parametrize("packing", [False, True])
def test_a_measured_epoch_counts_what_the_model_gets(
    packing: bool, tiny: Any, rows: Any, config: Any
) -> None:
    from datasets import Dataset
    from trl import SFTTrainer

    _, tokenizer = tiny
    args = config(
        packing=packing,
        max_length=64,
        per_device_train_batch_size=8,
        num_train_epochs=1,
        save_strategy="no",
        disable_tqdm=True,
        train_sampling_strategy="sequential",
    )
    trainer = SFTTrainer(
        model=load("tiny")[0],
        args=args,
        train_dataset=Dataset.from_list(rows),
        processing_class=tokenizer,
    )
    collate, seen = trainer.data_collator, []

    def counting(some: Any) -> Any:
        batch = collate(some)
        seen.append((sum(len(row["input_ids"]) for row in some), batch["input_ids"].numel()))
        return batch

    trainer.data_collator = counting
    trainer.train()
    tokens, cells = (sum(column) for column in zip(*seen, strict=True))
    samples = Samples.of(supervised_view(rows, tokenizer, config(max_length=None)).whole)
    cost = costs(samples, layout(samples, 64, "bfd" if packing else "none"), batch=8)
    assert (trainer.state.global_step, tokens) == (cost.steps, cost.tokens)
    assert cells == cost.tokens + cost.padding
    assert 1 - tokens / cells == pytest.approx(cost.waste)


@pytest.fixture(scope="module")
def short(tiny: Any) -> list[dict[str, list[int]]]:
    _, tokenizer = tiny
    found = []
    for row in town.single_turn("dev", (0,))[:4]:
        ids = tokenizer.apply_chat_template(row["messages"], tokenize=True, return_dict=False)
        found.append({"input_ids": list(ids), "labels": [-100] * 9 + list(ids)[9:]})
    return found


def test_the_probed_batch_is_the_trainers(tiny: Any, config: Any, short: Any) -> None:
    """`packed_batch` stands for what a real trainer's collator makes of a real packed row."""
    import torch
    from datasets import Dataset
    from trl import SFTTrainer

    model, tokenizer = tiny
    total = sum(len(sample["input_ids"]) for sample in short)
    for strategy in ("bfd", "bfd_split", "wrapped"):
        trainer = SFTTrainer(
            model=model,
            args=config(packing=True, packing_strategy=strategy, max_length=total),
            train_dataset=Dataset.from_list(
                [{"messages": [{"role": "user", "content": "?"}], **one} for one in short]
            ),
            processing_class=tokenizer,
        )
        wanted = trainer.data_collator([trainer.train_dataset[0]])
        batch, places = packed_batch(short, strategy, pad_token_id=tokenizer.pad_token_id)
        assert set(batch) == set(wanted)
        for name, value in wanted.items():
            assert torch.equal(torch.as_tensor(batch[name]), torch.as_tensor(value)), name
        for sample, at, length in places:
            ids = short[sample]["input_ids"]
            assert batch["input_ids"][0, at : at + length].tolist() == ids


@pytest.mark.parametrize(
    ("strategy", "padding_free", "apart"),
    [("bfd", None, True), ("bfd_split", None, True), ("wrapped", None, False),
     ("bfd", False, False)],
)  # fmt: skip
def test_samples_stay_apart_or_do_not(
    strategy: str, padding_free: bool | None, apart: bool, tiny: Any, short: Any
) -> None:
    model, _ = tiny
    logits = isolation_probe(model, short, strategy, padding_free=padding_free)
    gradient = gradient_difference(model, short, strategy, padding_free=padding_free)
    if apart:
        assert logits < 5e-5
        assert gradient < 1e-5
    else:
        assert logits > 0.05
        assert gradient > 0.01


def test_an_architecture_that_ignores_positions_is_found(tiny: Any, short: Any) -> None:
    vocabulary = len(tiny[1])
    found = {
        family: isolation_probe(random_model(family, vocabulary), short)
        for family in ("llama", "qwen2", "gpt2", "opt", "bloom")
    }
    clean = {family for family, worst in found.items() if worst < 1e-5}
    assert clean == {"llama", "qwen2", "gpt2"}
    assert min(found["opt"], found["bloom"]) > 1e-3
    with pytest.raises(DataError, match="no size is known"):
        random_model("unheard-of", 10)


def test_the_attention_picture(tiny: Any, short: Any) -> None:
    model, _ = tiny
    before = model.config._attn_implementation
    batch, places = packed_batch(short)
    pattern = attention_pattern(model, batch)
    assert model.config._attn_implementation == before
    blocks = np.zeros_like(pattern)
    for _, at, length in places:
        blocks[at : at + length, at : at + length] = np.tril(np.ones((length, length), dtype=bool))
    assert (pattern == blocks).all()
    naive = attention_pattern(model, packed_batch(short, padding_free=False)[0])
    assert (naive == np.tril(np.ones_like(naive))).all()


def test_the_grid(tiny: Any, rows: Any, config: Any) -> None:
    _, tokenizer = tiny
    whole = supervised_view(rows, tokenizer, config()).whole
    grid = packing_grid(whole, max_lengths=(32, 64), batches=(2, 4))
    assert grid.samples == len(rows)
    assert len(grid.layouts) == 8
    assert len(grid.costs) == 16
    assert grid.costs["bfd", 64, 2].steps < grid.costs["none", 64, 2].steps
    assert grid.costs["bfd_split", 32, 2].truncated_tokens == 0
    assert grid.costs["none", 32, 2].truncated_samples >= 30


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: layout(samples_of([3]), 4, "best"), "unknown strategy 'best'"),
        (lambda: layout(samples_of([3]), 0), "max_length is 0"),
        (lambda: packing_grid([]), "no samples"),
        (lambda: packing_grid([{"messages": []}]), "not tokenized"),
    ],
)
def test_errors_say_what_to_do(call: Any, words: str) -> None:
    with pytest.raises(DataError, match=words):
        call()


def test_empty_samples_take_no_place() -> None:
    for strategy in STRATEGIES:
        assert len(layout(samples_of([0, 0]), 4, strategy).row_lengths) == 0
        cost = costs(samples_of([0, 0]), layout(samples_of([0, 0]), 4, strategy), 2)
        assert (cost.steps, cost.tokens, cost.waste, cost.fill) == (0, 0, 0.0, 0.0)
