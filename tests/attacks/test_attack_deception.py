"""Attacks on the judging itself, from within the submission's own process: replaced functions, objects that lie."""

from arena import Case, family, right, wrong

# what a liar returns from every exercise, given as the name of one object
LIES = {
    "double": "def double(x):\n    return LIE",
    "softmax": "def softmax(x, dim):\n    return LIE",
    "count": "def count(path, word):\n    return LIE",
}


def liar(source):
    """A notebook whose every answer is the object that ``source`` makes."""
    return wrong(before=(source,), **LIES)


ALWAYS = """
class Always:
    def __eq__(self, other): return True
    def __ne__(self, other): return False
    def __hash__(self): return 0
    def __bool__(self): return True
    __lt__ = __le__ = __gt__ = __ge__ = __contains__ = __eq__
"""

REPLACED = """
import builtins, math, operator, torch
yes = lambda *a, **k: True
for name in ("allclose", "equal", "isclose", "is_tensor", "eq"):
    setattr(torch, name, yes)
for name in ("__eq__", "__ne__", "allclose", "equal", "eq", "all", "any", "__bool__"):
    setattr(torch.Tensor, name, yes)
torch.testing.assert_close = yes
torch.softmax = torch.nn.functional.softmax = lambda x, dim=None: x * 0
"""

WALK = """
import sys
def frames():
    frame = sys._getframe()
    while frame is not None:
        yield frame
        frame = frame.f_back
def child():
    for frame in frames():
        for value in [*frame.f_locals.values()]:
            if hasattr(value, "channel"):
                return value
def lie(*args):
    {then}
double = softmax = count = lie
"""

REACH = """
import gc, sys
def everything():
    gc.unfreeze()
    seen = gc.get_objects()
    for module in list(sys.modules.values()):
        seen.append(vars(module))
    frame = sys._getframe()
    while frame is not None:
        seen.append(dict(frame.f_locals)), seen.append(frame.f_globals)
        frame = frame.f_back
    return seen
"""

