"""Servers that each build the prompt wrongly in one of the usual ways, for exercise 2 of 12."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

from sft_helpers.templates.render import Messages

Server = Callable[[Messages], list[int]]


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
    """Letter → (tokenizer of training, server)."""
    started = with_start_token(tokenizer)
    hint = {"role": "system", "content": "You are a helpful assistant."}

    def text(its_own: Any, messages: Messages, header: bool = True) -> str:
        rows = [dict(message) for message in messages]
        return str(its_own.apply_chat_template(rows, tokenize=False, add_generation_prompt=header))

    def ids(its_own: Any, prompt: str) -> list[int]:
        return list(its_own(prompt)["input_ids"])

    alpaca = "### Instruction:\n{}\n\n### Response:\n"
    return {
        "A": (tokenizer, lambda m: ids(tokenizer, text(tokenizer, [hint, *m]))),
        "B": (tokenizer, lambda m: ids(tokenizer, text(tokenizer, m, header=False))),
        "C": (tokenizer, lambda m: ids(tokenizer, alpaca.format(m[-1]["content"]))),
        "D": (tokenizer, lambda m: ids(tokenizer, text(tokenizer, m))[:-1]),
        "E": (started, lambda m: ids(started, text(started, m))),
    }
