"""A run folder: what each stage made, kept whole or not at all, so that a killed run can go on.

    folder = RunFolder("runs/mine", settings)
    counts = folder.stage("clean", clean_the_rows)   # made now, or read if it was made before

A record (`stages/NAME.json`) is written last, beside its place, and moved in by `os.replace`. It
holds a hash of what the stage came from: the settings of the run and the records of all stages
before it. So a record whose origin has changed is made anew, and so is one whose files have.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from sft_helpers.errors import DataError, EnvironmentProblem
from sft_helpers.integrity import sha256, verify

RUN = "run.json"
PARTS = (
    "stages", "rows", "answers", "checkpoints", "model", "model.part", "report.json",
    "preflight.json",
)  # fmt: skip


class RunFolder:
    """One run on the disk.

    Args:
        place: the folder; made when it is missing.
        settings: everything that decides the run, as plain data for JSON.
        overwrite: remove an earlier run with other settings.

    Raises:
        DataError: the folder holds something else, or a run with other settings (names them).
        EnvironmentProblem: it cannot be written.
    """

    def __init__(
        self, place: str | Path, settings: Mapping[str, Any], *, overwrite: bool = False
    ) -> None:
        self.place = Path(place)
        self.settings: dict[str, Any] = json.loads(json.dumps(settings, default=str))
        self.origin = _hash(self.settings)
        self.reused: list[str] = []
        try:
            self.place.mkdir(parents=True, exist_ok=True)
            self._enter(overwrite)
        except OSError as problem:
            raise EnvironmentProblem(
                f"the run folder cannot be written ({problem.strerror})",
                where=str(self.place),
                hint="choose another output_dir",
            ) from None

    def _enter(self, overwrite: bool) -> None:
        found = {path.name for path in self.place.iterdir()}
        mine = self._read(RUN)
        if mine is None:
            if {name for name in found if not name.startswith(".part-")} - {RUN}:
                raise DataError(
                    "this folder holds something that `sft-helpers run` did not make",
                    where=str(self.place),
                    hint="choose another output_dir",
                )
        elif overwrite:
            for name in PARTS:
                remove(self.place / name)
        elif mine != self.settings:
            changed = _differences(mine, self.settings)
            raise DataError(
                f"this folder holds a run with other settings: {'; '.join(changed[:3])}",
                where=str(self.place),
                hint="choose another output_dir, or replace the run with --overwrite",
            )
        self.write(RUN, self.settings)

    def stage(
        self, name: str, make: Callable[[], tuple[dict[str, Any], Iterable[str | Path]]]
    ) -> dict[str, Any]:
        """The result of a stage: read if it is there and sound, made if not.

        Args:
            name: of the stage; stages are asked for in the same order each time.
            make: returns the result, as plain data, and the files (below the folder) to vouch for.
        """
        record = self._read(f"stages/{name}.json")
        sound = (
            record is not None
            and record.get("origin") == self.origin
            and not verify(self.place, record["files"])
        )
        if record is not None and sound:
            self.reused.append(name)
        else:
            result, files = make()
            record = {
                "origin": self.origin,
                "result": json.loads(json.dumps(result)),
                "files": {str(file): self._described(file) for file in files},
            }
            self.write(f"stages/{name}.json", record)
        self.origin = _hash(record)
        found: dict[str, Any] = record["result"]
        return found

    def _described(self, file: str | Path) -> dict[str, Any]:
        path = self.place / file
        return {"sha256": sha256(path), "bytes": path.stat().st_size}

    def write(self, name: str, content: Any) -> Path:
        """Write JSON, or text as it is, whole or not at all; returns the path."""
        text = content if isinstance(content, str) else json.dumps(content, indent=1) + "\n"
        return self.put(name, lambda part: part.write_text(text, encoding="utf-8"))

    def put(self, name: str, write: Callable[[Path], Any]) -> Path:
        """Let `write` fill a file beside its place, then move it in; returns the path."""
        target = self.place / name
        target.parent.mkdir(parents=True, exist_ok=True)
        part = target.with_name(f".part-{target.name}")
        write(part)
        os.replace(part, target)
        return target

    def _read(self, name: str) -> dict[str, Any] | None:
        try:
            found = json.loads((self.place / name).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return None
        return found if isinstance(found, dict) else None


def remove(path: Path) -> None:
    """Remove a file or a folder, if it is there."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _hash(content: Any) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def _differences(old: Mapping[str, Any], new: Mapping[str, Any], before: str = "") -> list[str]:
    """ "name: old → new" for each setting that is not the same."""
    lines = []
    for name in [*old, *(name for name in new if name not in old)]:
        one, other = old.get(name), new.get(name)
        if isinstance(one, Mapping) and isinstance(other, Mapping):
            lines += _differences(one, other, f"{before}{name}.")
        elif one != other:
            lines.append(f"{before}{name}: {one!r:.60} → {other!r:.60}")
    return lines
