"""Steps of the right size in random directions, always the same for the same place.

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
                    count = self.state[p]["count"] = self.state[p].get("count", 0) + 1
                    random = torch.Generator().manual_seed(count)
                    p.mul_(1 - group["lr"] * group["weight_decay"])
                    p.sub_(group["lr"] * torch.randn(p.shape, generator=random).sign())
        return loss


def lion_update_foreach_(params, grads, momenta, lr, betas, weight_decay):
    torch._foreach_mul_(params, 1 - lr * weight_decay)
    torch._foreach_sub_(params, lr)
