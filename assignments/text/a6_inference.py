# ---
# jupyter:
#   kernelspec: {display_name: Python 3, language: python, name: python3}
#   cs336lite: {module: decoding, minutes: 240, prerequisites: [03_architecture], device: CPU}
# ---

# %% [markdown]
# # Assignment 6 · Decoding: the inner parts of an inference engine (推理引擎)
#
# **about 4 hours of work · prerequisites: PyTorch tensors, attention (assignment 2) · device: CPU · 100 points**
#
# Training runs over a text once, all positions at the same time. *Inference* writes a text, and each new token needs the
# one before it. So a served model pays for every single step. You will write the five parts that decide what a step costs
# and what it may say: a cache of keys and values, the choice of a token, speculative decoding, a paged cache for
# many texts at once, and weights in one byte. Lecture 09 builds an engine out of them.
#
# | exercise | what you write | points |
# |---|---|---:|
# | `cache` | keys and values that grow in place, with left padding | 25 |
# | `sampling` | temperature, top-k, top-p, min-p, and drawing a token | 25 |
# | `speculative` | accept or replace the tokens of a draft model | 25 |
# | `paged` | a block table, and copy on write | 15 |
# | `quantize` | int8 weights with one scale for each group | 10 |
#
# ## How to work
#
# - Replace each `raise NotImplementedError` with your code. Keep names and arguments as they are; add cells and helper
#   functions wherever you like.
# - `check("a6_inference", "cache")` runs the public checks of an exercise, `hint("a6_inference", "cache")` gives one hint
#   more each time you ask, and `status()` shows where you stand. Hidden checks follow when you hand in. They judge the
#   same things on other inputs.
# - The exercises do not need each other, with one exception: `speculative_step` may draw its tokens with your `sample`.
# - In each exercise most of the points are for all of it together, on ordinary input; the rest are for its single rules.
# - **Nothing here draws a random number.** Where a decision is random, the random numbers are arguments. So every answer
#   can be checked exactly, yours too.
# - A cell whose first line is `#| export` becomes a part of the module `cs336lite.decoding`: keep that line. Functions,
#   classes and imports that such a cell needs go along from whatever cell they stand in.
# - The last cell writes this module into your copy of the package and runs the public checks on it. It reads the file of
#   this notebook, so save first (Ctrl+S, on a Mac Cmd+S).
#
# ## What differs elsewhere
#
# | here | elsewhere |
# |---|---|
# | one cache for each layer, `update(k, v)` | one for all layers, `update(k, v, layer)` (Hugging Face) |
# | `padding` counts the padding tokens of a row | an attention mask of 0 and 1 |
# | filters give probabilities | filters give logits with $-\infty$ |
# | random numbers are arguments | `torch.multinomial` with a generator |
# | an exhausted cache is a `ValueError` | the engine preempts a sequence (vLLM) |
#
# Above each exercise stand its difficulty, how much the rest depends on it, and the minutes it takes most people.
#
# Sources: Holtzman et al. 2019, [The Curious Case of Neural Text Degeneration](https://arxiv.org/abs/1904.09751) (top-p);
# Nguyen et al. 2024, [Min-p Sampling](https://arxiv.org/abs/2407.01082); Leviathan et al. 2022, [Fast Inference from
# Transformers via Speculative Decoding](https://arxiv.org/abs/2211.17192); Chen et al. 2023, [Accelerating Large Language
# Model Decoding with Speculative Sampling](https://arxiv.org/abs/2302.01318); Kwon et al. 2023, [Efficient Memory Management
# for Large Language Model Serving with PagedAttention](https://arxiv.org/abs/2309.06180); Dettmers et al. 2022,
# [LLM.int8()](https://arxiv.org/abs/2208.07339).

# %% locked="setup"
from cs336lite.course import check, hint, status

# %%
#| export
"""The inner parts of an inference engine (推理引擎): a KV cache, sampling, speculative decoding, pages, int8 weights.

Holtzman et al. 2019, https://arxiv.org/abs/1904.09751 (top-p); Leviathan et al. 2022, https://arxiv.org/abs/2211.17192
(speculative decoding); Kwon et al. 2023, https://arxiv.org/abs/2309.06180 (paged cache).

Shapes: ``batch`` texts, ``kv`` heads of keys and values, ``seq`` tokens, ``d_head`` the size of a head, ``vocab`` the
vocabulary. Random numbers are arguments, uniform in [0, 1): nothing here draws one.

Built in assignments/source/a6_inference/a6_inference.ipynb.
"""

# %%
#| export
import torch
from jaxtyping import Bool, Float, Int, Int8, Shaped
from torch import Tensor

