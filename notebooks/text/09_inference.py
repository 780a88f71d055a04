# ---
# jupyter:
#   kernelspec: {display_name: Python 3, language: python, name: python3}
#   cs336lite: {module: inference, minutes: 3, prerequisites: [08_scaling, a6_inference], device: CPU}
# ---

# %% [markdown]
# # 09 · Inference (推理)
#
# {badge} · prerequisites: 02, 03b, assignments a2 (attention), a3 (RoPE), a6 (decoding) · device: CPU
#
# A model is trained once and used for years. Using it means that a machine reads a prompt and then writes, one token at a
# time. These two phases have the same weights and the same code, and cost entirely different things. This lecture builds
# a small engine from the five parts of assignment a6, measures where the time and the memory go, and shows what
# each of the well-known tricks really buys.
#
# ## Questions
#
# 1. Why is reading a prompt fast and writing an answer slow?
# 2. What does a KV cache hold, how large is it, and does it change what is computed?
# 3. How is a token chosen from the probabilities, and what do the filters do?
# 4. How can a cheap guesser speed up a model without changing what it writes?
# 5. How does a server answer many requests at the same time?
# 6. Where do the keys and values of many texts lie, and what can they share?
# 7. How small can weights be made, and are smaller weights faster?
#
# The answers stand at the end, each with the numbers of your run. Write your guess in place of `None` before you run a cell
# below a **Predict** box. Six exercises ask for a few lines each. None is graded, and the lecture runs to its end with all
# of them solved or none.

# %%
import numpy as np
from IPython.display import display
from scipy.optimize import nnls

from cs336lite.costs import roofline
from cs336lite.course import check, finished, hint, whose
from cs336lite.course.baselines import baselines
from cs336lite.course.claims import claim, claims
from cs336lite.course.data import stories
from cs336lite.course.diagram import Diagram
from cs336lite.course.exercise import solution
from cs336lite.course.measure import best_seconds, reveal
from cs336lite.course.plot import COLORS, axes, finish
from cs336lite.decoding import dequantize_int8, quantize_int8
from cs336lite.model import Transformer, TransformerConfig
from cs336lite.presets import LLAMA2

# the engine runs on your attention, RoPE and decoding; until you have them, cells show what our own run has shown
READY = whose("attention", "rope", "decoding", lecture="09_inference")
YOURS = "this runs on your code: do check('a2_attention'), check('a3_rope') and check('a6_inference') pass?"

# %% folded=true
#| export
"""An inference engine (推理引擎) in small: what a pass costs, writing with a cache, drafts, batches, pages, fewer bits.

Its inner parts are those of `cs336lite.decoding` (assignment a6). Shapes: tokens are (batch, seq) integers, logits
(batch, seq, vocab_size). Models are `cs336lite.model.Transformer` in evaluation mode. Costs are FLOPs, bytes and seconds.

Built in notebooks/09_inference.ipynb.
"""

import copy
import math
from collections import Counter, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from cs336lite import generation
from cs336lite.accounting import ModelShape, active_parameters, forward_flops, kv_cache_bytes
from cs336lite.decoding import KVCache, PagedCache, sample, speculative_step, token_probabilities

# %% folded=true
torch.set_num_threads(1)  # threads wait for each other when other programs run
d = Diagram(88, 8.6)
prompt = d.row(1, 1.15, ["The", "cat", "sat", "on"], "orange")
model = d.box(38, 0.7, "the model:\nall weights, once", height=2.2, color="grey")
cache = d.box(38, 5.6, "KV cache: 4, 5, 6 … tokens", color="green")
token = d.box(76, 1.15, "the", color="blue")
d.arrow(prompt.right, model.left, color="orange")
d.arrow(model.right, token.left, "one token")
d.arrow((44, 2.9), (44, 5.6), color="green")
d.arrow((52, 5.6), (52, 2.9), color="green")
d.text(1, 3.1, "prefill: the prompt in one pass", color="orange")
d.text(1, 5.1, "decode: one token in each pass", color="blue")
d.line(token.bottom, (token.bottom[0], 7.8), color="blue")
d.line((token.bottom[0], 7.8), (33, 7.8), color="blue")
d.line((33, 7.8), (33, 2.5), color="blue")
d.arrow((33, 2.5), (37.9, 2.5), color="blue")
d.show()

# %% [markdown]
# ## 1 · Prefill and decode
#
# **Why is reading fast and writing slow?** Both phases multiply the same matrices. *Prefill* (预填充) sends all tokens of
# the prompt through a matrix together. *Decode* (解码) sends one. In both cases the matrix is fetched from memory once.
#
# By hand: a matrix of 1,000 × 1,000 numbers in bfloat16 is 2 MB. One token needs $2 \cdot 1000 \cdot 1000$ operations for
# these 2 MB, an *arithmetic intensity* (算术强度, lecture 02) of 1 operation a byte. A prompt of 100 tokens needs a hundred
# times the operations for nearly the same bytes. An H100 can do 295 operations in the time of one byte (989 TFLOP/s in
# bfloat16, 3.35 TB/s). So it idles for nearly all of the time of the single token.
#
# A pass costs FLOPs and bytes, and takes at least as long as the slower of the two. The bytes are those of the weights
# and of the keys and values of all earlier tokens, which section 2 explains.


# %%
#| export
@dataclass(frozen=True)
class Cost:
    """What a forward pass costs: FLOPs, and the bytes that cross the memory bus."""

    flops: int
    bytes: int

    @property
    def intensity(self) -> float:
        """FLOPs per byte."""
        return self.flops / self.bytes

    def seconds(self, peak_flops: float, bandwidth: float) -> float:
        """The least time that a device with this peak (FLOP/s) and bandwidth (bytes/s) can take."""
        return max(self.flops / peak_flops, self.bytes / bandwidth)


def pass_cost(shape: ModelShape, batch: int, seq: int, *, past: int = 0, itemsize: int = 2) -> Cost:
    """The cost of ``seq`` new tokens in each of ``batch`` texts with ``past`` tokens in the cache. Decode: ``seq`` = 1.

    >>> tiny = ModelShape(vocab_size=10, context_length=8, d_model=4, num_layers=1, num_heads=2, d_ff=8)
    >>> pass_cost(tiny, batch=1, seq=1).flops, pass_cost(tiny, batch=1, seq=1).bytes
    (352, 376)

    Built in notebooks/09_inference.ipynb.
    """
    weights = itemsize * active_parameters(shape)
    cache = kv_cache_bytes(shape, batch, past + seq, itemsize=itemsize)
    return Cost(forward_flops(shape, batch, seq, past=past).total, weights + cache)


# %% [markdown]
# **Predict.** Llama 2 7B on one H100, in bfloat16: how many tokens a second can one text get at most, with 1,000 tokens in
# its cache? And how many can 64 such texts get together, when each step serves all of them?

# %%
guess_one = guess_many = None  # tokens a second

H100 = {"peak_flops": 989e12, "bandwidth": 3.35e12}
LLAMA = LLAMA2["llama2-7b"].shape
rates = {n: n / pass_cost(LLAMA, n, 1, past=1_000).seconds(**H100) for n in (1, 64)}

# %% folded=true
# run this cell to compare your guess
because = {
    "too large": "every step reads all weights: 13.2 GB at 3.35 TB/s are 4 ms",
    "too small": "what counts is bytes over bandwidth, and the weights are 13.2 GB",
}
reveal("one text", rates[1], guess_one, within=1.2, because=because, shown=f"{rates[1]:.0f}")
because = {
    64 * rates[1]: "the weights are shared by 64 texts, and the cache is not: each text reads its own",
    "too small": "one reading of the weights serves all 64",
}
reveal("64 texts together", rates[64], guess_many, within=1.2, because=because, shown=f"{rates[64]:,.0f}")

# %% folded=true
fig, ax = axes(xlabel="FLOPs per byte (logarithmic)", ylabel="most TFLOP/s (logarithmic)", size=(7, 3.6))
line = np.geomspace(0.5, 4_000, 200)
ax.plot(line, [roofline(x, **H100) / 1e12 for x in line], color=COLORS["black"], label="roofline of the H100, bfloat16")
for name, color, mark, runs in (
    ("decode, so many texts", "vermillion", "o", [(n, pass_cost(LLAMA, n, 1, past=1_000)) for n in (1, 8, 64)]),
    ("prefill, so many tokens", "blue", "s", [(n, pass_cost(LLAMA, 1, n)) for n in (16, 128, 2_048)]),
):
    points = [(cost.intensity, roofline(cost.intensity, **H100) / 1e12) for _, cost in runs]
    ax.plot(*zip(*points), mark, color=COLORS[color], markersize=8, label=name)
    for (n, _), place in zip(runs, points):
        below = (7, -13) if color == "vermillion" else (-8, 5)
        ax.annotate(f"{n:,}", place, xytext=below, textcoords="offset points", ha="left" if below[0] > 0 else "right")
ax.set(
    xscale="log",
    yscale="log",
    ylim=(1.5, 2_500),
    title="Llama 2 7B: decode lies on the slope, long prompts on the roof",
)
ax.legend(loc="lower right")
finish(fig)

# %% [markdown]
# Left of the corner a pass is *bound by memory* (受内存带宽限制), right of it by compute. More texts in one step move
# decode to the right, and then it stops moving: attention reads another cache for every text, so its bytes grow with its
# FLOPs.
#
# That was arithmetic. Now this machine. A model of 22 million parameters takes 90 MB in float32, more than the caches of
# most processors hold. Its weights are random: time does not depend on what they say.
#
# **Predict.** A pass with 64 tokens has 64 times the operations of a pass with one. How many times as long does it take?

# %% tags=["timing"]
guess = None  # times as long

SERVED = TransformerConfig(
    vocab_size=256, context_length=1024, d_model=512, num_layers=8, num_heads=8, num_kv_heads=2, d_ff=1376, init_std=512**-0.5
)  # fmt: skip
COUNTS = [1, 4, 16, 64, 256]


@torch.no_grad()
def read_prompt(model, n: int):
    return model(torch.zeros(1, n, dtype=torch.int64), cache=model.new_cache(n))


