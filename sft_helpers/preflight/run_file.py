"""A config file of `trl sft` as a set-up: data and model loaded as TRL does, without a network."""

from __future__ import annotations

import contextlib
import functools
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from sft_helpers.errors import DataError, EnvironmentProblem, SFTHelpersError
from sft_helpers.preflight import report_of
from sft_helpers.preflight.config_file import Parsed, read_yaml
from sft_helpers.preflight.findings import Report, finding
from sft_helpers.preflight.given import offline
from sft_helpers.preflight.setup import Setup, places_in, versions
from sft_helpers.quiet import quiet_libraries

READERS = {".jsonl": "json", ".ndjson": "json", ".json": "json", ".csv": "csv",
           ".parquet": "parquet"}  # fmt: skip


def report_on(
    config: str | Path, *, train: str | None = None, evaluation: str | None = None
) -> Report:
    """What preflight says about a config file of `trl sft`.

    Args:
        config: the YAML file.
        train, evaluation: files of rows to look at instead of those it names.

    Raises:
        DataError: the file is missing, empty, no YAML, or rejected by TRL; so are the data.
        ModelError: the model cannot be read without a network.
    """
    given = read_yaml(Path(config).expanduser())
    quiet_libraries()
    with offline(), tempfile.TemporaryDirectory(prefix="sft-preflight-") as cache:
        parsed = Parsed.of(config, given)
        try:
            with _caching(cache):
                rows, held_out = _data(parsed, train, evaluation)
        except _Unloadable as problem:
            return _rows_only(problem)
        source = _file(train or _named(given))
        try:
            setup = _setup(parsed, rows, held_out, given)
            setup.source = source
            return report_of(setup)
        except UnicodeDecodeError as problem:  # Arrow loads such bytes and fails when it reads them
            said = f"the rows are not UTF-8 text ({problem.reason})"
            if source is None:
                raise DataError(said, hint="save them as UTF-8") from problem
            return _rows_only(_Unloadable(source, said))


@contextlib.contextmanager
def _caching(folder: str) -> Iterator[None]:
    """Let datasets put its tables into a folder of ours: on disk, so that memory is bounded."""
    import datasets.config

    before = datasets.config.HF_DATASETS_CACHE
    datasets.config.HF_DATASETS_CACHE = Path(folder)
    try:
        yield
    finally:
        datasets.config.HF_DATASETS_CACHE = before


class _Unloadable(Exception):
    """`datasets` cannot make a table of a file."""

    def __init__(self, path: Path, said: str) -> None:
        self.path, self.said = path, said
        super().__init__(said)


def _data(parsed: Parsed, train: str | None, evaluation: str | None) -> tuple[Any, Any]:
    """Training and evaluation rows, as trl/scripts/sft.py loads them."""
    splits: Any = {}
    wants_eval = evaluation is None and parsed.args.eval_strategy != "no"
    if train is None or wants_eval:
        splits = _splits(parsed)
    script = parsed.script
    rows = _load_file(train) if train else _split(splits, script.dataset_train_split)
    if evaluation:
        return rows, _load_file(evaluation)
    return rows, _split(splits, script.dataset_test_split) if wants_eval else None


def _splits(parsed: Parsed) -> Any:
    import datasets
    from trl import get_dataset

    script, mixture = parsed.script, parsed.mixture
    if not mixture.datasets and not script.dataset_name:
        raise DataError(
            "the config names no data",
            hint="set `dataset_name` or `datasets` in it, or pass --train FILE",
        )
    try:
        if mixture.datasets:
            return get_dataset(mixture)
        return datasets.load_dataset(
            script.dataset_name, name=script.dataset_config, streaming=script.dataset_streaming
        )
    except Exception as problem:
        files = [_file(one.data_files) for one in mixture.datasets]
        path = _file(script.dataset_name) or next(filter(None, files), None)
        raise _explained(problem, path, script.dataset_name) from problem


def _split(splits: Any, name: str) -> Any:
    if name in splits:
        return splits[name]
    raise DataError(
        f"the data have no split {name!r}, only {', '.join(splits)}",
        hint="set dataset_train_split or dataset_test_split, test_split_size, or eval_strategy: no",
    )


