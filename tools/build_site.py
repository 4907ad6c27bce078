"""Build the site: every executed notebook, the guides and the API reference, to read from disk.

    python tools/build_site.py [--executed build/executed] [--out build/site]

`make site` runs the notebooks first. The pages need no network and no kernel: views that are ES
modules over data stay alive, all others keep their static twin.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import re
import shutil
import subprocess
import sys
import urllib.parse
from dataclasses import dataclass, field
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
VIEW = "application/vnd.jupyter.widget-view+json"
STATE = "application/vnd.jupyter.widget-state+json"
BADGE = re.compile(r"\[!\[Open in Colab\]\([^)]*\)\]\(([^)]*)\)")
# How JupyterLab is told to open a notebook at a cell; a page has an anchor there.
CELL_LINK = re.compile(r"(\d\d\w*)\.ipynb#cell-id=")
# A module that carries this asks Python at every move: without a kernel its static twin is better.
NEEDS_PYTHON = "// needs-python"
# Of a widget's state, what only a kernel or JupyterLab needs.
MACHINERY = re.compile(r"^_|^(layout|tooltip|tabbable)$")


@dataclass
class Views:
    """The live views of one page: what its script file will hold."""

    views: dict[str, Any] = field(default_factory=dict)
    texts: dict[str, str] = field(default_factory=dict)

    def text(self, source: str) -> str:
        """Keep a module or a style sheet once; return its key."""
        key = hashlib.sha256(source.encode()).hexdigest()[:16]
        self.texts[key] = source
        return key

    def script(self) -> str:
        """The script file: plain assignments, so that it loads from disk."""

        def assign(name: str, value: object) -> str:
            content = json.dumps(value, ensure_ascii=True)
            return f"window.{name} = Object.assign(window.{name} ?? {{}}, {content});\n"

        return assign("KIT_TEXTS", self.texts) + assign("KIT_VIEWS", self.views)


def for_the_site(notebook: dict[str, Any], page: str) -> Views:
    """Turn an executed notebook, in place, into what the site shows; return its live views.

    A live view becomes a place that holds its static twin until the script fills it. Progress
    bars, and widgets without a twin, are left out.
    """
    found = Views()
    states = notebook["metadata"].pop("widgets", {}).get(STATE, {}).get("state", {})
    for cell in notebook["cells"]:
        if cell["cell_type"] == "markdown":
            text = BADGE.sub(r"[Open in Colab](\1).", "".join(cell["source"]))
            if cell["id"] != "title":  # the page's heading must stay the first thing in it
                text = f'<a id="{cell["id"]}"></a>\n\n{text}'
            cell["source"] = [text]
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
                found.views[name] = {
                    "esm": found.text(state["_esm"]),
                    "css": found.text(state["_css"]) if state.get("_css") else "",
                    "state": {k: v for k, v in state.items() if not MACHINERY.match(k)},
                }
                data["text/html"] = _place(name, data, output.get("metadata", {}))
                data.pop("image/png", None)
            kept.append(output)
        cell["outputs"] = kept
    if found.views:
        script = f'<script src="../_static/views/{page}.js"></script>'
        cell = {"cell_type": "markdown", "id": "site-views", "metadata": {}, "source": [script]}
        notebook["cells"].append(cell)
    return found


def _place(name: str, data: dict[str, Any], metadata: dict[str, Any]) -> str:
    from markupsafe import Markup, escape

    twin = data.get("text/html")
    if twin is not None:
        inside = Markup("".join(twin))  # from sft_helpers.display.html, which escaped it
    else:
        alt = metadata.get("image/png", {}).get("alt") or "".join(data.get("text/plain", ""))
        image = "".join(data["image/png"]).replace("\n", "")
        inside = Markup('<img alt="{}" src="data:image/png;base64,{}">').format(alt, image)
    return f'<div class="kit-live" data-view="{escape(name)}">{inside}</div>'


def assemble(executed: Path, source: Path) -> list[str]:
    """Lay out everything that Sphinx reads; return the names of the notebooks.

    Raises:
        SystemExit: a notebook of the course has not been run.
    """
    shutil.rmtree(source, ignore_errors=True)
    (source / "notebooks").mkdir(parents=True)
    views = source / "_static" / "views"
    views.mkdir(parents=True)
    names = [path.stem for path in sorted((ROOT / "notebooks").glob("*.ipynb"))]
    missing = [name for name in names if not (executed / f"{name}.ipynb").exists()]
    if missing:
        raise SystemExit(f"not run yet: {', '.join(missing)}; run `make notebooks` first")
    for name in names:
        notebook = json.loads((executed / f"{name}.ipynb").read_text("utf-8"))
        live = for_the_site(notebook, name)
        (source / "notebooks" / f"{name}.ipynb").write_text(json.dumps(notebook), "utf-8")
        if live.views:
            (views / f"{name}.js").write_text(live.script(), "utf-8")
    for file in ("live.js", "live.css"):
        shutil.copy(ROOT / "docs" / "site" / file, source / "_static" / file)
    for file in (
        "README.md",
        "CONTRIBUTING.md",
        "LICENSE",
        "pyproject.toml",
        "data/README.md",
        "data/formats/README.md",
    ):
        (source / file).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / file, source / file)
    shutil.copy(ROOT / "docs" / "site" / "conf.py", source / "conf.py")
    shutil.copytree(ROOT / "docs", source / "docs", ignore=shutil.ignore_patterns("site"))
    _write_api(source / "api")
    (source / "index.md").write_text(_index(names, source), "utf-8")
    return names


def _index(names: list[str], source: Path) -> str:
    guides = sorted(path.relative_to(source) for path in (source / "docs").glob("*.md"))
    parts = [
        ("The course", [f"notebooks/{name}" for name in names]),
        ("Guides", [path.with_suffix("").as_posix() for path in guides]),
        ("Reference", ["api/index", "data/README", "data/formats/README", "CONTRIBUTING"]),
    ]
    text = "```{include} README.md\n```\n"
    for caption, pages in parts:
        listed = "\n".join(pages)
        text += f"\n```{{toctree}}\n:hidden:\n:caption: {caption}\n\n{listed}\n```\n"
    return text


def _write_api(folder: Path) -> None:
    folder.mkdir()
    modules = []
    for path in sorted((ROOT / "sft_helpers").rglob("*.py")):
        name = ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
        # a package only passes on what its modules define, and each thing is described once
        members = "" if path.name == "__init__.py" else "   :members:\n"
        text = f"{name}\n{'=' * len(name)}\n\n.. automodule:: {name}\n{members}"
        (folder / f"{name}.rst").write_text(text, "utf-8")
        modules.append(name)
    listed = "\n   ".join(sorted(modules))
    head = "The package, module by module\n============================="
    index = f"{head}\n\n.. toctree::\n   :maxdepth: 1\n\n   {listed}\n"
    (folder / "index.rst").write_text(index, "utf-8")


class _Links(HTMLParser):
    """Addresses and anchors of a page."""

    def __init__(self) -> None:
        super().__init__()
        self.links: list[str] = []
        self.anchors: set[str] = set()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        for name, value in attrs:
            if name in ("href", "src") and value:
                self.links.append(value)
            elif name in ("id", "name") and value:
                self.anchors.add(value)


def broken_links(site: Path) -> list[str]:
    """Links inside the site that lead nowhere: `page -> address`."""
    pages = {}
    for path in sorted(set(site.rglob("*.html")) - set((site / "_static").rglob("*"))):
        reader = _Links()
        reader.feed(path.read_text("utf-8"))
        pages[path.resolve()] = reader
    broken = []
    for path, reader in pages.items():
        for link in reader.links:
            parts = urllib.parse.urlsplit(link)
            if parts.scheme or parts.netloc:
                continue
            target = (path.parent / urllib.parse.unquote(parts.path)).resolve()
            target = path if not parts.path else target
            page = pages.get(target)
            anchor = urllib.parse.unquote(parts.fragment)
            if not target.exists() or (anchor and page and anchor not in page.anchors):
                broken.append(f"{path.relative_to(site.resolve())} -> {link}")
    return broken


def main() -> int:
    """Build, then check every link inside the site."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--executed", type=Path, default=ROOT / "build" / "executed")
    parser.add_argument("--out", type=Path, default=ROOT / "build" / "site")
    arguments = parser.parse_args()
    source = arguments.out.with_name(arguments.out.name + "-source")
    names = assemble(arguments.executed, source)
    shutil.rmtree(arguments.out, ignore_errors=True)
    sphinx = [sys.executable, "-m", "sphinx", "-q", "-b", "html", "-j", "2"]
    status = subprocess.run([*sphinx, str(source), str(arguments.out)], cwd=ROOT).returncode
    if status:
        return status
    broken = broken_links(arguments.out)
    if broken:
        print("\n".join(["links that lead nowhere:", *broken]), file=sys.stderr)
        return 1
    print(f"{arguments.out / 'index.html'}: {len(names)} notebooks; open it in a browser")
    return 0


if __name__ == "__main__":
    sys.exit(main())
