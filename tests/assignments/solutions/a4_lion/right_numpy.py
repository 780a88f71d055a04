"""Arithmetic in NumPy, on arrays that share memory with the tensors where NumPy knows the dtype."""

import numpy as np
import torch


def lion_update_foreach_(params, grads, momenta, lr, betas, weight_decay):
    params, grads, momenta = list(params), list(grads), list(momenta)
    torch._foreach_mul_(params, 1 - lr * weight_decay)
    weighed = torch._foreach_mul(grads, (1 - betas[0]) / betas[0] if betas[0] else 1.0)
    if betas[0]:
        torch._foreach_add_(weighed, momenta)
    torch._foreach_sign_(weighed)
    torch._foreach_mul_(weighed, -lr)
    torch._foreach_add_(params, weighed)
    torch._foreach_sub_(momenta, grads)
    torch._foreach_mul_(momenta, betas[1])
    torch._foreach_add_(momenta, grads)


class Lion(torch.optim.Optimizer):
    def __init__(self, params, lr=1e-4, betas=(0.9, 0.99), weight_decay=0.0):
        good = lr >= 0 and weight_decay >= 0 and all(b >= 0 and b < 1 for b in betas)
        if not good:
            raise ValueError((lr, betas, weight_decay))
        super().__init__(params, defaults=dict(lr=lr, betas=tuple(betas), weight_decay=weight_decay))

    def step(self, closure=None):
        with torch.enable_grad():
            loss = closure() if callable(closure) else None
        for group in self.param_groups:
            for p in group["params"]:
                if p.grad is not None and p.grad.is_sparse:
                    raise ValueError("a sparse gradient")
        for group in self.param_groups:
            lr, (b1, b2), wd = group["lr"], group["betas"], group["weight_decay"]
            for p in filter(lambda p: p.grad is not None, group["params"]):
                if not self.state[p]:
                    self.state[p] = {"momentum": p.detach() * 0}
                wide = torch.float64
                x, g, m = (t.detach().to(wide).numpy() for t in (p, p.grad, self.state[p]["momentum"]))
                x = x * (1 - lr * wd) - lr * np.sign(b1 * m + (1 - b1) * g)
                p.detach().copy_(torch.from_numpy(np.asarray(x)))
                self.state[p]["momentum"].copy_(torch.from_numpy(np.asarray(b2 * m + (1 - b2) * g)))
        return loss
