# ---
# jupyter:
#   kernelspec: {display_name: Python 3, language: python, name: python3}
#   cs336lite: {module: model, minutes: 3, prerequisites: [03_architecture], device: CPU}
# ---

# %% [markdown]
# # 03b · One model with every switch (模型的变体)
#
# {badge} · prerequisites: 03, a2 (attention), a3 (RoPE) · device: CPU
#
# The Transformer of 2017 and the models of today are the same machine with a dozen switches in other places. Lecture 03
# built the machine with the switches of today. Here is one model with all of them.
#
# ## By the end you will have shown
#
# 1. **Post-norm's gradient does not vanish.** Along the additions alone it does; the true gradient is nearly flat.
# 2. **Pre-norm's gradients shrink with depth near the output, post-norm's do not**, which is why post-norm needs warmup.
# 3. **RoPE gets worse beyond the length it was trained on**; a bias by distance (ALiBi) does not.
# 4. **Fewer key-value heads shrink the cache by exactly their ratio**, predicted to the byte.

# %% [markdown]
# ## Setup

# %%
from IPython.display import display
from torch.utils.flop_counter import FlopCounterMode
from tqdm.auto import tqdm

from cs336lite.accounting import forward_flops, kv_cache_bytes, parameters, weights
from cs336lite.course import finished, whose
from cs336lite.course.data import technical_text
from cs336lite.course.diagram import Diagram
from cs336lite.course.hugging_face import WithoutMemory
from cs336lite.course.measure import best_seconds, reveal
from cs336lite.course.plot import COLORS, axes, finish

# your attention and your RoPE are in the models below; until you have them, cells show what our own run has shown
READY = whose("attention", "rope", lecture="03b_variants")

YOURS = "this runs on your attention and your RoPE: do check('a2_attention') and check('a3_rope') pass?"

# %% [markdown]
# ## 1 · One model
#
# A configuration says where every switch stands; the model reads it. Three fields are *slots* for things that later
# lectures bring: QK-norm, another formula of attention, another feed-forward network, another loss.


# %%
#| export model
"""One Transformer with a switch for everything that changed since 2017: `TransformerConfig` says which, `Transformer` runs it.

Vaswani et al. 2017, arXiv 1706.03762, with the variants that `cs336lite.layers` and `cs336lite.positions` name. The
attention is `cs336lite.attention`, rotary positions are `cs336lite.rope`.

Shapes: tokens are (batch, seq) integers, hidden vectors (batch, seq, d_model), logits (batch, seq, vocab_size). Masks are
boolean, True = may attend; ``padding`` is (batch, seq), True where a token is real.

Built in notebooks/03b_variants.ipynb.
"""

import difflib
import math
import time
from collections.abc import Callable, Mapping, Sequence, Set
from dataclasses import dataclass, fields, replace
from functools import cache, partial
from itertools import pairwise
from numbers import Integral, Real
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from einops import rearrange
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from cs336lite.accounting import ModelShape
from cs336lite.attention import MultiHeadAttention, scaled_dot_product_attention
from cs336lite.course.data import SEPARATOR, default_corpus
from cs336lite.course.kept import kept
from cs336lite.course.sweeps import best, by_seed, interior
from cs336lite.layers import GATES, FeedForward, LayerNorm, RMSNorm
from cs336lite.positions import (
    AlibiAttention,
    LearnedPositions,
    ShawAttention,
    T5Attention,
    TransformerXLAttention,
    as_padding,
    mask_of_padding,
    prefix_mask,
    sinusoids,
)
from cs336lite.rope import RotaryPositionalEmbedding, rotate_part

# %%
#| export model
PLACEMENTS = ("pre", "post", "double", "branch")
"""Where norms stand: before each part, x + f(N(x)); after the addition, N(x + f(x)), as in 2017; before and after (sandwich,
Gemma 2), x + N'(f(N(x))); at the end of the branch alone, x + N(f(x)), as in OLMo 2 (arXiv 2501.00656)."""

AT_INPUT = ("sinusoidal", "learned", "glm")
"""Position schemes that add to the embedding."""

IN_ATTENTION = ("alibi", "shaw", "t5", "transformer_xl")
"""Position schemes that work on the scores of attention."""

POSITIONS = (*AT_INPUT, "rope", "rope_half", *IN_ATTENTION, "none")
"""All position schemes; ``rope_half`` is RoPE in Hugging Face's layout."""

BOUNDED = ("learned", "glm", "rope", "rope_half")
"""Position schemes that know no position beyond ``context_length``."""

MASKS = ("causal", "prefix", "full")
"""Who sees whom in the decoder: what came before; a prefix too (GLM's blanks are that); everybody."""


# %%
#| export model
@dataclass(frozen=True, kw_only=True)
class TransformerConfig:
    """Everything that tells one Transformer from another. ValueError for what does not exist or does not fit.

    A slot takes a function, a class or a frozen dataclass that can be called, so that an experiment is a configuration.

    >>> TransformerConfig(vocab_size=10, context_length=8, d_model=32, num_layers=2, num_heads=4, d_ff=64).head_size
    8
    """

    # sizes
    vocab_size: int
    context_length: int
    d_model: int
    num_layers: int  # blocks of the decoder, or of the only stack
    num_heads: int
    d_ff: int
    num_kv_heads: int | None = None  # None: num_heads; 1: MQA; between: GQA
    d_head: int | None = None  # None: d_model // num_heads
    num_encoder_layers: int = 0  # above 0: an encoder, and cross-attention in the decoder
    # switches
    norm: str | Callable[[int], nn.Module] = "rmsnorm"  # or "layernorm", or a slot: norm(d) -> module
    norm_placement: str = "pre"  # one of PLACEMENTS
    norm_eps: float = 1e-5
    embedding_norm: bool = False  # one more norm, on the embeddings (BLOOM)
    bias: bool = False  # in all linear layers of the blocks, and in LayerNorm
    qkv_bias: bool = False  # in queries, keys and values only (ChatGLM2)
    activation: str = "swiglu"  # a name in layers.ACTIVATIONS or layers.GATES
    parallel: bool = False  # attention and feed-forward read the same norm and are added together (PaLM)
    parallel_norms: int = 1  # of a parallel block; 2: attention and feed-forward have one each (GPT-NeoX)
    positions: str = "rope"  # one of POSITIONS
    rope_theta: float = 10_000.0
    rotary_dim: int | None = None  # None: the whole head; ChatGLM2 turns half of it
    max_distance: int = 128  # of relative positions: clipped there (shaw), in one bucket beyond (t5)
    mask: str = "causal"  # one of MASKS
    tied_embeddings: bool = False  # the output layer is the embedding
    embedding_scale: float = 1.0  # embeddings are multiplied by this: sqrt(d_model) in 2017
    output_scale: float = 1.0  # and what the output layer reads by this: 1 / sqrt(d_model) in T5
    output_cap: float | None = None  # logits are cap * tanh(logits / cap) (Gemma 2: 30); a loss slot caps its own
    dropout: float = 0.0  # of embeddings, of what a block adds, and inside the feed-forward network
    init_std: float = 0.02
    # slots
    qk_norm: Callable[[int], nn.Module] | None = None  # qk_norm(d_head) -> module
    qk_norm_across_heads: bool = False  # it normalises all heads of a token together: qk_norm(heads * d_head) (OLMo 2)
    rope: Callable[["TransformerConfig"], nn.Module] | None = None  # makes RoPE with other frequencies (Llama 3.1)
    attend: str | Callable[..., Tensor] = (
        "plain"  # "plain", "sdpa", or attend(Q, K, V, mask) -> (batch, heads, q, d_head)
    )
    feed_forward: Callable[["TransformerConfig"], nn.Module] | None = None  # makes what stands in place of FeedForward
    loss: Callable[[Tensor, Tensor, Tensor], Tensor] | None = None  # loss(hidden, weight, targets) -> scalar

    def __post_init__(self) -> None:
        check_config(self)

    @property
    def head_size(self) -> int:
        return self.d_head or self.d_model // self.num_heads

    def replace(self, **changes: Any) -> "TransformerConfig":
        """The same configuration with some fields changed."""
        return replace(self, **changes)

    @property
    def shape(self) -> ModelShape:
        """What `cs336lite.accounting` asks for; a slot is counted as the plain part in its place."""
        d, heads = self.d_model, self.num_heads
        in_a_stack = {
            "learned": self.context_length * d,
            "glm": 2 * (self.context_length + 1) * d,
            "t5": 32 * heads,
            "shaw": self.num_layers * 2 * (2 * self.max_distance + 1) * self.head_size,
            "transformer_xl": self.num_layers
            * 2
            * heads
            * self.head_size,  # u and v; the projection is a matrix of its own
        }
        return ModelShape(
            vocab_size=self.vocab_size, context_length=self.context_length, d_model=d, num_layers=self.num_layers,
            num_heads=heads, d_ff=self.d_ff, num_kv_heads=self.num_kv_heads, d_head=self.d_head,
            glu=self.activation in GATES, bias=self.bias, qkv_bias=self.qkv_bias,
            norm_bias=self.bias and self.norm == "layernorm", tied_embeddings=self.tied_embeddings,
            position_parameters=in_a_stack.get(self.positions, 0),
            relative_projection=self.positions == "transformer_xl", qk_norm=self.qk_norm is not None,
            qk_norm_across_heads=self.qk_norm_across_heads,
            norms_per_block=self.parallel_norms if self.parallel else 4 if self.norm_placement == "double" else 2,
            outer_norms=(self.norm_placement != "post") + self.embedding_norm, num_encoder_layers=self.num_encoder_layers,
        )  # fmt: skip


# %% folded=true
#| export model
LEAST = {
    "num_layers": 1, "num_encoder_layers": 0, "d_head": 1, "rotary_dim": 2, "max_distance": 1, "norm_eps": 0,
    "rope_theta": 0, "output_cap": 0, "dropout": 0, "init_std": 0,
}  # fmt: skip
"""The least that a number of a configuration may be."""


