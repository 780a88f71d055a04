"""The jail of a submission: seccomp and Landlock, set by the child itself before it runs any student code.

Both need no package and no privilege: seccomp takes a filter program of the kernel's, Landlock a set of folders that
may be read. What is set here can never be undone by the process, and holds for its threads.

    seccomp     no new programs or processes, no sockets, no signals to others, no tracing, no kernel doors
    Landlock    reads below the given folders alone, writes nowhere, no TCP

The module imports only the standard library, because the worker loads it by itself, outside the package.
"""

from __future__ import annotations

import ctypes
import errno
import os
import platform
import struct
import sys

PR_SET_NO_NEW_PRIVS, PR_SET_DUMPABLE, PR_SET_SECCOMP = 38, 4, 22
SECCOMP_MODE_FILTER = 2

# numbers of system calls: (x86-64, 64-bit Arm); None where the machine has no such call
FORBIDDEN = {
    "execve": (59, 221), "execveat": (322, 281), "fork": (57, None), "vfork": (58, None),
    "kill": (62, 129), "tkill": (200, 130), "tgkill": (234, 131), "rt_sigqueueinfo": (129, 138),
    "rt_tgsigqueueinfo": (297, 240), "pidfd_open": (434, 434), "pidfd_send_signal": (424, 424), "pidfd_getfd": (438, 438),
    "ptrace": (101, 117), "process_vm_readv": (310, 270), "process_vm_writev": (311, 271), "kcmp": (312, 272),
    "socket": (41, 198), "socketpair": (53, 199), "bind": (49, 200), "connect": (42, 203), "listen": (50, 201),
    "accept": (43, 202), "accept4": (288, 242), "setsid": (112, 157), "setpgid": (109, 154),
    "unshare": (272, 97), "setns": (308, 268), "mount": (165, 40), "umount2": (166, 39), "pivot_root": (155, 41),
    "chroot": (161, 51), "open_tree": (428, 428), "move_mount": (429, 429), "fsopen": (430, 430),
    "bpf": (321, 280), "perf_event_open": (298, 241), "userfaultfd": (323, 282), "keyctl": (250, 219),
    "add_key": (248, 217), "request_key": (249, 218), "io_uring_setup": (425, 425), "io_uring_enter": (426, 426),
    "io_uring_register": (427, 427), "open_by_handle_at": (304, 265), "name_to_handle_at": (303, 264),
    "init_module": (175, 105), "finit_module": (313, 273), "kexec_load": (246, 104), "reboot": (169, 142),
    "shmget": (29, 194), "msgget": (68, 186), "semget": (64, 190), "mq_open": (240, 180), "fanotify_init": (300, 262),
    "personality": (135, 92), "quotactl": (179, 60), "acct": (163, 89), "settimeofday": (164, 170),
    "clock_settime": (227, 112), "syslog": (103, 116), "setrlimit": (160, 164),
}  # fmt: skip
CLONE, CLONE3, PRLIMIT = (56, 220), (435, 435), (302, 261)
CLONE_THREAD = 0x00010000
ARCH = {"x86_64": (0, 0xC000003E), "aarch64": (1, 0xC00000B7)}

LD, JEQ, JGE, JSET, RET = 0x20, 0x15, 0x35, 0x45, 0x06  # BPF operations on 32-bit words
ALLOW, KILL = 0x7FFF0000, 0x80000000
NUMBER, ARCHITECTURE, ARGUMENT_0 = 0, 4, 16  # offsets in the kernel's struct seccomp_data


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
        (JEQ, 0, 1, CLONE3[column]),  # its flags cannot be looked at; without it the C library uses clone
        (RET, 0, 0, fail(errno.ENOSYS)),
        (JEQ, 0, 4, CLONE[column]),
        (LD, 0, 0, ARGUMENT_0),
        (JSET, 1, 0, CLONE_THREAD),
        (RET, 0, 0, fail(errno.EPERM)),
        (RET, 0, 0, ALLOW),
        (JEQ, 0, 4, PRLIMIT[column]),
        (LD, 0, 0, ARGUMENT_0),
        (JEQ, 1, 0, 0),  # its own limits may be read, and hard ones never raised
        (RET, 0, 0, fail(errno.EPERM)),
        (RET, 0, 0, ALLOW),
    ]
    for numbers in FORBIDDEN.values():
        if numbers[column] is not None:
            program += [(JEQ, 0, 1, numbers[column]), (RET, 0, 0, fail(errno.EPERM))]
    program.append((RET, 0, 0, ALLOW))
    return b"".join(struct.pack("HBBI", *line) for line in program)


def set_seccomp() -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    program = filter_program()
    buffer = ctypes.create_string_buffer(program, len(program))
    header = struct.pack("HxxxxxxP", len(program) // 8, ctypes.addressof(buffer))
    if libc.prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, ctypes.c_char_p(header), 0, 0) != 0:
        raise JailError(f"seccomp: {os.strerror(ctypes.get_errno())}")


LANDLOCK_CREATE, LANDLOCK_ADD, LANDLOCK_RESTRICT = 444, 445, 446
READ_FILE, READ_DIR, EXECUTE = 1 << 2, 1 << 3, 1 << 0


def landlock_version() -> int:
    """Landlock's ABI version, 0 when the kernel has none."""
    if sys.platform != "linux" or platform.machine() not in ARCH:
        return 0
    return max(0, ctypes.CDLL(None, use_errno=True).syscall(LANDLOCK_CREATE, None, 0, 1))


def set_landlock(readable: list[str]) -> None:
    """Allow reading below these folders, and no other access to files; no TCP where the kernel can forbid it."""
    libc = ctypes.CDLL(None, use_errno=True)
    version = landlock_version()
    if version < 1:
        raise JailError("Landlock: this kernel has none")
    rights = (1 << {1: 13, 2: 14}.get(version, 15 if version < 5 else 16)) - 1
    network = 3 if version >= 4 else 0
    attributes = struct.pack("QQ", rights, network) if version >= 4 else struct.pack("Q", rights)
    ruleset = libc.syscall(LANDLOCK_CREATE, ctypes.c_char_p(attributes), len(attributes), 0)
    if ruleset < 0:
        raise JailError(f"Landlock: {os.strerror(ctypes.get_errno())}")
    for path in readable:
        try:
            handle = os.open(path, os.O_PATH | os.O_CLOEXEC)
        except FileNotFoundError:
            continue
        allowed = READ_FILE | READ_DIR if os.path.isdir(path) else READ_FILE
        if path == os.devnull:
            allowed |= 1 << 1
        rule = struct.pack("=Qi", allowed, handle)
        if libc.syscall(LANDLOCK_ADD, ruleset, 1, ctypes.c_char_p(rule), 0) != 0:
            raise JailError(f"Landlock, {path}: {os.strerror(ctypes.get_errno())}")
        os.close(handle)
    if libc.syscall(LANDLOCK_RESTRICT, ruleset, 0) != 0:
        raise JailError(f"Landlock: {os.strerror(ctypes.get_errno())}")
    os.close(ruleset)


def confine(readable: list[str]) -> list[str]:
    """Set every layer that holds here; the names of those that were set. Raises nothing for one that is missing."""
    libc = ctypes.CDLL(None, use_errno=True)
    libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    libc.prctl(PR_SET_DUMPABLE, 0, 0, 0, 0)
    done = []
    for name, layer in (("Landlock", lambda: set_landlock(readable)), ("seccomp", set_seccomp)):
        try:
            layer()
            done.append(name)
        except (JailError, KeyError, OSError):
            continue
    return done
