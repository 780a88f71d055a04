# ---
# jupyter:
#   kernelspec: {display_name: Python 3, language: python, name: python3}
#   cs336lite: {module: layers, minutes: 3, prerequisites: [02_tensors, a2_attention, a3_rope], device: CPU}
# ---

# %% [markdown]
# # 03 · The Transformer (模型架构)
#
# {badge} · prerequisites: 02, a2 (attention), a3 (RoPE) · device: CPU
#
# Lecture 02 counted what a Transformer costs and treated it as a chain of matrix products. Here we open it. Every large
# language model of today is this machine, and all its parts fit on one screen. You will work each part by hand on a few
# numbers, then put them together, on your own attention and your own RoPE, and train the machine for about a minute until
# it writes in the words of little stories.
#
# ## Questions
#
# 1. What is a Transformer made of, and what runs through all of its parts?
# 2. How does one token look at another?
# 3. How does attention know the order of the tokens?
# 4. What does the feed-forward network do, and what is a gate?
# 5. Does the machine learn more than a table of counts?
# 6. What happens when a token may see too much, and which masks are in use?
# 7. What does a model keep while it writes, and what does that save?
#
# The answers stand at the end, each with the numbers of your run. Write your guess in place of `None` before you run a cell
# below a **Predict** box. Four exercises ask for a few lines each. None is graded, and the lecture runs to its end with all
# of them solved or none.

# %%
import math
from dataclasses import dataclass
from itertools import repeat

import numpy as np
import torch
from einops import einsum, rearrange
from IPython.display import display
from torch.utils.flop_counter import FlopCounterMode

from cs336lite.attention import MultiHeadAttention, scaled_dot_product_attention
from cs336lite.course import check, finished, hint, whose
from cs336lite.course.baselines import baselines
from cs336lite.course.claims import claim, claims
from cs336lite.course.data import SEPARATOR, default_corpus
from cs336lite.course.diagram import Diagram
from cs336lite.course.exercise import solution
from cs336lite.course.measure import reveal
from cs336lite.course.plot import COLORS, axes, finish
from cs336lite.rope import RotaryPositionalEmbedding

# your attention and your RoPE are in the machine below; until you have them, cells show what our own run has shown
READY = whose("attention", "rope", lecture="03_architecture")
torch.set_num_threads(1)  # threads wait for each other when other programs run
YOURS = "this runs on your attention and your RoPE: do check('a2_attention') and check('a3_rope') pass?"

# %% folded=true
#| export
"""The parts of a block that are not attention: norms (归一化), activations and gated linear units, feed-forward networks.

LayerNorm: Ba et al. 2016, arXiv 1607.06450. RMSNorm: Zhang and Sennrich 2019, arXiv 1910.07467. Gated linear units:
Shazeer 2020, arXiv 2002.05202. Shapes: x is (..., d_model); the networks work on each token by itself.

Built in notebooks/03_architecture.ipynb.
"""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

# %% folded=true
d = Diagram(88, 9.6)
stream = 7.4
ids = d.box(0.5, stream - 0.65, "ids")
embedding = d.box(7.5, stream - 0.65, "embedding", color="orange")
d.arrow(ids.right, embedding.left)
last = embedding.right
for x, name, section in ((24, "attention", "sections 2 and 3"), (44, "feed-forward", "section 4")):
    norm = d.box(x, 4.2, "norm", color="green")
    part = d.box(x - 3.5, 1.6, name, color="vermillion", width=14)
    plus = d.box(x + 10, stream - 0.65, "+", width=3)
    d.text(part.top[0], 0.9, section, align="middle")
    d.arrow((norm.bottom[0], stream), norm.bottom, color="grey")
    d.arrow(norm.top, (norm.top[0], part.bottom[1]), color="grey")
    d.line(part.right, (plus.top[0], part.right[1]), color="grey")
    d.arrow((plus.top[0], part.right[1]), plus.top, color="grey")
    d.arrow(last, plus.left, color="blue")
    last = plus.right
norm = d.box(62, stream - 0.65, "norm", color="green")
output = d.box(69.5, stream - 0.65, "output", color="orange")
softmax = d.box(79, stream - 0.65, "softmax", color="green")
d.arrow(last, norm.left, color="blue")
d.arrow(norm.right, output.left)
d.arrow(output.right, softmax.left)
d.text(softmax.top[0] + 4, stream - 1.6, "probability of each next token", align="end")
d.text(7.5, 9.1, "blue: the residual stream, a vector for each token · grey: one block; a model has many")
d.show()

# %% [markdown]
# ## 1 · The residual stream
#
# **What runs through a Transformer?** One vector for each token, from the left of the picture to the right. It begins as
# the row of the *embedding* that belongs to the token's id. Then every part does the same three things: it reads a copy
# of the vector, computes something, and *adds* the result. Nothing is ever replaced. This running sum is the *residual
# stream* (残差流). The shape of the whole is (batch, seq, d_model) all along.
#
# By hand: a stream of two numbers, after the token *cat*, in a model with one block. The output layer has one row for each
# token of a vocabulary of three. The *logit* of a token is the product of its row with the stream.

# %% folded=true
d = Diagram(88, 7.6)
d.text(24, 0.6, "the stream", align="middle")
for i, (name, values) in enumerate(
    (("embedding of cat", (1, 0)), ("+ attention", (0, 2)), ("+ feed-forward", (1, -1)))
):
    d.text(19, 2 + 1.3 * i, name, align="end")
    d.row(20, 1.35 + 1.3 * i, [str(x) for x in values], "blue", widths=[4, 4], gap=0)
d.line((20, 5.4), (28, 5.4))
d.text(19, 6.3, "= what is read out", align="end")
d.row(20, 5.65, ["2", "1"], "green", widths=[4, 4], gap=0)
d.text(37, 0.6, "rows of the output layer")
for i, (word, row) in enumerate(((" sat", (1, 1)), (" cat", (0, -1)), (" the", (-1, 1)))):
    d.text(42, 2 + 1.3 * i, word.replace(" ", "␣"), align="end", mono=True)
    d.row(43, 1.35 + 1.3 * i, [str(x) for x in row], "orange", widths=[4, 4], gap=0)
d.text(54, 2, "logit of ␣sat: 1·2 + 1·1 = 3")
d.text(54, 3.3, "logit of ␣cat: 0·2 − 1·1 = −1")
d.text(54, 4.6, "logit of ␣the: −1·2 + 1·1 = −1")
d.show()

# %% [markdown]
# A product with a sum is a sum of products. So each part *votes* for tokens by itself, and the logits are the sum of all
# votes.
#
# **Predict.** How much does attention alone, the row (0, 2), add to the logit of *sat*?

# %%
guess = None

parts = torch.tensor([[1.0, 0.0], [0.0, 2.0], [1.0, -1.0]])  # (parts, d_model)
rows = torch.tensor([[1.0, 1.0], [0.0, -1.0], [-1.0, 1.0]])  # (vocab_size, d_model)
votes = einsum(parts, rows, "part d, token d -> part token")

# %% folded=true
# run this cell to compare your guess
reveal(
    "from attention to sat", votes[1, 0].item(), guess, because={3: "that is the whole logit; attention's row alone"}
)

# %%
for name, vote in zip(("embedding", "attention", "feed-forward", "sum"), [*votes, votes.sum(0)]):
    print(f"{name:<14} sat {vote[0]:+.0f}   cat {vote[1]:+.0f}   the {vote[2]:+.0f}")

# %% folded=true
claim(
    1,
    "The parts of a Transformer add to one stream, and their votes add up: {embedding:.0f} + {attention:.0f} + {feed_forward:.0f} = {logit:.0f}, the logit of the sum.",
    lambda embedding, attention, feed_forward, logit: embedding + attention + feed_forward == logit,
    embedding=votes[0, 0].item(),
    attention=votes[1, 0].item(),
    feed_forward=votes[2, 0].item(),
    logit=(parts.sum(0) @ rows[0]).item(),
)

