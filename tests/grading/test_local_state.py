"""What lies on a disk and may say anything: kept verdicts, the seed, progress files, files from others."""

import concurrent.futures
import contextlib
import hashlib
import json
import os
import shutil
import sqlite3
import sys
import threading

import pytest
from helpers import RIGHT, SMALL_SPEC, run, small_notebook, submit

from cs336lite.course import hint, progress
from cs336lite.course.check import word_of_warning
from cs336lite.course.paths import EDITION_MARKER, CourseError
from cs336lite.course.release import release
from cs336lite.course.status import status
from cs336lite.grading import seed as seeds
from cs336lite.grading.judge import Judge, replay
from cs336lite.grading.submission import Submission

linux = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="grading runs on Linux")
ANSWER = Submission((("1", "\n".join(RIGHT)),), "submission")

# -- replay -----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def judged_once(tmp_path_factory):
    """A course's folders in which a verdict is kept: to be copied, and left as they are."""
    course = tmp_path_factory.mktemp("judged")
    (course / "hidden").mkdir()
    (course / "hidden" / "a1_bpe.py").write_text(SMALL_SPEC)
    with Judge(course, "a1_bpe", trust=True) as judge:
        judge.judge(ANSWER)
    return course


@pytest.fixture
def kept(small_course, judged_once):
    """A kept verdict of the small course: its file and what is in it."""
    for folder in ("verdicts", ".secret"):
        shutil.copytree(judged_once / folder, small_course / folder)
    (path,) = small_course.glob("verdicts/a1_bpe/*.json")
    return path, json.loads(path.read_text())


@linux
def test_a_kept_verdict_is_replayed(kept):
    path, _ = kept
    before, after = replay(path, trust=True)
    assert before.checks == after.checks and after.score == 6


def changed(data, **changes):
    """A verdict with other entries: ``a__b=3`` changes ``data["a"]["b"]``."""
    data = json.loads(json.dumps(data))
    for name, value in changes.items():
        *path, last = name.split("__")
        place = data
        for part in path:
            place = place[int(part) if part.isdigit() else part]
        place[last] = value
    return data


CHANGES = [
    {"provenance__spec": "../evil"},
    {"provenance__spec": "../../evil"},
    {"provenance__spec": "/tmp/evil"},
    {"provenance__spec": "evil"},
    {"provenance__spec": "0123456789abcdef\n"},
    {"provenance__spec": None},
    {"provenance__spec": ["x"]},
    {"provenance__seed": None},
    {"provenance__seed": 3},
    {"provenance__seed": "a\nb"},
    {"provenance__seed": "\ud800"},
    {"provenance__layers": "seccomp"},
    {"provenance__layers": [3]},
    {"provenance": []},
    {"provenance": {}},
    {"assignment": "../../../../tmp/evil"},
    {"assignment": "a1_bpe/../../evil"},
    {"assignment": "evil"},
    {"assignment": 3},
    {"assignment": None},
    {"checks": {}},
    {"checks": [3]},
    {"checks": [[]]},
    {"checks": None},
    {"checks__0__points": "3"},
    {"checks__0__points": float("nan")},
    {"checks__0__points": 10**400},
    {"checks__0__passed": 1},
    {"checks__0__message": ["x"]},
    {"checks__0__message": None},
    {"checks__0__extra": 1},
    {"score": "6"},
    {"score": float("inf")},
    {"notes": 3},
    {"notes": [3]},
    {"notes": None},
    {"read": [1]},
    {"read": {"double": "x"}},
    {"problem": 3},
    {"submission": None},
    {"submission": []},
    {"submission": {}},
    {"submission__cells": 3},
    {"submission__cells": [["1"]]},
    {"submission__cells": [["1", 2]]},
    {"submission__name": 3},
    {"extra": 1},
]


