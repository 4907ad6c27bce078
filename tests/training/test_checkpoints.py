"""A damaged checkpoint is named and passed over; a sound one is used; nothing is unpickled."""

from __future__ import annotations

import json
import pickle
import shutil
import subprocess
import sys
import zipfile

import pytest

from sft_helpers.errors import EnvironmentProblem, ModelError
from sft_helpers.training.checkpoints import inspect, is_disk_full, last_sound, resume
from sft_helpers.training.runs import Run, build

ADAPTER = {"r": 2, "target_modules": ["q_proj"], "task_type": "CAUSAL_LM"}
SAVING = {"max_steps": 6, "save_strategy": "steps", "save_steps": 2, "logging_steps": 1}


def a_run(folder, lora=None, **changes):
    from sft_helpers.town import read_rows

    sft = {"per_device_train_batch_size": 2, "learning_rate": 1e-3} | SAVING | changes
    return Run("saved", read_rows("sft_train.jsonl")[:16], sft, lora=lora, output_dir=str(folder))


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """Two finished runs with three checkpoints each: all weights, and an adapter."""
    folders = {}
    for name, lora in (("full", None), ("lora", ADAPTER)):
        folders[name] = tmp_path_factory.mktemp(name)
        build(a_run(folders[name], lora), str(folders[name]))[0].train()
    return folders


@pytest.fixture(params=["full", "lora"])
def folder(request, saved, tmp_path):
    """A copy that a test may damage."""
    return shutil.copytree(saved[request.param], tmp_path / "run")


def weights_of(checkpoint):
    [path] = checkpoint.glob("*model.safetensors")
    return path


def cut(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def test_sound_checkpoints_are_sound(folder):
    for step in (2, 4, 6):
        one = inspect(folder / f"checkpoint-{step}")
        assert one.problems == ()
        assert one.step == step
    found = last_sound(folder)
    assert (found.path.name, found.step, found.damaged) == ("checkpoint-6", 6, ())


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda c: cut(weights_of(c)), "safetensors is damaged or cut short"),
        (lambda c: weights_of(c).unlink(), "safetensors is missing"),
        (lambda c: cut(c / "optimizer.pt"), "optimizer.pt is damaged or cut short"),
        (lambda c: (c / "optimizer.pt").unlink(), "the optimizer's moments"),
        (lambda c: (c / "scheduler.pt").unlink(), "learning-rate schedule"),
        (lambda c: (c / "rng_state.pth").write_bytes(b""), "rng_state.pth is damaged"),
        (lambda c: (c / "trainer_state.json").unlink(), "saving was interrupted"),
        (lambda c: cut(c / "trainer_state.json"), "trainer_state.json is damaged"),
        (lambda c: (c / "trainer_state.json").write_text('{"global_step": 4}'), "of step 4, not 6"),
    ],
)
def test_damage_is_named_and_the_last_sound_one_is_found(folder, damage, words):
    damage(folder / "checkpoint-6")
    found = last_sound(folder)
    assert (found.path.name, found.step) == ("checkpoint-4", 4)
    [bad] = found.damaged
    assert bad.path.name == "checkpoint-6"
    assert words in str(bad)
    assert "passed over checkpoint-6" in str(found)
    assert "going on from checkpoint-4" in str(found)


