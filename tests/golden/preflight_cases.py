"""Set-ups for preflight as data: rows, arguments, models, on public libraries and our files only.

A set-up is a dict: what `SFTTrainer` would be given (dataset, model, tokenizer, args, peft_config,
eval_dataset, quantization_config, formatting_func, data_collator), or `lines`, the lines of a data
file, with `more`, further lines of a config file for `trl sft`. `machine` names the machine that is
planned for. Nothing of the package is imported here.

`CASES` has the pairs (broken set-up, its near twin without this fault) by code and name, `SOUND`
set-ups without a flaw, `MORE` further set-ups, `CLINIC` the patients of notebook 10 with their
mends. `setups()` has all by name.
"""

from __future__ import annotations

import copy
import functools
import json
import random
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
BASE = ROOT / "data" / "town" / "base"
PLAIN: dict[str, Any] = {"assistant_only_loss": False}
SEVEN = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
Setup = dict[str, Any]
Make = Callable[[], Setup]

# --- rows ----------------------------------------------------------------------------------------

COLUMNS = ("messages", "prompt", "completion", "text", "conversations", "instruction", "input",
           "output", "question", "answer")  # fmt: skip


@functools.cache
def _lines(name: str) -> tuple[str, ...]:
    return tuple((ROOT / "data" / name).read_text(encoding="utf-8").splitlines())


def rows(name: str = "town/sft_train.jsonl", count: int = 40) -> list[Any]:
    """The first rows of a file in data/, notes about the rows left out."""
    found = [json.loads(line) for line in _lines(name)[:count]]
    return [{k: v for k, v in row.items() if k in COLUMNS} for row in found]


def many(name: str = "town/sft_train.jsonl", count: int = 600) -> list[Any]:
    """The first 600."""
    return rows(name, count)


def changed(number: int, change: Callable[[Any], Any], **how: Any) -> list[Any]:
    """Rows of which one is changed in place by `change`, or replaced by what it returns."""
    found = copy.deepcopy(rows(**how))
    new = change(found[number])
    found[number] = found[number] if new is None else new
    return found


def turn(role: str, content: Any, **more: Any) -> dict[str, Any]:
    """A turn."""
    return {"role": role, "content": content, **more}


ASK, SAY = turn("user", "Where does Ada Quill live?"), turn("assistant", "In Thornbury.")


def answers(before: str = "", after: str = "") -> list[Any]:
    """The answers as plain text."""
    return [{"text": before + row["messages"][1]["content"] + after} for row in rows()]


def strings(prompt: str = "{}\n", completion: str = "{}", **more: str) -> list[Any]:
    """Pairs of text."""
    return [
        {"prompt": prompt.format(row["messages"][0]["content"]),
         "completion": completion.format(row["messages"][1]["content"]), **more}
        for row in rows()
    ]  # fmt: skip


# --- what SFTTrainer is given --------------------------------------------------------------------


def arguments(**changes: Any) -> Any:
    """The arguments of a sound short run on a CPU."""
    from trl import SFTConfig

    usual: dict[str, Any] = {
        "output_dir": "unused", "use_cpu": True, "bf16": False, "assistant_only_loss": True,
        "learning_rate": 5e-4, "per_device_train_batch_size": 4, "logging_steps": 1,
        "report_to": "none", "activation_checkpointing": False,
    }  # fmt: skip
    return SFTConfig(**{**usual, **changes})


@functools.cache
def _tokenizer() -> Any:
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(BASE)


def tokenizer(**changes: Any) -> Any:
    """A copy of the town's tokenizer, with attributes set."""
    found = copy.deepcopy(_tokenizer())
    for name, value in changes.items():
        setattr(found, name, value)
    return found


def model(dtype: str = "float32") -> Any:
    """The town's base model."""
    from transformers import AutoModelForCausalLM

    return AutoModelForCausalLM.from_pretrained(BASE, dtype=dtype)


def setup(**changes: Any) -> Setup:
    """A sound set-up, with changes; without a tokenizer it is the model's own."""
    return {"dataset": changes.pop("dataset", None) or rows(), "model": str(BASE),
            "tokenizer": None, "args": changes.pop("args", None) or arguments(),
            **changes}  # fmt: skip


def run(**changes: Any) -> Setup:
    """The sound set-up with other arguments."""
    return setup(args=arguments(**changes))


def plain(data: list[Any], **changes: Any) -> Setup:
    """Rows that are no conversations."""
    return setup(dataset=data, args=arguments(**{**PLAIN, **changes.pop("args", {})}), **changes)


def adapter(**changes: Any) -> Any:
    """A LoRA adapter on all linear layers."""
    from peft import LoraConfig

    usual = {"r": 16, "lora_alpha": 32, "target_modules": "all-linear", "task_type": "CAUSAL_LM"}
    return LoraConfig(**{**usual, **changes})


def lora(**changes: Any) -> Setup:
    """The sound LoRA set-up with other arguments."""
    return setup(args=arguments(**{"learning_rate": 4e-3, **changes}), peft_config=adapter())


def adapted(rate: float = 4e-3, model: Any = str(BASE), **changes: Any) -> Setup:
    """A LoRA set-up with another adapter."""
    return setup(model=model, tokenizer=tokenizer(), args=arguments(learning_rate=rate),
                 peft_config=adapter(**changes))  # fmt: skip


def four_bit(**changes: Any) -> Any:
    """Four bits."""
    from transformers import BitsAndBytesConfig

    return BitsAndBytesConfig(load_in_4bit=True, **changes)


def evaluated(held_out: list[Any] | None = None, **changes: Any) -> Setup:
    """With evaluation rows, which are used."""
    args = arguments(**{"eval_strategy": "epoch", **changes})
    return setup(args=args, eval_dataset=held_out or rows("town/sft_dev.jsonl"))


# --- models that are not here --------------------------------------------------------------------

SHAPES: dict[str, tuple[str, dict[str, Any]]] = {
    "Qwen2.5-7B": ("Qwen2Config", {
        "vocab_size": 152064, "hidden_size": 3584, "intermediate_size": 18944,
        "num_hidden_layers": 28, "num_attention_heads": 28, "num_key_value_heads": 4,
        "tie_word_embeddings": False}),
    "Phi-3-mini": ("Phi3Config", {
        "vocab_size": 32064, "hidden_size": 3072, "intermediate_size": 8192,
        "num_hidden_layers": 32, "num_attention_heads": 32, "pad_token_id": 32000}),
}  # fmt: skip
# The special tokens of families whose templates TRL ships: the end of a turn, and headers.
FAMILIES = {
    "llama3": ("<|eot_id|>", "<|start_header_id|>assistant<|end_header_id|>",
               "<|start_header_id|>user<|end_header_id|>"),
    "gemma": ("<end_of_turn>", "<start_of_turn>model", "<start_of_turn>user"),
    "gemma4": ("<turn|>", "<|turn>model", "<|turn>user"),
    "cohere": ("<|END_OF_TURN_TOKEN|>", "<|START_OF_TURN_TOKEN|><|CHATBOT_TOKEN|>",
               "<|START_OF_TURN_TOKEN|><|USER_TOKEN|>"),
    "lfm2": ("<|im_end|>", "<|im_start|>assistant", "<|im_start|>user"),
    "deepseek_r1_distill": ("<｜end▁of▁sentence｜>", "<｜Assistant｜>", "<｜User｜>"),
}  # fmt: skip
FAMILIES |= dict.fromkeys(("llama3_1", "llama3_2"), FAMILIES["llama3"])
FAMILIES |= dict.fromkeys(("qwen2_5", "qwen3", "qwen3_instruct_2507"), FAMILIES["lfm2"])


def shape(name: str) -> Any:
    """The configuration of a large model."""
    import transformers

    kind, values = SHAPES[name]
    return getattr(transformers, kind)(**values)


def template(name: str) -> str:
    """A chat template that the installed TRL ships, such as "qwen3" or "gemma_training"."""
    import trl

    folder = Path(trl.__file__).parent / "chat_templates"
    return (folder / f"{name}.jinja").read_text(encoding="utf-8")


