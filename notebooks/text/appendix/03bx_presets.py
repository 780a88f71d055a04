# ---
# jupyter:
#   kernelspec: {display_name: Python 3, language: python, name: python3}
#   cs336lite: {module: presets, minutes: 1, prerequisites: [03b_variants], device: CPU}
# ---

# %% [markdown]
# # 03bx · Every model of the course, as a configuration (appendix of lecture 03b)
#
# {badge} · prerequisites: [03b · one model with every switch](../03b_variants.ipynb) · device: CPU
#
# Lecture 03b has one model with a switch for everything that changed since 2017. Here the models that have names (预设)
# are written down as settings of these switches, so that you can hold each line against its paper. Their parameters
# are counted beside the published numbers, and what a model has that ours cannot express is said. This appendix builds
# `cs336lite.presets`, from which later lectures and the tests take their models.

# %%
import numpy as np
import torch
from IPython.display import Markdown, display

from cs336lite.accounting import counted_flops, parameters
from cs336lite.course import whose
from cs336lite.course.diagram import Diagram
from cs336lite.course.hugging_face import WithoutMemory
from cs336lite.course.measure import reveal
from cs336lite.course.plot import COLORS, axes, finish
from cs336lite.layers import LayerNorm
from cs336lite.model import Transformer

READY = whose("attention", "rope", lecture="03bx_presets")
YOURS = "this runs on your attention and your RoPE: do check('a2_attention') and check('a3_rope') pass?"

# %% [markdown]
# ## 1 · From a paper to a configuration
#
# **How do you read a model off its paper?** Take Llama 2 7B (arXiv 2307.09288). Table 1 and the released `params.json`
# give sizes; the rest stands in sentences.
#
# | the paper says | the configuration says |
# |---|---|
# | 32 layers, dimension 4,096, 32 heads | `num_layers=32, d_model=4_096, num_heads=32` |
# | a context of 4k, a vocabulary of 32k | `context_length=4_096, vocab_size=32_000` |
# | pre-normalization with RMSNorm | nothing: the plain model has `norm="rmsnorm", norm_placement="pre"` |
# | SwiGLU, two thirds of $4d$ wide, rounded up to a multiple of 256 | `d_ff=11_008`; SwiGLU is plain, too |
# | rotary embeddings | `positions="rope_half"`, the layout of the files on the Hugging Face Hub |
# | grouped-query attention in the 34B and the 70B | nothing: a pair of key and value heads for each query head is plain |
#
# Does that make 6.7 billion? By hand: a block has $4d^2$ for attention, $3d \cdot 11{,}008$ for gate, up and down, and
# two norms of $d$: $67{,}108{,}864 + 135{,}266{,}304 + 8{,}192 = 202{,}383{,}360$. Times 32, with two tables of
# $32{,}000 \cdot d$ and the last norm: 6,738,415,616. The files on the Hub hold exactly as many numbers.
#
# ## 2 · The table
#
# What a family has in common is written once; each row adds the sizes of one model. Whatever is not named is plain:
# pre-norm, RMSNorm, SwiGLU, RoPE, no biases, serial blocks, as many heads of keys and values as of queries, an output
# matrix of its own.


# %%
#| export
"""Models that have names (预设), as configurations of `cs336lite.model.Transformer`.

`PRESETS` holds the configurations, `SOURCES` where they are published, `PUBLISHED` how many parameters the models are said
to have, `LEFT_OUT` what a model has that its configuration cannot say. `tiny` makes one small. Weights are read by
`cs336lite.course.hugging_face`. No preset has dropout, which is a matter of training.

Built in notebooks/appendix/03bx_presets.ipynb.
"""

import difflib
import math
from functools import partial
from typing import Any

from cs336lite.layers import RMSNorm
from cs336lite.model import TransformerConfig

SOURCES: dict[str, str] = {}
"""Where each configuration is published."""

# %% [markdown]
# ### Until 2019: two stacks, and GPT-2

# %%
#| export
VASWANI = {
    "transformer-base": TransformerConfig(
        vocab_size=37_000, context_length=512, d_model=512, num_layers=6, num_encoder_layers=6, num_heads=8, d_ff=2_048,
        norm="layernorm", norm_placement="post", bias=True, activation="relu", positions="sinusoidal",
        tied_embeddings=True, embedding_scale=512**0.5,
    ),
}  # fmt: skip
SOURCES |= dict.fromkeys(VASWANI, "arXiv 1706.03762, table 3")

