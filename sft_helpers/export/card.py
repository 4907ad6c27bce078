"""The card of a model, written from what was recorded, and what of a folder goes to the Hub."""

from __future__ import annotations

import html
import json
import math
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from sft_helpers.errors import DataError, EnvironmentProblem

# What may be published, by name. Never pickled files such as training_args.bin, nor anything else
# that lies there by chance.
PUBLISHED = [
    "*.safetensors", "*.safetensors.index.json", "*.gguf", "config.json", "generation_config.json",
    "adapter_config.json", "tokenizer*.json", "special_tokens_map.json", "added_tokens.json",
    "vocab.json", "merges.txt", "*.model", "chat_template*.jinja", "README.md", "Modelfile",
    "LICENSE",
]  # fmt: skip
_CARD = """\
---
{{ card_data }}
---

# {{ title }}

{{ summary }}

Fine-tuned from `{{ began }}` with supervised fine-tuning (TRL's `SFTTrainer`).
{% macro part(heading, text) %}
## {{ heading }}

{{ text or "Not recorded." }}
{% endmacro %}
{{- part("Data", data) }}
{{- part("Recipe", recipe) }}
{{- part("Scores", scores) }}
{{- part("Limits", limits) }}
{{- part("Versions", versions) }}"""


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
    library: str = "transformers",
) -> str:
    """Write the card of a model, the text of its README.md; what was not recorded, it says.

    Args:
        model: name of the finished model.
        base: hub id or folder that training began from; of a folder, only the last part is named.
        data: what it was trained on, as plain data.
        recipe: the arguments that decided the run, as plain data.
        scores: metric → a number, an `evaluation.Interval`, or a mapping with "value" and, where
            known, "low", "high", "level" (default 0.95), "questions" and "data" (its name).
        versions: package → version.
        limits: sentences: what the model must not be trusted with.
        summary: a sentence or two on what the model is for.
        license: SPDX identifier in lower case, such as "apache-2.0".
        library: "transformers", or "peft" for an adapter that was not merged.

    Returns:
        Metadata that the Hub reads, and Markdown, in which text from outside can do nothing: no
        HTML, no link, no broken table.

    Raises:
        DataError: the model has no name, or a score is no finite number.

    Source: the Hub's documentation on model cards; Mitchell et al. (arXiv 1810.03993).
    """
    if not model.strip():
        raise DataError("a model card needs the name of the model", hint="model_card(model='…')")
    from huggingface_hub import EvalResult, ModelCard, ModelCardData

    is_hub_id = bool(re.fullmatch(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*", base))
    results, lines = [], []
    for metric, given in scores.items():
        name, found = _line(metric), _score(metric, given)
        interval = {key: found[key] for key in ("low", "high", "level") if key in found}
        result = EvalResult(
            task_type="text-generation",
            dataset_type=re.sub(r"[^\w.-]+", "-", found["data"]).strip("-") or "held-out",
            dataset_name=found["data"],
            metric_type=re.sub(r"\W+", "_", name).strip("_").lower() or "score",
            metric_name=name,
            metric_value=found["value"],
            metric_args=interval or None,
        )
        results.append(result)
        between = ""
        if {"low", "high"} <= interval.keys():
            level = interval.get("level", 0.95)
            between = f"{interval['low']:.3g} to {interval['high']:.3g} ({level:.0%})"
        cells = (name, f"{found['value']:.3g}", between, found.get("questions", ""), found["data"])
        lines.append("| " + " | ".join(map(_text, cells)) + " |")
    if lines:
        heads = "| metric | value | interval | questions | evaluated on |\n" + "| --- " * 5 + "|\n"
        lines[0] = heads + lines[0]
    card = ModelCard.from_template(
        ModelCardData(
            base_model=base if is_hub_id else None,
            eval_results=results or None,
            library_name=library,
            license=license,
            model_name=_line(model) if results else None,
            pipeline_tag="text-generation",
            tags=["sft", "trl"],
        ),
        template_str=_CARD,
        title=_text(model),
        summary=_text(summary),
        began=(_line(base) if is_hub_id else _line(Path(base).name)).replace("`", "'"),
        data=_block(data),
        recipe=_block(recipe),
        scores="\n".join(lines),
        limits="\n".join(f"* {_text(each)}" for each in limits),
        versions=_block(versions),
    )
    return str(card.content)


def _score(metric: str, given: Any) -> dict[str, Any]:
    """A score as a mapping with finite numbers; what was not measured is left out."""
    known = given if isinstance(given, Mapping) else getattr(given, "__dict__", {"value": given})
    found = {"value": None} | {key: value for key, value in known.items() if value is not None}
    for key in ("value", "low", "high", "level"):
        if key not in found:
            continue
        try:
            number = float(found[key])
        except (TypeError, ValueError):
            number = math.nan
        if not math.isfinite(number):
            raise DataError(
                f"{key} of this score is {found[key]!r}, not a finite number",
                where=f"scores[{metric!r}]",
                hint="leave out what was not measured",
            )
        found[key] = number
    return found | {"data": _line(found.get("data") or "held-out rows")}


def _block(given: Mapping[str, Any]) -> str:
    """Plain data as a block of JSON: a string keeps to its line, so none can end the block."""
    if not given:
        return ""
    return "```json\n" + json.dumps(given, indent=1, ensure_ascii=False, default=str) + "\n```"


def _line(value: Any) -> str:
    """One line of visible characters."""
    return " ".join("".join(c if c.isprintable() else " " for c in str(value)).split())


def _text(value: Any) -> str:
    """Text of anybody's as inert Markdown: no HTML, table cell, link, heading or code."""
    escaped = re.sub(r"([\\`*_\[\]|~#])", r"\\\1", html.escape(_line(value), quote=False))
    return escaped.replace("://", ":\u200b//")


def push(
    folder: str | Path, repository: str, *, private: bool = True, dry_run: bool = True
) -> dict[str, Any]:
    """Upload an exported folder to the Hub; by default only say what would go up.

    Args:
        folder: the exported model, with a README.md.
        repository: owner/name.
        private: create a private repository. An existing one keeps its visibility.
        dry_run: False uploads. Only files of the kinds in `PUBLISHED` go up.

    Returns:
        repository, private, files (name → bytes), left_out (names), done.

    Raises:
        DataError: no card, or a bad repository name.
        EnvironmentProblem: not logged in, or the Hub refuses.
    """
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HfHubHTTPError
    from huggingface_hub.utils import HFValidationError, filter_repo_objects, validate_repo_id

    place = Path(folder)
    if not (place / "README.md").is_file():
        raise DataError(
            "there is no README.md, so nobody will know what this model is",
            where=str(place),
            hint="write it first: sft-helpers export --card",
        )
    try:
        validate_repo_id(repository)
        if "/" not in repository:
            raise HFValidationError("the owner is missing")
    except HFValidationError as problem:
        raise DataError(str(problem), where=repository, hint="give owner/name") from None
    files = sorted(path.name for path in place.iterdir() if path.is_file())
    goes = list(filter_repo_objects(files, allow_patterns=PUBLISHED))
    if not dry_run:
        try:
            api = HfApi()
            api.create_repo(repository, private=private, exist_ok=True)
            api.upload_folder(repo_id=repository, folder_path=place, allow_patterns=goes)
        except (HfHubHTTPError, OSError) as problem:
            raise EnvironmentProblem(
                f"the Hub did not take it: {' '.join(str(problem).split())[:200]}",
                where=repository,
                hint="log in with `hf auth login` (a token that may write), and check the network",
            ) from problem
    return {
        "repository": repository,
        "private": private,
        "files": {name: (place / name).stat().st_size for name in goes},
        "left_out": sorted(path.name for path in place.iterdir() if path.name not in goes),
        "done": not dry_run,
    }
