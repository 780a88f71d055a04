"""Answers that are there already: in the course's own modules, and in torch under other names.

Each attack asks a submission's process, prepared as for its assignment, for something that does the exercise; each twin
does honest work with what lies beside it.
"""

from __future__ import annotations

import ast
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from helpers import planned

from cs336lite.course.paths import GRADED_MODULES, hidden_checks
from cs336lite.course.spec import StudentError, load_spec
from cs336lite.grading import surroundings
from cs336lite.grading.client import Worker
from cs336lite.grading.judge import needs_of

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="grading runs on Linux")
ROOT = Path(__file__).resolve().parents[2]
FULL = pytest.mark.skipif(
    not (ROOT / "assignments" / "hidden").exists(), reason="a student edition has no hidden checks"
)


@pytest.fixture(scope="module")
def workers():
    started: dict[str, Worker] = {}

    def worker(assignment: str) -> Worker:
        if assignment not in started:
            started[assignment] = Worker(needs_of(load_spec(hidden_checks(ROOT / "assignments", assignment))))
        return started[assignment]

    yield worker
    for one in started.values():
        one.close()


def call_f(student):
    return student.f()


def answer(worker, source):
    with worker.student((("1", source),)) as student:
        student.begin(20)
        return student.run(call_f)


# -- modules of the course ----------------------------------------------------------------------------------------------


def imports(module: str) -> set[str]:
    """The modules of the course that one of them imports."""
    found = set()
    for node in ast.walk(ast.parse((ROOT / "cs336lite" / f"{module}.py").read_text())):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("cs336lite"):
            found |= (
                {node.module.partition(".")[2].partition(".")[0]}
                if "." in node.module
                else {a.name for a in node.names}
            )
        elif isinstance(node, ast.Import):
            found |= {a.name.partition(".")[2] for a in node.names if a.name.startswith("cs336lite.")}
    return found


def defined(module: str) -> set[str]:
    return {
        node.name
        for node in ast.parse((ROOT / "cs336lite" / f"{module}.py").read_text()).body
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)) and not node.name.startswith("_")
    }


@FULL
@pytest.mark.parametrize("assignment", GRADED_MODULES)
def test_importable_are_modules_of_earlier_lectures_that_stand_by_themselves(assignment):
    given = surroundings.LECTURE_MODULES.get(assignment, ())
    earlier = [] if assignment == next(iter(GRADED_MODULES)) else ["slots"]  # written by hand, for a2 and what follows
    for item in planned():
        if item.name == assignment:
            break
        earlier += () if item.kind == "assignment" else item.modules
    alone = {module for module in earlier if not imports(module) & set(GRADED_MODULES.values())}
    alone -= {
        module for module in alone if "from scipy" in (ROOT / "cs336lite" / f"{module}.py").read_text()
    }  # not there
    while lost := {module for module in alone if not imports(module) <= alone}:
        alone -= lost
    if assignment == "a7_parallel":  # its ranks talk through `collectives`, written by hand, and it needs no other
        alone = {"collectives"}
    assert set(given) == alone
    for module in given:
        shared = defined(module) & defined(GRADED_MODULES[assignment])
        assert not shared, f"{module} defines {shared}, as {assignment} does"


