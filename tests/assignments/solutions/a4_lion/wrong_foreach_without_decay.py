"""Lists do not decay.

fails: foreach.lists_of_parameters_change, foreach.lists_together
names: weight_decay has no effect
points: 88-93
"""

from _base import *

with_decay = lion_update_foreach_


def lion_update_foreach_(params, grads, momenta, lr, betas, weight_decay):
    with_decay(params, grads, momenta, lr, betas, 0.0)