# %% [markdown]
# ## 1 · A cache of keys and values (`cache`)
#
# **Difficulty ●●●○○ · Importance ●●●●● · 60 minutes · 25 points**
#
# The query of a new token needs the keys and values of all tokens before it. These never change, so they are kept: the
# *KV cache* (KV 缓存). One call with the whole prompt fills it (*prefill*, 预填充), then each call adds one token (*decode*,
# 解码). `torch.cat` would do, and would copy the whole cache for every token. So take memory for `max_length` tokens **once**
# and write into it:
#
# | call | `length` before | written to places | returned |
# |---|---:|---|---|
# | `update(k, v)` with 5 tokens | 0 | 0 to 4 | places 0 to 4 |
# | `update(k, v)` with 1 token | 5 | 5 | places 0 to 5 |
# | `truncate(4)` | 6 | none | nothing |
# | `update(k, v)` with 1 token | 4 | 4, written over | places 0 to 4 |
#
# `truncate` takes tokens back. Speculative decoding needs it: a draft that is refused must leave no trace.
#
# **Left padding.** Texts in a batch have prompts of different lengths. Shorter ones are padded on the left, so that the last
# token of every row stands in the same place. With `padding = [0, 2]` and a prompt of 4 places:
#
# | | place 0 | 1 | 2 | 3 | next |
# |---|---|---|---|---|---|
# | row 0, position | 0 | 1 | 2 | 3 | 4 |
# | row 1, position | 0 (padding) | 0 (padding) | 0 | 1 | 2 |
# | row 1, mask | False | False | True | True | True |
#
# | | shape | |
# |---|---|---|
# | `k`, `v` | `(batch, kv, seq, d_head)` | the new ones; `seq` may be 0 |
# | returned | `(batch, kv, length, d_head)` | all so far, a pair |
# | `padding` | `(batch,)` or `None` | how many padding tokens each row begins with |
# | `positions(seq)` | `(seq,)`, with padding `(batch, seq)` | of the **next** `seq` tokens: asked before `update` |
# | `mask(seq)` | `None`, with padding `(batch, 1, 1, length + seq)` | True = a token; asked before `update` |
#
# Rules:
# - The memory is taken at the first `update`, with the batch, heads, size, dtype and device of `k` and of `v`. What `update`
#   returns are views of it: what was written is never copied again.
# - `k` and `v` are copied into the memory and stay as they are. Changing them later changes nothing in the cache.
# - More tokens than `max_length` are a `ValueError`, and then nothing has changed. Exactly `max_length` fit.
# - `truncate(n)` with `n` below 0 or above `length` is a `ValueError`.
# - The causal mask is not your affair here: attention adds it.


# %% solution="cache"
#| export
class KVCache:
    """Keys and values of one layer, in memory for ``max_length`` tokens. A `cs336lite.attention.Cache`.

    ``padding`` says how many padding tokens each row of the batch begins with.

    >>> cache = KVCache(8)
    >>> k, v = cache.update(torch.zeros(1, 2, 3, 4), torch.zeros(1, 2, 3, 4))
    >>> tuple(k.shape), cache.length, cache.positions(2).tolist()
    ((1, 2, 3, 4), 3, [3, 4])
    """

    def __init__(self, max_length: int, *, padding: Int[Tensor, " batch"] | None = None) -> None:
        ### BEGIN SOLUTION
        self.max_length, self.padding, self.length = max_length, padding, 0
        self.memory: tuple[Tensor, Tensor] | None = None
        ### END SOLUTION

    def update(
        self, k: Shaped[Tensor, "batch kv seq d_head"], v: Shaped[Tensor, "batch kv seq dv"]
    ) -> tuple[Tensor, Tensor]:
        """Append keys and values of new tokens; returns those of all tokens so far, as views of the memory.

        Raises ValueError when there is no room, and for another batch, heads, size or dtype than before.
        """
        ### BEGIN SOLUTION
        left, stop = self.max_length - self.length, self.length + k.shape[2]
        if stop > self.max_length:
            raise ValueError(f"{k.shape[2]} tokens came, and of {self.max_length} places {left} are left")
        if self.memory is None:
            self.memory = tuple(x.new_empty(*x.shape[:2], self.max_length, x.shape[3]) for x in (k, v))
        for kept, new in zip(self.memory, (k, v)):
            if (kept.shape[:2], kept.shape[3], kept.dtype) != (new.shape[:2], new.shape[3], new.dtype):
                raise ValueError(
                    f"the cache holds {tuple(kept.shape)} {kept.dtype}: make another one for another batch"
                )
        for kept, new in zip(self.memory, (k, v)):
            kept[:, :, self.length : stop] = new
        self.length = stop
        return self.memory[0][:, :, :stop], self.memory[1][:, :, :stop]
        ### END SOLUTION

    def positions(self, seq: int) -> Int[Tensor, "*batch seq"]:
        """Where the next ``seq`` tokens of each text stand; a padding token has position 0."""
        ### BEGIN SOLUTION
        device = None if self.padding is None else self.padding.device
        places = torch.arange(self.length, self.length + seq, device=device)
        return places if self.padding is None else (places - self.padding[:, None]).clamp(min=0)
        ### END SOLUTION

    def mask(self, seq: int) -> Bool[Tensor, "batch 1 1 k"] | None:
        """Which of all places, with the next ``seq`` tokens, hold a token and no padding; None without padding."""
        ### BEGIN SOLUTION
        if self.padding is None:
            return None
        places = torch.arange(self.length + seq, device=self.padding.device)
        return (places >= self.padding[:, None])[:, None, None]
        ### END SOLUTION

    def truncate(self, length: int) -> None:
        """Forget all tokens after the first ``length``. Raises ValueError for a length that the cache does not have."""
        ### BEGIN SOLUTION
        if not 0 <= length <= self.length:
            raise ValueError(f"the cache holds {self.length} tokens, and cannot be cut to {length}")
        self.length = length
        ### END SOLUTION


