"""The jail of a submission: its limits, its user, Landlock and seccomp, set before it runs any student code.

None needs a package or a privilege: Landlock takes a set of folders that may be read, seccomp a filter program of the
kernel's. What is set here can never be undone by the process, and holds for its threads.

    rlimits     address space, processor time, threads, open files; file size 0, no core dump
    user        never root: nobody, when the grader is root
    Landlock    reads below the given folders alone, writes nowhere, no TCP
    seccomp     no new programs or processes, no sockets, no signals to others, no tracing, no kernel doors

The module imports only the standard library, because the worker loads it by itself, outside the package.
"""

from __future__ import annotations

import ctypes
import errno
import os
import platform
import resource
import stat
import struct
import sys

LAYERS = ("Landlock", "seccomp")  # in the order in which they are set
WEAK_LANDLOCK = "Landlock (before ABI 3)"  # Linux before 6.2: what may not be written may yet be emptied
PR_SET_NO_NEW_PRIVS, PR_SET_DUMPABLE, PR_SET_SECCOMP = 38, 4, 22
SECCOMP_MODE_FILTER = 2

# The system calls that computing needs, as numbers (x86-64, 64-bit Arm); None where a machine has no such call.
# Everything else fails: what a later kernel adds is closed from the first day.
ALLOWED = {
    # files that are open, or that Landlock lets be opened (for "open" and "openat" see FLAGS)
    "read": (0, 63), "write": (1, 64), "close": (3, 57), "stat": (4, None), "fstat": (5, 80),
    "lstat": (6, None), "lseek": (8, 62), "pread64": (17, 67), "pwrite64": (18, 68), "readv": (19, 65), "writev": (20, 66),
    "preadv": (295, 69), "preadv2": (327, 286), "access": (21, None), "dup": (32, 23), "dup2": (33, None), "dup3": (292, 24),
    "pipe": (22, None), "pipe2": (293, 59), "sendfile": (40, 71), "fsync": (74, 82), "fdatasync": (75, 83),
    "ftruncate": (77, 46), "flock": (73, 32), "getdents": (78, None), "getdents64": (217, 61), "getcwd": (79, 17),
    "chdir": (80, 49), "readlink": (89, None), "readlinkat": (267, 78), "umask": (95, 166), "statfs": (137, 43),
    "fstatfs": (138, 44), "fadvise64": (221, 223), "readahead": (187, 213),
    "newfstatat": (262, 79), "faccessat": (269, 48), "faccessat2": (439, 439), "statx": (332, 291), "memfd_create": (319, 279),
    "copy_file_range": (326, 285), "close_range": (436, 436),
    # making and changing names, which Landlock refuses with the error that programs expect; not "truncate", of which it
    # knows from Linux 6.2 on
    "mkdir": (83, None), "mkdirat": (258, 34), "rmdir": (84, None), "unlink": (87, None), "unlinkat": (263, 35),
    "rename": (82, None), "renameat": (264, 38), "renameat2": (316, 276), "link": (86, None), "linkat": (265, 37),
    "symlink": (88, None), "symlinkat": (266, 36), "creat": (85, None),
    # memory
    "mmap": (9, 222), "mprotect": (10, 226), "munmap": (11, 215), "brk": (12, 214), "mremap": (25, 216),
    "msync": (26, 227), "mincore": (27, 232), "madvise": (28, 233), "mlock": (149, 228), "munlock": (150, 229),
    "membarrier": (324, 283),
    # threads and signals of its own
    "futex": (202, 98), "futex_waitv": (449, 449), "set_tid_address": (218, 96), "set_robust_list": (273, 99),
    "get_robust_list": (274, 100), "rseq": (334, 293), "exit": (60, 93), "exit_group": (231, 94), "wait4": (61, 260),
    "waitid": (247, 95), "rt_sigaction": (13, 134), "rt_sigprocmask": (14, 135), "rt_sigreturn": (15, 139),
    "rt_sigpending": (127, 136), "rt_sigtimedwait": (128, 137), "rt_sigsuspend": (130, 133), "sigaltstack": (131, 132),
    "signalfd4": (289, 74), "pause": (34, None), "alarm": (37, None), "setitimer": (38, 103), "getitimer": (36, 102),
    "restart_syscall": (219, 128), "sched_yield": (24, 124), "sched_getaffinity": (204, 123), "sched_getparam": (143, 121),
    "sched_getscheduler": (145, 120), "sched_get_priority_max": (146, 125), "sched_get_priority_min": (147, 126),
    "getpriority": (140, 141), "arch_prctl": (158, None),
    # waiting
    "poll": (7, None), "ppoll": (271, 73), "select": (23, None), "pselect6": (270, 72), "epoll_create": (213, None),
    "epoll_create1": (291, 20), "epoll_ctl": (233, 21), "epoll_wait": (232, None), "epoll_pwait": (281, 22),
    "epoll_pwait2": (441, 441), "eventfd": (284, None), "eventfd2": (290, 19), "timerfd_create": (283, 85),
    "timerfd_settime": (286, 86), "timerfd_gettime": (287, 87), "nanosleep": (35, 101), "clock_nanosleep": (230, 115),
    # its one channel, which is open: no call here makes another
    "sendto": (44, 206), "recvfrom": (45, 207), "sendmsg": (46, 211), "recvmsg": (47, 212), "shutdown": (48, 210),
    "getsockname": (51, 204), "getpeername": (52, 205), "getsockopt": (55, 209),
    # questions about itself and the machine
    "getpid": (39, 172), "getppid": (110, 173), "gettid": (186, 178), "getuid": (102, 174), "geteuid": (107, 175),
    "getgid": (104, 176), "getegid": (108, 177), "getresuid": (118, 148), "getresgid": (120, 150), "getgroups": (115, 158),
    "getpgrp": (111, None), "getpgid": (121, 155), "getsid": (124, 156), "capget": (125, 90), "uname": (63, 160),
    "getrlimit": (97, 163), "getrusage": (98, 165), "sysinfo": (99, 179), "times": (100, 153), "time": (201, None),
    "gettimeofday": (96, 169), "clock_gettime": (228, 113), "clock_getres": (229, 114), "getcpu": (309, 168),
    "getrandom": (318, 278), "get_mempolicy": (239, 236),
}  # fmt: skip
# Calls that are allowed for some arguments: the number of the argument, and the values that its low word may have.
FCNTL, IOCTL, PRCTL = (72, 25), (16, 29), (157, 167)
ALLOWED_ARGUMENTS = (
    (FCNTL, 1, (0, 1, 2, 3, 4, 5, 6, 7, 1030, 1031, 1032, 1033, 1034)),  # never who gets a signal for a descriptor
    (IOCTL, 1, (0x5401, 0x5413, 0x541B, 0x5421, 0x5450, 0x5451)),  # is it a terminal, how wide, how much can be read
    (PRCTL, 0, (3, 15, 16, 23, 39)),  # names of threads, and questions
)
CLONE, CLONE3, PRLIMIT, OPENAT2 = (56, 220), (435, 435), (302, 261), (437, 437)
CLONE_THREAD = 0x00010000
FLAGS = (((2, None), 1), ((257, 56), 2))  # "open" and "openat", and which of their arguments says how
O_ACCMODE, O_NOTHING, O_TRUNC = 3, 3, 0o1000
FIRST_HELD = 200  # the number of the first handle of `hold`: above all that a submission may open
ARCH = {"x86_64": (0, 0xC000003E), "aarch64": (1, 0xC00000B7)}

