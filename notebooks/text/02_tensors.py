# ---
# jupyter:
#   kernelspec: {display_name: Python 3, language: python, name: python3}
#   cs336lite: {module: costs, minutes: 2, prerequisites: [01_tokenizer], device: CPU}
# ---

# %% [markdown]
# # 02 · Tensors and FLOPs (张量与计算量)
#
# {badge} · prerequisites: 01, Python, some PyTorch · device: CPU, or a GPU if there is one
#
# Lecture 01 turned text into integers. Now a model reads them. It is a chain of matrix products that ends in one number,
# the *loss*. Each product has a price in bits, bytes, operations and seconds, and nearly all of it can be known before the
# model exists, with a pencil.
#
# ## Questions
#
# 1. What is a language model trained to do, and how are two models compared?
# 2. What is a floating-point number, and where does a small format break training?
# 3. What is a tensor in memory, and which operations copy it?
# 4. How many operations does a model need, and can you count them before it exists?
# 5. How much memory does training take, and what can be given up?
# 6. Why does a machine reach only a part of its speed?
# 7. How many days does a large model take?
#
# The answers stand at the end, each with the numbers of your run. Write your guess in place of `None` before you run a cell
# below a **Predict** box. Six exercises ask for a few lines each. None is graded, and the lecture runs to its end with all
# of them solved or none.

# %%
import io
import math
from dataclasses import dataclass, replace
from itertools import cycle, pairwise

import numpy as np
import torch
import torch.nn.functional as F
from einops import einsum, rearrange, reduce, repeat
from torch import nn
from torch.utils.checkpoint import checkpoint

from cs336lite.course import check, finished, hint
from cs336lite.course.claims import claim, claims
from cs336lite.course.data import SEPARATOR, technical_text
from cs336lite.course.diagram import Diagram
from cs336lite.course.exercise import solution
from cs336lite.course.measure import best_seconds, reveal
from cs336lite.course.plot import COLORS, axes, finish

torch.manual_seed(0)
torch.set_num_threads(1)  # timings on one core: threads wait for each other when other programs run
DEVICE = "cuda" if torch.cuda.is_available() else "cpu"

# %% folded=true
d = Diagram(88, 7)
ids = d.row(1, 1, ["1169", "3797"], "orange")
d.text(1, 3, "ids: lecture 01")
model = d.box(24, 0.5, "matrix products\nthe model: lecture 03", height=2.3, color="grey")
logits = d.box(57, 1, "logits", color="blue")
loss = d.box(77, 1, "loss", color="blue")
d.arrow(ids.right, model.left)
d.arrow(model.right, logits.left)
d.arrow(logits.right, loss.left, "section 1")
for x, name, section in (
    (6, "bits", "section 2"),
    (24, "a storage", "section 3"),
    (44, "FLOPs", "section 4"),
    (60, "bytes", "section 5"),
    (76, "seconds", "6 and 7"),
):
    box = d.box(x, 4.6, name, color="blue")
    d.text(box.bottom[0], 6.5, section, align="middle")
d.text(1, 4.2, "what it costs:")
d.show()

# %% [markdown]
# ## 1 · What a model is trained to do
#
# **What should a model learn?** To give a high probability to the token that comes next. At each position it sees the tokens
# so far and gives a probability $p$ to every token of the vocabulary. Then the next token is uncovered. Its *surprise* is
# $-\log_2 p$ bits: 0 if the model was sure of it, 1 bit at $p = 1/2$, 2 bits at $1/4$.
#
# By hand: a vocabulary of four tokens, and a model that looks only at the last one. It is a table whose rows add up to 1.
# It reads *the cat sat .* and makes three predictions, the orange cells.

# %% folded=true
WORDS = ["the", " cat", " sat", "."]
TABLE = [
    [1 / 8, 1 / 2, 1 / 4, 1 / 8],
    [1 / 8, 1 / 8, 1 / 4, 1 / 2],
    [1 / 2, 1 / 4, 1 / 8, 1 / 8],
    [1 / 2, 1 / 4, 1 / 8, 1 / 8],
]
d = Diagram(76, 7.8)
d.text(22, 0.6, "probability of the next token")
for column, word in enumerate(WORDS):
    d.text(21 + 7 * column + 3.5, 1.7, repr(word)[1:-1].replace(" ", "␣"), align="middle", mono=True)
for row, (word, values) in enumerate(zip(WORDS, TABLE)):
    d.text(20, 3 + 1.3 * row, f"after {word.replace(' ', '␣')}", align="end", mono=True)
    shown = ["1/" + str(round(1 / p)) for p in values]
    colors = ["orange" if column == row + 1 else "grey" for column in range(4)]
    d.row(21, 2.35 + 1.3 * row, shown, colors, widths=[7] * 4, gap=0)
    if row < 3:
        d.text(
            52, 3 + 1.3 * row, f"surprise of {WORDS[row + 1].replace(' ', '␣')}: log2 of {round(1 / values[row + 1])}"
        )
d.show()

# %% [markdown]
# The *loss* is the mean surprise of the tokens that really came, the *cross-entropy* (交叉熵):
#
# $$L = -\frac{1}{T} \sum_{t=1}^{T} \log p(x_{t+1} \mid x_1 \dots x_t)$$
#
# PyTorch takes the natural logarithm, so its unit is the *nat*; one nat is $1/\ln 2 = 1.44$ bits. *Perplexity* (困惑度) is
# $e^L$: among how many equally likely tokens the model might as well be choosing.
#
# **Predict.** What is the mean surprise of the three predictions, in bits? And the perplexity?

# %%
guess_bits = guess_perplexity = None

ids = torch.tensor([0, 1, 2, 3])  # the cat sat .
logits = torch.tensor(TABLE).log()[ids]  # (seq, vocab_size): any numbers whose softmax is p; log p is the simplest
nats = F.cross_entropy(logits[:-1], ids[1:])  # position t is judged by token t + 1
bits, perplexity = nats.item() / math.log(2), nats.exp().item()

# %% folded=true
# run this cell to compare your guess
because = {1.78: "you averaged the probabilities first; average the surprises", 6: "that is their sum: divide by three"}
reveal("bits per prediction", bits, guess_bits, because=because)
because = {4.67: "the mean of 2, 4 and 8; perplexity is their geometric mean, the cube root of 64"}
reveal("perplexity", perplexity, guess_perplexity, because=because)

# %% folded=true
claim(
    1,
    "A model is trained to predict the next token; three tokens of probability 1/2, 1/4 and 1/8 cost {bits:.2f} bits each on average, a perplexity of {perplexity:.2f}.",
    lambda bits, perplexity: abs(bits - 2) < 1e-5 and abs(perplexity - 4) < 1e-5,
    bits=bits,
    perplexity=perplexity,
)

# %% [markdown]
# `F.cross_entropy` takes *logits*: any numbers $z$, which the *softmax* turns into probabilities, $p_i = e^{z_i} / \sum_j
# e^{z_j}$. The shift by one position is what people get wrong: a model that may see the answer copies it, and its loss falls
# to zero.


# %% exercise="next_token_loss" minutes=8 difficulty=2
def next_token_loss(logits: torch.Tensor, ids: torch.Tensor) -> torch.Tensor:
    """Mean cross-entropy in nats of logits (batch, seq, vocab_size), each judged by the next of the ids (batch, seq)."""
    ### BEGIN SOLUTION
    return F.cross_entropy(logits[:, :-1].flatten(0, 1), ids[:, 1:].flatten())
    ### END SOLUTION


# %% [markdown]
# ### On real text
#
# Two models need no training, only counting. The *unigram* table knows how frequent each token is; the *bigram* table knows
# it for each token before. They are the yardstick for every language model: a network that does not beat a table of counts
# has learned nothing worth a conclusion. Our tokens here are the bytes of PyTorch's documentation; every second document is
# held out.

# %%
documents = technical_text().split(SEPARATOR)
train, held = ("\n".join(documents[i::2]).encode() for i in (0, 1))


def bits_per_token(ids, held_ids, vocab_size: int, context: bool) -> float:
    """Mean surprise of held-out tokens under counts of the training text, to which 0.1 is added everywhere."""
    size = vocab_size**2 if context else vocab_size
    cells, held_cells = ((x[:-1] * vocab_size + x[1:]) if context else x for x in (ids, held_ids))
    counts = np.bincount(cells, minlength=size).reshape(-1, vocab_size) + 0.1
    p = counts / counts.sum(1, keepdims=True)
    return float(-np.log2(p.ravel()[held_cells]).mean())


as_bytes = [np.frombuffer(text, np.uint8).astype(np.int64) for text in (train, held)]
unigram = bits_per_token(*as_bytes, 256, context=False)
bigram = bits_per_token(*as_bytes, 256, context=True)
print(f"{len(train):,} bytes to learn from, {len(held):,} held out")

# %% folded=true
claim(
    1,
    "A held-out byte costs 8 bits with no model, {unigram:.2f} with a table of frequencies, {bigram:.2f} when the table knows the byte before.",
    lambda unigram, bigram: 3 < bigram < unigram - 0.5 < 7,
    unigram=unigram,
    bigram=bigram,
)

# %% [markdown]
# **How do you compare models with different tokens?** Take two unigram models of the same text. One has bytes as tokens,
# the other *pairs* of bytes, 65,536 of them, half as many tokens for the same text.
#
# **Predict.** Which has the lower loss per token, bytes or pairs? And which needs fewer bits for the whole text?

# %%
guess_per_token = guess_whole = None  # bytes or pairs

