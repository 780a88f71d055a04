"""Weights from Hugging Face: the same logits from the same tensors, for every kind of model that can be loaded."""

import doctest
import importlib
import pkgutil
import warnings

import pytest
import torch
import torch.nn.functional as F
from hugging_face_oracle import (
    CASES,
    LLAMA,
    WRITTEN_BY,
    as_chatglm,
    both,
    check_loaded,
    close,
    ours,
    padding,
    save,
    theirs,
    tokens,
    without_newer_keys,
)
from torch import nn

from cs336lite.accounting import parameters
from cs336lite.course import hugging_face
from cs336lite.course.hugging_face import config_from_hugging_face, from_hugging_face, load_hugging_face
from cs336lite.model import Transformer
from cs336lite.presets import PRESETS

transformers = pytest.importorskip("transformers")


@pytest.fixture(autouse=True, scope="module")
def one_thread():
    """Small tensors gain nothing by more."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(params=CASES)
def name(request):
    return request.param


@torch.no_grad()
def test_the_logits_are_theirs(name):
    they = theirs(name)
    we = ours(they)
    wanted, found = both(they, we)
    assert wanted.std() > 0.05 and parameters(we) == parameters(they) == parameters(we.config.shape)
    close(found, wanted)


@torch.no_grad()
def test_the_logits_are_theirs_token_by_token(name):
    """With a cache, beside rows that are padded on the left."""
    they, real = theirs(name), padding("left")
    we = ours(they)
    wanted, found = both(they, we, real)
    assert torch.equal(found, both(they, we, real)[1])
    places, cache = (real.cumsum(-1) - 1).clamp(min=0), we.new_cache(24)
    given = {} if we.encoder is None else {"context": we.encode(tokens(seq=20, seed=1))}
    pieces = [(0, 14), (14, 15), (15, 16), (16, 24)]
    steps = [
        we(tokens()[:, a:b], cache=cache, padding=real[:, :b], **given)
        if we.encoder is not None
        else we(tokens()[:, a:b], cache=cache, padding=real[:, :b], token_positions=places[:, a:b])
        for a, b in pieces
    ]
    close(torch.cat(steps, dim=1)[real], wanted[real])


@pytest.mark.parametrize("name", ["llama 3.1", "gemma2", "t5"])
def test_the_loss_is_theirs(name):
    they = theirs(name)
    we, targets = ours(they), tokens(seed=2)
    given = {"source": tokens(seq=20, seed=1)} if we.encoder is not None else {}
    wanted, _ = both(they, we)
    expected = F.cross_entropy(wanted.flatten(0, 1), targets.flatten())
    torch.testing.assert_close(we.loss(tokens(), targets, **given), expected, atol=1e-5, rtol=1e-5)


@torch.no_grad()
@pytest.mark.parametrize("name", ["gemma2", "olmo2, grouped", "llama, yarn", "gpt_neox", "qwen3"])
def test_half_precision_is_theirs_to_its_rounding(name, tmp_path):
    they = theirs(name)
    save(they, tmp_path)
    half = load_hugging_face(tmp_path, torch.bfloat16)
    wanted, found = both(they, half)
    assert found.dtype == torch.bfloat16 and {p.dtype for p in half.parameters()} == {torch.bfloat16}
    assert (found.float() - wanted).abs().mean() < 0.05 * wanted.std()


@torch.no_grad()
def test_a_sliding_window_bounds_the_context_and_says_so():
    made = transformers.MistralForCausalLM(transformers.MistralConfig(**LLAMA | dict(sliding_window=8))).eval()
    with pytest.warns(
        UserWarning, match=r"sliding_window is 8, .* reads at most 8 tokens, .* max_position_embeddings = 32"
    ):
        we = ours(made)
    x = tokens()
    close(we(x[:, :8]), made(x[:, :8]).logits)
    assert (made(x[:, :9]).logits - ours_without_window(made)(x[:, :9]))[:, -1].abs().max() > 1e-3
    with pytest.raises(ValueError, match="from 0 to 8"):
        we(x[:, :9])


def ours_without_window(they: nn.Module) -> Transformer:
    """What would come out if the window were passed over."""
    settings = they.config.to_dict() | {"sliding_window": None}
    config = config_from_hugging_face(without_newer_keys(settings))
    made = Transformer(config)
    made.load_state_dict(from_hugging_face(they.state_dict(), config, "mistral"))
    return made.eval()


@pytest.mark.skipif(transformers.__version__ != WRITTEN_BY, reason=f"says what transformers {WRITTEN_BY} writes")
@pytest.mark.parametrize("family", sorted({config for _, config, _ in CASES.values()}))
def test_every_key_that_a_configuration_has_by_default_is_known(family):
    """Also without the tests' own pruning: the defaults of every class load."""
    settings = getattr(transformers, family)().to_dict()
    with warnings.catch_warnings(action="ignore"):
        config_from_hugging_face(settings)


