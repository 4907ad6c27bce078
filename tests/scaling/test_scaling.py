"""Several processes: launch files, arithmetic, real launches, and what happens when one dies."""

from __future__ import annotations

import itertools
import json
import os
import shutil
import subprocess
import sys
from importlib.resources import files
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml

from sft_helpers.display.scaling import COMPONENTS, scaling_data, scaling_explorer, scaling_html
from sft_helpers.errors import DataError, EnvironmentProblem
from sft_helpers.lesson import expect
from sft_helpers.scaling import rehearsal
from sft_helpers.scaling.arithmetic import (
    DEVICES,
    STRATEGIES,
    Parts,
    collectives,
    find_parts,
    global_batch,
    measured_traffic,
    memory_per_device,
    parts_of,
    recorded_parts,
    ring_bytes,
    simplest_that_fits,
    steps_per_epoch,
    traffic_per_step,
)
from sft_helpers.scaling.launch import (
    CONFIGS,
    Launch,
    _last_error,
    config_file,
    launch,
    launch_folder,
)
from sft_helpers.scaling.worker import check_strategy, strategy_of

FOR_TPUS = {"downcast_bf16", "tpu_env"}
ROOT = Path(__file__).resolve().parents[2]
TRL_FILES = {
    "ddp": "multi_gpu",
    "zero2": "zero2",
    "fsdp2_full": "fsdp2",
    "fsdp2_grad_op": "fsdp2",
}


# --- the files -------------------------------------------------------------------------------


def settings(path):
    from accelerate.commands.config.config_args import load_config_from_file

    found = load_config_from_file(str(path)).to_dict()
    return found | found.pop("fsdp_config", {}) | found.pop("deepspeed_config", {})


@pytest.mark.parametrize(("ours", "theirs"), TRL_FILES.items())
def test_a_file_sets_what_trls_file_sets(ours, theirs):
    mine = settings(config_file(ours))
    trls = settings(files("trl") / "accelerate_configs" / f"{theirs}.yaml")
    differing = {key for key in mine | trls if mine.get(key) != trls.get(key)} - FOR_TPUS
    expected = {"fsdp_reshard_after_forward"} if ours == "fsdp2_grad_op" else set()
    assert differing == expected


@pytest.mark.parametrize(("name", "kept"), [("fsdp2_full", True), ("fsdp2_grad_op", False)])
def test_accelerates_plugin_reads_the_fsdp_files(name, kept, monkeypatch):
    from accelerate.commands.launch import launch_command_parser
    from accelerate.utils import FullyShardedDataParallelPlugin
    from accelerate.utils.launch import prepare_multi_gpu_env

    monkeypatch.setattr("accelerate.utils.launch.is_port_in_use", lambda _: False)
    arguments = read_by_accelerate(["--config_file", str(config_file(name)), "train.py"])
    assert arguments.use_fsdp
    for variable, value in prepare_multi_gpu_env(arguments).items():
        if variable.startswith("FSDP"):
            monkeypatch.setenv(variable, value)
    plugin = FullyShardedDataParallelPlugin()
    assert plugin.fsdp_version == 2
    assert plugin.reshard_after_forward is kept
    assert launch_command_parser() is not None


def test_deepspeeds_own_class_reads_the_zero_file():
    pytest.importorskip("deepspeed", reason="the extra `scaling` is not installed")
    from deepspeed.runtime.config import DeepSpeedConfig

    stage = yaml.safe_load(config_file("zero2").read_text("utf-8"))["deepspeed_config"][
        "zero_stage"
    ]
    found = DeepSpeedConfig(
        {"train_batch_size": 8, "zero_optimization": {"stage": stage}, "bf16": {"enabled": True}}
    )
    assert found.zero_optimization_stage == 2


def read_by_accelerate(arguments):
    from accelerate.commands.launch import _validate_launch_command, launch_command_parser

    return _validate_launch_command(launch_command_parser().parse_args(arguments))[0]


def test_every_line_is_explained():
    told = (launch_folder() / "README.md").read_text("utf-8")
    for name in CONFIGS:
        content = yaml.safe_load(config_file(name).read_text("utf-8"))
        for part in ("fsdp_config", "deepspeed_config"):
            content |= content.pop(part, {})
        assert not [key for key in content if f"`{key}" not in told and f" {key}" not in told]


