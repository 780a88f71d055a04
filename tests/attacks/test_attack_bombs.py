"""Bombs: memory, time, floods, crashes, and files that are heavy to read. They cost the bomber, and nobody else."""

import json
from pathlib import Path

from arena import RIGHT, Case, as_bytes, code, family, markdown, right, wrong


def bomb(name, source, twin=None, earned=0.0, **answers):
    """``source`` is the body of `double`; ``answers`` may solve other exercises honestly."""
    body = "\n".join("    " + line for line in source.splitlines())
    return Case(name, wrong(double=f"def double(x):\n{body}", **answers), twin, earned)


def raw(text):
    return text if isinstance(text, bytes) else text.encode()


def honest_double(*lines):
    body = "\n".join("    " + line for line in lines)
    return right(double=f"def double(x):\n{body}\n    return x + x")


NEST = 100_000
SOLVED = as_bytes(right(), Path())
CASES = [
    # memory
    bomb("bytes", "return bytearray(1 << 34)", honest_double("b = bytearray(50_000_000)")),
    bomb("list", "a = []\nwhile True: a.append(bytes(1 << 20))"),
    bomb("integer", "return 1 << (1 << 34)", honest_double("n = 1 << 100_000")),
    bomb("tensor", "import torch\nreturn torch.ones(1 << 34)", honest_double("import torch; torch.ones(1000, 1000)")),
    bomb("expanded-tensor", "import torch\nreturn torch.ones(1).expand(1 << 20, 1 << 20)"),
    bomb("mapped", "import mmap\nkeep = [mmap.mmap(-1, 1 << 30) for _ in range(64)]\nreturn len(keep)"),
    bomb("memory-error-caught", "a = []\nwhile True:\n    try: a.append(bytes(1 << 26))\n    except MemoryError: return 1"),
    # time
    bomb("loop", "while True: pass", honest_double("for _ in range(1_000_000): pass"), count=RIGHT["count"], earned=3.0),
    bomb("stubborn-loop", "while True:\n    try:\n        while True: pass\n    except BaseException: pass"),
    bomb(
        "masked-loop",
        "import signal\nfor n in range(1, 65):\n    try: signal.signal(n, signal.SIG_IGN)\n    except (OSError, ValueError): pass\n"
        "signal.pthread_sigmask(signal.SIG_BLOCK, range(1, 65))\nwhile True: pass",
    ),
    bomb("loop-in-c", "return sum(range(10**12))"),
    bomb("loop-in-threads", "import threading\nfor _ in range(4):\n    threading.Thread(target=lambda: sum(range(10**12))).start()\nreturn 1"),
    bomb("expression", "import re\nreturn re.match(r'(a+)+$', 'a' * 40 + 'b')", honest_double("import re; re.match(r'(a+)+$', 'a' * 18)")),
    bomb("power", "return 7 ** 7 ** 9"),
    bomb("sleep", "import time\ntime.sleep(10**6)", honest_double("import time; time.sleep(0.05)")),
    bomb("input", "return input()", right(before=("try:\n    input()\nexcept EOFError:\n    pass",))),
    bomb("deadlock", "import threading\nlock = threading.Lock()\nlock.acquire(); lock.acquire()", honest_double("import threading", "with threading.RLock(): pass")),
    Case("loop-at-load", wrong(before=("while True: pass",))),
    Case("sleep-at-load", wrong(before=("import time\ntime.sleep(10**6)",)), right(before=("import time\ntime.sleep(0.3)",))),
    # floods
    bomb("print-flood", "for _ in range(10**5): print('x' * 10_000)\nreturn 1", honest_double("for _ in range(1000): print('x' * 1000)")),
    bomb("giant-answer", "return 'x' * (1 << 28)"),
    bomb("giant-list", "return list(range(5_000_000))"),
    bomb("nested-answer", "a = []\nfor _ in range(100_000): a = [a]\nreturn a", honest_double("a = []", "for _ in range(100): a = [a]")),
    bomb("circular-answer", "a = {}\na['a'] = a\nreturn a"),
    bomb("many-answers", "return [x] * 1_000_000"),
    bomb("exception-flood", "raise type('E' * 10**6, (Exception,), {})('x' * 10**7)"),
    # files, threads, crashes
    bomb("open-files", "keep = []\nwhile True: keep.append(open('/dev/null'))", honest_double("[open('/dev/null') for _ in range(20)]")),
    bomb("big-file", "open('flood', 'wb').write(bytes(1 << 30))\nreturn 1"),
    bomb(
        "threads",
        "import threading\nthreading.stack_size(32768)\nevent = threading.Event()\n"
        "for _ in range(2500): threading.Thread(target=event.wait, daemon=True).start()\nimport time; time.sleep(2)\nreturn 1",
        honest_double("import threading", "ts = [threading.Thread(target=int) for _ in range(16)]", "[t.start() for t in ts]; [t.join() for t in ts]"),
    ),
    bomb(
        "thread-burst",
        "import threading, time\nthreading.stack_size(65536)\nevent = threading.Event()\ntry:\n"
        "    while True: threading.Thread(target=event.wait, daemon=True).start()\nexcept BaseException: pass\ntime.sleep(30)",
        honest_double("from concurrent.futures import ThreadPoolExecutor", "with ThreadPoolExecutor(64) as pool: list(pool.map(abs, range(100)))"),
    ),
    bomb(  # the file in which its threads are counted holds this name
        "thread-name",
        "import ctypes, time\nctypes.CDLL(None).prctl(15, b'\\xff\\xfe) R')\nwhile True: time.sleep(0.1)",
        honest_double("import ctypes, time", "ctypes.CDLL(None).prctl(15, 'müßig'.encode()[:15])", "ctypes.CDLL(None).prctl(15, b'\\xff)')", "time.sleep(0.15)"),
    ),
    bomb("pipes", "import os\nkeep = []\nwhile True: keep.append(os.pipe())"),
    bomb("recursion", "return double(x)", honest_double("import sys; sys.setrecursionlimit(5000)"), count=RIGHT["count"], earned=3.0),
    bomb("recursion-unbound", "import sys\nsys.setrecursionlimit(10**9)\nreturn double(x)"),
    bomb("segfault", "import ctypes\nctypes.string_at(0)", count=RIGHT["count"], earned=3.0),
    bomb("abort", "import os\nos.abort()"),
    bomb("exit", "import os\nos._exit(0)", right(after=("import sys\ntry:\n    sys.exit(0)\nexcept SystemExit:\n    pass",))),
    bomb("system-exit", "raise SystemExit", right(after=("exit()", "quit()", "raise SystemExit"))),
    Case("exit-at-load", wrong(before=("import os\nos._exit(0)",))),
    Case("abort-at-load", wrong(before=("import os\nos.abort()",))),
    Case("exec-stack", wrong(before=("exec('(' * 100000)", "eval('-' * 500000 + '1')", "x = " + "(" * 5000 + ")" * 5000))),
    Case("deep-source", wrong(before=("x = " + "-" * 100_000 + "1",)), right(before=("x = " + "[" * 50 + "]" * 50,))),
    # files that are heavy, or no notebooks
    Case("no-json", raw("{" * 1000)),
    Case("nothing", raw(b"")),
    Case("blanks", raw(" \n" * 1000)),
    Case("not-utf8", raw(b'{"cells": ["\xff\xfe"]}')),
    Case("mark-first", None, b"\xef\xbb\xbf" + SOLVED),
    Case("zeros", raw(bytes(1 << 20))),
    Case("nested-json", raw('{"cells": ' + "[" * NEST + "]" * NEST + "}")),
    Case("nested-objects", raw('{"cells": [], "metadata": ' + '{"a":' * 5000 + "1" + "}" * 5000 + "}")),
    Case("json-number", raw('{"cells": [], "nbformat": ' + "9" * 1_000_000 + "}")),
    Case("json-infinity", raw('{"cells": [{"cell_type": "code", "source": "x", "metadata": {"a": NaN}}], "nbformat": Infinity}')),
    Case("format-numbers", raw(json.dumps({**wrong(), "nbformat": 10**400})), raw(json.dumps({**right(), "nbformat": 4.5, "nbformat_minor": -1}))),
    Case("format-words", raw(json.dumps({**wrong(), "nbformat": "three"})), raw(json.dumps({**right(), "nbformat": None}))),
    Case("zip", raw(b"PK\x03\x04" + bytes(1000))),
    Case("html", raw("<html><body>10 of 10 points</body></html>")),
    Case("large-source", wrong(before=("# " + "x" * 3_000_000,)), right(before=("# " + "x" * 300_000,))),
    Case("large-outputs", None, right(before=({**code("1"), "outputs": [{"output_type": "stream", "name": "stdout", "text": "x" * 20_000_000}]},))),
    Case("large-text", wrong(after=(markdown("[" * 20_000), markdown("x" * 2_000_000))), right(after=(markdown("word " * 20_000),))),
    Case("many-cells", wrong(after=("",) * 10_000), right(after=tuple(f"x{i} = {i}" for i in range(300)))),
    Case("many-copies", wrong(after=tuple(cell for cell in wrong()["cells"] if cell["metadata"].get("nbgrader")) * 600)),
    Case("lone-surrogate", raw(json.dumps(wrong(before=("x = '\ud800'",)))), raw(json.dumps(right(before=("# \ud800",))))),
    Case("null-bytes", wrong(before=("x = '\x00'",)), right(before=("x = 1 # \x00",), after=("\x0c\x1b[2J", "# \u202e\u2028 text"))),
]  # fmt: skip

outcome, test_attack, test_twin, test_class = family("bombs", CASES)
