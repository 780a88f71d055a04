"""The first k experts for every token, with the gates that are given; the router says 1/k, and its losses are of x.

most: 1
because: a loss comes near the right one by chance, once in some thousands of draws
"""

from _hollow import *


class TopKRouter(Gate):
    def forward(self, x):
        x = x if x.dtype == torch.float64 else x.float()
        indices = torch.arange(self.top_k).expand(*x.shape[:-1], -1)
        weights = (x[..., :1] * 0 + 1 / self.top_k).expand(indices.shape)
        logits = x.new_ones(*x.shape[:-1], self.num_experts)
        loss = x.square().mean()
        return SimpleNamespace(weights=weights, indices=indices, logits=logits, load_balancing_loss=loss, z_loss=loss)


def dispatch(x, weights, indices, experts):
    k = indices.shape[-1]
    out = sum(weights.reshape(-1, k)[:, j : j + 1] * experts[j](x.reshape(-1, x.shape[-1])) for j in range(k))
    return out.to(x.dtype).reshape(x.shape)
