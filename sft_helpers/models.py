"""Models by name: "tiny", "smollm2", a hub id or a folder; safetensors only, no code from models.

`resolve()` gives what `SFTTrainer(model=...)` and `from_pretrained` take; `load()` gives the model
and its tokenizer.
"""

from __future__ import annotations

import contextlib
import difflib
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sft_helpers.errors import DataError, ModelError, SFTHelpersError
from sft_helpers.hub import PICKLED, explain, hub_answers, pickled
from sft_helpers.integrity import read_manifest, verify

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

KNOWN = ("tiny", "smollm2")
# Hub ids that the course names; they only serve to suggest a spelling.
SUGGESTED = (
    "HuggingFaceTB/SmolLM2-135M-Instruct", "Qwen/Qwen2.5-0.5B", "Qwen/Qwen2.5-1.5B",
    "Qwen/Qwen2.5-3B", "Qwen/Qwen2.5-7B", "Qwen/Qwen2.5-7B-Instruct",
)  # fmt: skip

_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")
_REBUILD = "run `git checkout -- data/town`, or `make town` (minutes)"


def resolve(name: str = "tiny", *, progress: bool = True) -> str:
    """The folder or hub id behind a name, checked as far as that costs no download.

    Args:
        name: "tiny", "smollm2", a hub id (owner/name) or a folder.
        progress: show a bar while SmolLM2 is fetched and converted, which happens once.

    Raises:
        ModelError: unknown name, missing or damaged model, only pickled weights.
        EnvironmentProblem: no disk space, cache not writable, a package is missing.
    """
    if name == "tiny":
        return str(_tiny())
    if name == "smollm2":
        from sft_helpers import smollm2

        return str(smollm2.folder(progress=progress))
    place = Path(name).expanduser()
    if name and place.is_dir():
        _check_folder(place)
        return str(place)
    if place.is_file():
        raise ModelError(
            "this is a file; a model is a folder with config.json, weights and tokenizer",
            where=name,
            hint=f"give its folder, {place.parent}",
        )
    if name.startswith((".", "~", os.sep)) or not _HUB_ID.fullmatch(name):
        raise _unknown(name)
    return name


def load(
    name: str = "tiny",
    *,
    dtype: str = "float32",
    device: str | None = None,
    quantization: Any = None,
    progress: bool = True,
) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """Load a model, in evaluation mode, and its tokenizer.

    A base model may have no chat template: ask with `require_chat_template(tokenizer)`.

    Args:
        name: "tiny", "smollm2", a hub id (owner/name) or a folder, also that of an adapter.
        dtype: "float32", "bfloat16", "float16", or "auto" for that of the file.
        device: for example "cuda"; default the CPU, also for a quantized model, which transformers
            would put on a GPU.
        quantization: a `BitsAndBytesConfig`, passed on unchanged.
        progress: show progress bars.

    Raises:
        ModelError: unknown, missing, damaged, gated or pickled model, or no network.
        EnvironmentProblem: no disk space, cache not writable, a package is missing.
    """
    source = resolve(name, progress=progress)
    local = Path(source).is_dir() or not hub_answers(source)
    from safetensors import SafetensorError
    from transformers import AutoModelForCausalLM, AutoTokenizer

    where: dict[str, Any] = {"local_files_only": local, "trust_remote_code": False}
    extra: dict[str, Any] = {}
    if quantization is not None:
        extra = {"quantization_config": quantization, "device_map": {"": device or "cpu"}}
    try:
        with _bars(progress):
            tokenizer = AutoTokenizer.from_pretrained(source, **where)
            model = AutoModelForCausalLM.from_pretrained(
                source, dtype=dtype, use_safetensors=True, **where, **extra
            )
    except SFTHelpersError:
        raise
    except (OSError, ValueError, KeyError, ImportError, SafetensorError) as problem:
        raise explain(source, problem) from problem
    if quantization is not None:
        exact_inference(model)
    elif device is not None:
        model = model.to(device)
    return model, tokenizer


