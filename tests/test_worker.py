"""A submission behind the wall: what it may do to its own answer, and what it may not do to the grader."""

import os
import signal
import subprocess
import sys
import tempfile
import time

import pytest

from cs336lite.course.spec import StudentError
from cs336lite.grading.client import Budget, Meter, Needs, Worker, WorkerFailure

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="grading runs on Linux")


@pytest.fixture(scope="module")
def worker():
    with Worker(budget=Budget(load_seconds=2, submission_seconds=20, memory_bytes=1 << 28, idle_seconds=2)) as worker:
        yield worker


def call(student, *args):
    return student.f(*args)


def answer(worker, source, *args, seconds=1.0):
    cells = source if isinstance(source, tuple) else (("1", source),)
    with worker.student(cells) as student:
        student.begin(seconds)
        return student.run(call, *args)


def failure(worker, source, *args, seconds=1.0):
    with pytest.raises(StudentError) as caught:
        answer(worker, source, *args, seconds=seconds)
    return caught.value


def test_values_go_there_and_back(worker):
    assert answer(worker, "def f(a, b): return {(a, b): [a, b]}", b"\x00\xff", "é") == {
        (b"\x00\xff", "é"): [b"\x00\xff", "é"]
    }


def test_a_file_can_be_read_and_not_written(worker):
    with worker.student((("1", "def f(path, mode): return open(path, mode).read()"),)) as student:
        student.begin(2)
        path = student.file(b"line\r\n")
        assert student.run(call, path, "rb") == b"line\r\n"


def test_a_cell_that_fails_does_not_stop_the_next(worker):
    assert answer(worker, (("1", "1 / 0"), ("2", "def f(:"), ("3", "def f(): return 3"))) == 3


def test_magics_and_shell_lines_are_left_out(worker):
    source = "%matplotlib inline\n!echo hello\ndef f():\n    %timeit 1\n    return 4\nf?"
    assert answer(worker, source) == 4
    assert answer(worker, ((("1", "%%bash\nrm -rf /"), ("2", "def f(): return 5")))) == 5


def test_dataclasses_and_super_work_as_in_a_notebook(worker):
    source = """
from __future__ import annotations
from dataclasses import dataclass
@dataclass
class P:
    x: int
class Q(P):
    def __init__(self): super().__init__(6)
def f(): return Q().x, __name__
"""
    assert answer(worker, source) == (6, "__main__")


def test_the_course_tools_are_quiet_and_the_reference_is_not_there(worker):
    source = """
from cs336lite.course import check, hint, status, have, export_solution
check("a1_bpe")
def f():
    try:
        import cs336lite.bpe
    except ImportError:
        return "absent"
"""
    assert answer(worker, source) == "absent"


def test_prints_and_warnings_cost_nothing(worker):
    source = (
        "import sys, warnings\ndef f():\n  warnings.warn('old')\n  print('x' * 10_000_000, file=sys.stderr)\n  return 1"
    )
    assert answer(worker, source) == 1


def test_input_does_not_wait(worker):
    assert failure(worker, "def f(): return input()").kind == "EOFError"


@pytest.mark.parametrize(
    "source, kind",
    [
        ("def f():\n  while True: pass", "TimeLimit"),
        ("def f():\n  while True:\n    try:\n      while True: pass\n    except BaseException: pass", "TimeLimit"),
        ("import time\ndef f(): time.sleep(1000)", "TimeLimit"),
        ("while True: pass", "TimeLimit"),
        ("def f(): return bytearray(1 << 30)", "MemoryLimit"),
        ("import os\ndef f(): os._exit(0)", "Died"),
        ("import ctypes\ndef f(): ctypes.string_at(0)", "Died"),
        ("import os\nos._exit(0)", "Died"),
        ("def f(): raise SystemExit", "SystemExit"),
        ("def f(): raise KeyboardInterrupt", "KeyboardInterrupt"),
        ("def f(): return f()", "RecursionError"),
        ("def f(): return object()", "BadAnswer"),
        ("def f():\n  x = []\n  x.append(x)\n  return x", "BadAnswer"),
        ("def f(): return bytes(1 << 27) * 3", "MemoryLimit"),
        ("def f(): return bytes(65 << 20)", "OutputLimit"),
        ("def f(): return 1 << 70", "BadAnswer"),
        ("def f(): import tiktoken", "ModuleNotFoundError"),
        ("def g(): return 1", "Missing"),
        ("def f(): raise NotImplementedError", "Unsolved"),
        ("def f(): return 1 / 0", "ZeroDivisionError"),
    ],
)
def test_what_goes_wrong_is_told_by_its_kind(worker, source, kind):
    assert failure(worker, source).kind == kind


def test_an_exception_is_told_with_its_place_and_without_its_text(worker):
    message = str(failure(worker, (("4", "x = 1\ndef f(secret):\n  raise ValueError(secret)"),), "the-hidden-input"))
    assert message == "your code raised ValueError (cell 4, line 3)"


def test_an_exception_is_what_its_class_derives_from(worker):
    error = failure(worker, "class BadLr(ValueError): pass\ndef f(): raise BadLr")
    assert error.kind == "an exception of your own"
    assert error.kinds == ("ValueError", "Exception", "BaseException")
    assert error.is_a("ValueError")
    assert not error.is_a("TypeError")


