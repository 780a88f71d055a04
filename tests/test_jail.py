"""What a submission may not do to the machine, tried from inside, and what honest code still may."""

import os
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import pytest
from conftest import ROOT

from cs336lite.course.spec import StudentError
from cs336lite.grading.client import Budget, Worker
from cs336lite.grading.doctor import layers

HOLDS = {layer.name for layer in layers() if layer.holds} if sys.platform == "linux" else set()
seccomp = pytest.mark.skipif("seccomp" not in HOLDS, reason="seccomp does not hold on this machine")
landlock = pytest.mark.skipif("Landlock" not in HOLDS, reason="Landlock does not hold on this machine")
pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="grading runs on Linux")


@pytest.fixture(scope="module")
def worker():
    with Worker(warm=("regex",), budget=Budget(load_seconds=20, memory_bytes=1 << 30)) as worker:
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


@landlock
@pytest.mark.parametrize(
    "body",
    [
        "open(args[0] + '/assignments/hidden/a1_bpe.py').read()",
        "open(args[0] + '/cs336lite/bpe.py').read()",
        "open('/etc/passwd').read()",
        "os.listdir('/')",
        "os.listdir(args[0])",
        "open('/proc/self/environ').read()",
        "open('/proc/' + str(os.getppid()) + '/environ').read()",
        "open('/proc/self/mem', 'r+b')",
        "open(args[1] + '/left-behind', 'w')",
        "os.mkdir(args[1] + '/folder')",
        "os.unlink(args[2])",
        "os.rename(args[2], args[2] + '-moved')",
        "os.symlink('/etc/passwd', args[1] + '/link')",
    ],
)
def test_no_file_of_anybodys(worker, body, tmp_path):
    mine = tmp_path / "mine"
    mine.write_text("precious")
    assert attempt(worker, body, str(ROOT), tempfile.gettempdir(), str(mine)) == "PermissionError"
    assert mine.read_text() == "precious"


@landlock
def test_one_submission_cannot_read_the_inputs_of_another(worker):
    source = "def f(path): return open(path).read()"
    with worker.student((("1", source),)) as first, worker.student((("1", source),)) as second:
        first.begin(5), second.begin(5)
        path = first.file(b"for the first alone")
        assert first.run(call, path) == "for the first alone"
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
        ("import tempfile\ntry: tempfile.TemporaryFile()\nexcept OSError: return 6", 6),
    ],
)
def test_honest_code_runs(worker, body, answer):
    assert attempt(worker, body) == answer


def test_the_verdict_can_say_which_layers_held(worker):
    with worker.student((("1", "def f(): return 1"),)) as student:
        student.begin(5)
        student.run(call)
        assert set(student.layers) == HOLDS & {"Landlock", "seccomp"}


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
        "import sys; from cs336lite.grading.client import Worker\n"
        "def call(student): return student.f()\n"
        "with Worker() as worker, worker.student((('1', 'def f():\\n  while True: pass'),)) as student:\n"
        "    student.begin(60); student.ensure_loaded(); print(worker.process.pid, student.pid, worker.folder, flush=True)\n"
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
    assert not any(alive(pid) for pid in pids) and not os.path.exists(left)


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
    assert {p.name for p in worker.folder.iterdir()} == {"library", "matplotlib"}
    assert not {p.name for p in Path(tempfile.gettempdir()).iterdir() if p.name.startswith("input")} - before
    assert os.path.isdir(worker.folder)
