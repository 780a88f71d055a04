"""The right experts, the most probable one last.

fails: gates.most_probable_first
names: not in the order of descending
"""

from _base import *


class TopKRouter(TopKRouter):
    def choose(self, p):
        return p.argsort(dim=-1)[..., -self.top_k :]
