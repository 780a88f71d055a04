"""RMSprop, with a momentum.

most: 0
"""

import torch


class Lion(torch.optim.RMSprop):
    def __init__(self, params, lr=1e-4, betas=(0.9, 0.99), weight_decay=0.0):
        super().__init__(params, lr=lr, alpha=betas[1], momentum=betas[0], weight_decay=weight_decay, foreach=False)
