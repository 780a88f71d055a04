# Built from assignments/text/a4_lion.py by `cs336lite build`: edit that file, not this one.
"""The Lion optimizer: every parameter moves by the learning rate, in the direction of a sign.

Chen et al. 2023, "Symbolic Discovery of Optimization Algorithms", https://arxiv.org/abs/2302.06675, algorithm 2.

    p <- p (1 - lr wd);   p <- p - lr sign(b1 m + (1 - b1) g);   m <- b2 m + (1 - b2) g

Shapes: a parameter p, its gradient g and its momentum m are alike in shape, dtype and device. Names that end with an
underscore change their arguments, as in PyTorch.

Built in assignments/source/a4_lion/a4_lion.ipynb.
"""

from collections.abc import Callable, Sequence
from numbers import Real
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor


def lion_direction(grad: Float[Tensor, "..."], momentum: Float[Tensor, "..."], beta1: float) -> Float[Tensor, "..."]:
    """The signs of ``beta1 * momentum + (1 - beta1) * grad``: -1, 0 or 1, in a new tensor.

    >>> lion_direction(torch.tensor([-5.0, -10.0, 0.0]), torch.tensor([1.0, 1.0, 0.0]), beta1=0.9).tolist()
    [1.0, -1.0, 0.0]
    """
    return momentum.lerp(grad, 1 - beta1).sign_()  # lerp: one pass over memory, and in bfloat16 one rounding


def lion_update_(
    p: Float[Tensor, "..."],
    grad: Float[Tensor, "..."],
    momentum: Float[Tensor, "..."],
    lr: float,
    betas: tuple[float, float],
    weight_decay: float,
) -> None:
    """One step of Lion for one tensor: changes ``p`` and ``momentum``; ``grad`` stays as it is.

    >>> p, momentum = torch.tensor([2.0]), torch.zeros(1)
    >>> lion_update_(p, torch.tensor([3.0]), momentum, lr=0.5, betas=(0.9, 0.99), weight_decay=0.1)
    >>> print(f"{p.item():.2f} {momentum.item():.2f}")
    1.40 0.03
    """
    direction = lion_direction(grad, momentum, betas[0])
    if weight_decay:
        p.mul_(1 - lr * weight_decay)
    p.add_(direction, alpha=-lr)
    momentum.lerp_(grad, 1 - betas[1])


PIECE = 2**16
"""Numbers a piece: three such tensors and the direction fit into a cache, and two threads have enough to share."""


def lion_update_in_pieces_(
    p: Float[Tensor, "..."],
    grad: Float[Tensor, "..."],
    momentum: Float[Tensor, "..."],
    lr: float,
    betas: tuple[float, float],
    weight_decay: float,
) -> None:
    """As `lion_update_`, on a large tensor piece by piece, which is faster on a CPU."""
    tensors = (p, grad, momentum)
    if p.numel() <= PIECE or not all(tensor.is_contiguous() for tensor in tensors):
        lion_update_(p, grad, momentum, lr, betas, weight_decay)
        return
    for piece in zip(*(tensor.view(-1).split(PIECE) for tensor in tensors)):
        lion_update_(*piece, lr, betas, weight_decay)


def lion_update_foreach_(
    params: list[Tensor],
    grads: list[Tensor],
    momenta: list[Tensor],
    lr: float,
    betas: tuple[float, float],
    weight_decay: float,
) -> None:
    """One step of Lion for many tensors of one dtype and device, in as many operations as for one.

    Changes ``params`` and ``momenta``; needs memory for one direction per parameter while it runs.
    """
    directions = torch._foreach_lerp(momenta, grads, 1 - betas[0])
    torch._foreach_sign_(directions)
    if weight_decay:
        torch._foreach_mul_(params, 1 - lr * weight_decay)
    torch._foreach_add_(params, directions, alpha=-lr)
    torch._foreach_lerp_(momenta, grads, 1 - betas[1])


def lion_update_all_(
    params: list[Tensor],
    grads: list[Tensor],
    momenta: list[Tensor],
    lr: float,
    betas: tuple[float, float],
    weight_decay: float,
) -> None:
    """One step of Lion for many tensors of any dtypes and devices: in pieces on a CPU, in lists elsewhere."""
    elsewhere = {}
    for tensors in zip(params, grads, momenta):
        p = tensors[0]
        if p.device.type == "cpu":
            lion_update_in_pieces_(*tensors, lr, betas, weight_decay)
        else:
            elsewhere.setdefault((p.device, p.dtype), []).append(tensors)
    for alike in elsewhere.values():
        lion_update_foreach_(*(list(column) for column in zip(*alike)), lr, betas, weight_decay)


class Lion(torch.optim.Optimizer):
    """Lion: p <- p (1 - lr wd); p <- p - lr sign(b1 m + (1 - b1) g); m <- b2 m + (1 - b2) g.

    Args:
        params: parameters, or dicts with ``"params"`` and the values of that group.
        lr: how far every parameter moves in a step; typically 3 to 10 times smaller than for AdamW.
        betas: the weight of the momentum in the direction, and in the next momentum.
        weight_decay: parameters shrink by ``lr * weight_decay`` in a step; typically 3 to 10 times larger than for AdamW.

    Raises ValueError for lr < 0, weight_decay < 0 and a beta outside [0, 1).
    """

    def __init__(
        self,
        params: Any,
        lr: float = 1e-4,
        betas: Sequence[float] = (0.9, 0.99),
        weight_decay: float = 0.0,
    ) -> None:
        super().__init__(params, {"lr": lr, "betas": betas, "weight_decay": weight_decay})

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Take in one more group; what it does not say is as in ``Lion(...)``. Raises ValueError as that does."""
        options = {**self.defaults, **param_group}
        for name in ("lr", "weight_decay"):
            value = options[name]
            if not isinstance(value, Real | Tensor) or (isinstance(value, Tensor) and value.ndim):
                raise TypeError(f"{name} is {value!r}: it must be a number, or a tensor without dimensions")
            if not 0 <= value < float("inf"):
                raise ValueError(f"{name} is {value}: it must be 0 or more, and finite")
        if len(options["betas"]) != 2 or not all(0 <= beta < 1 for beta in options["betas"]):
            raise ValueError(f"betas are {options['betas']}: they must be two numbers, 0 <= beta < 1")
        super().add_param_group(param_group)

    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Update all parameters that have a gradient. ``closure`` computes the loss anew; its value is returned.

        Raises RuntimeError for a sparse gradient, before anything is changed.
        """
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        with torch.no_grad():
            due = [[p for p in group["params"] if p.grad is not None] for group in self.param_groups]
            if any(p.grad.layout != torch.strided for params in due for p in params):
                raise RuntimeError("Lion has no sparse gradients: the momentum moves every parameter in every step")
            for group, params in zip(self.param_groups, due):
                momenta = [self._momentum(p) for p in params]
                options = (group[name] for name in ("lr", "betas", "weight_decay"))
                lion_update_all_(params, [p.grad for p in params], momenta, *options)
        return loss

    def _momentum(self, p: Tensor) -> Tensor:
        state = self.state[p]
        if "exp_avg" not in state:  # the name that other Lions use: their checkpoints are ours
            state["exp_avg"] = torch.zeros_like(p)
        return state["exp_avg"]