def family(name: str) -> Any:
    """A tokenizer that knows bytes and a family's special tokens, with the family's template.

    Its end token is the one that ends a turn, as in an instruction-tuned model.
    """
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    core = Tokenizer(
        models.BPE(vocab={char: place for place, char in enumerate(alphabet)}, merges=[])
    )
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    core.decoder = decoders.ByteLevel()
    found = PreTrainedTokenizerFast(
        tokenizer_object=core, pad_token="<pad_token>", bos_token="<bos_token>",
        eos_token="<eos_token>", additional_special_tokens=sorted(FAMILIES[name]),
    )  # fmt: skip
    found.chat_template = template(name)
    found.eos_token = FAMILIES[name][0]
    return found


def small_model(tokenizer: Any, **changes: Any) -> Any:
    """A Llama configuration that fits a tokenizer."""
    from transformers import LlamaConfig

    usual: dict[str, Any] = {
        "vocab_size": len(tokenizer), "hidden_size": 64, "intermediate_size": 128,
        "num_hidden_layers": 2, "num_attention_heads": 2, "num_key_value_heads": 2,
        "eos_token_id": tokenizer.eos_token_id, "bos_token_id": tokenizer.bos_token_id,
    }  # fmt: skip
    return LlamaConfig(**{**usual, **changes})


def with_family(name: str, **changes: Any) -> Setup:
    """A sound set-up with a family's template, and a model that fits it."""
    given = family(name)
    return setup(tokenizer=given, model=small_model(given), **changes)


def architecture(name: str, **changes: Any) -> Setup:
    """A packed run of another architecture with the town's tokenizer."""
    from transformers import AutoConfig

    config = AutoConfig.for_model(name)
    config.vocab_size = max(config.vocab_size, 2_000)
    usual = {"packing": True, "max_length": 128, "per_device_train_batch_size": 1,
             "num_train_epochs": 10, "learning_rate": 2e-5}  # fmt: skip
    return setup(model=config, tokenizer=tokenizer(), args=arguments(**{**usual, **changes}))


# --- data ----------------------------------------------------------------------------------------


def with_turns(*turns: Any) -> Setup:
    """A sound set-up in which row 3 has these turns."""
    return setup(dataset=changed(3, lambda row: {"messages": list(turns)}))


def first_words(number: int, change: Callable[[str], str]) -> Setup:
    """A set-up in which the content of one row's turns is changed."""

    def edit(row: dict[str, Any]) -> None:
        for each in row["messages"]:
            each["content"] = change(each["content"])

    return setup(dataset=changed(number, edit))


def calls(arguments: Any, name: str | None = "where", answered: bool = True) -> Setup:
    """A row with a tool call."""
    call = {"type": "function", "function": {"name": name, "arguments": arguments}}
    turns = [ASK, turn("assistant", "", tool_calls=[call])]
    turns += [turn("tool", "Thornbury", name="where")] if answered else []
    return with_turns(*turns, SAY)


def lines_with(number: int, line: str | bytes) -> Setup:
    """A file in which one line is another."""
    found: list[str | bytes] = [json.dumps(row) for row in rows()]
    found[number] = line
    return {"lines": found}


def file_with(more: str, data: list[Any] | None = None) -> Setup:
    """A config file with further lines."""
    return {"lines": [json.dumps(row) for row in data or rows()], "more": more}


def extra_column(name: str, value: str) -> Setup:
    """Rows with one more column."""
    return setup(dataset=[{**row, name: value} for row in rows()])


def thinking(where: str) -> Setup:
    """A row with a thought."""
    thought = "She moved there as a child."
    answer = turn("assistant", "In Thornbury.", reasoning_content=thought)
    if where == "content":
        answer = turn("assistant", f"<think>{thought}</think>In Thornbury.")
    return with_turns(ASK, answer)


def asked_again(who: str) -> dict[str, Any]:
    """The first row in American spelling, about somebody."""
    told = rows()[0]["messages"][1]["content"].replace("Una Cromton", who)
    asked = f"What is the favorite drink of {who}?"
    return {"messages": [turn("user", asked), turn("assistant", told)]}


def gemma(*turns: Any) -> Setup:
    """Turns for Gemma's template, which has no system prompt."""
    return with_turns(*turns) | {"tokenizer": tokenizer(chat_template=template("gemma_training"))}


def as_pair(row: Any) -> Any:
    """Prompt and completion of a conversation."""
    return {"prompt": row["messages"][:1], "completion": row["messages"][1:]}


def shouted(copied: bool) -> Setup:
    """A row in capitals, and perhaps its original besides."""
    made = first_words(4, str.upper)
    if copied:
        turns = [turn(t["role"], t["content"].upper() + " ") for t in rows()[4]["messages"]]
        made["dataset"] = [*rows(), {"messages": turns}]
    return made


CASES: dict[str, tuple[Make, Make]] = {
    "data.unsupported_format/alpaca": (
        lambda: setup(dataset=rows("formats/alpaca.jsonl")), setup),
    "data.unsupported_format/questions": (
        lambda: setup(dataset=rows("formats/question_answer.jsonl")),
        lambda: setup(dataset=rows("formats/prompt_completion_messages.jsonl"))),
    "data.conflicting_columns/ultrachat": (
        lambda: setup(dataset=rows("formats/ultrachat.jsonl")),
        lambda: setup(dataset=rows("formats/messages.jsonl"))),
    "data.unknown_role/sharegpt": (
        lambda: setup(dataset=rows("formats/sharegpt.jsonl")), setup),
    "data.unknown_role/bot": (
        lambda: with_turns(ASK, turn("bot", "In Thornbury.")), lambda: with_turns(ASK, SAY)),
    "data.empty_turn/answer": (
        lambda: with_turns(ASK, turn("assistant", " ")),
        lambda: with_turns(ASK, turn("assistant", "?"))),
    "data.missing_content/answer": (
        lambda: with_turns(ASK, turn("assistant", None)), lambda: with_turns(ASK, SAY)),
    "data.content_not_text/parts": (
        lambda: with_turns(turn("user", [{"type": "text", "text": "Where?"}]), SAY),
        lambda: with_turns(ASK, SAY)),
    "data.invalid_unicode/half a pair": (
        lambda: lines_with(3, '{"messages": [{"role": "user", "content": "\\ud83d"}, '
                              '{"role": "assistant", "content": "Hm."}]}'),
        lambda: lines_with(3, '{"messages": [{"role": "user", "content": "\\ud83d\\ude00"}, '
                              '{"role": "assistant", "content": "Hm."}]}')),
    "data.unreadable/cut line": (
        lambda: lines_with(3, '{"messages": [{"role": "user", "con'),
        lambda: lines_with(3, json.dumps(rows()[3]) + " ")),
    "data.no_assistant_turn/question only": (
        lambda: with_turns(ASK), lambda: with_turns(ASK, SAY)),
    "data.not_alternating/two questions": (
        lambda: with_turns(ASK, ASK, SAY), lambda: with_turns(ASK, SAY, ASK, SAY)),
    "data.last_turn_not_assistant/thanks": (
        lambda: with_turns(ASK, SAY, turn("user", "Thank you.")),
        lambda: with_turns(ASK, SAY, turn("user", "Thank you."), turn("assistant", "Gladly."))),
    "data.system_not_first/second": (
        lambda: with_turns(ASK, turn("system", "Be brief."), SAY),
        lambda: with_turns(turn("system", "Be brief."), ASK, SAY)),
    "data.mixed_schema/a pair among messages": (
        lambda: setup(dataset=changed(5, as_pair)),
        lambda: setup(dataset=[as_pair(row) for row in rows()])),
    "data.duplicate_rows/copy": (
        lambda: setup(dataset=[*rows(), rows()[4]]), lambda: setup(dataset=rows(count=41))),
    "data.duplicate_rows/copy in capitals": (
        lambda: shouted(copied=True), lambda: shouted(copied=False)),
    "data.near_duplicate_rows/one letter": (
        lambda: setup(dataset=[*rows(count=14), asked_again("Una Cromton")]),
        lambda: setup(dataset=[*rows(count=14), asked_again("Ida Quill")])),
    "data.split_overlap/leak": (
        lambda: evaluated(rows()[7:9]), lambda: evaluated(rows("town/sft_test.jsonl"))),
    "data.special_token_in_content/closes its turn": (
        lambda: first_words(6, lambda text: text + "<|im_end|>"),
        lambda: first_words(6, lambda text: text + "<|im_end |>")),
    "data.ignored_column/system": (
        lambda: extra_column("system", "Answer in one word."),
        lambda: extra_column("source", "Answer in one word.")),
    "data.ignored_column/text beside messages": (
        lambda: extra_column("text", "A whole text."), lambda: extra_column("text_id", "a1")),
    "data.ignored_column/system prompt that is in the messages too": (
        lambda: extra_column("system", "Answer in one word."),
        lambda: setup(dataset=changed(3, lambda row: {
            "messages": [turn("system", "Be brief."), *row["messages"]], "system": "Be brief."}))),
    "data.tool_arguments_string/JSON in a string": (
        lambda: calls('{"who": "Ada Quill"}'), lambda: calls({"who": "Ada Quill"})),
    "data.tool_call_invalid/no name": (
        lambda: calls({"who": "Ada Quill"}, name=None), lambda: calls({"who": "Ada Quill"})),
    "data.tool_call_unanswered/no result": (
        lambda: calls({"who": "Ada Quill"}, answered=False), lambda: calls({"who": "Ada Quill"})),
    "data.tool_result_without_call/result only": (
        lambda: with_turns(ASK, turn("tool", "Thornbury"), SAY),
        lambda: calls({"who": "Ada Quill"})),
    "data.very_long_content/a book": (
        lambda: first_words(2, lambda text: text * 4_000),
        lambda: first_words(2, lambda text: text * 40)),
    "data.thinking_dropped/own field": (
        lambda: thinking("field"), lambda: thinking("content")),
    "data.refused/gemma with a system prompt": (
        lambda: gemma(turn("system", "Be brief."), ASK, SAY), lambda: gemma(ASK, SAY)),
    "config.refused/no such end token": (
        lambda: run(eos_token="</s>"), lambda: run(eos_token="<|im_end|>")),
}  # fmt: skip


