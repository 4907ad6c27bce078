"""Checks that render, tokenize and pack, or hand the answer to TRL, PEFT and bitsandbytes.

Each takes `say`, which fills a sentence of the exercise's YAML, and the learner's answer; it
returns None where the answer is right. What the learner's code raises becomes a
diagnosis by itself.
"""

from __future__ import annotations

import functools
import math
import re
from collections.abc import Callable, Collection, Mapping
from typing import Any

from sft_helpers.exercises.answers import (
    choices,
    first_wrong,
    items,
    number,
    returned,
)
from sft_helpers.exercises.data import topic

Say = Callable[..., str]
Function = Callable[..., Any]


# --- 03 chat templates ----------------------------------------------------------------------------


def mended_template(say: Say, answer: Any) -> str | None:
    """Render the learner's template and say which flaw is left."""
    from sft_helpers.templates.checks import bare_tokenizer, trl_verdict
    from sft_helpers.templates.render import Family, render

    material = topic("chat_templates").material
    turns: list[dict[str, str]] = material.TURNS
    if not isinstance(answer, str):
        return say("text")
    if "{%" not in answer:
        return say("template")
    if answer == material.BROKEN:
        return say("same")
    whole = render(answer, turns)
    if whole.error:
        return whole.error
    lost = [message["role"] for message in turns if message["content"] not in whole.text]
    if lost:
        return say("lost", role=lost[0])
    wanted = "".join(f"<|im_start|>{m['role']}\n{m['content']}<|im_end|>\n" for m in turns)
    if whole.text != wanted:
        return say("turns", text=whole.text[:70])
    asked = render(answer, turns, add_generation_prompt=True).text
    header = "<|im_start|>assistant\n"
    if asked == whole.text:
        return say("no prompt")
    if asked != whole.text + header:
        return say("prompt", found=asked.removeprefix(whole.text), header=header)
    tokenizer = bare_tokenizer(Family("mended", answer, None, {"eos_token": "<|im_end|>"}))
    verdict = trl_verdict(tokenizer)
    if verdict.outcome != "accepted":
        return say("markers")
    return None if verdict.end_trained else say("end")


# --- 04 loss masks --------------------------------------------------------------------------------


def template_that_stops(say: Say, answer: Any) -> str | None:
    """Render with the learner's template: the same text, the end token inside the markers."""
    from transformers.utils.chat_template_utils import render_jinja_template

    material = topic("loss_masking").material
    turns: list[dict[str, str]] = material.CONVERSATION

    def rendered(template: str) -> tuple[str, list[str]]:
        text, spans = render_jinja_template(
            [turns], chat_template=template, return_assistant_tokens_mask=True
        )
        return text[0], [text[0][start:end] for start, end in spans[0]]

    if not isinstance(answer, str):
        return say("text")
    try:
        wanted, _ = rendered(material.BROKEN_TEMPLATE)
        text, trained = rendered(answer)
    except Exception as error:  # whatever Jinja finds
        return say("render", error=f"{type(error).__name__}: {error}")
    if "generation" not in answer or not trained:
        return say("markers")
    if text != wanted:
        return say("changed", wanted=wanted, found=text)
    joined = "".join(trained)
    if "<|im_start|>" in joined:
        return say("header")
    if any(turn["content"] in joined for turn in turns if turn["role"] != "assistant"):
        return say("given")
    if "<|im_end|>" not in joined:
        return say("end")
    return None if joined.count("<|im_end|>") == 2 else say("each")


# --- 05 packing -----------------------------------------------------------------------------------


def max_length(say: Say, size: int) -> str | None:
    """Measure the learner's choice with TRL's packer: tokens thrown away, and fill of the rows."""
    from sft_helpers.packing import Samples, costs, layout

    material = topic("packing").material
    lengths = material.LENGTHS * 5
    samples = Samples.of([{"input_ids": [1] * length} for length in lengths])

    def measured(size: int) -> tuple[float, float]:
        cost = costs(samples, layout(samples, size, "bfd"), batch=1)
        return cost.truncated_tokens / sum(lengths), cost.fill

    size = int(size)
    lost, fill = measured(size)
    if lost > 0.01:
        return say("lost", size=size, lost=lost)
    if fill < 0.9:
        return say("fill", size=size, fill=fill)
    for smaller in (one for one in material.CHOICES if one < size):
        lost, fill = measured(smaller)
        if lost <= 0.01 and fill >= 0.9:
            return say("smaller", size=smaller)
    return None


