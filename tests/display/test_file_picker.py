"""The file picker: no click gives the first example; a path or an upload replaces it."""

from __future__ import annotations

import pytest

from sft_helpers.display.file_picker import FilePicker, pick_file, uploaded_files
from sft_helpers.town import data_dir

OWN = data_dir("own")
ROW = b'{"messages": [{"role": "user", "content": "Hi"}]}\n'


@pytest.fixture
def picker(tmp_path):
    return FilePicker([OWN / "questions.csv", OWN / "chats.jsonl"], tmp_path / "uploads")


def test_without_a_click_it_is_the_first_example(picker):
    assert picker.path == OWN / "questions.csv"
    assert "question_answer, 605 rows" in picker.told.value


def test_an_example_and_a_path_can_be_chosen(picker, tmp_path):
    picker.example.value = str(OWN / "chats.jsonl")
    assert picker.path == OWN / "chats.jsonl"
    mine = tmp_path / "mine.jsonl"
    mine.write_bytes(ROW)
    picker.typed.value = str(mine)
    assert picker.path == mine
    picker.typed.value = str(tmp_path / "nothing.jsonl")
    assert picker.path == mine
    assert "There is no file" in picker.told.value
    picker.typed.value = ""
    assert picker.path == mine


@pytest.mark.parametrize("name", ["mine.jsonl", "../../mine.jsonl"])
@pytest.mark.parametrize("version", [7, 8])
def test_an_upload_is_kept_under_its_name_and_nowhere_else(picker, tmp_path, version, name):
    value = {name: {"content": ROW}} if version == 7 else ({"name": name, "content": ROW},)
    assert list(uploaded_files(value)) == [(name, ROW)]
    picker._uploaded(value)
    assert picker.path == tmp_path / "uploads/mine.jsonl"
    assert picker.path.read_bytes() == ROW


def test_the_static_view_names_the_files(capsys, monkeypatch):
    shown = []
    monkeypatch.setattr(
        "IPython.display.publish_display_data", lambda data, metadata: shown.append(data)
    )
    pick_file(OWN / "questions.csv", OWN / "dump.json")
    assert "sharegpt" in shown[0]["text/html"]
    assert "dump.json" in shown[0]["text/plain"]


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("cut.jsonl", b'{"messages": [\n', "line 1: this is not JSON"),
        (
            "other.csv",
            b"x,<b>y</b>\n1,2\n",
            "no known format has the columns x, &lt;b&gt;y&lt;/b&gt;",
        ),
        ("mine.parquet", b"nothing of the kind", "this Parquet file cannot be read"),
    ],
)
def test_a_file_without_a_usable_row_is_refused_with_the_reason(picker, name, content, said):
    picker._uploaded({name: {"content": content}})
    assert picker.path == OWN / "questions.csv"
    assert "cannot be used; still questions.csv" in picker.told.value
    assert said in picker.told.value
