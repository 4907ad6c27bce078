"""The wheel, installed alone: its commands work in an empty folder, far from the repository."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from tests.test_project import ROOT, committed

pytestmark = pytest.mark.slow

RUN = {
    "model_name_or_path": "qs",
    "dataset_name": "json",
    "max_steps": 2,
    "per_device_train_batch_size": 2,
    "learning_rate": 1e-3,
    "assistant_only_loss": True,
    "use_cpu": True,
    "bf16": False,
    "output_dir": "out",
}
# in this order: a later command takes what an earlier one wrote
COMMANDS = """
doctor
quickstart --questions 4 --out qs
convert {data}/own/questions.csv rows.jsonl
clean rows.jsonl clean.jsonl
preflight --config sft.yaml --train clean.jsonl
lint script.py
run sft.yaml --train clean.jsonl --questions 2
export qs --out merged --merge
memory Qwen2.5-0.5B --method lora --length 64 --card 16
"""


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the wheel is unpacked that a copy of the repository gives."""
    place = tmp_path_factory.mktemp("wheel")
    for path in committed():
        copy = place / "kit" / path.relative_to(ROOT)
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, copy)
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check"]
    offline = ["--quiet", "--no-deps", "--no-index"]
    make = [*pip, "wheel", *offline, "--no-build-isolation", "-w", str(place), str(place / "kit")]
    subprocess.run(make, check=True)
    [wheel] = place.glob("*.whl")
    assert wheel.stat().st_size < 6e6
    unpack = [*pip, "install", *offline, "--target", str(place / "site"), str(wheel)]
    subprocess.run(unpack, check=True)
    shutil.rmtree(place / "kit")
    return place / "site"


def test_a_wheel_alone_does_what_the_readme_says(installed: Path, tmp_path: Path) -> None:
    (tmp_path / "sft.yaml").write_text(yaml.safe_dump(RUN))
    (tmp_path / "script.py").write_text("from trl import SFTConfig\nSFTConfig(max_steps=1)\n")
    paths = [str(installed), os.environ["PYTHONPATH"]]
    settings = os.environ | {"PYTHONPATH": os.pathsep.join(paths), "SFT_CACHE": "cache"}
    data = installed / "sft_helpers" / "data"
    assert not (data / "make").exists()
    assert not (data / "__pycache__").exists()
    for line in COMMANDS.strip().splitlines():
        command = [sys.executable, "-m", "sft_helpers.cli", *line.format(data=data).split()]
        done = subprocess.run(
            command, cwd=tmp_path, env=settings, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, f"{line}\n{done.stdout[-2000:]}\n{done.stderr[-2000:]}"
    code = "import sft_helpers; print(sft_helpers.__file__)"
    where = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, env=settings, capture_output=True, text=True
    )
    assert Path(where.stdout.strip()).parent == installed / "sft_helpers"
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    assert report
