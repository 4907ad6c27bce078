"""The Go template: what it renders, how it is made from a chat template, what is refused."""

from __future__ import annotations

import pytest

from sft_helpers.errors import DataError
from sft_helpers.go_template import render_go
from sft_helpers.modelfile import (
    PROBES,
    CannotExpress,
    go_template,
    modelfile,
    ollama_prompt,
    template_in,
)
from sft_helpers.templates import families, family, plain_text

MESSAGES = [
    {"Role": "system", "Content": "S"},
    {"Role": "user", "Content": "A\nb"},
    {"Role": "assistant", "Content": "B"},
    {"Role": "user", "Content": "<C>"},
]
# Each with what Go 1.19 itself made of it (package text/template, option missingkey=zero).
BY_GO = [
    (
        "{{- if .System }}[{{ .System }}]{{ end }}\n{{- range .Messages }}\n"
        '{{- if eq .Role "user" }}U: {{ .Content }}\n{{ else if eq .Role "assistant" }}'
        "A: {{ .Content }}\n{{ else }}?{{ end }}\n{{- end }}A:",
        "[S]?U: A\nb\nA: B\nU: <C>\nA:",
    ),
    (
        "{{ $n := len .Messages }}{{ range $i, $m := .Messages }}"
        "{{ $last := eq (len (slice $.Messages $i)) 1 }}"
        "{{ if and (eq $i 0) (or .Content $.System) }}first {{ $n }} {{ end }}"
        '{{ (index $.Messages 0).Role }}-{{ $m.Content -}} \n x {{- "  q\\n" }}{{ `raw` }}'
        "{{ $last }};{{ end }}{{/* c */}}",
        "first 4 system-Sx  q\nrawfalse;system-A\nbx  q\nrawfalse;system-Bx  q\nrawfalse;"
        "system-<C>x  q\nrawtrue;",
    ),
    (
        '{{ range $m := .Messages }}{{ if not (eq .Role "system" "assistant") }}{{ $m.Content }}'
        "{{ end }}{{ end }}{{ range .Tools }}t{{ else }}none{{ end }}",
        "A\nb<C>none",
    ),
    (
        ' {{- 3 -}} {{ true }} {{ len "abc" | eq 3 }} {{ if .Nope }}y{{ else }}n{{ end }}'
        "{{ ne 1 2 }}{{ lt 1 2 }}{{ ge 1 2 }}",
        "3true true ntruetruefalse",
    ),
    (
        "{{ range $i, $_ := .Messages }}{{ if gt $i 1 }}{{ $i }}{{ end }}{{ end }}"
        '{{ $x := "a" }}{{ if true }}{{ $x = "b" }}{{ $y := "c" }}{{ $y }}{{ end }}{{ $x }}',
        "23cb",
    ),
]


@pytest.mark.parametrize(("template", "by_go"), BY_GO)
def test_renders_as_go_does(template, by_go):
    assert render_go(template, {"System": "S", "Messages": MESSAGES, "Response": ""}) == by_go


@pytest.mark.parametrize(
    ("template", "said"),
    [
        ("{{ if .System }}", "without its end"),
        ("{{ end }}", "without an if"),
        ("{{ else }}", "without an if"),
        ("{{ with .System }}{{ end }}", "with is not rendered"),
        ("{{ printf .System }}", "'printf' is not known"),
        ("{{ $x }}", "is not defined"),
        ("{{ (len .Messages }}", "not closed"),
        ("{{ ) }}", "out of place|empty|not understood"),
        ("{{ .System .System }}", "only a function"),
        ("{{ index .Messages 9 }}", "fails"),
        ("{{ len 3 }}", "fails"),
        ("{{ % }}", "not understood"),
        ("{{ range $a b := }}{{ end }}", "not understood|fails"),
    ],
)
def test_what_is_unsound_is_refused_by_name(template, said):
    with pytest.raises(DataError, match=said):
        render_go(template, {"System": "S", "Messages": MESSAGES})