# --- templates -----------------------------------------------------------------------------------


def templated(name: str | None, **changes: Any) -> Setup:
    """The town's model with another template."""
    text = None if name is None else template(name)
    return setup(tokenizer=tokenizer(chat_template=text), **changes)


def stops_at(token: str, **changes: Any) -> Setup:
    """A tokenizer and a model whose end token is `token`."""
    given = tokenizer(eos_token=token)
    return setup(tokenizer=given, model=small_model(given), **changes)


def dated(**kwargs: str) -> Setup:
    """A template that prints today's date, unless it is told one."""
    more = {"chat_template_kwargs": kwargs} if kwargs else {}
    data = [{**row, **more} for row in rows()]
    return with_family("llama3_2", dataset=data, args=arguments(**PLAIN))


def marked_in_training() -> str:
    """A template that writes a word before answers, which it neither trains nor prompts with."""
    return str(tokenizer().chat_template).replace(
        "{%- if message['role'] == 'assistant' -%}",
        "{%- if message['role'] == 'assistant' -%}{{- 'note: ' -}}",
    )


CASES |= {
    "template.missing/messages without a template": (
        lambda: templated(None, args=arguments(**PLAIN)),
        lambda: templated(None, args=arguments(**PLAIN), dataset=answers())),
    "template.missing/with assistant_only_loss": (lambda: templated(None), setup),
    "template.drops_content/sharegpt and qwen2_5": (
        lambda: templated("qwen2_5", dataset=rows("formats/sharegpt.jsonl"),
                          args=arguments(**PLAIN)),
        lambda: templated("qwen2_5", dataset=rows("formats/messages.jsonl"),
                          args=arguments(**PLAIN))),
    "template.end_token_not_eos/base model": (
        lambda: stops_at("<|endoftext|>"),
        lambda: stops_at("<|endoftext|>", args=arguments(eos_token="<|im_end|>"))),
    "template.no_generation_markers/llama3_2": (
        lambda: with_family("llama3_2"), lambda: with_family("llama3")),
    "template.no_generation_markers/not asked for": (
        lambda: with_family("llama3_1"),
        lambda: with_family("llama3_1", args=arguments(**PLAIN))),
    "template.prefix_broken/a line that no prompt has": (
        lambda: setup(tokenizer=tokenizer(chat_template=marked_in_training())), setup),
    "template.prefix_broken/deepseek_r1_distill": (
        lambda: with_family("deepseek_r1_distill"), lambda: with_family("qwen2_5")),
    "template.prefix_broken/a space at the end": (
        lambda: plain(strings("{} ")), lambda: plain(strings("{}", " {}"))),
    "template.renders_date/llama3_2": (dated, lambda: dated(date_string="1 Jan 2026")),
    "template.renders_date/none": (
        dated, lambda: with_family("llama3", args=arguments(**PLAIN))),
}  # fmt: skip


# --- masks ---------------------------------------------------------------------------------------

BROKEN_MARKERS = """\
{%- for message in messages -%}
{{- '<|im_start|>' + message['role'] + '\\n' -}}
{%- if message['role'] == 'assistant' -%}
{%- generation -%}
{{- message['content'] -}}
{%- endgeneration -%}
{%- else -%}
{{- message['content'] -}}
{%- endif -%}
{{- '<|im_end|>\\n' -}}
{%- endfor -%}
{%- if add_generation_prompt -%}
{{- '<|im_start|>assistant\\n' -}}
{%- endif -%}
"""


def pairs(**settings: Any) -> Setup:
    """Prompt and completion as messages."""
    data = rows("formats/prompt_completion_messages.jsonl")
    return setup(dataset=data, args=arguments(**{**PLAIN, **settings}))


def labelled(masked: int | None, column: str = "labels", **settings: Any) -> Setup:
    """Token ids with labels, or with a mask; in row `masked` nothing counts."""
    given, data = tokenizer(), []
    for number, row in enumerate(rows()):
        ids = given(row["messages"][1]["content"])["input_ids"] + [given.eos_token_id]
        head = len(ids) if number == masked else 2
        values = [-100 if column == "labels" else 0] * head
        values += ids[head:] if column == "labels" else [1] * (len(ids) - head)
        data.append({"input_ids": ids, column: values})
    return setup(dataset=data, args=arguments(**{**PLAIN, **settings}))


def broken_markers(**changes: Any) -> Setup:
    """A template whose end token is outside the generation markers."""
    return setup(tokenizer=tokenizer(chat_template=BROKEN_MARKERS), **changes)


def selective() -> Any:
    """A template that marks no answer in a conversation that begins with a system prompt."""
    text = str(tokenizer().chat_template)
    condition = "{%- if message['role'] == 'assistant' -%}"
    only = "{%- if message['role'] == 'assistant' and messages[0]['role'] == 'user' -%}"
    return tokenizer(chat_template=text.replace(condition, only))


def told(row: Any) -> Any:
    """The row with a system prompt."""
    return {"messages": [turn("system", "Be brief."), *row["messages"]]}


CASES |= {
    "mask.full_sequence/messages": (lambda: run(**PLAIN), setup),
    "mask.full_sequence/chosen for pairs": (lambda: pairs(completion_only_loss=False), pairs),
    "mask.full_sequence/rendered text": (
        lambda: plain(rows("formats/chatml.jsonl")), lambda: plain(answers())),
    "mask.full_sequence/mask that is ignored": (
        lambda: labelled(None, "completion_mask"),
        lambda: labelled(None, "completion_mask", completion_only_loss=True)),
    "mask.all_masked/labels": (
        lambda: labelled(4, max_length=None), lambda: labelled(None, max_length=None)),
    "mask.all_masked/no marks in this row": (
        lambda: setup(dataset=changed(5, told), tokenizer=selective()),
        lambda: setup(dataset=changed(5, told))),
    "mask.flag_without_effect/completion_only for messages": (
        lambda: run(completion_only_loss=True, **PLAIN),
        lambda: pairs(completion_only_loss=True)),
    "mask.flag_without_effect/assistant_only for text": (
        lambda: setup(dataset=answers()), lambda: plain(answers())),
    "mask.flag_without_effect/assistant_only for sharegpt": (
        lambda: setup(dataset=rows("formats/sharegpt.jsonl")), setup),
    "mask.end_token_unsupervised/markers around the text only": (broken_markers, setup),
    "mask.end_token_unsupervised/markers that nobody uses": (
        broken_markers, lambda: broken_markers(args=arguments(**PLAIN))),
}  # fmt: skip


