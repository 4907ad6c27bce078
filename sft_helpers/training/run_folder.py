"""A run folder: what each stage made, kept whole or not at all, so that a killed run can go on.

    folder = RunFolder("runs/mine", settings)
    counts = folder.stage("clean", clean_the_rows)   # made now, or read if it was made before

A record (`stages/NAME.json`) is written last, beside its place, and moved in by `os.replace`. It
holds a hash of what the stage came from: the settings of the run and the records of all stages
before it. So a record whose origin has changed is made anew, and so is one whose files have.

A folder belongs to one process at a time: the operating system holds the lock, and lets go of it
when the process ends, however it ends.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import platform
import shutil
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from sft_helpers.errors import DataError, EnvironmentProblem, SFTHelpersError
from sft_helpers.files import damage, sha256

RUN = "run.json"
LOCK, HOLDER = ".lock", ".lock-holder"
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
        EnvironmentProblem: it cannot be written, or another process is at work in it (says which).
    """

    def __init__(
        self, place: str | Path, settings: Mapping[str, Any], *, overwrite: bool = False
    ) -> None:
        self.place = Path(place)
        self.settings: dict[str, Any] = json.loads(json.dumps(settings, default=str))
        self.origin = _hash(self.settings)
        self.reused: list[str] = []
        self._lock = FileLock(self.place / LOCK)
        try:
            self.place.mkdir(parents=True, exist_ok=True)
            self._refuse_foreign()
            self._take()
            self._enter(overwrite)
        except OSError as problem:
            self.close()
            raise EnvironmentProblem(
                f"the run folder cannot be written ({problem.strerror or problem})",
                where=str(self.place),
                hint="choose another output_dir",
            ) from None
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Let go of the folder; without this, it is let go when the process ends."""
        self._lock.release()

    @contextlib.contextmanager
    def at_work(self) -> Iterator[None]:
        """Let go of the folder afterwards, and say it in words if the disk takes no more.

        Raises:
            EnvironmentProblem: the disk is full, or has become read-only.
        """
        try:
            yield
        except SFTHelpersError:
            raise
        except Exception as problem:  # Python, Rust and C++ write here, and each has its own error
            if not _disk_refuses(problem, self.place):
                raise
            raise EnvironmentProblem(
                f"the disk takes no more ({' '.join(str(problem).split())[:160]})",
                where=str(self.place),
                hint="make room, then run the same command again: finished stages are kept",
            ) from problem
        finally:
            self.close()

    def _refuse_foreign(self) -> None:
        found = {path.name for path in self.place.iterdir()}
        ours = {RUN, LOCK, HOLDER}
        if self._read(RUN) is None and {n for n in found if not n.startswith(".part-")} - ours:
            raise DataError(
                "this folder holds something that `sft-helpers run` did not make",
                where=str(self.place),
                hint="choose another output_dir",
            )

    def _take(self) -> None:
        try:
            self._lock.acquire(timeout=0)
        except Timeout:
            holder = self._read(HOLDER) or {}
            who = f"process {holder.get('pid')} on {holder.get('machine')}"
            raise EnvironmentProblem(
                f"another run is at work in this folder ({who}, since {holder.get('since')})",
                where=str(self.place),
                hint="wait until it is done, or choose another output_dir",
            ) from None
        since = time.strftime("%d %b %H:%M")
        self.write(HOLDER, {"pid": os.getpid(), "machine": platform.node(), "since": since})

    def _enter(self, overwrite: bool) -> None:
        mine = self._read(RUN)
        if mine is not None and overwrite:
            for name in PARTS:
                remove(self.place / name)
        elif mine is not None and mine != self.settings:
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
            and not damage(self.place, record["files"])
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


def _disk_refuses(problem: Exception, place: Path) -> bool:
    code = getattr(problem, "errno", None)
    if code in (errno.ENOSPC, errno.EROFS, getattr(errno, "EDQUOT", errno.ENOSPC)):
        return True
    return "No space left" in str(problem) or shutil.disk_usage(place).free < 2**20


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
