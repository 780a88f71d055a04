# ---
# jupyter:
#   kernelspec: {display_name: Python 3, language: python, name: python3}
#   cs336lite: {module: accounting, minutes: 1, prerequisites: [02_tensors], device: CPU}
# ---

# %% [markdown]
# # 02x · What every architecture of the course costs (appendix of lecture 02)
#
# {badge} · prerequisites: [02 · tensors and FLOPs](../02_tensors.ipynb) · device: CPU
#
# Lecture 02 counted a GPT-2 by hand. Later lectures build Transformers with shared key heads, gated feed-forward
# networks, experts, an encoder, other norms and positions. The counting is the same, and there is more to keep in mind.
# This appendix builds `cs336lite.accounting`, which lectures 03 to 08 ask. Read it if you want to know where a number of
# theirs comes from.
#
# The idea is one list of all parameter tensors. Each entry says how many of a kind are *stored*, and by how many a token
# is *multiplied*. Parameters, FLOPs and bytes are sums over this list.

# %%
from dataclasses import replace

from cs336lite.course.measure import reveal
from cs336lite.course.plot import COLORS, axes, finish

# %%
#| export
"""What a Transformer costs in FLOPs, bytes and days, from its shapes alone.

FLOPs are those of matrix products, two for each multiply-add, as `torch.utils.flop_counter` counts them; everything
else (norms, softmax, activations) is a few percent of FLOPs, though not of time. Bytes are bytes, not MiB. What
measures (`counted_flops`, `saved_bytes`, ...) comes from `cs336lite.costs`.
"""

import math
from dataclasses import KW_ONLY, dataclass

from torch import nn

from cs336lite.costs import counted_flops as counted_flops
from cs336lite.costs import matmul_flops as matmul_flops
from cs336lite.costs import matmul_intensity as matmul_intensity
from cs336lite.costs import mfu as mfu
from cs336lite.costs import roofline as roofline
from cs336lite.costs import saved_bytes as saved_bytes
from cs336lite.costs import six_nd as six_nd
from cs336lite.costs import storage_bytes as storage_bytes
from cs336lite.costs import training_days as training_days

# %% [markdown]
# ## 1 · The shapes of a Transformer
#
# A block has four attention matrices (queries, keys, values, output), a feed-forward network of two matrices, or three
# with a *gated linear unit* (GLU, 门控线性单元), and norms. Keys and values may have fewer heads than queries
# (*grouped-query attention*, GQA). With *experts* a block has several feed-forward networks, and a router sends each token
# to a few of them. Lectures 03 and 06 build all of these; here they are numbers.


