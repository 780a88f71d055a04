"""Read a course text (jupytext py:percent) as a notebook: cell ids, nbgrader metadata, and errors that name a line.

A text is what people edit; notebooks and modules are built from it. Three options of a cell marker belong to the
course and become nbgrader metadata:

    # %% solution="train"            a student's cell; the answer lies between BEGIN SOLUTION and END SOLUTION
    # %% grade="train" points=30     the locked cell that grades that exercise
    # %% locked="setup"              a read-only cell

Two belong to lectures, whose exercises nobody grades:

    # %% exercise="best_pair" minutes=10 difficulty=2    one function, the answer between the markers; becomes a line that
                                     says what it is, the reader's cell with its check, and a folded cell with the answer
    # %% folded=true                 a code cell whose source is shown on a click, such as one that only draws

In the markdown of a lecture ``{badge}`` stands for the time that the lecture takes (`form`).
"""

from __future__ import annotations

import ast
import hashlib
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cs336lite.course.paths import CourseError
from cs336lite.course.regions import BEGIN, END, first_line, skeleton, solved

if TYPE_CHECKING:
    from nbformat import NotebookNode

KERNELSPEC = {"display_name": "Python 3", "language": "python", "name": "python3"}
LANGUAGE = {"file_extension": ".py", "mimetype": "text/x-python", "name": "python", "pygments_lexer": "ipython3"}

_ROLES = ("solution", "grade", "locked")
_OPTIONS = {*_ROLES, "points", "tags", "exercise", "minutes", "difficulty", "folded"}
MOST_DIFFICULT = 3
_NAME = re.compile(r"[a-z][a-z0-9_]*\Z")
_MARKER = re.compile(r"# %%(\s|$)")


class TextError(CourseError):
    """A mistake in a text, with the file and the line to go to."""


@dataclass(frozen=True)
class Text:
    """A text that has been read. ``lines[i]`` is the line of the file on which cell ``i`` begins, from 1."""

    path: Path
    notebook: NotebookNode
    lines: tuple[int, ...]

    @property
    def course(self) -> dict:
        """What the header says under ``cs336lite``: module, minutes, prerequisites, device."""
        return self.notebook.metadata["cs336lite"]

    def error(self, cell: int, problem: str, line: int = 1) -> TextError:
        """The error for line ``line`` (from 1) of cell ``cell`` (from 0)."""
        return TextError(f"{self.path}:{self.lines[cell] + line - 1}: {problem}")


def read_text(path: Path) -> Text:
    """The text in a file, as a notebook without outputs that has stable cell ids and nbgrader metadata.

    Raises:
        TextError: the file is no text, a cell marker or a solution region is wrong, or an exercise is not whole.
    """
    import jupytext
    import nbformat  # here, as in `export`: both are slow

    path = Path(path)
    try:
        written = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise TextError(f"{path}: there is no such text") from None
    except UnicodeDecodeError as problem:
        raise TextError(f"{path}: not UTF-8 (byte {problem.start}): save it as UTF-8") from None
    try:
        # comment_magics would turn a comment such as "# cat the pieces" into a shell command
        read = jupytext.reads(written, fmt={"extension": ".py", "format_name": "percent", "comment_magics": False})
    except Exception as problem:  # yaml's and jupytext's own errors have no common base
        reason = " ".join(str(problem).split())
        raise TextError(f"{path}:1: the header cannot be read ({reason}): see CONTRIBUTING.md for its form") from None
    header = read.metadata.get("cs336lite")
    if not isinstance(header, dict):
        raise TextError(
            f"{path}:1: the header is not YAML or names no `cs336lite:` keys: begin the text with `# ---`, `# jupyter:`, "
            "`#   cs336lite: {module: ...}`, `# ---`"
        )

    cells, lines = [], list(_locate(written.splitlines(), read.cells))
    for cell in read.cells:
        new = nbformat.v4.new_code_cell if cell.cell_type == "code" else nbformat.v4.new_markdown_cell
        cells.append(new(cell.source.strip("\n"), metadata=dict(cell.metadata)))
        if cell.cell_type not in ("code", "markdown"):
            raise TextError(f"{path}:{lines[len(cells) - 1]}: a {cell.cell_type} cell: use code or [markdown]")
    notebook = nbformat.v4.new_notebook(
        cells=cells, metadata={"cs336lite": dict(header), "kernelspec": KERNELSPEC, "language_info": LANGUAGE}
    )
    text = Text(path, notebook, tuple(lines))
    _check_syntax(text)
    _expand_options(text)
    _check_regions(text)
    text = _expand_exercises(text)
    _name_cells(text.notebook)
    return text


