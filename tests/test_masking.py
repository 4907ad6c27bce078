"""The supervised view equals what `SFTTrainer` prepares; refusals are said in words."""

from __future__ import annotations

import copy
import random
from pathlib import Path
from typing import Any

import pytest

from sft_helpers.errors import DataError
from sft_helpers.masking import (
    IGNORED,
    LOSS_MODES,
    compare_masks,
    roles_of,
    supervised_view,
)
from sft_helpers.models import load

QUESTION = {"role": "user", "content": "Where does Ada live?"}
ANSWER = {"role": "assistant", "content": "Ada lives in Windmere."}
SYSTEM = {"role": "system", "content": "Answer briefly."}
MORE = [{"role": "user", "content": "And her pet?"}, {"role": "assistant", "content": "A raven."}]

FORMATS: dict[str, list[dict[str, Any]]] = {
    "messages": [{"messages": [QUESTION, ANSWER]}, {"messages": [QUESTION, ANSWER, *MORE]}],
    "system": [{"messages": [SYSTEM, QUESTION, ANSWER]}],
    "prompt and completion": [{"prompt": [QUESTION], "completion": [ANSWER]}],
    "history in the prompt": [{"prompt": [QUESTION, ANSWER, MORE[0]], "completion": [MORE[1]]}],
    "plain prompt": [{"prompt": "Where does Ada live?", "completion": " In Windmere."}],
    "text": [{"text": "Ada lives in Windmere."}],
    "from and value": [{"conversations": [{"from": "user", "value": "Where?"},
                                          {"from": "assistant", "value": "There."}]}],
    "tokens": [{"input_ids": [5, 6, 7, 8]}],
    "tokens and mask": [{"input_ids": [5, 6, 7, 8], "completion_mask": [0, 0, 1, 1]}],
    "tokens and labels": [{"input_ids": [5, 6, 7, 8], "labels": [-100, -100, 7, 8]}],
}  # fmt: skip
SETTINGS: dict[str, dict[str, Any]] = {
    "default": {},
    "completion": {"completion_only_loss": True},
    "not completion": {"completion_only_loss": False},
    "assistant": {"assistant_only_loss": True},
    "both": {"completion_only_loss": True, "assistant_only_loss": True},
    "short": {"max_length": 8},
    "short, from the end": {"max_length": 8, "truncation_mode": "keep_end"},
    "packed": {"packing": True, "max_length": 24},
    "wrapped": {"packing": True, "packing_strategy": "wrapped", "max_length": 12},
    "shuffled": {"shuffle_dataset": True, "seed": 3},
}


@pytest.fixture(scope="module")
def tiny() -> Any:
    return load("tiny")


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
            **changes,
        )

    return build


def truth(rows: list[dict[str, Any]], model: Any, tokenizer: Any, args: Any) -> Any:
    """What a trainer with the real model holds; None if it refuses."""
    from datasets import Dataset
    from trl import SFTTrainer

    try:
        trainer = SFTTrainer(
            model=model,
            args=args,
            train_dataset=Dataset.from_list(rows),
            processing_class=copy.deepcopy(tokenizer),
        )
    except Exception as error:
        return f"{type(error).__name__}"
    held = trainer.train_dataset
    return held["input_ids"][:], held["labels"][:], held[:].get("seq_lengths")


def seen(rows: list[dict[str, Any]], tokenizer: Any, args: Any) -> Any:
    view = supervised_view(rows, tokenizer, args)
    if view.problem is not None:
        return view.problem
    held = view.prepared
    assert held is not None
    return held["input_ids"][:], held["labels"][:], held[:].get("seq_lengths")


def agree(mine: Any, trls: Any) -> bool:
    """Equal data, or refused for the same reason."""
    if isinstance(trls, str):
        return isinstance(mine, str) and trls in mine
    return bool(mine == trls)


@pytest.mark.parametrize("setting", SETTINGS)
@pytest.mark.parametrize("name", FORMATS)
def test_the_view_is_what_the_trainer_holds(
    name: str, setting: str, tiny: Any, config: Any
) -> None:
    model, tokenizer = tiny
    rows = FORMATS[name] * 3
    args = SETTINGS[setting]
    assert agree(
        seen(rows, tokenizer, config(**args)), truth(rows, model, tokenizer, config(**args))
    )


def templates() -> list[Path]:
    import trl

    return sorted((Path(trl.__file__).parent / "chat_templates").glob("*.jinja"))


