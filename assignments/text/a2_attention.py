# ---
# jupyter:
#   kernelspec: {display_name: Python 3, language: python, name: python3}
#   cs336lite: {module: attention, minutes: 300, prerequisites: [02_tensors], device: CPU}
# ---

# %% [markdown]
# # Assignment 2 · Attention (注意力)
#
# **about 5 hours of work · prerequisites: lecture 02 · device: CPU · 100 points**
#
# Attention is the one place in a Transformer where tokens look at each other. Every token asks a question (a *query*,
# 查询), every token offers a label (a *key*, 键) and a content (a *value*, 值); each query takes the mean of the values,
# weighted by how well their keys answer it. You will write it from `exp` upward: the softmax, the weighted mean, and
# the module with many heads that later lectures put into every model they build.
#
# | exercise | what you write | points |
# |---|---|---:|
# | `softmax` | weights out of scores, without overflow | 15 |
# | `attention` | scaled dot-product attention | 25 |
# | `grouped` | heads that share keys and values (MQA, GQA) | 10 |
# | `masks` | who may attend to whom | 10 |
# | `cross` | attention to another sequence | 5 |
# | `positions` | rotary positions and a cache of keys and values | 10 |
# | `multi_head` | the module that brings all of it together | 25 |
#
# ## How to work
#
# - Replace each `raise NotImplementedError` with your code. Keep names and arguments as they are; add cells and helper
#   functions wherever you like.
# - `check("a2_attention", "softmax")` runs the public checks of an exercise, `hint("a2_attention", "softmax")` gives
#   one hint more each time you ask, and `status()` shows where you stand. Hidden checks follow when you hand in: they
#   judge the same things on other inputs, and only through `softmax`, `scaled_dot_product_attention`, `padding_mask` and
#   `MultiHeadAttention`. About half of the points are for ordinary use, everything together and with your own parts; the
#   other half are for one thing at a time, and say what is wrong.
# - Exercises 3 to 6 ask for a small function each, and for what `forward` of the module, exercise 7, does with it. So
#   their checks pass completely only when the module does its part, and their grade cells stand after it.
# - Write the softmax and the attention yourself, out of `exp`, `sum`, `amax`, `matmul`, `masked_fill`, `where`,
#   `einsum` and the like. Where your code is graded the library's own raise an error: `softmax` and `log_softmax` in
#   every form, `scaled_dot_product_attention`, `nn.MultiheadAttention`; so does `cross_entropy`, which holds a softmax.
#   `nn.Linear` and `einops` are yours to use.
# - A cell whose first line is `#| export` becomes a part of the module `cs336lite.attention`: keep that line. Functions,
#   classes and imports that such a cell needs go along from whatever cell they stand in.
# - The last cell writes this module into your copy of the package and runs the public checks on it. It reads the file of
#   this notebook, so save first (Ctrl+S, on a Mac Cmd+S).
#
# ## What differs from CS336
#
# For those who bring their solution of [CS336](https://stanford-cs336.github.io/)'s first assignment along:
#
# | | there | here |
# |---|---|---|
# | names of the projections | yours to choose | `q_proj`, `k_proj`, `v_proj`, `o_proj`, four of them |
# | a row of scores, or a query, with nothing to choose | left open | zeros, and no NaN in the gradients |
# | leading dimensions of attention | at least a batch | any number, also none |
# | rotary positions | made by the module | given to it: `rope(x, token_positions)` |
# | causal mask | always | unless `causal=False` or a `context` is given; by positions, whatever their order |
# | new in the module | | shared heads, a mask, a context, a cache, `qk_norm`, `attend` as a slot |
# | sizes that do not fit | left open | ValueError |
#
# Above each exercise stand its difficulty, how much the rest depends on it, and the minutes it takes most people.
#
# Sources: Vaswani et al. 2017, [Attention Is All You Need](https://arxiv.org/abs/1706.03762); Shazeer 2019, [Fast
# Transformer Decoding: One Write-Head is All You Need](https://arxiv.org/abs/1911.02150) (multi-query attention, MQA);
# Ainslie et al. 2023, [GQA: Training Generalized Multi-Query Transformer Models from Multi-Head
# Checkpoints](https://arxiv.org/abs/2305.13245) (grouped-query attention, GQA).

# %% locked="setup"
from cs336lite.course import check, hint, status