@linux
@pytest.mark.parametrize("changes", CHANGES, ids=str)
def test_a_verdict_of_another_form_is_told_and_runs_nothing(kept, changes, tmp_path):
    path, data = kept
    ran = tmp_path / "ran"
    evil = f"open({str(ran)!r}, 'w')\n"
    for place in (path.parent, path.parents[1], path.parent / "specs"):
        (place / "evil.py").write_text(evil)
    path.write_text(json.dumps(changed(data, **changes)))
    before = sorted(p for p in tmp_path.rglob("*"))
    with pytest.raises(CourseError, match=r"is no verdict|cannot be replayed"):
        replay(path, trust=True)
    assert not ran.exists() and sorted(p for p in tmp_path.rglob("*")) == before


@linux
@pytest.mark.parametrize(
    "content", [b"", b"{", b"[" * 100_000, b"\xff\xfe", b"3", b"null", b'{"checks": [], "x": ' + b"9" * 5000 + b"}"]
)
def test_what_is_no_json_is_no_verdict(kept, content):
    path, _ = kept
    path.write_bytes(content)
    with pytest.raises(CourseError, match="is no verdict"):
        replay(path)
    with pytest.raises(CourseError, match="is no verdict"):
        replay(path.parent)


@linux
def test_checks_that_were_changed_or_lie_elsewhere_are_not_run(kept, tmp_path):
    path, data = kept
    ran = tmp_path / "ran"
    spec = path.parent / "specs" / f"{data['provenance']['spec']}.py"
    source = spec.read_text()
    spec.write_text(f"{source}\nopen({str(ran)!r}, 'w')\n")
    with pytest.raises(CourseError, match="was changed"):
        replay(path, trust=True)
    spec.unlink()
    (tmp_path / "elsewhere.py").write_text(source)
    spec.symlink_to(tmp_path / "elsewhere.py")
    with pytest.raises(CourseError, match="is missing"):
        replay(path, trust=True)
    assert not ran.exists()


@linux
def test_what_a_replay_shows_is_plain(kept, small_course):
    path, data = kept
    hostile = "\x1b[31mx\u202e\ny"
    data = changed(
        data,
        provenance__judged=hostile,
        provenance__python=hostile,
        checks__0__message=hostile,
        checks__0__passed=False,
    )
    path.write_text(json.dumps(data))
    result = run("cs336lite", "grade", "--replay", str(path), "--trust-submissions", cwd=small_course.parent)
    assert result.returncode == 1 and "another verdict" in result.stdout
    assert not set(result.stdout + result.stderr) & set("\x1b\u202e") and "Traceback" not in result.stderr


# -- the seed ---------------------------------------------------------------------------------------------------


@linux
def test_a_renewed_seed_is_another_and_the_old_one_is_kept(small_course, kept):
    path, data = kept
    secret = small_course / ".secret"
    old = (secret / "seed").read_text()
    assert old not in seeds.about_seed(small_course) and "was made on" in seeds.about_seed(small_course)
    said = seeds.renew_seed(small_course)
    new = (secret / "seed").read_text()
    assert new != old and new not in said and old not in said and "judged anew" in said
    (one,) = secret.glob("seed-*")
    assert one.read_text() == old and one.name in said
    assert all(p.stat().st_mode & 0o077 == 0 for p in (one, secret / "seed"))
    seeds.renew_seed(small_course)
    assert len(list(secret.glob("seed-*"))) == 2
    assert new not in seeds.about_seed(small_course) and one.name in seeds.about_seed(small_course)
    with Judge(small_course, "a1_bpe", trust=True) as judge:
        assert judge.kept(ANSWER) is None and judge.path(ANSWER) != path  # judged anew
    assert data["provenance"]["seed"] == old
    assert replay(path, trust=True)[1].provenance["seed"] == old  # and the old one can be replayed


@linux
@pytest.mark.usefixtures("kept")
def test_a_lost_seed_is_not_replaced_in_silence(small_course):
    (small_course / ".secret" / "seed").unlink()
    for call in (seeds.course_seed, seeds.about_seed, lambda course: Judge(course, "a1_bpe")):
        with pytest.raises(CourseError, match=r"their seed is gone.*seed --renew"):
            call(small_course)
    assert not (small_course / ".secret" / "seed").exists()
    seeds.renew_seed(small_course)
    assert len(seeds.course_seed(small_course)) == 32


