"""A course of one person, and one that assistants share; what is said where it cannot be written."""

import errno
import os
import shutil
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from helpers import RIGHT, ROOT, small_notebook, submit

from cs336lite.course.paths import CourseError
from cs336lite.grading import bench, limited, runner, sharing
from cs336lite.grading.judge import Judge
from cs336lite.grading.locks import only_writer
from cs336lite.grading.pools import Processes
from cs336lite.grading.sharing import PRIVATE, SHARED, Stop
from cs336lite.scratch import Scratch

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="grading runs on Linux")
SHARE = "\nget_config().CourseDirectory.groupshared = True\n"
FULL = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
USERS, GROUP = (61001, 61002), 61000  # of nobody


def modes(folder: Path) -> dict[str, int]:
    return {str(p.relative_to(folder)): stat.S_IMODE(p.lstat().st_mode) for p in [folder, *folder.rglob("*")]}


@pytest.fixture(params=[0o000, 0o022, 0o077])
def umask(request):
    before = os.umask(request.param)
    yield
    os.umask(before)


# -- rights -----------------------------------------------------------------------------------------------------


def test_a_course_is_shared_when_its_configuration_says_so(small_course):
    assert sharing.rights_of(small_course) == PRIVATE and sharing.rights_of(small_course / "nowhere") == PRIVATE
    config = small_course / "nbgrader_config.py"
    before = config.read_text()
    for line, expected in (
        (SHARE, SHARED),
        ("# groupshared = True\n", PRIVATE),
        (SHARE.replace("True", "False"), PRIVATE),
    ):
        config.write_text(before + line)
        assert sharing.rights_of(small_course) == expected


@pytest.mark.usefixtures("umask")
def test_what_is_written_has_its_rights_whatever_the_umask(tmp_path):
    tmp_path.chmod(0o755)
    for name, rights in (("one", PRIVATE), ("all", SHARED)):
        sharing.write(tmp_path / name / "deep" / "file", "x", rights)
        assert modes(tmp_path / name) == {".": rights.folder, "deep": rights.folder, "deep/file": rights.file}
    assert (PRIVATE.file | PRIVATE.folder) & 0o077 == 0
    assert (SHARED.file | SHARED.folder | SHARED.graded) & 0o007 == 0


def test_what_is_there_is_opened_to_the_group_and_to_nobody_else(tmp_path):
    course = tmp_path / "course"
    for name in (
        "verdicts/a1/x.json",
        "autograded/ada/a1/a1.ipynb",
        "hidden/a1.py",
        "exchange/x",
        "gradebook.db",
        "mine",
    ):
        (course / name).parent.mkdir(parents=True, exist_ok=True)
        (course / name).write_text("x")
        (course / name).chmod(0o604)
    course.chmod(0o701)
    (tmp_path / "strange").write_text("x")
    (tmp_path / "strange").chmod(0o600)
    (course / "submitted").mkdir()
    (course / "submitted" / "link").symlink_to(tmp_path / "strange")
    os.link(tmp_path / "strange", course / "submitted" / "name")
    before = modes(course)
    sharing.settle(course, PRIVATE)
    assert modes(course) == before
    sharing.settle(course, SHARED)
    after = modes(course)
    assert after["."] == 0o2771  # students may pass to an exchange
    assert after["verdicts/a1"] == 0o2770 and after["verdicts/a1/x.json"] == after["gradebook.db"] == 0o660
    assert after["autograded/ada/a1/a1.ipynb"] == after["hidden/a1.py"] == 0o660
    assert {name: after[name] for name in ("exchange/x", "mine")} == {"exchange/x": 0o604, "mine": 0o604}
    assert stat.S_IMODE((tmp_path / "strange").stat().st_mode) == 0o600


# -- files that are put in place together -----------------------------------------------------------------------


def test_staged_files_are_put_in_place_when_the_body_succeeds(tmp_path):
    for name in ("a.ipynb", "old.txt"):
        (tmp_path / name).write_text("old")
    (tmp_path / "left").mkdir()
    files = {"timestamp.txt": b"now\n", "a.ipynb": "new"}
    with sharing.staged(tmp_path, files, 0o444):
        assert (tmp_path / "a.ipynb").read_text() == "old"
    assert {p.name: p.read_text() for p in tmp_path.iterdir()} == {"timestamp.txt": "now\n", "a.ipynb": "new"}
    assert set(modes(tmp_path).values()) - {modes(tmp_path)["."]} == {0o444}


def test_staged_files_go_when_the_body_fails_and_the_body_waits_for_them(tmp_path, monkeypatch):
    (tmp_path / "a.ipynb").write_text("old")
    with pytest.raises(ZeroDivisionError), sharing.staged(tmp_path, {"a.ipynb": "new"}, 0o444):
        raise ZeroDivisionError
    assert [p.read_text() for p in tmp_path.iterdir()] == ["old"]
    monkeypatch.setattr(Path, "write_bytes", lambda *_: (_ for _ in ()).throw(FULL))
    with pytest.raises(OSError, match="No space"), sharing.staged(tmp_path, {"a.ipynb": "new"}, 0o444):
        pytest.fail("the body ran")
    assert [p.read_text() for p in tmp_path.iterdir()] == ["old"]


