"""The configuration of Sphinx; ``docs/site/__main__.py`` gives it the folders."""

from __future__ import annotations

import inspect
from typing import Any

from sphinx.application import Sphinx
from sphinx.util.inspect import signature, stringify_signature

from flambe_ansible import __version__

project = "flambe-ansible"
author = project_copyright = "the flambe-ansible contributors"
version = release = __version__

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
root_doc = "index"
nitpicky = True
# Names in signatures: of other packages, and of parts that a user of the API does not call.
_PARTS = (
    "cluster.options.ClusterOptions", r"ec2\..*", r"fleet\..*", r"jobs\.(custom|experiment|instances|jobs|workdir)\..*",
    r"providers\..*", r"runnable\.(edit|runnable|tree)\..*", r"runtimes\..*", r"sources\..*", r"ssh\.connections\..*",
)  # fmt: skip
nitpick_ignore_regex = [
    ("py:class", r"(collections|configparser|pathlib)\..*|tuple\[.*"),
    ("py:class", rf"flambe_ansible\.({'|'.join(_PARTS)})"),
    ("py:class", "Startable|Submittable"),  # aliases of such parts
]
myst_enable_extensions = ["deflist"]
myst_heading_anchors = 4  # as on git hosts
highlight_language = "text"  # of indented blocks
autodoc_member_order = "bysource"
autodoc_typehints_format = "short"
maximum_signature_line_length = 88
napoleon_numpy_docstring = False

html_theme = "furo"
html_title = f"flambe-ansible {__version__}"
html_static_path = ["static"]
html_css_files = ["site.css"]
html_copy_source = html_show_sourcelink = html_show_sphinx = False


def write_signature(
    _app: Sphinx, what: str, _name: str, made: Any, _options: Any, _args: str | None, returned: str | None
) -> tuple[str, str | None] | None:
    """Show the arguments of ``__init__``: Sphinx prefers those of ``Runnable.__new__``, which are any."""
    if what != "class" or not inspect.isclass(made) or made.__new__ is object.__new__:
        return None
    return stringify_signature(signature(made.__init__, bound_method=True), show_return_annotation=False), returned


def setup(app: Sphinx) -> None:
    """Connect the functions of this file."""
    app.connect("autodoc-process-signature", write_signature)
