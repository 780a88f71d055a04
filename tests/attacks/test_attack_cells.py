"""Attacks on how cells are run: processes that die again and again, words about where one is, magics, very many statements."""

from arena import Case, code, family, innocent, probe, right, wrong

DIE = "import os\nos._exit(0)"
SLEEP = "import time\ntime.sleep(10**6)"
DEAF = "import re\nre.match('(a+)+b', 'a' * 60)"
RUNNER = """
import os, sys
frame = sys._getframe()
while frame and "skip" not in frame.f_locals:
    frame = frame.f_back
here = frame.f_locals
runner = here["self"]
"""
ANYTHING = "LIE = True\ndef double(x):\n    return LIE\nsoftmax = count = lambda *a: LIE"

CASES = [
    Case("dies-again", wrong(before=(DIE,) * 30), right(before=(DIE,), after=(DIE,))),
    Case("dies-at-random", wrong(before=("import os\nif os.urandom(1)[0] < 128: os._exit(0)",) * 30)),
    Case("sleeps-again", wrong(before=(SLEEP,) * 30), right(before=(SLEEP,), after=(SLEEP,))),
    Case("deaf-again", wrong(before=(DEAF,) * 30), right(after=(DEAF,))),
    Case("elsewhere", wrong(before=(f"{RUNNER}runner.at(10**9, 10**9, 10**9)", DIE, f"{RUNNER}runner.at(-9, 5, 5)", DIE))),
    Case("elsewhere-for-ever", wrong(before=(f"{RUNNER}n = 0\nwhile True:\n    n += 1\n    runner.at(n % 7, n, n)",))),
    Case("no-memory-of-the-place", wrong(before=("import os\nfor h in range(3, 64):\n    try: os.ftruncate(h, 0)\n    except OSError: pass", DIE))),
    Case("cells-of-others", wrong(before=(f"{RUNNER}here['cells'][:] = [['x', {ANYTHING!r}]]\nhere['skip'].clear()",)),
         right(before=(RUNNER.replace("while frame and", "while frame.f_back and"),))),
    Case("errors-told", wrong(before=(f"{RUNNER}runner.errors[:] = [dict(cell=0, statement=n, first=-n, last=2**62, line=n, kind='OWNED', detail=[]) for n in range(10**5)]",))),
    Case("errors-of-no-form", wrong(before=(f"{RUNNER}runner.errors.extend([1, None, {{'cell': 'x'}}, {{'cell': 10**9, 'line': None}}])",))),
    Case("statements", wrong(before=("a\n" * 300_000,)), right(before=("a = 1\n" * 3_000,))),
    Case("statements-that-fail", wrong(before=("1 / 0\n" * 100_000,)), right(before=("1 / 0\n" * 500,))),
    Case("nested", wrong(before=("(" * 100_000, "-" * 200_000 + "1", "x = " + "[" * 5_000))),
    Case("magics", wrong(before=("%time x = 1\n" * 600 + "?", "%%capture " + "a" * 10**5, "%%time\n" * 2_000, "f" + "?" * 10**5, "!" * 10**5))),
    Case("handlers", wrong(before=("import signal\nsignal.signal(signal.SIGINT, lambda *a: None)\nwhile True: pass",)),
         right(before=("import signal\nsignal.signal(signal.SIGINT, signal.SIG_IGN)",))),
    Case("transformer", wrong(before=("import sys\nfor m in list(sys.modules.values()):\n    if hasattr(m, 'Reader'): m.Reader.pieces = lambda *a: 1 / 0", ANYTHING))),
    Case("shell-line-reads", probe("return bool(get_ipython().getoutput('cat @HOME@/precious.txt'))"),
         innocent("get_ipython().system('cat @HOME@/precious.txt'); return get_ipython().getoutput('ls') == []")),
    Case("shell-line-writes", probe("get_ipython().system('echo > @HOME@/precious.txt'); return open('@HOME@/precious.txt').read() == ''")),
    Case("magic-runs-elsewhere", wrong(before=("%%writefile @HOME@/precious.txt\nOWNED", "%%bash\necho OWNED > @HOME@/precious.txt", "%run @HOME@/x.py", "!rm -rf @COURSE@")),
         right(before=("%%writefile notes.txt\nhello", "%matplotlib inline", "x = !ls"))),
    Case("loop", wrong(before=("import asyncio\nasyncio.new_event_loop = lambda: 1 / 0\nawait asyncio.sleep(0)", "await asyncio.sleep(10**6)")),
         right(before=("import asyncio\nawait asyncio.sleep(0)",))),
    Case("raw", wrong(after=({**code(ANYTHING, grade=False, solution=True, locked=False, grade_id="grade_double"), "cell_type": "raw"},))),
]  # fmt: skip

outcome, test_attack, test_twin, test_class = family("cells", CASES)
