"""A submission behind the wall: what it may do to its own answer, and what it may not do to the grader."""

import os
import signal
import subprocess
import sys
import tempfile
import time

import pytest

from cs336lite.course.spec import StudentError
from cs336lite.grading.budget import Budget, Needs, WorkerFailure
from cs336lite.grading.client import Worker
from cs336lite.grading.meter import Meter
from cs336lite.grading.places import because, read_troubles

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="grading runs on Linux")


@pytest.fixture(scope="module")
def worker():
    with Worker(budget=Budget(load_seconds=2, submission_seconds=20, memory_bytes=1 << 28, idle_seconds=2)) as worker:
        yield worker


def call(student, *args):
    return student.f(*args)


def call_large(student):
    return student.large()


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


def test_a_child_collects_its_own_garbage_alone(worker):
    source = "import gc\ndef f(): return gc.isenabled(), gc.get_freeze_count(), len(gc.get_objects())"
    enabled, of_the_worker, its_own = answer(worker, source)
    assert enabled
    assert of_the_worker > 4 * its_own


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


NOTEBOOKS = {
    "a magic, and a comment that ends in a question mark": "%precision 4\nx = 1  # in order?\ndef f(): return x",
    "a condition behind a magic": "%precision 4\nif True:  # always?\n    def f(): return 1",
    "a continued line that begins with %": "%precision 4\ny = ('%s'\n     % 1)\ndef f(): return int(y)",
    "the output of a shell line": "files = !ls\nn = len(files)\ndef f(): return n + 1",
    "timeit that gives its result": "t = %timeit -o 1\ns = f'{t.average:.3f}'\ndef f(): return 1 if s else 0",
    "a magic over two lines": "%timeit -n1 \\\n  sum([])\ndef f(): return f.__code__.co_firstlineno - 2",
    "autocall": "/print 5\ndef f(): return 1",
    "a shell line in a block": "try:\n    !true\nexcept OSError: pass\ndef f(): return 1",
    "time, whose statement defines": "%time n = 1\ndef f(): return n",
    "a timed cell": "%%time\ndef f(): return 1",
    "a captured and timed cell": "\n%%capture out\n%%time\nout.show()\ndef f(): return 1",
    "help": "f?\n?f\nf??\ndef f(): return 1",
    "display": "display(1)\nfrom IPython.display import HTML, display as show\nshow(HTML('x'))\ndef f(): return 1",
    "IPython's shell": "from IPython import get_ipython as g\ng().run_line_magic('x', '')\n"
    "n = 'google.colab' in str(get_ipython())\ndef f(): return 1 - n",
    "what a notebook remembers": "1 + 1\nIn, Out, _\ndef f(): return 1",
    "await": "import asyncio\nawait asyncio.sleep(0)\nn = await asyncio.sleep(0, 1)\ndef f(): return n",
    "a loop of its own": "import asyncio\nasync def g(): return 1\ndef f(): return asyncio.run(g())",
    "async for": "async def g():\n    yield 1\nasync for n in g(): pass\ndef f(): return n",
    "the source of a function": "import inspect\ndef f(): return len(inspect.getsource(f).splitlines())",
    "the course's names": "check('a1', 'f')\nhint('a1')\nstatus()\ndef f(): return 1",
    "a helper of typing": "from typing import NamedTuple\nclass N(NamedTuple):\n    a: int\ndef f(): return N(1).a",
    "a statement that fails here": "open('out.txt', 'w').write('x')\ndef f(): return 1",
    "a foreign cell": "%%bash\nexit 1",
    "prose in a file": "%%writefile notes.txt\nno python at all",
    "another language": "%%perl\nprint 1;",
    "another process": "%%python3\ndef f(): return 2",
    "an indented cell": "    def f(): return 1",
    "a prompt": ">>> def f(): return 1",
}


@pytest.mark.parametrize("source", NOTEBOOKS.values(), ids=NOTEBOOKS)
def test_a_cell_runs_as_in_jupyter(worker, source):
    assert answer(worker, (("1", "def f(): return 1"), ("2", source))) == 1


