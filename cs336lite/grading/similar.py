"""Which submissions share most of their structure: a list of places for a person to look at.

Each submission becomes one sequence of symbols, and `copydetect` fingerprints it by winnowing (Schleimer, Wilkerson
and Aiken 2003) and measures what two sets of fingerprints have in common. The symbols come from Python's own parser
and not from copydetect's filter: names are folded, comments, docstrings, annotations, imports and formatting vanish, and
each symbol keeps its cell and line. Nothing of a submission is executed.
"""

from __future__ import annotations

import csv
import io
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
from rich import box
from rich.console import Group
from rich.table import Table
from rich.text import Text

from cs336lite.course.border import plain as shown
from cs336lite.course.paths import CourseError
from cs336lite.grading.fingerprints import Document, K, document, fingerprints_given
from cs336lite.grading.runner import Progress, no_progress
from cs336lite.grading.structure import structure_of_source
from cs336lite.grading.submission import Submission, link_above, read_submission

THRESHOLD = 0.5
"""Share of the smaller of two submissions from which on they are listed. On the catalogue of a1_bpe two solutions
written independently share at most 0.17, and copies that were renamed, reordered, commented and split at least 0.9."""
SHOWN = 100  # pairs that are listed, with their places; a list that is longer helps nobody
NAMED = 20  # of a group
IN_A_GROUP = 3  # pairs of a group that are shown with their places
REFERENCE = "(the reference)"
NOTE = (
    "A place to look, and no proof: short exercises have few ways to be written, and people learn from the same pages. "
    "What the notebook gave is left out; names, comments, formatting and the order of functions do not count. "
    "Read both before you think anything."
)


@dataclass(frozen=True)
class Place:
    """Lines of one cell: ``train`` is an exercise, ``cell 7`` the number in the notebook, empty a plain file."""

    cell: str
    first: int
    last: int

    def __str__(self) -> str:
        lines = f"line {self.first}" if self.first == self.last else f"lines {self.first}-{self.last}"
        return f"{self.cell} {lines}".strip()


@dataclass(frozen=True)
class Pair:
    """Two submissions with much in common: which share of the first, and of the second, is also in the other."""

    first: str
    second: str
    shares: tuple[float, float]
    places: tuple[tuple[Place, Place], ...]

    @property
    def similarity(self) -> float:
        return max(self.shares)


@dataclass(frozen=True)
class Similarities:
    """What `similar` found: pairs from the most similar on, and who could not be compared and why."""

    assignment: str
    threshold: float
    compared: int
    pairs: tuple[Pair, ...]
    skipped: tuple[tuple[str, str], ...]
    names: dict[str, str] = field(default_factory=dict)

    def called(self, label: str) -> str:
        return shown(self.names.get(label, label))

    def clusters(self) -> list[list[str]]:
        """Who hangs together through pairs, the largest group first; a group of three or more says it shorter."""
        groups: list[set[str]] = []
        for pair in self.pairs:
            met = [group for group in groups if group & {pair.first, pair.second}]
            groups = [group for group in groups if group not in met] + [{pair.first, pair.second}.union(*met)]
        return sorted((sorted(group) for group in groups if len(group) > 2), key=lambda group: (-len(group), group))

    def as_csv(self) -> str:
        """One row a pair: both, the share of each, and the group that they belong to."""
        file, groups = io.StringIO(), self.clusters()
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["first", "first name", "share", "second", "second name", "share", "group", "look at"])
        for pair in self.pairs:
            group = next((number for number, some in enumerate(groups, 1) if pair.first in some), "")
            sides = [[a, self.called(a), f"{s:.3f}"] for a, s in zip((pair.first, pair.second), pair.shares)]
            places = "; ".join(f"{a} ~ {b}" for a, b in pair.places)
            row = [*sides[0], *sides[1], group, places]
            writer.writerow([f"'{cell}" if str(cell)[:1] in tuple("=+-@") else cell for cell in row])
        return file.getvalue()

    def __rich__(self) -> Group:
        title = (
            f"{self.assignment}: {self.compared} compared, {len(self.pairs)} pairs share {self.threshold:.0%} or more"
        )
        table = Table(box=box.SIMPLE_HEAD, title=title, title_justify="left")
        table.add_column("submission", overflow="fold")
        table.add_column("share", justify="right")
        table.add_column("submission", overflow="fold")
        table.add_column("share", justify="right")
        table.add_column("look at", overflow="fold")
        groups = self.clusters()
        listed = [pair for pair in self.pairs if not any(pair.first in group for group in groups)] if groups else None
        for pair in (self.pairs if listed is None else listed)[:SHOWN]:
            places = "\n".join(f"{a} ~ {b}" for a, b in pair.places)
            shares = [f"{share:.0%}" for share in pair.shares]
            first, second = (Text(self.called(label)) for label in (pair.first, pair.second))
            table.add_row(first, shares[0], second, shares[1], Text(places))
        parts: list[Any] = [table if table.row_count else Text(title)]
        for group in groups:
            inside = [pair for pair in self.pairs if pair.first in group]
            named = ", ".join(map(self.called, group[:NAMED])) + (" and others" if len(group) > NAMED else "")
            parts.append(Text(f"{len(group)} that share, in {len(inside)} pairs: {named}"))
            for pair in inside[:IN_A_GROUP]:
                places = ", ".join(f"{a} ~ {b}" for a, b in pair.places[:2])
                both = (
                    f"{self.called(pair.first)} {pair.shares[0]:.0%}, {self.called(pair.second)} {pair.shares[1]:.0%}"
                )
                parts.append(Text(f"  {both}: {places}"))
        if len(self.pairs) > SHOWN:
            parts.append(
                Text(f"{len(self.pairs)} pairs in all: a higher --threshold gives fewer, --csv FILE all of them")
            )
        if self.skipped:
            parts.append(Text("not comparable:", "bold"))
            parts += [Text(f"  {shown(label)}: {shown(reason)}") for label, reason in self.skipped]
        return Group(*parts, Text(f"\n{NOTE}"))


