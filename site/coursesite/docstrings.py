"""Docstrings as Sphinx can read them: what is set in is code, as everywhere in this course."""

from __future__ import annotations

import re
from typing import Any

__all__ = ["prepared", "setup"]

SECTION = re.compile(r"(Args|Arguments|Attributes|Example|Examples|Note|Raises|Returns|Yields):$")


def prepared(lines: list[str]) -> list[str]:
    """The lines of a docstring, with blocks that are set in marked as code, those of Args and the like left as they are.

    Bars around a name are an absolute value, and no substitution of reStructuredText.

    >>> prepared(["Two lines:", "    x = 1", "    y = 2", "And more."])
    ['Two lines:', '', '::', '', '    x = 1', '    y = 2', '', 'And more.']
    """
    found: list[str] = []
    inside = section = False
    for line in lines:
        indent = len(line) - len(line.lstrip())
        if line.strip() and not indent:
            if inside and found[-1]:
                found.append("")
            inside, section = False, bool(SECTION.match(line))
        elif line.strip() and indent >= 4 and not section and not inside:
            above = next((text for text in reversed(found) if text.strip()), "")
            if not above.endswith("::") and not re.match(r"\s*(- |[*] |>>>|\d+[.] )", above):
                found += ["", "::", ""] if not found or found[-1] else ["::", ""]
            inside = True
        found.append(line if inside else re.sub(r"(?<!\S)\|(\w+)\|", r"\\|\1\\|", line))
    return found


def _prepare(app: Any, what: str, name: str, thing: Any, options: Any, lines: list[str]) -> None:
    lines[:] = prepared(lines)


def setup(app: Any) -> dict[str, bool]:
    app.connect("autodoc-process-docstring", _prepare, priority=400)  # before napoleon
    return {"parallel_read_safe": True, "parallel_write_safe": True}