# %%
#| export
"""Attention (注意力): softmax, scaled dot-product attention, and the multi-head module with every slot a model needs.

Vaswani et al. 2017, "Attention Is All You Need", section 3.2; heads that share keys and values as in Shazeer 2019,
"Fast Transformer Decoding" (MQA), and Ainslie et al. 2023, "GQA".

Shapes: ``batch``, ``seq`` tokens, ``q`` queries, ``k`` keys, ``d`` the size of a query and of a key, ``dv`` of a value,
``head`` (num_heads), ``kv`` (num_kv_heads), ``d_head``, ``d_model``. A mask is boolean, True = may attend.

Built in assignments/source/a2_attention/a2_attention.ipynb.
"""

# %% [markdown]
# ## Imports
#
# `Float[Tensor, "... q d"]` is a comment that can be checked: a tensor of any floating-point type whose last dimensions
# we call `q` and `d`, with any dimensions before them. The letters mean the same size wherever they stand in one
# signature. `shares_heads` is for those who want to copy less, and no check asks for it: whether a function in the slot
# `attend` (exercise 7) says that it reads keys and values with fewer heads than the queries.

# %%
#| export
from collections.abc import Callable
from typing import Protocol, runtime_checkable

import torch
from einops import rearrange, repeat  # for those who like their dimensions named
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from cs336lite.slots import shares_heads

# %% [markdown]
# ## 1 · Softmax (`softmax`)
#
# **Difficulty ●●○○○ · Importance ●●●●○ · 30 minutes · 15 points**
#
# Scores become weights: positive, with the sum 1 along one dimension.
#
# $$\text{softmax}(x)_i = \frac{e^{x_i}}{\sum_j e^{x_j}} = \frac{e^{x_i - m}}{\sum_j e^{x_j - m}}
# \quad\text{for any } m$$
#
# The first form overflows: $e^{89}$ is more than a float32 holds, $e^{12}$ more than a float16 does, and ∞/∞ is not a
# number. The second is safe when $m$ is the greatest score **of the same row**.
#
# Rules:
# - `dim` is any dimension, counted from the front or from the back. The shape stays as it is.
# - A score of −∞ gets the weight 0. **A row of nothing but −∞ gives zeros**, where both formulas say 0/0. Its gradient
#   is zero too: one NaN in a gradient spoils every parameter of a model at the next step.
# - What comes in as bfloat16 or float64 goes out as bfloat16 or float64. float64 is computed in float64; bfloat16 and
#   float16 are computed in float32, since a sum of many small powers needs the digits.
# - The tensor that is given stays as it is, and gradients flow.


# %% solution="softmax"
#| export
def softmax(x: Float[Tensor, "..."], dim: int) -> Float[Tensor, "..."]:
    """Weights exp(x_i) / sum_j exp(x_j) along ``dim``, stable for scores of any size; the shape and dtype of ``x``.

    A row of -inf alone gives zeros, also as its gradient. float16 and bfloat16 are computed in float32.

    >>> softmax(torch.tensor([[1000.0, 1000.0], [-torch.inf, -torch.inf]]), dim=-1).tolist()
    [[0.5, 0.5], [0.0, 0.0]]
    """
    ### BEGIN SOLUTION
    if not x.is_floating_point():
        raise TypeError(f"softmax needs floating-point scores, and these are {x.dtype}")
    if not x.numel():
        return x.clone()
    scores = x.float() if x.dtype in (torch.float16, torch.bfloat16) else x
    peak = scores.detach().amax(dim, keepdim=True)
    powers = torch.exp(scores - peak.clamp(min=torch.finfo(peak.dtype).min))  # -inf - -inf would be NaN
    # the greatest score contributes exactly 1, so the sum is below 1 only where all are -inf, and there it is 0
    return (powers / powers.sum(dim, keepdim=True).clamp(min=1)).to(x.dtype)
    ### END SOLUTION


# %% grade="softmax" points=15
check("a2_attention", "softmax")

