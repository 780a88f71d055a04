"""The right gates and losses, and what misconceptions make of them."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from .inputs import known


def gates_of(logits: Tensor, indices: Tensor) -> Tensor:
    """The probabilities of the chosen experts among all."""
    return logits.double().softmax(-1).gather(-1, indices)


TWICE = "softmax is taken twice: of probabilities, it makes them nearly equal"
CUT = "negative logits are cut off before the softmax: take it of the logits as they are"
ORDER = "the gates are right, but stand in another order than the experts that they belong to"


def wrong_gates(logits: Tensor, indices: Tensor) -> list[tuple[Tensor, str]]:
    """Misconceptions of a gate, whether it is renormalised or not."""
    p, h, k = gates_of(logits, indices), logits.double().gather(-1, indices), indices.shape[-1]
    cut = gates_of(logits.relu(), indices)
    divided = p / p.sum(-1, keepdim=True)
    over_tokens = logits.double().softmax(0).gather(-1, indices)
    sigmoids = h.sigmoid()
    tokens = "softmax runs over the tokens: take it over the experts of each token"
    sigmoid = "the gates are made by a sigmoid: take the softmax over all experts"
    return [
        (h, "the gates are logits: take the softmax over all experts"),
        (h / h.sum(-1, keepdim=True), "the gates are logits: take the softmax over all experts"),
        (p.softmax(-1), TWICE),
        (divided.softmax(-1), TWICE),
        *((gates, CUT) for gates in (cut, cut / cut.sum(-1, keepdim=True))),
        *(
            (gates.flip(0), "the gates of one token stand with another: their rows are turned round")
            for gates in (p, divided)
        ),
        *((gates.sort(-1).values, ORDER) for gates in (p, divided)),
        *((gates.sort(-1, descending=True).values, ORDER) for gates in (p, divided)),
        (p.log(), "the gates are logarithms: take softmax, not log_softmax"),
        (p / k, "the gates are divided by k: divide them by their sum, and only with renormalize"),
        (torch.full_like(p, 1 / k), "all gates are equal: they are the probabilities of the chosen experts"),
        (torch.ones_like(p), "all gates are 1: they are the probabilities of the chosen experts"),
        (over_tokens, tokens),
        (over_tokens / over_tokens.sum(-1, keepdim=True), tokens),
        (sigmoids, sigmoid),
        (sigmoids / sigmoids.sum(-1, keepdim=True), sigmoid),
        (
            p / p.sum(0, keepdim=True),
            "the gates are divided by a sum over the tokens: divide by the sum over a token's gates",
        ),
        (p / p.norm(dim=-1, keepdim=True), "the gates are divided by the root of their squares: divide by their sum"),
    ]


FACTOR = "the factor num_experts is missing: uniform probabilities must give 1, however many experts there are"
PROBABILITIES = "P_e is the mean probability of an expert over all tokens, also those that did not choose it"

ADDED = (
    "the loss grows with the number of tokens: f_e is a share of the assignments, and P_e a mean, neither is added up"
)
COUNTS_ALONE = f"fractions stand where the probabilities belong: {PROBABILITIES}"


def shares_of(indices: Tensor, experts: int) -> Tensor:
    """How many of all assignments go to each expert, as a share."""
    counts = torch.tensor([int((indices == e).sum()) for e in range(experts)], dtype=torch.float64)
    return counts / indices.numel()


class Readings(NamedTuple):
    """The loss, and what misconceptions make of it."""

    right: Tensor
    bare: Tensor
    wrong: list[tuple[Tensor, str]]

    @property
    def all(self) -> list[Tensor]:
        """What has something of the loss: not the fractions alone, which need no probabilities."""
        counts = [value for value, message in self.wrong if message == COUNTS_ALONE]
        readings = [self.right, self.bare, *(value for value, _ in self.wrong)]
        return [value for value in readings if not known(value.detach(), counts)]


def balance_of(logits: Tensor, indices: Tensor, weights: Tensor | None) -> Readings:
    """For logits (tokens, experts), the experts chosen and the gates given to them."""
    n, experts = logits.shape
    k = indices.shape[-1]
    p = logits.double().softmax(-1)
    f, wanted = shares_of(indices, experts), p.mean(0)

    def scattered(gates: Tensor) -> Tensor:
        """Mean gate of each expert, 0 where it was not chosen."""
        return torch.zeros_like(p).scatter(-1, indices, gates.double()).mean(0)

    own = scattered(weights) if weights is not None and weights.shape == indices.shape else torch.zeros_like(f)
    chosen = scattered(p.gather(-1, indices))
    gates = "gates stand where the fractions belong: f_e counts assignments, however large their gates are"
    right = experts * (f * wanted).sum()
    tokens = "the fractions are those of tokens: divide by all assignments, k * tokens, so that they add up to 1"
    first = "only the first choice of each token is counted: all k assignments count"
    values = [(mean * wanted).sum() / times for mean in (own, chosen) for times in (1, k)]
    wrong = [(factor * value, gates) for value in values for factor in (experts, 1)]
    wrong += [(factor * (f * logits.double().relu().softmax(-1).mean(0)).sum(), CUT) for factor in (experts, 1)]
    for factor in (experts, 1):
        wrong += [
            (
                factor * (wanted * wanted).sum(),
                "probabilities stand where the fractions belong: f_e counts assignments",
            ),
            (factor * (f * f).sum(), COUNTS_ALONE),
            (factor * (f * chosen).sum(), f"only chosen probabilities are counted: {PROBABILITIES}"),
            (factor * (f * own).sum(), f"gates stand where the probabilities belong: {PROBABILITIES}"),
            (factor * (f * own).sum() * k, f"gates stand where the probabilities belong: {PROBABILITIES}"),
            (factor * k * (f * wanted).sum(), tokens),
            (factor * (shares_of(indices[:, :1], experts) * wanted).sum(), first),
            (factor * n * (f * wanted).sum(), ADDED),
            (factor * n * k * (f * wanted).sum(), ADDED),
            (factor * n * n * (f * wanted).sum(), "fractions are counts, and probabilities sums: divide by the tokens"),
            (
                factor * n * n * k * (f * wanted).sum(),
                "fractions are counts, and probabilities sums: divide by the tokens",
            ),
        ]
    wrong += [
        (experts * right, "the factor num_experts is squared: uniform probabilities must give 1"),
        (right / experts**2, FACTOR),
    ]
    return Readings(right, right / experts, wrong)


LOGSUMEXP = "logsumexp runs over the experts of each token"


def z_readings(logits: Tensor) -> tuple[Tensor, list[tuple[Tensor, str]]]:
    """The loss for logits (tokens, experts), and what misconceptions make of it."""
    h = logits.double()
    z, over_tokens = h.logsumexp(-1), h.logsumexp(0)
    axis = f"the sum inside runs over the tokens: {LOGSUMEXP}"
    return z.square().mean(), [
        (z.mean(), "the square is missing: the z-loss is the mean of logsumexp squared"),
        (z.abs().mean(), "the square is missing: the z-loss is the mean of logsumexp squared"),
        (z.mean().square(), "the mean is squared: square first, then take the mean over tokens"),
        (z.square().sum(), "the squares are added up: take their mean over tokens"),
        (over_tokens.square().mean(), axis),
        (over_tokens.mean(), axis),
        (h.flatten().logsumexp(0).square(), f"the sum inside runs over all tokens at once: {LOGSUMEXP}"),
        (h.square().mean(), f"the logits themselves are squared: {LOGSUMEXP}, then comes the square"),
        (h.square().sum(-1).mean(), f"the logits themselves are squared: {LOGSUMEXP}, then comes the square"),
        (h.softmax(-1).logsumexp(-1).square().mean(), "logsumexp is taken of probabilities: take it of the logits"),
        (h.amax(-1).square().mean(), f"the greatest logit is squared: {LOGSUMEXP}"),
        (h.exp().mean(-1).log().square().mean(), f"the mean stands inside the logarithm: {LOGSUMEXP}"),
        (
            z.square().mean() / h.shape[-1],
            "the z-loss is divided by the number of experts: the mean is over tokens alone",
        ),
    ]
