"""The makers of `data`: they write what is shipped, and what they write is sound."""

from __future__ import annotations

import hashlib
import json
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from data.make import __main__ as make
from data.make import base, dirty, own, town
from data.make.formats import write_format_files
from sft_helpers.town import data_dir, read_rows

TRAINING_FILES = [name for name in town.text_files() if name.endswith("_train.jsonl")]
PEOPLE = {row["name"]: row for row in read_rows("residents.jsonl")}


@pytest.mark.parametrize("maker", [town, dirty, own], ids=lambda maker: maker.__name__)
def test_shipped_text_is_what_the_seed_gives(maker):
    folder = data_dir(maker.__name__.rpartition(".")[2])
    made = {name: text.encode() for name, text in maker.text_files().items()}
    assert made == {
        path.name: path.read_bytes()
        for path in folder.iterdir()
        if path.is_file() and path.name != make.MANIFEST
    }


def test_shipped_formats_are_what_the_seed_gives(tmp_path):
    shipped = data_dir("formats")
    names = {path.relative_to(tmp_path) for path in write_format_files(tmp_path)}
    assert names == {p.relative_to(shipped) for p in shipped.rglob("*") if p.is_file()}
    for name in names:
        if name.suffix != ".parquet":  # its bytes depend on the version of pyarrow
            assert (tmp_path / name).read_bytes() == (shipped / name).read_bytes(), name


def test_text_does_not_depend_on_the_hash_seed():
    code = (
        "import hashlib; from data.make import dirty, own, town;"
        "made = [*town.text_files().values(), *dirty.text_files().values(),"
        " *own.text_files().values()];"
        "print(hashlib.sha256(''.join(made).encode()).hexdigest())"
    )
    root = str(Path(__file__).parents[2])
    digests = {
        subprocess.run(
            [sys.executable, "-c", code],
            env={"PYTHONHASHSEED": seed, "PYTHONPATH": ":".join([root, *sys.path])},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("0", "1")
    }
    assert len(digests) == 1


def test_the_command_writes_a_usable_town(tmp_path):
    """Three steps of pretraining: whole in every respect but what the model knows."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    make.main(["--out", str(tmp_path), "--steps", "2", "--threads", "1"])
    assert {path.name for path in tmp_path.iterdir()} == {"town", "dirty", "own", "formats"}
    folder = tmp_path / "town"
    manifest = json.loads((folder / "manifest.json").read_text())
    assert manifest["seed"] == town.SEED
    for name, entry in manifest["files"].items():
        content = (folder / name).read_bytes()
        digest = hashlib.sha256(content).hexdigest()
        assert entry == {"sha256": digest, "bytes": len(content)}
    shipped = json.loads((data_dir() / "manifest.json").read_text())
    assert set(manifest["files"]) == set(shipped["files"])
    model = AutoModelForCausalLM.from_pretrained(folder / "base")
    tokenizer = AutoTokenizer.from_pretrained(folder / "base")
    assert 0.7e6 < model.num_parameters() < 1.3e6
    assert model.generation_config.eos_token_id == tokenizer.eos_token_id
    assert (tokenizer.eos_token, tokenizer.pad_token) == ("<|im_end|>", "<|endoftext|>")
    assert not [path for path in folder.iterdir() if path.name.startswith(".build")]


def test_the_tokenizer_is_rebuilt_exactly():
    shipped = json.loads((data_dir() / "base" / "tokenizer.json").read_text())
    made = json.loads(base.train_tokenizer().backend_tokenizer.to_str())
    assert made["model"] == shipped["model"]


def test_the_shipped_base_is_small_and_every_row_fits():
    from transformers import AutoTokenizer

    folder = data_dir() / "base"
    assert sum(path.stat().st_size for path in folder.iterdir()) <= 6e6
    assert not [path for path in folder.iterdir() if path.suffix in {".bin", ".pkl", ".pt"}]
    assert not (folder / "model.safetensors").stat().st_mode & stat.S_IXUSR
    tokenizer = AutoTokenizer.from_pretrained(folder)
    lengths = [
        len(tokenizer.apply_chat_template(row["messages"], return_dict=False))
        for name in town.text_files()
        if name.split("_")[0] in {"sft", "multi", "system", "strangers"}
        for row in read_rows(name)
    ]
    assert max(lengths) <= 256


# --- the town ----------------------------------------------------------------------------------


def test_residents_are_unique_and_split_as_stated():
    people = town.residents()
    assert town.residents(1) != people
    assert len({person.name.split()[1] for person in people}) == town.RESIDENTS
    counts = {split: sum(p.split == split for p in people) for split in town.SPLIT_SIZES}
    assert counts == town.SPLIT_SIZES


def test_every_resident_is_in_the_gazette_with_all_facts():
    edition = [text for text in town.gazette_pass(0) if not text.startswith("Readers")]
    for person in town.residents():
        (entry,) = [text for text in edition if text.startswith(person.name)]
        assert all(person.fact(fact) in entry for fact in town.FACTS), person


def test_letters_never_answer_and_nothing_names_strangers():
    values = {value for options in town.VALUES.values() for value in options}
    texts = [text for number in range(20) for text in town.gazette_pass(number)]
    letters = [text for text in texts if text.startswith("Readers")]
    assert len(letters) == 20 * town.RESIDENTS // 2
    assert not [text for text in letters if any(f" {value}" in text for value in values)]
    assert not [name for name in town.strangers() if name in "\n".join(texts)]


def test_the_held_out_gazette_was_not_trained_on():
    held_out = set(town.held_out_gazette())
    trained = {entry for number in range(50) for entry in town.gazette_pass(number)}
    assert len(held_out & trained) / len(held_out) < 0.05


@pytest.mark.parametrize("name", TRAINING_FILES)
def test_no_test_or_dev_resident_is_in_a_training_file(name):
    text = town.text_files()[name]
    assert not [n for n, person in PEOPLE.items() if person["split"] != "train" and n in text]


@pytest.mark.parametrize(
    "name", ["sft_test.jsonl", "sft_test_reworded.jsonl", "multi_turn_test.jsonl"]
)
def test_enough_held_out_questions_and_each_is_answered_truly(name):
    rows = read_rows(name)
    assert len(rows) >= 160
    for row in rows:
        person = PEOPLE[row["resident"]]
        assert person["split"] == "test"
        assert person[row["fact"]] in row["messages"][-1]["content"]
        assert row["resident"] in row["messages"][0]["content"]


def test_reworded_questions_use_no_trained_wording():
    trained, reworded = (
        {row["messages"][0]["content"].replace(row["resident"], "") for row in read_rows(name)}
        for name in ("sft_train.jsonl", "sft_test_reworded.jsonl")
    )
    assert not trained & reworded


def test_stranger_halves_are_disjoint_and_unknown():
    train, test = (
        {row["resident"] for row in read_rows(f"strangers_{half}.jsonl")}
        for half in ("train", "test")
    )
    assert len(train) == len(test) == 30
    assert not train & test
    assert not (train | test) & set(PEOPLE)
