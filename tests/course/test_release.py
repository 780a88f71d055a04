"""The student edition: what is in it, that no answer is, and how a reference is unlocked later."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import nbformat
import pytest
from helpers import planned
from miniature import REAL, edit, files_of, make_course

from cs336lite.course.build import build
from cs336lite.course.export import kept_beside
from cs336lite.course.last_cell import export_student
from cs336lite.course.leaks import leaks, secrets
from cs336lite.course.paths import CourseError, is_student_edition
from cs336lite.course.regions import solution_lines
from cs336lite.course.release import generate, release
from cs336lite.course.unlock import export_unlock, unlock


@pytest.fixture(scope="module")
def course(tmp_path_factory) -> Path:
    """A built course, which no test changes."""
    root = make_course(tmp_path_factory.mktemp("release") / "course")
    assert all(report.ok for report in build(root))
    (root / "notebooks/results/speed.json").write_text("{}", encoding="utf-8")
    (root / "assignments/.secret").mkdir()
    (root / "assignments/.secret/seed").write_text("8c1f00d5ee4dbeef\n", encoding="utf-8")
    (root / "assignments/gradebook.db").write_bytes(b"SQLite")
    (root / "cs336lite/course/new.py").write_text("RIGHT = 'a solution of the worked exercise'\n", encoding="utf-8")
    return root


@pytest.fixture(scope="module")
def archive(course, tmp_path_factory) -> Path:
    return release(course, tmp_path_factory.mktemp("edition") / "students", archive=True)


@pytest.fixture
def edition(archive, tmp_path) -> Path:
    """A copy of the edition, to be changed."""
    shutil.copytree(archive.with_suffix(""), tmp_path / "students")
    return tmp_path / "students"


# ------------------------------------------------------------------------------------------------------------- what is in


def test_an_edition_holds_what_a_student_needs_and_nothing_more(archive):
    names = set(files_of(archive.with_suffix("")))
    tools = {name for name in names if name.startswith("cs336lite/course/")}
    assert {
        f"cs336lite/course/{n}.py" for n in ("check", "hint", "status", "export", "unlock", "data", "plot")
    } <= tools
    assert not [name for name in tools if name.startswith(("cs336lite/course/new", "cs336lite/course/templates"))]
    from_root = {n for n in ("pyproject.toml", "Makefile", "environment.yml", "LICENSE") if (REAL / n).exists()}
    assert names - tools - from_root == {
        ".cs336lite-edition",
        "README.md",
        "assignments/a1_bpe/a1_bpe.ipynb",
        "assignments/public/a1_bpe.py",
        "cs336lite/__init__.py",
        "cs336lite/bpe.py",
        "cs336lite/counts.py",
        "cs336lite/words.py",
        *(f"notebooks/.originals/{name}.ipynb" for name in ("01_words", "02_counts", "a1_bpe")),
        "notebooks/01_words.ipynb",
        "notebooks/02_counts.ipynb",
        "notebooks/results/speed.json",
    }
    assert is_student_edition(archive.with_suffix(""))


def test_the_archive_holds_the_same_files_and_is_the_same_each_time(course, archive, tmp_path):
    files = files_of(archive.with_suffix(""))
    with zipfile.ZipFile(archive) as packed:
        assert {name.partition("/")[2]: packed.read(name) for name in packed.namelist()} == files
    again = release(course, tmp_path / "students", archive=True)
    assert again.read_bytes() == archive.read_bytes()


def test_the_graded_module_is_a_stub_and_lectures_keep_their_outputs(archive):
    folder = archive.with_suffix("")
    assert (folder / "cs336lite/bpe.py").read_text(encoding="utf-8").startswith("# Stub of a1_bpe")
    words = (folder / "cs336lite/words.py").read_text(encoding="utf-8")
    assert words.startswith("# Built in notebooks/01_words.ipynb") and "def words(" in words
    lecture = nbformat.read(folder / "notebooks/01_words.ipynb", as_version=4)
    assert lecture.cells[3].outputs and "built" not in lecture.metadata.cs336lite
    released = nbformat.read(folder / "assignments/a1_bpe/a1_bpe.ipynb", as_version=4)
    assert not any("BEGIN SOLUTION" in cell.source for cell in released.cells)
    assert sum("YOUR CODE HERE" in cell.source for cell in released.cells) == 2
    assert all(cell.metadata.nbgrader.checksum for cell in released.cells if "nbgrader" in cell.metadata)


def test_later_lectures_meet_the_stub_then_the_students_own_code(edition):
    python = [sys.executable, "-c", "from cs336lite.bpe import count_pairs; print(dict(count_pairs(['a', 'b'])))"]
    environment = os.environ | {"PYTHONPATH": str(edition)}
    before = subprocess.run(python, cwd=edition, env=environment, capture_output=True, text=True)
    assert before.returncode and "Open assignments/a1_bpe/a1_bpe.ipynb" in before.stderr

    edit(
        edition / "assignments/a1_bpe/a1_bpe.ipynb",
        '    # YOUR CODE HERE\\n",\n    "    raise NotImplementedError(\\"this exercise is not solved yet\\")"',
        '    return Counter(zip(word, word[1:]))"',
    )
    result = export_student("a1_bpe", root=edition)
    assert "Trainer.train" in result.unsolved and "count_pairs" not in result.unsolved
    after = subprocess.run(python, cwd=edition, env=environment, capture_output=True, text=True)
    assert after.stdout == "{('a', 'b'): 1}\n"


def test_released_cells_are_those_of_nbgrader_itself(course, tmp_path):
    folder = tmp_path / "nbgrader"
    shutil.copytree(course / "assignments/source", folder / "source")
    (folder / "nbgrader_config.py").write_text(
        "from cs336lite.course.regions import CODE_STUB\nc = get_config()\n"
        f"c.CourseDirectory.root = {str(folder)!r}\nc.ClearSolutions.code_stub = {{'python': CODE_STUB}}\n",
        encoding="utf-8",
    )
    bin_folder = str(Path(sys.executable).parent)
    done = subprocess.run(
        [sys.executable, "-m", "nbgrader", "generate_assignment", "a1_bpe"],
        cwd=folder,
        env=os.environ | {"PATH": bin_folder + os.pathsep + os.environ["PATH"]},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    ours = generate(course, ["a1_bpe"], tmp_path / "ours")["a1_bpe"] / "a1_bpe.ipynb"
    assert ours.read_bytes() == (folder / "release/a1_bpe/a1_bpe.ipynb").read_bytes()


# ------------------------------------------------------------------------------------------------------------- no answers


def test_nothing_leaks(course, archive):
    assert leaks(course, archive) == [] and leaks(course, archive.with_suffix("")) == []


def test_every_solution_line_that_is_not_trivial_is_looked_for(course):
    wanted = secrets(course)
    text = (course / "assignments/text/a1_bpe.py").read_text(encoding="utf-8")
    lines = {"".join(line.split()) for _, line in solution_lines(text)}
    assert lines and lines <= set(wanted)  # all nine lines of the small course are long and its own
    hidden = (course / "assignments/hidden/a1_bpe.py").read_text(encoding="utf-8")
    counted = sum("".join(line.split()) in wanted for line in hidden.splitlines() if line.strip())
    assert counted == 8  # all but the import, which the public checks have too
    assert "8c1f00d5ee4dbeef" in wanted
    assert "tiesmustgotothegreatestpairofsymbols" in wanted


def plant_in_notebook(path: Path, change) -> None:
    notebook = nbformat.read(path, as_version=4)
    change(notebook)
    nbformat.write(notebook, path)


SECRET = "    return best_pair_of_all(count_pairs(word))"
TO_HTML = "<pre>ties <b>must go</b> to the greatest pair of symbols &amp; more</pre>"


@pytest.mark.parametrize(
    "plant",
    [
        lambda e: (e / "cs336lite/course/plot.py").open("a").write(f"\ndef f():\n{SECRET}\n"),
        lambda e: (
            (e / "cs336lite/course/plot.py").open("a").write("\nX = 'return best_pair_of_all(' 'count_pairs(word))'\n")
        ),
        lambda e: (e / "README.md").open("a").write(f"\n> `{SECRET.strip()}`\n"),
        lambda e: (e / "notes.bin").write_bytes(b"\xff\xfe" + SECRET.encode()),
        lambda e: (
            (e / "cs336lite/counts.py").open("a").write("\n# neighbours_of_the_word   =  itertools.pairwise(word)\n")
        ),
        lambda e: plant_in_notebook(
            e / "notebooks/01_words.ipynb", lambda n: n.cells[0].update(source=f"Look:\n\n{SECRET}\n")
        ),
        lambda e: plant_in_notebook(
            e / "notebooks/01_words.ipynb",
            lambda n: n.cells[3].outputs.append(nbformat.v4.new_output("stream", text=f"def f():\n{SECRET}\n")),
        ),
        lambda e: plant_in_notebook(
            e / "notebooks/01_words.ipynb",
            lambda n: n.cells[3].outputs.append(nbformat.v4.new_output("display_data", data={"text/html": TO_HTML})),
        ),
        lambda e: plant_in_notebook(
            e / "notebooks/01_words.ipynb",
            lambda n: n.cells[3].update(source='x = "ties must go to "\\\n    "the greatest pair of symbols"'),
        ),
        lambda e: plant_in_notebook(
            e / "notebooks/01_words.ipynb", lambda n: n.metadata.update(note="8c1f00d5ee4dbeef")
        ),
        lambda e: (e / "assignments/hidden").mkdir() or (e / "assignments/hidden/x.txt").write_text("x"),
        lambda e: (e / "assignments/gradebook.db").write_bytes(b"x"),
        lambda e: (e / "a1_bpe.unlock.py").write_text("x"),
    ],
)
def test_one_planted_line_is_found(course, edition, plant):
    plant(edition)
    assert len(leaks(course, edition)) >= 1
    packed = shutil.make_archive(str(edition.parent / "packed"), "gztar", edition)
    assert len(leaks(course, Path(packed))) >= 1


def test_each_secret_is_found_wherever_it_is_planted(course, edition):
    wanted = list(secrets(course))
    for number, secret in enumerate(wanted):
        (edition / f"planted_{number}.txt").write_text(f"before\n{secret}\nafter", encoding="utf-8")
    found = leaks(course, edition)
    for number, secret in enumerate(wanted):
        assert any(line.startswith(f"planted_{number}.txt: ") for line in found), secret


def test_trivial_and_public_lines_are_no_secrets(course, edition):
    (edition / "notes.txt").write_text(
        "else:\nreturn x\nfrom cs336lite.course.spec import check, expect\nfrom cs336lite.words import words\n"
        "def count_pairs(word: list[str]) -> Counter:\n",
        encoding="utf-8",
    )
    assert leaks(course, edition) == []


def copy_of(course: Path, folder: Path) -> Path:
    shutil.copytree(course, folder / "copy")
    return folder / "copy"


def test_strings_that_stand_apart_are_not_read_as_one():
    """Whatever the order in which a set gives them."""
    from cs336lite.course.leaks import _readings, _squeeze

    readings = list(_readings("module.py", b'names = ["positions", "are", "tokens", "are positions"]'))
    parts = ["positions", "are", "tokens", "are positions"]
    joined = [_squeeze(one + other) for one in parts for other in parts]
    assert not any(text in _squeeze(readings[1]) for text in joined if text != "arepositions")


def test_an_edition_that_would_leak_is_not_written(course, tmp_path):
    root = copy_of(course, tmp_path)
    edit(
        root / "notebooks/text/02_counts.py",
        "print(",
        "import inspect, cs336lite.bpe\n\nprint(inspect.getsource(cs336lite.bpe))\nprint(",
    )
    assert all(report.ok for report in build(root))
    with pytest.raises(CourseError, match=r"not released[\s\S]*02_counts.ipynb: a line of a solution"):
        release(root, tmp_path / "students")
    assert not (tmp_path / "students").exists()
    assert [p.name for p in tmp_path.iterdir()] == ["copy"]  # nothing is left beside it either


def test_a_lecture_that_repeats_a_solution_is_found(course, tmp_path):
    root = copy_of(course, tmp_path)
    with (root / "notebooks/text/02_counts.py").open("a") as file:
        file.write(
            "\n# %% [markdown]\n#     neighbours_of_the_word = itertools.pairwise(word)\n#     if not isinstance(word, list):\n"
            '#         raise TypeError("count_pairs takes a list of symbols")\n'
        )
    found = leaks(root, root / "notebooks/results")
    assert found == ["notebooks/text/02_counts.py repeats lines 27 to 29 of assignments/text/a1_bpe.py"]


def test_a_course_that_is_not_built_is_not_released(course, tmp_path):
    root = copy_of(course, tmp_path)
    edit(root / "notebooks/text/01_words.py", "cut at spaces", "cut at blanks")
    with pytest.raises(CourseError, match=r"not in step: run `cs336lite build` first[\s\S]*01_words"):
        release(root, tmp_path / "students")
    assert not (tmp_path / "students").exists()


def test_nothing_is_overwritten(course, edition, tmp_path):
    before = files_of(edition)
    with pytest.raises(CourseError, match="holds something already"):
        release(course, edition)
    assert files_of(edition) == before
    with pytest.raises(CourseError, match="holds something already"):
        release(course, edition / "README.md")
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty.zip").write_bytes(b"mine")
    with pytest.raises(CourseError, match=r"empty.zip exists already"):
        release(course, tmp_path / "empty", archive=True)
    assert release(course, tmp_path / "empty") == tmp_path / "empty"
    with pytest.raises(CourseError, match="student edition"):
        release(edition, tmp_path / "third")


def test_the_marker_says_which_edition(archive):
    marker = json.loads((archive.with_suffix("") / ".cs336lite-edition").read_text(encoding="utf-8"))
    assert marker["edition"] == "student" and marker["version"]


def test_the_real_course_leaks_nothing(real_edition):
    items = list(planned())
    assert leaks(REAL, real_edition.with_suffix(".zip"), items) == []
    assert len(secrets(REAL, items)) > 100


PATH = re.compile(r"(?<![\w/.:-])(?:[\w.-]+/)+[\w.-]+\.(?:py|ipynb|md|json|toml)\b")
ELSEWHERE = "full repository"  # said before such a path, in the same sentence


def absent(root, edition, texts):
    """(file, path) of each file of the repository that a text of an edition sends its reader to, and that is not there."""
    found = []
    for file in texts:
        text = file.read_text(encoding="utf-8")
        if file.suffix == ".ipynb":
            text = "\n".join(cell.source for cell in nbformat.reads(text, as_version=4).cells)
        for path in PATH.finditer(text):
            sentence = re.split(r"(?<=[.!?])\s", text[: path.start()])[-1]
            if (
                (root / path[0]).is_file()
                and not (edition / path[0]).exists()
                and ELSEWHERE not in " ".join(sentence.split())
            ):
                found.append((file.relative_to(edition).as_posix(), path[0]))
    return found


def read_by_students(edition):
    """The texts of an edition that its reader opens; not the tools of `cs336lite.course`."""
    kinds = ("README.md", "*.ipynb", "cs336lite/*.py", "assignments/**/*.py", "notebooks/checks/*.py")
    return [file for kind in kinds for file in sorted(edition.rglob(kind)) if ".originals" not in file.parts]


def test_no_text_sends_a_student_to_a_file_that_no_edition_has(real_edition):
    texts = read_by_students(real_edition)
    assert len(texts) > 60
    assert set(absent(REAL, real_edition, texts)) == set()


def test_an_unlocked_reference_says_where_its_notebook_lies_in_an_edition(tmp_path):
    written = export_unlock(REAL, "a1", tmp_path).read_text(encoding="utf-8")
    assert "Built in assignments/a1_bpe/a1_bpe.ipynb." in written and "assignments/source" not in written


def test_such_a_path_is_found_and_one_of_the_full_repository_is_not(real_edition, tmp_path):
    page = tmp_path / "page.ipynb"
    for text, expected in [
        ("Measured. `benchmarks/moe.py` compares more.", ["benchmarks/moe.py"]),
        ("Built in assignments/source/a1_bpe/a1_bpe.ipynb.", ["assignments/source/a1_bpe/a1_bpe.ipynb"]),
        ("In the full repository, run\n`python benchmarks/kernels.py`.", []),
        ("The full repository measures. See `tests/lectures/test_bpe.py`.", ["tests/lectures/test_bpe.py"]),
        ("Solve assignments/a1_bpe/a1_bpe.ipynb, then open notebooks/01_tokenizer.ipynb and data/my.json.", []),
    ]:
        cells = [nbformat.v4.new_markdown_cell(text)]
        page.write_text(nbformat.writes(nbformat.v4.new_notebook(cells=cells)), encoding="utf-8")
        for name in ("assignments", "notebooks"):
            if not (tmp_path / name).exists():
                (tmp_path / name).symlink_to(real_edition / name)
        assert [path for _, path in absent(REAL, tmp_path, [page])] == expected


# ----------------------------------------------------------------------------------------------------------------- unlock


MINE = "# Exported from assignments/a1_bpe/a1_bpe.ipynb: mine\nMY_OWN = 1\n"


def test_a_student_unlocks_with_a_file_and_undoes_it(course, edition, tmp_path):
    module = edition / "cs336lite/bpe.py"
    module.write_text(MINE, encoding="utf-8")
    file = export_unlock(course, "a1", tmp_path / "out" / "a1_bpe.unlock.py")
    said = unlock(edition, "a1", source=file)
    assert "unlocked" in said and kept_beside(edition, "bpe").read_text(encoding="utf-8") == MINE
    names: dict = {}
    exec(module.read_text(encoding="utf-8"), names)
    assert names["Trainer"]().train(["a", "b"]) == ("a", "b")
    with pytest.raises(CourseError, match="unlocked already"):
        unlock(edition, "a1", source=file)
    with pytest.raises(CourseError, match="--undo"):  # and an export would overwrite the reference
        edit(edition / "assignments/a1_bpe/a1_bpe.ipynb", "# YOUR CODE HERE", "pass")
        export_student("a1_bpe", root=edition)
    assert "your own module again" in unlock(edition, "a1_bpe", undo=True)
    assert module.read_text(encoding="utf-8") == MINE and not kept_beside(edition, "bpe").exists()


def test_an_instructor_unlocks_an_edition(course, edition):
    stub = (edition / "cs336lite/bpe.py").read_bytes()
    unlock(course, "a1_bpe", edition=edition)
    assert "best_pair_of_all" in (edition / "cs336lite/bpe.py").read_text(encoding="utf-8")
    unlock(course, "a1_bpe", edition=edition, undo=True)
    assert (edition / "cs336lite/bpe.py").read_bytes() == stub


def test_without_options_an_instructor_gets_the_file_for_students(course, edition):
    said = unlock(course, "a1")
    path = course / "build" / "a1_bpe.unlock.py"
    assert str(path) in said and "--from a1_bpe.unlock.py" in said
    unlock(edition, "a1", source=path)
    shutil.rmtree(course / "build")


def test_a_file_that_is_not_whole_unlocks_nothing(course, edition, tmp_path):
    before = files_of(edition)
    file = export_unlock(course, "a1", tmp_path / "a1_bpe.unlock.py")
    whole = file.read_text(encoding="utf-8")
    for content, problem in (
        (whole[:-5], "changed or cut off"),
        (whole.replace("a1_bpe", "a2_attention", 1), "unlocks a2_attention, not a1_bpe"),
        ("x = 1\n", "unlocks nothing"),
    ):
        file.write_text(content, encoding="utf-8")
        with pytest.raises(CourseError, match=problem):
            unlock(edition, "a1", source=file)
    with pytest.raises(CourseError, match="there is no file"):
        unlock(edition, "a1", source=tmp_path / "none.py")
    assert files_of(edition) == before


@pytest.mark.parametrize(
    ("where", "options", "problem"),
    [
        ("edition", {}, "--from FILE"),
        ("edition", {"undo": True, "source": Path("x")}, "--from FILE"),
        ("edition", {"edition": Path("x")}, "full repository"),
        ("edition", {"undo": True}, "not unlocked here"),
        ("course", {"source": Path("x")}, "student edition"),
        ("course", {"undo": True}, "--edition DIR"),
        ("course", {"edition": Path("/nowhere")}, "no student edition"),
        ("course", {"edition": Path("x"), "export": Path("y")}, "not both"),
    ],
)
def test_options_that_do_not_belong_together(course, edition, where, options, problem):
    with pytest.raises(CourseError, match=problem):
        unlock({"course": course, "edition": edition}[where], "a1", **options)


def test_an_unknown_assignment_is_named(course):
    with pytest.raises(CourseError, match="there is no assignment 'a9'"):
        unlock(course, "a9")
