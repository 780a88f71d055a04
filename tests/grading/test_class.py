"""A whole class: every submission is graded whatever the others are, and a run may be killed at any moment."""

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
from helpers import RIGHT, run, small_notebook, submit

from cs336lite.course.spec import load_spec
from cs336lite.grading import runner
from cs336lite.grading.bench import Bench
from cs336lite.grading.client import Worker
from cs336lite.grading.judge import Judge
from cs336lite.grading.pools import Processes
from cs336lite.grading.record import Recorder
from cs336lite.grading.submission import Submission

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="grading runs on Linux")

WRONG = "def double(x):\n    return x * x"
RIGHT_WAYS = [  # each in a style of its own
    "def double(x):\n    return x + x",
    "def double(x):\n    return 2 * x",
    "double = lambda x: x * 2",
    "import operator\n\ndef double(value):\n    return operator.mul(value, 2)",
    "class Doubler:\n    def __call__(self, x):\n        return x + x\n\ndouble = Doubler()",
    "import warnings\nwarnings.warn('old')\nprint('x' * 10**6)\ndef double(x):\n    '''Twice x.'''\n    return x + x",
]
WRONG_WAYS = [WRONG, "def double(x):\n    return x + 1", "def double(x):\n    return [x, x]", "def double(y): pass"]
BROKEN = [b"", b"{", b"\xff\xfe", b"[]", b'{"cells": 3}', b'{"cells": []}', b"print(1)"]
HOSTILE = [
    "def double(x):\n    while True: pass",
    "import os\ndef double(x): os._exit(0)",
    "import os\ndef double(x): os.kill(os.getppid(), 9)",
    "def double(x): return [0] * 10**10",
    "import ctypes\ndef double(x): ctypes.string_at(0)",
    "def double(x): return bytes(70 << 20)",
    "def double(x): return double(x)",
    "open('/tmp/left', 'w')\nimport subprocess\nsubprocess.run(['true'])",
]


def simulated_class(course, number):
    """Hand in for ``number`` students, in the mix of a real class; the scores that they must get."""
    rng = random.Random(number)
    expected = {}
    for index in range(number):
        student = f"student{index:03}"
        kind = rng.choices(["right", "wrong", "unsolved", "broken", "hostile"], [55, 25, 8, 6, 6])[0]
        note = f"# {student}\n"  # no two are the same file
        if kind == "right":
            content, score = small_notebook(note + rng.choice(RIGHT_WAYS), RIGHT[1]), 6
        elif kind == "wrong":
            content, score = small_notebook(note + rng.choice(WRONG_WAYS), RIGHT[1]), 2
        elif kind == "unsolved":
            content, score = small_notebook(note + "raise NotImplementedError", "raise NotImplementedError"), 0
        elif kind == "broken":
            content, score = rng.choice(BROKEN), 0
        else:
            content, score = small_notebook(note + rng.choice(HOSTILE), RIGHT[1]), 2
        submit(course, student, content)
        expected[student] = score
    return expected


@pytest.fixture
def released(small_course):
    result = runner.nbgrader_api(small_course).generate_assignment("a1_bpe")
    assert result["success"], result
    return small_course


def gradebook(course):
    """Every number in the gradebook, and every graded notebook."""
    with Recorder(course, "a1_bpe", runner.course_config(course)) as recorder:
        rows = {
            (s.student_id, grade.name): (grade.auto_score, grade.manual_score, grade.needs_manual_grade, nb.score)
            for s in recorder.gradebook.assignment_submissions("a1_bpe")
            for nb in s.notebooks
            for grade in nb.grades
        }
    pages = {p.parts[-3]: p.read_text() for p in (course / "autograded").glob("*/a1_bpe/a1_bpe.ipynb")}
    return rows, pages


def scores(course):
    rows, _ = gradebook(course)
    return {student: row[3] for (student, _), row in rows.items()}


@pytest.mark.timeout(900)
def test_a_class_whose_graders_are_killed_gets_the_grades_of_an_undisturbed_run(released, tmp_path):
    expected = simulated_class(released, 50)
    Judge(released, "a1_bpe").close()  # makes the seed, which the two courses share
    calm = tmp_path / "calm" / "assignments"
    shutil.copytree(released, calm)
    shutil.copytree(released.parent / "cs336lite", calm.parent / "cs336lite")
    runner.grade_class(calm, "a1_bpe", jobs=2)
    assert scores(calm) == expected

    kills = disturbed_run(released, random.Random(8), kills=6)
    assert set(kills) >= {"runner", "pool", "worker"}
    assert gradebook(released) == gradebook(calm)


