# Built from notebooks/text/03_architecture.py by `cs336lite build`: edit that file, not this one.
"""One Transformer with a switch for everything that changed since 2017: `TransformerConfig` says which, `Transformer` runs it.

Vaswani et al. 2017, arXiv 1706.03762, with the variants that `cs336lite.layers` and `cs336lite.positions` name. The
attention is `cs336lite.attention`, rotary positions are `cs336lite.rope`.

Shapes: tokens are (batch, seq) integers, hidden vectors (batch, seq, d_model), logits (batch, seq, vocab_size). Masks are
boolean, True = may attend; ``padding`` is (batch, seq), True where a token is real.

Built in notebooks/03_architecture.ipynb.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from cs336lite.accounting import ModelShape
from cs336lite.attention import MultiHeadAttention, scaled_dot_product_attention
from cs336lite.layers import GATES, FeedForward, LayerNorm, RMSNorm
from cs336lite.positions import (
    AlibiAttention,
    LearnedPositions,
    ShawAttention,
    T5Attention,
    TransformerXLAttention,
    mask_of_padding,
    prefix_mask,
    sinusoids,
)
from cs336lite.rope import RotaryPositionalEmbedding, rotate_part

PLACEMENTS = ("pre", "post", "double")
"""Where norms stand: before attention and feed-forward, after the addition of 2017, or before and after (sandwich)."""

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


@dataclass(frozen=True, kw_only=True)
class _Sizes:
    vocab_size: int
    context_length: int
    d_model: int
    num_layers: int  # blocks of the decoder, or of the only stack
    num_heads: int
    d_ff: int
    num_kv_heads: int | None = None  # None: num_heads; 1: MQA; between: GQA
    d_head: int | None = None  # None: d_model // num_heads
    num_encoder_layers: int = 0  # above 0: an encoder, and cross-attention in the decoder

    @property
    def head_size(self) -> int:
        return self.d_head or self.d_model // self.num_heads

    def replace(self, **changes: Any) -> "TransformerConfig":
        """The same configuration with some fields changed."""
        return replace(self, **changes)


@dataclass(frozen=True, kw_only=True)
class _Switches(_Sizes):
    norm: str | Callable[[int], nn.Module] = "rmsnorm"  # or "layernorm", or a slot: norm(d) -> module
    norm_placement: str = "pre"  # one of PLACEMENTS
    norm_eps: float = 1e-5
    embedding_norm: bool = False  # one more norm, on the embeddings (BLOOM)
    bias: bool = False  # in all linear layers of the blocks, and in LayerNorm
    qkv_bias: bool = False  # in queries, keys and values only (ChatGLM2)
    activation: str = "swiglu"  # a name in layers.ACTIVATIONS or layers.GATES
    parallel: bool = False  # attention and feed-forward read the same norm and are added together (PaLM)
    positions: str = "rope"  # one of POSITIONS
    rope_theta: float = 10_000.0
    rotary_dim: int | None = None  # None: the whole head; ChatGLM2 turns half of it
    max_distance: int = 128  # of relative positions: clipped there (shaw), in one bucket beyond (t5)
    mask: str = "causal"  # one of MASKS
    tied_embeddings: bool = False  # the output layer is the embedding
    embedding_scale: float = 1.0  # embeddings are multiplied by this: sqrt(d_model) in 2017
    output_scale: float = 1.0  # and what the output layer reads by this: 1 / sqrt(d_model) in T5
    dropout: float = 0.0  # of embeddings, of what a block adds, and inside the feed-forward network
    init_std: float = 0.02


@dataclass(frozen=True, kw_only=True)
class TransformerConfig(_Switches):
    """Everything that tells one Transformer from another. ValueError for what does not exist or does not fit.

    A slot takes a function, a class or a frozen dataclass that can be called, so that an experiment is a configuration.

    >>> TransformerConfig(vocab_size=10, context_length=8, d_model=32, num_layers=2, num_heads=4, d_ff=64).head_size
    8
    """

    qk_norm: Callable[[int], nn.Module] | None = None  # qk_norm(d_head) -> module
    attend: str | Callable[..., Tensor] = (
        "plain"  # "plain", "sdpa", or attend(Q, K, V, mask) -> (batch, heads, q, d_head)
    )
    feed_forward: Callable[["TransformerConfig"], nn.Module] | None = None  # makes what stands in place of FeedForward
    loss: Callable[[Tensor, Tensor, Tensor], Tensor] | None = None  # loss(hidden, weight, targets) -> scalar

    def __post_init__(self) -> None:
        _refuse_misfits(self)

    @property
    def shape(self) -> ModelShape:
        """What `cs336lite.accounting` asks for; a slot is counted as the plain part in its place."""
        return _shape(self)


def _refuse_misfits(c: TransformerConfig) -> None:
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
    if not 0 <= c.dropout < 1:
        raise ValueError(f"dropout is {c.dropout}, and must be at least 0 and below 1")
    _shape(c)  # raises for sizes that do not fit together


def _shape(c: TransformerConfig) -> ModelShape:
    d, heads = c.d_model, c.num_heads
    in_a_stack = {
        "learned": c.context_length * d,
        "glm": 2 * (c.context_length + 1) * d,
        "t5": 32 * heads,
        "shaw": c.num_layers * 2 * (2 * c.max_distance + 1) * c.head_size,
        "transformer_xl": c.num_layers * 2 * heads * c.head_size,  # u and v; the projection is a matrix of its own
    }
    return ModelShape(
        vocab_size=c.vocab_size, context_length=c.context_length, d_model=d, num_layers=c.num_layers,
        num_heads=heads, d_ff=c.d_ff, num_kv_heads=c.num_kv_heads, d_head=c.d_head,
        glu=c.activation in GATES, bias=c.bias, qkv_bias=c.qkv_bias, norm_bias=c.bias and c.norm == "layernorm",
        tied_embeddings=c.tied_embeddings, position_parameters=in_a_stack.get(c.positions, 0),
        relative_projection=c.positions == "transformer_xl", qk_norm=c.qk_norm is not None,
        norms_per_block=1 if c.parallel else 4 if c.norm_placement == "double" else 2,
        outer_norms=(c.norm_placement != "post") + c.embedding_norm, num_encoder_layers=c.num_encoder_layers,
    )  # fmt: skip


def sdpa(Q: Tensor, K: Tensor, V: Tensor, mask: Bool[Tensor, "..."] | None = None) -> Tensor:
    """Causal attention by PyTorch's fused kernel, which never stores the scores; the slot ``attend="sdpa"``.

    The queries are the last q of the k tokens. ``mask`` is what must hold beside the causal mask.
    """
    q, k = Q.shape[-2], K.shape[-2]
    if mask is None and q == k:
        return F.scaled_dot_product_attention(Q, K, V, is_causal=True)
    if q > 1:
        causal = torch.ones(q, k, dtype=torch.bool, device=Q.device).tril(k - q)
        mask = causal if mask is None else mask & causal
    return F.scaled_dot_product_attention(Q, K, V, attn_mask=mask)


sdpa.masks_causally = True  # it is not given the causal mask: to know that there is no other is what makes it fast


def make_norm(config: TransformerConfig, d: int | None = None) -> nn.Module:
    """The norm that the configuration asks for, over ``d`` dimensions, ``d_model`` by default."""
    d = config.d_model if d is None else d
    if config.norm == "layernorm":
        return LayerNorm(d, config.norm_eps, bias=config.bias)
    return RMSNorm(d, config.norm_eps) if config.norm == "rmsnorm" else config.norm(d)


def make_rope(config: TransformerConfig) -> nn.Module | None:
    """RoPE for what turns of a head; None for the other position schemes."""
    if config.positions not in ("rope", "rope_half"):
        return None
    layout = "half" if config.positions == "rope_half" else "interleaved"
    turned = config.rotary_dim or config.head_size
    return RotaryPositionalEmbedding(config.rope_theta, turned, config.context_length, layout=layout)


def turn(rope: nn.Module | None, config: TransformerConfig) -> Callable[[Tensor, Tensor], Tensor] | None:
    """``rope`` as attention calls it, on the first ``rotary_dim`` dimensions of a head where that is less than all."""
    if rope is None or config.rotary_dim in (None, config.head_size):
        return rope and rope.__call__
    return partial(rotate_part, rope, rotary_dim=config.rotary_dim)


def make_relative(config: TransformerConfig, bidirectional: bool = False) -> nn.Module | None:
    """The module that a position scheme puts in the place of attention's formula; None for schemes that leave it."""
    makers = {
        "alibi": lambda: AlibiAttention(config.num_heads),
        "shaw": lambda: ShawAttention(config.head_size, config.max_distance),
        "t5": lambda: T5Attention(config.num_heads, bidirectional, max_distance=config.max_distance),
        "transformer_xl": lambda: TransformerXLAttention(config.d_model, config.num_heads, config.head_size),
    }
    return makers.get(config.positions, lambda: None)()


