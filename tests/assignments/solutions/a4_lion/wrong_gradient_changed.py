"""Makes the direction in the gradient's memory.

fails: update.gradients_stay
names: step changes the gradient
points: 95-99
"""

from _base import *


class Lion(Lion):
    def update(self, p, g, m, group):
        kept = g.clone()
        lr, (beta1, beta2), wd = group["lr"], group["betas"], group["weight_decay"]
        self.decay(p, lr, wd)
        self.move(p, g.mul_(1 - beta1).add_(m, alpha=beta1).sign_(), lr)
        self.keep(m, kept, beta1, beta2)
