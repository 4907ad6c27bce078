"""Names that left, and what to write instead.

An entry speaks only where the installed packages refuse or ignore the old name; which names those
are is never read from here, except for `**kwargs` that reach into code no signature describes
(`OPEN`). A test builds every entry with the installed packages: old refused, new accepted.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal


@dataclass(frozen=True)
class Replacement:
    """What to write instead of an old name.

    Attributes:
        where: the class or function, or for an import the module; bases stand for their heirs.
        old: the argument or imported name.
        new: the name to use instead, where the value stays; None if there is none.
        advice: what to do, as a line of code where possible; by default `new`.
        below_one: the renaming is right only for a share, a number between 0 and 1.
        effect: for `**kwargs` (see OPEN): what happens with the old name.
        lesson: notebook and cell that explain it.
    """

    where: str
    old: str
    new: str | None = None
    advice: str = ""
    below_one: bool = False
    effect: Literal["", "refused", "ignored", "deprecated"] = ""
    lesson: str = "06_full_finetuning.ipynb#names"

    def text(self) -> str:
        """What to do, in words."""
        return self.advice or f"write {self.new}"

    def renames(self, value: Any) -> bool:
        """Whether only the name changes, given the value if it is known."""
        if self.new is None or not self.below_one:
            return self.new is not None
        return isinstance(value, float) and 0 < value < 1


R = Replacement
MASKS, PACKS = "04_loss_masking.ipynb#flags-aim", "05_packing.ipynb#grid-aim"
ARGS, SFT, TRAINER = "transformers.TrainingArguments", "trl.SFTConfig", "trl.SFTTrainer"
LOAD, DATA = "transformers.PreTrainedModel.from_pretrained", "datasets.load_dataset"
TOKENIZER = "transformers.PreTrainedTokenizerBase.from_pretrained"
QUANTIZE = "pass quantization_config=BitsAndBytesConfig({}=True)"
REMOVE = "leave it out"

ARGUMENTS = (
    R(ARGS, "evaluation_strategy", "eval_strategy"),
    R(ARGS, "warmup_ratio", "warmup_steps", "write warmup_steps; below 1 it is a share", True),
    R(ARGS, "group_by_length", advice='write train_sampling_strategy="group_by_length"'),
    R(ARGS, "overwrite_output_dir", advice=f"{REMOVE}: nothing asks any more"),
    R(ARGS, "save_safetensors", advice=f"{REMOVE}: safetensors is the only format"),
    R(ARGS, "logging_dir", advice="set the environment variable TENSORBOARD_LOGGING_DIR"),
    R(ARGS, "no_cuda", "use_cpu"),
    R(ARGS, "use_mps_device", advice=f"{REMOVE}: an Apple GPU is found by itself"),
    R(ARGS, "include_tokens_per_second", advice="write include_num_input_tokens_seen=True"),
    R(ARGS, "include_inputs_for_metrics", advice='write include_for_metrics=["inputs"]'),
    R(ARGS, "push_to_hub_token", "hub_token"),
    R(ARGS, "push_to_hub_model_id", "hub_model_id"),
    R(ARGS, "per_gpu_train_batch_size", "per_device_train_batch_size"),
    R(ARGS, "per_gpu_eval_batch_size", "per_device_eval_batch_size"),
    R(ARGS, "fp16_opt_level", advice=f"{REMOVE}: NVIDIA Apex is no longer used"),
    R(ARGS, "half_precision_backend", advice=f"{REMOVE}: PyTorch's autocast is the only one"),
    R(ARGS, "gradient_checkpointing", "activation_checkpointing"),
    R(ARGS, "gradient_checkpointing_kwargs", "activation_checkpointing_kwargs"),
    R(SFT, "max_seq_length", "max_length"),
    R(SFT, "num_of_sequences", advice=f"{REMOVE}: packing needs no buffer", lesson=PACKS),
    R(SFT, "chars_per_token", advice=f"{REMOVE}: packing counts tokens", lesson=PACKS),
    R(SFT, "dataset_batch_size", advice=REMOVE),
    R(SFT, "use_liger", "use_liger_kernel"),
    R("transformers.Trainer", "tokenizer", "processing_class"),
    R(TRAINER, "max_seq_length", advice="move it: SFTConfig(max_length=...)"),
    R(TRAINER, "model_init_kwargs", advice="move it: SFTConfig(model_init_kwargs=...); for a "
      "BitsAndBytesConfig pass quantization_config= to SFTTrainer", lesson="08_qlora.ipynb#gpu"),
    R(TRAINER, "infinite", advice="write SFTConfig(max_steps=...)"),
)  # fmt: skip

# Signatures with **kwargs. What their sources read by name counts as accepted; of the rest only
# these are certain.
OPEN = (
    R(LOAD, "torch_dtype", "dtype", effect="deprecated"),
    R(LOAD, "load_in_4bit", None, QUANTIZE.format("load_in_4bit"), effect="refused",
      lesson="08_qlora.ipynb#gpu"),
    R(LOAD, "load_in_8bit", None, QUANTIZE.format("load_in_8bit"), effect="refused",
      lesson="08_qlora.ipynb#gpu"),
    R(LOAD, "use_flash_attention_2", None, 'write attn_implementation="flash_attention_2"',
      effect="refused"),
    R(LOAD, "use_auth_token", "token", effect="refused"),
    R(LOAD, "resume_download", None, f"{REMOVE}: downloads always resume", effect="refused"),
    R("transformers.pipeline", "torch_dtype", "dtype", effect="deprecated"),
    R(DATA, "use_auth_token", "token", effect="refused"),
    R(DATA, "task", None, REMOVE, effect="refused"),
    R(DATA, "ignore_verifications", None, 'write verification_mode="no_checks"',
      effect="refused"),
    R(DATA, "trust_remote_code", None, f"{REMOVE}: loading scripts are not run any more",
      effect="ignored"),
    # SFTConfig(model_init_kwargs={...}): TRL sets dtype itself, and the old name loses.
    R("model_init_kwargs", "torch_dtype", "dtype", effect="ignored"),
)  # fmt: skip

ROWS = 'give rows with "prompt" and "completion", or SFTConfig(assistant_only_loss=True)'
IMPORTS = (
    R("trl", "DataCollatorForCompletionOnlyLM", None, ROWS, lesson=MASKS),
    R("trl", "setup_chat_format", None, "set SFTConfig(chat_template_path=...), or call "
      "clone_chat_template", lesson="03_chat_templates.ipynb#automatic-aim"),
    R("trl", "ConstantLengthDataset", None, "set SFTConfig(packing=True)", lesson=PACKS),
    R("trl", "get_kbit_device_map", None, 'write device_map="auto", or leave it to SFTTrainer'),
    R("trl", "truncate_dataset", None, "set SFTConfig(max_length=...)"),
    R("trl", "SFTScriptArguments", "ScriptArguments"),
    R("transformers", "AdamW", None, "import it from torch.optim"),
    R("transformers", "EvaluationStrategy", "IntervalStrategy"),
    R("transformers", "AutoModelWithLMHead", "AutoModelForCausalLM"),
    R("transformers", "AutoModelForVision2Seq", "AutoModelForImageTextToText"),
    R("transformers", "TextDataset", None, 'use datasets.load_dataset("text", ...)'),
    R("transformers", "LineByLineTextDataset", None, 'use datasets.load_dataset("text", ...)'),
    R("peft", "prepare_model_for_int8_training", "prepare_model_for_kbit_training"),
    R("datasets", "load_metric", None, "use evaluate.load of the package evaluate"),
)  # fmt: skip
