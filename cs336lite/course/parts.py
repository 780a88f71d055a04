"""The parts of a language model that the assignments build: the reader's where they are, stand-ins where they are not yet.

    PARTS = parts()                                       # says whose each is
    PARTS.attention(d_model, num_heads, rope)             # x -> x, (batch, seq, d_model)

A stand-in is another, simpler idea, or PyTorch's own: bytes for BPE, `torch.nn.functional.scaled_dot_product_attention`,
learned positions for RoPE, AdamW for Lion, one dense network for the mixture of experts.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cs336lite import scratch
from cs336lite.course.corpus import SEPARATOR
from cs336lite.course.paths import GRADED_MODULES, own_root
from cs336lite.course.ready import standing
from cs336lite.layers import FeedForward

if TYPE_CHECKING:  # the build reads here what a page depends on
    from cs336lite import attention, bpe, lion, rope, router  # noqa: F401

__all__ = ["Parts", "parts"]

IN_PLACE = {
    "bpe": "a byte is a token",
    "attention": "PyTorch's scaled_dot_product_attention",
    "rope": "learned positions",
    "lion": "AdamW",
    "router": "one dense feed-forward network in each block",
}
"""What stands in for each module."""


@dataclass(frozen=True)
class Parts:
    """The modules of the package that can be used, by name; what makes each part of a model."""

    modules: dict[str, ModuleType]
    whose: dict[str, str]  # of each part "yours", "the course's" or "stand-in"

    def __str__(self) -> str:
        """One line: which parts are whose, as ``"yours: bpe, rope; stand-in: lion"``."""
        owners = dict.fromkeys(self.whose.values())
        return "; ".join(f"{who}: {', '.join(n for n, w in self.whose.items() if w == who)}" for who in owners)

    def tokenizer(self, documents: Iterable[str], vocab_size: int) -> Any:
        """A tokenizer with ``encode`` and ``decode``, trained on documents; `SEPARATOR` is one token of its own."""
        if (bpe := self.modules.get("bpe")) is None:
            return Bytes()
        with scratch.Scratch("bpe") as folder:
            path = folder / "text.txt"
            path.write_bytes(SEPARATOR.join(documents).encode())
            vocab, merges = bpe.train_bpe(path, vocab_size, [SEPARATOR])
        return bpe.Tokenizer(vocab, merges, [SEPARATOR])

    def rope(self, d_head: int, length: int) -> nn.Module | None:
        """Rotary positions for one head, where they are there."""
        rope = self.modules.get("rope")
        return rope and rope.RotaryPositionalEmbedding(10_000.0, d_head, length)

    def positions(self, d_model: int, length: int) -> nn.Module:
        """What is added to embeddings: nothing where RoPE turns queries and keys, else a learned vector for each position."""
        return nn.Identity() if "rope" in self.modules else Learned(d_model, length)

    def attention(self, d_model: int, num_heads: int, rope: nn.Module | None) -> nn.Module:
        """Causal multi-head attention; half as many heads of keys and values (GQA) in the module of a2."""
        if attention := self.modules.get("attention"):
            few = num_heads // 2 if num_heads % 2 == 0 else num_heads
            return attention.MultiHeadAttention(d_model, num_heads, few, rope=rope)
        return Fused(d_model, num_heads, rope)

    def feed_forward(self, d_model: int, d_ff: int, num_experts: int = 4) -> nn.Module:
        """A mixture of experts, two of them for each token, or a dense network with as many active parameters."""
        router = self.modules.get("router")
        return Mixture(router, d_model, d_ff // 2, num_experts) if router else FeedForward(d_model, d_ff)

    def optimizer(self, parameters: Iterable[nn.Parameter], lr: float) -> torch.optim.Optimizer:
        """Lion, or AdamW; ``lr`` is Lion's, which is a fifth of AdamW's."""
        if lion := self.modules.get("lion"):
            return lion.Lion(parameters, lr=lr, betas=(0.9, 0.99), weight_decay=0.1)
        return torch.optim.AdamW(parameters, lr=5 * lr, betas=(0.9, 0.95), weight_decay=0.1)


def parts(root: Path | None = None) -> Parts:
    """Say of each part whose it is, with its public checks, or what stands in for it; the parts.

    Raises:
        CourseError: the package that is imported lies in another folder than the notebook.
    """
    root = root or own_root()
    found, owners, lines = {}, {}, []
    for assignment, module in GRADED_MODULES.items():
        if module not in IN_PLACE:
            continue  # of a later assignment
        there, told = standing(root, assignment, module)
        if there:
            found[module] = importlib.import_module(f"cs336lite.{module}")
        owners[module] = "stand-in" if not there else "yours" if told.startswith("yours") else "the course's"
        lines.append(f"{module}: {told}" if there else f"{module}: {IN_PLACE[module]} in its place. {told}")
    print("\n".join(lines))
    return Parts(found, owners)


class Bytes:
    """UTF-8: a byte is a token, and `SEPARATOR` is number 256."""

    def encode(self, text: str) -> list[int]:
        ids: list[int] = []
        for i, part in enumerate(text.split(SEPARATOR)):
            ids += [*([256] if i else []), *part.encode()]
        return ids

    def decode(self, ids: Iterable[int]) -> str:
        pieces = (SEPARATOR.encode() if i == 256 else bytes([i]) for i in ids)
        return b"".join(pieces).decode(errors="replace")


class Learned(nn.Module):
    """A learned vector for each position, added."""

    def __init__(self, d_model: int, length: int) -> None:
        super().__init__()
        self.table = nn.Embedding(length, d_model)
        nn.init.normal_(self.table.weight, std=0.02)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.table.weight[: x.shape[-2]]


class Fused(nn.Module):
    """PyTorch's attention behind one linear layer for queries, keys and values together."""

    def __init__(self, d_model: int, num_heads: int, rope: Callable[[Tensor, Tensor], Tensor] | None) -> None:
        super().__init__()
        self.heads, self.rope = num_heads, rope
        self.into, self.out = nn.Linear(d_model, 3 * d_model, bias=False), nn.Linear(d_model, d_model, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        batch, seq, d_model = x.shape
        queries, keys, values = self.into(x).view(batch, seq, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        if self.rope is not None:
            places = torch.arange(seq, device=x.device)
            queries, keys = self.rope(queries, places), self.rope(keys, places)
        y = F.scaled_dot_product_attention(queries, keys, values, is_causal=True)
        return self.out(y.transpose(1, 2).reshape(batch, seq, d_model))


class Mixture(nn.Module):
    """Experts behind a router of a5, two of them for each token; a call leaves ``balance``, its load-balancing loss."""

    def __init__(self, router: ModuleType, d_model: int, d_ff: int, num_experts: int) -> None:
        super().__init__()
        self.router = router.TopKRouter(d_model, num_experts, 2)
        self.experts = nn.ModuleList(FeedForward(d_model, d_ff) for _ in range(num_experts))
        self.dispatch = router.dispatch
        self.balance: Tensor | float = 0.0

    def forward(self, x: Tensor) -> Tensor:
        routed = self.router(x)
        self.balance = routed.load_balancing_loss
        return self.dispatch(x, routed.weights, routed.indices, self.experts)
