"""Names that left TRL, Transformers, PEFT and datasets, and what to write instead.

One table for `sft-helpers lint` and `sft-helpers preflight`. A row speaks only where the installed
packages refuse or ignore the old name: which names those are is asked of the packages, never read
from here, except where `**kwargs` hide it (rows with an `effect`). `tests/test_lint.py` tries every
row on the installed packages: old refused, new accepted.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NamedTuple

LESSON = "06_full_finetuning.ipynb#names"


class Rename(NamedTuple):
    """What to write instead of an old name.

    Attributes:
        where: "package.Class", "package.function" or "package.Class.method" that took the old
            argument (bases stand for their heirs), or the package or class that had the name.
        old, new: the names; `new` is None where nothing replaces the old one.
        advice: what to do, as a line of code where possible; by default `new`.
        keeps: whether the value stays as it is ("always", "never"), or only where it is a number
            between 0 and 1 ("share").
        effect: what becomes of an old name among `**kwargs`, which no signature tells.
        lesson: notebook and cell that explain it.
    """

    where: str
    old: str
    new: str | None = None
    advice: str = ""
    keeps: Literal["always", "share", "never"] = "always"
    effect: Literal["", "refused", "ignored", "deprecated"] = ""
    lesson: str = LESSON

    def text(self) -> str:
        """What to do, in words."""
        return self.advice or f"write {self.new}"

    def only_the_name(self, value: object) -> bool:
        """Whether nothing but the name changes for this value (None: it is not known)."""
        share = self.keeps == "share" and isinstance(value, float) and 0 < value < 1
        return self.new is not None and (self.keeps == "always" or share)


ARGS, SFT, TRAINER = "transformers.TrainingArguments", "trl.SFTConfig", "trl.SFTTrainer"
LOAD, DATA = "transformers.PreTrainedModel.from_pretrained", "datasets.load_dataset"
TOKENIZER = "transformers.PreTrainedTokenizerBase"
# SFTConfig(model_init_kwargs={...}) goes there, with a dtype of TRL's own
INIT = "trl.trainer.utils.create_model_from_path"
BEHIND = {  # what an Auto class makes, and to what a function hands its **kwargs
    "AutoTokenizer": TOKENIZER,
    "AutoModel": "transformers.PreTrainedModel",  # and AutoModelFor...
    "create_model_from_path": LOAD,
}
MASKS, PACKS = "04_loss_masking.ipynb#flags-aim", "05_packing.ipynb#grid-aim"
QLORA = "08_qlora.ipynb#gpu"
BITS = "pass quantization_config=BitsAndBytesConfig({}=True)"
ROWS = 'give rows with "prompt" and "completion", or SFTConfig(assistant_only_loss=True)'
OUT = "leave it out"
LIGER = 'write model_init_kwargs={"use_kernels": True}'
R = Rename

ARGUMENTS = (
    R(ARGS, "evaluation_strategy", "eval_strategy"),
    R(ARGS, "warmup_ratio", "warmup_steps", "write warmup_steps; below 1 it is a share", "share"),
    R(ARGS, "group_by_length", "train_sampling_strategy",
      'write train_sampling_strategy="group_by_length"', "never"),
    R(ARGS, "overwrite_output_dir", None, f"{OUT}: nothing asks any more"),
    R(ARGS, "save_safetensors", None, f"{OUT}: safetensors is the only format"),
    R(ARGS, "logging_dir", None, "set the environment variable TENSORBOARD_LOGGING_DIR"),
    R(ARGS, "no_cuda", "use_cpu"),
    R(ARGS, "use_mps_device", None, f"{OUT}: an Apple GPU is found by itself"),
    R(ARGS, "include_tokens_per_second", None, "write include_num_input_tokens_seen=True"),
    R(ARGS, "include_inputs_for_metrics", None, 'write include_for_metrics=["inputs"]'),
    R(ARGS, "push_to_hub_token", "hub_token"),
    R(ARGS, "push_to_hub_model_id", "hub_model_id"),
    R(ARGS, "per_gpu_train_batch_size", "per_device_train_batch_size"),
    R(ARGS, "per_gpu_eval_batch_size", "per_device_eval_batch_size"),
    R(ARGS, "fp16_opt_level", None, f"{OUT}: NVIDIA Apex is no longer used"),
    R(ARGS, "half_precision_backend", None, f"{OUT}: PyTorch's autocast is the only one"),
    R(ARGS, "gradient_checkpointing", "activation_checkpointing"),
    R(ARGS, "gradient_checkpointing_kwargs", "activation_checkpointing_kwargs"),
    R(SFT, "max_seq_length", "max_length"),
    R(SFT, "num_of_sequences", None, f"{OUT}: packing needs no buffer", lesson=PACKS),
    R(SFT, "chars_per_token", None, f"{OUT}: packing counts tokens", lesson=PACKS),
    R(SFT, "dataset_batch_size", None, OUT),
    R(SFT, "use_liger", None, LIGER),
    # The trainer warns, not the signature (trl/trainer/sft_trainer.py).
    R(SFT, "use_liger_kernel", None, LIGER, effect="deprecated"),
    R(SFT, "label_smoothing_factor", None, "override compute_loss", effect="deprecated"),
    R(TRAINER, "compute_loss_func", None, "override compute_loss", effect="deprecated"),
    R("transformers.Trainer", "tokenizer", "processing_class"),
    R(TRAINER, "max_seq_length", None, "move it: SFTConfig(max_length=...)"),
    R(TRAINER, "model_init_kwargs", None, "move it: SFTConfig(model_init_kwargs=...); for a "
      "BitsAndBytesConfig pass quantization_config= to SFTTrainer", lesson=QLORA),
    R(TRAINER, "infinite", None, "write SFTConfig(max_steps=...)"),
    # What the sources read from **kwargs by name counts as accepted; of the rest these are certain.
    R(LOAD, "torch_dtype", "dtype", effect="deprecated"),
    R(LOAD, "load_in_4bit", None, BITS.format("load_in_4bit"), effect="refused", lesson=QLORA),
    R(LOAD, "load_in_8bit", None, BITS.format("load_in_8bit"), effect="refused", lesson=QLORA),
    R(LOAD, "use_flash_attention_2", None, 'write attn_implementation="flash_attention_2"',
      effect="refused"),
    R(LOAD, "use_auth_token", "token", effect="refused"),
    R(LOAD, "resume_download", None, f"{OUT}: downloads always resume", effect="refused"),
    R("transformers.pipeline", "torch_dtype", "dtype", effect="deprecated"),
    R(DATA, "use_auth_token", "token", effect="refused"),
    R(DATA, "task", None, OUT, effect="refused"),
    R(DATA, "ignore_verifications", None, 'write verification_mode="no_checks"', effect="refused"),
    R(DATA, "trust_remote_code", None, f"{OUT}: loading scripts are not run any more",
      effect="ignored"),
    # TRL sets dtype itself, and the old name loses (trl/trainer/utils.py, create_model_from_path)
    R("trl.create_model_from_path", "torch_dtype", "dtype", effect="ignored"),
)  # fmt: skip

NAMES = (
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
    R(TOKENIZER, "encode_plus", None, "call the tokenizer itself: tokenizer(text, ...)"),
    R(TOKENIZER, "batch_encode_plus", None, "call the tokenizer itself: tokenizer(texts, ...)"),
    R("transformers.Trainer", "tokenizer", "processing_class"),
)  # fmt: skip


def lookup(rows: Sequence[Rename], places: Sequence[str], old: str) -> Rename | None:
    """The row about an old name in one of several places; the first of the places counts."""
    found = [row for row in rows if row.old == old and row.where in places]
    return min(found, key=lambda row: places.index(row.where), default=None)


def new_argument(old: str) -> str | None:
    """What an old argument is called now, wherever it stood; None if nothing is known of it."""
    return next((row.new for row in ARGUMENTS if row.old == old and row.new), None)
