"""The functions are right, and the class is not written.

fails: optimizer.momenta_are_not_shared, optimizer.groups_have_their_own_values, optimizer.changed_values_are_followed, optimizer.missing_gradients_are_skipped, optimizer.step_runs_its_closure, optimizer.closures_have_gradients, optimizer.checkpoints_hold_the_momenta, optimizer.dtypes_are_kept, optimizer.layout_does_not_matter, optimizer.autograd_records_nothing, optimizer.defaults_are_as_promised, optimizer.bad_rates_are_refused, optimizer.bad_decays_are_refused, optimizer.bad_betas_are_refused, optimizer.zero_is_allowed, optimizer.non_leaves_are_refused, optimizer.sparse_gradients_are_refused, optimizer.a_training_loop
names: not solved yet
points: 65-65
"""

from _functions import *


class Lion(torch.optim.Optimizer):
    def __init__(self, params, lr=1e-4, betas=(0.9, 0.99), weight_decay=0.0):
        raise NotImplementedError

    def step(self, closure=None):
        raise NotImplementedError
