"""step fails at the first parameter.

fails: direction.steps_go_down, direction.beta1_weighs_the_direction, direction.steps_have_the_size_lr, direction.the_sign_of_zero_is_zero, direction.ten_directions, update.beta2_weighs_the_momentum, update.momentum_comes_last, update.parameters_decay, update.decay_is_decoupled, update.decay_comes_first, update.parameters_change_in_place, update.gradients_stay, update.ten_updates, optimizer.momenta_are_not_shared, optimizer.groups_have_their_own_values, optimizer.changed_values_are_followed, optimizer.missing_gradients_are_skipped, optimizer.step_runs_its_closure, optimizer.closures_have_gradients, optimizer.checkpoints_hold_the_momenta, optimizer.dtypes_are_kept, optimizer.layout_does_not_matter, optimizer.autograd_records_nothing, optimizer.defaults_are_as_promised, optimizer.bad_rates_are_refused, optimizer.bad_decays_are_refused, optimizer.bad_betas_are_refused, optimizer.zero_is_allowed, optimizer.non_leaves_are_refused, optimizer.sparse_gradients_are_refused, optimizer.a_training_loop
names: your code raised TypeError
points: 15-15
"""

from _base import *


class Lion(Lion):
    def move(self, p, c, lr):
        p.sub_(c, alpha=lr, inplace=True)
