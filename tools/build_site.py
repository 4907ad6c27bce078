"""Build the site: every executed notebook, the guides and the API reference, to read from disk.

`make site` first runs the notebooks that `--stale` names: those whose executed copy is missing, has
an error, or was made from other cells. The pages need no network and no kernel: views that are ES
modules over data stay alive, all others keep their static twin.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

from markupsafe import Markup

ROOT = Path(__file__).resolve().parents[1]
VIEW = "application/vnd.jupyter.widget-view+json"
STATE = "application/vnd.jupyter.widget-state+json"
BADGE = re.compile(r" *\[!\[Open in Colab\].*", re.S)  # and what is said about it
NOTE = """

<p class="kit-note">This page shows what the notebook printed when it ran, and its views
move without Python. To run and change its code and to solve the exercises,
<a href="../README.html#two-commands">install the kit</a> and open it in JupyterLab
(<a href="../_static/notebooks/{page}.ipynb" download>this notebook as a file</a>).</p>"""
# How JupyterLab is told to open a notebook at a cell; a page has an anchor there.
CELL_LINK = re.compile(r"(\d\d\w*)\.ipynb#cell-id=")
# A module that carries this asks Python at every move: without a kernel its static twin is better.
NEEDS_PYTHON = "// needs-python"
# Of a widget's state, what only a kernel or JupyterLab needs.
MACHINERY = re.compile(r"^_|^(layout|tooltip|tabbable)$")
COPIED = (
    *("README.md", "CONTRIBUTING.md", "LICENSE", "pyproject.toml"),
    *("data/README.md", "data/make/README.md", "data/formats/README.md"),
)


def for_the_site(notebook: dict[str, Any], page: str) -> dict[str, Any]:
    """Turn an executed notebook, in place, into what the site shows; return its live views.

    A live view becomes a place that holds its static twin until the script fills it. Progress
    bars, and widgets without a twin, are left out.
    """
    views: dict[str, Any] = {}
    states = notebook["metadata"].pop("widgets", {}).get(STATE, {}).get("state", {})
    notebook["cells"] = [cell for cell in notebook["cells"] if cell["id"] != "colab"]
    for cell in notebook["cells"]:
        if cell["cell_type"] == "markdown":
            text = BADGE.sub("", "".join(cell["source"]))
            # the page's heading must stay the first thing in it
            title, anchor = cell["id"] == "title", f'<a id="{cell["id"]}"></a>\n\n'
            cell["source"] = [text + NOTE.format(page=page) if title else anchor + text]
            continue
        kept = []
        for number, output in enumerate(cell.get("outputs", [])):
            data = output.get("data", {})
            view = data.pop(VIEW, None)
            if view is not None and not {"text/html", "image/png"} & data.keys():
                continue
            if "text/html" in data:
                data["text/html"] = CELL_LINK.sub(r"\1.html#", "".join(data["text/html"]))
            state = states.get((view or {}).get("model_id"), {}).get("state", {})
            if "_esm" in state and NEEDS_PYTHON not in state["_esm"]:
                name = f"{page}-{cell['id']}-{number}"
                plain = {key: value for key, value in state.items() if not MACHINERY.match(key)}
                views[name] = {"esm": state["_esm"], "css": state.get("_css", ""), "state": plain}
                data["text/html"] = place(name, data, output.get("metadata", {}))
                data.pop("image/png", None)
            kept.append(output)
        cell["outputs"] = kept
    if views:
        script = f'<script src="../_static/views/{page}.js"></script>'
        cell = {"cell_type": "markdown", "id": "site-views", "metadata": {}, "source": [script]}
        notebook["cells"].append(cell)
    return views


def place(name: str, data: dict[str, Any], metadata: dict[str, Any]) -> str:
    """Where a live view will stand, with its static twin in it."""
    if "text/html" in data:
        inside = Markup("".join(data["text/html"]))  # from sft_helpers.display, which escaped it
    else:
        alt = metadata.get("image/png", {}).get("alt") or "".join(data.get("text/plain", ""))
        image = "".join(data["image/png"]).replace("\n", "")
        inside = Markup('<img alt="{}" src="data:image/png;base64,{}">').format(alt, image)
    return Markup('<div class="kit-live" data-view="{}">{}</div>').format(name, inside)


def script(views: dict[str, Any]) -> str:
    """The views of a page: ASCII, a plain assignment, so it loads from disk whatever rows hold."""
    return f"window.KIT_VIEWS = Object.assign(window.KIT_VIEWS ?? {{}}, {json.dumps(views)});"


def fresh(path: Path, copy: Path) -> bool:
    """Whether `copy` is this notebook, run to its end without an error."""
    if not copy.exists():
        return False
    cells, ran = (json.loads(file.read_text("utf-8"))["cells"] for file in (path, copy))
    code = [cell for cell in ran if cell["cell_type"] == "code" and cell["source"]]
    outputs = [output["output_type"] for cell in code for output in cell["outputs"]]
    whole = all(cell["execution_count"] for cell in code) and "error" not in outputs
    return whole and [(cell["cell_type"], "".join(cell["source"])) for cell in cells] == [
        (cell["cell_type"], "".join(cell["source"])) for cell in ran
    ]


def assemble(executed: Path, source: Path) -> None:
    """Lay out everything that Sphinx reads."""
    shutil.rmtree(source, ignore_errors=True)
    shutil.copytree(ROOT / "docs", source / "docs", ignore=shutil.ignore_patterns("site"))
    shutil.copytree(ROOT / "docs" / "site", source, dirs_exist_ok=True)
    static = source / "_static"
    for folder in (source / "notebooks", static / "views", static / "notebooks"):
        folder.mkdir(parents=True)
    for file in COPIED:
        (source / file).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / file, source / file)
    for path in (ROOT / "notebooks").glob("*.ipynb"):
        shutil.copy(path, static / "notebooks")
        notebook = json.loads((executed / path.name).read_text("utf-8"))
        views = for_the_site(notebook, path.stem)
        (source / "notebooks" / path.name).write_text(json.dumps(notebook), "utf-8")
        (static / "views" / f"{path.stem}.js").write_text(script(views), "utf-8")


def main() -> None:
    """Build, or name the notebooks that must be run before."""
    folders = ("executed", "site-source", "site")
    executed, source, site = (ROOT / "build" / name for name in folders)
    paths = sorted((ROOT / "notebooks").glob("*.ipynb"))
    stale = [path for path in paths if not fresh(path, executed / path.name)]
    names = " ".join(path.relative_to(ROOT).as_posix() for path in stale)
    if "--stale" in sys.argv:
        print(names)
    elif stale:
        raise SystemExit(f"not run, or changed since: {names}; run `make notebooks` first")
    else:
        assemble(executed, source)
        shutil.rmtree(site, ignore_errors=True)
        sphinx = [sys.executable, "-m", "sphinx", "-q", "-b", "html", "-j", "2", source, site]
        subprocess.run(list(map(str, sphinx)), cwd=ROOT, check=True)
        print(f"{site / 'index.html'}: open it in a browser")


if __name__ == "__main__":
    main()
