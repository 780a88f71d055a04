"""AdamW by the name of Lion.

most: 2
"""

import torch
from torch.optim.adam import adam


class Lion(torch.optim.AdamW):
    def __init__(self, params, lr=1e-4, betas=(0.9, 0.99), weight_decay=0.0):
        super().__init__(params, lr=lr, betas=betas, weight_decay=weight_decay)

    @torch.no_grad()
    def step(self, closure=None):
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            lists = [[] for _ in range(6)]
            self._init_group(group, *lists)
            if any(g.is_sparse for g in lists[1]):
                raise RuntimeError("no sparse gradients")
            (beta1, beta2), names = group["betas"], ("lr", "weight_decay", "eps")
            options = {name: group[name] for name in names}
            adam(
                *lists,
                amsgrad=False,
                maximize=False,
                has_complex=False,
                decoupled_weight_decay=True,
                beta1=beta1,
                beta2=beta2,
                **options,
            )
        return loss


def lion_update_foreach_(params, grads, momenta, lr, betas, weight_decay):
    squares, steps = [torch.zeros_like(p) for p in params], [torch.zeros(()) for _ in params]
    adam(
        params,
        grads,
        momenta,
        squares,
        [],
        steps,
        amsgrad=False,
        maximize=False,
        decoupled_weight_decay=True,
        eps=1e-8,
        beta1=betas[0],
        beta2=betas[1],
        lr=lr,
        weight_decay=weight_decay,
    )
