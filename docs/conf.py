"""Sphinx's settings. The site is built by build_site.py, which lays its sources out first."""

import inspect
import re
import sys
from itertools import takewhile
from pathlib import Path
from typing import Any

from sphinx.util.inspect import stringify_signature
from sphinx.util.logging import getLogger
from sphinx.util.nodes import make_refnode

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
html_static_path = ["static"]
html_css_files = ["site.css"]
html_copy_source = False
highlight_language = "none"

add_module_names = False
autodoc_inherit_docstrings = False  # those of numpy or torch are documented there
autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_typehints_format = "short"
autodoc_default_options = {"show-inheritance": True}
autodoc_preserve_defaults = True
autodoc_type_aliases = {  # written as they are, not as numpy's types in full
    name: f"gfn_gym.dag.{name}" for name in ("States", "Actions", "Mask", "Floats")
} | {
    "LogReward": "LogReward",
    "Indices": "Indices",
    "ArrayLike": "ArrayLike",
    "GymEnv": "GymEnv",
    "Schedule": "Schedule",
}
napoleon_attr_annotations = False
napoleon_use_ivar = True
napoleon_use_rtype = False

copybutton_prompt_text = r">>> |\.\.\. |\$ "
copybutton_prompt_is_regexp = True

sphinx_gallery_conf = {
    "examples_dirs": ["tutorials"],
    "gallery_dirs": ["learn"],
    "within_subsection_order": "FileNameSortKey",
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


def alias_names(app, what, name, obj, options, signature, returns):
    """Write a type alias in a union by its name alone."""
    pattern = r"TypeAliasForwardRef\('(?:\w+\.)*(\w+)'\)"
    return tuple(text and re.sub(pattern, r"\1", text) for text in (signature, returns))


def of_constructor(app, what, name, obj, options, signature, returns):
    """Show the arguments of a DAG's ``__init__``: its ``__new__`` takes and notes any."""
    if what != "class" or not issubclass(obj, gfn_gym.DAG) or obj.__init__ is object.__init__:
        return None
    whole = inspect.signature(obj.__init__)  # annotations as they are written
    parameters = list(whole.parameters.values())[1:]  # without self
    return stringify_signature(
        whole.replace(parameters=parameters, return_annotation=inspect.Signature.empty)
    ), None


def no_type(app, what, name, obj, options, lines):
    """Keep napoleon from reading "λ: a variant's" of an attribute as "type: description"."""
    if what in ("attribute", "data", "property"):
        lines.insert(0, "")


def shared(a: str, b: str) -> int:
    """How many leading parts two dotted names have in common."""
    pairs = zip(a.split("."), b.split("."), strict=False)
    return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], pairs))


def nearest(env: Any, name: str, here: str) -> set[tuple[str, str]]:
    """The pages and anchors of what is documented as ``name``, as near as possible to ``here``."""
    found = [
        (shared(full, here), entry.docname, entry.node_id)
        for full, entry in env.get_domain("py").objects.items()
        if full.endswith(f".{name}")
    ]
    most = max((parts for parts, *_ in found), default=0)
    return {(page, anchor) for parts, page, anchor in found if parts == most}


def resolve(app, env, node, contnode):
    """Resolve a role in a docstring that says :func:`name` of what its module has imported.

    Private names stay text; what is still not found is a warning. Annotations name types of numpy,
    torch and others, whose documentation is elsewhere, so they may lead nowhere.
    """
    written = "refwarn" in node and "docstring of" in (node.source or "")
    if node.get("refdomain") != "py" or not written:
        return None
    name = node["reftarget"]
    if name.rpartition(".")[2].startswith("_"):
        return contnode
    found = nearest(env, name, f"{node.get('py:module')}.{node.get('py:class')}")
    if not found:
        logger.warning("%s refers to nothing that is documented", name, location=node)
        return None
    if len(found) > 1:  # a method that every algorithm has
        return contnode
    (page, anchor) = found.pop()
    return make_refnode(app.builder, node["refdoc"], page, anchor, contnode)


def back_links(app, pagename, templatename, context, doctree):
    """Lead from a source page to the documentation of what it has, under its public name.

    viewcode takes the first name of a module for all that the module has.
    """
    if not pagename.startswith("_modules/gfn_gym"):
        return
    module = pagename.removeprefix("_modules/").replace("/", ".")

    def corrected(match):
        found = nearest(app.env, match[2], module)
        if len(found) != 1:
            return match[1]
        (page, anchor) = found.pop()
        uri = f"{app.builder.get_relative_uri(pagename, page)}#{anchor}"
        return f'{match[1]}<a class="viewcode-back" href="{uri}">[docs]</a>'

    block = r'(<div class="viewcode-block" id="([^"]+)">\s*)<a class="viewcode-back".*?</a>'
    context["body"] = re.sub(block, corrected, context["body"])


def forget_builtins(app: Any, env: Any) -> None:
    """Keep viewcode from listing the module of Python's own names, which has no page."""
    getattr(env, "_viewcode_modules", {}).pop("builtins", None)


def setup(app):
    app.connect("env-check-consistency", forget_builtins)
    app.connect("autodoc-process-signature", of_constructor)
    app.connect("autodoc-process-signature", alias_names)
    app.connect("autodoc-process-docstring", no_type, priority=100)  # before napoleon
    app.connect("autodoc-process-docstring", readable)
    app.connect("missing-reference", resolve)
    app.connect("html-page-context", back_links)
