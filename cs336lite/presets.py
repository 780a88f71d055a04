# Built from notebooks/text/appendix/03bx_presets.py by `cs336lite build`: edit that file, not this one.
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


def preset(name: str) -> TransformerConfig:
    """The configuration of this name. ValueError for an unknown one, which names those that are close.

    >>> preset("llama2-70b").num_kv_heads
    8
    """
    if name not in PRESETS:
        close = difflib.get_close_matches(name.lower(), PRESETS, n=4) or list(PRESETS)
        raise ValueError(f"there is no preset {name!r}; there is {', '.join(close)}")
    return PRESETS[name]


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
