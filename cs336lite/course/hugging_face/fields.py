"""What config.json of a family says, as the fields of `TransformerConfig`.

Defaults, second names of a key and which of two keys counts are those of transformers 5.23.
"""

from __future__ import annotations

import math
import warnings
from typing import Any

from cs336lite.course.hugging_face.rope import rope_fields
from cs336lite.course.hugging_face.settings import Settings, multiple
from cs336lite.course.hugging_face.slots import NormSlot, OffsetRMSNorm, ScaledScores
from cs336lite.layers import RMSNorm

_ACTIVATIONS = {
    "relu": "relu", "gelu": "gelu", "gelu_new": "gelu_tanh", "gelu_pytorch_tanh": "gelu_tanh", "gelu_fast": "gelu_tanh",
    "silu": "silu", "swish": "silu",
}  # fmt: skip
_GATED = {"relu": "reglu", "gelu": "geglu", "gelu_tanh": "geglu_tanh", "silu": "swiglu"}


def _activation(key: str, name: str, gated: bool = False) -> str:
    if name not in _ACTIVATIONS:
        raise ValueError(f"{key}: the activation {name!r} is not supported; what is: {', '.join(_ACTIVATIONS)}")
    return _GATED[_ACTIVATIONS[name]] if gated else _ACTIVATIONS[name]


def _gated_decoder(
    s: Settings, d_head: int | None, kv_heads: int | None, norm_eps: float, context: int,
    act: tuple[str, str] = ("hidden_act", "silu"), tied: bool = False,
) -> dict[str, Any]:  # fmt: skip
    """What Llama and its relatives have in common; defaults are ``norm_eps``, ``context``, ``act`` (key, value), ``tied``."""
    d_model, heads = s.size("hidden_size"), s.size("num_attention_heads")
    if d_head is None:
        multiple(hidden_size=d_model, num_attention_heads=heads)
    multiple(num_attention_heads=heads, num_key_value_heads=kv_heads or heads)
    return dict(
        vocab_size=s.size("vocab_size"), context_length=s.size("max_position_embeddings", default=context),
        d_model=d_model, num_layers=s.size("num_hidden_layers"), num_heads=heads, d_ff=s.size("intermediate_size"),
        num_kv_heads=kv_heads, d_head=d_head, norm_eps=s.number("rms_norm_eps", default=norm_eps),
        activation=_activation(act[0], s.text(act[0], default=act[1]), gated=True),
        tied_embeddings=s.flag("tie_word_embeddings", default=tied),
    )  # fmt: skip


def _whole_rope(s: Settings, fields: dict[str, Any]) -> dict[str, Any]:
    """RoPE in halves that turns the whole of each head."""
    d_head = fields["d_head"] or fields["d_model"] // fields["num_heads"]
    rope = rope_fields(s, d_head, fields["context_length"])
    if rope["rotary_dim"]:  # transformers passes over it, and other programs do not
        raise ValueError(
            f"partial_rotary_factor is not supported for {s.values['model_type']}: the whole of each head turns"
        )
    return rope | {"positions": "rope_half"}


def _within_window(
    s: Settings, fields: dict[str, Any], window: int | None, slides: list[str], by_layer: bool = True
) -> dict[str, Any]:
    """The fields with a context in which a window of so many tokens sees all.

    ``slides`` is the kind of each layer, unless ``by_layer`` and ``layer_types`` says otherwise.
    """
    kinds = (s.texts("layer_types") if by_layer else None) or slides
    if len(kinds) != fields["num_layers"] or set(kinds) - {"full_attention", "sliding_attention"}:
        raise ValueError(
            f"layer_types = {kinds!r} is not supported: give 'full_attention' or 'sliding_attention' for each of the "
            f"{fields['num_layers']} layers"
        )
    if "sliding_attention" not in kinds:
        return fields
    if window is None:
        raise ValueError("layer_types has 'sliding_attention', and there is no sliding_window")
    if window < fields["context_length"]:
        warnings.warn(
            f"sliding_window is {window}, and this model has none: it reads at most {window} tokens, within which a window "
            f"hides nothing, and not max_position_embeddings = {fields['context_length']}",
            stacklevel=4,
        )
    return fields | {"context_length": min(window, fields["context_length"])}


def llama(s: Settings) -> dict[str, Any]:
    d_head = s.size("head_dim", default=None)
    fields = _gated_decoder(s, d_head, s.size("num_key_value_heads", default=None), norm_eps=1e-6, context=2_048)
    bias, other = s.flag("attention_bias", default=False), s.flag("mlp_bias", default=False)
    if bias != other:
        raise ValueError(f"attention_bias {bias} with mlp_bias {other} is not supported: both or neither")
    return fields | _whole_rope(s, fields) | dict(bias=bias)


