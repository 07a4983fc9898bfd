"""Sphinx's settings. The site is built by build_site.py, which lays its sources out first."""

import re
import sys
from pathlib import Path

from sphinx.util.logging import getLogger

import gfn_gym

logger = getLogger(__name__)
sys.path.insert(0, str(Path(__file__).parent))

project = "GFN Gym"
author = copyright = "GFN Gym maintainers"
version = release = gfn_gym.__version__

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx.ext.viewcode",
    "sphinx_copybutton",
    "sphinx_gallery.gen_gallery",
    "mathml",
]
myst_enable_extensions = ["colon_fence", "dollarmath"]
myst_heading_anchors = 3
exclude_patterns = ["tutorials"]  # sphinx-gallery writes their pages to learn/

html_theme = "furo"
html_math_renderer = "mathml"  # the browser's own: no script, no font, no network
html_title = f"GFN Gym {release}"
html_static_path: list[str] = []
html_copy_source = False
highlight_language = "none"

add_module_names = False
autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_typehints_format = "short"
autodoc_default_options = {"show-inheritance": True}
autodoc_preserve_defaults = True
napoleon_use_ivar = True
napoleon_use_rtype = False

copybutton_prompt_text = r">>> |\.\.\. |\$ "
copybutton_prompt_is_regexp = True

sphinx_gallery_conf = {
    "examples_dirs": ["tutorials"],
    "gallery_dirs": ["learn"],
    "filename_pattern": r"\.py$",  # all of them are executed
    "abort_on_example_error": True,
    "download_all_examples": False,
    "show_memory": False,
    "show_signature": False,
    "write_computation_times": False,
    "min_reported_time": 0,
    "remove_config_comments": True,
    "reset_modules": ("matplotlib",),
}

# Two type aliases of one name are told apart by their modules, which short annotations leave out.
suppress_warnings = ["config.cache", "myst.header", "ref.python"]


def readable(app, what, name, obj, options, lines):
    """Turn a docstring as we write it into reStructuredText.

    Gymnasium's form has Markdown's headings; |A| is the size of a set, not a substitution.
    """
    text = "\n".join(lines)
    text = re.sub(r"^## (.+)$", r".. rubric:: \1\n", text, flags=re.MULTILINE)
    parts = re.split(r"(``.*?``|`[^`]*`)", text, flags=re.DOTALL)
    for i in range(0, len(parts), 2):
        parts[i] = parts[i].replace("|", r"\|")
        if i and re.match(r"[^\s.,:;!?)\]}'\"/–—-]", parts[i]):  # ``n``^2
            parts[i] = r"\ " + parts[i]
    lines[:] = "".join(parts).split("\n")


def unresolved(app, env, node, contnode):
    """Warn of roles in docstrings that lead nowhere, and not of annotations.

    Annotations name types of numpy, torch and others, whose documentation is elsewhere.
    """
    if node.get("refdomain") == "py" and "refwarn" in node:
        target = node["reftarget"]
        logger.warning("%s refers to nothing that is documented", target, location=node)


def setup(app):
    app.connect("autodoc-process-docstring", readable)
    app.connect("missing-reference", unresolved)
