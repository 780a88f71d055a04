"""NAdam, which interpolates momentum and gradient too.

most: 0
"""

import torch


class Lion(torch.optim.NAdam):
    def __init__(self, params, lr=1e-4, betas=(0.9, 0.99), weight_decay=0.0):
        super().__init__(params, lr=lr, betas=betas, weight_decay=weight_decay, decoupled_weight_decay=True)
