# Built from assignments/text/a5_moe_router.py by `cs336lite build`: edit that file, not this one.
"""A router for a mixture of experts (混合专家): the top k of a softmax, its two losses, and dispatch without a token loop.

Shazeer et al. 2017, https://arxiv.org/abs/1701.06538; Fedus et al. 2021, "Switch Transformers",
https://arxiv.org/abs/2101.03961; Zoph et al. 2022, "ST-MoE", https://arxiv.org/abs/2202.08906.

Shapes: x is (..., d_model), whatever stands in front; each of its vectors is a token. ``experts`` is num_experts, ``k``
is top_k: how many of them each token goes to. The weights of a token's experts are its gates.

Built in assignments/source/a5_moe_router/a5_moe_router.ipynb.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn


def top_k_gates(
    logits: Float[Tensor, "*tokens experts"], top_k: int, renormalize: bool = True
) -> tuple[Float[Tensor, "*tokens k"], Int[Tensor, "*tokens k"], Float[Tensor, "*tokens experts"]]:
    """(weights, indices, probabilities): the ``top_k`` greatest of a softmax over all experts, in descending order.

    With ``renormalize`` the weights of a token are divided by their sum.

    >>> weights, indices, _ = top_k_gates(torch.tensor([0.2, 0.5, 0.3]).log(), 2, renormalize=False)
    >>> indices.tolist(), [round(w, 3) for w in weights.tolist()]
    ([1, 2], [0.5, 0.3])
    """
    if not 1 <= top_k <= logits.shape[-1]:
        raise ValueError(f"top_k is {top_k}, and there are {logits.shape[-1]} experts")
    probabilities = torch.softmax(logits, dim=-1)
    weights, indices = torch.topk(probabilities, top_k, dim=-1)
    if renormalize:
        weights = weights / weights.sum(dim=-1, keepdim=True)
    return weights, indices, probabilities


def load_balancing_loss(
    probabilities: Float[Tensor, "*tokens experts"], indices: Int[Tensor, "*tokens k"]
) -> Float[Tensor, ""]:
    """num_experts * sum_e f_e P_e: shares of all assignments times mean probabilities (2101.03961, equation 4).

    >>> load_balancing_loss(torch.tensor([[0.5, 0.5], [0.75, 0.25]]), torch.tensor([[0], [0]])).item()
    1.25
    """
    if not indices.numel():
        return probabilities.sum()  # of no tokens: 0
    num_experts = probabilities.shape[-1]
    shares = torch.bincount(indices.flatten(), minlength=num_experts) / indices.numel()
    wanted = probabilities.reshape(-1, num_experts).mean(dim=0)
    return num_experts * (shares.to(wanted.dtype) * wanted).sum()


def router_z_loss(logits: Float[Tensor, "*tokens experts"]) -> Float[Tensor, ""]:
    """The mean over tokens of logsumexp(logits) ** 2 (2202.08906, equation 5).

    >>> router_z_loss(torch.tensor([[-1000.0, 3.0], [1.0, -1000.0]])).item()
    5.0
    """
    squares = torch.logsumexp(logits, dim=-1).square()
    return squares.mean() if squares.numel() else squares.sum()  # of no tokens: 0


class RouterOutput(NamedTuple):
    """What a `TopKRouter` says of some tokens."""

    weights: Float[Tensor, "*tokens k"]  # the gates, by descending probability
    indices: Int[Tensor, "*tokens k"]  # the experts that they belong to
    logits: Float[Tensor, "*tokens experts"]
    load_balancing_loss: Float[Tensor, ""]
    z_loss: Float[Tensor, ""]


class TopKRouter(nn.Module):
    """Token-choice routing: each token goes to the ``top_k`` experts of which a linear layer thinks most.

    Args:
        d_model: size of a token's vector.
        num_experts: how many experts there are to choose from.
        top_k: how many each token goes to.
        renormalize: divide the gates of a token by their sum; with ``top_k`` 1 they are then always 1.

    Raises ValueError unless 1 <= top_k <= num_experts.
    """

    def __init__(self, d_model: int, num_experts: int, top_k: int, *, renormalize: bool = True) -> None:
        super().__init__()
        if not 1 <= top_k <= num_experts:
            raise ValueError(f"top_k is {top_k}: each token goes to 1 to {num_experts} of {num_experts} experts")
        self.num_experts, self.top_k, self.renormalize = num_experts, top_k, renormalize
        self.gate = nn.Linear(d_model, num_experts, bias=False)

    def forward(self, x: Float[Tensor, "*tokens d_model"]) -> RouterOutput:
        """Experts, gates and losses for the tokens of ``x``, in float32, or in float64 when ``x`` is."""
        dtype = torch.promote_types(x.dtype, torch.float32)
        with torch.autocast(x.device.type, enabled=False):  # it would round to bfloat16 all the same
            logits = nn.functional.linear(x.to(dtype), self.gate.weight.to(dtype))
        weights, indices, probabilities = top_k_gates(logits, self.top_k, self.renormalize)
        return RouterOutput(
            weights, indices, logits, load_balancing_loss(probabilities, indices), router_z_loss(logits)
        )


def dispatch(
    x: Float[Tensor, "*tokens d_model"],
    weights: Float[Tensor, "*tokens k"],
    indices: Int[Tensor, "*tokens k"],
    experts: Sequence[Callable[[Tensor], Tensor]] | nn.ModuleList,
) -> Float[Tensor, "*tokens d_model"]:
    """The sum over a token's experts of weight * expert(token), in the dtype of ``x``; each expert is called once.

    Raises ValueError for an index of an expert that there is not.

    >>> twice_and_thrice = [lambda z: 2 * z, lambda z: 3 * z]
    >>> dispatch(torch.tensor([[1.0], [10.0]]), torch.ones(2, 1), torch.tensor([[1], [0]]), twice_and_thrice).tolist()
    [[3.0], [20.0]]
    """
    tokens, chosen = x.reshape(-1, x.shape[-1]), indices.reshape(-1)
    wrong = chosen[(chosen < 0) | (chosen >= len(experts))]
    if len(wrong):
        raise ValueError(f"an index is {int(wrong[0])}, and there are {len(experts)} experts")
    counts = torch.bincount(chosen, minlength=len(experts)).tolist()
    order = chosen.argsort(stable=True)  # assignments, sorted by expert
    source = order // indices.shape[-1]  # the token of each
    parts = tokens[source].split(counts)
    outputs = [expert(part) for expert, part in zip(experts, parts) if len(part)]
    if not outputs:
        return 0 * x  # no tokens
    weighted = torch.cat(outputs) * weights.reshape(-1)[order, None]  # in the better of the two dtypes
    combined = weighted.new_zeros(tokens.shape).index_add(0, source, weighted)
    return combined.to(x.dtype).reshape(x.shape)