def make_attention(
    config: TransformerConfig, attend: Callable[..., Tensor], *, causal: bool, rope: Callable[..., Tensor] | None = None
) -> MultiHeadAttention:
    """Multi-head attention of the sizes in the configuration; biases on queries, keys and values alone if it says so."""
    bias = config.bias or config.qkv_bias
    attention = MultiHeadAttention(
        config.d_model, config.num_heads, config.num_kv_heads, d_head=config.d_head,
        rope=rope, qk_norm=config.qk_norm, attend=attend, causal=causal, bias=bias,
    )  # fmt: skip
    if bias and not config.bias:
        attention.o_proj.register_parameter("bias", None)
    return attention


def choose_attend(config: TransformerConfig, relative: nn.Module | None, causal: bool) -> Callable[..., Tensor]:
    """The formula of attention: of the position scheme, or of the slot, or of a2. What can only be causal is so used."""
    if relative is not None:
        return relative.__call__  # a function, so that it does not matter how the attention stores it
    if config.attend == "plain":
        return scaled_dot_product_attention
    if config.attend == "sdpa":
        return sdpa if causal else F.scaled_dot_product_attention
    return (
        config.attend if causal or not getattr(config.attend, "masks_causally", False) else scaled_dot_product_attention
    )


def make_feed_forward(config: TransformerConfig) -> nn.Module:
    """What the slot makes, or the network of the configuration's activation."""
    if config.feed_forward is not None:
        return config.feed_forward(config)
    return FeedForward(config.d_model, config.d_ff, config.activation, config.bias, config.dropout)


