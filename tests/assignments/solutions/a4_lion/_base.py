import torch
from torch.optim import Optimizer


def lion_update_foreach_(params, grads, momenta, lr, betas, weight_decay):
    directions = torch._foreach_mul(momenta, betas[0])
    torch._foreach_add_(directions, grads, alpha=1 - betas[0])
    torch._foreach_sign_(directions)
    torch._foreach_mul_(params, 1 - lr * weight_decay)
    torch._foreach_add_(params, directions, alpha=-lr)
    torch._foreach_mul_(momenta, betas[1])
    torch._foreach_add_(momenta, grads, alpha=1 - betas[1])


class Lion(Optimizer):
    """In parts, so that a wrong solution replaces one of them."""

    def __init__(self, params, lr=1e-4, betas=(0.9, 0.99), weight_decay=0.0):
        self.check_arguments(lr, betas, weight_decay)
        super().__init__(params, dict(lr=lr, betas=betas, weight_decay=weight_decay))

    def check_arguments(self, lr, betas, weight_decay):
        if lr < 0:
            raise ValueError("lr")
        if not all(0 <= beta < 1 for beta in betas):
            raise ValueError("betas")
        if weight_decay < 0:
            raise ValueError("weight_decay")

    def step(self, closure=None):
        loss = self.call(closure)
        with torch.no_grad():
            self.look_for_sparse()
            self.update_all()
        return loss

    def call(self, closure):
        if closure is None:
            return None
        with torch.enable_grad():
            return closure()

    def look_for_sparse(self):
        for group in self.param_groups:
            for p in group["params"]:
                if p.grad is not None and p.grad.is_sparse:
                    raise RuntimeError("no sparse gradients")

    def update_all(self):
        for group in self.param_groups:
            for p in group["params"]:
                if p.grad is not None:
                    self.update(p, self.gradient(p, group), self.momentum(p, group), group)

    def gradient(self, p, group):
        return p.grad

    def momentum(self, p, group):
        state = self.state[p]
        if "m" not in state:
            state["m"] = self.first(p)
        return state["m"]

    def first(self, p):
        return torch.zeros_like(p)

    def update(self, p, g, m, group):
        lr, (beta1, beta2), wd = group["lr"], group["betas"], group["weight_decay"]
        c = self.sign(self.direction(g, m, beta1, beta2))
        self.decay(p, lr, wd)
        self.move(p, c, lr)
        self.keep(m, g, beta1, beta2)

    def direction(self, g, m, beta1, beta2):
        return beta1 * m + (1 - beta1) * g

    def sign(self, c):
        return c.sign()

    def decay(self, p, lr, wd):
        p.mul_(1 - lr * wd)

    def move(self, p, c, lr):
        p.sub_(lr * c)

    def keep(self, m, g, beta1, beta2):
        m.mul_(beta2).add_(g, alpha=1 - beta2)
