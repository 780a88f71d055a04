"""Weights from Hugging Face: the same logits from the same tensors, and what is said of files that do not fit."""

import copy
import doctest
import functools
import json
import re
import shutil
from pathlib import Path

import pytest
import torch
from hugging_face_oracle import as_chatglm, randomise
from safetensors.torch import load_file, save_file
from torch import nn

from cs336lite.accounting import parameters
from cs336lite.course import families, hugging_face
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


GPT2 = dict(vocab_size=64, n_positions=32, n_embd=32, n_layer=2, n_head=4)
LLAMA = dict(
    vocab_size=64, hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=4,
    num_key_value_heads=2, max_position_embeddings=32, pad_token_id=None,
)  # fmt: skip
BLOOM = dict(vocab_size=64, hidden_size=32, n_layer=2, n_head=4)
T5 = dict(vocab_size=64, d_model=32, d_kv=12, d_ff=48, num_layers=2, num_heads=4)
GATED = dict(feed_forward_proj="gated-gelu", tie_word_embeddings=False)
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
    settings = model.config.to_dict()
    config = config_from_hugging_face(settings)
    state = model.state_dict()
    if "scale_decoder_outputs" in settings:  # the newer T5Config always says that they are tied
        config = config.replace(tied_embeddings=torch.equal(state["lm_head.weight"], state["shared.weight"]))
    made = Transformer(config)
    made.load_state_dict(from_hugging_face(state, config, settings["model_type"]))
    return made.eval()


@pytest.fixture(params=CASES)
def name(request):
    return request.param


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


@torch.no_grad()
def test_the_logits_are_theirs(name):
    they = theirs(name)
    we = ours(they)
    wanted, found = both(they, we)
    assert wanted.std() > 0.05 and parameters(we) == parameters(they)
    close(found, wanted)


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


def check_loaded(they: nn.Module, we: Transformer) -> None:
    assert not we.training and not any(p.is_meta for p in (*we.parameters(), *we.buffers()))
    assert parameters(we) == parameters(they) and all(p.requires_grad for p in we.parameters())
    assert (we.output.weight is we.embedding.weight) == we.config.tied_embeddings
    wanted, found = both(they, we)
    close(found, wanted)


@torch.no_grad()
def test_a_saved_folder_gives_the_logits(name, tmp_path):
    they = theirs(name)
    they.save_pretrained(tmp_path)
    check_loaded(they, load_hugging_face(tmp_path))


@torch.no_grad()
@pytest.mark.parametrize("name", ["llama, grouped", "t5 v1.1"])
def test_shards_give_the_logits(name, tmp_path):
    they = theirs(name)
    they.save_pretrained(tmp_path, max_shard_size="15KB")
    assert len(list(tmp_path.glob("*.safetensors"))) > 1 and not (tmp_path / "model.safetensors").exists()
    check_loaded(they, load_hugging_face(tmp_path))


@torch.no_grad()
def test_weights_can_be_loaded_in_another_dtype(folder):
    half = load_hugging_face(folder, dtype=torch.bfloat16)
    assert {p.dtype for p in half.parameters()} == {torch.bfloat16}
    wanted, found = both(theirs("llama, grouped"), half)
    assert found.dtype == torch.bfloat16
    torch.testing.assert_close(found.float(), wanted, atol=0.1, rtol=0.1)
    change(folder, lambda state: state.update({name: tensor.half() for name, tensor in state.items()}))
    assert {p.dtype for p in load_hugging_face(folder).parameters()} == {torch.float16}
    assert {p.dtype for p in load_hugging_face(folder, dtype=torch.float32).parameters()} == {torch.float32}
    for other in (torch.int8, torch.float8_e4m3fn, "bfloat16"):
        with pytest.raises(ValueError, match=r"dtype is .*must be None or one of torch.float64"):
            load_hugging_face(folder, dtype=other)


def test_a_loaded_model_can_be_trained_and_keeps_no_file_open(tmp_path):
    they = theirs("gpt2")
    they.save_pretrained(tmp_path)
    we = load_hugging_face(str(tmp_path))
    (tmp_path / "model.safetensors").write_bytes(b"")
    with torch.no_grad():
        wanted, found = both(they, we)
    close(found, wanted)
    we.loss(tokens(), tokens(seed=2)).backward()
    torch.optim.SGD(we.parameters(), 0.1).step()
    assert we.output.weight is we.embedding.weight


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


SMALL_LLAMA = dict(LLAMA, model_type="llama")