_gpt2 = dict(
    vocab_size=50_257, context_length=1_024, norm="layernorm", bias=True, activation="gelu_tanh", positions="learned",
    tied_embeddings=True,
)  # fmt: skip
GPT2 = {
    "gpt2": TransformerConfig(d_model=768, num_layers=12, num_heads=12, d_ff=3_072, **_gpt2),
    "gpt2-medium": TransformerConfig(d_model=1_024, num_layers=24, num_heads=16, d_ff=4_096, **_gpt2),
    "gpt2-large": TransformerConfig(d_model=1_280, num_layers=36, num_heads=20, d_ff=5_120, **_gpt2),
    "gpt2-xl": TransformerConfig(d_model=1_600, num_layers=48, num_heads=25, d_ff=6_400, **_gpt2),
}
SOURCES |= dict.fromkeys(
    GPT2, "Radford et al. 2019, Language Models are Unsupervised Multitask Learners, table 2; github.com/openai/gpt-2"
)

_xl = dict(
    vocab_size=204, context_length=512, num_heads=8, norm="layernorm", norm_placement="post", bias=True,
    activation="relu", positions="transformer_xl", tied_embeddings=True,
)  # fmt: skip
TRANSFORMER_XL = {
    "transformer-xl-enwik8-12l": TransformerConfig(
        d_model=512, num_layers=12, d_head=64, d_ff=2_048, embedding_scale=512**0.5, **_xl
    ),
    "transformer-xl-enwik8-24l": TransformerConfig(
        d_model=1_024, num_layers=24, d_head=128, d_ff=3_072, embedding_scale=32.0, **_xl
    ),
}
SOURCES |= dict.fromkeys(
    TRANSFORMER_XL, "arXiv 1901.02860, table 2; the scripts of github.com/kimiyoung/transformer-xl"
)

# %% [markdown]
# T5 has as many blocks that read as blocks that write. Its queries are not divided by $\sqrt{d}$, and the tied output
# layer reads vectors divided by $\sqrt{d_\text{model}}$. Version 1.1 has a gate, and an output matrix of its own.

# %%
#| export
_t5 = dict(
    vocab_size=32_128, context_length=512, norm_eps=1e-6, activation="relu", positions="t5", tied_embeddings=True,
)  # fmt: skip
_t5_v1_1 = _t5 | dict(activation="geglu_tanh", tied_embeddings=False)
T5 = {
    "t5-small": TransformerConfig(
        d_model=512, num_layers=6, num_encoder_layers=6, num_heads=8, d_head=64, d_ff=2_048, output_scale=512**-0.5, **_t5
    ),
    "t5-base": TransformerConfig(
        d_model=768, num_layers=12, num_encoder_layers=12, num_heads=12, d_head=64, d_ff=3_072, output_scale=768**-0.5, **_t5
    ),
    "t5-large": TransformerConfig(
        d_model=1_024, num_layers=24, num_encoder_layers=24, num_heads=16, d_head=64, d_ff=4_096, output_scale=1 / 32, **_t5
    ),
    "t5-3b": TransformerConfig(
        d_model=1_024, num_layers=24, num_encoder_layers=24, num_heads=32, d_head=128, d_ff=16_384, output_scale=1 / 32, **_t5
    ),
    "t5-11b": TransformerConfig(
        d_model=1_024, num_layers=24, num_encoder_layers=24, num_heads=128, d_head=128, d_ff=65_536, output_scale=1 / 32,
        **_t5,
    ),
}  # fmt: skip
SOURCES |= dict.fromkeys(T5, "arXiv 1910.10683, section 3.7")
T5_V1_1 = {
    "t5-v1.1-small": TransformerConfig(
        d_model=512, num_layers=8, num_encoder_layers=8, num_heads=6, d_head=64, d_ff=1_024, **_t5_v1_1
    ),
    "t5-v1.1-base": TransformerConfig(
        d_model=768, num_layers=12, num_encoder_layers=12, num_heads=12, d_head=64, d_ff=2_048, **_t5_v1_1
    ),
    "t5-v1.1-large": TransformerConfig(
        d_model=1_024, num_layers=24, num_encoder_layers=24, num_heads=16, d_head=64, d_ff=2_816, **_t5_v1_1
    ),
    "t5-v1.1-xl": TransformerConfig(
        d_model=2_048, num_layers=24, num_encoder_layers=24, num_heads=32, d_head=64, d_ff=5_120, **_t5_v1_1
    ),
    "t5-v1.1-xxl": TransformerConfig(
        d_model=4_096, num_layers=24, num_encoder_layers=24, num_heads=64, d_head=64, d_ff=10_240, **_t5_v1_1
    ),
}
SOURCES |= dict.fromkeys(
    T5_V1_1, "released_checkpoints.md of github.com/google-research/text-to-text-transfer-transformer"
)

# %% [markdown]
# ### 2021 to 2023: GLM, PaLM, BLOOM, StarCoder
#
# Each of them moves another switch. GLM reads a prefix from both sides and has two positions for each token
# ([03x](03x_positions.ipynb)); GLM-130B stayed post-norm. PaLM's blocks are parallel and
# share one head of keys and values. BLOOM has ALiBi, and one more norm on its embeddings.

