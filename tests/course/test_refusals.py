"""What config.json may not say: a value of another kind, what the model does not have, what nobody knows; by its key."""

import pytest
import torch
from hugging_face_oracle import BASE, CHATGLM, transformers

from cs336lite.course.hugging_face import FAMILIES, config_from_hugging_face, load_hugging_face

LLAMA3 = dict(rope_type="llama3", factor=8.0, low_freq_factor=1.0, high_freq_factor=4.0)
WRONG = {
    "size": [0, -1, 2.0, "32", True, [], {}, 1e400],
    "number": [-1e-5, "1e-5", True, float("nan"), float("inf"), [], {}],
    "flag": [None, 0, 1, "true", [], {}],
    "text": [None, 1, "", [], {}],
}
KINDS = {
    "llama": {
        "size": ["vocab_size", "hidden_size", "num_attention_heads", "num_hidden_layers", "num_key_value_heads", "head_dim"],
        "number": ["rms_norm_eps", "rope_theta", "partial_rotary_factor"], "text": ["hidden_act"],
        "flag": ["tie_word_embeddings", "attention_bias", "mlp_bias"],
    },
    "glm": {"size": ["head_dim", "num_key_value_heads"], "flag": ["attention_bias"]},
    "gpt2": {
        "size": ["n_embd", "n_head", "n_layer", "n_positions", "n_inner", "hidden_size"], "number": ["layer_norm_epsilon"],
        "text": ["activation_function"], "flag": ["tie_word_embeddings"],
    },
    "gpt_bigcode": {"flag": ["multi_query"]},
    "bloom": {"size": ["hidden_size", "n_embed", "n_head", "n_layer", "seq_length"], "flag": ["slow_but_exact"]},
    "t5": {
        "size": ["d_model", "d_kv", "d_ff", "num_layers", "num_decoder_layers", "num_heads", "relative_attention_max_distance"],
        "number": ["layer_norm_epsilon"], "text": ["feed_forward_proj", "dense_act_fn"],
        "flag": ["tie_word_embeddings", "scale_decoder_outputs", "is_gated_act"],
    },
    "mistral": {"size": ["sliding_window", "head_dim"]},
    "qwen2": {"size": ["sliding_window"], "number": ["max_window_layers"], "flag": ["use_sliding_window"]},
    "qwen3": {"size": ["head_dim"]},
    "gemma": {"size": ["head_dim", "num_key_value_heads"]},
    "gemma2": {
        "text": ["hidden_activation"], "size": ["sliding_window"],
        "number": ["query_pre_attn_scalar", "attn_logit_softcapping", "final_logit_softcapping"],
    },
    "olmo2": {"number": ["rms_norm_eps"]},
    "gpt_neox": {
        "flag": ["use_parallel_residual", "attention_bias"], "number": ["rotary_pct", "rotary_emb_base", "layer_norm_eps"],
        "text": ["hidden_act"],
    },
    "chatglm": {"size": ["padded_vocab_size", "kv_channels", "multi_query_group_num"], "flag": ["add_qkv_bias"]},
}  # fmt: skip


@pytest.mark.parametrize("family, kind, key", [(f, k, key) for f in KINDS for k in KINDS[f] for key in KINDS[f][k]])
def test_a_value_of_another_type_or_range_is_refused_by_its_key(family, kind, key):
    base = CHATGLM if family == "chatglm" else BASE[family] | {"model_type": family}
    config_from_hugging_face(base)
    for value in WRONG[kind]:
        with pytest.raises(ValueError, match=key):
            config_from_hugging_face(base | {key: value})


