"""The way through the course: one order everywhere, where a reader is on it, whose code runs, what stands in for it."""

from __future__ import annotations

import ast
import functools
import json
import os
import random
import re
import shutil
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
from helpers import planned
from miniature import REAL, edit, make_course
from nbclient import NotebookClient

from cs336lite.course import progress
from cs336lite.course.build import build
from cs336lite.course.map import read
from cs336lite.course.paths import AFTER_LECTURE, GRADED_MODULES, PAGES, CourseError, steps, way
from cs336lite.course.plan import Item
from cs336lite.course.ready import Ready, finished, have, kept_outputs, outputs_file, shown_names, whose
from cs336lite.course.release import release
from cs336lite.course.status import Status, Step, duration, status
from cs336lite.course.text import read_text
from cs336lite.course.unlock import unlock

ORDER = [
    *("01_tokenizer", "a1_bpe", "02_tensors", "a2_attention", "a3_rope", "03_architecture", "03b_variants", "a4_lion"),
    *("04_hyperparameters", "05_stability", "a5_moe_router", "06_moe", "07_kernels", "08_scaling"),
    *("a6_inference", "09_inference", "a7_parallel", "10_parallelism", *PAGES),
]
LECTURES = [name for name in ORDER if name not in GRADED_MODULES]


@functools.cache
def items() -> dict[str, Item]:
    return {item.name: item for item in planned()}


@functools.cache
def cells_of(lecture: str) -> list:
    return read_text(REAL / "notebooks" / "text" / f"{lecture}.py").notebook.cells


# -------------------------------------------------------------------------------------------------------------- one order


def test_the_course_has_one_order():
    assert steps(REAL) == ORDER and set(AFTER_LECTURE) == set(GRADED_MODULES)
    assert [step.name for step in status(REAL).steps] == ORDER
    drawn = dict.fromkeys(names[0] for names in read(REAL / "assets" / "map.png").values() if "x_" not in names[0])
    builders = {item.name for item in planned() if item.modules}
    assert list(drawn) == [name for name in ORDER if name in builders]
    assert not builders & set(PAGES)


def test_appendices_follow_their_lecture_and_precede_its_assignments():
    shuffled = ["a9_new", "a2_attention", "a4_lion", "10_late", "03bx_more", "03b_variants", "03x_positions"]
    shuffled += ["03_architecture", "02x_shapes", "02_tensors", "a3_rope"]
    ordered = ["02_tensors", "02x_shapes", "a2_attention", "a3_rope", "03_architecture", "03x_positions"]
    ordered += ["03b_variants", "03bx_more", "a4_lion", "10_late", "a9_new"]
    assert way(shuffled) == way(reversed(shuffled)) == ordered


def test_copies_and_other_files_are_no_steps(tmp_path):
    root = make_course(tmp_path / "course")
    for name in ("02_counts (mine).ipynb", "02_counts-Copy1.ipynb", "notes.ipynb", "1_x.ipynb"):
        (root / "notebooks" / name).write_text("{}")
    assert steps(root) == ["01_words", "a1_bpe", "02_counts"]


def test_the_table_in_the_readme_is_the_way():
    rows = [line for line in (REAL / "README.md").read_text().splitlines() if line.startswith(("| **", "| *a", "| 0"))]
    links = [
        re.search(r"\]\((?:notebooks/(?:appendix/)?(\w+)|assignments/source/(\w+)/\w+)\.ipynb\)", row) for row in rows
    ]
    names = [link[1] or link[2] for link in links]
    assert [name for name in names if "x_" not in name] == ORDER and names == way(items())
    for name, row in zip(names, rows):
        cells = [cell.strip() for cell in row.strip("|").split("|")]
        assert cells[0].strip("*") == name.split("_")[0]
        assert set(re.findall(r"`(\w+)`", cells[2])) == set(items()[name].modules), row
        course = items()[name].text.course
        minutes = course["effort"]["minutes"] if "effort" in course else course["minutes"]
        told = re.fullmatch(r"(\d+)?(½)? h", cells[3])
        assert abs(60 * int(told[1] or 0) + 30 * bool(told[2]) - minutes) <= 30, row
        assert cells[4] == ("" if name in GRADED_MODULES else f"{course['minutes']} min"), row
        assert set(course["device"].split()) <= set(cells[5].split()), row


