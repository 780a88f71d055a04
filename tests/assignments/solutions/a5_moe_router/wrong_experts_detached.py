"""The experts get no gradient, and x next to none.

fails: dispatch.dispatch_has_gradients, dispatch.dispatch_together
names: no gradient flows
"""

from _base import *


def call(expert, tokens):
    return expert(tokens).detach() + 0 * tokens