# %% [markdown]
# Why add? Because the gradient of a sum is passed on whole to each of its terms. From the loss back to the embedding
# there is a way along the additions that no matrix lies on, however deep the model is (residual connections, He et al.
# 2015, arXiv 1512.03385). Lecture 03b measures what happens when something is put in that way.
#
# ### The norm
#
# With every addition the vector may grow. So each part reads a copy that has been brought to a standard size.
# *RMSNorm* (均方根归一化) divides by the root mean square; *LayerNorm* (层归一化), the older one, first subtracts the mean
# $\bar x$. A learned *gain* $g$ then scales each dimension:
#
# $$\text{RMSNorm}(x) = \frac{x}{\sqrt{\overline{x^2} + \epsilon}} \odot g \qquad
# \text{LayerNorm}(x) = \frac{x - \bar x}{\sqrt{\overline{(x - \bar x)^2} + \epsilon}} \odot g + b$$
#
# By hand, $x = (1, 7, 1, 7)$ and $g = 1$. The mean square is $(1 + 49 + 1 + 49) / 4 = 25$, its root 5, so RMSNorm gives
# $(0.2, 1.4, 0.2, 1.4)$. LayerNorm subtracts 4 and divides by 3: $(-1, 1, -1, 1)$. The tiny $\epsilon$ only prevents a
# division by zero. RMSNorm needs one reduction less, and most models since Llama use it (arXiv 1910.07467).


# %% exercise="rms_norm" minutes=6 difficulty=1
def rms_norm(x: torch.Tensor, gain: torch.Tensor, eps: float = 1e-5) -> torch.Tensor:
    """x (..., d_model) divided by the root mean square of its last dimension, times gain (d_model,)."""
    ### BEGIN SOLUTION
    return x * (x.square().mean(-1, keepdim=True) + eps).rsqrt() * gain
    ### END SOLUTION


# %% [markdown]
# **Predict.** Multiply every number of a vector by 100. By which factor does its RMSNorm grow?

# %%
guess = None  # times

x = torch.randn(3, 64, generator=torch.Generator().manual_seed(0))
ones = torch.ones(64)
grown = (rms_norm(100 * x, ones) / rms_norm(x, ones)).mean().item()
shifted = (rms_norm(x + 5, ones) - rms_norm(x, ones)).abs().max().item()

# %% folded=true
# run this cell to compare your guess
because = {
    100: "the root mean square grows 100 times as well",
    10: "the root is of the mean square: it grows 100 times",
}
reveal("times", grown, guess, because=because, within=1.05, shown=f"{grown:.3f}")
print(f"adding 5 to every number changes RMSNorm by up to {shifted:.1f}; LayerNorm takes it away with the mean")

# %% folded=true
claim(
    1,
    "Each part reads a normalised copy, so the size of the stream does not matter to it: 100 times the vector gives {grown:.3f} times the RMSNorm.",
    lambda grown: abs(grown - 1) < 0.001,
    grown=grown,
)

# %% [markdown]
# As modules, with a gain to learn, for the models of this course. Both compute in float32, because squares of bfloat16
# numbers lose digits.


# %% folded=true
#| export
class LayerNorm(nn.Module):
    """(x - mean) / sqrt(variance + eps) * weight + bias over the last dimension (arXiv 1607.06450, equation 4).

    ``bias=False`` leaves the bias out, as PaLM does. Computed in float32, returned in the dtype of x.

    >>> LayerNorm(2, eps=0.0)(torch.tensor([1.0, 3.0])).tolist()
    [-1.0, 1.0]
    """

    def __init__(self, d: int, eps: float = 1e-5, bias: bool = True) -> None:
        super().__init__()
        self.eps = eps
        self.weight = nn.Parameter(torch.ones(d))
        self.bias = nn.Parameter(torch.zeros(d)) if bias else None

    def forward(self, x: Float[Tensor, "... d"]) -> Float[Tensor, "... d"]:
        wide = x.float() if x.dtype in (torch.float16, torch.bfloat16) else x
        centred = wide - wide.mean(dim=-1, keepdim=True)
        scaled = centred * torch.rsqrt(centred.square().mean(dim=-1, keepdim=True) + self.eps)
        result = scaled.to(x.dtype) * self.weight
        return result if self.bias is None else result + self.bias


class RMSNorm(nn.Module):
    """x / sqrt(mean(x ** 2) + eps) * weight over the last dimension (arXiv 1910.07467, equation 4).

    Computed in float32, returned in the dtype of x.

    >>> RMSNorm(2, eps=0.0)(torch.tensor([3.0, 3.0])).tolist()
    [1.0, 1.0]
    """

    def __init__(self, d: int, eps: float = 1e-5) -> None:
        super().__init__()
        self.eps = eps
        self.weight = nn.Parameter(torch.ones(d))

    def forward(self, x: Float[Tensor, "... d"]) -> Float[Tensor, "... d"]:
        wide = x.float() if x.dtype in (torch.float16, torch.bfloat16) else x
        scaled = wide * torch.rsqrt(wide.square().mean(dim=-1, keepdim=True) + self.eps)
        return scaled.to(x.dtype) * self.weight


# %% folded=true
numbers = torch.tensor([1.0, 7.0, 1.0, 7.0])
by_hand = {"RMSNorm": [0.2, 1.4, 0.2, 1.4], "LayerNorm": [-1.0, 1.0, -1.0, 1.0]}
for norm, values in zip((RMSNorm(4), LayerNorm(4)), by_hand.values()):
    torch.testing.assert_close(norm(numbers), torch.tensor(values), atol=1e-4, rtol=0)
torch.testing.assert_close(RMSNorm(64)(x), rms_norm(x, ones))

# %% [markdown]
# ## 2 · Attention: how one token looks at another
#
# **What does the word *sat* need to know?** Who sat. That is another token, at a distance that changes from sentence to
# sentence. So the token must search. In *attention* (注意力) each token makes three vectors out of its own: a *query* $q$,
# what it looks for; a *key* $k$, what it can be found by; a *value* $v$, what it passes on. Each is a product with a
# matrix that is learned, $q = W_Q\,x$ and so on. Then
#
# $$\text{attention}(q, K, V) = \sum_j w_j\, v_j \qquad w = \text{softmax}\!\left(\frac{q \cdot k_1}{\sqrt{d}}, \frac{q \cdot k_2}{\sqrt{d}}, \dots\right)$$
#
# The *score* of two tokens is the product of the one's query and the other's key. Softmax turns a row of scores into
# weights that add up to 1. The result is the mean of the values with these weights. Scores of what comes *later* are set
# to $-\infty$ before the softmax, so that their weight is 0: the *causal mask* (因果掩码).
#
# Four tokens by hand. In these queries and keys, the first number means *noun*, the second *article*: *the* can be found
# as an article, *cat* as a noun; *cat* looks for its article, *sat* for a noun, the full stop for both. The unit of the
# scores is $\ln 2$, so $e^{\text{score}}$ is a power of two, and a pencil is enough.

# %% folded=true
WORDS = ["the", "cat", "sat", "."]
QUERIES, KEYS = [(0, 0), (0, 1), (1, 0), (1, 1)], [(0, 1), (1, 0), (0, 0), (0, 0)]
VALUES = [(12, 0), (0, 12), (12, 12), (0, 0)]
SCORES = [[sum(a * b for a, b in zip(q, k)) for k in KEYS] for q in QUERIES]
WEIGHTS = [["1", "", "", ""], ["2/3", "1/3", "", ""], ["1/4", "2/4", "1/4", ""], ["2/6", "2/6", "1/6", "1/6"]]
d = Diagram(88, 14.2)
for x, title, vectors, color in ((7, "q", QUERIES, "blue"), (19, "k", KEYS, "orange"), (31, "v", VALUES, "green")):
    d.text(x + 4.5, 0.7, title, align="middle", mono=True)
    for i, vector in enumerate(vectors):
        d.row(x, 1.4 + 1.3 * i, [str(n) for n in vector], color, widths=[4.5, 4.5], gap=0)
for i, word in enumerate(WORDS):
    d.text(6, 2.05 + 1.3 * i, word, align="end", mono=True)
d.text(56, 0.7, "scores q · k; later keys are masked")
for i, row in enumerate(SCORES):
    shown = [str(n) if j <= i else "−∞" for j, n in enumerate(row)]
    colors = ["vermillion" if j <= i else "grey" for j in range(4)]
    d.row(56, 1.4 + 1.3 * i, shown, colors, widths=[6] * 4, gap=0)
    d.text(55, 2.05 + 1.3 * i, WORDS[i], align="end", mono=True)