LD, JEQ, JGE, JSET, AND, RET = 0x20, 0x15, 0x35, 0x45, 0x54, 0x06  # BPF operations on 32-bit words
ALLOW, KILL = 0x7FFF0000, 0x80000000
NUMBER, ARCHITECTURE, ARGUMENTS = 0, 4, 16  # offsets in the kernel's struct seccomp_data


class JailError(RuntimeError):
    """A layer could not be set on this machine."""


def fail(code: int) -> int:
    """The filter's answer that makes a system call fail with an error number."""
    return 0x00050000 | code


def filter_program() -> bytes:
    """The seccomp filter for this machine: a list of (operation, jump if true, jump if false, operand)."""
    column, architecture = ARCH[platform.machine()]
    program = [
        (LD, 0, 0, ARCHITECTURE),
        (JEQ, 1, 0, architecture),
        (RET, 0, 0, KILL),  # another ABI has other numbers
        (LD, 0, 0, NUMBER),
        (JGE, 0, 1, 0x40000000),  # x32's numbers on x86-64
        (RET, 0, 0, fail(errno.ENOSYS)),
        (JEQ, 1, 0, CLONE3[column]),  # its flags cannot be looked at; without it the C library uses clone
        (JEQ, 0, 1, OPENAT2[column]),  # nor can these; programs then use openat
        (RET, 0, 0, fail(errno.ENOSYS)),
        (JEQ, 0, 4, CLONE[column]),
        (LD, 0, 0, ARGUMENTS),
        (JSET, 1, 0, CLONE_THREAD),
        (RET, 0, 0, fail(errno.EPERM)),
        (RET, 0, 0, ALLOW),
        (JEQ, 0, 8, PRLIMIT[column]),  # of its own limits, and only to ask (no new limit is given)
        (LD, 0, 0, ARGUMENTS),
        (JEQ, 0, 5, 0),
        (LD, 0, 0, ARGUMENTS + 16),
        (JEQ, 0, 3, 0),
        (LD, 0, 0, ARGUMENTS + 20),
        (JEQ, 0, 1, 0),
        (RET, 0, 0, ALLOW),
        (RET, 0, 0, fail(errno.EPERM)),
    ]
    for numbers, argument in FLAGS:
        # Before Linux 6.2 Landlock lets a file be emptied that is opened for reading, or for nothing (the value 3, which
        # asks for the right to write all the same). No honest program does either.
        body = [
            (LD, 0, 0, ARGUMENTS + 8 * argument),
            (AND, 0, 0, O_ACCMODE),
            (JEQ, 4, 0, O_NOTHING),
            (JEQ, 0, 2, os.O_RDONLY),
            (LD, 0, 0, ARGUMENTS + 8 * argument),
            (JSET, 1, 0, O_TRUNC),
            (RET, 0, 0, ALLOW),
            (RET, 0, 0, fail(errno.EPERM)),
        ]
        if numbers[column] is not None:
            program += [(JEQ, 0, len(body), numbers[column]), *body]
    for numbers, argument, values in ALLOWED_ARGUMENTS:
        tests = [step for value in values for step in ((JEQ, 0, 1, value), (RET, 0, 0, ALLOW))]
        body = [(LD, 0, 0, ARGUMENTS + 8 * argument), *tests, (RET, 0, 0, fail(errno.EPERM))]
        program += [(JEQ, 0, len(body), numbers[column]), *body]
    for numbers in ALLOWED.values():
        if numbers[column] is not None:
            program += [(JEQ, 0, 1, numbers[column]), (RET, 0, 0, ALLOW)]
    program.append((RET, 0, 0, fail(errno.EPERM)))
    return b"".join(struct.pack("HBBI", *line) for line in program)


