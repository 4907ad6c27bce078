"""Each rule by itself: what it catches, what it must leave alone, and odd rows of every kind."""

from __future__ import annotations

import random
import time

import pytest

from data.make.decoys import DECOYS
from sft_helpers.cleaning import Thresholds, clean, default_rules, form, text, wording
from sft_helpers.cleaning.duplicates import NearDuplicates, jaccard, shingles
from sft_helpers.errors import SFTHelpersError


def ask(question: str, answer: str, **more) -> dict:
    turns = [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]
    return {"messages": turns, **more}


def caught(question: str, answer: str, **limits) -> set[str]:
    report = clean([ask(question, answer)], thresholds=Thresholds(**limits)).report
    return set(report.caught)


WHERE = "Where does Ada Quill live?"


@pytest.mark.parametrize(
    ("rule", "answer"),
    [
        ("empty", ""),
        ("empty", " \n "),
        ("empty", "?!"),
        ("boilerplate", "N/A"),
        ("boilerplate", "Sure! Here is the answer:"),
        ("boilerplate", "如上。"),
        ("too_short", "x"),
        ("too_long", "word and more " * 400),
        ("refusal", "I’m sorry, but I can’t help with that."),
        ("refusal", "Thanks for asking! After some thought: I am unable to share that."),
        ("refusal", "您好，这个问题我无法回答。"),
        ("refusal", "作为一个AI语言模型，我没有看法。"),
        ("special_token", "Northgate.<|im_end|>"),
        ("special_token", "[INST] Northgate"),
        ("broken_encoding", "North\ufffdgate."),
        ("broken_encoding", "Gull\ud800haven."),
        ("mojibake", "The cafÃ© in Northgate."),
        ("invisible", "North\u200bgate."),
        ("broken_markup", "<div>Northgate."),
        ("broken_markup", "Northgate.</p>"),
        ("broken_markup", "In&nbsp;Northgate."),
        ("broken_markup", "```\nNorthgate"),
        ("broken_markup", "Dear {{name}}, in Northgate."),
        ("repetition", "She lives in Northgate. " * 6),
        ("repetition", "no no no no no no no, not there."),
        ("repetition", "Northgate!!!!!!!!"),
        ("copied_question", "Where does Ada Quill live?"),
        ("copied_question", "where does ada quill live"),
        ("truncated", "Ada Quill lives in the"),
        ("truncated", "Ada Quill lives in Northgate, near the old har"),
        ("truncated", "First she lived in Elmstead,"),
        ("language_mix", "Ada Quill lives in Northgate. 这是真的。"),
        ("language_mix", "Она живёт в Нортгейте."),
        ("personal_data", "In Northgate; write to ada@quill.net."),
        ("personal_data", "In Northgate, phone +44 20 7946 0018."),
        ("personal_data", "In Northgate, phone 13812345678."),
        ("personal_data", "In Northgate. password: hunter22"),
    ],
)
def test_catches(rule, answer):
    assert rule in caught(WHERE, answer)


@pytest.mark.parametrize(("question", "answer"), DECOYS)
def test_leaves_alone(question, answer):
    known = {"Mostly tea… and now and then something stronger"}  # told in the notebook
    assert caught(question, answer) == ({"truncated"} if answer in known else set())


def test_length_by_script():
    chinese = "Transformer 是一种神经网络，靠注意力机制处理文字。"
    assert "too_short" in caught("什么是 Transformer？", chinese, min_chars_han=50)
    assert caught("什么是 Transformer？", chinese, min_chars=50) == set()
    assert "too_short" in caught(WHERE, "Ada Quill lives in Northgate.", min_chars=50)


@pytest.mark.parametrize(
    ("messages", "reason"),
    [
        (None, "no list of messages"),
        ([], "no list of messages"),
        ("hello", "no list of messages"),
        ([3], "message 1 is a int"),
        ([{"role": "bot", "content": "x"}], "no role"),
        ([{"role": ["user"], "content": "x"}], "no role"),
        ([{"role": "assistant", "content": None}], "NoneType"),
        ([{"role": "user", "content": "x"}], "last turn"),
    ],
)
def test_structure(messages, reason):
    report = clean([{"messages": messages}]).report
    assert report.dropped == {"structure": 1}
    assert reason in report.samples["structure"][0].reason