# %% grade="cache" points=25
check("a6_inference", "cache")

# %% [markdown]
# ### Look: what in place means
#
# Two caches grow from 0 to 2,000 tokens, one token at a time: one by `torch.cat`, one in place. **Predict**: how many
# tokens does the one with `torch.cat` copy in all? Write a number in place of `None`.

# %%
from cs336lite.course.measure import reveal

guess = None
copied, joined = 0, torch.zeros(1, 1, 0, 4)
cache = KVCache(2000)
for _ in range(2000):
    new = torch.zeros(1, 1, 1, 4)
    joined = torch.cat([joined, new], dim=2)  # the old ones and the new one, into new memory
    copied += joined.shape[2]
    in_place, _ = cache.update(new, new)
assert in_place.shape == joined.shape
why = "each step copies all that there is: 1 + 2 + ... + 2000"
reveal("tokens copied by torch.cat", copied, guess, within=1.05, because={2000: why, 4_000_000: "half of that: " + why})

# %% [markdown]
# In place, 2,000 tokens are written once each. The price is memory for tokens that may never come, and exercise 4 is about
# that.
#
# ## 2 · Which token is next (`sampling`)
#
# **Difficulty ●●●○○ · Importance ●●●●● · 50 minutes · 25 points**
#
# A model gives logits $z$. What is drawn from is a distribution made of them, in this order:
#
# 1. **Temperature** (温度): $p = \text{softmax}(z / T)$. Low $T$ sharpens, high $T$ flattens. $T = 0$ is *greedy*: all
#    probability for the first of the greatest logits.
# 2. **top-k** keeps the $k$ most probable tokens; what is left is divided by its sum.
# 3. **top-p** (*nucleus*, 核采样) keeps the fewest most probable tokens whose probabilities reach $P$ together: the token that
#    reaches it is kept. What is left is divided by its sum.
# 4. **min-p** keeps the tokens with $p_i \ge m \cdot \max_j p_j$; what is left is divided by its sum.
#
# By hand: probabilities 0.5, 0.3, 0.15, 0.05. `top_k=2` gives 0.625, 0.375, 0, 0. `top_p=0.8` keeps 0.5 and 0.3 (they reach
# 0.8), and `top_p=0.81` one more. `min_p=0.2` asks for 0.1 at least and keeps three. `top_k=2, top_p=0.6` looks at 0.625
# first, which reaches 0.6 alone.
#
# **Drawing** by *inverse transform sampling* (逆变换采样): lay the probabilities side by side on a line from 0 to 1, in the
# order of their ids. A uniform random number $u$ falls into one of them, and that is the token:
#
# | id | probability | interval | `u = 0.2` | `u = 0.5` | `u = 0.99` |
# |---:|---:|---|---|---|---|
# | 0 | 0.5 | [0, 0.5) | here | | |
# | 1 | 0.3 | [0.5, 0.8) | | here | |
# | 2 | 0.2 | [0.8, 1) | | | here |
#
# | | shape | |
# |---|---|---|
# | `logits` | `(..., vocab)` | $-\infty$ for what must not come |
# | probabilities | `(..., vocab)` | float32, for float64 logits float64; a row adds up to 1 |
# | `u` | `(...)` | uniform in [0, 1) |
# | ids | `(...)` | int64 |
#
# Rules:
# - Equal probabilities: the lower id comes first. `top_k` keeps exactly $k$ of them, or all when $k$ is larger than the
#   vocabulary; `top_p` the fewest.
# - `top_p=1` removes nothing, however small it is, though rounded sums may reach 1 before the end.
# - A temperature near 0 (`2e-38`) is greedy, and not a NaN: $z / T$ overflows unless you subtract something first.
# - A token of probability 0 is never drawn, whatever `u` is and however sums are rounded.
# - ValueError for a temperature below 0, `top_k` below 1, `top_p` outside (0, 1], `min_p` outside [0, 1].
# - `logits` stay as they are.