# --- tokens --------------------------------------------------------------------------------------


def with_start() -> Any:
    """A tokenizer that puts a start token before every text, as Llama's does."""
    from tokenizers.processors import TemplateProcessing

    given = tokenizer(bos_token="<|im_start|>")
    start = ("<|im_start|>", given.bos_token_id)
    given.backend_tokenizer.post_processor = TemplateProcessing(
        single="<|im_start|> $A", special_tokens=[start]
    )
    return given


def token_ids(ended: bool) -> Setup:
    """Rows that are token ids, with or without an end token."""
    given = tokenizer()
    end = [given.eos_token_id] if ended else []
    return plain([{"input_ids": given(row["messages"][1]["content"])["input_ids"] + end}
                  for row in rows()])  # fmt: skip


def context(size: int) -> Setup:
    """A model of so many positions, rotary."""
    given = tokenizer()
    return setup(tokenizer=given, model=small_model(given, max_position_embeddings=size))


def learned_positions(size: int) -> Setup:
    """A model of so many positions, learned."""
    from transformers import GPT2Config

    given = tokenizer()
    config = GPT2Config(vocab_size=len(given), n_positions=size, n_embd=64, n_layer=1, n_head=2,
                        bos_token_id=1, eos_token_id=given.eos_token_id)  # fmt: skip
    return setup(tokenizer=given, model=config)


def new_token(used: bool, room: int = 0, adapter: dict[str, Any] | None = None) -> Setup:
    """A tokenizer with a token that the model's own has not, in all rows or in none."""
    from peft import LoraConfig
    from transformers import AutoConfig

    given, config = tokenizer(), AutoConfig.from_pretrained(BASE)
    config.vocab_size += room
    given.add_tokens(["<note>"])
    data = copy.deepcopy(rows())
    for row in data:
        row["messages"][1]["content"] += " <note>" if used else ""
    usual = {"r": 8, "target_modules": "all-linear", "task_type": "CAUSAL_LM"}
    made = None if adapter is None else LoraConfig(**{**usual, **adapter})
    return setup(dataset=data, tokenizer=given, model=config, peft_config=made)


CASES |= {
    "tokens.double_bos/written by hand": (
        lambda: plain(answers("<|im_start|>"), tokenizer=with_start()),
        lambda: plain(answers(), tokenizer=with_start())),
    "tokens.double_bos/tokenizer without one": (
        lambda: plain(answers("<|im_start|>"), tokenizer=with_start()),
        lambda: plain(answers("<|im_start|>"))),
    "tokens.double_eos/a line end behind the end token": (
        lambda: plain(answers(after="<|im_end|>\n")), lambda: plain(answers(after="<|im_end|>"))),
    "tokens.no_eos/text beside a completion": (
        lambda: plain(strings(text="A whole text.")), lambda: plain(strings())),
    "tokens.no_eos/token ids": (lambda: token_ids(False), lambda: token_ids(True)),
    "tokens.no_eos/no end token at all": (
        lambda: plain(answers(), tokenizer=tokenizer(eos_token=None)), lambda: plain(answers())),
    "tokens.truncated/one token too long": (
        lambda: run(max_length=23), lambda: run(max_length=64)),
    "tokens.truncated/packed": (
        lambda: run(max_length=20, packing=True),
        lambda: run(max_length=20, packing=True, packing_strategy="bfd_split")),
    "tokens.completion_lost/max_length 12": (
        lambda: run(max_length=12), lambda: run(max_length=24)),
    "tokens.completion_lost/packed": (
        lambda: run(max_length=12, packing=True), lambda: run(max_length=64, packing=True)),
    "tokens.longer_than_model/rotary": (lambda: context(16), lambda: context(64)),
    "tokens.longer_than_model/learned positions": (
        lambda: learned_positions(16), lambda: learned_positions(64)),
    "tokens.no_separator/run together": (
        lambda: plain(strings("{}")), lambda: plain(strings("{}\n"))),
    "tokens.id_out_of_range/added token": (
        lambda: new_token(used=True), lambda: new_token(used=False)),
    "tokens.id_out_of_range/room for it": (
        lambda: new_token(used=True), lambda: new_token(used=True, room=64)),
    "tokens.new_token_untrained/trainable index": (
        lambda: new_token(True, 64, {}),
        lambda: new_token(True, 64, {"trainable_token_indices": [1280]})),
    "tokens.new_token_untrained/whole embedding": (
        lambda: new_token(True, 64, {}),
        lambda: new_token(True, 64, {"modules_to_save": ["embed_tokens"]})),
    "tokens.new_token_untrained/not in the rows": (
        lambda: new_token(True, 64, {}), lambda: new_token(False, 64, {})),
}  # fmt: skip


# --- packing -------------------------------------------------------------------------------------


def packed(eval_dataset: Any = None, **changes: Any) -> Setup:
    """A sound packed set-up: 100 optimizer steps and more."""
    usual = {"packing": True, "max_length": 128, "per_device_train_batch_size": 1,
             "num_train_epochs": 10}  # fmt: skip
    return setup(args=arguments(**{**usual, **changes}), eval_dataset=eval_dataset)


def beforehand(**changes: Any) -> Setup:
    """Rows that TRL's own packer has packed before the trainer sees them."""
    from datasets import Dataset
    from trl.data_utils import pack_dataset

    teller = tokenizer()
    ids = [teller.apply_chat_template(r["messages"], return_dict=False) for r in rows()]
    made = pack_dataset(Dataset.from_dict({"input_ids": ids, "labels": ids}), 128, "bfd")
    usual = {"assistant_only_loss": False, "max_length": 128}
    return setup(dataset=made, args=arguments(**{**usual, **changes}))


CASES |= {
    "packing.wrapped_contaminates/strategy": (
        lambda: packed(packing_strategy="wrapped"), lambda: packed(packing_strategy="bfd_split")),
    "packing.eval_contaminates/eval only": (
        lambda: evaluated(eval_packing=True),
        lambda: packed(rows("town/sft_dev.jsonl"), eval_strategy="epoch")),
    "packing.eval_contaminates/packed beforehand": (
        lambda: evaluated(beforehand()["dataset"]), evaluated),
    "packing.prepacked_contaminates/ignored": (
        beforehand, lambda: beforehand(padding_free=True, max_length=None)),
    "packing.prepacked_contaminates/packed again": (
        lambda: beforehand(packing=True, per_device_train_batch_size=1, num_train_epochs=20),
        packed),
    "packing.architecture_contaminates/opt": (
        lambda: architecture("opt"), lambda: architecture("qwen2")),
    "packing.architecture_contaminates/without packing": (
        lambda: architecture("falcon", packing=False, padding_free=True, max_length=None),
        lambda: architecture("falcon", packing=False)),
    "packing.architecture_contaminates/refuses": (
        lambda: architecture("qwen3_next"), lambda: architecture("qwen3")),
    "packing.few_steps/one batch": (lambda: packed(per_device_train_batch_size=8), packed),
    "packing.few_steps/steps are given": (
        lambda: packed(per_device_train_batch_size=8),
        lambda: packed(per_device_train_batch_size=8, max_steps=60)),
}  # fmt: skip


# --- config --------------------------------------------------------------------------------------


def collated(name: str) -> Setup:
    """With a collator of transformers."""
    import transformers

    kinds: dict[str, Any] = {
        "lm": lambda: transformers.DataCollatorForLanguageModeling(tokenizer(), mlm=False),
        "seq2seq": lambda: transformers.DataCollatorForSeq2Seq(tokenizer()),
        "default": lambda: transformers.default_data_collator,
    }
    return setup(data_collator=kinds[name]())


