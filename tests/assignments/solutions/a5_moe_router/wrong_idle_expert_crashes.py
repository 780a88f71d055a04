"""Takes it for granted that every expert has a token.

fails: dispatch.idle_experts, dispatch.nothing_is_dropped
names: a single token, or none
"""

from _base import *


def where(chosen, e):
    rows, places = (chosen == e).nonzero(as_tuple=True)
    rows.max()
    return rows, places
