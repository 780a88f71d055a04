# Built from notebooks/text/03b_variants.py by `cs336lite build`: edit that file, not this one.
"""One Transformer with a switch for everything that changed since 2017: `TransformerConfig` says which, `Transformer` runs it.

Vaswani et al. 2017, arXiv 1706.03762, with the variants that `cs336lite.layers` and `cs336lite.positions` name. The
attention is `cs336lite.attention`, rotary positions are `cs336lite.rope`.

Shapes: tokens are (batch, seq) integers, hidden vectors (batch, seq, d_model), logits (batch, seq, vocab_size). Masks are
boolean, True = may attend; ``padding`` is (batch, seq), True where a token is real.

Built in notebooks/03b_variants.ipynb.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from functools import partial
from itertools import cycle
from numbers import Integral, Real
from typing import Any

import torch
import torch.nn.functional as F
from einops import rearrange
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from cs336lite.accounting import ModelShape
from cs336lite.attention import MultiHeadAttention, scaled_dot_product_attention
from cs336lite.generation import KVCache, LayerCache, check_ids, check_vocabulary
from cs336lite.generation import generate as generate
from cs336lite.generation import next_tokens as next_tokens
from cs336lite.layers import GATES, FeedForward, LayerNorm, RMSNorm
from cs336lite.positions import BOUNDED as BOUNDED
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
from cs336lite.slots import Attend, TakesPadding, auxiliary_loss, masks_causally

PLACEMENTS = ("pre", "post", "double", "branch")
"""Where norms stand: before each part, x + f(N(x)); after the addition, N(x + f(x)), as in 2017; before and after (sandwich,
Gemma 2), x + N'(f(N(x))); at the end of the branch alone, x + N(f(x)), as in OLMo 2 (arXiv 2501.00656)."""

AT_INPUT = ("sinusoidal", "learned", "glm")
"""Position schemes that add to the embedding."""

IN_ATTENTION = ("alibi", "shaw", "t5", "transformer_xl")
"""Position schemes that work on the scores of attention."""

POSITIONS = (*AT_INPUT, "rope", "rope_half", *IN_ATTENTION, "none")
"""All position schemes; ``rope_half`` is RoPE in Hugging Face's layout."""

MASKS = ("causal", "prefix", "full")
"""Who sees whom in the decoder: what came before; a prefix too (GLM's blanks are that); everybody."""


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


@dataclass(frozen=True)
class FusedAttention(Attend):
    """Causal attention by PyTorch's fused kernel, which never stores the scores; the slot ``attend="sdpa"``.

    The queries are the last q of the k tokens. ``mask`` is what must hold beside the causal mask. Heads of keys and values
    may be fewer than those of queries (GQA).
    """

    masks_causally = True  # it is not given the causal mask: to know that there is no other is what makes it fast
    shares_heads = True  # keys and values come as they are cached, not repeated for every query head

    def __call__(self, Q: Tensor, K: Tensor, V: Tensor, mask: Bool[Tensor, "..."] | None = None) -> Tensor:
        (q, k), shared = (Q.shape[-2], K.shape[-2]), Q.shape[1] != K.shape[1]
        if mask is None and q == k:
            return F.scaled_dot_product_attention(Q, K, V, is_causal=True, enable_gqa=shared)
        if q > 1:
            causal = torch.ones(q, k, dtype=torch.bool, device=Q.device).tril(k - q)
            mask = causal if mask is None else mask & causal
        return F.scaled_dot_product_attention(Q, K, V, attn_mask=mask, enable_gqa=shared)


