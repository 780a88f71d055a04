"""A quotient of the weights saves an operation, and fails where beta1 is 0.

fails: foreach.lists_of_parameters_change
names: where beta1 is 0
points: 98-99
"""

from _base import *


def lion_update_foreach_(params, grads, momenta, lr, betas, weight_decay):
    directions = torch._foreach_add(momenta, grads, alpha=(1 - betas[0]) / betas[0])
    torch._foreach_sign_(directions)
    torch._foreach_mul_(params, 1 - lr * weight_decay)
    torch._foreach_add_(params, directions, alpha=-lr)
    torch._foreach_mul_(momenta, betas[1])
    torch._foreach_add_(momenta, grads, alpha=1 - betas[1])
