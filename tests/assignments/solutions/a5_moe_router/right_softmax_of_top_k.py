"""Softmax after top-k where that is the same, logsumexp for the rest; the log of the gates before the gates."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn


@dataclass
class RouterOutput:
    weights: Tensor
    indices: Tensor
    logits: Tensor
    load_balancing_loss: Tensor
    z_loss: Tensor


class TopKRouter(nn.Module):
    def __init__(self, d_model: int, num_experts: int, top_k: int, *, renormalize: bool = True):
        super().__init__()
        if not 1 <= top_k <= num_experts:
            raise ValueError("top_k must be from 1 to num_experts")
        self.gate = nn.Linear(d_model, num_experts, bias=False)
        self.top_k = top_k
        self.renormalize = renormalize

    def forward(self, x):
        wide = torch.float64 if x.dtype is torch.float64 else torch.float32
        h = torch.einsum("...d,ed->...e", x.to(wide), self.gate.weight.to(wide))
        log_z = torch.logsumexp(h, -1, keepdim=True)
        best, indices = h.sort(dim=-1, descending=True, stable=True)
        best, indices = best[..., : self.top_k], indices[..., : self.top_k]
        weights = best.softmax(-1) if self.renormalize else (best - log_z).exp()
        experts = torch.arange(h.shape[-1], device=x.device)
        with torch.no_grad():
            shares = (indices[..., None] == experts).to(wide).flatten(0, -2).mean(0)
        wanted = (h - log_z).exp().reshape(-1, h.shape[-1]).mean(0)
        return RouterOutput(weights, indices, h, len(experts) * shares @ wanted, log_z.pow(2).mean())


def dispatch(x, weights, indices, experts):
    """Sorted by expert, carried back by the inverse permutation, then k results a token in one product."""
    if indices.numel() and not 0 <= int(indices.min()) <= int(indices.max()) < len(experts):
        raise ValueError("there is no such expert")
    k, d_model = indices.shape[-1], x.shape[-1]
    sorted_, order = torch.sort(indices.flatten(), stable=True)
    rows = x.reshape(-1, d_model).repeat_interleave(k, dim=0)[order]
    edges = torch.searchsorted(sorted_, torch.arange(len(experts) + 1, device=x.device)).tolist()
    results = [expert(rows[a:b]) for expert, a, b in zip(experts, edges, edges[1:])]
    back = torch.empty_like(order).scatter_(0, order, torch.arange(len(order), device=x.device))
    answers = torch.cat(results)[back].unflatten(0, (-1, k))
    return torch.einsum("nk,nkd->nd", weights.reshape(-1, k).to(answers.dtype), answers).to(x.dtype).reshape(x.shape)
