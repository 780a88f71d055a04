"""Small random models of transformers, as the tests of weights compare with them: a table of those that can be loaded."""

from __future__ import annotations

import contextlib
import functools
import json
import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from cs336lite.accounting import parameters
from cs336lite.course.hugging_face import FAMILIES, config_from_hugging_face, from_hugging_face
from cs336lite.course.hugging_face.settings import INERT, ONLY, Settings
from cs336lite.model import Transformer

transformers = pytest.importorskip("transformers")

WRITTEN_BY = "5.23.0"
"""The transformers whose configurations the course reads; a newer one may write keys that this one did not."""

GPT2 = dict(vocab_size=64, n_positions=32, n_embd=32, n_layer=2, n_head=4)
LLAMA = dict(
    vocab_size=64, hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=4,
    num_key_value_heads=2, max_position_embeddings=32, pad_token_id=None,
)  # fmt: skip
BLOOM = dict(vocab_size=64, hidden_size=32, n_layer=2, n_head=4)
T5 = dict(vocab_size=64, d_model=32, d_kv=12, d_ff=48, num_layers=2, num_heads=4)
GATED = dict(feed_forward_proj="gated-gelu", tie_word_embeddings=False)
LLAMA3 = dict(
    rope_type="llama3", factor=8.0, low_freq_factor=1.0, high_freq_factor=4.0, original_max_position_embeddings=16,
    rope_theta=50.0,
)  # fmt: skip
YARN = dict(
    rope_type="yarn", factor=4.0, original_max_position_embeddings=16, rope_theta=50.0, beta_fast=2.0, beta_slow=0.5
)
GEMMA2 = dict(
    head_dim=12, query_pre_attn_scalar=8, sliding_window=32, attn_logit_softcapping=2.0, final_logit_softcapping=3.0
)
NEOX = {key: value for key, value in LLAMA.items() if key != "num_key_value_heads"} | dict(
    rope_parameters=dict(rope_type="default", rope_theta=300.0, partial_rotary_factor=0.5)
)
WIDE = LLAMA | dict(head_dim=8)
BASE = {
    "gpt2": GPT2, "gpt_bigcode": GPT2, "gpt_neox": {key: x for key, x in LLAMA.items() if key != "num_key_value_heads"},
    "bloom": BLOOM, "llama": LLAMA, "mistral": LLAMA, "qwen2": LLAMA, "qwen3": WIDE, "gemma": WIDE, "gemma2": WIDE,
    "olmo2": LLAMA, "glm": WIDE, "glm4": WIDE, "t5": T5,
}  # fmt: skip
MODELS = {
    "gpt2": "GPT2LMHeadModel", "gpt_bigcode": "GPTBigCodeForCausalLM", "bloom": "BloomForCausalLM", "glm": "GlmForCausalLM",
    "llama": "LlamaForCausalLM", "glm4": "Glm4ForCausalLM", "t5": "T5ForConditionalGeneration",
    "mistral": "MistralForCausalLM", "qwen2": "Qwen2ForCausalLM", "qwen3": "Qwen3ForCausalLM", "gemma": "GemmaForCausalLM",
    "gemma2": "Gemma2ForCausalLM", "olmo2": "Olmo2ForCausalLM", "gpt_neox": "GPTNeoXForCausalLM",
}  # fmt: skip
CHATGLM = dict(
    model_type="chatglm", padded_vocab_size=64, seq_length=32, hidden_size=32, num_layers=2, kv_channels=8,
    num_attention_heads=4, ffn_hidden_size=48, multi_query_group_num=2, layernorm_epsilon=1.5625e-7, add_qkv_bias=True,
    rmsnorm=True, post_layer_norm=True, multi_query_attention=True, add_bias_linear=False, interleaved_qkv=False,
    apply_residual_connection_post_layernorm=False, tie_word_embeddings=False,
)  # fmt: skip
CASES = {
    "gpt2": ("GPT2LMHeadModel", "GPT2Config", GPT2),
    "gpt2, other sizes": (
        "GPT2LMHeadModel", "GPT2Config", GPT2 | dict(n_inner=40, activation_function="relu", tie_word_embeddings=False)
    ),
    "llama, grouped": ("LlamaForCausalLM", "LlamaConfig", LLAMA),
    "llama, wide heads, biases, tied": (
        "LlamaForCausalLM", "LlamaConfig",
        LLAMA | dict(
            head_dim=12, attention_bias=True, mlp_bias=True, tie_word_embeddings=True, num_key_value_heads=1,
            rope_parameters={"rope_type": "default", "rope_theta": 300.0}, rms_norm_eps=1e-3,
        ),
    ),
    "llama 3.1": ("LlamaForCausalLM", "LlamaConfig", LLAMA | dict(rope_parameters=LLAMA3)),
    "llama, linear": (
        "LlamaForCausalLM", "LlamaConfig", LLAMA | dict(rope_parameters=dict(rope_type="linear", factor=4.0, rope_theta=1e4))
    ),
    "llama, yarn": ("LlamaForCausalLM", "LlamaConfig", LLAMA | dict(rope_parameters=YARN)),
    "mistral": ("MistralForCausalLM", "MistralConfig", LLAMA | dict(sliding_window=None, head_dim=12)),
    "mistral, a window": ("MistralForCausalLM", "MistralConfig", LLAMA | dict(sliding_window=32)),
    "qwen2": ("Qwen2ForCausalLM", "Qwen2Config", LLAMA | dict(tie_word_embeddings=True)),
    "qwen2.5, yarn": ("Qwen2ForCausalLM", "Qwen2Config", LLAMA | dict(rope_parameters=YARN)),
    "qwen3": ("Qwen3ForCausalLM", "Qwen3Config", LLAMA | dict(head_dim=12)),
    "qwen3, tied": ("Qwen3ForCausalLM", "Qwen3Config", LLAMA | dict(head_dim=8, tie_word_embeddings=True)),
    "gemma": ("GemmaForCausalLM", "GemmaConfig", LLAMA | dict(head_dim=12, num_key_value_heads=1)),
    "gemma2": ("Gemma2ForCausalLM", "Gemma2Config", LLAMA | GEMMA2),
    "gemma2, no caps": (
        "Gemma2ForCausalLM", "Gemma2Config",
        LLAMA | GEMMA2 | dict(attn_logit_softcapping=None, final_logit_softcapping=None, layer_types=["full_attention"] * 2),
    ),
    "olmo2": ("Olmo2ForCausalLM", "Olmo2Config", LLAMA | dict(num_key_value_heads=4)),
    "olmo2, grouped": ("Olmo2ForCausalLM", "Olmo2Config", LLAMA),
    "gpt_neox": ("GPTNeoXForCausalLM", "GPTNeoXConfig", NEOX),
    "gpt_neox, serial": (
        "GPTNeoXForCausalLM", "GPTNeoXConfig", NEOX | dict(use_parallel_residual=False, tie_word_embeddings=True)
    ),
    "bloom": ("BloomForCausalLM", "BloomConfig", BLOOM),
    "bloom, six heads": ("BloomForCausalLM", "BloomConfig", BLOOM | dict(hidden_size=48, n_head=6)),
    "starcoder": ("GPTBigCodeForCausalLM", "GPTBigCodeConfig", GPT2),
    "gpt_bigcode, all heads": ("GPTBigCodeForCausalLM", "GPTBigCodeConfig", GPT2 | dict(multi_query=False)),
    "glm": ("GlmForCausalLM", "GlmConfig", LLAMA | dict(head_dim=8)),
    "glm, no bias": ("GlmForCausalLM", "GlmConfig", LLAMA | dict(head_dim=16, attention_bias=False)),
    "glm4": ("Glm4ForCausalLM", "Glm4Config", LLAMA | dict(head_dim=8)),
    "t5": ("T5ForConditionalGeneration", "T5Config", T5),
    "t5, uneven": ("T5ForConditionalGeneration", "T5Config", T5 | dict(num_decoder_layers=3, feed_forward_proj="gelu")),
    "t5 v1.1": ("T5ForConditionalGeneration", "T5Config", T5 | GATED),
}  # fmt: skip


