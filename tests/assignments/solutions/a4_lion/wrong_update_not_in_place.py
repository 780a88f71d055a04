"""p = p - ... in the function of exercise 2; the direction and the momentum are right.

fails: update.momentum_comes_last, update.parameters_decay, update.decay_is_decoupled, update.decay_comes_first, update.parameters_change_in_place, update.ten_updates, optimizer.momenta_are_not_shared, optimizer.groups_have_their_own_values, optimizer.changed_values_are_followed, optimizer.missing_gradients_are_skipped, optimizer.checkpoints_hold_the_momenta, optimizer.dtypes_are_kept, optimizer.layout_does_not_matter, optimizer.autograd_records_nothing, optimizer.defaults_are_as_promised, optimizer.a_training_loop
names: the parameters do not move
points: 45-65
"""

from _functions import *


def lion_update_(p, grad, momentum, lr, betas, weight_decay):
    direction = lion_direction(grad, momentum, betas[0])
    p = p * (1 - lr * weight_decay)
    p = p - lr * direction
    momentum.mul_(betas[1]).add_(grad, alpha=1 - betas[1])