@FULL
@pytest.mark.parametrize("assignment", ["a1_bpe", "a2_attention", "a5_moe_router"])
def test_no_other_module_is_to_be_had(workers, assignment):
    source = """
import glob, importlib, importlib.util, inspect, linecache, os, pkgutil, sys, types, zipimport
import cs336lite

def attempts(name):
    full, file = "cs336lite." + name, os.path.join(os.path.dirname(cs336lite.__file__), name + ".py")
    yield lambda: importlib.import_module(full)
    yield lambda: getattr(__import__("cs336lite", fromlist=[name]), name)
    def after_deletion():
        sys.modules.pop(full, None)
        return importlib.import_module(full)
    yield after_deletion
    yield lambda: importlib.util.find_spec(full).loader.get_source(full)
    yield lambda: pkgutil.get_data("cs336lite", name + ".py")
    yield lambda: open(file).read()
    yield lambda: linecache.getlines(file)[0]
    yield lambda: glob.glob(os.path.dirname(file) + "/**/" + name + ".*", recursive=True)[0]
    yield lambda: inspect.getsource(importlib.reload(sys.modules[full]))
    yield lambda: importlib.machinery.PathFinder.find_spec(full, cs336lite.__path__).origin
    yield lambda: [importlib.machinery.PathFinder.find_spec("cs336lite." + name, [p + "/cs336lite"]).origin for p in sys.path]

def f():
    found = []
    for name in NAMES:
        for stand_in in ("attention", "router", "rope", "lion", "bpe", "model"):
            sys.modules["cs336lite." + stand_in] = types.ModuleType("cs336lite." + stand_in) if stand_in != name else None
        for number, attempt in enumerate(attempts(name)):
            try:
                attempt()
                found.append((name, number))
            except Exception:
                pass
    return found
"""
    given = surroundings.LECTURE_MODULES.get(assignment, ())
    names = {name.partition(".")[2] for name in surroundings.course_modules()} - set(given)
    assert {"kernels", "flash", "moe", "training", "keys", GRADED_MODULES[assignment]} <= names
    assert answer(workers(assignment), f"NAMES = {sorted(names)}\n{source}") == []


@FULL
@pytest.mark.parametrize(
    "line", ["import cs336lite.kernels", "from cs336lite import kernels", "from cs336lite.kernels import softmax"]
)
def test_a_module_that_is_not_there_is_told(workers, line):
    with pytest.raises(StudentError, match=r"`cs336lite\.kernels` is not there when work is graded"):
        answer(workers("a2_attention"), f"def f():\n    {line}")


@FULL
@pytest.mark.parametrize("assignment", GRADED_MODULES)
def test_twin_modules_of_earlier_lectures_can_be_imported(workers, assignment):
    given = [f"cs336lite.{name}" for name in surroundings.LECTURE_MODULES.get(assignment, ())]
    source = f"import importlib\ndef f(): return [importlib.import_module(name).__name__ for name in {given}]"
    assert answer(workers(assignment), source) == given


@FULL
@pytest.mark.parametrize("assignment", GRADED_MODULES)
def test_twin_what_the_notebook_imports_of_the_course_is_there(workers, assignment):
    """The cells of a released notebook that import from the course run; what they draw and read is nothing much."""
    tree = ast.parse((ROOT / "assignments" / "text" / f"{assignment}.py").read_text())
    lines = {
        ast.unparse(node)
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("cs336lite")
    }
    assert any("check" in line for line in lines)
    body = "".join(f"    {line}\n" for line in sorted(lines))
    assert answer(workers(assignment), f"def f():\n{body}    return 1") == 1


@FULL
def test_twin_pictures_are_asked_for_and_not_drawn(workers):
    source = """
from cs336lite.course.data import chinese_passage, technical_text
from cs336lite.course.measure import best_seconds, reveal
from cs336lite.course.plot import COLORS, axes, finish
fig, panels = axes(1, 4, size=(10.4, 3.1), sharey=True)
for i, ax in enumerate(panels):
    ax.plot([1], [2], color=COLORS["blue"])
fig, ax = axes(xlabel="x")
ax.set(aspect="equal")
ax.annotate("m", (1, 2))
finish(fig)
reveal("it", 3, guess=4)
one, two = best_seconds(int, str)
def f(): return len(technical_text()[:300]) > 100 and len(chinese_passage()) > 100
"""
    assert answer(workers("a3_rope"), source) is True


# -- torch under other names --------------------------------------------------------------------------------------------

