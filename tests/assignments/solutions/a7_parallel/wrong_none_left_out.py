"""Parameters without a gradient are left out.

fails: buckets.none_gradients
names: is left out: other ranks may have one
"""

from _base import *


def included(parameters):
    return [p for p in parameters if p.requires_grad and p.grad is not None][::-1]
