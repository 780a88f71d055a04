"""SGD with everything that an optimizer should have, and nothing of Lion.

most: 0
"""

import torch


class Lion(torch.optim.SGD):
    def __init__(self, params, lr=1e-4, betas=(0.9, 0.99), weight_decay=0.0):
        if not 0 <= betas[0] < 1 or not 0 <= betas[1] < 1:
            raise ValueError("betas")
        super().__init__(params, lr=lr, weight_decay=weight_decay)

    @torch.no_grad()
    def step(self, closure=None):
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        params = [(p, group["lr"]) for group in self.param_groups for p in group["params"] if p.grad is not None]
        if any(p.grad.is_sparse for p, _ in params):
            raise RuntimeError("no sparse gradients")
        for p, lr in params:
            p.add_(p.grad, alpha=-lr)
        return loss


def lion_update_foreach_(params, grads, momenta, lr, betas, weight_decay):
    torch._foreach_add_(params, grads, alpha=-lr)
