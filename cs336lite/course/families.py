"""The families of Hugging Face (模型家族) that lecture 03's model can be: their config.json, and their names of tensors.

A family is a function from config.json to the fields of `TransformerConfig`, a table of names, theirs and ours, and what
lies otherwise in their files: matrices that are transposed, queries, keys and values in one matrix, one after the other or
head by head. `cs336lite.course.hugging_face` reads the tensors.

Defaults, second names of a key and which of two keys counts are those of transformers 5.23. What `Transformer` does not
have is refused by the name of its key.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from cs336lite.layers import GATES
from cs336lite.model import TransformerConfig

_ONLY = {  # values of options that change nothing; others are refused
    "add_cross_attention": (False,), "scale_attn_by_inverse_layer_idx": (False,), "scale_attn_weights": (True,),
    "sliding_window": (None, False), "use_sliding_window": (None, False), "attn_logit_softcapping": (None,),
    "final_logit_softcapping": (None,), "quantization_config": (None,), "compression_config": (None,),
    "quantization_bit": (None, 0), "use_qk_norm": (False,), "apply_residual_connection_post_layernorm": (False,),
    "relative_attention_num_buckets": (32,), "pre_seq_len": (None,), "rmsnorm": (True,), "post_layer_norm": (True,),
    "add_bias_linear": (False,), "multi_query_attention": (True,), "interleaved_qkv": (False,), "rope_ratio": (None, 1),
    "is_causal": (True,), "attention_chunk_size": (None,), "per_layer_config": (None, {}), "transformers_weights": (None,),
}  # fmt: skip
_ACTIVATIONS = {
    "relu": "relu", "gelu": "gelu", "gelu_new": "gelu_tanh", "gelu_pytorch_tanh": "gelu_tanh", "silu": "silu",
    "swish": "silu",
}  # fmt: skip
_GATED = {"relu": "reglu", "gelu": "geglu", "gelu_tanh": "geglu_tanh", "silu": "swiglu"}
_NEEDED = object()


class _Settings:
    """A config.json, read key by key: what comes back has the kind that was asked for, or is refused by name.

    Further names are second names of the same key. ``null`` is taken where the default is None.
    """

    def __init__(self, values: Mapping[str, Any]) -> None:
        self.values = values

    def size(self, *names: str, default: Any = _NEEDED) -> Any:
        return self.read(names, default, "a whole number above 0", lambda x: type(x) is int and x > 0)

    def number(self, *names: str, default: Any = _NEEDED) -> Any:
        return self.read(
            names, default, "a number, 0 or above", lambda x: type(x) in (int, float) and 0 <= x < math.inf
        )

    def flag(self, name: str, default: Any = _NEEDED) -> Any:
        return self.read([name], default, "true or false", lambda x: type(x) is bool)

    def text(self, name: str, default: Any = _NEEDED) -> Any:
        return self.read([name], default, "a text", lambda x: type(x) is str)

    def table(self, name: str) -> dict[str, Any]:
        return self.read([name], None, "an object or null", lambda x: isinstance(x, dict)) or {}

    def read(self, names: Sequence[str], default: Any, kind: str, fits: Callable[[Any], bool]) -> Any:
        there = {name: self.values[name] for name in names if name in self.values}
        given = {name: value for name, value in there.items() if value is not None} or there
        if not there and default is _NEEDED:
            raise ValueError(f"config.json says nothing about {names[0]!r}")
        if not there or (default is None and None in given.values()):
            return default
        for name, value in given.items():
            if not fits(value):
                raise ValueError(f"{name} is {value!r}, and must be {kind}")
        first = next(iter(given.values()))
        if any(value != first for value in given.values()):
            raise ValueError(f"these are names of one thing, and differ: {given}")
        return first


def _multiple(**sizes: int) -> None:
    """ValueError unless the first size is a multiple of the second."""
    (whole, a), (part, b) = sizes.items()
    if a % b:
        raise ValueError(f"{whole} {a} is not a multiple of {part} {b}")


def _activation(key: str, name: str, gated: bool = False) -> str:
    if name not in _ACTIVATIONS:
        raise ValueError(f"{key}: the activation {name!r} is not supported; what is: {', '.join(_ACTIVATIONS)}")
    return _GATED[_ACTIVATIONS[name]] if gated else _ACTIVATIONS[name]


def _rope(s: _Settings, d_head: int, part: float = 1.0) -> dict[str, Any]:
    """The fields of plain RoPE that turns ``part`` of a head unless the file says otherwise.

    Where ``rope_scaling`` says something it stands in the place of the newer ``rope_parameters``; the ``rope_theta`` beside
    them counts where they have none.
    """
    key = "rope_scaling" if s.values.get("rope_scaling") else "rope_parameters"
    given = s.table(key)
    kind = given.get("rope_type", given.get("type", "default"))
    if kind != "default":
        raise ValueError(f"{key}: RoPE of the type {kind!r} is not supported, only plain RoPE ('default') is")
    if nested := [name for name, value in given.items() if isinstance(value, dict)]:
        raise ValueError(f"{key} differs from layer to layer ({', '.join(nested)}), which is not supported")
    both = _Settings(s.values | given)
    theta, part = both.number("rope_theta", default=10_000.0), both.number("partial_rotary_factor", default=part)
    turned = int(d_head * part)
    if theta == 0 or turned % 2 or not 2 <= turned <= d_head:
        raise ValueError(
            f"rope_theta {theta}, head_dim {d_head} and partial_rotary_factor {part} are no RoPE: theta is above 0, and an "
            "even number of dimensions turns, from 2 to all of a head"
        )
    return {"rope_theta": float(theta), "rotary_dim": None if turned == d_head else turned}


def _gated_decoder(
    s: _Settings, d_head: int | None, kv_heads: int | None, norm_eps: float, context: int
) -> dict[str, Any]:
    """What Llama and GLM have in common; ``norm_eps`` and ``context`` are defaults."""
    d_model, heads = s.size("hidden_size"), s.size("num_attention_heads")
    if d_head is None:
        _multiple(hidden_size=d_model, num_attention_heads=heads)
    _multiple(num_attention_heads=heads, num_key_value_heads=kv_heads or heads)
    return dict(
        vocab_size=s.size("vocab_size"), context_length=s.size("max_position_embeddings", default=context),
        d_model=d_model, num_layers=s.size("num_hidden_layers"), num_heads=heads, d_ff=s.size("intermediate_size"),
        num_kv_heads=kv_heads, d_head=d_head, norm_eps=s.number("rms_norm_eps", default=norm_eps),
        activation=_activation("hidden_act", s.text("hidden_act", default="silu"), gated=True),
        tied_embeddings=s.flag("tie_word_embeddings", default=False),
    )  # fmt: skip


def _llama(s: _Settings) -> dict[str, Any]:
    d_head = s.size("head_dim", default=None)
    fields = _gated_decoder(s, d_head, s.size("num_key_value_heads", default=None), norm_eps=1e-6, context=2_048)
    bias, other = s.flag("attention_bias", default=False), s.flag("mlp_bias", default=False)
    if bias != other:
        raise ValueError(f"attention_bias {bias} with mlp_bias {other} is not supported: both or neither")
    rope = _rope(s, d_head or fields["d_model"] // fields["num_heads"])
    if rope["rotary_dim"]:  # transformers passes over it, and other programs do not
        raise ValueError("partial_rotary_factor is not supported for llama: the whole of each head turns")
    return fields | rope | dict(bias=bias, positions="rope_half")


def _glm(s: _Settings) -> dict[str, Any]:
    d_head, kv_heads = s.size("head_dim", default=128), s.size("num_key_value_heads", default=2)
    fields = _gated_decoder(s, d_head, kv_heads, norm_eps=1.5625e-7, context=131_072) | _rope(s, d_head, part=0.5)
    double = "double" if s.values["model_type"] == "glm4" else "pre"
    return fields | dict(qkv_bias=s.flag("attention_bias", default=True), positions="rope", norm_placement=double)


def _chatglm(s: _Settings) -> dict[str, Any]:
    if "multi_query_group_num" not in s.values:
        raise ValueError(
            "of the model_type 'chatglm' only ChatGLM2 and 3 are supported, and here is no multi_query_group_num"
        )
    heads, kv_heads, d_head = s.size("num_attention_heads"), s.size("multi_query_group_num"), s.size("kv_channels")
    _multiple(num_attention_heads=heads, multi_query_group_num=kv_heads)
    if d_head % 4:
        raise ValueError(f"kv_channels is {d_head}, and half of it turns in pairs: it must be a multiple of 4")
    return dict(
        vocab_size=s.size("padded_vocab_size"), context_length=s.size("seq_length"), d_model=s.size("hidden_size"),
        num_layers=s.size("num_layers"), num_heads=heads, d_ff=s.size("ffn_hidden_size"), num_kv_heads=kv_heads,
        d_head=d_head, norm_eps=s.number("layernorm_epsilon"), qkv_bias=s.flag("add_qkv_bias"), rotary_dim=d_head // 2,
        tied_embeddings=s.flag("tie_word_embeddings", default=False),
    )  # fmt: skip


def _gpt2(s: _Settings) -> dict[str, Any]:
    bigcode = s.values["model_type"] == "gpt_bigcode"
    act = s.text("activation_function", default="gelu_pytorch_tanh" if bigcode else "gelu_new")
    d_model, heads = s.size("n_embd", "hidden_size"), s.size("n_head", "num_attention_heads")
    _multiple(n_embd=d_model, n_head=heads)
    return dict(
        vocab_size=s.size("vocab_size"), context_length=s.size("n_positions", "max_position_embeddings"),
        d_model=d_model, num_layers=s.size("n_layer", "num_hidden_layers"), num_heads=heads,
        num_kv_heads=1 if bigcode and s.flag("multi_query", default=True) else None,
        d_ff=s.size("n_inner", default=None) or 4 * d_model, norm="layernorm", bias=True, positions="learned",
        norm_eps=s.number("layer_norm_epsilon", default=1e-5), activation=_activation("activation_function", act),
        tied_embeddings=s.flag("tie_word_embeddings", default=True),
    )  # fmt: skip


def _bloom(s: _Settings) -> dict[str, Any]:
    d_model, heads = s.size("hidden_size", "n_embed"), s.size("n_head", "num_attention_heads")
    _multiple(hidden_size=d_model, n_head=heads)
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


def _t5(s: _Settings) -> dict[str, Any]:
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


_QKV = "attention.q_proj attention.k_proj attention.v_proj"


def _blocks(theirs: str, parts: dict[str, str], ours: str = "decoder.blocks") -> dict[str, str]:
    """Names of modules in the blocks; {} stands for the number of the block."""
    return {f"{theirs}.{{}}.{a}": " ".join(f"{ours}.{{}}.{b}" for b in bs.split()) for a, bs in parts.items()}


_GPT2_MODULES = {
    "wte": "embedding", "wpe": "decoder.positions.tables.0", "ln_f": "decoder.norm", "lm_head": "output",
    **_blocks("h", {
        "ln_1": "norms.attention", "attn.c_attn": _QKV, "attn.c_proj": "attention.o_proj", "ln_2": "norms.feed_forward",
        "mlp.c_fc": "feed_forward.up", "mlp.c_proj": "feed_forward.down",
    }),
}  # fmt: skip
_BLOOM_MODULES = {
    "word_embeddings": "embedding", "word_embeddings_layernorm": "decoder.embedding_norm", "ln_f": "decoder.norm",
    "lm_head": "output",
    **_blocks("h", {
        "input_layernorm": "norms.attention", "self_attention.query_key_value": _QKV,
        "self_attention.dense": "attention.o_proj", "post_attention_layernorm": "norms.feed_forward",
        "mlp.dense_h_to_4h": "feed_forward.up", "mlp.dense_4h_to_h": "feed_forward.down",
    }),
}  # fmt: skip

_CHATGLM_MODULES = {
    "embedding.word_embeddings": "embedding", "encoder.final_layernorm": "decoder.norm", "output_layer": "output",
    **_blocks("encoder.layers", {
        "input_layernorm": "norms.attention", "self_attention.query_key_value": _QKV,
        "self_attention.dense": "attention.o_proj", "post_attention_layernorm": "norms.feed_forward",
        "mlp.dense_h_to_4h": "feed_forward.gate feed_forward.up", "mlp.dense_4h_to_h": "feed_forward.down",
    }),
}  # fmt: skip
_LLAMA_MODULES = {
    "embed_tokens": "embedding", "norm": "decoder.norm", "lm_head": "output",
    **_blocks("layers", {
        "input_layernorm": "norms.attention", "post_attention_layernorm": "norms.feed_forward",
        "mlp.gate_proj": "feed_forward.gate", "mlp.up_proj": "feed_forward.up", "mlp.down_proj": "feed_forward.down",
        **{f"self_attn.{name}_proj": f"attention.{name}_proj" for name in "qkvo"},
    }),
}  # fmt: skip
_GLM_MODULES = {
    **{theirs: ours for theirs, ours in _LLAMA_MODULES.items() if not theirs.endswith(("gate_proj", "up_proj"))},
    **_blocks("layers", {"mlp.gate_up_proj": "feed_forward.gate feed_forward.up"}),
}
_GLM4_MODULES = _GLM_MODULES | _blocks(
    "layers", {"post_self_attn_layernorm": "norms.attention_after", "post_mlp_layernorm": "norms.feed_forward_after"}
)


def _t5_stack(stack: str, cross: bool) -> dict[str, str]:
    last = 2 if cross else 1
    parts = {
        "layer.0.layer_norm": "norms.attention", f"layer.{last}.layer_norm": "norms.feed_forward",
        "layer.0.SelfAttention.relative_attention_bias": "relative.bias",
        **{f"layer.0.SelfAttention.{name}": f"attention.{name}_proj" for name in "qkvo"},
        f"layer.{last}.DenseReluDense.wi": "feed_forward.up", f"layer.{last}.DenseReluDense.wi_0": "feed_forward.gate",
        f"layer.{last}.DenseReluDense.wi_1": "feed_forward.up", f"layer.{last}.DenseReluDense.wo": "feed_forward.down",
    }  # fmt: skip
    if cross:
        parts["layer.1.layer_norm"] = "norms.cross_attention"
        parts |= {f"layer.1.EncDecAttention.{name}": f"cross_attention.{name}_proj" for name in "qkvo"}
    return {f"{stack}.final_layer_norm": f"{stack}.norm"} | _blocks(f"{stack}.block", parts, f"{stack}.blocks")


_T5_MODULES = {"shared": "embedding", "lm_head": "output", **_t5_stack("encoder", False), **_t5_stack("decoder", True)}
_T5_GATED = {theirs: ours for theirs, ours in _T5_MODULES.items() if not theirs.endswith("wi")}
_T5_PLAIN = {theirs: ours for theirs, ours in _T5_MODULES.items() if not theirs.endswith(("wi_0", "wi_1"))}


@dataclass(frozen=True)
class Family:
    """How a family's files are read."""

    fields: Callable[[_Settings], dict[str, Any]]  # of TransformerConfig, from config.json
    modules: Mapping[str, str]  # their name: ours, several where theirs holds them one after the other
    prefix: str = "transformer."  # of all names but the output layer's where the file has an output layer
    transposed: tuple[str, ...] = ()  # ends of names of matrices that are (in, out)
    by_head: tuple[str, ...] = ()  # and of those where each head has its query, key and value side by side
    constants: tuple[str, ...] = ()  # and of tensors that are no weights
    same: Mapping[str, str] = field(default_factory=dict)  # second names of tensors
    tied: bool = False  # without an output layer in the file it is the embedding, whatever tie_word_embeddings says

    def name_of(self, ours: str) -> str:
        """Their name of the weight of one of our modules."""
        return next(f"{theirs}.weight" for theirs, module in self.modules.items() if module == ours)


