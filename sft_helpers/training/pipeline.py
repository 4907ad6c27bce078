"""From a config file of `trl sft` to a finished model with its scores and card, stage by stage.

data → clean → preflight → before → train → after → card. Each stage is kept by
`run_folder.RunFolder`; the trainer is built as `trl/scripts/sft.py` builds it.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from sft_helpers.errors import DataError
from sft_helpers.files import sha256
from sft_helpers.training.run_folder import RunFolder
from sft_helpers.training.run_model import ask, build_trainer, checkpointed, fetch, train_and_save
from sft_helpers.training.run_setup import Row, card_arguments, hold_out, read_config, sources

STAGES = ("data", "clean", "preflight", "before", "train", "after", "card")
# TRL's completion-only loss depends on this shape, so rows that come in it stay in it.
COMPLETIONS = ("prompt_completion", "prompt_completion_messages")


@dataclass(frozen=True)
class Options:
    """What a run needs beside its config file.

    Attributes:
        train: file of training rows of any known format; None takes the config's data.
        evaluation: file of held-out rows; None holds some of the training rows out.
        holdout: share of the rows to hold out where there is no evaluation file.
        group: column whose values stay together when rows are held out, such as a name.
        clean: put training rows through the cleaning rules.
        questions: most held-out rows to ask and score.
        despite_errors: train although preflight found errors.
    """

    train: str | None = None
    evaluation: str | None = None
    holdout: float = 0.1
    group: str | None = None
    clean: bool = False
    questions: int = 200
    despite_errors: bool = False


class Stopped(Exception):
    """Preflight found errors; `report` is its JSON."""

    def __init__(self, report: dict[str, Any]) -> None:
        self.report = report
        super().__init__("preflight found errors")


def quietly(trainer: Any) -> None:
    """Follow a trainer and draw nothing."""
    from sft_helpers.training.watch import record

    record(trainer)


class Pipeline:
    """One run; `finish()` does what is still to be done.

    Args:
        config: the YAML file that `trl sft --config` takes.
        options: what it does not say.
        overwrite: replace an earlier run with other settings.
        tell: called with a sentence when a stage begins.
        follow: called with the trainer before it trains, such as `watch`.

    Raises:
        DataError: config or data are missing or wrong, or the folder holds another run.
    """

    def __init__(
        self,
        config: str | Path,
        options: Options | None = None,
        *,
        overwrite: bool = False,
        tell: Callable[[str], None] = lambda text: None,
        follow: Callable[[Any], Any] = quietly,
    ) -> None:
        self.config = Path(config).expanduser()
        self.options, self.tell, self.follow = options or Options(), tell, follow
        if not 0 <= self.options.holdout < 1 or self.options.questions < 0:
            raise DataError(
                "a share to hold out is at least 0 and below 1, a number of questions at least 0",
                where=f"holdout {self.options.holdout}, questions {self.options.questions}",
            )
        self.given, parsed = read_config(self.config)
        self.args, self.model, self.mixture = parsed.args, parsed.model, parsed.mixture
        self.sources = sources(self.config, self.options.train, parsed.script, parsed.mixture)
        self.folder = RunFolder(self.args.output_dir, self._settings(), overwrite=overwrite)

    # --- what decides the run ---------------------------------------------------------------

    def _settings(self) -> dict[str, Any]:
        from sft_helpers.preflight.setup import versions

        options = asdict(self.options)
        del options["despite_errors"]  # may be decided after preflight
        names = [name for name, _ in self.sources] + [self.options.evaluation]
        files = [Path(name).expanduser() for name in names if name]
        return {
            "config": self.given,
            "options": options,
            "sources": {str(path): sha256(path) for path in files if path.is_file()},
            "versions": versions(),
        }

    # --- the stages -------------------------------------------------------------------------

    def finish(self) -> dict[str, Any]:
        """Do every stage that is not yet done, return the report, and let go of the folder.

        Raises:
            Stopped: preflight found errors and `despite_errors` is not set.
        """
        self.report: dict[str, Any] = {}
        with self.folder.at_work():
            for name in STAGES:
                self.report[name] = self.folder.stage(name, getattr(self, f"_{name}"))
            self.report["folder"] = str(self.folder.place)
            self.folder.write("report.json", self.report)
        return self.report

    def _data(self) -> tuple[Row, list[str]]:
        """Load, recognise the format, convert."""
        self.tell("data: load and convert")
        rows: list[Row] = []
        reports = []
        for source, split in self.sources:
            more, told = self._converted(source, split)
            rows += more
            reports.append(told)
        formats = {name for told in reports for name in told["formats"]}
        self._write_rows("rows/all.jsonl", rows)
        result = {
            "conversion": reports,
            "rows": len(rows),
            "shape": COMPLETIONS[1] if formats <= set(COMPLETIONS) else "messages",
        }
        if self.options.evaluation is None:
            return result, ["rows/all.jsonl"]
        held, result["evaluation"] = self._converted(self.options.evaluation, None)
        self._write_rows("rows/given.jsonl", held)
        return result, ["rows/all.jsonl", "rows/given.jsonl"]

    def _converted(self, source: str, split: str | None) -> tuple[list[Row], Row]:
        from sft_helpers.formats import convert, load_rows

        keep = [self.options.group] if self.options.group else []
        done = convert(load_rows(source, progress=False, split=split), keep=keep)
        if not done.rows:
            first = f": {done.report.rejected[0].reason}" if done.report.rejected else ""
            raise DataError(f"no row could be converted{first}", where=source)
        return done.rows, {"source": source, **done.report.to_dict()}

    def _clean(self) -> tuple[Row, list[str]]:
        """Apply the rules, if asked; hold rows out; write both as they will be used."""
        from sft_helpers.cleaning import clean

        options = self.options
        rows = self._read_rows("rows/all.jsonl")
        held = None if options.evaluation is None else self._read_rows("rows/given.jsonl")
        told: Row = {"cleaned": options.clean, "rules": []}
        if options.clean:
            self.tell("clean: put every row through the rules")
            cleaning = clean(rows, eval_rows=held)
            rows, report = cleaning.rows, cleaning.report.to_dict()
            told["rules"] = [line for line in report["rules"] if line["caught"]]
            told["samples"] = report["samples"]
        if held is None:
            size = self.mixture.test_split_size
            share = options.holdout if size is None else size if size < 1 else size / len(rows)
            rows, held = hold_out(rows, share, seed=self.args.seed, group=options.group)
        if not rows:
            raise DataError("no row is left to train on", hint="look at rows/ and at the rules")
        shape = self.report["data"]["shape"]
        self._write_rows("rows/train.jsonl", _shaped(rows, shape))
        self._write_rows("rows/heldout.jsonl", _shaped(held, shape))
        self._write_rows("rows/eval.jsonl", held)
        told |= {"rows": len(rows), "held_out": len(held)}
        return told, [f"rows/{name}.jsonl" for name in ("train", "heldout", "eval")]

    def _preflight(self) -> tuple[Row, list[str]]:
        """Ask preflight about the config and the rows as they will train."""
        from sft_helpers.preflight.run_file import report_on

        self.tell("preflight: look at the run before it starts")
        fetch(str(self.model.model_name_or_path))
        report = report_on(
            self.config,
            train=str(self.folder.place / "rows/train.jsonl"),
            evaluation=str(self.folder.place / "rows/heldout.jsonl") if self._held() else None,
        )
        told = report.to_json()
        # the held-out rows are used, before and after the training
        told["findings"] = [f for f in told["findings"] if f["code"] != "config.eval_never_runs"]
        self.folder.write("preflight.json", told)
        if report.has_errors and not self.options.despite_errors:
            raise Stopped(told)
        return told, ["preflight.json"]

    def _before(self) -> tuple[Row, list[str]]:
        """Ask the base model."""
        return self._ask(str(self.model.model_name_or_path), "before")

    def _train(self) -> tuple[Row, list[str]]:
        """Train with SFTTrainer, going on from the last sound checkpoint."""
        self.tell("train: SFTTrainer")
        place = self.folder.place / "model"
        args = checkpointed(self.args, self.folder.place / "checkpoints", self.given)
        held = self._dataset("rows/heldout.jsonl") if self._held() else None
        trainer = build_trainer(args, self.model, self._dataset("rows/train.jsonl"), held)
        result = train_and_save(trainer, place, self.follow)
        return result, [f"model/{path.name}" for path in sorted(place.iterdir())]

    def _after(self) -> tuple[Row, list[str]]:
        """Ask the trained model, as it lies on the disk."""
        return self._ask(str(self.folder.place / "model"), "after")

    def _ask(self, source: str, name: str) -> tuple[Row, list[str]]:
        rows = self._questions()
        self.tell(f"{name}: ask {len(rows)} held-out questions")
        result, answers = ask(source, rows, self.model, cpu=self.args.use_cpu, progress=name)
        self._write_rows(f"answers/{name}.jsonl", answers)
        return result, [f"answers/{name}.jsonl"]

    def _card(self) -> tuple[Row, list[str]]:
        """Write the model card and the recorded run from which it can be written again."""
        from sft_helpers.export.card import model_card

        self.tell("card: write what was done")
        recorded = card_arguments(self.folder.place.name, self.report, self.folder.settings)
        self.folder.write("model/run.json", recorded)
        self.folder.write("model/README.md", model_card(**recorded))
        return {"card": "model/README.md"}, ["model/run.json", "model/README.md"]

    # --- rows -------------------------------------------------------------------------------

    def _write_rows(self, name: str, rows: list[Row]) -> None:
        from sft_helpers.formats.files import write_json_lines

        self.folder.put(name, lambda part: write_json_lines(part, rows))

    def _read_rows(self, name: str) -> list[Row]:
        text = (self.folder.place / name).read_text(encoding="utf-8")
        return [json.loads(line) for line in text.split("\n") if line]

    def _dataset(self, name: str) -> Any:
        from sft_helpers.formats import to_dataset

        return to_dataset(self._read_rows(name))

    def _held(self) -> int:
        return int(self.report["clean"]["held_out"])

    def _questions(self) -> list[Row]:
        """Held-out rows that end with an answer: a fixed sample of them."""
        rows = [
            row
            for row in self._read_rows("rows/eval.jsonl")
            if row["messages"] and row["messages"][-1]["role"] == "assistant"
        ]
        group = self.options.group
        chosen = random.Random(0).sample(rows, min(len(rows), self.options.questions))
        return [row | {"resident": row[group]} if group and group in row else row for row in chosen]


def _shaped(rows: Sequence[Row], shape: str) -> list[Row]:
    """Rows as they will train: nothing but what TRL reads, in the shape that it is to have."""
    from sft_helpers.formats import export

    extras = ("tools", "chat_template_kwargs")
    bare = [{key: row[key] for key in ("messages", *extras) if key in row} for row in rows]
    done = export(bare, shape)
    if done.report.rejected:
        one = done.report.rejected[0]
        raise DataError(f"{one.reason} [{one.code}]", where=f"converted {one.place}")
    return done.rows
