"""The model card of a finished run, in the Hub's format, written from what was recorded.

The metadata block is written by `huggingface_hub`, so that the Hub can read it: base model, tags
and scores (the `model-index`). The text below it says what a reader must know before they use the
model. Nothing is made up: a part without a record says that it was not recorded.
"""

from __future__ import annotations

import html
import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

from sft_helpers.errors import DataError

NOT_RECORDED = "Not recorded."
_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*(/[A-Za-z0-9][\w.-]*)?")


def model_card(
    *,
    model: str,
    base: str,
    data: Mapping[str, Any],
    recipe: Mapping[str, Any],
    scores: Mapping[str, Any],
    versions: Mapping[str, str],
    limits: Sequence[str],
    summary: str = "",
    license: str | None = None,
    language: str | Sequence[str] | None = None,
    datasets: Sequence[str] = (),
    tags: Sequence[str] = (),
    library: str = "transformers",
) -> str:
    """Write the card of a model: the text of its README.md.

    Everything is plain data, so that a recorded run can be kept as JSON and carded later.

    Args:
        model: name of the finished model, for the title and the Hub's table of scores.
        base: hub id or folder that training began from. Only a hub id goes into the metadata; of
            a folder the card names the last part, so that no path of your machine is published.
        data: what it was trained on, shown as a table: label → value, such as
            `{"file": "sft_train.jsonl", "rows": 1800, "sha256": "…"}`.
        recipe: what decided the run, shown as a table; a value that is itself a mapping (such as
            the arguments of `SFTConfig`) becomes rows "name.key".
        scores: metric → a number, or a mapping with "value" and, where known, "low", "high",
            "level" (coverage, default 0.95), "questions" and "data" (name of the evaluation set);
            an `evaluation.Interval` will do as well.
        versions: package → version.
        limits: sentences, one per line of the card: what the model must not be trusted with.
        summary: one or two sentences on what the model is for.
        license: SPDX identifier in lower case, such as "apache-2.0"; None writes none.
        language: code or codes such as "en".
        datasets: hub ids of data sets, for the metadata; folders and files belong into `data`.
        tags: further tags beside "sft" and "trl".
        library: "transformers", or "peft" for an adapter that was not merged.

    Returns:
        YAML metadata and Markdown. Text from outside is escaped: it can neither break a table nor
        bring in HTML, links or metadata.

    Raises:
        DataError: the model has no name, or a score is no finite number.

    Source: the Hub's documentation on model cards, and Mitchell et al., Model Cards for Model
    Reporting (arXiv 1810.03993).
    """
    if not model.strip():
        raise DataError("a model card needs the name of the model", hint="card(model='…')")
    from huggingface_hub import ModelCardData

    results = {name: _score(name, value) for name, value in scores.items()}
    is_hub_id = bool(_HUB_ID.fullmatch(base)) and "/" in base
    metadata = ModelCardData(
        base_model=base if is_hub_id else None,
        datasets=[name for name in datasets if _HUB_ID.fullmatch(name)] or None,
        eval_results=[_result(name, found) for name, found in results.items()] or None,
        language=language if language is None or isinstance(language, str) else list(language),
        library_name=library,
        license=license,
        model_name=_line(model) if results else None,
        pipeline_tag="text-generation",
        tags=list(dict.fromkeys(["sft", "trl", *tags])),
    )
    parts = [
        f"# {_text(model)}",
        _text(summary),
        f"Fine-tuned from {_code(base if is_hub_id else _last(base))} with supervised fine-tuning"
        " (TRL's `SFTTrainer`).",
        "## Data\n\n" + _table(("", ""), _flat(data)),
        "## Recipe\n\n" + _table(("argument", "value"), _flat(recipe)),
        "## Scores\n\n" + _scores(results),
        "## Limits\n\n" + ("\n".join(f"* {_text(each)}" for each in limits) or NOT_RECORDED),
        "## Versions\n\n" + _table(("package", "version"), list(versions.items())),
    ]
    return (
        f"---\n{metadata.to_yaml()}\n---\n\n" + "\n\n".join(part for part in parts if part) + "\n"
    )


def _score(name: str, given: Any) -> dict[str, Any]:
    """A score as a mapping with finite numbers."""
    if isinstance(given, Mapping):
        found = dict(given)
    elif hasattr(given, "value"):
        found = {key: getattr(given, key, None) for key in ("value", "low", "high", "level")}
    else:
        found = {"value": given}
    for key in ("value", "low", "high", "level"):
        value = found.get(key)
        if key != "value" and value is None:
            continue
        try:
            found[key] = float(value)  # type: ignore[arg-type]
        except (TypeError, ValueError):
            found[key] = math.nan
        if not math.isfinite(found[key]):
            raise DataError(
                f"{key} of this score is {value!r}, not a finite number",
                where=f"scores[{name!r}]",
                hint="leave out what was not measured",
            )
    return found


def _result(name: str, found: Mapping[str, Any]) -> Any:
    from huggingface_hub import EvalResult

    data = _line(found.get("data") or "held-out rows")
    interval = {key: found[key] for key in ("low", "high", "level") if found.get(key) is not None}
    return EvalResult(
        task_type="text-generation",
        dataset_type=re.sub(r"[^\w.-]+", "-", data).strip("-") or "held-out",
        dataset_name=data,
        metric_type=re.sub(r"\W+", "_", _line(name)).strip("_").lower() or "score",
        metric_name=_line(name),
        metric_value=found["value"],
        metric_args=interval or None,
    )


def _scores(results: Mapping[str, Mapping[str, Any]]) -> str:
    rows = []
    for name, found in results.items():
        low, high = found.get("low"), found.get("high")
        interval = ""
        if low is not None and high is not None:
            interval = f"{low:.3g} to {high:.3g} ({found.get('level') or 0.95:.0%})"
        rows.append(
            (name, f"{found['value']:.3g}", interval, found.get("questions", ""),
             found.get("data", ""))
        )  # fmt: skip
    return _table(("metric", "value", "interval", "questions", "evaluated on"), rows)


def _flat(given: Mapping[str, Any], before: str = "") -> list[tuple[str, Any]]:
    rows: list[tuple[str, Any]] = []
    for key, value in given.items():
        name = f"{before}{key}"
        rows += _flat(value, f"{name}.") if isinstance(value, Mapping) else [(name, value)]
    return rows


def _table(head: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    if not rows:
        return NOT_RECORDED
    lines = [head, ["---"] * len(head), *([_text(cell) for cell in row] for row in rows)]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _line(value: Any) -> str:
    """One line of visible characters."""
    return " ".join("".join(c if c.isprintable() else " " for c in str(value)).split())


def _text(value: Any) -> str:
    """Text of anybody's as inert Markdown: no HTML, table cell, link, heading or code."""
    return re.sub(r"([\\`*_\[\]|~#])", r"\\\1", html.escape(_line(value), quote=False)).replace(
        "://", ":\u200b//"
    )


def _code(value: str) -> str:
    return "`" + _line(value).replace("`", "'") + "`"


def _last(path: str) -> str:
    return re.split(r"[\\/]", path.rstrip("\\/"))[-1]
