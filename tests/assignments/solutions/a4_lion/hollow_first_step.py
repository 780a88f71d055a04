"""The right first step, and that again and again.

most: 0
"""

import torch


class Lion(torch.optim.Optimizer):
    def __init__(self, params, lr=1e-4, betas=(0.9, 0.99), weight_decay=0.0):
        super().__init__(params, {"lr": lr, "betas": betas, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure=None):
        loss = closure() if closure else None
        for group in self.param_groups:
            for p in group["params"]:
                if p.grad is not None:
                    first = self.state[p].setdefault("first", p.grad.sign())
                    p.mul_(1 - group["lr"] * group["weight_decay"]).sub_(group["lr"] * first)
        return loss


def lion_update_foreach_(params, grads, momenta, lr, betas, weight_decay):
    torch._foreach_mul_(params, 1 - lr * weight_decay)
    torch._foreach_add_(params, torch._foreach_sign(grads), alpha=-lr)
