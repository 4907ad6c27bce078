"""The steps of a check, as they stand in a notebook's YAML: each takes the answer a little further.

    - choose: CAUSES            # a value of CAUSES for each key of `of`
      of: SYMPTOMS
    - pick: SETUPS              # several of them
    - numbers: [steps, warmup]  # a number for each
    - number: a share           # one number; `whole`, `items` likewise: what is asked for, in words
    - call: [1800, 225, 32]     # the learner's function, called; its result is `found`
      items: a list of places   # ... and read as one of the above
      fails: no score           # ... and `found` where it divides by zero or reads beyond an end
    - let: {lost: "sum(...)"}   # a name for later steps
    - says: {256: ..., 32: ...} # what a known wrong value gets
    - when: found == [2, 3]     # a condition in Python ...
      say: these are ...        # ... and the sentence where it holds
    - is: 4                     # what is right; another value gets `say`
      say: "yours gives {found!r}"
    - right: {A: rate, B: ...}  # the first key that is wrong gets its sentence of `why`
      why: {A: ..., B: ...}
    - python: check_mended      # a function of `checks.py`, which takes its sentences from `says`

Names in conditions and sentences: `answer`, `found`, `function` (the learner's), what `let`
named, the file's material, `math`, `number`. Sentences are format strings. The first sentence that
a step gives is the diagnosis.
"""

from __future__ import annotations

import builtins
import copy
import math
from collections.abc import Callable, Mapping
from typing import Any

from sft_helpers.exercises import answers
from sft_helpers.exercises.data import Exercise

_READ: dict[str, Callable[[Any, str], Any]] = {
    "number": answers.number,
    "whole": answers.whole,
    "items": answers.items,
}


def judge(exercise: Exercise, given: tuple[Any, ...], material: Mapping[str, Any]) -> str | None:
    """Run the steps of a check on the learner's answer.

    Returns:
        None where it is right, else the sentence that says what is wrong.

    Raises:
        NotYet: the answer is of the wrong kind; anything that the learner's own code raises.
    """
    space: dict[str, Any] = {
        "__builtins__": builtins,
        "math": math,
        "number": answers.number,
        **copy.deepcopy(dict(material)),
    }
    space["answer"] = space["found"] = space["function"] = given[0]
    for step in exercise.check:
        said = _step(step, space, exercise, given)
        if said is not None:
            return said
    return None


def _step(
    step: Mapping[str, Any], space: dict[str, Any], exercise: Exercise, given: tuple[Any, ...]
) -> str | None:
    if "python" in step:
        from sft_helpers.exercises import checks, checks_trl

        def say(key: str, **fields: Any) -> str:
            return exercise.says[key].format(**fields)

        function = getattr(checks, step["python"], None) or getattr(checks_trl, step["python"])
        return function(say, space["answer"], *given[1:])
    if "call" in step:
        arguments = [_value(one, space) for one in step["call"]]
        try:
            space["found"] = answers.returned(
                given[0], *arguments, nothing=step.get("nothing", False)
            )
        except (ZeroDivisionError, IndexError):
            if "fails" not in step:
                raise
            space["found"] = step["fails"]
    elif "choose" in step:
        keys, allowed = _value(step["of"], space), _value(step["choose"], space)
        space["found"] = space["answer"] = answers.choices(space["answer"], keys, allowed)
    elif "pick" in step:
        space["found"] = space["answer"] = answers.several(
            space["answer"], _value(step["pick"], space)
        )
    elif "numbers" in step:
        space["found"] = space["answer"] = answers.numbers(space["answer"], step["numbers"])
    for kind, read in _READ.items():
        if kind in step:
            value = read(space["found"], step[kind])
            if kind != "number" or isinstance(space["found"], str):  # 9 stays 9, not 9.0
                space["found"] = value
            if "call" not in step:
                space["answer"] = space["found"]
    for name, source in step.get("let", {}).items():
        space[name] = eval(source, space)
    for value, sentence in step.get("says", {}).items():
        if same(space["found"], value):
            return _filled(sentence, space)
    if "right" in step:
        return _first_wrong(space["found"], step["right"], step["why"], space)
    wrong = "say" in step and (
        not same(space["found"], _value(step["is"], space))
        if "is" in step
        else eval(step["when"], space)
    )
    return _filled(step["say"], space) if wrong else None


def _first_wrong(
    found: Any, right: Any, why: Mapping[Any, str], space: dict[str, Any]
) -> str | None:
    """The sentence of the first key that has another value, or of the first name picked wrongly."""
    if isinstance(right, Mapping):
        wrong = {key for key, value in right.items() if not same(found[key], value)}
    else:
        wrong = set(found) ^ set(right)
    return next((_filled(sentence, space) for key, sentence in why.items() if key in wrong), None)


def same(found: Any, wanted: Any) -> bool:
    """Whether two values are equal, numbers but for rounding."""
    try:
        if isinstance(found, (int, float)) and isinstance(wanted, (int, float)):
            return math.isclose(found, wanted, rel_tol=1e-6)
        return bool(found == wanted)
    except (OverflowError, ValueError):
        return False


def _value(given: Any, space: Mapping[str, Any]) -> Any:
    """A value of the file; text that is the name of a material stands for it."""
    if isinstance(given, str) and given.isidentifier() and given in space and given.isupper():
        return copy.deepcopy(space[given])
    return given


def _filled(sentence: str, space: Mapping[str, Any]) -> str:
    return sentence.format(**{k: v for k, v in space.items() if k != "__builtins__"})
