"""Parameters decay when nobody asks for it.

fails: optimizer.defaults_are_as_promised
names: weight_decay is not 0
points: 98-99
"""

from _base import *


class Lion(Lion):
    def __init__(self, params, lr=1e-4, betas=(0.9, 0.99), weight_decay=0.01):
        super().__init__(params, lr, betas, weight_decay)
