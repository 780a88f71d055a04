"""SGD with a dampened momentum by beta2: an average of gradients, as Lion's.

most: 0
"""

import torch


class Lion(torch.optim.SGD):
    def __init__(self, params, lr=1e-4, betas=(0.9, 0.99), weight_decay=0.0):
        super().__init__(params, lr=lr, momentum=betas[1], dampening=betas[1], weight_decay=weight_decay, foreach=False)
