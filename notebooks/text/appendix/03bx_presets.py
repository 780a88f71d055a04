# ---
# jupyter:
#   kernelspec: {display_name: Python 3, language: python, name: python3}
#   cs336lite: {module: presets, minutes: 1, prerequisites: [03b_variants], device: CPU}
# ---

# %% [markdown]
# # 03b·x · Every model of the course (appendix of lecture 03b)
#
# {badge} · prerequisites: [03b](../03b_variants.ipynb) · device: CPU

# %%
#| export presets
"""Models that have names (预设), as configurations of `cs336lite.model.Transformer`.

`PRESETS` holds the configurations and `SOURCES` where they are published; `tiny` makes one small. Their weights are read
by `cs336lite.course.hugging_face`.

Built in notebooks/appendix/03bx_presets.ipynb.
"""

import difflib
import math
from typing import Any

from cs336lite.model import TransformerConfig

# %%
#| export presets
_GPT2 = TransformerConfig(
    vocab_size=50_257, context_length=1_024, d_model=768, num_layers=12, num_heads=12, d_ff=3_072,
    norm="layernorm", bias=True, activation="gelu_tanh", positions="learned", tied_embeddings=True,
)  # fmt: skip
_LLAMA = TransformerConfig(
    vocab_size=32_000, context_length=2_048, d_model=4_096, num_layers=32, num_heads=32, d_ff=11_008,
    norm_eps=1e-6, positions="rope_half",  # Meta's own files hold the interleaved layout
)  # fmt: skip
_LLAMA2 = _LLAMA.replace(context_length=4_096, norm_eps=1e-5)
_PALM = TransformerConfig(
    vocab_size=256_000, context_length=2_048, d_model=4_096, num_layers=32, num_heads=16, num_kv_heads=1, d_ff=16_384,
    norm="layernorm", parallel=True, tied_embeddings=True,
)  # fmt: skip
_T5 = TransformerConfig(
    vocab_size=32_128, context_length=512, d_model=512, num_layers=6, num_encoder_layers=6, num_heads=8, d_head=64,
    d_ff=2_048, norm_eps=1e-6, activation="relu", positions="t5", tied_embeddings=True, output_scale=512**-0.5,
)  # fmt: skip
_T5_V1_1 = _T5.replace(activation="geglu_tanh", tied_embeddings=False, output_scale=1.0)
_TRANSFORMER_XL = TransformerConfig(
    vocab_size=204, context_length=512, d_model=512, num_layers=12, num_heads=8, d_head=64, d_ff=2_048,
    norm="layernorm", norm_placement="post", bias=True, activation="relu", positions="transformer_xl",
    tied_embeddings=True,
)  # fmt: skip

# %%
#| export presets
_WITHOUT_SISTERS = {
    "transformer-base": TransformerConfig(
        vocab_size=37_000, context_length=512, d_model=512, num_layers=6, num_encoder_layers=6, num_heads=8, d_ff=2_048,
        norm="layernorm", norm_placement="post", bias=True, activation="relu", positions="sinusoidal",
        tied_embeddings=True, embedding_scale=512**0.5,
    ),
    "chatglm2-6b": _LLAMA.replace(
        vocab_size=65_024, context_length=32_768, num_layers=28, num_kv_heads=2, d_ff=13_696, qkv_bias=True,
        norm_eps=1e-5, positions="rope", rotary_dim=64,
    ),
    "glm-10b": _GPT2.replace(
        vocab_size=50_304, d_model=4_096, num_layers=48, num_heads=64, d_ff=16_384, positions="glm", mask="prefix",
    ),
    "bloom-176b": _GPT2.replace(
        vocab_size=250_880, context_length=2_048, d_model=14_336, num_layers=70, num_heads=112, d_ff=57_344,
        positions="alibi", embedding_norm=True,
    ),
    "starcoder": _GPT2.replace(
        vocab_size=49_152, context_length=8_192, d_model=6_144, num_layers=40, num_heads=48, num_kv_heads=1, d_ff=24_576,
        activation="gelu",
    ),
}  # fmt: skip


# %%
#| export presets
def _sisters(base: TransformerConfig, fields: str, /, **sizes: tuple[int | float, ...]) -> dict[str, TransformerConfig]:
    """Models that differ from ``base`` in these fields; the underscores of a name stand for hyphens."""
    return {name.replace("_", "-"): base.replace(**dict(zip(fields.split(), given))) for name, given in sizes.items()}


