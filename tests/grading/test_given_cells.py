"""What the course gives in a notebook is nobody's failure: no message of the grader or of `check` names it."""

from __future__ import annotations

import copy
import re
import sys
from pathlib import Path

import nbformat
import pytest
from helpers import ROOT

from cs336lite.course import beforehand
from cs336lite.course.given import parts_of_script
from cs336lite.course.module import bare
from cs336lite.course.paths import GRADED_MODULES
from cs336lite.course.release import generate
from cs336lite.course.solution import AS_GIVEN, run_file
from cs336lite.grading.budget import Budget, Needs
from cs336lite.grading.client import Worker
from cs336lite.grading.feedback_exercises import lines_at, sources_of
from cs336lite.grading.judge import Judge
from cs336lite.grading.places import said
from cs336lite.grading.structure import GIVEN, normalise, structure_of_source
from cs336lite.grading.submission import Submission, read_notebook, read_submission, submission_of
from cs336lite.grading.verdicts import Verdict

COURSE = ROOT / "assignments"
EVERY = pytest.mark.parametrize("assignment", GRADED_MODULES)
LINUX = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="grading runs on Linux")
BUDGET = Budget(load_seconds=6.0, idle_seconds=4.0)

BREAKS = [  # what cannot be where work is graded
    'open("/nowhere/weights.bin")',
    "import seaborn",
    "raise RuntimeError('no display')",
    "import time\ntime.sleep(60)",
]
OWN = 'open("/nowhere/of/mine.txt")\nlate = 1'


def given_cells(notebook) -> list:
    return [c for c in notebook.cells if c.cell_type == "code" and not c.metadata.get("nbgrader") and c.source.strip()]


def spoiled(notebook):
    """The notebook of a course whose given cells all fail at their ends, each in another way."""
    notebook = copy.deepcopy(notebook)
    for number, cell in enumerate(given_cells(notebook)):
        cell.source += f"\n{BREAKS[min(number, len(BREAKS) - 1) if number < 4 else number % 3]}"
    return notebook


@pytest.fixture(scope="module")
def released(tmp_path_factory) -> dict[str, Path]:
    folders = generate(ROOT, list(GRADED_MODULES), tmp_path_factory.mktemp("released"))
    return {name: folder / f"{name}.ipynb" for name, folder in folders.items()}


def read(tmp_path: Path, course_notebook, handed_in) -> Submission:
    """What is handed in to a course that gives out ``course_notebook``."""
    for name, notebook in (("course", course_notebook), ("mine", handed_in)):
        nbformat.write(notebook, tmp_path / f"{name}.ipynb")
    return read_submission(tmp_path / "mine.ipynb", structure_of_source(tmp_path / "course.ipynb"))


def verdict_on(judges, assignment: str, submission: Submission) -> Verdict:
    if assignment not in judges:
        judges[assignment] = Judge(COURSE, assignment, keep=False)
        judges[assignment].budget = BUDGET
    return judges[assignment].judge(submission)


def expect_unnamed(verdict: Verdict, submission: Submission) -> None:
    given = [label for label, _ in submission.cells if label.startswith("given ")]
    assert given
    numbers = "|".join(label.removeprefix("given ") for label in given)
    for text in [verdict.problem, *verdict.notes, *(check.message for check in verdict.checks)]:
        assert not re.search(rf"\bcell (given|({numbers})\b)", text), text


@LINUX
@EVERY
def test_a_right_solution_hears_nothing_of_given_cells_that_fail(judges, tmp_path, assignment):
    course = spoiled(nbformat.read(COURSE / "source" / assignment / f"{assignment}.ipynb", 4))
    submission = read(tmp_path, course, course)
    assert len([1 for label, _ in submission.cells if label.startswith("given ")]) == len(given_cells(course))
    verdict = verdict_on(judges, assignment, submission)
    assert {c.id: c.message for c in verdict.checks if not c.passed} == {}
    assert verdict.notes == ()


@LINUX
@EVERY
def test_an_unsolved_notebook_hears_of_its_own_cells_alone(judges, released, tmp_path, assignment):
    course = spoiled(nbformat.read(released[assignment], 4))
    mine = copy.deepcopy(course)
    mine.cells.insert(1, nbformat.v4.new_code_cell(f"{OWN}\nwhile late: pass"))
    submission = read(tmp_path, course, mine)
    verdict = verdict_on(judges, assignment, submission)
    expect_unnamed(verdict, submission)
    assert verdict.score == 0
    assert verdict.notes == ("cell 2 took too long on line 3: it was left out",)
    assert all("not solved yet" in check.message for check in verdict.checks)


@LINUX
@EVERY
def test_given_cells_that_were_changed_are_the_students_own(judges, released, tmp_path, assignment):
    course = nbformat.read(released[assignment], 4)
    mine = copy.deepcopy(course)
    first = given_cells(mine)[1]  # its imports, without which nothing that follows is defined
    first.source = "import no_such_module\n" + first.source.replace("import ", "from no_such_module import ", 1)
    submission = read(tmp_path, course, mine)
    assert first.source in dict(submission.cells).values()
    assert not next(label for label, source in submission.cells if source == first.source).startswith("given ")
    expect_unnamed(verdict_on(judges, assignment, submission), submission)


