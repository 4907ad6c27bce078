"""Preflight finds what it found in every set-up of `preflight_cases`, and nothing in sound ones.

Entries of preflight.json: SET-UP → sorted list of [code, severity, count of rows]; facts/SET-UP →
the run in numbers, of the sound set-ups; limits/METHOD/PARAMETERS → learning rates below and above
which a warning comes. Most set-ups are marked thorough; whoever works on preflight runs
all of them: `pytest tests/golden/test_preflight.py -m ""`.
"""

from __future__ import annotations

import functools
import tempfile
from pathlib import Path
from typing import Any

import pytest

from tests.golden import preflight_cases
from tests.golden.compare import HERE, read, write

SETUPS = preflight_cases.setups()
FACTS = ("rows", "rows_held", "tokens", "longest", "supervised_fraction", "supervised_min",
         "truncated_rate", "ends_with_eos", "steps_per_epoch", "steps", "rows_per_step",
         "tokens_per_step", "supervised_tokens_per_step")  # fmt: skip
# TRL takes the first of a set of names, `prompt` or `messages`: it differs from process to process;
# and it splits rows with no seed, so that the two that resemble each other may be parted.
UNSTEADY = {
    "data.conflicting_columns/ultrachat/bad": {"config.refused", "mask.flag_without_effect"},
    "more/file: evaluation split": {"data.near_duplicate_rows"},
}
SLOW = ("packing.architecture_contaminates",)
SIZES = (9.5e5, 1.35e8, 5e8, 1.2e9, 1.7e9, 7e9, 8e9, 7e10)


# --- the adapter: point these at the package as it is now ----------------------------------------


def report(setup: dict[str, Any]) -> tuple[list[list[Any]], dict[str, Any]]:
    """What preflight says of a set-up (see `preflight_cases`): findings and facts."""
    from sft_helpers.preflight import preflight
    from sft_helpers.preflight.run_file import report_on

    if "lines" in setup:
        with tempfile.TemporaryDirectory() as folder:
            found = report_on(preflight_cases.write_config(Path(folder), **setup))
    else:
        found = preflight(**setup)
    said = [[one.code, one.severity, one.count] for one in found.findings]
    return sorted(said), dict(found.facts)


def plan_for(machine: str | None, patch: pytest.MonkeyPatch) -> None:
    """Have preflight plan for a machine: "t4", "rtx4090", "a100"; None, for a plain CPU of 8 GB."""
    from sft_helpers.hardware import Hardware

    here = Hardware("cpu", "a processor", cores=2, memory_gib=8.0, bf16_ratio=1.0)
    patch.setattr("sft_helpers.machine.detect_hardware", lambda: here)
    if machine:
        patch.setenv("SFT_PROFILE", machine)
    else:
        patch.delenv("SFT_PROFILE", raising=False)


def rate_limits(method: str, parameters: float) -> list[float]:
    """Learning rates of AdamW below and above which a warning comes."""
    from sft_helpers.preflight import rates

    low, _, high = rates.limits(method, parameters)
    return [low, high]


def known_codes() -> set[str]:
    """Every code that preflight has."""
    from sft_helpers.preflight import CODES

    return set(CODES)


# -------------------------------------------------------------------------------------------------


@functools.cache
def looked_at(name: str) -> tuple[list[list[Any]], dict[str, Any]]:
    """Findings and facts of a set-up."""
    setup = SETUPS[name]()
    with pytest.MonkeyPatch.context() as patch:
        plan_for(setup.pop("machine", None), patch)
        findings, facts = report(setup)
    return [one for one in findings if one[0] not in UNSTEADY.get(name, ())], facts


def limits() -> dict[str, list[float]]:
    """The limits of learning rates, to three figures."""
    return {
        f"limits/{method}/{size:.2g}": [float(f"{one:.3g}") for one in rate_limits(method, size)]
        for method in ("full", "lora")
        for size in SIZES
    }


@functools.cache
def golden() -> dict[str, Any]:
    """What was."""
    return read("preflight.json") if (HERE / "preflight.json").exists() else {}


def quick() -> set[str]:
    """Set-ups that have many faults at once, one for each other code, and some sound ones."""
    found = {name for name in SETUPS if name.startswith("more/many faults")}
    found |= {"more/a wide model on a T4", "sound/the usual", "sound/LoRA, packed"}
    found |= {"sound/a config file", "sound/full, multi-turn", "sound/qwen3"}
    seen = {code for name in found for code, *_ in golden().get(name, ())}
    for name in preflight_cases.CASES:
        code = name.partition("/")[0]
        if code not in seen and code not in SLOW:
            found.add(f"{name}/bad")
            seen.add(code)
    return found


def marked() -> list[Any]:
    """The names of the set-ups, all but the quick ones marked thorough."""
    fast = quick()
    return [
        pytest.param(name, marks=() if name in fast else pytest.mark.thorough) for name in SETUPS
    ]


@pytest.mark.parametrize("name", marked())
def test_the_same_is_found(name: str) -> None:
    findings, facts = looked_at(name)
    assert findings == golden()[name]
    if name.startswith("sound/"):
        assert {k: facts.get(k) for k in FACTS} == pytest.approx(golden()[f"facts/{name}"])


def test_limits_of_learning_rates_are_the_same() -> None:
    """To one per cent."""
    found = limits()
    assert found == {name: pytest.approx(golden()[name], rel=0.01) for name in found}


def test_a_pair_differs_by_its_code() -> None:
    """The broken set-up has the code, its twin does not; sound ones have nothing but notes."""
    for name in preflight_cases.CASES:
        code = name.partition("/")[0]
        assert code in {one for one, *_ in golden()[f"{name}/bad"]}, name
        assert code not in {one for one, *_ in golden()[f"{name}/good"]}, name
    for name in preflight_cases.SOUND:
        assert {severity for _, severity, _ in golden()[f"sound/{name}"]} <= {"note"}, name


def test_every_code_has_a_case() -> None:
    assert {name.partition("/")[0] for name in preflight_cases.CASES} == known_codes()


def test_every_set_up_has_its_entry() -> None:
    names = set(SETUPS) | {f"facts/sound/{name}" for name in preflight_cases.SOUND}
    assert set(golden()) == names | set(limits())


if __name__ == "__main__":
    made: dict[str, Any] = dict(limits())
    for each in SETUPS:
        made[each], numbers = looked_at(each)
        if each.startswith("sound/"):
            made[f"facts/{each}"] = {k: numbers.get(k) for k in FACTS}
        print(each, made[each], flush=True)
    write("preflight.json", made)