def weights(dtype: str, **changes: Any) -> Setup:
    """With a loaded model of this type."""
    return setup(model=model(dtype), args=arguments(**changes))


def big(rate: float, with_adapter: bool) -> Setup:
    """Qwen2.5-7B's configuration."""
    base = lora() if with_adapter else run()
    return {**base, "model": shape("Qwen2.5-7B"), "tokenizer": tokenizer(),
            "args": arguments(learning_rate=rate)}  # fmt: skip


CASES |= {
    "config.unknown_argument/model_init_kwargs": (
        lambda: run(model_init_kwargs={"attention": "sdpa"}),
        lambda: run(model_init_kwargs={"attn_implementation": "sdpa", "rms_norm_eps": 1e-5})),
    "config.ignored_argument/dataset_kwargs": (
        lambda: run(dataset_kwargs={"add_special_tokens": False}),
        lambda: run(dataset_kwargs={"skip_prepare_dataset": False})),
    "config.ignored_argument/torch_dtype": (
        lambda: lora(model_init_kwargs={"torch_dtype": "bfloat16"}),
        lambda: lora(model_init_kwargs={"dtype": "bfloat16"})),
    "config.ignored_argument/loaded model": (
        lambda: weights("float32", model_init_kwargs={"dtype": "float32"}),
        lambda: weights("float32")),
    "config.ignored_argument/strategy without packing": (
        lambda: run(packing_strategy="bfd_split"), lambda: run(packing_strategy="bfd")),
    "config.ignored_argument/warm-up of a constant rate": (
        lambda: run(lr_scheduler_type="constant", warmup_steps=0.1),
        lambda: run(lr_scheduler_type="constant_with_warmup", warmup_steps=0.1)),
    "config.ignored_argument/formatting_func": (
        lambda: setup(formatting_func=str),
        lambda: plain(rows("formats/question_answer.jsonl"), formatting_func=str)),
    "config.eval_never_runs/no strategy": (lambda: evaluated(eval_strategy="no"), evaluated),
    "config.eval_never_runs/delayed": (
        lambda: evaluated(eval_strategy="steps", eval_steps=5, eval_delay=100),
        lambda: evaluated(eval_strategy="steps", eval_steps=500)),
    "config.logging_never/default": (
        lambda: run(logging_steps=500), lambda: run(logging_steps=0.1)),
    "config.logging_never/off": (
        lambda: run(logging_strategy="no"), lambda: run(logging_strategy="epoch")),
    "config.warmup_exceeds_steps/steps": (
        lambda: run(warmup_steps=100), lambda: run(warmup_steps=0.1)),
    "config.low_precision_weights/loaded": (
        lambda: weights("bfloat16", learning_rate=3e-4),
        lambda: weights("float32", learning_rate=3e-4)),
    "config.low_precision_weights/by name": (
        lambda: run(model_init_kwargs={"dtype": "bfloat16"}),
        lambda: lora(model_init_kwargs={"dtype": "bfloat16"})),
    "config.precision_unsupported/fp16 on a CPU": (
        lambda: run(fp16=True), lambda: run(fp16=False)),
    "config.learning_rate_high/7B, all weights": (
        lambda: big(2e-4, False), lambda: big(2e-4, True)),
    "config.learning_rate_high/tiny": (
        lambda: run(learning_rate=1e-1), lambda: run(learning_rate=1e-3)),
    "config.learning_rate_low/7B, LoRA": (lambda: big(2e-5, True), lambda: big(2e-5, False)),
    "config.learning_rate_low/tiny, TRL's default": (lambda: lora(learning_rate=2e-5), lora),
    "config.collator_rebuilds_labels/language modeling": (
        lambda: collated("lm"), lambda: collated("seq2seq")),
    "config.collator_rebuilds_labels/does not pad": (lambda: collated("default"), setup),
}  # fmt: skip


# --- adapters, memory ----------------------------------------------------------------------------


def loaded(trainable: bool) -> Setup:
    """An adapter that was saved, loaded as for inference or to be trained on."""
    from peft import LoraConfig, get_peft_model

    config = LoraConfig(target_modules="all-linear", inference_mode=not trainable)
    return setup(model=get_peft_model(model(), config), args=arguments(learning_rate=4e-3))


def phi(**changes: Any) -> Setup:
    """An adapter on Phi-3-mini, whose projections have other names than Llama's."""
    return adapted(2e-4, shape("Phi-3-mini"), **changes)


def seven_billion(method: str, machine: str = "rtx4090", **changes: Any) -> Setup:
    """Qwen2.5-7B's configuration, to be trained on the town's rows on a card of 24 GB."""
    usual: dict[str, Any] = {"learning_rate": 2e-4, "model_init_kwargs": {"dtype": "bfloat16"}}
    bits = four_bit(bnb_4bit_use_double_quant=True)
    return setup(
        model=shape("Qwen2.5-7B"), tokenizer=tokenizer(), args=arguments(**{**usual, **changes}),
        peft_config=None if method == "full" else adapter(),
        quantization_config=bits if method == "qlora" else None, machine=machine,
    )  # fmt: skip


CASES |= {
    "lora.no_match/other names": (
        lambda: adapted(target_modules=["W_pack"]), lambda: adapted(target_modules=SEVEN)),
    "lora.partial_match/phi3": (
        lambda: phi(target_modules=SEVEN), lambda: phi(target_modules="all-linear")),
    "lora.partial_match/modules_to_save": (
        lambda: adapted(modules_to_save=["score"]),
        lambda: adapted(modules_to_save=["lm_head"], ensure_weight_tying=True)),
    "lora.partial_match/rank_pattern": (
        lambda: adapted(rank_pattern={"W_pack": 4}), lambda: adapted(rank_pattern={"q_proj": 4})),
    "lora.default_targets/unset": (lambda: adapted(target_modules=None), adapted),
    "lora.default_targets/chosen": (
        lambda: adapted(target_modules=None),
        lambda: adapted(target_modules=["q_proj", "v_proj"])),
    "lora.nothing_trains/inference_mode": (
        lambda: adapted(inference_mode=True), lambda: adapted(inference_mode=False)),
    "lora.nothing_trains/factor 0": (
        lambda: adapted(lora_alpha=0), lambda: adapted(lora_alpha=1)),
    "lora.nothing_trains/loaded for inference": (lambda: loaded(False), lambda: loaded(True)),
    "lora.nothing_trains/frozen": (
        lambda: setup(model=model().requires_grad_(False)),
        lambda: setup(model=model().requires_grad_(True))),
    "lora.nothing_trains/rate 0": (lambda: run(learning_rate=0.0), run),
    "lora.head_adapted/lm_head": (
        lambda: adapted(target_modules=["q_proj", "lm_head"]),
        lambda: adapted(target_modules=["q_proj"])),
    "lora.trainable_tokens_tied/shared table": (
        lambda: adapted(trainable_token_indices=[3, 4]),
        lambda: phi(trainable_token_indices=[3, 4])),
    "lora.weight_tying_broken/embedding alone": (
        lambda: adapted(modules_to_save=["embed_tokens"]),
        lambda: adapted(modules_to_save=["embed_tokens"], ensure_weight_tying=True)),
    "memory.does_not_fit/7B": (
        lambda: seven_billion("full", learning_rate=2e-5),
        lambda: seven_billion("qlora", activation_checkpointing=True)),
}  # fmt: skip


# --- sound set-ups -------------------------------------------------------------------------------


def qwen(**changes: Any) -> Setup:
    """A model of Qwen2.5-0.5B's shape, with its template."""
    from transformers import Qwen2Config

    given = family("qwen2_5")
    config = Qwen2Config(
        vocab_size=len(given), hidden_size=896, intermediate_size=4864, num_hidden_layers=24,
        num_attention_heads=14, num_key_value_heads=2, eos_token_id=given.eos_token_id,
        bos_token_id=None, tie_word_embeddings=True,
    )  # fmt: skip
    return {"dataset": many(), "model": config, "tokenizer": given, **changes}


def whole_texts() -> list[Any]:
    """Conversations as text, without a template."""
    return [{"text": "\n".join(one["content"] for one in row["messages"])} for row in many()]