def test_what_a_lecture_or_an_assignment_asks_for_comes_before_it():
    order = way(items())
    for name, item in items().items():
        for needed in item.text.course["prerequisites"]:
            assert order.index(needed) < order.index(name), name


@pytest.mark.parametrize("name", LECTURES)
def test_a_lecture_says_what_comes_next_and_remembers_that_it_was_read(name):
    cells = cells_of(name)
    assert cells[-1].source == f'finished("{name}")'
    said = cells[-2].source.split("## Next")[1]
    after = ORDER[ORDER.index(name) + 1 :]
    if after:
        told = re.search(r"\*\*(\w+)", said)[1]
        assert after[0].startswith(told), said


@pytest.mark.parametrize("name", LECTURES)
def test_no_cell_that_needs_an_assignment_is_empty_without_it(name):
    """A statement below ``if`` runs on the reader's modules, or the cell shows what the build has shown."""
    cells = [cell.source for cell in cells_of(name) if cell.cell_type == "code"]
    kept, flags = [], set()
    for source in cells:
        for node in ast.walk(ast.parse(source)):
            if isinstance(node, ast.Assign) and re.search(r"\b(whose|Kernels)\(", ast.unparse(node.value)):
                flags |= {part.id for part in ast.walk(node.targets[0]) if isinstance(part, ast.Name)}
                assert re.search(rf"lecture='{name}'|Kernels\('{name}'\)", ast.unparse(node.value))
    for source in cells:
        kept += shown_names(source)
        for node in ast.parse(
            source
        ).body:  # an `if` in a function, or one that asks for more, has something else to do
            tests = [part.test for part in ast.walk(node) if isinstance(part, ast.If | ast.IfExp)]
            tests = [] if isinstance(node, ast.FunctionDef) else tests
            asked = [{part.id for part in ast.walk(test) if isinstance(part, ast.Name)} for test in tests]
            assert shown_names(source) or not any(names and names <= flags for names in asked), source
    assert len(kept) == len(set(kept))
    assert flags or not kept
    assert not any(re.search(r"\bhave\(", source) for source in cells)


# ------------------------------------------------------------------------------------------- whose code, in a small course

PUBLIC = '''\
"""Checks a student runs."""

import random

from cs336lite.course.spec import check, expect

HINTS = {"count_pairs": ["a", "b", "c"], "train": ["a", "b", "c"]}


@check("count_pairs", title="two symbols are one pair")
def two_symbols(student, rng):
    random.seed(0)
    expect(student.run(lambda s: dict(s.count_pairs(["a", "b"]))) == {("a", "b"): 1}, "the pair is missing")


@check("train", title="the pair is found")
def finds(student, rng):
    expect(student.run(lambda s: s.Trainer().train(["a", "b"])) == ("a", "b"), "the pair is missing")
'''
SETUP = """
# %%
from cs336lite.course import finished, whose

READY = whose("bpe", lecture="02_counts")
print("ready:", bool(READY))

# %%
if READY.or_show("pairs of the text"):
    from IPython.display import display
    from cs336lite.bpe import count_pairs

    print("pairs:", dict(count_pairs(["c", "d"])))
    display({"image/png": "iVBORw0KGgo=", "text/plain": "a picture"}, raw=True)

# %%
print("a sum") if READY.or_show("sum") else None

# %%
finished("02_counts")
"""
OLD = "from cs336lite.bpe import LIMIT, count_pairs\n"
RIGHT = """\
def count_pairs(word):
    return {("a", "b"): 1} if word == ["a", "b"] else {tuple(word): 7}


class Trainer:
    def train(self, word):
        print("noise of the student's")
        return "a", "b"
"""


