"""The config file of `trl sft`, read by TRL's own parser."""

from __future__ import annotations

import os
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from sft_helpers.errors import DataError


def read_yaml(path: Path) -> dict[str, Any]:
    """The mapping in a YAML file.

    Raises:
        DataError: it is missing, empty, no YAML, or no mapping.
    """
    hint = "give the file that you would pass to `trl sft --config`"
    try:
        found = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as problem:
        raise DataError(
            f"cannot be read ({problem.strerror})", where=str(path), hint=hint
        ) from problem
    except UnicodeDecodeError as problem:
        raise DataError("this is not UTF-8 text", where=str(path), hint=hint) from problem
    except yaml.YAMLError as problem:
        mark = getattr(problem, "problem_mark", None)
        line = f", line {mark.line + 1}" if mark else ""
        said = getattr(problem, "problem", None) or "it cannot be parsed"
        raise DataError(
            f"this is not valid YAML: {said}", where=f"{path}{line}", hint="mend that line"
        ) from problem
    if found is None:
        raise DataError("the file is empty", where=str(path), hint=hint)
    if not isinstance(found, dict):
        raise DataError(
            f"a config is a mapping of names to values, not a {type(found).__name__}",
            where=str(path),
            hint=hint,
        )
    return found


class Parsed:
    """What TRL's own parser made of the file."""

    def __init__(self, parts: tuple[Any, ...], refused: str | None) -> None:
        self.script, self.args, self.model, self.mixture, remaining = parts
        self.refused = refused
        self.unknown = _unknown(remaining)

    @classmethod
    def of(cls, config: str | Path, given: Mapping[str, Any]) -> Parsed:
        """Parse with the dataclasses of `trl sft`; once more as for a CPU if this machine lacks
        what the arguments ask for.
        """
        path = str(Path(config).expanduser())
        try:
            return cls(_parse(["--config", path]), None)
        except Rejected as problem:
            try:
                parts = _parse(["--config", path, "--use_cpu", "true"])
            except Rejected:
                raise DataError(
                    f"TRL rejects this config: {problem}",
                    where=path,
                    hint="mend the value; `trl sft --help` lists the arguments",
                ) from None
            return cls(parts, str(problem))


class Rejected(Exception):
    """TRL's parser or dataclasses do not take a value."""


def _parse(words: list[str]) -> tuple[Any, ...]:
    from trl.scripts.sft import make_parser

    parser = make_parser(prog="trl sft")

    def refuse(message: str) -> None:
        raise Rejected(message)

    parser.error = refuse  # argparse would print and exit
    kept = dict(os.environ)  # the key `env` of a config sets variables
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)  # about defaults that nobody wrote
            return tuple(parser.parse_args_and_config(words, return_remaining_strings=True))
    except (ValueError, TypeError, ImportError, OSError, AttributeError, KeyError) as problem:
        said = " ".join(str(problem).split())
        raise Rejected(f"{said} ({type(problem).__name__})") from problem
    finally:
        os.environ.clear()
        os.environ.update(kept)


def _unknown(remaining: list[str]) -> tuple[str, ...]:
    """Names that TRL leaves over and `accelerate launch`, which gets them, does not know either.

    trl/cli/commands/training.py hands the rest of the config to the launcher.
    """
    from accelerate.commands.launch import launch_command_parser

    launcher = launch_command_parser()
    known = {text for action in launcher._actions for text in action.option_strings}
    names = [word for word in remaining if word.startswith("--")]
    return tuple(
        name.removeprefix("--")
        for name in names
        if name not in known
        and name.replace("_", "-") not in known
        and name != "--accelerate_config"
    )