@torch.no_grad()
@pytest.mark.parametrize("side", ["left", "right"])
def test_the_logits_are_theirs_with_padding(name, side):
    they, real = theirs(name), padding(side)
    we = ours(they)
    read = padding(side, 20) if we.encoder is not None else None
    wanted, found = both(they, we, real, read)
    close(found[real], wanted[real])
    if side == "left" or we.encoder is not None:  # on the right, nobody who counts sees it
        assert not torch.allclose(both(they, we)[1][real], wanted[real], atol=1e-3)


@torch.no_grad()
def test_chatglm2_is_glm_with_other_names_and_fused_matrices():
    they = theirs("glm")
    fused = {"transformer.rotary_pos_emb.inv_freq": torch.ones(2)} | as_chatglm(they.state_dict())
    config = config_from_hugging_face(
        dict(
            model_type="chatglm", padded_vocab_size=64, seq_length=32, hidden_size=32, num_layers=2, kv_channels=8,
            num_attention_heads=4, ffn_hidden_size=48, multi_query_group_num=2, layernorm_epsilon=1.5625e-7,
            add_qkv_bias=True, rmsnorm=True, post_layer_norm=True, multi_query_attention=True, add_bias_linear=False,
            apply_residual_connection_post_layernorm=False, tie_word_embeddings=False, interleaved_qkv=False,
        )
    )  # fmt: skip
    we = Transformer(config).eval()
    we.load_state_dict(from_hugging_face(fused, config, "chatglm"))
    wanted, found = both(they, we)
    close(found, wanted)


@torch.no_grad()
def test_a_saved_folder_gives_the_logits(name, tmp_path):
    they = theirs(name)
    save(they, tmp_path)
    check_loaded(they, load_hugging_face(tmp_path))