def test_an_exception_can_name_no_other_kinds_than_pythons(worker):
    secret = "class secret(Exception): __module__ = 'builtins'\nclass Mine(secret, KeyError): __module__ = 'builtins'\n"
    error = failure(worker, secret + "def f(): raise Mine")
    assert error.kinds == ("KeyError", "LookupError", "Exception", "BaseException")
    assert "secret" not in str(error)


def test_what_is_not_solved_or_refused_is_no_exception_of_any_kind(worker):
    assert failure(worker, "def f(): raise NotImplementedError").kinds == ()
    assert failure(worker, "def g(): return 1").kinds == ()


def test_a_type_named_like_markup_is_not_repeated(worker):
    source = "E = type('<script>alert(1)</script>', (Exception,), {})\ndef f(): raise E"
    assert str(failure(worker, source)) == "your code raised an exception of your own (cell 1, line 2)"


def test_a_missing_name_says_which_cell_failed(worker):
    message = str(failure(worker, (("2", "x = 1"), ("3", "def f(:\n  pass"))))
    assert message == "`f` is not defined; cell 3 stopped with SyntaxError on line 1"


FORGE = """
import os, socket, struct
def f():
    for fd in range(3, 64):
        try:
            s = socket.socket(fileno=fd)
        except OSError:
            continue
        try:
            {send}
        except OSError:
            pass
        s.detach()
    {then}
"""


@pytest.mark.parametrize(
    "send",
    [
        "s.send(b'garbage that is no frame at all')",
        "s.send(struct.pack('>4sII', b'c3w1', 5, 0) + b'xxxxx')",
        "s.send(struct.pack('>4sII', b'c3w1', 2**31, 2**31))",
        "s.shutdown(2)",
        "s.send(struct.pack('>4sII', b'c3w1', 21, 0) + b'{\"op\": \"loaded\", \"x\":1}'[:21])",
    ],
)
def test_a_forged_frame_is_a_bad_answer_and_the_next_submission_is_unharmed(worker, send):
    assert failure(worker, FORGE.format(send=send, then="return 1")).kind in ("BadAnswer", "Died", "OutputLimit")
    assert answer(worker, "def f(): return 'next'") == "next"


def test_a_check_that_loses_its_process_leaves_the_others_their_points(worker):
    with worker.student((("1", "n = 0\ndef f(x):\n  if x: return x\n  while True: pass"),)) as student:
        for argument, expected in ((1, 1), (0, None), (2, 2)):
            student.begin(0.5)
            if expected is None:
                with pytest.raises(StudentError, match=r"0\.5 s for this check"):
                    student.run(call, argument)
            else:
                assert student.run(call, argument) == expected


def test_the_whole_submission_has_a_budget_of_its_own():
    with Worker(budget=Budget(load_seconds=1, submission_seconds=1)) as small:
        with small.student((("1", "def f():\n  while True: pass"),)) as student:
            kinds = []
            for _ in range(5):
                student.begin(0.4)
                with pytest.raises(StudentError) as caught:
                    student.run(call)
                kinds.append(str(caught.value))
            assert "1 s" in kinds[-1] and "earlier checks" in kinds[-1]
            assert student.spent < 2


def test_cells_that_never_end_are_told_once_and_not_run_again(worker):
    with worker.student((("1", "while True: pass"),)) as student:
        for _ in range(3):
            student.begin(1)
            with pytest.raises(StudentError, match="while its cells were run"):
                student.run(call)
        assert student.spent < 4


def test_processor_time_is_measured_from_outside(worker):
    source = "import time\ntime.process_time = time.perf_counter = lambda: 0.0\ndef f(n):\n  for _ in range(n): pass"
    with worker.student((("1", source),)) as student:
        student.begin(10)
        short, long = student.cpu_seconds(call, 1_000), student.cpu_seconds(call, 5_000_000)
    assert long > 10 * short


def add_up(student, n):
    return sum(range(n))


def test_a_yardstick_is_measured_where_no_submission_ran(worker):
    source = "import builtins\nfast = builtins.sum\nbuiltins.sum = lambda x: [fast(x) for _ in range(30)][0]"
    with worker.student((("1", source),)) as student:
        student.begin(10)
        answer, seconds = student.timed(add_up, 300_000)
        assert answer == sum(range(300_000))
        assert seconds > 5 * min(student.yardstick(add_up, 300_000) for _ in range(3))
        student.stop()
        assert seconds > 5 * min(student.yardstick(add_up, 300_000) for _ in range(3))


def test_a_yardstick_costs_the_submission_nothing(worker):
    with worker.student((("1", ""),)) as student:
        student.begin(1)
        student.yardstick(add_up, 3_000_000)
        assert student.spent == student.check_spent == 0