# %%
#| export
GLM = {
    "glm-10b": TransformerConfig(
        vocab_size=50_304, context_length=1_024, d_model=4_096, num_layers=48, num_heads=64, d_ff=16_384,
        norm="layernorm", bias=True, activation="gelu_tanh", positions="glm", mask="prefix", tied_embeddings=True,
    ),
    "glm-130b": TransformerConfig(
        vocab_size=150_528, context_length=2_048, d_model=12_288, num_layers=70, num_heads=96, d_ff=32_768,
        norm="layernorm", norm_placement="post", bias=True, activation="geglu", positions="rope_half", mask="prefix",
        tied_embeddings=True,
    ),
    "chatglm2-6b": TransformerConfig(
        vocab_size=65_024, context_length=32_768, d_model=4_096, num_layers=28, num_heads=32, num_kv_heads=2,
        d_ff=13_696, qkv_bias=True, rotary_dim=64,
    ),
}  # fmt: skip
SOURCES |= {
    "glm-10b": "arXiv 2103.10360; github.com/THUDM/GLM",
    "glm-130b": "arXiv 2210.02414, section 2; configs/model_glm_130b.sh of github.com/THUDM/GLM-130B",
    "chatglm2-6b": "config.json of huggingface.co/THUDM/chatglm2-6b",
}

_palm = dict(
    vocab_size=256_000, context_length=2_048, d_head=256, num_kv_heads=1, norm="layernorm", parallel=True,
    tied_embeddings=True,
)  # fmt: skip
PALM = {
    "palm-8b": TransformerConfig(d_model=4_096, num_layers=32, num_heads=16, d_ff=16_384, **_palm),
    "palm-62b": TransformerConfig(d_model=8_192, num_layers=64, num_heads=32, d_ff=32_768, **_palm),
    "palm-540b": TransformerConfig(d_model=18_432, num_layers=118, num_heads=48, d_ff=73_728, **_palm),
}
SOURCES |= dict.fromkeys(PALM, "arXiv 2204.02311, table 1")

BIGSCIENCE_AND_BIGCODE = {
    "bloom-176b": TransformerConfig(
        vocab_size=250_880, context_length=2_048, d_model=14_336, num_layers=70, num_heads=112, d_ff=57_344,
        norm="layernorm", bias=True, activation="gelu_tanh", positions="alibi", embedding_norm=True, tied_embeddings=True,
    ),
    "starcoder": TransformerConfig(
        vocab_size=49_152, context_length=8_192, d_model=6_144, num_layers=40, num_heads=48, num_kv_heads=1, d_ff=24_576,
        norm="layernorm", bias=True, activation="gelu", positions="learned", tied_embeddings=True,
    ),
}  # fmt: skip
SOURCES |= {"bloom-176b": "arXiv 2211.05100, table 3", "starcoder": "arXiv 2305.06161, table 6"}

# %% [markdown]
# ### Llama and after
#
# From Llama on models are plain but for a switch or two. The layout of RoPE is that of the Hugging Face Hub,
# `rope_half`; Meta's own files hold the interleaved one.

# %%
#| export
_llama = dict(vocab_size=32_000, context_length=2_048, norm_eps=1e-6, positions="rope_half")
LLAMA = {
    "llama-7b": TransformerConfig(d_model=4_096, num_layers=32, num_heads=32, d_ff=11_008, **_llama),
    "llama-13b": TransformerConfig(d_model=5_120, num_layers=40, num_heads=40, d_ff=13_824, **_llama),
    "llama-33b": TransformerConfig(d_model=6_656, num_layers=60, num_heads=52, d_ff=17_920, **_llama),
    "llama-65b": TransformerConfig(d_model=8_192, num_layers=80, num_heads=64, d_ff=22_016, **_llama),
}
SOURCES |= dict.fromkeys(LLAMA, "arXiv 2302.13971, table 2")

_llama2 = dict(vocab_size=32_000, context_length=4_096, positions="rope_half")
LLAMA2 = {
    "llama2-7b": TransformerConfig(d_model=4_096, num_layers=32, num_heads=32, d_ff=11_008, **_llama2),
    "llama2-13b": TransformerConfig(d_model=5_120, num_layers=40, num_heads=40, d_ff=13_824, **_llama2),
    "llama2-70b": TransformerConfig(d_model=8_192, num_layers=80, num_heads=64, num_kv_heads=8, d_ff=28_672, **_llama2),
}
SOURCES |= dict.fromkeys(LLAMA2, "arXiv 2307.09288, table 1; the released params.json")

_llama3 = dict(vocab_size=128_256, context_length=8_192, rope_theta=500_000.0, positions="rope_half", num_kv_heads=8)
LLAMA3 = {
    "llama3-8b": TransformerConfig(d_model=4_096, num_layers=32, num_heads=32, d_ff=14_336, **_llama3),
    "llama3-70b": TransformerConfig(d_model=8_192, num_layers=80, num_heads=64, d_ff=28_672, **_llama3),
}
SOURCES |= dict.fromkeys(LLAMA3, "arXiv 2407.21783, table 3")

