"""The codes of preflight: what each stands for, and the lesson that explains it."""

from __future__ import annotations

from typing import Literal, NamedTuple

Severity = Literal["error", "warning", "note"]


class Code(NamedTuple):
    """What a code stands for.

    Attributes:
        severity: how bad it is, unless the finding says otherwise.
        meaning: what is wrong, in one line.
        lesson: notebook and cell that explain it, "04_loss_masking.ipynb#end-aim".
    """

    severity: Severity
    meaning: str
    lesson: str


CODES: dict[str, Code] = {
    "data.unreadable": Code(
        "error", "a row cannot be read from its file", "01_data_formats.ipynb#load-aim"
    ),
    "data.refused": Code("error", "TRL stops at a row", "01_data_formats.ipynb#trl-aim"),
    "data.unsupported_format": Code(
        "error", "TRL does not train on this shape of row", "01_data_formats.ipynb#trl-aim"
    ),
    "data.mixed_schema": Code(
        "error", "rows of several shapes in one data set", "01_data_formats.ipynb#null-aim"
    ),
    "data.conflicting_columns": Code(
        "error", "columns of two formats in one row", "01_data_formats.ipynb#trl-aim"
    ),
    "data.unknown_role": Code(
        "error", "a role that templates drop or write out as it is", "01_data_formats.ipynb#raw-aim"
    ),
    "data.missing_content": Code(
        "error", "a turn without content", "01_data_formats.ipynb#null-aim"
    ),
    "data.content_not_text": Code(
        "error", "content that is not text", "01_data_formats.ipynb#validate-aim"
    ),
    "data.invalid_unicode": Code(
        "error", "text that no tokenizer takes", "01_data_formats.ipynb#load-aim"
    ),
    "data.no_assistant_turn": Code(
        "error", "a row with nothing to learn", "01_data_formats.ipynb#validate-aim"
    ),
    "data.empty_turn": Code("error", "an empty turn", "01_data_formats.ipynb#validate-aim"),
    "data.tool_call_invalid": Code(
        "error", "a tool call that is none", "01_data_formats.ipynb#validate-aim"
    ),
    "data.tool_arguments_string": Code(
        "error", "tool arguments that are encoded twice", "01_data_formats.ipynb#validate-aim"
    ),
    "data.tool_call_unanswered": Code(
        "warning", "a tool call without a result", "01_data_formats.ipynb#validate-aim"
    ),
    "data.tool_result_without_call": Code(
        "warning", "a tool's result without a call", "01_data_formats.ipynb#validate-aim"
    ),
    "data.not_alternating": Code(
        "warning", "user and assistant do not take turns", "01_data_formats.ipynb#validate-aim"
    ),
    "data.system_not_first": Code(
        "warning", "a system message that is not the first", "01_data_formats.ipynb#validate-aim"
    ),
    "data.last_turn_not_assistant": Code(
        "warning", "the last turn is not the assistant's", "01_data_formats.ipynb#validate-aim"
    ),
    "data.ignored_column": Code(
        "warning", "a column that TRL ignores", "01_data_formats.ipynb#trl-aim"
    ),
    "data.very_long_content": Code(
        "note", "a very long turn", "01_data_formats.ipynb#validate-aim"
    ),
    "data.duplicate_rows": Code("warning", "rows that say the same", "02_cleaning.ipynb#near-aim"),
    "data.near_duplicate_rows": Code(
        "note", "rows that say nearly the same", "02_cleaning.ipynb#near-aim"
    ),
    "data.split_overlap": Code(
        "error", "evaluation rows that are also trained on", "02_cleaning.ipynb#lie-aim"
    ),
    "data.special_token_in_content": Code(
        "error", "text that becomes control tokens", "03_chat_templates.ipynb#program-aim"
    ),
    "data.thinking_dropped": Code(
        "warning", "thoughts that the template leaves out", "03_chat_templates.ipynb#thoughts-aim"
    ),
    "template.missing": Code("error", "no chat template", "03_chat_templates.ipynb#automatic-aim"),
    "template.drops_content": Code(
        "error", "the template loses content", "03_chat_templates.ipynb#checks-aim"
    ),
    "template.end_token_not_eos": Code(
        "error",
        "turns end with another token than generation stops at",
        "04_loss_masking.ipynb#end-aim",
    ),
    "template.no_generation_markers": Code(
        "error",
        "assistant_only_loss is refused for this template",
        "04_loss_masking.ipynb#flags-aim",
    ),
    "template.prefix_broken": Code(
        "warning",
        "the training text does not begin like the prompt",
        "03_chat_templates.ipynb#parity-aim",
    ),
    "template.renders_date": Code(
        "note", "the template prints today's date", "03_chat_templates.ipynb#checks-aim"
    ),
    "mask.full_sequence": Code(
        "warning", "the questions are trained too", "04_loss_masking.ipynb#claim-aim"
    ),
    "mask.all_masked": Code(
        "error", "rows in which nothing is trained", "04_loss_masking.ipynb#report-aim"
    ),
    "mask.flag_without_effect": Code(
        "warning", "a loss setting that does nothing here", "04_loss_masking.ipynb#flags-aim"
    ),
    "mask.end_token_unsupervised": Code(
        "error", "the end token does not count in the loss", "04_loss_masking.ipynb#end-aim"
    ),
    "tokens.double_bos": Code("warning", "two start tokens", "03_chat_templates.ipynb#parity-aim"),
    "tokens.double_eos": Code("warning", "two end tokens", "03_chat_templates.ipynb#parity-aim"),
    "tokens.no_eos": Code(
        "error", "rows that do not end with an end token", "04_loss_masking.ipynb#end-aim"
    ),
    "tokens.truncated": Code("warning", "rows that are cut", "04_loss_masking.ipynb#report-aim"),
    "tokens.completion_lost": Code(
        "error", "rows whose answer is cut off", "04_loss_masking.ipynb#report-aim"
    ),
    "tokens.longer_than_model": Code(
        "error", "rows longer than the model's context", "05_packing.ipynb#data-aim"
    ),
    "tokens.no_separator": Code(
        "warning", "prompt and completion run together", "01_data_formats.ipynb#strings-aim"
    ),
    "tokens.new_token_untrained": Code(
        "error", "a new token whose row is never trained", "07_lora.ipynb#idea"
    ),
    "tokens.id_out_of_range": Code(
        "error", "a token without a row in the model", "07_lora.ipynb#idea"
    ),
    "packing.wrapped_contaminates": Code(
        "error", "packed rows see each other", "05_packing.ipynb#isolation-aim"
    ),
    "packing.eval_contaminates": Code(
        "warning", "packed evaluation rows see each other", "05_packing.ipynb#isolation-aim"
    ),
    "packing.prepacked_contaminates": Code(
        "error", "rows packed beforehand see each other", "05_packing.ipynb#isolation-aim"
    ),
    "packing.architecture_contaminates": Code(
        "error", "this architecture cannot keep packed rows apart", "05_packing.ipynb#isolation-aim"
    ),
    "packing.few_steps": Code(
        "warning", "few optimizer steps are left", "05_packing.ipynb#steps-aim"
    ),
    "config.refused": Code(
        "error", "SFTTrainer refuses the arguments", "06_full_finetuning.ipynb#config-aim"
    ),
    "config.unknown_argument": Code(
        "error", "an argument that TRL does not have", "06_full_finetuning.ipynb#config-aim"
    ),
    "config.ignored_argument": Code(
        "warning", "an argument that does nothing here", "06_full_finetuning.ipynb#config-aim"
    ),
    "config.eval_never_runs": Code(
        "warning", "evaluation rows that are never used", "06_full_finetuning.ipynb#run-aim"
    ),
    "config.logging_never": Code(
        "warning", "no loss line before the end", "06_full_finetuning.ipynb#run-aim"
    ),
    "config.warmup_exceeds_steps": Code(
        "warning",
        "the learning rate never gets where it should",
        "06_full_finetuning.ipynb#schedule-aim",
    ),
    "config.precision_unsupported": Code(
        "error", "a number format that this machine lacks", "06_full_finetuning.ipynb#gpu"
    ),
    "config.low_precision_weights": Code(
        "warning", "weights too coarse for the updates", "06_full_finetuning.ipynb#config-aim"
    ),
    "config.learning_rate_high": Code(
        "warning", "a learning rate that breaks models", "06_full_finetuning.ipynb#schedule-aim"
    ),
    "config.learning_rate_low": Code(
        "warning", "a learning rate that teaches nothing", "07_lora.ipynb#grid-aim"
    ),
    "config.collator_rebuilds_labels": Code(
        "error", "a collator that makes its own labels", "04_loss_masking.ipynb#pad-aim"
    ),
    "lora.no_match": Code("error", "no module has these names", "07_lora.ipynb#idea"),
    "lora.partial_match": Code("warning", "some names match no module", "07_lora.ipynb#idea"),
    "lora.default_targets": Code("warning", "only a few modules are adapted", "07_lora.ipynb#idea"),
    "lora.nothing_trains": Code("error", "no parameter would be trained", "07_lora.ipynb#idea"),
    "lora.head_adapted": Code(
        "error", "an adapter on the output head, which TRL refuses", "07_lora.ipynb#idea"
    ),
    "lora.trainable_tokens_tied": Code(
        "error", "token indices on a shared table, which TRL cannot train", "07_lora.ipynb#idea"
    ),
    "lora.weight_tying_broken": Code(
        "warning", "one of two shared tables is trained", "07_lora.ipynb#idea"
    ),
    "memory.does_not_fit": Code("error", "the run does not fit on the card", "08_qlora.ipynb#gpu"),
}
