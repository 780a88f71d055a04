"""What a submission may not do to the machine, tried from inside, and what honest code still may."""

import os
import subprocess
import sys
import tempfile
import textwrap
import threading
import time
from pathlib import Path

import pytest
from helpers import ROOT

from cs336lite.course.paths import GRADED_MODULES, hidden_checks
from cs336lite.course.spec import StudentError, load_spec
from cs336lite.grading import protection
from cs336lite.grading.bench import Bench
from cs336lite.grading.budget import Budget, Needs
from cs336lite.grading.client import Worker
from cs336lite.grading.doctor import layers
from cs336lite.grading.judge import needs_of
from cs336lite.grading.meter import Meter
from cs336lite.grading.submission import Submission

HOLDS = {layer.name for layer in layers() if layer.holds} if sys.platform == "linux" else set()
seccomp = pytest.mark.skipif("seccomp" not in HOLDS, reason="seccomp does not hold on this machine")
pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="grading runs on Linux")

# each of the two layers that guard files, alone and together
JAILS = (("Landlock", "seccomp"), ("bubblewrap", "seccomp"), ("bubblewrap", "Landlock", "seccomp"))
REFUSALS = ("PermissionError", "FileNotFoundError", "NotADirectoryError", "OSError")  # OSError: read-only


@pytest.fixture(scope="module", params=JAILS, ids="+".join)
def worker(request):
    if missing := set(request.param) - HOLDS:
        pytest.skip(f"on this machine {' and '.join(sorted(missing))} does not hold")
    budget = Budget(load_seconds=20, memory_bytes=1 << 30)
    with Worker(Needs(warm=("regex", "torch")), budget, layers=request.param) as worker:
        yield worker


def call(student, *args):
    return student.f(*args)


def attempt(worker, body, *args):
    """What a function with this body returns in the jail, or the name of what it raised."""
    source = "import os, socket, subprocess, sys, threading\ndef f(*args):\n" + "\n".join(
        f"    {line}" for line in body.splitlines()
    )
    with worker.student((("1", source),)) as student:
        student.begin(20)
        try:
            return student.run(call, *args)
        except StudentError as error:
            return error.kind


@seccomp
@pytest.mark.parametrize(
    "body",
    [
        "os.fork()",
        "subprocess.run(['true'])",
        "os.execv('/bin/true', ['true'])",
        "os.posix_spawn('/bin/true', ['true'], {})",
        "os.kill(os.getppid(), 0)",
        "os.killpg(os.getpgid(os.getppid()), 0)",
        "socket.socket(socket.AF_INET)",
        "socket.socket(socket.AF_UNIX)",
        "socket.socketpair()",
        "os.setsid()",
        "os.pidfd_open(os.getppid())",
        "import ctypes; libc = ctypes.CDLL(None, use_errno=True)\n"
        "if libc.ptrace(16, os.getppid(), 0, 0) < 0: raise PermissionError",
        "import ctypes; libc = ctypes.CDLL(None, use_errno=True)\nif libc.unshare(0x10000000) < 0: raise PermissionError",
        "import resource\nresource.prlimit(os.getppid(), resource.RLIMIT_CPU)",
    ],
)
def test_no_process_program_socket_or_signal(worker, body):
    assert attempt(worker, body) == "PermissionError"


@pytest.mark.parametrize(
    "body",
    [
        "open(args[0] + '/assignments/hidden/a1_bpe/train.py').read()",
        "open(args[0] + '/cs336lite/bpe.py').read()",
        "open('/etc/passwd').read()",
        "os.listdir(args[0] + '/tests')",
        "os.listdir('/home') + os.listdir('/var')",
        "open('/proc/' + str(os.getppid()) + '/environ').read()",
        "open('/proc/self/mem', 'r+b')",
        "open(args[0] + '/.git/HEAD').read()",
        "open(os.path.expanduser('~root') + '/.bashrc').read()",
        "open(args[1] + '/left-behind', 'w')",
        "os.mkdir(args[1] + '/folder')",
        "os.unlink(args[2])",
        "os.rename(args[2], args[2] + '-moved')",
        "os.symlink('/etc/passwd', args[1] + '/link')",
        "os.chmod(args[2], 0o777)",
        "os.chown(args[2], 0, 0)",
        "os.utime(args[2])",
        "os.setxattr(args[2], 'user.x', b'y')",
        "os.truncate(args[2], 0)",
    ],
)
def test_no_file_of_anybodys(worker, body, tmp_path):
    mine = tmp_path / "mine"
    mine.write_text("precious")
    mode = mine.stat().st_mode & 0o777
    assert attempt(worker, body, str(ROOT), tempfile.gettempdir(), str(mine)) in REFUSALS
    assert mine.read_text() == "precious" and mine.stat().st_mode & 0o777 == mode


