# ---
# jupyter:
#   kernelspec: {display_name: Python 3, language: python, name: python3}
#   cs336lite: {minutes: 3, prerequisites: [06_moe, a1_bpe, a2_attention, a3_rope, a4_lion, a5_moe_router], device: CPU}
# ---

# %% [markdown]
# # 99 · Your own model
#
# {badge}
#
# You have written a tokenizer, attention, rotary positions, an optimizer and a router. Here they become one language
# model. You train it, compare its loss with tables of counts, and read what it writes.
#
# This page can be run at any time. What you have not written yet is replaced by something simpler, and the first cell says by
# what. Come back after each assignment: the leaderboard at the end keeps your best run under each name.
#
# ## Whose parts are these?
#
# | part | where it comes from | what stands in for it |
# |---|---|---|
# | tokenizer | assignment a1, BPE | a byte is a token |
# | attention | assignment a2 | PyTorch's `scaled_dot_product_attention` |
# | positions | assignment a3, RoPE | a learned vector for each position |
# | optimizer | assignment a4, Lion | AdamW |
# | feed-forward | assignment a5, a router over four experts | one dense network |

# %%
import torch
from torch import Tensor, nn

from cs336lite.course import finished
from cs336lite.course.leaderboard import Entry, enter
from cs336lite.course.measure import reveal
from cs336lite.course.parts import parts
from cs336lite.course.payoff import evaluate, read_texts, tokenized, train, write
from cs336lite.course.plot import COLORS, axes, finish
from cs336lite.layers import RMSNorm

PARTS = parts()

# %% [markdown]
# ## Your settings
#
# `LONG = True` trains a larger model for ten times as many steps: start it when you do not need the machine. The text is the
# same, so both runs stand on the same leaderboard.

# %%
NAME = "me"
LONG = False

d_model, blocks, steps = (192, 6, 3000) if LONG else (96, 3, 300)
heads, length, batch_size, vocab_size = 4, 64, 32, 1024

# %% [markdown]
# ## The text
#
# The text is the course's default corpus: small stories in English and in Chinese, and documentation of PyTorch. If you have
# downloaded TinyStories with `load("tinystories")` from `cs336lite.course.data`, it is taken instead.
#
# The tokenizer learns from a part of the text. The first 50 kB of the corpus are held out: the model never trains on them.

# %%
texts = read_texts(train_bytes=3_000_000)
tokenizer = PARTS.tokenizer(texts.train[:400], vocab_size)
data = tokenized(texts, tokenizer)
print(
    f"{texts.name}: {len(data.train):,} tokens to train on, {len(data.heldout):,} held out; vocabulary {data.vocab_size:,}"
)
print(f"{data.heldout_bytes / len(data.heldout):.2f} bytes a token;", tokenizer.encode("Once upon a time"))

# %% [markdown]
# ## What there is to beat
#
# Losses in nats a token do not compare between tokenizers: a token of four bytes is harder to guess than one of one byte, and
# there are fewer of them. **Bits per byte** (每字节比特数) do compare: the bits that a model needs for the held-out text, divided by
# the bytes of that text,
#
# $$\text{bits per byte} = \frac{\text{loss in nats a token} \cdot \text{tokens}}{\ln 2 \cdot \text{bytes}}.$$
#
# A unigram table knows how often each token occurs. A bigram table also knows the token before.
#
# **Predict.** How many bits per byte does the bigram table need?

# %%
guess = None
tables = data.tables

# %%
reveal("bits per byte of the bigram table", tables["bigram"], guess, within=1.1)

# %% [markdown]
# ## The model
#
# A block reads from the residual stream twice and adds to it twice, as in lecture 03. `PARTS` puts your modules in their places.