@linux
@pytest.mark.parametrize("content", [b"", b"\n", b"0123", b"\xff" * 32, b"\0" * 32, b"a line\nand another", b"x" * 201])
def test_a_damaged_seed_is_told(small_course, content):
    seeds.course_seed(small_course)
    (small_course / ".secret" / "seed").write_bytes(content)
    with pytest.raises(CourseError, match="damaged"):
        seeds.course_seed(small_course)
    seeds.renew_seed(small_course)
    assert len(seeds.course_seed(small_course)) == 32
    assert [p.read_bytes() for p in (small_course / ".secret").glob("seed-*")] == [content]


@linux
def test_the_seed_is_told_by_a_command_without_showing_it(small_course):
    first = run("cs336lite", "seed", cwd=small_course.parent)
    assert first.returncode == 0 and "no seed yet" in first.stdout, first.stderr
    seed = seeds.course_seed(small_course)
    for option in ([], ["--renew"], []):
        told = run("cs336lite", "seed", *option, cwd=small_course.parent)
        assert told.returncode == 0, told.stderr
        assert seed not in told.stdout and seeds.course_seed(small_course) not in told.stdout
    (small_course.parent / EDITION_MARKER).write_text("{}")
    assert run("cs336lite", "seed", cwd=small_course.parent).returncode == 2


@linux
def test_the_seed_stays_while_somebody_records(small_course):
    from cs336lite.grading.locks import only_writer

    seed = seeds.course_seed(small_course)
    with only_writer(small_course), pytest.raises(CourseError, match="recording"):
        seeds.renew_seed(small_course)
    assert seeds.course_seed(small_course) == seed


@linux
def test_two_machines_get_one_seed_and_see_that_they_have_it(small_course, tmp_path):
    other, file = tmp_path / "other", tmp_path / "carried"
    other.mkdir()
    seed, another = seeds.course_seed(small_course), seeds.course_seed(other)
    mark = seeds.fingerprint(seed)
    assert mark in seeds.about_seed(small_course) and mark not in seeds.about_seed(other)
    said = seeds.export_seed(small_course, file)
    assert file.stat().st_mode & 0o077 == 0 and mark in said and seed not in said
    with pytest.raises(CourseError, match="is there already"):
        seeds.export_seed(small_course, file)
    said = seeds.import_seed(other, file)
    assert seeds.course_seed(other) == seed and mark in said and seed not in said
    assert [p.read_text() for p in (other / ".secret").glob("seed-*")] == [another]
    assert "already" in seeds.import_seed(other, file)
    assert len(list((other / ".secret").glob("seed-*"))) == 1


@linux
def test_a_lost_seed_is_taken_back_and_what_it_gave_is_kept(small_course, kept, tmp_path):
    file = tmp_path / "carried"
    seeds.export_seed(small_course, file)
    (small_course / ".secret" / "seed").unlink()
    said = seeds.import_seed(small_course, file)
    assert "anew" not in said
    with Judge(small_course, "a1_bpe", trust=True) as judge:
        assert judge.kept(ANSWER) is not None
    seeds.renew_seed(small_course)
    (tmp_path / "strange").write_text("another-seed\n")
    assert "judged anew" in seeds.import_seed(small_course, tmp_path / "strange")


@linux
@pytest.mark.parametrize("content", [None, b"", b"x", b"\xff" * 32, b"two\nlines of it"])
def test_what_is_no_seed_is_not_taken(small_course, content, tmp_path):
    seed, file = seeds.course_seed(small_course), tmp_path / "carried"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(CourseError, match=r"no such file|is damaged"):
        seeds.import_seed(small_course, file)
    assert seeds.course_seed(small_course) == seed
    with pytest.raises(CourseError, match="three things"):
        seeds.command(small_course, True, None, file)


