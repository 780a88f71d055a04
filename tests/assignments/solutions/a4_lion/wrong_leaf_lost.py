"""The parameter asks for no gradients after a step.

fails: optimizer.autograd_records_nothing, optimizer.a_training_loop
names: no leaf any more
"""

from _base import *


class Lion(Lion):
    def move(self, p, c, lr):
        p.sub_(lr * c)
        p.requires_grad_(False)