def _load_file(name: str) -> Any:
    import datasets

    path = Path(name).expanduser()
    kind = READERS.get(path.suffix.lower())
    if not path.is_file() or kind is None:
        what = "no such file" if not path.is_file() else f"files of type {path.suffix} are not read"
        raise DataError(what, where=str(path), hint=f"give one of {', '.join(READERS)}")
    if not path.stat().st_size:
        raise DataError("the file is empty", where=str(path), hint="give a file with rows")
    try:
        return datasets.load_dataset(kind, data_files=str(path), split="train")
    except Exception as problem:
        raise _explained(problem, path, name) from problem


def _explained(problem: Exception, path: Path | None, name: str | None) -> Exception:
    """Our own error for whatever datasets raised: a damaged file is looked at row by row."""
    from datasets.exceptions import DatasetGenerationError

    said = " ".join(str(problem.__cause__ or problem).split())[:300]
    if "No space left" in said:
        return EnvironmentProblem(
            "the rows do not fit on the disk for temporary files",
            where=tempfile.gettempdir(),
            hint="make room there, or set TMPDIR to a folder on a larger disk",
        )
    damaged = isinstance(problem, DatasetGenerationError)
    if damaged and path and path.stat().st_size and path.suffix.lower() in READERS:
        return _Unloadable(path, f"{type(problem).__name__}: {said}")
    if isinstance(problem, SFTHelpersError):
        return problem
    return DataError(
        f"the data cannot be loaded without a network ({type(problem).__name__}: {said})",
        where=str(path or name or "the config"),
        hint="check the path (from where you run), or give a local file with --train",
    )


def _rows_only(problem: _Unloadable) -> Report:
    """What can be said of a file that datasets refuses: its rows, one by one."""
    from sft_helpers.formats import load_rows
    from sft_helpers.preflight.data import of_rows
    from sft_helpers.preflight.scan import scan

    found = scan(load_rows(problem.path, True, progress=False))
    refused = finding(
        "data.refused",
        f"datasets cannot load this file, so `trl sft` stops: {problem.said}",
        "mend the rows that the other findings name; `sft-helpers convert IN OUT` writes one"
        " that loads",
    )
    return Report.of(
        [refused, *of_rows(found)],
        {"rows": found.rows},
        versions(),
        functools.partial(places_in, problem.path),
    )


def _setup(parsed: Parsed, rows: Any, held_out: Any, given: Mapping[str, Any]) -> Setup:
    from trl import get_peft_config, get_quantization_config

    model = parsed.model
    if not model.model_name_or_path:
        raise DataError("the config names no model", hint="set model_name_or_path")
    args = parsed.args
    # as in trl/scripts/sft.py, main
    args.model_init_kwargs = {
        "revision": model.model_revision,
        "trust_remote_code": False,
        "attn_implementation": model.attn_implementation,
        "dtype": model.dtype,
        **(args.model_init_kwargs or {}),
    }
    try:
        peft, quantization = get_peft_config(model), get_quantization_config(model)
    except (ValueError, TypeError, ImportError) as problem:
        raise DataError(
            f"TRL rejects the adapter or the quantization: {problem}", hint="mend these values"
        ) from problem
    setup = Setup.of(
        rows,
        model.model_name_or_path,
        None,
        args,
        peft,
        eval_dataset=held_out,
        quantization_config=quantization,
    )
    setup.given_arguments = given
    setup.unknown_arguments = parsed.unknown
    setup.refused = parsed.refused
    return setup


def _named(given: Mapping[str, Any]) -> Any:
    """The one data file that a config names, if it names one."""
    mixture = given.get("datasets")
    if isinstance(mixture, list) and len(mixture) == 1 and isinstance(mixture[0], dict):
        return mixture[0].get("data_files")
    return given.get("dataset_name")


def _file(name: Any) -> Path | None:
    path = Path(name).expanduser() if isinstance(name, str) else None
    return path if path is not None and path.is_file() else None
