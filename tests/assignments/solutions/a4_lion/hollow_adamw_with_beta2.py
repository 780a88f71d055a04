"""AdamW by the name of Lion, with the betas exchanged, so that its first momentum is Lion's.

most: 0
"""

import torch


class Lion(torch.optim.AdamW):
    def __init__(self, params, lr=1e-4, betas=(0.9, 0.99), weight_decay=0.0):
        super().__init__(params, lr=lr, betas=betas, weight_decay=weight_decay, foreach=False)

    def step(self, closure=None):
        for group in self.param_groups:
            group["betas"] = group["betas"][::-1]
        try:
            return super().step(closure)
        finally:
            for group in self.param_groups:
                group["betas"] = group["betas"][::-1]