# %% [markdown]
# ## 2 · Scaled dot-product attention (`attention`)
#
# **Difficulty ●●○○○ · Importance ●●●●● · 45 minutes · 25 points**
#
# $$\text{Attention}(Q, K, V) = \text{softmax}\!\left(\frac{Q K^\top}{\sqrt{d}} + M\right) V, \qquad
# M_{ij} = \begin{cases} 0 & \text{query } i \text{ may attend to key } j \\ -\infty & \text{otherwise} \end{cases}$$
#
# | | shape | |
# |---|---|---|
# | `Q` | `(..., q, d)` | one query a row |
# | `K` | `(..., k, d)` | as many keys as there are values; not always as many as queries |
# | `V` | `(..., k, dv)` | `dv` may differ from `d` |
# | `mask` | broadcasts to `(..., q, k)` | boolean, **True = may attend** |
# | result | `(..., q, dv)` | |
#
# Why the root? For independent entries of variance 1 a dot product of $d$ terms has variance $d$. Scores that large
# make the softmax choose one key and leave next to no gradient for the others (1706.03762, section 3.2.1).
#
# Rules:
# - Any number of dimensions may stand in front, as for heads and batches; those of `Q`, `K`, `V` and `mask` broadcast.
# - Masked scores are −∞, not −10⁹: float16 does not hold that number, and a mean over forbidden values is not nothing.
# - **A query that may attend to no key gets zeros**, and the gradients stay finite.
# - The result has the dtype of the inputs; the inputs, the mask among them, stay as they are.


# %% solution="attention"
#| export
def scaled_dot_product_attention(
    Q: Float[Tensor, "... q d"],
    K: Float[Tensor, "... k d"],
    V: Float[Tensor, "... k dv"],
    mask: Bool[Tensor, "..."] | None = None,
) -> Float[Tensor, "... q dv"]:
    """softmax(Q K^T / sqrt(d)) V over the keys that ``mask`` allows (1706.03762, equation 1).

    ``mask`` broadcasts to (..., q, k), True = may attend; a query that may attend to no key gets zeros.

    >>> Q, K, V = torch.zeros(1, 4), torch.zeros(3, 4), torch.tensor([[1.0], [2.0], [6.0]])
    >>> may = torch.tensor([True, True, False])
    >>> scaled_dot_product_attention(Q, K, V).item(), scaled_dot_product_attention(Q, K, V, may).item()
    (3.0, 1.5)
    """
    ### BEGIN SOLUTION
    if not all(x.is_floating_point() for x in (Q, K, V)):
        raise TypeError(f"Q, K and V are {Q.dtype}, {K.dtype} and {V.dtype}, and must be floating-point numbers")
    if mask is not None and mask.dtype != torch.bool:
        raise TypeError(f"mask is {mask.dtype}, and must be torch.bool: True = may attend")
    scores = (Q * Q.shape[-1] ** -0.5) @ K.mT  # scaled first: float16 overflows less easily
    if mask is not None:
        scores = scores.masked_fill(~mask, -torch.inf)
    return softmax(scores, dim=-1) @ V
    ### END SOLUTION


# %% grade="attention" points=25
check("a2_attention", "attention")

# %% [markdown]
# ### Look: what the root is for
#
# 64 keys at random, and one query. How large is the greatest weight, with the root and without it?

# %%
generator = torch.Generator().manual_seed(0)
for d in (4, 64, 1024):
    Q, K = torch.randn(500, 1, d, generator=generator), torch.randn(500, 64, d, generator=generator)
    greatest = scaled_dot_product_attention(Q, K, torch.eye(64)).amax(-1).mean()
    unscaled = scaled_dot_product_attention(Q * d**0.5, K, torch.eye(64)).amax(-1).mean()
    print(f"d = {d:>4}: greatest of 64 weights {greatest:.2f} with the root, {unscaled:.2f} without")

