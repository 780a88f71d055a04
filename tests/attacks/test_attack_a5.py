"""Attacks on the checks of a5_moe_router: answers without a router, without gradients, or with a loop that hides.

Each is judged as the grader judges, behind the wall, and gets at most what it earns; the reference gets everything.
"""

import sys
from pathlib import Path

import pytest
from catalogue import spec
from forging import FORGE, Attack, judging, without_work

from cs336lite import router

HIDDEN = spec("a5_moe_router", "hidden")
REFERENCE = Path(router.__file__).read_text(encoding="utf-8")

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="grading runs on Linux")

NOTHING = """
for name in ("router", "dispatch", "dispatch_plainly", "dispatch_counting"):
    forged["drive_" + name] = lambda *args: []
forged["drive_dispatch_counting"] = lambda *args: [1, 1]
forged["drive_names"] = forged["drive_dispatch_gradients"] = lambda *args: [[], [], []]
forged["drive_parameters"] = lambda d, experts, k: ([("gate.weight", [experts, d], True)], ["gate.weight"])
"""

# In the right shapes; ``number`` makes what is in them.
SHAPES = """
def numbers(*shape):
    return number(torch.empty(shape))


@instead
def drive_router(weight, k, options, xs, convert, need, slopes, strided):
    said = []
    for x in xs:
        front, wide = x.shape[:-1], torch.promote_types(x.dtype, torch.float32)
        indices = torch.rand(*front, len(weight)).argsort(-1)[..., :k]
        parts = numbers(*front, k), numbers(*front, len(weight)), numbers(), numbers()
        weights, logits, balance, z = (part.to(wide) for part in parts)
        said.append((weights, indices, logits, balance, z, x, [[numbers(*x.shape), numbers(*weight.shape)] for _ in slopes]))
    return said


@instead
def drive_construction(d_model, experts, k):
    return "taken" if 1 <= k <= experts else "refused"


@instead
def drive_names(d_model, experts, k, x):
    return ["weights", "indices", "logits", "load_balancing_loss", "z_loss"]


@instead
def drive_no_such_expert(x, weights, indices, count):
    return "refused" if indices.min() < 0 or indices.max() >= count else "taken"


@instead
def drive_parameters(d, experts, k):
    return [("gate.weight", [experts, d], True)], ["gate.weight"]


@instead
def drive_dispatch(jobs, matrices, *others):
    answers = []
    for job in jobs:
        x, weights, indices = job
        calls = [[e, [int((indices == e).sum()), x.shape[-1]], str(x.dtype)[6:]] for e in range(len(matrices))]
        answers.append((numbers(*x.shape).to(x.dtype), calls, list(job)))
    return answers


@instead
def drive_dispatch_counting(jobs, matrices):
    return [1, 1]


@instead
def drive_dispatch_plainly(jobs, matrices):
    return [numbers(*x.shape) for x, weights, indices in jobs]


@instead
def drive_dispatch_gradients(x, weights, indices, matrices, second, factor):
    return numbers(*x.shape), [numbers(*t.shape) for t in (x, weights, matrices)]
"""

# The choice of experts is there, and nothing else: gates and losses are what needs no softmax.
CHOICE = """
class TopKRouter(torch.nn.Module):
    def __init__(self, d_model, num_experts, top_k, *, renormalize=True):
        super().__init__()
        self.gate, self.top_k = torch.nn.Linear(d_model, num_experts, bias=False), top_k

    def forward(self, x):
        wide = torch.promote_types(x.dtype, torch.float32)
        logits = x.to(wide) @ self.gate.weight.to(wide).T
        indices = logits.topk(self.top_k, -1).indices
        shares = torch.bincount(indices.flatten(), minlength=logits.shape[-1]) / indices.numel()
        weights = torch.full(indices.shape, 1 / self.top_k, dtype=wide)
        return Said(weights, indices, logits, len(shares) * (shares * shares).sum().to(wide), logits.mean())


class Said:
    def __init__(self, *parts):
        self.weights, self.indices, self.logits, self.load_balancing_loss, self.z_loss = parts
"""

DETACHED = """
Parts, forward = RouterOutput, TopKRouter.forward
TopKRouter.forward = lambda self, x: Parts(*(part.detach() for part in forward(self, x)))
"""

# Gradients that are not those of anything, beside values that are right.
SLOPES = """
def drive_router(weight, k, options, xs, convert, need, slopes, strided):
    router = TopKRouter(weight.shape[1], weight.shape[0], k, **options)
    router.gate.weight.data = weight
    router = router.to(getattr(torch, convert)) if convert else router
    gradients = [[slope(x), slope(weight)] for x in xs[:1] for _ in slopes]
    return [(*(part.detach() for part in router(x)), x, gradients) for x in xs]


def drive_dispatch_gradients(x, weights, indices, matrices, second, factor):
    after = second if second is not None else [torch.eye(x.shape[-1])] * len(matrices)
    experts = [lambda z, one=one, two=two: (z @ one).tanh() @ two for one, two in zip(matrices, after)]
    return dispatch(x, weights, indices, experts), [slope(x), slope(weights), slope(matrices)]


instead(drive_router)
instead(drive_dispatch_gradients)
"""

