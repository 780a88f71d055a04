"""Can be made, and raises in each step."""

import torch


class Lion(torch.optim.Optimizer):
    def __init__(self, params, lr=1e-4, betas=(0.9, 0.99), weight_decay=0.0):
        super().__init__(params, dict(lr=lr, betas=betas, weight_decay=weight_decay))

    def step(self, closure=None):
        raise ValueError("sparse")


def lion_update_foreach_(params, grads, momenta, lr, betas, weight_decay):
    raise RuntimeError("sparse")