SOFTMAX = {
    "method": "x.softmax(-1)",
    "method_of_the_base": "torch._C.TensorBase.softmax(x, -1)",
    "variable_functions": "torch._C._VariableFunctions._softmax(x, -1, False)",
    "special": "torch._C._special.special_softmax(x, -1)",
    "masked": "torch._masked_softmax(x, x > 99, 1, 0)",
    "packet": "torch.ops.aten._masked_softmax(x, x > 99, 1, 0)",
    "overload": "torch.ops.aten._softmax.default(x, -1, False)",
    "out": "torch.ops.aten._softmax.out(x, -1, False, out=torch.empty(3, 4))",
    "jit": "torch._C._jit_get_operation('aten::softmax')[0](x, -1)",
    "kernel": "torch.library.get_kernel('aten::_softmax', 'CPU').call_boxed(torch._C.DispatchKeySet(torch._C.DispatchKey.CPU), x, -1, False)",
    "inference": "torch.inference_mode()(lambda: torch.ops.aten._softmax.default(x.clone(), -1, False))()",
    "sparse": "torch._C._sparse._sparse_softmax(x.to_sparse(), 1)",
    "decomposition": "torch._decomp.decompositions._softmax(x, -1, False)",
    "table": "torch._decomp.decomposition_table[torch.ops.aten._softmax.default](x, -1, False)",
    "reference": "torch._refs.softmax(x, -1)",
    "wrapped": "torch._refs.softmax.__wrapped__(x, -1)",
    "vmap": "torch.func.vmap(lambda row: torch._C.TensorBase.softmax(row, 0))(x)",
    "logarithm": "torch.ops.aten._log_softmax(x, -1, False).exp()",
    "cross_entropy": "(-torch.stack([F.cross_entropy(x, torch.full((3,), i), reduction='none') for i in range(4)], 1)).exp()",
    "module": "torch.nn.Softmax(-1)(x)",
    "distribution": "torch.distributions.Categorical(logits=x).probs",
    "script": "scripted(x)",
    "loader": "loaded(torch._decomp.decompositions)._softmax(x, -1, False)",
    "attention": "F.scaled_dot_product_attention(q, q, q)",
    "attention_of_the_jit": "torch._C._jit_get_operation('aten::scaled_dot_product_attention')[0](q, q, q)",
    "attention_by_decomposition": "torch._decomp.decompositions.scaled_dot_product_flash_attention_for_cpu(q, q, q)",
    "attention_of_the_processor": "torch._scaled_dot_product_flash_attention_for_cpu(q, q, q)",
    "flexible_attention": "flex_attention(q, q, q)",
    "heads": "torch.nn.modules.activation.MultiheadAttention(4, 2)",
    "encoder": "torch.nn.TransformerEncoderLayer(4, 2)",
}  # fmt: skip
BEFORE_SOFTMAX = """
import importlib.util, torch
import torch.nn.functional as F
from torch.nn.attention.flex_attention import flex_attention
x, q = torch.linspace(-1.0, 2.0, 12).reshape(3, 4), torch.ones(1, 2, 3, 4)

def scripted(x):
    graph = torch._C.parse_ir('''graph(%x : Tensor):
  %d : int = prim::Constant[value=1]()
  %n : NoneType = prim::Constant()
  %y : Tensor = aten::softmax(%x, %d, %n)
  return (%y)
''')
    return torch._C._create_function_from_graph("again", graph)(x)

def loaded(module):
    spec = importlib.util.spec_from_file_location("again", module.__file__)
    again = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(again)
    return again
"""


@FULL
@pytest.mark.parametrize("name", SOFTMAX)
def test_softmax_is_not_to_be_had(workers, name):
    with pytest.raises(StudentError) as caught:
        answer(workers("a2_attention"), f"{BEFORE_SOFTMAX}\ndef f(): return {SOFTMAX[name]}")
    told = caught.value.kind == "LibraryCall" and "is what this exercise asks you to write" in str(caught.value)
    assert told or name == "loader", caught.value  # some of torch's files cannot be run twice


