"""Attacks by change: a file exchanged while the class is graded, answers that depend on when and how often one asks."""

import json

import pytest
from arena import RIGHT, Case, family, right, wrong

# the two contents of a file that is exchanged solve different exercises, so that a mixture would show
FIRST = wrong(double=RIGHT["double"] + "\n# FIRST", before=("# FIRST",))
SECOND = wrong(softmax=RIGHT["softmax"] + "\n# SECOND", before=("# SECOND",))

COUNTED = """
CALLS = 0
def answer(good, bad, wanted):
    global CALLS
    CALLS += 1
    return good if CALLS in wanted else bad
"""

CASES = [
    Case("exchanged", FIRST, earned=4.0, swap=SECOND),
    Case("exchanged-for-better", wrong(), earned=10.0, swap=right()),
    Case("exchanged-for-worse", right(), earned=10.0, swap=wrong()),
    Case("exchanged-for-a-bomb", wrong(before=("# one",)), swap=wrong(double="import os\ndef double(x):\n    os._exit(0)")),
    Case(
        "first-call-right",
        wrong(before=(COUNTED,), double="def double(x):\n    return answer(x + x, x, {1})"),
        right(before=(COUNTED,), double="def double(x):\n    return answer(x + x, x, range(100))"),
    ),
    Case("last-calls-right", wrong(before=(COUNTED,), double="def double(x):\n    return answer(x + x, x, {2})")),
    Case(
        "first-check-right",
        wrong(before=(COUNTED,), double="def double(x):\n    return answer(x + x, x, {1, 2})"),
        earned=2.0,
    ),
    Case(
        "caching",
        wrong(before=("SEEN = {}",), double="def double(x):\n    return SEEN.setdefault('answer', x + x)"),
        right(before=("SEEN = {}",), double="def double(x):\n    return SEEN.setdefault(x, x + x)"),
    ),
    Case(
        "caching-by-type",
        wrong(double="import functools\nclass K:\n    def __init__(s, x): s.x = x\n    def __hash__(s): return 0\n    def __eq__(s, o): return True\n"
                     "@functools.cache\ndef twice(k): return k.x + k.x\ndef double(x):\n    return twice(K(x))"),
        right(double="import functools\n@functools.cache\ndef double(x):\n    return x + x"),
    ),
    Case(
        "answer-that-changes",
        wrong(double="class Turn(list):\n    n = 0\n    def __iter__(self):\n        Turn.n += 1\n        return iter([Turn.n])\ndef double(x):\n    return Turn()"),
    ),
    Case("random-answers", wrong(before=("import random",), double="def double(x):\n    return random.choice([x, x * 3])"),
         right(before=("import random, torch\nrandom.seed(0)\ntorch.manual_seed(0)",))),
    Case("guessing", wrong(before=("import random",), double="def double(x):\n    return random.randrange(10**9)")),
    Case(
        "clock",
        wrong(before=("import time\nSTART = time.time()",), double="def double(x):\n    return x + x if time.time() - START < 0 else x"),
        right(before=("import time\nSTART = time.time()",), double="def double(x):\n    assert time.time() >= START - 5\n    return x + x"),
    ),
    Case(
        "argument-changed",
        wrong(softmax="def softmax(x, dim):\n    return x.zero_()"),
        right(softmax=RIGHT["softmax"].replace("return e / e.sum(dim, keepdim=True)", "y = e / e.sum(dim, keepdim=True)\n    x.zero_()\n    return y")),
    ),
    Case(
        "answer-changed-later",
        wrong(
            before=("import threading, time",),
            softmax="import torch\ndef softmax(x, dim):\n    y = torch.zeros_like(x)\n"
                    "    threading.Thread(target=lambda: (time.sleep(0.2), y.copy_(torch.softmax(x, dim)))).start()\n    return y",
        ),
        right(softmax="import torch, threading\ndef softmax(x, dim):\n    y = torch.zeros_like(x)\n"
                      "    t = threading.Thread(target=lambda: y.copy_(torch.softmax(x, dim)))\n    t.start(); t.join()\n    return y"),
    ),
    Case(
        "redefined-later",
        wrong(before=("import threading, time\nthreading.Timer(0.05, lambda: globals().update(double=lambda x: 7)).start()",)),
        right(after=("double_again = double\ndouble = lambda x: double_again(x)",)),
    ),
    Case(
        "dies-then-lives",
        # its process is started afresh after the first check; nothing may be remembered that a fresh one would not know
        wrong(before=(COUNTED,), double="import os\ndef double(x):\n    answer(0, 0, ())\n    return x + x if CALLS > 2 else os._exit(0)"),
    ),
    Case("main-or-not", None, right(after=("if __name__ == '__main__':\n    assert double(2) == 4\nelse:\n    del double",))),
]  # fmt: skip

outcome, test_attack, test_twin, test_class = family("changing", CASES)


def test_an_exchanged_file_is_judged_as_one_of_its_contents(outcome):
    if "exchanged-attack" not in outcome["autograded"]:
        pytest.fail(f"no autograded notebook: {outcome['error']}")
    shown = json.loads(outcome["autograded"]["exchanged-attack"])
    text = str([cell["source"] for cell in shown["cells"]])
    assert ("# FIRST" in text) != ("# SECOND" in text)
    assert outcome["scores"]["exchanged-attack"] == (4.0 if "# FIRST" in text else 3.0)