_DECODERS = {
    **_sisters(
        _GPT2, "d_model num_layers num_heads d_ff", gpt2=(768, 12, 12, 3_072), gpt2_medium=(1_024, 24, 16, 4_096),
        gpt2_large=(1_280, 36, 20, 5_120), gpt2_xl=(1_600, 48, 25, 6_400),
    ),
    **_sisters(
        _LLAMA, "d_model num_layers num_heads d_ff", llama_7b=(4_096, 32, 32, 11_008),
        llama_13b=(5_120, 40, 40, 13_824), llama_33b=(6_656, 60, 52, 17_920), llama_65b=(8_192, 80, 64, 22_016),
    ),
    **_sisters(
        _LLAMA2, "d_model num_layers num_heads d_ff num_kv_heads", llama2_7b=(4_096, 32, 32, 11_008),
        llama2_13b=(5_120, 40, 40, 13_824), llama2_70b=(8_192, 80, 64, 28_672, 8),
    ),
    **_sisters(
        _PALM, "d_model num_layers num_heads d_ff d_head", palm_8b=(4_096, 32, 16, 16_384, 256),
        palm_62b=(8_192, 64, 32, 32_768, 256), palm_540b=(18_432, 118, 48, 73_728, 256),
    ),
}  # fmt: skip


# %%
#| export presets
def _t5(base: TransformerConfig, prefix: str, /, **sizes: tuple[int | float, ...]) -> dict[str, TransformerConfig]:
    """T5 in sizes (d_model, layers, heads, d_ff, d_head): as many layers that read as that write."""
    made = _sisters(base, "d_model num_layers num_heads d_ff d_head", **sizes)
    return {
        prefix + name: c.replace(
            num_encoder_layers=c.num_layers, output_scale=c.d_model**-0.5 if c.tied_embeddings else 1.0
        )
        for name, c in made.items()
    }


_T5_ALL = {
    **_t5(
        _T5, "t5-", small=(512, 6, 8, 2_048, 64), base=(768, 12, 12, 3_072, 64), large=(1_024, 24, 16, 4_096, 64),
    ),
    **_t5(_T5, "t5-", **{"3b": (1_024, 24, 32, 16_384, 128), "11b": (1_024, 24, 128, 65_536, 128)}),
    **_t5(
        _T5_V1_1, "t5-v1.1-", small=(512, 8, 6, 1_024, 64), base=(768, 12, 12, 2_048, 64),
        large=(1_024, 24, 16, 2_816, 64), xl=(2_048, 24, 32, 5_120, 64), xxl=(4_096, 24, 64, 10_240, 64),
    ),
}  # fmt: skip

# %%
#| export presets
PRESETS: dict[str, TransformerConfig] = {
    **_WITHOUT_SISTERS, **_DECODERS, **_T5_ALL,
    **_sisters(
        _TRANSFORMER_XL, "d_model num_layers d_head d_ff embedding_scale",
        transformer_xl_enwik8_12l=(512, 12, 64, 2_048, 512**0.5),
        transformer_xl_enwik8_24l=(1_024, 24, 128, 3_072, 32.0),
    ),
}  # fmt: skip
"""Configurations by name, without dropout: that is a matter of training."""


# %%
#| export presets
_SOURCES = {
    "transformer-base": "arXiv 1706.03762, table 3", "gpt2": "OpenAI 2019, Language Models are Unsupervised Multitask "
    "Learners, table 2, and github.com/openai/gpt-2", "llama-": "arXiv 2302.13971, table 2",
    "llama2-": "arXiv 2307.09288, table 1, and the released params.json", "palm-": "arXiv 2204.02311, table 1",
    "bloom-": "arXiv 2211.05100, table 3", "starcoder": "arXiv 2305.06161, table 6",
    "glm-10b": "arXiv 2103.10360 and github.com/THUDM/GLM", "chatglm2-": "config.json of huggingface.co/THUDM/chatglm2-6b",
    "t5-": "arXiv 1910.10683, section 3.7", "t5-v1.1-": "released_checkpoints.md of "
    "github.com/google-research/text-to-text-transfer-transformer",
    "transformer-xl-": "arXiv 1901.02860, table 2, and the scripts of github.com/kimiyoung/transformer-xl",
}  # fmt: skip

SOURCES: dict[str, str] = {
    name: _SOURCES[max((known for known in _SOURCES if name.startswith(known)), key=len)] for name in PRESETS
}
"""Where each configuration is published."""


# %%
#| export presets
def preset(name: str) -> TransformerConfig:
    """The configuration of this name. ValueError for an unknown one, which names those that are close.

    >>> preset("llama2-70b").num_kv_heads
    8
    """
    if name not in PRESETS:
        close = difflib.get_close_matches(name.lower(), PRESETS, n=4) or list(PRESETS)
        raise ValueError(f"there is no preset {name!r}; there is {', '.join(close)}")
    return PRESETS[name]


# %%
#| export presets
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