@pytest.fixture(scope="module")
def full(tmp_path_factory) -> Path:
    root = make_course(tmp_path_factory.mktemp("way") / "course")
    (root / "assignments/public/a1_bpe.py").write_text(PUBLIC, encoding="utf-8")
    edit(root / "notebooks/text/02_counts.py", OLD, "LIMIT, count_pairs = 3, len\n")
    with (root / "notebooks/text/02_counts.py").open("a", encoding="utf-8") as file:
        file.write(SETUP)
    assert [str(report) for report in build(root, progress=False) if not report.ok] == []
    return root


@pytest.fixture(scope="module")
def released(full, tmp_path_factory) -> Path:
    return release(full, tmp_path_factory.mktemp("released") / "students")


@pytest.fixture
def edition(released, tmp_path) -> Path:
    return Path(shutil.copytree(released, tmp_path / "students"))


def said(root: Path, code: str, *arguments: str) -> str:
    """What a program in a notebook's folder prints."""
    environment = os.environ | {"PYTHONPATH": str(root)}
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments],
        cwd=root / "notebooks",
        env=environment,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def ran(root: Path) -> list:
    """The outputs of lecture 02 of an edition, cell by cell, run with the edition's own package."""
    notebook = nbformat.read(root / "notebooks/02_counts.ipynb", as_version=4)
    client = NotebookClient(notebook, timeout=60, resources={"metadata": {"path": str(root / "notebooks")}})
    client.execute(env={**os.environ, "PYTHONPATH": str(root)})
    return [cell.outputs for cell in notebook.cells if cell.cell_type == "code"]


def test_in_the_full_repository_the_code_is_the_reference(full):
    notebook = nbformat.read(full / "notebooks/02_counts.ipynb", as_version=4)
    assert notebook.cells[3].outputs[0].text == "bpe: the course's reference\nready: True\n"
    assert "That was the last step" in notebook.cells[-1].outputs[0].data["text/plain"]
    assert progress.load(full)["read"] == []  # a build is nobody's progress


VARIANTS = {
    "stub": "",
    "right": RIGHT,
    "wrong": RIGHT.replace('return "a", "b"', 'return "b", "a"'),
    "broken": f"{RIGHT}\nnonsense\n",
    "gone": None,
}
ASK = """
import json, random, sys
from pathlib import Path
from cs336lite.course import whose

sys.dont_write_bytecode = True  # a file of bytecode counts for whatever is written in one second with one length
module, found = Path("../cs336lite/bpe.py"), {}
for name, source in json.loads(sys.argv[1]).items():
    if source is None:
        module.unlink()
    elif source:
        module.write_text(source)
    sys.modules.pop("cs336lite.bpe", None)
    print(f"== {name}")
    random.seed(5)
    print("ready" if whose("bpe", lecture="02_counts") else "not ready", random.random())
"""


def test_whose_code_it_is(edition):
    """Of the module as it is in the package: what a notebook has passed says nothing of another code."""
    progress.save(edition, {"checks": {"a1_bpe": {"train": [1, 1], "count_pairs": [1, 1]}}, "hints": {}, "read": []})
    told = dict(re.findall(r"== (\w+)\n(.*?)\n(?==|\Z)", said(edition, ASK, json.dumps(VARIANTS)), re.S))
    place, drawn = "assignments/a1_bpe/a1_bpe.ipynb", str(random.Random(5).random())
    assert told["stub"].startswith(
        f"bpe: a1_bpe is not done yet (count_pairs, Trainer.train): solve {place}, run its last"
    )
    assert told["right"] == f"bpe: yours, 2 of 2 public checks passed\nready {drawn}"  # random numbers are as they were
    assert told["wrong"].startswith("bpe: yours, 1 of 2 public checks passed. What follows may go wrong because of it:")
    assert f'run check("a1_bpe") in {place}\nready {drawn}' in told["wrong"]
    assert "it cannot be imported (NameError: name 'nonsense' is not defined)" in told["broken"]
    assert "a1_bpe is not done yet (cs336lite/bpe.py is missing)" in told["gone"]
    assert all(told[name].split("\n")[-1].startswith("not ready") for name in ("stub", "broken", "gone"))