def test_what_a_cell_asks_of_the_future_holds_in_those_after_it(worker):
    later = "class T:\n    def f(self) -> T: ...\ndef f(): return T.f.__annotations__['return']"
    assert answer(worker, (("1", "from __future__ import annotations"), ("2", later))) == "T"
    assert answer(worker, (("1", "_ = 3"), ("2", "4 + 4"), ("3", "x = _ + Out[2]\ndef f(): return x"))) == 16
    assert failure(worker, (("1", later),)).kind == "NameError"


def test_lines_are_counted_as_the_student_sees_them(worker):
    for before in ("\n\n%%time\n", "%precision \\\n  4\n\n", "!ls \\\n -l\nx = !ls\n"):
        message = str(failure(worker, (("4", before + "def f(): 1 / 0"),)))
        assert message == "your code raised ZeroDivisionError (cell 4, line 4)"


def test_a_raise_that_stands_by_itself_ends_its_cell(worker):
    cells = (("1", "def f(): return 1\nraise SystemExit\ndef f(): return 2"), ("2", "def g(): return 3"))
    assert answer(worker, cells) == 1
    message = str(failure(worker, (("1", "raise ValueError('old')\ndef f(): return 2"),)))
    assert message == "`f` is not defined; cell 1 stopped with ValueError on line 1"


RECKLESS = {
    "loops for ever": "while True: pass",
    "sleeps": "import time\ntime.sleep(100)",
    "works for long": "n = 0\nfor i in range(10**10): n += i",
    "does not hear": "while True:\n    try:\n        while True: pass\n    except BaseException: pass",
    "cannot hear": "import re\nre.match('(a+)+b', 'a' * 60)",
    "crashes": "import ctypes\nctypes.string_at(0)",
    "ends the process": "import os\nos._exit(0)",
    "leaves": "import sys\nsys.exit(3)",
    "starts threads": "import threading, time\n"
    "for _ in range(200): threading.Thread(target=time.sleep, args=(100,), daemon=True).start()",
    "takes memory": "x = bytearray(1 << 40)",
    "recurs": "def again(): return again()\nagain()",
    "asks": "name = input('who? ')",
}


@pytest.fixture(scope="module")
def hasty():
    """A worker that waits for cells no longer than they need; a budget is processor time, whatever the machine does."""
    with Worker(budget=Budget(load_seconds=1, submission_seconds=20, memory_bytes=1 << 28, idle_seconds=1)) as worker:
        yield worker


@pytest.mark.parametrize("demo", RECKLESS.values(), ids=RECKLESS)
@pytest.mark.parametrize("where", ["before", "between", "after", "in the cell"])
def test_a_cell_that_goes_wrong_takes_nothing_with_it(hasty, demo, where):
    cells = [("1", "def g(x): return x + 1"), ("2", "def f(x): return g(x)")]
    if where == "in the cell":
        cells[1] = ("2", f"def f(x): return g(x)\n{demo}\ndef g(x): return x + 1")
    else:
        cells.insert(("before", "between", "after").index(where), ("3", demo))
    with hasty.student(tuple(cells)) as student:
        for number in range(2):
            student.begin(1)
            assert student.run(call, number) == number + 1
            student.stop()  # as when a check has lost it
        assert student.spent < 4 and student.losses < 3


def test_what_goes_wrong_again_and_again_has_an_end(worker):
    cells = (*tuple((str(n), "import os\nos._exit(0)") for n in range(40)), ("f", "def f(): return 1"))
    with worker.student(cells) as student:
        for _ in range(3):
            student.begin(1)
            with pytest.raises(StudentError, match="while its cells were run"):
                student.run(call)
        assert student.losses == student.LOSSES + 1
    slow = tuple((str(n), "import re\nre.match('(a+)+b', 'a' * 60)") for n in range(40))
    with worker.student(slow) as student:
        student.begin(1)
        with pytest.raises(StudentError, match="time limit"):
            student.run(call)
        assert student.spent < 4


def test_a_cell_that_says_it_is_elsewhere_gains_nothing(worker):
    forge = (
        "import gc, mmap, os, struct\n"
        "for fd in range(3, 64):\n"
        "    try: os.ftruncate(fd, 0)\n"
        "    except OSError: pass\n"
        "import sys\nframe = sys._getframe()\n"
        "while frame and 'self' not in frame.f_locals: frame = frame.f_back\n"
        "place = frame.f_locals['self'].place\n"
    )
    for lie in ((0, 0, 1), (-5, 7, 1), (1, -3, 1), (2**30, 2**30, 2**30), (0, 0, 2**30)):
        end = f"(struct.pack_into('=3i', place, 0, *{lie}), os._exit(0))"
        cells = (("1", "def f(): return 1"), ("2", f"{forge}{end}"))
        with worker.student(cells) as student:
            student.begin(1)
            with pytest.raises(StudentError) as caught:
                student.run(call)
            assert caught.value.kind in ("Missing", "Died") and str(2**30) not in str(caught.value)
    assert answer(worker, "def f(): return 'next'") == "next"


