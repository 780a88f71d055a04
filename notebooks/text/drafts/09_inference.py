# A draft of the first sections of lecture 09, in the form of a lecture (see CONTRIBUTING.md). Nothing builds it yet, and its
# cells have run as a script at most: no number that they measure may be quoted before a build. It moves to notebooks/text/
# when sections 3 to 7 are written: sampling, speculative decoding, batching with a paged cache, quantised weights, rollouts.

# ---
# jupyter:
#   kernelspec: {display_name: Python 3, language: python, name: python3}
#   cs336lite: {module: inference, minutes: 3, prerequisites: [08_scaling, a6_inference], device: CPU}
# ---

# %% [markdown]
# # 09 · Inference (推理)
#
# {badge} · prerequisites: 03, 08, assignment a6 · device: CPU
#
# A model is trained once and then used for years. Answering one request is not a forward pass of lecture 03 run once: it
# is one pass over the prompt, and then one pass for every token that is written. These two phases have the same weights
# and the same code, and cost entirely different things.
#
# ## Questions
#
# 1. Why is reading a prompt fast and writing an answer slow?
# 2. What does a KV cache hold, how large is it, and what makes it smaller?
#
# The answers stand at the end, each with the numbers of your run. Write your guess in place of `None` before you run a cell
# below a **Predict** box.

# %%
import torch
from torch import nn

from cs336lite.attention import MultiHeadAttention
from cs336lite.costs import matmul_flops, matmul_intensity, roofline
from cs336lite.course import finished, whose
from cs336lite.course.claims import claim, claims
from cs336lite.course.diagram import Diagram
from cs336lite.course.measure import best_seconds, reveal
from cs336lite.course.plot import COLORS, axes, finish
from cs336lite.decoding import KVCache
from cs336lite.rope import RotaryPositionalEmbedding

# the engine runs on your attention, RoPE and decoding; until you have them, cells show what our own run has shown
READY = whose("attention", "rope", "decoding", lecture="09_inference")
torch.set_num_threads(1)  # threads wait for each other when other programs run
YOURS = "this runs on your code: do check('a2_attention'), check('a3_rope') and check('a6_inference') pass?"

# %% folded=true
d = Diagram(88, 8)
prompt = d.row(1, 1, ["The", " cat", " sat", " on"], "orange")
d.text(1, 3, "prefill: all tokens of the prompt in one pass")
model = d.box(36, 0.5, "the model\nreads its weights once", height=2.3, color="grey")
cache = d.box(36, 4.6, "KV cache: 4, 5, 6 ... tokens", color="green")
d.arrow(prompt.right, model.left)
d.arrow(model.bottom, (model.bottom[0], 4.5), "k, v")
token = d.box(72, 1, " the", color="blue")
d.arrow(model.right, token.left, "one token")
d.text(1, 5.2, "decode: one token in each pass")
d.line(token.bottom, (token.bottom[0], 7.3), color="blue")
d.line((token.bottom[0], 7.3), (26, 7.3), color="blue")
d.arrow((26, 7.3), (35.5, 2.5), color="blue")
d.show()

# %% [markdown]
# ## 1 · Prefill and decode
#
# **Why is reading fast and writing slow?** Both phases multiply the same matrices. *Prefill* (预填充) sends all tokens of the
# prompt through a matrix together. *Decode* (解码) sends one. A matrix must be fetched from memory once in both cases.
#
# By hand: a matrix of 1,000 × 1,000 numbers in bfloat16 is 2 MB. One token needs $2 \cdot 1000 \cdot 1000$ operations, 2
# million, for 2 MB: an *arithmetic intensity* (算术强度, lecture 02) of 1 operation a byte. A prompt of 100 tokens needs 200
# million operations for little more than the same 2 MB: about 100 a byte. A GPU that does 295 operations in the time of
# one byte (an H100: 989 TFLOP/s, 3.35 TB/s) is idle for most of the first, and for much less of the second.

# %% folded=true
H100 = {"peak_flops": 989e12, "bandwidth": 3.35e12}
tokens = [1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 2048]
intensities = [matmul_intensity(n, 4096, 4096) for n in tokens]
fig, ax = axes(
    xlabel="tokens that pass a matrix together", ylabel="most TFLOP/s (H100, by its roofline)", size=(6.4, 3.2)
)
ax.plot(tokens, [roofline(i, **H100) / 1e12 for i in intensities], "o-", color=COLORS["blue"])
ax.axhline(H100["peak_flops"] / 1e12, color=COLORS["vermillion"], linestyle="--", label="peak of the device, bfloat16")
ax.annotate("decode, one text", (1, roofline(intensities[0], **H100) / 1e12), xytext=(8, 2), textcoords="offset points")
ax.set(xscale="log", yscale="log", title="A matrix of 4,096 × 4,096 on the roofline")
ax.legend(loc="lower right")
finish(fig)

# %% [markdown]
# That is arithmetic. Now the time that this machine takes for a matrix and 1 to 512 tokens.
#
# **Predict.** A matrix product with 64 tokens has 64 times the operations of one with a single token. How many times as long
# does it take here?

# %% tags=["timing"]
guess = None  # times as long

