"""Public checks of a4_lion: run them as often as you like. The hidden checks judge the same things on other inputs."""

import torch

from cs336lite.course.show import expect_close, expect_equal
from cs336lite.course.spec import check, expect

HINTS = {
    "direction": [
        "Work out by hand where a momentum of 1 and a gradient of -5 lead with beta1 = 0.9. And -10? And 0 with 0?",
        "Two parts: an interpolation, and the sign of it. torch.sign knows what the sign of 0 is; comparisons like c > 0 "
        "have to be taught. Which of the two is weighed by beta1, the old or the new?",
        "c = beta1 * momentum + (1 - beta1) * grad, written without an underscore operation, so that it is a new tensor; "
        "then torch.sign(c).",
    ],
    "update": [
        "Four lines of the algorithm, four statements. Which of them change a tensor that was given to you?",
        "Take the direction before the momentum changes. p = p * 0.9 makes a new tensor and a new meaning of the name p; "
        "p.mul_(0.9) changes the tensor that everybody holds. add_ takes alpha=, a factor for what is added.",
        "direction = lion_direction(grad, momentum, betas[0]). Then p.mul_ by 1 - lr * weight_decay, and p.add_ of the "
        "direction with alpha=-lr. Last momentum.mul_(betas[1]).add_(grad, alpha=1 - betas[1]).",
    ],
    "foreach": [
        "Which torch._foreach_ functions have the same names as the methods you have used for one tensor?",
        "A loop over the tensors, also one in a list comprehension, does as many operations as there are tensors. Each of "
        "your statements becomes one call with a list. Where you need a new list, take the function without underscore.",
        "directions = torch._foreach_mul(momenta, beta1), then torch._foreach_add_(directions, grads, alpha=1 - beta1) and "
        "torch._foreach_sign_(directions). torch._foreach_mul_ and torch._foreach_add_ do decay and step on params, and the "
        "same two the momenta.",
    ],
    "optimizer": [
        "What must step() do before there is a single gradient? After one? Which things does the base class keep for you?",
        "In __init__: look at the arguments, then super().__init__(params, dict(lr=..., betas=..., weight_decay=...)). In "
        "step: a loop over self.param_groups, in it one over group['params']; skip what has no gradient; self.state[p] is a "
        "dict that is empty at first.",
        "with torch.enable_grad() around the closure, with torch.no_grad() around all else. If p.grad.is_sparse, raise a "
        "RuntimeError with the word sparse, in a loop of its own before anything changes. If self.state[p] is empty, put "
        "torch.zeros_like(p) into it; then call your update with group['lr'], group['betas'], group['weight_decay'].",
    ],
}


def near(a, b, tolerance=1e-5):
    """Are these nearly equal, as tensors of one shape?"""
    b = torch.as_tensor(b)
    if not isinstance(a, torch.Tensor) or a.shape != b.shape:
        return False
    return bool(((a.double() - b.double()).abs() < tolerance).all())


# ---------------------------------------------------------------------------------------------------------------------
# 1 · direction


def run_direction(student, grad, momentum, beta1):
    kept = grad.clone(), momentum.clone()
    answer = student.lion_direction(grad, momentum, beta1)
    return answer, bool((grad == kept[0]).all() and (momentum == kept[1]).all())


@check("direction", title="momentum 1, beta1 0.9, by hand")
def by_hand(student, rng):
    answer, _ = student.run(run_direction, torch.tensor([-5.0, -8.0, -10.0, 5.0]), torch.ones(4), 0.9)
    expect(isinstance(answer, torch.Tensor) and answer.shape == (4,), "the result has the shape of the gradient")
    expect(not near(answer, [-1.0, -1, -1, 1]), "these are the signs of the gradient alone: where is the momentum?")
    expect(not near(answer, [1.0, 1, 1, 1]), "these are the signs of the momentum alone: where is the gradient?")
    expect_close(answer.abs(), torch.ones(4), "the signs of numbers that are not 0 are -1 and 1", 1e-5)
    expect_close(answer, [1.0, 1, -1, 1], "0.9 * 1 + 0.1 * (-5), (-8), (-10) and 5 have the signs 1, 1, -1 and 1", 1e-5)


