"""New momenta from gradients, outside of no_grad.

fails: optimizer.autograd_records_nothing
names: has a history
points: 95-99
"""

from _base import *


class Lion(Lion):
    def update(self, p, g, m, group):
        super().update(p, g, m.detach().clone(), group)
        beta2 = group["betas"][1]
        with torch.enable_grad():
            self.state[p]["m"] = beta2 * m + (1 - beta2) * g