@FULL
@pytest.mark.parametrize("name", ["method", "kernel", "packet"])
def test_the_names_of_softmax_work_where_it_is_not_the_exercise(workers, name):
    source = f"{BEFORE_SOFTMAX}\ndef f(): return {SOFTMAX[name]}.sum()"
    assert answer(workers("a5_moe_router"), source).item() == pytest.approx(3)


TWINS = {
    "gradient": "torch.func.grad(lambda row: torch.logsumexp(row, 0))(x[0]).sum().item() > 0.999",
    "mapped_gradient": "torch.func.vmap(torch.func.grad(lambda row: torch.logsumexp(row, 0)))(x).shape == (3, 4)",
    "jacobian": "torch.func.jacrev(torch.exp)(x[0]).shape == (4, 4)",
    "gradcheck": "torch.autograd.gradcheck(lambda t: t.logsumexp(0), x[0].double().requires_grad_())",
    "by_hand": "bool(((x - x.amax(-1, keepdim=True)).exp().cumsum(-1) > 0).all())",
    "einsum": "torch.einsum('ij,kj->ik', x, x).shape == (3, 3) and einops.rearrange(x, 'a b -> b a').shape == (4, 3)",
    "module": "len(torch.nn.Sequential(torch.nn.Linear(4, 4), torch.nn.GELU(), torch.nn.LayerNorm(4)).state_dict()) == 4",
    "kind": "not isinstance(torch.nn.Linear(1, 1), torch.nn.MultiheadAttention)",
    "copy": "__import__('copy').deepcopy(torch.nn.Linear(2, 2)).weight.shape == (2, 2)",
    "top": "torch.topk(x, 2).values.shape == (3, 2) and torch.sigmoid(x).shape == (3, 4)",
    "backward": "(F.gelu(y).logsumexp(0).sum().backward(), y.grad.shape == (3, 4))[1]",
    "found": "importlib.util.find_spec('transformers') is None",
}


@FULL
@pytest.mark.parametrize("name", TWINS)
def test_twin_what_is_beside_softmax_works(workers, name):
    source = f"{BEFORE_SOFTMAX}\nimport einops\ny = x.clone().requires_grad_()\ndef f(): return {TWINS[name]}"
    assert answer(workers("a2_attention"), source) is True


BEFORE_OPTIMIZER = """
import gc, importlib, runpy, sys, types
import torch
p = torch.nn.Parameter(torch.ones(2))
p.grad = torch.full((2,), 0.5)
one = lambda: [torch.ones(2)]
given = dict(amsgrad=False, beta1=0.9, beta2=0.9, lr=0.1, weight_decay=0.1, eps=1e-8, maximize=False)
adam = sys.modules["torch.optim.adam"]

def stepped(optimizer):
    optimizer([p], lr=0.1).step()

def functions(name):
    gc.unfreeze()  # the worker has frozen what it imported
    return [o for o in gc.get_objects() if type(o) is types.FunctionType and o.__qualname__ == name]

def moved():
    return not torch.equal(p.data, torch.ones(2))
"""
OPTIMIZER = {
    "step": "stepped(torch.optim.SGD)",
    "subclass": "stepped(type('Lion', (torch.optim.AdamW,), {}))",
    "functional": "adam.adam([p.data], [p.grad], one(), one(), [], [torch.tensor(1.0)], **given)",
    "single": "adam._single_tensor_adam([p.data], [p.grad], one(), one(), [], [torch.tensor(1.0)], None, None, has_complex=False, capturable=False, differentiable=False, decoupled_weight_decay=True, **given)",
    "fused": "torch._fused_adamw_([p.data], [p.grad], one(), one(), [], [torch.tensor(1.0)], **given)",
    "operation": "torch.ops.aten._fused_sgd_.default([p.data], [p.grad], one(), lr=0.1, weight_decay=0.0, momentum=0.9, dampening=0.0, nesterov=False, maximize=False, is_first_step=False)",
    "unwrapped": "torch.optim.SGD.step.__wrapped__(torch.optim.SGD([p], lr=0.1))",
    "collected": "[f(torch.optim.SGD([p], lr=0.1)) for f in functions('SGD.step')]",
    "functional_collected": "[f([p.data], [p.grad], one(), one(), [], [torch.tensor(1.0)], **given) for f in functions('adam')]",
    "reload": "stepped(importlib.reload(sys.modules['torch.optim.sgd']).SGD)",
    "reload_functional": "importlib.reload(adam).adam([p.data], [p.grad], one(), one(), [], [torch.tensor(1.0)], **given)",
    "run": "runpy.run_module('torch.optim.adam')['adam']([p.data], [p.grad], one(), one(), [], [torch.tensor(1.0)], **given)",
}  # fmt: skip