def check_config(c: TransformerConfig) -> None:
    """TypeError for a field of another kind, ValueError for what does not exist or does not fit together."""
    for name, known in {"norm_placement": PLACEMENTS, "positions": POSITIONS, "mask": MASKS}.items():
        if getattr(c, name) not in known:
            raise ValueError(f"{name} is {getattr(c, name)!r}, and what exists is {', '.join(known)}")
    if isinstance(c.norm, str) and c.norm not in ("rmsnorm", "layernorm"):
        raise ValueError(f"norm is {c.norm!r}: give 'rmsnorm', 'layernorm', or what makes a norm")
    if isinstance(c.attend, str) and c.attend not in ("plain", "sdpa"):
        raise ValueError(f"attend is {c.attend!r}: give 'plain', 'sdpa', or attend(Q, K, V, mask)")
    if c.positions in IN_ATTENTION and c.attend != "plain":
        raise ValueError(f"positions {c.positions!r} work inside attention, so attend cannot be {c.attend!r} as well")
    if c.parallel and (c.norm_placement != "pre" or c.num_encoder_layers):
        raise ValueError("a parallel block has one norm, before it, and no cross-attention")
    whole = (Integral, "an integer")
    number = (Real, "a number")
    kinds = {int: whole, int | None: whole, float: number, float | None: number, bool: (bool, "True or False")}
    for field in fields(c):
        value, (kind, words) = getattr(c, field.name), kinds.get(field.type, (object, ""))
        if value is None and field.default is None:
            continue
        if not isinstance(value, kind) or (isinstance(value, bool) and kind in (Integral, Real)):
            raise TypeError(f"{field.name} is {value!r}, and must be {words}")
        if kind is Real and not math.isfinite(value):
            raise ValueError(f"{field.name} is {value}, and must be finite")
    for name, least in LEAST.items():
        if getattr(c, name) is not None and getattr(c, name) < least:
            raise ValueError(f"{name} is {getattr(c, name)}, and must be at least {least}")
    if c.dropout >= 1:
        raise ValueError(f"dropout is {c.dropout}, and must be below 1")
    for name in ("rope_theta", "output_cap"):
        if getattr(c, name) == 0:
            raise ValueError(f"{name} is 0, and must be above it")
    if c.parallel_norms not in (1, 2) or (c.parallel_norms == 2 and not c.parallel):
        raise ValueError(f"parallel_norms is {c.parallel_norms}: a parallel block has 1 or 2, and another block has 1")
    if c.qk_norm_across_heads and c.qk_norm is None:
        raise ValueError("qk_norm_across_heads is True, and there is no qk_norm")
    if c.rope is not None and c.positions not in ("rope", "rope_half"):
        raise ValueError(f"rope is given, and positions are {c.positions!r}: it needs 'rope' or 'rope_half'")
    if c.rotary_dim is not None and (c.rotary_dim % 2 or c.rotary_dim > c.head_size):
        raise ValueError(f"rotary_dim is {c.rotary_dim}, and must be even and at most the head size, {c.head_size}")
    for name in ("qk_norm", "rope", "feed_forward", "loss"):
        if getattr(c, name) is not None and not callable(getattr(c, name)):
            raise TypeError(f"{name} is {getattr(c, name)!r}, and must be None or what can be called")
    _ = c.shape  # raises for sizes that do not fit together


# %% folded=true
#| export model
def check_ids(name: str, ids: Tensor) -> None:
    """TypeError for other numbers than integers, ValueError for another shape than (batch, seq)."""
    if ids.dtype not in (torch.int64, torch.int32):
        raise TypeError(f"{name} are {ids.dtype}, and ids are torch.int64 or torch.int32")
    if ids.ndim != 2:
        raise ValueError(f"{name} have the shape {tuple(ids.shape)}: give (batch, seq), a single text as {name}[None]")


def check_vocabulary(ids: Tensor, vocab_size: int) -> None:
    """ValueError that names the first id outside the vocabulary."""
    unknown = ids[(ids < 0) | (ids >= vocab_size)]
    if unknown.numel():
        raise ValueError(f"token {int(unknown[0])} is not in the vocabulary, whose ids are 0 to {vocab_size - 1}")


def check_shape(name: str, given: Tensor | None, *shape: int) -> None:
    """ValueError for what does not broadcast to this shape: it would make several rows out of one."""
    if given is not None:
        sizes = zip(reversed(given.shape), reversed(shape))
        if given.ndim > len(shape) or any(size not in (1, wanted) for size, wanted in sizes):
            raise ValueError(f"{name} has the shape {tuple(given.shape)}, which does not broadcast to {shape}")


# %% [markdown]
# ### A block: four places for a norm, two orders
#
# $$\textbf{post: } N(x + f(x)) \qquad \textbf{pre: } x + f(N(x)) \qquad \textbf{double: } x + N'(f(N(x))) \qquad
# \textbf{branch: } x + N(f(x))$$
#
# 2017 is post-norm (后归一化). Most large language models since GPT-2 are pre-norm (前归一化). Exceptions have names: GLM-130B is
# post-norm with DeepNorm (arXiv 2210.02414), OPT-350M is post-norm; Gemma 2 has a norm before and one after (double,
# sandwich), OLMo 2 one at the end of the branch (2501.00656). A **parallel block** (并行块) adds attention and feed-forward
# network of the *same* normalised input, $x + f(N(x)) + g(N(x))$ (GPT-J, PaLM).

# %% folded=true
d = Diagram(88, 10.6)
for k, (name, before, after) in enumerate((("post", 0, 0), ("pre", 1, 0), ("double", 1, 1), ("branch", 0, 1))):
    x = 4 + 22 * k
    d.text(x - 2, 0.7, {"double": "double norm", "branch": "norm in the branch"}.get(name, f"{name}-norm"))
    plus = d.box(x - 1.5, 4.2, "+", width=3)
    d.arrow((x, 10.2), plus.bottom, color="blue")
    if name == "post":
        norm = d.box(x - 3.5, 2.1, "norm", width=7, color="green")
        d.arrow(plus.top, norm.bottom, color="blue")
        d.line(norm.top, (x, 1.3), color="blue")
    else:
        d.line(plus.top, (x, 1.3), color="blue")
    parts = ["norm"] * before + ["f"] + ["norm"] * after
    boxes = [
        d.box(x + 5, 8.2 - 2 * i, part, width=7, color="green" if part == "norm" else "vermillion")
        for i, part in enumerate(parts)
    ]
    across = boxes[0].bottom[0]
    d.line((x, 10), (across, 10), color="grey")
    d.arrow((across, 10), boxes[0].bottom, color="grey")
    for low, high in pairwise(boxes):
        d.arrow(low.top, high.bottom, color="grey")
    last = boxes[-1]
    if last.y > 5:
        d.line(last.top, (across, 4.85), color="grey")
        d.arrow((across, 4.85), plus.right, color="grey")
    else:
        d.arrow(last.left, plus.right, color="grey")
d.show()


# %% [markdown]
# The parts that the configuration asks for. Your `MultiHeadAttention` from a2 has a slot `attend`, and a `rope`: that is
# all that a position scheme needs. `attend="sdpa"` is PyTorch's fused kernel.


# %%
#| export model
@dataclass(frozen=True)
class FusedAttention:
    """Causal attention by PyTorch's fused kernel, which never stores the scores; the slot ``attend="sdpa"``.

    The queries are the last q of the k tokens. ``mask`` is what must hold beside the causal mask. Heads of keys and values
    may be fewer than those of queries.
    """

    masks_causally = True  # it is not given the causal mask: to know that there is no other is what makes it fast

    def __call__(self, Q: Tensor, K: Tensor, V: Tensor, mask: Bool[Tensor, "..."] | None = None) -> Tensor:
        (q, k), shared = (Q.shape[-2], K.shape[-2]), Q.shape[1] != K.shape[1]
        if mask is None and q == k:
            return F.scaled_dot_product_attention(Q, K, V, is_causal=True, enable_gqa=shared)
        if q > 1:
            causal = torch.ones(q, k, dtype=torch.bool, device=Q.device).tril(k - q)
            mask = causal if mask is None else mask & causal
        return F.scaled_dot_product_attention(Q, K, V, attn_mask=mask, enable_gqa=shared)


sdpa = FusedAttention()


def masks_causally(attend: Callable[..., Tensor]) -> bool:
    """Whether a formula of attention puts the causal mask on by itself, and so serves causal attention alone."""
    return getattr(attend, "masks_causally", False)


# %%
#| export model
def make_norm(config: TransformerConfig) -> nn.Module:
    """The norm that the configuration asks for, over ``d_model`` dimensions."""
    if config.norm == "layernorm":
        return LayerNorm(config.d_model, config.norm_eps, bias=config.bias)
    return RMSNorm(config.d_model, config.norm_eps) if config.norm == "rmsnorm" else config.norm(config.d_model)


def make_feed_forward(config: TransformerConfig) -> nn.Module:
    """What the slot makes, or the network of the configuration's activation."""
    if config.feed_forward is not None:
        return config.feed_forward(config)
    return FeedForward(config.d_model, config.d_ff, config.activation, config.bias, config.dropout)


def make_rope(config: TransformerConfig) -> nn.Module | None:
    """RoPE for what turns of a head; None for the other position schemes."""
    if config.positions not in ("rope", "rope_half"):
        return None
    if config.rope is not None:
        return config.rope(config)
    layout = "half" if config.positions == "rope_half" else "interleaved"
    turned = config.rotary_dim or config.head_size
    return RotaryPositionalEmbedding(config.rope_theta, turned, config.context_length, layout=layout)


def make_relative(config: TransformerConfig, bidirectional: bool = False) -> nn.Module | None:
    """The module that a position scheme puts in the place of attention's formula; None for schemes that leave it."""
    if config.positions == "alibi":
        return AlibiAttention(config.num_heads)
    if config.positions == "shaw":
        return ShawAttention(config.head_size, config.max_distance)
    if config.positions == "t5":
        return T5Attention(config.num_heads, bidirectional, max_distance=config.max_distance)
    if config.positions == "transformer_xl":
        return TransformerXLAttention(config.d_model, config.num_heads, config.head_size)
    return None


class AcrossHeads(nn.Module):
    """A norm of queries or keys, (batch, head, seq, d_head), over all heads of a token together, as in OLMo 2."""

    def __init__(self, norm: nn.Module) -> None:
        super().__init__()
        self.norm = norm

    def forward(self, x: Float[Tensor, "batch head seq d_head"]) -> Float[Tensor, "batch head seq d_head"]:
        normed = self.norm(rearrange(x, "batch head seq d -> batch seq (head d)"))
        return rearrange(normed, "batch seq (head d) -> batch head seq d", d=x.shape[-1])


def make_attention(
    config: TransformerConfig, relative: nn.Module | None, rope: nn.Module | None, *, causal: bool
) -> MultiHeadAttention:
    """Multi-head attention as the configuration has it, with a2's formula or another one in its slot ``attend``."""
    if relative is not None:
        attend = relative.forward
    elif callable(config.attend):
        attend = config.attend if causal or not masks_causally(config.attend) else scaled_dot_product_attention
    elif config.attend == "sdpa":
        attend = sdpa if causal else F.scaled_dot_product_attention
    else:
        attend = scaled_dot_product_attention
    turn = None if rope is None else rope.forward
    if rope is not None and config.rotary_dim not in (None, config.head_size):
        turn = partial(rotate_part, rope, rotary_dim=config.rotary_dim)
    attention = MultiHeadAttention(
        config.d_model, config.num_heads, config.num_kv_heads, d_head=config.d_head, rope=turn, qk_norm=config.qk_norm,
        attend=attend, causal=causal and not masks_causally(attend), bias=config.bias or config.qkv_bias,
    )  # fmt: skip
    if config.qkv_bias and not config.bias:
        attention.o_proj = nn.Linear(attention.o_proj.in_features, config.d_model, bias=False)
    if config.qk_norm_across_heads:
        attention.q_norm = AcrossHeads(config.qk_norm(attention.q_proj.out_features))
        attention.k_norm = AcrossHeads(config.qk_norm(attention.k_proj.out_features))
    return attention


