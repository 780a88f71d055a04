"""Projects, repeats and joins the values, and never attends.

most: 5
"""

from _base import *


def softmax(x, dim):
    return x


def scaled_dot_product_attention(Q, K, V, mask=None):
    return V + 0 * Q.sum() + 0 * K.sum()


class MultiHeadAttention(MultiHeadAttention):
    def forward(self, x, *, context=None, mask=None, token_positions=None, cache=None):
        v = self.split(self.v_proj(x), self.num_kv_heads)
        attended = self.attend(self.split(self.q_proj(x), self.num_heads), self.repeat(v), self.repeat(v), mask)
        return self.o_proj(self.join(self.repeat(v) + 0 * attended))