# %%
#| export
@dataclass(frozen=True)
class ModelShape:
    """The shapes of a Transformer; ValueError where they do not fit together.

    Built in notebooks/appendix/02x_shapes.ipynb.
    """

    vocab_size: int
    context_length: int
    d_model: int
    num_layers: int  # blocks of the decoder, or of the only stack
    num_heads: int
    d_ff: int
    num_kv_heads: int | None = None  # None: num_heads
    d_head: int | None = None  # None: d_model // num_heads
    glu: bool = False  # three feed-forward matrices, as in SwiGLU, instead of two
    bias: bool = False  # in every linear layer of the blocks and in every norm
    qkv_bias: bool = False  # in queries, keys and values only
    norm_bias: bool | None = None  # None: as bias
    tied_embeddings: bool = False  # the output layer multiplies by the embedding
    position_parameters: int = 0  # in each stack: a learned table has rows * d_model
    relative_projection: bool = False  # Transformer-XL: a matrix for the sinusoids of distances
    norms_per_block: int = 2  # 1 in a parallel block, 4 with double norm; cross-attention has one more, or two
    outer_norms: int = 1  # in each stack, outside the blocks; post-norm has 0
    qk_norm: bool = False
    num_encoder_layers: int = 0  # above 0: an encoder-decoder with cross-attention
    _: KW_ONLY
    qk_norm_across_heads: bool = False  # gains for all heads, as in OLMo 2, instead of those of one head
    num_experts: int = 1  # feed-forward networks in each block; above 1 there is a router
    top_k: int = 1  # of these, the ones that a token passes through

    def __post_init__(self) -> None:
        kv_heads = self.num_heads if self.num_kv_heads is None else self.num_kv_heads
        if min(self.vocab_size, self.context_length, self.d_model, self.num_heads, self.d_ff, kv_heads) < 1:
            raise ValueError(f"every size is at least 1: {self}")
        if self.num_heads % kv_heads:
            raise ValueError(f"{self.num_heads} query heads cannot share {kv_heads} key-value heads evenly")
        if self.d_head is None and self.d_model % self.num_heads:
            raise ValueError(f"d_model {self.d_model} is not a multiple of num_heads {self.num_heads}: give d_head")
        if not 1 <= self.top_k <= self.num_experts:
            raise ValueError(f"top_k is {self.top_k}, but must be 1 to num_experts ({self.num_experts})")

    @property
    def q_width(self) -> int:  # all query heads side by side
        return self.num_heads * self.d_head if self.d_head else self.d_model

    @property
    def kv_width(self) -> int:
        return self.q_width if self.num_kv_heads is None else self.q_width // self.num_heads * self.num_kv_heads


# %%
#| export
# Radford et al. 2019: the worked example of lecture 02
GPT2_XL = ModelShape(
    vocab_size=50_257, context_length=1_024, d_model=1_600, num_layers=48, num_heads=25, d_ff=6_400,
    bias=True, tied_embeddings=True, position_parameters=1_024 * 1_600,
)  # fmt: skip

# %%
LLAMA_2_70B = ModelShape(
    vocab_size=32_000, context_length=4_096, d_model=8_192, num_layers=80, num_heads=64, num_kv_heads=8,
    d_ff=28_672, glu=True,
)  # fmt: skip
MIXTRAL = ModelShape(
    vocab_size=32_000, context_length=32_768, d_model=4_096, num_layers=32, num_heads=32, num_kv_heads=8,
    d_ff=14_336, glu=True, num_experts=8, top_k=2,
)  # fmt: skip


# %% [markdown]
# ## 2 · Every tensor of the model
#
# An embedding is stored and never multiplied: it is a look-up. An output layer that is tied to it is multiplied and not
# stored again. Of eight experts, eight are stored and a token is multiplied by two.


# %%
#| export
@dataclass(frozen=True)
class Weight:
    """A kind of parameter tensor: ``stored`` of them exist, and a token is multiplied by ``used`` of them.

    ``tokens`` says whose: those of the "target", of the "source" that an encoder reads, or "distances" between tokens.

    Built in notebooks/appendix/02x_shapes.ipynb.
    """

    name: str
    shape: tuple[int, ...]
    stored: int
    used: int = 0
    tokens: str = "target"

    @property
    def size(self) -> int:
        return math.prod(self.shape)


# %%
#| export
def _linear(
    name: str, d_out: int, d_in: int, stored: int, *, bias: bool, tokens: str = "target", used: int | None = None
) -> list[Weight]:
    used = stored if used is None else used
    found = [Weight(f"{name}.weight", (d_out, d_in), stored, used, tokens)]
    return [*found, Weight(f"{name}.bias", (d_out,), stored)] if bias else found


def _norm(name: str, width: int, stored: int, *, bias: bool) -> list[Weight]:
    found = [Weight(f"{name}.weight", (width,), stored)]
    return [*found, Weight(f"{name}.bias", (width,), stored)] if bias else found


