"""The keys of kept results: what gives other results has another key, what is the same has the same key everywhere."""

import enum
import importlib
import itertools
import json
import subprocess
import sys
import textwrap
import threading
from dataclasses import InitVar, dataclass, field, replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers import ROOT
from test_training import SHORT, TINY

import cs336lite.model
import cs336lite.moe
import cs336lite.stability
import cs336lite.training
from cs336lite.keys import describe, fingerprint
from cs336lite.training import Experiment, Tokens, sweep

NUMBER = itertools.count()


@pytest.fixture
def module(tmp_path, monkeypatch):
    """Make a module of the user's from its source; each call takes the place of the one before, as an edit would."""
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    name = f"users_{next(NUMBER)}"

    def write(source: str, name: str = name):
        (tmp_path / f"{name}.py").write_text(textwrap.dedent(source), encoding="utf-8")
        importlib.invalidate_caches()
        sys.modules.pop(name, None)
        return importlib.import_module(name)

    return write


# what differs: ``made(k)`` is another experiment for each k

MADE = {
    "default": "def made(k):\n    def f(x, k=k): return k * x\n    return f",
    "keyword default": "def made(k):\n    def f(x, *, k=k): return k * x\n    return f",
    "lambda with a default": "made = lambda k: [lambda x, k=k: k * x for k in (k,)][0]",
    "lambdas on one line": "both = [lambda x: 2 * x, lambda x: 3 * x]\ndef made(k): return both[k - 2]",
    "lambda in a lambda": "both = (lambda: lambda x: 2 * x)(), (lambda: lambda x: 3 * x)()\ndef made(k): return both[k - 2]",
    "closure": "def made(k):\n    def f(x): return k * x\n    return f",
    "closure in a closure": "def made(k):\n    def g(x): return k * x\n    def f(x): return g(x)\n    return f",
    "closure over a list": "def made(k):\n    weights = [1, k]\n    return lambda x: weights[1] * x",
    "bound method": "class A:\n    def __init__(self, k): self.k = k\n    def f(self, x): return self.k * x\nmade = lambda k: A(k).f",
    "slots": "class A:\n    __slots__ = ('k',)\n    def __init__(self, k): self.k = k\n    def f(self, x): return self.k * x\nmade = lambda k: A(k).f",
    "class method": "class A:\n    @classmethod\n    def f(cls, x): return cls.k * x\ndef made(k): return type('B', (A,), {'k': k}).f",
    "callable object": "class A:\n    def __init__(self, k): self.k = k\n    def __call__(self, x): return self.k * x\nmade = A",
    "attribute that is no field": "from dataclasses import dataclass\n@dataclass\nclass A:\n    k = 1\n    def __call__(self, x): return self.k * x\ndef made(k):\n    a = A()\n    a.k = k\n    return a",
    "field that does not compare": "from dataclasses import dataclass, field\n@dataclass(frozen=True)\nclass A:\n    k: int = field(default=2, compare=False)\nmade = A",
    "class attribute of a dataclass": "from dataclasses import dataclass\n@dataclass(frozen=True)\nclass A:\n    z: int = 0\n    def __call__(self, x): return self.k * x\ndef made(k):\n    A.k = k\n    return A()",
    "named tuple": "from typing import NamedTuple\nclass A(NamedTuple):\n    z: int\nclass B(NamedTuple):\n    z: int\nmade = lambda k: (A, B)[k - 2](0)",
    "wraps": "import functools\ndef made(k):\n    def f(x): return x\n    @functools.wraps(f)\n    def g(x): return k * f(x)\n    return g",
    "two decorators": "import functools, torch\ndef made(k):\n    def f(x): return k * x\n    return torch.no_grad()(functools.lru_cache(f))",
    "jaxtyped": "import torch\nfrom beartype import beartype\nfrom jaxtyping import Float, jaxtyped\ndef made(k):\n    @jaxtyped(typechecker=beartype)\n    def f(x: Float[torch.Tensor, 'n']) -> int: return k * x\n    return f",
    "vmap": "import torch\nmade = lambda k: torch.vmap(lambda x: k * x)",
    "dataclass around its __init__": "import functools\nfrom dataclasses import dataclass\ndef made(k):\n    @dataclass\n    class A:\n        z: int = 0\n    inner = A.__init__\n    @functools.wraps(inner)\n    def init(self): self.k = k\n    A.__init__ = init\n    return A",
    "class of a function": "def made(k):\n    class A:\n        def f(self, x): return k * x\n    return A",
    "class body of a function": "def made(k):\n    class A:\n        scale = k\n    return A",
    "base class": "def made(k):\n    class A:\n        scale = k\n    class B(A): pass\n    return B",
    "property": "def made(k):\n    class A:\n        scale = property(lambda self: k)\n    return A",
    "enum": "import enum\ndef made(k):\n    class A(enum.Enum):\n        ONE = k\n    return A.ONE",
    "partial": "from functools import partial\ndef f(x, k): return k * x\nmade = lambda k: partial(f, k=k)",
    "partial of a lambda": "from functools import partial\nmade = lambda k: partial(lambda x, y: k * x, y=1)",
    "attribute of a function": "def made(k):\n    def f(x): return f.k * x\n    f.k = k\n    return f",
    "exec": "def made(k):\n    room = {}\n    exec(f'def f(x): return {k} * x', room)\n    return room['f']",
    "exec, a constant of another type": "def made(k):\n    room = {}\n    exec(f'def f(x): return {[1, 1.0][k - 2]}', room)\n    return room['f']",
    "tensor": "import torch\ndef made(k):\n    w = torch.full((2, 2), k)\n    return lambda x: w * x",
    "shape": "import torch\ndef made(k):\n    w = torch.zeros(k, 6 // k)\n    return lambda x: w * x",
    "dtype": "import torch\ndef made(k):\n    kind = (torch.float16, torch.bfloat16)[k - 2]\n    return lambda x: x.to(kind)",
    "array": "import numpy as np\ndef made(k):\n    w = np.full(3, k)\n    return lambda x: w * x",
    "set": "def made(k):\n    which = {'a', 'b', k}\n    return lambda x: x in which",
    "tuple and list": "def made(k):\n    which = ((1, 2), [1, 2])[k - 2]\n    return lambda x: isinstance(x, type(which))",
    "module of torch": "import torch\ndef made(k): return torch.nn.LayerNorm(4, eps=k)",
    "frozen tensor": "import torch\ndef made(k):\n    w = torch.ones(2, requires_grad=k == 2)\n    return lambda x: w * x",
    "single dispatch": "import functools\ndef made(k):\n    f = functools.singledispatch(lambda x: x)\n    f.register(int, lambda x: k * x)\n    f(1)\n    return f",
    "single dispatch of a method": "import functools\ndef made(k):\n    class A:\n        f = functools.singledispatchmethod(lambda self, x: k * x)\n    return A",
    "read-only dict": "import types\ndef made(k):\n    scales = types.MappingProxyType({'k': k})\n    return lambda x: scales['k'] * x",
    "keys of a dict": "def made(k): return {(2, '2')[k - 2]: 1}",
}  # fmt: skip