def mistral(s: Settings) -> dict[str, Any]:
    d_head, kv_heads = s.size("head_dim", default=None), s.size_or_none("num_key_value_heads", absent=8)
    fields = _gated_decoder(s, d_head, kv_heads, norm_eps=1e-6, context=131_072)
    window = s.size_or_none("sliding_window", absent=4_096)
    kind = "full_attention" if window is None else "sliding_attention"
    return _within_window(s, fields | _whole_rope(s, fields), window, [kind] * fields["num_layers"], by_layer=False)


def _qwen(s: Settings, d_head: int | None) -> dict[str, Any]:
    fields = _gated_decoder(s, d_head, s.size_or_none("num_key_value_heads", absent=32), norm_eps=1e-6, context=32_768)
    window, first = s.size_or_none("sliding_window", absent=4_096), s.number("max_window_layers", default=28)
    if not s.flag("use_sliding_window", default=False):
        window = None
    slides = ["sliding_attention" if window and i >= first else "full_attention" for i in range(fields["num_layers"])]
    return _within_window(s, fields | _whole_rope(s, fields), window, slides)


def qwen2(s: Settings) -> dict[str, Any]:
    return _qwen(s, s.size("head_dim", default=None)) | dict(qkv_bias=True)


def qwen3(s: Settings) -> dict[str, Any]:
    fields = _qwen(s, s.size("head_dim", default=128))
    return fields | dict(qk_norm=NormSlot(RMSNorm, fields["norm_eps"]))


def olmo2(s: Settings) -> dict[str, Any]:
    d_head = s.size("head_dim", default=None)
    fields = _gated_decoder(s, d_head, s.size("num_key_value_heads", default=None), norm_eps=1e-5, context=2_048)
    norm = NormSlot(RMSNorm, fields["norm_eps"])
    return fields | _whole_rope(s, fields) | dict(norm_placement="branch", qk_norm=norm, qk_norm_across_heads=True)


def _gemma(s: Settings, kv_heads: int, act: str) -> dict[str, Any]:
    d_head, kv_heads = s.size("head_dim", default=256), s.size("num_key_value_heads", default=kv_heads)
    default = (act, "gelu_pytorch_tanh")
    fields = _gated_decoder(s, d_head, kv_heads, norm_eps=1e-6, context=8_192, act=default, tied=True)
    norm = NormSlot(OffsetRMSNorm, fields["norm_eps"])
    return fields | _whole_rope(s, fields) | dict(norm=norm, embedding_scale=math.sqrt(fields["d_model"]))


def gemma(s: Settings) -> dict[str, Any]:
    fields = _gemma(s, 16, "hidden_act")
    # the first files say gelu and mean its approximation
    return fields | ({"activation": "geglu_tanh"} if fields["activation"] == "geglu" else {})


def gemma2(s: Settings) -> dict[str, Any]:
    fields = _gemma(s, 4, "hidden_activation")
    caps = {name: s.values.get(name, usual) for name, usual in _CAPS.items()}
    inner, outer = (None if caps[name] is None else s.positive(name, default=caps[name]) for name in _CAPS)
    s.asked.update(_CAPS)
    scale, layers = s.positive("query_pre_attn_scalar", default=256) ** -0.5, fields["num_layers"]
    alternating = [("sliding_attention", "full_attention")[i % 2] for i in range(layers)]
    fields = _within_window(s, fields, s.size_or_none("sliding_window", absent=4_096), alternating)
    return fields | dict(norm_placement="double", attend=ScaledScores(scale, inner), output_cap=outer)


_CAPS = {"attn_logit_softcapping": 50.0, "final_logit_softcapping": 30.0}


def glm(s: Settings) -> dict[str, Any]:
    d_head, kv_heads = s.size("head_dim", default=128), s.size("num_key_value_heads", default=2)
    fields = _gated_decoder(s, d_head, kv_heads, norm_eps=1.5625e-7, context=131_072)
    fields |= rope_fields(s, d_head, fields["context_length"], part=0.5)
    double = "double" if s.values["model_type"] == "glm4" else "pre"
    return fields | dict(qkv_bias=s.flag("attention_bias", default=True), positions="rope", norm_placement=double)