if READY.or_show("passes"):
    served = Transformer(SERVED, torch.Generator().manual_seed(0)).eval()
    passes = dict(zip(COUNTS, best_seconds(*(lambda n=n: read_prompt(served, n) for n in COUNTS))))

# %% folded=true tags=["timing"]
# run this cell to compare your guess
if READY.or_show("passes, compared"):
    slower = passes[64] / passes[1]
    because = {
        64: "so it would be if operations took the time; with one token the weights are fetched for a single use"
    }
    reveal("64 tokens against 1, times as long", slower, guess, within=1.5, because=because, shown=f"{slower:.1f}")
    display(
        claim(
            1,
            "64 tokens have 64 times the operations of one and take {slower:.1f} times as long here: reading them goes at {read:,.0f} tokens a second, writing at {write:,.0f}.",
            lambda slower, read, write: slower < 40 and read > 1.5 * write,
            slower=slower,
            read=64 / passes[64],
            write=1 / passes[1],
        )
    )

# %% folded=true tags=["timing"]
if READY.or_show("passes, drawn"):
    fig, (left, right) = axes(1, 2, xlabel="tokens in one pass (logarithmic)", size=(8, 3))
    left.plot(COUNTS, [1e3 * passes[n] for n in COUNTS], "o-", color=COLORS["blue"])
    left.set(ylabel="milliseconds", title="The first tokens ride along", ylim=(0, None))
    right.plot(COUNTS, [n / passes[n] for n in COUNTS], "o-", color=COLORS["vermillion"])
    right.set(ylabel="tokens a second", title="Speed of reading", ylim=(0, None))
    for ax in (left, right):
        ax.set_xscale("log", base=2)
        ax.set_xticks(COUNTS, [str(n) for n in COUNTS])
    display(finish(fig))

# %% [markdown]
# Left: a pass with 16 tokens takes hardly more time than one with a single token. Right: speed rises until the core
# computes as fast as it can. Two numbers describe what a user feels: the *time to first token* (首字延迟, TTFT), which is
# the prefill, and the *time per output token* after it. A long prompt makes the first longer; the second is a matter of
# bytes. Sections 4, 5 and 7 are three ways out: check several tokens in one pass, serve several texts in one pass, read fewer
# bytes.
#
# ## 2 · What a KV cache holds
#
# **What is kept from one step to the next?** The query of a new token meets the keys of all tokens before it and takes a
# mean of their values. These keys and values never change, because a causal model computes them from what came before.
# So they are kept, which is the *KV cache* (KV 缓存).
#
# By hand: 2 layers, 2 heads of keys and values, heads of 4 numbers, float32. One token leaves
# $2\text{ layers} \cdot 2\,(k, v) \cdot 2\text{ heads} \cdot 4\text{ numbers} \cdot 4\text{ bytes} = 128$ bytes.


# %% exercise="cache_bytes" minutes=5 difficulty=1
def cache_bytes(num_layers: int, num_kv_heads: int, d_head: int, tokens: int, itemsize: int = 2) -> int:
    """Bytes of the keys and values of one text with so many tokens; itemsize: bytes of a number."""
    ### BEGIN SOLUTION
    return 2 * num_layers * num_kv_heads * d_head * tokens * itemsize
    ### END SOLUTION


# %% [markdown]
# **Predict.** Llama 2 70B has 80 layers and heads of 128 numbers. In bfloat16, how many GB is the cache of one text of 4,096
# tokens if each of its 64 query heads has keys and values of its own?

# %%
guess = None  # GB

sizes = {name: cache_bytes(80, heads, 128, 4_096) / 1e9 for name, heads in (("MHA", 64), ("GQA", 8), ("MQA", 1))}

# %% folded=true
# run this cell to compare your guess
because = {
    sizes["MHA"] / 2: "keys and values: twice",
    sizes["GQA"]: "that is with 8 heads, which the model really has",
}
reveal("GB with 64 heads", sizes["MHA"], guess, within=1.1, because=because, shown=f"{sizes['MHA']:.1f}")
claim(
    2,
    "One text of 4,096 tokens in the shape of Llama 2 70B takes {mha:.1f} GB of cache with 64 heads of keys and values, {gqa:.2f} GB with the 8 that it has, {mqa:.2f} GB with one.",
    lambda mha, gqa, mqa: mha == 8 * gqa == 64 * mqa and mha > 10,
    mha=sizes["MHA"],
    gqa=sizes["GQA"],
    mqa=sizes["MQA"],
)

