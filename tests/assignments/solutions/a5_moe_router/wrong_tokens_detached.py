"""The tokens get no gradient.

fails: dispatch.dispatch_has_gradients, dispatch.dispatch_together
names: dispatch to x
"""

from _base import *


def call(expert, tokens):
    return expert(tokens.detach())