def test_one_submission_cannot_read_the_inputs_of_another(worker):
    source = "def f(path): return open(path).read()"
    with worker.student((("1", source),)) as first, worker.student((("1", source),)) as second:
        first.begin(5), second.begin(5)
        path = first.file(b"for the first alone")
        assert first.run(call, path) == "for the first alone"
        if "Landlock" in worker.layers():  # else its folder has a name that cannot be guessed or listed
            with pytest.raises(StudentError, match="PermissionError"):
                second.run(call, path)


@pytest.mark.parametrize(
    "body, answer",
    [
        ("import regex, json, heapq, collections, dataclasses, unicodedata\nreturn 1", 1),
        ("t = threading.Thread(target=args.__len__); t.start(); t.join(); return 2", 2),
        (
            "from concurrent.futures import ThreadPoolExecutor as P\nwith P(4) as p: return sum(p.map(abs, range(-4, 0)))",
            10,
        ),
        ("import numpy as np\nreturn int(np.ones((50, 50)).dot(np.ones(50)).sum())", 2500),
        ("import torch\nreturn (torch.ones(64, 64) @ torch.ones(64, 64)).sum().item()", 64.0**3),
        ("import matplotlib.pyplot as plt\nplt.plot([1, 2]); plt.show(); return 3", 3),
        ("from tqdm.auto import tqdm\nreturn sum(tqdm(range(5)))", 10),
        (
            "import warnings, logging\nwarnings.warn('old'); logging.warning('x'); print('y', file=sys.stderr); return 4",
            4,
        ),
        ("import random, secrets, time, datetime\nsecrets.token_hex(); datetime.datetime.now(); return 5", 5),
        ("import tempfile\nwith tempfile.TemporaryFile() as f:\n    f.write(b'6'); f.seek(0); return f.read()", b"6"),
    ],
)
def test_honest_code_runs(worker, body, answer):
    assert attempt(worker, body) == answer


def test_the_verdict_can_say_which_layers_held(worker):
    with worker.student((("1", "def f(): return 1"),)) as student:
        student.begin(5)
        student.run(call)
        assert student.layers == worker.layers() and student.layers[-1] == "seccomp"


@seccomp
def test_a_thread_cannot_do_what_its_process_may_not(worker):
    body = (
        "found = []\n"
        "def attack():\n"
        "    try: os.fork()\n"
        "    except PermissionError: found.append('refused')\n"
        "t = threading.Thread(target=attack); t.start(); t.join(); return found"
    )
    assert attempt(worker, body) == ["refused"]


def test_a_submission_does_not_outlive_a_grader_that_is_killed():
    script = (
        "import sys; from cs336lite.grading.client import Needs, Worker\n"
        "def call(student): return student.f()\n"
        "with Worker() as worker, worker.student((('1', 'def f():\\n  while True: pass'),)) as student:\n"
        "    student.begin(60); student.ensure_loaded(); print(worker.process.pid, student.child.pid, worker.folder, flush=True)\n"
        "    student.run(call)\n"
    )
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "grader.py")
        path.write_text(script)
        grader = subprocess.Popen([sys.executable, str(path)], stdout=subprocess.PIPE, text=True)
        *numbers, left = grader.stdout.readline().split()
        pids = [int(number) for number in numbers]
        assert len(pids) == 2 and all(alive(pid) for pid in pids) and os.path.isdir(left)
        grader.kill()
        grader.wait()
    deadline = time.monotonic() + 20
    while any(alive(pid) for pid in pids) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not any(alive(pid) for pid in pids)
    with Worker(layers=()):  # the next grader clears what an older one left
        assert not os.path.exists(left)