def _locate(written: list[str], cells: list[NotebookNode]) -> Iterator[int]:
    """The line (from 1) on which each cell's source begins, found by looking for the sources in order."""
    position = 0
    for cell in cells:
        wanted = [line.rstrip() for line in cell.source.strip("\n").split("\n")]
        if cell.cell_type != "code":
            wanted = [f"# {line}".rstrip() for line in wanted]
        for start in range(position, len(written) - len(wanted) + 1):
            if all(a == b.rstrip() for a, b in zip(wanted, written[start : start + len(wanted)])) and any(wanted):
                position = start + len(wanted)
                break
        else:  # an empty cell, or markdown in quotes: the next marker is near enough
            while position < len(written) and not _MARKER.match(written[position]):
                position += 1
            start = position = min(position + 1, max(len(written) - 1, 0))
        yield start + 1


def _expand_options(text: Text) -> None:
    """Turn the course's cell options into nbgrader metadata, in place."""
    import nbformat

    seen: dict[tuple[str, str], int] = {}
    ids: set[str] = set()
    for i, cell in enumerate(text.notebook.cells):
        options = dict(cell.metadata)
        options.pop("lines_to_next_cell", None)
        if bad := options.pop("incorrectly_encoded_metadata", None):
            raise text.error(i, f'the cell marker says {bad!r}, which cannot be read: write values as name="value"', 0)
        if title := options.pop("title", None):
            raise text.error(i, f"the cell marker has the title {title!r}: only options belong there", 0)
        if unknown := sorted(options.keys() - _OPTIONS):
            raise text.error(i, f"unknown cell option {unknown[0]!r}; there are {', '.join(sorted(_OPTIONS))}", 0)
        roles = [role for role in _ROLES if role in options]
        if len(roles) > 1:
            raise text.error(i, f"a cell is either {' or '.join(roles)}, not both: split it", 0)
        if "points" in options and roles != ["grade"]:
            raise text.error(i, "points belong to a grade cell", 0)
        metadata: dict[str, Any] = {"tags": list(options["tags"])} if options.get("tags") else {}
        if options.get("folded"):
            metadata["jupyter"] = {"source_hidden": True}
        if "exercise" in options:
            metadata["cs336lite"] = _exercise(text, i, options)
        elif {"minutes", "difficulty"} & options.keys():
            raise text.error(i, "minutes and difficulty belong to an exercise cell", 0)
        if roles:
            role, name = roles[0], options[roles[0]]
            if not isinstance(name, str) or not _NAME.match(name):
                raise text.error(i, f"{role}={name!r}: a name has small letters, digits and underscores", 0)
            if cell.cell_type != "code":
                raise text.error(i, f"{role}={name!r} on a markdown cell: exercises and grades are code cells", 0)
            grade_id = f"grade_{name}" if role == "grade" else name
            if grade_id in ids:
                first = text.lines[seen[role, name]] if (role, name) in seen else "another cell"
                raise text.error(i, f"the name {name!r} is used twice (first at line {first}): names are unique", 0)
            ids.add(grade_id)
            seen[role, name] = i
            metadata["nbgrader"] = _nbgrader(text, i, role, grade_id, options.get("points"))
        cell.metadata = nbformat.from_dict(metadata)
    for (role, name), i in seen.items():
        if role == "solution" and ("grade", name) not in seen:
            raise text.error(i, f'solution="{name}" has no grade cell: add `# %% grade="{name}" points=...`', 0)
        if role == "grade" and ("solution", name) not in seen:
            raise text.error(i, f'grade="{name}" grades no cell: add `# %% solution="{name}"`', 0)


def _nbgrader(text: Text, cell: int, role: str, grade_id: str, points: object) -> dict:
    metadata = {
        "grade": role == "grade",
        "grade_id": grade_id,
        "locked": role != "solution",
        "schema_version": 3,
        "solution": role == "solution",
        "task": False,
    }
    if role == "grade":
        if isinstance(points, bool) or not isinstance(points, int | float) or points <= 0:
            raise text.error(cell, f"a grade cell needs points=NUMBER above 0, not {points!r}", 0)
        metadata["points"] = points
    return metadata


