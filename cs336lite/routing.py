# Built from notebooks/text/06_moe.py by `cs336lite build`: edit that file, not this one.
"""Small Transformers with a mixture of experts in each block, trained on the default corpus, for lecture 06.

An *arm* is a dense network or a mixture that computes as much for a token, with another router, balance or capacity.

Built in notebooks/06_moe.ipynb.
"""

from collections.abc import Mapping
from itertools import count
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cs336lite.course.tuning import Tuned
from cs336lite.model import TransformerConfig
from cs336lite.moe import HashRouter, MoE, PolicyRouter, RoutedTransformer, mixtures
from cs336lite.slots import ActsAfterStep
from cs336lite.trials import held_out_loss, texts

MODEL = {
    "vocab_size": 256, "context_length": 64, "d_model": 32, "num_layers": 2, "num_heads": 2, "d_ff": 128,
    "init_std": 0.177, "attend": "sdpa",
}  # fmt: skip
"""A Transformer of two blocks whose feed-forward networks are 128 wide."""

MIXTURE = {"num_experts": 8, "top_k": 2, "d_ff": 64, "balance": 0.0}
"""Eight experts 64 wide, two for each token: the FLOPs of a network 128 wide, and four times its parameters."""

TRAINING = {"steps": 500, "batch": 8, "seq": 64, "warmup": 50}
"""Steps of 512 bytes; the rate rises for ``warmup`` steps, then falls linearly to 0."""


def config_of(run: Mapping[str, Any]) -> TransformerConfig:
    """The configuration of a run. A hash router has another table in each block and with each seed."""
    mixture = run["mixture"]
    if mixture is None:
        return TransformerConfig(**run["config"])
    if mixture.get("router") == "hash":
        seeds, vocab = count(100 * run["seed"]), run["config"]["vocab_size"]
        mixture = {**mixture, "router": lambda _, experts, k: HashRouter(vocab, experts, k, next(seeds))}
    return TransformerConfig(**run["config"], feed_forward=MoE(**mixture))


def draw_batch(draw: torch.Generator, batch: int, seq: int) -> Tensor:
    """(batch, seq + 1) bytes of the training text, from random places."""
    learned = texts()[0]
    return learned[torch.randint(len(learned) - seq, (batch, 1), generator=draw) + torch.arange(seq + 1)]


def train_mixture(
    run: Mapping[str, Any], observe: Any = lambda step, model: None
) -> tuple[RoutedTransformer, list[float]]:
    """(model, loss of every step) of ``run``; ``observe(step, model)`` comes after each. FloatingPointError if it diverges."""
    t, draw = run["training"], torch.Generator().manual_seed(run["seed"])
    torch.manual_seed(run["seed"])  # a policy draws its experts from it
    model, losses = RoutedTransformer(config_of(run), draw), []
    optimizer = torch.optim.AdamW(model.parameters(), betas=(0.9, 0.95), weight_decay=0.1, fused=True)
    for step in range(t["steps"]):
        optimizer.param_groups[0]["lr"] = run["lr"] * min((step + 1) / t["warmup"], 1 - step / t["steps"])
        batch = draw_batch(draw, t["batch"], t["seq"])
        loss = model.loss(batch[:, :-1], batch[:, 1:])
        if not loss.isfinite():
            raise FloatingPointError(f"the loss of step {step} is {loss.item()}")
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        for part in model.modules():
            if isinstance(part, ActsAfterStep):
                part.after_step()
        losses.append(loss.item())
        observe(step, model)
    return model.eval(), losses


@torch.no_grad()
def look(model: RoutedTransformer, pieces: int = 100) -> dict[str, Any]:
    """What the routers of a model do with so many held-out pieces of 64 bytes.

    ``loss`` in nats a byte; for each block ``load``, the experts' shares of all places, and ``log_z``, the root mean
    square of the log-sum-exp of the router's logits, which the router z-loss holds down.
    """
    held, log_z = texts()[1], []
    starts = torch.linspace(0, len(held) - 65, pieces).long()[:, None]
    batch = held[starts + torch.arange(65)]
    hooks = [
        layer.router.register_forward_hook(lambda *told: log_z.append(told[2].z_loss.item() ** 0.5))
        for layer in mixtures(model)
    ]
    loss = F.cross_entropy(model(batch[:, :-1]).flatten(0, 1), batch[:, 1:].flatten()).item()
    for hook in hooks:
        hook.remove()
    return {"loss": loss, "load": [layer.load.tolist() for layer in mixtures(model)], "log_z": log_z}