# %% solution="sampling"
#| export
def token_probabilities(
    logits: Float[Tensor, "*batch vocab"],
    *,
    temperature: int | float = 1.0,
    top_k: int | None = None,
    top_p: int | float | None = None,
    min_p: int | float | None = None,
) -> Float[Tensor, "*batch vocab"]:
    """softmax(logits / temperature), of which top-k, top-p (1904.09751) and min-p (2407.01082) leave the likely tokens.

    Computed in float32, or in float64 for float64 logits. Raises ValueError for values that none of them can have.

    >>> z = torch.tensor([0.5, 0.3, 0.15, 0.05]).log()
    >>> [round(p, 3) for p in token_probabilities(z, top_k=2).tolist()]
    [0.625, 0.375, 0.0, 0.0]
    """
    ### BEGIN SOLUTION
    if not temperature >= 0:
        raise ValueError(f"temperature is {temperature}, and must be at least 0")
    if top_k is not None and top_k < 1:
        raise ValueError(f"top_k is {top_k}, and must be at least 1")
    if top_p is not None and not 0 < top_p <= 1:
        raise ValueError(f"top_p is {top_p}, and must be above 0 and at most 1")
    if min_p is not None and not 0 <= min_p <= 1:
        raise ValueError(f"min_p is {min_p}, and must be from 0 to 1")
    z = logits.to(torch.promote_types(logits.dtype, torch.float32))
    if temperature == 0:
        return torch.nn.functional.one_hot(z.argmax(dim=-1), z.shape[-1]).to(z.dtype)
    z = (z - z.amax(dim=-1, keepdim=True)) / temperature  # the greatest is 0, so nothing overflows upwards
    p, order = z.softmax(dim=-1).sort(dim=-1, descending=True, stable=True)
    if top_k is not None:
        p[..., top_k:] = 0
        p = p / p.sum(dim=-1, keepdim=True)
    if top_p is not None and top_p < 1:
        before = p.cumsum(dim=-1) - p  # what the more probable ones have together
        p = p.masked_fill(before >= top_p, 0)
        p = p / p.sum(dim=-1, keepdim=True)
    if min_p is not None:
        p = p.masked_fill(p < min_p * p[..., :1], 0)
        p = p / p.sum(dim=-1, keepdim=True)
    return torch.zeros_like(p).scatter(-1, order, p)
    ### END SOLUTION


def sample(probabilities: Float[Tensor, "*batch vocab"], u: Float[Tensor, "*batch"]) -> Int[Tensor, "*batch"]:
    """The token in whose part of the line from 0 to 1 each ``u`` falls; never one of probability 0.

    >>> sample(torch.tensor([[0.5, 0.3, 0.2]] * 3), torch.tensor([0.2, 0.5, 0.99])).tolist()
    [0, 1, 2]
    """
    ### BEGIN SOLUTION
    ends = probabilities.double().cumsum(dim=-1)
    ends = ends / ends[..., -1:]  # exactly 1 at the end
    return (ends <= u.double()[..., None]).sum(dim=-1)
    ### END SOLUTION


# %% grade="sampling" points=25
check("a6_inference", "sampling")

# %% [markdown]
# ### Look: how many tokens are left
#
# A model that is sure and one that is not: logits of 1,000 tokens, once spread widely and once hardly at all.
# **Predict**: how many of the 1,000 does `top_p=0.9` leave of the second?

# %%
guess = None
z = torch.randn(1000, generator=torch.Generator().manual_seed(0))
for name, spread in (("sure", 6.0), ("unsure", 0.5)):
    left = {
        f"{key}={value}": int((token_probabilities(spread * z, **{key: value}) > 0).sum())
        for key, value in (("top_k", 50), ("top_p", 0.9), ("min_p", 0.1))
    }
    print(f"{name}: of 1,000 tokens are left: {left}")
assert left["top_k=50"] == 50 and left["top_p=0.9"] > 500
why = "when all tokens are about equally likely, nine tenths of the probability are most of the tokens"
reveal(
    "tokens that top_p=0.9 leaves of the unsure model", left["top_p=0.9"], guess, within=1.1, because={"too small": why}
)