def _exercise(text: Text, cell: int, options: dict) -> dict:
    """What the metadata of an exercise of a lecture say."""
    name, minutes, difficulty = (options.get(key) for key in ("exercise", "minutes", "difficulty"))
    if set(_ROLES) & options.keys():
        raise text.error(cell, "an exercise of a lecture is neither graded nor locked", 0)
    if not isinstance(minutes, int) or not 1 <= minutes <= 60:
        raise text.error(cell, f"an exercise needs minutes=NUMBER from 1 to 60, not {minutes!r}", 0)
    if difficulty not in range(1, MOST_DIFFICULT + 1):
        raise text.error(cell, f"an exercise needs difficulty=1 to {MOST_DIFFICULT}, not {difficulty!r}", 0)
    source = text.notebook.cells[cell].source
    functions = [node.name for node in ast.parse(source).body if isinstance(node, ast.FunctionDef)]
    if text.notebook.cells[cell].cell_type != "code" or functions != [name]:
        raise text.error(cell, f"exercise={name!r}: the cell must define one function, and it has this name", 0)
    return {"exercise": name, "minutes": minutes, "difficulty": difficulty}


def _expand_exercises(text: Text) -> Text:
    """The same text with each exercise of a lecture in its three cells: what it is, the reader's, and the answer."""
    import nbformat

    cells, lines, seen = [], [], set()
    for i, cell in enumerate(text.notebook.cells):
        asked = cell.metadata.get("cs336lite")
        if not asked:
            cells.append(cell)
            lines.append(text.lines[i])
            continue
        name, book = asked["exercise"], text.path.stem
        if name in seen:
            raise text.error(i, f"the exercise {name!r} stands here twice: names are unique", 0)
        seen.add(name)
        dots = "●" * asked["difficulty"] + "○" * (MOST_DIFFICULT - asked["difficulty"])
        told = (
            f"**Exercise** `{name}` · difficulty {dots} · about {asked['minutes']} minutes · "
            f'`hint("{book}", "{name}")` helps, and the folded cell below it holds an answer'
        )
        answer = re.sub(rf"(?m)^def {name}\b", f'@solution("{book}")\ndef {name}', solved(cell.source), count=1)
        stub = f'{skeleton(cell.source)}\n\n\ncheck("{book}", "{name}")'
        folded = {"jupyter": {"source_hidden": True}, "tags": ["solution"]}
        cells.append(nbformat.v4.new_markdown_cell(told))
        cells.append(nbformat.v4.new_code_cell(stub, metadata=dict(cell.metadata)))
        cells.append(nbformat.v4.new_code_cell(answer, metadata=folded))
        lines += [text.lines[i]] * 3
    text.notebook.cells = cells
    return Text(text.path, text.notebook, tuple(lines))


def _check_syntax(text: Text) -> None:
    for i, cell in enumerate(text.notebook.cells):
        if cell.cell_type == "code":
            try:
                compile(cell.source, "<cell>", "exec", dont_inherit=True)
            except SyntaxError as problem:
                raise text.error(
                    i, f"not Python: {problem.msg} (`{first_line(cell.source)}`)", problem.lineno or 1
                ) from None


def _check_regions(text: Text) -> None:
    for i, cell in enumerate(text.notebook.cells):
        is_solution = cell.metadata.get("nbgrader", {}).get("solution", False) or "cs336lite" in cell.metadata
        begun = None
        regions = 0
        for number, line in enumerate(cell.source.split("\n"), 1):
            if "BEGIN SOLUTION" not in line and "END SOLUTION" not in line:
                continue
            if line.strip() not in (BEGIN, END):
                raise text.error(
                    i, f"write the marker alone on its line, as `{BEGIN}` or `{END}`: {line.strip()!r}", number
                )
            if not is_solution:
                raise text.error(
                    i,
                    'a solution marker outside a `# %% solution="..."` or exercise cell: it would be released',
                    number,
                )
            if line.strip() == BEGIN:
                if begun is not None:
                    raise text.error(i, f"a second {BEGIN} before {END}", number)
                begun, regions = number, regions + 1
            elif begun is None:
                raise text.error(i, f"{END} without {BEGIN}", number)
            else:
                begun = None
        if begun is not None:
            raise text.error(i, f"{BEGIN} without {END}", begun)
        if not is_solution:
            continue
        if not regions:
            raise text.error(i, f"a solution cell with no region: put the answer between {BEGIN} and {END}")
        try:
            ast.parse(skeleton(cell.source))
        except SyntaxError as problem:
            raise text.error(
                i,
                f"the released form of this cell is not Python ({problem.msg}): do the markers stand at the "
                "indentation of the code around them?",
            ) from None


def _name_cells(notebook: NotebookNode) -> None:
    """Give each cell an id that depends on what it says, not on where it stands."""
    occurrences: Counter[str] = Counter()
    for cell in notebook.cells:
        said = f"{cell.cell_type}\0{cell.source}"
        occurrences[said] += 1
        cell.id = hashlib.sha256(f"{said}\0{occurrences[said]}".encode()).hexdigest()[:12]
