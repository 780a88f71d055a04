"""Configurations of Hugging Face: whatever transformers reads in one gives its logits here, or is refused by name."""

import contextlib
import inspect
import json
import random
import re
import warnings

import pytest
import torch
from hugging_face_oracle import BASE, CHATGLM, MODELS, as_chatglm, randomise, save, transformers
from safetensors.torch import save_file
from torch import nn

from cs336lite.course.hugging_face import config_from_hugging_face, load_hugging_face


@pytest.fixture(autouse=True, scope="module")
def quiet():
    """Small tensors gain nothing by more threads; transformers warns of every option that it does not know."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    transformers.logging.set_verbosity(transformers.logging.CRITICAL)
    transformers.logging.disable_progress_bar()
    yield
    torch.set_num_threads(before)
    transformers.logging.set_verbosity_warning()


FULL, SLIDING = ["full_attention"] * 2, ["full_attention", "sliding_attention"]

# Values to draw from for the keys that may matter, in the spellings of old files too, and for some of other families.
ANYWHERE = {
    "tie_word_embeddings": [True, False], "sliding_window": [None, 4], "layer_types": [None, FULL, SLIDING],
    "is_causal": [True, False], "attention_chunk_size": [None, 4], "pretraining_tp": [1, 2], "residual_multiplier": [0.3],
    "logits_scaling": [4.0], "final_logit_softcapping": [None, 5.0], "dtype": ["float32", "bfloat16"],
    "torch_dtype": ["float16"], "vocab_size": [64, 70], "add_cross_attention": [False, True], "is_decoder": [True],
    "use_qk_norm": [False, True], "num_labels": [3], "n_ctx": [16], "architectures": [["Another"]],
}  # fmt: skip
ACTIVATIONS = [
    "relu",
    "gelu",
    "gelu_new",
    "gelu_pytorch_tanh",
    "silu",
    "swish",
    "gelu_fast",
    "quick_gelu",
    "tanh",
    "relu2",
]
EPSILON = [1e-5, 1e-3, 0.5]
ROPE = {
    "rope_theta": [10_000.0, 500.0, 500_000, 100],
    "rope_parameters": [
        None, {}, {"rope_type": "default", "rope_theta": 300.0}, {"rope_theta": 70}, {"type": "default", "factor": 3.0},
        {"rope_type": "linear", "factor": 4.0, "rope_theta": 1e4}, {"rope_theta": 50.0, "partial_rotary_factor": 0.25},
        {"rope_type": "default", "partial_rotary_factor": 1.0}, {"full_attention": {"rope_theta": 5.0}},
    ],
    "rope_scaling": [
        None, {}, {"type": "linear", "factor": 2.0}, {"rope_type": "dynamic", "factor": 2.0}, {"rope_type": "default"},
        {"factor": 4.0}, {"type": "default", "rope_theta": 40.0}, {"rope_type": "linear", "factor": 2, "type": "default"},
        {"rope_type": "yarn", "factor": 2.0, "original_max_position_embeddings": 16},
        {"rope_type": "yarn", "factor": 4, "beta_fast": 2, "beta_slow": 0.1, "attention_factor": 0.7, "rope_theta": 80.0},
        {"rope_type": "yarn", "factor": 4, "mscale": 0.7, "mscale_all_dim": 0.3, "truncate": False, "beta_fast": 3},
        {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0},
        {
            "rope_type": "llama3", "factor": 8.0, "low_freq_factor": 0.1, "high_freq_factor": 2.0,
            "original_max_position_embeddings": 16,
        },
        {"rope_type": "longrope", "factor": 2.0, "short_factor": [1.0] * 4, "long_factor": [1.0] * 4},
        {"rope_type": "linear", "factor": 2.0, "another": 3},
    ],
    "partial_rotary_factor": [1.0, 0.5, 0.25, 0.75, 0.3],
}  # fmt: skip
LLAMA = ROPE | {
    "head_dim": [None, 8, 12, 16, 5], "num_key_value_heads": [None, 1, 2, 4, 3], "num_attention_heads": [4, 2, 8],
    "attention_bias": [False, True], "mlp_bias": [False, True], "hidden_act": ACTIVATIONS, "rms_norm_eps": EPSILON,
    "intermediate_size": [40], "num_hidden_layers": [1, 3], "hidden_size": [48], "max_position_embeddings": [64],
}  # fmt: skip
WINDOWS = {"use_sliding_window": [False, True], "sliding_window": [None, 4, 40], "max_window_layers": [0, 1, 28]}
GPT = {
    "hidden_size": [32, 48], "num_attention_heads": [4, 8], "num_hidden_layers": [2, 3], "max_position_embeddings": [32, 40],
    "n_embd": [48], "n_head": [2], "n_layer": [1], "n_positions": [64], "n_inner": [None, 40], "layer_norm_epsilon": EPSILON,
    "activation_function": ACTIVATIONS, "scale_attn_weights": [True, False],
}  # fmt: skip
DRAWN = {
    "gpt2": GPT,
    "gpt_bigcode": GPT | {"multi_query": [True, False], "num_key_value_heads": [1, 2]},
    "bloom": {
        "n_embed": [None, 32, 48], "num_attention_heads": [4, 2], "num_hidden_layers": [2, 3], "n_head": [3, 8], "n_layer": [3],
        "hidden_size": [48], "layer_norm_epsilon": EPSILON, "seq_length": [16], "slow_but_exact": [False, True], "n_inner": [40],
        "apply_residual_connection_post_layernorm": [False, True], "offset_alibi": [100],
    },
    "llama": LLAMA,
    "glm": LLAMA,
    "glm4": LLAMA,
    "mistral": LLAMA | {"sliding_window": [None, 4, 40], "layer_types": [FULL, None]},
    "qwen2": LLAMA | WINDOWS,
    "qwen3": LLAMA | WINDOWS,
    "gemma": LLAMA | {"hidden_activation": [None, "gelu"], "use_bidirectional_attention": [None, True]},
    "gemma2": LLAMA | {
        "hidden_activation": ACTIVATIONS, "query_pre_attn_scalar": [16, 8, 2.5], "attn_logit_softcapping": [None, 0.5, 50.0],
        "final_logit_softcapping": [None, 1.5, 30], "sliding_window": [4, 40, None], "use_bidirectional_attention": [True],
    },
    "olmo2": LLAMA,
    "gpt_neox": LLAMA | {
        "use_parallel_residual": [True, False], "rotary_pct": [0.25, 0.5, 1.0, 0.3], "rotary_emb_base": [10_000, 500.0],
        "layer_norm_eps": EPSILON,
    },
    "t5": {
        "feed_forward_proj": ["relu", "gelu", "gated-gelu", "gated-silu", "gated-relu", "gated-gelu_new", "tanh", "gated-tanh"],
        "dense_act_fn": ["relu", "gelu_new", "silu"], "is_gated_act": [True, False], "scale_decoder_outputs": [True, False],
        "relative_attention_num_buckets": [32, 16], "relative_attention_max_distance": [128, 20, 17, 16], "d_ff": [40],
        "num_decoder_layers": [None, 1, 3], "num_layers": [1, 3], "num_heads": [2], "d_kv": [8], "d_model": [48],
        "hidden_size": [32, 48], "num_attention_heads": [4, 2], "num_hidden_layers": [2, 3], "head_dim": [12, 8],
        "layer_norm_epsilon": EPSILON, "n_positions": [16], "is_encoder_decoder": [True],
    },
}  # fmt: skip
INERT = re.compile(  # no logits without dropout, labels or generation depend on these
    r".*_token_id|id2label|label2id|num_labels|problem_type|summary_\w+|transformers_version|architectures|_name_or_path"
    r"|model_type|_attn_implementation|classifier_dropout|hidden_dropout|chunk_size_feed_forward|initializer_\w+"
    r"|output_attentions|output_hidden_states|return_dict"
)


def values(family: str) -> dict[str, list]:
    """What to draw from for every key: both values of a flag, and some for every number from 0 to 1 (dropout)."""
    default = getattr(transformers, MODELS[family]).config_class().to_dict()
    plain = {
        key: [False, True] for key, value in default.items() if isinstance(value, bool) and not INERT.fullmatch(key)
    }
    rates = {
        key: [0.0, 0.4] for key, value in default.items() if isinstance(value, float) and key.endswith(("drop", "pout"))
    }
    return plain | rates | ANYWHERE | DRAWN[family]


@pytest.mark.parametrize("family", MODELS)
def test_every_key_that_transformers_reads_is_drawn_or_inert(family):
    model = getattr(transformers, MODELS[family])
    source = inspect.getsource(inspect.getmodule(model))
    read = {a or b for a, b in re.findall(r'\bconfig\.(\w+)|getattr\((?:self\.)?config, "(\w+)"', source)}
    known = values(family).keys() | BASE[family].keys()
    asked = (model.config_class().to_dict().keys() | read) - known
    methods = {key for key in asked if callable(getattr(model.config_class, key, None))}
    assert {key for key in asked - methods if not INERT.fullmatch(key) and not re.search("drop", key)} == set()


def drawn(family: str, seed: int) -> dict:
    """Up to four keys, each with one of its values."""
    draw, known = random.Random(f"{family} {seed}"), values(family)
    return {key: draw.choice(known[key]) for key in draw.sample(sorted(known), draw.randrange(5))}


def make(family: str, settings: dict, own_head: bool) -> nn.Module | None:
    """A random model of these settings; None where transformers itself refuses them."""
    model = getattr(transformers, MODELS[family])
    try:
        config = model.config_class.from_dict(dict(settings))
        config._attn_implementation = "eager"
        made = model(config)
        if own_head:
            made.lm_head.weight = nn.Parameter(torch.zeros_like(made.lm_head.weight))
        made = randomise(made.float())
        theirs(made, family)
    except Exception:  # of any kind: the settings are what is wrong
        return None
    return made


@torch.no_grad()
def theirs(model: nn.Module, family: str, seq: int = 20) -> torch.Tensor:
    tokens = torch.arange(40).view(2, 20)[:, :seq] * 7 % 64
    return model(tokens, decoder_input_ids=tokens.flip(1)).logits if family == "t5" else model(tokens).logits


@torch.no_grad()
def ours(folder, family: str) -> torch.Tensor:
    """Logits of as many of the 20 tokens as the context has, which a sliding window makes shorter, with a warning."""
    with warnings.catch_warnings(action="ignore"):
        model = load_hugging_face(folder, dtype=torch.float32)
    tokens = torch.arange(40).view(2, 20)[:, : model.config.context_length] * 7 % 64
    return model(tokens.flip(1), source=tokens) if family == "t5" else model(tokens)


def outcome(folder, family: str, change: dict, as_given: bool, own_head: bool = False) -> str:
    """ "same" or "refused", or "invalid" where transformers refuses; AssertionError for anything else."""
    settings = BASE[family] | change
    made = make(family, settings, own_head)
    if made is None:
        with contextlib.suppress(ValueError), warnings.catch_warnings(action="ignore"):
            config_from_hugging_face(settings | {"model_type": family})
        return "invalid"
    plain = save(made, folder)
    if as_given:
        plain = {**settings, "model_type": family}
        (folder / "config.json").write_text(json.dumps(plain))
    again = type(made).from_pretrained(folder, dtype=torch.float32, attn_implementation="eager").eval()
    try:
        found = ours(folder, family)
    except ValueError as error:
        base = type(made.config).from_dict(dict(BASE[family])).to_dict()
        other = change.keys() | {key for key, value in plain.items() if value != base.get(key)}
        other |= {key for name in other if isinstance(plain.get(name), dict) for key in plain[name]}
        assert any(key in str(error) for key in other), f"{change} is refused without a name: {error}"
        return "refused"
    wanted = theirs(again, family, found.shape[1])
    off = (found - wanted).abs().max() / wanted.abs().max()
    assert off < 1e-4, f"{family} with {change}, {as_given=}: the logits differ by {off:.1e} of the largest"
    return "same"


def check(tmp_path, family: str, seeds: range) -> None:
    found = [
        outcome(
            tmp_path, family, drawn(family, seed), as_given=seed % 2 == 0, own_head=family == "t5" and seed % 3 == 0
        )
        for seed in seeds
    ]
    assert found.count("same") > len(found) // 4 and "refused" in found


@pytest.mark.parametrize("family", MODELS)
def test_random_configurations_give_the_logits_or_are_refused_by_name(family, tmp_path):
    check(tmp_path, family, range(16))


@pytest.mark.slow
@pytest.mark.parametrize("family", MODELS)
def test_more_random_configurations_give_the_logits_or_are_refused_by_name(family, tmp_path):
    check(tmp_path, family, range(16, 120))


@pytest.mark.slow
@pytest.mark.parametrize("family", MODELS)
@pytest.mark.parametrize("as_given", [True, False])
def test_each_value_of_each_key_alone_gives_the_logits_or_is_refused_by_name(family, as_given, tmp_path):
    for key, choices in values(family).items():
        for value in choices:
            outcome(tmp_path, family, {key: value}, as_given)


IN_GLM = {  # what ChatGLM2 calls otherwise
    "padded_vocab_size": "vocab_size", "seq_length": "max_position_embeddings", "num_layers": "num_hidden_layers",
    "kv_channels": "head_dim", "ffn_hidden_size": "intermediate_size", "multi_query_group_num": "num_key_value_heads",
    "layernorm_epsilon": "rms_norm_eps", "add_qkv_bias": "attention_bias",
}  # fmt: skip


@pytest.mark.parametrize("seed", range(12))
def test_random_configurations_of_chatglm2_give_the_logits_of_glm(seed, tmp_path):
    draw = random.Random(seed)
    choices = {
        "kv_channels": [8, 12, 16], "num_layers": [1, 3], "multi_query_group_num": [1, 4], "layernorm_epsilon": [1e-5, 0.1],
        "add_qkv_bias": [False], "tie_word_embeddings": [True], "ffn_hidden_size": [40], "quantization_bit": [0],
    }  # fmt: skip
    settings = CHATGLM | {key: draw.choice(choices[key]) for key in draw.sample(sorted(choices), 3)}
    named = {IN_GLM.get(key, key): value for key, value in settings.items() if key in (*IN_GLM, "tie_word_embeddings")}
    they = make("glm", BASE["glm"] | named, own_head=False)
    save_file({name: x.clone() for name, x in as_chatglm(they.state_dict()).items()}, tmp_path / "model.safetensors")
    (tmp_path / "config.json").write_text(json.dumps(settings))
    torch.testing.assert_close(ours(tmp_path, "chatglm"), theirs(they, "glm"), atol=1e-5, rtol=0)
