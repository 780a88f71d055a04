# ---
# jupyter:
#   kernelspec: {display_name: Python 3, language: python, name: python3}
#   cs336lite: {module: model, minutes: 4, prerequisites: [03_architecture], device: CPU}
# ---

# %% [markdown]
# # 03b · One model with every switch (模型的变体)
#
# {badge} · prerequisites: 03, a2 (attention), a3 (RoPE) · device: CPU
#
# What has changed since 2017, and what does each change buy? The machine of lecture 03 and the Transformer of 2017 differ
# in about ten places, which we call switches. This lecture builds one model that has all of them. You will set it to
# GPT-2, to Llama 2 and to OLMo 2, check that it is the real thing, and then turn one switch at a time. Papers do this
# with models that cost millions. We do it with a small one, several seeds and a price beside every gain.
#
# ## Questions
#
# 1. Which switches stand between the Transformer of 2017, GPT-2, Llama 2 and OLMo 2?
# 2. Is the model with these switches really Llama: the same number of parameters, the same logits?
# 3. Which changes alter the loss of a small model, and which cannot be told from chance?
# 4. What does each change cost or save in work, memory and time?
# 5. If post-norm's gradients do not vanish, what is its trouble?
# 6. What happens beyond the length that a model was trained on?
# 7. Does a lower loss show in what a model writes?
#
# The answers stand at the end, each with its numbers. Write your guess in place of `None` before you run a cell below a
# **Predict** box. Four exercises ask for a few lines each. None is graded, and the lecture runs to its end with all of
# them solved or none.

# %%
import re
from importlib.util import find_spec

from IPython.display import display
from torch.utils.flop_counter import FlopCounterMode

from cs336lite.accounting import parameters, weights
from cs336lite.course import check, finished, hint, whose
from cs336lite.course.baselines import baselines
from cs336lite.course.claims import claim, claims
from cs336lite.course.compare import comparisons, mean_interval, rerun
from cs336lite.course.diagram import Diagram
from cs336lite.course.exercise import solution
from cs336lite.course.hugging_face import WithoutMemory, from_hugging_face
from cs336lite.course.measure import best_seconds, reveal
from cs336lite.course.paired_plot import difference_figure
from cs336lite.course.plot import COLORS, axes, finish
from cs336lite.course.results import recorded, source

# your attention and your RoPE are in the models below; until you have them, cells show what our own run has shown
READY = whose("attention", "rope", lecture="03b_variants")
YOURS = "this runs on your attention and your RoPE: do check('a2_attention') and check('a3_rope') pass?"

# %% folded=true
#| export model
"""One Transformer with a switch for everything that changed since 2017: `TransformerConfig` says which, `Transformer` runs it.

Vaswani et al. 2017, arXiv 1706.03762, with the variants that `cs336lite.layers` and `cs336lite.positions` name. The
attention is `cs336lite.attention`, rotary positions are `cs336lite.rope`.

Shapes: tokens are (batch, seq) integers, hidden vectors (batch, seq, d_model), logits (batch, seq, vocab_size). Masks are
boolean, True = may attend; ``padding`` is (batch, seq), True where a token is real.

Built in notebooks/03b_variants.ipynb.
"""

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, replace
from functools import cache, partial
from itertools import cycle, pairwise
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
from cs336lite.course.tuning import Tuned, reported
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
from cs336lite.slots import Attend, LeavesLoss, TakesPadding, auxiliary_loss, masks_causally

# %% folded=true
d = Diagram(88, 10)
stream = 6.6
last = d.box(0.5, stream - 0.65, "embedding", color="orange").right
for x, name, asked in (
    (23, "attention", "how many heads of keys and values?"),
    (50, "feed-forward", "ReLU, GELU or a gate?"),
):
    norm = d.box(x, 4, "norm", color="green")
    part = d.box(x - 3.5, 1.6, name, color="vermillion", width=14)
    plus = d.box(x + 11, stream - 0.65, "+", width=3)
    d.text(part.top[0], 0.7, asked, align="middle")
    d.arrow((norm.bottom[0], stream), norm.bottom, color="grey")
    d.arrow(norm.top, (norm.top[0], part.bottom[1]), color="grey")
    d.line(part.right, (plus.top[0], part.right[1]), color="grey")
    d.arrow((plus.top[0], part.right[1]), plus.top, color="grey")
    d.arrow(last, plus.left, color="blue")
    last = plus.right
norm = d.box(70, stream - 0.65, "norm", color="green")
output = d.box(79, stream - 0.65, "output", color="orange")
d.arrow(last, norm.left, color="blue")
d.arrow(norm.right, output.left)
d.text(22, 4.65, "which norm, where?", align="end")
d.text(0.5, 8, "which positions: added")
d.text(0.5, 8.9, "here, or in attention?")
d.text(45, 8, "one after the other, or both at once?", align="middle")
d.text(45, 8.9, "biases in the matrices, or none?", align="middle")
d.text(87.5, 8, "its own matrix,", align="end")
d.text(87.5, 8.9, "or the embedding's?", align="end")
d.show()

# %% [markdown]
# ## 1 · Where does the norm stand?
#
# **Which change is the oldest?** The norm has moved. A part $f$, attention or the feed-forward network, can be added to
# the stream $x$ in four ways:
#
# $$\textbf{post: } N(x + f(x)) \qquad \textbf{pre: } x + f(N(x)) \qquad \textbf{double: } x + N'(f(N(x))) \qquad
# \textbf{branch: } x + N(f(x))$$
#
# 2017 is *post-norm* (后归一化). GPT-2 and most models since are *pre-norm* (前归一化). There are exceptions: OPT-350M is post-norm,
# GLM-130B is post-norm with DeepNorm ([2210.02414](https://arxiv.org/abs/2210.02414)), Gemma 2 has a norm before and
# one after (*double*, sandwich), and OLMo 2 one at the end of the branch
# ([2501.00656](https://arxiv.org/abs/2501.00656)).

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
# By hand. The stream is $(3, 3)$, so its RMSNorm is $(1, 1)$. The part is $f(y) = 6y$.
#
# - pre: $3 + 6 \cdot 1 = 9$. The part adds 6.
# - post: $3 + 6 \cdot 3 = 21$, and the norm makes 1 of it. The stream itself is brought back to size 1.
# - branch: $6 \cdot 3 = 18$, the norm makes 1 of it, so the stream is $3 + 1 = 4$. The part adds 1.
# - double: $6 \cdot 1 = 6$, the norm makes 1 of it, so the stream is 4.


# %% exercise="add_part" minutes=8 difficulty=1
def add_part(x, f, norm, placement: str):
    """The stream x (..., d) after the part f has been added; placement is "pre", "post", "double" or "branch"."""
    ### BEGIN SOLUTION
    if placement == "post":
        return norm(x + f(x))
    if placement == "pre":
        return x + f(norm(x))
    y = f(norm(x)) if placement == "double" else f(x)
    return x + norm(y)
    ### END SOLUTION


# %% [markdown]
# **Predict.** Training makes the weights of $f$ ten times larger. By which factor does what the part adds to the stream
# grow with pre-norm? And with the norm in the branch?

# %%
guess_pre = guess_branch = None  # times


def rms_norm(x):
    return x / x.square().mean(-1, keepdim=True).sqrt()


x = torch.tensor([3.0, 3.0])
grown = {}
for placement in ("pre", "branch"):
    small, large = (add_part(x, lambda y, w=w: w * y, rms_norm, placement) - x for w in (6, 60))
    grown[placement] = (large / small).mean().item()

# %% folded=true
# run this cell to compare your guess
reveal(
    "pre-norm",
    grown["pre"],
    guess_pre,
    because={1: "the norm stands before the part, so nothing holds back what comes out"},
)
reveal("branch", grown["branch"], guess_branch, because={10: "the norm at the end brings every result to size 1"})

# %% [markdown]
# Keep this in mind: with pre-norm a part says how much it adds, and with a norm behind it, it always adds a vector of size
# 1 (times a learned gain). It comes back in section 3.
#
# ## 2 · One configuration, five models
#
# **What exactly did Llama change?** Papers tell it in prose. A configuration tells it so that a program can compare. The
# fields of the next cell are all the switches of this course; three more are *slots* for what later lectures bring.

# %% folded=true
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


# %% [markdown]
# GPT-2 in these words, from its [paper and code](https://github.com/openai/gpt-2):

# %%
GPT2 = TransformerConfig(
    vocab_size=50_257, context_length=1_024, d_model=768, num_layers=12, num_heads=12, d_ff=3_072,
    norm="layernorm", bias=True, activation="gelu_tanh", positions="learned", tied_embeddings=True,
)  # fmt: skip