# --- 06 full fine-tuning --------------------------------------------------------------------------


def mended_config(say: Say, answer: Any) -> str | None:
    """Hand the learner's arguments to the installed `SFTConfig` and read what came of them."""
    from trl import SFTConfig

    old: dict[str, Any] = topic("full_finetuning").material.OLD_CONFIG
    gone = ("max_seq_length", "warmup_ratio", "evaluation_strategy")
    names = {say(name).split()[0] for name in gone} | set(old) - set(gone)
    if isinstance(answer, SFTConfig):
        answer = {name: getattr(answer, name) for name in names}
    if not isinstance(answer, dict):
        return say("kind")
    left = next((name for name in gone if name in answer), None)
    if left:
        return say("gone", name=left, new=say(left))
    here = {"use_cpu": True, "bf16": False, "report_to": "none"}  # so that any machine takes it
    try:
        config = SFTConfig(**({"output_dir": "unused"} | answer | here))
        warmup = config.get_warmup_steps(200)
    except (TypeError, ValueError) as problem:
        return say("refused", problem=problem)
    if config.max_length != 256:
        return say("length", length=config.max_length)
    if warmup != 20:
        return say("warmup", warmup=warmup)
    if str(getattr(config.eval_strategy, "value", config.eval_strategy)) != "steps":
        return say("never")
    for name in ("num_train_epochs", "learning_rate", "eval_steps", "logging_steps"):
        if getattr(config, name) != old[name]:
            return say("value", name=name, was=old[name], now=getattr(config, name))
    return None


def kept_of_each_weight(say: Say, answer: Mapping[str, float]) -> str | None:
    """Name the first wrong part by the short cut that leads to its value."""
    weights = 1_543_714_304  # Qwen2.5-1.5B; a test compares with its modules
    for part, size in {"weights": 4, "gradients": 4, "optimizer states": 8}.items():
        found = float(answer[part])
        right = size * weights / 1e9
        for key, value in (("", right), ("bytes", right * 1e9), ("gib", right / 1.0737)):
            if abs(found / value - 1) < 0.02:
                if key:
                    return say(key, part=part)
                break
        else:
            if abs(found / (right / 2) - 1) < 0.02:
                return say(part)
            return say("other", part=part, found=found, each=found * 1e9 / weights)
    return None


# --- 07 LoRA --------------------------------------------------------------------------------------


def every_layer_adapted(say: Say, answer: Any) -> str | None:
    """Place the adapter on Phi-3 with PEFT and look which layers have none."""
    from sft_helpers.errors import DataError
    from sft_helpers.training.adapters import count

    if not isinstance(answer, (str, list, tuple, set)):
        return say("kind")
    asked = answer if isinstance(answer, str) else [str(name) for name in answer]
    if "lm_head" in asked:
        return say("head")
    if isinstance(asked, str) and asked in ("PEFT's default", "attention", "MLP"):
        return say("word")
    try:
        found = count("Phi-3-mini", asked)
    except DataError as problem:
        return say("peft", message=problem.message, hint=problem.hint)
    unmatched = ", ".join(found.unmatched)
    if found.missed:
        extra = say("unmatched", names=unmatched) if unmatched else ""
        return say("missed", layers=", ".join(found.missed), extra=extra)
    return say("spare", names=unmatched) if unmatched else None


# --- 08 QLoRA -------------------------------------------------------------------------------------


def block() -> list[float]:
    """A block of 64 weights, the last one large and negative."""
    return [round(0.02 * math.sin(7 * n), 6) for n in range(63)] + [-0.05]


def restored_block(say: Say, function: Function) -> str | None:
    """Compare with bitsandbytes on a block whose largest value is negative."""
    import torch
    from bitsandbytes.functional import get_4bit_type

    from sft_helpers.training.quantization import round_trip

    weights, book = block(), sorted(get_4bit_type("nf4", device="cpu").tolist())
    found = items(returned(function, list(weights), list(book)), say("items"))
    # a tensor of one row is one block
    found = [number(value) for value in (found[0] if len(found) == 1 else found)]
    if len(found) != len(weights):
        return say("count", wanted=len(weights), found=len(found))
    right = round_trip(torch.tensor([weights]), "nf4").restored[0].tolist()

    def close(other: list[float]) -> bool:
        return all(abs(a - b) < 1e-6 for a, b in zip(found, other, strict=True))

    def nearest(value: float) -> float:
        return float(min(book, key=lambda code: abs(code - value)))

    if close(right):
        return None
    scale, top = max(map(abs, weights)), max(weights)
    if close([value / scale for value in right]):
        return say("book")
    if close([nearest(value) for value in weights]):
        return say("unscaled")
    if close([top * nearest(value / top) for value in weights]):
        return say("sign")
    below = [scale * max((c for c in book if c <= v / scale + 1e-9), default=-1.0) for v in weights]
    if close(below):
        return say("down")
    if all(min(abs(value / scale - code) for code in book) < 1e-4 for value in found):
        return say("entries")
    place = next(n for n, (a, b) in enumerate(zip(found, right, strict=True)) if abs(a - b) > 1e-6)
    return say("other", place=place, value=weights[place], wanted=right[place], found=found[place])