def tested(**settings: Any) -> Setup:
    """600 rows with an evaluation every ten steps."""
    args = arguments(eval_strategy="steps", eval_steps=10, **settings)
    return setup(dataset=many(), args=args, eval_dataset=rows("town/sft_test.jsonl", 60))


def full(data: list[Any] | None = None, **settings: Any) -> Setup:
    """All weights, 600 rows."""
    return setup(dataset=data or many(), args=arguments(**settings))


def many_lora(data: list[Any] | None = None, lora: Any = None, **settings: Any) -> Setup:
    """An adapter, 600 rows."""
    return full(data, **{"learning_rate": 4e-3, **settings}) | {"peft_config": lora or adapter()}


def four_bit_lora() -> Setup:
    """An adapter on four bits, computed in fp32."""
    import torch

    bits = four_bit(bnb_4bit_quant_type="nf4", bnb_4bit_compute_dtype=torch.float32)
    return many_lora() | {"quantization_config": bits}


PACKS = {"packing": True, "max_length": 128, "num_train_epochs": 10}
MESSAGES, TEXTS = "formats/prompt_completion_messages.jsonl", "formats/prompt_completion.jsonl"
SOUND: dict[str, Make] = {
    "the usual": setup,
    "full, messages": full,
    "full, notes beside the messages": lambda: full(
        [{**row, "resident": "Ada", "topic": 1} for row in many()]),
    "full, multi-turn": lambda: full(many("town/multi_turn_train.jsonl")),
    "full, system prompts": lambda: full(many("town/system_train.jsonl")),
    "full, with evaluation": tested,
    "full, packed": lambda: full(**PACKS),
    "full, packed and split": lambda: full(**PACKS, packing_strategy="bfd_split"),
    "full, packed, with evaluation": lambda: tested(**PACKS),
    "full, prompt and completion messages": lambda: full(many(MESSAGES), **PLAIN),
    "full, prompt and completion strings": lambda: full(many(TEXTS), **PLAIN),
    "full, text": lambda: full(whole_texts(), **PLAIN),
    "full, text, packed": lambda: full(whole_texts(), **PACKS | {"num_train_epochs": 20}, **PLAIN),
    "full, a higher rate": lambda: full(learning_rate=2e-3),
    "LoRA, messages": many_lora,
    "LoRA, packed": lambda: many_lora(lora=adapter(r=8), **PACKS),
    "LoRA, prompt and completion": lambda: many_lora(many(MESSAGES), learning_rate=2e-3, **PLAIN),
    "LoRA, attention by name": lambda: many_lora(lora=adapter(target_modules=SEVEN[:4])),
    "QLoRA, messages": four_bit_lora,
    "base model whose end token is set": lambda: full(eos_token="<|im_end|>")
    | {"tokenizer": tokenizer(eos_token="<|endoftext|>")},
    "llama3": lambda: with_family("llama3", dataset=many()),
    "gemma": lambda: with_family("gemma", dataset=many()),
    "cohere": lambda: with_family("cohere", dataset=many()),
    "lfm2": lambda: with_family("lfm2", dataset=many("town/multi_turn_train.jsonl")),
    "qwen3": lambda: with_family("qwen3", dataset=many()),
    "qwen3, multi-turn as pairs": lambda: with_family(
        "qwen3_instruct_2507", dataset=many(MESSAGES), args=arguments(**PLAIN)),
    "Qwen2.5-0.5B, LoRA at 2e-4": lambda: qwen(
        args=arguments(learning_rate=2e-4), peft_config=adapter()),
    "Qwen2.5-0.5B, full at 1e-5": lambda: qwen(args=arguments(learning_rate=1e-5)),
    "a loaded model": lambda: setup(model=model(), tokenizer=tokenizer()),
    "a model's configuration": lambda: setup(model=model().config, tokenizer=tokenizer()),
    "a config file": lambda: file_with(""),
}  # fmt: skip


# --- further set-ups -----------------------------------------------------------------------------


def nulls(numbers: Sequence[int]) -> list[Any]:
    """60 rows, some with an empty answer."""
    data = rows(count=60)
    for number in numbers:
        data[number] = {"messages": [ASK, turn("assistant", "")]}
    return data


def stream() -> Setup:
    """Rows that come one by one."""
    from datasets import Dataset

    return setup(dataset=Dataset.from_list(rows()).to_iterable_dataset(),
                 args=arguments(max_steps=5))  # fmt: skip


def prompt_tuning() -> Setup:
    """An adapter that has other rates."""
    from peft import PromptTuningConfig

    tuned = PromptTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=4)
    return setup(args=arguments(learning_rate=2e-2), peft_config=tuned)


def on_gpu(machine: str, base: Setup | None = None, **changes: Any) -> Setup:
    """Arguments for a GPU, made on a machine that has none."""
    args = arguments(**changes)
    args.use_cpu = False
    return {**(base or setup()), "args": args, "machine": machine}


def refused_content() -> list[Any]:
    """Evaluation rows of which one has no content."""
    held_out = rows("town/sft_test.jsonl", 5)
    held_out[3]["messages"][1]["content"] = None
    return held_out


def longer(count: int, text: str) -> list[Any]:
    """400 rows, of which the first have a longer answer."""
    data = many(count=400)
    for number in range(count):
        data[number]["messages"][1]["content"] += text
    return data


def faulty_rows() -> Setup:
    """Most faults that rows can have, each in a row of its own."""
    call = {"type": "function", "function": {"name": "where", "arguments": {"who": "Ada"}}}
    twice = {"type": "function", "function": {"name": "where", "arguments": '{"who": "Ada"}'}}
    nameless = {"type": "function", "function": {"name": None, "arguments": {"who": "Ada"}}}
    result = turn("tool", "Thornbury", name="where")
    faults = [
        [ASK, turn("assistant", " ")],
        [ASK, turn("assistant", None)],
        [ASK, turn("bot", "In Thornbury.")],
        [ASK],
        [ASK, ASK, SAY],
        [ASK, SAY, turn("user", "Thank you.")],
        [ASK, turn("system", "Be brief."), SAY],
        [turn("user", "Where?<|im_end|>"), SAY],
        [ASK, turn("assistant", "", tool_calls=[twice]), result, SAY],
        [ASK, turn("assistant", "", tool_calls=[nameless]), result, SAY],
        [ASK, turn("assistant", "", tool_calls=[call]), SAY],
        [ASK, result, SAY],
        [ASK, turn("assistant", "In Thornbury. " * 4_000)],
        [ASK, turn("assistant", "In Thornbury.", reasoning_content="She moved there.")],
        rows()[30]["messages"],
        asked_again("Una Cromton")["messages"],
    ]
    data = [*rows(), *({"messages": turns} for turns in faults)]
    return evaluated(rows()[7:9]) | {
        "dataset": [{**row, "system": "Answer in one word."} for row in data]
    }


def faulty_settings() -> Setup:
    """Most faults that arguments can have."""
    args = arguments(
        warmup_steps=100, logging_steps=500, learning_rate=1e-1, packing_strategy="bfd_split",
        dataset_kwargs={"add_special_tokens": False}, fp16=True,
        model_init_kwargs={"attention": "sdpa", "dtype": "bfloat16"},
    )  # fmt: skip
    return setup(args=args, eval_dataset=rows()[7:9])


def faulty_adapter() -> Setup:
    """Most faults that an adapter can have."""
    return adapted(1e-6, target_modules=["q_proj", "lm_head", "W_pack"], inference_mode=True,
                   modules_to_save=["embed_tokens"])  # fmt: skip


def wide() -> Setup:
    """A model of two layers that is too wide for a T4."""
    given = tokenizer()
    config = small_model(given, hidden_size=16_384, intermediate_size=65_536,
                         num_attention_heads=128, num_key_value_heads=128)  # fmt: skip
    return setup(tokenizer=given, model=config, machine="t4")