@linux
def test_scores_in_the_gradebook_hold_the_seed_as_well(small_course):
    with contextlib.closing(sqlite3.connect(small_course / "gradebook.db")) as book:
        book.execute("CREATE TABLE grade (auto_score REAL)")
        book.execute("INSERT INTO grade VALUES (NULL)")
        book.commit()
        seeds.course_seed(small_course)
        (small_course / ".secret" / "seed").unlink()
        book.execute("INSERT INTO grade VALUES (3)")
        book.commit()
    with pytest.raises(CourseError, match="scores in its gradebook, and their seed is gone"):
        seeds.course_seed(small_course)


@linux
def test_graders_that_start_at_once_have_one_seed(tmp_path):
    start = threading.Barrier(8)

    def first(_):
        start.wait()
        return seeds.course_seed(tmp_path)

    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        assert len(set(pool.map(first, range(8)))) == 1


# -- a student's own files --------------------------------------------------------------------------------------

PROGRESS = [
    "[]",
    "3",
    "null",
    '"x"',
    '{"checks": []}',
    '{"checks": {"a1_bpe": 3}}',
    '{"checks": {"a1_bpe": {"double": 3}}}',
    '{"checks": {"a1_bpe": {"double": ["1", "2"]}}}',
    '{"checks": {"a1_bpe": {"double": [1]}}}',
    '{"hints": {"a1_bpe": {"double": "x"}}}',
    '{"hints": {"a1_bpe": {"double": -5}}}',
    '{"hints": {"a1_bpe": []}}',
    '{"read": {}}',
    '{"read": [3]}',
    "[" * 100_000,
    "\ufffd",
]


@pytest.mark.parametrize("content", PROGRESS)
def test_a_progress_file_of_another_form_is_set_aside_with_a_word(small_course, content, capsys):
    root = small_course.parent
    public = small_course / "public" / "a1_bpe.py"
    public.write_text(public.read_text() + '\nHINTS = {"double": ["add"], "halve": ["share"]}\n')
    path = root / ".cs336lite" / "progress.json"
    path.parent.mkdir()
    path.write_bytes(content.encode("utf-8", "replace") if content != "\ufffd" else b"\xff\xff")
    before = path.read_bytes()
    assert hint("a1", root=root).layers == ("add",)
    assert "progress-damaged.json" in capsys.readouterr().err
    assert (path.parent / "progress-damaged.json").read_bytes() == before  # nothing is lost
    assert progress.load(root)["hints"] == {"a1_bpe": {"double": 1}}
    assert "damaged" not in capsys.readouterr().err


def test_a_folder_that_cannot_be_written_costs_the_memory_alone(small_course, capsys):
    root = small_course.parent
    (root / ".cs336lite").write_text("a file where a folder should be")
    progress.save(root, progress.load(root))
    assert "not remembered" in capsys.readouterr().err


@pytest.mark.parametrize("content", [b"", b"{}", b"[]", b"\xff", b'{"metadata": 3}', b'{"metadata": {}, "cells": [3]}'])
def test_a_broken_lecture_has_a_row_of_its_own(tmp_path, content):
    (tmp_path / "notebooks").mkdir()
    (tmp_path / "notebooks" / "01_x.ipynb").write_bytes(content)
    (step,) = status(tmp_path).steps
    assert (step.title, step.state) == ("this notebook cannot be read", "restore it from the course")


def test_check_says_that_it_runs_the_code_of_others(small_course, tmp_path):
    root = small_course.parent
    own = tmp_path / "mine.py"
    assert "runs the code" in word_of_warning(root, own)  # the full repository is an instructor's
    (root / EDITION_MARKER).write_text("{}")
    assert word_of_warning(root, own) == ""
    assert "runs the code" in word_of_warning(root, tmp_path / "submitted" / "ada" / "a1_bpe" / "a1_bpe.ipynb")
    assert "\n" not in word_of_warning(root, tmp_path / "submitted" / "a\nb.py")


