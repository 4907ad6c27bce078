"""lm-evaluation-harness on Lantern Bay: offline, from Python, question by question.

The tasks are YAML files in `data/lm_eval`; the harness reads them from there whatever the working
directory. It is an extra of the kit: `pip install "sft-helpers[evaluation]"`.
"""

from __future__ import annotations

import contextlib
import importlib.util
import io
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sft_helpers import town
from sft_helpers.errors import DataError, EnvironmentProblem
from sft_helpers.evaluation import Answer, exact_matches, prompt_of

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

EXACT, CHOICE = TASKS = ("lantern_bay_exact", "lantern_bay_choice")
MISSING = (
    "lm-evaluation-harness is not installed, so this part is skipped;"
    ' to run it: pip install "lm-eval>=0.4.9"'
)


@dataclass(frozen=True)
class Sample:
    """One question as the harness saw it: its prompt, the answer text, whether it was right.

    A multiple-choice question has the chosen sentence as its answer.
    """

    question: str
    prompt: str
    answer: str
    right: bool


@dataclass(frozen=True)
class TaskResult:
    """One task: the harness's own mean of its metric, and every question in the task's order."""

    task: str
    metric: str
    value: float
    samples: list[Sample]


@dataclass(frozen=True)
class Agreement:
    """The harness and the kit on the same questions.

    Attributes:
        questions: how many were compared.
        same_prompt, same_answer, same_verdict: shares of questions, between 0 and 1.
        differing: numbers of the questions on which anything differs.
    """

    questions: int
    same_prompt: float
    same_answer: float
    same_verdict: float
    differing: list[int]


def installed() -> bool:
    """Whether lm-evaluation-harness can be imported; `MISSING` says what to do if not."""
    return importlib.util.find_spec("lm_eval") is not None


def task_folder() -> Path:
    """The folder with the task files, for `--include_path`.

    Raises:
        DataError: it is missing.
    """
    folder = town.data_dir("lm_eval")
    if not folder.is_dir():
        raise DataError(
            "the harness's task files are not there",
            where=str(folder),
            hint="take data/lm_eval from the repository",
        )
    return folder


def run_tasks(
    model: PreTrainedModel | str | Path,
    tokenizer: PreTrainedTokenizerBase | None = None,
    *,
    tasks: Sequence[str] = TASKS,
    adapter: str | Path | None = None,
    limit: int | None = None,
    batch_size: int = 64,
    chat_template: bool = True,
) -> dict[str, TaskResult]:
    """Run tasks of `data/lm_eval` with the harness; no network, no command line.

    Args:
        model: a loaded model, or the folder of one.
        tokenizer: of a loaded model; a folder brings its own.
        tasks: names of tasks.
        adapter: folder of a LoRA adapter on top of the folder `model`.
        limit: only the first questions of each task.
        batch_size: prompts per batch.
        chat_template: render questions with the chat template; without it the harness sends bare
            text, which is its default.

    Raises:
        EnvironmentProblem: the harness is not installed.
        DataError: a task is unknown.
    """
    if not installed():
        raise EnvironmentProblem(
            "lm-evaluation-harness is not installed", hint='pip install "lm-eval>=0.4.9"'
        )
    for name in ("lm_eval", "lm-eval", "evaluate"):
        logging.getLogger(name).setLevel(logging.ERROR)
    import lm_eval
    from lm_eval.models.huggingface import HFLM
    from lm_eval.tasks import TaskManager

    manager = TaskManager(include_path=str(task_folder()), include_defaults=False)
    unknown = sorted(set(tasks) - set(manager.all_tasks))
    if unknown:
        raise DataError(
            f"no such task: {', '.join(unknown)}", hint=f"one of {', '.join(manager.all_tasks)}"
        )
    extra: dict[str, Any] = {"peft": str(adapter)} if adapter is not None else {}
    if isinstance(model, (str, Path)):
        extra |= {"dtype": "float32", "device": "cpu"}
    with contextlib.redirect_stderr(io.StringIO()):  # its progress bars
        found = lm_eval.simple_evaluate(
            HFLM(
                pretrained=str(model) if isinstance(model, Path) else model,
                tokenizer=tokenizer,
                batch_size=batch_size,
                **extra,
            ),
            tasks=list(tasks),
            task_manager=manager,
            apply_chat_template=chat_template,
            limit=limit,
            bootstrap_iters=0,
        )
    return {task: _result(task, found) for task in tasks}


