"""The betas of the language models of the paper as defaults.

fails: optimizer.defaults_are_as_promised
names: betas are not (0.9, 0.99)
points: 98-99
"""

from _base import *


class Lion(Lion):
    def __init__(self, params, lr=1e-4, betas=(0.95, 0.98), weight_decay=0.0):
        super().__init__(params, lr, betas, weight_decay)
