"""The exchange: outside the course, whose answers no other user gets at; the whole way from release to feedback."""

from __future__ import annotations

import json
import os
import pwd
import shutil
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from helpers import quickened
from miniature import REAL, edit, make_course

from cs336lite.course.build import build
from cs336lite.course.handin import HandIn, submit
from cs336lite.course.paths import CourseError
from cs336lite.course.release import release
from cs336lite.grading import doctor, exchange, runner
from cs336lite.scratch import Scratch
from cs336lite.teaching import editions

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="grading runs on Linux")


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


@pytest.fixture
def place():
    """A folder that every user of the machine can reach."""
    with Scratch("users") as folder:
        folder.chmod(0o755)
        yield folder


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """A small course that is built, which no test changes."""
    root = make_course(tmp_path_factory.mktemp("exchange") / "course")
    assert all(report.ok for report in build(root))
    return root


@pytest.fixture
def course(place):
    """A course's folder with everything in it, open to all as it comes from git and nbgrader."""
    course = place / "repository" / "assignments"
    for name in exchange.FOLDERS:
        (course / name).mkdir(parents=True)
    (course / "submitted" / "ada" / "a1_bpe").mkdir(parents=True)
    (course / "submitted" / "ada" / "a1_bpe").chmod(0o777)
    (course / "gradebook.db").write_bytes(b"")
    shutil.copy(REAL / "assignments" / "nbgrader_config.py", course)
    for path in (course.parent, *course.parent.rglob("*")):
        path.chmod(path.stat().st_mode | (0o055 if path.is_dir() else 0o044))
    return course


