"""Uses the mask without asking whether there is one.

fails: attention.mask_may_be_left_out
names: a call without a mask fails
points: 97-98
"""

from _base import *


def scaled_dot_product_attention(Q, K, V, mask=None):
    scores = Q @ K.transpose(-2, -1) / math.sqrt(Q.shape[-1])
    return softmax(scores.masked_fill(mask.logical_not(), float("-inf")), -1) @ V


class MultiHeadAttention(MultiHeadAttention):
    def combine(self, mask, causal):
        return super().combine(mask, causal)

    def forward(self, x, *, context=None, mask=None, token_positions=None, cache=None):
        if mask is None:
            mask = torch.ones(1, 1, dtype=torch.bool)
        return super().forward(x, context=context, mask=mask, token_positions=token_positions, cache=cache)
