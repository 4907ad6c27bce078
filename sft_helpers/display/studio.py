"""The cleaning studio: turn the thresholds, see the funnel at once, read what falls out."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anywidget
import numpy as np
import traitlets

from sft_helpers.cleaning import Rule, Thresholds, clean, default_rules
from sft_helpers.cleaning.measures import DIALS, LOWEST_SIMILARITY, measure
from sft_helpers.cleaning.model import Chat, Row, read_chat, short
from sft_helpers.cleaning.report import BINS, Report
from sft_helpers.cleaning.scoring import RuleScore
from sft_helpers.display.figures import BLUE, GREY, ORANGE, drawing
from sft_helpers.display.html import Html, page, table, visible_text
from sft_helpers.display.widgets import script, show, static_only
from sft_helpers.errors import DataError

if TYPE_CHECKING:
    from matplotlib.figure import Figure

HERE = Path(__file__).parent
MOST_ROWS = 5_000
_OF_A_DIAL = ("name", "rule", "label", "low", "high", "step", "above", "reach")


class CleaningStudio(anywidget.AnyWidget):
    """The live studio; `settings` and `result` follow what the learner does.

    Attributes:
        settings: threshold name to value.
        off: names of the rules that are switched off.
        result: rule to rows dropped, and `kept`.
    """

    _esm = script("studio.js")
    _css = "".join((HERE / name).read_text("utf-8") for name in ("kit.css", "studio.css"))
    data = traitlets.Dict().tag(sync=True)
    settings = traitlets.Dict().tag(sync=True)
    off = traitlets.List(traitlets.Unicode()).tag(sync=True)
    result = traitlets.Dict().tag(sync=True)

    @property
    def thresholds(self) -> Thresholds:
        """The settings as `Thresholds`, to clean with."""
        kinds = {name: type(value) for name, value in asdict(Thresholds()).items()}
        changes = {name: kinds[name](value) for name, value in self.settings.items()}
        return replace(Thresholds(), **changes)


def studio_data(
    rows: Sequence[Any],
    *,
    rules: Sequence[Rule] | None = None,
    eval_rows: Iterable[Row] | None = None,
    thresholds: Thresholds | None = None,
    labels: Sequence[dict[str, Any]] | None = None,
) -> dict[str, Any]:
    """What `cleaning_studio` shows, as plain data; every text is safe to look at."""
    if not 0 < len(rows) <= MOST_ROWS:
        raise DataError(
            f"the studio shows 1 to {MOST_ROWS:,} rows, not {len(rows):,}",
            hint="show a random sample of your rows",
        )
    if labels is not None and len(labels) != len(rows):
        raise DataError(f"{len(labels)} labels for {len(rows)} rows", hint="give one label a row")
    known = None if eval_rows is None else list(eval_rows)
    chosen = rules or default_rules()
    found = measure(rows, rule_set=chosen, eval_rows=known, thresholds=thresholds)
    why = {rule.name: rule.why for rule in chosen} | {"structure": "No conversation at all."}
    return {
        "rules": [{"name": name, "why": visible_text(why[name])} for name in found.rules],
        "dials": [
            {name: getattr(dial, name) for name in _OF_A_DIAL}
            | {"values": found.values.get(dial.name, [])}
            for dial in DIALS
            if dial.rule in found.rules
        ],
        "caught": found.caught,
        "groups": found.groups,
        "pairs": [[row, earlier, round(score, 4)] for row, earlier, score in found.pairs],
        "fixed": len(found.fixed),
        "flagged": len(found.flagged),
        "texts": [_texts(row) for row in rows],
        "lengths": [
            max((len(answer) for answer in chat.answers), default=0) if chat else -1
            for chat in found.chats
        ],
        "bins": list(BINS),
        "sound": [not label["defects"] for label in labels] if labels is not None else None,
    }


def _texts(row: Any) -> list[str]:
    # as it came in: after a repair nobody would see what was repaired
    chat = read_chat(row)
    if not isinstance(chat, Chat):
        return ["(no conversation)", visible_text(short(_plain(row), 300))]
    *before, last = chat.messages
    asked = "\n".join(turn["content"] for turn in before)
    return [visible_text(short(asked, 400)), visible_text(short(last["content"], 600))]


def _plain(row: Any) -> str:
    try:
        return str(row)
    except Exception:  # a row may hold anything, also what cannot be written out
        return f"a {type(row).__name__}"


def report_html(report: Report, samples: int = 1) -> Html:
    """A cleaning report as tables: the funnel, the kept rows, samples of what was caught."""
    lines = [line for line in report.table() if line["caught"]]
    funnel = table(
        lines or [dict.fromkeys(("rule", "action", "caught", "dropped", "rows left"))],
        caption=f"{report.rows_in:,} rows came in, {report.rows_kept:,} stay",
    )
    read = [
        {"rule": name, "row": sample.number, "why": sample.reason, "text": sample.excerpt}
        for name, some in report.samples.items()
        for sample in some[:samples]
    ]
    parts = [funnel, picture_html(report)]
    if read:
        parts.append(table(read, caption="Caught rows, to be read"))
    return page(*parts)


def picture_html(report: Report) -> Html:
    """What the rows looked like before, and what stays: lengths and scripts of answers, roles."""
    before, kept = report.before, report.kept
    ends = [*BINS, 0]
    lines: list[dict[str, Any]] = [
        {
            "what": f"answers up to {end:,} characters" if end else f"answers over {BINS[-1]:,}",
            "before": before.characters[end],
            "kept": kept.characters[end],
        }
        for end in ends
        if before.characters[end]
    ]
    for what, one, other in (
        ("answers in script", before.scripts, kept.scripts),
        ("turns of role", before.roles, kept.roles),
    ):
        lines += [
            {"what": f"{what} {name}", "before": one[name], "kept": other[name]}
            for name, _ in one.most_common(6)
        ]
    return table(lines, columns=["what", "before", "kept"], caption="What stays")


def scores_html(scores: Sequence[RuleScore], rows: Sequence[Any]) -> Html:
    """Precision and recall of each rule as a table, and below it every mistake, to be read."""
    columns = ("rule", "planted", "caught", "precision", "recall")
    lines = [[getattr(score, name) for name in columns] for score in scores]
    wrong = [
        {"mistake": kind, "rule": score.rule, "row": number, "text": _texts(rows[number])[1]}
        for score in scores[1:]
        for kind, numbers in (("missed", score.missed), ("false alarm", score.false))
        for number in numbers
    ]
    return page(
        table(lines, columns, caption="Precision and recall of each rule", highlight=[0]),
        table(wrong, ["mistake", "rule", "row", "text"], caption="Every mistake of every rule",
              limit=20),
    )  # fmt: skip


def make_studio(data: dict[str, Any], thresholds: Thresholds | None = None) -> CleaningStudio:
    """The live studio over `studio_data`; `cleaning_studio` shows it."""
    start = asdict(thresholds or Thresholds())
    return CleaningStudio(data=data, settings={d["name"]: start[d["name"]] for d in data["dials"]})


def cleaning_studio(
    rows: Sequence[Any],
    *,
    rules: Sequence[Rule] | None = None,
    eval_rows: Iterable[Row] | None = None,
    thresholds: Thresholds | None = None,
    labels: Sequence[dict[str, Any]] | None = None,
) -> CleaningStudio | None:
    """Show the cleaning studio: switch rules, turn thresholds, read the rows that fall out.

    Args:
        rows: up to 5,000 rows.
        rules: what to apply; None takes the default rules.
        eval_rows: an evaluation set that must not be given away.
        thresholds: where the dials stand at first.
        labels: where the truth is known, `defects` of each row; the studio then also counts the
            sound rows that fall out and the defects that stay.

    Returns:
        The widget, whose `thresholds` hold the learner's settings; None without live widgets.

    Raises:
        DataError: there are no rows, too many, or not one label a row.
    """
    known = None if eval_rows is None else list(eval_rows)
    data = studio_data(rows, rules=rules, eval_rows=known, thresholds=thresholds, labels=labels)
    report = clean(rows, rules, thresholds=thresholds, eval_rows=known).report
    widget = None if static_only() else make_studio(data, thresholds)
    words = f"{report.rows_in} rows came in, {report.rows_kept} stay"
    show(widget, html=report_html(report), alt=f"Cleaning studio: {words}")
    return widget


def similarity_figure(pairs: Sequence[tuple[float, bool]]) -> Figure:
    """How similar pairs of rows are: sound pairs above the line, planted duplicates below it.

    Args:
        pairs: (Jaccard similarity, whether the pair is a planted duplicate).

    Raises:
        DataError: there are no pairs.
    """
    if not pairs:
        raise DataError("there are no pairs to draw")
    bins = [LOWEST_SIMILARITY + step / 50 for step in range(26)]
    with drawing(9, 4.5) as (figure, axis):
        sound, planted = (
            [score for score, is_it in pairs if is_it is want] for want in (False, True)
        )
        axis.hist(sound, bins, color=BLUE, label=f"{len(sound)} pairs of sound rows")
        heights, edges = np.histogram(planted, bins)
        label = f"{len(planted)} planted near duplicates"
        axis.bar(
            edges[:-1], -heights, np.diff(edges), align="edge", color=ORANGE, hatch="//",
            label=label,
        )  # fmt: skip
        most = max(np.histogram(sound, bins)[0].max(), heights.max(), 1)
        axis.set_ylim(-1.15 * most, 1.15 * most)
        axis.axhline(0, color=GREY, lw=1)
        axis.yaxis.set_major_formatter(lambda value, _: f"{abs(value):g}")
        axis.set_xlabel("Jaccard similarity of five-character shingles")
        axis.set_ylabel("pairs")
        axis.legend(frameon=False, loc="upper right")
        axis.set_title("Where is the gap?", loc="left")
    return figure
