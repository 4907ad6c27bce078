"""The course as its notebooks say, somebody's record of it, and the records of a class."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from sft_helpers import course as room
from sft_helpers.cli import main
from sft_helpers.course import (
    Notebook,
    class_report,
    course,
    following,
    overview,
    read_record,
    show_progress,
    standings,
)
from sft_helpers.display.course_view import course_html
from sft_helpers.errors import DataError

NOW = 1_800_000_000
MASKS = Notebook("04_loss_masking", "04", "Masks", 1.0, ("loss-masking-1",), ())
PACKS = Notebook("05_packing", "05", "Packing", None, ("packing-1", "packing-2"), ())


def entry(name, status, when=NOW, notebook="04_loss_masking"):
    return {"notebook": notebook, "name": name, "status": status, "time": when}


HONEST = [
    entry("", "opened"),
    entry("loss-masking-1", "todo", NOW + 1),
    entry("loss-masking-1", "not yet", NOW + 9),
    entry("loss-masking-1", "ok", NOW + 60),
    entry("Quiz, question 1", "not yet", NOW + 90),
]


def write(path, entries):
    path.write_text("".join(json.dumps(one) + "\n" for one in entries))
    return path


# ---------------------------------------------------------------- the course


def test_what_a_notebook_needs_comes_before_it():
    found = {one.number: one for one in course()}
    assert found["00"].title.startswith("Quickstart")
    assert found["00"].exercises == ("quickstart-1", "quickstart-2")
    assert found["04"].needs == ("00",)  # "03 helps" is no need
    assert found["10"].needs == ("01", "03", "04", "06", "07")
    seen = set()
    for number, one in found.items():
        assert one.minutes, one.name
        assert set(one.needs) <= seen, one.name
        assert one.needs or number == "00", f"{one.name} does not say what it needs"
        seen.add(number)


def test_a_folder_without_notebooks_is_named(tmp_path):
    with pytest.raises(DataError, match="SFT_DATA"):
        course(tmp_path)
    (tmp_path / "00_x.ipynb").write_text("{")
    with pytest.raises(DataError, match=r"00_x\.ipynb.*no notebook"):
        course(tmp_path)


# ---------------------------------------------------------------- a record


@pytest.mark.parametrize(
    "line",
    [
        "not json",
        "[1]",
        '{"name": "a", "status": "perfect", "time": 1}',
        '{"name": "a", "status": ["ok"], "time": 1}',
        '{"name": "a", "status": "ok"}',
        '{"name": "a", "status": "ok", "time": true}',
        '{"name": "a", "status": "ok", "time": -1}',
        '{"name": 1, "status": "ok", "time": 1}',
        "[" * 900,
        '{"name": "' + "a" * 2000 + '", "status": "ok", "time": 1}',
    ],
)
def test_damaged_lines_are_counted(line, tmp_path):
    file = write(tmp_path / "p.jsonl", [entry("a", "ok")])
    file.write_text(file.read_text() + line + "\n\n" + file.read_text())
    entries, damaged = read_record(file)
    assert (len(entries), damaged) == (2, [2])
    assert read_record(tmp_path / "none.jsonl") == ([], [])


def test_solved_once_is_solved():
    name = ("04_loss_masking", "loss-masking-1")
    assert standings([*HONEST, entry("loss-masking-1", "todo")])[name] == ("ok", 2)
    wrong = [entry("loss-masking-1", "not yet"), entry("loss-masking-1", "todo")]
    assert standings(wrong)[name] == ("not yet", 1)


def test_what_comes_next_needs_nothing_that_is_not_done():
    rows = overview([MASKS, PACKS], HONEST)
    assert [(row["state"], row["solved"]) for row in rows] == [("done", 1), ("not yet", 0)]
    assert following(rows)["notebook"] == "05_packing"
    assert following(rows[:1]) is None
    first = replace(MASKS, needs=("05",))
    rows = overview([first, PACKS], [])
    assert [row["before"] for row in rows] == [["05"], []]
    assert following(rows)["notebook"] == "05_packing"
    circle = overview([first, replace(PACKS, needs=("04",))], [])
    assert following(circle)["notebook"] == "04_loss_masking"


def shown(monkeypatch, file):
    published = []
    monkeypatch.setattr(
        "IPython.display.publish_display_data", lambda data, metadata: published.append(data)
    )
    show_progress(file)
    [data] = published
    return data


def test_the_view_in_a_notebook(tmp_path, monkeypatch):
    own = [entry("quickstart-1", "ok", notebook="00_quickstart")]
    own += [entry("quickstart-2", "not yet", notebook="00_quickstart")]
    data = shown(monkeypatch, write(tmp_path / "p.jsonl", own))
    html = data["text/html"]
    every = sum(len(one.exercises) for one in course())
    assert f"Your course: 1 of {every} exercises solved" in html
    assert f"aria-valuemax='{every}' aria-valuenow='1'" in html
    assert "<a href='00_quickstart.ipynb'>" in html
    assert html.count("○ not yet") == len(course()) - 1
    assert "… begun" in html
    assert "quickstart-2" in html
    assert data["text/plain"].endswith("Next: 00_quickstart")


def test_the_view_without_a_record_or_when_all_is_done(tmp_path, monkeypatch, capsys):
    html = shown(monkeypatch, None)["text/html"]
    assert "Nothing is recorded here" in html
    assert "<a " not in html  # on the site no link leads out of the page
    assert "Nothing is recorded yet" in shown(monkeypatch, tmp_path / "none")["text/html"]
    html = course_html(overview([MASKS], HONEST), after=None, note="n", links=False)
    assert "All done" in html
    assert "✓ done" in html
    monkeypatch.setattr(room, "notebooks_dir", lambda: tmp_path)
    show_progress(None)
    assert "no notebook of the course" in capsys.readouterr().out


def test_the_progress_command(tmp_path, capsys):
    file = write(tmp_path / "p.jsonl", [entry("quickstart-1", "ok", notebook="00_quickstart")])
    with file.open("a") as record:
        record.write("broken\n")
    assert main(["progress", "--file", str(file), "--json"]) == 0
    out, err = capsys.readouterr()
    assert "1 lines are damaged" in err
    found = json.loads(out)
    assert (found["next"], found["damaged_lines"]) == ("00_quickstart", [2])
    assert (found["notebooks"][0]["solved"], found["notebooks"][0]["state"]) == (1, "begun")
    assert main(["progress", "--file", str(file)]) == 0
    assert "Next: notebooks/00_quickstart.ipynb" in capsys.readouterr().out


# ---------------------------------------------------------------- a class


def test_who_is_stuck_where(tmp_path):
    write(tmp_path / "Ada.jsonl", HONEST)
    write(tmp_path / "Bob.jsonl", [entry("", "opened"), entry("loss-masking-1", "not yet")])
    write(tmp_path / "Cy.jsonl", [entry("", "opened")])
    found = class_report(tmp_path, [MASKS, PACKS])
    [row] = found["exercises"]
    assert (row["solved"], row["trying"], row["untouched"], row["tries"]) == (1, 1, 1, 1.5)
    assert row["stuck"] == ["Bob"]
    assert [(who["learner"], who["solved"], who["stuck"]) for who in found["learners"]] == [
        ("Ada", 1, []),
        ("Bob", 0, ["loss-masking-1"]),
        ("Cy", 0, []),
    ]
    assert found["files"] == len(found["learners"]) + len(found["unreadable"]) == 3


def test_a_record_travels_from_learner_to_class(tmp_path, monkeypatch, capsys):
    desk = tmp_path / "class"
    desk.mkdir()
    assert main(["class-report", str(tmp_path / "none")]) == 2
    assert main(["class-report", str(desk)]) == 2
    assert "--hand-in" in capsys.readouterr().err
    own = write(tmp_path / "p.jsonl", [entry("quickstart-1", "not yet", notebook="00_quickstart")])
    file = desk / "[red]Ada\u202e.jsonl"
    command = ["progress", "--file", str(own), "--hand-in"]
    assert main([*command, str(desk / "ada.json")]) == 2
    assert main([*command, str(file)]) == 0
    assert main([*command, str(file)]) == 2
    assert "exists already" in capsys.readouterr().err
    assert main(["class-report", str(desk), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["exercises"][0]["trying"] == 1
    assert main(["class-report", str(desk)]) == 0
    out = capsys.readouterr().out
    assert "quickstart-1" in out
    assert "\u202e" not in out
    assert "[red]Ada" in out
    file.write_text(file.read_text() + "damaged\n")
    assert main(["class-report", str(desk)]) == 1
    file.unlink()
    monkeypatch.setattr(room, "LARGEST", 10)
    write(file, HONEST)
    assert main(["class-report", str(desk)]) == 1
    assert "not read" in capsys.readouterr().out