@pytest.mark.slow
@pytest.mark.parametrize("setting", ["default", "assistant"])
def test_equal_with_every_template_that_trl_ships(setting: str, tiny: Any, config: Any) -> None:
    model, tokenizer = tiny
    rows = [{"messages": [QUESTION, ANSWER, *MORE]}]
    paths = templates()
    assert len(paths) > 50
    trained = 0
    for path in paths:
        dressed = copy.deepcopy(tokenizer)
        dressed.chat_template = path.read_text("utf-8")
        args = SETTINGS[setting]
        mine = seen(rows, dressed, config(**args))
        assert agree(mine, truth(rows, model, dressed, config(**args))), path.name
        trained += not isinstance(mine, str)
    assert trained >= 30


def test_the_known_answers(tiny: Any, config: Any) -> None:
    """Against words, not against TRL: what a person expects to be trained."""
    _, tokenizer = tiny
    views = compare_masks([{"messages": [QUESTION, ANSWER, *MORE]}], tokenizer, config())
    assert list(views) == list(LOSS_MODES)
    text = {name: view[0].trained_text for name, view in views.items()}
    assert text["full"] == tokenizer.apply_chat_template([QUESTION, ANSWER, *MORE], tokenize=False)
    assert text["completion only"] == "A raven.<|im_end|>\n"
    assert text["assistant only"] == "Ada lives in Windmere.<|im_end|>A raven.<|im_end|>"


def test_a_row_token_by_token(tiny: Any, config: Any) -> None:
    _, tokenizer = tiny
    row = supervised_view(FORMATS["system"], tokenizer, config(assistant_only_loss=True))[0]
    assert len(row.ids) == len(row.labels) == len(row.tokens) == len(row.roles)
    assert row.positions == list(range(len(row.ids)))
    assert row.source == 0
    assert all(label in (IGNORED, id_) for label, id_ in zip(row.labels, row.ids, strict=True))
    assert [r for n, r in enumerate(row.roles) if not n or r != row.roles[n - 1]] == [
        "system", "user", "assistant header", "assistant",
    ]  # fmt: skip
    assert {r for r, on in zip(row.roles, row.trained, strict=True) if on} == {"assistant"}


def test_roles_are_unknown_where_the_template_will_not_tell(tiny: Any) -> None:
    _, tokenizer = tiny
    odd = copy.deepcopy(tokenizer)
    odd.chat_template = "{{ messages|length }}{% for m in messages %}{{ m.content }}{% endfor %}"
    ids = odd.apply_chat_template([QUESTION, ANSWER], tokenize=True, return_dict=False)
    assert roles_of(ids, [QUESTION, ANSWER], odd)[0] in (None, "assistant")
    odd.chat_template = "{{ raise_exception('no') }}"
    assert roles_of(ids, [QUESTION, ANSWER], odd) == ["assistant"] * len(ids)


def test_packed_rows_restart_their_positions(tiny: Any, config: Any) -> None:
    _, tokenizer = tiny
    rows = FORMATS["messages"] * 4
    view = supervised_view(rows, tokenizer, config(packing=True, max_length=80))
    assert view.packing
    assert view.strategy == "bfd"
    starts = [sum(p == 0 for p in row.positions) for row in view]
    assert sum(starts) == len(rows)
    assert max(starts) > 1
    assert view[0].source is None


def test_the_report_counts_what_truncation_takes(tiny: Any, config: Any) -> None:
    _, tokenizer = tiny
    rows = [{"messages": [QUESTION, ANSWER]}, {"messages": [QUESTION, ANSWER, *MORE]},
            {"messages": [{"role": "user", "content": "Well? " * 50}, ANSWER]}]  # fmt: skip
    whole = supervised_view(rows, tokenizer, config(assistant_only_loss=True, max_length=None))
    lengths = whole.lengths
    assert whole.report.truncated == whole.report.end_unsupervised == ()
    assert whole.report.tokens == lengths.sum()
    cut = supervised_view(
        rows, tokenizer, config(assistant_only_loss=True, max_length=int(lengths[1]) - 3)
    ).report
    assert cut.rows == 3
    assert cut.prepared == 2  # the third lost its answer, so TRL dropped it
    assert cut.truncated == (1, 2)
    assert cut.completions_lost == cut.without_loss == (2,)
    assert cut.end_unsupervised == (1,)
    assert cut.truncated_tokens == 3 + lengths[2] - lengths[1] + 3
    assert 0 < cut.supervised_fraction < 1


def test_an_end_token_outside_the_loss_is_counted(tiny: Any, config: Any) -> None:
    _, tokenizer = tiny
    outside = copy.deepcopy(tokenizer)
    outside.chat_template = (
        "{% for m in messages %}{{ '<|im_start|>' + m.role + '\n' }}{% generation %}"
        "{{ m.content }}{% endgeneration %}{{ '<|im_end|>\n' }}{% endfor %}"
    )
    rows = FORMATS["messages"]
    args = config(assistant_only_loss=True)
    view = supervised_view(rows, outside, args)
    assert view.report.end_unsupervised == (0, 1)
    assert supervised_view(rows, tokenizer, args).report.end_unsupervised == ()
    other = copy.deepcopy(tokenizer)
    other.eos_token = "<|endoftext|>"  # the template still ends turns with <|im_end|>
    assert supervised_view(rows, other, args).report.end_unsupervised == (0, 1)
    model, _ = tiny
    assert supervised_view(rows, other, args, model=model).report.end_unsupervised == ()


