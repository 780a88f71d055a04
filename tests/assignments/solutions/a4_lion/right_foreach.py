"""Lists all through: one call of the list function a group and dtype, wherever the tensors lie."""

import torch


@torch.no_grad()
def lion_update_foreach_(params, grads, momenta, lr, betas, weight_decay):
    directions = torch._foreach_lerp(momenta, grads, 1 - betas[0])
    torch._foreach_sign_(directions)
    if weight_decay != 0:
        torch._foreach_mul_(params, 1 - lr * weight_decay)
    torch._foreach_add_(params, directions, alpha=-lr)
    torch._foreach_lerp_(momenta, grads, 1 - betas[1])


class Lion(torch.optim.Optimizer):
    def __init__(self, params, lr: float = 1e-4, betas=(0.9, 0.99), weight_decay: float = 0.0):
        if not 0.0 <= lr:
            raise ValueError(f"Invalid learning rate: {lr}")
        if not 0.0 <= betas[0] < 1.0:
            raise ValueError(f"Invalid beta parameter at index 0: {betas[0]}")
        if not 0.0 <= betas[1] < 1.0:
            raise ValueError(f"Invalid beta parameter at index 1: {betas[1]}")
        if not 0.0 <= weight_decay:
            raise ValueError(f"Invalid weight_decay value: {weight_decay}")
        super().__init__(params, dict(lr=lr, betas=betas, weight_decay=weight_decay))

    @torch.no_grad()
    def step(self, closure=None):
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        lists = []
        for group in self.param_groups:
            by_dtype = {}
            for p in group["params"]:
                if p.grad is None:
                    continue
                if p.grad.is_sparse:
                    raise RuntimeError("Lion does not support sparse gradients")
                state = self.state[p]
                if len(state) == 0:
                    state["exp_avg"] = torch.zeros_like(p, memory_format=torch.preserve_format)
                columns = by_dtype.setdefault((p.device, p.dtype), ([], [], []))
                for column, tensor in zip(columns, (p, p.grad, state["exp_avg"])):
                    column.append(tensor)
            lists += [(columns, group) for columns in by_dtype.values()]
        for columns, group in lists:
            lion_update_foreach_(*columns, group["lr"], group["betas"], group["weight_decay"])
        return loss
