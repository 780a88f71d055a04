"""Corrects the momentum as Adam does.

fails: update.beta2_weighs_the_momentum, update.ten_updates, optimizer.a_training_loop
names: corrected for its bias
points: 60-75
"""

from _base import *


class Lion(Lion):
    def update(self, p, g, m, group):
        steps = self.state[p].get("steps", 0)
        beta1, beta2 = group["betas"]
        c = beta1 * (m / (1 - beta2**steps) if steps else m) + (1 - beta1) * g
        self.decay(p, group["lr"], group["weight_decay"])
        self.move(p, c.sign(), group["lr"])
        self.keep(m, g, beta1, beta2)
        self.state[p]["steps"] = steps + 1