_INV_FREQ = ("rotary_emb.inv_freq", "rotary_pos_emb.inv_freq")
_MASKS = (".attn.bias", ".attn.masked_bias")
_GATED_T5 = Family(
    _t5, _T5_GATED, constants=("EncDecAttention.relative_attention_bias.weight",),
    same={f"{stack}.embed_tokens.weight": "shared.weight" for stack in ("encoder", "decoder")},
    tied=True,
)  # fmt: skip
FAMILIES: dict[str, Family] = {
    "gpt2": Family(_gpt2, _GPT2_MODULES, transposed=("c_attn", "c_proj", "c_fc"), constants=_MASKS),
    "gpt_bigcode": Family(_gpt2, _GPT2_MODULES, by_head=("c_attn",), constants=_MASKS),
    "bloom": Family(_bloom, _BLOOM_MODULES, by_head=("query_key_value",)),
    "llama": Family(_llama, _LLAMA_MODULES, "model.", constants=_INV_FREQ),
    "glm": Family(_glm, _GLM_MODULES, "model.", constants=_INV_FREQ),
    "glm4": Family(_glm, _GLM4_MODULES, "model.", constants=_INV_FREQ),
    "chatglm": Family(_chatglm, _CHATGLM_MODULES, constants=_INV_FREQ),
    "t5": _GATED_T5,
}
"""What can be loaded, by the ``model_type`` of config.json."""