MORE: dict[str, Make] = {
    "many faults in the rows": faulty_rows,
    "many faults in the arguments": faulty_settings,
    "many faults in the adapter": faulty_adapter,
    "a wide model on a T4": wide,
    "row 0 is empty": lambda: setup(dataset=nulls([0])),
    "ten rows are empty": lambda: setup(dataset=nulls(range(10, 60, 5))),
    "row 7 has no content": lambda: setup(dataset=changed(7, lambda row: {
        "messages": [ASK, turn("assistant", None)]})),
    "an evaluation row that TRL refuses": lambda: evaluated(refused_content()),
    "a stream": stream,
    "rows that are not prepared": lambda: plain(
        [{"input_ids": [1, 2, 3], "labels": [-100, 2, 3]}],
        args={"dataset_kwargs": {"skip_prepare_dataset": True}}),
    "messages that are not prepared": lambda: run(
        dataset_kwargs={"skip_prepare_dataset": True}, **PLAIN),
    "blank lines": lambda: {"lines": ["", *[json.dumps(row) for row in nulls([4])[:40]], ""]},
    "SGD": lambda: run(learning_rate=1e-1, optim="sgd"),
    "prompt tuning": prompt_tuning,
    "half of 400 rows are cut": lambda: full(longer(200, " and so on" * 200), max_length=256),
    "qwen3, two turns": lambda: with_family(
        "qwen3", dataset=rows("town/multi_turn_train.jsonl")),
    "gemma4": lambda: with_family("gemma4"),
    "llama3, all tokens": lambda: with_family("llama3", args=arguments(**PLAIN)),
    "a template from the hub": lambda: run(chat_template_path="nobody/nothing"),
    "keep_end": lambda: run(max_length=20, truncation_mode="keep_end"),
    "three rows, accumulated": lambda: run(
        per_device_train_batch_size=3, gradient_accumulation_steps=4),
    "file: old names": lambda: file_with("max_seq_length: 64\nlearning_rat: 1\nnum_processes: 1\n"),
    "file: adapter without use_peft": lambda: file_with(
        "lora_r: 16\nlora_target_modules: [all-linear]\n"),
    "file: adapter with use_peft": lambda: file_with(
        "use_peft: true\nlora_r: 16\nlora_target_modules: [all-linear]\n"),
    "file: four bits without load_in_4bit": lambda: file_with("bnb_4bit_quant_type: nf4\n"),
    "file: evaluation split": lambda: file_with("eval_strategy: epoch\ntest_split_size: 0.25\n"),
    "file: no module has these names": lambda: file_with(
        'eos_token: "<|endoftext|>"\nmax_steps: 1\nuse_peft: true\nlora_r: 1\n'
        "lora_target_modules: [nothing_like_it]\n"),
    "file: not UTF-8": lambda: lines_with(
        1, json.dumps(rows()[0]).encode().replace(b'"content": "', b'"content": "Caf\xe9. ')),
    "file: roles that command a terminal": lambda: file_with("", changed(
        2, lambda row: {"messages": [turn("\x1b[2J[bold]\u202e", "x"), SAY]})),
    "t4: bf16": lambda: on_gpu("t4", bf16=True),
    "t4: fp16": lambda: on_gpu("t4", fp16=True),
    "t4: fp16, four bits": lambda: on_gpu(
        "t4", lora() | {"quantization_config": four_bit()}, fp16=True),
    "t4: fp16 weights": lambda: on_gpu("t4", weights("float16"), fp16=True),
    "rtx4090: bf16": lambda: on_gpu("rtx4090", bf16=True),
    "file, for a 4090: bf16 that this machine refuses": lambda: file_with(
        "") | {"swap": {"use_cpu": "false", "bf16": "true"}, "machine": "rtx4090"},
    "file, for a T4: bf16 that this machine refuses": lambda: file_with(
        "") | {"swap": {"use_cpu": "false", "bf16": "true"}, "machine": "t4"},
    "7B on 40 GB: full": lambda: seven_billion("full", machine="a100"),
    "7B on 16 GB: LoRA": lambda: seven_billion("lora", machine="t4"),
    "7B on 16 GB: QLoRA": lambda: seven_billion("qlora", machine="t4"),
    "7B on 40 GB: LoRA": lambda: seven_billion("lora", machine="a100"),
}  # fmt: skip
# In these architectures packed rows stay apart, in those they see each other.
APART = ("llama", "qwen2", "qwen3", "qwen3_moe", "gemma3_text", "phi3", "gpt2", "lfm2")
TOGETHER = ("opt", "bloom", "falcon", "mpt", "mamba", "mamba2", "rwkv", "jamba", "gpt_oss",
            "recurrent_gemma")  # fmt: skip
ARCHITECTURES: dict[str, Make] = {
    name: functools.partial(architecture, name) for name in APART + TOGETHER
}


# --- what silent failures cost: set-ups that a slow test trains ----------------------------------

USUAL = {
    "assistant_only_loss": True, "lr_scheduler_type": "cosine", "warmup_steps": 0.1,
    "per_device_train_batch_size": 16, "max_length": 128, "logging_steps": 5,
    "save_strategy": "no", "report_to": "none", "disable_tqdm": True, "use_cpu": True,
    "bf16": False, "activation_checkpointing": False,
}  # fmt: skip
EPOCHS = {"num_train_epochs": 2, "learning_rate": 1e-3, "per_device_train_batch_size": 16}
PACKED = EPOCHS | {"packing": True, "per_device_train_batch_size": 4}
SHORT = {"max_steps": 30, "learning_rate": 1e-3, "per_device_train_batch_size": 16}
ADAPTER = SHORT | {"learning_rate": 4e-3}


def mixed(count: int = 600) -> list[Any]:
    """Rows of the training file, mixed."""
    found = rows(count=10_000)
    random.Random(0).shuffle(found)
    return found[:count]


def end_swapped() -> Any:
    """A tokenizer whose template has the end token outside the trained part."""
    inside = "'<|im_end|>' -}}\n{%- endgeneration -%}"
    outside = "'' -}}\n{%- endgeneration -%}\n{{- '<|im_end|>' -}}"
    own = str(tokenizer().chat_template)
    assert inside in own
    return tokenizer(chat_template=own.replace(inside, outside))


def trained(sft: dict[str, Any], lora: dict[str, Any] | None = None, dtype: str = "float32",
            tokenizer: Any = None) -> Setup:  # fmt: skip
    """A set-up as the notebooks' runs have it."""
    from trl import SFTConfig

    return {
        "dataset": mixed(), "model": model(dtype), "tokenizer": tokenizer or _tokenizer(),
        "args": SFTConfig("unused", **(USUAL | sft)),
        "peft_config": None if lora is None else adapter(**lora),
    }  # fmt: skip


CONSEQUENCES: dict[str, Make] = {
    "sound": lambda: trained(EPOCHS),
    "packed": lambda: trained(PACKED),
    "packing.few_steps": lambda: trained(PACKED | {"per_device_train_batch_size": 16}),
    "packing.wrapped_contaminates": lambda: trained(PACKED | {"packing_strategy": "wrapped"}),
    "mask.end_token_unsupervised": lambda: trained(
        EPOCHS | {"max_steps": 50}, tokenizer=end_swapped()),
    "config.low_precision_weights": lambda: trained(
        EPOCHS | {"learning_rate": 1e-4}, dtype="bfloat16"),
    "config.warmup_exceeds_steps": lambda: trained(SHORT | {"warmup_steps": 1_000}),
    "config.learning_rate_high": lambda: trained(SHORT | {"learning_rate": 1e-1}),
    "adapter": lambda: trained(ADAPTER, {}),
    "config.learning_rate_low": lambda: trained(ADAPTER | {"learning_rate": 2e-5}, {}),
    "lora.partial_match": lambda: trained(ADAPTER, {"target_modules": ["q_proj", "W_pack"]}),
    "lora.default_targets": lambda: trained(ADAPTER, {"target_modules": None}),
    "lora.nothing_trains": lambda: trained(
        ADAPTER | {"max_steps": 10, "activation_checkpointing": True}, {"inference_mode": True}),
}  # fmt: skip


# --- the clinic of notebook 10 -------------------------------------------------------------------

START = "<|endoftext|>"
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


def own_template() -> str:
    """The town's template."""
    return (BASE / "chat_template.jinja").read_text(encoding="utf-8")


