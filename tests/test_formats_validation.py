"""Validation looks at every row; and nothing that a row holds makes the package fail."""

from __future__ import annotations

import json
import random
import string
import time

import pytest

from sft_helpers.formats import FORMATS, Record, convert, detect, export, validate
from sft_helpers.formats.problems import MEANINGS

U, A = {"role": "user", "content": "Q?"}, {"role": "assistant", "content": "A."}
S = {"role": "system", "content": "Be brief."}
T = {"role": "tool", "content": "raven"}


def call(arguments=None, name="look_up"):
    function = {"name": name, "arguments": {} if arguments is None else arguments}
    return {"role": "assistant", "content": "", "tool_calls": [{"function": function}]}


def codes(row):
    return {finding.code for finding in validate([row]).findings}


@pytest.mark.parametrize(
    "row",
    [
        {"messages": [U, A]},
        {"messages": [S, U, A, U, A]},
        {"messages": [U, call(), T, A]},
        {"messages": [U, {**call(), "content": None}, T, A]},
        {"messages": [U, call(), T, call(), T, A], "tools": "[]"},
        {"messages": [U, call()]},
        {"prompt": "Q?\n", "completion": "A."},
        {"prompt": "Q?", "completion": " A."},
        {"prompt": [S, U], "completion": [A]},
        {"text": "<|im_start|>user\nQ?<|im_end|>\n"},
        {"conversations": [{"from": "user", "value": "Q?"}, {"from": "assistant", "value": "A."}]},
    ],
)
def test_sound_rows_have_no_findings(row):
    result = validate([row])
    assert result.findings == ()
    assert (result.total, result.sound, result.faulty, result.ok) == (1, 1, 0, True)


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        ({"instruction": "Q?", "output": "A."}, {"data.unsupported_format"}),
        ({"question": "Q?", "answer": "A."}, {"data.unsupported_format"}),
        ({"conversations": [U, A]}, {"data.unsupported_format"}),
        ({"messages": json.dumps([U, A])}, {"data.unsupported_format"}),
        ({"prompt": "Q?", "response": " A."}, {"data.unsupported_format"}),
        ({"conversations": [{"from": "human", "value": "Q?"}, {"from": "gpt", "value": "A."}]},
         {"data.unknown_role"}),
        ({"messages": [U, {"role": "assistant", "content": None}]}, {"data.missing_content"}),
        ({"messages": [U, {"role": "assistant", "content": 3}]}, {"data.content_not_text"}),
        ({"messages": [U, {"role": "assistant", "content": " \n"}]}, {"data.empty_turn"}),
        ({"messages": [U, {"role": "assistant", "content": "\ud800"}]}, {"data.invalid_unicode"}),
        ({"messages": [U, {"role": "assistant", "content": "x" * 100_001}]},
         {"data.very_long_content"}),
        ({"messages": [U]}, {"data.no_assistant_turn"}),
        ({"messages": []}, {"data.no_assistant_turn"}),
        ({"messages": [U, A, U]}, {"data.last_turn_not_assistant"}),
        ({"messages": [A, U, A]}, {"data.not_alternating"}),
        ({"messages": [U, U, A]}, {"data.not_alternating"}),
        ({"messages": [U, A, S, U, A]}, {"data.system_not_first"}),
        ({"messages": [U, call(), A]}, {"data.tool_call_unanswered", "data.not_alternating"}),
        ({"messages": [U, T, A]}, {"data.tool_result_without_call"}),
        ({"messages": [U, call("{}"), T, A]}, {"data.tool_arguments_string"}),
        ({"messages": [U, call([1]), T, A]}, {"data.tool_call_invalid"}),
        ({"messages": [U, call(name=None), T, A]}, {"data.tool_call_invalid"}),
        ({"messages": [U, A], "prompt": "Q?"}, {"data.conflicting_columns"}),
        ({"messages": [U, A], "system": "Be brief."}, {"data.ignored_column"}),
        ({"prompt": "Q?", "completion": "A."}, {"tokens.no_separator"}),
        ({"prompt": "Q?\n", "completion": ""}, {"data.empty_turn"}),
        (7, {"data.unsupported_format"}),
    ],
)  # fmt: skip
def test_each_problem_has_its_code(row, expected):
    assert codes(row) == expected


def test_counts_places_and_examples():
    rows = [Record(f"line {n}", {"messages": [U, A] if n % 10 else [U]}) for n in range(1, 101)]
    rows.append(Record("line 101", None, "this is not JSON"))
    rows.append(Record("line 102", {"prompt": "Q?\n", "completion": "A."}))
    result = validate(rows)
    assert (result.total, result.sound, result.faulty) == (102, 90, 12)
    found = {finding.code: finding for finding in result.findings}
    assert found["data.no_assistant_turn"].count == 10
    assert found["data.no_assistant_turn"].rows == (
        "line 10", "line 20", "line 30", "line 40", "line 50",
    )  # fmt: skip
    assert found["data.unreadable"].example == "line 101: this is not JSON"
    assert found["data.mixed_schema"].rows == ("line 102",)
    assert [row["rows"] for row in result.table()] == [10, 1, 1]
    assert json.loads(json.dumps(result.to_dict()))["total"] == 102
    assert "line 101" in str(result)


def test_no_rows():
    result = validate([])
    assert (result.total, result.findings, result.ok) == (0, (), True)