@pytest.mark.parametrize(
    "change, said",
    [
        ({"model_type": "mamba"}, "model_type is 'mamba'.*gpt2"),
        ({"model_type": None}, "model_type is None"),
        ({"rope_scaling": {"type": "linear", "factor": 2.0}}, "'linear' is not supported"),
        ({"rope_scaling": {"rope_type": "llama3", "factor": 8.0}}, "'llama3' is not supported"),
        ({"rope_parameters": {"rope_type": "yarn", "rope_theta": 1e4}}, "'yarn' is not supported"),
        ({"sliding_window": 4096}, "sliding_window = 4096"),
        ({"final_logit_softcapping": 30.0}, "final_logit_softcapping = 30.0"),
        ({"hidden_act": "laplace"}, "'laplace' is not supported"),
        ({"attention_bias": True}, "attention_bias True with mlp_bias False"),
        ({"quantization_config": {"bits": 4}}, "quantization_config"),
        ({"num_attention_heads": 5}, "heads"),
    ],
)
def test_options_that_the_model_lacks_are_refused(change, said):
    config_from_hugging_face(SMALL_LLAMA)
    with pytest.raises(ValueError, match=said):
        config_from_hugging_face(SMALL_LLAMA | change)


@pytest.mark.parametrize(
    "settings, said",
    [
        (GPT2 | {"model_type": "gpt2", "scale_attn_by_inverse_layer_idx": True}, "scale_attn_by_inverse_layer_idx"),
        (GPT2 | {"model_type": "gpt2", "add_cross_attention": True}, "add_cross_attention"),
        (T5 | {"model_type": "t5", "relative_attention_num_buckets": 16}, "relative_attention_num_buckets = 16"),
        (T5 | {"model_type": "t5", "feed_forward_proj": "gated-tanh"}, "'tanh' is not supported"),
        (BLOOM | {"model_type": "bloom", "apply_residual_connection_post_layernorm": True}, "post_layernorm = True"),
        ({"model_type": "chatglm", "hidden_size": 4096}, "only ChatGLM2 and 3"),
        ({"model_type": "llama", "vocab_size": 64}, "says nothing about 'hidden_size'|says nothing about"),
    ],
)
def test_other_options_and_missing_ones_are_refused(settings, said):
    with pytest.raises(ValueError, match=said):
        config_from_hugging_face(settings)


@pytest.fixture
def folder(tmp_path):
    theirs("llama, grouped").save_pretrained(tmp_path)
    return tmp_path


def change(folder, edit):
    state = load_file(folder / "model.safetensors")
    edit(state)
    save_file(state, folder / "model.safetensors")


def test_missing_tensors_are_all_named_and_at_most_ten_shown(folder):
    change(folder, lambda state: [state.pop(f"model.layers.{i}.mlp.up_proj.weight") for i in (0, 1)])
    with pytest.raises(ValueError, match=r"2 of 21 tensors are missing") as caught:
        load_hugging_face(folder)
    assert "layers.0.mlp.up_proj.weight (48, 32)" in str(caught.value) and "layers.1.mlp.up_proj" in str(caught.value)
    change(folder, lambda state: [state.pop(name) for name in list(state)[:14]])
    with pytest.raises(ValueError, match="16 of 21 tensors are missing") as caught:
        load_hugging_face(folder)
    assert len(str(caught.value).splitlines()) == 12 and "6 more" in str(caught.value)


def test_a_tensor_of_another_shape_is_named_with_both_shapes(folder):
    change(folder, lambda state: state.update({"model.norm.weight": torch.zeros(31)}))
    with pytest.raises(ValueError, match=r"norm.weight is \(31,\), wanted \(32,\)"):
        load_hugging_face(folder)


def test_weights_that_have_no_place_are_refused_and_constants_are_not(folder):
    change(folder, lambda state: state.update({"model.layers.0.self_attn.rotary_emb.inv_freq": torch.zeros(4)}))
    load_hugging_face(folder)
    change(folder, lambda state: state.update({"model.layers.2.mlp.up_proj.weight": torch.zeros(48, 32)}))
    with pytest.raises(ValueError, match=r"no place in this model:\s+layers.2.mlp.up_proj.weight \(48, 32\)"):
        load_hugging_face(folder)


@pytest.mark.parametrize("dtype", [torch.int8, torch.float8_e4m3fn, torch.float8_e5m2])
@pytest.mark.parametrize("asked", [None, torch.float32])
def test_quantised_weights_are_refused(folder, dtype, asked):
    change(folder, lambda state: state.update({"lm_head.weight": torch.zeros(64, 32).to(dtype)}))
    with pytest.raises(ValueError, match=rf"lm_head.weight holds {dtype}"):
        load_hugging_face(folder, asked)


