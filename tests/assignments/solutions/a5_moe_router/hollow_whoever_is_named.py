"""Every expert that any token names computes all tokens; the gates are the greatest of x, and so are the losses.

most: 0
"""

from _hollow import *


class TopKRouter(Gate):
    def forward(self, x):
        x = x if x.dtype == torch.float64 else x.float()
        start = x.detach().abs().sum(-1, keepdim=True).long()
        indices = (start + torch.arange(self.top_k)) % self.num_experts
        weights = x.sum(-1, keepdim=True).sigmoid().expand(indices.shape)
        logits = x.sum(-1, keepdim=True).expand(*x.shape[:-1], self.num_experts)
        loss = x.pow(2).mean().sqrt()
        return SimpleNamespace(weights=weights, indices=indices, logits=logits, load_balancing_loss=loss, z_loss=loss)


def dispatch(x, weights, indices, experts):
    tokens = x.reshape(-1, x.shape[-1])
    out = sum(experts[e](tokens) for e in indices.unique().tolist())
    return (out * weights.mean()).to(x.dtype).reshape(x.shape)
