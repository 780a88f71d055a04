"""Attacks that read: hidden checks, the seed, verdicts, other submissions, the reference, the grader's memory."""

from pathlib import Path

import pytest
from arena import RIGHT, Case, family, innocent, jailed, probe, right, wrong

REFERENCE = Path(__file__).resolve().parents[2] / "cs336lite" / "bpe.py"


def read(path):
    return f"return open({path}).read()"


CASES = [
    Case(
        "hidden-checks",
        probe(read("COURSE + '/hidden/arena.py'")),
        innocent("import json; return open(json.__file__).read()"),
    ),
    Case("seed", probe(read("COURSE + '/.secret/seed'"))),
    Case("verdicts", probe("return os.listdir(COURSE + '/verdicts/arena')")),
    Case("gradebook", probe("return open(COURSE + '/gradebook.db', 'rb').read(1)")),
    Case(
        "gradebook-sqlite",
        probe(
            "import sqlite3; return sqlite3.connect(COURSE + '/gradebook.db').execute('select * from student').fetchall()"
        ),
        innocent("import sqlite3; return sqlite3.connect(':memory:').execute('select 1').fetchone()"),
    ),
    Case("submission-of-another", probe(read("COURSE + '/submitted/aa-right/arena/arena.ipynb'"))),
    Case("own-submission", probe("return glob.glob(COURSE + '/submitted/*')")),
    Case("solutions", probe(read("COURSE + '/source/arena/arena.ipynb'"))),
    Case("precious", probe(read("HOME + '/precious.txt'"))),
    Case(
        "listing",
        probe("return [n for n in os.listdir(COURSE) if n == 'hidden']"),
        innocent("return os.path.join('a', 'b')"),
    ),
    Case("scandir", probe("return list(os.scandir(HOME))")),
    Case("dir-handle", probe("return os.open(COURSE, os.O_RDONLY | os.O_DIRECTORY)")),
    Case(
        "path-handle",
        probe(
            "fd = os.open(COURSE + '/.secret', os.O_PATH | os.O_DIRECTORY)\n"
            "return os.read(os.open('seed', os.O_RDONLY, dir_fd=fd), 5)"
        ),
    ),
    Case(
        "walk-up",
        probe("os.chdir(COURSE + '/hidden'); return open('../hidden/arena.py').read()"),
        innocent("return os.getcwd()"),
    ),
    Case("through-proc-root", probe("return open('/proc/self/root' + COURSE + '/hidden/arena.py').read()")),
    Case("through-proc-cwd", probe("return open(f'/proc/{os.getppid()}/cwd/..' + COURSE + '/.secret/seed').read()")),
    Case(
        "map-a-file", probe("fd = os.open(COURSE + '/.secret/seed', os.O_RDONLY); return mmap.mmap(fd, 0, prot=1)[:]")
    ),
    Case(
        "read-by-libc",
        probe("libc.fopen.restype = ctypes.c_void_p; return libc.fopen((COURSE + '/.secret/seed').encode(), b'r')"),
    ),
    Case("read-by-syscall", probe("return libc.syscall(257, -100, (COURSE + '/.secret/seed').encode(), 0) >= 0")),
    Case(
        "read-by-openat2",
        probe(
            "how = (ctypes.c_uint64 * 3)(0, 0, 0)\n"
            "return libc.syscall(437, -100, (COURSE + '/.secret/seed').encode(), ctypes.byref(how), 24) >= 0"
        ),
    ),
    Case(
        "read-by-torch",
        probe("import torch; return torch.from_file(COURSE + '/.secret/seed', size=8, dtype=torch.uint8).tolist()"),
        innocent("import torch; return torch.ones(2).sum().item() == 2"),
    ),
    Case("read-by-numpy", probe("import numpy; return numpy.fromfile(COURSE + '/.secret/seed', dtype='u1').tolist()")),
    Case(
        "import-hidden",
        probe(
            "sys.path.insert(0, COURSE + '/hidden'); import arena; return arena.SPEC if hasattr(arena, 'SPEC') else arena.softmax"
        ),
    ),
    Case("import-reference", probe("import cs336lite.bpe; return True"), innocent("import cs336lite; return True")),
    Case("read-reference", probe(read(repr(str(REFERENCE))))),
    Case("import-grader", probe("from cs336lite.grading import verdicts; return True")),
    Case(
        "import-checks",
        probe("from cs336lite.course.spec import load_spec; return load_spec(COURSE + '/hidden/arena.py')"),
    ),
    Case(
        "environment",
        probe("return 'environment-secret' in str(os.environ)"),
        innocent("return os.environ.get('PATH')"),
    ),
    Case(
        "environment-in-memory",
        probe(
            "environ = ctypes.POINTER(ctypes.c_char_p).in_dll(libc, 'environ')\n"
            "return any(b'secret' in environ[i] for i in range(200) if environ[i] or exit())"
        ),
    ),
    Case(
        "proc-environ",
        probe(
            "return [p for p in ('self', str(os.getppid()), '1', '2') if b'secret' in open(f'/proc/{p}/environ', 'rb').read()]"
        ),
    ),
    Case("proc-maps", probe("return open(f'/proc/{os.getppid()}/maps').read()")),
    Case("proc-mem", probe("return os.open(f'/proc/{os.getppid()}/mem', os.O_RDONLY)")),
    Case("proc-self-mem", probe("return os.open('/proc/self/mem', os.O_RDWR)")),
    Case("proc-fd", probe("return [p for p in os.listdir('/proc') if p.isdigit() and os.listdir(f'/proc/{p}/fd')]")),
    Case(
        "proc-of-others",
        probe(
            "found = []\n"
            "for pid in range(1, 70000):\n"
            "    try: found.append(open(f'/proc/{pid}/cmdline').read())\n"
            "    except OSError: pass\n"
            "return found"
        ),
    ),
    Case(
        "process-vm-readv",
        probe(
            "data = ctypes.create_string_buffer(8); here = (ctypes.c_size_t * 2)(ctypes.addressof(data), 8)\n"
            "there = (ctypes.c_size_t * 2)(id(os), 8)\n"
            "return libc.syscall(310, os.getppid(), ctypes.byref(here), 1, ctypes.byref(there), 1, 0) > 0"
        ),
    ),
    Case(
        "open-handles",
        probe(
            "for fd in range(3, 64):\n"
            "    try:\n"
            "        if os.path.isfile(f'/dev/fd/{fd}') or os.read(fd, 0) == b'' and os.fstat(fd).st_size: return True\n"
            "    except OSError: pass"
        ),
    ),
    Case("handle-of-the-worker", probe("return libc.syscall(438, libc.syscall(434, os.getppid(), 0), 3, 0) >= 0")),
    Case(
        "handles-on-the-channel",
        probe(
            "for fd in range(3, 64):\n"
            "    try: channel = socket.socket(fileno=fd)\n"
            "    except OSError: continue\n"
            "    channel.setblocking(False)\n"
            "    try: return socket.recv_fds(channel, 10, 4)[1]\n"
            "    except OSError: pass\n"
            "    finally: channel.detach()"
        ),
    ),
    Case(
        "by-handle",
        probe(
            "buffer = ctypes.create_string_buffer(136); struct.pack_into('I', buffer, 0, 128); mount = ctypes.c_int()\n"
            "return libc.syscall(303, -100, (COURSE + '/.secret/seed').encode(), buffer, ctypes.byref(mount), 0) == 0"
        ),
    ),
    Case(
        "homes", probe("return os.listdir('/home') + os.listdir('/root')"), innocent("return os.path.expanduser('~')")
    ),
    Case("passwords", probe("return open('/etc/passwd').read() + open('/etc/shadow').read()")),
    Case(
        "temporary-folders",
        probe("return os.listdir(HOME + '/tmp') or os.listdir('/tmp')"),
        innocent("return tempfile.gettempprefix()"),
    ),
    Case(
        "inputs-of-others",
        probe("return [p for p in glob.glob(HOME + '/tmp/*/*') + glob.glob(HOME + '/tmp/*/inputs/*')]"),
    ),
    Case(
        "repository-on-the-path",
        probe(
            "return [p for p in sys.path if os.path.exists(p + '/assignments') or glob.glob(p + '/cs336lite/bpe.py')]"
        ),
        innocent("return sys.path"),
    ),
    Case(
        "watching",
        probe("return libc.inotify_add_watch(libc.inotify_init(), (COURSE + '/submitted').encode(), 0xfff) >= 0"),
    ),
    Case(
        "kernel-log",
        probe("return libc.klogctl(10, 0, 0) >= 0 and libc.klogctl(3, ctypes.create_string_buffer(99), 99) >= 0"),
    ),
    Case(
        "module-source",
        wrong(
            before=("import inspect, sys",),
            count="def count(path, word):\n    source = str([inspect.getsource(m) for m in list(sys.modules.values()) if hasattr(m, 'call_count')])\n"
            "    assert 'expect(' in source\n    return open(path).read().split().count(word)",
        ),
        right(before=("import inspect, textwrap\nprint(inspect.getsource(textwrap.dedent))",)),
    ),
    Case(
        "input-file",
        None,
        right(count=RIGHT["count"].replace("open(path)", "open(path, encoding='utf-8', newline='')")),
    ),
    Case(
        "input-file-by-map",
        None,
        right(
            count="import mmap\ndef count(path, word):\n    with open(path, 'rb') as f, mmap.mmap(f.fileno(), 0, access=mmap.ACCESS_READ) as m:\n"
            "        return m[:].split().count(word.encode())"
        ),
    ),
    Case(
        "input-file-by-pathlib",
        None,
        right(
            count="from pathlib import Path\ndef count(path, word):\n    assert Path(path).exists() and Path(path).stat().st_size\n"
            "    return Path(path).read_text().split().count(word)"
        ),
    ),
]

outcome, test_attack, test_twin, test_class = family("secrets", CASES, machine=True)


@pytest.mark.skipif(bool(jailed()), reason=jailed() or "-")
def test_a_probe_that_works_is_seen():
    """The judge of this file: an attempt that succeeds must earn points, or no test here could fail."""
    from arena import grade

    scores = grade([Case("worked", probe("return True")), Case("failed", probe("raise OSError"))])["scores"]
    assert (scores["worked-attack"], scores["failed-attack"]) == (4.0, 0.0)
