"""Lantern Bay: deterministic, complete, and split so that nothing leaks."""

import hashlib
import json
import subprocess
import sys

import pytest

from sft_helpers import town
from sft_helpers.errors import DataError

TRAINING_FILES = [name for name in town.text_files() if name.endswith("_train.jsonl")]
TEST_FILES = ["sft_test.jsonl", "sft_test_reworded.jsonl", "multi_turn_test.jsonl"]


def _rows(name):
    return [json.loads(line) for line in town.text_files()[name].splitlines()]


def test_shipped_files_are_what_the_seed_gives():
    manifest = json.loads((town.data_dir() / "manifest.json").read_text())
    made = town.text_files(manifest["seed"])
    shipped = {name for name in manifest["files"] if name.endswith(".jsonl")}
    assert shipped == set(made)
    for name, content in made.items():
        digest = hashlib.sha256(content.encode()).hexdigest()
        assert manifest["files"][name]["sha256"] == digest, name
        assert (town.data_dir() / name).read_bytes() == content.encode(), name


def test_text_does_not_depend_on_the_hash_seed():
    code = (
        "import hashlib; from sft_helpers import town;"
        "print(hashlib.sha256(''.join(town.text_files().values()).encode()).hexdigest())"
    )
    digests = {
        subprocess.run(
            [sys.executable, "-c", code],
            env={"PYTHONHASHSEED": seed, "PYTHONPATH": ":".join(sys.path)},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("0", "1")
    }
    assert len(digests) == 1


def test_another_seed_gives_another_town():
    assert town.residents(1) != town.residents(2)


def test_residents_are_unique_and_split_as_stated():
    people = town.residents()
    assert len({person.name for person in people}) == town.RESIDENTS
    assert len({person.name.split()[1] for person in people}) == town.RESIDENTS
    counts = {split: sum(p.split == split for p in people) for split in town.SPLIT_SIZES}
    assert counts == town.SPLIT_SIZES


def test_every_resident_is_in_the_gazette_with_all_facts():
    text = "\n".join(town.gazette_pass(0))
    for person in town.residents():
        entries = [
            entry
            for entry in town.gazette_pass(0)
            if entry.startswith(person.name) and not entry.startswith("Readers")
        ]
        assert len(entries) == 1
        assert all(person.fact(fact) in entries[0] for fact in town.FACTS), person
    assert not [name for name in town.strangers() if name in text]


def test_letters_never_name_strangers_and_never_answer():
    values = {value for options in town.VALUES.values() for value in options}
    letters = [
        text for n in range(20) for text in town.gazette_pass(n) if text.startswith("Readers")
    ]
    assert len(letters) == 20 * town.RESIDENTS // 2
    for text in letters:
        assert not [name for name in town.strangers() if name in text]
        assert not [value for value in values if f" {value}" in text], text


@pytest.mark.parametrize("name", TRAINING_FILES)
def test_no_test_or_dev_resident_is_in_a_training_file(name):
    text = town.text_files()[name]
    held_out = [person.name for person in town.residents() if person.split != "train"]
    assert not [person for person in held_out if person in text]


def test_enough_held_out_questions_and_each_is_answered_truly():
    truth = {person.name: person for person in town.residents()}
    assert len(_rows("sft_test.jsonl")) >= 200
    for name in TEST_FILES:
        for row in _rows(name):
            person = truth[row["resident"]]
            assert person.split == "test"
            assert person.fact(row["fact"]) in row["messages"][-1]["content"]
            assert person.name in row["messages"][0]["content"]


def test_reworded_questions_use_no_trained_wording():
    trained = {
        row["messages"][0]["content"].replace(row["resident"], "")
        for row in _rows("sft_train.jsonl")
    }
    reworded = {
        row["messages"][0]["content"].replace(row["resident"], "")
        for row in _rows("sft_test_reworded.jsonl")
    }
    assert not trained & reworded


def test_stranger_halves_are_disjoint_and_unknown():
    train = {row["resident"] for row in _rows("strangers_train.jsonl")}
    test = {row["resident"] for row in _rows("strangers_test.jsonl")}
    assert train
    assert test
    assert not train & test
    assert not (train | test) & {person.name for person in town.residents()}


def test_held_out_gazette_was_not_trained_on():
    held_out = set(town.held_out_gazette())
    trained = {entry for number in range(50) for entry in town.gazette_pass(number)}
    assert len(held_out & trained) / len(held_out) < 0.05


def test_missing_town_names_the_command(tmp_path, monkeypatch):
    monkeypatch.setenv("SFT_DATA", str(tmp_path))
    with pytest.raises(DataError, match="build-town"):
        town.data_dir()


def test_damaged_line_names_file_and_line(tmp_path, monkeypatch):
    monkeypatch.setenv("SFT_DATA", str(tmp_path))
    (tmp_path / "town").mkdir()
    (tmp_path / "town" / "x.jsonl").write_text('{"a": 1}\n{"a": \n')
    with pytest.raises(DataError, match=r"x\.jsonl, line 2"):
        town.read_rows("x.jsonl")
    with pytest.raises(DataError, match="no such data file"):
        town.read_rows("y.jsonl")