# %% [markdown]
# ## What the module is made of
#
# $$\text{head}_h = \text{Attention}(x W^Q_h,\; x W^K_h,\; x W^V_h), \qquad
# \text{MultiHead}(x) = \text{Concat}(\text{head}_1, \dots, \text{head}_H)\, W^O$$
#
# One head takes one weighted mean, so several heads in parallel, each on a slice of `d_head` features, can look for
# several things at once. The four exercises that follow are its parts: which keys a head uses, whom it may see, where
# they come from, and where the tokens stand.
#
# ## 3 · Heads that share keys and values (`grouped`)
#
# **Difficulty ●●○○○ · Importance ●●●○○ · 20 minutes · 10 points**
#
# A model that writes text keeps the keys and values of everything it has read. They cost `2 · num_kv_heads · d_head`
# numbers per token and layer, and reading them is what decoding spends its time on. *Multi-query attention* (MQA,
# 1911.02150) has a single head of keys and values for all heads of queries; *grouped-query attention* (GQA, 2305.13245)
# has one for each group:
#
# | `num_heads` | `num_kv_heads` | query heads → key and value head |
# |---:|---:|---|
# | 4 | 4 (or None) | 0→0, 1→1, 2→2, 3→3 |
# | 4 | 2 | 0→0, 1→0, 2→1, 3→1 |
# | 4 | 1 | all → 0 |
#
# Neighbours share: `a b` becomes `a a b b`, not `a b a b`. Published weights are laid out like that, and with the other
# order they give nonsense without any error.
#
# In the module: `k_proj` and `v_proj` have `num_kv_heads * d_head` outputs, and what `attend` gets has been repeated to
# `num_heads`.


