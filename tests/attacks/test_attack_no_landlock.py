"""A kernel without Landlock: bubblewrap and seccomp must do, and the first process of the jail must tell and give nothing."""

import modes
import pytest
from arena import Case, How, family, innocent, probe, right, wrong

pytestmark = pytest.mark.skipif(
    not modes.present().bubblewrap, reason="without Landlock and bubblewrap nothing is judged"
)


def act(name, body, twin=None):
    return Case(name, probe(body), innocent(twin) if twin else None)


SETTINGS = "os.environ['MPLCONFIGDIR']"
PLOT = """
import io
import matplotlib.pyplot as plt
fig, ax = plt.subplots()
ax.plot([1, 2, 3], label="loss"); ax.set_title("a title"); ax.legend(); ax.text(0, 1, "text")
page = io.BytesIO()
fig.savefig(page)
assert len(page.getvalue()) > 1000
plt.show()
"""
EVERYWHERE = """
for top in ('/', *sys.path, os.getcwd(), os.path.expanduser('~')):
    for place, folders, files in os.walk(top):
        if place.count('/') > top.count('/') + 1:
            folders.clear()
        try:
            {make}
            return place
        except OSError:
            pass
"""

CASES = [
    # what one leaves in the folder of its settings, the next would find
    Case("plots", None, right(before=(PLOT,))),
    act("settings-unreadable", f"os.close(os.open({SETTINGS} + '/matplotlibrc', os.O_CREAT | os.O_WRONLY, 0)); return True",
        f"return os.listdir({SETTINGS}) == []"),
    act("settings-fifo", f"os.mkfifo({SETTINGS} + '/matplotlibrc'); return True"),
    act("settings-folder", f"os.mkdir({SETTINGS} + '/matplotlibrc'); return True"),
    act("settings-link", f"os.symlink('/nowhere', {SETTINGS} + '/fontlist.json'); return True"),
    act("settings-many", f"for n in range(20_000): os.mkdir({SETTINGS} + '/' + 200 * 'x' + str(n))\nreturn True"),
    act("settings-replaced", f"os.rename({SETTINGS}, {SETTINGS} + '-'); return True"),
    act("settings-mode", f"os.chmod({SETTINGS}, 0); return True"),
    Case("plots-later", None, right(before=(PLOT,))),
    act("folder-anywhere", EVERYWHERE.format(make="if libc.mkdir(os.fsencode(place + '/left'), 0o755) < 0: raise OSError"), "return True"),
    act("file-anywhere", EVERYWHERE.format(make="if libc.creat(os.fsencode(place + '/left'), 0o644) < 0: raise OSError")),
    act("unnamed-file-anywhere", EVERYWHERE.format(make="os.close(os.open(place, os.O_TMPFILE | os.O_RDWR))")),
    act("link-anywhere", EVERYWHERE.format(make="os.symlink('/x', place + '/left')")),
    # the first process has no filter: it must be the worker, which nobody may look into
    Case("first-is-the-worker", None, innocent("return os.getppid() == 1")),
    *(act(f"first-{name}", f"return open('/proc/1/{name}', 'rb').read(64)") for name in ("environ", "cmdline", "status", "maps", "auxv", "stack")),
    act("first-memory", "return open('/proc/1/mem', 'r+b')"),
    act("first-memory-read", "return open('/proc/1/mem', 'rb')"),
    act("first-root", "return os.listdir('/proc/1/root')"),
    act("first-handles", "return os.listdir('/proc/1/fd')"),
    act("parent-memory", "return open(f'/proc/{os.getppid()}/mem', 'r+b')"),
    act("own-memory", "return open('/proc/self/mem', 'r+b')"),
    act("processes", "return [name for name in os.listdir('/proc') if name.isdigit()]"),
    act("processes-by-number", "return [n for n in range(1, 2000) if os.path.exists(f'/proc/{n}')]"),
    act("kernel", "return open('/proc/cmdline').read() or open('/proc/kallsyms').read(64)"),
    act("mounts", "return open('/proc/self/mounts').read() or open('/proc/1/mountinfo').read()"),
    act("kernel-settings", "return os.listdir('/proc/sys')"),
    act("processor", "return open('/proc/cpuinfo', 'r+b')", "return 'processor' in open('/proc/cpuinfo').read()"),
    # how the answer would be got out, or kept
    act("worker-folder", "return open(os.path.dirname(sys.path[0]) + '/worker/worker.py', 'r+b')"),
    act("library", "return open(sys.path[0] + '/cs336lite/course/__init__.py', 'r+b')", "import cs336lite.course; return True"),
    act("lock-kept", "import cs336lite\nfd = os.open(os.path.dirname(sys.path[0]), os.O_RDONLY)\nfcntl.lockf(fd, fcntl.LOCK_EX); return True"),
    Case("torch", wrong(before=("import torch",)), right(before=("import torch\nassert torch.backends.cpu.get_cpu_capability()",))),
]  # fmt: skip

outcome, test_attack, test_twin, test_class = family("no-landlock", CASES, how=How(landlock=0))


def test_it_was_bubblewrap_alone(outcome):
    assert [sorted(layers) for layers in outcome["layers"]] == [["bubblewrap", "rlimits", "seccomp"]]
