"""Keeps the weights as tensors, not as parameters.

fails: multi_head.has_its_parameters
names: the module has no parameters
points: 95-98
"""

from _base import *


class Projection:
    def __init__(self, inputs, outputs, bias):
        self.weight = torch.randn(outputs, inputs) / math.sqrt(inputs)
        self.bias = torch.zeros(outputs) if bias else None

    def __call__(self, x):
        out = x @ self.weight.to(x.dtype).mT
        return out if self.bias is None else out + self.bias.to(x.dtype)


class MultiHeadAttention(MultiHeadAttention):
    def make_projections(self, bias):
        inner, inner_kv = self.num_heads * self.d_head, self.num_kv_heads * self.d_head
        self.q_proj = Projection(self.d_model, inner, bias)
        self.k_proj = Projection(self.d_model, inner_kv, bias)
        self.v_proj = Projection(self.d_model, inner_kv, bias)
        self.o_proj = Projection(inner, self.d_model, bias)
