"""Its error is a ValueError with a name of its own."""

from _base import *


class BadArgument(ValueError):
    pass


class Lion(Lion):
    def check_arguments(self, lr, betas, weight_decay):
        if lr < 0 or weight_decay < 0 or not all(0 <= beta < 1 for beta in betas):
            raise BadArgument("Lion")
