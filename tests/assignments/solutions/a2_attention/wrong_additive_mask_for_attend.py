"""Hands a mask of numbers to attend.

fails: multi_head.attend_is_a_slot
names: boolean mask
"""

from _base import *


def added(Q, K, V, mask):
    scores = Q @ K.transpose(-2, -1) / math.sqrt(Q.shape[-1])
    return softmax(scores if mask is None else scores + mask, -1) @ V


class MultiHeadAttention(MultiHeadAttention):
    def forward(self, x, **rest):
        attend = self.attend

        def with_numbers(Q, K, V, mask):
            if mask is not None:
                mask = torch.zeros(mask.shape, dtype=Q.dtype).masked_fill(~mask, float("-inf"))
            return attend(Q, K, V, mask) if attend is not scaled_dot_product_attention else added(Q, K, V, mask)

        self.attend = with_numbers
        out = super().forward(x, **rest)
        self.attend = attend
        return out
