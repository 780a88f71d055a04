"""The learning rate of AdamW as the default.

fails: optimizer.defaults_are_as_promised
names: lr is not 1e-4
points: 98-99
"""

from _base import *


class Lion(Lion):
    def __init__(self, params, lr=1e-3, betas=(0.9, 0.99), weight_decay=0.0):
        super().__init__(params, lr, betas, weight_decay)