@check("direction", title="the sign of 0, and what is given stays as it is")
def zero(student, rng):
    grad, momentum = torch.tensor([0.0, 1e-30, 0.0, -1e30]), torch.tensor([0.0, 0.0, -1e-30, 0.0])
    answer, same = student.run(run_direction, grad, momentum, 0.9)
    expect(same, "the gradient or the momentum has changed: put the result into a new tensor")
    expect_close(answer[:1], [0.0], "with no gradient and no momentum the direction is 0", 1e-5)
    expect_close(answer, [0.0, 1, -1, -1], "the signs of the tiniest and of the largest numbers are -1 and 1 too", 1e-5)


# ---------------------------------------------------------------------------------------------------------------------
# 2 · update


def run_update(student, p, grads, lr, betas, weight_decay):
    import torch

    alias, momentum, seen = p, torch.zeros_like(p), []
    for grad in grads:
        kept = grad.clone()
        with torch.no_grad():
            student.lion_update_(p, grad, momentum, lr, betas, weight_decay)
        seen.append((alias.clone(), momentum.clone(), bool((grad == kept).all())))
    return seen


@check("update", title="one step, by hand")
def one_step(student, rng):
    start, grad = torch.tensor([2.0, -2.0, 2.0]), torch.tensor([3.0, 3.0, 0.0])
    ((p, momentum, same),) = student.run(run_update, start.clone(), [grad], 0.5, (0.9, 0.99), 0.1)
    expect(not near(p, start), "p is as it was: change the tensor that is given, with add_ and mul_, and no new one")
    expect(same, "the gradient has changed: it is only read")
    expect(not near(p, [2.4, -1.4, 1.9]), "p climbs: the step is subtracted")
    expect(not near(p, [1.425, -2.375, 1.9]), "the decay comes before the step: 2 * 0.95 - 0.5")
    expect(not near(p[2:], [1.5]), "weight decay is in the direction: it shrinks p, and nothing else")
    expect(not near(p[2:], [1.8]), "p shrinks by lr * weight_decay, not by weight_decay")
    expect_close(p, [1.4, -2.4, 1.9], "2, -2 and 2 with gradients 3, 3 and 0 must become 1.4, -2.4 and 1.9", 1e-5)
    expect_close(momentum, [0.03, 0.03, 0.0], "the momentum must become (1 - 0.99) times the gradient, in place", 1e-5)


@check("update", title="three steps, with a gradient that turns round")
def three_steps(student, rng):
    grads = [torch.tensor([g] * 2) for g in (10.0, -0.86, -2.0)]
    seen = student.run(run_update, torch.zeros(2), grads, 1.0, (0.9, 0.99), 0.0)
    expect_close(seen[0][0], [-1.0, -1], "the first step goes against the gradient, by lr", 1e-5)
    message = (
        "the second gradient, -0.86, is just weaker than the momentum of 0.1 that the first has left: 0.09 - 0.086 > 0, so p "
        "goes on to -2; it turns too early where the momentum changes before the direction is taken"
    )
    expect_close(seen[1][0], [-2.0, -2], message, 1e-5)
    expect_close(
        seen[1][1], [0.0904, 0.0904], "the momentum after two steps is 0.99 * 0.1 + 0.01 * (-0.86) = 0.0904", 1e-5
    )
    expect_close(seen[2][0], [-1.0, -1], "0.9 * 0.0904 - 0.1 * 2 < 0, so the third step leads back to -1", 1e-5)


# ---------------------------------------------------------------------------------------------------------------------
# 3 · foreach


def run_foreach(student, params, grads, momenta, lr, betas, weight_decay):
    import torch

    kept = [grad.clone() for grad in grads]
    with torch.no_grad():
        student.lion_update_foreach_(params, grads, momenta, lr, betas, weight_decay)
    return params, momenta, all(bool((a == b).all()) for a, b in zip(grads, kept))


def run_counted(student, number):
    import torch
    from torch.utils._python_dispatch import TorchDispatchMode

    class Count(TorchDispatchMode):
        calls = 0

        def __torch_dispatch__(self, func, types, args=(), kwargs=None):
            self.calls += 1
            return func(*args, **(kwargs or {}))

    lists = [[torch.ones(3) for _ in range(number)] for _ in range(3)]
    with torch.no_grad(), Count() as count:
        student.lion_update_foreach_(*lists, 0.1, (0.9, 0.99), 0.1)
    return count.calls