def alive(pid):
    """Whether a process runs; one that has ended and waits to be reaped does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_nothing_is_left_behind(worker):
    before = {p.name for p in Path(tempfile.gettempdir()).iterdir()}
    threads = threading.active_count()
    for _ in range(5):
        attempt(worker, "return 1")
    deadline = time.monotonic() + 5
    while threading.active_count() > threads and time.monotonic() < deadline:
        time.sleep(0.01)
    assert threading.active_count() == threads
    assert not any((worker.folder / "inputs").iterdir())
    assert not {p.name for p in Path(tempfile.gettempdir()).iterdir() if p.name.startswith("input")} - before
    assert os.path.isdir(worker.folder)


def test_a_strict_umask_does_not_shut_the_worker_out():
    before = os.umask(0o077)
    try:
        with Worker() as worker:
            assert (
                attempt(worker, "from cs336lite.course import check\nreturn open(args[0]).read()", __file__) in REFUSALS
            )
            with worker.student((("1", "def f(path): return open(path).read()"),)) as student:
                student.begin(5)
                assert student.run(call, student.file(b"input")) == "input"
    finally:
        os.umask(before)


def test_torch_knows_the_processor_in_the_jail(worker):
    """It looks once, at its first use, and falls back to slow kernels, or to none for float16, when it cannot."""
    import torch

    body = "import torch\nhalf = torch.ones(4).half() * torch.ones(4)\n"
    body += "return [torch.backends.cpu.get_cpu_capability(), half.sum().item()]"
    assert attempt(worker, body) == [torch.backends.cpu.get_cpu_capability(), 4.0]


OF_ANOTHER_PROCESS = [  # each takes the number of a process, and would work on one of the same user
    "os.setpriority(os.PRIO_PROCESS, os.getppid(), 19)",
    "os.sched_setaffinity(os.getppid(), {0})",
    "os.sched_setscheduler(os.getppid(), os.SCHED_IDLE, os.sched_param(0))",
    "import fcntl\nr, w = os.pipe()\nfcntl.fcntl(r, fcntl.F_SETOWN, os.getppid())",
    "import fcntl\nr, w = os.pipe()\nfcntl.fcntl(r, 10, 9)",
    "import fcntl, struct\nr, w = os.pipe()\nfcntl.ioctl(r, 0x8901, struct.pack('i', os.getppid()))",
]


@seccomp
@pytest.mark.parametrize("body", OF_ANOTHER_PROCESS)
def test_another_process_cannot_be_slowed_or_signalled(worker, body):
    assert attempt(worker, body) == "PermissionError"
    assert worker.process.poll() is None


@seccomp
def test_it_cannot_outlive_the_worker_or_become_readable(worker):
    body = "import ctypes\nlibc = ctypes.CDLL(None)\nreturn [libc.prctl(1, 0, 0, 0, 0), libc.prctl(4, 1, 0, 0, 0), libc.prctl(3, 0, 0, 0, 0)]"
    assert attempt(worker, body) == [-1, -1, 0]


def test_it_is_never_root_and_holds_no_capability(worker):
    body = "import ctypes, struct\nheader, data = struct.pack('Ii', 0x20080522, 0), ctypes.create_string_buffer(24)\n"
    body += "ctypes.CDLL(None).capget(header, data)\nreturn [os.getuid(), os.geteuid(), os.getgid(), *struct.unpack('6I', data.raw)]"
    user, effective, group, *capabilities = attempt(worker, body)
    assert user == effective != 0 and (group != 0 or os.getegid() != 0)
    assert set(capabilities) == {0}


def test_packages_of_the_course_are_there_and_others_are_not(worker):
    body = """
        found = []
        for name in ('numpy', 'einops', 'matplotlib', 'pytest', 'tiktoken', 'tokenizers', 'scipy', 'nothing'):
            try: __import__(name); found.append(name)
            except ModuleNotFoundError as error: assert error.name == name
        return found"""
    assert attempt(worker, textwrap.dedent(body).strip()) == ["numpy", "einops", "matplotlib"]
    import tiktoken

    body = "import importlib.util as u\nspec = u.spec_from_file_location('tiktoken', args[0])\nm = u.module_from_spec(spec); spec.loader.exec_module(m)"
    assert attempt(worker, body, tiktoken.__file__) in REFUSALS


def test_more_threads_than_allowed_end_the_submission_and_not_the_next(worker):
    body = (
        "threading.stack_size(65536)\nwhile True: threading.Thread(target=threading.Event().wait, daemon=True).start()"
    )
    assert attempt(worker, body) in ("ThreadLimit", "RuntimeError", "Died")
    assert attempt(worker, "t = threading.Thread(target=len, args=('',)); t.start(); t.join(); return 'next'") == "next"


UNTIL_REFUSED = (
    "threading.stack_size(65536)\nevent = threading.Event()\nn = 0\n"
    "try:\n    while n < 3000: threading.Thread(target=event.wait, daemon=True).start(); n += 1\nexcept RuntimeError: pass\nreturn n"
)


def test_the_kernel_limits_threads_before_anybody_looks(worker, monkeypatch):
    monkeypatch.setattr(Meter, "look", lambda self: None)
    started = attempt(worker, UNTIL_REFUSED)
    assert 16 < started <= worker.budget.threads * (1.1 if worker.counted_alone else 4)


def test_threads_of_one_submission_leave_enough_to_its_neighbours(worker):
    source = "import threading\nfrom concurrent.futures import ThreadPoolExecutor\nevent = threading.Event()\nthreading.stack_size(1 << 18)\n"
    source += "def hold(): [threading.Thread(target=event.wait, daemon=True).start() for _ in range(120)]\n"
    source += "def work():\n    with ThreadPoolExecutor(16) as pool: return sum(pool.map(abs, range(100)))\n"
    with Worker(layers=worker.layers()) as other, worker.student((("1", source),)) as first:
        with other.student((("1", source),)) as second:
            first.begin(5), second.begin(5)
            second.ensure_loaded()
            first.run(call_hold)
            assert second.run(call_work) == 4950


def call_hold(student):
    return student.hold()


def call_work(student):
    return student.work()


def test_the_kernel_ends_submissions_first_when_memory_runs_out(worker):
    def score(pid):
        return int(Path(f"/proc/{pid}/oom_score_adj").read_text())

    with worker.student((("1", "def f(): return 1"),)) as student:
        student.begin(5)
        student.run(call)
        assert score(student.child.pid) >= score(worker.pid) >= 500 > score(os.getpid())
        if os.geteuid() == 0:
            assert score(student.child.pid) == 1000


def test_plots_are_drawn_with_text_and_nothing_is_printed(worker):
    """matplotlib asks for a folder that can be written; there is none, and it must not mind."""
    body = (
        "import io, logging, warnings\nprinted = sys.stdout = sys.stderr = io.StringIO()\nwarnings.simplefilter('error')\n"
        "import matplotlib.pyplot as plt\nfig, ax = plt.subplots()\nax.plot([1, 2]); ax.set_title('title'); ax.text(0, 1, '$x^2$')\n"
        "page = io.BytesIO(); fig.savefig(page); plt.show()\n"
        "return [len(page.getvalue()) > 1000, 'Traceback' in printed.getvalue(), os.listdir(os.environ['MPLCONFIGDIR'])]"
    )
    if "Landlock" in worker.layers():
        body = body.replace("os.listdir(os.environ['MPLCONFIGDIR'])", "[]")
    assert attempt(worker, body) == [True, False, []]


def test_the_first_process_of_the_jail_is_the_worker_and_there_is_no_other(worker):
    if not worker.wrapped:
        pytest.skip("without bubblewrap a submission shares the numbers of processes with the machine")
    body = "return [os.getppid(), os.path.exists('/proc/1'), os.path.exists('/proc/self')]"
    assert attempt(worker, body) == [1, False, False]


@pytest.mark.skipif("Landlock" not in HOLDS, reason="Landlock does not hold on this machine")
@pytest.mark.parametrize("version", [0, 1, 2])
def test_an_older_kernel_is_known_and_is_not_enough(version):
    with Worker(layers=(f"Landlock {version}", "seccomp")) as worker:
        held = worker.layers()
        assert held == (("Landlock (before ABI 3)", "seccomp") if version else ("seccomp",))
        assert protection.missing(held) and not protection.missing([*held, "bubblewrap"])
        for flags in ("os.O_TRUNC", "os.O_TRUNC | 3", "os.O_TRUNC | os.O_WRONLY" if version else "3"):
            body = f"os.open(sys.path[0] + '/cs336lite/course/__init__.py', {flags})"
            assert attempt(worker, body) == "PermissionError", flags
        assert attempt(worker, "os.truncate(sys.path[0] + '/cs336lite/course/__init__.py', 0)") == "PermissionError"
        assert (worker.folder / "library" / "cs336lite" / "course" / "__init__.py").stat().st_size > 0
        assert attempt(worker, "print('x', file=open(os.devnull, 'w')); return 1") == 1


ASKS = """
from cs336lite.course.spec import check, expect

