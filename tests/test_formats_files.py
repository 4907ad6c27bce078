"""Loading and writing files: every container, every odd file, every line accounted for."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from data.make.formats import conversations, odd_files
from data.make.oddities import ODD_ROWS
from sft_helpers import cli
from sft_helpers.errors import DataError, EnvironmentProblem
from sft_helpers.formats import FORMATS, Record, convert, detect, hub_rows, load_rows
from sft_helpers.formats.files import WRITERS
from sft_helpers.town import read_rows

DATA = Path(__file__).parents[1] / "data" / "formats"
CHAT = [{"role": "user", "content": "Q?"}, {"role": "assistant", "content": "A."}]


def load(path):
    return load_rows(path, progress=False)


def write(path: Path, content: str | bytes) -> Path:
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


# --- data/formats ----------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", WRITERS)
@pytest.mark.parametrize("name", FORMATS)
def test_every_file_holds_the_same_conversations(name, suffix):
    path = DATA / f"{name}{suffix}"
    assert convert(load(path)).rows == conversations()
    assert detect(path).format in (name, "messages")  # without tools, openai is plain messages


def test_the_conversations_are_about_training_residents():
    held_out = [row["name"] for row in read_rows("residents.jsonl") if row["split"] != "train"]
    text = (DATA / "messages.jsonl").read_text(encoding="utf-8")
    assert len(conversations()) == 200
    assert not [name for name in held_out if name in text]


def test_notes_say_what_is_in_the_odd_files():
    notes = load(DATA / "odd" / "notes.jsonl").rows
    assert {note["file"] for note in notes} == {"rows.jsonl", *odd_files()}
    rows = load(DATA / "odd" / "rows.jsonl")
    assert rows.rows == [odd.row for odd in ODD_ROWS]
    assert [n["outcome"] for n in notes if n["file"] == "rows.jsonl"] == [
        odd.outcome for odd in ODD_ROWS
    ]


# name → rows read, problems (place, words), words of the note
ODD = {
    "byte_order_mark.jsonl": (3, [], "byte-order mark"),
    "utf16.csv": (3, [], "UTF-16"),
    "semicolons.csv": (3, [], "';'"),
    "not_missing.csv": (4, [], ""),
    "blank_lines.jsonl": (3, [], "3 blank lines"),
    "cut_off.jsonl": (2, [("line 3", "cut off")], ""),
    "latin1.jsonl": (1, [("line 2", "UTF-8")], ""),
    "array.jsonl": (2, [], "array"),
    "wrapped.json": (3, [], "'data'"),
}


@pytest.mark.parametrize("name", odd_files())
def test_odd_files(name):
    count, problems, note = ODD[name]
    loaded = load(DATA / "odd" / name)
    assert len(loaded) == count
    assert [record.place for record in loaded.unreadable] == [place for place, _ in problems]
    for record, (_, words) in zip(loaded.unreadable, problems, strict=True):
        assert words in str(record.problem)
    assert note in " ".join(loaded.notes)
    report = convert(loaded).report
    assert report.total == count + len(problems)
    assert report.notes == loaded.notes


def test_cells_stay_text():
    assert [row["answer"] for row in load(DATA / "odd" / "not_missing.csv")] == [
        "007", "NA", "null", "1e3",
    ]  # fmt: skip


# --- other things that files do --------------------------------------------------------------


def test_a_bad_line_stops_nothing_and_names_itself(tmp_path):
    path = write(tmp_path / "x.jsonl", '{"a": 1}\n{"a": \n\n{"a": 3}\n')
    loaded = load(path)
    assert [(record.place, record.value) for record in loaded.records] == [
        ("line 1", {"a": 1}), ("line 2", None), ("line 4", {"a": 3}),
    ]  # fmt: skip
    assert "not JSON" in str(loaded.unreadable[0].problem)


def test_line_separators_inside_text_do_not_split_a_line(tmp_path):
    row = {"messages": [{"role": "user", "content": "a\u2028b\u0085c"}]}
    path = write(tmp_path / "x.jsonl", json.dumps(row, ensure_ascii=False) + "\n")
    assert load(path).rows == [row]


@pytest.mark.parametrize(
    ("text", "rows", "words"),
    [
        ('[\n {"a": 1},\n {"a": 2}\n]\n', 2, None),
        ('[\n {"a": 1},\n {"a": 2}', 2, "cut off"),
        ('[\n {"a": 1},\n {"a": "th', 1, "cut off"),
        ('[{"a": 1} {"a": 2}]', 1, "comma"),
        ('[{"a": 1}, oops, {"a": 2}]', 1, "not JSON"),
        ('[{"a": 1}] more', 1, "after the end"),
        ("[]", 0, None),
        ('{"a": 1}', 1, None),
        ('{"a": 1}\n{"a": 2}\n', 2, None),
        ('{"messages": [{"role": "user", "content": "x"}]}', 1, None),
        ("", 0, "not JSON"),
        ("[" * 100_000, 0, "deeply"),
        ("[" + "9" * 5000 + "]", 0, "number"),
    ],
)
def test_json_files(tmp_path, text, rows, words):
    loaded = load(write(tmp_path / "x.json", text))
    assert len(loaded) == rows
    assert len(loaded.unreadable) == (words is not None)
    if words:
        assert words in str(loaded.unreadable[0].problem)


def test_items_of_an_array_have_their_lines(tmp_path):
    path = write(tmp_path / "x.json", '[\n{"a":\n1},\n\n{"a": 2}]')
    assert [record.place for record in load(path).records] == ["line 2", "line 5"]


def test_csv_rows_that_do_not_fit(tmp_path):
    text = 'question,answer\n"a, b","say ""x""\nnew line"\none\n1,2,3\nu,v\n"open,z\n'
    loaded = load(write(tmp_path / "x.csv", text))
    assert loaded.rows == [
        {"question": "a, b", "answer": 'say "x"\nnew line'}, {"question": "u", "answer": "v"},
    ]  # fmt: skip
    assert [record.place for record in loaded.unreadable] == ["line 4", "line 5", "line 7"]


def test_huge_cells_are_read(tmp_path):
    big = "x" * 2_000_000
    loaded = load(write(tmp_path / "x.csv", f"question,answer\n{big},{big}\n"))
    assert len(loaded[0]["answer"]) == 2_000_000


@pytest.mark.parametrize("head", ["", "a,a\n1,2\n", "a,\n1,2\n"])
def test_csv_without_a_header(tmp_path, head):
    with pytest.raises(DataError, match="must name the columns") as caught:
        load(write(tmp_path / "x.csv", head))
    assert "line 1" in str(caught.value)


def test_mixed_schemas_are_converted_row_by_row(tmp_path):
    rows = [{"messages": CHAT}, {"question": "Q?", "answer": "A."}, {"id": 1}]
    path = write(tmp_path / "x.jsonl", "".join(json.dumps(row) + "\n" for row in rows))
    report = convert(load(path)).report
    assert report.formats == {"messages": 1, "question_answer": 1}
    assert [bad.place for bad in report.rejected] == ["line 3"]


def test_arrow_nulls_are_taken_out_of_parquet(tmp_path):
    import datasets

    def row(arguments):
        call = {"type": "function", "function": {"name": "f", "arguments": arguments}}
        return {"messages": [CHAT[0], {"role": "assistant", "content": "", "tool_calls": [call]}]}

    rows = [row({"x": "1"}), row({"y": "2"}), {"messages": CHAT}]
    table = datasets.Dataset.from_list(rows)
    assert table[0]["messages"][1]["tool_calls"][0]["function"]["arguments"] == {
        "x": "1", "y": None,
    }  # fmt: skip
    table.to_parquet(str(tmp_path / "x.parquet"))
    assert convert(load(tmp_path / "x.parquet")).rows == rows


def test_damaged_parquet(tmp_path):
    with pytest.raises(DataError, match="Parquet file cannot be read"):
        load(write(tmp_path / "x.parquet", b"PAR1 nothing PAR1"))


def test_a_folder_is_read_file_by_file(tmp_path):
    write(tmp_path / "b.jsonl", '{"question": "Q?", "answer": "A."}\nbroken\n')
    write(tmp_path / "a.csv", "question,answer\nQ?,A.\n")
    write(tmp_path / "README.md", "not data")
    loaded = load(tmp_path)
    assert [record.place for record in loaded.records] == [
        "a.csv, line 2", "b.jsonl, line 1", "b.jsonl, line 2",
    ]  # fmt: skip
    assert len(convert(loaded).rows) == 2


def test_streaming_holds_one_row_at_a_time(tmp_path):
    path = write(tmp_path / "x.jsonl", '{"a": 1}\nbad\n{"a": 2}\n')
    stream = load_rows(path, streaming=True, progress=False)
    assert next(stream) == Record("line 1", {"a": 1})
    assert next(stream).problem
    assert next(stream).value == {"a": 2}
    assert next(stream, None) is None


@pytest.mark.parametrize(
    ("name", "words"),
    [("x.txt", ".jsonl"), ("nothing.jsonl", "no such file"), ("folder", "no data")],
)
def test_what_is_not_there_is_named(tmp_path, name, words):
    write(tmp_path / "x.txt", "hello")
    (tmp_path / "folder").mkdir()
    with pytest.raises(DataError) as caught:
        load(tmp_path / name)
    assert words in str(caught.value)


# --- the hub ---------------------------------------------------------------------------------


def test_offline_is_said_in_one_sentence():
    with pytest.raises(EnvironmentProblem, match="hub cannot be reached") as caught:
        load("HuggingFaceH4/ultrachat_200k")
    assert "data/formats" in str(caught.value)


@pytest.mark.parametrize(
    ("splits", "wanted", "first"),
    [
        (["train", "test"], None, "train"),
        (["test_sft"], None, "test_sft"),
        (["train_sft", "test_sft"], "test_sft", "test_sft"),
    ],
)
def test_hub_splits(monkeypatch, splits, wanted, first):
    hub = {name: [{"question": name, "answer": None}] for name in splits}
    monkeypatch.setattr(
        "datasets.load_dataset", lambda name, split, streaming: hub[split] if split else hub
    )
    assert load_rows("owner/name", split=wanted)[0] == {"question": first}


def test_hub_without_a_train_split(monkeypatch):
    hub = {"train_sft": [], "test_sft": []}
    monkeypatch.setattr("datasets.load_dataset", lambda name, split, streaming: hub)
    with pytest.raises(DataError, match="it has train_sft, test_sft") as caught:
        load_rows("HuggingFaceH4/ultrachat_200k")
    assert "split='train_sft'" in str(caught.value)


@pytest.mark.parametrize(
    ("name", "hub"),
    [("a/b", True), ("owner/some-data.set", True), ("a", False), ("a/b/c", False), ("../x", False)],
)
def test_hub_ids(name, hub):
    assert hub_rows.is_hub_id(name) is hub


# --- the command -----------------------------------------------------------------------------


@pytest.fixture
def run(capsys, monkeypatch):
    def run(*arguments):
        code = cli.main(["convert", *map(str, arguments)])
        out, err = capsys.readouterr()
        return code, out, err

    return run


@pytest.mark.parametrize("suffix", WRITERS)
def test_convert_writes_every_container(run, tmp_path, suffix):
    out = tmp_path / f"new/out{suffix}"
    code, said, _ = run(DATA / "sharegpt.jsonl", out)
    assert code == 0
    assert "200 rows: 200 converted to messages, 0 rejected" in said
    assert convert(load(out)).rows == conversations()
    assert [path.name for path in out.parent.iterdir()] == [out.name]


def test_convert_reports_rejected_rows_with_exit_code_1(run, tmp_path):
    code, said, _ = run(DATA / "odd" / "rows.jsonl", tmp_path / "out.jsonl", "--json")
    report = json.loads(said)
    assert code == 1
    assert report["total"] == len(ODD_ROWS) == report["converted"] + len(report["rejected"])
    assert report["rejected"][0] == {
        "place": "line 2", "code": "data.unknown_role",
        "reason": "turn 2 has the role 'narrator'",
    }  # fmt: skip
    assert len(load(tmp_path / "out.jsonl")) == report["converted"]


def test_convert_to_and_from(run, tmp_path):
    out = tmp_path / "out.csv"
    assert run(DATA / "messages.json", out, "--to", "alpaca", "--from", "messages")[0] == 0
    assert detect(out).format == "alpaca"


def test_convert_replaces_nothing_unasked(run, tmp_path):
    out = write(tmp_path / "out.jsonl", "mine")
    code, _, err = run(DATA / "alpaca.csv", out)
    assert code == 2
    assert "--force" in err
    assert out.read_text() == "mine"
    assert run(DATA / "alpaca.csv", out, "--force")[0] == 0
    assert len(load(out)) == 200


def test_convert_never_replaces_its_input(run, tmp_path):
    path = write(tmp_path / "x.jsonl", '{"question": "Q?", "answer": "A."}\n')
    for source in (path, tmp_path):
        code, _, err = run(source, path, "--force")
        assert code == 2
        assert "replace the input" in err
    assert "question" in path.read_text()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("nothing.jsonl", "out.jsonl"), "no such file"),
        ((DATA / "alpaca.csv", "out.xml"), ".jsonl"),
        ((DATA / "alpaca.csv", "out.jsonl", "--to", "xml"), "unknown format"),
        ((DATA / "alpaca.csv", "out.jsonl", "--from", "chatml"), "no row could be converted"),
        ((DATA / "odd" / "rows.jsonl", "alpaca.csv/out.jsonl"), "cannot write"),
    ],
)
def test_convert_that_cannot_run_writes_nothing(run, tmp_path, monkeypatch, arguments, words):
    monkeypatch.chdir(tmp_path)
    write(tmp_path / "alpaca.csv", "in the way")
    code, said, err = run(*arguments)
    assert (code, said) == (2, "")
    assert words in err
    assert [path.name for path in tmp_path.iterdir() if path.name != "sft-cache"] == ["alpaca.csv"]


def test_hostile_text_in_a_report_cannot_move_the_cursor(run, tmp_path):
    row = {"messages": [{"role": "\x1b[2J\u202e", "content": "x"}]}
    good = {"messages": CHAT, "\x1b[31m": 1}
    path = write(tmp_path / "x.jsonl", json.dumps(row) + "\n" + json.dumps(good) + "\n")
    code, said, _ = run(path, tmp_path / "out.jsonl")
    assert code == 1
    assert "\x1b" not in said
    assert "\u202e" not in said