def set_seccomp() -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    program = filter_program()
    buffer = ctypes.create_string_buffer(program, len(program))
    header = struct.pack("HxxxxxxP", len(program) // 8, ctypes.addressof(buffer))
    if libc.prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, ctypes.c_char_p(header), 0, 0) != 0:
        raise JailError(f"seccomp: {os.strerror(ctypes.get_errno())}")


LANDLOCK_CREATE, LANDLOCK_ADD, LANDLOCK_RESTRICT = 444, 445, 446
WRITE_FILE, READ_FILE, READ_DIR = 1 << 1, 1 << 2, 1 << 3


def landlock_version() -> int:
    """Landlock's ABI version, 0 when the kernel has none."""
    if sys.platform != "linux" or platform.machine() not in ARCH:
        return 0
    return max(0, ctypes.CDLL(None, use_errno=True).syscall(LANDLOCK_CREATE, None, 0, 1))


def set_landlock(readable: list[str], listable: list[str], version: int) -> None:
    """Allow reading below ``readable`` and listing below ``listable``; no other access to files, and no TCP."""
    libc = ctypes.CDLL(None, use_errno=True)
    if version < 1:
        raise JailError("Landlock: this kernel has none")
    rights = (1 << {1: 13, 2: 14}.get(version, 15 if version < 5 else 16)) - 1
    network = 3 if version >= 4 else 0
    attributes = struct.pack("QQ", rights, network) if version >= 4 else struct.pack("Q", rights)
    ruleset = libc.syscall(LANDLOCK_CREATE, ctypes.c_char_p(attributes), len(attributes), 0)
    if ruleset < 0:
        raise JailError(f"Landlock: {os.strerror(ctypes.get_errno())}")
    for path in [*readable, *listable]:
        try:
            handle = os.open(path, os.O_PATH | os.O_CLOEXEC)
        except FileNotFoundError:
            continue
        allowed = READ_FILE * (path not in listable) | READ_DIR * stat.S_ISDIR(os.fstat(handle).st_mode)
        if path == os.devnull:
            allowed |= WRITE_FILE
        rule = struct.pack("=Qi", allowed, handle)
        if libc.syscall(LANDLOCK_ADD, ruleset, 1, ctypes.c_char_p(rule), 0) != 0:
            raise JailError(f"Landlock, {path}: {os.strerror(ctypes.get_errno())}")
        os.close(handle)
    if libc.syscall(LANDLOCK_RESTRICT, ruleset, 0) != 0:
        raise JailError(f"Landlock: {os.strerror(ctypes.get_errno())}")
    os.close(ruleset)


