"""The lists climb.

fails: foreach.lists_of_parameters_change, foreach.lists_together
names: parameters climb
points: 88-93
"""

from _base import *


def lion_update_foreach_(params, grads, momenta, lr, betas, weight_decay):
    directions = torch._foreach_lerp(momenta, grads, 1 - betas[0])
    torch._foreach_sign_(directions)
    torch._foreach_mul_(params, 1 - lr * weight_decay)
    torch._foreach_add_(params, directions, alpha=lr)
    torch._foreach_lerp_(momenta, grads, 1 - betas[1])