# %% [markdown]
# Llama ([2302.13971](https://arxiv.org/abs/2302.13971)) divides by the root mean square, has no biases, a feed-forward
# network gated by SiLU, rotary positions, and an output layer of its own. Its files in Hugging Face's format hold RoPE in
# the layout of two halves, which is called `"rope_half"` here.


# %% exercise="gpt2_into_llama" minutes=6 difficulty=1
def gpt2_into_llama() -> dict:
    """The switches that are elsewhere in Llama than in GPT2: {field: value of Llama's}. Sizes do not belong to it."""
    ### BEGIN SOLUTION
    return {
        "norm": "rmsnorm", "bias": False, "activation": "swiglu", "positions": "rope_half", "tied_embeddings": False,
    }  # fmt: skip
    ### END SOLUTION


# %%
LLAMA2_7B = GPT2.replace(  # arXiv 2307.09288, with the sizes of 2302.13971, table 2
    vocab_size=32_000,
    context_length=4_096,
    d_model=4_096,
    num_layers=32,
    num_heads=32,
    d_ff=11_008,
    **gpt2_into_llama(),
)
LLAMA2_70B = LLAMA2_7B.replace(d_model=8_192, num_layers=80, num_heads=64, num_kv_heads=8, d_ff=28_672)

# %%
BASE_2017 = TransformerConfig(  # arXiv 1706.03762, table 3
    vocab_size=37_000, context_length=512, d_model=512, num_layers=6, num_encoder_layers=6, num_heads=8, d_ff=2_048,
    norm="layernorm", norm_placement="post", bias=True, activation="relu", positions="sinusoidal",
    tied_embeddings=True, embedding_scale=512**0.5,
)  # fmt: skip
PALM_8B = TransformerConfig(  # arXiv 2204.02311, table 1 and section 2
    vocab_size=256_000, context_length=2_048, d_model=4_096, num_layers=32, num_heads=16, num_kv_heads=1, d_head=256,
    d_ff=16_384, norm="layernorm", parallel=True, tied_embeddings=True,
)  # fmt: skip
OLMO2_7B = TransformerConfig(  # arXiv 2501.00656
    vocab_size=100_352, context_length=4_096, d_model=4_096, num_layers=32, num_heads=32, d_ff=11_008, norm_eps=1e-6,
    norm_placement="branch", positions="rope_half", rope_theta=500_000.0, qk_norm=RMSNorm, qk_norm_across_heads=True,
)  # fmt: skip
MODELS = {
    "2017 base": BASE_2017, "GPT-2": GPT2, "PaLM 8B": PALM_8B, "Llama 2 7B": LLAMA2_7B, "Llama 2 70B": LLAMA2_70B,
    "OLMo 2 7B": OLMO2_7B,
}  # fmt: skip

# %% [markdown]
# **Predict.** Of the nine columns placement, norm, network, positions, biases, heads of keys and values, QK-norm, order of
# the parts, output layer: in how many do the Transformer of 2017 and Llama 2 7B differ? In how many Llama 2 7B and OLMo 2
# 7B?

# %%
guess_2017 = guess_olmo = None

SHORT = {"sinusoidal": "waves", "learned": "learned", "rope": "RoPE", "rope_half": "RoPE", "layernorm": "Layer", "rmsnorm": "RMS",
         "relu": "ReLU", "gelu_tanh": "GELU", "swiglu": "SwiGLU"}  # fmt: skip


def switches(c: TransformerConfig) -> dict[str, str]:
    """Where the switches of a model stand, in words."""
    return {
        "placement": c.norm_placement, "norm": SHORT[c.norm], "network": SHORT[c.activation],
        "positions": SHORT[c.positions], "biases": "yes" if c.bias else "no",
        "K, V heads": f"{c.num_kv_heads} of {c.num_heads}" if c.num_kv_heads else "all", "QK-norm": "yes" if c.qk_norm else "no",
        "order": "parallel" if c.parallel else "serial", "output": "tied" if c.tied_embeddings else "own",
    }  # fmt: skip


table = {name: switches(config) for name, config in MODELS.items()}
changed = {name: sum(table[name][s] != table["Llama 2 7B"][s] for s in table[name]) for name in table}

# %% folded=true
# run this cell to compare your guess
reveal(
    "2017 and Llama 2 7B",
    changed["2017 base"],
    guess_2017,
    within=1,
    because={9: "both attend with all heads, in serial blocks, without QK-norm"},
)
reveal(
    "Llama 2 7B and OLMo 2 7B",
    changed["OLMo 2 7B"],
    guess_olmo,
    within=1,
    because={1: "OLMo 2 norms queries and keys as well"},
)

# %% folded=true
WIDTHS = dict(zip(table["GPT-2"], (8.6, 7, 8, 9, 7.2, 9.4, 7.8, 9.4, 7)))
d = Diagram(88, 11.2)
x = 13
for switch, width in WIDTHS.items():
    d.text(x + width / 2, 0.8, switch, align="middle")
    for i, name in enumerate(table):
        old = table[name][switch] == table["2017 base"][switch]
        d.box(x, 1.6 + 1.4 * i, table[name][switch], width=width - 0.4, height=1.2, color="blue" if old else "orange")
    x += width
for i, name in enumerate(table):
    d.text(0.5, 2.2 + 1.4 * i, name)
d.text(13, 10.6, "blue: as in 2017 · orange: changed since")
d.show()

# %% folded=true
claim(
    1,
    "From the Transformer of 2017 to Llama 2 7B {llama} of 9 switches changed; GPT-2 is {gpt2} of 9 away from Llama and OLMo 2 {olmo} of 9.",
    lambda llama, gpt2, olmo: llama > gpt2 > olmo > 0,
    llama=changed["2017 base"],
    gpt2=changed["GPT-2"],
    olmo=changed["OLMo 2 7B"],
)

# %% [markdown]
# The story of eight years fits into a table. GPT-2 moved the norm, Llama took RMSNorm, SwiGLU and RoPE and left out the
# biases, and the newest column is QK-norm (lecture 05). Of Llama 2 only the 34B and the 70B share heads. All models
# of this course, with their sources, are in [appendix 03bx](appendix/03bx_presets.ipynb).
#
# ### The block
#
# Your `MultiHeadAttention` of a2 has a slot `attend` and a `rope`: that is all that a position scheme needs. The folded
# cells choose the parts that a configuration asks for; the block below puts them together.
#
# A slot takes any function or module of the right form. What can do more says so by its base class, all of which are in
# `cs336lite/slots.py`: an `Attend` may say that it puts the causal mask on, or reads shared heads; a feed-forward network
# that is a `TakesPadding` is told which tokens are real; the loss of a `LeavesLoss` is added to the model's.


# %% folded=true
#| export model
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


# %% folded=true
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


# %% [markdown]
# A *parallel block* (并行块; GPT-J, PaLM) adds attention and feed-forward network of the *same* normalised input, $x +
# f(N(x)) + g(N(x))$. It has one norm instead of two, and the matrices that read the same input can be one product. The
# folded cells stack blocks, add positions where the scheme adds any, and refuse what does not fit.


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


# %% folded=true
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


# %% folded=true
#| export model
def check_shape(name: str, given: Tensor | None, *shape: int) -> None:
    """ValueError for what does not broadcast to this shape: it would make several rows out of one."""
    if given is not None:
        sizes = zip(reversed(given.shape), reversed(shape))
        if given.ndim > len(shape) or any(size not in (1, wanted) for size, wanted in sizes):
            raise ValueError(f"{name} has the shape {tuple(given.shape)}, which does not broadcast to {shape}")


# %% folded=true
#| export model
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


# %% folded=true
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


# %% folded=true
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


# %% [markdown]
# ### Is it the real thing?
#
# First the number of parameters. On PyTorch's *meta* device tensors have shapes and no memory, so a model of 70 billion can
# be built and counted. Do it by hand first. Llama 2 70B is the first Llama whose heads share keys and values: 64 query
# heads, 8 of keys and values, so $W_K$ and $W_V$ have $8 \cdot 128$ rows and not 8,192.