# %% solution="grouped"
#| export
def repeat_kv(x: Float[Tensor, "batch kv k d_head"], num_heads: int) -> Float[Tensor, "batch {num_heads} k d_head"]:
    """Each head of keys or values as often as query heads share it, neighbours together: a b -> a a b b.

    >>> repeat_kv(torch.tensor([1.0, 2.0]).view(1, 2, 1, 1), 4).flatten().tolist()
    [1.0, 1.0, 2.0, 2.0]
    """
    ### BEGIN SOLUTION
    if x.shape[1] == num_heads:
        return x  # nothing to copy
    return x.unsqueeze(2).expand(-1, -1, num_heads // x.shape[1], -1, -1).flatten(1, 2)
    ### END SOLUTION


# %% [markdown]
# ## 4 · Who may attend to whom (`masks`)
#
# **Difficulty ●●●○○ · Importance ●●●●● · 30 minutes · 10 points**
#
# A model that predicts the next token must not see it. The *causal mask* (因果掩码) lets token $i$ attend to itself and to
# what comes before it:
#
# $$\text{may}(i, j) = \big[\, p_j \le p_i \,\big], \qquad p = \text{positions of the tokens}$$
#
# It goes by the positions, not by the order in which the tokens come: two tokens that change places, with their positions,
# see what they saw before. The positions of the tokens in hand may begin anywhere, at 7 for instance when 7 tokens have been processed in earlier
# calls and wait in a cache. Those `past` keys come first, and every query may attend to all of them. So two new tokens
# after three old ones see
#
# | | past | past | past | new 3 | new 4 |
# |---|:-:|:-:|:-:|:-:|:-:|
# | token 3 | ● | ● | ● | ● | · |
# | token 4 | ● | ● | ● | ● | ● |
#
# In the module: `causal=True` is the default. A `mask` that the caller gives broadcasts to `(batch, num_heads, q, k)`
# and is combined with the causal mask by **and**: a key counts when both allow it.


# %% solution="masks"
#| export
def causal_mask(positions: Int[Tensor, "*batch seq"], past: int = 0) -> Bool[Tensor, "..."]:
    """Which keys each query may attend to: all ``past`` ones, and of the new ones those at its position or before it.

    (seq,) positions give (seq, past + seq); (batch, seq) give (batch, 1, seq, past + seq), the same for every head.

    >>> causal_mask(torch.tensor([1, 2]), past=1).int().tolist()
    [[1, 1, 0], [1, 1, 1]]
    """
    ### BEGIN SOLUTION
    new = positions.unsqueeze(-2) <= positions.unsqueeze(-1)  # key <= query
    allowed = torch.cat([new.new_ones(*new.shape[:-1], past), new], dim=-1)
    return allowed if positions.ndim == 1 else allowed.unsqueeze(1)
    ### END SOLUTION


# %% [markdown]
# ## 5 · Attention to another sequence (`cross`)
#
# **Difficulty ●●○○○ · Importance ●●●○○ · 20 minutes · 5 points**
#
# In *cross-attention* (交叉注意力) the queries come from `x` and the keys and values from a `context`: a decoder reads what
# an encoder has made of another sentence. The two lengths differ, and position 5 of the one has nothing to do with
# position 5 of the other. So neither the causal mask nor the rotary positions apply, and no cache is asked. A mask that
# is given, and `qk_norm`, apply as ever.
#
# A batch of contexts is filled up to the longest with *padding* (填充), which nobody may attend to. Write the mask for
# it.


# %% solution="cross"
#| export
def padding_mask(lengths: Int[Tensor, " batch"], k: int) -> Bool[Tensor, "batch 1 1 {k}"]:
    """True for the first ``lengths[b]`` of ``k`` keys: a mask that every head and every query shares.

    >>> padding_mask(torch.tensor([1, 3]), 3).int().tolist()
    [[[[1, 0, 0]]], [[[1, 1, 1]]]]
    """
    ### BEGIN SOLUTION
    return (torch.arange(k, device=lengths.device) < lengths[:, None])[:, None, None]
    ### END SOLUTION


# %% [markdown]
# ## 6 · Positions and the cache (`positions`)
#
# **Difficulty ●●●○○ · Importance ●●●●○ · 45 minutes · 10 points**
#
# Attention by itself does not know the order of its keys. Assignment 3 turns queries and keys by an angle that grows
# with their position (RoPE, 旋转位置编码); here it is a slot: `rope(x, token_positions)` returns `x`, turned.
# `token_positions` must broadcast to `x.shape[:-1]`, so for `x` of shape `(batch, head, seq, d_head)` positions of
# shape `(batch, seq)` need a dimension for the heads.
#
# When text is generated token by token, the keys and values of earlier tokens are kept in a *cache* (KV 缓存) and not
# computed again. It has a `length`, and `update` puts in the new keys and values and returns all of them, old and new.
#
# Rules for the module:
# - Queries and keys are turned, values are not, and each head is turned as every other.
# - `token_positions` is `(seq,)` or `(batch, seq)`, then each text has its own causal mask. Without it the tokens are numbered from `cache.length`, or from 0.
#   `update` changes the length, so read it before.
# - The cache gets keys that are turned already, not yet repeated to `num_heads`: `(batch, num_kv_heads, seq, d_head)`.
# - The causal mask counts from there too: `past` is what the cache returns beyond the new tokens.


# %%
#| export
@runtime_checkable
class Cache(Protocol):
    """What `MultiHeadAttention` asks of a cache of keys and values (KV 缓存): one for each layer."""

    length: int  # tokens that it holds

    def update(self, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        """Append keys and values of new tokens, (batch, num_kv_heads, seq, d_head); returns those of all tokens."""


# %% solution="positions"
#| export
def positions_of(
    x: Float[Tensor, "batch seq d_model"],
    token_positions: Int[Tensor, "*batch seq"] | None = None,
    cache: Cache | None = None,
) -> Int[Tensor, "*batch seq"]:
    """Where the tokens of ``x`` stand: as given, else numbered on from what the cache holds, else from 0.

    >>> positions_of(torch.zeros(1, 3, 8)).tolist()
    [0, 1, 2]
    """
    ### BEGIN SOLUTION
    if token_positions is not None:
        return token_positions
    start = 0 if cache is None else cache.length
    return torch.arange(start, start + x.shape[1], device=x.device)
    ### END SOLUTION


# %% [markdown]
# ## 7 · The module (`multi_head`)
#
# **Difficulty ●●●●○ · Importance ●●●●● · 110 minutes · 25 points**
#
# `forward`, step by step. Write it in this order and run the checks as you go; `multi_head` needs steps 1, 2, 6 and 7.
#
# 1. **Project** `x` to queries, and `context`, or else `x`, to keys and values: `(batch, seq, num_heads * d_head)`.
#    Then **split**: `(batch, num_heads, seq, d_head)`. Head `h` owns the features from `h * d_head` on. A `view` alone
#    to the shape you want mixes tokens with heads; the dimensions have to change places.
# 2. **Normalise** queries and keys when there is a `qk_norm`. It is a *factory*: `qk_norm(d_head)` makes a module, and
#    you need two of them, one for queries and one for keys. They work on the last dimension, head by head.
# 3. **Turn** queries and keys when there is a `rope` (exercise 6).
# 4. **Cache** (exercise 6).
# 5. **Mask** (exercise 4).
# 6. **Repeat** keys and values (exercise 3) and **attend**: `attend(Q, K, V, mask)` is a slot too, by default your
#    `scaled_dot_product_attention`. Later lectures put faster or other ones into it. The mask is boolean, or None.
# 7. **Join** the heads, `(batch, seq, num_heads * d_head)`, and project with `o_proj`.
#
# Steps 3 and 4 and the causal mask are left out when there is a `context` (exercise 5).
#
# `q_proj`, `k_proj`, `v_proj` and `o_proj` are each an `nn.Linear`, with biases only if `bias=True`. Its weight has the
# shape `(out_features, in_features)`. Those names are a contract: published weights are loaded by them. `d_head` is
# `d_model // num_heads` unless it is given.


# %% solution="multi_head"
#| export
class MultiHeadAttention(nn.Module):
    """Attention with several heads (1706.03762, section 3.2.2), which may share keys and values (MQA, GQA).

    Args:
        d_model: size of a token's vector, at the input and at the output.
        num_heads: heads of queries.
        num_kv_heads: heads of keys and values, a divisor of ``num_heads``, which is the default; 1 is MQA.
        d_head: size of a query, a key and a value in one head; by default ``d_model // num_heads``.
        rope: turns queries and keys by their positions: ``rope(x, token_positions)`` (cs336lite.rope).
        qk_norm: makes a normalisation, ``qk_norm(d_head) -> module``: one for queries, one for keys, before ``rope``.
        attend: ``attend(Q, K, V, mask)``, with keys and values repeated to ``num_heads``.
        causal: a token attends to itself and to what comes before it.
        bias: whether the four projections have biases.

    Raises ValueError when ``num_heads`` is no multiple of ``num_kv_heads``, or ``d_model`` none of ``num_heads`` and no
    ``d_head`` is given.
    """

    def __init__(
        self,
        d_model: int,
        num_heads: int,
        num_kv_heads: int | None = None,
        *,
        d_head: int | None = None,
        rope: Callable[[Tensor, Tensor], Tensor] | None = None,
        qk_norm: Callable[[int], nn.Module] | None = None,
        attend: Callable[[Tensor, Tensor, Tensor, Tensor | None], Tensor] = scaled_dot_product_attention,
        causal: bool = True,
        bias: bool = False,
    ) -> None:
        super().__init__()
        ### BEGIN SOLUTION
        num_kv_heads = num_heads if num_kv_heads is None else num_kv_heads
        if num_kv_heads < 1 or num_heads % num_kv_heads:
            raise ValueError(f"{num_heads} heads cannot share {num_kv_heads} heads of keys and values evenly")
        if d_head is None and d_model % num_heads:
            raise ValueError(f"d_model {d_model} does not divide evenly into {num_heads} heads")
        d_head = d_model // num_heads if d_head is None else d_head
        if d_head < 1:
            raise ValueError(f"a head has {d_head} dimensions: it must be at least 1")
        self.num_heads, self.num_kv_heads, self.d_head = num_heads, num_kv_heads, d_head
        self.q_proj = nn.Linear(d_model, num_heads * d_head, bias=bias)
        self.k_proj = nn.Linear(d_model, num_kv_heads * d_head, bias=bias)
        self.v_proj = nn.Linear(d_model, num_kv_heads * d_head, bias=bias)
        self.o_proj = nn.Linear(num_heads * d_head, d_model, bias=bias)
        self.q_norm = nn.Identity() if qk_norm is None else qk_norm(d_head)
        self.k_norm = nn.Identity() if qk_norm is None else qk_norm(d_head)
        self.rope, self.attend, self.causal = rope, attend, causal
        ### END SOLUTION

    def forward(
        self,
        x: Float[Tensor, "batch seq d_model"],
        *,
        context: Float[Tensor, "batch k d_model"] | None = None,
        mask: Bool[Tensor, "..."] | None = None,
        token_positions: Int[Tensor, "..."] | None = None,
        cache: Cache | None = None,
    ) -> Float[Tensor, "batch seq d_model"]:
        """Each token's mean of the values that it may attend to, head by head, projected back to ``d_model``.

        Args:
            x: the tokens that ask.
            context: for cross-attention, the tokens that are asked; neither causal mask, rope nor cache applies then.
            mask: broadcasts to (batch, num_heads, q, k), True = may attend; the causal mask must allow it as well.
            token_positions: (seq,) or (batch, seq), by default numbered from ``cache.length``, or from 0.
            cache: holds keys and values of earlier tokens, and is given those of ``x``.
        """
        ### BEGIN SOLUTION
        if mask is not None and mask.dtype != torch.bool:
            raise TypeError(f"mask is {mask.dtype}, and must be torch.bool: True = may attend")
        source = x if context is None else context
        q, k, v = self._split(self.q_proj(x)), self._split(self.k_proj(source)), self._split(self.v_proj(source))
        q, k = self.q_norm(q), self.k_norm(k)
        if context is None:
            positions = positions_of(x, token_positions, cache)
            if self.rope is not None:
                heads = self.rope(torch.cat((q, k), dim=1), positions.unsqueeze(-2))  # in one call: all turn alike
                q, k = heads.split((self.num_heads, self.num_kv_heads), dim=1)
            if cache is not None:
                k, v = cache.update(k, v)
            if self.causal and x.shape[1] > 1:  # a single new token may see everything
                causal = causal_mask(positions, past=k.shape[2] - x.shape[1])
                mask = causal if mask is None else mask & causal
        if not shares_heads(self.attend):  # one that says so reads shared heads without copies
            k, v = repeat_kv(k, self.num_heads), repeat_kv(v, self.num_heads)
        out = self.attend(q, k, v, mask)
        out = out.transpose(1, 2).flatten(2)  # (batch, seq, head * d_head)
        if out.shape[:2] != x.shape[:2]:  # something broadcast the other way
            raise ValueError(
                f"x is {tuple(x.shape[:2])} (batch, seq), and with its mask, context and cache {tuple(out.shape[:2])}"
            )
        return self.o_proj(out)

    def _split(self, x: Tensor) -> Tensor:
        return x.unflatten(-1, (-1, self.d_head)).transpose(1, 2)  # (batch, head, seq, d_head)
        ### END SOLUTION


# %% grade="multi_head" points=25
check("a2_attention", "multi_head")

# %% [markdown]
# ## The parts in the module
#
# What exercises 3 to 6 ask for, the function and its place in `forward`, is graded here.

# %% grade="grouped" points=10
check("a2_attention", "grouped")

# %% grade="masks" points=10
check("a2_attention", "masks")

# %% grade="cross" points=5
check("a2_attention", "cross")

# %% grade="positions" points=10
check("a2_attention", "positions")

# %% [markdown]
# ### Look: nobody sees the future
#
# Change one token, and see which outputs change. Then read the same text once as a whole and once in pieces, with the
# simplest cache there is. What do you expect of the second, and of a step whose mask begins at 0 again?


# %%
class ListCache:
    """Keys and values of all tokens so far, in two tensors that grow."""

    def __init__(self):
        self.k = self.v = None

    @property
    def length(self):
        return 0 if self.k is None else self.k.shape[2]

    def update(self, k, v):
        self.k = k if self.k is None else torch.cat([self.k, k], 2)
        self.v = v if self.v is None else torch.cat([self.v, v], 2)
        return self.k, self.v


torch.manual_seed(0)
layer, x = MultiHeadAttention(64, 8, 2), torch.randn(1, 10, 64)
changed = x.clone()
changed[:, 6] += 1
moved = (layer(changed) - layer(x)).abs().amax(-1)[0] > 1e-5
print("outputs that change with token 6:", moved.nonzero().flatten().tolist())
cache = ListCache()
pieces = torch.cat([layer(piece, cache=cache) for piece in x.split([4, 3, 1, 2], dim=1)], dim=1)
print(f"in pieces or at once, greatest difference: {(pieces - layer(x)).abs().max():.0e}")

# %% [markdown]
# ### Look: what sharing saves
#
# Llama 2's 70B model has 80 layers and 64 heads of 128 features. How many bytes of cache does one token take in
# bfloat16, for 64, 8 and 1 heads of keys and values? The published model has 8 of them.

# %%
for kv in (64, 8, 1):
    kilobytes = 2 * 80 * kv * 128 * 2 / 1000
    print(f"num_kv_heads = {kv:>2}: {kilobytes:>6.0f} kB a token, {kilobytes * 4096 / 1e6:>5.1f} GB for 4,096 tokens")

# %% [markdown]
# ## Where you stand
#
# Run `status()`, then save the notebook and run the last cell: your solution becomes `cs336lite.attention`, and the
# model of lecture 03 and all that follows use it.

# %%
status()

# %% locked="export"
from cs336lite.course import export_solution

export_solution("a2_attention")
