# ---
# jupyter:
#   kernelspec: {display_name: Python 3, language: python, name: python3}
#   cs336lite: {module: caches, minutes: 1, prerequisites: [09_inference], device: CPU}
# ---

# %% [markdown]
# # 09x · Smaller caches, better scales, likelier texts (appendix of lecture 09)
#
# {badge} · prerequisites: [09 · inference](../09_inference.ipynb), a2, a3 · device: CPU
#
# Lecture 09 shared heads to make the KV cache smaller. Three more ways are built here, as `cs336lite.caches`: keep a small
# vector from which keys and values can be made again (latent attention), keep only the last tokens (a window), keep
# integers. A fourth section returns to weights: scales that know the inputs. The fifth is about what is written: a search
# for the likeliest text. Each cache is a `cs336lite.attention.Cache`, so attention does not change.

# %%
import numpy as np
from torch.utils.flop_counter import FlopCounterMode

from cs336lite.attention import MultiHeadAttention
from cs336lite.course import whose
from cs336lite.course.data import stories
from cs336lite.course.diagram import Diagram
from cs336lite.course.measure import best_seconds, reveal
from cs336lite.course.plot import COLORS, axes, finish
from cs336lite.inference import CountedDraft, symmetric
from cs336lite.rope import RotaryPositionalEmbedding

READY = whose("attention", "rope", lecture="09x_caches")
YOURS = "this runs on your attention and your RoPE: do check('a2_attention') and check('a3_rope') pass?"

# %% folded=true
#| export
"""Smaller caches of keys and values: latent vectors, a window, integers. Scales of weights that know the inputs. Beam search.

Shapes: hidden vectors are (batch, seq, d_model), keys and values (batch, num_kv_heads, seq, d_head).

Built in notebooks/appendix/09x_caches.ipynb.
"""

from collections.abc import Callable, Sequence

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

# %% [markdown]
# ## 1 · Latent attention (MLA)
#
# **Can all heads keep their own keys and share the memory?** In *multi-head latent attention* (多头潜在注意力; DeepSeek-V2,
# [2405.04434](https://arxiv.org/abs/2405.04434), section 2.1) a token leaves one small vector $c = W_D x$ in a layer.
# The keys and values of every head are made of it: $k_h = U_h c$ and $v_h = V_h c$. Only $c$ is cached.
#
# It seems that every step must make all keys again. It need not. A score is
#
# $$q_h^\top k_h = q_h^\top (U_h c) = (U_h^\top q_h)^\top c,$$
#
# so the *query* goes through $U_h$, once, and then meets the cached vectors themselves. The values follow the same
# way: the mean of $V_h c$ is $V_h$ times the mean of $c$. This is the *absorbed* form.
#
# RoPE stands in the way. It turns a key by its position, between $U_h$ and the query. So a second, small key carries
# the positions. It is shared by all heads, and cached beside $c$.

# %% folded=true
d = Diagram(86, 8.6)
x = d.box(1, 3.4, "x", width=6, color="grey")
latent = d.box(14, 1.4, "c", width=8, color="green")
turned = d.box(14, 5.4, "key, turned", width=14, color="green")
keys = d.box(40, 0.5, "k of each head", width=17, color="blue")
values = d.box(40, 2.6, "v of each head", width=17, color="blue")
d.arrow(x.right, latent.left)
d.arrow(x.right, turned.left)
d.arrow(latent.right, keys.left, color="blue")
d.arrow(latent.right, values.left, color="blue")
d.text(60, 1.2, "plain: made again")
d.text(60, 3.3, "for all tokens, each step")
d.text(32, 6.1, "one for all heads, with RoPE")
d.text(1, 8, "cached is what is green; absorbed: the query goes through U instead, and meets c itself")
d.show()

# %% [markdown]
# By hand, with the sizes of DeepSeek-V2: 128 heads of 128 numbers, $c$ of 512 and the turned key of 64. Plain heads would
# keep $2 \cdot 128 \cdot 128 = 32{,}768$ numbers for a token and layer, the latent form 576.


