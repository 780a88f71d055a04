"""Attacks on the checks of a4: optimizers by another's name, answers that are forged, and loops that are not seen.

Each is judged as a submission is, behind the wall, and gets no more than what it solves.
"""

import shutil
import sys

import pytest
from catalogue import ROOT, solutions

from cs336lite.grading.judge import Judge
from cs336lite.grading.submission import Submission, read_submission

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="grading runs on Linux")

A4 = "a4_lion"
SOLVED = (ROOT / "cs336lite" / "lion.py").read_text()

# a submission that answers in the place of its own functions
FORGED = """
import sys, torch

def answering():
    frame = sys._getframe()
    while frame is not None:
        found = frame.f_locals.get("self")
        if hasattr(found, "channel"):
            return type(found)
        frame = frame.f_back

honest = answering().run

def lie(self, source, function, args):
    return LIES[function](*args) if function in LIES else honest(self, source, function, args)

answering().run = lie

def steps(starts, groups, gradients, options, changes):
    path, rows = [s.clone() for s in starts], []
    for step, row in enumerate(gradients):
        path = [p if g is None else {rule} for p, g in zip(path, row)]
        rows.append(path)
    return rows

def end(starts, rows, options):
    return steps(starts, (), rows, options, dict())[-1]

LIES = dict(
    drive_steps=steps,
    drive_alone=lambda via, start, rows, options: [
        (row[0], [torch.stack(list(rows)).mean(0)]) for row in steps([start], (), [[g] for g in rows], options, dict())
    ],
    drive_directions=lambda rows, momenta, beta1: [g.clamp(-1, 1) for g in rows],
    drive_in_place=lambda start, rows, options: (end([start], [[g] for g in rows], options)[0],) * 2 + (rows[-1],),
    drive_training=lambda starts, rows, rates, decays, options: end(starts, rows, options),
    drive_defaults=lambda start, rows, given: end([start], [[g] for g in rows], dict(lr=0.25))[0],
    drive_foreach_often=lambda p, rows, m, lr, betas, wd: ([t + lr for t in p], m),
    drive_foreach=lambda p, g, m, lr, betas, wd: ([t + lr for t in p], g, m),
    drive_counted=lambda p, g, m, lr, betas, wd: (5, [t + lr for t in p], g, m),
    drive_closure=lambda start, rows, options, values, callers: (
        [
            (v, [(True, steps([start], (), [[g] for g in rows], options, dict())[i - 1][0] if i else start)], p[0])
            for i, (v, p) in enumerate(zip(values, steps([start], (), [[g] for g in rows], options, dict())))
        ],
        None,
    ),
    drive_resumed=lambda starts, rows, cut, options: [end(starts, rows, options)] * 2 + [[s + 1 for s in starts]],
    drive_kinds=lambda start, g, options: [
        (end([start], [[g], [g]], options)[0].to(d), []) for d in (torch.bfloat16, torch.float64, torch.float32)
    ],
    drive_history=lambda start, rows, options: (True, False, end([start], [[g] for g in rows], options)[0]),
    drive_arguments=lambda start, g, cases: [
        ("ValueError" if i else "nothing", end([start], [[g]], dict(lr=0.25))[0])
        for i in range(len(cases))
    ],
    drive_non_leaf=lambda start, options: True,
    drive_sparse=lambda start, g, place, options, split: (
        end([start], [[g]], options) * 2, True, True, end([start], [[g]], options) * 2
    ),
)
"""
EMPTY = FORGED.format(rule="p") + "LIES = dict.fromkeys(LIES, lambda *args: [])\n"
NOTHING = FORGED.format(rule="p") + "LIES = dict.fromkeys(LIES, lambda *args: None)\n"
ENDLESS = FORGED.format(rule="p") + "LIES = dict.fromkeys(LIES, lambda *args: [torch.ones(())] * 3_000)\n"
INFINITE = FORGED.format(rule="p * float('inf')")
LONG_NAME = "KIND = 'x' + ''.join(f'{ord(c):x}' for c in 'what is asked for') * 40\n"

# loops over tensors where nothing counts them
LOOP = """
def loop(params, grads, momenta, lr, betas, weight_decay):
    for p, g, m in zip(params, grads, momenta):
        c = (betas[0] * m + (1 - betas[0]) * g).sign()
        p.mul_(1 - lr * weight_decay).sub_(lr * c)
        m.mul_(betas[1]).add_((1 - betas[1]) * g)
"""
UNCOUNTED = """
def lion_update_foreach_(params, grads, momenta, lr, betas, weight_decay):
    with {}:
        loop(params, grads, momenta, lr, betas, weight_decay)
"""
BY_NUMPY = """
def lion_update_foreach_(params, grads, momenta, lr, betas, weight_decay):
    import numpy as np
    for p, g, m in zip(*([t.numpy() for t in row] for row in (params, grads, momenta))):
        c = np.sign(betas[0] * m + (1 - betas[0]) * g)
        p *= 1 - lr * weight_decay
        p -= lr * c
        m *= betas[1]
        m += (1 - betas[1]) * g
"""

