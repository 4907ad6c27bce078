"""Conversion: what is read from each file, what becomes of every row, and the words of refusals.

Entries of formats.json: FILE/found → the kind that is detected, how many rows agree, and counts
by kind; FILE/report → the report of `convert`; FILE/rows → hash of the converted rows; FILE as
KIND/… → the same when the rows are converted to another kind; FILE as KIND and back → whether the
messages are the same again; odd/… the same for every file and line of `data/formats/odd`, with the
findings about the converted row; foreign/… for rows written here.
"""

from __future__ import annotations

import functools
import json
from pathlib import Path
from typing import Any

import pytest

from tests.golden.compare import digest, plain, read, write

ROOT = Path(__file__).resolve().parents[2]
DATA = ROOT / "data"
KINDS = ("messages", "openai", "ultrachat", "sharegpt", "alpaca", "chatml", "prompt_completion",
         "prompt_completion_messages", "question_answer")  # fmt: skip


# --- the adapter: point these at the package as it is now ----------------------------------------


def detected(source: Any) -> dict[str, Any]:
    """What kind of data a file or a list of rows is: kind, share of rows, counts, and why."""
    from sft_helpers.formats import detect

    found = detect(source)
    return {"kind": found.format, "share": round(found.confidence, 4), "counts": found.counts,
            "why": found.why}  # fmt: skip


def converted(
    source: Any, to: str = "messages", *, kind: str | None = None, keep: tuple[str, ...] = ()
) -> tuple[list[Any], dict[str, Any]]:
    """Rows of a file, or rows, converted to a kind; and the report as `convert --json` has it."""
    from sft_helpers.formats import convert, load_rows

    rows = load_rows(source, progress=False) if isinstance(source, Path) else source
    done = convert(rows, to, source=kind, keep=keep)
    return done.rows, done.report.to_dict()


def findings(rows: list[Any]) -> list[list[Any]]:
    """[code, severity, rows, words] for each thing that is wrong with rows of messages."""
    from sft_helpers.formats import validate

    return [
        [one.code, one.severity, [str(row) for row in one.rows], one.message]
        for one in validate(rows).findings
    ]


def refusal(source: Path, to: str = "messages") -> list[str]:
    """[kind of error, words] with which a file is refused as a whole."""
    from sft_helpers.errors import SFTHelpersError

    with pytest.raises(SFTHelpersError) as caught:
        converted(source, to)
    words = str(caught.value).replace(str(source.parent), "FOLDER")
    return [type(caught.value).__name__, words]


# -------------------------------------------------------------------------------------------------

