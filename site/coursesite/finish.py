"""The last touches on a page: tables that scroll for themselves, words for pictures."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

__all__ = ["setup", "touched"]


def touched(html: str) -> str:
    """A page in which what may be wider than a phone can be scrolled with the keyboard, too."""
    html = re.sub(r'(<div class="highlight">)<pre>', r'\1<pre tabindex="0">', html)
    html = html.replace('<div class="table-wrapper', '<div tabindex="0" class="table-wrapper')
    html = html.replace('class="caption" role="heading"', 'class="caption" role="heading" aria-level="2"')
    return html.replace('<div class="output text_html">', '<div class="output text_html" tabindex="0">')


def _finish(app: Any, problem: Exception | None) -> None:
    if problem is None and app.builder.format == "html":
        for path in Path(app.outdir).rglob("*.html"):
            html = path.read_text(encoding="utf-8")
            path.write_text(touched(html), encoding="utf-8")


def setup(app: Any) -> dict[str, bool]:
    app.connect("build-finished", _finish)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
