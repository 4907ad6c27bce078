"""`sft-helpers run`: killed in any stage and started again, it ends as if nothing had happened."""

from __future__ import annotations

import errno
import json
import multiprocessing
import os
import signal
from pathlib import Path

import pytest
import yaml

from sft_helpers import town
from sft_helpers.cli import build_parser
from sft_helpers.errors import DataError, EnvironmentProblem, SFTHelpersError
from sft_helpers.training.run_folder import RunFolder
from sft_helpers.training.run_setup import hold_out, read_config

BASE = str(town.data_dir() / "base")
OWN = town.data_dir("own")
STAGES = ("data", "clean", "preflight", "before", "train", "after", "card")
SFT = {
    "model_name_or_path": BASE,
    "assistant_only_loss": True,
    "use_cpu": True,
    "bf16": False,
    "activation_checkpointing": False,
    "max_length": 256,
    "max_steps": 12,
    "learning_rate": 1e-3,
    "per_device_train_batch_size": 8,
    "use_peft": True,
    "lora_r": 4,
    "lora_target_modules": ["all-linear"],
    "lora_task_type": "CAUSAL_LM",
    "logging_steps": 1,
    "save_strategy": "steps",
    "save_steps": 2,
    "seed": 3,
}


def config_in(folder: Path, **changes) -> Path:
    """A config for 48 chats of `data/own`, and its data, in a folder."""
    folder.mkdir(exist_ok=True)
    lines = (OWN / "chats.jsonl").read_text("utf-8").splitlines(keepends=True)[:48]
    (folder / "chats.jsonl").write_text("".join(lines), "utf-8")
    datasets = [{"path": "json", "data_files": str(folder / "chats.jsonl"), "split": "train"}]
    given = SFT | {"datasets": datasets, "output_dir": str(folder / "out")} | changes
    config = folder / "sft.yaml"
    config.write_text(yaml.safe_dump(given), "utf-8")
    return config


def command(*words: str) -> int:
    args = build_parser().parse_args(["run", *words])
    return args.run(args)


# --- the folder ------------------------------------------------------------------------------


def test_a_stage_is_made_once_and_again_when_its_file_is_lost_or_changed(tmp_path):
    calls = []

    def made(name="a"):
        folder = RunFolder(tmp_path / "run", {"rate": 1})

        def make():
            calls.append(name)
            folder.write("rows/x.json", {"number": 1})
            return {"number": 1}, ["rows/x.json"]

        assert folder.stage(name, make) == {"number": 1}

    made()
    made()
    assert calls == ["a"]
    (tmp_path / "run/rows/x.json").write_text("{}")
    made()
    (tmp_path / "run/rows/x.json").unlink()
    made()
    assert calls == ["a"] * 3
    (tmp_path / "run/stages/a.json").write_text('{"origin"')  # as if a disk had lost its end
    made()
    assert calls == ["a"] * 4


def test_a_stage_is_made_again_when_one_before_it_has_changed(tmp_path):
    def second(first):
        folder = RunFolder(tmp_path / "run", {})
        (tmp_path / "run/stages/one.json").unlink(missing_ok=True)
        folder.stage("one", lambda: ({"value": first}, []))
        return folder.stage("two", lambda: ({"from": first}, []))

    assert second(1) == {"from": 1}
    assert second(2) == {"from": 2}


def test_other_settings_are_refused_by_name_and_replaced_only_when_asked(tmp_path):
    place = tmp_path / "run"
    RunFolder(place, {"config": {"learning_rate": 1e-3}}).stage("data", lambda: ({}, []))
    (place / "notes.txt").write_text("mine")
    with pytest.raises(DataError, match=r"config.learning_rate: 0.001 → 0.002"):
        RunFolder(place, {"config": {"learning_rate": 2e-3}})
    assert (place / "stages/data.json").exists()
    RunFolder(place, {"config": {"learning_rate": 2e-3}}, overwrite=True)
    assert not (place / "stages").exists()
    assert (place / "notes.txt").read_text() == "mine"


