"""Temporary folders and parts of files: gone at the end, and after a kill at the next start."""

import os
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest
from helpers import RIGHT, ROOT, small_notebook, submit

from cs336lite import scratch
from cs336lite.course import paths
from cs336lite.course.paths import write_atomic
from cs336lite.course.spec import LocalStudent
from cs336lite.scratch import Scratch, part_of, sweep

posix = pytest.mark.skipif(scratch.fcntl is None, reason="Windows has no locks of this kind")


def names(folder):
    return sorted(path.name for path in folder.iterdir())


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A temporary directory of its own."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setenv("TMPDIR", str(folder))
    monkeypatch.setattr("tempfile.tempdir", None)
    return folder


def killed(script, *arguments):
    """Run Python code until it prints a line, then kill it; the line."""
    command = [sys.executable, "-c", textwrap.dedent(script), *map(str, arguments)]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    line = process.stdout.readline().strip()
    process.kill()
    process.wait()
    process.stdin.close(), process.stdout.close()
    return line


# -- folders ----------------------------------------------------------------------------------------------------


def test_a_folder_is_private_and_goes_at_the_end(place):
    with Scratch("check") as folder:
        assert folder.parent == place and folder.stat().st_mode & 0o777 == 0o700
        (folder / "inner").mkdir()
        (folder / "inner" / "file").write_text("x")
    assert names(place) == []


def test_a_folder_goes_with_its_object_and_with_its_process(place):
    made = Scratch("check")
    assert len(names(place)) == 1
    del made
    assert names(place) == []
    subprocess.run([sys.executable, "-c", "from cs336lite.scratch import *; s = Scratch('check')"], check=True)
    assert names(place) == []


def test_a_student_that_nobody_closes_leaves_no_files(place):
    path = Path(LocalStudent({}).file(b"input"))
    assert not path.exists() and names(place) == []


@posix
def test_what_a_killed_process_left_is_swept_and_what_lives_is_not(place):
    left = killed("from cs336lite.scratch import *; s = Scratch('worker'); print(s.path, flush=True); input()")
    assert names(place) == [Path(left).name]
    with Scratch("build") as ours:
        sweep()
        assert names(place) == [ours.name]


@posix
def test_a_fork_neither_removes_nor_frees_the_folder_of_its_parent(place):
    script = """
        import os, sys
        from cs336lite.scratch import Scratch, sweep
        made = Scratch("check")
        child = os.fork()
        if child:
            os.waitpid(child, 0)
            sweep()
            print(made.path.is_dir())
    """
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(script)], capture_output=True, text=True, check=True)
    assert done.stdout == "True\n" and names(place) == []


@pytest.mark.parametrize(
    "name",
    [
        "cs336lite",
        "cs336lite-main",
        "cs336lite-release-20260101",
        "cs336lite-check-abcdefgh",
        "cs336lite-worker-1-abcdefghi",
    ],
)
def test_a_persons_own_folder_is_never_swept(place, name):
    (place / name).mkdir()
    sweep()
    assert names(place) == [name]


@posix
def test_a_link_is_neither_followed_nor_removed(place, tmp_path):
    precious = tmp_path / "precious"
    precious.mkdir()
    (precious / "file").write_text("x")
    (place / "cs336lite-check-1-abcdefgh").symlink_to(precious)
    (place / "cs336lite-worker-1-abcdefgh").mkdir()
    (place / "cs336lite-worker-1-abcdefgh" / "link").symlink_to(precious)
    sweep()
    assert names(precious) == ["file"] and names(place) == ["cs336lite-check-1-abcdefgh"]


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="only root can make another user's folder")
def test_another_users_folder_stays(place):
    theirs = place / "cs336lite-check-1-abcdefgh"
    theirs.mkdir()
    os.chown(theirs, 12345, 12345)
    sweep()
    assert theirs.is_dir()


@posix
def test_a_folder_that_is_swept_as_it_is_made_is_made_again(place, monkeypatch):
    hold, seen = scratch._hold, []

    def sweep_first(name):
        if not seen:
            seen.append(name)
            os.rmdir(name)
        return hold(name)

    monkeypatch.setattr(scratch, "_hold", sweep_first)
    with Scratch("check") as folder:
        assert folder.is_dir() and str(folder) not in seen


def test_without_locks_only_what_is_old_is_swept(place, monkeypatch):
    monkeypatch.setattr(scratch, "fcntl", None)
    for age, name in ((0, "cs336lite-check-1-aaaaaaaa"), (2 * scratch.OLD, "cs336lite-check-1-bbbbbbbb")):
        (place / name).mkdir()
        os.utime(place / name, (time.time() - age,) * 2)
    with Scratch("check"):
        sweep()
    assert names(place) == ["cs336lite-check-1-aaaaaaaa"]


