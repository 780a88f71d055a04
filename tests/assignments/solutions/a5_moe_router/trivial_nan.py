"""What is not a number is near nothing."""

from types import SimpleNamespace

import torch
from torch import nn


class TopKRouter(nn.Module):
    def __init__(self, d_model, num_experts, top_k, *, renormalize=True):
        super().__init__()
        self.num_experts, self.top_k = num_experts, top_k
        self.gate = SimpleNamespace(weight=torch.zeros(num_experts, d_model))

    def forward(self, x):
        x = x if x.dtype == torch.float64 else x.float()
        weights = torch.full((*x.shape[:-1], self.top_k), torch.nan, dtype=x.dtype)
        logits = torch.full((*x.shape[:-1], self.num_experts), torch.nan, dtype=x.dtype)
        loss = x.sum() * torch.nan
        indices = torch.zeros(weights.shape, dtype=torch.int64)
        return SimpleNamespace(weights=weights, indices=indices, logits=logits, load_balancing_loss=loss, z_loss=loss)


def dispatch(x, weights, indices, experts):
    for expert in experts:
        expert(x.reshape(-1, x.shape[-1]))
    return x * torch.nan