@pytest.mark.parametrize("source", MADE.values(), ids=MADE)
def test_two_that_differ_have_two_keys_and_one_has_one(module, source):
    made = module(source).made
    two, three, again = fingerprint(made(2)), fingerprint(made(3)), fingerprint(made(2))
    assert two != three and two == again


# what is changed: ``f`` before and after

HEAD = "from dataclasses import dataclass\nimport torch\n"
READ = {
    "global": "K = 2\ndef f(x): return K * x",
    "helper": "def g(x): return 2 * x\ndef f(x): return g(x)",
    "helper of a helper": "def h(x): return 2 * x\ndef g(x): return h(x)\ndef f(x): return g(x)",
    "helper that calls back": "def g(x): return f(2) if x else 0\ndef f(x): return g(x)",
    "global in a function inside": "K = 2\ndef f(x):\n    def inside(): return K\n    return inside()",
    "global in a comprehension": "K = 2\ndef f(x): return [K * y for y in x]",
    "global in a class inside": "K = 2\ndef f(x):\n    class A:\n        k = K\n    return A.k",
    "default of a helper": "def g(x, k=2): return k * x\ndef f(x): return g(x)",
    "class attribute": "class C:\n    k = 2\ndef f(x): return C.k * x",
    "class attribute of a base": "class B:\n    k = 2\nclass C(B): pass\ndef f(x): return C.k * x",
    "method": "class f:\n    def forward(self, x): return 2 * x",
    "global of a method": "K = 2\nclass f(torch.nn.Module):\n    def forward(self, x): return K * x",
    "method of a frozen dataclass": "@dataclass(frozen=True)\nclass C:\n    z: int = 0\n    def __call__(self, x): return 2 * x\nf = C()",
    "default of a frozen dataclass": "@dataclass(frozen=True)\nclass C:\n    k: int = 2\nf = C()",
    "object": "class C: pass\nc = C()\nc.k = 2\ndef f(x): return c.k * x",
    "dict": "K = {'k': 2}\ndef f(x): return K['k'] * x",
    "torch.autograd.Function": "class C(torch.autograd.Function):\n    @staticmethod\n    def forward(ctx, x): return 2 * x\ndef f(x): return C.apply(x)",
    "text": "def f(x): return 2 * x",
    "constant in a lambda": "f = lambda x: 2 * x",
}  # fmt: skip


