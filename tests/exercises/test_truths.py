"""What the exercises hold to be right is what TRL, PEFT, the packer and the kit's own tools do."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from datasets import Dataset
from trl import SFTConfig, SFTTrainer
from trl.data_utils import pack_dataset

from sft_helpers.exercises import grade
from sft_helpers.exercises.checks import similar_pairs
from sft_helpers.exercises.data import topic
from sft_helpers.models import load
from sft_helpers.town import read_rows

HERE = {"use_cpu": True, "bf16": False, "report_to": "none"}


@pytest.fixture(scope="module")
def tiny() -> Any:
    return load("tiny")


def right_of(name: str) -> Any:
    """What the last step of a check holds to be right."""
    found = topic(name.rpartition("-")[0].replace("-", "_")).exercises[name]
    return next(step["right"] for step in reversed(found.check) if "right" in step)


def test_00_the_expected_text_is_what_trl_trains(tiny, tmp_path):
    material = topic("quickstart").material
    config = SFTConfig(str(tmp_path), assistant_only_loss=True, **HERE)
    rows = Dataset.from_list([{"messages": material.CONVERSATION}])
    model, tokenizer = tiny
    [row] = SFTTrainer(model, config, train_dataset=rows, processing_class=tokenizer).train_dataset
    stretches, current = [], []
    for token, label in zip([*row["input_ids"], 0], [*row["labels"], -100], strict=True):
        if label != -100:
            current.append(token)
        elif current:
            stretches.append(tokenizer.decode(current))
            current = []
    assert stretches == material.TRAINED


def test_02_the_gap_is_where_the_hint_says():
    sound = max(score for score, planted in similar_pairs() if not planted)
    planted = sorted(score for score, planted in similar_pairs() if planted)
    assert sound <= 0.68
    assert planted[len(planted) // 50] >= 0.72
    assert len(planted) == 90


def test_03_the_places_are_what_the_templates_do():
    from sft_helpers.templates.render import render

    asked = topic("chat_templates").material.ASKED
    prompt, question = (m["content"] for m in asked[:2])
    texts = {name: render(name, asked) for name in right_of("chat-templates-1")}
    assert f"system\n{prompt}<|im_end|>\n" in texts["qwen2_5"].text
    assert texts["gemma"].refused
    assert f"user\n{prompt}\n\n{question}" in texts["gemma3"].text
    assert texts["deepseekv3"].text.startswith(f"<bos_token>{prompt}<｜User｜>")


def test_04_the_expected_turns_are_what_trl_trains(tiny, tmp_path):
    turns = topic("loss_masking").material.CONVERSATION
    messages, pair = {"messages": turns}, {"prompt": turns[:-1], "completion": turns[-1:]}
    setups = {
        "A": (messages, {}),
        "B": (messages, {"completion_only_loss": True}),
        "C": (messages, {"assistant_only_loss": True}),
        "D": (pair, {}),
    }
    model, tokenizer = tiny
    found = {}
    for key, (row, flags) in setups.items():
        args = SFTConfig(str(tmp_path), **HERE, **flags)
        rows = Dataset.from_list([row])
        [made] = SFTTrainer(
            model, args, train_dataset=rows, processing_class=tokenizer
        ).train_dataset
        labels = made.get("labels") or [
            token if on else -100
            for token, on in zip(
                made["input_ids"],
                made.get("completion_mask") or [1] * len(made["input_ids"]),
                strict=True,
            )
        ]
        text = tokenizer.decode([label for label in labels if label != -100])
        found[key] = sum(turn["content"] in text for turn in turns)
    assert grade("loss-masking-1", found).status == "ok", found


def test_05_exactly_one_length_is_right():
    sizes = topic("packing").material.CHOICES
    assert [size for size in sizes if grade("packing-1", size).status == "ok"] == [192]


def test_06_the_kits_own_signs_agree_with_the_diagnosis():
    from sft_helpers.training.signs import signs
    from sft_helpers.training.watch import Probe

    expected = {
        "A": "loss.flat",
        "B": "loss.zero",
        "C": "heldout.rises",
        "D": "panel.never_stops",
        "E": "loss.spike",
    }
    steps = list(range(5, 80, 10))
    for name, one in topic("full_finetuning").material.RECORDS.items():
        answers = SimpleNamespace(stopped=one["stop_rate"])
        record = SimpleNamespace(
            steps=steps, loss=one["loss"], grad_norm=one["grad_norm"], learning_rate=[],
            eval_steps=steps[: len(one["eval_loss"])], eval_loss=one["eval_loss"],
            probes=[Probe(75, answers)],
            step=75, total_steps=75, seconds_left=None, tokens_per_second=None,
        )  # fmt: skip
        assert expected[name] in {sign.code for sign in signs(record)}


def test_06_the_old_config_is_refused():
    with pytest.raises(TypeError):
        SFTConfig("unused", **HERE, **topic("full_finetuning").material.OLD_CONFIG)


def test_06_the_plan_is_what_the_trainer_does(tiny, tmp_path):
    rows = read_rows("sft_train.jsonl")
    assert len(rows) == 1_800
    args = SFTConfig(
        str(tmp_path),
        num_train_epochs=3,
        per_device_train_batch_size=4,
        gradient_accumulation_steps=8,
        warmup_steps=0.1,
        **HERE,
    )
    model, tokenizer = tiny
    dataset = Dataset.from_list(rows)
    trainer = SFTTrainer(model, args, train_dataset=dataset, processing_class=tokenizer)
    steps = trainer.set_initial_training_values(trainer.args, trainer.get_train_dataloader())[-1]
    plan = {"accumulation": 8, "steps": steps, "warmup": args.get_warmup_steps(steps)}
    assert grade("full-finetuning-3", plan).status == "ok", plan


def test_06_the_bytes_asked_for_are_those_predicted():
    from sft_helpers.memory import predict

    found = predict("Qwen2.5-1.5B", method="full", length=1024, batch=1)
    assert found.parameters == 1_543_714_304
    for part, size in {"weights": 4, "optimizer states": 8}.items():
        # gradients are not all there yet at the highest moment
        assert found.components[part] == pytest.approx(size * found.parameters, rel=1e-3)


def test_07_the_parts_that_shrink_are_those_predicted():
    from sft_helpers.memory import predict

    full, adapter = (
        predict("tiny", method=method, length=512, batch=2, precision="fp32", checkpointing=False)
        for method in ("full", "lora")
    )
    assert adapter.trainable < full.trainable / 5
    for part in ("weights", "optimizer states", "activations", "logits and loss"):
        smaller = adapter.components[part] < full.components[part] / 4
        assert smaller == (part in right_of("lora-5")), part


def test_07b_no_held_out_question_is_trained_and_every_answer_has_the_format():
    folder = Path(__file__).parents[2] / "data" / "smollm2"
    train, held = (
        [json.loads(line) for line in (folder / name).read_text("utf-8").splitlines()]
        for name in ("train.jsonl", "heldout.jsonl")
    )
    asked = {row["prompt"][0]["content"].lower() for row in train}
    questions = [row["question"].lower() for row in held]
    assert len(asked) == len(train) == 32
    assert len(set(questions)) == len(held) == 48
    assert not asked & set(questions)
    for row in train:
        [turn] = row["completion"]
        made = json.loads(turn["content"])
        assert list(made) == ["answer", "unit"]
        assert type(made["answer"]) in (int, float)
        assert json.dumps(made) == turn["content"]


def test_08_the_parts_of_the_7b_are_those_of_its_modules():
    from sft_helpers.training.adapters import count

    found = count("Qwen2.5-7B", "all-linear", 1)
    linear = sum(m.outputs * m.inputs * m.layers for m in found.modules)
    assert linear == topic("qlora").material.LINEAR_7B
    assert found.total - found.trainable - linear == topic("qlora").material.OTHER_7B


def test_09_the_numbers_in_the_claims_are_right():
    from sft_helpers.evaluation import wilson_interval

    low = wilson_interval(60, 60).low
    assert round(low, 2) == 0.94
    assert round(1 / (1 - low)) == 17


def test_10_lengths_and_packs_are_those_of_the_rows(tiny):
    from sft_helpers.clinic.cases import sound

    template = tiny[1].apply_chat_template
    ids = [template(row["messages"], return_dict=True)["input_ids"] for row in sound().rows]
    lengths = topic("pitfall_clinic").material.LENGTHS
    assert dict(sorted(Counter(map(len, ids)).items())) == lengths
    assert len(pack_dataset(Dataset.from_dict({"input_ids": ids}), 128)) == 121


def test_10_every_patient_has_a_question_and_nothing_gives_its_diagnosis_away():
    from sft_helpers.clinic.cases import cases

    asked = topic("pitfall_clinic").asked
    assert set(asked) == {case.name for case in cases()}
    assert not any(question.several for question in asked.values())
    choices = [question.choices for question in asked.values()]
    assert {len(one) for one in choices} == {4}
    places = [[right for _, right, _ in one].index(True) for one in choices]
    assert max(places.count(place) for place in range(4)) <= 5
    longest = sum(max(one, key=lambda choice: len(choice[0]))[1] for one in choices)
    assert longest <= len(choices) / 2
    assert set(right_of("pitfall-clinic-4").values()) == set(
        topic("pitfall_clinic").material.PLACES
    )
