"""What `sft-helpers run` decides before it trains: the config, data, held-out rows, card."""

from __future__ import annotations

import json
import os
import random
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from sft_helpers.errors import DataError
from sft_helpers.preflight.config_file import Parsed, read_yaml

Row = dict[str, Any]

LIMITS = (
    "Scored by exact match on held-out rows of the same source: other data may give other scores.",
    "Fine-tuning teaches form more easily than facts: check what it states.",
    "No evaluation of safety or bias was made.",
)
# Keys of a config that say where things lie and not how the model was trained.
_PLACES = ("datasets", "dataset_name", "output_dir", "model_name_or_path", "env")


def read_config(config: Path) -> tuple[dict[str, Any], Parsed]:
    """The config as it stands in the file, and as `trl sft --config` reads it on this machine.

    Raises:
        DataError: it is no YAML, TRL rejects a value, or it asks for code from a model.
    """
    given = read_yaml(config)
    parsed = Parsed.of(config, given)
    if parsed.refused is not None:
        raise DataError(
            f"TRL rejects this config on this machine: {parsed.refused[:300]}",
            where=str(config),
            hint="without a GPU: use_cpu: true, bf16: false; `trl sft --help` lists the arguments",
        )
    if not parsed.model.model_name_or_path:
        raise DataError(
            "the config names no model", where=str(config), hint="set model_name_or_path"
        )
    if getattr(parsed.args, "trust_remote_code", False):
        raise DataError(
            "trust_remote_code is not supported: nothing here runs code that a model brings",
            where=str(config),
            hint="leave it out, or train with `trl sft` if you trust that code",
        )
    os.environ.update({name: str(value) for name, value in given.get("env", {}).items()})
    return given, parsed


def sources(
    config: Path, train: str | None, script: Any, mixture: Any
) -> list[tuple[str, str | None]]:
    """Files or hub ids of the training rows, each with the split to take.

    Raises:
        DataError: there are none, or the config asks for what is not read here.
    """
    if train:
        return [(train, None)]
    found: list[tuple[str, str | None]] = []
    for one in mixture.datasets:
        if one.fraction is not None or one.columns is not None:
            raise DataError(
                "`fraction` and `columns` of a data set are not read here",
                where=f"{config}, datasets",
                hint="prepare the rows with `sft-helpers convert`, and pass --train FILE",
            )
        files = one.data_files
        names = [files] if isinstance(files, str) else files if isinstance(files, list) else []
        found += [(name, None) for name in names] or [(one.path, one.split)]
    if not found and script.dataset_name:
        found = [(script.dataset_name, script.dataset_train_split)]
    if not found:
        raise DataError(
            "the config names no data",
            where=str(config),
            hint="set `datasets` or `dataset_name` in it, or pass --train FILE",
        )
    return found


def hold_out(
    rows: Sequence[Row], share: float, *, seed: int = 0, group: str | None = None
) -> tuple[list[Row], list[Row]]:
    """Rows to train on, and rows held out to score with; no question lies in both.

    Args:
        rows: rows with `messages`.
        share: share of the rows to hold out, 0 to below 1; at least as many are held out.
        seed: seed of the choice.
        group: column whose values stay on one side, such as the person that a row is about.
            Without one, rows with the same question do.

    Raises:
        DataError: a row lacks the column.
    """
    groups: dict[str, list[int]] = {}
    for number, row in enumerate(rows):
        if group is not None and group not in row:
            raise DataError(
                f"there is no column {group!r}", where=f"row {number}", hint="check the name"
            )
        what = row[group] if group is not None else row["messages"][:-1]
        groups.setdefault(json.dumps(what, sort_keys=True, default=str), []).append(number)
    order = list(groups.values())
    random.Random(seed).shuffle(order)
    chosen: set[int] = set()
    for members in order:
        if len(chosen) >= share * len(rows):
            break
        chosen |= set(members)
    train = [row for number, row in enumerate(rows) if number not in chosen]
    return train, [rows[number] for number in sorted(chosen)]


def card_arguments(
    name: str, report: Mapping[str, Any], settings: Mapping[str, Any]
) -> dict[str, Any]:
    """What `model_card` needs, as plain data: the record of a run."""
    config = settings["config"]
    data, train = report["data"], report["train"]
    scores: dict[str, Any] = {}
    for when in ("before", "after"):
        found = report[when]["score"]
        if found is not None:
            asked = {"questions": found["questions"]}
            scores[f"exact match {when}"] = found["exact_match"] | asked
            scores[f"stop rate {when}"] = {"value": found["stop_rate"]} | asked
        loss = train["eval_loss"][when]
        if loss is not None:
            scores[f"held-out loss {when}"] = {"value": loss}
    return {
        "model": name,
        "base": str(config["model_name_or_path"]),
        "data": {
            "files": ", ".join(Path(one["source"]).name for one in data["conversion"]),
            "format": ", ".join(key for one in data["conversion"] for key in one["formats"]),
            "rows trained on": report["clean"]["rows"],
            "rows held out": report["clean"]["held_out"],
            "sha256": ", ".join(settings["sources"].values()),
        },
        "recipe": {key: value for key, value in config.items() if key not in _PLACES},
        "scores": scores,
        "versions": settings["versions"],
        "limits": list(LIMITS),
        "library": "peft" if config.get("use_peft") else "transformers",
    }
