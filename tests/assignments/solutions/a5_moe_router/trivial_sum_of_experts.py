"""A name for each thing, of the wrong kind: numbers, and experts that are only called."""

from torch import nn


class TopKRouter(nn.Module):
    def __init__(self, d_model, num_experts, top_k, *, renormalize=True):
        super().__init__()

    def forward(self, x):
        return 0, 0, 0, 1.0, 0.0


def dispatch(x, weights, indices, experts):
    return sum(float(expert(x.reshape(-1, x.shape[-1])).sum()) for expert in experts)