def exact_inference(model: Any) -> Any:
    """Let 4-bit layers compute on a CPU as they do in training, and return the model.

    On a CPU with AVX512-bf16 units, bitsandbytes 0.50 gives a 4-bit layer another form at its first
    forward pass outside training: scales become bf16, and so does the arithmetic. That is faster
    and nearly the same, but merging or dequantizing afterwards goes wrong without a word, so `load`
    calls this. Models that TRL loads by itself need it before their first answer.
    """
    for module in model.modules():
        if hasattr(module, "support_avx512bf16_for_cpu"):
            module.support_avx512bf16_for_cpu = False
    return model


def require_chat_template(tokenizer: Any) -> None:
    """Raise `ModelError` unless the tokenizer can write a conversation as text."""
    if not getattr(tokenizer, "chat_template", None):
        raise ModelError(
            "the tokenizer has no chat template, so messages cannot become text",
            where=str(getattr(tokenizer, "name_or_path", "") or "tokenizer"),
            hint="set SFTConfig(chat_template_path=...) to a model or .jinja file whose template"
            " you want, or load the Instruct version of the model",
        )


def check_tiny(town: Path) -> list[str]:
    """What is wrong with the base model in `data/town`; empty when it is sound."""
    manifest = read_manifest(town)
    if manifest is None:
        return ["manifest.json is missing or unreadable"]
    files = {key: entry for key, entry in manifest["files"].items() if key.startswith("base/")}
    if "base/model.safetensors" not in files:
        return ["manifest.json names no base/model.safetensors"]
    return verify(town, files)


def _tiny() -> Path:
    from sft_helpers.town import data_dir

    try:
        town = data_dir()
    except DataError as problem:
        raise ModelError(problem.message, where=problem.where, hint=_REBUILD) from problem
    if not (town / "base").is_dir():
        raise ModelError("the base model is not there", where=str(town / "base"), hint=_REBUILD)
    problems = check_tiny(town)
    if problems:
        raise ModelError(
            f"the base model is damaged: {problems[0]}", where=str(town), hint=_REBUILD
        )
    return town / "base"


def _check_folder(folder: Path) -> None:
    """Say early what `from_pretrained` would say late or in other words."""
    names = [path.name for path in folder.iterdir()]
    adapter = "adapter_config.json" in names
    if "config.json" not in names and not adapter:
        inner = sorted(path.parent.name for path in folder.glob("*/config.json"))
        raise ModelError(
            "there is no config.json, so this is not a saved model",
            where=str(folder),
            hint=f"did you mean {folder / inner[-1]}?"
            if inner
            else "save with trainer.save_model(folder), which writes model and tokenizer",
        )
    if any(name.endswith(".safetensors") for name in names):
        return
    if any(name.endswith(PICKLED) and name != "training_args.bin" for name in names):
        raise pickled(str(folder))
    raise ModelError(
        "there are no weights (*.safetensors)",
        where=str(folder),
        hint="save with trainer.save_model(folder), or copy the missing file",
    )


def _unknown(name: str) -> ModelError:
    words = {known.lower(): known for known in KNOWN}
    for hub_id in SUGGESTED:
        words[hub_id.lower()] = words[hub_id.rpartition("/")[2].lower()] = hub_id
    near = difflib.get_close_matches(name.lower(), list(words), 1, 0.6)
    if "/" in name or os.sep in name or name.startswith((".", "~")):
        return ModelError(
            "there is no such folder", where=name, hint="check the path, from where you run"
        )
    return ModelError(
        f"{name!r} is neither {' nor '.join(map(repr, KNOWN))}, nor a folder, nor owner/name",
        hint=f"did you mean {words[near[0]]!r}?" if near else "hub ids have an owner: owner/name",
    )


@contextlib.contextmanager
def _bars(show: bool) -> Iterator[None]:
    """Hide the progress bars of transformers for a while."""
    from transformers.utils import logging

    hide = not show and logging.is_progress_bar_enabled()
    if hide:
        logging.disable_progress_bar()
    try:
        yield
    finally:
        if hide:
            logging.enable_progress_bar()
