"""The MoE layer of lecture 06 beside other ways to dispatch, and beside a dense network of equal active FLOPs, as ratios.

    python benchmarks/moe.py               8 and 64 experts, top-2, forward and backward; about two minutes
    python benchmarks/moe.py --rounds 15   more rounds
    python benchmarks/moe.py --threads 2   products on two threads

4,096 tokens, d_model 256, d_ff 512. The contenders compute the same function from the same weights, which is checked;
the dense network has d_ff 1,024. They take turns in one process, on one thread by default. What counts is processor time:
the median over rounds of the ratio to the dense network of the same round, with the quartiles beside it.
"""

import argparse
import importlib.metadata
import platform
import statistics
import time
from collections.abc import Callable

import torch
import torch.nn.functional as F
from targets import told
from torch import Tensor, nn

from cs336lite.layers import FeedForward
from cs336lite.model import TransformerConfig
from cs336lite.moe import MoE, MoELayer

TOKENS, D_MODEL, D_FF, TOP_K = 4096, 256, 512, 2
TARGETS = {8: 1.15, 64: 1.5}
CONFIG = TransformerConfig(vocab_size=1, context_length=1, d_model=D_MODEL, num_layers=1, num_heads=1, d_ff=D_FF)


class Looped(nn.Module):
    """A loop over the experts; ``take`` gives the matrices of each."""

    def __init__(self, layer: MoELayer, take: Callable[[Tensor], list[Tensor]]) -> None:
        super().__init__()
        self.layer, self.take = layer, take

    def forward(self, x: Tensor) -> Tensor:
        routed, experts = self.layer.router(x), self.layer.experts
        y = torch.zeros_like(x)
        matrices = [self.take(part.weight) for part in (experts.gate, experts.up, experts.down)]
        for e, (gate, up, down) in enumerate(zip(*matrices)):
            token, place = torch.where(routed.indices == e)
            h = F.silu(x[token] @ gate.T) * (x[token] @ up.T)
            y.index_add_(0, token, (h @ down.T) * routed.weights[token, place, None])
        return y


class OneHot(nn.Module):
    """Every expert computes every token, and an einsum with a one-hot tensor of gates picks what was asked for."""

    def __init__(self, layer: MoELayer) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, x: Tensor) -> Tensor:
        routed, experts = self.layer.router(x), self.layer.experts
        gates = x.new_zeros(len(x), experts.num_experts).scatter(1, routed.indices, routed.weights)
        gate, up = (torch.einsum("nd,efd->enf", x, part.weight) for part in (experts.gate, experts.up))
        return torch.einsum("enf,edf,ne->nd", F.silu(gate) * up, experts.down.weight, gates)


class Mixtral(nn.Module):
    """The block of Hugging Face's Mixtral, with one of its ways to compute the experts."""

    def __init__(self, layer: MoELayer, implementation: str) -> None:
        super().__init__()
        from transformers import MixtralConfig
        from transformers.models.mixtral.modeling_mixtral import MixtralSparseMoeBlock

        experts = layer.experts
        config = MixtralConfig(
            hidden_size=D_MODEL,
            intermediate_size=D_FF,
            num_local_experts=experts.num_experts,
            num_experts_per_tok=TOP_K,
        )
        config._experts_implementation = implementation
        self.block = MixtralSparseMoeBlock(config)
        joined = torch.cat((experts.gate.weight, experts.up.weight), dim=1)
        self.block.load_state_dict(
            {
                "gate.weight": layer.router.gate.weight,
                "experts.gate_up_proj": joined,
                "experts.down_proj": experts.down.weight,
            }
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.block(x[None])[0]


def contenders(num_experts: int) -> dict[str, nn.Module]:
    layer = MoE(num_experts=num_experts, top_k=TOP_K, balance=0.0)(CONFIG)
    return {
        "dense, equal active FLOPs": FeedForward(D_MODEL, TOP_K * D_FF),
        "cs336lite": layer,
        "loop, weight[e]": Looped(layer, lambda weight: [weight[e] for e in range(len(weight))]),
        "loop, weight.unbind(0)": Looped(layer, lambda weight: weight.unbind(0)),
        "one-hot einsum": OneHot(layer),
        "transformers, loop": Mixtral(layer, "eager"),
        "transformers, grouped_mm": Mixtral(layer, "grouped_mm"),
    }


def step(module: nn.Module, x: Tensor, direction: Tensor) -> float:
    """Processor seconds of a forward and a backward pass, gradients of all parameters and of the input."""
    given = x.detach().requires_grad_()
    for parameter in module.parameters():
        parameter.grad = None
    start = time.process_time()
    module(given).backward(direction)
    return time.process_time() - start


def compare(num_experts: int, rounds: int, only: str = "") -> bool:
    """Print the ratios; whether ours reaches its target."""
    torch.manual_seed(0)
    made = contenders(num_experts)
    chosen = {n: m for n, m in made.items() if only in n or n in ("dense, equal active FLOPs", "cs336lite")}
    x, direction = torch.randn(2, TOKENS, D_MODEL).unbind(0)
    wanted = made["cs336lite"](x)
    for name, module in chosen.items():
        if not name.startswith("dense"):
            torch.testing.assert_close(module(x), wanted, atol=1e-4, rtol=1e-4, msg=lambda m, n=name: f"{n}: {m}")
    times: dict[str, list[float]] = {name: [] for name in chosen}
    for number in range(rounds + 1):
        for name, module in chosen.items():
            took = step(module, x, direction)
            if number:  # the first round warms up
                times[name].append(took)
    dense = times["dense, equal active FLOPs"]
    print(f"\n{num_experts} experts, top-{TOP_K}: processor time over that of the dense network, median (quartiles)")
    for name, taken in times.items():
        ratios = [a / b for a, b in zip(taken, dense)]
        low, middle, high = statistics.quantiles(ratios, n=4)
        print(f"  {name:<28} {middle:6.2f}  ({low:.2f} to {high:.2f})")
        if name == "cs336lite":
            ours = middle
    target = TARGETS[num_experts]
    reached = told(f"{num_experts} experts over a dense network of equal FLOPs", ours, at_most=target)
    print(f"  target for cs336lite: at most {target}: {'reached' if reached else 'missed'}")
    return reached


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--only", default="", help="contenders whose name holds this, beside ours and the dense one")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    versions = ", ".join(f"{name} {importlib.metadata.version(name)}" for name in ("torch", "transformers"))
    print(f"{platform.machine()}, {torch.get_num_threads()} thread(s), Python {platform.python_version()}, {versions}")
    print(f"{TOKENS} tokens, d_model {D_MODEL}, d_ff {D_FF}, float32, forward and backward")
    for num_experts in TARGETS:
        compare(num_experts, arguments.rounds, arguments.only)


if __name__ == "__main__":
    main()