# %%
#| export
_gemma2 = dict(
    vocab_size=256_000, context_length=8_192, d_head=256, norm_placement="double", norm_eps=1e-6,
    activation="geglu_tanh", positions="rope_half", tied_embeddings=True, output_cap=30.0,
)  # fmt: skip
AFTER_LLAMA = {
    "mistral-7b": TransformerConfig(
        vocab_size=32_768, context_length=32_768, d_model=4_096, num_layers=32, num_heads=32, num_kv_heads=8,
        d_ff=14_336, rope_theta=1e6, positions="rope_half",
    ),
    "qwen2-7b": TransformerConfig(
        vocab_size=152_064, context_length=131_072, d_model=3_584, num_layers=28, num_heads=28, num_kv_heads=4,
        d_ff=18_944, norm_eps=1e-6, rope_theta=1e6, positions="rope_half", qkv_bias=True,
    ),
    "qwen3-8b": TransformerConfig(
        vocab_size=151_936, context_length=40_960, d_model=4_096, num_layers=36, num_heads=32, num_kv_heads=8,
        d_ff=12_288, norm_eps=1e-6, rope_theta=1e6, positions="rope_half", qk_norm=partial(RMSNorm, eps=1e-6),
    ),
    "gemma2-2b": TransformerConfig(
        d_model=2_304, num_layers=26, num_heads=8, num_kv_heads=4, d_ff=9_216, embedding_scale=2_304**0.5, **_gemma2
    ),
    "gemma2-9b": TransformerConfig(
        d_model=3_584, num_layers=42, num_heads=16, num_kv_heads=8, d_ff=14_336, embedding_scale=3_584**0.5, **_gemma2
    ),
    "olmo2-7b": TransformerConfig(
        vocab_size=100_352, context_length=4_096, d_model=4_096, num_layers=32, num_heads=32, d_ff=11_008,
        norm_placement="branch", norm_eps=1e-6, rope_theta=500_000.0, positions="rope_half",
        qk_norm=partial(RMSNorm, eps=1e-6), qk_norm_across_heads=True,
    ),
}  # fmt: skip
SOURCES |= {
    "mistral-7b": "arXiv 2310.06825; config.json of huggingface.co/mistralai/Mistral-7B-v0.3, which has no sliding window",
    "qwen2-7b": "arXiv 2407.10671, table 1; config.json of huggingface.co/Qwen/Qwen2-7B",
    "qwen3-8b": "arXiv 2505.09388, table 1; config.json of huggingface.co/Qwen/Qwen3-8B",
    "gemma2-2b": "arXiv 2408.00118, table 1; config.json of huggingface.co/google/gemma-2-2b",
    "gemma2-9b": "arXiv 2408.00118, table 1; config.json of huggingface.co/google/gemma-2-9b",
    "olmo2-7b": "arXiv 2501.00656; config.json of huggingface.co/allenai/OLMo-2-1124-7B",
}

# %%
#| export
PRESETS: dict[str, TransformerConfig] = {
    **VASWANI, **TRANSFORMER_XL, **GPT2, **T5, **T5_V1_1, **GLM, **PALM, **BIGSCIENCE_AND_BIGCODE, **LLAMA, **LLAMA2,
    **LLAMA3, **AFTER_LLAMA,
}  # fmt: skip
"""Configurations by name."""

LEFT_OUT = {
    "glm-130b": "DeepNorm: the stream is multiplied by (2 · 70) ** 0.5 before each addition",
    "gemma2-2b": "a cap of 50 on the scores of attention (lecture 05 has one), and a window of 4,096 tokens in every "
    "second layer",
    "gemma2-9b": "a cap of 50 on the scores of attention (lecture 05 has one), and a window of 4,096 tokens in every "
    "second layer",
}
"""What a model has that its configuration cannot say."""


