"""One of the k places after the other, and in each one expert after the other; argmax with -inf instead of topk."""

from types import SimpleNamespace

import torch


class TopKRouter(torch.nn.Module):
    def __init__(self, d_model, num_experts, top_k, *, renormalize=True):
        torch.nn.Module.__init__(self)
        if not 1 <= top_k <= num_experts:
            raise ValueError("top_k must be from 1 to num_experts")
        self.gate = torch.nn.Linear(d_model, num_experts, bias=False)
        self.top_k = top_k
        self.renormalize = renormalize

    def forward(self, x):
        if x.dtype != torch.float64:
            x = x.to(torch.float32)
        logits = (x[..., None, :] * self.gate.weight.to(x.dtype)).sum(-1)
        shifted = torch.exp(logits - logits.max(-1, keepdim=True).values)
        p = shifted / shifted.sum(-1, keepdim=True)
        left = logits.detach().clone()
        indices = []
        for _ in range(self.top_k):
            one = left.argmax(-1, keepdim=True)
            indices.append(one)
            left = left.scatter(-1, one, float("-inf"))
        indices = torch.cat(indices, -1)
        weights = torch.take_along_dim(p, indices, -1)
        if self.renormalize:
            weights = weights / weights.sum(-1, keepdim=True)
        num_experts = logits.shape[-1]
        loss = 0.0
        for e in range(num_experts):
            loss = loss + (indices == e).to(p.dtype).mean() * p[..., e].mean()
        z = (logits.logsumexp(-1) ** 2).mean()
        return SimpleNamespace(
            weights=weights, indices=indices, logits=logits, load_balancing_loss=num_experts * loss, z_loss=z
        )


def dispatch(x, weights, indices, experts):
    if indices.numel() and not 0 <= int(indices.min()) <= int(indices.max()) < len(experts):
        raise ValueError("there is no such expert")
    tokens = x.reshape(-1, x.size(-1))
    weights = weights.reshape(-1, weights.size(-1))
    indices = indices.reshape(-1, indices.size(-1))
    total = torch.zeros_like(tokens)
    for place in range(indices.size(1)):
        column = torch.zeros_like(tokens)
        for number in range(len(experts)):
            mine = torch.nonzero(indices[:, place] == number).flatten()
            column = column.index_copy(0, mine, experts[number](tokens[mine]))
        total = total + column * weights[:, place : place + 1].to(x.dtype)
    return total.reshape(x.shape)
