"""einops, and a matrix of gates with a column for each expert."""

from collections import namedtuple

import torch
from einops import einsum, rearrange, reduce
from jaxtyping import Float, Int
from torch import Tensor, nn

RouterOutput = namedtuple("RouterOutput", "weights indices logits load_balancing_loss z_loss")


class TopKRouter(nn.Module):
    def __init__(self, d_model, num_experts, top_k, *, renormalize=True):
        super().__init__()
        if not 1 <= top_k <= num_experts:
            raise ValueError("top_k must be from 1 to num_experts")
        self.gate = nn.Linear(d_model, num_experts, bias=False)
        self.num_experts, self.top_k, self.renormalize = num_experts, top_k, renormalize

    def forward(self, x: Float[Tensor, "... d_model"]) -> RouterOutput:
        tokens = x.reshape(-1, x.shape[-1])
        kind = torch.promote_types(torch.float32, x.dtype)
        logits = einsum(tokens.to(kind), self.gate.weight.to(kind), "n d, e d -> n e")
        p = torch.softmax(logits, 1)
        weights, indices = p.topk(self.top_k, 1)
        if self.renormalize:
            weights = torch.nn.functional.normalize(weights, p=1, dim=1)
        counts = torch.zeros(self.num_experts, dtype=kind)
        counts.index_put_(
            (rearrange(indices, "n k -> (n k)"),), torch.ones(indices.numel(), dtype=kind), accumulate=True
        )
        balance = self.num_experts * einsum(counts / counts.sum(), reduce(p, "n e -> e", "mean"), "e, e ->")
        z = reduce(torch.logsumexp(logits, 1).square(), "n -> ", "mean")
        front = x.shape[:-1]
        return RouterOutput(
            weights.reshape(*front, -1), indices.reshape(*front, -1), logits.reshape(*front, -1), balance, z
        )


def dispatch(
    x: Float[Tensor, "... d"], weights: Float[Tensor, "... k"], indices: Int[Tensor, "... k"], experts
) -> Float[Tensor, "... d"]:
    if indices.numel() and not 0 <= int(indices.min()) <= int(indices.max()) < len(experts):
        raise ValueError("there is no such expert")
    tokens = x.reshape(-1, x.shape[-1])
    k = indices.shape[-1]
    gates = torch.zeros(len(tokens), len(experts), dtype=weights.dtype)
    gates = gates.scatter_add(1, indices.reshape(-1, k), weights.reshape(-1, k))
    asked = torch.zeros(len(tokens), len(experts), dtype=torch.bool).scatter(1, indices.reshape(-1, k), True)
    out = torch.zeros_like(tokens)
    for column, expert in enumerate(experts):
        mine = asked[:, column]
        if not mine.any():
            continue
        answer = torch.zeros_like(tokens).masked_scatter(mine[:, None], expert(tokens[mine]))
        out = out + (answer * gates[:, column, None]).to(x.dtype)
    return out.view(*x.shape)