@pytest.mark.parametrize("overwrite", [False, True])
def test_a_folder_of_somebody_else_is_never_touched(tmp_path, overwrite):
    (tmp_path / "thesis.txt").write_text("mine")
    with pytest.raises(DataError, match="did not make"):
        RunFolder(tmp_path, {}, overwrite=overwrite)
    assert [path.name for path in tmp_path.iterdir() if path.name != "sft-cache"] == ["thesis.txt"]


def hold(place: Path, ready, go) -> None:
    """Take a run folder, say so, and keep it until told to go."""
    folder = RunFolder(place, {})
    ready.set()
    go.wait()
    folder.close()


def test_two_processes_in_one_folder(tmp_path):
    context = multiprocessing.get_context("spawn")
    place = tmp_path / "run"
    for kill in (False, True):
        ready, go = context.Event(), context.Event()
        first = context.Process(target=hold, args=(place, ready, go))
        first.start()
        assert ready.wait(60)
        with pytest.raises(EnvironmentProblem, match=rf"at work .*process {first.pid} on "):
            RunFolder(place, {})
        if kill:  # and not told to go: an event waits for a waiter that is dead
            first.kill()
        else:
            go.set()
        first.join()
        again = RunFolder(place, {})  # nothing stale is left, however the first one ended
        again.close()


def test_a_folder_that_cannot_be_written_says_so(tmp_path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(EnvironmentProblem, match="cannot be written"):
        RunFolder(tmp_path / "file" / "run", {})
    with pytest.raises(EnvironmentProblem, match="cannot be written"):
        RunFolder(tmp_path / "file", {})


@pytest.mark.parametrize(
    "problem",
    [
        OSError(errno.ENOSPC, "No space left on device"),
        OSError(errno.EROFS, "Read-only file system"),
        RuntimeError("I/O error: No space left on device (os error 28)"),
    ],
)
def test_a_disk_that_is_full_is_no_traceback_and_lets_go(tmp_path, problem):
    folder = RunFolder(tmp_path / "run", {})
    with pytest.raises(EnvironmentProblem, match="takes no more"), folder.at_work():
        raise problem
    with pytest.raises(ZeroDivisionError), RunFolder(tmp_path / "run", {}).at_work():
        raise ZeroDivisionError
    RunFolder(tmp_path / "run", {}).close()


# --- rows and config ---------------------------------------------------------------------------


def question(text, person):
    turns = [{"role": "user", "content": text}, {"role": "assistant", "content": "Yes."}]
    return {"messages": turns, "person": person}


def test_no_question_and_no_person_lies_on_both_sides():
    rows = [question(f"q{n // 2}", f"p{n // 5}") for n in range(100)]
    for group, of in ((None, lambda row: row["messages"][0]["content"]), ("person", person_of)):
        train, held = hold_out(rows, 0.2, seed=1, group=group)
        assert len(train) + len(held) == 100
        assert 20 <= len(held) <= 24
        assert not {of(row) for row in train} & {of(row) for row in held}
    assert hold_out(rows, 0) == (rows, [])
    assert hold_out(rows, 0.2, seed=1) == hold_out(rows, 0.2, seed=1)
    with pytest.raises(DataError, match="no column 'resident'"):
        hold_out(rows, 0.2, group="resident")


def person_of(row):
    return row["person"]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"learning_rate": "fast"}, "TRL rejects"),
        ({"model_name_or_path": None}, "names no model"),
        ({"model_name_or_path": "no/such-model"}, "no/such-model"),
        ({"trust_remote_code": True}, "runs code that a model brings"),
        ({"datasets": []}, "names no data"),
        ({"datasets": [{"path": "json", "data_files": "x.jsonl", "fraction": 0.5}]}, "fraction"),
        ({"datasets": [{"path": "json", "data_files": "x.jsonl"}]}, "no such file"),
    ],
)
def test_a_config_that_cannot_run_says_why(tmp_path, change, words):
    with pytest.raises(SFTHelpersError, match=words):
        command(str(config_in(tmp_path / "run", **change)))
    assert not (tmp_path / "run/out/model").exists()