class _Parts(nn.Module):
    def __init__(
        self, config: TransformerConfig, relative: nn.Module | None, rope: nn.Module | None, causal: bool, cross: bool
    ) -> None:
        super().__init__()
        self.placement, self.parallel = config.norm_placement, config.parallel
        self.relative, self.rope = relative, rope
        attend = choose_attend(config, relative, causal)
        causal = causal and not getattr(attend, "masks_causally", False)
        self.attention = make_attention(config, attend, causal=causal, rope=turn(rope, config))
        self.cross_attention = None
        if cross:  # distances to another text mean nothing; T5 does not divide by sqrt(d) there either
            other = T5Attention(config.num_heads, False, num_buckets=0) if config.positions == "t5" else None
            self.cross_attention = make_attention(config, choose_attend(config, other, False), causal=False)
        self.feed_forward = make_feed_forward(config)
        self.norms = nn.ModuleDict({name: make_norm(config) for name in self._norm_names()})
        self.dropout = nn.Dropout(config.dropout)

    def _norm_names(self) -> list[str]:
        if self.parallel:
            return ["attention"]
        parts = ["attention", *["cross_attention"] * (self.cross_attention is not None), "feed_forward"]
        return parts + [f"{part}_after" for part in parts] * (self.placement == "double")


class Block(_Parts):
    """Attention, cross-attention if ``cross``, and a feed-forward network, each added to the residual stream (残差流)."""

    def forward(
        self, x: Float[Tensor, "batch seq d_model"], context: Tensor | None = None, context_mask: Tensor | None = None,
        padding: Bool[Tensor, "batch seq"] | None = None, **seen: Any,
    ) -> Float[Tensor, "batch seq d_model"]:  # fmt: skip
        """``seen`` is what attention is told: ``mask``, ``token_positions``, ``cache``.

        ``padding`` goes to a feed-forward network with ``takes_padding = True``, as a mixture of experts has.
        """
        told = {"padding": padding} if getattr(self.feed_forward, "takes_padding", False) else {}
        if self.parallel:
            normed = self.norms["attention"](x)
            return x + self.dropout(self.attention(normed, **seen) + self.feed_forward(normed, **told))
        x = self._add("attention", x, **seen)
        if self.cross_attention is not None:
            x = self._add("cross_attention", x, context=context, mask=context_mask)
        return self._add("feed_forward", x, **told)

    def _add(self, name: str, x: Tensor, **arguments: Any) -> Tensor:
        added = getattr(self, name)(x if self.placement == "post" else self.norms[name](x), **arguments)
        if self.placement == "double":
            added = self.norms[f"{name}_after"](added)
        x = x + self.dropout(added)
        return self.norms[name](x) if self.placement == "post" else x


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


class _Layers(nn.Module):
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