@pytest.mark.parametrize(
    "family, change, said",
    [
        ("glm", {"head_dim": None}, "head_dim is None"),
        ("glm", {"num_key_value_heads": None}, "num_key_value_heads is None"),
        ("glm", {"head_dim": 12, "partial_rotary_factor": 0.25}, "partial_rotary_factor 0.25"),
        ("glm", {"partial_rotary_factor": 0}, "partial_rotary_factor 0"),
        ("llama", {"head_dim": 5}, "head_dim 5"),
        ("llama", {"rope_theta": 0}, "rope_theta 0"),
        ("llama", {"rope_parameters": [1]}, "rope_parameters is .1., and must be an object"),
        ("llama", {"rope_scaling": {"type": "linear"}, "rope_parameters": {"rope_type": "default"}}, "rope_scaling"),
        ("llama", {"num_attention_heads": 5}, "hidden_size 32 is not a multiple of num_attention_heads 5"),
        ("llama", {"num_key_value_heads": 3}, "num_attention_heads 4 is not a multiple of num_key_value_heads 3"),
        ("llama", {"model_type": ["llama"]}, "model_type is .'llama'."),
        ("gpt2", {"hidden_size": 48}, "names of one thing, and differ: .'n_embd': 32, 'hidden_size': 48"),
        ("gpt2", {"n_head": 5}, "n_embd 32 is not a multiple of n_head 5"),
        ("bloom", {"slow_but_exact": True, "pretraining_tp": 2}, "slow_but_exact with pretraining_tp"),
        ("t5", {"feed_forward_proj": "other-relu"}, "feed_forward_proj is 'other-relu'"),
        ("t5", {"relative_attention_max_distance": 16}, "relative_attention_max_distance is 16"),
        ("llama", {"transformers_weights": "other.safetensors"}, "transformers_weights"),
        ("llama", {"per_layer_config": {"0": {"rms_norm_eps": 1.0}}}, "per_layer_config"),
        ("llama", {"model_type": "mamba"}, "model_type is 'mamba'.*gpt2"),
        ("llama", {"model_type": None}, "model_type is None"),
        (
            "llama",
            {"rope_scaling": {"rope_type": "longrope", "factor": 8.0}},
            "'longrope' is not supported.*llama3, yarn",
        ),
        ("llama", {"rope_scaling": {"rope_type": "llama3", "factor": 8.0}}, "nothing about 'low_freq_factor'"),
        ("llama", {"rope_scaling": LLAMA3 | {"low_freq_factor": 4.0}}, "low_freq_factor is 4.0, and must be below"),
        ("llama", {"rope_scaling": LLAMA3 | {"factor": 0}}, "factor is 0, and must be a number above 0"),
        ("llama", {"rope_scaling": LLAMA3 | {"slow_factor": 2}}, "rope_scaling: slow_factor = 2 is not known for RoPE"),
        (
            "llama",
            {"rope_parameters": {"rope_type": "default", "mrope_section": [2, 1, 1]}},
            r"mrope_section = \[2, 1, 1\]",
        ),
        ("llama", {"rope_parameters": {"rope_type": "yarn", "rope_theta": 1e4, "factor": "4"}}, "factor is '4'"),
        ("qwen2", {"rope_parameters": {"rope_type": "linear", "factor": 2.0, "rope_theta": 1}}, "nothing to scale"),
        ("llama", {"sliding_window": 4096}, "sliding_window = 4096 is not supported for llama: only None is"),
        ("llama", {"final_logit_softcapping": 30.0}, "final_logit_softcapping = 30.0"),
        ("llama", {"hidden_act": "laplace"}, "hidden_act: the activation 'laplace' is not supported"),
        ("llama", {"attention_bias": True}, "attention_bias True with mlp_bias False"),
        ("llama", {"quantization_config": {"bits": 4}}, "quantization_config = {'bits': 4}"),
        ("llama", {"kv_lora_rank": 512, "q_lora_rank": 1536}, "kv_lora_rank = 512 is not known for llama"),
        (
            "llama",
            {"num_local_experts": 8},
            "num_local_experts = 8 is not known .* take num_local_experts out of config.json",
        ),
        ("llama", {"embedding_multiplier": 12.0}, "embedding_multiplier = 12.0 is not known"),
        ("llama", {"use_rope": False}, "use_rope = False is not known"),
        (
            "llama",
            {"layer_types": ["full_attention", "sliding_attention"]},
            "layer_types = .* only 'full_attention' is",
        ),
        ("mistral", {"attention_bias": True}, "attention_bias = True is not supported for mistral: only False is"),
        (
            "mistral",
            {"layer_types": ["full_attention", "sliding_attention"]},
            "layer_types = .* only 'full_attention' is",
        ),
        ("gemma2", {"layer_types": ["full_attention"]}, "layer_types = .* for each of the 2 layers"),
        ("qwen2", {"layer_types": ["full_attention", "sliding_attention"]}, "and there is no sliding_window"),
        ("qwen2", {"use_mrope": True}, "use_mrope = True is not supported"),
        ("qwen3", {"attention_bias": True}, "attention_bias = True is not supported for qwen3"),
        ("qwen3", {"partial_rotary_factor": 0.5}, "partial_rotary_factor is not supported for qwen3"),
        ("gemma", {"use_bidirectional_attention": True}, "use_bidirectional_attention = True"),
        ("gemma2", {"layer_types": ["chunked_attention"] * 2}, "layer_types = .*'chunked_attention'"),
        ("olmo2", {"clip_qkv": 8.0}, "clip_qkv = 8.0 is not known for olmo2"),
        ("gpt_neox", {"attention_bias": False}, "attention_bias = False is not supported for gpt_neox"),
        ("gpt_neox", {"rotary_pct": 0.1}, "partial_rotary_factor 0.1 .* rotary_pct"),
        ("gpt_neox", {"rope_theta": 5e5}, "rope_theta = 500000.0 is not known for gpt_neox"),
        ("gpt2", {"scale_attn_by_inverse_layer_idx": True}, "scale_attn_by_inverse_layer_idx = True"),
        ("gpt2", {"add_cross_attention": True}, "add_cross_attention = True"),
        ("t5", {"relative_attention_num_buckets": 16}, "relative_attention_num_buckets = 16"),
        ("t5", {"feed_forward_proj": "gated-tanh"}, "'tanh' is not supported"),
        ("bloom", {"apply_residual_connection_post_layernorm": True}, "post_layernorm = True"),
    ],
)
def test_what_does_not_fit_is_refused_by_its_key(family, change, said):
    with pytest.raises(ValueError, match=said):
        config_from_hugging_face(BASE[family] | {"model_type": family} | change)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_key_that_nobody_knows_is_refused_and_one_that_changes_nothing_is_not(family):
    base = CHATGLM if family == "chatglm" else BASE[family] | {"model_type": family}
    inert = {
        "attn_pdrop": 0.3, "torch_dtype": "bfloat16", "eos_token_id": [1, 2], "id2label": {"0": "a"}, "use_cache": False,
        "architectures": ["Another"], "summary_type": "mean", "temperature": 0.7, "max_length": 20, "something_new": None,
    }  # fmt: skip
    assert config_from_hugging_face(base | inert) == config_from_hugging_face(base)
    for value in (0, False, "", [], {}, 1.5, "x" * 200):
        with pytest.raises(ValueError, match=r"something_new = .* is not known for") as caught:
            config_from_hugging_face(base | {"something_new": value})
        assert len(str(caught.value)) < 300


def test_mistral_has_its_window_in_every_layer_whatever_layer_types_says():
    settings = BASE["mistral"] | {"model_type": "mistral", "sliding_window": 8, "layer_types": ["full_attention"] * 2}
    with pytest.warns(UserWarning, match="sliding_window is 8"):
        assert config_from_hugging_face(settings).context_length == 8


def test_what_is_missing_is_told():
    with pytest.raises(ValueError, match="says nothing about 'hidden_size'"):
        config_from_hugging_face({"model_type": "llama", "vocab_size": 64})
    with pytest.raises(ValueError, match="only ChatGLM2 and 3"):
        config_from_hugging_face({"model_type": "chatglm", "hidden_size": 4096})


def test_nothing_is_opened_or_made_where_the_configuration_is_refused(tmp_path, monkeypatch):
    made = transformers.LlamaForCausalLM(transformers.LlamaConfig(**BASE["llama"], another=3))
    made.save_pretrained(tmp_path)
    (tmp_path / "model.safetensors").unlink()
    monkeypatch.setattr(torch.nn.Linear, "__init__", lambda *a, **k: pytest.fail("a layer was made"))
    with pytest.raises(ValueError, match=r"config.json: another = 3 is not known for llama"):
        load_hugging_face(tmp_path)