@pytest.mark.parametrize(
    ("rows", "change", "settings", "words"),
    [
        ([], {}, {}, "has no rows"),
        ([{"messages": []}], {}, {}, "row 0: .*a list of messages is empty"),
        (FORMATS["messages"] * 4 + [{"messages": []}], {}, {}, "row 8: "),
        (FORMATS["messages"], {"chat_template": None}, {}, "set tokenizer.chat_template"),
        (FORMATS["messages"], {"chat_template": None}, {"assistant_only_loss": True}, "no chat"),
        (FORMATS["text"], {"eos_token": None}, {}, "no end token"),
        (FORMATS["text"], {}, {"assistant_only_loss": True}, "needs messages"),
        (FORMATS["messages"], {"chat_template": "{{ messages[9].content }}"}, {}, "row 0: "),
        ([{"question": "?"}], {}, {}, "KeyError: 'text'"),
        (FORMATS["messages"] + [{"messages": [QUESTION]}], {}, {"assistant_only_loss": True},
         "row 2: .*no assistant turn"),
        (FORMATS["messages"], {}, {"packing": True, "max_length": None}, "max_length"),
    ],
)  # fmt: skip
def test_what_cannot_be_trained_is_said_in_words(
    rows: Any, change: dict[str, Any], settings: dict[str, Any], words: str, tiny: Any, config: Any
) -> None:
    import re

    _, tokenizer = tiny
    changed = copy.deepcopy(tokenizer)
    for name, value in change.items():
        setattr(changed, name, value)
    view = supervised_view(rows, changed, config(**settings))
    assert view.problem is not None
    assert re.search(words, view.problem.replace("\n", " "))
    assert len(view) == 0
    assert view.report.prepared == 0


def test_nothing_of_the_callers_is_changed(tiny: Any, config: Any) -> None:
    import numpy as np
    import torch

    _, tokenizer = tiny
    bare = copy.deepcopy(tokenizer)
    bare.pad_token = None
    args = config(assistant_only_loss=True, eos_token="<|endoftext|>", seed=7)
    before = (args.output_dir, args.report_to, args.max_length, args.save_strategy)
    states = (random.getstate(), np.random.get_state()[1].tolist(), torch.random.get_rng_state())
    view = supervised_view(FORMATS["messages"], bare, args)
    assert view.problem is None
    assert bare.pad_token is None
    assert bare.eos_token == tokenizer.eos_token
    assert (args.output_dir, args.report_to, args.max_length, args.save_strategy) == before
    assert random.getstate() == states[0]
    assert np.random.get_state()[1].tolist() == states[1]
    assert torch.equal(torch.random.get_rng_state(), states[2])
    assert list(Path(args.output_dir).iterdir()) == []


def test_what_trl_says_is_kept(tiny: Any, config: Any, capfd: pytest.CaptureFixture[str]) -> None:
    _, tokenizer = tiny
    outside = copy.deepcopy(tokenizer)
    outside.chat_template = (
        "{% for m in messages %}{% generation %}{{ m.content }}{% endgeneration %}"
        "{{ '<|im_end|>' }}{% endfor %}"
    )
    view = supervised_view(FORMATS["messages"], outside, config(assistant_only_loss=True))
    assert any("end-of-turn" in words for words in view.warnings)
    assert "end-of-turn" not in capfd.readouterr().err


def test_a_formatting_function_is_passed_on(tiny: Any, config: Any) -> None:
    _, tokenizer = tiny
    rows = [{"question": "Where?", "answer": "There."}]
    view = supervised_view(
        rows, tokenizer, config(), formatting_func=lambda row: f"Q {row['question']}"
    )
    assert view[0].trained_text == f"Q Where?{tokenizer.eos_token}"


def test_splits_are_no_data_set(tiny: Any, config: Any) -> None:
    from datasets import Dataset, DatasetDict

    splits = DatasetDict({"train_sft": Dataset.from_list(FORMATS["text"])})
    with pytest.raises(DataError, match="train_sft"):
        supervised_view(splits, tiny[1], config())  # type: ignore[arg-type]


def test_a_row_that_is_not_there(tiny: Any, config: Any) -> None:
    _, tokenizer = tiny
    view = supervised_view(FORMATS["text"], tokenizer, config())
    with pytest.raises(IndexError):
        view[1]
