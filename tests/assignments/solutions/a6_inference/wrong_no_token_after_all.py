"""When all drafts are accepted no token is added.

fails: speculative.both_ends, speculative.speculative_together
names: one from the last row of p is missing
"""

from _base import *


def speculative_step(draft, q, p, u, right=speculative_step):
    tokens = right(draft, q, p, u)
    return tokens[: len(draft)] if len(draft) else tokens