def test_the_recipe_holds_what_trl_sft_takes():
    from trl.scripts.sft import make_parser

    os_args = ["--config", str(launch_folder() / "sft.yaml")]
    _, args, model, data = make_parser().parse_args_and_config(os_args, fail_with_unknown_args=True)
    assert args.max_steps == 100
    assert args.assistant_only_loss
    assert model.model_name_or_path == "data/town/base"
    assert data.datasets[0].data_files == "data/town/sft_train.jsonl"


def test_no_file_has_a_fixed_port():
    for name in CONFIGS:
        assert "port" not in config_file(name).read_text("utf-8")


# --- clusters --------------------------------------------------------------------------------

SPY = '#!/bin/bash\nprintf "%s\\n" "$@" > "$SPY_FILE"\n'


def run_with_stand_ins(script, tmp_path, environment):
    """Run a script with `accelerate` replaced; give the arguments that it would have had."""
    stand_ins = {
        "accelerate": SPY,
        "srun": '#!/bin/bash\nshift\nSLURM_NODEID=1 exec "$@"\n',
        "scontrol": "#!/bin/bash\nprintf 'node-a\\nnode-b\\n'\n",
    }
    (tmp_path / "bin").mkdir()
    for name, text in stand_ins.items():
        (tmp_path / "bin" / name).write_text(text)
        (tmp_path / "bin" / name).chmod(0o755)
    (tmp_path / ".venv" / "bin").mkdir(parents=True)
    (tmp_path / ".venv" / "bin" / "activate").write_text("")
    shutil.copytree(launch_folder(), tmp_path / "data" / "launch")
    done = subprocess.run(
        ["bash", "-c", script],
        cwd=tmp_path,
        env={
            "PATH": f"{tmp_path / 'bin'}{os.pathsep}{os.environ['PATH']}",
            "SPY_FILE": str(tmp_path / "spied"),
            **environment,
        },
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return (tmp_path / "spied").read_text().splitlines()


def slurm(tmp_path):
    return run_with_stand_ins(
        (launch_folder() / "cluster.slurm").read_text("utf-8"),
        tmp_path,
        {
            "SLURM_SUBMIT_DIR": str(tmp_path),
            "SLURM_JOB_NUM_NODES": "2",
            "SLURM_JOB_NODELIST": "node-[a-b]",
            "SLURM_JOB_ID": "123456",
            "SLURM_JOB_NAME": "sft-7b",
        },
    )


def sky(tmp_path):
    content = yaml.safe_load((launch_folder() / "cluster.sky.yaml").read_text("utf-8"))
    return run_with_stand_ins(
        content["run"],
        tmp_path,
        {
            **content["envs"],
            "SKYPILOT_NUM_NODES": "2",
            "SKYPILOT_NUM_GPUS_PER_NODE": "8",
            "SKYPILOT_NODE_RANK": "1",
            "SKYPILOT_NODE_IPS": "10.0.0.1\n10.0.0.2",
        },
    )


@pytest.mark.skipif(shutil.which("bash") is None, reason="there is no bash")
@pytest.mark.parametrize("start", [slurm, sky])
def test_a_cluster_file_gives_a_command_that_accelerate_and_trl_read(start, tmp_path):
    from trl import DatasetMixtureConfig, ModelConfig, ScriptArguments, SFTConfig, TrlParser

    from sft_helpers.scaling.worker import WorkerArguments

    command, *arguments = start(tmp_path)
    assert command == "launch"
    place = arguments.index("--config_file") + 1
    arguments[place] = str(ROOT / arguments[place])
    read = read_by_accelerate(arguments)
    assert (read.num_machines, read.num_processes, read.machine_rank) == (2, 16, 1)
    assert read.main_process_ip in ("node-a", "10.0.0.1")
    assert read.main_process_port >= 20000
    assert (read.module, read.training_script) == (True, "sft_helpers.scaling.worker")
    rest = read.training_script_args
    rest[rest.index("--config") + 1] = str(launch_folder() / "sft.yaml")
    rest[rest.index("--bf16") + 1] = "false"  # there is no GPU here
    rest[rest.index("--use_cpu") + 1] = "true"
    parts = (ScriptArguments, SFTConfig, ModelConfig, DatasetMixtureConfig, WorkerArguments)
    _, args, model, _, worker = TrlParser(parts).parse_args_and_config(
        rest, fail_with_unknown_args=True
    )
    assert (worker.expect, worker.expect_processes) == ("fsdp2_grad_op", 16)
    assert model.model_name_or_path == "Qwen/Qwen2.5-7B-Instruct"
    assert (
        global_batch(args.per_device_train_batch_size, 16, args.gradient_accumulation_steps) == 16
    )
    assert args.resume_from_checkpoint is None


@pytest.mark.skipif(shutil.which("bash") is None, reason="there is no bash")
@pytest.mark.parametrize("start", [slurm, sky])
def test_a_second_start_goes_on_from_the_newest_finished_checkpoint(start, tmp_path):
    for step in (200, 1000, 900):
        (tmp_path / "runs" / "sft-7b" / f"checkpoint-{step}").mkdir(parents=True)
    for step in (200, 900):  # saving step 1000 was interrupted
        (tmp_path / f"runs/sft-7b/checkpoint-{step}/trainer_state.json").write_text("{}")
    arguments = start(tmp_path)
    place = arguments.index("--resume_from_checkpoint")
    assert arguments[place + 1] == "runs/sft-7b/checkpoint-900"


def test_the_slurm_script_passes_shellcheck():
    shellcheck = shutil.which("shellcheck") or shutil.which(
        "shellcheck", path=str(Path(sys.executable).parent)
    )
    if shellcheck is None:
        pytest.skip("shellcheck is not installed")
    script = str(launch_folder() / "cluster.slurm")
    done = subprocess.run([shellcheck, script], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


def test_the_sky_file_has_the_keys_of_a_task():
    file = launch_folder() / "cluster.sky.yaml"
    content = yaml.safe_load(file.read_text("utf-8"))
    # of SkyPilot 0.14's task schema; with SkyPilot installed, its own class reads the file
    assert set(content) <= {"name", "num_nodes", "workdir", "resources", "envs", "setup", "run"}
    assert set(content["resources"]) <= {"accelerators", "use_spot", "disk_size"}
    try:
        import sky as skypilot
    except ImportError:
        return
    assert skypilot.Task.from_yaml(str(file)).num_nodes == 2


# --- arithmetic ------------------------------------------------------------------------------


def toy(trained=100):
    return Parts("toy", "full", 8, 1, 100, trained, 400, 7, 30)


def test_rows_and_steps():
    assert global_batch(2, 8, 4) == 64
    assert steps_per_epoch(1000, 2, 8, 4) == 16  # 63 batches of 16 rows, by fours
    assert steps_per_epoch(1000, 16, 1) == 63


def test_steps_are_those_of_the_trainer(tmp_path):
    from datasets import Dataset
    from transformers import Trainer, TrainingArguments

    from sft_helpers.models import load

    trainer = Trainer(
        load("tiny")[0],
        TrainingArguments(
            str(tmp_path),
            per_device_train_batch_size=4,
            gradient_accumulation_steps=4,
            use_cpu=True,
            report_to="none",
        ),
        train_dataset=Dataset.from_dict({"input_ids": [[1]] * 150}),
    )
    found = trainer.set_initial_training_values(trainer.args, trainer.get_train_dataloader())
    assert steps_per_epoch(150, 4, 1, 4) in found


def test_memory_is_divided_as_the_strategy_says():
    held = memory_per_device(toy(), 4)
    assert sum(held["ddp"].values()) == 400 + 400 + 800 + 7 + 400
    assert sum(held["zero2"].values()) == 200 + (2 + 4 + 8) * 100 / 4 + 7
    assert sum(held["fsdp2_grad_op"].values()) == (4 + 4 + 8) * 100 / 4 + 200 + 7
    assert sum(held["fsdp2_full"].values()) == (4 + 4 + 8) * 100 / 4 + 60 + 7
    alone = memory_per_device(toy(), 1)
    assert {sum(one.values()) for one in alone.values()} == {1607}


def test_more_devices_never_need_more_memory():
    for one in recorded_parts():
        for few, many in itertools.pairwise(DEVICES[1:]):
            before, after = memory_per_device(one, few), memory_per_device(one, many)
            for name in STRATEGIES:
                assert sum(after[name].values()) <= sum(before[name].values())


def test_traffic_in_models_is_that_of_the_papers():
    parts, many = toy(), 1_000_000
    model = 2 * parts.parameters  # bf16
    sent = {name: size / model for name, size in traffic_per_step(parts, many).items()}
    assert sent["fsdp2_grad_op"] == pytest.approx(2, rel=1e-3)
    assert sent["fsdp2_full"] == pytest.approx(3, rel=1e-3)
    assert sent["ddp"] == pytest.approx(2 * 2, rel=1e-3)  # gradients in fp32
    assert sent["zero2"] == pytest.approx(3, rel=1e-3)
    assert set(traffic_per_step(parts, 1).values()) == {0}
    assert ring_bytes(100, 4, 2) == 150


def test_collectives_are_those_that_move_the_model():
    counts = {"_allgather_base_": 9, "allgather_": 4, "c10d_functional.all_reduce": 1}
    found = collectives({"counts": counts})
    assert found == {"all-gather": 9, "reduce-scatter": 0, "all-reduce": 0}


def test_measured_traffic_is_in_models():
    counted = {"_allgather_base_": 100, "allreduce_": 50, "_reduce_scatter_base_": 100}
    report = {"num_processes": 2, "weight_bytes": 100, "bytes": counted}
    assert measured_traffic(report) == pytest.approx((100 + 2 * 50 + 100) / 2 / 100)


def test_the_simplest_strategy_that_fits():
    assert simplest_that_fits(find_parts("Qwen2.5-7B", "lora"), 8, 24) == "ddp"
    assert simplest_that_fits(find_parts("Qwen2.5-7B"), 8, 80) == "fsdp2_grad_op"
    assert simplest_that_fits(find_parts("Qwen2.5-7B"), 8, 24) == "fsdp2_full"
    assert simplest_that_fits(find_parts("Qwen2.5-14B"), 2, 24) == "none"
    with pytest.raises(DataError, match="no parts of"):
        find_parts("Qwen2.5-72B")


def test_recorded_parts_are_those_that_memory_predicts():
    assert parts_of("Qwen2.5-0.5B", "lora", 1024, 1) == find_parts("Qwen2.5-0.5B", "lora")


def test_the_explorer_shows_the_same_numbers_live_and_still():
    data = scaling_data()
    held = memory_per_device(find_parts("Qwen2.5-7B"), 8)
    live = data["memory"]["Qwen2.5-7B/full/1024/1/8"]
    for place, name in enumerate(STRATEGIES):
        assert live[place] == pytest.approx([held[name][c] / 1e9 for c in COMPONENTS], abs=0.01)
    still = scaling_html(find_parts("Qwen2.5-7B"), 8, 4, rows=1_000, card=80)
    for text in ("ZeRO-2", "32.7", "✗ no", "✓ yes", "32,768"):  # 8 devices, 4 passes, 1,024 tokens
        assert text in still


def test_the_explorer_starts_only_where_its_controls_can_be():
    with pytest.raises(DataError, match="Devices: 3 is no choice"):
        scaling_explorer(devices=3)


# --- what really runs ------------------------------------------------------------------------


def accelerator(kind, processes=2, **state):
    return SimpleNamespace(
        distributed_type=SimpleNamespace(value=kind),
        num_processes=processes,
        state=SimpleNamespace(**state),
    )


def fsdp(version, reshard):
    plugin = SimpleNamespace(fsdp_version=version, reshard_after_forward=reshard)
    return accelerator("FSDP", fsdp_plugin=plugin)


@pytest.mark.parametrize(
    ("found", "name"),
    [
        (accelerator("NO", 1), "single"),
        (accelerator("MULTI_CPU"), "ddp"),
        (accelerator("MULTI_GPU"), "ddp"),
        (fsdp(2, True), "fsdp2_full"),
        (fsdp(2, False), "fsdp2_grad_op"),
        (fsdp(1, "FULL_SHARD"), "fsdp1"),
        (accelerator("DEEPSPEED", deepspeed_plugin=SimpleNamespace(zero_stage=2)), "zero2"),
        (accelerator("DEEPSPEED", deepspeed_plugin=SimpleNamespace(zero_stage=3)), "zero3"),
    ],
)
def test_strategies_are_named(found, name):
    assert strategy_of(found) == name
    check_strategy(found, name, found.num_processes)
    check_strategy(found, "", 0)


@pytest.mark.parametrize(
    ("found", "expected", "processes", "words"),
    [
        (accelerator("MULTI_CPU"), "fsdp2_full", 2, "set up ddp in 2"),
        (accelerator("NO", 1), "ddp", 2, "set up single in 1"),
        (fsdp(2, False), "fsdp2_full", 2, "set up fsdp2_grad_op"),
        (fsdp(2, True), "fsdp2_full", 8, "in 8 processes"),
    ],
)
def test_a_fall_back_stops_the_run(found, expected, processes, words):
    with pytest.raises(EnvironmentProblem, match=words):
        check_strategy(found, expected, processes)


def test_a_missing_deepspeed_is_said_before_anything_starts(monkeypatch, tmp_path):
    monkeypatch.setattr(rehearsal.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(EnvironmentProblem, match="DeepSpeed, which is not installed") as caught:
        launch("zero2", output_dir=tmp_path)
    assert "pip install" in str(caught.value) or "FSDP2" in str(caught.value)


def test_an_unknown_file_is_named(tmp_path):
    with pytest.raises(DataError, match="no such launch file"):
        launch("zero9", output_dir=tmp_path)


def test_processes_must_report_and_agree(tmp_path):
    def left(*reports):
        return Launch("x", 0, 1.0, list(reports), "", tmp_path)

    assert left({"num_processes": 2}, {"num_processes": 2}).processes == 2
    with pytest.raises(DataError, match=r"\['1', '2'\]"):
        _ = left({"num_processes": 2}, {"num_processes": 1}).processes
    with pytest.raises(DataError, match="nothing"):
        _ = left().strategy
    with pytest.raises(DataError, match="None"):
        _ = left({"error": "RuntimeError: x"}).strategy


def test_the_last_error_of_a_failed_launch_is_found():
    output = "step 1\n  File x\nTypeError: max_seq_length is unknown\n====\nrank 0 failed\n"
    assert _last_error(output) == "TypeError: max_seq_length is unknown"
    assert _last_error("one\nlast words\n\n") == "last words"
    assert _last_error("") == "it printed nothing"


# --- real launches ---------------------------------------------------------------------------

STEPS = ("--max_steps", "4", "--per_device_train_batch_size", "8")


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    """The losses of four steps of 16 rows in one process, started as a program of its own."""
    done = launch(None, "--max_steps", "4", output_dir=tmp_path_factory.mktemp("alone"))
    assert (done.strategy, done.processes) == ("single", 1)
    return done.losses


def gap(found, wanted):
    return max(abs(a - b) for a, b in zip(found, wanted, strict=True))


@pytest.mark.slow
@pytest.mark.loopback
def test_a_stuck_process_ends_the_other_after_ddp_timeout(tmp_path):
    done = launch(
        "fsdp2_full",
        *STEPS,
        *("--break_step", "2", "--break_how", "stall", "--ddp_timeout", "5"),
        output_dir=tmp_path,
        check=False,
        timeout=240,
    )
    assert done.returncode != 0
    assert len(done.errors) == 1
    assert "5000ms" in done.errors[0]


@pytest.mark.slow
@pytest.mark.loopback
def test_a_killed_process_ends_the_other_and_the_run_goes_on(tmp_path, alone):
    saving = ("--save_strategy", "steps", "--save_steps", "2")
    slow = ["--monitor_interval", "3"]  # else the launcher may end the survivor before it speaks
    breaking = ("--break_step", "3")
    broken = launch(
        "ddp", *STEPS, *saving, *breaking,
        output_dir=tmp_path, flags=slow, check=False, timeout=240,
    )  # fmt: skip
    assert broken.returncode != 0
    assert len(broken.errors) == 1  # the killed one says nothing any more
    assert ": -9 (pid" in broken.output
    assert not (tmp_path / "model.safetensors").exists()
    state = json.loads((tmp_path / "checkpoint-2" / "trainer_state.json").read_text())
    assert state["global_step"] == 2
    again = ("--resume_from_checkpoint", str(tmp_path / "checkpoint-2"))
    done = launch("ddp", *STEPS, *saving, *again, output_dir=tmp_path)
    assert (done.strategy, done.processes) == ("ddp", 2)
    expect("scaling.ddp_resume_max_loss_difference", gap(done.losses, alone), high=1e-4)
    assert (tmp_path / "model.safetensors").exists()