TURN = {"role": "user", "content": "Where?"}
SAY = {"role": "assistant", "content": "There."}
CALL = {"type": "function", "function": {"name": "look", "arguments": {"who": "Ada"}}}
# Rows that are met in the wild, one a case, beside those of `data/formats/odd`.
FOREIGN: dict[str, Any] = {
    "no object": 7,
    "no columns": {},
    "null": None,
    "plain text": {"text": "Once upon a time."},
    "tokens": {"input_ids": [1, 2, 3]},
    "unknown columns": {"frage": "Wo?", "antwort": "Dort."},
    "no turns": {"messages": []},
    "no conversations": {"conversations": []},
    "turns that are text": {"messages": ["Where?", "There."]},
    "a turn without a role": {"messages": [{"content": "Where?"}, SAY]},
    "a turn without content": {"messages": [{"role": "user"}, SAY]},
    "content is an object": {"messages": [{"role": "user", "content": {"a": 1}}, SAY]},
    "content is an image": {"messages": [
        {"role": "user", "content": [{"type": "image_url", "image_url": {"url": "x.png"}}]}, SAY]},
    "developer": {"messages": [{"role": "developer", "content": "Be brief."}, TURN, SAY]},
    "human and bot": {"messages": [{"role": "human", "content": "Where?"},
                                   {"role": "bot", "content": "There."}]},
    "model": {"messages": [TURN, {"role": "model", "content": "There."}]},
    "function role": {"messages": [TURN, {"role": "assistant", "content": None,
        "function_call": {"name": "look", "arguments": '{"who": "Ada"}'}},
        {"role": "function", "name": "look", "content": "There."}, SAY]},
    "tool call": {"messages": [TURN, {"role": "assistant", "content": None, "tool_calls": [CALL]},
                               {"role": "tool", "name": "look", "content": "There."}, SAY],
                  "tools": [{"type": "function", "function": {"name": "look"}}]},
    "tools are JSON": {"messages": [TURN, SAY], "tools": '[{"type": "function"}]'},
    "tools are no JSON": {"messages": [TURN, SAY], "tools": "[{"},
    "tool call without a name": {"messages": [TURN, {"role": "assistant", "content": "",
        "tool_calls": [{"type": "function", "function": {"arguments": {}}}]}, SAY]},
    "thoughts": {"messages": [TURN, {**SAY, "reasoning_content": "Hm.", "thinking": "Hm!"}]},
    "names and weights": {"messages": [{**TURN, "name": "Ada"}, {**SAY, "weight": 1}]},
    "train false": {"messages": [TURN, {**SAY, "train": False}]},
    "template arguments": {"messages": [TURN, SAY],
                           "chat_template_kwargs": {"enable_thinking": False}},
    "messages as JSON": {"messages": json.dumps([TURN, SAY])},
    "messages as broken JSON": {"messages": '[{"role": "user", "con'},
    "messages as Python": {"messages": str([TURN, SAY])},
    "sharegpt system": {"system": "Be brief.", "conversations": [
        {"from": "human", "value": "Where?"}, {"from": "gpt", "value": "There."}]},
    "sharegpt two systems": {"system": "Be brief.", "conversations": [
        {"from": "system", "value": "Be long."}, {"from": "human", "value": "Where?"},
        {"from": "gpt", "value": "There."}]},
    "sharegpt in role and content": {"conversations": [TURN, SAY]},
    "sharegpt chatgpt": {"conversations": [{"from": "user", "value": "Where?"},
                                           {"from": "chatgpt", "value": "There."}]},
    "sharegpt bad call": {"conversations": [{"from": "human", "value": "Where?"},
        {"from": "function_call", "value": "look(Ada)"}, {"from": "gpt", "value": "There."}]},
    "sharegpt conversation": {"conversation": [{"from": "human", "value": "Where?"},
                                               {"from": "gpt", "value": "There."}]},
    "sharegpt in messages": {"messages": [{"from": "human", "value": "Where?"},
                                          {"from": "gpt", "value": "There."}]},
    "alpaca with history": {"instruction": "And now?", "input": "", "output": "There.",
                            "history": [["Where?", "Here."]], "system": "Be brief."},
    "alpaca with bad history": {"instruction": "And now?", "output": "There.", "history": ["x"]},
    "alpaca response": {"instruction": "Where?", "context": "Ada", "response": "There."},
    "alpaca empty": {"instruction": "", "input": "", "output": "There."},
    "alpaca without instruction": {"instruction": None, "input": "Ada", "output": "There."},
    "pair with response": {"prompt": "Where?", "response": "There."},
    "pair with system": {"system": "Be brief.", "prompt": "Where?", "completion": "There."},
    "pair of numbers": {"prompt": 1, "completion": 2},
    "pair without completion": {"prompt": "Where?", "completion": None},
    "pair of turns and text": {"prompt": [TURN], "completion": "There."},
    "pair of turns without turns": {"prompt": [], "completion": [SAY]},
    "ultrachat, another prompt": {"prompt": "Who?", "messages": [TURN, SAY], "prompt_id": "x"},
    "query and response": {"query": "Where?", "response": "There.", "source": "web"},
    "question without answer": {"question": "Where?", "answer": None},
    "question, long answer": {"question": "Where?", "answers": ["There.", "Here."]},
    "preference": {"prompt": "Where?", "chosen": "There.", "rejected": "Here."},
    "chatml": {"text": "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\nWhere?<|im_end|>"
                       "\n<|im_start|>assistant\nThere.<|im_end|>\n"},
    "chatml without roles": {"text": "<|im_start|>Where?<|im_end|>"},
    "chatml, text before": {"text": "Hm. <|im_start|>user\nWhere?<|im_end|>\n"
                                    "<|im_start|>assistant\nThere.<|im_end|>\n"},
    "system not first": {"messages": [TURN, {"role": "system", "content": "Be brief."}, SAY]},
    "two questions": {"messages": [TURN, TURN, SAY]},
    "half a pair": {"messages": [{"role": "user", "content": "\ud83d"}, SAY]},
    "several columns": {"messages": [TURN, SAY], "id": 1, "source": "web", "empty": None},
}  # fmt: skip
CHATS: dict[str, list[dict[str, Any]]] = {
    "one question": [TURN, SAY],
    "system": [{"role": "system", "content": "Be brief."}, TURN, SAY],
    "two questions": [TURN, SAY, {"role": "user", "content": "Why?"},
                      {"role": "assistant", "content": "So."}],
    "tool call": [TURN, {"role": "assistant", "content": "", "tool_calls": [CALL]},
                  {"role": "tool", "name": "look", "content": "There."}, SAY],
    "thought": [TURN, {**SAY, "reasoning_content": "Hm."}],
    "markers in text": [{"role": "user", "content": "<|im_start|>user"}, SAY],
    "ends with a question": [TURN, SAY, TURN],
    "begins with the assistant": [SAY, TURN, SAY],
}  # fmt: skip