def train_routed(run: Mapping[str, Any]) -> dict[str, Any]:
    """``final``, the held-out loss in nats a byte, None if it diverged; ``curve``, the training loss of every 50 steps; `look`.

    A policy is judged with its likeliest experts; one that is never taught has none, and is judged drawing.
    ``drawn`` is the loss of a policy that draws.
    """
    try:
        model, losses = train_mixture(run)
    except FloatingPointError:
        return {"final": None, "curve": [], "load": [], "log_z": [], "drawn": None}
    curve = [round(sum(losses[i : i + 50]) / 50, 3) for i in range(0, len(losses), 50)]
    seen, final, drawn = look(model), held_out_loss(model, 64), None
    if policies := [part for part in model.modules() if isinstance(part, PolicyRouter)]:
        for policy in policies:
            policy.train()
        drawn = round(held_out_loss(model, 64), 4)
        final = final if policies[0].coefficient else drawn
    return {
        "final": round(final, 4), "curve": curve, "drawn": drawn, "log_z": [round(z, 2) for z in seen["log_z"]],
        "load": [[round(share, 4) for share in block] for block in seen["load"]],
    }  # fmt: skip


def run_of(arm: str, changes: Mapping[str, Any], lr: float, seed: int) -> dict[str, Any]:
    """The arguments of one training. ``dense`` among the changes is the width of a network without experts."""
    dense = changes.get("dense")
    config = MODEL | ({"d_ff": dense} if dense else {})
    mixture = None if dense else {**MIXTURE, **changes}
    return {"arm": arm, "lr": lr, "seed": seed, "config": config, "mixture": mixture, "training": TRAINING}


def _tuned(name: str, arms: Mapping[str, Mapping[str, Any]]) -> Tuned:
    return Tuned(
        name, arms, run_of, train_routed, grid=(6.7e-3, 1e-2, 1.5e-2), reporting=(1, 2, 3, 4, 5, 6, 7, 8),
        columns=("arm", "lr", "seed", "final", "curve", "load", "log_z", "drawn"),
        setting={"model": MODEL, "mixture": MIXTURE, "training": TRAINING},
    )  # fmt: skip


ROUTERS = _tuned(
    "06_routers",
    {
        "dense, 128": {"dense": 128}, "dense, 512": {"dense": 512}, "top-2": {}, "top-2, loss": {"balance": 0.01},
        "hash": {"router": "hash"}, "REINFORCE": {"router": "policy", "balance": 0.01},
    },
)  # fmt: skip
"""Who chooses the experts: dense networks of the active and of the stored size, gates, a random table, rewards."""


BALANCE = _tuned(
    "06_balance",
    {
        "top-2, bias": {"router": "bias", "bias_rate": 0.01},
        "top-2, loss, z-loss": {"balance": 0.01, "z": 0.001},
    },
)  # fmt: skip
"""Two more ways to hold a router, beside those of `ROUTERS`."""

CAPACITY = _tuned(
    "06_capacity",
    {"capacity 1": {"balance": 0.01, "capacity": 1.0}, "capacity 1.25": {"balance": 0.01, "capacity": 1.25}},
)
"""Experts that take no more than so many times the mean load."""

OTHERS = _tuned(
    "06_others",
    {
        "random": {"router": "policy", "policy_coefficient": 0.0},
        "top-1 of 4": {"num_experts": 4, "top_k": 1, "d_ff": 128, "renormalize": False, "balance": 0.01},
    },
)  # fmt: skip
"""A router that is never taught, and Switch's: one expert a token, twice as wide."""

FINE = _tuned(
    "06_fine",
    {
        "16, top-4": {"num_experts": 16, "top_k": 4, "d_ff": 32, "balance": 0.01},
        "15 + 1 shared": {"num_experts": 15, "top_k": 3, "d_ff": 32, "shared": 1, "balance": 0.01},
    },
)  # fmt: skip
"""More and smaller experts at the same cost, without and with one that every token passes."""
