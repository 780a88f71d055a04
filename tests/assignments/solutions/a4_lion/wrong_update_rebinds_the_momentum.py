"""momentum = ... in the function of exercise 2; the direction is right.

fails: update.beta2_weighs_the_momentum, update.momentum_comes_last, update.ten_updates, optimizer.momenta_are_not_shared, optimizer.checkpoints_hold_the_momenta, optimizer.a_training_loop
names: the momentum stays 0
points: 45-70
"""

from _functions import *


def lion_update_(p, grad, momentum, lr, betas, weight_decay):
    direction = lion_direction(grad, momentum, betas[0])
    p.mul_(1 - lr * weight_decay)
    p.add_(direction, alpha=-lr)
    momentum = betas[1] * momentum + (1 - betas[1]) * grad