def files() -> list[Path]:
    """Every file of `data/` that convert reads, those of `odd` aside."""
    found = [*(DATA / "formats").glob("*.*"), *(DATA / "own").glob("*"),
             *(DATA / "smollm2").glob("*.jsonl"), *(DATA / "town").glob("*.jsonl"),
             *(DATA / "dirty").glob("*.jsonl")]  # fmt: skip
    return sorted(path for path in found if path.suffix != ".md")


def of_file(path: Path) -> dict[str, Any]:
    """The entries of a file."""
    name = path.relative_to(DATA).as_posix()
    rows, report = converted(path)
    report["rejected"] = [list(bad.values()) for bad in report["rejected"]]
    if len(report["rejected"]) > 40:
        report["rejected"] = [len(report["rejected"]), digest(report["rejected"])]
    return {f"{name}/found": detected(path), f"{name}/report": report,
            f"{name}/rows": digest(rows)}  # fmt: skip


def there_and_back(kind: str) -> dict[str, Any]:
    """The 200 conversations, and those of CHATS, written as a kind, and read again."""
    found = {}
    chats = [{"messages": turns} for turns in CHATS.values()]
    for name, rows in (("formats", json_lines(DATA / "formats" / "messages.jsonl")),
                       ("chats", chats)):  # fmt: skip
        made, report = converted(rows, kind, kind="messages")
        again, back = converted(made, kind=kind)
        found |= {
            f"{name} as {kind}/report": report,
            f"{name} as {kind}/rows": made if name == "chats" else digest(made),
            f"{name} as {kind} and back": [back, sum(row in rows for row in again)],
        }
    return found


def json_lines(path: Path) -> list[Any]:
    """Rows of a file."""
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def other_targets() -> dict[str, Any]:
    """Each kind's own file as three other kinds, with a column kept, and read as what it is not."""
    found: dict[str, Any] = {}
    for kind in KINDS:
        path = DATA / "formats" / f"{kind}.jsonl"
        for to in KINDS:
            rows, report = converted(path, to)
            found[f"{kind}.jsonl as {to}"] = [report["converted"], digest(rows)]
        rows, report = converted(json_lines(path)[:3], kind="alpaca")
        found[f"{kind}.jsonl read as alpaca"] = [rows, report]
    path = DATA / "own" / "dump.json"
    rows, report = converted(path, keep=("person",))
    found["own/dump.json, person kept"] = [report, digest(rows)]
    return found


def single(row: Any) -> dict[str, Any]:
    """What is said of one row."""
    rows, report = converted([row])
    return {"found": detected([row])["kind"], "rows": rows, "dropped": report["dropped"],
            "rejected": [[bad["code"], bad["reason"]] for bad in report["rejected"]],
            "findings": findings(rows) if rows else []}  # fmt: skip


