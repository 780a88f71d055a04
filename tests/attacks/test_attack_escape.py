"""Attacks that leave the process: programs, processes, signals to others, sockets, doors of the kernel."""

import platform

from arena import Case, family, innocent, probe, right, wrong


def act(name, body, twin=None):
    return Case(name, probe(body), innocent(twin) if twin else None)


def call(name, expression):
    """A system call by its number on x86-64: done when it does not fail."""
    attack = probe(f"return libc.syscall({expression}) >= 0")
    return Case(name, attack if platform.machine() == "x86_64" else wrong())


SIGNAL_BY_PIPE = """
r, w = os.pipe()
fcntl.fcntl(r, 10, {signal})  # F_SETSIG
{own}
fcntl.fcntl(r, fcntl.F_SETFL, fcntl.fcntl(r, fcntl.F_GETFL) | os.O_ASYNC)
os.write(w, b"x")
time.sleep(0.1)
return True
"""

CASES = [
    act("fork", "pid = os.fork()\nif pid == 0: os._exit(0)\nreturn pid",
        "t = threading.Thread(target=print); t.start(); t.join(); return True"),
    act("forks", "for _ in range(3):\n    if os.fork() == 0: os._exit(0)\nreturn True"),
    act("subprocess", "return subprocess.run(['true']).returncode == 0"),
    act("shell", "return os.system('true') == 0", "try: os.system('true')\nexcept OSError: pass\nreturn True"),
    act("popen", "return os.popen('echo x').read()"),
    act("exec", "os.execv('/bin/sh', ['sh', '-c', 'sleep 60'])"),
    act("exec-python", "os.execv(sys.executable, [sys.executable, '-c', 'import time; time.sleep(60)'])"),
    act("spawn", "return os.posix_spawn('/bin/true', ['true'], {})"),
    # what stands in for processes may answer; another process must not
    act("multiprocessing", "import multiprocessing as m; q = m.Queue(); p = m.Process(target=lambda: q.put(libc.getpid())); p.start(); p.join(); return q.get(timeout=9) != libc.getpid()",
        "from multiprocessing.pool import ThreadPool\ntry:\n    with ThreadPool(2) as p: return p.map(abs, [-1]) == [1]\nexcept OSError: return list(map(abs, [-1])) == [1]"),
    act("process-pool", "from concurrent.futures import ProcessPoolExecutor as P\nwith P(1) as p: return p.submit(libc.getpid).result() != libc.getpid()",
        "from concurrent.futures import ProcessPoolExecutor as P\nwith P(4) as p: return list(p.map(abs, [-1])) == [1]"),
    act("real-popen", "from multiprocessing.popen_fork import Popen\nimport multiprocessing as m\nreturn Popen(m.Process(target=print)).pid",
        "from concurrent.futures import ThreadPoolExecutor as P\nwith P(4) as p: return p.submit(abs, -1).result() == 1"),
    act("memory-file-exec", "fd = os.memfd_create('x'); os.write(fd, open('/bin/true', 'rb').read()); os.execve(fd, ['x'], {})"),
    call("execveat", "322, -100, b'/bin/true', 0, 0, 0"),
    call("vfork-number", "58"),
    call("fork-number", "57"),
    call("clone", "56, 17, 0, 0, 0, 0"),
    call("clone-new-user", "56, 0x10000011, 0, 0, 0, 0"),
    act("clone3", "args = (ctypes.c_uint64 * 11)(); args[4] = 17\npid = libc.syscall(435, ctypes.byref(args), 88)\n"
        "if pid == 0: os._exit(0)\nreturn pid > 0"),
    act("x32-fork", "return libc.syscall(0x40000000 + 57) > 0"),
    act("x32-exec", "return libc.syscall(0x40000000 + 520, b'/bin/true', 0, 0) >= 0"),
    act("32-bit-door",
        # int 0x80 with 32-bit numbers: getppid would be 64; the filter must not know it as something else
        "page = mmap.mmap(-1, 4096, prot=7); page.write(bytes.fromhex('b802000000cd80c3'))\n"
        "address = ctypes.addressof(ctypes.c_char.from_buffer(page)); pid = ctypes.CFUNCTYPE(ctypes.c_int)(address)()\n"
        "if pid == 0: os._exit(0)\nreturn pid > 0"),
    act("kill-parent", "os.kill(os.getppid(), signal.SIGKILL); return True", "return os.getppid() >= 0"),
    act("kill-group", "os.killpg(os.getpgid(os.getppid()), 9); return True"),
    act("kill-others", "os.kill(os.getppid(), 0); return True"),
    act("stop-parent", "os.kill(os.getppid(), signal.SIGSTOP); return True"),
    call("tkill", "200, __import__('os').getppid(), 9"),
    call("tgkill", "234, __import__('os').getppid(), __import__('os').getppid(), 9"),
    act("sigqueue", "info = ctypes.create_string_buffer(128); return libc.syscall(129, os.getppid(), 9, info) >= 0"),
    act("pidfd-kill", "fd = os.pidfd_open(os.getppid()); signal.pidfd_send_signal(fd, 9); return True"),
    act("kill-by-pipe-owner", SIGNAL_BY_PIPE.format(signal=9, own="fcntl.fcntl(r, fcntl.F_SETOWN, os.getppid())")),
    act("stop-by-pipe-owner", SIGNAL_BY_PIPE.format(signal=19, own="fcntl.fcntl(r, fcntl.F_SETOWN, os.getppid())")),
    act("kill-by-pipe-owner-ex", SIGNAL_BY_PIPE.format(signal=9, own="fcntl.fcntl(r, 15, struct.pack('ii', 1, os.getppid()))")),
    act("kill-by-pipe-group", SIGNAL_BY_PIPE.format(signal=9, own="fcntl.fcntl(r, fcntl.F_SETOWN, -os.getpgid(os.getppid()))")),
    act("own-by-ioctl",
        "r, w = os.pipe()\nfor fd in range(3, 64):\n    try: fcntl.ioctl(fd, 0x8901, struct.pack('i', os.getppid())); return True\n    except OSError: pass"),
    act("limits-of-parent", "import resource; return resource.prlimit(os.getppid(), resource.RLIMIT_CPU, (1, 1))",
        "import resource; return resource.getrlimit(resource.RLIMIT_CPU)"),
    act("priority-of-parent", "os.setpriority(os.PRIO_PROCESS, os.getppid(), 19); return True", "return os.getpriority(os.PRIO_PROCESS, 0) >= -20"),
    act("affinity-of-parent", "os.sched_setaffinity(os.getppid(), {0}); return True", "return os.sched_getaffinity(0)"),
    act("scheduler-of-parent", "os.sched_setscheduler(os.getppid(), os.SCHED_IDLE, os.sched_param(0)); return True"),
    act("real-time", "os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1)); return True"),
    act("niceness", "return os.nice(-5) < 0"),
    call("io-priority-of-parent", "251, 1, __import__('os').getppid(), 0x6000"),
    call("ptrace-parent", "101, 16, __import__('os').getppid(), 0, 0"),
    call("ptrace-me", "101, 0, 0, 0, 0"),
    call("kcmp", "312, 1, 1, 0, 0, 0"),
    act("core-dump", "import resource; resource.setrlimit(resource.RLIMIT_CORE, (-1, -1)); return True"),
    act("raise-limits", "import resource; resource.setrlimit(resource.RLIMIT_AS, (-1, -1)); return True"),
    act("raise-files", "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, 1 << 20)); return True"),
    act("session", "os.setsid(); return True"),
    act("group", "os.setpgid(0, os.getpgid(os.getppid())); return True"),
    act("become-root", "os.setuid(0); return open('/etc/shadow').read()"),
    call("unshare-user", "272, 0x10000000"),
    call("unshare-net", "272, 0x40000000"),
    act("namespace", "return libc.setns(os.open('/proc/1/ns/mnt', os.O_RDONLY), 0) == 0"),
    act("change-root", "os.chroot('/usr'); return True"),
    call("io-uring", "425, 8, __import__('ctypes').create_string_buffer(120)"),
    call("userfaultfd", "323, 1"),
    call("bpf", "321, 0, 0, 0"),
    call("perf", "298, 0, 0, -1, -1, 0"),
    call("keyctl", "250, 0, -3, 1"),
    act("internet", "return socket.create_connection(('127.0.0.1', 9), 1)", "return socket.AF_INET"),
    act("udp", "s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); return s.sendto(b'x', ('127.0.0.1', 9))"),
    act("download", "import urllib.request; return urllib.request.urlopen('http://127.0.0.1:9', timeout=1)",
        "import urllib.parse; return urllib.parse.quote('a b')"),
    act("names", "return socket.gethostbyname('localhost')"),
    act("listening", "s = socket.socket(); s.bind(('127.0.0.1', 0)); s.listen(); return True"),
    act("netlink", "return socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0)"),
    act("packet", "return socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)"),
    act("kernel-crypto", "return socket.socket(socket.AF_ALG, socket.SOCK_SEQPACKET, 0)"),
    act("unix-socket", "s = socket.socket(socket.AF_UNIX); s.connect('/run/dbus/system_bus_socket'); return True"),
    act("abstract-socket", "s = socket.socket(socket.AF_UNIX); s.bind('\\0arena'); return True"),
    act("socket-pair", "return socket.socketpair()"),
    act("control-socket",
        # the worker obeys `spawn` and `kill` on its control socket: no child may hold that
        "for fd in range(3, 64):\n    try: s = socket.socket(fileno=fd)\n    except OSError: continue\n"
        "    kind = s.type; s.detach()\n    if kind == socket.SOCK_SEQPACKET: return True"),
    act("device-memory", "return os.open('/dev/mem', os.O_RDONLY)"),
    act("terminal", "return os.open('/dev/tty', os.O_RDWR)"),
    act("terminal-input", "return fcntl.ioctl(0, 0x5412, b'x') == 0"),
    act("gpu", "import torch; torch.zeros(1).cuda(); return True", "import torch; return not torch.cuda.is_available()"),
    act("debugger", "libc.prctl(4, 1); return os.open('/proc/self/mem', os.O_RDWR)"),
    act("swap", "return libc.syscall(168, b'/nonexistent') >= 0 or ctypes.get_errno() == errno.ENOENT"),
    # threads that stay: they die with the process, and count for its limits
    Case(
        "threads-that-stay",
        wrong(before=("import threading, time\ndef stay():\n    while True:\n        time.sleep(0.05)\nfor _ in range(8):\n    threading.Thread(target=stay).start()",)),
        right(before=("import threading, time\nthreading.Thread(target=time.sleep, args=(0.1,)).start()",)),
    ),
    Case(
        "thread-forks",
        wrong(
            before=(
                "import os, threading\nDONE = []\ndef attack():\n    try:\n        pid = os.fork()\n        os._exit(0) if pid == 0 else DONE.append(1)\n"
                "    except OSError:\n        pass\nt = threading.Thread(target=attack)\nt.start()\nt.join()",
            ),
            double="def double(x):\n    assert DONE\n    return x + x",
        ),
        right(double="import threading\ndef double(x):\n    out = []\n    ts = [threading.Thread(target=out.append, args=(x,)) for _ in range(2)]\n"
                     "    [t.start() for t in ts]; [t.join() for t in ts]\n    return out[0] + out[1]"),
    ),
    Case("event-loop", None, right(double="import asyncio\ndef double(x):\n    async def f(): return x + x\n    try:\n        return asyncio.run(f())\n    except OSError:\n        return x + x")),
    Case("data-loader", None, right(before=("import torch\nfrom torch.utils.data import DataLoader\nassert len(list(DataLoader(list(range(9)), batch_size=3))) == 3",))),
    Case("torch-threads", None, right(softmax="import torch\ndef softmax(x, dim):\n    torch.set_num_threads(2)\n    a = torch.randn(200, 200)\n    (a @ a).sum()\n    return x.softmax(dim)")),
]  # fmt: skip

outcome, test_attack, test_twin, test_class = family("escape", CASES, machine=True)