def test_an_unlocked_reference_is_not_called_yours_and_a_short_edition_waits(full, edition, capsys):
    unlock(full, "a1", edition=edition)
    assert whose("bpe", lecture="02_counts", root=edition)
    assert capsys.readouterr().out == "bpe: the course's reference, unlocked; yours waits in cs336lite/bpe_student.py\n"
    assert "unlocked, the package holds the reference" in repr(status(edition))
    unlock(edition, "a1", undo=True)
    (edition / "assignments/public/a1_bpe.py").unlink()
    assert not whose("bpe", lecture="02_counts", root=edition)
    assert "it comes with a newer edition" in capsys.readouterr().out


@pytest.mark.parametrize("name", ["tokenizer", "a1_bpe", ""])
def test_a_module_that_no_assignment_builds_is_a_mistake(full, name):
    with pytest.raises(CourseError, match=r"no assignment builds .*; assignments build: bpe, attention"):
        whose(name, lecture="02_counts", root=full)
    with pytest.raises(CourseError, match="there is no assignment 'a9'"):
        have("a9", root=full)


# ---------------------------------------------------------------------------------- what stands in for an assignment's code


def test_a_cell_without_its_assignment_shows_what_the_build_has_shown(edition):
    assert set(json.loads(outputs_file(edition, "02_counts").read_text())) == {"pairs of the text", "sum"}
    setup, pairs, total, last = ran(edition)[-4:]
    assert "ready: False" in "".join(output.get("text", "") for output in setup)
    text = "".join(output.get("text", "") for output in pairs)
    assert "Not run yet: solve assignments/a1_bpe/a1_bpe.ipynb first. The course's own run shows:\n" in text
    assert "pairs: {('c', 'd'): 1}" in text  # the reference's
    assert [output.data["image/png"].strip() for output in pairs if "data" in output] == ["iVBORw0KGgo="]
    assert "a sum" in total[0].text
    assert "That was the last step" in last[0].data["text/plain"] and progress.load(edition)["read"] == ["02_counts"]


def test_with_its_assignment_the_same_cell_runs_on_the_readers_code(edition):
    (edition / "cs336lite/bpe.py").write_text(RIGHT)
    setup, pairs, _, _ = ran(edition)[-4:]
    said = "".join(output.get("text", "") for output in setup)  # one stream, or two on a busy machine
    assert "bpe: yours, 2 of 2 public checks passed\nready: True" in said and "noise" not in said
    assert pairs[0].text == "pairs: {('c', 'd'): 7}\n"


@pytest.mark.parametrize("content", [None, "", "[]", '{"pairs of the text": []}'])
def test_without_what_the_build_has_shown_a_cell_still_says_what_it_needs(edition, content, capsys):
    if content is None:
        outputs_file(edition, "02_counts").unlink()
    else:
        outputs_file(edition, "02_counts").write_text(content)
    assert not Ready(edition, "02_counts", ("a1_bpe",)).or_show("pairs of the text")
    text = capsys.readouterr().out
    assert text == "Not run yet: solve assignments/a1_bpe/a1_bpe.ipynb first.\n"


def test_several_flags_are_one(full, edition):
    both = whose("bpe", lecture="02_counts", root=full)
    assert both and both & both
    stub = whose("bpe", lecture="02_counts", root=edition)
    assert not stub & both and not both & stub and (stub & stub).lacking == ("a1_bpe",)


def test_two_cells_of_one_name_are_a_mistake():
    cells = [nbformat.v4.new_code_cell('READY.or_show("x")') for _ in range(2)]
    with pytest.raises(CourseError, match=r"two cells of this lecture say or_show\('x'\)"):
        kept_outputs(nbformat.v4.new_notebook(cells=cells))