def disturbed_run(course, rng, kills):
    """Grade by the command line, killing one of its processes after every few verdicts; which kinds were killed."""
    command = [str(Path(sys.executable).with_name("cs336lite")), "grade", "a1_bpe", "--jobs", "2"]
    folder = course / "verdicts" / "a1_bpe"
    killed = []
    while True:
        grader = subprocess.Popen(
            command, cwd=course.parent, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
        )
        due = count(folder) + rng.randrange(2, 12)
        while grader.poll() is None:
            time.sleep(rng.uniform(0.005, 0.05))
            if len(killed) < kills and count(folder) >= due:
                kind, victim = choose_victim(grader, rng, killed)
                if victim is not None:
                    victim.kill()
                    killed.append(kind)
                due = count(folder) + rng.randrange(2, 12)
        errors = grader.stderr.read().decode()
        assert grader.returncode in (0, -signal.SIGKILL), errors
        if grader.returncode == 0 and len(killed) >= kills:
            return killed
        if grader.returncode == 0:  # too few were left to judge: some work is lost, and done again
            for path in rng.sample(sorted(folder.glob("*.json")), 25):
                path.unlink()


def count(folder):
    return len(list(folder.glob("*.json")))


def choose_victim(grader, rng, killed):
    """A process of a running grader to kill: the runner, a process of its pool, a worker or a submission."""
    try:
        family = psutil.Process(grader.pid).children(recursive=True)
        found = {"runner": [psutil.Process(grader.pid)], "pool": [], "worker": []}
        for process in family:
            line = " ".join(process.cmdline())
            if "worker.py" in line:
                found["worker"].append(process)
            elif "grading.limited" in line:
                found["pool"].append(process)
    except psutil.NoSuchProcess:
        return "", None
    kinds = [kind for kind in found if found[kind]]
    kind = min(rng.sample(kinds, len(kinds)), key=killed.count)
    return kind, rng.choice(found[kind])


def test_twenty_runs_of_one_submission_give_one_verdict(small_course):
    cells = (("1", WRONG_WAYS[2]), ("2", RIGHT[1]))
    runs = set()
    for _ in range(4):
        with Judge(small_course, "a1_bpe", keep=False) as judge:
            runs |= {judge.judge(Submission(cells)).checks for _ in range(5)}
    assert len(runs) == 1


def test_what_has_not_changed_is_neither_judged_nor_recorded_again(released, monkeypatch):
    simulated_class(released, 6)
    runner.grade_class(released, "a1_bpe")
    before = gradebook(released)
    with monkeypatch.context() as patch:
        patch.setattr(Processes, "submit", lambda *_: pytest.fail("judged again"))
        patch.setattr(Recorder, "record", lambda *_: pytest.fail("recorded again"))
        runner.grade_class(released, "a1_bpe")
    submit(released, "student000", small_notebook(WRONG, "raise NotImplementedError"))
    judged, recorded = [], []
    submit_, record = Processes.submit, Recorder.record
    monkeypatch.setattr(Processes, "submit", lambda self, item: judged.append(item) or submit_(self, item))
    monkeypatch.setattr(Recorder, "record", lambda self, e: recorded.append(e.student) or record(self, e))
    runner.grade_class(released, "a1_bpe")
    assert len(judged) == 1 and recorded == ["student000"]
    after = gradebook(released)
    assert {k: v for k, v in before[0].items() if k[0] != "student000"} == {
        k: v for k, v in after[0].items() if k[0] != "student000"
    }


def test_a_score_given_by_a_person_stays(released):
    submit(released, "ada", small_notebook(WRONG, RIGHT[1]))
    runner.grade_class(released, "a1_bpe")
    with Recorder(released, "a1_bpe", runner.course_config(released)) as recorder:
        grade = recorder.gradebook.find_grade("grade_double", "a1_bpe", "a1_bpe", "ada")
        grade.manual_score = 3.5
        recorder.gradebook.db.commit()
    submit(released, "ada", small_notebook("# again\n" + WRONG, RIGHT[1]))
    runner.grade_class(released, "a1_bpe")
    rows, _ = gradebook(released)
    assert rows["ada", "grade_double"] == (0, 3.5, True, 5.5)  # and is to be looked at