# %%
#| export
class LatentAttention(nn.Module):
    """Causal attention that caches one vector for each token and a key with its position (2405.04434, equations 9 to 19).

    ``rope`` turns (batch, heads, seq, d_rope). With ``absorbed=True`` keys and values are never made. The cache is asked to keep
    the vectors as keys and the turned keys as values, (batch, 1, seq, d_latent) and (batch, 1, seq, d_rope).

    Built in notebooks/appendix/09x_caches.ipynb.
    """

    def __init__(
        self, d_model: int, num_heads: int, d_head: int, d_latent: int, d_rope: int, rope: Callable[[Tensor, Tensor], Tensor]
    ) -> None:  # fmt: skip
        super().__init__()
        self.num_heads, self.d_head, self.d_rope, self.rope = num_heads, d_head, d_rope, rope
        self.q_proj = nn.Linear(d_model, num_heads * (d_head + d_rope), bias=False)
        self.down = nn.Linear(d_model, d_latent, bias=False)
        self.k_rope = nn.Linear(d_model, d_rope, bias=False)
        self.up_k = nn.Parameter(torch.randn(num_heads, d_head, d_latent) / d_latent**0.5)
        self.up_v = nn.Parameter(torch.randn(num_heads, d_head, d_latent) / d_latent**0.5)
        self.o_proj = nn.Linear(num_heads * d_head, d_model, bias=False)

    def forward(
        self, x: Float[Tensor, "batch seq d_model"], *, cache=None, absorbed: bool = False
    ) -> Float[Tensor, "batch seq d_model"]:
        past = 0 if cache is None else cache.length
        positions = torch.arange(past, past + x.shape[1], device=x.device)
        q = self.q_proj(x).unflatten(-1, (self.num_heads, -1)).transpose(1, 2)  # (batch, head, seq, d_head + d_rope)
        q, q_rope = q.split([self.d_head, self.d_rope], dim=-1)
        c, k_rope = self.down(x)[:, None], self.rope(self.k_rope(x)[:, None], positions)
        if cache is not None:
            c, k_rope = cache.update(c, k_rope)
        scores = self.rope(q_rope, positions) @ k_rope.mT
        asked = (q @ self.up_k) @ c.mT if absorbed else q @ (c @ self.up_k.mT).mT
        scores = (scores + asked) / (self.d_head + self.d_rope) ** 0.5
        later = torch.arange(past + x.shape[1], device=x.device) > positions[:, None]
        p = scores.masked_fill(later, -torch.inf).softmax(dim=-1)
        out = (p @ c) @ self.up_v.mT if absorbed else p @ (c @ self.up_v.mT)
        return self.o_proj(out.transpose(1, 2).flatten(2))


# %% [markdown]
# **Predict.** Is a decode step with 1,000 tokens in the cache faster in the absorbed form, and by which factor? (16
# heads of 32 numbers, $c$ of 64.)


