"""The result has the dtype of the gates.

fails: dispatch.dtype_of_x
names: another dtype than x
"""

from _base import *


def finish(out, x):
    return out.reshape(x.shape)