# -- files ------------------------------------------------------------------------------------------------------


@posix
def test_the_part_of_a_killed_write_goes_with_the_next_write_and_a_living_one_stays(tmp_path):
    path = tmp_path / "notes[1].json"
    write_atomic(path, "old")
    script = """
        import sys, os, pathlib
        from cs336lite.course import paths
        def stop(*_): print("writing", flush=True); input()
        paths.os.replace = stop
        paths.write_atomic(pathlib.Path(sys.argv[1]), "half")
    """
    killed(script, path)
    assert path.read_text() == "old" and len(names(tmp_path)) == 2
    with part_of(path) as living:
        living.write_text("living")
        write_atomic(path, "new")
        assert sorted(tmp_path.iterdir()) == sorted([path, living])
        os.replace(living, path)
    assert path.read_text() == "living" and names(tmp_path) == [path.name]


@pytest.mark.parametrize("other", [".file.swp", ".file.abcdefgh", "file.part", "other.abcdefgh.part"])
def test_a_write_removes_nothing_that_is_not_its_own(tmp_path, other):
    (tmp_path / other).write_text("x")
    write_atomic(tmp_path / "file", "new")
    assert names(tmp_path) == sorted([other, "file"])


def test_of_several_writers_the_first_ones_file_can_stay(tmp_path):
    write_atomic(tmp_path / "seed", "first", mode=0o600, replace=False)
    write_atomic(tmp_path / "seed", "second", mode=0o600, replace=False)
    assert (tmp_path / "seed").read_text() == "first" and names(tmp_path) == ["seed"]
    assert (tmp_path / "seed").stat().st_mode & 0o777 == 0o600


def test_a_write_that_fails_leaves_no_part(tmp_path, monkeypatch):
    monkeypatch.setattr(paths.os, "replace", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        write_atomic(tmp_path / "file", "new")
    assert names(tmp_path) == []


# -- commands ---------------------------------------------------------------------------------------------------


def start(course, *arguments):
    program = Path(sys.executable).with_name("cs336lite")
    return subprocess.Popen([str(program), *map(str, arguments)], cwd=course.parent, stdin=subprocess.DEVNULL)


def kill_when(there, process):
    """Kill a process as soon as ``there()`` is true."""
    while not there():
        assert process.poll() is None
        time.sleep(0.02)
    process.kill()
    process.wait()


@pytest.mark.skipif(sys.platform != "linux", reason="grading runs on Linux")
@pytest.mark.parametrize("jobs", [1, 2])
def test_a_killed_grade_is_swept_by_the_next_and_a_whole_one_leaves_nothing(small_course, place, jobs):
    endless = submit(small_course, "endless", small_notebook("def double(x):\n    while True: pass", RIGHT[1]))
    grading = start(small_course, "grade", "a1_bpe", "--jobs", jobs, *[endless] * jobs)
    kill_when(lambda: list(place.glob("cs336lite-worker-*/inputs/*")), grading)
    assert names(place)
    quick = submit(small_course, "quick", small_notebook(*RIGHT))
    assert start(small_course, "grade", "a1_bpe", "--jobs", jobs, *[quick] * jobs).wait() == 0
    assert names(place) == []
    assert not list(small_course.rglob("*.part"))


@posix
def test_a_killed_check_is_swept_by_the_next_and_a_whole_one_leaves_nothing(small_course, place, tmp_path):
    spec = small_course / "public" / "a1_bpe.py"
    spec.write_text(spec.read_text().replace("n = rng.randrange(10**6)", 'n = len(student.file(b"x"))'))
    endless, quick = tmp_path / "endless.py", tmp_path / "quick.py"
    started = tmp_path / "started"
    endless.write_text(f"def double(x):\n    open({str(started)!r}, 'w').close()\n    while True: pass")
    quick.write_text("\n".join(RIGHT))
    kill_when(started.exists, start(small_course, "check", "a1", "--file", endless))
    assert len(names(place)) == 1
    assert start(small_course, "check", "a1", "--file", quick).wait() == 0
    assert names(place) == []


def test_no_text_makes_a_folder_that_nobody_removes():
    texts = [*ROOT.glob("notebooks/text/**/*.py"), *ROOT.glob("assignments/text/*.py")]
    assert texts and not [path.name for path in texts if "mkdtemp" in path.read_text(encoding="utf-8")]