# %% folded=true
#| export
_HUB = "tensors of huggingface.co/"
_KERAS = "model card of the Keras port of "
PUBLISHED: dict[str, tuple[int, int, str]] = {
    "transformer-base": (65_000_000, 1_000_000, "arXiv 1706.03762, table 3"),
    "transformer-xl-enwik8-12l": (41_000_000, 1_000_000, "arXiv 1901.02860, table 2"),
    "transformer-xl-enwik8-24l": (277_000_000, 1_000_000, "arXiv 1901.02860, table 2"),
    "gpt2": (124_439_808, 1, f"{_HUB}openai-community/gpt2"),
    "gpt2-medium": (354_823_168, 1, f"{_HUB}openai-community/gpt2-medium"),
    "gpt2-large": (774_030_080, 1, f"{_HUB}openai-community/gpt2-large"),
    "gpt2-xl": (1_557_611_200, 1, f"{_HUB}openai-community/gpt2-xl"),
    "t5-small": (60_506_624, 1, f"{_HUB}google-t5/t5-small; the paper says 60 million"),
    "t5-base": (222_903_552, 1, f"{_HUB}google-t5/t5-base; the paper says 220 million"),
    "t5-large": (737_668_096, 1, f"{_HUB}google-t5/t5-large; the paper says 770 million"),
    "t5-3b": (2_851_598_336, 1, f"{_KERAS}t5_3b; the paper says 2.8 billion"),
    "t5-11b": (11_307_321_344, 1, f"{_HUB}google-t5/t5-11b; the paper says 11 billion"),
    "t5-v1.1-small": (76_961_152, 1, f"{_HUB}google/t5-v1_1-small"),
    "t5-v1.1-base": (247_577_856, 1, f"{_HUB}google/t5-v1_1-base"),
    "t5-v1.1-large": (783_150_080, 1, f"{_HUB}google/t5-v1_1-large"),
    "t5-v1.1-xl": (2_849_757_184, 1, f"{_KERAS}t5_1.1_xl"),
    "t5-v1.1-xxl": (11_135_332_352, 1, f"{_KERAS}t5_1.1_xxl"),
    "glm-10b": (10_000_000_000, 1_000_000_000, "github.com/THUDM/GLM, table of models"),
    "glm-130b": (130_000_000_000, 10_000_000_000, "arXiv 2210.02414, abstract"),
    "chatglm2-6b": (6_243_584_000, 1, f"{_HUB}THUDM/chatglm2-6b"),
    "palm-8b": (8_630_000_000, 10_000_000, "arXiv 2204.02311, table 1"),
    "palm-62b": (62_500_000_000, 10_000_000, "arXiv 2204.02311, table 1"),
    "palm-540b": (540_350_000_000, 10_000_000, "arXiv 2204.02311, table 1"),
    "bloom-176b": (176_247_271_424, 1, "model card of huggingface.co/bigscience/bloom"),
    "starcoder": (15_517_456_384, 1, f"{_HUB}bigcode/starcoder; the paper says 15.5B"),
    "llama-7b": (6_738_415_616, 1, f"{_HUB}huggyllama/llama-7b; the paper says 6.7B"),
    "llama-13b": (13_015_864_320, 1, f"{_HUB}huggyllama/llama-13b; the paper says 13.0B"),
    "llama-33b": (32_528_943_616, 1, f"{_HUB}huggyllama/llama-30b; the paper says 32.5B"),
    "llama-65b": (65_285_660_672, 1, f"{_HUB}huggyllama/llama-65b; the paper says 65.2B"),
    "llama2-7b": (6_738_415_616, 1, f"{_HUB}meta-llama/Llama-2-7b-hf"),
    "llama2-13b": (13_015_864_320, 1, f"{_HUB}meta-llama/Llama-2-13b-hf"),
    "llama2-70b": (68_976_648_192, 1, f"{_HUB}meta-llama/Llama-2-70b-hf"),
    "llama3-8b": (8_030_261_248, 1, f"{_HUB}meta-llama/Meta-Llama-3-8B"),
    "llama3-70b": (70_553_706_496, 1, f"{_HUB}meta-llama/Meta-Llama-3-70B"),
    "mistral-7b": (7_248_023_552, 1, f"{_HUB}mistralai/Mistral-7B-v0.3"),
    "qwen2-7b": (7_615_616_512, 1, f"{_HUB}Qwen/Qwen2-7B"),
    "qwen3-8b": (8_190_735_360, 1, f"{_HUB}Qwen/Qwen3-8B"),
    "gemma2-2b": (2_614_341_888, 1, f"{_HUB}google/gemma-2-2b"),
    "gemma2-9b": (9_241_705_984, 1, f"{_HUB}google/gemma-2-9b"),
    "olmo2-7b": (7_298_617_344, 1, f"{_HUB}allenai/OLMo-2-1124-7B"),
}
"""(parameters as published, what one in the last printed digit is worth, where): within that, ours should agree."""


# %%
#| export
def preset(name: str) -> TransformerConfig:
    """The configuration of this name. ValueError for an unknown one, which names those that are close.

    >>> preset("llama2-70b").num_kv_heads
    8
    """
    if name not in PRESETS:
        close = difflib.get_close_matches(name.lower(), PRESETS, n=4) or list(PRESETS)
        raise ValueError(f"there is no preset {name!r}; there is {', '.join(close)}")
    return PRESETS[name]


# %% [markdown]
# ## 3 · Are these the models?
#
# **How would you notice a wrong line?** Count. A model that has the published number of parameters to the last digit
# has the right sizes in the right places; almost every slip, such as a bias too many, shows. On PyTorch's *meta*
# device tensors have shapes and no memory, so even 540 billion parameters can be built and counted.
#
# What a count does not see: the order of the parts, the activation, RoPE's layout, where norms stand. The tests
# therefore load random weights of Hugging Face's own classes into small models of most of these families, and compare
# the logits.
#
# **Predict.** Of the 40 models, how many have the published number, as far as it is printed?