@torch.no_grad()
@pytest.mark.parametrize("wide", ["norm", "lm_head", "embed_tokens", "down_proj"])
def test_of_several_dtypes_the_widest_is_loaded_and_named(folder, wide):
    def mix(state):
        constant = {"model.layers.0.self_attn.rotary_emb.inv_freq": torch.zeros(4, dtype=torch.float64)}
        state.update({name: x if wide in name else x.bfloat16() for name, x in state.items()} | constant)

    change(folder, mix)
    they = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    with pytest.warns(UserWarning, match="in torch.(bfloat16|float32) and .*: all tensors are loaded in torch.float32"):
        we = load_hugging_face(folder)
    assert {p.dtype for p in we.parameters()} == {torch.float32}
    wanted, found = both(they, we)
    close(found, wanted)
    assert load_hugging_face(folder, torch.bfloat16)(tokens()).dtype == torch.bfloat16


@torch.no_grad()
@pytest.mark.parametrize("name", ["t5", "t5 v1.1"])
def test_t5_whose_last_matrices_stay_wide_is_loaded(name, tmp_path):
    theirs(name).save_pretrained(tmp_path)
    half = type(theirs(name)).from_pretrained(tmp_path, dtype=torch.float16)
    half.save_pretrained(tmp_path)
    with pytest.warns(UserWarning, match="float16.*float32"):
        we = load_hugging_face(tmp_path)
    wanted, found = both(half.float(), we)
    close(found, wanted)


@torch.no_grad()
@pytest.mark.parametrize("gone", [False, True])
def test_one_file_counts_before_an_index_of_older_parts(tmp_path, gone):
    old, new = theirs("llama, grouped"), randomise(copy.deepcopy(theirs("llama, grouped")), seed=1)
    old.save_pretrained(tmp_path, max_shard_size="15KB")
    if gone:
        [path.unlink() for path in tmp_path.glob("model-*.safetensors")]
    save_file(new.state_dict(), tmp_path / "model.safetensors", metadata={"format": "pt"})
    they = transformers.AutoModelForCausalLM.from_pretrained(tmp_path)
    wanted, found = both(they, load_hugging_face(tmp_path))
    close(found, wanted)
    close(found, both(new, load_hugging_face(tmp_path))[0])


@torch.no_grad()
def test_t5_has_one_embedding_under_whatever_names(tmp_path):
    they = theirs("t5")
    they.save_pretrained(tmp_path)
    table = they.shared.weight
    for kept in ("shared", "encoder.embed_tokens", "decoder.embed_tokens", "lm_head"):
        change(tmp_path, lambda state: state.update({f"{kept}.weight": table.clone()}))  # noqa: B023
    wanted, found = both(they, load_hugging_face(tmp_path))
    close(found, wanted)
    change(tmp_path, lambda state: state.pop("shared.weight"))  # as MADLAD comes
    close(both(they, load_hugging_face(tmp_path))[1], wanted)
    change(tmp_path, lambda state: state.update({"decoder.embed_tokens.weight": table + 1}))
    with pytest.raises(ValueError, match=r"decoder.embed_tokens.weight .*and encoder.embed_tokens.weight .*differ"):
        load_hugging_face(tmp_path)


def test_two_of_one_name_must_be_equal(folder, tmp_path_factory):
    change(folder, lambda state: state.update({"norm.weight": state["model.norm.weight"].clone()}))
    load_hugging_face(folder)
    change(folder, lambda state: state.update({"norm.weight": torch.zeros(32)}))
    with pytest.raises(ValueError, match=r"model.norm.weight in .* and norm.weight in .* same weight .* differ"):
        load_hugging_face(folder)
    sharded = tmp_path_factory.mktemp("sharded")
    theirs("llama, grouped").save_pretrained(sharded, max_shard_size="15KB")
    first, last = sorted(sharded.glob("*.safetensors"))[:: len(list(sharded.glob("*.safetensors"))) - 1]
    name, tensor = next(iter(load_file(first).items()))
    save_file(load_file(last) | {name: tensor + 1}, last)
    with pytest.raises(ValueError, match=f"{name} in {first.name} and {name} in {last.name}"):
        load_hugging_face(sharded)