HUB = {  # what config.json says on the hub, shortened
    "gpt2": dict(
        activation_function="gelu_new", model_type="gpt2", n_ctx=1024, n_embd=768, n_head=12, n_layer=12,
        n_positions=1024, layer_norm_epsilon=1e-05, vocab_size=50257, attn_pdrop=0.1,
    ),
    "llama2-70b": dict(
        model_type="llama", hidden_act="silu", hidden_size=8192, intermediate_size=28672, vocab_size=32000,
        max_position_embeddings=4096, num_attention_heads=64, num_hidden_layers=80, num_key_value_heads=8,
        pretraining_tp=1, rms_norm_eps=1e-05, rope_scaling=None, tie_word_embeddings=False,
    ),
    "bloom-176b": dict(
        model_type="bloom", n_embed=14336, n_layer=70, num_attention_heads=112, vocab_size=250880, seq_length=2048,
        layer_norm_epsilon=1e-05, apply_residual_connection_post_layernorm=False, pretraining_tp=4,
    ),
    "starcoder": dict(
        model_type="gpt_bigcode", activation_function="gelu", n_embd=6144, n_head=48, n_inner=24576, n_layer=40,
        n_positions=8192, vocab_size=49152, multi_query=True, layer_norm_epsilon=1e-05,
    ),
    "t5-11b": dict(
        model_type="t5", d_ff=65536, d_kv=128, d_model=1024, num_heads=128, num_layers=24, vocab_size=32128,
        n_positions=512, relative_attention_num_buckets=32, layer_norm_epsilon=1e-06,
    ),
    "t5-v1.1-xl": dict(
        model_type="t5", d_ff=5120, d_kv=64, d_model=2048, num_heads=32, num_layers=24, num_decoder_layers=24,
        feed_forward_proj="gated-gelu", tie_word_embeddings=False, vocab_size=32128, layer_norm_epsilon=1e-06,
    ),
    "chatglm2-6b": dict(
        model_type="chatglm", add_bias_linear=False, add_qkv_bias=True, ffn_hidden_size=13696, hidden_size=4096,
        apply_residual_connection_post_layernorm=False, kv_channels=128, layernorm_epsilon=1e-05, num_layers=28,
        multi_query_attention=True, multi_query_group_num=2, num_attention_heads=32, padded_vocab_size=65024,
        post_layer_norm=True, rmsnorm=True, seq_length=32768, pre_seq_len=None, tie_word_embeddings=False,
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", HUB)
def test_a_published_config_is_the_preset(name):
    found, wanted = config_from_hugging_face(HUB[name]), PRESETS[name]
    assert found.head_size == wanted.head_size
    assert found.replace(d_head=wanted.d_head) == wanted


OF_ALL = dict(
    attention_dropout=0.0, bos_token_id=1, eos_token_id=2, hidden_act="silu", initializer_range=0.02, torch_dtype="bfloat16",
    transformers_version="4.44.0", use_cache=True,
)  # fmt: skip
RELEASED = {  # what else config.json says on the hub, and the number of parameters that the hub counts in the tensors
    "Llama-3.1-8B": (8_030_261_248, dict(
        model_type="llama", attention_bias=False, hidden_size=4096, intermediate_size=14336, max_position_embeddings=131072,
        mlp_bias=False, num_attention_heads=32, num_hidden_layers=32, num_key_value_heads=8, pretraining_tp=1,
        rms_norm_eps=1e-05, rope_theta=500000.0, tie_word_embeddings=False, vocab_size=128256, rope_scaling=dict(
            factor=8.0, low_freq_factor=1.0, high_freq_factor=4.0, original_max_position_embeddings=8192, rope_type="llama3",
        ),
    )),
    "Mistral-7B-v0.1": (7_241_732_096, dict(
        model_type="mistral", hidden_size=4096, intermediate_size=14336, max_position_embeddings=32768, rope_theta=10000.0,
        num_attention_heads=32, num_hidden_layers=32, num_key_value_heads=8, rms_norm_eps=1e-05, sliding_window=4096,
        tie_word_embeddings=False, vocab_size=32000,
    )),
    "Qwen2.5-7B": (7_615_616_512, dict(
        model_type="qwen2", hidden_size=3584, intermediate_size=18944, max_position_embeddings=131072, max_window_layers=28,
        num_attention_heads=28, num_hidden_layers=28, num_key_value_heads=4, rms_norm_eps=1e-06, rope_theta=1000000.0,
        sliding_window=131072, tie_word_embeddings=False, use_mrope=False, use_sliding_window=False, vocab_size=152064,
    )),
    "Qwen3-8B": (8_190_735_360, dict(
        model_type="qwen3", attention_bias=False, head_dim=128, hidden_size=4096, intermediate_size=12288,
        max_position_embeddings=40960, max_window_layers=36, num_attention_heads=32, num_hidden_layers=36,
        num_key_value_heads=8, rms_norm_eps=1e-06, rope_scaling=None, rope_theta=1000000, sliding_window=None,
        tie_word_embeddings=False, use_sliding_window=False, vocab_size=151936,
    )),
    "gemma-2-9b": (9_241_705_984, dict(
        model_type="gemma2", attention_bias=False, attn_logit_softcapping=50.0, cache_implementation="hybrid", head_dim=256,
        final_logit_softcapping=30.0, hidden_activation="gelu_pytorch_tanh", hidden_size=3584, intermediate_size=14336,
        max_position_embeddings=8192, num_attention_heads=16, num_hidden_layers=42, num_key_value_heads=8,
        query_pre_attn_scalar=256, rms_norm_eps=1e-06, rope_theta=10000.0, sliding_window=4096, sliding_window_size=4096,
        vocab_size=256000,
    )),
    "OLMo-2-1124-7B": (7_298_617_344, dict(
        model_type="olmo2", attention_bias=False, hidden_size=4096, intermediate_size=11008, max_position_embeddings=4096,
        num_attention_heads=32, num_hidden_layers=32, num_key_value_heads=32, rms_norm_eps=1e-06, rope_scaling=None,
        rope_theta=500000, tie_word_embeddings=False, vocab_size=100352,
    )),
    "pythia-1b": (1_011_781_632, dict(
        model_type="gpt_neox", hidden_act="gelu", hidden_size=2048, intermediate_size=8192, layer_norm_eps=1e-05,
        max_position_embeddings=2048, num_attention_heads=8, num_hidden_layers=16, rotary_emb_base=10000, rotary_pct=0.25,
        tie_word_embeddings=False, use_parallel_residual=True, vocab_size=50304, classifier_dropout=0.1,
    )),
}  # fmt: skip


@pytest.mark.parametrize("name", RELEASED)
def test_a_released_config_is_read_and_has_its_number_of_parameters(name):
    number, settings = RELEASED[name]
    with warnings.catch_warnings(record=True, action="always") as said:
        config = config_from_hugging_face(OF_ALL | settings)
    assert parameters(config.shape) == number
    windows = {"Mistral-7B-v0.1": 4_096, "gemma-2-9b": 4_096}
    assert len(said) == (name in windows)
    assert config.context_length == windows.get(name, settings["max_position_embeddings"])


def test_a_state_of_tensors_is_checked_too_and_stays_as_it_is():
    they = theirs("gpt2")
    state = they.state_dict()
    config = config_from_hugging_face(without_newer_keys(they.config.to_dict()))
    before = {name: tensor.clone() for name, tensor in state.items()}
    found = from_hugging_face(state, config, "gpt2", dtype=torch.float64)
    assert found["output.weight"] is found["embedding.weight"] and found["embedding.weight"].dtype == torch.float64
    found["embedding.weight"].zero_()
    found["decoder.norm.weight"].zero_()
    assert all(torch.equal(state[name], tensor) for name, tensor in before.items())
    with pytest.raises(ValueError, match="tied_embeddings=False"):
        from_hugging_face(state | {"lm_head.weight": torch.zeros(64, 32)}, config, "gpt2")
    with pytest.raises(ValueError, match="family 'gpt3'"):
        from_hugging_face(state, config, "gpt3")
    with pytest.raises(
        ValueError, match=r"nothing for these parts of the configuration:\s+decoder.blocks.0.attention.q_norm"
    ):
        from_hugging_face(state, config.replace(qk_norm=nn.RMSNorm), "gpt2")
    with pytest.raises(ValueError, match="missing"):
        from_hugging_face(state, config.replace(num_layers=3), "gpt2")


def test_the_examples_in_the_docstrings():
    found = [
        doctest.testmod(importlib.import_module(f"{hugging_face.__name__}.{part.name}"))
        for part in pkgutil.iter_modules(hugging_face.__path__)
    ]
    assert sum(one.failed for one in found) == 0 and sum(one.attempted for one in found) >= 4
