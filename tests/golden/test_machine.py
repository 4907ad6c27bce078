"""What machines are told: every SFT argument for six kinds and five models, with its reason."""

from __future__ import annotations

from typing import Any

import pytest

from sft_helpers.hardware import Hardware
from sft_helpers.machine import profile
from tests.golden.compare import compare

MACHINES = {
    "CPU": Hardware("cpu", "a CPU", None, None, 8, 16.0, 11.0),
    "CPU with fast bf16": Hardware("cpu", "a CPU", None, None, 8, 16.0, 0.4),
    "Apple": Hardware("mps", "Apple M3", None, None, 8, 16.0),
    "T4": Hardware("cuda", "Tesla T4", 14.74, (7, 5), 2, 12.7),
    "RTX 4090": Hardware("cuda", "NVIDIA GeForce RTX 4090", 23.64, (8, 9), 16, 62.7),
    "A100": Hardware("cuda", "NVIDIA A100-SXM4-40GB", 39.39, (8, 0), 12, 83.5),
    "unknown GPU": Hardware("cuda", "NVIDIA RTX 5000 Ada", 31.5, (8, 9), 8, 64.0),
    "H100": Hardware("cuda", "NVIDIA H100 80GB HBM3", 79.2, (9, 0), 8, 64.0),
    "RTX 3060": Hardware("cuda", "NVIDIA GeForce RTX 3060", 11.8, (8, 6), 8, 64.0),
    "GTX 1080": Hardware("cuda", "NVIDIA GeForce GTX 1080", 7.9, (6, 1), 8, 64.0),
    "a GPU of 2 GiB": Hardware("cuda", "Quadro P620", 1.9, (6, 1), 8, 64.0),
    "unknown old GPU": Hardware("cuda", "Tesla P100", 15.9, (6, 0), 4, 30.0),
}
MODELS = ("tiny", "smollm2", "Qwen/Qwen2.5-0.5B-Instruct", "Qwen/Qwen2.5-7B-Instruct", None)
# Choices beyond the SFT arguments, which decide the rest of a recipe.
ALSO = ("model", "method", "precision", "weights", "attention", "threads")


def told(machine: Hardware, model: str | None) -> dict[str, list[Any]]:
    """Each setting: value and sentence."""
    chosen = profile(hardware=machine, model=model)
    reasons = chosen.sft_reasons()
    found = {name: [value, reasons[name]] for name, value in chosen.sft_arguments().items()}
    for name in ALSO:
        found[f"({name})"] = [getattr(chosen, name).value, getattr(chosen, name).why]
    return found | {"(profile)": [chosen.name, chosen.note]}


def test_machines_are_told_what_they_were_told(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("SFT_PROFILE", "SFT_THREADS"):
        monkeypatch.delenv(name, raising=False)
    found = {
        f"{name}, {model or 'its own model'}: {setting}": choice
        for name, machine in MACHINES.items()
        for model in MODELS
        for setting, choice in told(machine, model).items()
    }
    compare("machine.json", found)