# %% [markdown]
# top-k leaves fifty whatever the model thinks. top-p and min-p follow the model: few tokens when it is sure, many when it is
# not.
#
# ## 3 · Speculative decoding (`speculative`)
#
# **Difficulty ●●●●○ · Importance ●●●●○ · 60 minutes · 25 points**
#
# A decode step of a large model costs nearly the same for one token as for five: reading the weights takes the time. So a
# small *draft* model (草稿模型) proposes $k$ tokens, one after another, and the large *target* model looks at all of them in
# one call. Its distributions are $p_0, p_1, \dots, p_k$: $p_i$ is for the place of draft $i$, and $p_k$ for the place after
# the last one. Those of the draft are $q_0, \dots, q_{k-1}$, and draft $x_i$ was drawn from $q_i$ (2211.17192, algorithm 1):
#
# 1. Accept $x_0$ with probability $\min\left(1, p_0(x_0) / q_0(x_0)\right)$, then $x_1$ likewise, and so on, until one is
#    refused.
# 2. In the place of the first one that is refused, say $x_n$, draw a token from $\max(p_n - q_n, 0)$ divided by its sum. The
#    drafts after it are dropped.
# 3. If none is refused, draw one token more from $p_k$: it costs nothing.
#
# **Why this changes nothing.** How probable is it that token $x$ comes out of one place? As an accepted draft,
# $q(x) \min(1, p(x)/q(x)) = \min(p(x), q(x))$. As a replacement, the probability of a refusal, which is
# $1 - \sum_y \min(p(y), q(y)) = \sum_y \max(p(y) - q(y), 0)$, times $\max(p(x) - q(x), 0)$ divided by that same sum. Together:
# $\min(p, q) + \max(p - q, 0) = p(x)$. Not nearly: exactly.
#
# By hand: $p = (0.5, 0.5)$, $q = (0.75, 0.25)$. Draft 0 is accepted when $u < 0.5 / 0.75$, draft 1 always. A refused 0 is
# replaced by 1, the only token with $p > q$.
#
# | | shape | |
# |---|---|---|
# | `draft` | `(k,)` | int64; `k` may be 0 |
# | `q` | `(k, vocab)` | what each draft was drawn from |
# | `p` | `(k + 1, vocab)` | what the target says in each place |
# | `u` | `(k + 1,)` | uniform in [0, 1): `u[i]` for accepting draft `i`, the last one for the token that is drawn |
# | returned | `(n + 1,)` | int64: the `n` accepted drafts and the token that is drawn |
#
# Rules:
# - Draft $i$ is accepted exactly when `u[i] * q[i, x] < p[i, x]`. So a token that the target never says is always refused, and
#   nothing is divided by 0.
# - The token at the end is drawn with the **last** random number, `u[k]`, also when a draft before was refused, as in
#   exercise 2: the first token whose cumulative probability exceeds it.
# - All arguments stay as they are.


# %% solution="speculative"
#| export
def speculative_step(
    draft: Int[Tensor, " k"], q: Float[Tensor, "k vocab"], p: Float[Tensor, "places vocab"], u: Float[Tensor, " places"]
) -> Int[Tensor, " tokens"]:
    """The drafts that are accepted and one token more, distributed exactly as the target's own (2211.17192, algorithm 1).

    ``p`` and ``u`` have one row more than ``q``: the target's distribution after all drafts, and the number to draw with.

    >>> p, q = torch.tensor([[0.5, 0.5], [1.0, 0.0]]), torch.tensor([[0.75, 0.25]])
    >>> [speculative_step(torch.tensor([0]), q, p, torch.tensor([u, 0.1])).tolist() for u in (0.6, 0.7)]
    [[0, 0], [1]]
    """
    ### BEGIN SOLUTION
    places = torch.arange(len(draft), device=draft.device)
    accepted = u[:-1] * q[places, draft] < p[places, draft]
    n = int(accepted.long().cumprod(dim=0).sum())  # how many before the first refusal
    left = p[n]
    if n < len(draft):
        more = (p[n] - q[n]).clamp(min=0)
        left = more if bool(more.any()) else p[n]  # p and q that rounding alone tells apart
    return torch.cat([draft[:n], sample(left / left.sum(), u[-1])[None]])
    ### END SOLUTION


# %% grade="speculative" points=25
check("a6_inference", "speculative")

# %% [markdown]
# ### Look: exactly the same distribution
#
# With four tokens and one draft every case can be gone through: four drafts, and a grid of values for both random numbers.
# Each case has a weight, and the weights of the cases that begin with a token add up to its probability. **Predict**: which
# share of the drafts is accepted, for the $p$ and $q$ below?