@linux
def test_check_and_its_help_say_so(small_course, tmp_path):
    path = tmp_path / "one.py"
    path.write_text("\n".join(RIGHT))
    told = run("cs336lite", "check", "a1", "--file", str(path), cwd=small_course.parent)
    assert told.returncode == 0 and told.stderr.count("runs the code in") == 1, told.stderr
    assert "run as you" in run("cs336lite", "check", "--help", cwd=small_course.parent).stdout
    path.write_text("raise SystemExit(0)")
    assert run("cs336lite", "check", "a1", "--file", str(path), cwd=small_course.parent).returncode == 1
    path.write_text("raise ValueError('\\x1b[31m\\u202e' + 'x' * 10_000_000)")
    told = run("cs336lite", "check", "a1", "--file", str(path), cwd=small_course.parent)
    said = told.stdout + told.stderr
    assert told.returncode == 1 and len(said) < 4000 and not set(said) & set("\x1b\u202e")


@linux
@pytest.mark.skipif(sys.getfilesystemencoding() != "utf-8", reason="names of files are UTF-8 here")
def test_hostile_file_names_stop_no_table_and_no_report(small_course, tmp_path):
    names = [b"\x1b[31mred.py", b"two\nlines.py", "\u202eyp.py".encode(), b"\xff\xfe.py", b"fine.py"]
    folder = os.fsencode(tmp_path)
    for name in names:
        with open(os.path.join(folder, name), "w") as file:
            file.write("\n".join(RIGHT))
    paths = [os.fsdecode(os.path.join(folder, name)) for name in names]
    report = tmp_path / "report.json"
    result = run(
        "cs336lite", "grade", "a1", *paths, "--json", str(report), "--trust-submissions", cwd=small_course.parent
    )
    assert result.returncode == 0 and "Traceback" not in result.stderr, result.stderr
    assert result.stdout.count("6 / 6") == len(names) and not set(result.stdout) & set("\x1b\u202e")
    assert [entry["submission"] for entry in json.loads(report.read_text())] == paths
    result = run("cs336lite", "grade", "a1", f"{paths[0]}.txt", cwd=small_course.parent)
    assert result.returncode == 2 and "\x1b" not in result.stderr


@pytest.mark.parametrize("name", ["/", "x\x1b[31m", "x\ny", "x\udcff"])
def test_an_edition_has_a_name_that_can_be_read(tmp_path, small_course, name):
    with pytest.raises(CourseError, match=r"no name for a new folder|holds something"):
        release(small_course.parent, tmp_path / name)


def test_an_edition_is_not_written_below_a_file(tmp_path, small_course):
    (tmp_path / "file").write_text("x")
    with pytest.raises(CourseError):
        release(small_course.parent, tmp_path / "file" / "edition")


def test_unlock_says_what_a_hash_does_not_say(tmp_path, small_course):
    from cs336lite.course.unlock import unlock

    root = small_course.parent
    (root / EDITION_MARKER).write_text("{}")
    (root / "cs336lite" / "bpe.py").write_text("# mine\n")
    reference = "# any code with a right hash\n"
    sha = hashlib.sha256(reference.encode()).hexdigest()
    (tmp_path / "u.py").write_text(f"# cs336lite unlocks a1_bpe, sha256 {sha}\n{reference}")
    assert "who wrote it no hash can tell" in unlock(root, "a1", source=tmp_path / "u.py")
    assert (root / "cs336lite" / "bpe_student.py").read_text() == "# mine\n"
    with pytest.raises(CourseError, match="unlocks nothing"):
        unlock(root, "a1", source=tmp_path)


@linux
def test_a_surrogate_in_a_notebook_stops_nobody(small_course):
    from cs336lite.grading import runner

    assert runner.nbgrader_api(small_course).generate_assignment("a1_bpe")["success"]
    bad = "class E(Exception): pass\nE.__name__ = 'x\\ud800'\n# \ud800\ndef double(x):\n    raise E"
    submit(small_course, "ada", small_notebook(bad, RIGHT[1]))
    submit(small_course, "bo", small_notebook(*RIGHT))
    for _ in range(2):
        graded = runner.grade_class(small_course, "a1_bpe", how=runner.How(trust=True))
        assert {g.label: g.verdict.score for g in graded} == {"ada": 2, "bo": 6}
    assert runner.nbgrader_api(small_course).generate_feedback("a1_bpe", force=True)["success"]
    assert (small_course / "feedback" / "ada" / "a1_bpe" / "a1_bpe.html").exists()