sdpa = FusedAttention()


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
    qk_norm, heads = config.qk_norm, cycle((config.num_heads, config.num_kv_heads or config.num_heads))
    if config.qk_norm_across_heads:  # attention asks for one for its queries, then for one for its keys
        qk_norm = lambda d_head: AcrossHeads(config.qk_norm(next(heads) * d_head))  # noqa: E731
    attention = MultiHeadAttention(
        config.d_model, config.num_heads, config.num_kv_heads, d_head=config.d_head, rope=turn, qk_norm=qk_norm,
        attend=attend, causal=causal and not masks_causally(attend), bias=config.bias or config.qkv_bias,
    )  # fmt: skip
    if config.qkv_bias and not config.bias:
        attention.o_proj = nn.Linear(attention.o_proj.weight.shape[1], config.d_model, bias=False)
    return attention


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
        self.fill(make_feed_forward(config))
        parts = ["attention", *["cross_attention"] * cross, "feed_forward"]
        if config.parallel:
            names = ["attention", "feed_forward"][: config.parallel_norms]
        else:
            names = parts if config.norm_placement != "branch" else []
            names = names + [f"{part}_after" for part in parts] * (config.norm_placement in ("double", "branch"))
        self.norms = nn.ModuleDict({name: make_norm(config) for name in names})
        self.dropout = nn.Dropout(config.dropout)

    def fill(self, feed_forward: nn.Module) -> None:
        """Put a network into the slot ``feed_forward``. What is wrapped around it later is asked no more."""
        self.feed_forward, self.tells_padding = feed_forward, isinstance(feed_forward, TakesPadding)

    def forward(
        self, x: Float[Tensor, "batch seq d_model"], context: Tensor | None = None, context_mask: Tensor | None = None,
        padding: Bool[Tensor, "batch seq"] | None = None, **seen: Any,
    ) -> Float[Tensor, "batch seq d_model"]:  # fmt: skip
        """``seen`` is what attention is told: ``mask``, ``token_positions``, ``cache``.

        ``padding`` goes to a feed-forward network that is a `TakesPadding`, as a mixture of experts is.
        """
        told = {"padding": padding} if self.tells_padding else {}
        if self.parallel:
            normed = [norm(x) for norm in self.norms.values()]  # one for both parts, or one each
            return x + self.dropout(self.attention(normed[0], **seen) + self.feed_forward(normed[-1], **told))
        x = self.add("attention", self.attention, x, **seen)
        if self.cross_attention is not None:
            read, cache = {"context": context}, seen.get("cache")
            if isinstance(cache, LayerCache):  # which keeps the keys and values of the source text
                read = {"cache": cache.source.of(self.cross_attention, context)}
            x = self.add("cross_attention", self.cross_attention, x, mask=context_mask, **read)
        return self.add("feed_forward", self.feed_forward, x, **told)

    def add(self, name: str, part: nn.Module, x: Float[Tensor, "batch seq d_model"], **arguments: Any) -> Tensor:
        """The stream after ``part`` has been added to it, with the norms of that name where the configuration has them."""
        if self.placement == "post":
            return self.norms[name](x + self.dropout(part(x, **arguments)))
        y = part(x if self.placement == "branch" else self.norms[name](x), **arguments)
        if self.placement in ("double", "branch"):
            y = self.norms[f"{name}_after"](y)
        return x + self.dropout(y)


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
        padding: Tensor | None = None, cache: KVCache | None = None,
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


def check_shape(name: str, given: Tensor | None, *shape: int) -> None:
    """ValueError for what does not broadcast to this shape: it would make several rows out of one."""
    if given is not None:
        sizes = zip(reversed(given.shape), reversed(shape))
        if given.ndim > len(shape) or any(size not in (1, wanted) for size, wanted in sizes):
            raise ValueError(f"{name} has the shape {tuple(given.shape)}, which does not broadcast to {shape}")


def check_reading(
    stack: Stack, x: Tensor, past: int, mask: Tensor | None, prefix: Tensor | None, positions: Tensor | None,
    context: Tensor | None, cache: KVCache | None,
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
        """The mean loss over targets that are not -100, plus what every `LeavesLoss` among the parts has left.

        Without any such target it is NaN, as in PyTorch: a mean over nothing.
        """
        check_ids("targets", targets)
        if targets.shape != tokens.shape:
            raise ValueError(f"targets have the shape {tuple(targets.shape)}, and tokens {tuple(tokens.shape)}")
        hidden = rearrange(self.hidden(tokens, **self._with_context(source, given)), "batch seq d -> (batch seq) d")
        score = self.config.loss or partial(cross_entropy, cap=self.config.output_cap)
        loss = score(hidden, self.output.weight, targets.flatten().long())
        return loss + auxiliary_loss(self)

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
