"""What of a submission is compared: its code as symbols without names and layout, and fingerprints of their runs."""

from __future__ import annotations

import ast
import builtins
import io
import keyword
import tokenize
import warnings
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import nbformat
import numpy as np

from cs336lite.course.regions import skeleton
from cs336lite.grading.limited import Exceeded, Failed, Limits, Lost, Shared
from cs336lite.grading.submission import Submission

LEAST = 80  # symbols of one's own below which a share says nothing


K = 12  # symbols in a fingerprint: shorter runs are no sign of anything


WINDOW = 5  # one fingerprint is kept out of each 5 neighbours, so every common run of 16 symbols is found


LARGEST = 200_000  # characters: far above any answer, and as much as may be parsed at ease


# Nobody can rename these, so they are kept apart; every other name is "a name". The sets do not depend on the
# submission: the same code gives the same symbols wherever it stands.
KEPT = {*keyword.kwlist, *dir(builtins)}


KEPT_METHODS = {
    name for kind in (str, bytes, list, dict, set, tuple, int) for name in dir(kind) if not name.startswith("_")
}


LAYOUT = {
    tokenize.COMMENT,
    tokenize.NL,
    tokenize.NEWLINE,
    tokenize.INDENT,
    tokenize.DEDENT,
    tokenize.ENCODING,
    tokenize.ENDMARKER,
}


class Plain(ast.NodeTransformer):
    """Takes out what can be changed without changing what the code does: docstrings, annotations, imports."""

    def visit_Expr(self, node: ast.Expr) -> ast.AST | None:
        return None if isinstance(node.value, ast.Constant) else self.generic_visit(node)

    def visit_Import(self, node: ast.AST) -> None:
        return None

    visit_ImportFrom = visit_Import

    def visit_arg(self, node: ast.arg) -> ast.arg:
        node.annotation = None
        return node

    def visit_AnnAssign(self, node: ast.AnnAssign) -> ast.AST | None:
        if node.value is None:
            return None
        return self.generic_visit(ast.copy_location(ast.Assign([node.target], node.value), node))

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.AST:
        node.returns = None
        return self.generic_visit(node)

    visit_AsyncFunctionDef = visit_FunctionDef  # type: ignore[assignment]


def plain(source: str) -> tuple[str, dict[int, int]]:
    """Code in one canonical form, and from which line of ``source`` each of its lines comes.

    Code that does not parse comes back as it is.
    """
    source = "\n".join("" if line.lstrip()[:1] in ("%", "!") else line for line in source.split("\n"))
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            tree = Plain().visit(ast.parse(source))
            for node in ast.walk(tree):
                if getattr(node, "body", 0) == [] and not isinstance(node, ast.Module):
                    node.body = [ast.copy_location(ast.Pass(), node)]  # type: ignore[attr-defined]
            text = ast.unparse(ast.fix_missing_locations(tree))
            lines: dict[int, int] = {}
            for new, old in zip(ast.walk(ast.parse(text)), ast.walk(tree)):
                if hasattr(new, "lineno") and hasattr(old, "lineno"):
                    lines[new.lineno] = min(old.lineno, lines.get(new.lineno, old.lineno))
        return text, lines
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return source, {}


def symbols(source: str) -> Iterator[tuple[str, int]]:
    """``(symbol, line)`` of everything in the code that counts; broken code as far as it goes."""
    text, line_of = plain(source)
    line, before = 1, ""
    try:
        for token in tokenize.generate_tokens(io.StringIO(text).readline):
            if token.type in LAYOUT:
                continue
            line = line_of.get(token.start[0], token.start[0] if not line_of else line)
            if token.type == tokenize.NAME:
                kept = token.string in (KEPT_METHODS if before == "." else KEPT)
                yield token.string if kept else "name", line
            elif token.type == tokenize.STRING:
                yield "text", line
            else:
                yield token.string, line
            before = token.string
    except (tokenize.TokenError, SyntaxError):
        return


