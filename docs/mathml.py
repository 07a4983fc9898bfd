"""A Sphinx extension: equations as MathML, which browsers draw without a script or a download."""

from __future__ import annotations

from typing import Any

from docutils import nodes
from docutils.utils.math import MathError
from docutils.utils.math.latex2mathml import tex2mathml
from sphinx.util.logging import getLogger
from sphinx.util.math import get_node_equation_number

logger = getLogger(__name__)


def inline(self: Any, node: nodes.math) -> None:
    self.body.append(mathml(node))
    raise nodes.SkipNode


def block(self: Any, node: nodes.math_block) -> None:
    number = f"({get_node_equation_number(self, node)})" if node["number"] else ""
    self.body.append(self.starttag(node, "div", CLASS="math"))
    self.body.append(mathml(node, as_block=True) + number + "</div>\n")
    raise nodes.SkipNode


def mathml(node: nodes.math | nodes.math_block, as_block: bool = False) -> str:
    try:
        text = tex2mathml(node.astext(), as_block=as_block)
    except MathError as error:
        logger.warning("%s: %s", node.astext(), error, location=node)
        return ""
    return text.replace("<mo>&ApplyFunction;</mo>", '<mspace width="0.17em"/>')  # log x, not logx


def setup(app: Any) -> dict[str, bool]:
    app.add_html_math_renderer("mathml", (inline, None), (block, None))
    return {"parallel_read_safe": True, "parallel_write_safe": True}