d.arrow((41, 4), (50, 4), color="grey")
d.arrow((68, 6.9), (68, 8.1), color="grey")
d.text(66.5, 7.4, "2 to the power of each, over the sum of the row", align="end")
for i, row in enumerate(WEIGHTS):
    colors = ["vermillion" if j <= i else "grey" for j in range(4)]
    d.row(56, 8.4 + 1.3 * i, [text or "0" for text in row], colors, widths=[6] * 4, gap=0)
    d.text(55, 9.05 + 1.3 * i, WORDS[i], align="end", mono=True)
d.text(7, 9.05, "the receives (12, 0)")
d.text(7, 10.35, "cat receives 2/3 · (12, 0) + 1/3 · (0, 12) = (8, 4)")
d.text(7, 11.65, "sat receives ?")
d.show()

# %% [markdown]
# **Predict.** Which two numbers does *sat* receive?

# %%
guess = None  # (first, second)

Q, K, V = (torch.tensor(x, dtype=torch.float32) for x in (QUERIES, KEYS, VALUES))
Q = Q * math.log(2) * math.sqrt(2)  # so that a score, divided by the root of d = 2, is a multiple of ln 2
causal = torch.ones(4, 4, dtype=torch.bool).tril()  # (query, key): True = may attend

scores = einsum(Q, K, "q d, k d -> q k") / math.sqrt(2)
weights = torch.softmax(torch.where(causal, scores, -torch.inf), dim=-1)
mixed = einsum(weights, V, "q k, k d -> q d")

# %% folded=true
# run this cell to compare your guess
because = {
    (3, 6): "sat sees itself, too: a quarter of (12, 12)",
    (0, 12): "it does not choose one value, it mixes them",
}
reveal("sat receives", tuple(round(n, 3) for n in mixed[2].tolist()), guess, because=because)

# %%
for word, weight, value in zip(WORDS, weights, mixed):
    print(
        f"{word:<4} weights {[round(w, 2) for w in weight.tolist()]}  receives {[round(n, 2) for n in value.tolist()]}"
    )

# %% folded=true
if READY.or_show("attention by hand"):
    module = scaled_dot_product_attention(Q, K, V, causal)
    off = (module - mixed).abs().max().item()
    print(
        claim(
            2,
            "A token takes the mean of values, weighted by the softmax of query times key: sat takes {first:.0f} and {second:.0f} by hand, and the module of a2 differs by {off:.0e}.",
            lambda first, second, off: (round(first), round(second)) == (6, 9) and off < 1e-4,
            first=mixed[2, 0].item(),
            second=mixed[2, 1].item(),
            off=off,
        )
    )

# %% [markdown]
# *sat* asked for a noun, so half of what it receives is the value of *cat*. It is a soft search: everything that may be
# seen gets some weight.


# %% exercise="attend_one" minutes=8 difficulty=2
def attend_one(q: torch.Tensor, K: torch.Tensor, V: torch.Tensor) -> torch.Tensor:
    """What one query q (d,) receives from keys K (k, d) and values V (k, dv), all of which it may see: (dv,)."""
    ### BEGIN SOLUTION
    weights = torch.softmax(K @ q / len(q) ** 0.5, dim=0)
    return weights @ V
    ### END SOLUTION


# %% [markdown]
# ### Why divide by the root of d?
#
# The product of two random vectors is a sum of $d$ terms. Its variance grows like $d$, so its size grows like $\sqrt d$. A
# softmax of large numbers gives nearly all weight to one of them, and then its gradient is nearly zero: the search can no
# longer be learned.
#
# **Predict.** Queries and keys of 64 random normal numbers, 16 keys. What is the largest weight on average if the scores
# are *not* divided?

# %%
guess = None  # between 1/16 and 1

draw = torch.Generator().manual_seed(0)
sizes, largest = [4, 16, 64, 256, 1_024], {"not divided": [], "divided by √d": []}
for size in sizes:
    queries, keys = torch.randn(500, size, generator=draw), torch.randn(500, 16, size, generator=draw)
    products = einsum(queries, keys, "n d, n k d -> n k")
    for name, divisor in zip(largest, (1, math.sqrt(size))):
        largest[name].append(torch.softmax(products / divisor, -1).amax(-1).mean().item())

# %% folded=true
# run this cell to compare your guess
because = {"too small": "products have a size of 8 there, and e to the 8 is 3,000", 1 / 16: "that is all keys alike"}
reveal(
    "largest weight",
    largest["not divided"][2],
    guess,
    because=because,
    within=1.1,
    shown=f"{largest['not divided'][2]:.2f}",
)

# %% folded=true
fig, ax = axes(xlabel="d, the size of a query (logarithmic)", ylabel="largest of 16 weights, mean", size=(6.4, 3))
for (name, values), style in zip(largest.items(), ("--o", "-o")):
    ax.plot(sizes, values, style, label=name)
ax.axhline(1 / 16, color="#888888", linestyle=":", label="all 16 alike")
ax.set(xscale="log", ylim=(0, 1.05), title="Without the root of d, a softmax chooses instead of mixing")
ax.set_xticks(sizes, [f"{n:,}" for n in sizes])
ax.minorticks_off()
finish(fig)

# %% folded=true
claim(
    2,
    "Scores are divided by the root of d because they grow with it: of 16 random keys with d = 64 the largest weight is {plain:.2f} without the division and {scaled:.2f} with it.",
    lambda plain, scaled: plain > 0.8 and scaled < 0.5,
    plain=largest["not divided"][2],
    scaled=largest["divided by √d"][2],
)

# %% [markdown]
# ### The causal mask
#
# While it is trained, a model predicts all next tokens of a text at once. Position 3 must not see position 4, or it would
# copy the answer. The mask is a matrix with a row for each query and a column for each key.


# %% exercise="causal_mask" minutes=5 difficulty=1
def causal_mask(seq: int) -> torch.Tensor:
    """(seq, seq) booleans, True where the query (row) may attend to the key (column): to itself and what is before it."""
    ### BEGIN SOLUTION
    return torch.ones(seq, seq, dtype=torch.bool).tril()
    ### END SOLUTION


# %% [markdown]
# ### Several heads
#
# One search is not enough: *sat* needs its subject, its tense and its place. So the vector is cut into *heads* (多头), and
# each head searches by itself, with queries and keys of $d_\text{head} = d_\text{model} / h$ numbers. Their results are
# laid side by side, and a last matrix $W_O$ mixes them. Four matrices of $d \times d$: attention has $4 d^2$ weights,
# whatever the number of heads.

# %% folded=true
d = Diagram(88, 8.6)
x = d.box(0.5, 3.4, "x\n(seq, d)", height=2, color="blue")
for i, name in enumerate(("W_Q x", "W_K x", "W_V x")):
    made = d.box(13, 1 + 2.4 * i, name, color="orange")
    d.arrow(x.right, made.left, color="grey")
    split = d.row(25, 1 + 2.4 * i, ["head 1", "head 2"], ["blue", "green"], widths=[9, 9], gap=0.3)
    d.arrow(made.right, split.left, color="grey")
for i, (name, color) in enumerate((("softmax(q Kᵀ/√d_head) V", "blue"), ("softmax(q Kᵀ/√d_head) V", "green"))):
    head = d.box(48, 2 + 2.9 * i, name, color=color)
    d.arrow((43.5, 4.1), head.left, color="grey")
    d.arrow(head.right, (78.5, 3.95), color="grey") if i == 0 else d.arrow(head.right, (78.5, 4.6), color="grey")
d.box(78.5, 3.3, "W_O\nmixes", height=2, color="orange")
d.text(25, 8.1, "(seq, d_head) each, side by side (seq, d)")
d.show()

# %% [markdown]
# Your `MultiHeadAttention` of a2 does all of this. The next cell takes its four matrices apart and does the same with one
# line of einops for each step.

