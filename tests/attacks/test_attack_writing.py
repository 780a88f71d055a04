"""Attacks that write: the gradebook, other submissions, the worker's own library, what a later submission reads."""

from arena import Case, family, innocent, probe, right, wrong

PLACES = {
    "gradebook": "COURSE + '/gradebook.db'",
    "seed": "COURSE + '/.secret/seed'",
    "hidden": "COURSE + '/hidden/arena.py'",
    "another": "COURSE + '/submitted/aa-right/arena/arena.ipynb'",
    "precious": "HOME + '/precious.txt'",
}


def deface(name, how, twin=None):
    """An attack on every place; it worked when the attempt on one of them raised nothing."""
    body = f"done = 0\nfor path in ({', '.join(PLACES.values())}):\n    try:\n        {how}\n        done += 1\n    except OSError:\n        pass\nreturn done"
    return Case(name, probe(body), innocent(twin) if twin else None)


def leaving(name, body, twin=None):
    return Case(name, probe(body), innocent(twin) if twin else None)


LIBRARY = "[d for d in sys.path if os.path.isdir(d)]"
CASES = [
    deface("append", "open(path, 'ab').write(b'x')", "import io; return io.BytesIO().write(b'x')"),
    deface("open-for-writing", "os.close(os.open(path, os.O_WRONLY))"),
    deface("open-for-both", "open(path, 'r+b')"),
    deface("create-over", "open(path, 'wb').close()"),
    deface("truncate", "os.truncate(path, 0)"),
    deface("unlink", "os.unlink(path)"),
    deface("rename", "os.rename(path, path + '.gone')"),
    deface("replace", "os.replace(path, HOME + '/elsewhere')"),
    deface("link", "os.link(path, path + '.link')"),
    deface("symlink", "os.symlink(path, path + '.link')"),
    deface("mode", "os.chmod(path, 0o600)"),
    deface("mode-by-directory", "os.chmod(os.path.basename(path), 0o640, dir_fd=os.open(os.path.dirname(path), os.O_PATH))"),
    deface("owner", "os.chown(path, os.getuid(), os.getgid())"),
    deface("times", "os.utime(path, (1, 1))"),
    deface("attributes", "os.setxattr(path, 'user.note', b'x')"),
    deface("map-shared", "mmap.mmap(os.open(path, os.O_RDWR), 0)[:1] = b'x'"),
    deface("folder-beside", "os.mkdir(path + '.d')"),
    deface("pipe-beside", "os.mkfifo(path + '.p')"),
    deface("device-beside", "os.mknod(path + '.n', 0o020666, os.makedev(1, 3))"),
    deface("unlinked-file", "os.open(os.path.dirname(path), os.O_TMPFILE | os.O_RDWR)"),
    leaving("gradebook-trigger",
        "import sqlite3; c = sqlite3.connect(COURSE + '/gradebook.db')\n"
        "c.execute('create trigger t after update on grade begin update grade set auto_score = 4; end'); c.commit(); return True"),
    leaving("another-student", "os.makedirs(COURSE + '/submitted/me-too/arena'); return True"),
    leaving("verdict-ahead", "open(COURSE + '/verdicts/arena/' + 32 * '0' + '.json', 'w'); return True"),
    leaving("library-of-the-worker", f"for d in {LIBRARY}:\n    try: open(d + '/planted.py', 'w'); return d\n    except OSError: pass",
            "return sys.path"),
    leaving("course-of-the-worker",
        "import cs336lite; path = cs336lite.__path__[0]\nopen(path + '/course/__init__.py', 'a').write('x'); return True"),
    leaving("input-file", "for p in glob.glob(HOME + '/tmp/*/*'):\n    try: open(p + '/input-1', 'a'); return p\n    except OSError: pass"),
    leaving("bytecode", "import json; os.makedirs(os.path.dirname(json.__file__) + '/__pycache__', exist_ok=True)\n"
            "open(os.path.dirname(json.__file__) + '/__pycache__/planted.pyc', 'wb'); return True"),
    leaving("temporary", "for d in ('/tmp', '/var/tmp', HOME + '/tmp'):\n    try: open(d + '/left-by-the-arena', 'w'); return d\n    except OSError: pass",
            "try: tempfile.TemporaryFile().close()\nexcept OSError: pass\nreturn True"),
    leaving("shared-memory", "open('/dev/shm/left-by-the-arena', 'w'); return True"),
    leaving("shared-memory-object", "from multiprocessing import shared_memory as m; return m.SharedMemory('left', True, 64)"),
    leaving("semaphore", "libc.sem_open.restype = ctypes.c_void_p; return libc.sem_open(b'/left', os.O_CREAT, 0o666, 1)"),
    leaving("system-v", "return libc.shmget(77, 4096, 0o1666) >= 0 or libc.semget(77, 1, 0o1666) >= 0 or libc.msgget(77, 0o1666) >= 0"),
    leaving("message-queue", "return libc.syscall(240, b'left', os.O_CREAT | os.O_RDWR, 0o666, 0) >= 0"),
    leaving("memory-file", "fd = os.memfd_create('x'); return os.write(fd, b'x' * 100)"),
    leaving("home", "open(os.path.expanduser('~/.bashrc'), 'a'); return True"),
    leaving("plot-settings", "open(os.environ['MPLCONFIGDIR'] + '/matplotlibrc', 'w').write('x'); return True",
            "import matplotlib; return matplotlib.get_configdir()"),
    leaving("plot-folder", "os.mkdir(os.environ['MPLCONFIGDIR'] + '/left'); return True"),
    leaving("plot-link", "os.symlink('/dev/null', os.environ['MPLCONFIGDIR'] + '/matplotlibrc'); return True"),
    # what Python's `open` writes there is kept in memory, so the kernel is asked
    leaving("working-folder", "return libc.open(b'left-by-the-arena', os.O_CREAT | os.O_RDWR, 0o600) >= 0",
            "open('left-by-the-arena', 'w').write('x'); return open('left-by-the-arena').read() == 'x'"),
    leaving("temporary-of-tempfile",
            "path = os.path.join(tempfile.gettempdir(), 'left').encode(); return libc.open(path, os.O_CREAT | os.O_RDWR, 0o600) >= 0",
            "fd, path = tempfile.mkstemp(); os.write(fd, b'x'); os.close(fd); return open(path).read() == 'x'"),
    leaving("out-of-the-folder", "for p in ('../left', 'temporary/../../left', os.getcwd() + '/../left', '//left', 'library/left', '.left'):\n"
            "    try: open(p, 'w'); return True\n    except OSError: pass"),
    leaving("linked-into-the-folder", "os.symlink(COURSE, 'course'); open('course/gradebook.db', 'w'); return True"),
    leaving("link-of-a-written-file", "open('a', 'w').close(); os.rename('a', COURSE + '/submitted/a'); return True"),
    leaving("input-by-both", "for p in glob.glob(HOME + '/tmp/*/*'):\n    try: open(p + '/input-1', 'r+b'); return p\n    except OSError: pass"),
    leaving("null-device", "os.chmod('/dev/null', os.stat('/dev/null').st_mode & 0o777); return True"),
    leaving("mount", "return libc.mount(b'/tmp', b'/proc', None, 4096, None) == 0"),
    leaving("host-name", "socket.sethostname(socket.gethostname()); return True", "return socket.gethostname()"),
    leaving("clock", "time.clock_settime(time.CLOCK_REALTIME, time.time()); return True", "return time.time()"),
    leaving("keyring", "return libc.syscall(248, b'user', b'left', b'x', 1, -3) > 0"),
    # what one submission plants, the next must not find: both hold the same trap
    Case(
        "planted-module",
        wrong(
            before=(
                "import sys, torch\ntry:\n    import planted\n    FOUND = True\nexcept ImportError:\n    FOUND = hasattr(torch, 'planted')\n"
                "torch.planted = sys.modules['planted'] = sys\nfor d in sys.path:\n    try:\n        open(d + '/planted.py', 'w').close()\n    except OSError:\n        pass",
            ),
            double="def double(x):\n    assert FOUND\n    return x + x",
        ),
        right(before=("import torch\nassert not hasattr(torch, 'planted')\ntorch.set_default_dtype(torch.float64)",),
              double="def double(x):\n    assert not hasattr(torch, 'planted')\n    return x + x"),
    ),
    Case(
        "planted-file",
        wrong(
            before=("import os, tempfile\nFOUND = os.path.exists('planted.txt') or os.listdir(tempfile.gettempdir())\n"
                    "for path in ('planted.txt', tempfile.gettempdir() + '/planted.txt'):\n    open(path, 'w').close()",),
            double="def double(x):\n    assert FOUND\n    return x + x",
        ),
        right(before=("import os, tempfile\nassert not os.path.exists('planted.txt') and not os.listdir(tempfile.gettempdir())\n"
                      "open('planted.txt', 'w').close()\nassert os.path.exists('planted.txt')",)),
    ),
    Case("filled-folder", wrong(before=("with open('big', 'wb') as file:\n    while True:\n        file.write(bytes(1 << 26))",)),
         right(before=("with open('small', 'wb') as file:\n    file.write(bytes(1 << 20))",))),
    Case("default-dtype", wrong(before=("import torch\ntorch.set_default_dtype(torch.float16)\ntorch.manual_seed(0)",)),
         right(before=("import torch\nassert torch.get_default_dtype() == torch.float32",))),
    Case(
        "input-changed",
        wrong(count="import os\ndef count(path, word):\n    try:\n        os.unlink(path)\n    except OSError:\n        pass\n    else:\n"
                    "        return 1\n    try:\n        open(path, 'w').write('red ' * 7)\n    except OSError:\n        raise\n    return 7"),
        right(count="def count(path, word):\n    try:\n        open(path, 'a')\n    except OSError:\n        pass\n    return open(path).read().split().count(word)"),
    ),
]  # fmt: skip

outcome, test_attack, test_twin, test_class = family("writing", CASES, machine=True)
