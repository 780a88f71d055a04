"""Small functions of the notebook, helper classes of its own, an exception of its own, and buffers in float32."""

from dataclasses import dataclass

import torch
from torch import nn


class NoSuchExpert(ValueError):
    pass


@dataclass(frozen=True)
class RouterOutput:
    weights: torch.Tensor
    indices: torch.Tensor
    logits: torch.Tensor
    load_balancing_loss: torch.Tensor
    z_loss: torch.Tensor


def top_k_gates(logits, top_k, renormalize=True):
    probabilities = nn.functional.softmax(logits, dim=-1)
    weights, indices = probabilities.sort(dim=-1, descending=True)
    weights, indices = weights[..., :top_k], indices[..., :top_k]
    return weights / (weights.sum(-1, keepdim=True) if renormalize else 1), indices, probabilities


def load_balancing_loss(probabilities, indices):
    chosen = nn.functional.one_hot(indices, probabilities.shape[-1]).flatten(0, -2)
    shares = chosen.sum(0) / len(chosen)
    return probabilities.shape[-1] * probabilities.flatten(0, -2).mean(0) @ shares.to(probabilities)


def router_z_loss(logits):
    return (logits.logsumexp(dim=-1) ** 2).mean()


class TopKRouter(nn.Module):
    def __init__(self, d_model, num_experts, top_k, *, renormalize=True):
        if top_k not in range(1, num_experts + 1):
            raise NoSuchExpert
        super().__init__()
        self.gate = nn.Linear(d_model, num_experts, bias=False)
        self.options = top_k, renormalize

    def forward(self, x):
        tokens = x.reshape(-1, x.shape[-1])
        wide = x.dtype if x.dtype == torch.float64 else torch.float32
        logits = torch.func.functional_call(self.gate, {"weight": self.gate.weight.to(wide)}, tokens.to(wide))
        weights, indices, probabilities = top_k_gates(logits, *self.options)
        losses = load_balancing_loss(probabilities, indices), router_z_loss(logits)
        return RouterOutput(*(part.reshape(*x.shape[:-1], -1) for part in (weights, indices, logits)), *losses)


class Assignments:
    """Who goes to one expert, and with which gate."""

    def __init__(self, indices, weights, expert):
        self.tokens, places = torch.where(indices == expert)
        self.gates = torch.zeros(len(places))
        self.gates = self.gates.to(weights.dtype).index_put((torch.arange(len(places)),), weights[self.tokens, places])

    def carry(self, x, expert, out):
        return out.index_add(0, self.tokens, (expert(x[self.tokens]) * self.gates[:, None]).to(out.dtype))


def dispatch(x, weights, indices, experts):
    if ((indices < 0) | (indices >= len(experts))).any():
        raise NoSuchExpert
    tokens, weights, indices = (part.reshape(-1, part.shape[-1]) for part in (x, weights, indices))
    out = torch.zeros_like(tokens)
    for number, expert in enumerate(experts):
        mine = Assignments(indices, weights, number)
        if len(mine.tokens):
            out = mine.carry(tokens, expert, out)
    return out.reshape(x.shape)
