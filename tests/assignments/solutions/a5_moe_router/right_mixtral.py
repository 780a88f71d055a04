"""As in the code of Mixtral: a one-hot mask, a loop over experts, index_add_."""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import nn


class RouterOutput(NamedTuple):
    weights: torch.Tensor
    indices: torch.Tensor
    logits: torch.Tensor
    load_balancing_loss: torch.Tensor
    z_loss: torch.Tensor


class TopKRouter(nn.Module):
    def __init__(self, d_model, num_experts, top_k, *, renormalize=True):
        super().__init__()
        if not 1 <= top_k <= num_experts:
            raise ValueError("top_k must be from 1 to num_experts")
        self.num_experts, self.k, self.renormalize = num_experts, top_k, renormalize
        self.gate = nn.Linear(d_model, num_experts, bias=False)

    def forward(self, x):
        dtype = torch.promote_types(x.dtype, torch.float32)
        logits = F.linear(x.to(dtype), self.gate.weight.to(dtype))
        probabilities = F.softmax(logits, dim=-1)
        weights, indices = torch.topk(probabilities, self.k, dim=-1)
        mask = F.one_hot(indices, self.num_experts).to(dtype)
        fractions = mask.reshape(-1, self.num_experts).mean(0)
        means = probabilities.reshape(-1, self.num_experts).mean(0)
        if self.renormalize:
            weights = weights / weights.sum(dim=-1, keepdim=True)
        return RouterOutput(
            weights,
            indices,
            logits,
            torch.sum(fractions * means) * self.num_experts,
            torch.mean(torch.logsumexp(logits, dim=-1) ** 2),
        )


def dispatch(x, weights, indices, experts):
    if indices.numel() and not 0 <= int(indices.min()) <= int(indices.max()) < len(experts):
        raise ValueError("there is no such expert")
    d_model = x.shape[-1]
    hidden = x.reshape(-1, d_model)
    weights, indices = weights.reshape(len(hidden), -1), indices.reshape(len(hidden), -1)
    final = torch.zeros_like(hidden)
    mask = F.one_hot(indices, num_classes=len(experts)).permute(2, 1, 0)
    for number in range(len(experts)):
        place, token = torch.where(mask[number])
        current = experts[number](hidden[token]) * weights[token, place, None]
        final.index_add_(0, token, current.to(hidden.dtype))
    return final.reshape(x.shape)