@LINUX
def test_a_name_that_given_code_would_define_is_told_without_its_cell(judges, tmp_path):
    course = nbformat.read(COURSE / "source" / "a1_bpe" / "a1_bpe.ipynb", 4)
    mine = copy.deepcopy(course)
    imports = next(cell for cell in given_cells(mine) if "import regex" in cell.source)
    mine.cells.remove(imports)
    submission = read(tmp_path, course, mine)
    verdict = verdict_on(judges, "a1_bpe", submission)
    expect_unnamed(verdict, submission)
    said = "the code that was given for it did not run; is what stands above it as it was given?"
    assert any(said in check.message for check in verdict.checks)


@LINUX
def test_an_exception_in_given_code_is_placed_where_the_students_code_called_it(judges, tmp_path):
    course = nbformat.read(COURSE / "source" / "a1_bpe" / "a1_bpe.ipynb", 4)
    mine = copy.deepcopy(course)
    mine.cells.append(
        nbformat.v4.new_code_cell(
            "def train_bpe(input_path, vocab_size, special_tokens):\n    return read_json(b'x', 3)"
        )
    )
    submission = read(tmp_path, course, mine)
    verdict = verdict_on(judges, "a1_bpe", submission)
    failed = [c.message for c in verdict.checks if not c.passed and c.exercise == "train"]
    place = f"(cell {len(mine.cells)}, line 2)"
    assert failed and all(place in message for message in failed if "raised" in message)
    expect_unnamed(verdict, submission)


def exported(notebook, manner: str) -> str:
    """A notebook as an editor or a tool writes it as a plain file."""
    if manner == "JupyterLab":
        from nbconvert.exporters import PythonExporter

        return PythonExporter().from_notebook_node(notebook)[0]
    if manner == "jupytext":
        import jupytext

        return jupytext.writes(notebook, fmt="py:percent")
    cells = [("# %%\n", c.source) if c.cell_type == "code" else ("# %% [markdown]\n# ", c.source.replace("\n", "\n# "))
             for c in notebook.cells]  # fmt: skip
    return "\n\n".join(mark + source for mark, source in cells) + "\n"


def rows_of(part: str) -> list[int]:
    return [number for number, row in enumerate(part.split("\n"), 1) if row]


MANNERS = ("JupyterLab", "VS Code", "jupytext")


@LINUX
@pytest.mark.parametrize(
    ("assignment", "manner"),
    [
        pytest.param(assignment, manner, marks=[] if place % 3 == number else [pytest.mark.slow])
        for place, assignment in enumerate(GRADED_MODULES)
        for number, manner in enumerate(MANNERS)  # one of them in each run of the tests
    ],
)
def test_an_exported_file_hears_of_its_own_lines_alone(judges, released, tmp_path, assignment, manner):
    course = spoiled(nbformat.read(released[assignment], 4))
    mine = copy.deepcopy(course)
    mine.cells.insert(1, nbformat.v4.new_code_cell(f"{OWN}\nwhile late: pass"))
    nbformat.write(course, tmp_path / "course.ipynb")
    text = exported(mine, manner)
    (tmp_path / "mine.py").write_text(text)
    submission = read_submission(tmp_path / "mine.py", structure_of_source(tmp_path / "course.ipynb"))
    number = text.split("\n").index("while late: pass") + 1
    verdict = verdict_on(judges, assignment, submission)
    expect_unnamed(verdict, submission)
    assert verdict.score == 0
    assert verdict.notes == (f"line {number} took too long: it was left out",)
    assert all("not solved yet" in check.message for check in verdict.checks)
    given = {row for label, part in submission.cells if label for row in rows_of(part)}
    named = {int(row) for check in verdict.checks for row in re.findall(r"line (\d+)", check.message)}
    assert named and not named & given


def test_what_was_given_in_a_file_is_found_where_it_stands_as_code():
    given = {"import regex\nN = 3", "#| export\n# its table\nT = {\n    1: 2,\n}"}
    own = "note = '''\n\nimport regex\nN = 3\n\n'''\nwhy = 1  # it's \"so\n"
    script = f"{own}\nimport regex\r\nN = 3  \n\n# In[2]:\n#| export\n# my table\nT = {{\n    1: 2,\n}}\n# end\nx = 1\n"
    parts = parts_of_script(script, given)
    assert [(is_given, part.lstrip("\n").partition("\n")[0]) for is_given, part in parts] == [
        (False, "note = '''"),
        (True, "import regex"),
        (True, "T = {"),
        (False, "# end"),
    ]
    rows = script.replace("\r\n", "\n").split("\n")
    for _, part in parts:  # on its own lines
        assert all(row in ("", rows[at]) for at, row in enumerate(part.split("\n")))
    assert parts_of_script("x = 1\n" * 30_000, {"x = 1"})[0][0] is False


