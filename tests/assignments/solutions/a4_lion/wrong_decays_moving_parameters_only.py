"""Leaves alone what does not move.

fails: update.parameters_decay
names: no effect where gradient and momentum are 0
points: 95-99
"""

from _base import *


class Lion(Lion):
    def update(self, p, g, m, group):
        lr, (beta1, beta2), wd = group["lr"], group["betas"], group["weight_decay"]
        c = self.sign(self.direction(g, m, beta1, beta2))
        p.sub_(lr * (c + wd * p * c.abs()))
        self.keep(m, g, beta1, beta2)