# -- one at a time ----------------------------------------------------------------------------------------------


def test_each_assignment_has_one_writer_and_two_have_two(tmp_path):
    with only_writer(tmp_path, "a1"), only_writer(tmp_path, "a2"):
        for assignment in ("a1", "a2", ""):
            with pytest.raises(CourseError, match="is recording"), only_writer(tmp_path, assignment):
                pytest.fail("two at once")
    with only_writer(tmp_path), pytest.raises(CourseError, match="is recording"), only_writer(tmp_path, "a1"):
        pytest.fail("two at once")
    with only_writer(tmp_path, "a1"):
        pass
    assert set(modes(tmp_path / ".secret").values()) == {0o600, 0o700}


# -- no room ----------------------------------------------------------------------------------------------------


@pytest.fixture
def released(small_course):
    assert runner.nbgrader_api(small_course).generate_assignment("a1_bpe")["success"]
    for number in range(4):
        submit(small_course, f"s{number}", small_notebook(f"# {number}\n{RIGHT[0]}", RIGHT[1]))
    return small_course


@pytest.mark.parametrize("jobs", [1, 2])
def test_a_full_disk_stops_the_run_at_once_and_what_was_judged_stays(released, jobs, monkeypatch):
    write, written, begun = sharing.write_atomic, [], []
    submit_ = Processes.submit

    def full(path, *arguments, **more):
        if path.suffix == ".json":
            written.append(path)
            if len(written) > 1:
                raise FULL
        write(path, *arguments, **more)

    with monkeypatch.context() as patch:
        patch.setattr(sharing, "write_atomic", full)
        patch.setattr(Processes, "submit", lambda self, item: begun.append(item) or submit_(self, item))
        with pytest.raises(Stop, match=r"cannot write into .*verdicts/a1_bpe: No space left .*make room"):
            runner.grade_class(released, "a1_bpe", jobs=jobs)
    assert len(written) == 2 and len(begun) <= 2 + jobs
    assert len(list(released.glob("verdicts/a1_bpe/*.json"))) == 1
    assert len(runner.grade_class(released, "a1_bpe")) == 4


def test_what_cannot_be_written_is_not_recorded_either(released, monkeypatch):
    def refuse(folder, *_):
        raise OSError(errno.EACCES if folder.parent.name == "s1" else errno.ENOSPC, "refused")

    with monkeypatch.context() as patch:
        patch.setattr(sharing, "staged", refuse)
        with pytest.raises(Stop, match=r"autograded/s0/a1_bpe: refused; make room"):
            runner.grade_class(released, "a1_bpe")
        assert not graded(released)
        patch.setattr(sharing, "staged", lambda *_: refuse(released / "s1" / "a1_bpe"))
        with pytest.raises(runner.NotAllGraded, match=r"s3: cannot write into .*autograded/s3/a1_bpe: refused"):
            runner.grade_class(released, "a1_bpe")
        assert not graded(released)


def graded(course):
    from nbgrader.api import Gradebook

    with Gradebook(f"sqlite:///{course / 'gradebook.db'}") as book:
        return [submission.student_id for submission in book.assignment_submissions("a1_bpe")]


def test_a_full_temporary_folder_is_told(small_course, monkeypatch):
    def full(*_, **__):
        raise FULL

    with monkeypatch.context() as patch, Judge(small_course, "a1_bpe") as judge:
        patch.setattr(limited.tempfile, "TemporaryFile", full)
        with pytest.raises(Stop, match=r"temporary folder .*No space left .*TMPDIR"):
            Processes(judge, 1).submit(None)

    class Full:
        hear = full

    monkeypatch.setattr(bench, "_open", [Full()])
    with pytest.raises(CourseError, match=r"temporary folder .*No space left"):
        list(bench.hear([], "", "", 0, {}))


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_that_may_not_be_written_is_told(released):
    (released / "verdicts").mkdir(mode=0o500)
    with pytest.raises(Stop, match=r"cannot write into .*verdicts/a1_bpe: Permission denied"):
        runner.grade_class(released, "a1_bpe")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can make a small disk")
def test_a_disk_that_is_really_full(released, tmp_path):
    disk = tmp_path / "disk"
    disk.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", disk], capture_output=True).returncode:
        pytest.skip("no file system can be mounted here")
    try:
        with open(disk / "fill", "wb", buffering=0) as file, pytest.raises(OSError, match="No space"):
            while True:
                file.write(bytes(4096))
        (released / "backups").symlink_to(disk)
        with pytest.raises(Stop, match=r"cannot write into .*backups: No space left"):
            runner.grade_class(released, "a1_bpe")
        assert not graded(released)
    finally:
        subprocess.run(["umount", "-l", disk], check=True)


# -- two assistants ---------------------------------------------------------------------------------------------