# %%
#| export model
class Block(nn.Module):
    """Attention, cross-attention if ``cross``, and a feed-forward network, each added to the residual stream (残差流).

    ``rope`` and ``relative`` may be shared by all blocks of a stack.
    """

    def __init__(
        self, config: TransformerConfig, relative: nn.Module | None, rope: nn.Module | None, causal: bool, cross: bool
    ) -> None:
        super().__init__()
        self.placement, self.parallel = config.norm_placement, config.parallel
        self.relative, self.rope = relative, rope
        self.attention = make_attention(config, relative, rope, causal=causal)
        self.cross_attention = None
        if cross:  # distances to another text mean nothing; T5 does not divide by sqrt(d) there either
            other = T5Attention(config.num_heads, False, num_buckets=0) if config.positions == "t5" else None
            self.cross_attention = make_attention(config, other, None, causal=False)
        self.feed_forward = make_feed_forward(config)
        parts = ["attention", *["cross_attention"] * cross, "feed_forward"]
        if config.parallel:
            names = ["attention", "feed_forward"][: config.parallel_norms]
        else:
            names = parts if config.norm_placement != "branch" else []
            names = names + [f"{part}_after" for part in parts] * (config.norm_placement in ("double", "branch"))
        self.norms = nn.ModuleDict({name: make_norm(config) for name in names})
        self.dropout = nn.Dropout(config.dropout)

    def forward(
        self, x: Float[Tensor, "batch seq d_model"], context: Tensor | None = None, context_mask: Tensor | None = None,
        padding: Bool[Tensor, "batch seq"] | None = None, **seen: Any,
    ) -> Float[Tensor, "batch seq d_model"]:  # fmt: skip
        """``seen`` is what attention is told: ``mask``, ``token_positions``, ``cache``.

        ``padding`` goes to a feed-forward network with ``takes_padding = True``, as a mixture of experts has.
        """
        told = {"padding": padding} if getattr(self.feed_forward, "takes_padding", False) else {}
        if self.parallel:
            normed = [norm(x) for norm in self.norms.values()]  # one for both parts, or one each
            return x + self.dropout(self.attention(normed[0], **seen) + self.feed_forward(normed[-1], **told))
        x = self.add("attention", x, **seen)
        if self.cross_attention is not None:
            x = self.add("cross_attention", x, context=context, mask=context_mask)
        return self.add("feed_forward", x, **told)

    def add(self, name: str, x: Float[Tensor, "batch seq d_model"], **arguments: Any) -> Tensor:
        """The stream after one part has been added to it, with norms where the configuration has them."""
        part = getattr(self, name)
        if self.placement == "post":
            return self.norms[name](x + self.dropout(part(x, **arguments)))
        y = part(x if self.placement == "branch" else self.norms[name](x), **arguments)
        if self.placement in ("double", "branch"):
            y = self.norms[f"{name}_after"](y)
        return x + self.dropout(y)


# %% folded=true
#| export model
class PositionTable(nn.Module):
    """What a position scheme adds to the embeddings: sinusoids, a learned row, or GLM's two rows; nothing for the others."""

    def __init__(self, config: TransformerConfig) -> None:
        super().__init__()
        self.scheme, self.d_model = config.positions, config.d_model
        rows = {"learned": [config.context_length], "glm": [config.context_length + 1] * 2}.get(self.scheme, [])
        self.tables = nn.ModuleList(LearnedPositions(n, config.d_model) for n in rows)

    def forward(self, x: Float[Tensor, "batch seq d_model"], positions: Int[Tensor, "..."]) -> Tensor:
        if self.scheme == "sinusoidal":
            return x + sinusoids(positions, self.d_model).to(x.dtype)
        if self.scheme == "glm":  # (batch, 2, seq) or (2, seq); a plain row of positions lies outside all blanks
            if positions.ndim == 1:
                positions = torch.stack((positions, torch.zeros_like(positions)))
            return x + self.tables[0](positions[..., 0, :]) + self.tables[1](positions[..., 1, :])
        return x + self.tables[0](positions) if self.scheme == "learned" else x


# %%
#| export model
class Stack(nn.Module):
    """Blocks one after the other, with what stands before the first and after the last: an encoder or a decoder."""

    def __init__(self, config: TransformerConfig, num_layers: int, *, decoder: bool) -> None:
        super().__init__()
        self.config = config
        self.mask_kind = config.mask if decoder else "full"
        cross = decoder and config.num_encoder_layers > 0
        self.positions = PositionTable(config)
        causal = self.mask_kind == "causal"
        rope = make_rope(config)  # one for all layers, and so are the numbers of T5
        shared = make_relative(config, not decoder) if config.positions == "t5" else None
        self.blocks = nn.ModuleList(
            Block(config, shared or make_relative(config), rope, causal, cross) for _ in range(num_layers)
        )
        self.embedding_norm = make_norm(config) if config.embedding_norm else nn.Identity()
        self.norm = nn.Identity() if config.norm_placement == "post" else make_norm(config)
        self.dropout = nn.Dropout(config.dropout)

    def forward(
        self, x: Float[Tensor, "batch seq d_model"], *, mask: Tensor | None = None, prefix: Tensor | None = None,
        token_positions: Tensor | None = None, context: Tensor | None = None, context_mask: Tensor | None = None,
        padding: Tensor | None = None, cache: "KVCache | None" = None,
    ) -> Float[Tensor, "batch seq d_model"]:  # fmt: skip
        batch, seq, past = *x.shape[:2], 0 if cache is None else cache.length
        check_reading(self, x, past, mask, prefix, token_positions, context, cache)
        if padding is not None:
            padding = as_padding(padding, batch, past + seq)
            mask = mask_of_padding(padding) if mask is None else mask & mask_of_padding(padding)
            padding = padding[:, past:]  # of the tokens in x
        positions = torch.arange(past, past + seq, device=x.device) if token_positions is None else token_positions
        if self.mask_kind == "prefix":
            prefix = torch.zeros(batch, dtype=torch.int64, device=x.device) if prefix is None else prefix
            seen = prefix_mask(prefix, seq, past + seq)
            mask = seen if mask is None else mask & seen
        x = self.dropout(self.embedding_norm(self.positions(x, positions)))
        along = positions[..., 0, :] if self.config.positions == "glm" and positions.ndim > 1 else positions
        layers = [None] * len(self.blocks) if cache is None else cache.layers
        for block, memory in zip(self.blocks, layers):
            x = block(x, context, context_mask, padding, mask=mask, token_positions=along, cache=memory)
        return self.norm(x)


# %% folded=true
#| export model
def check_reading(
    stack: Stack, x: Tensor, past: int, mask: Tensor | None, prefix: Tensor | None, positions: Tensor | None,
    context: Tensor | None, cache: "KVCache | None",
) -> None:  # fmt: skip
    """TypeError or ValueError for what does not fit ``x`` and so many ``past`` tokens."""
    batch, seq = x.shape[:2]
    rows = (2, seq) if stack.config.positions == "glm" else (seq,)
    if mask is not None and mask.dtype != torch.bool:
        raise TypeError(f"mask is {mask.dtype}, and must be torch.bool: True = may attend")
    check_shape("mask", mask, batch, stack.config.num_heads, seq, past + seq)
    check_shape("prefix", prefix, batch)
    if context is not None:
        check_shape("context", context, batch, *context.shape[1:])
    if positions is not None and tuple(positions.shape) not in ((seq,), rows, (1, *rows), (batch, *rows)):
        raise ValueError(f"token_positions have the shape {tuple(positions.shape)}: give {(seq,)} or {(batch, *rows)}")
    if prefix is not None and stack.mask_kind != "prefix":
        raise ValueError(f"a prefix is given, and the configuration's mask is {stack.mask_kind!r}")
    if cache is not None and len(cache.layers) != len(stack.blocks):
        raise ValueError(f"the cache has {len(cache.layers)} layers, and the model {len(stack.blocks)}")


# %% [markdown]
# ### The whole
#
# Encoder, decoder, output layer, and a cache of keys and values for generation.


