"""All momenta are made with the optimizer, in __init__ and when a group is added."""

import torch


def lion_update_foreach_(params, grads, momenta, lr, betas, weight_decay):
    c = torch._foreach_mul(grads, 1 - betas[0])
    torch._foreach_add_(c, momenta, alpha=betas[0])
    pos = torch._foreach_sign(c)
    torch._foreach_mul_(pos, lr)
    torch._foreach_add_(pos, params, alpha=lr * weight_decay)
    torch._foreach_sub_(params, pos)
    torch._foreach_mul_(momenta, betas[1] / (1 - betas[1]))
    torch._foreach_add_(momenta, grads)
    torch._foreach_mul_(momenta, 1 - betas[1])


class Lion(torch.optim.Optimizer):
    def __init__(self, params, lr=1e-4, betas=(0.9, 0.99), weight_decay=0.0):
        if lr < 0 or weight_decay < 0 or min(betas) < 0 or max(betas) >= 1:
            raise ValueError("Lion: bad hyperparameters")
        super().__init__(params, {"lr": lr, "betas": betas, "weight_decay": weight_decay})

    def add_param_group(self, group):
        super().add_param_group(group)
        for p in self.param_groups[-1]["params"]:
            self.state[p]["m"] = torch.zeros_like(p).detach()

    def step(self, closure=None):
        with torch.enable_grad():
            value = None if closure is None else closure()
        every = [p for group in self.param_groups for p in group["params"]]
        if any(p.grad is not None and p.grad.layout is not torch.strided for p in every):
            raise RuntimeError("sparse gradients")
        with torch.inference_mode(False), torch.no_grad():
            for group in self.param_groups:
                b1, b2 = group["betas"]
                for p in group["params"]:
                    if (g := p.grad) is not None:
                        m = self.state[p]["m"]
                        up, down = (m * b1 > g * (b1 - 1)), (m * b1 < g * (b1 - 1))
                        p -= p * (group["lr"] * group["weight_decay"])
                        p -= group["lr"] * (up.to(p.dtype) - down.to(p.dtype))
                        m *= b2
                        m += (1 - b2) * g
        return value