def test_the_config_is_read_as_trl_reads_it(tmp_path):
    given, parsed = read_config(config_in(tmp_path / "run"))
    assert given["max_steps"] == parsed.args.max_steps == 12
    assert (parsed.args.learning_rate, parsed.args.seed, parsed.model.lora_r) == (1e-3, 3, 4)
    assert parsed.mixture.datasets[0].path == "json"


# --- the rows as they will train ---------------------------------------------------------------


def rows_of(tmp_path, monkeypatch, options) -> Path:
    """The folder `rows` of a run that is stopped before preflight looks at it."""
    from sft_helpers.training.pipeline import Pipeline, Stopped

    def stop(self):
        raise Stopped({})

    monkeypatch.setattr(Pipeline, "_preflight", stop)
    with pytest.raises(Stopped):
        Pipeline(config_in(tmp_path / "run"), options).finish()
    return tmp_path / "run/out/rows"


def read(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text("utf-8").splitlines()]


def test_rows_of_prompt_and_completion_stay_in_that_shape(tmp_path, monkeypatch):
    """TRL's completion-only loss depends on it."""
    from sft_helpers.training.pipeline import Options

    formats = town.data_dir("formats")
    options = Options(train=str(formats / "prompt_completion_messages.jsonl"), holdout=0.2)
    rows = rows_of(tmp_path, monkeypatch, options)
    assert {tuple(row) for row in read(rows / "train.jsonl")} == {("prompt", "completion")}
    assert {tuple(row) for row in read(rows / "heldout.jsonl")} == {("prompt", "completion")}
    assert all("messages" in row for row in read(rows / "eval.jsonl"))


def test_a_file_of_held_out_rows_is_used_whole_and_not_trained_on(tmp_path, monkeypatch):
    from sft_helpers.training.pipeline import Options

    chats = read(OWN / "chats.jsonl")
    held = tmp_path / "held.jsonl"
    held.write_text("".join(json.dumps(row) + "\n" for row in chats[:6]), "utf-8")
    rows = rows_of(tmp_path, monkeypatch, Options(evaluation=str(held), clean=True))
    train, kept = read(rows / "train.jsonl"), read(rows / "eval.jsonl")
    assert [row["messages"] for row in kept] == [row["messages"] for row in chats[:6]]
    assert 0 < len(train) <= 42
    assert not [row for row in train if row in kept]


# --- killed ------------------------------------------------------------------------------------


def attempt(config: str, kill: tuple[str, str]) -> None:
    """Run to the end, or die by SIGKILL: at the start of a stage, in it, or before its record."""
    from sft_helpers.training.pipeline import Options, Pipeline
    from sft_helpers.training.watch import record

    def die() -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    whole = RunFolder.stage

    def stage(self, name, make):
        def made():
            if kill == (name, "start"):
                die()
            result = make()
            if kill == (name, "made"):
                die()
            return result

        return whole(self, name, made)

    def follow(trainer) -> None:
        if kill == ("train", "step 5"):
            record(trainer).listeners.append(lambda now: now.step == 5 and die())

    RunFolder.stage = stage
    Pipeline(config, Options(group="person", clean=True, questions=8), follow=follow).finish()