@pytest.mark.parametrize(
    "prefix, said",
    [
        ("_orig_mod.", "torch.compile"), ("module.", "DataParallel"), ("_orig_mod.module.", "torch.compile"),
        ("base_model.model.", "PEFT"), ("_fsdp_wrapped_module.", "FSDP"),
    ],
)  # fmt: skip
def test_what_wrappers_put_into_names_is_named(folder, prefix, said):
    state = load_file(folder / "model.safetensors")
    save_file({prefix + name: tensor for name, tensor in state.items()}, folder / "model.safetensors")
    with pytest.raises(
        ValueError, match=rf"'{re.match('[a-z_]+[.](model.)?', prefix)[0]}' is put into names by {said}"
    ):
        load_hugging_face(folder)
    inside = {name.replace("layers.0.", "layers.0._orig_mod."): tensor for name, tensor in state.items()}
    save_file(inside, folder / "model.safetensors")
    with pytest.raises(ValueError, match=r"'_orig_mod.' is put into names by torch.compile"):
        load_hugging_face(folder)


def test_adapters_are_refused(folder):
    lora = "base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight"
    save_file({lora: torch.zeros(4, 32)}, folder / "model.safetensors")
    with pytest.raises(ValueError, match=r"q_proj.lora_A.weight is part of a LoRA adapter.*merge_and_unload"):
        load_hugging_face(folder)
    (folder / "adapter_config.json").write_text("{}")
    for name in ("model.safetensors", "config.json"):
        with pytest.raises(ValueError, match=r"has adapter_config.json.*merge_and_unload"):
            load_hugging_face(folder)
        (folder / name).unlink()


def test_what_a_file_holds_in_place_of_the_missing_is_shown(folder):
    def fuse(state):
        for i in (0, 1):
            parts = [state.pop(f"model.layers.{i}.self_attn.{part}_proj.weight") for part in "qkv"]
            state[f"model.layers.{i}.self_attn.qkv_proj.weight"] = torch.cat(parts)

    change(folder, fuse)
    said = r"(?s)6 of 21 tensors are missing.*and 2 tensors have no place in this model:\s+layers.0.self_attn.qkv_proj.weight"
    with pytest.raises(ValueError, match=said):
        load_hugging_face(folder)
    save_file({}, folder / "model.safetensors")
    with pytest.raises(ValueError, match="there are no tensors"):
        load_hugging_face(folder)


@pytest.mark.parametrize("keep", [0, 4, 200, -1])
def test_a_truncated_file_is_refused(folder, keep):
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(ValueError, match=r"model.safetensors is damaged"):
        load_hugging_face(folder)


def test_a_file_with_a_broken_header_is_refused(folder):
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes().replace(b'"dtype"', b'"dtpye"', 1))
    with pytest.raises(ValueError, match=r"model.safetensors is damaged"):
        load_hugging_face(folder)


def test_absent_files_are_named(folder, tmp_path_factory):
    with pytest.raises(FileNotFoundError, match=r"no config.json in .*nowhere"):
        load_hugging_face(folder / "nowhere")
    sharded = tmp_path_factory.mktemp("sharded")
    theirs("llama, grouped").save_pretrained(sharded, max_shard_size="15KB")
    first = sorted(sharded.glob("*.safetensors"))[0]
    first.unlink()
    with pytest.raises(FileNotFoundError, match=f"(?s)lacks 1 of .*{first.name}"):
        load_hugging_face(sharded)
    (folder / "model.safetensors").unlink()
    with pytest.raises(FileNotFoundError, match=r"neither model.safetensors nor model.safetensors.index.json"):
        load_hugging_face(folder)
    (folder / "pytorch_model.bin").write_bytes(b"anything")
    with pytest.raises(FileNotFoundError, match=r"pytorch_model.bin and no safetensors.*save_pretrained"):
        load_hugging_face(folder)
    (folder / "config.json").write_text("{")
    with pytest.raises(ValueError, match=r"config.json is not valid JSON"):
        load_hugging_face(folder)


@pytest.mark.parametrize(
    "name, text, said",
    [
        ("config.json", "[1]", r"config.json holds '\[1\]', and must hold an object"),
        ("config.json", "null", r"config.json holds 'None'"),
        ("config.json", '{"model_type": "llama", "vocab_size": "64"}', r"config.json: .*size"),
        ("model.safetensors.index.json", "[]", r"index.json holds '\[\]'"),
        ("model.safetensors.index.json", "{}", r"index.json has no weight_map"),
        ("model.safetensors.index.json", '{"weight_map": []}', r"index.json has no weight_map"),
        ("model.safetensors.index.json", '{"weight_map": {"a": 1}}', r"a is in 1, which is no name of a file"),
        ("model.safetensors.index.json", '{"weight_map": {"a": "../b"}}', r"a is in '../b', which is no name"),
    ],
)
def test_json_of_another_form_is_refused(folder, name, text, said):
    (folder / "model.safetensors").rename(folder / "model-00001-of-00001.safetensors")
    (folder / name).write_text(text)
    with pytest.raises(ValueError, match=said):
        load_hugging_face(folder)


