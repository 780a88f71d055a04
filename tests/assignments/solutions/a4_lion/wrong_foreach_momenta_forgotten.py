"""Leaves the momenta as they are.

fails: foreach.lists_of_momenta_change, foreach.lists_together
names: momenta of the list
"""

from _base import *


def lion_update_foreach_(params, grads, momenta, lr, betas, weight_decay):
    directions = torch._foreach_sign(torch._foreach_lerp(momenta, grads, 1 - betas[0]))
    torch._foreach_mul_(params, 1 - lr * weight_decay)
    torch._foreach_add_(params, directions, alpha=-lr)