def odd() -> dict[str, Any]:
    """The files of `odd`, and each line of its rows."""
    found: dict[str, Any] = {}
    for path in sorted((DATA / "formats" / "odd").iterdir()):
        rows, report = converted(path)
        found[f"odd/{path.name}"] = [detected(path), report, rows]
    for number, row in enumerate(json_lines(DATA / "formats" / "odd" / "rows.jsonl"), start=1):
        found[f"odd/rows.jsonl/line {number:02d}"] = single(row)
    return found


def foreign() -> dict[str, Any]:
    """What is said of each foreign row, alone and as one of three."""
    found = {f"foreign/{name}": single(row) for name, row in FOREIGN.items()}
    for name, row in FOREIGN.items():
        whole = [{"messages": [TURN, SAY]}, row, {"messages": [TURN, SAY]}]
        found[f"foreign/{name}, validated"] = findings(whole)
    return found


def refusals(folder: Path) -> dict[str, Any]:
    """What is said of files that cannot be read at all."""
    cases = {
        "empty.jsonl": b"", "blank.jsonl": b"\n\n", "empty.json": b"[]", "number.json": b"7",
        "cut.json": b'[{"messages": [', "notes.txt": b"x", "no.csv": b"",
        "header.csv": b"question,answer\n", "ragged.csv": b"question,answer\na,b,c\nd\ne,f\n",
        "quote.csv": b'question,answer\n"a,b\n', "nul.jsonl": b'{"a": "\\u0000"}\n\x00\n',
        "no.parquet": b"no", "numbers.jsonl": b"1\n2\n", "constants.jsonl": b'{"a": NaN}\n',
        "deep.jsonl": b"[" * 3000 + b"]" * 3000 + b"\n", "twice.jsonl": b'{"a": 1, "a": 2}\n',
    }  # fmt: skip
    found: dict[str, Any] = {}
    for name, content in cases.items():
        path = folder / name
        path.write_bytes(content)
        try:
            rows, report = converted(path)
        except Exception:
            found[f"refused/{name}"] = refusal(path)
        else:
            found[f"refused/{name}"] = [rows, report]
    found["refused/no such file"] = refusal(folder / "none.jsonl")
    (folder / "bare").mkdir()
    found["refused/empty folder"] = refusal(folder / "bare")
    found["refused/no such kind"] = refusal(DATA / "formats" / "alpaca.csv", "alpacca")
    found = json.loads(json.dumps(found).replace(str(folder), "FOLDER"))
    return json.loads(json.dumps(found).replace(str(DATA), "DATA"))


PARTS = {
    **{path.relative_to(DATA).as_posix(): functools.partial(of_file, path) for path in files()},
    **{f"as {kind}": functools.partial(there_and_back, kind) for kind in KINDS},
    "others": other_targets,
    "odd": odd,
    "foreign": foreign,
}


@functools.cache
def golden() -> dict[str, Any]:
    """What was."""
    return read("formats.json")


@pytest.mark.parametrize("part", PARTS)
def test_conversion_is_the_same(part: str) -> None:
    for name, value in PARTS[part]().items():
        assert plain(value) == golden()[name], name


def test_refusals_are_the_same(tmp_path: Path) -> None:
    for name, value in refusals(tmp_path).items():
        assert plain(value) == golden()[name], name


def everything(folder: Path) -> dict[str, Any]:
    """All entries."""
    return {k: v for part in PARTS.values() for k, v in part().items()} | refusals(folder)


def test_no_entry_is_left_out(tmp_path: Path) -> None:
    """A file that is gone, or a case, is seen."""
    named = {path.relative_to(DATA).as_posix() for path in files()}
    assert {n.rpartition("/")[0] for n in golden() if n.endswith("/found")} == named
    assert {n.removeprefix("foreign/") for n in golden() if n.startswith("foreign/")} >= set(
        FOREIGN
    )


if __name__ == "__main__":
    import tempfile

    with tempfile.TemporaryDirectory() as made:
        write("formats.json", everything(Path(made)))