def test_a_submission_stands_still_while_a_yardstick_is_measured(worker):
    source = (
        "import threading\ndef work():\n    while True: pass\n"
        "def f(): threading.Thread(target=work, daemon=True).start()"
    )
    with worker.student((("1", source),)) as student:
        student.begin(10)
        student.run(call)
        meter = Meter(student.child.pid, 10, 10, 128)
        with worker.halted(student.child.number):
            before = meter.used()
            worker.yardstick(add_up, 10_000_000)
            during = meter.used() - before
        while meter.used() == before:  # it goes on
            meter.look()
        start, used = time.monotonic(), meter.used()
        worker.yardstick(add_up, 10_000_000)
        time.sleep(max(0.0, 0.3 - (time.monotonic() - start)))
        assert during < (meter.used() - used) / 3


def test_a_yardstick_that_fails_is_no_fault_of_the_submission(worker):
    with worker.student((("1", ""),)) as student, pytest.raises(WorkerFailure):
        student.yardstick(call)
    assert answer(worker, "def f(): return 1") == 1


def test_the_environment_tells_nothing(worker):
    source = "import os\ndef f(): return sorted(os.environ)"
    names = answer(worker, source)
    assert set(names) <= {
        "PATH",
        "HOME",
        "LANG",
        "PYTHONHASHSEED",
        "PYTHONDONTWRITEBYTECODE",
        "OMP_NUM_THREADS",
        "MPLBACKEND",
        "MPLCONFIGDIR",
        "LC_CTYPE",
        "PWD",
    }


def test_a_worker_that_cannot_start_says_why():
    with pytest.raises(WorkerFailure, match="no_such_module"):
        Worker(Needs(warm=("no_such_module",)))


def test_sleeping_has_a_limit_of_its_own(worker):
    with worker.student((("1", "import time\ndef f(): time.sleep(1000)"),)) as student:
        messages = []
        for _ in range(3):
            student.begin(30)
            with pytest.raises(StudentError) as caught:
                student.run(call)
            messages.append(str(caught.value))
        assert all("slept or waited for 2 s" in message for message in messages)
        assert 2 < student.idle < 4 and student.spent < 1


def test_a_package_that_solves_the_exercise_is_named(worker):
    message = str(failure(worker, (("2", "import tiktoken\ndef f(): return 1"),)))
    assert message == (
        "`f` is not defined; cell 2 stopped with ModuleNotFoundError on line 1: "
        "`tiktoken` is not there when work is graded; write what you need of it"
    )
    assert "secret" not in str(failure(worker, "def f(x): raise ModuleNotFoundError(name=x)", "secret"))


def test_a_library_function_that_does_the_exercise_raises():
    with Worker(Needs(refused=("statistics.median", "math.dist"))) as worker:
        source = "from statistics import median\nimport math\ndef f(how, *args): return median(args) if how else math.hypot(*args)"
        message = str(failure(worker, source, 1, 2, 3))
        assert message.endswith("line 3): `statistics.median` is what this exercise asks you to write")
        assert answer(worker, source, 0, 3.0, 4.0) == 5.0
    with pytest.raises(WorkerFailure, match="no_such"):
        Worker(Needs(refused=("statistics.no_such",)))


def test_a_worker_that_is_killed_is_no_fault_of_the_submission(worker):
    with Worker() as victim, victim.student((("1", "def f(): return 1"),)) as student:
        student.begin(5)
        assert student.run(call) == 1
        os.kill(victim.pid, signal.SIGKILL)
        with pytest.raises(WorkerFailure):  # soon: the kernel ends its children one after another
            while True:
                student.run(call)


def test_a_child_killed_from_outside_is_told_apart(worker):
    with worker.student((("1", "def f(x): return x"),)) as student:
        student.begin(5)
        assert student.run(call, 1) == 1 and not student.killed
        os.kill(student.child.pid, signal.SIGKILL)
        with pytest.raises(StudentError):
            student.run(call, 2)
        assert student.killed
        student.begin(5)
        assert student.run(call, 3) == 3 and not student.killed
    with worker.student((("1", "def f():\n  import ctypes\n  ctypes.string_at(0)"),)) as student:
        student.begin(5)
        with pytest.raises(StudentError):
            student.run(call)
        assert not student.killed


NAMED = """
import ctypes, time
def f(name):
    ctypes.CDLL(None).prctl(15, name)
    time.sleep(0.2)  # somebody looks meanwhile
    return name
"""


@pytest.mark.parametrize("name", [b"\xff\xfe", b") R 1 1 1 1", b"\n) Z 0", b"\xed\xa0\x80 ("])
def test_what_a_process_calls_itself_does_not_matter(worker, name):
    with worker.student((("1", NAMED),)) as student:
        student.begin(5)
        for turn in (b"", b"x"):
            assert student.run(call, name + turn) == name + turn
        assert student.child is not None and student.idle > 0.1


def test_a_machine_without_room_for_a_process_is_no_fault_of_a_submission(monkeypatch, tmp_path):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    with monkeypatch.context() as patch:
        patch.setattr(subprocess, "Popen", no_room)
        with pytest.raises(WorkerFailure, match="could not be started"):
            Worker()
    assert not list(tmp_path.iterdir())
    with Worker() as worker:
        assert answer(worker, "def f(): return 1") == 1


def no_room(*_, **__):
    raise BlockingIOError(11, "Resource temporarily unavailable")
