"""The style sheet: background and text always together, and every pair readable in both themes."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import sft_helpers.display

FOLDER = Path(sft_helpers.display.__file__).parent
CSS = re.sub(r"/\*.*?\*/", "", (FOLDER / "kit.css").read_text(encoding="utf-8"), flags=re.S)
# What JupyterLab 4 sets in its two themes; without it the fallbacks hold.
LIGHT = {
    "--jp-layout-color0": "#ffffff",
    "--jp-layout-color2": "#eeeeee",
    "--jp-content-font-color1": "#212121",
    "--jp-border-color1": "#bdbdbd",
}
DARK = {
    "--jp-layout-color0": "#111111",
    "--jp-layout-color2": "#424242",
    "--jp-content-font-color1": "#ffffff",
    "--jp-border-color1": "#616161",
}
THEMES = {"light": LIGHT, "dark": DARK, "no theme": {}}


def rules() -> list[tuple[str, dict[str, str]]]:
    found = []
    for selector, body in re.findall(r"([^{}]+)\{([^{}]*)\}", CSS):
        pairs = [line.split(":", 1) for line in body.split(";") if ":" in line]
        found.append((selector.strip(), {name.strip(): value.strip() for name, value in pairs}))
    return found


def resolve(value: str, theme: dict[str, str]) -> str:
    """Follow var(--name, fallback) to a colour."""
    own = {name: text for _, body in rules() for name, text in body.items() if name[:2] == "--"}
    while match := re.match(r"var\((--[\w-]+)\s*(?:,\s*(.*))?\)$", value):
        name, fallback = match.groups()
        value = own.get(name) or theme.get(name) or fallback
    return value


def luminance(colour: str) -> float:
    channels = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return sum(weight * c for weight, c in zip((0.2126, 0.7152, 0.0722), linear, strict=True))


def contrast(one: str, other: str) -> float:
    low, high = sorted([luminance(one), luminance(other)])
    return (high + 0.05) / (low + 0.05)


def test_the_formula_knows_black_on_white():
    assert contrast("#000000", "#ffffff") == pytest.approx(21)


@pytest.mark.parametrize("theme", THEMES)
def test_every_pair_of_text_and_background_is_readable(theme):
    pairs = {
        selector: (body["color"], body["background"].split(" repeating")[0])
        for selector, body in rules()
        if "background" in body
    }
    assert len(pairs) >= 10
    for selector, (ink, paper) in pairs.items():
        ratio = contrast(resolve(ink, THEMES[theme]), resolve(paper, THEMES[theme]))
        assert ratio >= 4.5, f"{selector}: {ratio:.1f}"


def test_background_and_text_are_set_together():
    for selector, body in rules():
        assert "background-color" not in body, f"{selector}: write background"
        if "background" in body:
            assert "color" in body, f"{selector} sets a background without a text colour"
        elif "color" in body:
            assert body["color"] == "inherit", f"{selector} sets a text colour without a background"


@pytest.mark.parametrize("theme", THEMES)
def test_drawn_lines_stand_out(theme):
    paper = resolve("var(--sft-bg)", THEMES[theme])
    strokes = [body["stroke"] for _, body in rules() if body.get("stroke", "")[:1] == "#"]
    assert len(strokes) == 2
    assert all(contrast(stroke, paper) >= 3 for stroke in strokes)


def test_every_rule_stays_inside_our_views():
    for selector, _ in rules():
        assert all(part.strip().startswith(".sft-kit") for part in selector.split(",")), selector


def test_every_class_in_use_has_a_rule():
    sources = "".join(p.read_text("utf-8") for p in FOLDER.parent.rglob("*.py"))
    sources += "".join(p.read_text("utf-8") for p in FOLDER.glob("*.js"))
    used = set(
        re.findall(r"\bsft-[a-z]+\b", " ".join(re.findall(r"class[=:]\s*['\"]([^'\"]+)", sources)))
    )
    sheets = "".join(p.read_text("utf-8") for p in FOLDER.glob("*.css"))
    defined = set(re.findall(r"\.(sft-[a-z]+)", sheets))
    assert used - defined == set()
