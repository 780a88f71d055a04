"""Rprop with steps that hardly change: nearly the sign of the gradient.

most: 0
"""

import torch


class Lion(torch.optim.Rprop):
    def __init__(self, params, lr=1e-4, betas=(0.9, 0.99), weight_decay=0.0):
        super().__init__(params, lr=lr, etas=(0.9999, 1.0001), foreach=False)
        for group in self.param_groups:
            group.setdefault("weight_decay", weight_decay)
