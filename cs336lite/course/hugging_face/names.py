"""What the tensors of a family are called in its files: their name of a module, and ours.

{} stands for the number of the block. Several of ours are those that lie one after the other in one matrix of theirs.
"""

from __future__ import annotations

_QKV = "attention.q_proj attention.k_proj attention.v_proj"


def _blocks(theirs: str, parts: dict[str, str], ours: str = "decoder.blocks") -> dict[str, str]:
    """Names of modules in the blocks; {} stands for the number of the block."""
    return {f"{theirs}.{{}}.{a}": " ".join(f"{ours}.{{}}.{b}" for b in bs.split()) for a, bs in parts.items()}


GPT2 = {
    "wte": "embedding", "wpe": "decoder.positions.tables.0", "ln_f": "decoder.norm", "lm_head": "output",
    **_blocks("h", {
        "ln_1": "norms.attention", "attn.c_attn": _QKV, "attn.c_proj": "attention.o_proj", "ln_2": "norms.feed_forward",
        "mlp.c_fc": "feed_forward.up", "mlp.c_proj": "feed_forward.down",
    }),
}  # fmt: skip
BLOOM = {
    "word_embeddings": "embedding", "word_embeddings_layernorm": "decoder.embedding_norm", "ln_f": "decoder.norm",
    "lm_head": "output",
    **_blocks("h", {
        "input_layernorm": "norms.attention", "self_attention.query_key_value": _QKV,
        "self_attention.dense": "attention.o_proj", "post_attention_layernorm": "norms.feed_forward",
        "mlp.dense_h_to_4h": "feed_forward.up", "mlp.dense_4h_to_h": "feed_forward.down",
    }),
}  # fmt: skip

CHATGLM = {
    "embedding.word_embeddings": "embedding", "encoder.final_layernorm": "decoder.norm", "output_layer": "output",
    **_blocks("encoder.layers", {
        "input_layernorm": "norms.attention", "self_attention.query_key_value": _QKV,
        "self_attention.dense": "attention.o_proj", "post_attention_layernorm": "norms.feed_forward",
        "mlp.dense_h_to_4h": "feed_forward.gate feed_forward.up", "mlp.dense_4h_to_h": "feed_forward.down",
    }),
}  # fmt: skip
LLAMA = {
    "embed_tokens": "embedding", "norm": "decoder.norm", "lm_head": "output",
    **_blocks("layers", {
        "input_layernorm": "norms.attention", "post_attention_layernorm": "norms.feed_forward",
        "mlp.gate_proj": "feed_forward.gate", "mlp.up_proj": "feed_forward.up", "mlp.down_proj": "feed_forward.down",
        **{f"self_attn.{name}_proj": f"attention.{name}_proj" for name in "qkvo"},
    }),
}  # fmt: skip
GLM = {
    **{theirs: ours for theirs, ours in LLAMA.items() if not theirs.endswith(("gate_proj", "up_proj"))},
    **_blocks("layers", {"mlp.gate_up_proj": "feed_forward.gate feed_forward.up"}),
}
_QK_NORMS = {f"self_attn.{name}_norm": f"attention.{name}_norm" for name in "qk"}
QWEN3 = LLAMA | _blocks("layers", _QK_NORMS)
GEMMA2 = LLAMA | _blocks("layers", {
    "post_attention_layernorm": "norms.attention_after", "pre_feedforward_layernorm": "norms.feed_forward",
    "post_feedforward_layernorm": "norms.feed_forward_after",
})  # fmt: skip
OLMO2 = {theirs: ours for theirs, ours in LLAMA.items() if not theirs.endswith("input_layernorm")} | _blocks("layers", {
    "post_attention_layernorm": "norms.attention_after", "post_feedforward_layernorm": "norms.feed_forward_after",
    **{theirs: f"{ours}.norm" for theirs, ours in _QK_NORMS.items()},
})  # fmt: skip
GPT_NEOX = {
    "embed_in": "embedding", "final_layer_norm": "decoder.norm", "lm_head": "output",
    **_blocks("layers", {
        "input_layernorm": "norms.attention", "attention.query_key_value": _QKV, "attention.dense": "attention.o_proj",
        "post_attention_layernorm": "norms.feed_forward", "mlp.dense_h_to_4h": "feed_forward.up",
        "mlp.dense_4h_to_h": "feed_forward.down",
    }),
}  # fmt: skip
GLM4 = GLM | _blocks(
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


_T5 = {"shared": "embedding", "lm_head": "output", **_t5_stack("encoder", False), **_t5_stack("decoder", True)}
T5_GATED = {theirs: ours for theirs, ours in _T5.items() if not theirs.endswith("wi")}
T5_PLAIN = {theirs: ours for theirs, ours in _T5.items() if not theirs.endswith(("wi_0", "wi_1"))}