# %%
guess = None  # models


def counted(name: str) -> int:
    """The parameters of a preset, built without memory."""
    with torch.device("meta"), WithoutMemory():
        return parameters(Transformer(PRESETS[name]))


if READY.or_show("published"):
    COUNTS = {name: counted(name) for name in PRESETS}
    agree = [name for name, n in COUNTS.items() if abs(n - PUBLISHED[name][0]) < PUBLISHED[name][1]]
    assert all(n == parameters(PRESETS[name].shape) for name, n in COUNTS.items()), YOURS  # two ways to count

# %% folded=true
# run this cell to compare your guess
if READY.or_show("published, compared"):
    reveal(f"of {len(PRESETS)} models agree", len(agree), guess, within=1.05)

    def printed(name: str) -> str:
        number, digit, _ = PUBLISHED[name]
        unit, word = (1e9, "billion") if number >= 1e9 else (1e6, "million")
        return f"{number:,}" if digit == 1 else f"{number / unit:.10g} {word}"

    rows = [
        f"| {name} | {printed(name)} | {n:,} | {'' if name in agree else f'{100 * (n / PUBLISHED[name][0] - 1):+.4g} %'} "
        f"| {SOURCES[name]} | {PUBLISHED[name][2]} |"
        for name, n in COUNTS.items()
    ]
    head = ["| model | published | ours | differs | configuration from | number from |", "|:--|--:|--:|--:|:--|:--|"]
    display(Markdown("\n".join(head + rows)))

# %% [markdown]
# One does not agree. The paper of 2017 prints 65 million and "about 37,000" tokens, which give 63; 65 million would take
# 40,700 tokens, and the paper's larger model 36,000, so no vocabulary makes both.
#
# That the numbers agree does not say that the model is all there:

# %%
display(
    Markdown(
        "\n".join(
            ["| model | what our configuration leaves out |", "|:--|:--|"]
            + [f"| {name} | {what} |" for name, what in LEFT_OUT.items()]
        )
    )
)

# %% [markdown]
# ### Where the parameters are
#
# **Predict.** In which of these models are embeddings, with the output matrix, the largest share of all parameters?
# About how large?
#
# And a habit of size: the *aspect ratio* (宽深比) is $d_\text{model}$ over the number of layers. How many of the 40 lie
# between 100 and 200, where GPT-3 and Llama are?

# %%
guess_share = guess_aspect = None  # (a name of the table, percent); a number of models

if READY.or_show("shares"):
    share = {
        name: 100 * c.vocab_size * c.d_model * (1 if c.tied_embeddings else 2) / COUNTS[name]
        for name, c in PRESETS.items()
    }
    aspect = {name: c.d_model / c.num_layers for name, c in PRESETS.items()}
    most = max(share, key=share.get)
    between = sum(100 <= ratio <= 200 for ratio in aspect.values())

# %% folded=true
# run this cell to compare your guess
if READY.or_show("shares, compared"):
    reveal("most embeddings, percent", (most, round(share[most])), guess_share, within=1.15)
    reveal("between 100 and 200", between, guess_aspect, within=1.15)
    fig, panels = axes(1, 2, xlabel="parameters", ylabel="", size=(10, 4.2))
    wide, deep = panels
    for family, color in (("gpt2", "blue"), ("t5-", "orange"), ("llama", "vermillion"), ("", "grey")):
        names = [
            name
            for name in PRESETS
            if name.startswith(family) and (family or not name.startswith(("gpt2", "t5-", "llama")))
        ]
        tone = "#888888" if color == "grey" else COLORS[color]
        label = {"gpt2": "GPT-2", "t5-": "T5", "llama": "Llama 1 to 3", "": "others"}[family]
        for ax, values in ((wide, share), (deep, aspect)):
            ax.plot([COUNTS[n] for n in names], [values[n] for n in names], "o", color=tone, markersize=5, label=label)
    wide.set(
        xscale="log",
        ylabel="embeddings and output (percent of parameters)",
        title="Embeddings: less, the larger a model is",
    )
    deep.set(
        xscale="log",
        yscale="log",
        ylabel="aspect ratio (d_model / layers)",
        title="Width over depth; grey: 100 to 200",
    )
    deep.axhspan(100, 200, color="#DDDDDD", zorder=0)
    deep.set_yticks([25, 50, 100, 200], labels=["25", "50", "100", "200"])
    deep.minorticks_off()
    wide.legend(fontsize=9)
    display(finish(fig))

