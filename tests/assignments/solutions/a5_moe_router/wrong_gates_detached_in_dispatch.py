"""The gates get no gradient.

fails: dispatch.dispatch_has_gradients, dispatch.dispatch_together
names: to the gates
"""

from _base import *


def weigh(y, gates, rows, places):
    return y * gates.detach()[rows, places, None]