def test_a_changed_byte_in_the_optimizer_is_seen(folder):
    path = folder / "checkpoint-6" / "optimizer.pt"
    content = bytearray(path.read_bytes())
    with zipfile.ZipFile(path) as archive:
        largest = archive.read(max(archive.infolist(), key=lambda part: part.file_size))
    content[content.index(largest) + len(largest) // 2] ^= 0xFF  # not in the padding between parts
    path.write_bytes(content)
    assert last_sound(folder).step == 4


def test_a_missing_shard_is_named(folder):
    checkpoint = folder / "checkpoint-6"
    whole = weights_of(checkpoint)
    first = whole.with_name("part-1.safetensors")
    whole.rename(first)
    index = {"weight_map": {"a": first.name, "b": "part-2.safetensors"}}
    (checkpoint / f"{whole.name}.index.json").write_text(json.dumps(index))
    assert "part-2.safetensors is missing" in str(inspect(checkpoint))


def test_numbers_are_compared_as_numbers_and_other_folders_ignored(folder):
    (folder / "checkpoint-6").rename(folder / "checkpoint-10")
    state = folder / "checkpoint-10" / "trainer_state.json"
    state.write_text(state.read_text().replace('"global_step": 6', '"global_step": 10'))
    (folder / "checkpoint-99-old").mkdir()
    (folder / "notes").mkdir()
    assert last_sound(folder).step == 10


def test_no_checkpoint_means_step_0(tmp_path):
    assert last_sound(tmp_path / "nowhere").path is None
    assert str(last_sound(tmp_path)) == "no checkpoint: step 0"


def test_only_damaged_checkpoints_are_an_error_that_lists_them(folder):
    for step in (2, 4, 6):
        (folder / f"checkpoint-{step}" / "trainer_state.json").unlink()
    with pytest.raises(ModelError, match=r"checkpoint-6.*checkpoint-4.*checkpoint-2"):
        last_sound(folder)


class Trap:
    """Runs code when unpickled."""

    def __reduce__(self):
        return (pytest.fail, ("a file was unpickled",))


def test_nothing_is_unpickled(folder):
    for name in ("optimizer.pt", "scheduler.pt", "rng_state.pth"):
        (folder / "checkpoint-6" / name).write_bytes(pickle.dumps(Trap()))
    assert last_sound(folder).step == 4


def test_resume_passes_over_the_damaged_one_and_ends_with_the_same_losses(folder, capsys):
    lora = ADAPTER if (folder / "checkpoint-6" / "adapter_config.json").exists() else None
    before = json.loads((folder / "checkpoint-6" / "trainer_state.json").read_text())
    cut(weights_of(folder / "checkpoint-6"))
    trainer, _ = build(a_run(folder, lora), str(folder))
    resume(trainer)
    assert "going on from checkpoint-4" in capsys.readouterr().out
    losses = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
    assert losses == [entry["loss"] for entry in before["log_history"] if "loss" in entry]
    assert last_sound(folder).step == 6


def test_too_little_space_is_said_before_the_first_step(tmp_path, monkeypatch):
    trainer, _ = build(a_run(tmp_path), str(tmp_path))
    usage = shutil.disk_usage(tmp_path)._replace(free=1_000_000)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)
    with pytest.raises(EnvironmentProblem, match=r"one checkpoint takes 1\d MB and 1 MB are free"):
        resume(trainer, say=False)
    assert trainer.state.global_step == 0


FULL = """
import resource, sys
sys.path.insert(0, {tests!r})
from test_checkpoints import a_run
from sft_helpers.training.checkpoints import resume
from sft_helpers.training.runs import build

trainer, _ = build(a_run({folder!r}), {folder!r})
resource.setrlimit(resource.RLIMIT_FSIZE, ({limit}, {limit}))
resume(trainer, say=False)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="file size limits are a matter of Unix")
@pytest.mark.parametrize(("limit", "file"), [(1_000_000, "weights"), (5_000_000, "optimizer")])
def test_a_file_that_does_not_fit_gives_one_clear_message(tmp_path, limit, file, request):
    """The system refuses to let a file grow, as a full disk does, while a checkpoint is written."""
    code = FULL.format(tests=str(request.path.parent), folder=str(tmp_path), limit=limit)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 1
    assert "EnvironmentProblem" in done.stderr, done.stderr[-2000:]
    last = done.stderr[done.stderr.rindex("EnvironmentProblem") :]
    assert "the disk is full" in last
    assert "no sound checkpoint is left" in last
    assert "save_total_limit" in last


def test_errors_of_a_full_disk_are_told_from_others():
    assert is_disk_full(OSError(28, "No space left on device"))
    assert is_disk_full(RuntimeError("PytorchStreamWriter failed writing file data/1"))
    assert not is_disk_full(RuntimeError("shapes cannot be multiplied"))
