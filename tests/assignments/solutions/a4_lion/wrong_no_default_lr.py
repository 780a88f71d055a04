"""The learning rate must be given.

fails: optimizer.defaults_are_as_promised
names: Lion fails where lr is not given
points: 98-99
"""

from _base import *


class Lion(Lion):
    def __init__(self, params, lr, betas=(0.9, 0.99), weight_decay=0.0):
        super().__init__(params, lr, betas, weight_decay)
