"""Configuration of Sphinx, which builds the documentation site: `make docs`."""

import os
import sys
from pathlib import Path

DOCS = Path(__file__).resolve().parent
sys.path[:0] = [str(DOCS), str(DOCS.parent / "workflow")]
os.environ["HF_HUB_OFFLINE"] = "1"  # A site is built without network.

from qatlab import __version__  # noqa: E402

project = "qatlab"
author = "the developers of qatlab"
version = release = __version__

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "reference_pages"]
source_suffix = {".md": "markdown"}
exclude_patterns = ["_build", "notebooks"]

myst_enable_extensions = ["attrs_inline", "deflist"]
myst_heading_anchors = 3

smartquotes = False  # commands have straight quotes
default_role = "code"  # a single backtick in a docstring
autodoc_member_order = "bysource"
autodoc_typehints = "signature"
python_use_unqualified_type_names = True
napoleon_use_ivar = True
napoleon_custom_sections = ["Inputs", "Relations"]
napoleon_numpy_docstring = False
# Types in signatures are those of NumPy, torch and Sentence Transformers, whose pages are not reachable without network. All other
# references, such as links between pages and to headings and files, are checked.
nitpick_ignore_regex = [("py:.*", ".*")]

html_theme = "furo"
html_title = "qatlab"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_copy_source = False
html_show_sourcelink = False
html_show_copyright = False
html_show_sphinx = False