# %% [markdown]
# Tables grow with $d$ and blocks with $d^2$, so the share of embeddings falls with size; Gemma's 256,000 tokens are
# still a fifth of its 2B model, where one table serves for both ends. The grey band on the right is 100 to 200. All of
# GPT-2 and most of T5 lie below it, and BLOOM, just above, is the widest for its depth. The two models with next to no
# embeddings are the Transformer-XLs, which read characters.
#
# ## 4 · A family tree, computed
#
# **What did each model change?** Compare its configuration with the plain one, and leave out the sizes: what remains
# is what the model is known for.


# %%
SIZES = {"vocab_size", "context_length", "d_model", "num_layers", "num_heads", "d_ff", "d_head", "norm_eps", "init_std"}
PLAIN = PRESETS["llama-7b"]


def said(value: object) -> str:
    if isinstance(value, partial):
        return value.func.__name__
    return (f"{value:,.0f}" if value >= 1_000 else f"{value:.4g}") if isinstance(value, float) else str(value)


def switches(before: TransformerConfig, after: TransformerConfig) -> dict[str, tuple[str, str]]:
    """The fields that differ and are no sizes, each with its two values; RoPE's two layouts are one scheme."""
    before, after = (c.replace(positions="rope") if c.positions == "rope_half" else c for c in (before, after))
    pairs = {f: (getattr(before, f), getattr(after, f)) for f in before.__dataclass_fields__ if f not in SIZES}
    return {field: (said(a), said(b)) for field, (a, b) in pairs.items() if a != b}


# %%
ONE_OF_EACH = (
    "transformer-base", "gpt2", "t5-small", "t5-v1.1-small", "transformer-xl-enwik8-12l", "palm-540b", "bloom-176b",
    "starcoder", "glm-10b", "glm-130b", "llama-7b", "llama2-70b", "chatglm2-6b", "llama3-8b", "mistral-7b", "qwen2-7b",
    "qwen3-8b", "gemma2-9b", "olmo2-7b",
)  # fmt: skip
rows = []
for name in ONE_OF_EACH:
    changed = switches(PLAIN, PRESETS[name])
    rows.append(
        f"| {name} | {len(changed)} | {', '.join(f'{f} = {b}' for f, (_, b) in changed.items()) or 'is the plain one'} |"
    )
later = ONE_OF_EACH[ONE_OF_EACH.index("llama2-70b") :]
assert all(1 <= len(switches(PLAIN, PRESETS[name])) <= 6 for name in later)
display(
    Markdown("\n".join(["| model | switches | what differs from the plain one, Llama 7B |", "|:--|--:|:--|", *rows]))
)

# %% [markdown]
# Before Llama, models stand up to eight switches away from it, and no two are alike. From Llama 2 on it is one to six,
# most often shared heads, the base of RoPE (larger for a longer context), biases on queries and keys, or QK-norm. Gemma
# 2 is furthest: it keeps GELU, tied embeddings and the scale of 2017, and caps its logits.
#
# **Predict.** From the Transformer of 2017 to Llama 2 70B: how many switches are in another place? And from GPT-2 to
# Llama 7B?

# %%
guess = None  # (2017 to Llama 2 70B, GPT-2 to Llama 7B)

walks = [("transformer-base", "llama2-70b"), ("gpt2", "llama-7b")]
moved = [switches(PRESETS[a], PRESETS[b]) for a, b in walks]

# %% folded=true
# run this cell to compare your guess
reveal("switches", tuple(map(len, moved)), guess, within=1.15)
for (before, after), found in zip(walks, moved):
    print(f"\n{before} → {after}")
    for field, (a, b) in found.items():
        print(f"    {field:<20} {a} → {b}")

# %% [markdown]
# ## 5 · Two of the switches, tried
#
# ### Two stacks (编码器–解码器)
#
# The model of 2017 reads a source with an *encoder* that sees all of it, and writes with a *decoder*: causal attention
# to what has been written, then *cross-attention* (交叉注意力), whose queries come from the decoder and whose keys and
# values come from the encoder.

# %% folded=true
d = Diagram(80, 9.4)
source, target = d.row(2, 7.6, ["Das", "ist", "gut"], "grey"), d.row(44, 7.6, ["<s>", "That", "is"], "grey")
encoder = d.box(2, 4.4, "encoder: all see all", width=26, color="blue")
decoder = d.box(42, 4.4, "decoder: causal, then cross", width=34, color="vermillion")
words = d.row(44, 1, ["That", "is", "good"], "orange")
d.arrow(source.top, (source.top[0], 5.8), color="grey")
d.arrow(target.top, (target.top[0], 5.8), color="grey")
d.arrow(encoder.right, decoder.left, "k, v")
d.arrow((words.bottom[0], 4.4), words.bottom, "next tokens")
d.text(2, 3.4, "read once")
d.show()

# %% [markdown]
# **Predict.** Eight tokens have been written. Change the last token of the source, or the fifth that was written: in
# how many of the eight places do the logits change?

# %%
guess = None  # (source, written)


