"""The token after all drafts comes from p[k - 1].

fails: speculative.both_ends, speculative.speculative_together
names: is drawn from p[k - 1]
"""

from _base import *


def after_all(p, k):
    return p[max(k - 1, 0)]
