"""How the pages of this folder become a site: `make docs`."""

import tomllib
from pathlib import Path

PROJECT = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text())["project"]

project = PROJECT["name"]
version = release = PROJECT["version"]
copyright = ""  # noqa: A001 - Sphinx' name; the licence is a file

extensions = ["myst_parser"]
source_suffix = {".md": "markdown"}

smartquotes = False  # An option keeps its two dashes, and what is typed its quotes.

myst_heading_anchors = 4
"""Headings are linked to as on a forge; a link to one that is not there is an error."""

linkcheck_ignore = ["http://localhost"]  # What a reader has started; not there where this is made.

html_theme = "furo"
html_static_path = ["static"]
html_css_files = ["site.css"]
html_title = f"{project} {version}"
html_copy_source = False
html_show_copyright = False
html_show_sphinx = False
