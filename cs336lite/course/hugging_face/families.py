"""The families of Hugging Face (模型家族) that lecture 03's model can be.

A family is a function from config.json to the fields of `TransformerConfig`, a table of names, theirs and ours, and what
lies otherwise in their files: matrices that are transposed, queries, keys and values in one matrix, one after the other or
head by head. `cs336lite.course.hugging_face.load` reads the tensors.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from cs336lite.course.hugging_face import fields, names
from cs336lite.course.hugging_face.settings import Settings
from cs336lite.layers import GATES
from cs336lite.model import TransformerConfig


@dataclass(frozen=True)
class Family:
    """How a family's files are read."""

    fields: Callable[[Settings], dict[str, Any]]  # of TransformerConfig, from config.json
    modules: Mapping[str, str]  # their name: ours, several where theirs holds them one after the other
    prefix: str = "transformer."  # of all names but the output layer's where the file has an output layer
    transposed: tuple[str, ...] = ()  # ends of names of matrices that are (in, out)
    by_head: tuple[str, ...] = ()  # and of those where each head has its query, key and value side by side
    constants: tuple[str, ...] = ()  # and of tensors that are no weights
    same: Mapping[str, str] = field(default_factory=dict)  # second names of tensors
    passed_over: tuple[str, ...] = ()  # keys that files have and transformers does not read
    tied: bool = False  # without an output layer in the file it is the embedding, whatever tie_word_embeddings says

    def name_of(self, ours: str) -> str:
        """Their name of the weight of one of our modules."""
        return next(f"{theirs}.weight" for theirs, module in self.modules.items() if module == ours)


_INV_FREQ = ("rotary_emb.inv_freq", "rotary_pos_emb.inv_freq")
_MASKS = (".attn.bias", ".attn.masked_bias")
_NEOX_CONSTANTS = (".attention.bias", ".attention.masked_bias", ".attention.rotary_emb.inv_freq")
FAMILIES: dict[str, Family] = {
    "gpt2": Family(fields.gpt2, names.GPT2, transposed=("c_attn", "c_proj", "c_fc"), constants=_MASKS),
    "gpt_bigcode": Family(
        fields.gpt2, names.GPT2, by_head=("c_attn",), constants=_MASKS, passed_over=("num_key_value_heads",)
    ),
    "gpt_neox": Family(
        fields.gpt_neox, names.GPT_NEOX, "gpt_neox.", by_head=("query_key_value",), constants=_NEOX_CONSTANTS,
        same={"embed_out.weight": "lm_head.weight"},
    ),
    "bloom": Family(
        fields.bloom, names.BLOOM, by_head=("query_key_value",)
    ),
    "llama": Family(fields.llama, names.LLAMA, "model.", constants=_INV_FREQ),
    "mistral": Family(fields.mistral, names.LLAMA, "model.", constants=_INV_FREQ),
    "qwen2": Family(fields.qwen2, names.LLAMA, "model.", constants=_INV_FREQ),
    "qwen3": Family(fields.qwen3, names.QWEN3, "model.", constants=_INV_FREQ),
    "gemma": Family(fields.gemma, names.LLAMA, "model.", constants=_INV_FREQ, passed_over=("hidden_activation",)),
    "gemma2": Family(
        fields.gemma2, names.GEMMA2, "model.", constants=_INV_FREQ, passed_over=("hidden_act", "sliding_window_size")
    ),
    "olmo2": Family(fields.olmo2, names.OLMO2, "model.", constants=_INV_FREQ),
    "glm": Family(fields.glm, names.GLM, "model.", constants=_INV_FREQ),
    "glm4": Family(fields.glm, names.GLM4, "model.", constants=_INV_FREQ),
    "chatglm": Family(fields.chatglm, names.CHATGLM, constants=_INV_FREQ, passed_over=("vocab_size",)),
    "t5": Family(
        fields.t5, names.T5_GATED, constants=("EncDecAttention.relative_attention_bias.weight",),
        same={f"{stack}.embed_tokens.weight": "shared.weight" for stack in ("encoder", "decoder")}, tied=True,
    ),
}  # fmt: skip
"""What can be loaded, by the ``model_type`` of config.json."""


def family_of(config: TransformerConfig, kind: str) -> Family:
    """The family of this ``model_type``; T5 calls its matrices otherwise where they are gated."""
    plain = kind == "t5" and config.activation not in GATES
    return replace(FAMILIES[kind], modules=names.T5_PLAIN) if plain else FAMILIES[kind]


def config_from_hugging_face(settings: Mapping[str, Any]) -> TransformerConfig:
    """The configuration that a config.json of Hugging Face describes, without dropout.

    ValueError for a ``model_type`` or an option that `Transformer` does not have, for a key that is not known and may change
    the logits, for what is missing, and for values of another type or range than the key has. Where attention has a sliding
    window, ``context_length`` is its length, with a warning: within it the window hides nothing.

    >>> config_from_hugging_face({"model_type": "gpt2", "vocab_size": 50257, "n_positions": 1024, "n_embd": 768,
    ...     "n_layer": 12, "n_head": 12}).d_ff
    3072
    """
    kind = settings.get("model_type")
    if not isinstance(kind, str) or kind not in FAMILIES:
        raise ValueError(f"model_type is {kind!r}, and those supported are {', '.join(FAMILIES)}")
    family, read = FAMILIES[kind], Settings(settings)
    found = family.fields(read)
    read.refuse_the_rest(kind, family.passed_over)
    return TransformerConfig(**found)