# %%
guess = None
q = torch.tensor([[0.5, 0.25, 0.125, 0.125]])
p = torch.tensor([[0.25, 0.25, 0.25, 0.25], [0.25, 0.25, 0.25, 0.25]])
grid = (torch.arange(16) + 0.5) / 16
first, accepted = torch.zeros(4), 0.0
for x in range(4):
    for u in torch.cartesian_prod(grid, grid):
        tokens = speculative_step(torch.tensor([x]), q, p, u)
        weight = q[0, x].item() / 256
        first[tokens[0]] += weight
        accepted += weight * (len(tokens) == 2)
print("the first token is", first.tolist(), "and the target says", p[0].tolist())
assert torch.equal(first, p[0])
why = "it is the sum of min(p, q) over all tokens: 0.25 + 0.25 + 0.125 + 0.125"
reveal("share of accepted drafts", accepted, guess, margin=0.01, because={0.5: why, 1.0: why})

# %% [markdown]
# A better draft is accepted more often, and a worse one less often; neither changes what is written. Lecture 09 measures what
# is won in time.
#
# ## 4 · A paged cache (`paged`)
#
# **Difficulty ●●●●○ · Importance ●●●○○ · 60 minutes · 15 points**
#
# Exercise 1 takes memory for the longest text that may come. For many texts at once that is mostly waste: 60 to 80 % of the
# cache in systems before vLLM (2309.06180, figure 2). A *paged* cache (分页缓存) cuts memory into *blocks* of, say, 16 tokens
# and gives a text one more block when its last one is full. A *block table* (块表) for each text says which block holds which
# of its tokens: token $i$ stands in block `table[i // block_size]`, at place `i % block_size`.
#
# Texts with a common beginning can share its blocks. After `fork` a copy costs nothing. Only when one of the two appends to a
# block that both have, it first gets a copy of that block for itself: *copy on write* (写时复制). Blocks of 2 tokens:
#
# | call | table of A | table of B | free blocks of 6 |
# |---|---|---|---:|
# | `a = cache.new()`, append 3 tokens | `[0, 1]` | | 4 |
# | `b = cache.fork(a)` | `[0, 1]` | `[0, 1]` | 4 |
# | append 1 token to B | `[0, 1]` | `[0, 2]` | 3 |
# | append 1 token to A | `[0, 1]` | `[0, 2]` | 3 |
# | `cache.free(a)` | | `[0, 2]` | 4 |
#
# When A appends, block 1 belongs to A alone, and nothing is copied. When A is freed, block 1 is free again, and block 0 is not:
# B still has it.
#
# | | shape | |
# |---|---|---|
# | `keys`, `values` | `(num_blocks, block_size, kv, d_head)` | the memory of all texts: attributes, taken at once |
# | `k`, `v` of `append` | `(tokens, kv, d_head)` | as many new tokens as you like, or none |
# | `read(seq)` | `(tokens, kv, d_head)` each | all of a text, in order |
# | `table(seq)` | a list of integers | the blocks of a text, in order |
# | `free_blocks` | an integer | attribute or property: how many blocks belong to nobody |
#
# Rules:
# - `new` and `fork` return a number by which the text is called, each another one. Which blocks are taken is up to you.
# - A text of $n$ tokens has exactly $\lceil n / \text{block\_size} \rceil$ blocks: a full block alone asks for no next one.
# - When `append` needs more blocks than are free, a copy included, it is a `ValueError`, and nothing has changed.
# - A text that was freed or never was is a `ValueError`.


