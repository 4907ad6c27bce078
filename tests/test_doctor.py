"""The doctor: each problem is found, said with a cure, and decides the exit code."""

from __future__ import annotations

import argparse
import importlib
import importlib.metadata
import json
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from sft_helpers import doctor, integrity, town, versions
from sft_helpers.errors import DataError
from sft_helpers.hardware import Hardware
from sft_helpers.profiles import profile

ROOT = Path(__file__).resolve().parent.parent
PINS = """# a comment
torch==2.13.0
trl==1.16.0  # why
huggingface_hub==2.4.0 ; python_version > "3"
"""


@pytest.fixture(autouse=True)
def _sound_machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A machine without any problem; each test breaks one thing."""
    for name in ("SFT_PROFILE", "SFT_THREADS", "SFT_DATA"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("SFT_CACHE", str(tmp_path / "cache"))
    place = tmp_path / "town"
    (place / "base").mkdir(parents=True)
    (place / "base" / "model.safetensors").write_bytes(b"weights")
    (place / "sft_train.jsonl").write_text("{}\n", encoding="utf-8")
    manifest = {"files": integrity.describe(place)}
    (place / "manifest.json").write_text(json.dumps(manifest), encoding="utf-8")
    monkeypatch.setattr(town, "data_dir", lambda: place)
    facts = {
        "python": sys.executable,
        "folder": str(tmp_path),
        "disk_free_gb": 50.0,
        "cache": str(tmp_path / "cache"),
        "cache_free_gb": 50.0,
        "memory_gb": 16.0,
        "memory_free_gb": 8.0,
    }
    monkeypatch.setattr(doctor, "_facts", lambda: dict(facts))
    rows = [versions._version(name, "1.2", "1.2", ">=1") for name in versions.PACKAGES]
    monkeypatch.setattr(doctor, "compare", lambda: rows)
    monkeypatch.setattr(doctor, "_about_gpu", lambda: iter(()))
    monkeypatch.setattr(doctor, "_about_jupyter", lambda: iter(()))
    hardware = Hardware("cpu", "a CPU", cores=2, memory_gib=16, bf16_ratio=9.0)
    monkeypatch.setattr(doctor, "profile", lambda: profile(hardware=hardware))


def codes(report: doctor.Report) -> list[str]:
    return [finding.code for finding in report.findings]


def set_facts(monkeypatch: pytest.MonkeyPatch, **changes: Any) -> None:
    facts = doctor._facts() | changes
    monkeypatch.setattr(doctor, "_facts", lambda: facts)


def test_a_sound_machine_has_no_finding(capsys: pytest.CaptureFixture[str]) -> None:
    report = doctor.diagnose()
    assert report.findings == []
    assert report.ok
    assert doctor.run(argparse.Namespace(json=False)) == 0
    out = capsys.readouterr().out
    assert "All is well." in out
    assert "precision" in out
    assert "\x1b[" not in out


def test_json_is_one_object_with_everything(capsys: pytest.CaptureFixture[str]) -> None:
    assert doctor.run(argparse.Namespace(json=True)) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["ok"] is True
    assert found["profile"]["model"]["value"] == "tiny"
    assert found["versions"]["torch"]["state"] == "as tested"
    assert found["facts"]["cores"] == 2
    assert found["facts"]["gpu"] is None


def test_a_missing_town_is_an_error(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def absent() -> Path:
        raise DataError("not there", where="data/town", hint="run `make town`")

    monkeypatch.setattr(town, "data_dir", absent)
    assert doctor.run(argparse.Namespace(json=False)) == 1
    out = capsys.readouterr().out
    assert "ERROR town.missing" in out
    assert "make town" in out
    assert "mend the errors first" in out


@pytest.mark.parametrize("name", ["base/model.safetensors", "sft_train.jsonl", "manifest.json"])
@pytest.mark.parametrize("how", ["gone", "changed"])
def test_a_damaged_town_is_an_error(name: str, how: str) -> None:
    path = town.data_dir() / name
    path.unlink() if how == "gone" else path.write_text("other", encoding="utf-8")
    report = doctor.diagnose()
    assert codes(report) == ["town.damaged"]
    assert name in report.findings[0].message
    assert "make town" in report.findings[0].fix
    assert not report.ok


def test_bad_switches_are_said_and_the_rest_still_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "profile", profile)
    monkeypatch.setenv("SFT_PROFILE", "t44")
    report = doctor.diagnose()
    assert codes(report) == ["profile.invalid"]
    assert "'t4'" in report.findings[0].fix
    assert report.profile is None
    assert json.dumps(report.as_json())
    assert "torch" in doctor._plain(report)


@pytest.mark.parametrize(
    ("changes", "code", "severity"),
    [
        ({"disk_free_gb": 0.2}, "disk.full", "error"),
        ({"cache_free_gb": 1.5}, "disk.low", "warning"),
        ({"memory_free_gb": 0.5}, "memory.low", "error"),
        ({"memory_free_gb": 2.0}, "memory.tight", "warning"),
    ],
)
def test_room(
    monkeypatch: pytest.MonkeyPatch, changes: dict[str, float], code: str, severity: str
) -> None:
    set_facts(monkeypatch, **changes)
    report = doctor.diagnose()
    assert [(f.code, f.severity) for f in report.findings] == [(code, severity)]


def test_unknown_memory_is_no_finding(monkeypatch: pytest.MonkeyPatch) -> None:
    set_facts(monkeypatch, memory_free_gb=None, memory_gb=None)
    assert doctor.diagnose().findings == []
    assert "memory" not in doctor._room(doctor._facts())


def test_the_most_serious_comes_first(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [
        versions._version("torch", "1.3", "1.2", ">=1"),
        versions._version("ipywidgets", None, "8.1", ">=7"),
        versions._version("trl", "0.9", "1.16.0", ">=1.16,<2"),
    ]
    monkeypatch.setattr(doctor, "compare", lambda: rows)
    set_facts(monkeypatch, memory_free_gb=2.0)
    report = doctor.diagnose()
    assert [f.severity for f in report.findings] == ["error", "warning", "warning", "note"]
    assert codes(report)[0] == "package.outside_range"
    assert "trl==1.16.0" in report.findings[0].fix


# --- versions ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("installed", "tested", "accepted", "state"),
    [
        ("2.13.0+cpu", "2.13.0", ">=2.6", "as tested"),
        ("2.12.0", "2.13.0", ">=2.6", "differs"),
        ("2.5.1", "2.13.0", ">=2.6", "outside the supported range"),
        ("2.0.0", "1.16.0", ">=1.16,<2", "outside the supported range"),
        ("1.17.0.dev0", "1.16.0", ">=1.16,<2", "differs"),
        (None, "1.16.0", ">=1.16,<2", "missing"),
        ("1.16.0", None, ">=1.16,<2", "accepted"),
        ("1.16.0", None, "", "unknown"),
    ],
)
def test_states(installed: str | None, tested: str | None, accepted: str, state: str) -> None:
    assert versions._version("x", installed, tested, accepted).state == state


def test_pins_are_read_from_constraints(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(versions, "_CHECKOUT", tmp_path)
    (tmp_path / "constraints.txt").write_text(PINS, encoding="utf-8")
    assert versions.tested_versions() == {
        "torch": "2.13.0",
        "trl": "1.16.0",
        "huggingface-hub": "2.4.0",
    }


def test_an_installed_package_brings_its_constraints(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    inside = tmp_path / "constraints.txt"
    inside.write_text("trl==9.9\n", encoding="utf-8")
    monkeypatch.setattr(versions, "_CHECKOUT", tmp_path / "no checkout")
    entry = SimpleNamespace(name="constraints.txt", locate=lambda: inside)
    monkeypatch.setattr(importlib.metadata, "files", lambda _: [entry])
    monkeypatch.setattr(
        importlib.metadata, "requires", lambda _: ["trl>=9", 'pytest>=1; extra == "test"']
    )
    assert versions.tested_versions() == {"trl": "9.9"}
    assert versions.accepted_ranges() == {"trl": ">=9"}


def test_without_any_source_nothing_is_claimed(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def absent(_: str) -> Any:
        raise importlib.metadata.PackageNotFoundError

    monkeypatch.setattr(versions, "_CHECKOUT", tmp_path)
    monkeypatch.setattr(importlib.metadata, "files", absent)
    monkeypatch.setattr(importlib.metadata, "requires", absent)
    assert versions.tested_versions() == {}
    assert versions.accepted_ranges() == {}
    rows = versions.compare()
    assert {row.state for row in rows[1:]} <= {"unknown", "missing"}
    monkeypatch.setattr(doctor, "compare", lambda: rows)
    assert "package.tested_unknown" in codes(doctor.diagnose())


def test_the_checkout_names_every_package_it_judges() -> None:
    pins, ranges = versions.tested_versions(), versions.accepted_ranges()
    for name in versions.PACKAGES:
        assert name in pins
        assert versions._inside(pins[name], ranges[name])


# --- GPU and Jupyter -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("capability", "built", "fits"),
    [
        ((7, 5), ["sm_75", "sm_80", "sm_90"], True),
        ((8, 9), ["sm_75", "sm_80", "sm_90"], True),
        ((6, 1), ["sm_75", "sm_80", "sm_120", "compute_120"], False),
        ((8, 0), ["sm_86"], False),
        ((12, 0), ["sm_90", "compute_90"], True),
        ((9, 0), ["sm_90a"], True),
        ((9, 0), ["gfx90a"], False),
    ],
)
def test_kernels_fit(capability: tuple[int, int], built: list[str], fits: bool) -> None:
    assert doctor.kernels_fit(capability, built) is fits


def _torch(**changes: Any) -> SimpleNamespace:
    cuda = SimpleNamespace(
        is_available=lambda: True,
        get_arch_list=lambda: ["sm_80"],
        get_device_capability=lambda _: (8, 6),
    )
    vars(cuda).update(changes)
    return SimpleNamespace(
        cuda=cuda, version=SimpleNamespace(cuda=changes.get("build", "13.0")), __version__="2.13"
    )


@pytest.fixture
def about_gpu(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.undo()  # the real check, not the stand-in of a sound machine

    def look(torch: Any, driver: str | None = None) -> list[str]:
        monkeypatch.setitem(sys.modules, "torch", torch)
        monkeypatch.setitem(sys.modules, "bitsandbytes", SimpleNamespace())
        monkeypatch.setattr(doctor.shutil, "which", lambda _: driver)
        return [finding.code for finding in doctor._about_gpu()]

    return look


def test_gpu_findings(about_gpu: Any) -> None:
    assert about_gpu(None) == []
    assert about_gpu(_torch()) == []
    assert about_gpu(_torch(get_device_capability=lambda _: (6, 1))) == ["gpu.no_kernels"]
    absent = _torch(is_available=lambda: False, build=None)
    assert about_gpu(absent) == []
    assert about_gpu(absent, "/usr/bin/nvidia-smi") == ["gpu.unused"]


def test_a_broken_bitsandbytes_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    monkeypatch.setitem(sys.modules, "torch", _torch())

    def broken(name: str) -> None:
        raise RuntimeError("CUDA Setup failed")

    monkeypatch.setattr(importlib, "import_module", broken)
    assert [f.code for f in doctor._about_gpu()] == ["bitsandbytes.broken"]


@pytest.mark.parametrize(
    ("argv", "expected"),
    [
        (["python3", "-m", "ipykernel_launcher"], []),
        ([sys.executable, "-m", "ipykernel_launcher"], []),
        (["/elsewhere/bin/python", "-m", "ipykernel_launcher"], ["kernel.other_python"]),
    ],
)
def test_kernels(monkeypatch: pytest.MonkeyPatch, argv: list[str], expected: list[str]) -> None:
    monkeypatch.undo()
    from jupyter_client import kernelspec

    specs = {"one": {"spec": {"argv": argv}}}
    monkeypatch.setattr(kernelspec.KernelSpecManager, "get_all_specs", lambda _: specs)
    assert [f.code for f in doctor._about_jupyter()] == expected


def test_no_ipykernel(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    monkeypatch.setattr(doctor.importlib.util, "find_spec", lambda _: None)
    assert [f.code for f in doctor._about_jupyter()] == ["kernel.missing"]


# --- as a program --------------------------------------------------------------------------


def test_it_works_without_torch(tmp_path: Path) -> None:
    program = (
        "import sys, argparse\n"
        "for name in ('torch', 'transformers', 'trl', 'packaging', 'rich', 'psutil', 'peft'):\n"
        "    sys.modules[name] = None\n"
        "import importlib.metadata as m\n"
        "real = m.version\n"
        "def version(name):\n"
        "    if name == 'torch': raise m.PackageNotFoundError(name)\n"
        "    return real(name)\n"
        "m.version = version\n"
        "from sft_helpers import doctor\n"
        "sys.exit(doctor.run(argparse.Namespace(json=True)))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, cwd=ROOT, check=False
    )
    assert done.returncode == 1, done.stderr
    found = json.loads(done.stdout)
    missing = [f for f in found["findings"] if f["code"] == "package.missing"]
    assert any(f["message"].startswith("torch is not installed") for f in missing)
    assert found["profile"]["profile"]["value"] == "cpu"


def test_the_parser_knows_the_switch() -> None:
    parser = argparse.ArgumentParser()
    doctor.add_parser(parser.add_subparsers())
    args = parser.parse_args(["doctor", "--json"])
    assert args.json
    assert args.run is doctor.run


def test_in_a_terminal_it_is_a_table(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("rich")
    (town.data_dir() / "sft_train.jsonl").write_text("[red]", encoding="utf-8")
    report = doctor.diagnose()
    odd = doctor.Finding("x.y", "note", "a [bold]tag[/bold] in a message", "leave [it]")
    report.findings.append(odd)
    doctor._print_rich(report)
    out = capsys.readouterr().out
    assert "Versions" in out
    assert "town.damaged" in out
    assert "[bold]tag[/bold]" in out