@FULL
@pytest.mark.parametrize("name", OPTIMIZER)
def test_an_optimizer_is_not_to_be_had(workers, name):
    source = f"""{BEFORE_OPTIMIZER}
def f():
    try:
        {OPTIMIZER[name]}
    except Exception as error:
        return type(error).__name__, moved()
    return "nothing", moved()
"""
    kind, moved = answer(workers("a4_lion"), source)
    assert not moved
    assert kind == "LibraryCall" or name == "reload"  # there its first step asks for what the jail has not


OPTIMIZER_TWINS = {
    "own": "Own([p], lr=0.1).step(); return moved()",
    "schedule": "o = Own([p], lr=0.1); s = torch.optim.lr_scheduler.StepLR(o, 1); o.step(); s.step(); return moved()",
    "foreach": "torch._foreach_add_([p.data], [p.grad], alpha=-0.1); return moved()",
    "state": "return Own([p], lr=0.1).state_dict()['param_groups'][0]['lr'] == 0.1",
    "constructor": "return Child([p], lr=0.1).param_groups[0]['lr'] == 0.1",
    "softmax": "return torch.softmax(p, 0).sum().item() == 1.0",
}
OWN = """
class Own(torch.optim.Optimizer):
    def __init__(self, params, lr):
        super().__init__(params, dict(lr=lr))

    @torch.no_grad()
    def step(self, closure=None):
        for group in self.param_groups:
            for p in group["params"]:
                p.add_(p.grad, alpha=-group["lr"])

class Child(torch.optim.SGD):
    def step(self, closure=None):
        return None
"""


@FULL
@pytest.mark.parametrize("name", OPTIMIZER_TWINS)
def test_twin_an_optimizer_of_ones_own_works(workers, name):
    source = f"{BEFORE_OPTIMIZER}{OWN}\ndef f():\n    {OPTIMIZER_TWINS[name]}"
    assert answer(workers("a4_lion"), source) is True


# -- a search through torch ---------------------------------------------------------------------------------------------


def search(folder: Path, *words: str) -> dict:
    done = subprocess.run(
        [sys.executable, str(Path(__file__).with_name("library.py")), *words],
        cwd=folder,
        env={**os.environ, "OMP_NUM_THREADS": "1", "HOME": str(folder)},
        stdout=subprocess.PIPE,
        check=True,
    )
    return json.loads(done.stdout.splitlines()[-1])


@FULL
@pytest.mark.parametrize(
    "what, known", [("softmax", "torch.softmax"), ("optimizer", "torch.optim.adam._single_tensor_adam")]
)
def test_a_search_finds_what_is_not_refused(tmp_path, what, known):
    assert known in search(tmp_path, "leave", what, "0")["found"]


@FULL
@pytest.mark.parametrize("what", ["softmax", "optimizer"])
def test_a_search_through_what_is_called_alike_finds_nothing(tmp_path, what):
    told = search(tmp_path, "refuse", what, "200")
    assert told["called"] == told["all"] > 400 and told["found"] == []


@FULL
@pytest.mark.slow
@pytest.mark.timeout(3000)
@pytest.mark.parametrize("what", ["softmax", "optimizer"])
def test_a_search_through_all_of_torch_finds_nothing(tmp_path, what):
    told = search(tmp_path, "refuse", what)
    assert told["called"] == told["all"] > 10_000 and told["found"] == []
