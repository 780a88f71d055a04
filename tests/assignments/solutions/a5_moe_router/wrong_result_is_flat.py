"""The result has lost the dimensions of x.

fails: dispatch.any_dimensions, dispatch.dispatch_together
names: the shape of x
"""

from _base import *


def finish(out, x):
    return out.to(x.dtype)
