"""Solved notebooks: the notebooks with each exercise's stub replaced by its solution.

The solution's text stands once, in the exercise's YAML. Nothing is run here.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from sft_helpers.errors import DataError
from sft_helpers.exercises.answers import is_blank_source
from sft_helpers.exercises.data import Exercise, topic, topic_for

_BANNER_ID = "solutions-banner"
_BANNER = (
    "*This notebook is generated: it is `{name}` with the exercises solved. "
    "Change the exercise or the notebook, then build it again.*"
)


def exercise_cells(notebook: Any) -> dict[str, Any]:
    """Return the exercise cells of a notebook by exercise name.

    Raises:
        DataError: if a cell tagged `exercise` has no single `id:NAME` tag, is no code cell, holds
            no blank `...`, or a name occurs twice.
    """
    found: dict[str, Any] = {}
    for number, cell in enumerate(notebook.cells):
        tags = cell.metadata.get("tags", [])
        if "exercise" not in tags:
            continue
        where = f"cell {number}"
        names = [tag.removeprefix("id:") for tag in tags if tag.startswith("id:")]
        if len(names) != 1:
            raise DataError("an exercise cell needs one tag id:NAME", where=where)
        if cell.cell_type != "code":
            raise DataError("an exercise cell must be a code cell", where=where)
        if names[0] in found:
            raise DataError(f"exercise {names[0]} occurs twice", where=where)
        if not is_blank_source(cell.source):
            raise DataError(f"the stub of {names[0]} holds no blank `...`", where=where)
        found[names[0]] = cell
    return found


def _matched(path: Path, notebook: Any) -> dict[str, tuple[Any, Exercise]]:
    """Pair the exercise cells of a notebook with the exercises of its YAML, one to one."""
    try:
        cells = exercise_cells(notebook)
    except DataError as error:
        raise DataError(error.message, where=f"{path.name}, {error.where}") from error
    known = topic(topic_for(path)).exercises
    for name in sorted(cells.keys() ^ known.keys()):
        file = f"sft_helpers/exercises/{path.stem}.yaml"
        problem = (
            f"is not in {file}" if name in cells else f"of {file} has no cell tagged id:{name}"
        )
        raise DataError(f"exercise {name} {problem}", where=path.name)
    return {name: (cells[name], known[name]) for name in cells}


def solve(path: Path) -> Any | None:
    """Return the notebook at `path` solved and without outputs; None if it has no exercises.

    Raises:
        DataError: if the file is no notebook, or its cells and its exercises differ.
    """
    import nbformat

    try:
        notebook = nbformat.read(path, as_version=4)
    except (OSError, ValueError, nbformat.reader.NotJSONError) as error:
        raise DataError(f"the notebook cannot be read: {error}", where=str(path)) from error
    pairs = _matched(path, notebook)
    if not pairs:
        return None
    for cell, made in pairs.values():
        cell.source = made.solution
        cell.metadata.tags = ["solution" if t == "exercise" else t for t in cell.metadata.tags]
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.outputs = []
            cell.execution_count = None
    notebook.metadata.pop("widgets", None)
    banner = nbformat.v4.new_markdown_cell(_BANNER.format(name=path.name), id=_BANNER_ID)
    notebook.cells.insert(0, banner)
    nbformat.validate(notebook)
    return notebook


def build_solutions(notebooks_dir: Path | str, out_dir: Path | str) -> list[Path]:
    """Write the solved twin of each notebook that has exercises; return the paths, sorted.

    The same input gives the same bytes; cell ids are those of the notebook. A twin that an
    earlier call wrote and whose notebook is gone or has no exercises any more is removed.

    Raises:
        DataError: if a notebook cannot be read, or its cells and its exercises differ.
    """
    import nbformat

    source, target = Path(notebooks_dir), Path(out_dir)
    if source.resolve() == target.resolve():
        raise DataError("solutions would overwrite the notebooks", hint="name another folder")
    solved = {path.name: solve(path) for path in sorted(source.glob("*.ipynb"))}
    target.mkdir(parents=True, exist_ok=True)
    written = []
    for name, notebook in solved.items():
        if notebook is not None:
            text = nbformat.writes(notebook).rstrip("\n") + "\n"
            (target / name).write_text(text, encoding="utf-8")
            written.append(target / name)
    for old in set(target.glob("*.ipynb")) - set(written):
        if f'"id": "{_BANNER_ID}"' in old.read_text(encoding="utf-8"):
            old.unlink()
    return written
