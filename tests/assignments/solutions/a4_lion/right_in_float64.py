"""Computed in float64 and written back; the group as a small class of its own."""

from dataclasses import dataclass

import torch


@dataclass(frozen=True)
class Rule:
    lr: float
    beta1: float
    beta2: float
    weight_decay: float

    def __post_init__(self):
        if min(self.lr, self.weight_decay) < 0:
            raise ValueError("below 0")
        if not (0 <= self.beta1 < 1 and 0 <= self.beta2 < 1):
            raise ValueError("betas lie in [0, 1)")

    def __call__(self, p, g, m):
        p64, g64, m64 = (t.to(torch.float64) for t in (p, g, m))
        way = torch.sign(self.beta1 * m64 + (1 - self.beta1) * g64)
        m.copy_(self.beta2 * m64 + (1 - self.beta2) * g64)
        p.copy_((1 - self.lr * self.weight_decay) * p64 - self.lr * way)


class Lion(torch.optim.Optimizer):
    def __init__(self, params, lr=1e-4, betas=(0.9, 0.99), weight_decay=0.0):
        Rule(lr, *betas, weight_decay)
        super().__init__(params, {"lr": lr, "betas": list(betas), "weight_decay": weight_decay})

    def step(self, closure=None):
        with torch.enable_grad():
            value = closure() if closure else None
        with torch.no_grad():
            self._step()
        return value

    def _step(self):
        pairs = [(group, p) for group in self.param_groups for p in group["params"] if p.grad is not None]
        for _, p in pairs:
            if p.grad.is_sparse:
                raise ValueError("a sparse gradient")
        for group, p in pairs:
            rule = Rule(group["lr"], *group["betas"], group["weight_decay"])
            rule(p, p.grad, self.state[p].setdefault("momentum", torch.zeros_like(p)))


def lion_update_foreach_(params, grads, momenta, lr, betas, weight_decay):
    ways = torch._foreach_add(
        torch._foreach_mul(momenta, betas[0]),
        torch._foreach_mul(grads, 1 - betas[0]),
    )
    torch._foreach_sign_(ways)
    torch._foreach_mul_(params, 1 - lr * weight_decay)
    torch._foreach_sub_(params, ways, alpha=lr)
    torch._foreach_mul_(momenta, betas[1])
    torch._foreach_add_(momenta, grads, alpha=1 - betas[1])