@pytest.fixture(scope="module")
def processes():
    """Processes that have TRL imported already: a kill costs no ten seconds."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(
        ["trl.trainer.sft_trainer", "peft", "sft_helpers.training.pipeline"]
    )
    return context


def outcome(config: Path) -> dict:
    """What must not depend on interruptions: every number, the card, and the weights."""
    place = config.parent / "out"
    report = json.loads((place / "report.json").read_text("utf-8"))
    weights = json.loads((place / "stages/train.json").read_text("utf-8"))["files"]
    return {
        "numbers": {name: report[name] for name in ("clean", "before", "train", "after")},
        "weights": weights["model/adapter_model.safetensors"]["sha256"],
        "answers": (place / "answers/after.jsonl").read_text("utf-8"),
        "card": (place / "model/README.md").read_text("utf-8").replace(str(place.parent), ""),
    }


@pytest.mark.slow
def test_killed_in_every_stage_it_ends_with_the_same_result(tmp_path, processes):
    kills = [(stage, when) for stage in STAGES for when in ("start", "made")]
    kills.insert(kills.index(("train", "made")), ("train", "step 5"))
    broken, whole = config_in(tmp_path / "broken"), config_in(tmp_path / "whole")
    for kill in kills:
        if kill == ("train", "made"):
            killed_from_outside(processes, broken)
        process = processes.Process(target=attempt, args=(str(broken), kill))
        process.start()
        process.join()
        assert process.exitcode == -signal.SIGKILL, kill
        assert not (broken.parent / "out/report.json").exists()
        if kill == ("train", "start"):  # as if it had been killed while its first one was written
            first = broken.parent / "out/checkpoints/checkpoint-2"
            first.mkdir(parents=True)
            (first / "adapter_model.safetensors").write_bytes(b"half")
    for config in (broken, whole):
        process = processes.Process(target=attempt, args=(str(config), ("", "")))
        process.start()
        process.join()
        assert process.exitcode == 0
    found, wanted = outcome(broken), outcome(whole)
    assert found == wanted
    assert wanted["numbers"]["train"]["steps"] == 12
    assert len(wanted["numbers"]["train"]["losses"]) == 12
    assert wanted["numbers"]["after"]["score"]["questions"] > 0


def killed_from_outside(processes, config: Path) -> None:
    """A real kill while it trains: once the checkpoint of step 8 is being written."""
    process = processes.Process(target=attempt, args=(str(config), ("", "")))
    process.start()
    place = config.parent / "out/checkpoints/checkpoint-8"
    while not place.exists():
        process.join(0.002)
        assert process.is_alive(), "it ended before it could be killed"
    process.kill()
    process.join()
    assert process.exitcode == -signal.SIGKILL
    assert not (config.parent / "out/stages/train.json").exists()


# --- the command -------------------------------------------------------------------------------


def test_the_command_from_a_sharegpt_file_to_the_card(tmp_path, capsys):
    config = config_in(tmp_path / "run", max_steps=2, use_peft=False)
    words = [str(config), "--train", str(OWN / "dump.json"), "--clean", "--group", "person"]
    words += ["--questions", "4"]
    assert command(*words, "--json") == 0
    report = json.loads(capsys.readouterr().out)
    assert report["data"]["conversion"][0]["formats"] == {"sharegpt": 282}
    assert len(report["data"]["conversion"][0]["rejected"]) == 12
    assert {line["rule"] for line in report["clean"]["rules"]} >= {"refusal", "special_token"}
    assert report["before"]["score"]["questions"] == report["after"]["score"]["questions"] == 4
    match = report["before"]["score"]["exact_match"]
    assert match["value"] == 0 < match["high"]  # no answer right is not a score known exactly
    place = tmp_path / "run/out"
    card = (place / "model/README.md").read_text("utf-8")
    assert "dump.json" in card
    assert "exact match after" in card
    assert not (place / "model/training_args.bin").exists()

    record = (place / "stages/train.json").read_bytes()
    assert command(*words) == 0  # all is done: nothing is made again
    assert f"Found done: {', '.join(STAGES)}" in " ".join(capsys.readouterr().out.split())
    assert (place / "stages/train.json").read_bytes() == record

    config_in(tmp_path / "run", max_steps=3, use_peft=False)
    with pytest.raises(DataError, match=r"config\.max_steps: 2 → 3"):
        command(*words)
    assert (place / "stages/train.json").read_bytes() == record


def test_errors_of_preflight_stop_it_before_it_trains(tmp_path, capsys):
    config = config_in(tmp_path / "run", eos_token="<|endoftext|>", max_steps=1, lora_r=1)
    given = yaml.safe_load(config.read_text("utf-8"))
    given["lora_target_modules"] = ["nothing_like_it"]
    config.write_text(yaml.safe_dump(given), "utf-8")
    assert command(str(config)) == 1
    told = capsys.readouterr().out
    assert "nothing was trained" in told
    assert "lora.no_match" in told
    assert not (tmp_path / "run/out/model").exists()
    assert not (tmp_path / "run/out/stages/preflight.json").exists()
    assert command(str(config), "--json") == 1
    found = json.loads(capsys.readouterr().out)["preflight"]["findings"]
    assert any(one["severity"] == "error" for one in found)