def configured(course: Path, monkeypatch, **environment: str):
    monkeypatch.delenv(exchange.VARIABLE, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    return runner.course_config(course)


def test_by_default_the_exchange_is_for_one_user_and_outside_of_the_course(course, monkeypatch):
    found = exchange.of_course(course, configured(course, monkeypatch))
    assert found.folder == course.parent / "exchange" and not found.chosen and found.course_id == "cs336lite"
    assert mode(found.folder) == 0o700
    assert "for you alone" in exchange.hand_in_problem(found)


def test_configuring_closes_what_others_must_not_see(course, monkeypatch):
    assert set(exchange.reached_rooms(course)) == {course / name for name in exchange.ROOMS}
    config = configured(course, monkeypatch)
    assert exchange.reached_rooms(course) == []
    assert mode(course) == 0o750 and mode(course / "hidden") == 0o750
    exchange.guard(course, exchange.of_course(course, config))
    course.chmod(0o755)
    assert mode(course / "hidden") == 0o700 and not exchange.reached(course / "hidden")
    exchange.guard(course, exchange.of_course(course, config))
    assert mode(course / "submitted" / "ada" / "a1_bpe") == 0o700


def test_the_group_keeps_what_it_shares(course, monkeypatch):
    edit(course / "nbgrader_config.py", "configure(c,", "c.CourseDirectory.groupshared = True\nconfigure(c,")
    config = configured(course, monkeypatch)
    exchange.guard(course, exchange.of_course(course, config))
    assert mode(course / "submitted" / "ada" / "a1_bpe") == 0o2770
    assert exchange.reached_rooms(course) == []


def test_links_are_left_alone(course, place):
    outside = place / "outside"
    outside.mkdir(mode=0o755)
    (course / "feedback").rmdir()
    (course / "feedback").symlink_to(outside)
    (course / "submitted" / "eve").symlink_to(outside)
    exchange.close(course, place / "exchange", group=False)
    assert mode(outside) == 0o755


def test_an_exchange_inside_a_course_that_others_enter_is_refused(course, monkeypatch):
    inside = course / "exchange"
    inside.mkdir()
    inside.chmod(0o777)
    config = configured(course, monkeypatch, CS336LITE_EXCHANGE=str(inside))
    with pytest.raises(CourseError, match=r"lies inside the course[\s\S]*chmod o-rwx"):
        exchange.guard(course, exchange.of_course(course, config))
    inside.chmod(0o700)
    exchange.guard(course, exchange.of_course(course, config))


def test_what_cannot_be_closed_stops_the_command(course, monkeypatch):
    config = configured(course, monkeypatch)
    course.chmod(0o755)
    (course / "hidden").chmod(0o755)
    monkeypatch.setattr(Path, "chmod", lambda *_: (_ for _ in ()).throw(PermissionError(1, "not the owner")))
    with pytest.raises(CourseError, match=r"other users of this machine can get at hidden/ in .*chmod -R o-rwx"):
        exchange.guard(course, exchange.of_course(course, config))


def test_doctor_says_who_gets_in(course, monkeypatch, place):
    (course.parent / "cs336lite").mkdir()
    config = configured(course, monkeypatch)
    closed, references, handing_in = doctor.promises(course, config)
    assert closed.holds and not references.holds and f"chmod o-rwx {course.parent}" in references.otherwise
    assert not handing_in.holds
    course.chmod(0o755)
    (course / "source").chmod(0o755)
    assert str(course / "source") in doctor.promises(course, config)[0].otherwise
    (place / "open").mkdir()
    (place / "open").chmod(0o777)
    config = configured(course, monkeypatch, CS336LITE_EXCHANGE=str(place / "open"))
    assert doctor.promises(course, config)[2].holds
    (place / "open").chmod(0o755)
    assert "chmod 777" in doctor.promises(course, config)[2].otherwise


@pytest.mark.parametrize("name", ["a+b", "a/b", "", " a", "..", "x\n"])
def test_a_course_has_a_name_that_an_exchange_can_use(name):
    with pytest.raises(CourseError, match="must be letters"):
        HandIn(Path("/srv/exchange"), name)


def test_an_edition_hands_in_as_the_course_is_configured(course, monkeypatch, place):
    monkeypatch.delenv(exchange.VARIABLE, raising=False)
    root = course.parent
    assert editions.hand_in(root) is None
    with pytest.raises(CourseError, match="say --exchange"):
        editions.hand_in(root, None, "cs336-2027")
    with pytest.raises(CourseError, match="inside the course"):
        editions.hand_in(root, course / "exchange")
    edit(
        course / "nbgrader_config.py",
        "configure(c,",
        f'c.CourseDirectory.course_id = "cs336-2027"\nc.Exchange.root = "{place}/open"\nconfigure(c,',
    )
    assert editions.hand_in(root) == HandIn(place / "open", "cs336-2027")
    assert editions.hand_in(root, Path("/elsewhere"), "other") == HandIn(Path("/elsewhere"), "other")


# -- the whole way, with the users of a shared machine ------------------------------------------------------------


class User:
    """Somebody who works on the machine: another user where the tests may become one."""

    def __init__(self, folder: Path, name: str | None) -> None:
        self.home = folder / (name or "me")
        self.home.mkdir(exist_ok=True)
        self.entry = pwd.getpwnam(name) if name else None
        self.name = name or pwd.getpwuid(os.getuid()).pw_name
        self.own(self.home)

    def own(self, folder: Path) -> None:
        for path in (folder, *folder.rglob("*")) if self.entry else ():
            os.chown(path, self.entry.pw_uid, self.entry.pw_gid)

    def run(self, *command: str, cwd: Path, ok: bool = True) -> str:
        program = Path(sys.executable).with_name(command[0])
        who = {"user": self.entry.pw_uid, "group": self.entry.pw_gid, "extra_groups": []} if self.entry else {}
        environment = {k: v for k, v in quickened().items() if k != exchange.VARIABLE}
        own = {"HOME": str(self.home), "JUPYTER_DATA_DIR": str(self.home / "data"), "TMPDIR": str(self.home)}
        done = subprocess.run(
            [str(program), *command[1:]],
            cwd=cwd,
            env={**environment, **own, "PYTHONDONTWRITEBYTECODE": "1", "COLUMNS": "200"},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            timeout=300,
            umask=0o022,
            **who,
        )
        said = done.stdout + done.stderr
        assert "Traceback" not in said and (done.returncode == 0) == ok, said[-3000:]
        return said


def other_users() -> list[str]:
    """Three users of this machine that the tests may become, and that can run its Python with our packages."""
    if os.geteuid() != 0:
        return []
    try:
        names = [name for name in ("daemon", "nobody", "games") if pwd.getpwnam(name)]
        for name in names:
            entry = pwd.getpwnam(name)
            command = [sys.executable, "-c", "import cs336lite.course.release, nbgrader"]
            subprocess.run(command, user=entry.pw_uid, group=entry.pw_gid, extra_groups=[], cwd=REAL, check=True)
    except (KeyError, OSError, subprocess.CalledProcessError):
        return []
    return names


def test_from_release_to_feedback(place, built):
    """nbgrader's own commands and ours; as three users where root runs the tests, else as one."""
    names = other_users()
    teacher, student, other = (User(place, name) for name in names or [None, None, None])
    repository, everybody = teacher.home / "course", place / "exchange"
    everybody.mkdir()
    everybody.chmod(0o777)
    shutil.copytree(built, repository)
    course = repository / "assignments"
    shutil.copy(REAL / "assignments" / "nbgrader_config.py", course)
    edit(
        course / "nbgrader_config.py",
        "configure(c,",
        f'c.CourseDirectory.course_id = "cs336-2027"\nc.Exchange.root = "{everybody}"\nconfigure(c,',
    )
    teacher.own(repository)
    edition = release(repository, student.home / "edition", hand_in=editions.hand_in(repository))
    student.own(edition)
    teacher.own(repository)
    for command in (
        "nbgrader db student import roster.csv",
        "nbgrader generate_assignment a1_bpe",
        "nbgrader db assignment add a1_bpe --duedate='2999-02-12 23:59:00 UTC'",
        "nbgrader release_assignment a1_bpe",
    ):
        (course / "roster.csv").write_text(f"id,first_name,last_name\n{student.name},Ada,Okafor\n")
        teacher.run(*command.replace("'", "").split(" ", 5 if "--duedate" in command else -1), cwd=course)

    # every place a student may stand in
    mine = edition / "assignments" / "a1_bpe"
    (mine / "__pycache__").mkdir()
    (mine / "weights.bin").write_bytes(bytes(1000))
    (mine / "a1_bpe (new).ipynb").write_text("{}")
    student.own(mine)
    said = student.run("cs336lite", "submit", "a1", cwd=mine)
    assert "a1_bpe was handed in" in said and "still as you were given" in said
    text = "# YOUR CODE HERE\\n"
    edit(mine / "a1_bpe.ipynb", text, "# my code\\n")
    assert "still as you" not in student.run("cs336lite", "submit", "a1", cwd=edition / "notebooks")
    for folder in (edition, edition / "assignments"):
        student.run("nbgrader", "submit", "a1_bpe", cwd=folder)
    handed_in = sorted((everybody / "cs336-2027" / "inbound").iterdir())
    assert len(handed_in) == 4
    for folder in handed_in:
        assert {p.name for p in folder.iterdir()} == {"a1_bpe.ipynb", "timestamp.txt", "submission_secret.txt"}
    assert student.run("cs336lite", "feedback", "a1", cwd=edition).startswith("there is no feedback on a1_bpe yet")

    teacher.run("nbgrader", "collect", "a1_bpe", cwd=course)
    teacher.run("nbgrader", "collect", "a1_bpe", "--update", cwd=course)
    kept = course / "submitted" / student.name / "a1_bpe"
    assert (kept / "a1_bpe.ipynb").read_bytes() == (mine / "a1_bpe.ipynb").read_bytes()
    assert mode(kept) == 0o700
    if names:
        for path in (course, course / "hidden" / "a1_bpe.py", course / "gradebook.db", kept / "a1_bpe.ipynb"):
            command = [
                sys.executable,
                "-c",
                f"import os; os.listdir({str(path)!r}) if {path.is_dir()} else open({str(path)!r})",
            ]
            who = {"user": other.entry.pw_uid, "group": other.entry.pw_gid, "extra_groups": []}
            tried = subprocess.run(command, **who, cwd="/", capture_output=True, text=True, check=False)
            assert "PermissionError" in tried.stderr, path

    page = course / "feedback" / student.name / "a1_bpe"
    page.mkdir(parents=True)
    (page / "a1_bpe.html").write_text("well done")
    for name in ("timestamp.txt", "submission_secret.txt"):
        shutil.copy(kept / name, page / name)
    teacher.own(course)
    teacher.run("nbgrader", "release_feedback", "a1_bpe", cwd=course)
    said = student.run("cs336lite", "feedback", "a1", cwd=mine)
    [fetched] = (mine / "feedback").rglob("a1_bpe.html")
    assert str(fetched.relative_to(edition)) in said and fetched.read_text() == "well done"
    shutil.rmtree(mine / "feedback")
    student.run("nbgrader", "fetch_feedback", "a1_bpe", cwd=edition / "assignments")
    assert len(list((mine / "feedback").rglob("a1_bpe.html"))) == 1
    assert course_list(student, edition) == {"released": 1, "submitted": 4}


def course_list(student: User, edition: Path) -> dict[str, int]:
    """What JupyterLab's assignment list shows, started where `make lab` starts it."""
    code = (
        "import json, sys\n"
        "from nbgrader.server_extensions.assignment_list.handlers import AssignmentList\n"
        "found = AssignmentList(); found.root_dir = sys.argv[1]\n"
        "answer = found.list_assignments(); assert answer['success'], answer\n"
        "value = answer['value']\n"
        "first = [a for a in value if a['status'] in ('released', 'fetched')]\n"
        "print(json.dumps({'released': len(first), 'submitted': sum(len(a.get('submissions', [])) for a in value)}))\n"
    )
    return json.loads(student.run("python", "-c", code, str(edition), cwd=edition).splitlines()[-1])


def test_submit_says_what_is_missing(place, built):
    root = shutil.copytree(built, place / "course")
    with pytest.raises(CourseError, match="full repository"):
        submit(root, "a1")
    edition = release(root, place / "alone")
    with pytest.raises(CourseError, match=r"upload assignments/a1_bpe/a1_bpe.ipynb where your instructor says"):
        submit(edition, "a1")
    readme = (edition / "README.md").read_text(encoding="utf-8")
    assert "Upload the notebook" in readme and not (edition / "nbgrader_config.py").exists()
    far = release(root, place / "far", hand_in=HandIn(place / "nowhere", "cs336-2027"))
    readme = (far / "README.md").read_text(encoding="utf-8")
    assert "cs336lite submit a1_bpe" in readme and "`cs336-2027`" in readme and "Upload" not in readme
    with pytest.raises(CourseError, match="cannot be reached from here"):
        submit(far, "a1")
    (place / "nowhere").mkdir()
    with pytest.raises(CourseError, match="has not released it"):
        submit(far, "a1")
    (far / "nbgrader_config.py").write_text("c = get_config(\n")
    with pytest.raises(CourseError, match=r"nbgrader_config.py cannot be read: SyntaxError"):
        submit(far, "a1")
    (far / "assignments/a1_bpe/a1_bpe.ipynb").unlink()