def become(user: int) -> None:
    """Leave root for another user, for ever, with all of its rights."""
    os.setgroups([])
    os.setresgid(user, user, user)
    os.setresuid(user, user, user)


def hold(folders: list[str]) -> None:
    """Keep handles of files and folders, so that `reach` leads to them when those above them are closed to this user."""
    for number, folder in enumerate(folders, FIRST_HELD):
        handle = os.open(folder, os.O_PATH)
        os.dup2(handle, number)
        os.close(handle)


def reach(path: str, held: list[str]) -> str:
    """A path as a process must name it that holds some folders (see `hold`)."""
    for number, folder in enumerate(held, FIRST_HELD):
        if path == folder or path.startswith(folder + "/"):
            return f"/proc/self/fd/{number}{path[len(folder) :]}"
    return path


def limit(memory: int, seconds: int, threads: int) -> None:
    """Bound what this process may take from here on; ``threads`` counts all of its user's."""
    for kind, most in (
        (resource.RLIMIT_AS, memory),
        (resource.RLIMIT_CPU, seconds),
        (resource.RLIMIT_NPROC, threads),
        (resource.RLIMIT_FSIZE, 0),
        (resource.RLIMIT_NOFILE, 64),
        (resource.RLIMIT_CORE, 0),
    ):
        hard = resource.getrlimit(kind)[1]
        most = most if hard == resource.RLIM_INFINITY else min(most, hard)
        resource.setrlimit(kind, (most, most))


def confine(readable: list[str], listable: list[str] = (), layers: list[str] | tuple[str, ...] = LAYERS) -> list[str]:
    """Set the named layers; the names of those that hold here. Raises nothing for one that is missing.

    "Landlock 2" stands for what a kernel of that ABI version has of Landlock, whatever this one has.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    libc.prctl(PR_SET_DUMPABLE, 0, 0, 0, 0)
    done = []
    for layer in sorted(layers):  # in the order of LAYERS
        name, _, most = layer.partition(" ")
        try:
            if name == "Landlock":
                version = min(landlock_version(), int(most or 99))
                set_landlock(readable, listable, version)
                done.append(name if version >= 3 else WEAK_LANDLOCK)
            elif name == "seccomp":
                set_seccomp()
                done.append(name)
        except (JailError, KeyError, OSError):
            continue
    return done
