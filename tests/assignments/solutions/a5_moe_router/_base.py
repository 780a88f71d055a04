from types import SimpleNamespace

import torch
from torch import nn


class TopKRouter(nn.Module):
    """In parts, so that a wrong solution replaces one of them."""

    def __init__(self, d_model, num_experts, top_k, *, renormalize=True):
        super().__init__()
        if not 1 <= top_k <= num_experts:
            raise ValueError("top_k must be from 1 to num_experts")
        self.num_experts, self.top_k, self.renormalize = num_experts, top_k, renormalize
        self.gate = self.make_gate(d_model)

    def make_gate(self, d_model):
        return nn.Linear(d_model, self.num_experts, bias=False)

    def logits(self, x):
        dtype = torch.float64 if x.dtype == torch.float64 else torch.float32
        return x.to(dtype) @ self.gate.weight.to(dtype).T

    def probabilities(self, logits):
        return logits.softmax(-1)

    def choose(self, p):
        return p.topk(self.top_k, dim=-1).indices

    def normalise(self, weights):
        return weights / weights.sum(-1, keepdim=True) if self.renormalize else weights

    def gates(self, logits, p, indices):
        return self.normalise(p.gather(-1, indices))

    def fractions(self, p, indices, weights):
        counts = torch.bincount(indices.flatten(), minlength=self.num_experts)
        return counts / indices.numel()

    def means(self, p, indices, weights):
        return p.flatten(0, -2).mean(0) if p.dim() > 1 else p

    def balance(self, p, indices, weights):
        f, P = self.fractions(p, indices, weights), self.means(p, indices, weights)
        return self.num_experts * (f.to(P.dtype) * P).sum()

    def z(self, logits):
        return logits.logsumexp(-1).square().mean()

    def forward(self, x):
        logits = self.logits(x)
        p = self.probabilities(logits)
        indices = self.choose(p)
        weights = self.gates(logits, p, indices)
        balance, z = self.balance(p, indices, weights), self.z(logits)
        return SimpleNamespace(weights=weights, indices=indices, logits=logits, load_balancing_loss=balance, z_loss=z)


def rows_of(tensor):
    return tensor.reshape(-1, tensor.shape[-1])


def where(chosen, e):
    """Tokens and places of expert e."""
    return (chosen == e).nonzero(as_tuple=True)


def call(expert, tokens):
    return expert(tokens)


def weigh(y, gates, rows, places):
    return y * gates[rows, places, None]


def add(out, rows, y):
    return out.index_add(0, rows, y.to(out.dtype))


def start(tokens, gates):
    return torch.zeros(tokens.shape, dtype=torch.promote_types(tokens.dtype, gates.dtype))


def finish(out, x):
    return out.to(x.dtype).reshape(x.shape)


def refuse(indices, experts):
    if indices.numel() and not 0 <= int(indices.min()) <= int(indices.max()) < len(experts):
        raise ValueError("there is no such expert")


def dispatch(x, weights, indices, experts):
    refuse(indices, experts)
    tokens, gates, chosen = rows_of(x), rows_of(weights), rows_of(indices)
    out = start(tokens, gates)
    for e in range(len(experts)):
        rows, places = where(chosen, e)
        if rows.numel():
            out = add(out, rows, weigh(call(experts[e], tokens[rows]), gates, rows, places))
    return finish(out, x)