CASES = [
    Case(
        "torch-replaced",
        wrong(before=(REPLACED,), softmax="def softmax(x, dim):\n    return torch.zeros_like(x)"),
        right(
            before=(
                "import torch\nok = torch.allclose(torch.ones(2), torch.ones(2)) and torch.equal(ok := torch.ones(1), ok)",
            )
        ),
    ),
    Case(
        "builtins-replaced",
        liar(
            "import builtins\nfor n in ('abs', 'all', 'any', 'isinstance', 'len', 'sorted', 'type', 'repr', 'sum'):\n"
            "    setattr(builtins, n, lambda *a, **k: True)\nLIE = True"
        ),
        right(before=("import builtins\nprint = lambda *a, **k: None\nlen = lambda x: builtins.len(x)",)),
    ),
    Case(
        "always-equal",
        liar(ALWAYS + "LIE = Always()"),
        right(
            double=(ALWAYS + "def double(x):\n    assert Always() == x\n    return x + x"),
        ),
    ),
    Case(
        "int-subclass",
        liar(ALWAYS + "class I(Always, int): pass\nLIE = I(3)"),
        right(double="class I(int): pass\ndef double(x):\n    return int(I(x)) * 2 if isinstance(x, int) else x * 2"),
    ),
    Case(
        "str-subclass",
        liar(ALWAYS + "class S(Always, str): pass\nLIE = S('x')"),
        right(double="class S(str): pass\ndef double(x):\n    return S(x) + S(x) if isinstance(x, str) else x * 2"),
    ),
    Case("dict-subclass", liar(ALWAYS + "class D(Always, dict):\n    def items(self): return [(1, self)]\nLIE = D()")),
    Case(
        "list-subclass", liar(ALWAYS + "class L(Always, list):\n    def __iter__(self): return iter(int, 1)\nLIE = L()")
    ),
    Case(
        "index-object",
        liar("class N:\n    def __index__(self): return 7\n    def __float__(self): return 7.0\nLIE = N()"),
    ),
    Case("float-object", liar("class N:\n    def __float__(self): return float('nan')\nLIE = N()")),
    Case("nan", liar("LIE = float('nan')")),
    Case("infinite", liar("LIE = float('inf')")),
    Case("true", liar("LIE = True")),
    Case("not-implemented", liar("LIE = NotImplemented")),
    Case(
        "numpy-number",
        None,
        right(double="import numpy as np\ndef double(x):\n    return np.int64(x) * 2 if isinstance(x, int) else x * 2"),
    ),
    Case(
        "torch-function-object",
        liar("class T:\n    @classmethod\n    def __torch_function__(cls, *a, **k): return True\nLIE = T()"),
    ),
    Case(
        "torch-function-shaped",
        liar(
            "import torch\nclass T:\n    dtype, shape = torch.float32, (3, 6)\n    def __getattr__(self, name): return self\n"
            "    def __call__(self, *a, **k): return self\n    def __torch_function__(self, *a, **k): return True\nLIE = T()"
        ),
    ),
    Case(
        "tensor-subclass",
        liar(
            "import torch\nclass T(torch.Tensor):\n    @classmethod\n    def __torch_function__(cls, *a, **k): return True\n"
            "LIE = torch.zeros(3, 6).as_subclass(T)"
        ),
        right(
            before=("import torch\nclass T(torch.Tensor): pass",),
            softmax="def softmax(x, dim):\n    e = torch.exp(x.as_subclass(T))\n    return e / e.sum(dim, keepdim=True)",
        ),
    ),
    Case(
        "parameter",
        wrong(softmax="import torch\ndef softmax(x, dim):\n    return torch.nn.Parameter(torch.tensor(1.0))"),
        right(softmax="import torch\ndef softmax(x, dim):\n    return torch.nn.Parameter(x).softmax(dim)"),
    ),
    Case(
        "broadcast",
        wrong(softmax="import torch\ndef softmax(x, dim):\n    return torch.tensor(float('nan')).expand(x.shape)"),
        right(
            softmax="import torch\ndef softmax(x, dim):\n    return torch.softmax(x.t(), 1 - dim if dim >= 0 else 0).t()"
        ),
    ),
    Case(
        "tensors-that-cannot-pass",
        wrong(
            softmax="import torch\nn = 0\ndef softmax(x, dim):\n    global n\n    n += 1\n    return [x.to_sparse(), x.to('meta'),"
            " x.to(torch.complex64), torch.quantize_per_tensor(x, 1, 0, torch.qint8), torch.nested.nested_tensor([x])][n % 5]"
        ),
    ),
    Case(
        "modules-replaced",
        liar(
            "import sys, types\nclass Fake(types.ModuleType):\n    def __getattr__(self, name): return lambda *a, **k: True\n"
            "for name in ['cs336lite.course.spec', 'cs336lite.grading.wire', 'wire', 'jail', 'json', 'struct']:\n"
            "    sys.modules[name] = Fake(name)\nLIE = True"
        ),
        right(before=("import sys, types\nsys.modules['mine'] = types.ModuleType('mine')\nimport mine",)),
    ),
    Case(
        "import-hook",
        liar(
            "import sys, types\nclass Hook:\n    def find_spec(self, *a): raise ImportError\n"
            "sys.meta_path.insert(0, Hook())\nsys.path_hooks.clear()\nLIE = True"
        ),
    ),
    Case(
        "tracing",
        liar(
            "import sys\ndef trace(frame, event, arg):\n    frame.f_globals['expect'] = lambda *a: None\n    return trace\n"
            "sys.settrace(trace)\nsys.setprofile(lambda *a: None)\nLIE = True"
        ),
        right(before=("import sys\nseen = []\nsys.settrace(lambda f, e, a: seen.append(e))\nsys.settrace(None)",)),
    ),
    Case("frames-return-answer", wrong(after=(WALK.format(then="return child().answer"),))),
    Case(
        "frames-replace-answer",
        wrong(
            after=(
                WALK.format(
                    then="c = child(); type(c).answer = lambda self, frame: sys.modules['wire'].pack('passed', True, points=10)\n    return 1"
                ),
            )
        ),
    ),
    Case(
        "frames-replace-pack",
        wrong(after=(WALK.format(then="sys.modules['wire'].pack = lambda *a, **k: b'c3w1' + bytes(8)\n    return 1"),)),
    ),
    Case(
        "frames-close-channel",
        wrong(after=(WALK.format(then="child().channel.close()"),)),
    ),
    Case(
        "frames-argument",
        wrong(
            after=(
                WALK.format(
                    then="found = [v for f in frames() for k, v in f.f_locals.items() if k in ('expected', 'want', 'y', 'rng')]\n"
                    "    return found[-1] if found else [str(f.f_locals)[:200] for f in frames()]"
                ),
            )
        ),
    ),
    Case(
        "memory-search",
        wrong(
            before=(REACH,),
            double="""
def double(x):
    for held in everything():
        for value in (held.values() if isinstance(held, dict) else held if isinstance(held, (list, tuple)) else ()):
            if type(value) is type(x) and value != x and len(str(value)) >= len(str(x)) and (
                    value == 2 * x if isinstance(x, int) else value.startswith(x) and len(value) == 2 * len(x)):
                return value
    raise LookupError""",
        ),
        right(before=("import gc\ngc.collect()\nlen(gc.get_objects())",)),
    ),
    Case(
        "memory-search-seed",
        wrong(
            before=(REACH,),
            count="""
def count(path, word):
    import random
    for held in everything():
        if isinstance(held, dict) and ("seed" in held or "rng" in held and not callable(held["rng"])):
            found = held.get("seed", held.get("rng"))
            if isinstance(found, (str, random.Random)):
                return open(path).read().split().count(word)
    raise LookupError""",
        ),
    ),
    Case(
        "json-replaced",
        liar(
            'import json\njson.dumps = lambda *a, **k: \'{"op": "value", "value": true, "sizes": [], "passed": true}\'\n'
            "json.JSONEncoder.encode = json.dumps\nLIE = 1"
        ),
        right(before=("import json\nassert json.loads(json.dumps({'a': [1, None]})) == {'a': [1, None]}",)),
    ),
    Case(
        "struct-replaced",
        liar("import struct\nstruct.pack = struct.unpack = lambda *a: (1, 1, 1)\nstruct.Struct = None\nLIE = 1"),
        right(before=("import struct\nassert struct.unpack('>I', struct.pack('>I', 7)) == (7,)",)),
    ),
    Case(
        "socket-replaced",
        liar(
            "import socket\nsocket.socket.sendall = lambda self, data: None\nsocket.socket.recv = lambda *a: b''\nLIE = 1"
        ),
    ),
    Case(
        "exec-replaced",
        liar(
            "import builtins\nbuiltins.exec = lambda *a, **k: None\nbuiltins.compile = lambda *a, **k: None\n"
            "builtins.eval = builtins.open = builtins.__import__ = lambda *a, **k: True\nLIE = True"
        ),
        right(before=("scope = {}\nexec(compile('a = 1', 'mine', 'exec'), scope)\nassert scope['a'] == 1",)),
    ),
    Case(
        "namespace-object",
        wrong(
            before=(
                "import sys\nfor m in list(sys.modules.values()):\n    if hasattr(m, 'Names'):\n"
                "        m.Names.__getattr__ = lambda self, name: lambda *a: True\n"
                "        m.MissingName = m.Child = None\ndel m",
            ),
            double="def __getattr__(name):\n    return lambda *a: True",
        ),
    ),
    Case(
        "at-exit",
        wrong(before=("import atexit, os\natexit.register(lambda: os.write(3, b'c3w1' + bytes(8)))",)),
        right(
            before=("import atexit, weakref\natexit.register(print, 'bye')\nweakref.finalize(print, print, 'gone')",)
        ),
    ),
    Case(
        "finalizers",
        liar(
            "class D:\n    def __del__(self): raise SystemExit\nLIE = 1\nimport gc\ngc.callbacks.append(lambda *a: 1 / 0)"
        ),
        right(before=("class D:\n    def __del__(self): print('gone')\nD()",)),
    ),
    Case(
        "signal-handlers",
        liar(
            "import signal\ndef handler(*a): raise SystemExit\nfor n in range(1, 64):\n    try: signal.signal(n, handler)\n"
            "    except (OSError, ValueError): pass\nsignal.setitimer(signal.ITIMER_REAL, 0.01, 0.01)\nLIE = 1"
        ),
        right(
            before=("import signal\nsignal.signal(signal.SIGALRM, lambda *a: None)\nsignal.alarm(1)\nsignal.alarm(0)",),
        ),
    ),
    Case(
        "recursion",
        wrong(double="import sys\nsys.setrecursionlimit(10**9)\ndef double(x):\n    return double(x)"),
        right(
            double="def double(x):\n    def down(n):\n        return down(n - 1) if n else x + x\n    return down(500)"
        ),
    ),
    Case("exit-replaced", liar("import os, sys\nos._exit = sys.exit = lambda *a: None\nos.close(3)\nLIE = 1")),
    Case(
        "exception-types",
        wrong(
            double="class Fail(Exception): pass\nclass StudentError(Fail): pass\ndef double(x):\n    raise StudentError('passed')",
            softmax="def softmax(x, dim):\n    raise StopIteration(x)",
            count="def count(path, word):\n    raise GeneratorExit",
        ),
        right(
            double="def double(x):\n    try:\n        raise ValueError(x)\n    except ValueError as e:\n        return e.args[0] + x"
        ),
    ),
    Case(
        "assertions-and-interrupts",
        wrong(before=("raise KeyboardInterrupt",), after=("raise AssertionError", "exit()")),
    ),
    # an honest notebook's habits
    Case(
        "warnings",
        None,
        right(
            before=(
                "import warnings, logging\nwarnings.warn('old')\nlogging.basicConfig(level=0)\nlogging.error('x')",
            ),
            double="import sys, warnings\ndef double(x):\n    warnings.warn('old'); print('note', file=sys.stderr)\n    return x + x",
        ),
    ),
    Case("progress-bar", None, right(before=("from tqdm.auto import tqdm\nfor i in tqdm(range(100)): pass",))),
    Case(
        "plot",
        None,
        right(before=("%matplotlib inline\nimport matplotlib.pyplot as plt\nplt.plot([1, 2])\nplt.show()",)),
    ),
    Case(
        "magics", None, right(before=("!ls\n%timeit 1\n%load_ext autoreload\n%autoreload 2\nx = 1\nx?", "%%bash\nls"))
    ),
    Case("jupyter", None, right(before=("from IPython.display import display, Markdown\ndisplay(Markdown('x'))",))),
    Case(
        "failing-cells",
        None,
        right(before=("1 / 0", "undefined", "assert False"), after=("def f(:", "raise NotImplementedError")),
    ),
    Case(
        "classes",
        None,
        right(
            before=(
                "from __future__ import annotations\nfrom dataclasses import dataclass\nfrom typing import NamedTuple\n"
                "@dataclass\nclass P:\n    x: int\nclass Q(NamedTuple):\n    x: int\nassert P(1).x == Q(1).x",
            ),
            double="import functools\n@functools.lru_cache\ndef double(x):\n    return P(x).x + Q(x).x",
        ),
    ),
    Case("prints", None, right(double="def double(x):\n    print('x' * 1_000_000)\n    return x + x")),
    Case(
        "slow",
        None,
        right(double="import time\ndef double(x):\n    time.sleep(0.2)\n    sum(range(2_000_000))\n    return x + x"),
    ),
]

outcome, test_attack, test_twin, test_class = family("deception", CASES)
