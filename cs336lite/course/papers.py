"""Every arXiv number in prose is a link: ``arXiv 2104.09864`` becomes ``[arXiv 2104.09864](https://arxiv.org/abs/2104.09864)``."""

from __future__ import annotations

import re

__all__ = ["bare", "link_papers"]

# arXiv's numbers since April 2007: year, month, a point, four or five digits
_NUMBER = r"(?<![\w./-])(?P<number>(?:0[7-9]|[1-9]\d)(?:0[1-9]|1[0-2])\.\d{4,5})(?:v\d+)?(?![\w]|\.\d)"
_KEPT = r"```.*?```|`[^`\n]*`|\$\$.*?\$\$|\$[^$\n]*\$|!?\[[^\]]*\]\([^)]*\)|<[^>\n]*>|https?://\S+"
_PAPER = re.compile(rf"(?P<kept>{_KEPT})|(?:arXiv[:\s]\s*)?{_NUMBER}", re.S)


def link_papers(markdown: str) -> str:
    """The text with a link at each number, in code, mathematics and links excepted.

    >>> link_papers("RoPE (Su et al. 2021, arXiv 2104.09864), `2104.09864`")
    'RoPE (Su et al. 2021, [arXiv 2104.09864](https://arxiv.org/abs/2104.09864)), `2104.09864`'
    """

    def link(match: re.Match[str]) -> str:
        return match[0] if match["kept"] else f"[{match[0]}](https://arxiv.org/abs/{match['number']})"

    return _PAPER.sub(link, markdown)


def bare(markdown: str) -> list[str]:
    """The numbers of a text that are no links yet."""
    return [match["number"] for match in _PAPER.finditer(markdown) if not match["kept"]]
