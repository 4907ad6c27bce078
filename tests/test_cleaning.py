"""The funnel: every row accounted for, order without effect, precision and recall."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from data.make.dirty import dirty_rows, eval_rows
from sft_helpers.cleaning import Funnel, Rule, Thresholds, clean, default_rules
from sft_helpers.cleaning.funnel import FLAGS
from sft_helpers.cleaning.measures import DIALS, measure
from sft_helpers.cleaning.model import Finding
from sft_helpers.cleaning.scoring import score_rules
from sft_helpers.errors import DataError
from sft_helpers.lesson import expect
from sft_helpers.town import read_rows

ROOT = Path(__file__).resolve().parents[1]


def ask(question: str, *answers: str, system: str | None = None) -> dict:
    turns = [{"role": "system", "content": system}] if system else []
    turns.append({"role": "user", "content": question})
    for number, answer in enumerate(answers):
        turns.append({"role": "user" if number % 2 else "assistant", "content": answer})
    return {"messages": turns}


@pytest.fixture(scope="module")
def planted():
    return dirty_rows()


@pytest.fixture(scope="module")
def cleaning(planted):
    return clean(planted[0], eval_rows=eval_rows())


# --- planted defects -------------------------------------------------------------------------


@pytest.mark.parametrize("seed", [2026, 7])
def test_precision_and_recall(seed):
    rows, labels = dirty_rows(seed)
    report = clean(rows, eval_rows=eval_rows(seed)).report
    scores = score_rules(report, labels)
    assert {score.rule for score in scores if score.planted} == {
        "all rules", "structure", *(rule.name for rule in default_rules())
    }  # fmt: skip
    assert [s for s in scores if s.precision < 0.95 or s.recall < 0.95] == []
    if seed == 2026:
        expect("tests.cleaning.recall", scores[0].recall, low=0.95)
        expect("tests.cleaning.precision", scores[0].precision, low=0.95)


def test_labels_of_another_length_are_refused(cleaning):
    with pytest.raises(DataError, match="labels"):
        score_rules(cleaning.report, [])


def test_no_dirty_row_is_about_a_test_resident(planted):
    tested = {row["name"] for row in read_rows("residents.jsonl") if row["split"] == "test"}
    text = "\n".join(str(row) for row in planted[0])
    assert [name for name in tested if name in text] == []


# --- counts ----------------------------------------------------------------------------------


def test_counts_add_up(planted, cleaning):
    report = cleaning.report
    report.check()
    assert report.rows_in == len(planted[0])
    assert report.rows_kept == len(cleaning.rows) == report.kept.rows
    assert report.table()[-1]["rows left"] == report.rows_kept
    assert sum(report.kept.roles.values()) == sum(len(r["messages"]) for r in cleaning.rows)
    assert report.before.rows == report.rows_in - report.dropped["structure"]
    told = report.to_dict()
    assert told["rows_in"] == told["rows_kept"] + told["rows_dropped"]


def test_a_lost_row_is_noticed(planted):
    report = clean(planted[0][:50]).report
    report.rows_in += 1
    with pytest.raises(DataError, match="came in"):
        report.check()


def test_rule_order_moves_credit_only(planted, cleaning):
    rules = list(default_rules())
    random.Random(0).shuffle(rules)
    other = clean(planted[0], rules, eval_rows=eval_rows())
    assert [r["id"] for r in other.rows] == [r["id"] for r in cleaning.rows]
    # a copy is a near duplicate too: which of the two rules says so is a matter of order
    for rule in default_rules():
        if rule.stage < 2:
            assert other.report.caught[rule.name] == cleaning.report.caught[rule.name]
    assert other.report.dropped != cleaning.report.dropped
    assert other.report.dropped.total() == cleaning.report.dropped.total()


def test_row_order_changes_which_copy_stays_and_nothing_else(planted):
    from sft_helpers.cleaning.duplicates import key
    from sft_helpers.cleaning.model import read_chat

    shuffled = list(planted[0])
    random.Random(1).shuffle(shuffled)
    rules = default_rules(near_duplicate="keep")
    one, other = (clean(rows, rules, eval_rows=eval_rows()) for rows in (planted[0], shuffled))
    assert one.report.dropped == other.report.dropped
    said = [{key(read_chat(row)) for row in result.rows} for result in (one, other)]
    assert said[0] == said[1]
    # near duplicates: where A resembles B and B resembles C, the order decides (documented)
    counts = [
        clean(rows, eval_rows=eval_rows()).report.rows_kept for rows in (planted[0], shuffled)
    ]
    assert abs(counts[0] - counts[1]) <= 3


def test_input_is_not_changed():
    row = ask("Where?", "In\u200b Northgate. Write to a@b.net.")
    before = repr(row)
    result = clean([row])
    assert repr(row) == before
    [kept] = result.rows
    assert kept["messages"][1]["content"] == "In Northgate. Write to a@b.net."
    assert kept[FLAGS] == ["personal_data"]


# --- actions ---------------------------------------------------------------------------------


def test_actions():
    rows = [ask("Where?", "I'm sorry, but I can't help with that request."), ask("Who?", "Ada.")]
    for action, kept, flags in (("drop", 1, None), ("keep", 2, None), ("flag", 2, ["refusal"])):
        result = clean(rows, default_rules(refusal=action))
        assert len(result.rows) == kept
        assert result.report.caught["refusal"] == 1
        assert result.rows[0].get(FLAGS) == flags
    masked = clean([ask("Mail?", "It is a.b@c.net.")], default_rules(personal_data="fix"))
    assert masked.rows[0]["messages"][1]["content"] == "It is [e-mail address]."


def test_wrong_set_ups_are_refused():
    with pytest.raises(DataError, match="there is no rule"):
        default_rules(refusals="drop")
    with pytest.raises(DataError, match="unknown action"):
        default_rules(refusal="delete")
    with pytest.raises(DataError, match="cannot repair"):
        clean([ask("?", "I cannot help you.")], default_rules(refusal="fix"))
    twice = (*default_rules(), default_rules()[0])
    with pytest.raises(DataError, match="one name"):
        clean([], twice)
    with pytest.raises(DataError, match="holds no rows"):
        clean("rows.jsonl")
    with pytest.raises(DataError, match="evaluation row 1"):
        clean([], eval_rows=[{"messages": []}])
    with pytest.raises(DataError, match="either check= or start="):
        Rule("mine", "drop")


def test_a_rule_of_ones_own():
    def shouting(chat, limits):
        """Answers in capitals only."""
        loud = [a for a in chat.answers if a.isupper()]
        return Finding("shouts", loud[0]) if loud else None

    rows = [ask("Who?", "ADA!"), ask("Who?", "Ada.")]
    result = clean(rows, [Rule("shouting", "drop", shouting)])
    assert result.rows == rows[1:]
    assert result.report.samples["shouting"][0].excerpt == "ADA!"
    assert Rule("shouting", "drop", shouting).why == "Answers in capitals only."


def test_a_rule_that_raises_is_named():
    def broken(chat, limits):
        return chat.answers[99]

    with pytest.raises(DataError, match="rule broken"):
        clean([ask("Who?", "Ada.")], [Rule("broken", "drop", broken)])


# --- streams, Datasets, thresholds -----------------------------------------------------------


def test_a_stream_is_read_row_by_row(planted, cleaning):
    taken = []

    def source():
        for row in planted[0]:
            taken.append(row)
            yield row

    funnel = Funnel(eval_rows=eval_rows())
    stream = funnel.stream(source())
    first = next(stream)
    assert len(taken) < 30
    assert [first, *stream] == cleaning.rows
    assert funnel.report.to_dict() == cleaning.report.to_dict()


@pytest.mark.parametrize("num_proc", [None, 2])
def test_a_dataset_gives_the_same(planted, cleaning, num_proc):
    from datasets import Dataset

    usable = [row for row in clean(planted[0], ()).rows][:400]
    result = clean(Dataset.from_list(usable), eval_rows=eval_rows(), num_proc=num_proc)
    wanted = clean(usable, eval_rows=eval_rows())
    assert result.report.to_dict() == wanted.report.to_dict()
    assert result.rows["id"] == [row["id"] for row in wanted.rows]
    assert result.rows["messages"] == [row["messages"] for row in wanted.rows]
    assert result.rows[FLAGS] == [row.get(FLAGS, []) for row in wanted.rows]


def test_a_dataset_without_messages_is_refused():
    from datasets import Dataset

    with pytest.raises(DataError, match="no column `messages`"):
        clean(Dataset.from_list([{"text": "a"}]))


def test_measures_redo_the_funnel(planted):
    rows = planted[0][:900]
    found = measure(rows, eval_rows=eval_rows())
    settings = [
        (Thresholds(), ()),
        (Thresholds(min_chars=50, min_chars_han=20), ()),
        (Thresholds(max_chars=60, repeated_share=0.1, copied_share=0.4), ("refusal",)),
        (Thresholds(unfinished_words=2, foreign_share=0.5, near_duplicate=0.55), ("empty",)),
        (Thresholds(near_duplicate=0.9), ("exact_duplicate", "contaminated")),
    ]
    for limits, off in settings:
        report = clean(
            rows,
            default_rules(**dict.fromkeys(off, "keep")),
            thresholds=limits,
            eval_rows=eval_rows(),
        ).report
        drawn = found.funnel(limits, off)
        assert drawn.pop("kept") == report.rows_kept
        assert {name: n for name, n in drawn.items() if n} == dict(report.dropped)
    assert {dial.name for dial in DIALS} <= set(vars(Thresholds()))


def test_tokens_are_counted_with_a_tokenizer():
    class ByLetter:
        def __call__(self, text, **_):
            return {"input_ids": list(text)}

    rows = [ask("Who?", "Ada."), ask("Who?", "Ada of the house by the harbour.")]
    result = clean(rows, thresholds=Thresholds(max_tokens=20), tokenizer=ByLetter())
    assert result.report.dropped["too_long"] == 1
    assert result.report.kept.tokens == 8
    assert clean(rows, thresholds=Thresholds(max_tokens=20)).report.dropped["too_long"] == 0
