"""A loop over the tensors.

fails: foreach.operations_do_not_grow
names: grows with the number of tensors
points: 95-99
"""

from _base import *


def lion_update_foreach_(params, grads, momenta, lr, betas, weight_decay):
    for p, g, m in zip(params, grads, momenta):
        c = m.lerp(g, 1 - betas[0])
        p.mul_(1 - lr * weight_decay).sub_(lr * c.sign())
        m.lerp_(g, 1 - betas[1])