GRADE = """
import os, sys
os.umask(0o022)
from pathlib import Path
sys.path.insert(0, "TESTS")
from helpers import RIGHT, small_notebook, submit
from cs336lite.course.paths import CourseError
from cs336lite.grading import runner
course = Path("COURSE")
HAND_IN
try:
    print({one.label: one.verdict.score for one in runner.grade_class(course, "a1_bpe", how=runner.How(trust=True))})
except CourseError as error:
    sys.exit(f"told: {error}")
"""


@pytest.fixture
def office(small_course):
    """A course in a folder of a group, of which two users are members; how one of them runs a program."""
    if os.geteuid() != 0:
        pytest.skip("only root can be two users")
    with Scratch("tests") as place:
        place.chmod(0o711)
        shutil.copytree(small_course.parent, place / "course")
        for user in USERS:
            (place / f"{user}").mkdir(mode=0o711)
            os.chown(place / f"{user}", user, GROUP)
        course = place / "course" / "assignments"
        for path in (place / "course", *(place / "course").rglob("*")):
            os.chown(path, USERS[0], GROUP)
        course.parent.chmod(0o711)
        course.chmod(0o2770)

        def run_as(user, program):
            home = place / f"{user}"
            environment = os.environ | {
                "HOME": str(home),
                "TMPDIR": str(home),
                "PYTHONPATH": str(ROOT),
                "USER": f"u{user}",
            }
            who = {"user": user, "group": user, "extra_groups": [GROUP]}
            done = subprocess.run(
                [sys.executable, "-c", program], **who, env=environment, cwd=home, capture_output=True, text=True
            )
            for left in home.glob("*"):
                shutil.rmtree(left, ignore_errors=True)
            return done

        try:
            readable = not run_as(USERS[1], "import cs336lite.grading.record").returncode
        except PermissionError:  # not even its python
            readable = False
        if not readable:
            pytest.skip("other users cannot read this environment")
        yield course, run_as


def program(course, hand_in=""):
    return GRADE.replace("TESTS", str(ROOT / "tests")).replace("COURSE", str(course)).replace("HAND_IN", hand_in)


RELEASE = "assert runner.nbgrader_api(course).generate_assignment('a1_bpe')['success']\n"


def hand_in(student, note):
    answer = f"small_notebook({note!r} + RIGHT[0], RIGHT[1])"
    return f"submit(course, {student!r}, {answer})\n"


@pytest.mark.slow
def test_two_assistants_grade_in_turn(office):
    course, run_as = office
    with open(course / "nbgrader_config.py", "a") as config:
        config.write(SHARE)
    ada, bo = USERS
    first = run_as(ada, program(course, RELEASE + hand_in("s0", "# 0\n") + hand_in("s1", "# 1\n")))
    assert first.returncode == 0, first.stderr
    # the other one: a submission anew, one more, and one that nothing happened to
    second = run_as(bo, program(course, hand_in("s0", "# again\n") + hand_in("s2", "# 2\n")))
    assert second.returncode == 0, second.stderr
    assert "'s0': 6" in second.stdout and "'s2': 6" in second.stdout
    third = run_as(ada, program(course, hand_in("s2", "# once more\n")))
    assert third.returncode == 0, third.stderr
    for place in ("verdicts", "autograded", "backups", ".secret"):
        for name, mode in modes(course / place).items():
            assert mode & 0o007 == 0, (place, name)
            assert mode & 0o060 == 0o060, (place, name)
            assert (course / place / name).stat().st_gid == GROUP, (place, name)
    assert {p.stat().st_uid for p in course.glob("autograded/*/*/*.ipynb")} == set(USERS)
    assert stat.S_IMODE((course / "gradebook.db").stat().st_mode) == 0o660
    assert len(graded(course)) == 3


@pytest.mark.slow
def test_without_the_line_the_course_is_its_owners_alone(office):
    course, run_as = office
    ada, bo = USERS
    first = run_as(ada, program(course, RELEASE + hand_in("s0", "# 0\n")))
    assert first.returncode == 0, first.stderr
    for place in ("verdicts", "autograded", "backups", ".secret"):
        assert modes(course / place)["."] & 0o777 == 0o700
    second = run_as(bo, program(course))
    assert second.returncode == 1 and "Traceback" not in second.stderr
    assert f"told: {course}/submitted cannot be opened (Permission denied): it belongs to user {ada}." in second.stderr
    assert "groupshared = True" in second.stderr


def test_a_folder_of_another_assistant_is_told_with_the_way_to_share_it(tmp_path, monkeypatch):
    refused = PermissionError(errno.EACCES, "Permission denied")
    assert sharing.cannot_open(tmp_path, refused).endswith("(Permission denied): make it readable for you")
    monkeypatch.setattr(sharing, "owner_of", lambda path: "ada")
    said = sharing.cannot_open(tmp_path, refused, "`submitted/s0/`")
    assert said.startswith("`submitted/s0/` cannot be opened")
    assert "it belongs to ada. Assistants who share a course" in said and "groupshared = True" in said
    assert "make it readable" in sharing.cannot_open(tmp_path, OSError(errno.EIO, "Input/output error"))