def test_an_exception_of_torch_is_no_unsolved_exercise(worker):
    said = {
        "raise NotImplementedError": "Unsolved",
        "raise NotImplementedError('this exercise is not solved yet')": "Unsolved",
        "raise NotImplementedError('\"bitwise_and_cpu\" not implemented for \\'Float\\'')": "NotImplementedError",
    }
    for line, kind in said.items():
        found = failure(worker, f"def f():\n    {line}", seconds=10)
        assert found.kind == kind and "(cell 1, line 2)" in str(found)


SCRIPT = """\
import os

from .helpers import nothing
corpus = open("data/corpus.txt").read()

if __name__ == "__main__":
    n = 1


def f(x):
    return g(x) / n if "n" in globals() else g(x)


os._exit(3)


def g(x):
    return 2 * x
"""


def script(source, name="submission"):
    return (("", source),)


def test_a_plain_file_runs_statement_by_statement(worker):
    with worker.student(script(SCRIPT), "submission") as student:
        student.begin(1)
        assert student.run(call, 3) == 6
    for marker in ("# %%", "#%%", "# In[7]:", "# %% [markdown]"):
        with worker.student(
            script(f"n = 1\n{marker}\n%precision 4\nx = !ls\n{marker}\n{SCRIPT}"), "__main__"
        ) as student:
            student.begin(1)
            assert student.run(call, 3) == 6.0


@pytest.mark.parametrize(
    "broken", ["def h(:\n    pass\n", "x = \u201ca\u201d\n", "<<<<<<< HEAD\n", "class A:\ndef z(): 1\n"]
)
def test_what_is_no_python_in_a_plain_file_costs_no_more_than_itself(worker, broken):
    source = f'def f():\n    return g()\n\n\n{broken}\n\nTEXT = """\nfor g\n"""\n\n\ndef g():\n    return 1 / 0\n'
    line = source[: source.index("1 / 0")].count("\n") + 1
    with worker.student(script(source), "submission") as student:
        student.begin(1)
        with pytest.raises(StudentError) as caught:
            student.run(call)
        assert str(caught.value) == f"your code raised ZeroDivisionError (line {line})"


def test_a_plain_file_tells_its_own_lines(worker):
    source = "x = 1\n# %%\ny = 2\n# %%\nfrom tiktoken import f\n"
    with worker.student(script(source), "__main__") as student:
        student.begin(1)
        with pytest.raises(
            StudentError, match="`f` is not defined; line 5 stopped with ModuleNotFoundError: `tiktoken`"
        ):
            student.run(call)


def test_a_file_of_very_many_statements_has_an_end(worker):
    with worker.student(script("a\n" * 500_000 + "def f(): return 1\n"), "submission") as student:
        student.begin(1)
        with pytest.raises(StudentError):
            student.run(call)
        assert student.spent < 4


def test_only_what_should_have_defined_a_name_is_blamed(worker):
    cells = (("demo", "train(1)"), ("`train`", "def train(:\n    pass"), ("other", "1 / 0\nx = train"))
    with worker.student(cells) as student:
        student.begin(1)
        with pytest.raises(StudentError) as caught:
            student.run(ask_for_train)
    assert str(caught.value) == "`train` is not defined; cell `train` stopped with SyntaxError on line 1"


def ask_for_train(student):
    return student.train()


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
        ("while True: pass", "Missing"),
        ("def f(): return bytearray(1 << 30)", "MemoryLimit"),
        ("import os\ndef f(): os._exit(0)", "Died"),
        ("import ctypes\ndef f(): ctypes.string_at(0)", "Died"),
        ("import os\nos._exit(0)", "Missing"),
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