def similar(
    course: Path,
    assignment: str,
    files: list[Path] | None = None,
    *,
    threshold: float = THRESHOLD,
    progress: Progress = no_progress,
    against: list[Path] | None = None,
    names: dict[str, str] | None = None,
) -> Similarities:
    """Pairs of submissions, and of a submission and the reference, that share at least ``threshold`` of one of them.

    Args:
        course: the folder of the nbgrader course; ``submitted/`` holds the class, ``source/`` what was given.
        files: ``.ipynb`` or ``.py`` files to compare instead of the class.
        against: folders of others' work, as of last year: compared with the class, and not with each other.
        names: what to call students beside their ids.

    Raises CourseError when copydetect is missing, the threshold is none, or there is nothing to compare.
    """
    need_copydetect()
    if not 0 < threshold <= 1:
        raise CourseError(f"a threshold is a share above 0 and up to 1, not {threshold:g}")
    source = course / "source" / assignment / f"{assignment}.ipynb"
    if not source.exists():
        raise CourseError(f"{source} does not exist: to leave out what was given, `similar` needs the full repository")
    structure = structure_of_source(source)
    submissions = dict(find(course, assignment, files))
    given = fingerprints_given(source)
    documents = [document(REFERENCE, read_submission(source, structure), given)]
    skipped = []
    for label, path in progress(submissions.items(), len(submissions), "fingerprinting"):
        problem = "" if files else link_above(path, course)
        one = document(label, Submission(problem=problem) if problem else read(path, structure), given)
        if one.problem:
            skipped.append((label, one.problem))
        else:
            documents.append(one)
    own = len(documents)
    for label, path in others(against or [], assignment):
        one = document(label, read(path, structure), given)
        if not one.problem:
            documents.append(one)
    found = sorted(compare(documents, threshold, own), key=lambda x: (-max(x[2]), -min(x[2]), x[0].label, x[1].label))
    pairs = [
        Pair(a.label, b.label, shares, places_of(a, b) if number < SHOWN else ())
        for number, (a, b, shares) in enumerate(found)
    ]
    return Similarities(assignment, threshold, len(documents) - 1, tuple(pairs), tuple(skipped), names or {})


def others(folders: list[Path], assignment: str) -> Iterator[tuple[str, Path]]:
    """``(label, path)`` of work in folders: of a course's ``submitted/`` this assignment's, else whatever lies there."""
    for folder in folders:
        if not folder.is_dir():
            raise CourseError(f"no such folder: {shown(folder)}")
        root = folder / "submitted" if (folder / "submitted").is_dir() else folder
        paths = sorted(root.glob(f"*/{assignment}/{assignment}.ipynb"))
        paths = paths or sorted(p for p in root.rglob("*") if p.suffix in (".ipynb", ".py"))
        paths = [path for path in paths if path.is_file() and not link_above(path, root)]
        if not paths:
            raise CourseError(f"nothing of {assignment} is in {shown(folder)}")
        yield from ((f"{folder.name}/{path.relative_to(root)}", path) for path in paths)


def need_copydetect() -> None:
    try:
        import copydetect  # noqa: F401
    except ImportError:
        raise CourseError("comparing submissions needs copydetect: pip install copydetect") from None