def gpt_neox(s: Settings) -> dict[str, Any]:
    d_model, heads = s.size("hidden_size"), s.size("num_attention_heads")
    multiple(hidden_size=d_model, num_attention_heads=heads)
    context = s.size("max_position_embeddings", default=2_048)
    if not s.flag("attention_bias", default=True):
        raise ValueError("attention_bias = False is not supported for gpt_neox, whose other matrices have a bias")
    parallel = s.flag("use_parallel_residual", default=True)
    rope = rope_fields(s, d_model // heads, context, 0.25, "rotary_emb_base", "rotary_pct")
    return rope | dict(
        vocab_size=s.size("vocab_size"), context_length=context, d_model=d_model, num_heads=heads,
        num_layers=s.size("num_hidden_layers"), d_ff=s.size("intermediate_size", default=24_576), norm="layernorm",
        norm_eps=s.number("layer_norm_eps", default=1e-5), bias=True, positions="rope_half",
        activation=_activation("hidden_act", s.text("hidden_act", default="gelu")),
        parallel=parallel, parallel_norms=2 if parallel else 1,
        tied_embeddings=s.flag("tie_word_embeddings", default=False),
    )  # fmt: skip


def chatglm(s: Settings) -> dict[str, Any]:
    if "multi_query_group_num" not in s.values:
        raise ValueError(
            "of the model_type 'chatglm' only ChatGLM2 and 3 are supported, and here is no multi_query_group_num"
        )
    heads, kv_heads, d_head = s.size("num_attention_heads"), s.size("multi_query_group_num"), s.size("kv_channels")
    multiple(num_attention_heads=heads, multi_query_group_num=kv_heads)
    if d_head % 4:
        raise ValueError(f"kv_channels is {d_head}, and half of it turns in pairs: it must be a multiple of 4")
    return dict(
        vocab_size=s.size("padded_vocab_size"), context_length=s.size("seq_length"), d_model=s.size("hidden_size"),
        num_layers=s.size("num_layers"), num_heads=heads, d_ff=s.size("ffn_hidden_size"), num_kv_heads=kv_heads,
        d_head=d_head, norm_eps=s.number("layernorm_epsilon"), qkv_bias=s.flag("add_qkv_bias"), rotary_dim=d_head // 2,
        tied_embeddings=s.flag("tie_word_embeddings", default=False),
    )  # fmt: skip


def gpt2(s: Settings) -> dict[str, Any]:
    bigcode = s.values["model_type"] == "gpt_bigcode"
    act = s.text("activation_function", default="gelu_pytorch_tanh" if bigcode else "gelu_new")
    d_model, heads = s.size("n_embd", "hidden_size"), s.size("n_head", "num_attention_heads")
    multiple(n_embd=d_model, n_head=heads)
    return dict(
        vocab_size=s.size("vocab_size"), context_length=s.size("n_positions", "max_position_embeddings"),
        d_model=d_model, num_layers=s.size("n_layer", "num_hidden_layers"), num_heads=heads,
        num_kv_heads=1 if bigcode and s.flag("multi_query", default=True) else None,
        d_ff=s.size("n_inner", default=None) or 4 * d_model, norm="layernorm", bias=True, positions="learned",
        norm_eps=s.number("layer_norm_epsilon", default=1e-5), activation=_activation("activation_function", act),
        tied_embeddings=s.flag("tie_word_embeddings", default=True),
    )  # fmt: skip


def bloom(s: Settings) -> dict[str, Any]:
    d_model, heads = s.size("hidden_size", "n_embed"), s.size("n_head", "num_attention_heads")
    multiple(hidden_size=d_model, n_head=heads)
    if s.flag("slow_but_exact", default=False) and s.size("pretraining_tp", default=1) > 1:
        raise ValueError(
            "slow_but_exact with pretraining_tp above 1 is not supported: transformers leaves out biases then"
        )
    return dict(
        vocab_size=s.size("vocab_size"), context_length=s.size("seq_length", default=2_048), d_model=d_model,
        d_ff=4 * d_model, num_layers=s.size("n_layer", "num_hidden_layers"), num_heads=heads, norm="layernorm", bias=True,
        norm_eps=s.number("layer_norm_epsilon", default=1e-5), embedding_norm=True, activation="gelu_tanh",
        positions="alibi", tied_embeddings=s.flag("tie_word_embeddings", default=True),
    )  # fmt: skip


def t5(s: Settings) -> dict[str, Any]:
    form = s.text("feed_forward_proj", default="relu")
    gate, _, name = form.rpartition("-")
    if gate not in ("", "gated"):
        raise ValueError(f"feed_forward_proj is {form!r}, and must be an activation, or gated- and an activation")
    # files of transformers say both outright as well, and then that counts
    name = s.text("dense_act_fn", default="gelu_new" if form == "gated-gelu" else name)
    gated, tied = s.flag("is_gated_act", default=gate == "gated"), s.flag("tie_word_embeddings", default=True)
    layers, d_model = s.size("num_layers", "num_hidden_layers"), s.size("d_model", "hidden_size")
    distance = s.size("relative_attention_max_distance", default=128)
    if distance <= 16:
        raise ValueError(f"relative_attention_max_distance is {distance}, and 32 buckets need more than 16")
    return dict(
        vocab_size=s.size("vocab_size"), context_length=s.size("n_positions", default=512), d_model=d_model,
        num_layers=s.size("num_decoder_layers", default=None) or layers, num_encoder_layers=layers,
        num_heads=s.size("num_heads", "num_attention_heads"), d_head=s.size("d_kv", "head_dim"), d_ff=s.size("d_ff"),
        norm_eps=s.number("layer_norm_epsilon", default=1e-6), positions="t5", tied_embeddings=tied,
        activation=_activation("feed_forward_proj or dense_act_fn", name, gated), max_distance=distance,
        # newer files say outright what older ones meant by tie_word_embeddings
        output_scale=d_model**-0.5 if s.flag("scale_decoder_outputs", default=tied) else 1.0,
    )  # fmt: skip