@pytest.mark.parametrize("line", ["import regex", "x = [", "@wraps", "for i in range(3):", "\\"])
def test_lines_in_the_midst_of_others_are_not_given(line):
    assert parts_of_script(f"y = 1\n{line}\nprint(y)\n", {line}) == [(False, f"y = 1\n{line}\nprint(y)\n")]


@LINUX
def test_a_file_in_parts_is_one_file_for_its_code(judges, tmp_path):
    course = nbformat.read(COURSE / "source" / "a1_bpe" / "a1_bpe.ipynb", 4)
    own = "import inspect\nimport heapq\nassert 'heapq' not in inspect.getsource(train_bpe)\nassert inspect.getsource(Tokenizer) and inspect.getsource(Encoder)"
    course.cells.append(
        nbformat.v4.new_code_cell(own + "\nassert inspect.getsource(read_json)\nDONE = 1\nassert nothing")
    )
    (tmp_path / "mine.py").write_text(exported(course, "VS Code"))
    submission = read_submission(
        tmp_path / "mine.py", structure_of_source(COURSE / "source" / "a1_bpe" / "a1_bpe.ipynb")
    )
    assert len([1 for label, _ in submission.cells if not label]) > 3
    with Worker(Needs(warm=())) as worker, worker.student(submission.cells, submission.name) as student:
        student.ensure_loaded()
        told = [said(trouble, submission.cells) for trouble in student.troubles]
    assert told == [
        f"line {exported(course, 'VS Code').split(chr(10)).index('assert nothing') + 1} stopped with NameError"
    ]


@EVERY
def test_the_page_shows_lines_of_the_students_own(released, tmp_path, assignment):
    notebook, problem = read_notebook(released[assignment])
    assert not problem
    clean, notes = normalise(notebook, structure_of_source(COURSE / "source" / assignment / f"{assignment}.ipynb"))
    marked = [cell for cell in clean.cells if cell.metadata.get(GIVEN)]
    assert len(marked) == len(given_cells(nbformat.read(released[assignment], 4))) and notes == []
    labels = [label for label, _ in submission_of(clean).cells]
    assert len(labels) == len(set(labels))
    number = marked[-1].metadata["cs336lite"]
    assert lines_at(f"your code raised TypeError (cell {number}, line 1)", sources_of(clean.cells)) == []


@EVERY
def test_check_warns_of_the_students_own_code_alone(released, tmp_path, assignment):
    given = beforehand.given_in(ROOT, assignment)
    assert beforehand.notes(released[assignment], given) == []
    notebook = nbformat.read(released[assignment], 4)
    notebook.cells.append(nbformat.v4.new_code_cell("from cs336lite.course.plot import axes\nimport pandas"))
    nbformat.write(notebook, tmp_path / "mine.ipynb")
    script = tmp_path / "mine.py"
    script.write_text("\n\n\n".join(f"# In[ ]:\n\n\n{c.source}\n" for c in notebook.cells if c.cell_type == "code"))
    for path in (tmp_path / "mine.ipynb", script):
        assert beforehand.notes(path, given) == ["`pandas` is not there when work is graded"], path.name
    if assignment == "a1_bpe":  # where a given cell writes a file
        assert len(beforehand.notes(script)) == len(beforehand.notes(tmp_path / "mine.ipynb")) == 2


def test_an_edition_knows_what_it_has_given(real_edition):
    for assignment in GRADED_MODULES:
        path = real_edition / "assignments" / assignment / f"{assignment}.ipynb"
        given = beforehand.given_in(real_edition, assignment)
        assert {bare(cell.source) for cell in given_cells(nbformat.read(path, 4))} <= given
        assert given == beforehand.given_in(ROOT, assignment)


def test_check_says_which_stopped_line_of_a_file_was_given(tmp_path):
    notebook = nbformat.read(COURSE / "source" / "a3_rope" / "a3_rope.ipynb", 4)
    cell = next(cell for cell in given_cells(notebook) if "import torch\n" in cell.source)
    cell.source += "\nimport no_such_module"
    given = {bare(cell.source)}
    notebook.cells.append(nbformat.v4.new_code_cell("import no_such_module"))
    (tmp_path / "mine.py").write_text(exported(notebook, "VS Code"))
    of_the_course, of_the_student = run_file(tmp_path / "mine.py", "a3_rope", given).notes
    assert of_the_course.endswith(f"No module named 'no_such_module'{AS_GIVEN}")
    assert of_the_student.endswith("No module named 'no_such_module'")


def test_check_says_which_stopped_cell_was_given(tmp_path):
    source = COURSE / "source" / "a3_rope" / "a3_rope.ipynb"
    notebook = nbformat.read(source, 4)
    cell = next(cell for cell in given_cells(notebook) if "import torch\n" in cell.source)
    cell.source += "\nimport no_such_module"
    nbformat.write(notebook, tmp_path / "a3_rope.ipynb")
    of_the_student, of_the_course = (
        run_file(tmp_path / "a3_rope.ipynb", "a3_rope", given).notes for given in (set(), {bare(cell.source)})
    )
    assert len(of_the_student) == len(of_the_course) == 1
    assert of_the_course[0] == of_the_student[0] + AS_GIVEN
