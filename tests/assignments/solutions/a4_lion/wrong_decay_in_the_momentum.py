"""Adds decay to what the momentum collects.

fails: update.decay_is_decoupled, update.ten_updates, optimizer.a_training_loop
names: gets into the momentum
points: 60-75
"""

from _base import *


class Lion(Lion):
    def update(self, p, g, m, group):
        decayed = g + group["weight_decay"] * p
        super().update(p, g, m, group)
        m.add_(decayed - g, alpha=1 - group["betas"][1])