def use(student, *args):
    a, b = student.f(*args)
    return a + b


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("def f(x): x", "`f` returned None: is a `return` missing?"),
        ("def f(x): return 5", "`f` returned an integer, and that cannot be used here"),
        ("def f(x): return 1, 2, 3", "`f` returned a tuple, and that cannot be used here"),
        ("def f(): return 1, 2", "`f` does not take the arguments that the interface names"),
        ("def f(x): return 1, 'a'", "what your code gave could not be used (TypeError)"),
        ("def secret(x): pass\nf = secret", "a function of yours returned None: is a `return` missing?"),
        ("class secret:\n  pass\ndef f(x): return secret()", "what your code gave could not be used (TypeError)"),
    ],
)
def test_what_a_check_could_not_use_is_told_in_known_words(worker, source, said):
    with worker.student((("1", source),)) as student, pytest.raises(StudentError) as caught:
        student.begin(5)
        student.run(use, 1)
    assert str(caught.value) == said
    assert caught.value.is_a("TypeError", "ValueError")


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


def test_cells_that_never_end_are_told_and_not_run_again(worker):
    with worker.student((("1", "f = sum(0 for _ in iter(int, 1))"),)) as student:
        for _ in range(3):
            student.begin(1)
            with pytest.raises(StudentError, match="`f` is not defined; cell 1 took too long on line 1"):
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
        for _ in range(4):
            student.begin(30)
            with pytest.raises(StudentError) as caught:
                student.run(call)
            messages.append(str(caught.value))
        once, again, *later = messages
        assert once == "time limit: your code slept or waited for 1 s: for something that never comes?"
        assert again == "time limit: your code slept or waited for 2 s in all"
        assert later == ["time limit: the submission slept or waited for its 2 s in earlier checks"] * 2
        assert 2 < student.idle < 4 and student.spent < 1


def test_waiting_in_vain_once_costs_one_check(worker):
    source = "import time\ndef f(forever=False):\n    time.sleep(1000 if forever else 0)\n    return 5"
    with worker.student((("1", source),)) as student:
        student.begin(30)
        with pytest.raises(StudentError, match="slept or waited for 1 s: for something"):
            student.run(call, True)
        student.begin(30)
        assert student.run(call) == 5


def test_a_large_answer_comes_in_few_parts_and_one_that_drips_is_none(worker):
    drip = """
import sys, time, wire
def f():
    child = sys._getframe(2).f_locals["self"]
    child.channel.sendall(wire.PREFIX.pack(wire.MAGIC, 10, 10_000_000))
    for _ in range(100_000):
        child.channel.sendall(b" ")
        time.sleep(0.0003)
"""
    with worker.student((("1", drip), ("2", "def large(): return bytes(30_000_000)"))) as student:
        student.begin(10)
        with pytest.raises(StudentError, match="no value that can be judged"):
            student.run(call)
        student.begin(10)
        assert len(student.run(call_large)) == 30_000_000


def test_a_process_that_closes_its_channel_and_lives_on_sleeps(worker):
    source = """
import sys, time
def f():
    sys._getframe(2).f_locals["self"].channel.close()
    time.sleep(1000)
"""
    with worker.student((("1", source),)) as student:
        for message in ("ended its own process", "slept or waited"):
            student.begin(10)
            with pytest.raises(StudentError, match=message):
                student.run(call)
        assert student.idle >= 2


def test_a_package_that_solves_the_exercise_is_named(worker):
    message = str(failure(worker, (("2", "from tiktoken import f"),)))
    because = "`tiktoken` is not there when work is graded; write what you need of it"
    assert message == f"`f` is not defined; cell 2 stopped with ModuleNotFoundError on line 1: {because}"
    message = str(failure(worker, (("2", "import tiktoken"), ("3", "f = tiktoken.f"))))
    assert message.startswith("`f` is not defined; cell 3 stopped with NameError on line 1; cell 2 stopped with Module")
    assert message.endswith(because)
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


def test_what_a_child_tells_of_its_cells_is_bounded():
    told = [{"cell": 0, "statement": n, "first": 1, "last": 10**9, "line": 1, "kind": "E"} for n in range(10_000)]
    cells = (("1", "x = 1\n" * 200_000),)
    troubles = read_troubles(told, cells, lambda kind, detail: "")
    assert len(troubles) == 100
    assert len(because({"x"}, [*troubles.values()], cells)) == 1
    assert because({"y"}, [*troubles.values()], cells) == []
