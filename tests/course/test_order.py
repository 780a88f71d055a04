"""A notebook imports only what earlier notebooks, their appendices and due assignments built."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import pytest
from helpers import planned
from miniature import REAL, add_appendix, edit, make_course

from cs336lite.course.build import build
from cs336lite.course.module import built_modules
from cs336lite.course.paths import CourseError, way
from cs336lite.course.plan import dependencies, plan

WORDS, COUNTS, BPE = "notebooks/text/01_words.py", "notebooks/text/02_counts.py", "assignments/text/a1_bpe.py"
LETTERS = "notebooks/text/appendix/01x_letters.py"


@pytest.fixture
def course(tmp_path) -> Path:
    return make_course(tmp_path / "course")


def add_cell(path: Path, source: str, marker: str = "# %%") -> None:
    with path.open("a", encoding="utf-8") as file:
        file.write(f"\n{marker}\n{source}\n")


def order(root: Path) -> list[str]:
    return [item.name for item in plan(root)]


def new_text(root: Path, name: str, module: str, source: str) -> None:
    text = (root / WORDS).read_text(encoding="utf-8")
    header = text[: text.index("# %%")].replace("words", module)
    (root / name).write_text(f'{header}# %%\n#| export\n"""A module."""\n\n# %%\n{source}\n', encoding="utf-8")


def test_the_real_course_is_in_order():
    items = list(planned())
    lectures = [item.name for item in items if item.kind == "lecture"]
    assert lectures and lectures == sorted(lectures)
    built = [item.name for item in items if item.kind != "assignment"]
    early = [name for name, after in pairwise(built) if "x_" in name and after.startswith(f"{name.split('x_')[0]}_")]
    assert early == ["06x_mixtures", "07x_backend", "08x_fits"]  # lectures 06, 07 and 08 use what they build
    assert [name for name in built if name not in early] == way(set(built) - {*early})  # the others right behind theirs
    assert {module for item in items for module in item.modules} == {*built_modules(REAL)}
    for i, item in enumerate(items):  # through the modules that are written by hand, too
        later = {module for other in items[i + 1 :] for module in other.modules}
        assert not later & set(dependencies(REAL, item, items)), item.name


def test_an_assignment_stands_before_the_first_lecture_that_needs_it(course):
    assert order(course) == ["01_words", "a1_bpe", "02_counts"]
    new_text(course, "assignments/text/a2_attention.py", "attention", "from cs336lite.bpe import LIMIT")
    assert order(course) == ["01_words", "a1_bpe", "02_counts", "a2_attention"]  # no lecture needs it yet
    edit(course / WORDS, "import time", "import cs336lite.attention\nimport time")
    edit(course / BPE, "from cs336lite.words import words", "words = str.split")
    assert order(course) == ["a1_bpe", "a2_attention", "01_words", "02_counts"]


@pytest.mark.parametrize(
    "source",
    [
        "from cs336lite.counts import longest",
        "import cs336lite.counts as c",
        "from cs336lite import counts",
        "def later():\n    from cs336lite.counts import longest",
        "try:\n    import cs336lite.counts\nexcept ImportError:\n    pass",
    ],
)
def test_a_forward_import_is_an_error_with_its_line(course, source):
    add_cell(course / WORDS, source)
    written = (course / WORDS).read_text(encoding="utf-8").splitlines()
    line = max(i for i, text in enumerate(written, 1) if "counts" in text)
    with pytest.raises(
        CourseError, match=rf"01_words.py:{line}: imports cs336lite.counts, which 02_counts builds only after"
    ):
        plan(course)


def test_an_assignment_that_needs_a_later_lecture_is_an_error(course):
    new_text(course, "notebooks/text/03_late.py", "late", "1")
    edit(course / BPE, "from cs336lite.words import words", "from cs336lite.words import words\nimport cs336lite.late")
    with pytest.raises(
        CourseError, match=r"a1_bpe.py:.* imports cs336lite.late, which 03_late builds only after 02_counts"
    ):
        plan(course)


def test_an_appendix_stands_behind_its_lecture_and_builds_for_what_comes_after_it(course):
    add_appendix(course)
    assert order(course) == ["01_words", "01x_letters", "a1_bpe", "02_counts"]
    for later in (COUNTS, BPE):
        edit(course / later, "from cs336lite.words", "from cs336lite.letters import letters\nfrom cs336lite.words")
    assert order(course) == ["01_words", "01x_letters", "a1_bpe", "02_counts"]
    edit(course / LETTERS, "from cs336lite.words import words as words", "words = str.split")
    assert order(course) == ["01_words", "01x_letters", "a1_bpe", "02_counts"]  # even where it needs nothing


def test_a_lecture_that_imports_what_only_its_appendix_builds_is_an_error(course):
    add_appendix(course)
    add_cell(course / WORDS, "from cs336lite.letters import letters")
    problem = r"01_words.py:\d+: imports cs336lite.letters, which 01x_letters builds only after 01_words: "
    with pytest.raises(CourseError, match=problem):
        plan(course)


def test_an_appendix_that_needs_nothing_of_its_lecture_is_built_before_a_lecture_that_uses_it(course):
    add_appendix(course)
    edit(course / LETTERS, "from cs336lite.words import words as words", "words = str.split")
    assert order(course) == ["01_words", "01x_letters", "a1_bpe", "02_counts"]
    add_cell(course / WORDS, "from cs336lite.letters import letters")
    assert order(course) == ["01x_letters", "01_words", "a1_bpe", "02_counts"]
    edit(course / LETTERS, "words = str.split", "from cs336lite.bpe import LIMIT as LIMIT\nwords = str.split")
    with pytest.raises(
        CourseError, match=r"01_words → 01x_letters → a1_bpe → 01_words"
    ):  # a1 needs the lecture's words
        plan(course)


def test_an_assignment_before_a_lecture_imports_nothing_of_the_lectures_appendix(course):
    add_appendix(course)
    edit(course / BPE, "from cs336lite.words import words", "import cs336lite.letters\nwords = str.split")
    edit(course / LETTERS, "from cs336lite.words import words as words", "words = str.split")
    edit(course / WORDS, "import time", "import cs336lite.bpe\nimport time")
    with pytest.raises(CourseError, match=r"a1_bpe.py:.* which 01x_letters builds only after 01_words"):
        plan(course)


def test_a_circle_is_an_error_that_shows_it(course):
    edit(course / WORDS, "import time", "import cs336lite.bpe\nimport time")
    with pytest.raises(CourseError, match="goes round in a circle: 01_words → a1_bpe → 01_words"):
        plan(course)


def test_two_assignments_in_a_circle(course):
    new_text(course, "assignments/text/a2_attention.py", "attention", "import cs336lite.rope")
    new_text(course, "assignments/text/a3_rope.py", "rope", "import cs336lite.attention")
    with pytest.raises(CourseError, match="circle: a2_attention → a3_rope → a2_attention"):
        plan(course)


@pytest.mark.parametrize(
    ("source", "problem"),
    [
        ("import cs336lite.nonsense", "imports cs336lite.nonsense, which nothing builds"),
        ("from cs336lite.course.nonsense import x", "which nothing builds"),
        ("from cs336lite import nonsense", "imports cs336lite.nonsense, which nothing builds"),
        ("from cs336lite.grading import wire", "no student edition has"),
        ("import cs336lite.grading", "no student edition has"),
    ],
)
def test_an_import_of_nothing_is_an_error(course, source, problem):
    add_cell(course / WORDS, source)
    with pytest.raises(CourseError, match=problem):
        plan(course)


@pytest.mark.parametrize(
    "source",
    [
        "from cs336lite.course import check, have, hint, status",
        "from cs336lite.course.data import stories",
        "from cs336lite.course import data",
        "from cs336lite import __version__",
        "import cs336lite",
        "import cs336lite.words",
        "import cs336literally_something_else",
    ],
)
def test_tools_itself_and_other_packages_may_be_imported(course, source):
    add_cell(course / WORDS, source)
    assert order(course) == ["01_words", "a1_bpe", "02_counts"]


def test_an_assignment_does_not_import_the_module_that_it_builds(course):
    add_cell(course / BPE, "import cs336lite.bpe")
    with pytest.raises(CourseError, match="which this very assignment builds"):
        plan(course)


def test_one_module_has_one_builder(course):
    new_text(course, "notebooks/text/03_late.py", "words", "1")
    with pytest.raises(CourseError, match=r"03_late.py builds cs336lite.words, and so does .*01_words.py"):
        plan(course)
    (course / "notebooks/text/03_late.py").unlink()
    add_appendix(course)  # not even its lecture and an appendix together
    edit(course / LETTERS, "#| export\n", "#| export words\n")
    with pytest.raises(CourseError, match=r"01x_letters.py builds cs336lite.words, .* Give this one another name"):
        plan(course)


def test_a_module_left_behind_by_a_text_that_is_gone_does_not_count(course):
    (course / "cs336lite/old.py").write_text("# Built from notebooks/text/00_old.py by ...\n", encoding="utf-8")
    add_cell(course / WORDS, "import cs336lite.old")
    with pytest.raises(CourseError, match="which nothing builds"):
        plan(course)


def test_the_build_stops_before_anything_runs(course):
    edit(course / WORDS, "import time", "import cs336lite.counts\nimport time")
    with pytest.raises(CourseError, match="builds only after"):
        build(course)
    assert not (course / "runs.txt").exists() and not list(course.glob("notebooks/*.ipynb"))
