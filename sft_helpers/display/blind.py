"""Two models side by side, blind: choose the better answer without knowing whose it is."""

from __future__ import annotations

import hashlib
import json
import random
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import anywidget
import traitlets
from markupsafe import Markup

from sft_helpers.display.html import Html, page, table, visible_text
from sft_helpers.display.widgets import script, show, static_only
from sft_helpers.errors import DataError, EnvironmentProblem

HERE = Path(__file__).parent
CHOICES = ("", "left", "right", "tie")


class BlindView(anywidget.AnyWidget):
    """The live view. `choices` holds "", "left", "right" or "tie" for each pair of answers."""

    _esm = script("blind.js")
    _css = HERE / "kit.css"
    pairs = traitlets.List(traitlets.Dict()).tag(sync=True)
    names = traitlets.List(traitlets.Unicode()).tag(sync=True)
    choices = traitlets.List(traitlets.Unicode()).tag(sync=True)
    saved = traitlets.Unicode("").tag(sync=True)
    file: Path | None = None

    @traitlets.validate("choices")
    def _sound(self, proposal: Any) -> list[str]:
        value = list(proposal["value"])
        if len(value) != len(self.pairs) or any(choice not in CHOICES for choice in value):
            raise traitlets.TraitError("one of '', 'left', 'right', 'tie' for each pair")
        return value

    @property
    def chosen(self) -> list[str]:
        """For each pair the name of the preferred model, "tie", or "" while undecided."""
        return [_whose(pair, choice) for pair, choice in zip(self.pairs, self.choices, strict=True)]

    @property
    def counts(self) -> dict[str, int]:
        """How often each model was preferred, ties, and pairs that are still open."""
        chosen = self.chosen
        labels = {"first": self.names[0], "second": self.names[1], "tie": "tie", "": "open"}
        return {label: chosen.count(key) for key, label in labels.items()}


def _whose(pair: Mapping[str, Any], choice: str) -> str:
    if choice not in ("left", "right"):
        return choice
    return "second" if (choice == "left") == bool(pair["swapped"]) else "first"


def make_pairs(rows: Sequence[Mapping[str, Any]], *, seed: int = 0) -> list[dict[str, Any]]:
    """Put the two answers of each question left and right by the toss of a coin.

    Args:
        rows: each with `question`, `before` and `after`, as `Answers.compare` gives them; the
            first model's answer is `before`. Pairs with equal answers are left out.
        seed: seed of the coin and of the order.

    Raises:
        DataError: a row lacks a field, or no two answers differ.
    """
    rng = random.Random(f"blind/{seed}")
    pairs = []
    for number, row in enumerate(rows):
        missing = sorted({"question", "before", "after"} - set(row))
        if missing:
            raise DataError(f"the row lacks {', '.join(missing)}", where=f"row {number}")
        texts = [visible_text(str(row["before"])), visible_text(str(row["after"]))]
        if texts[0] == texts[1]:
            continue
        swapped = rng.random() < 0.5
        left, right = reversed(texts) if swapped else texts
        question = visible_text(str(row["question"]))
        pairs.append({"question": question, "left": left, "right": right, "swapped": swapped})
    if not pairs:
        raise DataError(
            "the two models answer alike, so there is nothing to choose",
            hint="ask more questions, or compare other models",
        )
    rng.shuffle(pairs)
    return pairs


def _print_of(pairs: Sequence[Mapping[str, Any]]) -> str:
    text = json.dumps([[pair["question"], pair["left"], pair["right"]] for pair in pairs])
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def make_view(
    rows: Sequence[Mapping[str, Any]],
    names: tuple[str, str],
    *,
    file: str | Path | None = None,
    seed: int = 0,
    limit: int = 20,
) -> BlindView:
    """Build what `blind_view` shows, with the choices of an earlier sitting with these pairs."""
    pairs = make_pairs(rows, seed=seed)[:limit]
    view = BlindView(pairs=pairs, names=[visible_text(name) for name in names])
    view.choices = [""] * len(pairs)
    if file is None:
        return view
    view.file = Path(file)
    view.saved = str(view.file)
    if view.file.exists():
        view.choices = _read(view.file, pairs)
    view.observe(lambda _: _write(view), names="choices")
    return view


def _read(path: Path, pairs: Sequence[Mapping[str, Any]]) -> list[str]:
    try:
        kept = json.loads(path.read_text(encoding="utf-8"))
        same = kept["pairs"] == _print_of(pairs)
        choices = [str(entry["side"]) for entry in kept["choices"]]
    except (OSError, ValueError, KeyError, TypeError) as problem:
        raise DataError(
            "this file holds no choices of a blind comparison",
            where=str(path),
            hint="give another file name, or remove it",
        ) from problem
    return choices if same and len(choices) == len(pairs) else [""] * len(pairs)


def _write(view: BlindView) -> None:
    assert view.file is not None
    entries = [
        {"question": pair["question"], "side": side, "prefers": whose}
        for pair, side, whose in zip(view.pairs, view.choices, view.chosen, strict=True)
    ]
    content = {
        "models": {"first": view.names[0], "second": view.names[1]},
        "pairs": _print_of(view.pairs),
        "counts": view.counts,
        "choices": entries,
    }
    try:
        view.file.parent.mkdir(parents=True, exist_ok=True)
        part = view.file.with_name(view.file.name + ".part")
        part.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
        part.replace(view.file)
    except OSError as problem:
        raise EnvironmentProblem(
            f"the choices cannot be kept ({problem.strerror})", where=str(view.file)
        ) from problem


def blind_html(pairs: Sequence[Mapping[str, Any]], names: Sequence[str], first: int = 6) -> Html:
    """Return the static view: pairs without names, and who stood where below, folded."""
    shown = list(pairs[:first])
    blind = table(
        [
            {"pair": number, "question": p["question"], "left": p["left"], "right": p["right"]}
            for number, p in enumerate(shown, start=1)
        ],
        caption=f"Which answer is better? The first {len(shown)} of {len(pairs)} pairs",
    )
    key = table(
        [
            {"pair": number, "left": names[bool(p["swapped"])], "right": names[not p["swapped"]]}
            for number, p in enumerate(shown, start=1)
        ],
        caption="Whose answers they were",
    )
    folded = Markup("<details><summary>Reveal who is who</summary>{}</details>")
    return page(blind, folded.format(page(key)))


def blind_view(
    rows: Sequence[Mapping[str, Any]],
    names: tuple[str, str],
    *,
    file: str | Path | None = None,
    seed: int = 0,
    limit: int = 20,
) -> BlindView | None:
    """Show two models side by side: choose blind, then reveal.

    Args:
        rows: from `Answers.compare`: `before` is the first model's answer, `after` the second's.
        names: what to call the two once revealed.
        file: where choices are kept, as JSON, after each choice; None keeps nothing.
        seed: seed of the order and of the sides.
        limit: pairs at most.

    Returns:
        The view, whose `counts` can be read at any time; None where views are static.

    Raises:
        DataError: see `make_pairs`; or `file` holds something else.
    """
    view = make_view(rows, names, file=file, seed=seed, limit=limit)
    show(
        None if static_only() else view,
        html=blind_html(view.pairs, view.names),
        alt=f"{len(view.pairs)} pairs of answers of {names[0]} and {names[1]}, names hidden",
    )
    return None if static_only() else view
