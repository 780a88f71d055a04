import torch


def lion_direction(grad, momentum, beta1):
    return torch.sign(beta1 * momentum + (1 - beta1) * grad)


def lion_update_(p, grad, momentum, lr, betas, weight_decay):
    direction = lion_direction(grad, momentum, betas[0])
    p.mul_(1 - lr * weight_decay)
    p.add_(direction, alpha=-lr)
    momentum.mul_(betas[1]).add_(grad, alpha=1 - betas[1])


def lion_update_foreach_(params, grads, momenta, lr, betas, weight_decay):
    directions = torch._foreach_mul(momenta, betas[0])
    torch._foreach_add_(directions, grads, alpha=1 - betas[0])
    torch._foreach_sign_(directions)
    torch._foreach_mul_(params, 1 - lr * weight_decay)
    torch._foreach_add_(params, directions, alpha=-lr)
    torch._foreach_mul_(momenta, betas[1])
    torch._foreach_add_(momenta, grads, alpha=1 - betas[1])


class Lion(torch.optim.Optimizer):
    def __init__(self, params, lr=1e-4, betas=(0.9, 0.99), weight_decay=0.0):
        if lr < 0 or weight_decay < 0 or any(beta < 0 or beta >= 1 for beta in betas):
            raise ValueError("lr, betas or weight_decay")
        super().__init__(params, {"lr": lr, "betas": betas, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure=None):
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        due = [(p, group) for group in self.param_groups for p in group["params"] if p.grad is not None]
        if any(p.grad.is_sparse for p, _ in due):
            raise RuntimeError("Lion takes no sparse gradients")
        for p, group in due:
            if not self.state[p]:
                self.state[p]["momentum"] = torch.zeros_like(p)
            options = group["lr"], group["betas"], group["weight_decay"]
            lion_update_(p, p.grad, self.state[p]["momentum"], *options)
        return loss
