"""Takes the smallest k.

fails: gates.most_probable_first, gates.gates_together, gates.gates_by_default
names: the least probable experts
"""

from _base import *


class TopKRouter(TopKRouter):
    def choose(self, p):
        return p.topk(self.top_k, dim=-1, largest=False).indices
