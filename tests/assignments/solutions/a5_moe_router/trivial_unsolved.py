"""A notebook as it is handed out."""

from torch import nn


class TopKRouter(nn.Module):
    def __init__(self, d_model, num_experts, top_k, *, renormalize=True):
        raise NotImplementedError("this exercise is not solved yet")

    def forward(self, x):
        raise NotImplementedError("this exercise is not solved yet")


def dispatch(x, weights, indices, experts):
    raise NotImplementedError("this exercise is not solved yet")
