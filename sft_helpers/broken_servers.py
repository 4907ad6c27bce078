"""Servers that each build the prompt wrongly in one of the usual ways, to learn the symptoms on."""

from __future__ import annotations

import copy
from typing import Any

from sft_helpers.serving_parity import Server, text_server, transformers_server
from sft_helpers.templates import Messages

DEFAULT_SYSTEM = {"role": "system", "content": "You are a helpful assistant."}


def with_start_token(tokenizer: Any) -> Any:
    """A copy that has a start token: its template prints it, and so does calling it on a text.

    Llama 3, Gemma and Mistral are made like this; Lantern Bay's own tokenizer has none.
    """
    from tokenizers.processors import TemplateProcessing

    other = copy.deepcopy(tokenizer)
    other.bos_token = other.pad_token
    other.chat_template = "{{ bos_token }}" + str(other.chat_template)
    other.backend_tokenizer.post_processor = TemplateProcessing(
        single=f"{other.bos_token} $A", special_tokens=[(other.bos_token, other.bos_token_id)]
    )
    return other


def broken_servers(tokenizer: Any) -> dict[str, tuple[Any, Server]]:
    """Letter → (tokenizer of training, server), each server wrong in one of the usual ways."""
    plain = transformers_server(tokenizer)
    started = with_start_token(tokenizer)

    def rendered(messages: Messages) -> str:
        return str(
            started.apply_chat_template(
                [dict(m) for m in messages], tokenize=False, add_generation_prompt=True
            )
        )

    def alpaca(messages: Messages) -> str:
        return f"### Instruction:\n{messages[-1]['content']}\n\n### Response:\n"

    return {
        "A": (tokenizer, lambda messages: plain([DEFAULT_SYSTEM, *messages])),
        "B": (tokenizer, transformers_server(tokenizer, add_generation_prompt=False)),
        "C": (tokenizer, text_server(alpaca, tokenizer)),
        "D": (tokenizer, lambda messages: plain(messages)[:-1]),
        "E": (started, text_server(rendered, started)),
    }