def _result(task: str, found: dict[str, Any]) -> TaskResult:
    scores = found["results"][task]
    key = next(key for key in scores if key.split(",")[0] in ("exact_match", "acc"))
    metric, _, _ = key.partition(",")
    samples = []
    for entry in sorted(found["samples"][task], key=lambda one: one["doc_id"]):
        if metric == "exact_match":
            [answer] = entry["filtered_resps"]
        else:
            chances = [float(response[0]) for response in entry["filtered_resps"]]
            answer = entry["doc"]["choices"][chances.index(max(chances))]
        question = entry["doc"]["question"]
        samples.append(Sample(question, _prompt(entry), answer, bool(entry[metric])))
    return TaskResult(task, metric, float(scores[key]), samples)


def _prompt(entry: dict[str, Any]) -> str:
    """The text that the harness sent, from its own record of the request."""
    arguments = entry["arguments"]
    first = arguments["gen_args_0"] if isinstance(arguments, dict) else arguments[0]
    return str(first["arg_0"] if isinstance(first, dict) else first[0])


def compare_with_own(
    result: TaskResult,
    answers: Sequence[Answer],
    rows: Sequence[dict[str, Any]],
    tokenizer: PreTrainedTokenizerBase,
) -> Agreement:
    """Hold the harness's generated answers against the kit's own, question by question.

    The harness leaves special tokens out of what it reads, the kit keeps them: texts are compared
    without them, verdicts as they are.

    Args:
        result: of `lantern_bay_exact`.
        answers: from `evaluation.answer_all`, for the same rows in the same order.
        rows: the questions.
        tokenizer: renders the kit's prompts.

    Raises:
        DataError: the questions are not the same.
    """
    if [one.question for one in result.samples] != [prompt_of(row)[-1]["content"] for row in rows]:
        raise DataError(
            "the harness was asked other questions", hint="use the rows of sft_test.jsonl, in order"
        )
    special = [str(token) for token in tokenizer.added_tokens_decoder.values() if token.special]
    marks: list[tuple[bool, bool, bool]] = []
    for sample, answer, row, right in zip(
        result.samples, answers, rows, exact_matches(answers, rows), strict=True
    ):
        prompt = tokenizer.apply_chat_template(
            prompt_of(row), tokenize=False, add_generation_prompt=True
        )
        text = answer.text
        for token in special:
            text = text.replace(token, "")
        same = sample.answer.strip() == text.strip()
        marks.append((sample.prompt == prompt, same, sample.right == right))
    prompts, texts, verdicts = (sum(column) / len(marks) for column in zip(*marks, strict=True))
    return Agreement(
        questions=len(marks),
        same_prompt=prompts,
        same_answer=texts,
        same_verdict=verdicts,
        differing=[number for number, mark in enumerate(marks) if not all(mark)],
    )


def command_line(model: str | Path, adapter: str | Path | None = None) -> str:
    """The same evaluation as a shell command."""
    arguments = f"pretrained={model},dtype=float32"
    if adapter is not None:
        arguments += f",peft={adapter}"
    return (
        f"lm-eval run --model hf --model_args {arguments} \\\n"
        f"  --tasks {','.join(TASKS)} --include_path {task_folder()} \\\n"
        "  --apply_chat_template --device cpu --batch_size 64 \\\n"
        "  --output_path results --log_samples"
    )