as_pairs = [np.frombuffer(text[: len(text) // 2 * 2], np.uint16).astype(np.int64) for text in (train, held)]
pairs = bits_per_token(*as_pairs, 65_536, context=False)

# %% folded=true
# run this cell to compare your guess
because = {"pairs": "each pair must be told from many more others; but there are half as many of them"}
reveal("lower loss per token", "bytes" if unigram < pairs else "pairs", guess_per_token, because=because)
because = {"bytes": "the lower loss per token is paid twice as often"}
reveal("fewer bits for the whole text", "bytes" if unigram < pairs / 2 else "pairs", guess_whole, because=because)

# %%
print(f"bits per token: bytes {unigram:.2f}, pairs {pairs:.2f}; per byte: {unigram:.2f} and {pairs / 2:.2f}")

# %% folded=true
claim(
    1,
    "Losses per token cannot be compared across tokenizers, bits per byte can: pairs of bytes cost {pairs:.2f} bits a token against {unigram:.2f}, and {per_byte:.2f} a byte.",
    lambda pairs, unigram, per_byte: per_byte < unigram < pairs,
    pairs=pairs,
    unigram=unigram,
    per_byte=pairs / 2,
)

# %% [markdown]
# So results are given in *bits per byte*: the bits that the text costs, divided by its bytes. It is also a rate of
# compression: with an arithmetic coder, a model of 2 bits per byte makes a file of a quarter of the size.


# %% exercise="bits_per_byte" minutes=5 difficulty=1
def bits_per_byte(nats_per_token: float, num_tokens: int, num_bytes: int) -> float:
    """Bits per byte of a text of num_bytes bytes that became num_tokens tokens, from the mean loss in nats per token."""
    ### BEGIN SOLUTION
    return nats_per_token / math.log(2) * num_tokens / num_bytes
    ### END SOLUTION


# %% [markdown]
# Training finds such a table by going downhill. Below, 256 × 256 logits start at zero and follow the gradient of
# `next_token_loss`. Nobody counts anything.

# %%
stream = torch.from_numpy(as_bytes[0])
weights = torch.zeros(256, 256, requires_grad=True)  # row: the byte before; column: the next one
optimizer, curve = torch.optim.Adam([weights], lr=0.1), []
for _ in range(400):
    starts = torch.randint(len(stream) - 65, (64, 1))
    batch = stream[starts + torch.arange(65)]  # (64, 65)
    loss = next_token_loss(weights[batch], batch)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    curve.append(bits_per_byte(loss.item(), 1, 1))
with torch.no_grad():
    tested = torch.from_numpy(as_bytes[1])[None]
    trained = bits_per_byte(next_token_loss(weights[tested], tested).item(), len(held), len(held))
text = [ord("T")]
for _ in range(90):
    text.append(torch.multinomial(weights[text[-1]].softmax(-1), 1).item())
print(f"held out: {trained:.2f} bits per byte. It writes:", repr(bytes(text).decode(errors="replace")))

# %% folded=true
fig, ax = axes(xlabel="step", ylabel="loss (bits per byte)", size=(6.4, 3))
ax.plot(curve, color=COLORS["blue"], linewidth=1, label="training, one batch of 4,096 bytes")
for name, value, style in (("unigram counts", unigram, "--"), ("bigram counts", bigram, "-.")):
    ax.axhline(value, color=COLORS["vermillion"], linestyle=style, label=f"{name}, held out")
ax.set(ylim=(0, 8.3), title="A table of logits learns what counting finds")
ax.legend(loc="lower left")
finish(fig)

# %% folded=true
claim(
    1,
    "Gradient descent finds the table that counting finds: {trained:.2f} bits per byte on held-out text, against {counted:.2f}.",
    lambda trained, counted: abs(trained - counted) < 0.1,
    trained=trained,
    counted=bigram,
)

# %% [markdown]
# It starts at 8 bits, all bytes equally likely, passes the frequencies within some twenty steps and ends at the counted
# bigram. What it writes has the letters of English and no words: one byte of context carries no more. A Transformer is
# trained on exactly this objective. It only sees more.

# %% [markdown]
# ## 2 · What a number costs
#
# **What is a floating-point number?** A sign, an *exponent* (指数) that says how large it is, and a *mantissa* (尾数) that
# says which number of that size. A format decides how many bits each of them gets. Here is 0.1, bit by bit.

# %%
FORMATS = {  # (dtype, bits of the exponent, bits of the mantissa)
    "float32": (torch.float32, 8, 23),
    "bfloat16": (torch.bfloat16, 8, 7),
    "float16": (torch.float16, 5, 10),
    "float8 e5m2": (torch.float8_e5m2, 5, 2),
    "float8 e4m3": (torch.float8_e4m3fn, 4, 3),
}


def bits_of(x: float, dtype: torch.dtype) -> str:
    """The bits of the number nearest to x in a format, as a string of 0 and 1."""
    integer = {1: torch.uint8, 2: torch.int16, 4: torch.int32}[dtype.itemsize]
    whole = torch.tensor(x).to(dtype).view(integer).item()  # the same bits, read as an integer
    return f"{whole % 2 ** (8 * dtype.itemsize):0{8 * dtype.itemsize}b}"


# %% folded=true
d = Diagram(88, 12.2)
d.box(15, 0.3, "sign", color="vermillion")
d.box(22, 0.3, "exponent", color="orange")
d.box(33, 0.3, "mantissa", color="blue")
for i, (name, (dtype, exponent, mantissa)) in enumerate(FORMATS.items()):
    y = 2.5 + 2 * i
    d.text(13.5, y + 0.65, name, align="end")
    colors = ["vermillion"] + ["orange"] * exponent + ["blue"] * mantissa
    row = d.row(15, y, list(bits_of(0.1, dtype)), colors, widths=[2] * len(colors), gap=0)
    value = torch.tensor(0.1).to(dtype).double().item()
    if name != "float32":
        d.text(row.right[0] + 1, y + 0.65, f"= {value:.10g}", mono=True)
    else:
        d.text(row.right[0] - 18, y + 1.75, f"= {value:.12g}", mono=True)
d.show()

# %% [markdown]
# float32 holds master weights, optimizer state and sums. bfloat16 is float32 with the last 16 bits cut off: the same range,
# less precision. Most training since 2020 multiplies in it. float16, for older GPUs, has it the other way round. FP8 training
# takes e4m3 for weights and activations and e5m2 for gradients (arXiv 2209.05433).
#
# Read the last row by hand. The exponent `0011` is 3, and 3 minus the *bias* of 7 is −4. The mantissa `101` is 5 of 8 parts.
# So the number is $2^{-4} \times (1 + 5/8) = 0.1015625$: the nearest that e4m3 has to 0.1. In general
#
# $$x = \pm\, 2^{\,\text{exponent} - \text{bias}} \times (1 + \text{mantissa} / 2^{\text{bits of the mantissa}})$$
#
# with the bias $2^{\text{bits of the exponent} - 1} - 1$. (The exponent 0 is for zero and the smallest numbers, and that of
# ones, in most formats, for infinity and NaN.)

# %% folded=true
wrong = 0
for dtype, exponent, mantissa in FORMATS.values():
    for x in (0.1, 1.0, -3.0, 0.02, 100.0):
        bits = bits_of(x, dtype)
        e, m = int(bits[1 : 1 + exponent], 2), int(bits[1 + exponent :], 2)
        value = (-1) ** int(bits[0]) * 2.0 ** (e - 2 ** (exponent - 1) + 1) * (1 + m / 2**mantissa)
        wrong += value != torch.tensor(x).to(dtype).double().item()
print(f"the formula reads {5 * len(FORMATS) - wrong} of {5 * len(FORMATS)} bit patterns right")

# %% [markdown]
# **Predict.** What is the largest float16? How far above 1,024 is the next float16? And how far the next bfloat16?

# %%
guess_largest = guess_half = guess_brain = None

above = {
    name: (torch.nextafter(torch.tensor(1024.0, dtype=dtype), torch.tensor(2048.0, dtype=dtype)) - 1024).item()
    for name, (dtype, *_) in FORMATS.items()
    if name in ("float16", "bfloat16")
}

# %% folded=true
# run this cell to compare your guess
because = {
    "too large": "five bits of exponent end at 2 to the 15th, times nearly 2",
    "too small": "the bias is 15, not 16",
}
reveal("the largest float16", torch.finfo(torch.float16).max, guess_largest, because=because)
because = {0.5: "between 1,024 and 2,048 lie 1,024 steps: ten bits"}
reveal("from 1,024 to the next float16", above["float16"], guess_half, because=because)
because = {"too small": "seven bits of mantissa make 128 steps between 1,024 and 2,048"}
reveal("from 1,024 to the next bfloat16", above["bfloat16"], guess_brain, because=because)


# %%
def rounding_error(around: float, dtype: torch.dtype) -> float:
    """The largest relative error of a thousand numbers from `around` to twice that, in percent."""
    x = around * torch.linspace(1, 2, 1_001, dtype=torch.float64)
    return 100 * ((x.to(dtype).double() - x).abs() / x).max().item()


brain, down = rounding_error(1, torch.bfloat16), rounding_error(1e-30, torch.bfloat16)
half, tiny = rounding_error(1, torch.float16), rounding_error(1e-30, torch.float16)
print(f"near 1 and near 1e-30: bfloat16 {brain:.3f} % and {down:.3f} %, float16 {half:.3f} % and {tiny:.0f} %")

# %% folded=true
claim(
    2,
    "bfloat16 keeps the range of float32 and rounds by up to {brain:.2f} %, at 1 and at 1e-30 alike ({down:.2f} %); float16 rounds by {half:.3f} % near 1 and loses 1e-30 altogether ({tiny:.0f} %).",
    lambda brain, half, tiny, down: half < 0.1 < brain < 0.4 and abs(down - brain) < 0.1 and tiny == 100,
    brain=brain,
    half=half,
    tiny=tiny,
    down=down,
)

# %% folded=true
fig, ax = axes(xlabel="magnitude (power of ten)", ylabel="format", size=(7, 2.9))
for row, (dtype, _, mantissa) in enumerate(FORMATS.values()):
    info = torch.finfo(dtype)
    least, normal, most = (math.log10(x) for x in (info.tiny * info.eps, info.tiny, info.max))
    ax.barh(row, most - normal, left=normal, color=COLORS["blue"], label="full precision" if row == 0 else None)
    ax.barh(row, normal - least, left=least, color=COLORS["sky_blue"], label="fading" if row == 0 else None)
    ax.annotate(f"rounds by up to {100 / 2 ** (mantissa + 1):.3g} %", (41, row), va="center", fontsize=9)
ax.set(
    yticks=range(5), yticklabels=FORMATS, xlim=(-47, 65), title="Exponent bits buy range, mantissa bits buy precision"
)
ax.set_xticks([-40, -30, -20, -10, 0, 10, 20, 30], [f"$10^{{{n}}}$" for n in (-40, -30, -20, -10, 0, 10, 20, 30)])
ax.invert_yaxis()
ax.legend(loc="lower left", fontsize=9)
finish(fig)

# %% [markdown]
# The bars show what each format gives up: float16 range, bfloat16 precision, the formats of eight bits both.
#
# ### Where training breaks
#
# **Sums stop.** Add 1 to a bfloat16 number again and again. At 256 it stops: the next number is 258, and 257 rounds back
# to 256. So matrix products take bfloat16 in and add up in float32.
#
# **Small gradients become zero in float16.** The gradient of the loss with respect to a logit is $p$, minus 1 for the
# right token, divided by the number of tokens in the batch. At the start every token has $p = 1/V$. With $V = 50{,}257$
# and 8,192 tokens a wrong logit gets $1/(50257 \times 8192) = 2.4 \times 10^{-9}$.
#
# **Predict.** Of the 50,257 logit gradients of one token, how many are not zero in float16?

# %%
guess = None

total = torch.zeros(1, dtype=torch.bfloat16)
for _ in range(1_000):
    total += 1
print(f"a thousand times 1, added up in bfloat16: {total.item():.0f}")

logits = torch.zeros(1, 50_257, requires_grad=True)
(F.cross_entropy(logits, torch.tensor([7])) / 8_192).backward()
left = {name: int(logits.grad.to(dtype).float().count_nonzero()) for name, (dtype, *_) in FORMATS.items()}
scaled = int((logits.grad * 2**16).to(torch.float16).count_nonzero())  # the loss was multiplied by 2**16 before

# %% folded=true
# run this cell to compare your guess
because = {
    0: "the right token's gradient is (1/V - 1)/8,192, large enough",
    "too large": "look where float16's bar ends",
}
reveal("gradients that are not zero in float16", left["float16"], guess, because=because)

# %%
w = 0.02 * torch.randn(100_000, generator=torch.Generator().manual_seed(0))  # weights of the usual size
scale = torch.finfo(torch.float8_e4m3fn).max / w.abs().max()
zeros = [100 * (x.to(torch.float8_e4m3fn).float() == 0).float().mean().item() for x in (w, w * scale)]
print(f"weights that become zero in e4m3: {zeros[0]:.1f} %, and {zeros[1]:.2f} % with a scale")

# %% folded=true
claim(
    2,
    "float16 turns small gradients into zero: of 50,257 logit gradients {half} is left, all {brain:,} in bfloat16, and all {scaled:,} in float16 when the loss is scaled by 65,536.",
    lambda half, brain, scaled: half == 1 and brain == scaled == 50_257,
    half=left["float16"],
    brain=left["bfloat16"],
    scaled=scaled,
)

# %% [markdown]
# *Loss scaling* (损失缩放, arXiv 1710.03740) multiplies the loss by a power of two before the backward pass and divides the
# gradients afterwards, in float32. Eight bits span so little that every tensor gets a scale of its own, which takes its
# largest number to the largest of the format.
#
# **Small updates are lost in bfloat16.** Between 1 and 2 a bfloat16 weight moves in steps of $2^{-7}$. An update of less
# than half a step changes nothing, however often it comes. The cure is to *compute* in bfloat16 and to *keep* the
# weights in float32: *master weights* (主权重). Below, gradient descent on a linear problem whose best loss is zero.


# %%
def descend(compute: torch.dtype, keep: torch.dtype, steps: int = 400) -> list[float]:
    """Losses of gradient descent on X W = Y: products in one format, weights kept in the other."""
    generator = torch.Generator().manual_seed(0)
    x, target = torch.randn(256, 32, generator=generator), torch.randn(32, 64, generator=generator)
    y, w, losses = x @ target, torch.zeros(32, 64, dtype=keep), []
    steepest = 2 * torch.linalg.eigvalsh(x.T @ x).max() / y.numel()  # the largest curvature of this loss
    for _ in range(steps):
        low = w.clone().to(compute).requires_grad_()
        loss = F.mse_loss((x.to(compute) @ low).float(), y)
        loss.backward()
        w = w - low.grad.to(keep) * (0.2 / steepest).to(keep)  # from 2 / steepest on it would diverge
        losses.append(loss.item())
    return losses


# %% tags=["timing"]
runs = {"float32": (torch.float32, torch.float32), "mixed": (torch.bfloat16, torch.float32)}
runs["bfloat16"] = (torch.bfloat16, torch.bfloat16)
losses = {name: descend(*formats) for name, formats in runs.items()}
final = {name: curve[-1] for name, curve in losses.items()}
print({name: f"{loss:.1g}" for name, loss in final.items()})

# %% folded=true tags=["timing"]
claim(
    2,
    "bfloat16 loses small updates: from {start:.0f}, gradient descent gets to {brain:.1g} with bfloat16 weights, to {mixed:.1g} with float32 master weights, to {full:.1g} all in float32.",
    lambda start, brain, mixed, full: start > 10 * brain > 30 * mixed > 30 * full,
    start=losses["float32"][0],
    brain=final["bfloat16"],
    mixed=final["mixed"],
    full=final["float32"],
)

# %% folded=true tags=["timing"]
fig, ax = axes(xlabel="step", ylabel="loss (mean squared error)", size=(6.4, 3))
labels = {"float32": "all float32", "mixed": "bfloat16, float32 master weights", "bfloat16": "all bfloat16"}
for (name, curve), line in zip(losses.items(), ("-", "-.", "--")):
    ax.plot(curve, line, linewidth=2, label=labels[name])
ax.set(yscale="log", title="Weights in bfloat16 stop moving")
ax.legend(loc="upper right")
finish(fig)

# %% [markdown]
# All three begin alike. Weights in bfloat16 stop when their updates have become smaller than half a step. Master
# weights go on, until the rounding of the products is all that is left.

# %% [markdown]
# ## 3 · A tensor is a storage and a way to read it
#
# **Why is a transpose free, and why does it sometimes cost a copy after all?** The numbers of a tensor lie in one flat
# *storage* (存储). A tensor adds to it a shape, an offset and, for each dimension, a *stride* (步长): how far to jump for
# the next element. Element $(i, j)$ lies at `offset + i * stride[0] + j * stride[1]`.

# %% folded=true
d = Diagram(88, 11.4)
d.text(2, 0.7, "x, shape (2, 3), stride (3, 1)")
x = d.grid(5, 1.3, [["a", "b", "c"], ["d", "e", "f"]], "blue", width=4)
d.text(34, 0.7, "x.T, shape (3, 2), stride (1, 3)")
xt = d.grid(41, 1.3, [["a", "d"], ["b", "e"], ["c", "f"]], "blue", width=4)
d.text(61, 0.7, "x.T.contiguous(), stride (2, 1)")
copied = d.grid(70, 1.3, [["a", "d"], ["b", "e"], ["c", "f"]], "orange", width=4)
first = d.row(11, 8, list("abcdef"), "blue", widths=[4] * 6, gap=0)
second = d.row(62, 8, list("adbecf"), "orange", widths=[4] * 6, gap=0)
d.arrow(x.bottom, (18, 7.8))
d.arrow(xt.bottom, (30, 7.8))
d.arrow(copied.bottom, second.top)
for i in range(6):
    d.text(13 + 4 * i, 9.9, str(i), align="middle")
    d.text(64 + 4 * i, 9.9, str(i), align="middle")
d.text(2, 10.8, "one storage, two ways to read it: x.T[2, 1] is at 2·1 + 1·3 = 5")
d.text(62, 10.8, "a second storage")
d.show()

# %% [markdown]
# An operation that only changes offset, shape and strides gives a **view** (视图): no byte moves, and writing to the view
# writes to the original. Others must **copy**. The address of the storage tells which.


# %% folded=true
#| export
"""What a computation costs: bytes of tensors, FLOPs of products, seconds of a machine, days of a training.

FLOPs are those of matrix products, two for each multiply-add, as `torch.utils.flop_counter` counts them. Bytes are
bytes, not MiB. What the models of this course cost by their shapes is in `cs336lite.accounting`.
"""

from collections.abc import Callable, Iterable

import torch
from jaxtyping import Shaped
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode


# %%
#| export
def storage_bytes(tensors: Iterable[Shaped[Tensor, "..."]]) -> int:
    """Bytes of the storages behind these tensors, each storage once however many views there are.

    >>> x = torch.zeros(10, 10)
    >>> storage_bytes([x, x.T, x[0]])
    400

    Built in notebooks/02_tensors.ipynb.
    """
    storages = [tensor.untyped_storage() for tensor in tensors]
    return sum({(storage.device, storage.data_ptr()): storage.nbytes() for storage in storages}.values())


# %% [markdown]
# **Predict.** Below are eight operations on one tensor. How many of them copy?

# %%
guess = None  # of 8

x = torch.arange(24.0).reshape(4, 6)
made = {
    "x[:, ::2]": x[:, ::2],
    "x.T": x.T,
    "x.reshape(2, 12)": x.reshape(2, 12),
    "x.T.reshape(24)": x.T.reshape(24),
    "x[x > 5]": x[x > 5],
    "x[None].expand(9, 4, 6)": x[None].expand(9, 4, 6),
    "x.repeat(9, 1, 1)": x.repeat(9, 1, 1),
    "rearrange(x, 'a b -> b a')": rearrange(x, "a b -> b a"),
}
copies = [name for name, y in made.items() if storage_bytes([x, y]) > storage_bytes([x])]
for name, y in made.items():
    print(f"{name:<27} shape {tuple(y.shape)!s:<11} stride {y.stride()!s:<10} {'copy' if name in copies else 'view'}")

# %% folded=true
# run this cell to compare your guess
because = {2: "one reshape is a view and one is not", 4: "expand has stride 0: it reads the same row nine times"}
reveal("copies", len(copies), guess, because=because)

# %%
before = storage_bytes([x])
x.T[0, 1] = 100.0  # writing to a view writes to the original
print("x[1, 0] is now", x[1, 0].item())

# %% folded=true
claim(
    3,
    "A tensor is a storage and strides: {views} of {n} operations gave a view that takes no memory (writing 100 to x.T gave x {seen:.0f}), and x.T.reshape copied {copied} bytes without a word.",
    lambda views, n, seen, copied: 0 < views < n and seen == 100 and copied == 96,
    views=len(made) - len(copies),
    n=len(made),
    seen=x[1, 0].item(),
    copied=storage_bytes([x, made["x.T.reshape(24)"]]) - before,
)

# %% [markdown]
# `reshape` gives a view where strides allow it and copies where they do not; `view` refuses to copy. `expand` repeats
# with stride 0, at no cost, and `repeat` pays. Many kernels want *contiguous* (连续) memory; then a transpose costs a copy.
#
# **Try it.** What does `x.T.view(24)` say? Which strides would a view of 24 elements in the order of `x.T` need?
#
# <details><summary>An answer</summary>
#
# It raises an error. In the order of `x.T` the elements lie at 0, 6, 12, 18, 1, 7 … in the storage. The step is 6, and then
# −17. One dimension has one stride, so no view can say that.
#
# </details>
#
# ### Names for dimensions: einops
#
# `x.transpose(-2, -1)` does not say what the dimensions are. [einops](https://einops.rocks) names them. `rearrange` moves,
# splits and joins dimensions; `reduce` sums or averages those that disappear; `einsum` multiplies, and sums over the
# names that do not come back. Below, a vision Transformer (ViT, arXiv 2010.11929) cuts an image into *patches*, its tokens.

# %% folded=true
d = Diagram(80, 8)
shades = [["blue", "blue", "orange", "orange"]] * 2 + [["green", "green", "purple", "purple"]] * 2
names = ["0123", "4567", "89ab", "cdef"]
for i in range(4):
    d.row(5, 1.6 + 1.3 * i, list(names[i]), shades[i], widths=[3] * 4, gap=0)
d.text(5, 0.8, "an image, (h, w) = (4, 4)")
d.arrow((19, 4.2), (43, 4.2), "(r 2) (c 2) -> (r c) (2 2)")
for i, (patch, color) in enumerate(zip(("0145", "2367", "89cd", "abef"), ("blue", "orange", "green", "purple"))):
    d.row(46, 1.6 + 1.3 * i, list(patch), color, widths=[3] * 4, gap=0)
d.text(46, 0.8, "four patches, each a token of 4 numbers")
d.show()

# %%
images = torch.randn(2, 3, 32, 32)  # (batch, channels, height, width)
patches = rearrange(images, "b c (rows p1) (cols p2) -> b (rows cols) (c p1 p2)", p1=8, p2=8)
print("tokens of an image:", tuple(patches.shape[1:]), "· averages:", end=" ")
W = torch.randn(128, 3, 8, 8)  # a linear layer on patches is a convolution whose stride is its size
embedded = einsum(patches, rearrange(W, "d c p1 p2 -> d (c p1 p2)"), "b n i, d i -> b n d")
convolved = rearrange(F.conv2d(images, W, stride=8), "b d rows cols -> b (rows cols) d")
pooled = reduce(images, "b c (rows p1) (cols p2) -> b c rows cols", "mean", p1=8, p2=8)
print(tuple(pooled.shape), "· patches as a convolution:", torch.allclose(embedded, convolved, atol=1e-4))


# %% exercise="split_heads" minutes=5 difficulty=1
def split_heads(x: torch.Tensor, num_heads: int) -> torch.Tensor:
    """(batch, seq, num_heads * d_head) to (batch, num_heads, seq, d_head): each head gets its slice of every token."""
    ### BEGIN SOLUTION
    return rearrange(x, "b t (h d) -> b h t d", h=num_heads)
    ### END SOLUTION


# %% [markdown]
# The next one saves memory. In *grouped-query attention* (lecture 03) several query heads share one head of keys. The usual
# code repeats the keys, and so stores each of them several times:
#
# ```python
# return keys.repeat_interleave(group, dim=1).unflatten(1, (-1, group))   # copies
# ```


# %% exercise="shared_keys" minutes=8 difficulty=2
def shared_keys(keys: torch.Tensor, group: int) -> torch.Tensor:
    """(batch, kv_heads, seq, d_head) to (batch, kv_heads, group, seq, d_head): the same keys, and no byte copied."""
    ### BEGIN SOLUTION
    return repeat(keys, "b h t d -> b h group t d", group=group)
    ### END SOLUTION


# %%
keys = torch.randn(2, 2, 100, 16)
for made in (keys.repeat_interleave(4, dim=1), shared_keys(keys, 4)):
    print(f"{tuple(made.shape)!s:<20} {storage_bytes([made]):>8,} bytes")

# %% [markdown]
# The view holds the same keys in a quarter of the bytes.
#
# ### One call, many products
#
# Each call from Python has a fixed cost of some microseconds, whatever it computes. One *batched* (批量) call pays it once.

# %% tags=["timing"]
a, b = torch.randn(8_192, 16, 16), torch.randn(8_192, 16, 16)
looped, batched = best_seconds(lambda: [p @ q for p, q in zip(a, b)], lambda: a @ b, least=0.6)
print(f"8,192 products of 16 × 16: one call is {looped / batched:.0f} times faster than a loop")

# %% folded=true tags=["timing"]
claim(
    3,
    "One batched call beats a loop of calls: {times:.0f} times faster for 8,192 products of 16 × 16.",
    lambda times: times > 1.5,
    times=looped / batched,
)

# %% [markdown]
# ## 4 · Counting FLOPs
#
# **What does a product cost?** A FLOP (浮点运算) is one addition or one multiplication; FLOP/s is how many a machine does in
# a second. Take a 2 × 3 matrix times a 3 × 4 matrix. The result has 8 numbers. Each is a row times a column.

# %% folded=true
d = Diagram(80, 5.8)
d.row(2, 1.6, list("abc"), "orange", widths=[4] * 3, gap=0)
d.row(2, 2.9, ["", "", ""], "grey", widths=[4] * 3, gap=0)
d.text(16, 2.9, "×")
for row, letter in enumerate("xyz"):
    d.row(19, 1 + 1.3 * row, ["", letter, "", ""], ["grey", "orange", "grey", "grey"], widths=[4] * 4, gap=0)
d.text(37, 2.9, "=")
d.row(40, 1.6, ["", "?", "", ""], ["grey", "blue", "grey", "grey"], widths=[4] * 4, gap=0)
d.row(40, 2.9, [""] * 4, "grey", widths=[4] * 4, gap=0)
d.text(59, 2.2, "? = a·x + b·y + c·z", mono=True)
d.text(59, 3.5, "3 multiplications")
d.text(2, 5.3, "(2, 3)")
d.text(19, 5.3, "(3, 4)")
d.text(40, 5.3, "(2, 4)")
d.show()

# %% [markdown]
# Each takes three multiplications and two additions. Everybody says three, because hardware does a multiplication and
# an addition as one instruction. So it is 8 · (3 + 3) = 48 FLOPs.
#
# In general $A_{m \times k} B_{k \times n}$ takes $2\,m\,k\,n$ FLOPs. `counted_flops`, in the folded cell, asks PyTorch's own
# counter, which watches every product.


# %%
#| export
def matmul_flops(m: int, k: int, n: int, batch: int = 1) -> int:
    """FLOPs of a product of (m, k) and (k, n) matrices, 2 m k n, for each of a batch.

    >>> matmul_flops(2, 3, 4)
    48

    Built in notebooks/02_tensors.ipynb.
    """
    return 2 * batch * m * k * n


# %% folded=true
#| export
def counted_flops(forward: Callable[[], Shaped[Tensor, "..."]]) -> tuple[int, int]:
    """FLOPs that PyTorch counts in ``forward()`` and in the backward pass from the sum of its result.

    Fused attention is replaced by plain products, because the counter does not know the CPU's fused kernel.

    >>> x, w = torch.ones(2, 3, requires_grad=True), torch.ones(3, 4, requires_grad=True)
    >>> counted_flops(lambda: x @ w)
    (48, 96)

    Built in notebooks/02_tensors.ipynb.
    """
    with sdpa_kernel(SDPBackend.MATH):
        with FlopCounterMode(display=False) as there:
            result = forward().sum()
        with FlopCounterMode(display=False) as back:
            result.backward()
    return there.get_total_flops(), back.get_total_flops()


# %% [markdown]
# **And the backward pass?** For $Y = XW$ let $G = \partial\ell/\partial Y$, which has the shape of $Y$. The two gradients
# are products again, and their shapes leave no choice:
#
# $$\frac{\partial\ell}{\partial X} = G\,W^\top \quad (m,n)\cdot(n,k) \qquad\qquad
# \frac{\partial\ell}{\partial W} = X^\top G \quad (k,m)\cdot(m,n)$$
#
# Each costs $2mkn$ once more. So the backward pass costs twice the forward pass. A token that is multiplied by a
# weight costs 2 FLOPs forward and 4 backward: **6 per parameter and token**.
# A first layer, whose input is data, needs only one of the two gradients.

# %%
X, W = torch.randn(64, 128), torch.randn(128, 32, requires_grad=True)
first_layer = counted_flops(lambda: X @ W)
inner_layer = counted_flops(lambda: X.requires_grad_() @ W)
print(
    f"first layer {first_layer}, inner layer {inner_layer}, by formula {matmul_flops(64, 128, 32):,} for each product"
)

# %% [markdown]
# ### A block of a GPT, by hand
#
# A Transformer is a stack of equal *blocks*; lecture 03 builds it. Here is what we need to count one. A token is a vector of
# width $d$. In *attention* each token makes three vectors: a *query* (what it looks for), a *key* (what it can be found by)
# and a *value* (what it passes on). The scores are all products of queries with keys, a $T \times T$ matrix. Softmax turns
# each row into weights, and each token takes the weighted sum of the values. A *feed-forward network* then works on every
# token alone: up to $4d$ numbers, GELU, and back to $d$.

# %% folded=true
d = Diagram(88, 11.6)
upper = [(0.5, "x", "grey", ""), (6, "norm", "green", ""), (15, "Q: d×d\nK: d×d\nV: d×d", "orange", "6·T·d²")]
upper += [(29, "Q Kᵀ", "vermillion", "2·T²·d"), (40, "softmax", "green", ""), (54, "· V", "vermillion", "2·T²·d")]
upper += [(64, "O: d×d", "orange", "2·T·d²"), (79, "+", "grey", "")]
lower = [(6, "norm", "green", ""), (17, "up: d×4d", "orange", "8·T·d²"), (34, "GELU", "green", "")]
lower += [(46, "down: 4d×d", "orange", "8·T·d²"), (79, "+", "grey", "")]
drawn = []
for y, parts in ((2.8, upper), (8.4, lower)):
    boxes = []
    for left, text, color, cost in parts:
        height = 3.6 if "\n" in text else 1.3
        boxes.append(d.box(left, y - height / 2, text, height=height, color=color))
        d.text(boxes[-1].bottom[0], y + 2.4 if y < 5 else y + 1.4, cost, align="middle", color="blue") if cost else None
    for a, b in pairwise(boxes):
        d.arrow(a.right, b.left)
    drawn.append(boxes)
x, plus, norm, end = drawn[0][0], drawn[0][-1], drawn[1][0], drawn[1][-1]
across, middle = plus.top[0], 6.3  # the ways round: what comes in is added to what comes out
corners = [(x.top, (x.top[0], 0.5)), ((x.top[0], 0.5), (across, 0.5)), (plus.bottom, (across, middle))]
for a, b in [*corners, ((across, middle), (3, middle)), ((3, middle), (3, norm.left[1]))]:
    d.line(a, b, color="grey")
for a, b in (((across, 0.5), plus.top), ((3, norm.left[1]), norm.left), ((across, middle), end.top)):
    d.arrow(a, b, color="grey")
d.text(1, 11, "blue: FLOPs forward for T tokens · orange: weights · red: products without weights")
d.show()

# %% [markdown]
# Take $d = 64$, four heads of 16, and one sequence of $T = 128$ tokens:
#
# | products | by hand | FLOPs |
# |---|---|---|
# | Q, K, V, O | 4 · 2·128·64·64 | 4,194,304 |
# | Q Kᵀ, 4 heads | 4 · 2·128·16·128 | 2,097,152 |
# | weights · V, 4 heads | 4 · 2·128·128·16 | 2,097,152 |
# | up and down | 2 · 2·128·64·256 | 8,388,608 |
# | sum | | 16,777,216 |
#
# The heads drop out: four heads of 16 cost what one of 64 would. In general a block costs $24\,T\,d^2 + 4\,T^2 d$.
#
# **Predict.** If the sequence gets twice as long, by what factor do the FLOPs of this block grow?


# %%
class Block(nn.Module):
    """A block of GPT-2: x + attention(norm(x)), then x + feed-forward(norm(x)). Lecture 03 has the real one."""

    def __init__(self, d_model: int, num_heads: int):
        super().__init__()
        self.num_heads = num_heads
        self.norm1, self.norm2 = nn.LayerNorm(d_model), nn.LayerNorm(d_model)
        self.q, self.k, self.v, self.o = (nn.Linear(d_model, d_model) for _ in range(4))
        self.up, self.down = nn.Linear(d_model, 4 * d_model), nn.Linear(4 * d_model, d_model)

    def attend(self, x: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        q, k, v = (split_heads(p(x), self.num_heads) for p in (self.q, self.k, self.v))
        scores = einsum(q, k, "b h t d, b h s d -> b h t s") * q.shape[-1] ** -0.5
        weights = scores.masked_fill(mask, -torch.inf).softmax(-1)  # the mask hides what comes later
        return self.o(rearrange(weights @ v, "b h t d -> b t (h d)"))

    def forward(self, x: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        x = x + self.attend(self.norm1(x), mask)
        return x + self.down(F.gelu(self.up(self.norm2(x))))


def causal_mask(seq: int) -> torch.Tensor:
    return torch.ones(seq, seq, dtype=torch.bool).triu(1)


# %%
guess = None  # times

small = Block(64, 4)
counted = {T: counted_flops(lambda T=T: small(torch.randn(1, T, 64), causal_mask(T)))[0] for T in (128, 256)}
by_hand = {T: 24 * T * 64**2 + 4 * T**2 * 64 for T in counted}
print("counted", counted, "by hand", by_hand)

# %% folded=true
# run this cell to compare your guess
because = {2: "the matrices double; attention's two products grow four times", 4: "only attention's two products do"}
reveal("times more", counted[256] / counted[128], guess, because=because, within=1.1)

# %% folded=true
claim(
    4,
    "A block's FLOPs are known from its shape: counted {counted:,} at d = 64 and T = 128, by hand {by_hand:,}; twice the length takes {times:.1f} times as many.",
    lambda counted, by_hand, times: counted == by_hand and times == 2.5,
    counted=counted[128],
    by_hand=by_hand[128],
    times=counted[256] / counted[128],
)


# %% exercise="swiglu_flops" minutes=6 difficulty=1
def swiglu_flops(tokens: int, d_model: int, d_ff: int) -> int:
    """Forward FLOPs of SwiGLU, down(silu(gate(x)) * up(x)); gate and up are d_model to d_ff, down is d_ff to d_model."""
    ### BEGIN SOLUTION
    return 3 * matmul_flops(tokens, d_model, d_ff)
    ### END SOLUTION


# %% [markdown]
# **Try it.** Llama replaced a feed-forward network of width $4d$ by a SwiGLU. At which width does it cost the same?
#
# <details><summary>An answer</summary>
#
# Three matrices instead of two: 3 · d_ff = 2 · 4d, so d_ff = 8d/3. Llama 7B has d = 4,096 and d_ff = 11,008, which is 8d/3
# rounded up to a multiple of 256.
#
# </details>
#
# ### A whole GPT
#
# A model of $L$ blocks also multiplies by the output layer, $d \times V$. Its *embedding* is a look-up (lecture 01) and costs
# nothing. With $N = 12\,L\,d^2 + V d$ weights that a token is multiplied by, and a batch of $B$ sequences,
#
# $$\text{forward} = \underbrace{2\,N\,B\,T}_{\text{weights}} + \underbrace{4\,L\,B\,T^2 d}_{\text{attention's square}}
# \qquad \text{forward and backward} \approx \underbrace{6\,N\,D}_{D = B\,T \text{ tokens}}$$


# %%
@dataclass(frozen=True)
class GPTShape:
    """The shape of a GPT-2: biases everywhere, learned positions, an output layer that shares the embedding."""

    vocab_size: int
    context_length: int
    d_model: int
    num_layers: int
    num_heads: int

    @property
    def multiplied(self) -> int:  # N: the weights that a token is multiplied by
        return 12 * self.num_layers * self.d_model**2 + self.vocab_size * self.d_model

    @property
    def parameters(self) -> int:  # a block has 9 d biases and two norms of 2 d; then positions and the last norm
        d = self.d_model
        return self.multiplied + 13 * self.num_layers * d + self.context_length * d + 2 * d


def forward_flops(s: GPTShape, batch: int, seq: int) -> int:
    return 2 * s.multiplied * batch * seq + 4 * s.num_layers * batch * seq**2 * s.d_model


# %% folded=true
#| export
def six_nd(num_parameters: int | float, num_tokens: int | float) -> int | float:
    """The usual estimate of training FLOPs, 6 N D (arXiv 2001.08361), which leaves out attention's square.

    >>> f"{six_nd(70e9, 15e12):.1e}"
    '6.3e+24'

    Built in notebooks/02_tensors.ipynb.
    """
    return 6 * num_parameters * num_tokens


# %%
class GPT(nn.Module):
    """GPT-2 of a given shape: ids (batch, seq) to logits (batch, seq, vocab_size)."""

    def __init__(self, s: GPTShape, recompute: bool = False):
        super().__init__()
        self.recompute = recompute
        self.embedding = nn.Embedding(s.vocab_size, s.d_model)
        self.positions = nn.Embedding(s.context_length, s.d_model)
        self.blocks = nn.ModuleList(Block(s.d_model, s.num_heads) for _ in range(s.num_layers))
        self.norm = nn.LayerNorm(s.d_model)
        self.register_buffer("mask", causal_mask(s.context_length), persistent=False)

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        seq = ids.shape[1]
        x, mask = self.embedding(ids) + self.positions.weight[:seq], self.mask[:seq, :seq]
        for block in self.blocks:
            x = checkpoint(block, x, mask, use_reentrant=False) if self.recompute else block(x, mask)
        return self.norm(x) @ self.embedding.weight.T  # tied


# %% [markdown]
# **Predict.** A tiny GPT has $V = 512$, $d = 64$, three blocks, and reads 4 sequences of 128 tokens. What is 6ND divided
# by the FLOPs that are counted in a forward and a backward pass?

# %%
guess = None

TINY = GPTShape(vocab_size=512, context_length=128, d_model=64, num_layers=3, num_heads=4)
model, ids = GPT(TINY), torch.randint(512, (4, 128))
forward, backward = counted_flops(lambda: model(ids))
print(f"forward  counted {forward:,}, predicted {forward_flops(TINY, 4, 128):,}")
print(f"backward counted {backward:,}, predicted {2 * forward_flops(TINY, 4, 128):,}")
ratio = six_nd(TINY.multiplied, ids.numel()) / (forward + backward)

# %% folded=true
# run this cell to compare your guess
because = {1: "6ND knows nothing of attention's square", "too large": "6ND leaves something out, so it is below"}
reveal("6ND / counted", ratio, guess, because=because, shown=f"{ratio:.3f}", within=1.1)

# %% folded=true
claim(
    4,
    "Counting needs no model: {counted:,} FLOPs were counted in a forward and a backward pass of a small GPT, {predicted:,} predicted; 6ND is {short:.0f} % below.",
    lambda counted, predicted, short: counted == predicted and 10 < short < 30,
    counted=forward + backward,
    predicted=3 * forward_flops(TINY, 4, 128),
    short=100 * (1 - ratio),
)

# %% [markdown]
# What 6ND lacks is attention's square. How large is that in real models? GPT-2 XL has 48 blocks,
# $d = 1600$, $V = 50{,}257$ and a context of 1,024.

# %%
GPT2_XL = GPTShape(vocab_size=50_257, context_length=1_024, d_model=1_600, num_layers=48, num_heads=25)
half = GPT2_XL.multiplied / (2 * GPT2_XL.num_layers * GPT2_XL.d_model)
print(f"GPT-2 XL: {GPT2_XL.parameters:,} parameters, {forward_flops(GPT2_XL, 1, 1_024):.4g} FLOPs for 1,024 tokens")
print(f"2NT = 4LT²d, half of the FLOPs, at {half:,.0f} tokens")
share = 1 - 2 * GPT2_XL.multiplied * 1_024 / forward_flops(GPT2_XL, 1, 1_024)

# %% folded=true
claim(
    4,
    "6ND is good for wide models and short contexts: at its own 1,024 tokens attention's square is {share:.0f} % of the FLOPs of GPT-2 XL, whose parameters come out as the published {parameters:,}.",
    lambda share, parameters: share < 12 and parameters == 1_557_611_200,
    share=100 * share,
    parameters=GPT2_XL.parameters,
)

# %% folded=true
lengths = 2 ** np.arange(8, 18)
fig, ax = axes(xlabel="tokens in the context (logarithmic)", ylabel="attention's square (% of FLOPs)", size=(6.6, 3))
shapes = {
    "GPT-2 small, d = 768": (replace(GPT2_XL, d_model=768, num_layers=12), "o-"),
    "GPT-2 XL, d = 1,600": (GPT2_XL, "s--"),
}
for name, (shape, style) in shapes.items():
    parts = [(4 * shape.num_layers * int(T) ** 2 * shape.d_model, forward_flops(shape, 1, int(T))) for T in lengths]
    ax.plot(lengths, [100 * square / whole for square, whole in parts], style, label=name)
ax.axvline(1_024, color="#888888", linestyle=":")
ax.annotate("their own context", (1_024, 90), xytext=(-5, 0), textcoords="offset points", ha="right")
ax.set_xscale("log", base=2)
ax.set_xticks([256, 1_024, 4_096, 16_384, 65_536], ["256", "1,024", "4,096", "16,384", "65,536"])
ax.set(ylim=(0, 100), title="6ND holds for wide models and short contexts")
finish(fig)

# %% [markdown]
# The wider the model, the later attention's square takes over: the matrices grow with $d^2$, the square with $d$. A causal
# mask saves nothing here, for plain products compute what is masked, too. FlashAttention (lecture 07) skips it.
#
# [Appendix 02x](appendix/02x_shapes.ipynb) does this bookkeeping for every architecture of the course, as
# `cs336lite.accounting`.
#
# ## 5 · Counting bytes
#
# **Why does a model that fits for reading not fit for training?** Because training keeps four things: the parameters,
# their gradients, the optimizer's state, and the *activations* (激活值) that the backward pass will need. The first three
# depend on the number of parameters alone. In bytes per parameter, with AdamW's two moments:
#
# | recipe | parameter | gradient | two moments | float32 master | sum |
# |---|---|---|---|---|---|
# | float32 | 4 | 4 | 4 + 4 | – | 16 |
# | mixed precision (混合精度, arXiv 1910.02054) | 2 | 2 | 4 + 4 | 4 | 16 |
# | bfloat16 | 2 | 2 | 2 + 2 | – | 8, and lost updates |
#
# So mixed precision saves nothing here; it saves activations, and time. PyTorch's AdamW also keeps a step count of 4 bytes
# for each parameter tensor.
#
# **Predict.** How many gigabytes do parameters, gradients and AdamW's state of GPT-2 XL take, before the first activation?

# %%
guess = None  # GB

model = GPT(TINY)
optimizer = torch.optim.AdamW(model.parameters())
next_token_loss(model(ids), ids).backward()
optimizer.step()
state = [value for values in optimizer.state.values() for value in values.values()]
measured = storage_bytes([*model.parameters(), *(p.grad for p in model.parameters()), *state])
tensors = len(list(model.parameters()))

# %% folded=true
# run this cell to compare your guess
because = {
    "too small": "four numbers of four bytes for each of 1.56 billion parameters",
    6.2: "those are the parameters alone",
}
reveal(
    "GB for GPT-2 XL",
    16 * GPT2_XL.parameters / 1e9,
    guess,
    because=because,
    shown=f"{16 * GPT2_XL.parameters / 1e9:.1f}",
)

# %% folded=true
claim(
    5,
    "Parameters, gradients and AdamW take 16 bytes a parameter: the small GPT of {parameters:,} parameters in {tensors} tensors holds {measured:,} bytes.",
    lambda parameters, tensors, measured: measured == 16 * parameters + 4 * tensors,
    parameters=TINY.parameters,
    tensors=tensors,
    measured=measured,
)


# %% exercise="checkpoint_bytes" minutes=8 difficulty=2
def checkpoint_bytes(num_parameters: int, num_tensors: int, with_optimizer: bool) -> int:
    """Bytes of the numbers in a checkpoint: float32 parameters, and AdamW's state when training shall go on from it."""
    ### BEGIN SOLUTION
    state = 2 * 4 * num_parameters + 4 * num_tensors  # two moments, and a step count for each tensor
    return 4 * num_parameters + (state if with_optimizer else 0)
    ### END SOLUTION


# %%
files = {}
for with_optimizer in (False, True):
    saved = {"model": model.state_dict()} | ({"optimizer": optimizer.state_dict()} if with_optimizer else {})
    torch.save(saved, file := io.BytesIO())
    files[with_optimizer] = len(file.getvalue())
    expected = checkpoint_bytes(TINY.parameters, tensors, with_optimizer)
    print(f"file of {files[with_optimizer]:,} bytes, of which numbers {expected:,} (optimizer: {with_optimizer})")

# %% [markdown]
# A checkpoint to train on from is about three times one to read with. The rest of the file is names and padding, a few
# hundred bytes for each tensor.
#
# ### Activations
#
# The backward pass of a product needs both factors; GELU needs its input, a norm its input, softmax its output. Count
# what a block keeps, in numbers per token:
#
# | kept | numbers |
# |---|---|
# | input and output of two norms | $4d$ |
# | queries, keys, values; input of O | $4d$ |
# | weights of attention, a row of $T$ for each of $H$ heads | $HT$ |
# | input and output of GELU | $8d$ |
# | sum | $16d + HT$ |
#
# In 16 bits that is $32d + 2HT$ bytes. Korthikanti et al. (arXiv 2205.05198) have $34d + 5HT$, dropout included: two masks
# of one byte for each of the $d$, and for each attention weight a mask of one byte and an output of two. `saved_bytes`, in
# the folded cell, asks autograd what it really keeps.


# %% folded=true
#| export
def saved_bytes(forward: Callable[[], Shaped[Tensor, "..."]], ignore: Iterable[Shaped[Tensor, "..."]] = ()) -> int:
    """Bytes that autograd keeps for the backward pass of ``forward()``, each storage once.

    ``ignore`` are tensors that exist anyway: parameters, buffers, inputs.

    >>> x = torch.ones(10, requires_grad=True)
    >>> saved_bytes(lambda: x.exp().sum(), [x])
    40

    Built in notebooks/02_tensors.ipynb.
    """
    known = {tensor.untyped_storage().data_ptr() for tensor in ignore}
    kept: list[Tensor] = []  # holds them, so that no address is used twice

    def keep(tensor: Tensor) -> Tensor:
        kept.append(tensor)
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        result = forward()
    total = storage_bytes(tensor for tensor in kept if tensor.untyped_storage().data_ptr() not in known)
    del result  # the graph lives until everything has been measured
    return total


# %%
def block_bytes(s: GPTShape, n: int, seq: int, itemsize: int = 4) -> int:
    """Bytes that a block keeps for n tokens in sequences of seq; each norm keeps a mean and a deviation in float32."""
    return n * ((16 * s.d_model + s.num_heads * seq) * itemsize + 2 * 8)


def activation_bytes(s: GPTShape, batch: int, seq: int, itemsize: int = 4, recompute: bool = False) -> int:
    """Bytes that a model keeps up to its logits. With recompute: each block's input, and one block at a time whole."""
    n = batch * seq
    block, entered = block_bytes(s, n, seq, itemsize), n * s.d_model * itemsize
    blocks = s.num_layers * entered + block - entered if recompute else s.num_layers * block
    return blocks + n * (2 * s.d_model * itemsize + 8)  # the last norm


# %% [markdown]
# There are two ways to keep less. Compute the attention weights again when they are needed (FlashAttention, arXiv
# 2205.14135). Or keep only the input of each block and run the block again (*activation checkpointing*, 重计算,
# 1604.06174). Lecture 07 writes a backward pass of its own that decides what it saves.
#
# **Predict.** In the small GPT of three blocks, how many times fewer bytes does checkpointing keep? And by what factor do
# the FLOPs of a training step grow?

# %%
guess_bytes = guess_flops = None  # times

models = {again: GPT(TINY, recompute=again) for again in (False, True)}
kept = {}
for again, model in models.items():
    known = [*model.parameters(), *model.buffers(), ids]
    kept[again] = saved_bytes(lambda model=model: model(ids), known)
block, x, mask = models[True].blocks[0], torch.randn(4, 128, 64, requires_grad=True), models[True].mask
kept[True] += saved_bytes(lambda: block(x, mask), [x, mask, *block.parameters()])  # the one that runs again
predicted = {again: activation_bytes(TINY, 4, 128, recompute=again) for again in models}
for again in models:
    print(f"checkpointing {again!s:<5} measured {kept[again]:>9,} bytes, predicted {predicted[again]:>9,}")
step = sum(counted_flops(lambda: models[True](ids))) / (3 * forward_flops(TINY, 4, 128))

# %% folded=true
# run this cell to compare your guess
because = {3: "one block is kept whole while it runs again, and so is the last norm"}
reveal("times fewer bytes", kept[False] / kept[True], guess_bytes, because=because, within=1.15)
because = {2: "a forward pass more, of three that it costs anyway", 1.33: "nearly: some products need not run again"}
reveal("times the FLOPs", step, guess_flops, because=because, within=1.02, shown=f"{step:.2f}")

# %% folded=true
claim(
    5,
    "Activations are predicted to the byte, {kept:,} of them; checkpointing keeps {again:,} and takes {step:.2f} times the FLOPs.",
    lambda kept, again, step: (kept, again) == (predicted[False], predicted[True]) and again < kept and step < 4 / 3,
    kept=kept[False],
    again=kept[True],
    step=step,
)

# %% folded=true
fig, ax = axes(xlabel="memory for one sequence (GB)", ylabel="context, recomputation", size=(7, 2.9))
fixed = {"parameters": 2, "gradients": 2, "AdamW and master weights": 12}
rows = [(seq, again) for seq in (1_024, 4_096) for again in (False, True)]
for row, (seq, again) in enumerate(rows):
    sizes = {name: n * GPT2_XL.parameters for name, n in fixed.items()}
    sizes["activations"] = activation_bytes(GPT2_XL, 1, seq, itemsize=2, recompute=again)
    start = 0
    for (kind, size), color in zip(sizes.items(), COLORS.values()):
        ax.barh(row, size / 1e9, left=start / 1e9, color=color, label=kind if row == 0 else None)
        start += size
ax.axvline(80, color="#888888", linestyle=":")
ax.annotate(
    "a GPU of 80 GB", (80, 3.4), xytext=(-4, 0), textcoords="offset points", ha="right", va="bottom", fontsize=9
)
ax.set(yticks=range(4), yticklabels=[f"{seq:,}{', checkpointing' if again else ''}" for seq, again in rows])
ax.set(xlim=(0, 118), title="GPT-2 XL in mixed precision, one sequence")
ax.invert_yaxis()
ax.legend(loc="upper right", fontsize=9)
finish(fig)

# %% [markdown]
# At 4,096 tokens the $HT$ of attention has grown sixteenfold and fills more than everything else; checkpointing takes
# nearly all of it away.
#
# Writing text needs none of this, and a *KV cache* instead (KV 缓存): keys and values of all tokens so far. Appendix 02x
# counts it.

# %% [markdown]
# ## 6 · Time is FLOPs and bytes
#
# **Why does an operation with few FLOPs take long?** Because numbers must come from memory first. The *arithmetic intensity*
# (算术强度) $I$ of an operation is its FLOPs per byte moved. By hand, in float32: adding two vectors reads 8 bytes and writes 4
# for one FLOP, so $I = 1/12$. A product of two $n \times n$ matrices has $2n^3$ FLOPs and moves $3n^2$ numbers, so $I = n/6$.
# A machine with a peak of $P$ FLOP/s and a bandwidth of $\beta$ bytes/s can do at most
#
# $$\min(P,\ \beta I)\ \text{FLOP/s}$$
#
# the *roofline* (屋顶线, Williams et al. 2009). Left of the ridge $P/\beta$ an operation is *memory-bound* (访存受限): its
# bytes take longer than its FLOPs.


# %% folded=true
#| export
def matmul_intensity(m: int, k: int, n: int, itemsize: int = 2) -> float:
    """FLOPs per byte of a product of (m, k) and (k, n): each matrix crosses the memory bus once.

    >>> matmul_intensity(600, 600, 600, itemsize=4)
    100.0

    Built in notebooks/02_tensors.ipynb.
    """
    return matmul_flops(m, k, n) / (itemsize * (m * k + k * n + m * n))


def roofline(intensity: int | float, peak_flops: int | float, bandwidth: int | float) -> int | float:
    """The most FLOP/s at an intensity in FLOPs per byte: min(peak, bandwidth * intensity).

    >>> roofline(10, peak_flops=989e12, bandwidth=3.35e12)
    33500000000000.0

    Built in notebooks/02_tensors.ipynb.
    """
    return min(peak_flops, bandwidth * intensity)


# %% [markdown]
# We measure both: $P$ as the best of three products of matrices that fit into the cache, $\beta$ as the best of copying and
# adding vectors that do not. An H100 has a ridge of 295 FLOPs per byte in bfloat16. And one core of your machine?

# %% tags=["timing"]
squares = [torch.randn(n, n, device=DEVICE) for n in (256, 384, 512)]
store = torch.randn(64, 2**20, device=DEVICE)  # 256 MiB, more than a cache holds, in pieces of 4 MiB
pieces = cycle(store)  # each call takes the next ones, which are in no cache any more
*took, copy, add = best_seconds(
    *(lambda a=a: a @ a for a in squares),
    lambda: next(pieces).copy_(next(pieces)),
    lambda: next(pieces).add_(next(pieces)),
    least=0.5,
)
PEAK = max(matmul_flops(*[len(a)] * 3) / seconds for a, seconds in zip(squares, took))
BANDWIDTH = max(2 / copy, 3 / add) * store[0].nbytes  # a copy reads and writes; an addition reads two and writes one
print(f"peak {PEAK / 1e9:.0f} GFLOP/s, bandwidth {BANDWIDTH / 1e9:.0f} GB/s" + " on one core" * (DEVICE == "cpu"))
print(f"ridge: {PEAK / BANDWIDTH:.1f} FLOPs in the time of one byte")

# %% folded=true tags=["timing"]
claim(
    6,
    "Bytes take time: adding vectors, 1 FLOP for 12 bytes, runs at {add:.1f} GFLOP/s, a product of large matrices at {peak:.0f}.",
    lambda add, peak: peak > 2 * add,
    add=store[0].numel() / add / 1e9,
    peak=PEAK / 1e9,
)

# %% [markdown]
# What does it say about other operations? Here are six that had no part in drawing it. Four are products of (1000, k) and
# (k, 1000) matrices: the larger $k$, the more FLOPs for each number of the result. Softmax (5 FLOPs for each number:
# maximum, difference, exponential, sum, quotient) and GELU in its tanh form (9: a cube is 2, two scales, two additions, a
# tanh, two factors and a half) read and write a tensor. For each $k$ we also time (384, k) by (k, 384), which stays in the
# cache: so fast is the *kernel* when memory does not matter.

# %% tags=["timing"]
work, cached = {}, {}  # name -> (FLOPs, bytes, function)


def products(a, b, outs, times):
    return lambda: [torch.mm(a, b, out=next(outs)) for _ in range(times)]


for n, count, times, into in ((1_000, 64, 1, work), (384, 1, 20, cached)):
    outs = cycle(torch.empty(count, n, n, device=DEVICE))  # 64 results in turn are in no cache; one, 20 times, is
    for k in (1, 4, 16, 64):
        a, b = torch.randn(n, k, device=DEVICE), torch.randn(k, n, device=DEVICE)
        flops, moved = matmul_flops(n, k, n), 4 * (2 * n * k + n * n)
        into[f"k = {k}"] = times * flops, times * moved, products(a, b, outs, times)
rows = cycle(store.view(64, 1_024, 1_024))
work["softmax"] = 5 * 2**20, 8 * 2**20, lambda: torch.softmax(next(rows), -1, out=next(rows))
gelu = torch.ops.aten.gelu.out
work["GELU"] = 9 * 2**20, 8 * 2**20, lambda: gelu(next(rows), approximate="tanh", out=next(rows))
took = best_seconds(*(w[2] for w in work.values()), *(w[2] for w in cached.values()), least=0.5)
reached = {name: work[name][0] / t for name, t in zip(work, took)}
alone = {name: cached[name][0] / t for name, t in zip(cached, took[len(work) :])}

# %% tags=["timing"]
print("           GFLOP/s  roofline  share  in the cache")
for name, (flops, moved, _) in work.items():
    bound = roofline(flops / moved, PEAK, BANDWIDTH)
    kernel = f"{alone[name] / 1e9:9.0f}" if name in alone else ""
    print(f"{name:<9}{reached[name] / 1e9:9.1f}{bound / 1e9:10.1f}{reached[name] / bound:7.0%}{kernel}")

# %% folded=true tags=["timing"]
fig, ax = axes(xlabel="arithmetic intensity (FLOP/byte)", ylabel="GFLOP/s", size=(7, 3.8))
grid = np.geomspace(1 / 20, 300, 100)
ax.plot(grid, [roofline(i, PEAK, BANDWIDTH) / 1e9 for i in grid], color=COLORS["black"], label="roofline")
place_of = {name: flops / moved for name, (flops, moved, _) in work.items()}
at = [place_of[name] for name in cached]
red, blue = COLORS["vermillion"], COLORS["blue"]
ax.plot(at, [reached[n] / 1e9 for n in cached], "o-", color=red, label="products (1000, k)(k, 1000)")
ax.plot(at, [alone[n] / 1e9 for n in cached], "o:", color=red, fillstyle="none", label="the same k, all in the cache")
others = [name for name in work if name not in cached]
ax.plot([place_of[n] for n in others], [reached[n] / 1e9 for n in others], "^", color=blue, label="softmax, GELU")
ax.plot([1 / 12], [store[0].numel() / add / 1e9], "s", color=COLORS["black"], label="addition (calibration)")
for name in work:
    side = {"xytext": (-5, -13), "ha": "right"} if name == "k = 1" else {"xytext": (4, -13)}
    ax.annotate(name, (place_of[name], reached[name] / 1e9), textcoords="offset points", fontsize=9, **side)
ax.set(xscale="log", yscale="log", xlim=(0.06, 500), title="The roofline is a bound; these were not used to draw it")
ax.set_xticks([0.1, 1, 10, 100], ["0.1", "1", "10", "100"])
ax.legend(loc="lower right", fontsize=9)
finish(fig)

# %% [markdown]
# A roofline is a bound and no forecast. Three things keep a point below it:
#
# - **The kernel.** An open circle below the peak shows it: memory is not to blame there. A thin product does few multiplications
#   for each number that it loads into a register.
# - **Bytes that we did not count.** We count the result as written once. A processor may read a line of memory before it
#   writes to it, and a library may go over the result twice. So a filled point can lie below both its circle and the slope.
# - **FLOPs that are no FLOPs.** We count an exponential or a tanh as one. It takes a dozen instructions, so softmax and
#   GELU may be bound by arithmetic where the roofline says memory.
#
# So a model that writes one token at a time is slow: for each it reads all its weights, at 2 FLOPs each.
#
# ### A share of the FLOPs, a share of the time
#
# Ivanov et al. (arXiv 2007.00072) measured the training of a BERT encoder layer on a GPU. *Statistical normalisation*,
# their word for layer norm **and softmax** together, made 0.17 % of the FLOPs and 25.5 % of the time. The numbers are
# often quoted for norms alone. We keep the two apart. First, what to measure: lines of our own, or PyTorch's?

# %% tags=["timing"]
T, d, H = 256, 256, 8
x, w, gain = torch.randn(T, d, device=DEVICE), torch.randn(d, d, device=DEVICE), torch.ones(d, device=DEVICE)
q, k, v = torch.randn(3, H, T, d // H, device=DEVICE)
s, wide = torch.randn(H, T, T, device=DEVICE), torch.randn(T, 4 * d, device=DEVICE)
mask, scale = causal_mask(T).to(DEVICE), (d // H) ** -0.5


def softmax(s):
    e = (s - s.amax(-1, keepdim=True)).exp()
    return e / e.sum(-1, keepdim=True)


def layer_norm(x):
    centred = x - x.mean(-1, keepdim=True)
    return centred * (centred.square().mean(-1, keepdim=True) + 1e-5).rsqrt() * gain + gain


# %% folded=true tags=["timing"]
versions = {  # name -> (written by hand, PyTorch's own)
    "x W + b (addmm)": (lambda: x @ w + gain, lambda: torch.addmm(gain, x, w)),
    "layer norm": (lambda: layer_norm(x), lambda: F.layer_norm(x, (d,), gain, gain)),
    "RMS norm": (
        lambda: x * (x.square().mean(-1, keepdim=True) + 1e-5).rsqrt() * gain,
        lambda: F.rms_norm(x, (d,), gain, 1e-5),
    ),
    "softmax": (lambda: softmax(s), lambda: F.softmax(s, -1)),
    "GELU": (
        lambda: 0.5 * wide * (1 + torch.tanh(0.7978846 * (wide + 0.044715 * wide**3))),
        lambda: F.gelu(wide, approximate="tanh"),
    ),
    "attention": (
        lambda: softmax((q @ k.mT * scale).masked_fill(mask, -torch.inf)) @ v,
        lambda: F.scaled_dot_product_attention(q[None], k[None], v[None], is_causal=True),
    ),
}
with torch.no_grad():
    took = best_seconds(*(f for pair in versions.values() for f in pair), least=0.2)
for name, by_hand, own in zip(versions, took[::2], took[1::2]):
    print(f"{name:<16} by hand {1e3 * by_hand:6.2f} ms, PyTorch's own {1e3 * own:6.2f} ms, ratio {by_hand / own:4.1f}")

# %% [markdown]
# Each line written by hand makes a new tensor and goes through memory again. A *fused* (融合) kernel reads its input once,
# and attention's never writes the $T \times T$ scores. Lecture
# 07 writes fused kernels. Here we take PyTorch's own.
#
# One block's forward pass, $d = 256$ and $T = 256$, each operation timed alone. We count 7 FLOPs for each number of a
# layer norm (mean, difference, square, sum, scale, gain, bias), 7 of softmax with scale and mask, 9 of GELU.
#
# **Predict.** What percentage of the time do the two norms take? And softmax, with scale and mask?

# %% tags=["timing"]
guess_norms = guess_softmax = None  # percent

up = torch.randn(4 * d, d, device=DEVICE)
block = {  # name -> (FLOPs of one, how many a block has, one of them)
    "Q, K, V, O": (2 * T * d**2, 4, lambda: F.linear(x, w)),
    "up, down": (8 * T * d**2, 2, lambda: F.linear(x, up)),
    "Q Kᵀ and · V": (2 * T**2 * d, 2, lambda: q @ k.mT),
    "norms": (7 * T * d, 2, lambda: F.layer_norm(x, (d,), gain, gain)),
    "softmax": (7 * H * T**2, 1, lambda: F.softmax((s * scale).masked_fill(mask, -torch.inf), -1)),
    "GELU": (9 * 4 * T * d, 1, lambda: F.gelu(wide, approximate="tanh")),
    "additions": (T * d, 2, lambda: x + x),
}
with torch.no_grad():
    took = best_seconds(*(one for *_, one in block.values()), least=0.3)
flops = {name: n * count for name, (n, count, _) in block.items()}
times = {name: count * t for (name, (_, count, _)), t in zip(block.items(), took)}
share = {n: (100 * flops[n] / sum(flops.values()), 100 * times[n] / sum(times.values())) for n in block}

# %% folded=true tags=["timing"]
# run this cell to compare your guess
because = {25.5: "that was for norms and softmax, on a GPU", "too large": "norms touch T·d numbers, softmax H·T²"}
reveal("norms", share["norms"][1], guess_norms, because=because, within=2, shown=f"{share['norms'][1]:.1f} %")
because = {"too small": "it has the largest tensor of all: a row of T for each head and token"}
reveal("softmax", share["softmax"][1], guess_softmax, because=because, within=1.5, shown=f"{share['softmax'][1]:.0f} %")

# %% folded=true tags=["timing"]
fig, ax = axes(xlabel="share (%)", ylabel="one block, forward", size=(7.4, 3.2))
colors = [COLORS[name] for name in ("blue", "sky_blue", "black", "vermillion", "orange", "green", "purple")]
for row in (0, 1):
    start = 0
    for (name, shares), color in zip(share.items(), colors):
        text = f"{name}: {shares[0]:.1f} | {shares[1]:.1f}" if row else None
        ax.barh(row, shares[row], left=start, color=color, label=text)
        start += shares[row]
ax.set(yticks=[0, 1], yticklabels=["FLOPs", "time"], xlim=(0, 100), ylim=(3.1, -0.6))
ax.set_title("Where the FLOPs are, and where the time goes (% of FLOPs | % of time)")
ax.legend(loc="lower center", ncols=3, fontsize=9)
finish(fig)

# %% folded=true tags=["timing"]
rest = [share[name] for name in ("norms", "softmax", "GELU", "additions")]
claim(
    6,
    "In a block's forward pass here (d = 256, 256 tokens) all that is no product has {flops:.1f} % of the FLOPs and {time:.0f} % of the time; the norms have {norms:.2f} % and {norms_time:.1f} %, softmax {softmax:.1f} % and {softmax_time:.0f} %.",
    lambda flops, time, norms, norms_time, softmax, softmax_time: (
        time > 1.5 * flops and norms_time > norms and softmax_time > softmax
    ),
    flops=sum(of_flops for of_flops, _ in rest),
    time=sum(of_time for _, of_time in rest),
    norms=share["norms"][0],
    norms_time=share["norms"][1],
    softmax=share["softmax"][0],
    softmax_time=share["softmax"][1],
)

# %% [markdown]
# The norms are small in both. Softmax takes time because its tensor grows with the square of the length. Tensor cores
# make products many times faster and leave the bandwidth as it is, so on a GPU these shares grow. Not shown here: the
# backward pass.
#
# ### bfloat16 on this machine
#
# Half the bytes, and twice as fast? Only where the processor has instructions for it (AVX512-BF16, AMX, Arm BF16).
# Elsewhere a loop converts number by number. You can see that loop anywhere: switch off oneDNN, the library with the fast
# kernels.

# %% tags=["timing"]
full = torch.randn(384, 384, device=DEVICE)
low = full.bfloat16()


def without_onednn():
    with torch.backends.mkldnn.flags(enabled=False):
        return low @ low


float32, bfloat16, fallback = best_seconds(lambda: full @ full, lambda: low @ low, without_onednn)
print(f"bfloat16 has {float32 / bfloat16:.2f} times the speed of float32 here")
print(f"without oneDNN: {float32 / fallback:.2f} times the speed of float32")
if float32 / bfloat16 > 1.2:
    print("Here bfloat16 with float32 master weights saves time. The course trains in float32 all the same:")
    print("its models are small, and every machine then computes nearly the same numbers.")
else:
    print("On this machine bfloat16 saves no time: train in float32.")


# %% [markdown]
# ## 7 · From FLOPs to days
#
# **How long will it take?** FLOPs divided by FLOP/s, if the machine reached its peak. *Model FLOPs utilisation* (MFU,
# 模型算力利用率; PaLM, arXiv 2204.02311) is the share of the peak that goes into the FLOPs that the model needs; what is
# computed again does not count. 40 to 50 % is good for a large model on many GPUs; Llama 3 405B had 38 to 43 % (2407.21783).


# %% folded=true
#| export
def mfu(flops: int | float, seconds: int | float, peak_flops: int | float) -> float:
    """Model FLOPs utilisation: the FLOPs that a model needs, per second, as a share of the peak (arXiv 2204.02311).

    >>> mfu(flops=2e12, seconds=4, peak_flops=1e12)
    0.5

    Built in notebooks/02_tensors.ipynb.
    """
    return flops / seconds / peak_flops


def training_days(flops: int | float, *, devices: int, peak_flops: int | float, mfu: int | float) -> float:
    """Days that training takes on so many devices of this peak (FLOP/s), at this utilisation.

    >>> f"{training_days(six_nd(70e9, 15e12), devices=1024, peak_flops=989e12, mfu=0.5):.0f}"
    '144'

    Built in notebooks/02_tensors.ipynb.
    """
    return flops / (devices * peak_flops * mfu) / 86_400


# %% [markdown]
# Our peak is the best that any product reached in this very run, the model's own products among them. Every FLOP of the
# model is in a product, so its MFU stays below 1.
#
# **Predict.** A GPT of width 32 and one of width 512 train a step here, on 8 sequences of 128 tokens. What is the MFU of
# the narrow one, in percent? And of the wide one?


# %%
def training_step(shape: GPTShape):
    """A function that trains one step."""
    model, batch = GPT(shape).to(DEVICE), torch.randint(512, (8, 128), device=DEVICE)
    optimizer = torch.optim.AdamW(model.parameters(), fused=True)

    def step() -> None:
        optimizer.zero_grad()
        next_token_loss(model(batch), batch).backward()
        optimizer.step()

    return step


# %% tags=["timing"]
guess_narrow = guess_wide = None  # percent

shapes = [replace(TINY, d_model=width, num_heads=width // 32, num_layers=2) for width in (32, 512)]
sizes = [(n, n, n) for n in (256, 512, 1_024)]  # and the products of the wide model, forward and backward
sizes += [(1_024, 512, 512), (1_024, 512, 2_048), (1_024, 2_048, 512), (512, 1_024, 512), (512, 1_024, 2_048)]
factors = [(torch.randn(m, k, device=DEVICE), torch.randn(k, n, device=DEVICE)) for m, k, n in sizes]
took = best_seconds(*map(training_step, shapes), *(lambda a=a, b=b: a @ b for a, b in factors), least=0.5)
peak = max(matmul_flops(*size) / t for size, t in zip(sizes, took[2:]))
narrow, wide = (100 * mfu(3 * forward_flops(shape, 8, 128), t, peak) for shape, t in zip(shapes, took))

# %% folded=true tags=["timing"]
# run this cell to compare your guess
because = {"too large": "thin products are slow, and each call from Python costs as much as it computes"}
reveal("narrow, percent", narrow, guess_narrow, because=because, within=1.5, shown=f"{narrow:.0f}")
because = {"too large": "softmax, GELU, norms, the loss and AdamW take time and add no FLOPs that count"}
reveal("wide, percent", wide, guess_wide, because=because, within=1.3, shown=f"{wide:.0f}")

# %% folded=true tags=["timing"]
claim(
    7,
    "A model reaches a part of the peak: the MFU here is {narrow:.0f} % at width 32 and {wide:.0f} % at width 512.",
    lambda narrow, wide: 0 < narrow < wide < 100,
    narrow=narrow,
    wide=wide,
)

# %% [markdown]
# The narrow model spends its time on thin products, on element-wise work and in Python.
#
# **Predict.** 70 billion parameters, 15 trillion tokens, 1,024 H100s at an MFU of 50 %: how many days? An H100 does 989
# TFLOP/s in bfloat16.

# %%
guess = None  # days

CLUSTER = {"devices": 1_024, "peak_flops": 989e12}
days = training_days(six_nd(70e9, 15e12), **CLUSTER, mfu=0.5)

# %% folded=true
# run this cell to compare your guess
because = {"too small": "6 · 70e9 · 15e12 is 6.3e24; and half of the peak is lost", 72: "that is at the full peak"}
reveal("days", days, guess, because=because, within=1.1, shown=f"{days:.0f}")

# %%
attention, feed_forward = 2 * 8_192**2 + 2 * 8_192 * 1_024, swiglu_flops(1, 8_192, 28_672) // 2  # Llama 2 70B
N = 80 * (attention + feed_forward) + 32_000 * 8_192
with_square = 6 * N * 15e12 + 3 * 4 * 80 * 4_096 * 8_192 * 15e12  # for each token 4 L T d forward
print(f"Llama 2 70B multiplies each token by {N / 1e9:.1f}e9 weights; with attention's square at 4,096 tokens:")
for share in (0.5, 0.4):
    print(f"  {training_days(with_square, **CLUSTER, mfu=share):.0f} days at an MFU of {share:.0%}")

# %% folded=true
claim(
    7,
    "70 billion parameters and 15 trillion tokens take {days:.0f} days on 1,024 H100s at half of their peak; for Llama 3 405B the same 6ND gives {llama:.2g} FLOPs, and its paper says {published:.2g}.",
    lambda days, llama, published: 130 < days < 160 and abs(llama / published - 1) < 0.02,
    days=days,
    llama=six_nd(405e9, 15.6e12),
    published=3.8e25,  # arXiv 2407.21783
)

# %% folded=true
fig, ax = axes(xlabel="GPUs (logarithmic)", ylabel="days (logarithmic)", size=(6.4, 3))
counts = np.array([256, 512, 1_024, 2_048, 4_096, 8_192, 16_384])
for share_of_peak, style in ((0.3, ":"), (0.4, "--"), (0.5, "-")):
    taken = [training_days(six_nd(70e9, 15e12), devices=int(n), peak_flops=989e12, mfu=share_of_peak) for n in counts]
    ax.plot(counts, taken, style, color=COLORS["blue"], label=f"MFU {share_of_peak:.0%}")
ax.plot([1_024], [days], "o", color=COLORS["vermillion"])
ax.set(xscale="log", yscale="log", title="70 billion parameters on 15 trillion tokens, H100s in bfloat16")
ax.set_xticks(counts[::2], [f"{n:,}" for n in counts[::2]])
ax.set_yticks([10, 30, 100, 300, 1_000], ["10", "30", "100", "300", "1,000"])
ax.minorticks_off()
finish(fig)

# %% [markdown]
# Five months on a thousand GPUs, known from four numbers. The same line tells what ten points of MFU are worth: from 40 to
# 50 % saves more than a month.
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
# | Normalisation is 0.17 % of the FLOPs and 25.5 % of the time | For a BERT encoder layer on a GPU, and with softmax (2007.00072). Question 6 has them apart. |
# | Training costs 6ND | Plus attention's square, plus what is computed again. And which N? Kaplan et al. leave out embeddings (2001.08361); ours is all that a token is multiplied by, the output layer too. |
# | The backward pass costs twice the forward | For products, except where the input needs no gradient; with checkpointing three times, with FlashAttention 2.5 times in attention. |
# | Mixed precision halves the memory | Of activations. Parameters, gradients and AdamW take 16 bytes per parameter either way (1910.02054). |
# | An H100 does 1,979 TFLOP/s in bfloat16 | With 2:4 structured sparsity; 989 dense. |
# | bfloat16 is faster | With instructions for it: section 6 measured yours. |
# | bfloat16 needs no care, float16 does | bfloat16 needs no loss scaling, and loses small updates unless weights are kept in float32. |
# | A causal mask halves the FLOPs of attention | Only if the kernel skips what is masked, as FlashAttention does. |
#
# ## What you built
#
# `cs336lite.costs`: `matmul_flops`, `counted_flops`, `six_nd`; `storage_bytes`, `saved_bytes`; `matmul_intensity`,
# `roofline`, `mfu`, `training_days`.
#
# ## Limits
#
# - FLOPs are those of matrix products, as everywhere in the literature, except where section 6 counts the others.
# - Activation bytes are for eager PyTorch without dropout. The peak of a real run is higher: gradients of activations,
#   temporary buffers, and pieces of memory that the allocator cannot use.
#
# ## Exercises for longer evenings
#
# - Add the trigram table to section 1. Where does it stop getting better, and what does the 0.1 do to it?
# - Train `GPT` on the bytes of section 1 until it beats the bigram table. How many FLOPs does that take?
# - Find the $k$ at which `(1000, k)(k, 1000)` reaches half of your machine's peak, in float32 and in bfloat16.
#
# ## Sources
#
# Micikevicius et al. 2018, mixed precision (arXiv 1710.03740) · FP8 formats (2209.05433) · Kaplan et al. 2020
# (2001.08361) · ZeRO (1910.02054) · Korthikanti et al. 2022, activations (2205.05198) · Chen et al. 2016, checkpointing
# (1604.06174) · FlashAttention (2205.14135) · Williams, Waterman, Patterson, *Roofline*, CACM 52(4), 2009 · Ivanov et al.
# 2020 (2007.00072) · PaLM (2204.02311) · NVIDIA H100 data sheet.
#
# ## Next
#
# Assignments **a2_attention** and **a3_rope**, and lecture **03 · architecture**: the block whose cost you can now
# predict, and its variants.

# %%
finished("02_tensors")