def find(course: Path, assignment: str, files: list[Path] | None) -> Iterator[tuple[str, Path]]:
    """``(label, path)`` of what is compared: the files given, or the class by student."""
    if files:
        for path in files:
            if not path.is_file():
                raise CourseError(f"no such file: {shown(path)}")
            if path.suffix not in (".ipynb", ".py"):
                raise CourseError(f"{shown(path)}: a submission is a notebook (.ipynb) or a plain Python file (.py)")
            yield str(path), path
        return
    folders = sorted(p for p in (course / "submitted").glob(f"*/{assignment}/") if p.is_dir())
    if not folders:
        raise CourseError(
            f"no submissions of {assignment} in {course / 'submitted'}: collect them first (`nbgrader collect {assignment}`)"
        )
    for folder in folders:
        yield folder.parent.name, folder / f"{assignment}.ipynb"


def read(path: Path, structure: Iterable) -> Submission:
    try:
        return read_submission(path, structure)
    except Exception as error:  # whatever is in the file, the others are compared
        return Submission(problem=f"the file cannot be read ({type(error).__name__})")


# -- symbols ----------------------------------------------------------------------------------------------------------


# -- fingerprints -----------------------------------------------------------------------------------------------------


# -- comparison -------------------------------------------------------------------------------------------------------


def compare(
    documents: list[Document], threshold: float, own: int | None = None
) -> Iterator[tuple[Document, Document, tuple[float, float]]]:
    """Every pair that reaches the threshold: the share of the first that is in the second, and the other way.

    Of the documents from number ``own`` on none is compared with another of them.
    """
    from copydetect import compare_files

    first = documents if own is None else documents[:own]
    for a, b in ((a, b) for i, a in enumerate(first) for b in documents[i + 1 :]):
        common = len(a.hashes & b.hashes)
        # slices join what lies close together, so a share of the text is more than the share of fingerprints
        if common < 0.5 * threshold * min(len(a.hashes), len(b.hashes)):
            continue
        _, shares, _ = compare_files(a, b)
        if max(shares) >= threshold:
            yield a, b, (min(1.0, float(shares[0])), min(1.0, float(shares[1])))


def places_of(a: Document, b: Document, most: int = 6) -> tuple[tuple[Place, Place], ...]:
    """Where the common runs of two documents lie, the longest first: one entry for two stretches of two cells."""
    diagonals: dict[int, list[int]] = defaultdict(list)
    for value in a.hashes & b.hashes:
        if len(a.hash_idx[value]) * len(b.hash_idx[value]) <= 4:  # what occurs often says little about where
            for i in a.hash_idx[value]:
                for j in b.hash_idx[value]:
                    diagonals[j - i].append(i)
    runs = []  # (start in a, start in b, length), equal all along
    for shift, starts in diagonals.items():
        starts.sort()
        first = last = starts[0]
        for i in [*starts[1:], None]:
            if i is not None and i - last <= 2 * K:
                last = i
                continue
            runs.append((first, first + shift, last - first + K))
            first = last = i
    taken_a, taken_b = np.zeros(len(a.places), dtype=bool), np.zeros(len(b.places), dtype=bool)
    kept = []
    for i, j, length in sorted(runs, key=lambda run: -run[2]):  # code that repeats itself is paired off once
        if not taken_a[i : i + length].any() and not taken_b[j : j + length].any():
            taken_a[i : i + length] = taken_b[j : j + length] = True
            kept.append((i, j, length))
    blocks: list[list[int]] = []  # (start in a, start in b, end in a, end in b, symbols)
    for i, j, length in sorted(piece for run in kept for piece in within_cells(a, b, *run)):
        for block in reversed(blocks[-8:]):
            near = -K <= i - block[2] <= 4 * K and -K <= j - block[3] <= 4 * K
            if near and a.places[block[0]][0] == a.places[i][0] and b.places[block[1]][0] == b.places[j][0]:
                block[2], block[3] = max(block[2], i + length), max(block[3], j + length)
                block[4] += length
                break
        else:
            blocks.append([i, j, i + length, j + length, length])
    blocks.sort(key=lambda block: -block[4])
    blocks = [block for block in blocks if 20 * block[4] >= blocks[0][4]]  # scraps send nobody anywhere
    return tuple(
        (place(a, start, end), place(b, other, other_end)) for start, other, end, other_end, _ in blocks[:most]
    )


def within_cells(a: Document, b: Document, i: int, j: int, length: int) -> Iterator[tuple[int, int, int]]:
    """A run cut where a cell ends on either side; pieces that say little are left out."""
    steps = range(min(length, len(a.places) - i, len(b.places) - j))
    for _, group in groupby(steps, key=lambda step: (a.places[i + step][0], b.places[j + step][0])):
        piece = list(group)
        if 2 * len(piece) >= K:
            yield i + piece[0], j + piece[0], len(piece)


def place(document: Document, start: int, end: int) -> Place:
    """The lines of a stretch of one cell."""
    lines = [line for _, line in document.places[start:end]]
    return Place(document.places[start][0], min(lines), max(lines))