def test_the_stock_command_gives_the_same_gradebook(released, tmp_path):
    simulated_class(released, 12)
    (released / "submitted" / "student003" / "a1_bpe" / "timestamp.txt").write_text("2026-01-02 03:04:05 UTC")
    Judge(released, "a1_bpe").close()
    stock = tmp_path / "stock" / "assignments"
    shutil.copytree(released, stock)
    shutil.copytree(released.parent / "cs336lite", stock.parent / "cs336lite")
    runner.grade_class(released, "a1_bpe", jobs=2)
    result = run("nbgrader", "autograde", "a1_bpe", cwd=stock)
    assert result.returncode == 0, result.stderr
    (ours, our_pages), (theirs, their_pages) = gradebook(released), gradebook(stock)
    assert ours == theirs
    assert {s: json.loads(page)["cells"] for s, page in our_pages.items()} == {
        s: json.loads(page)["cells"] for s, page in their_pages.items()
    }


def test_a_student_with_a_strange_name_gets_a_grade_and_one_without_a_notebook_a_question(released):
    for name in ("[a]", "*", "ünï code", "a;drop table grade;--", "-rf"):
        submit(released, name, small_notebook(*RIGHT))
    (released / "submitted" / "empty" / "a1_bpe").mkdir(parents=True)
    nonsense = submit(released, "nonsense", small_notebook(*RIGHT)).with_name("timestamp.txt")
    nonsense.write_bytes(b"\xffyesterday")
    with pytest.raises(runner.NotAllGraded, match="empty: nothing that can be"):
        runner.grade_class(released, "a1_bpe")
    found = scores(released)
    assert "empty" not in found  # a question, and no 0
    assert len(found) == 6 and set(found.values()) == {6}


def test_two_graders_do_not_record_at_once(released):
    from cs336lite.grading.locks import only_writer

    submit(released, "ada", small_notebook(*RIGHT))
    with only_writer(released):
        result = run("cs336lite", "grade", "a1_bpe", cwd=released.parent)
    assert result.returncode == 2 and "is recording" in result.stderr and "Traceback" not in result.stderr


def heard(bench, cells):
    """The points that a bench gives."""
    return sum(note["result"]["points"] for note in bench.hear(Submission(cells)) if "result" in note)


def test_a_worker_that_dies_under_a_submission_is_replaced(small_course, monkeypatch):
    cells = (("1", RIGHT_WAYS[0]), ("2", RIGHT[1]))
    with Bench(load_spec(small_course / "hidden" / "a1_bpe.py"), "seed") as bench:
        bench.ready_worker()
        os.kill(bench.worker.pid, signal.SIGKILL)
        assert heard(bench, cells) == 6

        start, started = bench.ready_worker, []

        def doomed():
            started.append(start())
            os.kill(started[-1].pid, signal.SIGKILL)
            return started[-1]

        monkeypatch.setattr(bench, "ready_worker", doomed)
        with pytest.raises(BaseException, match="worker") as caught:
            heard(bench, cells)
        assert type(caught.value).__name__ == "WorkerFailure"
        assert len(started) == Bench.ATTEMPTS


def test_a_worker_that_dies_as_it_starts_is_started_again(small_course, monkeypatch):
    cells, started = (("1", RIGHT_WAYS[0]), ("2", RIGHT[1])), []
    layers = Worker.layers

    def killed_once(self):
        started.append(self)
        if len(started) == 1:
            os.kill(self.pid, signal.SIGKILL)
            self.process.wait()
        return layers(self)

    monkeypatch.setattr(Worker, "layers", killed_once)
    with Bench(load_spec(small_course / "hidden" / "a1_bpe.py"), "seed") as bench:
        assert heard(bench, cells) == 6
    assert len(started) == 2


def test_memory_does_not_grow_with_the_class(released):
    """Items are read when a pool has room, not before: a few at a time."""
    alive, most = set(), 0
    reading = runner.item_of

    def counted(folder, *rest):
        nonlocal most
        item = reading(folder, *rest)
        alive.add(folder)
        most = max(most, len(alive))
        return item

    simulated_class(released, 40)
    patch = pytest.MonkeyPatch()
    with patch.context() as p:
        p.setattr(runner, "item_of", counted)
        graded = runner.Graded

        def done(label, verdict, *rest):
            alive.discard(released / "submitted" / label / "a1_bpe")
            return graded(label, verdict, *rest)

        p.setattr(runner, "Graded", done)
        runner.grade_class(released, "a1_bpe", jobs=2)
    assert 1 <= most <= 7