# %%
#| export model
class LayerCache:
    """Keys and values of one layer, in memory for ``max_length`` tokens that is taken once. A `cs336lite.attention.Cache`.

    ``update`` raises ValueError when there is no room, and for keys and values of another kind than those that it holds.
    """

    def __init__(self, max_length: int) -> None:
        if max_length < 0:
            raise ValueError(f"a cache cannot have room for {max_length} tokens")
        self.max_length, self.length = max_length, 0
        self.kept: tuple[Tensor, Tensor] | None = None

    def update(self, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        """Append (batch, num_kv_heads, seq, d_head) each; returns those of all tokens so far."""
        stop = self.length + k.shape[2]
        if stop > self.max_length:
            raise ValueError(f"the cache has room for {self.max_length} tokens, and these would be {stop}")
        if self.kept is None:
            self.kept = tuple(x.new_empty(*x.shape[:2], self.max_length, x.shape[3]) for x in (k, v))
        for memory, new in zip(self.kept, (k, v)):
            held, given = ((*x.shape[:2], x.shape[3], x.dtype, x.device) for x in (memory, new))
            if held != given:
                kind = "(batch, num_kv_heads, d_head, dtype, device)"
                raise ValueError(f"the cache holds {held}, and these are {given}, as {kind}: make a new cache")
        for memory, new in zip(self.kept, (k, v)):
            memory[:, :, self.length : stop] = new
        self.length = stop
        return self.kept[0][:, :, :stop], self.kept[1][:, :, :stop]


# %%
#| export model
class KVCache:
    """Keys and values (KV 缓存) of all layers of a decoder, so that a new token costs one token's work.

    >>> cache = KVCache(num_layers=2, max_length=8)
    >>> k, v = cache.layers[0].update(torch.zeros(1, 2, 3, 4), torch.zeros(1, 2, 3, 4))
    >>> tuple(k.shape), cache.length, cache.bytes
    ((1, 2, 3, 4), 3, 512)
    """

    def __init__(self, num_layers: int, max_length: int) -> None:
        self.layers = [LayerCache(max_length) for _ in range(num_layers)]

    @property
    def length(self) -> int:
        return self.layers[0].length

    @property
    def bytes(self) -> int:
        return sum(x.nbytes for layer in self.layers for x in layer.kept or ())


# %%
#| export model
def cross_entropy(
    hidden: Float[Tensor, "n d_model"], weight: Float[Tensor, "vocab d_model"], targets: Int[Tensor, " n"],
    cap: float | None = None,
) -> Float[Tensor, ""]:  # fmt: skip
    """The mean of -log softmax(hidden weight^T)[target], in nats, over targets that are not -100; what the loss slot replaces.

    ``cap`` is that of the configuration, `output_cap`.
    """
    return F.cross_entropy(capped((hidden @ weight.T).float(), cap), targets, ignore_index=-100)


def capped(logits: Float[Tensor, "..."], cap: float | None) -> Float[Tensor, "..."]:
    """cap * tanh(logits / cap), which lies between -cap and cap (Gemma 2, arXiv 2408.00118); None leaves the logits."""
    return logits if cap is None else cap * torch.tanh(logits / cap)


def initialise(model: "Transformer", std: float, generator: torch.Generator | None = None) -> None:
    """Matrices and embeddings normal with this deviation, biases zero; what blocks add is divided by sqrt(2 layers).

    So the residual stream begins with about the same size in every depth (Radford et al. 2019, section 2.3).
    """
    depth = math.sqrt(2 * model.config.num_layers)
    for name, parameter in model.named_parameters():
        if parameter.ndim > 1:
            adds = name.endswith(("o_proj.weight", "down.weight"))
            nn.init.normal_(parameter, 0.0, std / depth if adds else std, generator=generator)
        elif name.endswith("bias"):
            nn.init.zeros_(parameter)


# %%
#| export model
class Transformer(nn.Module):
    """The model that a `TransformerConfig` describes; ``generator`` draws its weights.

    The call takes tokens and optionally ``mask`` (broadcasts to (batch, heads, q, k)), ``padding`` (batch, k),
    ``prefix`` (batch,), ``token_positions`` (seq,) or (batch, seq) ((batch, 2, seq) for GLM), ``cache`` (`new_cache`);
    with an encoder ``source`` (batch, source_seq) or ``context`` from `encode`, and ``source_padding``. k counts the
    tokens of the cache too, and a prefix its padding. Padding is boolean, or 0 and 1 as in an attention_mask. What does
    not fit is a ValueError, another kind of number a TypeError.
    """

    def __init__(self, config: TransformerConfig, generator: torch.Generator | None = None) -> None:
        super().__init__()
        self.config = config
        self.embedding = nn.Embedding(config.vocab_size, config.d_model)
        self.encoder = None
        if config.num_encoder_layers:
            self.encoder = Stack(config, config.num_encoder_layers, decoder=False)
        self.decoder = Stack(config, config.num_layers, decoder=True)
        self.output = nn.Linear(config.d_model, config.vocab_size, bias=False)
        if config.tied_embeddings:
            self.output.weight = self.embedding.weight
        if not self.embedding.weight.is_meta:
            initialise(self, config.init_std, generator)

    def forward(
        self, tokens: Int[Tensor, "batch seq"], *, source: Tensor | None = None, **given: Any
    ) -> Float[Tensor, "batch seq vocab"]:
        """Logits of the next token at each place."""
        logits = self.output(self.hidden(tokens, **self._with_context(source, given)))
        return capped(logits, self.config.output_cap)

    def loss(self, tokens: Tensor, targets: Tensor, *, source: Tensor | None = None, **given: Any) -> Float[Tensor, ""]:
        """The mean loss over targets that are not -100, plus the ``auxiliary_loss`` of every part that has one.

        Without any such target it is NaN, as in PyTorch: a mean over nothing.
        """
        check_ids("targets", targets)
        if targets.shape != tokens.shape:
            raise ValueError(f"targets have the shape {tuple(targets.shape)}, and tokens {tuple(tokens.shape)}")
        hidden = rearrange(self.hidden(tokens, **self._with_context(source, given)), "batch seq d -> (batch seq) d")
        score = self.config.loss or partial(cross_entropy, cap=self.config.output_cap)
        loss = score(hidden, self.output.weight, targets.flatten().long())
        return loss + sum(part.auxiliary_loss for part in self.modules() if hasattr(part, "auxiliary_loss"))

    def hidden(
        self, tokens: Int[Tensor, "batch seq"], *, context: Tensor | None = None, source_padding: Tensor | None = None,
        **seen: Any,
    ) -> Float[Tensor, "batch seq d_model"]:  # fmt: skip
        """What the output layer reads; arguments as for the call."""
        if self.encoder is not None and context is None:
            raise ValueError("this model has an encoder: give source, or context from encode(source)")
        if self.encoder is None and (context is not None or source_padding is not None):
            raise ValueError("this model has no encoder, so it reads neither context nor source_padding")
        context_mask = None
        if source_padding is not None:
            context_mask = mask_of_padding(as_padding(source_padding, *context.shape[:2]))
        hidden = self.decoder(self.embed(tokens), context=context, context_mask=context_mask, **seen)
        return hidden * self.config.output_scale

    def encode(
        self, source: Int[Tensor, "batch source_seq"], padding: Tensor | None = None
    ) -> Float[Tensor, "batch source_seq d_model"]:
        """What the encoder makes of a source text. ValueError when the model has no encoder."""
        if self.encoder is None:
            raise ValueError("this model has no encoder: num_encoder_layers is 0")
        return self.encoder(self.embed(source), padding=padding)

    def embed(self, tokens: Int[Tensor, "batch seq"]) -> Float[Tensor, "batch seq d_model"]:
        """The embeddings, before positions are added. ValueError, on a CPU, for an id outside the vocabulary."""
        check_ids("tokens", tokens)
        try:
            return self.embedding(tokens) * self.config.embedding_scale
        except IndexError:
            check_vocabulary(tokens, self.config.vocab_size)
            raise

    def new_cache(self, max_length: int | None = None) -> KVCache:
        """An empty cache for so many tokens, by default ``context_length``."""
        return KVCache(self.config.num_layers, self.config.context_length if max_length is None else max_length)

    def _with_context(self, source: Tensor | None, given: dict[str, Any]) -> dict[str, Any]:
        return given if source is None else given | {"context": self.encode(source, given.get("source_padding"))}


# %% [markdown]
# **Predict.** Take attention without any positions and shuffle the first tokens of a text. What happens to the logits of
# the last token?

# %%
guess = None

SMALL = TransformerConfig(vocab_size=256, context_length=64, d_model=64, num_layers=1, num_heads=4, d_ff=172)


def tokens_like(config: TransformerConfig, batch: int = 2, seq: int = 32, seed: int = 0) -> torch.Tensor:
    """Random tokens."""
    return torch.randint(config.vocab_size, (batch, seq), generator=torch.Generator().manual_seed(seed))


if READY.or_show("without positions"):
    x, order = tokens_like(SMALL), torch.randperm(31, generator=torch.Generator().manual_seed(1))
    shuffled, moved = torch.cat((x[:, order], x[:, 31:]), dim=1), {}
    for scheme in POSITIONS:
        model = Transformer(SMALL.replace(positions=scheme, init_std=0.1), torch.Generator().manual_seed(0)).eval()
        moved[scheme] = (model(x)[:, -1] - model(shuffled)[:, -1]).abs().max().item()
    reveal("change of the last token's logits", {s: f"{m:.0e}" for s, m in moved.items()}, guess)
    assert moved.pop("none") < 1e-4 < 1e-3 < min(moved.values()), YOURS

# %% [markdown]
# Two layers could tell even without positions: a causal mask lets a token count how many stand before it. That is why
# `none` can be trained at all, as we shall see.

# %% [markdown]
# ## 2 · Every model of the course (预设)
#
# Each preset is a `TransformerConfig`; its source stands beside it.

# %%
#| export presets
"""Models that have names (预设), as configurations of `cs336lite.model.Transformer`.

`PRESETS` holds the configurations and `SOURCES` where they are published; `tiny` makes one small. Their weights are read
by `cs336lite.course.hugging_face`.

Built in notebooks/03b_variants.ipynb.
"""

# %%
#| export presets
_GPT2 = TransformerConfig(
    vocab_size=50_257, context_length=1_024, d_model=768, num_layers=12, num_heads=12, d_ff=3_072,
    norm="layernorm", bias=True, activation="gelu_tanh", positions="learned", tied_embeddings=True,
)  # fmt: skip
_LLAMA = TransformerConfig(
    vocab_size=32_000, context_length=2_048, d_model=4_096, num_layers=32, num_heads=32, d_ff=11_008,
    norm_eps=1e-6, positions="rope_half",  # Meta's own files hold the interleaved layout
)  # fmt: skip
_LLAMA2 = _LLAMA.replace(context_length=4_096, norm_eps=1e-5)
_PALM = TransformerConfig(
    vocab_size=256_000, context_length=2_048, d_model=4_096, num_layers=32, num_heads=16, num_kv_heads=1, d_ff=16_384,
    norm="layernorm", parallel=True, tied_embeddings=True,
)  # fmt: skip
_T5 = TransformerConfig(
    vocab_size=32_128, context_length=512, d_model=512, num_layers=6, num_encoder_layers=6, num_heads=8, d_head=64,
    d_ff=2_048, norm_eps=1e-6, activation="relu", positions="t5", tied_embeddings=True, output_scale=512**-0.5,
)  # fmt: skip
_T5_V1_1 = _T5.replace(activation="geglu_tanh", tied_embeddings=False, output_scale=1.0)
_TRANSFORMER_XL = TransformerConfig(
    vocab_size=204, context_length=512, d_model=512, num_layers=12, num_heads=8, d_head=64, d_ff=2_048,
    norm="layernorm", norm_placement="post", bias=True, activation="relu", positions="transformer_xl",
    tied_embeddings=True,
)  # fmt: skip

# %%
#| export presets
_WITHOUT_SISTERS = {
    "transformer-base": TransformerConfig(
        vocab_size=37_000, context_length=512, d_model=512, num_layers=6, num_encoder_layers=6, num_heads=8, d_ff=2_048,
        norm="layernorm", norm_placement="post", bias=True, activation="relu", positions="sinusoidal",
        tied_embeddings=True, embedding_scale=512**0.5,
    ),
    "chatglm2-6b": _LLAMA.replace(
        vocab_size=65_024, context_length=32_768, num_layers=28, num_kv_heads=2, d_ff=13_696, qkv_bias=True,
        norm_eps=1e-5, positions="rope", rotary_dim=64,
    ),
    "glm-10b": _GPT2.replace(
        vocab_size=50_304, d_model=4_096, num_layers=48, num_heads=64, d_ff=16_384, positions="glm", mask="prefix",
    ),
    "bloom-176b": _GPT2.replace(
        vocab_size=250_880, context_length=2_048, d_model=14_336, num_layers=70, num_heads=112, d_ff=57_344,
        positions="alibi", embedding_norm=True,
    ),
    "starcoder": _GPT2.replace(
        vocab_size=49_152, context_length=8_192, d_model=6_144, num_layers=40, num_heads=48, num_kv_heads=1, d_ff=24_576,
        activation="gelu",
    ),
}  # fmt: skip


# %%
#| export presets
def _sisters(base: TransformerConfig, fields: str, /, **sizes: tuple[int | float, ...]) -> dict[str, TransformerConfig]:
    """Models that differ from ``base`` in these fields; the underscores of a name stand for hyphens."""
    return {name.replace("_", "-"): base.replace(**dict(zip(fields.split(), given))) for name, given in sizes.items()}


_DECODERS = {
    **_sisters(
        _GPT2, "d_model num_layers num_heads d_ff", gpt2=(768, 12, 12, 3_072), gpt2_medium=(1_024, 24, 16, 4_096),
        gpt2_large=(1_280, 36, 20, 5_120), gpt2_xl=(1_600, 48, 25, 6_400),
    ),
    **_sisters(
        _LLAMA, "d_model num_layers num_heads d_ff", llama_7b=(4_096, 32, 32, 11_008),
        llama_13b=(5_120, 40, 40, 13_824), llama_33b=(6_656, 60, 52, 17_920), llama_65b=(8_192, 80, 64, 22_016),
    ),
    **_sisters(
        _LLAMA2, "d_model num_layers num_heads d_ff num_kv_heads", llama2_7b=(4_096, 32, 32, 11_008),
        llama2_13b=(5_120, 40, 40, 13_824), llama2_70b=(8_192, 80, 64, 28_672, 8),
    ),
    **_sisters(
        _PALM, "d_model num_layers num_heads d_ff d_head", palm_8b=(4_096, 32, 16, 16_384, 256),
        palm_62b=(8_192, 64, 32, 32_768, 256), palm_540b=(18_432, 118, 48, 73_728, 256),
    ),
}  # fmt: skip


# %%
#| export presets
def _t5(base: TransformerConfig, prefix: str, /, **sizes: tuple[int | float, ...]) -> dict[str, TransformerConfig]:
    """T5 in sizes (d_model, layers, heads, d_ff, d_head): as many layers that read as that write."""
    made = _sisters(base, "d_model num_layers num_heads d_ff d_head", **sizes)
    return {
        prefix + name: c.replace(
            num_encoder_layers=c.num_layers, output_scale=c.d_model**-0.5 if c.tied_embeddings else 1.0
        )
        for name, c in made.items()
    }


_T5_ALL = {
    **_t5(
        _T5, "t5-", small=(512, 6, 8, 2_048, 64), base=(768, 12, 12, 3_072, 64), large=(1_024, 24, 16, 4_096, 64),
    ),
    **_t5(_T5, "t5-", **{"3b": (1_024, 24, 32, 16_384, 128), "11b": (1_024, 24, 128, 65_536, 128)}),
    **_t5(
        _T5_V1_1, "t5-v1.1-", small=(512, 8, 6, 1_024, 64), base=(768, 12, 12, 2_048, 64),
        large=(1_024, 24, 16, 2_816, 64), xl=(2_048, 24, 32, 5_120, 64), xxl=(4_096, 24, 64, 10_240, 64),
    ),
}  # fmt: skip

# %%
#| export presets
PRESETS: dict[str, TransformerConfig] = {
    **_WITHOUT_SISTERS, **_DECODERS, **_T5_ALL,
    **_sisters(
        _TRANSFORMER_XL, "d_model num_layers d_head d_ff embedding_scale",
        transformer_xl_enwik8_12l=(512, 12, 64, 2_048, 512**0.5),
        transformer_xl_enwik8_24l=(1_024, 24, 128, 3_072, 32.0),
    ),
}  # fmt: skip
"""Configurations by name, without dropout: that is a matter of training."""


# %%
#| export presets
_SOURCES = {
    "transformer-base": "arXiv 1706.03762, table 3", "gpt2": "OpenAI 2019, Language Models are Unsupervised Multitask "
    "Learners, table 2, and github.com/openai/gpt-2", "llama-": "arXiv 2302.13971, table 2",
    "llama2-": "arXiv 2307.09288, table 1, and the released params.json", "palm-": "arXiv 2204.02311, table 1",
    "bloom-": "arXiv 2211.05100, table 3", "starcoder": "arXiv 2305.06161, table 6",
    "glm-10b": "arXiv 2103.10360 and github.com/THUDM/GLM", "chatglm2-": "config.json of huggingface.co/THUDM/chatglm2-6b",
    "t5-": "arXiv 1910.10683, section 3.7", "t5-v1.1-": "released_checkpoints.md of "
    "github.com/google-research/text-to-text-transfer-transformer",
    "transformer-xl-": "arXiv 1901.02860, table 2, and the scripts of github.com/kimiyoung/transformer-xl",
}  # fmt: skip

SOURCES: dict[str, str] = {
    name: _SOURCES[max((known for known in _SOURCES if name.startswith(known)), key=len)] for name in PRESETS
}
"""Where each configuration is published."""


# %%
#| export presets
def preset(name: str) -> TransformerConfig:
    """The configuration of this name. ValueError for an unknown one, which names those that are close.

    >>> preset("llama2-70b").num_kv_heads
    8
    """
    if name not in PRESETS:
        close = difflib.get_close_matches(name.lower(), PRESETS, n=4) or list(PRESETS)
        raise ValueError(f"there is no preset {name!r}; there is {', '.join(close)}")
    return PRESETS[name]


# %%
#| export presets
def tiny(config: TransformerConfig | str, **changes: Any) -> TransformerConfig:
    """The same switches at a size that runs in milliseconds: two layers, four heads, d_model 32, context 32.

    Kept are what the heads share, the part of a head that turns, whether heads fill d_model, and d_ff / d_model.

    >>> tiny("llama2-70b").num_kv_heads, tiny("palm-540b").num_kv_heads, tiny("chatglm2-6b").rotary_dim
    (2, 1, 4)
    """
    c = preset(config) if isinstance(config, str) else config
    shrunk = math.sqrt(32 / c.d_model)
    d_head = None if c.num_heads * c.head_size == c.d_model else 12
    shared = c.num_kv_heads if c.num_kv_heads in (None, 1) else 4 if c.num_kv_heads == c.num_heads else 2
    small = dict(
        vocab_size=64, context_length=32, d_model=32, num_layers=2, num_heads=4, d_ff=round(32 * c.d_ff / c.d_model),
        num_kv_heads=shared, d_head=d_head, num_encoder_layers=2 if c.num_encoder_layers else 0,
        rotary_dim=c.rotary_dim and 2 * max(1, round((d_head or 8) * c.rotary_dim / c.head_size / 2)),
        embedding_scale=1.0 if c.embedding_scale == 1 else c.embedding_scale * shrunk,
        output_scale=1.0 if c.output_scale == 1 else c.output_scale / shrunk,
    )  # fmt: skip
    return c.replace(**small | changes)


# %% [markdown]
# **Predict.** From the Transformer of 2017 to Llama 2 70B: how many switches are in another place?


# %%
def switches(before: TransformerConfig, after: TransformerConfig) -> dict[str, str]:
    """The fields that differ and are no sizes."""
    sizes = {"vocab_size", "context_length", "d_model", "num_layers", "num_heads", "d_ff", "d_head", "norm_eps"}
    pairs = {f: (getattr(before, f), getattr(after, f)) for f in before.__dataclass_fields__ if f not in sizes}
    shown = {f: [f"{x:.4g}" if isinstance(x, float) else str(x) for x in pair] for f, pair in pairs.items()}
    return {field: f"{a} → {b}" for field, (a, b) in shown.items() if a != b}


guess = None
WALK = ("transformer-base", "gpt2-xl", "palm-540b", "llama-65b", "llama2-70b", "chatglm2-6b")
for before, after in pairwise(WALK):
    print(f"\n{before} → {after}")
    for field, change in switches(PRESETS[before], PRESETS[after]).items():
        print(f"    {field:<20} {change}")
reveal("\n2017 to Llama 2 70B", len(switches(PRESETS[WALK[0]], PRESETS["llama2-70b"])), guess)
chatglm2 = PRESETS["chatglm2-6b"]  # often said: GELU and one KV head
assert (chatglm2.activation, chatglm2.num_kv_heads, chatglm2.rotary_dim, chatglm2.head_size) == ("swiglu", 2, 64, 128)
assert PRESETS["llama2-13b"].num_kv_heads is None and PRESETS["llama2-70b"].num_kv_heads == 8

# %% [markdown]
# On PyTorch's *meta* device tensors have shapes and no memory, so even 540 billion parameters can be built and counted
# (`WithoutMemory` only saves the drawing of weights that are not there).
#
# **Predict.** Of a model's parameters, how many are embeddings? For which preset is the share largest?

# %%
guess = None

if READY.or_show("presets"):
    print(f"{'':<24}{'parameters':>18}{'embeddings':>12}{'d_ff / d':>10}{'d / layers':>12}")
    for name, config in PRESETS.items():
        with torch.device("meta"), WithoutMemory():
            model = Transformer(config)
        assert parameters(model) == parameters(config.shape), YOURS
        tables = config.vocab_size * config.d_model * (1 if config.tied_embeddings else 2)
        share, ratio = 100 * tables / parameters(model), config.d_ff / config.d_model
        aspect = config.d_model / config.num_layers
        print(f"{name:<24}{parameters(model):>18,}{share:>10.1f} %{ratio:>10.1f}{aspect:>12.0f}")

# %% [markdown]
# The 2017 paper prints 65 million for its base model and "about 37,000" tokens, which give 63. T5's `d_ff = 64 d_model`
# is the 11B model alone. *Aspect ratio* (宽深比) is `d_model / n_layers`, not parameters per layer; it is 100 to 200 for
# most, and T5 11B is the exception again.

# %% [markdown]
# ### Two stacks (编码器–解码器)
#
# The model of 2017 reads a source with an *encoder* that sees all of it, and writes with a *decoder*: causal attention to
# what has been written, then *cross-attention* (交叉注意力), whose queries come from the decoder and whose keys and values
# come from the encoder.
#
# **Predict.** Eight tokens have been written. Change the last token of the source, or the fifth that was written: in how
# many of the eight places do the logits change?

# %%
guess = None  # (source, written)

if READY.or_show("encoder and decoder"):
    config = tiny("transformer-base")
    model = Transformer(config, torch.Generator().manual_seed(0)).eval()
    source, written = tokens_like(config, batch=1, seq=6), tokens_like(config, batch=1, seq=8, seed=1)
    logits, moved = model(written, source=source), []
    for which, place in ((source, 5), (written, 4)):
        other = which.clone()
        other[0, place] = (other[0, place] + 1) % config.vocab_size
        new = model(written, source=other) if which is source else model(other, source=source)
        moved.append(int(((new - logits).abs().amax(dim=-1) > 1e-6).sum()))
    reveal("places that change", tuple(moved), guess)
    assert moved == [8, 4], YOURS

# %% [markdown]
# ### Serial or parallel
#
# **Predict.** The same PaLM with serial and with parallel blocks: which has more parameters, FLOPs, norms?

# %%
guess = None

if READY.or_show("serial and parallel"):
    both = {"parallel": tiny("palm-8b"), "serial": tiny("palm-8b", parallel=False)}
    built = {name: Transformer(config) for name, config in both.items()}
    norms = {name: sum(isinstance(part, LayerNorm) for part in model.modules()) for name, model in built.items()}
    flops = {name: forward_flops(config.shape, 1, 32).total for name, config in both.items()}
    reveal("norms", norms, guess)
    assert flops["parallel"] == flops["serial"] and norms == {"parallel": 3, "serial": 5}, YOURS
    assert parameters(built["serial"]) - parameters(built["parallel"]) == 2 * 32, YOURS  # the gains of two norms

# %% [markdown]
# One norm a block, and matrices that read the same input can be one product. PaLM's authors report about 15 % faster
# training at large scale, a small loss of quality at 8B and none at 62B (2204.02311, section 2). On two cores there is
# nothing to gain, so we do not measure time.
#
# ### Real weights
#
# `cs336lite.course.hugging_face.load_hugging_face("folder")` reads a folder with `config.json` and safetensors, of GPT-2,
# Llama, T5, BLOOM, StarCoder or GLM, into this model: nothing is loaded unless every tensor is there and has its shape.
# The tests compare the logits with those of Hugging Face's own classes. Llama's files are in the layout "half"
# (`rope_half`): **RoPE has two layouts**, and weights do not move between them without a permutation (a3).

# %% [markdown]
# ## 3 · What each change buys
#
# **Is SwiGLU better than GELU, pre-norm better than post-norm?** Papers say so of models that we cannot train. A fair
# answer at our size needs care. Every arm is the same small model with one switch in another place, at equal parameters
# where the switch changes their number. Each arm has its learning rate chosen on the same grid, with seeds that report
# nothing. Then all arms train with the same eight seeds, and are compared seed by seed.


# %%
#| export trials
"""One change at a time: small Transformers trained on the default corpus, for fair comparisons (消融实验).

An *arm* is a configuration that differs from `BASE` in one switch. `train_variant` trains one, `sweep` all of them: the
learning rate of each arm is chosen with `TUNING` seeds on a grid whose neighbours are × 1.5 apart, widened until the best
one lies inside, and the arm is reported with `REPORTING` seeds. `course.compare` then compares arms seed by seed.

Built in notebooks/03b_variants.ipynb.
"""

BASE = {
    "vocab_size": 256, "context_length": 128, "d_model": 48, "num_layers": 6, "num_heads": 4, "d_ff": 128,
}  # fmt: skip
"""Pre-norm, RMSNorm, SwiGLU, RoPE, no biases, serial blocks, a pair of key and value heads for each query head."""

TRAINING = {"steps": 600, "batch": 16, "seq": 64, "warmup": 50}
"""Steps of 1,024 bytes; the rate rises for ``warmup`` steps, then falls linearly to 0."""

ARMS: dict[str, dict[str, Any]] = {
    "base": {},
    "post-norm": {"norm_placement": "post"},
    "double norm": {"norm_placement": "double"},
    "norm in the branch": {"norm_placement": "branch"},
    "LayerNorm": {"norm": "layernorm"},
    "ReLU": {"activation": "relu", "d_ff": 192},  # two matrices of 4 d have the parameters of three of 8/3 d
    "GELU": {"activation": "gelu", "d_ff": 192},
    "biases": {"bias": True},
    "parallel": {"parallel": True},
    "GQA, 2 of 4": {"num_kv_heads": 2, "d_ff": 144},  # what is saved in keys and values goes into the width
    "MQA, 1 of 4": {"num_kv_heads": 1, "d_ff": 152},
    "sinusoids": {"positions": "sinusoidal", "embedding_scale": 48**0.5},
    "sinusoids, unscaled": {"positions": "sinusoidal"},
    "learned positions": {"positions": "learned"},
    "ALiBi": {"positions": "alibi"},
    "no positions": {"positions": "none"},
    "no warmup": {"warmup": 1},
    "post-norm, no warmup": {"norm_placement": "post", "warmup": 1},
}
"""What differs from `BASE` and `TRAINING`, by the arm's name."""

GRID = (4.5e-3, 6.8e-3, 1e-2)
TUNING, REPORTING = (101, 102), (1, 2, 3, 4, 5, 6, 7, 8)


# %%
#| export trials
@cache
def texts() -> tuple[Tensor, Tensor]:
    """The bytes to learn from and those held out: every second document of the default corpus, and 200,000 of the others."""
    documents = default_corpus().read_text(encoding="utf-8").split(SEPARATOR)
    learned, held = ("".join(documents[i::2]).encode() for i in (0, 1))
    return tuple(torch.from_numpy(np.frombuffer(text, np.uint8).astype(np.int64)) for text in (learned, held[:200_000]))


@torch.no_grad()
def held_out_loss(model: Transformer, seq: int, pieces: int = 400) -> float:
    """Nats a byte on so many pieces of held-out text, the same for every model."""
    held = texts()[1]
    starts = torch.linspace(0, len(held) - seq - 1, pieces).long()[:, None]
    losses = [
        F.cross_entropy(model(batch[:, :-1]).flatten(0, 1), batch[:, 1:].flatten()).item()
        for batch in held[starts + torch.arange(seq + 1)].split(50)
    ]
    return sum(losses) / len(losses)


def train_model(run: Mapping[str, Any]) -> tuple[Transformer | None, list[float], float]:
    """(model, training loss every 50 steps, seconds) of ``run``, {arm, lr, seed, config, training}; None if it diverged."""
    config, t, seq = TransformerConfig(**run["config"]), run["training"], run["training"]["seq"]
    draw, learned = torch.Generator().manual_seed(run["seed"]), texts()[0]
    model, curve, started = Transformer(config, draw), [], time.perf_counter()
    optimizer = torch.optim.AdamW(model.parameters(), betas=(0.9, 0.95), weight_decay=0.1, fused=True)
    for step in range(t["steps"]):
        optimizer.param_groups[0]["lr"] = run["lr"] * min((step + 1) / t["warmup"], 1 - step / t["steps"])
        batch = learned[torch.randint(len(learned) - seq, (t["batch"], 1), generator=draw) + torch.arange(seq + 1)]
        loss = model.loss(batch[:, :-1], batch[:, 1:])
        if not loss.isfinite():
            return None, curve, time.perf_counter() - started
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        if step % 50 == 0:
            curve.append(round(loss.item(), 4))
    return model.eval(), curve, time.perf_counter() - started


def train_variant(run: Mapping[str, Any]) -> dict[str, Any]:
    """The held-out loss that one training came to, its curve, and its seconds; ``final`` is None where it diverged."""
    model, curve, seconds = train_model(run)
    final = None if model is None else held_out_loss(model, run["training"]["seq"])
    final = final if final is not None and np.isfinite(final) else None
    return {"final": final, "curve": curve, "seconds": round(seconds, 1)}


# %%
#| export trials
BINS = ((0, 32), (32, 64), (64, 128), (128, 256), (256, 512))
"""Positions over which a loss is averaged: the first two lie within the training length."""

FURTHER = ("base", "sinusoids", "learned positions", "ALiBi", "no positions")
"""Arms that differ in how they tell positions; ``base`` is RoPE."""


@torch.no_grad()
def losses_by_position(model: Transformer, pieces: int = 60) -> list[float] | None:
    """Nats a byte in each of `BINS`, on held-out text; None when the model knows no such position."""
    held, seq = texts()[1], BINS[-1][1]
    starts = torch.linspace(0, len(held) - seq - 1, pieces).long()[:, None]
    try:
        found = [
            F.cross_entropy(rearrange(model(batch[:, :-1]), "b t v -> b v t"), batch[:, 1:], reduction="none")
            for batch in held[starts + torch.arange(seq + 1)].split(20)
        ]
    except ValueError:
        return None
    mean = torch.cat(found).mean(0)
    return [mean[start:stop].mean().item() for start, stop in BINS]


def read_further(run: Mapping[str, Any]) -> dict[str, Any]:
    """Train on short sequences, read long ones: ``bins``, and for RoPE ``ntk``, the same with its slow pairs slowed down.

    NTK-aware scaling multiplies theta by s ** (d / (d - 2)), here with s = 8: the slowest pair turns 8 times as slowly,
    the fastest as before, and nothing is trained again.
    """
    config, longer = run["config"], BINS[-1][1]
    if config.get("positions") != "learned":  # tables of angles can be made longer, learned rows cannot
        config = config | {"context_length": longer}
    model, _, _ = train_model({**run, "config": config})
    found = {"bins": None if model is None else losses_by_position(model), "ntk": None}
    if model is not None and model.config.positions == "rope":
        d, s = model.config.head_size, longer / run["training"]["seq"]
        slowed = Transformer(model.config.replace(rope_theta=model.config.rope_theta * s ** (d / (d - 2))))
        slowed.load_state_dict(model.state_dict())
        found["ntk"] = losses_by_position(slowed.eval())
    return found


# %%
#| export trials
def run_of(arm: str, lr: float, seed: int, changes: Mapping[str, Any], training: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments of one training: what does not belong to the configuration belongs to the training."""
    own = {name: value for name, value in changes.items() if name in training}
    config = BASE | {name: value for name, value in changes.items() if name not in training}
    return {"arm": arm, "lr": lr, "seed": seed, "config": config, "training": {**training, **own}}


def sweep(
    arms: Mapping[str, Mapping[str, Any]] = ARMS, *, grid: tuple[float, ...] = GRID,
    tuning: tuple[int, ...] = TUNING, reporting: tuple[int, ...] = REPORTING, training: Mapping[str, Any] = TRAINING, name: str = "03b_variants",
    jobs: int = 1, widen: int = 6,
) -> dict[str, Any]:  # fmt: skip
    """Choose each arm's rate and report it: {"chosen": {arm: {lr, inside, why}}, "rows": [...]}, one row a training.

    A grid whose best rate is at an end is widened for that arm, up to ``widen`` times. Runs are kept in the data folder, so
    that the sweep can be stopped and goes on where it was. With ``jobs`` it takes so many processes.
    """
    grids, rows, chosen = {arm: list(grid) for arm in arms}, {}, {}
    for left in range(widen, -1, -1):  # how often a grid may still be widened
        waiting = [arm for arm in arms if arm not in chosen]
        runs = [run_of(arm, lr, seed, arms[arm], training) for arm in waiting for lr in grids[arm] for seed in tuning]
        rows |= {(row["arm"], row["lr"], row["seed"]): row for row in kept(name, runs, train_variant, jobs=jobs)}
        for arm in waiting:
            lr, ends = (
                best(rows.values(), "lr", arm=arm, seed=tuning, lr=tuple(grids[arm])),
                sorted(grids[arm])[:: len(grids[arm]) - 1],
            )
            if lr not in ends or not left:
                inside = interior(lr, grids[arm])
                chosen[arm] = {"lr": lr, "inside": bool(inside), "why": str(inside)}
            else:
                grids[arm].append(float(f"{lr / 1.5 if lr == ends[0] else lr * 1.5:.3g}"))
    runs = [run_of(arm, chosen[arm]["lr"], seed, arms[arm], training) for arm in arms for seed in reporting]
    rows |= {(row["arm"], row["lr"], row["seed"]): row for row in kept(name, runs, train_variant, jobs=jobs)}
    return {"chosen": chosen, "rows": [told(row) for row in rows.values()]}


def told(row: Mapping[str, Any]) -> dict[str, Any]:
    """A row without what the configuration of the record says already."""
    return {name: row[name] for name in ("arm", "lr", "seed", "final", "curve", "seconds")}


def reported(found: Mapping[str, Any], reporting: tuple[int, ...] = REPORTING) -> dict[str, dict[int, float]]:
    """{arm: {seed: final}} of a sweep, of the reporting seeds at the chosen rate."""
    return {
        arm: by_seed(found["rows"], arm=arm, lr=chosen["lr"], seed=reporting) for arm, chosen in found["chosen"].items()
    }


# %% [markdown]
# ## 4 · Norms and the gradient
#
# **Why did the norm move?** Write one part as $x' = x + f(N(x))$ (pre-norm) or $x' = N(x + f(x))$ (post-norm). The
# gradient of $x'$ with respect to $x$ is
#
# $$\textbf{pre: } I + J_f J_N \qquad\qquad \textbf{post: } J_N\,(I + J_f)$$
#
# With pre-norm the $I$ stands free: along the additions alone, a gradient arrives whole. With post-norm every part
# multiplies it with $J_N$, which divides by the size that the addition has just given the stream, about $\sqrt 2$.
#
# **Predict.** In a fresh stack of 24 post-norm blocks, by which factor is the gradient smaller at the first block's input
# than at the last's, if it can only travel along the additions? And by which factor with the true gradient, which may
# take all ways?


# %%
def deep(placement: str, num_layers: int, seed: int = 0) -> tuple[Transformer, torch.Tensor]:
    """A fresh model of the kind that Xiong et al. analyse, and some random tokens."""
    config = TransformerConfig(
        vocab_size=512, context_length=64, d_model=64, num_layers=num_layers, num_heads=4, d_ff=256, norm="layernorm",
        activation="relu", positions="sinusoidal", norm_placement=placement,
    )  # fmt: skip
    draw = torch.Generator().manual_seed(seed)
    model = Transformer(config, draw)
    for parameter in (p for p in model.parameters() if p.ndim == 2):
        nn.init.xavier_uniform_(parameter, generator=draw)
    return model, torch.randint(512, (8, 65), generator=draw)


# %%
def stream_gradients(placement: str, seed: int, num_layers: int = 24, *, detached: bool = False) -> list[float]:
    """The norm of the loss's gradient at each block's input; ``detached``: along the additions alone."""
    model, text = deep(placement, num_layers, seed)
    streams = []
    for block in model.decoder.blocks:
        for part in (block.attention, block.feed_forward) if detached else ():
            part.register_forward_hook(lambda module, inputs, output: output.detach())
        block.register_forward_pre_hook(lambda module, inputs: streams.append(inputs[0]))
    loss = model.loss(text[:, :-1], text[:, 1:])
    return [gradient.norm().item() for gradient in torch.autograd.grad(loss, streams)]


def matrix_gradients(placement: str, seed: int, num_layers: int = 24) -> list[float]:
    """The norm of the gradient of each block's last feed-forward matrix."""
    model, text = deep(placement, num_layers, seed)
    model.loss(text[:, :-1], text[:, 1:]).backward()
    return [block.feed_forward.down.weight.grad.norm().item() for block in model.decoder.blocks]


# %%
guess_additions = guess_true = None

if READY.or_show("gradients"):
    seeds = range(5)
    additions = {p: np.array([stream_gradients(p, s, detached=True) for s in seeds]) for p in PLACEMENTS}
    true = {p: np.array([stream_gradients(p, s) for s in seeds]) for p in PLACEMENTS}
    of_matrices = {(p, n): np.array([matrix_gradients(p, s, n) for s in seeds]) for p in PLACEMENTS for n in (6, 24)}
    lost = {
        name: np.exp(np.log(x["post"][:, -1] / x["post"][:, 0]).mean())
        for name, x in (("additions", additions), ("true", true))
    }
    reveal(
        "smaller along the additions",
        lost["additions"],
        guess_additions,
        within=2,
        shown=f"{lost['additions']:,.0f} times",
    )
    reveal("smaller in truth", lost["true"], guess_true, within=2, shown=f"{lost['true']:.2f} times")
    assert lost["additions"] > 10_000 and 0.1 < lost["true"] < 3, YOURS

# %% folded=true
if READY.or_show("gradients by depth"):
    fig, panels = axes(1, 3, xlabel="block", size=(9.6, 3.4))
    shown = (("along the additions alone", additions), ("true gradient", true), ("of the matrices", None))
    for ax, (title, found) in zip(panels, shown):
        for placement, line, color in zip(PLACEMENTS, ("--", "-", "-.", ":"), COLORS.values()):
            runs = of_matrices[placement, 24] if found is None else found[placement]
            middle = np.exp(np.log(runs).mean(0))
            ax.plot(range(1, 25), middle, line, color=color, linewidth=2, label=placement)
            ax.fill_between(range(1, 25), runs.min(0), runs.max(0), color=color, alpha=0.15, linewidth=0)
        ax.set(yscale="log", title=title)
    panels[0].set_ylabel("norm of the gradient at its input")
    panels[1].set_ylabel("norm of the gradient at its input")
    panels[2].set_ylabel("norm of the down matrix's gradient")
    fig.legend(*panels[0].get_legend_handles_labels(), loc="outside lower center", ncols=4, frameon=False)
    display(finish(fig))

# %% [markdown]
# Lines are geometric means of five seeds, bands their range. On the left is the famous picture, and nobody trains that
# graph. In the middle is the gradient that trains: post-norm's does not vanish, it is nearly flat. What the additions
# lose, the ways through attention and feed-forward network bring. Pre-norm, double norm and the norm in the branch have
# *larger* gradients at the first blocks than at the last.
#
# So what is post-norm's trouble? Look at the last blocks on the right. Xiong et al. (arXiv 2002.04745) derive it: near
# the output, pre-norm's gradients shrink with depth like $1/\sqrt L$, post-norm's do not.

# %%
if READY.or_show("last block"):
    last = {(p, n): float(np.exp(np.log(x[:, -1]).mean())) for (p, n), x in of_matrices.items()}
    for placement in PLACEMENTS:
        six, many = last[placement, 6], last[placement, 24]
        print(f"{placement:<8} last block's matrix: 6 blocks {six:.3f}, 24 blocks {many:.3f}, ratio {six / many:.2f}")
    assert 1.3 < last["pre", 6] / last["pre", 24] < 2.6, YOURS  # sqrt(24 / 6) = 2 in theory
    assert 0.75 < last["post", 6] / last["post", 24] < 1.3, YOURS  # and 1

# %% [markdown]
# A deep post-norm model begins with large steps near its output, before the rest has learned anything. Its remedy is a
# rate that begins small: *warmup* (预热). Pre-norm tolerates training without. "Large models prefer post-norm" is the
# reverse of what happened; but pre-norm buys tolerance, not always a lower loss.
#
# ## 5 · Beyond the training length (外推)
#
# Six small models read 64 bytes at a time in training. Then they read 512.
#
# **Predict.** Which ones still predict well at the end of 512 bytes? Which cannot read that far at all?


# %%
def study(scheme: str, seq: int = 64, steps: int = 480) -> Transformer:
    """A small model trained on documentation, byte by byte, on texts of ``seq`` bytes."""
    known = seq if scheme == "learned" else 8 * seq  # tables of angles can be made longer, learned rows cannot
    scale = 8.0 if scheme == "sinusoidal" else 1.0  # the root of d_model, as in 2017: else the waves drown the tokens
    config = SMALL.replace(num_layers=2, positions=scheme, context_length=known, embedding_scale=scale)
    draw = torch.Generator().manual_seed(0)
    model = Transformer(config, draw)
    optimizer = torch.optim.AdamW(model.parameters(), betas=(0.9, 0.95), fused=True)
    for step in tqdm(range(steps), desc=scheme, leave=False):
        optimizer.param_groups[0]["lr"] = 1e-2 * min((step + 1) / 20, 1 - step / steps)
        start = torch.randint(len(TEXT) - 200_000 - seq, (16, 1), generator=draw)
        text = TEXT[start + torch.arange(seq + 1)]
        optimizer.zero_grad()
        model.loss(text[:, :-1], text[:, 1:]).backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
    return model.eval()


# %%
TEXT = torch.tensor(list(technical_text().encode()))  # PyTorch's documentation, as bytes; the end is held out
SCHEMES = ("sinusoidal", "learned", "rope", "alibi", "none")


@torch.no_grad()
def loss_by_place(model: Transformer, seq: int = 512) -> np.ndarray | None:
    """Nats a byte at each place of held-out texts; None when the model cannot read that many."""
    start = len(TEXT) - 200_000 + torch.randint(199_000 - seq, (64, 1), generator=torch.Generator().manual_seed(1))
    text = TEXT[start + torch.arange(seq + 1)]
    try:
        return F.cross_entropy(model(text[:, :-1]).mT, text[:, 1:], reduction="none").mean(dim=0).numpy()
    except ValueError as problem:
        print("refused:", problem)
        return None


# %% tags=["timing"]
guess = None  # names

torch.set_num_threads(1)
students = {scheme: study(scheme) for scheme in SCHEMES} if READY else {}
curves = {scheme: loss_by_place(model) for scheme, model in students.items()}
if READY.or_show("beyond the training length"):
    bins = [(0, 32), (32, 64), (64, 128), (128, 256), (256, 512)]
    table = {s: [c[a:b].mean() for a, b in bins] for s, c in curves.items() if c is not None}
    fig, ax = axes(xlabel="place in the text (bytes)", ylabel="loss (nats per byte)", size=(6.6, 3.4))
    ax.axvline(64, color="#888888", linewidth=1)
    for (scheme, values), line in zip(table.items(), ("-", "--", "-.", ":", "-")):
        ax.plot([(a + b) / 2 for a, b in bins], values, f"o{line}", markersize=4, linewidth=2, label=scheme)
    ax.set(xscale="log", title="Trained on 64 bytes, reading 512")
    ax.set_xticks([16, 32, 64, 128, 256], labels=["16", "32", "64", "128", "256"], minor=False)
    ax.minorticks_off()
    ax.legend(fontsize=8)
    worse = {scheme: round(float(values[4] - values[1]), 2) for scheme, values in table.items()}
    reveal("nats lost from within 64 to beyond 256", worse, guess)
    assert curves["learned"] is None and worse["rope"] > worse["alibi"] + 0.1, YOURS
finish(fig) if READY else None

# %% [markdown]
# Learned rows end. Sinusoids and RoPE have values for every position, and get worse where training never was: RoPE's
# turns are exact, but the model has only seen small distances (2108.12409; positions are therefore interpolated,
# 2306.15595). The authors of 2017 supposed that sinusoids would extrapolate. ALiBi's loss does not rise; but its penalty
# for distance lets it ignore far tokens, so a flat loss does not show that they are used. One seed each: an order of
# schemes needs more.
#
# ## 6 · Heads that share, and the cache (KV 缓存)
#
# While a model writes, it keeps keys and values of all tokens so far. *Multi-query attention* (MQA, 1911.02150) has one
# head of keys and values for all query heads, *grouped-query attention* (GQA, 2305.13245) a few. StarCoder and PaLM are
# MQA; of Llama 2 only the 34B and the 70B are GQA; ChatGLM2 has 2 groups.
#
# **Predict.** Llama 2 70B has 64 query heads and 8 KV heads. 4,096 tokens in bfloat16: how many GB is the cache, and how
# many would it be with 64 KV heads?

# %%
guess = None  # (GQA, MHA)

LENGTHS = 2 ** np.arange(10, 18)
big, fig_ax = PRESETS["llama2-70b"], axes(xlabel="tokens", ylabel="cache (GB, bfloat16)", size=(6.2, 3.2))
for heads, name, line in ((64, "MHA", "-"), (8, "GQA, as published", "--"), (1, "MQA", "-.")):
    shape = big.replace(num_kv_heads=heads).shape
    gigabytes = [kv_cache_bytes(shape, 1, int(n)) / 1e9 for n in LENGTHS]
    fig_ax[1].plot(LENGTHS, gigabytes, line, linewidth=2, label=f"{heads} KV heads ({name})")
fig_ax[1].axhline(80, color="#888888", linewidth=1)
fig_ax[1].set(xscale="log", yscale="log", title="Llama 2 70B, one text (grey: the memory of one 80 GB GPU)")
fig_ax[1].legend()
sizes = [kv_cache_bytes(big.replace(num_kv_heads=heads).shape, 1, 4096) / 1e9 for heads in (8, 64)]
reveal("GB at 4,096 tokens, GQA and MHA", [round(size, 2) for size in sizes], guess)
assert sizes[1] == 8 * sizes[0]
finish(fig_ax[0])

# %%
if READY.or_show("cache"):
    for heads in (4, 2, 1):  # the same on real caches: what is allocated is what was predicted
        config = SMALL.replace(num_layers=3, num_kv_heads=heads)
        model, cache = Transformer(config).eval(), KVCache(num_layers=3, max_length=64)
        model(tokens_like(config), cache=cache)
        predicted = kv_cache_bytes(config.shape, batch=2, seq=64, itemsize=4)
        print(f"{heads} KV heads: {cache.bytes:,} bytes allocated, {predicted:,} predicted")
        assert cache.bytes == predicted, YOURS

# %% [markdown]
# ## 7 · Writing (生成)
#
# The model gives probabilities; what to write is a choice of its own: the likeliest (*greedy*), or drawn, with a
# *temperature*, from the *k* likeliest (*top-k*), or from the fewest that reach *p* together (*top-p*, nucleus).


# %%
#| export model
def next_tokens(
    logits: Float[Tensor, "batch vocab"], *, temperature: int | float = 1.0, top_k: int | None = None,
    top_p: int | float | None = None, generator: torch.Generator | None = None,
) -> Int[Tensor, " batch"]:  # fmt: skip
    """One token for each row: the likeliest at temperature 0, else drawn from softmax(logits / temperature).

    ``top_k`` keeps the k likeliest; ``top_p`` the fewest whose probabilities reach p (Holtzman et al. 2019, arXiv
    1904.09751). ValueError for a temperature below 0 or infinite, a top_k that is no integer from 1, a top_p outside
    (0, 1], and logits whose greatest is no number.
    """
    whole = top_k is None or (isinstance(top_k, int) and top_k >= 1)
    if not 0 <= temperature < math.inf or not whole or (top_p is not None and not 0 < top_p <= 1):
        raise ValueError(
            f"0 <= temperature {temperature} < inf, whole top_k {top_k} >= 1, 0 < top_p {top_p} <= 1 must hold"
        )
    broken = ~logits.amax(dim=-1).isfinite()
    if broken.any():
        raise ValueError(
            f"the greatest logit of row {int(broken.nonzero()[0])} is NaN or infinite: nothing can be drawn"
        )
    if temperature == 0:
        return logits.argmax(dim=-1)
    ordered, order = (logits.float() / temperature).sort(dim=-1, descending=True, stable=True)
    probabilities = ordered.softmax(dim=-1)
    if top_k is not None:
        probabilities[:, top_k:] = 0
    if top_p is not None:  # a token stays when those before it do not reach p
        probabilities[probabilities.cumsum(dim=-1) - probabilities >= top_p * probabilities.sum(-1, keepdim=True)] = 0
    return order.gather(-1, torch.multinomial(probabilities, 1, generator=generator)).squeeze(-1)


# %%
#| export model
def _prompt(model: Transformer, tokens: Tensor, padding: Tensor | None) -> Tensor | None:
    """The padding as booleans; ValueError for prompts after which nobody can go on."""
    check_ids("tokens", tokens)
    check_vocabulary(tokens, model.config.vocab_size)
    if not tokens.shape[1]:
        raise ValueError("the prompt is empty: give at least one token, such as the one that begins a text")
    if padding is None:
        return None
    real = as_padding(padding, *tokens.shape)
    wrong = (real.long().cummax(dim=1).values != real).any(dim=1) | ~real[:, -1]
    if wrong.any():
        raise ValueError(f"row {int(wrong.nonzero()[0])} has padding after a token, or nothing else: pad on the left")
    return real


def _ids(stop: int | Sequence[int] | Set[int] | Tensor | None, model: Transformer) -> Tensor:
    """The tokens that end a text, one or several or none."""
    several = [] if stop is None else list(stop) if isinstance(stop, Set) else stop
    found = torch.as_tensor(several, device=model.embedding.weight.device).flatten()
    if found.numel() and found.dtype not in (torch.int64, torch.int32):
        raise TypeError(f"stop is {stop!r}: give one id, or several")
    check_vocabulary(found, model.config.vocab_size)
    return found


# %%
#| export model
def _places(model: Transformer, tokens: Tensor, padding: Tensor | None, past: int) -> dict[str, Tensor]:
    """The padding of prompts continued over all tokens so far, and where those after the first ``past`` stand."""
    if padding is None:
        return {}
    real = F.pad(padding, (0, tokens.shape[1] - padding.shape[1]), value=True)
    positions = (real.cumsum(dim=-1) - 1).clamp(min=0)[:, past:]
    if model.config.positions == "glm":
        positions = torch.stack((positions, torch.zeros_like(positions)), dim=1)
    return {"padding": real, "token_positions": positions}


# %%
#| export model
def _write(
    model: Transformer, tokens: Tensor, number: int, stop: Tensor, padding: Tensor | None, cache: KVCache | None,
    given: dict[str, Any], choice: dict[str, Any],
) -> Tensor:  # fmt: skip
    ended = torch.zeros(len(tokens), dtype=torch.bool, device=tokens.device)
    for _ in range(number):
        past = 0 if cache is None else cache.length
        seen = given | _places(model, tokens, padding, past)
        logits = model(tokens[:, past:], cache=cache, **seen)[:, -1]
        new = next_tokens(logits, **choice)
        if stop.numel():
            new = torch.where(ended, tokens[:, -1], new)
            ended |= torch.isin(new, stop)
        tokens = torch.cat((tokens, new[:, None]), dim=1)
        if stop.numel() and ended.all():
            break
    return tokens


# %%
#| export model
@torch.no_grad()
def generate(
    model: Transformer, tokens: Int[Tensor, "batch seq"], max_new_tokens: int, *,
    stop: int | Sequence[int] | Set[int] | Tensor | None = None, padding: Tensor | None = None, use_cache: bool = True,
    given: dict[str, Any] | None = None, **choice: Any,
) -> Int[Tensor, "batch longer"]:  # fmt: skip
    """``tokens`` and what the model adds to them, token by token until ``max_new_tokens`` or all rows have met ``stop``.

    ``choice`` goes to `next_tokens`, ``given`` to the model (context, prefix). Prompts of different lengths are padded
    on the left, ``padding`` False or 0 there. ``stop`` is an id or several; after one a row goes on with it. ValueError
    beyond the context length, for an empty prompt, padding elsewhere, ids that do not exist.
    """
    padding, stop = _prompt(model, tokens, padding), _ids(stop, model)
    if max_new_tokens < 0:
        raise ValueError(f"max_new_tokens is {max_new_tokens}, and must be at least 0")
    length, training = tokens.shape[1] + max_new_tokens, model.training
    if length > model.config.context_length and model.config.positions in BOUNDED:
        raise ValueError(f"{length} tokens, and the model's context_length is {model.config.context_length}")
    model.eval()
    try:
        cache = model.new_cache(length) if use_cache else None
        return _write(model, tokens, max_new_tokens, stop, padding, cache, given or {}, choice)
    finally:
        model.train(training)


# %% [markdown]
# **Predict.** 100 tokens after a prompt of 20: how many times the FLOPs does it take without a cache?

# %%
guess = None  # times

if READY.or_show("writing"):
    writer = students["alibi"]
    prompt, draw = torch.tensor([list(b"The value of the obj")]), {"top_p": 0.9, "temperature": 0.8}
    texts, flops = [], []
    for use_cache in (True, False):
        with FlopCounterMode(display=False) as counter:
            choice = draw | {"generator": torch.Generator().manual_seed(0)}
            texts.append(generate(writer, prompt, 100, use_cache=use_cache, **choice))
        flops.append(counter.get_total_flops())
    print(bytes(texts[0][0].tolist()).decode(errors="replace"))
    reveal("FLOPs without the cache over with it", f"{flops[1] / flops[0]:.0f}", guess)
    assert torch.equal(*texts) and flops[1] > 20 * flops[0], YOURS

# %% [markdown]
# ## 8 · What norms cost
#
# A model of four blocks has nine norms. We time the norms alone and the whole model, in turn.
#
# **Predict.** Which share of a forward pass's FLOPs is norms? Which share of its time?


# %% tags=["timing"]
guess = None  # (percent of the FLOPs, percent of the time)

if READY.or_show("cost of norms"):
    config = SMALL.replace(d_model=256, num_layers=4, d_ff=688, context_length=256)
    model, x, h = Transformer(config).eval(), tokens_like(config, batch=4, seq=256), torch.randn(4, 256, 256)
    norms = {"LayerNorm": LayerNorm(256), "RMSNorm": RMSNorm(256), "torch's RMSNorm": nn.RMSNorm(256)}
    with torch.inference_mode():
        whole, *alone = best_seconds(lambda: model(x), *(lambda norm=norm: norm(h) for norm in norms.values()))
    of_flops = 9 * 4 * h.numel() / forward_flops(config.shape, 4, 256).total  # square, sum, scale, gain of each number
    of_time = {name: 100 * 9 * seconds / whole for name, seconds in zip(norms, alone)}
    reveal("RMSNorm, percent", (round(100 * of_flops, 2), round(of_time["RMSNorm"], 1)), guess)
    assert of_flops < 0.01 and max(of_time.values()) > 2 * 100 * of_flops, YOURS
    fig, ax = axes(xlabel="share of a forward pass (percent)", ylabel="norm", size=(6, 2.2))
    ax.barh(["FLOPs of any", *(f"time of {kind}" for kind in of_time)], [100 * of_flops, *of_time.values()])
    ax.set(title="Norms: few FLOPs, more time")
finish(fig) if READY else None

# %% [markdown]
# The figure that is quoted everywhere, 0.17 % of the FLOPs and 25.5 % of the time, is for a BERT encoder layer in training
# on a GPU, and its class *normalisation* includes the softmax (arXiv 2007.00072). Yours is above, for this machine and
# norms alone.
#
# **Biases.** Llama and PaLM have none. In parameters they are nothing; PaLM's authors report better stability (2204.02311).

# %%
xl = PRESETS["gpt2-xl"].shape
biases = sum(weight.stored * weight.size for weight in weights(xl) if weight.name.endswith("bias"))
print(f"GPT-2 XL: {biases:,} of {parameters(xl):,} parameters are biases, {100 * biases / parameters(xl):.2f} %")
assert biases / parameters(xl) < 0.001

# %% [markdown]
# ## Often said, and what is true
#
# | often said | what is true |
# |---|---|
# | The original Transformer had trainable positions and GELU | Fixed sinusoids, with learned ones about equal; ReLU (1706.03762). |
# | Large models prefer post-norm | 2017 is post-norm; language models since GPT-2 are pre-norm or double norm (2002.04745). |
# | RMSNorm is 40 % faster | 7 % to 64 % in the paper, one row near 40 (1910.07467); and of a whole model, see section 8. |
# | SwiGLU is another name for SiLU | SiLU is the function of the gate; SwiGLU has three matrices (2002.05202). |
# | A parallel block runs norm and attention side by side | Attention and feed-forward network (GPT-J, PaLM). |
# | Relative attention began with Transformer-XL | Shaw et al. 2018 (1803.02155). |
# | RoPE handles any length | It degrades past the training length unless adapted (2108.12409, 2306.15595): section 5. |
# | RoPE has one layout | Interleaved pairs and halves; a permutation lies between them. |
# | In GLM, A and B never see each other | B sees A, and A does not see B (2103.10360): appendix 03x. |
# | ChatGLM2 uses GELU and one KV head | SwiGLU, RMSNorm, RoPE on half of the head, 2 KV groups, biases on queries, keys and values. |
# | Llama 2 uses GQA | The 34B and the 70B. |
# | T5 uses d_ff = 64 d_model | The 11B; v1.1 has about 2.5. |

# %% [markdown]
# ## What you built
#
# `cs336lite.model`: `TransformerConfig`, `Transformer`, `KVCache`, `generate` · `cs336lite.presets`:
# `PRESETS`, `SOURCES`, `preset`, `tiny`.
#
# ## Limits
#
# - Gradients are those of fresh models with Xavier's initialisation; training changes them.
# - The models of section 5 are tiny, have read for seconds, and were trained once each; the order of schemes at 64 bytes
#   says nothing about larger ones.
# - Dropout acts on embeddings, on what blocks add, and inside the feed-forward network, not on attention's probabilities.
# - With an encoder, keys and values of the source are computed again for every new token; the cache holds the decoder's.
# - Transformer-XL's scheme here is for causal attention, with its two biases in every layer.
#
# ## Sources
#
# Transformer (arXiv 1706.03762) · LayerNorm (1607.06450) · RMSNorm (1910.07467) · pre-norm (2002.04745) · GLU (1612.08083,
# 2002.05202) · GELU (1606.08415) · Shaw (1803.02155) · Transformer-XL (1901.02860) · T5 (1910.10683) · RoPE (2104.09864) ·
# ALiBi (2108.12409) · position interpolation (2306.15595) · MQA (1911.02150) · GQA (2305.13245) · GLM (2103.10360) · PaLM
# (2204.02311) · nucleus sampling (1904.09751) · cost of data movement (2007.00072) · for the presets, `SOURCES`.
#
# ## Next
#
# Assignment **a4_lion**: an optimizer in a few lines. Then lecture **04 · hyperparameters**: the numbers in the
# configuration, and the training engine that finds them.

# %%
finished("03b_variants")
