# ---
# jupyter:
#   kernelspec: {display_name: Python 3, language: python, name: python3}
#   cs336lite: {module: generation, minutes: 1, prerequisites: [03_architecture, a2_attention, a3_rope], device: CPU}
# ---

# %% [markdown]
# # 03x · Writing: which token comes next, and what is kept (appendix of lecture 03)
#
# {badge} · prerequisites: [03 · the Transformer](../03_architecture.ipynb), a2, a3 · device: CPU
#
# Lecture 03 wrote with a loop of eight lines. A program that people use needs more: ways to choose a token (采样), a
# cache that does not copy itself at every step (KV 缓存), an end, prompts of different lengths in one batch, and a clear
# word where something does not fit. This appendix builds `cs336lite.generation`. The model of lecture 03b hands it on,
# so `from cs336lite.model import generate` works, too.

# %%
import re
from types import SimpleNamespace

import numpy as np
from IPython.display import display
from torch.utils.flop_counter import FlopCounterMode

from cs336lite.attention import MultiHeadAttention
from cs336lite.course import whose
from cs336lite.course.data import SEPARATOR, default_corpus
from cs336lite.course.diagram import Diagram
from cs336lite.course.measure import best_seconds, reveal
from cs336lite.course.plot import COLORS, axes, finish
from cs336lite.layers import FeedForward, RMSNorm
from cs336lite.positions import mask_of_padding
from cs336lite.rope import RotaryPositionalEmbedding

READY = whose("attention", "rope", lecture="03x_writing")
YOURS = "this runs on your attention and your RoPE: do check('a2_attention') and check('a3_rope') pass?"

# %% [markdown]
# ## 1 · Which token? (采样)
#
# **Why not always take the likeliest?** A model gives each token of its vocabulary a probability. What to write is a
# choice of its own. *Greedy* decoding (贪心) takes the likeliest, and often repeats itself. Drawing from all
# probabilities also takes tokens of the long tail: where 40,000 unlikely tokens have 2 % together, every fiftieth
# token is one of them, and the text goes on from there. Three numbers stand between:
#
# - **temperature** (温度) $\tau$ divides the logits: $p_i \propto e^{z_i/\tau}$. Below 1 the likely become likelier.
# - **top-k** keeps the $k$ likeliest tokens, however good they are.
# - **top-p** (nucleus, 核采样) keeps the fewest tokens whose probabilities reach $p$ together (Holtzman et al. 2019, arXiv
#   1904.09751): few where the model is sure, many where it is not.
#
# By hand: five words with the probabilities 0.4, 0.3, 0.15, 0.1 and 0.05. A temperature of ½ squares them: 0.16, 0.09,
# 0.0225, 0.01, 0.0025, which sum to 0.285, so the likeliest now has 0.16 / 0.285 = 0.56.


# %%
#| export
"""Writing with a language model (生成): which token comes next, a cache of keys and values, and the loop.

Choices: temperature, top-k, top-p (Holtzman et al. 2019, arXiv 1904.09751). A model is `cs336lite.model.Transformer`, or
what is called like it: ``model(tokens, cache=..., **given)`` gives logits (batch, seq, vocab_size); ``new_cache(length)``
a `KVCache`; ``config`` has ``vocab_size``, ``context_length`` and ``positions``.

Built in notebooks/appendix/03x_writing.ipynb.
"""

import math
from collections.abc import Sequence, Set
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from cs336lite.positions import BOUNDED, as_padding


