"""The momentum starts as a copy of the parameter.

fails: direction.the_sign_of_zero_is_zero, update.beta2_weighs_the_momentum, update.ten_updates, optimizer.a_training_loop
names: the momentum begins at 0
"""

from _base import *


class Lion(Lion):
    def first(self, p):
        return p.detach().clone()
