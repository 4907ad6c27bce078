"""Chat templates: rendered as transformers does, cut into spans, checked, and compared with TRL."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sft_helpers.errors import DataError, EnvironmentProblem, ModelError
from sft_helpers.templates import render as templates
from sft_helpers.templates.checks import bare_tokenizer, check_template, traits, trl_verdict
from sft_helpers.templates.parity import parity
from sft_helpers.templates.reader import explain, tags, trace
from sft_helpers.templates.render import (
    Family,
    as_family,
    compare,
    families,
    family,
    in_blocks,
    plain_text,
    render,
    template_folder,
    wants_blocks,
)
from sft_helpers.templates.spans import PROBE

NAMES = [path.stem for path in sorted(template_folder().glob("*.jinja"))]
CHAT = [
    {"role": "system", "content": "Answer in a full sentence."},
    {"role": "user", "content": "Which pet does Ada keep?"},
    {"role": "assistant", "content": "Ada keeps a raven."},
    {"role": "user", "content": "And her job?"},
    {"role": "assistant", "content": "She works as a potter."},
]
THINKING = [
    {"role": "user", "content": "Which pet?"},
    {"role": "assistant", "content": "A raven.", "reasoning_content": "I recall a bird."},
    {"role": "user", "content": "And the job?"},
    {"role": "assistant", "content": "<think>\nClay?\n</think>\n\nA potter."},
]
TOOL = {
    "type": "function",
    "function": {
        "name": "look_up",
        "description": "Look up a resident.",
        "parameters": {"type": "object", "properties": {"name": {"type": "string"}}},
    },
}
CALLS = [
    {"role": "user", "content": "Which pet?"},
    {
        "role": "assistant",
        "content": "",
        "tool_calls": [
            {"type": "function", "function": {"name": "look_up", "arguments": {"name": "Ada"}}}
        ],
    },
    {"role": "tool", "name": "look_up", "content": "a raven"},
    {"role": "assistant", "content": "A raven."},
]
CONVERSATIONS = {"chat": CHAT, "thinking": THINKING, "calls": CALLS, "no system": CHAT[1:]}
CHATML = (
    "{%- for message in messages -%}\n"
    "{{- '<|im_start|>' + message['role'] + '\\n' -}}\n"
    "{%- if message['role'] == 'assistant' -%}\n"
    "{%- generation -%}{{- message['content'] + '<|im_end|>' -}}{%- endgeneration -%}\n"
    "{{- '\\n' -}}\n"
    "{%- else -%}{{- message['content'] + '<|im_end|>\\n' -}}{%- endif -%}\n"
    "{%- endfor -%}\n"
    "{%- if add_generation_prompt -%}{{- '<|im_start|>assistant\\n' -}}{%- endif -%}\n"
)


def tokenizer(text: str | None = CHATML, **tokens: str):
    """A byte tokenizer with ChatML tokens and a template."""
    made = bare_tokenizer(Family("demo", CHATML, None, {"eos_token": "<|im_end|>", **tokens}))
    made.chat_template = text
    return made


@pytest.fixture(scope="module")
def chatml():
    return tokenizer()


def test_every_file_of_trl_is_listed_and_none_is_a_copy():
    listed = families()
    assert len(listed) >= 30
    covered = {one.name for one in listed} | {o.training.name for o in listed if o.training_text}
    assert covered == set(NAMES)
    folder = Path(templates.__file__).parents[1]
    assert list(folder.rglob("*.jinja")) == []
    for one in listed:
        assert one.text == (template_folder() / f"{one.name}.jinja").read_text("utf-8")


@pytest.mark.parametrize("name", NAMES)
def test_renderings_are_those_of_transformers_and_spans_cover_them(name):
    one = family(name)
    own = bare_tokenizer(one)
    for kind, messages in CONVERSATIONS.items():
        for prompt in (False, True):
            options = {"tools": [TOOL]} if kind == "calls" else {}
            ours = render(one, messages, add_generation_prompt=prompt, **options)
            try:
                theirs = own.apply_chat_template(
                    messages, tokenize=False, add_generation_prompt=prompt, **options
                )
            except Exception as error:  # the template's own
                said = str(error).split("\n")[0][:30]
            else:
                said = None
            if said is not None:
                assert said in (ours.error or "")
                assert (ours.text, ours.spans) == ("", ())
                continue
            assert (ours.text, ours.error) == (theirs, None)
            assert "".join(text for _, text in ours.parts()) == theirs
            ends = [0, *(span.end for span in ours.spans)]
            assert [span.start for span in ours.spans] == ends[:-1]
            assert all(span.end > span.start for span in ours.spans)


@pytest.mark.parametrize("name", NAMES)
def test_contents_headers_and_ends_are_found(name):
    messages = in_blocks(CHAT[1:]) if wants_blocks(name) else CHAT[1:]
    rendering = render(name, messages, add_generation_prompt=True)
    texts = {(s.kind, s.message): text for s, text in rendering.parts()}
    assert [texts["content", n] for n in range(4)] == [m["content"] for m in CHAT[1:]]
    headers = [texts["header", n] for n in range(4)]
    assert headers[0] == headers[2]
    assert headers[1] == headers[3]
    assert headers[0] != headers[1]
    assert ("end", 0) not in texts or texts["end", 0] == texts["end", 2]
    prompt = texts.get(("generation prompt", None), headers[1])  # llava_next has none
    assert prompt.startswith(headers[1].rstrip()[:9])
    if ("end", 1) in texts:  # a header holds nothing of the end of the turn before
        assert texts["end", 1] not in headers[2]


def test_chatml_is_cut_exactly():
    rendering = render(CHATML, CHAT[:3], add_generation_prompt=True)
    assert [(span.label, text) for span, text in rendering.parts()] == [
        ("system header", "<|im_start|>system\n"),
        ("system", "Answer in a full sentence."),
        ("end of system turn", "<|im_end|>\n"),
        ("user header", "<|im_start|>user\n"),
        ("user", "Which pet does Ada keep?"),
        ("end of user turn", "<|im_end|>\n"),
        ("assistant header", "<|im_start|>assistant\n"),
        ("assistant", "Ada keeps a raven."),
        ("end of assistant turn", "<|im_end|>\n"),
        ("generation prompt", "<|im_start|>assistant\n"),
    ]


def test_a_template_that_adds_a_system_prompt_is_seen():
    added = [text for span, text in render("qwen2_5", CHAT[1:]).parts() if span.kind == "added"]
    assert len(added) == 1
    assert "You are Qwen" in added[0]
    assert render("qwen3", CHAT[1:]).spans[0].kind == "header"


def test_thoughts_are_marked_and_their_loss_is_seen():
    kinds = {
        name: [s.message for s in render(name, THINKING).spans if s.kind == "thinking"]
        for name in ("qwen3", "qwen3_training", "muse_glimmer", "llama3")
    }
    assert kinds == {
        "qwen3": [3],
        "qwen3_training": [1, 3],
        "muse_glimmer": [1, 3],
        "llama3": [3],  # written inside the content, so it stays
    }
    assert "I recall a bird." not in render("qwen3", THINKING).text


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.text(max_size=30), min_size=1, max_size=5),
    st.sampled_from(["qwen2_5", "llama3", "gemma3", "qwen3", "phi3", "gptoss", "glm4moe"]),
)
def test_any_text_gives_gapless_spans(contents, name):
    messages = [
        {"role": "assistant" if n % 2 else "user", "content": text}
        for n, text in enumerate(contents)
    ]
    rendering = render(name, messages)
    text, error = plain_text(name, messages)
    assert (rendering.text, bool(rendering.error)) == (text, error is not None)
    assert "".join(piece for _, piece in rendering.parts()) == text


def test_contents_with_private_use_characters_do_not_confuse_the_marks():
    messages = [{"role": "user", "content": "a\U000f0000b\U000f0001"}, CHAT[2]]
    rendering = render("qwen3", messages)
    assert "a\U000f0000b\U000f0001" in rendering.text
    assert "".join(piece for _, piece in rendering.parts()) == rendering.text


@pytest.mark.parametrize(
    ("name", "messages", "words"),
    [
        ("gemma", CHAT, "System role not supported"),
        ("gemma", [CHAT[1], CHAT[1]], "Conversation roles must alternate"),
    ],
)
def test_a_refusal_carries_the_templates_own_words(name, messages, words):
    rendering = render(name, messages)
    assert rendering.refused
    assert words in rendering.error


@pytest.mark.parametrize(
    ("source", "messages", "words"),
    [
        ("qwen3", [], "no messages"),
        ("qwen3", "hello", "not str"),
        ("qwen3", ["hello"], "message 0 is not a dictionary"),
        ("qwen3", [{"content": "x"}], "message 0 has no role"),
        ("qwen2_5", [{"role": "user", "content": None}], "the template fails"),
        ("llava_next", CHAT, "list of blocks"),
        ("{% if %}", CHAT, "not valid Jinja"),
        ("{{ nothing.at.all }}", CHAT, "undefined"),
        ("{{ messages[0].content.__class__ }}", CHAT, ""),
        ("{% for i in range(10**9) %}{% endfor %}", CHAT, "Range too big"),
    ],
)
def test_whatever_fails_gives_a_sentence_and_no_traceback(source, messages, words):
    rendering = render(source, messages)
    if words:
        assert words in rendering.error
        assert not rendering.refused
        assert rendering.text == ""


def test_tools_may_be_functions_and_bad_tools_give_a_sentence():
    def look_up(name: str) -> str:
        """Look up a resident.

        Args:
            name: full name.
        """
        return name

    assert '"look_up"' in render("qwen3", CHAT[:2], tools=[look_up]).text
    assert "cannot be described" in render("qwen3", CHAT[:2], tools=[lambda name: name]).error


def test_sources_of_every_kind(chatml, tmp_path):
    assert render(chatml, CHAT).text == render(CHATML, CHAT).text
    chatml.save_pretrained(tmp_path / "mine")
    from transformers import AutoTokenizer

    loaded = AutoTokenizer.from_pretrained(tmp_path / "mine")
    assert render(loaded, CHAT).text == render(CHATML, CHAT).text
    assert as_family(loaded).name == "mine"
    loaded.chat_template = {"default": CHATML, "tool_use": "{{ 'other' }}"}
    assert as_family(loaded).text == CHATML


def test_unknown_names_and_missing_templates_say_what_to_do(monkeypatch, tmp_path):
    with pytest.raises(DataError, match=r"did you mean 'qwen2_5'"):
        family("Qwen2.5")
    with pytest.raises(ModelError, match="no chat template"):
        render(tokenizer(None), CHAT)
    with pytest.raises(DataError, match="no training variant"):
        _ = family("llama3_1").training
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(EnvironmentProblem, match="not installed"):
        template_folder()


def test_comparison_puts_each_message_beside_itself():
    left, right = render("qwen2_5", CHAT, add_generation_prompt=True), render("llama3", CHAT)
    parts = {part.label: part for part in compare(left, right)}
    assert parts["assistant"].same
    assert (parts["user header"].left, parts["user header"].right) == (
        "<|im_start|>user\n",
        "<|start_header_id|>user<|end_header_id|>\n\n",
    )
    assert parts["generation prompt"].right is None
    assert all(part.same for part in compare(left, left))
    rows = compare(left, right)
    assert "".join(p.left for p in rows if p.left) == left.text


# --- the reader ------------------------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
def test_the_traced_text_is_the_rendered_text_piece_by_piece(name):
    one = family(name)
    for messages in CONVERSATIONS.values():
        ready = in_blocks(messages) if wants_blocks(one) else messages
        text, error = plain_text(one, ready, add_generation_prompt=True)
        if error is not None:
            continue
        variables = {"messages": ready, "tools": None, "add_generation_prompt": True, **one.tokens}
        record = trace(one.text, variables)
        assert record.text == text
        assert "".join(text[p.start : p.end] for p in record.pieces) == text
        assert {p.tag for p in record.pieces} <= set(range(len(tags(one.text))))


def test_tags_put_together_are_the_template():
    for name in NAMES:
        text = family(name).text
        assert "".join(tag.source for tag in tags(text)) == text


def test_the_reader_says_what_each_tag_did():
    steps = explain(CHATML, {"messages": CHAT, "add_generation_prompt": False})
    did = {step.tag.code: (step.did, step.printed) for step in steps}
    assert did["for message in messages"] == ("5 rounds", ())
    assert did["if message['role'] == 'assistant'"][0] == "true 2 of 5 times"
    assert did["if add_generation_prompt"][0] == "true 0 of 1 time"
    assert did["'<|im_start|>assistant\\n'"] == ("not reached", ())
    assert did["message['content'] + '<|im_end|>'"][1] == (
        "Ada keeps a raven.<|im_end|>",
        "She works as a potter.<|im_end|>",
    )
    assert {step.tag.line for step in steps} == {1, 2, 3, 4, 5, 6, 8}


# --- checks ----------------------------------------------------------------------------------


def codes(source, *arguments, **options) -> dict[str, str]:
    return {c.code: c.severity for c in check_template(source, *arguments, **options)}


def test_a_sound_template_gives_no_alarm(chatml):
    assert check_template(chatml) == []


@pytest.mark.parametrize(
    ("old", "new", "code"),
    [
        ("message['content'] + '<|im_end|>\\n'", "'<|im_end|>\\n'", "template.drops_content"),
        ("message['content'] + '<|im_end|>' ", "'' ", "template.drops_content"),
        ("{%- for", "{{- strftime_now('%Y') -}}{%- for", "template.renders_date"),
        ("{%- for", "{{- messages | length -}}{%- for", "template.prefix_broken"),
        (
            "assistant\\n' -}}{%- endif",
            "assistant\\n<think>' -}}{%- endif",
            "template.prefix_broken",
        ),
        ("<|im_end|>", "<|im_start|>", "template.end_token_not_eos"),
        ("{%- generation -%}", "", "template.no_generation_markers"),
    ],
)
def test_each_flaw_is_found(old, new, code):
    text = CHATML.replace(old, new)
    if "markers" in code:
        text = text.replace("{%- endgeneration -%}", "")
    assert text != CHATML
    assert code in codes(tokenizer(text))


def test_a_system_prompt_that_vanishes_is_found():
    text = (
        "{%- set messages = messages | rejectattr('role', 'equalto', 'system') | list -%}" + CHATML
    )
    found = check_template(tokenizer(text))
    assert [c.code for c in found] == ["template.drops_content"]
    assert "system" in found[0].message


def test_no_template_at_all():
    for nothing in (None, "", tokenizer(None)):
        assert codes(nothing) == {"template.missing": "error"}


def test_a_base_tokenizer_does_not_stop_where_the_template_does(chatml):
    base = tokenizer(eos_token="<|endoftext|>")
    assert codes(base) == {"template.end_token_not_eos": "error"}
    assert codes(base, also_stops_at=["<|im_end|>"]) == {}
    assert codes("qwen2_5", base)["template.end_token_not_eos"] == "error"


def test_what_the_families_do():
    assert traits("gemma").system == "refused"
    assert traits("qwen2_5").unknown_roles == "dropped"
    assert traits("qwen3").thinking == "last turn only"
    assert [traits(n).date for n in ("llama3_2", "gptoss", "muse_glimmer", "llama3_1")] == [
        True,
        True,
        True,
        False,
    ]
    assert not traits("deepseekv3").prompt
    assert not traits("qwen3").prefix
    assert traits("smolvlm").blocks
    assert traits("phi3").end == "<|end|>\n"


def test_the_date_is_found_although_the_template_only_may_print_it():
    optional = "{%- if strftime_now is defined and false -%}{{ strftime_now('%d') }}{%- endif -%}"
    assert not traits(optional + CHATML).date


@pytest.mark.parametrize("one", families(), ids=lambda one: one.name)
def test_the_verdict_is_trls_own(one):
    from trl.chat_template_utils import get_training_chat_template, has_generation_markers

    verdict = trl_verdict(one)
    if has_generation_markers(one.text):
        assert (verdict.outcome, verdict.template) == ("accepted", one.text)
    elif one.training_text:
        assert verdict.template == get_training_chat_template(bare_tokenizer(one))
        assert (verdict.outcome, verdict.template) == ("patched", one.training_text)
    else:
        with pytest.raises(ValueError, match="not training-compatible"):
            get_training_chat_template(bare_tokenizer(one))
        assert (verdict.outcome, verdict.template) == ("refused", None)
    assert verdict.end_trained is not False or verdict.outcome == "refused"


def test_one_space_more_and_trl_no_longer_knows_the_template():
    assert trl_verdict(family("qwen2_5").text).outcome == "patched"
    assert trl_verdict(family("qwen2_5").text + " ").outcome == "refused"


# --- parity ----------------------------------------------------------------------------------


def test_parity_holds_and_breaks_where_it_should(chatml):
    row = CHAT[1:3]
    assert parity(chatml, row).holds
    assert parity(chatml, CHAT).first_difference is None
    text = chatml.apply_chat_template(row[:1], tokenize=False, add_generation_prompt=True)

    def serve(prompt: str):
        return parity(chatml, row, serving=chatml(prompt, add_special_tokens=False)["input_ids"])

    changed = serve(text.replace("pet", "cat"))
    at = changed.first_difference
    assert (changed.token("training", at), changed.token("serving", at)) == ("p", "c")
    assert "training has 'p', inference has 'c'" in str(changed)
    early = serve(text.removesuffix("<|im_start|>assistant\n"))
    assert chatml.decode(early.missing) == "<|im_start|>assistant\n"
    assert "ends too early" in str(early)
    assert serve("<|im_start|>user" + text).first_difference == 1
    assert serve(text + "Ada").holds  # a longer prompt that the row agrees with


def test_parity_sees_the_swapped_template():
    own = bare_tokenizer("qwen3")
    assert parity(own, CHAT).holds
    swapped = parity(own, CHAT, assistant_only_loss=True)
    assert not swapped.holds
    assert swapped.token("training", swapped.same) == "<"  # of an empty <think> block


@pytest.mark.parametrize("messages", [[], CHAT[:2], [{"role": "user", "content": None}, CHAT[2]]])
def test_parity_without_an_answer_or_with_a_failing_template(messages):
    with pytest.raises(DataError):
        parity(bare_tokenizer("qwen2_5"), messages)


@pytest.mark.slow
@pytest.mark.parametrize("only", [False, True])
@pytest.mark.parametrize("name", ["qwen2_5", "qwen3", "llama3", "phi3"])
def test_the_training_row_is_the_one_that_sfttrainer_prepares(name, only, tmp_path):
    from datasets import Dataset
    from transformers import LlamaConfig, LlamaForCausalLM
    from trl import SFTConfig, SFTTrainer

    own = bare_tokenizer(name)
    size = {"hidden_size": 8, "intermediate_size": 8, "num_attention_heads": 2}
    model = LlamaForCausalLM(LlamaConfig(vocab_size=len(own), num_hidden_layers=1, **size))
    args = SFTConfig(
        output_dir=str(tmp_path), assistant_only_loss=only, use_cpu=True, bf16=False, report_to=[]
    )
    rows = Dataset.from_list([{"messages": CHAT}])
    trainer = SFTTrainer(model=model, args=args, train_dataset=rows, processing_class=own)
    prepared = trainer.train_dataset[0]["input_ids"]
    assert list(parity(own, CHAT, assistant_only_loss=only).training) == prepared


# --- views -----------------------------------------------------------------------------------


@pytest.fixture
def published(monkeypatch):
    out = []
    monkeypatch.setattr(
        "IPython.display.publish_display_data", lambda data, metadata: out.append((data, metadata))
    )
    monkeypatch.delenv("SFT_STATIC", raising=False)
    return out


EVIL = "<script>x</script><img src=x onerror=x>"


def test_views_escape_what_they_show(published):
    from sft_helpers.display import playground as views

    chat = [{"role": EVIL, "content": EVIL}, {"role": "user", "content": EVIL}]
    source = "{{ messages[0].content }}{# " + EVIL + " #}{% for m in messages %}{{ m }}{% endfor %}"
    left, right = render(source, chat), render(CHATML, chat)
    variables = {"messages": chat}
    for html in (
        views.rendering_html(left),
        views.comparison_html(left, right),
        views.comparison_html(left, render("gemma", chat)),
        views.reader_html(explain(source, variables)),
        views.traits_html([traits(CHATML), traits("gemma")], {"gemma": EVIL}),
        views.checks_html(check_template(tokenizer(CHATML.replace("<|im_end|>", EVIL)))),
    ):
        assert "<script>" not in html
        assert "<img" not in html
    views.playground(chat)
    ((data, _),) = published
    assert "<img" not in data["text/html"]


def test_the_playground_answers_every_request():
    from sft_helpers.display.playground import EXAMPLE, PlaygroundView, answer_to

    sources = {one.name: one for one in families()}
    request = {
        "text": json.dumps(EXAMPLE),
        "left": "qwen3",
        "right": "gemma",
        "prompt": True,
        "tools": False,
        "thinking": "off",
        "number": 0,
    }
    view = PlaygroundView(sources, request)
    assert "System role not supported" in view.answer["summary"]
    view.request = {**request, "right": "llama3", "number": 1}
    assert "parts differ" in view.answer["summary"]
    labels = {row["label"]: row for row in view.answer["rows"]}
    assert labels["generation prompt"]["left"].endswith("<think>\n\n</think>⏎\n⏎\n")
    assert labels["assistant"]["same"]
    for text, words in [
        ("[{", "not JSON yet"),
        ("[]", "no messages"),
        ("3", "a list of messages"),
    ]:
        assert words in answer_to(sources, {**request, "text": text})["summary"]
    bad = {**request, "left": "qwen2_5", "text": '[{"role": "user", "content": null}]'}
    assert "qwen2_5: the template fails" in answer_to(sources, bad)["summary"]
    assert "no template is called" in answer_to(sources, {**request, "left": "x"})["summary"]
    with_tool = answer_to(sources, {**request, "tools": True})
    assert any("look_up" in (row["left"] or "") for row in with_tool["rows"])


def test_the_playground_has_a_static_twin(published, monkeypatch, chatml):
    from sft_helpers.display.playground import playground
    from sft_helpers.display.widgets import VIEW

    playground()
    monkeypatch.setenv("SFT_STATIC", "1")
    playground(tokenizer=chatml, right="gemma")
    (live, _), (static, _) = published
    assert VIEW in live
    assert VIEW not in static
    assert "&lt;|start_header_id|&gt;user" in live["text/html"]
    assert "System role not supported" in static["text/html"]
    assert all(f">{one.name}<" in live["text/html"] for one in families())
    with pytest.raises(DataError, match="no template named"):
        playground(right="nothing")


def test_the_style_of_the_playground_sets_both_colours():
    from sft_helpers.display.playground import HERE

    css = (HERE / "playground.css").read_text("utf-8")
    for rule in css.split("}")[:-1]:
        assert ("background:" in rule) == ("color: var" in rule)
        assert all(part.strip().startswith(".sft-kit") for part in rule.split("{")[0].split(","))


def test_parity_view_points_at_the_difference(chatml):
    from sft_helpers.display.playground import parity_html

    row = CHAT[1:3]
    wrong = parity(chatml, row, serving=[0, *parity(chatml, row).serving])
    assert "sft-marked" in parity_html(wrong)
    assert "the same" in parity_html(parity(chatml, row))


def test_probe_conversation_is_plain():
    assert [m["role"] for m in PROBE] == ["user", "assistant"] * 2
