"""Reads the learning rate when it is made.

fails: optimizer.changed_values_are_followed, optimizer.a_training_loop
names: lr of a group is changed
"""

from _base import *


class Lion(Lion):
    def __init__(self, params, **options):
        super().__init__(params, **options)
        self.rates = [group["lr"] for group in self.param_groups]

    def update_all(self):
        for group, lr in zip(self.param_groups, self.rates):
            group["lr"] = lr
        super().update_all()
