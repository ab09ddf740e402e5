"""Sphinx: `make docs` builds build/docs from the Markdown of the whole repository.

The source is the root, so that a link from one file to another is the same here and where people
read the repository.
"""

import fmtc

project = "fmtc"
author = "The fmtc authors"
release = fmtc.__version__
extensions = [
    "myst_nb",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx_copybutton",
]
root_doc = "docs/index"
include_patterns = [
    "docs/**", "notebooks/*.ipynb", "rtl/README.md",
    "CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md",
]  # fmt: skip
exclude_patterns = [".venv*", "build", "dist", "**/.ipynb_checkpoints"]
html_theme = "furo"
html_title = "fmtc"

myst_enable_extensions = ["colon_fence"]
myst_heading_anchors = 4
suppress_warnings = ["myst.header"]  # changes begin with a version
# What a link leads to that is no page: folders and sources, which are read in the repository.
myst_ref_domains: list[str] = []

nb_execution_mode = "force"
nb_execution_in_temp = True
nb_execution_timeout = 600
nb_execution_raise_on_error = True

autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_default_options = {"members": True}
autodoc_inherit_docstrings = False  # torch's own say nothing of ours
default_role = "py:obj"  # of docstrings: `name` is a link
highlight_language = "none"
copybutton_prompt_text = r">>> |\.\.\. |\$ "
copybutton_prompt_is_regexp = True
