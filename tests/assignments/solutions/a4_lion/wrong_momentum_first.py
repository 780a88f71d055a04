"""Updates the momentum before it takes the direction.

fails: update.momentum_comes_last, update.ten_updates, optimizer.a_training_loop
names: the newest gradient then counts twice
points: 60-75
"""

from _base import *


class Lion(Lion):
    def update(self, p, g, m, group):
        lr, (beta1, beta2), wd = group["lr"], group["betas"], group["weight_decay"]
        self.keep(m, g, beta1, beta2)
        self.decay(p, lr, wd)
        self.move(p, self.sign(self.direction(g, m, beta1, beta2)), lr)
