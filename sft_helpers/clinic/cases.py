"""The fifteen patients of the clinic: broken set-ups, the mends, and the bounds of each symptom.

Each bound was set from three seeds and leaves room beyond what they gave. For exact match on 100
held-out questions: sick runs 0.00 to 0.32, mended ones 0.84 to 0.95.
A case is named by its complaint, so that its name does not give the diagnosis away.
"""

from __future__ import annotations

import functools
import random
from collections.abc import Sequence
from typing import Any

from sft_helpers.clinic import Case, Setup

START = "<|endoftext|>"
LORA = {"r": 16, "lora_alpha": 32, "target_modules": "all-linear", "task_type": "CAUSAL_LM"}


@functools.cache
def own_template() -> str:
    """The chat template of Lantern Bay's tokenizer."""
    from sft_helpers.town import data_dir

    return (data_dir() / "base" / "chat_template.jinja").read_text(encoding="utf-8")


def _swapped(old: str, new: str) -> str:
    template = own_template()
    assert old in template, "data/town/base/chat_template.jinja has changed"
    return template.replace(old, new)


def end_outside() -> str:
    """The same text, but an answer's end token stands outside the generation markers."""
    return _swapped(
        "message['content'] + '<|im_end|>' -}}\n{%- endgeneration -%}\n{{- '\\n' -}}",
        "message['content'] -}}\n{%- endgeneration -%}\n{{- '<|im_end|>\\n' -}}",
    )


def thinks_when_served() -> str:
    """For serving, it opens the answer with an empty thought that training never showed."""
    opening = "{%- if add_generation_prompt -%}\n{{- '<|im_start|>assistant\\n"
    return _swapped(opening, opening + "<think>\\n\\n</think>\\n\\n")


def with_start() -> str:
    """It writes the tokenizer's start token first, as many templates do."""
    return "{{- bos_token -}}\n" + own_template()


# It begins with a system prompt of its own, and prints no role but these three.
TWO_ROLES = """\
{{- '<|im_start|>system\\nBe brief.<|im_end|>\\n' -}}
{%- for message in messages -%}
{%- if message['role'] == 'assistant' -%}
{{- '<|im_start|>assistant\\n' -}}
{%- generation -%}
{{- message['content'] + '<|im_end|>' -}}
{%- endgeneration -%}
{{- '\\n' -}}
{%- elif message['role'] in ('system', 'user') -%}
{{- '<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>\\n' -}}
{%- endif -%}
{%- endfor -%}
{%- if add_generation_prompt -%}
{{- '<|im_start|>assistant\\n' -}}
{%- endif -%}
"""


def conversations(rows: Sequence[Any]) -> list[dict[str, Any]]:
    """Rows with nothing but their messages."""
    return [{"messages": row["messages"]} for row in rows]


def sharegpt(rows: Sequence[Any]) -> list[dict[str, Any]]:
    """The rows as ShareGPT has them: `from` human or gpt, and `value`."""
    names = {"user": "human", "assistant": "gpt"}
    return [
        {
            "conversations": [
                {"from": names[turn["role"]], "value": turn["content"]} for turn in row["messages"]
            ]
        }
        for row in rows
    ]


def rendered(rows: Sequence[Any], start: str = "") -> list[dict[str, Any]]:
    """Prompt and completion as strings, rendered beforehand; `start` goes before each prompt."""
    return [
        {
            "prompt": f"{start}<|im_start|>user\n{row['messages'][0]['content']}<|im_end|>\n"
            "<|im_start|>assistant\n",
            "completion": f"{row['messages'][1]['content']}<|im_end|>",
        }
        for row in rows
    ]


def packed_by_hand(rows: Sequence[Any], length: int) -> list[dict[str, Any]]:
    """Tokens and labels, packed with TRL's own packer before the trainer sees them."""
    from datasets import Dataset
    from transformers import AutoTokenizer
    from trl.data_utils import pack_dataset

    from sft_helpers.models import resolve

    tokenizer = AutoTokenizer.from_pretrained(resolve("tiny"), local_files_only=True)
    single = []
    for row in rows:
        made = tokenizer.apply_chat_template(
            row["messages"], return_assistant_tokens_mask=True, return_dict=True
        )
        mask = made["assistant_masks"]
        ids = made["input_ids"]
        labels = [token if kept else -100 for token, kept in zip(ids, mask, strict=True)]
        single.append({"input_ids": ids, "labels": labels})
    return list(pack_dataset(Dataset.from_list(single), length))


def sound() -> Setup:
    """A run with nothing wrong: 600 rows twice, in batches of 16."""
    from sft_helpers.town import read_rows

    rows = conversations(read_rows("sft_train.jsonl")[:600])
    return Setup(rows, {"learning_rate": 1e-3, "num_train_epochs": 2})