@torch.no_grad()
def randomise(model: nn.Module, seed: int = 0) -> nn.Module:
    """All parameters drawn, biases and norms too, so that none is special."""
    draw = torch.Generator().manual_seed(seed)
    for parameter in model.parameters():
        parameter.normal_(0.0, 0.15, generator=draw)
        if parameter.ndim == 1:
            parameter.add_(0.7)
    return model.eval()


def as_chatglm(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """The tensors of a GLM-4 under the names of ChatGLM2, which holds queries, keys and values in one matrix."""
    names = {
        "model.embed_tokens": "transformer.embedding.word_embeddings", "model.layers": "transformer.encoder.layers",
        "model.norm": "transformer.encoder.final_layernorm", "lm_head": "transformer.output_layer",
        "self_attn.o_proj": "self_attention.dense", "self_attn.q_proj": "self_attention.query_key_value",
        "mlp.gate_up_proj": "mlp.dense_h_to_4h", "mlp.down_proj": "mlp.dense_4h_to_h",
    }  # fmt: skip
    fused = {}
    for name, tensor in state.items():
        if "q_proj" in name:
            tensor = torch.cat([state[name.replace("q_proj", part)] for part in ("q_proj", "k_proj", "v_proj")])
        for old, new in names.items():
            name = name.replace(old, new)
        if "k_proj" not in name and "v_proj" not in name:
            fused[name] = tensor
    return fused


def without_newer_keys(settings: dict[str, Any]) -> dict[str, Any]:
    """What transformers says of a model, without keys that only a newer one than `WRITTEN_BY` writes.

    Those are refused by name, which is right, and would make every test here a test of the version that is installed.
    """
    if transformers.__version__ == WRITTEN_BY:
        return settings
    read = Settings(settings)
    with contextlib.suppress(ValueError), warnings.catch_warnings(action="ignore"):
        FAMILIES[settings["model_type"]].fields(read)
    known = read.asked | ONLY.keys() | {"layer_types", *FAMILIES[settings["model_type"]].passed_over}
    return {key: value for key, value in settings.items() if key in known or INERT.fullmatch(key)}


def save(model: nn.Module, folder: Path, **given: Any) -> dict[str, Any]:
    """``save_pretrained``, without newer keys; returns what config.json says."""
    model.save_pretrained(folder, **given)
    settings = without_newer_keys(json.loads((folder / "config.json").read_text(encoding="utf-8")))
    (folder / "config.json").write_text(json.dumps(settings), encoding="utf-8")
    return settings


@functools.cache
def theirs(name: str) -> nn.Module:
    """A small model of Hugging Face with random weights, biases and norms too."""
    model_class, config_class, sizes = CASES[name]
    config = getattr(transformers, config_class)(**sizes)
    config._attn_implementation = "eager"
    model = getattr(transformers, model_class)(config)
    if name == "t5 v1.1":  # as in the released files
        model.lm_head.weight = nn.Parameter(torch.zeros(64, 32))
    return randomise(model)


def ours(model: nn.Module) -> Transformer:
    settings = without_newer_keys(model.config.to_dict())
    config = config_from_hugging_face(settings)
    state = model.state_dict()
    if "scale_decoder_outputs" in settings:  # the newer T5Config always says that they are tied
        config = config.replace(tied_embeddings=torch.equal(state["lm_head.weight"], state["shared.weight"]))
    made = Transformer(config)
    made.load_state_dict(from_hugging_face(state, config, settings["model_type"]))
    return made.eval()


def tokens(batch=3, seq=24, seed=0):
    return torch.randint(64, (batch, seq), generator=torch.Generator().manual_seed(seed))


def padding(side: str, seq: int = 24) -> torch.Tensor:
    real = torch.arange(seq) < torch.tensor([[seq], [seq - 5], [seq // 2]])
    return real if side == "right" else real.flip(1)


def both(they: nn.Module, we: Transformer, real=None, source_real=None):
    """Logits of both models for the same tokens."""
    x, source = tokens(), tokens(seq=20, seed=1)
    mask = None if real is None else real.long()
    if we.encoder is not None:
        seen = None if source_real is None else source_real.long()
        wanted = they(source, attention_mask=seen, decoder_input_ids=x, decoder_attention_mask=mask).logits
        return wanted, we(x, source=source, source_padding=source_real, padding=real)
    places = None if real is None else (real.cumsum(-1) - 1).clamp(min=0)
    alone = {} if real is None or we.config.positions == "alibi" else {"position_ids": places}
    return they(x, attention_mask=mask, **alone).logits, we(x, padding=real, token_positions=places)


def close(found, wanted):
    torch.testing.assert_close(found, wanted, atol=1e-5, rtol=0)


def check_loaded(they: nn.Module, we: Transformer) -> None:
    assert not we.training and not any(p.is_meta for p in (*we.parameters(), *we.buffers()))
    assert parameters(we) == parameters(they) and all(p.requires_grad for p in we.parameters())
    assert (we.output.weight is we.embedding.weight) == we.config.tied_embeddings
    wanted, found = both(they, we)
    close(found, wanted)
