"""As PyTorch writes its own: lists gathered by a helper, a counter of steps, further switches, errors of its own."""

import torch
from torch.optim.optimizer import Optimizer, ParamsT


class BadSetting(ValueError):
    pass


class Lion(Optimizer):
    def __init__(
        self,
        params: ParamsT,
        lr: float = 1e-4,
        betas: tuple[float, float] = (0.9, 0.99),
        weight_decay: float = 0.0,
        *,
        maximize: bool = False,
    ):
        if not lr >= 0.0:
            raise BadSetting(f"Invalid learning rate: {lr}")
        if not weight_decay >= 0.0:
            raise BadSetting(f"Invalid weight_decay value: {weight_decay}")
        for i, beta in enumerate(betas):
            if not 0.0 <= beta < 1.0:
                raise BadSetting(f"Invalid beta parameter at index {i}: {beta}")
        super().__init__(params, dict(lr=lr, betas=betas, weight_decay=weight_decay, maximize=maximize))

    def __setstate__(self, state):
        super().__setstate__(state)
        for group in self.param_groups:
            group.setdefault("maximize", False)

    def _init_group(self, group, params, grads, exp_avgs, steps):
        for p in group["params"]:
            if p.grad is None:
                continue
            state = self.state[p]
            if len(state) == 0:
                state["step"] = torch.tensor(0.0)
                state["exp_avg"] = torch.zeros_like(p, memory_format=torch.preserve_format)
            params.append(p)
            grads.append(-p.grad if group["maximize"] else p.grad)
            exp_avgs.append(state["exp_avg"])
            steps.append(state["step"])

    @torch.no_grad()
    def step(self, closure=None):
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        if any(p.grad is not None and p.grad.is_sparse for group in self.param_groups for p in group["params"]):
            raise RuntimeError("Lion does not support sparse gradients")
        for group in self.param_groups:
            lists = [], [], [], []
            self._init_group(group, *lists)
            params, grads, exp_avgs, steps = lists
            if params:
                torch._foreach_add_(steps, 1)
                lion_update_foreach_(params, grads, exp_avgs, group["lr"], group["betas"], group["weight_decay"])
        return loss


def lion_update_foreach_(params, grads, momenta, lr, betas, weight_decay):
    beta1, beta2 = betas
    updates = torch._foreach_lerp(momenta, grads, 1 - beta1)
    torch._foreach_sign_(updates)
    torch._foreach_mul_(updates, -lr)
    torch._foreach_mul_(params, 1 - lr * weight_decay)
    torch._foreach_add_(params, updates)
    torch._foreach_lerp_(momenta, grads, 1 - beta2)
