"""Chooses by chance, and asks the experts in groups of chance; the losses are noise beside what x is.

most: 1
because: a loss comes near the right one by chance, once in some thousands of draws
"""

from _hollow import *


class TopKRouter(Gate):
    def forward(self, x):
        x = x if x.dtype == torch.float64 else x.float()
        logits = torch.rand(*x.shape[:-1], self.num_experts, dtype=x.dtype) + x.mean(-1, keepdim=True)
        indices = logits.argsort(-1)[..., : self.top_k]
        weights = logits.softmax(-1).gather(-1, indices)
        loss = x.std() + 1
        return SimpleNamespace(weights=weights, indices=indices, logits=logits, load_balancing_loss=loss, z_loss=loss)


def dispatch(x, weights, indices, experts):
    tokens = x.reshape(-1, x.shape[-1])
    groups = torch.randperm(len(tokens)).chunk(len(experts))
    out = torch.zeros_like(tokens)
    for expert, group in zip(experts, groups):
        out = out.index_add(0, group, expert(tokens[group]))
    gates = weights.reshape(len(tokens), -1).sum(-1, keepdim=True)
    return (out * gates).to(x.dtype).reshape(x.shape)