def drive(student):
    return student.f()

@check("f", points=1, title="is there")
def there(student, rng):
    expect(student.run(drive), "it is not")
"""


@pytest.mark.parametrize("name", GRADED_MODULES)
def test_every_assignment_has_torch_before_the_jail_closes(name):
    """Inside, its CUDA build needs more address space than a submission has, and a temporary file."""
    needs = needs_of(load_spec(hidden_checks(ROOT / "assignments", name)))
    assert "torch" in needs.of([("1", "import numpy\n"), ("2", "from torch import nn\n")]).warm


def test_a_worker_has_what_a_submission_names_and_keeps_it(tmp_path):
    (tmp_path / "named.py").write_text(f"WARM = ()\nWHERE_NAMED = ('colorsys',)\n{ASKS}")
    heard = []
    with Bench(load_spec(tmp_path / "named.py"), "seed", trust=True) as bench:
        for source in ("", "import colorsys", ""):
            cells = (("1", f"import sys\n{source}\ndef f(): return 'color' + 'sys' in sys.modules"),)
            *_, last = bench.hear(Submission(cells, "submission"))
            heard.append(last["result"]["passed"])
    assert heard == [False, True, True]


def test_a_spec_has_torch_unless_it_says_otherwise(tmp_path):
    (tmp_path / "silent.py").write_text("")
    (tmp_path / "without.py").write_text("WARM = ()")
    assert needs_of(load_spec(tmp_path / "silent.py")).warm == ("torch",)
    assert needs_of(load_spec(tmp_path / "without.py")).warm == ()