def family_of(config: TransformerConfig, kind: str) -> Family:
    """The family of this ``model_type``; T5 calls its matrices otherwise where they are gated."""
    plain = kind == "t5" and config.activation not in GATES
    return replace(FAMILIES[kind], modules=_T5_PLAIN) if plain else FAMILIES[kind]


def config_from_hugging_face(settings: Mapping[str, Any]) -> TransformerConfig:
    """The configuration that a config.json of Hugging Face describes, without dropout.

    ValueError for a ``model_type`` or an option that `Transformer` does not have, for what is missing, and for values of
    another type or range than the key has.

    >>> config_from_hugging_face({"model_type": "gpt2", "vocab_size": 50257, "n_positions": 1024, "n_embd": 768,
    ...     "n_layer": 12, "n_head": 12}).d_ff
    3072
    """
    kind = settings.get("model_type")
    if not isinstance(kind, str) or kind not in FAMILIES:
        raise ValueError(f"model_type is {kind!r}, and those supported are {', '.join(FAMILIES)}")
    for option, harmless in _ONLY.items():
        if settings.get(option, harmless[0]) not in harmless:
            raise ValueError(f"{option} = {settings[option]!r} is not supported for {kind}: only {harmless[0]!r} is")
    layers = settings.get("layer_types") or []
    if not isinstance(layers, list) or any(layer != "full_attention" for layer in layers):
        raise ValueError(f"layer_types = {layers!r} is not supported: only a list of 'full_attention' is")
    return TransformerConfig(**FAMILIES[kind].fields(_Settings(settings)))