# %%
#| export
def _attention(s: ModelShape, name: str, layers: int, queries: str, keys: str) -> list[Weight]:
    """The tensors of ``layers`` attentions whose queries and keys come from these tokens."""
    qkv_bias = s.bias or s.qkv_bias
    found = _linear(f"{name}.q_proj", s.q_width, s.d_model, layers, bias=qkv_bias, tokens=queries)
    for part in ("k_proj", "v_proj"):
        found += _linear(f"{name}.{part}", s.kv_width, s.d_model, layers, bias=qkv_bias, tokens=keys)
    found += _linear(f"{name}.o_proj", s.d_model, s.q_width, layers, bias=s.bias, tokens=queries)
    if s.qk_norm_across_heads:
        widths = {"q_norm": s.q_width, "k_norm": s.kv_width}
        return found + [w for part, n in widths.items() for w in _norm(f"{name}.{part}", n, layers, bias=s.bias)]
    return found + (_norm(f"{name}.qk_norm", s.q_width // s.num_heads, 2 * layers, bias=s.bias) if s.qk_norm else [])


def _feed_forward(s: ModelShape, name: str, layers: int, tokens: str) -> list[Weight]:
    """The tensors of ``layers`` feed-forward networks, each with all its experts and their router."""
    stored, used, found = layers * s.num_experts, layers * s.top_k, []
    if s.num_experts > 1:
        found += _linear(f"{name}.router", s.num_experts, s.d_model, layers, bias=False, tokens=tokens)
    for part in ("gate", "up") if s.glu else ("up",):
        found += _linear(f"{name}.{part}", s.d_ff, s.d_model, stored, bias=s.bias, tokens=tokens, used=used)
    return found + _linear(f"{name}.down", s.d_model, s.d_ff, stored, bias=s.bias, tokens=tokens, used=used)


# %%
#| export
def _stack(s: ModelShape, name: str, layers: int, tokens: str, *, cross: bool) -> list[Weight]:
    found = _attention(s, f"{name}.attention", layers, tokens, tokens)
    if cross:
        found += _attention(s, f"{name}.cross_attention", layers, tokens, "source")
    found += _feed_forward(s, f"{name}.feed_forward", layers, tokens)
    in_a_block = s.norms_per_block + cross * (2 if s.norms_per_block == 4 else 1)
    bias = s.bias if s.norm_bias is None else s.norm_bias
    found += _norm(f"{name}.norm", s.d_model, layers * in_a_block + s.outer_norms, bias=bias)
    if s.relative_projection:
        found += _linear(f"{name}.r_proj", s.q_width, s.d_model, layers, bias=False, tokens="distances")
    return found + ([Weight(f"{name}.positions", (s.position_parameters,), 1)] if s.position_parameters else [])


# %%
#| export
def weights(shape: ModelShape) -> list[Weight]:
    """Every kind of parameter tensor in a model of this shape, blocks taken together.

    >>> weights(GPT2_XL)[1]
    Weight(name='decoder.attention.q_proj.weight', shape=(1600, 1600), stored=48, used=48, tokens='target')

    Built in notebooks/appendix/02x_shapes.ipynb.
    """
    s, table = shape, (shape.vocab_size, shape.d_model)
    found = [Weight("embedding.weight", table, 1)]
    if s.num_encoder_layers:
        found += _stack(s, "encoder", s.num_encoder_layers, "source", cross=False)
    found += _stack(s, "decoder", s.num_layers, "target", cross=s.num_encoder_layers > 0)
    return [*found, Weight("output.weight", table, 0 if s.tied_embeddings else 1, 1)]


# %%
#| export
def parameters(model: ModelShape | nn.Module) -> int:
    """Numbers that a model stores, each shared tensor once; of a module, counted by walking through it.

    >>> parameters(nn.Linear(3, 4)), parameters(GPT2_XL)
    (16, 1557611200)

    Built in notebooks/appendix/02x_shapes.ipynb.
    """
    if isinstance(model, nn.Module):
        return sum(parameter.numel() for parameter in model.parameters())
    return sum(weight.stored * weight.size for weight in weights(model))


def active_parameters(shape: ModelShape) -> int:
    """Numbers that a token is multiplied by, the N of 6ND: the matrices, no embeddings, and of experts the chosen ones.

    >>> active_parameters(GPT2_XL) == 48 * 12 * 1600**2 + 50257 * 1600
    True

    Built in notebooks/appendix/02x_shapes.ipynb.
    """
    return sum(weight.used * weight.size for weight in weights(shape))


# %% [markdown]
# Published sizes are the test: in the full repository, `tests/lectures/test_accounting.py` compares fifteen models with their papers
# and checkpoints.
#
# **Predict.** What percentage of Mixtral's 46.7 billion parameters is a token multiplied by? It chooses 2 of 8 experts.

# %%
guess = None  # percent

for weight in weights(GPT2_XL)[:4]:
    print(f"{weight.name:<32} {weight.shape!s:<14} stored {weight.stored}, used {weight.used}")
print(f"GPT-2 XL {parameters(GPT2_XL):,}, Llama 2 70B {parameters(LLAMA_2_70B):,}, Mixtral {parameters(MIXTRAL):,}")
because = {25: "2 of 8 experts are a quarter; attention and the output layer come on top"}
active = 100 * active_parameters(MIXTRAL) / parameters(MIXTRAL)
reveal("active parameters, percent", active, guess, because=because, within=1.1, shown=f"{active:.0f}")
assert parameters(GPT2_XL) == 1_557_611_200 and parameters(LLAMA_2_70B) == 68_976_648_192
assert round(parameters(MIXTRAL) / 1e9, 1) == 46.7 and round(active_parameters(MIXTRAL) / 1e9) == 13  # arXiv 2401.04088

# %% [markdown]
# ## 3 · FLOPs of a pass
#
# Each matrix costs twice its size for every token that is multiplied by it. Attention adds its two products without
# parameters: $4\,L\,B\,T^2 d$ for $B$ sequences of length $T$.


# %%
#| export
@dataclass(frozen=True)
class Flops:
    """FLOPs of a pass by kind; ``attention`` is the part without parameters, which grows with the length squared.

    Built in notebooks/appendix/02x_shapes.ipynb.
    """

    projections: int  # queries, keys, values and outputs of attention
    attention: int  # queries times keys, and probabilities times values
    feed_forward: int
    output: int  # to the vocabulary

    @property
    def total(self) -> int:
        return self.projections + self.attention + self.feed_forward + self.output

    def __add__(self, other: "Flops") -> "Flops":
        return Flops(*(getattr(self, name) + getattr(other, name) for name in self.__dataclass_fields__))


# %%
#| export
def forward_flops(shape: ModelShape, batch: int, seq: int, *, source_seq: int = 0, past: int = 0) -> Flops:
    """FLOPs of the forward pass on ``batch`` sequences of ``seq`` tokens.

    ``source_seq`` is the length that an encoder reads. ``past`` tokens lie in a KV cache already: the new ones attend
    to them, and an encoder does not run again. A causal mask saves nothing here: masked products are counted.

    >>> forward_flops(GPT2_XL, batch=1, seq=1024).total
    3506703564800

    Built in notebooks/appendix/02x_shapes.ipynb.
    """
    s, read = shape, 0 if past else source_seq  # tokens that the encoder reads now
    through = {"target": batch * seq, "source": batch * read, "distances": past + seq}
    parts = {"projections": 0, "attention": 0, "feed_forward": 0, "output": 0}
    for weight in weights(s):
        kind = next((kind for kind in ("feed_forward", "output") if kind in weight.name), "projections")
        parts[kind] += 2 * weight.used * weight.size * through[weight.tokens]
    pairs = s.num_layers * seq * (past + seq)
    if s.num_encoder_layers:
        pairs += s.num_layers * seq * source_seq + s.num_encoder_layers * read**2
    parts["attention"] = (6 if s.relative_projection else 4) * batch * pairs * s.q_width
    return Flops(**parts)


# %%
#| export
RECOMPUTE = ("none", "attention", "block")
"""What the backward pass computes again: nothing, attention scores (FlashAttention), or each block (checkpointing)."""


# %%
#| export
def backward_flops(shape: ModelShape, batch: int, seq: int, *, source_seq: int = 0, recompute: str = "none") -> Flops:
    """FLOPs of the backward pass: twice the forward, and what is computed again.

    Raises ValueError for a ``recompute`` that is not in `RECOMPUTE`.

    >>> backward_flops(GPT2_XL, batch=1, seq=1024).total == 2 * 3506703564800
    True

    Built in notebooks/appendix/02x_shapes.ipynb.
    """
    if recompute not in RECOMPUTE:
        raise ValueError(f"recompute is {recompute!r}, not one of {RECOMPUTE}")
    once = forward_flops(shape, batch, seq, source_seq=source_seq)
    again = Flops(0, 0, 0, 0)
    if recompute == "attention":
        again = Flops(0, once.attention // 2, 0, 0)  # queries times keys, not probabilities times values
    elif recompute == "block":
        again = Flops(once.projections, once.attention, once.feed_forward, 0)
    constant = sum(2 * w.used * w.size * seq for w in weights(shape) if w.tokens == "distances")
    return once + once + again + Flops(-constant, 0, 0, 0)  # distances need no gradient


# %%
#| export
def training_flops(shape: ModelShape, batch: int, seq: int, *, source_seq: int = 0, recompute: str = "none") -> Flops:
    """FLOPs of a forward and a backward pass.

    >>> f"{training_flops(GPT2_XL, batch=1, seq=1024).total:.4g}"
    '1.052e+13'

    Built in notebooks/appendix/02x_shapes.ipynb.
    """
    back = backward_flops(shape, batch, seq, source_seq=source_seq, recompute=recompute)
    return forward_flops(shape, batch, seq, source_seq=source_seq) + back


# %% [markdown]
# **Predict.** Which model spends the larger share of its FLOPs on attention's square at its own context length, GPT-2 XL
# (1,024 tokens) or Llama 2 70B (4,096)?

# %%
guess = None  # GPT-2 XL or Llama 2 70B

lengths = [2**n for n in range(8, 18)]
fig, ax = axes(xlabel="tokens in the context (logarithmic)", ylabel="attention's square (% of FLOPs)", size=(6.6, 3))
at_home = {}
for (name, shape), style in zip({"GPT-2 XL": GPT2_XL, "Llama 2 70B": LLAMA_2_70B}.items(), ("o-", "s--")):
    flops = [forward_flops(shape, 1, T) for T in lengths]
    ax.plot(lengths, [100 * f.attention / f.total for f in flops], style, label=name)
    home = forward_flops(shape, 1, shape.context_length)
    at_home[name] = 100 * home.attention / home.total
because = {"Llama 2 70B": "its context is four times as long, and its width more than five times"}
reveal("larger share", max(at_home, key=at_home.get), guess, because=because)
print({name: f"{share:.1f} %" for name, share in at_home.items()})
ax.set_xscale("log", base=2)
ax.set_xticks([256, 1_024, 4_096, 16_384, 65_536], ["256", "1,024", "4,096", "16,384", "65,536"])
ax.set(ylim=(0, 100), title="The wider the model, the later attention's square takes over")
finish(fig)

# %% [markdown]
# ## 4 · Bytes that training holds
#
# Lecture 02 has the table: 16 bytes for each parameter, in float32 and in mixed precision alike.


# %%
#| export
PRECISIONS = {"float32": (4, 4, 4, 0), "mixed": (2, 2, 4, 4), "bfloat16": (2, 2, 2, 0)}
"""Bytes of a parameter, its gradient, each number of optimizer state, and its float32 master copy."""

STATES = {"sgd": 0, "momentum": 1, "lion": 1, "adamw": 2}
"""Numbers of state that an optimizer keeps for each parameter."""


@dataclass(frozen=True)
class Memory:
    """Bytes that training holds, by kind. Built in notebooks/appendix/02x_shapes.ipynb."""

    parameters: int
    gradients: int
    optimizer: int  # moments and master copy
    activations: int = 0

    @property
    def total(self) -> int:
        return self.parameters + self.gradients + self.optimizer + self.activations


# %%
#| export
def training_memory(
    model: ModelShape | nn.Module, optimizer: str = "adamw", precision: str = "float32", activations: int = 0
) -> Memory:
    """Bytes of parameters, gradients and optimizer state; give ``activations`` from `activation_bytes`.

    ``precision`` is one of `PRECISIONS`, ``optimizer`` one of `STATES`; KeyError otherwise. PyTorch's AdamW also keeps
    a step count of 4 bytes for each tensor. Buffers, such as masks, are not counted.

    >>> training_memory(nn.Linear(3, 4))
    Memory(parameters=64, gradients=64, optimizer=136, activations=0)

    Built in notebooks/appendix/02x_shapes.ipynb.
    """
    n, (parameter, gradient, state, master) = parameters(model), PRECISIONS[precision]
    if isinstance(model, nn.Module):
        tensors = sum(1 for _ in model.parameters())
    else:
        tensors = sum(weight.stored for weight in weights(model))
    steps = 4 * tensors if optimizer == "adamw" else 0
    return Memory(n * parameter, n * gradient, n * (STATES[optimizer] * state + master) + steps, activations)


# %% [markdown]
# ### Activations
#
# For a block of a GPT the lecture counted $16d + HT$ numbers per token. Here the same for other blocks: RMSNorm keeps its
# normalised input besides, a GLU keeps four vectors of width $d_\text{ff}$, cross-attention keeps keys of the source.


# %%
#| export
def _kept_by_norm(s: ModelShape, n: int, itemsize: int) -> int:
    """LayerNorm keeps input, output, mean and deviation; RMSNorm in plain PyTorch its normalised input besides."""
    if s.bias and s.norm_bias is not False:
        return n * (2 * s.d_model * itemsize + 8)
    return n * (3 * s.d_model * itemsize + 4)


def _kept_by_attention(s: ModelShape, n: int, m: int, itemsize: int, recompute: str) -> int:
    """n queries and m keys; keys and values stand there once for each query head."""
    scores = 4 * s.num_heads * n if recompute == "attention" else s.num_heads * n * m * itemsize
    return 2 * (n + m) * s.q_width * itemsize + scores


def _kept_by_block(s: ModelShape, n: int, m: int, cross: bool, itemsize: int, recompute: str) -> int:
    """One sequence of n tokens, with a source of m tokens for cross-attention."""
    kept = _kept_by_attention(s, n, n, itemsize, recompute) + (s.norms_per_block + cross) * _kept_by_norm(
        s, n, itemsize
    )
    kept += n * s.top_k * s.d_ff * (4 if s.glu else 2) * itemsize
    return kept + (_kept_by_attention(s, n, m, itemsize, recompute) if cross else 0)


# %%
#| export
def activation_bytes(
    shape: ModelShape, batch: int, seq: int, *, source_seq: int = 0, itemsize: int = 4, recompute: str = "none"
) -> int:
    """Bytes kept for the backward pass of a pre-norm model without dropout, log-probabilities and labels included.

    ``recompute`` as in `backward_flops`: "attention" keeps no probabilities, only their row sums; "block" keeps the
    inputs of the blocks, and while one block runs again, what that one keeps. QK-norm and routing are not included.

    >>> f"{activation_bytes(GPT2_XL, batch=1, seq=1024, itemsize=2):.3g}"
    '5.25e+09'

    Built in notebooks/appendix/02x_shapes.ipynb.
    """
    if recompute not in RECOMPUTE:
        raise ValueError(f"recompute is {recompute!r}, not one of {RECOMPUTE}")
    s, kept, largest = shape, seq * (4 * shape.vocab_size + 8), 0
    cross = s.num_encoder_layers > 0
    for layers, n, crossed in ((s.num_encoder_layers, source_seq, False), (s.num_layers, seq, cross)):
        block = _kept_by_block(s, n, source_seq, crossed, itemsize, recompute)
        entered = n * s.d_model * itemsize
        kept += layers * (entered if recompute == "block" else block)
        kept += s.outer_norms * _kept_by_norm(s, n, itemsize) if layers else 0
        largest = max(largest, block - entered if recompute == "block" and layers else 0)
    return batch * (kept + largest) + 4  # how many labels there are


# %% [markdown]
# ### The KV cache
#
# When a model writes, each new token attends to all tokens before it. Their keys and values are kept (KV 缓存).


# %%
#| export
def kv_cache_bytes(shape: ModelShape, batch: int, seq: int, *, source_seq: int = 0, itemsize: int = 2) -> int:
    """Bytes of the keys and values of ``seq`` tokens, and of a source for cross-attention: 2 L d_kv each.

    >>> kv_cache_bytes(GPT2_XL, batch=1, seq=1024) == 2 * 48 * 1600 * 1024 * 2
    True

    Built in notebooks/appendix/02x_shapes.ipynb.
    """
    return 2 * shape.num_layers * shape.kv_width * batch * (seq + source_seq) * itemsize


# %% [markdown]
# **Predict.** Llama 2 70B at 4,096 tokens, 8 key-value heads of 128, 16 bits: how many GB of cache for one user?

# %%
guess = None  # GB

gqa, mha = (kv_cache_bytes(replace(LLAMA_2_70B, num_kv_heads=n), 1, 4_096) / 1e9 for n in (8, 64))
because = {"too small": "keys and values, 80 blocks, two bytes each", 10.7: "that is with 64 key-value heads"}
reveal("GB", gqa, guess, because=because, within=1.1, shown=f"{gqa:.2f}")
print(f"with 64 key-value heads: {mha:.2f} GB")
assert gqa * 1e9 == 2 * 80 * 8 * 128 * 4_096 * 2 and mha == 8 * gqa
step = forward_flops(LLAMA_2_70B, batch=1, seq=1, past=4_095)
active = active_parameters(LLAMA_2_70B)
print(
    f"one new token: {step.total / 1e9:.0f} GFLOPs; twice the {active / 1e9:.1f}e9 weights are {2 * active / 1e9:.0f}"
)
assert 1 < step.total / (2 * active) < 1.1

# %%
rows = [(seq, recompute) for seq in (1_024, 4_096) for recompute in RECOMPUTE]
fig, ax = axes(xlabel="memory for one sequence (GB)", ylabel="context, what is computed again", size=(7, 3.4))
for row, (seq, recompute) in enumerate(rows):
    kept = activation_bytes(GPT2_XL, 1, seq, itemsize=2, recompute=recompute)
    memory, left = training_memory(GPT2_XL, precision="mixed", activations=kept), 0
    for kind, color in zip(("parameters", "gradients", "optimizer", "activations"), COLORS.values()):
        size = getattr(memory, kind) / 1e9
        ax.barh(row, size, left=left, color=color, label=kind if row == 0 else None)
        left += size
ax.set(yticks=range(len(rows)), yticklabels=[f"{seq:,}, {recompute}" for seq, recompute in rows])
ax.invert_yaxis()
ax.set_title("GPT-2 XL in mixed precision: what fills the memory")
finish(fig)

# %% [markdown]
# ## Limits
#
# QK-norm and routing are counted in parameters and FLOPs, not in activations. Buffers, such as masks, are not counted.
# Position schemes that multiply tables inside attention (Shaw's) are not counted. In the full repository,
# `tests/lectures/test_accounting.py` compares six plainly written models with PyTorch's counter, with what is allocated and with
# what autograd keeps.
