"""Adds up without gates.

fails: dispatch.gates_multiply_results, dispatch.dispatch_has_gradients, dispatch.dispatch_together
names: the gates are not used
"""

from _base import *


def weigh(y, gates, rows, places):
    return y