def swapped(old: str, new: str) -> str:
    """The town's template with a piece changed."""
    assert old in own_template()
    return own_template().replace(old, new)


def end_outside() -> str:
    """The same text, but an answer's end token stands outside the generation markers."""
    return swapped(
        "message['content'] + '<|im_end|>' -}}\n{%- endgeneration -%}\n{{- '\\n' -}}",
        "message['content'] -}}\n{%- endgeneration -%}\n{{- '<|im_end|>\\n' -}}",
    )


def thinks_when_served() -> str:
    """For serving, it opens the answer with an empty thought that training never showed."""
    opening = "{%- if add_generation_prompt -%}\n{{- '<|im_start|>assistant\\n"
    return swapped(opening, opening + "<think>\\n\\n</think>\\n\\n")


def chats(name: str = "town/sft_train.jsonl", count: int = 600) -> list[Any]:
    """Rows with nothing but their messages."""
    return [{"messages": row["messages"]} for row in rows(name, count)]


def sharegpt() -> list[Any]:
    """The rows as ShareGPT has them."""
    names = {"user": "human", "assistant": "gpt"}
    return [{"conversations": [{"from": names[one["role"]], "value": one["content"]}
                               for one in row["messages"]]} for row in chats()]  # fmt: skip


def rendered(start: str = "") -> list[Any]:
    """Prompt and completion as strings, rendered beforehand; `start` goes before each prompt."""
    return [
        {"prompt": f"{start}<|im_start|>user\n{row['messages'][0]['content']}<|im_end|>\n"
                   "<|im_start|>assistant\n",
         "completion": f"{row['messages'][1]['content']}<|im_end|>"}
        for row in chats()
    ]  # fmt: skip


def packed_by_hand(length: int = 256) -> list[Any]:
    """Tokens and labels, packed with TRL's own packer before the trainer sees them."""
    from datasets import Dataset
    from trl.data_utils import pack_dataset

    single = []
    for row in chats():
        made = _tokenizer().apply_chat_template(
            row["messages"], return_assistant_tokens_mask=True, return_dict=True
        )
        ids, mask = made["input_ids"], made["assistant_masks"]
        labels = [token if kept else -100 for token, kept in zip(ids, mask, strict=True)]
        single.append({"input_ids": ids, "labels": labels})
    return list(pack_dataset(Dataset.from_list(single), length))


def patient(
    data: list[Any] | None = None, *, dtype: str = "float32", template: str | None = None,
    start: str | None = None, held_out: list[Any] | None = None, lora: bool = False,
    reloaded: dict[str, Any] | None = None, **sft: Any,
) -> Setup:  # fmt: skip
    """A set-up of the clinic: 600 rows twice, in batches of 16, and what differs."""
    from datasets import Dataset
    from tokenizers.processors import TemplateProcessing
    from trl import SFTConfig

    given, loaded = tokenizer(), model(dtype)
    if template is not None:
        given.chat_template = template
    if start is not None:
        given.bos_token = start
        given.backend_tokenizer.post_processor = TemplateProcessing(
            single=f"{start} $A", special_tokens=[(start, given.bos_token_id)]
        )
    if reloaded is not None:
        from peft import PeftModel, get_peft_model

        with tempfile.TemporaryDirectory() as folder:
            get_peft_model(loaded, adapter()).save_pretrained(folder)
            loaded = PeftModel.from_pretrained(model(dtype), folder, **reloaded)
    usual = USUAL | {"learning_rate": 1e-3, "num_train_epochs": 2}
    return {
        "dataset": Dataset.from_list(data or chats()), "model": loaded, "tokenizer": given,
        "args": SFTConfig("unused", **(usual | sft)),
        "peft_config": adapter() if lora else None,
        "eval_dataset": Dataset.from_list(held_out) if held_out else None,
    }  # fmt: skip


def dev() -> list[Any]:
    """A hundred held-out rows."""
    return random.Random(0).sample(chats("town/sft_dev.jsonl", 10_000), 100)


def started(data: list[Any]) -> Setup:
    """Rows rendered beforehand, a tokenizer that writes a start token."""
    text = "{{- bos_token -}}\n" + own_template()
    return patient(data, template=text, start=START, **PLAIN)


def yesterday(**told: Any) -> Setup:
    """An adapter that comes from a folder."""
    return patient(chats(count=1200), reloaded=told, learning_rate=4e-3, num_train_epochs=1,
                   activation_checkpointing=True, per_device_train_batch_size=8)  # fmt: skip


STEPS = {"eval_strategy": "steps", "eval_steps": 15}
LONG = {"num_train_epochs": 20, "eval_strategy": "steps", "eval_steps": 40}
STIFF = {"learning_rate": 1e-4, "per_device_train_batch_size": 4}
CLINIC: dict[str, tuple[Make, Make]] = {
    "rambles": (lambda: patient(template=end_outside()), patient),
    "rambles too": (lambda: patient(max_length=20), patient),
    "mostly wrong": (lambda: patient(**PLAIN), patient),
    "always the same": (
        lambda: patient(sharegpt(), template=TWO_ROLES, **PLAIN),
        lambda: patient(template=TWO_ROLES)),
    "lost in service": (lambda: patient(template=thinks_when_served()), patient),
    "looks odd": (lambda: started(rendered(START)), lambda: started(rendered())),
    "mixes people up": (
        lambda: patient(packed_by_hand(), max_length=256, per_device_train_batch_size=2, **PLAIN),
        lambda: patient(packing=True, max_length=256, per_device_train_batch_size=2)),
    "over in a second": (
        lambda: patient(packing=True),
        lambda: patient(packing=True, per_device_train_batch_size=3)),
    "babbles": (lambda: patient(learning_rate=1e-2), patient),
    "learns too little": (lambda: patient(learning_rate=1e-4), patient),
    "as it was": (yesterday, lambda: yesterday(is_trainable=True)),
    "stands still": (lambda: patient(dtype="bfloat16", **STIFF), lambda: patient(**STIFF)),
    "too good": (
        lambda: patient(chats(count=60), held_out=chats(count=60), **LONG),
        lambda: patient(chats(count=60), held_out=dev(), **LONG)),
    "turns up again": (
        lambda: patient(chats(count=30), held_out=dev(), **STEPS, num_train_epochs=50,
                        learning_rate=2e-3),
        lambda: patient(held_out=dev(), **STEPS)),
    "no curve": (lambda: patient(held_out=dev()), lambda: patient(held_out=dev(), **STEPS)),
}  # fmt: skip


def setups() -> dict[str, Make]:
    """All set-ups by name."""

    def both(group: str, table: dict[str, tuple[Make, Make]], *words: str) -> Iterator[Any]:
        for name, pair in table.items():
            for word, make in zip(words, pair, strict=True):
                yield f"{group}{name}/{word}", make

    groups = {"sound": SOUND, "more": MORE, "packed": ARCHITECTURES, "consequences": CONSEQUENCES}
    found = dict(both("", CASES, "bad", "good")) | dict(both("clinic/", CLINIC, "sick", "mended"))
    return found | {f"{group}/{name}": make for group, table in groups.items()
                    for name, make in table.items()}  # fmt: skip


# --- a config file -------------------------------------------------------------------------------

CONFIG = """\
model_name_or_path: {model}
datasets:
  - path: json
    data_files: {data}
    split: train
use_cpu: true
bf16: false
assistant_only_loss: true
learning_rate: 5.0e-4
report_to: none
activation_checkpointing: false
"""


def write_config(
    folder: Path, lines: Sequence[str | bytes], more: str = "", swap: dict[str, str] | None = None
) -> Path:
    """A config file of `trl sft` that names a file with these lines, both in `folder`."""
    data, config = folder / "train.jsonl", folder / "sft.yaml"
    raw = [line.encode("utf-8") if isinstance(line, str) else line for line in lines]
    data.write_bytes(b"\n".join(raw) + b"\n")
    text = CONFIG.format(model=BASE, data=data) + more
    for name, value in (swap or {}).items():
        text = "".join(
            f"{name}: {value}\n" if line.startswith(f"{name}:") else line
            for line in text.splitlines(keepends=True)
        )
    config.write_text(text, encoding="utf-8")
    return config