layer = nn.Linear(2048, 2048, bias=False).requires_grad_(False)  # 16.8 MB in float32: more than a core's caches hold
counts = [1, 4, 16, 64, 256]
inputs = [torch.randn(n, 2048) for n in counts]
seconds = best_seconds(*(lambda x=x: layer(x) for x in inputs))
slower = seconds[counts.index(64)] / seconds[0]

# %% folded=true tags=["timing"]
# run this cell to compare your guess
because = {
    64: "so it would be if operations were what takes the time; with one token the matrix is fetched for one use"
}
reveal("64 tokens against 1, times as long", slower, guess, within=1.5, because=because, shown=f"{slower:.1f}")
claim(
    1,
    "A matrix product with 64 tokens has 64 times the operations of one with 1 token and takes {slower:.1f} times as long here.",
    lambda slower: slower < 48,
    slower=slower,
)

# %% folded=true tags=["timing"]
rates = [matmul_flops(n, 2048, 2048) / t / 1e9 for n, t in zip(counts, seconds)]
fig, ax = axes(xlabel="tokens that pass the matrix together", ylabel="GFLOP/s", size=(6.4, 3))
ax.plot(counts, rates, "o-", color=COLORS["blue"], label="measured, one core, float32")
ax.set(xscale="log", ylim=(0, None), title="The same matrix, used more often for each time it is read")
finish(fig)

# %% [markdown]
# The rate rises until the core computes as fast as it can, and stays there. Left of that point time is spent on reading
# weights: the product is *bound by memory*. A decode step of one text lies at the far left. So a server puts the decode
# steps of many texts into one batch; section 5 is about that. What it cannot share between texts is the next section.
#
# ## 2 · What a KV cache holds
#
# **What is kept from one step to the next?** The query of a new token meets the keys of all tokens before it, and takes a
# mean of their values. Nothing of these ever changes, because a causal model computes them from what came before. Without a
# cache each step would compute them all again.
#
# By hand: 2 layers, 2 heads of keys and values, heads of 4 numbers, float32. One token leaves
# $2 \text{ layers} \cdot 2\,(k, v) \cdot 2 \text{ heads} \cdot 4 \cdot 4 \text{ bytes} = 128$ bytes, and 1,000 tokens 128 kB.
#
# **Predict.** Llama-2-70B has 80 layers, 64 heads of queries and heads of 128 numbers, in bfloat16. How many GB does the cache
# of one text of 4,096 tokens take with 64 heads of keys and values?

# %%
#| export
"""Inference: what prefill, decode and a KV cache cost.

Built in notebooks/09_inference.ipynb.
"""


def kv_bytes(num_layers: int, num_kv_heads: int, d_head: int, tokens: int, itemsize: int = 2) -> int:
    """Bytes of the keys and values of so many tokens in all layers.

    >>> kv_bytes(2, 2, 4, 1, itemsize=4)
    128

    Built in notebooks/09_inference.ipynb.
    """
    return 2 * num_layers * num_kv_heads * d_head * tokens * itemsize


# %%
guess = None  # GB

sizes = {name: kv_bytes(80, heads, 128, 4096) / 1e9 for name, heads in (("MHA", 64), ("GQA", 8), ("MQA", 1))}

# %% folded=true
# run this cell to compare your guess
because = {
    sizes["MHA"] / 2: "keys and values: twice",
    sizes["GQA"]: "that is with 8 heads, which the 70B model really has",
}
reveal(
    "GB with 64 heads of keys and values", sizes["MHA"], guess, within=1.1, because=because, shown=f"{sizes['MHA']:.2f}"
)
print({name: f"{size:.2f} GB" for name, size in sizes.items()})
claim(
    2,
    "One text of 4,096 tokens in the shape of Llama-2-70B takes {mha:.1f} GB of cache with 64 heads of keys and values, {gqa:.2f} GB with the 8 it has.",
    lambda mha, gqa: mha == 8 * gqa,
    mha=sizes["MHA"],
    gqa=sizes["GQA"],
)

# %% [markdown]
# The weights of that model are 138 GB in bfloat16, so thirteen such texts with 64 heads would take as much as the model.
# Grouped-query attention divides that by 8 (2305.13245), which is why the larger models have it.
#
# Does the cache change what is computed? Here is a layer of attention that sees nine tokens at once, and then the same nine in
# parts: a prompt of five, and one at a time.

# %%
if READY.or_show("cache equals full forward"):
    torch.manual_seed(0)
    attention = MultiHeadAttention(64, 8, 2, rope=RotaryPositionalEmbedding(10_000.0, 8, 32)).requires_grad_(False)
    x, cache = torch.randn(2, 9, 64), KVCache(16)
    parts = [attention(part, cache=cache) for part in x.split([5, 1, 1, 1, 1], dim=1)]
    difference = (torch.cat(parts, dim=1) - attention(x)).abs().max().item()
    claim(
        2,
        "Prefill and decode with a cache give what one pass gives: the greatest difference of {largest:.0e} is rounding.",
        lambda largest: largest < 1e-5,
        largest=difference,
    )
    assert cache.length == 9, YOURS

# %% [markdown]
# ## Answers

# %%
claims()

# %%
finished("09_inference")
