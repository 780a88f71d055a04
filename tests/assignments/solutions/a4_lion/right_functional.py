"""Pure functions that compute new values, copied into the old tensors at the end."""

import math
from collections.abc import Iterable

import torch


def new_values(p, g, m, lr, b1, b2, wd):
    c = m * b1 + g * (1 - b1)
    return p - lr * wd * p - lr * torch.sgn(c), m * b2 + g * (1 - b2)


def lion_update_foreach_(params, grads, momenta, lr, betas, weight_decay):
    b1, b2 = betas
    c = torch._foreach_add(torch._foreach_mul(momenta, b1), torch._foreach_mul(grads, 1 - b1))
    steps = torch._foreach_mul(torch._foreach_sign(c), lr)
    torch._foreach_copy_(params, torch._foreach_sub(torch._foreach_mul(params, 1 - lr * weight_decay), steps))
    new = torch._foreach_add(torch._foreach_mul(momenta, b2), torch._foreach_mul(grads, 1 - b2))
    torch._foreach_copy_(momenta, new)


class Lion(torch.optim.Optimizer):
    def __init__(self, params: Iterable, lr=1e-4, betas=(0.9, 0.99), weight_decay=0.0):
        for name, value, below in (
            ("lr", lr, math.inf),
            ("wd", weight_decay, math.inf),
            ("b1", betas[0], 1),
            ("b2", betas[1], 1),
        ):
            if value < 0 or value >= below:
                raise ValueError(f"bad {name}")
        torch.optim.Optimizer.__init__(self, params, {"lr": lr, "betas": betas, "weight_decay": weight_decay})

    def step(self, closure=None):
        with torch.enable_grad():
            answer = closure() if closure else None
        todo = [(p, group) for group in self.param_groups for p in group["params"] if p.grad is not None]
        for p, _ in todo:
            if p.grad.is_sparse:
                raise TypeError("Lion: sparse gradient")
        for p, group in todo:
            m = self.state[p].get("momentum", torch.zeros_like(p.data))
            p_new, m_new = new_values(p.data, p.grad.data, m, group["lr"], *group["betas"], group["weight_decay"])
            p.data.copy_(p_new)
            self.state[p]["momentum"] = m_new.detach()
        return answer