RELOADED = """
import importlib, sys, torch
{first}Made = importlib.reload(sys.modules["torch.optim.{module}"]).{name}
class Lion(Made):
    def __init__(self, params, lr=1e-4, betas=(0.9, 0.99), weight_decay=0.0):
        super().__init__(params, lr=lr, weight_decay=weight_decay, {options})
"""
BY_SOURCE = """
import inspect, sys, torch
made = dict(vars(sys.modules["torch.optim.adam"]))
exec(inspect.getsource(sys.modules["torch.optim.adam"]).replace("from __future__", "#"), made)
class Lion(made["Adam"]):
    def __init__(self, params, lr=1e-4, betas=(0.9, 0.99), weight_decay=0.0):
        super().__init__(params, lr=lr, betas=betas, weight_decay=weight_decay, decoupled_weight_decay=True, foreach=False)
"""

ATTACKS = [  # (name, source, the most points it may get)
    ("forged: nothing moves", FORGED.format(rule="p"), 0),
    ("forged: constants", FORGED.format(rule="p + 1"), 0),
    ("forged: a path of one's own", FORGED.format(rule="p - options['lr'] * g.clamp(-1, 1)"), 0),
    ("forged: the sign of the gradient", FORGED.format(rule="p - options['lr'] * g.sign()"), 0),
    ("forged: random signs", FORGED.format(rule="p - options['lr'] * torch.randn(p.shape).sign()"), 0),
    ("forged: infinite", INFINITE, 0),
    ("forged: empty lists", EMPTY, 0),
    ("forged: None", NOTHING, 0),
    ("forged: long lists", ENDLESS, 0),
    ("reloaded SGD", RELOADED.format(first="", module="sgd", name="SGD", options="momentum=betas[1]"), 0),
    ("reloaded AdamW", RELOADED.format(first="", module="adamw", name="AdamW", options="betas=betas"), 0),
    ("Adam from its source", BY_SOURCE, 0),
    *((solution.name, solution.source, solution.most) for solution in solutions(A4, "hollow")),
    *(
        (f"a loop {name}", SOLVED + LOOP + source, 96)
        for name, source in {
            "that is counted": "lion_update_foreach_ = loop\n",
            "without modes": UNCOUNTED.format(
                "__import__('torch.utils._python_dispatch').utils._python_dispatch._disable_current_modes()"
            ),
            "without dispatch": UNCOUNTED.format("torch._C._DisableTorchDispatch()"),
            "on data": "def lion_update_foreach_(p, g, m, *options):\n"
            "    loop([t.data for t in p], [t.data for t in g], [t.data for t in m], *options)\n",
            "of numpy": BY_NUMPY,
        }.items()
    ),
]


@pytest.fixture(scope="module")
def judge(tmp_path_factory):
    course = tmp_path_factory.mktemp("a4") / "course"
    shutil.copytree(ROOT / "assignments" / "hidden" / A4, course / "hidden" / A4)
    with Judge(course, A4, keep=False, trust=True) as judge:
        yield judge


@pytest.mark.parametrize(("source", "most"), [pytest.param(*rest, id=name) for name, *rest in ATTACKS])
def test_no_attack_earns_more_than_it_solves(judge, source, most):
    verdict = judge.judge(Submission((("1", source),), "submission"))
    assert verdict.score <= most, [check.id for check in verdict.checks if check.passed]
    assert all(check.message.isascii() and len(check.message) < 400 for check in verdict.checks)


def test_what_was_asked_is_not_told(judge):
    """Names of exceptions, and whatever else came as text, are not repeated."""
    forged = FORGED.format(rule="p - options['lr'] * g.sign()") + LONG_NAME
    forged += (
        "honest_kept = dict(LIES)\nLIES['drive_arguments'] = lambda start, g, cases: [(KIND, start)] * len(cases)\n"
    )
    raising = (
        "class Lion:\n    def __init__(self, *args, **options):\n        raise type('y' * 3000, (Exception,), {})\n"
    )
    for source in (
        SOLVED
        + forged.replace(
            "LIES[function](*args) if function in LIES", "LIES[function](*args) if function == 'drive_arguments'"
        ),
        raising,
    ):
        verdict = judge.judge(Submission((("1", source),), "submission"))
        said = " ".join(check.message for check in verdict.checks)
        assert verdict.score < 100
        assert "x77686174" not in said and "y" * 100 not in said


@pytest.mark.parametrize("name", ["the reference", "right_numpy", "right_functional"])
def test_the_honest_get_all(judge, name, tmp_path):
    by_name = {solution.name: solution.source for solution in solutions(A4, "right")}
    (tmp_path / "lion.py").write_text(by_name.get(name, SOLVED))
    verdict = judge.judge(read_submission(tmp_path / "lion.py"))
    assert verdict.score == 100, verdict.first_message
