"""Formulas as MathML, which browsers draw themselves: no script, no font and no network at reading time."""

from __future__ import annotations

import re

from docutils import nodes
from docutils.utils.math import MathError
from docutils.utils.math.latex2mathml import tex2mathml
from sphinx.util import logging

logger = logging.getLogger(__name__)
SYNONYMS = {r"\dots": r"\ldots", r"\dotsc": r"\ldots", r"\dotsb": r"\cdots"}  # that docutils does not know


def _mathml(node: nodes.Element, **options) -> str:
    tex = re.sub(r"\\[a-zA-Z]+", lambda command: SYNONYMS.get(command[0], command[0]), node.astext())
    try:
        mathml = tex2mathml(tex, **options)
        # TeX's thin space after a function's name, unless a bracket follows
        return re.sub(r"<mo>&ApplyFunction;</mo>(?!\s*<mo[^>]*>\()", '<mspace width="0.17em"></mspace>', mathml)
    except MathError as error:
        logger.warning("formula %r: %s", tex, error, location=node)
        return ""


def inline(self, node: nodes.math) -> None:
    """Write a formula within a line."""
    self.body.append(_mathml(node))
    raise nodes.SkipNode


def block(self, node: nodes.math_block) -> None:
    """Write a formula on a line of its own."""
    self.body.append(f'<div class="math">{_mathml(node, as_block=True)}</div>\n')
    raise nodes.SkipNode


def setup(app) -> dict:
    """Register the renderer under the name "mathml"."""
    app.add_html_math_renderer("mathml", (inline, None), (block, None))
    return {"parallel_read_safe": True, "parallel_write_safe": True}
