"""Sphinx settings of the site; tools/build_site.py copies this beside the pages and builds."""

import tomllib
from pathlib import Path

import sft_helpers

_project = tomllib.loads((Path(__file__).parent / "pyproject.toml").read_text("utf-8"))

project = "SFT, step by step"
author = "the authors of the kit"
version = release = _project["project"]["version"]
extensions = ["myst_nb", "sphinx.ext.apidoc", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
root_doc = "index"
exclude_patterns = ["_static", "api/modules.rst"]

nb_execution_mode = "off"  # `make notebooks` ran them; the pages show what they printed
nb_merge_streams = True
myst_heading_anchors = 3
myst_links_external_new_tab = True
suppress_warnings = ["mystnb.unknown_mime_type", "myst.header", "myst.xref_missing", "ref.python"]

apidoc_modules = [
    {
        "path": str(Path(sft_helpers.__file__).parent),
        "destination": "api",
        "separate_modules": True,
        "module_first": True,
        # a package only passes on what its modules define: each thing is described once
        "automodule_options": {"members", "ignore-module-all"},
    }
]
autodoc_member_order = "bysource"
autodoc_typehints = "description"
napoleon_google_docstring = True
napoleon_use_ivar = True  # attributes as a list, described once
default_role = "code"  # docstrings put names in single backticks

html_theme = "sphinx_book_theme"
html_title = project
html_static_path = ["_static"]
html_css_files = ["live.css"]
html_js_files = ["live.js"]
html_context = {"default_mode": "auto"}  # light or dark, as the reader's system is
html_copy_source = False
html_use_index = html_domain_indices = False  # the search finds more
html_show_search_summary = False  # a page on disk may not fetch others
html_search_scorer = str(Path(__file__).parent / "_static" / "scorer.js")
html_show_sourcelink = False
html_theme_options = {
    "show_toc_level": 2,
    "use_download_button": False,
    "use_fullscreen_button": False,
    "navigation_with_keys": False,
    "navbar_persistent": [],  # the search stands in the sidebar
}