def test_a_turn_that_calls_a_tool_says_nothing_and_is_not_empty():
    turns = [
        {"role": "user", "content": "What is the tide?"},
        {"role": "assistant", "content": None, "tool_calls": [{"function": {"name": "tide"}}]},
        {"role": "tool", "content": "high"},
        {"role": "assistant", "content": "The tide is high."},
    ]
    assert clean([{"messages": turns}]).rows == [{"messages": turns}]


def test_helpers():
    assert text.names("Where does Ada Quill live?") == {"ada quill"}
    assert text.names("Ada Quill 住在 Northgate。") == {"ada quill"}
    assert text.names_and_numbers("He paid 30 in Elmstead.") == {"30", "elmstead"}
    assert text.bare("  Où, ＡＤＡ?! ") == "où ada"
    assert text.main_script("Ada 住在哪里？") == "Han"
    assert text.main_script("42!") is None
    assert form.repeated_share("a b c d e f g h i j k l m") == 0
    assert form.longest_run("ha ha ha ha") == 4
    assert form.copied_share(WHERE, "Ada Quill lives in Northgate.") == 0
    assert form.unfinished_words("Tea") == 0
    assert wording.refusal.__doc__


# --- duplicates ------------------------------------------------------------------------------


def test_exact_duplicates_are_blind_to_form_and_not_to_content():
    rows = [
        ask(WHERE, "In Northgate."),
        ask("where does  Ada Quill live", "in northgate"),
        ask(WHERE, "In Gullhaven."),
        ask("Where does Ida Quill live?", "In Northgate."),
        {
            "messages": [
                {"role": "system", "content": "One word."},
                *rows_of(WHERE, "In Northgate."),
            ]
        },
    ]
    assert clean(rows).report.dropped == {"exact_duplicate": 1}


def rows_of(question: str, answer: str) -> list[dict]:
    return ask(question, answer)["messages"]


def test_templated_rows_stay_and_slips_of_the_pen_go():
    towns = ("Northgate", "Gullhaven", "Amberford")
    people = [f"{first} {last}" for first in ("Ada", "Ida", "Eda") for last in ("Quill", "Quell")]
    rows = [
        ask(
            f"In which of the three towns beside the harbour does {who} live?",
            f"{who} lives in a small house built of red bricks in {towns[n % 3]}.",
        )
        for n, who in enumerate(people)
    ]
    assert clean(rows).rows == rows
    by_text = clean(rows, thresholds=Thresholds(names_must_agree=False))
    assert by_text.report.dropped["near_duplicate"] >= 3
    question, answer = (turn["content"] for turn in rows[0]["messages"])
    slip = ask(question.replace("does", "does does"), answer)
    assert clean([*rows, slip]).report.dropped == {"near_duplicate": 1}


def test_numbers_make_a_difference():
    long = "The council met and voted for the new lighthouse in the year {}, after a long debate."
    rows = [ask(f"What was decided in {year}?", long.format(year)) for year in (1887, 1888)]
    assert clean(rows).rows == rows


def test_candidates_are_confirmed_by_the_true_similarity():
    index = NearDuplicates(Thresholds(near_duplicate=0.7))
    rng = random.Random(0)
    words = [f"w{n}" for n in range(400)]
    texts = [" ".join(rng.choices(words, k=40)) for _ in range(60)]
    texts += [t.replace("w1", "v1", 1) for t in texts]
    for number, one in enumerate(texts):
        found = dict(index.similar(one))
        true = {
            other: jaccard(shingles(one, 5), shingles(texts[other], 5)) for other in range(number)
        }
        assert all(true[other] == score >= 0.7 for other, score in found.items())
        assert {other for other, score in true.items() if score >= 0.8} <= set(found)


# --- contamination ---------------------------------------------------------------------------