# A loop over tokens, out of sight of torch's own ways to watch what is called; the experts' notes say what they should.
LOOP = """
def dispatch(x, weights, indices, experts):
    k, d_model = indices.shape[-1], x.shape[-1]
    tokens, gates, chosen = x.reshape(-1, d_model), weights.reshape(-1, k), indices.reshape(-1, k)
    with torch._C.DisableTorchFunction():
        rows = []
        for n in range(len(tokens)):
            parts = [gates[n, j] * experts[e](tokens[n : n + 1])[0] for j, e in enumerate(chosen[n].tolist())]
            rows.append(sum(parts))
        out = torch.stack(rows).to(x.dtype).reshape(x.shape)
    noted = [[e, [int((chosen == e).sum()), d_model], str(x.dtype)[6:]] for e in range(len(experts))]
    for cell in (cell for expert in experts for cell in expert.__closure__ or ()):
        if isinstance(cell.cell_contents, list) and cell.cell_contents and len(cell.cell_contents[0]) == 3:
            cell.cell_contents[:] = noted
    return out
"""

GATHERING = """
def dispatch(x, weights, indices, experts, right=dispatch):
    with torch._C.DisableTorchFunction():
        for e in range(len(experts)):
            mine = [n for n, row in enumerate(indices.reshape(-1, indices.shape[-1])) for i in row if int(i) == e]
    return right(x, weights, indices, experts)
"""

# A timer of the submission's own, which counts its processor time and rings while it is judged.
TIMER = """
import signal

rung = []
signal.signal(signal.SIGVTALRM, lambda *_: rung.append(1))
signal.setitimer(signal.ITIMER_VIRTUAL, 0.005, 0.005)
"""

# The loop gives up when it has taken long, so that it seems to keep up; what it then returns is 0.
GIVING_UP = """
import signal


class Late(Exception):
    pass


def ring(*_):
    raise Late


def dispatch(x, weights, indices, experts, loop=dispatch):
    before = signal.signal(signal.SIGVTALRM, ring)
    try:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0.004)
        out = loop(x, weights, indices, experts)
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        return out
    except Late:
        return torch.zeros_like(x)
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        signal.signal(signal.SIGVTALRM, before)
"""


ATTACKS = [
    *without_work(NOTHING, SHAPES),
    Attack("a choice and no router", "import torch\n" + CHOICE, 14),  # choosing, and the gate, are earned
    Attack("a choice, and no dispatch but notes", FORGE + SHAPES + "number = torch.rand_like\n" + CHOICE
           + "del forged['drive_router'], forged['drive_parameters']", 14),
    Attack("no gradient", REFERENCE + DETACHED, 60),
    Attack("gradients of ones", REFERENCE + FORGE + SLOPES + "slope = torch.ones_like", 41),
    Attack("infinite gradients", REFERENCE + FORGE + SLOPES + "slope = lambda t: torch.full_like(t, torch.inf)", 41),
    Attack("enormous gradients", REFERENCE + FORGE + SLOPES
           + "slope = lambda t: torch.ones(3 << 20, 1, 1, 1, dtype=torch.int8)", 41),
    Attack("a loop that is not counted", REFERENCE + LOOP, 98),
    Attack("a loop that is not counted around the experts", REFERENCE + GATHERING, 99.5),
    Attack("a loop that is not counted, beside a timer", REFERENCE + LOOP + TIMER, 98),
    Attack("a loop that a timer ends", REFERENCE + LOOP + GIVING_UP, 98),
]  # fmt: skip


@pytest.fixture(scope="module")
def points():
    with judging(HIDDEN) as judged:
        yield judged


@pytest.mark.parametrize("attack", ATTACKS, ids=[attack.name for attack in ATTACKS])
def test_attack(points, attack):
    assert points(attack.source, "attack") <= attack.most


@pytest.mark.parametrize("seed", range(3))
def test_the_reference_keeps_everything(points, seed):
    assert points(REFERENCE, f"honest {seed}") == 100


@pytest.mark.parametrize("seed", range(3))
def test_a_timer_of_its_own_changes_nothing(points, seed):
    assert points(REFERENCE + TIMER, f"timer {seed}") == 100


def test_a_dispatch_of_tables_is_no_loop(points):
    """Slow for many tokens, but all at once: one-hot places in a table (GShard, arXiv 2006.16668)."""
    source = """
def dispatch(x, weights, indices, experts):
    if not 0 <= int(indices.min()) <= int(indices.max()) < len(experts):
        raise ValueError
    tokens, places = x.reshape(-1, x.shape[-1]), indices.numel()
    taken = nn.functional.one_hot(indices.reshape(-1), len(experts))
    table = taken[..., None] * nn.functional.one_hot((taken.cumsum(0) - 1) * taken, places)
    table = table.reshape(len(tokens), -1, len(experts), places).to(x.dtype)
    given, counts = torch.einsum("nkec,nd->ecd", table, tokens), taken.sum(0).tolist()
    done = [expert(rows[:n]) if n else rows[:0] for expert, rows, n in zip(experts, given, counts)]
    done = torch.stack([nn.functional.pad(rows, (0, 0, 0, places - len(rows))) for rows in done])
    gates = weights.reshape(len(tokens), -1, 1, 1)
    return torch.einsum("nkec,ecd->nd", table * gates, done.to((table * gates).dtype)).to(x.dtype).reshape(x.shape)
"""
    assert points(REFERENCE + source, "tables") == 100