# %%
if READY.or_show("several heads"):
    torch.manual_seed(0)
    attention = MultiHeadAttention(d_model=32, num_heads=4)  # causal
    x = torch.randn(1, 10, 32)
    q, k, v = (
        rearrange(project(x), "b t (h d) -> b h t d", h=4)
        for project in (attention.q_proj, attention.k_proj, attention.v_proj)
    )
    scores = einsum(q, k, "b h q d, b h k d -> b h q k") / math.sqrt(8)
    weights = torch.where(causal_mask(10), scores, -torch.inf).softmax(-1)
    heads = einsum(weights, v, "b h q k, b h k d -> b h q d")
    mixed = attention.o_proj(rearrange(heads, "b h t d -> b t (h d)"))
    apart = (attention(x) - mixed).abs().max().item()
    sizes = sum(p.numel() for p in attention.parameters())
    print(
        claim(
            2,
            "Heads search side by side: taken apart and put together again, attention with 4 heads differs from a2's by {apart:.0e}, and has {sizes:,} weights, four matrices of 32 × 32.",
            lambda apart, sizes: apart < 1e-4 and sizes == 4 * 32 * 32,
            apart=apart,
            sizes=sizes,
        )
    )

# %% [markdown]
# ## 3 · Where is a token? Rotary positions
#
# **Does attention know the order?** Look at the formula again: a sum over $j$, in any order. Swap two earlier tokens, and
# the last one receives the same mean. *Dog bites man* and *man bites dog* are the same to it.
#
# **Predict.** Shuffle nine tokens before the tenth. By how much does what the tenth receives change, at most, in one
# layer of causal attention without positions? And in two layers?

# %%
guess_one = guess_two = None

changes = {}
if READY.or_show("without positions"):
    torch.manual_seed(0)
    x, order = torch.randn(1, 10, 32), [*torch.randperm(9).tolist(), 9]
    for layers in (1, 2):
        stack = [MultiHeadAttention(32, 4) for _ in range(layers)]
        y, shuffled = x, x[:, order]
        for layer in stack:
            y, shuffled = y + layer(y), shuffled + layer(shuffled)
        changes[layers] = (y[0, -1] - shuffled[0, -1]).abs().max().item()

# %% folded=true
# run this cell to compare your guess
if READY.or_show("without positions, compared"):
    one, two = changes.values()
    reveal("one layer", one, guess_one, margin=1e-4, shown=f"{one:.0e}", because={"too large": "a sum has no order"})
    because = {0: "in the first layer each token sees what is before it, so the middle ones change"}
    reveal("two layers", two, guess_two, because=because, within=3, shown=f"{two:.1e}")
    print(
        claim(
            3,
            "Without positions one layer of causal attention cannot tell the order of earlier tokens (a shuffle changes it by {one:.0e}); two layers can (by {two:.1e}).",
            lambda one, two: one < 1e-5 and two > 1e-3,
            one=one,
            two=two,
        )
    )

# %% [markdown]
# The second layer can tell, because the mask has an order: the first token sees one token, the fifth sees five. Models
# without any positions can be trained for this reason, and they learn slowly. So positions are given.
#
# *Rotary position embedding* (RoPE, 旋转位置编码; arXiv 2104.09864) turns each query and each key by an angle that grows with
# its position. By hand, with $d = 2$ and 30 degrees for each position: the query at position 3 is turned by 90 degrees,
# the key at position 1 by 30. Both were $(1, 0)$, so now they are $(0, 1)$ and $(\frac12 \sqrt 3, \frac12)$, and the
# score is their product, a half: the cosine of the 60 degrees between them.
#
# **Predict.** The same query at position 10, and the same key at position 8: what is the score?

# %%
guess = None


def turned(position: int, degrees: float = 30) -> tuple[float, float]:
    """Where (1, 0) is after so many turns."""
    return math.cos(math.radians(degrees * position)), math.sin(math.radians(degrees * position))


def score(m: int, n: int) -> float:
    """The product of (1, 0) at position m and (1, 0) at position n."""
    return sum(a * b for a, b in zip(turned(m), turned(n)))


# %% folded=true
# run this cell to compare your guess
because = {"too small": "300 and 240 degrees: 60 lie between them, as before"}
reveal("score at positions 10 and 8", round(score(10, 8), 6), guess, because=because)

# %% folded=true
fig, both = axes(1, 2, xlabel="first number", ylabel="second number", size=(7.6, 3.9))
circle = np.linspace(0, 2 * np.pi, 100)
for ax, (m, n) in zip(both, ((3, 1), (10, 8))):
    ax.plot(np.cos(circle), np.sin(circle), color="#BBBBBB", linewidth=1)
    for name, place, color in (("query", m, "blue"), ("key", n, "vermillion")):
        a, b = turned(place)
        ax.plot([0, a], [0, b], color=COLORS[color], linewidth=2.5, label=f"{name} at {place}: {30 * place} degrees")
        ax.plot(a, b, "o", color=COLORS[color])
    between = np.radians(np.linspace(30 * n, 30 * m, 30))
    ax.plot(0.4 * np.cos(between), 0.4 * np.sin(between), color=COLORS["black"], linewidth=1)
    middle = between.mean()
    ax.text(0.55 * np.cos(middle), 0.55 * np.sin(middle), "60°", ha="center", va="center")
    ax.set(xlim=(-1.15, 1.15), ylim=(-1.15, 1.15), aspect="equal", title=f"score {score(m, n):.2f}")
    ax.legend(loc="upper center", bbox_to_anchor=(0.5, -0.2), fontsize=9)
finish(fig)

# %% [markdown]
# Only the *distance* of two positions counts, and no table of positions has to be learned. (The vectors turn after the
# matrices $W_Q$ and $W_K$, so that this holds for any weights.) But with one angle, position 13 would look like position
# 1: 12 steps of 30 degrees are a full turn. So RoPE cuts a head into pairs of numbers, and gives every pair a speed
# of its own, like the hands of a clock: pair $i$ of $d/2$ by $10{,}000^{-2i/d}$ radians for each position.

# %%
PAIRS = 4  # of a head with 8 numbers
speeds = 10_000.0 ** (-np.arange(PAIRS) / PAIRS)  # radians for each position
for i, speed in enumerate(speeds):
    print(f"pair {i}: {speed:5.3f} radians a position, a full turn after {2 * math.pi / speed:8,.0f} positions")

# %% folded=true
fig, (left, right) = axes(1, 2, size=(9, 3.4))
places = np.arange(0, 65)
for i, (speed, style) in enumerate(zip(speeds, ("-", "--", "-.", ":"))):
    left.plot(places, np.cos(places * speed), style, label=f"pair {i}")
left.set(xlabel="distance (tokens)", ylabel="cosine of the angle", title="Four pairs, four speeds")
left.legend(loc="upper center", bbox_to_anchor=(0.5, -0.2), fontsize=9, ncols=4, columnspacing=1)
far = np.arange(0, 257)
own = np.cos(far[:, None] * 10_000.0 ** (-np.arange(0, 64, 2) / 64)).mean(-1)
right.plot(far, own)
right.set(xlabel="distance (tokens)", ylabel="score, 1 at distance 0", ylim=(0, 1.05))
right.set_title("32 pairs together, a vector of ones with itself")
finish(fig)

# %% [markdown]
# The fast pairs tell neighbours apart, the slow ones far from near. On the right: the score of two equal vectors of 64
# ones, by distance. It falls on average, with waves; a model is free to learn queries and keys that prefer other
# distances.
#
# Your module of a3, on random queries and keys of 64 numbers: all scores at positions 0 to 31, and again 500 further on.

# %%
if READY.or_show("rope"):
    rope = RotaryPositionalEmbedding(10_000.0, 64, 1_024)
    torch.manual_seed(0)
    q, k, places = torch.randn(32, 64), torch.randn(32, 64), torch.arange(32)
    here, there = (einsum(rope(q, places + start), rope(k, places + start), "m d, n d -> m n") for start in (0, 500))
    size, moved = here.std().item(), (here - there).abs().max().item()
    print(
        claim(
            3,
            "RoPE makes scores depend on distances: moved by 500 positions, scores of a size of {size:.0f} change by {moved:.0e} at most.",
            lambda size, moved: moved < 1e-3 * size,
            size=size,
            moved=moved,
        )
    )

# %% [markdown]
# Other ways to tell positions, from the sinusoids of 2017 to ALiBi, are in [appendix 03x](appendix/03x_positions.ipynb).
# Lecture 03b compares them, also beyond the length that they were trained on.
#
# ## 4 · The feed-forward network and its gate
#
# **What happens to a token that has gathered what it needs?** It is worked on alone. The *feed-forward network* (前馈网络) has
# two matrices with a function between them: up to $d_\text{ff}$ numbers, ReLU (2017) or GELU (GPT-2), and back to
# $d$. A *gated linear unit* (门控线性单元, GLU; arXiv 1612.08083, 2002.05202) has a third matrix. It makes two vectors, sends
# one of them, the *gate*, through the function, and multiplies them number by number.