@functools.cache
def cases() -> tuple[Case, ...]:
    """All cases, in the order of the notebook."""
    from sft_helpers.town import read_rows

    good = sound()
    rows = good.rows
    dev = conversations(read_rows("sft_dev.jsonl"))
    held_out = random.Random(0).sample(dev, 100)
    evaluated = {"eval_rows": held_out, "eval_strategy": "steps", "eval_steps": 15}
    short = good.mend(rows=rows[:60], num_train_epochs=20, eval_strategy="steps", eval_steps=40)
    started = good.mend(
        rows=rendered(rows, START),
        template=with_start(),
        start_token=START,
        assistant_only_loss=False,
    )
    hand = good.mend(
        rows=packed_by_hand(rows, 256),
        max_length=256,
        assistant_only_loss=False,
        per_device_train_batch_size=2,
    )
    packed = good.mend(packing=True)
    adapter = good.mend(lora=LORA, learning_rate=4e-3, activation_checkpointing=True)
    adapter = adapter.mend(
        rows=conversations(read_rows("sft_train.jsonl")[:1200]),
        num_train_epochs=1,
        per_device_train_batch_size=8,
    )
    stiff = good.mend(dtype="bfloat16", learning_rate=1e-4, per_device_train_batch_size=4)
    few = good.mend(rows=rows[:30], num_train_epochs=50, learning_rate=2e-3, **evaluated)
    unseen = good.mend(eval_rows=held_out)
    match, half = "exact match on held-out residents", (0.5, None)
    return (
        Case("rambles", "no end token in the loss", good.mend(template=end_outside()), good,
             "stop_rate", "answers that end by themselves", (None, 0.35), (0.95, None),
             "preflight", "mask.end_token_unsupervised"),
        Case("rambles too", "answers truncated", good.mend(max_length=20), good,
             "stop_rate", "answers that end by themselves", (None, 0.35), (0.95, None),
             "preflight", "tokens.truncated"),
        Case("mostly wrong", "loss on everything", good.mend(assistant_only_loss=False), good,
             "exact_match", match, (None, 0.5), (0.75, None),
             "preflight", "mask.full_sequence"),
        Case("always the same", "ShareGPT roles vanished",
             good.mend(rows=sharegpt(rows), template=TWO_ROLES, assistant_only_loss=False),
             good.mend(template=TWO_ROLES),
             "exact_match", match, (None, 0.02), (0.75, None),
             "preflight", "template.drops_content"),
        Case("lost in service", "wrong template at serving",
             good.mend(template=thinks_when_served()), good,
             "exact_match", match, (None, 0.3), (0.75, None),
             "preflight", "template.prefix_broken"),
        Case("looks odd", "two start tokens", started,
             started.mend(rows=rendered(rows)),
             "double_starts", "rows that begin with a token twice", (1, 1), (None, 0),
             "preflight", "tokens.double_bos"),
        Case("mixes people up", "packed by hand", hand,
             good.mend(packing=True, max_length=256, per_device_train_batch_size=2),
             "exact_match", match, (None, 0.5), (0.7, None),
             "preflight", "packing.prepacked_contaminates"),
        Case("over in a second", "too few steps after packing", packed,
             packed.mend(per_device_train_batch_size=3),
             "exact_match", match, (None, 0.2), (0.75, None),
             "preflight", "packing.few_steps"),
        Case("babbles", "learning rate ten times too high", good.mend(learning_rate=1e-2), good,
             "exact_match", match, (None, 0.2), (0.75, None),
             "preflight", "config.learning_rate_high"),
        Case("learns too little", "learning rate ten times too low",
             good.mend(learning_rate=1e-4), good,
             "exact_match", match, (None, 0.2), (0.75, None),
             "preflight", "config.learning_rate_low"),
        Case("as it was", "adapter that trains nothing", adapter.mend(reloaded={}),
             adapter.mend(reloaded={"is_trainable": True}),
             "exact_match", match, (None, 0), half,
             "preflight", "lora.nothing_trains"),
        Case("stands still", "bf16 weights that do not move", stiff, stiff.mend(dtype="float32"),
             "exact_match", match, (None, 0.3), (0.6, None),
             "preflight", "config.low_precision_weights"),
        Case("too good", "leak that flatters", short.mend(eval_rows=rows[:60]),
             short.mend(eval_rows=held_out),
             "flattery", "claimed exact match above the true one", (0.3, None), (None, 0.22),
             "preflight", "data.split_overlap"),
        Case("turns up again", "over-fitted", few, good.mend(**evaluated),
             "held_out_rise", "last held-out loss over the lowest", (1.15, None), (None, 1.1),
             "monitor", "heldout.rises"),
        Case("no curve", "evaluation that never ran", unseen,
             unseen.mend(eval_strategy="steps", eval_steps=15),
             "evaluations", "held-out losses during the run", (None, 0), (3, None),
             "preflight", "config.eval_never_runs"),
    )  # fmt: skip