def made():
    found = {}
    for one in families():
        try:
            found[one.name] = go_template(one)
        except CannotExpress as problem:
            found[one.name] = problem
    return found


def test_templates_of_trl_are_made_or_refused_with_a_reason():
    found = made()
    refused = {name: str(p) for name, p in found.items() if isinstance(p, CannotExpress)}
    assert len(found) - len(refused) >= 0.8 * len(found)
    assert {"qwen2_5", "llama3", "gemma", "phi3", "qwen3"} <= set(found) - set(refused)
    assert "today's date" in refused["llama3_2"]
    assert all("What to do" in said for said in refused.values())
    for name in set(found) - set(refused):
        for probe in PROBES:
            wanted, error = plain_text(family(name), probe, add_generation_prompt=True)
            if error is None and (found[name].system or probe[0]["role"] != "system"):
                assert ollama_prompt(found[name].text, probe) == wanted, name
    assert "thoughts" in " ".join(found["qwen3"].notes)
    assert "white space" in " ".join(found["llama3"].notes)
    assert not found["gemma"].system


@pytest.mark.parametrize(
    ("template", "said"),
    [
        ("{% for m in messages %}{{ m.content | upper }}{% endfor %}", "changes, drops"),
        ("{% for m in messages %}{{ loop.index }}{{ m.content }}{% endfor %}", "by its place"),
        ("{{ raise_exception('no') }}", "fails on a plain"),
        ("{% for m in messages %}{{ '{{' }}{{ m.content }}{% endfor %}", "cannot hold"),
        (
            "{% for m in messages %}{{ m.content }};{% endfor %}{{ messages | length == 3 }}",
            "other conversations",
        ),
        (
            "{% for m in messages %}{{ m.content }};{% endfor %}"
            "{% if messages[0].role == 'system' %}!{% endif %}",
            "when there is a system prompt",
        ),
    ],
)
def test_what_go_cannot_say_is_refused(template, said):
    with pytest.raises(CannotExpress, match=said):
        go_template(template)


def test_ollama_joins_neighbours_of_one_role():
    template = "{{ .System }}|{{ range .Messages }}{{ .Role }}={{ .Content }};{{ end }}"
    rows = [("system", "a"), ("user", "b"), ("user", "c"), ("system", "d")]
    messages = [{"role": role, "content": text} for role, text in rows]
    assert ollama_prompt(template, messages) == "a\n\nd|system=a;user=b\n\nc;system=d;"
    with pytest.raises(DataError, match="older form"):
        ollama_prompt("{{ .Prompt }}", messages)


def test_the_file_holds_template_stop_and_length():
    from sft_helpers.exercises.export_and_serve import _tokenizer

    text = modelfile(_tokenizer(), "/some/where/m.gguf", num_ctx=512, parameters={"top_k": 1})
    assert "FROM ./m.gguf\n" in text
    assert 'PARAMETER stop "<|im_end|>"\nPARAMETER num_ctx 512\nPARAMETER top_k 1\n' in text
    assert template_in(text) == go_template(_tokenizer()).text
    import copy

    other = copy.deepcopy(_tokenizer())
    other.eos_token = "<|endoftext|>"  # as in a Qwen base model: not what ends a turn
    text = modelfile(other, "m.gguf", num_ctx=9)
    assert 'PARAMETER stop "<|im_end|>"\nPARAMETER stop "<|endoftext|>"\n' in text
    with pytest.raises(DataError, match="no TEMPLATE"):
        template_in("FROM ./m.gguf")


def test_a_start_token_that_the_server_adds_is_left_out():
    from sft_helpers.exercises.export_and_serve import _tokenizer

    from sft_helpers.broken_servers import with_start_token

    tokenizer = with_start_token(_tokenizer())
    assert tokenizer.bos_token in go_template(tokenizer).text
    assert tokenizer.bos_token not in template_in(modelfile(tokenizer, "m.gguf", num_ctx=9))
