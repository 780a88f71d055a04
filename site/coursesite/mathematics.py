"""Formulas as MathML, which browsers draw themselves: no script, no image, readable by screen readers."""

from __future__ import annotations

import re
from html import escape
from typing import Any

from latex2mathml.converter import convert

__all__ = ["mathml", "setup"]

KNOWN_AS = {r"\arg": r"\operatorname{arg}"}  # commands that latex2mathml lacks
WIDE = 45
LEFT_OVER = re.compile(r">[^<]*\\[A-Za-z]+[^<]*<")


def mathml(tex: str, *, block: bool = False) -> str:
    """A formula as a ``<math>`` element, with its TeX for those who want to copy it.

    Raises:
        ValueError: a command of the formula is not known.
    """
    tex = " ".join(tex.split())
    body = re.sub(r"\\[A-Za-z]+", lambda command: KNOWN_AS.get(command[0], command[0]), tex)
    if block and r"\\" in tex and r"\begin" not in tex:
        body = rf"\begin{{aligned}}{body}\end{{aligned}}"
    made = convert(body, display="block" if block else "inline")
    if found := LEFT_OVER.search(made):
        raise ValueError(f"no MathML for {found[0][1:-1]} in {tex}")
    return made.replace("<math ", f'<math alttext="{escape(tex)}" ', 1)


def _inline(self: Any, node: Any) -> None:
    from docutils.nodes import SkipNode

    tex = node.astext()
    wide = ' wide" tabindex="0' if len(tex) > WIDE else ""  # on a phone it is scrolled
    self.body.append(f'<span class="math{wide}">{mathml(tex)}</span>')
    raise SkipNode


def _block(self: Any, node: Any) -> None:
    from docutils.nodes import SkipNode

    self.body.append(f'<div class="math" tabindex="0">{mathml(node.astext(), block=True)}</div>')
    raise SkipNode


def setup(app: Any) -> dict[str, bool]:
    app.add_html_math_renderer("mathml", (_inline, None), (_block, None))
    return {"parallel_read_safe": True, "parallel_write_safe": True}
