"""The function of exercise 1 forgets the momentum.

fails: direction.beta1_weighs_the_direction, direction.ten_directions, update.momentum_comes_last, update.ten_updates, optimizer.momenta_are_not_shared, optimizer.checkpoints_hold_the_momenta, optimizer.a_training_loop
names: the gradient alone
points: 50-65
"""

from _functions import *


def lion_direction(grad, momentum, beta1):
    return grad.sign()
