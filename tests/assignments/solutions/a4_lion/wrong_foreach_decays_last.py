"""Lists decay after their step.

fails: foreach.lists_of_parameters_change
names: decay comes after the step
points: 98-99
"""

from _base import *

with_decay = lion_update_foreach_


def lion_update_foreach_(params, grads, momenta, lr, betas, weight_decay):
    with_decay(params, grads, momenta, lr, betas, 0.0)
    torch._foreach_mul_(params, 1 - lr * weight_decay)
