"""The site: what of an executed notebook it keeps, and which notebooks must be run before."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tools import build_site

ESM = "export default { render({ model, el }) { el.textContent = model.get('count'); } };"
LIVE = {"_esm": ESM, "_css": ".a {}", "count": 3, "_model_name": "AnyModel", "layout": "IPY_1"}


def notebook(*outputs: dict[str, Any], state: dict[str, Any] | None = None) -> dict[str, Any]:
    """An executed notebook with one cell and one widget, `w`."""
    widgets = {build_site.STATE: {"state": {"w": {"state": state or LIVE}}}}
    badge = "*1 min.* [![Open in Colab](https://x/badge.svg)](https://colab/n.ipynb) On Colab"
    cell = {"cell_type": "code", "id": "view", "source": ["show()"], "execution_count": 1}
    return {
        "metadata": {"widgets": widgets},
        "cells": [
            {"cell_type": "markdown", "id": "title", "source": ["# 04 · Loss masks"]},
            {"cell_type": "markdown", "id": "badge", "source": [badge]},
            {"cell_type": "code", "id": "colab", "source": ["x"], "outputs": []},
            cell | {"outputs": list(outputs)},
        ],
    }


def display(**data: Any) -> dict[str, Any]:
    names = {"view": build_site.VIEW, "html": "text/html", "png": "image/png", "text": "text/plain"}
    return {
        "output_type": "display_data",
        "metadata": {"image/png": {"alt": 'two "bars" <b>'}},
        "data": {names[key]: value for key, value in data.items()},
    }


SHOWN = {"view": {"model_id": "w"}, "html": "<p>static twin</p>", "text": "t"}


def test_a_live_view_keeps_its_static_twin() -> None:
    page = notebook(display(**SHOWN))
    views = build_site.for_the_site(page, "04")
    assert views == {"04-view-0": {"esm": ESM, "css": ".a {}", "state": {"count": 3}}}
    title, badge, code, script = page["cells"]
    twin = '<div class="kit-live" data-view="04-view-0"><p>static twin</p></div>'
    assert code["outputs"][0]["data"] == {"text/html": twin, "text/plain": "t"}
    assert "widgets" not in page["metadata"]
    assert "_static/views/04.js" in script["source"][0]
    assert title["source"][0].startswith("# 04 · Loss masks\n\n<p")
    assert 'href="../_static/notebooks/04.ipynb"' in title["source"][0]
    assert badge["source"] == ['<a id="badge"></a>\n\n*1 min.*']


def test_what_needs_python_stays_static() -> None:
    page = notebook(display(**SHOWN), state=LIVE | {"_esm": build_site.NEEDS_PYTHON + "\n" + ESM})
    assert build_site.for_the_site(page, "04") == {}
    assert page["cells"][-1]["outputs"][0]["data"]["text/html"] == "<p>static twin</p>"


def test_a_picture_is_a_twin_too_and_its_words_are_escaped() -> None:
    page = notebook(display(view={"model_id": "w"}, png="AAAA", text="t"))
    build_site.for_the_site(page, "06")
    html = page["cells"][2]["outputs"][0]["data"]["text/html"]
    assert 'alt="two &#34;bars&#34; &lt;b&gt;"' in html
    assert "base64,AAAA" in html


def test_progress_bars_are_left_out_and_links_to_cells_meet_their_anchors() -> None:
    bar = display(view={"model_id": "gone"}, text="HBox()")
    printed = {"output_type": "stream", "name": "stdout", "text": ["hello"]}
    page = notebook(bar, printed, display(html=['<a href="04_loss.ipynb#cell-id=end">', "x</a>"]))
    build_site.for_the_site(page, "00")
    stream, link = page["cells"][-1]["outputs"]
    assert stream == printed
    assert link["data"]["text/html"] == '<a href="04_loss.html#end">x</a>'


@pytest.mark.parametrize(
    ("change", "is_fresh"),
    [
        (lambda cells: None, True),
        (lambda cells: cells[3].update(source=["show", "()"]), True),
        (lambda cells: cells[0].update(source=["another word"]), False),
        (lambda cells: cells[3].update(execution_count=None), False),
        (lambda cells: cells[3]["outputs"].append({"output_type": "error"}), False),
        (lambda cells: cells.pop(), False),
    ],
)
def test_a_copy_is_fresh_when_it_ran_to_its_end_without_an_error(
    tmp_path: Path, change: Any, is_fresh: bool
) -> None:
    source, copy = tmp_path / "source.ipynb", tmp_path / "copy.ipynb"
    assert not build_site.fresh(source, copy)
    ran = notebook(display(html="x"))
    ran["cells"][2]["execution_count"] = 1
    source.write_text(json.dumps(ran))
    change(ran["cells"])
    copy.write_text(json.dumps(ran))
    assert build_site.fresh(source, copy) == is_fresh


def test_dataset_text_cannot_end_the_script(tmp_path: Path, monkeypatch: Any) -> None:
    evil = "\u2028</script><b>"
    page = notebook(display(**SHOWN), state=LIVE | {"rows": evil})
    for folder in ("notebooks", "docs/site", "executed"):
        (tmp_path / folder).mkdir(parents=True)
    for folder in ("notebooks", "executed"):
        (tmp_path / folder / "04.ipynb").write_text(json.dumps(page))
    monkeypatch.setattr(build_site, "ROOT", tmp_path)
    monkeypatch.setattr(build_site, "COPIED", ())
    build_site.assemble(tmp_path / "executed", tmp_path / "pages")
    script = (tmp_path / "pages" / "_static" / "views" / "04.js").read_text()
    start = "window.KIT_VIEWS = Object.assign(window.KIT_VIEWS ?? {}, "
    assert script.isascii()
    assert len(script.splitlines()) == 1
    views = json.loads(script.removeprefix(start).removesuffix(");"))
    assert views["04-view-0"]["state"]["rows"] == evil
    assert (tmp_path / "pages" / "_static" / "notebooks" / "04.ipynb").exists()