# %%
#| export
def next_tokens(
    logits: Float[Tensor, "batch vocab"], *, temperature: int | float = 1.0, top_k: int | None = None,
    top_p: int | float | None = None, generator: torch.Generator | None = None,
) -> Int[Tensor, " batch"]:  # fmt: skip
    """One token for each row: the likeliest at temperature 0, else drawn from softmax(logits / temperature).

    ``top_k`` keeps the k likeliest; ``top_p`` the fewest whose probabilities reach p (Holtzman et al. 2019, arXiv
    1904.09751). ValueError for a temperature below 0 or infinite, a top_k that is no integer from 1, a top_p outside
    (0, 1], and logits whose greatest is no number.

    >>> next_tokens(torch.tensor([[0.1, 2.0, 0.3], [5.0, 1.0, 1.0]]), temperature=0).tolist()
    [1, 0]
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


# %% [markdown]
# **Predict.** Of the five words, how many can still be drawn with top-p at 0.8? And how many when the temperature is
# ½, too?

# %%
guess = None  # (top-p 0.8, top-p 0.8 at temperature ½)

WORDS = torch.tensor([0.4, 0.3, 0.15, 0.1, 0.05])


def drawn(n: int = 20_000, **choice) -> np.ndarray:
    """How often each of the five words comes in so many draws."""
    draw = torch.Generator().manual_seed(0)
    tokens = next_tokens(WORDS.log().expand(n, 5), generator=draw, **choice)
    return (torch.bincount(tokens, minlength=5) / n).numpy()


CHOICES = {
    "as they are": {}, "temperature ½": {"temperature": 0.5}, "temperature 2": {"temperature": 2.0},
    "top-k 3": {"top_k": 3}, "top-p 0.8": {"top_p": 0.8}, "top-p 0.8, temperature ½": {"top_p": 0.8, "temperature": 0.5},
}  # fmt: skip
shares = {name: drawn(**choice) for name, choice in CHOICES.items()}
left = [int((shares[name] > 0).sum()) for name in ("top-p 0.8", "top-p 0.8, temperature ½")]

# %% folded=true
# run this cell to compare your guess
because = {2: "0.4 + 0.3 = 0.7 has not reached 0.8: the third word is kept, too"}
reveal("words left", tuple(left), guess, because=because, within=1)
fig, panels = axes(2, 3, xlabel="word", ylabel="share of 20,000 draws", size=(9, 4.8))
for ax, (name, share) in zip(panels.flat, shares.items()):
    ax.bar(range(1, 6), share, color=COLORS["sky_blue"])
    ax.plot(range(1, 6), WORDS, "_", markersize=11, color=COLORS["vermillion"])
    ax.set(title=name, ylim=(0, 0.75), xticks=range(1, 6))
    ax.grid(axis="x", visible=False)
assert abs(shares["temperature ½"][0] - 0.16 / 0.285) < 0.01  # by hand, above
finish(fig)

# %% [markdown]
# Bars are what was drawn, red marks the model's probabilities. Top-p looks at the distribution after the temperature:
# at ½ the first two words have 0.88 together, so the third goes. Top-k would keep three words in either case.
#
# ## 2 · A cache in one piece of memory
#
# Lecture 03's cache joined old keys and new ones with `torch.cat`. That allocates new memory and copies everything
# that is kept, at every step, in every layer. Writing $n$ tokens copies $1 + 2 + \dots + n = n(n+1)/2$ of them. Here
# memory for all tokens is taken once, and a step writes its own token into it.

# %% folded=true
d = Diagram(80, 9.6)
for x, name, row in ((2, "torch.cat, step by step", True), (42, "one piece of memory", False)):
    d.text(x, 0.7, name)
    for step in range(3):
        y = 1.8 + 2.1 * step
        if row:
            d.row(x, y, [f"k{i + 1}" for i in range(step + 2)], ["grey"] * (step + 1) + ["orange"])
            if step:
                d.arrow((x + 4, y - 0.75), (x + 4, y - 0.05), "copied", color="vermillion")
        else:
            names = [f"k{i + 1}" if i < step + 2 else "  " for i in range(6)]
            d.row(x, y, names, ["orange" if i == step + 1 else "grey" for i in range(6)])
d.text(2, 8.6, "orange: written in this step")
d.text(42, 8.6, "empty: room that was taken at the beginning")
d.show()


# %% [markdown]
# A decoder beside an encoder also reads a source text (交叉注意力, cross-attention). The source stays the same while the
# answer grows, so its keys and values are computed once. Attention that is asked about the source alone gives them to its
# cache; asked later about new tokens, it gets them back from there, whatever the new tokens' own keys are.


# %%
#| export
class SourceCache:
    """Keys and values of the source text in one layer's cross-attention, which must have neither a causal mask nor RoPE.

    The first ``update`` is kept, and what later ones are given is not. A `cs336lite.attention.Cache`.
    """

    def __init__(self) -> None:
        self.context, self.kept, self.length = None, None, 0

    def of(self, attention: nn.Module, context: Float[Tensor, "batch source_seq d_model"]) -> "SourceCache":
        """This cache with the keys and values of ``context``, computed unless it holds those of this very tensor."""
        if self.context is not context:
            self.context = self.kept = None
            attention(context, cache=self)
            self.context = context
        return self

    def update(self, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        """The source's keys and values, (batch, num_kv_heads, source_seq, d_head) each."""
        if self.kept is None:
            self.kept = k, v
        return self.kept


