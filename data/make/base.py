"""`data/town/base`: the tokenizer and the small base model that knows the town.

The tokenizer is trained with the `tokenizers` library and the model with TRL's own `SFTTrainer`
on plain text: pretraining and fine-tuning differ in their data, not in their trainer.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from data.make import town

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

VOCABULARY = 1280
BLOCK = 256
END_OF_TEXT, TURN_START, TURN_END = "<|endoftext|>", "<|im_start|>", "<|im_end|>"

CHAT_TEMPLATE = """\
{%- for message in messages -%}
{{- '<|im_start|>' + message['role'] + '\\n' -}}
{%- if message['role'] == 'assistant' -%}
{%- generation -%}
{{- message['content'] + '<|im_end|>' -}}
{%- endgeneration -%}
{{- '\\n' -}}
{%- else -%}
{{- message['content'] + '<|im_end|>\\n' -}}
{%- endif -%}
{%- endfor -%}
{%- if add_generation_prompt -%}
{{- '<|im_start|>assistant\\n' -}}
{%- endif -%}
"""

MODEL_CARD = """\
---
license: apache-2.0
library_name: transformers
pipeline_tag: text-generation
---
# Lantern Bay base

A base model of {weights:,} weights (Llama architecture, 4 layers, hidden size 128, tied
embeddings, float32) that completes the gazette of an invented town. It answers no question: that
is what the course on supervised fine-tuning begins with.

* Pretrained from scratch with TRL's `SFTTrainer` on plain text: {steps:,} steps, {tokens:,}
  tokens, seed {seed}; last training loss {loss:.3f} nats per token.
* Byte-level BPE tokenizer of {vocabulary:,} tokens; end token `<|im_end|>`, padding
  `<|endoftext|>`; a ChatML template with generation markers.
* Pretraining text holds no chat. The embeddings of `<|im_start|>` and `<|im_end|>` start as that
  of `<|endoftext|>` plus noise.

Not for any use but learning: it knows 240 invented people and nothing else. Made by
`make town`; see `data/README.md`.
"""

PRETRAINING: dict[str, Any] = {
    "max_steps": 1500,
    "per_device_train_batch_size": 16,
    "learning_rate": 3e-3,
    "lr_scheduler_type": "cosine",
    "warmup_steps": 0.1,
    "weight_decay": 0.05,
    "adam_beta2": 0.95,
    "max_length": BLOCK,
    "packing": True,
    "packing_strategy": "wrapped",
    "eos_token": END_OF_TEXT,
}


def train_tokenizer(seed: int = town.SEED) -> PreTrainedTokenizerFast:
    """A byte-level BPE tokenizer with ChatML tokens; it encodes any text without loss.

    It learns its merges from the gazette, where every name stands, and from the training chats.
    """
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    core = Tokenizer(models.BPE())
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    core.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        special_tokens=[END_OF_TEXT, TURN_START, TURN_END],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    editions = [entry for number in range(8) for entry in town.gazette_pass(number, seed)]
    chats = [
        "\n".join(f"{turn['role']}\n{turn['content']}" for turn in row["messages"])
        for row in town.multi_turn("train", seed) + town.with_system("train", seed)
    ]
    core.train_from_iterator(editions + chats, trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=core,
        eos_token=TURN_END,
        pad_token=END_OF_TEXT,
        model_max_length=512,
        chat_template=CHAT_TEMPLATE,
        clean_up_tokenization_spaces=False,
    )


def build_base(out: Path, seed: int = town.SEED, *, steps: int, threads: int | None = None) -> None:
    """Pretrain the base model on the gazette and put it into `out/base`.

    Args:
        out: the town's folder.
        seed: seed of data, weights and order.
        steps: optimizer steps, each on 16 blocks of 256 tokens.
        threads: CPU threads; None takes every core.
    """
    import torch
    from datasets import Dataset
    from transformers import GenerationConfig, LlamaForCausalLM, set_seed
    from trl import SFTConfig, SFTTrainer

    torch.set_num_threads(threads or os.cpu_count() or 1)
    set_seed(seed)
    tokenizer = train_tokenizer(seed)
    model = LlamaForCausalLM(model_config(tokenizer))
    editions = 1 + steps * PRETRAINING["per_device_train_batch_size"] * BLOCK // 12_000
    text = [entry for number in range(editions) for entry in town.gazette_pass(number, seed)]
    with tempfile.TemporaryDirectory(dir=out, prefix=".build-") as work:
        trainer = SFTTrainer(
            model=model,
            args=SFTConfig(
                output_dir=f"{work}/run",
                **(PRETRAINING | {"max_steps": steps}),
                use_cpu=True,
                bf16=False,
                activation_checkpointing=False,
                save_strategy="no",
                logging_steps=50,
                seed=seed,
            ),
            train_dataset=Dataset.from_dict({"text": text}),
            processing_class=tokenizer,
        )
        trainer.train()
        _wake_turn_tokens(model, tokenizer, seed)
        ready = Path(work) / "base"
        tokenizer.eos_token = TURN_END
        model.config.eos_token_id = tokenizer.eos_token_id
        model.generation_config = GenerationConfig(
            eos_token_id=tokenizer.eos_token_id, pad_token_id=tokenizer.pad_token_id
        )
        model.save_pretrained(ready)
        tokenizer.save_pretrained(ready)
        losses = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
        card = MODEL_CARD.format(
            weights=model.num_parameters(),
            vocabulary=len(tokenizer),
            steps=steps,
            tokens=steps * PRETRAINING["per_device_train_batch_size"] * BLOCK,
            loss=losses[-1] if losses else float("nan"),
            seed=seed,
        )
        (ready / "README.md").write_text(card, encoding="utf-8", newline="\n")
        shutil.rmtree(out / "base", ignore_errors=True)
        os.replace(ready, out / "base")


def _wake_turn_tokens(model: Any, tokenizer: PreTrainedTokenizerFast, seed: int) -> None:
    """Give the turn tokens, which no gazette holds, usable embeddings.

    Pretraining pushes the embeddings of absent tokens to a place from which an adapter with
    frozen embeddings cannot make them likely. Both start as the end-of-text token plus noise.
    """
    import torch

    noise = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        weights = model.get_input_embeddings().weight
        origin = weights[tokenizer.convert_tokens_to_ids(END_OF_TEXT)].clone()
        for token in (TURN_START, TURN_END):
            jitter = torch.randn(origin.shape, generator=noise) * weights.std()
            weights[tokenizer.convert_tokens_to_ids(token)] = origin + jitter


def model_config(tokenizer: PreTrainedTokenizerFast) -> Any:
    """The base model's architecture: Llama, 4 layers, hidden size 128, tied embeddings."""
    from transformers import LlamaConfig

    return LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=128,
        intermediate_size=384,
        num_hidden_layers=4,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=512,
        tie_word_embeddings=True,
        bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
