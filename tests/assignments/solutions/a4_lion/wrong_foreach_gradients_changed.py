"""Works in the memory of the gradients.

fails: foreach.lists_of_gradients_stay
names: gradients of the list change
points: 95-99
"""

from _base import *


def lion_update_foreach_(params, grads, momenta, lr, betas, weight_decay):
    new = torch._foreach_lerp(momenta, grads, 1 - betas[1])
    torch._foreach_mul_(grads, 1 - betas[0])
    torch._foreach_add_(grads, momenta, alpha=betas[0])
    torch._foreach_sign_(grads)
    torch._foreach_mul_(params, 1 - lr * weight_decay)
    torch._foreach_add_(params, grads, alpha=-lr)
    torch._foreach_copy_(momenta, new)