SLOW = pytest.param("@torch.compile\ndef f(x): return 2 * x", id="torch.compile", marks=pytest.mark.slow)


@pytest.mark.parametrize("source", [*(pytest.param(x, id=name) for name, x in READ.items()), SLOW])
def test_what_code_names_counts(module, source):
    before = fingerprint(module(HEAD + source).f)
    assert fingerprint(module(HEAD + source).f) == before
    assert fingerprint(module("# a line more, and nothing else\n" + HEAD + source).f) == before
    assert fingerprint(module(HEAD + source.replace("2", "3")).f) != before


@pytest.mark.parametrize(
    "source",
    [
        "import {0}\ndef f(x): return {0}.g(x)", "import {0} as h\ndef f(x): return h.g(x)",
        "from {0} import g\ndef f(x): return g(x)", "def f(x):\n    from {0} import g\n    return g(x)",
        "def f(x):\n    import {0} as h\n    return h.g(x)", "import {0}\ndef f(x): return getattr({0}, 'g')(x)",
        "import {0}\ndef f(x, h={0}): return h.g(x)",
    ],
)  # fmt: skip
def test_a_helper_in_another_module_counts(module, source):
    name = f"helpers_{next(NUMBER)}"
    source = source.format(name)

    def key(k: int, more: str = "") -> str:
        module(f"K = {k}\ndef g(x): return K * x\n{more}", name)
        return fingerprint(module(source).f)

    assert key(2) == key(2) != key(3)
    if ".g" in source and "as" not in source and "=" not in source:
        assert key(2, "import threading\nLOCK = threading.Lock()") == key(2)  # only what is named


def test_a_file_that_was_edited_is_not_what_runs(module, tmp_path):
    f = module("def f(x): return 2 * x").f
    before = fingerprint(f)
    Path(f.__code__.co_filename).write_text("def f(x): return 3 * x")  # and not imported again
    running = fingerprint(f)
    after = fingerprint(module("def f(x): return 3 * x").f)
    assert len({before, running, after}) == 3


def test_names_of_classes_do_not_hide_where_they_are_from(module):
    source = "from dataclasses import dataclass\n@dataclass(frozen=True)\nclass Norm:\n    eps: float = 1.0\n{}"
    one = module(source.format("")).Norm
    two = module(source.format("    def __call__(self, x): return x"), f"others_{next(NUMBER)}").Norm
    assert describe(one(2.0)) == describe(two(2.0)) == {"Norm": {"eps": 2.0}}  # as results are recorded
    assert fingerprint(one(2.0)) != fingerprint(two(2.0))


# what is the same

SCRIPT = """
import functools, torch, enum
from dataclasses import dataclass
from typing import NamedTuple
from cs336lite.keys import fingerprint
K = {"b", "a", "c"}
def helper(x, kinds=frozenset({"x", "y", "z"})): return x in K or x in {"p", "q", "r"}
def other(x): return helper(x) and main(x)
def main(x): return other(x)
def around(f):
    @functools.wraps(f)
    def inside(*args): return f(*args)
    return inside
@around
def decorated(x): return main(x)
class Norm(torch.nn.Module):
    scale = {helper, main, "scale"}
    def __init__(self, d): super().__init__()
    def forward(self, x): return helper(x)
@dataclass(frozen=True)
class Slot:
    names: frozenset = frozenset("abc")
    def __call__(self, x): return decorated(x)
class Mode(enum.Enum):
    A = "a"
class Pair(NamedTuple):
    one: int = 1
class Op(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x): return x
lambdas = [lambda x: 2 * x, lambda x: 3 * x]
parts = main, decorated, Norm, Norm(3), Slot(frozenset("bcd")), Mode.A, Pair(2), Op, *lambdas, {"b": 1, "a": 2}, {3, 2}
print([fingerprint(part) for part in parts])
"""
KERNEL = """
import sys
from IPython.core.interactiveshell import InteractiveShell
shell = InteractiveShell.instance()
for cell in [sys.stdin.read(), "def main(x): return 2 * other(x)", "print(fingerprint(main))"]:
    shell.run_cell(cell, store_history=True).raise_error()
"""