PARSER = Shared(Limits(step_seconds=20, call_seconds=20))
"""The process that parses: code can be written so that a parser takes for ever, or ends its process."""


def symbols_of(sources: list[str]) -> list[list[tuple[str, int]]]:
    """The `symbols` of several cells. Runs in a process with limits."""
    return [list(symbols(source)) for source in sources]


@dataclass
class Document:
    """A submission's fingerprints, with the attributes that `copydetect.compare_files` reads.

    ``places[i]`` is the cell and the line of symbol ``i``; ``hash_idx`` maps a fingerprint to where it begins.
    """

    label: str
    k: int = K
    filtered_code: Any = ()
    places: list[tuple[str, int]] = field(default_factory=list)
    hashes: set[int] = field(default_factory=set)
    hash_idx: dict[int, list[int]] = field(default_factory=dict)
    token_coverage: float = 0
    offsets: Any = ()
    problem: str = ""


def hashes_of(sequence: list[str]) -> np.ndarray:
    """A hash of each run of K symbols: int64 of shape (len(sequence) - K + 1,), the same in every process."""
    codes = np.array([zlib.crc32(symbol.encode("utf-8", "replace")) for symbol in sequence], dtype=np.uint64)
    if len(codes) < K:
        return np.zeros(0, dtype=np.int64)
    runs = np.lib.stride_tricks.sliding_window_view(codes, K)
    powers = np.array([pow(0x9E3779B97F4A7C15, i, 1 << 64) for i in range(K)], dtype=np.uint64)
    mixed = (runs * powers).sum(axis=1, dtype=np.uint64)
    mixed ^= mixed >> np.uint64(31)
    return (mixed * np.uint64(0xBF58476D1CE4E5B9) >> np.uint64(12)).astype(np.int64)  # exact as a float, too


def fingerprints_given(source: Path) -> set[int]:
    """All runs of symbols in the code that the released notebook holds, with and without the cells it locks."""
    whole: list[str] = []
    unlocked: list[str] = []  # what is left of a submission that was handed in as released
    for cell in nbformat.read(source, as_version=4).cells:
        if cell.cell_type == "code":
            found = [symbol for symbol, _ in symbols(skeleton(cell.source))]
            whole += found
            if not cell.metadata.get("nbgrader", {}).get("locked"):
                unlocked += found
    return {*hashes_of(whole).tolist(), *hashes_of(unlocked).tolist()}


def document(label: str, submission: Submission, given: set[int]) -> Document:
    """The fingerprints of a submission, without those of ``given``; a ``problem`` where that makes no sense."""
    from copydetect.utils import get_token_coverage, winnow

    if submission.problem:
        return Document(label, problem=submission.problem)
    if sum(len(source) for _, source in submission.cells) > LARGEST:
        return Document(label, problem=f"its code is longer than {LARGEST} characters")
    sequence: list[str] = []
    places: list[tuple[str, int]] = []
    try:
        parsed = PARSER.call(f"{__name__}:symbols_of", [source for _, source in submission.cells])
    except (Exceeded, Lost, Failed) as error:
        return Document(label, problem=f"its code cannot be parsed: {error}")
    for (name, _), found_here in zip(submission.cells, parsed, strict=True):
        cell = name.strip("`") if "`" in name else f"cell {name}" if name else ""
        for symbol, line in found_here:
            sequence.append(symbol)
            places.append((cell, line))
    # copydetect 0.5 takes fingerprints that occur twice for given ones, so what is given is taken out here
    hashes, positions = winnow(hashes_of(sequence), WINDOW, remove_duplicates=False)
    found: dict[int, list[int]] = {}
    for value, position in zip(hashes.tolist(), positions.tolist()):
        if value not in given:
            found.setdefault(value, []).append(position)
    coverage = float(get_token_coverage(found, K, len(sequence)))
    if coverage < LEAST:
        return Document(label, problem="hardly any code beyond what the notebook gave")
    return Document(label, K, sequence, places, set(found), found, coverage)