# %% folded=true
d = Diagram(88, 7.6)
for x, name, heads in ((1, "MHA", 4), (31, "GQA", 2), (61, "MQA", 1)):
    d.text(x, 0.7, f"{name}: {heads} head{'s' if heads > 1 else ''} of keys and values")
    queries = [d.box(x + 6 * i, 1.6, f"q{i}", width=5, color="blue") for i in range(4)]
    kept = [d.box(x + 24 / heads * (i + 0.5) - 3.5, 5, f"k{i} v{i}", width=7, color="green") for i in range(heads)] if heads < 4 else [
        d.box(x + 6 * i, 5, f"kv{i}", width=5, color="green") for i in range(4)
    ]  # fmt: skip
    for i, query in enumerate(queries):
        d.arrow(query.bottom, kept[i * heads // 4].top, color="grey")
d.text(1, 7, "only what is green is cached; a token of a layer costs 2 · heads · d_head numbers")
d.show()

# %% [markdown]
# The weights of that model take 138 GB. Thirteen texts with 64 heads each would take as much again, and each step would
# read all of it. So large models share heads (GQA, [2305.13245](https://arxiv.org/abs/2305.13245)). Others cache a small
# vector from which keys and values are made again (multi-head latent attention), only the last few thousand tokens, or
# fewer bits: [appendix 09x](appendix/09x_caches.ipynb) builds these three.
#
# ### One loop for texts of different lengths
#
# A batch is a rectangle, and prompts are not. They are padded **on the left**, so that all texts end at the same place and the
# next token of each goes there. Two things must then be told: where a token stands in its own text (for RoPE), and
# that padding is no token (for the mask). Your `KVCache` of a6 knows both.


# %% exercise="left_pad" minutes=8 difficulty=1
def left_pad(prompts: list[list[int]], fill: int = 0):
    """(tokens (batch, longest), padding (batch,)), both int64: each prompt at the right end of its row, `fill` before it."""
    ### BEGIN SOLUTION
    longest = max(map(len, prompts))
    padding = [longest - len(prompt) for prompt in prompts]
    rows = [[fill] * n + list(prompt) for n, prompt in zip(padding, prompts)]
    return torch.tensor(rows, dtype=torch.int64), torch.tensor(padding)
    ### END SOLUTION


# %%
#| export
class ModelCache(generation.KVCache):
    """A `cs336lite.decoding.KVCache` for each layer; row i of the batch begins with ``padding[i]`` padding tokens.

    Built in notebooks/09_inference.ipynb.
    """

    def __init__(self, num_layers: int, max_length: int, padding: Int[Tensor, " batch"] | None = None) -> None:
        self.layers = [KVCache(max_length, padding=padding) for _ in range(num_layers)]

    def places(self, seq: int) -> dict[str, Tensor]:
        """What a model is told of the next ``seq`` tokens: their positions, and what is padding."""
        first = self.layers[0]
        mask = first.mask(seq)
        told = {"token_positions": first.positions(seq)}
        return told if mask is None else told | {"padding": mask[:, 0, 0]}

    def truncate(self, length: int) -> None:
        """Forget all tokens after the first ``length``."""
        for layer in self.layers:
            layer.truncate(length)


# %% folded=true
#| export
def check_room(model: nn.Module, prompt: int, length: int) -> None:
    """ValueError for a prompt of no tokens, and for texts longer than the model's context_length."""
    if prompt < 1:
        raise ValueError("the prompt is empty: give at least one token, such as the one that begins a text")
    if length > model.config.context_length:
        raise ValueError(f"{length} tokens, and the model's context_length is {model.config.context_length}")


# %%
#| export
@torch.no_grad()
def generate(
    model: nn.Module, tokens: Int[Tensor, "batch seq"], max_new_tokens: int, *, padding: Int[Tensor, " batch"] | None = None,
    generator: torch.Generator | None = None, **choice: Any,
) -> Int[Tensor, "batch longer"]:  # fmt: skip
    """``tokens`` and what the model adds. ``choice`` goes to `token_probabilities`; ``padding`` counts those at the left.

    ValueError for an empty prompt, and for more tokens than the model's context_length.

    Built in notebooks/09_inference.ipynb.
    """
    length = tokens.shape[1] + max_new_tokens
    check_room(model, tokens.shape[1], length)
    cache = ModelCache(model.config.num_layers, length, padding)
    new = tokens
    for _ in range(max_new_tokens):
        logits = model(new, cache=cache, **cache.places(new.shape[1]))[:, -1]  # prefill first, then one token each
        u = torch.rand(len(tokens), generator=generator)
        new = sample(token_probabilities(logits, **choice), u)[:, None]
        tokens = torch.cat((tokens, new), dim=1)
    return tokens


# %% [markdown]
# Does any of this change what is computed? Three prompts of different lengths, once in a padded batch with a cache, once
# each alone in a plain forward pass.

# %%
if READY.or_show("padded and alone"):
    words = [list(b"A rabbit"), list(b"One day, a small fox found"), list(b"Yes")]
    batch, padding = left_pad(words)
    cache = ModelCache(SERVED.num_layers, batch.shape[1] + 1, padding)
    with torch.no_grad():
        together = served(batch, cache=cache, **cache.places(batch.shape[1]))[:, -1]
        alone = torch.stack([served(torch.tensor([word]))[0, -1] for word in words])
        more = served(batch[:, -1:], cache=cache, **cache.places(1))[:, -1]  # the last token once again
        more_alone = torch.stack([served(torch.tensor([[*word, word[-1]]]))[0, -1] for word in words])
    largest = max((together - alone).abs().max().item(), (more - more_alone).abs().max().item())
    print(f"logits between {alone.min():.1f} and {alone.max():.1f}")
    assert largest < 1e-2, YOURS
    display(
        claim(
            2,
            "Prefill and decode in a padded batch give the logits of one plain pass for each text: the greatest difference is {largest:.0e}, rounding.",
            lambda largest: largest < 1e-3,
            largest=largest,
        )
    )


# %% folded=true
def decode_step(model, rows: int, past: int):
    """A function that writes one token in each of so many texts with ``past`` tokens, the same one at every call."""
    cache = ModelCache(model.config.num_layers, past + 1)
    tokens = torch.zeros(rows, past, dtype=torch.int64)
    with torch.no_grad():
        model(tokens, cache=cache)

    @torch.no_grad()
    def step():
        model(tokens[:, :1], cache=cache)
        cache.truncate(past)

    return step


# %% [markdown]
# **Predict.** With a cache, how does the time of one more token grow when the text before it is 16 times as long (32 and 512
# tokens): about how many times as long does it take? And without a cache, where the whole text goes through the model
# again?

# %% tags=["timing"]
guess_with = guess_without = None  # times as long

LENGTHS = [32, 128, 512]
if READY.or_show("one more token"):
    with_cache = best_seconds(*(decode_step(served, 1, n) for n in LENGTHS))
    without = best_seconds(*(lambda n=n: read_prompt(served, n + 1) for n in LENGTHS), least=0.1)

# %% folded=true tags=["timing"]
# run this cell to compare your guess
if READY.or_show("one more token, compared"):
    because = {16: "only attention reads the longer cache; the matrices see one token in both cases"}
    grown = with_cache[-1] / with_cache[0], without[-1] / without[0]
    reveal("with a cache", grown[0], guess_with, within=1.5, because=because, shown=f"{grown[0]:.1f}")
    reveal("without", grown[1], guess_without, within=1.5, shown=f"{grown[1]:.1f}")
    fig, ax = axes(xlabel="tokens before it (logarithmic)", ylabel="milliseconds", size=(6.4, 3))
    ax.plot(LENGTHS, [1e3 * t for t in without], "s--", color=COLORS["vermillion"], label="the whole text again")
    ax.plot(LENGTHS, [1e3 * t for t in with_cache], "o-", color=COLORS["blue"], label="with a KV cache")
    ax.set(xscale="log", ylim=(0, None), title="Time of one more token")
    ax.set_xticks(LENGTHS, [str(n) for n in LENGTHS])
    ax.minorticks_off()
    display(finish(fig))
    print(
        claim(
            2,
            "With 512 tokens before it a token takes {times:.0f} times as long without a cache as with one.",
            lambda times: times > 3,
            times=without[-1] / with_cache[-1],
        )
    )

# %% [markdown]
# ## 3 · Which token?
#
# **Why not always take the likeliest?** A model gives probabilities, and what to write is a choice of its own. To see
# what choices do we need a model with something to say: a small one that reads bytes, trained now on this course's
# stories. Every eleventh story is held out.

# %%
told = stories(4_400, seed=1)
held = torch.tensor(list("\n\n".join(told[::11]).encode()))
learned = torch.tensor(list("\n\n".join(story for i, story in enumerate(told) if i % 11).encode()))
SMALL = TransformerConfig(
    vocab_size=256, context_length=512, d_model=64, num_layers=3, num_heads=4, num_kv_heads=2, d_ff=192, init_std=64**-0.5
)  # fmt: skip


# %% folded=true
def train_small(steps: int = 600, seq: int = 256, batch: int = 4) -> tuple[Transformer, list[float]]:
    """A model trained on the stories, and its loss every 10 steps in nats a byte."""
    draw = torch.Generator().manual_seed(0)
    model, curve = Transformer(SMALL, draw), []
    optimizer = torch.optim.AdamW(model.parameters(), betas=(0.9, 0.95), weight_decay=0.1, fused=True)
    for step in range(steps):
        optimizer.param_groups[0]["lr"] = 0.01 * min((step + 1) / 50, 1 - step / steps)
        part = learned[torch.randint(len(learned) - seq, (batch, 1), generator=draw) + torch.arange(seq + 1)]
        loss = model.loss(part[:, :-1], part[:, 1:])
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        curve += [loss.item()] if step % 10 == 0 else []
    return model.eval().requires_grad_(False), curve


# %%
PIECES = held[torch.linspace(0, len(held) - 258, 40).long()[:, None] + torch.arange(257)]


@torch.no_grad()
def held_out(model) -> float:
    """Nats a byte on 40 pieces of held-out stories."""
    return model.loss(PIECES[:, :-1], PIECES[:, 1:]).item()


tables = baselines(learned[:500_000].numpy(), held.numpy(), 256)
if READY.or_show("training"):
    small, curve = train_small()
    print(f"{sum(p.numel() for p in small.parameters()):,} parameters; {tables}")
    print(f"held out {held_out(small):.2f} nats a byte")
    assert held_out(small) < tables.bigram, YOURS
    fig, ax = axes(xlabel="step", ylabel="loss (nats a byte)", size=(6.4, 2.6), title="The model that we serve")
    ax.plot(range(0, 10 * len(curve), 10), curve, color=COLORS["sky_blue"], label="training, one batch")
    ax.plot(600, held_out(small), "D", color=COLORS["blue"], label="held out")
    ax.axhline(tables.bigram, color=COLORS["vermillion"], linestyle="-.", label="bigram counts, held out")
    ax.legend(fontsize=9)
    display(finish(fig))

# %% [markdown]
# It is far below the bigram table. Now one place in a text, and all that `token_probabilities` of a6 can do to its
# distribution. By hand, for probabilities 0.5, 0.3, 0.15, 0.05:
#
# | choice | rule | what is left |
# |---|---|---|
# | greedy (贪心), temperature 0 | the likeliest | 1 |
# | temperature (温度) ½ | $p_i^{1/\tau}$, divided by the sum | 0.68, 0.25, 0.06, 0.01 |
# | top-k, $k = 2$ | the $k$ likeliest | 0.63, 0.38 |
# | top-p (nucleus, 核采样), $p = 0.9$ | the fewest that reach $p$ ([1904.09751](https://arxiv.org/abs/1904.09751)) | 0.53, 0.32, 0.16 |
# | min-p, 0.2 | at least 0.2 times the largest ([2407.01082](https://arxiv.org/abs/2407.01082)) | 0.53, 0.32, 0.16 |

# %% folded=true
if READY.or_show("one place"):
    PLACE = "One day, Tom and Lily went to the "
    logits = small(torch.tensor([list(PLACE.encode())]))[0, -1]
    CHOICES = {
        "temperature 1": {}, "temperature 0.5": {"temperature": 0.5}, "temperature 2": {"temperature": 2.0},
        "top-k, k = 4": {"top_k": 4}, "top-p, p = 0.8": {"top_p": 0.8}, "min-p, 0.3": {"min_p": 0.3},
    }  # fmt: skip
    shown = logits.topk(12).indices
    fig, grid = axes(2, 3, xlabel="next byte", ylabel="probability", size=(8.4, 4.2), sharey=True)
    for ax, (name, choice) in zip(grid.flat, CHOICES.items()):
        ax.bar(range(12), token_probabilities(logits, **choice)[shown], color=COLORS["blue"])
        ax.set_xticks(range(12), [repr(chr(i)).strip("'") if i != 32 else "␣" for i in shown])
        ax.set(title=name, ylim=(0, 0.4))
    fig.suptitle(f"After “{PLACE}”: the twelve likeliest bytes", x=0.01, ha="left")
    display(finish(fig))

# %% [markdown]
# Temperature changes the shape and keeps every token. The three filters keep the shape and cut the tail, each by another
# rule. Top-k cuts at the same count wherever it is. Top-p and min-p ask how sure the model is.
#
# **Predict.** Top-p with $p = 0.9$, at 10,000 places of held-out stories: in what percentage of the places does it leave a single
# byte, so that nothing is left to choose? And how many bytes does it leave at the place where it leaves the most?

# %%
guess_single = guess_most = None

if READY.or_show("bytes left"):
    with torch.no_grad():
        everywhere = small(PIECES[:, :-1]).flatten(0, 1)
    left_over = (token_probabilities(everywhere, top_p=0.9) > 0).sum(dim=-1)
    single = 100 * (left_over == 1).float().mean().item()

# %% folded=true
# run this cell to compare your guess
if READY.or_show("bytes left, compared"):
    because = {"too small": "inside a word there is often only one way to go on"}
    reveal(
        "percent of places with one byte left", single, guess_single, within=1.3, because=because, shown=f"{single:.0f}"
    )
    reveal("bytes left at most", left_over.max().item(), guess_most, within=1.5)
    fig, ax = axes(xlabel="bytes that top-p 0.9 leaves", ylabel="share of the places (%)", size=(6.4, 2.8))
    share = 100 * torch.bincount(left_over.clamp(max=20), minlength=21)[1:] / len(left_over)
    ax.bar(range(1, 21), share, color=COLORS["blue"])
    ax.set_xticks([1, 5, 10, 15, 20], ["1", "5", "10", "15", "20 or more"])
    ax.set_title(f"{len(left_over):,} places of held-out stories")
    display(finish(fig))
    print(
        claim(
            3,
            "Temperature reshapes the distribution and filters cut its tail; top-p 0.9 leaves one byte in {single:.0f} % of the places and up to {most} elsewhere, where top-k would leave the same number everywhere.",
            lambda single, most: 20 < single < 90 and most > 8,
            single=single,
            most=left_over.max().item(),
        )
    )

# %% [markdown]
# Does it matter? Of what the model writes, count the words that stand somewhere in the training stories.

# %% folded=true
WORDS = set("".join(letter if letter.isalpha() else " " for letter in bytes(learned.tolist()).decode()).split())


def real_words(text: str) -> float:
    """Percentage of the words of a text, but for the last, that the training stories have."""
    found = "".join(letter if letter.isalpha() else " " for letter in text).split()[:-1]
    return 100 * sum(word in WORDS for word in found) / len(found)


# %%
SETTINGS = {"greedy": {"temperature": 0}, "temperature 0.7": {"temperature": 0.7}, "top-p 0.9": {"top_p": 0.9},
            "min-p 0.1": {"min_p": 0.1}, "temperature 1": {}, "temperature 1.5": {"temperature": 1.5}}  # fmt: skip
if READY.or_show("what it writes"):
    begun = torch.tensor([list(b"One day, ")] * 8)
    wrote = {}
    for name, choice in SETTINGS.items():
        made = generate(small, begun, 200, generator=torch.Generator().manual_seed(1), **choice)
        wrote[name] = [bytes(row).decode(errors="replace") for row in made.tolist()]
    real = {name: float(np.mean([real_words(text) for text in texts])) for name, texts in wrote.items()}
    for name in wrote:
        print(f"{name} ({real[name]:.0f} % real words): {' '.join(wrote[name][0][:150].split())} …\n")

# %% folded=true
if READY.or_show("words, drawn"):
    fig, ax = axes(xlabel="words that the training stories have (%)", ylabel="choice", size=(6.4, 2.8))
    ax.barh(list(real), list(real.values()), color=COLORS["blue"])
    ax.invert_yaxis()
    ax.set(xlim=(0, 100), title="Eight texts of 200 bytes by each choice")
    display(finish(fig))
    print(
        claim(
            3,
            "The tail does harm: at temperature 1 {plain:.0f} % of the words written are real ones, with top-p 0.9 {nucleus:.0f} %, at temperature 1.5 {hot:.0f} %.",
            lambda plain, nucleus, hot: nucleus > plain > hot,
            plain=real["temperature 1"],
            nucleus=real["top-p 0.9"],
            hot=real["temperature 1.5"],
        )
    )

# %% [markdown]
# Sharper choices write more real words and fewer different ones: all eight greedy texts are the same. Greedy text also tends to
# run in circles. A *repetition penalty* (重复惩罚; CTRL, [1909.05858](https://arxiv.org/abs/1909.05858)) makes the
# tokens that were already written less likely. By hand, with a penalty of 2: a positive logit 3 becomes 1.5, and a
# negative one, −1, becomes −2. Both move down.


# %% exercise="penalise" minutes=8 difficulty=2
def penalise(logits, written, penalty: float):
    """Logits (vocab,) after the penalty on the ids in `written` (seq,), once each; the argument stays as it is."""
    ### BEGIN SOLUTION
    ids = torch.unique(written)
    z = logits[ids]
    return logits.index_copy(0, ids, torch.where(z > 0, z / penalty, z * penalty))
    ### END SOLUTION


# %% [markdown]
# **Try it.** Write greedily with `penalise` on the last 32 bytes and a penalty of 1.3. Which bytes does it hurt that it
# should not? (With tokens of whole words it does less harm.)
#
# *Beam search* (束搜索) is a search for the likeliest *text*. By hand: `a` has 0.6 and then at best 0.4, so 0.24; `b` has
# 0.4 and then 0.9, so 0.36. Greedy takes `a`, a beam of two keeps both and finds `b`. It serves translation well; in
# open writing the likeliest text is dull (1904.09751), so engines for chat sample.
# [Appendix 09x](appendix/09x_caches.ipynb) builds it and shows the likeliest text.
#
# ## 4 · Speculative decoding (投机解码)
#
# **Can several tokens be written in one pass?** Section 1 showed that a pass over five tokens takes hardly longer than one
# over a single token. The next five tokens are not known, but they can be *guessed*. A cheap *draft* guesses $k$
# tokens. The model, now called the *target*, reads all of them in one pass, which gives it its own distribution after each.
# Then a rule decides how many to keep ([2211.17192](https://arxiv.org/abs/2211.17192),
# [2302.01318](https://arxiv.org/abs/2302.01318)).

# %% folded=true
d = Diagram(88, 9)
d.text(1, 1.2, "text so far")
so_far = d.row(22, 0.6, ["One", "day", "a"], "grey")
d.text(1, 3.4, "the draft guesses four", color="orange")
words, x = ["small", "fox", "sat", "in"], 38.5
tops = []
for word in words:
    tops.append(d.box(x, 2.8, word, color="orange"))
    x += len(word) + 2
d.arrow(so_far.right, (tops[0].left[0], 2.7), color="orange")
d.text(1, 5.6, "one pass of the target", color="blue")
for top, word, color in zip(tops, ["small", "fox", "ran"], ["green", "green", "vermillion"]):
    d.arrow(top.bottom, d.box(top.x, 5, word, width=top.width, color=color).top, color="grey")
d.text(62, 3.4, "“in” is thrown away")
d.text(62, 5.6, "kept, kept, drawn anew")
d.text(1, 7.8, "written: three tokens for one pass; the cache is cut back behind the last that was kept")
d.show()

# %% [markdown]
# The rule for a guess $x$, drawn from the draft's $q$, when the target says $p$: keep it with probability $\min(1, p(x)/q(x))$.
# If it is refused, draw a token from what the draft gave too little, $\max(p - q, 0)$ divided by its sum.
#
# **Why is the result distributed exactly as $p$?** A token $x$ can come in two ways. It is guessed and kept with probability
# $q(x)\min(1, p(x)/q(x)) = \min(p(x), q(x))$. Or any guess is refused, which happens with probability
# $1 - \sum_y \min(p(y), q(y)) = \sum_y \max(p(y) - q(y), 0)$, and $x$ is drawn: that product is $\max(p(x) - q(x), 0)$. Together
# $\min(p, q) + \max(p - q, 0) = p$. And the share that is kept, the *acceptance rate* (接受率), is $\alpha = \sum_x \min(p(x), q(x))$.
#
# A proof can be checked by going through every case: three tokens, two guesses, and a target whose second token depends on its
# first. Each random number takes 8 values, the middles of eighths. This is exact, because all quotients here are multiples of an eighth.

# %%
TARGET = torch.tensor([[0.25, 0.375, 0.375], [0.5, 0.5, 0.0], [0.25, 0.25, 0.5]])  # after each token
FIRST, DRAFT = torch.tensor([0.25, 0.5, 0.25]), torch.tensor([0.5, 0.25, 0.25])  # the target at the start; the draft
if READY.or_show("every case"):
    eighths = (torch.arange(8) + 0.5) / 8
    pairs = torch.zeros(3, 3, dtype=torch.float64)
    for x, y in torch.cartesian_prod(torch.arange(3), torch.arange(3)).tolist():
        weight = (DRAFT[x] * DRAFT[y]).item() / 8**3
        q, p = torch.stack([DRAFT, DRAFT]), torch.stack([FIRST, TARGET[x], TARGET[y]])
        for u in torch.cartesian_prod(eighths, eighths, eighths):
            kept = speculative_step(torch.tensor([x, y]), q, p, u).tolist()
            if len(kept) > 1:
                pairs[kept[0], kept[1]] += weight
            else:  # refused at once: the second token will be the target's own
                pairs[kept[0]] += weight * TARGET[kept[0]].double()
    difference = (pairs - (FIRST[:, None] * TARGET).double()).abs().max().item()
    print(pairs)
    assert difference < 1e-9, YOURS

# %% folded=true
if READY.or_show("every case, in words"):
    display(
        claim(
            4,
            "Through all {cases:,} cases of two guesses the pairs of tokens have exactly the target's probabilities: the largest difference is {difference:.0e}.",
            lambda cases, difference: cases > 4_000 and difference < 1e-9,
            cases=9 * 8**3,
            difference=difference,
        )
    )

# %% [markdown]
# **How many tokens for a pass?** Say each guess is kept with probability $\alpha$, whatever came before. With $k$ guesses the
# step gives at least one token, a second one with probability $\alpha$, a third with $\alpha^2$, … up to $k + 1$ tokens.


# %% exercise="tokens_per_pass" minutes=8 difficulty=2
def tokens_per_pass(alpha: float, k: int) -> float:
    """The mean number of tokens from one pass of the target with k guesses, each kept with probability alpha."""
    ### BEGIN SOLUTION
    return sum(alpha**i for i in range(k + 1))
    ### END SOLUTION


# %% [markdown]
# Our drafts are tables of counts: what follows the last $n - 1$ bytes in the training stories? They cost next to
# nothing, and $n$ sets their quality. (Real drafts are small models of the same family, extra heads of the target, or an
# earlier part of the same text.)


# %% folded=true
#| export
class CountedDraft:
    """A draft that has counted what follows the last ``order - 1`` tokens, and shorter contexts where that is new.

    Each count is joined with ``strength`` times what the shorter context says; order 0 knows nothing.

    >>> CountedDraft([0, 1, 0, 1, 0], order=2, vocab_size=2)([1]).tolist()
    [0.8666666746139526, 0.13333334028720856]

    Built in notebooks/09_inference.ipynb.
    """

    def __init__(self, tokens: Sequence[int], order: int, vocab_size: int, strength: float = 1.0) -> None:
        self.order, self.strength = order, strength
        self.known: dict[tuple[int, ...], Tensor] = {(): torch.full((vocab_size,), 1 / vocab_size)}
        self.after: list[dict[tuple[int, ...], list[tuple[int, int]]]] = [{} for _ in range(order)]
        for n, after in enumerate(self.after, 1):
            for gram, count in Counter(zip(*(tokens[i:] for i in range(n)))).items():
                after.setdefault(gram[:-1], []).append((gram[-1], count))

    def __call__(self, text: Sequence[int]) -> Float[Tensor, " vocab"]:
        """The probabilities of the token after ``text``."""
        longest = min(len(text), self.order - 1)
        return self.probabilities(tuple(text[len(text) - longest :])) if self.order else self.known[()]

    def probabilities(self, context: tuple[int, ...]) -> Float[Tensor, " vocab"]:
        key = (-1, *context)  # () itself is the even distribution
        if key not in self.known:
            prior = self.probabilities(context[1:]) if context else self.known[()]
            seen = self.after[len(context)].get(context, [])
            p = self.strength * prior
            for token, count in seen:
                p[token] += count
            self.known[key] = p / p.sum()
        return self.known[key]


# %%
#| export
@dataclass(frozen=True)
class Speculated:
    """A text that was written with a draft, the passes of the target that it took, and how many guesses were kept."""

    tokens: list[int]
    passes: int
    guessed: int
    kept: int


@torch.no_grad()
def speculative_generate(
    model: nn.Module, draft: Callable[[list[int]], Tensor], prompt: list[int], max_new_tokens: int, k: int, *,
    generator: torch.Generator | None = None, **choice: Any,
) -> Speculated:  # fmt: skip
    """As `generate` for one text, with ``k`` guesses by ``draft(text) -> probabilities (vocab,)`` in each pass.

    Built in notebooks/09_inference.ipynb.
    """
    text, stop = list(prompt), len(prompt) + max_new_tokens
    check_room(model, len(text), stop)
    cache, passes, guessed, kept = ModelCache(model.config.num_layers, stop), 0, 0, 0
    while len(text) < stop:
        n, q, guesses = min(k, stop - len(text) - 1), [], []
        u = torch.rand(2 * n + 1, generator=generator)
        for i in range(n):
            q.append(draft(text + guesses))
            guesses.append(int(sample(q[-1], u[i])))
        new = torch.tensor([text[cache.length :] + guesses])  # what the cache lacks: the prompt, or the last token
        p = token_probabilities(model(new, cache=cache)[0, -n - 1 :], **choice)
        made = speculative_step(torch.tensor(guesses, dtype=torch.int64), torch.stack(q) if q else p[:0], p, u[n:])
        text += made.tolist()
        cache.truncate(len(text) - 1)  # guesses that were refused leave no trace
        passes, guessed, kept = passes + 1, guessed + n, kept + len(made) - 1
    return Speculated(text, passes, guessed, kept)


# %% [markdown]
# **Predict.** A draft that knows the last four bytes (order 5) and $k = 4$: what percentage of its guesses does our model keep?

# %%
guess = None  # percent

ORDERS = [0, 1, 2, 3, 4, 5, 6]
counted_text = learned[:300_000].tolist()
drafts = {order: CountedDraft(counted_text, order, 256) for order in ORDERS}
PROMPT = list(b"One day, Tom and Lily went to the ")
if READY.or_show("acceptance"):
    runs = {
        order: [speculative_generate(small, draft, PROMPT, 128, 4, generator=torch.Generator().manual_seed(s)) for s in range(4)]
        for order, draft in drafts.items()
    }  # fmt: skip
    written = torch.tensor(
        [run.tokens for run in runs[0]]
    )  # even with useless guesses these are the target's own texts
    own = small(written).softmax(dim=-1)
    speed = {order: 4 * 128 / sum(run.passes for run in some) for order, some in runs.items()}


def acceptance(draft, texts, p) -> float:
    """The mean of sum min(p, q) over the places behind the prompt: the share of guesses that the rule keeps."""
    places = [(row, i) for row in range(len(texts)) for i in range(len(PROMPT) - 1, texts.shape[1] - 1)]
    kept = [torch.minimum(draft(texts[row, : i + 1].tolist()), p[row, i]).sum().item() for row, i in places]
    return sum(kept) / len(kept)


# %% folded=true
# run this cell to compare your guess
if READY.or_show("acceptance, compared"):
    alpha = {order: acceptance(draft, written, own) for order, draft in drafts.items()}
    because = {"too small": "inside words four bytes nearly decide the next one"}
    reveal("percent kept", 100 * alpha[5], guess, within=1.15, because=because, shown=f"{100 * alpha[5]:.0f}")
    fig, ax = axes(xlabel="acceptance rate α", ylabel="tokens for one pass of the target", size=(6.4, 3.4))
    grid = np.linspace(0, 1, 50)
    ax.plot(grid, [tokens_per_pass(a, 4) for a in grid], color=COLORS["black"], label="four guesses, each kept with α")
    ax.plot(
        [alpha[n] for n in ORDERS],
        [speed[n] for n in ORDERS],
        "o",
        color=COLORS["vermillion"],
        label="measured, by the order of the draft",
    )
    for n in ORDERS:
        shift = (-9, 3) if speed[n] >= tokens_per_pass(alpha[n], 4) else (9, -9)
        ax.annotate(f"{n}", (alpha[n], speed[n]), xytext=shift, textcoords="offset points", ha="center")
    ax.set(title="Better guesses, fewer passes", ylim=(0.8, 5.2))
    ax.legend(loc="upper left")
    display(finish(fig))
    print(
        claim(
            4,
            "A better draft saves more passes: with four guesses one pass gives {low:.2f} tokens when the draft knows nothing (α = {worst:.2f}) and {high:.2f} with the best table (α = {best:.2f}).",
            lambda low, worst, high, best: low < 1.3 and worst < 0.3 and high > 1.8 and best > worst + 0.3,
            low=speed[0],
            worst=alpha[0],
            high=max(speed.values()),
            best=max(alpha.values()),
        )
    )
    story = [(row[:i], row[i]) for row in PIECES[:4].tolist() for i in range(64, 257)]
    losses = {
        n: -float(np.mean([draft(before)[byte].log().item() for before, byte in story])) for n, draft in drafts.items()
    }
    print("on the same held-out bytes, nats a byte:", {f"order {n}": round(x, 2) for n, x in losses.items()})

# %% [markdown]
# The curve assumes that guesses are kept independently, and the points come close. And a surprise: longer contexts predict the
# stories ever better, better than our small model does, and from order 4 on they agree with it no more. A draft is not asked
# for good text. It is asked for what *this* target would say. Fewer passes are not yet less time: the draft takes time, and a pass over five
# tokens takes more than one over a single one.

# %% tags=["timing"]
if READY.or_show("speculative seconds"):
    start = torch.tensor([PROMPT])
    seconds = best_seconds(
        lambda: generate(small, start, 64, generator=torch.Generator().manual_seed(0)),
        *(lambda n=n: speculative_generate(small, drafts[n], PROMPT, 64, 4, generator=torch.Generator().manual_seed(0)) for n in ORDERS),
    )  # fmt: skip
    faster = dict(zip(ORDERS, [seconds[0] / t for t in seconds[1:]]))
    print("times as fast as plain decoding:", {f"order {n}": round(x, 2) for n, x in faster.items()})
    display(
        claim(
            4,
            "In time the best of these drafts makes decoding {best:.1f} times as fast here, and the one that knows nothing {worst:.1f} times.",
            lambda best, worst: best > 1.1 * worst,
            best=max(faster.values()),
            worst=faster[0],
        )
    )

# %% [markdown]
# Below 1 a draft slows the model down. Speculation spends spare arithmetic to save passes. With many texts in a batch there is
# little to spare, so engines turn it off under load.
#
# ## 5 · Many requests at once
#
# **How long does a request wait?** Requests come when they like, with prompts and answers of different lengths. *Static
# batching* (静态批处理) takes what is waiting, up to the number of *slots*, and starts again when the longest of its answers is
# done.
#
# By hand: four answers of 2, 8, 3 and 3 tokens in one batch. It takes 8 steps with 4 rows each, 32 row-steps. Only 16 of them write
# a token that somebody wants.


# %% exercise="wasted_share" minutes=8 difficulty=2
def wasted_share(lengths: list[int], slots: int) -> float:
    """The share of row-steps that static batches waste: batches of `slots` answers in order, the last one perhaps smaller."""
    ### BEGIN SOLUTION
    batches = [lengths[i : i + slots] for i in range(0, len(lengths), slots)]
    return 1 - sum(lengths) / sum(max(batch) * len(batch) for batch in batches)
    ### END SOLUTION


# %% folded=true
#| export
@dataclass(frozen=True)
class Request:
    """When a request arrives (seconds), the tokens of its prompt, and those of its answer."""

    arrival: float
    prompt: int
    new: int


def draw_requests(n: int, a_second: float, seed: int = 0, mean_new: float = 40.0) -> list[Request]:
    """Requests that arrive independently of each other, so many a second; answers are exponential, at most 256 tokens.

    Built in notebooks/09_inference.ipynb.
    """
    draw = torch.Generator().manual_seed(seed)
    gaps, lengths = -torch.rand(2, n, generator=draw, dtype=torch.float64).log()
    prompts = torch.randint(16, 129, (n,), generator=draw)
    new = (mean_new * lengths).ceil().clamp(1, 256).long()
    arrivals = (gaps / a_second).cumsum(0)
    return [Request(*one) for one in zip(arrivals.tolist(), prompts.tolist(), new.tolist())]


# %% [markdown]
# **Predict.** The answers of users are of very different lengths: few are long. With 300 answers as drawn below, in batches of 8: what
# percentage of the row-steps is wasted?

# %%
guess = None  # percent

requests = draw_requests(300, a_second=1.0)
wasted = 100 * wasted_share([request.new for request in requests], 8)

# %% folded=true
# run this cell to compare your guess
because = {"too small": "the longest of eight exponential answers is 2.7 times as long as the mean"}
reveal("percent wasted", wasted, guess, within=1.15, because=because, shown=f"{wasted:.0f}")

# %% [markdown]
# *Continuous batching* (连续批处理; Orca, OSDI 2022) decides anew before every step. A text that is finished leaves at once, and
# one that waits takes its slot.

# %% folded=true
d = Diagram(88, 10.4)
for x0, title, rows in (
    (1, "static: the batch waits for its longest answer", ["AA......", "BBBBBBBB", "CCC.....", "DDD....."]),
    (46, "continuous: a free slot is taken at once", ["AAEEEEEE", "BBBBBBBB", "CCCFFFFG", "DDDHHHHH"]),
):
    d.text(x0, 0.8, title)
    for y, row in enumerate(rows):
        for x, letter in enumerate(row):
            color = "grey" if letter == "." else "blue" if letter in "ABCD" else "orange"
            d.box(x0 + 4.9 * x, 1.8 + 1.7 * y, "" if letter == "." else letter, width=4.5, color=color)
    d.text(x0, 9.2, "steps →")
d.show()

# %% [markdown]
# What would it bring? We measure what steps cost with the model of 22 million parameters, then let a simulator serve requests at
# these costs. Each step serves a whole batch, and each prefill makes all other texts wait.


# %%
#| export
@dataclass(frozen=True)
class StepCosts:
    """Seconds of a decode step, ``step + step_row * rows``, and of a prefill, ``prefill + prefill_token * tokens``."""

    step: float
    step_row: float
    prefill: float
    prefill_token: float


def simulate(
    requests: list[Request], costs: StepCosts, slots: int, *, continuous: bool = True
) -> list[tuple[float, float]]:
    """Seconds from each arrival to the first token and to the last, in the order of the requests (by arrival).

    Built in notebooks/09_inference.ipynb.
    """
    waiting, running, now, rows = deque(range(len(requests))), {}, 0.0, 0  # running: {request: tokens to come}
    first, last = [0.0] * len(requests), [0.0] * len(requests)
    while waiting or running:
        if not running:
            now, rows = max(now, requests[waiting[0]].arrival), 0
        may_join = continuous or not running
        while may_join and waiting and len(running) < slots and requests[waiting[0]].arrival <= now:
            i = waiting.popleft()
            now += costs.prefill + costs.prefill_token * requests[i].prompt  # which gives the first token
            first[i] = last[i] = now
            running[i] = requests[i].new - 1
        rows = len(running) if continuous else max(rows, len(running))  # a static batch keeps rows that are done
        running = {i: left for i, left in running.items() if left}
        now += costs.step + costs.step_row * rows if running else 0.0
        for i in running:
            running[i], last[i] = running[i] - 1, now
        running = {i: left for i, left in running.items() if left}
    return [(a - r.arrival, b - r.arrival) for a, b, r in zip(first, last, requests)]


# %% tags=["timing"]
ROWS = [1, 4, 8, 16]
if READY.or_show("costs of steps"):
    works = [*(decode_step(served, rows, 128) for rows in ROWS), *(partial(read_prompt, served, n) for n in (16, 128))]
    *steps, short, long = best_seconds(*works)
    (step, step_row), _ = nnls(np.stack([np.ones(4), ROWS], axis=1), steps)  # least squares with no cost below 0
    (prefill, prefill_token), _ = nnls(np.array([[1, 16], [1, 128]]), [short, long])
    costs = StepCosts(step, step_row, prefill, prefill_token)
    print({f"{rows} texts": f"{1e3 * t:.0f} ms" for rows, t in zip(ROWS, steps)})
    print(
        f"a step: {1e3 * costs.step:.1f} ms and {1e3 * costs.step_row:.1f} for each text; a token of a prompt: {1e3 * prefill_token:.2f} ms"
    )

# %% [markdown]
# **Predict.** With 8 slots and the same limit on the mean latency, how many times as many requests a second does continuous
# batching serve as static batching?

# %% tags=["timing"]
guess = None  # times as many

SLOTS, LOADS = 8, np.linspace(0.1, 1.2, 23)  # requests a second, as shares of what full slots could write


def latencies(continuous: bool) -> list[float]:
    """Mean seconds from arrival to the last token at each load."""
    found = []
    for load in LOADS:
        some = draw_requests(300, load * capacity, seed=2)
        found.append(float(np.mean([end for _, end in simulate(some, costs, SLOTS, continuous=continuous)])))
    return found


if READY.or_show("latencies"):
    # a full engine writes SLOTS tokens a step; a request needs 40 of them, and a prompt of 72 tokens
    busy = 40 * (costs.step + SLOTS * costs.step_row) / SLOTS + costs.prefill + 72 * costs.prefill_token
    capacity = 1 / busy
    latency = {"static": latencies(False), "continuous": latencies(True)}
    limit = 2 * latency["continuous"][0]
    most = {
        name: float(np.interp(limit, np.maximum.accumulate(found), LOADS * capacity)) for name, found in latency.items()
    }

# %% folded=true tags=["timing"]
# run this cell to compare your guess
if READY.or_show("latencies, compared"):
    gain = most["continuous"] / most["static"]
    because = {"too small": "a static batch wastes row-steps, and newcomers wait for it to end as well"}
    reveal("times as many", gain, guess, within=1.3, because=because, shown=f"{gain:.1f}")
    fig, ax = axes(xlabel="requests a second", ylabel="mean latency (s)", size=(6.8, 3.4))
    for (name, found), color, mark in zip(latency.items(), ("vermillion", "blue"), "so"):
        ax.plot(LOADS * capacity, found, f"{mark}-", color=COLORS[color], markersize=4, label=name)
        ax.plot([most[name]] * 2, [0, limit], ":", color=COLORS[color])
    ax.axhline(limit, color=COLORS["black"], linestyle="--", linewidth=1, label="limit: twice an idle engine's latency")
    ax.set(ylim=(0, 5 * limit), title="Simulated with this machine's costs, 8 slots")
    fig.legend(loc="outside lower center", ncols=3, frameon=False)
    display(finish(fig))
    print(
        claim(
            5,
            "At the same mean latency continuous batching serves {gain:.1f} times as many requests a second as static batching, which wastes {wasted:.0f} % of its row-steps (simulated, with measured costs).",
            lambda gain, wasted: gain > 1.1 and wasted > 40,
            gain=gain,
            wasted=wasted,
        )
    )

# %% [markdown]
# Every server has such a curve: latency is flat while there is room and climbs like a wall where arrivals come near what
# the engine can write. A throughput without a latency, or a latency without a load, says little. What is left out here: steps cost more
# with longer caches, and a long prefill makes all others wait (chunked prefill, [2308.16369](https://arxiv.org/abs/2308.16369),
# cuts it into pieces).
#
# ## 6 · Pages, shared beginnings and rollouts
#
# **How many texts fit into the memory?** If each text gets memory for the longest answer that may come, most of it stays
# empty. A *paged cache* (分页缓存; [2309.06180](https://arxiv.org/abs/2309.06180)) hands out blocks of, say, 16 tokens when
# they are needed, as an operating system does with pages. You wrote its block table in a6.
#
# By hand: a text of 70 tokens in memory for 384 wastes 314 places. In blocks of 16 it has 5 blocks, 80 places, and wastes 10.
#
# **Predict.** The 300 requests above, each with its whole prompt and answer: what percentage of the reserved places holds a token
# if each has room for 384? And in blocks of 16?

# %%
guess_whole = guess_paged = None  # percent

totals = torch.tensor([request.prompt + request.new for request in requests])
BLOCKS = [1, 4, 16, 64, 128, 384]
used = {size: 100 * (totals.sum() / (-(-totals // size) * size).sum()).item() for size in BLOCKS}

# %% folded=true
# run this cell to compare your guess
reveal("room for 384", used[384], guess_whole, within=1.15, shown=f"{used[384]:.0f}")
because = {"too small": "on average half a block of a text is empty, and a text has 7"}
reveal("blocks of 16", used[16], guess_paged, within=1.05, because=because, shown=f"{used[16]:.0f}")
claim(
    6,
    "With room for the longest text {whole:.0f} % of the reserved cache holds a token, in blocks of 16 tokens {paged:.0f} %.",
    lambda whole, paged: whole < 40 and paged > 85,
    whole=used[384],
    paged=used[16],
)

# %% folded=true
fig, ax = axes(xlabel="tokens in a block (logarithmic)", ylabel="reserved places in use (%)", size=(6.4, 2.8))
ax.plot(BLOCKS, [used[size] for size in BLOCKS], "o-", color=COLORS["blue"])
ax.set_xscale("log", base=2)
ax.set_xticks(BLOCKS, [str(size) for size in BLOCKS])
ax.set(ylim=(0, 105), title="300 texts; the last point is one block for each text")
finish(fig)

# %% [markdown]
# Blocks also make sharing cheap. Two texts with the same beginning have the same block numbers in their tables, and a block is
# copied only when one of them writes into it. *Reinforcement learning* (强化学习) lives on that: it draws many answers to one
# prompt, the *rollouts* (采样轨迹), scores them, and trains on the difference. It asks three things of an engine:
# many samples of one prompt at the price of one prefill, the log-probability with which each token was drawn, and new weights every few
# minutes.
#
# Here is the engine. `PagedLayer` shows pages to attention as a padded batch. A real one has a kernel that follows the block
# table (PagedAttention) and copies nothing.


# %% folded=true
#| export
class PagedLayer:
    """Pages of one layer as attention sees them: the texts of a batch, padded on the left to the longest."""

    def __init__(self, pages: PagedCache) -> None:
        self.pages, self.texts, self.length = pages, [], 0

    def update(self, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        """Append (batch, num_kv_heads, seq, d_head) to the texts; keys and values of all tokens, zeros where padding is."""
        for text, new_k, new_v in zip(self.texts, k, v):
            self.pages.append(text, new_k.transpose(0, 1), new_v.transpose(0, 1))
        read = [self.pages.read(text) for text in self.texts]
        full = [k.new_zeros(len(read), self.length + k.shape[2], *k.shape[1::2]) for _ in range(2)]
        for row, pair in enumerate(read):
            for memory, one in zip(full, pair):
                memory[row, memory.shape[1] - len(one) :] = one
        return full[0].transpose(1, 2), full[1].transpose(1, 2)


@dataclass
class Answer:
    """A text in the engine: its tokens, where it ends, the log-probability of each token that was drawn."""

    tokens: list[int]
    stop: int
    pages: list[int] = field(default_factory=list)  # its number in the pages of each layer
    logprobs: list[float] = field(default_factory=list)


# %%
#| export
class Engine:
    """Continuous batching over pages: `add` prompts, then `step` until `run` is through. ``n`` answers share their prompt.

    A text is admitted when there are blocks for its longest answer, so none has to be stopped half-way.

    Built in notebooks/09_inference.ipynb.
    """

    def __init__(
        self, model: nn.Module, num_blocks: int, block_size: int = 16, slots: int = 8, *,
        generator: torch.Generator | None = None, **choice: Any,
    ) -> None:  # fmt: skip
        c = model.config
        kv_heads = c.num_kv_heads or c.num_heads
        pages = [PagedCache(num_blocks, block_size, kv_heads, c.head_size) for _ in range(c.num_layers)]
        self.cache = ModelCache(0, 0)
        self.cache.layers = [PagedLayer(one) for one in pages]
        self.model, self.slots, self.generator, self.choice = model, slots, generator, choice
        self.num_blocks, self.block_size, self.passes = num_blocks, block_size, 0
        self.waiting: deque[list[Answer]] = deque()
        self.running: list[Answer] = []

    def blocks(self, answer: Answer) -> int:
        """The blocks that a text may come to need."""
        return -(-answer.stop // self.block_size)

    def add(self, prompt: list[int], max_new_tokens: int, n: int = 1) -> list[Answer]:
        """Queue ``n`` answers to a prompt; their tokens are there after `run`. ValueError for what can never fit."""
        answers = [Answer(list(prompt), len(prompt) + max_new_tokens) for _ in range(n)]
        check_room(self.model, len(prompt), answers[0].stop)
        if n > self.slots or n * self.blocks(answers[0]) > self.num_blocks:
            raise ValueError(
                f"{n} answers of {answers[0].stop} tokens do not fit: {self.slots} slots, {self.num_blocks} blocks"
            )
        self.waiting.append(answers)
        return answers

    def run(self) -> None:
        """Serve until every answer is written."""
        while self.waiting or self.running:
            self.step()

    @torch.no_grad()
    def step(self) -> None:
        """Admit what fits, then write one token in every running text."""
        while self.waiting and self.fits(self.waiting[0]):
            self.prefill(self.waiting.popleft())
        self.leave()
        if self.running:
            self.draw(self.running, self.forward([[answer.tokens[-1]] for answer in self.running], self.running))
            self.leave()

    def fits(self, answers: list[Answer]) -> bool:
        promised = sum(map(self.blocks, [*self.running, *answers]))
        return len(self.running) + len(answers) <= self.slots and promised <= self.num_blocks

    def prefill(self, answers: list[Answer]) -> None:
        """Read a prompt once; all answers to it begin with its pages."""
        first, *others = answers
        pages = [layer.pages for layer in self.cache.layers]
        first.pages = [one.new() for one in pages]
        logits = self.forward([first.tokens], [first])
        for other in others:
            other.pages = [one.fork(number) for one, number in zip(pages, first.pages)]
        self.running += answers
        self.draw(answers, logits.expand(len(answers), -1))

    def forward(self, new: list[list[int]], answers: list[Answer]) -> Float[Tensor, "batch vocab"]:
        """Logits after the new tokens of each text, whose earlier ones lie in its pages."""
        past = torch.tensor([len(answer.tokens) - len(tokens) for answer, tokens in zip(answers, new)])
        longest, seq = int(past.max()), len(new[0])
        for i, layer in enumerate(self.cache.layers):
            layer.texts, layer.length = [answer.pages[i] for answer in answers], longest
        places = {
            "token_positions": past[:, None] + torch.arange(seq),
            "padding": torch.arange(longest + seq) >= (longest - past)[:, None],
        }
        self.passes += 1
        return self.model(torch.tensor(new), cache=self.cache, **places)[:, -1]

    def draw(self, answers: list[Answer], logits: Float[Tensor, "batch vocab"]) -> None:
        p = token_probabilities(logits, **self.choice)
        tokens = sample(p, torch.rand(len(answers), generator=self.generator))
        for answer, token, of_it in zip(answers, tokens.tolist(), p):
            answer.tokens.append(token)
            answer.logprobs.append(math.log(of_it[token]))

    def leave(self) -> None:
        """Texts that are written free their pages."""
        for answer in [one for one in self.running if len(one.tokens) == one.stop]:
            self.running.remove(answer)
            for layer, number in zip(self.cache.layers, answer.pages):
                layer.pages.free(number)


# %% [markdown]
# Does it write what the plain loop writes? Ten requests of different lengths, four slots, pages shared by all, greedy.

# %%
if READY.or_show("engine"):
    engine = Engine(small, num_blocks=64, slots=4, temperature=0)
    asked = [(list(held[300 * i : 300 * i + 20 + 7 * i].tolist()), 10 + 5 * (i % 4)) for i in range(10)]
    answers = [engine.add(prompt, new)[0] for prompt, new in asked]
    engine.run()
    expected = [generate(small, torch.tensor([prompt]), new, temperature=0)[0].tolist() for prompt, new in asked]
    same = sum(answer.tokens == tokens for answer, tokens in zip(answers, expected))
    free = engine.cache.layers[0].pages.free_blocks
    print(f"{same} of 10 texts are the same, in {engine.passes} passes instead of {sum(new for _, new in asked)}")
    assert same >= 9 and free == 64, YOURS  # two logits that are nearly equal may change places

# %% [markdown]
# **Predict.** Eight answers of 32 tokens to one prompt of 200 tokens, in blocks of 16. How many blocks do the eight take when they
# are finished, with the prompt shared?

# %%
guess = None

if READY.or_show("rollouts"):
    prompt = held[:200].tolist()
    engine = Engine(small, num_blocks=160, slots=8, generator=torch.Generator().manual_seed(0))
    rollouts = engine.add(prompt, 33, n=8)
    while len(rollouts[0].tokens) < 232:
        engine.step()
    taken = 160 - engine.cache.layers[0].pages.free_blocks

# %% folded=true
# run this cell to compare your guess
if READY.or_show("rollouts, compared"):
    because = {8 * 15: "that is without sharing", 15: "each answer needs blocks of its own for what it writes", 12 + 8 * 2: "232 tokens are 14.5 blocks: 12 full ones shared, and 3 of its own for each"}  # fmt: skip
    reveal("blocks", taken, guess, within=1, because=because)
    print(
        claim(
            6,
            "Eight answers to one prompt of 200 tokens take {taken} blocks of 16 with the prompt shared and {alone} without, and the prompt is read once.",
            lambda taken, alone: taken < alone / 2,
            taken=taken,
            alone=8 * 15,
        )
    )
    means = [float(np.mean(one.logprobs)) for one in rollouts]
    print(f"mean log-probability of a drawn byte: {min(means):.2f} to {max(means):.2f}")

# %% [markdown]
# The log-probabilities are those of the model that *wrote*. Training code that computes them again with
# other kernels gets slightly different ones, and then weighs tokens by the wrong probabilities. So an engine for RL returns its own.
#
# ## 7 · Fewer bytes a weight
#
# **What does a weight need 16 bits for?** Decode reads all weights at each step, so half the bytes could be half the
# time. *Quantisation* (量化) keeps integers, and one scale for each group of neighbours. You wrote int8 in a6: symmetric, 127
# steps to either side. With 4 bits there are 7 steps. An *asymmetric* scheme (非对称量化) spreads its steps between the least and the
# greatest weight of a group, wherever zero is, and pays with a second number for the group.
#
# By hand, 2 bits: weights −0.1, 0.25, 0.5. There are $2^2 - 1 = 3$ steps from −0.1 to 0.5, of 0.2 each. So the codes are 0, 1.75 → 2,
# and 3, and the weights come back as −0.1, 0.3, 0.5.


# %% exercise="asymmetric" minutes=12 difficulty=3
def asymmetric(groups, bits: int):
    """groups (..., group_size) as they come back: rounded to 2 ** bits levels from the least to the greatest of each group."""
    ### BEGIN SOLUTION
    low, high = groups.amin(dim=-1, keepdim=True), groups.amax(dim=-1, keepdim=True)
    step = (high - low) / (2**bits - 1)
    codes = ((groups - low) / torch.where(step > 0, step, 1.0)).round()
    return low + step * codes
    ### END SOLUTION


# %%
#| export
def symmetric(groups: Float[Tensor, "... group"], bits: int) -> Float[Tensor, "... group"]:
    """Groups as they come back from integers in -(2 ** (bits - 1) - 1) ... 2 ** (bits - 1) - 1 and one scale each.

    >>> symmetric(torch.tensor([0.25, -1.0, 0.5, 3.0]), bits=3).tolist()
    [0.0, -1.0, 0.0, 3.0]

    Built in notebooks/09_inference.ipynb.
    """
    steps = 2 ** (bits - 1) - 1
    scale = groups.abs().amax(dim=-1, keepdim=True) / steps
    return (groups / torch.where(scale > 0, scale, 1.0)).round() * scale


# %% folded=true
#| export
def requantized(model: nn.Module, rule: Callable[[Tensor], Tensor], group_size: int | None) -> nn.Module:
    """A copy of a model whose matrices in the blocks went through ``rule`` in groups along their rows (None: whole rows).

    Built in notebooks/09_inference.ipynb.
    """
    made = copy.deepcopy(model)
    for block in made.decoder.blocks:
        for layer in block.modules():
            if isinstance(layer, nn.Linear):
                rows = layer.weight.data
                layer.weight.data = rule(rows.unflatten(1, (-1, group_size or rows.shape[1]))).flatten(1)
    return made


def bits_per_weight(bits: int, group_size: int, numbers: int = 1) -> float:
    """Bits of a weight with its share of the group's ``numbers`` (scale, offset) in 16 bits.

    >>> bits_per_weight(4, 32)
    4.5

    Built in notebooks/09_inference.ipynb.
    """
    return bits + 16 * numbers / group_size


# %% [markdown]
# **Predict.** Our small model in int8, one scale for each row: by how many percent does its held-out loss rise? And with 4 bits, symmetric?

# %%
guess_int8 = guess_int4 = None  # percent

SCHEMES = {"symmetric": (symmetric, 1), "asymmetric": (asymmetric, 2)}
if READY.or_show("losses by bits"):
    plain = held_out(small)
    risen = {
        (name, bits, group): 100 * (held_out(requantized(small, partial(rule, bits=bits), group)) / plain - 1)
        for name, (rule, _) in SCHEMES.items()
        for bits in (2, 3, 4, 8)
        for group in (32, None)
    }

# %% folded=true
# run this cell to compare your guess
if READY.or_show("losses by bits, compared"):
    because = {
        "too large": "an error of half a step of 127 is below half a percent of the largest weight, and errors average out"
    }
    reveal(
        "int8",
        risen["symmetric", 8, None],
        guess_int8,
        margin=0.2,
        because=because,
        shown=f"{risen['symmetric', 8, None]:.2f}",
    )
    reveal("4 bits", risen["symmetric", 4, None], guess_int4, within=1.6, shown=f"{risen['symmetric', 4, None]:.1f}")
    fig, ax = axes(xlabel="bits for a weight, scales included", ylabel="held-out loss, risen by (%)", size=(6.8, 3.4))
    for name, color in (("symmetric", "blue"), ("asymmetric", "vermillion")):
        for group, style in ((32, "o-"), (None, "s--")):
            x = [bits_per_weight(bits, group or 64, SCHEMES[name][1]) for bits in (2, 3, 4, 8)]
            y = [max(risen[name, bits, group], 0.003) for bits in (2, 3, 4, 8)]
            ax.plot(x, y, style, color=COLORS[color], label=f"{name}, {'groups of 32' if group else 'whole rows'}")
    ax.set(yscale="log", title="What fewer bits cost (0.003 % and less at the lower edge)")
    ax.legend()
    display(finish(fig))
    print(
        claim(
            7,
            "In int8 the held-out loss rises by {eight:.2f} %, with 4 bits by {four:.1f} %, in groups of 32 by {grouped:.1f} %, and with 2 bits by {two:.0f} %.",
            lambda eight, four, grouped, two: abs(eight) < 1 and four > eight and grouped < four and two > 3 * four,
            eight=risen["symmetric", 8, None],
            four=risen["symmetric", 4, None],
            grouped=risen["symmetric", 4, 32],
            two=risen["symmetric", 2, None],
        )
    )

# %% [markdown]
# **Outliers.** Large models have a few *channels* (通道) with numbers far greater than the rest
# ([2208.07339](https://arxiv.org/abs/2208.07339)), and one great weight makes the scale of its group useless for the others. We can give our model
# such channels without changing what it computes: divide four gains of each norm by 30, and multiply the columns that read
# them by 30.


# %%
def with_outliers(model, factor: float = 30.0, channels=(1, 9, 17, 25)):
    """A copy that computes the same: some gains of its norms divided, the columns that read them multiplied."""
    made = copy.deepcopy(model)
    for block in made.decoder.blocks:
        attention, network = block.attention, block.feed_forward
        readers = {
            "attention": (attention.q_proj, attention.k_proj, attention.v_proj),
            "feed_forward": (network.gate, network.up),
        }
        for name, layers in readers.items():
            block.norms[name].weight[list(channels)] /= factor
            for layer in layers:
                layer.weight[:, list(channels)] *= factor
    return made


# %%
if READY.or_show("outliers"):
    spoiled = with_outliers(small)
    loss_before, loss_after = held_out(small), held_out(spoiled)
    print(f"{loss_before:.4f} nats a byte before, {loss_after:.4f} with outliers: the same function")
    rows, groups = (
        100 * (held_out(requantized(spoiled, partial(symmetric, bits=8), g)) / plain - 1) for g in (None, 32)
    )
    int8 = [
        dequantize_int8(*quantize_int8(layer.weight, 32)) for layer in spoiled.modules() if isinstance(layer, nn.Linear)
    ]
    print(f"int8, whole rows: {rows:+.1f} %; in groups of 32: {groups:+.1f} %; {len(int8)} matrices through a6's int8")
    display(
        claim(
            7,
            "Four channels of outliers raise the loss of int8 with one scale a row by {rows:.1f} %, where the model without them lost {before:.2f} %; groups of 32 hold it to {groups:.1f} %.",
            lambda rows, before, groups: (
                abs(loss_before - loss_after) < 1e-3 and rows > 3 * abs(before) and groups < rows
            ),
            rows=rows,
            before=risen["symmetric", 8, None],
            groups=groups,
        )
    )

# %% [markdown]
# The cure is what we did, backwards: scale columns down before rounding, and the inputs up. AWQ
# ([2306.00978](https://arxiv.org/abs/2306.00978)) chooses the scales by the size of the *inputs* of a channel, because an error in a
# weight counts as often as it is multiplied. The appendix does it.
#
# **Fewer bytes, less time?** Only if the integers are what crosses the memory bus. Here a product in float32 stands beside one that
# makes float32 weights of int8 first.
#
# **Predict.** How many times as long as the float32 product does it take, weights made anew each time?

# %% tags=["timing"]
guess = None  # times as long

if READY.or_show("int8 seconds"):
    weight = torch.randn(2048, 2048, generator=torch.Generator().manual_seed(0))
    packed = quantize_int8(weight, 128)
    x = torch.randn(1, 2048)
    in_bytes = weight.nbytes, packed[0].nbytes + packed[1].nbytes
    in_seconds = best_seconds(lambda: x @ weight.T, lambda: x @ dequantize_int8(*packed).T)

# %% folded=true tags=["timing"]
# run this cell to compare your guess
if READY.or_show("int8 seconds, compared"):
    longer = in_seconds[1] / in_seconds[0]
    because = {"too small": "it reads int8, writes float32, and reads that again: more bytes than before"}
    reveal("times as long", longer, guess, within=1.5, because=because, shown=f"{longer:.1f}")
    fig, (left, right) = axes(1, 2, xlabel="weights kept as", size=(7, 2.8))
    left.bar(["float32", "int8"], [n / 1e6 for n in in_bytes], color=[COLORS["blue"], COLORS["vermillion"]])
    left.set(ylabel="MB", title="Bytes of a matrix")
    right.bar(["float32", "int8"], [1e3 * t for t in in_seconds], color=[COLORS["blue"], COLORS["vermillion"]])
    right.set(ylabel="milliseconds", title="Product with one token")
    display(finish(fig))
    print(
        claim(
            7,
            "Smaller is not faster by itself: int8 takes {share:.0f} % of the bytes, and {longer:.1f} times the time when float32 weights are made of it for each product.",
            lambda share, longer: share < 30 and longer > 1.2,
            share=100 * in_bytes[1] / in_bytes[0],
            longer=longer,
        )
    )

# %% [markdown]
# Bytes are saved at once. Time is saved by a kernel that reads integers and makes numbers of them in registers. Many such kernels exist for GPUs,
# and they help decode, which waits for bytes, more than prefill, which does not.
#
# ## Answers
#
# Every sentence below was tested on the numbers in it while this notebook ran; a false one would have stopped its cell.

# %%
claims()

# %% [markdown]
# ## Often said, and what is true
#
# | often said | what is true |
# |---|---|
# | A KV cache makes decoding compute-bound | It saves FLOPs and leaves the bytes of the weights, so decode is even more bound by memory. |
# | Larger batches make everything faster | They raise throughput; each text waits longer for its token once the cache or the arithmetic is the limit (section 5; 2211.05102). |
# | Llama 2 uses GQA | The 34B and the 70B do (2307.09288). The 7B and the 13B have a head of keys and values for each query head. |
# | Speculative decoding gives up a little quality | With the rule of section 4 the distribution is the target's, exactly. Variants that keep "nearly right" guesses do give it up. |
# | A good draft always helps | It saves passes. In a full batch a pass over more tokens is no longer free. |
# | Temperature 0 is deterministic | Sums in another order, as in another batch, can change two nearly equal logits. |
# | top-p 0.9 keeps 90 % of the tokens | It keeps the fewest that have 90 % of the probability: often one. |
# | PagedAttention makes attention faster | It makes room for more texts at once; the throughput comes from the larger batch (2309.06180). |
# | A 4-bit model is four times as fast as a 16-bit one | A quarter of the bytes, plus scales. Decode comes near that with the right kernel, prefill does not. |
#
# ## What you built
#
# `cs336lite.inference`: `Cost` and `pass_cost`; `ModelCache` and `generate` on your parts of a6; `CountedDraft` and
# `speculative_generate`; `Request`, `StepCosts` and `simulate`; `Engine` over `PagedCache`, with rollouts; `symmetric` and
# `requantized`. `cs336lite.model.generate`, which earlier lectures use, writes the same greedy text: a test compares them.
#
# ## Limits
#
# - Our machine is a processor, and its corner of the roofline lies elsewhere than a GPU's. Ratios carry over in kind, not in
#   number.
# - The model that writes has under 200,000 parameters and reads bytes. Its steps are many small operations, and Python's share of its time is
#   large. Timings of passes were therefore made with a larger, untrained one.
# - Arrivals in the simulator are independent, and its steps cost the same at every length. Real traffic comes in bursts.
# - Counted drafts suit text from a grammar; on ordinary text they would keep less.
# - One model, one seed: the losses by bits are those of this model. Large models have outliers of their own making, and bear 4 bits
#   better.
#
# ## Exercises for longer evenings
#
# - Give `Engine` an end-of-text token, and watch `fits` become too careful. What would you do when the blocks run out after all?
# - Use a small trained model as draft, with a cache of its own that is cut back as the target's is.
# - Put chunked prefill into `simulate`: at most 32 tokens of a prompt in each step. What happens to the time per output token?
#
# ## Sources
#
# Pope et al. 2022, *Efficiently Scaling Transformer Inference* (arXiv 2211.05102) · Shazeer 2019, multi-query attention
# (1911.02150) · Ainslie et al. 2023, GQA (2305.13245) · Holtzman et al. 2019 (1904.09751) · Keskar et al. 2019, CTRL
# (1909.05858) · Nguyen et al. 2024, min-p (2407.01082) · Leviathan, Kalman, Matias 2022 (2211.17192) · Chen et al. 2023
# (2302.01318) · Yu et al., *Orca*, OSDI 2022 · Kwon et al. 2023, vLLM (2309.06180) · Agrawal et al. 2023, Sarathi
# (2308.16369) · Dettmers et al. 2022, LLM.int8() (2208.07339) · Lin et al. 2023, AWQ (2306.00978).
#
# ## Next
#
# Assignment **a7_parallel**: write what many devices say to each other when they train one model. Then lecture **10 · parallelism** measures it.

# %%
finished("09_inference")