def test_every_code_has_a_fix():
    for code, meaning in MEANINGS.items():
        assert code.startswith(("data.", "tokens."))
        assert meaning.message
        assert meaning.fix


# --- fuzzing ---------------------------------------------------------------------------------

COLUMNS = (
    "messages", "conversations", "prompt", "completion", "instruction", "input", "output", "text",
    "question", "answer", "response", "system", "history", "tools", "chat_template_kwargs", "id",
    "chosen",
)  # fmt: skip
TURN_KEYS = (
    "role", "content", "from", "value", "tool_calls", "function_call", "name", "weight",
    "tool_call_id", "reasoning_content",
)  # fmt: skip
PIECES = (
    "user", "assistant", "human", "gpt", "tool", "system", "function_call", "<|im_start|>",
    "<|im_end|>", "<|im_start|>user\n", "\n", " ", "", "\x00", "\u200b\u202e", "\ud800",
    "\U0001f600", "[", "[{}]", "{", '{"name": "f", "arguments": {}}',
    '[{"role": "user", "content": "x"}]',
    "NaN", "<script>alert(1)</script>",
)  # fmt: skip


def deep(levels: int):
    value: object = "x"
    for level in range(levels):
        value = [value] if level % 2 else {"content": value}
    return value


class Fuzz:
    """Rows of many shapes, the same for a seed; most resemble a format, all are odd somewhere."""

    def __init__(self, seed: int) -> None:
        self.rng = random.Random(seed)
        self.megabyte = "".join(self.rng.choices(string.printable, k=1000)) * 1000
        self.deep = deep(3000)

    def text(self):
        return "".join(self.rng.choices(PIECES, k=self.rng.randint(0, 3)))

    def leaf(self):
        return self.rng.choice(
            [None, True, 0, -1, 10**40, 1.5, float("nan"), b"bytes", (), {1: 2}, {"a"}, self.text()]
        )

    def value(self, depth=0):
        pick = self.rng.random()
        if pick < 0.5:
            return self.text()
        if pick < 0.7 or depth > 2:
            return self.leaf()
        if pick < 0.85:
            return [self.value(depth + 1) for _ in range(self.rng.randint(0, 3))]
        return {self.rng.choice(TURN_KEYS): self.value(depth + 1) for _ in range(3)}

    def turn(self):
        if self.rng.random() < 0.1:
            return self.value()
        turn = {"role": self.rng.choice(PIECES[:7]), "content": self.text()}
        if self.rng.random() < 0.3:
            turn = {"from": turn["role"], "value": turn["content"]}
        if self.rng.random() < 0.3:
            turn[self.rng.choice(TURN_KEYS)] = self.value()
        if self.rng.random() < 0.2:
            turn["tool_calls"] = [{"function": {"name": self.text(), "arguments": self.value()}}]
        return turn

    def row(self):
        pick = self.rng.random()
        if pick < 0.02:
            return self.value()
        if pick < 0.03:
            return {self.rng.choice(COLUMNS): self.rng.choice([self.megabyte, self.deep])}
        if pick < 0.15:
            pairs = [("question", "answer"), ("instruction", "output"), ("prompt", "completion")]
            return {name: self.text() for name in self.rng.choice(pairs)}
        row = {}
        for name in self.rng.sample(COLUMNS, self.rng.randint(0, 4)):
            turns = name in ("messages", "conversations", "prompt", "completion")
            if turns and self.rng.random() < 0.6:
                row[name] = [self.turn() for _ in range(self.rng.randint(0, 4))]
            else:
                row[name] = self.value()
        if pick > 0.995:
            row[self.rng.choice([3, None, ("a",), "\ud800"])] = self.deep
        return row


def test_ten_thousand_rows_are_all_accounted_for():
    fuzz = Fuzz(7)
    rows = [fuzz.row() for _ in range(10_000)]
    start = time.perf_counter()

    done = convert(rows)
    assert done.report.total == 10_000
    assert done.report.converted == len(done.rows) == len(done.places)
    assert sum(done.report.formats.values()) == done.report.converted
    assert done.report.converted > 1_000
    codes = {bad.code for bad in done.report.rejected}
    assert len(codes) >= 8
    assert all(bad.reason.isprintable() for bad in done.report.rejected)
    str(done.report).encode()

    checked = validate(rows)
    assert checked.total == 10_000
    assert checked.sound + checked.faulty <= 10_000
    str(checked).encode()
    json.dumps(checked.to_dict())

    assert sum(detect(rows, sample=10_000).counts.values()) == 10_000
    for name in FORMATS:
        report = export(done.rows, name).report
        assert report.total == len(done.rows)
        forced = convert(rows, source=name).report
        assert forced.total == 10_000

    again = convert(done.rows)
    assert again.rows == done.rows
    assert time.perf_counter() - start < 60


def test_converted_rows_can_be_written_and_raise_no_structural_finding():
    fuzz = Fuzz(8)
    rows = convert(fuzz.row() for _ in range(2_000)).rows
    json.dumps(rows, ensure_ascii=False).encode()
    structural = {
        "data.unsupported_format", "data.unknown_role", "data.missing_content",
        "data.content_not_text", "data.invalid_unicode", "data.mixed_schema",
        "data.tool_arguments_string", "data.tool_call_invalid", "data.conflicting_columns",
    }  # fmt: skip
    assert {finding.code for finding in validate(rows).findings} & structural == set()
