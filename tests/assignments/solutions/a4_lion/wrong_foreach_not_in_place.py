"""Makes new lists.

fails: foreach.lists_of_parameters_change, foreach.lists_of_momenta_change, foreach.lists_of_gradients_stay, foreach.operations_do_not_grow, foreach.lists_together
names: work in place
"""

from _base import *


def lion_update_foreach_(params, grads, momenta, lr, betas, weight_decay):
    directions = torch._foreach_sign(torch._foreach_lerp(momenta, grads, 1 - betas[0]))
    params = torch._foreach_sub(torch._foreach_mul(params, 1 - lr * weight_decay), directions, alpha=lr)
    momenta = torch._foreach_lerp(momenta, grads, 1 - betas[1])