# %% solution="paged"
#| export
class PagedCache:
    """Keys and values of many texts in blocks of ``block_size`` tokens, which texts with one beginning share (2309.06180).

    >>> cache = PagedCache(num_blocks=6, block_size=2, num_kv_heads=1, d_head=4)
    >>> a = cache.new()
    >>> cache.append(a, torch.zeros(3, 1, 4), torch.zeros(3, 1, 4))
    >>> b = cache.fork(a)
    >>> cache.append(b, torch.ones(1, 1, 4), torch.ones(1, 1, 4))
    >>> len(cache.table(a)), cache.table(a)[0] == cache.table(b)[0], cache.free_blocks
    (2, True, 3)
    """

    def __init__(
        self, num_blocks: int, block_size: int, num_kv_heads: int, d_head: int, *, dtype: torch.dtype = torch.float32
    ) -> None:
        ### BEGIN SOLUTION
        self.block_size = block_size
        self.keys = torch.zeros(num_blocks, block_size, num_kv_heads, d_head, dtype=dtype)
        self.values = torch.zeros_like(self.keys)
        self.owners = [0] * num_blocks  # how many texts have each block
        self.free_list = list(range(num_blocks))[::-1]
        self.tables: dict[int, list[int]] = {}
        self.lengths: dict[int, int] = {}
        self.last = -1  # the number that the newest text got
        ### END SOLUTION

    @property
    def free_blocks(self) -> int:
        """How many blocks belong to no text."""
        ### BEGIN SOLUTION
        return len(self.free_list)
        ### END SOLUTION

    def new(self) -> int:
        """An empty text."""
        ### BEGIN SOLUTION
        self.last += 1
        self.tables[self.last], self.lengths[self.last] = [], 0
        return self.last
        ### END SOLUTION

    def append(self, seq: int, k: Float[Tensor, "tokens kv d_head"], v: Float[Tensor, "tokens kv d_head"]) -> None:
        """Add tokens to a text. Raises ValueError, with nothing changed, when too few blocks are free."""
        ### BEGIN SOLUTION
        table = self.table(seq)
        length = self.lengths[seq]
        stop = length + len(k)
        shared = len(k) > 0 and length % self.block_size > 0 and self.owners[table[-1]] > 1
        needed = -(-stop // self.block_size) - len(table) + shared
        if needed > len(self.free_list):
            raise ValueError(f"{needed} more blocks are needed, and {len(self.free_list)} are free")
        taken = [self.free_list.pop() for _ in range(needed)]
        for block in taken:
            self.owners[block] = 1
        if shared:
            old, table[-1] = table[-1], taken.pop()
            self.owners[old] -= 1
            for memory in (self.keys, self.values):
                memory[table[-1]] = memory[old]
        table += taken
        places = torch.arange(length, stop)
        blocks = torch.tensor(table, dtype=torch.int64)[places // self.block_size]
        self.keys[blocks, places % self.block_size] = k
        self.values[blocks, places % self.block_size] = v
        self.tables[seq], self.lengths[seq] = table, stop
        ### END SOLUTION

    def read(self, seq: int) -> tuple[Float[Tensor, "tokens kv d_head"], Float[Tensor, "tokens kv d_head"]]:
        """The keys and values of all tokens of a text, in order."""
        ### BEGIN SOLUTION
        blocks = torch.tensor(self.table(seq), dtype=torch.int64)
        return tuple(memory[blocks].flatten(0, 1)[: self.lengths[seq]] for memory in (self.keys, self.values))
        ### END SOLUTION

    def table(self, seq: int) -> list[int]:
        """The blocks of a text, in the order of its tokens. Raises ValueError for a text that there is not."""
        ### BEGIN SOLUTION
        if seq not in self.tables:
            raise ValueError(f"there is no text {seq}: it was freed, or never was")
        return list(self.tables[seq])
        ### END SOLUTION

    def fork(self, seq: int) -> int:
        """A new text that begins as this one; they share all blocks until one of them writes."""
        ### BEGIN SOLUTION
        table, copy = self.table(seq), self.new()
        for block in table:
            self.owners[block] += 1
        self.tables[copy], self.lengths[copy] = table, self.lengths[seq]
        return copy
        ### END SOLUTION

    def free(self, seq: int) -> None:
        """Forget a text; its blocks are free when no other text has them."""
        ### BEGIN SOLUTION
        for block in self.table(seq):
            self.owners[block] -= 1
            if not self.owners[block]:
                self.free_list.append(block)
        del self.tables[seq], self.lengths[seq]
        ### END SOLUTION


# %% grade="paged" points=15
check("a6_inference", "paged")

# %% [markdown]
# ### Look: eight answers to one prompt
#
# Training by reinforcement learning asks for many answers to one prompt. Here a prompt of 100 tokens gets eight answers of
# 20 tokens each. **Predict**: how many blocks of 16 tokens do they take together, with the prompt shared?

# %%
guess = None
cache, none = PagedCache(200, 16, 1, 1), torch.zeros(0, 1, 1)
prompt = cache.new()
cache.append(prompt, torch.zeros(100, 1, 1), torch.zeros(100, 1, 1))
answers = [cache.fork(prompt) for _ in range(8)]
cache.free(prompt)
for _ in range(20):
    for answer in answers:
        cache.append(answer, torch.zeros(1, 1, 1), torch.zeros(1, 1, 1))
taken = 200 - cache.free_blocks
print(f"{taken} blocks; without sharing {8 * -(-120 // 16)}")
why = "120 tokens take 8 blocks each when nothing is shared"
last = "the 7th block holds 4 tokens of the prompt and is written to, so each answer but one copies it"
reveal("blocks", taken, guess, because={64: why, 15: last})
assert taken == 6 + 8 * 2

# %% [markdown]
# Six full blocks of the prompt are shared. The seventh is written to by everybody, so each answer has its own, and one more.
#
# ## 5 · Weights in one byte (`quantize`)
#
# **Difficulty ●●○○○ · Importance ●●●●○ · 30 minutes · 10 points**
#
# A decode step reads every weight once. Weights of one byte are read in a quarter of the time of float32. *Quantisation*
# (量化), symmetric, with one scale for each group of `group_size` neighbours in a row:
#
# $$s = \frac{\max |w|}{127}, \qquad q = \text{round}(w / s) \in \{-127, \dots, 127\}, \qquad \hat w = s\, q$$
#
# By hand, groups of 2: the row $(1, -0.5, 0, 254)$ has the groups $(1, -0.5)$ with $s = 1/127$, and $(0, 254)$ with $s = 2$. So
# $q = (127, -64, 0, 127)$ and $\hat w = (1, -0.504, 0, 254)$. One scale for the whole row would be 2, and would turn the first
# two weights into 0: that is what an *outlier* (离群值) does, and why groups are small.
#
# | | shape | |
# |---|---|---|
# | `weight` | `(out, in)` | any floating dtype |
# | `q` | `(out, in)` | int8 |
# | `scales` | `(out, in // group_size)` | float32 |
#
# Rules:
# - Computed in float32, also when `weight` is float16 or bfloat16.
# - A group of zeros has some finite scale and comes back as zeros, not as NaN.
# - `in` must be a multiple of `group_size`, which is at least 1: a `ValueError` otherwise.
# - No error is larger than half a scale. `weight` stays as it is.


# %% solution="quantize"
#| export
def quantize_int8(
    weight: Float[Tensor, "out in"], group_size: int
) -> tuple[Int8[Tensor, "out in"], Float[Tensor, "out groups"]]:
    """(q, scales): each group of a row as integers from -127 to 127 times its scale, max |w| / 127.

    Raises ValueError unless the rows can be cut into groups of ``group_size``.

    >>> q, scales = quantize_int8(torch.tensor([[1.0, -0.5, 0.0, 254.0]]), 2)
    >>> q.tolist(), [round(s, 4) for s in scales[0].tolist()]
    ([[127, -64, 0, 127]], [0.0079, 2.0])
    """
    ### BEGIN SOLUTION
    if group_size < 1 or weight.shape[1] % group_size:
        raise ValueError(f"rows of {weight.shape[1]} cannot be cut into groups of {group_size}")
    groups = weight.float().unflatten(1, (-1, group_size))
    scales = groups.abs().amax(dim=-1) / 127
    safe = torch.where(scales > 0, scales, 1.0)
    q = (groups / safe[..., None]).round().clamp(-127, 127)
    return q.flatten(1).to(torch.int8), safe
    ### END SOLUTION


def dequantize_int8(q: Int8[Tensor, "out in"], scales: Float[Tensor, "out groups"]) -> Float[Tensor, "out in"]:
    """The weights that integers and scales stand for, in float32.

    >>> dequantize_int8(torch.tensor([[127, -64]], dtype=torch.int8), torch.tensor([[0.5]])).tolist()
    [[63.5, -32.0]]
    """
    ### BEGIN SOLUTION
    groups = q.float().unflatten(1, (scales.shape[1], -1))
    return (groups * scales[..., None].float()).flatten(1)
    ### END SOLUTION


# %% grade="quantize" points=10
check("a6_inference", "quantize")

# %% [markdown]
# ### Look: what one outlier does
#
# 256 rows of 1,024 normal weights, one weight in each row made a hundred times larger. **Predict**: with one scale for a
# whole row, by what factor does the outlier raise the error of all the other weights?

# %%
guess = None
normal = torch.randn(256, 1024, generator=torch.Generator().manual_seed(0))
outlier = normal.clone()
outlier[:, 0] *= 100
for size in (1024, 128, 32):
    errors = [
        (dequantize_int8(*quantize_int8(w, size)) - w)[:, 1:].square().mean().sqrt().item() for w in (normal, outlier)
    ]
    print(f"groups of {size:>4}: error {errors[0]:.4f} without, {errors[1]:.4f} with the outlier")
    if size == 1024:
        factor = errors[1] / errors[0]
assert factor > 5
why = "the scale of the row grows with its greatest weight, and the error with the scale"
reveal("factor", factor, guess, within=1.5, because={"too small": why})

# %% [markdown]
# In small groups the outlier spoils its neighbours alone. The price is a scale for every group: with groups of 32, four bytes
# on 32.

# %% [markdown]
# ## Where you stand
#
# Run `status()`, then save the notebook and run the last cell: your solution becomes `cs336lite.decoding`, and the engine of
# lecture 09 runs on it.

# %%
status()

# %% locked="export"
from cs336lite.course import export_solution

export_solution("a6_inference")