class Stack(_Layers):
    """Blocks one after the other, with what stands before the first and after the last: an encoder or a decoder."""

    def forward(
        self, x: Float[Tensor, "batch seq d_model"], *, mask: Tensor | None = None, prefix: Tensor | None = None,
        token_positions: Tensor | None = None, context: Tensor | None = None, context_mask: Tensor | None = None,
        padding: Tensor | None = None, cache: "KVCache | None" = None,
    ) -> Float[Tensor, "batch seq d_model"]:  # fmt: skip
        batch, seq, past = *x.shape[:2], 0 if cache is None else cache.length
        if padding is not None:
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


class LayerCache:
    """Keys and values of one layer, in memory for ``max_length`` tokens that is taken once. A `cs336lite.attention.Cache`.

    ``update`` raises ValueError when there is no room.
    """

    def __init__(self, max_length: int) -> None:
        self.max_length, self.length = max_length, 0
        self.kept: tuple[Tensor, Tensor] | None = None

    def update(self, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        """Append (batch, num_kv_heads, seq, d_head) each; returns those of all tokens so far."""
        stop = self.length + k.shape[2]
        if stop > self.max_length:
            raise ValueError(f"the cache has room for {self.max_length} tokens, and these would be {stop}")
        if self.kept is None:
            self.kept = tuple(x.new_empty(*x.shape[:2], self.max_length, x.shape[3]) for x in (k, v))
        for kept, new in zip(self.kept, (k, v)):
            kept[:, :, self.length : stop] = new
        self.length = stop
        return self.kept[0][:, :, :stop], self.kept[1][:, :, :stop]


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


def cross_entropy(
    hidden: Float[Tensor, "n d_model"], weight: Float[Tensor, "vocab d_model"], targets: Int[Tensor, " n"]
) -> Float[Tensor, ""]:
    """The mean of -log softmax(hidden weight^T)[target], in nats, over targets that are not -100; what the loss slot replaces."""
    return F.cross_entropy((hidden @ weight.T).float(), targets, ignore_index=-100)


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


class _Frame(nn.Module):
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

    def embed(self, tokens: Int[Tensor, "batch seq"]) -> Float[Tensor, "batch seq d_model"]:
        """The embeddings, before positions are added."""
        return self.embedding(tokens) * self.config.embedding_scale

    def new_cache(self, max_length: int | None = None) -> KVCache:
        """An empty cache for so many tokens, by default ``context_length``."""
        return KVCache(self.config.num_layers, max_length or self.config.context_length)


class _Reading(_Frame):
    def encode(
        self, source: Int[Tensor, "batch source_seq"], padding: Bool[Tensor, "batch source_seq"] | None = None
    ) -> Float[Tensor, "batch source_seq d_model"]:
        """What the encoder makes of a source text. ValueError when the model has no encoder."""
        if self.encoder is None:
            raise ValueError("this model has no encoder: num_encoder_layers is 0")
        return self.encoder(self.embed(source), padding=padding)

    def hidden(
        self, tokens: Int[Tensor, "batch seq"], *, context: Tensor | None = None, source_padding: Tensor | None = None,
        **seen: Any,
    ) -> Float[Tensor, "batch seq d_model"]:  # fmt: skip
        """What the output layer reads; arguments as for the call."""
        if self.encoder is not None and context is None:
            raise ValueError("this model has an encoder: give source, or context from encode(source)")
        context_mask = None if source_padding is None else mask_of_padding(source_padding)
        hidden = self.decoder(self.embed(tokens), context=context, context_mask=context_mask, **seen)
        return hidden * self.config.output_scale


class Transformer(_Reading):
    """The model that a `TransformerConfig` describes; ``generator`` draws its weights.

    The call takes tokens and optionally ``mask`` (broadcasts to (batch, heads, q, k)), ``padding`` (batch, k),
    ``prefix`` (batch,), ``token_positions`` (seq,) or (batch, seq) ((batch, 2, seq) for GLM), ``cache`` (`new_cache`);
    with an encoder ``source`` (batch, source_seq) or ``context`` from `encode`, and ``source_padding``.
    """

    def forward(
        self, tokens: Int[Tensor, "batch seq"], *, source: Tensor | None = None, **given: Any
    ) -> Float[Tensor, "batch seq vocab"]:
        """Logits of the next token at each place."""
        return self.output(self.hidden(tokens, **self._with_context(source, given)))

    def loss(self, tokens: Tensor, targets: Tensor, *, source: Tensor | None = None, **given: Any) -> Float[Tensor, ""]:
        """The mean loss over targets that are not -100, plus the ``auxiliary_loss`` of every part that has one."""
        hidden = self.hidden(tokens, **self._with_context(source, given)).flatten(0, 1)
        loss = (self.config.loss or cross_entropy)(hidden, self.output.weight, targets.flatten())
        return loss + sum(part.auxiliary_loss for part in self.modules() if hasattr(part, "auxiliary_loss"))

    def _with_context(self, source: Tensor | None, given: dict[str, Any]) -> dict[str, Any]:
        return given if source is None else given | {"context": self.encode(source, given.get("source_padding"))}


def next_tokens(
    logits: Float[Tensor, "batch vocab"], *, temperature: int | float = 1.0, top_k: int | None = None,
    top_p: int | float | None = None, generator: torch.Generator | None = None,
) -> Int[Tensor, " batch"]:  # fmt: skip
    """One token for each row: the likeliest at temperature 0, else drawn from softmax(logits / temperature).

    ``top_k`` keeps the k likeliest; ``top_p`` the fewest whose probabilities reach p (Holtzman et al. 2019, arXiv
    1904.09751). ValueError for a temperature below 0, a top_k below 1, a top_p outside (0, 1].
    """
    if temperature < 0 or (top_k is not None and top_k < 1) or (top_p is not None and not 0 < top_p <= 1):
        raise ValueError(f"temperature {temperature} >= 0, top_k {top_k} >= 1 and 0 < top_p {top_p} <= 1 must hold")
    if temperature == 0:
        return logits.argmax(dim=-1)
    ordered, order = (logits.float() / temperature).sort(dim=-1, descending=True, stable=True)
    probabilities = ordered.softmax(dim=-1)
    if top_k is not None:
        probabilities[:, top_k:] = 0
    if top_p is not None:  # a token stays when those before it do not reach p
        probabilities[probabilities.cumsum(dim=-1) - probabilities >= top_p * probabilities.sum(-1, keepdim=True)] = 0
    return order.gather(-1, torch.multinomial(probabilities, 1, generator=generator)).squeeze(-1)


def _places(model: Transformer, tokens: Tensor, padding: Tensor | None, past: int) -> dict[str, Tensor]:
    """The padding of prompts continued over all tokens so far, and where those after the first ``past`` stand."""
    if padding is None:
        return {}
    real = F.pad(padding, (0, tokens.shape[1] - padding.shape[1]), value=True)
    positions = (real.cumsum(dim=-1) - 1).clamp(min=0)[:, past:]
    if model.config.positions == "glm":
        positions = torch.stack((positions, torch.zeros_like(positions)), dim=1)
    return {"padding": real, "token_positions": positions}


def _write(
    model: Transformer, tokens: Tensor, number: int, stop: int | None, padding: Tensor | None, cache: KVCache | None,
    given: dict[str, Any], choice: dict[str, Any],
) -> Tensor:  # fmt: skip
    ended = torch.zeros(len(tokens), dtype=torch.bool, device=tokens.device)
    for _ in range(number):
        past = 0 if cache is None else cache.length
        seen = given | _places(model, tokens, padding, past)
        logits = model(tokens[:, past:], cache=cache, **seen)[:, -1]
        new = next_tokens(logits, **choice)
        if stop is not None:
            new = torch.where(ended, stop, new)
            ended |= new == stop
        tokens = torch.cat((tokens, new[:, None]), dim=1)
        if ended.all():
            break
    return tokens


@torch.no_grad()
def generate(
    model: Transformer, tokens: Int[Tensor, "batch seq"], max_new_tokens: int, *, stop: int | None = None,
    padding: Tensor | None = None, use_cache: bool = True, given: dict[str, Any] | None = None, **choice: Any,
) -> Int[Tensor, "batch longer"]:  # fmt: skip
    """``tokens`` and what the model adds to them, token by token until ``max_new_tokens`` or all rows have met ``stop``.

    ``choice`` goes to `next_tokens`, ``given`` to the model (context, prefix). Prompts of different lengths are padded
    on the left, ``padding`` False there. After ``stop`` a row goes on with it. ValueError beyond the context length.
    """
    length, training = tokens.shape[1] + max_new_tokens, model.training
    if length > model.config.context_length and model.config.positions in BOUNDED:
        raise ValueError(f"{length} tokens, and the model's context_length is {model.config.context_length}")
    model.eval()
    try:
        cache = model.new_cache(length) if use_cache else None
        return _write(model, tokens, max_new_tokens, stop, padding, cache, given or {}, choice)
    finally:
        model.train(training)
