"""What each machine is told, that trl accepts it, and what the doctor finds."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy
import psutil
import pytest
from joblib.externals.loky.backend import context

from sft_helpers import cli, doctor, hardware, town
from sft_helpers.errors import EnvironmentProblem
from sft_helpers.files import sha256
from sft_helpers.hardware import Hardware, detect_hardware, measure_bf16_ratio
from sft_helpers.machine import NAMES, profile, texts
from sft_helpers.templates.checks import trl_verdict
from sft_helpers.templates.render import family
from sft_helpers.training import runs

ROOT = Path(__file__).resolve().parent.parent
SLOW_CPU = Hardware("cpu", "an old CPU", cores=4, memory_gib=16, bf16_ratio=11.0)
FAST_CPU = Hardware("cpu", "a CPU with bf16 units", cores=4, memory_gib=16, bf16_ratio=0.2)
APPLE = Hardware("mps", "Apple M3", cores=8, memory_gib=16)


def gpu(name: str, gib: float, capability: tuple[int, int]) -> Hardware:
    return Hardware("cuda", name, gib, capability, cores=8, memory_gib=64)


T4 = gpu("Tesla T4", 14.7, (7, 5))
RTX4090 = gpu("NVIDIA GeForce RTX 4090", 23.6, (8, 9))
A100_40 = gpu("NVIDIA A100-SXM4-40GB", 39.4, (8, 0))
H100 = gpu("NVIDIA H100 80GB HBM3", 79.2, (9, 0))
OLD_8 = gpu("NVIDIA GeForce GTX 1080", 7.9, (6, 1))
RTX3060 = gpu("NVIDIA GeForce RTX 3060", 11.8, (8, 6))
SMALL_4 = gpu("Quadro P620", 1.9, (6, 1))
ALL = (SLOW_CPU, FAST_CPU, APPLE, T4, RTX4090, A100_40, H100, OLD_8, RTX3060, SMALL_4)


@pytest.fixture(autouse=True)
def no_switches(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("SFT_PROFILE", "SFT_THREADS", "SFT_DATA"):
        monkeypatch.delenv(name, raising=False)


# --- profiles: values and sentences are in golden/machine.json ---------------------------------


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("Tesla V100-SXM2-16GB", "gpu"),
        ("NVIDIA A10", "gpu"),
        ("NVIDIA T400", "gpu"),
        ("NVIDIA GeForce RTX 4090 Laptop GPU", "gpu"),
        ("NVIDIA H200", "a100"),
        ("NVIDIA GeForce RTX 4090", "rtx4090"),
    ],
)
def test_names_that_look_alike_are_told_apart(name: str, kind: str) -> None:
    assert profile(hardware=gpu(name, 16, (8, 0))).name == kind


@pytest.mark.parametrize("machine", ALL, ids=str)
@pytest.mark.parametrize("model", [None, "tiny", "smollm2", "Qwen/Qwen2.5-7B-Instruct", "./mine"])
def test_choices_are_consistent(machine: Hardware, model: str | None) -> None:
    chosen = profile(hardware=machine, model=model)
    arguments = chosen.sft_arguments()
    assert not (arguments["bf16"] and arguments["fp16"])
    if arguments["bf16"] and machine.kind == "cuda":
        assert machine.capability is not None
        assert machine.capability >= (8, 0)
    if chosen.method.value == "full":
        assert chosen.weights.value == "float32"
    if chosen.precision.value != "bf16":
        assert chosen.method.value != "qlora"
    assert arguments["use_cpu"] == (chosen.device.value == "cpu")
    assert arguments["use_cpu"] or chosen.model.value != "tiny"
    assert chosen.sft_reasons().keys() == arguments.keys()
    for setting, value, why in chosen.explain():
        assert value not in ("", "None"), setting
        assert why.endswith("."), (setting, why)
    assert max(map(len, str(chosen).splitlines())) <= 98


def test_a_size_is_read_from_a_name_only_where_it_stands_there() -> None:
    assert "choose a smaller model" in profile(hardware=RTX3060, model="org/x-70B").method.why
    assert "choose a smaller model" in profile(hardware=T4, model="Qwen/Qwen2.5-7B").method.why
    assert "as if it had 7.62B" in profile(hardware=RTX4090, model="./mine").model.why
    for name, known in (("org/SmolLM2-1.7B-Instruct", True), ("org/phi3.5-mini", False)):
        assert ("planned as if" not in profile(hardware=RTX3060, model=name).model.why) is known


def test_a_forced_profile(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in NAMES:
        for machine in (SLOW_CPU, APPLE, RTX4090):
            chosen = profile(name, machine)
            assert chosen.name == name
            assert chosen.for_model("tiny").model.value == "tiny"
            assert chosen.for_model("tiny").forced == chosen.forced
    monkeypatch.setenv("SFT_PROFILE", "cpu")
    forced = profile(hardware=RTX4090)
    assert forced.sft_arguments()["use_cpu"] is True
    assert forced.hardware.gpu_memory_gib is None
    assert "forced by name" in str(forced)
    monkeypatch.setenv("SFT_PROFILE", "RTX-4090")
    with pytest.raises(EnvironmentProblem, match=r"SFT_PROFILE: [\s\S]*apple, t4, rtx4090"):
        profile(hardware=SLOW_CPU)


def test_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    assert profile(hardware=RTX4090).threads.value == 4
    for wrong in ("0", "two", "-1", "1.5"):
        monkeypatch.setenv("SFT_THREADS", wrong)
        with pytest.raises(EnvironmentProblem, match="SFT_THREADS"):
            profile(hardware=SLOW_CPU)
    before = torch.get_num_threads()
    monkeypatch.setenv("OMP_NUM_THREADS", str(before))
    monkeypatch.setenv("SFT_THREADS", "3")
    try:
        profile(hardware=SLOW_CPU).use_threads()
        assert torch.get_num_threads() == 3
    finally:
        torch.set_num_threads(before)


def test_trl_takes_what_a_profile_says(tmp_path: Path) -> None:
    from trl import SFTConfig

    for machine in ALL:
        assert set(profile(hardware=machine).sft_arguments()) <= set(SFTConfig.__dataclass_fields__)
    for model in ("tiny", "smollm2"):
        arguments = profile(hardware=FAST_CPU, model=model).sft_arguments()
        config = SFTConfig(output_dir=str(tmp_path), **arguments)
        assert (config.device.type, config.bf16) == ("cpu", model == "smollm2")


def test_models_chosen_for_a_gpu_have_a_template_that_trl_can_train_with() -> None:
    """TRL knows Qwen2.5's Instruct template by its text; a base model's default prompt differs."""
    chosen = {str(profile(hardware=one).model.value) for one in (T4, RTX4090, RTX3060, H100)}
    assert all(name.startswith("Qwen/") and name.endswith("-Instruct") for name in chosen)
    known = family("qwen2_5").text
    base = known.replace("You are Qwen, created by Alibaba Cloud. ", "")
    assert trl_verdict(known).outcome == "patched"
    assert trl_verdict(base).outcome == "refused"


# --- hardware --------------------------------------------------------------------------------


def test_this_machine_is_looked_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    before = torch.get_num_threads()
    assert 0.01 < measure_bf16_ratio(0.02) < 1000
    assert torch.get_num_threads() == before
    assert detect_hardware() is detect_hardware()
    monkeypatch.setitem(sys.modules, "torch", None)  # not installed
    found = detect_hardware.__wrapped__()
    assert (found.kind, found.bf16_ratio) == ("cpu", None)
    assert profile(hardware=found).threads.value == 1


@pytest.mark.parametrize(("quota", "cores"), [("150000 100000", 2), ("100000 100000", 1)])
def test_workers_and_profile_count_a_containers_quota(
    monkeypatch: pytest.MonkeyPatch, quota: str, cores: int
) -> None:
    """On 8 cores, of which a container grants one, one run at a time."""
    monkeypatch.setattr(context, "open", lambda _: io.StringIO(quota), raising=False)
    monkeypatch.setattr(context.os.path, "exists", lambda path: str(path).endswith("cpu.max"))
    monkeypatch.setattr(context, "_cpu_count_affinity", lambda _: 8)
    monkeypatch.setattr(os, "cpu_count", lambda: 8)
    assert runs.workers() == cores
    assert detect_hardware.__wrapped__().cores == cores


def test_a_container_may_have_less_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    limit = {"memory.max": "1073741824\n", "memory.limit_in_bytes": "9223372036854771712\n"}
    monkeypatch.setattr(hardware.Path, "read_text", lambda path, **_: limit[path.name])
    assert hardware._memory() == 2**30
    limit["memory.max"] = "max\n"
    assert hardware._memory() == psutil.virtual_memory().total


# --- the doctor ------------------------------------------------------------------------------


@pytest.fixture
def sound(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> dict[str, Any]:
    """A machine without any problem, by its facts; each test breaks one thing."""
    place = tmp_path / "town"
    (place / "base").mkdir(parents=True)
    entries = {}
    for name in ("base/model.safetensors", "sft_train.jsonl"):
        (place / name).write_text("{}\n", encoding="utf-8")
        entries[name] = {"sha256": sha256(place / name), "bytes": 3}
    (place / "manifest.json").write_text(json.dumps({"files": entries}), encoding="utf-8")
    facts = doctor._facts() | {"disk_free_gb": 50.0, "cache_free_gb": 50.0, "memory_free_gb": 8.0}
    rows = [row | {"state": "as tested"} for row in doctor.compare()]
    monkeypatch.setattr(town, "data_dir", lambda: place)
    monkeypatch.setattr(doctor, "_facts", lambda: facts)
    monkeypatch.setattr(doctor, "compare", lambda: rows)
    monkeypatch.setattr(doctor, "_gpu", lambda: ())
    monkeypatch.setattr(doctor, "_jupyter", lambda: ())
    monkeypatch.setattr(doctor, "profile", lambda: profile(hardware=SLOW_CPU))
    return facts


def codes(found: Any) -> list[str]:
    return [finding.code for finding in found]


def test_a_sound_machine(sound: dict[str, Any], capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["doctor"]) == 0
    assert "All is well." in capsys.readouterr().out
    assert cli.main(["doctor", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["facts"]["cores"] == 4


@pytest.mark.parametrize(
    ("facts", "code", "severity"),
    [
        ({"disk_free_gb": 0.2}, "disk.full", "error"),
        ({"cache_free_gb": 1.5}, "disk.low", "warning"),
        ({"memory_free_gb": 0.5}, "memory.low", "error"),
        ({"memory_free_gb": 2.0}, "memory.tight", "warning"),
    ],
)
def test_room(sound: dict[str, Any], facts: dict[str, float], code: str, severity: str) -> None:
    sound.update(facts)
    report = doctor.diagnose()
    assert [(f.code, f.severity) for f in report.findings] == [(code, severity)]
    assert report.ok is (severity != "error")
    assert f"{severity.upper()} {code}" in str(report)


@pytest.mark.parametrize("name", ["base/model.safetensors", "sft_train.jsonl", "manifest.json"])
@pytest.mark.parametrize("how", ["gone", "changed"])
def test_a_damaged_town(sound: dict[str, Any], name: str, how: str) -> None:
    path = town.data_dir() / name
    path.unlink() if how == "gone" else path.write_text("odd", encoding="utf-8")
    [found] = doctor.diagnose().findings
    assert (found.code, name in found.message, "make town" in found.fix) == (
        "town.damaged", True, True,
    )  # fmt: skip


def test_a_missing_town_and_a_bad_switch(
    sound: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.undo()
    monkeypatch.setenv("SFT_DATA", "/nowhere")
    monkeypatch.setenv("SFT_PROFILE", "t44")
    report = doctor.diagnose()
    assert {"town.missing", "profile.invalid"} <= set(codes(report.findings))
    assert report.profile is None
    assert json.dumps(report.to_json())


def test_the_most_serious_comes_first(
    sound: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    given = {
        "torch": ("1.3", "1.2", ">=1"),
        "ipywidgets": (None, "8.1", ">=7"),
        "trl": ("0.9", "1.16.0", ">=1.16,<2"),
    }
    rows = [
        dict(zip(("name", "installed", "tested", "accepted"), (name, *versions), strict=True))
        | {"state": doctor.state(*versions)}
        for name, versions in given.items()
    ]
    monkeypatch.setattr(doctor, "compare", lambda: rows)
    sound["memory_free_gb"] = 2.0
    found = doctor.diagnose().findings
    assert codes(found) == [
        "package.outside_range", "package.missing", "memory.tight", "package.differs",
    ]  # fmt: skip
    assert "trl==1.16.0" in found[0].fix


@pytest.mark.parametrize(
    ("installed", "tested", "accepted", "state"),
    [
        ("2.13.0+cpu", "2.13.0", ">=2.6", "as tested"),
        ("2.12.0", "2.13.0", ">=2.6", "differs"),
        ("2.0.0", "1.16.0", ">=1.16,<2", "outside the supported range"),
        ("1.17.0.dev0", "1.16.0", ">=1.16,<2", "differs"),
        (None, "1.16.0", ">=1.16,<2", "missing"),
        ("1.16.0", None, "", "accepted"),
    ],
)
def test_states(installed: str | None, tested: str | None, accepted: str, state: str) -> None:
    assert doctor.state(installed, tested, accepted) == state


def test_every_package_has_a_tested_version_inside_its_range() -> None:
    for row in doctor.compare():
        if row["name"] != "python":
            assert row["tested"], row
            assert doctor.state(row["tested"], None, row["accepted"]) == "accepted", row


def test_what_is_used_is_declared() -> None:
    declared = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    for name in ("psutil", "joblib", "pyyaml", "packaging"):
        assert f'"{name}>=' in declared


class Torch(SimpleNamespace):
    """A stand-in with a GPU or without, on which a product of matrices may fail."""

    def __init__(self, available: bool = True, fails: bool = False) -> None:
        matrix = object() if fails else numpy.ones((2, 2))
        super().__init__(
            cuda=SimpleNamespace(is_available=lambda: available),
            ones=lambda *_, device: matrix,
            version=SimpleNamespace(cuda=None),
            __version__="2.13",
        )


@pytest.mark.parametrize(
    ("torch", "driver", "broken", "expected"),
    [
        (None, None, False, []),  # not installed: said by the versions
        (Torch(), None, False, []),
        (Torch(fails=True), None, False, ["gpu.no_kernels"]),
        (Torch(available=False), None, False, []),
        (Torch(available=False), "/usr/bin/nvidia-smi", False, ["gpu.unused"]),
        (Torch(), None, True, ["bitsandbytes.broken"]),
    ],
)
def test_gpu(
    monkeypatch: pytest.MonkeyPatch, torch: Any, driver: Any, broken: bool, expected: Any
) -> None:
    monkeypatch.setitem(sys.modules, "torch", torch)
    monkeypatch.setitem(sys.modules, "bitsandbytes", None if broken else SimpleNamespace())
    monkeypatch.setattr(doctor.shutil, "which", lambda _: driver)
    assert codes(doctor._gpu()) == expected


@pytest.mark.parametrize(
    ("start", "expected"),
    [("python3", []), (sys.executable, []), ("/elsewhere/python", ["kernel.other_python"])],
)
def test_kernels(monkeypatch: pytest.MonkeyPatch, start: str, expected: list[str]) -> None:
    from jupyter_client import kernelspec

    specs = {"one": {"spec": {"argv": [start, "-m", "ipykernel_launcher"]}}}
    monkeypatch.setattr(kernelspec.KernelSpecManager, "get_all_specs", lambda _: specs)
    assert codes(doctor._jupyter()) == expected


def test_it_works_without_torch() -> None:
    program = (
        "import sys, importlib.metadata as m\n"
        "for name in ('torch', 'transformers', 'trl', 'rich', 'peft'): sys.modules[name] = None\n"
        "real = m.version\n"
        "def version(name):\n"
        "    if name == 'torch': raise m.PackageNotFoundError(name)\n"
        "    return real(name)\n"
        "m.version = version\n"
        "from sft_helpers import cli\n"
        "sys.exit(cli.main(['doctor', '--json']))\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 1, done.stderr
    found = json.loads(done.stdout)
    assert any(f["message"].startswith("torch is not installed") for f in found["findings"])
    assert found["profile"]["profile"]["value"] == "cpu"


def test_every_sentence_of_the_yaml_is_used() -> None:
    text = "".join((ROOT / f"sft_helpers/{name}.py").read_text() for name in ("doctor", "machine"))
    for code in texts()["findings"]:
        assert f'"{code}"' in text, code
