"""Link each glossary term from its first use in the notebooks.

    python tools/glossary.py           set the links anew
    python tools/glossary.py --check   exit 1 when a link is missing or stale

`docs/glossary.md` holds a term per `###` heading. A term is linked where it first stands in the
running text of a notebook: not in headings, code, links, titles and badges.
"""

from __future__ import annotations

import json
import re
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
PAGE = "../docs/glossary.md"
LINK = re.compile(r"\[([^\]]+)\]\(" + re.escape(PAGE) + r"#[^)]*\)")
# What is not running text: code, links and pictures, headings, tables, html, titles of papers.
NOT_PROSE = re.compile(
    r"```.*?```|`[^`\n]*`|!?\[[^\]]*\]\([^)]*\)|^#+ [^\n]*|^\|[^\n]*|<[^>\n]+>"
    r"|(?<!\*)\*[^*\n]{25,}\*(?!\*)",
    re.S | re.M,
)
LEFT_ALONE = {"title", "badge"}
# Also ordinary verbs: linked only where they are emphasised, or follow an article.
ALSO_VERBS = {"turn", "merge", "pack", "leak", "label", "mask", "schedule", "seed", "prompt"}


@dataclass(frozen=True)
class Term:
    """A term of the glossary: its name, the anchor of its heading, and where it is taught."""

    name: str
    anchor: str
    lessons: tuple[str, ...]


def terms(text: str) -> list[Term]:
    """The terms of the glossary's text, in its order."""
    found = []
    for part in re.split(r"^### ", text, flags=re.M)[1:]:
        name, _, body = part.partition("\n")
        anchor = re.sub(r"[^\w -]", "", name.lower()).replace(" ", "-")
        lessons = re.findall(r"\(\.\./notebooks/(\w+)\.ipynb\)", body)
        found.append(Term(name, anchor, tuple(lessons)))
    return found


def pattern(name: str) -> re.Pattern[str]:
    """Matches a term and its plural as whole words, in any case unless it is an abbreviation."""
    words = r"[\s-]+".join(re.escape(word) for word in name.split())
    plain = name == name.lower()
    before, after = r"(?<![\w/-])", r"(?![\w/-])"
    if name in ALSO_VERBS:
        before = r"(?:(?<=\*)|(?<=\b[Tt]he )|(?<=\b[Aa] )|(?<=\beach )|(?<=\btwo ))"
    return re.compile(rf"{before}{words}(?:e?s)?{after}", re.I if plain else 0)


def unlinked(text: str) -> str:
    """The text without links to the glossary."""
    return LINK.sub(r"\1", text)


def link_first(text: str, term: Term) -> str | None:
    """The text with the first use of the term linked; None where it is not used."""
    hidden = NOT_PROSE.sub(lambda match: "\0" * len(match[0]), text)
    use = pattern(term.name).search(hidden)
    if use is None:
        return None
    start, end = use.span()
    return f"{text[:start]}[{text[start:end]}]({PAGE}#{term.anchor}){text[end:]}"


def link_notebooks(notebooks: dict[str, dict[str, Any]], wanted: list[Term]) -> list[str]:
    """Set the links in decoded notebooks, in place; return the terms that are never used."""
    cells = [
        cell
        for name in sorted(notebooks)
        for cell in notebooks[name]["cells"]
        if cell["cell_type"] == "markdown" and cell.get("id") not in LEFT_ALONE
    ]
    texts = [unlinked("".join(cell["source"])) for cell in cells]
    unused = []
    for term in sorted(wanted, key=lambda term: -len(term.name)):  # "loss mask" before "loss"
        for number, text in enumerate(texts):
            linked = link_first(text, term)
            if linked is not None:
                texts[number] = linked
                break
        else:
            unused.append(term.name)
    for cell, text in zip(cells, texts, strict=True):
        cell["source"] = text.splitlines(keepends=True)
    return unused


def main(check: bool) -> int:
    """Write or check the links of all notebooks."""
    wanted = terms((ROOT / "docs" / "glossary.md").read_text("utf-8"))
    paths = sorted((ROOT / "notebooks").glob("*.ipynb"))
    before = {path.name: path.read_text("utf-8") for path in paths}
    notebooks = {name: json.loads(text) for name, text in before.items()}
    unused = link_notebooks(notebooks, wanted)
    stale = []
    for path in paths:
        text = json.dumps(notebooks[path.name], indent=1, ensure_ascii=False) + "\n"
        if text != before[path.name]:
            stale.append(path.name)
            if not check:
                path.write_text(text, "utf-8", newline="\n")
    if unused:
        print(f"used in no running text: {', '.join(unused)}")
    if check and stale:
        print(f"run python tools/glossary.py: {', '.join(stale)}", file=sys.stderr)
    return 1 if check and stale else 0


if __name__ == "__main__":
    sys.exit(main("--check" in sys.argv[1:]))
