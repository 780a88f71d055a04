"""The direction is computed in the momentum's own memory: update = m is no copy.

fails: update.beta2_weighs_the_momentum, update.ten_updates, optimizer.a_training_loop
names: own memory
points: 65-75
"""

from _base import *


class Lion(Lion):
    def update(self, p, g, m, group):
        lr, (beta1, beta2), wd = group["lr"], group["betas"], group["weight_decay"]
        self.decay(p, lr, wd)
        update = m
        update.mul_(beta1).add_(g, alpha=1 - beta1)
        p.add_(update.sign(), alpha=-lr)
        m.mul_(beta2).add_(g, alpha=1 - beta2)