@check("foreach", title="three tensors")
def three_tensors(student, rng):
    params = [torch.tensor([2.0, -2.0]), torch.tensor([[2.0]]), torch.tensor(2.0)]
    grads = [torch.tensor([3.0, 3.0]), torch.tensor([[-8.0]]), torch.tensor(-10.0)]
    momenta = [torch.zeros(2), torch.ones(1, 1), torch.tensor(1.0)]
    params, momenta, same = student.run(run_foreach, params, grads, momenta, 0.5, (0.9, 0.99), 0.1)
    expect(same, "a gradient has changed: they are only read")
    message = "the tensors of the list must change in place, each as lion_update_ changes it"
    expect(near(params[0], [1.4, -2.4]) and near(params[1], [[1.4]]) and near(params[2], 2.4), message)
    expect(near(momenta[0], [0.03, 0.03]) and near(momenta[1], [[0.91]]) and near(momenta[2], 0.89), message)


@check("foreach", title="betas of 0")
def betas_of_zero(student, rng):
    for betas, moved, kept in (((0.0, 0.5), -0.5, 2.5), ((0.5, 0.0), 0.5, 3.0)):
        given = [torch.zeros(2)], [torch.tensor([3.0, -3.0])], [torch.tensor([2.0, 8.0])]
        params, momenta, _ = student.run(run_foreach, *given, 0.5, betas, 0.0)
        wanted = [-0.5, -moved], [kept, 2.5 if betas[0] == 0 else -3.0]
        message = f"with betas {betas} gradients 3, -3 and momenta 2, 8 lead from 0 to {wanted[0]}, and the momenta to {wanted[1]}"
        expect(near(params[0], wanted[0]) and near(momenta[0], wanted[1]), message)


@check("foreach", title="as many operations for 20 tensors as for 2")
def counted(student, rng):
    few, many = student.run(run_counted, 2), student.run(run_counted, 20)
    expect_equal(
        few, many, f"2 tensors take {few} operations and 20 take {many}: use those on lists, torch._foreach_..."
    )


# ---------------------------------------------------------------------------------------------------------------------
# 4 · optimizer


def run_steps(student, starts, groups, grads, options):
    """All parameters after each step; ``groups`` holds a dict of options and the numbers of its parameters."""
    import torch

    params = [torch.nn.Parameter(start.clone()) for start in starts]
    lion = student.Lion([{"params": [params[i] for i in which], **own} for which, own in groups], **options)
    seen = []
    for row in grads:
        for p, grad in zip(params, row):
            p.grad = None if grad is None else grad.clone()
        lion.step()
        seen.append([p.detach().clone() for p in params])
    return seen


@check("optimizer", title="two groups, and a parameter without a gradient")
def groups(student, rng):
    starts = [torch.tensor([2.0]), torch.tensor([2.0]), torch.tensor([2.0])]
    grads = [[torch.tensor([1.0]), torch.tensor([1.0]), None]] * 2
    seen = student.run(run_steps, starts, [([0, 2], {}), ([1], {"lr": 0.25})], grads, {"lr": 0.5, "weight_decay": 0.1})
    expect_close(seen[0][2], [2.0], "a parameter whose gradient is None must stay as it is: no decay, no step", 1e-5)
    expect_close(seen[0][0], [1.4], "the group without an lr of its own takes that of Lion(...)", 1e-5)
    expect_close(seen[0][1], [1.7], "the group with lr 0.25 must go by that: 2 * (1 - 0.025) - 0.25", 1e-5)
    expect_close(seen[1][0], [0.83], "the second step must go on from the first: 1.4 * 0.95 - 0.5", 1e-5)


def run_closure(student):
    import torch

    p, calls = torch.nn.Parameter(torch.tensor([2.0])), []
    lion = student.Lion([p], lr=0.5)

    def closure():
        lion.zero_grad()
        loss = (p * p).sum()
        loss.backward()
        calls.append(1)
        return loss

    value = lion.step(closure)
    alone = lion.step()
    return None if value is None else float(value), len(calls), alone is None, p.detach().clone()


@check("optimizer", title="a closure")
def closure(student, rng):
    value, calls, nothing, p = student.run(run_closure)
    expect_equal(calls, 1, "step must call its closure once")
    expect_equal(value, 4.0, "step must return what its closure returns")
    expect(nothing, "without a closure step returns None")
    expect_close(p, [1.0], "after two steps of 0.5 from 2 the parameter must be 1", 1e-5)