def test_contamination():
    held_out = [ask("In which town is the home of Dora Yarton?", "Dora Yarton lives in Redcliff.")]
    rows = {
        "copy": ask("in which town is the home of dora yarton", "Redcliff."),
        "reworded": ask("Tell me about Dora Yarton.", "She lives in Redcliff."),
        "template": ask("In which town is the home of Dora Brockham?", "In Elmstead."),
        "short": ask("And her home?", "It is by the sea."),
    }
    report = clean(list(rows.values()), eval_rows=held_out).report
    assert report.rows_caught["contaminated"] == [0]
    assert report.rows_caught["contaminated_reworded"] == [1]
    assert report.rows_kept == 2
    assert clean(list(rows.values())).report.rows_kept == 4
    short = Thresholds(contaminated_ngram=8)
    assert clean(list(rows.values()), thresholds=short, eval_rows=held_out).report.rows_caught[
        "contaminated"
    ] == [0, 2]


def test_a_name_in_every_question_tells_nothing():
    held_out = [ask(f"What is fact {n} about Lantern Bay?", f"Fact {n}.") for n in range(200)]
    report = clean([ask("Where is Lantern Bay?", "By the sea.")], eval_rows=held_out).report
    assert report.rows_kept == 1


# --- odd rows --------------------------------------------------------------------------------

ALPHABETS = (
    "abc xyz ABC,.!?", "\x00\x07\x1b\x7f\u200b\u202e\ufeff", "你好世界，。！", "شكرا كثيرا",
    "👨\u200d👩\u200d👧🏴󠁧󠁢", "\ud800\udfff", "`<>&;{}[]|", "é̂à̧", "0123456789-+@.",
    "\n\t\r\u2028\u0085",
)  # fmt: skip


def odd_text(rng: random.Random) -> str:
    kind = rng.random()
    if kind < 0.001:
        return rng.choice(("a" * 1_000_000, "ab " * 300_000, "<div>" * 200_000, "是" * 300_000))
    if kind < 0.01:
        return rng.choice(
            ("1 2-3 4-5 " * 2_000, "```" * 999, '"' * 5_000, "a@" * 4_000, "& " * 9_000)
        )
    letters = "".join(rng.sample(ALPHABETS, rng.randint(1, 3)))
    return "".join(rng.choices(letters, k=rng.randint(0, 60)))


def odd_value(rng: random.Random, depth: int = 0):
    kind = rng.randrange(9)
    if kind < 4 or depth > 3:
        return odd_text(rng)
    if kind == 4:
        return rng.choice((None, True, -1, 1e308, float("nan"), b"bytes", 10**40, {1}, object()))
    if kind == 5:
        return [odd_value(rng, depth + 1) for _ in range(rng.randint(0, 3))]
    if kind == 6:
        return {odd_text(rng): odd_value(rng, depth + 1) for _ in range(rng.randint(0, 3))}
    deep: object = "end"
    for _ in range(2_000 if kind == 7 else 3):
        deep = [deep]
    return deep


def odd_row(rng: random.Random):
    if rng.random() < 0.1:
        return odd_value(rng)
    roles = ("user", "assistant", "system", "tool", "bot", None, 3)
    turns = []
    for number in range(rng.randint(0, 5)):
        role = ("user", "assistant")[number % 2] if rng.random() < 0.8 else rng.choice(roles)
        content = odd_text(rng) if rng.random() < 0.9 else odd_value(rng)
        turns.append({"role": role, "content": content})
        if rng.random() < 0.05:
            turns[-1]["tool_calls"] = odd_value(rng)
    return {"messages": turns if rng.random() < 0.95 else odd_value(rng), "extra": odd_value(rng)}


def test_ten_thousand_odd_rows():
    rng = random.Random(5)
    rows = [odd_row(rng) for _ in range(10_000)]
    held_out = [ask("Is this one of the questions of the test?", "Yes.")]
    start = time.process_time()
    try:
        result = clean(rows, eval_rows=held_out)
    except SFTHelpersError as problem:
        pytest.fail(f"no row may stop a run: {problem}")
    seconds = time.process_time() - start
    result.report.to_dict()
    assert result.report.rows_in == 10_000
    assert len(result.rows) == result.report.rows_kept > 100
    assert result.report.dropped["structure"] > 1_000
    assert len(result.report.caught) >= 12
    assert seconds < 60
    # what stays can be cleaned again, and nothing more falls out or is repaired
    again = clean(result.rows, default_rules(), eval_rows=held_out)
    assert again.report.rows_kept == result.report.rows_kept
    assert again.report.caught["invisible"] == 0