# %%
class Grown:
    """The simplest cache: tensors that are joined."""

    def __init__(self) -> None:
        self.length, self.kept = 0, None

    def update(self, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        self.kept = (k, v) if self.kept is None else tuple(torch.cat(pair, dim=2) for pair in zip(self.kept, (k, v)))
        self.length += k.shape[2]
        return self.kept


# %% tags=["timing"]
guess = None  # times as fast

if READY.or_show("latent"):
    torch.manual_seed(0)
    rope = RotaryPositionalEmbedding(10_000.0, 16, 2048)
    latent_attention = LatentAttention(256, 16, 32, 64, 16, rope.forward).requires_grad_(False)
    text = torch.randn(1, 1_000, 256)
    caches = {absorbed: Grown() for absorbed in (False, True)}
    whole = {absorbed: latent_attention(text, cache=cache, absorbed=absorbed) for absorbed, cache in caches.items()}

    def step(absorbed: bool):
        cache = Grown()
        cache.kept, cache.length = caches[absorbed].kept, 1_000
        return latent_attention(text[:, :1], cache=cache, absorbed=absorbed)

    plain, fast = best_seconds(lambda: step(False), lambda: step(True), least=0.1)
    reveal("times as fast", plain / fast, guess, within=1.6, shown=f"{plain / fast:.1f}")

# %%
if READY.or_show("latent, counted"):

    def operations(absorbed: bool) -> int:
        with FlopCounterMode(display=False) as counter:
            step(absorbed)
        return counter.get_total_flops()

    kept = sum(x.numel() for x in caches[True].kept) // 1_000
    difference = (whole[True] - whole[False]).abs().max().item()
    print(f"greatest difference of the two forms {difference:.0e}; {kept} numbers a token instead of {2 * 16 * 32}")
    print(f"operations of a step: {operations(False):,} plain, {operations(True):,} absorbed")
    assert difference < 1e-4 and kept == 64 + 16 and operations(False) > 5 * operations(True), YOURS

# %% [markdown]
# The two forms give the same and differ in what is read and computed. Plain, each step makes 16 heads of keys and
# values for all 1,000 tokens. Absorbed, 16 queries read one vector for each token: it is multi-query attention with
# heads of $64 + 16$ numbers. For a prefill, where there are as many queries as keys, the plain form has fewer
# operations, so engines use both.
#
# ## 2 · A window
#
# **Must a token see everything?** With *sliding-window attention* (滑动窗口注意力; Mistral 7B,
# [2310.06825](https://arxiv.org/abs/2310.06825), after [2004.05150](https://arxiv.org/abs/2004.05150)) a token sees
# the last $w$ tokens, itself among them, so the cache stops growing. Through $L$ layers news can still travel $L
# \cdot (w - 1)$ tokens far.


# %%
#| export
class WindowCache:
    """Keys and values of the last ``window`` tokens, one token at a time after the first call. A `cs336lite.attention.Cache`.

    ``length`` counts the tokens that it holds, so tell attention their positions. The first call gets all its tokens back: a mask
    (`window_mask`) must keep the window there.

    Built in notebooks/appendix/09x_caches.ipynb.
    """

    def __init__(self, window: int) -> None:
        self.window, self.length = window, 0
        self.kept: tuple[Tensor, Tensor] | None = None

    def update(self, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        """Append (batch, num_kv_heads, seq, d_head) each; ValueError for several tokens after the first call."""
        if self.kept is not None:
            if k.shape[2] != 1:
                raise ValueError(f"{k.shape[2]} tokens at once: after the prompt a window takes one")
            k, v = (torch.cat((old, new), dim=2) for old, new in zip(self.kept, (k, v)))
            k, v = k[:, :, -self.window :], v[:, :, -self.window :]
        # what the next token may see beside itself
        self.kept = tuple(x[:, :, max(x.shape[2] - self.window + 1, 0) :].clone() for x in (k, v))
        self.length = self.kept[0].shape[2]
        return k, v


def window_mask(seq: int, window: int) -> Bool[Tensor, "seq seq"]:
    """Which of the tokens before it, and itself, each token may see: the last ``window``.

    >>> window_mask(4, 2).int().tolist()
    [[1, 0, 0, 0], [1, 1, 0, 0], [0, 1, 1, 0], [0, 0, 1, 1]]

    Built in notebooks/appendix/09x_caches.ipynb.
    """
    past = torch.arange(seq)[:, None] - torch.arange(seq)
    return (past >= 0) & (past < window)


# %% [markdown]
# **Predict.** Two layers, each with a window of 8. How many tokens back can a change in the input still be seen in
# the output of the second layer?

# %%
guess = None

if READY.or_show("window"):
    torch.manual_seed(0)
    rope = RotaryPositionalEmbedding(10_000.0, 16, 128)
    layers = [MultiHeadAttention(64, 4, 2, rope=rope.forward).requires_grad_(False) for _ in range(2)]
    x, window = torch.randn(1, 40, 64), 8

    def through(x):
        for layer in layers:
            x = x + layer(x, mask=window_mask(x.shape[1], window))
        return x

    moved = x.clone()
    moved[:, 10] += 1
    changed = (through(moved) - through(x)).abs().amax(dim=(0, 2)) > 1e-6
    reach = int(changed.nonzero().max()) - 10
    reveal("tokens back", reach, guess, within=1, because={8: "each layer carries news on by 7 tokens", 16: "a window of 8 holds the token itself"})  # fmt: skip
    cache = WindowCache(window)
    parts = [layers[0](x[:, :12], mask=window_mask(12, window), cache=cache)]
    for i in range(12, 40):
        parts.append(layers[0](x[:, i : i + 1], token_positions=torch.tensor([i]), cache=cache))
    difference = (torch.cat(parts, dim=1) - layers[0](x, mask=window_mask(40, window))).abs().max().item()
    print(f"with the cache of {cache.length} tokens and with the mask: greatest difference {difference:.0e}")
    assert difference < 1e-5 and reach == 2 * (window - 1) and cache.length == window - 1, YOURS

# %% [markdown]
# ## 3 · Integers in the cache
#
# **What if a key is one byte?** Each new key gets a scale of its own when it comes, since later ones are not known
# yet. Values of trained models are even; keys have channels that are large in *every* token (KIVI,
# [2402.02750](https://arxiv.org/abs/2402.02750)), which a scale for each token serves badly, and a scale for each
# channel well.


# %%
#| export
class Int8Cache:
    """Keys and values in int8 with a float32 scale for each token and head, for ``max_length`` tokens. A `cs336lite.attention.Cache`.

    Built in notebooks/appendix/09x_caches.ipynb.
    """

    def __init__(self, max_length: int) -> None:
        self.max_length, self.length = max_length, 0
        self.kept: list[tuple[Tensor, Tensor]] = []

    def update(self, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        """Append (batch, num_kv_heads, seq, d_head) each; all of them as they come back from int8."""
        start, stop = self.length, self.length + k.shape[2]
        if stop > self.max_length:
            raise ValueError(f"the cache has room for {self.max_length} tokens, and these would be {stop}")
        if not self.kept:
            for x in (k, v):
                codes = torch.zeros(*x.shape[:2], self.max_length, x.shape[3], dtype=torch.int8, device=x.device)
                self.kept.append((codes, torch.zeros(*codes.shape[:3], 1, device=x.device)))
        back = []
        for (codes, scales), new in zip(self.kept, (k, v)):
            scale = new.float().abs().amax(dim=-1, keepdim=True) / 127
            codes[:, :, start:stop] = (new / torch.where(scale > 0, scale, 1.0)).round().to(torch.int8)
            scales[:, :, start:stop] = scale
            back.append((codes[:, :, :stop] * scales[:, :, :stop]).to(new.dtype))
        self.length = stop
        return back[0], back[1]

    @property
    def bytes(self) -> int:
        return sum(x.nbytes for pair in self.kept for x in pair)


# %% [markdown]
# **Predict.** Heads of 64 numbers: what share of a bfloat16 cache does this one take, in percent, with its scales?

# %%
guess = None  # percent

if READY.or_show("int8 cache"):
    torch.manual_seed(0)
    layer = MultiHeadAttention(256, 4, 2).requires_grad_(False)
    x, cache = torch.randn(1, 100, 256), Int8Cache(100)
    error = (layer(x, cache=cache) - layer(x)).square().mean().sqrt() / layer(x).square().mean().sqrt()
    share = 100 * cache.bytes / (2 * 2 * 64 * 100 * 2)
    reveal(
        "percent",
        share,
        guess,
        within=1.02,
        because={50: "a scale of four bytes comes with 64 bytes"},
        shown=f"{share:.1f}",
    )
    print(f"attention's output is off by {100 * error:.2f} % (root mean square)")
    large = x.clone()
    layer.k_proj.weight[3] *= 30  # a channel of the keys that is large in every token
    layer.q_proj.weight[[3, 67]] /= 30  # and the queries of both heads that read it: the same scores
    again = layer(x)
    worse = (layer(x, cache=Int8Cache(100)) - again).square().mean().sqrt() / again.square().mean().sqrt()
    print(f"with one large channel in the keys: {100 * worse:.2f} %")
    assert error < 0.02 and worse > 1.5 * error, YOURS

# %% [markdown]
# ## 4 · Scales that know the inputs
#
# **Which weights deserve care?** An error in a weight counts as often as its input is large. AWQ
# ([2306.00978](https://arxiv.org/abs/2306.00978)) multiplies each column of a matrix by $s_j = a_j^\alpha$, where
# $a_j$ is the mean size of input $j$ on some text, rounds, and divides again (in practice the division goes into the
# layer before). A column with a large input gets more of the group's steps. $\alpha$ is found by trying.


# %%
#| export
def scaled_rounding(
    weight: Float[Tensor, "out in"], inputs: Float[Tensor, "tokens in"], rule: Callable[[Tensor], Tensor], alpha: float
) -> Float[Tensor, "out in"]:
    """The weight after ``rule`` (on rows), its columns scaled by the mean size of their inputs to ``alpha`` meanwhile.

    Built in notebooks/appendix/09x_caches.ipynb.
    """
    scales = inputs.abs().mean(dim=0).clamp(min=1e-8) ** alpha
    scales = scales / (scales.max() * scales.min()).sqrt()
    return rule(weight * scales) / scales


# %% [markdown]
# **Predict.** A matrix with 4 bits and inputs of which four in 128 are 20 times as large: by which factor does the
# best $\alpha$ reduce the error of its output?

# %%
guess = None  # times

drawn = torch.Generator().manual_seed(0)
weight, inputs = torch.randn(256, 128, generator=drawn), torch.randn(500, 128, generator=drawn)
inputs[:, :4] *= 20
ALPHAS = np.linspace(0, 1, 11)
errors = []
for alpha in ALPHAS:
    rounded = scaled_rounding(weight, inputs, lambda w: symmetric(w.unflatten(1, (-1, 32)), 4).flatten(1), float(alpha))
    errors.append(((inputs @ (rounded - weight).T).square().mean() / (inputs @ weight.T).square().mean()).sqrt().item())
reveal("times", errors[0] / min(errors), guess, within=1.4, shown=f"{errors[0] / min(errors):.1f}")
fig, ax = axes(xlabel="α", ylabel="error of the output (share)", size=(6, 2.8), title="4 bits, groups of 32")
ax.plot(ALPHAS, errors, "o-", color=COLORS["blue"])
ax.set(ylim=(0, None))
assert int(np.argmin(errors)) > 0 and errors[0] > 1.3 * min(errors)
finish(fig)

# %% [markdown]
# At $\alpha = 0$ inputs are not looked at. Too much of it sacrifices the other columns of the groups in which the
# large ones stand.
#
# ## 5 · Beam search
#
# **Which text is the likeliest?** Greedy decoding takes the likeliest *token* each time, and may so miss the
# likeliest text. A *beam search* (束搜索) goes on with the `width` best beginnings at once: it gives each of them every
# possible next token, and keeps the `width` best of all these. By hand, as in lecture 09: `a` 0.6 and `b` 0.4 are
# both kept by a beam of 2. The best texts of two tokens are then 0.6 · 0.4 = 0.24 and 0.4 · 0.9 = 0.36, and the
# second one wins.


# %%
#| export
@torch.no_grad()
def beam_search(
    next_logits: Callable[[Tensor], Tensor], prompt: Sequence[int], max_new_tokens: int, width: int, *, end: int | None = None
) -> tuple[Int[Tensor, "beam seq"], Float[Tensor, " beam"]]:  # fmt: skip
    """The ``width`` likeliest texts that are found, and the log-probability of what each adds to the prompt; best first.

    ``next_logits(texts)`` gives (beam, vocab) for texts (beam, seq). A text that has written ``end`` goes on with it at no
    cost. With a width of at least vocab ** (max_new_tokens - 1) nothing is lost. ValueError for a width below 1.

    >>> beam_search(lambda texts: torch.tensor([[0.6, 0.4]]).log().expand(len(texts), 2), [0], 2, 1)[0].tolist()
    [[0, 0, 0]]

    Built in notebooks/appendix/09x_caches.ipynb.
    """
    if width < 1:
        raise ValueError(f"width is {width}: a beam keeps at least one text")
    texts, scores = torch.tensor([list(prompt)], dtype=torch.int64), torch.zeros(1)
    for _ in range(max_new_tokens):
        logp = next_logits(texts).log_softmax(dim=-1)
        vocab = logp.shape[1]
        if end is not None:
            ended = (texts[:, len(prompt) :] == end).any(dim=1)
            logp[ended] = torch.where(torch.arange(vocab) == end, 0.0, -torch.inf)
        total = (scores[:, None] + logp).flatten()  # of every text with every next token
        scores, best = total.topk(min(width, int(total.isfinite().sum())))
        texts = torch.cat((texts[best // vocab], best[:, None] % vocab), dim=1)
    return texts, scores


# %% [markdown]
# To keep it short, every step reads the whole texts. With a cache, rows must follow the texts that go on, several of them
# perhaps from one: in a paged cache that is `fork`.
#
# What is the likeliest text? We ask a table that has counted five bytes of context in the stories, as the drafts of
# lecture 09.
#
# **Predict.** Sixty bytes after “One day, ”: does a beam of 16 find a better story than sampling does, and how much
# likelier is it than the middle one of 20 samples, in nats?

# %%
guess = None  # nats

table = CountedDraft(list("\n\n".join(stories(4_400, seed=1)).encode())[:300_000], 6, 256)
PROMPT, WIDTHS = list(b"One day, "), [1, 2, 4, 8, 16, 32]


def next_logits(texts):
    return torch.stack([table(text) for text in texts.tolist()]).log()


def sampled(draw) -> tuple[list[int], float]:
    """A text drawn from the table, and the log-probability of what was drawn."""
    text, logp = list(PROMPT), 0.0
    for _ in range(60):
        p = table(text)
        text.append(int(torch.multinomial(p, 1, generator=draw)))
        logp += p[text[-1]].log().item()
    return text, logp


beams = {width: beam_search(next_logits, PROMPT, 60, width) for width in WIDTHS}
draw = torch.Generator().manual_seed(0)
samples = sorted((sampled(draw) for _ in range(20)), key=lambda sample: sample[1])

# %% folded=true
# run this cell to compare your guess
best, middle = beams[16][1][0].item(), samples[10][1]
because = {"too small": "each sampled byte gives up a little, and there are sixty of them"}
reveal("nats", best - middle, guess, within=1.3, because=because, shown=f"{best - middle:.0f}")
for name, text in [
    *((f"beam of {n}", beams[n][0][0].tolist()) for n in (1, 4, 16)),
    ("the middle sample", samples[10][0]),
]:
    print(f"{name}: {' '.join(bytes(text).decode(errors='replace').split())}")
fig, ax = axes(xlabel="width of the beam (logarithmic)", ylabel="log-probability (nats)", size=(6.4, 3))
ax.plot(WIDTHS, [beams[n][1][0].item() for n in WIDTHS], "o-", color=COLORS["blue"], label="best text of the beam")
for i, (_, logp) in enumerate(samples):
    ax.axhline(logp, color=COLORS["vermillion"], linewidth=0.7, label=None if i else "20 samples, one line each")
ax.set_xscale("log", base=2)
ax.set_xticks(WIDTHS, [str(n) for n in WIDTHS])
ax.set(title="60 bytes after “One day, ”, by counted bytes", ylim=(None, 0))
fig.legend(loc="outside lower center", ncols=2, frameon=False)
assert best > beams[1][1][0].item() and best > samples[-1][1] > middle
finish(fig)

# %% [markdown]
# From a width of 4 on, the beam finds a likelier text than all 20 samples; greedy decoding and a beam of 2 do not.
# And what a beam of 16 finds is no good story: it says the same word again and again. A wider beam is not always
# likelier, either: a beam of 2 can drop the beginning that greedy decoding follows. This is why models for chat
# sample: typical text is far less likely than the likeliest one (1904.09751), and a reader wants typical text.
# Translation, where a source text leaves few good answers, is where beams are still used.
#
# ## Limits
#
# - DeepSeek-V2 also compresses queries and norms $c$; both change nothing of what is shown here.
# - The caches give tensors back, so attention reads full numbers. To be faster they need kernels that read what is
#   kept.
# - The weights and inputs of sections 1 to 4 are drawn, not trained. Section 5 searches a table of counted bytes,
#   one prompt long.
#
# ## Sources
#
# DeepSeek-V2 2024 (arXiv 2405.04434) · Jiang et al. 2023, Mistral 7B (2310.06825) · Beltagy et al. 2020, Longformer
# (2004.05150) · Liu et al. 2024, KIVI (2402.02750) · Lin et al. 2023, AWQ (2306.00978) · Holtzman et al. 2019 (1904.09751).