# %% folded=true
d = Diagram(86, 8.4)
for y, gated in ((1.5, False), (5.3, True)):
    x = d.box(0.5, y, "x", color="blue")
    if gated:
        gate = d.box(10, y - 1, "gate: d × d_ff", color="orange")
        up = d.box(10, y + 1, "up: d × d_ff", color="orange")
        function = d.box(32, y - 1, "SiLU", color="green")
        times = d.box(46, y, "×", color="vermillion")
        for a, b in ((x.right, gate.left), (x.right, up.left), (gate.right, function.left)):
            d.arrow(a, b, color="grey")
        d.arrow(function.right, times.left, color="grey")
        d.arrow(up.right, times.left, color="grey")
    else:
        up = d.box(10, y, "up: d × d_ff", color="orange")
        times = d.box(32, y, "ReLU or GELU", color="green")
        d.arrow(x.right, up.left, color="grey")
        d.arrow(up.right, times.left, color="grey")
    down = d.box(56, y, "down: d_ff × d", color="orange")
    d.arrow(times.right, down.left, color="grey")
    d.text(74.5, y + 0.65, "SwiGLU" if gated else "2017, GPT-2")
d.show()

# %% [markdown]
# The name says which function the gate has: sigmoid is GLU, ReLU is ReGLU, GELU is GEGLU, SiLU is SwiGLU. So *SwiGLU* is
# not another name for *SiLU*. SiLU is the function, $x\,\sigma(x)$, also called Swish; SwiGLU is the unit with three
# matrices.
#
# One number by hand. Let the up matrix give 3. If the gate matrix gives 4, SiLU makes $4 \cdot \sigma(4) = 3.93$ of it,
# and $3.93 \cdot 3 = 11.8$ goes on. If it gives $-4$, SiLU makes $-0.07$, and $-0.22$ goes on: the gate is nearly shut.
# One half of the network decides how much of the other half passes.


# %%
#| export
def gelu_tanh(x: Float[Tensor, "..."]) -> Float[Tensor, "..."]:
    """GELU by its approximation with tanh (arXiv 1606.08415, section 2), which GPT-2 and BLOOM use."""
    return F.gelu(x, approximate="tanh")


ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "relu": F.relu,
    "gelu": F.gelu,
    "gelu_tanh": gelu_tanh,
    "silu": F.silu,
}
"""Functions between two matrices: down(f(up(x)))."""

GATES: dict[str, Callable[[Tensor], Tensor]] = {
    "glu": torch.sigmoid,
    "reglu": F.relu,
    "geglu": F.gelu,
    "geglu_tanh": gelu_tanh,
    "swiglu": F.silu,
}
"""Functions of the gate in a gated linear unit with three matrices: down(f(gate(x)) * up(x))."""


class FeedForward(nn.Module):
    """down(f(up(x))), or down(f(gate(x)) * up(x)) for a name in `GATES` (arXiv 2002.05202, equations 2, 5 and 6).

    ``up`` and ``gate`` are (d_ff, d_model), ``down`` is (d_model, d_ff). ValueError for an unknown ``activation``.

    >>> FeedForward(8, 32, "swiglu")(torch.zeros(2, 3, 8)).shape
    torch.Size([2, 3, 8])
    """

    def __init__(self, d_model: int, d_ff: int, activation: str = "swiglu", bias: bool = False, dropout: float = 0.0):
        super().__init__()
        if activation not in ACTIVATIONS | GATES:
            raise ValueError(f"activation is {activation!r}, and those known are {[*ACTIVATIONS, *GATES]}")
        self.function = (ACTIVATIONS | GATES)[activation]
        self.gate = nn.Linear(d_model, d_ff, bias=bias) if activation in GATES else None
        self.up = nn.Linear(d_model, d_ff, bias=bias)
        self.down = nn.Linear(d_ff, d_model, bias=bias)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Float[Tensor, "... d_model"]) -> Float[Tensor, "... d_model"]:
        up = self.up(x)
        return self.down(self.dropout(self.function(up) if self.gate is None else self.function(self.gate(x)) * up))


# %% folded=true
t = torch.linspace(-5, 3, 400)
fig, ax = axes(xlabel="x", ylabel="f(x)", size=(6, 2.9), title="Functions between the matrices, and of the gate")
for name, line in zip(("relu", "gelu", "silu"), ("-", "--", "-.")):
    ax.plot(t, ACTIVATIONS[name](t), line, linewidth=2, label=name)
ax.plot(t, torch.sigmoid(t), ":", linewidth=2, label="sigmoid")
ax.legend()
finish(fig)

# %% [markdown]
# Three matrices of $\frac23 \cdot 4 d = \frac83 d$ have as many weights as two of $4d$. That is where odd widths such as
# Llama's 11,008 come from.
#
# **Predict.** In a block with attention of $4d^2$ weights and a SwiGLU of width $\frac83 d$: what percentage of the
# weights is in the feed-forward network?

# %%
guess = None  # percent

