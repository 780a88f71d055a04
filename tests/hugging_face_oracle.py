"""Small random models of transformers in folders, as the tests of `hugging_face` and `families` compare with them."""

from __future__ import annotations

import contextlib
import json
import warnings
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from cs336lite.course.hugging_face import FAMILIES
from cs336lite.course.hugging_face.settings import INERT, ONLY, Settings

WRITTEN_BY = "5.23.0"
"""The transformers whose configurations the course reads; a newer one may write keys that this one did not."""


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


def without_newer_keys(path: Path, kind: str) -> dict[str, Any]:
    """config.json as transformers has written it, without keys that only a newer one than `WRITTEN_BY` writes.

    Those are refused by name, which is right, and would make every test here a test of the version that is installed.
    """
    import transformers

    settings = json.loads(path.read_text(encoding="utf-8"))
    if transformers.__version__ != WRITTEN_BY:
        read = Settings(settings)
        with contextlib.suppress(ValueError), warnings.catch_warnings(action="ignore"):
            FAMILIES[kind].fields(read)
        settings = {key: value for key, value in settings.items() if key in read.asked or key in ONLY or INERT.fullmatch(key)}
        path.write_text(json.dumps(settings), encoding="utf-8")
    return settings