# %%
class Block(nn.Module):
    """x + attention(norm(x)), then x + feed_forward(norm(x)); x (batch, seq, d_model)."""

    def __init__(self, d_model: int, heads: int, length: int) -> None:
        super().__init__()
        rope = PARTS.rope(d_model // heads, length)
        self.norms = nn.ModuleList(RMSNorm(d_model) for _ in range(2))
        self.attention = PARTS.attention(d_model, heads, rope)
        self.feed_forward = PARTS.feed_forward(d_model, 3 * d_model)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attention(self.norms[0](x))
        return x + self.feed_forward(self.norms[1](x))


# %%
class YourModel(nn.Module):
    """Token ids (batch, seq) to logits (batch, seq, vocab_size); input and output share one embedding."""

    def __init__(self, vocab_size: int, d_model: int, blocks: int, heads: int, length: int) -> None:
        super().__init__()
        self.embedding = nn.Embedding(vocab_size, d_model)
        self.positions = PARTS.positions(d_model, length)
        self.blocks = nn.Sequential(*(Block(d_model, heads, length) for _ in range(blocks)))
        self.norm = RMSNorm(d_model)
        for matrix in (p for p in self.parameters() if p.ndim > 1):
            nn.init.normal_(matrix, std=matrix.shape[-1] ** -0.5)  # which keeps the size of a vector, as in lecture 03b

    def forward(self, tokens: Tensor) -> Tensor:
        x = self.positions(self.embedding(tokens))
        return self.norm(self.blocks(x)) @ self.embedding.weight.T


torch.manual_seed(0)
model = YourModel(data.vocab_size, d_model, blocks, heads, length)
parameters = sum(p.numel() for p in model.parameters())
print(f"{parameters:,} parameters, {steps * batch_size * length:,} tokens to see")

# %% [markdown]
# ## Training
#
# Before training the model knows nothing and guesses at random, so it needs more than $\log_2(\text{vocabulary})$ bits a token.

# %% tags=["timing"]
curve = [(0, evaluate(model, data, length))]
optimizer = PARTS.optimizer(model.parameters(), lr=3e-3)
curve += train(model, optimizer, data, steps=steps, batch_size=batch_size, length=length)
print(f"{curve[0][1]:.2f} bits per byte before, {curve[-1][1]:.2f} after")

# %% tags=["timing"]
fig, ax = axes(title="Held-out loss of your model", xlabel="step", ylabel="bits per byte")
ax.plot(*zip(*curve), marker="o", markersize=4, color=COLORS["blue"], label="your model")
for (name, value), color in zip(tables.items(), ("orange", "vermillion")):
    ax.axhline(value, linestyle="--", color=COLORS[color], label=f"{name} table")
finish(fig)

# %% [markdown]
# Does your curve cross both dashed lines? A model that ends above the bigram line does worse than a table that knows one token of
# the past. Then it has seen too little, or one of its parts is wrong, and the public checks of that assignment say more.
#
# ## What it writes
#
# Each sample goes on from a prompt, one token at a time, at temperature 0.8 from the tokens that hold 95 % of the probability.

# %% tags=["timing"]
for seed, prompt in enumerate(["Once upon a time", "One day, Lily", "小明"]):
    print(write(model.eval(), tokenizer, prompt, 80, length=length, seed=seed), end="\n\n")

# %% [markdown]
# Look for three things. Are the words words? Do sentences end as they began? Does a story keep to its people and things? `LONG = True`
# gives the model more width, depth and time.
#
# ## The leaderboard
#
# Your runs stay in `.cs336lite/leaderboard.json` on this machine. To compare with friends, exchange that file, and put theirs into
# the folder of the course as `leaderboard-anna.json`. Only runs on the same text are compared.

# %% tags=["timing"]
mine = Entry(NAME, curve[-1][1], texts.digest, parameters, steps * batch_size * length, str(PARTS))
enter(mine, [Entry(f"{name} table", value, texts.digest) for name, value in tables.items()])

# %% [markdown]
# ## Next
#
# There is no next step, so choose your own. Change one thing, give the run another `NAME`, and compare:
#
# - twice the vocabulary, with your own BPE: fewer tokens for the same text, and more parameters in the embedding;
# - one expert more or less in `PARTS.feed_forward(d_model, 3 * d_model, num_experts=8)`;
# - a learning rate half as large, or twice as large: lecture 04 says how a sweep is made, lecture 08 how it grows with the model;
# - `load("tinystories")` and `LONG = True`: a text of small stories alone.

# %%
finished("99_your_model")