def run(*command: str, given: str | None = None, seed: int) -> str:
    environment = {"PYTHONPATH": str(ROOT), "PYTHONHASHSEED": str(seed), "IPYTHONDIR": "/nonexistent", "HOME": "/"}
    done = subprocess.run(
        [sys.executable, "-W", "ignore", *command], input=given, env=environment, capture_output=True, encoding="utf-8"
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_key_is_the_same_in_every_process_and_in_a_notebook(tmp_path):
    (tmp_path / "script.py").write_text(SCRIPT)
    first = run(str(tmp_path / "script.py"), seed=1)
    *told, changed = run("-c", KERNEL, given=SCRIPT, seed=2).splitlines()[-2:]
    assert told == first.splitlines()
    assert changed not in first  # a cell that was run again with other code


def test_the_order_of_names_does_not_count_and_harmless_types_do_not():
    assert fingerprint({"a": 1, "b": 2}) == fingerprint({"b": 2, "a": 1})
    assert fingerprint({"a", "b", 3}) == fingerprint({3, "b", "a"})
    assert fingerprint([np.int64(3), np.float64(0.1), np.bool_(True), np.str_("a")]) == fingerprint([3, 0.1, True, "a"])
    assert describe(np.float32(1e-3)) == float(np.float32(1e-3)) and type(describe(np.int64(3))) is int
    assert describe(replace(SHORT, lr=np.float64(1e-2))) == describe(SHORT)
    assert fingerprint(torch.ones(3)) == fingerprint(torch.ones(6)[::2]) != fingerprint(torch.ones(3).half())


class Mode(enum.Enum):
    FAST = 1


@pytest.mark.parametrize(
    ("value", "told"),
    [
        (torch.bfloat16, {"dtype": "torch.bfloat16"}), (torch.device("cpu"), {"device": "cpu"}),
        (Path("a") / "b", {"Path": "a/b"}), (Mode.FAST, {"Mode": "FAST"}), (len, "builtins.len"),
        (torch.nn.functional.cross_entropy, "torch.nn.functional.cross_entropy"),
        (cs336lite.model.cross_entropy, "cs336lite.model.cross_entropy"), (torch.Size([2, 3]), [2, 3]),
        (Tokens(range(9)), Tokens(range(9)).fingerprint),
    ],
)  # fmt: skip
def test_what_is_described_by_its_name(value, told):
    assert describe(value) == told and fingerprint(value) == fingerprint(value)


@pytest.mark.parametrize("path", sorted((ROOT / "notebooks/results").glob("*.json")), ids=lambda path: path.stem)
def test_recorded_configurations_are_described_as_they_were(path):
    """The files name a hash of what `describe` said, so it must go on saying it."""
    homes = cs336lite.training, cs336lite.stability, cs336lite.moe, cs336lite.model

    def built(said):
        if isinstance(said, list):
            return [built(x) for x in said]
        if not isinstance(said, dict):
            return said
        name = next(iter(said), "")
        classes = [getattr(home, name) for home in homes if hasattr(home, name)]
        if len(said) == 1 and classes and isinstance(said[name], dict):
            given = {key: tuple(x) if key == "betas" else built(x) for key, x in said[name].items()}
            return classes[0](**given)
        return {key: built(x) for key, x in said.items()}

    said = json.loads(path.read_text())["configuration"]
    assert describe(built(said)) == said


# what is refused


@dataclass(frozen=True)
class Given:
    k: InitVar[int]
    z: int = 0


@dataclass
class Holding:
    lock: object = field(default_factory=threading.Lock)


LOCK = threading.Lock()


def locked(x):
    with LOCK:
        return x


@pytest.mark.parametrize(
    ("value", "problem"),
    [
        (LOCK, "no name by which a configuration could be told"), (locked, r"LOCK in locked.*use a frozen dataclass"),
        (Holding(), "no name"), ((x for x in "ab"), "generator.*no name"), (sys.stderr, "no name"),
        (partial(locked, 3), "LOCK in locked"), (lambda x: eval("x"), r"cannot be known before \(eval\)"),
        (lambda x: globals()["K"], "globals"), (Given(3), "k: make it a field"), ({1: 2, "1": 3}, "two keys"),
        (torch.ones(2, device="meta"), "cannot be read"), (lambda: sys.modules["x"], r"\(sys.modules\)"),
        (lambda: importlib.import_module("x").f(), r"cannot be known before \(importlib.import_module\)"),
    ],
)  # fmt: skip
def test_what_cannot_be_told_is_refused(value, problem):
    with pytest.raises(TypeError, match=problem):
        describe(value)


def test_a_circle_is_refused_or_told():
    circle = [1]
    circle.append(circle)
    with pytest.raises(TypeError, match="circle"):
        describe(circle)
    assert fingerprint(lambda: circle) == fingerprint(lambda: circle)


# sweeps


@pytest.fixture(scope="module")
def data() -> Tokens:
    return Tokens(np.random.default_rng(0).integers(0, 50, 600))


def scaled(k: float):
    def loss(hidden, weight, targets):
        return k * torch.nn.functional.cross_entropy(hidden @ weight.T, targets)

    return loss


def loss_of(hidden, weight, targets, k):
    return scaled(k)(hidden, weight, targets)


def first_losses(experiments, data, **options) -> list[float]:
    return [run.metrics[0]["loss"] for run in sweep(experiments, data, device="cpu", progress=False, **options)]


PLAN = replace(SHORT, steps=1, warmup=0)


@pytest.mark.parametrize("folder", [None, "kept"])
def test_a_sweep_gives_each_experiment_its_own_result(data, tmp_path, folder):
    losses = [scaled(1.0), scaled(3.0), lambda h, w, t: scaled(5.0)(h, w, t), lambda h, w, t: scaled(7.0)(h, w, t)]
    experiments = [Experiment(TINY.replace(loss=loss), PLAN) for loss in losses]
    cache = {"cache": tmp_path / folder} if folder else {}
    found = first_losses(experiments, data, **cache)
    assert np.divide(found, found[0]) == pytest.approx([1, 3, 5, 7])
    assert first_losses(experiments[::-1], data, **cache) == found[::-1]


@pytest.mark.slow
def test_a_sweep_in_two_processes_keeps_under_the_same_keys(data, tmp_path):
    experiments = [Experiment(TINY.replace(loss=partial(loss_of, k=k)), PLAN) for k in (1.0, 3.0)]
    found = first_losses(experiments, data, cache=tmp_path, jobs=2)
    kept = {path.name: path.stat().st_mtime_ns for path in tmp_path.iterdir()}
    assert len(kept) == 2 and found[1] == pytest.approx(3 * found[0])
    assert first_losses(experiments, data, cache=tmp_path) == found
    assert {path.name: path.stat().st_mtime_ns for path in tmp_path.iterdir()} == kept


class Reversed(Tokens):
    def batch(self, batch_size, seq, generator):
        return tuple(x.flip(0) for x in super().batch(batch_size, seq, generator))


def test_data_counts_by_its_ids_and_by_the_code_of_its_class(data):
    experiment = Experiment(TINY, PLAN)
    same, other = Tokens(data.ids.copy()), Reversed(data.ids)
    assert experiment.key(data, None) == experiment.key(same, None) != experiment.key(other, None)
    assert experiment.key(data, data) != experiment.key(data, other)


def test_an_array_is_hashed_once_for_a_key(monkeypatch, data):
    from cs336lite import content

    hashed, array = [], torch.ones(1000)
    monkeypatch.setattr(content, "_array", lambda value, of=content._array: hashed.append(value) or of(value))
    both = [lambda h, w, t: array * 2, lambda h, w, t: array * 3]
    fingerprint(Experiment(TINY.replace(loss=both[0]), PLAN, observe=both[1]), data, data)
    assert len(hashed) == 1