def test_a_mark_of_windows_before_the_config_does_no_harm(folder):
    settings = (folder / "config.json").read_text()
    (folder / "config.json").write_text(settings, encoding="utf-8-sig")
    load_hugging_face(folder)


def test_what_is_no_folder_is_named(folder):
    with pytest.raises(FileNotFoundError, match=r"config.json is a file: give the folder that holds it"):
        load_hugging_face(folder / "config.json")
    with pytest.raises(FileNotFoundError, match=r"meta-llama.Llama-3.2-1B, which is no folder .*hf download"):
        load_hugging_face("meta-llama/Llama-3.2-1B")
    (folder / "model.safetensors").rename(folder / "model.fp16.safetensors")
    with pytest.raises(FileNotFoundError, match=r"neither model.safetensors nor .* only model.fp16.safetensors"):
        load_hugging_face(folder)


def test_a_snapshot_of_the_hubs_cache_is_read_and_its_broken_links_are_named(folder, tmp_path_factory):
    cache = tmp_path_factory.mktemp("hub") / "models--a--b"
    snapshot, blobs = cache / "snapshots" / "abc", cache / "blobs"
    snapshot.mkdir(parents=True)
    blobs.mkdir()
    for path in folder.iterdir():
        shutil.copy(path, blobs / f"blob of {path.name}")
        (snapshot / path.name).symlink_to(Path("../../blobs") / f"blob of {path.name}")
    load_hugging_face(snapshot)
    with pytest.raises(FileNotFoundError, match=r"cache of a model with all its versions: give one of .*abc"):
        load_hugging_face(cache)
    for name in ("model.safetensors", "config.json"):
        (blobs / f"blob of {name}").unlink()
        with pytest.raises(FileNotFoundError, match=rf"{name} is a link to .*blob of {name}, which is not there"):
            load_hugging_face(snapshot)


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 548105171\n", "pointer of Git LFS"),
        (b"<!DOCTYPE html><html><body>Please log in</body></html>", "is a web page"),
        (b"", "is damaged"),
    ],
)
def test_another_file_in_the_place_of_weights_is_told(folder, content, told):
    (folder / "model.safetensors").write_bytes(content)
    with pytest.raises(ValueError, match=f"model.safetensors {told}|model.safetensors is a {told}"):
        load_hugging_face(folder)


def test_a_shard_without_its_tensors_is_noticed(folder, tmp_path_factory):
    sharded = tmp_path_factory.mktemp("sharded")
    theirs("llama, grouped").save_pretrained(sharded, max_shard_size="15KB")
    index = json.loads((sharded / "model.safetensors.index.json").read_text())
    shard = sharded / index["weight_map"]["model.norm.weight"]
    state = load_file(shard)
    del state["model.norm.weight"]
    save_file(state, shard)
    with pytest.raises(ValueError, match=r"1 of 21 tensors are missing:\s+norm.weight \(32,\)"):
        load_hugging_face(sharded)


def test_nothing_is_taken_from_a_file_that_does_not_fit(folder, monkeypatch):
    """One small tensor has another shape: none is read then, and no model is filled."""
    read, filled = [], []

    class Watched:
        def __init__(self, file):
            self.keys, self.get_slice, self.file = file.keys, file.get_slice, file

        def get_tensor(self, name):
            read.append(name)
            return self.file.get_tensor(name)

    opening, filling = hugging_face._open, Transformer.load_state_dict
    monkeypatch.setattr(hugging_face, "_open", lambda *given: Watched(opening(*given)))
    monkeypatch.setattr(Transformer, "load_state_dict", lambda *a, **k: filled.append(1) or filling(*a, **k))
    load_hugging_face(folder)
    assert len(read) == 21 and filled == [1]
    change(folder, lambda state: state.update({"model.norm.weight": torch.zeros(31)}))
    with pytest.raises(ValueError, match="wanted"):
        load_hugging_face(folder)
    assert len(read) == 21 and filled == [1]


def test_a_state_of_tensors_is_checked_too_and_stays_as_it_is():
    they = theirs("gpt2")
    state = they.state_dict()
    config = config_from_hugging_face(they.config.to_dict())
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
    for module in (hugging_face, families):
        result = doctest.testmod(module)
        assert result.failed == 0 and result.attempted >= 1
