"""`data/formats`: the same 200 conversations in every format, and the oddities of real files.

`write_format_files(folder)` writes all of it anew; everything but Parquet comes out byte for byte
the same on every machine.
"""

from __future__ import annotations

import codecs
import json
from pathlib import Path
from typing import Any

from data.make import town
from data.make.oddities import ODD_ROWS
from sft_helpers.formats.conversion import export
from sft_helpers.formats.files import WRITERS
from sft_helpers.formats.kinds import FORMATS

CONVERSATIONS = 200


def conversations(seed: int = town.SEED) -> list[dict[str, Any]]:
    """The 200 conversations: one question and its answer each, about training residents only."""
    rows = town.single_turn("train", town.TRAINED_WORDINGS, seed)[:CONVERSATIONS]
    return [{"messages": row["messages"]} for row in rows]


def odd_files() -> dict[str, tuple[bytes, str]]:
    """File name → (bytes, note) for oddities that concern a whole file."""
    rows = conversations()[:3]
    pairs = export(rows, "question_answer").rows
    lines = [json.dumps(row, ensure_ascii=False) for row in rows]
    answers = [["Which room is hers?", answer] for answer in ("007", "NA", "null", "1e3")]
    cells = "".join(f"{question},{answer}\n" for question, answer in answers)
    cafe = json.dumps(_chat("Where is the café?", "In Northgate."), ensure_ascii=False)
    table = "question,answer\n" + "".join(f"{p['question']},{p['answer']}\n" for p in pairs)
    files = {
        "byte_order_mark.jsonl": (
            codecs.BOM_UTF8 + "\r\n".join(lines).encode() + b"\r\n",
            "a byte-order mark and Windows line ends, as Notepad saves them: read, with a note",
        ),
        "utf16.csv": (
            codecs.BOM_UTF16_LE + table.encode("utf-16-le"),
            "UTF-16, as spreadsheets export Unicode text: read, with a note",
        ),
        "semicolons.csv": (
            table.replace(",", ";").encode(),
            "semicolons between columns, as European spreadsheets write: read, with a note",
        ),
        "not_missing.csv": (
            f"question,answer\n{cells}".encode(),
            'the answers are the texts 007, NA, null and 1e3; load_dataset("csv") makes numbers'
            " or nulls of such columns",
        ),
        "blank_lines.jsonl": (
            f"{lines[0]}\n\n{lines[1]}\n   \n{lines[2]}\n\n".encode(),
            "blank lines between rows: passed over and counted in a note",
        ),
        "cut_off.jsonl": (
            "\n".join(lines).encode()[:-30],
            "the download broke off: two rows are read, the third is reported",
        ),
        "latin1.jsonl": (
            f"{lines[0]}\n{cafe}\n".encode("latin-1"),
            "saved as Latin-1: the line with é is not UTF-8 and is reported, the other is read",
        ),
        "array.jsonl": (
            f"[\n{lines[0]},\n{lines[1]}\n]\n".encode(),
            "a JSON array that calls itself JSON lines: read as an array, with a note",
        ),
        "wrapped.json": (
            json.dumps({"data": rows}, ensure_ascii=False, indent=1).encode() + b"\n",
            "the rows stand under a name inside one object: read, with a note",
        ),
    }
    return files


def _chat(question: str, answer: str) -> dict[str, Any]:
    turns = [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]
    return {"messages": turns}


def write_format_files(out: Path, seed: int = town.SEED) -> list[Path]:
    """Write `data/formats` below `out` and return the files.

    Every format of FORMATS in JSONL, JSON, CSV and Parquet; `odd/rows.jsonl` with one oddity a
    line and `odd/notes.jsonl` with a note on each line and each odd file; a README.
    """
    odd = out / "odd"
    odd.mkdir(parents=True, exist_ok=True)
    written = []
    rows = conversations(seed)
    for name in FORMATS:
        exported = export(rows, name).rows
        for suffix, write in WRITERS.items():
            write(out / f"{name}{suffix}", exported)
            written.append(out / f"{name}{suffix}")
    for name, (content, _) in odd_files().items():
        (odd / name).write_bytes(content)
        written.append(odd / name)
    notes = [
        {"file": "rows.jsonl", "line": number, "note": row.note, "outcome": row.outcome}
        for number, row in enumerate(ODD_ROWS, start=1)
    ] + [{"file": name, "note": note} for name, (_, note) in odd_files().items()]
    lines = "".join(f"{json.dumps(row.row)}\n" for row in ODD_ROWS)  # ASCII: one is half a pair
    texts = {
        odd / "rows.jsonl": lines,
        odd / "notes.jsonl": "".join(f"{json.dumps(n, ensure_ascii=False)}\n" for n in notes),
        out / "README.md": _readme(),
    }
    for path, text in texts.items():
        path.write_text(text, encoding="utf-8", newline="\n")
    return [*written, *texts]


def _readme() -> str:
    formats = "\n".join(f"| `{one.name}` | {one.title} | {one.sign} |" for one in FORMATS.values())
    rows = "\n".join(
        f"| {number} | {row.note} | {row.outcome} |" for number, row in enumerate(ODD_ROWS, 1)
    )
    files = "\n".join(f"| `{name}` | {note} |" for name, (_, note) in odd_files().items())
    return f"""# Data card: one data set in every format

Made by `make town` from Lantern Bay's seed; Apache-2.0, like the code. The same
{CONVERSATIONS} conversations, one question and its answer each, about training residents only,
in each format and each container (`.jsonl`, `.json`, `.csv`, `.parquet`). In CSV, a list of
messages is one cell of JSON.

| file | format | sign |
|---|---|---|
{formats}

## `odd/`: what real files are like

`odd/rows.jsonl` holds one oddity a line. The outcome is what `convert` and then `validate` say:
"converted", or the code of the finding. `odd/notes.jsonl` is this table for programs; the tests
check it.

| line | what is odd | outcome |
|---|---|---|
{rows}

| file | what is odd |
|---|---|
{files}
"""