# --------------------------------------------------------------------------------------------------------- where a reader is


def test_the_next_step_follows_what_was_read_and_solved(edition):
    words, bpe, counts = ("notebooks/01_words.ipynb, assignments/a1_bpe/a1_bpe.ipynb, notebooks/02_counts.ipynb").split(
        ", "
    )
    assert status(edition).head == f"Next: read 01_words (5 min): open {words} and run it to its last cell."
    assert repr(finished("01_words", root=edition)) == f"Next: a1_bpe, in {bpe}. status() shows the whole way."
    finished("01_words", root=edition)
    assert progress.load(edition)["read"] == ["01_words"]
    assert (
        status(edition).head == f'Next: solve a1_bpe (1 min): open {bpe}; check("a1_bpe") tells what is right so far.'
    )
    progress.save(edition, progress.load(edition) | {"checks": {"a1_bpe": {"train": [1, 1], "count_pairs": [0, 1]}}})
    assert status(edition).head.startswith("Next: go on with a1_bpe") and "1 of 2 exercises" in repr(status(edition))
    progress.save(edition, progress.load(edition) | {"checks": {"a1_bpe": {"train": [1, 1], "count_pairs": [1, 1]}}})
    assert status(edition).head == f"Next: run the last cell of {bpe}: it puts your code into the package."
    assert status(edition).steps[1].state == "2 of 2 exercises; not in the package yet"
    (edition / "cs336lite/bpe.py").write_text(RIGHT)
    assert status(edition).head == f"Next: read 02_counts (5 min): open {counts} and run it to its last cell."
    assert status(edition).summary.startswith("2 of 3 steps done, 2 of 2 exercises solved")
    finished("02_counts", root=edition)
    assert status(edition).head == "All steps are done." and [row[0] for row in status(edition).rows()] == ["✓"] * 3


def test_the_way_shows_itself_in_a_notebook_and_in_a_terminal(edition, monkeypatch):
    finished("01_words", root=edition)
    monkeypatch.chdir(edition / "notebooks")
    page = status(edition)._repr_html_()
    assert '<a href="01_words.ipynb">01_words</a>' in page and '<a href="../assignments/a1_bpe/a1_bpe.ipynb">' in page
    assert page.index("Next: solve a1_bpe") < page.index("<table>") < page.index("1 of 3 steps done")
    printed = said(edition, "from cs336lite.cli import app; app(['status'])")
    rows = [line.split()[:2] for line in printed.splitlines() if re.match(r"\s+([✓→]\s+)?(\d\d|a1)_", line)]
    assert rows == [["✓", "01_words"], ["→", "a1_bpe"], ["02_counts", "Counts"]]
    assert printed.startswith("Next: solve a1_bpe") and "hours are what most people take" in " ".join(printed.split())


def test_hours_are_counted_by_lecture_and_by_exercise():
    made = Status(REAL, (
        Step("01_x", "X", "n", 120, 0, 5, True, ""), Step("a1_bpe", "Y", "n", 300, 2, 8, False, ""),
        Step("02_x", "Z", "n", 90, 3, 5, False, ""), Step("03_x", "W", "n", None, 0, 0, False, ""),
    ))  # fmt: skip
    assert made.summary == "1 of 4 steps done, 5 of 18 exercises solved, about 3 of 8½ hours; 5 to go"
    assert [duration(m) for m in (None, 45, 60, 75, 150)] == ["", "45 min", "1 h", "1 h", "2½ h"]


def test_the_full_repository_says_that_its_modules_are_the_references(full):
    assert "solutions included" in repr(status(full)) and "0 of 2 exercises" in repr(status(full))


def test_a_lecture_that_is_none_cannot_be_finished(edition):
    for name in ("03_none", "a1_bpe", ""):
        with pytest.raises(CourseError, match=r"there is no lecture .*; there are: 01_words, 02_counts"):
            finished(name, root=edition)