plain, gated = FeedForward(768, 4 * 768, "gelu"), FeedForward(768, 8 * 768 // 3, "swiglu")
counts = [sum(p.numel() for p in part.parameters()) for part in (plain, gated)]
share = 100 * counts[1] / (counts[1] + 4 * 768**2)

# %% folded=true
# run this cell to compare your guess
because = {50: "three matrices of 8/3 d² are 8 d², twice attention's 4 d²"}
reveal("percent of the weights", share, guess, because=because, within=1.05, shown=f"{share:.1f}")

# %% folded=true
claim(
    4,
    "A gate costs a third matrix and none more: SwiGLU of width 8/3 d has {gated:,} weights, GELU of width 4 d {plain:,}; either is {share:.0f} % of a block.",
    lambda gated, plain, share: gated == plain and abs(share - 200 / 3) < 0.1,
    gated=counts[1],
    plain=counts[0],
    share=share,
)

# %% [markdown]
# Two thirds of a block's weights are here, not in attention. Whether the gate pays at equal size is measured in lecture
# 03b.

# %% [markdown]
# ## 5 · The machine
#
# **Does it learn?** Here is all of it. It is a Llama in small: the sizes, a block, the model; below it, training and writing. Read it
# with the picture at the top.


# %%
@dataclass(frozen=True)
class Sizes:
    vocab_size: int = 256  # bytes
    context_length: int = 256
    d_model: int = 96
    num_layers: int = 3
    num_heads: int = 4
    d_ff: int = 256
    causal: bool = True


class Block(nn.Module):
    """Attention, then a feed-forward network; each reads a normalised copy of the stream and adds to it."""

    def __init__(self, s: Sizes, rope: nn.Module):
        super().__init__()
        self.norm1, self.norm2 = RMSNorm(s.d_model), RMSNorm(s.d_model)
        self.attention = MultiHeadAttention(s.d_model, s.num_heads, rope=rope, causal=s.causal)
        self.feed_forward = FeedForward(s.d_model, s.d_ff, "swiglu")

    def forward(self, x, mask=None, cache=None):  # (batch, seq, d_model)
        x = x + self.attention(self.norm1(x), mask=mask, cache=cache)
        return x + self.feed_forward(self.norm2(x))


class Machine(nn.Module):
    """ids (batch, seq) to logits (batch, seq, vocab_size)."""

    def __init__(self, s: Sizes, seed: int = 0):
        super().__init__()
        rope = RotaryPositionalEmbedding(10_000.0, s.d_model // s.num_heads, s.context_length)
        self.embedding = nn.Embedding(s.vocab_size, s.d_model)
        self.blocks = nn.ModuleList(Block(s, rope) for _ in range(s.num_layers))
        self.norm, self.output = RMSNorm(s.d_model), nn.Linear(s.d_model, s.vocab_size, bias=False)
        draw = torch.Generator().manual_seed(seed)
        for matrix in (p for p in self.parameters() if p.ndim == 2):
            nn.init.normal_(matrix, std=0.02, generator=draw)

    def forward(self, ids, mask=None, cache=None):  # cache: keys and values for each block, section 7
        x = self.embedding(ids)
        for block, kept in zip(self.blocks, cache or repeat(None)):
            x = block(x, mask, kept)
        return self.output(self.norm(x))


# %%
def loss_of(model, batch, mask=None):  # batch (batch, seq + 1): position t is judged by token t + 1
    return F.cross_entropy(model(batch[:, :-1], mask).flatten(0, 1), batch[:, 1:].flatten())


def train(model, text, steps, seq=96, batch=16, lr=6e-3, mask=None, watch=lambda step: None):
    """Train on random pieces of a text, a row of ids; the losses in nats a token, one a step."""
    draw = torch.Generator().manual_seed(0)
    optimizer = torch.optim.AdamW(model.parameters(), betas=(0.9, 0.95), weight_decay=0.1, fused=True)
    losses = []
    for step in range(steps):
        watch(step)
        optimizer.param_groups[0]["lr"] = lr * min((step + 1) / 20, 1 - step / steps)  # warm up, then down to 0
        starts = torch.randint(len(text) - seq, (batch, 1), generator=draw)
        loss = loss_of(model, text[starts + torch.arange(seq + 1)], mask)
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        losses.append(loss.item())
    watch(steps)
    return losses


# %%
@torch.no_grad()
def write(model, prompt: str, length: int, temperature=0.5, cache=None, seed=0) -> str:
    """The prompt and so many more bytes, each drawn from softmax(logits / temperature)."""
    ids, draw = torch.tensor([list(prompt.encode())]), torch.Generator().manual_seed(seed)
    new = ids
    for _ in range(length):
        logits = model(new if cache else ids, cache=cache)[0, -1]
        chosen = torch.multinomial((logits / temperature).softmax(-1), 1, generator=draw)
        new = chosen[None]
        ids = torch.cat((ids, new), dim=1)
    text = bytes(ids[0].tolist()).decode(errors="replace")
    return "".join(letter if letter.isprintable() or letter == "\n" else "\ufffd" for letter in text)


# %% [markdown]
# The parameters by hand, with $V = 256$, $d = 96$, three blocks, $d_\text{ff} = 256$: embedding and output $2 \cdot 256
# \cdot 96 = 49{,}152$; in each block attention $4 \cdot 96^2 = 36{,}864$, feed-forward $3 \cdot 96 \cdot 256 = 73{,}728$
# and two gains of 96; one more gain at the end. Together 381,600.

# %%
if READY.or_show("parameters"):
    model = Machine(Sizes())
    count = sum(p.numel() for p in model.parameters())
    print(f"{count:,} parameters")
    assert count == 2 * 256 * 96 + 3 * (4 * 96**2 + 3 * 96 * 256 + 2 * 96) + 96, YOURS


# %% exercise="llama_parameters" minutes=10 difficulty=2
def llama_parameters(vocab_size: int, d_model: int, num_layers: int, d_ff: int) -> int:
    """Parameters of the first Llama: this machine with an embedding and an output layer of their own, and no biases."""
    ### BEGIN SOLUTION
    block = 4 * d_model**2 + 3 * d_model * d_ff + 2 * d_model
    return 2 * vocab_size * d_model + num_layers * block + d_model
    ### END SOLUTION


# %%
LLAMA = {  # d_model, blocks, d_ff, billions of parameters as printed (arXiv 2302.13971, table 2; d_ff from its weights)
    "7B": (4_096, 32, 11_008, 6.7),
    "13B": (5_120, 40, 13_824, 13.0),
    "33B": (6_656, 60, 17_920, 32.5),
    "65B": (8_192, 80, 22_016, 65.2),
}
ours = {name: llama_parameters(32_000, *sizes) for name, (*sizes, _) in LLAMA.items()}
for name, (*_, printed) in LLAMA.items():
    print(f"Llama {name:<4} by hand {ours[name]:>14,}, printed {printed:>5} billion")

# %% folded=true
claim(
    1,
    "These few parts are the whole model: counted by hand, the first Llamas have {seven:.2f} to {sixty_five:.2f} billion parameters, the paper prints {printed_seven} to {printed_sixty_five}, and the largest difference of the four is {off:.1f} %.",
    lambda seven, sixty_five, printed_seven, printed_sixty_five, off: (
        abs(seven - printed_seven) < 0.1 and abs(sixty_five - printed_sixty_five) < 0.1 and off < 1
    ),
    seven=ours["7B"] / 1e9,
    sixty_five=ours["65B"] / 1e9,
    printed_seven=LLAMA["7B"][-1],
    printed_sixty_five=LLAMA["65B"][-1],
    off=max(100 * abs(n / 1e9 / LLAMA[name][-1] - 1) for name, n in ours.items()),
)

# %% [markdown]
# ### It learns to write
#
# The text is the course's default corpus: little stories in English and Chinese, and PyTorch's documentation, as bytes.
# Every second document is held out. The yardsticks are the tables of counts of lecture 02.

# %%
documents = default_corpus().read_text(encoding="utf-8").split(SEPARATOR)
learned, held = (np.frombuffer("".join(documents[i::2]).encode(), np.uint8).astype(np.int64) for i in (0, 1))
tables = baselines(learned, held[:200_000], 256)
learned, held = torch.from_numpy(learned), torch.from_numpy(held[:200_000])
print(f"{len(learned):,} bytes to learn from. {tables}")

# %% [markdown]
# **Predict.** What is the loss before the first step, in nats a byte? And after how many steps of 16 × 96 bytes does it
# fall below the bigram table's?

# %% tags=["timing"]
guess_first = guess_steps = None

STEPS, SAMPLES = 800, {}


@torch.no_grad()
def held_out(model, mask=None, seq=96) -> float:
    """The mean loss on 150 pieces of held-out text."""
    starts = torch.arange(150)[:, None] * 1_300
    return loss_of(model.eval(), held[starts + torch.arange(seq + 1)], mask).item()


def watch(step: int) -> None:
    if step in (0, 200, STEPS):
        SAMPLES[step] = held_out(model), write(model, "Once upon a time", 160)
        model.train()


if READY.or_show("training"):
    losses = train(model, learned, STEPS, watch=watch)
    for step, (loss, text) in SAMPLES.items():
        print(f"after {step} steps, held-out loss {loss:.2f}:\n{text}\n")

# %% folded=true tags=["timing"]
# run this cell to compare your guess
if READY.or_show("training, compared"):
    smooth = np.convolve(losses, np.ones(10) / 10, "valid")  # means of ten steps
    passed = int(np.argmax(smooth < tables.bigram)) + 10 if smooth.min() < tables.bigram else STEPS
    because = {8: "that is in bits: 8 · ln 2", 0: "it knows nothing yet: all 256 bytes are equally likely"}
    reveal(
        "first loss",
        losses[0],
        guess_first,
        because=because,
        within=1.03,
        shown=f"{losses[0]:.2f}, and ln 256 = {math.log(256):.2f}",
    )
    reveal("steps until the bigram is passed", passed, guess_steps, within=1.5)

# %% folded=true tags=["timing"]
if READY.or_show("loss curve"):
    fig, ax = axes(xlabel="step", ylabel="loss (nats a byte)", size=(6.8, 3.3))
    ax.plot(losses, color=COLORS["sky_blue"], linewidth=0.8, label="training, one batch of 1,536 bytes")
    ax.plot(list(SAMPLES), [loss for loss, _ in SAMPLES.values()], "o", color=COLORS["blue"], label="held out")
    for name, value, style in (("unigram", tables.unigram, "--"), ("bigram", tables.bigram, "-.")):
        ax.axhline(value, color=COLORS["vermillion"], linestyle=style, label=f"{name} counts, held out")
    ax.set(ylim=(0, 6), title="The machine passes the table of pairs and goes on")
    ax.legend(fontsize=9)
    display(finish(fig))
    print(
        claim(
            5,
            "It begins at {first:.2f} nats a byte, all bytes alike, passes the bigram table ({bigram:.2f}) after {passed} steps, and after {steps} has {final:.2f} on held-out text.",
            lambda first, bigram, passed, steps, final: (
                abs(first - math.log(256)) < 0.2 and passed < steps and final < bigram - 0.3
            ),
            first=losses[0],
            bigram=tables.bigram,
            passed=passed,
            steps=STEPS,
            final=SAMPLES[STEPS][0],
        )
    )

# %% [markdown]
# First noise, then syllables and short words, then the words and the punctuation of a story. Nobody told it what a word
# is. It has 381,600 numbers
# and has read 1.2 million bytes, and the last loss still falls: more steps would help.
#
# The leap of the loss near step 20 comes when the learning rate has risen to its full 0.006. Lecture 05 is about such
# moments. Two machines that round additions differently go different ways from here: this same code ended at 1.55 nats on
# one and at 1.67 on another, and wrote other letters.
#
# What does each block do to the stream? Its size, measured on held-out text:

# %% folded=true tags=["timing"]
if READY.or_show("size of the stream"):
    sizes, caught = [], []
    hooks = [
        block.register_forward_hook(lambda module, args, out: caught.append((args[0], out))) for block in model.blocks
    ]
    with torch.no_grad():
        model(held[None, :96])
    for hook in hooks:
        hook.remove()
    sizes = [caught[0][0], *(out for _, out in caught)]
    sizes = [x.square().mean().sqrt().item() for x in sizes]
    fig, ax = axes(xlabel="after", ylabel="root mean square", size=(6, 2.6))
    ax.bar(["embedding", *(f"block {i + 1}" for i in range(len(caught)))], sizes, color=COLORS["blue"], width=0.5)
    ax.set(title="The stream grows: each block adds to it")
    display(finish(fig))

# %% [markdown]
# ## 6 · Who may see whom? Masks
#
# **What if the mask is wrong by one?** This is the most expensive typo of the field, because training looks wonderful.
# Below, a small machine is trained with a mask that lets each token see one more: the next one, the very token that it
# has to predict.
#
# **Predict.** What is its loss with the mask that it was trained with, in nats a byte? And with the right mask?

# %% tags=["timing"]
guess_wrong = guess_right = None

SMALL = Sizes(d_model=48, num_layers=2, num_heads=2, d_ff=128, causal=False)
if READY.or_show("mask off by one"):
    right = causal_mask(96)
    off_by_one = torch.ones(96, 96, dtype=torch.bool).tril(1)
    cheat = Machine(SMALL)
    cheat_losses = train(cheat, learned, 250, mask=off_by_one)
    with_it, without = held_out(cheat, off_by_one), held_out(cheat, right)

# %% folded=true tags=["timing"]
# run this cell to compare your guess
if READY.or_show("mask off by one, compared"):
    because = {"too large": "it copies the answer, so its loss falls towards 0"}
    reveal("with the wrong mask", with_it, guess_wrong, because=because, margin=0.3, shown=f"{with_it:.2f}")
    because = {"too small": "all that it learned was to copy what is now hidden"}
    reveal("with the right mask", without, guess_right, because=because, within=1.5, shown=f"{without:.2f}")
    print(
        claim(
            6,
            "A mask that is off by one makes a wonderful loss and a useless model: {with_it:.2f} nats a byte with it, {without:.2f} with the right mask, worse than the bigram table ({bigram:.2f}).",
            lambda with_it, without, bigram: with_it < bigram / 2 and without > bigram,
            with_it=with_it,
            without=without,
            bigram=tables.bigram,
        )
    )

# %% [markdown]
# A loss far below everything that was ever reached on a text is a bug, until shown otherwise.
#
# **Try it.** Make the mask off by one in the other direction, `.tril(-1)`: a token sees what is before it, not itself. What
# happens to the first row of the weights? What does the model lose, if anything?
#
# <details><summary>An answer</summary>
#
# The first token may see nobody; its row of scores is all $-\infty$, and a2's softmax gives zeros, not NaN. The others
# still have their own vector: it is in the residual stream, whatever attention adds. So the model can train. Whether it
# is worse, one seed does not tell: take several.
#
# </details>
#
# Four masks are in use. **Padding** (填充): sequences of different lengths in one batch; nobody attends to what only fills
# up. **Causal** (因果): GPT, Llama, and nearly all since. **Prefix** (前缀): a first part sees all of itself, the rest is
# causal (prefix LM in T5's paper, arXiv 1910.10683). **GLM's blanks** (自回归填空, 2103.10360): spans are cut out of the text.
# Part A is the text with a mask token for each span, part B the spans in random order. A sees all of A and nothing of B;
# each token of B sees A and what is before it in B. As a mask this is a prefix mask. What is special are the positions: a
# token of B has two, that of its blank and its place inside the span.


# %% folded=true
def mask_grid(d: Diagram, x: float, y: float, names: list[str], allowed, title: str, numbers: list[str] = ()) -> None:
    """Rows are queries, columns keys; blue where the query may attend to the key; numbers over the columns."""
    d.text(x + 4.8, y - 1.9, title)
    for j, name in enumerate(names):
        across = x + 4.8 + 3.6 * j + 1.8
        d.text(across, y - 0.6, name, align="middle", mono=True)
        for n, line in enumerate(numbers):
            d.text(across, y - 1.6 - n, line[j], align="middle", mono=True, color="vermillion")
    for i, name in enumerate(names):
        d.text(x + 4, y + 0.55 + 1.1 * i, name, align="end", mono=True)
        for j in range(len(names)):
            d.box(x + 4.8 + 3.6 * j, y + 1.1 * i, "", width=3.6, height=1.1, color="blue" if allowed(i, j) else "grey")


short = ["the", "cat", "sat", "on", "it"]
d = Diagram(88, 8.4)
mask_grid(d, 1, 2.6, [*short[:3], "·", "·"], lambda i, j: j < 3, "padding")
mask_grid(d, 31, 2.6, short, lambda i, j: j <= i, "causal")
mask_grid(d, 61, 2.6, short, lambda i, j: j <= i or j < 3, "prefix of three")
d.show()

# %% folded=true
names = ["the", "M", "sat", "M", "S", "on", "it", "S", "cat"]
d = Diagram(88, 14.2)
mask_grid(d, 1, 4, names, lambda i, j: j <= i or j < 4, "", ["000012312", "012333311"])
d.text(40, 1.4, "upper line: where in A (the place of its blank)", color="vermillion")
d.text(40, 2.4, "lower line: where in its span, 0 outside", color="vermillion")
d.text(44, 5, "M stands for a span that was cut out")
d.text(44, 6, "S begins a span")
d.text(44, 7.4, "part A: the M sat M")
d.text(44, 8.4, "part B: S on it, then S cat")
d.show()

# %% [markdown]
# Here rows look and columns are looked at; `·` is padding. In GLM's example, *on it* and *cat* are cut out of *the cat
# sat on it*, and the second span stands first.
#
# **Whose queries, whose keys?** The model of 2017 has two stacks. An *encoder* reads a source, such as a German sentence;
# each of its tokens sees all others. A *decoder* writes the English one. It has one more attention in each block:
# *cross-attention* (交叉注意力). Its queries come from the decoder's stream, its keys and values from the encoder's result.

# %% folded=true
d = Diagram(88, 9)
source = d.row(1, 6.6, ["das", "Haus"], "grey")
encoder = d.box(1, 3.2, "encoder\nsees all of the source", height=2, color="orange")
d.arrow((8, 6.6), (8, 5.2), color="grey")
written = d.row(52, 6.6, ["the", "house"], "grey")
selfattention = d.box(45, 4.2, "causal self-attention", color="blue")
cross = d.box(45, 2, "cross-attention", color="vermillion", width=23)
d.arrow((58, 6.6), (58, 5.5), color="grey")
d.arrow((58, 4.2), (58, 3.3), "queries")
d.line((12.5, 3.2), (12.5, 2.65))
d.arrow((12.5, 2.65), cross.left, "keys and values")
d.arrow((56.5, 2), (56.5, 0.8))
d.text(58, 1, "feed-forward network, next block")
d.text(1, 8.5, "source")
d.text(52, 8.5, "written so far")
d.show()

# %% [markdown]
# No causal mask is needed there: all of the source may be seen. And no RoPE: the distance between a German and an English
# word means nothing.

# %% [markdown]
# ## 7 · Writing, and what is kept
#
# **Why is writing slow?** Each new token needs the keys and values of all tokens before it. They do not change any more:
# the causal mask sees to that. So keep them. This is the *KV cache* (KV 缓存): each new token then costs the work of one
# token.

# %% folded=true
d = Diagram(88, 8.4)
steps = (
    ([], ["Once", "upon", "a"], "computes three tokens, keeps k and v of each"),
    (["Once", "upon", "a"], ["time"], "computes one, looks at three"),
    (["Once", "upon", "a", "time"], ["there"], "computes one, looks at four"),
)
for i, (before, new, says) in enumerate(steps):
    y = 1.6 + 2.2 * i
    d.text(1, y + 0.65, f"step {i + 1}")
    d.row(9, y, [*before, *new], ["grey"] * len(before) + ["orange"] * len(new))
    d.text(42, y + 0.65, says)
d.text(9, 0.7, "grey: keys and values from the cache · orange: computed in this step")
d.show()


# %%
class Kept:
    """Keys and values of one layer so far, (batch, kv_heads, seq, d_head) each: what a2's attention calls a cache."""

    def __init__(self):
        self.k = self.v = None
        self.length = 0

    def update(self, k, v):
        if self.length:
            k, v = torch.cat((self.k, k), dim=2), torch.cat((self.v, v), dim=2)
        self.k, self.v, self.length = k, v, k.shape[2]
        return k, v


# %% [markdown]
# **Predict.** The machine writes 100 bytes after a prompt of 20. How many times the FLOPs does it take without a cache?

# %%
guess = None  # times

if READY.or_show("cache"):
    flops = []
    for cache in ([Kept() for _ in model.blocks], None):
        with FlopCounterMode(display=False) as counter:
            text = write(model, "Once upon a time, th", 100, cache=cache)
        flops.append(counter.get_total_flops())
    cache, ids = [Kept() for _ in model.blocks], held[None, :60]
    with torch.no_grad():  # the same logits, byte by byte with a cache and all at once
        one_by_one = torch.cat([model(ids[:, t : t + 1], cache=cache) for t in range(60)], dim=1)
        off = (one_by_one - model(ids)).abs().max().item()

# %% folded=true tags=["timing"]
# run this cell to compare your guess
if READY.or_show("cache, compared"):
    because = {
        100: "texts begin at 20 bytes and end at 120, about 70 on average",
        "too small": "each step computes all bytes again",
    }
    reveal("times", flops[1] / flops[0], guess, because=because, within=1.4, shown=f"{flops[1] / flops[0]:.0f}")
    print(text)
    print(
        claim(
            7,
            "With keys and values kept, 100 bytes take {times:.0f} times fewer FLOPs, and the logits are the same but for rounding ({off:.0e}).",
            lambda times, off: times > 20 and off < 1e-3,
            times=flops[1] / flops[0],
            off=off,
        )
    )

# %% [markdown]
# The price is memory: two vectors of $d_\text{head}$ numbers for each layer, each head of keys and values, and each
# token. Llama 2 7B has 32 layers and 32 heads of 128 numbers. In bfloat16 that is $2 \cdot 32 \cdot 32 \cdot 128 \cdot 2
# = 524{,}288$ bytes for one token. To save memory, query heads share keys and values: all of them (*multi-query
# attention*, MQA, arXiv 1911.02150) or groups (*grouped-query attention*, GQA, 分组查询注意力, 2305.13245).

# %% folded=true
d = Diagram(88, 7)
for x, name, groups in ((2, "MHA: a pair for each", 4), (32, "GQA: two share", 2), (62, "MQA: all share", 1)):
    d.text(x, 0.7, name)
    d.text(x, 6.5, f"cache: {groups} of 4")
    tops = [d.box(x + 5.8 * i, 4.4, f"q{i + 1}", width=4.4, color="blue") for i in range(4)]
    for g in range(groups):
        size = 4 // groups
        middle = sum(tops[g * size + i].top[0] for i in range(size)) / size
        pair = d.box(middle - 2.6, 1.5, "k v", width=5.2, color="orange")
        for i in range(size):
            d.arrow(tops[g * size + i].top, pair.bottom, color="grey")
d.show()

# %% [markdown]
# **Predict.** Llama 2 70B has 80 layers, 64 query heads of 128 numbers, and 8 heads of keys and values. One sequence of
# 4,096 tokens in bfloat16: how many GB does its cache take?

# %%
guess = None  # GB


def cache_bytes(num_layers: int, kv_heads: int, d_head: int, tokens: int, itemsize: int = 2) -> int:
    return 2 * num_layers * kv_heads * d_head * tokens * itemsize


shared, each = (cache_bytes(80, kv_heads, 128, 4_096) / 1e9 for kv_heads in (8, 64))

# %% folded=true
# run this cell to compare your guess
because = {each: "with a pair for each of the 64 query heads; they share 8", shared / 2: "keys and values: two vectors"}
reveal("GB", shared, guess, because=because, within=1.1, shown=f"{shared:.2f}")

# %%
if READY.or_show("shared heads"):
    measured = {}
    for kv_heads in (8, 2, 1):
        attention, kept = MultiHeadAttention(64, 8, kv_heads), Kept()
        attention(torch.randn(1, 50, 64), cache=kept)
        measured[kv_heads] = kept.k.nbytes + kept.v.nbytes
        assert measured[kv_heads] == cache_bytes(1, kv_heads, 8, 50, itemsize=4), YOURS
    print(
        claim(
            7,
            "Its price is memory, and shared heads cut it: 4,096 tokens of Llama 2 70B take {shared:.2f} GB with 8 key-value heads and would take {each:.1f} GB with 64; in a2's module 8, 2 and 1 heads take {eight:,}, {two:,} and {one:,} bytes for 50 tokens.",
            lambda shared, each, eight, two, one: each == 8 * shared and eight == 4 * two == 8 * one == 25_600,
            shared=shared,
            each=each,
            eight=measured[8],
            two=measured[2],
            one=measured[1],
        )
    )

# %% [markdown]
# The package's cache takes its memory once, and its loop knows top-k, top-p, an end, and prompts of different lengths:
# [appendix 03x](appendix/03x_writing.ipynb).
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
# | SwiGLU is another name for SiLU | SiLU is the function of the gate; SwiGLU has three matrices (2002.05202). |
# | Attention is where the parameters are | Two thirds of a block are in the feed-forward network: question 4. |
# | Attention without positions cannot know the order | True of one layer; two layers with a causal mask can: question 3. |
# | RoPE adds the position to the embedding | It turns queries and keys inside attention; the stream knows nothing of it. |
# | RoPE has one layout | Interleaved pairs and halves; a permutation lies between them (a3). |
# | The original Transformer had trainable positions and GELU | Fixed sinusoids, with learned ones about equal; ReLU (1706.03762). |
# | In GLM, A and B never see each other | B sees A, and A does not see B (2103.10360). |
# | Llama 2 uses GQA | The 34B and the 70B (2307.09288). |
# | The KV cache makes a model faster by approximating | It computes the same numbers, once: question 7. |
#
# ## What you built
#
# `cs336lite.layers`: `RMSNorm`, `LayerNorm`, `FeedForward`, `ACTIVATIONS`, `GATES`.
#
# ## Limits
#
# - The machine has 381,600 parameters and reads bytes for a minute. What it writes shows that the parts work, and nothing about what
#   large models can do.
# - Its learning rate was not tuned, and one seed is shown. Comparisons with several seeds are in lecture 03b.
# - The text that is held out is of the same kinds as the text that is learned: stories told by a grammar, and documentation.
#
# ## Exercises for longer evenings
#
# - Train the machine on the tokens of lecture 01's tokenizer, and compare bits per byte.
# - Take RoPE out of the machine. How many more steps does it need to pass the bigram table?
# - For a text of your own, draw the weights of each head of the trained machine. Which ones look at the byte before?
#
# ## Sources
#
# Vaswani et al. 2017 (arXiv 1706.03762) · residual connections (1512.03385) · LayerNorm (1607.06450) · RMSNorm
# (1910.07467) · RoPE (2104.09864) · GLU (1612.08083, 2002.05202) · GELU (1606.08415) · Llama (2302.13971) · Llama 2
# (2307.09288) · T5 (1910.10683) · GLM (2103.10360) · MQA (1911.02150) · GQA (2305.13245).
#
# ## Next
#
# Lecture **03b · one model with every switch**: what has changed since 2017, and what each change buys.

# %%
finished("03_architecture")
