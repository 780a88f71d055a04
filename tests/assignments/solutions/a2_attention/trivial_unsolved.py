"""A notebook as it is handed out."""

from torch import nn


def softmax(x, dim):
    raise NotImplementedError("this exercise is not solved yet")


def scaled_dot_product_attention(Q, K, V, mask=None):
    raise NotImplementedError("this exercise is not solved yet")


def repeat_kv(x, num_heads):
    raise NotImplementedError("this exercise is not solved yet")


def causal_mask(positions, past=0):
    raise NotImplementedError("this exercise is not solved yet")


def padding_mask(lengths, k):
    raise NotImplementedError("this exercise is not solved yet")


def positions_of(x, token_positions, cache):
    raise NotImplementedError("this exercise is not solved yet")


class MultiHeadAttention(nn.Module):
    def __init__(
        self,
        d_model,
        num_heads,
        num_kv_heads=None,
        *,
        d_head=None,
        rope=None,
        qk_norm=None,
        attend=None,
        causal=True,
        bias=False,
    ):
        super().__init__()
        raise NotImplementedError("this exercise is not solved yet")

    def forward(self, x, *, context=None, mask=None, token_positions=None, cache=None):
        raise NotImplementedError("this exercise is not solved yet")
