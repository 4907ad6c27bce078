"""Does the serving side build the token ids that the model was trained on?

A *server* is a function from the messages of a prompt to token ids. Here are those that the course
knows; your own may be any function, such as one that asks your server's `/tokenize`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sft_helpers.errors import DataError
from sft_helpers.template_parity import Parity, parity
from sft_helpers.templates import Messages

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from sft_helpers.llama_cpp import LlamaCpp

Server = Callable[[Messages], Sequence[int]]


@dataclass(frozen=True)
class Compared:
    """One conversation at one server.

    Attributes:
        server: its name.
        conversation: number of the conversation, from 0.
        parity: the training row against the server's prompt; None when the server failed.
        error: why it failed.
    """

    server: str
    conversation: int
    parity: Parity | None
    error: str = ""

    @property
    def holds(self) -> bool:
        """Whether the prompt is exactly what stands before the answer in the training row."""
        return self.parity is not None and self.parity.holds

    def __str__(self) -> str:
        return self.error or str(self.parity)


@dataclass(frozen=True)
class ServingReport:
    """All comparisons.

    Attributes:
        compared: each conversation at each server.
    """

    compared: tuple[Compared, ...]

    @property
    def share(self) -> float:
        """Share of comparisons in which the token ids agree: 1.0 is what you want."""
        return sum(each.holds for each in self.compared) / len(self.compared)

    @property
    def first_difference(self) -> Compared | None:
        """The first comparison that does not hold; None when all do."""
        return next((each for each in self.compared if not each.holds), None)

    def by_server(self) -> dict[str, list[Compared]]:
        """Comparisons by the name of the server."""
        names = dict.fromkeys(each.server for each in self.compared)
        return {name: [each for each in self.compared if each.server == name] for name in names}

    def __str__(self) -> str:
        lines = []
        for name, found in self.by_server().items():
            wrong = next((each for each in found if not each.holds), None)
            said = "all equal" if wrong is None else f"row {wrong.conversation}: {wrong}"
            lines.append(f"{name}: {sum(e.holds for e in found)} of {len(found)} prompts; {said}")
        return "\n".join(lines)


def check_parity(
    tokenizer: PreTrainedTokenizerBase,
    conversations: Sequence[Messages],
    servers: Mapping[str, Server],
    *,
    training: Sequence[Sequence[int]] | None = None,
    assistant_only_loss: bool = False,
) -> ServingReport:
    """Compare, token by token, what was trained with what each server asks.

    Args:
        tokenizer: that of training.
        conversations: rows that end with an assistant turn; the server gets what comes before.
        servers: name → function from messages to token ids.
        training: `trainer.train_dataset[i]["input_ids"]` of these rows; left out, they are made as
            `SFTTrainer` makes them.
        assistant_only_loss: whether training ran with it: TRL may then swap the template.

    Raises:
        DataError: there is nothing to compare, or a conversation does not end with an answer.
    """
    if not conversations or not servers:
        raise DataError("there is nothing to compare", hint="give conversations and servers")
    if training is not None and len(training) != len(conversations):
        raise DataError(f"{len(training)} training rows for {len(conversations)} conversations")
    found = []
    for name, server in servers.items():
        for number, messages in enumerate(conversations):
            ids = None if training is None else training[number]
            try:
                serving = list(server(messages[:-1]))
            except Exception as problem:  # a server is somebody else's program
                said = " ".join(str(problem).split()) or type(problem).__name__
                found.append(Compared(name, number, None, f"the server failed: {said}"))
                continue
            same = parity(
                tokenizer,
                messages,
                training=ids,
                serving=serving,
                assistant_only_loss=assistant_only_loss,
            )
            found.append(Compared(name, number, same))
    return ServingReport(tuple(found))


# --- the servers of the course -------------------------------------------------------------------


def transformers_server(tokenizer: PreTrainedTokenizerBase, **options: Any) -> Server:
    """What `apply_chat_template` gives with a generation prompt.

    Args:
        tokenizer: from the exported folder, or one that `gguf.reload` read from a GGUF file.
        options: further variables of the template, such as `enable_thinking=False`.
    """

    def ids(messages: Messages) -> list[int]:
        rows = [dict(message) for message in messages]
        made = tokenizer.apply_chat_template(
            rows, tokenize=True, return_dict=True, **{"add_generation_prompt": True, **options}
        )
        return list(made["input_ids"])

    return ids


def text_server(write: Callable[[Messages], str], tokenizer: PreTrainedTokenizerBase) -> Server:
    """A server that writes a prompt as text and has it tokenized, start token included.

    Args:
        write: from messages to text.
        tokenizer: called as on any text: if it adds a start token by itself, it does so here.
    """
    return lambda messages: list(tokenizer(write(messages))["input_ids"])


def ollama_server(modelfile: str, tokenizer: PreTrainedTokenizerBase) -> Server:
    """What Ollama makes of a Modelfile, by the kit's rendering of its template.

    Args:
        modelfile: the text of the Modelfile.
        tokenizer: the one in its GGUF file.
    """
    from sft_helpers.modelfile import ollama_prompt, template_in

    template = template_in(modelfile)
    return text_server(lambda messages: ollama_prompt(template, messages), tokenizer)


def usual_servers(
    folder: str | Path,
    gguf: str | Path | None = None,
    modelfile: str | None = None,
    engine: LlamaCpp | None = None,
) -> dict[str, Server]:
    """The servers of an export: transformers on the folder and on the GGUF file, Ollama, llama.cpp.

    Args:
        folder: the exported model.
        gguf: its GGUF file, if there is one.
        modelfile: the text of its Modelfile; without it, Ollama is left out.
        engine: a running llama.cpp; without it, that server is left out.
    """
    from transformers import AutoTokenizer

    from sft_helpers.gguf import embedded_tokenizer

    saved = AutoTokenizer.from_pretrained(str(folder), local_files_only=True)
    embedded = saved if gguf is None else embedded_tokenizer(gguf)
    servers: dict[str, Server] = {"transformers, exported folder": transformers_server(saved)}
    if gguf is not None:
        servers["transformers, GGUF file"] = transformers_server(embedded)
    if modelfile is not None:
        servers["Ollama, Modelfile"] = ollama_server(modelfile, embedded)
    if engine is not None:
        servers["llama.cpp, GGUF file"] = engine.prompt_ids
    return servers