def run_twins(student):
    import torch

    p, q = (torch.nn.Parameter(torch.zeros(2)) for _ in range(2))
    lion = student.Lion([p, q], lr=1.0)
    for a, b in ((10.0, 0.1), (-0.5, -0.5)):
        p.grad, q.grad = torch.full((2,), a), torch.full((2,), b)
        lion.step()
    saved = lion.state_dict()["state"].values()
    tensors = [value for state in saved for value in state.values() if isinstance(value, torch.Tensor)]
    history = any(tensor.requires_grad for tensor in tensors) or not (p.is_leaf and p.requires_grad)
    return p.detach().clone(), q.detach().clone(), sum(t.numel() for t in tensors), history


@check("optimizer", title="a momentum for each parameter, saved, without a history")
def twins(student, rng):
    p, q, saved, history = student.run(run_twins)
    message = "of two parameters with gradients 10 and 0.1, then -0.5 and -0.5, each goes by a momentum of its own"
    expect_close(torch.stack((p, q)), [[-2.0, -2.0], [0.0, 0.0]], message, 1e-4)
    expect(saved >= 4, "state_dict() lacks the momenta: keep them in self.state[p]")
    expect(not history, "parameters and momenta must not be part of an autograd graph: torch.no_grad()")


def run_refused(student, case):
    import torch

    p = torch.nn.Parameter(torch.ones(3))
    bad = {"lr": {"lr": -0.1}, "beta": {"betas": (0.9, 1.0)}, "decay": {"weight_decay": -0.1}}
    lion = student.Lion([p], lr=0.5)
    p.grad = torch.ones(3)
    lion.step()  # what is not solved yet is told here
    try:
        if case in bad:
            student.Lion([p], **bad[case])
        elif case == "leaf":
            student.Lion([p * 2])
        else:
            p.grad = torch.sparse_coo_tensor([[1]], [1.0], (3,), check_invariants=True)
            lion.step()
    except Exception as error:
        kind = "ValueError" if isinstance(error, ValueError) else type(error).__name__
        return kind, "sparse" in str(error).lower()
    return "nothing", False


def run_values(student, options, changes):
    """Two steps from 2 with gradients of 1, and the parameter after each; ``changes`` come between them."""
    import torch

    p, seen = torch.nn.Parameter(torch.tensor([2.0])), []
    lion = student.Lion([p], **options)
    for values in ({}, changes):
        lion.param_groups[0].update(values)
        p.grad = torch.ones(1)
        lion.step()
        seen.append(p.detach().clone())
    return seen


@check("optimizer", title="values: defaults, 0, and what a scheduler changes")
def values(student, rng):
    first, _ = student.run(run_values, {}, {})
    expect_close(first, [1.9999], "Lion(params) has lr 1e-4 and no decay: 2 becomes 1.9999 in a step", 1e-6)
    for name, value in {"lr": 0.0, "weight_decay": 0.0, "betas": (0.0, 0.0)}.items():
        first, _ = student.run(run_values, {"lr": 0.5, name: value}, {})
        expect_close(
            first, [2.0 if name == "lr" else 1.5], f"{name} = {value} is allowed, and leads elsewhere here", 1e-5
        )
    _, second = student.run(run_values, {"lr": 0.5}, {"lr": 0.25})
    expect_close(second, [1.25], "lr of the group is 0.25 in the second step: 1.5 - 0.25", 1e-5)
    _, second = student.run(run_values, {"lr": 0.5}, {"weight_decay": 0.2})
    expect_close(second, [0.85], "weight_decay of the group is 0.2 in the second step: 1.5 * 0.9 - 0.5", 1e-5)


@check("optimizer", title="errors")
def errors(student, rng):
    for case, what in {"lr": "lr = -0.1", "beta": "betas = (0.9, 1.0)", "decay": "weight_decay = -0.1"}.items():
        kind, _ = student.run(run_refused, case)
        expect_equal(kind, "ValueError", f"{what} must raise a ValueError")
    kind, _ = student.run(run_refused, "leaf")
    expect(kind != "nothing", "a tensor that was computed is no parameter: super().__init__ refuses it")
    kind, said = student.run(run_refused, "sparse")
    expect(kind != "nothing" and said, "a sparse gradient must raise an error with the word sparse in it")
