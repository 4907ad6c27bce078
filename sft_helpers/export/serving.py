"""Does the serving side build the token ids that the model was trained on? llama.cpp, and yours.

A *server* is a function from the messages of a prompt to token ids: a line over
`apply_chat_template`, llama.cpp (`LlamaCpp.prompt_ids`), or one that asks yours at `/tokenize`.
"""

from __future__ import annotations

import importlib
import importlib.util
import json
import secrets
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pandas import DataFrame

from sft_helpers.errors import DataError, EnvironmentProblem, ModelError
from sft_helpers.evaluation import Answer
from sft_helpers.templates.parity import parity
from sft_helpers.templates.render import Messages

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

Server = Callable[[Messages], Sequence[int]]
MISSING = "the package xllamacpp, which holds llama.cpp, is not installed"

_TURNS: Messages = [
    {"role": "user", "content": "Where?"},
    {"role": "assistant", "content": "In Thornbury, by the <sea>: n° 3456 🦙."},
    {"role": "user", "content": "And her\npet?"},
    {"role": "assistant", "content": "A cat."},
]
_SYSTEM: Messages = [{"role": "system", "content": "Answer in one word."}]
# Rows to compare prompts on: one turn and several, with a system prompt and without.
SAMPLE: tuple[Messages, ...] = (_TURNS[:2], _TURNS, [*_SYSTEM, *_TURNS[:2]], [*_SYSTEM, *_TURNS])


def available() -> bool:
    """Whether llama.cpp can run here: the extra `serving`."""
    return importlib.util.find_spec("xllamacpp") is not None


class LlamaCpp:
    """llama.cpp with a GGUF file, in this process, behind a random key on 127.0.0.1.

    Args:
        file: the GGUF file.
        context: most tokens of prompt and answer together; 0 is the model's own length.

    Raises:
        EnvironmentProblem: xllamacpp is not installed.
        ModelError: llama.cpp cannot load the file.
    """

    def __init__(self, file: str | Path, *, context: int = 0) -> None:
        if not available():
            raise EnvironmentProblem(MISSING, hint="pip install 'sft-helpers[serving]'")
        if not Path(file).is_file():
            raise ModelError(
                "there is no such file", where=str(file), hint="write it with gguf.to_gguf()"
            )
        import torch

        xllamacpp = importlib.import_module("xllamacpp")
        self._key = secrets.token_urlsafe(16)
        params = xllamacpp.CommonParams()
        params.model.path = str(file)
        params.n_ctx = context
        params.n_parallel = 1
        params.cpuparams.n_threads = torch.get_num_threads()
        params.verbosity = -1
        params.warmup = False
        params.use_jinja = True
        params.api_keys = [self._key]
        try:
            self._server: Any = xllamacpp.Server(params)
        except RuntimeError as problem:
            raise ModelError(
                "llama.cpp cannot load this file", where=str(file), hint="write it again"
            ) from problem

    def __enter__(self) -> LlamaCpp:
        return self

    def __exit__(self, *problem: object) -> None:
        self._server = None

    def prompt_ids(self, messages: Messages) -> list[int]:
        """The token ids that an answer starts from, by the template in the file."""
        rows = [dict(message) for message in messages]
        prompt = self._post("/apply-template", {"messages": rows})["prompt"]
        body = {"content": prompt, "add_special": True, "parse_special": True}
        return list(self._post("/tokenize", body)["tokens"])

    def continuation(self, ids: Sequence[int], length: int) -> list[int]:
        """The likeliest next token after these ids, and so on: `length` ids, end tokens or not."""
        body = {"prompt": list(ids), "n_predict": length, "temperature": 0}
        return list(
            self._post("/completion", body | {"ignore_eos": True, "return_tokens": True})["tokens"]
        )

    def answers(self, prompts: Sequence[Messages], *, max_new_tokens: int = 40) -> list[Answer]:
        """Greedy answers to conversations, in order, through the chat endpoint."""
        found = []
        for messages in prompts:
            rows = [dict(message) for message in messages]
            reply = self._server.handle_chat_completions(
                {"messages": rows, "max_tokens": max_new_tokens, "temperature": 0}
            )
            choice = reply["choices"][0]
            found.append(
                Answer(
                    text=str(choice["message"]["content"] or "").strip(),
                    stopped=choice["finish_reason"] == "stop",
                    tokens=int(reply["usage"]["completion_tokens"]),
                )
            )
        return found

    def _post(self, path: str, body: Mapping[str, Any]) -> Any:
        request = urllib.request.Request(
            self._server.listening_address + path,
            json.dumps(body).encode(),
            {"Content-Type": "application/json", "Authorization": f"Bearer {self._key}"},
        )
        # Never through a proxy: the server is this process.
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with opener.open(request, timeout=600) as reply:
            return json.load(reply)


def check_parity(
    tokenizer: PreTrainedTokenizerBase,
    rows: Sequence[Messages],
    servers: Mapping[str, Server],
    *,
    training: Sequence[Sequence[int]] | None = None,
) -> DataFrame:
    """Compare, token by token, what was trained with what each server asks.

    Args:
        tokenizer: that of training.
        rows: conversations that end with an answer; the server gets what comes before.
        servers: name → function from messages to token ids.
        training: `trainer.train_dataset[i]["input_ids"]` of these rows; left out, they are made as
            `SFTTrainer` makes them.

    Returns:
        One line for each server and row: `server`, `row`, `equal` (the prompt is exactly what
        stands before the answer in the training row), `difference` (the first one, in words).

    Raises:
        DataError: there is nothing to compare, or a row does not end with an answer.
    """
    if not rows or not servers:
        raise DataError("there is nothing to compare", hint="give rows and servers")
    if training is not None and len(training) != len(rows):
        raise DataError(f"{len(training)} training rows for {len(rows)} conversations")
    found: list[tuple[str, int, bool, str]] = []
    for name, server in servers.items():
        for number, messages in enumerate(rows):
            try:
                serving = list(server(messages[:-1]))
            except Exception as problem:  # a server is somebody else's program
                said = " ".join(str(problem).split()) or type(problem).__name__
                found.append((name, number, False, f"the server failed: {said}"))
                continue
            ids = None if training is None else training[number]
            same = parity(tokenizer, messages, training=ids, serving=serving)
            found.append((name, number, same.holds, "" if same.holds else str(same)))
    return DataFrame(found, columns=["server", "row", "equal", "difference"])