def tokens_like(config: TransformerConfig, batch: int = 1, seq: int = 8, seed: int = 0) -> torch.Tensor:
    return torch.randint(config.vocab_size, (batch, seq), generator=torch.Generator().manual_seed(seed))


# %%
#| export
def tiny(config: TransformerConfig | str, **changes: Any) -> TransformerConfig:
    """The same switches at a size that runs in milliseconds: two layers, four heads, d_model 32, context 32.

    Kept are what the heads share, the part of a head that turns, whether heads fill d_model, and d_ff / d_model.

    >>> tiny("llama2-70b").num_kv_heads, tiny("palm-540b").num_kv_heads, tiny("chatglm2-6b").rotary_dim
    (2, 1, 4)
    """
    c = preset(config) if isinstance(config, str) else config
    shrunk = math.sqrt(32 / c.d_model)
    d_head = None if c.num_heads * c.head_size == c.d_model else 12
    shared = c.num_kv_heads if c.num_kv_heads in (None, 1) else 4 if c.num_kv_heads == c.num_heads else 2
    small = dict(
        vocab_size=64, context_length=32, d_model=32, num_layers=2, num_heads=4, d_ff=round(32 * c.d_ff / c.d_model),
        num_kv_heads=shared, d_head=d_head, num_encoder_layers=2 if c.num_encoder_layers else 0,
        rotary_dim=c.rotary_dim and 2 * max(1, round((d_head or 8) * c.rotary_dim / c.head_size / 2)),
        embedding_scale=1.0 if c.embedding_scale == 1 else c.embedding_scale * shrunk,
        output_scale=1.0 if c.output_scale == 1 else c.output_scale / shrunk,
    )  # fmt: skip
    return c.replace(**small | changes)


# %%
if READY.or_show("encoder and decoder"):
    config = tiny("transformer-base")
    model = Transformer(config, torch.Generator().manual_seed(0)).eval()
    source, written = tokens_like(config, seq=6), tokens_like(config, seq=8, seed=1)
    with torch.no_grad():
        logits, places = model(written, source=source), []
        for which, place in ((source, 5), (written, 4)):
            other = which.clone()
            other[0, place] = (other[0, place] + 1) % config.vocab_size
            new = model(written, source=other) if which is source else model(other, source=source)
            places.append(int(((new - logits).abs().amax(dim=-1) > 1e-6).sum()))

# %% folded=true
# run this cell to compare your guess
if READY.or_show("encoder and decoder, compared"):
    because = {(1, 1): "what is changed is read by all places that come later, and the source by all"}
    reveal("places that change", tuple(places), guess, because=because, within=1)
    assert places == [8, 4], YOURS

# %% [markdown]
# All places read all of the source; of what was written, a place reads what is not after it: the fifth to the eighth
# are four.
#
# ### Parallel blocks (并行块)
#
# **Predict.** The same PaLM with serial and with parallel blocks: how many norms has a model of two blocks, and which
# of the two takes more FLOPs?

# %%
guess = None  # (norms if parallel, norms if serial)

if READY.or_show("serial and parallel"):
    both = {"parallel": tiny("palm-8b"), "serial": tiny("palm-8b", parallel=False)}
    built = {name: Transformer(config) for name, config in both.items()}
    norms = {name: sum(isinstance(part, LayerNorm) for part in model.modules()) for name, model in built.items()}
    x = tokens_like(both["serial"], seq=32)
    flops = {name: counted_flops(lambda model=model: model(x))[0] for name, model in built.items()}

# %% folded=true
# run this cell to compare your guess
if READY.or_show("serial and parallel, compared"):
    reveal(
        "norms",
        norms,
        guess,
        because={"parallel": {5: "attention and feed-forward share one"}}.get("parallel"),
        within=1,
    )
    print(f"FLOPs of 32 tokens: {flops['parallel']:,} parallel, {flops['serial']:,} serial")
    assert flops["parallel"] == flops["serial"] and norms == {"parallel": 3, "serial": 5}, YOURS
    assert parameters(built["serial"]) - parameters(built["parallel"]) == 2 * 32, YOURS  # the gains of two norms

# %% [markdown]
# A parallel block has one norm, and the FLOPs of matrices stay the same. What it saves is waiting: attention and
# feed-forward network read the same input, so their first matrices can be one product. PaLM's authors report training
# that is about 15 % faster at large scale, a small loss of quality at 8B and none at 62B (2204.02311, section 2). On
# two cores there is nothing to gain, so we do not measure time.
#
# ## Limits
#
# - Sizes and switches are here, and no training: data, learning rates and tokenizers make a model, too.
# - Mixtures of experts are in lecture 06, with their own table.
# - Gemma's norm multiplies by $1 + w$ where ours multiplies by $w$: the same function, other numbers in the file.
#
# ## Sources
#
# Beside each model, in `SOURCES` and `PUBLISHED`.
