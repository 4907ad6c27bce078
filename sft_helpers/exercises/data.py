"""The exercises of a notebook as data: one YAML file each, checked when it is loaded.

A teacher changes a hint, a sentence or a quiz in `NN_topic.yaml`, or translates the file, and
writes no Python. `schema.yaml` says what may stand there; the rest is refused with file and line.
"""

from __future__ import annotations

import ast
import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import yaml

from sft_helpers.errors import DataError
from sft_helpers.exercises.answers import is_blank_source

HERE = Path(__file__).parent


@dataclass(frozen=True)
class Exercise:
    """One exercise: what its card shows, the steps of its check, and what tests feed to it."""

    name: str
    title: str
    level: int
    minutes: int
    hints: tuple[str, ...]
    solution: str
    praise: str
    check: tuple[dict[str, Any], ...]
    says: dict[str, str]


@dataclass(frozen=True)
class Question:
    """A quiz question; `choices` are (text, whether it is right, why)."""

    prompt: str
    choices: tuple[tuple[str, bool, str], ...]

    @property
    def several(self) -> bool:
        """Whether more than one choice is right."""
        return sum(right for _, right, _ in self.choices) > 1


@dataclass(frozen=True)
class Topic:
    """What a notebook's YAML holds: exercises by name, quiz, and material by attribute.

    A question with a name is asked by it (`asked`); those without one are the quiz at the end.
    """

    exercises: dict[str, Exercise]
    quiz: tuple[Question, ...]
    asked: dict[str, Question]
    material: SimpleNamespace


def topics() -> dict[str, Path]:
    """The files by topic: `loss_masking` → `.../04_loss_masking.yaml`."""
    return {topic_for(path): path for path in sorted(HERE.glob("[0-9]*.yaml"))}


def topic_for(notebook: Path) -> str:
    """The topic of a notebook: `04_loss_masking.ipynb` → `loss_masking`."""
    return notebook.stem.partition("_")[2]


@cache
def topic(name: str) -> Topic:
    """Read the exercises of a topic, such as `loss_masking`; a topic without a file has none."""
    path = topics().get(name)
    return read(path) if path else Topic({}, (), {}, SimpleNamespace())


def read(path: Path) -> Topic:
    """Read and check one file.

    Raises:
        DataError: it cannot be read, or holds what `schema.yaml` does not allow; names the line.
    """
    try:
        text = path.read_text("utf-8")
        data = yaml.safe_load(text)
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        mark = getattr(error, "problem_mark", None)
        where = f"{path.name}, line {mark.line + 1}" if mark else path.name
        raise DataError(getattr(error, "problem", None) or str(error), where=where) from error
    for place, sentence in _errors(data):
        line = _line(yaml.compose(text), place)
        raise DataError(sentence, where=f"{path.name}, line {line}")
    made = {
        one["name"]: Exercise(
            name=one["name"],
            title=one["title"],
            level=one["level"],
            minutes=one["minutes"],
            hints=tuple(one["hints"]),
            solution=one["solution"].strip(),
            praise=one["praise"],
            check=tuple(one["check"]),
            says=one.get("says", {}),
        )
        for one in data["exercises"]
    }
    asked = [(one.get("name"), _question(one)) for one in data["quiz"]]
    return Topic(
        made,
        tuple(question for name, question in asked if name is None),
        {name: question for name, question in asked if name is not None},
        SimpleNamespace(**data.get("material", {})),
    )


def _question(one: dict[str, Any]) -> Question:
    choices = ((c["text"], c.get("right", False), c["why"]) for c in one["choices"])
    return Question(one["ask"], tuple(choices))


@cache
def _schema() -> Any:
    from jsonschema import Draft202012Validator

    return Draft202012Validator(yaml.safe_load((HERE / "schema.yaml").read_text("utf-8")))


def _errors(data: Any) -> list[tuple[tuple[Any, ...], str]]:
    """What is wrong, as (path into the data, sentence)."""
    plain = json.loads(json.dumps(data))  # the schema knows text keys only; paths stay the same
    found = [
        (tuple(error.absolute_path), _sentence(error)) for error in _schema().iter_errors(plain)
    ]
    if found:
        return sorted(found, key=lambda one: tuple(map(str, one[0])))
    names = [one["name"] for one in data["exercises"]]
    for place, one in enumerate(data["exercises"]):
        at = ("exercises", place)
        if one["name"] in names[:place]:
            found.append(((*at, "name"), f"the name {one['name']} is taken by another exercise"))
        try:
            ast.parse(one["solution"])
        except SyntaxError as error:
            found.append(((*at, "solution"), f"the solution is not Python: {error}"))
        else:
            if is_blank_source(one["solution"]):
                found.append(((*at, "solution"), "the solution still holds a blank `...`"))
    for place, one in enumerate(data["quiz"]):
        texts = [choice["text"] for choice in one["choices"]]
        if len(set(texts)) < len(texts):
            found.append((("quiz", place, "choices"), "a choice stands there twice"))
        if not any(choice.get("right") for choice in one["choices"]):
            found.append((("quiz", place, "choices"), "no choice is right"))
    return found


def _sentence(error: Any) -> str:
    """Say a schema's error shortly: the deepest one, without the whole data quoted."""
    while error.context:
        error = max(error.context, key=lambda one: len(one.absolute_path))
    place = ".".join(map(str, error.absolute_path))
    said = error.message if len(error.message) < 200 else f"{error.message[:200]}…"
    return f"{place}: {said}" if place else said


def _line(node: Any, path: Sequence[Any]) -> int:
    """The line, from 1, of the entry at `path` in a composed YAML document."""
    for step in path:
        if isinstance(node, yaml.MappingNode):
            inner = next((v for k, v in node.value if k.value == str(step)), None)
        elif isinstance(node, yaml.SequenceNode):
            inner = node.value[step] if isinstance(step, int) and step < len(node.value) else None
        else:
            inner = None
        if inner is None:
            break
        node = inner
    return int(node.start_mark.line) + 1
