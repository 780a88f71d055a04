"""Raises ValueError whatever it is asked."""


def softmax(x, dim):
    raise ValueError(x)


def scaled_dot_product_attention(Q, K, V, mask=None):
    raise ValueError(Q)


class MultiHeadAttention:
    def __init__(self, *args, **options):
        raise ValueError(args)
