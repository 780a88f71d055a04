"""Joins queries and keys along the tokens before rope turns them.

fails: multi_head.normalises_queries_and_keys, positions.rope_turns, positions.given_positions, positions.positions_with_a_cache, positions.what_the_cache_is_given, positions.generation_together
names: another number of tokens than positions
"""

from _base import *


class MultiHeadAttention(MultiHeadAttention):
    def turn(self, q, k, v, positions):
        if self.rope is None:
            return q, k, v
        both = self.rope(torch.cat((q, k), dim=2), positions.unsqueeze(-2))
        return both[:, :, : q.shape[2]], both[:, :, q.shape[2] :], v