# %% exercise="gqa_parameters" minutes=10 difficulty=2
def gqa_parameters(vocab_size: int, d_model: int, num_layers: int, d_ff: int, num_heads: int, num_kv_heads: int) -> int:
    """Parameters of a Llama with grouped-query attention: no biases, an output layer of its own."""
    ### BEGIN SOLUTION
    shared = d_model * num_kv_heads * (d_model // num_heads)
    block = 2 * d_model**2 + 2 * shared + 3 * d_model * d_ff + 2 * d_model
    return 2 * vocab_size * d_model + num_layers * block + d_model
    ### END SOLUTION


# %% [markdown]
# **Predict.** How many billions of parameters would Llama 2 70B have if nothing was shared, with 64 heads of keys and
# values?

# %%
guess = None  # billions

by_hand = {heads: gqa_parameters(32_000, 8_192, 80, 28_672, 64, heads) / 1e9 for heads in (8, 64)}
PRINTED = {  # millions, as their authors print them; the links stand below
    "2017 base": 65, "GPT-2": 124, "PaLM 8B": 8_630, "Llama 2 7B": 6_700, "Llama 2 70B": 70_000, "OLMo 2 7B": 7_299,
}  # fmt: skip
if READY.or_show("parameters"):
    counted = {}
    for name, config in MODELS.items():
        with torch.device("meta"), WithoutMemory():
            counted[name] = parameters(Transformer(config))
        print(f"{name:<12} counted {counted[name]:>14,}   printed {PRINTED[name]:>6,} million")
        assert counted[name] == parameters(config.shape), YOURS

# %% folded=true
# run this cell to compare your guess
because = {by_hand[8]: "that is with 8; W_K and W_V would be eight times as large"}
reveal(
    "billions",
    by_hand[64],
    guess,
    within=1.03,
    because=because,
    shown=f"{by_hand[64]:.1f}, and {by_hand[8]:.1f} as it is",
)

# %% folded=true
if READY.or_show("parameters, compared"):
    print(
        claim(
            2,
            "It has their parameters: GPT-2 {gpt2:.1f} million for {gpt2_printed} printed, PaLM 8B {palm:.2f} billion for {palm_printed:.2f}, Llama 2 7B {llama:.2f} for {llama_printed:.1f}, OLMo 2 7B {olmo:.3f} for {olmo_printed:.3f}, and Llama 2 70B {hand:.2f} counted by hand and by machine.",
            lambda gpt2, gpt2_printed, palm, palm_printed, llama, llama_printed, olmo, olmo_printed, hand: (
                round(gpt2) == gpt2_printed
                and round(palm, 2) == palm_printed
                and round(llama, 1) == llama_printed
                and round(olmo, 3) == olmo_printed
                and round(hand * 1e9) == counted["Llama 2 70B"]
            ),
            gpt2=counted["GPT-2"] / 1e6,
            gpt2_printed=PRINTED["GPT-2"],
            palm=counted["PaLM 8B"] / 1e9,
            palm_printed=PRINTED["PaLM 8B"] / 1e3,
            llama=counted["Llama 2 7B"] / 1e9,
            llama_printed=PRINTED["Llama 2 7B"] / 1e3,
            olmo=counted["OLMo 2 7B"] / 1e9,
            olmo_printed=PRINTED["OLMo 2 7B"] / 1e3,
            hand=by_hand[8],
        )
    )

# %% [markdown]
# Sources of the printed numbers: [1706.03762](https://arxiv.org/abs/1706.03762), table 3 (65 million; "about 37,000" tokens
# give 63) · [GPT-2's repository](https://github.com/openai/gpt-2), which corrects the 117 million of the paper ·
# [2204.02311](https://arxiv.org/abs/2204.02311), table 1 · [2302.13971](https://arxiv.org/abs/2302.13971), table 2 (6.7
# billion, the same shape as Llama 2 7B) · [2307.09288](https://arxiv.org/abs/2307.09288), which prints no more digits
# than the name has · the [files of OLMo 2](https://huggingface.co/allenai/OLMo-2-1124-7B), which hold 7,298,617,344
# numbers.
#
# The same count does not mean the same computation. So take a small Llama of Hugging Face with random weights, put these
# weights into our model, and compare the logits.
#
# **Predict.** Do the logits agree if RoPE has the interleaved layout (`"rope"`) instead of the two halves, yes or no?

# %%
guess = None

SIZES = {"vocab_size": 256, "num_layers": 2, "num_heads": 4, "num_kv_heads": 2}


def llama_of_hugging_face() -> nn.Module:
    """A small Llama of theirs with random weights."""
    from transformers import LlamaConfig, LlamaForCausalLM

    names = {
        "num_layers": "num_hidden_layers",
        "num_heads": "num_attention_heads",
        "num_kv_heads": "num_key_value_heads",
    }
    sizes = {names.get(name, name): size for name, size in SIZES.items()}
    torch.manual_seed(0)
    more = {"max_position_embeddings": 64, "hidden_size": 64, "intermediate_size": 172, "initializer_range": 0.2}
    return LlamaForCausalLM(LlamaConfig(**sizes, **more, rms_norm_eps=1e-5)).eval()


# %%
apart = {}  # by layout of RoPE
if READY.or_show("logits of Llama") and find_spec("transformers") is None:
    print("transformers is not installed, so nothing is compared here: pip install transformers")
elif READY:
    theirs, ids = llama_of_hugging_face(), torch.randint(256, (2, 64), generator=torch.Generator().manual_seed(0))
    for layout in ("rope_half", "rope"):
        config = LLAMA2_7B.replace(**SIZES, context_length=64, d_model=64, d_ff=172, positions=layout)
        ours = Transformer(config).eval()
        ours.load_state_dict(from_hugging_face(theirs.state_dict(), config, "llama"))
        with torch.no_grad():
            apart[layout] = (ours(ids) - theirs(ids).logits).abs().max().item()

# %% folded=true
# run this cell to compare your guess
if READY.or_show("logits of Llama, compared") and apart:
    reveal("the same logits in the other layout", "no" if apart["rope"] > 0.1 else "yes", guess,
           because={"yes": "the weights belong to a layout: a permutation lies between the two (a3)"})  # fmt: skip
    print(
        claim(
            2,
            "It computes what Hugging Face's Llama computes: with the same weights the logits differ by {same:.0e} at most, and by {other:.1f} with RoPE in the other layout.",
            lambda same, other: same < 1e-3 and other > 0.1,
            same=apart["rope_half"],
            other=apart["rope"],
        )
    )

# %% [markdown]
# `cs336lite.course.hugging_face.load_hugging_face("folder")` reads the files of real models in this way, and refuses what
# the model has no switch for.
#
# **Try it.** Give `LlamaConfig` a `rope_theta` of 500,000. What must change in our configuration, and by how much do the
# logits differ if it does not?

# %% [markdown]
# ## 3 · What does each change buy?
#
# **Is SwiGLU better than GELU? Is pre-norm better than post-norm?** A fair answer needs care, because chance is larger
# than most of these effects. Three rules (the statistics of this course):
#
# - Every *arm* is the same small model with one switch elsewhere, at equal parameters where the switch changes their number.
# - Each arm gets its own learning rate, chosen on a grid that is widened until the best rate lies inside, with a seed that
#   reports nothing. A switch that only wants another rate is not a worse switch.
# - All arms train with the same seeds, and are compared *seed by seed*. A hard seed is hard for everybody.
#
# The last rule by hand. Three seeds give one arm 1.60, 1.80 and 1.70, and another 1.73, 1.97 and 1.85. The ranges overlap,
# and means with their own error bars would show nothing. The differences are 0.13, 0.17 and 0.15: all of one sign, and
# close together.

# %%
#| export trials
"""One change at a time: small Transformers trained on the default corpus, for fair comparisons (消融实验).

An *arm* is a configuration that differs from `BASE` in one switch. `train_variant` trains one, `VARIANTS` declares all: the
learning rate of each arm is chosen with `TUNING` seeds on a grid whose neighbours are × 1.5 apart, widened until the best
one lies inside, and the arm is reported with `REPORTING` seeds. `course.compare` then compares arms seed by seed.

Built in notebooks/03b_variants.ipynb.
"""

BASE = {
    "vocab_size": 256, "context_length": 128, "d_model": 48, "num_layers": 6, "num_heads": 4, "d_ff": 128,
    "init_std": 0.144,
}  # fmt: skip
"""Pre-norm, RMSNorm, SwiGLU, RoPE, no biases, serial blocks, a pair of key and value heads for each query head.

Matrices begin with the deviation 1 / sqrt(d_model), which keeps the size of a vector."""

TRAINING = {"steps": 500, "batch": 16, "seq": 64, "warmup": 50}
"""Steps of 1,024 bytes; the rate rises for ``warmup`` steps, then falls linearly to 0."""

ARMS: dict[str, dict[str, Any]] = {
    "base": {},
    "post-norm": {"norm_placement": "post"},
    "double norm": {"norm_placement": "double"},
    "norm in the branch": {"norm_placement": "branch"},
    "norm in the branch, QK-norm": {"norm_placement": "branch", "qk_norm": "RMSNorm"},  # as in OLMo 2
    "LayerNorm": {"norm": "layernorm"},
    "ReLU": {"activation": "relu", "d_ff": 192},  # two matrices of 4 d have the parameters of three of 8/3 d
    "GELU": {"activation": "gelu", "d_ff": 192},
    "biases": {"bias": True},
    "parallel": {"parallel": True},
    "GQA, 2 of 4": {"num_kv_heads": 2, "d_ff": 144},  # what is saved in keys and values goes into the width
    "MQA, 1 of 4": {"num_kv_heads": 1, "d_ff": 152},
    "sinusoids": {"positions": "sinusoidal", "embedding_scale": 48**0.5},
    "learned positions": {"positions": "learned"},
    "ALiBi": {"positions": "alibi"},
    "no positions": {"positions": "none"},
    "no warmup": {"warmup": 1},
    "post-norm, no warmup": {"norm_placement": "post", "warmup": 1},
    "started small": {"init_std": 0.02},  # GPT-2's deviation, which suits wider models
    "norm in the branch, started small": {"norm_placement": "branch", "init_std": 0.02},
    "GELU, started small": {"activation": "gelu", "d_ff": 192, "init_std": 0.02},
}
"""What differs from `BASE` and `TRAINING`, by the arm's name."""

GRID = (6.8e-3, 1e-2, 1.5e-2)
TUNING, REPORTING = (101,), (1, 2, 3, 4, 5)


# %% folded=true
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


# %%
#| export trials
def config_of(run: Mapping[str, Any]) -> TransformerConfig:
    """The configuration of a run, which is plain JSON and has a norm by its name."""
    named = {"qk_norm": RMSNorm} if run["config"].get("qk_norm") == "RMSNorm" else {}
    return TransformerConfig(**run["config"] | named)


def train_model(run: Mapping[str, Any]) -> tuple[Transformer | None, list[float], float]:
    """(model, training loss every 50 steps, seconds) of ``run``, {arm, lr, seed, config, training}; None if it diverged."""
    config, t, seq = config_of(run), run["training"], run["training"]["seq"]
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


# %% folded=true
#| export trials
def train_variant(run: Mapping[str, Any]) -> dict[str, Any]:
    """The held-out loss that one training came to, its curve, and its seconds; ``final`` is None where it diverged."""
    model, curve, seconds = train_model(run)
    final = None if model is None else held_out_loss(model, run["training"]["seq"])
    final = final if final is not None and np.isfinite(final) else None
    return {"final": final, "curve": curve, "seconds": round(seconds, 1)}


# %% folded=true
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


# %% folded=true
#| export trials
def run_of(arm: str, lr: float, seed: int, changes: Mapping[str, Any], training: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments of one training: what does not belong to the configuration belongs to the training."""
    own = {name: value for name, value in changes.items() if name in training}
    config = BASE | {name: value for name, value in changes.items() if name not in training}
    return {"arm": arm, "lr": lr, "seed": seed, "config": config, "training": {**training, **own}}


VARIANTS = Tuned(
    "03b_variants", ARMS, lambda arm, changes, lr, seed: run_of(arm, lr, seed, changes, TRAINING), train_variant,
    grid=GRID, tuning=TUNING, reporting=REPORTING, setting={"base": BASE, "training": TRAINING},
)  # fmt: skip
"""Every arm at its own best learning rate: `cs336lite results 03b` computes the record."""


# %% [markdown]
# One training takes about half a minute, all of them hours, so they are recorded. `BOUND` was set before the runs: two
# arms whose losses differ by less than 0.02 nats a byte count as the same.

# %%
SEEDS = VARIANTS.reporting
BOUND = 0.02  # nats a byte
found = VARIANTS.recorded()
tables = baselines(*(text.numpy() for text in texts()), 256)
arms = reported(found, SEEDS)
above = [arm for arm, runs in arms.items() if mean_interval(runs.values()).mean > tables.bigram]
print(source("03b_variants.json"))
print(f"table of pairs (bigram): {tables.bigram:.3f} nats a byte")

# %% folded=true
for arm, chosen in found["chosen"].items():
    mean, grid = mean_interval(arms[arm].values()), chosen["grid"]
    where = "" if chosen["inside"] else ": the best is at the end"
    print(
        f"{arm:<42}{mean.mean:.3f} ± {mean.half:.3f}   rate {chosen['lr']:<8g} of {len(grid)}, {grid[0]:g} to {grid[-1]:g}{where}"
    )
print(f"\nnot below the table of pairs, so nothing is concluded from them: {', '.join(above) or 'none'}")

# %% [markdown]
# **Predict.** One switch at a time: how many of the arms beside the base are worse by more than 0.02 nats, and surely so?
# How many are better by more than 0.02?

# %%
guess_worse = guess_better = None

PARTNERS = {  # arms that differ from another arm than the base in one switch
    "norm in the branch, started small": "started small", "GELU, started small": "started small",
    "post-norm, no warmup": "post-norm", "norm in the branch, QK-norm": "norm in the branch",
}  # fmt: skip
pairs = [(arm, PARTNERS.get(arm, "base")) for arm in arms if arm != "base" and arm not in above]
everything = comparisons(arms, pairs, within=BOUND)  # seed by seed, with Holm's correction for all of them
by_arm = {one.a: one for one in everything}
worse = [one.a for one in everything if one.differs and one.mean > BOUND]
better = [one.a for one in everything if one.differs and one.mean < -BOUND]
same = [one.a for one in everything if one.same]
unclear = [one.a for one in everything if not one.differs and not one.same]

# %% folded=true
# run this cell to compare your guess
because = {"too small": "count the arms to the right of the grey band"}
reveal("worse", len(worse), guess_worse, because=because, within=1, shown=f"{len(worse)}: {', '.join(worse)}")
reveal("better", len(better), guess_better, within=1, shown=f"{len(better)}: {', '.join(better)}")
print(f"the same within {BOUND}: {', '.join(same) or 'none'}\ncannot be told apart: {', '.join(unclear) or 'none'}")

# %% folded=true
SMALL_CHANGES = ["LayerNorm", "ReLU", "GELU", "biases", "parallel", "GQA, 2 of 4", "MQA, 1 of 4"]
difference_figure(
    [by_arm[arm] for arm in SMALL_CHANGES], title="Norm, network, biases, order, heads", quantity="held-out loss a byte"
)

# %% folded=true
difference_figure(
    [one for one in everything if one.a not in SMALL_CHANGES],
    title="Placement, positions, warmup",
    quantity="held-out loss a byte",
)

# %% folded=true
for one in everything:
    print(one)

# %% [markdown]
# **How to read it.** A row whose interval reaches into the grey band is undecided or shown to be the same; the sentences
# above say which. "Cannot be told apart" does not mean equal: the seeds were too few. And no row is about large models.
#
# **Positions.** Schemes that work inside attention, RoPE and ALiBi, leave the stream to the tokens. Sinusoids and learned rows
# are added to it and compete with them; the arm "sinusoids" multiplies the embedding by $\sqrt d$ for this reason, as in 2017.
# Learned rows begin as noise as large as the token, and 500 steps are few to turn it into places.
#
# **Placement.** The authors of OLMo 2 and Gemma 2 put norms behind the part and were content. If they lose here, why? Remember
# section 1: a norm behind a part makes it add a vector of size 1, whatever it has learned. Our embeddings begin much
# smaller. So measure what is left of the token in a fresh model: the cosine between a token's embedding and the stream that
# reaches the end. Do it for two starts: the matrices of the base, with a deviation of $1 / \sqrt{48} = 0.144$, and of GPT-2's
# 0.02.
#
# **Predict.** What is this cosine in the fresh base, six blocks with pre-norm? And with the norm in the branch?

# %%
guess_pre = guess_branch = None  # between -1 and 1


@torch.no_grad()
def what_is_left(placement: str, init_std: float, seeds: int = 5) -> list[float]:
    """Cosine of the embedding and the stream behind the last block, mean over tokens, for some fresh models."""
    found = []
    for seed in range(seeds):
        changes = {"norm_placement": placement, "init_std": init_std}
        model = Transformer(TransformerConfig(**BASE | changes), torch.Generator().manual_seed(seed)).eval()
        ends = []
        model.decoder.blocks[-1].register_forward_hook(lambda module, inputs, output, ends=ends: ends.append(output))
        ids = texts()[1][None, 1_000 * seed : 1_000 * seed + 64]
        model(ids)
        found.append(F.cosine_similarity(model.embedding(ids), ends[0], dim=-1).mean().item())
    return found


if READY.or_show("what is left"):
    left = {(p, std): what_is_left(p, std) for p in PLACEMENTS for std in (BASE["init_std"], 0.02)}

# %% folded=true
# run this cell to compare your guess
if READY.or_show("what is left, compared"):
    pre, branch = (float(np.mean(left[placement, BASE["init_std"]])) for placement in ("pre", "branch"))
    reveal("pre-norm", pre, guess_pre, margin=0.1, shown=f"{pre:.2f}")
    because = {"too large": "twelve vectors of size 1 are added to one that is much smaller"}
    reveal("norm in the branch", branch, guess_branch, margin=0.1, because=because, shown=f"{branch:.2f}")
    fig, ax = axes(xlabel="cosine of the embedding and the last stream", ylabel="placement", size=(6.6, 2.8))
    for offset, std, color in ((-0.19, BASE["init_std"], "blue"), (0.19, 0.02, "orange")):
        runs = [left[p, std] for p in PLACEMENTS]
        places = [i + offset for i in range(len(PLACEMENTS))]
        ax.barh(places, [np.mean(r) for r in runs], height=0.36, color=COLORS[color], label=f"started with {std:g}")
        ax.plot([x for r in runs for x in r], np.repeat(places, 5), ".", color=COLORS["black"], markersize=4)
    ax.set_yticks(range(len(PLACEMENTS)), PLACEMENTS)
    ax.invert_yaxis()
    ax.set(xlim=(-0.15, 1.05), title="What is left of the token in a fresh model (dots: 5 seeds)")
    fig.legend(loc="outside lower center", ncols=2, frameon=False)
    display(finish(fig))

# %% [markdown]
# Post-norm keeps the token, because its norm lifts the whole stream to size 1 after every addition. With a norm behind each part
# little of the token reaches the end, and the model must first learn to turn its parts down. But this is not the whole
# story: double norm leaves as little as the norm in the branch, and the two get different losses. What the branch lacks is the norm
# *before* the part. Its queries and keys are made of the raw stream, which grows from block to block, and scores grow with
# its square. OLMo 2 puts the norm in the branch *together with* QK-norm, a norm on queries and keys. The arm "norm in the
# branch, QK-norm" has both, so it tests the explanation.
#
# And how much hangs on the start? Three arms begin with GPT-2's deviation of 0.02, each beside a partner with the same start.

# %% folded=true
STARTS = ["started small", "GELU", "GELU, started small", "norm in the branch", "norm in the branch, started small"]
difference_figure(
    [by_arm[arm] for arm in STARTS if arm in by_arm],
    title="Two switches from two starts",
    quantity="held-out loss a byte",
)

# %% [markdown]
# A change belongs to its start. GPT-2's deviation of 0.02 was chosen for vectors of 768 numbers and more. In a model of width
# 48 it makes a matrix shrink every vector seven times, and what a part gives is so small that even the $\epsilon$ of the norm
# behind it counts. The figure shows what that costs the base, and what becomes of two switches. GELU stays where it was, within
# chance. The norm in the branch loses about half of what it loses from the larger start. Measured from the small start alone, it would
# have looked half as bad, in a model that nobody should train. Every ablation that turns one switch has this weakness:
# everything else was chosen for one of the two arms.
#
# **Try it.** Which other arm could QK-norm help, and which not? Write your guess, then train that arm with `"qk_norm":
# "RMSNorm"` beside its switch, at its rate and with seed 1.

# %% folded=true
claim(
    3,
    "The norm in the branch needs QK-norm beside it: without it the loss is {without:.2f} nats above the base's, and QK-norm takes {gain:.2f} of that away.",
    lambda without, gain: without > 5 * BOUND and gain > without / 3,
    without=by_arm["norm in the branch"].mean,
    gain=-by_arm["norm in the branch, QK-norm"].mean,
)

# %% folded=true
claim(
    3,
    "A change belongs to its start: matrices that begin at 0.02 cost the base {base:.2f} nats, and there the norm in the branch loses {small:.2f} instead of {branch:.2f}.",
    lambda base, small, branch: base > BOUND and abs(small - branch) > 2 * BOUND,
    base=by_arm["started small"].mean,
    small=by_arm["norm in the branch, started small"].mean,
    branch=by_arm["norm in the branch"].mean,
)

# %% folded=true
placements = {"pre": "base", "post": "post-norm", "double": "double norm", "branch": "norm in the branch"}
means = {name: mean_interval(arms[arm].values()).mean for name, arm in placements.items()}
low, high = min(means, key=means.get), max(means, key=means.get)
largest = max((by_arm[arm] for arm in SMALL_CHANGES), key=lambda one: abs(one.mean))
claim(
    3,
    "Where the norm stands matters more than which norm, network, order or number of heads: from {low} to {high} the placements span {span:.2f} nats, and the largest change by one of those is {other:+.3f} ({name}).",
    lambda low, high, span, other, name: low != high and span > 5 * BOUND and span > abs(other) and name,
    low=low,
    high=high,
    span=means[high] - means[low],
    other=largest.mean,
    name=largest.a,
)

# %% folded=true
claim(
    3,
    "Of {n} single changes {worse} raise the loss and {better} lower it by more than 0.02 nats, and {same} are shown to be the same within it.",
    lambda n, worse, better, same: 0 < worse < n and better < n and same < n,
    n=len(everything),
    worse=len(worse),
    better=len(better),
    same=len(same),
)

# %% folded=true
claim(
    3,
    "Positions told inside attention do best here: without any the loss is {none:.2f} nats above RoPE's, ALiBi is {alibi:+.2f} away, and sinusoids are {waves:+.2f} nats.",
    lambda none, alibi, waves: none > 10 * BOUND and abs(alibi) < none / 2 and waves > BOUND,
    none=by_arm["no positions"].mean,
    alibi=by_arm["ALiBi"].mean,
    waves=by_arm["sinusoids"].mean,
)

# %% [markdown]
# A piece of the record, trained again here: the base arm with its first seed. What another machine gets lies within the
# spread over seeds.

# %% tags=["timing"]
if READY.or_show("trained again"):
    base_run = run_of("base", found["chosen"]["base"]["lr"], SEEDS[0], {}, TRAINING)
    trained, curve, _ = train_model(base_run)
    again, bound = held_out_loss(trained, 64), rerun(arms["base"].values())
    print(f"recorded {arms['base'][SEEDS[0]]:.3f}, here {again:.3f}, bound {bound.low:.3f} to {bound.high:.3f}")
    assert bound.holds(again), YOURS
    fig, ax = axes(xlabel="step", ylabel="loss (nats a byte)", size=(6.4, 2.8), title="The base arm, trained here")
    ax.plot(
        range(0, TRAINING["steps"], 50),
        curve,
        "-o",
        color=COLORS["sky_blue"],
        label="training, one batch of 1,024 bytes",
    )
    ax.plot(TRAINING["steps"], again, "D", color=COLORS["blue"], label="held out")
    ax.axhline(tables.bigram, color=COLORS["vermillion"], linestyle="-.", label="bigram counts, held out")
    ax.legend(fontsize=9)
    display(finish(fig))

# %% [markdown]
# **Try it.** Add an arm of your own to `ARMS`, say ReGLU at the width of SwiGLU, train it with
# `train_model(run_of("ReGLU", 0.0068, 1, {"activation": "reglu"}, TRAINING))`, and compare with seed 1 of the base. Why
# does one such run show next to nothing?
#
# ## 4 · What does each change cost?
#
# **A gain of 0.02 nats may cost half the speed.** So quality is one half of the answer. Below are, for each arm, the FLOPs of a
# forward pass (counted while it runs), the bytes that a cache holds for each token, and the time of a training step. Arms
# are timed in turn, and shown as ratios to the base: seconds differ from machine to machine, ratios less.
#
# By hand: six layers, four heads of 12 numbers, a key and a value, 4 bytes each make $6 \cdot 4 \cdot 12 \cdot 2 \cdot 4 =
# 2{,}304$ bytes for a token.
#
# **Predict.** With one head of keys and values for all four query heads, how many bytes are that? And is a training step
# of the base faster with LayerNorm, with a parallel block, with post-norm, or with none of these by more than a tenth?

# %% tags=["timing"]
guess_bytes = guess_fast = None  # a number; "LayerNorm", "parallel", "post-norm" or "none"

COSTED = [arm for arm, changes in ARMS.items() if not {"warmup", "init_std"} & changes.keys()]
costs: dict[str, dict[str, float]] = {name: {} for name in ("FLOPs", "cache", "time")}


def step_of(model: Transformer, batch: torch.Tensor) -> Callable[[], None]:
    return lambda: model.loss(batch[:, :-1], batch[:, 1:]).backward()


if READY.or_show("costs"):
    batch = texts()[0][: 16 * 65].view(16, 65)
    models = {arm: Transformer(config_of(run_of(arm, 0.01, 1, ARMS[arm], TRAINING))) for arm in COSTED}
    for arm, model in models.items():
        with FlopCounterMode(display=False) as counter, torch.no_grad():
            model(batch[:, :-1])
        cache = model.new_cache(64)
        with torch.no_grad():
            model(batch[:1, :64], cache=cache)
        costs["FLOPs"][arm], costs["cache"][arm] = counter.get_total_flops(), cache.bytes / 64
    costs["time"] = dict(zip(models, best_seconds(*(step_of(model, batch) for model in models.values()), least=0.2)))

# %% folded=true tags=["timing"]
# run this cell to compare your guess
if READY.or_show("costs, compared"):
    ratio = {name: {arm: value / found["base"] for arm, value in found.items()} for name, found in costs.items()}
    reveal(
        "bytes for a token",
        costs["cache"]["MQA, 1 of 4"],
        guess_bytes,
        within=1,
        because={2304: "that is with four heads"},
    )
    fastest = min(("LayerNorm", "parallel", "post-norm"), key=ratio["time"].get)
    fastest = fastest if ratio["time"][fastest] < 0.9 else "none"
    reveal("faster by a tenth", fastest, guess_fast)
    fig, ax = axes(
        xlabel="ratio to the base", ylabel="arm", size=(7, 4.4), title="Price of one switch, at equal parameters"
    )
    looks = (("o", "blue", 12, "none"), ("s", "orange", 8, "none"), ("D", "green", 5, "full"))
    for (name, values), (marker, color, size, fill) in zip(ratio.items(), looks):
        places = range(len(values))
        ax.plot(list(values.values()), places, marker, color=COLORS[color], markersize=size, fillstyle=fill, label=name)
    ax.set_yticks(range(len(COSTED)), COSTED)
    ax.invert_yaxis()
    ax.axvline(1, color="#888888", linewidth=1)
    fig.legend(loc="outside lower center", ncols=3, frameon=False)
    ax.legend().remove()
    display(finish(fig))

# %% folded=true tags=["timing"]
if READY.or_show("costs, in words"):
    of_gpt2 = GPT2.shape
    biases = sum(weight.stored * weight.size for weight in weights(of_gpt2) if weight.name.endswith("bias"))
    print(
        claim(
            4,
            "Shared heads buy memory: one head of keys and values for four takes {mqa:.0%} of the base's cache. SwiGLU costs no more work than GELU at equal parameters ({gelu:.3f} of its FLOPs), and biases are {biases:.2f} % of GPT-2's parameters.",
            lambda mqa, gelu, biases: mqa == 0.25 and abs(gelu - 1) < 0.01 and biases < 0.1,
            mqa=ratio["cache"]["MQA, 1 of 4"],
            gelu=ratio["FLOPs"]["GELU"],
            biases=100 * biases / parameters(of_gpt2),
        )
    )

# %% [markdown]
# FLOPs differ little, because the parameters are equal and nearly all FLOPs are products with them. Time differs more:
# at this size a step is many small operations, and each norm, mask or bias is one more. On a GPU with large matrices these
# small operations can be fused and weigh less. PaLM's authors report about 15 % faster training from parallel
# blocks at large scale, with a small loss of quality at 8B and none at 62B (2204.02311, section 2); on two cores that cannot be
# seen. The cache is different: its bytes are a matter of arithmetic at every size, and they are why nearly every large
# model of today shares heads.
#
# ## 5 · What is wrong with post-norm?
#
# **Why did the norm move?** The usual answer is that post-norm's gradients vanish. Take one part. The gradient of the
# new stream $x'$ with respect to $x$ is
#
# $$\textbf{pre: } I + J_f J_N \qquad\qquad \textbf{post: } J_N\,(I + J_f)$$
#
# With pre-norm the $I$ stands free: along the additions alone, a gradient arrives whole. With post-norm every part
# multiplies it with $J_N$, which divides by the size that the addition has just given the stream. By hand: the stream and
# what is added are independent and of size 1, so the sum has size $\sqrt 2$, and one block with two parts divides by 2. After
# 24 blocks that is $2^{24}$, 16 million, at worst.
#
# **Predict.** In a fresh stack of 24 post-norm blocks, by which factor is the gradient smaller at the first block's input
# than at the last's, if it can only travel along the additions? And by which factor in truth, where it takes all ways?


# %% folded=true
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
def gradients(
    placement: str, seed: int, num_layers: int = 24, *, detached: bool = False
) -> tuple[list[float], list[float]]:
    """Norms of the loss's gradients by block: at its input, and of its last matrix; ``detached``: along the additions alone."""
    model, text = deep(placement, num_layers, seed)
    streams = []
    for block in model.decoder.blocks:
        for part in (block.attention, block.feed_forward) if detached else ():
            part.register_forward_hook(lambda module, inputs, output: output.detach())
        block.register_forward_pre_hook(lambda module, inputs: streams.append(inputs[0]))
    loss = model.loss(text[:, :-1], text[:, 1:])
    wanted = streams if detached else [*streams, *(block.feed_forward.down.weight for block in model.decoder.blocks)]
    norms = [gradient.norm().item() for gradient in torch.autograd.grad(loss, wanted)]
    return norms[:num_layers], norms[num_layers:]


# %%
guess_additions = guess_true = None

DEPTHS = (6, 12, 24)
if READY.or_show("gradients"):
    seeds = range(5)
    additions = {p: np.array([gradients(p, s, detached=True)[0] for s in seeds]) for p in PLACEMENTS}
    both = {(p, n): [gradients(p, s, n) for s in seeds] for p in PLACEMENTS for n in DEPTHS}
    true = {p: np.array([streams for streams, _ in both[p, 24]]) for p in PLACEMENTS}
    of_matrices = {key: np.array([matrices for _, matrices in runs]) for key, runs in both.items()}
    lost = {
        name: np.exp(np.log(x["post"][:, -1] / x["post"][:, 0]).mean())
        for name, x in (("additions", additions), ("true", true))
    }

# %% folded=true
# run this cell to compare your guess
if READY.or_show("gradients, compared"):
    because = {2**24: "what is added is smaller than the stream at first, so that a norm divides by less"}
    reveal(
        "along the additions",
        lost["additions"],
        guess_additions,
        within=3,
        because=because,
        shown=f"{lost['additions']:,.0f} times smaller",
    )
    because = {
        "too large": "attention and feed-forward network carry gradients, too, and bring what the additions lose"
    }
    reveal(
        "in truth",
        lost["true"],
        guess_true,
        within=2,
        because=because,
        shown=f"{lost['true']:.2f} times smaller, so it is larger at the first block",
    )

# %% folded=true
if READY.or_show("gradients by depth"):
    fig, panels = axes(1, 2, xlabel="block", size=(8.6, 3.5))
    for ax, (title, found_here) in zip(panels, (("along the additions alone", additions), ("true gradient", true))):
        for placement, line, color in zip(PLACEMENTS, ("--", "-", "-.", ":"), COLORS.values()):
            runs = found_here[placement]
            ax.plot(range(1, 25), np.exp(np.log(runs).mean(0)), line, color=color, linewidth=2, label=placement)
            ax.fill_between(range(1, 25), runs.min(0), runs.max(0), color=color, alpha=0.15, linewidth=0)
        ax.set(yscale="log", ylabel="norm of the gradient at its input", title=title)
    fig.legend(*panels[0].get_legend_handles_labels(), loc="outside lower center", ncols=4, frameon=False)
    display(finish(fig))

# %% folded=true
if READY.or_show("vanishing"):
    print(
        claim(
            5,
            "Post-norm's gradient does not vanish: over 24 blocks it shrinks {additions:,.0f} times along the additions alone, which nobody trains; the true one is {larger:.1f} times as large at the first block as at the last.",
            lambda additions, larger: additions > 1_000 and larger > 0.3,
            additions=lost["additions"],
            larger=1 / lost["true"],
        )
    )

# %% [markdown]
# Lines are geometric means of five seeds, bands their range. On the left is the picture that is often shown, and nobody
# trains that graph. On the right is the gradient that trains. Post-norm's is nearly flat: what the additions lose, the ways through
# attention and feed-forward network bring. Pre-norm, double norm and the norm in the branch have *larger* gradients at the
# first blocks than at the last.
#
# So what is the trouble? Xiong et al. ([2002.04745](https://arxiv.org/abs/2002.04745)) look at the *last* block before the
# first step. Near the output, the gradient of pre-norm's matrices shrinks with the depth like $1/\sqrt L$, because the last norm divides
# by a stream to which $L$ blocks have added. Post-norm's stream is brought back to size 1 each time, so its gradient does not
# shrink.
#
# **Predict.** From 6 to 24 blocks, by which factor does the gradient of the last block's matrix shrink with pre-norm?

# %%
guess = None  # times

if READY.or_show("last block"):
    last = {p: np.array([np.exp(np.log(of_matrices[p, n][:, -1]).mean()) for n in DEPTHS]) for p in PLACEMENTS}
    shrunk = {p: values[0] / values[-1] for p, values in last.items()}

# %% folded=true
# run this cell to compare your guess
if READY.or_show("last block, compared"):
    because = {4: "the root of it: sizes of independent parts add up like a root", 1: "that is post-norm"}
    reveal(
        "times",
        shrunk["pre"],
        guess,
        within=1.25,
        because=because,
        shown=f"{shrunk['pre']:.2f}, and {shrunk['post']:.2f} with post-norm",
    )
    fig, ax = axes(
        xlabel="blocks",
        ylabel="gradient of the last down matrix",
        size=(6.4, 3.3),
        title="Before the first step, near the output",
    )
    for placement, line, color in zip(PLACEMENTS, ("--", "-", "-.", ":"), COLORS.values()):
        ax.plot(DEPTHS, last[placement], f"o{line}", color=color, linewidth=2, label=placement)
        spread = [of_matrices[placement, n][:, -1] for n in DEPTHS]
        ax.fill_between(
            DEPTHS, [s.min() for s in spread], [s.max() for s in spread], color=color, alpha=0.15, linewidth=0
        )
    ax.plot(
        DEPTHS,
        last["pre"][0] * (6 / np.array(DEPTHS)) ** 0.5,
        color="#888888",
        linewidth=1,
        label="1 / root of the depth",
    )
    ax.set(xscale="log", yscale="log")
    ax.set_xticks(DEPTHS, [str(n) for n in DEPTHS])
    ax.minorticks_off()
    ax.legend(fontsize=9, loc="upper left", bbox_to_anchor=(1, 1))
    display(finish(fig))

# %% [markdown]
# A deep post-norm model begins with steps near its output that are too large for what the rest has learned. The remedy is a
# learning rate that begins small: *warmup* (预热). The record has both placements without it. How the figure below should look
# at six blocks the theory does not say.

# %% folded=true
warm = [by_arm["no warmup"], by_arm["post-norm, no warmup"]]
difference_figure(warm, title="What leaving out the warmup costs", quantity="held-out loss a byte")

# %% folded=true
if READY.or_show("trouble"):
    print(
        claim(
            5,
            "Its trouble is near the output: from 6 to 24 blocks the gradient of the last block's matrix shrinks {pre:.1f} times with pre-norm and {post:.1f} times with post-norm.",
            lambda pre, post: 1.3 < pre < 2.6 and 0.75 < post < 1.3,
            pre=shrunk["pre"],
            post=shrunk["post"],
        )
    )
claim(
    5,
    "Leaving out the warmup helps neither: pre-norm changes by {base:+.3f} nats and post-norm by {late:+.3f}.",
    lambda base, late: min(base, late) > -BOUND,
    base=warm[0].mean,
    late=warm[1].mean,
)

# %% [markdown]
# Each arm has a learning rate of its own here, so part of what warmup does can be done by a smaller rate, and six blocks
# are few: the theory's trouble grows with the depth. "Large models prefer post-norm" is the reverse of what happened. Pre-norm
# buys tolerance, so that deep models can be trained at once. It is not always the lower loss.
#
# %% [markdown]
# ## 6 · Beyond the training length (外推)
#
# **A model has read 64 bytes at a time. What does it do with 512?** Learned rows end: there is no row 65. Sinusoids and
# RoPE have values for every position, but training has never met them. ALiBi punishes every score by the distance, and a
# larger distance is more of the same.
#
# RoPE has remedies. *Position interpolation* squeezes all positions into the old range and trains a little
# ([2306.15595](https://arxiv.org/abs/2306.15595)). *NTK-aware scaling* needs no training: it makes $\theta$ larger, so that the slowest
# pair turns no further over 512 positions than it did over 64, while the fastest, which tells neighbours
# apart, turns as before. *YaRN* treats each pair by its speed ([2309.00071](https://arxiv.org/abs/2309.00071)).
#
# By hand: a head of $d$ numbers has pairs $i = 0, \dots, d/2 - 1$ with speeds $\theta^{-2i/d}$. The last one has
# $\theta^{-(d-2)/d}$. With $\theta' = \theta\, s^{d/(d-2)}$ it is $\theta^{-(d-2)/d} / s$: just $s$ times slower. For $d = 4$
# and $s = 8$: $\theta$ grows $8^2 = 64$ times.


# %% exercise="slowed_theta" minutes=8 difficulty=2
def slowed_theta(theta: float, d_head: int, factor: float) -> float:
    """The theta with which the slowest pair of a head turns ``factor`` times more slowly, and the fastest as before."""
    ### BEGIN SOLUTION
    return theta * factor ** (d_head / (d_head - 2))
    ### END SOLUTION


# %%
print(f"head of 12 numbers, 8 times as long: theta 10,000 becomes {slowed_theta(10_000, 12, 8):,.0f}")

# %% [markdown]
# Four ways to tell positions, and none, at the rates chosen above.
#
# **Predict.** By how many nats does RoPE's loss rise from the bytes 32 to 64 of a text to the bytes 64 to 128, just behind
# the training length? And by how many with NTK-aware scaling?


# %%
guess_rope = guess_ntk = None


def read_all() -> dict:
    """{"rows": [...]}: what each arm and seed gets at each distance from the start."""
    rates = {arm: found["chosen"][arm]["lr"] for arm in FURTHER}
    runs = [run_of(arm, lr, seed, ARMS[arm], TRAINING) for arm, lr in rates.items() for seed in SEEDS]
    return {
        "rows": [
            {n: row[n] for n in ("arm", "lr", "seed", "bins", "ntk")} for row in kept("03b_length", runs, read_further)
        ]
    }


asked = {"training": TRAINING, "arms": {arm: ARMS[arm] for arm in FURTHER}, "bins": BINS, "seeds": SEEDS}
further = recorded("03b_length.json", read_all, asked)
curves = {
    arm: np.array([row["bins"] for row in further["rows"] if row["arm"] == arm and row["bins"]]) for arm in FURTHER
}
curves["RoPE, NTK-aware"] = np.array([row["ntk"] for row in further["rows"] if row["ntk"]])
curves["RoPE"] = curves.pop("base")
near, far = (
    {arm: mean_interval(runs[:, place] - runs[:, 1]) for arm, runs in curves.items() if len(runs)} for place in (2, -1)
)

# %% folded=true
# run this cell to compare your guess
because = {"too small": "training has seen no distance above 63: what the pairs do beyond it was never learned"}
reveal(
    "RoPE",
    near["RoPE"].mean,
    guess_rope,
    because=because,
    within=1.5,
    margin=0.1,
    shown=f"{near['RoPE'].mean:+.2f} nats",
)
reveal(
    "NTK-aware",
    near["RoPE, NTK-aware"].mean,
    guess_ntk,
    within=1.5,
    margin=0.1,
    shown=f"{near['RoPE, NTK-aware'].mean:+.2f} nats",
)

# %% folded=true
fig, ax = axes(xlabel="position (bytes, logarithmic)", ylabel="loss (nats a byte)", size=(7.4, 3.8))
middles = [(a + b) / 2 for a, b in BINS]
for (arm, runs), style, color in zip(curves.items(), ("-", "--", ":", "-.", "--", "-"), list(COLORS.values())[1:]):
    if len(runs):  # learned rows know no such position
        spread = [mean_interval(column) for column in runs.T]
        ax.plot(middles, [s.mean for s in spread], f"o{style}", color=color, markersize=4, linewidth=2, label=arm)
        ax.fill_between(
            middles, [s.low for s in spread], [s.high for s in spread], color=color, alpha=0.15, linewidth=0
        )
ax.axvline(64, color="#888888", linewidth=1)
ax.set(xscale="log", title=f"Trained on 64 bytes, reading 512: mean and 95 % interval, n = {len(SEEDS)} seeds")
ax.set_xticks([16, 32, 64, 128, 256, 512], labels=["16", "32", "64", "128", "256", "512"])
ax.minorticks_off()
ax.legend(fontsize=9, loc="upper left", bbox_to_anchor=(1, 1))
finish(fig)

# %% folded=true
claim(
    6,
    "Just behind the training length RoPE's loss rises by {rope:.2f} nats (± {half:.2f}, {n} seeds), ALiBi's changes by {alibi:+.2f}, learned positions know no such place. NTK-aware scaling leaves RoPE a rise of {ntk:.2f} there, and of {ntk_far:.2f} beyond 256 bytes, where RoPE's is {rope_far:.2f}.",
    lambda rope, half, n, alibi, ntk, ntk_far, rope_far: (
        n >= 5 and rope - half > 0.2 and alibi < rope / 2 and ntk < rope / 2 and not len(curves["learned positions"])
    ),
    rope=near["RoPE"].mean,
    half=near["RoPE"].half,
    n=len(SEEDS),
    alibi=near["ALiBi"].mean,
    ntk=near["RoPE, NTK-aware"].mean,
    ntk_far=far["RoPE, NTK-aware"].mean,
    rope_far=far["RoPE"].mean,
)

# %% [markdown]
# Beyond the grey line the schemes part. RoPE's angles are exact at any position, but its parts have only seen distances below 64,
# and what they make of larger ones is worse than a table of letters ([2108.12409](https://arxiv.org/abs/2108.12409) saw
# the same). That sinusoids extrapolate was a hypothesis of the paper of 2017, and here they do not. ALiBi goes on: a larger
# distance is more of the same to it. But its penalty lets it ignore far bytes, so a flat line does not show that they are used.
# NTK-aware scaling repairs RoPE up to about twice the length without a step of training, and takes its price inside the
# old length, where every angle is a little wrong now. At eight times the length it comes to nothing, though its slowest pair turns no
# further than before: a head of this model has six pairs, and those in the middle turn too far. A little training with the
# new angles, as position interpolation and YaRN have it, is what long contexts are made with. The models are tiny, so the
# sizes of these effects, and the order of the schemes inside the training length, say little about large ones.
#
# **Try it.** Set `s` to 2 in `read_further`. Up to which position does the loss stay low now?
#
# %% [markdown]
# ## 7 · Does the loss show in the writing? (生成)
#
# **What is 0.3 nats worth?** One number for all bytes says little to a person. So let models write, and count: of the
# words that they write, how many are words of the training text? We take the base arm after a quarter of its steps and
# after all of them. The loop is the one of lecture 03 without a cache: ask for the next byte, draw it, append it.

# %%
WORDS = set(re.findall(r"[A-Za-z]{2,}", bytes(texts()[0].tolist()).decode(errors="replace")))


@torch.no_grad()
def write(model: Transformer, prompt: str, length: int, rows: int = 16, temperature: float = 0.7) -> list[str]:
    """So many texts that begin with the prompt, each byte drawn from softmax(logits / temperature)."""
    draw, ids = torch.Generator().manual_seed(0), torch.tensor([list(prompt.encode())]).repeat(rows, 1)
    for _ in range(length):
        logits = model(ids[:, -64:])[:, -1]  # no further back than it was trained on
        ids = torch.cat((ids, torch.multinomial((logits / temperature).softmax(-1), 1, generator=draw)), dim=1)
    texts_written = (bytes(row.tolist()).decode(errors="replace") for row in ids)
    return ["".join(c if c.isprintable() or c == "\n" else "\ufffd" for c in text) for text in texts_written]


def share_of_words(writings: list[str]) -> float:
    """Of the whole words of two letters and more behind the first 16, the share that the training text knows."""
    written = [word for text in writings for word in re.findall(r"[A-Za-z]{2,}(?=[^A-Za-z])", text[16:])]
    return sum(word in WORDS for word in written) / len(written)


# %% [markdown]
# **Predict.** What percentage of its words are words after a quarter of the training? And after all of it?

# %% tags=["timing"]
guess_quarter = guess_all = None

if READY.or_show("writing"):
    short = base_run | {"training": TRAINING | {"steps": TRAINING["steps"] // 4}}
    writers = {"a quarter": train_model(short)[0], "all": trained}
    known, losses = {}, {}
    for name, model in writers.items():
        written = write(model, "Once upon a time", 160)
        known[name], losses[name] = 100 * share_of_words(written), held_out_loss(model, 64)
        print(f"after {name} of the steps, {losses[name]:.2f} nats:\n{written[0]}\n")

# %% folded=true tags=["timing"]
# run this cell to compare your guess
if READY.or_show("writing, compared"):
    because = {"too large": "spelling is learned late: a word needs all of its letters right"}
    reveal(
        "after a quarter",
        known["a quarter"],
        guess_quarter,
        within=1.3,
        because=because,
        shown=f"{known['a quarter']:.0f} %",
    )
    reveal("after all", known["all"], guess_all, within=1.15, shown=f"{known['all']:.0f} %")
    print(
        claim(
            7,
            "A lower loss shows in the writing: at {before:.2f} nats a byte {some:.0f} % of the words are words of the training text, at {after:.2f} nats {more:.0f} %.",
            lambda before, after, some, more: before > after and more > some + 5,
            before=losses["a quarter"],
            after=losses["all"],
            some=known["a quarter"],
            more=known["all"],
        )
    )

# %% folded=true tags=["timing"]
if READY.or_show("writing, drawn"):
    fig, ax = axes(xlabel="held-out loss (nats a byte)", ylabel="known words (percent)", size=(5.6, 2.9))
    ax.plot(list(losses.values()), list(known.values()), "-o", color=COLORS["blue"])
    for name in losses:
        ax.annotate(f" {name} of the steps", (losses[name], known[name] + 4), va="bottom")
    low, high = min(losses.values()), max(losses.values())
    ax.set(xlim=(low - 0.1, high + 0.8 * (high - low)), ylim=(0, 105), title="From letters to words")
    display(finish(fig))

# %% [markdown]
# Words of the training text are not sense, and a word that is not in it may still be a good one. But a step of a few tenths of
# a nat is what lies between syllables and sentences. Differences of a hundredth, as between many arms of section 3, nobody would
# see in the writing.
#
# Models write in other ways, too: always the likeliest byte, or from the few likeliest (*top-k*, *top-p*), with a cache,
# many prompts at once. [Appendix 03x](appendix/03x_writing.ipynb) builds `generate`, which does all of it.
#
# ## Answers
#
# Every sentence below was tested on the numbers in it while this notebook ran; a false one would have stopped its cell.

# %% tags=["timing"]
claims()

# %% [markdown]
# ## Often said, and what is true
#
# | often said | what is true |
# |---|---|
# | Large models prefer post-norm | 2017 is post-norm; most language models since GPT-2 are pre-norm or double norm (2002.04745). |
# | Nearly all language models are pre-norm | GLM-130B is post-norm with DeepNorm (2210.02414), OPT-350M post-norm, OLMo 2 has norms in the branch (2501.00656). |
# | Post-norm's gradients vanish | Not in a fresh stack of 24 blocks; they are large near the output: section 5. |
# | Pre-norm needs no warmup, ever | It tolerates its absence, and is trained with it. |
# | RMSNorm is 40 % faster | 7 % to 64 % in the paper, one row near 40 (1910.07467); of a whole step, see section 4. |
# | A parallel block runs norm and attention side by side | Attention and feed-forward network (GPT-J, PaLM). |
# | Relative attention began with Transformer-XL | Shaw et al. 2018 (1803.02155). |
# | RoPE handles any length | It gets worse beyond the training length unless it is adapted (2108.12409, 2306.15595): section 6. |
# | GPT-2 small has 117 million parameters | 124 million; its repository corrects the paper. |
# | ChatGLM2 uses GELU and one KV head | SwiGLU, RMSNorm, RoPE on half of the head, 2 KV groups, biases on queries, keys and values. |
# | T5 uses d_ff = 64 d_model | The 11B; v1.1 has about 2.5. |
#
# ## What you built
#
# `cs336lite.model`: `TransformerConfig`, `Block`, `Transformer` · `cs336lite.trials`: `ARMS`, `sweep`, `train_model`.
#
# ## Limits
#
# - The arms have 0.2 million parameters and have read 0.5 million bytes. What is the same here may differ at 7 billion, and the
#   other way round: norms and positions matter more in deep models and long texts.
# - One kind of initialisation and one embedding size. Section 3 shows how much hangs on that.
# - Gradients are those of fresh models with Xavier's initialisation; training changes them.
# - That ALiBi's loss does not rise does not show that it uses far tokens: its penalty lets it forget them.
#
# ## Exercises for longer evenings
#
# - Give each placement its own best embedding scale, and compare again. Which differences of section 3 remain?
# - Train the base on 128 bytes at the same number of bytes in all. Does RoPE's rise begin later?
# - Write position interpolation: divide `token_positions` by 8, train 50 more steps on 512 bytes, and compare with NTK.
#
# ## Sources
#
# Transformer (arXiv 1706.03762) · LayerNorm (1607.06450) · RMSNorm (1910.07467) · pre-norm (2002.04745) · DeepNorm
# (2203.00555) · GLU (2002.05202) · GELU (1606.08415) · Shaw (1803.02155) · RoPE (2104.09864) · ALiBi (2108.12409) · position
# interpolation (2306.15595) · YaRN (2309.00071) · MQA (1911.02150) · GQA (2305.13245) · PaLM (2204.02311) · Llama
# (2302.13971, 2307.09288) · OLMo 2 (2501.00656) · GLM-130B (2210.02414).
#
# ## Next
#
# Assignment **a4_lion**: an optimizer in a few lines. Then lecture **04 · hyperparameters**: the numbers in the
# configuration, and the training engine that finds them.

# %%
finished("03b_variants")
