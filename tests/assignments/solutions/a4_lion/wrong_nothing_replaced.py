"""Computes new parameters under an old name.

fails: direction.steps_go_down, direction.beta1_weighs_the_direction, direction.steps_have_the_size_lr, direction.the_sign_of_zero_is_zero, direction.ten_directions, update.momentum_comes_last, update.parameters_decay, update.decay_is_decoupled, update.decay_comes_first, update.parameters_change_in_place, update.ten_updates, optimizer.momenta_are_not_shared, optimizer.groups_have_their_own_values, optimizer.changed_values_are_followed, optimizer.missing_gradients_are_skipped, optimizer.checkpoints_hold_the_momenta, optimizer.dtypes_are_kept, optimizer.layout_does_not_matter, optimizer.autograd_records_nothing, optimizer.defaults_are_as_promised, optimizer.a_training_loop
names: the parameters do not move
points: 25-60
"""

from _base import *


class Lion(Lion):
    def decay(self, p, lr, wd):
        p = p * (1 - lr * wd)

    def move(self, p, c, lr):
        p = p - lr * c
