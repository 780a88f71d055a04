"""What a figure shows, in words: read from the code that draws it, for readers who cannot see it."""

from __future__ import annotations

import ast
import re

__all__ = ["alt_text"]

KEYWORDS = {"title": "", "xlabel": "across: ", "ylabel": "up: ", "label": "shown: ", "titles": ""}
LONGEST = 400


def alt_text(source: str, heading: str = "") -> str:
    """A sentence or two about the figure that a cell draws: titles, axes and labels of its code, and its section.

    >>> alt_text('axes(title="Loss falls", xlabel="step", ylabel="loss (nats)")', "1 · Training")
    'Figure: Loss falls; across: step; up: loss (nats). In the section 1 · Training.'
    """
    found: dict[str, None] = {}
    try:
        tree = ast.parse(source)
    except SyntaxError:
        tree = ast.Module([], [])
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call):
            continue
        name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
        if name in ("set_title", "suptitle") and node.args:
            found |= dict.fromkeys(texts(node.args[0]))
        if name == "set_xlabel" and node.args:
            found |= dict.fromkeys(f"across: {text}" for text in texts(node.args[0]))
        if name == "set_ylabel" and node.args:
            found |= dict.fromkeys(f"up: {text}" for text in texts(node.args[0]))
        for keyword in node.keywords:
            if keyword.arg in KEYWORDS:
                found |= dict.fromkeys(f"{KEYWORDS[keyword.arg]}{text}" for text in texts(keyword.value))
    starts = ("across: ", "up: ", "shown: ")
    shown = sorted(found, key=lambda text: next((i for i, start in enumerate(starts) if text.startswith(start)), -1))
    words = "; ".join(shown)
    words = words if len(words) <= LONGEST else words[:LONGEST].rsplit(" ", 1)[0] + " …"
    place = f" In the section {heading}." if heading else ""
    return f"Figure{': ' + words if words else ''}.{place}"


def texts(node: ast.AST) -> list[str]:
    """The strings that an expression may give; what is put into an f-string is an ellipsis."""
    if isinstance(node, ast.Constant):
        return [plain(node.value)] if isinstance(node.value, str) and node.value.strip() else []
    if isinstance(node, ast.JoinedStr):
        parts = [part.value if isinstance(part, ast.Constant) else "…" for part in node.values]
        text = plain("".join(parts))
        return [text] if text.strip("… ") else []
    if isinstance(node, ast.IfExp):
        return texts(node.body) + texts(node.orelse)
    if isinstance(node, (ast.Tuple, ast.List)):
        return [text for part in node.elts for text in texts(part)]
    return []


def plain(text: str) -> str:
    return re.sub(r"\s+", " ", text.replace("$", "").replace("\\", "")).strip().strip(".")
