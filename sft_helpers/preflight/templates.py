"""What is wrong with the chat template, for these rows and this tokenizer."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import TYPE_CHECKING, Any

from sft_helpers.formats.hub_rows import without_nulls
from sft_helpers.formats.messages import role_of
from sft_helpers.masking import IGNORED
from sft_helpers.preflight.findings import Finding, finding
from sft_helpers.preflight.scan import THINK, content, conversation
from sft_helpers.templates.checks import Check, check_template
from sft_helpers.templates.reader import prints_what_a_clock_says

if TYPE_CHECKING:
    from sft_helpers.preflight.setup import Setup

# Content of other roles may be written as JSON, or moved.
SPOKEN = ("system", "user", "assistant", "human", "gpt")


def check(setup: Setup) -> Iterator[Finding]:
    """Every check of the template; rows that need none are checked for their seam only."""
    if not setup.conversational:
        yield from _seam(setup)
        return
    tokenizer = setup.trained_tokenizer
    if not getattr(tokenizer, "chat_template", None):
        yield _as_finding(check_template(None)[0])
        return
    yield from _flaws(setup, tokenizer)
    yield from _drops(setup)
    yield from _date(setup)
    yield from _prefix(setup)


def _as_finding(one: Check) -> Finding:
    return finding(one.code, one.message, one.fix)


def _flaws(setup: Setup, tokenizer: Any) -> Iterator[Finding]:
    """What `check_template` finds that does not depend on the rows.

    End token: Qwen base writes <|im_end|> and stops at <|endoftext|> (open-r1 PR 604, TRL PR 3299).
    Markers: TRL raises ValueError for a template that it neither finds markers in nor knows
    (chat_template_utils.py, get_training_chat_template).
    """
    also = tokenizer.convert_ids_to_tokens(list(setup.stops))
    for one in check_template(tokenizer, also_stops_at=also):
        refused = one.code == "template.no_generation_markers" and one.severity == "warning"
        if one.code == "template.end_token_not_eos" or (refused and setup.args.assistant_only_loss):
            yield _as_finding(one)


def _examples(setup: Setup) -> Iterator[tuple[tuple[str, ...], int, dict[str, Any]]]:
    """A few rows of each order of roles: what a template does depends on little else."""
    for order, rows in setup.scan.orders.items():
        for number in rows:
            yield order, number, without_nulls(setup.dataset[number])


def _counted(setup: Setup, orders: Collection[tuple[str, ...]]) -> tuple[list[int], int]:
    """First rows of these orders of roles, and how many rows have them."""
    rows = sorted(row for order in orders for row in setup.scan.orders[order])
    return rows, sum(setup.scan.counts[order] for order in orders)


def _drops(setup: Setup) -> Iterator[Finding]:
    """Contents that are not in the text that TRL tokenizes.

    ShareGPT's role names with the Qwen2.5 template lose every turn, without a word (facts of TRL
    1.16: `human` and `gpt` are never mapped, trl.data_utils.maybe_convert_to_chatml).
    """
    lost: dict[tuple[str, ...], str] = {}
    for order, _, row in _examples(setup):
        text = setup.rendered(row)
        if text is None or order in lost:
            continue
        squeezed = " ".join(text.split())
        for turn in conversation(row) or []:
            said = " ".join(THINK.sub("", content(turn)).split())
            if role_of(turn) in SPOKEN and said not in squeezed:
                lost[order] = f"{role_of(turn)}: {said[:60]!r}"
                break
    if lost:
        rows, count = _counted(setup, lost)
        yield finding(
            "template.drops_content",
            f"the template leaves text out of the rows (first: {next(iter(lost.values()))})",
            "name the roles system, user and assistant (`sft-helpers convert`), or set another"
            " template with chat_template_path",
            rows,
            count=count,
        )


def _date(setup: Setup) -> Iterator[Finding]:
    """Templates that ask the clock: llama3_2, gptoss and muse_glimmer among those TRL ships."""
    _, _, row = next(_examples(setup), ((), 0, {}))
    messages = conversation(row) or []
    tokenizer = setup.trained_tokenizer
    template = setup.prepared.chat_template or tokenizer.chat_template
    variables = {
        **tokenizer.special_tokens_map,
        "messages": messages,
        "tools": None,
        "documents": None,
        "add_generation_prompt": False,
        **(row.get("chat_template_kwargs") or {}),
    }
    try:
        asks = bool(messages) and prints_what_a_clock_says(template, variables)
    except Exception:  # the template fails on this row: other findings say so
        return
    if asks:
        yield finding(
            "template.renders_date",
            "the template prints today's date into every row: rows prepared on two days differ, and"
            " the model learns a date that will never come again",
            'add a column chat_template_kwargs with a fixed date, such as {"date_string": "1 Jan'
            " 2026\"} (the name is the template's own)",
        )


def _prefix(setup: Setup) -> Iterator[Finding]:
    """At inference the model reads a prompt; training text must begin with those very tokens.

    Compared as tokens, for each assistant turn that is trained: TRL trains `qwen3` with another
    template than it saves, and templates such as deepseek_r1_distill open a thought in the prompt
    only (TRL issue 5213; sft_trainer.py warns once a process, and for prompt and completion only).
    """
    broken: dict[tuple[str, ...], int] = {}
    for order, number, row in _examples(setup):
        messages, options = setup.messages_of(row)
        if messages is None or order in broken:
            continue
        whole = setup.tokens(messages, options, setup.prepared.chat_template)
        labels = setup.prepared.labels(number)
        first = len(row["prompt"]) if isinstance(row.get("prompt"), list) else 1
        for place in range(first, len(messages)):
            prompt = setup.tokens(messages[:place], {**options, "add_generation_prompt": True})
            if messages[place].get("role") != "assistant" or whole is None or prompt is None:
                continue
            size = len(prompt)
            # what the model must write first is not trained, but what comes later is
            late = labels[size : size + 1] == [IGNORED] and any(
                label != IGNORED for label in labels[size:]
            )
            if whole[:size] != prompt or late:
                broken[order] = place
                break
    if broken:
        rows, count = _counted(setup, broken)
        yield finding(
            "template.prefix_broken",
            "the tokens before an answer are not those that the model will read at inference"
            f" (first: turn {next(iter(broken.values())) + 1}): such prompts never come",
            "train one row per answer, or serve with the template that training uses",
            rows,
            count=count,
        )


def _seam(setup: Setup) -> Iterator[Finding]:
    """Strings: a token that spans prompt and completion moves the start of the completion.

    TRL takes the longest common prefix of the two tokenizations (sft_trainer.py, tokenize_fn).
    """
    prepared = setup.prepared
    names = setup.dataset.column_names
    if prepared.dataset is None or "prompt" not in names or "completion" not in names:
        return
    broken: list[int] = []
    columns = prepared.dataset.select_columns(["prompt", "input_ids"])
    for start in range(0, len(columns), 1_000):
        batch = columns[start : start + 1_000]
        asked = prepared.tokenizer(batch["prompt"])["input_ids"]
        # a tokenizer may end what it reads with an end token of its own
        broken += [
            start + number
            for number, (prompt, ids) in enumerate(zip(asked, batch["input_ids"], strict=True))
            if ids[: len(prompt)] != prompt
        ]
    if broken:
        yield finding(
            "template.prefix_broken",
            "the last token of the prompt merges with the completion: the model is trained behind"
            " another prompt than it will read",
            "end the prompt on a line break and begin the completion with a letter, or move the"
            " space from the end of the prompt to the start of the completion",
            [int(prepared.rows[row]) for row in broken],
            sample=setup.sample,
        )