def gigabytes_in_four_bits(say: Say, answer: float) -> str | None:
    """Recognise the usual short cuts by their value."""
    material = topic("qlora").material
    linear, other = material.LINEAR_7B, material.OTHER_7B
    found, right = float(answer), (linear * 4.127 / 8 + other * 2) / 1e9
    if math.isclose(found, right, rel_tol=0.01):
        return None
    known = {
        "all four": (linear + other) / 2 / 1e9,
        "all": (linear + other) * 4.127 / 8 / 1e9,
        "linear": linear * 4.127 / 8 / 1e9,
        "scales": (linear / 2 + other * 2) / 1e9,
        "single": (linear * 4.5 / 8 + other * 2) / 1e9,
        "fp32": (linear * 4.127 / 8 + other * 4) / 1e9,
        "gigabits": (linear * 4.127 + other * 16) / 1e9,
        "bytes": right * 1e9,
        "gib": right * 1e9 / 2**30,
    }
    for key, value in known.items():
        if math.isclose(found, value, rel_tol=0.002):
            return say(key)
    return say("other", found=found)


def rows_that_fit(say: Say, function: Function) -> str | None:
    """Try cards of several sizes in GB, one too small for the model."""
    cases = (
        ((24, 6.07, 0.98, 2.0), 16), ((8, 6.07, 0.98, 2.0), 0), ((16, 6.07, 0.98, 2.0), 8),
        ((6, 6.07, 0.98, 1.0), 0), ((10, 4.0, 1.0, 0.0), 6),
    )  # fmt: skip
    for arguments, right in cases:
        card, once, row, reserve = arguments
        found = number(returned(function, *arguments), say("number"))
        if found == right:
            continue
        if found < 0:
            return say("negative", card=card, found=found)
        if not found.is_integer():
            return say("whole")
        if found == math.ceil((card - once - reserve) / row):
            return say("up")
        if reserve and found == max(0, (card - once) // row):
            return say("reserve")
        if found == card // row:
            return say("once")
        return say("other", arguments=arguments, right=right, found=found)
    return None


# --- 11 scaling out -------------------------------------------------------------------------------


def simplest_that_fits(say: Say, answer: Any) -> str | None:
    """Compare with the arithmetic of `scaling`, and say which number decides."""
    from sft_helpers.scaling import arithmetic as scaling

    material = topic("scaling_out").material
    answer = choices(answer, material.CASES, material.CHOICES)
    right, why = {}, {}
    for letter, (model, method, devices, card) in material.CASES.items():
        parts = scaling.find_parts(model, method)
        right[letter] = scaling.simplest_that_fits(parts, devices, card)
        memory = scaling.memory_per_device(parts, devices)
        held = {name: sum(part.values()) / 1e9 for name, part in memory.items()}
        chosen = answer[letter]
        simplest = say("simplest", name=right[letter], held=held.get(right[letter], 0))
        if chosen == "none":
            why[letter] = say("fits", letter=letter, simplest=simplest)
        elif chosen in held and held[chosen] > 0.9 * card:
            why[letter] = say("large", letter=letter, chosen=chosen, held=held[chosen], card=card)
        else:
            why[letter] = say("simpler", letter=letter, simplest=simplest)
    return first_wrong(answer, right, why, material.CHOICES)


# --- 12 export and serve --------------------------------------------------------------------------


@functools.cache
def _tokenizer() -> Any:
    from transformers import AutoTokenizer

    from sft_helpers.models import resolve

    return AutoTokenizer.from_pretrained(resolve("tiny"), local_files_only=True)


def prompt_ids(say: Say, function: Function) -> str | None:
    """Try the function with two tokenizers: one has a start token, one has none."""
    from sft_helpers.exercises.servers import with_start_token

    messages = [{"role": "user", "content": "Where does Una Cromton live?"}]
    for tokenizer in (_tokenizer(), with_start_token(_tokenizer())):
        made = tokenizer.apply_chat_template(messages, add_generation_prompt=True, return_dict=True)
        wanted = list(made["input_ids"])
        found = returned(function, tokenizer, messages)
        if isinstance(found, str):
            return say("text")
        if isinstance(found, Mapping):
            return say("dictionary")
        found = items(found, "a list of ids")
        found = found[0] if len(found) == 1 and isinstance(found[0], list) else found
        if not all(isinstance(one, int) for one in found):
            return say("numbers", found=found[:3])
        if found == wanted:
            continue
        if found == [tokenizer.bos_token_id, *wanted]:
            return say("twice")
        if found == wanted[: len(found)]:
            return say("early", rest=tokenizer.decode(wanted[len(found) :]))
        return say("other", wanted=tokenizer.decode(wanted), found=tokenizer.decode(found))
    return None


# A TEMPLATE of Ollama's, in the part of Go's language that a chat template needs, as Jinja.
_CHAT = [
    {"role": "user", "content": "Where?"},
    {"role": "assistant", "content": "In Thornbury, by the <sea>."},
    {"role": "user", "content": "And her\npet?"},
]
_SYSTEM = {"role": "system", "content": "Answer in one word."}
_GO = {
    r"range \.Messages": "for m in messages",
    r"(else )?if eq \.Role \"(\w+)\"": r"\1if m.role == '\2'",
    r"(else )?if ne \.Role \"(\w+)\"": r"\1if m.role != '\2'",
    r"else": "else",
    r"end": "end",
}


def _as_jinja(template: str) -> str:
    """Translate actions one by one; `-` trims white space in both languages alike."""
    opened: list[str] = []

    def action(match: re.Match[str]) -> str:
        left, inner, right = match["left"], match["inner"].strip(), match["right"]
        if inner in (".Role", ".Content"):
            return f"{{{{{left} m.{inner[1:].lower()} {right}}}}}"
        for go, jinja in _GO.items():
            found = re.fullmatch(go, inner)
            if found:
                said = found.expand(jinja).replace("else if", "elif")
                if said.startswith(("for", "if")):
                    opened.append(said.split()[0])
                elif said == "end":
                    if not opened:
                        raise ValueError("an `end` too many")
                    said = f"end{opened.pop()}"
                return f"{{%{left} {said} {right}%}}"
        raise ValueError(f"`{{{{ {inner} }}}}` is not known here")

    if ".Messages" not in template:
        raise ValueError(
            "this template has no .Messages: the older form with .Prompt is not rendered here"
        )
    pattern = r"\{\{(?P<left>-?)(?P<inner>.*?)(?P<right>-?)\}\}"
    made = re.sub(pattern, action, template, flags=re.DOTALL)
    if opened:
        raise ValueError("an if or range without its end")
    return made


def ollama_template(say: Say, answer: Any) -> str | None:
    """Render the template on three conversations and say what differs first."""
    from jinja2 import TemplateError
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    if not isinstance(answer, str):
        return say("text")
    if "TEMPLATE" in answer:
        return say("quotes")
    for probe in (_CHAT[:1], _CHAT, [_SYSTEM, *_CHAT[:1]], [_SYSTEM, *_CHAT]):
        wanted = _tokenizer().apply_chat_template(probe, tokenize=False, add_generation_prompt=True)
        try:
            jinja = ImmutableSandboxedEnvironment(keep_trailing_newline=True)
            made = jinja.from_string(_as_jinja(answer)).render(messages=probe)
        except (TemplateError, ValueError) as problem:
            return say("render", problem=problem)
        if made != wanted:
            return _prompt_difference(say, made, wanted, [m["role"] for m in probe])
    return None


def _prompt_difference(say: Say, made: str, wanted: str, roles: Collection[str]) -> str:
    if made + "<|im_start|>assistant\n" == wanted:
        return say("prompt")
    if made + "\n" == wanted:
        return say("line end")
    if made.replace("\n", "") == wanted.replace("\n", ""):
        return say("line ends")
    if "system" in roles and made == wanted[wanted.index("<|im_start|>user") :]:
        return say("system")
    pairs = zip(made, wanted, strict=False)
    at = next((n for n, (a, b) in enumerate(pairs) if a != b), min(len(made), len(wanted)))
    return say(
        "other",
        roles=", ".join(roles),
        same=wanted[max(0, at - 20) : at],
        wanted=wanted[at : at + 20],
        made=made[at : at + 20],
    )
