"""Hand a trained model over: merge the adapter, save everything that serving needs, card, push.

The folder that comes out holds weights (safetensors), tokenizer with the chat template of training,
and a generation config whose end token is the end of a turn: what a server reads.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sft_helpers.errors import DataError, EnvironmentProblem, ModelError
from sft_helpers.model_cards import model_card

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

__all__ = ["Push", "end_of_turn", "merge", "model_card", "push", "save", "serve_lines"]

DTYPES = ("float32", "bfloat16", "float16")
# What may be published, by name: weights, tokenizer, configuration, card. Never pickled files such
# as training_args.bin, nor anything else that lies there by chance.
PUBLISHED = (
    "*.safetensors", "*.safetensors.index.json", "*.gguf", "config.json", "generation_config.json",
    "adapter_config.json", "tokenizer*.json", "special_tokens_map.json", "added_tokens.json",
    "vocab.json", "merges.txt", "*.model", "chat_template*.jinja", "README.md", "Modelfile",
    "LICENSE",
)  # fmt: skip


def merge(
    folder: str | Path,
    *,
    base: str | None = None,
    four_bit: dict[str, Any] | None = None,
    dtype: str = "float32",
) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """Load what training left behind as one plain model: an adapter is merged into its base.

    The sum is made in fp32 whatever `dtype` is, and rounded once. A base in 4 bits is dequantized
    first: a merge straight into 4 bits rounds again, and can lose what was trained (notebook 08).

    Args:
        folder: an adapter with its tokenizer, as `trainer.save_model` writes it, or a whole model.
        base: the base model of the adapter; default the one that the adapter names.
        four_bit: arguments of `BitsAndBytesConfig` that the adapter was trained with, for QLoRA:
            the adapter learned to live with these rounded weights. None takes the base as it is.
        dtype: type of the weights that come back: one of `DTYPES`.

    Returns:
        The model, in evaluation mode, and the tokenizer of training.

    Raises:
        ModelError: adapter or base cannot be loaded, or the dtype is unknown.
    """
    if dtype not in DTYPES:
        raise ModelError(f"unknown dtype {dtype!r}", hint=f"one of {', '.join(DTYPES)}")
    import torch

    from sft_helpers.models import load

    place = Path(folder)
    if not (place / "adapter_config.json").is_file():
        model, tokenizer = load(str(folder))
    else:
        model, tokenizer = _with_adapter(place, base, four_bit)
    if getattr(model, "is_quantized", False):
        model = model.dequantize()
    return model.to(getattr(torch, dtype)).eval(), tokenizer


def _with_adapter(
    place: Path, base: str | None, four_bit: dict[str, Any] | None
) -> tuple[Any, PreTrainedTokenizerBase]:
    from peft import PeftModel
    from transformers import AutoTokenizer, BitsAndBytesConfig

    from sft_helpers.models import load

    named = json.loads((place / "adapter_config.json").read_text("utf-8"))
    source = base or str(named.get("base_model_name_or_path") or "")
    if not source:
        raise ModelError("the adapter names no base model", where=str(place), hint="pass base=...")
    quantization = BitsAndBytesConfig(**four_bit) if four_bit is not None else None
    model, tokenizer = load(source, quantization=quantization)
    if getattr(model, "is_quantized", False):
        model = model.dequantize().float()
    if (place / "tokenizer_config.json").is_file():
        tokenizer = AutoTokenizer.from_pretrained(str(place), local_files_only=True)
    rows = model.get_input_embeddings().num_embeddings
    if len(tokenizer) > rows:
        model.resize_token_embeddings(len(tokenizer))
    try:
        merged = PeftModel.from_pretrained(model, str(place)).merge_and_unload(safe_merge=True)
    except (ValueError, RuntimeError, OSError) as problem:
        raise ModelError(
            f"the adapter does not fit this base: {' '.join(str(problem).split())[:200]}",
            where=str(place),
            hint=f"it was trained on {source}; pass base= if that has moved",
        ) from problem
    return merged, tokenizer


def end_of_turn(tokenizer: PreTrainedTokenizerBase) -> int:
    """Id of the token with which the chat template ends an answer.

    Raises:
        ModelError: there is no template, or it ends an answer without a special token.
    """
    from sft_helpers.template_checks import traits

    behind = traits(tokenizer).end
    ids = tokenizer(behind, add_special_tokens=False)["input_ids"] if behind else []
    special = set(tokenizer.all_special_ids) | set(tokenizer.added_tokens_decoder)
    if not ids or ids[0] not in special:
        raise ModelError(
            f"the chat template ends an answer with {behind!r}, which no single token stands for",
            where=str(tokenizer.name_or_path),
            hint="a server needs a stop text, then: set it in its own configuration",
        )
    return int(ids[0])


def save(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, out: str | Path
) -> dict[str, int]:
    """Save model, tokenizer, chat template and generation config into an empty folder.

    The generation config's end token becomes the end of a turn, beside those it names already: a
    server that reads this file stops where training ended answers.

    Args:
        model: a plain model (merge an adapter first).
        tokenizer: that of training, with its chat template.
        out: a folder that does not exist yet, or is empty.

    Returns:
        Name → size in bytes of each file.

    Raises:
        DataError: the folder holds something.
        ModelError: no chat template, or an adapter was given.
        EnvironmentProblem: the folder cannot be written.
    """
    from sft_helpers.models import require_chat_template

    require_chat_template(tokenizer)
    if hasattr(model, "peft_config"):
        raise ModelError("this model still has its adapter", hint="merge first: export.merge")
    place = Path(out)
    if place.exists() and (not place.is_dir() or any(place.iterdir())):
        raise DataError("this exists already", where=str(place), hint="choose another folder")
    end = end_of_turn(tokenizer)
    known = model.generation_config.eos_token_id
    ends = [end, *(known if isinstance(known, list) else [known])]
    ends = list(dict.fromkeys(token for token in ends if token is not None))
    model.generation_config.eos_token_id = ends if len(ends) > 1 else end
    model.config.use_cache = True
    try:
        model.save_pretrained(place)
        tokenizer.save_pretrained(place)
    except OSError as problem:
        raise EnvironmentProblem(
            f"cannot write ({problem.strerror or problem})",
            where=str(place),
            hint="check permissions and free space",
        ) from None
    return {path.name: path.stat().st_size for path in sorted(place.iterdir())}


def serve_lines(folder: str | Path, *, num_ctx: int) -> dict[str, str]:
    """Lines that start a server on an exported folder, by the name of the server.

    The authors have not run these: they need a GPU or Docker. The flags are those of the servers'
    documentation. vLLM and TGI take the chat template from the folder.

    Args:
        folder: the exported model.
        num_ctx: tokens of prompt and answer together, as in training or longer.
    """
    import shlex

    quoted = shlex.quote(str(Path(folder).absolute()))
    return {
        "vLLM": f"vllm serve {quoted} --served-model-name model --max-model-len {num_ctx}"
        " --dtype auto --generation-config auto",
        "vLLM, adapter beside its base": f"vllm serve BASE --enable-lora --max-lora-rank 16"
        f" --lora-modules model=ADAPTER --max-model-len {num_ctx}",
        "TGI": f"docker run --gpus all --shm-size 1g -p 8080:80 -v {quoted}:/data/model"
        " ghcr.io/huggingface/text-generation-inference:3.3.5 --model-id /data/model"
        f" --max-total-tokens {num_ctx}",
        "llama.cpp": "llama-server --model model.gguf --jinja --ctx-size " + str(num_ctx),
        "Ollama": "ollama create model -f Modelfile && ollama run model",
    }


# --- the hub -------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Push:
    """What would be, or was, uploaded.

    Attributes:
        repository: its id on the Hub.
        private: whether the repository is private.
        files: name → bytes of what goes up.
        left_out: names of files that stay here.
        done: whether it was uploaded; False for a dry run.
    """

    repository: str
    private: bool
    files: dict[str, int]
    left_out: tuple[str, ...]
    done: bool

    def __str__(self) -> str:
        size = sum(self.files.values()) / 1e6
        how = "Uploaded" if self.done else "Dry run, nothing was sent. Would upload"
        kind = "private" if self.private else "PUBLIC"
        kept = f"; stays here: {', '.join(self.left_out)}" if self.left_out else ""
        return (
            f"{how} {len(self.files)} files ({size:.1f} MB) to the {kind} repository"
            f" {self.repository}: {', '.join(self.files)}{kept}"
        )


def push(
    folder: str | Path, repository: str, *, private: bool = True, dry_run: bool = True
) -> Push:
    """Upload an exported folder to the Hub; by default only say what would go up.

    Args:
        folder: the exported model, with a README.md.
        repository: owner/name.
        private: create a private repository. An existing one keeps its visibility.
        dry_run: False uploads. Only files of the kinds in `PUBLISHED` go up.

    Raises:
        DataError: no folder, no card, or a bad repository name.
        EnvironmentProblem: not logged in, or the Hub refuses.
    """
    import fnmatch

    from huggingface_hub.utils import HFValidationError, validate_repo_id

    place = Path(folder)
    if not (place / "README.md").is_file():
        raise DataError(
            "there is no README.md, so nobody will know what this model is",
            where=str(place),
            hint="write it first: export.model_card",
        )
    try:
        validate_repo_id(repository)
    except HFValidationError as problem:
        raise DataError(str(problem), where=repository, hint="give owner/name") from None
    if "/" not in repository:
        raise DataError("the owner is missing", where=repository, hint="give owner/name")
    every = sorted(path for path in place.iterdir() if path.is_file())
    goes = [p for p in every if any(fnmatch.fnmatch(p.name, kind) for kind in PUBLISHED)]
    plan = Push(
        repository,
        private,
        {path.name: path.stat().st_size for path in goes},
        tuple(path.name for path in place.iterdir() if path not in goes),
        done=not dry_run,
    )
    if not dry_run:
        _upload(place, plan)
    return plan


def _upload(place: Path, plan: Push) -> None:
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HfHubHTTPError

    api = HfApi()
    try:
        api.create_repo(plan.repository, private=plan.private, exist_ok=True)
        api.upload_folder(
            repo_id=plan.repository, folder_path=place, allow_patterns=list(plan.files)
        )
    except (HfHubHTTPError, OSError) as problem:
        raise EnvironmentProblem(
            f"the Hub did not take it: {' '.join(str(problem).split())[:200]}",
            where=plan.repository,
            hint="log in with `hf auth login` (a token that may write), and check the network",
        ) from problem
