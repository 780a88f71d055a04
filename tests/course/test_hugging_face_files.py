"""Folders as people have them: which files of weights are read, and what is said of those that cannot be."""

import copy
import json
import re
import shutil
from pathlib import Path

import pytest
import torch
from hugging_face_oracle import both, check_loaded, close, randomise, save, theirs, tokens
from safetensors.torch import load_file, save_file

from cs336lite.course.hugging_face import files, load_hugging_face
from cs336lite.model import Transformer

transformers = pytest.importorskip("transformers")


@pytest.fixture
def folder(tmp_path):
    save(theirs("llama, grouped"), tmp_path)
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
    save(theirs(name), tmp_path)
    half = type(theirs(name)).from_pretrained(tmp_path, dtype=torch.float16)
    save(half, tmp_path)
    with pytest.warns(UserWarning, match="float16.*float32"):
        we = load_hugging_face(tmp_path)
    wanted, found = both(half.float(), we)
    close(found, wanted)


@torch.no_grad()
@pytest.mark.parametrize("gone", [False, True])
def test_one_file_counts_before_an_index_of_older_parts(tmp_path, gone):
    old, new = theirs("llama, grouped"), randomise(copy.deepcopy(theirs("llama, grouped")), seed=1)
    save(old, tmp_path, max_shard_size="15KB")
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
    save(they, tmp_path)
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
    save(theirs("llama, grouped"), sharded, max_shard_size="15KB")
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
    save(theirs("llama, grouped"), sharded, max_shard_size="15KB")
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
    save(theirs("llama, grouped"), sharded, max_shard_size="15KB")
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

    opening, filling = files._open, Transformer.load_state_dict
    monkeypatch.setattr(files, "_open", lambda *given: Watched(opening(*given)))
    monkeypatch.setattr(Transformer, "load_state_dict", lambda *a, **k: filled.append(1) or filling(*a, **k))
    load_hugging_face(folder)
    assert len(read) == 21 and filled == [1]
    change(folder, lambda state: state.update({"model.norm.weight": torch.zeros(31)}))
    with pytest.raises(ValueError, match="wanted"):
        load_hugging_face(folder)
    assert len(read) == 21 and filled == [1]


@torch.no_grad()
@pytest.mark.parametrize("name", ["llama, grouped", "t5 v1.1"])
def test_shards_give_the_logits(name, tmp_path):
    they = theirs(name)
    save(they, tmp_path, max_shard_size="15KB")
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
    save(they, tmp_path)
    we = load_hugging_face(str(tmp_path))
    (tmp_path / "model.safetensors").write_bytes(b"")
    with torch.no_grad():
        wanted, found = both(they, we)
    close(found, wanted)
    we.loss(tokens(), tokens(seed=2)).backward()
    torch.optim.SGD(we.parameters(), 0.1).step()
    assert we.output.weight is we.embedding.weight
