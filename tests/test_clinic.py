"""The clinic: set-ups as plain data, trained charts, and cases that preflight tells from sound."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from sft_helpers.clinic import Setup
from sft_helpers.clinic.cases import (
    LORA,
    TWO_ROLES,
    cases,
    end_outside,
    rendered,
    sharegpt,
    sound,
    thinks_when_served,
    with_start,
)
from sft_helpers.clinic.ledger import Ledger
from sft_helpers.clinic.runs import Chart, chart, train
from sft_helpers.display.clinic import chart_html, findings_html, healing_html
from sft_helpers.errors import SFTHelpersError
from sft_helpers.models import load
from sft_helpers.training import runs
from sft_helpers.training.signs import Sign
from sft_helpers.training.watch import History

NOTEBOOK = Path(__file__).parents[1] / "notebooks" / "10_pitfall_clinic.ipynb"
TALK = [
    {"role": "user", "content": "Where does Ada Elmer live?"},
    {"role": "assistant", "content": "Ada Elmer lives in Saltmarsh."},
]
ROWS = [{"messages": TALK}] * 4


@pytest.fixture(scope="module")
def tokenizer():
    return load("tiny")[1]


# --- set-ups -------------------------------------------------------------------------------------


def test_mend_tells_its_own_attributes_from_those_of_sft_config():
    ill = Setup(ROWS, {"learning_rate": 1.0, "max_steps": 3})
    well = ill.mend(dtype="bfloat16", learning_rate=2.0)
    assert (well.dtype, dict(well.sft)) == ("bfloat16", {"learning_rate": 2.0, "max_steps": 3})
    assert (ill.dtype, ill.sft["learning_rate"]) == ("float32", 1.0)


def test_parts_are_what_preflight_and_the_trainer_take():
    setup = Setup(ROWS, {"max_steps": 3}, template=end_outside(), eval_rows=ROWS[:2])
    parts = setup.parts()
    assert (len(parts["dataset"]), len(parts["eval_dataset"])) == (4, 2)
    assert parts["tokenizer"].chat_template == end_outside()
    assert parts["args"].max_steps == 3
    assert parts["args"].assistant_only_loss
    assert parts["peft_config"] is None
    assert Setup(ROWS, lora=LORA).parts()["peft_config"].r == 16


@pytest.mark.parametrize(("told", "trains"), [({}, False), ({"is_trainable": True}, True)])
def test_a_reloaded_adapter_trains_only_if_told(told, trains):
    parts = Setup(ROWS, lora=LORA, reloaded=told).parts()
    assert parts["peft_config"] is None
    assert any(weight.requires_grad for weight in parts["model"].parameters()) is trains


def test_the_start_token_is_written_once_by_the_tokenizer_and_again_by_rendered_rows():
    setup = Setup(ROWS, start_token="<|endoftext|>", template=with_start())
    tokenizer = setup.parts()["tokenizer"]
    start = tokenizer.bos_token_id
    assert tokenizer("Ada").input_ids.count(start) == 1
    assert tokenizer(rendered(ROWS, "<|endoftext|>")[0]["prompt"]).input_ids[:2] == [start, start]
    ids = tokenizer.apply_chat_template(TALK, return_dict=True)["input_ids"]
    assert ids.count(start) == 1


def test_the_listing_is_what_a_learner_would_write():
    setup = Setup(ROWS, {"learning_rate": 0.001}, lora=LORA, template=TWO_ROLES, dtype="bfloat16")
    code = setup.code()
    compile(code, "listing", "exec")
    for line in ("load(\"tiny\", dtype='bfloat16')", "learning_rate=0.001", "peft_config=adapter"):
        assert line in code
    assert "Be brief." in code
    assert "disable_tqdm" not in code
    again = setup.mend(reloaded={"is_trainable": True}, eval_rows=ROWS, logging_steps=1).code()
    assert 'from_pretrained(model, "adapter-of-yesterday", is_trainable=True)' in again
    assert "peft_config" not in again
    assert "eval_dataset=eval_rows,  # 4 rows" in again
    assert "logging_steps=1" in again


def test_long_lists_of_tokens_are_cut_in_the_listing():
    code = Setup([{"input_ids": list(range(300))}]).code()
    assert "... 300 in all" in code
    assert len(code) < 800


# --- templates and rows --------------------------------------------------------------------------


def render(tokenizer, template, messages, **more):
    return tokenizer.apply_chat_template(messages, tokenize=False, chat_template=template, **more)


def test_broken_templates_print_the_same_training_text(tokenizer):
    own = render(tokenizer, None, TALK)
    assert render(tokenizer, end_outside(), TALK) == own
    assert render(tokenizer, thinks_when_served(), TALK) == own
    served = render(tokenizer, thinks_when_served(), TALK[:1], add_generation_prompt=True)
    assert not own.startswith(served)
    assert own.startswith(served.split("<think>")[0])


def test_foreign_roles_vanish(tokenizer):
    (row,) = sharegpt(ROWS[:1])
    foreign = [{"role": turn["from"], "content": turn["value"]} for turn in row["conversations"]]
    assert [turn["role"] for turn in foreign] == ["human", "gpt"]
    assert "Ada" not in render(tokenizer, TWO_ROLES, foreign)
    assert "lives in Saltmarsh" in render(tokenizer, TWO_ROLES, TALK)


# --- cases ---------------------------------------------------------------------------------------


def test_cases_are_complete():
    names = [case.name for case in cases()]
    assert len(set(names)) == len(names) >= 12
    for case in cases():
        assert case.sick != case.mended
        assert case.found_by in ("preflight", "monitor")
        assert (None, None) not in (case.sick_bounds, case.healed_bounds)
        low, high = case.healed_bounds
        assert low is not None or high is not None


def test_most_cases_are_mended_in_one_thing():
    """What differs between sick and mended: one argument, or the rows and what goes with them."""
    sizes = []
    for case in cases():
        sick, well = case.sick, case.mended
        keys = {name for name in {**sick.arguments, **well.arguments}
                if sick.arguments.get(name) != well.arguments.get(name)}  # fmt: skip
        keys |= {name for name in ("rows", "lora", "reloaded", "dtype", "template", "start_token")
                 if getattr(sick, name) != getattr(well, name)}  # fmt: skip
        sizes.append(len(keys))
    assert sum(size == 1 for size in sizes) >= 10
    assert max(sizes) <= 4


def test_the_notebook_has_every_case():
    source = "".join(
        "".join(cell["source"]) + "\n" for cell in json.loads(NOTEBOOK.read_text("utf-8"))["cells"]
    )
    for case in cases():
        assert f'"{case.name}"' in source


@pytest.mark.slow
def test_preflight_finds_nothing_of_the_case_once_it_is_mended():
    from sft_helpers.preflight import preflight

    reports = {}
    for case in cases():
        key = case.mended.code()
        if key not in reports:
            reports[key] = preflight(**case.mended.parts())
        assert case.code not in reports[key].codes, case.name
        assert not reports[key].has_errors, (case.name, reports[key].codes)


# --- runs ----------------------------------------------------------------------------------------


def test_a_run_is_measured():
    short = sound().mend(max_steps=4, logging_steps=1, eval_rows=sound().rows[:8])
    found = train(short)
    assert found.history.step == found.measures["steps"] == 4
    assert len(found.history.loss) == 4
    assert found.measures["moved"] > 0.99
    assert found.measures["evaluations"] == found.measures["double_starts"] == 0
    assert 0.25 < found.measures["supervised"] < 0.35
    assert found.measures["flattery"] == pytest.approx(
        found.measures["claimed"] - found.measures["exact_match"]
    )
    assert len(found.samples) == 100
    text = "".join(found.tokens)
    assert text.startswith("<|im_start|>user")
    assert "".join(t for t, kept in zip(found.tokens, found.trained, strict=True) if kept).endswith(
        ".<|im_end|>"
    )


def test_a_frozen_run_moves_nothing():
    frozen = Setup(
        sound().rows[:32],
        {"max_steps": 2, "activation_checkpointing": True},
        lora=LORA,
        reloaded={},
    )
    found = train(frozen)
    assert found.measures["moved"] == 0
    assert max(found.history.grad_norm, default=0) == 0


def test_a_set_up_is_run_once_and_a_refusal_is_told(monkeypatch):
    """A thread stands in for the worker processes; what they do is `train`, tested above."""
    with ThreadPoolExecutor(1) as pool:
        monkeypatch.setattr(runs, "_pool", pool)
        quick = Setup(sound().rows[:16], {"max_steps": 1})
        assert chart(quick) is chart(quick.mend(assistant_only_loss=True))
        with pytest.raises(SFTHelpersError, match="no_such_argument"):
            chart(Setup(ROWS, {"no_such_argument": 1}))


# --- what is shown -------------------------------------------------------------------------------


def made_up(answer: str, good: bool) -> Chart:
    history = History()
    history.steps, history.loss, history.total_steps = [5, 10], [3.0, 0.5], 10
    sample = {"question": "Who <b>?", "expected": "Ada", "after": answer, "after_ok": good}
    numbers = {"steps": 10.0, "exact_match": float(good), "stop_rate": 1.0}
    return Chart(history, (), (sample | {"stopped": good},), numbers, ("Who", "?"), (False, True))


def test_a_chart_shows_configuration_curve_row_and_answers():
    shown = chart_html(Setup(ROWS, {"learning_rate": 0.5}), made_up("<i>Bo", False), "ill & so")
    for part in ("ill &amp; so", "learning_rate=0.5", "<svg", "<details>", "&lt;i&gt;Bo"):
        assert part in shown
    assert "cut off at 20 tokens" in shown
    assert "<i>" not in shown


def test_a_run_without_losses_says_so():
    silent = made_up("Bo", True)
    silent.history.loss.clear()
    assert "No loss was logged" in chart_html(Setup(ROWS), silent, "silent")


def test_findings_and_signs_stand_apart():
    finding = SimpleNamespace(severity="error", code="mask.x", message="<m>", fix="f")
    signs = (Sign("loss.falls", "ok", "fine"), Sign("loss.flat", "watch", "flat"))
    ill = replace(made_up("Bo", False), signs=signs, warnings=("beware of <x>",))
    shown = findings_html([finding], ill)
    assert "mask.x" in shown
    assert "&lt;m&gt;" in shown
    assert "loss.flat" in shown
    assert "loss.falls" not in shown
    assert "TRL warned: beware of &lt;x&gt;" in shown
    assert findings_html([], made_up("Ada", True)).count("has nothing to say") == 2


def test_healing_names_the_measure_and_both_runs():
    case = replace(cases()[2], shows="exact match")
    shown = healing_html(case, made_up("Bo", False), made_up("Ada", True))
    assert "exact match: 0 → 1" in shown
    assert shown.count("<svg") == 2
    assert "✗ sick" in shown
    assert "✓ sound" in shown


def test_a_patient_is_discharged_only_if_ill_found_and_healed():
    case = next(case for case in cases() if case.found_by == "preflight")
    low, high = case.sick_bounds
    ill = low if low is not None else high
    low, high = case.healed_bounds
    well = low if low is not None else high
    sick, healed = (SimpleNamespace(measures={case.measure: x}, signs=()) for x in (ill, well))
    found, nothing = SimpleNamespace(codes={case.code}), SimpleNamespace(codes=set())
    ledger = Ledger()
    for report, before, after in ((nothing, sick, healed), (found, healed, healed),
                                  (found, sick, sick)):  # fmt: skip
        with pytest.raises(AssertionError):
            ledger.discharge(case, report, before, after)
    assert ledger.entries == []
    ledger.discharge(case, found, sick, healed)
    [entry] = ledger.entries
    assert (entry["sick"], entry["mended"], entry["code"]) == (ill, well, case.code)
    assert entry["caught"]
    assert entry["healed"]
