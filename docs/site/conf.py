"""The configuration of Sphinx; ``docs/site/__main__.py`` sets the folders."""

from __future__ import annotations

from flambe_ansible import __version__

project = "flambe-ansible"
author = "the flambe-ansible contributors"
project_copyright = author
version = release = __version__

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
root_doc = "index"
source_suffix = {".md": "markdown"}
nitpicky = True
# Names in signatures that have no page: those of the standard library and of other packages, and private parts.
nitpick_ignore_regex = [("py:.*", ".*")]

myst_heading_anchors = 4  # the anchors of git hosts


autodoc_member_order = "bysource"
autodoc_typehints = "signature"
napoleon_numpy_docstring = False

html_theme = "furo"
html_title = f"flambe-ansible {__version__}"
html_copy_source = False
html_show_sourcelink = False
html_show_sphinx = False
