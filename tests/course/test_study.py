"""A self-learner's own copy in a clone, what was given put back, and the course's solutions to compare with."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
from helpers import ROOT
from miniature import edit, files_of, make_course

from cs336lite.course import progress
from cs336lite.course.build import build
from cs336lite.course.export import kept_beside
from cs336lite.course.last_cell import export_student
from cs336lite.course.leaks import leaks
from cs336lite.course.paths import CourseError, full_repository, is_student_edition, original
from cs336lite.course.reference import show_solution
from cs336lite.course.release import release
from cs336lite.course.reset import reset
from cs336lite.course.study import study
from cs336lite.course.unlock import unlock

NOTEBOOK = "assignments/a1_bpe/a1_bpe.ipynb"
STUB = '    # YOUR CODE HERE\\n",\n    "    raise NotImplementedError(\\"this exercise is not solved yet\\")"'
MINE = '    return Counter(zip(word, word[1:]))"'


def git(root: Path, *command: str) -> None:
    who = ["-c", "user.name=reader", "-c", "user.email=reader@example.org", "-c", "commit.gpgsign=false"]
    subprocess.run(["git", "-C", str(root), *who, *command], check=True, capture_output=True)


@pytest.fixture(scope="module")
def built(tmp_path_factory) -> Path:
    """A built course in a git repository, which no test changes."""
    root = make_course(tmp_path_factory.mktemp("study") / "course")
    assert all(report.ok for report in build(root))
    (root / ".gitignore").write_text("/my/\n.cs336lite/\n__pycache__/\nruns.txt\n")
    git(root, "init", "-q")
    git(root, "add", "-A")
    git(root, "commit", "-qm", "the course")
    return root


@pytest.fixture
def clone(built, tmp_path) -> Path:
    shutil.copytree(built, tmp_path / "course")
    return tmp_path / "course"


def said_in(folder: Path, package: Path, code: str) -> str:
    """What Python prints that is started in a folder, with the package of another one installed."""
    done = subprocess.run(
        [sys.executable, "-c", f"import sys; sys.path = [p for p in sys.path if p]\n{code}"],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": str(package), "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    return done.stdout + done.stderr


# -------------------------------------------------------------------------------------------------------- one's own copy


def test_a_readers_copy_has_no_answers_and_git_does_not_see_it(clone):
    said = study(clone)
    mine = clone / "my"
    assert "my" in said and is_student_edition(mine) and full_repository(mine) == clone
    assert leaks(clone, mine) == []
    assert not {"Makefile", "pyproject.toml", "requirements.lock"} & {path.name for path in mine.iterdir()}
    assert "make study" in (mine / "README.md").read_text()
    status = subprocess.run(["git", "status", "--porcelain"], cwd=clone, capture_output=True, text=True, check=True)
    assert status.stdout == ""
    assert not list(clone.glob(".cs336lite-*")) and not list(clone.glob("cs336lite-*"))


def test_what_runs_in_it_imports_its_own_package_and_what_runs_outside_the_courses(clone):
    """In one environment, and whoever starts it in whatever folder of either."""
    study(clone)
    asked = "import cs336lite.bpe, cs336lite.course.paths as p; print(cs336lite.bpe.__file__, p.own_root(), sep='\\n')"
    for place, root in (("notebooks", clone), (".", clone), ("my/notebooks", clone / "my"), ("my", clone / "my")):
        assert said_in(clone / place, clone, asked).split() == [str(root / "cs336lite/bpe.py"), str(root)], place
    stranger = clone.parent / "my" / "cs336lite"  # of another folder of this name nothing is taken
    stranger.mkdir(parents=True)
    (stranger / "bpe.py").write_text("raise SystemExit('not this one')\n")
    assert said_in(stranger.parent, clone, asked).startswith(str(clone / "cs336lite/bpe.py"))


def test_a_module_is_the_readers_then_the_courses_then_the_readers_again(clone):
    study(clone)
    mine = clone / "my"
    edit(mine / NOTEBOOK, STUB, MINE)
    export_student("a1_bpe", root=mine)
    asked = "from cs336lite.bpe import count_pairs; print(dict(count_pairs(['a', 'b'])))"
    assert said_in(mine / "notebooks", clone, asked) == "{('a', 'b'): 1}\n"
    own = (mine / "cs336lite/bpe.py").read_text()
    assert "unlocked" in unlock(mine, "a1")
    assert "neighbours_of_the_word" in (mine / "cs336lite/bpe.py").read_text() and kept_beside(mine, "bpe").exists()
    unlock(mine, "a1", undo=True)
    assert (mine / "cs336lite/bpe.py").read_text() == own
    with pytest.raises(CourseError, match="in your own copy"):
        unlock(mine, "a1", source=Path("x"))


def test_a_newer_course_comes_into_it_and_work_stays(clone):
    study(clone)
    mine = clone / "my"
    edit(mine / NOTEBOOK, STUB, MINE)
    solved = (mine / NOTEBOOK).read_bytes()
    assert study(clone) == "this edition is up to date"
    edit(clone / "notebooks/text/01_words.py", "cut at spaces", "cut at blanks")
    assert all(report.ok for report in build(clone))
    assert study(clone) == "this edition is up to date"  # what is not committed is the reader's own doing
    git(clone, "commit", "-qam", "newer")
    assert "would do this" in study(mine, dry_run=True)  # from inside as well
    told = study(mine)
    assert "replaced: notebooks/01_words.ipynb" in told and ".originals" not in told and "instructor" not in told
    assert "cut at blanks" in (mine / "notebooks/01_words.ipynb").read_text()
    assert (mine / NOTEBOOK).read_bytes() == solved


def test_a_reader_who_ran_the_clones_notebooks_gets_the_given_ones(clone):
    path = clone / "notebooks/01_words.ipynb"
    given = nbformat.read(path, as_version=4)
    edit(path, "cut at spaces", "cut by me")
    study(clone)
    copied = nbformat.read(clone / "my/notebooks/01_words.ipynb", as_version=4)
    assert [cell.source for cell in copied.cells] == [cell.source for cell in given.cells]


def test_another_folder_called_my_is_left_alone(clone):
    (clone / "my").mkdir()
    (clone / "my/letter.txt").write_text("dear")
    with pytest.raises(CourseError, match="no copy of the course: rename it"):
        study(clone)
    assert [path.name for path in (clone / "my").iterdir()] == ["letter.txt"]


# --------------------------------------------------------------------------------------------------- as it was given


@pytest.fixture
def edition(built, tmp_path) -> Path:
    return release(built, tmp_path / "students")


def test_a_notebook_is_as_it_was_given_and_the_readers_is_kept(edition):
    before = files_of(edition)
    assert "nothing to reset" in reset(edition, "a1")
    edit(edition / NOTEBOOK, STUB, MINE)
    mine = (edition / NOTEBOOK).read_bytes()
    told = reset(edition, "a1")
    kept = "assignments/a1_bpe/a1_bpe (mine).ipynb"
    assert kept in told and "in the package stays" in told and "Reload Notebook from Disk" in told
    assert files_of(edition) == before | {kept: mine}
    (edition / NOTEBOOK).write_text("{ this is no notebook")
    assert "a1_bpe (mine 2).ipynb" in reset(edition, "a1_bpe")  # what was kept before stays
    (edition / "notebooks/01_words.ipynb").unlink()
    assert "kept" not in reset(edition, "01")
    after = files_of(edition)
    assert {name: after[name] for name in before} == before and after[kept] == mine


def test_one_exercise_is_as_it_was_given_and_the_others_stay(edition):
    path = edition / NOTEBOOK
    notebook = nbformat.read(path, as_version=4)
    cells = {c.metadata.get("nbgrader", {}).get("grade_id"): c for c in notebook.cells}
    given = cells["train"].source
    cells["train"].source, cells["count_pairs"].source = "x = 1", "#| export\nmine = 2"
    nbformat.write(notebook, path)
    assert "train in assignments" in reset(edition, "a1", "train")
    now = {c.metadata.get("nbgrader", {}).get("grade_id"): c.source for c in nbformat.read(path, as_version=4).cells}
    assert now["train"] == given and now["count_pairs"] == "#| export\nmine = 2"
    assert "nothing to reset" in reset(edition, "a1", "train")
    with pytest.raises(CourseError, match="no exercise 'tarin'; it has: count_pairs, train"):
        reset(edition, "a1", "tarin")
    notebook.cells = [c for c in notebook.cells if c is not cells["train"]]
    nbformat.write(notebook, path)
    kept = path.read_bytes()
    with pytest.raises(CourseError, match="reset the whole notebook"):
        reset(edition, "a1", "train")
    assert path.read_bytes() == kept


def test_in_a_clone_the_original_is_gits(clone):
    path = clone / "notebooks/01_words.ipynb"
    given = path.read_bytes()
    edit(path, "cut at spaces", "cut by me")
    assert "01_words (mine).ipynb" in reset(clone, "01_words")
    assert path.read_bytes() == given
    assert all(report.ok for report in build(clone, check=True))  # what was kept is not in its way
    with pytest.raises(CourseError, match="no notebook '09'; there are: 01_words, a1_bpe, 02_counts"):
        reset(clone, "09")
    shutil.rmtree(clone / ".git")
    with pytest.raises(CourseError, match=r"git has no notebooks/01_words.ipynb here"):
        reset(clone, "01")


def test_an_edition_without_originals_says_where_they_are(edition):
    original(edition, "a1_bpe").unlink()
    with pytest.raises(CourseError, match=r"no original of a1_bpe: take the notebook out of the edition's .zip"):
        reset(edition, "a1")


# -------------------------------------------------------------------------------------------------- solutions to compare


def test_a_self_learner_sees_a_solution_once_the_checks_pass_or_on_giving_up(clone):
    study(clone)
    mine = clone / "my"
    with pytest.raises(CourseError, match="has not passed its checks yet"):
        show_solution("a1", "count_pairs", root=mine)
    assert "neighbours_of_the_word" in show_solution("a1", "count_pairs", give_up=True, root=mine).code
    progress.save(mine, {"checks": {"a1_bpe": {"count_pairs": [1, 1], "train": [0, 1]}}, "hints": {}, "read": []})
    shown = show_solution("a1_bpe", "count_pairs", root=mine)
    assert shown.code.startswith("def count_pairs") and "SOLUTION" not in shown.code
    assert "neighbours_of_the_word" in repr(shown) and "<pre>" in shown._repr_html_()
    with pytest.raises(CourseError, match="has not passed"):
        show_solution("a1", "train", root=mine)
    with pytest.raises(CourseError, match="no exercise 'x'"):
        show_solution("a1", "x", root=mine)


def test_a_student_sees_one_only_when_the_instructor_has_unlocked_it(built, edition):
    progress.save(edition, {"checks": {"a1_bpe": {"count_pairs": [1, 1]}}, "hints": {}, "read": []})
    for give_up in (False, True):
        with pytest.raises(CourseError, match=r"holds no solution of a1_bpe[\s\S]*--from FILE"):
            show_solution("a1", "count_pairs", give_up=give_up, root=edition)
    unlock(built, "a1", edition=edition)
    shown = show_solution("a1", "count_pairs", root=edition).code
    assert shown.startswith("def count_pairs") and "neighbours_of_the_word" in shown and "Trainer" not in shown
    assert "helper_for_training" in show_solution("a1", "train", root=edition).code


def test_in_the_full_repository_the_notebook_shows_it(built):
    with pytest.raises(CourseError, match=r"assignments/source/a1_bpe/a1_bpe.ipynb[\s\S]*make study"):
        show_solution("a1", "train", root=built)


# ------------------------------------------------------------------------------------------------------------ commands


def test_an_editions_help_lists_what_works_there(edition):
    def commands(folder: Path) -> set[str]:
        told = said_in(folder, ROOT, "from cs336lite.cli import main; main()")
        return {line.split()[0] for line in told.splitlines() if line.startswith("  ") and line.split()}

    everywhere, here = commands(ROOT), commands(edition)
    assert {"grade", "release", "reset", "study"} <= everywhere
    assert here & everywhere - {"--help"} == {
        *("lab", "status", "check", "hint", "reset", "solution", "submit", "feedback", "unlock", "update"),
    }


def test_the_start_page_says_what_is_next_and_leaves_a_readers_page_alone(edition, built):
    from cs336lite.course.lab import environment, settings, write_start_page

    assert write_start_page(edition) == ""
    page = nbformat.read(edition / "start.ipynb", as_version=4)
    nbformat.validate(page)
    assert "[notebooks/01_words.ipynb](notebooks/01_words.ipynb)" in page.cells[0].source
    table = page.cells[1].outputs[0]
    assert 'href="notebooks/01_words.ipynb"' in table.data["text/html"] and "a1_bpe" in table.data["text/plain"]
    progress.record_read(edition, "01_words")
    assert write_start_page(edition) == ""
    page = nbformat.read(edition / "start.ipynb", as_version=4)
    assert "solve a1_bpe" in page.cells[0].source and "cs336lite submit" in page.cells[2].source
    assert "cs336lite study" not in page.cells[2].source
    page.cells.append(nbformat.v4.new_markdown_cell("my notes"))
    nbformat.write(page, edition / "start.ipynb")
    assert "left as it is" in write_start_page(edition)
    assert "my notes" in (edition / "start.ipynb").read_text()
    folder = settings(edition)
    hidden = json.loads((folder / "labconfig/page_config.json").read_text())["disabledExtensions"]
    assert {"@jupyter/nbgrader:formgrader", "@jupyter/nbgrader:create-assignment"} <= set(hidden)
    assert "@jupyter/nbgrader:validate-assignment" not in hidden
    server = json.loads((folder / "jupyter_server_config.d/cs336lite.json").read_text())["ServerApp"]
    assert server["jpserver_extensions"]["nbgrader.server_extensions.formgrader"] is False
    shell = json.loads((folder / "jupyter_server_config.json").read_text())["ServerApp"]
    assert os.name != "posix" or len(shell["terminado_settings"]["shell_command"]) == 1  # no -l
    put = environment(edition)
    assert put["PATH"].split(os.pathsep)[0] == str(Path(sys.executable).parent) and "my" not in put.get(
        "PYTHONPATH", ""
    )
    assert put["JUPYTER_CONFIG_PATH"].split(os.pathsep)[0] == str(folder)
    folder = settings(built)  # where an instructor works, all of them are there
    assert json.loads((folder / "labconfig/page_config.json").read_text()) == {"disabledExtensions": {}}
    shutil.rmtree(folder.parent)