# %%
#| export
class LayerCache:
    """Keys and values of one layer, in memory for ``max_length`` tokens that is taken once. A `cs336lite.attention.Cache`.

    ``source`` is for those of a source text, in a decoder that reads one.

    ``update`` raises ValueError when there is no room, and for keys and values of another kind than those that it holds.
    """

    def __init__(self, max_length: int) -> None:
        if max_length < 0:
            raise ValueError(f"a cache cannot have room for {max_length} tokens")
        self.max_length, self.length = max_length, 0
        self.kept: tuple[Tensor, Tensor] | None = None
        self.source = SourceCache()

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
        return sum(x.nbytes for layer in self.layers for x in (*(layer.kept or ()), *(layer.source.kept or ())))


# %% [markdown]
# **Predict.** One layer with 8 heads of 64 numbers keeps 1,000 tokens, one after the other. How many GB of keys and
# values does each of the two ways write, in float32?


# %%
guess = None  # (torch.cat, one piece), in GB


class Joined:
    """The cache of lecture 03; ``written`` counts the bytes that `torch.cat` writes."""

    def __init__(self) -> None:
        self.k = self.v = torch.empty(1, 8, 0, 64)
        self.written = 0

    def update(self, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        self.k, self.v = torch.cat((self.k, k), dim=2), torch.cat((self.v, v), dim=2)
        self.written += self.k.nbytes + self.v.nbytes
        return self.k, self.v


def fill(cache, n: int = 1_000):
    """Give a cache so many tokens, one by one."""
    new = torch.zeros(1, 8, 1, 64)
    for _ in range(n):
        cache.update(new, new)
    return cache


joined, whole = fill(Joined()), fill(KVCache(num_layers=1, max_length=1_000).layers[0])
gigabytes = joined.written / 1e9, sum(x.nbytes for x in whole.kept) / 1e9  # in one piece each byte is written once
assert 2 * joined.written == 1_001 * sum(x.nbytes for x in whole.kept)  # n (n + 1) / 2 tokens against n

# %% folded=true
# run this cell to compare your guess
because = {
    "too small": "each step copies all tokens before it: 500 of 1,000 on average",
    4.1: "half of that: the cache grows",
}
shown = f"{gigabytes[0]:.2f} joined, {gigabytes[1]:.4f} in one piece"
reveal("GB", tuple(gigabytes), guess, because=because, within=1.2, shown=shown)

# %% tags=["timing"]
seconds = best_seconds(lambda: fill(Joined()), lambda: fill(KVCache(1, 1_000).layers[0]))
print(f"1,000 tokens: {1e3 * seconds[0]:.0f} ms joined, {1e3 * seconds[1]:.0f} ms in one piece")


# %% [markdown]
# The memory for `max_length` tokens is taken even where a text ends early. Servers with many texts therefore cut the
# memory into pages (PagedAttention, arXiv 2309.06180).
#
# ## 3 · The loop
#
# A prompt is read at once (*prefill*), then come tokens one by one (*decode*). Texts that end early wait for the
# others: a row that has met its `stop` repeats it. Prompts of different lengths are padded on the **left**, so that
# all of them end at the same place and the new tokens follow directly. The padding is masked, and positions are
# counted from each prompt's own first token.

# %% folded=true
d = Diagram(88, 7.8)
rows = (("Once", "upon", "a", "time"), ("", "", "The", "cat"))
for i, words in enumerate(rows):
    y = 0.6 + 3.1 * i
    d.row(
        12,
        y,
        [word or "pad" for word in words] + ["→"],
        ["blue" if w else "grey" for w in words] + ["orange"],
        widths=[8] * 5,
    )
    d.text(1, y + 0.65, "tokens")
    d.text(1, y + 1.95, "position")
    first = words.count("")
    for k in range(5):
        d.text(15.8 + 8 * k, y + 1.95, str(max(0, k - first)) if k >= first else "masked", align="middle")
d.text(12, 7.1, "blue: prompt · orange: the first new token, in the same column for all rows")
d.show()


# %% folded=true
#| export
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


def check_prompts(tokens: Tensor, padding: Tensor | None, vocab_size: int) -> Tensor | None:
    """The padding as booleans; ValueError for prompts after which no text can go on."""
    check_ids("tokens", tokens)
    check_vocabulary(tokens, vocab_size)
    if not tokens.shape[1]:
        raise ValueError("the prompt is empty: give at least one token, such as the one that begins a text")
    if padding is None:
        return None
    real = as_padding(padding, *tokens.shape)
    wrong = (real.long().cummax(dim=1).values != real).any(dim=1) | ~real[:, -1]
    if wrong.any():
        raise ValueError(f"row {int(wrong.nonzero()[0])} has padding after a token, or nothing else: pad on the left")
    return real


def ids_that_stop(stop: int | Sequence[int] | Set[int] | Tensor | None, vocab_size: int) -> Tensor:
    """The tokens that end a text, one or several or none."""
    several = [] if stop is None else list(stop) if isinstance(stop, Set) else stop
    found = torch.as_tensor(several).flatten()
    if found.numel() and found.dtype not in (torch.int64, torch.int32):
        raise TypeError(f"stop is {stop!r}: give one id, or several")
    check_vocabulary(found, vocab_size)
    return found


# %%
#| export
def places_of(padding: Tensor, seq: int, past: int, scheme: str) -> dict[str, Tensor]:
    """The padding of prompts continued over all ``seq`` tokens so far, and where those after the first ``past`` stand."""
    real = F.pad(padding, (0, seq - padding.shape[1]), value=True)
    positions = (real.cumsum(dim=-1) - 1).clamp(min=0)[:, past:]
    if scheme == "glm":  # GLM has two positions for each token; outside its blanks the second is 0
        positions = torch.stack((positions, torch.zeros_like(positions)), dim=1)
    return {"padding": real, "token_positions": positions}


@torch.no_grad()
def generate(
    model: nn.Module, tokens: Int[Tensor, "batch seq"], max_new_tokens: int, *,
    stop: int | Sequence[int] | Set[int] | Tensor | None = None, padding: Tensor | None = None, use_cache: bool = True,
    given: dict[str, Any] | None = None, **choice: Any,
) -> Int[Tensor, "batch longer"]:  # fmt: skip
    """``tokens`` and what the model adds to them, token by token until ``max_new_tokens`` or all rows have met ``stop``.

    ``choice`` goes to `next_tokens`, ``given`` to the model (context, prefix); the encoder reads a ``source`` once. Prompts of different lengths are padded
    on the left, ``padding`` False or 0 there. ``stop`` is an id or several; after one a row goes on with it. ValueError
    beyond the context length, for an empty prompt, padding elsewhere, ids that do not exist.
    """
    config, training, given = model.config, model.training, dict(given or {})
    padding = check_prompts(tokens, padding, config.vocab_size)
    stop = ids_that_stop(stop, config.vocab_size).to(tokens.device)
    if max_new_tokens < 0:
        raise ValueError(f"max_new_tokens is {max_new_tokens}, and must be at least 0")
    length = tokens.shape[1] + max_new_tokens
    if length > config.context_length and config.positions in BOUNDED:
        raise ValueError(f"{length} tokens, and the model's context_length is {config.context_length}")
    cache = model.new_cache(length) if use_cache else None
    ended = torch.zeros(len(tokens), dtype=torch.bool, device=tokens.device)
    model.eval()
    try:
        if given.get("source") is not None:
            given["context"] = model.encode(given.pop("source"), given.get("source_padding"))
        for _ in range(max_new_tokens):
            if stop.numel() and ended.all():
                break
            past = cache.length if use_cache else 0
            places = {} if padding is None else places_of(padding, tokens.shape[1], past, config.positions)
            logits = model(tokens[:, past:], cache=cache, **given, **places)[:, -1]
            new = torch.where(ended, tokens[:, -1], next_tokens(logits, **choice))
            ended |= torch.isin(new, stop)
            tokens = torch.cat((tokens, new[:, None]), dim=1)
    finally:
        model.train(training)
    return tokens


# %% [markdown]
# ### A machine that writes
#
# `generate` asks little of a model: to be called with tokens and a cache, `new_cache`, and a `config`. Here is lecture
# 03's machine once more, smaller, with that; it learns for some seconds.


# %%
class Machine(nn.Module):
    """Two blocks of a Llama in small; ids (batch, seq) to logits (batch, seq, 256)."""

    def __init__(self, d: int = 64, d_ff: int = 172, num_layers: int = 2):
        super().__init__()
        self.config = SimpleNamespace(vocab_size=256, context_length=256, positions="rope")
        rope = RotaryPositionalEmbedding(10_000.0, d // 4, self.config.context_length)
        self.embedding, self.output = nn.Embedding(256, d), nn.Linear(d, 256, bias=False)
        self.attentions = nn.ModuleList(MultiHeadAttention(d, 4, rope=rope) for _ in range(num_layers))
        self.networks = nn.ModuleList(FeedForward(d, d_ff) for _ in range(num_layers))
        self.norms = nn.ModuleList(RMSNorm(d) for _ in range(2 * num_layers + 1))
        draw = torch.Generator().manual_seed(0)
        for matrix in (p for p in self.parameters() if p.ndim == 2):
            nn.init.normal_(matrix, std=0.02, generator=draw)

    def forward(self, tokens, padding=None, token_positions=None, cache=None):
        x, mask = self.embedding(tokens), None if padding is None else mask_of_padding(padding)
        for i, (attention, network) in enumerate(zip(self.attentions, self.networks)):
            seen = {"mask": mask, "token_positions": token_positions, "cache": cache and cache.layers[i]}
            x = x + attention(self.norms[2 * i](x), **seen)
            x = x + network(self.norms[2 * i + 1](x))
        return self.output(self.norms[-1](x))

    def new_cache(self, length: int) -> KVCache:
        return KVCache(len(self.attentions), length)


# %% tags=["timing"]
def learn(model: Machine, text: Tensor, steps: int = 500, seq: int = 128) -> float:
    """Train on random pieces of a text; the mean loss of the last 20 steps, in nats a byte."""
    draw, losses = torch.Generator().manual_seed(0), []
    optimizer = torch.optim.AdamW(model.parameters(), betas=(0.9, 0.95), weight_decay=0.1, fused=True)
    for step in range(steps):
        optimizer.param_groups[0]["lr"] = 1e-2 * min((step + 1) / 20, 1 - step / steps)
        pieces = text[torch.randint(len(text) - seq, (12, 1), generator=draw) + torch.arange(seq + 1)]
        loss = F.cross_entropy(model(pieces[:, :-1]).flatten(0, 1), pieces[:, 1:].flatten())
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        losses.append(loss.item())
    return sum(losses[-20:]) / 20


torch.set_num_threads(1)
documents = default_corpus().read_text(encoding="utf-8").split(SEPARATOR)
stories = "".join(text for text in documents if text.isascii() and "Once upon" in text[:200])
print(f"{len(stories):,} bytes of English stories")
if READY.or_show("training"):
    machine = Machine()
    print(f"loss after 500 steps: {learn(machine, torch.tensor(list(stories.encode()))):.2f} nats a byte")

# %% [markdown]
# The machine writes 110 bytes after a prompt of 16. These are no more than the 128 that it was trained on: further on, its
# positions would be new to it, and its words fall apart (lecture 03b measures that).
#
# **Predict.** Of the temperatures 0, 0.6 and 2: with which does it repeat its own words most, and with which does it make
# up most words that no story has?

# %% tags=["timing"]
guess = None  # (temperature that repeats most, temperature that makes up most)


def said(tokens: Tensor) -> str:
    text = bytes(tokens.tolist()).decode(errors="replace")
    return "".join(letter if letter.isprintable() or letter == "\n" else "\ufffd" for letter in text)


if READY.or_show("texts"):
    prompt, known, found = torch.tensor([list(b"Once upon a time")]), set(re.findall("[a-z]+", stories.lower())), {}
    for temperature in (0, 0.6, 2):
        draw = torch.Generator().manual_seed(0)
        text = said(generate(machine, prompt, 110, temperature=temperature, generator=draw)[0])
        words = re.findall("[a-z]+", text.lower())
        found[temperature] = 1 - len(set(words)) / len(words), sum(word not in known for word in words) / len(words)
        print(f"temperature {temperature}: {text}\n")
    for temperature, (again, new) in found.items():
        print(f"temperature {temperature}: {100 * again:.0f} % of its words again, {100 * new:.0f} % in no story")

# %% folded=true tags=["timing"]
# run this cell to compare your guess
if READY.or_show("texts, compared"):
    most = tuple(max(found, key=lambda temperature: found[temperature][k]) for k in (0, 1))
    because = {(0, 0): "at temperature 0 it writes what it has seen most, and the same again"}
    reveal("repeats most, makes up most", most, guess, because=because, within=1)
    assert most == (0, 2), YOURS

# %% [markdown]
# The likeliest byte leads back to where the text has been: a loop of frequent words. At 2 all bytes come nearer to
# each other, and one unlikely byte spoils the word for those that follow. Something between is usual: 0.6 to 1, often
# with top-p at 0.9 to 0.95.
#
# ### The same with a cache, and in a batch
#
# A cache and a batch may change how fast a text is written, and nothing about the text. **Predict.** 100 bytes after
# 20: how many times the FLOPs does it take without a cache?

# %%
guess = None  # times

if READY.or_show("cache"):
    flops, texts = [], []
    for use_cache in (True, False):
        with FlopCounterMode(display=False) as counter:
            texts.append(
                generate(
                    machine, torch.tensor([list(b"Once upon a time the")]), 100, temperature=0, use_cache=use_cache
                )
            )
        flops.append(counter.get_total_flops())
    reveal("times", flops[1] / flops[0], guess, within=1.4, shown=f"{flops[1] / flops[0]:.0f}")
    assert torch.equal(*texts) and flops[1] > 20 * flops[0], YOURS

# %%
if READY.or_show("batch"):
    prompts = [b"Once upon a time", b"The cat", b"One day"]
    width = max(map(len, prompts))
    batch = torch.tensor([list(text.rjust(width, b"\0")) for text in prompts])
    real = torch.tensor([[i >= width - len(text) for i in range(width)] for text in prompts])
    together = generate(machine, batch, 40, temperature=0, padding=real, stop=ord("."))
    for row, text in zip(together, prompts):
        alone = generate(machine, torch.tensor([list(text)]), 40, temperature=0, stop=ord("."))[0, len(text) :]
        print(said(row[width - len(text) :]))
        assert torch.equal(row[width : width + len(alone)], alone), YOURS

# %% [markdown]
# Each row is what the prompt alone gives, and a row that has come to its full stop repeats it until the others are
# there.
#
# ### What is refused
#
# Each of these would otherwise give a text that is wrong without a word about it, or an error somewhere in a kernel.

# %%
if READY.or_show("refused"):
    tries = {
        "an id outside the vocabulary": lambda: generate(machine, torch.tensor([[300]]), 5),
        "padding on the right": lambda: generate(machine, batch, 5, padding=real.flip(1)),
        "beyond the context": lambda: generate(machine, prompt, 500),
        "logits that are not numbers": lambda: next_tokens(torch.tensor([[torch.nan, 1.0]])),
        "top_p of 90": lambda: next_tokens(torch.zeros(1, 5), top_p=90),
    }
    for name, attempt in tries.items():
        try:
            attempt()
        except ValueError as problem:
            print(f"{name}: {problem}")
        else:
            raise AssertionError(f"{name} was not refused")

# %% [markdown]
# ## Limits
#
# - Beam search, repetition penalties and speculative decoding are not here; lecture 09 has the last.
# - Top-k and top-p sort the whole vocabulary for every token; fused samplers do not.
#
# ## Sources
#
# Nucleus sampling: Holtzman et al. 2019 (arXiv 1904.09751) · top-k: Fan et al. 2018 (1805.04833) · PagedAttention:
# Kwon et al. 2023 (2309.06180).
