"""Groups are found by numpy; results are put into a table of k places a token, and then added up."""

from types import SimpleNamespace

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F


class TopKRouter(nn.Module):
    def __init__(self, d_model, num_experts, top_k, *, renormalize=True):
        super().__init__()
        if not 1 <= top_k <= num_experts:
            raise ValueError("top_k must be from 1 to num_experts")
        self.num_experts, self.top_k, self.renormalize = num_experts, top_k, renormalize
        self.gate = nn.Linear(d_model, num_experts, bias=False)

    def forward(self, x):
        double = x.dtype == torch.float64
        weight = self.gate.weight.double() if double else self.gate.weight.float()
        logits = F.linear(x.double() if double else x.float(), weight)
        log_p = F.log_softmax(logits, -1)
        order = np.argsort(-logits.detach().numpy(), axis=-1, kind="stable")
        indices = torch.from_numpy(order[..., : self.top_k].copy())
        weights = log_p.gather(-1, indices)
        weights = F.softmax(weights, -1) if self.renormalize else weights.exp()
        load = np.bincount(indices.numpy().ravel(), minlength=self.num_experts) / indices.numel()
        means = log_p.exp().reshape(-1, self.num_experts).mean(0)
        balance = (torch.tensor(load, dtype=logits.dtype) * means).sum() * self.num_experts
        z = torch.logsumexp(logits, -1).square().mean()
        return SimpleNamespace(weights=weights, indices=indices, logits=logits, load_balancing_loss=balance, z_loss=z)


def dispatch(x, weights, indices, experts):
    if indices.numel() and not 0 <= int(indices.min()) <= int(indices.max()) < len(experts):
        raise ValueError("there is no such expert")
    numbers = indices.numpy().ravel()
    k = indices.shape[-1]
    order = np.argsort(numbers, kind="stable")
    groups = np.split(order, np.searchsorted(numbers[order], np.arange(1, len(experts))))
    tokens = x.reshape(-1, x.shape[-1])
    table = torch.zeros(len(numbers), x.shape[-1], dtype=x.dtype)
    for expert, group in zip(experts, groups, strict=True):
        if len(group) > 0:
            group = torch.from_numpy(group)
            table = table.index_put((group,), expert(tokens[group // k]))
    return (table * weights.reshape(-1, 1)).reshape(*x.shape[:-1], k, -1).sum(-2).to(x.dtype)
