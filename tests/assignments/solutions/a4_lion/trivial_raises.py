"""Raises ValueError whatever it is asked."""

import torch


class Lion(torch.optim.Optimizer):
    def __init__(self, params, lr=1e-4, betas=(0.9, 0.99), weight_decay=0.0):
        raise ValueError("sparse")

    def step(self, closure=None):
        raise ValueError("sparse")


def lion_update_foreach_(params, grads, momenta, lr, betas, weight_decay):
    raise ValueError("sparse")
